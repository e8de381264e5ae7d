//! TCP sockets of all VRs: from a process's request or a peer's SYN to the end of TIME-WAIT.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use ipc::channel::Channel;
use ipc::protocol::Ticket;
use ipc::reactor::Reactor;
use ipc::{Pid, VrId};
use mio::Token;
use stack_api::options::Options;
use stack_api::socket::{ConnectResult, SocketError};

use super::listener::Listener;
use super::options::admit;
use super::pipe::{Pipe, Sink, Source};
use super::segment::{GSO_BYTES, Segment};
use crate::control::plane::Plane;
use crate::ids::IfIndex;
use crate::ifib::{IfibChange, IfibEntry, IfibKey, PuntTarget, SocketId, scoped};
use crate::packet::{ChecksumState, Packet};
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::transport::ports::PortSpace;
use crate::transport::tcp::{Connection, ConnectionError, Event, IsnGenerator, Unreachability};
use crate::wire::icmpv4::Unreachable;
use crate::wire::ip::IpView;
use crate::wire::ipv4::protocol;
use crate::wire::tcp::{SeqNumber, TcpSegment, TcpView};

/// Sequence numbers of different VRs have nothing to do with each other.
pub(super) fn isn_space(vr: VrId) -> u32 {
    vr.0.into()
}

pub(super) type Tuple = (VrId, SocketAddr, SocketAddr);

/// Who wanted a connection.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A process of ours; its port is given back at the end.
    Active { told: bool, port: OwnPort },
    /// A peer; the process that listens gets its end once the handshake is done.
    Passive { listener: SocketId },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum OwnPort {
    Ephemeral,
    Bound(Pid),
}

#[derive(Debug)]
pub(super) struct TcpSocket {
    pub(super) vr: VrId,
    /// The process that it is for.
    pub owner: Pid,
    /// The one interface that it is bound to, or that its link-local peer is on.
    pub interface: Option<IfIndex>,
    pub options: Options,
    pub connection: Connection,
    pub pipe: RefCell<Pipe>,
    pub token: Option<Token>,
    pub origin: Origin,
    pub deadline: Option<Time>,
    pub orphaned: bool,
}

/// A row of `show tcp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketRow {
    /// Its VR.
    pub vr: VrId,
    /// Own side; of a listener `0.0.0.0` or `::` where it is bound to none.
    pub local: SocketAddr,
    /// The peer; `None` for a listener.
    pub remote: Option<SocketAddr>,
    /// State in the words of RFC 9293.
    pub state: String,
}

/// All TCP sockets.
#[derive(Debug, Default)]
pub struct Server {
    pub(super) sockets: HashMap<SocketId, TcpSocket>,
    pub(super) listeners: HashMap<SocketId, Listener>,
    pub(super) by_tuple: HashMap<Tuple, SocketId>,
    pub(super) by_token: HashMap<Token, SocketId>,
    pub(super) by_ticket: HashMap<Ticket, SocketId>,
    timers: BTreeSet<(Time, SocketId)>,
    ports: BTreeMap<VrId, PortSpace>,
    pub(super) isn: IsnGenerator,
    next_id: u64,
    payload: Vec<u8>,
    pub(super) packet: Vec<u8>,
}

