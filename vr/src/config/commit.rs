//! A change becomes the configuration in force everywhere, or nowhere: two phases, without input or output.
//!
//! ```text
//!   change ──▶ Verify to all whom it concerns ──▶ all accept ──▶ store ──▶ Apply to them, answer the operator
//!                                                     │            │
//!                                             one refuses      disk full
//!                                                     └─────┬──────┘
//!                                              Discard to them, refuse the change
//! ```
//!
//! Nobody waits for a process that is dead or stands still: it is left out after [`ANSWER_TIMEOUT`], and gets what is in
//! force by the same two messages when it subscribes again or answers at last. Changes are carried out one after the
//! other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ipc::protocol::Identity;
use vr_api::config::{ConfigUpdate, Node, Objection, OperatorReply, Subscribe, Verdict};

use super::change::change;
use super::parse::Source;
use super::print::print;
use super::tree::Tree;
use super::view::{objected, view};
use super::words::Words;
use crate::error::ConfigError;

/// How long a change waits for the verdicts. A process checks its blocks in milliseconds; one that needs longer hangs.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is to be done.
#[derive(Debug)]
pub enum Action<K> {
    /// Send to a subscriber.
    Send {
        /// Which.
        to: K,
        /// What.
        update: ConfigUpdate,
    },
    /// Keep this text; then call [`Commits::stored`].
    Store {
        /// The configuration.
        text: String,
    },
    /// Answer an operator.
    Answer {
        /// Which.
        to: K,
        /// What.
        reply: OperatorReply,
    },
    /// A process cannot run what is in force. It is not asked again until that changes.
    Refused {
        /// Which process, why, and where that stands.
        error: ConfigError,
    },
}

/// The configuration in force, those who have it, and the change under way. `K` names a subscriber or an operator.
#[derive(Debug)]
pub struct Commits<'w, K> {
    words: &'w Words,
    /// Where the lines of operators come from.
    operator: Source,
    /// What to ask the operating system about a change.
    checks: fn(&Tree<'_>) -> Vec<ConfigError>,
    running: Tree<'w>,
    /// Generation of the newest configuration that was sent to anybody.
    generation: u64,
    subscribers: BTreeMap<K, Subscriber>,
    proposal: Option<Proposal<'w, K>>,
    queue: VecDeque<(K, Vec<String>)>,
    actions: VecDeque<Action<K>>,
}

/// What is left of [`Commits`] while the words change.
#[derive(Debug)]
pub struct Parked<K> {
    generation: u64,
    subscribers: BTreeMap<K, Subscriber>,
    queue: VecDeque<(K, Vec<String>)>,
    actions: VecDeque<Action<K>>,
}

impl<K> Default for Parked<K> {
    fn default() -> Self {
        Self { generation: 0, subscribers: BTreeMap::new(), queue: VecDeque::new(), actions: VecDeque::new() }
    }
}

#[derive(Debug)]
struct Subscriber {
    identity: Identity,
    subscribe: Subscribe,
    in_force: Option<Vec<Node>>,
    verifying: Option<Verifying>,
    /// It refused these blocks, which are in force: it is not asked about them again, or it would stop every change.
    refused: Option<Vec<Node>>,
}

/// A configuration that a subscriber was sent and has not applied.
#[derive(Debug)]
struct Verifying {
    generation: u64,
    blocks: Vec<Node>,
}

impl Subscriber {
    fn view(&self, tree: &Tree<'_>) -> Vec<Node> {
        view(tree, self.identity.vr_name.as_ref(), &self.subscribe)
    }

    /// What it objects to in the blocks that it was sent.
    fn objects(&self, tree: &Tree<'_>, objection: &Objection) -> ConfigError {
        let saw = self.verifying.as_ref().map_or(&[][..], |verifying| &verifying.blocks);
        objected(tree, saw, &self.identity, objection)
    }

    /// Whether it neither has these blocks, nor is about to, nor refused them already.
    fn wants(&self, blocks: &Vec<Node>) -> bool {
        let known = self.verifying.as_ref().map(|verifying| &verifying.blocks).or(self.in_force.as_ref());
        known != Some(blocks) && self.refused.as_ref() != Some(blocks)
    }
}

#[derive(Debug)]
struct Proposal<'w, K> {
    tree: Tree<'w>,
    generation: u64,
    operator: K,
    deadline: Instant,
    waiting: BTreeSet<K>,
    accepted: BTreeSet<K>,
}

