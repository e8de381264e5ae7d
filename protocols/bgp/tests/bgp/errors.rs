//! Every error subcode of RFC 4271 section 6: wrong bytes in, the exact NOTIFICATION out, and a line for the operator
//! that says it in words. Where RFC 7606 withdraws routes instead, that is shown too.

use isthmus_bgp::packet::{Cease, ErrorCode, FsmError, HeaderError, Notification, Open, OpenError, UpdateError};
use sdk::core::{ConnectionId, Input, ProtocolCore};

use crate::peer::{EXTERNAL, Peer, keepalive, message, update, written};

/// The connection ends with this message, and the log says so.
fn assert_ends(peer: &mut Peer, bytes: &[u8], error: impl Into<ErrorCode>, data: &[u8]) {
    let error = error.into();
    peer.log.clear();
    let done = peer.send(bytes);
    assert_eq!(done.notification, Some(Notification::new(error, data)));
    assert!(done.closed, "the connection is closed");
    let line = peer.log.iter().find(|line| line.contains("neighbor 10.0.0.1")).expect("a log line");
    assert!(line.starts_with("WARN") && line.contains(&error.to_string()), "{line}");
}

/// In OpenSent.
fn assert_open_ends(bytes: &[u8], error: impl Into<ErrorCode>, data: &[u8]) {
    assert_ends(&mut Peer::connected(EXTERNAL), bytes, error, data);
}

/// In Established.
fn assert_session_ends(bytes: &[u8], error: impl Into<ErrorCode>, data: &[u8]) {
    assert_ends(&mut Peer::established(EXTERNAL), bytes, error, data);
}

#[test]
fn header_1_1_the_marker_is_not_all_ones() {
    let mut bytes = keepalive();
    bytes[7] = 0;
    assert_open_ends(&bytes, HeaderError::ConnectionNotSynchronized, &[]);
    assert_session_ends(&bytes, HeaderError::ConnectionNotSynchronized, &[]);
}

#[test]
fn header_1_1_text_of_another_protocol_is_refused_at_its_first_byte() {
    assert_open_ends(b"G", HeaderError::ConnectionNotSynchronized, &[]);
}

#[test]
fn header_1_2_lengths_outside_of_the_types_bounds() {
    let with_length = |kind: u8, length: u16| [&[0xff; 16][..], &length.to_be_bytes(), &[kind]].concat();
    for (kind, length) in [(4, 18), (1, 4097), (1, 28), (2, 22), (3, 20), (4, 20), (5, 24), (5, 22)] {
        let error = HeaderError::BadMessageLength;
        assert_session_ends(&with_length(kind, length), error, &length.to_be_bytes());
    }
}

#[test]
fn header_1_3_a_type_that_does_not_exist() {
    assert_session_ends(&message(6, &[]), HeaderError::BadMessageType, &[6]);
    assert_session_ends(&message(0, &[]), HeaderError::BadMessageType, &[0]);
}

/// OPEN with these fields and parameters.
fn open(version: u8, my_as: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let fields = [&[version][..], &my_as.to_be_bytes(), &hold.to_be_bytes(), &id];
    message(1, &[&fields.concat()[..], &[parameters.len() as u8], parameters].concat())
}

const ID: [u8; 4] = [10, 0, 0, 1];

#[test]
fn open_2_1_another_version() {
    assert_open_ends(&open(3, 64502, 90, ID, &[]), OpenError::UnsupportedVersionNumber, &[0, 4]);
}

#[test]
fn open_2_2_another_as_than_configured() {
    assert_open_ends(&open(4, 64503, 90, ID, &[]), OpenError::BadPeerAs, &[]);
    assert_open_ends(&open(4, 0, 90, ID, &[]), OpenError::BadPeerAs, &[]);
    // The capability's number counts, not the field.
    let other = written(|into| Open { my_as: 64502, ..Open::ours(64503, 90, ID.into()) }.encode(into));
    assert_open_ends(&other, OpenError::BadPeerAs, &[]);
}

