//! IPv6 extension headers (RFC 8200 section 4): from the fixed header to the upper layer, in bounded steps.
//!
//! [`walk`] finds the upper layer, for any router on the way. [`check`] is the destination's: it looks at options and
//! routing headers, and says what the sender must be told.

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ipv6::{HEADER_BYTES, Ipv6View};
use super::{Layer, WireError, room, split_header};

/// Next-header values of extension headers (IANA "IPv6 Extension Header Types").
pub mod kind {
    /// Options for every router on the way.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routers to pass.
    pub const ROUTING: u8 = 43;
    /// A part of a packet.
    pub const FRAGMENT: u8 = 44;
    /// Nothing follows.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// Options for the destination.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Extension headers of one packet: senders use two or three. Whoever sends more only wants to keep us busy (RFC 8504
/// section 5.3).
const MAX_HEADERS: usize = 8;

/// Bytes of the fragment header.
pub const FRAGMENT_BYTES: usize = size_of::<FragmentHeader>();

/// Where the next-header field stands in the fixed header.
const FIRST_NEXT_HEADER: usize = 6;

/// The fragment header as it lies on the wire (RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FragmentHeader {
    /// What the fragmented part begins with.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// Offset in units of 8 bytes in the upper 13 bits, "more fragments" in the lowest.
    pub offset_and_more: U16,
    /// Tells the packet from the sender's others.
    pub identification: U32,
}

/// What a fragment header says, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Its first byte, counted from the packet's.
    pub at: usize,
    /// The field that names it, counted from the packet's first byte.
    pub named_at: usize,
    /// What the fragmented part begins with.
    pub next_header: u8,
    /// Where this part stands in the fragmented part, in bytes.
    pub offset_bytes: usize,
    /// Whether others follow.
    pub more: bool,
    /// Tells the packet from the sender's others.
    pub identification: u32,
}

impl Fragment {
    /// Writes the fragment header to the front of `out`.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let offset = u16::try_from(self.offset_bytes).unwrap_or(u16::MAX) & !7;
        let header = FragmentHeader {
            next_header: self.next_header,
            reserved: 0,
            offset_and_more: U16::new(offset | u16::from(self.more)),
            identification: U32::new(self.identification),
        };
        room(Layer::Ipv6, out, FRAGMENT_BYTES)?.copy_from_slice(header.as_bytes());
        Ok(FRAGMENT_BYTES)
    }
}

/// Where a packet's upper layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Protocol of the upper layer; of a fragment, what its fragmented part begins with.
    pub protocol: u8,
    /// First byte of the upper layer, or of the part of a fragment, counted from the packet's.
    pub upper: usize,
    /// The field that names the upper layer, counted from the packet's first byte.
    pub named_at: usize,
    /// The fragment header, behind which nothing was looked at.
    pub fragment: Option<Fragment>,
}

/// Why a packet is not for its destination to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Headers cut short, too many, or an option that asks to be dropped for.
    Silently,
    /// The sender is told.
    Parameter {
        /// What is wrong.
        what: ParameterProblem,
        /// The byte that is, counted from the packet's first.
        pointer: u32,
        /// Whether it is told though the packet was sent to a group.
        even_of_group: bool,
    },
}

/// What is wrong with a header: the code of ICMPv6 type 4 (RFC 4443 section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterProblem {
    /// A field has a value that it cannot have.
    ErroneousField,
    /// A header that is not known here.
    UnrecognizedNextHeader,
    /// An option that is not known here.
    UnrecognizedOption,
}

/// One extension header.
struct Header<'a> {
    kind: u8,
    /// Where it stands, and the field that names it.
    at: usize,
    named_at: usize,
    bytes: &'a [u8],
}

/// The headers of a packet up to, and with, a fragment header.
struct Headers<'a> {
    packet: &'a [u8],
    kind: u8,
    at: usize,
    named_at: usize,
    left: usize,
}

impl<'a> Headers<'a> {
    fn of(packet: &'a [u8], view: &Ipv6View<'a>) -> Self {
        let end = HEADER_BYTES + view.payload().len();
        let packet = packet.get(..end).unwrap_or_default();
        let (kind, at, named_at) = (view.next_header(), HEADER_BYTES, FIRST_NEXT_HEADER);
        Headers { packet, kind, at, named_at, left: MAX_HEADERS }
    }

