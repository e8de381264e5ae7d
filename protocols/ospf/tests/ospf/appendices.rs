//! RFC 2328's appendices: the bytes of packets and LSAs, constants, parameters, authentication, what is not supported.

use std::net::Ipv4Addr;
use std::time::Duration;

use ospf::auth::{Algorithm, Authentication, Key};
use ospf::config::{Config, InterfaceConfig};
use ospf::packet::{BACKBONE, Body, Frame, LS_INFINITY, Lsa, LsaBody, MAX_AGE, Options, PacketKind, encode};
use sdk::core::ProtocolCore;

use crate::network::{Network, id, tree};
use crate::peer::{ALL_SPF_ROUTERS, Conversation, OWN, PEER, PEER_ADDRESS, config};

/// Bytes from hex; what follows `#` in a line is a comment.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
    let digits: Vec<char> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

/// A packet of the peer with this body, as it is on the wire.
fn body_of(kind: PacketKind, hex_body: &str) -> Vec<u8> {
    encode(kind, PEER, BACKBONE, |into| into.extend(hex(hex_body)))
}

#[test]
fn appendix_a_1_packets_are_of_protocol_89_with_ttl_1_to_two_groups() {
    assert_eq!(sdk::IpProtocol::OSPF.number(), 89);
    let mut network = Network::default();
    let segment = network.segment();
    for router in 0..3 {
        network.router(&format!("router ospf 1\n router-id {}\n area 0\n  interface lan\n", id(router)));
        network.plug(router, "lan", &format!("10.0.0.{}/24", router + 1), segment);
    }
    network.seconds(60);
    let mut groups: Vec<String> = network
        .sent
        .iter()
        .map(|(_, _, message)| {
            // Precedence "Internetwork Control".
            assert_eq!((message.ttl, message.tos), (1, 0xc0));
            message.addresses.destination.ip().to_string()
        })
        .filter(|to| to.starts_with("224."))
        .collect();
    groups.sort();
    groups.dedup();
    assert_eq!(groups, ["224.0.0.5", "224.0.0.6"]);
}

#[test]
fn appendix_a_2_the_options_are_these_bits() {
    assert_eq!((Options::E.0, Options::NP.0, Options::O.0), (0x02, 0x08, 0x40));
}

#[test]
fn appendix_a_3_1_the_header_is_these_bytes() {
    let packet = Authentication::Simple(*b"password").sign(body_of(PacketKind::Hello, ""), 0, |_| false).remove(0);
    let expected = hex("02 01 0018   # version, type, length
                        c0000209     # router
                        00000000     # area
                        3bdc 0001    # checksum, AuType
                        70617373776f7264");
    assert_eq!(packet, expected);
}

#[test]
fn appendix_a_3_2_a_hello_is_these_bytes() {
    let bytes = body_of(PacketKind::Hello, "ffffff00 000a 02 01 00000028 0a000001 0a000002 c0000201 c0000202");
    let frame = Frame::parse(&bytes).unwrap();
    let Body::Hello(hello) = Body::parse(&frame).unwrap() else { panic!("a hello") };
    assert_eq!((hello.mask, hello.hello_interval, hello.options), (Ipv4Addr::new(255, 255, 255, 0), 10, Options::E));
    assert_eq!((hello.priority, hello.dead_interval), (1, 40));
    assert_eq!((hello.designated, hello.backup), (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)));
    let neighbors: Vec<Ipv4Addr> = hello.neighbors().collect();
    assert_eq!(neighbors, [id(0), id(1)]);
    let mut again = Vec::new();
    hello.encode(neighbors, &mut again);
    assert_eq!(again, frame.body());
}

#[test]
fn appendix_a_3_3_a_database_description_is_these_bytes() {
    let bytes =
        body_of(PacketKind::DatabaseDescription, "05dc 42 07 00000064 0005 02 01 c0000209 c0000209 80000001 abcd 0018");
    let frame = Frame::parse(&bytes).unwrap();
    let Body::DatabaseDescription(description) = Body::parse(&frame).unwrap() else { panic!("a description") };
    assert_eq!((description.mtu, description.options, description.flags.0), (1500, Options::E | Options::O, 7));
    assert_eq!(description.sequence, 100);
    let headers: Vec<_> = description.headers().map(|header| header.unwrap()).collect();
    assert_eq!(
        format!("{} {} {}", headers[0].key, headers[0].sequence, headers[0].age),
        format!("router {PEER} of {PEER} 0x80000001 5")
    );
    let mut again = Vec::new();
    description.encode(&headers, &mut again);
    assert_eq!(again, frame.body());
}

