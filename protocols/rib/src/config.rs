//! The configuration of the RIB: `router static`.

use ipc::ServiceName;
use sdk::core::ConfigError;
use sdk::rib::Route;
use vr_api::command::{Command, Declaration, ParameterType, Runs};
use vr_api::config::Node;

use crate::static_routes;

/// Name of the class and of its service.
pub const CLASS: &str = "rib";

/// Blocks of `router static`.
const FAMILIES: [&str; 2] = ["address-family ipv4 unicast", "address-family ipv6 unicast"];

/// The typed configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RibConfig {
    /// Static routes: one a prefix and distance, in order.
    pub static_routes: Vec<Route>,
}

/// What the class tells the rest of the router about itself.
pub fn declaration() -> Declaration {
    Declaration {
        // A constant that is a name: the unit test reads it.
        class: ServiceName::new(CLASS).expect("a name"),
        runs: Runs::Always,
        blocks: vec![router_static()],
        reads: vec!["interface".into()],
        tables: crate::show::tables(),
        commands: Vec::new(),
    }
}

fn router_static() -> Command {
    use ParameterType::{InterfaceName, Ipv4Prefix, Ipv6Address, Ipv6Prefix, NextHop};
    let distance = || ParameterType::Number { name: "distance".into(), min: 1, max: 254 };
    let tag = || ParameterType::Number { name: "tag".into(), min: 1, max: u32::MAX.into() };
    let lines = |prefix: ParameterType| {
        let route = "A static route: through a neighbor, an interface, or Null0 to drop";
        let backup = "A static route with an administrative distance: a higher one is a backup";
        let marked = "A static route with a tag, by which other protocols may choose";
        vec![
            Command::line("<> <>", route, vec![prefix.clone(), NextHop]).each(),
            Command::line("<> <> <>", backup, vec![prefix.clone(), NextHop, distance()]).each(),
            Command::line("<> <> tag <>", marked, vec![prefix.clone(), NextHop, tag()]).each(),
            Command::line("<> <> <> tag <>", marked, vec![prefix, NextHop, distance(), tag()]).each(),
        ]
    };
    let mut of_ipv6 = lines(Ipv6Prefix);
    let by_link = "A static route through a neighbor on a link, by its link-local address too";
    of_ipv6.push(Command::line("<> <> <>", by_link, vec![Ipv6Prefix, InterfaceName, Ipv6Address]).each());
    let by_link = vec![Ipv6Prefix, InterfaceName, Ipv6Address, distance()];
    of_ipv6.push(Command::line("<> <> <> <>", "The same with an administrative distance", by_link).each());
    let families = vec![
        Command::block(FAMILIES[0], "Static routes of IPv4", Vec::new(), lines(Ipv4Prefix)),
        Command::block(FAMILIES[1], "Static routes of IPv6", Vec::new(), of_ipv6),
    ];
    Command::block("router static", "Static routes", Vec::new(), families)
}

/// Reads the blocks that the class subscribed to. Interfaces are not read from here: the stack says how they are.
pub fn read(blocks: &[Node]) -> Result<RibConfig, ConfigError> {
    let families = blocks
        .iter()
        .filter(|block| block.starts_with("router static"))
        .flat_map(|block| FAMILIES.iter().flat_map(|family| block.all(family)));
    let lines: Vec<&Node> = families.flat_map(|family| &family.children).collect();
    let routes = lines.iter().map(|line| static_routes::read_line(line)).collect::<Result<Vec<_>, _>>()?;
    let static_routes = static_routes::join(routes.clone());
    let max = crate::validate::MAX_NEXT_HOPS;
    let Some(too_wide) = static_routes.iter().find(|route| route.next_hops.len() > max) else {
        return Ok(RibConfig { static_routes });
    };
    let adds_to_it = |route: &Route| (route.prefix, route.distance) == (too_wide.prefix, too_wide.distance);
    let last = routes.iter().rposition(adds_to_it).and_then(|last| lines.get(last)).copied();
    // `too_wide` was joined from these lines.
    let line = last.map(Node::named).unwrap_or_default();
    let reason = format!("{} next hops of distance {}; at most {max}", too_wide.next_hops.len(), too_wide.distance);
    Err(ConfigError::Nonsense { line, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_names_the_class_and_its_tables() {
        let declaration = declaration();
        assert_eq!(declaration.class.as_str(), "rib");
        let tables: Vec<_> = declaration.tables.iter().map(|table| &*table.words).collect();
        assert_eq!(tables, ["route", "route unused", "route summary"]);
    }

    #[test]
    fn static_routes_are_read_out_of_their_block_and_nothing_else() {
        let line = Node::new("203.0.113.0/24 10.1.0.9", Vec::new());
        let family = Node::new("address-family ipv4 unicast", vec![line]);
        let of_ipv6 = Node::new("2001:db8:1::/48 2001:db8::9", Vec::new());
        let of_ipv6 = Node::new("address-family ipv6 unicast", vec![of_ipv6]);
        let interface = Node::new("interface Loopback0", vec![Node::new("ipv4 address 192.0.2.1/32", Vec::new())]);
        let config = read(&[interface, Node::new("router static", vec![of_ipv6, family])]).unwrap();
        let prefixes: Vec<String> = config.static_routes.iter().map(|route| route.prefix.to_string()).collect();
        assert_eq!(prefixes, ["203.0.113.0/24", "2001:db8:1::/48"]);
        assert_eq!(read(&[]).unwrap(), RibConfig::default());
    }
}
