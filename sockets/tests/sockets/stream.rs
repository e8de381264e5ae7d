//! A connection: bytes, ends, and what a killed peer leaves.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sockets::{Borrower, LibraryEvent, Readiness, Received, Shutdown, SocketError, Stream};
use stack_api::socket::ConnectResult;
use vr_api::manager::{InterVrCounters, LibraryRequest, LibraryUpdate, VrFibUpdate};

use crate::harness::{Process, Router, at, connected, joined, write_record};

const NOTHING: Result<Received, SocketError> = Ok(Received::NothingYet);
const END: Result<Received, SocketError> = Ok(Received::EndOfFile);

#[test]
fn bytes_go_both_ways_in_order_and_wake_the_reader() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    assert_eq!((red.read(socket), blue.read(accepted)), ((vec![], NOTHING), (vec![], NOTHING)));
    red.library.send(socket, b"open").unwrap();
    red.library.send(socket, b" keepalive").unwrap();
    blue.library.send(accepted, b"refresh").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Readable { socket: accepted }]);
    assert_eq!(red.take_events(), [LibraryEvent::Readable { socket }]);
    assert_eq!(blue.read(accepted), (b"open keepalive".to_vec(), NOTHING));
    assert_eq!(red.read(socket), (b"refresh".to_vec(), NOTHING));
}

#[test]
fn a_megabyte_passes_with_room_announced_as_it_comes() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    let sent: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let (mut done, mut got, mut stalls) = (0, Vec::new(), 0);
    assert_eq!(blue.read(accepted), (vec![], NOTHING));
    while got.len() < sent.len() {
        done += red.library.send(socket, &sent[done..]).unwrap();
        let is_stalled = done < sent.len();
        stalls += u32::from(is_stalled);
        router.run(&mut [&mut red, &mut blue]);
        assert!(blue.take_events().contains(&LibraryEvent::Readable { socket: accepted }));
        got.extend(blue.read(accepted).0);
        router.run(&mut [&mut red, &mut blue]);
        assert_eq!(red.take_events().contains(&LibraryEvent::Writable { socket }), is_stalled);
    }
    assert!(stalls > 0, "the ring is smaller than that");
    assert!(got == sent);
    blue.library.send(accepted, b"thanks").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Readable { socket }], "room that nobody wants is not announced");
}

#[test]
fn half_closed_it_still_carries_the_other_direction() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.send(socket, b"last words").unwrap();
    red.library.shutdown(socket, Shutdown::Write).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Readable { socket: accepted }]);
    assert_eq!(blue.read(accepted), (b"last words".to_vec(), END));
    blue.library.send(accepted, b"understood").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.read(socket), (b"understood".to_vec(), NOTHING));
    assert_eq!(red.library.send(socket, b"x"), Err(SocketError::BrokenPipe));
}

#[test]
fn shut_for_reading_it_gives_what_came_and_then_the_end() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.shutdown(socket, Shutdown::Read).unwrap();
    blue.library.send(accepted, b"heard").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.read(socket), (b"heard".to_vec(), END));
}

#[test]
fn a_close_delivers_what_was_sent_and_then_the_end() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.send(socket, b"bye").unwrap();
    red.library.close(&mut red.reactor, socket);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Readable { socket: accepted }]);
    assert_eq!(blue.read(accepted), (b"bye".to_vec(), END));
    assert_eq!(blue.library.send(accepted, b"lost"), Ok(4), "as on a wire, where the reset comes after it");
    assert_eq!(blue.library.send(accepted, b"x"), Err(SocketError::BrokenPipe));
    assert_eq!(blue.read(accepted), (vec![], END));
    assert_eq!(red.library.send(socket, b"x"), Err(SocketError::InvalidArgument));
}

#[test]
fn a_close_that_leaves_bytes_unread_resets_the_peer_once() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    blue.library.send(accepted, b"never read").unwrap();
    red.library.close(&mut red.reactor, socket);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.read(accepted), (vec![], Err(SocketError::ConnectionReset)));
    assert_eq!(blue.read(accepted), (vec![], END));
    assert_eq!(blue.library.send(accepted, b"x"), Err(SocketError::BrokenPipe));
}

#[test]
fn an_abort_resets_the_peer() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.abort(&mut red.reactor, socket);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.read(accepted), (vec![], Err(SocketError::ConnectionReset)));
}

#[test]
fn a_killed_peer_leaves_its_bytes_and_then_the_end() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.send(socket, b"half a message").unwrap();
    drop(red);
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Readable { socket: accepted }]);
    assert_eq!(blue.read(accepted), (b"half a message".to_vec(), END));
}