#[test]
fn open_2_3_an_identifier_that_is_none_or_our_own() {
    assert_open_ends(&open(4, 64502, 90, [0; 4], &[]), OpenError::BadBgpIdentifier, &[]);
    let internal = EXTERNAL.replace("remote-as 64502", "remote-as 64501");
    let own = open(4, 64501, 90, [10, 0, 0, 0], &[]);
    assert_ends(&mut Peer::connected(&internal), &own, OpenError::BadBgpIdentifier, &[]);
    // RFC 6286: an external neighbor may have ours.
    assert_eq!(Peer::connected(EXTERNAL).send(&open(4, 64502, 90, [10, 0, 0, 0], &[])).sent, ["KEEPALIVE"]);
}

#[test]
fn open_2_4_an_optional_parameter_that_we_do_not_know() {
    let authentication = [1, 1, 0];
    assert_open_ends(&open(4, 64502, 90, ID, &authentication), OpenError::UnsupportedOptionalParameter, &[]);
}

#[test]
fn open_2_0_parameters_and_capabilities_that_do_not_add_up() {
    for parameters in [&[2][..], &[2, 5, 1], &[2, 2, 65, 4], &[2, 3, 65, 1, 0]] {
        assert_open_ends(&open(4, 64502, 90, ID, parameters), OpenError::Unspecific, &[]);
    }
    // The length of all parameters is not that of the message.
    let mut bytes = open(4, 64502, 90, ID, &[]);
    bytes[28] = 1;
    assert_open_ends(&bytes, OpenError::Unspecific, &[]);
}

#[test]
fn open_2_6_hold_times_of_one_and_two_seconds() {
    for hold in [1, 2] {
        assert_open_ends(&open(4, 64502, hold, ID, &[]), OpenError::UnacceptableHoldTime, &[]);
    }
    for hold in [0, 3] {
        assert_eq!(Peer::connected(EXTERNAL).send(&open(4, 64502, hold, ID, &[])).sent, ["KEEPALIVE"]);
    }
}

#[test]
fn open_2_7_a_neighbor_that_takes_only_another_family() {
    let ipv6 = [2, 6, 1, 4, 0, 2, 0, 1];
    assert_open_ends(&open(4, 64502, 90, ID, &ipv6), OpenError::UnsupportedCapability, &[1, 4, 0, 1, 0, 1]);
}

#[test]
fn update_3_1_lengths_that_contradict_each_other() {
    let cases: [&[u8]; 3] = [&[0, 1, 0, 0], &[0, 0, 0, 1], &[0, 2, 8, 10, 0, 9]];
    for body in cases {
        assert_session_ends(&message(2, body), UpdateError::MalformedAttributeList, &[]);
    }
}

#[test]
fn update_3_1_a_multiprotocol_attribute_twice() {
    let unreach = [0x80, 15, 3, 0, 1, 1];
    let bytes = update(&[], &[unreach, unreach].concat(), &[]);
    assert_session_ends(&bytes, UpdateError::MalformedAttributeList, &[]);
}

#[test]
fn update_3_2_a_well_known_attribute_that_does_not_exist() {
    let unknown = [0x40, 77, 1, 9];
    let bytes = update(&[], &[GOOD, &unknown].concat(), &[8, 10]);
    assert_session_ends(&bytes, UpdateError::UnrecognizedWellKnownAttribute, &unknown);
}

/// ORIGIN IGP, AS_PATH 64502, NEXT_HOP 10.0.0.1.
const GOOD: &[u8] = &[0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf6, 0x40, 3, 4, 10, 0, 0, 1];

