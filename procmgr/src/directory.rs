//! The pathname directory: what is published, by whom, and who may publish it.
//!
//! A service is published by its own process, an endpoint by the VR connection manager for the process that listens.
//! What a process published vanishes with it.

use std::collections::{HashMap, HashSet};

use ipc::Pathname;
use ipc::protocol::{Generation, Identity, Refusal};
use ipc::terms::{self, Clause};

use crate::processes::ProcessKey;

/// Services that one process may publish: memory of procmgr, not of the process.
const MAX_SERVICES: usize = 64;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    /// Whose it is.
    pub(crate) owner: ProcessKey,
    /// Which publication under this pathname.
    pub(crate) generation: Generation,
    /// Ends that may wait for the owner to take them.
    pub(crate) backlog: u32,
    /// How often it was opened.
    pub(crate) opened: u64,
    /// What it asks of the terms of opens.
    pub(crate) clauses: Vec<Clause>,
}

/// All entries.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    publications: HashMap<Pathname, Publication>,
    owned: HashMap<ProcessKey, HashSet<Pathname>>,
    last_generation: u64,
}

impl Directory {
    /// Publishes a service of `owner`'s VR. Once more by the same owner is a new publication.
    pub(crate) fn publish_service(
        &mut self,
        pathname: Pathname,
        owner: ProcessKey,
        pid_of: impl Fn(ProcessKey) -> ipc::Pid,
        backlog: u32,
    ) -> Result<(), Refusal> {
        if let Some(present) = self.publications.get(&pathname).filter(|present| present.owner != owner) {
            return Err(Refusal::Taken(pathname, pid_of(present.owner)));
        }
        let services =
            |owned: &HashSet<Pathname>| owned.iter().filter(|p| matches!(p, Pathname::Service { .. })).count();
        let new = !self.publications.contains_key(&pathname);
        if new && self.owned.get(&owner).is_some_and(|owned| services(owned) >= MAX_SERVICES) {
            return Err(Refusal::Resources(format!("a process publishes at most {MAX_SERVICES} services")));
        }
        self.last_generation = self.last_generation.saturating_add(1);
        let generation = Generation(self.last_generation);
        self.insert(pathname, Publication { owner, generation, backlog, opened: 0, clauses: Vec::new() });
        Ok(())
    }

    /// Publishes an endpoint of `owner`, as the VR connection manager says: the last word counts. `Refused` if the
    /// pathname is not the owner's. Under the same generation only what it asks changes.
    pub(crate) fn publish_endpoint(
        &mut self,
        pathname: Pathname,
        owner: (ProcessKey, &Identity),
        generation: Generation,
        backlog: u16,
        clauses: Vec<Clause>,
    ) -> Result<(), Refusal> {
        let (owner, identity) = owner;
        match &pathname {
            Pathname::Endpoint { vr, pid, .. } if (*vr, *pid) == (identity.vr, identity.pid) => {}
            Pathname::Endpoint { .. } | Pathname::Service { .. } => {
                return Err(Refusal::NotYours { pathname, vr: identity.vr, pid: identity.pid });
            }
        }
        // A listener with backlog 0 still takes one, as with listen(2).
        let backlog = u32::from(backlog).max(1);
        if !terms::are_sane(&clauses) {
            return Err(Refusal::Clauses { pathname, count: clauses.len() });
        }
        let opened = self.find(&pathname, Some(generation)).map_or(0, |present| present.opened);
        self.insert(pathname, Publication { owner, generation, backlog, opened, clauses });
        Ok(())
    }

    /// No more ends may wait than so many.
    pub(crate) fn limit_backlog(&mut self, pathname: &Pathname, most: u32) {
        if let Some(publication) = self.publications.get_mut(pathname) {
            publication.backlog = publication.backlog.min(most);
        }
    }

    /// Takes an entry away. `false`: there was none.
    pub(crate) fn withdraw(&mut self, pathname: &Pathname) -> bool {
        let Some(publication) = self.publications.remove(pathname) else { return false };
        if let Some(owned) = self.owned.get_mut(&publication.owner) {
            owned.remove(pathname);
        }
        true
    }

