//! Neighbor discovery (RFC 4861): solicitation and advertisement of neighbors, over Ethernet.

use std::net::Ipv6Addr;

use super::ethernet::MacAddress;
use super::icmpv6::{HEADER_BYTES, Icmpv6Repr, Icmpv6View};
use super::{Layer, WireError};

/// The hop limit that all its messages have: no router has forwarded them (RFC 4861 section 3.1).
pub const HOP_LIMIT: u8 = 255;

/// ICMPv6 types of neighbor discovery.
pub mod message_type {
    /// A host asks for routers.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// A router says who it is.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Who has this address?
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// I have it.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// There is a better first hop.
    pub const REDIRECT: u8 = 137;
}

const TARGET_BYTES: usize = 16;
/// An option with an Ethernet address: type, length in units of eight bytes, address.
const LINK_ADDRESS_BYTES: usize = 8;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

const ROUTER: u32 = 0x8000_0000;
const SOLICITED: u32 = 0x4000_0000;
const OVERRIDE: u32 = 0x2000_0000;

/// All nodes of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group that a node with this address listens to for solicitations (RFC 4291 section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// What a message about neighbors says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NdpRepr {
    /// Who has `target`?
    NeighborSolicitation {
        /// The address that is asked for.
        target: Ipv6Addr,
        /// The asker's link address; none while it does not know whether its own address is free.
        source_link: Option<MacAddress>,
    },
    /// `target` is here.
    NeighborAdvertisement {
        /// Whose link address it is.
        target: Ipv6Addr,
        /// The link address; it may be missing in an answer to one who knew it.
        target_link: Option<MacAddress>,
        /// The sender forwards packets.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It takes the place of what was known before.
        overrides: bool,
    },
}

impl NdpRepr {
    /// Reads a message; `None`: not one about neighbors. The error: it is to be dropped silently (RFC 4861 sections
    /// 7.1.1 and 7.1.2), as far as the message itself shows; hop limit and addresses are the caller's.
    pub fn parse(message: &Icmpv6View<'_>) -> Result<Option<Self>, WireError> {
        let Icmpv6Repr::Other { message_type, code, word } = message.repr() else { return Ok(None) };
        let body = message.payload();
        let is_solicitation = match message_type {
            message_type::NEIGHBOR_SOLICITATION => true,
            message_type::NEIGHBOR_ADVERTISEMENT => false,
            _ => return Ok(None),
        };
        let needed = TARGET_BYTES;
        let (target, options) = body.split_at_checked(needed).ok_or(WireError::Truncated {
            layer: Layer::Ndp,
            needed,
            found: body.len(),
        })?;
        // The split made it so long.
        let target = Ipv6Addr::from(<[u8; TARGET_BYTES]>::try_from(target).unwrap_or_default());
        if code != 0 || target.is_multicast() {
            return Err(WireError::UnsupportedType { layer: Layer::Ndp });
        }
        let wanted = if is_solicitation { SOURCE_LINK_ADDRESS } else { TARGET_LINK_ADDRESS };
        let link = link_address(options, wanted)?;
        Ok(Some(match is_solicitation {
            true => NdpRepr::NeighborSolicitation { target, source_link: link },
            false => NdpRepr::NeighborAdvertisement {
                target,
                target_link: link,
                router: word & ROUTER != 0,
                solicited: word & SOLICITED != 0,
                overrides: word & OVERRIDE != 0,
            },
        }))
    }

    /// The message, with its checksum.
    pub fn to_message(self, source: Ipv6Addr, destination: Ipv6Addr) -> Result<Vec<u8>, WireError> {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let (message_type, word, target, kind, link) = match self {
            NdpRepr::NeighborSolicitation { target, source_link } => {
                (message_type::NEIGHBOR_SOLICITATION, 0, target, SOURCE_LINK_ADDRESS, source_link)
            }
            NdpRepr::NeighborAdvertisement { target, target_link, router, solicited, overrides } => {
                let word = flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (message_type::NEIGHBOR_ADVERTISEMENT, word, target, TARGET_LINK_ADDRESS, target_link)
            }
        };
        let mut message = vec![0; HEADER_BYTES];
        message.extend_from_slice(&target.octets());
        if let Some(link) = link {
            message.extend_from_slice(&[kind, (LINK_ADDRESS_BYTES / 8) as u8]);
            message.extend_from_slice(&link.0);
        }
        Icmpv6Repr::Other { message_type, code: 0, word }.emit(&mut message, source, destination)?;
        Ok(message)
    }
}

