//! Broadcast networks: elections, adjacencies with the designated routers only, and what they say of the network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ospf::packet::{Body, Frame, PacketKind};
use sdk::core::Input;

use crate::areas::lsas;
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

#[test]
fn section_7_3_the_designated_router_alone_tells_of_the_network() {
    let mut network = lan(&[1, 1, 1]);
    network.seconds(100);
    let of_three =
        "0.0.0.0 10.0.0.3 192.0.2.3 network 10.0.0.0/24, router 192.0.2.1, router 192.0.2.2, router 192.0.2.3";
    assert_eq!(lsas(&network, 0, "network"), [of_three]);
    network.input(2, Input::Stop);
    network.kill(2);
    network.seconds(60);
    let of_two = "0.0.0.0 10.0.0.2 192.0.2.2 network 10.0.0.0/24, router 192.0.2.1, router 192.0.2.2";
    assert_eq!(lsas(&network, 0, "network"), [of_two]);
}

#[test]
fn section_7_4_the_backup_loses_no_adjacency_when_it_takes_over() {
    let mut network = lan(&[1, 1, 1, 1]);
    network.seconds(100);
    network.kill(3);
    network.seconds(60);
    assert_eq!(roles(&network)[2], "DR 10.0.0.3 10.0.0.2");
    let lost: Vec<&String> = network.routers[2].log.iter().filter(|line| line.contains("after Full")).collect();
    assert!(lost.len() == 1 && lost[0].contains("192.0.2.4"), "{lost:?}");
}

#[test]
fn section_7_5_adjacencies_are_those_with_the_two_designated_routers() {
    let mut network = lan(&[1, 1, 1, 1, 1, 1]);
    network.seconds(100);
    let mut pairs = BTreeSet::new();
    for router in 0..6 {
        for row in network.routers[router].show(network.now, "ospf neighbor", &["state", "neighbor_id"]) {
            pairs.extend(row.strip_prefix("Full ").map(|other| (id(router).to_string(), other.to_owned())));
        }
    }
    let is_one = |router: &RouterIndex| *router >= 4;
    let all = (0..6).flat_map(|one| (0..6).map(move |other| (one, other))).filter(|(one, other)| one != other);
    let wanted = all.filter(|(one, other)| is_one(one) || is_one(other));
    assert_eq!(pairs, wanted.map(|(one, other)| (id(one).to_string(), id(other).to_string())).collect());
}

#[test]
fn section_8_1_each_kind_of_packet_goes_where_the_rfc_sends_it() {
    let mut network = lan(&[1, 1, 1, 1]);
    network.seconds(100);
    // All are at rest: what one of each role tells now is flooded.
    network.sent.clear();
    for router in [0, 2, 3] {
        network.configure(router, &config(router, 1).replace("cost 10", "cost 20"));
        network.seconds(10);
    }
    let late = network.router(&config(4, 1));
    network.plug(late, "lan", "10.0.0.5/24", 0);
    network.seconds(30);
    let (spf, designated) = (Ipv4Addr::new(224, 0, 0, 5), Ipv4Addr::new(224, 0, 0, 6));
    let mut seen = BTreeSet::new();
    for (_, router, message) in &network.sent {
        let kind = Frame::parse(&message.payload).unwrap().kind;
        let role = if matches!(router, 2 | 3) { "DR or BDR" } else { "DROther" };
        let to = match message.addresses.destination.ip() {
            IpAddr::V4(to) if to == spf => "AllSPFRouters",
            IpAddr::V4(to) if to == designated => "AllDRouters",
            _ => "one neighbor",
        };
        seen.insert(format!("{kind:?} of a {role} to {to}"));
    }
    let wanted = [
        "DatabaseDescription of a DR or BDR to one neighbor",
        "DatabaseDescription of a DROther to one neighbor",
        "Hello of a DR or BDR to AllSPFRouters",
        "Hello of a DROther to AllSPFRouters",
        "LinkStateAcknowledgment of a DR or BDR to AllSPFRouters",
        "LinkStateAcknowledgment of a DROther to AllDRouters",
        // Of what had come already.
        "LinkStateAcknowledgment of a DROther to one neighbor",
        "LinkStateRequest of a DR or BDR to one neighbor",
        "LinkStateRequest of a DROther to one neighbor",
        "LinkStateUpdate of a DR or BDR to AllSPFRouters",
        // What was asked for.
        "LinkStateUpdate of a DR or BDR to one neighbor",
        "LinkStateUpdate of a DROther to AllDRouters",
        "LinkStateUpdate of a DROther to one neighbor",
    ];
    assert_eq!(seen, wanted.map(str::to_owned).into());
}

