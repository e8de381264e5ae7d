//! Networks of point-to-point links: they converge, are cut and mend, and every table is that of the oracle.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use petgraph::algo::dijkstra;
use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::EdgeRef;
use sdk::core::Input;

use crate::network::{Network, RouterIndex, database, id, states};

/// A link between two routers with a cost; both ends have the same.
type Link = (usize, usize, u16);

/// Routers joined by links; segment `n` is link `n`, on interfaces `link-n`.
fn network(routers: usize, links: &[Link]) -> Network {
    let mut network = Network::default();
    for router in 0..routers {
        let mut config = format!("router ospf 1\n router-id {}\n area 0\n  interface Loopback0\n", id(router));
        for (number, (_, _, cost)) in links.iter().enumerate().filter(|(_, (a, b, _))| *a == router || *b == router) {
            config += &format!("  interface link-{number}\n   network point-to-point\n   cost {cost}\n");
        }
        network.router(&config);
        network.loopback(router, &format!("{}/32", id(router)));
    }
    for (number, (a, b, _)) in links.iter().enumerate() {
        let segment = network.segment();
        for (end, router) in [a, b].into_iter().enumerate() {
            network.plug(*router, &format!("link-{number}"), &format!("10.0.{number}.{end}/31"), segment);
        }
    }
    network
}

/// Every loopback is reached by every router at the oracle's cost and over all of the oracle's first links.
fn assert_as_the_oracle(network: &Network, routers: usize, links: &[(usize, Link)]) {
    let mut graph: UnGraph<(), (usize, u16)> = UnGraph::default();
    let nodes: Vec<NodeIndex> = (0..routers).map(|_| graph.add_node(())).collect();
    for (number, (a, b, cost)) in links {
        graph.add_edge(nodes[*a], nodes[*b], (*number, *cost));
    }
    let distances = |from: NodeIndex| dijkstra(&graph, from, None, |edge| u32::from(edge.weight().1));
    let all: BTreeMap<NodeIndex, _> = nodes.iter().map(|node| (*node, distances(*node))).collect();
    for (router, node) in nodes.iter().enumerate() {
        let mut expected = Vec::new();
        for (other, target) in nodes.iter().enumerate().filter(|(other, _)| *other != router) {
            let Some(distance) = all[node].get(target) else { continue };
            let mut hops: Vec<(String, Ipv4Addr)> = Vec::new();
            for edge in graph.edges(*node) {
                let (number, cost) = *edge.weight();
                let next = if edge.source() == *node { edge.target() } else { edge.source() };
                if all[&next].get(target).is_some_and(|rest| rest + u32::from(cost) == *distance) {
                    let end =
                        links.iter().find(|(n, _)| *n == number).map(|(_, (a, _, _))| u8::from(nodes[*a] == *node));
                    hops.push((format!("link-{number}"), Ipv4Addr::new(10, 0, number as u8, end.unwrap())));
                }
            }
            hops.sort();
            let hops: Vec<String> = hops.iter().map(|(interface, address)| format!("{address}%{interface}")).collect();
            expected.push(format!("{}/32 {distance} via {}", id(other), hops.join(" ")));
        }
        let loopbacks: Vec<String> =
            network.routers[router].routes().into_iter().filter(|route| route.starts_with("192.0.2.")).collect();
        assert_eq!(loopbacks, expected, "router {router} at {}", network.now);
    }
}

fn numbered(links: &[Link]) -> Vec<(usize, Link)> {
    links.iter().copied().enumerate().collect()
}

#[test]
fn two_routers_become_full_within_milliseconds_and_know_each_others_loopbacks() {
    let links = [(0, 1, 10)];
    let mut network = network(2, &links);
    network.run(Duration::from_millis(50));
    assert_eq!((states(&network, 0), states(&network, 1)), (vec!["Full".to_owned()], vec!["Full".to_owned()]));
    network.run(Duration::from_millis(500));
    assert_as_the_oracle(&network, 2, &numbered(&links));
    assert_eq!(database(&network, 0, "0.0.0.0"), database(&network, 1, "0.0.0.0"));
    assert!(network.routers.iter().all(|router| router.all_routes));
}

