//! The second datagram to the same receiver: it takes the way of the first one, unless anything has changed.

use std::time::Duration;

use ipc::InterfaceName;
use sockets::vrfib::Lookups;
use sockets::{DatagramDrop, DatagramInfo, LibraryEvent, Options, ProcessMessage, SocketError, SocketId, SocketKind};

use crate::harness::{Process, Router, at, write_record};

const TO: &str = "10.0.0.2:53";

fn bound(process: &mut Process, address: &str, options: Options) -> SocketId {
    let socket = process.library.create_socket(SocketKind::Datagram).unwrap();
    process.library.set_options(socket, options).unwrap();
    process.library.bind_datagram(&mut process.reactor, socket, at(address), None).unwrap();
    socket
}

fn shared() -> Options {
    Options { reuse_address: true, ..Options::default() }
}

fn send(process: &mut Process, socket: SocketId, payload: &[u8]) -> Result<(), SocketError> {
    process.library.send_datagram(&mut process.reactor, socket, Some(at(TO)), payload)
}

/// The next datagram of a socket, in a buffer of eight bytes.
fn receive(process: &mut Process, socket: SocketId) -> Option<(DatagramInfo, Vec<u8>)> {
    let mut buffer = [0; 8];
    let received = process.library.receive_datagram(&mut process.reactor, socket, &mut buffer, Duration::ZERO);
    let info = received.unwrap()?;
    let payload = buffer[..info.length.min(8)].to_vec();
    Some((info, payload))
}

fn payload(process: &mut Process, socket: SocketId) -> Option<Vec<u8>> {
    receive(process, socket).map(|(_, payload)| payload)
}

