//! Duplicate address detection (RFC 4862 section 5.4): before an IPv6 address of a port is used, its link is asked once
//! whether somebody else has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::ids::IfIndex;
use crate::time::Time;

/// How long an answer is waited for: one solicitation (DupAddrDetectTransmits) of RetransTimer (RFC 4861 section 10).
pub const WAIT: Duration = Duration::from_secs(1);

/// An address on a link.
pub type Key = (IfIndex, Ipv6Addr);

/// Addresses that are being asked for.
#[derive(Debug, Default)]
pub struct Detection {
    waiting: BTreeMap<Key, Time>,
}

impl Detection {
    /// These addresses are tentative, and no others. Returns those that were not before: they are to be asked for.
    pub fn set(&mut self, now: Time, tentative: &BTreeSet<Key>) -> Vec<Key> {
        self.waiting.retain(|key, _| tentative.contains(key));
        let new: Vec<Key> = tentative.iter().filter(|key| !self.waiting.contains_key(key)).copied().collect();
        self.waiting.extend(new.iter().map(|key| (*key, now + WAIT)));
        new
    }

    /// Whether an address is being asked for.
    pub fn contains(&self, key: Key) -> bool {
        self.waiting.contains_key(&key)
    }

    /// Somebody else has it. Whether it was being asked for.
    pub fn conflict(&mut self, key: Key) -> bool {
        self.waiting.remove(&key).is_some()
    }

    /// Addresses for which nobody has answered by `now`.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<Key> {
        let free: Vec<Key> = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
        free.iter().for_each(|key| _ = self.waiting.remove(key));
        free
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.waiting.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32, last: u16) -> Key {
        (IfIndex(index), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last))
    }

    #[test]
    fn an_address_is_free_when_nobody_answers_and_not_when_somebody_does() {
        let mut detection = Detection::default();
        let start = Time::from_millis(500);
        let tentative = BTreeSet::from([key(1, 1), key(1, 2), key(2, 1)]);
        assert_eq!(detection.set(start, &tentative).len(), 3);
        assert_eq!(detection.set(start + WAIT / 2, &tentative), [], "asked once");
        assert!(detection.conflict(key(1, 2)) && !detection.conflict(key(1, 2)));
        assert_eq!(detection.handle_timeout(start), []);
        assert_eq!(detection.poll_timeout(), Some(start + WAIT));
        assert_eq!(detection.handle_timeout(start + WAIT), [key(1, 1), key(2, 1)]);
        assert_eq!(detection.poll_timeout(), None);
    }

    #[test]
    fn an_address_that_is_gone_is_asked_for_no_more() {
        let mut detection = Detection::default();
        detection.set(Time::ZERO, &BTreeSet::from([key(1, 1)]));
        assert_eq!(detection.set(Time::ZERO, &BTreeSet::new()), []);
        assert_eq!(detection.handle_timeout(Time::ZERO + WAIT), []);
    }
}
