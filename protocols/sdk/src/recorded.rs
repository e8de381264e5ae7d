//! Recorded cases: what goes into a core with times, and what must come out, as text that one reads and reviews.
//!
//! A case is a folder: `config` (the blocks of the class, indented), `in.txt`, `out.txt`. The first line of `in.txt` is a
//! comment that says what is shown. Every other line is a time in seconds and an event:
//!
//! ```text
//! interface NAME ADDRESS[,ADDRESS] up|down    interface NAME removed
//! bound SOCKET                                bind-failed SOCKET
//! datagram SOCKET INTERFACE FROM TO MESSAGE   (FROM and TO: an address, or address:port)
//! PEER accepted | connected | refused | closed | MESSAGE      (PEER: the address of a TCP connection's far end)
//! rib restarted                               rib next-hop ADDRESS METRIC|none
//! rib prefix PREFIX METRIC|none               rib refused PREFIX REASON
//! rib told PREFIX PROTOCOL METRIC [TAG]       rib withdrew PREFIX
//! rib told everything                         (what is redistributed)
//! command WORDS                               config FILE
//! show TABLE [ARGUMENT]                       stop | wait
//! ```
//!
//! `out.txt` has each event again behind `<`, and behind `>` what the core did then and at its own timers. Messages are
//! written by the protocol's [`Codec`]; [`Codec::HEX`] needs none. `ISTHMUS_REWRITE=1` writes every `out.txt` anew,
//! to be reviewed like code.
//!
//! ```no_run
//! # use isthmus_sdk::core::ProtocolCore;
//! # fn example<C: ProtocolCore>(new: fn() -> C) {
//! use isthmus_sdk::recorded::{Codec, check};
//! check("tests/cases".as_ref(), new, Codec::HEX).unwrap_or_else(|difference| panic!("{difference}"));
//! # }
//! ```

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ipc::{InterfaceName, VrName};
use ipnet::IpNet;
use stack_api::datagram::{DatagramProtocol, ProcessMessage};
use stack_api::interface::{InterfaceKind, InterfaceState};
use stack_api::socket::{Addresses, SocketError};
use vr_api::config::Node;
use vr_api::show::Value;

use crate::core::{Closed, ConnectionId, DatagramCommand, DatagramSocket, Input, Output, ProtocolCore, Time};
use crate::rib::{
    NextHop, PrefixMatch, Reached, Redistributed, RedistributedChange, Redistribution, RibRequest, RibUpdate, Route,
    RouteChange,
};

/// How the messages of a protocol are written.
#[derive(Debug, Clone, Copy)]
pub struct Codec {
    /// A message from its text; why it is none.
    pub encode: fn(&str) -> Result<Vec<u8>, String>,
    /// The text of bytes that were sent: several messages in several lines.
    pub decode: fn(&[u8]) -> String,
}

impl Codec {
    /// Bytes as hexadecimal digits, with spaces where one likes.
    pub const HEX: Codec = Codec { encode: from_hex, decode: to_hex };
}

/// Runs all cases of a folder. The error is the first difference, as text.
pub fn check<C: ProtocolCore>(folder: &Path, new: impl Fn() -> C, codec: Codec) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut cases: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    cases.sort();
    if cases.is_empty() {
        return Err(format!("{}: no cases", folder.display()));
    }
    cases.iter().try_for_each(|case| check_case(case, new(), codec))
}

/// Runs one case. The error is the first difference, as text.
pub fn check_case<C: ProtocolCore>(case: &Path, core: C, codec: Codec) -> Result<(), String> {
    let out = play(case, core, codec).map_err(|error| format!("{}: {error}", case.display()))?;
    let recorded = case.join("out.txt");
    if std::env::var_os("ISTHMUS_REWRITE").is_some() {
        fs::write(&recorded, &out).map_err(|error| format!("{}: {error}", recorded.display()))?;
    }
    let expected = fs::read_to_string(&recorded).unwrap_or_default();
    difference(&out, &expected).map_or(Ok(()), |difference| Err(format!("{}: {difference}", recorded.display())))
}

/// Plays one case to a core: the text of `out.txt`.
pub fn play<C: ProtocolCore>(case: &Path, core: C, codec: Codec) -> Result<String, String> {
    let mut player =
        Player { case, core, codec, now: Time::ZERO, out: String::new(), accepted: 0, connections: BTreeMap::new() };
    player.configure("config")?;
    let text = player.read("in.txt")?;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            player.line(line).map_err(|error| format!("in.txt:{number}: {error}"))?;
        }
    }
    Ok(player.out)
}

