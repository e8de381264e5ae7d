//! Copies of the database for the vrFIBs: what each VR's processes were told, and what has changed since.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use ipc::{Criteria, Pathname, VrId};
use vr_api::manager::{InterVrInterface, VrFibEntry, VrFibUpdate};

use super::connections::{Database, VrFibContent};

/// What the processes of every VR were last told.
#[derive(Debug, Default)]
pub struct Distribution {
    told: BTreeMap<VrId, VrFibContent>,
}

impl Distribution {
    /// The update that brings the processes of `vr` up to date; `None`: they are.
    pub fn refresh(&mut self, database: &Database, vr: VrId) -> Option<VrFibUpdate> {
        let new = database.vrfib_of(vr);
        let old = self.told.insert(vr, new.clone()).unwrap_or_default();
        let interface_gone = old.interfaces.iter().any(|o| !new.interfaces.iter().any(|n| n.name == o.name));
        if interface_gone {
            return Some(VrFibUpdate::Snapshot { interfaces: new.interfaces, entries: new.entries });
        }
        change(&old, new)
    }

    /// Everything, for a process of `vr` that is new.
    pub fn snapshot(&mut self, database: &Database, vr: VrId) -> VrFibUpdate {
        let content = self.told.entry(vr).or_insert_with(|| database.vrfib_of(vr));
        VrFibUpdate::Snapshot { interfaces: content.interfaces.clone(), entries: content.entries.clone() }
    }

    /// The interfaces alone, for processes of `vr` that are told everything next.
    pub fn interfaces(&self, vr: VrId) -> Option<VrFibUpdate> {
        let interfaces = self.told.get(&vr)?.interfaces.clone();
        (!interfaces.is_empty()).then_some(VrFibUpdate::Change { interfaces, added: Vec::new(), removed: Vec::new() })
    }

    /// Forgets VRs that are gone.
    pub fn retain(&mut self, exists: impl Fn(VrId) -> bool) {
        self.told.retain(|vr, _| exists(*vr));
    }
}

/// An update in up to two parts, of which the first brings no way to anybody.
pub fn interfaces_first(update: VrFibUpdate) -> impl Iterator<Item = VrFibUpdate> {
    let (interfaces, rest) = match update {
        VrFibUpdate::Snapshot { interfaces, entries } => {
            let first = VrFibUpdate::Change { interfaces: interfaces.clone(), added: Vec::new(), removed: Vec::new() };
            (first, Some(VrFibUpdate::Snapshot { interfaces, entries }))
        }
        VrFibUpdate::Change { interfaces, added, removed } if interfaces.is_empty() || added.is_empty() => {
            (VrFibUpdate::Change { interfaces, added, removed }, None)
        }
        VrFibUpdate::Change { interfaces, added, removed } => {
            let first = VrFibUpdate::Change { interfaces, added: Vec::new(), removed };
            (first, Some(VrFibUpdate::Change { interfaces: Vec::new(), added, removed: Vec::new() }))
        }
    };
    std::iter::once(interfaces).chain(rest)
}

type Key = (IpAddr, Pathname);
/// The entries that a look-up finds together, the one that answers first.
type Ways<'a> = HashMap<(IpAddr, Option<Criteria>), Vec<&'a VrFibEntry>>;

fn change(old: &VrFibContent, new: VrFibContent) -> Option<VrFibUpdate> {
    let key = |entry: &VrFibEntry| -> Key { (entry.to, entry.listener.clone()) };
    let (before, after) = (ways(old), ways(&new));
    let nothing = Vec::new();
    let (mut removed, mut added): (Vec<Key>, Vec<VrFibEntry>) = (Vec::new(), Vec::new());
    for place in before.keys().filter(|place| !after.contains_key(*place)) {
        removed.extend(before[place].iter().map(|entry| key(entry)));
    }
    // In the order of the new content, so that what is told does not depend on a hash.
    let mut told = HashSet::new();
    for place in new.entries.iter().map(place).filter(|place| told.insert(*place)) {
        let (old, new) = (before.get(&place).unwrap_or(&nothing), &after[&place]);
        let stays = |entry: &&&VrFibEntry| new.iter().any(|other| other.listener == entry.listener);
        let (kept, gone): (Vec<&&VrFibEntry>, Vec<&&VrFibEntry>) = old.iter().partition(stays);
        let in_place = kept.iter().zip(new).all(|(old, new)| old.listener == new.listener);
        if in_place {
            removed.extend(gone.into_iter().map(|entry| key(entry)));
            added.extend(new.iter().filter(|entry| !old.contains(entry)).map(|entry| (*entry).clone()));
        } else {
            // A new one comes behind those that are there: for another order all are told anew.
            removed.extend(old.iter().map(|entry| key(entry)));
            added.extend(new.iter().map(|entry| (*entry).clone()));
        }
    }
    let interfaces: Vec<InterVrInterface> =
        new.interfaces.iter().filter(|interface| !old.interfaces.contains(interface)).cloned().collect();
    let same = removed.is_empty() && added.is_empty() && interfaces.is_empty();
    (!same).then_some(VrFibUpdate::Change { interfaces, added, removed })
}

fn ways(content: &VrFibContent) -> Ways<'_> {
    let mut ways = Ways::new();
    for entry in &content.entries {
        let together = ways.entry(place(entry)).or_default();
        // A process that listens at an address and at all of them has one entry.
        if !together.iter().any(|known| known.listener == entry.listener) {
            together.push(entry);
        }
    }
    ways
}

fn place(entry: &VrFibEntry) -> (IpAddr, Option<Criteria>) {
    let criteria = match &entry.listener {
        Pathname::Endpoint { criteria, .. } => Some(*criteria),
        Pathname::Service { .. } => None,
    };
    (entry.to, criteria)
}
