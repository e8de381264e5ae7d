//! The configuration of the RIB: `router static`, and `router rib` for the RIB itself.
//!
//! ```text
//! router rib
//!  stale-time 30                seconds that routes of a process that died stay; 120 unless given, 0: they go with it
//! ```

use std::time::Duration;

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

/// How long routes of a protocol that went away stay unless configured: as long as graceful restart takes in FRR and
/// IOS-XR.
pub const STALE_TIME: Duration = Duration::from_secs(120);

/// The longest that may be configured.
const MAX_STALE_SECONDS: u64 = 3600;

/// The typed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RibConfig {
    /// Static routes: one a prefix and distance, in order.
    pub static_routes: Vec<Route>,
    /// How long routes of a protocol that went away stay.
    pub stale_time: Duration,
}

impl Default for RibConfig {
    fn default() -> Self {
        Self { static_routes: Vec::new(), stale_time: STALE_TIME }
    }
}

/// What the class tells the rest of the router about itself.
pub fn declaration() -> Declaration {
    Declaration {
        // A constant that is a name: the unit test reads it.
        class: ServiceName::new(CLASS).expect("a name"),
        runs: Runs::Always,
        blocks: vec![router_static(), router_rib()],
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

fn router_rib() -> Command {
    let seconds = ParameterType::Number { name: "seconds".into(), min: 0, max: MAX_STALE_SECONDS };
    let stale = "How long routes of a process that died stay until it has sent them again; 0: not at all";
    Command::block("router rib", "The RIB", Vec::new(), vec![Command::line("stale-time <>", stale, vec![seconds])])
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
    let of_rib = blocks.iter().filter(|block| block.starts_with("router rib"));
    let stale_time = match of_rib.flat_map(|block| block.all("stale-time")).next() {
        Some(line) => Duration::from_secs(line.value(1)?),
        None => STALE_TIME,
    };
    let max = crate::validate::MAX_NEXT_HOPS;
    let Some(too_wide) = static_routes.iter().find(|route| route.next_hops.len() > max) else {
        return Ok(RibConfig { static_routes, stale_time });
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
        assert_eq!(tables, ["route", "route unused", "route summary", "route download"]);
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

    #[test]
    fn the_stale_time_is_configured_in_seconds() {
        let line = Node::new("stale-time 30", Vec::new());
        let config = read(&[Node::new("router rib", vec![line])]).unwrap();
        assert_eq!(config, RibConfig { stale_time: Duration::from_secs(30), ..RibConfig::default() });
    }
}
