//! The routing table: paths within areas, between them, and to what is outside. RFC 2328 section 16.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use sdk::InterfaceName;
use sdk::core::Time;

use crate::area::Area;
use crate::config::{AreaKind, Range};
use crate::interface::Interface;
use crate::lsdb::Lsdb;
use crate::packet::{
    AreaId, BACKBONE, ExternalLsa, ExternalMetric, LS_INFINITY, LsaBody, LsaKey, LsaType, Options, RouterFlags,
    RouterId, SummaryLsa,
};
use crate::spf;

/// How a path goes, in the order in which it is preferred: RFC 2328 section 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// Within an area.
    Intra,
    /// Through area border routers.
    Inter,
    /// To the outside, with a metric of OSPF's units.
    External1,
    /// To the outside, with a metric above all of OSPF's.
    External2,
}

impl PathKind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            PathKind::Intra => "intra-area",
            PathKind::Inter => "inter-area",
            PathKind::External1 => "external-1",
            PathKind::External2 => "external-2",
        }
    }
}

/// The first step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// Interface.
    pub interface: InterfaceName,
    /// The next router's address; `None`: this router is on the destination's network.
    pub address: Option<Ipv4Addr>,
}

/// First steps, in ascending order. Routes that go the same way share them.
pub type Hops = Arc<[Hop]>;

/// Those of two sets of paths of equal cost.
fn join(one: &Hops, other: &Hops) -> Hops {
    if Arc::ptr_eq(one, other) || one == other {
        return one.clone();
    }
    let mut hops = [&one[..], &other[..]].concat();
    hops.sort_unstable();
    hops.dedup();
    hops.into()
}

/// The paths to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRoute {
    /// How they go.
    pub kind: PathKind,
    /// The area that they were calculated in.
    pub area: AreaId,
    /// Cost within the AS.
    pub cost: u32,
    /// Metric outside, where it goes before the cost.
    pub type2: u32,
    /// Tag of an external route.
    pub tag: u32,
    /// First steps.
    pub hops: Hops,
    /// The external LSA that the route is from.
    pub from: Option<LsaKey>,
}

impl NetworkRoute {
    /// Whether it is better than another, as good, or worse: RFC 2328 sections 11.1 and 16.4 step 6.
    fn compare(&self, other: &NetworkRoute) -> Ordering {
        let rank = |route: &NetworkRoute| (route.kind, route.type2, route.cost);
        rank(self).cmp(&rank(other))
    }

    /// Takes another's place, or its paths, if these are as good.
    fn accept(&mut self, route: NetworkRoute) {
        match route.compare(self) {
            Ordering::Less => *self = route,
            Ordering::Equal => self.hops = join(&self.hops, &route.hops),
            Ordering::Greater => {}
        }
    }
}

/// The paths to an area border router or an AS boundary router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterRoute {
    /// How they go.
    pub kind: PathKind,
    /// What the router is.
    pub flags: RouterFlags,
    /// Cost.
    pub cost: u32,
    /// First steps.
    pub hops: Hops,
}

/// The routing table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Prefixes.
    pub networks: BTreeMap<Ipv4Net, NetworkRoute>,
    /// Routers; one may be reached through several areas.
    pub routers: BTreeMap<(RouterId, AreaId), RouterRoute>,
}

impl Table {
    /// Takes a path if none is better; paths of equal cost are joined.
    pub fn offer(&mut self, prefix: Ipv4Net, route: NetworkRoute) {
        // A path that leads nowhere is none.
        if route.hops.is_empty() {
            return;
        }
        match self.networks.entry(prefix) {
            Entry::Vacant(place) => _ = place.insert(route),
            Entry::Occupied(mut known) => known.get_mut().accept(route),
        }
    }

    /// The same with many at once, in place of what is there: a table is made from a sorted list in one go.
    fn offer_first(&mut self, mut routes: Vec<(Ipv4Net, NetworkRoute)>) {
        routes.retain(|(_, route)| !route.hops.is_empty());
        // Stable: of equal ones the first goes on to say which area they are of.
        routes.sort_by_key(|(prefix, _)| *prefix);
        let mut best: Vec<(Ipv4Net, NetworkRoute)> = Vec::with_capacity(routes.len());
        for (prefix, route) in routes {
            match best.last_mut() {
                Some((known, other)) if *known == prefix => other.accept(route),
                Some(_) | None => best.push((prefix, route)),
            }
        }
        self.networks = best.into_iter().collect();
    }

    /// The way to an area border router of an area.
    fn border_router(&self, router: RouterId, area: AreaId) -> Option<&RouterRoute> {
        self.routers.get(&(router, area)).filter(|route| route.flags.contains(RouterFlags::B))
    }

