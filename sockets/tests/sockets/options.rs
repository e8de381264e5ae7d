//! Options: when they are set, who is told, and what they do on a hit.

use std::time::{Duration, Instant};

use sockets::{Destination, KeepAlive, LibraryEvent, Options, Received, SocketError, SocketKind};
use stack_api::socket::{Addresses, ConnectResult, OptionsOf, SocketRequest};

use crate::harness::{Router, at, connected, joined, write_record};

fn probing(idle: u64) -> Options {
    let keepalive = KeepAlive { idle: Duration::from_secs(idle), interval: Duration::from_secs(1), probes: 2 };
    Options { keepalive: Some(keepalive), ..Options::default() }
}

/// The options that the stack was last asked to change, and whose.
fn last_set(router: &Router) -> Option<(OptionsOf, Options)> {
    router.asked_stack.iter().rev().find_map(|asked| match asked {
        SocketRequest::SetOptions { socket, options } => Some((socket.clone(), options.clone())),
        SocketRequest::Listen { .. }
        | SocketRequest::Unlisten { .. }
        | SocketRequest::LeasePorts { .. }
        | SocketRequest::ReservePort { .. }
        | SocketRequest::ReleasePort { .. }
        | SocketRequest::SourceTowards { .. }
        | SocketRequest::HoldPorts { .. } => None,
    })
}

#[test]
fn a_connection_through_the_stack_is_opened_with_its_options_and_they_change_while_it_lives() {
    let (mut router, mut red, mut blue, _) = joined();
    let to = Destination { options: Options { ttl: Some(7), ..probing(5) }, ..Destination::new(at("192.0.2.9:179")) };
    let socket = red.library.open_socket(&mut red.reactor, to.clone()).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(router.connects[0].0.options, to.options);
    assert_eq!(red.library.options(socket), Ok(to.options.clone()));
    // In SYN-SENT: told once the connection stands.
    red.library.set_options(socket, probing(6)).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(last_set(&router), None);
    let local = at("10.0.0.1:1179");
    let result = postcard::to_stdvec(&ConnectResult::Connected { local }).unwrap();
    write_record(&mut router.connects[0].1, &result);
    router.run(&mut [&mut red, &mut blue]);
    let connection = OptionsOf::Connection(Addresses { source: local, destination: to.to });
    assert_eq!(last_set(&router), Some((connection.clone(), probing(6))));
    red.library.set_options(socket, probing(7)).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(last_set(&router), Some((connection, probing(7))));
}

#[test]
fn an_accepted_connection_begins_with_its_listeners_options_and_then_has_its_own() {
    let (mut router, mut red, mut blue, listener) = joined();
    blue.library.set_options(listener, probing(5)).unwrap();
    let socket = red.open("10.0.0.2:179");
    router.run(&mut [&mut red, &mut blue]);
    assert!(matches!(last_set(&router), Some((OptionsOf::Listener { .. }, options)) if options == probing(5)));
    let accepted = blue.accept(listener).unwrap().socket;
    assert_eq!(blue.library.options(accepted), Ok(probing(5)));
    assert_eq!(red.library.options(socket), Ok(Options::default()), "the other side's are its own");
    router.asked_stack.clear();
    blue.library.set_options(accepted, probing(9)).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.library.options(listener), Ok(probing(5)));
    assert_eq!(last_set(&router), None, "the stack has no part in a hit");
}

#[test]
fn a_listener_tells_its_options_to_every_stack() {
    let mut router = Router::new();
    let mut red = router.start(1);
    let listener = red.library.create_socket(SocketKind::Stream).unwrap();
    red.library.set_options(listener, probing(5)).unwrap();
    red.library.bind(listener, at("0.0.0.0:179"), None).unwrap();
    red.library.listen(&mut red.reactor, listener, 4).unwrap();
    router.run(&mut [&mut red]);
    let options = |router: &Router| {
        let mut listens = router.asked_stack.iter().filter_map(|asked| match asked {
            SocketRequest::Listen { options, .. } => Some(options.clone()),
            _ => None,
        });
        listens.next_back().unwrap()
    };
    assert_eq!(options(&router), probing(5));
    router.kill_stack();
    router.run(&mut [&mut red]);
    red.library.set_options(listener, probing(6)).unwrap();
    router.stack_is_up = true;
    router.run(&mut [&mut red]);
    assert_eq!(options(&router), probing(6));
}

