//! The process `config`: keeps the configuration in force and hands it out.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use ipc::channel::Channel;
use ipc::link::{Link, LinkEvent};
use ipc::message::Schema;
use ipc::protocol::{Identity, Ticket};
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientId, ServerEvent, ServiceServer};
use ipc::{ServiceName, VrId};
use vr_api::command::Declaration;
use vr_api::config::{
    ConfigUpdate, DeclarationReply, OPERATOR_SCHEMA, OperatorReply, OperatorRequest, PROGRAM_SCHEMA, SCHEMA, Terms,
    Verdict,
};

use super::check::{self, load, sockets, tree_in_force};
use super::commit::{Action, Commits, Parked};
use super::parse::Source;
use super::print::print;
use super::programs::{Programs, in_force};
use super::startup::{self, Startup};
use super::store::Store;
use super::tree::Tree;
use super::words::Words;
use crate::error::RunError;

/// Name of the service.
const SERVICE: &str = "config";

/// Where the process finds and leaves configurations.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// What the router starts with.
    pub start: &'a Path,
    /// Keeps the one in force while the router runs.
    pub runtime_folder: &'a Path,
    /// Keeps what an operator saves; `None`: nothing is kept.
    pub state_folder: Option<&'a Path>,
}

/// Runs the process until procmgr stops it. The configuration is that of `files.start`, or, where this process was killed and
/// is back in a running router, the one that was in force.
///
/// A tree borrows the words that it was read with. Where a program brings new ones, what is in force is printed and
/// read again, and everything else goes on.
pub fn run(mut link: Link, files: &Files<'_>, declarations: Vec<Declaration>) -> Result<(), RunError> {
    let Files { start: file, runtime_folder, state_folder } = *files;
    let (store, kept_programs) = (Store::new(runtime_folder), Store::of_programs(runtime_folder));
    let known = kept_programs.load().map_or_else(|| startup::programs(file), |text| startup::read_programs(&text));
    let programs = Programs::new(declarations, known);
    let mut words = Words::new(programs.all())?;
    let kept = kept_tree(file, &store, &words);
    let restarted = kept.is_some();
    let tree = match kept {
        Some(tree) => tree,
        None => first_tree(file, &store, &words).inspect_err(|error| fail_start(&mut link, &error.to_string()))?,
    };
    let folder = check::source(file).map_err(|error| RunError::Config(vec![error]))?.folder;
    let mut reactor = Reactor::new(link)?;
    let mut process = Process {
        store,
        kept_programs,
        startup: Startup::new(state_folder),
        published: reactor.link.publish(ServiceName::new(SERVICE)?)?,
        subscribers: ServiceServer::new(Schema::new(SCHEMA)),
        operators: ServiceServer::new(Schema::new(OPERATOR_SCHEMA)),
        declarations: ServiceServer::new(Schema::new(PROGRAM_SCHEMA)),
        programs,
        declared: VecDeque::new(),
        has_new_words: false,
        router_starts: !restarted,
    };
    let mut commits = Commits::new(tree, &words, folder.clone(), sockets);
    loop {
        let end = Turns { process: &mut process, commits }.run(&mut reactor)?;
        let (parked, text) = match end {
            End::Stopped => return Ok(()),
            End::NewWords { parked, text } => (parked, text),
        };
        words = Words::new(process.programs.all())?;
        let tree = in_force(&text, &words).map_err(RunError::Config)?;
        commits = Commits::resume(parked, tree, &words, folder.clone(), sockets);
    }
}

/// What was in force before this process was killed, if it was.
fn kept_tree<'w>(file: &Path, store: &Store, words: &'w Words) -> Option<Tree<'w>> {
    let text = store.load()?;
    let source = Source { file: store.path().to_string_lossy().into(), folder: "/".into() };
    match tree_in_force(&text, words, &source) {
        Ok(tree) => {
            log::info!("the configuration that was in force is in force again");
            Some(tree)
        }
        // It was printed from a tree that was in force: only a file that somebody else wrote can be wrong.
        Err(errors) => {
            log::error!("{}, instead of what was in force: {}", file.display(), RunError::Config(errors));
            None
        }
    }
}

/// What a router starts with.
fn first_tree<'w>(file: &Path, store: &Store, words: &'w Words) -> Result<Tree<'w>, RunError> {
    let tree = load(file, words).map_err(RunError::Config)?;
    if let Err(error) = store.save(&print(&tree)) {
        log::warn!("{error}; changes are refused until it can");
    }
    log::info!("{}: {}", file.display(), check::summary(&tree, words));
    Ok(tree)
}

/// Ends the start of a router that cannot run what it was given.
fn fail_start(link: &mut Link, reason: &str) {
    if let Err(error) = link.fail_start(reason) {
        log::error!("{error}");
    }
}

