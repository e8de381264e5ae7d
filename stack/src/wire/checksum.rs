//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and the pseudo-headers of TCP, UDP and ICMPv6.
//!
//! A [`Sum`] is a running one's complement sum. Parts may be added in any order as long as each but the last has an even
//! number of bytes.

use std::net::IpAddr;

use super::WireError;

/// A running one's complement sum in the machine's own byte order; RFC 1071 section 2(B): the order of bytes matters only at
/// the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes as 16-bit words; an odd last byte is padded with zero.
    #[must_use]
    pub fn add(&self, bytes: &[u8]) -> Sum {
        // 32-bit lanes into a 64-bit sum: no carry is lost before 2^32 words, and the loop vectorizes.
        let mut words = bytes.chunks_exact(4);
        let mut total = self.0;
        for word in &mut words {
            total += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
        let rest = match *words.remainder() {
            [] => 0,
            [a] => u32::from_ne_bytes([a, 0, 0, 0]),
            [a, b] => u32::from_ne_bytes([a, b, 0, 0]),
            [a, b, c, ..] => u32::from_ne_bytes([a, b, c, 0]),
        };
        Sum(fold_to_32(total + u64::from(rest)))
    }

    /// Adds one 16-bit word given as a number.
    #[must_use]
    pub fn add_word(self, word: u16) -> Sum {
        self.add(&word.to_be_bytes())
    }

    /// The sum as a 16-bit number, not complemented: what a partial checksum field holds.
    pub fn partial(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16 & 0xffff) + (self.0 >> 32 & 0xffff) + (self.0 >> 48);
        let twice = (once & 0xffff) + (once >> 16);
        let thrice = (twice & 0xffff) + (twice >> 16);
        u16::from_be((thrice & 0xffff) as u16)
    }

    /// The checksum: the complement of the sum.
    pub fn finish(self) -> u16 {
        !self.partial()
    }

    /// Whether bytes that include their own checksum sum up to what RFC 1071 asks.
    pub fn verifies(self) -> bool {
        self.partial() == 0xffff
    }
}

/// Folds so that further additions have their full headroom.
fn fold_to_32(total: u64) -> u64 {
    (total & 0xffff_ffff) + (total >> 32)
}

/// The checksum over `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::default().add(bytes).finish()
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 section 3.1) and of all over IPv6 (RFC 8200 section 8.1). Both come to
/// the same sum: the addresses, the protocol and the length of the upper layer.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, bytes: usize) -> Sum {
    let length = u32::try_from(bytes).unwrap_or(u32::MAX);
    add_address(add_address(Sum::default(), source), destination)
        .add(&length.to_be_bytes())
        .add_word(u16::from(protocol))
}

fn add_address(sum: Sum, address: IpAddr) -> Sum {
    match address {
        IpAddr::V4(v4) => sum.add(&v4.octets()),
        IpAddr::V6(v6) => sum.add(&v6.octets()),
    }
}

/// The checksum after one 16-bit word under it changed from `old` to `new` (RFC 1624 equation 3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

/// Finishes a checksum that a sender left to the device (virtio-net `NEEDS_CSUM`): the field at `start + offset` holds the sum of
/// the pseudo-header; what is put there covers everything from `start`. A result of zero is written as 0xffff, because zero means
/// "none" to UDP and both are the same number in one's complement.
pub fn complete_partial(frame: &mut [u8], start: usize, offset: usize) -> Result<(), WireError> {
    let found = frame.len();
    let at = start.saturating_add(offset);
    let outside = WireError::ChecksumOutside { offset: at, found };
    let covered = frame.get(start..).ok_or(outside)?;
    let value = match Sum::default().add(covered).finish() {
        0 => 0xffff,
        sum => sum,
    };
    let field = frame.get_mut(at..at.saturating_add(2)).ok_or(outside)?;
    field.copy_from_slice(&value.to_be_bytes());
    Ok(())
}
