//! The router as procmgr keeps it: processes, directory and log joined into one machine that is driven by events.
//!
//! `lifecycle` starts and ends processes, `requests` does what they ask on their links, `attach` lets others in,
//! `answers` tells an operator, `awaited` who waits for what another one publishes. Nothing here waits.

mod answers;
mod attach;
mod awaited;
mod lifecycle;
mod requests;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc::Pid;
use ipc::channel::ChannelParts;
use ipc::protocol::{Identity, MAX_MESSAGE, Notice, Refusal};
use ipc::terms::Salt;
use mio::Token;

use crate::broker::{Broker, Effect, Open};
use crate::class::ClassTable;
use crate::console::Console;
use crate::directory::Directory;
use crate::link::{Flow, Incoming, LinkFault};
use crate::log::Log;
use crate::order::{StartOrder, StopOrder};
use crate::pid1::{Buttons, Shortage};
use crate::processes::{Kind, ProcessKey, Processes};
use crate::queues::Queues;
use crate::ready_made::ReadyMade;
use crate::run::Ending;
use crate::signals::{self, Signals};
use crate::sources::{Source, Sources};
use crate::startup::Startup;
use crate::timers::{Timer, Timers};
use crate::vrs::Vrs;

use attach::Knocking;
use awaited::Awaited;

/// Messages taken from one link before others have their turn.
const MESSAGES_PER_TURN: usize = 64;

/// Messages that are none, after which a link is given up.
const MAX_FAULTS: u32 = 16;

/// Pause before a message is tried again for which the kernel held too many descriptors.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// How long the end of orphans is waited for.
const ORPHAN_DELAY: Duration = Duration::from_secs(1);

/// All that procmgr knows.
#[derive(Debug)]
pub(crate) struct Router<'a> {
    name: String,
    own: Identity,
    executable: PathBuf,
    started: Instant,
    now: Instant,
    classes: ClassTable,
    vrs: Vrs,
    directory: Directory,
    broker: Broker,
    queues: Queues,
    awaited: Awaited,
    ready_made: ReadyMade,
    processes: Processes,
    start_order: StartOrder,
    stop_order: StopOrder,
    startup: Startup,
    timers: Timers,
    sources: Sources,
    signals: Signals,
    control: OwnedFd,
    knocking: Knocking,
    log: Log,
    console: &'a mut Console,
    /// Links to give up as soon as nobody is in the middle of something.
    broken: Vec<(ProcessKey, LinkFault)>,
    /// Secret of this run of the router.
    salt: Salt,
    buffer: Box<[u8; MAX_MESSAGE]>,
    stopping: bool,
    /// What follows when everything has stopped.
    ending: Ending,
    /// The machine whose first process this is.
    machine: Option<Buttons>,
    shortage: Shortage,
    state_dir: Option<PathBuf>,
    /// A link is read out of turn.
    is_hearing: bool,
    /// Why the router cannot be started.
    start_failed: Option<String>,
}

/// What a router is made of.
pub(crate) struct Parts<'a> {
    pub(crate) name: String,
    pub(crate) own: Identity,
    pub(crate) executable: PathBuf,
    pub(crate) started: Instant,
    pub(crate) classes: ClassTable,
    pub(crate) signals: Signals,
    pub(crate) control: OwnedFd,
    pub(crate) log: Log,
    pub(crate) console: &'a mut Console,
    pub(crate) machine: Option<Buttons>,
    /// For crash records.
    pub(crate) state_dir: Option<PathBuf>,
}

