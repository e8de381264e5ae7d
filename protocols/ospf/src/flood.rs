//! LSAs come, go on, and are acknowledged: RFC 2328 sections 13 to 13.7 and 14.

use std::net::Ipv4Addr;
use std::time::Duration;

use sdk::InterfaceName;
use sdk::core::Time;

use crate::config::AreaKind;
use crate::drops::Drop;
use crate::early::MIN_LS_ARRIVAL;
use crate::fsm::{InterfaceState, NeighborEvent};
use crate::instance::Ospf;
use crate::interface::Interface;
use crate::lsdb::{Place, Source};
use crate::neighbor::Neighbor;
use crate::originate::Part;
use crate::packet::{
    LSA_HEADER_LEN, LinkStateAcknowledgment, LinkStateUpdate, Lsa, LsaHeader, LsaKey, LsaType, MAX_AGE, Options,
    PacketKind, Recency, SequenceNumber,
};

/// The first retransmission comes earlier than those that follow: a neighbor that keeps RFC 2328's MinLSArrival drops a
/// second instance within 1 s and does not acknowledge it.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(1100);
/// Acknowledgments wait so long for others: RFC 2328 section 13.5 wants less than the retransmission interval.
const ACKNOWLEDGMENT_DELAY: Duration = Duration::from_millis(200);

/// What becomes of an LSA that came.
enum Verdict {
    /// Newer than what is known.
    Newer,
    /// The same as what is known.
    Same,
    /// Older than what is known.
    Older,
    /// At MaxAge and not known: acknowledged and forgotten.
    Unknown,
}

impl Ospf {
    /// RFC 2328 section 13.
    pub(crate) fn update(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        update: &LinkStateUpdate<'_>,
    ) -> Result<(), Drop> {
        if !self.neighbor(name, key).is_some_and(|(_, neighbor)| neighbor.is_flooded_to()) {
            return Err(Drop::NoConversation);
        }
        self.take_lsas(now, name, key, update.lsas().map(|lsa| lsa.map_err(Drop::from)));
        self.send_request(now, name, key);
        Ok(())
    }

    /// LSAs of a neighbor, and their acknowledgments.
    pub(crate) fn take_lsas(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        lsas: impl Iterator<Item = Result<Lsa, Drop>>,
    ) {
        let mut acknowledge_now = Vec::new();
        for lsa in lsas {
            let taken = lsa.and_then(|lsa| {
                let header = lsa.header;
                Ok((self.take_lsa(now, name, key, lsa)?, header))
            });
            match taken {
                Ok((Acknowledge::AtOnce, header)) => acknowledge_now.push(header),
                Ok((Acknowledge::Later, header)) => self.acknowledge_later(now, name, header),
                Ok((Acknowledge::No, _)) => {}
                Ok((Acknowledge::StartAnew, _)) => {
                    self.neighbor_event(now, name, key, NeighborEvent::BadLsReq);
                    break;
                }
                Err(reason) => self.drops.count(reason),
            }
        }
        if let Some(to) = self.neighbor(name, key).map(|(interface, neighbor)| interface.destination(neighbor)) {
            self.send_acknowledgments(now, name, to, &acknowledge_now);
        }
    }

    /// One LSA: steps 3 to 8 of section 13.
    fn take_lsa(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, lsa: Lsa) -> Result<Acknowledge, Drop> {
        let (Some((interface, neighbor)), Some(router)) = (self.neighbor(name, key), self.router_id) else {
            return Err(Drop::NoConversation);
        };
        let area = self.areas.get(&interface.area).filter(|area| area.takes(lsa.key().kind));
        area.ok_or(Drop::LsaNotOfArea)?;
        let place = self.place(interface, &lsa.key());
        let known = self.lsdb(&place).and_then(|lsdb| lsdb.get(&lsa.key()));
        let verdict = match known.map(|known| lsa.header.recency(&known.header(now))) {
            None if lsa.header.age >= MAX_AGE && !self.is_anyone_synchronizing(&place) => Verdict::Unknown,
            None | Some(Recency::Newer) => Verdict::Newer,
            Some(Recency::Same) => Verdict::Same,
            Some(Recency::Older) => Verdict::Older,
        };
        let is_asked_for = neighbor.requests.contains_key(&lsa.key());
        match verdict {
            Verdict::Unknown => Ok(Acknowledge::AtOnce),
            Verdict::Newer => {
                let flooded = known.filter(|known| known.source == Source::Flooded && !is_asked_for);
                if let Some(due) = flooded.map(|known| known.installed + MIN_LS_ARRIVAL).filter(|due| *due > now) {
                    self.keep_early(place, lsa, (name.clone(), key), due);
                    return Ok(Acknowledge::No);
                }
                let is_backup = interface.state == InterfaceState::Backup;
                let from_dr = interface.elected.designated == Some(neighbor.address);
                let is_own = self.is_own(&lsa.key(), router);
                let header = lsa.header;
                let went_back = self.install(now, &place, lsa, Source::Flooded, Some((name, key)));
                self.look_for_grace(now, name, &header);
                if is_own {
                    // Step 5 (f), section 13.4: it is superseded or flushed, whichever is so.
                    self.part_changed(now, Part::of(header.key.kind));
                }
                Ok(match went_back {
                    true => Acknowledge::No,
                    false if is_backup && !from_dr => Acknowledge::No,
                    false => Acknowledge::Later,
                })
            }
            Verdict::Same | Verdict::Older if is_asked_for && !matches!(verdict, Verdict::Same) => {
                Ok(Acknowledge::StartAnew)
            }
            Verdict::Same => Ok(self.same_lsa(name, key, &lsa)),
            Verdict::Older => {
                self.drops.count(Drop::LsaOlder);
                self.answer_older(now, name, key, &place, &lsa);
                Ok(Acknowledge::No)
            }
        }
    }

