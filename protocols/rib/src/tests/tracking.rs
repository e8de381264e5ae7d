//! Tracked next hops and prefixes, and the manager's questions.

use sdk::rib::Reached;
use vr_api::manager::RibQuestion;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn next_hop(text: &str, reached: Option<(u32, bool, &str)>) -> RibUpdate {
    let reached =
        reached.map(|(metric, connected, interface)| Reached { metric, connected, interface: name(interface) });
    RibUpdate::NextHop { address: address(text), reached }
}

fn track(world: &mut World, client: Client, text: &str) {
    world.input(Input::Request(client, RibRequest::TrackNextHop(address(text))));
}

#[test]
fn a_tracked_next_hop_is_answered_now_and_at_each_change_and_only_then() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    track(&mut world, BGP, "10.0.0.1");
    track(&mut world, BGP, "192.0.2.2");
    assert_eq!(
        world.take_updates(),
        [(BGP, next_hop("10.0.0.1", Some((0, true, "blue")))), (BGP, next_hop("192.0.2.2", None))]
    );
    world.add(OSPF, "192.0.2.2/32 110 blue@10.0.0.1");
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.2", Some((0, false, "blue"))))]);
    world.add(OSPF, "192.0.2.2/32 111 blue@10.0.0.1");
    assert_eq!(world.take_updates(), []);
    world.interface("blue 10.0.0.0/31", false);
    assert_eq!(world.take_updates(), [(BGP, next_hop("10.0.0.1", None)), (BGP, next_hop("192.0.2.2", None))]);
    world.input(Input::Request(BGP, RibRequest::UntrackNextHop(address("10.0.0.1"))));
    world.interface("blue 10.0.0.0/31", true);
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.2", Some((0, false, "blue"))))]);
}

#[test]
fn whoever_tracks_a_next_hop_is_told_at_once_of_another_metric_and_of_another_way() {
    let mut world = World::settled(&["blue 10.0.0.0/31", "green 10.0.1.0/31"]);
    world.add(OSPF, "192.0.2.2/32 110 metric=10 blue@10.0.0.1");
    track(&mut world, BGP, "192.0.2.2");
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.2", Some((10, false, "blue"))))]);
    world.add(OSPF, "192.0.2.2/32 110 metric=20 blue@10.0.0.1");
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.2", Some((20, false, "blue"))))]);
    world.add(OSPF, "192.0.2.2/32 110 metric=20 green@10.0.1.1");
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.2", Some((20, false, "green"))))]);
    world.add(OSPF, "192.0.2.2/32 110 metric=20 green@10.0.1.1");
    assert_eq!(world.take_updates(), [], "nothing is different");
}

#[test]
fn a_next_hop_behind_a_discarding_route_is_reached_through_null0() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.statics(&["192.0.2.66/32 Null0"]);
    track(&mut world, BGP, "192.0.2.66");
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.66", Some((0, false, "Null0"))))]);
}

#[test]
fn a_tracked_prefix_counts_other_protocols_routes_only() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    let prefix: IpNet = "198.51.100.0/24".parse().unwrap();
    let told = |metric| [(BGP, RibUpdate::Prefix { prefix, metric })];
    world.input(Input::Request(BGP, RibRequest::TrackPrefix(prefix)));
    assert_eq!(world.take_updates(), told(None));
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    assert_eq!(world.take_updates(), []);
    world.statics(&["198.51.100.0/24 Null0 200"]);
    assert_eq!(world.take_updates(), told(Some(0)));
    world.statics(&[]);
    assert_eq!(world.take_updates(), told(None));
    world.statics(&["198.51.0.0/16 Null0"]);
    assert_eq!(world.take_updates(), [], "another length is another prefix");
}

#[test]
fn the_manager_learns_the_outgoing_interface_of_each_address() {
    let mut world = World::settled(&["blue 10.0.0.0/31", "Loopback0 192.0.2.1/32"]);
    world.statics(&["192.0.2.66/32 Null0"]);
    let ask = ["10.0.0.1", "192.0.2.1", "192.0.2.2", "192.0.2.66"].map(address).to_vec();
    world.input(Input::Question(RibQuestion::Track(ask)));
    let expected = vec![
        (address("10.0.0.1"), Some(name("blue"))),
        (address("192.0.2.1"), None),
        (address("192.0.2.2"), None),
        (address("192.0.2.66"), None),
    ];
    assert_eq!(std::mem::take(&mut world.answers), [RibAnswer::Reachable(expected)]);
    world.add(BGP, "192.0.2.2/32 20 10.0.0.1");
    let moved = RibAnswer::Reachable(vec![(address("192.0.2.2"), Some(name("blue")))]);
    assert_eq!(std::mem::take(&mut world.answers), [moved]);
    // A new question replaces the former one and is answered whole.
    world.input(Input::Question(RibQuestion::Track(vec![address("10.0.0.1")])));
    assert_eq!(std::mem::take(&mut world.answers).len(), 1);
    world.remove(BGP, "192.0.2.2/32");
    assert_eq!(world.answers, []);
}

#[test]
fn a_rib_that_is_new_tells_what_is_there_at_once_and_what_is_not_only_when_it_is_sure() {
    let mut world = World::new();
    world.join(BGP, "bgp");
    for text in ["10.0.0.1", "192.0.2.2", "192.0.2.3"] {
        track(&mut world, BGP, text);
    }
    world.input(Input::Configured(RibConfig::default()));
    assert_eq!(world.take_updates(), []);
    world.input(Input::Interfaces(vec![interface("blue 10.0.0.0/31", true)]));
    assert_eq!(world.take_updates(), [(BGP, next_hop("10.0.0.1", Some((0, true, "blue"))))]);
    world.join(OSPF, "ospf");
    world.pass(30);
    assert_eq!(world.take_updates(), [], "neither said that it sent everything");
    world.add(OSPF, "192.0.2.2/32 110 blue@10.0.0.1");
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.2", Some((0, false, "blue"))))]);
    world.input(Input::Request(OSPF, RibRequest::EndOfRoutes));
    world.input(Input::Request(BGP, RibRequest::EndOfRoutes));
    world.pass(0);
    assert_eq!(world.take_updates(), [(BGP, next_hop("192.0.2.3", None))]);
}

#[test]
fn a_client_that_left_is_told_nothing() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    track(&mut world, BGP, "10.0.0.1");
    world.input(Input::Request(BGP, RibRequest::TrackPrefix("198.51.100.0/24".parse().unwrap())));
    world.take_updates();
    world.input(Input::ClientLeft(BGP));
    world.interface("blue 10.0.0.0/31", false);
    world.statics(&["198.51.100.0/24 Null0"]);
    assert_eq!(world.take_updates(), []);
}
