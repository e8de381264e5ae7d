//! Datagrams: UDP and raw IP, to one process and to all that joined a group, on both paths.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::os::fd::AsFd;

use ipc::{Criteria, Family, InterfaceName, IpProtocol};
use sockets::{DatagramDrop, LibraryEvent, ProcessMessage, SocketError, SocketId, SocketKind};
use stack_api::datagram::{DatagramPeer, DatagramReply, DatagramRequest};
use vr_api::manager::LibraryUpdate;

use crate::harness::{Process, Router, at, write_record};

const UDP: SocketKind = SocketKind::Datagram;
const OSPF: SocketKind = SocketKind::Raw(IpProtocol::OSPF);
const ALL_SPF_ROUTERS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(224, 0, 0, 5));

fn bound(process: &mut Process, kind: SocketKind, address: &str) -> SocketId {
    let socket = process.library.create_socket(kind).unwrap();
    process.library.bind_datagram(&mut process.reactor, socket, at(address), None).unwrap();
    socket
}

fn send(process: &mut Process, socket: SocketId, to: &str, payload: &[u8]) -> Result<(), SocketError> {
    process.library.send_to(&mut process.reactor, socket, ProcessMessage::to(at(to), payload))
}

fn receive(process: &mut Process, socket: SocketId) -> Option<ProcessMessage> {
    process.library.receive_from(&mut process.reactor, socket).unwrap()
}

fn interface(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

/// Red and blue, joined, with a UDP socket each: red's on a port of the stack's choice, blue's on 53.
fn two() -> (Router, Process, Process, SocketId, SocketId) {
    let mut router = Router::new();
    let (mut red, mut blue) = (router.start(1), router.start(2));
    router.run(&mut [&mut red, &mut blue]);
    let (client, server) = (bound(&mut red, UDP, "0.0.0.0:0"), bound(&mut blue, UDP, "0.0.0.0:53"));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Listening { listener: client }]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener: server }]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    (router, red, blue, client, server)
}

/// The datagram that a socket has given to the stack.
fn sent(router: &mut Router, socket: usize) -> ProcessMessage {
    let mut record = Vec::new();
    assert!(router.datagrams[socket].1.read_record(&mut record).unwrap());
    ProcessMessage::from_record(&record).unwrap()
}

#[test]
fn a_hit_reaches_the_peers_process_with_ttl_and_tos_as_sent_and_is_answered() {
    let (mut router, mut red, mut blue, client, server) = two();
    let question = ProcessMessage { ttl: 1, tos: 0xc0, ..ProcessMessage::to(at("10.0.0.2:53"), *b"question") };
    red.library.send_to(&mut red.reactor, client, question).unwrap();
    send(&mut red, client, "10.0.0.2:53", b"sent while the channel opens").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert!(blue.take_events().contains(&LibraryEvent::Readable { socket: server }));
    let message = receive(&mut blue, server).unwrap();
    assert_eq!((message.ttl, message.tos, message.interface.clone()), (1, 0xc0, Some(interface("vr1"))));
    assert_eq!((message.addresses.source, message.addresses.destination), (at("10.0.0.1:40000"), at("10.0.0.2:53")));
    assert_eq!(message.payload, b"question");
    assert_eq!(receive(&mut blue, server).unwrap().payload, b"sent while the channel opens");
    assert_eq!(receive(&mut blue, server), None);

    blue.library.send_to(&mut blue.reactor, server, message.answer(*b"answer")).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    let answer = receive(&mut red, client).unwrap();
    assert_eq!((answer.addresses.source, &answer.payload[..]), (at("10.0.0.2:53"), &b"answer"[..]));
    assert_eq!((router.asked(0), router.asked(1)), (vec![], vec![]), "the stack saw nothing");

    blue.take_events();
    send(&mut red, client, "10.0.0.2:53", &[7; 60_000]).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Readable { socket: server }], "the bell was armed");
    assert_eq!(receive(&mut blue, server).unwrap().payload.len(), 60_000);
}

