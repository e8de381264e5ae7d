//! Sending: hit or miss for each datagram, and one write for each process that joined a group.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipc::channel::Channel;
use ipc::error::ChannelError;
use ipc::link::LinkEvent;
use ipc::protocol::{Generation, Ticket};
use ipc::reactor::Reactor;
use ipc::{Criteria, Family};
use mio::Token;
use stack_api::datagram::{DatagramPeer, DatagramRequest};
use stack_api::datagram_header::{DatagramHeader, EncodedHeader, max_payload};
use stack_api::socket::{Addresses, SocketError};
use vr_api::interface::is_link_scoped;
use vr_api::manager::VrFibEntry;

use super::connect::Connected;
use super::peers::{Peer, PeerKey, Place};
use super::{DatagramDrop, Kind, Opening, QUEUE};
use crate::counters::Traffic;
use crate::error::error_of_link;
use crate::library::{Library, LibraryEvent};
use crate::message::ProcessMessage;
use crate::socket::SocketId;
use crate::vrfib::{Hit, Local};

const UDP_HEADER: usize = 8;
/// How long a sender waits for procmgr to open the channel to a receiver: it answers within a fraction of a millisecond,
/// or stands still.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of a burst after which the stack is woken before the burst is over, so that it sends the first on another CPU
/// while the last are written: about six packets of an Ethernet.
const MAX_UNRUNG: usize = 8 * 1024;

/// When the stack is woken by a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bell {
    Now,
    /// By [`Library::end_burst`].
    Later,
}

/// Where a socket's last datagram went, and all that the next one to the same receiver needs: no look-up, and a header
/// that is encoded. Of datagrams that hit and are for one process.
#[derive(Debug)]
pub(super) struct Way {
    /// Receiver as the caller named it; `None`: the socket's peer.
    to: Option<SocketAddr>,
    /// [`Datagrams::revision`](super::Datagrams) then: with another one it is worth nothing.
    revision: u64,
    header: EncodedHeader,
    /// Longest payload.
    room: usize,
    /// Of the channel among the socket's peers.
    place: Place,
    hit: Hit,
    /// Where the interface's traffic is counted.
    traffic: usize,
}

/// Where one datagram went.
struct Sent {
    header: EncodedHeader,
    place: Place,
}

impl Library {
    /// Sends a payload from a bound socket, as the socket's options have it; `None`: to its peer. As
    /// [`send_to`](Self::send_to) otherwise. What goes to the same receiver again is written to its channel straight from
    /// `payload`, without a look-up, until something changes.
    pub fn send_datagram(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        to: Option<SocketAddr>,
        payload: &[u8],
    ) -> Result<(), SocketError> {
        self.apply_news(reactor);
        if self.send_again(id, to, payload) {
            return Ok(());
        }
        let header = self.header(id, to)?;
        let Some((Sent { header, place }, hit)) = self.send_header(reactor, id, header, payload, Bell::Now)? else {
            return Ok(());
        };
        let (traffic, revision) = (self.traffic.place(&hit.interface), self.datagrams.revision);
        let socket = self.datagrams.hot(id)?;
        let room = socket.room();
        socket.way = Some(Way { to, revision, header, room, place, hit, traffic });
        Ok(())
    }

    /// Sends a datagram from a bound socket, with the TTL, TOS and interface that the message says;
    /// [`message`](Self::message) makes one by the socket's options. The source port is the socket's, the source address
    /// the message's, else the socket's own, else that of the way out. What goes to a group leaves by the message's
    /// interface, else the one that the socket is bound to, else the one of its options. That it was sent does not mean
    /// that it arrives: what finds a full ring is dropped and counted, and what the stack cannot send the next call says.
    /// But its sender may end at once: the first to a receiver waits until procmgr has opened the channel. Where procmgr
    /// stands still it waits for a moment only, and the channel is asked for by
    /// [`is_opening_peers`](Self::is_opening_peers).
    pub fn send_to(&mut self, reactor: &mut Reactor, id: SocketId, message: ProcessMessage) -> Result<(), SocketError> {
        self.apply_news(reactor);
        let (header, payload) = message.into_parts();
        self.send_header(reactor, id, header, &payload, Bell::Now).map(drop)
    }

