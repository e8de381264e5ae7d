//! Routes between cores: what is told to whom, what is used, and what the RIB gets.

use std::time::Duration;

use ipnet::IpNet;
use isthmus_bgp::packet::{self, AsPath, Attributes, Open};
use sdk::core::{Input, ProtocolCore};
use sdk::rib::{Redistributed, RedistributedChange, RibUpdate};
use sdk::show::Value;

use crate::network::Network;
use crate::peer::{EXTERNAL, Peer, written};
use crate::sessions::bgp;

const P: &str = "198.51.100.0/24";

/// AS 64501 (0) with AS 64502 (1), which has an internal neighbor (2), and that one AS 64503 (3) outside.
fn chain() -> Network {
    let internal = |text: String, own: u32| {
        text.replace(
            &format!(
                "  remote-as {own}\n  address-family ipv4 unicast\n   route-policy ALL in\n   route-policy ALL out\n"
            ),
            &format!("  remote-as {own}\n"),
        )
    };
    Network::new(&[
        (&["10.0.0.0/31"], &bgp(64501, "192.0.2.1", &[P], &[("10.0.0.1", 64502)])),
        (
            &["10.0.0.1/31", "10.0.1.0/31"],
            &internal(bgp(64502, "192.0.2.2", &[], &[("10.0.0.0", 64501), ("10.0.1.1", 64502)]), 64502),
        ),
        (
            &["10.0.1.1/31", "10.0.2.0/31"],
            &internal(bgp(64502, "192.0.2.3", &[], &[("10.0.1.0", 64502), ("10.0.2.1", 64503)]), 64502),
        ),
        (&["10.0.2.1/31"], &bgp(64503, "192.0.2.4", &[], &[("10.0.2.0", 64502)])),
    ])
}

#[test]
fn a_network_is_announced_while_the_rib_has_it() {
    let mut network = chain();
    network.run(10);
    assert!(network.installed(1).is_empty(), "the RIB does not have it yet");
    network.set_network(0, P, Some(0));
    network.run(1);
    assert_eq!(network.installed(1), ["198.51.100.0/24 10.0.0.0"]);
    let route = &network.routers[1].rib[&P.parse::<IpNet>().unwrap()];
    assert_eq!((route.distance, route.metric), (20, 0));
    assert!(network.routers[0].rib.is_empty(), "the RIB has it already, by another protocol");
    assert_eq!(network.path(0, P).as_deref(), Some("own []"));
    network.set_network(0, P, None);
    network.run(1);
    assert!(network.installed(1).is_empty());
}

#[test]
fn routes_of_other_protocols_are_announced_while_the_rib_tells_them_and_a_network_goes_before() {
    let mut network = chain();
    let with = |line: &str| bgp(64501, "192.0.2.1", &[P], &[("10.0.0.1", 64502)]).replace(" neighbor", line);
    let family = " address-family ipv4 unicast\n  redistribute ospf\n   metric 77\n neighbor";
    network.configure(0, &with(family));
    assert_eq!(network.routers[0].wants.iter().map(|wants| &*wants.protocol).collect::<Vec<_>>(), ["ospf"]);
    let told = |prefix: &str| {
        let (prefix, protocol) = (prefix.parse().unwrap(), "ospf".to_owned());
        RedistributedChange::Set(Redistributed { prefix, protocol, metric: 5, tag: 0, interface: None, next_hop: None })
    };
    let tell = |network: &mut Network, changes| network.input(0, Input::Rib(RibUpdate::Redistributed(changes)));
    tell(&mut network, vec![told(P), told("203.0.113.0/24")]);
    network.set_network(0, P, Some(3));
    network.run(10);
    let origin_and_med = |network: &Network, prefix| {
        let cell = |column| network.cell(1, "bgp", "", ("prefix", prefix), column);
        (cell("origin"), cell("med"))
    };
    assert_eq!(origin_and_med(&network, "203.0.113.0/24"), (Value::from("incomplete"), Value::from(77u32)));
    assert_eq!(origin_and_med(&network, P), (Value::from("igp"), Value::from(3u32)));
    network.set_network(0, P, None);
    network.run(1);
    assert_eq!(origin_and_med(&network, P), (Value::from("incomplete"), Value::from(77u32)));
    // A RIB that is new and does not tell one of them: it holds until it has told everything.
    network.input(0, Input::RibRestarted);
    tell(&mut network, vec![told(P)]);
    network.run(1);
    assert_eq!(network.installed(1).len(), 2);
    network.input(0, Input::Rib(RibUpdate::RedistributionComplete));
    network.run(1);
    assert_eq!(network.installed(1), ["198.51.100.0/24 10.0.0.0"]);
    network.configure(0, &with(" neighbor"));
    network.run(1);
    assert!(network.installed(1).is_empty(), "no longer configured");
}

