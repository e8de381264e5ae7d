//! The table of all paths: the Adj-RIBs-In of all neighbors in one place, and the Loc-RIB as the mark on the best path.
//! RFC 4271 section 3.2.
//!
//! A path is stored as the neighbor sent it. Whether the import policy takes it is a flag, so that a changed policy
//! works on what is here, without asking the neighbor again.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::decision;
use crate::next_hop::NextHops;
use crate::packet::{Attributes, PeerKind};

/// The neighbor behind a path, as its session knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub remote_as: u32,
    /// Its BGP Identifier.
    pub router_id: Ipv4Addr,
    /// Internal or external.
    pub kind: PeerKind,
}

/// Where a path comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// `network` of our own configuration.
    Local,
    /// A neighbor.
    Peer(Arc<Peer>),
}

/// A way to a prefix.
#[derive(Debug, Clone)]
pub struct Path {
    /// Shared with all paths that have the same.
    pub attributes: Arc<Attributes>,
    /// Who told.
    pub source: Source,
    /// Whether the import policy takes it.
    pub accepted: bool,
}

impl Path {
    /// The neighbor behind it.
    pub fn peer(&self) -> Option<&Peer> {
        match &self.source {
            Source::Local => None,
            Source::Peer(peer) => Some(peer),
        }
    }

    /// The neighbor's address, which tells the paths to a prefix apart.
    pub fn from(&self) -> Option<IpAddr> {
        self.peer().map(|peer| peer.address)
    }

    /// Internal or external; `None` for our own.
    pub fn kind(&self) -> Option<PeerKind> {
        self.peer().map(|peer| peer.kind)
    }

    fn metric(&self, next_hops: &NextHops) -> Option<u32> {
        match (&self.source, self.accepted) {
            (_, false) => None,
            (Source::Local, true) => Some(0),
            (Source::Peer(_), true) => next_hops.metric(self.attributes.next_hop),
        }
    }

    fn same(&self, other: &Path) -> bool {
        self.from() == other.from() && Arc::ptr_eq(&self.attributes, &other.attributes)
    }
}

/// The paths to a prefix.
#[derive(Debug, Default)]
pub struct Destination {
    paths: Vec<Path>,
    best: Option<usize>,
    /// Whether the RIB has our route.
    pub installed: bool,
}

impl Destination {
    /// All paths.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The best one.
    pub fn best(&self) -> Option<&Path> {
        self.paths.get(self.best?)
    }

    fn position(&self, from: Option<IpAddr>) -> Option<usize> {
        self.paths.iter().position(|path| path.from() == from)
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct LocRib {
    destinations: HashMap<Ipv4Net, Destination>,
    changed: Vec<Ipv4Net>,
}

impl LocRib {
    /// A path, new or in place of the one from the same source. Returns whether the source had none.
    pub fn announce(&mut self, prefix: Ipv4Net, path: Path, next_hops: &NextHops) -> bool {
        let destination = self.destinations.entry(prefix).or_default();
        let before = destination.best().cloned();
        let new = match destination.position(path.from()) {
            Some(position) => {
                destination.paths[position] = path;
                false
            }
            None => {
                // One path is the rule: room for no more than that.
                destination.paths.reserve_exact(usize::from(destination.paths.is_empty()));
                destination.paths.push(path);
                true
            }
        };
        reconsider(prefix, destination, before, next_hops, &mut self.changed);
        new
    }

    /// A source has no path any more. Returns whether it had one.
    pub fn withdraw(&mut self, prefix: Ipv4Net, from: Option<IpAddr>, next_hops: &NextHops) -> bool {
        let Some(destination) = self.destinations.get_mut(&prefix) else { return false };
        let Some(position) = destination.position(from) else { return false };
        let before = destination.best().cloned();
        destination.paths.swap_remove(position);
        destination.best = None;
        reconsider(prefix, destination, before, next_hops, &mut self.changed);
        true
    }

    /// A neighbor has no paths any more.
    pub fn withdraw_all(&mut self, from: IpAddr, next_hops: &NextHops) {
        for (prefix, destination) in &mut self.destinations {
            let Some(position) = destination.position(Some(from)) else { continue };
            let before = destination.best().cloned();
            destination.paths.swap_remove(position);
            destination.best = None;
            reconsider(*prefix, destination, before, next_hops, &mut self.changed);
        }
    }

    /// A neighbor's import policy changed.
    pub fn set_accepted(&mut self, from: IpAddr, accepted: bool, next_hops: &NextHops) {
        for (prefix, destination) in &mut self.destinations {
            let Some(position) = destination.position(Some(from)) else { continue };
            let before = destination.best().cloned();
            destination.paths[position].accepted = accepted;
            reconsider(*prefix, destination, before, next_hops, &mut self.changed);
        }
    }

    /// The RIB said something new about these next hops.
    pub fn next_hops_changed(&mut self, changed: &HashSet<Ipv4Addr>, next_hops: &NextHops) {
        for (prefix, destination) in &mut self.destinations {
            if destination.paths.iter().any(|path| changed.contains(&path.attributes.next_hop)) {
                let before = destination.best().cloned();
                reconsider(*prefix, destination, before, next_hops, &mut self.changed);
            }
        }
    }

    /// The next hops of all paths.
    pub fn used_next_hops(&self) -> HashSet<Ipv4Addr> {
        self.destinations
            .values()
            .flat_map(|destination| &destination.paths)
            .map(|path| path.attributes.next_hop)
            .collect()
    }

    /// Takes the prefixes whose best path changed, each once, in order.
    pub fn take_changed(&mut self) -> Vec<Ipv4Net> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// The paths to a prefix.
    pub fn get(&self, prefix: Ipv4Net) -> Option<&Destination> {
        self.destinations.get(&prefix)
    }

    /// Shows the paths to a prefix to whoever must know of a change; forgets a prefix without paths afterwards.
    pub fn tell(&mut self, prefix: Ipv4Net, to: impl FnOnce(&mut Destination)) {
        let Some(destination) = self.destinations.get_mut(&prefix) else { return };
        to(destination);
        if destination.paths.is_empty() {
            self.destinations.remove(&prefix);
        }
    }

    /// All prefixes, in order.
    pub fn prefixes(&self) -> Vec<Ipv4Net> {
        let mut prefixes: Vec<_> = self.destinations.keys().copied().collect();
        prefixes.sort_unstable();
        prefixes
    }
}

/// Chooses the best path again, and notes the prefix if that is another one than before.
fn reconsider(
    prefix: Ipv4Net,
    destination: &mut Destination,
    before: Option<Path>,
    next_hops: &NextHops,
    changed: &mut Vec<Ipv4Net>,
) {
    destination.best = decision::best(&destination.paths, |path| path.metric(next_hops));
    let same = match (&before, destination.best()) {
        (None, None) => true,
        (Some(before), Some(after)) => before.same(after),
        (Some(_), None) | (None, Some(_)) => false,
    };
    // Without paths it is forgotten when changes are taken.
    if !same || destination.paths.is_empty() {
        changed.push(prefix);
    }
}