impl Server {
    /// The port space of a VR.
    pub(super) fn ports(&mut self, vr: VrId) -> &mut PortSpace {
        self.ports.entry(vr).or_insert_with(|| {
            let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), vr);
            PortSpace::new(seed)
        })
    }

    pub(super) fn new_id(&mut self) -> SocketId {
        self.next_id += 1;
        SocketId(self.next_id)
    }

    pub(super) fn insert(&mut self, plane: &mut Plane, socket: TcpSocket) -> SocketId {
        let id = self.new_id();
        let (vr, local, remote) = (socket.vr, socket.connection.local(), socket.connection.remote());
        let key = IfibKey::Connection { vr, protocol: protocol::TCP, local, remote };
        let entry = IfibEntry { target: PuntTarget::Socket(id), class: PolicerClass::Established };
        plane.ifib.apply(&[IfibChange::Set(key, entry)]);
        self.by_tuple.insert((vr, local, remote), id);
        if let Some(token) = socket.token {
            self.by_token.insert(token, id);
        }
        self.sockets.insert(id, socket);
        id
    }

    /// A TCP packet for us came.
    pub fn segment(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        vr: VrId,
        socket: Option<SocketId>,
        packet: &Packet,
    ) {
        let Ok(ip) = IpView::parse(packet.layer3()) else { return };
        let Ok(view) = TcpView::parse(ip.payload) else { return };
        // A checksum that is still open was never on a wire; one that is verified was seen by the medium.
        let unverified = packet.meta.checksum == ChecksumState::None;
        if unverified && view.verify(ip.source, ip.destination).is_err() {
            return;
        }
        let segment = view.segment();
        let local = scoped(ip.destination, segment.repr.destination_port, packet.meta.interface);
        let remote = scoped(ip.source, segment.repr.source_port, packet.meta.interface);
        // The IFIB's answer may be older than the packet's handling: the tuple decides.
        let id = self.by_tuple.get(&(vr, local, remote)).copied().or(socket);
        let options = id.and_then(|id| self.options_of(id));
        if let Some(Err(reason)) = options.map(|options| admit(options, (local.ip(), remote.ip()), ip.ttl, &view)) {
            return plane.discard(packet, reason);
        }
        let came_by = packet.meta.interface;
        match id {
            Some(id) if self.sockets.get(&id).is_some_and(|socket| socket.is_bound_to(came_by)) => {
                self.hand_to_connection(now, plane, reactor, id, (&segment, came_by));
            }
            Some(id) if self.listeners.get(&id).is_some_and(|listener| listener.is_bound_to(plane, came_by)) => {
                self.hand_to_listener(now, plane, reactor, id, (local, remote), &segment);
            }
            Some(_) | None => self.refuse(now, plane, vr, local, remote, &segment),
        }
    }

    fn hand_to_connection(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        id: SocketId,
        (segment, came_by): (&TcpSegment<'_>, Option<IfIndex>),
    ) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.connection.may_be_replaced_by(segment) {
            let (vr, local, remote) = (socket.vr, socket.connection.local(), socket.connection.remote());
            self.remove(plane, reactor, id);
            if let Some(listener) = self.listener_for(plane, vr, local, came_by) {
                self.hand_to_listener(now, plane, reactor, listener, (local, remote), segment);
            }
            return;
        }
        let (mut source, mut sink) = (Source(&socket.pipe), Sink(&socket.pipe));
        if let Err(reason) = socket.connection.handle_segment(now, segment, &mut source, &mut sink) {
            log::trace!("segment of {}: {reason}", socket.connection.remote());
        }
        self.pump(now, plane, reactor, id);
    }

    fn options_of(&self, id: SocketId) -> Option<&Options> {
        let of_listener = || self.listeners.get(&id).map(|listener| &listener.options);
        self.sockets.get(&id).map(|socket| &socket.options).or_else(of_listener)
    }

    /// An ICMP error about one of our segments came.
    pub fn icmp_error(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        ((vr, local, remote), interface): (Tuple, Option<IfIndex>),
        quoted: SeqNumber,
        why: Unreachable,
    ) {
        let local = scoped(local.ip(), local.port(), interface);
        let remote = scoped(remote.ip(), remote.port(), interface);
        let Some(id) = self.by_tuple.get(&(vr, local, remote)).copied() else { return };
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let connection = &mut socket.connection;
        match why {
            Unreachable::FragmentationNeeded { mtu_bytes } => connection.handle_path_mtu(mtu_bytes.into(), quoted),
            Unreachable::Network => connection.handle_unreachable(Unreachability::Network, quoted),
            Unreachable::Port | Unreachable::Protocol => connection.handle_unreachable(Unreachability::Port, quoted),
            Unreachable::Host | Unreachable::Prohibited | Unreachable::Other(_) => {
                connection.handle_unreachable(Unreachability::Host, quoted);
            }
        }
        self.pump(now, plane, reactor, id);
    }

    /// A socket's bell rang; `false`: the token is not one of a socket.
    pub fn ready(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, token: Token) -> bool {
        let Some(id) = self.by_token.get(&token).copied() else { return false };
        if let Some(socket) = self.sockets.get_mut(&id) {
            let pipe = socket.pipe.get_mut();
            if let Some(Err(error)) = pipe.channel().map(Channel::acknowledge_bell) {
                log::warn!("socket of {}: {error}", socket.connection.remote());
                socket.connection.abort();
            }
        }
        self.pump(now, plane, reactor, id);
        true
    }

    /// All timers due by `now` have expired.
    pub fn handle_timeout(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor) {
        while let Some((_, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.set_timer(id, None);
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.connection.handle_timeout(now);
            }
            self.pump(now, plane, reactor, id);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Does all that a socket has to do now: moves bytes, sends segments, tells its process, sets its timer.
    pub(super) fn pump(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, id: SocketId) {
        loop {
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            socket.pipe.get_mut().flush();
            let found = socket.pipe.get_mut().look();
            socket.follow_process(now);
            socket.connection.handle_drained(now, &mut Sink(&socket.pipe));
            self.payload.resize(GSO_BYTES, 0);
            while let Some(out) = socket.connection.poll_transmit(now, &Source(&socket.pipe), &mut self.payload) {
                let payload = self.payload.get(..out.payload_bytes).unwrap_or_default();
                let outgoing = Segment {
                    vr: socket.vr,
                    ttl: socket.options.ttl_towards(socket.connection.remote().ip()),
                    traffic_class: socket.options.tcp_tos(),
                    local: socket.connection.local().ip(),
                    remote: socket.connection.remote().ip(),
                    interface: socket.interface,
                    repr: out.repr,
                    segment_bytes: out.segment_bytes,
                    key: socket.options.key(socket.connection.remote().ip()),
                };
                outgoing.send(now, plane, &mut self.packet, payload);
            }
            if let Some(event) = socket.connection.poll_event() {
                if self.handle_event(plane, reactor, id, event) {
                    return;
                }
                continue;
            }
            if socket.orphaned || socket.pipe.get_mut().arm(found) {
                break;
            }
        }
        let deadline = self.sockets.get(&id).and_then(|socket| socket.connection.poll_timeout());
        self.set_timer(id, deadline);
    }

    /// `true`: the socket is gone.
    fn handle_event(&mut self, plane: &mut Plane, reactor: &mut Reactor, id: SocketId, event: Event) -> bool {
        let Some(socket) = self.sockets.get_mut(&id) else { return true };
        match event {
            Event::Connected => self.connected(reactor, id),
            Event::RemoteFinished => {}
            Event::Closed => {
                self.remove(plane, reactor, id);
                return true;
            }
            Event::Failed(error) => {
                let error = socket_error(error);
                let untold = matches!(socket.origin, Origin::Active { told: false, .. });
                match socket.pipe.get_mut().channel() {
                    Some(channel) if untold => tell(channel, &ConnectResult::Failed(error)),
                    Some(channel) => channel.reset(error.code()),
                    None => {}
                }
                self.remove(plane, reactor, id);
                return true;
            }
        }
        false
    }

    fn remove(&mut self, plane: &mut Plane, reactor: &mut Reactor, id: SocketId) {
        self.set_timer(id, None);
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        let (vr, local, remote) = (socket.vr, socket.connection.local(), socket.connection.remote());
        self.by_tuple.remove(&(vr, local, remote));
        let key = IfibKey::Connection { vr, protocol: protocol::TCP, local, remote };
        plane.ifib.apply(&[IfibChange::Remove(key)]);
        if let Some(token) = socket.token {
            self.by_token.remove(&token);
        }
        let attached = socket.pipe.get_mut().channel().map(|channel| reactor.deregister(channel)).is_some();
        match socket.origin {
            Origin::Active { port, .. } => self.release(vr, local, port),
            Origin::Passive { listener } if !attached => self.left_pending(listener),
            Origin::Passive { .. } => {}
        }
    }

    fn set_timer(&mut self, id: SocketId, deadline: Option<Time>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.deadline == deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut socket.deadline, deadline) {
            self.timers.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.timers.insert((new, id));
        }
    }

    /// All sockets, for `show tcp`.
    pub fn rows(&self) -> Vec<SocketRow> {
        let listeners = self.listeners.values().map(|listener| SocketRow {
            vr: listener.vr,
            local: SocketAddr::new(listener.local.unwrap_or(listener.family.unspecified()), listener.port),
            remote: None,
            state: "LISTEN".to_owned(),
        });
        let connections = self.sockets.values().map(|socket| SocketRow {
            vr: socket.vr,
            local: socket.connection.local(),
            remote: Some(socket.connection.remote()),
            state: socket.connection.state().to_string(),
        });
        let mut rows: Vec<SocketRow> = listeners.chain(connections).collect();
        rows.sort_by_key(|row| (row.vr, row.local, row.remote));
        rows
    }
}

