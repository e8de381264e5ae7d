//! Broadcast networks: elections, adjacencies with the designated routers only, and what they say of the network.

use std::collections::BTreeMap;

use crate::network::{Network, RouterIndex, database, id};

/// Routers on one segment `lan`, 10.0.0.1 and on; each with a loopback and a priority.
fn lan(priorities: &[u8]) -> Network {
    let mut network = Network::default();
    let segment = network.segment();
    for (router, priority) in priorities.iter().enumerate() {
        network.router(&config(router, *priority));
        network.loopback(router, &format!("{}/32", id(router)));
        network.plug(router, "lan", &format!("10.0.0.{}/24", router + 1), segment);
    }
    network
}

fn config(router: RouterIndex, priority: u8) -> String {
    format!(
        "router ospf 1\n router-id {}\n area 0\n  interface Loopback0\n  interface lan\n   cost 10\n   priority {priority}\n",
        id(router)
    )
}

/// Interface state, designated router and backup of each router.
fn roles(network: &Network) -> Vec<String> {
    let columns = ["interface", "state", "designated_router", "backup_designated_router"];
    let of_lan = |router: &crate::network::Router| {
        let rows = router.show(network.now, "ospf interface", &columns);
        rows.into_iter().find_map(|row| row.strip_prefix("lan ").map(str::to_owned)).unwrap()
    };
    network.routers.iter().map(of_lan).collect()
}

/// How many neighbors of a router are in each state.
fn states(network: &Network, router: RouterIndex) -> BTreeMap<String, usize> {
    let mut states = BTreeMap::new();
    for state in network.routers[router].show(network.now, "ospf neighbor", &["state"]) {
        *states.entry(state).or_default() += 1;
    }
    states
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(state, count)| (state.to_owned(), count)).into()
}

/// Every other loopback, directly over the segment.
fn assert_all_reach_all(network: &Network, routers: &[RouterIndex]) {
    for &router in routers {
        let others = routers.iter().filter(|other| **other != router);
        let expected: Vec<String> =
            others.map(|other| format!("{}/32 10 via 10.0.0.{}%lan", id(*other), other + 1)).collect();
        assert_eq!(network.routers[router].routes(), expected, "router {router}");
    }
}

#[test]
fn section_9_4_all_wait_then_elect_and_only_the_designated_ones_become_adjacent_to_all() {
    let mut network = lan(&[1, 1, 1, 1, 1]);
    network.seconds(39);
    assert_eq!(roles(&network)[0], "Waiting - -");
    network.seconds(20);
    let dr = "10.0.0.5 10.0.0.4";
    let other = format!("DROther {dr}");
    assert_eq!(roles(&network), [other.clone(), other.clone(), other, format!("Backup {dr}"), format!("DR {dr}")]);
    for router in 0..3 {
        assert_eq!(states(&network, router), counts([("2-Way", 2), ("Full", 2)]), "router {router}");
    }
    assert_eq!(states(&network, 3), counts([("Full", 4)]));
    assert_eq!(states(&network, 4), counts([("Full", 4)]));
    assert_all_reach_all(&network, &[0, 1, 2, 3, 4]);
    let first = database(&network, 0, "0.0.0.0");
    assert_eq!(first.len(), 6, "five routers and a network");
    (1..5).for_each(|router| assert_eq!(database(&network, router, "0.0.0.0"), first, "router {router}"));
}

#[test]
fn section_9_4_a_late_router_takes_what_is_there() {
    let mut network = lan(&[1, 1]);
    network.seconds(60);
    assert_eq!(roles(&network), ["Backup 10.0.0.2 10.0.0.1", "DR 10.0.0.2 10.0.0.1"]);
    let late = network.router(&config(2, 200));
    network.loopback(late, &format!("{}/32", id(late)));
    network.plug(late, "lan", "10.0.0.3/24", 0);
    network.seconds(2);
    assert_eq!(roles(&network)[2], "DROther 10.0.0.2 10.0.0.1");
    network.seconds(10);
    assert_all_reach_all(&network, &[0, 1, 2]);
}

#[test]
fn section_9_4_the_backup_takes_over_when_the_designated_router_dies() {
    let mut network = lan(&[1, 1, 1, 1]);
    network.seconds(100);
    network.kill(3);
    network.seconds(60);
    let roles = roles(&network);
    assert_eq!(roles[0], "DROther 10.0.0.3 10.0.0.2");
    assert_eq!(roles[1], "Backup 10.0.0.3 10.0.0.2");
    assert_eq!(roles[2], "DR 10.0.0.3 10.0.0.2");
    assert_all_reach_all(&network, &[0, 1, 2]);
}

#[test]
fn section_9_4_a_router_of_priority_zero_is_never_elected() {
    let mut network = lan(&[1, 0, 0]);
    network.seconds(100);
    assert_eq!(roles(&network), ["DR 10.0.0.1 -", "DROther 10.0.0.1 -", "DROther 10.0.0.1 -"]);
    assert_all_reach_all(&network, &[0, 1, 2]);
}

#[test]
fn section_13_3_what_one_says_reaches_all_although_every_fourth_packet_is_lost() {
    let mut network = lan(&[1, 1, 1, 1]);
    let mut count = 0;
    network.loses = Some(Box::new(move |_| {
        count += 1;
        count % 4 == 0
    }));
    network.seconds(300);
    network.loses = None;
    network.seconds(60);
    assert_all_reach_all(&network, &[0, 1, 2, 3]);
    let first = database(&network, 0, "0.0.0.0");
    (1..4).for_each(|router| assert_eq!(database(&network, router, "0.0.0.0"), first, "router {router}"));
}
