//! What both ends ask of each other decides whether a connect is heard, on a hit as on a wire.

use std::time::{Duration, Instant};

use sockets::{Destination, LibraryEvent, Options, PeerOptions, Received, Secret, SocketError, SocketId};

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

/// A connection that both ends opened with the same key and a minimum TTL: red's socket, and blue's.
fn guarded(patience: Duration) -> (Router, Process, Process, SocketId, SocketId) {
    let (mut router, mut red, mut blue, listener) = joined();
    red.library.set_user_timeout(patience);
    blue.library.set_options(listener, suiting("10.0.0.1", "hush", 255)).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    router.copy_vrfibs(&red, &blue, true);
    router.run(&mut [&mut red, &mut blue]);
    let socket = open_with(&mut router, &mut red, &mut blue, suiting("10.0.0.2", "hush", 255));
    assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
    let accepted = blue.accept(listener).unwrap().socket;
    blue.take_events();
    (router, red, blue, socket, accepted)
}

fn suiting(peer: &str, secret: &str, ttl: u8) -> Options {
    Options { ttl: Some(ttl), minimum_ttl: Some(255), ..with_key(peer, secret) }
}

const NOTHING: Result<Received, SocketError> = Ok(Received::NothingYet);

#[test]
fn a_key_or_a_ttl_that_one_side_changes_stops_bytes_until_the_other_follows_and_loses_none() {
    let (mut router, mut red, mut blue, socket, accepted) = guarded(Duration::from_secs(600));
    let as_before = (suiting("10.0.0.2", "hush", 255), suiting("10.0.0.1", "hush", 255));
    let any_ttl = Options { minimum_ttl: None, ..suiting("10.0.0.1", "hush", 255) };
    for (what, reds, blues) in [
        ("a new key", suiting("10.0.0.2", "new", 255), suiting("10.0.0.1", "new", 255)),
        (
            "a TTL below what the peer takes",
            suiting("10.0.0.2", "new", 254),
            Options { peers: with_key("10.0.0.1", "new").peers, ..any_ttl },
        ),
        ("all as before", as_before.0, as_before.1),
    ] {
        red.library.set_options(socket, reds).unwrap();
        red.library.send(socket, b"there").unwrap();
        blue.library.send(accepted, b"back").unwrap();
        router.run(&mut [&mut red, &mut blue]);
        assert_eq!((red.take_events(), blue.take_events()), (vec![], vec![]), "{what}");
        assert_eq!((blue.read(accepted), red.read(socket)), ((vec![], NOTHING), (vec![], NOTHING)), "{what}");
        blue.library.set_options(accepted, blues).unwrap();
        router.run(&mut [&mut red, &mut blue]);
        assert_eq!(red.take_events(), [LibraryEvent::Readable { socket }], "{what}");
        assert_eq!(blue.read(accepted), (b"there".to_vec(), NOTHING), "{what}");
        assert_eq!(red.read(socket), (b"back".to_vec(), NOTHING), "{what}");
    }
}

#[test]
fn bytes_that_no_one_takes_for_another_key_time_the_connection_out_on_the_side_that_did_not_change() {
    let (mut router, mut red, mut blue, socket, accepted) = guarded(Duration::from_secs(10));
    blue.library.set_options(accepted, suiting("10.0.0.1", "new", 255)).unwrap();
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [], "an idle connection stands");
    red.library.send(socket, b"in vain").unwrap();
    red.library.handle_timeout(&mut red.reactor, Instant::now() + Duration::from_secs(11));
    router.run(&mut [&mut red, &mut blue]);
    assert_eq!(red.take_events(), [LibraryEvent::Readable { socket }]);
    assert_eq!(red.read(socket), (vec![], Err(SocketError::TimedOut)));
    assert_eq!(blue.read(accepted), (vec![], NOTHING));
}