/// The link address in the option of one kind. Other options are skipped; one without length, or one that is cut
/// short, spoils the message (RFC 4861 section 4.6).
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<MacAddress>, WireError> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        let truncated = WireError::Truncated { layer: Layer::Ndp, needed: length.max(8), found: options.len() };
        if length == 0 {
            return Err(WireError::BadHeaderLength { layer: Layer::Ndp, found: 0 });
        }
        let (option, rest) = options.split_at_checked(length).ok_or(truncated)?;
        if kind == wanted
            && let [_, _, a, b, c, d, e, f] = *option
        {
            found = Some(MacAddress([a, b, c, d, e, f]));
        }
        options = rest;
    }
    match options {
        [] => Ok(found),
        _ => Err(WireError::Truncated { layer: Layer::Ndp, needed: 2, found: options.len() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x0012, 0x3456);
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn parsed(bytes: &[u8]) -> Result<Option<NdpRepr>, WireError> {
        NdpRepr::parse(&Icmpv6View::parse(bytes, A, B).unwrap())
    }

    /// A message with any body, whose checksum is right.
    fn message(message_type: u8, code: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(body);
        Icmpv6Repr::Other { message_type, code, word: 0 }.emit(&mut bytes, A, B).unwrap();
        bytes
    }

    #[test]
    fn messages_about_neighbors_read_back() {
        let advertisement = |target_link, router, solicited, overrides| NdpRepr::NeighborAdvertisement {
            target: B,
            target_link,
            router,
            solicited,
            overrides,
        };
        for repr in [
            NdpRepr::NeighborSolicitation { target: B, source_link: Some(MAC) },
            NdpRepr::NeighborSolicitation { target: B, source_link: None },
            advertisement(Some(MAC), true, true, false),
            advertisement(None, false, false, true),
        ] {
            let bytes = repr.to_message(A, B).unwrap();
            assert_eq!(parsed(&bytes), Ok(Some(repr)));
        }
        assert_eq!(parsed(&message(message_type::ROUTER_SOLICITATION, 0, b"")), Ok(None));
    }

    #[test]
    fn groups_and_identifiers_are_those_of_the_rfcs() {
        assert_eq!(solicited_node(B).to_string(), "ff02::1:ff12:3456");
        assert_eq!(MacAddress([0, 0x34, 0x56, 0x78, 0x9a, 0xbc]).link_local().to_string(), "fe80::234:56ff:fe78:9abc");
        assert_eq!(MacAddress::of_group(solicited_node(B).into()).to_string(), "33:33:ff:12:34:56");
    }

    #[test]
    fn a_message_that_the_rfc_wants_dropped_is_an_error() {
        let kind = message_type::NEIGHBOR_SOLICITATION;
        let target = B.octets().to_vec();
        let with = |options: &[u8]| [&target[..], options].concat();
        assert!(parsed(&message(kind, 0, &target[..15])).is_err(), "short");
        assert!(parsed(&message(kind, 1, &target)).is_err(), "a code");
        assert!(parsed(&message(kind, 0, &ALL_NODES.octets())).is_err(), "a group as target");
        assert!(parsed(&message(kind, 0, &with(&[1, 0, 2, 0, 0, 0, 0, 1]))).is_err(), "an option without length");
        assert!(parsed(&message(kind, 0, &with(&[1, 1, 2, 0]))).is_err(), "an option cut short");
        assert!(parsed(&message(kind, 0, &with(&[1]))).is_err(), "half an option");
        let unknown = with(&[14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1]);
        let wanted = NdpRepr::NeighborSolicitation { target: B, source_link: Some(MAC) };
        assert_eq!(parsed(&message(kind, 0, &unknown)), Ok(Some(wanted)));
    }

    proptest! {
        #[test]
        fn no_body_is_a_panic(kind in 130..140_u8, body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parsed(&message(kind, 0, &body));
        }
    }
}
