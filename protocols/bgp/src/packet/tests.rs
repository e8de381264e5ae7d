//! The codec: hex by hand from the RFCs' figures, and properties over everything else.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::prelude::*;

use super::*;

/// Bytes of a text: hex digits, and comments behind `;`.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .flat_map(|line| line.split(';').next().unwrap_or_default().chars())
        .filter(char::is_ascii_hexdigit)
        .collect();
    digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn decode(bytes: &[u8]) -> Message<'_> {
    let (frame, rest) = next_frame(bytes).unwrap().unwrap();
    assert!(rest.is_empty());
    Message::decode(frame).unwrap()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

const EXTERNAL: DecodeContext = DecodeContext { width: AsWidth::Four, peer: PeerKind::External };
const INTERNAL: DecodeContext = DecodeContext { width: AsWidth::Four, peer: PeerKind::Internal };

#[test]
fn a_keepalive_is_a_header_alone() {
    let bytes = hex("ffffffff ffffffff ffffffff ffffffff ; marker
                     0013 04                             ; length 19, KEEPALIVE");
    assert_eq!(written(encode_keepalive), bytes);
    assert_eq!(decode(&bytes), Message::Keepalive);
}

#[test]
fn our_open_is_as_the_figures_of_rfc_4271_5492_and_6793_draw_it() {
    let bytes = hex("ffffffff ffffffff ffffffff ffffffff
                     002d 01         ; length 45, OPEN
                     04              ; version
                     5ba0            ; My AS: AS_TRANS, 23456
                     00b4            ; hold time 180
                     c0000201        ; BGP Identifier 192.0.2.1
                     10 02 0e        ; 16 bytes of parameters: one of capabilities, 14 bytes
                     01 04 0001 00 01 ; multiprotocol: IPv4 unicast
                     02 00           ; route refresh
                     41 04 00010000  ; four-octet AS 65536");
    let open = Open::ours(65536, 180, Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(written(|into| open.encode(into)), bytes);
    assert_eq!(decode(&bytes), Message::Open(open.clone()));
    assert_eq!(open.as_number(), 65536);
    assert!(open.takes_ipv4_unicast());
}

#[test]
fn long_parameters_of_rfc_9072_are_read() {
    let bytes = hex("ffffffff ffffffff ffffffff ffffffff 0024 01
                     04 fde9 005a c0000202 ; AS 65001, hold time 90
                     ff ff 0004            ; RFC 9072: four bytes of parameters follow
                     02 0001 00            ; a parameter of one byte: half a capability");
    let (frame, _) = next_frame(&bytes).unwrap().unwrap();
    assert_eq!(Message::decode(frame), Err(OpenError::Unspecific.into()));
    let good = hex("04 fde9 005a c0000202 ff ff 0005 02 0002 0200");
    assert_eq!(Open::decode(&good).unwrap().capabilities, [Capability::RouteRefresh]);
}

#[test]
fn an_update_with_all_three_fields_is_read() {
    let bytes = hex("ffffffff ffffffff ffffffff ffffffff 003c 02
                     0004 18 c63364              ; withdrawn: 198.51.100.0/24
                     001b
                     40 01 01 00                 ; ORIGIN IGP
                     40 02 06 02 01 0000fdea     ; AS_PATH 65002
                     40 03 04 0a000001           ; NEXT_HOP 10.0.0.1
                     80 04 04 00000064           ; MULTI_EXIT_DISC 100
                     18 cb0071 00 0f 0a03        ; 203.0.113.0/24, 0.0.0.0/0, 10.2.0.0/15 with a stray bit");
    let bytes = with_length(bytes);
    let Message::Update(update) = decode(&bytes) else { panic!() };
    assert_eq!(update.withdrawn.collect::<Vec<_>>(), prefixes(&["198.51.100.0/24"]));
    assert_eq!(update.nlri.collect::<Vec<_>>(), prefixes(&["203.0.113.0/24", "0.0.0.0/0", "10.2.0.0/15"]));
    let decoded = DecodedAttributes::decode(update.attributes, update.nlri, EXTERNAL).unwrap();
    let attributes = decoded.routes.unwrap().unwrap();
    assert_eq!(attributes.as_path, AsPath::sequence(&[65002]));
    assert_eq!(attributes.med, Some(100));
    assert_eq!(attributes.next_hop, Ipv4Addr::new(10, 0, 0, 1));
}

/// Puts the true lengths of the attributes and of the message into an UPDATE of a test.
fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let withdrawn = usize::from(u16::from_be_bytes([bytes[19], bytes[20]]));
    let nlri = 4 + 1 + 3;
    let attributes = (bytes.len() - 23 - withdrawn - nlri) as u16;
    bytes[21 + withdrawn..23 + withdrawn].copy_from_slice(&attributes.to_be_bytes());
    let length = bytes.len() as u16;
    bytes[16..18].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn prefixes(texts: &[&str]) -> Vec<Ipv4Net> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn an_update_without_anything_is_the_end_of_rib_marker() {
    let bytes = written(encode_end_of_rib);
    assert_eq!(bytes.len(), 23);
    let Message::Update(update) = decode(&bytes) else { panic!() };
    assert!(update.is_end_of_rib());
}

#[test]
fn a_message_is_awaited_until_its_last_byte() {
    let bytes = written(|into| Open::ours(65001, 90, Ipv4Addr::LOCALHOST).encode(into));
    for length in 0..bytes.len() {
        assert_eq!(next_frame(&bytes[..length]), Ok(None), "{length} bytes");
    }
    assert!(next_frame(&bytes).unwrap().is_some());
}

#[test]
fn every_named_error_reads_back_from_its_numbers() {
    for code in 0..=8 {
        for subcode in 0..=12 {
            assert_eq!(ErrorCode::from_wire(code, subcode).wire(), (code, subcode));
        }
    }
    assert_eq!(Notification::from(Cease::AdministrativeReset).to_string(), "Cease/Administrative Reset (6/4)");
}

#[test]
fn an_old_speakers_path_is_completed_from_as4_path() {
    let old = AsPath::sequence(&[65002, AS_TRANS.into(), AS_TRANS.into()]);
    let as4 = AsPath::sequence(&[70000, 80000]);
    assert_eq!(old.merge_as4_path(&as4), path_of(&[(2, &[65002]), (2, &[70000, 80000])]));
    // RFC 6793 section 4.2.3: a longer one is ignored.
    assert_eq!(as4.merge_as4_path(&old), as4);
}

fn path_of(segments: &[(u8, &[u32])]) -> AsPath {
    let mut value = Vec::new();
    for (code, numbers) in segments {
        value.extend([*code, numbers.len() as u8]);
        numbers.iter().for_each(|number| value.extend(number.to_be_bytes()));
    }
    AsPath::decode(&value, AsWidth::Four).unwrap()
}

#[test]
fn a_set_counts_as_one_and_a_full_segment_is_followed_by_a_new_one() {
    assert_eq!(path_of(&[(2, &[1, 2]), (1, &[3, 4, 5])]).length(), 3);
    assert_eq!(path_of(&[(2, &[1, 2]), (1, &[3, 4, 5])]).to_string(), "1 2 {3,4,5}");
    let full = AsPath::sequence(&[7; 255]).prepend(8);
    assert_eq!(full.length(), 256);
    assert_eq!(full.first(), Some(8));
    assert_eq!(full.segments().count(), 2);
}

/// One attribute.
fn attr(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, kind, value.len() as u8], value].concat()
}

/// ORIGIN, AS_PATH 65002, NEXT_HOP 10.0.0.1, and further ones.
fn list(further: &[u8]) -> Vec<u8> {
    [attr(0x40, 1, &[0]), attr(0x40, 2, &[2, 1, 0, 0, 0xfd, 0xea]), attr(0x40, 3, &[10, 0, 0, 1]), further.to_vec()]
        .concat()
}

/// The verdict on a list of attributes in an UPDATE with a route.
fn verdict(list: &[u8], context: DecodeContext) -> Result<Attributes, AttributeFault> {
    let nlri = Nlri::parse(&[8, 10]).unwrap();
    DecodedAttributes::decode(list, nlri, context).unwrap().routes.unwrap()
}

#[test]
fn faults_of_attributes_withdraw_the_routes_as_rfc_7606_section_7_says() {
    use AttributeFault::*;
    let swapped = |index: usize, with: Vec<u8>| {
        let mut parts = [attr(0x40, 1, &[0]), attr(0x40, 2, &[2, 1, 0, 0, 0xfd, 0xea]), attr(0x40, 3, &[10, 0, 0, 1])];
        parts[index] = with;
        parts.concat()
    };
    let cases = [
        (swapped(0, attr(0x40, 1, &[3])), Origin(3)),
        (swapped(0, attr(0x40, 1, &[0, 0])), Length(1)),
        (swapped(0, attr(0xc0, 1, &[0])), Flags(1)),
        (swapped(0, vec![]), Missing(1)),
        (swapped(1, attr(0x40, 2, &[3, 1, 0, 0, 0xfd, 0xea])), AsPath(AsPathError::SegmentType(3))),
        (swapped(1, attr(0x40, 2, &[2, 0])), AsPath(AsPathError::EmptySegment)),
        (swapped(1, attr(0x40, 2, &[2, 2, 0, 0, 0xfd, 0xea])), AsPath(AsPathError::CutOff)),
        (swapped(1, vec![]), Missing(2)),
        (swapped(2, attr(0x40, 3, &[10, 0, 0])), Length(3)),
        (swapped(2, attr(0x40, 3, &[127, 0, 0, 1])), NextHop(Ipv4Addr::LOCALHOST)),
        (swapped(2, vec![]), Missing(3)),
        (list(&attr(0x80, 4, &[0, 0, 1])), Length(4)),
        (list(&attr(0xc0, 8, &[0, 0, 1])), Length(8)),
        (list(&attr(0xc0, 16, &[0; 4])), Length(16)),
        (list(&attr(0xc0, 32, &[0; 8])), Length(32)),
        (list(&[0x40, 5]), ListCutOff),
    ];
    for (list, fault) in cases {
        assert_eq!(verdict(&list, EXTERNAL), Err(fault), "{list:02x?}");
    }
    assert_eq!(verdict(&list(&[]), INTERNAL), Err(Missing(5)));
    assert_eq!(verdict(&list(&attr(0x40, 5, &[0, 0, 1])), INTERNAL), Err(Length(5)));
    assert_eq!(verdict(&list(&attr(0x80, 10, &[0; 3])), INTERNAL), Err(Length(10)));
}

#[test]
fn attributes_that_do_not_decide_are_discarded_and_counted() {
    let lists = [
        attr(0x40, 6, &[1]),                 // ATOMIC_AGGREGATE with a value
        attr(0xc0, 7, &[0; 5]),              // AGGREGATOR of a wrong length
        attr(0x40, 5, &[0, 0, 0, 200]),      // LOCAL_PREF from an external peer
        attr(0x80, 9, &[10, 0, 0, 9]),       // ORIGINATOR_ID from an external peer
        attr(0xc0, 17, &[2, 1, 0, 0, 0, 1]), // AS4_PATH between new speakers
        attr(0x40, 1, &[2]),                 // ORIGIN a second time
    ];
    for further in lists {
        let list = list(&further);
        let decoded = DecodedAttributes::decode(&list, Nlri::parse(&[0]).unwrap(), EXTERNAL).unwrap();
        assert_eq!(decoded.discarded, 1, "{further:02x?}");
        let attributes = decoded.routes.unwrap().unwrap();
        assert_eq!((attributes.origin, attributes.local_pref), (Origin::Igp, None));
    }
}

#[test]
fn unknown_transitive_attributes_are_passed_on_as_partial_and_others_are_not() {
    let list = list(&[attr(0xc0, 99, b"abc"), attr(0x80, 98, b"x")].concat());
    let attributes = verdict(&list, EXTERNAL).unwrap();
    assert_eq!(*attributes.others, [OtherAttribute { kind: 99, partial: true, value: (*b"abc").into() }]);
    let encoded = written(|into| attributes.encode(AsWidth::Four, into));
    assert!(encoded.ends_with(&attr(0xe0, 99, b"abc")));
}

#[test]
fn routes_of_ipv4_unicast_in_the_multiprotocol_attributes_are_taken() {
    let reach = attr(0x80, 14, &[0, 1, 1, 4, 10, 0, 0, 2, 0, 16, 172, 16]);
    let list = [attr(0x40, 1, &[0]), attr(0x40, 2, &[2, 1, 0, 0, 0xfd, 0xea]), reach].concat();
    let decoded = DecodedAttributes::decode(&list, Nlri::default(), EXTERNAL).unwrap();
    assert_eq!(decoded.routes.unwrap().unwrap().next_hop, Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(decoded.mp_reach.unwrap().nlri.collect::<Vec<_>>(), prefixes(&["172.16.0.0/16"]));
    let unreach = attr(0x80, 15, &[0, 1, 1, 16, 172, 16]);
    let decoded = DecodedAttributes::decode(&unreach, Nlri::default(), EXTERNAL).unwrap();
    assert_eq!(decoded.mp_unreach.collect::<Vec<_>>(), prefixes(&["172.16.0.0/16"]));
    assert_eq!(decoded.routes, None);
}

#[test]
fn attributes_that_leave_no_room_for_a_prefix_are_refused() {
    let mut out = Vec::new();
    assert_eq!(encode_announcements(&[0; 4073], &prefixes(&["10.0.0.0/8"]), &mut out), Err(TooLong(4073)));
    assert!(out.is_empty());
    assert_eq!(encode_announcements(&[0; 4068], &prefixes(&["10.0.0.1/32"; 2]), &mut out), Ok(2));
    assert_eq!(out.len(), 2 * MAX_MESSAGE);
}

prop_compose! {
    fn prefix()(bits in any::<u32>(), length in 0..=32u8) -> Ipv4Net {
        Ipv4Net::new(bits.into(), length).unwrap().trunc()
    }
}

prop_compose! {
    fn as_path()(segments in prop::collection::vec((1..=2u8, prop::collection::vec(any::<u32>(), 1..6)), 0..4)) -> AsPath {
        let segments: Vec<(u8, &[u32])> = segments.iter().map(|(code, numbers)| (*code, &numbers[..])).collect();
        path_of(&segments)
    }
}

prop_compose! {
    fn attributes()(
        origin in prop::sample::select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]),
        as_path in as_path(),
        next_hop in 0x0100_0000..0x7f00_0000u32,
        med in any::<Option<u32>>(),
        local_pref in any::<u32>(),
        atomic_aggregate in any::<bool>(),
        aggregator in any::<Option<(u32, u32)>>(),
        originator in any::<Option<u32>>(),
        communities in any::<Option<u32>>(),
        unknown in prop::collection::vec(any::<u8>(), 0..300),
    ) -> Attributes {
        let mut others = vec![OtherAttribute { kind: 200, partial: true, value: unknown.into() }];
        if let Some(value) = communities {
            others.insert(0, OtherAttribute { kind: 8, partial: false, value: value.to_be_bytes().into() });
        }
        Attributes {
            origin, as_path, next_hop: next_hop.into(), med, local_pref: Some(local_pref), atomic_aggregate,
            aggregator: aggregator.map(|(as_number, id)| Aggregator { as_number, router_id: id.into() }),
            originator_id: originator.map(Ipv4Addr::from),
            others: others.into(),
        }
    }
}

/// The sequences of a path as one, which is how a completed AS4_PATH may differ in form.
fn flat(path: &AsPath) -> String {
    path.to_string()
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 1..=5u8) {
        let _ = next_frame(&bytes);
        let kind = MessageKind::from_code(kind).unwrap();
        if let Ok(Message::Update(update)) = Message::decode(Frame { kind, body: &bytes }) {
            for width in [AsWidth::Two, AsWidth::Four] {
                let context = DecodeContext { width, peer: PeerKind::Internal };
                let _ = DecodedAttributes::decode(update.attributes, update.nlri, context);
            }
        }
        for context in [EXTERNAL, INTERNAL] {
            let _ = DecodedAttributes::decode(&bytes, Nlri::default(), context);
        }
    }

    #[test]
    fn a_damaged_update_is_read_without_panic(attributes in attributes(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = written(|into| attributes.encode(AsWidth::Four, into));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for width in [AsWidth::Two, AsWidth::Four] {
            let context = DecodeContext { width, peer: PeerKind::Internal };
            let _ = DecodedAttributes::decode(&bytes, Nlri::parse(&[8, 10]).unwrap(), context);
        }
    }

    #[test]
    fn decoding_an_encoded_open_gives_the_same(
        as_number in 1..=u32::MAX, hold in 3..=u16::MAX, id in 1..=u32::MAX, values in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..100), 0..6),
    ) {
        let mut open = Open::ours(as_number, hold, id.into());
        open.capabilities.extend(values.into_iter().map(|value| Capability::Unknown { code: 200, value }));
        let bytes = written(|into| open.encode(into));
        prop_assert_eq!(decode(&bytes), Message::Open(open));
    }

    #[test]
    fn decoding_an_encoded_notification_gives_the_same(code: u8, subcode: u8, data in prop::collection::vec(any::<u8>(), 0..99)) {
        let notification = Notification { error: ErrorCode::from_wire(code, subcode), data };
        let bytes = written(|into| notification.encode(into));
        prop_assert_eq!(decode(&bytes), Message::Notification(notification));
    }

    #[test]
    fn decoding_encoded_attributes_gives_the_same(attributes in attributes()) {
        let bytes = written(|into| attributes.encode(AsWidth::Four, into));
        prop_assert_eq!(verdict(&bytes, INTERNAL), Ok(attributes));
    }

    #[test]
    fn an_old_speakers_session_carries_four_octet_paths(attributes in attributes()) {
        // A four-octet AGGREGATOR beside an AS_PATH of small numbers, and the reverse, are covered by chance.
        let bytes = written(|into| attributes.encode(AsWidth::Two, into));
        let context = DecodeContext { width: AsWidth::Two, peer: PeerKind::Internal };
        let read = verdict(&bytes, context).unwrap();
        prop_assert_eq!(flat(&read.as_path), flat(&attributes.as_path));
        prop_assert_eq!(read.aggregator, attributes.aggregator);
    }

    #[test]
    fn packed_updates_hold_every_prefix_once_and_no_message_is_too_long(
        prefixes in prop::collection::vec(prefix(), 0..3000),
    ) {
        let mut bytes = Vec::new();
        let attributes = list(&[]);
        let announced = encode_announcements(&attributes, &prefixes, &mut bytes).unwrap();
        let withdrawn = encode_withdrawals(&prefixes, &mut bytes);
        let (mut rest, mut messages) = (&bytes[..], 0);
        let (mut told, mut gone) = (Vec::new(), Vec::new());
        while let Some((frame, tail)) = next_frame(rest).unwrap() {
            let Message::Update(update) = Message::decode(frame).unwrap() else { panic!() };
            told.extend(update.nlri);
            gone.extend(update.withdrawn);
            rest = tail;
            messages += 1;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(messages, announced + withdrawn);
        prop_assert_eq!(&told, &prefixes);
        prop_assert_eq!(&gone, &prefixes);
    }
}
