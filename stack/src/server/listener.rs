//! Connections that peers open: from the SYN to the moment when the process that listens has its end.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use ipc::channel::Channel;
use ipc::protocol::Ticket;
use ipc::reactor::Reactor;
use ipc::{Family, InterfaceName, Pathname, Pid, VrId};
use stack_api::datagram::DEFAULT_TTL;
use stack_api::options::Options;
use stack_api::socket::{Addresses, ConnectResult, SocketError};

use super::options::config;
use super::pipe::Pipe;
use super::segment::Segment;
use super::tcp::{Origin, Server, TcpSocket, isn_space, tell_record};
use crate::control::plane::Plane;
use crate::ids::IfIndex;
use crate::ifib::{SocketId, scope_of, unscoped};
use crate::time::Time;
use crate::transport::tcp::{Connection, reset_for};
use crate::wire::tcp::{TcpFlags, TcpSegment};

/// A port that a process listens on.
#[derive(Debug)]
pub(super) struct Listener {
    pub vr: VrId,
    pub owner: Pid,
    pub pathname: Pathname,
    pub family: Family,
    pub local: Option<IpAddr>,
    pub interface: Option<InterfaceName>,
    pub port: u16,
    pub backlog: usize,
    pub options: Options,
    /// Handshakes, and connections whose end procmgr has not delivered.
    pub pending: usize,
}

impl Listener {
    /// Whether what came by an interface is for it.
    pub(super) fn is_bound_to(&self, plane: &Plane, came_by: Option<IfIndex>) -> bool {
        let index = |name| plane.topology.interface(self.vr, name).map(|record| record.index);
        self.interface.as_ref().is_none_or(|name| came_by.is_some() && index(name) == came_by)
    }
}

impl Server {
    pub(super) fn listener_for(
        &self,
        plane: &Plane,
        vr: VrId,
        local: SocketAddr,
        came_by: Option<IfIndex>,
    ) -> Option<SocketId> {
        let fits = |listener: &Listener, address| {
            let bound = listener.port == local.port() && listener.local == address;
            let here = listener.vr == vr && listener.is_bound_to(plane, came_by);
            here && bound && listener.family == Family::of(local.ip())
        };
        let all = |address| self.listeners.iter().filter(move |(_, listener)| fits(listener, address));
        let find = |address| all(address).map(|(id, _)| *id).min();
        find(Some(local.ip())).or_else(|| find(None))
    }

    pub(super) fn hand_to_listener(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        listener: SocketId,
        (local, remote): (SocketAddr, SocketAddr),
        segment: &TcpSegment<'_>,
    ) {
        let Some(entry) = self.listeners.get_mut(&listener) else { return };
        let vr = entry.vr;
        if !segment.repr.flags.contains(TcpFlags::SYN) || segment.repr.flags.contains(TcpFlags::ACK) {
            return self.refuse(now, plane, vr, local, remote, segment);
        }
        // A full backlog is silence, as on Linux: the peer tries again.
        if entry.pending >= entry.backlog {
            return;
        }
        let iss = self.isn.next(now, isn_space(vr), local, remote);
        let (owner, options) = (entry.owner, entry.options.clone());
        // As on Linux, a connection is bound to its listener's interface.
        let bound = entry.interface.as_ref().and_then(|name| plane.topology.interface(vr, name));
        let interface = bound.map(|record| record.index).or(scope_of(remote));
        let config = config(now, plane, (vr, remote, interface), &options);
        let Some(connection) = Connection::accept(now, config, local, remote, segment, iss) else { return };
        entry.pending += 1;
        let origin = Origin::Passive { listener };
        let pipe = RefCell::new(Pipe::empty(options.receive_buffer()));
        let (token, deadline, orphaned) = (None, None, false);
        let socket = TcpSocket { vr, owner, interface, options, connection, pipe, token, origin, deadline, orphaned };
        let id = self.insert(plane, socket);
        self.pump(now, plane, reactor, id);
    }

    /// Nobody is there: a reset (RFC 9293 section 3.10.7.1).
    pub(super) fn refuse(
        &mut self,
        now: Time,
        plane: &mut Plane,
        vr: VrId,
        local: SocketAddr,
        remote: SocketAddr,
        segment: &TcpSegment<'_>,
    ) {
        if let Some(repr) = reset_for(segment) {
            let reset = Segment {
                vr,
                ttl: DEFAULT_TTL,
                traffic_class: 0,
                local: local.ip(),
                remote: remote.ip(),
                interface: scope_of(remote),
                repr,
                segment_bytes: None,
                key: None,
            };
            reset.send(now, plane, &mut self.packet, &[]);
        }
    }

    pub(super) fn connected(&mut self, reactor: &mut Reactor, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let (local, remote) = (socket.connection.local(), socket.connection.remote());
        match &mut socket.origin {
            Origin::Active { told, .. } => {
                *told = true;
                if let Some(channel) = socket.pipe.get_mut().channel() {
                    tell_record(channel, &ConnectResult::Connected { local: unscoped(local) });
                }
            }
            Origin::Passive { listener } => {
                let addresses = Addresses { source: unscoped(remote), destination: unscoped(local) };
                let terms = postcard::to_stdvec(&addresses).unwrap_or_default();
                let opened = self.listeners.get(listener).map(|entry| reactor.link.open(&entry.pathname, None, &terms));
                match opened {
                    Some(Ok(ticket)) => drop(self.by_ticket.insert(ticket, id)),
                    Some(Err(error)) => {
                        log::error!("connection of {remote}: {error}");
                        socket.connection.abort();
                    }
                    None => socket.connection.abort(),
                }
            }
        }
    }

    /// procmgr delivered, or refused, the end of a listener's channel; `false`: the ticket is not one of ours.
    pub fn opened(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        ticket: Ticket,
        channel: Option<Channel>,
    ) -> bool {
        let Some(id) = self.by_ticket.remove(&ticket) else { return false };
        let Some(socket) = self.sockets.get_mut(&id) else {
            // The peer has reset it since; only its listener's process does not know yet.
            if let Some(mut channel) = channel {
                channel.reset(SocketError::ConnectionReset.code());
            }
            return true;
        };
        match channel {
            Some(mut channel) => {
                socket.token = reactor.register(&mut channel).ok();
                if let Some(token) = socket.token {
                    self.by_token.insert(token, id);
                }
                socket.pipe.get_mut().attach(channel);
                if let Origin::Passive { listener } = socket.origin {
                    self.left_pending(listener);
                }
            }
            None => socket.connection.abort(),
        }
        self.pump(now, plane, reactor, id);
        true
    }

    pub(super) fn left_pending(&mut self, listener: SocketId) {
        if let Some(entry) = self.listeners.get_mut(&listener) {
            entry.pending = entry.pending.saturating_sub(1);
        }
    }
}
