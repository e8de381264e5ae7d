//! Recursive resolution: from a next hop's address down to neighbors on interfaces.
//!
//! An address resolves through the longest prefix that contains it and has a route that leads somewhere: through its
//! best such route, whose next hops are resolved in the same manner. No prefix is used twice on one way, so nothing
//! resolves through itself; a more specific prefix that leads nowhere hides nothing.
//!
//! The outcome is a function of the routes that are offered and the interfaces that are up, never of what was in force
//! before: no order of events leads to another table, and nothing can oscillate. An [`Evaluation`] remembers what it
//! looked at, so that one can tell which changes concern it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sdk::rib::{NextHop, Unreached};
use stack_api::fib::FibNextHop;

use crate::hops::FibHops;
use crate::interfaces::Interfaces;
use crate::protocols::ProtocolId;
use crate::table::{Candidate, Table};

/// Recursions on one way. Real networks use three: BGP, an interior protocol or static route, a connected subnet.
pub const MAX_DEPTH: usize = 8;

/// Look-ups for one address, so that no set of routes, however knotted, costs more than microseconds.
const MAX_LOOKUPS: usize = 1024;

/// What routes resolve against.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The routes.
    pub table: &'a Table,
    /// The interfaces.
    pub interfaces: &'a Interfaces,
}

/// How an address is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Where packets go.
    pub hops: FibHops,
    /// Metric of the route that contains the address.
    pub metric: u32,
    /// The address lies in a connected subnet.
    pub connected: bool,
}

/// A resolution and what was looked at on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evaluation {
    /// The outcome; `None`: not reached.
    pub resolution: Option<Resolution>,
    /// Prefixes whose routes were looked at, sorted.
    pub consulted: Vec<IpNet>,
    /// Addresses that were looked up, sorted. A change of a prefix that contains none of them does not matter.
    pub addresses: Vec<IpAddr>,
}

/// Resolves an address for a route to `excluding` (or for nobody's), which it must not lead through.
pub fn evaluate(view: View<'_>, address: IpAddr, excluding: Option<IpNet>) -> Evaluation {
    let mut walk = Walk { view, path: excluding.into_iter().collect(), evaluation: Evaluation::default() };
    let found = walk.address(address, 0);
    let Walk { mut evaluation, .. } = walk;
    evaluation.resolution = found.map(|found| Resolution {
        hops: found.hops.into_hops(),
        metric: found.metric,
        connected: found.connected,
    });
    evaluation.consulted.sort_unstable();
    evaluation.consulted.dedup();
    evaluation.addresses.sort_unstable();
    evaluation.addresses.dedup();
    evaluation
}

/// Hops of several ways.
#[derive(Debug, Default)]
pub struct Union {
    via: Vec<FibNextHop>,
    discard: bool,
}

impl Union {
    /// One more.
    pub fn add(&mut self, hop: FibNextHop) {
        match hop {
            FibNextHop::Via { .. } => self.via.push(hop),
            FibNextHop::Discard => self.discard = true,
        }
    }

    /// All of an other.
    pub fn extend(&mut self, hops: &[FibNextHop]) {
        hops.iter().cloned().for_each(|hop| self.add(hop));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.via.is_empty() && !self.discard
    }

    /// The union: sorted, once each. Nothing is dropped while there is another way.
    pub fn into_hops(self) -> FibHops {
        let mut hops = self.via;
        hops.sort_unstable();
        hops.dedup();
        if hops.is_empty() && self.discard {
            hops.push(FibNextHop::Discard);
        }
        hops.into()
    }
}

/// A hop that needs no look-up, used for `destination` (or for whatever is routed to it); `None` for one that does,
/// whose interface is down, or that is this router itself.
pub fn direct(hop: &NextHop, destination: Option<IpAddr>, interfaces: &Interfaces) -> Option<FibNextHop> {
    let (interface, address) = match hop {
        NextHop::Address(_) => return None,
        NextHop::Discard => return Some(FibNextHop::Discard),
        NextHop::OnInterface(_, address) if interfaces.is_own(*address) => return None,
        NextHop::OnInterface(interface, address) => (interface, Some(*address)),
        NextHop::Interface(interface) => (interface, destination),
    };
    interfaces.is_up(interface).then(|| FibNextHop::Via { interface: interface.clone(), address })
}

struct Found {
    hops: Union,
    metric: u32,
    connected: bool,
}

struct Walk<'a> {
    view: View<'a>,
    /// Prefixes on the present way.
    path: Vec<IpNet>,
    evaluation: Evaluation,
}

impl Walk<'_> {
    fn address(&mut self, address: IpAddr, depth: usize) -> Option<Found> {
        if depth >= MAX_DEPTH || self.evaluation.addresses.len() >= MAX_LOOKUPS {
            return None;
        }
        self.evaluation.addresses.push(address);
        // A packet for an own address goes nowhere.
        if self.view.interfaces.is_own(address) {
            return None;
        }
        let view = self.view;
        for (prefix, entry) in view.table.covering(address) {
            if self.path.contains(&prefix) {
                continue;
            }
            self.evaluation.consulted.push(prefix);
            self.path.push(prefix);
            let found = entry.candidates.iter().find_map(|candidate| {
                let hops = self.candidate(candidate, address, depth)?;
                let connected = candidate.source.protocol == ProtocolId::CONNECTED;
                Some(Found { hops, metric: candidate.metric, connected })
            });
            self.path.pop();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn candidate(&mut self, candidate: &Candidate, destination: IpAddr, depth: usize) -> Option<Union> {
        let set = self.view.table.hop_sets.get(candidate.hops)?;
        let mut union = Union::default();
        for hop in set.hops.iter() {
            match hop {
                NextHop::Address(address) => {
                    if let Some(found) = self.address(*address, depth + 1) {
                        union.extend(&found.hops.into_hops());
                    }
                }
                NextHop::OnInterface(..) | NextHop::Interface(_) | NextHop::Discard => {
                    if let Some(hop) = direct(hop, Some(destination), self.view.interfaces) {
                        union.add(hop);
                    }
                }
            }
        }
        (!union.is_empty()).then_some(union)
    }
}

/// All evaluations that something depends on, kept current by whoever reports what changed.
#[derive(Debug, Default)]
pub struct Resolver {
    evaluations: BTreeMap<Key, Evaluation>,
    by_lookup: BTreeMap<IpAddr, BTreeSet<Key>>,
    /// Prefixes that evaluations for all routes consulted, and how many did.
    consulted: BTreeMap<IpNet, usize>,
}

/// Which evaluation: of an address, for all routes or for those to one prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The address.
    pub address: IpAddr,
    /// For routes to this prefix only, which it must not lead through.
    pub excluding: Option<IpNet>,
}

