//! FP Tx: from the next-hop group to a frame on a port, into another VR, or to the control side.
//!
//! Uses: adjacencies, the outgoing interface. Sets: TTL, link header. Next: the port's queue; `inter_vr` for a
//! crossing; the control side where a neighbor must be resolved or an ICMP error is due.

use std::net::IpAddr;

use zerocopy::FromBytes;

use super::flow::Flow;
use super::forwarder::{Forwarder, Inject, InjectTarget, Output, PuntReason};
use crate::counters::{Counter, DropReason, Way};
use crate::fib::{Adjacency, AdjacencyId, FibSnapshot, GroupId};
use crate::ids::IfIndex;
use crate::ifib::IfibQuery;
use crate::interfaces::{InterfaceTable, Link};
use crate::packet::Packet;
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::wire::ethernet::{self, EthernetRepr, MacAddress};
use crate::wire::ipv4;
use crate::wire::ipv6::Ipv6Header;

/// The handling of one vector: the time, the tables held still, where results go.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) fib: &'a FibSnapshot,
    pub(super) interfaces: &'a InterfaceTable,
    pub(super) out: &'a mut Output,
}

/// A packet on its way through a VR.
pub(super) struct Transit {
    pub(super) packet: Packet,
    pub(super) flow: Flow,
    pub(super) origin: Origin,
}

/// Whether the VR forwards the packet or sends one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It came in by an interface of this VR: forwarding it costs one TTL.
    Received,
    /// This VR originates it, or has paid the TTL already.
    Local,
}

impl Forwarder {
    /// Takes a packet of the control side.
    pub fn inject(&mut self, now: Time, inject: Inject, out: &mut Output) {
        let Inject { target, packet } = inject;
        let interfaces = self.parts.interfaces.view();
        let fib = self.parts.fib.view();
        let turn = &mut Turn { now, fib: &fib, interfaces: &interfaces, out };
        match target {
            InjectTarget::Frame { interface } => self.send_frame(turn, interface, packet),
            InjectTarget::Lookup { vr } => {
                let Some(mut transit) = self.originate(packet) else { return };
                transit.packet.meta.vr = vr;
                let group = fib.lookup(vr.into(), transit.flow.destination);
                self.route(turn, transit, group);
            }
            InjectTarget::Adjacency(id) => {
                let Some(transit) = self.originate(packet) else { return };
                match fib.adjacency(id) {
                    Some(adjacency) => self.send(turn, transit, (id, adjacency)),
                    None => self.discard(&transit.packet, DropReason::NoAdjacency),
                }
            }
        }
    }

    fn originate(&mut self, packet: Packet) -> Option<Transit> {
        match Flow::of(&packet) {
            Ok(flow) => Some(Transit { packet, flow, origin: Origin::Local }),
            Err(_) => {
                self.discard(&packet, DropReason::BadInject);
                None
            }
        }
    }

    /// Third pass: chooses the next hop.
    pub(super) fn route(&mut self, turn: &mut Turn<'_>, transit: Transit, group: GroupId) {
        let packet = &transit.packet;
        match turn.fib.resolve(group, transit.flow.hash()) {
            Some(way) => self.send(turn, transit, way),
            None if !turn.fib.has_table(packet.meta.vr.into()) => self.discard(packet, DropReason::NoTable),
            None => self.punt(turn, PolicerClass::Exception, PuntReason::NoRoute, transit.packet),
        }
    }

    /// Does what the adjacency says.
    fn send(&mut self, turn: &mut Turn<'_>, mut transit: Transit, (id, adjacency): (AdjacencyId, Adjacency)) {
        let interface = match adjacency {
            Adjacency::Receive => return self.receive_own(turn, transit),
            Adjacency::Discard => return self.discard(&transit.packet, DropReason::Discard),
            Adjacency::Glean { interface }
            | Adjacency::Incomplete { interface, .. }
            | Adjacency::Complete { interface, .. }
            | Adjacency::InterVr { interface } => interface,
        };
        match prepare(turn, &mut transit, interface, id) {
            Ok(()) => {}
            Err(Refusal::Drop(reason)) => return self.discard(&transit.packet, reason),
            Err(Refusal::Punt(reason)) => return self.punt(turn, PolicerClass::Exception, reason, transit.packet),
        }
        let next_hop = match adjacency {
            Adjacency::Complete { destination, .. } => return self.transmit(turn, transit, interface, destination),
            Adjacency::InterVr { .. } => return self.cross(turn, transit, interface),
            Adjacency::Incomplete { next_hop, .. } => next_hop,
            // Receive and Discard returned above.
            Adjacency::Glean { .. } | Adjacency::Receive | Adjacency::Discard => transit.flow.destination,
        };
        let reason = PuntReason::Resolve { interface, next_hop };
        self.punt(turn, PolicerClass::Resolve, reason, transit.packet);
    }

    /// Puts the link header on and hands the frame to the port.
    fn transmit(&mut self, turn: &mut Turn<'_>, mut transit: Transit, interface: IfIndex, destination: MacAddress) {
        let Some(egress) = turn.interfaces.get(interface) else {
            return self.discard(&transit.packet, DropReason::InterfaceDown);
        };
        let Link::Port(port) = egress.link else { return self.discard(&transit.packet, DropReason::NoPort) };
        let header = EthernetRepr { destination, source: egress.mac, ether_type: transit.flow.ether_type() };
        if rewrite(&mut transit.packet, &header).is_none() {
            return self.discard(&transit.packet, DropReason::NoHeadroom);
        }
        self.count_sent(&transit, interface);
        turn.out.transmit.push((port, transit.packet));
    }

