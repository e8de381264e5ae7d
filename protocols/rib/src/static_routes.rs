//! Static routes: the lines of `router static`.

use std::net::IpAddr;

use ipc::InterfaceName;
use ipnet::IpNet;
use sdk::core::ConfigError;
use sdk::rib::{NextHop, Route};
use vr_api::config::Node;
use vr_api::interface::NULL;

use crate::validate::check_route;

/// Distance of a static route that does not say another.
pub const DISTANCE: u8 = 1;

/// Reads one line, `PREFIX NEXTHOP|INTERFACE|INTERFACE NEXTHOP|Null0 [DISTANCE] [tag TAG]`, as a route with one next hop.
pub fn read_line(line: &Node) -> Result<Route, ConfigError> {
    let prefix: IpNet = line.value(0)?;
    let next_hop: String = line.value(1)?;
    let on_interface = line.words.get(2).and_then(|word| word.parse::<IpAddr>().ok());
    let next_hop = match (next_hop.parse::<IpAddr>(), on_interface) {
        (Ok(address), _) => NextHop::Address(address),
        (Err(_), None) if next_hop.eq_ignore_ascii_case(NULL) => NextHop::Discard,
        (Err(_), None) => NextHop::Interface(line.value::<InterfaceName>(1)?),
        (Err(_), Some(address)) => NextHop::OnInterface(line.value::<InterfaceName>(1)?, address),
    };
    let at = if on_interface.is_some() { 3 } else { 2 };
    let tag_at = line.words.iter().position(|word| word == "tag").unwrap_or(line.words.len());
    let distance = if tag_at > at { line.value(at)? } else { DISTANCE };
    let tag = if tag_at < line.words.len() { line.value(tag_at + 1)? } else { 0 };
    let route = Route { tag, ..Route::new(prefix, distance, 0, vec![next_hop]) };
    check_route(&route).map_err(|error| ConfigError::Nonsense { line: line.named(), reason: error.to_string() })?;
    Ok(route)
}

/// Joins lines to the same prefix with the same distance: their next hops are equal-cost paths. The route has the tag of
/// the first of them.
pub fn join(lines: impl IntoIterator<Item = Route>) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for line in lines {
        let equal = routes.iter_mut().find(|route| (route.prefix, route.distance) == (line.prefix, line.distance));
        match equal {
            Some(route) => route.next_hops.extend(line.next_hops),
            None => routes.push(line),
        }
    }
    routes.sort_by_key(|route| (route.prefix, route.distance));
    for route in &mut routes {
        route.next_hops.sort_unstable();
        route.next_hops.dedup();
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(line: &str) -> Node {
        Node::new(line, Vec::new())
    }

    fn blue() -> InterfaceName {
        InterfaceName::new("blue").unwrap()
    }

    #[test]
    fn each_form_of_a_line_is_a_route() {
        for (line, hop, distance) in [
            ("203.0.113.0/24 10.1.0.9", NextHop::Address("10.1.0.9".parse().unwrap()), 1),
            ("203.0.113.0/24 10.1.0.9 200", NextHop::Address("10.1.0.9".parse().unwrap()), 200),
            ("198.51.100.0/24 Null0", NextHop::Discard, 1),
            ("0.0.0.0/0 Port0/0/1 9", NextHop::Interface(InterfaceName::new("Port0/0/1").unwrap()), 9),
            ("0.0.0.0/0 blue", NextHop::Interface(InterfaceName::new("blue").unwrap()), 1),
            ("2001:db8::/32 2001:db8:1::9", NextHop::Address("2001:db8:1::9".parse().unwrap()), 1),
            ("::/0 blue fe80::1", NextHop::OnInterface(blue(), "fe80::1".parse().unwrap()), 1),
            ("::/0 blue fe80::1 7", NextHop::OnInterface(blue(), "fe80::1".parse().unwrap()), 7),
        ] {
            let route = read_line(&node(line)).unwrap();
            assert_eq!((route.next_hops, route.distance, route.tag), (vec![hop], distance, 0), "{line}");
        }
        let tagged = |line| read_line(&node(line)).map(|route| (route.distance, route.tag)).unwrap();
        assert_eq!(tagged("203.0.113.0/24 10.1.0.9 tag 7"), (1, 7));
        assert_eq!(tagged("203.0.113.0/24 10.1.0.9 200 tag 7"), (200, 7));
        assert_eq!(tagged("::/0 blue fe80::1 7 tag 9"), (7, 9));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named_in_the_error() {
        let error = |line: &str| read_line(&node(line)).unwrap_err().to_string();
        assert_eq!(
            error("10.0.0.0/8 127.0.0.1"),
            "10.0.0.0/8 127.0.0.1: next hop 127.0.0.1 is not the address of a neighbor"
        );
        assert_eq!(error("10.0.0.0/8"), "`10.0.0.0/8`: word 1 is missing");
        assert_eq!(error("10.0.0.0/8 10.1.0.9 far"), "`10.0.0.0/8 10.1.0.9 far`: \"far\" has the wrong type");
        assert!(error("10.0.0.0/8 2001:db8::1").contains("address family"));
        assert!(error("2001:db8::/32 10.0.0.1").contains("address family"));
        assert!(error("2001:db8::/32 fe80::1").contains("needs an interface"));
    }

    #[test]
    fn lines_of_equal_distance_are_equal_cost_paths_and_others_are_routes_of_their_own() {
        let lines = ["10.0.0.0/8 10.1.0.9", "10.0.0.0/8 10.2.0.9", "10.0.0.0/8 10.3.0.9 200", "10.0.0.0/8 10.1.0.9"];
        let routes = join(lines.map(|line| read_line(&node(line)).unwrap()));
        let shape: Vec<_> = routes.iter().map(|route| (route.distance, route.next_hops.len())).collect();
        assert_eq!(shape, [(1, 2), (200, 1)]);
    }
}
