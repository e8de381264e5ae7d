//! How a datagram socket gets its port, its name and its groups: from the stack, and with the manager.

use std::net::{IpAddr, SocketAddr};

use ipc::channel::Channel;
use ipc::protocol::{Refusal, Ticket};
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, InterfaceName};
use mio::Token;
use stack_api::Terms;
use stack_api::datagram::{DatagramBind, DatagramProtocol, DatagramReply, DatagramRequest};
use stack_api::socket::SocketError;
use vr_api::interface::is_link_scoped;
use vr_api::manager::{LibraryRequest, Listener, Membership};

use super::connect::Connected;
use super::peers::Peer;
use super::{BoundTo, DatagramDrop, GROUPS, Kind, Opening, QUEUE, Server};
use crate::error::error_of_link;
use crate::library::{Library, LibraryEvent};
use crate::listen::Authority;
use crate::socket::SocketId;

impl Library {
    /// Binds a datagram or raw socket: to an address or to all of its family (0.0.0.0 or ::), to a port (0: one of the
    /// stack's choice; raw sockets have none), to an interface or to all. A socket of IPv6 takes no IPv4
    /// (`IPV6_V6ONLY`), and a link-local address needs its interface. [`LibraryEvent::Listening`] follows when it may send, and when
    /// every process of a joined VR reaches it; or [`LibraryEvent::ListenFailed`], and it is unbound again: after a minute
    /// (`TimedOut`) where the router does not answer.
    pub fn bind_datagram(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        address: SocketAddr,
        interface: Option<InterfaceName>,
    ) -> Result<(), SocketError> {
        let socket = self.datagrams.get(id)?;
        if socket.bound.is_some() {
            return Err(SocketError::InvalidArgument);
        }
        let needs_interface = is_link_scoped(address.ip()) && !address.ip().is_multicast();
        if needs_interface && interface.is_none() {
            return Err(SocketError::InvalidArgument);
        }
        let port = match socket.kind {
            Kind::Udp => address.port(),
            Kind::Raw(_) => 0,
        };
        let local = (!address.ip().is_unspecified()).then_some(address.ip());
        socket.bound = Some(BoundTo { family: Family::of(address.ip()), local, port, interface });
        self.open_datagram_server(reactor, id).inspect_err(|_| {
            if let Ok(socket) = self.datagrams.get(id) {
                socket.bound = None;
            }
        })?;
        self.await_answer(id);
        Ok(())
    }

    /// Own address and port of a bound datagram socket; the address is unspecified where it is bound to none and
    /// has no peer.
    pub fn datagram_address(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        let socket = self.datagrams.sockets.get(&id).ok_or(SocketError::InvalidArgument)?;
        let bound = socket.bound.as_ref().ok_or(SocketError::InvalidArgument)?;
        let towards_peer = match socket.connected {
            Connected::To(path) | Connected::Again(path) => path.local,
            Connected::No | Connected::Asked(_) => None,
        };
        let local = bound.local.filter(|local| !local.is_multicast()).or(towards_peer).or(bound.local);
        Ok(SocketAddr::new(local.unwrap_or(bound.family.unspecified()), bound.port))
    }

    /// Receives what comes to a group by an interface: of IPv4 to any, of which the links of ports are told (IGMP); of
    /// IPv6 to one of the link.
    pub fn join(&mut self, id: SocketId, group: IpAddr, interface: &InterfaceName) -> Result<(), SocketError> {
        if !group.is_multicast() {
            return Err(SocketError::InvalidArgument);
        }
        // Of IPv6 nobody tells a link which groups beyond its own are received (MLD).
        if group.is_ipv6() && !is_link_scoped(group) {
            return Err(SocketError::NotSupported);
        }
        let socket = self.datagrams.get(id)?;
        if socket.bound.as_ref().is_some_and(|bound| bound.family != Family::of(group)) {
            return Err(SocketError::InvalidArgument);
        }
        if socket.groups.len() >= GROUPS {
            return Err(SocketError::NoBuffers);
        }
        if !socket.groups.insert((interface.clone(), group)) {
            return Err(SocketError::AddressInUse);
        }
        if let Some(criteria) = socket.criteria().filter(|_| socket.channel().is_some()) {
            self.ask_datagram(id, &DatagramRequest::Join { group, interface: interface.clone() });
            self.manager.send(&LibraryRequest::Join(Membership { criteria, group, interface: interface.clone() }));
        }
        Ok(())
    }

