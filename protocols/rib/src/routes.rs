//! The table, its resolution and the selection of best routes, kept consistent change by change.
//!
//! Changes are gathered (`put`, `take`, interfaces, trackers) and put in force together by [`Routes::commit`], in one
//! pass without iteration: what a next hop resolves to depends on what is offered, not on what was selected (see
//! [`resolve`](crate::resolve)), so first the evaluations that the changes concern are made anew, then the sets of
//! next hops with these addresses, then the prefixes with these sets are selected anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use sdk::core::Time;
use sdk::rib::{NextHop, Unreached};

use crate::hops::{FibHops, HopSetId};
use crate::interfaces::{InterfaceChanges, Interfaces};
use crate::protocols::{Epoch, ProtocolId, Protocols};
use crate::resolve::{Key, Resolution, Resolver, View, resolve_set, same, unreached};
use crate::table::{Best, Candidate, Offer, Source, Table};

/// All routes of a VR and what they come to.
#[derive(Debug, Default)]
pub struct Routes {
    /// What is offered and in force.
    pub table: Table,
    /// The interfaces.
    pub interfaces: Interfaces,
    resolver: Resolver,
    /// Evaluations that only the routes to one prefix use, because they must not lead through themselves.
    private: BTreeMap<IpNet, BTreeSet<IpAddr>>,
    tracked_addresses: BTreeSet<IpAddr>,
    tracked_prefixes: BTreeSet<IpNet>,
    /// Whether somebody passes on routes of others, and so looks at every prefix that was selected anew.
    pub redistributed: bool,
    changes: Changes,
}

/// What is not yet in force.
#[derive(Debug, Default)]
struct Changes {
    /// Prefixes whose offers changed, in any order.
    dirty: Vec<IpNet>,
    /// Addresses to be evaluated for the first time.
    fresh: BTreeSet<IpAddr>,
    /// Sets of next hops to be resolved anew.
    sets: BTreeSet<HopSetId>,
    /// Addresses that may have lost their last user.
    released: BTreeSet<IpAddr>,
}

/// What came into force.
#[derive(Debug, Default)]
pub struct Commit {
    /// Prefixes that packets to now go elsewhere, or nowhere.
    pub forwarding: Vec<IpNet>,
    /// Tracked addresses that are reached otherwise than before.
    pub addresses: BTreeSet<IpAddr>,
    /// Tracked prefixes that were looked at.
    pub prefixes: Vec<IpNet>,
    /// All prefixes that were looked at, where somebody passes on routes of others.
    pub selected: Vec<IpNet>,
}

impl Routes {
    /// Offers a route. Returns the life of the protocol in which it was offered before.
    pub fn put(&mut self, now: Time, prefix: IpNet, offer: Offer, protocols: &Protocols) -> Option<Epoch> {
        let put = self.table.put(now, prefix, offer, protocols);
        if put.changed {
            self.changes.dirty.push(prefix);
            self.changes.released.extend(put.released);
        }
        if put.hops.new {
            self.changes.sets.insert(put.hops.id);
            let set = self.table.hop_sets.get(put.hops.id);
            for hop in set.iter().flat_map(|set| set.hops.iter()) {
                if let NextHop::Address(address) = hop
                    && self.resolver.get(Key::shared(*address)).is_none()
                {
                    self.changes.fresh.insert(*address);
                }
            }
        }
        put.before
    }

    /// Takes a route back. Returns the life of the protocol in which it was offered, if it was there.
    pub fn take(&mut self, prefix: IpNet, source: Source) -> Option<Epoch> {
        let taken = self.table.take(prefix, source)?;
        self.changes.dirty.push(prefix);
        self.changes.released.extend(taken.released);
        Some(taken.epoch)
    }

    /// Interfaces changed: their connected routes, what leads over them, and which addresses are own.
    pub fn interfaces_changed(&mut self, now: Time, changes: InterfaceChanges, protocols: &Protocols) {
        let source = Source::of(ProtocolId::CONNECTED);
        for prefix in changes.disconnected {
            self.take(prefix, source);
        }
        for (prefix, interface) in changes.connected {
            let hops = vec![NextHop::Interface(interface)];
            let offer = Offer { source, distance: 0, metric: 0, tag: 0, hops, epoch: Epoch::default() };
            self.put(now, prefix, offer, protocols);
        }
        let mut concerned: Vec<HopSetId> =
            changes.moved.iter().flat_map(|interface| self.table.hop_sets.with_interface(interface)).collect();
        if !changes.own.is_empty() {
            concerned.extend(self.table.hop_sets.with_neighbor(&changes.own));
        }
        for id in concerned {
            self.changes.sets.insert(id);
            let prefixes = self.table.hop_sets.get(id).map(|set| &set.prefixes);
            self.changes.dirty.extend(prefixes.into_iter().flatten());
        }
        self.changes.dirty.extend(changes.own.into_iter().map(IpNet::from));
    }

