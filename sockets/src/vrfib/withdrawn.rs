//! Entries that are gone: the interface was shut, the short circuit switched off, the `connect` withdrawn, the route moved, or the
//! listener closed. Whoever looks for one goes through the stack, and is counted where an operator looks for the reason.

use std::net::IpAddr;
use std::sync::Arc;

use indexmap::IndexMap;
use ipc::Criteria;
use vr_api::manager::VrFibEntry;

use super::counters::Counters;

/// Places that are remembered; beyond, the one that was left first is forgotten. Each UDP socket of a peer is an entry
/// for a while, and few of them are looked for again.
const PLACES: usize = 1024;

/// An entry that is gone, and its counters.
#[derive(Debug)]
pub(super) struct Gone {
    pub entry: Arc<VrFibEntry>,
    pub counters: Arc<Counters>,
}

/// What no other entry has taken the place of.
#[derive(Debug, Default)]
pub(super) struct Withdrawn(IndexMap<(IpAddr, Criteria), Vec<Gone>>);

impl Withdrawn {
    pub fn remember(&mut self, criteria: Criteria, gone: Gone) {
        let place = (gone.entry.to, criteria);
        if self.0.len() >= PLACES && !self.0.contains_key(&place) {
            self.0.shift_remove_index(0);
        }
        self.0.entry(place).or_default().push(gone);
    }

    /// The counters of a publication that is back.
    pub fn counters(&self, to: IpAddr, criteria: Criteria, back: &VrFibEntry) -> Option<Arc<Counters>> {
        let publication = (&back.listener, back.generation);
        let gone =
            self.at(to, criteria).iter().find(|gone| (&gone.entry.listener, gone.entry.generation) == publication);
        gone.map(|gone| Arc::clone(&gone.counters))
    }

    /// Entries answer there again.
    pub fn forget(&mut self, to: IpAddr, criteria: Criteria) {
        self.0.shift_remove(&(to, criteria));
    }

    pub fn at(&self, to: IpAddr, criteria: Criteria) -> &[Gone] {
        self.0.get(&(to, criteria)).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn all(&self) -> impl Iterator<Item = &Gone> {
        self.0.values().flatten()
    }
}
