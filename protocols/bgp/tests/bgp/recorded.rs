//! Recorded cases: a folder each under `tests/cases`, with a `config`, what goes in (`in.txt`) and what must come out
//! (`out.txt`). The first line of `in.txt` says what is shown.
//!
//! `ISTHMUS_REWRITE=1 cargo test -p isthmus-bgp --test bgp recorded` writes every `out.txt` anew, to be reviewed like
//! code.
//!
//! Lines of `in.txt`, each behind its time in seconds:
//!
//! ```text
//! interface NAME ADDRESS up|down          rib restarted
//! rib next-hop ADDRESS METRIC|none        rib prefix PREFIX METRIC|none
//! command WORDS                           stop
//! config FILE                             wait
//! NEIGHBOR accepted | connected | refused | closed
//! NEIGHBOR open AS ROUTER-ID HOLD         NEIGHBOR keepalive | end-of-rib
//! NEIGHBOR announce NEXT-HOP PATH PREFIX… (the path as 64502,65000)
//! NEIGHBOR withdraw PREFIX…               NEIGHBOR bytes HEX…
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ipc::{InterfaceName, VrName};
use isthmus_bgp::Bgp;
use isthmus_bgp::packet::{
    self, AsPath, AsWidth, Attributes, DecodeContext, DecodedAttributes, Message, Open, PeerKind,
};
use sdk::core::{Closed, ConnectionId, Input, Output, ProtocolCore, Time};
use sdk::rib::{NextHop, Reached, RibRequest, RibUpdate, RouteChange};
use stack_api::interface::{InterfaceKind, InterfaceState};
use stack_api::socket::SocketError;

use crate::peer::written;
use crate::tree::tree;

#[test]
fn every_recorded_case_gives_what_was_recorded() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<_> = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        let out = Case::new(&case).run();
        let recorded = case.join("out.txt");
        if std::env::var_os("ISTHMUS_REWRITE").is_some() {
            fs::write(&recorded, &out).unwrap();
        }
        let expected = fs::read_to_string(&recorded).unwrap_or_default();
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&out), lines(&expected), "case {}", case.display());
    }
}

struct Case {
    folder: std::path::PathBuf,
    core: Bgp,
    now: Time,
    out: String,
    accepted: u32,
    /// The newest connection of each neighbor.
    connections: BTreeMap<IpAddr, ConnectionId>,
}

