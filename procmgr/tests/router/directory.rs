//! Publishing, opening, and what a death does to both.

use ipc::Pathname;
use ipc::link::{Link, LinkEvent};
use ipc::protocol::{Answer, ChannelRow, Generation, Question, Refusal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Router, answer, ask, done, name, refusal};

const MANAGER: &str = "manager manage : role manager / SOCKET / vr 1 red / vr 2 blue / join 1 2";

fn pathname(text: &str) -> Pathname {
    text.parse().unwrap()
}

/// Channels of a pathname: other tests of this process have theirs.
fn channels(router: &mut Router, pathname: &Pathname) -> Vec<ChannelRow> {
    let Answer::Channels(mut rows) = router.ask(Question::Channels).remove(0) else { panic!("another answer") };
    rows.retain(|row| row.pathname == *pathname);
    rows
}

#[test]
fn an_open_gives_both_sides_their_end_and_procmgr_keeps_none() {
    let (mut router, _) = Router::up(&[MANAGER]);
    let (mut red, mut blue) = (router.attach(Some("red"), "client"), router.attach(Some("blue"), "server"));
    let own = blue.identity().pid;
    let endpoint = pathname(&format!("/2/{own}/ipv4/tcp/180"));
    assert_eq!(router.order(&format!("endpoint {endpoint} 8")), "done");

    red.open(&endpoint, Some(Generation(1)), b"from red").unwrap();
    let LinkEvent::Opened { mut channel, peer, .. } = answer(&mut red) else { panic!("no channel") };
    assert_eq!((peer.vr_name.unwrap().as_str(), peer.name.as_str()), ("blue", "server"));
    let LinkEvent::Incoming { pathname, channel: mut other, peer, terms } = answer(&mut blue) else { panic!("none") };
    assert_eq!((pathname, peer, terms), (endpoint.clone(), red.identity().clone(), b"from red".to_vec()));
    assert_eq!(channel.write(b"hello").unwrap(), 5);
    let mut bytes = [0; 8];
    assert_eq!(other.read(&mut bytes).unwrap(), 5);
    assert_eq!(&bytes[..5], b"hello");

    let rows = channels(&mut router, &endpoint);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].pathname, endpoint);
    assert!(rows[0].memory_bytes > 0 && rows[0].memory_bytes < 1 << 20, "{rows:?}");
    assert!(rows[0].holders.contains(red.identity()) && rows[0].holders.contains(blue.identity()));

    // With the last end here the peer sees the end: procmgr holds none.
    drop(channel);
    assert!(other.wait_readable(None).unwrap() && other.peer_closed());
    drop(other);
    assert_eq!(channels(&mut router, &endpoint), []);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", router.pid())).unwrap();
    assert!(!maps.contains("memfd:"));
    let held = std::fs::read_dir(format!("/proc/{}/fd", router.pid())).unwrap();
    let targets = held.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    // Both ends of the one that is made ahead, for the next open.
    assert_eq!(targets.filter(|target| target.to_string_lossy().contains("memfd")).count(), 2);
}

#[test]
fn who_is_not_joined_may_not_open_and_who_is_not_the_owner_may_not_publish() {
    let (router, _) = Router::up(&["idle per-vr : role idle", MANAGER]);
    let (mut red, mut blue) = (router.attach(Some("red"), "client"), router.attach(Some("blue"), "server"));
    let endpoint = pathname(&format!("/2/{}/ipv4/tcp/179", blue.identity().pid));
    assert_eq!(router.order(&format!("endpoint {endpoint} 8")), "done");
    assert_eq!(router.order("separate 1 2"), "done");
    red.open(&endpoint, None, b"").unwrap();
    assert_eq!(refusal(&mut red), Refusal::Access { pathname: endpoint.clone(), caller: red.identity().vr });
    red.open(&pathname("/2/rib"), None, b"").unwrap();
    assert!(matches!(refusal(&mut red), Refusal::Access { .. }));

    blue.publish(name("something")).unwrap();
    done(&mut blue);
    assert_eq!(router.order("vr 2 blue idle"), "done");
    blue.publish(name("idle")).unwrap();
    assert_eq!(refusal(&mut blue), Refusal::NotPermitted(blue.identity().clone()), "that name is the class's");
    assert!(router.order("endpoint /2/1/ipv4/tcp/179 8").ends_with("no such process"));
    assert!(router.order(&format!("endpoint {endpoint} 8")).contains("done"));
    assert_eq!(router.order(&format!("withdraw {endpoint}")), "done");
    assert_eq!(router.order(&format!("withdraw {endpoint}")), "done", "its process may have been faster");
    blue.open(&endpoint, None, b"").unwrap();
    assert_eq!(refusal(&mut blue), Refusal::NotPublished(endpoint));
}

#[test]
fn an_open_waits_for_a_service_and_survives_the_death_of_its_process() {
    let (mut router, _) = Router::up(&["service per-vr : role service", MANAGER]);
    let mut red = router.attach(Some("red"), "client");
    let service = pathname("/1/service");
    red.open(&service, None, b"early").unwrap();
    assert_eq!(router.order("vr 1 red service"), "done");
    let LinkEvent::Opened { peer, channel: first, .. } = answer(&mut red) else { panic!("no channel") };
    router.wait_log("/1/service opened by red/client: early");

    kill(Pid::from_raw(peer.pid.0 as i32), Signal::SIGKILL).unwrap();
    router.wait("the service to come back", |router| {
        router.process("red/service").filter(|row| row.pid.is_some_and(|pid| pid != peer.pid))
    });
    red.open(&service, None, b"late").unwrap();
    let LinkEvent::Opened { peer: second, .. } = answer(&mut red) else { panic!("no channel") };
    assert_ne!(second.pid, peer.pid);
    drop(first);
    let Answer::Publications(rows) = router.ask(Question::Publications).remove(0) else { panic!("another answer") };
    let row = rows.iter().find(|row| row.pathname == service).unwrap();
    assert_eq!((row.owner.pid, row.opened), (second.pid, 1));
}

