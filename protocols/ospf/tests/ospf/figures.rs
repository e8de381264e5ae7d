//! The sample network of RFC 2328: Figure 2 (section 2), in one area and, as in Figure 6 (section 3.4), in four. Its tables
//! are the oracle: those of sections 11.2 and 11.3, and the LSAs that section 12.4 shows.
//!
//! Two things are other than in the figures. Virtual links are not supported: where Figure 6 has one between RT10 and RT11,
//! there is a link of the backbone with the costs of the way through area 2. And the link between RT6 and RT10 has one
//! subnet, not the two addresses Ia and Ib.

use std::collections::{BTreeMap, BTreeSet};

use sdk::core::Input;
use sdk::rib::{Redistributed, RedistributedChange, RibUpdate};

use crate::areas::lsas;
use crate::network::{Network, RouterIndex};

/// Routers by their number, with the cost of their interface.
type Members = &'static [(u8, u16)];

/// Networks: the name in the figures, the area in Figure 6, the subnet, and who is on it at which cost. A router's
/// address there ends with its number.
const NETWORKS: [(&str, u8, &str, Members); 11] = [
    ("N1", 1, "10.1.1.0/24", &[(1, 3)]),
    ("N2", 1, "10.1.2.0/24", &[(2, 3)]),
    ("N3", 1, "10.1.3.0/24", &[(1, 1), (2, 1), (3, 1), (4, 1)]),
    ("N4", 1, "10.1.4.0/24", &[(3, 2)]),
    ("N6", 2, "10.2.6.0/24", &[(7, 1), (8, 1), (10, 1)]),
    ("N7", 2, "10.2.7.0/24", &[(8, 4)]),
    ("N8", 2, "10.2.8.0/24", &[(10, 3), (11, 2)]),
    ("N9", 3, "10.3.9.0/24", &[(9, 1), (11, 1), (12, 1)]),
    ("N10", 3, "10.3.10.0/24", &[(12, 2)]),
    ("N11", 3, "10.3.11.0/24", &[(9, 3)]),
    ("H1", 3, "10.3.1.12/32", &[(12, 10)]),
];

/// "RT11 has been configured to condense N9-N11, H1".
const RANGE: (&str, &str) = ("N9-N11,H1", "10.3.0.0/16");

/// Links between two routers: each router with the cost of its direction.
const LINKS: [[(u8, u16); 2]; 5] =
    [[(3, 8), (6, 6)], [(4, 8), (5, 8)], [(5, 7), (6, 6)], [(5, 6), (7, 6)], [(6, 7), (10, 5)]];
/// In place of the virtual link.
const VIRTUAL: [(u8, u16); 2] = [(10, 3), (11, 2)];

/// What RT5 and RT7 tell of the outside: name, prefix, metric of type 1, and the protocol that it stands for.
const OUTSIDE: [(u8, &str, &str, u32, &str); 5] = [
    (5, "N12", "203.0.12.0/24", 8, "static"),
    (5, "N13", "203.0.13.0/24", 8, "static"),
    (5, "N14", "203.0.14.0/24", 8, "static"),
    (7, "N12", "203.0.12.0/24", 2, "static"),
    (7, "N15", "203.0.15.0/24", 9, "bgp"),
];

/// Index of RT1 and on.
fn index(router: u8) -> RouterIndex {
    usize::from(router) - 1
}

/// Twelve routers, whose IDs are 10.0.0.1 and on, at rest.
fn figure(has_areas: bool) -> Network {
    let mut network = Network::default();
    (1..=12).for_each(|router| _ = network.router(&config(router, has_areas)));
    for (name, _, subnet, members) in NETWORKS {
        let (segment, (start, length)) = (network.segment(), subnet.rsplit_once('/').unwrap());
        let start = start.rsplit_once('.').unwrap().0;
        for (router, _) in members {
            network.plug(index(*router), name, &format!("{start}.{router}/{length}"), segment);
        }
    }
    for [(a, _), (b, _)] in LINKS.into_iter().chain(has_areas.then_some(VIRTUAL)) {
        let segment = network.segment();
        network.plug(index(a), &format!("RT{b}"), &format!("10.{}.0.0/31", a * 10 + b), segment);
        network.plug(index(b), &format!("RT{a}"), &format!("10.{}.0.1/31", a * 10 + b), segment);
    }
    for (router, _, prefix, _, protocol) in OUTSIDE {
        let (prefix, protocol) = (prefix.parse().unwrap(), protocol.to_owned());
        let route = Redistributed { prefix, protocol, metric: 0, tag: 0, interface: None, next_hop: None };
        let changes = vec![RedistributedChange::Set(route)];
        network.input(index(router), Input::Rib(RibUpdate::Redistributed(changes)));
    }
    network.seconds(120);
    network
}