#[test]
fn internal_neighbors_keep_next_hop_and_path_and_add_a_local_pref() {
    let mut network = chain();
    network.set_network(0, P, Some(0));
    network.set_far(2, "10.0.0.0", Some(11));
    network.run(10);
    assert_eq!(network.path(2, P).as_deref(), Some("10.0.0.0 [64501]"));
    assert_eq!(network.routers[2].rib[&P.parse::<IpNet>().unwrap()].distance, 200);
    assert_eq!(network.cell(2, "bgp", "", ("prefix", P), "local_pref"), Value::from(100u32));
    assert_eq!(network.path(3, P).as_deref(), Some("10.0.2.0 [64502 64501]"), "next hop self, own AS before");
    assert_eq!(network.cell(3, "bgp", "", ("prefix", P), "local_pref"), Value::Null);
    assert_eq!(network.cell(3, "bgp", "", ("prefix", P), "med"), Value::Null, "another AS's MED is not passed on");
    assert_eq!(network.cell(1, "bgp", "", ("prefix", P), "med"), Value::from(0u32));
}

#[test]
fn a_route_whose_next_hop_is_unreachable_is_neither_used_nor_told() {
    let mut network = chain();
    network.set_network(0, P, Some(0));
    network.run(10);
    assert_eq!(network.path(2, P), None);
    assert_eq!(network.cell(2, "bgp", "", ("prefix", P), "best"), Value::from(false));
    assert!(network.installed(2).is_empty() && network.installed(3).is_empty());
    network.set_far(2, "10.0.0.0", Some(1));
    network.run(1);
    assert_eq!(network.installed(3).len(), 1);
    network.set_far(2, "10.0.0.0", None);
    network.run(1);
    assert!(network.installed(2).is_empty() && network.installed(3).is_empty());
}

#[test]
fn what_an_internal_neighbor_told_is_not_told_to_another() {
    let full = |id, peers: &[&str]| {
        let mut text = format!("router bgp 64501\n bgp router-id {id}\n address-family ipv4 unicast\n  network {P}\n");
        peers.iter().for_each(|peer| text += &format!(" neighbor {peer}\n  remote-as 64501\n"));
        text
    };
    let mut network = Network::new(&[
        (&["10.0.0.0/31"], &full("192.0.2.1", &["10.0.0.1"])),
        (&["10.0.0.1/31", "10.0.1.0/31"], &full("192.0.2.2", &["10.0.0.0", "10.0.1.1"])),
        (&["10.0.1.1/31"], &full("192.0.2.3", &["10.0.1.0"])),
    ]);
    network.set_network(0, P, Some(0));
    network.set_far(2, "10.0.0.0", Some(1));
    network.run(10);
    assert_eq!(network.path(1, P).as_deref(), Some("10.0.0.0 []"));
    assert_eq!(network.path(2, P), None);
    let sent = network.cell(1, "bgp summary", "", ("neighbor", "10.0.1.1"), "prefixes_sent");
    assert_eq!(sent, Value::from(0u64));
}