/// Configuration text as the tree that `config` sends: an indented line stands inside the one before it; `!` and empty
/// lines say nothing. The values must be spelled as `show running-config` prints them.
pub fn tree(text: &str) -> Vec<Node> {
    fn nodes(lines: &[(usize, &str)]) -> Vec<Node> {
        let mut found = Vec::new();
        let mut rest = lines;
        while let Some(((indent, line), tail)) = rest.split_first() {
            let inside = tail.iter().take_while(|(deeper, _)| deeper > indent).count();
            let (children, behind) = tail.split_at(inside);
            found.push(Node::new(line, nodes(children)));
            rest = behind;
        }
        found
    }
    let lines: Vec<(usize, &str)> = text
        .lines()
        .map(|line| (line.len() - line.trim_start().len(), line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('!'))
        .collect();
    nodes(&lines)
}

struct Player<'c, C: ProtocolCore> {
    case: &'c Path,
    core: C,
    codec: Codec,
    now: Time,
    out: String,
    accepted: u32,
    /// The newest connection of each peer.
    connections: BTreeMap<IpAddr, ConnectionId>,
}

impl<C: ProtocolCore> Player<'_, C> {
    fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.case.join(file)).map_err(|error| format!("{file}: {error}"))
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (at, what) = line.split_once(char::is_whitespace).ok_or("a time and an event")?;
        let seconds: f64 = value(at)?;
        self.wait(Time::ZERO + Duration::try_from_secs_f64(seconds).map_err(|error| format!("{at}: {error}"))?);
        let what = what.trim();
        self.say('<', what);
        self.event(&what.split_whitespace().collect::<Vec<_>>())?;
        self.drain();
        Ok(())
    }

    fn configure(&mut self, file: &str) -> Result<(), String> {
        let config = C::read_config(&tree(&self.read(file)?)).map_err(|error| format!("{file}: {error}"))?;
        self.core.configure(self.now, config).map_err(|error| format!("{file}: {error}"))?;
        self.drain();
        Ok(())
    }

    fn wait(&mut self, until: Time) {
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn event(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["wait"] => {}
            ["config", file] => self.configure(file)?,
            ["stop"] => self.input(Input::Stop),
            ["command", words @ ..] => {
                let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                if let Err(refused) = self.core.command(self.now, &words) {
                    self.say('>', &format!("refused: {refused}"));
                }
            }
            ["show", table @ ..] => self.show(table)?,
            ["rib", rest @ ..] => self.rib(rest)?,
            ["interface", name, "removed"] => self.input(Input::InterfaceRemoved(value(name)?)),
            ["interface", name, addresses, state] => {
                let addresses = addresses.split(',').map(value).collect::<Result<_, String>>()?;
                self.input(Input::Interface(interface(name, addresses, *state == "up")?));
            }
            ["bound", socket] => self.input(Input::Bound { socket: DatagramSocket(value(socket)?) }),
            ["bind-failed", socket] => {
                let (socket, error) = (DatagramSocket(value(socket)?), SocketError::AddressInUse);
                self.input(Input::BindFailed { socket, error });
            }
            ["datagram", socket, interface, from, to, message @ ..] => {
                let message = ProcessMessage {
                    addresses: Addresses { source: endpoint(from)?, destination: endpoint(to)? },
                    ttl: 1,
                    tos: 0,
                    interface: Some(value(interface)?),
                    payload: (self.codec.encode)(&message.join(" "))?,
                };
                self.input(Input::Datagram { socket: DatagramSocket(value(socket)?), message: &message });
            }
            [peer, event @ ..] => self.connection(value(peer)?, event)?,
            [] => {}
        }
        Ok(())
    }

    fn rib(&mut self, words: &[&str]) -> Result<(), String> {
        let update = match words {
            ["restarted"] => {
                self.input(Input::RibRestarted);
                return Ok(());
            }
            ["next-hop", address, metric] => {
                let interface = value("Port0/0/0")?;
                let reached = metric.parse().ok().map(|metric| Reached { metric, connected: false, interface });
                RibUpdate::NextHop { address: value(address)?, reached }
            }
            ["prefix", prefix, metric] => RibUpdate::Prefix { prefix: value(prefix)?, metric: metric.parse().ok() },
            ["told", "everything"] => RibUpdate::RedistributionComplete,
            ["told", prefix, protocol, metric, tag @ ..] => {
                let tag = tag.first().map_or(Ok(0), |tag| value(tag))?;
                let (prefix, protocol, metric) = (value(prefix)?, (*protocol).to_owned(), value(metric)?);
                let route = Redistributed { prefix, protocol, metric, tag, interface: None, next_hop: None };
                RibUpdate::Redistributed(vec![RedistributedChange::Set(route)])
            }
            ["withdrew", prefix] => RibUpdate::Redistributed(vec![RedistributedChange::Withdraw(value(prefix)?)]),
            ["refused", prefix, reason @ ..] => RibUpdate::Refused { prefix: value(prefix)?, reason: reason.join(" ") },
            other => return Err(format!("`rib {}` is no event", other.join(" "))),
        };
        self.input(Input::Rib(update));
        Ok(())
    }

    fn connection(&mut self, peer: IpAddr, event: &[&str]) -> Result<(), String> {
        let local = SocketAddr::new(value("10.0.0.0")?, 0);
        let remote = SocketAddr::new(peer, 40_000);
        if event == ["accepted"] {
            self.accepted += 1;
            // Numbers of accepted connections have the highest bit set.
            let connection = ConnectionId(0x8000_0000 | self.accepted);
            self.connections.insert(peer, connection);
            self.input(Input::Accepted { connection, local, remote });
            return Ok(());
        }
        let connection = *self.connections.get(&peer).ok_or_else(|| format!("{peer} has no connection"))?;
        let bytes;
        let input = match event {
            ["connected"] => Input::Connected { connection, local, remote },
            ["refused"] => Input::ConnectFailed { connection, error: SocketError::ConnectionRefused },
            ["closed"] => Input::Closed { connection, closed: Closed::EndOfFile },
            message => {
                bytes = (self.codec.encode)(&message.join(" "))?;
                Input::Received { connection, bytes: &bytes }
            }
        };
        self.input(input);
        Ok(())
    }

    /// A table's name may have several words: the longest that the core knows is meant.
    fn show(&mut self, words: &[&str]) -> Result<(), String> {
        let arguments = |at: usize| words.iter().skip(at).map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let split = |at: usize| {
            let table = words.iter().take(at).copied().collect::<Vec<_>>().join(" ");
            self.core.show(self.now, &table, &arguments(at))
        };
        let rows = (1..=words.len()).rev().find_map(split).ok_or_else(|| format!("no table {}", words.join(" ")))?;
        for row in rows {
            let cells: Vec<String> = row.iter().map(cell).collect();
            self.say('>', &format!("row {}", cells.join(" | ")));
        }
        Ok(())
    }

    fn input(&mut self, input: Input<'_>) {
        self.core.handle_input(self.now, input);
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            if let Output::Connect { connection, to, .. } = &output {
                self.connections.insert(to.ip(), *connection);
            }
            for line in describe(&output, self.codec) {
                self.say('>', &line);
            }
        }
    }

    fn say(&mut self, sign: char, what: &str) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.out, "{} {sign} {what}", self.now);
    }
}

