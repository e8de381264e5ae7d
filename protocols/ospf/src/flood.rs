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
use crate::links::Sender;
use crate::lsdb::{Entry, Place, Source};
use crate::neighbor::Neighbor;
use crate::originate::Part;
use crate::packet::{
    LSA_HEADER_LEN, LinkStateAcknowledgment, LinkStateUpdate, Lsa, LsaHeader, LsaKey, LsaType, LsaView, MAX_AGE,
    Options, PacketKind, Recency, SequenceNumber, UpdateBuilder,
};

/// The first retransmission comes earlier than those that follow: a neighbor that keeps RFC 2328's MinLSArrival drops a
/// second instance within 1 s and does not acknowledge it.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(1100);
/// Acknowledgments wait so long for others: RFC 2328 section 13.5 wants less than the retransmission interval.
const ACKNOWLEDGMENT_DELAY: Duration = Duration::from_millis(200);

/// About as many LSAs are in a packet that fills a link of 1,500 bytes.
const LSAS_OF_A_PACKET: usize = 40;

/// Why an LSA that came is not put into a database.
enum Refused {
    /// At MaxAge and not known: acknowledged and forgotten.
    Unknown,
    /// Newer, but the one before came just now: it is taken at this time.
    TooSoon(Time),
    /// The same as what is known.
    Same,
    /// Older than what is known.
    Older,
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
        self.take_lsas(now, name, key, update.views().map(|lsa| lsa.map_err(Drop::from)));
        self.send_request(now, name, key);
        Ok(())
    }

    /// LSAs of a neighbor, and their acknowledgments.
    pub(crate) fn take_lsas<'l>(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        lsas: impl Iterator<Item = Result<LsaView<'l>, Drop>>,
    ) {
        let (mut acknowledge_now, mut acknowledge_later) = (Vec::new(), Vec::with_capacity(LSAS_OF_A_PACKET));
        for lsa in lsas {
            match lsa.and_then(|lsa| Ok((self.take_lsa(now, name, key, lsa)?, lsa.header))) {
                Ok((Acknowledge::AtOnce, header)) => acknowledge_now.push(header),
                Ok((Acknowledge::Later, header)) => acknowledge_later.push(header),
                Ok((Acknowledge::No, _)) => {}
                Ok((Acknowledge::StartAnew, _)) => {
                    self.neighbor_event(now, name, key, NeighborEvent::BadLsReq);
                    break;
                }
                Err(reason) => self.drops.count(reason),
            }
        }
        self.acknowledge_later(now, name, &acknowledge_later);
        if let Some(to) = self.neighbor(name, key).map(|(interface, neighbor)| interface.destination(neighbor)) {
            self.send_acknowledgments(now, name, to, &acknowledge_now);
        }
    }

    /// One LSA: steps 3 to 8 of section 13.
    fn take_lsa(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        lsa: LsaView<'_>,
    ) -> Result<Acknowledge, Drop> {
        let (Some((interface, neighbor)), Some(router)) = (self.neighbor(name, key), self.router_id) else {
            return Err(Drop::NoConversation);
        };
        let area = self.areas.get(&interface.area).filter(|area| area.takes(lsa.key().kind));
        area.ok_or(Drop::LsaNotOfArea)?;
        let header = lsa.header;
        let place = self.place(interface, &header.key);
        let is_asked_for = neighbor.requests.contains_key(&header.key);
        // Table 19: a backup acknowledges what came from the designated router.
        let is_silent =
            interface.state == InterfaceState::Backup && interface.elected.designated != Some(neighbor.address);
        let is_void = header.age >= MAX_AGE && !self.is_anyone_synchronizing(&place);
        let refuse = |known: Option<&Entry>| {
            let Some(known) = known else { return is_void.then_some(Refused::Unknown) };
            match header.recency(&known.header(now)) {
                Recency::Newer if known.source == Source::Flooded && !is_asked_for => {
                    let due = known.installed + MIN_LS_ARRIVAL;
                    (due > now).then_some(Refused::TooSoon(due))
                }
                Recency::Newer => None,
                Recency::Same => Some(Refused::Same),
                Recency::Older => Some(Refused::Older),
            }
        };
        let lsdb = self.lsdb_mut(&place).ok_or(Drop::LsaNotOfArea)?;
        match lsdb.install_unless(now, lsa, Source::Flooded, refuse) {
            Ok(changed) => {
                let went_back = self.installed(now, &place, lsa, changed, Some((name, key)));
                self.look_for_grace(now, name, &header);
                if self.is_own(&header.key, router) {
                    // Step 5 (f), section 13.4: it is superseded or flushed, whichever is so.
                    self.part_changed(now, Part::of(header.key.kind));
                }
                Ok(if went_back || is_silent { Acknowledge::No } else { Acknowledge::Later })
            }
            Err(Refused::Unknown) => Ok(Acknowledge::AtOnce),
            Err(Refused::TooSoon(due)) => {
                self.keep_early(place, lsa.to_lsa(), (name.clone(), key), due);
                Ok(Acknowledge::No)
            }
            Err(Refused::Same) => Ok(self.same_lsa(name, key, &header)),
            Err(Refused::Older) if is_asked_for => Ok(Acknowledge::StartAnew),
            Err(Refused::Older) => {
                self.drops.count(Drop::LsaOlder);
                self.answer_older(now, name, key, &place, &header.key);
                Ok(Acknowledge::No)
            }
        }
    }

    /// Step 7: it may be meant as an acknowledgment.
    fn same_lsa(&mut self, name: &InterfaceName, key: Ipv4Addr, header: &LsaHeader) -> Acknowledge {
        let Some(interface) = self.interfaces.get_mut(name) else { return Acknowledge::No };
        let (state, designated) = (interface.state, interface.elected.designated);
        let Some(neighbor) = interface.neighbors.get_mut(&key) else { return Acknowledge::No };
        // Asked for, and come from another neighbor meanwhile.
        neighbor.forget_request(&header.key);
        let waited_for = neighbor.retransmissions.get(&header.key);
        let is_implied = waited_for.is_some_and(|sent| sent.recency(header) == Recency::Same);
        if !is_implied {
            return Acknowledge::AtOnce;
        }
        neighbor.retransmissions.remove(&header.key);
        match state == InterfaceState::Backup && designated == Some(neighbor.address) {
            true => Acknowledge::Later,
            false => Acknowledge::No,
        }
    }

    /// Step 8: the neighbor gets what is newer, though not too often.
    fn answer_older(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, place: &Place, lsa: &LsaKey) {
        let Some(to) = self.neighbor(name, key).map(|(interface, neighbor)| interface.destination(neighbor)) else {
            return;
        };
        let Some(lsdb) = self.lsdb_mut(place) else { return };
        let Some(known) = lsdb.get(lsa) else { return };
        let wraps = known.is_max_age(now) && known.lsa.header.sequence == SequenceNumber::MAX;
        let answered_just_now = lsdb.answered(lsa).is_some_and(|at| now.since(at) < MIN_LS_ARRIVAL);
        if wraps || answered_just_now {
            return;
        }
        lsdb.answer(now, *lsa);
        self.send_updates(now, name, to, &[*lsa]);
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
        lsa: LsaView<'_>,
        source: Source,
        from: Option<(&InterfaceName, Ipv4Addr)>,
    ) -> bool {
        let Some(lsdb) = self.lsdb_mut(place) else { return false };
        let changed = lsdb.install(now, lsa, source);
        self.installed(now, place, lsa, changed, from)
    }

    /// An instance is in a database.
    fn installed(
        &mut self,
        now: Time,
        place: &Place,
        lsa: LsaView<'_>,
        changed: bool,
        from: Option<(&InterfaceName, Ipv4Addr)>,
    ) -> bool {
        if changed {
            self.lsa_changed(now, lsa.key());
        }
        self.flood(now, place, lsa, from)
    }

    /// RFC 2328 section 13.3.
    fn flood(&mut self, now: Time, place: &Place, lsa: LsaView<'_>, from: Option<(&InterfaceName, Ipv4Addr)>) -> bool {
        let header = lsa.header;
        let mut went_back = false;
        let Some(router) = self.router_id else { return false };
        let mut sender = Sender { router, wall_seconds: self.wall_seconds(now), outbox: &mut self.outbox };
        let mut is_sent = false;
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
            interface.flood(lsa, &mut sender);
            is_sent = true;
            went_back |= came_by.is_some();
        }
        self.flooded += u32::from(is_sent);
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
        if !self.databases().any(|lsdb| lsdb.dying().next().is_some()) {
            return;
        }
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
                        self.install(now, &place, lsa.with_age(MAX_AGE).view(), Source::Flooded, None);
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

    /// Sends what of a flood did not fill a packet yet, out of each interface.
    pub(crate) fn flood_queued(&mut self, now: Time) {
        let Some(router) = self.router_id else { return };
        let mut sender = Sender { router, wall_seconds: self.wall_seconds(now), outbox: &mut self.outbox };
        for interface in self.interfaces.values_mut().filter(|interface| !interface.to_flood.is_empty()) {
            interface.send_flood(&mut sender);
        }
    }

    /// Updates with these LSAs, as many in each as fit; one that is longer is sent alone, in fragments.
    pub(crate) fn send_updates(&mut self, now: Time, name: &InterfaceName, to: Ipv4Addr, keys: &[LsaKey]) {
        let Some(interface) = self.interfaces.get(name) else { return };
        let (room, delay) = (interface.room(), interface.config.transmit_delay_seconds);
        let find = |key: &LsaKey| {
            let entry = self.lsdb(&self.place(interface, key))?.get(key)?;
            Some((entry.lsa.clone(), sent_age(entry.age(now), delay)))
        };
        let lsas: Vec<(Lsa, u16)> = keys.iter().filter_map(find).collect();
        let mut update = UpdateBuilder::default();
        for (lsa, age) in &lsas {
            if !update.has_room(&lsa.view(), room) {
                self.transmit(now, name, to, PacketKind::LinkStateUpdate, |into| update.finish(into));
            }
            update.add(&lsa.view(), *age);
        }
        if !update.is_empty() {
            self.transmit(now, name, to, PacketKind::LinkStateUpdate, |into| update.finish(into));
        }
    }

    fn acknowledge_later(&mut self, now: Time, name: &InterfaceName, headers: &[LsaHeader]) {
        let Some(interface) = self.interfaces.get_mut(name).filter(|_| !headers.is_empty()) else { return };
        interface.acknowledgments.extend_from_slice(headers);
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

/// The age that an LSA of this age is sent with: RFC 2328 section 13.3.
fn sent_age(age: u16, transmit_delay: u16) -> u16 {
    age.saturating_add(transmit_delay).min(MAX_AGE)
}

impl Interface {
    /// Step 5 of RFC 2328 section 13.3: an LSA goes out with others, as soon as they fill a packet. While the neighbors read
    /// that, the next are looked at.
    fn flood(&mut self, lsa: LsaView<'_>, sender: &mut Sender<'_>) {
        if !self.to_flood.has_room(&lsa, self.room()) {
            self.send_flood(sender);
        }
        self.to_flood.add(&lsa, sent_age(lsa.header.age, self.config.transmit_delay_seconds));
    }

    /// The packet that has been put together goes out.
    fn send_flood(&mut self, sender: &mut Sender<'_>) {
        let (to, mut update) = (self.flood_destination(), std::mem::take(&mut self.to_flood));
        self.transmit(sender, to, PacketKind::LinkStateUpdate, |into| update.finish(into));
        self.to_flood = update;
    }

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