    /// Step 7: it may be meant as an acknowledgment.
    fn same_lsa(&mut self, name: &InterfaceName, key: Ipv4Addr, lsa: &Lsa) -> Acknowledge {
        let Some(interface) = self.interfaces.get_mut(name) else { return Acknowledge::No };
        let (state, designated) = (interface.state, interface.elected.designated);
        let Some(neighbor) = interface.neighbors.get_mut(&key) else { return Acknowledge::No };
        // Asked for, and come from another neighbor meanwhile.
        neighbor.forget_request(&lsa.key());
        let waited_for = neighbor.retransmissions.get(&lsa.key());
        let is_implied = waited_for.is_some_and(|sent| sent.recency(&lsa.header) == Recency::Same);
        if !is_implied {
            return Acknowledge::AtOnce;
        }
        neighbor.retransmissions.remove(&lsa.key());
        match state == InterfaceState::Backup && designated == Some(neighbor.address) {
            true => Acknowledge::Later,
            false => Acknowledge::No,
        }
    }

    /// Step 8: the neighbor gets what is newer, though not too often.
    fn answer_older(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, place: &Place, lsa: &Lsa) {
        let Some(to) = self.neighbor(name, key).map(|(interface, neighbor)| interface.destination(neighbor)) else {
            return;
        };
        let Some(lsdb) = self.lsdb_mut(place) else { return };
        let Some(known) = lsdb.get(&lsa.key()) else { return };
        let wraps = known.is_max_age(now) && known.lsa.header.sequence == SequenceNumber::MAX;
        let answered_just_now = lsdb.answered(&lsa.key()).is_some_and(|at| now.since(at) < MIN_LS_ARRIVAL);
        if wraps || answered_just_now {
            return;
        }
        lsdb.answer(now, lsa.key());
        self.send_updates(now, name, to, &[lsa.key()]);
    }

    /// Whether an LSA is one that this router originates: RFC 2328 section 13.4.
    pub(crate) fn is_own(&self, key: &LsaKey, router: Ipv4Addr) -> bool {
        key.router == router || (key.kind == LsaType::Network && self.is_own_address(key.id))
    }

    /// Puts an instance into a database and floods it. Whether it went back out of the interface that it came by.
    pub(crate) fn install(
        &mut self,
        now: Time,
        place: &Place,
        lsa: Lsa,
        source: Source,
        from: Option<(&InterfaceName, Ipv4Addr)>,
    ) -> bool {
        let header = lsa.header;
        let Some(lsdb) = self.lsdb_mut(place) else { return false };
        if lsdb.install(now, lsa, source) {
            self.lsa_changed(now, header.key);
        }
        self.flood(now, place, header, from)
    }

    /// RFC 2328 section 13.3.
    fn flood(&mut self, now: Time, place: &Place, header: LsaHeader, from: Option<(&InterfaceName, Ipv4Addr)>) -> bool {
        let mut went_back = false;
        for interface in self.interfaces.values_mut() {
            let is_eligible = match place {
                Place::Link(link) => *link == interface.name,
                Place::Area(area) => *area == interface.area,
                Place::As => self.areas.get(&interface.area).is_some_and(|area| area.takes(header.key.kind)),
            };
            if !is_eligible {
                continue;
            }
            let came_by = from.filter(|(name, _)| **name == interface.name).map(|(_, key)| key);
            let Some(sender_is_designated) = interface.queue(now, header, came_by) else { continue };
            // Step 3 and 4: the designated router has told them all, or will.
            if came_by.is_some() && (sender_is_designated || interface.state == InterfaceState::Backup) {
                continue;
            }
            interface.to_flood.push(header.key);
            went_back |= came_by.is_some();
        }
        went_back
    }

