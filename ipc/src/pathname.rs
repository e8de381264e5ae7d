//! The pathname that a channel end is published under, and its text form.
//!
//! `/VrID/PID/L3/L4[/port]` names the endpoint of a protocol process, `/VrID/name` a service. VrID and PID come from
//! procmgr, never from the process that publishes.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{NameError, ServiceName};

/// Identifies a virtual router of this box. 0 is the router itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VrId(pub u16);

impl VrId {
    /// The router itself: administrator, stack, managers.
    pub const ROUTER: VrId = VrId(0);
}

impl fmt::Display for VrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kernel's process ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The internetwork protocols that carry IP transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IP version 4.
    Ipv4,
    /// IP version 6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(_) => Family::Ipv4,
            std::net::IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// The address that stands for none of the family: `0.0.0.0` or `::`.
    pub fn unspecified(self) -> std::net::IpAddr {
        match self {
            Family::Ipv4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Family::Ipv6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })
    }
}

/// An IP protocol number that a process receives as raw IP (IANA "Protocol Numbers"). TCP and UDP are not raw: they
/// have criteria of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct IpProtocol(u8);

impl IpProtocol {
    /// OSPF, RFC 2328 section 4.3.
    pub const OSPF: IpProtocol = IpProtocol(89);

    /// `None` for TCP (6) and UDP (17).
    pub fn new(number: u8) -> Option<Self> {
        (!matches!(number, 6 | 17)).then_some(Self(number))
    }

    /// The number as it stands in an IP header.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for IpProtocol {
    type Error = PathnameError;
    fn try_from(number: u8) -> Result<Self, PathnameError> {
        IpProtocol::new(number).ok_or(PathnameError::NotRaw(number))
    }
}

impl From<IpProtocol> for u8 {
    fn from(protocol: IpProtocol) -> u8 {
        protocol.0
    }
}

/// What runs directly on the link layer, beside IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OsiProtocol {
    /// IS-IS, ISO 10589.
    IsIs,
}

/// What a listener wants to receive. Nonsense, such as TCP over OSI, cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Criteria {
    /// TCP connections to a port.
    Tcp(Family, NonZeroU16),
    /// UDP datagrams to a port.
    Udp(Family, NonZeroU16),
    /// IP packets of a protocol.
    Raw(Family, IpProtocol),
    /// OSI packets of a protocol.
    Osi(OsiProtocol),
}

impl fmt::Display for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Criteria::Tcp(family, port) => write!(f, "{family}/tcp/{port}"),
            Criteria::Udp(family, port) => write!(f, "{family}/udp/{port}"),
            Criteria::Raw(family, IpProtocol::OSPF) => write!(f, "{family}/ospf"),
            Criteria::Raw(family, protocol) => write!(f, "{family}/{}", protocol.0),
            Criteria::Osi(OsiProtocol::IsIs) => f.write_str("osi/isis"),
        }
    }
}

/// Name that a channel end is published under: `/2/417/ipv4/tcp/179`, `/2/411/ipv4/ospf`, `/0/stack`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pathname {
    /// What one protocol process listens for.
    Endpoint {
        /// VR of the process.
        vr: VrId,
        /// The process.
        pid: Pid,
        /// What it wants to receive.
        criteria: Criteria,
    },
    /// What a VR, or the router, offers to its own processes.
    Service {
        /// VR of the service.
        vr: VrId,
        /// Name, unique in the VR.
        name: ServiceName,
    },
}

impl Pathname {
    /// The endpoint that process `pid` of `vr` listens on.
    pub fn endpoint(vr: VrId, pid: Pid, criteria: Criteria) -> Self {
        Pathname::Endpoint { vr, pid, criteria }
    }

    /// A service of `vr`.
    pub fn service(vr: VrId, name: ServiceName) -> Self {
        Pathname::Service { vr, name }
    }

    /// A service of the router itself, `/0/stack`. The error is that of a name that is none.
    pub fn router(name: &str) -> Result<Self, NameError> {
        Ok(Pathname::Service { vr: VrId::ROUTER, name: ServiceName::new(name)? })
    }

