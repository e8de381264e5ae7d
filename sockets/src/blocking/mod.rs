//! Sockets for simple programs, as `std::net` has them: calls that wait, `std::io::Read` and `Write`.
//!
//! | type | made by |
//! | --- | --- |
//! | [`TcpStream`] | [`Process::connect`], [`Process::connect_timeout`], [`Process::open`], [`TcpListener::accept`] |
//! | [`Connecting`] | [`Process::open_nonblocking`] |
//! | [`TcpListener`] | [`Process::listen`], [`Process::listen_with`] |
//! | [`UdpSocket`] | [`Process::udp`], [`Process::udp_with`] |
//! | [`RawSocket`] | [`Process::raw`], [`Process::raw_with`] |
//!
//! A [`Process`] is one thread's; so are its sockets. Errors are `std::io`'s, with errno's numbers. While a call waits
//! for a connection's bytes it waits on the channel itself, with no event loop in between; the loop is turned now and
//! then.
//!
//! # Without waiting
//!
//! `set_nonblocking` makes a socket's calls return `WouldBlock` instead of waiting. When to try again a `mio` loop
//! learns from the process: [`Process`] is a [`mio::event::Source`]. Once it is readable, [`Process::turn`] tells which
//! sockets to try; the first call on each after that should go on until `WouldBlock`.
//!
//! ```
//! use std::io::{self, ErrorKind, Read};
//! use mio::{Events, Interest, Poll, Token};
//! use sockets::blocking::Process;
//!
//! /// Reads all that a server has to say.
//! fn listen_to_the_end(mut process: Process) -> io::Result<usize> {
//!     let mut poll = Poll::new()?;
//!     poll.registry().register(&mut process, Token(0), Interest::READABLE)?;
//!     let mut connection = process.connect(([10, 0, 0, 2], 7).into())?;
//!     connection.set_nonblocking(true);
//!     let (mut events, mut buffer, mut all) = (Events::with_capacity(8), [0; 1024], 0);
//!     loop {
//!         match connection.read(&mut buffer) {
//!             Ok(0) => return Ok(all),
//!             Ok(read) => all += read,
//!             Err(error) if error.kind() == ErrorKind::WouldBlock => {
//!                 poll.poll(&mut events, process.poll_timeout())?;
//!                 process.turn()?;
//!             }
//!             Err(error) => return Err(error),
//!         }
//!     }
//! }
//! # sockets_testing::serve_and_ask(
//! #     |link| {
//! #         let process = Process::new(link)?;
//! #         let listener = process.listen(([0; 4], 7).into(), 4)?;
//! #         process.ready()?;
//! #         io::Write::write_all(&mut listener.accept()?, &[7; 100_000])?;
//! #         Ok(())
//! #     },
//! #     |link| Ok(assert_eq!(listen_to_the_end(Process::new(link)?)?, 100_000)),
//! # );
//! ```
//!
//! A program with many connections or with timers of its own uses [`Library`] and its events instead.

mod connecting;
mod datagram;
mod listener;
mod stream;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::process::exit;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use connecting::{Connecting, Progress};
pub use datagram::{RawSocket, UdpSocket};
use ipc::fd::{Forked, fork};
use ipc::link::{Link, LinkEvent};
use ipc::reactor::{Event, Reactor, ReactorError};
use ipc::{InterfaceName, IpProtocol};
pub use listener::{Incoming, TcpListener};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use stack_api::options::Options;
use stack_api::socket::SocketError;
pub use stream::TcpStream;

pub use crate::datagram::DatagramInfo;
use crate::error::{LibraryError, io_error};
use crate::library::{Library, LibraryEvent};
use crate::open::Destination;
use crate::readiness::Readiness;
use crate::socket::{SocketId, SocketKind};

/// Longest wait on a channel before the loop is turned: how late a waiting call notices an order to stop.
const SLICE: Duration = Duration::from_millis(500);

/// Reads and writes after which the loop is turned even if none had to wait.
const CALLS_PER_TURN: u32 = 4096;

