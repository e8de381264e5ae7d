//! Peers that die, stop or do not answer, links that are cut, and servants of the router that stand still: a clear result
//! each time, within the timeouts of a network, and a process that goes on.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockets::{LibraryEvent, Received, SocketError, SocketId, SocketKind};

use crate::peer::{Peer, Role};
use crate::program::{Program, connect, until};
use crate::support::{JOINED, Router, stop, sum};

const NOTHING: Result<Received, SocketError> = Ok(Received::NothingYet);
const END: Result<Received, SocketError> = Ok(Received::EndOfFile);
const AT_BLUE: &str = "10.0.0.1:7000";

/// Longer than what a network would make of a call that should fail; short for a test.
const IMPATIENT: Duration = Duration::from_millis(200);

/// A servant of the router that stands still until this is dropped, also by a test that fails.
struct Stopped(Pid);

impl Stopped {
    fn new(router: &Router, name: &str) -> Self {
        let pid = Pid::from_raw(router.pid("", name));
        stop(pid);
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// A running router, red's program in this process, and blue's in another one that listens on port 7000.
fn scene(name: &str, role: Role) -> (Router, Program, Peer) {
    let router = Router::up(name, JOINED);
    let peer = Peer::start(&router, "blue", role);
    let mut red = Program::attach(&router, "red");
    until("blue's listener", &mut [&mut red], |programs| leads_to_blue(programs[0]).then_some(()));
    (router, red, peer)
}

fn leads_to_blue(red: &Program) -> bool {
    red.library.vrfib().entries().any(|(entry, _)| entry.listener.to_string().ends_with("/7000"))
}

/// Red's connection to blue stands.
fn connected(red: &mut Program) -> SocketId {
    let socket = red.open(AT_BLUE, None);
    wait_connected(red, socket);
    socket
}

fn wait_connected(red: &mut Program, socket: SocketId) {
    until("the connection", &mut [red], |programs| {
        programs[0].happened(LibraryEvent::Connected { socket }).then_some(())
    });
}

/// How the next connection that fails does.
fn failure(red: &mut Program) -> (SocketId, SocketError) {
    until("the failure", &mut [red], |programs| {
        programs[0].events.iter().find_map(|event| match *event {
            LibraryEvent::ConnectFailed { socket, error } => Some((socket, error)),
            LibraryEvent::Listening { .. }
            | LibraryEvent::ListenFailed { .. }
            | LibraryEvent::Incoming { .. }
            | LibraryEvent::Connected { .. }
            | LibraryEvent::Readable { .. }
            | LibraryEvent::Writable { .. }
            | LibraryEvent::PortAnswered { .. } => None,
        })
    })
}

/// Waits for the end of a connection; what came before, and the end.
fn read_to_end(red: &mut Program, socket: SocketId) -> (Vec<u8>, Result<Received, SocketError>) {
    let mut all = Vec::new();
    let end = until("the end", &mut [red], |programs| {
        let (bytes, end) = programs[0].read(socket);
        all.extend(bytes);
        (end != NOTHING).then_some(end)
    });
    (all, end)
}

/// Something goes there and back.
fn assert_echoes(red: &mut Program, socket: SocketId) {
    assert_eq!(red.library.send(socket, b"hello"), Ok(5));
    let mut came = Vec::new();
    until("the echo", &mut [red], |programs| {
        came.extend(programs[0].read(socket).0);
        (came.len() >= 5).then_some(())
    });
    assert_eq!(came, b"hello");
}

/// Sends until nothing more is taken; how much that was.
fn fill(red: &mut Program, socket: SocketId) -> usize {
    let block = vec![7; 64 << 10];
    let mut sent = 0;
    loop {
        match red.library.send(socket, &block).unwrap() {
            0 => return sent,
            some => sent += some,
        }
        assert!(sent < 64 << 20, "the window never closes");
    }
}

#[test]
fn a_port_where_nobody_listens_refuses_at_once() {
    let (router, mut red, peer) = scene("refused", Role::Echo);
    let nobody = red.open("10.0.0.1:7999", None);
    assert_eq!(failure(&mut red), (nobody, SocketError::ConnectionRefused));
    red.events.clear();
    // So does one whose listener died, by the time that the manager has said so.
    drop(peer);
    until("word of its death", &mut [&mut red], |programs| (!leads_to_blue(programs[0])).then_some(()));
    let late = red.open(AT_BLUE, None);
    assert_eq!(failure(&mut red), (late, SocketError::ConnectionRefused));
    drop(router);
}

#[test]
fn a_killed_peers_bytes_are_delivered_and_then_the_end() {
    let (_router, mut red, mut peer) = scene("killed-peer", Role::Write);
    let socket = connected(&mut red);
    peer.wait_for("wrote");
    peer.kill();
    assert_eq!(read_to_end(&mut red, socket), (b"half a message".to_vec(), END));
    assert_eq!(red.library.send(socket, b"x"), Ok(1), "the reset has yet to come");
    assert_eq!(red.library.send(socket, b"x"), Err(SocketError::BrokenPipe));
}

#[test]
fn a_killed_peer_that_left_bytes_unread_is_a_reset() {
    let (_router, mut red, mut peer) = scene("killed-unread", Role::Hold);
    let socket = connected(&mut red);
    peer.wait_for("accepted");
    assert_eq!(red.library.send(socket, b"never read"), Ok(10));
    peer.kill();
    assert_eq!(read_to_end(&mut red, socket), (vec![], Err(SocketError::ConnectionReset)));
    assert_eq!(red.read(socket).1, END, "it was told");
}

#[test]
fn a_peer_that_stops_reading_closes_the_window_and_opens_it_again() {
    let (_router, mut red, mut peer) = scene("stopped-reader", Role::Discard);
    red.library.set_user_timeout(IMPATIENT);
    let socket = connected(&mut red);
    peer.wait_for("accepted");
    peer.stop();
    assert!(fill(&mut red, socket) > 0);
    // As on a network, whose window probes are answered by the kernel, this is no reason to give up.
    let other = red.open_within("10.0.0.1:7000", IMPATIENT);
    wait_connected(&mut red, other);
    assert_eq!(red.read(socket), (vec![], NOTHING), "nothing is wrong with the connection");
    peer.go_on();
    until("room", &mut [&mut red], |programs| programs[0].happened(LibraryEvent::Writable { socket }).then_some(()));
    assert!(red.library.send(socket, b"more").unwrap() > 0);
}

#[test]
fn a_full_backlog_is_silence_until_the_timeout_and_drains() {
    let (_router, mut red, mut peer) = scene("full-backlog", Role::Backlog);
    peer.stop();
    let first = [connected(&mut red), connected(&mut red)];
    let late = red.open_within(AT_BLUE, IMPATIENT);
    assert_eq!(failure(&mut red), (late, SocketError::TimedOut));
    red.events.clear();
    // One that waits longer is heard when the listener works again.
    let patient = red.open(AT_BLUE, None);
    peer.go_on();
    wait_connected(&mut red, patient);
    (0..3).for_each(|_| peer.wait_for("accepted"));
    assert_eq!(first.map(|socket| red.read(socket).1), [NOTHING, NOTHING]);
}

#[test]
fn a_shut_interface_stops_bytes_and_loses_none_and_ends_who_waits_too_long() {
    let (router, mut red, mut peer) = scene("shut", Role::Echo);
    red.library.set_user_timeout(Duration::from_secs(600));
    let socket = connected(&mut red);
    peer.wait_for("accepted");
    assert_echoes(&mut red, socket);
    for (cut, mended) in [
        ("configure vr blue; interface red; shutdown", "configure vr blue; interface red; no shutdown"),
        ("configure no connect red blue", "configure connect red blue"),
    ] {
        router.sh(cut);
        until_cut(&mut red, true);
        assert_eq!(red.library.send(socket, b"kept"), Ok(4));
        assert!(fill(&mut red, socket) > 0, "a writer has its buffer, and then blocks");
        assert_eq!(red.read(socket), (vec![], NOTHING));
        router.sh(mended);
        until_cut(&mut red, false);
        let mut came = Vec::new();
        // Behind what is still under way from the round before.
        until("what was kept", &mut [&mut red], |programs| {
            came.extend(programs[0].read(socket).0);
            came.windows(4).any(|bytes| bytes == b"kept").then_some(())
        });
    }
    // A new connection, so that nothing of the above is under way; and nobody has patience.
    let socket = connected(&mut red);
    red.library.set_user_timeout(IMPATIENT);
    router.sh("configure no connect red blue");
    until_cut(&mut red, true);
    // Blue hears of the cut too, and takes nothing more from then on.
    let end = until("the timeout", &mut [&mut red], |programs| programs[0].library.send(socket, b"in vain").err());
    assert_eq!(end, SocketError::TimedOut);
    assert_eq!(red.read(socket).1, END, "it was told");
    assert_eq!(red.library.send(socket, b"x"), Err(SocketError::BrokenPipe));
}

/// Waits until red knows whether blue's address is lost.
fn until_cut(red: &mut Program, cut: bool) {
    let blue = IpAddr::from([10, 0, 0, 1]);
    until("word of the cut", &mut [red], |programs| {
        let interface = programs[0].library.vrfib().interface(&"blue".parse().unwrap());
        (interface.is_none_or(|interface| interface.lost.contains(&blue)) == cut).then_some(())
    });
}

#[test]
fn while_procmgr_stands_still_opens_wait_and_what_stands_goes_on() {
    let (router, mut red, _peer) = scene("stopped-procmgr", Role::Echo);
    let socket = connected(&mut red);
    let before = sum(&router.sh("show stack counters"), "packets_sent");
    let procmgr = Stopped::new(&router, "procmgr");
    let impatient = red.open_within(AT_BLUE, IMPATIENT);
    let waiting = red.open(AT_BLUE, None);
    let missing = red.open("192.0.2.9:7000", None);
    (0..20).for_each(|_| assert_echoes(&mut red, socket));
    assert_eq!(failure(&mut red), (impatient, SocketError::TimedOut));
    red.events.clear();
    assert_echoes(&mut red, socket);
    assert!(red.events.iter().all(|event| *event == LibraryEvent::Readable { socket }), "{:?}", red.events);
    drop(procmgr);
    // The hit is a hit still, and the miss a miss: no route leads there.
    wait_connected(&mut red, waiting);
    assert_eq!(failure(&mut red), (missing, SocketError::NetworkUnreachable));
    assert_echoes(&mut red, waiting);
    let again = connected(&mut red);
    assert_echoes(&mut red, again);
    assert_eq!(sum(&router.sh("show stack counters"), "packets_sent"), before);
}

#[test]
fn without_a_stack_hits_connect_and_misses_time_out() {
    let (router, mut red, _peer) = scene("stopped-stack", Role::Echo);
    // Ports for hits are leased before.
    let first = connected(&mut red);
    let stack = Stopped::new(&router, "stack");
    let miss = red.open_within("192.0.2.9:7000", IMPATIENT);
    let hit = connected(&mut red);
    assert_eq!(failure(&mut red), (miss, SocketError::TimedOut));
    [first, hit].into_iter().for_each(|socket| assert_echoes(&mut red, socket));
    drop(stack);
    red.events.clear();
    let refused = red.open("10.0.0.1:7999", None);
    assert_eq!(failure(&mut red), (refused, SocketError::ConnectionRefused));
}

#[test]
fn while_the_manager_stands_still_hits_connect_and_a_new_listener_waits_for_the_next_one() {
    let (router, mut red, _peer) = scene("stopped-manager", Role::Echo);
    let mut blue = Program::attach(&router, "blue");
    until("blue's interface", &mut [&mut blue], |programs| programs[0].library.vrfib().interfaces().next().map(|_| ()));
    let manager = Stopped::new(&router, "vrmgr");
    let listener = blue.begin_to_listen("0.0.0.0:7001", 4);
    let socket = connected(&mut red);
    assert_echoes(&mut red, socket);
    blue.turn();
    assert!(!blue.happened(LibraryEvent::Listening { listener }), "the manager has not agreed");
    router.kill_and_await("", "vrmgr");
    drop(manager);
    // Meanwhile the next one collects what everybody publishes, and who was known stays known.
    until("the listener", &mut [&mut blue, &mut red], |programs| {
        let [blue, red] = programs else { panic!("two programs") };
        let socket = red.open(AT_BLUE, None);
        wait_connected(red, socket);
        red.events.clear();
        blue.happened(LibraryEvent::Listening { listener }).then_some(())
    });
    connect(&mut red, (&mut blue, listener), "10.0.0.1:7001", None);
    assert_echoes(&mut red, socket);
}

/// Asks for TCP's port 7001, and for UDP's.
fn ask_for_ports(blue: &mut Program) -> [SocketId; 2] {
    let socket = blue.library.create_socket(SocketKind::Datagram).unwrap();
    ask_for_udp(blue, socket);
    [blue.begin_to_listen("0.0.0.0:7001", 4), socket]
}

fn ask_for_udp(blue: &mut Program, socket: SocketId) {
    let any = "0.0.0.0:7001".parse().unwrap();
    blue.library.bind_datagram(&mut blue.reactor, socket, any, None).unwrap();
}

#[test]
fn ports_that_a_servant_which_stands_still_does_not_give_are_refused_in_time_and_free_afterwards() {
    let router = Router::up("unanswered", JOINED);
    let mut blue = Program::attach(&router, "blue");
    until("blue's interface", &mut [&mut blue], |programs| programs[0].library.vrfib().interfaces().next().map(|_| ()));
    for servant in ["vrmgr", "stack", "procmgr"] {
        let stopped = Stopped::new(&router, servant);
        let asked = ask_for_ports(&mut blue);
        blue.turn();
        // As if it had waited for so long.
        blue.library.handle_timeout(&mut blue.reactor, Instant::now() + Duration::from_secs(70));
        blue.turn();
        for listener in asked {
            let timed_out = LibraryEvent::ListenFailed { listener, error: SocketError::TimedOut };
            assert!(blue.happened(timed_out), "{servant}: {:?}", blue.events);
        }
        assert_eq!(blue.events, [], "{servant}");
        drop(stopped);
        // Whoever goes on finds a request and its withdrawal.
        asked.iter().for_each(|socket| blue.library.close(&mut blue.reactor, *socket));
        let given = ask_for_ports(&mut blue);
        let mut again = given.to_vec();
        until("the ports", &mut [&mut blue], |programs| {
            let blue = &mut *programs[0];
            again.retain(|listener| !blue.happened(LibraryEvent::Listening { listener: *listener }));
            for listener in again.iter().copied() {
                let in_use = LibraryEvent::ListenFailed { listener, error: SocketError::AddressInUse };
                // The stack sees the new channel sooner than the end of the one that was given up.
                if blue.happened(in_use) {
                    ask_for_udp(blue, listener);
                }
            }
            again.is_empty().then_some(())
        });
        assert_eq!(blue.events, [], "{servant}");
        given.iter().for_each(|socket| blue.library.close(&mut blue.reactor, *socket));
    }
}
