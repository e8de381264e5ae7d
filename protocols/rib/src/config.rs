//! The configuration of the RIB: `router static`.

use ipc::ServiceName;
use sdk::core::ConfigError;
use sdk::rib::Route;
use vr_api::command::{Command, Declaration, ParameterType, Runs};
use vr_api::config::Node;

use crate::static_routes;

/// Name of the class and of its service.
pub const CLASS: &str = "rib";

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
    let distance = || ParameterType::Number { name: "distance".into(), min: 1, max: 254 };
    let route = "A static route: through a neighbor, an interface, or Null0 to drop";
    let lines = vec![
        Command::line("<> <>", route, vec![ParameterType::Ipv4Prefix, ParameterType::NextHop]).each(),
        Command::line(
            "<> <> <>",
            "A static route with an administrative distance: a higher one is a backup",
            vec![ParameterType::Ipv4Prefix, ParameterType::NextHop, distance()],
        )
        .each(),
    ];
    let family = Command::block("address-family ipv4 unicast", "Static routes of IPv4", Vec::new(), lines);
    Command::block("router static", "Static routes", Vec::new(), vec![family])
}

/// Reads the blocks that the class subscribed to. Interfaces are not read from here: the stack says how they are.
pub fn read(blocks: &[Node]) -> Result<RibConfig, ConfigError> {
    let families = blocks
        .iter()
        .filter(|block| block.starts_with("router static"))
        .flat_map(|block| block.all("address-family ipv4 unicast"));
    let lines = families.flat_map(|family| &family.children);
    let routes = lines.map(static_routes::read_line).collect::<Result<Vec<_>, _>>()?;
    let static_routes = static_routes::join(routes);
    match static_routes.iter().find(|route| route.next_hops.len() > crate::validate::MAX_NEXT_HOPS) {
        Some(route) => Err(ConfigError::Nonsense {
            line: format!("router static {}", route.prefix),
            reason: format!("{} next hops of distance {}", route.next_hops.len(), route.distance),
        }),
        None => Ok(RibConfig { static_routes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(line: &str, children: Vec<Node>) -> Node {
        Node { words: line.split_whitespace().map(str::to_owned).collect(), children }
    }

    #[test]
    fn the_declaration_names_the_class_and_its_tables() {
        let declaration = declaration();
        assert_eq!(declaration.class.as_str(), "rib");
        let tables: Vec<_> = declaration.tables.iter().map(|table| &*table.words).collect();
        assert_eq!(tables, ["route", "route summary"]);
    }

    #[test]
    fn static_routes_are_read_out_of_their_block_and_nothing_else() {
        let line = node("203.0.113.0/24 10.1.0.9", Vec::new());
        let family = node("address-family ipv4 unicast", vec![line]);
        let interface = node("interface Loopback0", vec![node("ipv4 address 192.0.2.1/32", Vec::new())]);
        let config = read(&[interface, node("router static", vec![family])]).unwrap();
        assert_eq!(config.static_routes.len(), 1);
        assert_eq!(config.static_routes[0].prefix, "203.0.113.0/24".parse().unwrap());
        assert_eq!(read(&[]).unwrap(), RibConfig::default());
    }
}