    /// The same for one of several that go out together: the stack is woken once for all, by
    /// [`end_burst`](Self::end_burst), which has to follow.
    pub fn send_in_burst(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        message: ProcessMessage,
    ) -> Result<(), SocketError> {
        self.apply_news(reactor);
        let (header, payload) = message.into_parts();
        self.send_header(reactor, id, header, &payload, Bell::Later).map(drop)
    }

    /// Wakes the stack for what [`send_in_burst`](Self::send_in_burst) sent.
    pub fn end_burst(&mut self) {
        for (id, _) in std::mem::take(&mut self.datagrams.unrung) {
            // A socket that was closed meanwhile has no channel; one whose stack is gone hears of it by its bell.
            let channel = self.datagrams.sockets.get_mut(&id).and_then(super::DatagramSocket::channel);
            if let Some(Err(error)) = channel.map(Channel::notify) {
                log::debug!("a burst of datagrams: {error}");
            }
        }
    }

    /// Sends the way that the socket's last datagram went; `false`: that is not known to be the way of this one.
    #[inline]
    fn send_again(&mut self, id: SocketId, to: Option<SocketAddr>, payload: &[u8]) -> bool {
        let revision = self.datagrams.revision;
        let Some(socket) = self.datagrams.sockets.get_mut(&id).filter(|socket| socket.error.is_none()) else {
            return false;
        };
        let holds = |way: &&Way| way.revision == revision && way.to == to && payload.len() <= way.room;
        let Some(way) = socket.way.as_ref().filter(holds) else { return false };
        let Some(Peer::Open(channel)) = socket.peers.at(way.place) else { return false };
        way.hit.again();
        match write(channel, &way.header, payload) {
            Ok(()) => self.traffic.add_at(way.traffic, Traffic::sent(payload.len())),
            // Whether somebody else is there now, a look-up tells.
            Err(DatagramDrop::PeerGone) => {
                socket.peers.remove_at(way.place);
                return false;
            }
            Err(reason) => self.datagrams.count(reason, 1),
        }
        true
    }

