//! A network of cores, joined by function calls, under one virtual clock.
//!
//! A [`Network`] has routers and segments; an interface of a router is on a segment. What a router sends there, the others
//! on the segment get a little later, if it is for a group that they joined or for their address. A segment can be cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use ospf::Ospf;
use sdk::config::Node;
use sdk::core::{DatagramCommand, Input, Output, ProtocolCore, Time};
use sdk::datagram::ProcessMessage;
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::rib::{NextHop, Redistribution, RibRequest, Route, RouteChange};
use sdk::show::Value;
use sdk::{InterfaceName, VrName};

/// How long a packet is on its way.
const DELAY: Duration = Duration::from_micros(100);

/// Says of a packet whether it is lost.
pub type Loss = Box<dyn FnMut(&ProcessMessage) -> bool>;

/// Number of a router in its network.
pub type RouterIndex = usize;

/// An interface of a router.
#[derive(Debug, Clone)]
struct Port {
    address: Ipv4Net,
    segment: Option<usize>,
    up: bool,
    kind: InterfaceKind,
}

/// A router: a core and what its shell would know.
pub struct Router {
    pub core: Ospf,
    ports: BTreeMap<InterfaceName, Port>,
    groups: BTreeSet<(InterfaceName, IpAddr)>,
    bound: bool,
    /// What the RIB has.
    pub rib: BTreeMap<IpNet, Route>,
    pub log: Vec<String>,
    /// Whether it sent the RIB all its routes.
    pub all_routes: bool,
    /// What it wants to tell of other protocols' routes.
    pub wants: Vec<Redistribution>,
    /// Prefixes whose routes of other protocols it asks for.
    pub tracked: BTreeSet<IpNet>,
}

/// Routers and what joins them.
#[derive(Default)]
pub struct Network {
    pub routers: Vec<Router>,
    /// Segments that are cut.
    cut: BTreeSet<usize>,
    segments: usize,
    pub now: Time,
    in_flight: VecDeque<(Time, RouterIndex, ProcessMessage)>,
    /// Every packet that was sent: from which router, by which interface.
    pub sent: Vec<(Time, RouterIndex, ProcessMessage)>,
    /// Says of a packet whether it is lost.
    pub loses: Option<Loss>,
}

/// A name of an interface.
pub fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).unwrap()
}

/// Lines by their indentation.
pub fn tree(text: &str) -> Vec<Node> {
    let mut root = Node::new("", Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        let mut parent = &mut root;
        for _ in 0..depth {
            parent = parent.children.last_mut().unwrap();
        }
        parent.children.push(Node::new(line.trim(), Vec::new()));
    }
    root.children
}

impl Network {
    /// A router without interfaces.
    pub fn router(&mut self, config: &str) -> RouterIndex {
        let mut core = Ospf::new(1_700_000_000);
        core.configure(self.now, Ospf::read_config(&tree(config)).unwrap()).unwrap();
        core.handle_input(self.now, Input::RibRestarted);
        self.routers.push(Router {
            core,
            ports: BTreeMap::new(),
            groups: BTreeSet::new(),
            bound: false,
            rib: BTreeMap::new(),
            log: Vec::new(),
            all_routes: false,
            wants: Vec::new(),
            tracked: BTreeSet::new(),
        });
        self.drain(self.routers.len() - 1);
        self.routers.len() - 1
    }

    /// Another configuration.
    pub fn configure(&mut self, router: RouterIndex, config: &str) {
        let config = Ospf::read_config(&tree(config)).unwrap();
        self.routers[router].core.configure(self.now, config).unwrap();
        self.drain(router);
    }

    /// A new segment.
    pub fn segment(&mut self) -> usize {
        self.segments += 1;
        self.segments - 1
    }

    /// Plugs an interface of a router into a segment.
    pub fn plug(&mut self, router: RouterIndex, interface: &str, address: &str, segment: usize) {
        self.add(router, interface, address, Some(segment), InterfaceKind::Port);
    }

    /// The same with an interface that leads to another VR of the box.
    pub fn join(&mut self, router: RouterIndex, interface: &str, address: &str, segment: usize) {
        let kind = InterfaceKind::InterVr { peer: VrName::new("blue").unwrap() };
        self.add(router, interface, address, Some(segment), kind);
    }

    /// Gives a router a loopback interface.
    pub fn loopback(&mut self, router: RouterIndex, address: &str) {
        self.add(router, "Loopback0", address, None, InterfaceKind::Loopback);
    }

    fn add(
        &mut self,
        router: RouterIndex,
        interface: &str,
        address: &str,
        segment: Option<usize>,
        kind: InterfaceKind,
    ) {
        let port = Port { address: address.parse().unwrap(), segment, up: true, kind };
        self.routers[router].ports.insert(name(interface), port);
        self.tell(router, interface);
    }