/// An attribute error: it ends the session only where no routes are named that could be treated as withdrawn (RFC 7606
/// section 5.2). With a route, the route goes and the session stays.
fn assert_attribute_error(attribute: &[u8], error: UpdateError) {
    let without_routes = update(&[], attribute, &[]);
    assert_session_ends(&without_routes, error, attribute);

    let mut peer = Peer::established(EXTERNAL);
    peer.send(&update(&[], GOOD, &[8, 10]));
    assert_eq!(peer.core.show(peer.now, "bgp", &[]).unwrap().len(), 1);
    // The wrong attribute in the place of the right one.
    let good = [&GOOD[..4], &GOOD[4..13], &GOOD[13..]];
    let rest: Vec<&[u8]> = good.into_iter().filter(|right| right[1] != attribute[1]).chain([attribute]).collect();
    let done = peer.send(&update(&[], &rest.concat(), &[8, 10]));
    assert_eq!((done.notification, done.closed), (None, false), "{attribute:02x?}");
    assert_eq!(peer.core.show(peer.now, "bgp", &[]).unwrap(), Vec::<sdk::show::Row>::new());
    assert!(peer.log.iter().any(|line| line.starts_with("WARN neighbor 10.0.0.1: malformed UPDATE")), "{:?}", peer.log);
}

#[test]
fn update_3_3_a_mandatory_attribute_is_missing() {
    // Without routes none is mandatory: so RFC 7606 leaves no way to this subcode but the withdrawal of routes.
    let mut peer = Peer::established(EXTERNAL);
    peer.send(&update(&[], GOOD, &[8, 10]));
    let done = peer.send(&update(&[], &GOOD[4..], &[8, 10]));
    assert_eq!((done.notification, done.closed), (None, false));
    assert!(peer.core.show(peer.now, "bgp", &[]).unwrap().is_empty());
    assert!(peer.log.last().unwrap().contains("attribute 1 is missing"));
}

#[test]
fn update_3_4_flags_that_are_not_the_types() {
    assert_attribute_error(&[0xc0, 1, 1, 0], UpdateError::AttributeFlagsError);
    assert_attribute_error(&[0x40, 4, 4, 0, 0, 0, 1], UpdateError::AttributeFlagsError);
}

#[test]
fn update_3_5_a_length_that_is_not_the_types() {
    assert_attribute_error(&[0x40, 1, 2, 0, 0], UpdateError::AttributeLengthError);
    assert_attribute_error(&[0x40, 3, 3, 10, 0, 0], UpdateError::AttributeLengthError);
    assert_attribute_error(&[0x80, 4, 1, 9], UpdateError::AttributeLengthError);
}

#[test]
fn update_3_6_an_origin_that_does_not_exist() {
    assert_attribute_error(&[0x40, 1, 1, 3], UpdateError::InvalidOriginAttribute);
}

#[test]
fn update_3_8_a_next_hop_that_is_no_host() {
    assert_attribute_error(&[0x40, 3, 4, 0, 0, 0, 0], UpdateError::InvalidNextHopAttribute);
    assert_attribute_error(&[0x40, 3, 4, 224, 0, 0, 5], UpdateError::InvalidNextHopAttribute);
}

#[test]
fn update_3_9_an_optional_attribute_with_a_wrong_value() {
    assert_attribute_error(&[0xc0, 8, 3, 0, 0, 1], UpdateError::OptionalAttributeError);
    // MP_REACH_NLRI with a next hop of three bytes: what follows cannot be found (RFC 7606 section 7.11).
    let reach = [0x80, 14, 8, 0, 1, 1, 3, 10, 0, 0, 0];
    let bytes = update(&[], &[GOOD, &reach].concat(), &[8, 10]);
    assert_session_ends(&bytes, UpdateError::OptionalAttributeError, &reach);
}

#[test]
fn update_3_10_prefixes_that_cannot_be_read() {
    assert_session_ends(&update(&[33, 1, 2, 3, 4, 5], &[], &[]), UpdateError::InvalidNetworkField, &[]);
    assert_session_ends(&update(&[], GOOD, &[24, 10, 0]), UpdateError::InvalidNetworkField, &[]);
}

#[test]
fn update_3_11_an_as_path_that_does_not_add_up() {
    assert_attribute_error(&[0x40, 2, 6, 9, 1, 0, 0, 0xfb, 0xf6], UpdateError::MalformedAsPath);
    assert_attribute_error(&[0x40, 2, 2, 2, 0], UpdateError::MalformedAsPath);
}