fn config(router: u8, has_areas: bool) -> String {
    let mut text = format!("router ospf 1\n router-id 10.0.0.{router}\n");
    let metrics: BTreeMap<&str, u32> =
        OUTSIDE.iter().filter(|told| told.0 == router).map(|told| (told.4, told.3)).collect();
    for (protocol, metric) in metrics {
        text += &format!(" redistribute {protocol}\n  metric {metric}\n  metric-type 1\n");
    }
    let mut areas: BTreeMap<u8, String> = BTreeMap::new();
    for (name, area, _, members) in NETWORKS {
        for (_, cost) in members.iter().filter(|(member, _)| *member == router) {
            let block = format!("  interface {name}\n   cost {cost}\n");
            *areas.entry(if has_areas { area } else { 0 }).or_default() += &block;
        }
    }
    for [a, b] in LINKS.into_iter().chain(has_areas.then_some(VIRTUAL)) {
        for ((_, cost), (other, _)) in [(a, b), (b, a)].into_iter().filter(|((one, _), _)| *one == router) {
            let block = format!("  interface RT{other}\n   network point-to-point\n   cost {cost}\n");
            *areas.entry(0).or_default() += &block;
        }
    }
    for (area, interfaces) in areas {
        let range = if (router, area) == (11, 3) { format!("  range {}\n", RANGE.1) } else { String::new() };
        text += &format!(" area {area}\n{range}{interfaces}");
    }
    text
}

/// What a router has of the networks that the figures name: `N1 10 RT3`, the cost and who comes next.
fn table(network: &Network, router: u8) -> Vec<String> {
    let rows = network.routers[index(router)].show(network.now, "ospf route", &["prefix", "cost", "next_hops"]);
    let inside = NETWORKS.iter().map(|(name, _, prefix, _)| (*name, *prefix));
    let mut outside: Vec<(&str, &str)> = OUTSIDE.iter().map(|(_, name, prefix, ..)| (*name, *prefix)).collect();
    // Two tell of N12.
    let mut seen = BTreeSet::new();
    outside.retain(|(name, _)| seen.insert(*name));
    let row = |(name, prefix): (&str, &str)| {
        let row = rows.iter().find(|row| row.starts_with(&format!("{prefix} ")))?;
        let words: Vec<&str> = row.splitn(3, ' ').collect();
        let next: Vec<String> = words[2].split(", ").filter_map(next_router).collect();
        Some(format!("{name} {} {}", words[1], next.join(" ")).trim_end().to_owned())
    };
    inside.chain([RANGE]).chain(outside).filter_map(row).collect()
}

/// The router behind `ADDRESS%INTERFACE`; none where this router is on the network itself.
fn next_router(hop: &str) -> Option<String> {
    let (address, interface) = hop.split_once('%')?;
    let of_network = || Some(format!("RT{}", address.rsplit_once('.')?.1));
    if interface.starts_with("RT") { Some(interface.to_owned()) } else { of_network() }
}

#[test]
fn section_11_2_the_sample_network_without_areas_as_rt6_sees_it() {
    let network = figure(false);
    let expected = [
        "N1 10 RT3",
        "N2 10 RT3",
        "N3 7 RT3",
        "N4 8 RT3",
        "N6 8 RT10",
        "N7 12 RT10",
        "N8 10 RT10",
        "N9 11 RT10",
        "N10 13 RT10",
        "N11 14 RT10",
        "H1 21 RT10",
        "N12 10 RT10",
        "N13 14 RT5",
        "N14 14 RT5",
        "N15 17 RT10",
    ];
    assert_eq!(table(&network, 6), expected);
}

