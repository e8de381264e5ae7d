//! Several cores on a virtual clock, joined by connections that take time and can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use isthmus_bgp::Bgp;
use sdk::core::{Closed, ConnectionId, Input, Output, ProtocolCore, Time};
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::recorded::tree;
use sdk::rib::{NextHop, Reached, Redistribution, RibRequest, RibUpdate, Route, RouteChange};
use sdk::show::Value;
use sdk::socket::SocketError;
use sdk::{InterfaceName, VrName};

/// How long everything takes from one router to another.
const LATENCY: Duration = Duration::from_millis(1);

/// What arrives at a router.
#[derive(Debug, Clone)]
enum Arrival {
    Connected(ConnectionId, SocketAddr, SocketAddr),
    ConnectFailed(ConnectionId, SocketError),
    Accepted(ConnectionId, SocketAddr, SocketAddr),
    Bytes(ConnectionId, Vec<u8>),
    Closed(ConnectionId, Closed),
    Rib(RibUpdate),
}

/// A router: its core, and what stands for its stack and its RIB.
pub struct Router {
    pub core: Bgp,
    pub interfaces: Vec<InterfaceState>,
    /// Routes that BGP installed.
    pub rib: BTreeMap<IpNet, Route>,
    /// Prefixes that the RIB has by another protocol.
    pub networks: BTreeMap<IpNet, u32>,
    /// Next hops beyond connected subnets, with their metrics.
    pub far: BTreeMap<IpAddr, u32>,
    pub end_of_routes: Vec<Time>,
    pub log: Vec<String>,
    tracked: BTreeSet<IpAddr>,
    tracked_prefixes: BTreeSet<IpNet>,
    /// How often it tried to connect.
    pub connects: usize,
    /// Whose routes it passes on.
    pub wants: Vec<Redistribution>,
    listens: bool,
}

/// An end of a connection: router and its number there.
type End = (usize, ConnectionId);

pub struct Network {
    pub now: Time,
    pub routers: Vec<Router>,
    arrivals: BTreeMap<(Time, u64), (usize, Arrival)>,
    sequence: u64,
    accepted: u32,
    /// The other end of each end.
    ends: BTreeMap<(usize, u32), End>,
    /// Own and remote address of each end.
    addresses: BTreeMap<(usize, u32), (SocketAddr, SocketAddr)>,
    /// Pairs between which everything is lost.
    cut: BTreeSet<(usize, usize)>,
}

impl Network {
    /// Routers with these addresses (`Loopback` addresses have 32 bits) and configurations, their RIBs there.
    pub fn new(routers: &[(&[&str], &str)]) -> Self {
        let mut network = Self {
            now: Time::ZERO,
            routers: Vec::new(),
            arrivals: BTreeMap::new(),
            sequence: 0,
            accepted: 0,
            ends: BTreeMap::new(),
            addresses: BTreeMap::new(),
            cut: BTreeSet::new(),
        };
        for (addresses, _) in routers {
            let interfaces = addresses.iter().enumerate().map(|(index, address)| interface(index, address)).collect();
            network.routers.push(Router {
                core: Bgp::new(),
                interfaces,
                rib: BTreeMap::new(),
                networks: BTreeMap::new(),
                far: BTreeMap::new(),
                end_of_routes: Vec::new(),
                log: Vec::new(),
                tracked: BTreeSet::new(),
                tracked_prefixes: BTreeSet::new(),
                connects: 0,
                wants: Vec::new(),
                listens: false,
            });
        }
        for (index, (_, config)) in routers.iter().enumerate() {
            network.input(index, Input::RibRestarted);
            for state in network.routers[index].interfaces.clone() {
                network.input(index, Input::Interface(state));
            }
            network.configure(index, config);
        }
        network
    }

    pub fn configure(&mut self, router: usize, text: &str) {
        let config = Bgp::read_config(&tree(text)).unwrap();
        self.routers[router].core.configure(self.now, config).unwrap();
        self.drain(router);
    }

    pub fn input(&mut self, router: usize, input: Input<'_>) {
        self.routers[router].core.handle_input(self.now, input);
        self.drain(router);
    }

    pub fn command(&mut self, router: usize, words: &[String]) -> Result<(), String> {
        let result = self.routers[router].core.command(self.now, words);
        self.drain(router);
        result
    }

