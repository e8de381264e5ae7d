//! Routes of other protocols: what boundary routers tell of them, in normal areas and in NSSAs.

use std::net::SocketAddr;

use ospf::auth::Authentication;
use ospf::links::SOCKET;
use ospf::packet::{
    AreaId, BACKBONE, ExternalLsa, ExternalMetric, LinkStateUpdate, Lsa, LsaKey, LsaType, Options, PacketKind,
    SequenceNumber, encode,
};
use sdk::core::Input;
use sdk::datagram::ProcessMessage;
use sdk::rib::{Redistributed, RedistributedChange, RibUpdate};

use crate::areas::{chain, lsas, routes};
use crate::network::{Network, RouterIndex, id, name};
use crate::peer::ALL_SPF_ROUTERS;

/// `203.0.113.0/24 static 5`: prefix, protocol, metric; behind them perhaps `tag=7`, `lan@10.0.0.9`.
fn route(text: &str) -> Redistributed {
    let words: Vec<&str> = text.split_whitespace().collect();
    let tag = words.iter().find_map(|word| word.strip_prefix("tag=")?.parse().ok()).unwrap_or(0);
    let hop = words.iter().find_map(|word| word.split_once('@'));
    Redistributed {
        prefix: words[0].parse().unwrap(),
        protocol: words[1].to_owned(),
        metric: words[2].parse().unwrap(),
        tag,
        interface: hop.map(|(interface, _)| name(interface)),
        next_hop: hop.map(|(_, address)| address.parse().unwrap()),
    }
}

fn tell(network: &mut Network, router: RouterIndex, text: &str) {
    let changes = vec![RedistributedChange::Set(route(text))];
    network.input(router, Input::Rib(RibUpdate::Redistributed(changes)));
}

fn withdraw(network: &mut Network, router: RouterIndex, prefix: &str) {
    let changes = vec![RedistributedChange::Withdraw(prefix.parse().unwrap())];
    network.input(router, Input::Rib(RibUpdate::Redistributed(changes)));
}

fn route_to(network: &Network, router: RouterIndex, prefix: &str) -> Option<String> {
    routes(network, router).into_iter().find(|route| route.starts_with(&format!("{prefix} ")))
}

const REDISTRIBUTE: &str = " redistribute static\n  metric 30\n  metric-type 1\n redistribute bgp\n  tag 9\n";

#[test]
fn section_12_4_4_routes_of_other_protocols_are_told_with_their_metrics_and_tags() {
    let mut network = chain("", "", REDISTRIBUTE);
    let wants: Vec<_> = network.routers[3].wants.iter().map(|wants| wants.protocol.clone()).collect();
    assert_eq!(wants, ["bgp", "static"]);
    tell(&mut network, 3, "203.0.113.0/24 static 0 tag=7");
    tell(&mut network, 3, "198.51.100.0/24 bgp 50");
    network.seconds(10);
    assert_eq!(
        lsas(&network, 0, "external"),
        [
            "- 198.51.100.0 192.0.2.4 198.51.100.0/24 type-2 metric 1 to 0.0.0.0 tag 9",
            "- 203.0.113.0 192.0.2.4 203.0.113.0/24 type-1 metric 30 to 0.0.0.0 tag 7",
        ]
    );
    // Three links away: of type 1 that counts, of type 2 not.
    assert_eq!(route_to(&network, 0, "203.0.113.0/24").unwrap(), "203.0.113.0/24 33 via 10.0.0.1%link-0");
    assert_eq!(route_to(&network, 0, "198.51.100.0/24").unwrap(), "198.51.100.0/24 1 via 10.0.0.1%link-0");
    assert_eq!(network.routers[0].rib[&"203.0.113.0/24".parse().unwrap()].tag, 7);
    withdraw(&mut network, 3, "203.0.113.0/24");
    network.seconds(10);
    assert_eq!(route_to(&network, 0, "203.0.113.0/24"), None);
    assert!(route_to(&network, 0, "198.51.100.0/24").is_some());
}