#[test]
fn appendix_a_3_4_a_request_is_these_bytes() {
    let bytes = body_of(PacketKind::LinkStateRequest, "00000005 cb007100 c0000209  00000001 c0000209 c0000209");
    let Body::LinkStateRequest(request) = Body::parse(&Frame::parse(&bytes).unwrap()).unwrap() else {
        panic!("a request")
    };
    let keys: Vec<String> = request.keys().map(|key| key.unwrap().to_string()).collect();
    assert_eq!(keys, [format!("external 203.0.113.0 of {PEER}"), format!("router {PEER} of {PEER}")]);
}

#[test]
fn appendix_a_3_5_an_update_is_a_count_and_lsas() {
    let mut conversation = Conversation::full(&config(""));
    // The count says one; what follows is not looked at.
    let one = "0001 02 01 c0000209 c0000209 80000001 0000 0018 00000000";
    let lsa = Lsa::originate(
        ospf::packet::LsaKey::new(ospf::packet::LsaType::Router, PEER, PEER),
        Options::E,
        ospf::packet::SequenceNumber::INITIAL,
        &hex("00000000"),
    )
    .unwrap();
    let mut bytes = Vec::new();
    lsa.encode(1, &mut bytes);
    let expected = hex(&one.replace("0000 0018", &format!("{:04x} 0018", lsa.header.checksum)));
    assert_eq!(bytes, expected);
    conversation.packet(PacketKind::LinkStateUpdate, |into| into.extend([&[0, 0, 0, 1][..], &bytes, &bytes].concat()));
    conversation.millis(300);
    assert_eq!(conversation.said_but_hellos(), [format!("acknowledge [router {PEER} of {PEER} 0x80000001]")]);
}

#[test]
fn appendix_a_3_6_an_acknowledgment_is_headers() {
    let bytes = body_of(PacketKind::LinkStateAcknowledgment, "0001 02 01 c0000209 c0000209 80000001 abcd 0018");
    let Body::LinkStateAcknowledgment(acknowledgment) = Body::parse(&Frame::parse(&bytes).unwrap()).unwrap() else {
        panic!("an acknowledgment")
    };
    assert_eq!(acknowledgment.headers().count(), 1);
    assert!(Body::parse(&Frame::parse(&body_of(PacketKind::LinkStateAcknowledgment, "0001 02")).unwrap()).is_err());
}

