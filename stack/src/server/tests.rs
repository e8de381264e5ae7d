//! Sockets over packets in memory: two VRs joined without a wire, 10.0.0.0 (red) and 10.0.0.1 (blue), and
//! 2001:db8:: likewise.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use ipc::channel::Channel;
use ipc::link::Link;
use ipc::protocol::{Identity, Notice, Origin};
use ipc::reactor::Reactor;
use ipc::{Family, IpProtocol, Pid, ServiceName, VrName, fd};
use stack_api::datagram::{
    DatagramBind, DatagramPath, DatagramProtocol, DatagramReply, DatagramRequest, ProcessMessage,
};
use stack_api::fib::{FibChange, FibNextHop};
use stack_api::options::Options;
use stack_api::socket::SocketError;
use vr_api::config::Node;

use super::{Datagrams, Server};
use crate::control::config::StackConfig;
use crate::control::input::{Delivery, Input};
use crate::control::plane::Plane;
use crate::packet::PoolLimits;
use crate::time::Time;

mod foreign;
mod ipv6;
mod tcp;

const OSPF: DatagramProtocol = DatagramProtocol::Raw(IpProtocol::OSPF);

/// Its interface has 10.0.0.`host`/31, 2001:db8::`host`/127, and a link-local address.
fn vr(name: &str, peer: &str, host: u8) -> Node {
    let lines =
        [format!("ipv4 address 10.0.0.{host}/31"), format!("ipv6 address 2001:db8::{host}/127"), "mtu 1500".into()];
    let lines = lines.iter().map(|line| Node::new(line, vec![])).collect();
    Node::new(&format!("vr {name}"), vec![Node::new(&format!("interface {peer}"), lines)])
}

struct Router {
    plane: Plane,
    input: Input,
    datagrams: Datagrams,
    server: Server,
    reactor: Reactor,
    now: Time,
    next_pid: u32,
    /// Packets for TCP, as they came.
    seen: Vec<Vec<u8>>,
    /// procmgr's end of the link: it is there, and says nothing.
    _procmgr: OwnedFd,
}

impl Router {
    fn new() -> Self {
        let (link, own) = fd::seqpacket_pair().unwrap();
        let name = ServiceName::new("stack").unwrap();
        let identity = Identity { vr: ipc::VrId::ROUTER, vr_name: None, pid: Pid(1), name, origin: Origin::Supervised };
        fd::send_with_fds(link.as_fd(), &postcard::to_stdvec(&Notice::Welcome(identity)).unwrap(), &[]).unwrap();
        let mut plane = Plane::new(PoolLimits { small: 64, large: 4 });
        let mut blocks = [vr("red", "blue", 0), vr("blue", "red", 1), Node::new("connect red blue", vec![])];
        // Without addresses: whoever counts those of a VR finds the ones above.
        for block in &mut blocks[..2] {
            block.children.push(Node::new("interface Loopback0", vec![]));
        }
        let change = plane.topology.configure(StackConfig::read(&blocks).unwrap());
        plane.apply(&change).unwrap();
        for (own, peer) in [("red", "blue"), ("blue", "red")] {
            let id = plane.topology.vr(&VrName::new(own).unwrap()).unwrap();
            let next_hops = vec![FibNextHop::Via { interface: peer.parse().unwrap(), address: None }];
            let route = |prefix: &str| {
                let (prefix, next_hops) = (prefix.parse().unwrap(), next_hops.clone());
                FibChange::Add { prefix, next_hops }
            };
            let routes = [route("10.0.0.0/31"), route("2001:db8::/127")];
            plane.routes.begin(id);
            plane.routes.download(&mut plane.fib, &plane.topology, id, &routes).unwrap();
            plane.routes.end(&mut plane.fib, id).unwrap();
        }
        let reactor = Reactor::new(Link::from_socket(own).unwrap()).unwrap();
        let (input, datagrams, now) = (Input::default(), Datagrams::default(), Time::from_millis(1000));
        let (server, seen) = (Server::default(), Vec::new());
        Router { plane, input, datagrams, server, reactor, now, next_pid: 10, seen, _procmgr: link }
    }