impl TcpSocket {
    /// Whether what came by an interface is for it.
    fn is_bound_to(&self, came_by: Option<IfIndex>) -> bool {
        self.interface.is_none() || self.interface == came_by
    }

    /// The process let go of its socket, or broke it off: so does the connection, as Linux does it.
    fn follow_process(&mut self, now: Time) {
        let pipe = self.pipe.get_mut();
        let broken = pipe.is_broken();
        let unread = pipe.unread();
        let Some(channel) = pipe.channel() else { return };
        if self.orphaned {
            return;
        }
        let reset = channel.rx.reset_by_peer().is_some();
        if reset || broken || (channel.peer_closed() && unread > 0) {
            self.orphaned = true;
            self.connection.abort();
        } else if channel.peer_closed() {
            self.orphaned = true;
            self.connection.orphan(now);
        }
    }
}

fn socket_error(error: ConnectionError) -> SocketError {
    match error {
        ConnectionError::Reset | ConnectionError::Aborted => SocketError::ConnectionReset,
        ConnectionError::ResetAfterEnd => SocketError::BrokenPipe,
        ConnectionError::Refused | ConnectionError::Unreachable(Unreachability::Port) => SocketError::ConnectionRefused,
        ConnectionError::TimedOut => SocketError::TimedOut,
        ConnectionError::Unreachable(Unreachability::Network) => SocketError::NetworkUnreachable,
        ConnectionError::Unreachable(Unreachability::Host) => SocketError::HostUnreachable,
    }
}

/// Says how an open went; the channel is new, so that a small record fits.
pub(super) fn tell_record(channel: &mut Channel, result: &ConnectResult) {
    let written = postcard::to_stdvec(result).map(|record| channel.write_record(&record));
    match written {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => log::error!("a new socket's channel is full"),
        Ok(Err(error)) => log::debug!("a new socket's channel: {error}"),
        Err(error) => log::error!("an answer has no encoding: {error}"),
    }
}

/// Says how an open went, and nothing more.
pub(super) fn tell(channel: &mut Channel, result: &ConnectResult) {
    tell_record(channel, result);
    channel.close_write();
}
