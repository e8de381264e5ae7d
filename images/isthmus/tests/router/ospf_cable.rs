//! OSPF's triangle of three VRs, joined inside the box and by cables outside it: the same tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use crate::support::{Router, wait_until};

/// red, blue and green, each joined with each.
pub const TRIANGLE: &str = include_str!("../../../examples/ospf-triangle.conf");

/// Cables, each with the VRs at its two ends.
const CABLES: [(&str, &str); 3] = [("red", "blue"), ("blue", "green"), ("red", "green")];

/// The port of a VR that leads to another one.
pub fn port(vr: &str, peer: &str) -> String {
    let cable = CABLES.iter().position(|ends| *ends == (vr, peer) || *ends == (peer, vr)).unwrap();
    format!("Port0/0/{}", 2 * cable + usize::from(CABLES[cable].1 == vr))
}

/// The same configuration with a cable in place of each `connect`: interfaces are named otherwise, nothing else is.
pub fn wired() -> String {
    let mut text = String::from("linecard 0/0\n");
    for cable in 0..CABLES.len() {
        for (end, other) in [("a", "b"), ("b", "a")] {
            let number = 2 * cable + usize::from(end == "b");
            writeln!(text, " port {number}\n  driver cable local ./{cable}{end}.sock remote ./{cable}{other}.sock\n !")
                .unwrap();
        }
    }
    text += "!\n";
    let mut vr = "";
    let mut seen = BTreeSet::new();
    for line in TRIANGLE.lines().filter(|line| !line.starts_with("connect ")) {
        if let Some(name) = line.strip_prefix("vr ") {
            vr = name;
        }
        match line.trim().strip_prefix("interface ") {
            Some(peer) if peer != "Loopback0" => {
                let indent = &line[..line.len() - line.trim_start().len()];
                writeln!(text, "{indent}interface {}", port(vr, peer)).unwrap();
            }
            Some(_) | None => writeln!(text, "{line}").unwrap(),
        }
        if line.starts_with("vr ") && seen.insert(vr) {
            let peers = CABLES.iter().filter(|(a, b)| *a == vr || *b == vr);
            for (a, b) in peers {
                let peer = if *a == vr { b } else { a };
                writeln!(text, " assign port {}", &port(vr, peer)["Port".len()..]).unwrap();
            }
        }
    }
    text
}

/// Rows of a table as text, with these columns only.
fn rows(router: &Router, command: &str, columns: &[&str]) -> BTreeSet<String> {
    let table = router.sh(command);
    // A router's links come in the order of its interfaces' names.
    let cell = |value: &Value| match value {
        Value::Array(values) => {
            let mut texts: Vec<String> = values.iter().map(Value::to_string).collect();
            texts.sort();
            texts.join(", ")
        }
        other => other.to_string(),
    };
    let row = |row: &Value| columns.iter().map(|column| cell(&row[column])).collect::<Vec<_>>().join(" ");
    table.as_array().into_iter().flatten().map(row).collect()
}

/// A table of routes with the addresses of the next hops, whose interfaces are named otherwise.
fn routes(router: &Router, command: &str, columns: &[&str]) -> BTreeSet<String> {
    let table = router.sh(command);
    let row = |row: &Value| {
        let addresses = row["next_hops"].as_array().into_iter().flatten().map(|hop| hop["address"].to_string());
        // Ways of equal cost come in the order of their interfaces' names.
        let mut addresses: Vec<String> = addresses.collect();
        addresses.sort();
        let cells: Vec<String> = columns.iter().map(|column| row[column].to_string()).collect();
        format!("{} via {}", cells.join(" "), addresses.join(" "))
    };
    table.as_array().into_iter().flatten().map(row).collect()
}

#[test]
fn inter_vr_interfaces_and_cables_give_the_same_databases_and_tables() {
    let joined = Router::up("ospf-joined", TRIANGLE);
    let cabled = Router::up("ospf-cabled", &wired());
    let tables = |router: &Router| {
        [
            // What an LSA says, without the number of its instance.
            rows(
                router,
                "show ospf database",
                &["vr", "area", "type", "link_state_id", "advertising_router", "contents"],
            ),
            rows(router, "show ospf neighbor", &["vr", "neighbor_id", "address", "state"]),
            routes(router, "show ospf route", &["vr", "prefix", "type", "area", "cost"]),
            routes(router, "show route", &["vr", "prefix", "protocol", "distance", "metric"]),
        ]
    };
    let is_whole = |tables: &[BTreeSet<String>; 4]| {
        let learned = tables[3].iter().filter(|route| route.contains("\"ospf\""));
        tables[0].len() == 9 && tables[1].iter().all(|row| row.contains("Full")) && learned.count() == 9
    };
    let mut last = (tables(&joined), tables(&cabled));
    let seen = wait_until(|| {
        last = (tables(&joined), tables(&cabled));
        (is_whole(&last.0) && last.0 == last.1).then_some(())
    });
    let different = || last.0.iter().zip(&last.1).flat_map(|(one, other)| one.symmetric_difference(other));
    assert!(seen.is_some(), "{:#?}\nonly one has {:#?}", last.0, different().collect::<Vec<_>>());
    let packets = |router: &Router| router.rows("show stack counters", &[("vr", "")])[0]["frames_sent"].as_u64();
    assert_eq!((packets(&joined), packets(&cabled) > Some(0)), (Some(0), true), "the one without a frame");
}
