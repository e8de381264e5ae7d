//! The table goes into the RIB: only what is different is told.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use sdk::rib::{NextHop, Route};

use crate::config::Range;
use crate::instance::Ospf;
use crate::packet::LS_INFINITY;
use crate::routes::{NetworkRoute, PathKind, components};

/// Administrative distance: IOS-XR's.
const DISTANCE: u8 = 110;

impl Ospf {
    /// Tells the RIB what changed.
    pub(crate) fn install_routes(&mut self) {
        let wanted = self.wanted_routes();
        for prefix in self.installed.keys().filter(|prefix| !wanted.contains_key(*prefix)) {
            self.outbox.remove_route(*prefix);
        }
        for (prefix, route) in &wanted {
            if self.installed.get(prefix) != Some(route) {
                self.outbox.add_route(route.clone());
            }
        }
        self.installed = wanted;
    }

    fn wanted_routes(&self) -> BTreeMap<Ipv4Net, Route> {
        let mut routes: BTreeMap<Ipv4Net, Route> = self
            .table
            .networks
            .iter()
            .filter_map(|(prefix, route)| Some((*prefix, rib_route(*prefix, route)?)))
            .collect();
        // RFC 2328 section 16.2: what is told of a range must not come back for those of its addresses that lead nowhere.
        if self.is_border_router() {
            for (id, area) in &self.areas {
                for (range, _) in area.config.ranges.iter().filter(|(_, told)| **told == Range::Advertise) {
                    if !components(*range, *id, &self.table).is_empty() && !self.table.networks.contains_key(range) {
                        routes.insert(*range, Route::new(*range, DISTANCE, 0, vec![NextHop::Discard]));
                    }
                }
            }
        }
        routes
    }
}

/// A route as the RIB has it; `None` for a network that this router is on, which the RIB knows itself.
fn rib_route(prefix: Ipv4Net, route: &NetworkRoute) -> Option<Route> {
    let hop = |hop: &crate::routes::Hop| Some(NextHop::OnInterface(hop.interface.clone(), hop.address?.into()));
    let next_hops = route.hops.iter().map(hop).collect::<Option<Vec<_>>>()?;
    let metric = match route.kind {
        PathKind::Intra | PathKind::Inter | PathKind::External1 => route.cost,
        PathKind::External2 => route.type2,
    };
    (metric < LS_INFINITY).then(|| Route { tag: route.tag, ..Route::new(prefix, DISTANCE, metric, next_hops) })
}
