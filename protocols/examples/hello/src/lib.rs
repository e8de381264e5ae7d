//! A protocol to begin with: greets its neighbors on every interface, tells them its networks, and brings theirs as
//! routes.
//!
//! ```text
//! router hello
//!  network 198.51.100.0/24      told to the neighbors
//!  interval 5                   seconds between two greetings; 1 unless given
//! ```
//!
//! The core knows no socket, no clock and no thread: it is told what happened and when, and says what it wants done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use sdk::command::{Command, Declaration, ParameterType, Runs};
use sdk::config::Node;
use sdk::core::{ConfigError, DatagramCommand, DatagramSocket, Input, Output, ProtocolCore, Time};
use sdk::datagram::{DatagramProtocol, ProcessMessage};
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::ipnet::Ipv4Net;
use sdk::log::Level;
use sdk::outbox::Outbox;
use sdk::rib::{NextHop, RibRequest, Route};
use sdk::show::{Row, ShowTable, Value};
use sdk::{InterfaceName, ServiceName};

/// The one socket of this protocol; the number is its own choice.
const SOCKET: DatagramSocket = DatagramSocket(0);
/// UDP port.
const PORT: u16 = 7_000;
/// All who speak this protocol on a link.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 200);
/// A neighbor that was not heard for so many of its greetings is gone.
const MISSED: u32 = 3;
/// Administrative distance: behind every other protocol.
const DISTANCE: u8 = 250;

/// What this protocol adds to the router.
pub fn declaration() -> Declaration {
    let seconds = ParameterType::Number { name: "seconds".into(), min: 1, max: 3600 };
    let inside = vec![
        Command::line("network <>", "A network that neighbors are told", vec![ParameterType::Ipv4Prefix]).each(),
        Command::line("interval <>", "Seconds between two greetings", vec![seconds]),
    ];
    Declaration {
        // Cannot fail: letters are a name.
        class: ServiceName::new("hello").expect("a name"),
        runs: Runs::WhereConfigured,
        blocks: vec![Command::block("router hello", "Greetings", Vec::new(), inside)],
        reads: Vec::new(),
        tables: vec![
            ShowTable::new("hello", "Who greets", &["vr", "interface", "neighbor", "networks", "last_heard"]),
            ShowTable::new("hello counters", "Greetings counted", &["vr", "sent", "received", "dropped"]),
        ],
        commands: Vec::new(),
    }
}

/// `router hello`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    networks: BTreeSet<Ipv4Net>,
    interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { networks: BTreeSet::new(), interval: Duration::from_secs(1) }
    }
}

/// The protocol.
#[derive(Debug, Default)]
pub struct Hello {
    config: Config,
    outbox: Outbox,
    /// Interfaces that are up; greetings go out by them.
    interfaces: BTreeSet<InterfaceName>,
    neighbors: BTreeMap<(InterfaceName, Ipv4Addr), Neighbor>,
    /// When the next greeting is due; `None`: there is no socket.
    greet_at: Option<Time>,
    sent: u64,
    received: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Neighbor {
    networks: BTreeSet<Ipv4Net>,
    heard: Time,
    /// It is gone then, unless it is heard again.
    until: Time,
}

impl ProtocolCore for Hello {
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
        self.greet_at = self.greet_at.map(|_| now);
        self.install();
        Ok(())
    }

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Bound { .. } => self.greet_at = Some(now),
            Input::Datagram { message, .. } => self.receive(now, message),
            Input::Interface(state) => self.interface(now, &state),
            Input::InterfaceRemoved(name) => self.close(&name),
            Input::RibRestarted => {
                self.outbox.rib_restarted();
                self.install();
                self.outbox.rib(RibRequest::EndOfRoutes);
            }
            Input::Rib(update) => self.outbox.warn_of(&update),
            // There are no connections.
            Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Accepted { .. }
            | Input::Received { .. }
            | Input::Closed { .. }
            | Input::ListenFailed { .. }
            // The shell has logged it, and tries again.
            | Input::BindFailed { .. }
            // The shell takes the routes back.
            | Input::Stop => {}
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.neighbors.values().map(|neighbor| neighbor.until).chain(self.greet_at).min()
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.greet_at.is_some_and(|at| at <= now) {
            self.greet_at = Some(now + self.config.interval);
            self.greet();
        }
        let outbox = &mut self.outbox;
        self.neighbors.retain(|(interface, address), neighbor| {
            let lives = neighbor.until > now;
            if !lives {
                outbox.log(Level::Info, format!("{address} on {interface} is silent"));
            }
            lives
        });
        self.install();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    fn show(&self, now: Time, table: &str, _: &[String]) -> Option<Vec<Row>> {
        let row = |((interface, address), neighbor): (&(InterfaceName, Ipv4Addr), &Neighbor)| {
            let networks = neighbor.networks.iter().map(Value::text).collect();
            let heard = now.since(neighbor.heard).as_secs_f64();
            vec![Value::text(interface), Value::text(address), Value::List(networks), heard.into()]
        };
        match table {
            "hello" => Some(self.neighbors.iter().map(row).collect()),
            "hello counters" => Some(vec![vec![self.sent.into(), self.received.into(), self.dropped.into()]]),
            _ => None,
        }
    }
}

