//! Area types and ranges with BIRD and FRR: red is the border router between area 0, where blue is, and area 1,
//! where the neighbor outside is.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::lab::Lab;
use crate::namespace::can_run;
use crate::ospf::{databases_are_the_same, wait_for_learned};
use crate::ospf_tables::{Table, lsas_in, lsas_of_bird, lsas_of_frr, table_of_bird, table_of_frr};
use crate::support::wait_until;

/// Two VRs that speak OSPF with each other in area 0.
const EXAMPLE: &str = include_str!("../../../examples/ospf.conf");

/// The same; red tells of a static route, and has area 1, of which `area` are lines, on a port, of which `port` are.
fn border(area: &str, port: &str) -> String {
    let mut text = format!(
        "linecard 0/0\n port 0\n  driver af-packet device veth0\n !\n!\nvr red\n assign port 0/0/0\n!\n{EXAMPLE}\
         vr red\n interface Port0/0/0\n  ipv4 address 10.1.0.1/24\n !\n router static\n  address-family ipv4 unicast\n   \
         203.0.114.0/24 Null0 tag 14\n  !\n !\n router ospf 1\n  redistribute static\n  !\n  area 1\n"
    );
    area.lines().for_each(|line| writeln!(text, "   {line}").unwrap());
    text +=
        "   interface Port0/0/0\n    network point-to-point\n    cost 10\n    hello-interval 1\n    dead-interval 4\n";
    port.lines().for_each(|line| writeln!(text, "    {line}").unwrap());
    text + "   !\n  !\n !\n!\n"
}

/// BIRD in area 1, with two prefixes there and one outside.
fn bird(area: &str, interface: &str) -> String {
    format!(
        "router id 192.0.2.9;\nprotocol device {{}}\n\
         protocol static feed {{ ipv4; route 203.0.113.0/24 blackhole; }}\n\
         protocol ospf v2 red {{ ipv4 {{ import all; export where proto = \"feed\"; }};\n area 1 {{ {area}\n  \
         stubnet 198.51.100.0/26 {{ cost 7; }}; stubnet 198.51.100.64/26 {{ cost 9; }};\n  \
         interface \"eth0\" {{ type ptp; cost 10; hello 1; dead 4; {interface} }};\n }};\n}}\n"
    )
}

/// FRR in area 1, with one prefix there and one outside, unless the area has none.
fn frr(area: &str, interface: &str, redistribute: &str) -> String {
    format!(
        "ip route 203.0.113.0/24 blackhole\ninterface lo\n ip ospf area 1\ninterface eth0\n ip ospf area 1\n ip ospf \
         network point-to-point\n ip ospf cost 10\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n{interface}\
         router ospf\n ospf router-id 192.0.2.9\n{redistribute}{area}"
    )
}

fn wait_for_routes(table: impl Fn() -> Table, wanted: &[&str], unwanted: &[&str]) {
    let mut last: BTreeSet<String> = BTreeSet::new();
    let seen = wait_until(|| {
        last = table().into_keys().collect();
        let fits =
            wanted.iter().all(|prefix| last.contains(*prefix)) && unwanted.iter().all(|prefix| !last.contains(*prefix));
        fits.then_some(())
    });
    assert!(seen.is_some(), "has {last:?}, wanted {wanted:?}, not {unwanted:?}");
}

/// What an area is like on red, at BIRD and at FRR, and what the neighbor and blue see then.
struct Case {
    name: &'static str,
    ours: &'static str,
    birds: &'static str,
    frrs: &'static str,
    /// Prefixes that the neighbor has.
    there: &'static [&'static str],
    /// And those that it has not.
    not_there: &'static [&'static str],
    /// Whether what the neighbor tells of the outside comes to blue.
    comes_out: bool,
}