#[test]
fn a_killed_peer_that_left_bytes_unread_resets() {
    let (mut router, red, mut blue, _, accepted) = connected();
    blue.library.send(accepted, b"never read").unwrap();
    drop(red);
    router.run(&mut [&mut blue]);
    assert_eq!(blue.read(accepted), (vec![], Err(SocketError::ConnectionReset)));
}

/// A connection of red's through the stack.
fn through_the_stack() -> (Router, Process, sockets::SocketId) {
    let (mut router, mut red, blue, _) = joined();
    drop(blue);
    let socket = red.open("192.0.2.9:179");
    router.run(&mut [&mut red]);
    let result = ConnectResult::Connected { local: at("10.0.0.1:50000") };
    write_record(&mut router.connects[0].1, &postcard::to_stdvec(&result).unwrap());
    router.run(&mut [&mut red]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    (router, red, socket)
}

#[test]
fn through_the_stack_a_reset_carries_the_stacks_reason() {
    let (mut router, mut red, socket) = through_the_stack();
    router.connects[0].1.reset(SocketError::TimedOut.code());
    router.run(&mut [&mut red]);
    assert_eq!(red.take_events(), [LibraryEvent::Readable { socket }]);
    assert_eq!(red.read(socket), (vec![], Err(SocketError::TimedOut)));
}

#[test]
fn through_the_stack_its_death_reads_as_a_network_that_is_down() {
    let (mut router, mut red, socket) = through_the_stack();
    router.kill_stack();
    router.run(&mut [&mut red]);
    assert_eq!(red.read(socket), (vec![], Err(SocketError::NetworkDown)));
}

#[test]
fn a_closed_gate_delivers_nothing_and_an_open_one_everything() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    router.copy_vrfibs(&red, &blue, false);
    router.run(&mut [&mut red, &mut blue]);
    red.library.send(socket, b"into the void").unwrap();
    red.library.shutdown(socket, Shutdown::Write).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.read(accepted), (vec![], NOTHING));
    blue.take_events();
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Readable { socket: accepted }]);
    assert_eq!(blue.read(accepted), (b"into the void".to_vec(), END));
    assert_eq!(red.library.poll_timeout(), None);
}

/// `vr`'s copy of the vrFIB with these addresses lost: the peer's, and own ones.
fn with_lost(router: &Router, vr: u16, lost: &[&str], lost_from: &[&str]) -> LibraryUpdate {
    let VrFibUpdate::Snapshot { mut interfaces, entries } = router.vrfib(vr, 3 - vr, true) else {
        panic!("a snapshot")
    };
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    (interfaces[0].lost, interfaces[0].lost_from) = (addresses(lost), addresses(lost_from));
    LibraryUpdate::VrFib(VrFibUpdate::Snapshot { interfaces, entries })
}

#[test]
fn the_gate_closes_when_either_side_has_lost_the_other_and_only_then() {
    const OPEN: (&[&str], &[&str]) = (&[], &[]);
    let cases = [
        ("no address of theirs", (&["10.0.0.9"][..], &["192.0.2.1"][..]), true),
        ("the peer is lost", (&["10.0.0.2"][..], &[][..]), false),
        ("the peer has lost us", (&[][..], &["10.0.0.1"][..]), false),
    ];
    for (what, (lost, lost_from), passes) in cases {
        let (mut router, mut red, mut blue, socket, accepted) = connected();
        // Each side hears of it in its own words.
        router.tell_manager(red.index, &with_lost(&router, 1, lost, lost_from));
        router.tell_manager(blue.index, &with_lost(&router, 2, lost_from, lost));
        router.run(&mut [&mut red, &mut blue]);
        red.library.send(socket, b"there").unwrap();
        blue.library.send(accepted, b"back").unwrap();
        router.run(&mut [&mut red, &mut blue]);
        let expected = |bytes: &[u8]| if passes { bytes.to_vec() } else { vec![] };
        assert_eq!(blue.read(accepted), (expected(b"there"), NOTHING), "{what}");
        assert_eq!(red.read(socket), (expected(b"back"), NOTHING), "{what}");
        let rest = |bytes: &[u8]| if passes { vec![] } else { bytes.to_vec() };
        router.tell_manager(red.index, &with_lost(&router, 1, OPEN.0, OPEN.1));
        router.tell_manager(blue.index, &with_lost(&router, 2, OPEN.0, OPEN.1));
        router.run(&mut [&mut red, &mut blue]);
        assert_eq!(blue.read(accepted), (rest(b"there"), NOTHING), "{what}");
        assert_eq!(red.read(socket), (rest(b"back"), NOTHING), "{what}");
    }
}

