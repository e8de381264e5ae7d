//! What a sender is told about a packet of its, in the words of either family's ICMP.

use std::net::IpAddr;

use super::{icmp, icmpv6};
use crate::wire::icmpv4::{Icmpv4Repr, Unreachable};
use crate::wire::icmpv6::{Icmpv6Repr, Unreachable6};
use crate::wire::ipv6_extension::ParameterProblem;

/// Why a packet goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// No prefix covers its destination.
    NoRoute,
    /// The neighbor does not answer.
    HostUnreachable,
    /// Nobody takes its port.
    PortUnreachable,
    /// Nobody takes its protocol.
    ProtocolUnreachable {
        /// The byte of an IPv6 packet that names it.
        named_at: u32,
    },
    /// It does not fit the next link, and must not be cut.
    TooBig {
        /// What that link takes, in bytes.
        mtu_bytes: u32,
    },
    /// TTL or hop limit came to its end.
    TtlExceeded,
    /// Other fragments did not come in time.
    ReassemblyTimedOut,
    /// An IPv6 header is wrong or unknown.
    Parameter {
        /// What is wrong.
        what: ParameterProblem,
        /// The byte that is.
        pointer: u32,
        /// Whether it is told though the packet was sent to a group.
        even_of_group: bool,
    },
}

impl Report {
    /// The packet that tells it to the sender of `offending`, from an own address. `None` where none may be sent.
    pub fn to_packet(self, offending: &[u8], from: IpAddr) -> Option<Vec<u8>> {
        match from {
            IpAddr::V4(from) => icmp::error(offending, from, &self.icmpv4()?),
            IpAddr::V6(from) => {
                let (message, even_of_group) = self.icmpv6();
                icmpv6::error(offending, from, &message, even_of_group)
            }
        }
    }

    fn icmpv4(self) -> Option<Icmpv4Repr> {
        Some(match self {
            Report::NoRoute => Icmpv4Repr::DestinationUnreachable(Unreachable::Network),
            Report::HostUnreachable => Icmpv4Repr::DestinationUnreachable(Unreachable::Host),
            Report::PortUnreachable => Icmpv4Repr::DestinationUnreachable(Unreachable::Port),
            Report::ProtocolUnreachable { .. } => Icmpv4Repr::DestinationUnreachable(Unreachable::Protocol),
            Report::TooBig { mtu_bytes } => {
                let mtu_bytes = u16::try_from(mtu_bytes).unwrap_or(u16::MAX);
                Icmpv4Repr::DestinationUnreachable(Unreachable::FragmentationNeeded { mtu_bytes })
            }
            Report::TtlExceeded => Icmpv4Repr::TimeExceededInTransit,
            Report::ReassemblyTimedOut => Icmpv4Repr::TimeExceededInReassembly,
            Report::Parameter { .. } => return None,
        })
    }

    /// The message, and whether it may answer what was sent to a group.
    fn icmpv6(self) -> (Icmpv6Repr, bool) {
        let parameter = |what, pointer| Icmpv6Repr::ParameterProblem { what, pointer };
        match self {
            Report::NoRoute => (Icmpv6Repr::DestinationUnreachable(Unreachable6::NoRoute), false),
            Report::HostUnreachable => (Icmpv6Repr::DestinationUnreachable(Unreachable6::Address), false),
            Report::PortUnreachable => (Icmpv6Repr::DestinationUnreachable(Unreachable6::Port), false),
            // RFC 8200 section 4: a header that is not known is told so, whether it is an extension or not.
            Report::ProtocolUnreachable { named_at } => {
                (parameter(ParameterProblem::UnrecognizedNextHeader, named_at), false)
            }
            Report::TooBig { mtu_bytes } => (Icmpv6Repr::PacketTooBig { mtu_bytes }, true),
            Report::TtlExceeded => (Icmpv6Repr::TimeExceededInTransit, false),
            Report::ReassemblyTimedOut => (Icmpv6Repr::TimeExceededInReassembly, false),
            Report::Parameter { what, pointer, even_of_group } => (parameter(what, pointer), even_of_group),
        }
    }
}

/// An ICMPv6 error in the words of ICMPv4, as far as sockets and operators tell such errors apart (the pairs are those
/// of RFC 7915 section 5.2). `None`: it says nothing about reachability.
pub fn unreachable(message: &Icmpv6Repr) -> Option<Unreachable> {
    match *message {
        Icmpv6Repr::DestinationUnreachable(why) => Some(match why {
            Unreachable6::NoRoute => Unreachable::Network,
            Unreachable6::Prohibited => Unreachable::Prohibited,
            Unreachable6::BeyondScope | Unreachable6::Address => Unreachable::Host,
            Unreachable6::Port => Unreachable::Port,
            Unreachable6::Other(code) => Unreachable::Other(code),
        }),
        Icmpv6Repr::PacketTooBig { mtu_bytes } => {
            // No link of ours takes more than 65,535.
            Some(Unreachable::FragmentationNeeded { mtu_bytes: u16::try_from(mtu_bytes).unwrap_or(u16::MAX) })
        }
        Icmpv6Repr::ParameterProblem { what: ParameterProblem::UnrecognizedNextHeader, .. } => {
            Some(Unreachable::Protocol)
        }
        Icmpv6Repr::ParameterProblem { .. }
        | Icmpv6Repr::EchoRequest { .. }
        | Icmpv6Repr::EchoReply { .. }
        | Icmpv6Repr::TimeExceededInTransit
        | Icmpv6Repr::TimeExceededInReassembly
        | Icmpv6Repr::Other { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::{IpRepr, IpView};

    fn offending(source: &str, destination: &str) -> Vec<u8> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let repr = IpRepr { source, destination, protocol: 17, ttl: 9, traffic_class: 0, identification: None };
        let mut bytes = vec![0; repr.header_bytes() + 12];
        repr.emit(&mut bytes, 12).unwrap();
        bytes
    }

    #[test]
    fn every_report_has_its_type_and_code_in_both_families() {
        let type_and_code = |report: Report, source: &str, destination: &str| {
            let from = destination.parse().unwrap();
            let packet = report.to_packet(&offending(source, destination), from)?;
            let payload = IpView::parse(&packet).unwrap().payload;
            Some((payload[0], payload[1]))
        };
        let parameter = |what| Report::Parameter { what, pointer: 6, even_of_group: false };
        for (report, v4, v6) in [
            (Report::NoRoute, Some((3, 0)), (1, 0)),
            (Report::HostUnreachable, Some((3, 1)), (1, 3)),
            (Report::PortUnreachable, Some((3, 3)), (1, 4)),
            (Report::ProtocolUnreachable { named_at: 6 }, Some((3, 2)), (4, 1)),
            (Report::TooBig { mtu_bytes: 1400 }, Some((3, 4)), (2, 0)),
            (Report::TtlExceeded, Some((11, 0)), (3, 0)),
            (Report::ReassemblyTimedOut, Some((11, 1)), (3, 1)),
            (parameter(ParameterProblem::ErroneousField), None, (4, 0)),
            (parameter(ParameterProblem::UnrecognizedOption), None, (4, 2)),
        ] {
            assert_eq!(type_and_code(report, "10.0.0.1", "10.0.0.2"), v4, "{report:?}");
            assert_eq!(type_and_code(report, "2001:db8::1", "2001:db8::2"), Some(v6), "{report:?}");
        }
    }
}
