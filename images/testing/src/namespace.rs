//! Networks of a test's own: what a test does to devices, addresses and routes never touches the host's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::support::stderr;

/// Tells the namespaces of one process apart.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Whether a test that needs namespaces and these programs can run here. `check` counts the lines that say why not.
pub fn can_run(test: &str, programs: &[&str]) -> bool {
    let missing = |program: &&&str| find(program).is_none();
    let reason = match ["ip"].iter().chain(programs).find(missing) {
        _ if !geteuid().is_root() => "needs root".to_owned(),
        Some(program) => format!("{program} is not installed"),
        None => return true,
    };
    // Not `eprintln`: the test harness swallows what a passing test prints with it.
    let mut terminal = std::io::stderr();
    writeln!(terminal, "SKIPPED {test}: {reason}").unwrap();
    false
}

/// A program in `PATH` or where daemons live.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/frr"];
    path.split(':').chain(daemons).map(|folder| PathBuf::from(folder).join(program)).find(|file| file.is_file())
}

/// A network namespace. Dropped, it is gone with all that runs inside.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A network with nothing but a loopback device.
    #[expect(clippy::new_without_default, reason = "it is made in the kernel, which a default would not tell")]
    pub fn new() -> Self {
        let name = format!("isthmus-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Wires two networks together by a veth pair.
    pub fn join(&self, device: &str, other: &Namespace, other_device: &str) {
        self.ip(&format!("link add {device} type veth peer name {other_device} netns {}", other.name));
        self.ip(&format!("link set {device} up"));
        other.ip(&format!("link set {other_device} up"));
    }

    /// `ip` with arguments, here; what it wrote.
    pub fn ip(&self, arguments: &str) -> String {
        let output = run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A program, to run here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// The same command, to run here.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = self.command(command.get_program());
        inside.args(command.get_args());
        inside.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        inside
    }

    /// Does something in a thread whose sockets are of this network.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let enter_and_work = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(enter_and_work).join().unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Ok(output) = Command::new("ip").args(["netns", "pids", &self.name]).output() {
            let pids = String::from_utf8_lossy(&output.stdout).into_owned();
            for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
                // It may have ended by now.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        if let Err(error) = Command::new("ip").args(["netns", "delete", &self.name]).status() {
            eprintln!("network namespace {} stays: {error}", self.name);
        }
    }
}

/// Runs a command to its end; panics if it fails.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    output
}