    /// Whether a neighbor's database is being brought to the same as one of ours.
    fn is_anyone_synchronizing(&self, place: &Place) -> bool {
        self.in_scope(place).any(|interface| interface.neighbors.values().any(Neighbor::is_synchronizing))
    }

    fn in_scope(&self, place: &Place) -> impl Iterator<Item = &Interface> {
        let is_normal = |interface: &&Interface| {
            self.areas.get(&interface.area).is_some_and(|area| area.config.kind == AreaKind::Normal)
        };
        self.interfaces.values().filter(move |interface| match place {
            Place::Link(name) => interface.name == *name,
            Place::Area(area) => interface.area == *area,
            Place::As => is_normal(interface),
        })
    }

    /// Takes LSAs at MaxAge out of the databases once nobody needs them: RFC 2328 section 14.
    pub(crate) fn bury(&mut self, now: Time) {
        for place in self.places() {
            let dying: Vec<LsaKey> = self.lsdb(&place).map(|lsdb| lsdb.dying().copied().collect()).unwrap_or_default();
            if dying.is_empty() || self.is_anyone_synchronizing(&place) {
                continue;
            }
            let is_needed = |key: &LsaKey| {
                let waits = |neighbor: &Neighbor| neighbor.retransmissions.get(key).is_some();
                self.in_scope(&place).any(|interface| interface.neighbors.values().any(waits))
            };
            let buried: Vec<LsaKey> = dying.into_iter().filter(|key| !is_needed(key)).collect();
            for key in buried {
                self.lsdb_mut(&place).and_then(|lsdb| lsdb.remove(&key));
                if self.router_id == Some(key.router) {
                    // One whose sequence number wrapped can be originated again.
                    self.part_changed(now, Part::of(key.kind));
                }
            }
        }
    }

    /// Refreshes our own LSAs and flushes those of others that nobody refreshed: RFC 2328 sections 12.4 and 14.
    pub(crate) fn age_lsas(&mut self, now: Time) {
        for place in self.places() {
            let due = self.lsdb_mut(&place).map(|lsdb| lsdb.take_due(now)).unwrap_or_default();
            for key in due {
                let Some(entry) = self.lsdb(&place).and_then(|lsdb| lsdb.get(&key)) else { continue };
                let lsa = entry.lsa.clone();
                match entry.source {
                    Source::Ours if !entry.is_max_age(now) => self.refresh(now, &place, &lsa),
                    Source::Ours | Source::Flooded => {
                        self.install(now, &place, lsa.with_age(MAX_AGE), Source::Flooded, None);
                    }
                }
            }
        }
    }

