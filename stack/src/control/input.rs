//! What line cards punt: link addresses to resolve, fragments, packets that need an error. ICMP and neighbor discovery
//! have files of their own; what is for a socket goes on to the socket server.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use ipc::VrId;
use stack_api::socket::Addresses;

use super::plane::Plane;
use super::probe::{Answer, Probes};
use super::topology::{TopologyChange, Uniqueness};
use crate::counters::DropReason;
use crate::fib::AdjacencyId;
use crate::ids::IfIndex;
use crate::ifib::{IfibKey, PuntTarget, SocketId};
use crate::internet::dad::{self, Detection};
use crate::internet::fragment::{fragment, fragment_ipv6};
use crate::internet::icmp::ErrorRate;
use crate::internet::igmp::Igmp;
use crate::internet::neighbor::{Heard, NeighborAction, Neighbors};
use crate::internet::reassembly::{Reassembled, Reassembly};
use crate::internet::report::Report;
use crate::linecard::{InjectTarget, Punt, PuntReason};
use crate::packet::Packet;
use crate::time::Time;
use crate::wire::arp::{ArpOperation, ArpRepr};
use crate::wire::ethernet::{self, EtherType, EthernetRepr, MacAddress};
use crate::wire::icmpv4::Unreachable;
use crate::wire::ip::{self, IpView};
use crate::wire::ipv4::{Ipv4View, decrement_ttl, protocol};
use crate::wire::ipv6::Ipv6View;
use crate::wire::ipv6_extension::{self, Refused};
use crate::wire::tcp::SeqNumber;

/// A packet that waits for a link address.
type Waiting = Packet;

/// What the socket server gets.
#[derive(Debug)]
pub enum Delivery {
    /// A TCP packet for us; `socket`: whose, as the IFIB said.
    Segment {
        /// The VR that it is for.
        vr: VrId,
        /// The socket, if one claims it.
        socket: Option<SocketId>,
        /// The packet.
        packet: Packet,
    },
    /// A packet for a UDP or raw socket.
    Datagram {
        /// The VR that it is for.
        vr: VrId,
        /// The packet.
        packet: Packet,
    },
    /// An ICMP error about a segment of ours.
    TcpError {
        /// The VR that sent it.
        vr: VrId,
        /// The interface that the error came in by, or that the segment could not leave by.
        interface: Option<IfIndex>,
        /// Our side.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// The sequence number quoted.
        quoted: SeqNumber,
        /// What it says.
        why: Unreachable,
    },
    /// An ICMP error about a datagram of ours.
    DatagramError {
        /// The VR that sent it.
        vr: VrId,
        /// Its IP protocol.
        protocol: u8,
        /// Its sender and receiver; ports are 0 where the protocol has none.
        addresses: Addresses,
        /// What it says.
        why: Unreachable,
    },
    /// A probe's result.
    Probe(Answer),
    /// IPv6 addresses of ports were looked for on their links.
    LookedFor(Vec<dad::Key>, Uniqueness),
}

/// The handlers of punted packets and what they remember.
#[derive(Debug, Default)]
pub struct Input {
    /// Link addresses.
    pub neighbors: Neighbors<Waiting>,
    /// Probes under way.
    pub probes: Probes,
    /// IPv6 addresses of ports that somebody else may have.
    pub(super) detection: Detection,
    /// Groups of ports, and what their links are still to be told.
    pub(super) igmp: Igmp,
    pub(super) group_keys: BTreeSet<IfibKey>,
    reassembly: Reassembly,
    rates: HashMap<VrId, ErrorRate>,
}

impl Input {
    /// Handles a punted packet, and all that the answers to it bring back.
    pub fn handle(&mut self, now: Time, plane: &mut Plane, punt: Punt, deliveries: &mut Vec<Delivery>) {
        self.handle_one(now, plane, punt, deliveries);
        self.handle_own(now, plane, deliveries);
    }

    /// Handles what packets of the control side's own brought back to it.
    pub fn handle_own(&mut self, now: Time, plane: &mut Plane, deliveries: &mut Vec<Delivery>) {
        while let Some(punt) = plane.next_punt() {
            self.handle_one(now, plane, punt, deliveries);
        }
    }