impl Case {
    fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            core: Bgp::new(),
            now: Time::ZERO,
            out: String::new(),
            accepted: 0,
            connections: BTreeMap::new(),
        }
    }

    fn run(mut self) -> String {
        self.configure("config");
        let text = fs::read_to_string(self.folder.join("in.txt")).unwrap();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (at, what) = line.split_once(char::is_whitespace).unwrap();
            let what = what.trim();
            self.wait(Time::ZERO + Duration::from_secs_f64(at.parse().unwrap()));
            writeln!(self.out, "{} < {what}", self.now).unwrap();
            self.input(&what.split_whitespace().collect::<Vec<_>>());
            self.drain();
        }
        self.out
    }

    fn configure(&mut self, file: &str) {
        let text = fs::read_to_string(self.folder.join(file)).unwrap();
        self.core.configure(self.now, Bgp::read_config(&tree(&text)).unwrap()).unwrap();
        self.drain();
    }

    fn wait(&mut self, until: Time) {
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = due;
            self.core.handle_timeout(due);
            self.drain();
        }
        self.now = until;
    }

    fn input(&mut self, words: &[&str]) {
        match words {
            ["wait"] => {}
            ["config", file] => self.configure(file),
            ["stop"] => self.core.handle_input(self.now, Input::Stop),
            ["command", words @ ..] => {
                let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                self.core.command(self.now, &words).unwrap();
            }
            ["rib", "restarted"] => self.core.handle_input(self.now, Input::RibRestarted),
            ["rib", "next-hop", address, metric] => {
                let interface = InterfaceName::new("Port0/0/0").unwrap();
                let reached = metric.parse().ok().map(|metric| Reached { metric, connected: false, interface });
                let update = RibUpdate::NextHop { address: address.parse().unwrap(), reached };
                self.core.handle_input(self.now, Input::Rib(update));
            }
            ["rib", "prefix", prefix, metric] => {
                let update = RibUpdate::Prefix { prefix: prefix.parse().unwrap(), metric: metric.parse().ok() };
                self.core.handle_input(self.now, Input::Rib(update));
            }
            ["interface", name, address, state] => {
                let state = InterfaceState {
                    vr: VrName::new("red").unwrap(),
                    name: InterfaceName::new(name).unwrap(),
                    kind: InterfaceKind::Port,
                    addresses: vec![address.parse().unwrap()],
                    link_local: None,
                    mtu: 1500,
                    up: *state == "up",
                    mac: None,
                };
                self.core.handle_input(self.now, Input::Interface(state));
            }
            [neighbor, event @ ..] => self.neighbor(neighbor.parse().unwrap(), event),
            [] => {}
        }
    }

    fn neighbor(&mut self, neighbor: IpAddr, event: &[&str]) {
        let local = SocketAddr::new("10.0.0.0".parse().unwrap(), 179);
        if event == ["accepted"] {
            self.accepted += 1;
            let connection = ConnectionId(0x8000_0000 + self.accepted);
            self.connections.insert(neighbor, connection);
            let remote = SocketAddr::new(neighbor, 40000);
            return self.core.handle_input(self.now, Input::Accepted { connection, local, remote });
        }
        let connection = self.connections[&neighbor];
        let bytes = match event {
            ["connected"] => {
                let remote = SocketAddr::new(neighbor, 179);
                return self.core.handle_input(self.now, Input::Connected { connection, local, remote });
            }
            ["refused"] => {
                let error = SocketError::ConnectionRefused;
                return self.core.handle_input(self.now, Input::ConnectFailed { connection, error });
            }
            ["closed"] => {
                let closed = Closed::EndOfFile;
                return self.core.handle_input(self.now, Input::Closed { connection, closed });
            }
            message => bytes(message),
        };
        self.core.handle_input(self.now, Input::Received { connection, bytes: &bytes });
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            if let Output::Connect { connection, to, .. } = &output {
                self.connections.insert(to.ip(), *connection);
            }
            for line in describe(&output) {
                writeln!(self.out, "{} > {line}", self.now).unwrap();
            }
        }
    }
}

/// A message written as fields.
fn bytes(words: &[&str]) -> Vec<u8> {
    let prefixes = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let mut bytes = Vec::new();
    match words {
        ["open", as_number, id, hold] => {
            Open::ours(as_number.parse().unwrap(), hold.parse().unwrap(), id.parse().unwrap()).encode(&mut bytes);
        }
        ["keepalive"] => packet::encode_keepalive(&mut bytes),
        ["end-of-rib"] => packet::encode_end_of_rib(&mut bytes),
        ["announce", next_hop, path, texts @ ..] => {
            let path: Vec<u32> = path.split(',').map(|number| number.parse().unwrap()).collect();
            let attributes = Attributes {
                as_path: AsPath::sequence(&path),
                next_hop: next_hop.parse().unwrap(),
                med: None,
                ..Attributes::originated(0)
            };
            let list = written(|into| attributes.encode(AsWidth::Four, into));
            packet::encode_announcements(&list, &prefixes(texts), &mut bytes).unwrap();
        }
        ["withdraw", texts @ ..] => {
            packet::encode_withdrawals(&prefixes(texts), &mut bytes);
        }
        ["bytes", digits @ ..] => {
            let digits = digits.concat();
            let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
            bytes = digits.as_bytes().chunks(2).map(byte).collect();
        }
        other => panic!("{other:?}"),
    }
    bytes
}

