//! What an area border router tells each area of the others: RFC 2328 section 12.4.3, RFC 3101.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::area::Area;
use crate::config::{AreaKind, Range, Summaries};
use crate::instance::Ospf;
use crate::lsdb::Place;
use crate::originate::{AllWanted, Wanted};
use crate::packet::{AreaId, BACKBONE, LS_INFINITY, LsaKey, LsaType, RouterFlags, RouterId, SummaryLsa};
use crate::routes::{Hop, PathKind, components, range_of};

impl Ospf {
    /// Summary-LSAs for all areas, and the default routes of those that are told nothing else.
    pub(crate) fn wanted_summaries(&self, router: RouterId, wanted: &mut AllWanted) {
        for (id, area) in self.active_areas() {
            let mut told: BTreeMap<Ipv4Net, u32> = BTreeMap::new();
            if area.config.kind == AreaKind::Normal || area.config.summaries == Summaries::All {
                told = self.networks_for(*id);
            }
            let tells_default_by_summary = match area.config.kind {
                AreaKind::Normal => false,
                AreaKind::Stub => true,
                AreaKind::Nssa => area.config.summaries == Summaries::DefaultOnly,
            };
            if tells_default_by_summary {
                told.insert(Ipv4Net::default(), area.config.default_cost);
            }
            for (link_state_id, prefix) in link_state_ids(told.keys().copied()) {
                let metric = told.get(&prefix).copied().unwrap_or(LS_INFINITY);
                let key = LsaKey::new(LsaType::SummaryNetwork, link_state_id, router);
                let body = SummaryLsa::encode(prefix.netmask(), metric);
                wanted.insert((Place::Area(*id), key), Wanted { options: area.options(), body });
            }
            if area.config.kind == AreaKind::Normal {
                self.boundary_routers_for(*id, area, router, wanted);
            }
        }
    }

    /// Prefixes that an area is told of, with their costs.
    fn networks_for(&self, id: AreaId) -> BTreeMap<Ipv4Net, u32> {
        let mut told = BTreeMap::new();
        let mut ranges: BTreeSet<(AreaId, Ipv4Net)> = BTreeSet::new();
        for (prefix, route) in &self.table().networks {
            // Of other areas within its own reach, the backbone alone passes on what it was told.
            let is_for_area = match route.kind {
                PathKind::Intra => route.area != id,
                PathKind::Inter => id != BACKBONE && route.area != id,
                PathKind::External1 | PathKind::External2 => false,
            };
            if !is_for_area || route.cost >= LS_INFINITY || self.leads_into(&route.hops, id) {
                continue;
            }
            let range = self.areas.get(&route.area).and_then(|area| range_of(*prefix, area));
            match range.filter(|_| route.kind == PathKind::Intra) {
                Some((range, Range::Advertise)) => _ = ranges.insert((route.area, range)),
                Some((_, Range::Hide)) => {}
                None => _ = told.insert(*prefix, route.cost),
            }
        }
        for (area, range) in ranges {
            let cost = components(range, area, self.table()).into_iter().map(|route| route.cost).max();
            told.extend(cost.map(|cost| (range, cost)));
        }
        told
    }

    /// Whether a route's first step is in an area: then the area knows the way itself.
    fn leads_into(&self, hops: &[Hop], area: AreaId) -> bool {
        let is_in = |hop: &Hop| self.interfaces.get(&hop.interface).is_some_and(|interface| interface.area == area);
        hops.iter().any(is_in)
    }

    fn boundary_routers_for(&self, id: AreaId, area: &Area, router: RouterId, wanted: &mut AllWanted) {
        let mut told: BTreeMap<RouterId, u32> = BTreeMap::new();
        for ((boundary, through), route) in &self.table().routers {
            let is_inside = route.kind == PathKind::Intra || id != BACKBONE;
            let is_for_area = route.flags.contains(RouterFlags::E) && *through != id && is_inside;
            // The area sees it itself.
            let is_known =
                self.table().routers.get(&(*boundary, id)).is_some_and(|known| known.kind == PathKind::Intra);
            if is_for_area && !is_known && !self.leads_into(&route.hops, id) && route.cost < LS_INFINITY {
                let cost = told.entry(*boundary).or_insert(route.cost);
                *cost = route.cost.min(*cost);
            }
        }
        for (boundary, cost) in told {
            let key = LsaKey::new(LsaType::SummaryAsbr, boundary, router);
            let body = SummaryLsa::encode(Ipv4Addr::UNSPECIFIED, cost);
            wanted.insert((Place::Area(id), key), Wanted { options: area.options(), body });
        }
    }
}

/// Link State IDs for prefixes, of which several may begin at one address: RFC 2328 appendix E. The longer prefix gets
/// the address, a shorter one another of its own.
pub(crate) fn link_state_ids(prefixes: impl Iterator<Item = Ipv4Net>) -> Vec<(Ipv4Addr, Ipv4Net)> {
    let mut sorted: Vec<Ipv4Net> = prefixes.collect();
    sorted.sort_by_key(|prefix| (std::cmp::Reverse(prefix.prefix_len()), *prefix));
    let mut used = BTreeSet::new();
    let mut ids = Vec::new();
    for prefix in sorted {
        let first = u32::from(prefix.network());
        // All addresses of the prefix are taken only if each belongs to a longer one.
        let free = (first..=u32::from(prefix.broadcast())).map(Ipv4Addr::from).find(|id| !used.contains(id));
        if let Some(id) = free {
            used.insert(id);
            ids.push((id, prefix));
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_2328_appendix_e_prefixes_at_one_address_get_ids_of_their_own() {
        let prefixes = ["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/32", "10.0.0.1/32", "10.1.0.0/16"];
        let ids = link_state_ids(prefixes.iter().map(|prefix| prefix.parse().unwrap()));
        let shown: Vec<String> = ids.iter().map(|(id, prefix)| format!("{prefix} {id}")).collect();
        assert_eq!(
            shown,
            [
                "10.0.0.0/32 10.0.0.0",
                "10.0.0.1/32 10.0.0.1",
                "10.0.0.0/16 10.0.0.2",
                "10.1.0.0/16 10.1.0.0",
                "10.0.0.0/8 10.0.0.3",
            ]
        );
    }
}