/// The body of an LSA of a type, read.
fn read(kind: u8, body: &str) -> String {
    let kind = ospf::packet::LsaType::from_code(kind).unwrap();
    let key = ospf::packet::LsaKey::new(kind, Ipv4Addr::new(10, 0, 0, 0), PEER);
    let bytes = hex(body);
    match LsaBody::parse(key, &bytes) {
        Ok(LsaBody::Router(router)) => {
            let links: Vec<String> =
                router.links().map(|l| format!("{} {} {} {}", l.kind.name(), l.id, l.data, l.metric)).collect();
            format!("flags {} {}", router.flags.0, links.join(", "))
        }
        Ok(LsaBody::Network(network)) => format!("{} {:?}", network.prefix, network.routers().collect::<Vec<_>>()),
        Ok(LsaBody::Summary(summary)) => format!("{} {}", summary.prefix, summary.metric),
        Ok(LsaBody::External(e)) => format!("{} {:?} {} {}", e.prefix, e.metric, e.forwarding, e.tag),
        Ok(LsaBody::Opaque(bytes)) => format!("{} bytes", bytes.len()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn appendix_a_4_1_an_lsa_header_is_these_bytes() {
    let bytes = hex("0e10 02 05 cb007100 c0000209 7fffffff 1234 0024");
    let header = ospf::packet::LsaHeader::parse(&bytes).unwrap();
    assert_eq!((header.age, header.options, header.checksum, header.length), (MAX_AGE, Options::E, 0x1234, 36));
    assert_eq!((header.key.to_string(), header.sequence.0), (format!("external 203.0.113.0 of {PEER}"), i32::MAX));
    let mut again = Vec::new();
    header.encode(&mut again);
    assert_eq!(again, bytes);
}

#[test]
fn section_12_3_metrics_of_other_types_of_service_are_skipped() {
    // A link with two of them, and one behind it.
    let body = "0000 0002  c0000201 0a000001 01 02 0007  08 00 0009  10 00 000b   0a000000 ffffff00 03 00 0003";
    assert_eq!(read(1, body), "flags 0 point-to-point 192.0.2.1 10.0.0.1 7, stub 10.0.0.0 255.255.255.0 3");
}

#[test]
fn appendix_a_4_2_a_router_lsa_is_these_bytes() {
    assert_eq!(read(1, "0300 0001 0a000001 0a000002 02 00 000a"), "flags 3 transit 10.0.0.1 10.0.0.2 10");
}

#[test]
fn appendix_a_4_3_a_network_lsa_is_these_bytes() {
    assert_eq!(read(2, "ffffff00 c0000201 c0000209"), "10.0.0.0/24 [192.0.2.1, 192.0.2.9]");
}

#[test]
fn appendix_a_4_4_summary_lsas_are_these_bytes() {
    assert_eq!(read(3, "ffff0000 00 000014"), "10.0.0.0/16 20");
    // Of a boundary router the ID is one, and the mask says nothing.
    assert_eq!(read(4, "00000000 00 000014"), "10.0.0.0/32 20");
}

#[test]
fn appendix_a_4_5_an_external_lsa_is_these_bytes() {
    assert_eq!(read(5, "ffffff00 80 000014 0a000009 00000007"), "10.0.0.0/24 Type2(20) 10.0.0.9 7");
    assert_eq!(read(5, "ffffff00 00 000014 00000000 00000000"), "10.0.0.0/24 Type1(20) 0.0.0.0 0");
}

#[test]
fn appendix_b_the_architectural_constants() {
    assert_eq!((MAX_AGE, LS_INFINITY), (3600, 0x00ff_ffff));
    assert_eq!(ospf::lsdb::REFRESH_TIME, Duration::from_secs(1800));
    use ospf::packet::SequenceNumber as Number;
    assert_eq!((Number::INITIAL.0.cast_unsigned(), Number::MAX.0), (0x8000_0001, 0x7fff_ffff));
}

#[test]
fn appendix_c_1_the_router_id_is_the_highest_loopback_address_unless_configured() {
    let mut network = Network::default();
    let segment = network.segment();
    network.router("router ospf 1\n area 0\n  interface lan\n");
    network.plug(0, "lan", "10.9.9.9/24", segment);
    network.loopback(0, "10.0.0.7/32");
    network.seconds(1);
    assert_eq!(network.routers[0].show(network.now, "ospf", &["router_id"]), ["10.0.0.7"]);
    network.configure(0, "router ospf 1\n router-id 192.0.2.1\n area 0\n  interface lan\n");
    assert_eq!(network.routers[0].show(network.now, "ospf", &["router_id"]), ["192.0.2.1"]);
}

#[test]
fn appendix_c_1_a_router_that_has_no_address_to_take_says_so_once_and_takes_the_first_that_comes() {
    let mut network = Network::default();
    let config = "router ospf 1\n area 0\n  interface Loopback0\n";
    network.router(config);
    network.run(Duration::from_millis(150));
    assert_eq!(network.routers[0].log, Vec::<String>::new(), "interfaces are told a moment later");
    network.seconds(100);
    let said = "WARN no router ID: none is configured, and no interface has an IPv4 address; OSPF waits for one";
    assert_eq!(network.routers[0].log, [said]);
    // That is, of those that come within a moment.
    network.loopback(0, "192.0.2.1/32");
    network.run(Duration::from_millis(100));
    network.loopback(0, "192.0.2.77/32");
    network.seconds(1);
    assert_eq!(network.routers[0].show(network.now, "ospf", &["router_id"]), ["192.0.2.77"]);
    // Told in time, nothing is said.
    let second = network.router(config);
    network.run(Duration::from_millis(100));
    network.loopback(second, "192.0.2.78/32");
    network.seconds(1);
    assert_eq!(network.routers[second].show(network.now, "ospf", &["router_id"]), ["192.0.2.78"]);
    assert_eq!(network.routers[second].log, Vec::<String>::new());
}

#[test]
fn appendix_c_2_an_area_has_ranges_and_as_a_stub_a_default_cost() {
    let text =
        "router ospf 1\n area 1\n  stub\n  default-cost 5\n  range 10.0.0.0/8\n  range 11.0.0.0/8 not-advertise\n";
    let areas = Config::read(&tree(text)).unwrap().instance.unwrap().areas;
    let area = areas.values().next().unwrap();
    assert_eq!((area.kind.name(), area.default_cost, area.ranges.len()), ("stub", 5, 2));
}

#[test]
fn appendix_c_3_an_interface_has_the_rfcs_sample_values_unless_others_are_configured() {
    let values = |config: &InterfaceConfig| {
        let times = (config.hello_seconds, config.dead_seconds, config.retransmit.as_secs());
        (config.cost, config.priority, times, config.transmit_delay_seconds)
    };
    assert_eq!(values(&InterfaceConfig::default()), (None, 1, (10, 40, 5), 1));
    let text = "router ospf 1\n area 1\n  interface lan\n   cost 7\n   priority 0\n   hello-interval 1\n   dead-interval 3\n   \
                retransmit-interval 2\n   transmit-delay 9\n";
    let areas = Config::read(&tree(text)).unwrap().instance.unwrap().areas;
    let interface = areas.values().next().unwrap().interfaces.values().next().unwrap();
    assert_eq!(values(interface), (Some(7), 0, (1, 3, 2), 9));
}

#[test]
fn appendix_c_7_a_host_is_announced_as_a_stub_link_of_cost_zero() {
    let mut network = Network::default();
    network.router(&format!("router ospf 1\n router-id {}\n area 0\n  interface Loopback0\n", id(0)));
    network.loopback(0, "192.0.2.77/32");
    network.seconds(5);
    let lsas = network.routers[0].show(network.now, "ospf database", &["type", "contents"]);
    assert_eq!(lsas, ["router stub 192.0.2.77/32 metric 0"]);
}

#[test]
fn section_15_virtual_links_are_refused_with_a_clear_word() {
    let refused = Config::read(&tree("router ospf 1\n area 1\n  virtual-link 192.0.2.1\n"));
    assert_eq!(refused.unwrap_err().to_string(), "virtual-link 192.0.2.1: virtual links are not supported");
}

/// A hello of the peer, as some authentication signs it.
fn hello(authentication: &Authentication, sequence: u32) -> Vec<u8> {
    let packet = encode(PacketKind::Hello, PEER, BACKBONE, |into| Conversation::usual_hello().encode([OWN], into));
    authentication.sign(packet, sequence, |_| false).remove(0)
}

fn md5() -> Authentication {
    Authentication::Cryptographic(vec![Key { id: 1, algorithm: Algorithm::Md5, secret: b"secret".to_vec() }])
}

#[test]
fn appendix_d_1_without_authentication_the_checksum_is_looked_at() {
    let mut conversation = Conversation::new(&config(""));
    let mut damaged = hello(&Authentication::Null, 0);
    damaged[30] ^= 1;
    conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, damaged);
    assert_eq!((conversation.drops("bad packet checksum"), conversation.state()), (1, "none".to_owned()));
    // What the authentication field has is nobody's.
    let mut odd = hello(&Authentication::Null, 0);
    odd[16..24].fill(0x55);
    conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, odd);
    assert_eq!(conversation.state(), "ExStart");
}

#[test]
fn appendix_d_2_a_password_is_compared_and_the_checksum_leaves_it_out() {
    let lines = config("authentication simple\nauthentication-key secret");
    let (right, wrong) = (Authentication::Simple(*b"secret\0\0"), Authentication::Simple(*b"Secret\0\0"));
    assert_eq!(hello(&right, 0)[12..14], hello(&wrong, 0)[12..14]);
    let mut conversation = Conversation::new(&lines);
    conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, hello(&wrong, 0));
    assert_eq!((conversation.drops("wrong password"), conversation.state()), (1, "none".to_owned()));
    conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, hello(&right, 0));
    assert_eq!(conversation.state(), "ExStart");
}

