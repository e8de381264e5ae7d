//! What goes out: one segment a call, the most urgent first.

use super::SendSource;
use super::connection::Connection;
use super::receive::AckNeed;
use super::state::{State, Transition};
use super::timers::Timer;
use crate::time::Time;
use crate::wire::tcp::{SeqNumber, TcpFlags, TcpRepr};
use crate::wire::tcp_options::{SIGNATURE_BYTES, TcpOptions, Timestamps};

/// A segment to send; its payload is in the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentOut {
    /// Header and options.
    pub repr: TcpRepr,
    /// Bytes of payload.
    pub payload_bytes: usize,
    /// Payload bytes of each segment that this one is to be cut into; `None`: it is one.
    pub segment_bytes: Option<usize>,
}

impl SegmentOut {
    fn bare(repr: TcpRepr) -> Self {
        SegmentOut { repr, payload_bytes: 0, segment_bytes: None }
    }
}

impl Connection {
    /// The next segment to send, its payload copied to the front of `payload`. Call until `None`. A buffer of the MSS is
    /// enough, a smaller one makes smaller segments; a larger one is used with [`super::Config::gso_bytes`].
    pub fn poll_transmit(&mut self, now: Time, source: &dyn SendSource, payload: &mut [u8]) -> Option<SegmentOut> {
        if let Some(reset) = self.reset_pending.take() {
            return Some(SegmentOut::bare(reset));
        }
        match self.state {
            State::Closed => None,
            State::SynSent => self.transmit_syn(now),
            State::SynReceived(_) => self.transmit_syn(now).or_else(|| self.transmit_ack(now)),
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => self
                .transmit_lost(now, source, payload)
                .or_else(|| self.transmit_new(now, source, payload))
                .or_else(|| self.transmit_probe(now))
                .or_else(|| self.transmit_ack(now)),
        }
    }

    fn transmit_syn(&mut self, now: Time) -> Option<SegmentOut> {
        if !std::mem::take(&mut self.syn_pending) {
            return None;
        }
        let answers = matches!(self.state, State::SynReceived(_));
        let repr = TcpRepr {
            source_port: self.local.port(),
            destination_port: self.remote.port(),
            sequence: self.send.una,
            acknowledgment: if answers { self.receive.nxt } else { SeqNumber(0) },
            flags: if answers { TcpFlags::SYN | TcpFlags::ACK } else { TcpFlags::SYN },
            window: self.receive.syn_window_field(),
            options: TcpOptions {
                max_segment: Some(self.config.max_segment),
                window_scale: self.offer.window_scaling.then_some(self.receive.shift),
                sack_permitted: self.offer.sack,
                timestamps: self.timestamps_option(now),
                signature: self.signature_option(),
                ..TcpOptions::default()
            },
        };
        if self.send.round_trip.expiries() == 0 {
            self.send.round_trip.sent(self.send.nxt, now);
        }
        self.timers.set(Timer::Retransmit, now + self.send.round_trip.timeout());
        self.receive.acknowledged();
        Some(SegmentOut::bare(repr))
    }

    /// The next piece of what the peer misses.
    fn transmit_lost(&mut self, now: Time, source: &dyn SendSource, payload: &mut [u8]) -> Option<SegmentOut> {
        let (start, end) = self.send.next_lost()?;
        let fin_at = self.send.fin.unwrap_or(self.send.nxt);
        let limit = self.payload_limit(now).min(payload.len());
        let wanted = end.earliest(fin_at).bytes_past(start).min(limit);
        let copied = self.copy(source, start, payload.get_mut(..wanted)?);
        let fin = self.send.fin.is_some_and(|fin| fin == start + copied && end.after(fin));
        if copied == 0 && !fin {
            return None;
        }
        self.send.sent_again(start + copied + usize::from(fin));
        self.timers.set_once(Timer::Retransmit, now + self.send.round_trip.timeout());
        let flags = if fin { TcpFlags::FIN } else { TcpFlags::NONE };
        Some(SegmentOut { repr: self.repr(now, start, flags), payload_bytes: copied, segment_bytes: None })
    }

    /// New data, and FIN behind the last of it.
    fn transmit_new(&mut self, now: Time, source: &dyn SendSource, payload: &mut [u8]) -> Option<SegmentOut> {
        if !matches!(self.state, State::Established | State::CloseWait) {
            return None;
        }
        // The end first: an application that ends has written before, and all of it goes before FIN.
        let finishing = self.closing || source.finished();
        let unsent = source.available().saturating_sub(self.send.in_flight());
        if unsent == 0 && !finishing {
            return None;
        }
        self.restart_after_idle(now);
        let limit = self.payload_limit(now).min(payload.len());
        if limit == 0 {
            return None;
        }
        let (length, fin) = self.next_length(now, unsent, finishing, limit, payload.len())?;
        let start = self.send.nxt;
        let copied = self.copy(source, start, payload.get_mut(..length)?);
        if copied < length {
            return None;
        }
        self.sent_new(now, length, fin);
        let last = if length > 0 && length == unsent { TcpFlags::PSH } else { TcpFlags::NONE };
        let flags = last | if fin { TcpFlags::FIN } else { TcpFlags::NONE };
        let segment_bytes = (length > limit).then_some(limit);
        Some(SegmentOut { repr: self.repr(now, start, flags), payload_bytes: length, segment_bytes })
    }

