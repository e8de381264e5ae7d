//! IPv4 (RFC 791). Options are carried and skipped on receipt; none are sent.

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Layer, WireError, checksum, room, split_header};

/// Bytes of the header without options.
pub const HEADER_BYTES: usize = size_of::<Ipv4Header>();
/// The largest datagram that every host accepts (RFC 791 section 3.1).
pub const MINIMUM_DATAGRAM_BYTES: usize = 576;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;
const LAYER: Layer = Layer::Ipv4;

/// Numbers of the protocols over IP, IPv4 and IPv6 alike.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// OSPF.
    pub const OSPF: u8 = 89;
}

/// The header as it lies on the wire, without options.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version in the upper half, header length in 32-bit words in the lower.
    pub version_and_length: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Bytes of header and payload.
    pub total_bytes: U16,
    /// Identification of the datagram that a fragment belongs to.
    pub identification: U16,
    /// Flags and fragment offset in units of 8 bytes.
    pub flags_and_offset: U16,
    /// Time to live.
    pub ttl: u8,
    /// See [`protocol`].
    pub protocol: u8,
    /// Over the header.
    pub checksum: U16,
    /// Sender.
    pub source: [u8; 4],
    /// Receiver.
    pub destination: [u8; 4],
}

/// A packet whose header, options and payload lie within the bytes received.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4View<'a> {
    header: &'a Ipv4Header,
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4View<'a> {
    /// Checks version, lengths and header checksum (RFC 1812 section 5.2.2). Bytes beyond the total length are padding.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, header_bytes, total) = check_header(bytes)?;
        let payload = bytes.get(header_bytes..total);
        let payload =
            payload.ok_or(WireError::BadTotalLength { layer: LAYER, found: total, available: bytes.len() })?;
        let raw = bytes.get(..header_bytes).unwrap_or_default();
        if !checksum::Sum::default().add(raw).verifies() {
            return Err(WireError::BadChecksum { layer: LAYER });
        }
        Ok(Self::of(header, raw, payload))
    }

    /// Reads a packet as an ICMP error quotes it: the payload may be cut short, and the checksum is of no interest.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, header_bytes, total) = check_header(bytes)?;
        let end = total.min(bytes.len());
        let payload = bytes.get(header_bytes..end).unwrap_or_default();
        Ok(Self::of(header, bytes.get(..header_bytes).unwrap_or_default(), payload))
    }

    fn of(header: &'a Ipv4Header, raw: &'a [u8], payload: &'a [u8]) -> Self {
        Ipv4View { header, options: raw.get(HEADER_BYTES..).unwrap_or_default(), payload }
    }

    /// The fixed header.
    pub fn header(&self) -> &'a Ipv4Header {
        self.header
    }

    /// Sender.
    pub fn source(&self) -> Ipv4Addr {
        self.header.source.into()
    }

    /// Receiver.
    pub fn destination(&self) -> Ipv4Addr {
        self.header.destination.into()
    }

    /// See [`protocol`].
    pub fn protocol(&self) -> u8 {
        self.header.protocol
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.header.ttl
    }

    /// Bytes of header and options.
    pub fn header_bytes(&self) -> usize {
        HEADER_BYTES + self.options.len()
    }

    /// Bytes of header, options and payload.
    pub fn total_bytes(&self) -> usize {
        usize::from(self.header.total_bytes.get())
    }

    /// Whether routers must not fragment it.
    pub fn dont_fragment(&self) -> bool {
        self.header.flags_and_offset.get() & DONT_FRAGMENT != 0
    }

    /// Whether fragments follow.
    pub fn more_fragments(&self) -> bool {
        self.header.flags_and_offset.get() & MORE_FRAGMENTS != 0
    }

    /// Where this fragment's payload stands in the datagram's, in bytes.
    pub fn fragment_offset_bytes(&self) -> usize {
        usize::from(self.header.flags_and_offset.get() & OFFSET_MASK) * 8
    }

    /// Whether it is a fragment, the first one included.
    pub fn is_fragment(&self) -> bool {
        self.header.flags_and_offset.get() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Raw options, padding included.
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// The payload, without link padding.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The meaning of the header; options are left out.
    pub fn repr(&self) -> Ipv4Repr {
        Ipv4Repr {
            source: self.source(),
            destination: self.destination(),
            protocol: self.protocol(),
            ttl: self.ttl(),
            traffic_class: self.header.traffic_class,
            identification: self.header.identification.get(),
            dont_fragment: self.dont_fragment(),
            more_fragments: self.more_fragments(),
            fragment_offset_bytes: self.fragment_offset_bytes(),
            payload_bytes: self.total_bytes().saturating_sub(self.header_bytes()),
        }
    }
}