    /// The next one; `None`: the upper layer begins here. The error: it is cut short, or one too many.
    fn next(&mut self) -> Result<Option<Header<'a>>, WireError> {
        let truncated = |needed| WireError::Truncated { layer: Layer::Ipv6, needed, found: self.packet.len() };
        let length = match self.kind {
            kind::HOP_BY_HOP | kind::ROUTING | kind::DESTINATION_OPTIONS => {
                let units = self.packet.get(self.at + 1).ok_or_else(|| truncated(self.at + 2))?;
                (usize::from(*units) + 1) * 8
            }
            kind::FRAGMENT => FRAGMENT_BYTES,
            _ => return Ok(None),
        };
        let left = self.left.checked_sub(1).ok_or(WireError::UnsupportedType { layer: Layer::Ipv6 })?;
        let bytes = self.packet.get(self.at..self.at + length).ok_or_else(|| truncated(self.at + length))?;
        let header = Header { kind: self.kind, at: self.at, named_at: self.named_at, bytes };
        // Both exist: no header is shorter than eight bytes.
        (self.kind, self.named_at, self.left) = (bytes.first().copied().unwrap_or_default(), self.at, left);
        self.at += length;
        Ok(Some(header))
    }
}

/// Whether a next-header value is one of those that [`walk`] steps over.
pub fn is_extension(next_header: u8) -> bool {
    matches!(next_header, kind::HOP_BY_HOP | kind::ROUTING | kind::FRAGMENT | kind::DESTINATION_OPTIONS)
}

/// Finds the upper layer of a packet that `view` was read from. What the headers say is not looked at.
pub fn walk(packet: &[u8], view: &Ipv6View<'_>) -> Result<Chain, WireError> {
    let mut headers = Headers::of(packet, view);
    while let Some(header) = headers.next()? {
        if header.kind == kind::FRAGMENT {
            let fragment = fragment_of(&header)?;
            let (protocol, upper, named_at) = (fragment.next_header, headers.at, header.at);
            return Ok(Chain { protocol, upper, named_at, fragment: Some(fragment) });
        }
    }
    Ok(Chain { protocol: headers.kind, upper: headers.at, named_at: headers.named_at, fragment: None })
}

fn fragment_of(header: &Header<'_>) -> Result<Fragment, WireError> {
    let (raw, _) = split_header::<FragmentHeader>(Layer::Ipv6, header.bytes)?;
    Ok(Fragment {
        at: header.at,
        named_at: header.named_at,
        next_header: raw.next_header,
        offset_bytes: usize::from(raw.offset_and_more.get() & !7),
        more: raw.offset_and_more.get() & 1 == 1,
        identification: raw.identification.get(),
    })
}

/// Looks at the extension headers of a packet for us.
pub fn check(packet: &[u8], view: &Ipv6View<'_>) -> Result<(), Refused> {
    let mut headers = Headers::of(packet, view);
    let mut is_first = true;
    loop {
        let header = match headers.next() {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(()),
            Err(_) => return Err(Refused::Silently),
        };
        match header.kind {
            // Only right behind the fixed header (RFC 8200 section 4.1).
            kind::HOP_BY_HOP if !is_first => {
                return Err(told(ParameterProblem::UnrecognizedNextHeader, header.named_at));
            }
            kind::HOP_BY_HOP | kind::DESTINATION_OPTIONS => check_options(&header)?,
            // No type of it is implemented; one that is at its end is skipped (RFC 8200 section 4.4, RFC 5095).
            kind::ROUTING if header.bytes.get(3) != Some(&0) => {
                return Err(told(ParameterProblem::ErroneousField, header.at + 2));
            }
            kind::FRAGMENT => return Ok(()),
            _ => {}
        }
        is_first = false;
    }
}

fn told(what: ParameterProblem, pointer: usize) -> Refused {
    Refused::Parameter { what, pointer: u32::try_from(pointer).unwrap_or(u32::MAX), even_of_group: false }
}

