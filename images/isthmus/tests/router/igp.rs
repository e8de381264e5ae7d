//! What OSPF's routes carry: packets over several VRs, sessions from loopback to loopback, routes of other protocols.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Router, matching, sum};

/// red ─ blue ─ green, each link of cost 1, and red ─ green of cost 10; loopbacks are 192.0.2.1, 2 and 3.
const TRIANGLE: &str = include_str!("../../../examples/ospf-triangle.conf");

fn wait_for_ospf(router: &Router) {
    for (vr, others) in [("red", [2, 3]), ("blue", [1, 3]), ("green", [1, 2])] {
        for other in others {
            let prefix = format!("192.0.2.{other}/32");
            router.wait_for_row("show fib", &[("vr", vr), ("prefix", &prefix), ("action", "forward")]);
        }
    }
}

/// When a FIB of the triangle last changed, or a moment later: the time that an answer takes counts as if it had.
fn last_change(router: &Router) -> Instant {
    let of_vr = |vr: &str| {
        router.wait_for("show route download", |table| {
            let rows = matching(table, &[("vr", vr)]);
            rows.first().is_some_and(|row| row["prefixes_waiting"] == 0 && row["batches_unanswered"] == 0)
        });
        let row = router.rows("show route download", &[("vr", vr)]).remove(0);
        Instant::now() - Duration::from_secs_f64(row["last_change"].as_f64().unwrap())
    };
    ["red", "blue", "green"].into_iter().map(of_vr).max().unwrap()
}

#[test]
fn a_ping_across_vrs_goes_the_way_that_ospf_found_and_another_when_it_is_cut() {
    let router = Router::up("igp", TRIANGLE);
    wait_for_ospf(&router);
    let way = |address: &str, interface: &str| {
        router.wait_for("show route", |table| {
            let rows = matching(table, &[("vr", "red"), ("prefix", "192.0.2.3/32"), ("protocol", "ospf")]);
            rows.first().is_some_and(|row| row["next_hops"] == json!([{"address": address, "interface": interface}]))
        });
    };
    let forwarded = || router.rows("show stack counters", &[("vr", "blue")])[0]["packets_forwarded"].as_u64().unwrap();
    way("10.0.0.1", "blue");
    assert_eq!(router.sh("ping vr red 192.0.2.3 count 3")["received"], 3);
    let through_blue = forwarded();
    assert!(through_blue >= 3, "{through_blue}");
    // The way is cut. What is sent from then on may be lost until the last FIB has changed, and nothing that is sent later.
    let probe = || {
        let sent = Instant::now();
        (sent, router.try_sh("ping vr red 192.0.2.3 count 1").status.success())
    };
    router.sh("configure vr blue; interface green; shutdown");
    let during: Vec<(Instant, bool)> = std::iter::repeat_with(probe).take(3).collect();
    way("10.0.2.1", "green");
    let repaired = last_change(&router);
    let lost_later = during.iter().filter(|(sent, answered)| !answered && *sent > repaired).count();
    assert_eq!((lost_later, probe().1), (0, true), "{during:?}, repaired at {repaired:?}");
    let (before, answered) = (forwarded(), router.sh("ping vr red 192.0.2.3 count 3")["received"].clone());
    assert_eq!((forwarded() - before, answered), (0, 3.into()));
    router.sh("configure vr blue; interface green; no shutdown");
    way("10.0.0.1", "blue");
}

#[test]
fn the_log_of_all_vrs_is_in_the_order_of_time() {
    let router = Router::up("log-order", TRIANGLE);
    wait_for_ospf(&router);
    // Each of three has found two neighbors, at about the same time.
    let log = router.wait_for("show log", |log| log.to_string().matches(": Full after").count() >= 6);
    let times: Vec<&str> = log.as_array().unwrap().iter().filter_map(|line| line["time"].as_str()).collect();
    assert!(times.is_sorted(), "{log}");
}