#[test]
fn section_11_3_the_sample_network_with_areas_as_rt4_sees_it() {
    let network = figure(true);
    let expected = [
        "N1 4 RT1",
        "N2 4 RT2",
        "N3 1",
        "N4 3 RT3",
        "N6 15 RT5",
        "N7 19 RT5",
        "N8 18 RT5",
        "N9-N11,H1 36 RT5",
        "N12 16 RT5",
        "N13 16 RT5",
        "N14 16 RT5",
        "N15 23 RT5",
    ];
    assert_eq!(table(&network, 4), expected);
}

#[test]
fn section_12_4_1_5_the_router_lsas_of_rt3_in_area_1_and_in_the_backbone() {
    let network = figure(true);
    let of_rt3: Vec<String> =
        lsas(&network, index(3), "router").into_iter().filter(|lsa| lsa.contains(" 10.0.0.3 10.0.0.3 ")).collect();
    let expected = [
        "0.0.0.0 10.0.0.3 10.0.0.3 area border router, point-to-point 10.0.0.6 by 10.36.0.0 metric 8, stub \
         10.36.0.0/31 metric 8",
        "0.0.0.1 10.0.0.3 10.0.0.3 area border router, transit 10.1.3.4 by 10.1.3.3 metric 1, stub 10.1.4.0/24 metric 2",
    ];
    assert_eq!(of_rt3, expected);
}

#[test]
fn section_12_4_2_1_the_network_lsa_of_n3() {
    let network = figure(true);
    let expected = "0.0.0.1 10.1.3.4 10.0.0.4 network 10.1.3.0/24, router 10.0.0.1, router 10.0.0.2, router 10.0.0.3, router 10.0.0.4";
    assert_eq!(lsas(&network, index(1), "network"), [expected]);
}

#[test]
fn section_12_4_3_2_what_rt3_and_rt4_tell_the_backbone_of_area_1_and_rt4_tells_area_1() {
    let network = figure(true);
    let told = |by: u8, kind: &str, area: &str| -> Vec<String> {
        let all = lsas(&network, index(by), kind).into_iter();
        let is_own = |lsa: &String| lsa.starts_with(&format!("{area} ")) && lsa.contains(&format!(" 10.0.0.{by} "));
        all.filter(is_own).map(|lsa| lsa.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
    };
    // Table 4 of the RFC: the distances that RT3 and RT4 advertise.
    let of_area_1 = |n4: &str| {
        ["10.1.1.0/24 metric 4", "10.1.2.0/24 metric 4", "10.1.3.0/24 metric 1", n4].map(str::to_owned).to_vec()
    };
    assert_eq!(told(3, "summary", "0.0.0.0"), of_area_1("10.1.4.0/24 metric 2"));
    assert_eq!(told(4, "summary", "0.0.0.0"), of_area_1("10.1.4.0/24 metric 3"));
    // Of the boundary routers RT5 and RT7.
    let metrics = ["AS boundary router, metric 8", "AS boundary router, metric 14"];
    assert_eq!(told(4, "asbr-summary", "0.0.0.1"), metrics);
    let summaries = told(4, "summary", "0.0.0.1");
    for wanted in ["10.2.6.0/24 metric 15", "10.2.7.0/24 metric 19", "10.2.8.0/24 metric 18", "10.3.0.0/16 metric 36"] {
        assert!(summaries.contains(&wanted.to_owned()), "{wanted} of {summaries:?}");
    }
}

#[test]
fn section_12_4_4_1_the_external_lsa_of_rt7_for_n12() {
    let network = figure(true);
    let of_rt7: Vec<String> =
        lsas(&network, index(1), "external").into_iter().filter(|lsa| lsa.contains(" 10.0.0.7 203.0.12")).collect();
    assert_eq!(of_rt7, ["- 203.0.12.0 10.0.0.7 203.0.12.0/24 type-1 metric 2 to 0.0.0.0 tag 0"]);
}
