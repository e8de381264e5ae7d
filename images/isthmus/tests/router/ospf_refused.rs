//! BIRD and FRR configured otherwise than red, with one difference on each of its ports: no adjacency, one line of the log
//! that says which field, and the same in `show ospf interface` for as long as it is so.

use std::fmt::Write;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::lab::{End, Ports};
use crate::namespace::can_run;
use crate::support::{matching, wait_until};

/// What a neighbor has otherwise than red, and what red says of it.
struct Case {
    /// Of both.
    network: &'static str,
    router: &'static str,
    /// Red's, and the neighbor's with what BIRD and FRR say of it.
    areas: [&'static str; 2],
    stub: Stub,
    /// BIRD's words and FRR's lines of the interface.
    interface: [&'static str; 2],
    prefix_length: u8,
    mtu: u16,
    because: &'static str,
    /// What red says then to agree; nothing where its whole block would have to move.
    agree: &'static str,
}

/// Whether the neighbor's area is a stub area.
#[derive(Clone, Copy, PartialEq)]
enum Stub {
    No,
    Yes,
}

/// A neighbor that becomes full.
const AGREES: Case = Case {
    network: "point-to-point",
    router: "192.0.2.9",
    areas: ["0.0.0.0", "0.0.0.0"],
    stub: Stub::No,
    interface: ["hello 1; dead 4;", " ip ospf hello-interval 1\n ip ospf dead-interval 4\n"],
    prefix_length: 24,
    mtu: 1500,
    because: "",
    agree: "",
};

/// By port.
const CASES: [Case; 8] = [
    Case {
        interface: ["hello 2; dead 4;", " ip ospf hello-interval 2\n ip ospf dead-interval 4\n"],
        because: "hello-interval 2 there, 1 here",
        agree: "hello-interval 2",
        ..AGREES
    },
    Case {
        interface: ["hello 1; dead 9;", " ip ospf hello-interval 1\n ip ospf dead-interval 9\n"],
        because: "dead-interval 9 there, 4 here",
        agree: "dead-interval 9",
        ..AGREES
    },
    Case { areas: ["0.0.0.0", "0.0.0.3"], because: "area 0.0.0.3 there, 0.0.0.0 here", ..AGREES },
    Case { router: "192.0.2.1", because: "its router ID 192.0.2.1 is this router's own", ..AGREES },
    Case {
        network: "broadcast",
        prefix_length: 25,
        because: "network mask 255.255.255.128 there, 255.255.255.0 here",
        ..AGREES
    },
    Case { mtu: 1600, because: "MTU 1600 there, 1500 here", agree: "mtu-ignore enable", ..AGREES },
    Case {
        areas: ["0.0.0.6", "0.0.0.6"],
        stub: Stub::Yes,
        because: "external routes (E), so a stub area or NSSA on one side only: no there, yes here",
        ..AGREES
    },
    Case {
        interface: [
            "hello 1; dead 4; authentication simple; password \"secret\";",
            " ip ospf hello-interval 1\n ip ospf dead-interval 4\n ip ospf authentication\n ip ospf authentication-key \
             secret\n",
        ],
        because: "authentication simple there, null here",
        agree: "authentication simple; authentication-key secret",
        ..AGREES
    },
];

/// Red, with a port to each.
fn config() -> String {
    let mut text = String::from("linecard 0/0\n");
    for port in 0..CASES.len() {
        writeln!(text, " port {port}\n  driver af-packet device v{port}\n !").unwrap();
    }
    text += "!\nvr red\n";
    (0..CASES.len()).for_each(|port| writeln!(text, " assign port 0/0/{port}").unwrap());
    for port in 0..CASES.len() {
        writeln!(text, " interface Port0/0/{port}\n  ipv4 address 10.1.{port}.1/24\n !").unwrap();
    }
    text += " router ospf 1\n  router-id 192.0.2.1\n";
    for (port, case) in CASES.iter().enumerate() {
        writeln!(
            text,
            "  area {}\n   interface Port0/0/{port}\n    network {}\n    hello-interval 1\n    dead-interval 4\n   !\n  !",
            case.areas[0], case.network
        )
        .unwrap();
    }
    text + " !\n!\n"
}

/// Red, its ports leading to devices of networks that `outside` chooses.
fn up(name: &str, outside: impl Fn(usize) -> (usize, String)) -> Ports {
    let end = |(port, case): (usize, &Case)| {
        let (network, device) = outside(port);
        End { network, device, address: format!("10.1.{port}.2/{}", case.prefix_length) }
    };
    let ends: Vec<End> = CASES.iter().enumerate().map(end).collect();
    let ports = Ports::up(name, &config(), &ends);
    for (end, case) in ends.iter().zip(&CASES) {
        ports.outside[end.network].ip(&format!("link set {} mtu {}", end.device, case.mtu));
    }
    ports
}

/// One `ospf` for each port.
fn bird() -> String {
    let mut text = String::from("router id 192.0.2.9;\nprotocol device {}\n");
    for (port, case) in CASES.iter().enumerate() {
        let network = if case.network == "broadcast" { "broadcast" } else { "ptp" };
        let stub = if case.stub == Stub::Yes { "stub;" } else { "" };
        writeln!(
            text,
            "ipv4 table t{port};\nprotocol ospf v2 o{port} {{ router id {}; ipv4 {{ table t{port}; }}; area {} {{ {stub} \
             interface \"l{port}\" {{ type {network}; {} }}; }}; }}",
            case.router, case.areas[1], case.interface[0]
        )
        .unwrap();
    }
    text
}

fn frr(case: &Case) -> String {
    let area = case.areas[1];
    let stub = if case.stub == Stub::Yes { format!(" area {area} stub\n") } else { String::new() };
    format!(
        "interface eth0\n ip ospf area {area}\n ip ospf network {}\n{}router ospf\n ospf router-id {}\n{stub}",
        case.network, case.interface[1], case.router
    )
}

/// `agree`: what the neighbor on a port does for it; `is_full`: whether it says so.
fn each_difference_is_said_once_and_shown_until_both_agree(
    ports: &Ports,
    agree: impl Fn(usize, &Case),
    is_full: impl Fn(usize) -> bool,
) {
    let router = &ports.router;
    let row = |port: usize| {
        let name = format!("Port0/0/{port}");
        router.rows("show ospf interface", &[("vr", "red"), ("interface", &name)]).swap_remove(0)
    };
    for (port, case) in CASES.iter().enumerate() {
        let (name, neighbor) = (format!("Port0/0/{port}"), format!("10.1.{port}.2"));
        let wanted = [("interface", name.as_str()), ("refused_neighbor", &neighbor), ("refused_because", case.because)];
        router.wait_for_row("show ospf interface", &wanted);
    }
    // Each has been refused again and again: four ports have hellos that do not agree, one of them every 2 s.
    let often = [("hello parameters mismatch", 14), ("area mismatch", 4), ("duplicate router ID", 4)];
    for (reason, times) in often.into_iter().chain([("wrong authentication type", 4)]) {
        router.wait_for("show ospf drops", |table| {
            matching(table, &[("reason", reason)]).iter().any(|row| row["count"].as_u64() >= Some(times))
        });
    }
    let log = router.sh("show log 1000").to_string();
    for (port, case) in CASES.iter().enumerate() {
        let line = format!("neighbor 10.1.{port}.2 on Port0/0/{port} refused: {}", case.because);
        assert_eq!(log.matches(&line).count(), 1, "{line}\n{log}");
        assert_eq!((row(port)["neighbors_full"].as_u64(), is_full(port)), (Some(0), false), "{line}");
    }
    for (port, case) in CASES.iter().enumerate().filter(|(_, case)| !case.agree.is_empty()) {
        let name = format!("Port0/0/{port}");
        router
            .sh(&format!("configure vr red; router ospf 1; area {}; interface {name}; {}", case.areas[0], case.agree));
        agree(port, case);
        let wanted = [("interface", name.as_str()), ("neighbors_full", "1"), ("refused_because", "")];
        router.wait_for_row("show ospf interface", &wanted);
        assert!(wait_until(|| is_full(port).then_some(())).is_some(), "{name} is full on this side only");
    }
}

#[test]
fn what_bird_has_otherwise_is_said_once_by_its_name_and_shown_until_both_agree() {
    if !can_run("what_bird_has_otherwise_is_said_once_by_its_name_and_shown_until_both_agree", &["bird"]) {
        return;
    }
    let ports = up("refused-bird", |port| (0, format!("l{port}")));
    let bird = Bird::start_in(&ports.outside[0], ports.router.folder(), &bird());
    // BIRD has no `mtu-ignore`, and refuses a smaller MTU, too.
    let agree = |port: usize, case: &Case| {
        if case.mtu != AGREES.mtu {
            ports.outside[0].ip(&format!("link set l{port} mtu {}", AGREES.mtu));
        }
    };
    each_difference_is_said_once_and_shown_until_both_agree(&ports, agree, |port| {
        bird.control(&format!("show ospf neighbors o{port}")).contains("Full")
    });
}

#[test]
fn what_frr_has_otherwise_is_said_once_by_its_name_and_shown_until_both_agree() {
    let test = "what_frr_has_otherwise_is_said_once_by_its_name_and_shown_until_both_agree";
    if !can_run(test, &["zebra", "ospfd", "vtysh"]) {
        return;
    }
    let ports = up("refused-frr", |port| (port, "eth0".to_owned()));
    let folder = |port: usize| ports.router.folder().join(format!("frr{port}"));
    let start = |(port, case): (usize, &Case)| Frr::start_in(&ports.outside[port], &folder(port), "ospfd", &frr(case));
    let neighbors: Vec<Frr> = CASES.iter().enumerate().map(start).collect();
    each_difference_is_said_once_and_shown_until_both_agree(
        &ports,
        |_, _| {},
        |port| neighbors[port].show("show ip ospf neighbor json").to_string().contains("Full"),
    );
}