    /// Lets time pass.
    pub fn run(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }

    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let timer = (0..self.routers.len())
                .filter_map(|index| Some((self.routers[index].core.poll_timeout()?, index)))
                .min();
            let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
            match (arrival, timer) {
                (Some(at), timer) if at <= until && timer.is_none_or(|(due, _)| at <= due) => self.arrive(at),
                (_, Some((due, index))) if due <= until => {
                    assert!(due >= self.now, "a timer in the past: {due} at {}", self.now);
                    self.now = due;
                    self.routers[index].core.handle_timeout(due);
                    self.drain(index);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn arrive(&mut self, at: Time) {
        let Some((_, (router, arrival))) = self.arrivals.pop_first() else { return };
        self.now = at;
        let input = match &arrival {
            Arrival::Connected(connection, local, remote) => {
                Input::Connected { connection: *connection, local: *local, remote: *remote }
            }
            Arrival::ConnectFailed(connection, error) => {
                Input::ConnectFailed { connection: *connection, error: *error }
            }
            Arrival::Accepted(connection, local, remote) => {
                Input::Accepted { connection: *connection, local: *local, remote: *remote }
            }
            Arrival::Bytes(connection, bytes) => Input::Received { connection: *connection, bytes },
            Arrival::Closed(connection, closed) => Input::Closed { connection: *connection, closed: *closed },
            Arrival::Rib(update) => Input::Rib(update.clone()),
        };
        self.input(router, input);
    }

    /// Everything between two routers is lost from now on, or no longer.
    pub fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        for pair in [(a, b), (b, a)] {
            if cut {
                self.cut.insert(pair)
            } else {
                self.cut.remove(&pair)
            };
        }
    }

    /// All connections between two routers break, as when a process is killed.
    pub fn break_connections(&mut self, a: usize, b: usize) {
        let broken: Vec<End> = self
            .ends
            .iter()
            .filter(|((router, _), other)| [(a, b), (b, a)].contains(&(*router, other.0)))
            .map(|((router, number), _)| (*router, ConnectionId(*number)))
            .collect();
        for (router, connection) in broken {
            self.ends.remove(&(router, connection.0));
            let closed = Closed::Failed(SocketError::ConnectionReset);
            self.later(router, Duration::ZERO, Arrival::Closed(connection, closed));
        }
    }

    /// Sets an interface of a router up or down.
    pub fn set_up(&mut self, router: usize, interface: usize, up: bool) {
        self.routers[router].interfaces[interface].up = up;
        let state = self.routers[router].interfaces[interface].clone();
        self.input(router, Input::Interface(state));
    }

    /// The RIB of a router has a prefix by another protocol, or not.
    pub fn set_network(&mut self, router: usize, prefix: &str, metric: Option<u32>) {
        let prefix: IpNet = prefix.parse().unwrap();
        match metric {
            Some(metric) => drop(self.routers[router].networks.insert(prefix, metric)),
            None => drop(self.routers[router].networks.remove(&prefix)),
        }
        if self.routers[router].tracked_prefixes.contains(&prefix) {
            self.later(router, LATENCY, Arrival::Rib(RibUpdate::Prefix { prefix, metric }));
        }
    }

    /// A next hop beyond the connected subnets of a router is reachable, or not.
    pub fn set_far(&mut self, router: usize, address: &str, metric: Option<u32>) {
        let address: IpAddr = address.parse().unwrap();
        match metric {
            Some(metric) => drop(self.routers[router].far.insert(address, metric)),
            None => drop(self.routers[router].far.remove(&address)),
        }
        if self.routers[router].tracked.contains(&address) {
            let update = self.next_hop(router, address);
            self.later(router, LATENCY, Arrival::Rib(update));
        }
    }

    /// The RIB of a router is a new process.
    pub fn restart_rib(&mut self, router: usize) {
        let it = &mut self.routers[router];
        it.rib.clear();
        it.tracked.clear();
        it.tracked_prefixes.clear();
        it.end_of_routes.clear();
        self.input(router, Input::RibRestarted);
    }

    fn next_hop(&self, router: usize, address: IpAddr) -> RibUpdate {
        let it = &self.routers[router];
        let on = it.interfaces.iter().find(|state| state.addresses.iter().any(|subnet| subnet.contains(&address)));
        let interface = on.unwrap_or(&it.interfaces[0]).name.clone();
        let reached = match on {
            Some(_) => Some(Reached { metric: 0, connected: true, interface }),
            None => it.far.get(&address).map(|metric| Reached { metric: *metric, connected: false, interface }),
        };
        RibUpdate::NextHop { address, reached }
    }

    fn later(&mut self, router: usize, delay: Duration, arrival: Arrival) {
        self.sequence += 1;
        self.arrivals.insert((self.now + delay, self.sequence), (router, arrival));
    }

    fn drain(&mut self, router: usize) {
        while let Some(output) = self.routers[router].core.poll_output() {
            match output {
                Output::Listen { .. } => self.routers[router].listens = true,
                // No key or TTL counts in this network.
                Output::Peers(_) => {}
                Output::StopListening { .. } => self.routers[router].listens = false,
                Output::Connect { connection, to, from, .. } => {
                    self.routers[router].connects += 1;
                    self.connect(router, connection, to, from);
                }
                Output::Send { connection, bytes } => {
                    let Some((other, number)) = self.ends.get(&(router, connection.0)).copied() else { continue };
                    if !self.cut.contains(&(router, other)) {
                        self.later(other, LATENCY, Arrival::Bytes(number, bytes));
                    }
                }
                Output::Close { connection } => {
                    let Some((other, number)) = self.ends.remove(&(router, connection.0)) else { continue };
                    let known = self.ends.remove(&(other, number.0)).is_some();
                    if known && !self.cut.contains(&(router, other)) {
                        self.later(other, LATENCY, Arrival::Closed(number, Closed::EndOfFile));
                    }
                }
                Output::Datagram { .. } => panic!("BGP has no datagram sockets"),
                Output::Rib(request) => self.rib(router, request),
                Output::Log { level, text } => {
                    self.routers[router].log.push(format!("{} {level} {text}", self.now));
                }
            }
        }
    }

    fn connect(&mut self, router: usize, connection: ConnectionId, to: SocketAddr, from: Option<IpAddr>) {
        let owns =
            |it: &Router| it.interfaces.iter().any(|state| state.addresses.iter().any(|own| own.addr() == to.ip()));
        let Some(other) = self.routers.iter().position(owns) else {
            return self.later(router, LATENCY, Arrival::ConnectFailed(connection, SocketError::NetworkUnreachable));
        };
        if self.cut.contains(&(router, other)) {
            return;
        }
        if !self.routers[other].listens {
            return self.later(router, 2 * LATENCY, Arrival::ConnectFailed(connection, SocketError::ConnectionRefused));
        }
        let subnets = self.routers[router].interfaces.iter().flat_map(|state| state.addresses.clone());
        let own = subnets.clone().find(|subnet| subnet.contains(&to.ip())).or(subnets.clone().next()).unwrap();
        self.accepted += 1;
        let number = ConnectionId(0x8000_0000 | self.accepted);
        let local = SocketAddr::new(from.unwrap_or(own.addr()), 40000 + self.accepted as u16);
        self.ends.insert((router, connection.0), (other, number));
        self.ends.insert((other, number.0), (router, connection));
        self.addresses.insert((router, connection.0), (local, to));
        self.addresses.insert((other, number.0), (to, local));
        self.later(other, LATENCY, Arrival::Accepted(number, to, local));
        self.later(router, 2 * LATENCY, Arrival::Connected(connection, local, to));
    }

    fn rib(&mut self, router: usize, request: RibRequest) {
        let now = self.now;
        let it = &mut self.routers[router];
        match request {
            RibRequest::Routes(changes) => {
                assert!(changes.len() <= 1000);
                for change in changes {
                    match change {
                        RouteChange::Add(route) => drop(it.rib.insert(route.prefix, route)),
                        RouteChange::Remove(prefix) => assert!(it.rib.remove(&prefix).is_some(), "{prefix} unknown"),
                    }
                }
            }
            RibRequest::EndOfRoutes => it.end_of_routes.push(now),
            RibRequest::TrackNextHop(address) => {
                it.tracked.insert(address);
                let update = self.next_hop(router, address);
                self.later(router, LATENCY, Arrival::Rib(update));
            }
            RibRequest::UntrackNextHop(address) => drop(it.tracked.remove(&address)),
            RibRequest::TrackPrefix(prefix) => {
                it.tracked_prefixes.insert(prefix);
                let metric = it.networks.get(&prefix).copied();
                self.later(router, LATENCY, Arrival::Rib(RibUpdate::Prefix { prefix, metric }));
            }
            RibRequest::UntrackPrefix(prefix) => drop(it.tracked_prefixes.remove(&prefix)),
            RibRequest::Redistribute(wants) => it.wants = wants,
            RibRequest::Leave => it.rib.clear(),
        }
    }

    /// Bytes on a router's established session with a neighbor, as if that had sent them.
    pub fn inject(&mut self, router: usize, neighbor: &str, bytes: &[u8]) {
        let port = |value| match value {
            Value::Text(address) => address.parse::<SocketAddr>().unwrap(),
            other => panic!("{other:?}"),
        };
        let remote = port(self.cell(router, "bgp neighbor", neighbor, ("neighbor", neighbor), "remote_address"));
        let local = port(self.cell(router, "bgp neighbor", neighbor, ("neighbor", neighbor), "local_address"));
        let connection = self.addresses.iter().find(|(_, ends)| **ends == (local, remote)).map(|(end, _)| *end);
        let (_, number) = connection.unwrap();
        self.input(router, Input::Received { connection: ConnectionId(number), bytes });
    }

    /// A cell of a table: in the row where the column `key` has this text.
    pub fn cell(&self, router: usize, table: &str, argument: &str, row: (&str, &str), column: &str) -> Value {
        let tables = isthmus_bgp::show::tables();
        let columns = &tables.iter().find(|declared| declared.words == table).unwrap().columns[1..];
        let at = |name: &str| columns.iter().position(|heading| heading == name).unwrap();
        let arguments: Vec<String> = argument.split_whitespace().map(str::to_owned).collect();
        let rows = self.routers[router].core.show(self.now, table, &arguments).unwrap();
        rows.iter().for_each(|row| assert_eq!(row.len(), columns.len()));
        let found = rows.iter().find(|cells| cells[at(row.0)] == Value::from(row.1));
        found.map_or(Value::Null, |cells| cells[at(column)].clone())
    }

    /// State of the session with a neighbor.
    pub fn state(&self, router: usize, neighbor: &str) -> String {
        match self.cell(router, "bgp summary", "", ("neighbor", neighbor), "state") {
            Value::Text(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// Since when the session is established, in microseconds; changes if it moves.
    pub fn up_since(&self, router: usize, neighbor: &str) -> i64 {
        match self.cell(router, "bgp summary", "", ("neighbor", neighbor), "up_for") {
            Value::Real(up_for) => (self.now.as_nanos() / 1000) as i64 - (up_for * 1e6).round() as i64,
            other => panic!("not established: {other:?}"),
        }
    }

    /// Prefixes that a router installed, with their next hops.
    pub fn installed(&self, router: usize) -> Vec<String> {
        let hop = |route: &Route| match route.next_hops.as_slice() {
            [NextHop::Address(address)] => address.to_string(),
            other => panic!("{other:?}"),
        };
        self.routers[router].rib.values().map(|route| format!("{} {}", route.prefix, hop(route))).collect()
    }

    /// The best path to a prefix in a router: next hop and AS path.
    pub fn path(&self, router: usize, prefix: &str) -> Option<String> {
        let rows = self.routers[router].core.show(self.now, "bgp", &[prefix.to_owned()]).unwrap();
        let best = rows.iter().find(|cells| cells[2] == Value::Bool(true))?;
        match (&best[1], &best[5]) {
            (Value::Text(next_hop), Value::Text(path)) => Some(format!("{next_hop} [{path}]")),
            (Value::Null, Value::Text(path)) => Some(format!("own [{path}]")),
            other => panic!("{other:?}"),
        }
    }
}

fn interface(index: usize, address: &str) -> InterfaceState {
    let net: Ipv4Net = address.parse().unwrap();
    let loopback = net.prefix_len() == 32;
    let name = if loopback { format!("Loopback{index}") } else { format!("Port0/0/{index}") };
    InterfaceState {
        vr: VrName::new("red").unwrap(),
        name: InterfaceName::new(&name).unwrap(),
        kind: if loopback { InterfaceKind::Loopback } else { InterfaceKind::Port },
        addresses: vec![net.into()],
        link_local: None,
        mtu: 1500,
        up: true,
        mac: None,
    }
}
