//! Connects that wait for a time only, or not at all, and accepts with a deadline; the test's thread is the router.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ipc::link::Link;
use mio::{Events, Interest, Poll, Token};
use sockets::blocking::{Connecting, Process, Progress, TcpStream};
use sockets::{Destination, SocketId};

use crate::harness::{Router, at, serve_and_ask};

/// A time that is over at once, and is no test of how long anything takes.
const A_MOMENT: Duration = Duration::from_millis(10);

fn open(process: &Process, to: &str) -> Connecting {
    process.open_nonblocking(Destination::new(at(to))).unwrap()
}

/// Runs a program of VR 1 in a router whose stack says nothing to anybody.
fn in_silence(program: impl FnOnce(Link) + Send + 'static) -> Router {
    let mut router = Router::new();
    router.stack_is_up = false;
    let link = router.link(1);
    let program = thread::spawn(move || program(link));
    router.run_beside(|| program.is_finished());
    program.join().unwrap();
    router.run(&mut []);
    router
}

/// Turns a process's loop as a program does that has its own, until a connect has come to something; and who was said to
/// be ready meanwhile.
fn until_settled(
    process: &mut Process,
    mut connecting: Connecting,
) -> (std::io::Result<TcpStream>, BTreeSet<SocketId>) {
    let mut poll = Poll::new().unwrap();
    poll.registry().register(process, Token(0), Interest::READABLE).unwrap();
    let (mut events, mut ready) = (Events::with_capacity(8), BTreeSet::new());
    let result = loop {
        connecting = match connecting.progress() {
            Ok(Progress::Connected(stream)) => break Ok(stream),
            Ok(Progress::SynSent(connecting)) => connecting,
            Err(error) => break Err(error),
        };
        poll.poll(&mut events, process.poll_timeout()).unwrap();
        ready.extend(process.turn().unwrap());
    };
    poll.registry().deregister(process).unwrap();
    (result, ready)
}

#[test]
fn a_connect_to_a_silent_peer_ends_with_its_time_and_is_taken_back() {
    let router = in_silence(|link| {
        let process = Process::new(link).unwrap();
        let error = process.connect_timeout(at("192.0.2.9:7"), A_MOMENT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let error = process.connect_timeout(at("192.0.2.9:7"), Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "as std has it");
    });
    assert_eq!(router.waiting_connects(), 0);
}

#[test]
fn a_connect_that_is_dropped_is_given_up() {
    let (tell, told) = mpsc::channel();
    let mut router = Router::new();
    router.stack_is_up = false;
    let link = router.link(1);
    let program = thread::spawn(move || {
        let process = Process::new(link).unwrap();
        let mut connecting = open(&process, "192.0.2.9:7");
        assert_eq!(connecting.peer_addr(), at("192.0.2.9:7"));
        while told.try_recv().is_err() {
            connecting = match connecting.progress().unwrap() {
                Progress::SynSent(connecting) => connecting,
                Progress::Connected(_) => panic!("nobody has answered"),
            };
            process.turn().unwrap();
        }
        drop(connecting);
    });
    router.run_until(|router| router.waiting_connects() == 1);
    tell.send(()).unwrap();
    router.run_until(|_| program.is_finished());
    program.join().unwrap();
    router.run(&mut []);
    assert_eq!(router.waiting_connects(), 0);
}

#[test]
fn a_connect_in_progress_tells_when_it_stands_and_why_it_failed() {
    serve_and_ask(
        |link| {
            let process = Process::new(link)?;
            let listener = process.listen(at("0.0.0.0:7"), 4)?;
            process.ready()?;
            let mut stream = listener.accept()?;
            stream.read_exact(&mut [0; 1])?;
            stream.write_all(b"hello")?;
            Ok(())
        },
        |link| {
            let mut process = Process::new(link)?;
            let connecting = open(&process, "10.0.0.2:7");
            let id = connecting.id();
            let (stream, ready) = until_settled(&mut process, connecting);
            assert!(ready.contains(&id), "the process says which");
            let mut stream = stream?;
            assert_eq!((stream.id(), stream.peer_addr()), (id, at("10.0.0.2:7")));
            stream.write_all(b"?")?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            assert_eq!(said, "hello");

            // Nobody listens there: a miss, which the stack refuses.
            let connecting = open(&process, "10.0.0.2:8");
            let id = connecting.id();
            let (refused, ready) = until_settled(&mut process, connecting);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
            assert!(ready.contains(&id));
            Ok(())
        },
    );
}

#[test]
fn an_accept_waits_as_long_as_it_is_told_to() {
    let (listens_no_more, go) = mpsc::channel();
    serve_and_ask(
        move |link| {
            let process = Process::new(link)?;
            let listener = process.listen(at("0.0.0.0:7"), 4)?;
            listener.set_accept_timeout(Some(A_MOMENT));
            assert_eq!(listener.accept_timeout(), Some(A_MOMENT));
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(!listener.readiness()?.readable);
            process.ready()?;
            listener.set_accept_timeout(None);
            let stream = listener.accept()?;
            stream.set_write_timeout(Some(A_MOMENT));
            assert_eq!((stream.read_timeout(), stream.write_timeout()), (None, Some(A_MOMENT)));
            // Nobody reads: a write that found room took a part, and in the end one finds none.
            let full = loop {
                if let Err(error) = (&stream).write(&[7; 100_000]) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::WouldBlock);
            let seen = stream.readiness()?;
            assert!(!seen.writable && !seen.readable && !seen.failed);
            listens_no_more.send(()).map_err(|_| "nobody waits")?;
            Ok(())
        },
        move |link| {
            let process = Process::new(link)?;
            let stream = process.connect(at("10.0.0.2:7"))?;
            go.recv()?;
            assert!(stream.readiness()?.readable);
            assert_eq!(stream.take_error()?.map(|error| error.kind()), None);
            Ok(())
        },
    );
}
