//! The data plane's tables and buffers, as the one thread that writes them has them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

use ipc::{Family, InterfaceName, VrId};
use stack_api::socket::SocketError;
use vr_api::interface::is_link_scoped;

use super::routes::Routes;
use super::topology::{Topology, TopologyChange};
use crate::counters::{Counters, DropReason, LocalCounters, Way};
use crate::fib::{Adjacency, AdjacencyId, FibError, FibWriter};
use crate::ids::IfIndex;
use crate::ifib::{IfibChange, IfibEntry, IfibKey, IfibWriter, PuntTarget};
use crate::interfaces::{Interfaces, Link};
use crate::internet::fragment::{FragmentIds, fragment_ipv6};
use crate::internet::path_mtu::PathMtus;
use crate::linecard::{Forwarder, Inject, InjectTarget, LineCard, Output, PortDirectory, Punt, PuntReason};
use crate::packet::{Packet, PacketPool, PoolLimits};
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::wire::ethernet::{self, EtherType, EthernetRepr, MacAddress};
use crate::wire::ip;
use crate::wire::ipv4::protocol;

/// Packets that go round between the control side's forwarder and its handlers in one call: an answer to oneself is
/// two or three; more is a loop.
const MAX_ROUNDS: usize = 4096;

/// Writers, buffers, and a forwarder of the control side's own.
#[derive(Debug)]
pub struct Plane {
    /// Names and numbers.
    pub topology: Topology,
    /// What each prefix has.
    pub routes: Routes,
    /// The FIB's one writer.
    pub fib: FibWriter,
    /// The IFIB's one writer.
    pub ifib: IfibWriter,
    /// What line cards see of the interfaces.
    pub interfaces: Interfaces,
    /// Counters of the router.
    pub counters: Counters,
    /// Buffers.
    pub pool: PacketPool,
    /// Where frames go.
    pub ports: PortDirectory,
    /// What routers on the way have said about the size of IPv6 packets.
    pub path_mtus: PathMtus,
    /// Tells IPv6 packets that are sent in fragments apart.
    pub fragment_ids: FragmentIds,
    forwarder: Forwarder,
    local: LocalCounters,
    output: Output,
    punted: VecDeque<Punt>,
    rounds: usize,
}

impl Plane {
    /// A plane without VRs and ports.
    pub fn new(limits: PoolLimits) -> Self {
        let (fib, ifib, interfaces) = (FibWriter::new(), IfibWriter::new(), Interfaces::new());
        let (counters, ports, pool) = (Counters::new(), PortDirectory::new(), PacketPool::new(limits));
        let shared = LineCard {
            fib: fib.reader(),
            ifib: ifib.reader(),
            interfaces: interfaces.clone(),
            counters: counters.clone(),
            pool: pool.clone(),
            ports: ports.clone(),
        };
        let forwarder = shared.control_forwarder();
        let local = counters.local();
        Self {
            topology: Topology::default(),
            routes: Routes::default(),
            fib,
            ifib,
            interfaces,
            counters,
            pool,
            ports,
            path_mtus: PathMtus::default(),
            fragment_ids: FragmentIds::default(),
            forwarder,
            local,
            output: Output::default(),
            punted: VecDeque::new(),
            rounds: 0,
        }
    }

    /// What a line card shares with this plane.
    pub fn line_card(&self) -> LineCard {
        LineCard {
            fib: self.fib.reader(),
            ifib: self.ifib.reader(),
            interfaces: self.interfaces.clone(),
            counters: self.counters.clone(),
            pool: self.pool.clone(),
            ports: self.ports.clone(),
        }
    }

    /// Brings the tables up to date with a change of VRs, interfaces or links.
    pub fn apply(&mut self, change: &TopologyChange) -> Result<(), FibError> {
        for vr in &change.deleted {
            self.routes.delete(&mut self.fib, *vr)?;
            self.ifib.apply(&own_protocols(*vr).map(IfibChange::Remove));
            self.path_mtus.forget(*vr);
        }
        for vr in &change.created {
            self.routes.create(&mut self.fib, *vr)?;
            let entry = IfibEntry { target: PuntTarget::Handler, class: PolicerClass::Protocol };
            self.ifib.apply(&own_protocols(*vr).map(|key| IfibChange::Set(key, entry)));
        }
        self.interfaces.publish(change.table.clone());
        let vrs: Vec<VrId> = self.topology.vrs().map(|(_, vr)| vr).collect();
        vrs.into_iter()
            .try_for_each(|vr| self.routes.set_local(&mut self.fib, vr, self.topology.received_addresses(vr)))
    }

