//! What a socket allows at this moment, whoever asks and however often: poll(2) over channels.

use ipc::reactor::Reactor;
use stack_api::socket::SocketError;

use crate::library::Library;
use crate::socket::{Socket, SocketId};
use crate::stream::Stream;

/// What a socket allows, as poll(2) says it of a socket of Linux.
///
/// ```
/// # let (mut router, mut red, mut blue, socket, accepted) = sockets_testing::connected();
/// let idle = blue.library.readiness(&mut blue.reactor, accepted)?;
/// assert!(idle.writable && !idle.readable);
///
/// red.library.close(&mut red.reactor, socket);
/// let ended = blue.library.readiness(&mut blue.reactor, accepted)?;
/// assert!(ended.readable && ended.read_closed && !ended.hung_up, "an end of file, and our half stands");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, an end, an error or a connection is there to fetch (POLLIN).
    pub readable: bool,
    /// There is room to send, or sending fails (POLLOUT).
    pub writable: bool,
    /// The peer sends no more (POLLRDHUP).
    pub read_closed: bool,
    /// Both directions are over (POLLHUP).
    pub hung_up: bool,
    /// There is an error that no call has told (POLLERR).
    pub failed: bool,
}

impl Readiness {
    /// Of a connection that is over; `failed`: its error was not told.
    pub(crate) fn over(failed: bool) -> Self {
        Self { readable: true, writable: true, read_closed: true, hung_up: true, failed }
    }
}

impl Library {
    /// What a socket allows now. Unlike [`LibraryEvent`](crate::LibraryEvent)s, which tell changes, this tells the
    /// state; what it denies, an event announces.
    pub fn readiness(&mut self, reactor: &mut Reactor, socket: SocketId) -> Result<Readiness, SocketError> {
        self.apply_news(reactor);
        if self.datagrams.contains(socket) {
            return self.datagram_readiness(reactor, socket);
        }
        Ok(match self.sockets.get_mut(&socket) {
            Some(connected @ (Socket::Connected { .. } | Socket::Lent(_))) => {
                connected.with_stream(Stream::readiness).ok_or(SocketError::InvalidArgument)?
            }
            Some(Socket::Listening(listening)) => {
                let criteria = listening.listener.criteria;
                let readable = listening.has_waiting() || self.family_has_waiting(criteria);
                Readiness { readable, ..Readiness::default() }
            }
            Some(Socket::Opening(_)) => Readiness::default(),
            // As Linux has it: neither connected nor about to be.
            Some(Socket::Unbound | Socket::Bound(_)) => {
                Readiness { writable: true, hung_up: true, ..Readiness::default() }
            }
            None => return Err(SocketError::InvalidArgument),
        })
    }
}
