//! When to calculate after a change: the state machine of RFC 8405.
//!
//! ```text
//!              event: SPF after `initial`                    learn timer
//!   QUIET ───────────────────────────────▶ SHORT_WAIT ───────────────────────▶ LONG_WAIT
//!     ▲                                        │ event: SPF after `short`         │ event: SPF after `long`
//!     └──────────── hold-down timer ───────────┴──────────── hold-down timer ─────┘
//! ```

use std::time::Duration;

use sdk::core::Time;

/// The five times of RFC 8405 section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpfDelayConfig {
    /// From a first event to the calculation.
    pub initial: Duration,
    /// From further events.
    pub short: Duration,
    /// From events of a network that does not come to rest.
    pub long: Duration,
    /// How long after the first event `short` applies.
    pub time_to_learn: Duration,
    /// Silence after which all is quiet again.
    pub hold_down: Duration,
}

impl Default for SpfDelayConfig {
    /// Those of RFC 8405 section 3, but that the delays are shorter, as the calculation is: far under a millisecond for a
    /// thousand routers (`benches/spf.rs`). 0 in place of 50 ms, so that a single failure is repaired at once: what came in
    /// the same turn of the process is calculated together, and was flooded before; 15 in place of 200, so that it is
    /// repaired within 50 ms when its second end is heard of, too; and 200 in place of 5,000, which bounds what a network
    /// costs that does not come to rest. And after 3 s of silence in place of 10 the next failure is again one by itself:
    /// calculations that far apart cost nothing, and LSAs that were held back after a start come within that time.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { initial: Duration::ZERO, short: ms(15), long: ms(200), time_to_learn: ms(500), hold_down: ms(3_000) }
    }
}

/// State with the timers that run in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpfDelayState {
    /// Nothing has happened for a while.
    Quiet,
    /// Something happened; more of it is expected.
    ShortWait {
        /// When the network should have told all.
        learned_at: Time,
        /// When all is quiet.
        quiet_at: Time,
    },
    /// It goes on for longer than one failure explains.
    LongWait {
        /// When all is quiet.
        quiet_at: Time,
    },
}

/// The machine.
#[derive(Debug, Clone)]
pub struct SpfDelay {
    config: SpfDelayConfig,
    state: SpfDelayState,
    run_at: Option<Time>,
}

impl SpfDelay {
    /// A quiet machine.
    pub fn new(config: SpfDelayConfig) -> Self {
        Self { config, state: SpfDelayState::Quiet, run_at: None }
    }

    /// Other times, from the next event on.
    pub fn configure(&mut self, config: SpfDelayConfig) {
        self.config = config;
    }

    /// Its state.
    pub fn state(&self) -> SpfDelayState {
        self.state
    }

    /// The topology changed.
    pub fn event(&mut self, now: Time) {
        self.expire(now);
        let quiet_at = now + self.config.hold_down;
        let (state, delay) = match self.state {
            SpfDelayState::Quiet => {
                let learned_at = now + self.config.time_to_learn;
                (SpfDelayState::ShortWait { learned_at, quiet_at }, self.config.initial)
            }
            SpfDelayState::ShortWait { learned_at, .. } => {
                (SpfDelayState::ShortWait { learned_at, quiet_at }, self.config.short)
            }
            SpfDelayState::LongWait { .. } => (SpfDelayState::LongWait { quiet_at }, self.config.long),
        };
        self.state = state;
        self.run_at.get_or_insert(now + delay);
    }

    /// When the calculation is due; the other timers need nobody to wake up.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.run_at
    }

    /// Whether to calculate now.
    pub fn is_due(&mut self, now: Time) -> bool {
        self.expire(now);
        self.run_at.take_if(|at| *at <= now).is_some()
    }

    /// Something else comes first: no calculation is due earlier.
    pub fn not_before(&mut self, time: Time) {
        self.run_at = self.run_at.map(|at| at.max(time));
    }

    fn expire(&mut self, now: Time) {
        if let SpfDelayState::ShortWait { learned_at, quiet_at } = self.state
            && learned_at <= now
        {
            self.state = SpfDelayState::LongWait { quiet_at };
        }
        if let SpfDelayState::ShortWait { quiet_at, .. } | SpfDelayState::LongWait { quiet_at } = self.state
            && quiet_at <= now
        {
            self.state = SpfDelayState::Quiet;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    /// The RFC's own times, but for the first.
    fn of_rfc() -> SpfDelayConfig {
        let ms = Duration::from_millis;
        let time_to_learn = ms(500);
        SpfDelayConfig { initial: ms(1), short: ms(200), long: ms(5000), time_to_learn, hold_down: ms(10_000) }
    }

    /// Milliseconds at which the calculation runs if events come at these.
    fn runs(events: &[u64]) -> Vec<u64> {
        let mut delay = SpfDelay::new(of_rfc());
        let mut runs = Vec::new();
        let mut drain = |delay: &mut SpfDelay, until: Time| {
            while let Some(due) = delay.poll_timeout().filter(|due| *due <= until) {
                assert!(delay.is_due(due));
                runs.push(due.as_nanos() / 1_000_000);
            }
        };
        for event in events {
            drain(&mut delay, at(*event));
            delay.event(at(*event));
        }
        drain(&mut delay, at(u64::MAX / 1_000_000));
        runs
    }

    #[test]
    fn rfc_8405_section_5_a_single_failure_is_repaired_at_once_and_a_storm_is_not_followed() {
        assert_eq!(runs(&[1000]), [1001]);
        // The second event of a failure, then what comes after 500 ms.
        assert_eq!(runs(&[1000, 1100, 1200]), [1001, 1300]);
        assert_eq!(runs(&[1000, 1100, 1600, 1700, 2000]), [1001, 1300, 6600]);
    }

    #[test]
    fn by_default_a_first_event_is_followed_in_the_same_turn() {
        let mut delay = SpfDelay::new(SpfDelayConfig::default());
        delay.event(at(1000));
        assert!(delay.is_due(at(1000)));
        delay.event(at(1001));
        assert_eq!(delay.poll_timeout(), Some(at(1016)));
        assert!(delay.is_due(at(1016)));
        // Three seconds after the last one it is as at first.
        delay.event(at(4001));
        assert_eq!(delay.poll_timeout(), Some(at(4001)));
    }

    #[test]
    fn rfc_8405_section_5_after_the_hold_down_time_all_is_quiet_again() {
        assert_eq!(runs(&[0, 10_000]), [1, 10_001]);
        assert_eq!(runs(&[0, 9_999, 19_998]), [1, 14_999, 24_998]);
        let mut delay = SpfDelay::new(of_rfc());
        delay.event(at(0));
        assert!(matches!(delay.state(), SpfDelayState::ShortWait { .. }));
        assert!(!delay.is_due(at(0)) && delay.is_due(at(600)));
        assert!(matches!(delay.state(), SpfDelayState::LongWait { .. }));
        assert!(!delay.is_due(at(10_000)));
        assert_eq!(delay.state(), SpfDelayState::Quiet);
    }
}
