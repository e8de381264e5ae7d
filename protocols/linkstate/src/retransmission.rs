//! What was flooded to a neighbor and not acknowledged yet: RFC 2328 section 13.6.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use sdk::core::Time;

/// The retransmission list of one neighbor: an instance `I` for each key `K`, sent again until it is acknowledged.
///
/// Almost all that is flooded is acknowledged before it is due, and in the order in which it was sent. So what is due is a
/// queue, and what left the list before stays in it until it comes to the front.
#[derive(Debug, Clone)]
pub struct RetransmissionList<K, I> {
    entries: HashMap<K, Entry<I>>,
    /// In order. The first one is of an entry that is still due then.
    due: VecDeque<(Time, K)>,
}

#[derive(Debug, Clone)]
struct Entry<I> {
    instance: I,
    due: Time,
}

/// Fewer in the queue that are out of date are not worth a look.
const FEW: usize = 64;

impl<K, I> Default for RetransmissionList<K, I> {
    fn default() -> Self {
        Self { entries: HashMap::new(), due: VecDeque::new() }
    }
}

impl<K: Eq + Hash + Copy, I> RetransmissionList<K, I> {
    /// Adds what was just sent, in place of an older instance; it is due again at `due`.
    pub fn insert(&mut self, key: K, instance: I, due: Time) {
        let replaced = self.entries.insert(key, Entry { instance, due });
        self.enqueue(due, key);
        if replaced.is_some() {
            self.tidy();
        }
    }

    /// The instance that the neighbor has not acknowledged.
    pub fn get(&self, key: &K) -> Option<&I> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(key).map(|entry| &entry.instance)
    }

    /// Nobody waits for this any longer.
    pub fn remove(&mut self, key: &K) -> Option<I> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.remove(key)?;
        self.tidy();
        Some(entry.instance)
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.front().map(|(due, _)| *due)
    }

    /// All that is due by `now`, to be sent; it is due again after `interval`.
    pub fn take_due(&mut self, now: Time, interval: Duration) -> Vec<K> {
        let mut keys = Vec::new();
        while let Some((due, key)) = self.due.front().copied().filter(|(due, _)| *due <= now) {
            self.due.pop_front();
            if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.due == due) {
                entry.due = now + interval;
                keys.push(key);
            }
        }
        keys.iter().for_each(|key| self.enqueue(now + interval, *key));
        self.tidy();
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

    fn enqueue(&mut self, due: Time, key: K) {
        if self.due.back().is_none_or(|(last, _)| *last <= due) {
            return self.due.push_back((due, key));
        }
        // Flooded while something is sent again.
        let place = self.due.partition_point(|(other, _)| *other <= due);
        self.due.insert(place, (due, key));
    }

    /// Takes out of the queue what left the list: from the front, or everywhere, if it has become much.
    fn tidy(&mut self) {
        let Self { entries, due } = self;
        let is_so = |(due, key): &(Time, K)| entries.get(key).is_some_and(|entry| entry.due == *due);
        while due.front().is_some_and(|first| !is_so(first)) {
            due.pop_front();
        }
        if due.len() > 2 * entries.len() + FEW {
            due.retain(is_so);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_is_replaced_over_and_over_while_the_first_is_not_acknowledged_takes_no_memory() {
        let mut list = RetransmissionList::default();
        list.insert(0, 0, at(1));
        for instance in 0..1000 {
            list.insert(1, instance, at(2 + instance));
        }
        assert!(list.due.len() <= 2 * 2 + FEW, "{} in the queue", list.due.len());
        assert_eq!(list.take_due(at(500), Duration::from_secs(5)), [0]);
        assert_eq!(list.poll_timeout(), Some(at(505)));
        list.insert(2, 0, at(502));
        assert_eq!(list.poll_timeout(), Some(at(502)));
        list.remove(&2);
        assert_eq!(list.take_due(at(2000), Duration::from_secs(5)), [0, 1]);
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
