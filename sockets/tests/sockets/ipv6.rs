//! IPv6: families are apart, and a link-local address is one of an interface. The rest is what IPv4 has.

use std::net::IpAddr;

use ipc::{InterfaceName, IpProtocol};
use sockets::{Destination, LibraryEvent, ProcessMessage, SocketError, SocketId, SocketKind};

use crate::harness::{Process, Router, at};

const OSPF: SocketKind = SocketKind::Raw(IpProtocol::OSPF);

fn over(name: &str) -> InterfaceName {
    InterfaceName::new(name).unwrap()
}

/// Red and blue, joined; blue listens for TCP on an address.
fn listening(address: &str) -> (Router, Process, Process, SocketId) {
    let mut router = Router::new();
    let (mut red, mut blue) = (router.start(1), router.start(2));
    router.run(&mut [&mut red, &mut blue]);
    let listener = blue.listen_on(address);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener }]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    (router, red, blue, listener)
}

fn bound(process: &mut Process, kind: SocketKind, address: &str) -> SocketId {
    let socket = process.library.create_socket(kind).unwrap();
    process.library.bind_datagram(&mut process.reactor, socket, at(address), None).unwrap();
    socket
}

#[test]
fn a_connection_hits_and_both_sides_see_its_addresses() {
    let (mut router, mut red, mut blue, listener) = listening("[::]:179");
    let socket = red.open("[2001:db8::2]:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    let accepted = blue.accept(listener).unwrap();
    let addresses = red.library.addresses(socket).unwrap();
    assert_eq!((addresses.source, addresses.destination), (at("[2001:db8::1]:60000"), at("[2001:db8::2]:179")));
    assert_eq!(accepted.addresses, addresses);
    assert!(router.connects.is_empty(), "the stack was asked");
}

#[test]
fn a_link_local_peer_is_reached_by_its_interface_and_by_no_other_call() {
    let (mut router, mut red, mut blue, listener) = listening("[::]:179");
    let mut to = Destination::new(at("[fe80::2]:179"));
    assert_eq!(red.library.open_socket(&mut red.reactor, to.clone()), Err(SocketError::InvalidArgument));
    to.local.interface = Some(over("vr2"));
    red.library.open_socket(&mut red.reactor, to.clone()).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.accept(listener).unwrap().addresses.source, at("[fe80::1]:60000"));
    // On another link it is somebody else's.
    to.local.interface = Some(over("Port0/0/0"));
    red.library.open_socket(&mut red.reactor, to).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    let [(connect, _)] = &router.connects[..] else { panic!("the stack was not asked") };
    assert_eq!((connect.to, connect.interface.clone()), (at("[fe80::2]:179"), Some(over("Port0/0/0"))));
}

#[test]
fn a_listener_on_all_addresses_of_ipv6_takes_no_ipv4() {
    let (mut router, mut red, mut blue, listener) = listening("[::]:179");
    red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.accept(listener), None);
    assert_eq!(router.connects.len(), 1, "a miss");
    let second = blue.listen_on("0.0.0.0:179");
    router.run(&mut [&mut red, &mut blue]);
    assert!(blue.take_events().contains(&LibraryEvent::Listening { listener: second }), "both may have the port");
}

