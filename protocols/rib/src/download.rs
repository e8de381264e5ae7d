//! FIB download: what the stack's FIB has not been told yet, in batches.
//!
//! Only prefixes wait here, not changes: what is sent is what holds at the time of sending, so that a prefix that
//! changes ten times while the FIB is busy is sent once. A prefix without a route in force is sent as a removal; to
//! remove what is not there is no error.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use ipnet::IpNet;
use sdk::core::Time;
use stack_api::fib::{FibChange, FibReply, FibRequest};

use crate::table::Table;

/// Changes in a batch.
pub const MAX_BATCH: usize = 1000;

/// Next hops in a batch, so that a message stays small however many equal-cost paths there are.
const MAX_BATCH_HOPS: usize = 4000;

/// Batches without an answer: enough to keep the FIB busy, few enough to hold back with a table that still changes.
pub const MAX_OUTSTANDING: usize = 4;

/// A prefix that the FIB refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedByFib {
    /// Which.
    pub prefix: IpNet,
    /// Why.
    pub reason: String,
}

/// State of the download.
#[derive(Debug, Default)]
pub struct Download {
    session: Option<Session>,
    pending: BTreeSet<IpNet>,
    /// Parts of refused batches, to be tried by themselves.
    parts: VecDeque<Vec<IpNet>>,
    /// Refused alone: not to be added until something changes.
    refused: BTreeSet<IpNet>,
    next_ticket: u64,
    last_change: Option<Time>,
}

#[derive(Debug, Default)]
struct Session {
    begun: bool,
    /// The last prefix that was sent, so that all get their turn.
    cursor: Option<IpNet>,
    /// All prefixes that were there at the beginning were sent.
    whole: bool,
    ended: bool,
    /// The whole table was acknowledged.
    acknowledged: bool,
    outstanding: BTreeMap<u64, Batch>,
}

#[derive(Debug)]
struct Batch {
    prefixes: Vec<IpNet>,
    /// Whether its last change was an addition.
    adds: bool,
}

impl Download {
    /// The FIB's channel is open: the whole table is due.
    pub fn up(&mut self, table: &Table) {
        self.parts.clear();
        self.refused.clear();
        self.pending = table.iter().filter(|(_, entry)| entry.best.is_some()).map(|(prefix, _)| prefix).collect();
        self.session = Some(Session::default());
    }

    /// The channel is closed. The FIB goes on with what it has.
    pub fn down(&mut self) {
        self.session = None;
        self.pending.clear();
        self.parts.clear();
        self.refused.clear();
    }

    /// Another route is in force for a prefix, or none.
    pub fn changed(&mut self, prefix: IpNet) {
        if self.session.is_some() {
            self.refused.remove(&prefix);
            self.pending.insert(prefix);
        }
    }

    /// What the FIB refused, it may take now: an interface is there.
    pub fn retry(&mut self) {
        self.pending.append(&mut self.refused);
    }

    /// Whether the table was acknowledged as a whole since the channel opened.
    pub fn is_acknowledged(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.acknowledged)
    }

    /// Prefixes that wait, and batches that the FIB has not answered.
    pub fn waiting(&self) -> (usize, usize) {
        let parts: usize = self.parts.iter().map(Vec::len).sum();
        let unanswered = self.session.as_ref().map_or(0, |session| session.outstanding.len());
        (self.pending.len() + parts, unanswered)
    }

    /// When the FIB last said that it changed.
    pub fn last_change(&self) -> Option<Time> {
        self.last_change
    }

    /// The FIB answered. Returns what it refused for good.
    pub fn reply(&mut self, now: Time, reply: FibReply) -> Option<RefusedByFib> {
        let session = self.session.as_mut()?;
        let (ticket, reason) = match reply {
            FibReply::Applied { ticket } => (ticket, None),
            FibReply::Refused { ticket, reason } => (ticket, Some(reason)),
        };
        let batch = session.outstanding.remove(&ticket)?;
        let Some(reason) = reason else {
            self.last_change = Some(now);
            return None;
        };
        match batch.prefixes[..] {
            // A removal takes out what the FIB may still have from before.
            [prefix] if batch.adds => {
                self.refused.insert(prefix);
                self.parts.push_back(vec![prefix]);
                Some(RefusedByFib { prefix, reason })
            }
            [prefix] => Some(RefusedByFib { prefix, reason }),
            _ => {
                let (left, right) = batch.prefixes.split_at(batch.prefixes.len() / 2);
                self.parts.extend([left.to_vec(), right.to_vec()]);
                None
            }
        }
    }

    /// The next message, if there is one and the FIB is not too far behind. `may_end`: the table is complete, what
    /// else the FIB still has from before may be swept.
    pub fn poll(&mut self, table: &Table, may_end: bool) -> Option<FibRequest> {
        let session = self.session.as_mut()?;
        if !session.begun {
            session.begun = true;
            return Some(FibRequest::Begin);
        }
        if session.outstanding.len() >= MAX_OUTSTANDING {
            return None;
        }
        if let Some(batch) = self.batch(table) {
            return Some(batch);
        }
        let idle = self.pending.is_empty() && self.parts.is_empty();
        let session = self.session.as_mut()?;
        session.whole |= idle;
        session.acknowledged |= session.whole && self.parts.is_empty() && session.outstanding.is_empty();
        if session.whole && self.parts.is_empty() && may_end && !session.ended {
            session.ended = true;
            return Some(FibRequest::End);
        }
        None
    }

    fn batch(&mut self, table: &Table) -> Option<FibRequest> {
        let mut prefixes = Vec::new();
        let mut changes = Vec::new();
        let mut hops = 0;
        let part = self.parts.pop_front();
        let from_part = part.is_some();
        let mut part = part.unwrap_or_default().into_iter();
        while changes.len() < MAX_BATCH && hops < MAX_BATCH_HOPS {
            let next = if from_part { part.next() } else { self.next_pending() };
            let Some(prefix) = next else { break };
            self.pending.remove(&prefix);
            let change = self.change(table, prefix);
            if let FibChange::Add { next_hops, .. } = &change {
                hops += next_hops.len();
            }
            prefixes.push(prefix);
            changes.push(change);
        }
        let rest: Vec<IpNet> = part.collect();
        if !rest.is_empty() {
            self.parts.push_front(rest);
        }
        let adds = matches!(changes.last()?, FibChange::Add { .. });
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.session.as_mut()?.outstanding.insert(ticket, Batch { prefixes, adds });
        Some(FibRequest::Batch { ticket, changes })
    }

    /// The next prefix in a round through all that wait. The first round is the whole table.
    fn next_pending(&mut self) -> Option<IpNet> {
        let session = self.session.as_mut()?;
        let after = session.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let next = match self.pending.range((after, Bound::Unbounded)).next() {
            Some(prefix) => *prefix,
            None => {
                session.whole = true;
                *self.pending.first()?
            }
        };
        session.cursor = Some(next);
        Some(next)
    }

    fn change(&self, table: &Table, prefix: IpNet) -> FibChange {
        let best = table.get(prefix).and_then(|entry| entry.best.as_ref());
        match best.filter(|_| !self.refused.contains(&prefix)) {
            Some(best) => FibChange::Add { prefix, next_hops: best.hops.to_vec() },
            None => FibChange::Remove { prefix },
        }
    }
}
