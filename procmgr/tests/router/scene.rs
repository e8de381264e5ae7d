//! A running router for a test, and what a test asks it.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ipc::ServiceName;
use ipc::link::{Link, LinkEvent};
use ipc::protocol::{Answer, LogLine, ProcessRow, Question, Refusal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Nothing that a test waits for takes this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A router that runs; it ends with the test.
pub struct Router {
    child: Child,
    pub folder: TempDir,
    lines: Receiver<String>,
    operator: Option<Link>,
}

impl Router {
    /// Starts a router without waiting for it.
    pub fn start(classes: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manager = folder.path().join("manager.sock");
        let classes = classes.iter().map(|class| class.replace("SOCKET", manager.to_str().unwrap()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_procmgr-alone"))
            .arg(folder.path().join("run"))
            .arg(folder.path().join("state"))
            .args(classes)
            .env("FOLDER", folder.path())
            .env("HOME", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, folder, lines, operator: None }
    }

    /// Starts a router and waits until it is up. Returns also what it printed.
    pub fn up(classes: &[&str]) -> (Self, Vec<String>) {
        let mut router = Self::start(classes);
        let mut printed = Vec::new();
        while printed.last().is_none_or(|line: &String| !line.contains(" is up: ")) {
            printed.push(router.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("not up: {printed:?}")));
        }
        router.operator = Some(router.attach(None, "operator"));
        (router, printed)
    }

    /// Attaches the operator to a router that is not up yet.
    pub fn wait_attach(&mut self) {
        self.lines.recv_timeout(PATIENCE).unwrap();
        self.operator = Some(self.attach(None, "operator"));
    }

    pub fn control_socket(&self) -> PathBuf {
        self.folder.path().join("run/control.sock")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// A link of this test, as a process of a VR or an operator of the router.
    pub fn attach(&self, vr: Option<&str>, name: &str) -> Link {
        let vr = vr.map(|vr| vr.parse().unwrap());
        Link::attach(&self.control_socket(), vr, name.parse().unwrap()).unwrap()
    }

    pub fn operator(&mut self) -> &mut Link {
        self.operator.as_mut().unwrap()
    }

    /// Asks as the operator.
    pub fn ask(&mut self, question: Question) -> Vec<Answer> {
        ask(self.operator(), question)
    }

    pub fn processes(&mut self) -> Vec<ProcessRow> {
        let answers = self.ask(Question::Processes).into_iter();
        answers
            .flat_map(|answer| if let Answer::Processes(rows) = answer { rows } else { panic!("{answer:?}") })
            .collect()
    }

    /// A process's row by `name` or `vr/name`.
    pub fn process(&mut self, name: &str) -> Option<ProcessRow> {
        let full = |row: &ProcessRow| row.vr.as_ref().map_or(row.name.to_string(), |vr| format!("{vr}/{}", row.name));
        self.processes().into_iter().find(|row| full(row) == name)
    }

    pub fn log(&mut self) -> Vec<LogLine> {
        let answers = self.ask(Question::Log { lines: 10_000 }).into_iter();
        answers.flat_map(|answer| if let Answer::Log(lines) = answer { lines } else { panic!("{answer:?}") }).collect()
    }

    /// Waits for a line of the log that contains `text`.
    pub fn wait_log(&mut self, text: &str) -> LogLine {
        self.wait(text, |router| router.log().into_iter().find(|line| line.text.contains(text)))
    }

    /// Asks until there is an answer.
    pub fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = look(self) {
                return found;
            }
        }
        let log: Vec<String> = self.log().into_iter().map(|line| format!("{}: {}", line.process, line.text)).collect();
        panic!("waited in vain for {what}; {:#?}\n{log:#?}", self.processes());
    }

    /// Lets the manager give an order; returns what procmgr said.
    pub fn order(&self, text: &str) -> String {
        let own = self.folder.path().join("test.sock");
        let socket = UnixDatagram::bind(&own).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(text.as_bytes(), self.folder.path().join("manager.sock")).unwrap();
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap();
        std::fs::remove_file(own).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the end of the router.
    pub fn wait_end(&mut self) -> ExitStatus {
        // The end of its output is its end.
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Asked by two signals it ends everything at once; it may end before the second.
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let _ = kill(self.pid(), signal);
        }
        let _ = self.child.wait();
    }
}

/// Asks a question on a link.
pub fn ask(link: &mut Link, question: Question) -> Vec<Answer> {
    let asked = link.ask(question).unwrap();
    let mut answers = Vec::new();
    loop {
        match event(link) {
            LinkEvent::Answer { ticket, answer, last } if ticket == asked => {
                answers.push(answer);
                if last {
                    return answers;
                }
            }
            LinkEvent::Refused { ticket, refusal } if ticket == asked => panic!("{refusal}"),
            _ => {}
        }
    }
}

/// The next event of a link.
pub fn event(link: &mut Link) -> LinkEvent {
    link.wait_event_timeout(PATIENCE).unwrap().expect("an event before the test's patience ends")
}

/// The next event of a link that is not `Go`.
pub fn answer(link: &mut Link) -> LinkEvent {
    loop {
        match event(link) {
            LinkEvent::Go => {}
            other => return other,
        }
    }
}

/// A refusal comes next; why.
pub fn refusal(link: &mut Link) -> Refusal {
    match answer(link) {
        LinkEvent::Refused { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    }
}

/// Word that a request was carried out comes next.
pub fn done(link: &mut Link) {
    let said = answer(link);
    assert!(matches!(said, LinkEvent::Done { .. }), "{said:?}");
}

pub fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

/// Whether a process runs: it is there and no zombie.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until none of these processes runs.
pub fn wait_gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(Instant::now() < deadline, "still running: {pids:?}");
    }
}
