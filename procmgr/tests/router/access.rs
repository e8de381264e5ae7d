//! Who may reach what: every forbidden combination is tried against a real procmgr, beside the allowed ones.
//!
//! Three virtual routers: `red` (1) and `blue` (2) are joined, `green` (3) is alone. In each runs a process of the class
//! `room`, which publishes its name and has an endpoint; the router has a class `hall`.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ipc::error::{ChannelError, LinkError};
use ipc::link::{Link, LinkEvent};
use ipc::protocol::{Generation, MAX_UNTAKEN, Order, ProcessState, Question, Refusal, Request, Ticket};
use ipc::queue::Queue;
use ipc::{Pathname, Pid, VrId};
use nix::sys::signal::{Signal, kill};

use crate::scene::{Router, answer, done, name, refusal};

const CLASSES: [&str; 3] = [
    "hall : role service",
    "room per-vr : role service",
    "manager manage : role manager / SOCKET / vr 1 red room / vr 2 blue room / vr 3 green room / join 1 2",
];

/// Callers of the tables, by column.
const CALLERS: [&str; 4] = ["red", "blue", "green", "router"];

/// What comes of opening a pathname, by the caller's VR. RED, BLUE and GREEN stand for the PIDs of the rooms.
///
/// - `opened`: both sides get their end;
/// - `denied`: the caller's VR may not, whether or not anything is there;
/// - `absent`: it might, but nobody publishes that;
/// - `waits`: a service that may still come.
const OPENS: &str = "
    pathname                  red      blue     green    router
    /0/hall                   opened   opened   opened   opened
    /1/room                   opened   denied   denied   opened
    /2/room                   denied   opened   denied   opened
    /3/room                   denied   denied   opened   opened
    /1/RED/ipv4/tcp/179       opened   opened   denied   opened
    /2/BLUE/ipv4/tcp/179      opened   opened   denied   opened
    /3/GREEN/ipv4/tcp/179     denied   denied   opened   opened
    /2/BLUE/ipv6/tcp/179      absent   absent   denied   absent
    /2/BLUE/ipv4/udp/179      absent   absent   denied   absent
    /2/BLUE/ipv4/tcp/180      absent   absent   denied   absent
    /2/RED/ipv4/tcp/179       absent   absent   denied   absent
    /1/BLUE/ipv4/tcp/179      absent   absent   denied   absent
    /3/BLUE/ipv4/tcp/179      denied   denied   absent   absent
    /0/BLUE/ipv4/tcp/179      absent   absent   absent   absent
    /2/1/ipv4/tcp/179         absent   absent   denied   absent
    /2/4294967295/ipv4/ospf   absent   absent   denied   absent
    /1/cellar                 waits    denied   denied   waits
    /0/cellar                 waits    waits    waits    waits
    /9/room                   denied   denied   denied   waits
    /9/BLUE/ipv4/tcp/179      denied   denied   denied   absent
";

/// The same after `separate 1 2`: what differs.
const OPENS_SEPARATED: &str = "
    pathname                  red      blue     green    router
    /0/hall                   opened   opened   opened   opened
    /1/room                   opened   denied   denied   opened
    /1/RED/ipv4/tcp/179       opened   denied   denied   opened
    /2/BLUE/ipv4/tcp/179      denied   opened   denied   opened
    /2/RED/ipv4/tcp/179       denied   absent   denied   absent
";

/// A router with its rooms published, and the PIDs of those.
struct House {
    router: Router,
    pids: HashMap<&'static str, Pid>,
}

impl House {
    fn up() -> Self {
        let (mut router, _) = Router::up(&CLASSES);
        let mut pids = HashMap::new();
        for (index, (vr, word)) in [("red", "RED"), ("blue", "BLUE"), ("green", "GREEN")].into_iter().enumerate() {
            let room = format!("{vr}/room");
            let row = router.wait("the room to be ready", |router| {
                router.process(&room).filter(|row| row.state == ProcessState::Ready)
            });
            let pid = row.pid.unwrap();
            assert_eq!(router.order(&format!("endpoint /{}/{pid}/ipv4/tcp/179 64", index + 1)), "done");
            pids.insert(word, pid);
        }
        Self { router, pids }
    }

