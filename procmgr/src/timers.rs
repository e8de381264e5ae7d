//! What is due when, at most once for each timer.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::processes::ProcessKey;

/// What may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The supervisor of a process waits for a time.
    Supervisor(ProcessKey),
    /// Another try to send on a link.
    Retry(ProcessKey),
    /// A supervised process closed its link and should have ended by now.
    Straggler(ProcessKey),
    /// The service manager wants to hear that the loop turns.
    Heartbeat,
}

/// All timers that run.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeSet<(Instant, Timer)>,
    due: HashMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer anew, or stops it with `None`.
    pub(crate) fn set(&mut self, timer: Timer, due: Option<Instant>) {
        if let Some(before) = self.due.remove(&timer) {
            self.queue.remove(&(before, timer));
        }
        if let Some(due) = due {
            self.due.insert(timer, due);
            self.queue.insert((due, timer));
        }
    }

    /// Takes the next timer that is due.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Timer> {
        let (due, timer) = *self.queue.first()?;
        if due > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// How long nothing is due; `None`: for ever.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.queue.first().map(|(due, _)| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_order_and_only_as_last_set() {
        let (a, b) = (Timer::Supervisor(ProcessKey(1)), Timer::Retry(ProcessKey(1)));
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(a, Some(at(10)));
        timers.set(b, Some(at(20)));
        timers.set(a, Some(at(30)));
        assert_eq!(timers.wait(now), Some(Duration::from_millis(20)));
        assert_eq!(timers.expired(at(19)), None);
        assert_eq!(timers.expired(at(40)), Some(b));
        assert_eq!(timers.expired(at(40)), Some(a));
        assert_eq!(timers.expired(at(40)), None);
        timers.set(a, Some(at(50)));
        timers.set(a, None);
        assert_eq!(timers.wait(now), None);
    }
}
