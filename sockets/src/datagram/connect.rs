//! Datagram sockets that speak with one peer: whom they hear, and whose ICMP errors they are told.

use std::net::{IpAddr, SocketAddr};

use ipc::Family;
use ipc::channel::Channel;
use ipc::reactor::Reactor;
use stack_api::datagram::{DatagramPath, DatagramRequest, ProcessMessage};
use stack_api::datagram_header::DatagramHeader;
use stack_api::socket::{SocketError, SocketRequest};
use vr_api::interface::is_link_scoped;

use super::Kind;
use crate::library::{Library, LibraryEvent};
use crate::socket::SocketId;

/// Whom a socket speaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connected {
    /// Everybody.
    No,
    /// The stack was asked for the way, or is to be asked once it is there.
    Asked(SocketAddr),
    /// The way is known, with it the own address.
    To(DatagramPath),
    /// The way was known to a stack that is gone; the next one is asked, and nobody is told again.
    Again(DatagramPath),
}

impl Connected {
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Connected::No => None,
            Connected::Asked(peer) => Some(*peer),
            Connected::To(path) | Connected::Again(path) => path.peer,
        }
    }

    /// Whether a datagram from `source` to `destination` is one that the socket hears.
    pub fn hears(&self, source: SocketAddr, destination: IpAddr) -> bool {
        match self {
            Connected::No => true,
            Connected::Asked(peer) => *peer == source,
            Connected::To(path) | Connected::Again(path) => {
                path.peer == Some(source) && (destination.is_multicast() || path.local == Some(destination))
            }
        }
    }
}

impl Library {
    /// Gives a datagram socket a peer: it hears nobody else, and is told once, by the next call, if the peer's host
    /// refuses what was sent there. [`LibraryEvent::Connected`] follows once there is a way, from which on
    /// [`datagram_address`](Self::datagram_address) tells the own address; or [`LibraryEvent::ConnectFailed`], and the
    /// socket has no peer. One that was not bound is bound to a port of the stack's choice, and
    /// [`LibraryEvent::Listening`] comes first. Where the stack does not answer, it fails after a minute (`TimedOut`).
    /// `None` takes the peer away, at once.
    pub fn connect_datagram(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        peer: Option<SocketAddr>,
    ) -> Result<(), SocketError> {
        let socket = self.datagrams.get(id)?;
        let Some(peer) = peer else {
            socket.connected = Connected::No;
            self.ask_datagram(id, &DatagramRequest::Connect(None));
            self.has_peer_or_none(id);
            return Ok(());
        };
        let has_port = match socket.kind {
            Kind::Udp => peer.port() != 0,
            Kind::Raw(_) => true,
        };
        if peer.ip().is_unspecified() || !has_port {
            return Err(SocketError::InvalidArgument);
        }
        let bound = socket.bound.as_ref();
        let of_no_link = is_link_scoped(peer.ip()) && bound.is_none_or(|bound| bound.interface.is_none());
        if of_no_link && !peer.ip().is_multicast() {
            return Err(SocketError::InvalidArgument);
        }
        if bound.is_some_and(|bound| bound.family != Family::of(peer.ip())) {
            return Err(SocketError::InvalidArgument);
        }
        let port = if socket.kind == Kind::Udp { peer.port() } else { 0 };
        let peer = SocketAddr::new(peer.ip(), port);
        let is_bound = socket.bound.is_some();
        socket.connected = Connected::Asked(peer);
        if !is_bound {
            let any = SocketAddr::new(Family::of(peer.ip()).unspecified(), 0);
            return self.bind_datagram(reactor, id, any, None);
        }
        self.ask_datagram(id, &DatagramRequest::Connect(Some(peer)));
        self.await_answer(id);
        if self.is_read_in_turn(id) {
            self.ask_for_source(id);
        } else {
            self.await_word_of_server(reactor, id);
        }
        self.refuse_others(reactor, id);
        Ok(())
    }

    /// Whether forked processes share a socket.
    fn is_read_in_turn(&self, id: SocketId) -> bool {
        let channel = self.datagrams.sockets.get(&id).and_then(super::DatagramSocket::channel_ref);
        channel.is_some_and(Channel::is_used_in_turn)
    }

