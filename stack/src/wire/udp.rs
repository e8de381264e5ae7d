//! UDP (RFC 768).

use std::net::IpAddr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::pseudo_header;
use super::ipv4::protocol;
use super::{Layer, WireError, room, split_header};

/// Bytes of the header.
pub const HEADER_BYTES: usize = size_of::<UdpHeader>();
/// Where the checksum stands in the header: what virtio-net calls `csum_offset`.
pub const CHECKSUM_OFFSET: usize = 6;

const LAYER: Layer = Layer::Udp;

/// The header as it lies on the wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UdpHeader {
    /// Sender's port.
    pub source_port: U16,
    /// Receiver's port.
    pub destination_port: U16,
    /// Bytes of header and payload.
    pub length: U16,
    /// Over pseudo-header, header and payload; zero means none (IPv4 only).
    pub checksum: U16,
}

/// A datagram whose payload lies within the bytes received.
#[derive(Debug, Clone, Copy)]
pub struct UdpView<'a> {
    header: &'a UdpHeader,
    bytes: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Checks the length field. The checksum is [`UdpView::verify`]'s: a driver may have vouched for it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, _) = split_header::<UdpHeader>(LAYER, bytes)?;
        let length = usize::from(header.length.get());
        if length < HEADER_BYTES {
            return Err(WireError::BadHeaderLength { layer: LAYER, found: length });
        }
        let beyond = WireError::BadTotalLength { layer: LAYER, found: length, available: bytes.len() };
        Ok(UdpView { header, bytes: bytes.get(..length).ok_or(beyond)? })
    }

    /// Checks the checksum; none at all passes (RFC 768; IPv6 needs one, RFC 8200 section 8.1).
    pub fn verify(&self, source: IpAddr, destination: IpAddr) -> Result<(), WireError> {
        if self.header.checksum.get() == 0 && source.is_ipv4() {
            return Ok(());
        }
        match pseudo_header(source, destination, protocol::UDP, self.bytes.len()).add(self.bytes).verifies() {
            true => Ok(()),
            false => Err(WireError::BadChecksum { layer: LAYER }),
        }
    }

    /// Sender's port.
    pub fn source_port(&self) -> u16 {
        self.header.source_port.get()
    }

    /// Receiver's port.
    pub fn destination_port(&self) -> u16 {
        self.header.destination_port.get()
    }

    /// The data.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The meaning of the header.
    pub fn repr(&self) -> UdpRepr {
        UdpRepr { source_port: self.source_port(), destination_port: self.destination_port() }
    }
}

/// The meaning of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpRepr {
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
}

impl UdpRepr {
    /// Writes the header before the payload that already lies behind it: `datagram` is both. Length and checksum follow from it.
    pub fn emit(&self, datagram: &mut [u8], source: IpAddr, destination: IpAddr) -> Result<usize, WireError> {
        let total = datagram.len();
        let too_long = WireError::BadTotalLength { layer: LAYER, found: total, available: usize::from(u16::MAX) };
        let length = u16::try_from(total).map_err(|_| too_long)?;
        let mut header = UdpHeader {
            source_port: U16::new(self.source_port),
            destination_port: U16::new(self.destination_port),
            length: U16::new(length),
            checksum: U16::ZERO,
        };
        room(LAYER, datagram, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        let sum = pseudo_header(source, destination, protocol::UDP, total).add(datagram).finish();
        // A sum of zero is sent as all ones: zero means "none".
        header.checksum = U16::new(if sum == 0 { 0xffff } else { sum });
        room(LAYER, datagram, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_BYTES)
    }
}