#[test]
fn an_external_neighbor_without_policies_exchanges_no_routes_and_the_summary_says_so() {
    let bare = bgp(64502, "192.0.2.2", &[P], &[("10.0.0.0", 64501)]);
    let without = bare.replace("   route-policy ALL in\n   route-policy ALL out\n", "");
    let mut network = Network::new(&[
        (&["10.0.0.0/31"], &bgp(64501, "192.0.2.1", &["203.0.113.0/24"], &[("10.0.0.1", 64502)])),
        (&["10.0.0.1/31"], &without),
    ]);
    network.set_network(0, "203.0.113.0/24", Some(0));
    network.set_network(1, P, Some(0));
    network.run(10);
    let summary = |network: &Network, column| network.cell(1, "bgp summary", "", ("neighbor", "10.0.0.0"), column);
    assert_eq!(summary(&network, "state"), Value::from("Established"));
    assert_eq!(summary(&network, "note"), Value::from("no route-policy in or out: no such routes (RFC 8212)"));
    assert_eq!(summary(&network, "prefixes_received"), Value::from(1u64));
    assert!(network.installed(0).is_empty() && network.installed(1).is_empty());
    // A policy takes effect on what is here already, and the session does not move.
    let since = network.up_since(1, "10.0.0.0");
    network.configure(1, &bare);
    network.run(1);
    assert_eq!(network.installed(0), ["198.51.100.0/24 10.0.0.1"]);
    assert_eq!(network.installed(1), ["203.0.113.0/24 10.0.0.0"]);
    assert_eq!(summary(&network, "note"), Value::Null);
    network.configure(1, &bare.replace(" pass", " drop"));
    network.run(1);
    assert!(network.installed(0).is_empty() && network.installed(1).is_empty());
    assert_eq!(network.up_since(1, "10.0.0.0"), since);
}

/// A triangle of three ASs.
fn triangle() -> Network {
    Network::new(&[
        (&["10.0.1.0/31", "10.0.2.0/31"], &bgp(64501, "192.0.2.1", &[P], &[("10.0.1.1", 64502), ("10.0.2.1", 64503)])),
        (&["10.0.1.1/31", "10.0.3.0/31"], &bgp(64502, "192.0.2.2", &[], &[("10.0.1.0", 64501), ("10.0.3.1", 64503)])),
        (&["10.0.2.1/31", "10.0.3.1/31"], &bgp(64503, "192.0.2.3", &[], &[("10.0.2.0", 64501), ("10.0.3.0", 64502)])),
    ])
}

#[test]
fn the_way_around_is_taken_when_the_direct_one_is_gone() {
    let mut network = triangle();
    network.set_network(0, P, Some(0));
    network.run(10);
    assert_eq!(network.path(2, P).as_deref(), Some("10.0.2.0 [64501]"));
    network.set_up(2, 0, false);
    network.set_cut(0, 2, true);
    network.run(1);
    assert_eq!(network.path(2, P).as_deref(), Some("10.0.3.0 [64502 64501]"));
    assert_eq!(network.installed(2), ["198.51.100.0/24 10.0.3.0"]);
    network.set_cut(0, 2, false);
    network.set_up(2, 0, true);
    network.run(200);
    assert_eq!(network.path(2, P).as_deref(), Some("10.0.2.0 [64501]"));
}

#[test]
fn a_route_that_passed_our_as_is_dropped_and_takes_the_one_before_along() {
    let mut peer = Peer::established(EXTERNAL);
    peer.send(&announcement(&[64502, 64509], [10, 0, 0, 1], |_| {}, &["10.1.0.0/16"]));
    assert_eq!(received(&peer), 1);
    let done = peer.send(&announcement(&[64502, 64501], [10, 0, 0, 1], |_| {}, &["10.1.0.0/16"]));
    assert_eq!((received(&peer), done.closed), (0, false));
    assert!(!peer.log.iter().any(|line| line.starts_with("WARN")), "nothing is wrong with that");
}

#[test]
fn a_withdrawn_route_leaves_no_ghost_that_goes_round() {
    let mut network = triangle();
    network.set_network(0, P, Some(0));
    network.run(10);
    network.set_network(0, P, None);
    network.run(5);
    for router in 0..3 {
        assert_eq!(network.path(router, P), None);
        assert!(network.installed(router).is_empty());
    }
}

#[test]
fn a_rib_that_restarted_gets_everything_again() {
    let mut network = chain();
    network.set_network(0, P, Some(0));
    network.set_far(2, "10.0.0.0", Some(1));
    network.run(60);
    let before = network.installed(2);
    let since = network.up_since(2, "10.0.1.0");
    for router in 0..4 {
        network.restart_rib(router);
    }
    assert_eq!(network.installed(2), before, "at once, from what is here");
    assert_eq!(network.routers[2].end_of_routes.len(), 1);
    network.run(10);
    assert_eq!(network.installed(2), before);
    assert_eq!(network.up_since(2, "10.0.1.0"), since);
    network.set_far(2, "10.0.0.0", None);
    network.run(1);
    assert!(network.installed(2).is_empty(), "next hops are tracked again");
    network.set_network(0, P, None);
    network.run(1);
    assert!(network.installed(1).is_empty(), "and prefixes too");
}