#[test]
fn hold_timer_4_expired() {
    let mut peer = Peer::established(EXTERNAL);
    assert_eq!(peer.pass(30).sent, ["KEEPALIVE"]);
    peer.pass(30);
    let done = peer.pass(30);
    assert_eq!(done.notification, Some(Notification::hold_timer_expired()));
    assert!(done.closed);
    assert!(peer.log.iter().any(|line| line.starts_with("WARN") && line.contains("Hold Timer Expired")));
}

#[test]
fn hold_timer_4_runs_from_the_open_on() {
    let mut peer = Peer::connected(EXTERNAL);
    assert_eq!(peer.pass(239).notification, None);
    assert_eq!(peer.pass(1).notification, Some(Notification::hold_timer_expired()));
}

#[test]
fn state_machine_5_messages_out_of_their_state() {
    assert_open_ends(&keepalive(), FsmError::InOpenSent, &[]);
    assert_open_ends(&update(&[], &[], &[]), FsmError::InOpenSent, &[]);
    let mut peer = Peer::connected(EXTERNAL);
    peer.open(64502);
    assert_ends(&mut peer, &update(&[], &[], &[]), FsmError::InOpenConfirm, &[]);
    assert_session_ends(&open(4, 64502, 90, ID, &[]), FsmError::InEstablished, &[]);
}

#[test]
fn cease_6_4_an_operator_clears_the_session() {
    let mut peer = Peer::established(EXTERNAL);
    let words = ["clear", "bgp", "*"].map(str::to_owned).to_vec();
    peer.core.command(peer.now, &words).unwrap();
    let done = peer.drain();
    assert_eq!(done.notification, Some(Cease::AdministrativeReset.into()));
    assert!(done.closed);
}

#[test]
fn cease_6_2_the_process_stops() {
    let mut peer = Peer::established(EXTERNAL);
    peer.core.handle_input(peer.now, Input::Stop);
    assert_eq!(peer.drain().notification, Some(Cease::AdministrativeShutdown.into()));
    // Nobody comes in any more.
    let done = peer.accept(ConnectionId(0x8000_0002));
    assert_eq!((done.sent.len(), done.closed), (0, true));
}

#[test]
fn cease_6_7_a_second_connection_beside_an_established_session() {
    let mut peer = Peer::established(EXTERNAL);
    let done = peer.accept(ConnectionId(0x8000_0002));
    assert_eq!(done.notification, Some(Cease::ConnectionCollisionResolution.into()));
    assert!(done.closed && done.sent.is_empty());
    assert_eq!(peer.send(&keepalive()), Default::default());
}

#[test]
fn a_notification_of_the_neighbor_is_logged_in_words_and_not_answered() {
    let mut peer = Peer::established(EXTERNAL);
    peer.log.clear();
    let done = peer.send(&message(3, &[6, 4]));
    assert_eq!((done.notification, done.closed), (None, true));
    let expected = "INFO neighbor 10.0.0.1: session down: received NOTIFICATION Cease/Administrative Reset (6/4)";
    assert_eq!(peer.log, [expected]);
}

#[test]
fn a_stranger_gets_no_open() {
    let mut peer = Peer::connected(EXTERNAL);
    let connection = ConnectionId(0x8000_0009);
    let (local, remote) = ("10.0.0.0:179".parse().unwrap(), "10.0.0.7:40000".parse().unwrap());
    peer.core.handle_input(peer.now, Input::Accepted { connection, local, remote });
    let done = peer.drain();
    assert_eq!((done.sent.len(), done.notification, done.closed), (0, None, true));
}

#[test]
fn messages_cut_anywhere_and_glued_together_are_the_same_messages() {
    let mut peer = Peer::connected(EXTERNAL);
    let mut bytes = written(|into| Open::ours(64502, 90, ID.into()).encode(into));
    bytes.extend(keepalive());
    bytes.extend(update(&[], GOOD, &[8, 10]));
    bytes.extend(update(&[], GOOD, &[8, 11]));
    for byte in bytes {
        peer.send(&[byte]);
    }
    assert_eq!(peer.core.show(peer.now, "bgp", &[]).unwrap().len(), 2);
}