/// Options that are not known say themselves what becomes of their packet (RFC 8200 section 4.2).
fn check_options(header: &Header<'_>) -> Result<(), Refused> {
    const PAD1: u8 = 0;
    const PADN: u8 = 1;
    /// RFC 2711: we look at every packet for us anyway.
    const ROUTER_ALERT: u8 = 5;
    let mut at = 2;
    while let Some(option) = header.bytes.get(at) {
        if *option == PAD1 {
            at += 1;
            continue;
        }
        let length = usize::from(*header.bytes.get(at + 1).ok_or(Refused::Silently)?);
        if at + 2 + length > header.bytes.len() {
            return Err(Refused::Silently);
        }
        let pointer = u32::try_from(header.at + at).unwrap_or(u32::MAX);
        let what = ParameterProblem::UnrecognizedOption;
        match (*option, option >> 6) {
            (PADN | ROUTER_ALERT, _) | (_, 0b00) => {}
            (_, 0b01) => return Err(Refused::Silently),
            (_, action) => return Err(Refused::Parameter { what, pointer, even_of_group: action == 0b10 }),
        }
        at += 2 + length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::ipv6::Ipv6Repr;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let ip = Ipv6Repr::new(A, B, next_header, 64, payload.len());
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(payload);
        ip.emit(&mut bytes).unwrap();
        bytes
    }

    fn walked(next_header: u8, payload: &[u8]) -> Result<Chain, WireError> {
        let bytes = packet(next_header, payload);
        walk(&bytes, &Ipv6View::parse(&bytes).unwrap())
    }

    fn checked(next_header: u8, payload: &[u8]) -> Result<(), Refused> {
        let bytes = packet(next_header, payload);
        check(&bytes, &Ipv6View::parse(&bytes).unwrap())
    }

    #[test]
    fn the_upper_layer_is_found_behind_all_headers() {
        let chain = walked(17, b"12345678").unwrap();
        assert_eq!((chain.protocol, chain.upper, chain.named_at, chain.fragment), (17, 40, 6, None));
        let options = [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0, 9, 9];
        let chain = walked(kind::HOP_BY_HOP, &options).unwrap();
        assert_eq!((chain.protocol, chain.upper, chain.named_at), (17, 56, 48));
        let fragment = [17, 0, 0x05, 0xa9, 0, 0, 0, 7, 1, 2, 3];
        let chain = walked(kind::FRAGMENT, &fragment).unwrap();
        let found = chain.fragment.unwrap();
        assert_eq!((found.offset_bytes, found.more, found.identification, chain.upper), (1448, true, 7, 48));
        let mut again = [0; FRAGMENT_BYTES];
        found.emit(&mut again).unwrap();
        assert_eq!(again, fragment[..8]);
    }

    #[test]
    fn headers_that_are_cut_short_or_too_many_are_refused() {
        assert!(walked(kind::HOP_BY_HOP, &[17]).is_err());
        assert!(walked(kind::DESTINATION_OPTIONS, &[17, 1, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(walked(kind::FRAGMENT, &[17, 0, 0, 0]).is_err());
        let one = [60, 0, 1, 4, 0, 0, 0, 0];
        assert!(walked(kind::DESTINATION_OPTIONS, &one.repeat(MAX_HEADERS)).is_err(), "a ninth is announced");
        let mut eight = one.repeat(MAX_HEADERS);
        eight[56] = 17;
        assert_eq!(walked(kind::DESTINATION_OPTIONS, &eight).unwrap().protocol, 17);
    }

    #[test]
    fn an_unknown_option_says_itself_what_becomes_of_its_packet() {
        let with = |option: u8| checked(kind::DESTINATION_OPTIONS, &[17, 0, option, 4, 0, 0, 0, 0]);
        let told = |even_of_group| Refused::Parameter {
            what: ParameterProblem::UnrecognizedOption,
            pointer: 42,
            even_of_group,
        };
        assert_eq!([with(0x1e), with(5)], [Ok(()), Ok(())]);
        assert_eq!([with(0x5e), with(0x9e), with(0xde)], [Err(Refused::Silently), Err(told(true)), Err(told(false))]);
        assert_eq!(checked(kind::DESTINATION_OPTIONS, &[17, 0, 1, 9, 0, 0, 0, 0]), Err(Refused::Silently));
    }

    #[test]
    fn a_routing_header_that_is_not_at_its_end_and_a_late_hop_by_hop_header_are_said_to_be_wrong() {
        let told = |what, pointer| Err(Refused::Parameter { what, pointer, even_of_group: false });
        let routing = |left| [17, 0, 0, left, 0, 0, 0, 0];
        assert_eq!(checked(kind::ROUTING, &routing(0)), Ok(()));
        assert_eq!(checked(kind::ROUTING, &routing(1)), told(ParameterProblem::ErroneousField, 42));
        let late = [0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];
        let unrecognized = told(ParameterProblem::UnrecognizedNextHeader, 40);
        assert_eq!(checked(kind::DESTINATION_OPTIONS, &late), unrecognized);
    }

    proptest! {
        #[test]
        fn no_chain_makes_the_walk_leave_the_packet(
            first in any::<u8>(),
            payload in proptest::collection::vec(prop_oneof![Just(0u8), Just(43), Just(44), Just(60), any::<u8>()], 0..120),
        ) {
            let bytes = packet(first, &payload);
            let view = Ipv6View::parse(&bytes).unwrap();
            if let Ok(chain) = walk(&bytes, &view) {
                prop_assert!(chain.upper <= bytes.len() && chain.named_at < chain.upper);
            }
            let _ = check(&bytes, &view);
        }
    }
}
