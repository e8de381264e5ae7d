//! Interfaces of one VR: no address twice, no two interfaces in one subnet, no IPv6 on a link that is too narrow for it, no word
//! that its kind of link has no use for.

use std::net::IpAddr;

use ipnet::IpNet;
use vr_api::interface::peer_of;

use crate::config::tree::Line;
use crate::config::words::INTERFACE;
use crate::error::{ConfigError, Problem};

struct Configured<'t, 'w> {
    network: IpNet,
    interface: &'t str,
    line: &'t Line<'w>,
}

impl Configured<'_, '_> {
    fn last(&self) -> IpAddr {
        self.network.broadcast()
    }
}

pub(super) fn check(vr: &Line<'_>, errors: &mut Vec<ConfigError>) {
    let interfaces = vr.inside.lines().iter().filter(|line| line.is(&[INTERFACE]));
    interfaces.clone().for_each(|interface| {
        errors.extend(too_narrow(interface));
        errors.extend(never_short(interface));
    });
    let mut configured: Vec<Configured<'_, '_>> = interfaces
        .flat_map(|interface| interface.inside.lines().iter().map(move |line| (interface.word(1), line)))
        .filter(|(_, line)| line.is(&["ipv4", "address"]) || line.is(&["ipv6", "address"]))
        .filter_map(|(interface, line)| {
            line.word(2).parse().ok().map(|network| Configured { network, interface, line })
        })
        .collect();
    // Subnets nest or are apart: sorted by their first address, one that overlaps an earlier one overlaps the one that
    // reaches furthest so far. At the same first address the larger subnet goes first.
    configured.sort_by_key(|one| (one.network.network(), one.network.prefix_len()));
    let mut furthest: Option<&Configured<'_, '_>> = None;
    for one in &configured {
        // Addresses of the two families are never between each other. An interface may have several in one subnet.
        let shares = |other: &&Configured<'_, '_>| {
            other.interface != one.interface || other.network.addr() == one.network.addr()
        };
        if let Some(other) = furthest.filter(|other| one.network.network() <= other.last()).filter(shares) {
            errors.push(collision(one, other));
        }
        if furthest.is_none_or(|other| one.last() > other.last()) {
            furthest = Some(one);
        }
    }
}

/// IPv6 on an interface whose MTU is smaller than every link of IPv6 has.
fn too_narrow(interface: &Line<'_>) -> Option<ConfigError> {
    /// RFC 8200 section 5.
    const LEAST: u32 = 1280;
    let has_ipv6 = interface.inside.lines().iter().any(|line| line.is(&["ipv6"]));
    let line = interface.inside.lines().iter().find(|line| line.is(&["mtu"]))?;
    let mtu: u32 = line.word(1).parse().ok()?;
    let problem = Problem::MtuBelowIpv6 { interface: interface.word(1).to_owned(), mtu, least: LEAST };
    (has_ipv6 && mtu < LEAST).then(|| ConfigError::at(line.source.word(1), problem))
}

/// Only an inter-VR interface short-circuits.
fn never_short(interface: &Line<'_>) -> Option<ConfigError> {
    let name = interface.word(1);
    let line = interface.inside.lines().iter().find(|line| line.is(&["short-circuit"]))?;
    let is_between = name.parse().is_ok_and(|name| peer_of(&name).is_some());
    let problem = Problem::NeverShort { interface: name.to_owned() };
    (!is_between).then(|| ConfigError::at(line.source.word(0), problem))
}

/// The error stands at the later line of the file.
fn collision(one: &Configured<'_, '_>, other: &Configured<'_, '_>) -> ConfigError {
    let (a, b) = (one.line.source.word(2), other.line.source.word(2));
    let ((one, at), (other, beside)) = if a.line >= b.line { ((one, a), (other, b)) } else { ((other, b), (one, a)) };
    let interface = one.interface.to_owned();
    let problem = if one.network.addr() == other.network.addr() {
        Problem::AddressTwice { address: one.network.addr(), interface, other: other.interface.to_owned() }
    } else {
        Problem::SubnetsOverlap {
            subnet: one.network.trunc(),
            interface,
            other_subnet: other.network.trunc(),
            other: other.interface.to_owned(),
        }
    };
    ConfigError::at(at, problem).beside(beside)
}
