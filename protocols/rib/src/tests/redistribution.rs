//! Routes that a protocol passes on for others.

use sdk::rib::{PrefixMatch, RedistributedChange, Redistribution};

use super::*;

fn wants(protocol: &str) -> Redistribution {
    Redistribution { protocol: protocol.to_owned(), prefixes: None, tag: None }
}

fn within(prefix: &str, min_length: u8, max_length: u8) -> Option<Vec<PrefixMatch>> {
    Some(vec![PrefixMatch { prefix: prefix.parse().unwrap(), min_length, max_length }])
}

fn ask(world: &mut World, client: Client, wanted: Vec<Redistribution>) {
    world.input(Input::Request(client, RibRequest::Redistribute(wanted)));
}

/// What was told: `203.0.113.0/24 static 0 tag 7 Null0`, `no 203.0.113.0/24`, `complete`.
fn told(world: &mut World, of: Client) -> Vec<String> {
    let mut lines = Vec::new();
    for (client, update) in world.take_updates() {
        assert_eq!(client, of);
        match update {
            RibUpdate::Redistributed(changes) => lines.extend(changes.iter().map(line)),
            RibUpdate::RedistributionComplete => lines.push("complete".to_owned()),
            other => panic!("{other:?}"),
        }
    }
    lines
}

fn line(change: &RedistributedChange) -> String {
    match change {
        RedistributedChange::Set(route) => {
            let hop = match (&route.interface, route.next_hop) {
                (Some(interface), Some(address)) => format!("{interface}:{address}"),
                (Some(interface), None) => interface.to_string(),
                (None, _) => "Null0".to_owned(),
            };
            format!("{} {} {} tag {} {hop}", route.prefix, route.protocol, route.metric, route.tag)
        }
        RedistributedChange::Withdraw(prefix) => format!("no {prefix}"),
    }
}

#[test]
fn a_protocol_is_told_the_routes_in_force_of_those_that_it_asks_for_and_each_change() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.statics(&["203.0.113.0/24 Null0 tag 7"]);
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1 metric=50");
    ask(&mut world, OSPF, vec![wants("static"), wants("bgp")]);
    assert_eq!(
        told(&mut world, OSPF),
        ["198.51.100.0/24 bgp 50 tag 0 blue:10.0.0.1", "203.0.113.0/24 static 0 tag 7 Null0", "complete"]
    );
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1 metric=60");
    assert_eq!(told(&mut world, OSPF), ["198.51.100.0/24 bgp 60 tag 0 blue:10.0.0.1"]);
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1 metric=60");
    assert_eq!(told(&mut world, OSPF), Vec::<String>::new());
    world.statics(&[]);
    assert_eq!(told(&mut world, OSPF), ["no 203.0.113.0/24"]);
    world.interface("blue 10.0.0.0/31", false);
    assert_eq!(told(&mut world, OSPF), ["no 198.51.100.0/24"], "it leads nowhere now");
    world.interface("blue 10.0.0.0/31", true);
    assert_eq!(told(&mut world, OSPF), ["198.51.100.0/24 bgp 60 tag 0 blue:10.0.0.1"]);
}

#[test]
fn only_the_best_route_to_a_prefix_is_passed_on() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    ask(&mut world, OSPF, vec![wants("bgp"), wants("connected")]);
    assert_eq!(told(&mut world, OSPF), ["10.0.0.0/31 connected 0 tag 0 blue", "complete"]);
    world.statics(&["198.51.100.0/24 Null0"]);
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    assert_eq!(told(&mut world, OSPF), Vec::<String>::new());
    world.statics(&[]);
    assert_eq!(told(&mut world, OSPF), ["198.51.100.0/24 bgp 0 tag 0 blue:10.0.0.1"]);
}

#[test]
fn filters_take_prefixes_of_a_list_and_tags() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.statics(&["203.0.0.0/16 Null0", "203.0.113.0/24 Null0 tag 7", "203.0.114.0/24 Null0 tag 8"]);
    let list = Redistribution { prefixes: within("203.0.0.0/16", 24, 32), ..wants("static") };
    ask(&mut world, OSPF, vec![list.clone()]);
    let both = ["203.0.113.0/24 static 0 tag 7 Null0", "203.0.114.0/24 static 0 tag 8 Null0", "complete"];
    assert_eq!(told(&mut world, OSPF), both);
    // Another filter in its place: what it takes no longer goes.
    ask(&mut world, OSPF, vec![Redistribution { tag: Some(8), ..list }]);
    assert_eq!(told(&mut world, OSPF), ["no 203.0.113.0/24", "complete"]);
    world.statics(&["203.0.113.0/24 Null0 tag 8", "203.0.114.0/24 Null0 tag 7"]);
    assert_eq!(told(&mut world, OSPF), ["203.0.113.0/24 static 0 tag 8 Null0", "no 203.0.114.0/24"]);
    ask(&mut world, OSPF, vec![]);
    assert_eq!(told(&mut world, OSPF), ["no 203.0.113.0/24", "complete"]);
}

#[test]
fn nobody_is_told_its_own_routes() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(OSPF, "203.0.113.0/24 110 blue");
    ask(&mut world, OSPF, vec![wants("ospf")]);
    assert_eq!(told(&mut world, OSPF), ["complete"]);
}

#[test]
fn a_rib_that_is_new_says_that_it_told_everything_only_when_it_is_sure() {
    let mut world = World::new();
    world.join(OSPF, "ospf");
    world.join(BGP, "bgp");
    ask(&mut world, OSPF, vec![wants("bgp")]);
    world.input(Input::Configured(RibConfig::default()));
    world.input(Input::Interfaces(vec![interface("blue 10.0.0.0/31", true)]));
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    world.pass(30);
    assert_eq!(told(&mut world, OSPF), ["198.51.100.0/24 bgp 0 tag 0 blue:10.0.0.1"]);
    world.input(Input::Request(OSPF, RibRequest::EndOfRoutes));
    world.input(Input::Request(BGP, RibRequest::EndOfRoutes));
    world.pass(0);
    assert_eq!(told(&mut world, OSPF), ["complete"]);
}

#[test]
fn a_protocol_that_comes_back_asks_anew_and_stale_routes_are_passed_on_meanwhile() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    ask(&mut world, OSPF, vec![wants("bgp")]);
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    world.take_updates();
    world.input(Input::ClientLeft(BGP));
    assert_eq!(told(&mut world, OSPF), Vec::<String>::new(), "its routes are in force yet");
    world.input(Input::ClientLeft(OSPF));
    world.add(BGP, "198.51.100.0/24 20 10.0.0.1");
    world.join(OSPF, "ospf");
    assert_eq!(told(&mut world, OSPF), Vec::<String>::new());
    ask(&mut world, OSPF, vec![wants("bgp")]);
    assert_eq!(told(&mut world, OSPF), ["198.51.100.0/24 bgp 0 tag 0 blue:10.0.0.1", "complete"]);
    world.pass(120);
    assert_eq!(told(&mut world, OSPF), ["no 198.51.100.0/24"], "swept");
}
