//! A small distance-vector protocol, after RIP (RFC 2453): each router tells its neighbors how far every network is, and
//! believes the nearest of them.
//!
//! ```text
//! router distance-vector
//!  network 198.51.100.0/24      a network of this router
//!  interval 5                   seconds between two updates; 5 unless given
//! ```
//!
//! Read in the order of docs/writing-a-protocol.md: [`Step::Learn`] is `receive` and `learn`, [`Step::Install`] is
//! `install`, [`Step::Lose`] is `handle_timeout` and `lose`, [`Step::SayNo`] is `metric_for`.

pub mod packet;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sdk::command::{Command, Declaration, ParameterType, Runs};
use sdk::config::Node;
use sdk::core::{ConfigError, DatagramCommand, DatagramSocket, Input, Output, ProtocolCore, Time};
use sdk::datagram::{DatagramProtocol, ProcessMessage};
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::ipnet::Ipv4Net;
use sdk::outbox::Outbox;
use sdk::rib::{NextHop, RibRequest, Route};
use sdk::show::{Row, ShowTable, Value};
use sdk::{InterfaceName, ServiceName};

use packet::{Entry, INFINITY};

const SOCKET: DatagramSocket = DatagramSocket(0);
const PORT: u16 = 7_001;
/// All who speak this protocol on a link.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 201);
/// A route that was not heard for so many intervals is lost.
const MISSED: u32 = 3;
/// Administrative distance: RIP's.
const DISTANCE: u8 = 120;

/// What this protocol adds to the router.
pub fn declaration() -> Declaration {
    let seconds = ParameterType::Number { name: "seconds".into(), min: 1, max: 3600 };
    let inside = vec![
        Command::line("network <>", "A network of this router", vec![ParameterType::Ipv4Prefix]).each(),
        Command::line("interval <>", "Seconds between two updates", vec![seconds]),
    ];
    let columns = ["vr", "prefix", "metric", "neighbor", "interface", "lost_in"];
    Declaration {
        // Cannot fail: letters and a dash are a name.
        class: ServiceName::new("distance-vector").expect("a name"),
        runs: Runs::WhereConfigured,
        blocks: vec![Command::block("router distance-vector", "Distances", Vec::new(), inside)],
        reads: Vec::new(),
        tables: vec![
            ShowTable::new("distance-vector", "Networks and how far they are", &columns),
            ShowTable::new("distance-vector counters", "Updates counted", &["vr", "sent", "received", "dropped"]),
        ],
        commands: Vec::new(),
    }
}

/// `router distance-vector`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    networks: BTreeSet<Ipv4Net>,
    interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { networks: BTreeSet::new(), interval: Duration::from_secs(5) }
    }
}

/// How far the guide has come. Each step does all that those before it do; the last one is the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Step {
    /// Says and hears how far networks are.
    Learn,
    /// Brings the nearest to the RIB.
    Install,
    /// Loses what is not heard again.
    Lose,
    /// Says no to whom it believes.
    #[default]
    SayNo,
}

/// The protocol.
#[derive(Debug, Default)]
pub struct DistanceVector {
    step: Step,
    config: Config,
    outbox: Outbox,
    interfaces: BTreeSet<InterfaceName>,
    learned: BTreeMap<Ipv4Net, Learned>,
    /// When the next update is due; `None`: there is no socket.
    update_at: Option<Time>,
    sent: u64,
    received: u64,
    dropped: u64,
}

/// What the best neighbor said about a network.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Learned {
    /// From here; [`INFINITY`]: it is lost, and neighbors are told so.
    metric: u8,
    interface: InterfaceName,
    neighbor: Ipv4Addr,
    /// It is lost then, or, where it is lost, forgotten.
    until: Time,
}

impl ProtocolCore for DistanceVector {
    type Config = Config;