    /// How much new data to send now, and whether FIN goes with it; `None`: wait. Against silly windows (RFC 9293 section
    /// 3.8.6.2.1) and by Nagle (section 3.7.4).
    fn next_length(
        &mut self,
        now: Time,
        unsent: usize,
        finishing: bool,
        limit: usize,
        buffer: usize,
    ) -> Option<(usize, bool)> {
        let usable = self.send.usable_window();
        let most = self.config.gso_bytes.unwrap_or(limit).max(limit).min(buffer);
        let mut length = unsent.min(usable).min(most);
        let room = self.send.congestion_room();
        if length > room {
            length = room / limit * limit;
            if length == 0 {
                return None;
            }
        }
        if length > limit && length < unsent {
            length -= length % limit;
        }
        let fin = finishing && length == unsent && usable > length;
        let idle = self.send.in_flight() == 0;
        let last = length == unsent && (fin || self.config.nodelay || idle);
        let worthwhile = length >= limit || last || length >= (self.send.max_window / 2).max(1) || self.force_small;
        if (length > 0 && worthwhile) || fin {
            self.force_small = false;
            return Some((length, fin));
        }
        // Only the peer's window holds us, and nothing in flight will make it speak.
        if idle && usable <= unsent {
            let wait = self.send.round_trip.backed_off(self.persist_backoff);
            self.timers.set_once(Timer::Persist, now + wait);
            self.timers.set_once(Timer::UserTimeout, now + self.config.patience());
        }
        None
    }

    fn sent_new(&mut self, now: Time, length: usize, fin: bool) {
        if fin {
            self.send.fin = Some(self.send.nxt + length);
            self.advance(Transition::FinSent);
        }
        self.send.nxt = self.send.nxt + length + usize::from(fin);
        self.send.round_trip.sent(self.send.nxt, now);
        self.last_sent = now;
        self.timers.stop(Timer::Persist);
        self.timers.set_once(Timer::Retransmit, now + self.send.round_trip.timeout());
        self.timers.set_once(Timer::UserTimeout, now + self.config.patience());
    }

    /// A probe of a closed window or of an idle peer: an empty segment before the window, which the peer must answer (the way of
    /// Linux; RFC 9293 section 3.8.6.1 would send a byte).
    fn transmit_probe(&mut self, now: Time) -> Option<SegmentOut> {
        if !std::mem::take(&mut self.probe_pending) {
            return None;
        }
        Some(SegmentOut::bare(self.repr(now, self.send.una - 1, TcpFlags::NONE)))
    }

    fn transmit_ack(&mut self, now: Time) -> Option<SegmentOut> {
        match self.receive.ack {
            AckNeed::None => None,
            AckNeed::Delayed => {
                self.timers.set_once(Timer::DelayedAck, now + self.config.delayed_ack);
                None
            }
            AckNeed::Now => Some(SegmentOut::bare(self.repr(now, self.send.nxt, TcpFlags::NONE))),
        }
    }

    /// A segment of a synchronized connection: it always acknowledges.
    fn repr(&mut self, now: Time, sequence: SeqNumber, flags: TcpFlags) -> TcpRepr {
        self.receive.acknowledged();
        self.timers.stop(Timer::DelayedAck);
        TcpRepr {
            source_port: self.local.port(),
            destination_port: self.remote.port(),
            sequence,
            acknowledgment: self.receive.nxt,
            flags: flags | TcpFlags::ACK,
            window: self.receive.window_field(),
            options: self.options(now),
        }
    }

    fn options(&self, now: Time) -> TcpOptions {
        let sack = if self.offer.sack { self.receive.sack_blocks() } else { Default::default() };
        let (timestamps, signature) = (self.timestamps_option(now), self.signature_option());
        TcpOptions { timestamps, sack, signature, ..TcpOptions::default() }
    }

    /// Room for the signature.
    fn signature_option(&self) -> Option<[u8; SIGNATURE_BYTES]> {
        self.config.signed.then_some([0; SIGNATURE_BYTES])
    }

    fn timestamps_option(&self, now: Time) -> Option<Timestamps> {
        let echo = self.receive.timestamp.map_or(0, |(value, _)| value);
        self.offer.timestamps.then(|| Timestamps { value: self.timestamp_clock(now), echo })
    }

    /// Payload of a full segment: options take their share of the MSS (RFC 6691).
    fn payload_limit(&self, now: Time) -> usize {
        self.send.max_segment.saturating_sub(self.options(now).emitted_bytes()).max(1)
    }

    fn copy(&self, source: &dyn SendSource, start: SeqNumber, into: &mut [u8]) -> usize {
        match into.is_empty() {
            true => 0,
            false => source.copy(start.bytes_past(self.send.una), into).min(into.len()),
        }
    }

    fn restart_after_idle(&mut self, now: Time) {
        if self.send.in_flight() == 0 && now.since(self.last_sent) > self.send.round_trip.timeout() {
            self.send.congestion.restart_after_idle();
        }
    }
}