impl<'a> Router<'a> {
    /// A router in which nothing runs yet.
    pub(crate) fn new(parts: Parts<'a>) -> io::Result<Self> {
        let mut sources = Sources::new()?;
        sources.add(parts.signals.raw_fd(), Source::Signals)?;
        sources.add(std::os::fd::AsRawFd::as_raw_fd(&parts.control), Source::Control)?;
        for button in parts.machine.iter().flat_map(Buttons::raw_fds) {
            sources.add(button, Source::Buttons)?;
        }
        Ok(Self {
            name: parts.name,
            own: parts.own,
            executable: parts.executable,
            started: parts.started,
            now: Instant::now(),
            classes: parts.classes,
            vrs: Vrs::default(),
            directory: Directory::default(),
            broker: Broker::default(),
            queues: Queues::default(),
            awaited: Awaited::default(),
            ready_made: ReadyMade::default(),
            processes: Processes::default(),
            start_order: StartOrder::default(),
            stop_order: StopOrder::default(),
            startup: Startup::default(),
            timers: Timers::default(),
            sources,
            signals: parts.signals,
            control: parts.control,
            knocking: Knocking::default(),
            log: parts.log,
            console: parts.console,
            broken: Vec::new(),
            salt: new_salt()?,
            buffer: Box::new([0; MAX_MESSAGE]),
            stopping: false,
            ending: Ending::Stop,
            machine: parts.machine,
            shortage: Shortage::default(),
            state_dir: parts.state_dir,
            is_hearing: false,
            start_failed: None,
        })
    }

    /// Runs until everything has stopped. Only procmgr's own descriptors can fail it. The inner error says why the router
    /// could not be started, if a process said so.
    pub(crate) fn run(&mut self) -> io::Result<Result<Ending, String>> {
        self.console.procmgr_ready();
        self.start_router_classes();
        self.beat();
        self.end_turn();
        while !(self.stopping && self.stop_order.is_empty()) {
            let tokens = self.sources.wait(self.timers.wait(Instant::now()))?;
            self.now = Instant::now();
            for token in tokens {
                self.handle(token)?;
            }
            while let Some(timer) = self.timers.expired(self.now) {
                self.timer_expired(timer);
            }
            self.end_turn();
        }
        self.end_orphans()?;
        self.log.info(&format!("router {} has stopped", self.name));
        self.log.flush();
        Ok(self.start_failed.take().map_or(Ok(self.ending), Err))
    }

    /// Ends what processes left to procmgr, the sub-reaper: nothing outlives the router. What the kernel does not let
    /// go is not waited for.
    fn end_orphans(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + ORPHAN_DELAY;
        while signals::kill_children() > 0 && Instant::now() < deadline {
            self.sources.wait(Some(ORPHAN_DELAY))?;
            self.signals.read()?;
            self.reap();
        }
        Ok(())
    }

    fn handle(&mut self, token: Token) -> io::Result<()> {
        match self.sources.source(token) {
            None => {}
            Some(Source::Signals) => self.read_signals()?,
            Some(Source::Buttons) => self.read_buttons(),
            Some(Source::Control) => self.accept(),
            Some(Source::Knocking) => self.read_knocking(token),
            Some(Source::Link(key)) => self.handle_link(key, token),
            Some(Source::Output(key)) => self.read_output(key),
            Some(Source::Death(key)) => self.broken.push((key, LinkFault::Closed)),
        }
        self.settle();
        Ok(())
    }

    fn read_signals(&mut self) -> io::Result<()> {
        let said = self.signals.read()?;
        if said.child_ended {
            self.reap();
        }
        for _ in 0..said.stops {
            self.shut_down("a signal");
        }
        Ok(())
    }

    fn read_buttons(&mut self) {
        if self.machine.as_mut().is_some_and(Buttons::pressed) {
            self.shut_down("the power button");
        }
    }

    fn timer_expired(&mut self, timer: Timer) {
        match timer {
            Timer::Supervisor(key) => self.supervisor_timed_out(key),
            Timer::Retry(key) => self.flush_link(key),
            Timer::Straggler(key) => self.kill(key, "it closed its link"),
            Timer::Heartbeat => self.beat(),
        }
        self.settle();
    }

    /// Tells the service manager that the loop turns, and that it will again.
    fn beat(&mut self) {
        let next = self.console.heartbeat().map(|interval| self.now + interval);
        self.timers.set(Timer::Heartbeat, next);
    }

