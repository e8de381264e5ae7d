//! A RIB with a BGP, and a program that attached.

use std::net::IpAddr;

use ipc::protocol::Origin;
use ipc::{InterfaceName, ServiceName, VrName};
use rib::config::RibConfig;
use rib::instance::{Input, Output, Rib, Settings};
use rib::protocols::Client;
use sdk::core::Time;
use sdk::ipnet::IpNet;
use sdk::rib::{NextHop, RibRequest, RibUpdate, Route, RouteChange};
use stack_api::fib::{FibReply, FibRequest};
use stack_api::interface::{InterfaceKind, InterfaceState};

/// The router's own BGP.
pub const BGP: Client = Client(1);
/// Somebody's program.
pub const PROGRAM: Client = Client(2);

/// What it may bring, track and redistribute by.
const LIMIT: usize = 8;

/// The RIB, and what it said to BGP.
pub struct World {
    rib: Rib,
    told_bgp: Vec<RibUpdate>,
}

impl World {
    /// A settled RIB with an interface, a route of BGP and a next hop that BGP tracks.
    pub fn new() -> Self {
        let settings = Settings {
            program_routes: LIMIT,
            program_tracked: LIMIT,
            program_matches: LIMIT,
            settle_time: std::time::Duration::ZERO,
        };
        let mut world = Self { rib: Rib::new(settings), told_bgp: Vec::new() };
        world.input(Input::Configured(RibConfig::default()));
        world.input(Input::Interfaces(vec![interface()]));
        world.input(Input::FibUp);
        world.input(Input::ClientJoined(BGP, name("bgp"), Origin::Supervised));
        let next_hop = NextHop::Address(IpAddr::from([10, 0, 0, 1]));
        let route = Route::new("198.51.100.0/24".parse::<IpNet>().expect("a prefix"), 20, 0, vec![next_hop]);
        world.request(BGP, RibRequest::Routes(vec![RouteChange::Add(route)]));
        world.request(BGP, RibRequest::EndOfRoutes);
        world.request(BGP, RibRequest::TrackNextHop(IpAddr::from([10, 0, 0, 1])));
        world.rib.handle_timeout(Time::ZERO);
        world.drain();
        world.input(Input::ClientJoined(PROGRAM, name("program"), Origin::Attached));
        world
    }

    /// A message of somebody.
    pub fn request(&mut self, client: Client, request: RibRequest) {
        self.input(Input::Request(client, request));
    }

    /// The program ends.
    pub fn program_leaves(&mut self) {
        self.request(PROGRAM, RibRequest::Leave);
        self.input(Input::ClientLeft(PROGRAM));
    }

    /// No more routes of the program than it may bring.
    pub fn keeps_to_its_limits(&self) {
        let routes = self.rib.protocols().iter().filter(|(_, protocol)| protocol.client == Some(PROGRAM));
        assert!(routes.map(|(_, protocol)| protocol.routes).sum::<usize>() <= LIMIT);
    }

    /// Whether BGP was told of a next hop since that was last asked.
    pub fn told_bgp_of(&mut self, wanted: IpAddr) -> bool {
        let told = std::mem::take(&mut self.told_bgp);
        told.iter().any(|update| matches!(update, RibUpdate::NextHop { address, .. } if *address == wanted))
    }

    /// Every prefix with its best route, and how much is kept for them.
    pub fn state(&self) -> (Vec<String>, usize, usize) {
        let table = self.rib.table();
        let routes = table.iter().map(|(prefix, entry)| format!("{prefix} {:?}", entry.best)).collect();
        (routes, table.hop_sets.len(), self.rib.evaluations())
    }

    fn input(&mut self, input: Input) {
        self.rib.handle_input(Time::ZERO, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.rib.poll_output() {
            match output {
                Output::Fib(FibRequest::Batch { ticket, .. }) => {
                    self.rib.handle_input(Time::ZERO, Input::Fib(FibReply::Applied { ticket }));
                }
                Output::Update(BGP, update) => self.told_bgp.push(update),
                Output::Fib(FibRequest::Begin | FibRequest::End)
                | Output::Update(..)
                | Output::Answer(_)
                | Output::Log(..) => {}
            }
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn interface() -> InterfaceState {
    InterfaceState {
        vr: VrName::new("red").expect("a name"),
        name: InterfaceName::new("blue").expect("a name"),
        kind: InterfaceKind::Port,
        addresses: vec!["10.0.0.0/31".parse().expect("an address")],
        link_local: None,
        mtu: 1500,
        up: true,
        mac: None,
    }
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a name")
}