/// Red and blue, joined; red's socket has sent to blue's on port 53 and knows the way.
fn acquainted() -> (Router, Process, Process, SocketId, SocketId) {
    let mut router = Router::new();
    let (mut red, mut blue) = (router.start(1), router.start(2));
    router.run(&mut [&mut red, &mut blue]);
    let client = bound(&mut red, "0.0.0.0:0", Options::default());
    let server = bound(&mut blue, "0.0.0.0:53", shared());
    router.run(&mut [&mut red, &mut blue]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    for word in [&b"first"[..], b"second", b"third"] {
        send(&mut red, client, word).unwrap();
        router.run(&mut [&mut red, &mut blue]);
        assert_eq!(payload(&mut blue, server).as_deref(), Some(word));
    }
    blue.take_events();
    (router, red, blue, client, server)
}

/// Datagrams that a socket has given to the stack.
fn missed(router: &mut Router, socket: usize) -> Vec<Vec<u8>> {
    let channel = &mut router.datagrams[socket].1;
    let (mut record, mut missed) = (Vec::new(), Vec::new());
    while channel.read_record(&mut record).unwrap() {
        missed.extend(ProcessMessage::from_record(&record).map(|message| message.payload));
    }
    missed
}

#[test]
fn every_datagram_counts_as_a_hit_and_as_traffic() {
    let (_, mut red, mut blue, client, server) = acquainted();
    let interface = InterfaceName::new("vr2").unwrap();
    let before = (red.library.vrfib().lookups(&interface), red.library.inter_vr_counters()[0].bytes_sent);
    for _ in 0..10 {
        send(&mut red, client, b"12345").unwrap();
    }
    let (Lookups { hits, misses }, bytes) = before;
    assert_eq!(red.library.vrfib().lookups(&interface), Lookups { hits: hits + 10, misses });
    assert_eq!(red.library.vrfib().entries().map(|(_, lookups)| lookups.hits).sum::<u64>(), hits + 10);
    assert_eq!(red.library.inter_vr_counters()[0].bytes_sent, bytes + 50);
    let received = blue.library.inter_vr_counters()[0].bytes_received;
    assert_eq!(std::iter::from_fn(|| receive(&mut blue, server)).count(), 10);
    assert_eq!(blue.library.inter_vr_counters()[0].bytes_received, received + 50);
}

#[test]
fn a_buffer_that_is_too_short_gets_the_beginning_and_the_next_datagram_is_whole() {
    let (_, mut red, mut blue, client, server) = acquainted();
    send(&mut red, client, b"more than eight").unwrap();
    send(&mut red, client, b"").unwrap();
    send(&mut red, client, b"eight by").unwrap();
    let (info, payload) = receive(&mut blue, server).unwrap();
    assert_eq!((info.length, info.truncated, &payload[..]), (15, true, &b"more tha"[..]));
    let (info, payload) = receive(&mut blue, server).unwrap();
    assert_eq!((info.length, info.truncated, payload.len()), (0, false, 0));
    let (info, payload) = receive(&mut blue, server).unwrap();
    assert_eq!((info.truncated, &payload[..]), (false, &b"eight by"[..]));
    assert_eq!((info.source.ip(), info.destination, info.ttl), (at("10.0.0.1:0").ip(), at(TO), 64));
    assert_eq!(info.interface, Some(InterfaceName::new("vr1").unwrap()));
    assert_eq!(receive(&mut blue, server), None);
}

#[test]
fn an_interface_that_is_shut_turns_the_way_to_the_stack_and_back() {
    let (mut router, mut red, mut blue, client, server) = acquainted();
    router.copy_vrfibs(&red, &blue, false);
    // What lies in the ring of the manager is applied by the send itself.
    send(&mut red, client, b"around").unwrap();
    assert_eq!(missed(&mut router, 0), [b"around"]);
    router.copy_vrfibs(&red, &blue, true);
    send(&mut red, client, b"straight").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(missed(&mut router, 0), <[&[u8]; 0]>::default());
    assert_eq!(payload(&mut blue, server).unwrap(), b"straight");
}

#[test]
fn a_receiver_whose_interface_is_shut_drops_what_it_took_before() {
    let (mut router, mut red, mut blue, client, server) = acquainted();
    let update = vr_api::manager::LibraryUpdate::VrFib(router.vrfib(2, 1, false));
    router.tell_manager(blue.index, &update);
    send(&mut red, client, b"late").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(receive(&mut blue, server), None);
    assert_eq!(blue.library.datagram_drops(DatagramDrop::InterfaceDown), 1);
}

#[test]
fn a_changed_option_shows_in_the_next_datagram() {
    let (_, mut red, mut blue, client, server) = acquainted();
    red.library.set_options(client, Options { ttl: Some(7), tos: 0x20, ..Options::default() }).unwrap();
    send(&mut red, client, b"seven").unwrap();
    let (info, _) = receive(&mut blue, server).unwrap();
    assert_eq!((info.ttl, info.tos), (7, 0x20));
}

#[test]
fn an_error_that_waits_is_told_before_anything_is_sent() {
    let (mut router, mut red, mut blue, client, server) = acquainted();
    let error = stack_api::datagram::DatagramReply::Error(SocketError::NetworkUnreachable);
    write_record(&mut router.datagrams[0].1, &postcard::to_stdvec(&error).unwrap());
    assert_eq!(red.library.receive_from(&mut red.reactor, client), Err(SocketError::NetworkUnreachable));
    write_record(&mut router.datagrams[0].1, &postcard::to_stdvec(&error).unwrap());
    router.run(&mut [&mut red]);
    assert_eq!(red.library.take_error(&mut red.reactor, client), Ok(Some(SocketError::NetworkUnreachable)));
    send(&mut red, client, b"on").unwrap();
    assert_eq!(payload(&mut blue, server).unwrap(), b"on");
}

#[test]
fn what_is_too_long_is_refused_though_the_way_is_known() {
    let (_, mut red, mut blue, client, server) = acquainted();
    assert_eq!(send(&mut red, client, &[0; 65_508]), Err(SocketError::MessageSize));
    send(&mut red, client, &[0; 65_507]).unwrap();
    assert_eq!(receive(&mut blue, server).unwrap().0.length, 65_507);
}

#[test]
fn a_socket_that_is_bound_later_takes_over_and_gives_back_when_it_is_closed() {
    let (mut router, mut red, mut blue, client, server) = acquainted();
    let later = bound(&mut blue, "0.0.0.0:53", shared());
    router.run(&mut [&mut red, &mut blue]);
    blue.take_events();
    send(&mut red, client, b"to the later").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    blue.take_events();
    // The first one reads the channel, and hands over what is not its own.
    assert_eq!(receive(&mut blue, server), None);
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Readable { socket: later }]);
    assert_eq!(payload(&mut blue, later).unwrap(), b"to the l");
    blue.library.close(&mut blue.reactor, later);
    send(&mut red, client, b"back").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut blue, server).unwrap(), b"back");
}

#[test]
fn a_receiver_that_gets_a_peer_hears_nobody_else() {
    let (mut router, mut red, mut blue, client, server) = acquainted();
    blue.library.connect_datagram(&mut blue.reactor, server, Some(at("10.0.0.1:9"))).unwrap();
    send(&mut red, client, b"stranger").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(receive(&mut blue, server), None);
    assert_eq!(blue.library.datagram_drops(DatagramDrop::NoListener), 1);
    blue.library.connect_datagram(&mut blue.reactor, server, None).unwrap();
    send(&mut red, client, b"friend").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(payload(&mut blue, server).unwrap(), b"friend");
}

#[test]
fn a_socket_that_is_closed_sends_nothing() {
    let (_, mut red, mut blue, client, server) = acquainted();
    red.library.close(&mut red.reactor, client);
    assert_eq!(send(&mut red, client, b"dead"), Err(SocketError::InvalidArgument));
    assert_eq!(receive(&mut blue, server), None);
}

#[test]
fn a_burst_has_room_though_the_receiver_does_not_run() {
    let (mut router, mut red, mut blue, client, server) = acquainted();
    for _ in 0..2000 {
        send(&mut red, client, &[7; 100]).unwrap();
    }
    assert_eq!(red.library.datagram_drops(DatagramDrop::RingFull), 0);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(std::iter::from_fn(|| receive(&mut blue, server)).count(), 2000);
}
