//! Ethernet II (RFC 894).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Layer, WireError, room, split_header};

/// Bytes of the header.
pub const HEADER_BYTES: usize = size_of::<EthernetHeader>();

/// A MAC address.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: MacAddress = MacAddress([0xff; 6]);
    /// Not known, or not applicable.
    pub const UNSPECIFIED: MacAddress = MacAddress([0; 6]);

    /// Whether it is all ones.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether the group bit is set; broadcast is a group too.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether one station may own it: not a group, not all zero.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::UNSPECIFIED
    }

    /// The group address of an IPv4 multicast group (RFC 1112 section 6.4).
    pub fn of_ipv4_group(group: Ipv4Addr) -> MacAddress {
        let [_, b, c, d] = group.octets();
        MacAddress([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }
}

impl MacAddress {
    /// The group address of an IPv6 multicast group (RFC 2464 section 7).
    pub fn of_ipv6_group(group: Ipv6Addr) -> MacAddress {
        let [.., a, b, c, d] = group.octets();
        MacAddress([0x33, 0x33, a, b, c, d])
    }

    /// The group address of a multicast group of either family.
    pub fn of_group(group: IpAddr) -> MacAddress {
        match group {
            IpAddr::V4(group) => Self::of_ipv4_group(group),
            IpAddr::V6(group) => Self::of_ipv6_group(group),
        }
    }

    /// The interface identifier made of it: modified EUI-64 (RFC 4291 appendix A).
    pub fn interface_identifier(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]
    }

    /// The link-local address of the interface that has it (RFC 2464 section 5).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f, g, h] = self.interface_identifier();
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP.
    pub const ARP: EtherType = EtherType(0x0806);
    /// IPv6.
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// Up to this value the field is the length of an IEEE 802.3 frame, not a type.
    pub const LAST_LENGTH: EtherType = EtherType(1500);
}

/// The header as it lies on the wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct EthernetHeader {
    /// Receiver.
    pub destination: MacAddress,
    /// Sender.
    pub source: MacAddress,
    /// See [`EtherType`].
    pub ether_type: U16,
}

/// A frame with a whole header.
#[derive(Debug, Clone, Copy)]
pub struct EthernetView<'a> {
    header: &'a EthernetHeader,
    payload: &'a [u8],
}

impl<'a> EthernetView<'a> {
    /// Checks that the header is there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (header, payload) = split_header(Layer::Ethernet, bytes)?;
        Ok(EthernetView { header, payload })
    }

    /// The header.
    pub fn header(&self) -> &'a EthernetHeader {
        self.header
    }

    /// Receiver.
    pub fn destination(&self) -> MacAddress {
        self.header.destination
    }

    /// Sender.
    pub fn source(&self) -> MacAddress {
        self.header.source
    }

    /// What the frame carries.
    pub fn ether_type(&self) -> EtherType {
        EtherType(self.header.ether_type.get())
    }

    /// All after the header, padding included.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The meaning of the header.
    pub fn repr(&self) -> EthernetRepr {
        EthernetRepr { destination: self.destination(), source: self.source(), ether_type: self.ether_type() }
    }
}

/// The meaning of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetRepr {
    /// Receiver.
    pub destination: MacAddress,
    /// Sender.
    pub source: MacAddress,
    /// What follows.
    pub ether_type: EtherType,
}

impl EthernetRepr {
    /// Writes the header to the front of `out`; returns its length.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let header = EthernetHeader {
            destination: self.destination,
            source: self.source,
            ether_type: U16::new(self.ether_type.0),
        };
        room(Layer::Ethernet, out, HEADER_BYTES)?.copy_from_slice(header.as_bytes());
        Ok(HEADER_BYTES)
    }
}