    /// An address is to be kept evaluated.
    pub fn track_address(&mut self, address: IpAddr) {
        self.tracked_addresses.insert(address);
        if self.resolver.get(Key::shared(address)).is_none() {
            self.changes.fresh.insert(address);
        }
    }

    /// No longer.
    pub fn untrack_address(&mut self, address: IpAddr) {
        self.tracked_addresses.remove(&address);
        self.changes.released.insert(address);
    }

    /// All routes to a prefix are to be kept evaluated, not only the best.
    pub fn track_prefix(&mut self, prefix: IpNet) {
        self.tracked_prefixes.insert(prefix);
        self.changes.dirty.push(prefix);
    }

    /// No longer.
    pub fn untrack_prefix(&mut self, prefix: IpNet) {
        self.tracked_prefixes.remove(&prefix);
    }

    /// How an address is reached.
    pub fn reached(&self, address: IpAddr) -> Option<&Resolution> {
        self.resolver.reached(address)
    }

    /// How a next hop is reached for a route to `prefix`.
    pub fn reached_for(&self, address: IpAddr, prefix: IpNet) -> Option<&Resolution> {
        let private = self.resolver.get(Key { address, excluding: Some(prefix) });
        private.or_else(|| self.resolver.get(Key::shared(address)))?.resolution.as_ref()
    }

    /// Why a route that is offered leads nowhere; `None`: it leads somewhere, whether it is the best or not.
    pub fn unreached(&self, prefix: IpNet, candidate: &Candidate) -> Option<Unreached> {
        if self.hops_of(prefix, candidate).is_some() {
            return None;
        }
        let set = self.table.hop_sets.get(candidate.hops)?;
        set.hops.iter().find_map(|hop| unreached(hop, &self.interfaces))
    }

    /// How many evaluations are kept.
    pub fn evaluations(&self) -> usize {
        self.resolver.len()
    }

    /// Metric of the best route to a prefix that is not of `protocol`.
    pub fn metric_without(&self, prefix: IpNet, protocol: ProtocolId) -> Option<u32> {
        let candidates = &self.table.get(prefix)?.candidates;
        let others = candidates.iter().filter(|candidate| candidate.source.protocol != protocol);
        let mut usable = others.filter(|candidate| self.hops_of(prefix, candidate).is_some());
        usable.next().map(|candidate| candidate.metric)
    }

    /// Puts all changes in force.
    pub fn commit(&mut self) -> Commit {
        let mut commit = Commit::default();
        let Changes { dirty: mut select, fresh, mut sets, released } = std::mem::take(&mut self.changes);
        in_order(&mut select);
        let mut keys: BTreeSet<Key> = fresh.into_iter().map(Key::shared).collect();
        for prefix in &select {
            keys.extend(self.resolver.affected(*prefix));
        }
        for key in keys {
            self.reevaluate(key, &mut sets, &mut select, &mut commit);
        }
        for id in sets {
            self.refresh(id, &mut select);
        }
        in_order(&mut select);
        for prefix in &select {
            if self.select(*prefix) {
                commit.forwarding.push(*prefix);
            }
            if self.tracked_prefixes.contains(prefix) {
                commit.prefixes.push(*prefix);
            }
        }
        if self.redistributed {
            commit.selected = select;
        }
        for address in released {
            let used = self.table.hop_sets.with_address(address).next().is_some();
            if !used && !self.tracked_addresses.contains(&address) {
                self.resolver.forget(Key::shared(address));
            }
        }
        commit
    }

    fn reevaluate(&mut self, key: Key, sets: &mut BTreeSet<HopSetId>, select: &mut Vec<IpNet>, commit: &mut Commit) {
        let view = View { table: &self.table, interfaces: &self.interfaces };
        let news = self.resolver.evaluate(view, key);
        match key.excluding {
            Some(prefix) if news.moved => select.push(prefix),
            Some(_) => {}
            None => {
                if news.moved || !news.consulted.is_empty() {
                    sets.extend(self.table.hop_sets.with_address(key.address));
                }
                if news.moved && self.tracked_addresses.contains(&key.address) {
                    commit.addresses.insert(key.address);
                }
                // A prefix that the evaluation newly looks at, or no more, is resolved by itself, or no more.
                select.extend(news.consulted);
            }
        }
    }

