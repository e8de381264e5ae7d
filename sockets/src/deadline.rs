//! How long a socket waits for the router itself to say whether it stands.
//!
//! A listener is the VR connection manager's to make known and the socket server's to give a port, a datagram socket
//! both's, and procmgr stands between. Each of them may stand still or be away: what a socket has asked for then fails as
//! a connect to a silent host does (ETIMEDOUT), and is taken back, so that an answer which comes later leaves no port
//! held. What stands already is not touched: it is said again to whoever comes back.

use std::time::{Duration, Instant};

use ipc::reactor::Reactor;
use stack_api::socket::SocketError;

use crate::library::Library;
use crate::socket::SocketId;

/// How long a listen, a bind or a connect of a datagram socket waits: as long as a SYN and five repetitions of it take
/// (RFC 6298 section 2). A restart of the one who is asked is waited out.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(63);

impl Library {
    /// A listener or datagram socket has asked for something.
    pub(crate) fn await_answer(&mut self, socket: SocketId) {
        self.set_timer(socket, Some(Instant::now() + ANSWER_TIMEOUT));
    }

    /// Nobody has answered a listener in time: it is bound as before.
    pub(crate) fn listen_expired(&mut self, reactor: &mut Reactor, listener: SocketId) {
        log::warn!("a listener has no answer from the router within {} s", ANSWER_TIMEOUT.as_secs());
        self.disagreed(reactor, listener, SocketError::TimedOut);
    }

    /// Nobody has answered a datagram socket in time: one that was to be bound is unbound, one that was to have a peer
    /// has none.
    pub(crate) fn datagram_expired(&mut self, reactor: &mut Reactor, socket: SocketId) {
        log::warn!("a datagram socket has no answer from the router within {} s", ANSWER_TIMEOUT.as_secs());
        if self.datagrams.is_announced(socket) {
            self.give_up_peer(socket, SocketError::TimedOut);
        } else {
            self.fail_datagram(reactor, socket, SocketError::TimedOut);
        }
    }
}