#[test]
fn the_rib_hears_of_the_end_of_routes_once_all_neighbors_have_sent_theirs() {
    let mut network = chain();
    network.run(60);
    for router in &network.routers {
        assert_eq!(router.end_of_routes.len(), 1);
        assert!(router.end_of_routes[0].as_nanos() < 1_000_000_000, "{:?}", router.end_of_routes);
    }
    // With a neighbor that is not there, after the limit.
    let lonely = bgp(64501, "192.0.2.1", &[], &[("10.0.0.1", 64502)]);
    let mut network = Network::new(&[(&["10.0.0.0/31"], &lonely)]);
    network.run_for(Duration::from_millis(29_990));
    assert!(network.routers[0].end_of_routes.is_empty());
    network.run(1);
    assert_eq!(network.routers[0].end_of_routes.len(), 1);
}

fn announcement(path: &[u32], next_hop: [u8; 4], change: impl FnOnce(&mut Attributes), prefixes: &[&str]) -> Vec<u8> {
    let mut attributes = Attributes {
        as_path: AsPath::sequence(path),
        next_hop: next_hop.into(),
        med: None,
        ..Attributes::originated(0)
    };
    change(&mut attributes);
    let list = written(|into| attributes.encode(packet::AsWidth::Four, into));
    let prefixes: Vec<_> = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
    let mut bytes = Vec::new();
    packet::encode_announcements(&list, &prefixes, &mut bytes).unwrap();
    bytes
}

fn received(peer: &Peer) -> usize {
    peer.core.show(peer.now, "bgp received", &["10.0.0.1".to_owned()]).unwrap().len()
}

#[test]
fn routes_with_a_foreign_first_as_or_an_unsound_next_hop_are_ignored_and_the_session_stays() {
    let mut peer = Peer::established(EXTERNAL);
    peer.send(&announcement(&[64502], [10, 0, 0, 1], |_| {}, &["10.1.0.0/16"]));
    assert_eq!(received(&peer), 1);
    let wrong: [(&[u32], [u8; 4], &str); 4] = [
        (&[64777], [10, 0, 0, 1], "does not begin with the neighbor's AS"),
        (&[], [10, 0, 0, 1], "does not begin with the neighbor's AS"),
        (&[64502], [10, 0, 0, 0], "NEXT_HOP 10.0.0.0 is our own"),
        (&[64502], [172, 16, 0, 1], "NEXT_HOP 172.16.0.1"),
    ];
    for (path, next_hop, reason) in wrong {
        let mut peer = Peer::established(EXTERNAL);
        peer.send(&announcement(&[64502], [10, 0, 0, 1], |_| {}, &["10.1.0.0/16"]));
        let done = peer.send(&announcement(path, next_hop, |_| {}, &["10.1.0.0/16"]));
        assert_eq!((done.notification, done.closed), (None, false));
        assert_eq!(received(&peer), 0, "the route that was there is replaced by none");
        assert!(peer.log.iter().any(|line| line.contains(reason)), "{:?}", peer.log);
    }
}

#[test]
fn withdrawals_and_counters_follow_what_is_there() {
    let mut peer = Peer::established(EXTERNAL);
    peer.send(&announcement(&[64502], [10, 0, 0, 1], |_| {}, &["10.1.0.0/16", "10.2.0.0/16", "10.2.0.0/16"]));
    let count = |peer: &Peer| peer.core.show(peer.now, "bgp summary", &[]).unwrap()[0][3].clone();
    assert_eq!(count(&peer), Value::from(2u64));
    let gone = |prefix: &str| {
        let mut bytes = Vec::new();
        packet::encode_withdrawals(&[prefix.parse().unwrap()], &mut bytes);
        bytes
    };
    peer.send(&gone("10.9.0.0/16"));
    assert_eq!(count(&peer), Value::from(2u64));
    peer.send(&gone("10.1.0.0/16"));
    peer.send(&gone("10.1.0.0/16"));
    assert_eq!(count(&peer), Value::from(1u64));
}

