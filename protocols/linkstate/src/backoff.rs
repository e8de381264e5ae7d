//! When to originate an LSA that changed: at once, then at intervals that double while it keeps changing.

use std::time::Duration;

use sdk::core::Time;

/// `timers throttle lsa all START HOLD MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffConfig {
    /// From a first change to the origination.
    pub start: Duration,
    /// The first interval between two originations; it doubles.
    pub hold: Duration,
    /// The largest interval. After twice this time without a change everything is as at first.
    pub max: Duration,
}

/// The back-off of one LSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    last: Option<(Time, Duration)>,
}

impl Backoff {
    /// The earliest time for an origination that is wanted since `now`.
    pub fn due(&self, now: Time, config: &BackoffConfig) -> Time {
        match self.last {
            Some((at, interval)) if now.since(at) < config.max * 2 => (at + interval).max(now),
            Some(_) | None => now + config.start,
        }
    }

    /// It was originated.
    pub fn originated(&mut self, now: Time, config: &BackoffConfig) {
        let interval = match self.last {
            Some((at, interval)) if now.since(at) < config.max * 2 => (interval * 2).min(config.max),
            Some(_) | None => config.hold,
        };
        self.last = Some((now, interval));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BackoffConfig =
        BackoffConfig { start: Duration::ZERO, hold: Duration::from_millis(200), max: Duration::from_millis(1000) };

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_first_change_goes_out_at_once_and_constant_change_at_doubled_intervals() {
        let mut backoff = Backoff::default();
        let mut now = at(0);
        let mut originated = Vec::new();
        for _ in 0..6 {
            now = backoff.due(now, &CONFIG);
            backoff.originated(now, &CONFIG);
            originated.push(now.as_nanos() / 1_000_000);
        }
        assert_eq!(originated, [0, 200, 600, 1400, 2400, 3400]);
        // A change after a while waits for nothing, and begins anew.
        assert_eq!(backoff.due(at(4500), &CONFIG), at(4500));
        assert_eq!(backoff.due(at(5400), &CONFIG), at(5400));
        backoff.originated(at(5400), &CONFIG);
        assert_eq!(backoff.due(at(5401), &CONFIG), at(5600));
    }
}
