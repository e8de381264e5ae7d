//! What an LSA says: RFC 2328 sections A.4.2 to A.4.5, RFC 3101 appendix C.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{LsaKey, LsaType, PacketError, RouterId, take, take_address, take_u8, take_u16, take_u32};

/// What follows an LSA's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LsaBody<'a> {
    /// Of a router-LSA.
    Router(RouterLsa<'a>),
    /// Of a network-LSA.
    Network(NetworkLsa<'a>),
    /// Of a summary-LSA of either type.
    Summary(SummaryLsa),
    /// Of an AS-external-LSA or a type-7-LSA.
    External(ExternalLsa),
    /// Whatever an application says.
    Opaque(&'a [u8]),
}

impl<'a> LsaBody<'a> {
    /// Reads a body. It must be as long as its contents say.
    pub fn parse(key: LsaKey, bytes: &'a [u8]) -> Result<Self, PacketError> {
        Ok(match key.kind {
            LsaType::Router => LsaBody::Router(RouterLsa::parse(bytes)?),
            LsaType::Network => LsaBody::Network(NetworkLsa::parse(key, bytes)?),
            LsaType::SummaryNetwork | LsaType::SummaryAsbr => LsaBody::Summary(SummaryLsa::parse(key, bytes)?),
            LsaType::External | LsaType::Nssa => LsaBody::External(ExternalLsa::parse(key, bytes)?),
            LsaType::OpaqueLink | LsaType::OpaqueArea | LsaType::OpaqueAs => LsaBody::Opaque(bytes),
        })
    }
}

/// The prefix of an address and a mask; the host bits are not looked at: RFC 2328 appendix E puts numbers there.
fn prefix(address: Ipv4Addr, mask: Ipv4Addr) -> Result<Ipv4Net, PacketError> {
    Ipv4Net::with_netmask(address, mask).map(|net| net.trunc()).map_err(|_| PacketError::LsaBody)
}

/// What a router is: bits of a router-LSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouterFlags(pub u8);

impl RouterFlags {
    /// An area border router.
    pub const B: RouterFlags = RouterFlags(0x01);
    /// An AS boundary router.
    pub const E: RouterFlags = RouterFlags(0x02);
    /// End of a virtual link.
    pub const V: RouterFlags = RouterFlags(0x04);
    /// Translates type-7-LSAs whatever others do: RFC 3101.
    pub const NT: RouterFlags = RouterFlags(0x10);

    /// Whether all of these are set.
    pub fn contains(self, other: RouterFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and others.
    pub fn with(self, other: RouterFlags, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { self }
    }
}

/// A router's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterLsa<'a> {
    /// What the router is.
    pub flags: RouterFlags,
    links: &'a [u8],
}

/// What a link of a router leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouterLinkKind {
    /// A router; the ID is its router ID, the data our address or the interface's number.
    PointToPoint,
    /// A network; the ID is its designated router's address, the data our address.
    Transit,
    /// A prefix; the ID is its address, the data its mask.
    Stub,
    /// A router through another area; as point-to-point.
    Virtual,
}

impl RouterLinkKind {
    fn code(self) -> u8 {
        match self {
            RouterLinkKind::PointToPoint => 1,
            RouterLinkKind::Transit => 2,
            RouterLinkKind::Stub => 3,
            RouterLinkKind::Virtual => 4,
        }
    }

    /// As `show ospf database` names it.
    pub fn name(self) -> &'static str {
        match self {
            RouterLinkKind::PointToPoint => "point-to-point",
            RouterLinkKind::Transit => "transit",
            RouterLinkKind::Stub => "stub",
            RouterLinkKind::Virtual => "virtual",
        }
    }
}

/// A link of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouterLink {
    /// What it leads to.
    pub kind: RouterLinkKind,
    /// Link ID.
    pub id: Ipv4Addr,
    /// Link data.
    pub data: Ipv4Addr,
    /// Cost.
    pub metric: u16,
}

impl RouterLink {
    /// The prefix of a stub link, if its mask is one.
    pub fn prefix(&self) -> Option<Ipv4Net> {
        prefix(self.id, self.data).ok()
    }
}

impl<'a> RouterLsa<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let mut rest = bytes;
        let flags = RouterFlags(take_u8(&mut rest).ok_or(PacketError::LsaLength)?);
        take_u8(&mut rest).ok_or(PacketError::LsaLength)?;
        let count = take_u16(&mut rest).ok_or(PacketError::LsaLength)?;
        let links = rest;
        for _ in 0..count {
            let fixed = take(&mut rest, 12).ok_or(PacketError::LsaLength)?;
            if !(1..=4).contains(&fixed[8]) {
                return Err(PacketError::LsaBody);
            }
            // A metric for each type of service, of which RFC 2328 has no more.
            take(&mut rest, 4 * usize::from(fixed[9])).ok_or(PacketError::LsaLength)?;
        }
        if !rest.is_empty() {
            return Err(PacketError::LsaLength);
        }
        Ok(Self { flags, links })
    }

    /// Its links.
    pub fn links(&self) -> impl Iterator<Item = RouterLink> + use<'a> {
        let mut rest = self.links;
        std::iter::from_fn(move || {
            let (id, data) = (take_address(&mut rest)?, take_address(&mut rest)?);
            let kind = match take_u8(&mut rest)? {
                1 => RouterLinkKind::PointToPoint,
                2 => RouterLinkKind::Transit,
                3 => RouterLinkKind::Stub,
                4 => RouterLinkKind::Virtual,
                // `parse` has seen that there is none.
                _ => return None,
            };
            let services = take_u8(&mut rest)?;
            let metric = take_u16(&mut rest)?;
            take(&mut rest, 4 * usize::from(services))?;
            Some(RouterLink { kind, id, data, metric })
        })
    }

    /// A router-LSA's body.
    pub fn encode(flags: RouterFlags, links: &[RouterLink]) -> Vec<u8> {
        // More would not fit into an LSA, which `Lsa::originate` sees.
        let count = u16::try_from(links.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![flags.0, 0];
        bytes.extend(count.to_be_bytes());
        for link in links {
            bytes.extend(link.id.octets());
            bytes.extend(link.data.octets());
            bytes.extend([link.kind.code(), 0]);
            bytes.extend(link.metric.to_be_bytes());
        }
        bytes
    }
}