#[cfg(test)]
mod tests;

struct Process {
    store: Store,
    kept_programs: Store,
    startup: Startup,
    published: Ticket,
    subscribers: ServiceServer<ConfigUpdate, Verdict>,
    operators: ServiceServer<OperatorReply, OperatorRequest>,
    declarations: ServiceServer<DeclarationReply, Declaration>,
    programs: Programs,
    /// What programs declared while a change was under way.
    declared: VecDeque<(ClientId, Declaration)>,
    /// Whether what is in force is to be read again, with words that a program brought.
    has_new_words: bool,
    /// Whether the router is coming up for the first time: a process that refuses the configuration ends the start.
    router_starts: bool,
}

/// The process while the words are the same.
struct Turns<'p, 'w> {
    process: &'p mut Process,
    commits: Commits<'w, ClientId>,
}

/// Why the turns ended.
enum End {
    /// procmgr stops the process.
    Stopped,
    /// A program brought new words: what is in force is to be read again with them.
    NewWords { parked: Parked<ClientId>, text: String },
}

impl Turns<'_, '_> {
    fn run(mut self, reactor: &mut Reactor) -> Result<End, RunError> {
        // What was parked may have something to do at once.
        self.work(reactor);
        loop {
            if self.process.has_new_words {
                self.process.has_new_words = false;
                let text = print(self.commits.running());
                return Ok(End::NewWords { parked: self.commits.park(), text });
            }
            let timeout = self.commits.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
            reactor.wait(timeout)?;
            while let Some(event) = reactor.next_event()? {
                if matches!(event, Event::Link(LinkEvent::Stop)) {
                    self.process.store.remove();
                    self.process.kept_programs.remove();
                    return Ok(End::Stopped);
                }
                self.handle(reactor, event)?;
            }
            self.commits.timeout(Instant::now());
            self.work(reactor);
        }
    }

    fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Result<(), RunError> {
        let process = &mut *self.process;
        let event = process.subscribers.handle(event).and_then(|event| process.operators.handle(event));
        match event.and_then(|event| process.declarations.handle(event)) {
            Some(Event::Link(LinkEvent::Done { ticket })) if ticket == process.published => reactor.link.ready()?,
            Some(Event::Link(LinkEvent::Refused { refusal, .. })) => return Err(refusal.into()),
            Some(Event::Link(LinkEvent::Go)) => process.router_starts = false,
            Some(Event::Link(LinkEvent::Incoming { channel, peer, terms, .. })) => {
                self.adopt(reactor, channel, peer, &terms);
            }
            Some(Event::Link(
                LinkEvent::Opened { .. } | LinkEvent::Done { .. } | LinkEvent::Answer { .. } | LinkEvent::Stop,
            ))
            | Some(Event::Ready(_))
            | None => {}
        }
        self.work(reactor);
        Ok(())
    }

    /// Takes a channel that somebody opened. Who it is, procmgr attests: a process of a VR subscribes to its own VR's
    /// blocks and is no operator. A channel that is not taken is closed.
    fn adopt(&mut self, reactor: &mut Reactor, channel: Channel, peer: Identity, terms: &[u8]) {
        let process = &mut *self.process;
        match postcard::from_bytes(terms) {
            Ok(Terms::Subscriber(subscribe)) => {
                if let Some(client) = process.subscribers.adopt(reactor, peer.clone(), channel) {
                    self.commits.subscribe(client, peer, subscribe);
                }
            }
            Ok(Terms::Program) => {
                if let Some(client) = process.declarations.adopt(reactor, peer.clone(), channel) {
                    process.programs.joined(client, peer);
                }
            }
            Ok(Terms::Operator) if peer.vr == VrId::ROUTER => {
                // A failure is logged there.
                let _client = process.operators.adopt(reactor, peer, channel);
            }
            Ok(Terms::Operator) => log::warn!("{peer} is a process of a VR and cannot change the configuration"),
            Err(error) => log::warn!("{peer} opened {SERVICE} with terms that are none: {error}"),
        }
    }

    /// Everything that can be done now: what clients said, and what follows from it.
    fn work(&mut self, reactor: &mut Reactor) {
        let mut looked = false;
        loop {
            let now = Instant::now();
            if let Some(event) = self.process.subscribers.poll(reactor) {
                match event {
                    ServerEvent::Message { client, message } => self.commits.verdict(now, client, message),
                    ServerEvent::Gone { client, .. } => self.commits.gone(now, client),
                }
            } else if let Some(event) = self.process.operators.poll(reactor) {
                match event {
                    ServerEvent::Message { client, message } => self.operator_said(now, client, message),
                    ServerEvent::Gone { .. } => {}
                }
            } else if let Some(event) = self.process.declarations.poll(reactor) {
                match event {
                    ServerEvent::Message { client, message } => self.process.declared.push_back((client, message)),
                    ServerEvent::Gone { client, .. } => self.process.programs.left(client),
                }
            } else if let Some(action) = self.commits.poll_action() {
                self.carry_out(reactor, now, action);
            } else if !self.process.declared.is_empty() && !looked {
                // Who has died declares nothing any longer.
                self.process.declarations.look_at_all();
                looked = true;
            } else {
                return self.declare();
            }
        }
    }

