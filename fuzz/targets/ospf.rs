//! What a neighbor of OSPF sends: packets of any bytes, and LSAs of any contents whose checksums are right, to a router
//! that is full with it. Each is taken or dropped for a reason, and what the router says itself can be read.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use ospf::Ospf;
use ospf::auth::Authentication;
use ospf::links::SOCKET;
use ospf::packet::{
    BACKBONE, Body, DatabaseDescription, DescriptionFlags, Frame, Hello, LinkStateUpdate, Lsa, LsaKey, LsaType,
    Options, PacketKind, SequenceNumber, encode,
};
use sdk::core::{DatagramCommand, Input, Output, ProtocolCore, Time};
use stack_api::datagram::ProcessMessage;
use stack_api::interface::{InterfaceKind, InterfaceState};
use vr_api::config::Node;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ALL_SPF_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 5);

/// What the neighbor does.
#[derive(Debug, Arbitrary)]
enum Step {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A packet with a header that is right.
    Packet { kind: u8, body: Vec<u8> },
    /// An LSA whose checksum is right.
    Lsa { kind: u8, id: u32, by_peer: bool, sequence: i32, age: u16, options: u8, body: Vec<u8> },
    /// Its usual hello.
    Hello,
    /// Milliseconds go by.
    Wait(u16),
}

fuzz_target!(|steps: Vec<Step>| {
    let mut router = Router::full();
    for step in steps {
        match step {
            Step::Bytes(bytes) => router.bytes(bytes),
            Step::Packet { kind, body } => {
                let kinds = [
                    PacketKind::Hello,
                    PacketKind::DatabaseDescription,
                    PacketKind::LinkStateRequest,
                    PacketKind::LinkStateUpdate,
                    PacketKind::LinkStateAcknowledgment,
                ];
                router.packet(kinds[usize::from(kind) % kinds.len()], |into| into.extend_from_slice(&body));
            }
            Step::Lsa { kind, id, by_peer, sequence, age, options, body } => {
                let Some(kind) = LsaType::from_code(kind % 12) else { continue };
                let key = LsaKey::new(kind, Ipv4Addr::from(id), if by_peer { PEER } else { Ipv4Addr::from(!id) });
                let lsa = Lsa::originate(key, Options(options), SequenceNumber(sequence), &body);
                let Some(lsa) = lsa else { continue };
                router.packet(PacketKind::LinkStateUpdate, |into| {
                    LinkStateUpdate::encode([(&lsa, age)].into_iter(), into)
                });
            }
            Step::Hello => router.hello(),
            Step::Wait(millis) => router.wait(Duration::from_millis(millis.into())),
        }
    }
    router.wait(Duration::from_secs(2));
    for table in ospf::show::tables() {
        router.core.show(router.now, &table.words, &[]).expect("a table of its own");
    }
});

struct Router {
    core: Ospf,
    now: Time,
}

impl Router {
    /// Full with its neighbor, which has nothing to tell.
    fn full() -> Self {
        let node = |line: &str, children| Node::new(line, children);
        let link = node("interface link", vec![node("network point-to-point", vec![])]);
        let router_id = node("router-id 192.0.2.1", vec![]);
        let block = node("router ospf 1", vec![router_id, node("area 0", vec![link])]);
        let mut core = Ospf::new(1_700_000_000);
        let config = Ospf::read_config(&[block]).expect("it is a configuration");
        core.configure(Time::ZERO, config).expect("it is read");
        let mut router = Self { core, now: Time::ZERO };
        router.input(Input::RibRestarted);
        router.input(Input::Bound { socket: SOCKET });
        router.input(Input::Interface(InterfaceState {
            vr: "red".parse().expect("a name"),
            name: "link".parse().expect("a name"),
            kind: InterfaceKind::Port,
            addresses: vec!["10.0.0.0/31".parse().expect("a subnet")],
            mtu: 1500,
            up: true,
            mac: None,
            link_local: None,
        }));
        router.hello();
        let describe = |flags, sequence| DatabaseDescription::new(1500, Options::E | Options::O, flags, sequence);
        let first = DescriptionFlags(DescriptionFlags::INIT.0 | DescriptionFlags::MORE.0 | DescriptionFlags::MASTER.0);
        router.packet(PacketKind::DatabaseDescription, |into| describe(first, 100).encode(&[], into));
        router.packet(PacketKind::DatabaseDescription, |into| {
            describe(DescriptionFlags::MASTER, 101).encode(&[], into);
        });
        router
    }

    fn hello(&mut self) {
        let hello = Hello::new(Ipv4Addr::new(255, 255, 255, 254), 10, 40, Options::E, 1);
        self.packet(PacketKind::Hello, |into| hello.encode([OWN], into));
    }

    fn packet(&mut self, kind: PacketKind, body: impl FnOnce(&mut Vec<u8>)) {
        let packet = encode(kind, PEER, BACKBONE, body);
        let packets = Authentication::Null.sign(packet, 0, |_| false);
        packets.into_iter().for_each(|packet| self.bytes(packet));
    }

    fn bytes(&mut self, payload: Vec<u8>) {
        let mut message = ProcessMessage::to(SocketAddr::new(IpAddr::V4(ALL_SPF_ROUTERS), 0), payload);
        message.addresses.source = SocketAddr::new(IpAddr::V4(PEER_ADDRESS), 0);
        message.interface = Some("link".parse().expect("a name"));
        self.input(Input::Datagram { socket: SOCKET, message: &message });
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            self.drain();
            assert!(self.core.poll_timeout().is_none_or(|again| again > self.now), "a timer is due again at once");
        }
        self.now = until;
    }

    fn input(&mut self, input: Input<'_>) {
        self.core.handle_input(self.now, input);
        self.drain();
    }

    /// What the router says is a packet, and each LSA in it is one.
    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            let Output::Datagram { command: DatagramCommand::Send(message), .. } = output else { continue };
            let frame = Frame::parse(&message.payload).expect("a packet of ours");
            if let Body::LinkStateUpdate(update) = Body::parse(&frame).expect("a packet of ours") {
                for lsa in update.lsas() {
                    lsa.expect("an LSA of ours");
                }
            }
        }
    }
}
