//! Receiving: from the stack, and from every process that opened the socket's pathname.

use std::net::{IpAddr, SocketAddr};

use ipc::channel::Channel;
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, InterfaceName};
use mio::Token;
use stack_api::datagram::{DatagramPeer, DatagramReply};
use stack_api::socket::{Addresses, SocketError};

use super::connect::Connected;
use super::{CHANNELS_PER_PEER, DatagramDrop, Incoming, QUEUE, Server};
use crate::counters::Traffic;
use crate::library::{Library, LibraryEvent};
use crate::message::ProcessMessage;
use crate::socket::SocketId;

/// Records that one call looks at before it lets the process do something else: a peer may write faster than this one
/// reads, and nothing that is for this socket.
const RECORDS_PER_CALL: usize = 1024;

/// What a look at one source found.
enum Pulled {
    /// A record, whoever it was for.
    Record,
    /// Nothing; the bell is armed.
    Nothing,
}

impl Library {
    /// The next datagram of a socket. After `None`, and only then, [`LibraryEvent::Readable`] follows.
    pub fn receive_from(&mut self, reactor: &mut Reactor, id: SocketId) -> Result<Option<ProcessMessage>, SocketError> {
        self.apply_updates(reactor);
        for _ in 0..RECORDS_PER_CALL {
            let socket = self.datagrams.get(id)?;
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
            if let Some(message) = socket.queue.pop_front() {
                return Ok(Some(message));
            }
            socket.server_first = !socket.server_first;
            let mut sources: [fn(&mut Self, &mut Reactor, SocketId) -> bool; 2] = [Self::pull_peers, Self::pull_server];
            if socket.server_first {
                sources.reverse();
            }
            let found = sources.into_iter().any(|pull| pull(self, reactor, id));
            if !found {
                return Ok(None);
            }
        }
        self.events.push_back(LibraryEvent::Readable { socket: id });
        Ok(None)
    }

    /// An error of a datagram socket, though datagrams may lie before it.
    pub(crate) fn take_datagram_error(&mut self, reactor: &mut Reactor, id: SocketId) -> Option<SocketError> {
        for _ in 0..RECORDS_PER_CALL {
            let error = self.datagrams.sockets.get_mut(&id)?.error.take();
            if error.is_some() || !self.pull_server(reactor, id) {
                return error;
            }
        }
        None
    }

    /// A bell of a datagram socket rang; `false`: the token is another's.
    pub(crate) fn datagram_ready(&mut self, reactor: &mut Reactor, token: Token) -> bool {
        if let Some(id) = self.datagrams.servers.get(&token).copied() {
            self.datagram_server_rang(reactor, id);
            return true;
        }
        let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { return false };
        if let Err(error) = incoming.channel.acknowledge_bell() {
            log::warn!("datagrams of {}: {error}", incoming.peer);
            self.drop_incoming(reactor, token);
            return true;
        }
        self.heat(token);
        true
    }

