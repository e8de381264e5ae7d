//! Routes as `rtmsg` and its attributes.

use std::net::IpAddr;

use nix::errno::Errno;
use stack_api::interface::InterfaceState;

use super::{Message, Request, family_of, is_of_family, octets};
use crate::routes::{Hop, Route};
use crate::{names, process};

/// The RIB's name for the subnets of interfaces: those are told from the addresses, which are preferred sources.
pub(super) const CONNECTED: &str = "connected";

/// `RTPROT_…` of routing protocols, which libc does not have (`linux/rtnetlink.h`).
const PROTOCOLS: [(&str, u8); 5] = [("static", 4), ("bgp", 186), ("isis", 187), ("ospf", 188), (CONNECTED, 2)];

/// A protocol that Linux has no number for (`RTPROT_…` from 200 on are free).
const UNKNOWN: u8 = 250;

/// `RTA_VIA`: a gateway of the other family (RFC 8950).
const RTA_VIA: u16 = 18;

/// The subnet of an address is reached over its interface.
pub(super) fn connected(number: u32, _: &InterfaceState, own: IpAddr, length: u8) -> Message {
    let subnet: Vec<u8> =
        octets(own).iter().zip(octets(names::mask(own, length))).map(|(own, mask)| own & mask).collect();
    header(own, length, (libc::RTPROT_KERNEL, libc::RT_SCOPE_LINK, libc::RTN_UNICAST))
        .attribute(libc::RTA_DST, &subnet)
        .attribute(libc::RTA_PREFSRC, &octets(own))
        .attribute(libc::RTA_OIF, &number.to_ne_bytes())
}

/// A route that the RIB has from a protocol.
pub(super) fn learned(interfaces: &[(u32, InterfaceState)], route: &Route) -> Message {
    let to = route.prefix.addr();
    let protocol = PROTOCOLS.iter().find(|(name, _)| *name == route.protocol).map_or(UNKNOWN, |(_, n)| *n);
    let kind = if route.hops.is_empty() { libc::RTN_BLACKHOLE } else { libc::RTN_UNICAST };
    let mut message = header(to, route.prefix.prefix_len(), (protocol, libc::RT_SCOPE_UNIVERSE, kind));
    if route.prefix.prefix_len() > 0 {
        message = message.attribute(libc::RTA_DST, &octets(to));
    }
    if route.metric > 0 {
        message = message.attribute(libc::RTA_PRIORITY, &route.metric.to_ne_bytes());
    }
    match route.hops.as_slice() {
        [] => message,
        [hop] => via(message, hop, to).attribute(libc::RTA_OIF, &number_of(interfaces, hop).to_ne_bytes()),
        several => {
            let all: Vec<u8> = several.iter().flat_map(|hop| next_hop(interfaces, hop, to)).collect();
            message.attribute(libc::RTA_MULTIPATH, &all)
        }
    }
}

/// What `ip route get` asks: how an address is reached, and from which own one.
pub(super) fn way(interfaces: &[(u32, InterfaceState)], request: &Request<'_>) -> Result<Option<Message>, Errno> {
    let to = request.attribute(12, libc::RTA_DST).and_then(|octets| match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    });
    let to = to.filter(|to| is_of_family(*to, request.family())).ok_or(Errno::EINVAL)?;
    let routes = process::with(|process| process.routes(Some(to)))?;
    let Some(hop) = routes.first().and_then(|route| route.hops.first()) else { return Ok(None) };
    let length = if to.is_ipv4() { 32 } else { 128 };
    let kind = (libc::RTPROT_UNSPEC, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
    let message = via(header(to, length, kind).attribute(libc::RTA_DST, &octets(to)), hop, to);
    let found = interfaces.iter().find(|(_, state)| state.name.as_str() == hop.interface);
    let own = found.and_then(|(_, state)| {
        let mut own = names::addresses(state).into_iter().map(|(own, _)| own);
        own.find(|own| own.is_ipv4() == to.is_ipv4())
    });
    let message = match own {
        Some(own) => message.attribute(libc::RTA_PREFSRC, &octets(own)),
        None => message,
    };
    Ok(Some(message.attribute(libc::RTA_OIF, &number_of(interfaces, hop).to_ne_bytes())))
}

fn header(to: IpAddr, length: u8, (protocol, scope, kind): (u8, u8, u8)) -> Message {
    /// `RTM_F_CLONED`: no route of a table, but what follows from one.
    const CLONED: u32 = 0x200;
    let table = libc::RT_TABLE_MAIN;
    let mut body = vec![family_of(to), length, 0, 0, table, protocol, scope, kind];
    body.extend(if protocol == libc::RTPROT_UNSPEC { CLONED } else { 0 }.to_ne_bytes());
    Message::new(libc::RTM_NEWROUTE, &body).attribute(libc::RTA_TABLE, &u32::from(table).to_ne_bytes())
}

fn number_of(interfaces: &[(u32, InterfaceState)], hop: &Hop) -> u32 {
    interfaces.iter().find(|(_, state)| state.name.as_str() == hop.interface).map_or(0, |(number, _)| *number)
}

fn via(message: Message, hop: &Hop, to: IpAddr) -> Message {
    match hop.gateway {
        None => message,
        Some(gateway) if gateway.is_ipv4() == to.is_ipv4() => message.attribute(libc::RTA_GATEWAY, &octets(gateway)),
        Some(gateway) => {
            let family = u16::from(family_of(gateway));
            message.attribute(RTA_VIA, &[family.to_ne_bytes().as_slice(), &octets(gateway)].concat())
        }
    }
}

/// `rtnexthop`, and the gateway behind it.
fn next_hop(interfaces: &[(u32, InterfaceState)], hop: &Hop, to: IpAddr) -> Vec<u8> {
    let gateway = via(Message(Vec::new()), hop, to).0;
    // An attribute or none.
    let length = (8 + gateway.len()) as u16;
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend(number_of(interfaces, hop).to_ne_bytes());
    bytes.extend(gateway);
    bytes
}
