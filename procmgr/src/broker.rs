//! Opens: from the request to the moment when each side has its end of a channel.
//!
//! An end is handed to a listener on credit: at most [`MAX_UNTAKEN`] in all may lie on its link without it having taken
//! them, and at most its backlog of those that came by one pathname: of an endpoint until it has accepted them, of a
//! service until it has taken them. Opens beyond that wait here, in order, in silence; so do opens of services that nobody
//! has published yet, and those whose terms are not what the publication asks for. What waits is bounded by its opener, so
//! that nobody can fill procmgr's memory.
//!
//! The broker decides and holds no descriptor: [`next_effect`](Broker::next_effect) says what to do.

use std::collections::{BTreeSet, HashMap, VecDeque};

use ipc::protocol::{Generation, MAX_UNTAKEN, Refusal, Ticket};
use ipc::terms::MAX_TERMS;
use ipc::{Pathname, VrId, terms};

use crate::directory::{Directory, Publication};
use crate::processes::ProcessKey;
use crate::vrs::Vrs;

/// Opens that one process may have waiting: more than any listener's backlog, and at most 1 MiB of terms.
pub(crate) const MAX_WAITING: usize = 1024;

/// An open that a process asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) opener: ProcessKey,
    pub(crate) opener_vr: VrId,
    pub(crate) ticket: Ticket,
    pub(crate) pathname: Pathname,
    pub(crate) generation: Option<Generation>,
    pub(crate) terms: Vec<u8>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Make a channel and give one end to each side.
    HandOut { open: Open, listener: ProcessKey },
    /// Tell the opener.
    Refuse { opener: ProcessKey, ticket: Ticket, refusal: Refusal },
}

/// Order in which opens came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct OpenId(u64);

/// What a listener has to do.
#[derive(Debug, Default)]
struct Credit {
    /// Pathnames of the ends that lie on its link, oldest first.
    untaken: VecDeque<Pathname>,
    /// How many ends are in the backlog of each pathname.
    backlogs: HashMap<Pathname, u32>,
    /// Pathnames of this listener that opens wait for.
    wanted: BTreeSet<Pathname>,
}

/// All opens under way.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    last_id: u64,
    waiting: HashMap<OpenId, Open>,
    queues: HashMap<Pathname, BTreeSet<OpenId>>,
    /// Those that the publication's clauses do not admit: they wait for other clauses.
    unadmitted: HashMap<Pathname, BTreeSet<OpenId>>,
    tickets: HashMap<ProcessKey, HashMap<Ticket, OpenId>>,
    credits: HashMap<ProcessKey, Credit>,
    effects: VecDeque<Effect>,
}

impl Broker {
    /// A process opens a pathname.
    pub(crate) fn open(&mut self, directory: &Directory, vrs: &Vrs, open: Open) {
        if let Err(refusal) = self.check(directory, vrs, &open) {
            return self.refuse(&open, refusal);
        }
        self.last_id = self.last_id.wrapping_add(1);
        let (id, pathname) = (OpenId(self.last_id), open.pathname.clone());
        self.tickets.entry(open.opener).or_default().insert(open.ticket, id);
        self.queues.entry(pathname.clone()).or_default().insert(id);
        self.waiting.insert(id, open);
        self.serve(directory, vrs, &pathname);
    }

    fn check(&self, directory: &Directory, vrs: &Vrs, open: &Open) -> Result<(), Refusal> {
        if open.terms.len() > MAX_TERMS {
            return Err(Refusal::Terms(open.terms.len()));
        }
        if !vrs.may_open(open.opener_vr, &open.pathname) {
            return Err(Refusal::Access { pathname: open.pathname.clone(), caller: open.opener_vr });
        }
        let waits = matches!(open.pathname, Pathname::Service { .. }) && open.generation.is_none();
        if !waits && directory.find(&open.pathname, open.generation).is_none() {
            return Err(Refusal::NotPublished(open.pathname.clone()));
        }
        let tickets = self.tickets.get(&open.opener);
        if tickets.is_some_and(|tickets| tickets.len() >= MAX_WAITING) {
            return Err(Refusal::Resources(format!("{MAX_WAITING} opens of this process wait already")));
        }
        if tickets.is_some_and(|tickets| tickets.contains_key(&open.ticket)) {
            return Err(Refusal::Resources(format!("ticket {} is in use", open.ticket.0)));
        }
        Ok(())
    }