    fn datagram_server_rang(&mut self, reactor: &mut Reactor, id: SocketId) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        match &mut socket.server {
            Server::Asked(channel, _) | Server::Bound(channel, _) => {
                if let Err(error) = channel.acknowledge_bell() {
                    log::error!("a datagram socket's channel to the stack: {error}");
                    self.datagram_server_lost(reactor, id);
                    return;
                }
            }
            Server::Absent | Server::Opening(_) => return,
        }
        match socket.server {
            Server::Asked(..) => self.datagram_answer(reactor, id),
            Server::Bound(..) => self.datagram_server_spoke(reactor, id),
            Server::Absent | Server::Opening(_) => {}
        }
    }

    /// The answer to a question is taken in here; all else is the process's to fetch.
    fn datagram_server_spoke(&mut self, reactor: &mut Reactor, id: SocketId) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        if matches!(socket.connected, Connected::Asked(_) | Connected::Again(_)) {
            let is_empty = (0..RECORDS_PER_CALL).any(|_| !self.pull_server(reactor, id));
            let nothing_else = |socket: &super::DatagramSocket| socket.queue.is_empty() && socket.error.is_none();
            if is_empty && self.datagrams.sockets.get(&id).is_some_and(nothing_else) {
                return;
            }
        }
        self.events.push_back(LibraryEvent::Readable { socket: id });
    }

    /// A channel has something: its sockets are told.
    fn heat(&mut self, token: Token) {
        let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { return };
        let criteria = incoming.criteria;
        if !std::mem::replace(&mut incoming.is_hot, true) {
            self.datagrams.hot.entry(criteria).or_default().push_back(token);
        }
        let readable = self.datagrams.listening(criteria);
        self.events.extend(readable.into_iter().map(|socket| LibraryEvent::Readable { socket }));
    }

    /// A process opened the pathname of a datagram socket.
    pub(crate) fn datagram_incoming(
        &mut self,
        reactor: &mut Reactor,
        criteria: Criteria,
        mut channel: Channel,
        peer: &Identity,
        terms: &[u8],
    ) {
        let open = self.datagrams.incoming.values().filter(|i| (i.peer.vr, i.peer.pid) == (peer.vr, peer.pid)).count();
        let refused = if postcard::from_bytes(terms) != Ok(DatagramPeer::Records) {
            Some(DatagramDrop::BadRecord)
        } else if self.datagrams.listening(criteria).is_empty() {
            Some(DatagramDrop::NoListener)
        } else {
            (open >= CHANNELS_PER_PEER).then_some(DatagramDrop::TooManyChannels)
        };
        if let Some(reason) = refused {
            log::debug!("datagrams of {peer} to {criteria} dropped: {reason}");
            self.datagrams.count(reason, 1);
            channel.reset(SocketError::ConnectionRefused.code());
            return;
        }
        match reactor.register(&mut channel) {
            Ok(token) => {
                let incoming = Incoming { channel, criteria, peer: peer.clone(), is_hot: false };
                self.datagrams.incoming.insert(token, incoming);
                self.heat(token);
            }
            Err(error) => log::error!("cannot wait for the datagrams of {peer}: {error}"),
        }
    }

    pub(super) fn drop_incoming(&mut self, reactor: &mut Reactor, token: Token) {
        let Some(mut incoming) = self.datagrams.incoming.remove(&token) else { return };
        if let Err(error) = reactor.deregister(&mut incoming.channel) {
            log::debug!("a channel that is closed: {error}");
        }
        if let Some(hot) = self.datagrams.hot.get_mut(&incoming.criteria) {
            hot.retain(|known| *known != token);
        }
    }

    /// Whether the stack's channel had a record.
    fn pull_server(&mut self, reactor: &mut Reactor, id: SocketId) -> bool {
        let Ok(socket) = self.datagrams.get(id) else { return false };
        let Some(channel) = socket.channel() else { return false };
        let mut record = Vec::new();
        match pull(channel, &mut record) {
            Ok(Pulled::Record) => match postcard::from_bytes(&record) {
                Ok(DatagramReply::Received(message)) => socket.queue.push_back(message),
                Ok(DatagramReply::Error(error)) => socket.error = Some(error),
                Ok(DatagramReply::Connected(answer)) => self.datagram_connected(id, answer),
                Ok(DatagramReply::Bound { .. } | DatagramReply::Failed(_)) | Err(_) => {
                    self.datagrams.count(DatagramDrop::BadRecord, 1);
                }
            },
            Ok(Pulled::Nothing) => return false,
            Err(_) => {
                self.datagram_server_lost(reactor, id);
                return false;
            }
        }
        true
    }

    /// Whether a channel of another process had a record. Those that have one take turns.
    fn pull_peers(&mut self, reactor: &mut Reactor, id: SocketId) -> bool {
        let Some(criteria) = self.datagrams.sockets.get(&id).and_then(super::DatagramSocket::criteria) else {
            return false;
        };
        let mut record = Vec::new();
        while let Some(token) = self.datagrams.hot.get_mut(&criteria).and_then(std::collections::VecDeque::pop_front) {
            let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { continue };
            match pull(&mut incoming.channel, &mut record) {
                Ok(Pulled::Record) => {
                    let peer = incoming.peer.clone();
                    self.datagrams.hot.entry(criteria).or_default().push_back(token);
                    if let Err(reason) = self.dispatch_datagram(id, criteria, &peer, &record) {
                        log::trace!("datagram of {peer} to {criteria} dropped: {reason}");
                        self.datagrams.count(reason, 1);
                    }
                    return true;
                }
                Ok(Pulled::Nothing) => incoming.is_hot = false,
                Err(_) => self.drop_incoming(reactor, token),
            }
        }
        false
    }

    /// Gives a datagram to the sockets that want it. Identity is attested, addresses are claimed.
    fn dispatch_datagram(
        &mut self,
        reader: SocketId,
        criteria: Criteria,
        peer: &Identity,
        record: &[u8],
    ) -> Result<(), DatagramDrop> {
        let mut message: ProcessMessage = postcard::from_bytes(record).map_err(|_| DatagramDrop::BadRecord)?;
        let Addresses { source, destination } = message.addresses;
        let interface = self.vrfib.interface_to(peer.vr).ok_or(DatagramDrop::ForgedSource)?;
        if !interface.peer_addresses.contains(&source.ip()) {
            return Err(DatagramDrop::ForgedSource);
        }
        if !interface.up {
            return Err(DatagramDrop::InterfaceDown);
        }
        let is_wanted = match criteria {
            Criteria::Udp(family, port) => Family::of(destination.ip()) == family && destination.port() == port.get(),
            Criteria::Raw(family, _) => Family::of(destination.ip()) == family && destination.port() == 0,
            Criteria::Tcp(..) | Criteria::Osi(_) => false,
        };
        if !is_wanted || message.ttl == 0 {
            return Err(DatagramDrop::WrongDestination);
        }
        let name = interface.name.clone();
        message.interface = Some(name.clone());
        let receivers = self.datagram_receivers(criteria, source, destination.ip(), &name);
        if receivers.is_empty() {
            return Err(DatagramDrop::NoListener);
        }
        let traffic = Traffic { connections: 0, bytes_sent: 0, bytes_received: message.payload.len() as u64 };
        self.keep_traffic(name, traffic);
        for id in receivers {
            let Some(socket) = self.datagrams.sockets.get_mut(&id) else { continue };
            if socket.queue.len() >= QUEUE {
                self.datagrams.count(DatagramDrop::SocketFull, 1);
                continue;
            }
            let was_empty = socket.queue.is_empty();
            socket.queue.push_back(message.clone());
            if was_empty && id != reader {
                self.events.push_back(LibraryEvent::Readable { socket: id });
            }
        }
        Ok(())
    }

    /// To one receiver: the UDP socket connected to the sender, else the one bound to the address, else the one bound to
    /// none, and of several the one bound last; every raw socket. To a group: all that joined it there.
    fn datagram_receivers(
        &self,
        criteria: Criteria,
        source: SocketAddr,
        to: IpAddr,
        interface: &InterfaceName,
    ) -> Vec<SocketId> {
        let membership = (interface.clone(), to);
        let exactness = |id: SocketId| {
            let socket = self.datagrams.sockets.get(&id)?;
            let bound = socket.bound.as_ref()?;
            let here = bound.interface.as_ref().is_none_or(|bound| bound == interface);
            let address = bound.local.is_none_or(|local| local == to);
            let joined = !to.is_multicast() || socket.groups.contains(&membership);
            let hears = socket.connected.hears(source, to);
            (here && address && joined && hears).then(|| (socket.connected != Connected::No, bound.local.is_some(), id))
        };
        let found = self.datagrams.listening(criteria).into_iter().filter_map(exactness);
        match criteria {
            Criteria::Udp(..) if !to.is_multicast() => found.max().map(|(.., id)| id).into_iter().collect(),
            Criteria::Udp(..) | Criteria::Raw(..) | Criteria::Tcp(..) | Criteria::Osi(_) => {
                found.map(|(.., id)| id).collect()
            }
        }
    }
}

/// The next record of a channel, or its bell armed. `Err`: the channel is over.
fn pull(channel: &mut Channel, record: &mut Vec<u8>) -> Result<Pulled, ()> {
    loop {
        if channel.read_record(record).map_err(drop)? {
            return Ok(Pulled::Record);
        }
        if channel.is_finished() || channel.peer_closed() {
            return Err(());
        }
        if channel.arm_read().map_err(drop)? {
            return Ok(Pulled::Nothing);
        }
    }
}
