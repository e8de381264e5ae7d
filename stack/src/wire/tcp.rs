//! TCP (RFC 9293 section 3.1). Options have a file of their own, [`super::tcp_options`].

use std::fmt;
use std::net::IpAddr;
use std::ops::{Add, BitOr, Sub};

use md5::{Digest, Md5};
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::pseudo_header;
use super::ipv4::protocol;
use super::tcp_options::{SIGNATURE_BYTES, TcpOptions};
use super::{Layer, WireError, room, split_header};

/// Bytes of the header without options.
pub const HEADER_BYTES: usize = size_of::<TcpHeader>();
/// Bytes of the header with all options that fit.
pub const MAXIMUM_HEADER_BYTES: usize = 60;
/// Where the checksum stands in the header: what virtio-net calls `csum_offset`.
pub const CHECKSUM_OFFSET: usize = 16;

const LAYER: Layer = Layer::Tcp;

/// The header as it lies on the wire, without options.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TcpHeader {
    /// Sender's port.
    pub source_port: U16,
    /// Receiver's port.
    pub destination_port: U16,
    /// Of the first byte, or of the SYN.
    pub sequence: U32,
    /// Next byte expected from the other side; valid with ACK.
    pub acknowledgment: U32,
    /// Header length in 32-bit words in the upper half.
    pub data_offset: u8,
    /// See [`TcpFlags`].
    pub flags: u8,
    /// Room of the receiver, unscaled.
    pub window: U16,
    /// Over pseudo-header, header and payload.
    pub checksum: U16,
    /// Valid with URG, which nothing here uses.
    pub urgent_pointer: U16,
}

/// A position in a byte stream that wraps at 2^32 (RFC 9293 section 3.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// How far `self` is past `earlier`: negative where it is before it. Right while the two are within 2^31.
    pub fn distance(self, earlier: SeqNumber) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// How many bytes `self` is past `earlier`; 0 where it is not.
    pub fn bytes_past(self, earlier: SeqNumber) -> usize {
        usize::try_from(self.distance(earlier)).unwrap_or(0)
    }

    /// Whether `self` stands before `other`.
    pub fn before(self, other: SeqNumber) -> bool {
        self.distance(other) < 0
    }

    /// Whether `self` stands after `other`.
    pub fn after(self, other: SeqNumber) -> bool {
        self.distance(other) > 0
    }

    /// The later of the two.
    #[must_use]
    pub fn latest(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[must_use]
    pub fn earliest(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { self } else { other }
    }
}

impl Add<usize> for SeqNumber {
    type Output = SeqNumber;
    fn add(self, bytes: usize) -> SeqNumber {
        // Truncation is the wrap.
        SeqNumber(self.0.wrapping_add(bytes as u32))
    }
}

impl Sub<usize> for SeqNumber {
    type Output = SeqNumber;
    fn sub(self, bytes: usize) -> SeqNumber {
        SeqNumber(self.0.wrapping_sub(bytes as u32))
    }
}

impl fmt::Debug for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The control bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// None set.
    pub const NONE: TcpFlags = TcpFlags(0);
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Hand the data to the reader now.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgment field counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer counts.
    pub const URG: TcpFlags = TcpFlags(0x20);

    /// Whether all of `bits` are set.
    pub fn contains(self, bits: TcpFlags) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl BitOr for TcpFlags {
    type Output = TcpFlags;
    fn bitor(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(Self::SYN, "S"), (Self::FIN, "F"), (Self::RST, "R"), (Self::PSH, "P"), (Self::URG, "U")];
        for (_, name) in names.into_iter().filter(|(bit, _)| self.contains(*bit)) {
            f.write_str(name)?;
        }
        // Last and as a dot, the way tcpdump prints it.
        f.write_str(if self.contains(Self::ACK) { "." } else { "" })
    }
}

/// A segment whose header and options lie within the bytes received.
#[derive(Debug, Clone, Copy)]
pub struct TcpView<'a> {
    header: &'a TcpHeader,
    bytes: &'a [u8],
    header_bytes: usize,
}

impl<'a> TcpView<'a> {
    /// Checks the data offset. `bytes` is the whole IP payload. The checksum is [`TcpView::verify`]'s: a driver may have vouched
    /// for it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, _) = split_header::<TcpHeader>(LAYER, bytes)?;
        let header_bytes = usize::from(header.data_offset >> 4) * 4;
        if header_bytes < HEADER_BYTES || header_bytes > bytes.len() {
            return Err(WireError::BadHeaderLength { layer: LAYER, found: header_bytes });
        }
        Ok(TcpView { header, bytes, header_bytes })
    }

    /// Checks the checksum over pseudo-header, header and payload.
    pub fn verify(&self, source: IpAddr, destination: IpAddr) -> Result<(), WireError> {
        match pseudo_header(source, destination, protocol::TCP, self.bytes.len()).add(self.bytes).verifies() {
            true => Ok(()),
            false => Err(WireError::BadChecksum { layer: LAYER }),
        }
    }

    /// The signature that the segment should bear (RFC 2385) between these addresses.
    pub fn expected_signature(&self, source: IpAddr, destination: IpAddr, key: &[u8]) -> [u8; SIGNATURE_BYTES] {
        signature(self.bytes, self.header_bytes, (source, destination), key)
    }

    /// Sender's port.
    pub fn source_port(&self) -> u16 {
        self.header.source_port.get()
    }

    /// Receiver's port.
    pub fn destination_port(&self) -> u16 {
        self.header.destination_port.get()
    }

    /// The control bits.
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.header.flags)
    }

    /// The data.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.header_bytes..).unwrap_or_default()
    }

    /// The meaning of header and options. Options that are malformed end the list, as on Linux; the segment stays good.
    pub fn repr(&self) -> TcpRepr {
        let header = self.header;
        TcpRepr {
            source_port: self.source_port(),
            destination_port: self.destination_port(),
            sequence: SeqNumber(header.sequence.get()),
            acknowledgment: SeqNumber(header.acknowledgment.get()),
            flags: self.flags(),
            window: header.window.get(),
            options: TcpOptions::parse(self.bytes.get(HEADER_BYTES..self.header_bytes).unwrap_or_default()),
        }
    }

    /// Meaning and data together: what a connection takes.
    pub fn segment(&self) -> TcpSegment<'a> {
        TcpSegment { repr: self.repr(), payload: self.payload() }
    }
}