impl Hello {
    fn interface(&mut self, now: Time, state: &InterfaceState) {
        let speaks =
            state.up && state.kind != InterfaceKind::Loopback && state.addresses.iter().any(|net| net.addr().is_ipv4());
        if !speaks {
            self.close(&state.name);
        } else if self.interfaces.insert(state.name.clone()) {
            self.outbox.datagram(SOCKET, DatagramCommand::Join { group: GROUP.into(), interface: state.name.clone() });
            self.greet_at = self.greet_at.map(|_| now);
        }
    }

    fn close(&mut self, name: &InterfaceName) {
        if self.interfaces.remove(name) {
            self.outbox.datagram(SOCKET, DatagramCommand::Leave { group: GROUP.into(), interface: name.clone() });
        }
        self.neighbors.retain(|(interface, _), _| interface != name);
        self.install();
    }

    fn greet(&mut self) {
        let payload = encode(&self.config.networks, self.config.interval);
        for name in &self.interfaces {
            let to = SocketAddr::from((GROUP, PORT));
            let message = ProcessMessage { interface: Some(name.clone()), ..ProcessMessage::to(to, payload.clone()) };
            self.outbox.datagram(SOCKET, DatagramCommand::Send(message));
            self.sent += 1;
        }
    }

    /// Whoever sends here may be anybody: what is no greeting is counted, and nothing else happens.
    fn receive(&mut self, now: Time, message: &ProcessMessage) {
        let interface = message.interface.clone().filter(|name| self.interfaces.contains(name));
        let (Some(interface), IpAddr::V4(from), Ok((networks, interval))) =
            (interface, message.addresses.source.ip(), decode(&message.payload))
        else {
            self.dropped += 1;
            return;
        };
        self.received += 1;
        let neighbor = Neighbor { networks, heard: now, until: now + interval * MISSED };
        if self.neighbors.insert((interface.clone(), from), neighbor).is_none() {
            self.outbox.log(Level::Info, format!("{from} on {interface} says hello"));
            // It need not wait for ours.
            self.greet_at = self.greet_at.map(|_| now);
        }
        self.install();
    }

    /// Tells the RIB our routes: each network leads over all who told it.
    fn install(&mut self) {
        let mut ways: BTreeMap<Ipv4Net, Vec<NextHop>> = BTreeMap::new();
        for ((interface, address), neighbor) in &self.neighbors {
            for network in neighbor.networks.difference(&self.config.networks) {
                ways.entry(*network).or_default().push(NextHop::OnInterface(interface.clone(), (*address).into()));
            }
        }
        self.outbox.install(ways.into_iter().map(|(network, hops)| Route::new(network, DISTANCE, 1, hops)));
    }
}

/// A greeting: `hello`, the interval in seconds, and the networks, as words.
pub fn encode(networks: &BTreeSet<Ipv4Net>, interval: Duration) -> Vec<u8> {
    let networks: String = networks.iter().map(|network| format!(" {network}")).collect();
    format!("hello {}{networks}", interval.as_secs()).into_bytes()
}

/// Bytes that are no greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAGreeting;

/// The networks and the interval of a greeting.
pub fn decode(bytes: &[u8]) -> Result<(BTreeSet<Ipv4Net>, Duration), NotAGreeting> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotAGreeting)?;
    let mut words = text.split(' ');
    if words.next() != Some("hello") {
        return Err(NotAGreeting);
    }
    let interval: u16 = words.next().and_then(|seconds| seconds.parse().ok()).filter(|s| *s > 0).ok_or(NotAGreeting)?;
    let networks = words.map(|word| word.parse().map_err(|_| NotAGreeting)).collect::<Result<_, _>>()?;
    Ok((networks, Duration::from_secs(interval.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_reads_back_and_garbage_is_none() {
        let networks = BTreeSet::from(["198.51.100.0/24".parse().unwrap()]);
        let interval = Duration::from_secs(5);
        assert_eq!(decode(&encode(&networks, interval)), Ok((networks, interval)));
        for garbage in [&b""[..], b"hello", b"hello 0", b"hello 70000", b"hello 1 198.51.100.0", b"\xff\xfe"] {
            assert_eq!(decode(garbage), Err(NotAGreeting), "{garbage:?}");
        }
    }
}
