//! Sets of next hops, each kept once, however many routes share it.
//!
//! A million routes of BGP have a few hundred sets of next hops. A set knows its routes, so that a change of the way
//! to a next hop costs what it changes and no scan of the table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipc::InterfaceName;
use ipnet::IpNet;
use sdk::rib::NextHop;
use stack_api::fib::FibNextHop;

/// Ways that need no further look-up, sorted, at least one. Shared by all routes that use them.
pub type FibHops = Arc<[FibNextHop]>;

/// Number of a [`HopSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopSetId(u32);

/// Next hops as protocols offer them, and what they come to.
#[derive(Debug)]
pub struct HopSet {
    /// Sorted, without duplicates.
    pub hops: Arc<[NextHop]>,
    /// Prefixes with a route to these hops. Their order says nothing: whoever goes through them sorts.
    pub prefixes: HashSet<IpNet>,
    /// Where packets go in the end; `None` while no hop is reached. Holds for every prefix outside of `consulted`.
    pub resolved: Option<FibHops>,
    /// Prefixes whose routes were looked at for `resolved`, sorted: a route to one of these must not lead through
    /// itself and is resolved by itself.
    pub consulted: Vec<IpNet>,
}

/// All sets.
#[derive(Debug, Default)]
pub struct HopSets {
    sets: Vec<Option<HopSet>>,
    free: Vec<HopSetId>,
    by_hops: HashMap<Arc<[NextHop]>, HopSetId>,
    by_address: BTreeMap<IpAddr, BTreeSet<HopSetId>>,
    by_interface: BTreeMap<InterfaceName, BTreeSet<HopSetId>>,
}

/// A set that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interned {
    /// Its number.
    pub id: HopSetId,
    /// It was made just now and is not resolved.
    pub new: bool,
}

impl HopSets {
    /// The set of these hops.
    pub fn intern(&mut self, hops: Vec<NextHop>) -> Interned {
        let mut hops = hops;
        hops.sort_unstable();
        hops.dedup();
        if let Some(&id) = self.by_hops.get(hops.as_slice()) {
            return Interned { id, new: false };
        }
        let hops: Arc<[NextHop]> = hops.into();
        let set = HopSet { hops: Arc::clone(&hops), prefixes: HashSet::new(), resolved: None, consulted: Vec::new() };
        let id = self.store(set);
        for hop in hops.iter() {
            match hop {
                NextHop::Address(address) => _ = self.by_address.entry(*address).or_default().insert(id),
                NextHop::OnInterface(interface, _) | NextHop::Interface(interface) => {
                    self.by_interface.entry(interface.clone()).or_default().insert(id);
                }
                NextHop::Discard => {}
            }
        }
        self.by_hops.insert(hops, id);
        Interned { id, new: true }
    }

    fn store(&mut self, set: HopSet) -> HopSetId {
        match self.free.pop() {
            Some(id) => {
                self.sets[id.0 as usize] = Some(set);
                id
            }
            None => {
                self.sets.push(Some(set));
                HopSetId((self.sets.len() - 1) as u32)
            }
        }
    }

    /// A set; `None` if its last route is gone.
    pub fn get(&self, id: HopSetId) -> Option<&HopSet> {
        self.sets.get(id.0 as usize)?.as_ref()
    }

    /// A set, to be changed.
    pub fn get_mut(&mut self, id: HopSetId) -> Option<&mut HopSet> {
        self.sets.get_mut(id.0 as usize)?.as_mut()
    }

    /// A route to `prefix` uses the set.
    pub fn bind(&mut self, id: HopSetId, prefix: IpNet) {
        if let Some(set) = self.get_mut(id) {
            set.prefixes.insert(prefix);
        }
    }

    /// No route to `prefix` uses the set any more. Returns the next-hop addresses that no set has any more.
    pub fn unbind(&mut self, id: HopSetId, prefix: IpNet) -> Vec<IpAddr> {
        match self.get_mut(id) {
            Some(set) => {
                set.prefixes.remove(&prefix);
                if set.prefixes.is_empty() { self.forget(id) } else { Vec::new() }
            }
            None => Vec::new(),
        }
    }

    fn forget(&mut self, id: HopSetId) -> Vec<IpAddr> {
        let Some(set) = self.sets.get_mut(id.0 as usize).and_then(Option::take) else { return Vec::new() };
        self.free.push(id);
        self.by_hops.remove(&set.hops);
        let mut released = Vec::new();
        for hop in set.hops.iter() {
            match hop {
                NextHop::Address(address) => {
                    if leave(&mut self.by_address, address, id) {
                        released.push(*address);
                    }
                }
                NextHop::OnInterface(interface, _) | NextHop::Interface(interface) => {
                    leave(&mut self.by_interface, interface, id);
                }
                NextHop::Discard => {}
            }
        }
        released
    }

    /// Sets with this address.
    pub fn with_address(&self, address: IpAddr) -> impl Iterator<Item = HopSetId> {
        self.by_address.get(&address).into_iter().flatten().copied()
    }

    /// Sets with a hop on this interface.
    pub fn with_interface(&self, interface: &InterfaceName) -> impl Iterator<Item = HopSetId> {
        self.by_interface.get(interface).into_iter().flatten().copied()
    }

    /// Sets with a neighbor on an interface that has one of these addresses. Goes through all: own addresses change
    /// seldom.
    pub fn with_neighbor(&self, addresses: &BTreeSet<IpAddr>) -> Vec<HopSetId> {
        let has = |hop: &NextHop| matches!(hop, NextHop::OnInterface(_, address) if addresses.contains(address));
        let concerned = self.by_hops.iter().filter(|(hops, _)| hops.iter().any(has));
        concerned.map(|(_, id)| *id).collect()
    }

    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.by_hops.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_hops.is_empty()
    }
}

/// Takes `id` out of the set under `key`; whether it was the last one.
fn leave<K: Ord>(index: &mut BTreeMap<K, BTreeSet<HopSetId>>, key: &K, id: HopSetId) -> bool {
    let Some(ids) = index.get_mut(key) else { return false };
    ids.remove(&id);
    let empty = ids.is_empty();
    if empty {
        index.remove(key);
    }
    empty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hops_in_any_order_are_one_set_until_its_last_route_is_gone() {
        let mut sets = HopSets::default();
        let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|text| NextHop::Address(text.parse().unwrap()));
        let [p, q] = ["1.0.0.0/8", "2.0.0.0/8"].map(|text| text.parse::<IpNet>().unwrap());
        let first = sets.intern(vec![a.clone(), b.clone()]);
        assert!(first.new);
        assert_eq!(sets.intern(vec![b.clone(), a.clone(), b]), Interned { id: first.id, new: false });
        sets.bind(first.id, p);
        sets.bind(first.id, q);
        assert_eq!(sets.unbind(first.id, p), Vec::<IpAddr>::new());
        assert_eq!(sets.unbind(first.id, q).len(), 2);
        assert!(sets.is_empty() && sets.get(first.id).is_none());
    }
}
