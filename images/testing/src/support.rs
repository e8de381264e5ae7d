//! A real router for a test: its own folder, its own name, and nothing of it left afterwards.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::SmallDisk;

/// How long a condition may take to come true. Only a broken router needs it.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at a router: there is no event that says that a table changed.
const PAUSE: Duration = Duration::from_millis(30);

/// Two ports that a cable joins.
pub const CABLE_PORTS: &str = include_str!("../../isthmus/src/bench/cable.conf");

/// The same as ports of red and blue; what else the VRs have comes behind it.
pub const CABLE: &str = concat!(
    include_str!("../../isthmus/src/bench/cable.conf"),
    "vr red\n assign port 0/0/0\n!\nvr blue\n assign port 0/0/1\n!\n"
);

/// The two virtual routers of the demo.
pub const TWO_VRS: &str = include_str!("../../examples/two-vrs.conf");

/// The executable, which cargo has built beside the folder of the test that runs.
pub fn executable() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("it lies in a folder of the folder of executables");
    folder.join("isthmus")
}

/// Two VRs that are joined, without routing processes.
pub const JOINED: &str = include_str!("../../isthmus/src/bench/joined.conf");

/// Two VRs that are joined, beside the [`CABLE`]: 10.0.0.0/31 leads over the channel, 10.1.0.0/31 through the stack.
pub const BOTH_WAYS: &str = concat!(
    include_str!("../../isthmus/src/bench/cable.conf"),
    include_str!("../../isthmus/src/bench/joined.conf"),
    "vr red\n assign port 0/0/0\n interface Port0/0/0\n  ipv4 address 10.1.0.0/31\n !\n!\n",
    "vr blue\n assign port 0/0/1\n interface Port0/0/1\n  ipv4 address 10.1.0.1/31\n !\n!\n"
);

/// A router, stopped when it is dropped.
#[derive(Debug)]
pub struct Router {
    // Unmounted before the folder is removed.
    disk: Option<SmallDisk>,
    folder: TempDir,
    name: String,
    /// The process that was started in the foreground.
    front: Option<Child>,
}

impl Router {
    /// A router named `name` that does not run yet.
    pub fn new(name: &str) -> Self {
        Self { disk: None, folder: tempfile::tempdir().unwrap(), name: name.to_owned(), front: None }
    }

    /// The same with its runtime and state folders on a disk of its own. Needs root.
    pub fn on_small_disk(name: &str) -> Self {
        let mut router = Self::new(name);
        router.disk = Some(SmallDisk::mount(router.folder().join("disk")));
        router
    }