    /// Sends an IP packet that `vr` originates, in bytes; `interface`: where a link-local destination is. An IPv6 one
    /// that is larger than its way is known to take goes in fragments: nobody else may cut it. `false`: no buffer.
    pub fn send(&mut self, now: Time, vr: VrId, interface: Option<IfIndex>, bytes: &[u8]) -> bool {
        let path_mtu = match ip::destination(bytes) {
            Some(IpAddr::V6(to)) => self.path_mtus.get(now, vr, to).filter(|mtu| bytes.len() > *mtu as usize),
            Some(IpAddr::V4(_)) | None => None,
        };
        let Some(mtu) = path_mtu else { return self.send_one(now, vr, interface, bytes) };
        match fragment_ipv6(bytes, mtu as usize, self.fragment_ids.next(bytes)) {
            Ok(pieces) => pieces.iter().all(|piece| self.send_one(now, vr, interface, piece)),
            // What cannot be cut is too big: whoever finds that out says so.
            Err(_) => self.send_one(now, vr, interface, bytes),
        }
    }

    fn send_one(&mut self, now: Time, vr: VrId, interface: Option<IfIndex>, bytes: &[u8]) -> bool {
        match self.pool.packet(bytes) {
            Some(packet) => {
                self.originate(now, vr, interface, packet);
                true
            }
            None => false,
        }
    }

    /// Sends an IP packet to a station on the link of a port, without a look-up. `false`: no buffer, or no such port.
    pub fn send_on_link(&mut self, now: Time, interface: IfIndex, destination: MacAddress, packet: &[u8]) -> bool {
        let Some(record) = self.topology.by_index(interface) else { return false };
        let (vr, source) = (record.vr, record.interface.mac);
        let ether_type = match ip::destination(packet) {
            Some(IpAddr::V4(_)) => EtherType::IPV4,
            Some(IpAddr::V6(_)) => EtherType::IPV6,
            None => return false,
        };
        let mut frame = vec![0; ethernet::HEADER_BYTES];
        frame.extend_from_slice(packet);
        let emitted = EthernetRepr { destination, source, ether_type }.emit(&mut frame);
        let sent = emitted.is_ok() && self.send_frame(now, interface, &frame);
        if sent {
            self.local.add_packets(vr, Some(interface), Way::Out, 1, packet.len() as u64);
        }
        sent
    }

    /// Counts packets that end at the control side.
    pub fn discard(&mut self, packet: &Packet, reason: DropReason) {
        self.local.drop(packet.meta.vr, packet.meta.interface, reason, 1);
    }

    /// Sends a whole frame out of an interface. `false`: no buffer.
    pub fn send_frame(&mut self, now: Time, interface: IfIndex, bytes: &[u8]) -> bool {
        match self.pool.packet(bytes) {
            Some(packet) => {
                self.inject(now, InjectTarget::Frame { interface }, packet);
                true
            }
            None => false,
        }
    }

    /// Sends a packet. What comes back to the control side waits in [`next_punt`](Self::next_punt).
    pub fn inject(&mut self, now: Time, target: InjectTarget, packet: Packet) {
        self.forwarder.inject(now, Inject { target, packet }, &mut self.output);
        self.ports.transmit(&mut self.output.transmit, &mut self.local);
        self.punted.extend(self.output.punts.drain(..));
    }