#[test]
fn appendix_d_3_numbers_of_packets_never_fall_and_whose_does_is_played_again() {
    let mut conversation = Conversation::new(&config("authentication message-digest\nmessage-digest-key 1 md5 secret"));
    for (sequence, replayed) in [(7, 0), (7, 0), (8, 0), (6, 1), (8, 1)] {
        conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, hello(&md5(), sequence));
        assert_eq!(conversation.drops("replayed"), replayed, "{sequence}");
    }
}

#[test]
fn appendix_d_4_1_without_authentication_the_type_and_its_field_are_zero_and_the_checksum_covers_the_packet() {
    let bytes = hello(&Authentication::Null, 7);
    assert_eq!(bytes[14..24], [0; 10]);
    assert_eq!(ones_complement_sum(&[&bytes[..16], &bytes[24..]].concat()), 0xffff);
}

#[test]
fn appendix_d_4_2_a_password_fills_the_field_and_the_checksum_covers_the_rest() {
    let bytes = hello(&Authentication::Simple(*b"secret\0\0"), 7);
    assert_eq!((&bytes[14..16], &bytes[16..24]), (&[0, 1][..], &b"secret\0\0"[..]));
    assert_eq!(ones_complement_sum(&[&bytes[..16], &bytes[24..]].concat()), 0xffff);
}

