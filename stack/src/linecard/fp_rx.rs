//! FP Rx: what a port received, up to the decision where it goes.
//!
//! Uses: the interface of the port, the FIB of its VR. Sets: VR, interface and `l3_offset` of each packet; cuts link
//! padding off. Next: FP Tx for transit, the control side for ARP and for us, or a named drop.
//!
//! The vector is worked through in passes: check all, look all up, send all on; each pass keeps its code and tables in
//! the cache.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use ipc::VrId;

use super::flow::Flow;
use super::forwarder::{Forwarder, Output, PuntReason};
use super::fp_tx::{Origin, Transit, Turn};
use crate::counters::{Counter, DropReason, Way};
use crate::fib::{FibSnapshot, GroupId, TableId};
use crate::ids::PortId;
use crate::ifib::IfibKey;
use crate::interfaces::Interface;
use crate::packet::{Packet, VECTOR, Vector};
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::wire::ethernet::{self, EtherType, EthernetView};

/// IEEE 802.1Q and 802.1ad tags.
const VLAN_TAGS: [EtherType; 2] = [EtherType(0x8100), EtherType(0x88a8)];

/// Packets that passed the checks.
type Checked = ArrayVec<Transit, VECTOR>;

/// What the checks made of a frame.
enum Verdict {
    Ip(Flow),
    Arp,
    Drop(DropReason),
}

impl Forwarder {
    /// Takes the frames that `port` received and leaves the vector empty.
    pub fn receive(&mut self, now: Time, port: PortId, frames: &mut Vector, out: &mut Output) {
        let interfaces = self.parts.interfaces.view();
        let Some((index, interface)) = interfaces.of_port(port) else {
            let count = frames.len() as u64;
            self.parts.counters.add(VrId::ROUTER, Counter::FramesReceived, count);
            self.parts.counters.drop(VrId::ROUTER, None, DropReason::PortNotAssigned, count);
            frames.clear();
            return;
        };
        self.parts.counters.add(interface.vr, Counter::FramesReceived, frames.len() as u64);
        let fib = self.parts.fib.view();
        let turn = &mut Turn { now, fib: &fib, interfaces: &interfaces, out };
        for packet in frames.iter_mut() {
            packet.meta.port = Some(port);
            packet.meta.interface = Some(index);
            packet.meta.vr = interface.vr;
        }
        let checked = self.check(turn, interface, frames);
        let bytes = checked.iter().map(|transit| transit.flow.ip_bytes as u64).sum();
        self.parts.counters.add_packets(interface.vr, Some(index), Way::In, checked.len() as u64, bytes);
        let found = lookup(&fib, interface.vr.into(), &checked);
        for (transit, group) in checked.into_iter().zip(found) {
            self.arrive(turn, transit, Some(group));
        }
    }

    /// First pass: Ethernet and IP headers.
    fn check(&mut self, turn: &mut Turn<'_>, interface: &Interface, frames: &mut Vector) -> Checked {
        let mut checked = Checked::new();
        for mut packet in frames.drain(..) {
            match inspect(&mut packet, interface) {
                Verdict::Ip(flow) => checked.push(Transit { packet, flow, origin: Origin::Received }),
                Verdict::Arp => self.punt(turn, PolicerClass::Arp, PuntReason::Arp, packet),
                Verdict::Drop(reason) => self.discard(&packet, reason),
            }
        }
        checked
    }

    /// A packet is in a VR: addresses of the link are the router's own business, others are routed. `group`: the
    /// answer of the VR's table, where it was asked already.
    pub(super) fn arrive(&mut self, turn: &mut Turn<'_>, transit: Transit, group: Option<GroupId>) {
        if transit.flow.is_link_group() {
            self.deliver(turn, transit);
        } else if let Some(to) = transit.flow.link_local_destination() {
            let index = transit.packet.meta.interface;
            let own = index.and_then(|index| turn.interfaces.get(index)).and_then(|interface| interface.link_local);
            match own == Some(to) {
                true => self.deliver(turn, transit),
                false => self.discard(&transit.packet, DropReason::LinkLocalNotOurs),
            }
        } else if self.is_joined(&transit) {
            self.deliver(turn, transit);
        } else if transit.flow.is_group() {
            self.discard(&transit.packet, DropReason::MulticastNotRouted);
        } else {
            let vr = transit.packet.meta.vr;
            let group = group.unwrap_or_else(|| turn.fib.lookup(vr.into(), transit.flow.destination));
            self.route(turn, transit, group);
        }
    }
}