#[test]
fn a_mesh_converges_is_cut_and_mends_as_the_oracle_says() {
    let links: Vec<Link> = vec![
        (0, 1, 1),
        (1, 2, 1),
        (2, 3, 1),
        (3, 0, 1),
        (0, 2, 2),
        (3, 4, 5),
        (4, 5, 1),
        (5, 6, 1),
        (6, 2, 7),
        (1, 6, 3),
        (4, 6, 2),
        (0, 1, 1),
    ];
    let mut network = network(7, &links);
    network.seconds(10);
    assert_as_the_oracle(&network, 7, &numbered(&links));
    for cut in [5, 0, 9] {
        // The carrier goes: everyone knows at once.
        network.carrier(cut, false);
        network.seconds(10);
        let left: Vec<_> = numbered(&links).into_iter().filter(|(number, _)| *number != cut).collect();
        assert_as_the_oracle(&network, 7, &left);
        network.carrier(cut, true);
        network.seconds(20);
        assert_as_the_oracle(&network, 7, &numbered(&links));
    }
    // Nothing passes, and nobody is told: the dead interval tells.
    network.cut(8);
    network.cut(6);
    network.seconds(60);
    let left: Vec<_> = numbered(&links).into_iter().filter(|(number, _)| ![8, 6].contains(number)).collect();
    assert_as_the_oracle(&network, 7, &left);
    network.mend(8);
    network.mend(6);
    network.seconds(30);
    assert_as_the_oracle(&network, 7, &numbered(&links));
    let first = database(&network, 0, "0.0.0.0");
    (1..7).for_each(|router| assert_eq!(database(&network, router, "0.0.0.0"), first, "router {router}"));
}

#[test]
fn a_network_that_falls_apart_forgets_the_other_part_and_finds_it_again() {
    let links = [(0, 1, 1), (1, 2, 1), (2, 3, 1)];
    let mut network = network(4, &links);
    // So that RFC 8405's hold-down time of the start is over.
    network.seconds(20);
    network.carrier(1, false);
    network.run(Duration::from_millis(50));
    let left: Vec<_> = numbered(&links).into_iter().filter(|(number, _)| *number != 1).collect();
    assert_as_the_oracle(&network, 4, &left);
    network.carrier(1, true);
    network.seconds(10);
    assert_as_the_oracle(&network, 4, &numbered(&links));
}

#[test]
fn everything_converges_although_every_third_packet_is_lost() {
    let links = [(0, 1, 1), (1, 2, 2), (2, 3, 3), (3, 0, 4), (1, 3, 1)];
    let mut network = network(4, &links);
    let mut count = 0;
    network.loses = Some(Box::new(move |_| {
        count += 1;
        count % 3 == 0
    }));
    network.seconds(200);
    network.loses = None;
    network.seconds(30);
    assert_as_the_oracle(&network, 4, &numbered(&links));
    let first = database(&network, 0, "0.0.0.0");
    (1..4).for_each(|router| assert_eq!(database(&network, router, "0.0.0.0"), first, "router {router}"));
}

#[test]
fn a_router_that_stops_in_order_is_forgotten_at_once() {
    let links = [(0, 1, 1), (1, 2, 1)];
    let mut network = network(3, &links);
    network.seconds(20);
    network.input(2, Input::Stop);
    network.run(Duration::from_millis(500));
    assert!(!network.routers[0].routes().iter().any(|route| route.starts_with("192.0.2.3/32")));
    assert_eq!(database(&network, 0, "0.0.0.0").len(), 2, "{:?}", database(&network, 0, "0.0.0.0"));
}

#[test]
fn a_network_at_rest_says_little_and_refreshes_its_lsas_for_hours() {
    let links = [(0, 1, 1), (1, 2, 1)];
    let mut network = network(3, &links);
    network.seconds(60);
    let packets = network.sent.len();
    network.seconds(100);
    // A hello every 10 s on four ends.
    assert!((40..=44).contains(&(network.sent.len() - packets)), "{} packets", network.sent.len() - packets);
    network.seconds(4 * 3600);
    assert_as_the_oracle(&network, 3, &numbered(&links));
    let rows = network.routers[0].show(network.now, "ospf database", &["age"]);
    assert!(rows.iter().all(|age| age.parse::<u64>().unwrap() < 1810), "{rows:?}");
}

/// How three routers are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Each with each.
    ByLinks,
    /// By a network: router 2 is designated router, router 1 its backup.
    OnLan,
    /// By a network on which only router 0 may be designated.
    OnLanOfRouter0,
}

/// Three routers and their configurations.
pub fn three(joined: Joined) -> (Network, Vec<String>) {
    let links = [(0, 1), (1, 2), (0, 2)];
    let links_of = |router: usize| (0..3).filter(move |link| [links[*link].0, links[*link].1].contains(&router));
    let interfaces = |router: usize| match joined {
        Joined::ByLinks => {
            links_of(router).map(|link| format!("  interface link-{link}\n   network point-to-point\n")).collect()
        }
        Joined::OnLanOfRouter0 if router > 0 => "  interface lan\n   priority 0\n".to_owned(),
        Joined::OnLan | Joined::OnLanOfRouter0 => "  interface lan\n".to_owned(),
    };
    let config = |router: usize| {
        let interfaces: String = interfaces(router);
        format!("router ospf 1\n router-id {}\n area 0\n  interface Loopback0\n{interfaces}", id(router))
    };
    let configs: Vec<String> = (0..3).map(config).collect();
    let mut network = Network::default();
    let segments: Vec<usize> = (0..3).map(|_| network.segment()).collect();
    for (router, config) in configs.iter().enumerate() {
        network.router(config);
        network.loopback(router, &format!("{}/32", id(router)));
        match joined {
            Joined::ByLinks => links_of(router).for_each(|link| {
                let address = format!("10.0.{link}.{}/31", u8::from(links[link].1 == router));
                network.plug(router, &format!("link-{link}"), &address, segments[link]);
            }),
            Joined::OnLan | Joined::OnLanOfRouter0 => {
                network.plug(router, "lan", &format!("10.0.0.{}/24", router + 1), segments[0]);
            }
        }
    }
    network.seconds(60);
    (network, configs)
}

