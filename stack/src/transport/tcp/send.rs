//! The sending half: sequence space, the peer's window, and loss recovery (RFC 6582 and, with SACK, a simple RFC 6675).
//!
//! ```text
//!        una            recovery.next      nxt      una + window
//!   ──────┼───────────────────┼─────────────┼─────────────┼──────
//!   acked │ in flight, some held by the peer │ may be sent │
//! ```
//!
//! `nxt` never goes back: what is to be sent again is told by [`Recovery`] and the scoreboard. In recovery, what lies below
//! [`Send::lost_below`] and is not held by the peer is lost; `recovery.next` walks through it.

use std::time::Duration;

use super::congestion::Congestion;
use super::retransmit::RoundTrip;
use super::sack::Scoreboard;
use crate::time::Time;
use crate::wire::tcp::{SeqNumber, TcpRepr};
use crate::wire::tcp_options::SackBlocks;

/// Duplicate acknowledgments, or segments held above a hole, that make it a loss (RFC 5681 section 3.2).
const DUPLICATE_THRESHOLD: usize = 3;

/// Why segments are being sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The peer holds later segments: what it misses below them is lost.
    LaterArrived,
    /// The retransmission timer expired, or the path's MTU shrank: all that was in flight counts as lost.
    AllLost,
}

#[derive(Debug, Clone, Copy)]
struct Recovery {
    cause: Cause,
    /// Recovery ends when everything before it is acknowledged.
    point: SeqNumber,
    /// Lost data before it was sent again already.
    next: SeqNumber,
    /// The next retransmission goes out whatever the congestion window says.
    must_send: bool,
}

/// What an acknowledgment brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// Bytes of data, without FIN.
    pub data_bytes: usize,
    /// Whether our FIN is acknowledged.
    pub fin: bool,
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct Send {
    /// The first unacknowledged sequence number.
    pub una: SeqNumber,
    /// The next new one.
    pub nxt: SeqNumber,
    /// The peer's window in bytes, past `una`.
    pub window: usize,
    /// The largest window that the peer ever had.
    pub max_window: usize,
    /// Shift of the peer's window field.
    pub shift: u8,
    /// Payload and options of the largest segment.
    pub max_segment: usize,
    /// Where our FIN stands, once it was sent.
    pub fin: Option<SeqNumber>,
    /// Whether the peer tells what it holds.
    pub sack: bool,
    /// RTT and timeout.
    pub round_trip: RoundTrip,
    /// Congestion window.
    pub congestion: Congestion,
    scoreboard: Scoreboard,
    recovery: Option<Recovery>,
    duplicates: usize,
    /// Sequence and acknowledgment of the segment that last set the window.
    window_set_by: (SeqNumber, SeqNumber),
}

impl Send {
    /// A half whose SYN has the sequence number `iss` and counts as sent.
    pub fn new(iss: SeqNumber, max_segment: usize, minimum_rto: Duration) -> Self {
        Send {
            una: iss,
            nxt: iss + 1,
            window: 0,
            max_window: 0,
            shift: 0,
            max_segment,
            fin: None,
            sack: false,
            round_trip: RoundTrip::new(minimum_rto),
            congestion: Congestion::new(max_segment),
            scoreboard: Scoreboard::default(),
            recovery: None,
            duplicates: 0,
            window_set_by: (iss, iss),
        }
    }

