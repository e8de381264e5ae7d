//! Time, as a core counts it and as the event loop waits for it.

use std::time::{Duration, Instant};

use crate::core::Time;

/// The clock of a process: [`Time::ZERO`] is when it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// An instant as a time; one before the start is the start.
    pub fn at(&self, instant: Instant) -> Time {
        Time::ZERO + instant.saturating_duration_since(self.start)
    }

    /// A time as an instant; one too far away for the machine's clock never comes.
    pub fn instant(&self, time: Time) -> Option<Instant> {
        self.start.checked_add(time.since(Time::ZERO))
    }
}

/// How long to wait for the earliest of some instants; `None`: without end. The result is rounded up to the
/// milliseconds that an event loop waits by, so that it does not wake just before the time.
pub fn wait_until(now: Instant, due: impl IntoIterator<Item = Option<Instant>>) -> Option<Duration> {
    let earliest = due.into_iter().flatten().min()?;
    let wait = earliest.saturating_duration_since(now);
    let millis = wait.as_nanos().div_ceil(1_000_000);
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_from_its_start_and_back() {
        let clock = Clock::start();
        let later = clock.start + Duration::from_millis(1500);
        assert_eq!(clock.at(later), Time::from_nanos(1_500_000_000));
        assert_eq!(clock.instant(Time::from_nanos(1_500_000_000)), Some(later));
    }

    #[test]
    fn the_loop_waits_for_the_earliest_and_never_wakes_before_it() {
        let now = Instant::now();
        let at = |micros| Some(now + Duration::from_micros(micros));
        assert_eq!(wait_until(now, [at(2500), None, at(1001)]), Some(Duration::from_millis(2)));
        assert_eq!(wait_until(now, [None]), None);
        assert_eq!(wait_until(now + Duration::from_secs(1), [at(1)]), Some(Duration::ZERO));
    }
}