#[test]
fn datagrams_hit_and_are_answered_on_their_link() {
    let mut router = Router::new();
    let (mut red, mut blue) = (router.start(1), router.start(2));
    router.run(&mut [&mut red, &mut blue]);
    let (client, server) =
        (bound(&mut red, SocketKind::Datagram, "[::]:0"), bound(&mut blue, SocketKind::Datagram, "[::]:53"));
    router.run(&mut [&mut red, &mut blue]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    for (to, interface, source) in
        [("[2001:db8::2]:53", None, "[2001:db8::1]:40000"), ("[fe80::2]:53", Some(over("vr2")), "[fe80::1]:40000")]
    {
        let question = ProcessMessage { ttl: 7, interface, ..ProcessMessage::to(at(to), *b"question") };
        red.library.send_to(&mut red.reactor, client, question).unwrap();
        router.run(&mut [&mut red, &mut blue]);
        let message = blue.library.receive_from(&mut blue.reactor, server).unwrap().unwrap();
        assert_eq!((message.addresses.source, message.addresses.destination), (at(source), at(to)));
        assert_eq!((message.ttl, message.interface.clone()), (7, Some(over("vr1"))));
        blue.library.send_to(&mut blue.reactor, server, message.answer(*b"answer")).unwrap();
        router.run(&mut [&mut red, &mut blue]);
        let answer = red.library.receive_from(&mut red.reactor, client).unwrap().unwrap();
        assert_eq!((answer.addresses.source, &answer.payload[..]), (at(to), &b"answer"[..]));
    }
    let local =
        |red: &mut Process, to: &str| red.library.send_to(&mut red.reactor, client, ProcessMessage::to(at(to), *b"x"));
    assert_eq!(local(&mut red, "[fe80::2]:53"), Err(SocketError::InvalidArgument), "on which link?");
    assert_eq!(local(&mut red, "10.0.0.2:53"), Err(SocketError::InvalidArgument), "of another family");
    let longest = ProcessMessage::to(at("[2001:db8::2]:53"), vec![0; 65_527]);
    assert_eq!(red.library.send_to(&mut red.reactor, client, longest), Ok(()));
    let longer = ProcessMessage::to(at("[2001:db8::2]:53"), vec![0; 65_528]);
    assert_eq!(red.library.send_to(&mut red.reactor, client, longer), Err(SocketError::MessageSize));
}

#[test]
fn a_hello_to_ff02_5_reaches_who_joined_and_comes_from_the_link_local_address() {
    let group: IpAddr = "ff02::5".parse().unwrap();
    let mut router = Router::new();
    let (mut red, mut blue, mut other) = (router.start(1), router.start(2), router.start(2));
    router.run(&mut [&mut red, &mut blue, &mut other]);
    let from = bound(&mut red, OSPF, "[::]:0");
    let (to, not_joined) = (bound(&mut blue, OSPF, "[::]:0"), bound(&mut other, OSPF, "[::]:0"));
    router.run(&mut [&mut red, &mut blue, &mut other]);
    blue.library.join(to, group, &over("vr1")).unwrap();
    router.run(&mut [&mut red, &mut blue, &mut other]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue, &mut other]);
    let hello = ProcessMessage { interface: Some(over("vr2")), ..ProcessMessage::to(at("[ff02::5]:0"), *b"hello") };
    red.library.send_to(&mut red.reactor, from, hello).unwrap();
    router.run(&mut [&mut red, &mut blue, &mut other]);
    let message = blue.library.receive_from(&mut blue.reactor, to).unwrap().unwrap();
    assert_eq!((message.addresses.source, message.interface), (at("[fe80::1]:0"), Some(over("vr1"))));
    assert_eq!(other.library.receive_from(&mut other.reactor, not_joined).unwrap(), None);
    for (group, error) in [
        ("ff05::5", SocketError::NotSupported),
        ("224.0.0.5", SocketError::InvalidArgument),
        ("fe80::1", SocketError::InvalidArgument),
    ] {
        assert_eq!(blue.library.join(to, group.parse().unwrap(), &over("vr1")), Err(error), "{group}");
    }
}

#[test]
fn a_miss_says_the_family_and_the_interface_to_the_stack() {
    let mut router = Router::new();
    let mut red = router.start(1);
    router.run(&mut [&mut red]);
    let socket = bound(&mut red, SocketKind::Datagram, "[::]:0");
    router.run(&mut [&mut red]);
    let message =
        ProcessMessage { interface: Some(over("Port0/0/0")), ..ProcessMessage::to(at("[fe80::9]:53"), *b"x") };
    red.library.send_to(&mut red.reactor, socket, message).unwrap();
    let (bind, channel) = &mut router.datagrams[0];
    assert_eq!((bind.family, bind.local), (ipc::Family::Ipv6, None));
    let mut record = Vec::new();
    assert!(channel.read_record(&mut record).unwrap());
    let sent = ProcessMessage::from_record(&record).unwrap();
    assert_eq!((sent.addresses.source, sent.interface), (at("[::]:40000"), Some(over("Port0/0/0"))));
}
