//! A router that does not answer: listen, bind and the connect of a datagram socket fail in time, and take back what they
//! asked for.

use std::time::{Duration, Instant};

use ipc::Pathname;
use sockets::{LibraryEvent, SocketError, SocketId, SocketKind};
use stack_api::datagram::{DatagramPath, DatagramReply, DatagramRequest};
use stack_api::socket::{SocketReply, SocketRequest};
use vr_api::manager::{LibraryRequest, LibraryUpdate};

use crate::harness::{Process, Router, at, tcp, write_record};

/// Time passes, until shortly before the end of anybody's patience and then beyond it.
fn wait_in_vain(router: &mut Router, process: &mut Process) {
    let now = Instant::now();
    for (seconds, is_over) in [(60, false), (70, true)] {
        process.library.handle_timeout(&mut process.reactor, now + Duration::from_secs(seconds));
        router.run(&mut [process]);
        assert_eq!(process.events.is_empty(), !is_over, "after {seconds} s: {:?}", process.events);
    }
    assert_eq!(process.library.poll_timeout(), None);
}

/// A listen that nobody answers.
fn listen_in_vain(router: &mut Router) -> (Process, SocketId) {
    let mut blue = router.start(2);
    router.run(&mut [&mut blue]);
    let listener = blue.listen_on("0.0.0.0:179");
    router.run(&mut [&mut blue]);
    wait_in_vain(router, &mut blue);
    assert_eq!(blue.take_events(), failed(listener));
    (blue, listener)
}

fn failed(listener: SocketId) -> [LibraryEvent; 1] {
    [LibraryEvent::ListenFailed { listener, error: SocketError::TimedOut }]
}

fn udp(process: &mut Process) -> SocketId {
    let socket = process.library.create_socket(SocketKind::Datagram).unwrap();
    bind(process, socket);
    socket
}

fn bind(process: &mut Process, socket: SocketId) {
    process.library.bind_datagram(&mut process.reactor, socket, at("0.0.0.0:53"), None).unwrap();
}

/// The manager's answer to the last publication, whenever it comes.
fn published(router: &mut Router, process: &Process) {
    let asked = router.asked_manager.iter().rev();
    let (ticket, criteria) = asked
        .filter_map(|asked| match asked {
            LibraryRequest::Publish { ticket, listener } => Some((*ticket, listener.criteria)),
            _ => None,
        })
        .next()
        .expect("a publication");
    let identity = router.identity(process.index);
    let pathname = Pathname::endpoint(identity.vr, identity.pid, criteria);
    router.tell_manager(process.index, &LibraryUpdate::Published { ticket, pathname });
}

fn is_unlisten(asked: &SocketRequest) -> bool {
    matches!(asked, SocketRequest::Unlisten { listener: Pathname::Endpoint { criteria, .. }, local: None }
        if *criteria == tcp(179))
}

#[test]
fn a_listen_that_the_manager_does_not_answer_fails_in_time_and_its_late_answer_means_nothing() {
    let mut router = Router::new();
    router.manager_answers = false;
    let (mut blue, listener) = listen_in_vain(&mut router);
    assert!(is_unlisten(router.asked_stack.last().unwrap()), "{:?}", router.asked_stack);
    assert_eq!(router.asked_manager.last(), Some(&LibraryRequest::Withdraw { criteria: tcp(179), local: None }));
    published(&mut router, &blue);
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), []);
    // The socket is still bound, and its next try is not taken for answered.
    blue.library.listen(&mut blue.reactor, listener, 4).unwrap();
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), []);
    published(&mut router, &blue);
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener }]);
    assert_eq!(blue.library.poll_timeout(), None, "who was answered is not timed");
}

#[test]
fn a_listen_fails_in_time_while_the_manager_is_away_and_the_next_one_is_not_told_of_it() {
    let mut router = Router::new();
    router.manager_is_up = false;
    let (mut blue, _) = listen_in_vain(&mut router);
    router.manager_is_up = true;
    router.run(&mut [&mut blue]);
    assert_eq!((&router.asked_manager[..], blue.take_events()), (&[][..], vec![]));
}