#[test]
fn a_miss_goes_to_the_stack_and_what_the_stack_brings_is_received() {
    let (mut router, mut red, mut blue, client, _) = two();
    send(&mut red, client, "192.0.2.9:53", b"far").unwrap();
    let sent = sent(&mut router, 0);
    assert_eq!((sent.addresses.source, sent.ttl, &sent.payload[..]), (at("0.0.0.0:40000"), 64, &b"far"[..]));
    assert_eq!(receive(&mut red, client), None);
    let answer = ProcessMessage { ttl: 61, interface: Some(interface("Port0/0/0")), ..sent.answer(*b"near") };
    let channel = &mut router.datagrams[0].1;
    write_record(channel, &answer.to_record().unwrap());
    let refused = DatagramReply::Error(SocketError::NetworkUnreachable);
    write_record(channel, &postcard::to_stdvec(&refused).unwrap());
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Readable { socket: client }]);
    assert_eq!(receive(&mut red, client), Some(answer));
    assert_eq!(red.library.receive_from(&mut red.reactor, client), Err(SocketError::NetworkUnreachable));
    assert_eq!(receive(&mut red, client), None);
}

#[test]
fn the_stack_is_woken_once_for_a_burst_and_behind_its_last_datagram() {
    let (mut router, mut red, mut blue, client, _) = two();
    router.run(&mut [&mut red, &mut blue]);
    let bell = |router: &mut Router| nix::unistd::read(router.datagrams[0].1.as_fd(), &mut [0; 64]).ok();
    while bell(&mut router).is_some() {}
    assert!(router.datagrams[0].1.arm_read().unwrap(), "the stack sleeps");
    let payloads: [&[u8]; 3] = [b"first", b"second", b"third"];
    for payload in payloads {
        let message = ProcessMessage::to(at("203.0.113.1:9"), payload);
        red.library.send_in_burst(&mut red.reactor, client, message).unwrap();
        assert_eq!(bell(&mut router), None, "more is to come");
    }
    red.library.end_burst();
    assert_eq!(bell(&mut router), Some(1));
    assert_eq!(payloads.map(|_| sent(&mut router, 0).payload.to_vec()), payloads);
    red.library.end_burst();
    assert_eq!(bell(&mut router), None, "there is nothing to wake for");
    // A burst that is long wakes it before its end.
    assert!(router.datagrams[0].1.arm_read().unwrap());
    for _ in 0..80 {
        let message = ProcessMessage::to(at("203.0.113.1:9"), [0; 1024]);
        red.library.send_in_burst(&mut red.reactor, client, message).unwrap();
    }
    assert_eq!(bell(&mut router), Some(1));
}

#[test]
fn a_shut_interface_leads_to_the_stack() {
    let (mut router, mut red, mut blue, client, _) = two();
    router.copy_vrfibs(&red, &blue, false);
    send(&mut red, client, "10.0.0.2:53", b"x").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(sent(&mut router, 0).payload, b"x");
}

