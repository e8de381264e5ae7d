//! Every kind of network, of area and of authentication that BIRD and FRR have, each with each.
//!
//! Red is the border router of all areas. In each, three leaves hang off it at the same distance, so that their tables must
//! be the same but for what is each one's own:
//!
//! ```text
//!           ┌── 10.0.A.0/31, inter-VR interface ── VR leafA
//!   red ────┼── 10.1.A.0/24, point-to-point     ── a neighbor
//!   area A  └── 10.2.A.0/24, broadcast          ── a neighbor
//! ```
//!
//! All but those in stub areas tell of prefixes outside: of type 1 and 2, with tags, and with a forwarding address. The ospfd
//! of Debian 12 (8.4) has no HMAC-SHA: of that, BIRD alone is the judge.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::lab::{End, Ports};
use crate::namespace::can_run;
use crate::ospf_tables::{
    EXTERNAL_1, EXTERNAL_2, INTER, INTRA, Route, Table, lsas_in, lsas_of_frr, lsas_of_vr, table_of_bird, table_of_frr,
    table_of_vr,
};
use crate::support::{Router, wait_until};

/// What an area is like: at red, at its other routers, and there.
struct Area {
    ours: &'static str,
    leafs: &'static str,
    birds: &'static str,
    /// Kinds of routes to what is another's.
    routes: &'static [&'static str],
    takes: Takes,
}

/// What is told of the outside.
#[derive(PartialEq)]
enum Takes {
    /// AS-external-LSAs.
    All,
    /// Type-7-LSAs.
    OfItsOwn,
    Nothing,
}

const ALL: &[&str] = &[EXTERNAL_1, EXTERNAL_2, INTER, INTRA];

/// By their number.
const AREAS: [Area; 6] = [
    Area { ours: "", leafs: "", birds: "", routes: ALL, takes: Takes::All },
    Area { ours: "", leafs: "", birds: "", routes: ALL, takes: Takes::All },
    Area {
        ours: "   stub\n   default-cost 5\n",
        leafs: "   stub\n",
        birds: "stub;",
        routes: &[INTER, INTRA],
        takes: Takes::Nothing,
    },
    Area {
        ours: "   stub no-summary\n",
        leafs: "   stub\n",
        birds: "stub;",
        routes: &[INTER, INTRA],
        takes: Takes::Nothing,
    },
    Area { ours: "   nssa\n", leafs: "   nssa\n", birds: "nssa;", routes: ALL, takes: Takes::OfItsOwn },
    Area { ours: "   nssa no-summary\n", leafs: "   nssa\n", birds: "nssa;", routes: ALL, takes: Takes::OfItsOwn },
];

/// Type of red's interface to a neighbor, and as BIRD and FRR call it: by the neighbor's number, modulo these.
const NETWORKS: [(&str, &str); 2] = [("point-to-point", "ptp"), ("broadcast", "broadcast")];
/// Two in each area.
const NEIGHBORS: usize = 2 * AREAS.len();

/// How all interfaces of a test authenticate.
struct Authentication {
    name: &'static str,
    ours: String,
    birds: String,
    /// `None`: FRR cannot.
    frrs: Option<&'static str>,
}

fn authentications() -> [Authentication; 7] {
    let digest = |name, birds, frrs| Authentication {
        name,
        ours: format!("    authentication message-digest\n    message-digest-key 3 {name} secret\n"),
        birds: format!("authentication cryptographic; password \"secret\" {{ id 3; algorithm {birds}; }};"),
        frrs,
    };
    let frrs_md5 = " ip ospf authentication message-digest\n ip ospf message-digest-key 3 md5 secret\n";
    [
        Authentication { name: "null", ours: String::new(), birds: String::new(), frrs: Some("") },
        Authentication {
            name: "simple",
            ours: "    authentication simple\n    authentication-key secret\n".to_owned(),
            birds: "authentication simple; password \"secret\";".to_owned(),
            frrs: Some(" ip ospf authentication\n ip ospf authentication-key secret\n"),
        },
        digest("md5", "keyed md5", Some(frrs_md5)),
        digest("hmac-sha-1", "hmac sha1", None),
        digest("hmac-sha-256", "hmac sha256", None),
        digest("hmac-sha-384", "hmac sha384", None),
        digest("hmac-sha-512", "hmac sha512", None),
    ]
}

/// Outside of the AS beyond red: of type 1; the same by a router that does not speak OSPF; of type 2.
const OF_RED: [&str; 3] = ["203.0.114.0/24", "203.0.115.0/24", "203.0.116.1/32"];
const GATEWAY: &str = "10.2.0.77";