#[test]
fn a_listen_that_the_stack_does_not_answer_fails_in_time_and_gives_the_port_back() {
    let mut router = Router::new();
    router.stack_answers = false;
    let (mut blue, _) = listen_in_vain(&mut router);
    let [.., SocketRequest::Listen { ticket, .. }, unlisten] = &router.asked_stack[..] else {
        panic!("{:?}", router.asked_stack)
    };
    assert!(is_unlisten(unlisten), "{unlisten:?}");
    let late = SocketReply::Done { ticket: *ticket };
    router.tell_stack(blue.index, &late);
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), []);
}

#[test]
fn a_bind_to_which_procmgr_opens_no_channel_fails_in_time_and_is_cancelled() {
    let mut router = Router::new();
    let mut red = router.start(1);
    router.run(&mut [&mut red]);
    // What procmgr is asked waits, as it does while procmgr stands still.
    router.stack_is_up = false;
    let socket = udp(&mut red);
    router.run(&mut [&mut red]);
    wait_in_vain(&mut router, &mut red);
    assert_eq!(red.take_events(), failed(socket));
    assert_eq!(router.cancelled.len(), 1);
    router.stack_is_up = true;
    router.run(&mut [&mut red]);
    assert_eq!((router.datagrams.len(), red.take_events()), (0, vec![]));
    bind(&mut red, socket);
    router.run(&mut [&mut red]);
    assert_eq!(red.take_events(), [LibraryEvent::Listening { listener: socket }]);
}

#[test]
fn a_bind_that_the_manager_does_not_answer_fails_in_time_and_closes_its_channel_to_the_stack() {
    let mut router = Router::new();
    router.manager_answers = false;
    let mut red = router.start(1);
    router.run(&mut [&mut red]);
    let socket = udp(&mut red);
    router.run(&mut [&mut red]);
    wait_in_vain(&mut router, &mut red);
    assert_eq!(red.take_events(), failed(socket));
    assert!(router.datagrams[0].1.is_finished(), "the stack gives the port back when the channel ends");
    assert!(matches!(router.asked_manager.last(), Some(LibraryRequest::Withdraw { .. })));
    published(&mut router, &red);
    router.run(&mut [&mut red]);
    bind(&mut red, socket);
    router.run(&mut [&mut red]);
    assert_eq!(red.take_events(), [], "the answer to the first bind is not one to the second");
    published(&mut router, &red);
    router.run(&mut [&mut red]);
    assert_eq!(red.take_events(), [LibraryEvent::Listening { listener: socket }]);
    assert_eq!(red.library.poll_timeout(), None);
}

#[test]
fn a_datagram_sockets_connect_that_the_stack_does_not_answer_fails_in_time_and_the_socket_has_no_peer() {
    let mut router = Router::new();
    let mut red = router.start(1);
    router.run(&mut [&mut red]);
    let socket = udp(&mut red);
    router.run(&mut [&mut red]);
    assert_eq!(red.take_events(), [LibraryEvent::Listening { listener: socket }]);
    let peer = at("192.0.2.9:53");
    red.library.connect_datagram(&mut red.reactor, socket, Some(peer)).unwrap();
    router.run(&mut [&mut red]);
    wait_in_vain(&mut router, &mut red);
    assert_eq!(red.take_events(), [LibraryEvent::ConnectFailed { socket, error: SocketError::TimedOut }]);
    assert_eq!(router.asked(0), [DatagramRequest::Connect(Some(peer)), DatagramRequest::Connect(None)]);
    let path = DatagramPath { local: Some(at("10.0.0.1:0").ip()), peer: Some(peer) };
    let late = postcard::to_stdvec(&DatagramReply::Connected(Ok(path))).unwrap();
    write_record(&mut router.datagrams[0].1, &late);
    router.run(&mut [&mut red]);
    assert!(!red.take_events().contains(&LibraryEvent::Connected { socket }));
    assert_eq!(red.library.receive_from(&mut red.reactor, socket).unwrap(), None);
    assert_eq!((red.take_events(), red.library.datagram_peer(socket)), (vec![], Ok(None)));
}