impl Forwarder {
    /// Whether a process has joined the group that a packet is for, where it came in.
    fn is_joined(&self, transit: &Transit) -> bool {
        let (vr, group) = (transit.packet.meta.vr, transit.flow.destination);
        let Some(interface) = transit.packet.meta.interface.filter(|_| transit.flow.is_group()) else { return false };
        self.parts.ifib.view().get(&IfibKey::Group { vr, interface, group }).is_some()
    }
}

/// Checks one frame and tells what it is.
fn inspect(packet: &mut Packet, interface: &Interface) -> Verdict {
    if !interface.up {
        return Verdict::Drop(DropReason::InterfaceDown);
    }
    let Ok(frame) = EthernetView::parse(packet.data()) else { return Verdict::Drop(DropReason::FrameTooShort) };
    let (to, ether_type) = (frame.destination(), frame.ether_type());
    if to != interface.mac && !to.is_multicast() {
        return Verdict::Drop(DropReason::OtherStation);
    }
    packet.meta.l3_offset = ethernet::HEADER_BYTES as u16;
    match ether_type {
        EtherType::ARP => Verdict::Arp,
        EtherType::IPV4 | EtherType::IPV6 => match inspect_ip(packet, ether_type) {
            // A unicast packet in a group frame is not to be forwarded (RFC 1812 section 5.3.4).
            Ok(flow) if to.is_multicast() && !flow.is_group() => Verdict::Drop(DropReason::OtherStation),
            Ok(flow) => Verdict::Ip(flow),
            Err(reason) => Verdict::Drop(reason),
        },
        tag if VLAN_TAGS.contains(&tag) => Verdict::Drop(DropReason::VlanTagged),
        _ => Verdict::Drop(DropReason::UnknownEtherType),
    }
}

fn inspect_ip(packet: &mut Packet, announced: EtherType) -> Result<Flow, DropReason> {
    let flow = Flow::of(packet)?;
    if flow.ether_type() != announced {
        return Err(DropReason::IpBadVersion);
    }
    if let Some(reason) = flow.martian() {
        return Err(reason);
    }
    packet.truncate(ethernet::HEADER_BYTES + flow.ip_bytes);
    Ok(flow)
}

/// Second pass: both families of the vector are looked up, each at once. `found[i]` answers packet `i`.
fn lookup(fib: &FibSnapshot, table: TableId, checked: &Checked) -> ArrayVec<GroupId, VECTOR> {
    let mut v4 = ArrayVec::<Ipv4Addr, VECTOR>::new();
    let mut v6 = ArrayVec::<Ipv6Addr, VECTOR>::new();
    for transit in checked {
        match transit.flow.destination {
            IpAddr::V4(to) => v4.push(to),
            IpAddr::V6(to) => v6.push(to),
        }
    }
    let (mut found_v4, mut found_v6) = ([GroupId::NO_ROUTE; VECTOR], [GroupId::NO_ROUTE; VECTOR]);
    fib.lookup_v4(table, &v4, &mut found_v4[..v4.len()]);
    fib.lookup_v6(table, &v6, &mut found_v6[..v6.len()]);
    let (mut found_v4, mut found_v6) = (found_v4.into_iter(), found_v6.into_iter());
    let answers = checked.iter().map(|transit| match transit.flow.destination {
        IpAddr::V4(_) => found_v4.next(),
        IpAddr::V6(_) => found_v6.next(),
    });
    answers.map(|group| group.unwrap_or(GroupId::NO_ROUTE)).collect()
}