    /// The way to an AS boundary router: the shortest, then the one through the area with the highest number (RFC 2328
    /// section 16.4.1 with RFC1583Compatibility).
    pub fn boundary_router(&self, router: RouterId) -> Option<(AreaId, &RouterRoute)> {
        let all = self.routers.range((router, Ipv4Addr::UNSPECIFIED)..=(router, Ipv4Addr::BROADCAST));
        all.filter(|(_, route)| route.flags.contains(RouterFlags::E))
            .map(|((_, area), route)| (*area, route))
            .min_by_key(|(area, route)| (route.cost, Reverse(*area)))
    }

    /// The longest prefix of this AS that contains an address.
    fn inside(&self, address: Ipv4Addr) -> Option<&NetworkRoute> {
        let is_inside = |route: &&NetworkRoute| matches!(route.kind, PathKind::Intra | PathKind::Inter);
        (0..=32u8).rev().find_map(|length| {
            let prefix = Ipv4Net::new(address, length).ok()?.trunc();
            self.networks.get(&prefix).filter(is_inside)
        })
    }
}

/// What the table is calculated from.
pub struct Inputs<'a> {
    /// Time.
    pub now: Time,
    /// This router.
    pub router: RouterId,
    /// Whether it is on more than one area.
    pub is_border_router: bool,
    /// Interfaces.
    pub interfaces: &'a BTreeMap<InterfaceName, Interface>,
    /// AS-external-LSAs.
    pub external: &'a Lsdb,
    /// Paths that a route keeps.
    pub maximum_paths: usize,
}

/// Calculates everything: RFC 2328 section 16.
pub fn calculate(inputs: &Inputs<'_>, areas: &mut BTreeMap<AreaId, Area>) -> Table {
    let mut table = Table::default();
    let mut prefixes = Vec::new();
    for (id, area) in areas.iter_mut() {
        spf::calculate(*id, area, inputs.router, inputs.interfaces, &mut prefixes, &mut table);
    }
    table.offer_first(prefixes);
    for (id, area) in areas.iter().filter(|(id, _)| !inputs.is_border_router || **id == BACKBONE) {
        inter_area(inputs, *id, area, areas, &mut table);
    }
    for (key, entry) in usable(inputs, inputs.external, LsaType::External) {
        if let Ok(LsaBody::External(lsa)) = entry.lsa.body()
            && let Some(way) = table.boundary_router(key.router)
        {
            let way = (way.0, way.1.clone());
            // Through an NSSA the outside is reached by its own LSAs alone: RFC 3101 section 2.5 step 3.
            let takes_externals = |area: &AreaId| areas.get(area).is_some_and(|area| area.takes(LsaType::External));
            external(key, &lsa, way, |inside| takes_externals(&inside.area), &mut table);
        }
    }
    for (id, area) in areas.iter().filter(|(_, area)| area.config.kind == AreaKind::Nssa) {
        nssa(inputs, *id, area, &mut table);
    }
    for route in table.networks.values_mut() {
        if let Some(kept) = route.hops.get(..inputs.maximum_paths).filter(|kept| kept.len() < route.hops.len()) {
            route.hops = kept.into();
        }
    }
    table
}

