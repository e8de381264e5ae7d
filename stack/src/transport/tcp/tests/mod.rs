//! Tests of the connection: scripts of segments with times, a pair of connections over a bad link, and random segments.

mod close;
mod handshake;
mod loss;
mod pair;
mod random;
mod reassembly;
mod script;
mod transfer;
mod window;

use super::{ReceiveSink, SendSource};

/// The byte at `offset` of every stream in these tests: what arrives out of place is seen at once.
pub fn pattern(offset: usize) -> u8 {
    (offset.wrapping_mul(2_654_435_761) >> 7) as u8
}

/// A source of a stream of [`pattern`] bytes.
#[derive(Debug, Default)]
pub struct PatternSource {
    pub acknowledged: usize,
    pub written: usize,
    pub finished: bool,
}

impl SendSource for PatternSource {
    fn available(&self) -> usize {
        self.written - self.acknowledged
    }
    fn copy(&self, ahead: usize, into: &mut [u8]) -> usize {
        let count = into.len().min(self.available().saturating_sub(ahead));
        for (offset, byte) in into.iter_mut().take(count).enumerate() {
            *byte = pattern(self.acknowledged + ahead + offset);
        }
        count
    }
    fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.available(), "{bytes} acknowledged, {} there", self.available());
        self.acknowledged += bytes;
    }
    fn finished(&self) -> bool {
        self.finished
    }
}

/// A sink that checks each byte against [`pattern`].
#[derive(Debug, Default)]
pub struct PatternSink {
    pub capacity: usize,
    pub delivered: usize,
    pub read: usize,
    pub finished: bool,
}

impl ReceiveSink for PatternSink {
    fn room(&self) -> usize {
        self.capacity - (self.delivered - self.read)
    }
    fn deliver(&mut self, bytes: &[u8]) -> usize {
        assert!(!self.finished || bytes.is_empty(), "data after the end");
        let taken = bytes.len().min(self.room());
        for byte in &bytes[..taken] {
            assert_eq!(*byte, pattern(self.delivered), "byte {} is another", self.delivered);
            self.delivered += 1;
        }
        taken
    }
    fn finish(&mut self) {
        assert!(!self.finished, "finished twice");
        self.finished = true;
    }
}