    /// A pathname was published: what waits for it may go on, what meant an earlier publication is refused.
    pub(crate) fn published(&mut self, directory: &Directory, vrs: &Vrs, pathname: &Pathname) {
        if let Some(unadmitted) = self.unadmitted.remove(pathname) {
            self.queues.entry(pathname.clone()).or_default().extend(unadmitted);
        }
        self.refuse_where(pathname, |open| {
            open.generation.is_some() && directory.find(pathname, open.generation).is_none()
        });
        self.serve(directory, vrs, pathname);
    }

    /// A pathname is no longer published. Opens of a service wait for the next publication.
    pub(crate) fn withdrawn(&mut self, listener: ProcessKey, pathname: &Pathname) {
        if let Some(unadmitted) = self.unadmitted.remove(pathname) {
            self.queues.entry(pathname.clone()).or_default().extend(unadmitted);
        }
        if let Some(credit) = self.credits.get_mut(&listener) {
            credit.wanted.remove(pathname);
            credit.backlogs.remove(pathname);
        }
        let waits = |open: &Open| matches!(open.pathname, Pathname::Service { .. }) && open.generation.is_none();
        self.refuse_where(pathname, |open| !waits(open));
    }

    /// An opener gives up.
    pub(crate) fn cancel(&mut self, opener: ProcessKey, ticket: Ticket) {
        let id = self.tickets.get(&opener).and_then(|tickets| tickets.get(&ticket)).copied();
        if let Some(id) = id {
            self.remove(id);
        }
    }

    /// A listener took ends from its link. Returns how many more it claims to have taken than there were.
    pub(crate) fn taken(&mut self, directory: &Directory, vrs: &Vrs, listener: ProcessKey, count: u32) -> u32 {
        let Some(credit) = self.credits.get_mut(&listener) else { return count };
        let mut left = count;
        while left > 0 {
            let Some(pathname) = credit.untaken.pop_front() else { break };
            if matches!(pathname, Pathname::Service { .. }) {
                credit.free(&pathname);
            }
            left -= 1;
        }
        for pathname in credit.wanted.clone() {
            self.serve(directory, vrs, &pathname);
        }
        left
    }

    /// A listener accepted, or dropped, what came by an endpoint of its own. What it claims beyond that gains it nothing
    /// but work: its link takes no more than [`MAX_UNTAKEN`].
    pub(crate) fn accepted(&mut self, directory: &Directory, vrs: &Vrs, listener: ProcessKey, pathname: &Pathname) {
        if let Some(credit) = self.credits.get_mut(&listener) {
            credit.free(pathname);
        }
        self.serve(directory, vrs, pathname);
    }

    /// A handed-out end lies in its endpoint's queue, and not on the listener's link: its backlog alone counts it.
    pub(crate) fn queued(&mut self, listener: ProcessKey, pathname: &Pathname) {
        if let Some(credit) = self.credits.get_mut(&listener)
            && let Some(last) = credit.untaken.iter().rposition(|untaken| untaken == pathname)
        {
            credit.untaken.remove(last);
        }
    }

    /// A handed-out end did not reach the listener: no channel could be made.
    pub(crate) fn undo(&mut self, listener: ProcessKey) {
        let Some(credit) = self.credits.get_mut(&listener) else { return };
        if let Some(pathname) = credit.untaken.pop_back() {
            credit.free(&pathname);
        }
    }

    /// A process is gone: its opens are forgotten, and what lay on its link.
    pub(crate) fn process_gone(&mut self, process: ProcessKey) {
        for id in self.tickets.remove(&process).unwrap_or_default().into_values() {
            self.remove(id);
        }
        self.credits.remove(&process);
    }

