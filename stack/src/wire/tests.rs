//! Vectors made by hand, round trips, and any bytes at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::arp::{ArpOperation, ArpRepr};
use super::checksum::{self, Sum, pseudo_header};
use super::ethernet::{EtherType, EthernetRepr, EthernetView, MacAddress};
use super::icmpv4::{Icmpv4Repr, Icmpv4View, Unreachable};
use super::ipv4::{self, Ipv4Repr, Ipv4View, TtlDecrement};
use super::ipv6::{Ipv6Repr, Ipv6View};
use super::tcp::{self, SeqNumber, TcpFlags, TcpRepr, TcpView};
use super::tcp_options::{SackBlock, TcpOptions, Timestamps};
use super::udp::{UdpRepr, UdpView};
use super::{Layer, WireError};

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// An IPv4 header whose checksum is 0xb861, as found in textbooks.
const TEXTBOOK_IPV4: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, // version, length 0x73, don't fragment
    0x40, 0x11, 0xb8, 0x61, // TTL 64, UDP, checksum
    0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7, // 192.168.0.1 to 192.168.0.199
];

#[test]
fn ipv4_header_of_the_textbook_is_written_and_read() {
    let mut packet = vec![0; 0x73];
    packet[..20].copy_from_slice(&TEXTBOOK_IPV4);
    let view = Ipv4View::parse(&packet).unwrap();
    assert_eq!(view.source(), Ipv4Addr::new(192, 168, 0, 1));
    assert_eq!((view.protocol(), view.ttl(), view.payload().len()), (ipv4::protocol::UDP, 64, 0x73 - 20));
    let mut again = [0; 20];
    view.repr().emit(&mut again).unwrap();
    assert_eq!(again, TEXTBOOK_IPV4);
}

#[test]
fn each_bad_ipv4_header_names_the_check_that_failed() {
    let mut packet = vec![0; 0x73];
    packet[..20].copy_from_slice(&TEXTBOOK_IPV4);
    let with = |at: usize, value: u8| {
        let mut bad = packet.clone();
        bad[at] = value;
        Ipv4View::parse(&bad).unwrap_err()
    };
    let layer = Layer::Ipv4;
    assert_eq!(with(0, 0x65), WireError::BadVersion { layer, found: 6 });
    assert_eq!(with(0, 0x44), WireError::BadHeaderLength { layer, found: 16 });
    assert_eq!(with(3, 0x13), WireError::BadTotalLength { layer, found: 0x13, available: 0x73 });
    assert_eq!(with(3, 0x74), WireError::BadTotalLength { layer, found: 0x74, available: 0x73 });
    assert_eq!(with(8, 0x41), WireError::BadChecksum { layer });
    assert_eq!(Ipv4View::parse(&packet[..19]).unwrap_err(), WireError::Truncated { layer, needed: 20, found: 19 });
}

#[test]
fn a_forwarded_packet_keeps_a_right_checksum_down_to_ttl_one() {
    let mut packet = [0; 28];
    Ipv4Repr::new(A, B, ipv4::protocol::UDP, 255, 8).emit(&mut packet).unwrap();
    for ttl in (1..255).rev() {
        assert_eq!(ipv4::decrement_ttl(&mut packet).unwrap(), TtlDecrement::Done);
        assert_eq!(Ipv4View::parse(&packet).unwrap().ttl(), ttl);
    }
    assert_eq!(ipv4::decrement_ttl(&mut packet).unwrap(), TtlDecrement::Expired);
}

#[test]
fn a_quoted_packet_may_be_cut_short() {
    let mut packet = vec![0; 100];
    Ipv4Repr::new(A, B, ipv4::protocol::TCP, 64, 80).emit(&mut packet).unwrap();
    assert!(Ipv4View::parse(&packet[..28]).is_err());
    assert_eq!(Ipv4View::parse_quoted(&packet[..28]).unwrap().payload().len(), 8);
}

#[test]
fn an_arp_reply_turns_the_request_around() {
    let (asker, owner) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
    let request = ArpRepr::request(asker, A, B);
    let mut bytes = [0; 64];
    ArpRepr::reply_to(&request, owner).emit(&mut bytes).unwrap();
    let reply = ArpRepr::parse(&bytes).unwrap();
    assert_eq!(reply.operation, ArpOperation::Reply);
    assert_eq!((reply.sender_hardware, reply.sender_protocol), (owner, B));
    assert_eq!((reply.target_hardware, reply.target_protocol), (asker, A));
    bytes[1] = 6;
    assert_eq!(ArpRepr::parse(&bytes).unwrap_err(), WireError::UnsupportedType { layer: Layer::Arp });
}