#[test]
fn a_close_that_lingers_for_no_time_resets_the_peer() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    let options = Options { linger: Some(Duration::ZERO), ..Options::default() };
    red.library.set_options(socket, options).unwrap();
    red.library.close(&mut red.reactor, socket);
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(blue.read(accepted), (vec![], Err(SocketError::ConnectionReset)));
}

#[test]
fn an_idle_connection_that_is_probed_does_not_outlive_a_closed_gate() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    red.library.set_options(socket, probing(10)).unwrap();
    assert_eq!(red.library.poll_timeout(), None, "nothing is to be found out while the interface is up");
    router.copy_vrfibs(&red, &blue, false);
    router.run(&mut [&mut red, &mut blue]);
    red.take_events();
    let now = Instant::now();
    red.library.handle_timeout(&mut red.reactor, now + Duration::from_secs(11));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [], "ten seconds and two probes, a second apart");
    red.library.handle_timeout(&mut red.reactor, now + Duration::from_secs(13));
    assert_eq!(red.library.take_error(&mut red.reactor, socket), Ok(Some(SocketError::TimedOut)));
    assert_eq!(red.library.take_error(&mut red.reactor, socket), Ok(None), "an error is told once");
    assert_eq!(red.read(socket), (vec![], Ok(Received::EndOfFile)));
    blue.library.handle_timeout(&mut blue.reactor, now + Duration::from_secs(10_000));
    assert_eq!(blue.library.take_error(&mut blue.reactor, accepted), Ok(None), "blue does not probe");
}

#[test]
fn a_connection_has_a_user_timeout_of_its_own() {
    let (mut router, mut red, mut blue, socket, _) = connected();
    let options = Options { user_timeout: Some(Duration::from_secs(3)), ..Options::default() };
    red.library.set_options(socket, options).unwrap();
    router.copy_vrfibs(&red, &blue, false);
    router.run(&mut [&mut red, &mut blue]);
    red.library.send(socket, b"unsent").unwrap();
    let now = Instant::now();
    red.library.handle_timeout(&mut red.reactor, now + Duration::from_secs(2));
    assert_eq!(red.library.take_error(&mut red.reactor, socket), Ok(None));
    red.library.handle_timeout(&mut red.reactor, now + Duration::from_secs(4));
    assert_eq!(red.library.take_error(&mut red.reactor, socket), Ok(Some(SocketError::TimedOut)));
}

#[test]
fn a_small_send_buffer_takes_little_before_it_is_full() {
    let (mut router, mut red, mut blue, socket, accepted) = connected();
    let options = Options { send_buffer_bytes: 4096, ..Options::default() };
    red.library.set_options(socket, options).unwrap();
    for _ in 0..20 {
        assert_eq!(red.library.send(socket, &[7; 100_000]), Ok(4096));
        assert_eq!(blue.read(accepted).0.len(), 4096);
        router.run(&mut [&mut red, &mut blue]);
        assert!(red.take_events().contains(&LibraryEvent::Writable { socket }));
    }
}

#[test]
fn values_that_cannot_be_had_change_nothing() {
    let (_router, mut red, _blue, socket, _) = connected();
    let wrong = Options { ttl: Some(0), nodelay: false, ..Options::default() };
    assert_eq!(red.library.set_options(socket, wrong.clone()), Err(SocketError::InvalidArgument));
    assert_eq!(red.library.options(socket), Ok(Options::default()));
    let to = Destination { options: wrong, ..Destination::new(at("10.0.0.2:179")) };
    assert_eq!(red.library.open_socket(&mut red.reactor, to), Err(SocketError::InvalidArgument));
    red.library.close(&mut red.reactor, socket);
    assert_eq!(red.library.options(socket), Err(SocketError::InvalidArgument), "it is gone");
}