impl Key {
    /// The evaluation that all routes share which are not consulted by it.
    pub fn shared(address: IpAddr) -> Self {
        Key { address, excluding: None }
    }
}

/// What evaluating once more did.
#[derive(Debug, Default)]
pub struct Reevaluated {
    /// The outcome is another.
    pub moved: bool,
    /// Prefixes that are newly consulted, or no more.
    pub consulted: Vec<IpNet>,
}

impl Resolver {
    /// An evaluation.
    pub fn get(&self, key: Key) -> Option<&Evaluation> {
        self.evaluations.get(&key)
    }

    /// How an address is reached, as last evaluated for all routes.
    pub fn reached(&self, address: IpAddr) -> Option<&Resolution> {
        self.get(Key::shared(address))?.resolution.as_ref()
    }

    /// Evaluations that looked up an address inside of `prefix`.
    pub fn affected(&self, prefix: IpNet) -> impl Iterator<Item = Key> {
        self.by_lookup.range(prefix.network()..=prefix.broadcast()).flat_map(|(_, keys)| keys).copied()
    }

    /// Whether an evaluation for all routes looked at the routes to `prefix`.
    pub fn consults(&self, prefix: IpNet) -> bool {
        self.consulted.contains_key(&prefix)
    }

    /// Evaluates, for the first time or once more.
    pub fn evaluate(&mut self, view: View<'_>, key: Key) -> Reevaluated {
        let new = evaluate(view, key.address, key.excluding);
        let old = self.evaluations.get(&key);
        if old == Some(&new) {
            return Reevaluated::default();
        }
        let moved = old.is_none_or(|old| old.resolution != new.resolution);
        let before = old.map_or(&[][..], |old| &old.consulted);
        let consulted = before.iter().filter(|prefix| new.consulted.binary_search(prefix).is_err());
        let consulted = consulted.chain(new.consulted.iter().filter(|prefix| before.binary_search(prefix).is_err()));
        let consulted = consulted.copied().collect();
        self.forget(key);
        for address in &new.addresses {
            self.by_lookup.entry(*address).or_default().insert(key);
        }
        if key.excluding.is_none() {
            new.consulted.iter().for_each(|prefix| *self.consulted.entry(*prefix).or_default() += 1);
        }
        self.evaluations.insert(key, new);
        Reevaluated { moved, consulted }
    }

    /// Nothing depends on it any more.
    pub fn forget(&mut self, key: Key) {
        let Some(old) = self.evaluations.remove(&key) else { return };
        for prefix in old.consulted.iter().filter(|_| key.excluding.is_none()) {
            if let Some(count) = self.consulted.get_mut(prefix) {
                *count -= 1;
                if *count == 0 {
                    self.consulted.remove(prefix);
                }
            }
        }
        for address in old.addresses {
            if let Some(keys) = self.by_lookup.get_mut(&address) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.by_lookup.remove(&address);
                }
            }
        }
    }

    /// How many evaluations are kept.
    pub fn len(&self) -> usize {
        self.evaluations.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.evaluations.is_empty()
    }
}

/// Where a set of next hops leads, given how its addresses are reached.
pub fn resolve_set(
    hops: &[NextHop],
    interfaces: &Interfaces,
    mut reached: impl FnMut(IpAddr) -> Option<FibHops>,
) -> Option<FibHops> {
    if let [NextHop::Address(address)] = hops {
        return reached(*address);
    }
    let mut union = Union::default();
    for hop in hops {
        match hop {
            NextHop::Address(address) => {
                if let Some(hops) = reached(*address) {
                    union.extend(&hops);
                }
            }
            NextHop::OnInterface(..) | NextHop::Interface(_) | NextHop::Discard => {
                if let Some(hop) = direct(hop, None, interfaces) {
                    union.add(hop);
                }
            }
        }
    }
    (!union.is_empty()).then(|| union.into_hops())
}

/// What is the matter with a next hop that is known not to be reached.
pub fn unreached(hop: &NextHop, interfaces: &Interfaces) -> Option<Unreached> {
    let interface = match hop {
        NextHop::Discard => return None,
        NextHop::Address(address) | NextHop::OnInterface(_, address) if interfaces.is_own(*address) => {
            return Some(Unreached::Own(*address));
        }
        NextHop::Address(address) => return Some(Unreached::NoRoute(*address)),
        NextHop::OnInterface(interface, _) | NextHop::Interface(interface) => interface,
    };
    let of = if interfaces.exists(interface) { Unreached::Down } else { Unreached::NoInterface };
    Some(of(interface.clone()))
}

/// Whether two are equal; those that share their memory are compared at once.
pub fn same(a: &FibHops, b: &FibHops) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
