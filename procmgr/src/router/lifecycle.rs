//! Starting, watching and ending supervised processes.

use std::os::fd::AsRawFd;
use std::time::Duration;

use ipc::protocol::{Identity, Notice, Origin};
use ipc::{Pid, ServiceName, VrId, VrName};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::read;

use super::Router;
use crate::class::{ClassSpec, ReadyWhen, Scope};
use crate::console::took;
use crate::crash;
use crate::link::LinkEnd;
use crate::order::{Place, place};
use crate::pid1;
use crate::processes::{Kind, Output, Process, ProcessKey, Supervised};
use crate::signals;
use crate::sources::Source;
use crate::spawn::{Spawned, spawn};
use crate::supervisor::{Action, Event, State, Supervisor};
use crate::timers::Timer;

/// Output taken from one process before others have their turn, in bytes: what a pipe holds.
const OUTPUT_PER_TURN: usize = 64 * 1024;

/// A process that closed its link should have ended by then.
const STRAGGLER_DELAY: Duration = Duration::from_secs(1);

impl Router<'_> {
    /// Adds a process for each class of the router, and starts those that wait for nothing.
    pub(super) fn start_router_classes(&mut self) {
        let names: Vec<ServiceName> = self.classes.router_classes().map(|class| class.name.clone()).collect();
        self.start_classes(VrId::ROUTER, None, &names);
    }

    /// Adds processes of these classes, and starts those whose needs are met.
    pub(super) fn start_classes(&mut self, vr: VrId, vr_name: Option<&VrName>, names: &[ServiceName]) {
        if self.stopping {
            return;
        }
        let mut added = Vec::new();
        for name in names {
            let at: Place = (vr, name.clone());
            match self.processes.at(&at) {
                Some(key) => self.spare(key, &at, vr_name),
                None => added.extend(self.add(vr, vr_name, name)),
            }
        }
        for key in added {
            self.check_needs(key);
        }
    }

    /// A process that was to go shall stay, or come back as soon as it has ended.
    fn spare(&mut self, key: ProcessKey, at: &Place, vr_name: Option<&VrName>) {
        let turns = self.stop_order.remove(&self.classes, at);
        if let Some(process) = self.processes.get_mut(key) {
            process.identity.vr_name = vr_name.cloned();
            if let Some(supervised) = process.supervised() {
                supervised.remove_when_stopped = false;
            }
        }
        self.stop_those_whose_turn_it_is(turns);
        self.step(key, Event::Start);
    }

    fn add(&mut self, vr: VrId, vr_name: Option<&VrName>, name: &ServiceName) -> Option<ProcessKey> {
        let class = self.classes.get(name.as_str())?;
        let scope = class.scope;
        let supervised = Supervised {
            class: name.clone(),
            supervisor: Supervisor::new(class, self.now),
            runs: false,
            spawned: self.now,
            output: None,
            killed_because: None,
            last_exit: None,
            last_words: Vec::new(),
            remove_when_stopped: false,
        };
        let key = self.processes.add(Process {
            identity: Identity {
                vr,
                vr_name: vr_name.cloned(),
                pid: Pid(0),
                name: name.clone(),
                origin: Origin::Supervised,
            },
            privileges: class.privileges,
            link: None,
            kind: Kind::Supervised(Box::new(supervised)),
        });
        self.startup.add(key, scope);
        Some(key)
    }

    /// Starts a process, or notes what it waits for. What is not part of the VR is not waited for.
    fn check_needs(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get(key) else { return };
        let (vr, identity) = (process.identity.vr, process.identity.clone());
        let Some(class) = process.place().and_then(|(_, name)| self.classes.get(name.as_str())) else { return };
        let mut unmet = Vec::new();
        for need in class.needs.iter().filter_map(|need| self.classes.get(need.as_str())) {
            let at = place(vr, need);
            match self.processes.at(&at).and_then(|key| self.processes.get(key)).map(|process| &process.kind) {
                Some(Kind::Supervised(needed)) if needed.supervisor.state() == State::Ready => {}
                Some(_) => unmet.push(at),
                None => self.log.warn(&format!("{identity} needs {}, which does not run in its VR", need.name)),
            }
        }
        if self.start_order.wait(key, unmet) {
            self.step(key, Event::NeedsMet);
        }
    }

    /// One step of a process's supervisor, and what follows from it.
    pub(super) fn step(&mut self, key: ProcessKey, event: Event) {
        let now = self.now;
        let Some(supervised) = self.processes.get_mut(key).and_then(Process::supervised) else { return };
        let before = supervised.supervisor.state();
        let action = supervised.supervisor.handle(now, event);
        let after = supervised.supervisor.state();
        self.timers.set(Timer::Supervisor(key), supervised.supervisor.deadline());
        self.startup.update(key, &supervised.supervisor);
        match action {
            Action::Nothing => {}
            Action::CheckNeeds => self.check_needs(key),
            Action::Spawn => self.spawn(key),
            Action::AskToStop => self.ask_to_stop(key),
            Action::Kill => self.kill_slow(key, after),
        }
        if before != State::Ready && after == State::Ready {
            self.became_ready(key);
        }
        if before != State::Stopped && after == State::Stopped {
            self.stopped(key);
        }
    }

    pub(super) fn supervisor_timed_out(&mut self, key: ProcessKey) {
        self.step(key, Event::TimedOut);
    }

    fn class_of(&self, key: ProcessKey) -> Option<&ClassSpec> {
        let (_, name) = self.processes.get(key)?.place()?;
        self.classes.get(name.as_str())
    }

    fn spawn(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get(key) else { return };
        let title = format!("isthmus: {}", process.identity);
        let Some(class) = self.class_of(key) else { return };
        let ready_when = class.ready_when;
        let spawned = spawn(class, &title, &self.executable).and_then(|spawned| self.adopt(key, spawned));
        match spawned {
            Ok(()) if ready_when == ReadyWhen::Started => self.step(key, Event::SaidReady),
            Ok(()) => {}
            Err(error) => self.ended(key, format!("could not be started: {error}")),
        }
    }

    /// A child runs: it gets its link, its output is read, and it learns who it is.
    fn adopt(&mut self, key: ProcessKey, spawned: Spawned) -> std::io::Result<()> {
        let Spawned { pid, link, output } = spawned;
        self.processes.started(key, pid);
        let now = self.now;
        let Some(process) = self.processes.get_mut(key) else { return Ok(()) };
        let identity = process.identity.clone();
        if let Some(supervised) = process.supervised() {
            supervised.runs = true;
            supervised.spawned = now;
        }
        let output_token = self.sources.add(output.as_raw_fd(), Source::Output(key));
        let link_token = self.sources.add(link.as_raw_fd(), Source::Link(key));
        let Some(process) = self.processes.get_mut(key) else { return Ok(()) };
        match (output_token, link_token) {
            (Ok(output_token), Ok(link_token)) => {
                process.link = Some((LinkEnd::new(link, pid), link_token));
                if let Some(supervised) = process.supervised() {
                    supervised.output = Some(Output::new(output, output_token));
                }
                self.welcome(key, identity);
            }
            // Without a link it ends itself; without output nobody would know why. It is ended and tried again.
            (Err(error), _) | (_, Err(error)) => self.kill(key, &format!("procmgr cannot watch it: {error}")),
        }
        Ok(())
    }

    fn became_ready(&mut self, key: ProcessKey) {
        let Some(process) = self.processes.get_mut(key) else { return };
        let who = process.identity.to_string();
        let Some(at) = process.place() else { return };
        let Some(supervised) = process.supervised() else { return };
        let after = self.now.saturating_duration_since(supervised.spawned);
        self.console.process_ready(&who, after);
        self.log.info(&format!("{who} ready in {}", took(after)));
        if self.startup.is_up() {
            self.notify(key, &Notice::Go);
        }
        for waiting in self.start_order.ready(&at) {
            self.step(waiting, Event::NeedsMet);
        }
    }

    /// Everything of the starting configuration that can be ready is.
    pub(super) fn announce_up(&mut self) {
        let mut running = 1;
        let mut missing = Vec::new();
        for (_, process) in self.processes.iter() {
            match &process.kind {
                Kind::Supervised(supervised) if supervised.supervisor.state() != State::Ready => {
                    let cause = supervised.last_exit.as_deref().unwrap_or("waits for another process");
                    missing.push(format!("{} is not ready: {cause}", process.identity));
                }
                Kind::Supervised(_) | Kind::Attached(_) => running += 1,
            }
        }
        for text in missing {
            self.console.warn(&text);
            self.log.warn(&text);
        }
        let after = self.started.elapsed();
        self.log.info(&format!("router {} is up: {running} processes in {}", self.name, took(after)));
        if self.machine.is_some()
            && let Err(error) = pid1::router_is_up()
        {
            self.log.warn(&format!("a panic of the kernel will not start the machine anew: {error}"));
        }
        // Before anybody is told: a shell may take the terminal then.
        self.console.up(&self.name, running, after);
        for key in self.processes.keys() {
            let ready = match self.processes.get(key).map(|process| &process.kind) {
                Some(Kind::Supervised(supervised)) => supervised.supervisor.state() == State::Ready,
                Some(Kind::Attached(_)) => true,
                None => false,
            };
            if ready {
                self.notify(key, &Notice::Go);
            }
        }
    }

    /// Reads what a process wrote.
    pub(super) fn read_output(&mut self, key: ProcessKey) {
        let mut bytes = [0; 4096];
        for _ in 0..OUTPUT_PER_TURN / bytes.len() {
            let Some(process) = self.processes.get_mut(key) else { return };
            let identity = process.identity.clone();
            let Some(output) = process.supervised().and_then(|supervised| supervised.output.as_mut()) else { return };
            let length = match read(&output.pipe, &mut bytes) {
                Ok(0) | Err(Errno::EAGAIN) => return,
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(error) => return self.log.warn(&format!("output of {identity}: {error}")),
            };
            let mut lines = Vec::new();
            output.lines.feed(bytes.get(..length).unwrap_or_default(), |line| lines.push(line));
            for line in lines {
                output.remember(&line);
                self.log.push(&identity, line);
            }
        }
        if let Some(supervised) = self.processes.get_mut(key).and_then(Process::supervised)
            && let Some(output) = &supervised.output
        {
            self.sources.again(output.token);
        }
    }

    /// Takes all children that ended; orphans that were left to procmgr among them.
    pub(super) fn reap(&mut self) {
        self.now = std::time::Instant::now();
        while let Some((pid, cause)) = signals::reap(|pid| self.processes.child(pid).is_some()) {
            match self.processes.child(pid) {
                Some(key) => self.ended(key, cause),
                None => log::debug!("reaped orphan {pid}: {cause}"),
            }
            self.settle();
        }
    }

    /// A process ended, or could not be started.
    fn ended(&mut self, key: ProcessKey, cause: String) {
        self.timers.set(Timer::Straggler(key), None);
        self.close_output(key);
        self.close_link(key);
        self.withdraw(key);
        self.processes.ended(key);
        let Some(process) = self.processes.get_mut(key) else { return };
        let (who, at) = match process.runs() {
            true => (format!("{} (PID {})", process.identity, process.identity.pid), process.place()),
            false => (process.identity.to_string(), process.place()),
        };
        let Some(supervised) = process.supervised() else { return };
        supervised.runs = false;
        let cause = match supervised.killed_because.take() {
            Some(why) => format!("{cause}: {why}"),
            None => cause,
        };
        supervised.last_exit = Some(cause.clone());
        if at.is_some_and(|at| self.stop_order.contains(&at)) {
            self.step(key, Event::Stop);
        }
        self.step(key, Event::Ended);
        self.say_ended(key, &who, &cause);
    }

    fn say_ended(&mut self, key: ProcessKey, who: &str, cause: &str) {
        let state = self.processes.get_mut(key).and_then(Process::supervised).map(|s| s.supervisor.state());
        let Some(State::Backoff { until }) = state else { return self.log.info(&format!("{who} stopped: {cause}")) };
        let pause = until.saturating_duration_since(self.now).as_secs_f64();
        let shortage = self.machine.as_ref().and_then(|_| self.shortage.news());
        let shortage = shortage.map(|news| format!("; {news}")).unwrap_or_default();
        let text = format!("{who} ended: {cause}; started again in {pause:.1} s{shortage}");
        // First: who hears of it may look at once.
        self.record_crash(key, who, cause);
        self.console.warn(&text);
        self.log.warn(&text);
    }

    /// Its last words are all that is left of it.
    fn record_crash(&mut self, key: ProcessKey, who: &str, cause: &str) {
        let Some(folder) = &self.state_dir else { return };
        let supervised = self.processes.get_mut(key).and_then(Process::supervised);
        let last_words = supervised.map(|supervised| supervised.last_words.join("\n")).unwrap_or_default();
        if let Err(error) = crash::record(folder, who, &format!("{cause}\n{last_words}")) {
            self.log.warn(&format!("no crash record of {who}: {error}"));
        }
    }

    /// Takes the last that a process wrote, and closes the pipe.
    fn close_output(&mut self, key: ProcessKey) {
        self.read_output(key);
        let Some(process) = self.processes.get_mut(key) else { return };
        let identity = process.identity.clone();
        let Some(supervised) = process.supervised() else { return };
        let Some(mut output) = supervised.output.take() else { return };
        self.sources.remove(output.pipe.as_raw_fd(), output.token);
        if let Some(line) = output.lines.finish() {
            output.remember(&line);
            self.log.push(&identity, line);
        }
        supervised.last_words = output.into_last_words();
    }

    /// A supervised process closed its link: it is about to end, or is made to. A program that knows nothing of the
    /// link may do as it likes.
    pub(super) fn expect_end(&mut self, key: ProcessKey) {
        if self.class_of(key).is_some_and(|class| class.ready_when == ReadyWhen::Said) {
            self.timers.set(Timer::Straggler(key), Some(self.now + STRAGGLER_DELAY));
        }
    }

    fn ask_to_stop(&mut self, key: ProcessKey) {
        self.notify(key, &Notice::Stop);
        let by_signal = self.class_of(key).is_some_and(|class| class.ready_when == ReadyWhen::Started);
        if let Some(process) = self.processes.get(key)
            && process.runs()
            && by_signal
        {
            signals::send_to_group(process.identity.pid, Signal::SIGTERM);
        }
    }

    fn kill_slow(&mut self, key: ProcessKey, state: State) {
        let Some(class) = self.class_of(key) else { return };
        let why = match state {
            State::Stopping { .. } => format!("did not stop within {} s", class.stop_timeout.as_secs_f64()),
            State::Waiting | State::Starting { .. } | State::Ready | State::Backoff { .. } | State::Stopped => {
                format!("not ready after {} s", class.start_timeout.as_secs_f64())
            }
        };
        self.kill(key, &why);
    }

    /// Ends a process at once.
    pub(super) fn kill(&mut self, key: ProcessKey, why: &str) {
        let Some(process) = self.processes.get_mut(key) else { return };
        let pid = process.identity.pid;
        let Some(supervised) = process.supervised().filter(|supervised| supervised.runs) else { return };
        supervised.killed_because = Some(why.to_owned());
        signals::send_to_group(pid, Signal::SIGKILL);
    }

    /// Stops processes, each after all that need it.
    pub(super) fn stop_processes(&mut self, keys: &[ProcessKey], remove: bool) {
        let mut places = Vec::new();
        for key in keys {
            let Some(process) = self.processes.get_mut(*key) else { continue };
            let Some(at) = process.place() else { continue };
            let Some(supervised) = process.supervised() else { continue };
            supervised.remove_when_stopped |= remove;
            if supervised.supervisor.state() == State::Stopped {
                self.stopped(*key);
                continue;
            }
            self.stop_order.add(at.clone());
            places.push(at);
        }
        self.stop_those_whose_turn_it_is(places);
    }

    fn stop_those_whose_turn_it_is(&mut self, places: Vec<Place>) {
        for at in places {
            let Some(key) = self.processes.at(&at).filter(|_| self.stop_order.contains(&at)) else { continue };
            let runs = self.processes.get(key).is_some_and(Process::runs);
            if !runs || self.stop_order.is_turn(&self.classes, &at) {
                self.step(key, Event::Stop);
            }
        }
    }

    /// A process runs no longer and shall not; those that it needed may be next.
    fn stopped(&mut self, key: ProcessKey) {
        self.start_order.forget(key);
        let Some(process) = self.processes.get_mut(key) else { return };
        let Some(at) = process.place() else { return };
        if process.supervised().is_some_and(|supervised| supervised.remove_when_stopped) {
            self.startup.remove(key);
            self.processes.remove(key);
        }
        let turns = self.stop_order.remove(&self.classes, &at);
        self.stop_those_whose_turn_it_is(turns);
    }

    /// Stops everything in order; asked once more, at once.
    pub(super) fn shut_down(&mut self, asked_by: &str) {
        if self.stopping {
            for key in self.processes.keys() {
                self.kill(key, "asked twice to stop");
            }
            return;
        }
        self.stopping = true;
        self.console.stopping();
        self.log.info(&format!("router {} stops, asked by {asked_by}", self.name));
        let keys = self.processes.keys();
        for key in &keys {
            if let Some(Process { kind: Kind::Attached(_), .. }) = self.processes.get(*key) {
                self.notify(*key, &Notice::Stop);
            }
        }
        self.stop_processes(&keys, false);
    }

    /// Classes that run in VRs, checked: the first that does not exist or runs once in the router.
    pub(super) fn unknown_class<'a>(&self, names: &'a [ServiceName]) -> Option<&'a ServiceName> {
        let runs_per_vr = |name: &&ServiceName| self.classes.get(name.as_str()).is_none_or(|c| c.scope != Scope::PerVr);
        names.iter().find(runs_per_vr)
    }
}
