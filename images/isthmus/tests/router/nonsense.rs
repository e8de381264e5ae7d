//! A program that attached and brings nonsense: it is refused with a reason, and nobody else suffers.

use std::time::Instant;

use ipc::Pathname;
use ipc::channel::Channel;
use ipc::link::{Link, LinkEvent};
use ipc::message::{MessageChannel, Schema};
use ipc::protocol::Refusal;
use ipnet::{IpNet, Ipv4Net};
use sdk::rib::{NextHop, RibRequest, RibUpdate, Route, RouteChange, UnusedRoute};
use vr_api::command::Declaration;
use vr_api::config::{self, DeclarationReply};

use crate::support::{PATIENCE, Router, TWO_VRS, matching};

/// What a program that attached may bring.
const LIMIT: usize = 100_000;
/// How many more it tries.
const BEYOND: usize = 1_000_000;

/// A program of red, in the test's own process.
struct Program {
    link: Link,
}

impl Program {
    fn attach(router: &Router) -> Self {
        let link = Link::attach(&router.control_socket(), Some("red".parse().unwrap()), "nonsense".parse().unwrap());
        Self { link: link.unwrap() }
    }

    /// Opens a pathname; procmgr may refuse.
    fn open(&mut self, pathname: &Pathname, terms: &[u8]) -> Result<Channel, Refusal> {
        let asked = self.link.open(pathname, None, terms).unwrap();
        let until = Instant::now() + PATIENCE;
        while let Some(event) = self.link.wait_event_timeout(until - Instant::now()).unwrap() {
            match event {
                LinkEvent::Opened { ticket, channel, .. } if ticket == asked => return Ok(channel),
                LinkEvent::Refused { ticket, refusal } if ticket == asked => return Err(refusal),
                _ => {}
            }
        }
        panic!("no answer about {pathname}");
    }

    fn rib(&mut self) -> MessageChannel<RibRequest, RibUpdate> {
        let own = Pathname::service(self.link.identity().vr, "rib".parse().unwrap());
        MessageChannel::new(self.open(&own, &[]).unwrap(), Schema::new(sdk::rib::SCHEMA))
    }
}

fn add(prefix: impl Into<IpNet>, hop: NextHop) -> RouteChange {
    RouteChange::Add(Route::new(prefix, 1, 0, vec![hop]))
}

/// The `n`th network of 11.0.0.0/8 and what follows it.
fn network(n: usize) -> Ipv4Net {
    Ipv4Net::new(std::net::Ipv4Addr::from(0x0b00_0000 + (u32::try_from(n).unwrap() << 4)), 28).unwrap()
}

/// The next refusal.
fn refusal(rib: &mut MessageChannel<RibRequest, RibUpdate>) -> (IpNet, String) {
    match rib.receive_timeout(PATIENCE).unwrap() {
        Some(RibUpdate::Refused { prefix, reason }) => (prefix, reason),
        other => panic!("{other:?}"),
    }
}

/// Whether everybody else works as before: no process was restarted, the session stands, packets pass.
fn nobody_suffers(router: &Router) {
    let processes = router.sh("show processes");
    assert_eq!(matching(&processes, &[("restarts", "0")]).len(), processes.as_array().unwrap().len(), "{processes}");
    router.wait_for_session();
    router.sh("ping vr red 192.0.2.2 source 192.0.2.1 count 1");
}

#[test]
fn routes_that_make_no_sense_are_refused_with_a_reason() {
    let router = Router::up("nonsense-routes", TWO_VRS);
    router.wait_for_session();
    let mut program = Program::attach(&router);
    let mut rib = program.rib();
    let address = |text: &str| NextHop::Address(text.parse().unwrap());
    let prefix = |text: &str| text.parse::<IpNet>().unwrap();
    for (change, reason) in [
        (add(prefix("224.0.0.0/8"), address("10.0.0.1")), "is not a unicast destination"),
        (add(prefix("203.0.113.1/24"), address("10.0.0.1")), "203.0.113.0/24 is meant?"),
        (add(prefix("203.0.113.0/24"), address("0.0.0.0")), "is not the address of a neighbor"),
        (RouteChange::Add(Route::new(prefix("203.0.113.0/24"), 1, 0, Vec::new())), "a route needs a next hop"),
    ] {
        rib.send(&RibRequest::Routes(vec![change])).unwrap();
        let (_, said) = refusal(&mut rib);
        assert!(said.contains(reason), "{said}");
    }
    // What leads nowhere now is kept, not used, and its program told why: a next hop that nothing leads to, an own
    // address, an interface that is another VR's.
    let nowhere = [
        (add(prefix("203.0.113.0/24"), address("172.31.255.1")), "next hop 172.31.255.1: no other route leads there"),
        (add(prefix("203.0.113.0/25"), address("10.0.0.0")), "next hop 10.0.0.0 is an address of this router itself"),
        (
            add(prefix("203.0.113.128/25"), NextHop::Interface("red".parse().unwrap())),
            "next hop on red: there is no such interface here",
        ),
    ];
    for (change, reason) in nowhere {
        rib.send(&RibRequest::Routes(vec![change])).unwrap();
        let Some(RibUpdate::Unused(routes)) = rib.receive_timeout(PATIENCE).unwrap() else { panic!("not told") };
        let [UnusedRoute { prefix, because }] = &routes[..] else { panic!("{routes:?}") };
        assert_eq!(because.to_string(), reason);
        let prefix = prefix.to_string();
        router.wait_for_row("show route unused", &[("vr", "red"), ("prefix", &prefix), ("reason", reason)]);
    }
    let good = add(prefix("203.0.113.64/26"), NextHop::Discard);
    rib.send(&RibRequest::Routes(vec![good])).unwrap();
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "203.0.113.64/26"), ("protocol", "nonsense")]);
    assert_eq!(router.rows("show route", &[("protocol", "nonsense")]).len(), 1);
    // Once something leads there, it is used.
    router.sh("configure vr red; router static; address-family ipv4 unicast; 172.31.255.0/24 10.0.0.1");
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "203.0.113.0/24"), ("protocol", "nonsense")]);
    // Another VR's RIB is not opened, so no route comes there.
    let blue = program.link.identity().vr.0 + 1;
    let refused = program.open(&Pathname::service(ipc::VrId(blue), "rib".parse().unwrap()), &[]).unwrap_err();
    assert!(matches!(refused, Refusal::Access { .. }), "{refused}");
    nobody_suffers(&router);
}

