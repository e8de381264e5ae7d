//! What comes in: a segment through the checks of RFC 9293 section 3.10.7, in their order.

use std::time::Duration;

use thiserror::Error;

use super::connection::{Connection, ConnectionError};
use super::receive::{AckNeed, Arrival};
use super::reset::reset_for;
use super::state::{Opened, State, Transition};
use super::timers::Timer;
use super::{ReceiveSink, SendSource};
use crate::time::Time;
use crate::wire::tcp::{TcpFlags, TcpRepr, TcpSegment};

/// A timestamp older than this says nothing about order (RFC 7323 section 5.5).
const TIMESTAMP_LIFETIME: Duration = Duration::from_secs(24 * 24 * 3600);

/// Why a segment was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum SegmentDrop {
    /// The connection is over; the peer gets a reset.
    #[error("the connection is closed")]
    Closed,
    /// Nothing of it lies in the window: an old duplicate, or beyond.
    #[error("outside the window")]
    OutsideWindow,
    /// Its timestamp is older than what was seen (PAWS).
    #[error("timestamp is older than what was seen")]
    OldTimestamp,
    /// It acknowledges what was never sent, or what was acknowledged long ago.
    #[error("acknowledges what was never sent")]
    BadAcknowledgment,
    /// It has no ACK where one must be.
    #[error("no acknowledgment")]
    NoAcknowledgment,
    /// A reset or SYN that a stranger could have guessed (RFC 5961): the peer is asked to confirm.
    #[error("a reset or SYN that does not fit exactly")]
    Challenged,
}

impl Connection {
    /// Takes a segment that was addressed to this connection. `Err` says why nothing of it was used; an answer may be due in
    /// either case.
    pub fn handle_segment(
        &mut self,
        now: Time,
        segment: &TcpSegment<'_>,
        source: &mut dyn SendSource,
        sink: &mut dyn ReceiveSink,
    ) -> Result<(), SegmentDrop> {
        self.receive.room = sink.room();
        match self.state {
            State::Closed => {
                self.reset_pending = reset_for(segment);
                Err(SegmentDrop::Closed)
            }
            State::SynSent => self.answer_to_syn(now, segment),
            State::SynReceived(_)
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => {
                self.heard(now);
                self.check_order(now, segment)?;
                self.check_controls(now, segment)?;
                self.remember_timestamp(now, &segment.repr);
                self.take_acknowledgment(now, segment, source)?;
                self.take_data(now, segment, sink);
                Ok(())
            }
        }
    }

