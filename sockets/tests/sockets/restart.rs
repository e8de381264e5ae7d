//! The manager and the stack restart; the library says again what they must know.

use ipc::InterfaceName;
use sockets::{LibraryEvent, SocketKind};
use stack_api::socket::SocketRequest;
use vr_api::manager::{LibraryRequest, Membership};

use crate::harness::{at, connected, joined};

#[test]
fn a_new_manager_is_told_every_listener_and_the_process_is_told_nothing_twice() {
    let (mut router, mut red, mut blue, _) = joined();
    router.kill_manager();
    router.run(&mut [&mut red, &mut blue]);
    router.asked_manager.clear();
    router.manager_is_up = true;
    router.run(&mut [&mut red, &mut blue]);
    let [LibraryRequest::Publish { listener, .. }] = &router.asked_manager[..] else {
        panic!("{:?}", router.asked_manager)
    };
    assert_eq!(listener.backlog, 4);
    assert_eq!(blue.take_events(), []);
}

#[test]
fn a_new_manager_is_told_the_groups_of_every_datagram_socket() {
    let (mut router, mut red, mut blue, _) = joined();
    let socket = blue.library.create_socket(SocketKind::Datagram).unwrap();
    blue.library.bind_datagram(&mut blue.reactor, socket, at("0.0.0.0:520"), None).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    let (interface, groups) = (InterfaceName::new("vr1").unwrap(), ["224.0.0.9:0", "224.0.0.10:0", "224.0.0.11:0"]);
    groups.iter().for_each(|group| blue.library.join(socket, at(group).ip(), &interface).unwrap());
    blue.library.leave(socket, at(groups[1]).ip(), &interface).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    blue.take_events();
    router.kill_manager();
    router.run(&mut [&mut red, &mut blue]);
    router.asked_manager.clear();
    router.manager_is_up = true;
    router.run(&mut [&mut red, &mut blue]);
    let joins = router.asked_manager.iter().filter_map(|asked| match asked {
        LibraryRequest::Join(Membership { group, interface: by, .. }) => Some((*group, by.clone())),
        _ => None,
    });
    let joined = [groups[0], groups[2]].map(|group| (at(group).ip(), interface.clone()));
    assert_eq!(joins.collect::<Vec<_>>(), joined);
    // A membership is of something that is published: that comes before it.
    let place = |wanted: fn(&LibraryRequest) -> bool| router.asked_manager.iter().rposition(wanted);
    let published = place(|asked| matches!(asked, LibraryRequest::Publish { .. }));
    assert!(published < place(|asked| matches!(asked, LibraryRequest::Join(_))), "{:?}", router.asked_manager);
    assert_eq!(blue.take_events(), []);
}

#[test]
fn hits_go_on_while_the_manager_is_away() {
    let (mut router, mut red, mut blue, listener) = joined();
    router.kill_manager();
    router.run(&mut [&mut red, &mut blue]);
    let socket = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    assert!(blue.accept(listener).is_some());
}

#[test]
fn a_new_stack_is_told_the_ports_in_use_before_anything_else() {
    let (mut router, mut red, mut blue, _, _) = connected();
    router.kill_stack();
    router.run(&mut [&mut red, &mut blue]);
    router.asked_stack.clear();
    router.stack_is_up = true;
    router.run(&mut [&mut red, &mut blue]);
    let holds = router.asked_stack.iter().filter(|asked| matches!(asked, SocketRequest::HoldPorts { .. })).count();
    assert_eq!(holds, 2, "{:?}", router.asked_stack);
    assert!(matches!(router.asked_stack[0], SocketRequest::HoldPorts { .. }));
    assert!(router.asked_stack.iter().any(|asked| matches!(asked, SocketRequest::Listen { backlog: 4, .. })));
    assert_eq!((red.take_events(), blue.take_events()), (vec![], vec![]));
}

#[test]
fn a_connection_over_the_channel_does_not_notice_a_restart_of_the_stack() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    router.kill_stack();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.library.send(socket, b"still here"), Ok(10));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.read(accepted).0, b"still here");
}

#[test]
fn listening_while_the_stack_is_away_needs_the_manager_only() {
    let (mut router, mut red, mut blue, _) = joined();
    router.kill_stack();
    router.run(&mut [&mut red, &mut blue]);
    let listener = blue.listen_on("0.0.0.0:180");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [LibraryEvent::Listening { listener }]);
}

#[test]
fn who_asks_to_listen_while_the_manager_is_away_or_dies_over_it_is_told_when_the_next_one_agrees() {
    let (mut router, mut red, mut blue, _) = joined();
    router.manager_answers = false;
    let listener = blue.listen_on("0.0.0.0:180");
    router.run(&mut [&mut red, &mut blue]);
    router.kill_manager();
    router.run(&mut [&mut red, &mut blue]);
    let late = blue.listen_on("0.0.0.0:181");
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.take_events(), [], "nobody is led there");
    (router.manager_is_up, router.manager_answers) = (true, true);
    router.run(&mut [&mut red, &mut blue]);
    let mut told = blue.take_events();
    told.sort_by_key(|event| *event != LibraryEvent::Listening { listener });
    assert_eq!(told, [LibraryEvent::Listening { listener }, LibraryEvent::Listening { listener: late }]);
}