    fn tell(&mut self, router: RouterIndex, interface: &str) {
        let Port { address, up, kind, .. } = self.routers[router].ports[&name(interface)].clone();
        let state = InterfaceState {
            vr: VrName::new("red").unwrap(),
            name: name(interface),
            kind,
            addresses: vec![IpNet::V4(address)],
            mtu: 1500,
            up,
            mac: None,
            link_local: None,
        };
        self.input(router, Input::Interface(state));
    }

    /// The interface goes down, or up.
    pub fn set_up(&mut self, router: RouterIndex, interface: &str, up: bool) {
        self.routers[router].ports.get_mut(&name(interface)).unwrap().up = up;
        self.tell(router, interface);
    }

    /// Nothing passes a segment any longer, and nobody is told.
    pub fn cut(&mut self, segment: usize) {
        self.cut.insert(segment);
    }

    /// It passes again.
    pub fn mend(&mut self, segment: usize) {
        self.cut.remove(&segment);
    }

    /// The carrier of a segment goes or comes, and everyone on it is told.
    pub fn carrier(&mut self, segment: usize, up: bool) {
        let on_it: Vec<(RouterIndex, InterfaceName)> = self.on_segment(segment).collect();
        for (router, interface) in on_it {
            self.set_up(router, interface.as_str(), up);
        }
    }

    fn on_segment(&self, segment: usize) -> impl Iterator<Item = (RouterIndex, InterfaceName)> + use<'_> {
        self.routers.iter().enumerate().flat_map(move |(index, router)| {
            let here = router.ports.iter().filter(move |(_, port)| port.segment == Some(segment));
            here.map(move |(name, _)| (index, name.clone()))
        })
    }

    /// Something happens to a router.
    pub fn input(&mut self, router: RouterIndex, input: Input<'_>) {
        self.routers[router].core.handle_input(self.now, input);
        self.drain(router);
    }

    /// A router's process is killed, and another one takes its place; the RIB knows nothing of it.
    pub fn restart(&mut self, router: RouterIndex, config: &str) {
        let seconds = self.now.since(Time::ZERO).as_secs();
        let this = &mut self.routers[router];
        this.core = Ospf::new(1_700_000_000 + seconds);
        (this.bound, this.all_routes) = (false, false);
        this.groups.clear();
        this.rib.clear();
        self.configure(router, config);
        self.input(router, Input::RibRestarted);
        for interface in self.routers[router].ports.keys().cloned().collect::<Vec<_>>() {
            self.tell(router, interface.as_str());
        }
    }

    /// An operator's command.
    pub fn command(&mut self, router: RouterIndex, text: &str) {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        self.routers[router].core.command(self.now, &words).unwrap();
        self.drain(router);
    }

    /// Takes a router away: its core is dropped without a word.
    pub fn kill(&mut self, router: RouterIndex) {
        self.routers[router].ports.values_mut().for_each(|port| port.segment = None);
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let timer =
                self.routers.iter().enumerate().filter_map(|(index, r)| Some((r.core.poll_timeout()?, index))).min();
            let packet = self.in_flight.front().map(|(at, ..)| *at);
            let next = timer.map(|(at, _)| at).into_iter().chain(packet).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let (_, to, message) = self.in_flight.pop_front().unwrap();
                let socket = ospf::links::SOCKET;
                self.input(to, Input::Datagram { socket, message: &message });
            } else if let Some((_, router)) = timer {
                self.routers[router].core.handle_timeout(self.now);
                self.drain(router);
                let again = self.routers[router].core.poll_timeout();
                assert!(again.is_none_or(|again| again > self.now), "router {router} is due at {} again", self.now);
            }
        }
        self.now = until;
    }

    /// Lets seconds pass.
    pub fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn drain(&mut self, router: RouterIndex) {
        while let Some(output) = self.routers[router].core.poll_output() {
            match output {
                Output::Datagram { command, .. } => self.datagram(router, command),
                Output::Rib(request) => self.rib(router, request),
                Output::Log { level, text } => self.routers[router].log.push(format!("{level} {text}")),
                other => panic!("{other:?}"),
            }
        }
    }

    fn datagram(&mut self, router: RouterIndex, command: DatagramCommand) {
        match command {
            DatagramCommand::Bind(_) => {
                self.routers[router].bound = true;
                self.input(router, Input::Bound { socket: ospf::links::SOCKET });
            }
            DatagramCommand::Unbind => self.routers[router].bound = false,
            DatagramCommand::Join { group, interface } => {
                assert!(self.routers[router].groups.insert((interface, group)), "joined twice");
            }
            DatagramCommand::Leave { group, interface } => {
                assert!(self.routers[router].groups.remove(&(interface, group)), "left without having joined");
            }
            DatagramCommand::Send(message) => self.send(router, message),
        }
    }

    fn send(&mut self, router: RouterIndex, message: ProcessMessage) {
        assert!(self.routers[router].bound, "sends without a socket");
        self.sent.push((self.now, router, message.clone()));
        let interface = message.interface.clone().unwrap();
        let port = &self.routers[router].ports[&interface];
        assert_eq!(message.addresses.source.ip(), IpAddr::V4(port.address.addr()), "the source is the interface's");
        assert_eq!((message.ttl, message.tos), (1, 0xc0));
        let Some(segment) = port.segment.filter(|segment| port.up && !self.cut.contains(segment)) else { return };
        if self.loses.as_mut().is_some_and(|loses| loses(&message)) {
            return;
        }
        let others: Vec<_> = self.on_segment(segment).filter(|(other, _)| *other != router).collect();
        for (other, interface) in others {
            let (to, receiver) = (message.addresses.destination.ip(), &self.routers[other]);
            let port = &receiver.ports[&interface];
            let is_for_it = IpAddr::V4(port.address.addr()) == to || receiver.groups.contains(&(interface.clone(), to));
            if port.up && is_for_it {
                let received = ProcessMessage { interface: Some(interface), ..message.clone() };
                self.in_flight.push_back((self.now + DELAY, other, received));
            }
        }
    }

    fn rib(&mut self, router: RouterIndex, request: RibRequest) {
        let router = &mut self.routers[router];
        match request {
            RibRequest::Routes(changes) => {
                for change in changes {
                    match change {
                        RouteChange::Add(route) => drop(router.rib.insert(route.prefix, route)),
                        RouteChange::Remove(prefix) => {
                            assert!(router.rib.remove(&prefix).is_some(), "{prefix} was not there");
                        }
                    }
                }
            }
            RibRequest::EndOfRoutes => router.all_routes = true,
            RibRequest::Redistribute(wants) => router.wants = wants,
            RibRequest::TrackPrefix(prefix) => drop(router.tracked.insert(prefix)),
            RibRequest::UntrackPrefix(prefix) => drop(router.tracked.remove(&prefix)),
            other => panic!("{other:?}"),
        }
    }
}

