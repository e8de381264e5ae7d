//! IPv6 (RFC 8200): the fixed header. Extension headers are part of the payload here; see
//! [`ipv6_extension`](super::ipv6_extension).

use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ipv4::TtlDecrement;
use super::{Layer, WireError, room, split_header};

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = size_of::<Ipv6Header>();

const LAYER: Layer = Layer::Ipv6;

/// The fixed header as it lies on the wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// 4 bits version, 8 bits traffic class, 20 bits flow label.
    pub version_class_flow: U32,
    /// Bytes after this header.
    pub payload_bytes: U16,
    /// Protocol, or the first extension header.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Sender.
    pub source: [u8; 16],
    /// Receiver.
    pub destination: [u8; 16],
}

impl Ipv6Header {
    /// Takes one off the hop limit; there is no checksum to update.
    pub fn decrement_hop_limit(&mut self) -> TtlDecrement {
        if self.hop_limit <= 1 {
            return TtlDecrement::Expired;
        }
        self.hop_limit -= 1;
        TtlDecrement::Done
    }
}

/// A packet whose payload lies within the bytes received.
#[derive(Debug, Clone, Copy)]
pub struct Ipv6View<'a> {
    header: &'a Ipv6Header,
    payload: &'a [u8],
}

impl<'a> Ipv6View<'a> {
    /// Checks version and lengths. Bytes beyond the payload length are padding.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, rest) = split_header::<Ipv6Header>(LAYER, bytes)?;
        let version = (header.version_class_flow.get() >> 28) as u8;
        if version != 6 {
            return Err(WireError::BadVersion { layer: LAYER, found: version });
        }
        let length = usize::from(header.payload_bytes.get());
        let beyond = WireError::BadTotalLength { layer: LAYER, found: HEADER_BYTES + length, available: bytes.len() };
        Ok(Ipv6View { header, payload: rest.get(..length).ok_or(beyond)? })
    }

    /// Reads a packet as an ICMPv6 error quotes it: the payload may be cut short.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, rest) = split_header::<Ipv6Header>(LAYER, bytes)?;
        match (header.version_class_flow.get() >> 28) as u8 {
            6 => {
                let length = usize::from(header.payload_bytes.get()).min(rest.len());
                Ok(Ipv6View { header, payload: rest.get(..length).unwrap_or_default() })
            }
            found => Err(WireError::BadVersion { layer: LAYER, found }),
        }
    }

    /// The fixed header.
    pub fn header(&self) -> &'a Ipv6Header {
        self.header
    }

    /// Sender.
    pub fn source(&self) -> Ipv6Addr {
        self.header.source.into()
    }

    /// Receiver.
    pub fn destination(&self) -> Ipv6Addr {
        self.header.destination.into()
    }

    /// Protocol, or the first extension header.
    pub fn next_header(&self) -> u8 {
        self.header.next_header
    }

    /// Hops left.
    pub fn hop_limit(&self) -> u8 {
        self.header.hop_limit
    }

    /// All after the fixed header, without link padding.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The meaning of the header.
    pub fn repr(&self) -> Ipv6Repr {
        let word = self.header.version_class_flow.get();
        Ipv6Repr {
            source: self.source(),
            destination: self.destination(),
            next_header: self.next_header(),
            hop_limit: self.hop_limit(),
            traffic_class: (word >> 20) as u8,
            flow_label: word & 0x000f_ffff,
            payload_bytes: self.payload.len(),
        }
    }
}

/// The meaning of the fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// Sender.
    pub source: Ipv6Addr,
    /// Receiver.
    pub destination: Ipv6Addr,
    /// Protocol, or the first extension header.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// 20 bits.
    pub flow_label: u32,
    /// Bytes after the fixed header.
    pub payload_bytes: usize,
}

impl Ipv6Repr {
    /// A packet of no special class and no flow.
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, hop_limit: u8, payload_bytes: usize) -> Self {
        let (traffic_class, flow_label) = (0, 0);
        Ipv6Repr { source, destination, next_header, hop_limit, traffic_class, flow_label, payload_bytes }
    }

    /// Writes the header to the front of `out`; returns its length. A payload beyond what the length field can say is refused.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let too_long =
            WireError::BadTotalLength { layer: LAYER, found: self.payload_bytes, available: usize::from(u16::MAX) };
        let payload_bytes = u16::try_from(self.payload_bytes).map_err(|_| too_long)?;
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        let header = Ipv6Header {
            version_class_flow: U32::new(word),
            payload_bytes: U16::new(payload_bytes),
            next_header: self.next_header,
            hop_limit: self.hop_limit,
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        room(LAYER, out, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_BYTES)
    }
}