impl<'w, K: Copy + Ord> Commits<'w, K> {
    /// A configuration without subscribers. `folder`: where relative paths of operators count from. `checks` asks the
    /// operating system about a changed configuration.
    pub fn new(
        running: Tree<'w>,
        words: &'w Words,
        folder: std::path::PathBuf,
        checks: fn(&Tree<'_>) -> Vec<ConfigError>,
    ) -> Self {
        Self::resume(Parked::default(), running, words, folder, checks)
    }

    /// The same with the subscribers and the changes of one that was parked.
    pub fn resume(
        parked: Parked<K>,
        running: Tree<'w>,
        words: &'w Words,
        folder: std::path::PathBuf,
        checks: fn(&Tree<'_>) -> Vec<ConfigError>,
    ) -> Self {
        let operator = Source { file: "change".into(), folder };
        let Parked { generation, subscribers, queue, actions } = parked;
        Self { words, operator, checks, running, generation, subscribers, proposal: None, queue, actions }
    }

    /// Whether no change is under way.
    pub fn is_settled(&self) -> bool {
        self.proposal.is_none()
    }

    /// What does not depend on the words. A change under way would be forgotten.
    pub fn park(self) -> Parked<K> {
        let Self { generation, subscribers, queue, actions, .. } = self;
        Parked { generation, subscribers, queue, actions }
    }

    /// The configuration in force.
    pub fn running(&self) -> &Tree<'w> {
        &self.running
    }

    /// A process wants its blocks.
    pub fn subscribe(&mut self, key: K, identity: Identity, subscribe: Subscribe) {
        let subscriber = Subscriber { identity, subscribe, in_force: None, verifying: None, refused: None };
        self.subscribers.insert(key, subscriber);
        self.settle();
    }

    /// A subscriber is gone. (An operator who is gone misses the answer, no more.)
    pub fn gone(&mut self, now: Instant, key: K) {
        self.subscribers.remove(&key);
        if self.proposal.as_mut().is_some_and(|proposal| proposal.waiting.remove(&key)) {
            self.go_on(now);
        }
    }

    /// A subscriber says whether it could run what it was sent.
    pub fn verdict(&mut self, now: Instant, key: K, verdict: Verdict) {
        let Some(subscriber) = self.subscribers.get_mut(&key) else { return };
        let meant = |verifying: &Verifying| verifying.generation == verdict.generation;
        if !subscriber.verifying.as_ref().is_some_and(meant) {
            log::debug!("{}: verdict on configuration {}, which is past", subscriber.identity, verdict.generation);
            return;
        }
        let proposal = self.proposal.as_mut().filter(|proposal| proposal.generation == verdict.generation);
        match (proposal, verdict.refused) {
            (Some(proposal), Some(objection)) if proposal.waiting.contains(&key) => {
                let error = subscriber.objects(&proposal.tree, &objection);
                self.abandon(now, error.to_string());
            }
            (Some(proposal), None) => {
                proposal.accepted.insert(key);
                if proposal.waiting.remove(&key) {
                    self.go_on(now);
                }
            }
            (Some(_) | None, Some(objection)) => {
                let error = subscriber.objects(&self.running, &objection);
                self.actions.push_back(Action::Refused { error });
                subscriber.refused = subscriber.verifying.take().map(|verifying| verifying.blocks);
            }
            (None, None) => self.apply(key),
        }
    }

    /// An operator wants a change.
    pub fn change(&mut self, now: Instant, operator: K, lines: Vec<String>) {
        self.queue.push_back((operator, lines));
        self.next_change(now);
    }

    /// The text of [`Action::Store`] was kept, or could not be.
    pub fn stored(&mut self, now: Instant, outcome: Result<(), impl std::fmt::Display>) {
        if let Err(error) = outcome {
            return self.abandon(now, error.to_string());
        }
        let Some(proposal) = self.proposal.take() else { return };
        self.running = proposal.tree;
        for key in proposal.accepted {
            self.apply(key);
        }
        self.actions.push_back(Action::Answer { to: proposal.operator, reply: OperatorReply::Applied });
        self.settle();
        self.next_change(now);
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.proposal.as_ref().filter(|proposal| !proposal.waiting.is_empty()).map(|proposal| proposal.deadline)
    }

    /// Leaves out those that did not answer in time.
    pub fn timeout(&mut self, now: Instant) {
        let Some(proposal) = self.proposal.as_mut().filter(|proposal| proposal.deadline <= now) else { return };
        let late = std::mem::take(&mut proposal.waiting);
        for subscriber in late.iter().filter_map(|key| self.subscribers.get(key)) {
            log::warn!(
                "{} did not answer within {ANSWER_TIMEOUT:?}: the change goes on without it",
                subscriber.identity
            );
        }
        if !late.is_empty() {
            self.go_on(now);
        }
    }

    /// The next thing to do. Call until `None` after each of the above.
    pub fn poll_action(&mut self) -> Option<Action<K>> {
        self.actions.pop_front()
    }

    fn next_change(&mut self, now: Instant) {
        while self.proposal.is_none()
            && let Some((operator, lines)) = self.queue.pop_front()
        {
            match self.changed(&lines) {
                Ok(tree) if tree == self.running => {
                    self.actions.push_back(Action::Answer { to: operator, reply: OperatorReply::Applied });
                }
                Ok(tree) => self.propose(now, operator, tree),
                Err(errors) => {
                    let errors: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
                    let reply = OperatorReply::Refused(errors.join("\n"));
                    self.actions.push_back(Action::Answer { to: operator, reply });
                }
            }
        }
    }

    fn changed(&self, lines: &[String]) -> Result<Tree<'w>, Vec<ConfigError>> {
        let tree = change(&self.running, lines, self.words, &self.operator)?;
        // What is wrong with an old line (its folder is gone since) must not stand in the way of another change.
        let new = |error: &ConfigError| error.place.as_ref().is_some_and(|place| place.file == self.operator.file);
        let errors: Vec<ConfigError> = (self.checks)(&tree).into_iter().filter(new).collect();
        if errors.is_empty() { Ok(tree) } else { Err(errors) }
    }

