//! The processes of the router: those that procmgr supervises, and those that attached.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Instant;

use ipc::protocol::{Identity, ProcessRow, ProcessState};
use ipc::{Pathname, Pid, ServiceName, VrId};
use mio::Token;

use crate::class::Privileges;
use crate::lines::LineSplitter;
use crate::link::LinkEnd;
use crate::order::Place;
use crate::supervisor::Supervisor;

/// Lines of a process that are shown with the way it ended.
const LAST_WORDS: usize = 5;

/// Bytes of such a line that are shown.
const LAST_WORD_BYTES: usize = 256;

/// A process in procmgr's own books. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProcessKey(pub(crate) u64);

/// One process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Who it is; while it does not run, who it was.
    pub(crate) identity: Identity,
    pub(crate) privileges: Privileges,
    /// Its link, while there is one, and the link's place in the event loop.
    pub(crate) link: Option<(LinkEnd, Token)>,
    pub(crate) kind: Kind,
}

/// How it came to the router.
#[derive(Debug)]
pub(crate) enum Kind {
    Supervised(Box<Supervised>),
    Attached(Attached),
}

/// A process that procmgr starts.
#[derive(Debug)]
pub(crate) struct Supervised {
    pub(crate) class: ServiceName,
    pub(crate) supervisor: Supervisor,
    /// Whether the identity's PID is that of a child that was not reaped.
    pub(crate) runs: bool,
    pub(crate) spawned: Instant,
    pub(crate) output: Option<Output>,
    /// Why procmgr killed it.
    pub(crate) killed_because: Option<String>,
    pub(crate) last_exit: Option<String>,
    pub(crate) last_words: Vec<String>,
    /// Its row goes when it has stopped.
    pub(crate) remove_when_stopped: bool,
}

/// A process that somebody else started.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) since: Instant,
    /// Reports its death, also while somebody else holds its link.
    pub(crate) death: Option<(OwnedFd, Token)>,
}

/// What a process writes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) pipe: OwnedFd,
    pub(crate) token: Token,
    pub(crate) lines: LineSplitter,
    recent: VecDeque<String>,
}

impl Output {
    pub(crate) fn new(pipe: OwnedFd, token: Token) -> Self {
        Self { pipe, token, lines: LineSplitter::default(), recent: VecDeque::new() }
    }

    /// Remembers a line as one of the last.
    pub(crate) fn remember(&mut self, line: &str) {
        if self.recent.len() >= LAST_WORDS {
            self.recent.pop_front();
        }
        self.recent.push_back(line.chars().take(LAST_WORD_BYTES).collect());
    }

    /// The last lines.
    pub(crate) fn into_last_words(self) -> Vec<String> {
        self.recent.into()
    }
}

impl Process {
    /// The supervised side of it.
    pub(crate) fn supervised(&mut self) -> Option<&mut Supervised> {
        match &mut self.kind {
            Kind::Supervised(supervised) => Some(supervised),
            Kind::Attached(_) => None,
        }
    }

    /// Where it is, if it is supervised.
    pub(crate) fn place(&self) -> Option<Place> {
        match &self.kind {
            Kind::Supervised(supervised) => Some((self.identity.vr, supervised.class.clone())),
            Kind::Attached(_) => None,
        }
    }

    /// Whether it runs now.
    pub(crate) fn runs(&self) -> bool {
        match &self.kind {
            Kind::Supervised(supervised) => supervised.runs,
            Kind::Attached(_) => true,
        }
    }

    fn row(&self, now: Instant) -> ProcessRow {
        let identity = &self.identity;
        let row = ProcessRow {
            vr: identity.vr_name.clone(),
            name: identity.name.clone(),
            pid: self.runs().then_some(identity.pid),
            state: ProcessState::Ready,
            restarts: 0,
            since: std::time::Duration::ZERO,
            last_exit: None,
            last_words: Vec::new(),
        };
        match &self.kind {
            Kind::Attached(attached) => ProcessRow { since: now.saturating_duration_since(attached.since), ..row },
            Kind::Supervised(supervised) => ProcessRow {
                state: supervised.supervisor.shown_state(),
                restarts: supervised.supervisor.restarts(),
                since: now.saturating_duration_since(supervised.supervisor.since()),
                last_exit: supervised.last_exit.clone(),
                last_words: supervised.last_words.clone(),
                ..row
            },
        }
    }
}

