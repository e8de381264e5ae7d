//! What the peer holds out of order, as its SACK blocks tell (RFC 2018, RFC 6675).

use crate::wire::tcp::SeqNumber;

/// A peer that acknowledges every other byte must not make this grow without end.
const MAXIMUM_RANGES: usize = 256;

/// Ranges that the peer holds, in order, apart from each other.
#[derive(Debug, Clone, Default)]
pub struct Scoreboard {
    ranges: Vec<(SeqNumber, SeqNumber)>,
}

impl Scoreboard {
    /// Adds a range that the caller found to lie in flight; returns whether it told anything new.
    pub fn insert(&mut self, start: SeqNumber, end: SeqNumber) -> bool {
        let news = end.bytes_past(start) > self.covered(start, end);
        if !news || self.ranges.len() >= MAXIMUM_RANGES {
            return false;
        }
        let touches = |range: &(SeqNumber, SeqNumber)| !range.1.before(start) && !range.0.after(end);
        let (start, end) = self
            .ranges
            .iter()
            .filter(|range| touches(range))
            .fold((start, end), |(start, end), range| (start.earliest(range.0), end.latest(range.1)));
        self.ranges.retain(|range| range.1.before(start) || range.0.after(end));
        let at = self.ranges.partition_point(|range| range.0.before(start));
        self.ranges.insert(at, (start, end));
        true
    }

    /// Everything before `una` was acknowledged.
    pub fn forget_before(&mut self, una: SeqNumber) {
        self.ranges.retain(|range| range.1.after(una));
        if let Some(first) = self.ranges.first_mut() {
            first.0 = first.0.latest(una);
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Bytes of `from..to` that the peer holds.
    pub fn covered(&self, from: SeqNumber, to: SeqNumber) -> usize {
        self.ranges.iter().map(|range| range.1.earliest(to).bytes_past(range.0.latest(from))).sum()
    }

    /// The place above which the peer holds `bytes` bytes; `None` where it holds fewer.
    pub fn below_top(&self, bytes: usize) -> Option<SeqNumber> {
        let mut wanted = bytes;
        for range in self.ranges.iter().rev() {
            let held = range.1.bytes_past(range.0);
            if held >= wanted {
                return Some(range.1 - wanted);
            }
            wanted -= held;
        }
        None
    }

    /// The first stretch of `from..to` that the peer does not hold.
    pub fn hole(&self, from: SeqNumber, to: SeqNumber) -> Option<(SeqNumber, SeqNumber)> {
        let mut start = from;
        for range in &self.ranges {
            if range.0.after(start) {
                let end = range.0.earliest(to);
                return end.after(start).then_some((start, end));
            }
            start = start.latest(range.1);
        }
        to.after(start).then_some((start, to))
    }
}