    /// Sends an LSA to one neighbor until it acknowledges it.
    pub(crate) fn send_reliably(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, header: LsaHeader) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        let due = now + interface.config.retransmit.min(FIRST_RETRANSMISSION);
        let Some(neighbor) = interface.neighbors.get_mut(&key) else { return };
        neighbor.retransmissions.insert(header.key, header, due);
        let Some(to) = self.neighbor(name, key).map(|(interface, neighbor)| interface.destination(neighbor)) else {
            return;
        };
        self.send_updates(now, name, to, &[header.key]);
    }

    /// Sends again what a neighbor has not acknowledged: RFC 2328 section 13.6.
    pub(crate) fn retransmit(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        let interval = interface.config.retransmit;
        let Some(neighbor) = interface.neighbors.get_mut(&key) else { return };
        let due = neighbor.retransmissions.take_due(now, interval);
        if !due.is_empty()
            && let Some(to) = self.neighbor(name, key).map(|(interface, neighbor)| interface.destination(neighbor))
        {
            self.send_updates(now, name, to, &due);
        }
    }

    /// Sends what was queued for all neighbors of each interface.
    pub(crate) fn flood_queued(&mut self, now: Time) {
        let queued = |(_, interface): &(&InterfaceName, &Interface)| !interface.to_flood.is_empty();
        for name in self.interfaces.iter().filter(queued).map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let Some(interface) = self.interfaces.get_mut(&name) else { continue };
            let mut keys = std::mem::take(&mut interface.to_flood);
            keys.sort_unstable();
            keys.dedup();
            let to = interface.flood_destination();
            self.send_updates(now, &name, to, &keys);
        }
    }

    /// Updates with these LSAs, as many in each as fit; one that is longer is sent alone, in fragments.
    pub(crate) fn send_updates(&mut self, now: Time, name: &InterfaceName, to: Ipv4Addr, keys: &[LsaKey]) {
        let Some(interface) = self.interfaces.get(name) else { return };
        let room = interface.room().saturating_sub(LinkStateUpdate::FIXED_LEN);
        let delay = interface.config.transmit_delay_seconds;
        let mut lsas: Vec<(Lsa, u16)> = Vec::new();
        for key in keys {
            let place = self.place(interface, key);
            if let Some(entry) = self.lsdb(&place).and_then(|lsdb| lsdb.get(key)) {
                lsas.push((entry.lsa.clone(), entry.age(now).saturating_add(delay).min(MAX_AGE)));
            }
        }
        let mut rest = &lsas[..];
        while !rest.is_empty() {
            let mut length = 0;
            let fits = |(lsa, _): &&(Lsa, u16)| {
                length += lsa.len_bytes();
                length <= room
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now_sent, later) = rest.split_at(count);
            rest = later;
            let with_age = now_sent.iter().map(|(lsa, age)| (lsa, *age));
            self.transmit(now, name, to, PacketKind::LinkStateUpdate, |into| {
                into.reserve(room);
                LinkStateUpdate::encode(with_age, into);
            });
        }
    }

    fn acknowledge_later(&mut self, now: Time, name: &InterfaceName, header: LsaHeader) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        interface.acknowledgments.push(header);
        interface.acknowledge_at.get_or_insert(now + ACKNOWLEDGMENT_DELAY);
    }

    /// Acknowledgments that have waited long enough.
    pub(crate) fn flood_timers(&mut self, now: Time, name: &InterfaceName) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        if interface.acknowledge_at.take_if(|at| *at <= now).is_some() {
            let headers = std::mem::take(&mut interface.acknowledgments);
            let to = interface.flood_destination();
            self.send_acknowledgments(now, name, to, &headers);
        }
    }

    fn send_acknowledgments(&mut self, now: Time, name: &InterfaceName, to: Ipv4Addr, headers: &[LsaHeader]) {
        let Some(interface) = self.interfaces.get(name) else { return };
        for headers in headers.chunks((interface.room() / LSA_HEADER_LEN).max(1)) {
            let kind = PacketKind::LinkStateAcknowledgment;
            self.transmit(now, name, to, kind, |into| LinkStateAcknowledgment::encode(headers, into));
        }
    }

    /// RFC 2328 section 13.7.
    pub(crate) fn acknowledgment(
        &mut self,
        name: &InterfaceName,
        key: Ipv4Addr,
        acknowledgment: &LinkStateAcknowledgment<'_>,
    ) -> Result<(), Drop> {
        let neighbor = self.neighbor_mut(name, key).filter(|neighbor| neighbor.is_flooded_to());
        let neighbor = neighbor.ok_or(Drop::NoConversation)?;
        for header in acknowledgment.headers().flatten() {
            let sent = neighbor.retransmissions.get(&header.key);
            if sent.is_some_and(|sent| sent.recency(&header) == Recency::Same) {
                neighbor.retransmissions.remove(&header.key);
            }
        }
        Ok(())
    }
}

/// How an LSA is acknowledged: RFC 2328 table 19.
enum Acknowledge {
    /// By itself, to the sender.
    AtOnce,
    /// With others, to all.
    Later,
    /// Not, or by sending it on.
    No,
    /// The exchange went wrong: step 6.
    StartAnew,
}

impl Interface {
    /// Steps 1 and 2 of RFC 2328 section 13.3: who of the neighbors is to get an instance. `None`: nobody. Otherwise
    /// whether it came from the designated router or its backup.
    fn queue(&mut self, now: Time, header: LsaHeader, came_by: Option<Ipv4Addr>) -> Option<bool> {
        let due = now + self.config.retransmit.min(FIRST_RETRANSMISSION);
        let mut is_for_somebody = false;
        for (key, neighbor) in self.neighbors.iter_mut().filter(|(_, neighbor)| neighbor.is_flooded_to()) {
            let is_wanted = neighbor.wants(&header) && came_by != Some(*key);
            let is_understood = !header.key.kind.is_opaque() || neighbor.options.contains(Options::O);
            if !is_wanted || !is_understood {
                // The instance before is not waited for any longer.
                neighbor.retransmissions.remove(&header.key);
                continue;
            }
            neighbor.retransmissions.insert(header.key, header, due);
            is_for_somebody = true;
        }
        let sender = came_by.and_then(|key| self.neighbors.get(&key));
        is_for_somebody.then(|| sender.is_some_and(|sender| self.is_designated(sender.address)))
    }
}