const CASES: [Case; 5] = [
    Case {
        name: "normal",
        ours: "",
        birds: "",
        frrs: "",
        there: &["10.0.0.0/31", "192.0.2.1/32", "192.0.2.2/32", "203.0.114.0/24"],
        not_there: &["0.0.0.0/0"],
        comes_out: true,
    },
    Case {
        name: "stub",
        ours: "stub\ndefault-cost 5",
        birds: "stub;",
        frrs: " area 1 stub\n",
        there: &["0.0.0.0/0", "10.0.0.0/31", "192.0.2.2/32"],
        not_there: &["203.0.114.0/24"],
        comes_out: false,
    },
    Case {
        name: "totally-stubby",
        ours: "stub no-summary",
        birds: "stub;",
        frrs: " area 1 stub\n",
        there: &["0.0.0.0/0"],
        not_there: &["203.0.114.0/24", "192.0.2.2/32", "10.0.0.0/31"],
        comes_out: false,
    },
    Case {
        name: "nssa",
        ours: "nssa",
        birds: "nssa;",
        frrs: " area 1 nssa\n",
        there: &["0.0.0.0/0", "10.0.0.0/31", "192.0.2.2/32", "203.0.114.0/24"],
        not_there: &[],
        comes_out: true,
    },
    Case {
        name: "nssa-no-summary",
        ours: "nssa no-summary",
        birds: "nssa;",
        frrs: " area 1 nssa\n",
        there: &["0.0.0.0/0", "203.0.114.0/24"],
        not_there: &["192.0.2.2/32", "10.0.0.0/31"],
        comes_out: true,
    },
];

#[test]
fn area_types_and_ranges_are_those_of_bird() {
    if !can_run("area_types_and_ranges_are_those_of_bird", &["bird"]) {
        return;
    }
    std::thread::scope(|scope| CASES.iter().for_each(|case| drop(scope.spawn(move || with_bird(case)))));
}

fn with_bird(case: &Case) {
    let area = format!("{}\nrange 198.51.100.0/24", case.ours);
    let lab = Lab::up(&format!("areas-bird-{}", case.name), &border(&area, ""));
    let config = bird(case.birds, "");
    // BIRD refuses to tell a stub area of anything outside.
    let config = if case.comes_out { config } else { config.replace("export where proto = \"feed\"", "export none") };
    let bird = Bird::start(&lab, &config);
    lab.router.wait_for_row("show ospf neighbor", &[("vr", "red"), ("neighbor_id", "192.0.2.9"), ("state", "Full")]);
    wait_for_routes(|| table_of_bird(&bird, "show route protocol red all"), case.there, case.not_there);
    // Two prefixes of area 1 are one in area 0.
    let mut blue = vec!["10.1.0.0/24", "192.0.2.1/32", "198.51.100.0/24", "203.0.114.0/24"];
    blue.extend(case.comes_out.then_some("203.0.113.0/24"));
    wait_for_learned(&lab.router, "blue", &blue);
    let metric = &lab.router.rows("show route", &[("vr", "blue"), ("prefix", "198.51.100.0/24")])[0]["metric"];
    assert_eq!(*metric, 20, "to red 1, to BIRD 10, in BIRD at most 9");
    databases_are_the_same(&lab, "0.0.0.1", || lsas_of_bird(&bird));
}

#[test]
fn area_types_and_ranges_are_those_of_frr() {
    if !can_run("area_types_and_ranges_are_those_of_frr", &["zebra", "ospfd", "vtysh"]) {
        return;
    }
    std::thread::scope(|scope| CASES.iter().for_each(|case| drop(scope.spawn(move || with_frr(case)))));
}

