//! The receiving half: sequence space, our window, and reassembly of what arrived out of order.

use std::collections::VecDeque;

use super::ReceiveSink;
use crate::time::Time;
use crate::wire::tcp::SeqNumber;
use crate::wire::tcp_options::{SackBlock, SackBlocks};

/// Pieces that reassembly keeps. Their bytes are bounded by the window; this bounds the cost of many small ones.
const MAXIMUM_PIECES: usize = 1024;

/// How soon an acknowledgment must go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckNeed {
    /// Nothing to say.
    None,
    /// With the next segment, or when the timer says.
    Delayed,
    /// At once.
    Now,
}

/// What became of a segment's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing new, or nothing within the window.
    Nothing,
    /// It continued the stream, and nothing waits behind a gap.
    InOrder,
    /// It lies behind a gap, or closed one, or the sink is full.
    AroundGap,
}

#[derive(Debug)]
struct Piece {
    start: SeqNumber,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> SeqNumber {
        self.start + self.bytes.len()
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Receive {
    /// The next sequence number expected.
    pub nxt: SeqNumber,
    /// The first sequence number beyond what the peer may send; it never moves back.
    edge: SeqNumber,
    /// Shift of our window field.
    pub shift: u8,
    /// What the sink takes now, as it last said.
    pub room: usize,
    capacity: usize,
    max_segment: usize,
    /// Apart from each other, in order.
    pieces: VecDeque<Piece>,
    /// Start of what arrived last out of order: the first SACK block tells of it (RFC 2018 section 4).
    latest: SeqNumber,
    /// Where the peer's FIN stands, once seen.
    fin: Option<SeqNumber>,
    /// Acknowledgment owed.
    pub ack: AckNeed,
    unacknowledged: usize,
    largest: usize,
    /// The acknowledgment that we sent last.
    pub last_ack_sent: SeqNumber,
    /// The peer's timestamp to echo, and when it came.
    pub timestamp: Option<(u32, Time)>,
}

/// The smallest shift with which the window field can say `bytes` (RFC 7323 section 2.3).
pub fn window_shift(bytes: usize) -> u8 {
    (0..14).find(|shift| bytes >> shift <= usize::from(u16::MAX)).unwrap_or(14)
}

impl Receive {
    /// A half that has not seen the peer's SYN.
    pub fn new(capacity: usize, max_segment: usize, shift: u8) -> Self {
        Receive {
            nxt: SeqNumber(0),
            edge: SeqNumber(0),
            shift,
            room: capacity,
            capacity,
            max_segment,
            pieces: VecDeque::new(),
            latest: SeqNumber(0),
            fin: None,
            ack: AckNeed::None,
            unacknowledged: 0,
            largest: 0,
            last_ack_sent: SeqNumber(0),
            timestamp: None,
        }
    }

    /// The peer's SYN has the sequence number `irs`.
    pub fn synchronize(&mut self, irs: SeqNumber) {
        self.nxt = irs + 1;
        self.edge = self.nxt;
        self.last_ack_sent = self.nxt;
    }

    /// Whether a segment touches the window (RFC 9293 section 3.10.7.4). Wider than the RFC in two places, as Linux: an empty one
    /// at the very edge is what a peer sends that has used its window up; and one that starts at `nxt` passes a closed window,
    /// for its acknowledgment.
    pub fn acceptable(&self, sequence: SeqNumber, length: usize) -> bool {
        if length == 0 {
            return !sequence.before(self.nxt) && !sequence.after(self.edge);
        }
        let ends_in_it = (sequence + length).after(self.nxt);
        let starts_in_it = sequence.before(self.edge) || !sequence.after(self.nxt);
        ends_in_it && starts_in_it
    }

    /// Takes a segment's data: delivers what is in order, keeps what is not.
    pub fn accept(&mut self, sequence: SeqNumber, payload: &[u8], sink: &mut dyn ReceiveSink) -> Arrival {
        let known = self.nxt.bytes_past(sequence);
        let start = sequence.latest(self.nxt);
        let fresh = payload.get(known..).unwrap_or_default();
        let fresh = fresh.get(..self.edge.bytes_past(start).min(fresh.len())).unwrap_or_default();
        if fresh.is_empty() {
            return Arrival::Nothing;
        }
        self.largest = self.largest.max(fresh.len().min(self.max_segment));
        let had_gap = !self.pieces.is_empty();
        let rest = match start == self.nxt {
            true => fresh.get(self.deliver(fresh, sink)..).unwrap_or_default(),
            false => fresh,
        };
        if !rest.is_empty() {
            self.store(start.latest(self.nxt), rest);
        }
        self.drain(sink);
        if had_gap || !self.pieces.is_empty() {
            return Arrival::AroundGap;
        }
        self.unacknowledged += fresh.len();
        Arrival::InOrder
    }

    fn deliver(&mut self, bytes: &[u8], sink: &mut dyn ReceiveSink) -> usize {
        let taken = sink.deliver(bytes).min(bytes.len());
        self.nxt = self.nxt + taken;
        self.room = sink.room();
        taken
    }

    /// Delivers what reassembly holds and the stream has reached.
    pub fn drain(&mut self, sink: &mut dyn ReceiveSink) {
        while let Some(mut first) = self.pieces.pop_front() {
            if first.start.after(self.nxt) {
                self.pieces.push_front(first);
                return;
            }
            let known = self.nxt.bytes_past(first.start).min(first.bytes.len());
            first.bytes.drain(..known);
            let taken = self.deliver(&first.bytes, sink);
            if taken < first.bytes.len() {
                first.bytes.drain(..taken);
                self.pieces.push_front(Piece { start: self.nxt, bytes: first.bytes });
                return;
            }
        }
    }

    fn store(&mut self, start: SeqNumber, bytes: &[u8]) {
        self.latest = start;
        let at = self.pieces.partition_point(|piece| piece.end().before(start));
        let full = self.pieces.len() >= MAXIMUM_PIECES;
        match self.pieces.get_mut(at) {
            Some(piece) if !piece.start.after(start) => {
                let known = piece.end().bytes_past(start);
                piece.bytes.extend_from_slice(bytes.get(known..).unwrap_or_default());
            }
            Some(_) | None if full => return,
            Some(_) | None => self.pieces.insert(at, Piece { start, bytes: bytes.to_vec() }),
        }
        self.join_from(at);
    }

    /// Joins the piece at `at` with those after it that it has come to touch.
    fn join_from(&mut self, at: usize) {
        while self.pieces.get(at).zip(self.pieces.get(at + 1)).is_some_and(|(a, b)| !b.start.after(a.end())) {
            let Some(next) = self.pieces.remove(at + 1) else { return };
            if let Some(piece) = self.pieces.get_mut(at) {
                let known = piece.end().bytes_past(next.start);
                piece.bytes.extend_from_slice(next.bytes.get(known..).unwrap_or_default());
            }
        }
    }

    /// The peer's FIN stands at `sequence`; one beyond the window is not believed.
    pub fn take_fin(&mut self, sequence: SeqNumber) {
        if !sequence.before(self.nxt) && !sequence.after(self.edge) {
            self.fin.get_or_insert(sequence);
        }
    }

    /// Whether all data before the peer's FIN was delivered; if so the FIN is now received.
    pub fn reach_fin(&mut self) -> bool {
        let reached = self.fin == Some(self.nxt);
        if reached {
            self.nxt = self.nxt + 1;
            self.edge = self.edge.latest(self.nxt);
        }
        reached
    }

    /// Asks for an acknowledgment of in-order data: every second full segment at once (RFC 5681 section 4.2).
    pub fn acknowledge_in_order(&mut self) {
        let full = self.unacknowledged >= 2 * self.largest.max(1);
        self.ack = self.ack.max(if full { AckNeed::Now } else { AckNeed::Delayed });
    }

    /// An acknowledgment goes out.
    pub fn acknowledged(&mut self) {
        self.ack = AckNeed::None;
        self.unacknowledged = 0;
        self.last_ack_sent = self.nxt;
    }

    /// The window field of the next segment. The edge moves by steps that are worth a segment (RFC 9293 section 3.8.6.2.2).
    pub fn window_field(&mut self) -> u16 {
        let target = self.nxt + self.room;
        if target.bytes_past(self.edge) >= self.step() {
            self.edge = target;
        }
        let window = self.edge.bytes_past(self.nxt);
        // Rounding down would take back what was promised; up only where there is room.
        let up = window.div_ceil(1 << self.shift);
        let field = if up << self.shift <= self.room { up } else { window >> self.shift };
        let field = u16::try_from(field).unwrap_or(u16::MAX);
        self.edge = self.edge.latest(self.nxt + (usize::from(field) << self.shift));
        field
    }

    /// The window field of a SYN, never scaled.
    pub fn syn_window_field(&mut self) -> u16 {
        let field = u16::try_from(self.room).unwrap_or(u16::MAX);
        self.edge = self.edge.latest(self.nxt + usize::from(field));
        field
    }

    fn step(&self) -> usize {
        (self.capacity / 2).clamp(1, self.max_segment.max(1))
    }

    /// Whether the reader made enough room to tell the peer unasked: as on Linux, when the window doubles.
    pub fn wants_window_update(&self) -> bool {
        let told = self.edge.bytes_past(self.nxt);
        let gain = (self.nxt + self.room).bytes_past(self.edge);
        gain >= self.step() && self.room >= 2 * told
    }

    /// What reassembly holds, the latest arrival first.
    pub fn sack_blocks(&self) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        let holds_latest = |piece: &&Piece| !piece.start.after(self.latest) && piece.end().after(self.latest);
        let beyond_gap = |piece: &&Piece| piece.start.after(self.nxt);
        let latest = self.pieces.iter().filter(beyond_gap).find(holds_latest);
        let others = self.pieces.iter().filter(beyond_gap).filter(|piece| !holds_latest(piece));
        for piece in latest.into_iter().chain(others) {
            if !blocks.push(SackBlock { start: piece.start, end: piece.end() }) {
                break;
            }
        }
        blocks
    }
}
