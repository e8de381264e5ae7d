//! A program in a process of its own, so that it can be stopped and killed: this test's executable once more, told by its
//! environment whom to play.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sockets::{Received, SocketId};

use crate::program::Program;
use crate::support::{Router, stop};

/// VR, role and control socket.
const ROLE: &str = "ISTHMUS_TEST_PEER";

/// What the other process does with the connections that it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sends back what comes.
    Echo,
    /// Writes half a message, and reads nothing.
    Write,
    /// Leaves what comes unread.
    Hold,
    /// Reads, and answers nothing.
    Discard,
    /// Lets two wait, and accepts them only when it was stopped and goes on.
    Backlog,
}

const ROLES: [Role; 5] = [Role::Echo, Role::Write, Role::Hold, Role::Discard, Role::Backlog];

/// The other process; killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it in a VR; returns when it listens on port 7000.
    pub fn start(router: &Router, vr: &str, role: Role) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "peer::the_role_that_the_environment_names_is_played"])
            .env(ROLE, format!("{vr} {role:?} {}", router.control_socket().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut peer = Self { child, said };
        peer.wait_for("listening");
        peer
    }

    /// Waits until it has said a word.
    pub fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "the peer ended before it said {word:?}");
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// Returns once it stands still.
    pub fn stop(&self) {
        stop(self.pid());
    }

    pub fn go_on(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No test of its own: what the processes that the tests start run, until they are killed.
#[test]
fn the_role_that_the_environment_names_is_played() {
    let Ok(text) = std::env::var(ROLE) else { return };
    let [vr, role, socket] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let role = ROLES.into_iter().find(|known| format!("{known:?}") == role).unwrap();
    let mut program = Program::attach_at(Path::new(socket), vr);
    let listener = program.listen("0.0.0.0:7000", if role == Role::Backlog { 2 } else { 8 });
    println!("listening");
    let mut accepted = Vec::new();
    loop {
        program.turn();
        while let Some(new) = program.library.accept(&mut program.reactor, listener).unwrap() {
            println!("accepted");
            if role == Role::Write {
                program.library.send(new.socket, b"half a message").unwrap();
                println!("wrote");
            }
            accepted.push(new.socket);
        }
        for socket in accepted.iter().copied() {
            match role {
                Role::Echo | Role::Discard => read(&mut program, socket, role == Role::Echo),
                Role::Write | Role::Hold | Role::Backlog => {}
            }
        }
    }
}

/// Reads what there is, and sends it back.
fn read(program: &mut Program, socket: SocketId, echo: bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(Received::Bytes(count)) = program.library.receive(socket, &mut buffer) {
        if echo {
            program.library.send(socket, &buffer[..count]).unwrap();
        }
    }
}