/// As RFC 1071 writes it down; all ones where the checksum within is right.
fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    (sum % 0x1_0000 + sum / 0x1_0000) as u16
}

#[test]
fn appendix_d_4_3_a_digest_follows_the_packet_and_the_checksum_is_zero() {
    let bytes = hello(&md5(), 0x0102_0304);
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    assert_eq!(bytes.len(), length + 16);
    assert_eq!(bytes[12..24], hex("0000 0002 0000 01 10 01020304"));
}

#[test]
fn appendix_d_5_what_is_not_genuine_is_dropped_by_its_reason() {
    let mut conversation = Conversation::new(&config("authentication message-digest\nmessage-digest-key 1 md5 secret"));
    let other = |id: u8, secret: &[u8]| {
        Authentication::Cryptographic(vec![Key { id, algorithm: Algorithm::Md5, secret: secret.to_vec() }])
    };
    let cut = {
        let mut bytes = hello(&md5(), 5);
        bytes.truncate(bytes.len() - 1);
        bytes
    };
    let cases = [
        (hello(&Authentication::Null, 0), "wrong authentication type", 1),
        (hello(&other(2, b"secret"), 5), "unknown key", 1),
        (hello(&other(1, b"another"), 5), "wrong digest", 1),
        (cut, "wrong digest", 2),
    ];
    for (bytes, reason, count) in cases {
        conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, bytes);
        assert_eq!((conversation.drops(reason), conversation.state()), (count, "none".to_owned()), "{reason}");
    }
}

#[test]
fn appendix_f_a_second_interface_on_the_same_network_hears_its_own_router_and_says_so() {
    let mut network = Network::default();
    let segment = network.segment();
    network.router(&format!("router ospf 1\n router-id {}\n area 0\n  interface one\n  interface two\n", id(0)));
    network.plug(0, "one", "10.0.0.1/24", segment);
    network.plug(0, "two", "10.0.0.2/24", segment);
    // The network of the tests keeps a router's packets from itself; a wire does not.
    let (_, _, sent) =
        network.sent.iter().find(|(_, _, message)| message.interface == Some(crate::network::name("one"))).unwrap();
    let heard = sdk::datagram::ProcessMessage { interface: Some(crate::network::name("two")), ..sent.clone() };
    network.input(0, sdk::core::Input::Datagram { socket: ospf::links::SOCKET, message: &heard });
    let said = format!("WARN neighbor 10.0.0.1 on two refused: its router ID {} is this router's own", id(0));
    assert!(network.routers[0].log.contains(&said), "{:?}", network.routers[0].log);
    assert_eq!(network.routers[0].core.show(network.now, "ospf neighbor", &[]).unwrap().len(), 0);
}

#[test]
fn appendix_a_3_2_a_hello_of_a_wrong_length_is_malformed() {
    for body in ["ffffff00 000a 02 01 00000028 0a000001 0a0000", "ffffff00 000a 02 01 00000028 0a000001 0a000002 c000"]
    {
        assert!(Body::parse(&Frame::parse(&body_of(PacketKind::Hello, body)).unwrap()).is_err());
    }
}