#[test]
fn a_session_between_loopbacks_that_ospf_reaches_uses_the_channel_and_its_routes_resolve() {
    let router = Router::up("ibgp", TRIANGLE);
    wait_for_ospf(&router);
    for (vr, other) in [("red", "192.0.2.2"), ("blue", "192.0.2.1")] {
        let neighbor = format!("configure vr {vr}; router bgp 64500; neighbor {other}");
        router.sh(&format!("{neighbor}; remote-as 64500"));
        router.sh(&format!("{neighbor}; update-source Loopback0"));
    }
    router.sh("configure vr blue; router static; address-family ipv4 unicast; 203.0.113.0/24 Null0");
    router.sh("configure vr blue; router bgp 64500; address-family ipv4 unicast; network 203.0.113.0/24");
    let learned = [("vr", "red"), ("prefix", "203.0.113.0/24"), ("protocol", "bgp")];
    let row = router.wait_for_row("show route", &learned);
    assert_eq!(row["next_hops"], json!([{"address": "192.0.2.2", "interface": "blue"}]));
    let side = |router: &Router| router.rows("show inter-vr", &[("vr", "red"), ("interface", "blue")])[0].clone();
    assert_eq!(side(&router)["connections"], 1, "the session is over the channel");
    assert_eq!(sum(&router.sh("show stack counters"), "packets_sent"), 0, "the stack moved nothing of it");
    // The RIB of red restarts: the session stays, OSPF and BGP tell their routes again, and packets pass meanwhile.
    let up_for = |router: &Router| router.rows("show bgp summary", &[("vr", "red")])[0]["up_for"].as_f64();
    let before = up_for(&router);
    let ping = thread::scope(|scope| {
        let ping = scope.spawn(|| router.sh("ping vr red 192.0.2.3 count 4"));
        router.kill_and_await("red", "rib");
        ping.join().unwrap()
    });
    assert_eq!(ping["received"], 4, "{ping}");
    router.wait_for_row("show route", &learned);
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "192.0.2.3/32"), ("protocol", "ospf")]);
    assert!(up_for(&router) > before, "the session did not move");
    let by_blue = router.rows("show stack counters", &[("vr", "blue")])[0]["packets_forwarded"].clone();
    assert_eq!(by_blue, 8, "four requests and four replies");
}

#[test]
fn static_routes_are_told_by_ospf_as_a_prefix_set_and_a_tag_choose_and_by_bgp_what_ospf_has() {
    let router = Router::up("redistribute", TRIANGLE);
    router.sh("configure vr red; prefix-set OURS; 203.0.113.0/24 le 32");
    for line in ["203.0.113.0/25 Null0 tag 7", "203.0.113.128/25 Null0", "198.51.100.0/24 Null0 tag 7"] {
        router.sh(&format!("configure vr red; router static; address-family ipv4 unicast; {line}"));
    }
    let redistribute = |line: &str| router.sh(&format!("configure vr red; router ospf 1; redistribute static; {line}"));
    redistribute("metric 33");
    redistribute("match prefix-set OURS");
    redistribute("match tag 7");
    let row = router.wait_for_row("show route", &[("vr", "blue"), ("prefix", "203.0.113.0/25"), ("protocol", "ospf")]);
    assert_eq!((&row["metric"], &row["tag"]), (&33.into(), &7.into()));
    let is_gone = |prefix: &str| {
        router.wait_for("show route", |table| matching(table, &[("vr", "blue"), ("prefix", prefix)]).is_empty());
    };
    is_gone("203.0.113.128/25");
    is_gone("198.51.100.0/24");
    router.wait_for_row("show ospf database external", &[("vr", "green"), ("link_state_id", "203.0.113.0")]);
    // Without the tag, the other half as well; without the set, everything.
    router.sh("configure vr red; router ospf 1; redistribute static; no match tag 7");
    router.wait_for_row("show route", &[("vr", "blue"), ("prefix", "203.0.113.128/25"), ("protocol", "ospf")]);
    assert!(router.rows("show route", &[("vr", "blue"), ("prefix", "198.51.100.0/24")]).is_empty());
    // What OSPF has, BGP of green announces: beside its own loopback that of red, and what red is told of.
    router.sh("configure vr green; router bgp 64500; address-family ipv4 unicast; redistribute ospf");
    for prefix in ["192.0.2.1/32", "203.0.113.0/25"] {
        router.wait_for_row("show bgp", &[("vr", "green"), ("prefix", prefix), ("origin", "incomplete")]);
    }
    router.sh("configure vr red; router ospf 1; no redistribute static");
    is_gone("203.0.113.0/25");
    router.wait_for("show bgp", |table| matching(table, &[("vr", "green"), ("prefix", "203.0.113.0/25")]).is_empty());
}

#[test]
fn two_ospf_processes_of_a_vr_hear_the_same_hellos() {
    let router = Router::up("instances", TRIANGLE);
    wait_for_ospf(&router);
    // Of another area, so that it can be no neighbor of anybody: it hears blue, and blue hears it.
    let second = "configure vr red; router ospf 2";
    router.sh(&format!("{second}; router-id 192.0.2.201"));
    router.sh(&format!("{second}; area 7; interface blue; network point-to-point"));
    let refused = |vr: &str, process: &str, why: &str| {
        router.wait_for_row("show ospf interface", &[("vr", vr), ("process", process), ("refused_because", why)]);
    };
    refused("red", "2", "area 0.0.0.0 there, 0.0.0.7 here");
    refused("blue", "1", "area 0.0.0.7 there, 0.0.0.0 here");
    let full = [("vr", "red"), ("process", "1"), ("interface", "blue"), ("state", "Full")];
    assert_eq!(router.rows("show ospf neighbor", &full).len(), 1);
    // With a number of its own on the link, and somebody who has the same, it has a neighbor, too (RFC 6549).
    for (vr, peer, number) in [("blue", "red", 202), ("red", "blue", 201)] {
        let process = format!("configure vr {vr}; router ospf 2");
        router.sh(&format!("{process}; router-id 192.0.2.{number}"));
        router.sh(&format!("{process}; area 7; interface {peer}; network point-to-point"));
        router.sh(&format!("{process}; area 7; interface {peer}; instance-id 2"));
    }
    for (vr, process) in [("red", "1"), ("red", "2"), ("blue", "1"), ("blue", "2")] {
        let peer = if vr == "red" { "blue" } else { "red" };
        let full = [("vr", vr), ("process", process), ("interface", peer), ("state", "Full")];
        router.wait_for_row("show ospf neighbor", &full);
    }
    assert_eq!(router.rows("show ospf", &[("vr", "red")]).len(), 2);
}