    fn handle_one(&mut self, now: Time, plane: &mut Plane, punt: Punt, deliveries: &mut Vec<Delivery>) {
        let Punt { reason, packet } = punt;
        match reason {
            PuntReason::Arp => self.handle_arp(now, plane, &packet),
            PuntReason::ForUs(target) => {
                if self.takes_headers(now, plane, &packet) {
                    self.handle_for_us(now, plane, target, packet, deliveries);
                }
            }
            PuntReason::Unclaimed => {
                if self.takes_headers(now, plane, &packet) {
                    self.handle_unclaimed(now, plane, packet, deliveries);
                }
            }
            PuntReason::Fragment => self.handle_fragment(now, plane, &packet),
            PuntReason::TtlExceeded => self.send_error(now, plane, &packet, Report::TtlExceeded),
            PuntReason::NoRoute => self.send_error(now, plane, &packet, Report::NoRoute),
            PuntReason::TooBig { mtu_bytes, adjacency } => {
                self.handle_too_big(now, plane, packet, mtu_bytes, adjacency);
            }
            PuntReason::Resolve { interface, next_hop } => self.resolve(now, plane, interface, next_hop, packet),
        }
    }

    /// Whether the extension headers of an IPv6 packet for us let us take it; if not, its sender is told.
    fn takes_headers(&mut self, now: Time, plane: &mut Plane, packet: &Packet) -> bool {
        let Ok(ip) = Ipv6View::parse(packet.layer3()) else { return true };
        let Err(refused) = ipv6_extension::check(packet.layer3(), &ip) else { return true };
        plane.discard(packet, DropReason::BadExtensionHeader);
        match refused {
            Refused::Silently => {}
            Refused::Parameter { what, pointer, even_of_group } => {
                self.send_error(now, plane, packet, Report::Parameter { what, pointer, even_of_group });
            }
        }
        false
    }

    /// RFC 826, "Packet Reception".
    fn handle_arp(&mut self, now: Time, plane: &mut Plane, packet: &Packet) {
        let Some(interface) = packet.meta.interface else { return };
        let Ok(arp) = ArpRepr::parse(packet.layer3()) else { return };
        let Some(record) = plane.topology.by_index(interface) else { return };
        let (mac, is_up) = (record.interface.mac, record.state.up);
        let for_us = record.state.addresses.iter().any(|own| own.addr() == IpAddr::V4(arp.target_protocol));
        let ours = record.state.addresses.iter().any(|own| own.addr() == IpAddr::V4(arp.sender_protocol));
        let on_link = record.state.addresses.iter().any(|net| net.contains(&IpAddr::V4(arp.sender_protocol)));
        if !is_up || !arp.sender_hardware.is_unicast() {
            return;
        }
        if ours {
            log::warn!("{}: {} is also used by {}", record.state.name, arp.sender_protocol, arp.sender_hardware);
            return;
        }
        if on_link {
            let heard = match (for_us, arp.operation) {
                (false, _) => Heard::Announcement,
                (true, ArpOperation::Request) => Heard::Question,
                (true, ArpOperation::Reply) => Heard::Answer,
            };
            let (address, mac) = (arp.sender_protocol.into(), arp.sender_hardware);
            let learned = self.neighbors.learn(now, interface, address, mac, heard);
            self.carry_out(now, plane, learned);
        }
        if for_us && arp.operation == ArpOperation::Request {
            self.send_arp(now, plane, interface, &ArpRepr::reply_to(&arp, mac), arp.sender_hardware);
        }
    }

    fn send_arp(&mut self, now: Time, plane: &mut Plane, interface: IfIndex, arp: &ArpRepr, to: MacAddress) {
        let mut frame = vec![0; ethernet::HEADER_BYTES + crate::wire::arp::PACKET_BYTES];
        let header = EthernetRepr { destination: to, source: arp.sender_hardware, ether_type: EtherType::ARP };
        let emitted = header.emit(&mut frame).and_then(|at| arp.emit(frame.get_mut(at..).unwrap_or_default()));
        if emitted.is_ok() {
            plane.send_frame(now, interface, &frame);
        }
    }

