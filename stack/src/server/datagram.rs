//! Datagram sockets of all VRs: UDP and raw IP, for what missed the vrFIB.
//!
//! A socket is one channel of records. Its port, its IFIB entry and its groups go when the channel does. It is of one
//! family; a link-local address, and a group, is one of an interface that the message or the socket names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipc::channel::Channel;
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Family, InterfaceName, Pid, VrId};
use mio::Token;
use stack_api::datagram::{DatagramBind, DatagramPath, DatagramProtocol, DatagramReply, DatagramRequest};
use stack_api::datagram_header::{DatagramHeader, EncodedHeader, HeaderFault};
use stack_api::options::Options;
use stack_api::socket::{Addresses, SocketError};
use vr_api::interface::is_link_scoped;

use crate::control::groups::Membership;
use crate::control::plane::Plane;
use crate::fib::Adjacency;
use crate::ids::IfIndex;
use crate::ifib::{IfibChange, IfibEntry, IfibKey, PuntTarget, SocketId};
use crate::interfaces::Link;
use crate::internet::fragment::{fragment, fragment_ipv6};
use crate::packet::{ChecksumState, Packet};
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::transport::ports::{PortError, PortSpace, Sharing};
use crate::transport::raw::{self, Header};
use crate::transport::udp;
use crate::wire::ethernet::MacAddress;
use crate::wire::icmpv4::Unreachable;
use crate::wire::ip::IpView;
use crate::wire::ipv4::protocol;

/// Requests of one socket that are carried out in one turn: others have a turn too.
const REQUESTS_PER_TURN: usize = 256;
/// Bytes of datagrams that a process is woken for at once: a quarter of its ring, so that it can make room in time.
const MAX_UNRUNG: usize = 64 * 1024;
/// Groups of one socket.
const GROUPS: usize = 256;

#[derive(Debug)]
struct DatagramSocket {
    vr: VrId,
    owner: Pid,
    /// With the port that it has.
    protocol: DatagramProtocol,
    family: Family,
    local: Option<IpAddr>,
    interface: Option<InterfaceName>,
    groups: BTreeSet<(InterfaceName, IpAddr)>,
    /// The one that it speaks with, and the own address that it does so from.
    connected: Option<(IpAddr, SocketAddr)>,
    options: Options,
    channel: Channel,
    token: Token,
    /// Datagrams that found its ring full.
    dropped: u64,
}

/// What sockets speak: VR, family, IP protocol, and the own port where there are ports, else 0.
type Speech = (VrId, Family, u8, u16);

/// All datagram sockets.
#[derive(Debug, Default)]
pub struct Datagrams {
    sockets: BTreeMap<SocketId, DatagramSocket>,
    /// By what they speak: a packet is looked at by those alone that it could be for.
    speaking: HashMap<Speech, BTreeSet<SocketId>>,
    by_token: HashMap<Token, SocketId>,
    ports: BTreeMap<VrId, PortSpace>,
    /// Sockets with requests left over from their last turn.
    unfinished: BTreeSet<SocketId>,
    /// Sockets whose processes may sleep on datagrams, and how many bytes of them.
    unrung: BTreeMap<SocketId, usize>,
    /// Since they were last asked for.
    groups_changed: bool,
    next_id: u64,
    next_identification: u16,
}