#[test]
fn a_hello_reaches_every_process_that_joined_and_no_other() {
    let mut router = Router::new();
    let (mut red, mut blue, mut second, mut third) =
        (router.start(1), router.start(2), router.start(2), router.start(2));
    router.run(&mut [&mut red, &mut blue, &mut second, &mut third]);
    let from = bound(&mut red, OSPF, "0.0.0.0:0");
    let to = [bound(&mut blue, OSPF, "0.0.0.0:0"), bound(&mut second, OSPF, "0.0.0.0:0")];
    let not_joined = bound(&mut third, OSPF, "0.0.0.0:0");
    router.run(&mut [&mut red, &mut blue, &mut second, &mut third]);
    blue.library.join(to[0], ALL_SPF_ROUTERS, &interface("vr1")).unwrap();
    second.library.join(to[1], ALL_SPF_ROUTERS, &interface("vr1")).unwrap();
    router.run(&mut [&mut red, &mut blue, &mut second, &mut third]);
    router.copy_vrfibs(&red, &blue, true);
    let update = LibraryUpdate::VrFib(router.vrfib(2, 1, true));
    router.tell_manager(second.index, &update);
    let hello =
        ProcessMessage { interface: Some(interface("vr2")), ..ProcessMessage::to(at("224.0.0.5:0"), *b"hello") };
    assert_eq!(hello.ttl, 1);
    red.library.send_to(&mut red.reactor, from, hello.clone()).unwrap();
    router.run(&mut [&mut red, &mut blue, &mut second, &mut third]);
    for message in [receive(&mut blue, to[0]), receive(&mut second, to[1])] {
        let message = message.unwrap();
        assert_eq!((message.addresses.source, message.ttl, &message.payload[..]), (at("10.0.0.1:0"), 1, &b"hello"[..]));
        assert_eq!((message.addresses.destination, message.interface), (at("224.0.0.5:0"), Some(interface("vr1"))));
    }
    assert_eq!(receive(&mut third, not_joined), None);
    assert_eq!(router.asked(0), [], "the stack was not needed");

    blue.library.leave(to[0], ALL_SPF_ROUTERS, &interface("vr1")).unwrap();
    red.library.send_to(&mut red.reactor, from, hello).unwrap();
    router.run(&mut [&mut red, &mut blue, &mut second, &mut third]);
    assert_eq!(receive(&mut blue, to[0]), None);
    assert_eq!(blue.library.datagram_drops(DatagramDrop::NoListener), 1, "it was on its way");
    assert!(receive(&mut second, to[1]).is_some());
    let without_interface = ProcessMessage::to(at("224.0.0.5:0"), *b"x");
    assert_eq!(red.library.send_to(&mut red.reactor, from, without_interface), Err(SocketError::NetworkUnreachable));
}

#[test]
fn two_raw_sockets_of_one_process_each_get_a_copy() {
    let (mut router, mut red, mut blue, _, _) = two();
    let from = bound(&mut red, OSPF, "0.0.0.0:0");
    let to = [bound(&mut blue, OSPF, "0.0.0.0:0"), bound(&mut blue, OSPF, "0.0.0.0:0")];
    router.run(&mut [&mut red, &mut blue]);
    router.copy_vrfibs(&red, &blue, true);
    send(&mut red, from, "10.0.0.2:0", b"update").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    for socket in to {
        assert_eq!(receive(&mut blue, socket).unwrap().payload, b"update");
        assert_eq!(receive(&mut blue, socket), None);
    }
}

#[test]
fn a_forged_source_or_destination_is_a_counted_drop_and_the_channel_goes_on() {
    let (mut router, mut red, mut blue, _, server) = two();
    let criteria = Criteria::Udp(Family::Ipv4, NonZeroU16::new(53).unwrap());
    let terms = postcard::to_stdvec(&DatagramPeer::Records).unwrap();
    let mut channel = router.open_criteria(blue.index, criteria, router.identity(red.index), terms);
    let message = |source: &str, destination: &str| {
        let mut message = ProcessMessage::to(at(destination), *b"x");
        message.addresses.source = at(source);
        message.to_record().unwrap()
    };
    write_record(&mut channel, &message("10.0.0.9:1", "10.0.0.2:53"));
    write_record(&mut channel, &message("10.0.0.1:1", "10.0.0.2:54"));
    write_record(&mut channel, &message("[::1]:1", "[::1]:53"));
    // No header, one that is cut, an interface of the sender's choice, more than a packet holds, a TTL that was used up.
    write_record(&mut channel, b"\xff\xff\xff");
    write_record(&mut channel, &message("10.0.0.1:1", "10.0.0.2:53")[..15]);
    let mut named =
        ProcessMessage { interface: Some(interface("vr1")), ..ProcessMessage::to(at("10.0.0.2:53"), *b"x") };
    named.addresses.source = at("10.0.0.1:1");
    write_record(&mut channel, &named.to_record().unwrap());
    write_record(&mut channel, &[&message("10.0.0.1:1", "10.0.0.2:53")[..], &[0; 65_515]].concat());
    write_record(&mut channel, &ProcessMessage { ttl: 0, interface: None, ..named }.to_record().unwrap());
    write_record(&mut channel, &message("10.0.0.1:1", "10.0.0.2:53"));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(receive(&mut blue, server).unwrap().addresses.source, at("10.0.0.1:1"));
    assert_eq!(receive(&mut blue, server), None);
    for (reason, drops) in
        [(DatagramDrop::ForgedSource, 2), (DatagramDrop::WrongDestination, 2), (DatagramDrop::BadRecord, 4)]
    {
        assert_eq!(blue.library.datagram_drops(reason), drops, "{reason}");
    }
}

