//! Round-trip time and retransmission timeout (RFC 6298).

use std::time::Duration;

use crate::time::Time;
use crate::wire::tcp::SeqNumber;

/// RFC 6298 section 2.1.
const INITIAL: Duration = Duration::from_secs(1);
/// RFC 6298 section 5.7: after a lost SYN.
const AFTER_LOST_SYN: Duration = Duration::from_secs(3);
/// RFC 6298 section 2.4 wants at least 60 s; Linux's value.
const MAXIMUM: Duration = Duration::from_secs(120);
/// The granularity G of RFC 6298: our timers are no finer.
const GRANULARITY: Duration = Duration::from_millis(1);

/// The estimator, its back-off, and the one segment that is being timed.
#[derive(Debug, Clone)]
pub struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    base: Duration,
    minimum: Duration,
    /// Expiries since the last progress.
    backoff: u32,
    /// The end of the segment being timed, and when it went out. Karn's rule: nothing that was retransmitted is timed.
    timed: Option<(SeqNumber, Time)>,
    /// When the timer last expired.
    expired: Option<Time>,
}

impl RoundTrip {
    /// Knows nothing yet.
    pub fn new(minimum: Duration) -> Self {
        RoundTrip {
            smoothed: None,
            variation: Duration::ZERO,
            base: INITIAL,
            minimum,
            backoff: 0,
            timed: None,
            expired: None,
        }
    }

    /// The timeout that holds now, back-off included.
    pub fn timeout(&self) -> Duration {
        self.backed_off(self.backoff)
    }

    /// The timeout after `times` expiries.
    pub fn backed_off(&self, times: u32) -> Duration {
        self.base.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(MAXIMUM)
    }

    /// Expiries since the last progress.
    pub fn expiries(&self) -> u32 {
        self.backoff
    }

    /// The smoothed round-trip time, once there was a sample.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The timer expired: twice as long next time, and nothing in flight is timed any more.
    pub fn back_off(&mut self, now: Time) {
        self.expired = Some(now);
        self.backoff = self.backoff.saturating_add(1);
        self.timed = None;
    }

    /// Something was retransmitted: what is being timed has become ambiguous.
    pub fn retransmitted(&mut self) {
        self.timed = None;
    }

    /// New data went out up to `end`.
    pub fn sent(&mut self, end: SeqNumber, now: Time) {
        self.timed.get_or_insert((end, now));
    }

    /// New data was acknowledged. `echoed` is the round trip by timestamps, good for retransmitted segments too.
    pub fn acknowledged(&mut self, ack: SeqNumber, now: Time, echoed: Option<Duration>) {
        // An echo from before the last expiry measures how long we waited for an acknowledgment that was lost, not the path. Taken
        // as a sample it would keep the timeout at its maximum on a lossy path.
        let fresh = |echoed: &Duration| self.expired.is_none_or(|at| *echoed <= now.since(at) + GRANULARITY);
        let echoed = echoed.filter(fresh);
        let timed = self.timed.filter(|(end, _)| !ack.before(*end));
        if timed.is_some() {
            self.timed = None;
        }
        match timed.map(|(_, sent)| now.since(sent)).or(echoed) {
            Some(sample) => self.sample(sample),
            // Without a sample the back-off stays until new data is acknowledged that was sent once (Karn). A peer without
            // timestamps would keep the longest timeout through a lossy spell; progress is proof enough that it is not needed.
            None => self.backoff = 0,
        }
    }

    /// Our SYN was acknowledged.
    pub fn syn_acknowledged(&mut self, ack: SeqNumber, now: Time, echoed: Option<Duration>) {
        let lost = self.backoff > 0;
        self.acknowledged(ack, now, echoed);
        if lost && self.smoothed.is_none() {
            self.base = AFTER_LOST_SYN;
        }
    }

    /// RFC 6298 section 2.2 and 2.3.
    fn sample(&mut self, sample: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
        let smoothed = self.smoothed.unwrap_or(sample);
        self.base = (smoothed + GRANULARITY.max(self.variation * 4)).clamp(self.minimum, MAXIMUM);
        self.backoff = 0;
    }
}
