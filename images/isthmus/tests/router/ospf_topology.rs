//! Twenty routers in one area: ten VRs of one box, five BIRDs and five FRRs, each of those in a network of its own. Links
//! are cut and mended; every table is that of Dijkstra, computed here from what is wired.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write;

use petgraph::algo::dijkstra;
use petgraph::graph::{NodeIndex, UnGraph};
use serde_json::Value;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::namespace::{Namespace, can_run, run};
use crate::ospf_tables::{Route, table_of_bird, table_of_frr, table_of_vr};
use crate::support::{Router, wait_until};

/// Routers 0 to 9 are VRs, 10 to 14 BIRDs, 15 to 19 FRRs.
const VRS: usize = 10;
const ROUTERS: usize = 20;

/// A link between two routers, the lower number first, with the cost of either direction.
type Link = (usize, usize, u16);

/// A ring of the VRs with chords, one of the others, and three links between the two.
const LINKS: [Link; 27] = [
    (0, 1, 1),
    (1, 2, 1),
    (2, 3, 1),
    (3, 4, 1),
    (4, 5, 1),
    (5, 6, 1),
    (6, 7, 1),
    (7, 8, 1),
    (8, 9, 1),
    (0, 9, 1),
    (0, 5, 3),
    (2, 7, 3),
    (10, 15, 2),
    (11, 15, 2),
    (11, 16, 2),
    (12, 16, 2),
    (12, 17, 2),
    (13, 17, 2),
    (13, 18, 2),
    (14, 18, 2),
    (14, 19, 2),
    (10, 19, 2),
    (0, 10, 5),
    (4, 12, 5),
    (9, 19, 5),
    (11, 13, 7),
    (5, 15, 5),
];

/// What a router adds to the distance of its own loopback: BIRD knows no cost of zero.
fn loopback_cost(router: usize) -> u32 {
    u32::from((VRS..15).contains(&router))
}

fn loopback(router: usize) -> String {
    format!("192.0.2.{}", router + 1)
}

/// Address of a router on a link.
fn address(link: usize, router: usize) -> String {
    format!("10.0.{link}.{}", u8::from(LINKS[link].1 == router))
}

fn links_of(router: usize) -> impl Iterator<Item = (usize, Link)> {
    LINKS.into_iter().enumerate().filter(move |(_, (a, b, _))| *a == router || *b == router)
}

fn peer(link: Link, router: usize) -> usize {
    if link.0 == router { link.1 } else { link.0 }
}

/// Name of a VR's interface on a link: an inter-VR interface, or a port.
fn interface(number: usize, link: Link, router: usize) -> String {
    let other = peer(link, router);
    if other < VRS { format!("vr{other}") } else { format!("Port0/0/{number}") }
}

/// The box with the ten VRs.
fn config() -> String {
    let mut text = String::from("linecard 0/0\n");
    let ports = || LINKS.into_iter().enumerate().filter(|(_, (a, b, _))| *a < VRS && *b >= VRS);
    for (number, _) in ports() {
        writeln!(text, " port {number}\n  driver af-packet device v{number}\n !").unwrap();
    }
    text += "!\n";
    for router in 0..VRS {
        writeln!(text, "vr vr{router}").unwrap();
        ports().filter(|(_, (a, _, _))| *a == router).for_each(|(number, _)| {
            writeln!(text, " assign port 0/0/{number}").unwrap();
        });
        text += "!\n";
    }
    for (a, b, _) in LINKS.into_iter().filter(|(_, b, _)| *b < VRS) {
        writeln!(text, "connect vr{a} vr{b}").unwrap();
    }
    for router in 0..VRS {
        writeln!(text, "!\nvr vr{router}\n interface Loopback0\n  ipv4 address {}/32\n !", loopback(router)).unwrap();
        for (number, link) in links_of(router) {
            let (name, address) = (interface(number, link, router), address(number, router));
            writeln!(text, " interface {name}\n  ipv4 address {address}/31\n !").unwrap();
        }
        writeln!(text, " router ospf 1\n  router-id {}\n  area 0\n   interface Loopback0\n   !", loopback(router))
            .unwrap();
        for (number, link) in links_of(router) {
            let name = interface(number, link, router);
            let cost = link.2;
            writeln!(
                text,
                "   interface {name}\n    network point-to-point\n    cost {cost}\n    hello-interval 1\n    \
                 dead-interval 4\n   !"
            )
            .unwrap();
        }
    }
    text
}