/// Why a program cannot use sockets.
///
/// ```
/// use sockets::blocking::{Process, ProcessError};
/// # let link = sockets_testing::Router::new().link(1);
///
/// // procmgr is gone, and with it the router.
/// assert!(matches!(Process::new(link), Err(ProcessError::Library(_))));
/// ```
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
///
/// ```
/// use std::error::Error;
/// use ipc::link::Link;
/// use sockets::blocking::Process;
///
/// /// A program's own link is `Link::inherited()`.
/// fn serve(link: Link) -> Result<(), Box<dyn Error>> {
///     let process = Process::new(link)?;
///     let listener = process.listen("0.0.0.0:7".parse()?, 16)?;
///     process.ready()?;
///     for connection in listener.incoming() {
///         println!("{}", connection?.peer_addr());
///     }
///     Ok(())
/// }
/// # sockets_testing::serve_and_ask(serve, |link| {
/// #     Process::new(link)?.connect("10.0.0.2:7".parse()?)?;
/// #     Ok(())
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Process(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    reactor: Reactor,
    library: Library,
    /// How what sockets asked for went, until they fetch it.
    settled: HashMap<SocketId, Result<(), SocketError>>,
    /// Sockets that have become ready since the program was told.
    ready: BTreeSet<SocketId>,
    stopping: bool,
    calls: u32,
}

/// What waiting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// As long as it takes.
    Forever,
    /// Until then.
    Until(Instant),
    /// Not at all.
    Never,
}

impl Wait {
    fn new(nonblocking: bool, timeout: Option<Duration>) -> Self {
        match (nonblocking, timeout) {
            (true, _) => Wait::Never,
            (false, Some(timeout)) => Wait::Until(Instant::now() + timeout),
            (false, None) => Wait::Forever,
        }
    }

    /// What is left; `WouldBlock` if nothing is, as the kernel's sockets say it after a timeout too.
    fn left(self) -> io::Result<Option<Duration>> {
        match self {
            Wait::Forever => Ok(None),
            Wait::Until(at) => match at.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Err(io::ErrorKind::WouldBlock.into()),
                left => Ok(Some(left)),
            },
            Wait::Never => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The next part of the wait.
    fn slice(self) -> io::Result<Duration> {
        Ok(self.left()?.map_or(SLICE, |left| left.min(SLICE)))
    }
}

impl Process {
    /// The process behind a link.
    pub fn new(link: Link) -> Result<Self, ProcessError> {
        let mut reactor = Reactor::new(link)?;
        let library = Library::new(&mut reactor)?;
        let (settled, ready) = (HashMap::new(), BTreeSet::new());
        Ok(Self(Rc::new(RefCell::new(Inner { reactor, library, settled, ready, stopping: false, calls: 0 }))))
    }

    /// Connects to a peer.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.open(Destination::new(to))
    }

    /// The same, at most so long (ETIMEDOUT). Without a limit a silent peer is given up after two minutes, as on Linux.
    pub fn connect_timeout(&self, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        self.open_nonblocking(Destination::new(to))?.wait_timeout(timeout)
    }

    /// Connects to a peer from an own address, port or interface, or with options.
    pub fn open(&self, to: Destination) -> io::Result<TcpStream> {
        self.open_nonblocking(to)?.wait()
    }

    /// Begins to connect, and waits for nobody.
    pub fn open_nonblocking(&self, to: Destination) -> io::Result<Connecting> {
        let mut inner = self.0.borrow_mut();
        let Inner { reactor, library, .. } = &mut *inner;
        let peer = to.to;
        let wanted = library.open_socket(reactor, to).map_err(io_error)?;
        Ok(Connecting::new(self, wanted, peer))
    }

    /// Listens on an address and port; returns once a peer can connect, or after a minute where the router does not answer
    /// (ETIMEDOUT).
    pub fn listen(&self, address: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
        self.listen_with(address, None, backlog, Options::default())
    }

    /// Listens on an interface, and with options, with which its connections begin.
    pub fn listen_with(
        &self,
        address: SocketAddr,
        interface: Option<InterfaceName>,
        backlog: u16,
        options: Options,
    ) -> io::Result<TcpListener> {
        let mut inner = self.0.borrow_mut();
        let Inner { reactor, library, .. } = &mut *inner;
        let wanted = library.create_socket(SocketKind::Stream).map_err(io_error)?;
        let asked = library
            .set_options(wanted, options)
            .and_then(|()| library.bind(wanted, address, interface))
            .and_then(|()| library.listen(reactor, wanted, backlog));
        if let Err(error) = asked {
            library.close(reactor, wanted);
            return Err(io_error(error));
        }
        if let Err(error) = inner.settle(wanted) {
            let Inner { reactor, library, .. } = &mut *inner;
            library.close(reactor, wanted);
            return Err(error);
        }
        Ok(TcpListener::new(self, address, wanted))
    }

    /// A UDP socket on an address and port; port 0: one of the stack's choice. Returns once it can be reached, or after a
    /// minute where the router does not answer (ETIMEDOUT).
    pub fn udp(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.udp_with(address, None, Options::default())
    }