    /// Counts a packet that leaves its VR by an interface.
    pub(super) fn count_sent(&mut self, transit: &Transit, interface: IfIndex) {
        let vr = transit.packet.meta.vr;
        self.parts.counters.add_packets(vr, Some(interface), Way::Out, 1, transit.flow.ip_bytes as u64);
        if transit.origin == Origin::Received {
            self.parts.counters.add(vr, Counter::PacketsForwarded, 1);
        }
    }

    /// To an address of the VR itself; what it sends to itself never leaves.
    fn receive_own(&mut self, turn: &mut Turn<'_>, transit: Transit) {
        if transit.origin == Origin::Local {
            let (vr, bytes) = (transit.packet.meta.vr, transit.flow.ip_bytes as u64);
            self.parts.counters.add_packets(vr, None, Way::Out, 1, bytes);
            self.parts.counters.add_packets(vr, None, Way::In, 1, bytes);
        }
        self.deliver(turn, transit);
    }

    /// For us: the IFIB decides who gets it.
    pub(super) fn deliver(&mut self, turn: &mut Turn<'_>, transit: Transit) {
        let Transit { packet, flow, .. } = transit;
        if flow.fragment {
            return self.punt(turn, PolicerClass::Fragment, PuntReason::Fragment, packet);
        }
        let query = IfibQuery {
            vr: packet.meta.vr,
            protocol: flow.protocol,
            local: flow.destination,
            remote: flow.source,
            ports: flow.ports.map(|(source, destination)| (destination, source)),
            interface: packet.meta.interface,
        };
        let entry = self.parts.ifib.view().lookup(&query);
        match entry {
            Some(entry) => {
                let class = if flow.neighbor_discovery { PolicerClass::Arp } else { entry.class };
                self.punt(turn, class, PuntReason::ForUs(entry.target), packet);
            }
            None => self.punt(turn, PolicerClass::Unclaimed, PuntReason::Unclaimed, packet),
        }
    }

    /// A whole frame of the control side.
    fn send_frame(&mut self, turn: &mut Turn<'_>, index: IfIndex, mut packet: Packet) {
        let Some(interface) = turn.interfaces.get(index) else {
            return self.discard(&packet, DropReason::InterfaceDown);
        };
        packet.meta.vr = interface.vr;
        match interface.link {
            _ if !interface.up => self.discard(&packet, DropReason::InterfaceDown),
            Link::Port(port) => turn.out.transmit.push((port, packet)),
            Link::Loopback | Link::InterVr { .. } => self.discard(&packet, DropReason::BadInject),
        }
    }
}

/// Why a packet does not leave.
enum Refusal {
    Drop(DropReason),
    Punt(PuntReason),
}

/// Everything that the outgoing interface asks of a packet: it is up, the TTL lasts, the size fits. Takes one off the
/// TTL of what is forwarded.
fn prepare(turn: &Turn<'_>, transit: &mut Transit, interface: IfIndex, adjacency: AdjacencyId) -> Result<(), Refusal> {
    let Transit { packet, flow, origin } = transit;
    let egress = turn.interfaces.get(interface).filter(|egress| egress.up);
    let Some(egress) = egress else { return Err(Refusal::Drop(DropReason::InterfaceDown)) };
    packet.meta.vr = egress.vr;
    if *origin == Origin::Received && flow.has_link_local_source() {
        return Err(Refusal::Drop(DropReason::BeyondScope));
    }
    let ttl_after = match origin {
        Origin::Local => flow.ttl,
        Origin::Received => match flow.ttl.checked_sub(1) {
            // RFC 1812 section 5.3.1.
            None | Some(0) => return Err(Refusal::Punt(PuntReason::TtlExceeded)),
            Some(less) => less,
        },
    };
    // What stands for several segments must fit as each of them.
    let largest = match packet.meta.gso.mss() {
        Some(mss) => flow.ip_bytes.min(flow.header_bytes + usize::from(mss)),
        None => flow.ip_bytes,
    };
    if largest as u64 > u64::from(egress.mtu_bytes) {
        return Err(Refusal::Punt(PuntReason::TooBig { mtu_bytes: egress.mtu_bytes, adjacency }));
    }
    if ttl_after != flow.ttl {
        decrement_ttl(packet, flow);
        flow.ttl = ttl_after;
    }
    Ok(())
}

/// Takes one off a TTL that is known to be above 1.
fn decrement_ttl(packet: &mut Packet, flow: &Flow) {
    let bytes = packet.layer3_mut();
    match flow.destination {
        IpAddr::V4(_) => {
            // Neither error nor expiry: the header was read, and its TTL, when the flow was made.
            let _ = ipv4::decrement_ttl(bytes);
        }
        IpAddr::V6(_) => {
            if let Ok((header, _)) = Ipv6Header::mut_from_prefix(bytes) {
                header.decrement_hop_limit();
            }
        }
    }
}

/// Replaces all in front of the IP header by an Ethernet header.
fn rewrite(packet: &mut Packet, header: &EthernetRepr) -> Option<()> {
    packet.pull_front(usize::from(packet.meta.l3_offset))?;
    header.emit(packet.push_front(ethernet::HEADER_BYTES)?).ok()?;
    Some(())
}