    /// Asks for a shared socket's way to its peer in this process's own name: the answer on the socket's channel, a
    /// sibling may have read that knows of no question.
    pub(crate) fn ask_for_source(&mut self, id: SocketId) {
        if !self.is_read_in_turn(id) {
            return;
        }
        let of_groups = self.options.get(&id).and_then(|options| options.multicast_interface.clone());
        let Ok(socket) = self.datagrams.hot(id) else { return };
        let (Connected::Asked(peer), Some(bound)) = (socket.connected, &socket.bound) else { return };
        if let Some(local) = bound.local.filter(|local| !local.is_multicast()) {
            return self.datagram_source(id, Ok(local));
        }
        let on = bound.interface.clone().or(of_groups.filter(|_| peer.ip().is_multicast()));
        let ticket = self.new_ask_for_source(id);
        // One that is away is asked when it is back.
        self.server.send(&SocketRequest::SourceTowards { ticket, to: peer.ip(), on });
    }

    /// With which address a shared socket speaks with its peer.
    pub(crate) fn datagram_source(&mut self, id: SocketId, source: Result<IpAddr, SocketError>) {
        if let Ok(Connected::Asked(peer)) = self.datagrams.hot(id).map(|socket| socket.connected) {
            let path = source.map(|local| DatagramPath { local: Some(local), peer: Some(peer) });
            self.datagram_connected(id, path);
        }
    }

    /// The peer of a datagram socket, if it has one.
    pub fn datagram_peer(&self, id: SocketId) -> Result<Option<SocketAddr>, SocketError> {
        let socket = self.datagrams.sockets.get(&id).ok_or(SocketError::InvalidArgument)?;
        Ok(socket.connected.peer())
    }

    /// Whether it has its peer, and knows the way there.
    pub fn datagram_is_connected(&self, id: SocketId) -> bool {
        let connected = self.datagrams.sockets.get(&id).map(|socket| socket.connected);
        matches!(connected, Some(Connected::To(_) | Connected::Again(_)))
    }

    /// A message from a socket with what its options say: TTL, TOS, and for a group the interface. `None`: to its peer.
    /// All of it may be changed before [`send_to`](Self::send_to).
    pub fn message(
        &self,
        id: SocketId,
        to: Option<SocketAddr>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<ProcessMessage, SocketError> {
        Ok(self.header(id, to)?.with_payload(payload.into()))
    }

    /// The same without a payload.
    pub(super) fn header(&self, id: SocketId, to: Option<SocketAddr>) -> Result<DatagramHeader, SocketError> {
        let to = to.or(self.datagram_peer(id)?).ok_or(SocketError::DestinationRequired)?;
        let (mut header, _) = ProcessMessage::to(to, Vec::new()).into_parts();
        if let Some(options) = self.options.get(&id) {
            header.ttl = if to.ip().is_multicast() { options.multicast_ttl } else { options.unicast_ttl() };
            header.tos = options.tos;
        }
        Ok(header)
    }

    /// The stack may be another than the one that was asked.
    pub(super) fn ask_for_peer(&mut self, id: SocketId) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        if let Connected::To(path) = socket.connected {
            socket.connected = Connected::Again(path);
        }
        if let Some(peer) = socket.connected.peer() {
            self.ask_datagram(id, &DatagramRequest::Connect(Some(peer)));
        }
    }

    /// The stack's answer. One to an earlier question has another peer.
    pub(super) fn datagram_connected(&mut self, id: SocketId, answer: Result<DatagramPath, SocketError>) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        match (socket.connected, answer) {
            (Connected::Asked(peer), Ok(path)) if path.peer == Some(peer) => {
                socket.connected = Connected::To(path);
                self.events.push_back(LibraryEvent::Connected { socket: id });
                self.has_peer_or_none(id);
            }
            (Connected::Asked(_), Err(error)) => {
                socket.connected = Connected::No;
                self.events.push_back(LibraryEvent::ConnectFailed { socket: id, error });
                self.has_peer_or_none(id);
            }
            (Connected::Again(known), Ok(path)) if path.peer == known.peer => socket.connected = Connected::To(path),
            // The way is gone for now: what is sent finds out.
            (Connected::Again(known), Err(_)) => socket.connected = Connected::To(known),
            (Connected::No | Connected::To(_) | Connected::Asked(_) | Connected::Again(_), _) => {}
        }
    }

    /// It is settled whether a socket has a peer: nothing but its bind may still be waited for.
    fn has_peer_or_none(&mut self, id: SocketId) {
        if self.datagrams.is_announced(id) {
            self.set_timer(id, None);
        }
    }

    /// Nobody has said whether there is a way to a socket's peer: it has none, and the stack is told so.
    pub(crate) fn give_up_peer(&mut self, id: SocketId, error: SocketError) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        if let Connected::Asked(_) = socket.connected {
            socket.connected = Connected::No;
            self.ask_datagram(id, &DatagramRequest::Connect(None));
            self.events.push_back(LibraryEvent::ConnectFailed { socket: id, error });
        }
    }
}
