//! A link state database: the LSAs of an area, of a link, or of the AS. RFC 2328 sections 12.2 and 14.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use sdk::InterfaceName;
use sdk::core::Time;

use crate::packet::{AreaId, Lsa, LsaHeader, LsaKey, LsaType, LsaView, MAX_AGE, age_after};

/// Age at which a router originates its own LSA anew: RFC 2328 section B.
pub const REFRESH_TIME: Duration = Duration::from_secs(1800);
/// The refreshes of one router are spread over so long, so that they do not all go out at once.
const REFRESH_SPREAD_SECONDS: u32 = 120;

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// That of a link: opaque LSAs.
    Link(InterfaceName),
    /// That of an area.
    Area(AreaId),
    /// That of all areas but stubs.
    As,
}

/// Where an instance came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This process originated it.
    Ours,
    /// A neighbor sent it.
    Flooded,
}

/// An LSA in a database.
#[derive(Debug, Clone)]
pub struct Entry {
    /// With the age that it had when it was installed.
    pub lsa: Lsa,
    /// When that was.
    pub installed: Time,
    /// Where it came from.
    pub source: Source,
}

impl Entry {
    /// Its age in seconds.
    pub fn age(&self, now: Time) -> u16 {
        age_after(self.lsa.header.age, now.since(self.installed))
    }

    /// Its header at its age.
    pub fn header(&self, now: Time) -> LsaHeader {
        LsaHeader { age: self.age(now), ..self.lsa.header }
    }

    /// When an LSA of ours is to be refreshed, another's reaches MaxAge. It is calculated, not kept: there may be many LSAs.
    fn due(&self) -> Time {
        let to_live = Duration::from_secs((MAX_AGE - self.lsa.header.age.min(MAX_AGE)).into());
        let after = match self.source {
            Source::Ours => REFRESH_TIME.saturating_sub(spread(&self.lsa.header.key)).min(to_live),
            Source::Flooded => to_live,
        };
        self.installed + after
    }

    /// Whether it is not used any longer.
    pub fn is_max_age(&self, now: Time) -> bool {
        self.age(now) >= MAX_AGE
    }
}

/// A database.
#[derive(Debug, Default)]
pub struct Lsdb {
    entries: BTreeMap<LsaKey, Entry>,
    /// When an LSA of ours is to be refreshed, another's reaches MaxAge.
    agenda: Agenda,
    /// Those at MaxAge, which stay until nobody needs them.
    dying: BTreeSet<LsaKey>,
    /// Those that were sent in answer to an older instance, and when.
    answered: BTreeMap<LsaKey, Time>,
    /// Those of routers and networks that say something else since somebody asked.
    changes: BTreeSet<LsaKey>,
    bytes: usize,
    /// Those that a neighbor sent.
    flooded: usize,
}

impl Lsdb {
    /// The instance of an LSA.
    pub fn get(&self, key: &LsaKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// When this instance was last sent in answer to an older one.
    pub fn answered(&self, key: &LsaKey) -> Option<Time> {
        self.answered.get(key).copied()
    }

    /// It is sent in answer now.
    pub fn answer(&mut self, now: Time, key: LsaKey) {
        self.answered.insert(key, now);
    }

    /// All LSAs, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.entries.iter()
    }