    /// Looks the way up and sends. Returns it if all that like this one are for the same process as long as nothing
    /// changes, and its channel is there.
    fn send_header(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        mut header: DatagramHeader,
        payload: &[u8],
        bell: Bell,
    ) -> Result<Option<(Sent, Hit)>, SocketError> {
        let socket = self.datagrams.hot(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let (Some(bound), Some(_)) = (&socket.bound, socket.criteria()) else { return Err(SocketError::NotConnected) };
        let (destination, source) = (header.addresses.destination, header.addresses.source.ip());
        let criteria = socket.criteria_of(destination.port()).ok_or(SocketError::InvalidArgument)?;
        let of_family = |address: IpAddr| Family::of(address) == bound.family;
        if header.ttl == 0 || destination.ip().is_unspecified() || !of_family(destination.ip()) {
            return Err(SocketError::InvalidArgument);
        }
        if destination.ip() == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(SocketError::PermissionDenied);
        }
        if payload.len() > socket.room() {
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
        header.addresses.source = SocketAddr::new(source, bound.port);
        let to_group = destination.ip().is_multicast();
        header.interface = header.interface.or_else(|| bound.interface.clone());
        let mut loops = false;
        if let Some(options) = self.options.get(&id).filter(|_| to_group) {
            header.interface = header.interface.or_else(|| options.multicast_interface.clone());
            loops = options.multicast_loop;
        }
        if matches!(socket.kind, Kind::Raw(_)) {
            header.addresses.destination.set_port(0);
        }
        if is_link_scoped(destination.ip()) && !to_group && header.interface.is_none() {
            return Err(SocketError::InvalidArgument);
        }
        let hits = if to_group {
            // Nothing says which way.
            let interface = header.interface.as_ref().ok_or(SocketError::NetworkUnreachable)?;
            self.vrfib.lookup_group(interface, destination.ip(), &criteria)
        } else {
            let address = (!source.is_unspecified()).then_some(source);
            let local = Local { address, interface: header.interface.clone() };
            match criteria {
                Criteria::Raw(..) => self.vrfib.lookup_copies(&local, destination.ip(), &criteria),
                Criteria::Udp(..) | Criteria::Tcp(..) | Criteria::Osi(_) => {
                    self.vrfib.lookup_hit(&local, destination.ip(), &criteria).into_iter().collect()
                }
            }
        };
        if hits.is_empty() {
            return self.send_to_server(id, &header, payload, bell).map(|()| None);
        }
        let mut sent = None;
        // A procmgr that has left an earlier question open is not waited for again.
        let answers = !self.datagrams.is_opening_peers();
        for hit in &hits {
            sent = self.send_to_peer(reactor, id, hit, &header, payload)?;
        }
        if answers {
            self.await_datagram_peers(reactor);
        }
        if loops {
            self.ask_datagram(id, &DatagramRequest::Loop(header.with_payload(payload.to_vec())));
        }
        let one: Option<[Hit; 1]> = hits.try_into().ok().filter(|_| !to_group);
        Ok(sent.zip(one.map(|[hit]| hit)))
    }

    /// A miss.
    fn send_to_server(
        &mut self,
        id: SocketId,
        header: &DatagramHeader,
        payload: &[u8],
        bell: Bell,
    ) -> Result<(), SocketError> {
        let header = header.encode().map_err(|_| SocketError::InvalidArgument)?;
        let channel = self.datagrams.hot(id)?.channel().ok_or(SocketError::NetworkDown)?;
        let written = match bell {
            Bell::Now => write(channel, &header, payload),
            Bell::Later => outcome(channel.add_record_parts(&[header.as_bytes(), payload])),
        };
        if bell == Bell::Later {
            let unrung = self.datagrams.unrung.entry(id).or_default();
            *unrung += payload.len();
            if *unrung > MAX_UNRUNG || written == Err(DatagramDrop::RingFull) {
                self.end_burst();
            }
        }
        match written {
            Ok(()) => Ok(()),
            // Its reader finds out too, and asks the next stack.
            Err(DatagramDrop::PeerGone) => Err(SocketError::NetworkDown),
            Err(reason) => {
                self.datagrams.count(reason, 1);
                Ok(())
            }
        }
    }

    /// A hit: one write. Where it went, if the channel was there and is.
    fn send_to_peer(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        entry: &VrFibEntry,
        header: &DatagramHeader,
        payload: &[u8],
    ) -> Result<Option<Sent>, SocketError> {
        let Addresses { source, destination } = header.addresses;
        let from = if source.ip().is_unspecified() { entry.source } else { source.ip() };
        let addresses = Addresses { source: SocketAddr::new(from, source.port()), destination };
        // The receiver's own interface is for its library to say.
        let header = DatagramHeader { addresses, ttl: header.ttl, tos: header.tos, interface: None };
        let header = header.encode().map_err(|_| SocketError::InvalidArgument)?;
        let record = || [header.as_bytes(), payload].concat();
        let key = (entry.listener.clone(), entry.generation);
        let socket = self.datagrams.hot(id)?;
        let place = socket.peers.place(&key);
        let (dropped, sent) = match place.and_then(|place| Some((place, socket.peers.at(place)?))) {
            None => {
                self.open_datagram_peer(reactor, id, key, record())?;
                (None, None)
            }
            Some((_, Peer::Opening(queued))) if queued.len() >= QUEUE => (Some(DatagramDrop::OpeningQueueFull), None),
            Some((_, Peer::Opening(queued))) => {
                queued.push_back(record());
                (None, None)
            }
            Some((place, Peer::Open(channel))) => match write(channel, &header, payload) {
                Ok(()) => (None, Some(Sent { header, place })),
                // Who had the other end is gone; of a family of forked processes another one may be there still.
                Err(DatagramDrop::PeerGone) => {
                    socket.peers.remove(&key);
                    self.open_datagram_peer(reactor, id, key, record())?;
                    (None, None)
                }
                Err(reason) => (Some(reason), Some(Sent { header, place })),
            },
        };
        match dropped {
            Some(reason) => self.datagrams.count(reason, 1),
            None => self.keep_traffic(&entry.interface, Traffic::sent(payload.len())),
        }
        Ok(sent)
    }

    fn open_datagram_peer(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        key: PeerKey,
        first: Vec<u8>,
    ) -> Result<(), SocketError> {
        let is_connected = self.datagrams.hot(id)?.connected != Connected::No;
        let kind = if is_connected { DatagramPeer::RecordsOfConnected } else { DatagramPeer::Records };
        let terms = postcard::to_stdvec(&kind).map_err(|_| SocketError::InvalidArgument)?;
        let (pathname, generation) = &key;
        let ticket = reactor.link.open(pathname, Some(Generation(*generation)), &terms);
        let ticket = ticket.map_err(|error| error_of_link(&error))?;
        self.datagrams.hot(id)?.peers.insert(key.clone(), Peer::Opening(VecDeque::from([first])));
        self.datagrams.opening.insert(ticket, Opening::Peer(id, key));
        Ok(())
    }

    /// Waits until the channels to receivers are there, with what was sent in them: it is the receivers' then, whatever
    /// becomes of this process. What else procmgr says meanwhile is for the loop.
    fn await_datagram_peers(&mut self, reactor: &mut Reactor) {
        let until = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        while self.datagrams.is_opening_peers() {
            let left = until.saturating_duration_since(Instant::now());
            match reactor.link.wait_event_timeout(left) {
                Ok(Some(LinkEvent::Opened { ticket, channel, .. })) if self.datagrams.opens_peer(ticket) => {
                    self.datagram_opened(reactor, ticket, channel);
                }
                Ok(Some(LinkEvent::Refused { ticket, refusal })) if self.datagrams.opens_peer(ticket) => {
                    self.datagram_refused(reactor, ticket, &refusal);
                }
                Ok(Some(other)) => others.push(other),
                Ok(None) => {
                    log::debug!("a datagram waits in its process: procmgr does not open its channel");
                    break;
                }
                // The loop meets it too, and ends the process.
                Err(error) => {
                    log::debug!("a datagram waits in its process: {error}");
                    break;
                }
            }
        }
        others.into_iter().for_each(|event| reactor.postpone(event));
    }

    /// Whether datagrams of a socket wait for a channel to their receiver.
    pub fn is_opening_peers(&self, id: SocketId) -> bool {
        let socket = self.datagrams.sockets.get(&id);
        socket.is_some_and(|socket| socket.peers.iter().any(|peer| matches!(peer, Peer::Opening(_))))
    }

    /// The channel to a receiver is there: what was sent meanwhile goes first.
    pub(super) fn datagram_peer_opened(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        key: &PeerKey,
        mut channel: Channel,
    ) {
        let Ok(socket) = self.datagrams.hot(id) else { return };
        let Some(peer @ Peer::Opening(_)) = socket.peers.get_mut(key) else { return };
        let Peer::Opening(queued) = std::mem::replace(peer, Peer::Opening(VecDeque::new())) else { return };
        channel.tx.grow_at_once();
        let mut dropped = Vec::new();
        for record in queued {
            dropped.extend(outcome(channel.write_record(&record)).err());
        }
        let bell = reactor.register(&mut channel);
        let stands = !dropped.contains(&DatagramDrop::PeerGone) && matches!(channel.arm_read(), Ok(true));
        *peer = Peer::Open(channel);
        match bell {
            Ok(token) => {
                self.datagrams.forget_bells();
                self.datagrams.peer_bells.insert(token, (id, key.clone()));
                if !stands {
                    // What it was to ring for has happened.
                    self.datagram_peer_rang(token);
                }
            }
            // It is not told, then: the first datagram that finds the other end gone is lost.
            Err(error) => log::warn!("cannot wait for the end of a datagram channel: {error}"),
        }
        dropped.into_iter().for_each(|reason| self.datagrams.count(reason, 1));
    }

    /// A channel to a receiver rang: nobody takes what comes there, or nobody has the other end.
    pub(super) fn datagram_peer_rang(&mut self, token: Token) {
        let Some((id, key)) = self.datagrams.peer_bells.get(&token).cloned() else { return };
        let Ok(socket) = self.datagrams.hot(id) else { return };
        let Some(Peer::Open(channel)) = socket.peers.get_mut(&key) else { return };
        let heard = channel.acknowledge_bell().and_then(|_| channel.read_record(&mut Vec::new()));
        let stands = heard.is_ok() && !channel.peer_closed() && !channel.is_finished();
        if stands && matches!(channel.arm_read(), Ok(true)) {
            return;
        }
        socket.peers.remove(&key);
        self.datagrams.peer_bells.remove(&token);
        if let Err(ChannelError::Reset(code)) = heard {
            self.datagram_refused_by_peer(id, SocketError::from_code(code));
        }
    }

    /// As ICMP tells it: a socket with a peer learns it once, by its next call.
    fn datagram_refused_by_peer(&mut self, id: SocketId, error: SocketError) {
        let Ok(socket) = self.datagrams.hot(id) else { return };
        if socket.connected != Connected::No && error == SocketError::ConnectionRefused {
            socket.error = Some(error);
            self.events.push_back(LibraryEvent::Readable { socket: id });
        }
    }

    /// The vrFIB changed: channels to receivers that are no longer in it are closed.
    pub(crate) fn forget_datagram_peers(&mut self) {
        if self.datagrams.sockets.values().all(|socket| socket.peers.is_empty()) {
            return;
        }
        let known: HashSet<PeerKey> =
            self.vrfib.entries().map(|(entry, _)| (entry.listener.clone(), entry.generation)).collect();
        for socket in self.datagrams.sockets.values_mut() {
            socket.peers.retain(|key| known.contains(key));
        }
        self.datagrams.forget_bells();
    }
}

impl super::Datagrams {
    /// Whether procmgr was asked for a channel to a receiver, and has not answered.
    fn is_opening_peers(&self) -> bool {
        self.opening.values().any(|opening| matches!(opening, Opening::Peer(..)))
    }

