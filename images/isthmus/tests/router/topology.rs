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
