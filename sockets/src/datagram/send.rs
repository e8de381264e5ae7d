//! Sending: hit or miss for each datagram, and one write for each process that joined a group.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ipc::channel::Channel;
use ipc::protocol::Generation;
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, InterfaceName};
use stack_api::datagram::{DatagramPeer, DatagramRequest};
use stack_api::socket::{Addresses, SocketError};
use vr_api::interface::is_link_scoped;
use vr_api::manager::VrFibEntry;

use super::connect::Connected;
use super::{DatagramDrop, Kind, Opening, Peer, PeerKey, QUEUE};
use crate::counters::Traffic;
use crate::error::error_of_link;
use crate::library::Library;
use crate::message::ProcessMessage;
use crate::socket::SocketId;
use crate::vrfib::Local;

/// The largest packet without its header: the length field of IPv4 counts the header (RFC 791 section 3.1), that of IPv6
/// does not (RFC 8200 section 3).
const fn max_packet(family: Family) -> usize {
    match family {
        Family::Ipv4 => 65_535 - 20,
        Family::Ipv6 => 65_535,
    }
}

const UDP_HEADER: usize = 8;

impl Library {
    /// Sends a datagram from a bound socket, with the TTL, TOS and interface that the message says;
    /// [`message`](Self::message) makes one by the socket's options. The source port is the socket's, the source address
    /// the message's, else the socket's own, else that of the way out. What goes to a group leaves by the message's
    /// interface, else the one that the socket is bound to, else the one of its options. That it was sent does not mean
    /// that it arrives: what finds a full ring is dropped and counted, and what the stack cannot send the next call says.
    pub fn send_to(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        mut message: ProcessMessage,
    ) -> Result<(), SocketError> {
        self.apply_updates(reactor);
        let socket = self.datagrams.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let (Some(bound), Some(_)) = (&socket.bound, socket.criteria()) else { return Err(SocketError::NotConnected) };
        let (destination, source) = (message.addresses.destination, message.addresses.source.ip());
        let room = match socket.kind {
            Kind::Udp => max_packet(bound.family) - UDP_HEADER,
            Kind::Raw(_) => max_packet(bound.family),
        };
        let criteria = socket.criteria_of(destination.port()).ok_or(SocketError::InvalidArgument)?;
        let of_family = |address: IpAddr| Family::of(address) == bound.family;
        if message.ttl == 0 || destination.ip().is_unspecified() || !of_family(destination.ip()) {
            return Err(SocketError::InvalidArgument);
        }
        if message.payload.len() > room {
            return Err(SocketError::MessageSize);
        }
        // An unspecified one of either family means: none was chosen.
        let source = if source.is_unspecified() { bound.family.unspecified() } else { source };
        if !of_family(source) {
            return Err(SocketError::InvalidArgument);
        }
        let own = bound.local.filter(|own| !own.is_multicast());
        let own = match socket.connected {
            Connected::To(path) | Connected::Again(path) => own.or(path.local),
            Connected::No | Connected::Asked(_) => own,
        };
        let source = own.filter(|_| source.is_unspecified()).unwrap_or(source);
        message.addresses.source = SocketAddr::new(source, bound.port);
        let to_group = destination.ip().is_multicast();
        message.interface = message.interface.or_else(|| bound.interface.clone());
        let mut loops = false;
        if let Some(options) = self.options.get(&id).filter(|_| to_group) {
            message.interface = message.interface.or_else(|| options.multicast_interface.clone());
            loops = options.multicast_loop;
        }
        if matches!(socket.kind, Kind::Raw(_)) {
            message.addresses.destination.set_port(0);
        }
        if is_link_scoped(destination.ip()) && !to_group && message.interface.is_none() {
            return Err(SocketError::InvalidArgument);
        }
        let entries = if to_group {
            // Nothing says which way.
            let interface = message.interface.as_ref().ok_or(SocketError::NetworkUnreachable)?;
            self.vrfib.lookup_group(interface, destination.ip(), &criteria)
        } else {
            let address = (!source.is_unspecified()).then_some(source);
            let local = Local { address, interface: message.interface.clone() };
            match criteria {
                Criteria::Raw(..) => self.vrfib.lookup_copies(&local, destination.ip(), &criteria),
                Criteria::Udp(..) | Criteria::Tcp(..) | Criteria::Osi(_) => {
                    self.vrfib.lookup(&local, destination.ip(), &criteria).into_iter().collect()
                }
            }
        };
        if entries.is_empty() {
            return self.send_to_server(id, message);
        }
        for entry in &entries {
            self.send_to_peer(reactor, id, entry, &message)?;
        }
        if loops {
            self.ask_datagram(id, &DatagramRequest::Loop(message));
        }
        Ok(())
    }