#[test]
fn an_endpoint_that_its_process_withdrew_is_refused_from_then_on() {
    let (router, _) = Router::up(&[MANAGER]);
    let (mut red, mut blue) = (router.attach(Some("red"), "client"), router.attach(Some("blue"), "server"));
    let endpoint = pathname(&format!("/2/{}/ipv4/tcp/179", blue.identity().pid));
    // Only its own process may: this one is noted as a fault.
    assert_eq!(router.order(&format!("endpoint {endpoint} 8")), "done");
    red.withdraw(endpoint.clone()).unwrap();
    for _ in 0..20 {
        assert_eq!(router.order(&format!("endpoint {endpoint} 8")), "done");
        red.open(&endpoint, None, b"").unwrap();
        assert!(matches!(answer(&mut red), LinkEvent::Opened { .. }));
        assert!(matches!(answer(&mut blue), LinkEvent::Incoming { .. }));
        blue.withdraw(endpoint.clone()).unwrap();
        red.open(&endpoint, None, b"").unwrap();
        assert_eq!(refusal(&mut red), Refusal::NotPublished(endpoint.clone()));
    }
}

#[test]
fn what_an_attached_process_published_goes_with_it() {
    let (mut router, _) = Router::up(&[MANAGER]);
    let (mut red, mut blue) = (router.attach(Some("red"), "client"), router.attach(Some("blue"), "server"));
    let endpoint = pathname(&format!("/2/{}/ipv4/tcp/179", blue.identity().pid));
    assert_eq!(router.order(&format!("endpoint {endpoint} 1")), "done");
    blue.publish(name("thing")).unwrap();
    done(&mut blue);
    red.open(&endpoint, None, b"").unwrap();
    assert!(matches!(answer(&mut red), LinkEvent::Opened { .. }));
    red.open(&endpoint, None, b"").unwrap();
    drop(blue);
    assert_eq!(refusal(&mut red), Refusal::NotPublished(endpoint), "the open that waited for the backlog ends");
    assert!(router.process("blue/server").is_none());
    let Answer::Publications(rows) = router.ask(Question::Publications).remove(0) else { panic!("another answer") };
    assert_eq!(rows, []);
}

#[test]
fn a_full_backlog_is_silence_and_accepting_ends_it() {
    let (router, _) = Router::up(&[MANAGER]);
    let (mut red, mut blue) = (router.attach(Some("red"), "client"), router.attach(Some("blue"), "server"));
    let endpoint = pathname(&format!("/2/{}/ipv4/tcp/179", blue.identity().pid));
    assert_eq!(router.order(&format!("endpoint {endpoint} 2")), "done");
    for _ in 0..3 {
        red.open(&endpoint, None, b"").unwrap();
    }
    for _ in 0..2 {
        assert!(matches!(answer(&mut red), LinkEvent::Opened { .. }));
    }
    // A later request is answered, the third open is not: procmgr has seen it and is silent.
    red.publish(name("mark")).unwrap();
    done(&mut red);
    assert!(matches!(answer(&mut blue), LinkEvent::Incoming { .. }));
    blue.accepted(endpoint).unwrap();
    assert!(matches!(answer(&mut red), LinkEvent::Opened { .. }));
}

#[test]
fn who_waits_for_what_a_process_publishes_is_told_when_it_has() {
    let (mut router, _) = Router::up(&[MANAGER]);
    let mut blue = router.attach(Some("blue"), "server");
    let pid = blue.identity().pid;
    let operator = router.operator();
    let waits = operator.ask(Question::Published { pid }).unwrap();
    // Later questions are answered meanwhile.
    assert!(!ask(operator, Question::Processes).is_empty());
    blue.publish(name("hatch")).unwrap();
    done(&mut blue);
    let told = |link: &mut Link| match answer(link) {
        LinkEvent::Answer { ticket, answer: Answer::Accepted, last: true } => ticket,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(operator), waits);
    // It has, once and for all; and who asks again waits once.
    operator.ask(Question::Published { pid: ipc::Pid(1) }).unwrap();
    let again = operator.ask(Question::Published { pid }).unwrap();
    assert_eq!(told(operator), again);

    // An endpoint counts like a service, also of a process that was not there yet.
    let (mut router, _) = Router::up(&[MANAGER]);
    let waits = router.operator().ask(Question::Published { pid }).unwrap();
    let _red = router.attach(Some("red"), "client");
    assert_eq!(router.order(&format!("endpoint /1/{pid}/ipv4/tcp/22 1")), "done");
    assert_eq!(told(router.operator()), waits);
}

#[test]
fn only_those_who_may_ask_and_order() {
    let (mut router, _) = Router::up(&[MANAGER]);
    let mut red = router.attach(Some("red"), "client");
    red.ask(Question::Shutdown).unwrap();
    assert_eq!(refusal(&mut red), Refusal::NotPermitted(red.identity().clone()));
    red.manage(ipc::protocol::Order::RemoveVr { vr: ipc::VrId(1) }).unwrap();
    assert_eq!(refusal(&mut red), Refusal::NotPermitted(red.identity().clone()));
    let operator = router.operator();
    operator.manage(ipc::protocol::Order::RemoveVr { vr: ipc::VrId(1) }).unwrap();
    assert_eq!(refusal(operator), Refusal::NotPermitted(operator.identity().clone()));
    assert!(!ask(operator, Question::Processes).is_empty());
}
