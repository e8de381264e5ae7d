//! The same over IPv6.

use super::*;

impl Router {
    /// A process of `vr` opens a socket of IPv6, on one interface or on all.
    fn open_v6(&mut self, vr: &str, protocol: DatagramProtocol, interface: Option<&str>) -> Channel {
        let interface = interface.map(|name| name.parse().unwrap());
        let (family, options) = (Family::Ipv6, Options::default());
        let mut socket = self.open_of(vr, DatagramBind { protocol, family, local: None, interface, options });
        assert!(matches!(heard(&mut socket), Some(DatagramReply::Bound { .. })));
        socket
    }

    fn link_local(&self, vr: &str, interface: &str) -> IpAddr {
        let id = self.plane.topology.vr(&VrName::new(vr).unwrap()).unwrap();
        self.plane.topology.interface(id, &interface.parse().unwrap()).unwrap().state.link_local.unwrap().into()
    }
}

fn udp(port: u16) -> DatagramProtocol {
    DatagramProtocol::Udp { port }
}

#[test]
fn a_datagram_arrives_with_its_hop_limit_and_its_addresses_and_in_fragments_where_it_is_large() {
    let mut router = Router::new();
    let mut client = router.open_v6("red", udp(1000), None);
    let mut server = router.open_v6("blue", udp(53), None);
    let question = ProcessMessage { ttl: 1, tos: 0xc0, ..ProcessMessage::to(at("[2001:db8::1]:53"), *b"question") };
    router.say(&mut client, &question);
    let message = received(&mut server).unwrap();
    assert_eq!((message.ttl, message.tos, message.interface.clone()), (1, 0xc0, Some("red".parse().unwrap())));
    assert_eq!(message.addresses.source, at("[2001:db8::]:1000"));
    router.say(&mut server, &message.answer(vec![7; 4000]));
    let answer = received(&mut client).unwrap();
    assert_eq!((answer.payload, answer.interface), (vec![7; 4000], Some("blue".parse().unwrap())), "in fragments");
}

#[test]
fn the_two_families_have_their_ports_apart() {
    let mut router = Router::new();
    let mut v6 = router.open_v6("blue", udp(53), None);
    let mut v4 = router.open("blue", udp(53));
    assert_eq!(heard(&mut v4), Some(DatagramReply::Bound { port: 53 }));
    let mut client = router.open_v6("red", udp(0), None);
    router.send(&mut client, "[2001:db8::1]:53", b"six");
    assert_eq!(received(&mut v6).unwrap().payload, b"six");
    assert_eq!(heard(&mut v4), None);
    router.send(&mut client, "10.0.0.1:53", b"four");
    assert_eq!(heard(&mut client), Some(DatagramReply::Error(SocketError::InvalidArgument)));
}

#[test]
fn a_link_local_receiver_is_reached_by_the_interface_that_the_message_or_the_socket_names() {
    let mut router = Router::new();
    let (far, own) = (router.link_local("blue", "red"), router.link_local("red", "blue"));
    let mut server = router.open_v6("blue", udp(53), None);
    let (mut any, mut bound) = (router.open_v6("red", udp(0), None), router.open_v6("red", udp(0), Some("blue")));
    let to = SocketAddr::new(far, 53);
    let without = ProcessMessage::to(to, *b"nowhere");
    router.say(&mut any, &without);
    assert_eq!(heard(&mut any), Some(DatagramReply::Error(SocketError::InvalidArgument)));
    let with = ProcessMessage { interface: Some("blue".parse().unwrap()), ..without.clone() };
    router.say(&mut any, &with);
    let message = received(&mut server).unwrap();
    assert_eq!((message.addresses.source.ip(), message.addresses.destination), (own, to));
    router.say(&mut bound, &without);
    assert!(received(&mut server).is_some());
    router.say(&mut server, &message.answer(*b"back"));
    assert_eq!(received(&mut any).unwrap().payload, b"back");

    let path = DatagramPath { local: Some(own), peer: Some(to) };
    assert_eq!(router.connect(&mut bound, &to.to_string()), Some(DatagramReply::Connected(Ok(path))));
    assert!(matches!(router.connect(&mut any, &to.to_string()), Some(DatagramReply::Connected(Err(_)))));
}

#[test]
fn a_hello_reaches_those_that_joined_from_the_link_local_address() {
    let mut router = Router::new();
    let mut red = router.open_v6("red", OSPF, None);
    let (mut joined, mut not_joined) = (router.open_v6("blue", OSPF, None), router.open_v6("blue", OSPF, None));
    let group = at("[ff02::5]:0");
    let join = DatagramRequest::Join { group: group.ip(), interface: "red".parse().unwrap() };
    router.ask(&mut joined, &join);
    let hello = ProcessMessage { interface: Some("blue".parse().unwrap()), ..ProcessMessage::to(group, *b"hello") };
    router.say(&mut red, &hello);
    let message = received(&mut joined).unwrap();
    assert_eq!((message.addresses.source.ip(), message.ttl), (router.link_local("red", "blue"), 1));
    assert_eq!(heard(&mut not_joined), None);
    let wrong = DatagramRequest::Join { group: at("224.0.0.5:0").ip(), interface: "red".parse().unwrap() };
    router.ask(&mut joined, &wrong);
    assert_eq!(heard(&mut joined), Some(DatagramReply::Error(SocketError::InvalidArgument)));
}

#[test]
fn a_connected_socket_is_told_that_nobody_is_there() {
    let mut router = Router::new();
    let mut client = router.open_v6("red", udp(1000), None);
    let path = DatagramPath { local: Some(at("[2001:db8::]:0").ip()), peer: Some(at("[2001:db8::1]:53")) };
    assert_eq!(router.connect(&mut client, "[2001:db8::1]:53"), Some(DatagramReply::Connected(Ok(path))));
    router.send(&mut client, "[2001:db8::1]:53", b"anyone?");
    assert_eq!(heard(&mut client), Some(DatagramReply::Error(SocketError::ConnectionRefused)));
}

#[test]
fn a_socket_of_the_protocol_that_is_the_stacks_own_is_refused() {
    let mut router = Router::new();
    let (protocol, family) = (DatagramProtocol::Raw(IpProtocol::new(58).unwrap()), Family::Ipv6);
    let wanted = DatagramBind { protocol, family, local: None, interface: None, options: Options::default() };
    assert_eq!(heard(&mut router.open_of("red", wanted)), Some(DatagramReply::Failed(SocketError::NotSupported)));
    let local = Some(at("[fe80::1]:0").ip());
    let wanted = DatagramBind { protocol: udp(9), family, local, interface: None, options: Options::default() };
    assert_eq!(
        heard(&mut router.open_of("red", wanted)),
        Some(DatagramReply::Failed(SocketError::AddressNotAvailable))
    );
}