    /// A pathname of a table.
    fn pathname(&self, text: &str) -> Pathname {
        let named = |text: String, (word, pid): (&&str, &Pid)| text.replace(word, &pid.to_string());
        self.pids.iter().fold(text.to_owned(), named).parse().unwrap()
    }

    /// A link in each VR. The test is one process: it can have one in each.
    fn links(&self) -> [Link; 3] {
        ["red", "blue", "green"].map(|vr| self.router.attach(Some(vr), "caller"))
    }

    /// Tries every cell of a table. Panics with all that are not as they stand there.
    fn try_opens(&mut self, table: &str, links: &mut [Link; 3]) {
        let mut wrong = Vec::new();
        for row in table.trim().lines().skip(1) {
            let mut cells = row.split_whitespace();
            let text = cells.next().unwrap();
            let pathname = self.pathname(text);
            for (caller, expected) in CALLERS.into_iter().zip(cells) {
                let link = match caller {
                    "router" => self.router.operator(),
                    vr => {
                        links.iter_mut().find(|link| link.identity().vr_name.as_ref().unwrap().as_str() == vr).unwrap()
                    }
                };
                let found = open(link, &pathname);
                if found != expected {
                    wrong.push(format!("{caller} opens {text}: {found}, expected {expected}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// What comes of an open, in the words of the tables.
fn open(link: &mut Link, pathname: &Pathname) -> &'static str {
    let opened = link.open(pathname, None, b"").unwrap();
    // Requests are taken in order: an open that is not answered before this one waits.
    let mark = link.publish(name("mark")).unwrap();
    let found = match answer(link) {
        LinkEvent::Done { ticket } if ticket == mark => {
            link.cancel(opened).unwrap();
            return "waits";
        }
        LinkEvent::Opened { ticket, .. } if ticket == opened => "opened",
        LinkEvent::Refused { ticket, refusal: Refusal::Access { pathname: named, caller } } if ticket == opened => {
            assert_eq!((&named, caller), (pathname, link.identity().vr));
            "denied"
        }
        LinkEvent::Refused { ticket, refusal: Refusal::NotPublished(named) } if ticket == opened => {
            assert_eq!(named, *pathname);
            "absent"
        }
        other => panic!("{pathname}: {other:?}"),
    };
    assert!(matches!(answer(link), LinkEvent::Done { ticket } if ticket == mark));
    found
}

#[test]
fn a_process_opens_only_what_its_vr_may_reach() {
    let mut house = House::up();
    let mut links = house.links();
    house.try_opens(OPENS, &mut links);
    assert_eq!(house.router.order("separate 1 2"), "done");
    house.try_opens(OPENS_SEPARATED, &mut links);
    assert_eq!(house.router.order("join 2 1"), "done");
    house.try_opens(OPENS, &mut links);
}

#[test]
fn a_name_belongs_to_its_class_or_to_who_published_it_first() {
    let (mut router, _) = Router::up(&[
        "impostor per-vr : role impostor / den / room",
        "room per-vr : role service",
        "manager manage : role manager / SOCKET / vr 1 red room",
    ]);
    let mut red = router.attach(Some("red"), "caller");
    red.publish(name("room")).unwrap();
    assert_eq!(refusal(&mut red), Refusal::NotPermitted(red.identity().clone()));
    red.publish(name("den")).unwrap();
    done(&mut red);
    assert_eq!(router.order("vr 1 red room impostor"), "done");
    let own = red.identity().pid;
    router.wait_log(&format!("den: /1/den: already published by PID {own}"));
    router.wait_log("room: not permitted to red/impostor");
    // Another VR's process of that name publishes there, not here.
    router.operator().publish(name("den")).unwrap();
    done(router.operator());
    assert_eq!(open(router.operator(), &"/1/den".parse().unwrap()), "opened");
    assert!(matches!(answer(&mut red), LinkEvent::Incoming { .. }), "the den is red's own");
}

#[test]
fn only_the_manager_orders_and_only_an_operator_asks() {
    let mut house = House::up();
    let endpoint = house.pathname("/1/RED/ipv4/tcp/22");
    let (vr, generation) = (VrId(1), Generation(9));
    let orders = [
        Order::Vr { vr, name: "red".parse().unwrap(), classes: vec![] },
        Order::RemoveVr { vr },
        Order::Join { a: vr, b: VrId(3), joined: true },
        Order::PublishEndpoint { pathname: endpoint.clone(), generation, backlog: 1, clauses: vec![] },
        Order::WithdrawEndpoint { pathname: house.pathname("/2/BLUE/ipv4/tcp/179") },
    ];
    let questions = [
        Question::Processes,
        Question::Vrs,
        Question::Log { lines: 1 },
        Question::Publications,
        Question::Channels,
        Question::Published { pid: Pid(1) },
        Question::Shutdown,
    ];
    let [mut red, ..] = house.links();
    for order in orders {
        for link in [&mut red, house.router.operator()] {
            link.manage(order.clone()).unwrap();
            assert_eq!(refusal(link), Refusal::NotPermitted(link.identity().clone()), "{order:?}");
        }
    }
    for question in questions {
        red.ask(question.clone()).unwrap();
        assert_eq!(refusal(&mut red), Refusal::NotPermitted(red.identity().clone()), "{question:?}");
    }
    red.fail_start("a process of a VR ends no router").unwrap();
    assert_eq!(open(&mut red, &endpoint), "absent");
    assert_eq!(open(&mut red, &house.pathname("/2/BLUE/ipv4/tcp/179")), "opened");
    assert_eq!(open(&mut red, &house.pathname("/3/GREEN/ipv4/tcp/179")), "denied");
}

#[test]
fn the_manager_itself_publishes_an_endpoint_only_under_the_ids_of_its_process() {
    let house = House::up();
    for forged in ["/2/RED/ipv4/tcp/22", "/3/BLUE/ipv4/tcp/22", "/0/RED/ipv4/tcp/22", "/1/1/ipv4/tcp/22"] {
        let pathname = house.pathname(forged);
        assert_eq!(house.router.order(&format!("endpoint {pathname} 1")), format!("{pathname}: no such process"));
    }
    assert!(house.router.order("endpoint /1/room 1").ends_with("no such process"));
    assert!(house.router.order("withdraw /1/room").ends_with("nothing is published there"));
}

#[test]
fn who_has_an_identity_gets_no_second_one() {
    let (mut router, _) = Router::up(&[
        "impostor per-vr : role impostor / attach blue / attach red",
        "room per-vr : role service",
        "manager manage : role manager / SOCKET / vr 2 blue / vr 1 red room impostor",
    ]);
    // A process that procmgr started, in any VR.
    let pid = router.wait_log("attach blue: ").pid;
    for vr in ["blue", "red"] {
        router.wait_log(&format!("attach {vr}: PID {pid} has a link to this router already"));
    }
    // One that attached, in the same VR; and under the name of a class.
    let red = router.attach(Some("red"), "caller");
    let attach = |text| {
        let error = Link::attach(&router.control_socket(), Some("red".parse().unwrap()), name(text)).unwrap_err();
        if let LinkError::Refused(refusal) = error { refusal } else { panic!("{error}") }
    };
    assert_eq!(attach("second"), Refusal::HasLink(red.identity().pid));
    assert!(matches!(attach("room"), Refusal::Taken(..)));
}

#[test]
fn another_user_is_not_let_in() {
    if !nix::unistd::geteuid().is_root() {
        use std::io::Write;
        writeln!(std::io::stderr(), "SKIPPED another_user_is_not_let_in: only root can become another user").unwrap();
        return;
    }
    let (mut router, _) = Router::up(&[]);
    // Even where the folder's mode would let him.
    for path in ["", "run", "run/control.sock"] {
        let path = router.folder.path().join(path);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let program = router.folder.path().join("knock");
    std::fs::copy(env!("CARGO_BIN_EXE_procmgr-alone"), &program).unwrap();
    let mut knock = Command::new(program);
    knock.arg("knock").arg(router.control_socket());
    assert_eq!(String::from_utf8(knock.output().unwrap().stdout).unwrap(), "let in\n");
    let output = knock.uid(65_534).gid(65_534).output().unwrap();
    assert_ne!(String::from_utf8(output.stdout).unwrap(), "let in\n");
    router.wait_log("of user 65534");
}

#[test]
fn a_forked_child_cannot_use_the_link_that_it_inherited() {
    let mut house = House::up();
    let [mut red, ..] = house.links();
    let forged_publish = Request::Publish { ticket: Ticket(7), name: name("forged") };
    let forged_open = Request::Open {
        ticket: Ticket(8),
        pathname: house.pathname("/2/BLUE/ipv4/tcp/179"),
        generation: None,
        terms: Vec::new(),
    };
    for request in [forged_publish, forged_open] {
        let bytes = postcard::to_stdvec(&request).unwrap();
        let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
        let mut child = Command::new("env");
        child.args(["printf", &octal]).stdout(red.as_fd().try_clone_to_owned().unwrap());
        assert!(child.status().unwrap().success());
    }
    house.router.wait_log("link of red/caller");
    // Not done, and not answered: the next answer is to the process's own request.
    assert_eq!(open(&mut red, &"/1/forged".parse().unwrap()), "waits");
}

#[test]
fn an_open_that_names_an_earlier_publication_misses() {
    let house = House::up();
    let [mut red, mut blue, _] = house.links();
    let endpoint: Pathname = format!("/2/{}/ipv4/tcp/22", blue.identity().pid).parse().unwrap();
    assert_eq!(house.router.order(&format!("endpoint {endpoint} 1 5")), "done");
    red.open(&endpoint, Some(Generation(5)), b"").unwrap();
    assert!(matches!(answer(&mut red), LinkEvent::Opened { .. }));
    // This one finds the backlog full, and is still waiting when its publication is replaced.
    red.open(&endpoint, Some(Generation(5)), b"").unwrap();
    assert_eq!(house.router.order(&format!("endpoint {endpoint} 1 6")), "done");
    assert_eq!(refusal(&mut red), Refusal::NotPublished(endpoint.clone()));
    for stale in [5, 7, 0] {
        red.open(&endpoint, Some(Generation(stale)), b"").unwrap();
        assert_eq!(refusal(&mut red), Refusal::NotPublished(endpoint.clone()), "generation {stale}");
    }
    assert!(matches!(answer(&mut blue), LinkEvent::Incoming { .. }));
    blue.accepted(endpoint.clone()).unwrap();
    red.open(&endpoint, Some(Generation(6)), b"").unwrap();
    assert!(matches!(answer(&mut red), LinkEvent::Opened { .. }));
}

#[test]
fn an_open_that_waits_is_denied_when_the_vrs_are_separated_meanwhile() {
    let house = House::up();
    let [mut red, mut blue, _] = house.links();
    let endpoint: Pathname = format!("/2/{}/ipv4/tcp/22", blue.identity().pid).parse().unwrap();
    assert_eq!(house.router.order(&format!("endpoint {endpoint} 1")), "done");
    for _ in 0..2 {
        red.open(&endpoint, None, b"").unwrap();
    }
    assert!(matches!(answer(&mut red), LinkEvent::Opened { .. }));
    assert_eq!(house.router.order("separate 1 2"), "done");
    assert!(matches!(answer(&mut blue), LinkEvent::Incoming { .. }));
    blue.accepted(endpoint.clone()).unwrap();
    assert_eq!(refusal(&mut red), Refusal::Access { pathname: endpoint, caller: VrId(1) });
}

#[test]
fn nobody_gives_up_the_open_of_another() {
    let house = House::up();
    let [mut red, mut blue, _] = house.links();
    let endpoint: Pathname = format!("/2/{}/ipv4/tcp/22", blue.identity().pid).parse().unwrap();
    assert_eq!(house.router.order(&format!("endpoint {endpoint} 1")), "done");
    let first = red.open(&endpoint, None, b"").unwrap();
    let second = red.open(&endpoint, None, b"").unwrap();
    for ticket in [first, second] {
        blue.cancel(ticket).unwrap();
    }
    blue.publish(name("mark")).unwrap();
    let mut events = [answer(&mut blue), answer(&mut blue)];
    events.sort_by_key(|event| matches!(event, LinkEvent::Done { .. }));
    assert!(matches!(events, [LinkEvent::Incoming { .. }, LinkEvent::Done { .. }]), "{events:?}");
    blue.accepted(endpoint).unwrap();
    for wanted in [first, second] {
        assert!(matches!(answer(&mut red), LinkEvent::Opened { ticket, .. } if ticket == wanted));
    }
}

#[test]
fn a_link_is_worth_nothing_once_its_vr_is_removed() {
    let house = House::up();
    let [mut red, ..] = house.links();
    assert_eq!(house.router.order("remove 1"), "done");
    assert!(matches!(answer(&mut red), LinkEvent::Stop));
    assert!(matches!(red.wait_event(), Err(LinkError::ProcmgrGone)));
    assert!(matches!(red.publish(name("room")), Err(LinkError::ProcmgrGone)));
    // A VR with the same number is another one: nothing of the old one reaches into it.
    assert_eq!(house.router.order("vr 1 crimson"), "done");
    assert!(matches!(red.open(&house.pathname("/1/room"), None, b""), Err(LinkError::ProcmgrGone)));
}

#[test]
fn an_end_reaches_no_successor_of_the_process_that_held_the_other() {
    let mut house = House::up();
    let [mut red, ..] = house.links();
    let old = house.pathname("/2/BLUE/ipv4/tcp/179");
    red.open(&old, None, b"").unwrap();
    let LinkEvent::Opened { mut channel, .. } = answer(&mut red) else { panic!("no channel") };
    kill(nix::unistd::Pid::from_raw(house.pids["BLUE"].0 as i32), Signal::SIGKILL).unwrap();
    let dead = house.pids["BLUE"];
    house.router.wait("blue's room to be back", |router| {
        router.process("blue/room").filter(|row| row.state == ProcessState::Ready && row.pid != Some(dead))
    });
    assert!(channel.wait_readable(None).unwrap());
    assert!(matches!(channel.read(&mut [0; 8]), Err(ChannelError::PeerGone)));
    assert!(matches!(channel.write(b"to whom?"), Err(ChannelError::PeerGone)));
    assert_eq!(open(&mut red, &old), "absent");
}

#[test]
fn nobody_has_what_comes_for_another_put_into_a_queue_of_his_own() {
    let mut house = House::up();
    let [mut red, ..] = house.links();
    let (vr, pid) = (red.identity().vr, red.identity().pid);
    for text in ["/1/RED/ipv4/tcp/179", "/2/BLUE/ipv4/tcp/179", "/1/room"] {
        let (pathname, mut queue) = (house.pathname(text), Queue::new().unwrap());
        red.queue(pathname.clone(), &queue).unwrap();
        assert_eq!(refusal(&mut red), Refusal::NotYours { pathname: pathname.clone(), vr, pid });
        assert_eq!(open(house.router.operator(), &pathname), "opened");
        assert!(queue.take().unwrap().is_none());
    }
    // Word that another's connection was accepted is a breach of the protocol.
    red.accepted(house.pathname("/2/BLUE/ipv4/tcp/179")).unwrap();
    house.router.wait_log("word that it accepted from");
}

#[test]
fn what_comes_for_ones_own_endpoint_goes_into_the_queue_and_a_queue_that_is_gone_refuses() {
    let mut house = House::up();
    let [mut red, ..] = house.links();
    let (vr, pid) = (red.identity().vr, red.identity().pid);
    let text = format!("/{}/{pid}/ipv4/tcp/80", vr.0);
    let (pathname, mut queue): (Pathname, _) = (text.parse().unwrap(), Queue::new().unwrap());
    red.queue(pathname.clone(), &queue).unwrap();
    done(&mut red);
    assert_eq!(house.router.order(&format!("endpoint {text} 100")), "done");
    // As many as may lie there, whatever the backlog, and one that waits.
    let operator = house.router.operator();
    (0..MAX_UNTAKEN).for_each(|_| assert_eq!(open(operator, &pathname), "opened"));
    assert_eq!(open(operator, &pathname), "waits");
    let arrival = queue.take().unwrap().unwrap();
    assert_eq!((arrival.pathname, arrival.peer.vr), (pathname.clone(), VrId::ROUTER));
    red.accepted(pathname.clone()).unwrap();
    // Answered after what was said before.
    red.publish(name("mark")).unwrap();
    done(&mut red);
    assert_eq!(open(operator, &pathname), "opened");
    red.withdraw(pathname.clone()).unwrap();
    red.publish(name("mark")).unwrap();
    done(&mut red);
    assert_eq!(open(operator, &pathname), "absent");
}
