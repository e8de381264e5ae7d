//! ICMP for IPv6 (RFC 4443). Neighbor discovery's messages have a file of their own: [`ndp`](super::ndp).

use std::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::pseudo_header;
use super::ipv4::protocol;
use super::ipv6::HEADER_BYTES as IP_HEADER_BYTES;
use super::ipv6_extension::ParameterProblem;
use super::{Layer, WireError, room, split_header};

/// Bytes of the header.
pub const HEADER_BYTES: usize = size_of::<Icmpv6Header>();
/// The smallest MTU of a link (RFC 8200 section 5): what an error may be long in all.
pub const MINIMUM_MTU: usize = 1280;
/// How much of a packet an error quotes: as much as fits the smallest MTU (RFC 4443 section 2.4 (c)).
pub const MAXIMUM_QUOTE_BYTES: usize = MINIMUM_MTU - IP_HEADER_BYTES - HEADER_BYTES;

const LAYER: Layer = Layer::Icmpv6;

/// The header as it lies on the wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Icmpv6Header {
    /// Type; below 128 it is an error.
    pub message_type: u8,
    /// Code.
    pub code: u8,
    /// Over pseudo-header and message.
    pub checksum: U16,
    /// Identifier and sequence number of an echo, MTU, pointer, flags, or nothing.
    pub word: U32,
}

/// Why a destination could not be reached: the code of type 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable6 {
    /// No route to it.
    NoRoute,
    /// Filtered by an administrator.
    Prohibited,
    /// The source address means nothing beyond its link.
    BeyondScope,
    /// The neighbor does not answer.
    Address,
    /// Nobody takes this port.
    Port,
    /// Another code.
    Other(u8),
}

/// What a message says. The payload (echo data, the quoted packet, or the body) stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icmpv6Repr {
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
    DestinationUnreachable(Unreachable6),
    /// A packet does not fit the next link; it is quoted.
    PacketTooBig {
        /// What that link takes, in bytes.
        mtu_bytes: u32,
    },
    /// The hop limit came to its end in transit; the packet is quoted.
    TimeExceededInTransit,
    /// Fragments did not all arrive in time; the first is quoted.
    TimeExceededInReassembly,
    /// A header is wrong or unknown; the packet is quoted.
    ParameterProblem {
        /// What is wrong.
        what: ParameterProblem,
        /// Offset of the byte that is, in the quoted packet.
        pointer: u32,
    },
    /// Anything else, neighbor discovery among it.
    Other {
        /// Its type.
        message_type: u8,
        /// Its code.
        code: u8,
        /// The word behind the checksum.
        word: u32,
    },
}

/// Whether a message of this type reports on another packet (RFC 4443 section 2.1).
pub fn is_error(message_type: u8) -> bool {
    message_type < 128
}

