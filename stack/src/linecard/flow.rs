//! What the stages read from a packet's headers, once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::counters::DropReason;
use crate::packet::Packet;
use crate::wire::ethernet::EtherType;
use crate::wire::ipv4::{Ipv4View, protocol};
use crate::wire::ipv6::{self, Ipv6View};
use crate::wire::{WireError, ipv6_extension, ndp, tcp};

/// Addresses, ports and sizes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// IP protocol; of an IPv6 packet whose extension headers cannot be read, the first of them.
    pub protocol: u8,
    /// Source and destination port of TCP and UDP; `None` in fragments, of which only the first has them.
    pub ports: Option<(u16, u16)>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether it is a fragment, the first one included.
    pub fragment: bool,
    /// Whether it is a message of neighbor discovery that no router has forwarded.
    pub neighbor_discovery: bool,
    /// Bytes of the whole IP packet.
    pub ip_bytes: usize,
    /// Bytes of the headers, TCP's or UDP's included: what each segment of a GSO packet repeats.
    pub header_bytes: usize,
}

impl Flow {
    /// Reads the headers from the packet's IP header on.
    pub fn of(packet: &Packet) -> Result<Flow, DropReason> {
        let bytes = packet.layer3();
        match bytes.first().map(|byte| byte >> 4) {
            Some(4) => Flow::of_ipv4(bytes),
            Some(6) => Flow::of_ipv6(bytes),
            Some(_) => Err(DropReason::IpBadVersion),
            None => Err(DropReason::IpTruncated),
        }
    }

    fn of_ipv4(bytes: &[u8]) -> Result<Flow, DropReason> {
        let view = Ipv4View::parse(bytes).map_err(reason)?;
        let fragment = view.is_fragment();
        let upper = if fragment { &[] } else { view.payload() };
        Ok(Flow {
            source: view.source().into(),
            destination: view.destination().into(),
            protocol: view.protocol(),
            ports: ports(view.protocol(), upper),
            ttl: view.ttl(),
            fragment,
            neighbor_discovery: false,
            ip_bytes: view.total_bytes(),
            header_bytes: view.header_bytes() + upper_header_bytes(view.protocol(), upper),
        })
    }

    fn of_ipv6(bytes: &[u8]) -> Result<Flow, DropReason> {
        let view = Ipv6View::parse(bytes).map_err(reason)?;
        let (protocol, upper, fragment) = upper_layer(bytes, &view);
        let discovery = ndp::message_type::ROUTER_SOLICITATION..=ndp::message_type::REDIRECT;
        let is_discovery = protocol == protocol::ICMPV6 && upper.first().is_some_and(|kind| discovery.contains(kind));
        Ok(Flow {
            source: view.source().into(),
            destination: view.destination().into(),
            protocol,
            ports: ports(protocol, upper),
            ttl: view.hop_limit(),
            fragment,
            neighbor_discovery: is_discovery && view.hop_limit() == ndp::HOP_LIMIT,
            ip_bytes: ipv6::HEADER_BYTES + view.payload().len(),
            header_bytes: ipv6::HEADER_BYTES + view.payload().len() - upper.len() + upper_header_bytes(protocol, upper),
        })
    }