    /// A process of `vr` opens a socket.
    fn open(&mut self, vr: &str, protocol: DatagramProtocol) -> Channel {
        self.open_with(vr, protocol, None, Options::default())
    }

    fn open_with(&mut self, vr: &str, protocol: DatagramProtocol, local: Option<IpAddr>, options: Options) -> Channel {
        self.open_of(vr, DatagramBind { protocol, family: Family::Ipv4, local, interface: None, options })
    }

    /// A new process of `vr`.
    fn process(&mut self, vr: &str) -> Identity {
        let name = ServiceName::new("ospf").unwrap();
        let vr_name = VrName::new(vr).unwrap();
        let id = self.plane.topology.vr(&vr_name).unwrap();
        self.next_pid += 1;
        Identity { vr: id, vr_name: Some(vr_name), pid: Pid(self.next_pid), name, origin: Origin::Supervised }
    }

    fn open_of(&mut self, vr: &str, wanted: DatagramBind) -> Channel {
        let peer = self.process(vr);
        let (process, own) = Channel::pair().unwrap();
        self.datagrams.open(self.now, &mut self.plane, &mut self.reactor, &peer, own, wanted);
        process
    }

    /// Carries out what processes have asked, and what packets bring.
    fn run(&mut self) {
        self.reactor.wait(Some(std::time::Duration::ZERO)).unwrap();
        while let Some(event) = self.reactor.next_event().unwrap() {
            if let ipc::reactor::Event::Ready(token) = event {
                let (now, plane, reactor) = (self.now, &mut self.plane, &mut self.reactor);
                let is_tcp = self.server.ready(now, plane, reactor, token);
                assert!(is_tcp || self.datagrams.ready(now, plane, reactor, token));
            }
        }
        self.datagrams.handle_timeout(self.now, &mut self.plane, &mut self.reactor);
        let mut deliveries = Vec::new();
        self.input.handle_own(self.now, &mut self.plane, &mut deliveries);
        for delivery in deliveries {
            match delivery {
                Delivery::Datagram { vr, packet } => {
                    if !self.datagrams.receive(&self.plane, vr, &packet) {
                        self.input.refuse(self.now, &mut self.plane, packet);
                    }
                }
                Delivery::DatagramError { vr, protocol, addresses, why } => {
                    self.datagrams.icmp_error(vr, protocol, &addresses, why);
                }
                Delivery::Segment { vr, socket, packet } => {
                    self.seen.push(packet.layer3().to_vec());
                    self.server.segment(self.now, &mut self.plane, &mut self.reactor, vr, socket, &packet);
                }
                Delivery::TcpError { .. } | Delivery::Probe(_) | Delivery::LookedFor(..) => {}
            }
        }
        if self.plane.has_punts() {
            self.run();
        }
    }

    fn send(&mut self, socket: &mut Channel, to: &str, payload: &[u8]) {
        self.say(socket, &ProcessMessage::to(at(to), payload));
    }

    fn say(&mut self, socket: &mut Channel, message: &ProcessMessage) {
        assert!(socket.write_record(&message.to_record().unwrap()).unwrap());
        self.run();
    }

    fn connect(&mut self, socket: &mut Channel, to: &str) -> Option<DatagramReply> {
        self.ask(socket, &DatagramRequest::Connect(Some(at(to))));
        heard(socket)
    }

