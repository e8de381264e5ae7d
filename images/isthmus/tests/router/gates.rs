//! Established connections between VRs follow routes that move, as on a wire.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use sockets::vrfib::Lookups;
use sockets::{LibraryEvent, Received, SocketError};

use crate::program::{Program, connect, until};
use crate::support::{BOTH_WAYS, Router, matching, sum};

/// From loopback to loopback, beside [`BOTH_WAYS`].
const LOOPBACKS: &str = "
vr red
 interface Loopback0
  ipv4 address 192.0.2.1/32
 !
 router static
  address-family ipv4 unicast
   192.0.2.2/32 10.0.0.1
  !
 !
!
vr blue
 interface Loopback0
  ipv4 address 192.0.2.2/32
 !
 router static
  address-family ipv4 unicast
   192.0.2.1/32 10.0.0.0
  !
 !
!
";

const STATIC: &str = "router static; address-family ipv4 unicast";
const NOTHING: Result<Received, SocketError> = Ok(Received::NothingYet);

/// Lets both work until each knows whether the loopbacks are lost.
fn until_lost(red: &mut Program, blue: &mut Program, lost: bool) {
    let loopback = |host: u8| IpAddr::from([192, 0, 2, host]);
    until("word of the routes", &mut [red, blue], |programs| {
        let [red, blue] = programs else { unreachable!("two programs") };
        let of_red = &red.library.vrfib().interface(&"blue".parse().unwrap())?.lost;
        let of_blue = &blue.library.vrfib().interface(&"red".parse().unwrap())?.lost_from;
        (of_red.contains(&loopback(2)) == lost && of_blue.contains(&loopback(2)) == lost).then_some(())
    });
}

#[test]
fn a_channel_stands_while_any_route_leads_to_the_peer_and_stands_still_when_none_does() {
    let router = Router::up("routes", &[BOTH_WAYS, LOOPBACKS].concat());
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "192.0.2.2/32"), ("protocol", "static")]);
    router.wait_for_row("show route", &[("vr", "blue"), ("prefix", "192.0.2.1/32"), ("protocol", "static")]);
    let (mut red, mut blue) = (Program::attach(&router, "red"), Program::attach(&router, "blue"));
    let (red, blue) = (&mut red, &mut blue);
    let listener = blue.listen("192.0.2.2:7000", 8);
    until("the entry", &mut [red], |programs| {
        programs[0].library.vrfib().entries().any(|(entry, _)| entry.to == IpAddr::from([192, 0, 2, 2])).then_some(())
    });
    let (socket, accepted) = connect(red, (blue, listener), "192.0.2.2:7000", Some("192.0.2.1"));
    assert_eq!((red.read(socket), blue.read(accepted)), ((vec![], NOTHING), (vec![], NOTHING)));

    // The route moves to the cable: the channel stays, whatever the way.
    router.sh(&format!("configure vr red; {STATIC}; no 192.0.2.2/32 10.0.0.1; 192.0.2.2/32 10.1.0.1"));
    router.wait_for("show route", |table| table.to_string().contains("Port0/0/0"));
    until("the entry to go", &mut [red], |programs| {
        programs[0].library.vrfib().entries().all(|(entry, _)| entry.to != IpAddr::from([192, 0, 2, 2])).then_some(())
    });
    red.library.send(socket, b"around").unwrap();
    assert_eq!(blue.read(accepted), (b"around".to_vec(), NOTHING));
    let before = router.sh("show stack counters");

    // The last route goes: nothing passes, in neither direction.
    router.sh(&format!("configure vr red; {STATIC}; no 192.0.2.2/32 10.1.0.1"));
    until_lost(red, blue, true);
    red.library.send(socket, b"kept").unwrap();
    blue.library.send(accepted, b"as well").unwrap();
    assert_eq!((blue.read(accepted), red.read(socket)), ((vec![], NOTHING), (vec![], NOTHING)));

    // It is back: nothing was lost.
    router.sh(&format!("configure vr red; {STATIC}; 192.0.2.2/32 10.1.0.1"));
    until_lost(red, blue, false);
    assert_eq!((blue.read(accepted), red.read(socket)), ((b"kept".to_vec(), NOTHING), (b"as well".to_vec(), NOTHING)));
    let after = router.sh("show stack counters");
    assert_eq!(sum(&before, "packets_sent"), sum(&after, "packets_sent"), "all that went over the channel");

    // The way back counts as well. Who has unsent bytes for too long gives up.
    red.library.set_user_timeout(Duration::from_millis(50));
    router.sh(&format!("configure vr blue; {STATIC}; no 192.0.2.1/32 10.0.0.0"));
    until("word of the route back", &mut [red, blue], |programs| {
        let interface = programs[0].library.vrfib().interface(&"blue".parse().unwrap())?;
        (!interface.lost_from.is_empty()).then_some(())
    });
    red.library.send(socket, b"in vain").unwrap();
    red.events.clear();
    until("the timeout", &mut [red, blue], |programs| {
        programs[0].happened(LibraryEvent::Readable { socket }).then_some(())
    });
    assert_eq!(red.read(socket), (vec![], Err(SocketError::TimedOut)));
}

