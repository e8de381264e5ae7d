//! Which routes make sense.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sdk::rib::{NextHop, Route};

/// Equal-cost paths that a route may have at most: IOS-XR's limit.
pub const MAX_NEXT_HOPS: usize = 64;

/// Distance of routes that are never used.
pub const DISTANCE_UNUSABLE: u8 = 255;

/// Why a route is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Bits right of the prefix length are set.
    #[error("{0} has bits set right of its length; {1} is meant?")]
    HostBits(IpNet, IpNet),
    /// Nothing there can be routed to.
    #[error("{0} is not a unicast destination: it lies in {1}")]
    NotUnicast(IpNet, IpNet),
    /// Distance 255.
    #[error("distance {DISTANCE_UNUSABLE} means that a route is never used; 1 to 254 are accepted")]
    Distance,
    /// No next hop.
    #[error("a route needs a next hop")]
    NoNextHop,
    /// Too many.
    #[error("{0} next hops; at most {MAX_NEXT_HOPS} are accepted")]
    TooManyNextHops(usize),
    /// Nobody can have this address.
    #[error("next hop {0} is not the address of a neighbor")]
    NextHop(IpAddr),
    /// IPv4 through IPv6 or the reverse.
    #[error("next hop {0} is of another address family than {1}")]
    Family(IpAddr, IpNet),
    /// A link-local address says nothing without its interface.
    #[error("next hop {0} is link-local and needs an interface")]
    LinkLocal(IpAddr),
}

/// Checks a route that a protocol or an administrator offers.
pub fn check_route(route: &Route) -> Result<(), RouteError> {
    check_prefix(route.prefix)?;
    if route.distance == DISTANCE_UNUSABLE {
        return Err(RouteError::Distance);
    }
    match route.next_hops.len() {
        0 => return Err(RouteError::NoNextHop),
        1..=MAX_NEXT_HOPS => {}
        count => return Err(RouteError::TooManyNextHops(count)),
    }
    route.next_hops.iter().try_for_each(|hop| check_next_hop(route.prefix, hop))
}

/// Checks a destination.
pub fn check_prefix(prefix: IpNet) -> Result<(), RouteError> {
    if prefix != prefix.trunc() {
        return Err(RouteError::HostBits(prefix, prefix.trunc()));
    }
    match NOT_UNICAST.iter().find(|block| block.contains(&prefix)) {
        Some(block) => Err(RouteError::NotUnicast(prefix, *block)),
        None => Ok(()),
    }
}

fn check_next_hop(prefix: IpNet, hop: &NextHop) -> Result<(), RouteError> {
    let address = match hop {
        NextHop::Address(address) | NextHop::OnInterface(_, address) => *address,
        NextHop::Interface(_) | NextHop::Discard => return Ok(()),
    };
    if address.is_ipv4() != matches!(prefix, IpNet::V4(_)) {
        return Err(RouteError::Family(address, prefix));
    }
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    match (hop, link_local) {
        (NextHop::OnInterface(..), true) => Ok(()),
        (_, true) => Err(RouteError::LinkLocal(address)),
        (_, false) if NOT_UNICAST.iter().any(|block| block.contains(&address)) => Err(RouteError::NextHop(address)),
        (_, false) => Ok(()),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(first: u16, last: u16, length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), length))
}

/// RFC 6890: "this network", loopback, multicast, limited broadcast; for IPv6 unspecified, loopback, link-local and
/// multicast.
const NOT_UNICAST: [IpNet; 8] = [
    v4(0, 0, 0, 0, 8),
    v4(127, 0, 0, 0, 8),
    v4(224, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
    v6(0, 0, 128),
    v6(0, 1, 128),
    v6(0xfe80, 0, 10),
    v6(0xff00, 0, 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, hop: &str) -> Route {
        let next_hops = vec![NextHop::Address(hop.parse().unwrap())];
        Route::new(prefix.parse::<IpNet>().unwrap(), 20, 0, next_hops)
    }

    #[test]
    fn ordinary_routes_pass() {
        for (prefix, hop) in [
            ("0.0.0.0/0", "10.0.0.1"),
            ("0.0.0.0/1", "10.0.0.1"),
            ("203.0.113.7/32", "192.0.2.1"),
            ("::/0", "2001:db8::1"),
            ("192.0.0.0/2", "10.0.0.1"),
        ] {
            assert_eq!(check_route(&route(prefix, hop)), Ok(()), "{prefix}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        for (prefix, hop, reason) in [
            ("10.0.0.1/24", "10.0.0.1", "10.0.0.1/24 has bits set right of its length; 10.0.0.0/24 is meant?"),
            ("224.0.0.0/4", "10.0.0.1", "224.0.0.0/4 is not a unicast destination: it lies in 224.0.0.0/4"),
            ("127.1.0.0/16", "10.0.0.1", "127.1.0.0/16 is not a unicast destination: it lies in 127.0.0.0/8"),
            ("0.0.0.0/32", "10.0.0.1", "0.0.0.0/32 is not a unicast destination: it lies in 0.0.0.0/8"),
            ("10.0.0.0/8", "0.0.0.0", "next hop 0.0.0.0 is not the address of a neighbor"),
            ("10.0.0.0/8", "127.0.0.1", "next hop 127.0.0.1 is not the address of a neighbor"),
            ("10.0.0.0/8", "239.1.1.1", "next hop 239.1.1.1 is not the address of a neighbor"),
            ("10.0.0.0/8", "::1", "next hop ::1 is of another address family than 10.0.0.0/8"),
            ("2001:db8::/32", "fe80::1", "next hop fe80::1 is link-local and needs an interface"),
            ("ff02::/16", "2001:db8::1", "ff02::/16 is not a unicast destination: it lies in ff00::/8"),
        ] {
            assert_eq!(check_route(&route(prefix, hop)).unwrap_err().to_string(), reason);
        }
        let mut bare = route("10.0.0.0/8", "10.0.0.1");
        bare.next_hops.clear();
        assert_eq!(check_route(&bare), Err(RouteError::NoNextHop));
        let never = Route { distance: 255, ..route("10.0.0.0/8", "10.0.0.1") };
        assert_eq!(check_route(&never), Err(RouteError::Distance));
    }
}
