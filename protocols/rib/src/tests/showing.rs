//! The tables.

use std::time::Duration;

use super::*;
use crate::show::ShowError;
use vr_api::show::{Row, Value};

fn show(world: &World, table: &str, arguments: &[&str]) -> Result<Vec<Row>, ShowError> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let mut cursor = world.rib.show(world.now, table, &arguments)?;
    let mut rows = Vec::new();
    loop {
        let more = world.rib.show_more(world.now, &mut cursor, 2);
        if more.is_empty() {
            return Ok(rows);
        }
        rows.extend(more);
    }
}

fn prefixes(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| if let Value::Text(text) = &row[0] { text.clone() } else { panic!("{row:?}") }).collect()
}

fn world() -> World {
    let mut world = World::settled(&["blue 10.0.0.0/31", "Loopback0 192.0.2.1/32"]);
    world.statics(&["198.51.100.0/24 Null0", "192.0.2.2/32 10.0.0.1", "20.0.0.0/8 30.0.0.1"]);
    world.add(BGP, "203.0.113.0/24 20 192.0.2.2");
    world
}

#[test]
fn routes_are_listed_in_order_with_their_own_next_hops_and_the_interface_that_leads_there() {
    let mut world = world();
    world.pass(7);
    let rows = show(&world, "route", &[]).unwrap();
    assert_eq!(prefixes(&rows), ["10.0.0.0/31", "192.0.2.1/32", "192.0.2.2/32", "198.51.100.0/24", "203.0.113.0/24"]);
    let hop = |address: Option<&str>, interface: &str| {
        let object = vec![("address".to_owned(), address.into()), ("interface".to_owned(), interface.into())];
        Value::List(vec![Value::Object(object)])
    };
    let row = |prefix: &str, protocol: &str, distance: u32, hops: Value, age: u64| {
        vec![prefix.into(), protocol.into(), distance.into(), 0u32.into(), hops, age.into(), 0u32.into()]
    };
    assert_eq!(rows[0], row("10.0.0.0/31", "connected", 0, hop(None, "blue"), 13));
    assert_eq!(rows[3], row("198.51.100.0/24", "static", 1, hop(None, "Null0"), 7));
    assert_eq!(rows[4], row("203.0.113.0/24", "bgp", 20, hop(Some("192.0.2.2"), "blue"), 7));
    let table = &crate::show::tables()[0];
    assert_eq!(table.columns.len(), rows[0].len() + 1, "the column vr is put in front by the process");
}

#[test]
fn routes_of_ipv6_follow_those_of_ipv4() {
    let mut world = World::settled(&["blue 10.0.0.0/31 2001:db8:a::/127", "Loopback0 2001:db8::1/128"]);
    world.statics(&["2001:db8::2/128 2001:db8:a::1", "2001:db8:ffff::/48 blue fe80::7", "2001:db8:2::/48 2001:db8::2"]);
    let rows = show(&world, "route", &[]).unwrap();
    let wanted = [
        "10.0.0.0/31",
        "2001:db8::1/128",
        "2001:db8::2/128",
        "2001:db8:2::/48",
        "2001:db8:a::/127",
        "2001:db8:ffff::/48",
    ];
    assert_eq!(prefixes(&rows), wanted);
    assert_eq!(prefixes(&show(&world, "route", &["2001:db8:2::9"]).unwrap()), ["2001:db8:2::/48"]);
    assert_eq!(world.hops("2001:db8::2/128").as_deref(), Some("blue:2001:db8:a::1"));
    assert_eq!(world.hops("2001:db8:2::/48").as_deref(), Some("blue:2001:db8:a::1"), "through a route of its own");
    assert_eq!(world.hops("2001:db8:ffff::/48").as_deref(), Some("blue:fe80::7"));
    world.interface("blue 10.0.0.0/31 2001:db8:a::/127", false);
    assert_eq!(world.hops("2001:db8:2::/48"), None, "its way is gone");
}

#[test]
fn an_address_shows_its_longest_match_and_a_prefix_itself() {
    let world = world();
    assert_eq!(prefixes(&show(&world, "route", &["203.0.113.9"]).unwrap()), ["203.0.113.0/24"]);
    assert_eq!(prefixes(&show(&world, "route", &["203.0.113.0/24"]).unwrap()), ["203.0.113.0/24"]);
    assert_eq!(show(&world, "route", &["203.0.113.0/25"]).unwrap(), Vec::<Row>::new());
    assert_eq!(show(&world, "route", &["20.0.0.1"]).unwrap(), Vec::<Row>::new(), "that one is not in force");
}

#[test]
fn the_summary_counts_best_routes() {
    let rows = show(&world(), "route summary", &[]).unwrap();
    let row = |protocol: &str, routes: u64| vec![protocol.into(), routes.into()];
    assert_eq!(rows, [row("connected", 2), row("static", 2), row("bgp", 1)]);
}

#[test]
fn the_download_says_what_waits_and_when_the_fib_last_changed() {
    let mut world = world();
    let row = |acknowledged: bool, prefixes: u64, batches: u64, last: f64| {
        vec![Row::from(vec![acknowledged.into(), prefixes.into(), batches.into(), last.into()])]
    };
    assert_eq!(show(&world, "route download", &[]).unwrap(), row(true, 0, 0, 0.0));
    // A FIB that does not answer.
    let change = RouteChange::Add(route("20.0.9.0/24 20 10.0.0.1"));
    let (changed, asked) = (world.now + Duration::from_secs(1), world.now + Duration::from_secs(3));
    world.rib.handle_input(changed, Input::Request(BGP, RibRequest::Routes(vec![change])));
    while world.rib.poll_output().is_some() {}
    let mut cursor = world.rib.show(asked, "route download", &[]).unwrap();
    assert_eq!(world.rib.show_more(asked, &mut cursor, 9), row(true, 0, 1, 3.0));
}

#[test]
fn what_cannot_be_shown_is_said() {
    let world = world();
    let error = |table: &str, arguments: &[&str]| show(&world, table, arguments).unwrap_err().to_string();
    assert_eq!(error("routes", &[]), "no table `routes`");
    assert_eq!(error("route", &["blue"]), "`blue` is neither a prefix nor an address");
    assert_eq!(error("route", &["10.0.0.1", "x"]), "`x` is one word too many");
    assert_eq!(error("route summary", &["x"]), "`x` is one word too many");
}