/// Version and the two length fields against each other; returns header, header length and total length.
fn check_header(bytes: &[u8]) -> Result<(&Ipv4Header, usize, usize), WireError> {
    let (header, _) = split_header::<Ipv4Header>(LAYER, bytes)?;
    let version = header.version_and_length >> 4;
    if version != 4 {
        return Err(WireError::BadVersion { layer: LAYER, found: version });
    }
    let header_bytes = usize::from(header.version_and_length & 0x0f) * 4;
    if header_bytes < HEADER_BYTES || header_bytes > bytes.len() {
        return Err(WireError::BadHeaderLength { layer: LAYER, found: header_bytes });
    }
    let total = usize::from(header.total_bytes.get());
    if total < header_bytes {
        return Err(WireError::BadTotalLength { layer: LAYER, found: total, available: bytes.len() });
    }
    Ok((header, header_bytes, total))
}

/// What became of a packet's time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlDecrement {
    /// One less, checksum updated.
    Done,
    /// It was 1 or 0: the packet must not be forwarded (RFC 1812 section 5.3.1). Nothing was changed.
    Expired,
}

impl Ipv4Header {
    /// Takes one off the TTL and updates the checksum without looking at the rest (RFC 1624).
    pub fn decrement_ttl(&mut self) -> TtlDecrement {
        if self.ttl <= 1 {
            return TtlDecrement::Expired;
        }
        let old = u16::from_be_bytes([self.ttl, self.protocol]);
        self.ttl -= 1;
        let new = u16::from_be_bytes([self.ttl, self.protocol]);
        self.checksum = U16::new(checksum::update(self.checksum.get(), old, new));
        TtlDecrement::Done
    }
}

/// [`Ipv4Header::decrement_ttl`] on the packet at the front of `packet`.
pub fn decrement_ttl(packet: &mut [u8]) -> Result<TtlDecrement, WireError> {
    let found = packet.len();
    match Ipv4Header::mut_from_prefix(packet) {
        Ok((header, _)) => Ok(header.decrement_ttl()),
        Err(_) => Err(WireError::Truncated { layer: LAYER, needed: HEADER_BYTES, found }),
    }
}

/// The meaning of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Sender.
    pub source: Ipv4Addr,
    /// Receiver.
    pub destination: Ipv4Addr,
    /// See [`protocol`].
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Identification of the datagram that a fragment belongs to.
    pub identification: u16,
    /// Whether routers must not fragment it.
    pub dont_fragment: bool,
    /// Whether fragments follow.
    pub more_fragments: bool,
    /// Where this fragment's payload stands in the datagram's; a multiple of 8.
    pub fragment_offset_bytes: usize,
    /// Bytes after the header.
    pub payload_bytes: usize,
}

impl Ipv4Repr {
    /// An unfragmented packet that routers must not fragment, of no special class.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, ttl: u8, payload_bytes: usize) -> Self {
        Ipv4Repr {
            source,
            destination,
            protocol,
            ttl,
            traffic_class: 0,
            identification: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset_bytes: 0,
            payload_bytes,
        }
    }

    /// Writes the header with its checksum to the front of `out`; returns its length. A payload beyond what the length field can
    /// say is refused.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let total = HEADER_BYTES.saturating_add(self.payload_bytes);
        let too_long = WireError::BadTotalLength { layer: LAYER, found: total, available: usize::from(u16::MAX) };
        let total = u16::try_from(total).map_err(|_| too_long)?;
        let offset = (self.fragment_offset_bytes / 8) as u16 & OFFSET_MASK;
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 }
            | if self.more_fragments { MORE_FRAGMENTS } else { 0 }
            | offset;
        let mut header = Ipv4Header {
            version_and_length: 0x45,
            traffic_class: self.traffic_class,
            total_bytes: U16::new(total),
            identification: U16::new(self.identification),
            flags_and_offset: U16::new(flags),
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: U16::ZERO,
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        header.checksum = U16::new(checksum::checksum(header.as_bytes()));
        room(LAYER, out, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_BYTES)
    }
}
