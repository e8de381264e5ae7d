//! Which groups the hosts and switches of a link are told that we receive (RFC 3376, the host's part).
//!
//! A change is reported at once, and once more within a second for the case that it was lost. A query is answered
//! within the time that it gives. Where a querier of version 2 was heard, reports are of version 2 for a while.
//! Groups of 224.0.0.0/24 are never reported: every switch forwards them (RFC 4541 section 2.1.2).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::ids::IfIndex;
use crate::time::Time;
use crate::wire::igmp::{Query, QueryVersion, Record};

/// RFC 3376 section 8.11.
const UNSOLICITED_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// RFC 3376 section 8.12, of the usual intervals: 2 × 125 s + 10 s.
const OLD_QUERIER_PRESENT: Duration = Duration::from_secs(260);

/// A report to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// By which interface.
    pub interface: IfIndex,
    /// In which version.
    pub version: QueryVersion,
    /// What it says.
    pub records: Vec<(Ipv4Addr, Record)>,
}

/// The groups that are received, and what is still to be said of them.
#[derive(Debug, Default)]
pub struct Igmp {
    groups: BTreeSet<(IfIndex, Ipv4Addr)>,
    due: BTreeMap<(IfIndex, Ipv4Addr), (Time, Record)>,
    old_queriers: HashMap<IfIndex, Time>,
    random: RandomState,
    drawn: u64,
}

impl Igmp {
    /// These groups are received from now on, and no others.
    pub fn set(&mut self, now: Time, groups: BTreeSet<(IfIndex, Ipv4Addr)>) -> Vec<GroupReport> {
        let old = std::mem::replace(&mut self.groups, groups);
        let joined = self.groups.difference(&old).map(|key| (*key, Record::Joined));
        let left = old.difference(&self.groups).map(|key| (*key, Record::Left));
        let changes: Vec<_> = joined.chain(left).collect();
        for (key, record) in &changes {
            let again = now + self.delay(UNSOLICITED_REPORT_INTERVAL);
            self.due.insert(*key, (again, *record));
        }
        self.reports(now, changes)
    }

    /// A querier asks.
    pub fn handle_query(&mut self, now: Time, interface: IfIndex, query: &Query) {
        if query.version == QueryVersion::Old {
            self.old_queriers.insert(interface, now + OLD_QUERIER_PRESENT);
        }
        let asked =
            |(of, group): &&(IfIndex, Ipv4Addr)| *of == interface && query.group.is_none_or(|wanted| wanted == *group);
        let keys: Vec<_> = self.groups.iter().filter(asked).copied().collect();
        for key in keys {
            let at = now + self.delay(query.max_response);
            // What is to be said earlier answers too.
            let due = self.due.entry(key).or_insert((at, Record::Member));
            if due.0 > at {
                due.0 = at;
            }
        }
    }

    /// What is due by `now`.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<GroupReport> {
        let due: Vec<_> =
            self.due.iter().filter(|(_, (at, _))| *at <= now).map(|(k, (_, record))| (*k, *record)).collect();
        for (key, _) in &due {
            self.due.remove(key);
        }
        self.reports(now, due)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.values().map(|(at, _)| *at).min()
    }

    fn reports(&mut self, now: Time, records: Vec<((IfIndex, Ipv4Addr), Record)>) -> Vec<GroupReport> {
        self.old_queriers.retain(|_, until| *until > now);
        let mut by_interface: BTreeMap<IfIndex, Vec<(Ipv4Addr, Record)>> = BTreeMap::new();
        for ((interface, group), record) in records {
            by_interface.entry(interface).or_default().push((group, record));
        }
        let report = |(interface, records)| {
            let is_old = self.old_queriers.contains_key(&interface);
            let version = if is_old { QueryVersion::Old } else { QueryVersion::V3 };
            GroupReport { interface, version, records }
        };
        by_interface.into_iter().map(report).collect()
    }

    /// A time below `most`, so that the members of a group do not all answer at once.
    fn delay(&mut self, most: Duration) -> Duration {
        self.drawn += 1;
        let nanoseconds = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.random.hash_one(self.drawn) % nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: IfIndex = IfIndex(3);
    const OTHER: IfIndex = IfIndex(4);
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
    const SECOND: Duration = Duration::from_secs(1);

    fn report(interface: IfIndex, version: QueryVersion, record: Record) -> GroupReport {
        GroupReport { interface, version, records: vec![(GROUP, record)] }
    }

    fn query(group: Option<Ipv4Addr>, version: QueryVersion) -> Query {
        Query { group, max_response: SECOND * 10, version }
    }

    #[test]
    fn a_change_is_reported_at_once_and_once_more_within_a_second() {
        let (mut igmp, now) = (Igmp::default(), Time::from_millis(5_000));
        for (groups, record) in [(BTreeSet::from([(PORT, GROUP)]), Record::Joined), (BTreeSet::new(), Record::Left)] {
            let wanted = vec![report(PORT, QueryVersion::V3, record)];
            assert_eq!(igmp.set(now, groups.clone()), wanted);
            assert_eq!(igmp.set(now, groups), [], "nothing new");
            assert!(igmp.poll_timeout().is_some_and(|at| at < now + SECOND));
            assert_eq!(igmp.handle_timeout(now + SECOND), wanted);
            assert_eq!((igmp.handle_timeout(now + SECOND * 100), igmp.poll_timeout()), (vec![], None));
        }
    }

    #[test]
    fn a_query_is_answered_for_its_groups_on_its_interface_within_its_time() {
        let (mut igmp, now) = (Igmp::default(), Time::from_millis(5_000));
        igmp.set(now, BTreeSet::from([(PORT, GROUP), (OTHER, GROUP)]));
        igmp.handle_timeout(now + SECOND);
        let later = now + SECOND * 20;
        igmp.handle_query(later, PORT, &query(Some(Ipv4Addr::new(239, 9, 9, 9)), QueryVersion::V3));
        assert_eq!(igmp.poll_timeout(), None);
        igmp.handle_query(later, PORT, &query(None, QueryVersion::V3));
        let answer = [report(PORT, QueryVersion::V3, Record::Member)];
        assert_eq!(igmp.handle_timeout(later + SECOND * 10), answer);
        igmp.handle_query(later, OTHER, &query(Some(GROUP), QueryVersion::V3));
        assert_eq!(igmp.handle_timeout(later + SECOND * 10), [report(OTHER, QueryVersion::V3, Record::Member)]);
    }

    #[test]
    fn where_an_older_querier_was_heard_reports_are_of_its_version_for_a_while() {
        let (mut igmp, now) = (Igmp::default(), Time::from_millis(5_000));
        igmp.handle_query(now, PORT, &query(None, QueryVersion::Old));
        let joined = igmp.set(now, BTreeSet::from([(PORT, GROUP), (OTHER, GROUP)]));
        let version = |interface, version| report(interface, version, Record::Joined);
        assert_eq!(joined, [version(PORT, QueryVersion::Old), version(OTHER, QueryVersion::V3)]);
        let later = now + OLD_QUERIER_PRESENT;
        let left = igmp.set(later, BTreeSet::new());
        assert_eq!(left[0], report(PORT, QueryVersion::V3, Record::Left));
    }
}