    /// Ends a [`join`](Self::join).
    pub fn leave(&mut self, id: SocketId, group: IpAddr, interface: &InterfaceName) -> Result<(), SocketError> {
        let socket = self.datagrams.get(id)?;
        if !socket.groups.remove(&(interface.clone(), group)) {
            return Err(SocketError::AddressNotAvailable);
        }
        if let Some(criteria) = socket.criteria() {
            self.ask_datagram(id, &DatagramRequest::Leave { group, interface: interface.clone() });
            self.leave_at_manager(criteria, group, interface.clone());
        }
        Ok(())
    }

    /// The manager knows processes, not sockets: the last one that leaves says so.
    fn leave_at_manager(&mut self, criteria: Criteria, group: IpAddr, interface: InterfaceName) {
        let membership = (interface, group);
        let stays =
            |socket: &super::DatagramSocket| socket.criteria() == Some(criteria) && socket.groups.contains(&membership);
        if !self.datagrams.sockets.values().any(stays) {
            let interface = membership.0;
            self.manager.send(&LibraryRequest::Leave(Membership { criteria, group, interface }));
        }
    }

    pub(crate) fn ask_datagram(&mut self, id: SocketId, request: &DatagramRequest) {
        let Some(channel) = self.datagrams.sockets.get_mut(&id).and_then(super::DatagramSocket::channel) else {
            return;
        };
        let written = postcard::to_stdvec(request).map(|record| channel.write_record(&record));
        if !matches!(written, Ok(Ok(true))) {
            log::warn!("the stack does not take a request of a datagram socket: {written:?}");
        }
    }

    pub(super) fn open_datagram_server(&mut self, reactor: &mut Reactor, id: SocketId) -> Result<(), SocketError> {
        let options = self.options_of(id);
        let socket = self.datagrams.get(id)?;
        let bound = socket.bound.as_ref().ok_or(SocketError::InvalidArgument)?;
        let protocol = match socket.kind {
            Kind::Udp => DatagramProtocol::Udp { port: bound.port },
            Kind::Raw(protocol) => DatagramProtocol::Raw(protocol),
        };
        let (family, local, interface) = (bound.family, bound.local, bound.interface.clone());
        let wanted = DatagramBind { protocol, family, local, interface, options };
        let terms = postcard::to_stdvec(&Terms::Datagram(wanted)).map_err(|_| SocketError::InvalidArgument)?;
        let ticket = reactor.link.open(&self.server_pathname, None, &terms).map_err(|error| error_of_link(&error))?;
        socket.server = Server::Opening(ticket);
        self.datagrams.opening.insert(ticket, Opening::Server(id));
        Ok(())
    }

    /// procmgr opened what a datagram socket wanted.
    pub(crate) fn datagram_opened(&mut self, reactor: &mut Reactor, ticket: Ticket, mut channel: Channel) {
        if matches!(self.datagrams.opening.get(&ticket), Some(Opening::Peer(..))) {
            // A program that is executed opens its own.
            channel.stay_here();
        }
        match self.datagrams.opening.remove(&ticket) {
            Some(Opening::Server(id)) if self.datagrams.contains(id) => match reactor.register(&mut channel) {
                Ok(token) => {
                    channel.tx.grow_at_once();
                    self.datagrams.servers.insert(token, id);
                    if let Ok(socket) = self.datagrams.get(id) {
                        socket.server = Server::Asked(channel, token);
                    }
                    self.datagram_answer(reactor, id);
                }
                Err(error) => {
                    log::error!("cannot wait for a datagram socket's channel: {error}");
                    self.fail_datagram(reactor, id, SocketError::NoBuffers);
                }
            },
            Some(Opening::Peer(id, key)) => self.datagram_peer_opened(reactor, id, &key, channel),
            Some(Opening::Server(_)) | None => {}
        }
    }

