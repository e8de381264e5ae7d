//! Listening: who must agree, and who gets through.

use ipc::error::ChannelError;
use ipc::protocol::{Identity, Origin};
use ipc::{Pid, ServiceName, VrId};
use sockets::{AcceptDrop, Addresses, LibraryEvent, SocketError};
use stack_api::socket::{SocketReply, SocketRequest};
use vr_api::manager::{LibraryRequest, LibraryUpdate, Listener};

use crate::harness::{Process, Router, at, joined, tcp};

fn terms(source: &str, destination: &str) -> Vec<u8> {
    postcard::to_stdvec(&Addresses { source: at(source), destination: at(destination) }).unwrap()
}

fn stack() -> Identity {
    Identity {
        vr: VrId::ROUTER,
        vr_name: None,
        pid: Pid(2),
        name: ServiceName::new("stack").unwrap(),
        origin: Origin::Supervised,
    }
}

/// `peer` opens blue's port 179; returns what blue counts as dropped.
fn dropped(router: &mut Router, blue: &mut Process, peer: Identity, terms: Vec<u8>) -> Vec<AcceptDrop> {
    let before = AcceptDrop::ALL.map(|reason| blue.library.drops(reason));
    let mut end = router.open_endpoint(blue.index, 179, peer, terms);
    router.run(&mut [blue]);
    let reset = end.read(&mut [0; 1]);
    assert!(
        matches!(reset, Err(ChannelError::Reset(code)) if code == SocketError::ConnectionReset.code()),
        "{reset:?}"
    );
    let counted = AcceptDrop::ALL.into_iter().zip(before);
    counted.filter(|(reason, before)| blue.library.drops(*reason) > *before).map(|(reason, _)| reason).collect()
}

#[test]
fn a_listener_is_published_on_both_paths_and_listens_when_both_agree() {
    let mut router = Router::new();
    (router.manager_answers, router.stack_answers) = (false, false);
    let mut blue = router.start(2);
    router.run(&mut [&mut blue]);
    let listener = blue.listen_on("10.0.0.2:179");
    router.run(&mut [&mut blue]);
    let [LibraryRequest::Publish { ticket: published, listener: wanted }] = &router.asked_manager[..] else {
        panic!("{:?}", router.asked_manager)
    };
    let local = Some(at("10.0.0.2:179").ip());
    let clauses = wanted.clauses.clone();
    assert_eq!(*wanted, Listener { criteria: tcp(179), local, interface: None, backlog: 4, clauses, shared: vec![] });
    let [SocketRequest::LeasePorts { .. }, SocketRequest::Listen { ticket: taken, listener: pathname, .. }] =
        &router.asked_stack[..]
    else {
        panic!("{:?}", router.asked_stack)
    };
    assert_eq!(pathname.to_string(), format!("/2/{}/ipv4/tcp/179", router.identity(blue.index).pid));

    let (published, taken, pathname) = (*published, *taken, pathname.clone());
    router.tell_manager(blue.index, &LibraryUpdate::Published { ticket: published, pathname });
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [], "the stack has not agreed");
    router.tell_stack(blue.index, &SocketReply::Done { ticket: taken });
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener }]);
}

#[test]
fn at_the_start_a_listener_waits_for_a_stack_that_was_never_there() {
    let mut router = Router::new();
    router.stack_is_up = false;
    let mut blue = router.start(2);
    let listener = blue.listen_on("0.0.0.0:179");
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), []);
    router.stack_is_up = true;
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener }]);
}

#[test]
fn a_port_that_is_taken_fails_the_listener_and_the_manager_forgets_it() {
    let mut router = Router::new();
    router.stack_answers = false;
    let mut blue = router.start(2);
    router.run(&mut [&mut blue]);
    let listener = blue.listen_on("0.0.0.0:179");
    router.run(&mut [&mut blue]);
    let Some(SocketRequest::Listen { ticket, .. }) = router.asked_stack.last() else { panic!() };
    let error = SocketError::AddressInUse;
    router.tell_stack(blue.index, &SocketReply::Failed { ticket: *ticket, error });
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::ListenFailed { listener, error }]);
    assert_eq!(router.asked_manager.last(), Some(&LibraryRequest::Withdraw { criteria: tcp(179), local: None }));
    // The socket is still bound: its owner may try again.
    router.stack_answers = true;
    blue.library.listen(&mut blue.reactor, listener, 4).unwrap();
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener }]);
}

#[test]
fn a_port_is_reserved_by_the_stack_and_a_listener_there_names_the_same_reservation() {
    let mut router = Router::new();
    let mut blue = router.start(2);
    router.run(&mut [&mut blue]);
    let kept = blue.library.reserve_port(at("10.0.0.2:0"), None, false);
    router.run(&mut [&mut blue]);
    let Some(SocketRequest::ReservePort { ticket, port: wanted }) = router.asked_stack.last().cloned() else {
        panic!()
    };
    assert_eq!((wanted.local, wanted.port), (Some(at("10.0.0.2:0").ip()), 0));
    assert_eq!(blue.library.port_answer(kept), None);
    router.tell_stack(blue.index, &SocketReply::Ports { ticket, first: 40_000, count: 1 });
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::PortAnswered { reservation: kept }]);
    assert_eq!(blue.library.port_answer(kept), Some(Ok(40_000)));
    blue.listen_on("10.0.0.2:40000");
    router.run(&mut [&mut blue]);
    let Some(SocketRequest::Listen { family, .. }) = router.asked_stack.last() else { panic!() };
    assert_eq!(*family, wanted.number);
    blue.library.close(&mut blue.reactor, kept);
    router.run(&mut [&mut blue]);
    assert_eq!(router.asked_stack.last(), Some(&SocketRequest::ReleasePort { number: wanted.number }));
}

