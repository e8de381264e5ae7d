//! Keys roll over with BIRD and FRR, one side after the other, and the adjacency stays.

use std::collections::BTreeSet;
use std::fs;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::lab::Lab;
use crate::namespace::can_run;
use crate::ospf::databases_are_the_same;
use crate::ospf_tables::{Table, lsas_of_bird, lsas_of_frr, table_of_bird, table_of_frr};
use crate::support::{Router, matching, wait_until};

/// Two VRs that speak OSPF with each other.
const EXAMPLE: &str = include_str!("../../../examples/ospf.conf");

/// The same, with a port of red whose neighbors use key 1.
fn with_port() -> String {
    format!(
        "linecard 0/0\n port 0\n  driver af-packet device veth0\n !\n!\nvr red\n assign port 0/0/0\n!\n{EXAMPLE}\
         vr red\n interface Port0/0/0\n  ipv4 address 10.1.0.1/24\n !\n router ospf 1\n  area 0\n   interface \
         Port0/0/0\n    network point-to-point\n    cost 10\n    hello-interval 1\n    dead-interval 4\n    authentication \
         message-digest\n    message-digest-key 1 md5 old\n   !\n  !\n !\n!\n"
    )
}

const INTERFACE: &str = "configure vr red; router ospf 1; area 0; interface Port0/0/0";

/// How often the neighbor's state changed.
fn changes(router: &Router) -> u64 {
    let full = [("vr", "red"), ("neighbor_id", "192.0.2.9"), ("state", "Full")];
    router.wait_for_row("show ospf neighbor", &full)["state_changes"].as_u64().unwrap()
}

/// Waits until the neighbor has been full for longer than the dead interval since now, without having changed.
fn wait_for_another_dead_interval(router: &Router) {
    let neighbor = [("vr", "red"), ("neighbor_id", "192.0.2.9"), ("state", "Full")];
    let full_for = |row: &serde_json::Value| row["state_for"].as_f64().unwrap();
    let now = full_for(&router.rows("show ospf neighbor", &neighbor)[0]);
    router.wait_for("show ospf neighbor", |table| {
        matching(table, &neighbor).first().is_some_and(|row| full_for(row) > now + 4.5)
    });
}

/// Both have the old key; then we both, then they, and in the end only the new one. What red says meanwhile comes
/// to the neighbor. `new`: our algorithm of the new key.
fn keys_roll_over(
    lab: &Lab,
    new: &str,
    theirs: impl Fn(&[Key]),
    lsas: impl Fn() -> BTreeSet<String>,
    table: impl Fn() -> Table,
) {
    let router = &lab.router;
    let news_pass = |cost: u64| {
        router.sh(&format!("configure vr red; router ospf 1; area 0; interface blue; cost {cost}"));
        let far = || table().get("192.0.2.2/32").is_some_and(|route| route.cost == 10 + cost);
        assert!(wait_until(|| far().then_some(())).is_some(), "it has {:?}", table());
        databases_are_the_same(lab, "0.0.0.0", &lsas);
    };
    let before = changes(router);
    news_pass(2);
    router.sh(&format!("{INTERFACE}; message-digest-key 2 {new} new"));
    wait_for_another_dead_interval(router);
    news_pass(3);
    theirs(&[Key::Old, Key::New]);
    wait_for_another_dead_interval(router);
    news_pass(4);
    router.sh(&format!("{INTERFACE}; no message-digest-key 1 md5 old"));
    theirs(&[Key::New]);
    wait_for_another_dead_interval(router);
    news_pass(5);
    assert_eq!(changes(router), before, "{}", router.log());
}

/// A key of the neighbor.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    /// `old`, number 1, keyed MD5.
    Old,
    /// `new`, number 2.
    New,
}

#[test]
fn keys_roll_over_with_bird_without_losing_the_adjacency() {
    if !can_run("keys_roll_over_with_bird_without_losing_the_adjacency", &["bird"]) {
        return;
    }
    // Of one algorithm, and to a better one.
    for (ours, theirs) in [("md5", "keyed md5"), ("hmac-sha-256", "hmac sha256")] {
        keys_roll_over_with_bird(ours, theirs);
    }
}

fn keys_roll_over_with_bird(ours: &str, theirs: &str) {
    let lab = Lab::up(&format!("keys-bird-{ours}"), &with_port());
    let password = |key: &Key| match key {
        Key::Old => "password \"old\" { id 1; algorithm keyed md5; };".to_owned(),
        Key::New => format!("password \"new\" {{ id 2; algorithm {theirs}; }};"),
    };
    let config = |keys: &[Key]| {
        let passwords: String = keys.iter().map(password).collect();
        format!(
            "router id 192.0.2.9;\nprotocol device {{}}\nprotocol ospf v2 red {{ ipv4 {{ import all; export none; }}; area 0 {{ \
             interface \"eth0\" {{ type ptp; cost 10; hello 1; dead 4; authentication cryptographic; {passwords} }}; }}; }}\n"
        )
    };
    let bird = Bird::start(&lab, &config(&[Key::Old]));
    let file = lab.router.folder().join("bird.conf");
    let change = |keys: &[Key]| {
        let text = fs::read_to_string(&file).unwrap();
        let log = text.lines().next().unwrap();
        fs::write(&file, format!("{log}\n{}", config(keys))).unwrap();
        let said = bird.control("configure");
        assert!(said.contains("Reconfigured") || said.contains("Reconfiguration in progress"), "{said}");
    };
    let table = || table_of_bird(&bird, "show route protocol red all");
    keys_roll_over(&lab, ours, change, || lsas_of_bird(&bird), table);
}

#[test]
fn keys_roll_over_with_frr_without_losing_the_adjacency() {
    if !can_run("keys_roll_over_with_frr_without_losing_the_adjacency", &["zebra", "ospfd", "vtysh"]) {
        return;
    }
    let lab = Lab::up("keys-frr", &with_port());
    let frr = Frr::start(
        &lab,
        "ospfd",
        "interface eth0\n ip ospf area 0\n ip ospf network point-to-point\n ip ospf cost 10\n ip ospf hello-interval 1\n \
         ip ospf dead-interval 4\n ip ospf authentication message-digest\n ip ospf message-digest-key 1 md5 old\nrouter ospf\n ospf router-id \
         192.0.2.9\n",
    );
    let change = |keys: &[Key]| {
        let line = match keys.contains(&Key::Old) {
            true => "ip ospf message-digest-key 2 md5 new",
            false => "no ip ospf message-digest-key 1",
        };
        frr.configure(&["interface eth0", line]);
    };
    keys_roll_over(&lab, "md5", change, || lsas_of_frr(&frr, true), || table_of_frr(&frr));
}
