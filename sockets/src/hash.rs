//! The hash of small numbers that this process chose itself: each send and receive looks its socket up.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps by [`SocketId`](crate::SocketId), by token and by what own sockets are bound to: the library gives the
/// numbers itself, so that nobody else can choose some that collide.
pub(crate) type BySocket = BuildHasherDefault<NumberHasher>;

/// Spreads consecutive numbers over all bits (Knuth, The Art of Computer Programming, volume 3, section 6.4).
#[derive(Debug, Default)]
pub(crate) struct NumberHasher(u64);

/// 2^64 divided by the golden ratio, odd.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(MULTIPLIER);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    // Of the variants of an enum.
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
