//! Datagram sockets with a peer, with options of their own, and with a port that they share.

use std::net::SocketAddr;

use ipc::InterfaceName;
use sockets::{LibraryEvent, Options, ProcessMessage, SocketError, SocketId, SocketKind};
use stack_api::datagram::{DatagramPath, DatagramReply, DatagramRequest};

use crate::harness::{Process, Router, at, write_record};

fn bound(process: &mut Process, address: &str, options: Options) -> SocketId {
    let socket = process.library.create_socket(SocketKind::Datagram).unwrap();
    process.library.set_options(socket, options).unwrap();
    process.library.bind_datagram(&mut process.reactor, socket, at(address), None).unwrap();
    socket
}

/// Red and blue, joined, with a UDP socket each: red's on port 40000, blue's on 53.
fn two() -> (Router, Process, Process, SocketId, SocketId) {
    let mut router = Router::new();
    router.joins = Some((1, 2));
    let (mut red, mut blue) = (router.start(1), router.start(2));
    router.run(&mut [&mut red, &mut blue]);
    let client = bound(&mut red, "0.0.0.0:0", Options::default());
    let server = bound(&mut blue, "0.0.0.0:53", Options::default());
    router.run(&mut [&mut red, &mut blue]);
    red.take_events();
    blue.take_events();
    (router, red, blue, client, server)
}

fn send(process: &mut Process, socket: SocketId, to: Option<&str>, payload: &[u8]) -> Result<(), SocketError> {
    let message = process.library.message(socket, to.map(at), payload)?;
    process.library.send_to(&mut process.reactor, socket, message)
}

fn receive(process: &mut Process, socket: SocketId) -> Result<Option<ProcessMessage>, SocketError> {
    process.library.receive_from(&mut process.reactor, socket)
}

fn payload(process: &mut Process, socket: SocketId) -> Option<Vec<u8>> {
    receive(process, socket).unwrap().map(|message| message.payload)
}

/// The stack's channel of the socket that was bound as number `socket`.
fn answer(router: &mut Router, socket: usize, reply: &DatagramReply) {
    write_record(&mut router.datagrams[socket].1, &postcard::to_stdvec(reply).unwrap());
}

fn path(local: &str, peer: &str) -> DatagramReply {
    DatagramReply::Connected(Ok(DatagramPath { local: Some(at(local).ip()), peer: Some(at(peer)) }))
}

/// Red's socket connected to blue's.
fn connected() -> (Router, Process, Process, SocketId, SocketId) {
    let (mut router, mut red, mut blue, client, server) = two();
    let peer: SocketAddr = at("10.0.0.2:53");
    red.library.connect_datagram(&mut red.reactor, client, Some(peer)).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(router.asked(0), [DatagramRequest::Connect(Some(peer))]);
    answer(&mut router, 0, &path("10.0.0.1:0", "10.0.0.2:53"));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket: client }]);
    assert_eq!(red.library.datagram_address(client), Ok(at("10.0.0.1:40000")));
    (router, red, blue, client, server)
}

#[test]
fn a_connected_socket_hears_its_peer_alone_on_both_paths() {
    let (mut router, mut red, mut blue, client, server) = connected();
    let stranger = bound(&mut blue, "0.0.0.0:54", Options::default());
    send(&mut red, client, None, b"question").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut blue, server).unwrap(), b"question");
    send(&mut blue, stranger, Some("10.0.0.1:40000"), b"psst").unwrap();
    send(&mut blue, server, Some("10.0.0.1:40000"), b"answer").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut red, client).unwrap(), b"answer");
    assert_eq!(payload(&mut red, client), None);
    red.library.connect_datagram(&mut red.reactor, client, None).unwrap();
    send(&mut blue, stranger, Some("10.0.0.1:40000"), b"psst").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut red, client).unwrap(), b"psst");
    assert_eq!(send(&mut red, client, None, b"to whom?"), Err(SocketError::DestinationRequired));
}

#[test]
fn an_icmp_error_is_told_once_by_the_next_call_and_wakes_the_process() {
    let (mut router, mut red, mut blue, client, _) = connected();
    assert_eq!(receive(&mut red, client), Ok(None));
    answer(&mut router, 0, &DatagramReply::Error(SocketError::ConnectionRefused));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Readable { socket: client }]);
    assert_eq!(receive(&mut red, client), Err(SocketError::ConnectionRefused));
    assert_eq!(receive(&mut red, client), Ok(None));
    answer(&mut router, 0, &DatagramReply::Error(SocketError::HostUnreachable));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.library.take_error(&mut red.reactor, client), Ok(Some(SocketError::HostUnreachable)));
    assert_eq!(receive(&mut red, client), Ok(None));
}

