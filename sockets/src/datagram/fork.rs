//! A forked child goes on with its parent's datagram sockets.
//!
//! ```text
//!   the socket's channel to the stack         ──▶ both: each datagram goes to whoever reads it first
//!   channels that others had opened before    ──▶ both, in the same way
//!   channels that others open from then on    ──▶ the family's queue: whoever reads first has that sender's datagrams
//!   channels to receivers                     ──▶ the parent; the child opens its own
//! ```
//!
//! As with connections (`crate::fork`), the child is a process of its own and makes its sockets known in its own name, so
//! that they live as long as one of the two. They tell the manager which sockets they share, so that a sender of raw packets,
//! or to a group, writes one copy for all that have a socket. What the parent had taken out of a ring before the fork,
//! having looked at it without taking it, is whose of the two fetches it first (`copies`).

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use ipc::Criteria;
use ipc::channel::Channel;
use ipc::error::ChannelError;
use ipc::reactor::Reactor;
use mio::Token;

use super::connect::Connected;
use super::peers::Peers;
use super::pull::Over;
use super::{DatagramSocket, Datagrams, Incoming, Server};
use crate::library::{Library, LibraryEvent};
use crate::socket::SocketId;

impl Datagrams {
    /// What forked processes share a queue of.
    pub fn criteria(&self) -> Vec<Criteria> {
        self.sockets
            .values()
            .filter(|socket| socket.channel_ref().is_some())
            .filter_map(DatagramSocket::criteria)
            .collect()
    }

    /// The channels that a child reads too.
    pub fn channels(&mut self) -> impl Iterator<Item = &mut Channel> {
        let own = self.sockets.values_mut().flat_map(|socket| {
            let server = match &mut socket.server {
                Server::Bound(channel, _) => Some(channel),
                Server::Absent | Server::Opening(_) | Server::Asked(..) => None,
            };
            server.into_iter().chain(socket.copies.as_mut().map(|copies| &mut copies.claim))
        });
        own.chain(self.incoming.values_mut().map(|incoming| &mut incoming.channel))
    }

    /// What was read and not fetched is about to be a child's too.
    pub fn copy_unread(&mut self) -> Result<(), ChannelError> {
        self.sockets.values_mut().try_for_each(DatagramSocket::copy_unread)
    }

    /// Whether a sibling may have silenced a bell of one of them.
    pub fn any_is_shared(&mut self) -> bool {
        self.channels().any(|channel| channel.is_shared())
    }
}

impl Datagrams {
    /// Numbers of the sockets behind a publication, in order; none where one of them is this process's own.
    pub(super) fn shared(&self, criteria: Criteria, local: Option<IpAddr>) -> Vec<u64> {
        let at_address = |socket: &&DatagramSocket| socket.bound.as_ref().is_some_and(|bound| bound.local == local);
        let behind = self.sockets.values().filter(|socket| socket.criteria() == Some(criteria)).filter(at_address);
        let mut numbers: Vec<u64> = behind.map(|socket| socket.shared).collect::<Option<_>>().unwrap_or_default();
        numbers.sort_unstable();
        numbers
    }
}

impl Library {
    /// A child is about to have the datagram sockets too: the manager is told which ones, before it hears of the child.
    pub(crate) fn number_datagrams(&mut self) {
        let mut numbered = Vec::new();
        for (id, socket) in &mut self.datagrams.sockets {
            if socket.channel_ref().is_some() && socket.shared.is_none() {
                // Keyed by the system's random numbers.
                socket.shared = Some(RandomState::new().hash_one(id.0));
                numbered.push(*id);
            }
        }
        numbered.into_iter().for_each(|id| self.publish_datagram(id));
    }

    /// This process is the child: its parent's datagram sockets are its own too.
    pub(crate) fn inherit_datagrams(&mut self, reactor: &mut Reactor, parents: Datagrams) {
        for (id, socket) in parents.sockets {
            self.inherit_datagram(reactor, id, socket);
        }
        for incoming in parents.incoming.into_values() {
            self.inherit_incoming(reactor, incoming);
        }
    }

