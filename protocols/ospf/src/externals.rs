//! What this router tells of the world outside: RFC 2328 section 12.4.4, RFC 3101.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use sdk::core::Time;
use sdk::redistribution::RedistributedRoutes;
use sdk::rib::{Redistributed, RedistributedChange, Redistribution, RibRequest};

use crate::area::Area;
use crate::config::{AreaKind, InstanceConfig, Summaries};
use crate::fsm::{InterfaceState, NetworkType};
use crate::instance::Ospf;
use crate::lsdb::Place;
use crate::originate::{AllWanted, Part, Wanted};
use crate::packet::{AreaId, ExternalLsa, ExternalMetric, LsaBody, LsaKey, LsaType, Options, RouterFlags, RouterId};
use crate::summaries::link_state_ids;

/// 0.0.0.0/0, which is told by `default-information originate` alone.
const DEFAULT_ROUTE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);

/// What the RIB told of the world outside.
#[derive(Debug, Default)]
pub struct Outside {
    /// Routes of other protocols.
    pub routes: RedistributedRoutes,
    /// Whether it has a default route of another protocol.
    has_default: bool,
}

impl Ospf {
    /// The configuration is another, or the RIB is: it is asked for what this router tells of.
    pub(crate) fn ask_for_outside(&mut self, before: Option<&InstanceConfig>) {
        let wanted = |config: Option<&InstanceConfig>| -> Vec<Redistribution> {
            config.into_iter().flat_map(|config| config.redistribute.values()).map(|one| one.wanted.clone()).collect()
        };
        let needs_default = |config: Option<&InstanceConfig>| {
            config.and_then(|config| config.default_route).is_some_and(|default| !default.always)
        };
        let after = self.config.as_ref();
        let (new, tracks) = (wanted(after), needs_default(after));
        if wanted(before) != new {
            self.outbox.rib(RibRequest::Redistribute(new));
        }
        match (needs_default(before), tracks) {
            (false, true) => self.outbox.rib(RibRequest::TrackPrefix(DEFAULT_ROUTE.into())),
            (true, false) => {
                self.outbox.rib(RibRequest::UntrackPrefix(DEFAULT_ROUTE.into()));
                self.outside.has_default = false;
            }
            (true, true) | (false, false) => {}
        }
    }

    /// The RIB told of routes of others.
    pub(crate) fn redistributed(&mut self, now: Time, changes: Vec<RedistributedChange>) {
        for change in changes {
            let prefix = self.outside.routes.change(change);
            self.external_changed(now, prefix);
        }
    }

    /// A route of another protocol is another, or gone.
    fn external_changed(&mut self, now: Time, prefix: IpNet) {
        // Those of IPv6 are OSPFv3's.
        if let IpNet::V4(prefix) = prefix {
            self.stale_externals.insert(prefix);
            self.originate_soon(now);
        }
    }

    /// It told all.
    pub(crate) fn redistribution_complete(&mut self, now: Time) {
        for prefix in self.outside.routes.complete() {
            self.external_changed(now, prefix);
        }
    }

    /// Whether there is a default route of another protocol.
    pub(crate) fn default_told(&mut self, now: Time, is_there: bool) {
        self.outside.has_default = is_there;
        self.part_changed(now, Part::Externals);
    }

    /// Whether this router is configured to tell of anything outside.
    pub(crate) fn tells_of_outside(&self) -> bool {
        let tells = |config: &InstanceConfig| config.default_route.is_some() || !config.redistribute.is_empty();
        self.config.as_ref().is_some_and(tells)
    }

    /// Whether this router tells an area of prefixes outside: RFC 2328 section 3.3.
    pub(crate) fn is_boundary_router(&self, area: &Area) -> bool {
        match area.config.kind {
            AreaKind::Stub => false,
            AreaKind::Normal => self.tells_of_outside() || self.translates_any(),
            AreaKind::Nssa => self.tells_of_outside() || self.is_border_router(),
        }
    }

    /// AS-external-LSAs, and type-7-LSAs for the NSSAs.
    pub(crate) fn wanted_externals(&self, router: RouterId, wanted: &mut AllWanted) {
        let own = self.told_of_outside();
        if self.active_areas().any(|(_, area)| area.config.kind == AreaKind::Normal) {
            let mut told = self.translations(router);
            told.extend(own.clone());
            for (id, prefix) in link_state_ids(told.keys().copied()) {
                let Some(lsa) = told.get(&prefix) else { continue };
                let key = LsaKey::new(LsaType::External, id, router);
                wanted.insert((Place::As, key), Wanted { options: Options::E, body: lsa.encode() });
            }
        }
        for (id, area) in self.active_areas().filter(|(_, area)| area.config.kind == AreaKind::Nssa) {
            if self.is_border_router() && area.config.summaries == Summaries::All {
                wanted_default_of_nssa(*id, area, router, wanted);
            }
            self.wanted_of_nssa(*id, router, &own, wanted);
        }
    }

