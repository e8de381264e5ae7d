//! A neighbor that the test plays, word by word, on a point-to-point link: 192.0.2.9 at 10.0.0.1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use ospf::Ospf;
use ospf::auth::Authentication;
use ospf::links::SOCKET;
use ospf::packet::{
    BACKBONE, Body, DatabaseDescription, DescriptionFlags, Frame, Hello, LinkStateAcknowledgment, LinkStateRequest,
    LinkStateUpdate, Lsa, LsaHeader, LsaKey, LsaType, Options, PacketKind, RouterFlags, RouterLsa, SequenceNumber,
    encode,
};
use sdk::core::{DatagramCommand, Input, Output, ProtocolCore, Time};
use sdk::datagram::ProcessMessage;
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::rib::{NextHop, RibRequest, RouteChange};
use sdk::{InterfaceName, VrName};

use crate::network::tree;

pub const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
pub const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const ALL_SPF_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);

/// A router with the interface `link`, and what it says.
pub struct Conversation {
    pub core: Ospf,
    pub now: Time,
    pub log: Vec<String>,
    /// What was said since it was last looked at.
    said: Vec<String>,
    /// All that came out, each line with its time.
    pub record: Vec<String>,
    /// LSAs of the router, as last heard.
    pub lsas: Vec<Lsa>,
    /// Number of the router's last description.
    pub sequence: u32,
}

/// The link's lines, in the block of the interface.
pub fn config(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("   {line}\n")).collect();
    format!("router ospf 1\n router-id {OWN}\n area 0\n  interface link\n   network point-to-point\n{lines}")
}

impl Conversation {
    pub fn new(config: &str) -> Self {
        let mut core = Ospf::new(1_700_000_000);
        core.configure(Time::ZERO, Ospf::read_config(&tree(config)).unwrap()).unwrap();
        let (log, said, lsas, record) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut this = Self { core, now: Time::ZERO, log, said, record, lsas, sequence: 0 };
        this.input(Input::Bound { socket: SOCKET });
        this.interface(1500, true);
        this
    }

    /// What the stack says of the link.
    pub fn interface(&mut self, mtu: u32, up: bool) {
        let name = InterfaceName::new("link").unwrap();
        let addresses = vec!["10.0.0.0/31".parse::<IpNet>().unwrap()];
        let vr = VrName::new("red").unwrap();
        let state =
            InterfaceState { vr, name, kind: InterfaceKind::Port, addresses, mtu, up, mac: None, link_local: None };
        self.input(Input::Interface(state));
    }