    fn propose(&mut self, now: Instant, operator: K, tree: Tree<'w>) {
        let mut waiting = BTreeSet::new();
        self.generation += 1;
        for (key, subscriber) in &mut self.subscribers {
            let blocks = subscriber.view(&tree);
            if subscriber.wants(&blocks) {
                waiting.insert(*key);
                self.actions.push_back(verify(*key, subscriber, self.generation, blocks));
            }
        }
        let (generation, deadline) = (self.generation, now + ANSWER_TIMEOUT);
        self.proposal = Some(Proposal { tree, generation, operator, deadline, waiting, accepted: BTreeSet::new() });
        self.go_on(now);
    }

    /// Stores the proposal once nobody is waited for.
    fn go_on(&mut self, now: Instant) {
        let Some(proposal) = self.proposal.as_mut().filter(|proposal| proposal.waiting.is_empty()) else { return };
        // No second timeout: what is stored is decided.
        proposal.deadline = now + ANSWER_TIMEOUT;
        self.actions.push_back(Action::Store { text: print(&proposal.tree) });
    }

    /// Refuses the change under way. What was sent of it is taken back, and who had not yet the configuration in force
    /// gets it.
    fn abandon(&mut self, now: Instant, reason: String) {
        let Some(proposal) = self.proposal.take() else { return };
        let generation = proposal.generation;
        for (key, subscriber) in &mut self.subscribers {
            if subscriber.verifying.take_if(|verifying| verifying.generation == generation).is_some() {
                self.actions.push_back(Action::Send { to: *key, update: ConfigUpdate::Discard { generation } });
            }
        }
        self.actions.push_back(Action::Answer { to: proposal.operator, reply: OperatorReply::Refused(reason) });
        self.settle();
        self.next_change(now);
    }

    /// What a subscriber accepted is in force there.
    fn apply(&mut self, key: K) {
        let Some(subscriber) = self.subscribers.get_mut(&key) else { return };
        let Some(Verifying { generation, blocks }) = subscriber.verifying.take() else { return };
        subscriber.in_force = Some(blocks);
        subscriber.refused = None;
        self.actions.push_back(Action::Send { to: key, update: ConfigUpdate::Apply { generation } });
    }

    /// Sends the configuration in force to those who neither have it nor are about to.
    fn settle(&mut self) {
        for (key, subscriber) in &mut self.subscribers {
            let blocks = subscriber.view(&self.running);
            let proposed = self.proposal.as_ref().is_some_and(|proposal| {
                subscriber.verifying.as_ref().is_some_and(|verifying| verifying.generation == proposal.generation)
            });
            if !proposed && subscriber.wants(&blocks) {
                self.generation += 1;
                self.actions.push_back(verify(*key, subscriber, self.generation, blocks));
            }
        }
    }
}

#[cfg(test)]
mod tests;

fn verify<K>(to: K, subscriber: &mut Subscriber, generation: u64, blocks: Vec<Node>) -> Action<K> {
    subscriber.verifying = Some(Verifying { generation, blocks: blocks.clone() });
    Action::Send { to, update: ConfigUpdate::Verify { generation, blocks } }
}