    fn resolve(&mut self, now: Time, plane: &mut Plane, interface: IfIndex, next_hop: IpAddr, packet: Packet) {
        match self.neighbors.resolve(now, interface, next_hop, packet) {
            Ok(action) => self.carry_out(now, plane, action),
            // Sixteen before it wait already.
            Err(packet) => plane.discard(&packet, DropReason::Unresolved),
        }
    }

    pub(super) fn carry_out(
        &mut self,
        now: Time,
        plane: &mut Plane,
        actions: impl IntoIterator<Item = NeighborAction<Waiting>>,
    ) {
        for action in actions {
            match action {
                NeighborAction::Request { interface, address, to } => self.ask(now, plane, interface, address, to),
                NeighborAction::Resolved { interface, address, mac, waiting } => {
                    let Some(vr) = plane.topology.by_index(interface).map(|record| record.vr) else { continue };
                    let resolved = plane.routes.resolved(&mut plane.fib, vr, interface, address, mac);
                    match resolved {
                        Ok(adjacency) => waiting.into_iter().for_each(|packet| {
                            plane.inject(now, InjectTarget::Adjacency(adjacency), packet);
                        }),
                        Err(error) => log::error!("neighbor {address}: {error}"),
                    }
                }
                NeighborAction::Failed { interface, address, waiting } => {
                    let Some(vr) = plane.topology.by_index(interface).map(|record| record.vr) else { continue };
                    if let Err(error) = plane.routes.forgotten(&mut plane.fib, vr, interface, address) {
                        log::error!("neighbor {address}: {error}");
                    }
                    for packet in &waiting {
                        plane.discard(packet, DropReason::Unresolved);
                        self.send_error_about(now, plane, packet, Report::HostUnreachable, Some(interface));
                    }
                }
            }
        }
    }