/// LSAs of a type that are alive, and of other routers.
fn usable<'a>(
    inputs: &Inputs<'a>,
    lsdb: &'a Lsdb,
    kind: LsaType,
) -> impl Iterator<Item = (LsaKey, &'a crate::lsdb::Entry)> + use<'a> {
    let (now, router) = (inputs.now, inputs.router);
    let is_usable = move |(key, entry): &(&LsaKey, &crate::lsdb::Entry)| key.router != router && !entry.is_max_age(now);
    lsdb.of_type(kind).filter(is_usable).map(|(key, entry)| (*key, entry))
}

/// Whether a prefix is one that this router itself puts others together in: RFC 2328 section 16.2 step 3.
fn is_own_range(prefix: Ipv4Net, areas: &BTreeMap<AreaId, Area>, table: &Table) -> bool {
    let is_range = |(_, area): &(&AreaId, &Area)| area.config.ranges.contains_key(&prefix);
    areas.iter().filter(is_range).any(|(id, _)| !components(prefix, *id, table).is_empty())
}

/// Prefixes of an area within a range of it.
pub fn components(range: Ipv4Net, area: AreaId, table: &Table) -> Vec<&NetworkRoute> {
    let within = table.networks.range(range..).take_while(|(prefix, _)| range.contains(&prefix.addr()));
    within
        .filter(|(prefix, route)| range.contains(*prefix) && route.kind == PathKind::Intra && route.area == area)
        .map(|(_, route)| route)
        .collect()
}

/// The range of an area that a prefix is in: the longest.
pub fn range_of(prefix: Ipv4Net, area: &Area) -> Option<(Ipv4Net, Range)> {
    let within = area.config.ranges.iter().filter(|(range, _)| range.contains(&prefix));
    within.max_by_key(|(range, _)| range.prefix_len()).map(|(range, told)| (*range, *told))
}

/// RFC 2328 section 16.2.
fn inter_area(inputs: &Inputs<'_>, id: AreaId, area: &Area, areas: &BTreeMap<AreaId, Area>, table: &mut Table) {
    let summary = |(key, entry): (LsaKey, &crate::lsdb::Entry)| {
        let Ok(LsaBody::Summary(summary)) = entry.lsa.body() else { return None };
        (summary.metric < LS_INFINITY).then_some((key, summary))
    };
    let way = |table: &Table, key: &LsaKey, SummaryLsa { metric, .. }: &SummaryLsa| {
        let route = table.border_router(key.router, id)?;
        Some((route.cost.saturating_add(*metric), route.hops.clone()))
    };
    for (key, summary) in usable(inputs, &area.lsdb, LsaType::SummaryNetwork).filter_map(summary) {
        let Some((cost, hops)) = way(table, &key, &summary) else { continue };
        if is_own_range(summary.prefix, areas, table) {
            continue;
        }
        let kind = PathKind::Inter;
        table.offer(summary.prefix, NetworkRoute { kind, area: id, cost, type2: 0, tag: 0, hops, from: None });
    }
    for (key, summary) in usable(inputs, &area.lsdb, LsaType::SummaryAsbr).filter_map(summary) {
        let Some((cost, hops)) = way(table, &key, &summary) else { continue };
        let place = (key.id, id);
        let known = table.routers.get(&place).filter(|route| route.flags.contains(RouterFlags::E));
        let kind = PathKind::Inter;
        let mut route = RouterRoute { kind, flags: RouterFlags::E, cost, hops };
        match known.map(|known| (known.kind, known.cost).cmp(&(kind, cost))) {
            Some(Ordering::Less) => continue,
            Some(Ordering::Equal) => {
                route.hops = known.map_or(route.hops.clone(), |known| join(&known.hops, &route.hops));
            }
            Some(Ordering::Greater) | None => {}
        }
        table.routers.insert(place, route);
    }
}

/// RFC 2328 section 16.4, from step 3 on: `way` leads to the AS boundary router; `may_forward` says which routes to a
/// forwarding address count.
fn external(
    key: LsaKey,
    lsa: &ExternalLsa,
    way: (AreaId, RouterRoute),
    may_forward: impl Fn(&NetworkRoute) -> bool,
    table: &mut Table,
) {
    if lsa.metric.value() >= LS_INFINITY {
        return;
    }
    let (area, route) = way;
    let (cost, hops) = if lsa.forwarding == Ipv4Addr::UNSPECIFIED {
        (route.cost, route.hops)
    } else {
        let Some(inside) = table.inside(lsa.forwarding).filter(|inside| may_forward(inside)) else { return };
        // On a network that this router is on, the forwarding address is itself the next hop.
        let hop = |hop: &Hop| Hop { address: hop.address.or(Some(lsa.forwarding)), ..hop.clone() };
        (inside.cost, inside.hops.iter().map(hop).collect())
    };
    let (kind, cost, type2) = match lsa.metric {
        ExternalMetric::Type1(metric) => (PathKind::External1, cost.saturating_add(metric), 0),
        ExternalMetric::Type2(metric) => (PathKind::External2, cost, metric),
    };
    table.offer(lsa.prefix, NetworkRoute { kind, area, cost, type2, tag: lsa.tag, hops, from: Some(key) });
}

/// RFC 3101 section 2.5.
fn nssa(inputs: &Inputs<'_>, id: AreaId, area: &Area, table: &mut Table) {
    for (key, entry) in usable(inputs, &area.lsdb, LsaType::Nssa) {
        let Ok(LsaBody::External(lsa)) = entry.lsa.body() else { continue };
        // Another border router's default route is for those within.
        let is_for_others = lsa.prefix.prefix_len() == 0 && !entry.lsa.header.options.contains(Options::NP);
        if inputs.is_border_router && is_for_others {
            continue;
        }
        let way = table.routers.get(&(key.router, id)).filter(|route| route.flags.contains(RouterFlags::E)).cloned();
        if let Some(way) = way {
            let is_within = |inside: &NetworkRoute| inside.kind == PathKind::Intra && inside.area == id;
            external(key, &lsa, (id, way), is_within, table);
        }
    }
}
