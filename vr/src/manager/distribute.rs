//! Copies of the database for the vrFIBs: what each VR's processes were told, and what has changed since.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipc::{Pathname, VrId};
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

fn change(old: &VrFibContent, new: VrFibContent) -> Option<VrFibUpdate> {
    type Key = (IpAddr, Pathname);
    let key = |entry: &VrFibEntry| -> Key { (entry.to, entry.listener.clone()) };
    let before: HashMap<Key, &VrFibEntry> = old.entries.iter().map(|entry| (key(entry), entry)).collect();
    let after: HashMap<Key, &VrFibEntry> = new.entries.iter().map(|entry| (key(entry), entry)).collect();
    let removed: Vec<Key> = old.entries.iter().map(key).filter(|key| !after.contains_key(key)).collect();
    let added: Vec<VrFibEntry> =
        new.entries.iter().filter(|entry| before.get(&key(entry)) != Some(entry)).cloned().collect();
    let interfaces: Vec<InterVrInterface> =
        new.interfaces.iter().filter(|interface| !old.interfaces.contains(interface)).cloned().collect();
    let same = removed.is_empty() && added.is_empty() && interfaces.is_empty();
    (!same).then_some(VrFibUpdate::Change { interfaces, added, removed })
}