impl Router {
    /// Cells of a table: the values of some columns of each row, as text.
    pub fn show(&self, now: Time, table: &str, columns: &[&str]) -> Vec<String> {
        let declared = ospf::show::tables().into_iter().find(|declared| declared.words == table).unwrap();
        let place = |column: &&str| declared.columns.iter().position(|name| name == *column).unwrap() - 1;
        let places: Vec<usize> = columns.iter().map(place).collect();
        let rows = self.core.show(now, table, &[]).unwrap();
        rows.iter().map(|row| places.iter().map(|place| text(&row[*place])).collect::<Vec<_>>().join(" ")).collect()
    }

    /// Routes as the RIB has them: `10.0.0.0/8 3 via 10.0.0.1`.
    pub fn routes(&self) -> Vec<String> {
        let hop = |hop: &NextHop| match hop {
            NextHop::OnInterface(interface, address) => format!("{address}%{interface}"),
            NextHop::Discard => "Null0".to_owned(),
            other => format!("{other:?}"),
        };
        let route = |route: &Route| {
            let hops: Vec<String> = route.next_hops.iter().map(hop).collect();
            format!("{} {} via {}", route.prefix, route.metric, hops.join(" "))
        };
        self.rib.values().map(route).collect()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value.clone(),
        Value::List(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(values) => values.iter().map(|(_, value)| text(value)).collect::<Vec<_>>().join("%"),
    }
}

/// States of all neighbors of a router.
pub fn states(network: &Network, router: RouterIndex) -> Vec<String> {
    network.routers[router].show(network.now, "ospf neighbor", &["state"])
}

/// Router ID `192.0.2.N`, N from 1, of the router with an index.
pub fn id(router: RouterIndex) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(192, 0, 2, 1)) + router as u32)
}

/// The database of an area as lines, without ages: those of routers that are synchronized are the same.
pub fn database(network: &Network, router: RouterIndex, area: &str) -> Vec<String> {
    let columns = ["area", "type", "link_state_id", "advertising_router", "sequence", "checksum"];
    let rows = network.routers[router].show(network.now, "ospf database", &columns);
    rows.into_iter().filter(|row| row.starts_with(&format!("{area} "))).collect()
}