    fn input(&mut self, input: Input<'_>) {
        self.core.handle_input(self.now, input);
        self.drain();
        // The end of the turn.
        if self.core.poll_timeout().is_some_and(|due| due <= self.now) {
            self.core.handle_timeout(self.now);
            self.drain();
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// Lets milliseconds pass.
    pub fn millis(&mut self, millis: u64) {
        self.wait(Duration::from_millis(millis));
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Datagram { command: DatagramCommand::Send(message), .. } => self.heard(&message),
                Output::Datagram { .. } => {}
                Output::Rib(request) => self.record_request(request),
                Output::Log { level, text } => {
                    self.record(&format!("log {level} {text}"));
                    self.log.push(format!("{level} {text}"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn heard(&mut self, message: &ProcessMessage) {
        let frame = Frame::parse(&message.payload).unwrap();
        assert_eq!((frame.router, frame.area), (OWN, BACKBONE));
        let list = |items: Vec<String>| items.join(", ");
        let said = match Body::parse(&frame).unwrap() {
            Body::Hello(hello) => format!("hello [{}]", list(hello.neighbors().map(|id| id.to_string()).collect())),
            Body::DatabaseDescription(description) => {
                self.sequence = description.sequence;
                let flag = |flag, name| if description.flags.contains(flag) { name } else { "" };
                let flags = [
                    flag(DescriptionFlags::INIT, "I"),
                    flag(DescriptionFlags::MORE, "M"),
                    flag(DescriptionFlags::MASTER, "S"),
                ];
                let headers = description.headers().map(|header| header.unwrap().key.to_string()).collect();
                format!("describe {} [{}]", flags.concat(), list(headers))
            }
            Body::LinkStateRequest(request) => {
                format!("request [{}]", list(request.keys().map(|key| key.unwrap().to_string()).collect()))
            }
            Body::LinkStateUpdate(update) => {
                let lsas: Vec<Lsa> = update.lsas().map(Result::unwrap).collect();
                for lsa in &lsas {
                    self.lsas.retain(|known| known.key() != lsa.key());
                    self.lsas.push(lsa.clone());
                }
                let shown =
                    lsas.iter().map(|lsa| format!("{} {} age {}", lsa.key(), lsa.header.sequence, lsa.header.age));
                format!("update [{}]", list(shown.collect()))
            }
            Body::LinkStateAcknowledgment(acknowledgment) => {
                let shown = acknowledgment.headers().map(|header| header.unwrap());
                let shown = shown.map(|header| format!("{} {}", header.key, header.sequence));
                format!("acknowledge [{}]", list(shown.collect()))
            }
        };
        self.record(&said);
        self.said.push(said);
    }

    fn record(&mut self, text: &str) {
        self.record.push(format!("{} > {text}", self.now));
    }

    fn record_request(&mut self, request: RibRequest) {
        let RibRequest::Routes(changes) = request else { return self.record(&format!("rib: {request:?}")) };
        for change in changes {
            match change {
                RouteChange::Add(route) => {
                    let hops: Vec<String> = route.next_hops.iter().map(hop).collect();
                    self.record(&format!("rib: add {} metric {} via {}", route.prefix, route.metric, hops.join(" ")));
                }
                RouteChange::Remove(prefix) => self.record(&format!("rib: remove {prefix}")),
            }
        }
    }

    /// The RIB is a new process.
    pub fn rib_restarted(&mut self) {
        self.input(Input::RibRestarted);
    }

    /// What was said since the last look.
    pub fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    /// The same without hellos.
    pub fn said_but_hellos(&mut self) -> Vec<String> {
        self.said().into_iter().filter(|said| !said.starts_with("hello")).collect()
    }

    /// The neighbor's state.
    pub fn state(&self) -> String {
        let rows = self.core.show(self.now, "ospf neighbor", &[]).unwrap();
        rows.first().map_or("none".to_owned(), |row| match &row[3] {
            sdk::show::Value::Text(state) => state.clone(),
            other => panic!("{other:?}"),
        })
    }

    /// How often a reason made packets or LSAs be dropped.
    pub fn drops(&self, reason: &str) -> u64 {
        let rows = self.core.show(self.now, "ospf drops", &[]).unwrap();
        let row = rows.iter().find(|row| row[0] == reason.into());
        row.map_or(0, |row| match row[1] {
            sdk::show::Value::Number(count) => count,
            ref other => panic!("{other:?}"),
        })
    }

    /// The peer sends bytes.
    pub fn bytes(&mut self, from: Ipv4Addr, to: Ipv4Addr, payload: Vec<u8>) {
        let mut message = ProcessMessage::to(SocketAddr::new(IpAddr::V4(to), 0), payload);
        message.addresses.source = SocketAddr::new(IpAddr::V4(from), 0);
        message.interface = Some(InterfaceName::new("link").unwrap());
        self.input(Input::Datagram { socket: SOCKET, message: &message });
    }

    /// The peer sends a packet.
    pub fn packet(&mut self, kind: PacketKind, body: impl FnOnce(&mut Vec<u8>)) {
        let packet = encode(kind, PEER, BACKBONE, body);
        let signed = Authentication::Null.sign(packet, 0, |_| false).remove(0);
        self.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, signed);
    }

    /// The peer's hello, that it hears us.
    pub fn hello(&mut self) {
        self.hello_with(Self::usual_hello(), &[OWN]);
    }

    /// A hello with other fields.
    pub fn hello_with(&mut self, hello: Hello<'_>, heard: &[Ipv4Addr]) {
        self.packet(PacketKind::Hello, |into| hello.encode(heard.iter().copied(), into));
    }

    /// The fields that fit.
    pub fn usual_hello() -> Hello<'static> {
        Hello::new(Ipv4Addr::new(255, 255, 255, 254), 10, 40, Options::E, 1)
    }

    /// The peer describes LSAs.
    pub fn describe(&mut self, flags: &str, sequence: u32, headers: &[LsaHeader]) {
        self.describe_with(Options::E | Options::O, flags, sequence, headers);
    }

    /// The same with other options.
    pub fn describe_with(&mut self, options: Options, flags: &str, sequence: u32, headers: &[LsaHeader]) {
        let flags = DescriptionFlags::default()
            .with(DescriptionFlags::INIT, flags.contains('I'))
            .with(DescriptionFlags::MORE, flags.contains('M'))
            .with(DescriptionFlags::MASTER, flags.contains('S'));
        let description = DatabaseDescription::new(1500, options, flags, sequence);
        self.packet(PacketKind::DatabaseDescription, |into| description.encode(headers, into));
    }

    /// The peer asks for LSAs.
    pub fn request(&mut self, keys: &[LsaKey]) {
        self.packet(PacketKind::LinkStateRequest, |into| LinkStateRequest::encode(keys, into));
    }

    /// The peer sends LSAs.
    pub fn update(&mut self, lsas: &[Lsa]) {
        let with_age = lsas.iter().map(|lsa| (lsa, lsa.header.age));
        self.packet(PacketKind::LinkStateUpdate, |into| LinkStateUpdate::encode(with_age, into));
    }

    /// The peer acknowledges LSAs.
    pub fn acknowledge(&mut self, headers: &[LsaHeader]) {
        self.packet(PacketKind::LinkStateAcknowledgment, |into| LinkStateAcknowledgment::encode(headers, into));
    }

    /// The peer acknowledges all that it has heard.
    pub fn acknowledge_all(&mut self) {
        let headers: Vec<LsaHeader> = self.lsas.iter().map(|lsa| lsa.header).collect();
        self.acknowledge(&headers);
    }

    /// Both become full; the peer, whose number is higher, is master and has nothing to tell.
    pub fn full(config: &str) -> Self {
        let mut this = Self::new(config);
        this.hello();
        assert_eq!(this.state(), "ExStart");
        this.describe("IMS", 100, &[]);
        assert_eq!(this.state(), "Exchange");
        this.describe("S", 101, &[]);
        assert_eq!(this.state(), "Full");
        this.millis(1);
        this.acknowledge_all();
        this.millis(500);
        this.said();
        this
    }
}

fn hop(hop: &NextHop) -> String {
    match hop {
        NextHop::OnInterface(interface, address) => format!("{address}%{interface}"),
        NextHop::Discard => "Null0".to_owned(),
        NextHop::Address(address) => address.to_string(),
        NextHop::Interface(interface) => interface.to_string(),
    }
}

/// A router-LSA of the peer without links.
pub fn router_lsa(sequence: i32) -> Lsa {
    let key = LsaKey::new(LsaType::Router, PEER, PEER);
    let body = RouterLsa::encode(RouterFlags::default(), &[]);
    Lsa::originate(key, Options::E, SequenceNumber(sequence), &body).unwrap()
}

/// A router-LSA that claims to be of the router itself.
pub fn forged_lsa(sequence: i32) -> Lsa {
    let key = LsaKey::new(LsaType::Router, OWN, OWN);
    let body = RouterLsa::encode(RouterFlags::default(), &[]);
    Lsa::originate(key, Options::E, SequenceNumber(sequence), &body).unwrap()
}