    /// The destination, if it is a unicast address that means something on one link only.
    pub fn link_local_destination(&self) -> Option<Ipv6Addr> {
        match self.destination {
            IpAddr::V6(to) if to.is_unicast_link_local() => Some(to),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// Whether the source means something on one link only.
    pub fn has_link_local_source(&self) -> bool {
        matches!(self.source, IpAddr::V6(from) if from.is_unicast_link_local())
    }

    /// What the link announces it as.
    pub fn ether_type(&self) -> EtherType {
        match self.destination {
            IpAddr::V4(_) => EtherType::IPV4,
            IpAddr::V6(_) => EtherType::IPV6,
        }
    }

    /// Equal for all packets of a flow, and well spread over flows: chooses among equal next hops.
    pub fn hash(&self) -> u32 {
        // Multiplication by an odd constant, folded, is enough to spread; nothing is protected by it.
        let mix = |hash: u64, value: u64| {
            let mixed = (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 32)
        };
        let (source_port, destination_port) = self.ports.unwrap_or_default();
        let ports = u64::from(source_port) << 16 | u64::from(destination_port);
        let hash = mix(mix(fold(self.source), fold(self.destination)), ports << 8 | u64::from(self.protocol));
        (mix(hash, 0) >> 32) as u32
    }

    /// Whether the destination is a group, or all stations of a link.
    pub fn is_group(&self) -> bool {
        match self.destination {
            IpAddr::V4(to) => to.is_multicast() || to == Ipv4Addr::BROADCAST,
            IpAddr::V6(to) => to.is_multicast(),
        }
    }

    /// Whether the destination is a group of the link, which the router itself may listen to.
    pub fn is_link_group(&self) -> bool {
        match self.destination {
            // 224.0.0.0/24: local network control block (RFC 5771 section 4).
            IpAddr::V4(to) => to == Ipv4Addr::BROADCAST || to.octets()[..3] == [224, 0, 0],
            IpAddr::V6(to) => to.octets()[0] == 0xff && to.octets()[1] & 0x0f <= 2,
        }
    }

    /// Addresses that no packet on a wire may have (RFC 1812 section 5.3.7, RFC 4291 section 2.5.3).
    pub fn martian(&self) -> Option<DropReason> {
        let bad_source = match self.source {
            IpAddr::V4(from) => {
                from.is_multicast() || from == Ipv4Addr::BROADCAST || from.octets()[0] == 0 || from.is_loopback()
            }
            // One that has no address yet speaks to groups only: it looks whether its address is free (RFC 4862
            // section 5.4).
            IpAddr::V6(from) => {
                from.is_multicast() || from.is_loopback() || (from.is_unspecified() && !self.is_link_group())
            }
        };
        let bad_destination = match self.destination {
            IpAddr::V4(to) => to.is_loopback() || to.octets()[0] == 0,
            IpAddr::V6(to) => to.is_loopback() || to.is_unspecified(),
        };
        match (bad_source, bad_destination) {
            (true, _) => Some(DropReason::MartianSource),
            (false, true) => Some(DropReason::MartianDestination),
            (false, false) => None,
        }
    }
}

/// Protocol and bytes of the upper layer, and whether the packet is a fragment, in which none is read. A router on the
/// way forwards what it cannot read (RFC 7045 section 2.1); the destination looks again.
fn upper_layer<'a>(bytes: &'a [u8], view: &Ipv6View<'a>) -> (u8, &'a [u8], bool) {
    if !ipv6_extension::is_extension(view.next_header()) {
        return (view.next_header(), view.payload(), false);
    }
    match ipv6_extension::walk(bytes, view) {
        Ok(chain) if chain.fragment.is_some() => (chain.protocol, &[], true),
        Ok(chain) => {
            let end = ipv6::HEADER_BYTES + view.payload().len();
            (chain.protocol, bytes.get(chain.upper..end).unwrap_or_default(), false)
        }
        Err(_) => (view.next_header(), &[], false),
    }
}

fn fold(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ v6.to_bits() as u64,
    }
}

fn ports(number: u8, upper: &[u8]) -> Option<(u16, u16)> {
    match (number, upper) {
        (protocol::TCP | protocol::UDP, [a, b, c, d, ..]) => {
            Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
        }
        _ => None,
    }
}

fn upper_header_bytes(number: u8, upper: &[u8]) -> usize {
    match number {
        protocol::TCP => upper.get(12).map_or(tcp::HEADER_BYTES, |byte| usize::from(byte >> 4) * 4),
        protocol::UDP => crate::wire::udp::HEADER_BYTES,
        _ => 0,
    }
}

fn reason(error: WireError) -> DropReason {
    match error {
        WireError::Truncated { .. } | WireError::UnsupportedType { .. } | WireError::ChecksumOutside { .. } => {
            DropReason::IpTruncated
        }
        WireError::BadVersion { .. } => DropReason::IpBadVersion,
        WireError::BadHeaderLength { .. } => DropReason::IpBadHeaderLength,
        WireError::BadTotalLength { .. } => DropReason::IpBadTotalLength,
        WireError::BadChecksum { .. } => DropReason::IpBadChecksum,
    }
}
