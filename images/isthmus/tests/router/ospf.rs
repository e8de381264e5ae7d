//! OSPF: between two VRs over their inter-VR interface, and with BIRD and FRR outside, on both kinds of networks.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::lab::{Lab, NEIGHBOR, set};
use crate::namespace::can_run;
use crate::ospf_tables::{lsas_of_bird, lsas_of_frr, lsas_of_vr};
use crate::support::{Router, matching, wait_until};

/// Two VRs that speak OSPF with each other.
const EXAMPLE: &str = include_str!("../../../examples/ospf.conf");

/// The same, with a port of red on veth0; `NETWORK` and more lines stand in its block.
fn with_port(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "linecard 0/0\n port 0\n  driver af-packet device veth0\n !\n!\nvr red\n assign port 0/0/0\n!\n{EXAMPLE}\
         vr red\n interface Port0/0/0\n  ipv4 address 10.1.0.1/24\n !\n router ospf 1\n  area 0\n   \
         interface Port0/0/0\n    cost 10\n    hello-interval 1\n    dead-interval 4\n{lines}   !\n  !\n !\n!\n"
    )
}

/// Prefixes that a VR has from OSPF.
fn learned(router: &Router, vr: &str) -> BTreeSet<String> {
    let rows = router.rows("show route", &[("vr", vr), ("protocol", "ospf")]);
    rows.iter().filter_map(|row| row["prefix"].as_str().map(str::to_owned)).collect()
}

pub fn wait_for_learned(router: &Router, vr: &str, wanted: &[&str]) {
    let wanted = set(wanted);
    let mut last = BTreeSet::new();
    let seen = wait_until(|| {
        last = learned(router, vr);
        (last == wanted).then_some(())
    });
    assert!(seen.is_some(), "{vr} has {last:?}, wanted {wanted:?}\n{}", router.log());
}

fn next_hops(router: &Router, vr: &str, prefix: &str) -> Value {
    let rows = router.rows("show route", &[("vr", vr), ("prefix", prefix), ("protocol", "ospf")]);
    rows.first().map(|row| row["next_hops"].clone()).unwrap_or_default()
}

#[test]
fn two_vrs_become_full_over_the_inter_vr_interface_and_exchange_routes() {
    let router = Router::up("ospf", EXAMPLE);
    for (vr, interface, neighbor, address) in
        [("red", "blue", "192.0.2.2", "10.0.0.1"), ("blue", "red", "192.0.2.1", "10.0.0.0")]
    {
        let wanted = [("vr", vr), ("interface", interface), ("neighbor_id", neighbor), ("state", "Full")];
        let row = router.wait_for_row("show ospf neighbor", &wanted);
        assert_eq!(row["address"], address);
    }
    wait_for_learned(&router, "red", &["192.0.2.2/32"]);
    wait_for_learned(&router, "blue", &["192.0.2.1/32"]);
    let hop = serde_json::json!([{"address": "10.0.0.1", "interface": "blue"}]);
    assert_eq!(next_hops(&router, "red", "192.0.2.2/32"), hop);
    router.wait_for_row("show fib", &[("vr", "red"), ("prefix", "192.0.2.2/32"), ("action", "forward")]);
    // Both databases are the same, and nothing of it went through the stack.
    let columns = ["type", "link_state_id", "advertising_router", "sequence", "checksum"];
    let database = |vr: &str| -> BTreeSet<String> {
        let rows = router.rows("show ospf database", &[("vr", vr)]);
        rows.iter().map(|row| columns.map(|column| row[column].to_string()).join(" ")).collect()
    };
    let same = wait_until(|| (database("red") == database("blue")).then(|| database("red")));
    assert_eq!(same.map(|lsas| lsas.len()), Some(2));
    let counters = router.sh("show stack counters");
    let of_blue = &matching(&counters, &[("vr", "blue")])[0];
    assert_eq!(of_blue["packets_sent"], 0, "{counters}");
    // An interface that is shut takes the adjacency and the routes with it, and gives them back.
    router.sh("configure vr red; interface blue; shutdown");
    wait_for_learned(&router, "red", &[]);
    router.sh("configure vr red; interface blue; no shutdown");
    wait_for_learned(&router, "red", &["192.0.2.2/32"]);
    // A process that is killed is back with its routes.
    router.kill_and_await("red", "ospf");
    router.wait_for_row("show ospf neighbor", &[("vr", "red"), ("state", "Full")]);
    wait_for_learned(&router, "red", &["192.0.2.2/32"]);
    wait_for_learned(&router, "blue", &["192.0.2.1/32"]);
}

/// BIRD with a prefix outside the AS and one of its own area.
fn bird(network: &str) -> String {
    format!(
        "router id 192.0.2.9;\nprotocol device {{}}\n\
         protocol static feed {{ ipv4; route 203.0.113.0/24 blackhole; }}\n\
         protocol kernel {{ ipv4 {{ import none; export where source ~ [RTS_OSPF, RTS_OSPF_IA, RTS_OSPF_EXT1, RTS_OSPF_EXT2]; }}; }}\n\
         protocol ospf v2 red {{ ipv4 {{ import all; export where proto = \"feed\"; }};\n area 0 {{\n  \
         stubnet 198.51.100.0/24 {{ cost 7; }};\n  interface \"eth0\" {{ type {network}; cost 10; hello 1; dead 4; }};\n }};\n}}\n"
    )
}

