//! OSPF with neighbors outside that do more than stand still: one that restarts and is helped, and two at once on one
//! network.

use std::time::Instant;

use serde_json::Value;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::lab::Lab;
use crate::namespace::{Namespace, can_run};
use crate::ospf::{databases_are_the_same, wait_for_learned};
use crate::ospf_tables::{lsas_of_bird, lsas_of_frr};
use crate::support::matching;

/// Two VRs that speak OSPF with each other.
const EXAMPLE: &str = include_str!("../../../examples/ospf.conf");

/// The same, with a port of red on veth0; `lines` stand in its block.
fn with_port(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    format!(
        "linecard 0/0\n port 0\n  driver af-packet device veth0\n !\n!\nvr red\n assign port 0/0/0\n!\n{EXAMPLE}\
         vr red\n interface Port0/0/0\n  ipv4 address 10.1.0.1/24\n !\n router ospf 1\n  area 0\n   interface \
         Port0/0/0\n    hello-interval 1\n    dead-interval 4\n{lines}   !\n  !\n !\n!\n"
    )
}

/// A BIRD with a prefix of its own; `more` are lines of OSPF and of its interface.
fn bird(prefix: &str, ospf: &str, interface: &str) -> String {
    format!(
        "router id 192.0.2.9;\nprotocol device {{}}\nprotocol ospf v2 red {{\n {ospf}\n area 0 {{\n  stubnet {prefix} {{ cost \
         7; }};\n  interface \"eth0\" {{ hello 1; dead 4; {interface} }};\n }};\n}}\n"
    )
}

#[test]
fn a_bird_that_restarts_gracefully_is_helped_and_its_routes_stay() {
    if !can_run("a_bird_that_restarts_gracefully_is_helped_and_its_routes_stay", &["bird"]) {
        return;
    }
    let lab = Lab::up("grace", &with_port(&["network point-to-point"]));
    let mut bird = Bird::start(&lab, &bird("198.51.100.0/24", "graceful restart yes;", "type ptp;"));
    let neighbor = [("vr", "red"), ("neighbor_id", "192.0.2.9")];
    let wait_for = |what: &dyn Fn(&Value) -> bool| {
        lab.router.wait_for("show ospf neighbor", |table| matching(table, &neighbor).iter().any(what));
    };
    wait_for(&|row| row["state"] == "Full" && row["to_retransmit"] == 0);
    let route = [("vr", "red"), ("prefix", "198.51.100.0/24"), ("protocol", "ospf")];
    let age = || lab.router.rows("show route", &route).first().and_then(|row| row["age"].as_f64());
    lab.router.wait_for("show route", |table| {
        matching(table, &route).iter().any(|row| row["age"].as_f64().is_some_and(|age| age > 1.0))
    });
    let left_at = Instant::now();
    bird.go_gracefully();
    // Longer than the dead interval.
    wait_for(&|row| row["state"] == "Full" && row["grace_left"].is_number() && row["dead_in"] == 0.0);
    bird.come_back(&lab.outside);
    wait_for(&|row| row["state"] == "Full" && row["grace_left"].is_null() && row["dead_in"] != 0.0);
    assert!(lab.router.log().contains("is helped no longer: it is back"), "{}", lab.router.log());
    let age = age().expect("the route");
    assert!(age > left_at.elapsed().as_secs_f64(), "it was gone meanwhile: {age} s old\n{}", lab.router.log());
}

#[test]
fn bird_frr_and_a_vr_on_one_network_have_one_database_whoever_is_designated_router() {
    let test = "bird_frr_and_a_vr_on_one_network_have_one_database_whoever_is_designated_router";
    if !can_run(test, &["bird", "zebra", "ospfd", "vtysh"]) {
        return;
    }
    // Priorities of red and of both others: 0 is never designated router.
    for (ours, theirs, state, adjacencies) in [(0, 10, "DROther", 2), (10, 0, "DR", 2)] {
        let (of_bird, of_frr) = (Namespace::new(), Namespace::new());
        let lab = Lab::up_after(&format!("lan-{ours}"), &with_port(&[&format!("priority {ours}")]), |bridge| {
            bridge.ip("link add lan type bridge");
            for (device, network, address) in [("bird0", &of_bird, "10.1.0.2/24"), ("frr0", &of_frr, "10.1.0.3/24")] {
                bridge.join(device, network, "eth0");
                network.ip(&format!("address add {address} dev eth0"));
                bridge.ip(&format!("link set {device} master lan"));
            }
            bridge.ip("link set eth0 master lan");
            bridge.ip("link set lan up");
        });
        of_frr.ip("address add 198.51.100.129/32 dev lo");
        let bird = bird("198.51.100.0/25", "", &format!("type broadcast; cost 10; priority {theirs};"));
        let folder = lab.router.folder().join("bird");
        std::fs::create_dir(&folder).unwrap();
        let bird = Bird::start_in(&of_bird, &folder, &bird);
        let frr = format!(
            "interface lo\n ip ospf area 0\ninterface eth0\n ip ospf area 0\n ip ospf hello-interval 1\n ip ospf \
             dead-interval 4\n ip ospf priority {theirs}\nrouter ospf\n ospf router-id 192.0.2.10\n"
        );
        std::fs::set_permissions(lab.router.folder(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let frr = Frr::start_in(&of_frr, &lab.router.folder().join("daemons"), "ospfd", &frr);
        let adjacencies = adjacencies.to_string();
        let port = [("vr", "red"), ("interface", "Port0/0/0"), ("state", state), ("neighbors_full", &adjacencies)];
        lab.router.wait_for_row("show ospf interface", &port);
        wait_for_learned(&lab.router, "red", &["192.0.2.2/32", "198.51.100.0/25", "198.51.100.129/32"]);
        databases_are_the_same(&lab, "0.0.0.0", || lsas_of_bird(&bird));
        databases_are_the_same(&lab, "0.0.0.0", || lsas_of_frr(&frr, true));
    }
}