    /// A UDP socket on an interface, and with options.
    pub fn udp_with(
        &self,
        address: SocketAddr,
        interface: Option<InterfaceName>,
        options: Options,
    ) -> io::Result<UdpSocket> {
        self.datagram(SocketKind::Datagram, address, interface, options).map(UdpSocket::new)
    }

    /// A raw socket for an IP protocol: it gets a copy of all that comes for it.
    pub fn raw(&self, protocol: IpProtocol) -> io::Result<RawSocket> {
        self.raw_with(protocol, SocketAddr::from(([0; 4], 0)), None, Options::default())
    }

    /// A raw socket on an address (its port is of no interest) or interface, and with options.
    pub fn raw_with(
        &self,
        protocol: IpProtocol,
        address: SocketAddr,
        interface: Option<InterfaceName>,
        options: Options,
    ) -> io::Result<RawSocket> {
        self.datagram(SocketKind::Raw(protocol), address, interface, options).map(RawSocket::new)
    }

    fn datagram(
        &self,
        kind: SocketKind,
        address: SocketAddr,
        interface: Option<InterfaceName>,
        options: Options,
    ) -> io::Result<datagram::DatagramSocket> {
        let mut inner = self.0.borrow_mut();
        let Inner { reactor, library, .. } = &mut *inner;
        let wanted = library.create_socket(kind).map_err(io_error)?;
        let socket = datagram::DatagramSocket::new(self, wanted);
        library.set_options(wanted, options).map_err(io_error)?;
        library.bind_datagram(reactor, wanted, address, interface).map_err(io_error)?;
        let settled = inner.settle(wanted);
        // It closes itself, for which it needs the process.
        drop(inner);
        settled.map(|()| socket)
    }

    /// Runs `child` in a forked child, which then ends with the exit code that it returns; its process ID. The child goes on
    /// with the connections and listeners that there are: both may read and write, each byte goes to one of the two, and a
    /// connection ends when both have dropped it; both may accept, and each connection goes to one of the two. It is a
    /// process of the VR by itself, and may open, listen and fork. UDP and raw sockets from before the fork are both's too:
    /// each datagram that comes goes to one of the two, and of a sender that begins after the fork all go to the one that
    /// read first.
    ///
    /// The program must have one thread, and have been started by [`attach`](Link::attach) or `isthmus run`.
    ///
    /// ```no_run
    /// # use sockets::blocking::Process;
    /// // An echo server with a process for each connection.
    /// fn serve(process: &Process) -> std::io::Result<()> {
    ///     let listener = process.listen(([0, 0, 0, 0], 7).into(), 16)?;
    ///     for connection in listener.incoming() {
    ///         let connection = connection?;
    ///         process.fork(|| match std::io::copy(&mut &connection, &mut &connection) {
    ///             Ok(_) => 0,
    ///             Err(_) => 1,
    ///         })?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn fork(&self, child: impl FnOnce() -> i32) -> io::Result<i32> {
        {
            let mut inner = self.0.borrow_mut();
            let Inner { reactor, library, .. } = &mut *inner;
            library.before_fork(reactor).map_err(io_error)?;
        }
        match fork() {
            Ok(Forked::Parent(child)) => Ok(child),
            Ok(Forked::Child) => {
                let become_child = self.0.borrow_mut().become_child();
                if let Err(error) = become_child {
                    // All that is here is the parent's.
                    log::error!("a forked child cannot join its parent's router: {error}");
                    exit(1);
                }
                let code = child();
                self.0.borrow_mut().close_all();
                exit(code)
            }
            Err(error) => {
                self.0.borrow_mut().library.fork_failed();
                Err(error)
            }
        }
    }

    /// Says that the program works, for those that wait for it.
    pub fn ready(&self) -> io::Result<()> {
        self.0.borrow_mut().reactor.link.ready().map_err(io::Error::other)
    }

    /// Takes in what has happened, without waiting; the sockets that have become ready since the last call, by their
    /// `id`. An error of kind `ConnectionAborted`: the router stops.
    pub fn turn(&self) -> io::Result<BTreeSet<SocketId>> {
        let mut inner = self.0.borrow_mut();
        inner.turn(Some(Duration::ZERO))?;
        Ok(std::mem::take(&mut inner.ready))
    }

    /// How long [`turn`](Self::turn) is not due by the clock alone; `None`: for ever.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let inner = self.0.borrow();
        inner.library.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()))
    }
}

/// Readable when [`Process::turn`] has something to do.
impl mio::event::Source for Process {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.borrow().reactor.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.borrow().reactor.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.borrow().reactor.as_raw_fd()).deregister(registry)
    }
}

impl Inner {
    /// Turns the loop until it is known how what a socket asked for went.
    fn settle(&mut self, socket: SocketId) -> io::Result<()> {
        while !self.has_settled(socket)? {
            self.turn(None)?;
        }
        Ok(())
    }