#[test]
fn a_device_completes_the_checksum_that_the_sender_left_open() {
    let repr = TcpRepr { source_port: 179, destination_port: 40000, flags: TcpFlags::ACK, ..TcpRepr::default() };
    let mut frame = vec![0xee; 34 + 25];
    repr.emit(&mut frame[34..]).unwrap();
    let (source, destination) = (IpAddr::V4(A), IpAddr::V4(B));
    tcp::fill_partial_checksum(&mut frame[34..], source, destination).unwrap();
    assert!(TcpView::parse(&frame[34..]).unwrap().verify(source, destination).is_err());
    checksum::complete_partial(&mut frame, 34, tcp::CHECKSUM_OFFSET).unwrap();
    TcpView::parse(&frame[34..]).unwrap().verify(source, destination).unwrap();
    let mut whole = frame[34..].to_vec();
    tcp::fill_checksum(&mut whole, source, destination).unwrap();
    assert_eq!(whole, frame[34..]);
    assert!(matches!(checksum::complete_partial(&mut frame, 34, 24), Err(WireError::ChecksumOutside { .. })));
    assert!(checksum::complete_partial(&mut frame, usize::MAX, 2).is_err());
}

#[test]
fn the_syn_options_of_linux_are_understood() {
    // mss 1460, sackOK, TS val 0x01020304 ecr 0, nop, wscale 7
    let options = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
    let parsed = TcpOptions::parse(&options);
    assert_eq!(parsed.max_segment, Some(1460));
    assert_eq!(parsed.window_scale, Some(7));
    assert!(parsed.sack_permitted);
    assert_eq!(parsed.timestamps, Some(Timestamps { value: 0x0102_0304, echo: 0 }));
}