    /// That disk.
    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("a router on a small disk")
    }

    /// A router that runs `config` in the background. Returns when it is up.
    pub fn up(name: &str, config: &str) -> Self {
        let router = Self::new(name);
        let file = router.write("router.conf", config);
        router.start(&file);
        router
    }

    /// The demo, not on a terminal. Returns when it is up.
    pub fn demo(name: &str) -> Self {
        let mut router = Self::new(name);
        let mut child = router.command(["--name", name]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        router.front = Some(child);
        assert!(lines.any(|line| line.unwrap().starts_with(&format!("router {name} is up"))), "it did not come up");
        // Its output is read to the end, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        router
    }

    /// Writes a file into the router's own folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its runtime and state folders are.
    fn home(&self) -> &Path {
        self.disk.as_ref().map_or(self.folder.path(), SmallDisk::path)
    }

    /// The folder that holds everything of this router.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where programs attach.
    pub fn control_socket(&self) -> PathBuf {
        self.folder.path().join(&self.name).join("control.sock")
    }

    /// Starts the router with a configuration file; panics if that is refused.
    pub fn start(&self, file: &Path) {
        let output = self.try_start(file);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts the router with a configuration file.
    pub fn try_start(&self, file: &Path) -> Output {
        self.command([OsStr::new("up"), file.as_os_str(), "-d".as_ref(), "--name".as_ref(), self.name.as_ref()])
            .output()
            .unwrap()
    }

    /// `isthmus` with arguments, in this router's folder.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(executable());
        command.args(args).env("ISTHMUS_DIR", self.home()).stdin(Stdio::null());
        command
    }

    /// Executes a command in the router's shell.
    pub fn try_sh(&self, line: &str) -> Output {
        self.command(["sh", "--name", &self.name, "--json", "-c", line]).output().unwrap()
    }

    /// Executes a command in the router's shell; panics if it fails. Its document, `null` if it has none.
    pub fn sh(&self, line: &str) -> Value {
        let output = self.try_sh(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        document(&output)
    }

    /// The rows of a `show` table that have these values.
    pub fn rows(&self, line: &str, wanted: &[(&str, &str)]) -> Vec<Value> {
        matching(&self.sh(line), wanted)
    }

    /// Waits until a table satisfies a condition. Panics with the table if it never does. A command that fails for a
    /// while, as when its process restarts, is tried again.
    pub fn wait_for(&self, line: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        let seen = wait_until(|| {
            let output = self.try_sh(line);
            last = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let document = document(&output);
            (output.status.success() && condition(&document)).then_some(document)
        });
        seen.unwrap_or_else(|| panic!("{line}: never as wanted, last:\n{last}\n{}", self.log()))
    }

    /// Waits until a table has rows with these values.
    pub fn wait_for_row(&self, line: &str, wanted: &[(&str, &str)]) -> Value {
        let table = self.wait_for(line, |table| !matching(table, wanted).is_empty());
        matching(&table, wanted).swap_remove(0)
    }

    /// Waits until the session between red and blue is up on both sides, and what it brought is in the FIB.
    pub fn wait_for_session(&self) {
        for (vr, learned) in [("red", "192.0.2.2/32"), ("blue", "192.0.2.1/32")] {
            self.wait_for_row("show bgp summary", &[("vr", vr), ("state", "Established"), ("prefixes_received", "2")]);
            self.wait_for_row("show fib", &[("vr", vr), ("prefix", learned), ("action", "forward")]);
        }
    }

    /// Kernel's process ID of a process; `vr` is empty for one of the router.
    pub fn pid(&self, vr: &str, name: &str) -> i32 {
        let rows = self.rows("show processes", &[("vr", vr), ("name", name)]);
        let pid = rows.first().and_then(|row| row["pid"].as_i64());
        i32::try_from(pid.unwrap_or_else(|| panic!("{vr}/{name} does not run"))).unwrap()
    }

    /// Kernel's process IDs of all processes of the router.
    pub fn pids(&self) -> Vec<i32> {
        let table = self.sh("show processes");
        let rows = table.as_array().unwrap().iter().filter(|row| row["name"] != "shell");
        rows.map(|row| i32::try_from(row["pid"].as_i64().unwrap()).unwrap()).collect()
    }

    /// Sends a signal to a process of the router. It may work on for a moment: to stop one, see [`stop`].
    pub fn signal(&self, vr: &str, name: &str, signal: Signal) {
        kill(Pid::from_raw(self.pid(vr, name)), signal).unwrap();
    }

    /// Kills a process, and waits until it is back.
    pub fn kill_and_await(&self, vr: &str, name: &str) {
        let before = self.pid(vr, name);
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        self.wait_for("show processes", |table| {
            let rows = matching(table, &[("vr", vr), ("name", name), ("state", "ready")]);
            rows.iter().any(|row| row["pid"].as_i64().is_some_and(|pid| pid != i64::from(before)))
        });
    }

    /// The process that was started in the foreground.
    pub fn front(&mut self) -> &mut Child {
        self.front.as_mut().expect("a router in the foreground")
    }

    /// Stops the router in order; what `isthmus down` said.
    pub fn down(&self) -> Output {
        self.command(["down", "--name", &self.name]).output().unwrap()
    }

    /// The log, for a test that fails.
    pub fn log(&self) -> String {
        let output = self.command(["sh", "--name", &self.name, "-c", "show log 80"]).output().unwrap();
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().filter(|line| !line.contains("shell (PID")).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if !self.down().status.success()
            && let Ok(pid) = std::fs::read_to_string(self.home().join(&self.name).join("lock"))
            && let Ok(pid) = pid.trim().parse()
        {
            // A router that cannot be stopped in order: its processes end with procmgr.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(mut front) = self.front.take() {
            let _ = front.wait();
        }
    }
}

/// Rows that have all these values. An empty text stands for `null`; other values count as they are printed.
pub fn matching(table: &Value, wanted: &[(&str, &str)]) -> Vec<Value> {
    let fits = |row: &&Value| {
        wanted.iter().all(|(key, value)| match &row[key] {
            Value::Null => value.is_empty(),
            Value::String(text) => text == value,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                let printed = row[key].to_string();
                printed == *value
            }
        })
    };
    table.as_array().into_iter().flatten().filter(fits).cloned().collect()
}

/// The sum of a column of numbers.
pub fn sum(table: &Value, column: &str) -> u64 {
    table.as_array().into_iter().flatten().filter_map(|row| row[column].as_u64()).sum()
}

/// Looks again and again until there is something, for at most [`PATIENCE`].
pub fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let (_keep, never) = mpsc::channel::<()>();
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > until {
            return None;
        }
        let _ = never.recv_timeout(PAUSE);
    }
}

/// Stops a process; returns once it stands still. Its threads do so one after the other, when each is next at the kernel.
pub fn stop(pid: Pid) {
    kill(pid, Signal::SIGSTOP).unwrap();
    // `pid (name) state …`
    let stands = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|thread| thread.unwrap().path());
    let all_stand = || threads().all(|thread| std::fs::read_to_string(thread.join("stat")).is_ok_and(stands));
    wait_until(|| all_stand().then_some(())).expect("a process that is stopped stands still");
}

/// Asserts that processes have ended.
pub fn assert_gone(pids: &[i32]) {
    let runs = |pid: &&i32| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    let gone = wait_until(|| (!pids.iter().any(|pid| runs(&pid))).then_some(()));
    let left: Vec<_> = pids.iter().filter(runs).collect();
    assert!(gone.is_some(), "processes {left:?} of {pids:?} still run");
}

/// What a command wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

/// Asserts that a command failed with a text in its error.
pub fn assert_fails(output: &Output, wanted: impl AsRef<str> + Debug) {
    assert!(!output.status.success(), "it succeeded: {}", String::from_utf8_lossy(&output.stdout));
    let said = stderr(output);
    assert!(said.contains(wanted.as_ref()), "wanted {wanted:?} in:\n{said}");
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}