/// An output in lines.
fn describe(output: &Output, codec: Codec) -> Vec<String> {
    let one = |text: String| vec![text];
    match output {
        Output::Listen { port } => one(format!("listen {port}")),
        Output::Peers(peers) => peers.iter().map(|peer| format!("peer {} with {peer:?}", peer.peer)).collect(),
        Output::StopListening { port } => one(format!("stop listening {port}")),
        Output::Connect { to, from, ttl, .. } => {
            let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
            one(format!("connect {to}{from} ttl {ttl}"))
        }
        Output::Send { bytes, .. } => (codec.decode)(bytes).lines().map(|line| format!("send {line}")).collect(),
        Output::Close { .. } => one("close".to_owned()),
        Output::Datagram { socket: DatagramSocket(socket), command } => describe_datagram(*socket, command, codec),
        Output::Rib(RibRequest::Routes(changes)) => changes.iter().map(change).collect(),
        Output::Rib(RibRequest::EndOfRoutes) => one("rib: end of routes".to_owned()),
        Output::Rib(RibRequest::TrackNextHop(address)) => one(format!("rib: track next hop {address}")),
        Output::Rib(RibRequest::UntrackNextHop(address)) => one(format!("rib: untrack next hop {address}")),
        Output::Rib(RibRequest::TrackPrefix(prefix)) => one(format!("rib: track prefix {prefix}")),
        Output::Rib(RibRequest::UntrackPrefix(prefix)) => one(format!("rib: untrack prefix {prefix}")),
        Output::Rib(RibRequest::Redistribute(from)) => {
            let of: Vec<String> = from.iter().map(redistribution).collect();
            one(format!("rib: redistribute {}", of.join(", ")))
        }
        Output::Rib(RibRequest::Leave) => one("rib: leave".to_owned()),
        Output::Log { level, text } => one(format!("log {level} {text}")),
    }
}

