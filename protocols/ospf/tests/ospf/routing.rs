//! The routing table, RFC 2328 sections 11 and 16: what a neighbor that the test plays tells, and what becomes of it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use ospf::packet::{
    ExternalLsa, ExternalMetric, Lsa, LsaKey, LsaType, MAX_AGE, NetworkLsa, Options, RouterFlags, RouterLink,
    RouterLinkKind, RouterLsa, SequenceNumber, SummaryLsa,
};
use sdk::core::ProtocolCore;
use sdk::show::Value;

use crate::areas::{chain, lsas, routes};
use crate::network::{Network, id};
use crate::peer::{Conversation, OWN, PEER, PEER_ADDRESS, config};

/// Routers behind the peer.
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const FARTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);

fn lsa(kind: LsaType, id: Ipv4Addr, router: Ipv4Addr, sequence: i32, body: &[u8]) -> Lsa {
    Lsa::originate(LsaKey::new(kind, id, router), Options::E, SequenceNumber(sequence), body).unwrap()
}

fn prefix(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn point_to_point(id: Ipv4Addr, data: Ipv4Addr, metric: u16) -> RouterLink {
    RouterLink { kind: RouterLinkKind::PointToPoint, id, data, metric }
}

fn stub(text: &str, metric: u16) -> RouterLink {
    let prefix = prefix(text);
    RouterLink { kind: RouterLinkKind::Stub, id: prefix.network(), data: prefix.netmask(), metric }
}

/// The peer's link to the router, and more links.
fn peer_lsa(sequence: i32, more: &[RouterLink]) -> Lsa {
    let links = [&[point_to_point(OWN, PEER_ADDRESS, 1)], more].concat();
    let flags = RouterFlags::B.with(RouterFlags::E, true);
    lsa(LsaType::Router, PEER, PEER, sequence, &RouterLsa::encode(flags, &links))
}

fn router_lsa(router: Ipv4Addr, links: &[RouterLink]) -> Lsa {
    let flags = RouterFlags::default().with(RouterFlags::E, true);
    lsa(LsaType::Router, router, router, 1, &RouterLsa::encode(flags, links))
}

fn summary(text: &str, metric: u32, sequence: i32) -> Lsa {
    let prefix = prefix(text);
    let body = SummaryLsa::encode(prefix.netmask(), metric);
    lsa(LsaType::SummaryNetwork, prefix.network(), PEER, sequence, &body)
}

fn external(text: &str, by: Ipv4Addr, metric: ExternalMetric, forwarding: Ipv4Addr) -> Lsa {
    let prefix = prefix(text);
    lsa(LsaType::External, prefix.network(), by, 1, &ExternalLsa { prefix, metric, forwarding, tag: 0 }.encode())
}

/// Full with the peer, and these LSAs of it in the database.
fn told(told: &[Lsa]) -> Conversation {
    let mut conversation = Conversation::full(&config("cost 3"));
    conversation.update(told);
    conversation.millis(2_000);
    conversation
}

fn cells(row: &[Value]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(values) => values.len().to_string(),
        other => format!("{other:?}"),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(" ")
}

/// `type cost external_cost` of the route to a prefix.
fn route(conversation: &Conversation, prefix: &str) -> String {
    let rows = conversation.core.show(conversation.now, "ospf route", &[]).unwrap();
    let row = rows.into_iter().find(|row| row[0] == prefix.into());
    row.map_or("none".to_owned(), |row| cells(&[row[1].clone(), row[3].clone(), row[4].clone()]))
}

/// Trees that were calculated, and calculations: of the last one, and in all.
fn last_calculation(conversation: &Conversation) -> (String, usize) {
    let rows = conversation.core.show(conversation.now, "ospf spf log", &[]).unwrap();
    (cells(&rows[0][1..4]), rows.len())
}

#[test]
fn section_11_paths_are_preferred_by_their_kind_before_their_cost() {
    const NET: &str = "198.51.100.0/24";
    // Of type 1 and type 2 two LSAs, as one router tells either the one or the other.
    let type_1 = external(NET, PEER, ExternalMetric::Type1(2), Ipv4Addr::UNSPECIFIED);
    let type_2 = external(NET, FAR, ExternalMetric::Type2(1), Ipv4Addr::UNSPECIFIED);
    let far = router_lsa(FAR, &[point_to_point(PEER, Ipv4Addr::UNSPECIFIED, 1)]);
    let link = point_to_point(FAR, Ipv4Addr::UNSPECIFIED, 1);
    let all = [peer_lsa(1, &[link, stub(NET, 9000)]), far, summary(NET, 5, 1), type_1.clone(), type_2];
    let mut conversation = told(&all);
    let mut seen = vec![route(&conversation, NET)];
    let gone = [peer_lsa(2, &[link]), summary(NET, 5, 2).with_age(MAX_AGE), type_1.with_age(MAX_AGE)];
    for gone in gone {
        conversation.update(&[gone]);
        conversation.acknowledge_all();
        conversation.millis(2_000);
        seen.push(route(&conversation, NET));
    }
    assert_eq!(seen, ["intra-area 9003 -", "inter-area 8 -", "external-1 5 -", "external-2 4 1"]);
}

#[test]
fn section_11_1_a_forwarding_address_is_looked_up_by_its_longest_prefix() {
    let forwarding = Ipv4Addr::new(198, 51, 100, 77);
    let conversation = told(&[
        peer_lsa(1, &[stub("198.51.0.0/16", 10), stub("198.51.100.0/24", 40), stub("198.51.100.128/25", 1)]),
        external("203.0.113.0/24", PEER, ExternalMetric::Type1(100), forwarding),
        // Nobody knows a way there.
        external("203.0.114.0/24", PEER, ExternalMetric::Type1(100), Ipv4Addr::new(192, 168, 0, 1)),
    ]);
    assert_eq!(route(&conversation, "203.0.113.0/24"), "external-1 143 -");
    assert_eq!(route(&conversation, "203.0.114.0/24"), "none");
}

#[test]
fn section_16_what_did_not_change_is_not_told_the_rib_again() {
    let mut conversation = told(&[peer_lsa(1, &[stub("198.51.100.0/24", 1), stub("203.0.113.0/24", 1)])]);
    conversation.rib_restarted();
    conversation.record.clear();
    conversation.update(&[peer_lsa(2, &[stub("198.51.100.0/24", 2), stub("203.0.113.0/24", 1)])]);
    conversation.millis(2_000);
    let told: Vec<&String> = conversation.record.iter().filter(|line| line.contains("rib: ")).collect();
    assert!(told.len() == 1 && told[0].contains("add 198.51.100.0/24 metric 5"), "{told:?}");
}

#[test]
fn section_16_1_a_link_that_only_one_side_tells_is_not_used() {
    let one_sided = point_to_point(FAR, Ipv4Addr::UNSPECIFIED, 1);
    let far = |links: &[RouterLink]| router_lsa(FAR, &[links, &[stub("198.51.100.0/24", 1)]].concat());
    let conversation = told(&[peer_lsa(1, &[one_sided]), far(&[])]);
    assert_eq!(route(&conversation, "198.51.100.0/24"), "none");
    let conversation = told(&[peer_lsa(1, &[one_sided]), far(&[point_to_point(PEER, Ipv4Addr::UNSPECIFIED, 1)])]);
    assert_eq!(route(&conversation, "198.51.100.0/24"), "intra-area 5 -");
    // A network that names a router which does not name it.
    let transit = RouterLink {
        kind: RouterLinkKind::Transit,
        id: Ipv4Addr::new(10, 9, 0, 1),
        data: Ipv4Addr::new(10, 9, 0, 1),
        metric: 1,
    };
    let network = |routers: &[Ipv4Addr]| {
        let body = NetworkLsa::encode(Ipv4Addr::new(255, 255, 255, 0), routers);
        lsa(LsaType::Network, transit.id, PEER, 1, &body)
    };
    let conversation = told(&[peer_lsa(1, &[transit]), network(&[PEER, FAR]), far(&[])]);
    assert_eq!(
        (route(&conversation, "10.9.0.0/24"), route(&conversation, "198.51.100.0/24")),
        ("intra-area 4 -".to_owned(), "none".to_owned())
    );
    let conversation = told(&[peer_lsa(1, &[transit]), network(&[FAR])]);
    assert_eq!(route(&conversation, "10.9.0.0/24"), "none");
}

#[test]
fn section_16_1_1_the_next_hop_is_the_neighbor_on_the_first_network_of_the_path() {
    // 0 ─ lan ─ 1 ─ link ─ 2: on the network the address of router 1, on the link that of the neighbor.
    let mut network = Network::default();
    let (lan, link) = (network.segment(), network.segment());
    let block =
        |router: usize, interfaces: &str| format!("router ospf 1\n router-id {}\n area 0\n{interfaces}", id(router));
    let (on_lan, on_link) = ("  interface lan\n", "  interface link\n   network point-to-point\n");
    network.router(&block(0, on_lan));
    network.router(&block(1, &format!("{on_lan}{on_link}")));
    network.router(&block(2, &format!("{on_link}  interface Loopback0\n")));
    network.plug(0, "lan", "10.0.0.1/24", lan);
    network.plug(1, "lan", "10.0.0.2/24", lan);
    network.plug(1, "link", "10.0.1.0/31", link);
    network.plug(2, "link", "10.0.1.1/31", link);
    network.loopback(2, "192.0.2.3/32");
    network.seconds(60);
    assert_eq!(routes(&network, 0), ["10.0.1.0/31 2 via 10.0.0.2%lan", "192.0.2.3/32 2 via 10.0.0.2%lan"]);
    assert_eq!(routes(&network, 1), ["192.0.2.3/32 1 via 10.0.1.1%link"]);
    assert_eq!(routes(&network, 2), ["10.0.0.0/24 2 via 10.0.1.0%link"]);
}

#[test]
fn section_16_2_summaries_without_a_way_to_their_border_router_or_of_infinite_cost_are_not_used() {
    let of_nobody = {
        let body = SummaryLsa::encode(Ipv4Addr::new(255, 255, 255, 0), 1);
        lsa(LsaType::SummaryNetwork, Ipv4Addr::new(198, 51, 100, 0), FARTHER, 1, &body)
    };
    let conversation = told(&[peer_lsa(1, &[]), of_nobody, summary("203.0.113.0/24", 0x00ff_ffff, 1)]);
    assert_eq!(route(&conversation, "198.51.100.0/24"), "none");
    assert_eq!(route(&conversation, "203.0.113.0/24"), "none");
}

#[test]
fn section_16_4_1_of_two_external_paths_the_cheaper_boundary_router_wins_and_type_1_before_type_2() {
    let far = router_lsa(FAR, &[point_to_point(PEER, Ipv4Addr::UNSPECIFIED, 1)]);
    let links = [point_to_point(FAR, Ipv4Addr::UNSPECIFIED, 50)];
    let nowhere = Ipv4Addr::UNSPECIFIED;
    let both = |near: ExternalMetric, there: ExternalMetric| {
        let net = "203.0.113.0/24";
        let conversation = told(&[
            peer_lsa(1, &links),
            far.clone(),
            external(net, PEER, near, nowhere),
            external(net, FAR, there, nowhere),
        ]);
        route(&conversation, net)
    };
    use ExternalMetric::{Type1, Type2};
    assert_eq!(both(Type1(60), Type1(5)), "external-1 58 -", "in all, the farther one is cheaper");
    assert_eq!(both(Type2(7), Type2(7)), "external-2 3 7", "of one metric, the nearer");
    assert_eq!(both(Type2(7), Type2(6)), "external-2 53 6", "the metric outside comes first");
    assert_eq!(both(Type2(1), Type1(5000)), "external-1 5053 -");
}

#[test]
fn section_16_5_a_summary_that_changes_costs_no_tree() {
    let mut conversation = told(&[peer_lsa(1, &[]), summary("198.51.100.0/24", 5, 1)]);
    conversation.millis(20_000);
    let (_, before) = last_calculation(&conversation);
    conversation.update(&[summary("198.51.100.0/24", 6, 2)]);
    conversation.millis(10);
    assert_eq!(route(&conversation, "198.51.100.0/24"), "inter-area 9 -");
    assert_eq!(last_calculation(&conversation), (format!("summary 198.51.100.0 of {PEER} 1 0"), before + 1));
}

#[test]
fn section_16_6_an_external_lsa_that_changes_costs_no_tree() {
    let mut conversation = told(&[peer_lsa(1, &[])]);
    conversation.millis(20_000);
    let (_, before) = last_calculation(&conversation);
    conversation.update(&[external("203.0.113.0/24", PEER, ExternalMetric::Type2(9), Ipv4Addr::UNSPECIFIED)]);
    conversation.millis(10);
    assert_eq!(route(&conversation, "203.0.113.0/24"), "external-2 3 9");
    assert_eq!(last_calculation(&conversation), (format!("external 203.0.113.0 of {PEER} 1 0"), before + 1));
}

#[test]
fn rfc_8405_a_calculation_waits_as_long_as_is_configured() {
    let config = config("cost 3").replace(" area 0", " timers throttle spf 150 400 900\n area 0");
    let mut conversation = Conversation::full(&config);
    conversation.update(&[peer_lsa(1, &[stub("198.51.100.0/24", 1)])]);
    conversation.millis(30_000);
    conversation.hello();
    let until = |conversation: &mut Conversation, wanted: &str| {
        let mut millis = 0;
        while route(conversation, "198.51.100.0/24") != wanted {
            assert!(millis < 5_000, "{wanted} does not come");
            conversation.millis(1);
            millis += 1;
        }
        millis
    };
    // All is quiet again: the first change, and one that follows it soon.
    conversation.update(&[peer_lsa(2, &[stub("198.51.100.0/24", 2)])]);
    let first = until(&mut conversation, "intra-area 5 -");
    conversation.update(&[peer_lsa(3, &[stub("198.51.100.0/24", 3)])]);
    let second = until(&mut conversation, "intra-area 6 -");
    assert_eq!((first, second), (150, 400));
}

#[test]
fn the_log_of_calculations_has_a_last_page() {
    let mut conversation = told(&[peer_lsa(1, &[])]);
    for sequence in 2..70 {
        conversation.update(&[summary("198.51.100.0/24", 5 + sequence as u32, sequence)]);
        conversation.millis(2_000);
        conversation.hello();
    }
    assert_eq!(last_calculation(&conversation).1, 50);
}

#[test]
fn section_16_7_a_path_that_changes_is_told_the_other_areas_anew_and_one_that_is_gone_is_taken_back() {
    let mut network = chain("", "", "");
    let told = |network: &Network| {
        let all = lsas(network, 3, "summary");
        all.into_iter().find(|lsa| lsa.contains(" 192.0.2.1/32 ")).map(|lsa| lsa.rsplit_once(' ').unwrap().1.to_owned())
    };
    assert_eq!(told(&network), Some("2".to_owned()));
    let dear = format!(
        "router ospf 1\n router-id {}\n area 1\n  interface link-0\n   network point-to-point\n   cost 7\n area 0\n  \
         interface Loopback0\n  interface link-1\n   network point-to-point\n",
        id(1)
    );
    network.configure(1, &dear);
    network.seconds(20);
    assert_eq!(told(&network), Some("8".to_owned()));
    network.carrier(0, false);
    network.seconds(20);
    assert_eq!(told(&network), None);
}

#[test]
fn section_16_8_paths_of_equal_cost_are_all_used_up_to_the_maximum() {
    let square = |maximum: &str| {
        let mut network = Network::default();
        let links = [(0, 1), (0, 2), (1, 3), (2, 3)];
        for router in 0..4 {
            let mut config =
                format!("router ospf 1\n router-id {}\n{maximum} area 0\n  interface Loopback0\n", id(router));
            for (number, _) in links.iter().enumerate().filter(|(_, (a, b))| [*a, *b].contains(&router)) {
                config += &format!("  interface link-{number}\n   network point-to-point\n");
            }
            network.router(&config);
            network.loopback(router, &format!("{}/32", id(router)));
        }
        for (number, (a, b)) in links.into_iter().enumerate() {
            let segment = network.segment();
            network.plug(a, &format!("link-{number}"), &format!("10.0.{number}.0/31"), segment);
            network.plug(b, &format!("link-{number}"), &format!("10.0.{number}.1/31"), segment);
        }
        network.seconds(30);
        routes(&network, 0).into_iter().find(|route| route.starts_with("192.0.2.4/32")).unwrap()
    };
    assert_eq!(square(""), "192.0.2.4/32 2 via 10.0.0.1%link-0 10.0.1.1%link-1");
    assert_eq!(square(" maximum paths 1\n"), "192.0.2.4/32 2 via 10.0.0.1%link-0");
}

#[test]
fn a_passive_interface_is_told_of_and_speaks_to_nobody() {
    let mut network = Network::default();
    let (lan, link) = (network.segment(), network.segment());
    for (router, passive) in [(0, "   passive enable\n"), (1, ""), (2, "")] {
        let config =
            format!("router ospf 1\n router-id {}\n area 0\n  interface lan\n{passive}  interface link\n", id(router));
        network.router(&config);
        match router {
            2 => {}
            _ => network.plug(router, "lan", &format!("10.0.0.{}/24", router + 1), lan),
        }
        if router != 1 {
            network.plug(router, "link", &format!("10.1.0.{}/24", router + 1), link);
        }
    }
    network.seconds(90);
    let from_lan = network.sent.iter().filter(|(_, router, message)| {
        *router == 0 && message.interface.as_ref().is_some_and(|interface| interface.as_str() == "lan")
    });
    assert_eq!(from_lan.count(), 0);
    // Router 1 says hello there, to nobody; router 2 learns of the subnet from router 0.
    assert_eq!(network.routers[1].show(network.now, "ospf neighbor", &["state"]), Vec::<String>::new());
    assert_eq!(network.routers[0].show(network.now, "ospf neighbor", &["interface", "state"]), ["link Full"]);
    assert_eq!(network.routers[2].routes(), ["10.0.0.0/24 2 via 10.1.0.1%link"]);
}
