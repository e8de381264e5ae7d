//! Tests of the whole core: a RIB with a FIB that obeys, protocols and a manager that listen.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipc::protocol::Origin;
use ipc::{InterfaceName, ServiceName, VrName};
use ipnet::IpNet;
use sdk::core::Time;
use sdk::rib::{NextHop, RibRequest, RibUpdate, Route, RouteChange};
use stack_api::fib::{FibChange, FibNextHop, FibReply, FibRequest};
use stack_api::interface::{InterfaceKind, InterfaceState};
use vr_api::manager::RibAnswer;

use crate::config::RibConfig;
use crate::instance::{Input, Output, Rib, Settings};
use crate::protocols::Client;

mod downloading;
mod ecmp;
mod model;
mod redistribution;
mod scale;
mod showing;
mod stale;
mod tracking;
mod unused;

pub(crate) const BGP: Client = Client(1);
pub(crate) const OSPF: Client = Client(2);

/// A RIB with everything around it.
pub(crate) struct World {
    pub rib: Rib,
    pub now: Time,
    /// What the FIB has.
    pub fib: BTreeMap<IpNet, Vec<FibNextHop>>,
    /// What of it was sent since the last `Begin`.
    fresh: BTreeMap<IpNet, ()>,
    /// All messages to the FIB.
    pub downloads: Vec<FibRequest>,
    /// All messages to clients since they were last looked at.
    pub updates: Vec<(Client, RibUpdate)>,
    pub answers: Vec<RibAnswer>,
    pub logs: Vec<String>,
    /// Interfaces that the FIB does not know.
    pub unknown: Vec<InterfaceName>,
}