    fn opens_peer(&self, ticket: Ticket) -> bool {
        matches!(self.opening.get(&ticket), Some(Opening::Peer(..)))
    }

    /// Forgets bells of channels that are closed.
    pub(super) fn forget_bells(&mut self) {
        let Self { peer_bells, sockets, .. } = self;
        let is_there =
            |(id, key): &(SocketId, PeerKey)| sockets.get(id).is_some_and(|socket| socket.peers.place(key).is_some());
        peer_bells.retain(|_, of| is_there(of));
    }
}

impl super::DatagramSocket {
    /// Longest payload of a datagram.
    fn room(&self) -> usize {
        let family = self.bound.as_ref().map_or(Family::Ipv4, |bound| bound.family);
        match self.kind {
            Kind::Udp => max_payload(family) - UDP_HEADER,
            Kind::Raw(_) => max_payload(family),
        }
    }
}

/// Writes without waiting: the receiver may be slow, or gone.
#[inline]
fn write(channel: &mut Channel, header: &EncodedHeader, payload: &[u8]) -> Result<(), DatagramDrop> {
    // A receiver looks out only for who runs elsewhere.
    channel.show_cpu();
    outcome(channel.write_record_parts(&[header.as_bytes(), payload]))
}

#[inline]
fn outcome(written: Result<bool, ChannelError>) -> Result<(), DatagramDrop> {
    match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(DatagramDrop::RingFull),
        Err(_) => Err(DatagramDrop::PeerGone),
    }
}