/// An output in lines.
fn describe(output: &Output) -> Vec<String> {
    match output {
        Output::Listen { port } => vec![format!("listen {port}")],
        Output::Peers(peers) => peers.iter().map(|peer| format!("peer {} with {peer:?}", peer.peer)).collect(),
        Output::StopListening { port } => vec![format!("stop listening {port}")],
        Output::Connect { to, from, ttl, .. } => {
            let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
            vec![format!("connect {to}{from} ttl {ttl}")]
        }
        Output::Send { bytes, .. } => messages(bytes),
        Output::Close { .. } => vec!["close".to_owned()],
        Output::Rib(RibRequest::Routes(changes)) => changes.iter().map(change).collect(),
        Output::Rib(RibRequest::EndOfRoutes) => vec!["rib: end of routes".to_owned()],
        Output::Rib(RibRequest::TrackNextHop(address)) => vec![format!("rib: track next hop {address}")],
        Output::Rib(RibRequest::UntrackNextHop(address)) => vec![format!("rib: untrack next hop {address}")],
        Output::Rib(RibRequest::TrackPrefix(prefix)) => vec![format!("rib: track prefix {prefix}")],
        Output::Rib(RibRequest::UntrackPrefix(prefix)) => vec![format!("rib: untrack prefix {prefix}")],
        Output::Rib(RibRequest::Redistribute(wanted)) => {
            wanted.iter().map(|one| format!("rib: redistribute {}", one.protocol)).collect()
        }
        Output::Rib(RibRequest::Leave) => vec!["rib: leave".to_owned()],
        Output::Datagram { .. } => panic!("BGP has no datagram sockets"),
        Output::Log { level, text } => vec![format!("log {level} {text}")],
    }
}

fn change(change: &RouteChange) -> String {
    match change {
        RouteChange::Add(route) => {
            let hops: Vec<String> = route
                .next_hops
                .iter()
                .map(|hop| match hop {
                    NextHop::Address(address) => address.to_string(),
                    other => format!("{other:?}"),
                })
                .collect();
            format!("rib: add {} distance {} via {}", route.prefix, route.distance, hops.join(" "))
        }
        RouteChange::Remove(prefix) => format!("rib: remove {prefix}"),
    }
}

fn messages(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some((frame, tail)) = packet::next_frame(rest).unwrap() {
        rest = tail;
        lines.push(match Message::decode(frame).unwrap() {
            Message::Open(open) => {
                format!("send OPEN as {} id {} hold {}", open.as_number(), open.router_id, open.hold_time_seconds)
            }
            Message::Keepalive => "send KEEPALIVE".to_owned(),
            Message::Notification(notification) => format!("send NOTIFICATION {notification}"),
            Message::RouteRefresh(_) => "send ROUTE-REFRESH".to_owned(),
            Message::Update(update) if update.is_end_of_rib() => "send UPDATE end of RIB".to_owned(),
            Message::Update(update) => describe_update(update),
        });
    }
    lines
}

fn describe_update(update: packet::Update<'_>) -> String {
    // An internal peer's attributes include all that an external one's do, but for the mandatory LOCAL_PREF.
    let kinds = [PeerKind::Internal, PeerKind::External];
    let decode = |peer| {
        let context = DecodeContext { width: AsWidth::Four, peer };
        DecodedAttributes::decode(update.attributes, update.nlri, context).ok()?.routes?.ok()
    };
    let mut line = "send UPDATE".to_owned();
    let list = |prefixes: packet::Nlri<'_>| prefixes.map(|prefix| prefix.to_string()).collect::<Vec<_>>().join(" ");
    if !update.withdrawn.is_empty() {
        line += &format!(" withdraw {}", list(update.withdrawn));
    }
    if let Some(attributes) = kinds.into_iter().find_map(decode) {
        let Attributes { as_path, next_hop, med, local_pref, .. } = &attributes;
        let next_hop: &Ipv4Addr = next_hop;
        line += &format!(" announce {} next-hop {next_hop} path [{as_path}]", list(update.nlri));
        line += &med.map(|med| format!(" med {med}")).unwrap_or_default();
        line += &local_pref.map(|local_pref| format!(" local-pref {local_pref}")).unwrap_or_default();
    }
    line
}
