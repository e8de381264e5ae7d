//! Three routers in a row, two of them virtual machines, wired by cables without root: the example of
//! `images/examples/three-routers-*.conf`.

use std::fs;
use std::path::Path;

use crate::support::Router;
use crate::vm::{Vm, build, can_boot};

const CORE: &str = include_str!("../../../examples/three-routers-core.conf");
const WEST: &str = include_str!("../../../examples/three-routers-west.conf");
const EAST: &str = include_str!("../../../examples/three-routers-east.conf");

/// A machine with one card on a cable to core.
fn machine(folder: &Path, name: &str, config: &str) -> Vm {
    let path = |file: String| folder.join(file).to_str().unwrap().to_owned();
    fs::write(path(format!("{name}.conf")), config).unwrap();
    let image = folder.join(name);
    build(&image, &["--config", &path(format!("{name}.conf"))]);
    let cable = [path(format!("{name}.sock")), path(format!("core-{name}.sock"))].join(",");
    Vm::start(&image, ["--memory", "96", "--cable", &cable])
}

#[test]
fn two_machines_and_a_workstation_router_exchange_routes_and_pings_pass_from_end_to_end() {
    if !can_boot("two_machines_and_a_workstation_router_exchange_routes_and_pings_pass_from_end_to_end") {
        return;
    }
    let core = Router::new("core");
    let (mut west, mut east) = (machine(core.folder(), "west", WEST), machine(core.folder(), "east", EAST));
    // A cable's ends start in any order.
    core.start(&core.write("core.conf", CORE));
    for neighbor in ["10.1.0.1", "10.2.0.1"] {
        core.wait_for_row("show bgp summary", &[("neighbor", neighbor), ("state", "Established")]);
    }
    west.expect_prompt("west");
    assert!(west.console().contains("network card slot1, "), "{}", west.console());
    west.command_until("west", "show route vr red", |text| text.contains("192.0.2.2/32"));
    east.expect_prompt("east");
    east.command_until("east", "show route vr red", |text| text.contains("192.0.2.1/32"));
    let ping = west.command("west", "ping vr red 192.0.2.2 source 192.0.2.1 count 3");
    // core takes one off the TTL.
    assert_eq!(ping.matches("reply from 192.0.2.2: ").count(), 3, "{ping}");
    assert_eq!(ping.matches(" ttl=63 ").count(), 3, "{ping}");
    assert_eq!(core.rows("show route", &[("protocol", "bgp")]).len(), 2);
}

/// The same router with OSPF in the place of BGP, on its loopback and these ports.
fn with_ospf(config: &str, ports: &[&str]) -> String {
    let (interfaces, _) = config.split_once(" route-policy PASS\n").unwrap();
    let ports: String =
        ports.iter().map(|port| format!("   interface {port}\n    network point-to-point\n   !\n")).collect();
    format!("{interfaces} router ospf 1\n  area 0\n   interface Loopback0\n   !\n{ports}  !\n !\n!\n")
}

#[test]
fn two_machines_and_a_workstation_router_find_each_other_by_ospf() {
    if !can_boot("two_machines_and_a_workstation_router_find_each_other_by_ospf") {
        return;
    }
    let core = Router::new("core-ospf");
    let of_machine = |name: &str, config: &str| machine(core.folder(), name, &with_ospf(config, &["Port0/0/0"]));
    let (mut west, mut east) = (of_machine("west", WEST), of_machine("east", EAST));
    core.start(&core.write("core.conf", &with_ospf(CORE, &["Port0/0/0", "Port0/0/1"])));
    // Router IDs are those of the loopbacks.
    for neighbor in ["192.0.2.1", "192.0.2.2"] {
        core.wait_for_row("show ospf neighbor", &[("neighbor_id", neighbor), ("state", "Full")]);
    }
    west.expect_prompt("west");
    west.command_until("west", "show ospf route vr red", |text| text.contains("192.0.2.2/32"));
    east.expect_prompt("east");
    // The answers' way back, which is calculated by itself.
    east.command_until("east", "show ospf route vr red", |text| text.contains("192.0.2.1/32"));
    let ping = west.command("west", "ping vr red 192.0.2.2 source 192.0.2.1 count 3");
    assert_eq!(ping.matches("reply from 192.0.2.2: ").count(), 3, "{ping}");
    assert_eq!(ping.matches(" ttl=63 ").count(), 3, "{ping}");
    // ID, sequence number and checksum of each LSA.
    let database = |shown: &str| -> Vec<String> {
        let lines = shown.lines().filter(|line| line.contains(" router "));
        let is_of_instance = |(place, word): &(usize, &str)| *place == 3 || word.starts_with("0x");
        let words = |line: &str| {
            let kept = line.split_whitespace().enumerate().filter(is_of_instance).map(|(_, word)| word.to_owned());
            kept.collect::<Vec<_>>().join(" ")
        };
        let mut lsas: Vec<String> = lines.map(words).collect();
        lsas.sort();
        lsas
    };
    let command = "show ospf database router vr red";
    let of_west = database(&west.command("west", command));
    assert_eq!(of_west.len(), 3, "{of_west:?}");
    east.command_until("east", command, |text| database(text) == of_west);
}
