//! The hash of a socket's number: each send and receive looks its socket up.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps by [`SocketId`](crate::SocketId): the library gives the numbers itself, one after the other, so that nobody
/// can choose some that collide.
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

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(MULTIPLIER);
    }
}
