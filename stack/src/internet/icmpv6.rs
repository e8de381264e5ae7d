//! ICMP for IPv6 (RFC 4443): packets with messages, answers to echo requests, errors about packets.

use std::net::Ipv6Addr;

use super::icmp::TTL;
use crate::wire::WireError;
use crate::wire::icmpv6::{HEADER_BYTES, Icmpv6Repr, Icmpv6View, MAXIMUM_QUOTE_BYTES, is_error};
use crate::wire::ipv4::protocol;
use crate::wire::ipv6::{self, Ipv6Repr, Ipv6View};
use crate::wire::{ipv6_extension, ndp};

/// Builds a message in an IP packet of its own.
pub fn packet(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    message: &Icmpv6Repr,
    payload: &[u8],
) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(payload);
    message.emit(&mut bytes, source, destination)?;
    in_packet(source, destination, hop_limit, &bytes)
}

/// Puts a message that has its checksum into an IP packet.
pub fn in_packet(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; ipv6::HEADER_BYTES];
    bytes.extend_from_slice(message);
    Ipv6Repr::new(source, destination, protocol::ICMPV6, hop_limit, message.len()).emit(&mut bytes)?;
    Ok(bytes)
}

/// The answer of the own address `from` to an echo request; `None`: the message is none.
pub fn echo_reply(from: Ipv6Addr, to: Ipv6Addr, message: &Icmpv6View<'_>) -> Option<Vec<u8>> {
    let Icmpv6Repr::EchoRequest { identifier, sequence } = message.repr() else { return None };
    packet(from, to, TTL, &Icmpv6Repr::EchoReply { identifier, sequence }, message.payload()).ok()
}

/// An error about `offending`, from `source`. `None` where none may be sent (RFC 4443 section 2.4 (e)): about an error
/// or a redirect, a later fragment, to who is not one host, and, unless `even_of_group`, about what was sent to a group.
pub fn error(offending: &[u8], source: Ipv6Addr, message: &Icmpv6Repr, even_of_group: bool) -> Option<Vec<u8>> {
    let ip = Ipv6View::parse_quoted(offending).ok()?;
    let to = ip.source();
    if to.is_unspecified() || to.is_multicast() || (ip.destination().is_multicast() && !even_of_group) {
        return None;
    }
    // Headers that cannot be read hide no ICMP message that anybody could read.
    if let Ok(chain) = ipv6_extension::walk(offending, &ip) {
        let upper = offending.get(chain.upper..).and_then(<[u8]>::first);
        let later = chain.fragment.is_some_and(|fragment| fragment.offset_bytes > 0);
        let is_ours = |kind: &u8| is_error(*kind) || *kind == ndp::message_type::REDIRECT;
        if later || (chain.protocol == protocol::ICMPV6 && upper.is_none_or(is_ours)) {
            return None;
        }
    }
    let whole = ipv6::HEADER_BYTES + ip.payload().len();
    let quote = offending.get(..whole.min(MAXIMUM_QUOTE_BYTES))?;
    packet(source, to, TTL, message, quote).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::icmpv6::Unreachable6;
    use crate::wire::ip::IpView;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5);

    fn echo(to: Ipv6Addr, data: &[u8]) -> Vec<u8> {
        packet(A, to, 9, &Icmpv6Repr::EchoRequest { identifier: 7, sequence: 3 }, data).unwrap()
    }

    fn message(packet: &[u8]) -> (IpView<'_>, Icmpv6View<'_>) {
        let ip = IpView::parse(packet).unwrap();
        let (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) = (ip.source, ip.destination) else { panic!() };
        (ip, Icmpv6View::parse(ip.payload, from, to).unwrap())
    }

    #[test]
    fn an_echo_request_is_answered_with_its_own_data() {
        let request = echo(B, b"hello");
        let (_, asked) = message(&request);
        let reply = echo_reply(B, A, &asked).unwrap();
        let (ip, answer) = message(&reply);
        assert_eq!((ip.source, ip.destination, ip.ttl), (B.into(), A.into(), TTL));
        assert_eq!(answer.repr(), Icmpv6Repr::EchoReply { identifier: 7, sequence: 3 });
        assert_eq!(answer.payload(), b"hello");
        assert_eq!(echo_reply(A, B, &answer), None, "a reply is not answered");
    }

    #[test]
    fn an_error_quotes_what_fits_and_never_answers_an_error_a_later_fragment_or_a_group() {
        let unreachable = Icmpv6Repr::DestinationUnreachable(Unreachable6::NoRoute);
        let request = echo(B, &[7; 4000]);
        let about = error(&request, B, &unreachable, false).unwrap();
        assert_eq!(about.len(), 1280);
        assert_eq!(message(&about).1.payload(), &request[..MAXIMUM_QUOTE_BYTES]);
        assert_eq!(error(&about, A, &unreachable, false), None, "about an error");
        let to_group = echo(GROUP, b"");
        assert_eq!(error(&to_group, B, &unreachable, false), None, "about a group");
        assert!(error(&to_group, B, &Icmpv6Repr::PacketTooBig { mtu_bytes: 1280 }, true).is_some());
        let pieces = super::super::fragment::fragment_ipv6(&request, 1280, 1).unwrap();
        assert!(error(&pieces[0], B, &unreachable, false).is_some(), "the first fragment");
        assert_eq!(error(&pieces[1], B, &unreachable, false), None, "a later fragment");
        for cut in 0..request.len() {
            let _ = error(&request[..cut], B, &unreachable, false);
        }
    }
}
