//! Bad neighbors: wrong keys, forged and replayed packets, two with one number, and noise.

use std::net::Ipv4Addr;

use ospf::auth::{Algorithm, Authentication, Key};
use ospf::packet::{BACKBONE, Frame, Hello, Options, PacketKind, encode};
use proptest::prelude::*;
use sdk::core::ProtocolCore;
use sdk::show::Value;

use crate::network::{Network, id, states};
use crate::peer::{ALL_SPF_ROUTERS, Conversation, OWN, PEER, PEER_ADDRESS, config, router_lsa};

/// Two routers on a link whose blocks have these lines.
fn pair(lines: [&str; 2]) -> Network {
    let mut network = Network::default();
    let segment = network.segment();
    for (router, lines) in lines.into_iter().enumerate() {
        network.router(&pair_config(router, lines));
        network.plug(router, "link", &format!("10.0.0.{router}/31"), segment);
    }
    network
}

fn pair_config(router: usize, lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("   {line}\n")).collect();
    format!("router ospf 1\n router-id {}\n area 0\n  interface link\n   network point-to-point\n{lines}", id(router))
}

fn key(number: u8, algorithm: &str, secret: &str) -> String {
    format!("authentication message-digest\nmessage-digest-key {number} {algorithm} {secret}\n")
}

#[test]
fn only_those_with_the_same_authentication_become_neighbors() {
    let simple = "authentication simple\nauthentication-key secret";
    let of = |algorithm| key(1, algorithm, "secret");
    let kinds = ["".to_owned(), simple.to_owned(), of("md5"), of("hmac-sha-1"), of("hmac-sha-256"), of("hmac-sha-512")];
    for (index, one) in kinds.iter().enumerate() {
        for (other_index, other) in kinds.iter().enumerate() {
            let mut network = pair([one, other]);
            network.seconds(1);
            assert_eq!(states(&network, 0).contains(&"Full".to_owned()), index == other_index, "{one} {other}");
        }
    }
}

#[test]
fn what_of_the_authentication_differs_is_said_once_and_shown_until_it_is_mended() {
    let simple = |secret: &str| format!("authentication simple\nauthentication-key {secret}");
    let cases = [
        (key(1, "md5", "secret"), String::new(), "authentication null there, message-digest here"),
        (String::new(), simple("secret"), "authentication simple there, null here"),
        (simple("secret"), simple("another"), "authentication-key: another one there"),
        (key(1, "md5", "secret"), key(2, "md5", "secret"), "message-digest-key 2 there, which is none of those here"),
        (key(1, "md5", "secret"), key(1, "md5", "another"), "message-digest-key 1: another secret or algorithm there"),
    ];
    for (ours, theirs, text) in cases {
        let mut network = pair([&ours, &theirs]);
        network.seconds(60);
        let said = format!("WARN neighbor 10.0.0.1 on link refused: {text}");
        assert_eq!(
            network.routers[0].log.iter().filter(|line| **line == said).count(),
            1,
            "{:?}",
            network.routers[0].log
        );
        let shown = |network: &Network| network.routers[0].show(network.now, "ospf interface", &["refused_because"]);
        assert_eq!(shown(&network), [text]);
        network.configure(1, &pair_config(1, &ours));
        network.seconds(60);
        assert_eq!((shown(&network), states(&network, 0)), (vec!["-".to_owned()], vec!["Full".to_owned()]));
    }
}

#[test]
fn keys_roll_over_without_losing_the_neighbor() {
    let both = key(1, "md5", "old") + "message-digest-key 2 hmac-sha-256 new";
    let (old, new) = (key(1, "md5", "old"), key(2, "hmac-sha-256", "new"));
    let mut network = pair([&old, &old]);
    network.seconds(100);
    for (router, lines) in [(0, &both), (1, &both), (0, &new), (1, &new)] {
        network.configure(router, &pair_config(router, lines));
        network.seconds(100);
        assert_eq!((states(&network, 0), states(&network, 1)), (vec!["Full".to_owned()], vec!["Full".to_owned()]));
    }
    let down = |router: usize| network.routers[router].log.iter().any(|line| line.contains("after Full"));
    assert!(!down(0) && !down(1));
}