    /// A miss.
    fn send_to_server(&mut self, id: SocketId, message: ProcessMessage) -> Result<(), SocketError> {
        let record = postcard::to_stdvec(&DatagramRequest::Send(message)).map_err(|_| SocketError::InvalidArgument)?;
        let channel = self.datagrams.get(id)?.channel().ok_or(SocketError::NetworkDown)?;
        match channel.write_record(&record) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.datagrams.count(DatagramDrop::RingFull, 1);
                Ok(())
            }
            // Its reader finds out too, and asks the next stack.
            Err(_) => Err(SocketError::NetworkDown),
        }
    }

    /// A hit: one write.
    fn send_to_peer(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        entry: &VrFibEntry,
        message: &ProcessMessage,
    ) -> Result<(), SocketError> {
        let Addresses { source, destination } = message.addresses;
        let from = if source.ip().is_unspecified() { entry.source } else { source.ip() };
        let addresses = Addresses { source: SocketAddr::new(from, source.port()), destination };
        // The receiver's own interface is for its library to say.
        let message = ProcessMessage { addresses, interface: None, ..message.clone() };
        let record = postcard::to_stdvec(&message).map_err(|_| SocketError::InvalidArgument)?;
        let key = (entry.listener.clone(), entry.generation);
        let socket = self.datagrams.get(id)?;
        let dropped = match socket.peers.get_mut(&key) {
            None => {
                self.open_datagram_peer(reactor, id, key, record)?;
                None
            }
            Some(Peer::Opening(queued)) if queued.len() >= QUEUE => Some(DatagramDrop::OpeningQueueFull),
            Some(Peer::Opening(queued)) => {
                queued.push_back(record);
                None
            }
            Some(Peer::Open(channel)) => {
                let dropped = write(channel, &record).err();
                if dropped == Some(DatagramDrop::PeerGone) {
                    socket.peers.remove(&key);
                }
                dropped
            }
        };
        match dropped {
            Some(reason) => self.datagrams.count(reason, 1),
            None => self.count_sent(&entry.interface, message.payload.len()),
        }
        Ok(())
    }

    fn count_sent(&mut self, interface: &InterfaceName, bytes: usize) {
        let traffic = Traffic { connections: 0, bytes_sent: bytes as u64, bytes_received: 0 };
        self.keep_traffic(interface.clone(), traffic);
    }

    fn open_datagram_peer(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        key: PeerKey,
        first: Vec<u8>,
    ) -> Result<(), SocketError> {
        let terms = postcard::to_stdvec(&DatagramPeer::Records).map_err(|_| SocketError::InvalidArgument)?;
        let (pathname, generation) = &key;
        let ticket = reactor.link.open(pathname, Some(Generation(*generation)), &terms);
        let ticket = ticket.map_err(|error| error_of_link(&error))?;
        self.datagrams.get(id)?.peers.insert(key.clone(), Peer::Opening(VecDeque::from([first])));
        self.datagrams.opening.insert(ticket, Opening::Peer(id, key));
        Ok(())
    }

    /// Whether datagrams of a socket wait for a channel to their receiver.
    pub(crate) fn is_opening_peers(&self, id: SocketId) -> bool {
        let socket = self.datagrams.sockets.get(&id);
        socket.is_some_and(|socket| socket.peers.values().any(|peer| matches!(peer, Peer::Opening(_))))
    }

    /// The channel to a receiver is there: what was sent meanwhile goes first.
    pub(super) fn datagram_peer_opened(&mut self, id: SocketId, key: &PeerKey, mut channel: Channel) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        let Some(peer @ Peer::Opening(_)) = socket.peers.get_mut(key) else { return };
        let Peer::Opening(queued) = std::mem::replace(peer, Peer::Opening(VecDeque::new())) else { return };
        let mut dropped = Vec::new();
        for record in queued {
            dropped.extend(write(&mut channel, &record).err());
        }
        if dropped.contains(&DatagramDrop::PeerGone) {
            socket.peers.remove(key);
        } else {
            *peer = Peer::Open(channel);
        }
        dropped.into_iter().for_each(|reason| self.datagrams.count(reason, 1));
    }

    /// The vrFIB changed: channels to receivers that are no longer in it are closed.
    pub(crate) fn forget_datagram_peers(&mut self) {
        if self.datagrams.sockets.values().all(|socket| socket.peers.is_empty()) {
            return;
        }
        let known: HashSet<PeerKey> =
            self.vrfib.entries().map(|(entry, _)| (entry.listener.clone(), entry.generation)).collect();
        for socket in self.datagrams.sockets.values_mut() {
            socket.peers.retain(|key, _| known.contains(key));
        }
    }
}

/// Writes without waiting: the receiver may be slow, or gone.
fn write(channel: &mut Channel, record: &[u8]) -> Result<(), DatagramDrop> {
    match channel.write_record(record) {
        Ok(true) => Ok(()),
        Ok(false) => Err(DatagramDrop::RingFull),
        Err(_) => Err(DatagramDrop::PeerGone),
    }
}