fn config(authentication: &Authentication) -> String {
    let mut text = String::from("linecard 0/0\n");
    for number in 0..NEIGHBORS {
        writeln!(text, " port {number}\n  driver af-packet device v{number}\n !").unwrap();
    }
    text += "!\nvr red\n";
    (0..NEIGHBORS).for_each(|number| writeln!(text, " assign port 0/0/{number}").unwrap());
    text += "!\n";
    (0..AREAS.len()).for_each(|area| writeln!(text, "vr leaf{area}\n!\nconnect red leaf{area}").unwrap());
    text += &red(authentication);
    AREAS.iter().enumerate().for_each(|(number, area)| text += &leaf(number, area, authentication));
    text
}

fn red(authentication: &Authentication) -> String {
    let mut text = format!(
        "vr red\n interface Loopback0\n  ipv4 address 192.0.2.1/32\n !\n interface Loopback1\n  ipv4 address {}\n !\n router \
         static\n  address-family ipv4 unicast\n   {} Null0 tag 14\n   {} {GATEWAY} tag 15\n  !\n !\n",
        OF_RED[2], OF_RED[0], OF_RED[1]
    );
    for area in 0..AREAS.len() {
        writeln!(text, " interface leaf{area}\n  ipv4 address 10.0.{area}.0/31\n !").unwrap();
        for network in 0..NETWORKS.len() {
            let (port, subnet) = (2 * area + network, network + 1);
            writeln!(text, " interface Port0/0/{port}\n  ipv4 address 10.{subnet}.{area}.1/24\n !").unwrap();
        }
    }
    text += " router ospf 1\n  router-id 192.0.2.1\n  redistribute static\n   metric 30\n   metric-type 1\n  !\n  \
             redistribute connected\n   metric 77\n   tag 9\n  !\n  area 0\n   interface Loopback0\n   !\n  !\n";
    for (number, area) in AREAS.iter().enumerate() {
        write!(text, "  area {number}\n{}", area.ours).unwrap();
        text += &speaks(&format!("leaf{number}"), "point-to-point", authentication);
        for (index, (network, _)) in NETWORKS.into_iter().enumerate() {
            text += &speaks(&format!("Port0/0/{}", 2 * number + index), network, authentication);
        }
        text += "  !\n";
    }
    text + " !\n!\n"
}

fn leaf(number: usize, area: &Area, authentication: &Authentication) -> String {
    let own = Own::of_vr(number);
    let outside = if area.takes == Takes::Nothing { "" } else { "  redistribute static\n   metric 20\n  !\n" };
    format!(
        "vr leaf{number}\n interface red\n  ipv4 address 10.0.{number}.1/31\n !\n interface Loopback0\n  ipv4 address {}\n \
         !\n router static\n  address-family ipv4 unicast\n   {} Null0 tag 21\n  !\n !\n router ospf 1\n  router-id {}\n\
         {outside}  area {number}\n{}   interface Loopback0\n   !\n{}  !\n !\n!\n",
        own.inside,
        own.outside[0],
        own.router,
        area.leafs,
        speaks("red", "point-to-point", authentication)
    )
}

/// An interface's block.
fn speaks(name: &str, network: &str, authentication: &Authentication) -> String {
    format!(
        "   interface {name}\n    network {network}\n    cost 10\n    hello-interval 1\n    dead-interval 4\n{}   !\n",
        authentication.ours
    )
}

/// What belongs to a leaf.
struct Own {
    router: String,
    subnet: String,
    /// Of its area.
    inside: String,
    /// Outside of the AS: of type 1, of type 2, by a router that does not speak OSPF.
    outside: [String; 3],
}

impl Own {
    fn new(router: usize, subnet: String) -> Self {
        let outside = [0, 64, 128].map(|part| format!("100.66.{router}.{part}/26"));
        Self { router: format!("192.0.2.{router}"), subnet, inside: format!("100.65.{router}.1/32"), outside }
    }

    fn of_vr(area: usize) -> Self {
        Self::new(50 + area, format!("10.0.{area}.0/31"))
    }

    fn of_neighbor(number: usize) -> Self {
        Self::new(100 + number, format!("10.{}.{}.0/24", 1 + number % 2, number / 2))
    }

    fn prefixes(&self) -> impl Iterator<Item = String> {
        [&self.subnet, &self.inside].into_iter().chain(&self.outside).cloned()
    }