#[test]
fn a_packet_that_is_played_again_is_dropped() {
    let lines = key(1, "md5", "secret");
    let mut network = pair([&lines, &lines]);
    network.seconds(30);
    let old = network.sent.iter().find(|(_, router, _)| *router == 0).unwrap().2.clone();
    network.seconds(30);
    let received = sdk::datagram::ProcessMessage { interface: Some(crate::network::name("link")), ..old };
    let socket = ospf::links::SOCKET;
    network.input(1, sdk::core::Input::Datagram { socket, message: &received });
    let drops = network.routers[1].show(network.now, "ospf drops", &["reason", "count"]);
    assert_eq!(drops, ["replayed 1"]);
    assert_eq!(states(&network, 1), ["Full"]);
}

#[test]
fn one_id_twice_another_area_and_another_mask_are_said_once_and_shown_until_mended() {
    let hello = |router: Ipv4Addr, area: Ipv4Addr, mask: [u8; 4]| {
        let hello = Hello::new(mask.into(), 10, 40, Options::E, 1);
        let packet = encode(PacketKind::Hello, router, area, |into| hello.encode([OWN], into));
        Authentication::Null.sign(packet, 0, |_| false).remove(0)
    };
    let (mask, other_mask, other_area) = ([255, 255, 255, 254], [255, 255, 0, 0], Ipv4Addr::new(0, 0, 0, 7));
    let cases = [
        (hello(OWN, BACKBONE, mask), "duplicate router ID", format!("its router ID {OWN} is this router's own")),
        (hello(PEER, other_area, mask), "area mismatch", "area 0.0.0.7 there, 0.0.0.0 here".to_owned()),
        (
            hello(PEER, BACKBONE, other_mask),
            "hello parameters mismatch",
            "network mask 255.255.0.0 there, 255.255.255.254 here".to_owned(),
        ),
    ];
    for (packet, reason, text) in cases {
        // A broadcast network: on a link between two nobody looks at masks.
        let mut conversation = Conversation::new(&config("").replace("   network point-to-point\n", ""));
        let shown = |conversation: &Conversation| {
            let rows = conversation.core.show(conversation.now, "ospf interface", &[]).unwrap();
            let because = rows[0].len() - 2;
            rows[0][because - 1..=because].to_vec()
        };
        for _ in 0..3 {
            conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, packet.clone());
        }
        assert_eq!(conversation.drops(reason), 3);
        assert_eq!(conversation.log, [format!("WARN neighbor 10.0.0.1 on link refused: {text}")]);
        assert_eq!(shown(&conversation), [PEER_ADDRESS.to_string().as_str().into(), text.as_str().into()]);
        assert_eq!(conversation.state(), "none");
        if reason == "duplicate router ID" {
            continue;
        }
        conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, hello(PEER, BACKBONE, mask));
        assert_eq!(shown(&conversation), [Value::Null, Value::Null], "{reason}");
    }
}

proptest! {
    #[test]
    fn noise_behind_a_good_header_harms_nobody(
        noise in prop::collection::vec((1u8..=5, prop::collection::vec(any::<u8>(), 0..120)), 1..30),
    ) {
        let mut conversation = Conversation::full(&config(""));
        for (code, body) in noise {
            let mut packet = encode(PacketKind::Hello, PEER, BACKBONE, |into| into.extend(&body));
            packet[1] = code;
            let packet = Authentication::Null.sign(packet, 0, |_| false).remove(0);
            prop_assert!(Frame::parse(&packet).is_ok());
            conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, packet);
            conversation.millis(10);
        }
        // Whatever it was, the neighbor can come back.
        conversation.millis(50_000);
        prop_assert_eq!(conversation.state(), "none");
        conversation.hello();
        conversation.describe("IMS", 300, &[]);
        conversation.describe("S", 301, &[]);
        prop_assert_eq!(conversation.state(), "Full");
    }

    #[test]
    fn a_changed_byte_under_a_digest_is_never_taken(place in 0usize..60, xor in 1u8..=255) {
        let lines = key(1, "hmac-sha-256", "secret");
        let mut conversation = Conversation::new(&config(&lines));
        let hello = Conversation::usual_hello();
        let packet = encode(PacketKind::Hello, PEER, BACKBONE, |into| hello.encode([OWN], into));
        let secret = b"secret".to_vec();
        let keys = Authentication::Cryptographic(vec![Key { id: 1, algorithm: Algorithm::HmacSha256, secret }]);
        let mut packet = keys.sign(packet, 9, |_| false).remove(0);
        let place = place.min(packet.len() - 1);
        packet[place] ^= xor;
        conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, packet);
        prop_assert_eq!(conversation.state(), "none");
        prop_assert!(conversation.log.len() <= 1, "{:?}", conversation.log);
    }
}