#[test]
fn a_subnet_that_ospf_runs_on_is_not_told_once_more_as_external() {
    let mut network = chain("", "", " redistribute connected\n");
    tell(&mut network, 3, "10.0.2.0/31 connected 0 link-2@10.0.2.1");
    tell(&mut network, 3, "10.9.0.0/24 connected 0 other@10.9.0.1");
    network.seconds(10);
    let told = ["- 10.9.0.0 192.0.2.4 10.9.0.0/24 type-2 metric 20 to 0.0.0.0 tag 0"];
    assert_eq!(lsas(&network, 0, "external"), told);
}

#[test]
fn a_default_route_is_told_only_while_the_rib_has_one_unless_it_is_always() {
    let mut network = chain("", "", " default-information originate metric 7\n");
    let prefix = "0.0.0.0/0".parse().unwrap();
    assert!(network.routers[3].tracked.contains(&prefix));
    assert_eq!(route_to(&network, 0, "0.0.0.0/0"), None);
    network.input(3, Input::Rib(RibUpdate::Prefix { prefix, metric: Some(0) }));
    network.seconds(10);
    assert_eq!(route_to(&network, 0, "0.0.0.0/0").unwrap(), "0.0.0.0/0 7 via 10.0.0.1%link-0");
    network.input(3, Input::Rib(RibUpdate::Prefix { prefix, metric: None }));
    network.seconds(10);
    assert_eq!(route_to(&network, 0, "0.0.0.0/0"), None);
}

#[test]
fn section_12_4_4_1_a_next_hop_on_a_shared_network_is_the_forwarding_address() {
    let mut network = Network::default();
    let segment = network.segment();
    for router in 0..3 {
        let more = if router == 0 { " redistribute static\n" } else { "" };
        network.router(&format!("router ospf 1\n router-id {}\n{more} area 0\n  interface lan\n", id(router)));
        network.plug(router, "lan", &format!("10.0.0.{}/24", router + 1), segment);
    }
    network.seconds(60);
    tell(&mut network, 0, "203.0.113.0/24 static 0 lan@10.0.0.77");
    network.seconds(10);
    // Straight to the next hop, not through the router that tells of it.
    assert_eq!(route_to(&network, 1, "203.0.113.0/24").unwrap(), "203.0.113.0/24 20 via 10.0.0.77%lan");
}

#[test]
fn rfc_3101_what_is_told_in_an_nssa_is_translated_by_its_border_router() {
    let mut network = chain("", "nssa", REDISTRIBUTE);
    tell(&mut network, 3, "203.0.113.0/24 static 0 tag=7");
    network.seconds(10);
    let of_nssa = "0.0.0.2 203.0.113.0 192.0.2.4 203.0.113.0/24 type-1 metric 30 to 192.0.2.4 tag 7";
    assert!(
        lsas(&network, 2, "nssa-external").contains(&of_nssa.to_owned()),
        "{:?}",
        lsas(&network, 2, "nssa-external")
    );
    let translated = ["- 203.0.113.0 192.0.2.3 203.0.113.0/24 type-1 metric 30 to 192.0.2.4 tag 7"];
    assert_eq!(lsas(&network, 0, "external"), translated);
    assert_eq!(route_to(&network, 2, "203.0.113.0/24").unwrap(), "203.0.113.0/24 31 via 10.0.2.1%link-2");
    assert_eq!(route_to(&network, 0, "203.0.113.0/24").unwrap(), "203.0.113.0/24 33 via 10.0.0.1%link-0");
    withdraw(&mut network, 3, "203.0.113.0/24");
    network.seconds(10);
    assert_eq!(lsas(&network, 0, "external"), Vec::<String>::new());
}

#[test]
fn rfc_3101_a_border_router_of_an_nssa_tells_both_sides_and_has_nothing_translated() {
    let mut network = chain("", "nssa", "");
    let of_border = format!(
        "router ospf 1\n router-id {}\n redistribute static\n area 0\n  interface Loopback0\n  interface link-1\n   \
         network point-to-point\n area 2\n  nssa\n  interface link-2\n   network point-to-point\n",
        id(2)
    );
    network.configure(2, &of_border);
    tell(&mut network, 2, "203.0.113.0/24 static 0");
    network.seconds(10);
    let told = ["- 203.0.113.0 192.0.2.3 203.0.113.0/24 type-2 metric 20 to 0.0.0.0 tag 0"];
    assert_eq!(lsas(&network, 0, "external"), told);
    assert_eq!(route_to(&network, 3, "203.0.113.0/24").unwrap(), "203.0.113.0/24 20 via 10.0.2.0%link-2");
}

