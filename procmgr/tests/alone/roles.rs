//! Small processes for tests.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

use ipc::error::LinkError;
use ipc::link::{Link, LinkEvent};
use ipc::protocol::{Generation, Order};
use ipc::reactor::{Event, Reactor};
use ipc::{ServiceName, VrId};
use mio::unix::SourceFd;
use procmgr::role::Role;

/// Plays a role until procmgr says stop.
pub fn play(role: &Role) -> ExitCode {
    let mut link = Link::inherited().expect("procmgr gives a link");
    match role.name.as_str() {
        "idle" => idle(&mut link),
        "deaf" => deaf(&mut link),
        "service" => service(&mut link),
        "manager" => manager(link, &role.args),
        "impostor" => impostor(&mut link, &role.args),
        other => panic!("no role {other}"),
    }
    ExitCode::SUCCESS
}

/// Ready at once, and says in the log when it hears `Go`.
fn idle(link: &mut Link) {
    link.ready().expect("the link takes it");
    while let Ok(event) = link.wait_event() {
        match event {
            LinkEvent::Go => println!("heard go"),
            LinkEvent::Stop => return println!("heard stop"),
            _ => {}
        }
    }
}

/// Ready at once, does not stop when asked.
fn deaf(link: &mut Link) {
    link.ready().expect("the link takes it");
    while link.wait_event().is_ok() {}
}

/// Publishes its own name, and takes each channel that is opened.
fn service(link: &mut Link) {
    let name: ServiceName = link.identity().name.clone();
    link.publish(name).expect("the link takes it");
    link.ready().expect("the link takes it");
    let mut channels = Vec::new();
    while let Ok(event) = link.wait_event() {
        match event {
            LinkEvent::Incoming { pathname, channel, peer, terms } => {
                println!("{pathname} opened by {peer}: {}", String::from_utf8_lossy(&terms));
                channels.push(channel);
            }
            LinkEvent::Stop => return,
            _ => {}
        }
    }
}

/// Tries to publish each of its arguments, or for `attach VR` to be a process of that VR as well, and says in the log
/// what came of it.
fn impostor(link: &mut Link, attempts: &[String]) {
    link.ready().expect("the link takes it");
    for attempt in attempts {
        let said = match attempt.strip_prefix("attach ") {
            Some(vr) => attach(vr),
            None => {
                link.publish(attempt.parse().expect("a name")).expect("the link takes it");
                loop {
                    match link.wait_event().expect("procmgr lives") {
                        LinkEvent::Done { .. } => break "done".to_owned(),
                        LinkEvent::Refused { refusal, .. } => break refusal.to_string(),
                        _ => {}
                    }
                }
            }
        };
        println!("{attempt}: {said}");
    }
    while !matches!(link.wait_event(), Ok(LinkEvent::Stop) | Err(_)) {}
}

/// Joins a VR through the control socket.
fn attach(vr: &str) -> String {
    let folder = std::env::var_os("HOME").expect("the test says where");
    let socket = std::path::Path::new(&folder).join("run/control.sock");
    match Link::attach(&socket, Some(vr.parse().expect("a VR's name")), "second".parse().expect("a name")) {
        Ok(_) => "let in".to_owned(),
        Err(LinkError::Refused(refusal)) => refusal.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Gives the orders in its further arguments, then is ready, then gives those that come as datagrams to the socket in
/// its first argument, and answers each with what procmgr said.
fn manager(mut link: Link, args: &[String]) {
    let (path, orders) = args.split_first().expect("manager has a socket");
    for text in orders {
        let said = give(&mut link, text);
        assert_eq!(said, "done", "{text}");
    }
    let socket = UnixDatagram::bind(path).expect("the test's folder is writable");
    socket.set_nonblocking(true).expect("a socket can be");
    link.ready().expect("the link takes it");
    let mut reactor = Reactor::new(link).expect("a loop");
    reactor.register(&mut SourceFd(&socket.as_raw_fd())).expect("a socket can be polled");
    loop {
        reactor.wait(None).expect("procmgr lives");
        while let Some(event) = reactor.next_event().expect("procmgr lives") {
            match event {
                Event::Ready(_) => obey(&mut reactor.link, &socket),
                Event::Link(LinkEvent::Stop) => return,
                Event::Link(_) => {}
            }
        }
    }
}

fn obey(link: &mut Link, socket: &UnixDatagram) {
    let mut bytes = [0; 1024];
    while let Ok((length, from)) = socket.recv_from(&mut bytes) {
        let said = give(link, std::str::from_utf8(&bytes[..length]).expect("text"));
        let from = from.as_pathname().expect("the test has an address");
        socket.send_to(said.as_bytes(), from).expect("the test listens");
    }
}

fn give(link: &mut Link, text: &str) -> String {
    let ticket = link.manage(order(text)).expect("the link takes it");
    loop {
        match link.wait_event().expect("procmgr lives") {
            LinkEvent::Done { ticket: found } if found == ticket => return "done".to_owned(),
            LinkEvent::Refused { ticket: found, refusal } if found == ticket => return refusal.to_string(),
            _ => {}
        }
    }
}

/// `vr 1 red CLASS...`, `remove 1`, `join 1 2`, `separate 1 2`, `endpoint PATHNAME BACKLOG [GENERATION]`, `withdraw PATHNAME`.
fn order(text: &str) -> Order {
    let words: Vec<&str> = text.split(' ').collect();
    let vr = |word: &str| VrId(word.parse().expect("a VrID"));
    match words[..] {
        ["vr", id, name, ref classes @ ..] => Order::Vr {
            vr: vr(id),
            name: name.parse().expect("a VR's name"),
            classes: classes.iter().map(|class| class.parse().expect("a class")).collect(),
        },
        ["remove", id] => Order::RemoveVr { vr: vr(id) },
        ["join", a, b] => Order::Join { a: vr(a), b: vr(b), joined: true },
        ["separate", a, b] => Order::Join { a: vr(a), b: vr(b), joined: false },
        ["endpoint", pathname, backlog, ref generation @ ..] => Order::PublishEndpoint {
            pathname: pathname.parse().expect("a pathname"),
            generation: Generation(generation.first().map_or(1, |word| word.parse().expect("a number"))),
            backlog: backlog.parse().expect("a number"),
            clauses: Vec::new(),
        },
        ["withdraw", pathname] => Order::WithdrawEndpoint { pathname: pathname.parse().expect("a pathname") },
        _ => panic!("no order {text}"),
    }
}