#[test]
fn a_router_whose_process_restarts_says_that_its_routes_are_all_only_when_they_are() {
    // Its neighbors tell anew of one that came back only after their back-off.
    let cases = [
        (Joined::ByLinks, 0),
        (Joined::OnLan, 0),
        (Joined::OnLan, 1),
        (Joined::OnLan, 2),
        (Joined::OnLanOfRouter0, 0),
        (Joined::OnLanOfRouter0, 1),
    ];
    for (joined, router) in cases {
        let (mut network, configs) = three(joined);
        all_is_said_when_all_is_there(&mut network, router, &configs[router], |_, _| {});
    }
}

/// A router's process restarts; `meanwhile` is done at each millisecond until it has told the RIB that its routes are all.
fn all_is_said_when_all_is_there(
    network: &mut Network,
    router: RouterIndex,
    config: &str,
    meanwhile: impl Fn(&mut Network, u64),
) {
    let loopbacks = |network: &Network| -> Vec<String> {
        network.routers[router].routes().into_iter().filter(|route| route.starts_with("192.0.2.")).collect()
    };
    let before = loopbacks(network);
    assert_eq!(before.len(), 2, "{before:?}");
    network.restart(router, config);
    let mut millis = 0;
    while !network.routers[router].all_routes {
        network.run(Duration::from_millis(1));
        millis += 1;
        meanwhile(network, millis);
        assert!(millis < 59_000, "router {router} waited for the limit");
    }
    assert_eq!(loopbacks(network), before, "router {router}, after {millis} ms");
}

#[test]
fn a_designated_router_whose_process_restarts_waits_for_those_who_name_its_network_late() {
    let (mut network, configs) = three(Joined::OnLanOfRouter0);
    // What it says of the network is not known to be of use until a neighbor names it, too. This one says something else every
    // 100 ms, and so waits longer each time.
    all_is_said_when_all_is_there(&mut network, 0, &configs[0], |network, millis| {
        if millis % 100 == 0 {
            let lan = format!("interface lan\n   cost {}", 1 + millis / 100);
            network.configure(1, &configs[1].replace("interface lan", &lan));
        }
    });
}

#[test]
fn what_leads_to_another_vr_of_the_box_is_an_interface_like_any_other() {
    for lines in ["", "   network point-to-point\n"] {
        let run = |plug: fn(&mut Network, usize, &str, &str, usize)| {
            let mut network = Network::default();
            let segment = network.segment();
            for router in 0..2 {
                let interfaces = format!("  interface Loopback0\n  interface link\n{lines}");
                network.router(&format!("router ospf 1\n router-id {}\n area 0\n{interfaces}", id(router)));
                network.loopback(router, &format!("{}/32", id(router)));
                plug(&mut network, router, "link", &format!("10.0.0.{router}/31"), segment);
            }
            network.seconds(100);
            let tables = ["ospf interface", "ospf neighbor"]
                .map(|table| network.routers[0].show(network.now, table, &["interface", "state"]));
            let packets: Vec<_> = network.sent.iter().map(|(at, from, packet)| (*at, *from, packet.clone())).collect();
            (packets, network.routers[1].routes(), tables)
        };
        let (ports, inter_vr) = (run(Network::plug), run(Network::join));
        assert!(ports.0.len() > 20 && ports.1.len() == 1, "{:?}", ports.1);
        assert!(ports == inter_vr, "{lines}: {:?} and {:?}", ports.2, inter_vr.2);
    }
}

#[test]
fn an_operator_has_all_adjacencies_begin_anew() {
    let links = [(0, 1, 10)];
    let mut network = network(2, &links);
    network.seconds(60);
    network.command(0, "clear ospf process");
    let ended = "WARN neighbor 192.0.2.2 (10.0.0.1) on link-0: Down after Full: KillNbr";
    assert!(network.routers[0].log.iter().any(|line| line == ended), "{:?}", network.routers[0].log);
    network.seconds(10);
    assert_eq!((states(&network, 0), states(&network, 1)), (vec!["Full".to_owned()], vec!["Full".to_owned()]));
    assert_as_the_oracle(&network, 2, &numbered(&links));
}
