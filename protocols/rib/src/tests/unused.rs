//! What leads nowhere: kept, not used, and its protocol is told why.

use ipc::protocol::Origin;
use sdk::rib::{PrefixMatch, Redistribution, UnusedRoute};
use vr_api::show::Value;

use super::*;

/// What a protocol was told of its routes since it was last looked: `PREFIX: why`.
fn unused(world: &mut World, of: Client) -> Vec<String> {
    let mut lines = Vec::new();
    for (client, update) in world.take_updates() {
        if let RibUpdate::Unused(routes) = update {
            assert_eq!(client, of, "nobody else is told");
            lines.extend(routes.into_iter().map(|UnusedRoute { prefix, because }| format!("{prefix}: {because}")));
        }
    }
    lines
}

fn denied(world: &mut World) -> Vec<String> {
    let told = world.take_updates().into_iter().filter_map(|(_, update)| match update {
        RibUpdate::Denied { reason } => Some(reason),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_route_that_leads_nowhere_is_kept_and_its_protocol_told_why() {
    let mut world = World::settled(&["blue 10.0.0.0/31", "green 10.0.1.0/31"]);
    world.interface("green 10.0.1.0/31", false);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    assert_eq!(unused(&mut world, BGP), [] as [&str; 0], "one that leads somewhere is not told");
    for (route, why) in [
        ("198.51.100.0/24 20 172.31.255.1", "next hop 172.31.255.1: no other route leads there"),
        ("198.51.100.0/24 20 10.0.0.0", "next hop 10.0.0.0 is an address of this router itself"),
        ("198.51.100.0/24 20 blue@10.0.0.0", "next hop 10.0.0.0 is an address of this router itself"),
        ("198.51.100.0/24 20 green", "next hop on green: the interface is down"),
        ("198.51.100.0/24 20 green@10.0.1.1", "next hop on green: the interface is down"),
        ("198.51.100.0/24 20 red", "next hop on red: there is no such interface here"),
        ("198.51.100.0/24 20 198.51.100.1", "next hop 198.51.100.1: no other route leads there"),
        ("198.51.100.0/24 20 172.31.255.1 green", "next hop 172.31.255.1: no other route leads there"),
    ] {
        world.add(BGP, route);
        assert_eq!(unused(&mut world, BGP), [format!("198.51.100.0/24: {why}")]);
        assert_eq!(world.hops("198.51.100.0/24"), None);
    }
    // Of two ways one suffices, and what is not the best leads somewhere all the same.
    world.add(BGP, "198.51.100.0/24 20 172.31.255.1 blue@10.0.0.1");
    world.add(OSPF, "203.0.113.0/24 110 10.0.0.1");
    assert_eq!(unused(&mut world, BGP), [] as [&str; 0]);
}

#[test]
fn a_route_that_led_nowhere_is_used_as_soon_as_its_next_hop_is_reached() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 172.31.255.1");
    world.add(BGP, "198.51.100.0/24 20 blue@10.0.0.0");
    assert_eq!(world.hops("203.0.113.0/24"), None);
    world.statics(&["172.31.0.0/16 10.0.0.1"]);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1");
    // The address becomes the neighbor's.
    assert_eq!(world.hops("198.51.100.0/24"), None);
    world.interface("blue 10.0.0.1/31", true);
    assert_eq!(world.hops("198.51.100.0/24").unwrap(), "blue:10.0.0.0");
    world.interface("blue 10.0.0.0/31", true);
    assert_eq!(world.hops("198.51.100.0/24"), None);
}

#[test]
fn a_rib_that_is_new_says_that_a_route_leads_nowhere_only_when_it_is_sure() {
    let mut world = World::new();
    world.input(Input::Configured(RibConfig::default()));
    world.input(Input::Interfaces(vec![interface("blue 10.0.0.0/31", true)]));
    world.join(BGP, "bgp");
    world.join(OSPF, "ospf");
    world.add(BGP, "203.0.113.0/24 200 192.0.2.2");
    world.add(BGP, "198.51.100.0/24 200 192.0.2.3");
    world.input(Input::Request(BGP, RibRequest::EndOfRoutes));
    assert_eq!(unused(&mut world, BGP), [] as [&str; 0]);
    world.add(OSPF, "192.0.2.2/32 110 blue@10.0.0.1");
    world.input(Input::Request(OSPF, RibRequest::EndOfRoutes));
    world.pass(6);
    assert_eq!(unused(&mut world, BGP), ["198.51.100.0/24: next hop 192.0.2.3: no other route leads there"]);
}

#[test]
fn unused_routes_are_listed_with_the_reason_those_of_the_operator_too() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.statics(&["192.0.2.0/24 172.16.0.1", "192.0.2.0/24 10.0.0.1 200"]);
    world.add(BGP, "203.0.113.0/24 20 red@10.0.0.9 green");
    world.add(OSPF, "203.0.113.0/24 110 10.0.0.1");
    let mut cursor = world.rib.show(world.now, "route unused", &[]).unwrap();
    let mut rows = Vec::new();
    while let [row] = &world.rib.show_more(world.now, &mut cursor, 1)[..] {
        rows.push(row.clone());
    }
    let text = |column: usize| rows.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
    assert_eq!(text(0), ["192.0.2.0/24".into(), "203.0.113.0/24".into()]);
    assert_eq!(text(1), ["static".into(), "bgp".into()]);
    let reasons =
        ["next hop 172.16.0.1: no other route leads there", "next hop on red: there is no such interface here"];
    assert_eq!(text(5), reasons.map(Value::from));
}

/// A RIB whose programs may track two things and redistribute by two entries, and one of them.
fn limited() -> (World, Client) {
    let settings = Settings { program_tracked: 2, program_matches: 2, ..Settings::default() };
    let mut world = World { rib: Rib::new(settings), ..World::new() };
    world.input(Input::Configured(RibConfig::default()));
    world.input(Input::Interfaces(vec![interface("blue 10.0.0.0/31", true)]));
    let program = Client(7);
    world.input(Input::ClientJoined(program, ServiceName::new("hello").unwrap(), Origin::Attached));
    world.join(BGP, "bgp");
    (world, program)
}

#[test]
fn a_program_tracks_no_more_than_its_limit_and_others_as_much_as_they_like() {
    let (mut world, program) = limited();
    let next_hop = |n: u8| RibRequest::TrackNextHop(IpAddr::from([10, 0, 0, n]));
    let prefix: IpNet = "10.0.0.0/31".parse().unwrap();
    world.input(Input::Request(program, next_hop(1)));
    world.input(Input::Request(program, RibRequest::TrackPrefix(prefix)));
    assert_eq!(denied(&mut world), [] as [&str; 0]);
    world.input(Input::Request(program, next_hop(2)));
    assert_eq!(denied(&mut world), ["hello tracks 2 next hops and prefixes; no more are taken"]);
    assert_eq!(world.rib.evaluations(), 1, "nothing of it is kept");
    world.input(Input::Request(program, RibRequest::UntrackPrefix(prefix)));
    world.input(Input::Request(program, next_hop(2)));
    (1..9).for_each(|n| world.input(Input::Request(BGP, next_hop(n))));
    assert_eq!(denied(&mut world), [] as [&str; 0]);
}

#[test]
fn a_program_redistributes_by_no_more_entries_than_its_limit() {
    let (mut world, program) = limited();
    let entry = PrefixMatch { prefix: "0.0.0.0/0".parse().unwrap(), min_length: 0, max_length: 32 };
    let by = |entries: usize| {
        let prefixes = Some(vec![entry; entries]);
        RibRequest::Redistribute(vec![Redistribution { protocol: "connected".to_owned(), prefixes, tag: None }])
    };
    world.input(Input::Request(program, by(2)));
    assert_eq!(denied(&mut world), ["hello asks to redistribute by 3 entries; at most 2 are taken"]);
    world.input(Input::Request(BGP, by(2)));
    world.input(Input::Request(program, by(1)));
    let told = world.take_updates().into_iter().map(|(client, _)| client).collect::<Vec<_>>();
    assert_eq!(told, [BGP, program]);
}

#[test]
fn a_program_that_never_says_that_it_sent_everything_keeps_nobody_waiting() {
    let (mut world, _) = limited();
    world.input(Input::Request(BGP, RibRequest::EndOfRoutes));
    let address = IpAddr::from([172, 31, 255, 1]);
    world.input(Input::Request(BGP, RibRequest::TrackNextHop(address)));
    assert_eq!(world.take_updates(), []);
    world.pass(6);
    assert_eq!(world.take_updates(), [(BGP, RibUpdate::NextHop { address, reached: None })]);
}