    /// Where the third of its prefixes outside is: on its own network.
    fn gateway(&self) -> String {
        self.subnet.replace(".0/24", ".78")
    }
}

/// All twelve, each an `ospf` with a table of its own.
fn bird(authentication: &Authentication) -> String {
    let mut text = String::from("router id 192.0.2.9;\nprotocol device {}\n");
    for number in 0..NEIGHBORS {
        let (own, area, network) = (Own::of_neighbor(number), &AREAS[number / 2], NETWORKS[number % 2].1);
        let export = if area.takes == Takes::Nothing { "none" } else { "where source = RTS_STATIC" };
        writeln!(
            text,
            "ipv4 table t{number};\nprotocol static s{number} {{ ipv4 {{ table t{number}; }};\n route {} blackhole {{ \
             ospf_metric1 = 33; ospf_tag = 5; }};\n route {} blackhole {{ ospf_metric2 = 44; ospf_tag = 6; }};\n route {} via \
             {} {{ ospf_metric1 = 55; }};\n}}\nprotocol ospf v2 o{number} {{ router id {}; ipv4 {{ table t{number}; import all; \
             export {export}; }};\n area {} {{ {} stubnet {} {{ cost 7; }}; interface \"l{number}\" {{ type {network}; cost 10; \
             hello 1; dead 4; {} }}; }};\n}}",
            own.outside[0],
            own.outside[1],
            own.outside[2],
            own.gateway(),
            own.router,
            number / 2,
            area.birds,
            own.inside,
            authentication.birds
        )
        .unwrap();
    }
    text
}

/// One of the twelve.
fn frr(number: usize, lines: &str) -> String {
    let (own, area) = (Own::of_neighbor(number), number / 2);
    let kind = AREAS[area].birds.trim_end_matches(';');
    let kind = if kind.is_empty() { String::new() } else { format!(" area {area} {kind}\n") };
    let outside = if AREAS[area].takes == Takes::Nothing { "" } else { " redistribute kernel route-map out\n" };
    format!(
        "ip prefix-list first permit {}\nip prefix-list second permit {}\nroute-map out permit 10\n match ip address \
         prefix-list first\n set metric-type type-1\n set metric 33\n set tag 5\nroute-map out permit 20\n match ip address \
         prefix-list second\n set metric 44\n set tag 6\nroute-map out permit 30\n set metric-type type-1\n set metric 55\n\
         interface lo\n ip ospf area {area}\ninterface eth0\n ip ospf area {area}\n ip ospf network {}\n ip ospf cost 10\n ip \
         ospf hello-interval 1\n ip ospf dead-interval 4\n{lines}router ospf\n ospf router-id {}\n{outside}{kind}",
        own.outside[0],
        own.outside[1],
        NETWORKS[number % 2].0,
        own.router
    )
}

/// The same route, but that it leads to red whatever its address is.
fn by_red(mut route: Route, address: &str) -> Route {
    route.hops = route.hops.into_iter().map(|hop| if hop == address { "red".to_owned() } else { hop }).collect();
    route
}

/// A neighbor, and how to ask it.
struct Neighbor<'a> {
    number: usize,
    lsas: Box<dyn Fn() -> BTreeSet<String> + 'a>,
    table: Box<dyn Fn() -> Table + 'a>,
}