    /// procmgr refused it.
    pub(crate) fn datagram_refused(&mut self, reactor: &mut Reactor, ticket: Ticket, refusal: &Refusal) {
        match self.datagrams.opening.remove(&ticket) {
            Some(Opening::Server(id)) => {
                log::error!("a datagram socket gets no channel to the stack: {refusal}");
                self.fail_datagram(reactor, id, SocketError::NetworkDown);
            }
            Some(Opening::Peer(id, key)) => {
                if let Ok(socket) = self.datagrams.get(id)
                    && let Some(Peer::Opening(queued)) = socket.peers.remove(&key)
                {
                    self.datagrams.count(DatagramDrop::PeerGone, queued.len());
                }
            }
            None => {}
        }
    }

    /// The stack may have said whether the socket stands.
    pub(super) fn datagram_answer(&mut self, reactor: &mut Reactor, id: SocketId) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        let Server::Asked(channel, _) = &mut socket.server else { return };
        let mut record = Vec::new();
        let answer = loop {
            match channel.read_record(&mut record) {
                Ok(true) => break postcard::from_bytes(&record).ok(),
                Ok(false) if channel.peer_closed() || channel.is_finished() => {
                    self.datagram_server_lost(reactor, id);
                    return;
                }
                Ok(false) => match channel.arm_read() {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(_) => break None,
                },
                Err(_) => break None,
            }
        };
        match answer {
            Some(DatagramReply::Bound { port }) => self.datagram_stands(id, port),
            Some(DatagramReply::Failed(error)) => self.fail_datagram(reactor, id, error),
            Some(DatagramReply::Connected(_) | DatagramReply::Error(_)) | None => {
                log::error!("the stack answers a datagram socket with nonsense");
                self.fail_datagram(reactor, id, SocketError::NetworkDown);
            }
        }
    }

    fn datagram_stands(&mut self, id: SocketId, port: u16) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        if let Some(bound) = &mut socket.bound {
            bound.port = port;
        }
        socket.server = match std::mem::replace(&mut socket.server, Server::Absent) {
            Server::Asked(channel, token) => Server::Bound(channel, token),
            other @ (Server::Absent | Server::Opening(_) | Server::Bound(..)) => other,
        };
        socket.server_is_armed = false;
        let armed = socket.channel().is_some_and(|channel| matches!(channel.arm_read(), Ok(true)));
        let groups = socket.groups.clone();
        for (interface, group) in groups {
            self.ask_datagram(id, &DatagramRequest::Join { group, interface });
        }
        self.ask_for_peer(id);
        self.bound_waiting_datagrams(id);
        if !armed {
            self.events.push_back(LibraryEvent::Readable { socket: id });
        }
        self.publish_datagram(id);
        self.announce_datagram(id);
    }

    /// Makes a socket that has its port known to the joined VRs, with its groups.
    pub(crate) fn publish_datagram(&mut self, id: SocketId) {
        let Some(socket) = self.datagrams.sockets.get(&id) else { return };
        let (Some(criteria), Some(bound)) = (socket.criteria(), &socket.bound) else { return };
        // The manager knows one listener for a name and an address: sockets that differ in the interface share it.
        let shares = |other: &super::DatagramSocket| {
            other.criteria() == Some(criteria)
                && other.bound.as_ref().is_some_and(|b| b.local == bound.local && b.interface != bound.interface)
        };
        let is_shared = self.datagrams.sockets.values().any(shares);
        let (local, interface) = (bound.local, bound.interface.clone().filter(|_| !is_shared));
        let shared = self.datagrams.shared(criteria, local);
        let listener = Listener { criteria, local, interface, backlog: QUEUE as u16, clauses: Vec::new(), shared };
        let groups = socket.groups.clone();
        let ticket = self.new_ask(Authority::Manager, id);
        self.manager.send(&LibraryRequest::Publish { ticket, listener });
        for (interface, group) in groups {
            self.manager.send(&LibraryRequest::Join(Membership { criteria, group, interface }));
        }
    }

    /// The manager has made a socket known.
    pub(crate) fn datagram_published(&mut self, id: SocketId) {
        if let Ok(socket) = self.datagrams.get(id) {
            socket.published = true;
        }
        self.announce_datagram(id);
    }

    /// Says once that a socket stands, on the stack and with the manager.
    pub(crate) fn announce_datagram(&mut self, id: SocketId) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        if socket.channel().is_some() && socket.published && !socket.announced {
            socket.announced = true;
            if !matches!(socket.connected, Connected::Asked(_)) {
                self.set_timer(id, None);
            }
            self.events.push_back(LibraryEvent::Listening { listener: id });
        }
    }

    /// A socket does not stand: it is unbound again.
    pub(crate) fn fail_datagram(&mut self, reactor: &mut Reactor, id: SocketId, error: SocketError) {
        let Some(kind) = self.datagrams.sockets.get(&id).map(|socket| socket.kind) else { return };
        let options = self.options_of(id);
        self.close_datagram(reactor, id);
        self.set_timer(id, None);
        self.forget_asks(id);
        self.keep_options(id, options);
        self.datagrams.sockets.insert(id, super::DatagramSocket::new(kind));
        self.events.push_back(LibraryEvent::ListenFailed { listener: id, error });
    }

    /// The stack's process went away: the next one is asked for the same port.
    pub(super) fn datagram_server_lost(&mut self, reactor: &mut Reactor, id: SocketId) {
        self.drop_datagram_server(reactor, id);
        if let Err(error) = self.open_datagram_server(reactor, id) {
            log::error!("a datagram socket is without a stack: {error}");
        }
    }

    fn drop_datagram_server(&mut self, reactor: &mut Reactor, id: SocketId) {
        let Ok(socket) = self.datagrams.get(id) else { return };
        match std::mem::replace(&mut socket.server, Server::Absent) {
            Server::Asked(channel, token) | Server::Bound(channel, token) => self.drop_channel(reactor, channel, token),
            Server::Opening(ticket) => {
                self.datagrams.opening.remove(&ticket);
                if let Err(error) = reactor.link.cancel(ticket) {
                    log::debug!("{error}");
                }
            }
            Server::Absent => {}
        }
    }

    fn drop_channel(&mut self, reactor: &mut Reactor, mut channel: Channel, token: Token) {
        self.datagrams.servers.remove(&token);
        if let Err(error) = reactor.deregister(&mut channel) {
            log::debug!("a channel that is closed: {error}");
        }
        // A sibling goes on with it.
        if !channel.is_shared() {
            channel.close();
        }
    }

    /// Closes a datagram socket; what lies unread in it is lost.
    pub(crate) fn close_datagram(&mut self, reactor: &mut Reactor, id: SocketId) {
        self.drop_datagram_server(reactor, id);
        let Some(socket) = self.datagrams.sockets.remove(&id) else { return };
        self.datagrams.forget_bells();
        let (Some(criteria), Some(bound)) = (socket.criteria(), socket.bound) else { return };
        for (interface, group) in socket.groups {
            self.leave_at_manager(criteria, group, interface);
        }
        let others = self.datagrams.listening(criteria);
        let same_address = |other: &SocketId| {
            let other = self.datagrams.sockets.get(other).and_then(|other| other.bound.as_ref());
            other.is_some_and(|other| other.local == bound.local)
        };
        match others.iter().copied().find(same_address) {
            None => _ = self.manager.send(&LibraryRequest::Withdraw { criteria, local: bound.local }),
            // All that is left are sockets that other processes have too.
            Some(other) if !self.datagrams.shared(criteria, bound.local).is_empty() => self.publish_datagram(other),
            Some(_) => {}
        }
        if others.is_empty() {
            let unread: Vec<Token> =
                self.datagrams.incoming.iter().filter(|(_, i)| i.criteria == criteria).map(|(t, _)| *t).collect();
            unread.into_iter().for_each(|token| self.drop_incoming(reactor, token));
            self.datagrams.hot.remove(&criteria);
            self.leave_family_queue(reactor, criteria);
        }
    }
}
