//! A datagram as a record of a channel: a header, then the payload.
//!
//! ```text
//!  byte 0      0xD4: IPv4, 0xD6: IPv6
//!       1      TTL or hop limit
//!       2      TOS or traffic class
//!       3      length of the interface's name; 0: none is named
//!       4, 6   ports of sender and receiver, the most significant byte first; 0 for raw IP
//!       8      addresses of sender and receiver, 4 or 16 bytes each
//!       16 40  name of the interface, then the payload, up to the record's end
//! ```
//!
//! The same between two processes and between a process and the stack; between processes no interface is named, since
//! each side has its own word for it. No byte of it depends on the payload: whoever sends often to one receiver writes
//! the same header each time, straight from where it lies, and the payload behind it from the caller's buffer.
//!
//! Byte 0 is no variant of [`DatagramRequest`](crate::datagram::DatagramRequest) or
//! [`DatagramReply`](crate::datagram::DatagramReply), with which datagrams share a channel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipc::name::MAX_NAME;
use ipc::{Family, InterfaceName};

use crate::datagram::ProcessMessage;
use crate::socket::Addresses;

/// Byte 0 of a datagram of IPv4, and of IPv6.
const KINDS: [u8; 2] = [0xD4, 0xD6];

/// Where the addresses stand.
const ADDRESSES: usize = 8;

/// Longest header in bytes.
pub const MAX_HEADER: usize = ADDRESSES + 2 * 16 + MAX_NAME;

/// The longest payload of a packet: the length field of IPv4 counts the header (RFC 791 section 3.1), that of IPv6 does
/// not (RFC 8200 section 3).
pub const fn max_payload(family: Family) -> usize {
    match family {
        Family::Ipv4 => 65_535 - 20,
        Family::Ipv6 => 65_535,
    }
}

/// What a datagram says beside its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatagramHeader {
    /// Who sends, who is meant: of one family. A raw datagram has ports 0.
    pub addresses: Addresses,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// To be sent out of, or received by.
    pub interface: Option<InterfaceName>,
}

/// Why a record is no datagram.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Its first byte says so.
    #[error("byte 0 is {0:#04x}, a datagram has {first:#04x} or {second:#04x}", first = KINDS[0], second = KINDS[1])]
    Kind(u8),
    /// It ends before its header does.
    #[error("a header of {needed} bytes in a record of {found}")]
    Truncated {
        /// Bytes of the header.
        needed: usize,
        /// Bytes of the record.
        found: usize,
    },
    /// Its interface has no name that an interface can have.
    #[error("an interface's name of {0} bytes that is none")]
    Name(u8),
    /// No packet could carry it.
    #[error("a payload of {found} bytes, a packet has at most {limit}")]
    Payload {
        /// Bytes of the payload.
        found: usize,
        /// Most that there could be.
        limit: usize,
    },
    /// It is to be encoded, and its addresses are of two families.
    #[error("from {} to {}: two families", .0.source, .0.destination)]
    Families(Addresses),
}

/// A header as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedHeader {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

impl EncodedHeader {
    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether a record begins with exactly this header.
    #[inline]
    pub fn begins(&self, start: &[u8]) -> bool {
        start.get(..usize::from(self.length)) == Some(self.as_bytes())
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.length);
        if let Some(room) = self.bytes.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
            self.length += bytes.len() as u8;
        }
    }
}