    /// Looks at what programs declared, one new declaration after the other: each is checked with the words that are
    /// in force then. A change under way was read with the old words, and is finished first.
    fn declare(&mut self) {
        while !self.process.has_new_words
            && self.commits.is_settled()
            && let Some((client, declaration)) = self.process.declared.pop_front()
        {
            let reply = match self.process.learn(client, &declaration, self.commits.running()) {
                Ok(()) => {
                    self.process.programs.accept(client);
                    DeclarationReply::Accepted
                }
                Err(reason) => {
                    log::warn!("class {} of a program is refused: {reason}", declaration.class);
                    DeclarationReply::Refused(reason)
                }
            };
            self.process.declarations.send(client, &reply);
        }
    }

    fn operator_said(&mut self, now: Instant, client: ClientId, request: OperatorRequest) {
        let process = &mut *self.process;
        match request {
            OperatorRequest::Change { lines } => {
                if let Some(identity) = process.operators.identity(client) {
                    log::info!("{identity} (PID {}) wants: {}", identity.pid, lines.join(" | "));
                }
                self.commits.change(now, client, lines);
            }
            OperatorRequest::RunningConfig => {
                let tree = self.commits.running();
                let reply = OperatorReply::RunningConfig { text: print(tree), tree: tree.nodes() };
                process.operators.send(client, &reply);
            }
            OperatorRequest::SaveStartup => {
                let saved = process.startup.save(&print(self.commits.running()), process.programs.known());
                let reply = match &saved {
                    Ok(path) => OperatorReply::Saved { path: path.display().to_string() },
                    Err(error) => OperatorReply::Refused(error.to_string()),
                };
                process.answer(client, "saves the configuration", &reply);
            }
            OperatorRequest::EraseStartup => {
                let erased = process.startup.erase();
                let reply = erased.map_or_else(|e| OperatorReply::Refused(e.to_string()), |()| OperatorReply::Erased);
                process.answer(client, "erases the saved configuration", &reply);
            }
            OperatorRequest::StartupConfig => {
                process.operators.send(client, &OperatorReply::StartupConfig { text: process.startup.load() });
            }
            OperatorRequest::Declarations => {
                let reply = OperatorReply::Declarations(process.programs.known().to_vec());
                process.operators.send(client, &reply);
            }
        }
    }

    /// A client that cannot be sent to is gone, and `poll` says so.
    fn carry_out(&mut self, reactor: &mut Reactor, now: Instant, action: Action<ClientId>) {
        let process = &mut *self.process;
        match action {
            Action::Send { to, update } => {
                process.subscribers.send(to, &update);
            }
            Action::Store { text } => {
                let outcome = process.store.save(&text);
                self.commits.stored(now, outcome);
            }
            Action::Answer { to, reply } => {
                if let OperatorReply::Refused(reason) = &reply {
                    log::info!("refused: {}", reason.lines().next().unwrap_or_default());
                }
                process.operators.send(to, &reply);
            }
            Action::Refused { error } => {
                log::error!("the configuration in force is refused: {}", error.sentence());
                if process.router_starts {
                    fail_start(&mut reactor.link, &error.sentence());
                }
            }
        }
    }
}

impl Process {
    /// Takes the words of a program, if they can be; why not.
    fn learn(&mut self, client: ClientId, declaration: &Declaration, running: &Tree<'_>) -> Result<(), String> {
        let known = self.programs.check(client, declaration, running).map_err(|error| error.to_string())?;
        let Some(known) = known else { return Ok(()) };
        // Kept first: a `config` that comes back could not read the program's lines without.
        let text = startup::write_programs(&known).map_err(|error| error.to_string())?;
        self.kept_programs.save(&text).map_err(|error| error.to_string())?;
        log::info!("class {} of a program is known from now on", declaration.class);
        self.programs.set(known);
        self.has_new_words = true;
        Ok(())
    }

    /// Answers an operator who did something that others will ask about.
    fn answer(&mut self, client: ClientId, what: &str, reply: &OperatorReply) {
        if let Some(identity) = self.operators.identity(client) {
            let outcome = if let OperatorReply::Refused(reason) = reply { reason.as_str() } else { "done" };
            log::info!("{identity} (PID {}) {what}: {outcome}", identity.pid);
        }
        self.operators.send(client, reply);
    }
}