impl World {
    /// A RIB that has heard nothing.
    pub fn new() -> Self {
        World {
            rib: Rib::new(Settings::default()),
            now: Time::ZERO,
            fib: BTreeMap::new(),
            fresh: BTreeMap::new(),
            downloads: Vec::new(),
            updates: Vec::new(),
            answers: Vec::new(),
            logs: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// A settled RIB with these interfaces (`name address/length`, all up), BGP and OSPF, and a FIB.
    pub fn settled(interfaces: &[&str]) -> Self {
        let mut world = World::new();
        world.input(Input::Configured(RibConfig::default()));
        world.input(Input::Interfaces(interfaces.iter().map(|text| interface(text, true)).collect()));
        world.input(Input::FibUp);
        world.join(BGP, "bgp");
        world.join(OSPF, "ospf");
        for client in [BGP, OSPF] {
            world.input(Input::Request(client, RibRequest::EndOfRoutes));
        }
        world.pass(6);
        world
    }

    pub fn join(&mut self, client: Client, name: &str) {
        self.input(Input::ClientJoined(client, ServiceName::new(name).unwrap(), Origin::Supervised));
    }

    pub fn input(&mut self, input: Input) {
        self.rib.handle_input(self.now, input);
        self.drain();
    }

    /// Seconds go by.
    pub fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.rib.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.rib.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn add(&mut self, client: Client, text: &str) {
        self.input(Input::Request(client, RibRequest::Routes(vec![RouteChange::Add(route(text))])));
    }

    pub fn remove(&mut self, client: Client, prefix: &str) {
        let prefix = prefix.parse().unwrap();
        self.input(Input::Request(client, RibRequest::Routes(vec![RouteChange::Remove(prefix)])));
    }

    pub fn statics(&mut self, lines: &[&str]) {
        let read = |line: &&str| crate::static_routes::read_line(&vr_api::config::Node::new(line, Vec::new())).unwrap();
        let routes = lines.iter().map(read);
        let static_routes = crate::static_routes::join(routes);
        self.input(Input::Configured(RibConfig { static_routes, ..RibConfig::default() }));
    }

    pub fn interface(&mut self, text: &str, up: bool) {
        self.input(Input::Interface(interface(text, up)));
    }

    /// The hops of a prefix in the FIB, as text: `blue:10.0.0.1`, `blue`, `Null0`.
    pub fn hops(&self, prefix: &str) -> Option<String> {
        let hops = self.fib.get(&prefix.parse().unwrap())?;
        let text = hops.iter().map(|hop| match hop {
            FibNextHop::Via { interface, address: Some(address) } => format!("{interface}:{address}"),
            FibNextHop::Via { interface, address: None } => interface.to_string(),
            FibNextHop::Discard => "Null0".to_owned(),
        });
        Some(text.collect::<Vec<_>>().join(" "))
    }

    pub fn take_updates(&mut self) -> Vec<(Client, RibUpdate)> {
        std::mem::take(&mut self.updates)
    }

    fn drain(&mut self) {
        while let Some(output) = self.rib.poll_output() {
            match output {
                Output::Fib(request) => {
                    let reply = self.apply(&request);
                    self.downloads.push(request);
                    if let Some(reply) = reply {
                        self.rib.handle_input(self.now, Input::Fib(reply));
                    }
                }
                Output::Update(client, update) => self.updates.push((client, update)),
                Output::Answer(answer) => self.answers.push(answer),
                Output::Log(_, line) => self.logs.push(line),
            }
        }
    }

    fn apply(&mut self, request: &FibRequest) -> Option<FibReply> {
        match request {
            FibRequest::Begin => self.fresh.clear(),
            FibRequest::End => self.fib.retain(|prefix, _| self.fresh.contains_key(prefix)),
            FibRequest::Batch { ticket, changes } => {
                let ticket = *ticket;
                let unknown = changes.iter().find_map(|change| self.unknown_interface(change));
                if let Some(interface) = unknown {
                    return Some(FibReply::Refused { ticket, reason: format!("no interface {interface}") });
                }
                for change in changes {
                    match change {
                        FibChange::Add { prefix, next_hops } => {
                            self.fib.insert(*prefix, next_hops.clone());
                            self.fresh.insert(*prefix, ());
                        }
                        FibChange::Remove { prefix } => {
                            self.fib.remove(prefix);
                        }
                    }
                }
                return Some(FibReply::Applied { ticket });
            }
        }
        None
    }

    fn unknown_interface(&self, change: &FibChange) -> Option<InterfaceName> {
        let FibChange::Add { next_hops, .. } = change else { return None };
        next_hops.iter().find_map(|hop| match hop {
            FibNextHop::Via { interface, .. } if self.unknown.contains(interface) => Some(interface.clone()),
            FibNextHop::Via { .. } | FibNextHop::Discard => None,
        })
    }
}

/// `blue 10.0.0.0/31`: an interface of a name, with addresses.
pub(crate) fn interface(text: &str, up: bool) -> InterfaceState {
    let mut words = text.split_whitespace();
    InterfaceState {
        vr: VrName::new("red").unwrap(),
        name: name(words.next().unwrap()),
        kind: InterfaceKind::Port,
        addresses: words.map(|word| word.parse().unwrap()).collect(),
        link_local: None,
        mtu: 1500,
        up,
        mac: None,
    }
}

/// `203.0.113.0/24 20 10.0.0.1 blue@10.0.0.3`: prefix, distance, next hops; behind them perhaps `tag=7`, `metric=5`.
pub(crate) fn route(text: &str) -> Route {
    let words: Vec<&str> = text.split_whitespace().collect();
    let next_hops = words[2..].iter().filter(|word| !word.contains('=')).map(|word| hop(word)).collect();
    let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.parse().ok()).unwrap_or(0);
    let prefix: IpNet = words[0].parse().unwrap();
    Route { tag: value("tag="), ..Route::new(prefix, words[1].parse().unwrap(), value("metric="), next_hops) }
}

pub(crate) fn hop(text: &str) -> NextHop {
    match text.split_once('@') {
        _ if text == "Null0" => NextHop::Discard,
        Some((interface, address)) => NextHop::OnInterface(name(interface), address.parse().unwrap()),
        None => match text.parse::<IpAddr>() {
            Ok(address) => NextHop::Address(address),
            Err(_) => NextHop::Interface(name(text)),
        },
    }
}

pub(crate) fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).unwrap()
}

