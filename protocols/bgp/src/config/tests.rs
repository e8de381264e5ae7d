//! The block as it is read, and what is refused.

use super::*;

fn blocks(of_neighbor: Vec<Node>, of_bgp: Vec<Node>) -> Vec<Node> {
    let mut inside = vec![Node::new("neighbor 10.0.0.1", of_neighbor)];
    inside.extend(of_bgp);
    vec![Node::new("route-policy PASS", vec![Node::new("pass", vec![])]), Node::new("router bgp 64501", inside)]
}

fn refusal(of_neighbor: Vec<Node>, of_bgp: Vec<Node>) -> String {
    Config::read(&blocks(of_neighbor, of_bgp)).unwrap_err().to_string()
}

#[test]
fn a_neighbor_inherits_the_timers_of_the_instance_unless_it_has_its_own() {
    let remote = || Node::new("remote-as 64502", vec![]);
    let instance = || vec![Node::new("timers bgp 10 30", vec![])];
    let read =
        |lines| Config::read(&blocks(lines, instance())).unwrap().instance.unwrap().neighbors.into_values().next();
    assert_eq!(read(vec![remote()]).unwrap().timers.hold_seconds, 30);
    assert_eq!(read(vec![remote(), Node::new("timers bgp 1 3", vec![])]).unwrap().timers.hold_seconds, 3);
}

#[test]
fn without_the_block_there_is_nothing_to_do() {
    assert_eq!(Config::read(&[]), Ok(Config { instance: None }));
}

#[test]
fn nonsense_is_refused_with_the_line_that_it_stands_in() {
    let remote = || Node::new("remote-as 64502", vec![]);
    let policy = Node::new("address-family ipv4 unicast", vec![Node::new("route-policy NONE in", vec![])]);
    assert_eq!(refusal(vec![], vec![]), "neighbor 10.0.0.1: `remote-as` is missing");
    assert_eq!(refusal(vec![remote(), policy], vec![]), "route-policy NONE in: there is no route-policy of this name");
    let timers = refusal(vec![remote(), Node::new("timers bgp 0 2", vec![])], vec![]);
    assert!(timers.starts_with("timers bgp 0 2: the hold time"), "{timers}");
    let late = refusal(vec![remote()], vec![Node::new("timers bgp 30 30", vec![])]);
    assert_eq!(late, "timers bgp 30 30: keepalives must come within the hold time");
    let id = refusal(vec![remote()], vec![Node::new("bgp router-id 0.0.0.0", vec![])]);
    assert!(id.starts_with("bgp router-id 0.0.0.0: "), "{id}");
}

#[test]
fn the_declared_tables_begin_with_the_vr_and_the_class_is_named() {
    let declaration = declaration();
    assert_eq!(declaration.class.as_str(), "bgp");
    assert!(declaration.tables.iter().all(|table| table.columns[0] == "vr"));
}

#[test]
fn a_key_and_ttl_security_hold_for_their_neighbor() {
    let lines = vec![
        Node::new("remote-as 2", vec![]),
        Node::new("password clear hush to all", vec![]),
        Node::new("ttl-security", vec![]),
    ];
    let config = Config::read(&blocks(lines.clone(), vec![])).unwrap().instance.unwrap();
    let (peer, key) = ("10.0.0.1".parse().unwrap(), Secret::new(b"hush to all"));
    assert_eq!(config.peers(), [PeerOptions { peer, ttl: Some(255), minimum_ttl: Some(255), key }]);
    assert!(!format!("{config:?}").contains("hush"));

    let far = refusal([lines, vec![Node::new("ebgp-multihop 2", vec![])]].concat(), vec![]);
    assert!(far.contains("takes nothing from so far away"), "{far}");
    let long = format!("password clear {}", "x".repeat(81));
    let refused = refusal(vec![Node::new("remote-as 2", vec![]), Node::new(&long, vec![])], vec![]);
    assert!(refused.contains("a key has 1 to 80 bytes") && !refused.contains("xxx"), "{refused}");
}