#[test]
fn what_the_stack_delivers_is_accepted_like_what_a_peer_opened() {
    let (mut router, mut red, mut blue, listener) = joined();
    let far = terms("192.0.2.9:4000", "10.0.0.2:179");
    let _end = router.open_endpoint(blue.index, 179, stack(), far);
    red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Incoming { listener }, LibraryEvent::Incoming { listener }]);
    let sources = [(); 2].map(|()| blue.accept(listener).unwrap().addresses.source);
    assert_eq!(sources, [at("192.0.2.9:4000"), at("10.0.0.1:60000")]);
    assert_eq!(blue.accept(listener), None);
}

#[test]
fn a_source_that_the_openers_vr_may_not_use_is_dropped_and_counted() {
    let (mut router, red, mut blue, _) = joined();
    let red_identity = router.identity(red.index);
    let forged = terms("192.0.2.9:4000", "10.0.0.2:179");
    assert_eq!(dropped(&mut router, &mut blue, red_identity, forged), [AcceptDrop::ForgedSource]);
    // A process that calls itself stack is one only as the router's own.
    let stranger = Identity { vr: VrId(7), ..stack() };
    let honest = terms("10.0.0.1:4000", "10.0.0.2:179");
    assert_eq!(dropped(&mut router, &mut blue, stranger, honest.clone()), [AcceptDrop::ForgedSource]);
    let shell = Identity { name: ServiceName::new("sh").unwrap(), ..stack() };
    assert_eq!(dropped(&mut router, &mut blue, shell, honest), [AcceptDrop::ForgedSource]);
    assert_eq!(blue.take_events(), []);
}

#[test]
fn terms_that_do_not_fit_the_pathname_are_dropped_by_name() {
    let (mut router, red, mut blue, listener) = joined();
    let peer = router.identity(red.index);
    let mut drop = |terms| dropped(&mut router, &mut blue, peer.clone(), terms);
    assert_eq!(drop(vec![0xff; 3]), [AcceptDrop::BadTerms]);
    assert_eq!(drop(terms("10.0.0.1:4000", "10.0.0.2:180")), [AcceptDrop::WrongDestination]);
    assert_eq!(drop(terms("10.0.0.1:4000", "[2001:db8::2]:179")), [AcceptDrop::WrongDestination]);
    assert_eq!(drop(terms("10.0.0.1:0", "10.0.0.2:179")), [AcceptDrop::WrongDestination]);
    blue.library.close(&mut blue.reactor, listener);
    assert_eq!(drop_after_close(&mut router, &mut blue, peer), [AcceptDrop::NoListener]);
}

fn drop_after_close(router: &mut Router, blue: &mut Process, peer: Identity) -> Vec<AcceptDrop> {
    dropped(router, blue, peer, terms("10.0.0.1:4000", "10.0.0.2:179"))
}

#[test]
fn a_connection_over_a_shut_interface_is_dropped() {
    let (mut router, red, mut blue, _) = joined();
    router.copy_vrfibs(&red, &blue, false);
    let peer = router.identity(red.index);
    assert_eq!(drop_after_close(&mut router, &mut blue, peer), [AcceptDrop::InterfaceDown]);
}

#[test]
fn connections_beyond_the_backlog_are_dropped() {
    let (mut router, red, mut blue, listener) = joined();
    let peer = router.identity(red.index);
    let ends: Vec<_> = (0..5)
        .map(|n| {
            let terms = terms(&format!("10.0.0.1:{}", 4000 + n), "10.0.0.2:179");
            router.open_endpoint(blue.index, 179, peer.clone(), terms)
        })
        .collect();
    router.run(&mut [&mut blue]);
    assert_eq!(blue.library.drops(AcceptDrop::BacklogFull), 1);
    assert_eq!(std::iter::from_fn(|| blue.accept(listener)).count(), 4);
    drop(ends);
}

#[test]
fn the_listener_bound_to_the_address_comes_before_the_one_bound_to_none() {
    let (mut router, mut red, mut blue, any) = joined();
    let bound = blue.listen_on("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    blue.take_events();
    let peer = router.identity(red.index);
    let _end = router.open_endpoint(blue.index, 179, peer, terms("10.0.0.1:4000", "10.0.0.2:179"));
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Incoming { listener: bound }]);
    blue.library.close(&mut blue.reactor, bound);
    let _end = router.open_endpoint(blue.index, 179, stack(), terms("10.0.0.1:4000", "10.0.0.2:179"));
    router.run(&mut [&mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Incoming { listener: any }]);
}

#[test]
fn a_second_listener_on_the_same_address_is_refused_at_once() {
    let (_router, _red, mut blue, _) = joined();
    let again = blue.library.create_socket(sockets::SocketKind::Stream).unwrap();
    blue.library.bind(again, at("0.0.0.0:179"), None).unwrap();
    assert_eq!(blue.library.listen(&mut blue.reactor, again, 4), Err(SocketError::AddressInUse));
}

#[test]
fn a_closed_listener_is_withdrawn_on_both_paths() {
    let (mut router, mut red, mut blue, listener) = joined();
    blue.library.close(&mut blue.reactor, listener);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(router.asked_manager.last(), Some(&LibraryRequest::Withdraw { criteria: tcp(179), local: None }));
    assert!(matches!(router.asked_stack.last(), Some(SocketRequest::Unlisten { local: None, .. })));
}