#[test]
fn the_lowest_distance_wins_and_then_the_lowest_metric() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(OSPF, "203.0.113.0/24 110 blue");
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue");
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1");
    world.statics(&["203.0.113.0/24 Null0"]);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "Null0");
    world.statics(&["203.0.113.0/24 Null0 200"]);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1");
    world.remove(BGP, "203.0.113.0/24");
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue");
    world.remove(OSPF, "203.0.113.0/24");
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "Null0");
    world.statics(&[]);
    assert_eq!(world.hops("203.0.113.0/24"), None);
}

#[test]
fn connected_routes_follow_their_interfaces() {
    let mut world = World::settled(&["blue 10.0.0.0/31", "Loopback0 192.0.2.1/32"]);
    assert_eq!(world.hops("10.0.0.0/31").unwrap(), "blue");
    assert_eq!(world.hops("192.0.2.1/32").unwrap(), "Loopback0");
    world.interface("blue 10.0.0.0/31", false);
    assert_eq!(world.hops("10.0.0.0/31"), None);
    world.interface("blue 10.9.0.1/24", true);
    assert_eq!(world.hops("10.9.0.0/24").unwrap(), "blue");
    world.input(Input::InterfaceRemoved(name("Loopback0")));
    assert_eq!(world.hops("192.0.2.1/32"), None);
}

#[test]
fn a_static_route_over_an_interface_that_is_down_gives_way_to_its_backup() {
    let mut world = World::settled(&["Port0/0/1 10.1.0.1/24", "Port0/0/2 10.2.0.1/24"]);
    world.statics(&["0.0.0.0/0 10.1.0.9", "0.0.0.0/0 10.2.0.9 200", "198.51.100.0/24 Port0/0/1"]);
    assert_eq!(world.hops("0.0.0.0/0").unwrap(), "Port0/0/1:10.1.0.9");
    world.interface("Port0/0/1 10.1.0.1/24", false);
    // The first one's next hop lies in the default route itself now: it must not lead through itself.
    assert_eq!(world.hops("0.0.0.0/0").unwrap(), "Port0/0/2:10.2.0.9");
    assert_eq!(world.hops("198.51.100.0/24"), None);
    world.interface("Port0/0/1 10.1.0.1/24", true);
    assert_eq!(world.hops("0.0.0.0/0").unwrap(), "Port0/0/1:10.1.0.9");
    assert_eq!(world.hops("198.51.100.0/24").unwrap(), "Port0/0/1");
}

#[test]
fn next_hops_are_resolved_recursively_and_anew_when_the_way_moves() {
    let mut world = World::settled(&["blue 10.0.0.0/31", "green 10.0.1.0/31"]);
    world.add(BGP, "203.0.113.0/24 200 192.0.2.2");
    assert_eq!(world.hops("203.0.113.0/24"), None);
    world.add(OSPF, "192.0.2.2/32 110 blue@10.0.0.1");
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1");
    world.add(OSPF, "192.0.2.2/32 110 blue@10.0.0.1 green@10.0.1.1");
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.1 green:10.0.1.1");
    world.interface("blue 10.0.0.0/31", false);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "green:10.0.1.1");
    // A more specific route takes over, through a further recursion.
    world.remove(OSPF, "192.0.2.2/32");
    world.statics(&["192.0.2.0/24 10.0.1.1"]);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "green:10.0.1.1");
    world.statics(&["192.0.2.0/24 Null0"]);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "Null0");
}

#[test]
fn routes_through_each_other_lead_nowhere_until_there_is_a_way_out() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "20.0.0.0/8 20 30.0.0.1");
    world.add(BGP, "30.0.0.0/8 20 20.0.0.1");
    world.add(BGP, "40.0.0.0/8 20 40.0.0.1");
    assert_eq!(world.hops("20.0.0.0/8"), None);
    assert_eq!(world.hops("40.0.0.0/8"), None);
    world.statics(&["0.0.0.0/0 10.0.0.1"]);
    for prefix in ["20.0.0.0/8", "30.0.0.0/8", "40.0.0.0/8"] {
        assert_eq!(world.hops(prefix).unwrap(), "blue:10.0.0.1", "{prefix}");
    }
    world.statics(&[]);
    assert_eq!(world.hops("30.0.0.0/8"), None);
    assert_eq!(world.hops("40.0.0.0/8"), None);
}