#[test]
fn what_begins_without_short_circuits_goes_through_the_stack_and_reads_the_same() {
    let router = Router::up("long", BOTH_WAYS);
    let (mut red, mut blue) = (Program::attach(&router, "red"), Program::attach(&router, "blue"));
    let (red, blue) = (&mut red, &mut blue);
    let listener = blue.listen("10.0.0.1:7000", 8);
    let until_hits = |red: &mut Program, hits: bool| {
        until("word of the short circuit", &mut [red], |programs| {
            (programs[0].library.vrfib().entries().next().is_some() == hits).then_some(())
        });
    };
    // Connections over the channel.
    let direct = |red: &Program| red.library.inter_vr_counters()[0].connections;
    until_hits(red, true);
    let (before, there) = connect(red, (blue, listener), "10.0.0.1:7000", None);
    assert_eq!(direct(red), 1);

    // Either end may say so.
    router.sh("configure vr blue; interface red; short-circuit disable");
    until_hits(red, false);
    let (socket, accepted) = connect(red, (blue, listener), "10.0.0.1:7000", None);
    assert_eq!(direct(red), 1);
    let counted = red.library.vrfib().withdrawn().find(|(_, lookups)| lookups.misses > 0);
    assert_eq!(counted.map(|(_, lookups)| lookups), Some(Lookups { hits: 1, misses: 1 }), "the entry counts it");
    for (vr, word) in [("red", "disabled-by-peer"), ("blue", "disabled")] {
        router.wait_for_row("show inter-vr", &[("vr", vr), ("state", "up"), ("short_circuit", word)]);
    }
    let of_red = red.library.addresses(socket).unwrap();
    let of_blue = blue.library.addresses(accepted).unwrap();
    assert_eq!((of_red.source, of_red.destination), (of_blue.destination, of_blue.source));
    assert_eq!(of_red.source.ip(), IpAddr::from([10, 0, 0, 0]));
    red.library.send(socket, b"the long way").unwrap();
    until("the bytes", &mut [blue, red], |programs| {
        let (bytes, end) = programs[0].read(accepted);
        assert_eq!(end, NOTHING);
        (bytes == b"the long way").then_some(())
    });
    // What stood before stands.
    red.library.send(before, b"as before").unwrap();
    assert_eq!(blue.read(there), (b"as before".to_vec(), NOTHING));

    router.sh("configure vr blue; interface red; no short-circuit disable");
    until_hits(red, true);
    connect(red, (blue, listener), "10.0.0.1:7000", None);
    assert_eq!(direct(red), 2);
    let (_, lookups) = red.library.vrfib().entries().next().unwrap();
    assert_eq!(lookups, Lookups { hits: 2, misses: 1 }, "it goes on where it was");
    router.wait_for_row("show inter-vr", &[("vr", "red"), ("short_circuit", "enabled")]);
}

/// How often red's process has found blue's loopback in its vrFIB; `None`: it is not in there.
fn hits(red: &Program) -> Option<u64> {
    let is_loopback = |to: IpAddr| to == IpAddr::from([192, 0, 2, 2]);
    red.library.vrfib().entries().find(|(entry, _)| is_loopback(entry.to)).map(|(_, lookups)| lookups.hits)
}

#[test]
fn new_connections_follow_a_route_that_moves_to_the_cable_and_back() {
    let router = Router::up("moving", &[BOTH_WAYS, LOOPBACKS].concat());
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "192.0.2.2/32"), ("protocol", "static")]);
    router.wait_for_row("show route", &[("vr", "blue"), ("prefix", "192.0.2.1/32"), ("protocol", "static")]);
    let (mut red, mut blue) = (Program::attach(&router, "red"), Program::attach(&router, "blue"));
    let (red, blue) = (&mut red, &mut blue);
    let listener = blue.listen("192.0.2.2:7000", 8);
    let (to, from) = ("192.0.2.2:7000", Some("192.0.2.1"));
    until("the entry", &mut [red], |programs| hits(programs[0]));
    let sent = || sum(&router.sh("show stack counters"), "packets_sent");
    let before = sent();
    connect(red, (blue, listener), to, from);
    assert_eq!((hits(red), sent()), (Some(1), before), "over the channel");

    router.sh(&format!("configure vr red; {STATIC}; no 192.0.2.2/32 10.0.0.1; 192.0.2.2/32 10.1.0.1"));
    router.wait_for("show fib", |table| {
        let to_cable = |row: &Value| row["next_hops"].to_string().contains("Port0/0/0");
        matching(table, &[("vr", "red"), ("prefix", "192.0.2.2/32")]).iter().any(to_cable)
    });
    until("the entry to go", &mut [red], |programs| hits(programs[0]).is_none().then_some(()));
    connect(red, (blue, listener), to, from);
    // SYN, SYN and ACK, ACK.
    assert!(sent() >= before + 3, "over the cable");

    router.sh(&format!("configure vr red; {STATIC}; no 192.0.2.2/32 10.1.0.1; 192.0.2.2/32 10.0.0.1"));
    until("the entry to come back", &mut [red], |programs| hits(programs[0]));
    connect(red, (blue, listener), to, from);
    assert_eq!(hits(red), Some(2), "over the channel again");
}
