//! The process `config`: keeps the configuration in force and hands it out.

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
use vr_api::config::{ConfigUpdate, OPERATOR_SCHEMA, OperatorReply, OperatorRequest, SCHEMA, Terms, Verdict};

use super::check::{self, load, sockets, tree_in_force};
use super::commit::{Action, Commits};
use super::parse::Source;
use super::print::print;
use super::startup::Startup;
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
pub fn run(mut link: Link, files: &Files<'_>, declarations: Vec<Declaration>) -> Result<(), RunError> {
    let Files { start: file, runtime_folder, state_folder } = *files;
    let words = Words::new(declarations)?;
    let store = Store::new(runtime_folder);
    let kept = kept_tree(file, &store, &words);
    let restarted = kept.is_some();
    let tree = match kept {
        Some(tree) => tree,
        None => first_tree(file, &store, &words).inspect_err(|error| fail_start(&mut link, &error.to_string()))?,
    };
    let folder = check::source(file).map_err(|error| RunError::Config(vec![error]))?.folder;
    let mut reactor = Reactor::new(link)?;
    let published = reactor.link.publish(ServiceName::new(SERVICE)?)?;
    let mut process = Process {
        commits: Commits::new(tree, &words, folder, sockets),
        store,
        startup: Startup::new(state_folder),
        published,
        subscribers: ServiceServer::new(Schema::new(SCHEMA)),
        operators: ServiceServer::new(Schema::new(OPERATOR_SCHEMA)),
        router_starts: !restarted,
    };
    loop {
        let timeout = process.commits.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        reactor.wait(timeout)?;
        while let Some(event) = reactor.next_event()? {
            if matches!(event, Event::Link(LinkEvent::Stop)) {
                process.store.remove();
                return Ok(());
            }
            process.handle(&mut reactor, event)?;
        }
        process.commits.timeout(Instant::now());
        process.work(&mut reactor);
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

struct Process<'w> {
    commits: Commits<'w, ClientId>,
    store: Store,
    startup: Startup,
    published: Ticket,
    subscribers: ServiceServer<ConfigUpdate, Verdict>,
    operators: ServiceServer<OperatorReply, OperatorRequest>,
    /// Whether the router is coming up for the first time: a process that refuses the configuration ends the start.
    router_starts: bool,
}

impl Process<'_> {
    fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Result<(), RunError> {
        let event = self.subscribers.handle(event).and_then(|event| self.operators.handle(event));
        match event {
            Some(Event::Link(LinkEvent::Done { ticket })) if ticket == self.published => reactor.link.ready()?,
            Some(Event::Link(LinkEvent::Refused { refusal, .. })) => return Err(refusal.into()),
            Some(Event::Link(LinkEvent::Go)) => self.router_starts = false,
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
        match postcard::from_bytes(terms) {
            Ok(Terms::Subscriber(subscribe)) => {
                if let Some(client) = self.subscribers.adopt(reactor, peer.clone(), channel) {
                    self.commits.subscribe(client, peer, subscribe);
                }
            }
            Ok(Terms::Operator) if peer.vr == VrId::ROUTER => {
                // A failure is logged there.
                let _client = self.operators.adopt(reactor, peer, channel);
            }
            Ok(Terms::Operator) => log::warn!("{peer} is a process of a VR and cannot change the configuration"),
            Err(error) => log::warn!("{peer} opened {SERVICE} with terms that are none: {error}"),
        }
    }

    /// Everything that can be done now: what clients said, and what follows from it.
    fn work(&mut self, reactor: &mut Reactor) {
        loop {
            let now = Instant::now();
            if let Some(event) = self.subscribers.poll(reactor) {
                match event {
                    ServerEvent::Message { client, message } => self.commits.verdict(now, client, message),
                    ServerEvent::Gone { client, .. } => self.commits.gone(now, client),
                }
            } else if let Some(event) = self.operators.poll(reactor) {
                match event {
                    ServerEvent::Message { client, message } => self.operator_said(now, client, message),
                    ServerEvent::Gone { .. } => {}
                }
            } else if let Some(action) = self.commits.poll_action() {
                self.carry_out(reactor, now, action);
            } else {
                return;
            }
        }
    }

    fn operator_said(&mut self, now: Instant, client: ClientId, request: OperatorRequest) {
        match request {
            OperatorRequest::Change { lines } => {
                if let Some(identity) = self.operators.identity(client) {
                    log::info!("{identity} (PID {}) wants: {}", identity.pid, lines.join(" | "));
                }
                self.commits.change(now, client, lines);
            }
            OperatorRequest::RunningConfig => {
                let tree = self.commits.running();
                let reply = OperatorReply::RunningConfig { text: print(tree), tree: tree.nodes() };
                self.operators.send(client, &reply);
            }
            OperatorRequest::SaveStartup => {
                let saved = self.startup.save(&print(self.commits.running()));
                let reply = match &saved {
                    Ok(path) => OperatorReply::Saved { path: path.display().to_string() },
                    Err(error) => OperatorReply::Refused(error.to_string()),
                };
                self.answer(client, "saves the configuration", &reply);
            }
            OperatorRequest::EraseStartup => {
                let erased = self.startup.erase();
                let reply = erased.map_or_else(|e| OperatorReply::Refused(e.to_string()), |()| OperatorReply::Erased);
                self.answer(client, "erases the saved configuration", &reply);
            }
            OperatorRequest::StartupConfig => {
                self.operators.send(client, &OperatorReply::StartupConfig { text: self.startup.load() });
            }
        }
    }

    /// Answers an operator who did something that others will ask about.
    fn answer(&mut self, client: ClientId, what: &str, reply: &OperatorReply) {
        if let Some(identity) = self.operators.identity(client) {
            let outcome = if let OperatorReply::Refused(reason) = reply { reason.as_str() } else { "done" };
            log::info!("{identity} (PID {}) {what}: {outcome}", identity.pid);
        }
        self.operators.send(client, reply);
    }

    /// A client that cannot be sent to is gone, and `poll` says so.
    fn carry_out(&mut self, reactor: &mut Reactor, now: Instant, action: Action<ClientId>) {
        match action {
            Action::Send { to, update } => {
                self.subscribers.send(to, &update);
            }
            Action::Store { text } => {
                let outcome = self.store.save(&text);
                self.commits.stored(now, outcome);
            }
            Action::Answer { to, reply } => {
                if let OperatorReply::Refused(reason) = &reply {
                    log::info!("refused: {}", reason.lines().next().unwrap_or_default());
                }
                self.operators.send(to, &reply);
            }
            Action::Refused { error } => {
                log::error!("the configuration in force is refused: {}", error.sentence());
                if self.router_starts {
                    fail_start(&mut reactor.link, &error.sentence());
                }
            }
        }
    }
}