fn bird_config(router: usize) -> String {
    let mut text = format!(
        "router id {0};\nprotocol device {{}}\nprotocol ospf v2 red {{\n tick 1;\n ipv4 {{ import all; export none; }};\n \
         area 0 {{\n  stubnet {0}/32 {{ cost 1; }};\n",
        loopback(router)
    );
    for (number, (_, _, cost)) in links_of(router) {
        writeln!(text, "  interface \"l{number}\" {{ type ptp; cost {cost}; hello 1; dead 4; }};").unwrap();
    }
    text + " };\n}\n"
}

fn frr_config(router: usize) -> String {
    let mut text = String::from("interface lo\n ip ospf area 0\n");
    for (number, (_, _, cost)) in links_of(router) {
        writeln!(
            text,
            "interface l{number}\n ip ospf area 0\n ip ospf network point-to-point\n ip ospf cost {cost}\n ip ospf \
             hello-interval 1\n ip ospf dead-interval 4"
        )
        .unwrap();
    }
    text + &format!("router ospf\n ospf router-id {}\n", loopback(router))
}

/// Distances of all loopbacks from a router, and the first steps of all ways that are as short.
type Table = BTreeMap<String, (u32, BTreeSet<String>)>;

/// What Dijkstra says of every router's table, with these links there.
fn oracle(cut: &[usize]) -> BTreeMap<usize, Table> {
    let mut graph: UnGraph<(), usize> = UnGraph::default();
    let nodes: Vec<NodeIndex> = (0..ROUTERS).map(|_| graph.add_node(())).collect();
    for (number, (a, b, _)) in LINKS.into_iter().enumerate().filter(|(number, _)| !cut.contains(number)) {
        graph.add_edge(nodes[a], nodes[b], number);
    }
    let cost = |number: usize| u32::from(LINKS[number].2);
    let distances: Vec<_> =
        nodes.iter().map(|from| dijkstra(&graph, *from, None, |edge| cost(*edge.weight()))).collect();
    let mut tables = BTreeMap::new();
    for (router, node) in nodes.iter().enumerate() {
        let mut table = Table::new();
        for (other, target) in nodes.iter().enumerate().filter(|(other, _)| *other != router) {
            let Some(distance) = distances[router].get(target) else { continue };
            let mut hops = BTreeSet::new();
            for edge in graph.edges(*node) {
                let next = peer(LINKS[*edge.weight()], router);
                if distances[next].get(target).is_some_and(|rest| rest + cost(*edge.weight()) == *distance) {
                    hops.insert(address(*edge.weight(), next));
                }
            }
            table.insert(loopback(other), (distance + loopback_cost(other), hops));
        }
        tables.insert(router, table);
    }
    tables
}

struct Topology {
    // Dropped first: it stops in order while its devices are there.
    router: Router,
    birds: Vec<(usize, Bird)>,
    frrs: Vec<(usize, Frr)>,
    networks: BTreeMap<usize, Namespace>,
    _inside: Namespace,
}