#[test]
fn a_peer_without_a_way_leaves_the_socket_without_a_peer() {
    let (mut router, mut red, mut blue, _, server) = two();
    let client = red.library.create_socket(SocketKind::Datagram).unwrap();
    red.library.connect_datagram(&mut red.reactor, client, Some(at("192.0.2.9:53"))).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Listening { listener: client }], "it was bound on the way");
    let socket = router.datagrams.len() - 1;
    assert_eq!(router.asked(socket), [DatagramRequest::Connect(Some(at("192.0.2.9:53")))]);
    answer(&mut router, socket, &DatagramReply::Connected(Err(SocketError::NetworkUnreachable)));
    router.run(&mut [&mut red, &mut blue]);
    let failed = LibraryEvent::ConnectFailed { socket: client, error: SocketError::NetworkUnreachable };
    assert_eq!(red.take_events(), [failed]);
    assert_eq!(red.library.datagram_peer(client), Ok(None));
    let nonsense = |red: &mut Process, to| red.library.connect_datagram(&mut red.reactor, client, Some(at(to)));
    assert_eq!(nonsense(&mut red, "0.0.0.0:53"), Err(SocketError::InvalidArgument));
    assert_eq!(nonsense(&mut red, "10.0.0.2:0"), Err(SocketError::InvalidArgument));
    assert_eq!(receive(&mut blue, server), Ok(None));
}

#[test]
fn a_new_stack_is_told_the_peer_and_the_process_nothing() {
    let (mut router, mut red, mut blue, client, _) = connected();
    router.kill_stack();
    router.run(&mut [&mut red, &mut blue]);
    receive(&mut red, client).unwrap();
    router.stack_is_up = true;
    router.run(&mut [&mut red, &mut blue]);
    red.take_events();
    let again = (0..router.datagrams.len()).find(|socket| {
        let requests = router.asked(*socket);
        requests.contains(&DatagramRequest::Connect(Some(at("10.0.0.2:53"))))
    });
    answer(&mut router, again.expect("asked again"), &path("10.0.0.1:0", "10.0.0.2:53"));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), []);
    assert_eq!(red.library.datagram_address(client), Ok(at("10.0.0.1:40000")));
}

#[test]
fn a_message_says_what_the_sockets_options_say_and_a_receiver_sees_it() {
    let (mut router, mut red, mut blue, client, server) = two();
    let options = Options { ttl: Some(3), tos: 0xb8, multicast_ttl: 5, ..Options::default() };
    red.library.set_options(client, options.clone()).unwrap();
    send(&mut red, client, Some("10.0.0.2:53"), b"x").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    let message = receive(&mut blue, server).unwrap().unwrap();
    assert_eq!((message.ttl, message.tos), (3, 0xb8));
    assert_eq!(message.interface, Some(InterfaceName::new("vr1").unwrap()));
    assert_eq!(message.addresses.destination, at("10.0.0.2:53"));
    let to_group = red.library.message(client, Some(at("224.0.0.9:53")), *b"x").unwrap();
    assert_eq!(to_group.ttl, 5);
    assert_eq!(router.asked(0), [DatagramRequest::SetOptions(options)]);
}

#[test]
fn a_group_is_reached_by_the_options_interface_and_loops_through_the_stack_on_a_hit() {
    let (mut router, mut red, mut blue, client, server) = two();
    let group = at("224.0.0.9:53");
    blue.library.join(server, group.ip(), &InterfaceName::new("vr1").unwrap()).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(send(&mut red, client, Some("224.0.0.9:53"), b"x"), Err(SocketError::NetworkUnreachable));
    let multicast_interface = Some(InterfaceName::new("vr2").unwrap());
    let options = Options { multicast_interface, multicast_loop: true, ..Options::default() };
    red.library.set_options(client, options).unwrap();
    router.asked(0);
    send(&mut red, client, Some("224.0.0.9:53"), b"x").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut blue, server).unwrap(), b"x");
    let [DatagramRequest::Loop(message)] = &router.asked(0)[..] else { panic!("no loop") };
    assert_eq!(message.addresses.destination, group);
}

#[test]
fn of_sockets_that_share_a_port_the_last_one_hears_what_is_for_one() {
    let (mut router, mut red, mut blue, client, server) = two();
    let last = bound(&mut blue, "0.0.0.0:53", Options { reuse_address: true, ..Options::default() });
    let group_only = bound(&mut blue, "224.0.0.9:53", Options { reuse_address: true, ..Options::default() });
    router.run(&mut [&mut red, &mut blue]);
    send(&mut red, client, Some("10.0.0.2:53"), b"x").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut blue, last).unwrap(), b"x");
    assert_eq!((payload(&mut blue, server), payload(&mut blue, group_only)), (None, None));
    blue.library.connect_datagram(&mut blue.reactor, server, Some(at("10.0.0.1:40000"))).unwrap();
    send(&mut red, client, Some("10.0.0.2:53"), b"y").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut blue, server).unwrap(), b"y", "the one that is connected to the sender");
}
