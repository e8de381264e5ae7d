//! Adj-RIB-Out: what a neighbor was told, and what it is told next. RFC 4271 sections 3.2 and 9.1.3.
//!
//! (The Adj-RIBs-In are the paths of `loc_rib.rs`.)

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::decision::DEFAULT_LOCAL_PREF;
use crate::loc_rib::{Path, Source};
use crate::packet::{AsWidth, Attributes, PeerKind, TooLong, encode_announcements, encode_withdrawals};

/// Sweeping starts at so many sets.
const SWEEP_FROM: usize = 1024;

/// All sets of attributes in use, each once: a million routes share some ten thousand sets. So two sets are the same if
/// they are the same allocation.
#[derive(Debug, Default)]
pub struct AttributePool {
    sets: HashSet<Arc<Attributes>>,
    sweep_at: usize,
}

impl AttributePool {
    /// The shared form of a set.
    pub fn intern(&mut self, attributes: Attributes) -> Arc<Attributes> {
        if let Some(shared) = self.sets.get(&attributes) {
            return shared.clone();
        }
        if self.sets.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.sets.retain(|set| Arc::strong_count(set) > 1);
            self.sweep_at = self.sets.len() * 2;
        }
        let shared = Arc::new(attributes);
        self.sets.insert(shared.clone());
        shared
    }
}

/// To whom routes are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// Internal or external.
    pub kind: PeerKind,
    /// Our AS.
    pub local_as: u32,
    /// Our address of the session: the next hop of what we announce to external neighbors.
    pub local_address: Ipv4Addr,
    /// Octets of AS numbers.
    pub width: AsWidth,
}

/// RFC 1997.
const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// Whether a path may be given to a neighbor of this kind, whatever its policy says.
fn may_export(path: &Path, kind: PeerKind) -> bool {
    let internal_twice = path.kind() == Some(PeerKind::Internal) && kind == PeerKind::Internal;
    let leaves = kind == PeerKind::External;
    let kept = path.attributes.has_community(NO_ADVERTISE)
        || leaves && [NO_EXPORT, NO_EXPORT_SUBCONFED].iter().any(|community| path.attributes.has_community(*community));
    !internal_twice && !kept
}

/// The attributes as a neighbor gets them: RFC 4271 section 5.1.
fn exported(path: &Path, receiver: &Receiver) -> Attributes {
    let own = matches!(path.source, Source::Local);
    let mut attributes = (*path.attributes).clone();
    if own {
        attributes.next_hop = receiver.local_address;
    }
    match receiver.kind {
        PeerKind::External => {
            attributes.as_path = attributes.as_path.prepend(receiver.local_as);
            attributes.next_hop = receiver.local_address;
            attributes.local_pref = None;
            attributes.originator_id = None;
            // Another AS's MED is not passed on (section 5.1.4).
            attributes.med = attributes.med.filter(|_| own);
        }
        PeerKind::Internal => attributes.local_pref = attributes.local_pref.or(Some(DEFAULT_LOCAL_PREF)),
    }
    attributes
}

/// What a neighbor was told, and what waits to be told.
#[derive(Debug, Default)]
pub struct AdjRibOut {
    routes: HashMap<Ipv4Net, Arc<Attributes>>,
    withdrawn: Vec<Ipv4Net>,
    /// Announcements by attributes, so that an UPDATE carries all prefixes that share them.
    groups: Vec<(Arc<Attributes>, Vec<Ipv4Net>)>,
    /// Where a set stands in `groups`, by its allocation.
    group_of: HashMap<usize, usize>,
    /// The exported form of a set, by the allocation of the original. Valid until the next flush: until then the table
    /// keeps the originals.
    exported: HashMap<usize, Arc<Attributes>>,
}

/// Result of a flush.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// UPDATEs written.
    pub messages: usize,
    /// Sets of attributes that fit no message; their prefixes are withdrawn instead.
    pub too_long: Vec<TooLong>,
}

impl AdjRibOut {
    /// Notes that the best path to a prefix is this one now (or none that the policy lets through).
    pub fn stage(&mut self, prefix: Ipv4Net, best: Option<&Path>, receiver: &Receiver, pool: &mut AttributePool) {
        let Some(path) = best.filter(|path| may_export(path, receiver.kind)) else {
            if self.routes.remove(&prefix).is_some() {
                self.withdrawn.push(prefix);
            }
            return;
        };
        let original = address(&path.attributes);
        let attributes = self.exported.entry(original).or_insert_with(|| pool.intern(exported(path, receiver))).clone();
        let sent = self.routes.insert(prefix, attributes.clone());
        if sent.is_some_and(|sent| Arc::ptr_eq(&sent, &attributes)) {
            return;
        }
        let next = self.groups.len();
        let group = *self.group_of.entry(address(&attributes)).or_insert(next);
        if group == next {
            self.groups.push((attributes, Vec::new()));
        }
        if let Some((_, prefixes)) = self.groups.get_mut(group) {
            prefixes.push(prefix);
        }
    }

    /// Writes all that waits: withdrawals first, then announcements.
    pub fn flush(&mut self, width: AsWidth, into: &mut Vec<u8>) -> Flushed {
        let mut flushed = Flushed::default();
        let mut withdrawn = std::mem::take(&mut self.withdrawn);
        let mut announcements = Vec::new();
        let mut encoded = Vec::new();
        for (attributes, prefixes) in std::mem::take(&mut self.groups) {
            encoded.clear();
            attributes.encode(width, &mut encoded);
            match encode_announcements(&encoded, &prefixes, &mut announcements) {
                Ok(messages) => flushed.messages += messages,
                Err(too_long) => {
                    flushed.too_long.push(too_long);
                    prefixes.iter().for_each(|prefix| drop(self.routes.remove(prefix)));
                    withdrawn.extend(prefixes);
                }
            }
        }
        self.group_of.clear();
        self.exported.clear();
        flushed.messages += encode_withdrawals(&withdrawn, into);
        into.append(&mut announcements);
        flushed
    }

    /// What the neighbor was told, in order.
    pub fn routes(&self) -> Vec<(Ipv4Net, &Attributes)> {
        let mut routes: Vec<_> = self.routes.iter().map(|(prefix, attributes)| (*prefix, &**attributes)).collect();
        routes.sort_unstable_by_key(|(prefix, _)| *prefix);
        routes
    }

    /// How many prefixes the neighbor was told.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether it was told none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

fn address(attributes: &Arc<Attributes>) -> usize {
    Arc::as_ptr(attributes).addr()
}