    /// RFC 3101 section 2.4. A border router tells the other areas by itself, and has nothing translated.
    fn wanted_of_nssa(
        &self,
        id: AreaId,
        router: RouterId,
        own: &BTreeMap<Ipv4Net, ExternalLsa>,
        wanted: &mut AllWanted,
    ) {
        let of_router = self.forwarding_address(id).filter(|_| !self.is_border_router());
        for (link_state_id, prefix) in link_state_ids(own.keys().copied()) {
            let Some(lsa) = own.get(&prefix) else { continue };
            // A next hop in another area is none that this one can use: packets come to this router.
            let next_hop = Some(lsa.forwarding).filter(|next_hop| self.is_on_network_of(id, *next_hop));
            let forwarding = next_hop.or(of_router).unwrap_or(Ipv4Addr::UNSPECIFIED);
            // Section 2.3: nobody translates a default route, nor one without a forwarding address.
            let is_translated =
                prefix != DEFAULT_ROUTE && forwarding != Ipv4Addr::UNSPECIFIED && !self.is_border_router();
            let options = if is_translated { Options::NP } else { Options::default() };
            let body = ExternalLsa { forwarding, ..*lsa }.encode();
            let key = LsaKey::new(LsaType::Nssa, link_state_id, router);
            // A border router has told of a default route already.
            wanted.entry((Place::Area(id), key)).or_insert_with(|| Wanted { options, body });
        }
    }

    /// What this router itself tells of.
    fn told_of_outside(&self) -> BTreeMap<Ipv4Net, ExternalLsa> {
        let mut told = BTreeMap::new();
        let Some(config) = &self.config else { return told };
        for route in self.outside.routes.iter() {
            let lsa = self.told_of(config, route);
            told.extend(lsa.map(|lsa| (lsa.prefix, lsa)));
        }
        if let Some(default) = config.default_route.filter(|default| default.always || self.outside.has_default) {
            let metric = ExternalMetric::Type2(default.metric);
            let lsa = ExternalLsa { prefix: DEFAULT_ROUTE, metric, forwarding: Ipv4Addr::UNSPECIFIED, tag: 0 };
            told.insert(DEFAULT_ROUTE, lsa);
        }
        told
    }

    /// What it tells of a route of another protocol.
    fn told_of(&self, config: &InstanceConfig, route: &Redistributed) -> Option<ExternalLsa> {
        // Those of IPv6 are OSPFv3's.
        let IpNet::V4(prefix) = route.prefix else { return None };
        let redistribute = config.redistribute.get(&route.protocol)?;
        // The RIB tells what any process of this VR asks for.
        if !redistribute.wanted.takes(route) || prefix == DEFAULT_ROUTE || self.is_announced(prefix) {
            return None;
        }
        let (metric, forwarding) = (redistribute.metric, self.forwarding_of(route));
        Some(ExternalLsa { prefix, metric, forwarding, tag: redistribute.tag.unwrap_or(route.tag) })
    }

    /// What it tells of the route of another protocol to a prefix, if there is one.
    pub(crate) fn told_of_prefix(&self, prefix: Ipv4Net) -> Option<ExternalLsa> {
        self.told_of(self.config.as_ref()?, self.outside.routes.get(prefix.into())?)
    }

    /// Whether it tells of a shorter prefix that begins at the same address.
    pub(crate) fn tells_shorter(&self, prefix: Ipv4Net) -> bool {
        let shorter = (0..prefix.prefix_len()).map(|length| Ipv4Net::new_assert(prefix.network(), length));
        let mut here = shorter.filter(|shorter| shorter.network() == prefix.network());
        here.any(|shorter| self.told_of_prefix(shorter.trunc()).is_some())
    }

    /// Whether what it tells of a prefix follows from that prefix alone: NSSAs have LSAs of their own, and are translated;
    /// at 0.0.0.0 is the default route.
    pub(crate) fn tells_by_itself(&self, prefix: Ipv4Net) -> bool {
        let has = |kind| self.active_areas().any(|(_, area)| area.config.kind == kind);
        has(AreaKind::Normal) && !has(AreaKind::Nssa) && prefix.network() != DEFAULT_ROUTE.network()
    }

