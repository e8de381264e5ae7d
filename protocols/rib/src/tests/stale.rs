//! What becomes of the routes of a protocol that goes away.

use super::*;

#[test]
fn routes_of_a_protocol_that_died_stay_until_it_sent_all_again() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    world.input(Input::ClientLeft(BGP));
    world.pass(60);
    assert_eq!(world.fib.len(), 3);
    let again = Client(9);
    world.join(again, "bgp");
    world.add(again, "203.0.113.0/24 20 10.0.0.1");
    assert_eq!(world.fib.len(), 3);
    world.input(Input::Request(again, RibRequest::EndOfRoutes));
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1");
    assert_eq!(world.hops("198.51.100.0/24"), None);
    world.pass(1000);
    assert_eq!(world.fib.len(), 2);
}

#[test]
fn stale_routes_go_when_their_time_is_over() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.add(OSPF, "203.0.113.0/24 110 blue");
    world.input(Input::ClientLeft(BGP));
    world.pass(119);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1");
    world.pass(1);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue");
    assert_eq!(world.rib.poll_timeout(), None);
}

#[test]
fn a_protocol_that_came_back_and_never_says_that_it_is_done_is_swept_too() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    world.input(Input::ClientLeft(BGP));
    world.pass(100);
    world.join(Client(9), "bgp");
    world.add(Client(9), "203.0.113.0/24 20 10.0.0.1");
    world.pass(100);
    assert_eq!(world.fib.len(), 3);
    world.pass(20);
    assert_eq!(world.fib.len(), 2);
}

#[test]
fn a_new_process_replaces_the_old_one_even_before_that_is_seen_to_be_gone() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.join(Client(9), "bgp");
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    assert_eq!(world.hops("198.51.100.0/24"), None, "the former process has no say any more");
    world.add(Client(9), "203.0.113.0/24 20 10.0.0.1");
    world.input(Input::ClientLeft(BGP));
    world.input(Input::Request(Client(9), RibRequest::EndOfRoutes));
    world.pass(1000);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1");
}

#[test]
fn a_route_sent_again_as_it_was_keeps_its_age_and_is_not_downloaded_again() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    let downloads = world.downloads.len();
    world.input(Input::ClientLeft(BGP));
    world.join(Client(9), "bgp");
    world.pass(10);
    world.add(Client(9), "203.0.113.0/24 20 10.0.0.1");
    world.input(Input::Request(Client(9), RibRequest::EndOfRoutes));
    assert_eq!(world.downloads.len(), downloads);
    let (candidate, _) = world.rib.table().get("203.0.113.0/24".parse().unwrap()).unwrap().selected().unwrap();
    assert_eq!(world.now.since(candidate.since).as_secs(), 10);
}

#[test]
fn a_protocol_that_is_stopped_in_order_takes_its_routes_with_it() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.add(OSPF, "198.51.100.0/24 110 blue");
    world.input(Input::Request(BGP, RibRequest::Leave));
    world.input(Input::ClientLeft(BGP));
    assert_eq!(world.hops("203.0.113.0/24"), None);
    assert_eq!(world.hops("198.51.100.0/24").unwrap(), "blue");
    assert_eq!(world.rib.poll_timeout(), None);
}

#[test]
fn the_operator_says_how_long_stale_routes_stay() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.input(Input::Configured(RibConfig { stale_time: Duration::from_secs(7), ..RibConfig::default() }));
    world.input(Input::ClientLeft(BGP));
    world.pass(6);
    assert!(world.hops("203.0.113.0/24").is_some());
    world.pass(1);
    assert_eq!(world.hops("203.0.113.0/24"), None);

    world.add(OSPF, "198.51.100.0/24 110 10.0.0.1");
    world.input(Input::Configured(RibConfig { stale_time: Duration::ZERO, ..RibConfig::default() }));
    world.input(Input::ClientLeft(OSPF));
    world.pass(0);
    assert_eq!(world.hops("198.51.100.0/24"), None);
}
