//! Sockets for simple programs: calls that wait, `std::io::Read` and `Write`.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use ipc::link::Link;
//! use sockets::blocking::Process;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let process = Process::new(Link::inherited()?)?;
//! let mut connection = process.connect("10.0.0.1:179".parse()?)?;
//! connection.write_all(b"hello")?;
//! let mut answer = String::new();
//! connection.read_to_string(&mut answer)?;
//! # Ok(())
//! # }
//! ```
//!
//! While a call waits for a connection's bytes it waits on the channel itself, with no event loop in between; the loop
//! is turned now and then. A program with many connections or with timers uses [`Library`] and its events instead.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ipc::link::{Link, LinkEvent};
use ipc::reactor::{Event, Reactor, ReactorError};
use stack_api::socket::{Addresses, SocketError};

use crate::error::{LibraryError, io_error};
use crate::library::{Library, LibraryEvent};
use crate::open::Destination;
use crate::socket::{SocketId, SocketKind};
use crate::stream::{Gate, Received, Shutdown};

/// Longest wait on a channel before the loop is turned: how late a waiting call notices an order to stop.
const SLICE: Duration = Duration::from_millis(500);

/// Reads and writes after which the loop is turned even if none had to wait.
const CALLS_PER_TURN: u32 = 4096;

/// Why a program cannot use sockets.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its event loop fails.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// Its library does not start.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// A process of a router, for a program of one thread.
#[derive(Debug, Clone)]
pub struct Process(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    reactor: Reactor,
    library: Library,
    /// What happened to sockets that somebody may wait for.
    news: VecDeque<(SocketId, Result<(), SocketError>)>,
    stopping: bool,
    calls: u32,
}

impl Process {
    /// The process behind a link.
    pub fn new(link: Link) -> Result<Self, ProcessError> {
        let mut reactor = Reactor::new(link)?;
        let library = Library::new(&mut reactor)?;
        Ok(Self(Rc::new(RefCell::new(Inner { reactor, library, news: VecDeque::new(), stopping: false, calls: 0 }))))
    }

    /// Connects to a peer.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.open(Destination::new(to))
    }

    /// Connects to a peer from an own address, port or interface.
    pub fn open(&self, to: Destination) -> io::Result<TcpStream> {
        let mut inner = self.0.borrow_mut();
        let Inner { reactor, library, .. } = &mut *inner;
        let wanted = library.open_socket(reactor, to).map_err(io_error)?;
        inner.wait_for(wanted)?;
        self.stream(&inner, wanted)
    }

    /// Listens on an address and port; returns once a peer can connect.
    pub fn listen(&self, address: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
        let mut inner = self.0.borrow_mut();
        let Inner { reactor, library, .. } = &mut *inner;
        let wanted = library.create_socket(SocketKind::Stream).map_err(io_error)?;
        library.bind(wanted, address, None).map_err(io_error)?;
        library.listen(reactor, wanted, backlog).map_err(io_error)?;
        inner.wait_for(wanted)?;
        Ok(TcpListener { process: self.clone(), socket: wanted })
    }

    /// Says that the program works, for those that wait for it.
    pub fn ready(&self) -> io::Result<()> {
        self.0.borrow_mut().reactor.link.ready().map_err(io::Error::other)
    }

    fn stream(&self, inner: &Inner, socket: SocketId) -> io::Result<TcpStream> {
        let addresses = inner.library.addresses(socket).map_err(io_error)?;
        Ok(TcpStream { process: self.clone(), socket, addresses })
    }
}

impl Inner {
    /// Turns the loop until something happens to a socket.
    fn wait_for(&mut self, socket: SocketId) -> io::Result<()> {
        loop {
            let place = self.news.iter().position(|(about, _)| *about == socket);
            if let Some((_, result)) = place.and_then(|place| self.news.remove(place)) {
                return result.map_err(io_error);
            }
            self.turn(None)?;
        }
    }

    /// Turns the loop now and then, for a program that never waits.
    fn breathe(&mut self) -> io::Result<()> {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.is_multiple_of(CALLS_PER_TURN) { self.turn(Some(Duration::ZERO)) } else { Ok(()) }
    }

