//! Congestion control: NewReno (RFC 5681, RFC 6582) with an initial window of ten segments (RFC 6928).

/// The sender's estimate of what the network takes.
#[derive(Debug, Clone)]
pub struct Congestion {
    /// Bytes that may be in the network.
    window: usize,
    /// Below it the window doubles each round trip, above it grows by a segment.
    threshold: usize,
    /// Bytes acknowledged towards the next segment of growth above the threshold.
    credit: usize,
    max_segment: usize,
}

/// RFC 6928 section 2.
fn initial_window(max_segment: usize) -> usize {
    (10 * max_segment).min((2 * max_segment).max(14_600))
}

impl Congestion {
    /// At the end of the handshake.
    pub fn new(max_segment: usize) -> Self {
        Congestion { window: initial_window(max_segment), threshold: usize::MAX, credit: 0, max_segment }
    }

    /// Bytes that may be in the network.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The path takes smaller segments.
    pub fn set_max_segment(&mut self, max_segment: usize) {
        self.max_segment = max_segment;
        self.window = self.window.max(max_segment);
    }

    /// New data was acknowledged. `in_flight` is what was out before: a window that is not used does not grow (RFC 9293 section
    /// 3.8.2, RFC 7661 section 4.3).
    pub fn acknowledged(&mut self, bytes: usize, in_flight: usize) {
        if in_flight.saturating_mul(2) < self.window {
            return;
        }
        if self.window < self.threshold {
            self.window = self.window.saturating_add(bytes).min(self.threshold.max(self.window));
            return;
        }
        self.credit += bytes;
        if self.credit >= self.window {
            self.credit -= self.window;
            self.window = self.window.saturating_add(self.max_segment);
        }
    }

    /// A segment was lost and others still arrive (RFC 5681 section 3.2).
    pub fn fast_recovery(&mut self, in_flight: usize) {
        self.reduce(in_flight);
        self.window = self.threshold;
    }

    /// The retransmission timer expired for the first time on this data (RFC 5681 section 3.1).
    pub fn timed_out(&mut self, in_flight: usize) {
        self.reduce(in_flight);
        self.timed_out_again();
    }

    /// It expired again: the threshold stays.
    pub fn timed_out_again(&mut self) {
        self.window = self.max_segment;
    }

    /// Nothing was sent for a retransmission timeout: what was known of the path is stale (RFC 5681 section 4.1).
    pub fn restart_after_idle(&mut self) {
        self.window = self.window.min(initial_window(self.max_segment));
    }

    fn reduce(&mut self, in_flight: usize) {
        self.threshold = (in_flight / 2).max(2 * self.max_segment);
        self.credit = 0;
    }
}
