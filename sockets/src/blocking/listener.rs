//! A listener whose `accept` waits.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use stack_api::options::Options;

use super::{Inner, Process, TcpStream, Wait, change, close, options, readiness};
use crate::error::io_error;
use crate::readiness::Readiness;
use crate::socket::SocketId;

/// A socket that accepts connections.
///
/// ```
/// # use sockets::blocking::Process;
/// use std::io::{self, copy};
///
/// /// An echo server.
/// fn serve(process: &Process) -> io::Result<()> {
///     let listener = process.listen(([0, 0, 0, 0], 7).into(), 16)?;
///     process.ready()?;
///     loop {
///         let connection = listener.accept()?;
///         copy(&mut &connection, &mut &connection)?;
///     }
/// }
/// # sockets_testing::serve_and_ask(|link| Ok(serve(&Process::new(link)?)?), |link| {
/// #     let connection = Process::new(link)?.connect("10.0.0.2:7".parse()?)?;
/// #     io::Write::write_all(&mut &connection, b"hello")?;
/// #     connection.shutdown(sockets::Shutdown::Write)?;
/// #     Ok(assert_eq!(io::read_to_string(connection)?, "hello"))
/// # });
/// ```
#[derive(Debug)]
pub struct TcpListener {
    process: Process,
    socket: SocketId,
    address: SocketAddr,
    nonblocking: Cell<bool>,
    accept_timeout: Cell<Option<Duration>>,
}

impl TcpListener {
    pub(super) fn new(process: &Process, address: SocketAddr, socket: SocketId) -> Self {
        let (nonblocking, accept_timeout) = (Cell::new(false), Cell::new(None));
        Self { process: process.clone(), socket, address, nonblocking, accept_timeout }
    }

    /// Waits for a connection.
    pub fn accept(&self) -> io::Result<TcpStream> {
        let mut inner = self.process.0.borrow_mut();
        let wait = Wait::new(self.nonblocking.get(), self.accept_timeout.get());
        loop {
            let Inner { reactor, library, .. } = &mut *inner;
            if let Some(accepted) = library.accept(reactor, self.socket).map_err(io_error)? {
                return TcpStream::new(&self.process, &inner, accepted.socket);
            }
            inner.turn(wait.left()?)?;
        }
    }

    /// All connections, one after the other; never ends by itself.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }

    /// What it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its number, as [`Process::turn`] tells it.
    pub fn id(&self) -> SocketId {
        self.socket
    }

    /// Whether [`accept`](Self::accept) returns `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.set(nonblocking);
    }

    /// How long [`accept`](Self::accept) waits before it returns `WouldBlock`; `None`: as long as it takes.
    pub fn set_accept_timeout(&self, timeout: Option<Duration>) {
        self.accept_timeout.set(timeout);
    }

    /// How long [`accept`](Self::accept) waits.
    pub fn accept_timeout(&self) -> Option<Duration> {
        self.accept_timeout.get()
    }

    /// What it allows now, as poll(2) says it.
    pub fn readiness(&self) -> io::Result<Readiness> {
        readiness(&self.process, self.socket)
    }

    /// Its options, with which connections begin.
    pub fn options(&self) -> io::Result<Options> {
        options(&self.process, self.socket)
    }

    /// Other options, for connections that come from now on.
    pub fn set_options(&self, options: Options) -> io::Result<()> {
        change(&self.process, self.socket, |present| *present = options)
    }
}

/// See [`TcpListener::incoming`].
///
/// ```
/// # use sockets::blocking::Process;
/// use std::io;
///
/// /// Serves three and ends.
/// fn serve(process: &Process) -> io::Result<()> {
///     let listener = process.listen(([0, 0, 0, 0], 7).into(), 16)?;
///     process.ready()?;
///     for connection in listener.incoming().take(3) {
///         io::copy(&mut connection?, &mut io::sink())?;
///     }
///     Ok(())
/// }
/// # sockets_testing::serve_and_ask(|link| Ok(serve(&Process::new(link)?)?), |link| {
/// #     let process = Process::new(link)?;
/// #     (0..3).try_for_each(|_| Ok(drop(process.connect(([10, 0, 0, 2], 7).into())?)))
/// # });
/// ```
#[derive(Debug)]
pub struct Incoming<'a>(&'a TcpListener);

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.accept())
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        close(&self.process, self.socket);
    }
}