impl Topology {
    fn up() -> Self {
        let inside = Namespace::new();
        let networks: BTreeMap<usize, Namespace> = (VRS..ROUTERS).map(|router| (router, Namespace::new())).collect();
        for (number, (a, b, _)) in LINKS.into_iter().enumerate().filter(|(_, (_, b, _))| *b >= VRS) {
            let device = format!("l{number}");
            match networks.get(&a) {
                Some(network) => network.join(&device, &networks[&b], &device),
                None => inside.join(&format!("v{number}"), &networks[&b], &device),
            }
        }
        for (router, network) in &networks {
            network.ip(&format!("address add {}/32 dev lo", loopback(*router)));
            for (number, _) in links_of(*router) {
                network.ip(&format!("address add {}/31 dev l{number}", address(number, *router)));
            }
        }
        let router = Router::new("twenty");
        let file = router.write("router.conf", &config());
        let up = [OsStr::new("up"), file.as_os_str(), "-d".as_ref(), "--name".as_ref(), "twenty".as_ref()];
        run(&mut inside.inside(&router.command(up)));
        std::fs::set_permissions(router.folder(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let folder = |number: &usize| router.folder().join(format!("router{number}"));
        let birds = (VRS..15).map(|number| {
            std::fs::create_dir(folder(&number)).unwrap();
            (number, Bird::start_in(&networks[&number], &folder(&number), &bird_config(number)))
        });
        let birds = birds.collect();
        let frrs = (15..ROUTERS)
            .map(|number| (number, Frr::start_in(&networks[&number], &folder(&number), "ospfd", &frr_config(number))))
            .collect();
        Self { router, birds, frrs, networks, _inside: inside }
    }

    /// Every router's table of loopbacks.
    fn tables(&self) -> BTreeMap<usize, Table> {
        let mut tables: BTreeMap<usize, Table> = (0..ROUTERS).map(|router| (router, Table::new())).collect();
        let vrs = (0..VRS).map(|number| (number, table_of_vr(&self.router, &format!("vr{number}"))));
        let birds = self.birds.iter().map(|(number, bird)| (*number, table_of_bird(bird, "show route all")));
        let frrs = self.frrs.iter().map(|(number, frr)| (*number, table_of_frr(frr)));
        for (number, routes) in vrs.chain(birds).chain(frrs) {
            let cost = |route: &Route| u32::try_from(route.cost).unwrap();
            routes.iter().for_each(|(prefix, route)| add(&mut tables, number, prefix, cost(route), route.hops.clone()));
        }
        tables
    }

    fn wait_for_oracle(&self, cut: &[usize], what: &str) {
        let wanted = oracle(cut);
        let mut last = BTreeMap::new();
        let seen = wait_until(|| {
            last = self.tables();
            (last == wanted).then_some(())
        });
        let different = last.iter().find(|(router, table)| wanted.get(router) != Some(table));
        let (router, has) = different.map(|(router, table)| (*router, table.clone())).unwrap_or_default();
        assert!(seen.is_some(), "{what}: router {router} has {has:#?}\nDijkstra {:#?}", wanted[&router]);
    }

    /// Cuts or mends a link: between VRs by the operator, otherwise by its carrier.
    fn set(&self, link: usize, is_up: bool) {
        let (a, b, _) = LINKS[link];
        if b < VRS {
            let no = if is_up { "no " } else { "" };
            self.router.sh(&format!("configure vr vr{a}; interface vr{b}; {no}shutdown"));
        } else {
            self.networks[&b].ip(&format!("link set l{link} {}", if is_up { "up" } else { "down" }));
        }
    }
}

/// A loopback of another router, with its distance and the first steps.
fn add(tables: &mut BTreeMap<usize, Table>, router: usize, prefix: &str, cost: u32, hops: BTreeSet<String>) {
    let is_other = |host: &&str| host.starts_with("192.0.2.") && *host != loopback(router);
    if let Some(host) = prefix.strip_suffix("/32").filter(is_other) {
        tables.entry(router).or_default().insert(host.to_owned(), (cost, hops));
    }
}

#[test]
fn twenty_routers_of_three_kinds_find_the_shortest_ways_whatever_is_cut_and_mended() {
    let test = "twenty_routers_of_three_kinds_find_the_shortest_ways_whatever_is_cut_and_mended";
    if !can_run(test, &["bird", "zebra", "ospfd", "vtysh"]) {
        return;
    }
    let topology = Topology::up();
    topology.wait_for_oracle(&[], "all links");
    // Between VRs; between BIRD and FRR; between a VR and FRR.
    let cut = [2, 14, 24];
    cut.iter().for_each(|link| topology.set(*link, false));
    topology.wait_for_oracle(&cut, "three links cut");
    topology.set(2, true);
    topology.set(24, true);
    topology.set(14, true);
    topology.wait_for_oracle(&[], "mended");
    let lost: u64 = topology.router.sh("show ospf drops").as_array().into_iter().flatten().filter_map(malformed).sum();
    assert_eq!(lost, 0, "{}", topology.router.sh("show ospf drops"));
}

/// How many packets were no packets.
fn malformed(row: &Value) -> Option<u64> {
    let reason = row["reason"].as_str()?;
    ["checksum", "length", "version"].iter().any(|word| reason.contains(word)).then(|| row["count"].as_u64()).flatten()
}