    /// The same, until then. `false`: it is not known.
    fn settle_until(&mut self, socket: SocketId, until: Instant) -> io::Result<bool> {
        while !self.has_settled(socket)? {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.turn(Some(left))?;
        }
        Ok(true)
    }

    /// How it went, if that is known: nobody need be told that it is.
    fn has_settled(&mut self, socket: SocketId) -> io::Result<bool> {
        let Some(result) = self.settled.remove(&socket) else { return Ok(false) };
        self.ready.remove(&socket);
        result.map(|()| true).map_err(io_error)
    }

    /// Takes the place of its parent's, in a forked child.
    fn become_child(&mut self) -> Result<(), ProcessError> {
        let link = self.reactor.link.of_child().map_err(ReactorError::from)?;
        self.reactor = Reactor::new(link)?;
        self.library.after_fork_in_child(&mut self.reactor)?;
        self.settled.clear();
        self.ready.clear();
        Ok(())
    }

    /// Closes every socket, as the kernel does when a process ends.
    fn close_all(&mut self) {
        for socket in self.library.ids() {
            self.library.close(&mut self.reactor, socket);
        }
    }

    /// Turns the loop now and then, for a program that never waits.
    fn breathe(&mut self) -> io::Result<()> {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.is_multiple_of(CALLS_PER_TURN) { self.turn(Some(Duration::ZERO)) } else { Ok(()) }
    }

    /// One turn of the loop; waits until something happens, at most for `limit`.
    fn turn(&mut self, limit: Option<Duration>) -> io::Result<()> {
        // A call on a socket may have left news behind: then nothing is waited for.
        let limit = if self.take_news() { Some(Duration::ZERO) } else { limit };
        let due = self.library.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
        let limit = [limit, due].into_iter().flatten().min();
        self.reactor.wait(limit).map_err(io::Error::other)?;
        while let Some(event) = self.reactor.next_event().map_err(io::Error::other)? {
            if let Some(Event::Link(LinkEvent::Stop)) = self.library.handle(&mut self.reactor, event) {
                self.stopping = true;
            }
        }
        self.library.handle_timeout(&mut self.reactor, Instant::now());
        self.take_news();
        if self.stopping { Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the router stops")) } else { Ok(()) }
    }

    /// Whether there was any.
    fn take_news(&mut self) -> bool {
        let mut found = false;
        while let Some(event) = self.library.poll(&mut self.reactor) {
            found = true;
            self.note(event);
        }
        found
    }

    fn note(&mut self, event: LibraryEvent) {
        match event {
            LibraryEvent::Listening { listener: socket } | LibraryEvent::Connected { socket } => {
                self.settled.insert(socket, Ok(()));
                self.ready.insert(socket);
            }
            LibraryEvent::ListenFailed { listener: socket, error } | LibraryEvent::ConnectFailed { socket, error } => {
                self.settled.insert(socket, Err(error));
                self.ready.insert(socket);
            }
            LibraryEvent::Incoming { listener: socket }
            | LibraryEvent::Readable { socket }
            | LibraryEvent::Writable { socket } => drop(self.ready.insert(socket)),
            // Nobody here asks for a port alone.
            LibraryEvent::PortAnswered { .. } => {}
        }
    }
}

fn close(process: &Process, socket: SocketId) {
    let mut inner = process.0.borrow_mut();
    let Inner { reactor, library, settled, ready, .. } = &mut *inner;
    library.close(reactor, socket);
    settled.remove(&socket);
    ready.remove(&socket);
}

fn options(process: &Process, socket: SocketId) -> io::Result<Options> {
    process.0.borrow().library.options(socket).map_err(io_error)
}

fn change(process: &Process, socket: SocketId, change: impl FnOnce(&mut Options)) -> io::Result<()> {
    let mut inner = process.0.borrow_mut();
    let mut options = inner.library.options(socket).map_err(io_error)?;
    change(&mut options);
    inner.library.set_options(socket, options).map_err(io_error)
}

fn readiness(process: &Process, socket: SocketId) -> io::Result<Readiness> {
    let mut inner = process.0.borrow_mut();
    let Inner { reactor, library, .. } = &mut *inner;
    library.readiness(reactor, socket).map_err(io_error)
}

fn take_error(process: &Process, socket: SocketId) -> io::Result<Option<io::Error>> {
    let mut inner = process.0.borrow_mut();
    let Inner { reactor, library, .. } = &mut *inner;
    library.take_error(reactor, socket).map(|error| error.map(io_error)).map_err(io_error)
}
