//! What both ends ask of each other decides whether a connect is heard, on a hit as on a wire.

use std::time::{Duration, Instant};

use sockets::{Destination, LibraryEvent, Options, PeerOptions, Secret, SocketError, SocketId};

use crate::harness::{Process, Router, at, joined};

fn with_key(peer: &str, secret: &str) -> Options {
    let key = Secret::new(secret.as_bytes());
    Options { peers: vec![PeerOptions { key, ..PeerOptions::new(peer.parse().unwrap()) }], ..Options::default() }
}

/// Red opens blue's port 179 with some options.
fn open_with(router: &mut Router, red: &mut Process, blue: &mut Process, options: Options) -> SocketId {
    let mut to = Destination::new(at("10.0.0.2:179"));
    to.options = options;
    let socket = red.library.open_socket(&mut red.reactor, to).unwrap();
    router.run(&mut [red, blue]);
    socket
}

#[test]
fn a_connect_that_does_not_suit_the_listener_is_silence_until_its_timeout() {
    let listener_asks = Options { minimum_ttl: Some(255), ..with_key("10.0.0.1", "hush") };
    for (what, connector) in [
        ("no key, low TTL", Options::default()),
        ("low TTL", with_key("10.0.0.2", "hush")),
        ("no key", Options { ttl: Some(255), ..Options::default() }),
        ("wrong key", Options { ttl: Some(255), ..with_key("10.0.0.2", "loud") }),
        ("needs more TTL", Options { ttl: Some(255), minimum_ttl: Some(65), ..with_key("10.0.0.2", "hush") }),
    ] {
        let (mut router, mut red, mut blue, listener) = joined();
        blue.library.set_options(listener, listener_asks.clone()).unwrap();
        router.run(&mut [&mut red, &mut blue]);
        router.copy_vrfibs(&red, &blue, true);
        router.run(&mut [&mut red, &mut blue]);
        let socket = open_with(&mut router, &mut red, &mut blue, connector);
        assert_eq!(red.take_events(), [], "{what}");
        assert_eq!(blue.accept(listener), None, "{what}");
        red.library.handle_timeout(&mut red.reactor, Instant::now() + Duration::from_secs(128));
        router.run(&mut [&mut red, &mut blue]);
        let timed_out = LibraryEvent::ConnectFailed { socket, error: SocketError::TimedOut };
        assert_eq!(red.take_events(), [timed_out], "{what}");
        let suits = Options { ttl: Some(255), ..with_key("10.0.0.2", "hush") };
        let socket = open_with(&mut router, &mut red, &mut blue, suits);
        assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }], "{what}");
    }
}

#[test]
fn a_listener_that_learns_the_key_takes_who_waited_with_it() {
    let (mut router, mut red, mut blue, listener) = joined();
    router.manager_keeps_generations = true;
    let socket = open_with(&mut router, &mut red, &mut blue, with_key("10.0.0.2", "hush"));
    assert_eq!(red.take_events(), []);
    blue.library.set_options(listener, with_key("10.0.0.1", "hush")).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    assert_eq!(blue.take_events(), [LibraryEvent::Incoming { listener }], "and it is not announced again");
}