#[test]
fn without_a_route_back_a_connect_waits_in_the_stack_as_on_a_wire() {
    let (mut router, mut red, mut blue, _) = joined();
    router.tell_manager(red.index, &with_lost(&router, 1, &[], &["10.0.0.1"]));
    router.run(&mut [&mut red, &mut blue]);
    red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(router.connects.len(), 1);
}

#[test]
fn data_unsent_behind_a_closed_gate_times_the_connection_out() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.set_user_timeout(Duration::from_secs(10));
    router.copy_vrfibs(&red, &blue, false);
    router.run(&mut [&mut red, &mut blue]);
    red.library.send(socket, b"unsent").unwrap();
    router.run(&mut [&mut red, &mut blue]);
    red.take_events();
    red.library.handle_timeout(&mut red.reactor, Instant::now() + Duration::from_secs(11));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Readable { socket }]);
    assert_eq!(red.read(socket), (vec![], Err(SocketError::TimedOut)));
    // The other side learns of it as on a wire: when packets pass again.
    assert_eq!(blue.read(accepted), (vec![], NOTHING));
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.read(accepted).1, Err(SocketError::ConnectionReset));
}

#[test]
fn an_idle_connection_outlives_a_closed_gate() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.send(socket, b"sent before").unwrap();
    assert_eq!(blue.read(accepted).0, b"sent before");
    router.copy_vrfibs(&red, &blue, false);
    router.run(&mut [&mut red, &mut blue]);
    red.library.handle_timeout(&mut red.reactor, Instant::now() + Duration::from_secs(100_000));
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    red.library.send(socket, b"sent after").unwrap();
    assert_eq!(blue.read(accepted).0, b"sent after");
}

#[test]
fn traffic_counts_per_inter_vr_interface_and_the_manager_may_ask() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.send(socket, b"twelve bytes").unwrap();
    assert_eq!(blue.read(accepted).0, b"twelve bytes");
    red.library.close(&mut red.reactor, socket);
    red.open("10.0.0.2:22");
    router.run(&mut [&mut red, &mut blue]);
    router.asked_manager.clear();
    router.tell_manager(red.index, &LibraryUpdate::CountersWanted { ticket: 5 });
    router.tell_manager(blue.index, &LibraryUpdate::CountersWanted { ticket: 6 });
    router.run(&mut [&mut red, &mut blue]);
    let row = |interface: &str, connections, bytes_sent, bytes_received, vrfib_hits, vrfib_misses| {
        let interface = ipc::InterfaceName::new(interface).unwrap();
        vec![InterVrCounters { interface, connections, bytes_sent, bytes_received, vrfib_hits, vrfib_misses }]
    };
    let expected = [
        LibraryRequest::Counters { ticket: 5, counters: row("vr2", 0, 12, 0, 1, 1) },
        LibraryRequest::Counters { ticket: 6, counters: row("vr1", 1, 0, 12, 0, 0) },
    ];
    assert_eq!(router.asked_manager, expected);
}

/// Where a connection lies that is used beside the library.
#[derive(Debug)]
struct Place(Mutex<Option<Stream>>);

impl Borrower for Place {
    fn with(&self, what: &mut dyn FnMut(&mut Stream)) {
        self.0.lock().unwrap().iter_mut().for_each(what);
    }

    fn take_back(&self) -> Option<Stream> {
        self.0.lock().unwrap().take()
    }
}

#[test]
fn a_glance_sees_a_reset_and_that_it_was_told() {
    static PLACE: Place = Place(Mutex::new(None));
    let (_router, mut red, mut blue, socket, accepted) = connected();
    let give = |stream| *PLACE.0.lock().unwrap() = Some(stream);
    blue.library.lend(&mut blue.reactor, accepted, &PLACE, give).unwrap();
    let mut place = PLACE.0.lock().unwrap();
    let stream = place.as_mut().unwrap();
    assert!(!stream.glance().readable);
    red.library.send(socket, b"last words").unwrap();
    red.library.abort(&mut red.reactor, socket);
    // POLLIN, POLLOUT, POLLRDHUP, POLLERR and POLLHUP, as Linux has it, before any call has met the reset.
    let over = Readiness { readable: true, writable: true, read_closed: true, hung_up: true, failed: true };
    assert_eq!((stream.glance(), stream.glance_to_read()), (over, over));
    assert_eq!(stream.readiness(), over);
    assert_eq!(stream.receive(&mut [0; 32]), Ok(Received::Bytes(10)));
    assert_eq!(stream.glance(), over);
    assert_eq!(stream.receive(&mut [0; 32]), Err(SocketError::ConnectionReset));
    assert_eq!(stream.glance(), Readiness { failed: false, ..over });
}
