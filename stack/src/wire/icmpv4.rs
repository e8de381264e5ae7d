//! ICMP for IPv4 (RFC 792, RFC 1191 for the next-hop MTU, RFC 1812 for the codes).

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Layer, WireError, checksum, room, split_header};

/// Bytes of the header that all messages here share.
pub const HEADER_BYTES: usize = size_of::<Icmpv4Header>();
/// An error quotes as much of the packet as fits into 576 bytes with both headers (RFC 1812 section 4.3.2.3).
pub const MAXIMUM_QUOTE_BYTES: usize = 576 - 20 - HEADER_BYTES;

const LAYER: Layer = Layer::Icmpv4;

/// The header as it lies on the wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmpv4Header {
    /// Kind of message.
    pub message_type: u8,
    /// Kind within the kind.
    pub code: u8,
    /// Over the whole message.
    pub checksum: U16,
    /// Identifier of an echo, unused in errors.
    pub first: U16,
    /// Sequence number of an echo, next-hop MTU of "fragmentation needed".
    pub second: U16,
}

/// Why a destination could not be reached: the code of type 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// No route to the network.
    Network,
    /// The host does not answer, or no route to it.
    Host,
    /// Nobody takes this protocol.
    Protocol,
    /// Nobody takes this port.
    Port,
    /// The packet does not fit and must not be fragmented; the next hop takes this many bytes (0: not said).
    FragmentationNeeded {
        /// MTU of the next hop in bytes.
        mtu_bytes: u16,
    },
    /// Filtered by an administrator.
    Prohibited,
    /// Another code.
    Other(u8),
}

/// What a message says. The payload (echo data, or the quoted packet) stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icmpv4Repr {
    /// Ping.
    EchoRequest {
        /// Whose ping.
        identifier: u16,
        /// Which one.
        sequence: u16,
    },
    /// The answer to a ping.
    EchoReply {
        /// Whose ping.
        identifier: u16,
        /// Which one.
        sequence: u16,
    },
    /// A packet was not delivered; it is quoted.
    DestinationUnreachable(Unreachable),
    /// TTL came to its end in transit; the packet is quoted.
    TimeExceededInTransit,
    /// Fragments did not all arrive in time; the first is quoted.
    TimeExceededInReassembly,
    /// A header field is wrong; the packet is quoted.
    ParameterProblem {
        /// Offset of the field in the quoted packet.
        pointer: u8,
    },
    /// Anything else.
    Other {
        /// Its type.
        message_type: u8,
        /// Its code.
        code: u8,
    },
}

impl Icmpv4Repr {
    /// Whether it reports on another packet. An error must never answer an error (RFC 1122 section 3.2.2).
    pub fn is_error(&self) -> bool {
        match self {
            Icmpv4Repr::DestinationUnreachable(_)
            | Icmpv4Repr::TimeExceededInTransit
            | Icmpv4Repr::TimeExceededInReassembly
            | Icmpv4Repr::ParameterProblem { .. } => true,
            Icmpv4Repr::EchoRequest { .. } | Icmpv4Repr::EchoReply { .. } => false,
            // Source quench and redirect are errors too; the other types ask or answer.
            Icmpv4Repr::Other { message_type, .. } => matches!(message_type, 3 | 4 | 5 | 11 | 12),
        }
    }

    /// Writes the header before the payload that already lies behind it: `message` is both. The checksum follows from it.
    pub fn emit(&self, message: &mut [u8]) -> Result<usize, WireError> {
        let (message_type, code, first, second) = self.fields();
        let mut header =
            Icmpv4Header { message_type, code, checksum: U16::ZERO, first: U16::new(first), second: U16::new(second) };
        room(LAYER, message, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        header.checksum = U16::new(checksum::checksum(message));
        room(LAYER, message, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_BYTES)
    }

    fn fields(&self) -> (u8, u8, u16, u16) {
        match *self {
            Icmpv4Repr::EchoReply { identifier, sequence } => (0, 0, identifier, sequence),
            Icmpv4Repr::EchoRequest { identifier, sequence } => (8, 0, identifier, sequence),
            Icmpv4Repr::DestinationUnreachable(why) => match why {
                Unreachable::Network => (3, 0, 0, 0),
                Unreachable::Host => (3, 1, 0, 0),
                Unreachable::Protocol => (3, 2, 0, 0),
                Unreachable::Port => (3, 3, 0, 0),
                Unreachable::FragmentationNeeded { mtu_bytes } => (3, 4, 0, mtu_bytes),
                Unreachable::Prohibited => (3, 13, 0, 0),
                Unreachable::Other(code) => (3, code, 0, 0),
            },
            Icmpv4Repr::TimeExceededInTransit => (11, 0, 0, 0),
            Icmpv4Repr::TimeExceededInReassembly => (11, 1, 0, 0),
            Icmpv4Repr::ParameterProblem { pointer } => (12, 0, u16::from_be_bytes([pointer, 0]), 0),
            Icmpv4Repr::Other { message_type, code } => (message_type, code, 0, 0),
        }
    }
}

/// A message whose header and checksum are whole.
#[derive(Debug, Clone, Copy)]
pub struct Icmpv4View<'a> {
    header: &'a Icmpv4Header,
    payload: &'a [u8],
}

impl<'a> Icmpv4View<'a> {
    /// Checks length and checksum.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, payload) = split_header(LAYER, bytes)?;
        match checksum::Sum::default().add(bytes).verifies() {
            true => Ok(Icmpv4View { header, payload }),
            false => Err(WireError::BadChecksum { layer: LAYER }),
        }
    }

    /// Echo data, or the quoted packet.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// What the message says.
    pub fn repr(&self) -> Icmpv4Repr {
        let header = self.header;
        let (identifier, sequence) = (header.first.get(), header.second.get());
        match (header.message_type, header.code) {
            (0, 0) => Icmpv4Repr::EchoReply { identifier, sequence },
            (8, 0) => Icmpv4Repr::EchoRequest { identifier, sequence },
            (3, code) => Icmpv4Repr::DestinationUnreachable(match code {
                0 => Unreachable::Network,
                1 => Unreachable::Host,
                2 => Unreachable::Protocol,
                3 => Unreachable::Port,
                4 => Unreachable::FragmentationNeeded { mtu_bytes: header.second.get() },
                13 => Unreachable::Prohibited,
                code => Unreachable::Other(code),
            }),
            (11, 0) => Icmpv4Repr::TimeExceededInTransit,
            (11, 1) => Icmpv4Repr::TimeExceededInReassembly,
            (12, 0) => Icmpv4Repr::ParameterProblem { pointer: header.first.to_bytes()[0] },
            (message_type, code) => Icmpv4Repr::Other { message_type, code },
        }
    }
}