    /// What the control side's own packets brought back to it. `None`: nothing more, or it goes round and round.
    pub fn next_punt(&mut self) -> Option<Punt> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            log::warn!("{} packets that the router sends to itself are dropped: a loop", self.punted.len());
            self.punted.clear();
        }
        let punt = self.punted.pop_front();
        if punt.is_none() {
            self.rounds = 0;
        }
        punt
    }

    /// Whether the control side's own packets have brought anything back.
    #[cfg(test)]
    pub fn has_punts(&self) -> bool {
        !self.punted.is_empty()
    }

    /// Sends a packet that `vr` originates; `interface`: where a link-local destination is.
    pub fn originate(&mut self, now: Time, vr: VrId, interface: Option<IfIndex>, packet: Packet) {
        match (ip::destination(packet.layer3()), interface) {
            (Some(IpAddr::V6(to)), Some(interface)) if to.is_unicast_link_local() => {
                self.originate_on_link(now, interface, to, packet);
            }
            _ => self.inject(now, InjectTarget::Lookup { vr }, packet),
        }
    }

    /// Sends a packet of a socket that is bound to an interface: by those next hops of the route that lead over it. A
    /// route that has none loses the packet, as a wire does that is cut.
    pub fn originate_over(&mut self, now: Time, vr: VrId, interface: IfIndex, mut packet: Packet) {
        packet.meta.vr = vr;
        match ip::destination(packet.layer3()) {
            Some(IpAddr::V6(to)) if to.is_unicast_link_local() => self.originate_on_link(now, interface, to, packet),
            Some(to) => match self.way_over(vr, to, interface) {
                Some(adjacency) => self.inject(now, InjectTarget::Adjacency(adjacency), packet),
                None => self.discard(&packet, DropReason::NoAdjacency),
            },
            None => self.discard(&packet, DropReason::BadInject),
        }
    }

    /// The first next hop of the best route to `to` that leads over an interface.
    pub fn way_over(&self, vr: VrId, to: IpAddr, interface: IfIndex) -> Option<AdjacencyId> {
        let fib = self.fib.snapshot();
        let leads = |id: &AdjacencyId| fib.adjacency(*id).and_then(|way| way.interface()) == Some(interface);
        fib.next_hops(fib.lookup(vr.into(), to)).iter().map(|hop| hop.adjacency).find(leads)
    }

    /// To the interface itself, to the VR at its other end, or to a neighbor on its link.
    fn originate_on_link(&mut self, now: Time, interface: IfIndex, to: Ipv6Addr, mut packet: Packet) {
        let Some(record) = self.topology.by_index(interface) else {
            return self.discard(&packet, DropReason::InterfaceDown);
        };
        packet.meta.vr = record.vr;
        let adjacency = match record.interface.link {
            _ if record.has_link_local(to) => {
                packet.meta.interface = Some(interface);
                Some(AdjacencyId::RECEIVE)
            }
            Link::InterVr { .. } => Some(self.routes.crossing(&mut self.fib, interface)),
            Link::Port(_) => self.routes.neighbor(interface, to.into()),
            Link::Loopback => Some(AdjacencyId::DISCARD),
        };
        match adjacency {
            Some(adjacency) => self.inject(now, InjectTarget::Adjacency(adjacency), packet),
            None => {
                let reason = PuntReason::Resolve { interface, next_hop: to.into() };
                self.punted.push_back(Punt { reason, packet });
            }
        }
    }

    /// The adjacency that leads to `to`, as a packet of `vr` would take it.
    pub fn route(&self, vr: VrId, to: IpAddr) -> Option<(AdjacencyId, Adjacency)> {
        let fib = self.fib.snapshot();
        fib.resolve(fib.lookup(vr.into(), to), 0)
    }

    /// The address that `vr` speaks with towards `to`, if nobody chose one (RFC 1122 section 3.3.4.3).
    /// A link-local destination has its own way: [`Topology::source`].
    pub fn source_towards(&self, vr: VrId, to: IpAddr) -> Result<IpAddr, SocketError> {
        let (_, adjacency) = self.route(vr, to).ok_or(SocketError::NetworkUnreachable)?;
        let interface = match adjacency {
            Adjacency::Receive => return Ok(to),
            Adjacency::Discard => return Err(SocketError::HostUnreachable),
            Adjacency::Glean { interface }
            | Adjacency::Incomplete { interface, .. }
            | Adjacency::Complete { interface, .. }
            | Adjacency::InterVr { interface } => interface,
        };
        self.topology.source(interface, to).ok_or(SocketError::AddressNotAvailable)
    }

    /// The same for a datagram socket: towards a group, and an address of a link, by the interface that is named.
    pub fn source_on(&self, vr: VrId, on: Option<&InterfaceName>, to: IpAddr) -> Result<IpAddr, SocketError> {
        if !to.is_multicast() && !is_link_scoped(to) {
            return self.source_towards(vr, to);
        }
        let interface = on.and_then(|name| self.topology.interface(vr, name)).ok_or(SocketError::NetworkUnreachable)?;
        self.topology.source(interface.index, to).ok_or(SocketError::AddressNotAvailable)
    }

    /// IP MTU of the interface towards `to`.
    pub fn mtu_towards(&self, vr: VrId, to: IpAddr) -> Option<u32> {
        let interface = match self.route(vr, to)?.1 {
            Adjacency::Receive => return Some(65_535),
            Adjacency::Discard => return None,
            Adjacency::Glean { interface }
            | Adjacency::Incomplete { interface, .. }
            | Adjacency::Complete { interface, .. }
            | Adjacency::InterVr { interface } => interface,
        };
        Some(self.topology.by_index(interface)?.interface.mtu_bytes)
    }
}

fn own_protocols(vr: VrId) -> [IfibKey; 3] {
    let own = [(Family::Ipv4, protocol::ICMP), (Family::Ipv4, protocol::IGMP), (Family::Ipv6, protocol::ICMPV6)];
    own.map(|(family, protocol)| IfibKey::Protocol { vr, family, protocol })
}