#[test]
fn recursion_ends_at_its_depth() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    let mut routes = vec!["20.0.0.0/24 200 10.0.0.1".to_owned()];
    routes.extend((1..12).map(|n| format!("20.0.{n}.0/24 200 20.0.{}.1", n - 1)));
    routes.iter().for_each(|route| world.add(BGP, route));
    let reached = |n: usize| world.hops(&format!("20.0.{n}.0/24")).is_some();
    assert_eq!((0..12).filter(|n| reached(*n)).collect::<Vec<_>>(), (0..crate::resolve::MAX_DEPTH).collect::<Vec<_>>());
}

#[test]
fn an_own_address_is_no_next_hop() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.statics(&["203.0.113.0/24 10.0.0.0"]);
    assert_eq!(world.hops("203.0.113.0/24"), None);
    world.interface("blue 10.0.0.1/31", true);
    assert_eq!(world.hops("203.0.113.0/24").unwrap(), "blue:10.0.0.0");
}

#[test]
fn nonsense_is_refused_and_nothing_of_it_is_kept() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.add(BGP, "203.0.113.0/24 20 10.0.0.1");
    world.add(BGP, "203.0.113.0/24 20 127.0.0.1");
    let reason = "next hop 127.0.0.1 is not the address of a neighbor".to_owned();
    let refused = RibUpdate::Refused { prefix: "203.0.113.0/24".parse().unwrap(), reason };
    assert_eq!(world.take_updates(), [(BGP, refused)]);
    assert_eq!(world.hops("203.0.113.0/24"), None);
}

#[test]
fn nobody_brings_routes_under_the_name_of_the_ribs_own_protocols() {
    let mut world = World::settled(&["blue 10.0.0.0/31"]);
    world.join(Client(7), "static");
    world.add(Client(7), "203.0.113.0/24 20 10.0.0.1");
    assert_eq!(world.hops("203.0.113.0/24"), None);
    assert!(world.logs.iter().any(|line| line.contains("static")));
}

#[test]
fn a_program_brings_no_more_routes_than_its_limit_and_others_as_many_as_before() {
    let settings = Settings { program_routes: 2, ..Settings::default() };
    let mut world = World { rib: Rib::new(settings), ..World::settled(&["blue 10.0.0.0/31"]) };
    world.input(Input::Configured(RibConfig::default()));
    world.input(Input::Interfaces(vec![interface("blue 10.0.0.0/31", true)]));
    world.input(Input::FibUp);
    let program = Client(7);
    world.input(Input::ClientJoined(program, ServiceName::new("hello").unwrap(), Origin::Attached));
    world.join(BGP, "bgp");
    let refusals = |world: &mut World| {
        let told = std::mem::take(&mut world.updates).into_iter();
        told.filter(|(client, update)| *client == program && matches!(update, RibUpdate::Refused { .. })).count()
    };
    for n in 1..=5 {
        world.add(program, &format!("10.{n}.0.0/16 150 10.0.0.1"));
    }
    assert_eq!(refusals(&mut world), 1, "the first is told");
    // What it has it may change, and once there is room another one is taken.
    world.add(program, "10.2.0.0/16 150 metric=7 10.0.0.1");
    world.remove(program, "10.1.0.0/16");
    world.add(program, "10.5.0.0/16 150 10.0.0.1");
    assert_eq!(refusals(&mut world), 0);
    world.add(program, "10.6.0.0/16 150 10.0.0.1");
    assert_eq!(refusals(&mut world), 1);
    for n in 1..=5 {
        world.add(BGP, &format!("11.{n}.0.0/16 20 10.0.0.1"));
    }
    let learned: Vec<String> = world.fib.keys().map(ToString::to_string).filter(|p| p.ends_with("/16")).collect();
    let expected =
        ["10.2.0.0/16", "10.5.0.0/16", "11.1.0.0/16", "11.2.0.0/16", "11.3.0.0/16", "11.4.0.0/16", "11.5.0.0/16"];
    assert_eq!(learned, expected);
}