/// Red's and the leaf's database of the area is the neighbor's, and the leaf's table is the neighbor's.
fn is_the_same(router: &Router, authentication: &Authentication, neighbor: &Neighbor<'_>) {
    let (area, own) = (neighbor.number / 2, Own::of_neighbor(neighbor.number));
    let id = format!("0.0.0.{area}");
    let theirs_alone: BTreeSet<String> = own.prefixes().chain(Own::of_vr(area).prefixes()).collect();
    // What is by a gateway on the neighbor's own network is nearer to it.
    let is_theirs =
        |prefix: &String| theirs_alone.contains(prefix) || (own.subnet == "10.2.0.0/24" && *prefix == OF_RED[1]);
    let common = |table: Table, red: &str| -> Table {
        let rest = table.into_iter().filter(|(prefix, _)| !is_theirs(prefix));
        rest.map(|(prefix, route)| (prefix, by_red(route, red))).collect()
    };
    let addresses = [format!("10.0.{area}.0"), own.subnet.replace(".0/24", ".1")];
    let kinds = |table: &Table| table.values().map(|route| route.kind.clone()).collect::<BTreeSet<_>>();
    let mut last = Default::default();
    let seen = wait_until(|| {
        let lsas = [lsas_of_vr(router, "red", &id), lsas_of_vr(router, &format!("leaf{area}"), &id), (neighbor.lsas)()];
        let tables = [
            common(table_of_vr(router, &format!("leaf{area}")), &addresses[0]),
            common((neighbor.table)(), &addresses[1]),
        ];
        let is_whole = kinds(&tables[0]).iter().eq(AREAS[area].routes.iter().copied());
        let is_same = lsas[0] == lsas[1] && lsas[1] == lsas[2] && tables[0] == tables[1];
        last = (lsas, tables);
        (is_whole && is_same).then_some(())
    });
    let what = format!("{} in area {area} on a {} network", authentication.name, NETWORKS[neighbor.number % 2].0);
    let (lsas, tables) = last;
    let lsas: Vec<_> = lsas[0].symmetric_difference(&lsas[2]).chain(lsas[1].symmetric_difference(&lsas[2])).collect();
    let keys: BTreeSet<&String> = tables.iter().flat_map(Table::keys).collect();
    let routes: Vec<_> = keys.iter().map(|key| (key, tables[0].get(*key), tables[1].get(*key))).collect();
    let routes: Vec<_> = routes.into_iter().filter(|(_, ours, theirs)| ours != theirs).collect();
    assert!(seen.is_some(), "{what}: LSAs that not all have: {lsas:#?}\nroutes: {routes:#?}\nours: {:?}", tables[0]);
}

/// The router, each of its ports leading to a device of a network that `outside` chooses.
fn up(name: &str, authentication: &Authentication, outside: impl Fn(usize) -> (usize, String)) -> Ports {
    let end = |number: usize| {
        let (network, device) = outside(number);
        End { network, device, address: Own::of_neighbor(number).subnet.replace(".0/24", ".2/24") }
    };
    let ends: Vec<End> = (0..NEIGHBORS).map(end).collect();
    Ports::up(&format!("{name}-{}", authentication.name), &config(authentication), &ends)
}

#[test]
fn every_network_area_and_authentication_has_the_database_and_the_routes_of_bird() {
    let test = "every_network_area_and_authentication_has_the_database_and_the_routes_of_bird";
    if !can_run(test, &["bird"]) {
        return;
    }
    for authentication in authentications() {
        let ports = up("matrix-bird", &authentication, |number| (0, format!("l{number}")));
        let bird = Bird::start_in(&ports.outside[0], ports.router.folder(), &bird(&authentication));
        for number in 0..NEIGHBORS {
            let area = format!("0.0.0.{}", number / 2);
            let lsas = || {
                let parts = ["global".to_owned(), format!("area {area}")];
                let part = |part: &String| lsas_in(&bird.control(&format!("show ospf lsadb {part} o{number}")));
                parts.iter().flat_map(part).collect()
            };
            let table = || table_of_bird(&bird, &format!("show route table t{number} protocol o{number} all"));
            is_the_same(
                &ports.router,
                &authentication,
                &Neighbor { number, lsas: Box::new(lsas), table: Box::new(table) },
            );
        }
    }
}

#[test]
fn every_network_area_and_authentication_has_the_database_and_the_routes_of_frr() {
    let test = "every_network_area_and_authentication_has_the_database_and_the_routes_of_frr";
    if !can_run(test, &["zebra", "ospfd", "vtysh"]) {
        return;
    }
    for authentication in authentications() {
        let Some(lines) = authentication.frrs else { continue };
        let ports = up("matrix-frr", &authentication, |number| (number, "eth0".to_owned()));
        let start = |number: usize| {
            let (own, network) = (Own::of_neighbor(number), &ports.outside[number]);
            network.ip(&format!("address add {} dev lo", own.inside));
            own.outside[..2].iter().for_each(|prefix| _ = network.ip(&format!("route add {prefix} dev lo")));
            network.ip(&format!("route add {} via {}", own.outside[2], own.gateway()));
            Frr::start_in(network, &ports.router.folder().join(format!("frr{number}")), "ospfd", &frr(number, lines))
        };
        let neighbors: Vec<Frr> = (0..NEIGHBORS).map(start).collect();
        for (number, frr) in neighbors.iter().enumerate() {
            let lsas = || lsas_of_frr(frr, AREAS[number / 2].takes == Takes::All);
            let table = || table_of_frr(frr);
            is_the_same(
                &ports.router,
                &authentication,
                &Neighbor { number, lsas: Box::new(lsas), table: Box::new(table) },
            );
        }
    }
}
