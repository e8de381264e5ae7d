//! An IP packet of either family, as the upper layers see it.

use std::net::IpAddr;

use zerocopy::FromBytes;

use super::ipv4::{self, Ipv4Header, Ipv4Repr, Ipv4View};
use super::ipv6::{self, Ipv6Header, Ipv6Repr, Ipv6View};
use super::{Layer, WireError, ipv6_extension};

/// What a packet says to the protocol that it carries. IPv6 extension headers are stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpView<'a> {
    /// Sender.
    pub source: IpAddr,
    /// Receiver or group.
    pub destination: IpAddr,
    /// Protocol of the payload; see [`protocol`](super::ipv4::protocol).
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The upper layer.
    pub payload: &'a [u8],
}

impl<'a> IpView<'a> {
    /// Reads a whole packet. A fragment is none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        match version(bytes)? {
            6 => {
                let ip = Ipv6View::parse(bytes)?;
                Self::of_ipv6(bytes, &ip)
            }
            _ => Ok(Self::of_ipv4(&Ipv4View::parse(bytes)?)),
        }
    }

    /// Reads a packet as an ICMP error quotes it: the payload may be cut short.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, WireError> {
        match version(bytes)? {
            6 => {
                let ip = Ipv6View::parse_quoted(bytes)?;
                Self::of_ipv6(bytes, &ip)
            }
            _ => Ok(Self::of_ipv4(&Ipv4View::parse_quoted(bytes)?)),
        }
    }

    fn of_ipv4(ip: &Ipv4View<'a>) -> Self {
        IpView {
            source: ip.source().into(),
            destination: ip.destination().into(),
            protocol: ip.protocol(),
            ttl: ip.ttl(),
            traffic_class: ip.header().traffic_class,
            payload: ip.payload(),
        }
    }

    fn of_ipv6(bytes: &'a [u8], ip: &Ipv6View<'a>) -> Result<Self, WireError> {
        let chain = ipv6_extension::walk(bytes, ip)?;
        if chain.fragment.is_some_and(|fragment| fragment.offset_bytes > 0) {
            return Err(WireError::UnsupportedType { layer: Layer::Ipv6 });
        }
        let end = ipv6::HEADER_BYTES + ip.payload().len();
        Ok(IpView {
            source: ip.source().into(),
            destination: ip.destination().into(),
            protocol: chain.protocol,
            ttl: ip.hop_limit(),
            traffic_class: ip.repr().traffic_class,
            payload: bytes.get(chain.upper..end).unwrap_or_default(),
        })
    }
}

/// The version that a packet claims: 4 or 6.
fn version(bytes: &[u8]) -> Result<u8, WireError> {
    match bytes.first().map(|first| first >> 4) {
        Some(version @ (4 | 6)) => Ok(version),
        Some(found) => Err(WireError::BadVersion { layer: Layer::Ipv4, found }),
        None => Err(WireError::Truncated { layer: Layer::Ipv4, needed: 1, found: 0 }),
    }
}

/// Where a packet goes, if it is one of IP; nothing else is looked at.
pub fn destination(bytes: &[u8]) -> Option<IpAddr> {
    addresses(bytes).map(|(_, destination)| destination)
}

/// From where to where a packet goes, if it is one of IP; nothing else is looked at.
pub fn addresses(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match bytes.first()? >> 4 {
        4 => {
            let (header, _) = Ipv4Header::ref_from_prefix(bytes).ok()?;
            Some((header.source.into(), header.destination.into()))
        }
        6 => {
            let (header, _) = Ipv6Header::ref_from_prefix(bytes).ok()?;
            Some((header.source.into(), header.destination.into()))
        }
        _ => None,
    }
}

/// What a packet of either family says in its IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRepr {
    /// Sender.
    pub source: IpAddr,
    /// Receiver or group, of the same family.
    pub destination: IpAddr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Of IPv4: routers may not cut it, or they may, and tell its fragments by this number (RFC 6864 section 4.2).
    pub identification: Option<u16>,
}

impl IpRepr {
    /// Bytes of the header.
    pub fn header_bytes(&self) -> usize {
        match self.destination {
            IpAddr::V4(_) => ipv4::HEADER_BYTES,
            IpAddr::V6(_) => ipv6::HEADER_BYTES,
        }
    }

    /// Writes the header to the front of `out`, for so many bytes behind it; returns its length. Addresses of two
    /// families are refused.
    pub fn emit(&self, out: &mut [u8], payload_bytes: usize) -> Result<usize, WireError> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = Ipv4Repr::new(source, destination, self.protocol, self.ttl, payload_bytes);
                ip.traffic_class = self.traffic_class;
                ip.dont_fragment = self.identification.is_none();
                ip.identification = self.identification.unwrap_or_default();
                ip.emit(out)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut ip = Ipv6Repr::new(source, destination, self.protocol, self.ttl, payload_bytes);
                ip.traffic_class = self.traffic_class;
                ip.emit(out)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                Err(WireError::UnsupportedType { layer: Layer::Ipv6 })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_read_back_alike() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "ff02::5")] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let repr =
                IpRepr { source, destination, protocol: 89, ttl: 1, traffic_class: 0xc0, identification: Some(9) };
            let mut bytes = vec![0; repr.header_bytes()];
            bytes.extend_from_slice(b"hello");
            repr.emit(&mut bytes, 5).unwrap();
            let view = IpView::parse(&bytes).unwrap();
            let wanted = IpView { source, destination, protocol: 89, ttl: 1, traffic_class: 0xc0, payload: b"hello" };
            assert_eq!(view, wanted);
            assert_eq!(IpView::parse_quoted(&bytes[..bytes.len() - 2]).unwrap().payload, b"hel");
        }
    }

    #[test]
    fn a_packet_that_is_none_and_addresses_of_two_families_are_refused() {
        assert!(IpView::parse(b"").is_err());
        assert!(IpView::parse(&[0x50; 40]).is_err());
        let (source, destination) = ("10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let repr = IpRepr { source, destination, protocol: 6, ttl: 1, traffic_class: 0, identification: None };
        assert!(repr.emit(&mut [0; 40], 0).is_err());
    }
}