    /// Sequence space that is sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.nxt.bytes_past(self.una)
    }

    /// How much new data the peer's window takes.
    pub fn usable_window(&self) -> usize {
        (self.una + self.window).bytes_past(self.nxt)
    }

    /// How much more the congestion window lets into the network.
    pub fn congestion_room(&self) -> usize {
        self.congestion.window().saturating_sub(self.pipe())
    }

    /// Bytes that are thought to be in the network (RFC 6675 section 4). Without SACK each duplicate acknowledgment stands for
    /// one segment that has left it.
    pub fn pipe(&self) -> usize {
        let left = if self.sack { 0 } else { self.duplicates.saturating_mul(self.max_segment) };
        let pipe = match &self.recovery {
            None => self.missing(self.una, self.nxt),
            Some(recovery) => {
                let next = recovery.next.latest(self.una);
                let not_lost = next.latest(self.lost_below(recovery));
                self.missing(self.una, next) + self.missing(not_lost, self.nxt)
            }
        };
        pipe.saturating_sub(left)
    }

    fn missing(&self, from: SeqNumber, to: SeqNumber) -> usize {
        to.bytes_past(from).saturating_sub(self.scoreboard.covered(from, to))
    }

    fn lost_below(&self, recovery: &Recovery) -> SeqNumber {
        match recovery.cause {
            Cause::AllLost => recovery.point,
            // The first segment is lost in any case: that is why recovery began, or what a partial acknowledgment says
            // (RFC 6582 section 3.2).
            Cause::LaterArrived => {
                let first = self.una + self.max_segment;
                let by_sack = self.lost_by_sack().unwrap_or(first);
                first.latest(by_sack).earliest(recovery.point)
            }
        }
    }

    /// What the peer does not hold below it is lost: more than two segments' worth above it arrived (RFC 6675, `IsLost`).
    fn lost_by_sack(&self) -> Option<SeqNumber> {
        self.scoreboard.below_top((DUPLICATE_THRESHOLD - 1) * self.max_segment + 1)
    }

    /// The next stretch to send again, if the congestion window allows at least a segment of it.
    pub fn next_lost(&self) -> Option<(SeqNumber, SeqNumber)> {
        let recovery = self.recovery.as_ref()?;
        let hole = self.scoreboard.hole(recovery.next.latest(self.una), self.lost_below(recovery))?;
        let segment = hole.1.bytes_past(hole.0).min(self.max_segment);
        (recovery.must_send || segment <= self.congestion_room()).then_some(hole)
    }

    /// The lost stretch was sent again up to `end`.
    pub fn sent_again(&mut self, end: SeqNumber) {
        self.round_trip.retransmitted();
        if let Some(recovery) = &mut self.recovery {
            recovery.next = end;
            recovery.must_send = false;
        }
    }

    /// The peer's window, if this segment is not older than the one that set it last (RFC 9293 section 3.10.7.4). Returns
    /// whether it changed.
    pub fn update_window(&mut self, heard: &TcpRepr) -> bool {
        let (seq, ack) = self.window_set_by;
        let newer = seq.before(heard.sequence) || (seq == heard.sequence && !heard.acknowledgment.before(ack));
        if !newer {
            return false;
        }
        self.window_set_by = (heard.sequence, heard.acknowledgment);
        self.set_window(usize::from(heard.window) << self.shift)
    }

    /// The window of a SYN, which is never scaled, and the segment's place in the order of windows.
    pub fn first_window(&mut self, heard: &TcpRepr) {
        self.window_set_by = (heard.sequence, heard.acknowledgment);
        self.set_window(usize::from(heard.window));
    }

    fn set_window(&mut self, window: usize) -> bool {
        let changed = self.window != window;
        self.window = window;
        self.max_window = self.max_window.max(window);
        changed
    }

    /// New data was acknowledged: `una < ack <= nxt`.
    pub fn acknowledge(&mut self, now: Time, ack: SeqNumber, echoed: Option<Duration>) -> Acknowledged {
        let in_flight = self.in_flight();
        let advanced = ack.bytes_past(self.una);
        let fin = self.fin.is_some_and(|fin| ack.after(fin));
        let data_bytes = advanced.saturating_sub(usize::from(fin));
        // The window is measured from `una`; the edge stays until the segment's own window is taken.
        self.window = self.window.saturating_sub(advanced);
        self.una = ack;
        self.scoreboard.forget_before(ack);
        self.round_trip.acknowledged(ack, now, echoed);
        let segments = advanced.div_ceil(self.max_segment.max(1));
        self.duplicates = match self.recovery {
            Some(_) => (self.duplicates + 1).saturating_sub(segments),
            None => 0,
        };
        self.progress_recovery(data_bytes, in_flight);
        Acknowledged { data_bytes, fin }
    }

    fn progress_recovery(&mut self, data_bytes: usize, in_flight: usize) {
        let (una, sack) = (self.una, self.sack);
        match &mut self.recovery {
            None => self.congestion.acknowledged(data_bytes, in_flight),
            Some(recovery) if !una.before(recovery.point) => {
                self.recovery = None;
                self.duplicates = 0;
            }
            Some(recovery) => match recovery.cause {
                Cause::AllLost => self.congestion.acknowledged(data_bytes, in_flight),
                Cause::LaterArrived if !sack || !recovery.next.after(una) => {
                    recovery.next = una;
                    recovery.must_send = true;
                }
                Cause::LaterArrived => {}
            },
        }
    }

    /// Takes SACK blocks; returns whether they told anything new. Blocks that do not lie in flight are lies or leftovers.
    pub fn take_sack(&mut self, blocks: &SackBlocks) -> bool {
        let mut news = false;
        for block in blocks.as_slice().iter().filter(|_| self.sack) {
            let sound = block.start.before(block.end) && block.start.after(self.una) && !block.end.after(self.nxt);
            if sound {
                news |= self.scoreboard.insert(block.start, block.end);
            }
        }
        news
    }

    /// A duplicate acknowledgment: after the third, or when SACK says as much, the first hole is lost.
    pub fn duplicate(&mut self) {
        self.duplicates += 1;
        let lost_by_sack = self.lost_by_sack().is_some_and(|below| below.after(self.una));
        if self.recovery.is_none() && (self.duplicates >= DUPLICATE_THRESHOLD || lost_by_sack) {
            self.congestion.fast_recovery(self.in_flight());
            self.recover(Cause::LaterArrived);
        }
    }

    /// The retransmission timer expired.
    pub fn timed_out(&mut self, now: Time) {
        match self.round_trip.expiries() {
            0 => self.congestion.timed_out(self.in_flight()),
            _ => self.congestion.timed_out_again(),
        }
        self.round_trip.back_off(now);
        self.duplicates = 0;
        // A peer that holds what follows `una` at once would have acknowledged it: it has thrown it away (RFC 2018 section 8).
        if self.scoreboard.covered(self.una, self.una + 1) > 0 {
            self.scoreboard.clear();
        }
        self.recover(Cause::AllLost);
    }

    /// The path takes at most `max_segment` from now on: what is in flight was dropped for its size, not for congestion.
    pub fn shrink_segments(&mut self, max_segment: usize) {
        self.max_segment = max_segment;
        self.congestion.set_max_segment(max_segment);
        if self.in_flight() > 0 {
            self.recover(Cause::AllLost);
        }
    }

    fn recover(&mut self, cause: Cause) {
        self.recovery = Some(Recovery { cause, point: self.nxt, next: self.una, must_send: true });
    }
}