fn with_frr(case: &Case) {
    let area = format!("{}\nrange 198.51.100.0/24", case.ours);
    let lab = Lab::up(&format!("areas-frr-{}", case.name), &border(&area, ""));
    lab.outside.ip("address add 198.51.100.1/32 dev lo");
    lab.outside.ip("address add 198.51.100.2/32 dev lo");
    lab.outside.ip("route add 203.0.113.0/24 dev lo");
    let redistribute = if case.comes_out { " redistribute kernel\n" } else { "" };
    let frr = Frr::start(&lab, "ospfd", &frr(case.frrs, "", redistribute));
    lab.router.wait_for_row("show ospf neighbor", &[("vr", "red"), ("neighbor_id", "192.0.2.9"), ("state", "Full")]);
    wait_for_routes(|| table_of_frr(&frr), case.there, case.not_there);
    let mut blue = vec!["10.1.0.0/24", "192.0.2.1/32", "198.51.100.0/24", "203.0.114.0/24"];
    blue.extend(case.comes_out.then_some("203.0.113.0/24"));
    wait_for_learned(&lab.router, "blue", &blue);
    databases_are_the_same(&lab, "0.0.0.1", || lsas_of_frr(&frr, case.name == "normal"));
}

#[test]
fn ranges_of_bird_and_frr_as_border_routers_come_as_one_prefix() {
    if !can_run("ranges_of_bird_and_frr_as_border_routers_come_as_one_prefix", &["bird", "zebra", "ospfd"]) {
        return;
    }
    let inside = border("", "").replace("area 1\n", "area 0\n");
    let learned = ["192.0.2.2/32", "198.51.100.0/24"];
    let lab = Lab::up("range-bird", &inside);
    let config = "router id 192.0.2.9;\nprotocol device {}\nprotocol ospf v2 red {\n area 0 { interface \"eth0\" { type ptp; \
                  cost 10; hello 1; dead 4; }; };\n area 2 { networks { 198.51.100.0/24; }; stubnet 198.51.100.0/26 { cost 7; \
                  }; stubnet 198.51.100.64/26 { cost 9; }; };\n}\n";
    let bird = Bird::start(&lab, config);
    wait_for_learned(&lab.router, "red", &learned);
    let metric = &lab.router.rows("show route", &[("vr", "red"), ("prefix", "198.51.100.0/24")])[0]["metric"];
    assert_eq!(*metric, 19, "10 to BIRD, there at most 9");
    databases_are_the_same(&lab, "0.0.0.0", || {
        let all = bird.control("show ospf lsadb area 0.0.0.0");
        lsas_in(&all).into_iter().chain(lsas_in(&bird.control("show ospf lsadb global"))).collect()
    });
    let lab = Lab::up("range-frr", &inside);
    lab.outside.ip("address add 198.51.100.1/32 dev lo");
    lab.outside.ip("address add 198.51.100.65/32 dev lo");
    let config = "interface lo\n ip ospf area 2\ninterface eth0\n ip ospf area 0\n ip ospf network point-to-point\n ip ospf cost \
                  10\n ip ospf hello-interval 1\n ip ospf dead-interval 4\nrouter ospf\n ospf router-id 192.0.2.9\n area 2 \
                  range 198.51.100.0/24\n";
    let _frr = Frr::start(&lab, "ospfd", config);
    wait_for_learned(&lab.router, "red", &learned);
}

/// RFC 6549, which takes a byte of the authentication type.
#[test]
fn an_instance_of_birds_is_the_same_instance_here() {
    if !can_run("an_instance_of_birds_is_the_same_instance_here", &["bird"]) {
        return;
    }
    let key = "authentication message-digest\nmessage-digest-key 3 md5 secret";
    let lab = Lab::up("instance-bird", &border("", &format!("instance-id 5\n{key}")));
    let config = bird("", "authentication cryptographic; password \"secret\" { id 3; algorithm keyed md5; };");
    let bird = Bird::start(&lab, &config.replace("\"eth0\"", "\"eth0\" instance 5"));
    lab.router.wait_for_row("show ospf neighbor", &[("vr", "red"), ("neighbor_id", "192.0.2.9"), ("state", "Full")]);
    databases_are_the_same(&lab, "0.0.0.1", || lsas_of_bird(&bird));
}