impl DatagramHeader {
    /// As it stands in a record.
    pub fn encode(&self) -> Result<EncodedHeader, HeaderFault> {
        let Addresses { source, destination } = self.addresses;
        let name = self.interface.as_ref().map_or("", InterfaceName::as_str);
        let mut encoded = EncodedHeader { bytes: [0; MAX_HEADER], length: 0 };
        let kind = match Family::of(destination.ip()) {
            Family::Ipv4 => KINDS[0],
            Family::Ipv6 => KINDS[1],
        };
        // A name has at most 32 bytes.
        encoded.push(&[kind, self.ttl, self.tos, name.len() as u8]);
        encoded.push(&source.port().to_be_bytes());
        encoded.push(&destination.port().to_be_bytes());
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                encoded.push(&source.octets());
                encoded.push(&destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                encoded.push(&source.octets());
                encoded.push(&destination.octets());
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                return Err(HeaderFault::Families(self.addresses));
            }
        }
        encoded.push(name.as_bytes());
        Ok(encoded)
    }

    /// The header of a record that begins with `start` and has `record_bytes` bytes, and its own length: the payload is
    /// the rest. Of `start` at most the first [`MAX_HEADER`] bytes matter.
    pub fn decode(start: &[u8], record_bytes: usize) -> Result<(Self, usize), HeaderFault> {
        let found = start.len().min(record_bytes);
        let truncated = |needed| HeaderFault::Truncated { needed, found };
        let (&[kind, ttl, tos, name_bytes, s0, s1, d0, d1], rest) =
            start.split_first_chunk::<ADDRESSES>().ok_or(truncated(ADDRESSES))?;
        let family = match KINDS.iter().position(|known| *known == kind) {
            Some(0) => Family::Ipv4,
            Some(_) => Family::Ipv6,
            None => return Err(HeaderFault::Kind(kind)),
        };
        let address_bytes = match family {
            Family::Ipv4 => 4,
            Family::Ipv6 => 16,
        };
        let name_at = ADDRESSES + 2 * address_bytes;
        let length = name_at + usize::from(name_bytes);
        let (source, rest) = address(family, rest).ok_or(truncated(length))?;
        let (destination, rest) = address(family, rest).ok_or(truncated(length))?;
        let interface = match name_bytes {
            0 => None,
            _ => {
                let name = rest.get(..usize::from(name_bytes)).ok_or(truncated(length))?;
                let name = std::str::from_utf8(name).ok().and_then(|name| InterfaceName::new(name).ok());
                Some(name.ok_or(HeaderFault::Name(name_bytes))?)
            }
        };
        let payload = record_bytes.checked_sub(length).ok_or(truncated(length))?;
        let limit = max_payload(family);
        if payload > limit {
            return Err(HeaderFault::Payload { found: payload, limit });
        }
        let source = SocketAddr::new(source, u16::from_be_bytes([s0, s1]));
        let destination = SocketAddr::new(destination, u16::from_be_bytes([d0, d1]));
        Ok((Self { addresses: Addresses { source, destination }, ttl, tos, interface }, length))
    }

    /// Whether a record that begins with `start` claims to be a datagram, and nothing else that goes over the channel of
    /// a datagram socket.
    pub fn is_claimed(start: &[u8]) -> bool {
        start.first().is_some_and(|kind| KINDS.contains(kind))
    }

    /// The message that this and a payload are.
    pub fn with_payload(self, payload: Vec<u8>) -> ProcessMessage {
        let Self { addresses, ttl, tos, interface } = self;
        ProcessMessage { addresses, ttl, tos, interface, payload }
    }
}

/// An address of a family, and what follows it.
fn address(family: Family, bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    match family {
        Family::Ipv4 => bytes.split_first_chunk().map(|(octets, rest)| (Ipv4Addr::from(*octets).into(), rest)),
        Family::Ipv6 => bytes.split_first_chunk::<16>().map(|(octets, rest)| (Ipv6Addr::from(*octets).into(), rest)),
    }
}

impl ProcessMessage {
    /// What it says beside its payload, and that.
    pub fn into_parts(self) -> (DatagramHeader, Vec<u8>) {
        let Self { addresses, ttl, tos, interface, payload } = self;
        (DatagramHeader { addresses, ttl, tos, interface }, payload)
    }

    /// As one record.
    pub fn to_record(&self) -> Result<Vec<u8>, HeaderFault> {
        let Self { addresses, ttl, tos, interface, payload } = self;
        let header = DatagramHeader { addresses: *addresses, ttl: *ttl, tos: *tos, interface: interface.clone() };
        Ok([header.encode()?.as_bytes(), payload].concat())
    }

