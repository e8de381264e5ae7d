//! Wire formats: one file a header.
//!
//! Each header has three faces:
//!
//! - `XHeader`: the bytes as they lie on the wire (zerocopy, big-endian fields), for stages that read or change one field in
//!   place;
//! - `XView`: a borrowed packet whose lengths were checked once, by `parse`; its getters cannot panic. What the fields say is
//!   still a stranger's claim;
//! - `XRepr`: the meaning, owned and `Copy`; `emit` writes it in front of a payload.
//!
//! No function here panics on any bytes that were received. `emit` refuses a buffer that is too small with
//! [`WireError::Truncated`].

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod igmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_extension;
pub mod ndp;
pub mod tcp;
pub mod tcp_options;
pub mod udp;

#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The header that a [`WireError`] speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Ethernet II.
    Ethernet,
    /// ARP for Ethernet and IPv4.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6: the fixed header and extension headers.
    Ipv6,
    /// ICMP for IPv4.
    Icmpv4,
    /// ICMP for IPv6.
    Icmpv6,
    /// Neighbor discovery.
    Ndp,
    /// IGMP.
    Igmp,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Ethernet => "Ethernet",
            Layer::Arp => "ARP",
            Layer::Ipv4 => "IPv4",
            Layer::Ipv6 => "IPv6",
            Layer::Icmpv4 => "ICMP",
            Layer::Icmpv6 => "ICMPv6",
            Layer::Ndp => "neighbor discovery",
            Layer::Igmp => "IGMP",
            Layer::Udp => "UDP",
            Layer::Tcp => "TCP",
        })
    }
}

/// The check that a packet failed: the reason of its drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum WireError {
    /// Fewer bytes than the header, or than the header announces.
    #[error("{layer}: {needed} bytes needed, {found} there")]
    Truncated {
        /// The header that was read or written.
        layer: Layer,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// The version field of an IP header is another's.
    #[error("{layer}: version {found}")]
    BadVersion {
        /// The header that was expected.
        layer: Layer,
        /// What its version field says.
        found: u8,
    },
    /// The header's own length field is below the fixed part or beyond the packet.
    #[error("{layer}: header length of {found} bytes")]
    BadHeaderLength {
        /// The header.
        layer: Layer,
        /// The length that it claims, in bytes.
        found: usize,
    },
    /// The packet's length field is below the header or beyond the bytes received.
    #[error("{layer}: length field says {found} bytes, {available} there")]
    BadTotalLength {
        /// The header.
        layer: Layer,
        /// The length that it claims, in bytes.
        found: usize,
        /// Bytes received from the start of the header.
        available: usize,
    },
    /// The checksum does not match.
    #[error("{layer}: checksum does not match")]
    BadChecksum {
        /// The header that holds it.
        layer: Layer,
    },
    /// A hardware or protocol type, or an address length, that this header is not defined for here.
    #[error("{layer}: type not supported")]
    UnsupportedType {
        /// The header.
        layer: Layer,
    },
    /// The offset of a checksum to be completed lies outside the frame.
    #[error("checksum field at {offset} lies outside a frame of {found} bytes")]
    ChecksumOutside {
        /// Offset of the checksum field in the frame.
        offset: usize,
        /// Bytes of the frame.
        found: usize,
    },
}

impl WireError {
    /// A short name for counters and `show` rows, one a kind of failure.
    pub fn name(&self) -> &'static str {
        match self {
            WireError::Truncated { .. } => "truncated",
            WireError::BadVersion { .. } => "bad_version",
            WireError::BadHeaderLength { .. } => "bad_header_length",
            WireError::BadTotalLength { .. } => "bad_total_length",
            WireError::BadChecksum { .. } => "bad_checksum",
            WireError::UnsupportedType { .. } => "unsupported_type",
            WireError::ChecksumOutside { .. } => "checksum_outside",
        }
    }
}

/// Borrows a header of type `H` from the front of `bytes`, and what follows it.
pub(crate) fn split_header<H>(layer: Layer, bytes: &[u8]) -> Result<(&H, &[u8]), WireError>
where
    H: FromBytes + KnownLayout + Immutable + Unaligned,
{
    H::ref_from_prefix(bytes).map_err(|_| WireError::Truncated { layer, needed: size_of::<H>(), found: bytes.len() })
}

/// The first `needed` bytes of a buffer to write a header into.
pub(crate) fn room(layer: Layer, out: &mut [u8], needed: usize) -> Result<&mut [u8], WireError> {
    let found = out.len();
    out.get_mut(..needed).ok_or(WireError::Truncated { layer, needed, found })
}