#[test]
fn section_9_1_an_interface_is_in_the_state_that_its_network_and_its_role_have() {
    let mut network = lan(&[1, 1, 1]);
    let segment = network.segment();
    for (router, role) in [(0, "0"), (1, "1")] {
        let more = format!("{}  interface link\n   network point-to-point\n  interface none\n", config(router, 1));
        network.configure(router, &more);
        network.plug(router, "link", &format!("10.0.1.{role}/31"), segment);
    }
    let states = |network: &Network, router: RouterIndex| {
        network.routers[router].show(network.now, "ospf interface", &["interface", "state"])
    };
    network.seconds(20);
    assert_eq!(states(&network, 0), ["Loopback0 Loopback", "lan Waiting", "link PointToPoint", "none Down"]);
    network.seconds(60);
    let of_lan = |router| states(&network, router).into_iter().find(|row| row.starts_with("lan")).unwrap();
    assert_eq!([of_lan(0), of_lan(1), of_lan(2)], ["lan DROther", "lan Backup", "lan DR"]);
}

#[test]
fn section_9_2_waiting_ends_with_its_timer_or_with_the_first_backup_seen() {
    let mut network = lan(&[1]);
    network.seconds(39);
    assert_eq!(roles(&network), ["Waiting - -"]);
    network.seconds(1);
    assert_eq!(roles(&network), ["DR 10.0.0.1 -"], "WaitTimer");
    let late = network.router(&config(1, 1));
    network.plug(late, "lan", "10.0.0.2/24", 0);
    network.seconds(1);
    // NeighborChange on one side, BackupSeen on the other: nobody waits for 40 s.
    assert_eq!(roles(&network), ["DR 10.0.0.1 10.0.0.2", "Backup 10.0.0.1 10.0.0.2"]);
    network.set_up(0, "lan", false);
    assert_eq!(roles(&network)[0], "Down - -", "InterfaceDown");
}

#[test]
fn section_10_4_an_adjacency_that_nobody_wants_any_longer_ends_in_two_way() {
    let mut network = lan(&[1, 1, 1, 1]);
    network.seconds(100);
    assert_eq!(states(&network, 0), counts([("2-Way", 1), ("Full", 2)]));
    // The backup resigns: another is elected, and routers 0 and 2 need no adjacency any more.
    network.configure(2, &config(2, 0));
    network.seconds(60);
    assert_eq!(
        roles(&network),
        ["DROther 10.0.0.4 10.0.0.2", "Backup 10.0.0.4 10.0.0.2", "DROther 10.0.0.4 10.0.0.2", "DR 10.0.0.4 10.0.0.2",]
    );
    let of_0 = network.routers[0].show(network.now, "ospf neighbor", &["neighbor_id", "state"]);
    assert_eq!(of_0, ["192.0.2.2 Full", "192.0.2.3 2-Way", "192.0.2.4 Full"]);
}

#[test]
fn section_10_10_the_example_of_two_routers_on_a_broadcast_network() {
    // RT2 is designated router when RT1 comes; RT2's number is the higher one, so it is master.
    let mut network = Network::default();
    let segment = network.segment();
    network.router(&config(0, 1));
    network.router(&config(1, 1));
    network.plug(1, "lan", "10.0.0.2/24", segment);
    network.seconds(60);
    network.sent.clear();
    network.plug(0, "lan", "10.0.0.1/24", segment);
    network.seconds(3);
    let shown = network.sent.iter().filter_map(|(_, router, message)| {
        let frame = Frame::parse(&message.payload).unwrap();
        let said = match Body::parse(&frame).unwrap() {
            Body::Hello(hello) => {
                let seen: Vec<String> = hello.neighbors().map(|id| id.to_string()).collect();
                format!("Hello DR={} seen=[{}]", hello.designated, seen.join(", "))
            }
            Body::DatabaseDescription(description) => {
                let flags =
                    [(4, "I"), (2, "M"), (1, "Master")].map(|(bit, name)| (description.flags.0 & bit != 0, name));
                let flags: Vec<&str> = flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
                format!("D-D {} of {}", flags.join(","), description.headers().count())
            }
            Body::LinkStateRequest(request) => format!("LS Request of {}", request.keys().count()),
            Body::LinkStateUpdate(update) => format!("LS Update of {}", update.lsas().count()),
            Body::LinkStateAcknowledgment(_) => return None,
        };
        let is_flooded = frame.kind == PacketKind::LinkStateUpdate && message.addresses.destination.ip().is_multicast();
        (!is_flooded).then(|| format!("RT{} {said}", router + 1))
    });
    let mut shown: Vec<String> = shown.collect();
    shown.dedup();
    let expected = [
        "RT1 Hello DR=0.0.0.0 seen=[]",
        "RT2 Hello DR=10.0.0.2 seen=[192.0.2.1]",
        "RT1 D-D I,M,Master of 0",
        "RT1 Hello DR=10.0.0.2 seen=[192.0.2.2]",
        "RT2 D-D I,M,Master of 0",
        "RT2 Hello DR=10.0.0.2 seen=[192.0.2.1]",
        "RT1 D-D  of 1",
        "RT2 D-D Master of 1",
        "RT2 LS Request of 1",
        "RT1 D-D  of 0",
        "RT1 LS Request of 1",
        "RT1 LS Update of 1",
        "RT2 LS Update of 1",
    ];
    assert_eq!(shown, expected);
}