    fn ask(&mut self, socket: &mut Channel, request: &DatagramRequest) {
        assert!(socket.write_record(&postcard::to_stdvec(request).unwrap()).unwrap());
        self.run();
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn heard(socket: &mut Channel) -> Option<DatagramReply> {
    let mut record = Vec::new();
    socket.read_record(&mut record).unwrap().then(|| postcard::from_bytes(&record).unwrap())
}

fn received(socket: &mut Channel) -> Option<ProcessMessage> {
    let mut record = Vec::new();
    socket.read_record(&mut record).unwrap().then(|| ProcessMessage::from_record(&record).unwrap())
}

#[test]
fn a_udp_datagram_arrives_with_its_ttl_its_addresses_and_the_interface() {
    let mut router = Router::new();
    let mut client = router.open("red", DatagramProtocol::Udp { port: 0 });
    let mut server = router.open("blue", DatagramProtocol::Udp { port: 53 });
    let Some(DatagramReply::Bound { port }) = heard(&mut client) else { panic!("bound") };
    assert_eq!(heard(&mut server), Some(DatagramReply::Bound { port: 53 }));
    let question = ProcessMessage { ttl: 1, tos: 0xc0, ..ProcessMessage::to(at("10.0.0.1:53"), *b"question") };
    router.say(&mut client, &question);
    let message = received(&mut server).unwrap();
    assert_eq!((message.ttl, message.tos, message.interface.clone()), (1, 0xc0, Some("red".parse().unwrap())));
    assert_eq!(message.addresses.source, SocketAddr::new(at("10.0.0.0:0").ip(), port));
    router.say(&mut server, &message.answer(vec![7; 4000]));
    assert_eq!(received(&mut client).unwrap().payload, vec![7; 4000], "in fragments");
}

#[test]
fn a_port_is_one_sockets_until_its_channel_goes() {
    let mut router = Router::new();
    let mut first = router.open("red", DatagramProtocol::Udp { port: 53 });
    let mut second = router.open("red", DatagramProtocol::Udp { port: 53 });
    assert_eq!(heard(&mut first), Some(DatagramReply::Bound { port: 53 }));
    assert_eq!(heard(&mut second), Some(DatagramReply::Failed(SocketError::AddressInUse)));
    let entries = router.plane.ifib.snapshot().len();
    drop(first);
    router.run();
    assert_eq!(router.plane.ifib.snapshot().len(), entries - 1);
    let mut third = router.open("red", DatagramProtocol::Udp { port: 53 });
    assert_eq!(heard(&mut third), Some(DatagramReply::Bound { port: 53 }));
}

#[test]
fn every_raw_socket_gets_a_copy_and_of_a_group_those_that_joined() {
    let mut router = Router::new();
    let mut red = router.open("red", OSPF);
    let mut blue = [router.open("blue", OSPF), router.open("blue", OSPF)];
    assert!(blue.iter_mut().chain([&mut red]).all(|socket| heard(socket) == Some(DatagramReply::Bound { port: 0 })));
    router.say(&mut red, &ProcessMessage::to(at("10.0.0.1:0"), *b"update"));
    assert!(blue.iter_mut().all(|socket| received(socket).is_some_and(|message| message.payload == b"update")));

    let (group, interface) = (at("224.0.0.5:0"), Some("blue".parse().unwrap()));
    let join = DatagramRequest::Join { group: group.ip(), interface: "red".parse().unwrap() };
    router.ask(&mut blue[1], &join);
    let hello = ProcessMessage { interface, ..ProcessMessage::to(group, *b"hello") };
    router.say(&mut red, &hello);
    let message = received(&mut blue[1]).unwrap();
    assert_eq!((message.addresses.source, message.ttl, &message.payload[..]), (at("10.0.0.0:0"), 1, &b"hello"[..]));
    assert_eq!(heard(&mut blue[0]), None);
}

#[test]
fn a_process_that_sleeps_is_woken_once_behind_all_that_came_for_it() {
    let mut router = Router::new();
    let (mut red, mut blue) = (router.open("red", OSPF), router.open("blue", OSPF));
    assert!(heard(&mut red).is_some() && heard(&mut blue).is_some());
    assert!(blue.arm_read().unwrap());
    (0..10).for_each(|number| router.send(&mut red, "10.0.0.1:0", &[number]));
    assert!(!blue.acknowledge_bell().unwrap(), "more may come");
    router.datagrams.ring();
    assert!(blue.acknowledge_bell().unwrap());
    assert_eq!(std::iter::from_fn(|| received(&mut blue)).count(), 10);
    // It is to make room in time.
    assert!(blue.arm_read().unwrap());
    (0..70).for_each(|_| router.send(&mut red, "10.0.0.1:0", &[7; 1000]));
    assert!(blue.acknowledge_bell().unwrap());
    assert_eq!(std::iter::from_fn(|| received(&mut blue)).count(), 70);
}

#[test]
fn what_cannot_be_sent_is_said_to_the_process() {
    let mut router = Router::new();
    let mut socket = router.open("red", DatagramProtocol::Udp { port: 9 });
    heard(&mut socket);
    let forged = {
        let mut message = ProcessMessage::to(at("10.0.0.1:53"), *b"x");
        message.addresses.source = at("10.0.0.1:9");
        message
    };
    let cases = [
        (ProcessMessage::to(at("192.0.2.1:53"), *b"x"), SocketError::NetworkUnreachable),
        // Without an interface nothing says which way a group is.
        (ProcessMessage::to(at("224.0.0.5:53"), *b"x"), SocketError::NetworkUnreachable),
        (ProcessMessage::to(at("10.0.0.1:0"), *b"x"), SocketError::InvalidArgument),
        (forged, SocketError::AddressNotAvailable),
    ];
    for (message, error) in cases {
        router.say(&mut socket, &message);
        assert_eq!(heard(&mut socket), Some(DatagramReply::Error(error)), "{message:?}");
    }
}

#[test]
fn a_connected_socket_hears_its_peer_alone_and_an_error_about_what_it_sent_there() {
    let mut router = Router::new();
    let mut client = router.open("red", DatagramProtocol::Udp { port: 1000 });
    let (mut peer, mut stranger) = (
        router.open("blue", DatagramProtocol::Udp { port: 53 }),
        router.open("blue", DatagramProtocol::Udp { port: 54 }),
    );
    assert!([&mut client, &mut peer, &mut stranger].into_iter().all(|socket| heard(socket).is_some()));
    let path = DatagramPath { local: Some(at("10.0.0.0:0").ip()), peer: Some(at("10.0.0.1:53")) };
    assert_eq!(router.connect(&mut client, "10.0.0.1:53"), Some(DatagramReply::Connected(Ok(path))));
    router.send(&mut stranger, "10.0.0.0:1000", b"psst");
    assert_eq!(heard(&mut client), None);
    router.send(&mut peer, "10.0.0.0:1000", b"answer");
    assert_eq!(received(&mut client).unwrap().payload, b"answer");

    drop(peer);
    router.run();
    router.send(&mut client, "10.0.0.1:53", b"still there?");
    assert_eq!(heard(&mut client), Some(DatagramReply::Error(SocketError::ConnectionRefused)));
    assert_eq!(heard(&mut client), None, "once");
    // Another receiver's refusal is not this peer's.
    router.send(&mut client, "10.0.0.1:55", b"x");
    assert_eq!(heard(&mut client), None);
    router.ask(&mut client, &DatagramRequest::Connect(None));
    assert!(matches!(heard(&mut client), Some(DatagramReply::Connected(Ok(_)))));
    router.send(&mut stranger, "10.0.0.0:1000", b"psst");
    assert_eq!(received(&mut client).unwrap().payload, b"psst");
    let unreachable = Some(DatagramReply::Connected(Err(SocketError::NetworkUnreachable)));
    assert_eq!(router.connect(&mut client, "192.0.2.1:53"), unreachable);
}

#[test]
fn who_is_refused_by_a_socket_that_speaks_with_another_is_told_so() {
    let mut router = Router::new();
    let mut server = router.open("blue", DatagramProtocol::Udp { port: 53 });
    let mut client = router.open("red", DatagramProtocol::Udp { port: 1000 });
    heard(&mut server);
    heard(&mut client);
    assert!(router.connect(&mut server, "10.0.0.0:1001").is_some());
    assert!(router.connect(&mut client, "10.0.0.1:53").is_some());
    router.send(&mut client, "10.0.0.1:53", b"x");
    assert_eq!(heard(&mut client), Some(DatagramReply::Error(SocketError::ConnectionRefused)));
}

#[test]
fn a_protocol_that_nobody_speaks_is_told_to_a_connected_raw_socket() {
    let mut router = Router::new();
    let mut red = router.open("red", OSPF);
    heard(&mut red);
    assert!(router.connect(&mut red, "10.0.0.1:0").is_some());
    router.send(&mut red, "10.0.0.1:0", b"hi");
    assert_eq!(heard(&mut red), Some(DatagramReply::Error(SocketError::ProtocolNotAvailable)));
}

#[test]
fn sockets_that_share_a_port_all_hear_a_group_and_the_last_one_what_is_for_one() {
    let mut router = Router::new();
    let mut sender = router.open("red", DatagramProtocol::Udp { port: 1000 });
    let sharing = Options { reuse_address: true, ..Options::default() };
    let rip = DatagramProtocol::Udp { port: 520 };
    let mut open = |local| router.open_with("blue", rip, local, sharing.clone());
    let (mut first, mut last, mut group_only) = (open(None), open(None), open(Some(at("224.0.0.9:0").ip())));
    let mut alone = router.open("blue", rip);
    assert_eq!(heard(&mut alone), Some(DatagramReply::Failed(SocketError::AddressInUse)));
    for socket in [&mut sender, &mut first, &mut last, &mut group_only] {
        assert!(matches!(heard(socket), Some(DatagramReply::Bound { .. })));
        let join = DatagramRequest::Join { group: at("224.0.0.9:0").ip(), interface: "red".parse().unwrap() };
        router.ask(socket, &join);
    }
    router.send(&mut sender, "10.0.0.1:520", b"unicast");
    assert_eq!((heard(&mut first), received(&mut last).unwrap().payload), (None, b"unicast".to_vec()));
    let interface = Some("blue".parse().unwrap());
    let message = ProcessMessage { interface, ..ProcessMessage::to(at("224.0.0.9:520"), *b"group") };
    router.say(&mut sender, &message);
    for socket in [&mut first, &mut last, &mut group_only] {
        assert_eq!(received(socket).unwrap().payload, b"group");
    }
}

#[test]
fn what_goes_to_a_group_comes_back_to_members_of_the_senders_vr_if_it_loops() {
    let mut router = Router::new();
    let mut sender = router.open("red", OSPF);
    let mut member = router.open("red", OSPF);
    let join = DatagramRequest::Join { group: at("224.0.0.5:0").ip(), interface: "blue".parse().unwrap() };
    for socket in [&mut sender, &mut member] {
        heard(socket);
        router.ask(socket, &join);
    }
    let interface = Some("blue".parse().unwrap());
    let hello = ProcessMessage { interface, ..ProcessMessage::to(at("224.0.0.5:0"), *b"hello") };
    router.say(&mut sender, &hello);
    assert_eq!((heard(&mut sender), heard(&mut member)), (None, None));
    let looping = Options { multicast_loop: true, ..Options::default() };
    router.ask(&mut sender, &DatagramRequest::SetOptions(looping));
    for loops_only in [false, true] {
        match loops_only {
            false => router.say(&mut sender, &hello),
            true => router.ask(&mut sender, &DatagramRequest::Loop(hello.clone())),
        }
        for socket in [&mut sender, &mut member] {
            let message = received(socket).unwrap();
            assert_eq!(
                (message.addresses.source, message.interface),
                (at("10.0.0.0:0"), Some("blue".parse().unwrap()))
            );
        }
    }
}