    /// Whether a SYN may begin a new connection in place of this one, which only waits out old segments (RFC 9293 section
    /// 3.10.7.4, RFC 6191): its sequence number or its timestamp is past all that was seen.
    pub fn may_be_replaced_by(&self, syn: &TcpSegment<'_>) -> bool {
        let flags = syn.repr.flags;
        let opens = flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK) && !flags.contains(TcpFlags::RST);
        let timestamps = syn.repr.options.timestamps.zip(self.receive.timestamp);
        let newer = timestamps.is_some_and(|(theirs, (seen, _))| (theirs.value.wrapping_sub(seen) as i32) > 0);
        self.state == State::TimeWait && opens && (newer || syn.repr.sequence.after(self.receive.nxt))
    }

    /// SYN-SENT (RFC 9293 section 3.10.7.3).
    fn answer_to_syn(&mut self, now: Time, segment: &TcpSegment<'_>) -> Result<(), SegmentDrop> {
        let heard = &segment.repr;
        let acknowledges = heard.flags.contains(TcpFlags::ACK);
        let fits = heard.acknowledgment == self.send.nxt;
        if acknowledges && !fits {
            self.reset_pending = reset_for(segment);
            return Err(SegmentDrop::BadAcknowledgment);
        }
        if heard.flags.contains(TcpFlags::RST) {
            if !acknowledges {
                return Err(SegmentDrop::NoAcknowledgment);
            }
            self.fail(ConnectionError::Refused);
            return Ok(());
        }
        if !heard.flags.contains(TcpFlags::SYN) {
            return Err(SegmentDrop::NoAcknowledgment);
        }
        self.take_syn(now, heard);
        if !acknowledges {
            // Both opened at once: our SYN goes out again, now with an acknowledgment.
            self.advance(Transition::SynReceived);
            self.syn_pending = true;
            return Ok(());
        }
        let echoed = self.echoed(now, heard);
        self.send.round_trip.syn_acknowledged(heard.acknowledgment, now, echoed);
        self.send.una = heard.acknowledgment;
        self.established(now);
        self.receive.ack = AckNeed::Now;
        Ok(())
    }

    /// Takes the peer's SYN: where its numbers start, and what both can do. Data on a SYN is left for the peer to send again.
    pub(super) fn take_syn(&mut self, now: Time, heard: &TcpRepr) {
        let options = &heard.options;
        self.receive.synchronize(heard.sequence);
        self.set_peer_max_segment(options.max_segment);
        self.offer.window_scaling &= options.window_scale.is_some();
        self.offer.sack &= options.sack_permitted;
        self.offer.timestamps &= options.timestamps.is_some();
        self.send.sack = self.offer.sack;
        self.send.first_window(heard);
        match options.window_scale.filter(|_| self.offer.window_scaling) {
            Some(shift) => self.send.shift = shift,
            None => self.receive.shift = 0,
        }
        self.receive.timestamp =
            options.timestamps.filter(|_| self.offer.timestamps).map(|timestamps| (timestamps.value, now));
    }

    /// First check: timestamp and sequence number. What is old is answered, so that a peer whose acknowledgment was lost hears
    /// it again.
    fn check_order(&mut self, now: Time, segment: &TcpSegment<'_>) -> Result<(), SegmentDrop> {
        let heard = &segment.repr;
        let syn = heard.flags.contains(TcpFlags::SYN);
        if let State::SynReceived(_) = self.state
            && syn
            && heard.sequence + 1 == self.receive.nxt
        {
            return self.check_repeated_syn(heard);
        }
        let reset = heard.flags.contains(TcpFlags::RST);
        let old = !reset && self.is_old_timestamp(now, heard);
        if !old && self.receive.acceptable(heard.sequence, segment.sequence_length()) {
            return Ok(());
        }
        if reset {
            return Err(SegmentDrop::OutsideWindow);
        }
        if self.state == State::TimeWait && heard.flags.contains(TcpFlags::FIN) {
            self.wait_out(now);
        }
        // Two peers that disagree must not answer each other's empty segments for ever.
        if segment.sequence_length() > 0 || self.may_challenge(now) {
            self.receive.ack = AckNeed::Now;
        }
        Err(if old { SegmentDrop::OldTimestamp } else { SegmentDrop::OutsideWindow })
    }

    /// The peer's SYN once more, in SYN-RECEIVED. With an acknowledgment both opened at once, and it goes on; without one our
    /// SYN,ACK was lost.
    fn check_repeated_syn(&mut self, heard: &TcpRepr) -> Result<(), SegmentDrop> {
        if heard.flags.contains(TcpFlags::ACK) && !heard.flags.contains(TcpFlags::RST) {
            return Ok(());
        }
        self.syn_pending = !heard.flags.contains(TcpFlags::RST);
        Err(SegmentDrop::OutsideWindow)
    }

    fn is_old_timestamp(&self, now: Time, heard: &TcpRepr) -> bool {
        let (Some((seen, at)), Some(timestamps)) = (self.receive.timestamp, heard.options.timestamps) else {
            return false;
        };
        (timestamps.value.wrapping_sub(seen) as i32) < 0 && now.since(at) < TIMESTAMP_LIFETIME
    }

    /// Second to fourth check: RST, SYN, and whether there is an ACK, as hardened by RFC 5961.
    fn check_controls(&mut self, now: Time, segment: &TcpSegment<'_>) -> Result<(), SegmentDrop> {
        let heard = &segment.repr;
        if heard.flags.contains(TcpFlags::RST) {
            if heard.sequence != self.receive.nxt {
                return self.challenge(now);
            }
            self.was_reset();
            return Err(SegmentDrop::Closed);
        }
        let both_opened = matches!(self.state, State::SynReceived(_)) && heard.sequence + 1 == self.receive.nxt;
        if heard.flags.contains(TcpFlags::SYN) && !both_opened {
            return self.challenge(now);
        }
        match heard.flags.contains(TcpFlags::ACK) {
            true => Ok(()),
            false => Err(SegmentDrop::NoAcknowledgment),
        }
    }

    fn challenge(&mut self, now: Time) -> Result<(), SegmentDrop> {
        if self.may_challenge(now) {
            self.receive.ack = AckNeed::Now;
        }
        Err(SegmentDrop::Challenged)
    }

    fn was_reset(&mut self) {
        match self.state {
            State::SynReceived(Opened::Actively) => self.fail(ConnectionError::Refused),
            State::SynReceived(Opened::Passively)
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::SynSent
            | State::Closing
            | State::LastAck
            | State::Closed => self.fail(ConnectionError::Reset),
            State::CloseWait => self.fail(ConnectionError::ResetAfterEnd),
            // RFC 1337: a reset must not cut TIME-WAIT short.
            State::TimeWait => {}
        }
    }

    /// RFC 7323 section 4.3: the timestamp of the segment that our last acknowledgment asked for.
    fn remember_timestamp(&mut self, now: Time, heard: &TcpRepr) {
        let (Some((seen, _)), Some(timestamps)) = (self.receive.timestamp, heard.options.timestamps) else { return };
        let newer = (timestamps.value.wrapping_sub(seen) as i32) >= 0;
        if newer && !heard.sequence.after(self.receive.last_ack_sent) {
            self.receive.timestamp = Some((timestamps.value, now));
        }
    }

    /// Fifth check: the acknowledgment.
    fn take_acknowledgment(
        &mut self,
        now: Time,
        segment: &TcpSegment<'_>,
        source: &mut dyn SendSource,
    ) -> Result<(), SegmentDrop> {
        let heard = &segment.repr;
        let ack = heard.acknowledgment;
        if let State::SynReceived(_) = self.state {
            self.take_handshake_ack(now, segment)?;
        }
        let oldest = self.send.una - self.send.max_window.max(1);
        if ack.after(self.send.nxt) || ack.before(oldest) {
            // RFC 5961 section 5.2.
            let _ = self.challenge(now);
            return Err(SegmentDrop::BadAcknowledgment);
        }
        let news = self.send.take_sack(&heard.options.sack);
        let advances = ack.after(self.send.una);
        let in_flight = self.send.in_flight();
        if advances {
            self.take_progress(now, heard, source);
        }
        // The window of a SYN is not scaled, and was taken with the handshake.
        let syn = heard.flags.contains(TcpFlags::SYN);
        let changed = !syn && !ack.before(self.send.una) && self.send.update_window(heard);
        self.after_window(now, changed);
        // RFC 5681 section 2 (five conditions); new SACK information counts as well (RFC 6675 section 2).
        let silent = segment.sequence_length() == 0 && !changed && ack == self.send.una;
        if !advances && in_flight > 0 && (news || silent) {
            self.send.duplicate();
        }
        Ok(())
    }

    /// The acknowledgment of our SYN, in SYN-RECEIVED.
    fn take_handshake_ack(&mut self, now: Time, segment: &TcpSegment<'_>) -> Result<(), SegmentDrop> {
        let heard = &segment.repr;
        if heard.acknowledgment != self.send.nxt {
            self.reset_pending = reset_for(segment);
            return Err(SegmentDrop::BadAcknowledgment);
        }
        let echoed = self.echoed(now, heard);
        self.send.round_trip.syn_acknowledged(heard.acknowledgment, now, echoed);
        self.send.una = heard.acknowledgment;
        match heard.flags.contains(TcpFlags::SYN) {
            // Both opened at once: the peer must hear that its SYN arrived.
            true => {
                self.send.first_window(heard);
                self.receive.ack = AckNeed::Now;
            }
            false => {
                self.send.update_window(heard);
            }
        }
        self.established(now);
        Ok(())
    }

    fn take_progress(&mut self, now: Time, heard: &TcpRepr, source: &mut dyn SendSource) {
        let echoed = self.echoed(now, heard);
        let acknowledged = self.send.acknowledge(now, heard.acknowledgment, echoed);
        source.consume(acknowledged.data_bytes);
        match self.send.in_flight() {
            0 => {
                self.timers.stop(Timer::Retransmit);
                self.timers.stop(Timer::UserTimeout);
            }
            // RFC 6298 section 5.3.
            _ => {
                self.timers.set(Timer::Retransmit, now + self.send.round_trip.timeout());
                self.timers.set(Timer::UserTimeout, now + self.config.patience());
            }
        }
        if acknowledged.fin {
            self.fin_acknowledged(now);
        }
    }

    /// A peer that answers with a closed window is alive; one that opens it needs no more probes. Whoever has set a user
    /// timeout waits for neither longer than that, as on Linux.
    fn after_window(&mut self, now: Time, changed: bool) {
        if changed && self.send.usable_window() > 0 {
            self.timers.stop(Timer::Persist);
            self.persist_backoff = 0;
        }
        let waits_for_it = self.send.in_flight() == 0 || self.send.window == 0;
        let may_wait = self.send.usable_window() > 0 || self.config.user_timeout.is_none();
        if self.timers.runs(Timer::UserTimeout) && waits_for_it && may_wait {
            self.timers.set(Timer::UserTimeout, now + self.config.patience());
        }
    }

    /// The round trip that an echoed timestamp tells (RFC 7323 section 4).
    fn echoed(&self, now: Time, heard: &TcpRepr) -> Option<Duration> {
        let timestamps = heard.options.timestamps.filter(|_| self.offer.timestamps)?;
        let elapsed = self.timestamp_clock(now).wrapping_sub(timestamps.echo) as i32;
        // Zero means "none" in an echo; a negative or absurd age is a lie.
        let sound = timestamps.echo != 0 && (0..=600_000).contains(&elapsed);
        sound.then(|| Duration::from_millis(u64::from(elapsed.unsigned_abs()).max(1)))
    }

    /// Seventh and eighth check: data and FIN.
    fn take_data(&mut self, now: Time, segment: &TcpSegment<'_>, sink: &mut dyn ReceiveSink) {
        let heard = &segment.repr;
        if !self.state.can_receive() {
            return;
        }
        // A SYN here takes the number before the data.
        let start = heard.sequence + usize::from(heard.flags.contains(TcpFlags::SYN));
        let end = start + segment.payload.len();
        if self.orphaned && end.after(self.receive.nxt) && !segment.payload.is_empty() {
            return self.abort();
        }
        if !segment.payload.is_empty() {
            match self.receive.accept(start, segment.payload, sink) {
                Arrival::InOrder => self.receive.acknowledge_in_order(),
                Arrival::AroundGap | Arrival::Nothing => self.receive.ack = AckNeed::Now,
            }
        }
        if heard.flags.contains(TcpFlags::FIN) {
            self.receive.take_fin(end);
            self.receive.ack = AckNeed::Now;
        }
        self.finish_if_reached(now, sink);
    }
}