#[test]
fn a_refused_neighbor_is_shown_until_it_is_silent_for_its_dead_interval_or_has_another_number() {
    let hello = |router: Ipv4Addr, hello_seconds: u16, dead: u32| {
        let hello = Hello::new([255, 255, 255, 254].into(), hello_seconds, dead, Options::E, 1);
        let packet = encode(PacketKind::Hello, router, BACKBONE, |into| hello.encode([OWN], into));
        Authentication::Null.sign(packet, 0, |_| false).remove(0)
    };
    let shown = |conversation: &Conversation| {
        let rows = conversation.core.show(conversation.now, "ospf interface", &[]).unwrap();
        rows[0][rows[0].len() - 2] != Value::Null
    };
    // Its hellos are rarer than this router's dead interval of 40 s, and said once nevertheless.
    let mut conversation = Conversation::new(&config(""));
    for _ in 0..3 {
        conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, hello(PEER, 60, 240));
        conversation.millis(60_000);
    }
    assert_eq!((conversation.log.len(), shown(&conversation)), (1, true), "{:?}", conversation.log);
    conversation.millis(179_000);
    assert!(shown(&conversation));
    conversation.millis(1_000);
    assert!(!shown(&conversation), "unplugged");
    // One that had this router's number has another one now.
    conversation.bytes(PEER_ADDRESS, ALL_SPF_ROUTERS, hello(OWN, 10, 40));
    assert!(shown(&conversation));
    conversation.hello();
    assert_eq!((conversation.state(), shown(&conversation)), ("ExStart".to_owned(), true), "perhaps both are there");
    for _ in 0..4 {
        conversation.millis(10_000);
        conversation.hello();
    }
    assert!(!shown(&conversation));
}

#[test]
fn who_invents_addresses_fills_neither_the_log_nor_the_table() {
    let mut conversation = Conversation::new(&config(""));
    let hello = encode(PacketKind::Hello, PEER, Ipv4Addr::new(0, 0, 0, 7), |into| {
        Conversation::usual_hello().encode([OWN], into);
    });
    let hello = Authentication::Null.sign(hello, 0, |_| false).remove(0);
    for address in 0..200 {
        conversation.bytes(Ipv4Addr::new(10, 0, 1, address), ALL_SPF_ROUTERS, hello.clone());
    }
    assert_eq!((conversation.log.len(), conversation.drops("area mismatch")), (32, 200));
}

#[test]
fn a_packet_of_another_subnet_is_dropped_on_a_broadcast_network() {
    let config = config("").replace("   network point-to-point\n", "");
    let mut conversation = Conversation::new(&config);
    conversation.bytes(Ipv4Addr::new(10, 9, 9, 9), ALL_SPF_ROUTERS, {
        let packet = encode(PacketKind::Hello, PEER, BACKBONE, |into| Conversation::usual_hello().encode([OWN], into));
        Authentication::Null.sign(packet, 0, |_| false).remove(0)
    });
    assert_eq!(conversation.drops("source not on the subnet"), 1);
    conversation.update(&[router_lsa(1)]);
    assert_eq!(conversation.drops("no such conversation"), 1);
}
