//! What line cards punt: ARP, ICMP, fragments, packets that need an error. what is for a socket goes on to the socket server.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use ipc::VrId;

use super::plane::Plane;
use super::probe::{Answer, Probes};
use super::topology::TopologyChange;
use crate::fib::AdjacencyId;
use crate::ids::IfIndex;
use crate::ifib::{PuntTarget, SocketId};
use crate::internet::fragment::fragment;
use crate::internet::icmp::{self, ErrorRate};
use crate::internet::neighbor::{NeighborAction, Neighbors};
use crate::internet::reassembly::{Reassembled, Reassembly};
use crate::linecard::{InjectTarget, Punt, PuntReason};
use crate::packet::Packet;
use crate::time::Time;
use crate::wire::arp::{ArpOperation, ArpRepr};
use crate::wire::ethernet::{self, EtherType, EthernetRepr, MacAddress};
use crate::wire::icmpv4::{Icmpv4Repr, Icmpv4View, Unreachable};
use crate::wire::ipv4::{Ipv4View, decrement_ttl, protocol};
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
        /// Our side.
        local: (Ipv4Addr, u16),
        /// The peer's.
        remote: (Ipv4Addr, u16),
        /// The sequence number quoted.
        quoted: SeqNumber,
        /// What it says.
        why: Unreachable,
    },
    /// A probe's result.
    Probe(Answer),
}