impl Datagrams {
    /// A process wants a socket; `channel` is what it will be.
    pub fn open(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        peer: &Identity,
        mut channel: Channel,
        wanted: DatagramBind,
    ) {
        let mut bound = self.bind(plane, peer, &wanted);
        if bound == Err(SocketError::AddressInUse) {
            // Its holder may have given it back, or be dead, with the word of it unread in its channel.
            self.hear_all(now, plane, reactor, peer);
            bound = self.bind(plane, peer, &wanted);
        }
        let bound = bound.and_then(|(vr, port)| {
            let token = reactor.register(&mut channel).map_err(|_| SocketError::NoBuffers);
            token.map(|token| (vr, port, token)).inspect_err(|_| {
                if let Some(port) = port {
                    self.ports(vr).unbind(peer.pid, wanted.family, wanted.local, port);
                }
            })
        });
        let (vr, port, token) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                tell(&mut channel, &DatagramReply::Failed(error));
                channel.close_write();
                return;
            }
        };
        let protocol = match wanted.protocol {
            DatagramProtocol::Udp { port: asked } => DatagramProtocol::Udp { port: port.unwrap_or(asked) },
            raw @ DatagramProtocol::Raw(_) => raw,
        };
        // It waits for no process: what a burst has no room for is lost.
        channel.tx.grow_at_once();
        tell(&mut channel, &DatagramReply::Bound { port: port.unwrap_or_default() });
        self.next_id += 1;
        let id = SocketId(self.next_id);
        let socket = DatagramSocket {
            vr,
            owner: peer.pid,
            protocol,
            family: wanted.family,
            local: wanted.local,
            interface: wanted.interface,
            groups: BTreeSet::new(),
            connected: None,
            options: wanted.options,
            channel,
            token,
            dropped: 0,
        };
        plane.ifib.apply(&[IfibChange::Set(socket.key(), socket.entry(id))]);
        self.by_token.insert(token, id);
        self.speaking.entry(socket.speech()).or_default().insert(id);
        self.sockets.insert(id, socket);
        self.serve(now, plane, reactor, id);
    }

    /// Takes note of what the sockets of a process's VR have said, whether or not they rang.
    fn hear_all(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, peer: &Identity) {
        let Some(vr) = peer.vr_name.as_ref().and_then(|name| plane.topology.vr(name)) else { return };
        let of_vr = self.sockets.values().filter(|socket| socket.vr == vr);
        let tokens: Vec<Token> = of_vr.map(|socket| socket.token).collect();
        for token in tokens {
            self.ready(now, plane, reactor, token);
        }
    }

    /// VR and, for UDP, the port.
    fn bind(
        &mut self,
        plane: &Plane,
        peer: &Identity,
        wanted: &DatagramBind,
    ) -> Result<(VrId, Option<u16>), SocketError> {
        let vr = peer.vr_name.as_ref().and_then(|name| plane.topology.vr(name)).ok_or(SocketError::NetworkDown)?;
        wanted.options.check()?;
        if wanted.local.is_some_and(|local| Family::of(local) != wanted.family) {
            return Err(SocketError::InvalidArgument);
        }
        let interface = match &wanted.interface {
            Some(name) => Some(plane.topology.interface(vr, name).ok_or(SocketError::AddressNotAvailable)?.index),
            None => None,
        };
        // One may bind to a group, to receive nothing else.
        let is_own = |local: IpAddr| local.is_multicast() || plane.topology.is_local_on(vr, local, interface);
        if wanted.local.is_some_and(|local| !is_own(local)) {
            return Err(SocketError::AddressNotAvailable);
        }
        let icmp = match wanted.family {
            Family::Ipv4 => protocol::ICMP,
            Family::Ipv6 => protocol::ICMPV6,
        };
        match wanted.protocol {
            // ICMP and IGMP are the control side's own.
            DatagramProtocol::Raw(number) if [icmp, protocol::IGMP].contains(&number.number()) => {
                Err(SocketError::NotSupported)
            }
            DatagramProtocol::Raw(_) => Ok((vr, None)),
            DatagramProtocol::Udp { port: wish } => {
                let sharing = if wanted.options.reuse_address { Sharing::Shared } else { Sharing::Alone };
                let ports = self.ports(vr);
                let bound = match wish {
                    0 => ports.bind_any(peer.pid, wanted.family, wanted.local, sharing),
                    port => ports.bind_sharing(peer.pid, wanted.family, wanted.local, port, sharing).map(|()| port),
                };
                let port = bound.map_err(|error| match error {
                    PortError::InUse { .. } => SocketError::AddressInUse,
                    PortError::Zero | PortError::NotABlock { .. } => SocketError::InvalidArgument,
                    PortError::NoneFree | PortError::NoBlockFree => SocketError::AddressNotAvailable,
                })?;
                Ok((vr, Some(port)))
            }
        }
    }

    fn ports(&mut self, vr: VrId) -> &mut PortSpace {
        self.ports.entry(vr).or_insert_with(|| {
            let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), vr);
            PortSpace::new(seed)
        })
    }

    /// A socket's bell rang; `false`: the token is not one of a datagram socket.
    pub fn ready(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, token: Token) -> bool {
        let Some(id) = self.by_token.get(&token).copied() else { return false };
        let rung = self.sockets.get_mut(&id).map(|socket| socket.channel.acknowledge_bell());
        match rung {
            Some(Err(error)) => {
                log::warn!("a datagram socket: {error}");
                self.remove(plane, reactor, id);
            }
            Some(Ok(_)) | None => self.serve(now, plane, reactor, id),
        }
        true
    }

    /// Sockets that had more to do than one turn allows go on.
    pub fn handle_timeout(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor) {
        for id in std::mem::take(&mut self.unfinished) {
            self.serve(now, plane, reactor, id);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        (!self.unfinished.is_empty()).then_some(Time::from_nanos(0))
    }

    /// IPv4 groups beyond the link's own that somebody has joined; `None`: the same as when this was last asked.
    pub fn changed_groups(&mut self) -> Option<BTreeSet<Membership>> {
        std::mem::take(&mut self.groups_changed).then(|| self.groups())
    }

    /// The same, whether they changed or not.
    pub fn groups(&self) -> BTreeSet<Membership> {
        let all = self.sockets.values().flat_map(|socket| socket.groups.iter().map(|group| (socket.vr, group)));
        let routed = all.filter_map(|(vr, (interface, group))| match group {
            IpAddr::V4(group) if !is_link_group(*group) => Some((vr, interface.clone(), *group)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        routed.collect()
    }

    /// Carries out what a process has asked.
    fn serve(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, id: SocketId) {
        let mut record = Vec::new();
        for _ in 0..REQUESTS_PER_TURN {
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            let read = match socket.channel.read_record(&mut record) {
                Ok(false) if socket.channel.is_finished() || socket.channel.peer_closed() => Err(None),
                Ok(read) => Ok(read),
                Err(error) => Err(Some(error)),
            };
            match read {
                Ok(true) => {
                    if let Err(error) = self.record(now, plane, id, &record) {
                        let owner = self.sockets.get(&id).map_or(Pid(0), |socket| socket.owner);
                        log::warn!("a datagram socket of process {owner}: a request that is none: {error}");
                        return self.remove(plane, reactor, id);
                    }
                }
                Ok(false) => match socket.channel.arm_read() {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(_) => return self.remove(plane, reactor, id),
                },
                Err(error) => {
                    log::debug!("a datagram socket of process {} ends: {error:?}", socket.owner);
                    return self.remove(plane, reactor, id);
                }
            }
        }
        self.unfinished.insert(id);
    }

    /// A datagram to be sent, or a request.
    fn record(&mut self, now: Time, plane: &mut Plane, id: SocketId, record: &[u8]) -> Result<(), RequestFault> {
        if !DatagramHeader::is_claimed(record) {
            let request = postcard::from_bytes(record)?;
            self.request(plane, id, request);
            return Ok(());
        }
        let (header, length) = DatagramHeader::decode(record, record.len())?;
        let sent = self.send(now, plane, id, &header, record.get(length..).unwrap_or_default());
        if let (Err(error), Some(socket)) = (sent, self.sockets.get_mut(&id)) {
            socket.tell(&DatagramReply::Error(error));
        }
        Ok(())
    }

    fn request(&mut self, plane: &mut Plane, id: SocketId, request: DatagramRequest) {
        let done = match request {
            DatagramRequest::Loop(message) => {
                let (header, payload) = message.into_parts();
                self.build(plane, id, &header, &payload).map(|built| {
                    self.receive_bytes(built.vr, built.interface.as_ref().map(|(_, name)| name), &built.packet, true);
                })
            }
            DatagramRequest::Connect(peer) => {
                let connected = self.connect(plane, id, peer);
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.tell(&DatagramReply::Connected(connected));
                }
                Ok(())
            }
            DatagramRequest::Join { group, interface } => self.join(id, group, interface),
            DatagramRequest::Leave { group, interface } => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    self.groups_changed |= socket.groups.remove(&(interface, group));
                }
                Ok(())
            }
            DatagramRequest::SetOptions(options) => options.check().map(|()| {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.options = options;
                }
            }),
        };
        if let (Err(error), Some(socket)) = (done, self.sockets.get_mut(&id)) {
            socket.tell(&DatagramReply::Error(error));
        }
    }

    fn join(&mut self, id: SocketId, group: IpAddr, interface: InterfaceName) -> Result<(), SocketError> {
        let Some(socket) = self.sockets.get_mut(&id) else { return Ok(()) };
        if !group.is_multicast() || Family::of(group) != socket.family {
            return Err(SocketError::InvalidArgument);
        }
        if socket.groups.len() >= GROUPS {
            return Err(SocketError::NoBuffers);
        }
        // The interface may come later, or come back under its name.
        self.groups_changed |= socket.groups.insert((interface, group));
        Ok(())
    }

    /// Sets the peer of a socket, and the address that it speaks from. On an error there is no peer.
    fn connect(&mut self, plane: &Plane, id: SocketId, peer: Option<SocketAddr>) -> Result<DatagramPath, SocketError> {
        let socket = self.sockets.get_mut(&id).ok_or(SocketError::InvalidArgument)?;
        socket.connected = None;
        let Some(to) = peer else {
            return Ok(DatagramPath { local: socket.local, peer: None });
        };
        let address = to.ip();
        if address.is_unspecified() || Family::of(address) != socket.family {
            return Err(SocketError::InvalidArgument);
        }
        let own = socket.local.filter(|local| !local.is_multicast());
        let local = match own {
            Some(local) => local,
            None if address.is_multicast() || is_link_scoped(address) => {
                let of_groups = socket.options.multicast_interface.as_ref().filter(|_| address.is_multicast());
                let name = socket.interface.as_ref().or(of_groups);
                let record = name.and_then(|name| plane.topology.interface(socket.vr, name));
                let index = record.ok_or(SocketError::NetworkUnreachable)?.index;
                plane.topology.source(index, address).ok_or(SocketError::AddressNotAvailable)?
            }
            None => plane.source_towards(socket.vr, address)?,
        };
        socket.connected = Some((local, to));
        Ok(DatagramPath { local: Some(local), peer })
    }

    /// The packet that a message becomes, and by which interface it is to leave, if it says so.
    fn build(
        &mut self,
        plane: &Plane,
        id: SocketId,
        message: &DatagramHeader,
        payload: &[u8],
    ) -> Result<Built, SocketError> {
        self.next_identification = self.next_identification.wrapping_add(1);
        let socket = self.sockets.get(&id).ok_or(SocketError::InvalidArgument)?;
        let Addresses { source, destination } = message.addresses;
        let (to, chosen) = (destination.ip(), source.ip());
        if Family::of(to) != socket.family || (!chosen.is_unspecified() && Family::of(chosen) != socket.family) {
            return Err(SocketError::InvalidArgument);
        }
        let own = socket.connected.map(|(local, _)| local).or(socket.local).filter(|own| !own.is_multicast());
        let chosen = Some(chosen).filter(|chosen| !chosen.is_unspecified()).or(own);
        if message.ttl == 0 || to.is_unspecified() {
            return Err(SocketError::InvalidArgument);
        }
        let name = message.interface.as_ref().or(socket.interface.as_ref());
        let interface = match name {
            Some(name) => {
                let record = plane.topology.interface(socket.vr, name).ok_or(SocketError::AddressNotAvailable)?;
                Some((record.index, name.clone()))
            }
            None => None,
        };
        let index = interface.as_ref().map(|(index, _)| *index);
        let from = match (chosen, index) {
            (Some(chosen), _) if plane.topology.is_local_on(socket.vr, chosen, index) => chosen,
            (Some(_), _) => return Err(SocketError::AddressNotAvailable),
            (None, Some(index)) => plane.topology.source(index, to).ok_or(SocketError::AddressNotAvailable)?,
            // Nobody can tell which link; a group says the same with another word.
            (None, None) if is_link_scoped(to) && !to.is_multicast() => return Err(SocketError::InvalidArgument),
            (None, None) if to.is_multicast() => return Err(SocketError::NetworkUnreachable),
            (None, None) => plane.source_towards(socket.vr, to)?,
        };
        if !plane.topology.may_speak(socket.vr, from, to) {
            return Err(SocketError::InvalidArgument);
        }
        let (ttl, traffic_class, identification) = (message.ttl, message.tos, self.next_identification);
        let header = Header { source: from, destination: to, ttl, traffic_class, identification };
        let packet = match socket.protocol {
            DatagramProtocol::Udp { .. } if destination.port() == 0 => return Err(SocketError::InvalidArgument),
            DatagramProtocol::Udp { port } => udp::packet(&header, (port, destination.port()), payload),
            DatagramProtocol::Raw(number) => raw::packet(&header, number.number(), payload),
        };
        // Addresses and TTL are checked: what is left is a packet that would be too large.
        let packet = packet.map_err(|_| SocketError::MessageSize)?;
        Ok(Built { vr: socket.vr, to, interface, packet, loops: socket.options.multicast_loop })
    }

    fn send(
        &mut self,
        now: Time,
        plane: &mut Plane,
        id: SocketId,
        message: &DatagramHeader,
        payload: &[u8],
    ) -> Result<(), SocketError> {
        let Built { vr, to, interface, packet, loops } = self.build(plane, id, message, payload)?;
        if to.is_multicast() {
            let (index, name) = interface.ok_or(SocketError::NetworkUnreachable)?;
            let sent = self.send_to_group(now, plane, index, to, &packet);
            if loops {
                self.receive_bytes(vr, Some(&name), &packet, true);
            }
            return sent;
        }
        let index = interface.map(|(index, _)| index);
        if !leads_over(plane, vr, to, index)? {
            return Err(SocketError::NetworkUnreachable);
        }
        if plane.send(now, vr, index, &packet) { Ok(()) } else { Err(SocketError::NoBuffers) }
    }

    /// Out of one interface, without a look-up: link-local groups are not routed.
    fn send_to_group(
        &mut self,
        now: Time,
        plane: &mut Plane,
        interface: IfIndex,
        group: IpAddr,
        packet: &[u8],
    ) -> Result<(), SocketError> {
        let record = plane.topology.by_index(interface).ok_or(SocketError::AddressNotAvailable)?;
        if !record.state.up {
            return Err(SocketError::NetworkDown);
        }
        let (link, mtu_bytes) = (record.interface.link, record.interface.mtu_bytes as usize);
        match link {
            Link::Loopback => Err(SocketError::NetworkUnreachable),
            Link::InterVr { peer } => {
                let far = plane.topology.by_index(peer).filter(|far| far.state.up);
                let (vr, name) = far.map(|far| (far.vr, far.state.name.clone())).ok_or(SocketError::NetworkDown)?;
                self.receive_bytes(vr, Some(&name), packet, true);
                Ok(())
            }
            Link::Port(_) => {
                let pieces = match group {
                    IpAddr::V6(_) if packet.len() <= mtu_bytes => Ok(vec![packet.to_vec()]),
                    IpAddr::V6(_) => fragment_ipv6(packet, mtu_bytes, plane.fragment_ids.next(packet)),
                    IpAddr::V4(_) => fragment(packet, mtu_bytes),
                };
                for piece in pieces.map_err(|_| SocketError::InvalidArgument)? {
                    if !plane.send_on_link(now, interface, MacAddress::of_group(group), &piece) {
                        return Err(SocketError::NoBuffers);
                    }
                }
                Ok(())
            }
        }
    }

    /// Wakes who got datagrams: once, however many there were. A process that is woken by the first of many deals with that
    /// one alone, on the CPU of whoever has the others.
    pub fn ring(&mut self) {
        for (id, _) in std::mem::take(&mut self.unrung) {
            if let Some(Err(error)) = self.sockets.get_mut(&id).map(|socket| socket.channel.notify()) {
                log::debug!("a datagram socket: {error}");
            }
        }
    }

    /// A packet for us came that is neither TCP nor ICMP. `false`: no socket wants it. [`ring`](Self::ring) when there are no
    /// more.
    pub fn receive(&mut self, plane: &Plane, vr: VrId, packet: &Packet) -> bool {
        let interface = packet.meta.interface.and_then(|index| plane.topology.by_index(index));
        // A checksum that is still open was never on a wire; one that is verified was seen by the medium.
        let unverified = packet.meta.checksum == ChecksumState::None;
        self.receive_bytes(vr, interface.map(|record| &record.state.name), packet.layer3(), unverified)
    }

    fn receive_bytes(&mut self, vr: VrId, interface: Option<&InterfaceName>, packet: &[u8], unverified: bool) -> bool {
        // What makes no sense is dropped without a word.
        let Ok(ip) = IpView::parse(packet) else { return true };
        let number = ip.protocol;
        let (addresses, payload) = if number == protocol::UDP {
            let Ok(datagram) = udp::parse(&ip, unverified) else { return true };
            (Addresses { source: datagram.source, destination: datagram.destination }, datagram.payload)
        } else {
            let at = |address: IpAddr| SocketAddr::new(address, 0);
            (Addresses { source: at(ip.source), destination: at(ip.destination) }, ip.payload)
        };
        let receivers = self.receivers(vr, interface, number, &addresses);
        if receivers.is_empty() {
            return false;
        }
        let (ttl, tos, interface) = (ip.ttl, ip.traffic_class, interface.cloned());
        // Both addresses are of the packet's family.
        let header = DatagramHeader { addresses, ttl, tos, interface };
        let Ok(header) = header.encode() else { return true };
        for id in receivers {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.deliver(&header, payload);
                let bytes = self.unrung.entry(id).or_default();
                *bytes += payload.len();
                if *bytes > MAX_UNRUNG {
                    self.ring();
                }
            }
        }
        true
    }

    /// To one receiver: the UDP socket connected to the sender, else the one on the address, else the one on all, and of
    /// several the one that was bound last; every raw socket of the protocol. To a group: all that have joined it on the
    /// interface.
    fn receivers(
        &self,
        vr: VrId,
        interface: Option<&InterfaceName>,
        number: u8,
        addresses: &Addresses,
    ) -> Vec<SocketId> {
        let Addresses { source, destination } = *addresses;
        let to = destination.ip();
        let wants = |socket: &DatagramSocket| {
            let here = socket.interface.as_ref().is_none_or(|bound| Some(bound) == interface);
            let from =
                socket.connected.is_none_or(|(local, peer)| peer == source && (local == to || to.is_multicast()));
            let address = socket.local.is_none_or(|local| local == to);
            let joined = !to.is_multicast() || interface.is_some_and(|i| socket.groups.contains(&(i.clone(), to)));
            here && from && address && joined
        };
        let found = self.speaking((vr, Family::of(to), number, destination.port())).filter(|(_, socket)| wants(socket));
        if number == protocol::UDP && !to.is_multicast() {
            let exactness = |socket: &DatagramSocket| (socket.connected.is_some(), socket.local.is_some());
            let best = found.max_by_key(|(id, socket)| (exactness(socket), *id));
            return best.map(|(id, _)| id).into_iter().collect();
        }
        found.map(|(id, _)| id).collect()
    }

    /// The sockets that speak something, in the order in which they were opened.
    fn speaking(&self, speech: Speech) -> impl Iterator<Item = (SocketId, &DatagramSocket)> {
        let ids = self.speaking.get(&speech).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.sockets.get(id)?)))
    }

    /// An ICMP error about a datagram of ours came: those connected to the one that it was for are told (RFC 1122
    /// section 4.1.3.3).
    pub fn icmp_error(&mut self, vr: VrId, number: u8, addresses: &Addresses, why: Unreachable) {
        let error = match why {
            Unreachable::Port => SocketError::ConnectionRefused,
            Unreachable::Protocol => SocketError::ProtocolNotAvailable,
            Unreachable::Network => SocketError::NetworkUnreachable,
            Unreachable::Host | Unreachable::Prohibited | Unreachable::Other(_) => SocketError::HostUnreachable,
            // What is sent here may be fragmented: somebody answers for what was never sent.
            Unreachable::FragmentationNeeded { .. } => return,
        };
        let Addresses { source, destination } = *addresses;
        let sent_it = |socket: &DatagramSocket| {
            socket.connected.is_some_and(|(local, peer)| peer == destination && source.ip() == local)
        };
        let speaking = self.speaking((vr, Family::of(source.ip()), number, source.port()));
        let told: Vec<SocketId> = speaking.filter(|(_, socket)| sent_it(socket)).map(|(id, _)| id).collect();
        for id in told {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.tell(&DatagramReply::Error(error));
            }
        }
    }

    fn remove(&mut self, plane: &mut Plane, reactor: &mut Reactor, id: SocketId) {
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        self.groups_changed |= !socket.groups.is_empty();
        self.by_token.remove(&socket.token);
        self.unfinished.remove(&id);
        if let Err(error) = reactor.deregister(&mut socket.channel) {
            log::debug!("a datagram socket that is closed: {error}");
        }
        if socket.dropped > 0 {
            log::debug!("process {} lost {} datagrams that it did not read in time", socket.owner, socket.dropped);
        }
        let (key, speech) = (socket.key(), socket.speech());
        if let Some(speaking) = self.speaking.get_mut(&speech) {
            speaking.remove(&id);
            if speaking.is_empty() {
                self.speaking.remove(&speech);
            }
        }
        let heir = self.speaking(speech).find(|(_, other)| other.key() == key).map(|(id, other)| other.entry(id));
        plane.ifib.apply(&[heir.map_or(IfibChange::Remove(key), |entry| IfibChange::Set(key, entry))]);
        if let DatagramProtocol::Udp { port } = socket.protocol {
            self.ports(socket.vr).unbind(socket.owner, socket.family, socket.local, port);
        }
    }
}

