//! Neighbor discovery on ports (RFC 4861), and looking whether an own address is free (RFC 4862).
//!
//! Inter-VR interfaces need neither: the manager knows both ends. Router solicitations are not answered, since hosts get
//! no prefixes from here; redirects are neither sent nor believed.

use std::net::{IpAddr, Ipv6Addr};

use super::input::{Delivery, Input};
use super::plane::Plane;
use super::topology::Uniqueness;
use crate::counters::DropReason;
use crate::ids::IfIndex;
use crate::internet::icmpv6;
use crate::internet::neighbor::Heard;
use crate::packet::Packet;
use crate::time::Time;
use crate::wire::WireError;
use crate::wire::ethernet::{EthernetView, MacAddress};
use crate::wire::icmpv6::Icmpv6View;
use crate::wire::ip::IpView;
use crate::wire::ndp::{ALL_NODES, HOP_LIMIT, NdpRepr, solicited_node};

/// Between whom a message goes, and on which port.
struct Context {
    interface: IfIndex,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    /// From the frame.
    sender: MacAddress,
}

/// What an advertisement says.
struct Advertised {
    target: Ipv6Addr,
    link: Option<MacAddress>,
    heard: Heard,
    overrides: bool,
}

impl Input {
    /// An ICMPv6 message came that is neither echo nor error.
    pub(super) fn handle_discovery(
        &mut self,
        now: Time,
        plane: &mut Plane,
        packet: &Packet,
        message: &Icmpv6View<'_>,
        deliveries: &mut Vec<Delivery>,
    ) {
        let repr = match NdpRepr::parse(message) {
            Ok(Some(repr)) => repr,
            Ok(None) => return plane.discard(packet, DropReason::IcmpUnwanted),
            Err(_) => return plane.discard(packet, DropReason::NdInvalid),
        };
        let Some(context) = context(plane, packet) else {
            return plane.discard(packet, DropReason::NdInvalid);
        };
        let is_wanted = match repr {
            NdpRepr::NeighborSolicitation { target, source_link } => {
                if context.source.is_unspecified() && (source_link.is_some() || !context.is_to_solicited_nodes()) {
                    return plane.discard(packet, DropReason::NdInvalid);
                }
                self.solicited(now, plane, &context, target, source_link, deliveries)
            }
            NdpRepr::NeighborAdvertisement { target, target_link, solicited, overrides, .. } => {
                if context.destination.is_multicast() && solicited {
                    return plane.discard(packet, DropReason::NdInvalid);
                }
                let heard = if solicited { Heard::Answer } else { Heard::Announcement };
                let said = Advertised { target, link: target_link, heard, overrides };
                self.advertised(now, plane, &context, &said, deliveries)
            }
        };
        if !is_wanted {
            plane.discard(packet, DropReason::IcmpUnwanted);
        }
    }

    /// Somebody asks who has `target`; `false`: that is not for us to say (RFC 4861 section 7.2.3).
    fn solicited(
        &mut self,
        now: Time,
        plane: &mut Plane,
        context: &Context,
        target: Ipv6Addr,
        source_link: Option<MacAddress>,
        deliveries: &mut Vec<Delivery>,
    ) -> bool {
        let Some(record) = plane.topology.by_index(context.interface) else { return false };
        let (own_mac, is_own) = (record.interface.mac, record.has(target.into()));
        if self.detection.contains((context.interface, target)) {
            // Another one looks for the same address. A medium that brings back what we sent proves nothing.
            if context.source.is_unspecified() && context.sender != own_mac {
                self.conflict(context, target, deliveries);
            }
            return true;
        }
        if !is_own {
            return false;
        }
        if context.source.is_unspecified() {
            advertise_to_all(now, plane, context.interface, target);
            return true;
        }
        if let Some(mac) = source_link.filter(|mac| mac.is_unicast())
            && is_on_link(plane, context.interface, context.source)
        {
            let learned = self.neighbors.learn(now, context.interface, context.source.into(), mac, Heard::Question);
            self.carry_out(now, plane, learned);
        }
        let answer = NdpRepr::NeighborAdvertisement {
            target,
            target_link: Some(own_mac),
            router: true,
            solicited: true,
            overrides: true,
        };
        // By the ordinary way: the asker may have given no link address.
        if let Ok(packet) = in_packet(&answer, target, context.source)
            && let Some(vr) = plane.topology.by_index(context.interface).map(|record| record.vr)
        {
            plane.send(now, vr, Some(context.interface), &packet);
        }
        true
    }

