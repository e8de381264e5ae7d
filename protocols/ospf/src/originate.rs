//! The LSAs that this router originates: RFC 2328 section 12.4.
//!
//! What they should say follows from what is so: [`Ospf::wanted`] writes it down whole, and [`Ospf::originate_all`] makes
//! the databases say the same. So a change of an interface, an old instance that comes back after a restart and the end
//! of a range all go the same way.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use log::Level;
use sdk::core::Time;

use crate::fsm::InterfaceState;
use crate::instance::Ospf;
use crate::interface::Interface;
use crate::lsdb::{Entry, Place, Source};
use crate::packet::{
    AreaId, Lsa, LsaBody, LsaKey, LsaType, MAX_AGE, NetworkLsa, Options, RouterFlags, RouterId, RouterLink,
    RouterLinkKind, RouterLsa, SequenceNumber,
};

/// A link that nobody is to use who has another: RFC 6987.
const MAX_LINK_METRIC: u16 = 0xffff;

/// What an LSA of ours should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub options: Options,
    pub body: Vec<u8>,
}

impl Wanted {
    fn is(&self, entry: &Entry) -> bool {
        entry.lsa.header.options == self.options && entry.lsa.body_bytes() == self.body
    }
}

/// What became of the LSA of a prefix.
enum Originated {
    /// The database says what is wanted.
    Now,
    /// It is to be looked at again then.
    Later(Time),
    /// What it says depends on other prefixes, or theirs on it.
    WithOthers,
}

/// All that is wanted, by database.
pub(crate) type AllWanted = BTreeMap<(Place, LsaKey), Wanted>;

/// LSAs that follow from the same things: only those are looked at that may say something else, since a boundary router
/// may have tens of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Router- and network-LSAs: from interfaces and neighbors.
    Links,
    /// Summary-LSAs: from the table.
    Summaries,
    /// AS-external-LSAs and type-7-LSAs: from routes of other protocols, translations from the table.
    Externals,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Links, Part::Summaries, Part::Externals];

    /// The part that an LSA is of. Of opaque ones this router has none, but an earlier process may have had.
    pub fn of(kind: LsaType) -> Self {
        match kind {
            LsaType::Router | LsaType::Network | LsaType::OpaqueLink | LsaType::OpaqueArea | LsaType::OpaqueAs => {
                Part::Links
            }
            LsaType::SummaryNetwork | LsaType::SummaryAsbr => Part::Summaries,
            LsaType::External | LsaType::Nssa => Part::Externals,
        }
    }

    fn kinds(self) -> &'static [LsaType] {
        use LsaType::{External, Network, Nssa, OpaqueArea, OpaqueAs, OpaqueLink, Router, SummaryAsbr, SummaryNetwork};
        match self {
            Part::Links => &[Router, Network, OpaqueLink, OpaqueArea, OpaqueAs],
            Part::Summaries => &[SummaryNetwork, SummaryAsbr],
            Part::Externals => &[External, Nssa],
        }
    }
}

impl Ospf {
    /// Makes the databases say what is wanted; what must wait for its back-off is looked at again then.
    pub(crate) fn originate_all(&mut self, now: Time) {
        let Some(router) = self.router_id else { return };
        let mut next: Option<Time> = None;
        let mut later = |due| next = Some(next.map_or(due, |next: Time| next.min(due)));
        for prefix in std::mem::take(&mut self.stale_externals) {
            match self.originate_external(now, router, prefix) {
                Originated::Now => {}
                Originated::Later(due) => {
                    self.stale_externals.insert(prefix);
                    later(due);
                }
                Originated::WithOthers => _ = self.stale.insert(Part::Externals),
            }
        }
        for part in std::mem::take(&mut self.stale) {
            if let Some(due) = self.originate_part(now, router, part) {
                self.stale.insert(part);
                later(due);
            }
        }
        self.originate_at = next;
    }

