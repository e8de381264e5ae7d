//! Declarations for tests, shaped like those of the real classes.

use std::path::PathBuf;

use ipc::ServiceName;
use vr_api::command::{Command, Declaration, ParameterType, Runs};

use super::check::tree_of;
use super::parse::Source;
use super::tree::Tree;
use super::words::Words;
use crate::error::ConfigError;

pub(super) fn words() -> Words {
    Words::new(vec![rib(), bgp(), ospf()]).unwrap()
}

pub(super) fn source() -> Source {
    Source { file: "test.conf".into(), folder: PathBuf::from("/etc/isthmus") }
}

pub(super) fn read<'w>(text: &str, words: &'w Words) -> Result<Tree<'w>, Vec<ConfigError>> {
    tree_of(text, words, &source())
}

/// What `isthmus check` would print.
pub(super) fn report(errors: &[ConfigError]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect::<Vec<_>>().join("\n")
}

fn declaration(class: &str, runs: Runs, blocks: Vec<Command>) -> Declaration {
    let class = ServiceName::new(class).unwrap();
    Declaration { class, runs, blocks, reads: vec!["route-policy".into()], tables: Vec::new(), commands: Vec::new() }
}

pub(super) fn rib() -> Declaration {
    use ParameterType::{InterfaceName, Ipv4Prefix, Ipv6Address, Ipv6Prefix, NextHop};
    let v4 = vec![Command::line("<> <>", "a route", vec![Ipv4Prefix, NextHop]).each()];
    let v6 = vec![
        Command::line("<> <>", "a route", vec![Ipv6Prefix, NextHop]).each(),
        Command::line("<> <> <>", "a route", vec![Ipv6Prefix, InterfaceName, Ipv6Address]).each(),
    ];
    let families = vec![
        Command::block("address-family ipv4 unicast", "IPv4 routes", vec![], v4),
        Command::block("address-family ipv6 unicast", "IPv6 routes", vec![], v6),
    ];
    declaration("rib", Runs::Always, vec![Command::block("router static", "static routes", vec![], families)])
}

pub(super) fn bgp() -> Declaration {
    use ParameterType::{IpAddress, Ipv4Address, Ipv4Prefix, Name};
    let number = |name: &'static str, min, max| ParameterType::Number { name: name.into(), min, max };
    let system = || number("AS number", 1, 4_294_967_295);
    let policies = vec![Command::line("route-policy <> in|out", "a policy", vec![Name("route-policy".into())])];
    let neighbor = vec![
        Command::line("remote-as <>", "the neighbor's AS", vec![system()]),
        Command::block("address-family ipv4 unicast", "IPv4 routes", vec![], policies),
    ];
    let router = vec![
        Command::line("bgp router-id <>", "router ID", vec![Ipv4Address]),
        Command::line("timers bgp <> <>", "timers", vec![number("seconds", 0, 65535), number("seconds", 0, 65535)]),
        Command::block(
            "address-family ipv4 unicast",
            "IPv4 routes",
            vec![],
            vec![Command::line("network <>", "announce", vec![Ipv4Prefix]).each()],
        ),
        Command::block("neighbor <>", "a neighbor", vec![IpAddress], neighbor).each(),
    ];
    declaration("bgp", Runs::WhereConfigured, vec![Command::block("router bgp <>", "BGP", vec![system()], router)])
}

pub(super) fn ospf() -> Declaration {
    use ParameterType::{Choice, InterfaceName, Name};
    let kinds = vec!["point-to-point".into(), "broadcast".into()];
    let interface = vec![Command::line("network <>", "network type", vec![Choice(kinds)])];
    let area = vec![Command::block("interface <>", "an interface", vec![InterfaceName], interface).each()];
    let area = Command::block("area <>", "an area", vec![Name("area".into())], area).each();
    let block = Command::block("router ospf <>", "OSPF", vec![Name("instance".into())], vec![area]).each();
    declaration("ospf", Runs::WhereConfigured, vec![block])
}