/// A segment: what its header says, and its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSegment<'a> {
    /// Header and options.
    pub repr: TcpRepr,
    /// The data.
    pub payload: &'a [u8],
}

impl TcpSegment<'_> {
    /// How much sequence space it takes: data, and one each for SYN and FIN.
    pub fn sequence_length(&self) -> usize {
        let controls = [TcpFlags::SYN, TcpFlags::FIN];
        self.payload.len() + controls.into_iter().filter(|bit| self.repr.flags.contains(*bit)).count()
    }
}

/// The meaning of header and options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpRepr {
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Of the first byte, or of the SYN.
    pub sequence: SeqNumber,
    /// Next byte expected from the other side; counts with ACK.
    pub acknowledgment: SeqNumber,
    /// The control bits.
    pub flags: TcpFlags,
    /// Room of the receiver, unscaled.
    pub window: u16,
    /// Options.
    pub options: TcpOptions,
}

impl TcpRepr {
    /// Bytes of header and options, as `emit` writes them.
    pub fn header_bytes(&self) -> usize {
        HEADER_BYTES + self.options.emitted_bytes()
    }

    /// Writes header and options to the front of `out`, the checksum left zero; returns their length. See [`fill_checksum`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let header_bytes = self.header_bytes();
        let out = room(LAYER, out, header_bytes)?;
        let header = TcpHeader {
            source_port: U16::new(self.source_port),
            destination_port: U16::new(self.destination_port),
            sequence: U32::new(self.sequence.0),
            acknowledgment: U32::new(self.acknowledgment.0),
            // At most 60 / 4.
            data_offset: ((header_bytes / 4) as u8) << 4,
            flags: self.flags.0,
            window: U16::new(self.window),
            checksum: U16::ZERO,
            urgent_pointer: U16::ZERO,
        };
        let (fixed, options) = out.split_at_mut(HEADER_BYTES);
        fixed.copy_from_slice(header.as_bytes());
        self.options.emit(options);
        Ok(header_bytes)
    }
}

/// The MD5 signature of a whole segment (RFC 2385 section 2.0): over pseudo-header, header without options and with its
/// checksum zero, data, and key. What the options hold does not count, so that it can be made before they are written.
pub fn signature(
    segment: &[u8],
    header_bytes: usize,
    (source, destination): (IpAddr, IpAddr),
    key: &[u8],
) -> [u8; SIGNATURE_BYTES] {
    let mut md5 = Md5::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            md5.update(source.octets());
            md5.update(destination.octets());
            // A segment lies in an IPv4 packet, so that its length fits.
            md5.update([0, protocol::TCP]);
            md5.update((segment.len() as u16).to_be_bytes());
        }
        (source, destination) => {
            md5.update(to_v6(source).octets());
            md5.update(to_v6(destination).octets());
            md5.update((segment.len() as u32).to_be_bytes());
            md5.update([0, 0, 0, protocol::TCP]);
        }
    }
    let (before, after) = (CHECKSUM_OFFSET, CHECKSUM_OFFSET + 2);
    md5.update(segment.get(..before).unwrap_or_default());
    md5.update([0; 2]);
    md5.update(segment.get(after..HEADER_BYTES).unwrap_or_default());
    md5.update(segment.get(header_bytes..).unwrap_or_default());
    md5.update(key);
    md5.finalize().into()
}

fn to_v6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Puts the checksum into a whole segment (header, options, payload).
pub fn fill_checksum(segment: &mut [u8], source: IpAddr, destination: IpAddr) -> Result<(), WireError> {
    put_checksum(segment, 0)?;
    let sum = pseudo_header(source, destination, protocol::TCP, segment.len()).add(segment).finish();
    put_checksum(segment, sum)
}

/// Puts the sum of the pseudo-header into the checksum field, for a device that completes it (virtio-net `NEEDS_CSUM`).
pub fn fill_partial_checksum(segment: &mut [u8], source: IpAddr, destination: IpAddr) -> Result<(), WireError> {
    put_checksum(segment, pseudo_header(source, destination, protocol::TCP, segment.len()).partial())
}

fn put_checksum(segment: &mut [u8], value: u16) -> Result<(), WireError> {
    let field = room(LAYER, segment, HEADER_BYTES)?.get_mut(CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2);
    if let Some(field) = field {
        field.copy_from_slice(&value.to_be_bytes());
    }
    Ok(())
}