#[test]
fn a_million_routes_beyond_the_limit_cost_nobody_anything() {
    let router = Router::up("nonsense-limit", TWO_VRS);
    router.wait_for_session();
    let mut program = Program::attach(&router);
    let mut rib = program.rib();
    let all: Vec<usize> = (0..LIMIT + BEYOND).collect();
    let send = |rib: &mut MessageChannel<RibRequest, RibUpdate>| {
        for part in all.chunks(500) {
            let changes = part.iter().map(|n| add(network(*n), NextHop::Discard)).collect();
            rib.send(&RibRequest::Routes(changes)).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&mut rib));
        // Meanwhile other protocols of the VR have their turns: what blue begins to announce is a route of red.
        router.sh("configure vr blue; router static; address-family ipv4 unicast; 203.0.113.0/24 Null0");
        router.sh("configure vr blue; router bgp 64502; address-family ipv4 unicast; network 203.0.113.0/24");
        router.sh("configure vr red; router static; address-family ipv4 unicast; 198.51.100.0/24 10.0.0.1");
        for (protocol, prefix) in [("bgp", "203.0.113.0/24"), ("static", "198.51.100.0/24")] {
            router.wait_for_row("show route", &[("vr", "red"), ("protocol", protocol), ("prefix", prefix)]);
        }
        sending.join().unwrap();
    });
    let (prefix, reason) = refusal(&mut rib);
    assert_eq!(prefix, network(LIMIT).into());
    assert_eq!(reason, "nonsense may bring 100000 routes; no more are taken until it withdraws some");
    nobody_suffers(&router);
    let limit = LIMIT.to_string();
    router.wait_for_row("show route summary", &[("vr", "red"), ("protocol", "nonsense"), ("routes", &limit)]);
    // Gone, it leaves nothing.
    drop((rib, program));
    router.wait_for("show route summary", |table| matching(table, &[("protocol", "nonsense")]).is_empty());
    nobody_suffers(&router);
}

#[test]
fn garbage_closes_the_channel_that_it_came_on() {
    let router = Router::up("nonsense-garbage", TWO_VRS);
    router.wait_for_session();
    let mut program = Program::attach(&router);
    let own_rib = Pathname::service(program.link.identity().vr, "rib".parse().unwrap());
    let config = Pathname::router("config").unwrap();
    let declare = postcard::to_stdvec(&config::Terms::Program).unwrap();
    for (pathname, terms) in [(&own_rib, &[][..]), (&config, &declare[..])] {
        let mut channel = program.open(pathname, terms).unwrap();
        for garbage in [&[0xff; 64][..], &[0; 3], b"GET / HTTP/1.1"] {
            // The other side may have closed by then.
            let _closed = channel.write_record(garbage);
        }
        // Its hello, if it had said it before, and then the end.
        while channel.wait_readable(Some(PATIENCE)).unwrap() {
            let mut record = Vec::new();
            if !matches!(channel.read_record(&mut record), Ok(true)) {
                break;
            }
        }
    }
    // A declaration of words that are nobody's to declare is answered.
    let mut words: MessageChannel<Declaration, DeclarationReply> =
        MessageChannel::new(program.open(&config, &declare).unwrap(), Schema::new(config::PROGRAM_SCHEMA));
    words.send(&rib::declaration()).unwrap();
    let Some(DeclarationReply::Refused(reason)) = words.receive_timeout(PATIENCE).unwrap() else { panic!("accepted") };
    assert!(reason.contains("a program attaches under the name of its class"), "{reason}");
    nobody_suffers(&router);
}