    fn read_config(blocks: &[Node]) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for line in blocks.iter().flat_map(|block| &block.children) {
            if line.starts_with("network") {
                config.networks.insert(line.value(1)?);
            } else if line.starts_with("interval") {
                config.interval = Duration::from_secs(line.value(1)?);
            }
        }
        Ok(config)
    }

    fn configure(&mut self, now: Time, config: Config) -> Result<(), ConfigError> {
        self.config = config;
        self.outbox.datagram(SOCKET, DatagramCommand::Bind(DatagramProtocol::Udp { port: PORT }));
        self.changed(now);
        Ok(())
    }

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Bound { .. } => {
                self.interfaces.clone().iter().for_each(|name| self.send(name, &[]));
                self.update_at = Some(now);
            }
            Input::Datagram { message, .. } => self.receive(now, message),
            Input::Interface(state) => self.interface(now, &state),
            Input::InterfaceRemoved(name) => self.close(now, &name),
            Input::RibRestarted => {
                self.outbox.rib_restarted();
                self.install();
                self.outbox.rib(RibRequest::EndOfRoutes);
            }
            Input::Rib(update) => self.outbox.warn_of(&update),
            // The last word: everything that leads here is lost.
            Input::Stop => {
                self.config.networks.clear();
                self.learned.values_mut().for_each(|learned| learned.metric = INFINITY);
                self.update();
            }
            // There are no connections, and the shell binds again by itself.
            Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Accepted { .. }
            | Input::Received { .. }
            | Input::Closed { .. }
            | Input::ListenFailed { .. }
            | Input::BindFailed { .. } => {}
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let ends = self.learned.values().filter(|_| self.step >= Step::Lose).map(|learned| learned.until);
        ends.chain(self.update_at).min()
    }

    fn handle_timeout(&mut self, now: Time) {
        self.learned.retain(|_, learned| learned.metric < INFINITY || learned.until > now);
        self.lose(now, |learned| learned.until <= now);
        if self.update_at.is_some_and(|at| at <= now) {
            self.update_at = Some(now + self.config.interval);
            self.update();
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    fn show(&self, now: Time, table: &str, _: &[String]) -> Option<Vec<Row>> {
        let own = |network: &Ipv4Net| vec![Value::text(network), 0u32.into(), Value::Null, Value::Null, Value::Null];
        let row = |(network, learned): (&Ipv4Net, &Learned)| {
            let Learned { metric, interface, neighbor, until } = learned;
            let (metric, lost_in) = (u32::from(*metric), until.since(now).as_secs_f64());
            vec![Value::text(network), metric.into(), Value::text(neighbor), Value::text(interface), lost_in.into()]
        };
        match table {
            "distance-vector" => {
                Some(self.config.networks.iter().map(own).chain(self.learned.iter().map(row)).collect())
            }
            "distance-vector counters" => Some(vec![vec![self.sent.into(), self.received.into(), self.dropped.into()]]),
            _ => None,
        }
    }
}

impl DistanceVector {
    /// The protocol as it is after a step.
    pub fn up_to(step: Step) -> Self {
        Self { step, ..Self::default() }
    }

    fn interface(&mut self, now: Time, state: &InterfaceState) {
        let has_ipv4 = state.addresses.iter().any(|address| address.addr().is_ipv4());
        if !state.up || !has_ipv4 || state.kind == InterfaceKind::Loopback {
            self.close(now, &state.name);
        } else if self.interfaces.insert(state.name.clone()) {
            self.outbox.datagram(SOCKET, DatagramCommand::Join { group: GROUP.into(), interface: state.name.clone() });
            if self.update_at.is_some() {
                self.send(&state.name, &[]);
            }
            self.changed(now);
        }
    }

    fn close(&mut self, now: Time, name: &InterfaceName) {
        if self.interfaces.remove(name) {
            self.outbox.datagram(SOCKET, DatagramCommand::Leave { group: GROUP.into(), interface: name.clone() });
            self.lose(now, |learned| learned.interface == *name);
        }
    }

    /// Whoever sends here may be anybody: what is no update is counted, and nothing else happens.
    fn receive(&mut self, now: Time, message: &ProcessMessage) {
        let interface = message.interface.as_ref().filter(|name| self.interfaces.contains(*name));
        let (Some(interface), IpAddr::V4(neighbor), Some(entries)) =
            (interface, message.addresses.source.ip(), packet::decode(&message.payload))
        else {
            self.dropped += 1;
            return;
        };
        self.received += 1;
        if entries.is_empty() {
            self.update_at = self.update_at.map(|_| now);
        }
        for entry in entries {
            self.learn(now, interface, neighbor, entry);
        }
        self.install();
    }

    /// RFC 2453 section 3.9.2: the nearest neighbor is believed, and whatever it says from then on.
    fn learn(&mut self, now: Time, interface: &InterfaceName, neighbor: Ipv4Addr, entry: Entry) {
        if self.config.networks.contains(&entry.network) {
            return;
        }
        let metric = entry.metric.saturating_add(1).min(INFINITY);
        let new =
            Learned { metric, interface: interface.clone(), neighbor, until: now + self.config.interval * MISSED };
        let told = match self.learned.get(&entry.network) {
            // One that is lost stays so until it is said to be near; its time to be forgotten runs on.
            Some(old) if old.metric == INFINITY && metric == INFINITY => return,
            Some(old) if (&old.interface, old.neighbor) == (interface, neighbor) => old.metric,
            Some(old) if metric < old.metric => old.metric,
            None if metric < INFINITY => INFINITY,
            Some(_) | None => return,
        };
        self.learned.insert(entry.network, new);
        if told != metric {
            self.changed(now);
        }
    }

    /// Routes are lost. Neighbors are told for as long as a route lives without being heard (RFC 2453 section 3.8).
    fn lose(&mut self, now: Time, is_lost: impl Fn(&Learned) -> bool) {
        if self.step < Step::Lose {
            return;
        }
        let until = now + self.config.interval * MISSED;
        let mut news = false;
        for learned in self.learned.values_mut().filter(|learned| learned.metric < INFINITY && is_lost(learned)) {
            (learned.metric, learned.until, news) = (INFINITY, until, true);
        }
        if news {
            self.changed(now);
        }
    }

    /// The RIB and the neighbors are told at once (RFC 2453 section 3.10.1).
    fn changed(&mut self, now: Time) {
        self.install();
        self.update_at = self.update_at.map(|_| now);
    }

    /// Sends what is known by every interface.
    fn update(&mut self) {
        for name in self.interfaces.clone() {
            let own = self.config.networks.iter().map(|network| Entry { network: *network, metric: 0 });
            let learned = self.learned.iter();
            let learned =
                learned.map(|(network, learned)| Entry { network: *network, metric: self.metric_for(&name, learned) });
            let entries: Vec<Entry> = own.chain(learned).collect();
            entries.chunks(packet::MAX_ENTRIES).for_each(|part| self.send(&name, part));
        }
    }

    /// Sends an update. One without entries asks for everything (RFC 2453 section 3.9.1).
    fn send(&mut self, interface: &InterfaceName, entries: &[Entry]) {
        let message = ProcessMessage::to(SocketAddr::from((GROUP, PORT)), packet::encode(entries));
        let message = ProcessMessage { interface: Some(interface.clone()), ..message };
        self.outbox.datagram(SOCKET, DatagramCommand::Send(message));
        self.sent += 1;
    }

    /// Tells the RIB our routes.
    fn install(&mut self) {
        if self.step < Step::Install {
            return;
        }
        let own = &self.config.networks;
        let near = self.learned.iter().filter(|(to, learned)| learned.metric < INFINITY && !own.contains(to));
        self.outbox.install(near.map(|(to, learned)| {
            let hop = NextHop::OnInterface(learned.interface.clone(), learned.neighbor.into());
            Route::new(*to, DISTANCE, learned.metric.into(), vec![hop])
        }));
    }

    /// Split horizon with poisoned reverse (RFC 2453 section 3.4.3): who told us a route hears that we have none, so that
    /// two routers never believe each other.
    fn metric_for(&self, interface: &InterfaceName, learned: &Learned) -> u8 {
        let told_us = learned.interface == *interface;
        if self.step >= Step::SayNo && told_us { INFINITY } else { learned.metric }
    }
}
