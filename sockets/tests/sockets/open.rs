//! Opening: who holds the other end, and what happens when nobody does.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use ipc::protocol::Refusal;
use ipc::{Pathname, VrId};
use sockets::{Addresses, Destination, LibraryEvent, Received, SocketError, SocketKind};
use stack_api::socket::{ConnectResult, SocketReply};
use vr_api::manager::LibraryUpdate;

use crate::harness::{Router, address, at, connected, joined, write_record};

#[test]
fn a_hit_reaches_the_peers_library_and_both_sides_see_the_same_addresses() {
    let (mut router, mut red, mut blue, listener) = joined();
    let socket = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    assert_eq!(blue.take_events(), [LibraryEvent::Incoming { listener }]);
    let accepted = blue.accept(listener).unwrap();
    let Addresses { source, destination } = red.library.addresses(socket).unwrap();
    assert_eq!((source, destination), (at("10.0.0.1:60000"), at("10.0.0.2:179")));
    assert_eq!(accepted.addresses, Addresses { source, destination });
    let seen_by_blue = blue.library.addresses(accepted.socket).unwrap();
    assert_eq!(seen_by_blue, Addresses { source: destination, destination: source });
    assert!(router.connects.is_empty(), "the stack was asked");
}

#[test]
fn a_miss_reaches_the_socket_server_and_stands_when_it_says_so() {
    let (mut router, mut red, mut blue, _) = joined();
    let mut to = Destination::new(at("192.0.2.9:179"));
    (to.local.address, to.port, to.options.ttl) = (Some(address(1)), NonZeroU16::new(1179), Some(1));
    let socket = red.library.open_socket(&mut red.reactor, to).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [], "SYN-SENT");
    let (connect, channel) = &mut router.connects[0];
    assert_eq!((connect.to, connect.from), (at("192.0.2.9:179"), Some(address(1))));
    assert_eq!((connect.from_port, connect.options.ttl), (Some(1179), Some(1)));

    let result = ConnectResult::Connected { local: at("10.0.0.1:1179") };
    write_record(channel, &postcard::to_stdvec(&result).unwrap());
    assert_eq!(channel.write(b"banner").unwrap(), 6);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }, LibraryEvent::Readable { socket }]);
    assert_eq!(red.library.addresses(socket).unwrap().source, at("10.0.0.1:1179"));
    assert_eq!(red.read(socket), (b"banner".to_vec(), Ok(Received::NothingYet)));
}

#[test]
fn a_miss_that_the_stack_cannot_connect_fails_with_the_stacks_reason() {
    let (mut router, mut red, mut blue, _) = joined();
    let socket = red.open("192.0.2.9:179");
    router.run(&mut [&mut red, &mut blue]);
    let failed = ConnectResult::Failed(SocketError::NetworkUnreachable);
    write_record(&mut router.connects[0].1, &postcard::to_stdvec(&failed).unwrap());
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::ConnectFailed { socket, error: SocketError::NetworkUnreachable }]);
    assert_eq!(red.library.addresses(socket), Err(SocketError::InvalidArgument), "its socket is gone");
}

#[test]
fn a_stack_that_dies_during_the_handshake_fails_the_open() {
    let (mut router, mut red, mut blue, _) = joined();
    let socket = red.open("192.0.2.9:179");
    router.run(&mut [&mut red, &mut blue]);
    router.kill_stack();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::ConnectFailed { socket, error: SocketError::NetworkDown }]);
}

#[test]
fn a_refused_channel_reads_as_a_network_would_say_it() {
    type Refuse = fn(Pathname) -> Refusal;
    let cases: [(Refuse, SocketError); 3] = [
        (Refusal::NotPublished, SocketError::ConnectionRefused),
        (|pathname| Refusal::Access { pathname, caller: VrId(1) }, SocketError::HostUnreachable),
        (|_| Refusal::Resources("no descriptors".into()), SocketError::NoBuffers),
    ];
    for (refusal, error) in cases {
        let (mut router, mut red, mut blue, _) = joined();
        router.refusals.push(refusal);
        let socket = red.open("10.0.0.2:179");
        router.run(&mut [&mut red, &mut blue]);
        assert_eq!(red.take_events(), [LibraryEvent::ConnectFailed { socket, error }]);
    }
}

#[test]
fn a_full_backlog_is_silence_and_another_attempt_a_second_later() {
    let (mut router, mut red, mut blue, listener) = joined();
    router.refusals.push(Refusal::Backlog);
    let socket = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!((red.take_events(), blue.take_events()), (vec![], vec![]));
    let retry = red.library.poll_timeout().unwrap();
    assert!(retry <= Instant::now() + Duration::from_secs(1));
    red.library.handle_timeout(&mut red.reactor, retry);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    assert!(blue.accept(listener).is_some());
}

#[test]
fn a_peer_that_stays_silent_times_out() {
    let (mut router, mut red, mut blue, _) = joined();
    let (full, silent) = (red.open("10.0.0.2:179"), red.open("192.0.2.9:179"));
    router.refusals.push(Refusal::Backlog);
    router.run(&mut [&mut red, &mut blue]);
    red.library.handle_timeout(&mut red.reactor, Instant::now() + Duration::from_secs(128));
    router.run(&mut [&mut red, &mut blue]);
    let mut events = red.take_events();
    events.sort_by_key(|event| *event != LibraryEvent::ConnectFailed { socket: full, error: SocketError::TimedOut });
    let timed_out = [full, silent].map(|socket| LibraryEvent::ConnectFailed { socket, error: SocketError::TimedOut });
    assert_eq!(events, timed_out);
    assert_eq!(red.library.poll_timeout(), None);
}