/// red reaches blue's 192.0.2.9 over north and over south, at equal cost, from sixteen addresses of its own.
fn two_ways() -> String {
    let mut text =
        "vr red\n!\nvr north\n!\nvr south\n!\nvr blue\n!\nconnect red north\nconnect red south\nconnect north blue\n\
                    connect south blue\n!\nvr blue\n interface Loopback0\n  ipv4 address 192.0.2.9/32\n !\n!\n"
            .to_owned();
    let interface = |name: &str, address: &str| format!(" interface {name}\n  ipv4 address {address}/31\n !\n");
    let statics = |lines: &[&str]| {
        let lines: String = lines.iter().map(|line| format!("   {line}\n")).collect();
        format!(" router static\n  address-family ipv4 unicast\n{lines}  !\n !\n")
    };
    text += &format!("vr red\n{}{}", interface("north", "10.0.0.0"), interface("south", "10.0.1.0"));
    text += &format!("{}!\n", statics(&["192.0.2.9/32 10.0.0.1", "192.0.2.9/32 10.0.1.1"]));
    for (vr, own, back, on) in [("north", "10.0.0.1", "10.0.0.0", 2), ("south", "10.0.1.1", "10.0.1.0", 3)] {
        text += &format!("vr {vr}\n{}{}", interface("red", own), interface("blue", &format!("10.0.{on}.0")));
        let ways = [format!("192.0.2.9/32 10.0.{on}.1"), format!("198.51.100.0/24 {back}")];
        text += &format!("{}!\n", statics(&[&ways[0], &ways[1]]));
    }
    text += &format!("vr blue\n{}{}", interface("north", "10.0.2.1"), interface("south", "10.0.3.1"));
    text += &format!("{}!\n", statics(&["198.51.100.0/24 10.0.2.0", "198.51.100.0/24 10.0.3.0"]));
    for n in 1..=16 {
        text += &format!("vr red\n interface Loopback{n}\n  ipv4 address 198.51.100.{n}/32\n !\n!\n");
    }
    text
}

#[test]
fn packets_spread_over_equal_static_routes_and_all_take_the_other_when_one_is_gone() {
    let router = Router::up("ecmp", &two_ways());
    let has_ways = |expected: serde_json::Value| {
        router.wait_for("show route", |table| {
            matching(table, &[("vr", "red"), ("prefix", "192.0.2.9/32")]).iter().any(|row| row["next_hops"] == expected)
        });
    };
    let (north, south) =
        (json!({"address": "10.0.0.1", "interface": "north"}), json!({"address": "10.0.1.1", "interface": "south"}));
    for vr in ["red", "blue"] {
        let prefix = if vr == "red" { "192.0.2.9/32" } else { "198.51.100.0/24" };
        router.wait_for_row("show fib", &[("vr", vr), ("prefix", prefix), ("action", "forward")]);
    }
    let forwarded =
        |vr: &str| router.rows("show stack counters", &[("vr", vr)])[0]["packets_forwarded"].as_u64().unwrap();
    // From each address once: packets that each of the two forwarded meanwhile.
    let ping_all = || {
        let before = (forwarded("north"), forwarded("south"));
        for n in 1..=16 {
            let answer = router.sh(&format!("ping vr red 192.0.2.9 source 198.51.100.{n} count 1"));
            assert_eq!(answer["received"], 1, "from 198.51.100.{n}");
        }
        (forwarded("north") - before.0, forwarded("south") - before.1)
    };
    has_ways(json!([north, south]));
    let (by_north, by_south) = ping_all();
    assert!(by_north > 0 && by_south > 0 && by_north + by_south == 32, "{by_north} and {by_south}");
    // One of red's two is withdrawn, then the interface of blue's other answers goes down: nothing is lost.
    let line = "configure vr red; router static; address-family ipv4 unicast;";
    router.sh(&format!("{line} no 192.0.2.9/32 10.0.0.1"));
    router.sh("configure vr blue; interface north; shutdown");
    has_ways(json!([south]));
    router.wait_for("show route", |table| {
        let rows = matching(table, &[("vr", "blue"), ("prefix", "198.51.100.0/24")]);
        rows.iter().any(|row| row["next_hops"] == json!([{"address": "10.0.3.0", "interface": "south"}]))
    });
    assert_eq!(ping_all(), (0, 32));
    router.sh(&format!("{line} 192.0.2.9/32 10.0.0.1"));
    has_ways(json!([north, south]));
}