    /// Whether a prefix is a subnet that OSPF runs on, and so is told of already.
    fn is_announced(&self, prefix: Ipv4Net) -> bool {
        let is_subnet = |interface: &crate::interface::Interface| {
            interface.state != InterfaceState::Down
                && interface.secondary.iter().chain([&interface.address]).any(|own| own.trunc() == prefix)
        };
        self.interfaces.values().any(is_subnet)
    }

    /// Where packets are to go that others send there: the next hop itself, if it is on a network that OSPF runs on
    /// with several routers (RFC 2328 section 12.4.4.1).
    fn forwarding_of(&self, route: &Redistributed) -> Ipv4Addr {
        let interface = route.interface.as_ref().and_then(|name| self.interfaces.get(name));
        let is_shared = |interface: &&crate::interface::Interface| {
            interface.network == NetworkType::Broadcast && interface.speaks()
        };
        match (interface.filter(is_shared), route.next_hop) {
            (Some(interface), Some(IpAddr::V4(next_hop))) if interface.address.contains(&next_hop) => next_hop,
            (Some(_) | None, _) => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// An own address within an area, for its type-7-LSAs: that of a loopback, else any (RFC 3101 section 2.3).
    fn forwarding_address(&self, area: AreaId) -> Option<Ipv4Addr> {
        let here = self.interfaces.values().filter(|interface| interface.area == area);
        let up = here.filter(|interface| interface.state != InterfaceState::Down);
        up.max_by_key(|interface| interface.network == NetworkType::Loopback).map(|interface| interface.address.addr())
    }

    /// Whether an address is on a network of an area that this router is on.
    fn is_on_network_of(&self, area: AreaId, address: Ipv4Addr) -> bool {
        let here = self.interfaces.values().filter(|interface| interface.area == area);
        here.filter(|interface| interface.state != InterfaceState::Down)
            .any(|interface| interface.address.contains(&address))
    }

    /// Whether this router translates type-7-LSAs of an NSSA: of its border routers the one with the highest ID does.
    fn translates(&self, id: AreaId, router: RouterId) -> bool {
        let is_border = |flags: RouterFlags| flags.contains(RouterFlags::B);
        let others = self.table().routers.iter().filter(|((_, area), route)| *area == id && is_border(route.flags));
        self.is_border_router() && others.map(|((other, _), _)| *other).all(|other| other < router)
    }

    /// Whether it translates for any NSSA, and so is an AS boundary router of the others.
    pub(crate) fn translates_any(&self) -> bool {
        let Some(router) = self.router_id else { return false };
        self.active_areas().any(|(id, area)| area.config.kind == AreaKind::Nssa && self.translates(*id, router))
    }

    /// RFC 3101 section 3.2: type-7-LSAs become AS-external-LSAs.
    fn translations(&self, router: RouterId) -> BTreeMap<Ipv4Net, ExternalLsa> {
        let mut told: BTreeMap<Ipv4Net, ExternalLsa> = BTreeMap::new();
        for (id, area) in self.active_areas().filter(|(_, area)| area.config.kind == AreaKind::Nssa) {
            if !self.translates(*id, router) {
                continue;
            }
            for (prefix, route) in &self.table().networks {
                let from = route.from.filter(|key| key.kind == LsaType::Nssa && route.area == *id);
                let Some(entry) = from.and_then(|key| area.lsdb.get(&key)) else { continue };
                let Ok(LsaBody::External(lsa)) = entry.lsa.body() else { continue };
                if entry.lsa.header.options.contains(Options::NP) && lsa.forwarding != Ipv4Addr::UNSPECIFIED {
                    told.insert(*prefix, lsa);
                }
            }
        }
        told
    }
}

/// RFC 3101 section 2.7: a border router's default route of an NSSA that is told of other areas, too. Where it is not, a
/// summary-LSA tells it.
fn wanted_default_of_nssa(id: AreaId, area: &Area, router: RouterId, wanted: &mut AllWanted) {
    let metric = ExternalMetric::Type2(area.config.default_cost);
    let lsa = ExternalLsa { prefix: DEFAULT_ROUTE, metric, forwarding: Ipv4Addr::UNSPECIFIED, tag: 0 };
    let key = LsaKey::new(LsaType::Nssa, Ipv4Addr::UNSPECIFIED, router);
    // Without P: nobody translates it.
    wanted.insert((Place::Area(id), key), Wanted { options: Options::default(), body: lsa.encode() });
}