/// The handlers of punted packets and what they remember.
#[derive(Debug, Default)]
pub struct Input {
    /// Link addresses.
    pub neighbors: Neighbors<Waiting>,
    /// Probes under way.
    pub probes: Probes,
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
            PuntReason::ForUs(target) => self.handle_for_us(now, plane, target, packet, deliveries),
            PuntReason::Unclaimed => self.handle_unclaimed(now, plane, packet, deliveries),
            PuntReason::Fragment => self.handle_fragment(now, plane, &packet),
            PuntReason::TtlExceeded => self.send_error(now, plane, &packet, &Icmpv4Repr::TimeExceededInTransit),
            PuntReason::NoRoute => {
                let message = Icmpv4Repr::DestinationUnreachable(Unreachable::Network);
                self.send_error(now, plane, &packet, &message);
            }
            PuntReason::TooBig { mtu_bytes, adjacency } => {
                self.handle_too_big(now, plane, packet, mtu_bytes, adjacency);
            }
            PuntReason::Resolve { interface, next_hop: IpAddr::V4(next_hop) } => {
                self.resolve(now, plane, interface, next_hop, packet);
            }
            // Neighbors of IPv6 are not resolved: their packets end here.
            PuntReason::Resolve { next_hop: IpAddr::V6(_), .. } => {}
        }
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
            let learned = self.neighbors.learn(now, interface, arp.sender_protocol, arp.sender_hardware, for_us);
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

    fn resolve(&mut self, now: Time, plane: &mut Plane, interface: IfIndex, next_hop: Ipv4Addr, packet: Packet) {
        // A packet that cannot wait is dropped: sixteen before it wait already.
        if let Ok(action) = self.neighbors.resolve(now, interface, next_hop, packet) {
            self.carry_out(now, plane, action);
        }
    }

    fn carry_out(&mut self, now: Time, plane: &mut Plane, actions: impl IntoIterator<Item = NeighborAction<Waiting>>) {
        for action in actions {
            match action {
                NeighborAction::Request { interface, address, to } => {
                    let Some(record) = plane.topology.by_index(interface) else { continue };
                    let mac = record.interface.mac;
                    let Some(source) = plane.topology.source(interface, Some(address)) else { continue };
                    let request = ArpRepr::request(mac, source, address);
                    self.send_arp(now, plane, interface, &request, to.unwrap_or(MacAddress::BROADCAST));
                }
                NeighborAction::Resolved { interface, address, mac, waiting } => {
                    let Some(vr) = plane.topology.by_index(interface).map(|record| record.vr) else { continue };
                    let resolved = plane.routes.resolved(&mut plane.fib, vr, interface, address.into(), mac);
                    match resolved {
                        Ok(adjacency) => waiting.into_iter().for_each(|packet| {
                            plane.inject(now, InjectTarget::Adjacency(adjacency), packet);
                        }),
                        Err(error) => log::error!("neighbor {address}: {error}"),
                    }
                }
                NeighborAction::Failed { interface, address, waiting } => {
                    let Some(vr) = plane.topology.by_index(interface).map(|record| record.vr) else { continue };
                    if let Err(error) = plane.routes.forgotten(&mut plane.fib, vr, interface, address.into()) {
                        log::error!("neighbor {address}: {error}");
                    }
                    let message = Icmpv4Repr::DestinationUnreachable(Unreachable::Host);
                    waiting.iter().for_each(|packet| self.send_error(now, plane, packet, &message));
                }
            }
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
                let is_tcp = Ipv4View::parse(packet.layer3()).is_ok_and(|ip| ip.protocol() == protocol::TCP);
                deliveries.push(match is_tcp {
                    true => Delivery::Segment { vr, socket: Some(socket), packet },
                    false => Delivery::Datagram { vr, packet },
                });
            }
            PuntTarget::Handler => self.handle_icmp(now, plane, &packet, deliveries),
        }
    }

    fn handle_icmp(&mut self, now: Time, plane: &mut Plane, packet: &Packet, deliveries: &mut Vec<Delivery>) {
        let vr = packet.meta.vr;
        let Ok(ip) = Ipv4View::parse(packet.layer3()) else { return };
        // What was sent to everyone on a subnet is not answered (RFC 1122 section 3.2.2.6 permits that).
        if plane.topology.is_local(vr, ip.destination().into())
            && let Some(reply) = icmp::echo_reply(&ip)
        {
            plane.send(now, vr, &reply);
            return;
        }
        let Ok(message) = Icmpv4View::parse(ip.payload()) else { return };
        let repr = message.repr();
        if let Some(answer) = self.probes.received(now, vr, ip.source(), ip.ttl(), &repr, message.payload()) {
            deliveries.push(Delivery::Probe(answer));
            return;
        }
        if let Icmpv4Repr::DestinationUnreachable(why) = repr {
            deliveries.extend(tcp_error(vr, why, message.payload()));
        }
    }

    fn handle_unclaimed(&mut self, now: Time, plane: &mut Plane, packet: Packet, deliveries: &mut Vec<Delivery>) {
        let vr = packet.meta.vr;
        let Ok(ip) = Ipv4View::parse(packet.layer3()) else { return };
        let why = match ip.protocol() {
            protocol::TCP => {
                deliveries.push(Delivery::Segment { vr, socket: None, packet });
                return;
            }
            protocol::UDP => Unreachable::Port,
            _ => Unreachable::Protocol,
        };
        if !plane.topology.is_local(vr, ip.destination().into()) {
            return;
        }
        // The error comes from the address that was meant (RFC 1122 section 3.2.2.1: from the host).
        let from = ip.destination();
        self.send_error_from(now, plane, &packet, &Icmpv4Repr::DestinationUnreachable(why), from);
    }

    fn handle_fragment(&mut self, now: Time, plane: &mut Plane, packet: &Packet) {
        let vr = packet.meta.vr;
        if let Ok(Reassembled::Whole(whole)) = self.reassembly.add(now, vr, packet.layer3()) {
            // Its destination is one of our own addresses: the look-up brings it back, whole.
            plane.send(now, vr, &whole);
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
        let Ok(ip) = Ipv4View::parse(packet.layer3()) else { return };
        if ip.dont_fragment() {
            let mtu_bytes = u16::try_from(mtu_bytes).unwrap_or(u16::MAX);
            let why = Unreachable::FragmentationNeeded { mtu_bytes };
            self.send_error(now, plane, &packet, &Icmpv4Repr::DestinationUnreachable(why));
            return;
        }
        if packet.meta.interface.is_some() && decrement_ttl(packet.layer3_mut()).is_err() {
            return;
        }
        let Ok(pieces) = fragment(packet.layer3(), mtu_bytes as usize) else { return };
        for piece in pieces {
            let Some(mut fragment) = plane.pool.packet(&piece) else { return };
            fragment.meta.vr = packet.meta.vr;
            plane.inject(now, InjectTarget::Adjacency(adjacency), fragment);
        }
    }

    /// An error about `packet`, from the interface that it came in by; about a packet of our own, from its own source.
    fn send_error(&mut self, now: Time, plane: &mut Plane, packet: &Packet, message: &Icmpv4Repr) {
        let Ok(ip) = Ipv4View::parse_quoted(packet.layer3()) else { return };
        let from = match packet.meta.interface {
            Some(interface) => plane.topology.source(interface, Some(ip.source())),
            None => Some(ip.source()),
        };
        if let Some(from) = from {
            self.send_error_from(now, plane, packet, message, from);
        }
    }

    fn send_error_from(&mut self, now: Time, plane: &mut Plane, packet: &Packet, message: &Icmpv4Repr, from: Ipv4Addr) {
        let vr = packet.meta.vr;
        if let Some(error) = icmp::error(packet.layer3(), from, message)
            && self.rates.entry(vr).or_default().admit(now)
        {
            plane.send(now, vr, &error);
        }
    }

    /// Neighbors of interfaces that are gone, down or renumbered are forgotten.
    pub fn topology_changed(&mut self, plane: &mut Plane, change: &TopologyChange) {
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
    }

    /// All timers due by `now` have expired.
    pub fn handle_timeout(&mut self, now: Time, plane: &mut Plane, deliveries: &mut Vec<Delivery>) {
        let actions = self.neighbors.handle_timeout(now);
        self.carry_out(now, plane, actions);
        self.reassembly.handle_timeout(now);
        deliveries.extend(self.probes.handle_timeout(now).into_iter().map(Delivery::Probe));
        self.handle_own(now, plane, deliveries);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let timers = [self.neighbors.poll_timeout(), self.reassembly.poll_timeout(), self.probes.poll_timeout()];
        timers.into_iter().flatten().min()
    }

    /// Says to everyone on a link which address we have: neighbors bring their entries up to date (RFC 5227 section 3).
    pub fn announce(&mut self, now: Time, plane: &mut Plane, interface: IfIndex) {
        let Some(record) = plane.topology.by_index(interface).filter(|record| record.state.mac.is_some()) else {
            return;
        };
        let mac = record.interface.mac;
        let addresses: Vec<IpAddr> = record.state.addresses.iter().map(|net| net.addr()).collect();
        for address in addresses {
            if let IpAddr::V4(address) = address {
                self.send_arp(now, plane, interface, &ArpRepr::request(mac, address, address), MacAddress::BROADCAST);
            }
        }
    }
}

/// An ICMP error that quotes a TCP segment: IP header, ports and sequence number.
fn tcp_error(vr: VrId, why: Unreachable, quote: &[u8]) -> Option<Delivery> {
    let ip = Ipv4View::parse_quoted(quote).ok().filter(|ip| ip.protocol() == protocol::TCP)?;
    let tcp = quote.get(ip.header_bytes()..ip.header_bytes().checked_add(8)?)?;
    let (source, destination) = (u16::from_be_bytes([tcp[0], tcp[1]]), u16::from_be_bytes([tcp[2], tcp[3]]));
    Some(Delivery::TcpError {
        vr,
        local: (ip.source(), source),
        remote: (ip.destination(), destination),
        quoted: SeqNumber(u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])),
        why,
    })
}