    /// Somebody says who has `target`; `false`: nobody wanted to know (RFC 4861 section 7.2.5).
    fn advertised(
        &mut self,
        now: Time,
        plane: &mut Plane,
        context: &Context,
        said: &Advertised,
        deliveries: &mut Vec<Delivery>,
    ) -> bool {
        let (interface, target) = (context.interface, said.target);
        if self.detection.contains((interface, target)) {
            self.conflict(context, target, deliveries);
            return true;
        }
        let Some(record) = plane.topology.by_index(interface) else { return false };
        if record.has(target.into()) {
            if context.sender != record.interface.mac {
                log::warn!("{}: {target} is also used by {}", record.state.name, context.sender);
            }
            return true;
        }
        let known = self.neighbors.lookup(interface, target.into());
        let link = said.link.filter(|mac| mac.is_unicast());
        // One who does not insist replaces nothing that is known.
        if known.is_some() && link.is_some() && link != known && !said.overrides {
            self.neighbors.doubt(now, interface, target.into());
            return true;
        }
        let Some(mac) = link.or(known) else { return false };
        let learned = self.neighbors.learn(now, interface, target.into(), mac, said.heard);
        let is_known = self.neighbors.lookup(interface, target.into()).is_some();
        self.carry_out(now, plane, learned);
        is_known
    }

    fn conflict(&mut self, context: &Context, address: Ipv6Addr, deliveries: &mut Vec<Delivery>) {
        if self.detection.conflict((context.interface, address)) {
            deliveries.push(Delivery::LookedFor(vec![(context.interface, address)], Uniqueness::Duplicate));
        }
    }
}

impl Context {
    fn is_to_solicited_nodes(&self) -> bool {
        // ff02::1:ff00:0/104 (RFC 4291 section 2.7.1).
        self.destination.octets()[..13] == solicited_node(Ipv6Addr::UNSPECIFIED).octets()[..13]
    }
}

/// What a message's packet and frame say; `None`: a router has forwarded it, or it came over no port.
fn context(plane: &Plane, packet: &Packet) -> Option<Context> {
    let interface = packet.meta.interface?;
    let record = plane.topology.by_index(interface).filter(|record| record.state.mac.is_some() && record.state.up)?;
    let ip = IpView::parse(packet.layer3()).ok().filter(|ip| ip.ttl == HOP_LIMIT)?;
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) else { return None };
    let sender = EthernetView::parse(packet.data()).ok()?.source();
    Some(Context { interface: record.index, source, destination, sender })
}

/// Whether an address is one of a link's: link-local, or in a subnet of it.
fn is_on_link(plane: &Plane, interface: IfIndex, address: Ipv6Addr) -> bool {
    let in_subnet =
        |record: &super::topology::Record| record.state.addresses.iter().any(|net| net.contains(&IpAddr::V6(address)));
    address.is_unicast_link_local() || plane.topology.by_index(interface).is_some_and(in_subnet)
}

fn in_packet(message: &NdpRepr, source: Ipv6Addr, destination: Ipv6Addr) -> Result<Vec<u8>, WireError> {
    let message = message.to_message(source, destination)?;
    icmpv6::in_packet(source, destination, HOP_LIMIT, &message)
}

/// Asks for the link address of `target`: everyone who may have it, or the one who had it last.
pub(super) fn solicit(
    now: Time,
    plane: &mut Plane,
    interface: IfIndex,
    source: Ipv6Addr,
    target: Ipv6Addr,
    to: Option<MacAddress>,
) {
    let Some(mac) = plane.topology.by_index(interface).map(|record| record.interface.mac) else { return };
    let message = NdpRepr::NeighborSolicitation { target, source_link: Some(mac) };
    let (destination, station) = match to {
        Some(station) => (target, station),
        None => (solicited_node(target), MacAddress::of_ipv6_group(solicited_node(target))),
    };
    if let Ok(packet) = in_packet(&message, source, destination) {
        plane.send_on_link(now, interface, station, &packet);
    }
}

/// Asks a link whether somebody has an address that we want to have.
pub(super) fn look_for(now: Time, plane: &mut Plane, interface: IfIndex, address: Ipv6Addr) {
    let group = solicited_node(address);
    let message = NdpRepr::NeighborSolicitation { target: address, source_link: None };
    if let Ok(packet) = in_packet(&message, Ipv6Addr::UNSPECIFIED, group) {
        plane.send_on_link(now, interface, MacAddress::of_ipv6_group(group), &packet);
    }
}

/// Says to a whole link that we have an address.
pub(super) fn advertise_to_all(now: Time, plane: &mut Plane, interface: IfIndex, target: Ipv6Addr) {
    let Some(mac) = plane.topology.by_index(interface).map(|record| record.interface.mac) else { return };
    let (target_link, router, solicited, overrides) = (Some(mac), true, false, true);
    let message = NdpRepr::NeighborAdvertisement { target, target_link, router, solicited, overrides };
    if let Ok(packet) = in_packet(&message, target, ALL_NODES) {
        plane.send_on_link(now, interface, MacAddress::of_ipv6_group(ALL_NODES), &packet);
    }
}