#[test]
fn well_known_communities_keep_routes_in_their_bounds() {
    // The peer's route goes on to AS 64503 unless a community says otherwise (RFC 1997).
    for (community, told) in [(None, 1u64), (Some(0xffff_ff01u32), 0), (Some(0xffff_ff02), 0), (Some(0x0001_0001), 1)] {
        let mut network = triangle();
        network.run(10);
        network.inject(
            1,
            "10.0.1.0",
            &announcement(
                &[64501],
                [10, 0, 1, 0],
                |attributes| {
                    if let Some(community) = community {
                        let value = community.to_be_bytes().into();
                        attributes.others = [packet::OtherAttribute { kind: 8, partial: false, value }].into();
                    }
                },
                &["172.16.0.0/12"],
            ),
        );
        network.run(1);
        let sent = network.cell(1, "bgp summary", "", ("neighbor", "10.0.3.1"), "prefixes_sent");
        assert_eq!(sent, Value::from(told), "{community:?}");
    }
}

#[test]
fn an_old_speaker_gets_paths_of_two_octets_and_as4_path() {
    let config = EXTERNAL.replace("router bgp 64501", "router bgp 4200000001");
    let config = config.replace(" neighbor", " address-family ipv4 unicast\n  network 198.51.100.0/24\n neighbor");
    let mut peer = Peer::connected(&config);
    let old = Open { capabilities: vec![], ..Open::ours(64502, 90, [10, 0, 0, 1].into()) };
    assert_eq!(peer.send(&written(|into| old.encode(into))).sent, ["KEEPALIVE"]);
    peer.send(&crate::peer::keepalive());
    let prefix = "198.51.100.0/24".parse().unwrap();
    let update = sdk::rib::RibUpdate::Prefix { prefix, metric: Some(0) };
    peer.core.handle_input(peer.now, sdk::core::Input::Rib(update));
    let mut bytes = Vec::new();
    while let Some(output) = peer.core.poll_output() {
        if let sdk::core::Output::Send { bytes: sent, .. } = output {
            bytes = sent;
        }
    }
    let (frame, _) = packet::next_frame(&bytes).unwrap().unwrap();
    let packet::Message::Update(update) = packet::Message::decode(frame).unwrap() else { panic!() };
    // AS_PATH: AS_TRANS in two octets; AS4_PATH: 4200000001.
    let contains = |part: &[u8]| update.attributes.windows(part.len()).any(|window| window == part);
    assert!(contains(&[0x40, 2, 4, 2, 1, 0x5b, 0xa0]), "{:02x?}", update.attributes);
    assert!(contains(&[0xc0, 17, 6, 2, 1, 0xfa, 0x56, 0xea, 0x01]), "{:02x?}", update.attributes);
}

#[test]
fn route_refresh_brings_everything_once_more() {
    let config = EXTERNAL.replace(" neighbor", " address-family ipv4 unicast\n  network 198.51.100.0/24\n neighbor");
    let mut peer = Peer::established(&config);
    let update = sdk::rib::RibUpdate::Prefix { prefix: P.parse().unwrap(), metric: Some(0) };
    peer.core.handle_input(peer.now, sdk::core::Input::Rib(update));
    assert_eq!(peer.drain().sent, ["UPDATE"]);
    let refresh = |afi| written(|into| packet::encode_route_refresh(packet::AddressFamily { afi, safi: 1 }, into));
    assert_eq!(peer.send(&refresh(1)).sent, ["UPDATE", "UPDATE"], "the route, and the End-of-RIB marker");
    assert!(peer.send(&refresh(2)).sent.is_empty(), "a family that was not agreed on");
}

#[test]
fn prefixes_with_the_same_attributes_share_messages() {
    let mut network = triangle();
    network.run(10);
    let before = network.cell(1, "bgp summary", "", ("neighbor", "10.0.3.1"), "messages_sent");
    let texts: Vec<String> = (0..1000).map(|index| format!("172.{}.{}.0/24", 16 + index / 256, index % 256)).collect();
    let prefixes: Vec<&str> = texts.iter().map(String::as_str).collect();
    network.inject(1, "10.0.1.0", &announcement(&[64501], [10, 0, 1, 0], |_| {}, &prefixes));
    network.run(1);
    assert_eq!(network.installed(2).len(), 1000);
    let after = network.cell(1, "bgp summary", "", ("neighbor", "10.0.3.1"), "messages_sent");
    let (Value::Number(before), Value::Number(after)) = (before, after) else { panic!() };
    assert_eq!(after - before, 1, "1000 prefixes of four bytes fit one message");
    network.break_connections(0, 1);
    network.run_for(Duration::from_millis(50));
    assert!(network.installed(2).is_empty());
}