/// What BIRD says goes to red, over red to blue, and back.
fn routes_pass_with_bird(name: &str, ours: &str, theirs: &str) {
    let lab = Lab::up(name, &with_port(ours));
    let bird = Bird::start(&lab, &bird(theirs));
    let wanted = [("vr", "red"), ("interface", "Port0/0/0"), ("neighbor_id", "192.0.2.9"), ("state", "Full")];
    let row = lab.router.wait_for_row("show ospf neighbor", &wanted);
    assert_eq!(row["address"], NEIGHBOR);
    bird.wait_for("show ospf neighbors red", "Full");
    wait_for_learned(&lab.router, "red", &["192.0.2.2/32", "198.51.100.0/24", "203.0.113.0/24"]);
    wait_for_learned(&lab.router, "blue", &["192.0.2.1/32", "10.1.0.0/24", "198.51.100.0/24", "203.0.113.0/24"]);
    let metric =
        |prefix: &str| lab.router.rows("show route", &[("vr", "blue"), ("prefix", prefix)])[0]["metric"].clone();
    // To red 1, to BIRD 10, in BIRD 7; the external one has a metric of its own.
    assert_eq!((metric("198.51.100.0/24"), metric("203.0.113.0/24")), (18.into(), 10_000.into()));
    let hops = serde_json::json!([{"address": NEIGHBOR, "interface": "Port0/0/0"}]);
    assert_eq!(next_hops(&lab.router, "red", "203.0.113.0/24"), hops);
    lab.wait_for_kernel_routes("bird", &["192.0.2.1/32", "192.0.2.2/32", "10.0.0.0/31"]);
    databases_are_the_same(&lab, "0.0.0.0", || lsas_of_bird(&bird));
}

/// Every LSA that red has in an area and for all areas, its neighbor has in the same instance, and no other.
pub fn databases_are_the_same(lab: &Lab, area: &str, theirs: impl Fn() -> BTreeSet<String>) {
    let ours = || lsas_of_vr(&lab.router, "red", area);
    let same = wait_until(|| (ours() == theirs() && !ours().is_empty()).then_some(()));
    assert!(same.is_some(), "red has {:#?}\nits neighbor has {:#?}", ours(), theirs());
}

#[test]
fn routes_pass_both_ways_with_bird_on_a_point_to_point_network() {
    if can_run("routes_pass_both_ways_with_bird_on_a_point_to_point_network", &["bird"]) {
        routes_pass_with_bird("ospf-ptp", "network point-to-point", "ptp");
    }
}

#[test]
fn routes_pass_both_ways_with_bird_on_a_broadcast_network() {
    if can_run("routes_pass_both_ways_with_bird_on_a_broadcast_network", &["bird"]) {
        routes_pass_with_bird("ospf-broadcast", "network broadcast", "broadcast");
    }
}

/// FRR, with a prefix of its loopback.
fn frr(network: &str) -> String {
    format!(
        "interface lo\n ip ospf area 0\ninterface eth0\n ip ospf area 0\n ip ospf network {network}\n ip ospf cost 10\n \
         ip ospf hello-interval 1\n ip ospf dead-interval 4\nrouter ospf\n ospf router-id 192.0.2.9\n"
    )
}

fn routes_pass_with_frr(name: &str, network: &str) {
    let lab = Lab::up(name, &with_port(&format!("network {network}")));
    lab.outside.ip("address add 198.51.100.1/32 dev lo");
    let frr = Frr::start(&lab, "ospfd", &frr(network));
    let wanted = [("vr", "red"), ("interface", "Port0/0/0"), ("neighbor_id", "192.0.2.9"), ("state", "Full")];
    lab.router.wait_for_row("show ospf neighbor", &wanted);
    wait_for_learned(&lab.router, "red", &["192.0.2.2/32", "198.51.100.1/32"]);
    wait_for_learned(&lab.router, "blue", &["192.0.2.1/32", "10.1.0.0/24", "198.51.100.1/32"]);
    lab.wait_for_kernel_routes("ospf", &["192.0.2.1/32", "192.0.2.2/32", "10.0.0.0/31"]);
    databases_are_the_same(&lab, "0.0.0.0", || lsas_of_frr(&frr, true));
}

#[test]
fn routes_pass_both_ways_with_frr_on_a_point_to_point_network() {
    if can_run("routes_pass_both_ways_with_frr_on_a_point_to_point_network", &["zebra", "ospfd"]) {
        routes_pass_with_frr("ospf-frr-ptp", "point-to-point");
    }
}

#[test]
fn routes_pass_both_ways_with_frr_on_a_broadcast_network() {
    if can_run("routes_pass_both_ways_with_frr_on_a_broadcast_network", &["zebra", "ospfd"]) {
        routes_pass_with_frr("ospf-frr-broadcast", "broadcast");
    }
}