    fn end_turn(&mut self) {
        self.settle();
        if !self.stopping && self.startup.comes_up() {
            self.announce_up();
            self.settle();
        }
        self.log.flush();
        self.ready_made.make();
    }

    /// Does what the broker decided and gives up broken links, until nothing of the kind is left.
    fn settle(&mut self) {
        loop {
            if let Some(effect) = self.broker.next_effect() {
                self.carry_out(effect);
            } else if let Some((key, fault)) = self.broken.pop() {
                self.give_up_link(key, &fault);
            } else {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Refuse { opener, ticket, refusal } => self.notify(opener, &Notice::Refused { ticket, refusal }),
            Effect::HandOut { open, listener } => self.hand_out(open, listener),
        }
    }

    /// Makes a channel and gives both ends away; procmgr keeps none.
    fn hand_out(&mut self, open: Open, listener: ProcessKey) {
        let Open { opener, ticket, pathname, terms, .. } = open;
        let identity = |key| self.processes.get(key).map(|process| process.identity.clone());
        let (Some(from), Some(to)) = (identity(opener), identity(listener)) else {
            return self.broker.undo(listener);
        };
        let (opener_end, listener_end) = match self.ready_made.take(&pathname) {
            Ok(ends) => ends,
            Err(error) => {
                self.broker.undo(listener);
                self.log.warn(&format!("no channel for {from} to {pathname}: {error}"));
                let refusal = Refusal::Resources(error.to_string());
                return self.notify(opener, &Notice::Refused { ticket, refusal });
            }
        };
        self.directory.count_open(&pathname);
        let incoming = Notice::Incoming { pathname: pathname.clone(), peer: from, terms };
        match self.queues.put(&pathname, &incoming, &listener_end) {
            None => self.notify_with(listener, &incoming, descriptors(listener_end)),
            // The queue is the family's, and its backlog the bound of what lies in it.
            Some(Ok(())) => self.broker.queued(listener, &pathname),
            Some(Err(error)) => {
                self.broker.undo(listener);
                self.log.warn(&format!("{pathname}: its queue takes nothing: {error}"));
                return self.notify(opener, &Notice::Refused { ticket, refusal: Refusal::NotPublished(pathname) });
            }
        }
        self.notify_with(opener, &Notice::Opened { ticket, peer: to }, descriptors(opener_end));
    }

    fn handle_link(&mut self, key: ProcessKey, token: Token) {
        self.flush_link(key);
        for _ in 0..MESSAGES_PER_TURN {
            let Some((link, _)) = self.processes.get_mut(key).and_then(|process| process.link.as_mut()) else { return };
            match link.receive(&mut self.buffer) {
                Ok(None) => return,
                Ok(Some(Incoming::Request(request, fds))) => self.request(key, request, fds),
                Ok(Some(Incoming::Foreign(sender))) => self.foreign_message(key, sender),
                Ok(Some(Incoming::Garbage)) => self.fault(key, "a message that is not of the link's protocol"),
                Err(fault) => self.broken.push((key, fault)),
            }
            self.settle();
        }
        self.sources.again(token);
    }

    /// Only the process itself speaks on its link. Said with each doubling, so that the log is not flooded.
    fn foreign_message(&mut self, key: ProcessKey, sender: Option<Pid>) {
        let Some(process) = self.processes.get_mut(key) else { return };
        let Some((link, _)) = &mut process.link else { return };
        link.foreign = link.foreign.saturating_add(1);
        if link.foreign.is_power_of_two() {
            let sender = sender.map_or("an unknown process".to_owned(), |pid| format!("PID {pid}"));
            let (count, who) = (link.foreign, &process.identity);
            let text = format!("link of {who} (PID {}): refused a message of {sender}, {count} so far", who.pid);
            self.log.warn(&text);
        }
    }

    /// A process broke the protocol.
    fn fault(&mut self, key: ProcessKey, what: &str) {
        let Some(process) = self.processes.get_mut(key) else { return };
        let Some((link, _)) = &mut process.link else { return };
        link.faults = link.faults.saturating_add(1);
        let faults = link.faults;
        let text = format!("{} (PID {}) sent {what}", process.identity, process.identity.pid);
        self.log.warn(&text);
        if faults >= MAX_FAULTS {
            self.broken.push((key, LinkFault::Protocol(faults)));
        }
    }

    /// The first words on a link.
    fn welcome(&mut self, key: ProcessKey, identity: Identity) {
        self.notify(key, &Notice::Welcome(identity));
        self.notify(key, &Notice::Salt(self.salt));
    }

    /// Tells a process something.
    fn notify(&mut self, key: ProcessKey, notice: &Notice) {
        self.notify_with(key, notice, Vec::new());
    }

    fn notify_with(&mut self, key: ProcessKey, notice: &Notice, fds: Vec<OwnedFd>) {
        let Some((link, _)) = self.processes.get_mut(key).and_then(|process| process.link.as_mut()) else { return };
        let flow = link.send(notice, fds);
        self.after_send(key, flow);
    }

    fn flush_link(&mut self, key: ProcessKey) {
        let Some((link, _)) = self.processes.get_mut(key).and_then(|process| process.link.as_mut()) else { return };
        let flow = link.flush();
        self.after_send(key, flow);
    }

    fn after_send(&mut self, key: ProcessKey, flow: Result<Flow, LinkFault>) {
        match flow {
            Ok(Flow::Ok) => {}
            Ok(Flow::Retry) => self.timers.set(Timer::Retry(key), Some(self.now + RETRY_DELAY)),
            // What it said before its end is still to be read; reading comes upon the end.
            Err(LinkFault::Closed) => {}
            Err(fault) => self.broken.push((key, fault)),
        }
    }

    /// A link is closed: what the process published is gone, and so are its opens. An attached process is gone too; a
    /// supervised one is about to be, or is made to.
    fn give_up_link(&mut self, key: ProcessKey, fault: &LinkFault) {
        let Some(process) = self.processes.get(key) else { return };
        let who = format!("{} (PID {})", process.identity, process.identity.pid);
        match (&process.kind, fault) {
            (Kind::Attached(_), LinkFault::Closed) => log::debug!("{who} detached"),
            (Kind::Attached(_), _) => self.log.warn(&format!("{who} {fault}, and was detached")),
            (Kind::Supervised(_), LinkFault::Closed) => self.expect_end(key),
            (Kind::Supervised(_), _) => self.kill(key, &fault.to_string()),
        }
        self.close_link(key);
        self.withdraw(key);
        if let Some(Kind::Attached(_)) = self.processes.get(key).map(|process| &process.kind) {
            self.forget_attached(key);
        }
    }

    fn close_link(&mut self, key: ProcessKey) {
        self.timers.set(Timer::Retry(key), None);
        if let Some((link, token)) = self.processes.get_mut(key).and_then(|process| process.link.take()) {
            self.sources.remove(link.raw_fd(), token);
        }
    }

    /// Everything that a process published or asked for vanishes.
    fn withdraw(&mut self, key: ProcessKey) {
        for pathname in self.directory.withdraw_all(key) {
            self.ready_made.forget(&pathname);
            self.broker.withdrawn(key, &pathname);
        }
        self.broker.process_gone(key);
        self.queues.forget(key);
        self.awaited.forget(key);
    }
}

/// From the kernel: nobody can guess it.
fn new_salt() -> io::Result<Salt> {
    let mut salt = Salt::default();
    std::fs::File::open("/dev/urandom")?.read_exact(&mut salt.0)?;
    Ok(salt)
}

/// A channel's end as it travels on a link.
fn descriptors(end: ChannelParts) -> Vec<OwnedFd> {
    vec![end.memory, end.bell_in, end.bell_out]
}