    fn inherit_datagram(&mut self, reactor: &mut Reactor, id: SocketId, mut socket: DatagramSocket) {
        socket.peers = Peers::default();
        (socket.way, socket.known) = (None, None);
        socket.published = false;
        let was_there = matches!(socket.server, Server::Bound(..));
        socket.server = match std::mem::replace(&mut socket.server, Server::Absent) {
            Server::Bound(mut channel, _) => {
                channel.adopt();
                match reactor.register(&mut channel) {
                    Ok(token) => {
                        self.datagrams.servers.insert(token, id);
                        Server::Bound(channel, token)
                    }
                    Err(error) => {
                        log::error!("cannot wait for a datagram socket's channel: {error}");
                        Server::Absent
                    }
                }
            }
            // The answer comes to the parent.
            Server::Absent | Server::Opening(_) | Server::Asked(..) => Server::Absent,
        };
        if let Some(copies) = &mut socket.copies {
            copies.claim.adopt();
        }
        socket.server_is_armed = false;
        let is_bound = socket.bound.is_some();
        // A question of the parent's is answered to whoever reads it.
        if let Connected::Asked(_) = socket.connected {
            socket.connected = Connected::No;
        }
        self.datagrams.sockets.insert(id, socket);
        if is_bound
            && !was_there
            && let Err(error) = self.open_datagram_server(reactor, id)
        {
            log::error!("a datagram socket of a forked child is without a stack: {error}");
        }
        self.events.push_back(LibraryEvent::Readable { socket: id });
    }

    fn inherit_incoming(&mut self, reactor: &mut Reactor, mut incoming: Incoming) {
        incoming.channel.adopt();
        (incoming.is_hot, incoming.judged) = (false, None);
        match reactor.register(&mut incoming.channel) {
            Ok(token) => {
                self.datagrams.incoming.insert(token, incoming);
                self.heat(token);
            }
            Err(error) => log::error!("cannot wait for the datagrams of {}: {error}", incoming.peer),
        }
    }

    /// The vrFIB is there, without which nobody knows which addresses a peer may use: what lies in channels that the parent
    /// had is read from now on.
    pub(crate) fn tell_of_inherited_datagrams(&mut self) {
        let all: Vec<Token> = self.datagrams.incoming.keys().copied().collect();
        all.into_iter().for_each(|token| self.heat(token));
    }

    /// Takes the channels that lie in the queue which a family shares; `false`: there is none.
    pub(super) fn take_datagram_peers(&mut self, reactor: &mut Reactor, criteria: Criteria) -> bool {
        self.queues.contains_key(&criteria)
            && self.family_has_waiting(criteria)
            && self.take_from_family(reactor, criteria)
    }

    /// Looks at channels that a sibling reads too: it may have silenced a bell that rang for this process.
    pub(crate) fn look_at_shared_datagrams(&mut self) -> bool {
        let Datagrams { sockets, incoming, .. } = &mut self.datagrams;
        let has_some = |channel: &mut Channel| {
            let looks = channel.may_have_missed_a_ring();
            looks && (!channel.is_shared() || channel.available().is_ok_and(|bytes| bytes > 0))
        };
        let mut readable = Vec::new();
        for (id, socket) in sockets {
            if let Server::Bound(channel, _) = &mut socket.server
                && has_some(channel)
            {
                socket.server_is_armed = false;
                readable.push(*id);
            }
        }
        let mut hot = Vec::new();
        for (token, incoming) in incoming {
            if has_some(&mut incoming.channel) {
                hot.push(*token);
            }
        }
        self.events.extend(readable.into_iter().map(|socket| LibraryEvent::Readable { socket }));
        hot.into_iter().for_each(|token| self.heat(token));
        self.datagrams.any_is_shared()
    }
}

/// The next record of a channel that a sibling reads too; `None`: its bell is armed.
pub(super) fn take_shared(channel: &mut Channel) -> Result<Option<Vec<u8>>, Over> {
    let mut record = Vec::new();
    loop {
        let taken: Result<bool, ChannelError> = channel.read_record(&mut record);
        if taken.map_err(|_| Over)? {
            return Ok(Some(record));
        }
        if channel.is_finished() || channel.peer_closed() {
            return Err(Over);
        }
        if channel.arm_read().map_err(|_| Over)? {
            return Ok(None);
        }
    }
}