    /// Those of one type and Link State ID.
    pub fn of_id(&self, kind: LsaType, id: Ipv4Addr) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.entries.range(LsaKey::new(kind, id, Ipv4Addr::UNSPECIFIED)..=LsaKey::new(kind, id, Ipv4Addr::BROADCAST))
    }

    /// Router- and network-LSAs that were not there when this was last asked, say something else, or are gone.
    pub fn take_changes(&mut self) -> BTreeSet<LsaKey> {
        std::mem::take(&mut self.changes)
    }

    /// Those of one type.
    pub fn of_type(&self, kind: LsaType) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        let (lowest, highest) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        self.entries.range(LsaKey::new(kind, lowest, lowest)..=LsaKey::new(kind, highest, highest))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them a neighbor sent.
    pub fn flooded(&self) -> usize {
        self.flooded
    }

    /// Bytes of all LSAs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The sum of all checksums, by which two routers can be compared: RFC 1850 `ospfAreaLsaCksumSum`.
    pub fn checksum_sum(&self) -> u64 {
        self.entries.values().map(|entry| u64::from(entry.lsa.header.checksum)).sum()
    }

    /// Puts an instance in the place of an older one. Whether its contents are different: RFC 2328 section 13.2.
    pub fn install(&mut self, now: Time, lsa: LsaView<'_>, source: Source) -> bool {
        match self.install_unless(now, lsa, source, |_| None::<Infallible>) {
            Ok(changed) => changed,
            Err(never) => match never {},
        }
    }

    /// The same, unless `refuse`, which sees what is known, has a reason not to: one look at the database for each LSA that
    /// comes.
    pub fn install_unless<R>(
        &mut self,
        now: Time,
        lsa: LsaView<'_>,
        source: Source,
        refuse: impl FnOnce(Option<&Entry>) -> Option<R>,
    ) -> Result<bool, R> {
        let key = lsa.key();
        let is_dying = lsa.header.age >= MAX_AGE;
        let (due, replaced, changed) = match self.entries.entry(key) {
            Slot::Vacant(place) => {
                if let Some(reason) = refuse(None) {
                    return Err(reason);
                }
                (place.insert(Entry { lsa: lsa.to_lsa(), installed: now, source }).due(), None, true)
            }
            Slot::Occupied(place) => {
                let entry = place.into_mut();
                if let Some(reason) = refuse(Some(entry)) {
                    return Err(reason);
                }
                let old = &entry.lsa;
                let changed = (old.header.options, entry.is_max_age(now)) != (lsa.header.options, is_dying)
                    || old.body_bytes() != lsa.body_bytes();
                let replaced = (old.len_bytes(), entry.source);
                entry.lsa.replace(lsa);
                (entry.installed, entry.source) = (now, source);
                (entry.due(), Some(replaced), changed)
            }
        };
        if let Some((bytes, source)) = replaced {
            self.forget(&key, bytes, source);
        }
        self.bytes += lsa.len_bytes();
        self.flooded += usize::from(source == Source::Flooded);
        if changed {
            self.note(key);
        }
        if is_dying {
            self.dying.insert(key);
        } else {
            self.agenda.add(due, key);
        }
        self.agenda.tidy(&self.entries);
        Ok(changed)
    }

    /// Takes an LSA out.
    pub fn remove(&mut self, key: &LsaKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.forget(key, entry.lsa.len_bytes(), entry.source);
        self.agenda.tidy(&self.entries);
        self.note(*key);
        Some(entry)
    }

    /// What was remembered of an instance that is no longer there.
    fn forget(&mut self, key: &LsaKey, bytes: usize, source: Source) {
        self.dying.remove(key);
        self.answered.remove(key);
        self.bytes -= bytes;
        self.flooded -= usize::from(source == Source::Flooded);
    }

    fn note(&mut self, key: LsaKey) {
        if matches!(key.kind, LsaType::Router | LsaType::Network) {
            self.changes.insert(key);
        }
    }

    /// When to call [`take_due`](Self::take_due).
    pub fn poll_timeout(&self) -> Option<Time> {
        self.agenda.first()
    }

    /// LSAs that are to be refreshed, if ours, or have reached MaxAge.
    pub fn take_due(&mut self, now: Time) -> Vec<LsaKey> {
        let mut keys = self.agenda.take(now);
        // A younger instance has an entry of its own.
        let is_due = |entry: &Entry| entry.due() <= now && entry.lsa.header.age < MAX_AGE;
        keys.retain(|key| self.entries.get(key).is_some_and(is_due));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Those at MaxAge.
    pub fn dying(&self) -> impl Iterator<Item = &LsaKey> {
        self.dying.iter()
    }
}

/// LSAs by the second in which they are to be looked at. What is said of an instance that was replaced stays until then,
/// or until there is more of that than of others: so an LSA takes a quarter of what it takes in a sorted set.
#[derive(Debug, Default)]
struct Agenda {
    seconds: BTreeMap<u64, Vec<LsaKey>>,
    keys: usize,
}

/// Fewer that are out of date are not worth a look.
const FEW: usize = 64;

impl Agenda {
    fn add(&mut self, due: Time, key: LsaKey) {
        self.seconds.entry(due.as_nanos().div_ceil(NANOS)).or_default().push(key);
        self.keys += 1;
    }

    fn first(&self) -> Option<Time> {
        self.seconds.first_key_value().map(|(second, _)| Time::from_nanos(second * NANOS))
    }

    fn take(&mut self, now: Time) -> Vec<LsaKey> {
        let later = self.seconds.split_off(&(now.as_nanos() / NANOS + 1));
        let keys: Vec<LsaKey> = std::mem::replace(&mut self.seconds, later).into_values().flatten().collect();
        self.keys -= keys.len();
        keys
    }

