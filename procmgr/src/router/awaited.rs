//! Who waits for what another process publishes.

use std::collections::HashMap;

use ipc::Pid;
use ipc::protocol::{Answer, Notice, Ticket};

use super::Router;
use crate::processes::ProcessKey;

/// One wait for each process that asked, so that nobody can make procmgr remember more and more.
#[derive(Debug, Default)]
pub(super) struct Awaited(HashMap<ProcessKey, (Ticket, Pid)>);

impl Awaited {
    /// The process that waited is gone.
    pub(super) fn forget(&mut self, asker: ProcessKey) {
        self.0.remove(&asker);
    }

    /// Takes all who wait for this process.
    fn take(&mut self, published: Pid) -> Vec<(ProcessKey, Ticket)> {
        let those = self.0.extract_if(|_, (_, pid)| *pid == published);
        those.map(|(asker, (ticket, _))| (asker, ticket)).collect()
    }
}

impl Router<'_> {
    /// Answers at once or when it happens.
    pub(super) fn await_published(&mut self, asker: ProcessKey, ticket: Ticket, pid: Pid) {
        let of_it = |owner| self.processes.get(owner).is_some_and(|process| process.identity.pid == pid);
        let has_published = self.directory.iter().any(|(_, publication)| of_it(publication.owner));
        self.awaited.0.insert(asker, (ticket, pid));
        if has_published {
            self.tell_published(pid);
        }
    }

    /// A process has published something.
    pub(super) fn has_published(&mut self, owner: ProcessKey) {
        if let Some(process) = self.processes.get(owner) {
            self.tell_published(process.identity.pid);
        }
    }

    fn tell_published(&mut self, pid: Pid) {
        for (asker, ticket) in self.awaited.take(pid) {
            self.notify(asker, &Notice::Answer { ticket, answer: Answer::Accepted, last: true });
        }
    }
}