/// All processes, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    all: BTreeMap<ProcessKey, Process>,
    places: HashMap<Place, ProcessKey>,
    running: HashMap<(VrId, Pid), ProcessKey>,
    children: HashMap<Pid, ProcessKey>,
    last_key: u64,
}

impl Processes {
    /// Adds a process; an attached one runs already.
    pub(crate) fn add(&mut self, process: Process) -> ProcessKey {
        self.last_key += 1;
        let key = ProcessKey(self.last_key);
        match process.place() {
            Some(place) => {
                self.places.insert(place, key);
            }
            None => {
                self.running.insert((process.identity.vr, process.identity.pid), key);
            }
        }
        self.all.insert(key, process);
        key
    }

    /// Takes a process out of the books.
    pub(crate) fn remove(&mut self, key: ProcessKey) -> Option<Process> {
        self.ended(key);
        let process = self.all.remove(&key)?;
        if let Some(place) = process.place() {
            self.places.remove(&place);
        }
        Some(process)
    }

    /// A supervised process runs as `pid`.
    pub(crate) fn started(&mut self, key: ProcessKey, pid: Pid) {
        let Some(process) = self.all.get_mut(&key) else { return };
        process.identity.pid = pid;
        self.running.insert((process.identity.vr, pid), key);
        self.children.insert(pid, key);
    }

    /// A process runs no longer.
    pub(crate) fn ended(&mut self, key: ProcessKey) {
        let Some(process) = self.all.get(&key) else { return };
        let (vr, pid) = (process.identity.vr, process.identity.pid);
        if self.running.get(&(vr, pid)) == Some(&key) {
            self.running.remove(&(vr, pid));
        }
        if self.children.get(&pid) == Some(&key) {
            self.children.remove(&pid);
        }
    }

    pub(crate) fn get(&self, key: ProcessKey) -> Option<&Process> {
        self.all.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: ProcessKey) -> Option<&mut Process> {
        self.all.get_mut(&key)
    }

    /// The supervised process of a class in a VR.
    pub(crate) fn at(&self, place: &Place) -> Option<ProcessKey> {
        self.places.get(place).copied()
    }

    /// The process that runs under this identity.
    pub(crate) fn running(&self, vr: VrId, pid: Pid) -> Option<ProcessKey> {
        self.running.get(&(vr, pid)).copied()
    }

    /// The supervised process that is this child.
    pub(crate) fn child(&self, pid: Pid) -> Option<ProcessKey> {
        self.children.get(&pid).copied()
    }

    /// The owner of an endpoint, if it runs.
    pub(crate) fn owner(&self, pathname: &Pathname) -> Option<ProcessKey> {
        match pathname {
            Pathname::Endpoint { vr, pid, .. } => self.running(*vr, *pid),
            Pathname::Service { .. } => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProcessKey, &Process)> {
        self.all.iter().map(|(key, process)| (*key, process))
    }

    /// Keys of all, to go through them while they change.
    pub(crate) fn keys(&self) -> Vec<ProcessKey> {
        self.all.keys().copied().collect()
    }

    /// For `show processes`: procmgr first, then the others.
    pub(crate) fn rows(&self, now: Instant, procmgr: &Identity, started: Instant) -> Vec<ProcessRow> {
        let own = ProcessRow {
            vr: None,
            name: procmgr.name.clone(),
            pid: Some(procmgr.pid),
            state: ProcessState::Ready,
            restarts: 0,
            since: now.saturating_duration_since(started),
            last_exit: None,
            last_words: Vec::new(),
        };
        std::iter::once(own).chain(self.all.values().map(|process| process.row(now))).collect()
    }
}