    /// What to do next; `None`: nothing.
    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Hands out ends for `pathname` while there is credit.
    fn serve(&mut self, directory: &Directory, vrs: &Vrs, pathname: &Pathname) {
        while let Some(id) = self.queues.get(pathname).and_then(BTreeSet::first).copied() {
            let Some(publication) = directory.find(pathname, None) else { return };
            if !self.admits(publication, id) {
                self.set_aside(pathname, id);
                continue;
            }
            let listener = publication.owner;
            let credit = self.credits.entry(listener).or_default();
            if !credit.take(pathname, publication.backlog) {
                credit.wanted.insert(pathname.clone());
                return;
            }
            let Some(open) = self.remove(id) else { return };
            if vrs.may_open(open.opener_vr, pathname) {
                self.effects.push_back(Effect::HandOut { open, listener });
            } else {
                // The two VRs were separated while it waited.
                self.undo(listener);
                let refusal = Refusal::Access { pathname: pathname.clone(), caller: open.opener_vr };
                self.refuse(&open, refusal);
            }
        }
        if let Some(publication) = directory.find(pathname, None)
            && let Some(credit) = self.credits.get_mut(&publication.owner)
        {
            credit.wanted.remove(pathname);
        }
    }

    /// Whether a publication's clauses admit an open. The router's own processes answer for what they deliver.
    fn admits(&self, publication: &Publication, id: OpenId) -> bool {
        let admitted = |open: &Open| open.opener_vr == VrId::ROUTER || terms::admit(&publication.clauses, &open.terms);
        self.waiting.get(&id).is_none_or(admitted)
    }

    fn set_aside(&mut self, pathname: &Pathname, id: OpenId) {
        take_from(&mut self.queues, pathname, id);
        self.unadmitted.entry(pathname.clone()).or_default().insert(id);
    }

    fn refuse_where(&mut self, pathname: &Pathname, condition: impl Fn(&Open) -> bool) {
        let queue: Vec<OpenId> = self.queues.get(pathname).into_iter().flatten().copied().collect();
        for id in queue {
            if self.waiting.get(&id).is_some_and(&condition)
                && let Some(open) = self.remove(id)
            {
                self.refuse(&open, Refusal::NotPublished(pathname.clone()));
            }
        }
    }

    fn refuse(&mut self, open: &Open, refusal: Refusal) {
        self.effects.push_back(Effect::Refuse { opener: open.opener, ticket: open.ticket, refusal });
    }

    fn remove(&mut self, id: OpenId) -> Option<Open> {
        let open = self.waiting.remove(&id)?;
        take_from(&mut self.queues, &open.pathname, id);
        take_from(&mut self.unadmitted, &open.pathname, id);
        if let Some(tickets) = self.tickets.get_mut(&open.opener) {
            tickets.remove(&open.ticket);
        }
        Some(open)
    }
}

fn take_from(queues: &mut HashMap<Pathname, BTreeSet<OpenId>>, pathname: &Pathname, id: OpenId) {
    if let Some(queue) = queues.get_mut(pathname) {
        queue.remove(&id);
        if queue.is_empty() {
            queues.remove(pathname);
        }
    }
}

impl Credit {
    /// Takes one credit; `false`: there is none left.
    fn take(&mut self, pathname: &Pathname, backlog: u32) -> bool {
        let waiting = self.backlogs.get(pathname).copied().unwrap_or(0);
        if self.untaken.len() >= MAX_UNTAKEN as usize || waiting >= backlog {
            return false;
        }
        self.untaken.push_back(pathname.clone());
        self.backlogs.insert(pathname.clone(), waiting + 1);
        true
    }

    /// Gives one credit of `pathname` back.
    fn free(&mut self, pathname: &Pathname) {
        match self.backlogs.get_mut(pathname) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.backlogs.remove(pathname);
            }
        }
    }
}

#[cfg(test)]
mod tests;