    /// The VR that it belongs to.
    pub fn vr(&self) -> VrId {
        match self {
            Pathname::Endpoint { vr, .. } | Pathname::Service { vr, .. } => *vr,
        }
    }
}

impl fmt::Display for Pathname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pathname::Endpoint { vr, pid, criteria } => write!(f, "/{vr}/{pid}/{criteria}"),
            Pathname::Service { vr, name } => write!(f, "/{vr}/{name}"),
        }
    }
}

/// Why a text is no pathname.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathnameError {
    /// Not of the form `/VrID/...`.
    #[error("pathname {0:?}: expected /VrID/PID/L3/L4[/port] or /VrID/name")]
    Form(String),
    /// Port 0 or not a number.
    #[error("pathname {0:?}: {1:?} is not a port (1 to 65535)")]
    Port(String, String),
    /// TCP and UDP are not raw protocols.
    #[error("IP protocol {0} has criteria of its own and is not raw")]
    NotRaw(u8),
    /// The service's name is none.
    #[error("pathname: {0}")]
    Name(#[from] NameError),
}

impl FromStr for Pathname {
    type Err = PathnameError;

    fn from_str(text: &str) -> Result<Self, PathnameError> {
        let form = || PathnameError::Form(text.to_owned());
        let parts: Vec<&str> = text.strip_prefix('/').ok_or_else(form)?.split('/').collect();
        let vr = VrId(number(parts[0]).ok_or_else(form)?);
        if let [_, name] = parts[..] {
            return Ok(Pathname::Service { vr, name: ServiceName::new(name)? });
        }
        let [_, pid, l3, l4, ref rest @ ..] = parts[..] else { return Err(form()) };
        let pid = Pid(number(pid).ok_or_else(form)?);
        let family = match l3 {
            "ipv4" => Some(Family::Ipv4),
            "ipv6" => Some(Family::Ipv6),
            _ => None,
        };
        let port = |port: &str| {
            let bad = || PathnameError::Port(text.to_owned(), port.to_owned());
            number::<u16>(port).and_then(NonZeroU16::new).ok_or_else(bad)
        };
        let criteria = match (family, l4, rest) {
            (Some(family), "tcp", [p]) => Criteria::Tcp(family, port(p)?),
            (Some(family), "udp", [p]) => Criteria::Udp(family, port(p)?),
            (Some(family), "ospf", []) => Criteria::Raw(family, IpProtocol::OSPF),
            (Some(family), protocol, []) => {
                let protocol = IpProtocol::try_from(number::<u8>(protocol).ok_or_else(form)?)?;
                // It has a name, and each pathname one spelling.
                if protocol == IpProtocol::OSPF {
                    return Err(form());
                }
                Criteria::Raw(family, protocol)
            }
            (None, "isis", []) if l3 == "osi" => Criteria::Osi(OsiProtocol::IsIs),
            _ => return Err(form()),
        };
        Ok(Pathname::Endpoint { vr, pid, criteria })
    }
}

/// A decimal number as `Display` prints it: no sign, no leading zeros.
fn number<N: FromStr + ToString>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back() {
        for text in [
            "/2/417/ipv4/tcp/179",
            "/2/411/ipv4/ospf",
            "/0/stack",
            "/7/9/ipv6/udp/53",
            "/1/2/osi/isis",
            "/1/2/ipv4/112",
        ] {
            assert_eq!(text.parse::<Pathname>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_text_that_was_given() {
        for text in [
            "",
            "2/stack",
            "/x/stack",
            "/2/417/osi/tcp/1",
            "/2/417/ipv4/tcp/0",
            "/2/417/ipv4/6",
            "/2/417/ipv4/89",
            "/02/stack",
            "/2/417/ipv4/tcp",
            "/2/",
        ] {
            assert!(text.parse::<Pathname>().is_err(), "{text}");
        }
    }
}
