//! A forked child goes on with its parent's connections.
//!
//! A connection is a channel, and fork copies what a process has of one (`ipc::channel`). What it does not copy is who
//! the process is: procmgr attests a process ID, and the child has another one. So the child opens a link of its own and
//! is a process like any other of its VR, with a vrFIB and ports of its own; the connections move over.
//!
//! ```text
//!   parent:  before_fork ──▶ fork(2) ─┬─▶ goes on
//!                                     └─▶ child: Link::of_child, Reactor::new, after_fork_in_child
//! ```
//!
//! As on Linux both may read and write, each byte goes to one of the two, and the connection ends when both have closed
//! it or died. Not so: what is not connected (listeners, datagram sockets, opens under way) stays with the parent.

use std::mem;
use std::time::{Duration, Instant};

use ipc::reactor::Reactor;
use stack_api::socket::SocketError;

use crate::error::LibraryError;
use crate::library::Library;
use crate::socket::{Socket, SocketId};
use crate::stream::Stream;

/// How often connections that other processes have too are looked at without a bell: a sibling may have silenced it.
const LOOK: Duration = Duration::from_millis(10);

impl Library {
    /// A child is about to be forked, by this thread: all connections are shared from now on. They must not be used before
    /// the fork. If it fails call [`fork_failed`](Self::fork_failed).
    pub fn before_fork(&mut self) -> Result<(), SocketError> {
        let mut shared = 0;
        let outcome = self.streams().try_for_each(|stream| {
            stream.channel().share()?;
            shared += 1;
            Ok::<(), ipc::error::ChannelError>(())
        });
        self.look_at_shared_at = (shared > 0).then(|| Instant::now() + LOOK);
        outcome.map_err(|error| {
            log::error!("share connections with a child: {error}");
            self.streams().take(shared).for_each(|stream| stream.channel().take_share_back());
            SocketError::NoBuffers
        })
    }

    /// There is no child.
    pub fn fork_failed(&mut self) {
        self.streams().for_each(|stream| stream.channel().take_share_back());
    }

    /// This process is the child, and `reactor` the loop of its own around a link of its own
    /// ([`Link::of_child`](ipc::link::Link::of_child)); its parent's is to be dropped. Connections keep their numbers.
    pub fn after_fork_in_child(&mut self, reactor: &mut Reactor) -> Result<(), LibraryError> {
        let user_timeout = self.user_timeout();
        let parents = mem::replace(self, Self::new(reactor)?);
        self.next_socket = parents.next_socket;
        self.set_user_timeout(user_timeout);
        for (socket, state) in parents.sockets {
            match state {
                Socket::Connected { stream, .. } => self.inherit(reactor, socket, stream),
                Socket::Unbound | Socket::Bound(_) | Socket::Lent(_) => self.put(socket, state),
                // What the parent waits for comes to the parent.
                Socket::Listening(_) | Socket::Opening(_) => {}
            }
        }
        self.options = parents.options;
        self.options.retain(|socket, _| self.sockets.contains_key(socket));
        self.look_at_shared_at = parents.look_at_shared_at;
        Ok(())
    }

    fn inherit(&mut self, reactor: &mut Reactor, socket: SocketId, mut stream: Stream) {
        stream.adopt();
        match reactor.register(stream.channel()) {
            // Its gate stands as it stood, until the manager has sent the vrFIB.
            Ok(token) => {
                self.by_token.insert(token, socket);
                self.put(socket, Socket::Connected { stream, token });
                self.ready(reactor, socket);
            }
            Err(error) => log::error!("cannot wait for a connection's channel: {error}"),
        }
    }

    /// Looks at shared connections, if it is time.
    pub(crate) fn look_at_shared(&mut self, reactor: &mut Reactor, now: Instant) {
        if self.look_at_shared_at.is_none_or(|at| at > now) {
            return;
        }
        let is_shared = |socket: &Socket| matches!(socket, Socket::Connected { stream, .. } if stream.is_shared());
        let shared: Vec<SocketId> =
            self.sockets.iter().filter(|(_, socket)| is_shared(socket)).map(|(id, _)| *id).collect();
        self.look_at_shared_at = (!shared.is_empty()).then(|| now + LOOK);
        shared.into_iter().for_each(|socket| self.ready(reactor, socket));
    }

    /// All TCP sockets.
    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.sockets.keys().copied().collect()
    }

    fn streams(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.sockets.values_mut().filter_map(|socket| match socket {
            Socket::Connected { stream, .. } => Some(stream),
            // Who borrowed one shares it.
            Socket::Unbound | Socket::Bound(_) | Socket::Listening(_) | Socket::Opening(_) | Socket::Lent(_) => None,
        })
    }
}