/// The routers on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkLsa<'a> {
    /// The network.
    pub prefix: Ipv4Net,
    routers: &'a [u8],
}

impl<'a> NetworkLsa<'a> {
    fn parse(key: LsaKey, mut bytes: &'a [u8]) -> Result<Self, PacketError> {
        let mask = take_address(&mut bytes).ok_or(PacketError::LsaLength)?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(4) {
            return Err(PacketError::LsaLength);
        }
        Ok(Self { prefix: prefix(key.id, mask)?, routers: bytes })
    }

    /// Those that are fully adjacent to the designated router, and itself.
    pub fn routers(&self) -> impl Iterator<Item = RouterId> + use<'a> {
        self.routers.chunks_exact(4).map(|id| Ipv4Addr::new(id[0], id[1], id[2], id[3]))
    }

    /// A network-LSA's body.
    pub fn encode(mask: Ipv4Addr, routers: &[RouterId]) -> Vec<u8> {
        let mut bytes = mask.octets().to_vec();
        bytes.extend(routers.iter().flat_map(|router| router.octets()));
        bytes
    }
}

/// A prefix, or an AS boundary router, of another area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummaryLsa {
    /// The prefix; of an ASBR-summary-LSA its router ID with 32 bits.
    pub prefix: Ipv4Net,
    /// Cost from the area border router on; [`LS_INFINITY`](super::LS_INFINITY): not reachable.
    pub metric: u32,
}

impl SummaryLsa {
    fn parse(key: LsaKey, mut bytes: &[u8]) -> Result<Self, PacketError> {
        let mask = take_address(&mut bytes).ok_or(PacketError::LsaLength)?;
        let metric = take_u32(&mut bytes).ok_or(PacketError::LsaLength)? & super::LS_INFINITY;
        // Metrics for types of service, four bytes each.
        if !bytes.len().is_multiple_of(4) {
            return Err(PacketError::LsaLength);
        }
        let prefix = if key.kind == LsaType::SummaryAsbr { Ipv4Net::from(key.id) } else { prefix(key.id, mask)? };
        Ok(Self { prefix, metric })
    }

    /// A summary-LSA's body. The mask of an ASBR-summary-LSA is 0.
    pub fn encode(mask: Ipv4Addr, metric: u32) -> Vec<u8> {
        let mut bytes = mask.octets().to_vec();
        bytes.extend(metric.min(super::LS_INFINITY).to_be_bytes());
        bytes
    }
}

/// The metric of an external route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExternalMetric {
    /// In the units of OSPF's own: the way to the AS boundary router is added.
    Type1(u32),
    /// Larger than any way within the AS.
    Type2(u32),
}

impl ExternalMetric {
    /// Its number.
    pub fn value(self) -> u32 {
        match self {
            ExternalMetric::Type1(value) | ExternalMetric::Type2(value) => value,
        }
    }
}

/// A prefix outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExternalLsa {
    /// The prefix.
    pub prefix: Ipv4Net,
    /// Its metric.
    pub metric: ExternalMetric,
    /// Where packets are to go; 0.0.0.0: to the AS boundary router.
    pub forwarding: Ipv4Addr,
    /// For other protocols.
    pub tag: u32,
}

const TYPE_2: u32 = 0x8000_0000;

impl ExternalLsa {
    fn parse(key: LsaKey, mut bytes: &[u8]) -> Result<Self, PacketError> {
        let short = PacketError::LsaLength;
        let mask = take_address(&mut bytes).ok_or(short)?;
        let metric = take_u32(&mut bytes).ok_or(short)?;
        let forwarding = take_address(&mut bytes).ok_or(short)?;
        let tag = take_u32(&mut bytes).ok_or(short)?;
        if !bytes.len().is_multiple_of(12) {
            return Err(short);
        }
        let value = metric & super::LS_INFINITY;
        let metric = if metric & TYPE_2 == 0 { ExternalMetric::Type1(value) } else { ExternalMetric::Type2(value) };
        Ok(Self { prefix: prefix(key.id, mask)?, metric, forwarding, tag })
    }

    /// The body of such an LSA.
    pub fn encode(&self) -> Vec<u8> {
        let metric = match self.metric {
            ExternalMetric::Type1(value) => value.min(super::LS_INFINITY),
            ExternalMetric::Type2(value) => value.min(super::LS_INFINITY) | TYPE_2,
        };
        let mut bytes = self.prefix.netmask().octets().to_vec();
        bytes.extend(metric.to_be_bytes());
        bytes.extend(self.forwarding.octets());
        bytes.extend(self.tag.to_be_bytes());
        bytes
    }
}
