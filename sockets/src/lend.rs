//! Connections that are used beside the library: by a program of several threads, each of which waits for its own.
//!
//! A connection in the library is used through the library, by one thread, and its bell rings in the process's loop. One
//! that is lent is used where it lies, under a lock of its own, and whoever waits for it listens to its bell itself; so
//! two threads with two connections do not meet, and no loop is between a peer and who waits for it. The library goes on
//! to do what follows from the vrFIB and from time: gates, user timeouts, counters.
//!
//! ```text
//!   Library ── Socket::Lent ──▶ Borrower ── its lock ──▶ Stream ◀── sends, receives, waits: a thread
//! ```
//!
//! Locks are taken in one order: who has the library's may take a connection's, not the other way round.

use std::fmt::Debug;

use ipc::reactor::Reactor;
use stack_api::socket::SocketError;

use crate::library::Library;
use crate::socket::{Socket, SocketId};
use crate::stream::Stream;

/// Where a connection that is lent lies.
///
/// ```
/// use std::sync::Mutex;
/// use sockets::{Borrower, Received, Stream};
///
/// #[derive(Debug)]
/// struct Place(Mutex<Option<Stream>>);
///
/// impl Borrower for Place {
///     fn with(&self, what: &mut dyn FnMut(&mut Stream)) {
///         self.0.lock().unwrap().iter_mut().for_each(what);
///     }
///
///     fn take_back(&self) -> Option<Stream> {
///         self.0.lock().unwrap().take()
///     }
/// }
///
/// static PLACE: Place = Place(Mutex::new(None));
/// # let (_router, mut red, mut blue, socket, accepted) = sockets_testing::connected();
///
/// blue.library.lend(&mut blue.reactor, accepted, &PLACE, |stream| *PLACE.0.lock().unwrap() = Some(stream))?;
/// red.library.send(socket, b"to whoever has it")?;
/// // Any thread may use it now, and the library's is free for others.
/// std::thread::spawn(|| {
///     PLACE.with(&mut |stream| assert_eq!(stream.receive(&mut [0; 32]), Ok(Received::Bytes(17))));
/// })
/// .join()
/// .unwrap();
/// # Ok::<(), sockets::SocketError>(())
/// ```
pub trait Borrower: Debug + Send + Sync {
    /// Does something with the connection while nobody else uses it. Nothing is done once it was taken back.
    fn with(&self, what: &mut dyn FnMut(&mut Stream));

    /// Takes it back, for good.
    fn take_back(&self) -> Option<Stream>;
}

impl Library {
    /// Lends a connection: [`send`](Self::send) and [`receive`](Self::receive) are the borrower's from now on, and no event
    /// tells of its bell. Everything else goes on as before; [`close`](Self::close) takes it back.
    pub fn lend(
        &mut self,
        reactor: &mut Reactor,
        socket: SocketId,
        to: &'static dyn Borrower,
        give: impl FnOnce(Stream),
    ) -> Result<(), SocketError> {
        match self.sockets.swap_remove(&socket) {
            Some(Socket::Connected { mut stream, token }) => {
                self.forget_channel(reactor, stream.channel(), token);
                give(stream);
                self.put(socket, Socket::Lent(to));
                Ok(())
            }
            Some(other) => {
                self.put(socket, other);
                Err(SocketError::NotConnected)
            }
            None => Err(SocketError::InvalidArgument),
        }
    }

    /// A borrower has sent where [`Stream::keeps_time`]: the time may run after which the connection ends.
    pub fn sent_in_time(&mut self, socket: SocketId) {
        self.keep_time(socket);
    }

    /// An ephemeral port that no other process of the VR has, for a socket that is to be bound to one of the system's
    /// choice. `None`: the stack has leased none, or not yet.
    pub fn ephemeral_port(&mut self) -> Option<u16> {
        self.take_port()
    }

    /// Does something with a connection, wherever it lies. `None`: it is none.
    pub(crate) fn with_stream<T>(&mut self, socket: SocketId, what: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        self.sockets.get_mut(&socket)?.with_stream(what)
    }
}

impl Socket {
    /// Does something with a connection, wherever it lies. `None`: it is none.
    pub(crate) fn with_stream<T>(&mut self, what: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        match self {
            Socket::Connected { stream, .. } => Some(what(stream)),
            Socket::Lent(borrower) => {
                let (mut what, mut result) = (Some(what), None);
                borrower.with(&mut |stream| result = what.take().map(|what| what(stream)));
                result
            }
            Socket::Unbound | Socket::Bound(_) | Socket::Listening(_) | Socket::Opening(_) => None,
        }
    }

    /// The same, to look only.
    pub(crate) fn look_at_stream<T>(&self, what: impl FnOnce(&Stream) -> T) -> Option<T> {
        match self {
            Socket::Connected { stream, .. } => Some(what(stream)),
            Socket::Lent(borrower) => {
                let (mut what, mut result) = (Some(what), None);
                borrower.with(&mut |stream| result = what.take().map(|what| what(stream)));
                result
            }
            Socket::Unbound | Socket::Bound(_) | Socket::Listening(_) | Socket::Opening(_) => None,
        }
    }
}
