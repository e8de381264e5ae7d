//! ICMP for IPv4 (RFC 792): answers to echo requests, and errors about packets, within a rate.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::time::Time;
use crate::wire::WireError;
use crate::wire::icmpv4::{HEADER_BYTES, Icmpv4Repr, Icmpv4View, MAXIMUM_QUOTE_BYTES};
use crate::wire::ipv4::{self, Ipv4Repr, Ipv4View, protocol};

/// TTL of what this router originates (RFC 1700).
pub const TTL: u8 = 64;
/// Traffic class of errors: internetwork control (RFC 1812 section 4.3.2.5).
const CLASS_OF_ERRORS: u8 = 0xc0;
/// Errors a second and VR (RFC 1812 section 4.3.2.8 wants a limit), and how many may come at once.
const ERRORS_PER_SECOND: u64 = 1000;
const BURST: u64 = 100;

/// Builds a message in an IP packet of its own.
pub fn packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    message: &Icmpv4Repr,
    payload: &[u8],
) -> Result<Vec<u8>, WireError> {
    let mut ip = Ipv4Repr::new(source, destination, protocol::ICMP, ttl, HEADER_BYTES + payload.len());
    if message.is_error() {
        ip.traffic_class = CLASS_OF_ERRORS;
    }
    // An echo may be larger than a link on the way takes: routers cut it. Its fragments are told apart from those of
    // the next one by the identification (RFC 6864 section 4.2).
    if let Icmpv4Repr::EchoRequest { identifier, sequence } | Icmpv4Repr::EchoReply { identifier, sequence } = *message
    {
        ip.dont_fragment = false;
        ip.identification = identifier ^ sequence;
    }
    let mut bytes = vec![0; ipv4::HEADER_BYTES + HEADER_BYTES];
    bytes.extend_from_slice(payload);
    ip.emit(&mut bytes)?;
    if let Some(icmp) = bytes.get_mut(ipv4::HEADER_BYTES..) {
        message.emit(icmp)?;
    }
    Ok(bytes)
}

/// The answer to an echo request that came in `request`, a whole IP packet for one of our addresses. `None`: it is none.
pub fn echo_reply(request: &Ipv4View<'_>) -> Option<Vec<u8>> {
    let icmp = Icmpv4View::parse(request.payload()).ok()?;
    let Icmpv4Repr::EchoRequest { identifier, sequence } = icmp.repr() else { return None };
    let reply = Icmpv4Repr::EchoReply { identifier, sequence };
    packet(request.destination(), request.source(), TTL, &reply, icmp.payload()).ok()
}

/// An error about `packet`, from `source`. `None` where none may be sent (RFC 1122 section 3.2.2): about an error, a
/// later fragment, or what was not sent by one host to one host.
pub fn error(offending: &[u8], source: Ipv4Addr, message: &Icmpv4Repr) -> Option<Vec<u8>> {
    let ip = Ipv4View::parse_quoted(offending).ok()?;
    if ip.fragment_offset_bytes() > 0 || !is_host(ip.source()) || !is_host(ip.destination()) {
        return None;
    }
    if ip.protocol() == protocol::ICMP {
        let icmp = offending.get(ip.header_bytes()..)?;
        let (message_type, code) = (*icmp.first()?, *icmp.get(1)?);
        if (Icmpv4Repr::Other { message_type, code }).is_error() {
            return None;
        }
    }
    let quote = offending.get(..offending.len().min(ip.total_bytes()).min(MAXIMUM_QUOTE_BYTES))?;
    packet(source, ip.source(), TTL, message, quote).ok()
}

/// A loopback is one here, too: what comes from outside with such an address has been dropped as a martian, so it is that
/// of a process of this VR.
fn is_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
}

/// How many errors a VR may still send.
#[derive(Debug, Clone)]
pub struct ErrorRate {
    tokens: u64,
    filled: Time,
}

impl Default for ErrorRate {
    fn default() -> Self {
        Self { tokens: BURST, filled: Time::ZERO }
    }
}

impl ErrorRate {
    /// Whether one more may be sent now.
    pub fn admit(&mut self, now: Time) -> bool {
        let interval = Duration::from_secs(1).as_nanos() as u64 / ERRORS_PER_SECOND;
        let earned = now.as_nanos().saturating_sub(self.filled.as_nanos()) / interval;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.filled = Time::from_nanos(self.filled.as_nanos().saturating_add(earned.saturating_mul(interval)));
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::icmpv4::Unreachable;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn echo() -> Vec<u8> {
        packet(A, B, 9, &Icmpv4Repr::EchoRequest { identifier: 7, sequence: 3 }, b"hello").unwrap()
    }

    #[test]
    fn an_echo_request_is_answered_with_its_own_data() {
        let request = echo();
        let reply = echo_reply(&Ipv4View::parse(&request).unwrap()).unwrap();
        let ip = Ipv4View::parse(&reply).unwrap();
        assert_eq!((ip.source(), ip.destination(), ip.ttl()), (B, A, TTL));
        let icmp = Icmpv4View::parse(ip.payload()).unwrap();
        assert_eq!(icmp.repr(), Icmpv4Repr::EchoReply { identifier: 7, sequence: 3 });
        assert_eq!(icmp.payload(), b"hello");
        assert_eq!(echo_reply(&ip), None, "a reply is not answered");
    }

    #[test]
    fn an_error_quotes_the_packet_and_never_answers_an_error_a_fragment_or_a_group() {
        let request = echo();
        let message = Icmpv4Repr::DestinationUnreachable(Unreachable::Network);
        let answer = error(&request, B, &message).unwrap();
        let ip = Ipv4View::parse(&answer).unwrap();
        assert_eq!((ip.destination(), ip.header().traffic_class), (A, CLASS_OF_ERRORS));
        let icmp = Icmpv4View::parse(ip.payload()).unwrap();
        assert_eq!((icmp.repr(), icmp.payload()), (message, &request[..]));
        assert_eq!(error(&answer, A, &message), None, "about an error");

        let mut fragment = vec![0; 40];
        let mut ip = Ipv4Repr::new(A, B, protocol::UDP, 9, 20);
        ip.fragment_offset_bytes = 8;
        ip.emit(&mut fragment).unwrap();
        assert_eq!(error(&fragment, B, &message), None, "about a later fragment");

        let mut multicast = vec![0; 40];
        Ipv4Repr::new(A, Ipv4Addr::new(224, 0, 0, 5), 89, 1, 20).emit(&mut multicast).unwrap();
        assert_eq!(error(&multicast, B, &message), None, "about a group");
        for cut in 0..request.len() {
            let _ = error(&request[..cut], B, &message);
        }
    }

    #[test]
    fn errors_are_limited_and_recover() {
        let mut rate = ErrorRate::default();
        let now = Time::from_millis(5000);
        let admitted = (0..1000).filter(|_| rate.admit(now)).count();
        assert_eq!(admitted as u64, BURST);
        assert!(rate.admit(now + Duration::from_millis(1)));
        assert!(!rate.admit(now + Duration::from_millis(1)));
    }
}