#[test]
fn an_update_that_lies_in_the_ring_decides_an_open_that_follows_it() {
    let (mut router, mut red, mut blue, _) = joined();
    router.tell_manager(red.index, &LibraryUpdate::VrFib(router.vrfib(1, 2, false)));
    // red's loop has not turned since.
    let socket = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), []);
    assert_eq!(router.connects[0].0.to, at("10.0.0.2:179"), "a shut interface leads to the stack");
    red.library.close(&mut red.reactor, socket);
}

#[test]
fn an_open_before_the_first_copy_of_the_vrfib_waits_for_it() {
    let mut router = Router::new();
    router.manager_is_up = false;
    let mut red = router.start(1);
    router.run(&mut [&mut red]);
    red.open("192.0.2.9:179");
    router.run(&mut [&mut red]);
    assert!(router.connects.is_empty(), "nobody can know that this misses");
    router.manager_is_up = true;
    router.run(&mut [&mut red]);
    assert_eq!(router.connects.len(), 1);
}

#[test]
fn a_hit_waits_for_ephemeral_ports_and_fails_when_there_are_none() {
    let (mut router, mut red, mut blue, listener) = joined();
    router.stack_leases = false;
    // The lease of eight ports is used up; the next one was asked for in time, and is not answered.
    for _ in 0..8 {
        red.open("10.0.0.2:179");
        router.run(&mut [&mut red, &mut blue]);
        blue.accept(listener).unwrap();
    }
    red.take_events();
    let late = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), []);
    router.tell_stack(red.index, &SocketReply::Ports { ticket: router.lease_ticket(), first: 61_000, count: 8 });
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket: late }]);
    assert_eq!(red.library.addresses(late).unwrap().source, at("10.0.0.1:61000"));

    for _ in 0..7 {
        blue.accept(listener).unwrap();
        red.open("10.0.0.2:179");
        router.run(&mut [&mut red, &mut blue]);
    }
    red.take_events();
    let error = SocketError::AddressNotAvailable;
    let socket = red.open("10.0.0.2:179");
    router.tell_stack(red.index, &SocketReply::Failed { ticket: router.lease_ticket(), error });
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::ConnectFailed { socket, error }]);
}

#[test]
fn ports_of_closed_and_failed_connections_come_back() {
    let (mut router, mut red, mut blue, listener) = joined();
    for _ in 0..20 {
        router.refusals.push(Refusal::NotPublished);
        let refused = red.open("10.0.0.2:179");
        let stands = red.open("10.0.0.2:179");
        router.run(&mut [&mut red, &mut blue]);
        let accepted = blue.accept(listener).unwrap().socket;
        blue.library.close(&mut blue.reactor, accepted);
        red.library.close(&mut red.reactor, stands);
        red.library.close(&mut red.reactor, refused);
    }
    assert_eq!(router.leases(), 2, "one for each process");
}

#[test]
fn a_hit_needs_no_answer_of_the_manager() {
    let (mut router, mut red, mut blue, _) = joined();
    router.manager_answers = false;
    let before = router.asked_manager.len();
    let socket = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    assert_eq!(router.asked_manager.len(), before, "nor is it asked");
}

#[test]
fn a_port_that_is_bound_twice_to_one_peer_is_in_use() {
    let (mut router, mut red, mut blue, _) = joined();
    let to = Destination { port: NonZeroU16::new(1179), ..Destination::new(at("10.0.0.2:179")) };
    red.library.open_socket(&mut red.reactor, to.clone()).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.library.open_socket(&mut red.reactor, to), Err(SocketError::AddressInUse));
}

#[test]
fn closing_an_opening_socket_gives_the_open_up() {
    let (mut router, mut red, mut blue, _) = joined();
    router.stack_is_up = false;
    let socket = red.open("192.0.2.9:179");
    router.run(&mut [&mut red, &mut blue]);
    red.library.close(&mut red.reactor, socket);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(router.cancelled.len(), 1);
    assert_eq!(red.library.poll_timeout(), None);
    assert_eq!(red.take_events(), []);
}

#[test]
fn calls_that_make_no_sense_are_refused() {
    let (_router, mut red, _blue, socket, _) = connected();
    let open = |to| red.library.open_socket(&mut red.reactor, Destination::new(to));
    assert_eq!([at("10.0.0.2:0")].map(open), [Err(SocketError::InvalidArgument)]);
    let datagram = red.library.create_socket(SocketKind::Datagram).unwrap();
    assert_eq!(red.library.bind(datagram, at("0.0.0.0:1"), None), Err(SocketError::InvalidArgument));
    assert_eq!(red.library.send(datagram, b"x"), Err(SocketError::InvalidArgument));
    assert_eq!(red.library.bind(socket, at("0.0.0.0:1"), None), Err(SocketError::InvalidArgument));
    let unbound = red.library.create_socket(SocketKind::Stream).unwrap();
    assert_eq!(red.library.listen(&mut red.reactor, unbound, 1), Err(SocketError::InvalidArgument));
    assert_eq!(red.library.send(unbound, b"x"), Err(SocketError::NotConnected));
}