impl Icmpv6Repr {
    /// Writes the header before the payload that already lies behind it: `message` is both. The checksum follows from
    /// it and from the addresses of its packet.
    pub fn emit(&self, message: &mut [u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<usize, WireError> {
        let (message_type, code, word) = self.fields();
        let mut header = Icmpv6Header { message_type, code, checksum: U16::ZERO, word: U32::new(word) };
        room(LAYER, message, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        let sum = pseudo_header(source.into(), destination.into(), protocol::ICMPV6, message.len()).add(message);
        header.checksum = U16::new(sum.finish());
        room(LAYER, message, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_BYTES)
    }

    fn fields(&self) -> (u8, u8, u32) {
        let echo = |identifier: u16, sequence: u16| u32::from(identifier) << 16 | u32::from(sequence);
        match *self {
            Icmpv6Repr::DestinationUnreachable(why) => match why {
                Unreachable6::NoRoute => (1, 0, 0),
                Unreachable6::Prohibited => (1, 1, 0),
                Unreachable6::BeyondScope => (1, 2, 0),
                Unreachable6::Address => (1, 3, 0),
                Unreachable6::Port => (1, 4, 0),
                Unreachable6::Other(code) => (1, code, 0),
            },
            Icmpv6Repr::PacketTooBig { mtu_bytes } => (2, 0, mtu_bytes),
            Icmpv6Repr::TimeExceededInTransit => (3, 0, 0),
            Icmpv6Repr::TimeExceededInReassembly => (3, 1, 0),
            Icmpv6Repr::ParameterProblem { what, pointer } => match what {
                ParameterProblem::ErroneousField => (4, 0, pointer),
                ParameterProblem::UnrecognizedNextHeader => (4, 1, pointer),
                ParameterProblem::UnrecognizedOption => (4, 2, pointer),
            },
            Icmpv6Repr::EchoRequest { identifier, sequence } => (128, 0, echo(identifier, sequence)),
            Icmpv6Repr::EchoReply { identifier, sequence } => (129, 0, echo(identifier, sequence)),
            Icmpv6Repr::Other { message_type, code, word } => (message_type, code, word),
        }
    }
}

/// A message whose header and checksum are whole.
#[derive(Debug, Clone, Copy)]
pub struct Icmpv6View<'a> {
    header: &'a Icmpv6Header,
    payload: &'a [u8],
}

impl<'a> Icmpv6View<'a> {
    /// Checks length and checksum, which covers the addresses of its packet.
    pub fn parse(bytes: &'a [u8], source: Ipv6Addr, destination: Ipv6Addr) -> Result<Self, WireError> {
        let (header, payload) = split_header(LAYER, bytes)?;
        match pseudo_header(source.into(), destination.into(), protocol::ICMPV6, bytes.len()).add(bytes).verifies() {
            true => Ok(Icmpv6View { header, payload }),
            false => Err(WireError::BadChecksum { layer: LAYER }),
        }
    }

    /// Echo data, the quoted packet, or the body.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// What the message says.
    pub fn repr(&self) -> Icmpv6Repr {
        let (message_type, code, word) = (self.header.message_type, self.header.code, self.header.word.get());
        let (identifier, sequence) = ((word >> 16) as u16, word as u16);
        let parameter = |what| Icmpv6Repr::ParameterProblem { what, pointer: word };
        match (message_type, code) {
            (1, code) => Icmpv6Repr::DestinationUnreachable(match code {
                0 => Unreachable6::NoRoute,
                1 => Unreachable6::Prohibited,
                2 => Unreachable6::BeyondScope,
                3 => Unreachable6::Address,
                4 => Unreachable6::Port,
                code => Unreachable6::Other(code),
            }),
            // "The code is set to zero by the originator and ignored by the receiver."
            (2, _) => Icmpv6Repr::PacketTooBig { mtu_bytes: word },
            (3, 0) => Icmpv6Repr::TimeExceededInTransit,
            (3, 1) => Icmpv6Repr::TimeExceededInReassembly,
            (4, 0) => parameter(ParameterProblem::ErroneousField),
            (4, 1) => parameter(ParameterProblem::UnrecognizedNextHeader),
            (4, 2) => parameter(ParameterProblem::UnrecognizedOption),
            (128, 0) => Icmpv6Repr::EchoRequest { identifier, sequence },
            (129, 0) => Icmpv6Repr::EchoReply { identifier, sequence },
            (message_type, code) => Icmpv6Repr::Other { message_type, code, word },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

    #[test]
    fn every_message_reads_back_and_covers_its_addresses() {
        let parameter = |what| Icmpv6Repr::ParameterProblem { what, pointer: 40 };
        for message in [
            Icmpv6Repr::EchoRequest { identifier: 7, sequence: 0xfffe },
            Icmpv6Repr::EchoReply { identifier: 0x8001, sequence: 3 },
            Icmpv6Repr::DestinationUnreachable(Unreachable6::NoRoute),
            Icmpv6Repr::DestinationUnreachable(Unreachable6::BeyondScope),
            Icmpv6Repr::DestinationUnreachable(Unreachable6::Other(6)),
            Icmpv6Repr::PacketTooBig { mtu_bytes: 1280 },
            Icmpv6Repr::TimeExceededInTransit,
            Icmpv6Repr::TimeExceededInReassembly,
            parameter(ParameterProblem::ErroneousField),
            parameter(ParameterProblem::UnrecognizedNextHeader),
            parameter(ParameterProblem::UnrecognizedOption),
            Icmpv6Repr::Other { message_type: 135, code: 0, word: 0 },
        ] {
            let mut bytes = vec![0; HEADER_BYTES];
            bytes.extend_from_slice(b"odd");
            message.emit(&mut bytes, A, B).unwrap();
            let view = Icmpv6View::parse(&bytes, A, B).unwrap();
            assert_eq!((view.repr(), view.payload()), (message, &b"odd"[..]));
            let elsewhere = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
            assert_eq!(
                Icmpv6View::parse(&bytes, A, elsewhere).unwrap_err(),
                WireError::BadChecksum { layer: LAYER },
                "the checksum covers the destination"
            );
        }
        assert!(Icmpv6View::parse(&[128, 0, 0, 0], A, B).is_err());
    }

    #[test]
    fn a_checksum_is_what_one_computes_by_hand() {
        let mut bytes = [0x80, 0, 0, 0, 0x12, 0x34, 0, 1, 0xde, 0xad, 0xbe, 0xef];
        Icmpv6Repr::EchoRequest { identifier: 0x1234, sequence: 1 }.emit(&mut bytes, A, B).unwrap();
        // fe80 + 1 + fe80 + 2 + c (length) + 3a (ICMPv6) + 8000 + 1234 + 1 + dead + beef, folded and complemented.
        assert_eq!(bytes[2..4], 0xd2e1_u16.to_be_bytes());
    }
}
