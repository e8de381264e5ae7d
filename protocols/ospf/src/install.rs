//! The table goes into the RIB: only what is different is told.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use sdk::rib::{NextHop, Route};

use crate::config::Range;
use crate::instance::Ospf;
use crate::packet::LS_INFINITY;
use crate::routes::{NetworkRoute, PathKind, Table, components};

/// Administrative distance: IOS-XR's.
const DISTANCE: u8 = 110;

/// What the RIB is told.
#[derive(Debug, Default)]
pub struct Installed {
    /// The routing table.
    pub table: Table,
    /// Ranges without a route of their own, whose packets must not come back.
    discarded: BTreeSet<Ipv4Net>,
}

impl Installed {
    /// Prefixes that the RIB has from here, whose routes it does not have by itself.
    fn prefixes(&self) -> impl Iterator<Item = Ipv4Net> {
        let told = self.table.networks.iter().filter(|(_, route)| is_told(route)).map(|(prefix, _)| *prefix);
        told.chain(self.discarded.iter().copied())
    }

    fn has(&self, prefix: &Ipv4Net) -> bool {
        self.table.networks.get(prefix).is_some_and(is_told) || self.discarded.contains(prefix)
    }

    fn routes(&self) -> impl Iterator<Item = Route> {
        let routes = self.table.networks.iter().filter(|(_, route)| is_told(route));
        let discarded = self.discarded.iter().map(|range| discard(*range));
        routes.map(|(prefix, route)| rib_route(*prefix, route)).chain(discarded)
    }
}

impl Ospf {
    /// Another table: tells the RIB what changed.
    pub(crate) fn install_table(&mut self, table: Table) {
        let discarded = self.discarded_ranges(&table);
        let before = std::mem::replace(&mut self.installed, Installed { table, discarded });
        let (old, new) = (&before.table.networks, &self.installed.table.networks);
        before
            .prefixes()
            .filter(|prefix| !self.installed.has(prefix))
            .for_each(|prefix| self.outbox.remove_route(prefix));
        // Both are in order, and most routes are as they were: side by side nothing is looked up.
        let mut old = old.iter().peekable();
        for (prefix, route) in new.iter().filter(|(_, route)| is_told(route)) {
            while old.next_if(|(other, _)| *other < prefix).is_some() {}
            let known = old.next_if(|(other, _)| *other == prefix);
            if !known.is_some_and(|(_, known)| is_told(known) && says_the_same(known, route)) {
                self.outbox.add_route(rib_route(*prefix, route));
            }
        }
        for range in self.installed.discarded.difference(&before.discarded) {
            self.outbox.add_route(discard(*range));
        }
    }

    /// All routes, for a RIB that is new.
    pub(crate) fn install_again(&mut self) {
        self.installed.routes().for_each(|route| self.outbox.add_route(route));
    }

    /// RFC 2328 section 16.2: what is told of a range must not come back for those of its addresses that lead nowhere.
    fn discarded_ranges(&self, table: &Table) -> BTreeSet<Ipv4Net> {
        if !self.is_border_router() {
            return BTreeSet::new();
        }
        let ranges = self.areas.iter().flat_map(|(id, area)| area.config.ranges.iter().map(move |told| (id, told)));
        let told = ranges.filter(|(_, (_, range))| **range == Range::Advertise);
        let has_any = told.filter(|(id, (range, _))| !components(**range, **id, table).is_empty());
        has_any.map(|(_, (range, _))| *range).filter(|range| !table.networks.contains_key(range)).collect()
    }
}

/// Whether the RIB is told of a route: not of a network that this router is on, which the RIB knows itself.
fn is_told(route: &NetworkRoute) -> bool {
    route.hops.iter().all(|hop| hop.address.is_some()) && metric(route) < LS_INFINITY
}

/// Whether two routes to a prefix come to the same in the RIB.
fn says_the_same(one: &NetworkRoute, other: &NetworkRoute) -> bool {
    (metric(one), one.tag) == (metric(other), other.tag) && one.hops == other.hops
}

fn metric(route: &NetworkRoute) -> u32 {
    match route.kind {
        PathKind::Intra | PathKind::Inter | PathKind::External1 => route.cost,
        PathKind::External2 => route.type2,
    }
}

/// A route as the RIB has it.
fn rib_route(prefix: Ipv4Net, route: &NetworkRoute) -> Route {
    let hop = |hop: &crate::routes::Hop| Some(NextHop::OnInterface(hop.interface.clone(), hop.address?.into()));
    let next_hops = route.hops.iter().filter_map(hop).collect();
    Route { tag: route.tag, ..Route::new(prefix, DISTANCE, metric(route), next_hops) }
}

fn discard(range: Ipv4Net) -> Route {
    Route::new(range, DISTANCE, 0, vec![NextHop::Discard])
}