    /// Resolves a set of next hops anew; its prefixes are to be selected anew if it leads elsewhere.
    fn refresh(&mut self, id: HopSetId, select: &mut Vec<IpNet>) {
        let Some(set) = self.table.hop_sets.get(id) else { return };
        let resolver = &self.resolver;
        let resolved = resolve_set(&set.hops, &self.interfaces, |address| {
            resolver.reached(address).map(|resolution| resolution.hops.clone())
        });
        let mut consulted = BTreeSet::new();
        for hop in set.hops.iter() {
            if let NextHop::Address(address) = hop
                && let Some(evaluation) = resolver.get(Key::shared(*address))
            {
                consulted.extend(evaluation.consulted.iter().copied());
            }
        }
        let Some(set) = self.table.hop_sets.get_mut(id) else { return };
        match set.resolved == resolved {
            false => select.extend(&set.prefixes),
            // A route that must not resolve through itself may lead elsewhere though the set as a whole does not: of two
            // next hops that led to the same place, the one that is left may be the one through the route.
            true => select.extend(consulted.iter().filter(|prefix| set.prefixes.contains(*prefix))),
        }
        set.resolved = resolved;
        set.consulted = consulted.into_iter().collect();
    }

    /// Selects the best route to a prefix; whether packets go elsewhere now.
    fn select(&mut self, prefix: IpNet) -> bool {
        if self.is_private(prefix) {
            self.evaluate_private(prefix);
        }
        let Some(entry) = self.table.get(prefix) else { return false };
        let best = entry.candidates.iter().find_map(|candidate| {
            let hops = self.hops_of(prefix, candidate)?;
            Some(Best { source: candidate.source, hops })
        });
        let forwarding = match (&entry.best, &best) {
            (Some(old), Some(new)) => !same(&old.hops, &new.hops),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        let moved = forwarding || best.as_ref().map(|best| best.source) != entry.best.as_ref().map(|best| best.source);
        if moved || entry.candidates.is_empty() {
            self.table.set_best(prefix, best);
        }
        forwarding
    }

    /// Whether a route to `prefix` may have to be resolved by itself, or was until now.
    fn is_private(&self, prefix: IpNet) -> bool {
        self.resolver.consults(prefix) || self.private.contains_key(&prefix)
    }

    /// Where a route leads; `None`: nowhere now.
    fn hops_of(&self, prefix: IpNet, candidate: &Candidate) -> Option<FibHops> {
        let set = self.table.hop_sets.get(candidate.hops)?;
        if set.consulted.binary_search(&prefix).is_err() {
            return set.resolved.clone();
        }
        resolve_set(&set.hops, &self.interfaces, |address| {
            self.reached_for(address, prefix).map(|resolution| resolution.hops.clone())
        })
    }

    /// Makes the evaluations that the routes to `prefix` need for themselves, and forgets those they no longer need.
    fn evaluate_private(&mut self, prefix: IpNet) {
        let wanted = self.private_addresses(prefix);
        let had = self.private.remove(&prefix).unwrap_or_default();
        for address in had.difference(&wanted) {
            self.resolver.forget(Key { address: *address, excluding: Some(prefix) });
        }
        for address in wanted.difference(&had) {
            let view = View { table: &self.table, interfaces: &self.interfaces };
            self.resolver.evaluate(view, Key { address: *address, excluding: Some(prefix) });
        }
        if !wanted.is_empty() {
            self.private.insert(prefix, wanted);
        }
    }

    fn private_addresses(&self, prefix: IpNet) -> BTreeSet<IpAddr> {
        let mut addresses = BTreeSet::new();
        let Some(entry) = self.table.get(prefix) else { return addresses };
        for candidate in &entry.candidates {
            let Some(set) = self.table.hop_sets.get(candidate.hops) else { continue };
            if set.consulted.binary_search(&prefix).is_err() {
                continue;
            }
            for hop in set.hops.iter() {
                if let NextHop::Address(address) = hop
                    && let Some(evaluation) = self.resolver.get(Key::shared(*address))
                    && evaluation.consulted.binary_search(&prefix).is_ok()
                {
                    addresses.insert(*address);
                }
            }
        }
        addresses
    }
}

fn in_order(prefixes: &mut Vec<IpNet>) {
    prefixes.sort_unstable();
    prefixes.dedup();
}
