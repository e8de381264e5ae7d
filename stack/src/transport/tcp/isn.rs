//! Initial sequence numbers (RFC 6528).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;

use crate::time::Time;
use crate::wire::tcp::SeqNumber;

/// Makes initial sequence numbers: a clock of 4 µs a tick, plus a hash of the four-tuple under a key drawn at start. A new
/// incarnation of a connection starts past the old one; a stranger cannot guess.
#[derive(Debug, Clone, Default)]
pub struct IsnGenerator {
    key: RandomState,
}

impl IsnGenerator {
    /// The number for a connection that opens now. `space` tells apart VRs, whose addresses may overlap.
    pub fn next(&self, now: Time, space: u32, local: SocketAddr, remote: SocketAddr) -> SeqNumber {
        let hash = self.key.hash_one((space, local, remote));
        // Truncation on purpose: both are taken modulo 2^32.
        SeqNumber((hash as u32).wrapping_add((now.as_nanos() / 4_000) as u32))
    }
}
