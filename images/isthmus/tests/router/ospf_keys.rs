//! Keys roll over with BIRD and FRR, one side after the other, and the adjacency stays.

use std::fs;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::lab::Lab;
use crate::namespace::can_run;
use crate::support::Router;

/// Two VRs that speak OSPF with each other.
const EXAMPLE: &str = include_str!("../../../examples/ospf.conf");

/// The same, with a port of red whose neighbors use key 1.
fn with_port() -> String {
    format!(
        "linecard 0/0\n port 0\n  driver af-packet device veth0\n !\n!\nvr red\n assign port 0/0/0\n!\n{EXAMPLE}\
         vr red\n interface Port0/0/0\n  ipv4 address 10.1.0.1/24\n !\n router ospf 1\n  area 0\n   interface \
         Port0/0/0\n    network point-to-point\n    hello-interval 1\n    dead-interval 4\n    authentication \
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
        crate::support::matching(table, &neighbor).first().is_some_and(|row| full_for(row) > now + 4.5)
    });
}

/// Both have the old key; then we both, then they, and in the end only the new one.
fn keys_roll_over(lab: &Lab, theirs: impl Fn(&[(u8, &str)])) {
    let router = &lab.router;
    let before = changes(router);
    router.sh(&format!("{INTERFACE}; message-digest-key 2 md5 new"));
    wait_for_another_dead_interval(router);
    theirs(&[(1, "old"), (2, "new")]);
    wait_for_another_dead_interval(router);
    router.sh(&format!("{INTERFACE}; no message-digest-key 1 md5 old"));
    theirs(&[(2, "new")]);
    wait_for_another_dead_interval(router);
    assert_eq!(changes(router), before, "{}", router.log());
}

#[test]
fn keys_roll_over_with_bird_without_losing_the_adjacency() {
    if !can_run("keys_roll_over_with_bird_without_losing_the_adjacency", &["bird"]) {
        return;
    }
    let lab = Lab::up("keys-bird", &with_port());
    let config = |keys: &[(u8, &str)]| {
        let passwords: String =
            keys.iter().map(|(id, secret)| format!("password \"{secret}\" {{ id {id}; }};")).collect();
        format!(
            "router id 192.0.2.9;\nprotocol device {{}}\nprotocol ospf v2 red {{ area 0 {{ interface \"eth0\" {{ type ptp; \
             hello 1; dead 4; authentication cryptographic; {passwords} }}; }}; }}\n"
        )
    };
    let bird = Bird::start(&lab, &config(&[(1, "old")]));
    let file = lab.router.folder().join("bird.conf");
    keys_roll_over(&lab, |keys| {
        let text = fs::read_to_string(&file).unwrap();
        let log = text.lines().next().unwrap();
        fs::write(&file, format!("{log}\n{}", config(keys))).unwrap();
        let said = bird.control("configure");
        assert!(said.contains("Reconfigured") || said.contains("Reconfiguration in progress"), "{said}");
    });
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
        "interface eth0\n ip ospf area 0\n ip ospf network point-to-point\n ip ospf hello-interval 1\n ip ospf dead-interval \
         4\n ip ospf authentication message-digest\n ip ospf message-digest-key 1 md5 old\nrouter ospf\n ospf router-id \
         192.0.2.9\n",
    );
    keys_roll_over(&lab, |keys| {
        let line = match keys {
            [_, (id, secret)] => format!("ip ospf message-digest-key {id} md5 {secret}"),
            _ => "no ip ospf message-digest-key 1".to_owned(),
        };
        frr.configure(&["interface eth0", &line]);
    });
}
