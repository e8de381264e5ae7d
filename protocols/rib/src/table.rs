//! The routes: for each prefix what every protocol offers, best first.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use sdk::core::Time;
use sdk::rib::NextHop;

use crate::hops::{FibHops, HopSetId, HopSets, Interned};
use crate::protocols::{Epoch, ProtocolId, Protocols};

/// Who offers a route. The static protocol may offer several to one prefix, told apart by their distance; all others
/// offer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The protocol.
    pub protocol: ProtocolId,
    /// Which of its routes to the prefix.
    pub slot: u8,
}

impl Source {
    /// The one route of a protocol.
    pub fn of(protocol: ProtocolId) -> Self {
        Source { protocol, slot: 0 }
    }
}

/// A route that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// By whom.
    pub source: Source,
    /// Administrative distance: the lowest wins.
    pub distance: u8,
    /// Metric: among equal distances the lowest wins.
    pub metric: u32,
    /// Tag.
    pub tag: u32,
    /// Where to.
    pub hops: HopSetId,
    /// Since when it is as it is.
    pub since: Time,
    /// The life of the protocol in which it was last offered.
    pub epoch: Epoch,
}

/// The route in force for a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Best {
    /// Whose it is.
    pub source: Source,
    /// What the FIB forwards to.
    pub hops: FibHops,
}

/// A prefix.
#[derive(Debug, Default)]
pub struct Entry {
    /// Best first, whether their next hops are reached or not.
    pub candidates: Vec<Candidate>,
    /// The first whose next hops are reached.
    pub best: Option<Best>,
}

impl Entry {
    /// The candidate in force.
    pub fn selected(&self) -> Option<(&Candidate, &Best)> {
        let best = self.best.as_ref()?;
        self.candidates.iter().find(|candidate| candidate.source == best.source).map(|candidate| (candidate, best))
    }
}

/// A route to be put into the table.
#[derive(Debug)]
pub struct Offer {
    /// By whom.
    pub source: Source,
    /// Administrative distance.
    pub distance: u8,
    /// Metric.
    pub metric: u32,
    /// Tag.
    pub tag: u32,
    /// Where to.
    pub hops: Vec<NextHop>,
    /// Present life of the protocol.
    pub epoch: Epoch,
}

/// What putting a route into the table did.
#[derive(Debug)]
pub struct Put {
    /// The life in which the protocol last offered a route here; `None`: it had none.
    pub before: Option<Epoch>,
    /// Something is different now.
    pub changed: bool,
    /// Its next hops.
    pub hops: Interned,
    /// Next-hop addresses that no route uses any more.
    pub released: Vec<IpAddr>,
}

/// What taking a route out of the table did.
#[derive(Debug)]
pub struct Taken {
    /// The life in which it was last offered.
    pub epoch: Epoch,
    /// Next-hop addresses that no route uses any more.
    pub released: Vec<IpAddr>,
}

/// All routes of a VR.
#[derive(Debug, Default)]
pub struct Table {
    entries: JointPrefixMap<IpNet, Entry>,
    /// Their next hops.
    pub hop_sets: HopSets,
}

impl Table {
    /// Puts a route in, in place of the one from the same source.
    pub fn put(&mut self, now: Time, prefix: IpNet, offer: Offer, protocols: &Protocols) -> Put {
        let hops = self.hop_sets.intern(offer.hops);
        let entry = self.entries.entry(prefix).or_default();
        let known = entry.candidates.iter_mut().find(|candidate| candidate.source == offer.source);
        let mut before = None;
        if let Some(candidate) = known {
            before = Some(candidate.epoch);
            candidate.epoch = offer.epoch;
            let as_it_was = (candidate.distance, candidate.metric, candidate.tag, candidate.hops);
            if as_it_was == (offer.distance, offer.metric, offer.tag, hops.id) {
                return Put { before, changed: false, hops, released: Vec::new() };
            }
        }
        let Offer { source, distance, metric, tag, epoch, .. } = offer;
        let candidate = Candidate { source, distance, metric, tag, hops: hops.id, since: now, epoch };
        let replaced = entry.place(candidate, protocols);
        let unused = replaced.filter(|old| entry.candidates.iter().all(|candidate| candidate.hops != old.hops));
        self.hop_sets.bind(hops.id, prefix);
        let released = unused.map_or_else(Vec::new, |old| self.hop_sets.unbind(old.hops, prefix));
        Put { before, changed: true, hops, released }
    }

    /// Takes a route out. The prefix stays until [`set_best`](Self::set_best).
    pub fn take(&mut self, prefix: IpNet, source: Source) -> Option<Taken> {
        let entry = self.entries.get_mut(&prefix)?;
        let index = entry.candidates.iter().position(|candidate| candidate.source == source)?;
        let old = entry.candidates.remove(index);
        let unused = entry.candidates.iter().all(|candidate| candidate.hops != old.hops);
        let released = if unused { self.hop_sets.unbind(old.hops, prefix) } else { Vec::new() };
        Some(Taken { epoch: old.epoch, released })
    }

    /// A prefix.
    pub fn get(&self, prefix: IpNet) -> Option<&Entry> {
        self.entries.get(&prefix)
    }

    /// Says which route is in force, and forgets the prefix if it has no routes left.
    pub fn set_best(&mut self, prefix: IpNet, best: Option<Best>) {
        if let Some(entry) = self.entries.get_mut(&prefix) {
            entry.best = best;
            if entry.candidates.is_empty() {
                self.entries.remove(&prefix);
            }
        }
    }

    /// Prefixes that contain an address, longest first.
    pub fn covering(&self, address: IpAddr) -> impl Iterator<Item = (IpNet, &Entry)> {
        let mut found: Vec<_> = self.entries.cover(&IpNet::from(address)).collect();
        found.reverse();
        found.into_iter()
    }

    /// Prefixes in order, from `start` on.
    pub fn from(&self, start: IpNet) -> impl Iterator<Item = (IpNet, &Entry)> {
        self.entries.iter_from(&start, true)
    }

    /// All prefixes in order.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, &Entry)> {
        self.entries.iter()
    }

    /// Prefixes with a route of a protocol that fulfils a condition.
    pub fn prefixes_where(&self, protocol: ProtocolId, wanted: impl Fn(&Candidate) -> bool) -> Vec<IpNet> {
        let matches = |candidate: &Candidate| candidate.source.protocol == protocol && wanted(candidate);
        self.iter().filter(|(_, entry)| entry.candidates.iter().any(matches)).map(|(prefix, _)| prefix).collect()
    }
}

impl Entry {
    /// Puts a candidate at its place; returns the one from the same source that it replaces.
    fn place(&mut self, candidate: Candidate, protocols: &Protocols) -> Option<Candidate> {
        let old = self.candidates.iter().position(|other| other.source == candidate.source);
        let old = old.map(|index| self.candidates.remove(index));
        let place = self.candidates.partition_point(|other| order(other, &candidate, protocols) == Ordering::Less);
        self.candidates.insert(place, candidate);
        old
    }
}

/// Better first: distance, metric, then an order that never changes.
fn order(a: &Candidate, b: &Candidate, protocols: &Protocols) -> Ordering {
    (a.distance, a.metric)
        .cmp(&(b.distance, b.metric))
        .then_with(|| protocols.order(a.source.protocol, b.source.protocol))
        .then_with(|| a.source.slot.cmp(&b.source.slot))
}