    /// The AS-external-LSA of one prefix, if no other one is concerned.
    fn originate_external(&mut self, now: Time, router: RouterId, prefix: Ipv4Net) -> Originated {
        if self.stale.contains(&Part::Externals) || self.stopped || !self.tells_by_itself(prefix) {
            return Originated::WithOthers;
        }
        let wanted = self.told_of_prefix(prefix);
        let key = LsaKey::new(LsaType::External, prefix.network(), router);
        let entry = self.external.get(&key).filter(|entry| !entry.is_max_age(now));
        let told = entry.and_then(|entry| match entry.lsa.body() {
            Ok(LsaBody::External(lsa)) => Some(lsa.prefix),
            Ok(_) | Err(_) => None,
        });
        match (wanted, told) {
            (_, Some(other)) if other != prefix => Originated::WithOthers,
            (Some(lsa), _) => {
                let wanted = Wanted { options: Options::E, body: lsa.encode() };
                let due = self.bring_about(now, &Place::As, key, &wanted);
                due.map_or(Originated::Now, Originated::Later)
            }
            // A shorter one at the same address has another ID as long as this one has that.
            (None, Some(_)) if self.tells_shorter(prefix) => Originated::WithOthers,
            (None, Some(_)) => {
                self.flush_lsa(now, &Place::As, &key);
                Originated::Now
            }
            (None, None) => Originated::Now,
        }
    }

    /// Makes a database say what is wanted of one LSA. When, if its back-off is not over.
    fn bring_about(&mut self, now: Time, place: &Place, key: LsaKey, wanted: &Wanted) -> Option<Time> {
        let entry = self.lsdb(place).and_then(|lsdb| lsdb.get(&key));
        let is_so = |entry: &Entry| entry.source == Source::Ours && !entry.is_max_age(now) && wanted.is(entry);
        if entry.is_some_and(is_so) {
            return None;
        }
        let is_foreign = entry.is_some_and(|entry| entry.source == Source::Flooded);
        let config = self.config.as_ref()?.lsa;
        let backoff = self.backoffs.entry((place.clone(), key)).or_default();
        let due = backoff.due(now, &config);
        if due > now {
            return Some(due);
        }
        backoff.originated(now, &config);
        if is_foreign {
            self.outdoes(now, place, &key);
        }
        self.originate(now, place, key, wanted.options, &wanted.body);
        None
    }