    /// Asks a link, or one station, who has an address.
    fn ask(&mut self, now: Time, plane: &mut Plane, interface: IfIndex, address: IpAddr, to: Option<MacAddress>) {
        let Some(source) = plane.topology.source(interface, address) else { return };
        let Some(mac) = plane.topology.by_index(interface).map(|record| record.interface.mac) else { return };
        match (source, address) {
            (IpAddr::V4(source), IpAddr::V4(address)) => {
                let request = ArpRepr::request(mac, source, address);
                self.send_arp(now, plane, interface, &request, to.unwrap_or(MacAddress::BROADCAST));
            }
            (IpAddr::V6(source), IpAddr::V6(address)) => {
                super::nd::solicit(now, plane, interface, source, address, to);
            }
            // The source is chosen for the address: it has its family.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }

    fn handle_for_us(
        &mut self,
        now: Time,
        plane: &mut Plane,
        target: PuntTarget,
        packet: Packet,
        deliveries: &mut Vec<Delivery>,
    ) {
        let vr = packet.meta.vr;
        match target {
            PuntTarget::Socket(socket) => {
                let is_tcp = IpView::parse(packet.layer3()).is_ok_and(|ip| ip.protocol == protocol::TCP);
                deliveries.push(match is_tcp {
                    true => Delivery::Segment { vr, socket: Some(socket), packet },
                    false => Delivery::Datagram { vr, packet },
                });
            }
            PuntTarget::Handler => match IpView::parse(packet.layer3()).map(|ip| ip.protocol) {
                Ok(protocol::IGMP) => self.handle_igmp(now, plane, &packet),
                Ok(_) | Err(_) => self.handle_icmp(now, plane, &packet, deliveries),
            },
        }
    }

    fn handle_unclaimed(&mut self, now: Time, plane: &mut Plane, packet: Packet, deliveries: &mut Vec<Delivery>) {
        let vr = packet.meta.vr;
        let Ok(ip) = IpView::parse(packet.layer3()) else { return };
        let report = match ip.protocol {
            protocol::TCP => {
                deliveries.push(Delivery::Segment { vr, socket: None, packet });
                return;
            }
            protocol::UDP => Report::PortUnreachable,
            // "No next header" (RFC 8200 section 4.7): nothing is said, and nothing is answered.
            ipv6_extension::kind::NO_NEXT_HEADER if ip.destination.is_ipv6() => return,
            _ => Report::ProtocolUnreachable { named_at: named_at(packet.layer3()) },
        };
        if !plane.topology.is_local_on(vr, ip.destination, packet.meta.interface) {
            return;
        }
        // The error comes from the address that was meant (RFC 1122 section 3.2.2.1: from the host).
        let (from, interface) = (ip.destination, packet.meta.interface);
        self.send_error_from(now, plane, &packet, report, from, interface);
    }

    /// No socket wants a datagram that the IFIB gave to one: all that have its port speak with others only.
    pub fn refuse(&mut self, now: Time, plane: &mut Plane, packet: Packet) {
        // Segments have no part here, so nothing is delivered.
        self.handle_unclaimed(now, plane, packet, &mut Vec::new());
    }

    fn handle_fragment(&mut self, now: Time, plane: &mut Plane, packet: &Packet) {
        let vr = packet.meta.vr;
        match self.reassembly.add(now, vr, packet.layer3()) {
            // Its destination is ours: it comes back, whole, as if it had come in by the interface of its last fragment.
            Ok(Reassembled::Whole(whole)) => {
                if let Some(mut whole) = plane.pool.packet(&whole) {
                    (whole.meta.vr, whole.meta.interface) = (vr, packet.meta.interface);
                    plane.inject(now, InjectTarget::Adjacency(AdjacencyId::RECEIVE), whole);
                }
            }
            Ok(Reassembled::Waiting) => {}
            Ok(Reassembled::Dropped) | Err(_) => plane.discard(packet, DropReason::ReassemblyFailed),
        }
    }

    fn handle_too_big(
        &mut self,
        now: Time,
        plane: &mut Plane,
        mut packet: Packet,
        mtu_bytes: u32,
        adjacency: AdjacencyId,
    ) {
        let is_own = packet.meta.interface.is_none();
        let pieces = match IpView::parse(packet.layer3()) {
            // Whoever sends it cuts it; TCP sends smaller segments instead (RFC 8200 section 5).
            Ok(ip) if ip.destination.is_ipv6() && is_own && ip.protocol != protocol::TCP => {
                let identification = plane.fragment_ids.next(packet.layer3());
                fragment_ipv6(packet.layer3(), mtu_bytes as usize, identification)
            }
            Ok(ip) if ip.destination.is_ipv4() && may_be_cut(packet.layer3()) => {
                if !is_own && decrement_ttl(packet.layer3_mut()).is_err() {
                    return;
                }
                fragment(packet.layer3(), mtu_bytes as usize)
            }
            Ok(_) | Err(_) => return self.send_error(now, plane, &packet, Report::TooBig { mtu_bytes }),
        };
        let Ok(pieces) = pieces else {
            return self.send_error(now, plane, &packet, Report::TooBig { mtu_bytes });
        };
        for piece in pieces {
            let Some(mut fragment) = plane.pool.packet(&piece) else { return };
            fragment.meta.vr = packet.meta.vr;
            plane.inject(now, InjectTarget::Adjacency(adjacency), fragment);
        }
    }

    /// An error about `packet`, from the interface that it came in by; about a packet of our own, from its own source.
    fn send_error(&mut self, now: Time, plane: &mut Plane, packet: &Packet, report: Report) {
        self.send_error_about(now, plane, packet, report, packet.meta.interface);
    }

    /// The same; `interface`: where a link-local sender is to be told.
    fn send_error_about(
        &mut self,
        now: Time,
        plane: &mut Plane,
        packet: &Packet,
        report: Report,
        interface: Option<IfIndex>,
    ) {
        let Some((source, _)) = ip::addresses(packet.layer3()) else { return };
        let from = match packet.meta.interface {
            Some(interface) => plane.topology.source(interface, source),
            None => Some(source),
        };
        if let Some(from) = from {
            self.send_error_from(now, plane, packet, report, from, interface);
        }
    }

    fn send_error_from(
        &mut self,
        now: Time,
        plane: &mut Plane,
        packet: &Packet,
        report: Report,
        from: IpAddr,
        interface: Option<IfIndex>,
    ) {
        let vr = packet.meta.vr;
        if let Some(error) = report.to_packet(packet.layer3(), from)
            && self.rates.entry(vr).or_default().admit(now)
        {
            plane.send(now, vr, interface, &error);
        }
    }

    /// Neighbors of interfaces that are gone, down or renumbered are forgotten.
    pub fn topology_changed(&mut self, now: Time, plane: &mut Plane, change: &TopologyChange) {
        for interface in &change.forget {
            drop(self.neighbors.forget(*interface));
            let Some(vr) = plane.topology.by_index(*interface).map(|record| record.vr) else { continue };
            if let Err(error) = plane.routes.forget_interface(&mut plane.fib, vr, *interface) {
                log::error!("neighbors of an interface: {error}");
            }
        }
        for vr in &change.deleted {
            self.rates.remove(vr);
        }
        for (interface, address) in self.detection.set(now, &change.tentative) {
            super::nd::look_for(now, plane, interface, address);
        }
    }

    /// All timers due by `now` have expired.
    pub fn handle_timeout(&mut self, now: Time, plane: &mut Plane, deliveries: &mut Vec<Delivery>) {
        let actions = self.neighbors.handle_timeout(now);
        self.carry_out(now, plane, actions);
        for expired in self.reassembly.handle_timeout(now) {
            self.reassembly_timed_out(now, plane, expired.vr, expired.first);
        }
        let reports = self.igmp.handle_timeout(now);
        self.report_groups(now, plane, reports);
        let free = self.detection.handle_timeout(now);
        if !free.is_empty() {
            deliveries.push(Delivery::LookedFor(free, Uniqueness::Unique));
        }
        deliveries.extend(self.probes.handle_timeout(now).into_iter().map(Delivery::Probe));
        self.handle_own(now, plane, deliveries);
    }

    fn reassembly_timed_out(&mut self, now: Time, plane: &mut Plane, vr: VrId, first: Option<Vec<u8>>) {
        let Some(mut packet) = plane.pool.packet(first.as_deref().unwrap_or_default()) else { return };
        packet.meta.vr = vr;
        plane.discard(&packet, DropReason::ReassemblyTimedOut);
        if let Some((_, own)) = ip::addresses(packet.layer3()) {
            self.send_error_from(now, plane, &packet, Report::ReassemblyTimedOut, own, None);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let timers = [
            self.neighbors.poll_timeout(),
            self.reassembly.poll_timeout(),
            self.probes.poll_timeout(),
            self.detection.poll_timeout(),
            self.igmp.poll_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// Says to everyone on a link which addresses we have: neighbors bring their entries up to date (RFC 5227 section 3,
    /// RFC 4861 section 7.2.6).
    pub fn announce(&mut self, now: Time, plane: &mut Plane, interface: IfIndex) {
        let Some(record) = plane.topology.by_index(interface).filter(|record| record.state.mac.is_some()) else {
            return;
        };
        let (mac, link_local) = (record.interface.mac, record.state.link_local.map(IpAddr::V6));
        let addresses: Vec<IpAddr> = record.state.addresses.iter().map(|net| net.addr()).chain(link_local).collect();
        for address in addresses {
            match address {
                IpAddr::V4(address) => {
                    let request = ArpRepr::request(mac, address, address);
                    self.send_arp(now, plane, interface, &request, MacAddress::BROADCAST);
                }
                IpAddr::V6(address) => super::nd::advertise_to_all(now, plane, interface, address),
            }
        }
    }
}

/// Whether routers may cut an IPv4 packet.
fn may_be_cut(packet: &[u8]) -> bool {
    Ipv4View::parse(packet).is_ok_and(|ip| !ip.dont_fragment())
}

/// The byte of an IPv6 packet that names its upper layer.
fn named_at(packet: &[u8]) -> u32 {
    let chain = Ipv6View::parse(packet).and_then(|ip| ipv6_extension::walk(packet, &ip));
    chain.map_or(0, |chain| u32::try_from(chain.named_at).unwrap_or(u32::MAX))
}