#[test]
fn a_full_ring_drops_and_counts_and_the_sender_goes_on() {
    let (mut router, mut red, mut blue, client, server) = two();
    send(&mut red, client, "10.0.0.2:53", b"first").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    let mut sent = 1;
    while red.library.datagram_drops(DatagramDrop::RingFull) == 0 {
        send(&mut red, client, "10.0.0.2:53", &[1; 30_000]).unwrap();
        sent += 1;
        assert!(sent < 1000, "the ring has an end");
    }
    let received = std::iter::from_fn(|| receive(&mut blue, server)).count() as u64;
    assert_eq!(received + red.library.datagram_drops(DatagramDrop::RingFull), sent);
    send(&mut red, client, "10.0.0.2:53", b"there is room again").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(receive(&mut blue, server).unwrap().payload, b"there is room again");
}

#[test]
fn a_queue_in_front_of_an_opening_channel_is_bounded() {
    let (mut router, mut red, mut blue, client, server) = two();
    for _ in 0..100 {
        send(&mut red, client, "10.0.0.2:53", b"x").unwrap();
    }
    router.run(&mut [&mut red, &mut blue]);
    let received = std::iter::from_fn(|| receive(&mut blue, server)).count() as u64;
    assert_eq!(received + red.library.datagram_drops(DatagramDrop::OpeningQueueFull), 100);
    assert!(received >= 64);
}

#[test]
fn a_new_stack_gets_the_port_and_the_groups_again() {
    let (mut router, mut red, mut blue, client, _) = two();
    red.library.join(client, ALL_SPF_ROUTERS, &interface("vr2")).unwrap();
    router.kill_stack();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(receive(&mut red, client), None);
    router.stack_is_up = true;
    router.run(&mut [&mut red, &mut blue]);
    let ports: Vec<_> = router.datagrams.iter().map(|(bind, _)| bind.protocol).collect();
    assert!(ports.contains(&stack_api::datagram::DatagramProtocol::Udp { port: 40_000 }), "{ports:?}");
    let index = ports.iter().position(|p| *p == stack_api::datagram::DatagramProtocol::Udp { port: 40_000 }).unwrap();
    let join = DatagramRequest::Join { group: ALL_SPF_ROUTERS, interface: interface("vr2") };
    assert_eq!(router.asked(index), [join]);
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let (_router, mut red, _blue, client, _) = two();
    assert_eq!(send(&mut red, client, "10.0.0.2:0", b"x"), Err(SocketError::InvalidArgument));
    assert_eq!(send(&mut red, client, "10.0.0.2:53", &vec![0; 65_508]), Err(SocketError::MessageSize));
    assert_eq!(send(&mut red, client, "[2001:db8::1]:53", b"x"), Err(SocketError::InvalidArgument));
    let unbound = red.library.create_socket(UDP).unwrap();
    assert_eq!(send(&mut red, unbound, "10.0.0.2:53", b"x"), Err(SocketError::NotConnected));
    assert_eq!(red.library.join(client, at("10.0.0.2:0").ip(), &interface("vr2")), Err(SocketError::InvalidArgument));
}
