//! ICMP of both families for us: echoes to answer, errors about what we sent, answers to our probes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipc::VrId;
use stack_api::socket::Addresses;

use super::input::{Delivery, Input};
use super::plane::Plane;
use crate::counters::DropReason;
use crate::ids::IfIndex;
use crate::internet::report::unreachable;
use crate::internet::{icmp, icmpv6};
use crate::packet::Packet;
use crate::time::Time;
use crate::wire::icmpv4::{Icmpv4Repr, Icmpv4View, Unreachable};
use crate::wire::icmpv6::{Icmpv6Repr, Icmpv6View};
use crate::wire::ip::{self, IpView};
use crate::wire::ipv4::{Ipv4View, protocol};
use crate::wire::tcp::SeqNumber;

impl Input {
    /// A message for us came.
    pub(super) fn handle_icmp(
        &mut self,
        now: Time,
        plane: &mut Plane,
        packet: &Packet,
        deliveries: &mut Vec<Delivery>,
    ) {
        match ip::destination(packet.layer3()) {
            Some(IpAddr::V4(_)) => self.handle_icmpv4(now, plane, packet, deliveries),
            Some(IpAddr::V6(_)) => self.handle_icmpv6(now, plane, packet, deliveries),
            None => {}
        }
    }

    fn handle_icmpv4(&mut self, now: Time, plane: &mut Plane, packet: &Packet, deliveries: &mut Vec<Delivery>) {
        let (vr, interface) = (packet.meta.vr, packet.meta.interface);
        let Ok(ip) = Ipv4View::parse(packet.layer3()) else { return };
        // What was sent to everyone on a subnet is not answered (RFC 1122 section 3.2.2.6 permits that).
        if plane.topology.is_local(vr, ip.destination().into())
            && let Some(reply) = icmp::echo_reply(&ip)
        {
            plane.send(now, vr, interface, &reply);
            return;
        }
        let Ok(message) = Icmpv4View::parse(ip.payload()) else {
            return plane.discard(packet, DropReason::IcmpInvalid);
        };
        let repr = message.repr();
        if let Some(answer) = self.probes.received(now, vr, ip.source(), ip.ttl(), &repr, message.payload()) {
            deliveries.push(Delivery::Probe(answer));
            return;
        }
        if let Icmpv4Repr::DestinationUnreachable(why) = repr {
            deliveries.extend(quoted_error(vr, interface, why, message.payload()));
        }
    }

    fn handle_icmpv6(&mut self, now: Time, plane: &mut Plane, packet: &Packet, deliveries: &mut Vec<Delivery>) {
        let (vr, interface) = (packet.meta.vr, packet.meta.interface);
        let Ok(ip) = IpView::parse(packet.layer3()) else { return };
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (ip.source, ip.destination) else { return };
        let Ok(message) = Icmpv6View::parse(ip.payload, source, destination) else {
            return plane.discard(packet, DropReason::IcmpInvalid);
        };
        let repr = message.repr();
        match repr {
            Icmpv6Repr::EchoRequest { .. } => {
                let from = own_address(plane, packet, source, destination);
                if let Some(reply) = from.and_then(|from| icmpv6::echo_reply(from, source, &message)) {
                    plane.send(now, vr, interface, &reply);
                }
            }
            Icmpv6Repr::Other { .. } => self.handle_discovery(now, plane, packet, &message, deliveries),
            Icmpv6Repr::EchoReply { .. }
            | Icmpv6Repr::DestinationUnreachable(_)
            | Icmpv6Repr::PacketTooBig { .. }
            | Icmpv6Repr::TimeExceededInTransit
            | Icmpv6Repr::TimeExceededInReassembly
            | Icmpv6Repr::ParameterProblem { .. } => {
                if let Icmpv6Repr::PacketTooBig { mtu_bytes } = repr {
                    learn_path_mtu(now, plane, vr, mtu_bytes, message.payload());
                }
                let answer = self.probes.received_v6(now, vr, source, ip.ttl, &repr, message.payload());
                if let Some(answer) = answer {
                    deliveries.push(Delivery::Probe(answer));
                } else if let Some(why) = unreachable(&repr) {
                    deliveries.extend(quoted_error(vr, interface, why, message.payload()));
                }
            }
        }
    }
}

/// The own address that answers a packet: the one that it was sent to, or, of a group, the one of its interface.
fn own_address(plane: &Plane, packet: &Packet, source: Ipv6Addr, destination: Ipv6Addr) -> Option<Ipv6Addr> {
    let (vr, interface) = (packet.meta.vr, packet.meta.interface);
    if !destination.is_multicast() {
        return plane.topology.is_local_on(vr, destination.into(), interface).then_some(destination);
    }
    match plane.topology.source(interface?, source.into())? {
        IpAddr::V6(own) => Some(own),
        IpAddr::V4(_) => None,
    }
}

/// A router says that a packet of ours is too big. What it quotes must be one: nobody else may make our packets small.
fn learn_path_mtu(now: Time, plane: &mut Plane, vr: VrId, mtu_bytes: u32, quote: &[u8]) {
    if let Some((source, IpAddr::V6(to))) = ip::addresses(quote)
        && plane.topology.is_local(vr, source)
    {
        plane.path_mtus.learn(now, vr, to, mtu_bytes);
    }
}

/// An ICMP error about a packet that we sent. Its quote has the IP header and, of TCP and UDP, the first 8 bytes behind
/// it: ports, and the sequence number of a segment.
fn quoted_error(vr: VrId, interface: Option<IfIndex>, why: Unreachable, quote: &[u8]) -> Option<Delivery> {
    let ip = IpView::parse_quoted(quote).ok()?;
    let number = ip.protocol;
    let at = |source_port, destination_port| {
        (SocketAddr::new(ip.source, source_port), SocketAddr::new(ip.destination, destination_port))
    };
    if number != protocol::TCP && number != protocol::UDP {
        let (source, destination) = at(0, 0);
        let addresses = Addresses { source, destination };
        return Some(Delivery::DatagramError { vr, protocol: number, addresses, why });
    }
    let [a, b, c, d, e, f, g, h, ..] = *ip.payload else { return None };
    let (source, destination) = at(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if number == protocol::UDP {
        let addresses = Addresses { source, destination };
        return Some(Delivery::DatagramError { vr, protocol: number, addresses, why });
    }
    let quoted = SeqNumber(u32::from_be_bytes([e, f, g, h]));
    Some(Delivery::TcpError { vr, interface, local: source, remote: destination, quoted, why })
}