#[test]
fn rfc_3101_a_next_hop_is_the_forwarding_address_in_the_nssa_that_it_is_in_and_in_no_other() {
    let mut network = Network::default();
    let (lan, nssa) = (network.segment(), network.segment());
    let areas = " area 0\n  interface lan\n area 2\n  nssa\n  interface nssa\n";
    network.router(&format!("router ospf 1\n router-id {}\n redistribute static\n{areas}", id(0)));
    network.router(&format!("router ospf 1\n router-id {}\n area 2\n  nssa\n  interface nssa\n", id(1)));
    network.plug(0, "lan", "10.0.0.1/24", lan);
    network.plug(0, "nssa", "10.0.2.1/24", nssa);
    network.plug(1, "nssa", "10.0.2.2/24", nssa);
    network.seconds(60);
    tell(&mut network, 0, "203.0.113.0/24 static 0 lan@10.0.0.77");
    tell(&mut network, 0, "203.0.114.0/24 static 0 nssa@10.0.2.77");
    network.seconds(10);
    let outside = [
        "- 203.0.113.0 192.0.2.1 203.0.113.0/24 type-2 metric 20 to 10.0.0.77 tag 0",
        "- 203.0.114.0 192.0.2.1 203.0.114.0/24 type-2 metric 20 to 10.0.2.77 tag 0",
    ];
    assert_eq!(lsas(&network, 0, "external"), outside);
    let within = [
        "0.0.0.2 203.0.113.0 192.0.2.1 203.0.113.0/24 type-2 metric 20 to 0.0.0.0 tag 0",
        "0.0.0.2 203.0.114.0 192.0.2.1 203.0.114.0/24 type-2 metric 20 to 10.0.2.77 tag 0",
    ];
    assert_eq!(lsas(&network, 1, "nssa-external")[1..], within);
    assert_eq!(route_to(&network, 1, "203.0.113.0/24").unwrap(), "203.0.113.0/24 20 via 10.0.2.1%nssa");
    assert_eq!(route_to(&network, 1, "203.0.114.0/24").unwrap(), "203.0.114.0/24 20 via 10.0.2.77%nssa");
}

/// An LSA of a prefix outside that a neighbor floods: by whom and by which link, with which forwarding address.
fn flood(network: &mut Network, kind: LsaType, from: RouterIndex, link: usize, forwarding: &str) {
    let lsa = ExternalLsa {
        prefix: "203.0.113.0/24".parse().unwrap(),
        metric: ExternalMetric::Type2(9),
        forwarding: forwarding.parse().unwrap(),
        tag: 0,
    };
    let key = LsaKey::new(kind, lsa.prefix.addr(), id(from));
    let area = if kind == LsaType::Nssa { AreaId::new(0, 0, 0, 2) } else { BACKBONE };
    let lsa = Lsa::originate(key, Options::default(), SequenceNumber::INITIAL, &lsa.encode()).unwrap();
    let packet = encode(PacketKind::LinkStateUpdate, id(from), area, |into| {
        LinkStateUpdate::encode([(&lsa, 1)].into_iter(), into)
    });
    let payload = Authentication::Null.sign(packet, 0, |_| false).remove(0);
    let mut message = ProcessMessage::to(SocketAddr::new(ALL_SPF_ROUTERS.into(), 0), payload);
    message.addresses.source = format!("10.0.{link}.0:0").parse().unwrap();
    message.interface = Some(name(&format!("link-{link}")));
    network.input(from + 1, Input::Datagram { socket: SOCKET, message: &message });
    network.seconds(5);
}

