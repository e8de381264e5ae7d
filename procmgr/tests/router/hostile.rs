//! Processes that lie, flood or do not listen: they harm themselves.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ipc::error::LinkError;
use ipc::fd;
use ipc::link::Link;
use ipc::protocol::{ProcessState, Refusal, Request, Ticket, VERSION};

use crate::scene::{PATIENCE, Router, name};

const MANAGER: &str = "manager manage : role manager / SOCKET / vr 1 red";

/// Attaches to red without a library, and never reads.
fn attach_raw(router: &Router, label: &str) -> OwnedFd {
    let socket = fd::connect_seqpacket(&router.control_socket()).unwrap();
    send(&socket, &Request::Attach { version: VERSION, vr: Some("red".parse().unwrap()), name: name(label) }).unwrap();
    socket
}

fn send(socket: &OwnedFd, request: &Request) -> io::Result<()> {
    fd::send_with_fds(socket.as_fd(), &postcard::to_stdvec(request).unwrap(), &[])
}

#[test]
fn only_the_process_itself_speaks_on_its_link() {
    // A child of the shell says "ready" (1) first; then the shell itself, which is heard.
    let script = "sh env printf '\\001' >&0; echo forged; read -r line < $HOME/go; printf '\\001' >&0; exec sleep 1000";
    let mut router = Router::start(&["idle : role idle", &format!("forger says-ready : {script}")]);
    let fifo = router.folder.path().join("go");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    router.wait_attach();
    let row = router.wait("the forgery", |router| {
        router.log().iter().any(|line| line.text == "forged").then(|| router.process("forger").unwrap())
    });
    assert_eq!(row.state, ProcessState::Starting);
    let line = router.wait_log("refused a message of PID");
    assert_eq!(line.process.as_str(), "procmgr");
    std::fs::write(fifo, "go\n").unwrap();
    router.wait("the shell's own word", |router| {
        router.process("forger").filter(|row| row.state == ProcessState::Ready && row.restarts == 0)
    });
}

#[test]
fn a_process_that_sends_garbage_is_given_up_and_started_again() {
    let script = "sh i=0; while [ $i -lt 40 ]; do printf '\\377' >&0; i=$((i+1)); done; exec sleep 1000";
    let (mut router, _) = Router::up(&["idle : role idle", &format!("noise says-ready : {script}")]);
    let row = router.process("noise").unwrap();
    let cause = row.last_exit.unwrap();
    assert!(cause.contains("messages that are not of the link's protocol"), "{cause}");
    assert_eq!(router.process("idle").unwrap().restarts, 0);
}

#[test]
fn a_process_that_does_not_read_its_link_is_given_up() {
    let (mut router, _) = Router::up(&["idle : role idle", MANAGER]);
    let socket = attach_raw(&router, "wall");
    let gone = loop {
        if let Err(error) = send(&socket, &Request::Publish { ticket: Ticket(1), name: name("x") }) {
            break error;
        }
    };
    assert!(matches!(gone.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{gone}");
    router.wait_log("does not read its link");
    assert!(router.process("red/wall").is_none());
    assert_eq!(router.process("idle").unwrap().restarts, 0);
}

#[test]
fn a_process_that_claims_channels_it_never_got_is_noted() {
    let (mut router, _) = Router::up(&[MANAGER]);
    let socket = attach_raw(&router, "liar");
    send(&socket, &Request::Taken { count: u32::MAX }).unwrap();
    router.wait_log("took 4294967295 channels more than it got");
    assert!(router.process("red/liar").is_some());
}

#[test]
fn an_introduction_is_refused_for_a_clear_reason() {
    let (router, _) = Router::up(&["idle : role idle"]);
    let attach = |vr: Option<&str>, label: &str| {
        Link::attach(&router.control_socket(), vr.map(|vr| vr.parse().unwrap()), name(label)).unwrap_err()
    };
    let refusal = |error| if let LinkError::Refused(refusal) = error { refusal } else { panic!("{error:?}") };
    assert_eq!(refusal(attach(Some("red"), "x")), Refusal::NoVr("red".to_owned()));
    assert!(matches!(refusal(attach(None, "idle")), Refusal::Taken(..)));
    assert_eq!(refusal(attach(None, "x")), Refusal::HasLink(ipc::Pid(std::process::id())), "the operator of the scene");

    let socket = fd::connect_seqpacket(&router.control_socket()).unwrap();
    send(&socket, &Request::Attach { version: VERSION + 1, vr: None, name: name("x") }).unwrap();
    let error = Link::from_socket(socket).unwrap_err();
    assert_eq!(refusal(error), Refusal::Version(VERSION + 1));
}

#[test]
fn connections_that_say_nothing_use_up_nothing() {
    let (mut router, _) = Router::up(&[]);
    let silent: Vec<OwnedFd> = (0..300).map(|_| fd::connect_seqpacket(&router.control_socket()).unwrap()).collect();
    let late = router.wait("procmgr to have seen them", |router| {
        let held = std::fs::read_dir(format!("/proc/{}/fd", router.pid())).unwrap().count();
        let first =
            fd::set_nonblocking(silent[0].as_fd()).and_then(|()| fd::receive_with_fds(silent[0].as_fd(), &mut [0; 16]));
        // The oldest was closed: end of file.
        first.is_ok_and(|received| received.length == 0).then_some(held)
    });
    assert!(late < 120, "{late} descriptors; patience {PATIENCE:?}");
}