    /// Takes away all that `owner` published.
    pub(crate) fn withdraw_all(&mut self, owner: ProcessKey) -> Vec<Pathname> {
        let owned = self.owned.remove(&owner).unwrap_or_default();
        for pathname in &owned {
            self.publications.remove(pathname);
        }
        owned.into_iter().collect()
    }

    /// The publication that an open means.
    pub(crate) fn find(&self, pathname: &Pathname, generation: Option<Generation>) -> Option<&Publication> {
        let meant = |found: &&Publication| generation.is_none_or(|generation| generation == found.generation);
        self.publications.get(pathname).filter(meant)
    }

    /// Counts an open.
    pub(crate) fn count_open(&mut self, pathname: &Pathname) {
        if let Some(publication) = self.publications.get_mut(pathname) {
            publication.opened = publication.opened.saturating_add(1);
        }
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Pathname, &Publication)> {
        self.publications.iter()
    }

    fn insert(&mut self, pathname: Pathname, publication: Publication) {
        self.owned.entry(publication.owner).or_default().insert(pathname.clone());
        self.publications.insert(pathname, publication);
    }
}

#[cfg(test)]
mod tests {
    use ipc::{Pid, VrId};

    use super::*;

    const ONE: ProcessKey = ProcessKey(1);
    const TWO: ProcessKey = ProcessKey(2);

    fn pathname(text: &str) -> Pathname {
        text.parse().unwrap()
    }

    fn pid_of(key: ProcessKey) -> Pid {
        Pid(key.0 as u32 * 100)
    }

    #[test]
    fn a_service_belongs_to_who_published_it_first_until_it_is_gone() {
        let mut directory = Directory::default();
        let rib = pathname("/2/rib");
        directory.publish_service(rib.clone(), ONE, pid_of, 64).unwrap();
        let first = directory.find(&rib, None).unwrap().generation;
        assert_eq!(directory.publish_service(rib.clone(), TWO, pid_of, 64), Err(Refusal::Taken(rib.clone(), Pid(100))));
        assert_eq!(directory.withdraw_all(ONE), std::slice::from_ref(&rib));
        assert!(directory.find(&rib, None).is_none());
        directory.publish_service(rib.clone(), TWO, pid_of, 64).unwrap();
        let second = directory.find(&rib, None).unwrap().generation;
        assert!(second > first);
        assert!(directory.find(&rib, Some(first)).is_none(), "an open that names the old publication misses");
    }

    #[test]
    fn the_services_of_one_process_are_bounded() {
        let mut directory = Directory::default();
        let mut publish =
            |number: usize| directory.publish_service(pathname(&format!("/2/s{number}")), ONE, pid_of, 64);
        for number in 0..MAX_SERVICES {
            publish(number).unwrap();
        }
        publish(0).unwrap();
        assert!(matches!(publish(MAX_SERVICES), Err(Refusal::Resources(_))));
    }

    #[test]
    fn an_endpoint_is_published_only_for_the_process_that_it_names() {
        let mut directory = Directory::default();
        let identity = Identity {
            vr: VrId(2),
            vr_name: None,
            pid: Pid(417),
            name: "bgp".parse().unwrap(),
            origin: ipc::protocol::Origin::Supervised,
        };
        let owner = (ONE, &identity);
        for wrong in ["/2/418/ipv4/tcp/179", "/1/417/ipv4/tcp/179", "/2/bgp"] {
            let refused = directory.publish_endpoint(pathname(wrong), owner, Generation(1), 8, vec![]);
            assert!(matches!(refused, Err(Refusal::NotYours { .. })), "{wrong}");
        }
        let right = pathname("/2/417/ipv4/tcp/179");
        directory.publish_endpoint(right.clone(), owner, Generation(7), 0, vec![]).unwrap();
        assert_eq!(directory.find(&right, Some(Generation(7))).unwrap().backlog, 1);
        assert!(directory.withdraw(&right));
        assert!(!directory.withdraw(&right));
        assert_eq!(directory.withdraw_all(ONE), []);
    }
}