    /// The same for a part; when it is to be looked at again, if some must wait.
    fn originate_part(&mut self, now: Time, router: RouterId, part: Part) -> Option<Time> {
        let wanted = self.wanted(router, part);
        let mut next: Option<Time> = None;
        for ((place, key), wanted) in &wanted {
            if let Some(due) = self.bring_about(now, place, *key, wanted) {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        for place in self.places() {
            let is_void = |key: &LsaKey| self.is_own(key, router) && !wanted.contains_key(&(place.clone(), *key));
            let void: Vec<LsaKey> = self.lsdb(&place).map_or_else(Vec::new, |lsdb| {
                let of_part = part.kinds().iter().flat_map(|kind| lsdb.of_type(*kind));
                of_part.filter(|(key, entry)| !entry.is_max_age(now) && is_void(key)).map(|(key, _)| *key).collect()
            });
            void.iter().for_each(|key| self.flush_lsa(now, &place, key));
        }
        next
    }

    /// A new instance of an LSA.
    fn originate(&mut self, now: Time, place: &Place, key: LsaKey, options: Options, body: &[u8]) {
        let before = self.lsdb(place).and_then(|lsdb| lsdb.get(&key)).map(|entry| entry.lsa.header.sequence);
        let sequence = before.map_or(Some(SequenceNumber::INITIAL), SequenceNumber::next);
        let Some(sequence) = sequence else {
            // RFC 2328 section 12.1.6: the last instance must be gone everywhere before the first one can come.
            return self.flush_lsa(now, place, &key);
        };
        match Lsa::originate(key, options, sequence, body) {
            Some(lsa) => _ = self.install(now, place, lsa.view(), Source::Ours, None),
            None => {
                let bytes = body.len();
                self.outbox.log(Level::Error, format!("LSA {key}: {bytes} bytes are more than an LSA may have"));
            }
        }
    }

    /// The same once more, before it is too old.
    pub(crate) fn refresh(&mut self, now: Time, place: &Place, lsa: &Lsa) {
        self.originate(now, place, lsa.key(), lsa.header.options, lsa.body_bytes());
    }

    /// Premature aging: RFC 2328 section 14.1.
    fn flush_lsa(&mut self, now: Time, place: &Place, key: &LsaKey) {
        let Some(entry) = self.lsdb(place).and_then(|lsdb| lsdb.get(key)) else { return };
        if !entry.is_max_age(now) {
            let lsa = entry.lsa.with_age(MAX_AGE);
            self.install(now, place, lsa.view(), Source::Ours, None);
        }
    }

    /// Everything that this router is to say in LSAs of a part.
    fn wanted(&self, router: RouterId, part: Part) -> AllWanted {
        let mut wanted = AllWanted::new();
        if self.stopped || self.config.is_none() {
            return wanted;
        }
        match part {
            Part::Links => self.wanted_links(router, &mut wanted),
            Part::Summaries if self.is_border_router() => self.wanted_summaries(router, &mut wanted),
            Part::Summaries => {}
            Part::Externals => self.wanted_externals(router, &mut wanted),
        }
        wanted
    }

    /// Router-LSAs, and network-LSAs where this router is designated router.
    fn wanted_links(&self, router: RouterId, wanted: &mut AllWanted) {
        let is_border_router = self.is_border_router();
        for (id, area) in self.active_areas() {
            let place = Place::Area(*id);
            let flags = RouterFlags::default()
                .with(RouterFlags::B, is_border_router)
                .with(RouterFlags::E, self.is_boundary_router(area));
            let key = LsaKey::new(LsaType::Router, router, router);
            let body = RouterLsa::encode(flags, &self.router_links(*id));
            wanted.insert((place.clone(), key), Wanted { options: area.options(), body });
            for interface in self.interfaces.values().filter(|interface| interface.area == *id) {
                if let Some(body) = network_lsa(interface, router) {
                    let key = LsaKey::new(LsaType::Network, interface.address.addr(), router);
                    wanted.insert((place.clone(), key), Wanted { options: area.options(), body });
                }
            }
        }
    }

    /// RFC 2328 section 12.4.1.
    fn router_links(&self, area: AreaId) -> Vec<RouterLink> {
        let is_last_resort = self.config.as_ref().is_some_and(|config| config.max_metric);
        let mut links = Vec::new();
        for interface in self.interfaces.values().filter(|interface| interface.area == area) {
            let transit_cost = if is_last_resort { MAX_LINK_METRIC } else { interface.cost };
            let own = interface.address;
            let stub = |prefix: Ipv4Net, metric| RouterLink {
                kind: RouterLinkKind::Stub,
                id: prefix.network(),
                data: prefix.netmask(),
                metric,
            };
            match interface.state {
                InterfaceState::Down => continue,
                InterfaceState::Loopback => links.push(stub(own.addr().into(), 0)),
                InterfaceState::PointToPoint => {
                    links.extend(interface.adjacent().map(|neighbor| RouterLink {
                        kind: RouterLinkKind::PointToPoint,
                        id: neighbor.router,
                        data: own.addr(),
                        metric: transit_cost,
                    }));
                    links.push(stub(own, interface.cost));
                }
                InterfaceState::Waiting => links.push(stub(own, interface.cost)),
                InterfaceState::DrOther | InterfaceState::Backup | InterfaceState::Dr => {
                    links.push(match transit(interface) {
                        Some(id) => {
                            RouterLink { kind: RouterLinkKind::Transit, id, data: own.addr(), metric: transit_cost }
                        }
                        None => stub(own, interface.cost),
                    });
                }
            }
            links.extend(interface.secondary.iter().map(|prefix| stub(*prefix, interface.cost)));
        }
        links
    }
}

/// The designated router's address, if the network is one that packets pass: RFC 2328 section 12.4.1.2.
fn transit(interface: &Interface) -> Option<Ipv4Addr> {
    let designated = interface.elected.designated?;
    let is_attached = match interface.state {
        InterfaceState::Dr => interface.adjacent().next().is_some(),
        InterfaceState::DrOther | InterfaceState::Backup => {
            interface.adjacent().any(|neighbor| neighbor.address == designated)
        }
        InterfaceState::Down | InterfaceState::Loopback | InterfaceState::Waiting | InterfaceState::PointToPoint => {
            false
        }
    };
    is_attached.then_some(designated)
}

/// RFC 2328 section 12.4.2: what the designated router says of the network.
fn network_lsa(interface: &Interface, router: RouterId) -> Option<Vec<u8>> {
    let mut routers: Vec<RouterId> = interface.adjacent().map(|neighbor| neighbor.router).collect();
    if interface.state != InterfaceState::Dr || routers.is_empty() {
        return None;
    }
    routers.push(router);
    routers.sort_unstable();
    Some(NetworkLsa::encode(interface.address.netmask(), &routers))
}
