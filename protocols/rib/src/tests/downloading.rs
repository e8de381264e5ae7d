//! What the FIB is told, and when.

use super::*;
use crate::download::{MAX_BATCH, MAX_OUTSTANDING};

/// All changes of the messages, in order.
fn changes(downloads: &[FibRequest]) -> Vec<&FibChange> {
    let batches = downloads.iter().filter_map(|request| match request {
        FibRequest::Batch { changes, .. } => Some(changes),
        FibRequest::Begin | FibRequest::End => None,
    });
    batches.flatten().collect()
}

#[test]
fn what_a_former_rib_left_in_the_fib_is_swept_only_after_the_protocols_are_back() {
    let mut world = World::new();
    let left = ["203.0.113.0/24", "198.51.100.0/24"].map(|prefix| prefix.parse::<IpNet>().unwrap());
    world.fib = left.map(|prefix| (prefix, vec![FibNextHop::Discard])).into();
    world.input(Input::FibUp);
    world.input(Input::Interfaces(vec![interface("blue 10.0.0.0/31", true)]));
    assert!(world.downloads.is_empty() && !world.rib.is_ready());
    world.input(Input::Configured(RibConfig::default()));
    assert!(world.rib.is_ready());
    world.join(BGP, "bgp");
    world.pass(60);
    assert_eq!(world.fib.len(), 3);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.input(Input::Request(BGP, RibRequest::EndOfRoutes));
    world.pass(0);
    assert_eq!(world.fib.len(), 2);
    assert_eq!(world.downloads.last(), Some(&FibRequest::End));
}

#[test]
fn a_restarted_fib_gets_everything_again_between_begin_and_end() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.input(Input::FibDown);
    world.fib.clear();
    world.downloads.clear();
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    assert!(world.downloads.is_empty() && !world.rib.is_ready());
    world.input(Input::FibUp);
    assert_eq!(world.downloads.first(), Some(&FibRequest::Begin));
    assert_eq!(world.downloads.last(), Some(&FibRequest::End));
    assert_eq!(changes(&world.downloads).len(), 3);
    assert_eq!(world.fib.len(), 3);
}

#[test]
fn a_rib_without_routes_is_ready_without_an_answer() {
    let mut world = World::new();
    world.input(Input::Configured(RibConfig::default()));
    world.input(Input::Interfaces(Vec::new()));
    assert!(!world.rib.is_ready());
    world.input(Input::FibUp);
    assert!(world.rib.is_ready());
}

#[test]
fn a_busy_fib_is_sent_a_few_batches_and_then_only_the_last_state() {
    let mut rib = World::settled(&["blue 10.0.0.0/31"]).rib;
    let send = |rib: &mut Rib, hop: &str| {
        let many = (0..6 * MAX_BATCH).map(|n| format!("20.{}.{}.0/24 20 {hop}", n / 256, n % 256));
        let changes = many.map(|text| RouteChange::Add(route(&text))).collect();
        rib.handle_input(Time::ZERO, Input::Request(BGP, RibRequest::Routes(changes)));
        let mut batches = Vec::new();
        while let Some(output) = rib.poll_output() {
            if let Output::Fib(FibRequest::Batch { ticket, changes }) = output {
                batches.push((ticket, changes));
            }
        }
        batches
    };
    let first = send(&mut rib, "10.0.0.1");
    assert_eq!(first.len(), MAX_OUTSTANDING);
    assert!(first.iter().all(|(_, changes)| changes.len() == MAX_BATCH));
    assert_eq!(send(&mut rib, "Null0"), [], "the FIB has answered nothing");
    let mut sent = 0;
    let mut tickets: Vec<u64> = first.into_iter().map(|(ticket, _)| ticket).collect();
    while let Some(ticket) = tickets.pop() {
        rib.handle_input(Time::ZERO, Input::Fib(FibReply::Applied { ticket }));
        while let Some(output) = rib.poll_output() {
            let Output::Fib(FibRequest::Batch { ticket, changes }) = output else { panic!("{output:?}") };
            sent += changes.len();
            assert!(changes.iter().all(|change| matches!(change,
                FibChange::Add { next_hops, .. } if next_hops == &[FibNextHop::Discard])));
            tickets.push(ticket);
        }
    }
    assert_eq!(sent, 6 * MAX_BATCH, "each prefix once, as it is now");
}

#[test]
fn one_route_that_the_fib_refuses_does_not_keep_the_others_out() {
    let mut world = World::settled(&["blue 10.0.0.0/31", "green 10.0.1.0/31"]);
    world.add(OSPF, "20.0.3.0/24 110 blue");
    world.unknown.push(name("green"));
    let routes = (0..7).map(|n| format!("20.0.{n}.0/24 20 {}", if n == 3 { "10.0.1.1" } else { "10.0.0.1" }));
    let changes = routes.map(|text| RouteChange::Add(route(&text))).collect();
    world.input(Input::Request(BGP, RibRequest::Routes(changes)));
    let there: Vec<bool> = (0..7).map(|n| world.hops(&format!("20.0.{n}.0/24")).is_some()).collect();
    assert_eq!(there, [true, true, true, false, true, true, true], "a refused one leaves no former state behind");
    assert!(world.logs.iter().any(|line| line.contains("20.0.3.0/24") && line.contains("no interface green")));
    // When interfaces change, it is tried again.
    world.unknown.clear();
    world.interface("grey 10.0.2.0/31", true);
    assert_eq!(world.hops("20.0.3.0/24").unwrap(), "green:10.0.1.1");
}