#[test]
fn rfc_3101_section_2_5_a_forwarding_address_is_reached_through_the_area_that_the_lsa_is_of() {
    let reached = |kind, from, link, forwarding| {
        let mut network = chain("", "nssa", "");
        let of_first = format!(
            "router ospf 1\n router-id {}\n redistribute static\n area 1\n  interface link-0\n   network point-to-point\n \
             area 0\n  interface Loopback0\n  interface link-1\n   network point-to-point\n",
            id(1)
        );
        network.configure(1, &of_first);
        network.seconds(5);
        flood(&mut network, kind, from, link, forwarding);
        route_to(&network, from + 1, "203.0.113.0/24")
    };
    // Of an NSSA: within it, and not in an area beyond its border.
    let within = reached(LsaType::Nssa, 2, 2, "10.0.2.0");
    assert_eq!(within.as_deref(), Some("203.0.113.0/24 9 via 10.0.2.0%link-2"));
    assert_eq!(reached(LsaType::Nssa, 2, 2, "192.0.2.1"), None);
    // Of all normal areas: through one of them, and not through an NSSA.
    let outside = reached(LsaType::External, 1, 1, "192.0.2.1");
    assert_eq!(outside.as_deref(), Some("203.0.113.0/24 9 via 10.0.1.0%link-1"));
    assert_eq!(reached(LsaType::External, 1, 1, "192.0.2.4"), None);
}

#[test]
fn what_a_former_rib_told_is_told_on_until_the_new_one_has_told_everything() {
    let mut network = chain("", "", REDISTRIBUTE);
    tell(&mut network, 3, "203.0.113.0/24 static 0");
    tell(&mut network, 3, "198.51.100.0/24 static 0");
    network.seconds(10);
    network.routers[3].wants.clear();
    network.routers[3].rib.clear();
    network.input(3, Input::RibRestarted);
    assert_eq!(network.routers[3].wants.len(), 2, "the new one is asked");
    tell(&mut network, 3, "203.0.113.0/24 static 0");
    network.seconds(10);
    assert!(route_to(&network, 0, "198.51.100.0/24").is_some());
    network.input(3, Input::Rib(RibUpdate::RedistributionComplete));
    network.seconds(10);
    assert_eq!(route_to(&network, 0, "198.51.100.0/24"), None);
    assert!(route_to(&network, 0, "203.0.113.0/24").is_some());
}

/// Numbers that look random and are the same each time.
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[test]
fn rfc_2328_appendix_e_whatever_changes_in_whatever_order_each_prefix_is_told_once_as_it_is() {
    // Within each other, and several at one address.
    let prefixes =
        ["10.9.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.0.0/30", "10.0.0.0/32", "10.0.0.1/32", "10.0.1.0/24"];
    for seed in 0..200 {
        let mut random = numbers(seed);
        let mut network = chain("", "", " redistribute static\n");
        let mut expected = std::collections::BTreeMap::new();
        for _ in 0..4 + random(12) {
            let prefix = ipnet::Ipv4Net::trunc(&prefixes[random(7) as usize].parse().unwrap()).to_string();
            if random(3) == 0 {
                expected.remove(&prefix);
                withdraw(&mut network, 3, &prefix);
            } else {
                let tag = random(100);
                tell(&mut network, 3, &format!("{prefix} static 0 tag={tag}"));
                expected.insert(prefix, tag.to_string());
            }
            if random(4) == 0 {
                network.seconds(random(8));
            }
        }
        network.seconds(30);
        let told = lsas(&network, 0, "external");
        let told: Vec<(String, String)> = told
            .iter()
            .map(|lsa| {
                let words: Vec<&str> = lsa.split(' ').collect();
                let prefix: ipnet::Ipv4Net = words[3].parse().unwrap();
                assert!(prefix.contains(&words[1].parse::<std::net::Ipv4Addr>().unwrap()), "{lsa}");
                (prefix.to_string(), words.last().unwrap().to_string())
            })
            .collect();
        let all: std::collections::BTreeMap<_, _> = told.iter().cloned().collect();
        assert_eq!((told.len(), &all), (expected.len(), &expected), "seed {seed}: {told:?}");
    }
}