fn describe_datagram(socket: u32, command: &DatagramCommand, codec: Codec) -> Vec<String> {
    let line = match command {
        DatagramCommand::Bind(DatagramProtocol::Udp { port }) => format!("bind {socket} udp {port}"),
        DatagramCommand::Bind(DatagramProtocol::Raw(protocol)) => {
            format!("bind {socket} protocol {}", protocol.number())
        }
        DatagramCommand::Unbind => format!("unbind {socket}"),
        DatagramCommand::Join { group, interface } => format!("join {socket} {group} on {interface}"),
        DatagramCommand::Leave { group, interface } => format!("leave {socket} {group} on {interface}"),
        DatagramCommand::Send(message) => {
            let by = message.interface.as_ref().map(|interface| format!(" by {interface}")).unwrap_or_default();
            let to = message.addresses.destination;
            let text = (codec.decode)(&message.payload);
            return text.lines().map(|line| format!("send {socket} to {to}{by}: {line}")).collect();
        }
    };
    vec![line]
}

fn change(change: &RouteChange) -> String {
    match change {
        RouteChange::Add(Route { prefix, distance, metric, tag, next_hops }) => {
            let hops: Vec<String> = next_hops.iter().map(hop).collect();
            let tag = if *tag == 0 { String::new() } else { format!(" tag {tag}") };
            format!("rib: add {prefix} distance {distance} metric {metric}{tag} via {}", hops.join(", "))
        }
        RouteChange::Remove(prefix) => format!("rib: remove {prefix}"),
    }
}

fn redistribution(from: &Redistribution) -> String {
    let mut text = from.protocol.clone();
    for PrefixMatch { prefix, min_length, max_length } in from.prefixes.iter().flatten() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " within {prefix} ge {min_length} le {max_length}");
    }
    text + &from.tag.map(|tag| format!(" tag {tag}")).unwrap_or_default()
}

fn hop(hop: &NextHop) -> String {
    match hop {
        NextHop::Address(address) => address.to_string(),
        NextHop::OnInterface(interface, address) => format!("{address} {interface}"),
        NextHop::Interface(interface) => interface.to_string(),
        NextHop::Discard => "Null0".to_owned(),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value.clone(),
        Value::List(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(values) => {
            values.iter().map(|(name, value)| format!("{name} {}", cell(value))).collect::<Vec<_>>().join(" ")
        }
    }
}

fn interface(name: &str, addresses: Vec<IpNet>, up: bool) -> Result<InterfaceState, String> {
    let vr: VrName = value("red")?;
    let name: InterfaceName = value(name)?;
    let kind = if name.as_str().starts_with("Loopback") { InterfaceKind::Loopback } else { InterfaceKind::Port };
    Ok(InterfaceState { vr, name, kind, addresses, link_local: None, mtu: 1500, up, mac: None })
}

/// `10.0.0.1:520`, or an address alone with port 0.
fn endpoint(text: &str) -> Result<SocketAddr, String> {
    text.parse().or_else(|_| Ok(SocketAddr::new(value(text)?, 0)))
}

fn value<T: FromStr<Err: Display>>(word: &str) -> Result<T, String> {
    word.parse().map_err(|error| format!("{word}: {error}"))
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: String = text.split_whitespace().collect();
    let pair = |at: usize| {
        let two = digits.get(at..at + 2).ok_or_else(|| format!("{text}: an odd number of digits"))?;
        u8::from_str_radix(two, 16).map_err(|error| format!("{two}: {error}"))
    };
    (0..digits.len()).step_by(2).map(pair).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first line that is different.
fn difference(out: &str, expected: &str) -> Option<String> {
    let (mut ours, mut theirs) = (out.lines(), expected.lines());
    let none = |line: Option<&str>| line.map_or("nothing".to_owned(), |line| format!("`{line}`"));
    for number in 1.. {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (came, recorded) if came != recorded => {
                return Some(format!("line {number}: recorded is {}, but there came {}", none(recorded), none(came)));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_lines_stand_inside_the_one_before_them() {
        let nodes = tree("router hello\n interval 5\n\n interface blue\n  passive\n !\n!\nrouter other\n");
        let inside: Vec<String> = nodes[0].children.iter().map(Node::line).collect();
        assert_eq!((nodes.len(), inside), (2, vec!["interval 5".to_owned(), "interface blue".to_owned()]));
        assert_eq!(nodes[0].children[1].children[0].line(), "passive");
    }

    #[test]
    fn bytes_are_written_as_digits_and_back() {
        assert_eq!(from_hex("00 0aff").as_deref(), Ok(&[0, 10, 255][..]));
        assert_eq!(to_hex(&[0, 10, 255]), "000aff");
        assert!(from_hex("0").is_err() && from_hex("0g").is_err() && from_hex("é0").is_err());
    }

    #[test]
    fn the_first_difference_is_told_with_its_line() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let told = difference("a\nb\n", "a\n").unwrap();
        assert_eq!(told, "line 2: recorded is nothing, but there came `b`");
    }
}
