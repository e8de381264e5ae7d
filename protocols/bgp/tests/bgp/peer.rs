//! One core, and a peer whose every byte the test writes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use isthmus_bgp::Bgp;
use isthmus_bgp::packet::{self, Message, Notification, Open};
use sdk::core::{ConnectionId, Input, Output, ProtocolCore, Time};
use sdk::recorded::tree;

pub const CONNECTION: ConnectionId = ConnectionId(0x8000_0001);
pub const PEER: &str = "10.0.0.1";

pub const EXTERNAL: &str = "
route-policy ALL
 pass
router bgp 64501
 bgp router-id 10.0.0.0
 neighbor 10.0.0.1
  remote-as 64502
  session-open-mode passive-only
  address-family ipv4 unicast
   route-policy ALL in
   route-policy ALL out
";

/// What the core did on the connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Messages sent, by a short name; NOTIFICATIONs apart.
    pub sent: Vec<String>,
    pub notification: Option<Notification>,
    pub closed: bool,
}

pub struct Peer {
    pub core: Bgp,
    pub now: Time,
    pub log: Vec<String>,
    /// The core's latest attempt at a connection of its own.
    pub dialed: Option<ConnectionId>,
}

impl Peer {
    /// A core with this configuration.
    pub fn new(config: &str) -> Self {
        let mut peer = Self { core: Bgp::new(), now: Time::ZERO, log: Vec::new(), dialed: None };
        let config = Bgp::read_config(&tree(config)).unwrap();
        peer.core.configure(peer.now, config).unwrap();
        peer.drain();
        peer
    }

    /// The same with an accepted connection: its OPEN is sent.
    pub fn connected(config: &str) -> Self {
        let mut peer = Self::new(config);
        assert_eq!(peer.accept(CONNECTION).sent, ["OPEN"]);
        peer
    }

    /// The same, established.
    pub fn established(config: &str) -> Self {
        let mut peer = Self::connected(config);
        let as_number = if config.contains("remote-as 64501") { 64501 } else { 64502 };
        assert_eq!(peer.open(as_number).sent, ["KEEPALIVE"]);
        assert_eq!(peer.send(&keepalive()).sent, ["UPDATE"]);
        peer
    }

    pub fn accept(&mut self, connection: ConnectionId) -> Done {
        let end = |address: &str, port| SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        let (local, remote) = (end("10.0.0.0", 179), end(PEER, 40000));
        self.core.handle_input(self.now, Input::Accepted { connection, local, remote });
        self.drain()
    }

    pub fn open(&mut self, as_number: u32) -> Done {
        self.send(&written(|into| Open::ours(as_number, 90, "10.0.0.1".parse().unwrap()).encode(into)))
    }

    /// Bytes of the peer.
    pub fn send(&mut self, bytes: &[u8]) -> Done {
        self.core.handle_input(self.now, Input::Received { connection: CONNECTION, bytes });
        self.drain()
    }

    pub fn pass(&mut self, seconds: u64) -> Done {
        self.now = self.now + Duration::from_secs(seconds);
        self.core.handle_timeout(self.now);
        self.drain()
    }

    pub fn drain(&mut self) -> Done {
        let mut done = Done::default();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { bytes, .. } => {
                    let mut rest = &bytes[..];
                    while let Some((frame, tail)) = packet::next_frame(rest).unwrap() {
                        rest = tail;
                        match Message::decode(frame).unwrap() {
                            Message::Notification(notification) => done.notification = Some(notification),
                            _ => done.sent.push(format!("{:?}", frame.kind).to_uppercase()),
                        }
                    }
                    assert!(rest.is_empty());
                }
                Output::Close { .. } => done.closed = true,
                Output::Log { level, text } => self.log.push(format!("{level} {text}")),
                Output::Connect { connection, .. } => self.dialed = Some(connection),
                Output::Listen { .. }
                | Output::Peers(_)
                | Output::StopListening { .. }
                | Output::Datagram { .. }
                | Output::Rib(_) => {}
            }
        }
        done
    }
}

pub fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

pub fn keepalive() -> Vec<u8> {
    written(packet::encode_keepalive)
}

/// A message of a type with this body and a true length.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An UPDATE of these fields with true lengths.
pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |field: &[u8]| (field.len() as u16).to_be_bytes();
    message(2, &[&length(withdrawn), withdrawn, &length(attributes), attributes, nlri].concat())
}