/// Why what a process wrote is neither a request nor a datagram.
#[derive(Debug, thiserror::Error)]
enum RequestFault {
    #[error(transparent)]
    Request(#[from] postcard::Error),
    #[error(transparent)]
    Datagram(#[from] HeaderFault),
}

/// A message as a packet.
struct Built {
    vr: VrId,
    to: IpAddr,
    interface: Option<(IfIndex, InterfaceName)>,
    packet: Vec<u8>,
    /// Whether this VR's own members of the group get it too.
    loops: bool,
}

impl DatagramSocket {
    fn speech(&self) -> Speech {
        let (number, port) = match self.protocol {
            DatagramProtocol::Udp { port } => (protocol::UDP, port),
            DatagramProtocol::Raw(number) => (number.number(), 0),
        };
        (self.vr, self.family, number, port)
    }

    fn key(&self) -> IfibKey {
        let (vr, family, address) = (self.vr, self.family, self.local);
        match self.protocol {
            DatagramProtocol::Udp { port } => IfibKey::Listener { vr, protocol: protocol::UDP, family, address, port },
            DatagramProtocol::Raw(number) => IfibKey::Protocol { vr, family, protocol: number.number() },
        }
    }

    fn entry(&self, id: SocketId) -> IfibEntry {
        let class = match self.protocol {
            DatagramProtocol::Udp { .. } => PolicerClass::Datagram,
            DatagramProtocol::Raw(_) => PolicerClass::Protocol,
        };
        IfibEntry { target: PuntTarget::Socket(id), class }
    }

    /// Gives it a datagram if there is room. Its bell is rung later.
    fn deliver(&mut self, header: &EncodedHeader, payload: &[u8]) {
        if !self.channel.tx.write_record_parts(&[header.as_bytes(), payload]).unwrap_or(false) {
            self.dropped += 1;
        }
    }

    /// Says something if there is room.
    fn tell(&mut self, reply: &DatagramReply) {
        if !tell(&mut self.channel, reply) {
            self.dropped += 1;
        }
    }
}

/// `false`: no room, or nobody there; the socket's own bell tells the latter.
fn tell(channel: &mut Channel, reply: &DatagramReply) -> bool {
    match postcard::to_stdvec(reply) {
        Ok(record) => channel.write_record(&record).unwrap_or(false),
        Err(error) => {
            log::error!("an answer has no encoding: {error}");
            false
        }
    }
}

/// Whether there is a route, and whether it leads over the interface, if one is wanted.
fn leads_over(plane: &Plane, vr: VrId, to: IpAddr, wanted: Option<IfIndex>) -> Result<bool, SocketError> {
    if is_link_scoped(to) {
        // It is on the link that is named, or nowhere.
        return Ok(wanted.is_some());
    }
    let (_, adjacency) = plane.route(vr, to).ok_or(SocketError::NetworkUnreachable)?;
    Ok(match adjacency {
        // A broadcast, of which there are none here.
        Adjacency::Receive if !plane.topology.is_local_on(vr, to, wanted) => return Err(SocketError::PermissionDenied),
        Adjacency::Receive => true,
        Adjacency::Discard => return Err(SocketError::HostUnreachable),
        Adjacency::Glean { interface }
        | Adjacency::Incomplete { interface, .. }
        | Adjacency::Complete { interface, .. }
        | Adjacency::InterVr { interface } => wanted.is_none_or(|wanted| wanted == interface),
    })
}

/// 224.0.0.0/24: local network control block (RFC 5771 section 4), which every line card lets in.
fn is_link_group(group: Ipv4Addr) -> bool {
    group.octets()[..3] == [224, 0, 0]
}
