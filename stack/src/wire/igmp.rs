//! IGMP, the host's part: queries of versions 1 to 3 are read, reports of versions 2 and 3 written (RFC 3376, RFC 2236).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::checksum::Sum;
use super::{Layer, WireError};

/// Where reports of version 3 go: to all routers that speak it.
pub const ALL_V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// Where a leave of version 2 goes.
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);

const QUERY: u8 = 0x11;
const V2_REPORT: u8 = 0x16;
const V2_LEAVE: u8 = 0x17;
const V3_REPORT: u8 = 0x22;

/// IPv4 header with the router alert option (RFC 2113), which every IGMP message of a host has.
const HEADER_BYTES: usize = 24;

/// Which version a querier speaks, as far as hosts answer differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryVersion {
    /// Version 1 or 2: answered by reports of version 2.
    Old,
    /// Version 3.
    V3,
}

/// A router asks who is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Of this group; `None`: of any.
    pub group: Option<Ipv4Addr>,
    /// Within which time it is to be answered.
    pub max_response: Duration,
    /// In which version.
    pub version: QueryVersion,
}

/// Reads an IGMP message. `None`: a sound one that is no query, so none of a host's business.
pub fn parse(bytes: &[u8]) -> Result<Option<Query>, WireError> {
    let [message, code, _, _, a, b, c, d, rest @ ..] = bytes else {
        return Err(WireError::Truncated { layer: Layer::Igmp, needed: 8, found: bytes.len() });
    };
    if !Sum::default().add(bytes).verifies() {
        return Err(WireError::BadChecksum { layer: Layer::Igmp });
    }
    if *message != QUERY {
        return Ok(None);
    }
    // RFC 3376 section 7.1: told apart by length and code.
    let version = if rest.len() >= 4 { QueryVersion::V3 } else { QueryVersion::Old };
    let tenths = match (version, *code) {
        (QueryVersion::Old, 0) => 100,
        (QueryVersion::V3, code @ 128..) => (u64::from(code & 0x0f) | 0x10) << ((code >> 4 & 0x07) + 3),
        (QueryVersion::Old | QueryVersion::V3, code) => u64::from(code),
    };
    let group = Some(Ipv4Addr::new(*a, *b, *c, *d)).filter(|group| !group.is_unspecified());
    Ok(Some(Query { group, max_response: Duration::from_millis(tenths * 100), version }))
}

/// What a report says of a group (RFC 3376 section 4.2.12); nobody here chooses among senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// The answer to a query: a member.
    Member,
    /// It has become a member.
    Joined,
    /// It is one no longer.
    Left,
}

/// A report of version 3, in a packet from `source`.
pub fn report_v3(source: Ipv4Addr, records: &[(Ipv4Addr, Record)]) -> Vec<u8> {
    let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
    let [high, low] = count.to_be_bytes();
    let mut message = vec![V3_REPORT, 0, 0, 0, 0, 0, high, low];
    for (group, record) in records.iter().take(count.into()) {
        let kind = match record {
            // MODE_IS_EXCLUDE, CHANGE_TO_EXCLUDE_MODE, CHANGE_TO_INCLUDE_MODE, each of no sender.
            Record::Member => 2,
            Record::Joined => 4,
            Record::Left => 3,
        };
        message.extend_from_slice(&[kind, 0, 0, 0]);
        message.extend_from_slice(&group.octets());
    }
    packet(source, ALL_V3_ROUTERS, message)
}

/// A report, or a leave, of version 2.
pub fn report_v2(source: Ipv4Addr, group: Ipv4Addr, record: Record) -> Vec<u8> {
    let (kind, destination) = match record {
        Record::Member | Record::Joined => (V2_REPORT, group),
        Record::Left => (V2_LEAVE, ALL_ROUTERS),
    };
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&group.octets());
    packet(source, destination, message)
}

/// TTL 1, internetwork control, router alert (RFC 3376 section 4).
fn packet(source: Ipv4Addr, destination: Ipv4Addr, mut message: Vec<u8>) -> Vec<u8> {
    let [high, low] = Sum::default().add(&message).finish().to_be_bytes();
    if let [_, _, sum_high, sum_low, ..] = &mut message[..] {
        (*sum_high, *sum_low) = (high, low);
    }
    let total = u16::try_from(HEADER_BYTES + message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut bytes = vec![0x46, 0xc0, total[0], total[1], 0, 0, 0, 0, 1, super::ipv4::protocol::IGMP, 0, 0];
    bytes.extend_from_slice(&source.octets());
    bytes.extend_from_slice(&destination.octets());
    bytes.extend_from_slice(&[0x94, 4, 0, 0]);
    let [high, low] = Sum::default().add(&bytes).finish().to_be_bytes();
    if let Some([sum_high, sum_low]) = bytes.get_mut(10..12) {
        (*sum_high, *sum_low) = (high, low);
    }
    bytes.extend_from_slice(&message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::Ipv4View;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn query(code: u8, group: Ipv4Addr, rest: &[u8]) -> Result<Option<Query>, WireError> {
        let mut bytes = vec![QUERY, code, 0, 0];
        bytes.extend_from_slice(&group.octets());
        bytes.extend_from_slice(rest);
        let sum = Sum::default().add(&bytes).finish().to_be_bytes();
        bytes[2..4].copy_from_slice(&sum);
        parse(&bytes)
    }

    #[test]
    fn queries_of_all_versions_are_told_apart() {
        let any = Ipv4Addr::UNSPECIFIED;
        let of = |group, milliseconds, version| {
            Ok(Some(Query { group, max_response: Duration::from_millis(milliseconds), version }))
        };
        assert_eq!(query(0, any, &[]), of(None, 10_000, QueryVersion::Old));
        assert_eq!(query(25, GROUP, &[]), of(Some(GROUP), 2_500, QueryVersion::Old));
        assert_eq!(query(100, any, &[2, 125, 0, 0]), of(None, 10_000, QueryVersion::V3));
        // Mantissa 1, exponent 0: (1 | 16) << 3 tenths.
        assert_eq!(query(0x81, any, &[2, 125, 0, 0]), of(None, 13_600, QueryVersion::V3));
    }

    #[test]
    fn what_is_wrong_is_refused_and_a_report_is_nobodys_question() {
        assert!(matches!(parse(&[QUERY, 0, 0]), Err(WireError::Truncated { .. })));
        assert!(matches!(parse(&[QUERY, 0, 1, 2, 0, 0, 0, 0]), Err(WireError::BadChecksum { .. })));
        let report = report_v2(SOURCE, GROUP, Record::Joined);
        assert_eq!(parse(Ipv4View::parse(&report).unwrap().payload()), Ok(None));
    }

    #[test]
    fn reports_are_sound_packets_of_the_link_with_router_alert() {
        let packets = [
            (report_v3(SOURCE, &[(GROUP, Record::Joined), (GROUP, Record::Left)]), ALL_V3_ROUTERS, 8 + 16),
            (report_v2(SOURCE, GROUP, Record::Member), GROUP, 8),
            (report_v2(SOURCE, GROUP, Record::Left), ALL_ROUTERS, 8),
        ];
        for (packet, to, length) in packets {
            let ip = Ipv4View::parse(&packet).unwrap();
            assert_eq!((ip.source(), ip.destination(), ip.ttl(), ip.protocol()), (SOURCE, to, 1, 2));
            assert_eq!((ip.options(), ip.payload().len()), (&[0x94, 4, 0, 0][..], length));
            assert!(Sum::default().add(ip.payload()).verifies());
        }
    }
}