    fn tidy(&mut self, entries: &BTreeMap<LsaKey, Entry>) {
        if self.keys > 2 * entries.len() + if entries.is_empty() { 0 } else { FEW } {
            *self = Self::default();
            let alive = entries.iter().filter(|(_, entry)| entry.lsa.header.age < MAX_AGE);
            alive.for_each(|(key, entry)| self.add(entry.due(), *key));
        }
    }
}

/// Of a second.
const NANOS: u64 = 1_000_000_000;

/// How much before its time an LSA is refreshed: another time for each.
fn spread(key: &LsaKey) -> Duration {
    let mixed = (u32::from(key.id) ^ u32::from(key.kind.code()) << 24).wrapping_mul(0x9e37_79b1) >> 16;
    Duration::from_secs((mixed % REFRESH_SPREAD_SECONDS).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Options, SequenceNumber};

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    fn lsa(id: u8, sequence: i32, body: &[u8]) -> Lsa {
        let key = LsaKey::new(LsaType::OpaqueArea, Ipv4Addr::new(10, 0, 0, id), Ipv4Addr::LOCALHOST);
        Lsa::originate(key, Options::E, SequenceNumber(sequence), body).unwrap()
    }

    #[test]
    fn rfc_2328_section_14_an_lsa_ages_to_max_age_and_stops_there() {
        let mut lsdb = Lsdb::default();
        let one = lsa(1, 1, b"body").with_age(3000);
        let key = one.key();
        lsdb.install(at(10), one.view(), Source::Flooded);
        assert_eq!(lsdb.get(&key).unwrap().age(at(15)), 3005);
        assert_eq!(lsdb.poll_timeout(), Some(at(610)));
        assert_eq!(lsdb.take_due(at(609)), []);
        assert_eq!(lsdb.take_due(at(610)), [key]);
        assert_eq!(lsdb.get(&key).unwrap().age(at(9999)), MAX_AGE);
    }

    #[test]
    fn rfc_2328_section_13_2_only_other_contents_are_a_change() {
        let mut lsdb = Lsdb::default();
        assert!(lsdb.install(at(0), lsa(1, 1, b"body").view(), Source::Flooded));
        assert!(!lsdb.install(at(1), lsa(1, 2, b"body").view(), Source::Flooded));
        assert!(lsdb.install(at(2), lsa(1, 3, b"ydob").view(), Source::Flooded));
        assert!(lsdb.install(at(3), lsa(1, 3, b"ydob").with_age(MAX_AGE).view(), Source::Flooded));
        assert_eq!((lsdb.len(), lsdb.bytes(), lsdb.dying().count()), (1, 24, 1));
        lsdb.remove(&lsa(1, 1, b"").key());
        assert_eq!((lsdb.len(), lsdb.bytes(), lsdb.dying().count(), lsdb.poll_timeout()), (0, 0, 0, None));
        assert_eq!(lsdb.flooded(), 0);
    }

    #[test]
    fn rfc_2328_section_14_an_lsa_that_is_replaced_ages_from_its_last_instance_and_leaves_nothing_behind() {
        let mut lsdb = Lsdb::default();
        for second in 0..1000 {
            lsdb.install(at(second), lsa(1, 1 + second as i32, b"").view(), Source::Flooded);
        }
        assert!(lsdb.agenda.keys <= 2 + FEW, "{} entries of one LSA", lsdb.agenda.keys);
        assert_eq!(lsdb.take_due(at(999 + u64::from(MAX_AGE) - 1)), []);
        assert_eq!(lsdb.take_due(at(999 + u64::from(MAX_AGE))), [lsa(1, 1, b"").key()]);
        assert_eq!(lsdb.poll_timeout(), None);
    }

    #[test]
    fn rfc_2328_section_12_4_refreshes_of_our_own_are_spread_and_in_time() {
        let mut lsdb = Lsdb::default();
        for id in 0..200 {
            lsdb.install(at(0), lsa(id, 1, b"").view(), Source::Ours);
        }
        assert_eq!(lsdb.take_due(at(1680)), []);
        let early = lsdb.take_due(at(1740)).len();
        assert!((50..150).contains(&early), "{early} of 200 in the first half");
        assert_eq!(lsdb.take_due(at(1800)).len(), 200 - early);
    }
}
