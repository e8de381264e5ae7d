//! Programs that wait, as documentation shows them: each in a thread of its own, in VRs that are joined.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::thread::{self, JoinHandle};

use ipc::link::Link;

use crate::router::Router;

/// Runs `serve` in VR 2, as 10.0.0.2, and once it says that it is [ready](ipc::link::Link::ready), `ask` in VR 1, as
/// 10.0.0.1. The VRs are joined: their interfaces are `vr1` and `vr2`, each named after the other side. When `ask` has
/// returned, `serve` is told to stop if it has not.
///
/// ```
/// use std::io::Write;
/// use sockets::blocking::Process;
///
/// sockets_testing::serve_and_ask(
///     |link| {
///         let process = Process::new(link)?;
///         let listener = process.listen("0.0.0.0:7".parse()?, 4)?;
///         process.ready()?;
///         loop {
///             listener.accept()?.write_all(b"hello")?;
///         }
///     },
///     |link| {
///         let said = std::io::read_to_string(Process::new(link)?.connect("10.0.0.2:7".parse()?)?)?;
///         assert_eq!(said, "hello");
///         Ok(())
///     },
/// );
/// ```
///
/// # Panics
///
/// If one of the two fails, otherwise than by the order to stop.
pub fn serve_and_ask(
    serve: impl FnOnce(Link) -> Result<(), Box<dyn Error>> + Send + 'static,
    ask: impl FnOnce(Link) -> Result<(), Box<dyn Error>> + Send + 'static,
) {
    let mut router = Router::new();
    router.joins = Some((1, 2));
    let (red, blue) = (router.link(1), router.link(2));
    let server = start(serve, blue);
    router.run_until(|router| router.is_ready(1) || server.is_finished());
    let asker = start(ask, red);
    router.run_until(|_| asker.is_finished());
    end(asker);
    router.stop(1);
    router.run_until(|_| server.is_finished());
    end(server);
}

/// An error is told as text: it need not be one that can go to another thread.
fn start(
    program: impl FnOnce(Link) -> Result<(), Box<dyn Error>> + Send + 'static,
    link: Link,
) -> JoinHandle<Result<(), String>> {
    thread::spawn(move || match program(link) {
        Ok(()) => Ok(()),
        Err(error) if was_stopped(&*error) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
}

/// A call that waits ends so when the router stops.
fn was_stopped(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionAborted)
}

fn end(program: JoinHandle<Result<(), String>>) {
    match program.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("a program has failed: {error}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