    /// One turn of the loop; waits until something happens, at most for `limit`.
    fn turn(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let due = self.library.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
        let limit = [limit, due].into_iter().flatten().min();
        self.reactor.wait(limit).map_err(io::Error::other)?;
        while let Some(event) = self.reactor.next_event().map_err(io::Error::other)? {
            if let Some(Event::Link(LinkEvent::Stop)) = self.library.handle(&mut self.reactor, event) {
                self.stopping = true;
            }
        }
        self.library.handle_timeout(&mut self.reactor, Instant::now());
        while let Some(event) = self.library.poll(&mut self.reactor) {
            self.news.extend(news(event));
        }
        if self.stopping { Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the router stops")) } else { Ok(()) }
    }
}

/// What a waiting call wants to know. Whoever wants bytes or room asks the channel itself.
fn news(event: LibraryEvent) -> Option<(SocketId, Result<(), SocketError>)> {
    match event {
        LibraryEvent::Listening { listener } | LibraryEvent::Incoming { listener } => Some((listener, Ok(()))),
        LibraryEvent::Connected { socket } => Some((socket, Ok(()))),
        LibraryEvent::ListenFailed { listener: socket, error } | LibraryEvent::ConnectFailed { socket, error } => {
            Some((socket, Err(error)))
        }
        LibraryEvent::Readable { .. } | LibraryEvent::Writable { .. } => None,
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct TcpListener {
    process: Process,
    socket: SocketId,
}

impl TcpListener {
    /// Waits for a connection.
    pub fn accept(&self) -> io::Result<TcpStream> {
        let mut inner = self.process.0.borrow_mut();
        loop {
            let Inner { reactor, library, .. } = &mut *inner;
            if let Some(accepted) = library.accept(reactor, self.socket).map_err(io_error)? {
                return self.process.stream(&inner, accepted.socket);
            }
            inner.wait_for(self.socket)?;
        }
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        close(&self.process, self.socket);
    }
}

/// A connection.
#[derive(Debug)]
pub struct TcpStream {
    process: Process,
    socket: SocketId,
    addresses: Addresses,
}

impl TcpStream {
    /// Own address and port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.source
    }

    /// The peer's.
    pub fn peer_addr(&self) -> SocketAddr {
        self.addresses.destination
    }

    /// Lets reads look at the channel for at most this long before they sleep, where the peer runs on another CPU.
    pub fn set_spin(&self, bound: Duration) -> io::Result<()> {
        self.process.0.borrow_mut().library.stream(self.socket).map_err(io_error)?.channel().set_spin(bound);
        Ok(())
    }

    /// Ends one direction, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.process.0.borrow_mut().library.shutdown(self.socket, how).map_err(io_error)
    }
}

impl Read for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut inner = self.process.0.borrow_mut();
        inner.breathe()?;
        loop {
            let stream = inner.library.stream(self.socket).map_err(io_error)?;
            match stream.take(into).map_err(io_error)? {
                Received::Bytes(bytes) => return Ok(bytes),
                Received::EndOfFile => return Ok(0),
                Received::NothingYet if stream.gate() == Gate::Closed => inner.turn(None)?,
                Received::NothingYet => {
                    if !stream.wait_readable(SLICE).map_err(io_error)? {
                        inner.turn(Some(Duration::ZERO))?;
                    }
                }
            }
        }
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut inner = self.process.0.borrow_mut();
        inner.breathe()?;
        loop {
            match inner.library.send(self.socket, bytes).map_err(io_error)? {
                0 => {
                    let stream = inner.library.stream(self.socket).map_err(io_error)?;
                    if !stream.wait_writable(bytes.len(), SLICE).map_err(io_error)? {
                        inner.turn(Some(Duration::ZERO))?;
                    }
                }
                sent => return Ok(sent),
            }
        }
    }

    /// Nothing waits in this process: what was written is in the channel.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        close(&self.process, self.socket);
    }
}

fn close(process: &Process, socket: SocketId) {
    let mut inner = process.0.borrow_mut();
    let Inner { reactor, library, .. } = &mut *inner;
    library.close(reactor, socket);
}