#[test]
fn malformed_options_end_the_list_and_keep_what_was_read() {
    for tail in [&[8, 0][..], &[8, 1], &[8, 12, 1], &[8], &[0, 3, 3, 7]] {
        let options: Vec<u8> = [&[2, 4, 0x05, 0xb4], tail].concat();
        assert_eq!(
            TcpOptions::parse(&options),
            TcpOptions { max_segment: Some(1460), ..TcpOptions::default() },
            "{tail:?}"
        );
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
    // The payload is chosen so that everything sums up to 0xffff.
    let repr = UdpRepr { source_port: 1, destination_port: 2 };
    let (source, destination) = (IpAddr::V4(A), IpAddr::V4(B));
    let mut datagram = [0; 10];
    repr.emit(&mut datagram, source, destination).unwrap();
    let checksum = u16::from_be_bytes([datagram[6], datagram[7]]);
    datagram[8..].copy_from_slice(&checksum.to_be_bytes());
    repr.emit(&mut datagram, source, destination).unwrap();
    assert_eq!(datagram[6..8], [0xff, 0xff]);
    UdpView::parse(&datagram).unwrap().verify(source, destination).unwrap();
}

#[test]
fn sequence_numbers_compare_across_the_wrap() {
    let (before, after) = (SeqNumber(u32::MAX - 1), SeqNumber(3));
    assert!(before.before(after) && after.after(before));
    assert_eq!((before + 5, after.bytes_past(before), before.bytes_past(after)), (after, 5, 0));
}

/// The definition, word by word, to judge the fast sum.
fn naive_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn options() -> impl Strategy<Value = TcpOptions> {
    let timestamps =
        proptest::option::of((any::<u32>(), any::<u32>()).prop_map(|(value, echo)| Timestamps { value, echo }));
    let scale = proptest::option::of(0_u8..=14);
    let sack = vec((any::<u32>(), any::<u32>()), 0..=2);
    (proptest::option::of(any::<u16>()), scale, any::<bool>(), timestamps, sack).prop_map(
        |(max_segment, window_scale, sack_permitted, timestamps, blocks)| {
            let mut options =
                TcpOptions { max_segment, window_scale, sack_permitted, timestamps, ..TcpOptions::default() };
            // As on the wire: what belongs to SYN does not stand beside SACK blocks.
            if !sack_permitted && max_segment.is_none() {
                for (start, end) in blocks {
                    options.sack.push(SackBlock { start: SeqNumber(start), end: SeqNumber(end) });
                }
            }
            options
        },
    )
}

proptest! {
    #[test]
    fn the_fast_sum_is_the_sum_by_definition(bytes in vec(any::<u8>(), 0..3000)) {
        prop_assert_eq!(checksum::checksum(&bytes), naive_checksum(&bytes));
    }

    #[test]
    fn parts_of_even_length_sum_like_the_whole(bytes in vec(any::<u8>(), 0..300), cut in 0_usize..150) {
        let (head, tail) = bytes.split_at((cut * 2).min(bytes.len()));
        prop_assert_eq!(Sum::default().add(head).add(tail).finish(), naive_checksum(&bytes));
    }

    #[test]
    fn an_updated_checksum_is_the_new_one(mut bytes in vec(any::<u8>(), 4..100), at in 0_usize..49, new in any::<u16>()) {
        let at = (at * 2).min((bytes.len() - 2) & !1);
        // RFC 1624 needs some other word to be non-zero, as every header has.
        bytes.extend([0x45, 0x00][..].iter().cycle().take(2 + bytes.len() % 2));
        let before = naive_checksum(&bytes);
        let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        let (updated, fresh) = (checksum::update(before, old, new), naive_checksum(&bytes));
        prop_assert_eq!(updated, fresh);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused_without_panic(mut bytes in vec(any::<u8>(), 0..120)) {
        let (source, destination) = (IpAddr::V4(A), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let _ = EthernetView::parse(&bytes).map(|view| view.repr());
        let _ = ArpRepr::parse(&bytes);
        let _ = Ipv4View::parse(&bytes).map(|view| view.repr());
        let _ = Ipv4View::parse_quoted(&bytes).map(|view| (view.repr(), view.options(), view.payload()));
        let _ = Ipv6View::parse(&bytes).map(|view| view.repr());
        let _ = Icmpv4View::parse(&bytes).map(|view| view.repr());
        let _ = UdpView::parse(&bytes).map(|view| (view.verify(source, destination), view.payload()));
        let _ = TcpView::parse(&bytes).map(|view| (view.segment().sequence_length(), view.verify(source, destination)));
        let _ = TcpOptions::parse(&bytes);
        let _ = ipv4::decrement_ttl(&mut bytes);
    }

    #[test]
    fn a_tcp_segment_reads_back_as_it_was_written(
        (source_port, destination_port, sequence, acknowledgment) in any::<(u16, u16, u32, u32)>(),
        (flags, window) in any::<(u8, u16)>(),
        options in options(),
        payload in vec(any::<u8>(), 0..50),
    ) {
        let repr = TcpRepr {
            source_port, destination_port, window, options,
            sequence: SeqNumber(sequence), acknowledgment: SeqNumber(acknowledgment), flags: TcpFlags(flags),
        };
        let mut bytes = vec![0; repr.header_bytes()];
        prop_assert_eq!(repr.emit(&mut bytes), Ok(repr.header_bytes()));
        bytes.extend(&payload);
        let (source, destination) = (IpAddr::V4(A), IpAddr::V4(B));
        tcp::fill_checksum(&mut bytes, source, destination).unwrap();
        let view = TcpView::parse(&bytes).unwrap();
        prop_assert_eq!(view.verify(source, destination), Ok(()));
        prop_assert_eq!(view.segment().repr, repr);
        prop_assert_eq!(view.payload(), &payload[..]);
    }

    #[test]
    fn ip_headers_read_back_as_they_were_written(
        (v4, v6) in any::<((u32, u32), (u128, u128))>(),
        (protocol, ttl, traffic_class, identification) in any::<(u8, u8, u8, u16)>(),
        (dont_fragment, more_fragments, offset) in (any::<bool>(), any::<bool>(), 0_usize..8191),
        payload in vec(any::<u8>(), 0..50),
    ) {
        let repr = Ipv4Repr {
            source: v4.0.into(), destination: v4.1.into(), protocol, ttl, traffic_class, identification,
            dont_fragment, more_fragments, fragment_offset_bytes: offset * 8, payload_bytes: payload.len(),
        };
        let mut bytes = [0; 100];
        let length = repr.emit(&mut bytes).unwrap();
        bytes[length..length + payload.len()].copy_from_slice(&payload);
        let view = Ipv4View::parse(&bytes).unwrap();
        prop_assert_eq!((view.repr(), view.payload()), (repr, &payload[..]));
        let repr = Ipv6Repr {
            source: v6.0.into(), destination: v6.1.into(), next_header: protocol, hop_limit: ttl, traffic_class,
            flow_label: u32::from(identification), payload_bytes: payload.len(),
        };
        let length = repr.emit(&mut bytes).unwrap();
        bytes[length..length + payload.len()].copy_from_slice(&payload);
        let view = Ipv6View::parse(&bytes).unwrap();
        prop_assert_eq!((view.repr(), view.payload()), (repr, &payload[..]));
    }

    #[test]
    fn icmp_and_udp_and_ethernet_read_back_as_they_were_written(
        (identifier, sequence, mtu_bytes) in any::<(u16, u16, u16)>(),
        payload in vec(any::<u8>(), 0..50),
        macs in any::<([u8; 6], [u8; 6])>(),
    ) {
        let reprs = [
            Icmpv4Repr::EchoRequest { identifier, sequence },
            Icmpv4Repr::EchoReply { identifier, sequence },
            Icmpv4Repr::DestinationUnreachable(Unreachable::FragmentationNeeded { mtu_bytes }),
            Icmpv4Repr::DestinationUnreachable(Unreachable::Port),
            Icmpv4Repr::TimeExceededInTransit,
            Icmpv4Repr::ParameterProblem { pointer: identifier as u8 },
        ];
        let mut bytes = [&[0; 8][..], &payload].concat();
        for repr in reprs {
            repr.emit(&mut bytes).unwrap();
            let view = Icmpv4View::parse(&bytes).unwrap();
            prop_assert_eq!((view.repr(), view.payload()), (repr, &payload[..]));
        }
        let repr = UdpRepr { source_port: identifier, destination_port: sequence };
        repr.emit(&mut bytes, IpAddr::V4(A), IpAddr::V4(B)).unwrap();
        let view = UdpView::parse(&bytes).unwrap();
        prop_assert_eq!((view.repr(), view.verify(IpAddr::V4(A), IpAddr::V4(B))), (repr, Ok(())));
        let repr = EthernetRepr {
            destination: MacAddress(macs.0), source: MacAddress(macs.1), ether_type: EtherType(mtu_bytes),
        };
        let mut frame = [0; 14];
        repr.emit(&mut frame).unwrap();
        prop_assert_eq!(EthernetView::parse(&frame).unwrap().repr(), repr);
    }

    #[test]
    fn a_pseudo_header_depends_on_every_part(a in any::<u32>(), b in any::<u32>(), length in 0_usize..60000) {
        let (a, b) = (IpAddr::V4(a.into()), IpAddr::V4(b.into()));
        let sum = pseudo_header(a, b, 6, length).partial();
        prop_assert_ne!(sum, pseudo_header(a, b, 17, length).partial());
        prop_assert_ne!(sum, pseudo_header(a, b, 6, length + 1).partial());
    }
}

/// A keepalive of BGP that is signed with "hush", as another implementation of MD5 and of RFC 2385 computes it.
#[test]
fn a_signature_is_that_of_rfc_2385_and_covers_all_but_options_and_checksum() {
    let repr = TcpRepr {
        source_port: 40_000,
        destination_port: 179,
        sequence: SeqNumber(1000),
        acknowledgment: SeqNumber(2000),
        flags: TcpFlags::PSH | TcpFlags::ACK,
        window: 512,
        options: TcpOptions { signature: Some([0; 16]), ..TcpOptions::default() },
    };
    let mut segment = vec![0; repr.header_bytes()];
    let header_bytes = repr.emit(&mut segment).unwrap();
    assert_eq!(header_bytes, 40, "two no-operations and 18 bytes");
    segment.extend_from_slice(b"keepalive");
    let v4: (IpAddr, IpAddr) = (A.into(), B.into());
    let v6: (IpAddr, IpAddr) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let hex = |bytes: [u8; 16]| bytes.map(|byte| format!("{byte:02x}")).concat();
    let sign = |segment: &[u8], ends| tcp::signature(segment, header_bytes, ends, b"hush");
    let expected = sign(&segment, v4);
    assert_eq!(hex(expected), "8d9492bbfa92cf7abc78c8d79b87a7b1");
    assert_eq!(hex(sign(&segment, v6)), "30353578748540c28f5b8765d5de2543");

    for at in 0..segment.len() {
        let mut changed = segment.clone();
        changed[at] ^= 1;
        let is_covered = !(tcp::CHECKSUM_OFFSET..tcp::CHECKSUM_OFFSET + 2).contains(&at) && !(20..40).contains(&at);
        assert_eq!(sign(&changed, v4) != expected, is_covered, "byte {at}");
    }
    assert_ne!(sign(&segment, (v4.1, v4.0)), expected, "the addresses count");
    assert_ne!(tcp::signature(&segment, header_bytes, v4, b"hush!"), expected, "and the key");

    let signed = TcpRepr { options: TcpOptions { signature: Some(expected), ..TcpOptions::default() }, ..repr };
    signed.emit(&mut segment).unwrap();
    let view = TcpView::parse(&segment).unwrap();
    assert_eq!(view.repr().options.signature, Some(expected));
    assert_eq!(view.expected_signature(v4.0, v4.1, b"hush"), expected);
}

#[test]
fn a_signature_of_another_length_is_none() {
    for length in [2, 17, 19] {
        let mut bytes = [1; 40];
        bytes[..2].copy_from_slice(&[19, length]);
        assert_eq!(TcpOptions::parse(&bytes).signature, None, "{length}");
    }
}
