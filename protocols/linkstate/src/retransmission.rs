//! What was flooded to a neighbor and not acknowledged yet: RFC 2328 section 13.6.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sdk::core::Time;

/// The retransmission list of one neighbor: an instance `I` for each key `K`, sent again until it is acknowledged.
#[derive(Debug, Clone)]
pub struct RetransmissionList<K, I> {
    entries: BTreeMap<K, Entry<I>>,
    /// The same by when they are due.
    due: BTreeSet<(Time, K)>,
}

#[derive(Debug, Clone)]
struct Entry<I> {
    instance: I,
    due: Time,
}

impl<K, I> Default for RetransmissionList<K, I> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), due: BTreeSet::new() }
    }
}

impl<K: Ord + Copy, I> RetransmissionList<K, I> {
    /// Adds what was just sent, in place of an older instance; it is due again at `due`.
    pub fn insert(&mut self, key: K, instance: I, due: Time) {
        self.remove(&key);
        self.entries.insert(key, Entry { instance, due });
        self.due.insert((due, key));
    }

    /// The instance that the neighbor has not acknowledged.
    pub fn get(&self, key: &K) -> Option<&I> {
        self.entries.get(key).map(|entry| &entry.instance)
    }

    /// Nobody waits for this any longer.
    pub fn remove(&mut self, key: &K) -> Option<I> {
        let entry = self.entries.remove(key)?;
        self.due.remove(&(entry.due, *key));
        Some(entry.instance)
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| *due)
    }

    /// All that is due by `now`, to be sent; it is due again after `interval`.
    pub fn take_due(&mut self, now: Time, interval: Duration) -> Vec<K> {
        let mut keys = Vec::new();
        while let Some((due, key)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, key));
            keys.push(key);
        }
        for key in &keys {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.due = now + interval;
                self.due.insert((entry.due, *key));
            }
        }
        keys
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether all is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The neighbor is gone, or starts anew.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.due.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_is_not_acknowledged_is_due_again_and_again() {
        let interval = Duration::from_secs(5);
        let mut list = RetransmissionList::default();
        list.insert(1, 'a', at(1));
        list.insert(2, 'b', at(2));
        assert_eq!(list.poll_timeout(), Some(at(1)));
        assert_eq!(list.take_due(at(1), interval), [1]);
        assert_eq!(list.take_due(at(2), interval), [2]);
        list.insert(2, 'c', at(3));
        assert_eq!((list.get(&2), list.len()), (Some(&'c'), 2));
        assert_eq!(list.take_due(at(6), interval), [2, 1]);
        assert_eq!(list.remove(&1), Some('a'));
        assert_eq!(list.take_due(at(11), interval), [2]);
        assert_eq!(list.remove(&2), Some('c'));
        assert_eq!((list.poll_timeout(), list.is_empty()), (None, true));
    }
}