    /// From one record.
    pub fn from_record(record: &[u8]) -> Result<Self, HeaderFault> {
        let (header, length) = DatagramHeader::decode(record, record.len())?;
        Ok(header.with_payload(record.get(length..).unwrap_or_default().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::{DatagramReply, DatagramRequest};
    use crate::options::Options;
    use crate::socket::SocketError;

    fn header(source: &str, destination: &str, interface: Option<&str>) -> DatagramHeader {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let interface = interface.map(|name| name.parse().unwrap());
        DatagramHeader { addresses: Addresses { source, destination }, ttl: 1, tos: 0xC0, interface }
    }

    fn decode(record: &[u8]) -> Result<(DatagramHeader, usize), HeaderFault> {
        DatagramHeader::decode(record, record.len())
    }

    #[test]
    fn a_header_stands_as_it_is_drawn() {
        let encoded = header("10.0.0.1:520", "224.0.0.9:521", Some("blue")).encode().unwrap();
        let drawn = [
            &[0xD4, 1, 0xC0, 4][..], // IPv4, TTL, TOS, bytes of the name
            &[0x02, 0x08, 0x02, 0x09],
            &[10, 0, 0, 1],
            &[224, 0, 0, 9],
            b"blue",
        ];
        assert_eq!(encoded.as_bytes(), drawn.concat());
    }

    #[test]
    fn what_was_encoded_is_decoded_and_the_payload_is_the_rest() {
        let name = "x".repeat(MAX_NAME);
        let headers = [
            header("10.0.0.1:520", "224.0.0.9:521", None),
            header("0.0.0.0:0", "10.0.0.1:0", Some("Port0/0/1")),
            header("[::]:1", "[2001:db8::1]:2", None),
            header("[fe80::1]:0", "[ff02::5]:0", Some(&name)),
        ];
        for header in headers {
            for payload in [&b""[..], b"hello", &[0; 200]] {
                let message = header.clone().with_payload(payload.to_vec());
                let record = message.to_record().unwrap();
                assert!(DatagramHeader::is_claimed(&record));
                let encoded = header.encode().unwrap();
                assert!(encoded.begins(&record));
                assert_eq!(decode(&record), Ok((header.clone(), record.len() - payload.len())));
                // A reader copies the beginning first.
                let start = &record[..record.len().min(MAX_HEADER)];
                assert_eq!(DatagramHeader::decode(start, record.len()), decode(&record));
                assert_eq!(ProcessMessage::from_record(&record), Ok(message));
            }
        }
        assert_eq!(header("[fe80::1]:0", "[ff02::5]:0", Some(&name)).encode().unwrap().as_bytes().len(), MAX_HEADER);
    }

    #[test]
    fn lies_in_a_header_are_named() {
        let record = header("10.0.0.1:520", "10.0.0.2:521", Some("blue")).with_payload(vec![7; 9]).to_record().unwrap();
        let changed = |at: usize, to: u8| {
            let mut record = record.clone();
            record[at] = to;
            decode(&record).unwrap_err()
        };
        assert_eq!(changed(0, 0xD5), HeaderFault::Kind(0xD5));
        assert_eq!(changed(0, 0xD6), HeaderFault::Truncated { needed: 44, found: 29 });
        assert_eq!(changed(3, 40), HeaderFault::Truncated { needed: 56, found: 29 });
        assert_eq!(changed(3, 5), HeaderFault::Name(5));
        assert_eq!(changed(16, 0xFF), HeaderFault::Name(4));
        for length in 0..20 {
            assert!(matches!(decode(&record[..length]), Err(HeaderFault::Truncated { .. })), "{length}");
        }
        // A record that is shorter than what was copied, and one that is too long for any packet.
        assert!(matches!(DatagramHeader::decode(&record, 19), Err(HeaderFault::Truncated { needed: 20, .. })));
        let too_long = DatagramHeader::decode(&record, 20 + 65_516);
        assert_eq!(too_long, Err(HeaderFault::Payload { found: 65_516, limit: 65_515 }));
        let mixed = header("10.0.0.1:1", "[::1]:1", None);
        assert_eq!(mixed.encode(), Err(HeaderFault::Families(mixed.addresses)));
    }

    #[test]
    fn no_request_and_no_reply_is_taken_for_a_datagram() {
        let last = postcard::to_stdvec(&DatagramRequest::SetOptions(Options::default())).unwrap();
        assert!(!DatagramHeader::is_claimed(&last), "{last:?}");
        let last = postcard::to_stdvec(&DatagramReply::Error(SocketError::NoBuffers)).unwrap();
        assert!(!DatagramHeader::is_claimed(&last), "{last:?}");
        assert!(!DatagramHeader::is_claimed(&[]));
    }
}
