//! The sections of RFC 2328 that say what a router does, one by one, in a conversation with a peer that the test plays.

use std::net::Ipv4Addr;

use ospf::auth::Authentication;
use ospf::packet::{
    BACKBONE, DatabaseDescription, DescriptionFlags, Hello, LinkStateUpdate, Lsa, LsaBody, LsaKey, LsaType, MAX_AGE,
    Options, PacketKind, RouterFlags, RouterLinkKind, RouterLsa, SequenceNumber, encode,
};

use crate::peer::{ALL_SPF_ROUTERS, Conversation, OWN, PEER, config, forged_lsa, router_lsa};

const OWN_LSA: LsaKey = LsaKey { kind: LsaType::Router, id: OWN, router: OWN };

/// The sequence number of the router's own LSA, as last heard.
fn own_sequence(conversation: &Conversation) -> i32 {
    conversation.lsas.iter().find(|lsa| lsa.key() == OWN_LSA).unwrap().header.sequence.0
}

#[test]
fn section_7_1_the_first_hello_is_answered_at_once() {
    let mut conversation = Conversation::new(&config(""));
    assert_eq!(conversation.said(), ["hello []"]);
    conversation.hello_with(Conversation::usual_hello(), &[]);
    conversation.millis(0);
    assert_eq!((conversation.state(), conversation.said()), ("Init".to_owned(), vec![format!("hello [{PEER}]")]));
}

#[test]
fn section_7_2_others_are_told_of_the_link_only_once_databases_are_the_same() {
    let mut conversation = Conversation::new(&config(""));
    let links = |conversation: &mut Conversation| {
        conversation.millis(300);
        let rows = sdk::core::ProtocolCore::show(&conversation.core, conversation.now, "ospf database", &[]).unwrap();
        let own = rows.into_iter().find(|row| row[2] == OWN.to_string().as_str().into()).unwrap();
        let sdk::show::Value::List(links) = own[8].clone() else { panic!("{own:?}") };
        links.len()
    };
    conversation.hello();
    conversation.describe("IMS", 100, &[]);
    conversation.describe("S", 101, &[router_lsa(1).header]);
    assert_eq!((conversation.state(), links(&mut conversation)), ("Loading".to_owned(), 1));
    conversation.update(&[router_lsa(1)]);
    assert_eq!((conversation.state(), links(&mut conversation)), ("Full".to_owned(), 2));
}

#[test]
fn section_9_5_hellos_go_out_at_their_interval() {
    let mut conversation = Conversation::full(&config(""));
    conversation.acknowledge_all();
    conversation.millis(35_000);
    assert_eq!(conversation.said(), vec![format!("hello [{PEER}]"); 3]);
}

#[test]
fn section_9_5_while_nobody_is_heard_on_a_link_that_came_up_hellos_come_early() {
    let mut conversation = Conversation::new(&config(""));
    conversation.millis(30_000);
    let at: Vec<&str> = conversation.record.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let early = ["0.000000", "0.050000", "0.150000", "0.350000", "0.750000"];
    assert_eq!(at, [&early[..], &["10.750000", "20.750000"]].concat());
    // What was said to a neighbor that still does not know that it is heard may be lost.
    conversation.said();
    for _ in 0..3 {
        conversation.hello_with(Conversation::usual_hello(), &[]);
        conversation.millis(0);
        assert_eq!(conversation.said(), [format!("hello [{PEER}]")]);
    }
}

#[test]
fn section_8_2_what_is_not_for_this_router_is_dropped_by_name() {
    let mut conversation = Conversation::new(&config(""));
    conversation.bytes(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 6), vec![0; 44]);
    conversation.bytes(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(224, 0, 0, 5), vec![0; 44]);
    conversation.update(&[router_lsa(1)]);
    for (reason, count) in [("wrong version", 1), ("no such conversation", 1), ("not for this router", 1)] {
        assert_eq!(conversation.drops(reason), count, "{reason}");
    }
}

#[test]
fn section_10_1_a_conversation_passes_through_its_states() {
    let mut conversation = Conversation::new(&config(""));
    let mut states = vec![conversation.state()];
    let mut then = |conversation: &mut Conversation, act: &dyn Fn(&mut Conversation)| {
        act(conversation);
        states.push(conversation.state());
    };
    then(&mut conversation, &|peer| peer.hello_with(Conversation::usual_hello(), &[]));
    // On a point-to-point link an adjacency is always wanted: 2-Way is passed at once.
    then(&mut conversation, &|peer| peer.hello());
    then(&mut conversation, &|peer| peer.describe("IMS", 100, &[]));
    then(&mut conversation, &|peer| peer.describe("S", 101, &[router_lsa(1).header]));
    then(&mut conversation, &|peer| peer.update(&[router_lsa(1)]));
    then(&mut conversation, &|peer| peer.interface(1500, false));
    assert_eq!(states, ["none", "Init", "ExStart", "Exchange", "Loading", "Full", "none"]);
}

#[test]
fn section_10_2_what_happens_to_a_full_neighbor_and_its_state_then() {
    type Happens = fn(&mut Conversation);
    let cases: [(&str, Happens, &str); 6] = [
        ("HelloReceived", |peer| peer.hello(), "Full"),
        ("1-WayReceived", |peer| peer.hello_with(Conversation::usual_hello(), &[]), "Init"),
        ("SeqNumberMismatch", |peer| peer.describe("S", 999, &[]), "ExStart"),
        ("BadLSReq", |peer| peer.request(&[LsaKey::new(LsaType::Network, PEER, PEER)]), "ExStart"),
        ("InactivityTimer", |peer| peer.millis(41_000), "none"),
        ("LLDown", |peer| peer.interface(1500, false), "none"),
    ];
    for (event, happens, state) in cases {
        let mut conversation = Conversation::full(&config(""));
        happens(&mut conversation);
        assert_eq!(conversation.state(), state, "{event}");
    }
}

#[test]
fn section_10_5_a_neighbor_that_is_silent_for_the_dead_interval_is_gone() {
    let mut conversation = Conversation::full(&config(""));
    conversation.millis(39_000);
    assert_eq!(conversation.state(), "Full");
    conversation.millis(1_000);
    assert_eq!(conversation.state(), "none");
}

#[test]
fn section_10_5_a_neighbor_that_does_not_hear_us_any_longer_begins_anew() {
    let mut conversation = Conversation::full(&config(""));
    conversation.hello_with(Conversation::usual_hello(), &[]);
    assert_eq!(conversation.state(), "Init");
    conversation.hello();
    assert_eq!(conversation.state(), "ExStart");
}

#[test]
fn section_10_6_as_slave_every_description_is_answered_and_a_repetition_answered_the_same() {
    let mut conversation = Conversation::new(&config(""));
    conversation.hello();
    assert_eq!(conversation.said_but_hellos(), ["describe IMS []"]);
    conversation.describe("IMS", 100, &[]);
    let answer = format!("describe  [router {OWN} of {OWN}]");
    assert_eq!((conversation.said_but_hellos(), conversation.sequence), (vec![answer.clone()], 100));
    conversation.describe("IMS", 100, &[]);
    assert_eq!((conversation.said_but_hellos(), conversation.sequence), (vec![answer], 100));
    conversation.describe("S", 101, &[]);
    assert_eq!((conversation.said_but_hellos(), conversation.sequence), (vec!["describe  []".to_owned()], 101));
    assert_eq!(conversation.state(), "Full");
}

#[test]
fn section_10_6_a_description_out_of_order_starts_the_exchange_anew() {
    for (flags, sequence) in [("S", 103), ("IMS", 101), ("", 101), ("S", 99)] {
        let mut conversation = Conversation::new(&config(""));
        conversation.hello();
        conversation.describe("IMS", 100, &[]);
        conversation.said();
        conversation.describe(flags, sequence, &[]);
        assert_eq!(conversation.state(), "ExStart", "{flags} {sequence}");
        assert_eq!(conversation.said_but_hellos(), ["describe IMS []"], "{flags} {sequence}");
    }
    // In Full, too, only the repetition of the last one is taken.
    let mut conversation = Conversation::full(&config(""));
    conversation.describe("S", 101, &[]);
    assert_eq!(conversation.state(), "Full");
    conversation.describe("S", 102, &[]);
    assert_eq!(conversation.state(), "ExStart");
}

#[test]
fn section_10_6_a_neighbor_with_a_larger_mtu_is_refused_and_taken_if_told_to() {
    let mut conversation = Conversation::new(&config(""));
    conversation.interface(1400, true);
    conversation.hello();
    for _ in 0..3 {
        conversation.describe("IMS", 100, &[]);
        conversation.hello();
    }
    assert_eq!((conversation.state(), conversation.drops("MTU mismatch")), ("ExStart".to_owned(), 3));
    assert_eq!(conversation.log, ["WARN neighbor 10.0.0.1 on link refused: MTU 1500 there, 1400 here"]);
    let mut conversation = Conversation::new(&config("mtu-ignore enable"));
    conversation.interface(1400, true);
    conversation.hello();
    conversation.describe("IMS", 100, &[]);
    assert_eq!(conversation.state(), "Exchange");
}

#[test]
fn section_10_8_a_description_that_is_not_answered_is_repeated() {
    let mut conversation = Conversation::new(&config("retransmit-interval 3"));
    conversation.hello();
    conversation.said();
    conversation.millis(7_000);
    assert_eq!(conversation.said_but_hellos(), ["describe IMS []", "describe IMS []"]);
}

#[test]
fn section_10_7_a_request_is_answered_and_one_for_what_is_not_there_starts_anew() {
    let mut conversation = Conversation::full(&config(""));
    conversation.request(&[OWN_LSA]);
    let sequence = SequenceNumber(own_sequence(&conversation));
    assert_eq!(conversation.said_but_hellos(), [format!("update [{OWN_LSA} {sequence} age 1]")]);
    conversation.request(&[LsaKey::new(LsaType::Router, PEER, PEER)]);
    assert_eq!(conversation.state(), "ExStart");
}

#[test]
fn section_10_9_what_is_new_is_asked_for_until_it_comes() {
    let mut conversation = Conversation::new(&config(""));
    conversation.hello();
    conversation.describe("IMS", 100, &[]);
    conversation.describe("S", 101, &[router_lsa(1).header]);
    assert_eq!(conversation.state(), "Loading");
    let request = format!("request [router {PEER} of {PEER}]");
    assert!(conversation.said().contains(&request));
    conversation.millis(5_000);
    assert!(conversation.said().contains(&request));
    conversation.update(&[router_lsa(1)]);
    assert_eq!(conversation.state(), "Full");
    conversation.said();
    conversation.millis(11_000);
    assert!(!conversation.said().contains(&request));
}

#[test]
fn section_10_9_no_more_is_asked_for_at_once_than_two_packets_carry() {
    let lsas: Vec<Lsa> = (0..60)
        .map(|number| {
            let key = LsaKey::new(LsaType::OpaqueArea, Ipv4Addr::new(200, 0, 0, number), PEER);
            Lsa::originate(key, Options::E, SequenceNumber(1), &[0; 80]).unwrap()
        })
        .collect();
    let headers: Vec<_> = lsas.iter().map(|lsa| lsa.header).collect();
    let mut conversation = Conversation::new(&config(""));
    conversation.hello();
    conversation.describe("IMS", 100, &[]);
    conversation.describe("S", 101, &headers);
    let asked = |said: Vec<String>| -> usize {
        said.iter().filter(|said| said.starts_with("request")).map(|said| said.matches(" of ").count()).sum()
    };
    assert_eq!(asked(conversation.said()), 28);
    conversation.update(&lsas[..27]);
    assert_eq!(asked(conversation.said()), 0);
    conversation.update(&lsas[27..28]);
    assert_eq!(asked(conversation.said()), 28);
    conversation.update(&lsas[28..56]);
    conversation.update(&lsas[56..]);
    assert_eq!(conversation.state(), "Full");
}

#[test]
fn section_12_1_6_the_sequence_number_wraps_only_after_the_last_instance_is_gone() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[forged_lsa(i32::MAX)]);
    conversation.millis(1_000);
    // The last number cannot be outdone: first it is flushed.
    let flushed = format!("update [{OWN_LSA} 0x7fffffff age {MAX_AGE}]");
    assert!(conversation.said().contains(&flushed));
    conversation.acknowledge_all();
    conversation.millis(6_000);
    assert_eq!(own_sequence(&conversation), SequenceNumber::INITIAL.0);
}

#[test]
fn section_12_4_1_a_link_is_announced_while_the_neighbor_is_full() {
    let links = |conversation: &Conversation| {
        let own = conversation.lsas.iter().find(|lsa| lsa.key() == OWN_LSA).unwrap();
        let LsaBody::Router(body) = own.body().unwrap() else { panic!("a router-LSA") };
        body.links()
            .map(|link| (link.kind, link.id.to_string(), link.data.to_string(), link.metric))
            .collect::<Vec<_>>()
    };
    let mut conversation = Conversation::full(&config("cost 7"));
    let stub = (RouterLinkKind::Stub, "10.0.0.0".to_owned(), "255.255.255.254".to_owned(), 7);
    let link = (RouterLinkKind::PointToPoint, PEER.to_string(), "10.0.0.0".to_owned(), 7);
    assert_eq!(links(&conversation), [link.clone(), stub.clone()]);
    // Of a stub router (RFC 6987) others' packets come last, those for itself do not.
    let last_resort = config("cost 7").replace(" area 0", " max-metric router-lsa\n area 0");
    conversation = Conversation::full(&last_resort);
    assert_eq!(links(&conversation), [(link.0, link.1, link.2, 0xffff), stub]);
}

#[test]
fn section_12_4_an_own_lsa_is_refreshed_before_it_is_half_an_hour_old() {
    let mut conversation = Conversation::full(&config(""));
    let before = own_sequence(&conversation);
    for _ in 0..60 {
        conversation.millis(30_000);
        conversation.hello();
        conversation.acknowledge_all();
    }
    assert_eq!(own_sequence(&conversation), before + 1);
}

#[test]
fn section_13_each_wrong_lsa_is_dropped_by_its_name() {
    let mut conversation = Conversation::full(&config(""));
    let mut damaged = Vec::new();
    LinkStateUpdate::encode([(&router_lsa(1), 0)].into_iter(), &mut damaged);
    damaged[20] ^= 1;
    conversation.packet(PacketKind::LinkStateUpdate, |into| into.extend(&damaged));
    conversation.update(&[router_lsa(1).with_age(MAX_AGE + 1)]);
    let type_7 = LsaKey::new(LsaType::Nssa, PEER, PEER);
    let external = [255, 255, 255, 255, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    conversation.update(&[Lsa::originate(type_7, Options::E, SequenceNumber(1), &external).unwrap()]);
    for reason in ["bad LSA checksum", "bad LSA age", "LSA type not of this area"] {
        assert_eq!(conversation.drops(reason), 1, "{reason}");
    }
    assert_eq!((conversation.state(), conversation.said_but_hellos().len()), ("Full".to_owned(), 0));
}

#[test]
fn section_13_step_4_the_end_of_an_lsa_that_is_not_known_is_acknowledged_and_forgotten() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[router_lsa(1).with_age(MAX_AGE)]);
    assert_eq!(conversation.said_but_hellos(), [format!("acknowledge [router {PEER} of {PEER} 0x00000001]")]);
}

#[test]
fn section_13_step_5_the_newest_of_the_instances_that_come_too_fast_waits_for_its_time() {
    let mut conversation = Conversation::full(&config(""));
    let sequence = |conversation: &Conversation| {
        let rows = sdk::core::ProtocolCore::show(&conversation.core, conversation.now, "ospf database", &[]).unwrap();
        let row = rows.into_iter().find(|row| row[3] == PEER.to_string().as_str().into()).unwrap();
        format!("{:?}", row[5])
    };
    let waits = |conversation: &Conversation| assert!(sequence(conversation).contains("0x00000001"));
    conversation.update(&[router_lsa(1)]);
    conversation.millis(50);
    conversation.update(&[router_lsa(2)]);
    waits(&conversation);
    assert_eq!(conversation.drops("LSA too soon"), 0);
    conversation.update(&[router_lsa(3)]);
    conversation.update(&[router_lsa(2)]);
    waits(&conversation);
    assert_eq!(conversation.drops("LSA too soon"), 2);
    conversation.millis(49);
    waits(&conversation);
    conversation.millis(1);
    assert!(sequence(&conversation).contains("0x00000003"));
    // What waited is acknowledged once it is taken; what did not, never.
    conversation.millis(300);
    let one = |number: u32| format!("router {PEER} of {PEER} 0x{number:08x}");
    assert_eq!(conversation.said_but_hellos(), [format!("acknowledge [{}, {}]", one(1), one(3))]);
}

#[test]
fn section_13_step_7_a_duplicate_is_acknowledged_at_once() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[router_lsa(1)]);
    conversation.millis(300);
    conversation.said();
    conversation.update(&[router_lsa(1)]);
    assert_eq!(conversation.said_but_hellos(), [format!("acknowledge [router {PEER} of {PEER} 0x00000001]")]);
}

#[test]
fn section_13_step_8_who_sends_an_older_instance_gets_the_newer_one() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[router_lsa(7)]);
    conversation.millis(300);
    conversation.said();
    conversation.update(&[router_lsa(6)]);
    assert_eq!(conversation.said_but_hellos(), [format!("update [router {PEER} of {PEER} 0x00000007 age 1]")]);
}

#[test]
fn section_13_step_8_the_newer_one_is_sent_once_in_a_while_and_not_while_its_number_wraps() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[router_lsa(7)]);
    conversation.millis(300);
    conversation.said();
    let mut answers = |wait: u64| {
        conversation.millis(wait);
        conversation.update(&[router_lsa(6)]);
        conversation.said_but_hellos().len()
    };
    assert_eq!([answers(0), answers(0), answers(99), answers(1)], [1, 0, 0, 1]);
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[forged_lsa(i32::MAX)]);
    conversation.millis(1_000);
    conversation.said();
    conversation.update(&[forged_lsa(i32::MAX - 1)]);
    assert_eq!(conversation.said_but_hellos(), Vec::<String>::new());
}

#[test]
fn section_13_4_who_forges_our_lsa_is_outdone() {
    let mut conversation = Conversation::full(&config(""));
    let before = own_sequence(&conversation);
    conversation.update(&[forged_lsa(before + 1000)]);
    conversation.millis(1_000);
    assert_eq!(own_sequence(&conversation), before + 1001);
    // One of a type that we do not originate is flushed.
    let summary = LsaKey::new(LsaType::SummaryNetwork, Ipv4Addr::new(10, 9, 0, 0), OWN);
    let body = [255, 255, 0, 0, 0, 0, 0, 1];
    conversation.update(&[Lsa::originate(summary, Options::E, SequenceNumber(5), &body).unwrap()]);
    conversation.millis(1);
    assert!(conversation.said().contains(&format!("update [{summary} 0x00000005 age {MAX_AGE}]")));
}

#[test]
fn section_13_5_acknowledgments_wait_for_company() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[router_lsa(1)]);
    conversation.millis(100);
    assert_eq!(conversation.said_but_hellos().len(), 0);
    let network = LsaKey::new(LsaType::SummaryNetwork, Ipv4Addr::new(10, 9, 0, 0), PEER);
    let body = [255, 255, 0, 0, 0, 0, 0, 1];
    conversation.update(&[Lsa::originate(network, Options::E, SequenceNumber(5), &body).unwrap()]);
    conversation.millis(100);
    let said = format!("acknowledge [router {PEER} of {PEER} 0x00000001, {network} 0x00000005]");
    assert_eq!(conversation.said_but_hellos(), [said]);
}

#[test]
fn section_13_6_what_is_not_acknowledged_is_sent_again_and_what_is_not_again() {
    let mut conversation = Conversation::full(&config("retransmit-interval 4"));
    conversation.interface(1500, false);
    conversation.interface(1500, true);
    conversation.hello();
    conversation.describe("IMS", 200, &[]);
    conversation.describe("S", 201, &[]);
    conversation.millis(400);
    let updates = |said: Vec<String>| said.iter().filter(|said| said.starts_with("update")).count();
    assert_eq!(updates(conversation.said()), 1);
    conversation.millis(1_000);
    assert_eq!(updates(conversation.said()), 1, "early, for a neighbor that dropped it as too soon");
    conversation.millis(8_000);
    assert_eq!(updates(conversation.said()), 2);
    conversation.acknowledge_all();
    conversation.millis(9_000);
    assert_eq!(updates(conversation.said()), 0);
}

#[test]
fn section_13_7_only_the_instance_that_was_sent_can_be_acknowledged() {
    let mut conversation = Conversation::full(&config("retransmit-interval 1"));
    conversation.interface(1500, false);
    conversation.interface(1500, true);
    conversation.hello();
    conversation.describe("IMS", 200, &[]);
    conversation.describe("S", 201, &[]);
    conversation.millis(400);
    let waiting = |conversation: &Conversation| {
        let rows = sdk::core::ProtocolCore::show(&conversation.core, conversation.now, "ospf neighbor", &[]).unwrap();
        rows[0][9].clone()
    };
    let sent = conversation.lsas.iter().find(|lsa| lsa.key() == OWN_LSA).unwrap().header;
    let another = SequenceNumber(sent.sequence.0 - 1);
    conversation.acknowledge(&[ospf::packet::LsaHeader { sequence: another, ..sent }]);
    assert_eq!(waiting(&conversation), 1u64.into(), "an older one");
    conversation.acknowledge(&[sent]);
    assert_eq!(waiting(&conversation), 0u64.into());
}

#[test]
fn section_14_an_lsa_that_nobody_refreshes_is_flushed_and_forgotten() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[router_lsa(1).with_age(MAX_AGE - 20)]);
    conversation.millis(10_000);
    conversation.hello();
    conversation.said();
    // Ages are looked at once a second.
    conversation.millis(11_000);
    assert!(conversation.said().contains(&format!("update [router {PEER} of {PEER} 0x00000001 age {MAX_AGE}]")));
    conversation.acknowledge(&[router_lsa(1).with_age(MAX_AGE).header]);
    let rows = sdk::core::ProtocolCore::show(&conversation.core, conversation.now, "ospf database", &[]).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
}

#[test]
fn section_10_5_each_field_that_does_not_agree_is_said_once_and_by_name() {
    type Change = fn(&mut Hello<'_>);
    let cases: [(Change, &str); 4] = [
        (|hello| hello.hello_interval = 5, "hello-interval 5 there, 10 here"),
        (|hello| hello.dead_interval = 20, "dead-interval 20 there, 40 here"),
        (
            |hello| hello.options = Options::default(),
            "external routes (E), so a stub area or NSSA on one side only: no there, yes here",
        ),
        (|hello| hello.options = Options::E | Options::NP, "NSSA (N): yes there, no here"),
    ];
    for (change, text) in cases {
        let mut hello = Conversation::usual_hello();
        change(&mut hello);
        let mut conversation = Conversation::new(&config(""));
        conversation.hello_with(hello, &[OWN]);
        conversation.hello_with(hello, &[OWN]);
        assert_eq!(conversation.log, [format!("WARN neighbor 10.0.0.1 on link refused: {text}")]);
        assert_eq!((conversation.state(), conversation.drops("hello parameters mismatch")), ("none".to_owned(), 2));
        // Once it agrees, nothing is left of it.
        conversation.hello();
        assert_eq!(conversation.state(), "ExStart");
        let rows = sdk::core::ProtocolCore::show(&conversation.core, conversation.now, "ospf interface", &[]).unwrap();
        let because = rows[0].len() - 2;
        assert_eq!(rows[0][because], sdk::show::Value::Null);
    }
}

#[test]
fn rfc_5250_opaque_lsas_are_kept_and_the_unknown_is_carried_along() {
    let mut conversation = Conversation::full(&config(""));
    for kind in [LsaType::OpaqueLink, LsaType::OpaqueArea, LsaType::OpaqueAs] {
        let key = LsaKey::new(kind, Ipv4Addr::new(200, 0, 0, 1), PEER);
        conversation.update(&[Lsa::originate(key, Options::E, SequenceNumber(1), b"whatever it is").unwrap()]);
        conversation.said();
        conversation.request(&[key]);
        assert_eq!(conversation.said_but_hellos(), [format!("update [{key} 0x00000001 age 1]")]);
    }
}

#[test]
fn rfc_5250_opaque_lsas_are_described_to_those_who_understand_them() {
    let key = LsaKey::new(LsaType::OpaqueArea, Ipv4Addr::new(200, 0, 0, 1), PEER);
    for (options, is_described) in [(Options::E | Options::O, true), (Options::E, false)] {
        let mut conversation = Conversation::full(&config(""));
        conversation.update(&[Lsa::originate(key, Options::E, SequenceNumber(1), b"whatever it is").unwrap()]);
        conversation.interface(1500, false);
        conversation.interface(1500, true);
        conversation.hello();
        conversation.said();
        conversation.describe_with(options, "IMS", 100, &[]);
        let said = conversation.said_but_hellos().join(" ");
        assert!(said.starts_with("describe ") && said.contains(&key.to_string()) == is_described, "{said}");
    }
}

#[test]
fn rfc_5250_opaque_lsas_go_on_to_those_who_understand_them() {
    // A second neighbor on the link, which says in its descriptions whether it does.
    let (second, address) = (Ipv4Addr::new(192, 0, 2, 10), Ipv4Addr::new(10, 0, 0, 2));
    let key = LsaKey::new(LsaType::OpaqueArea, Ipv4Addr::new(200, 0, 0, 1), PEER);
    for (options, goes_on) in [(Options::E | Options::O, true), (Options::E, false)] {
        let mut conversation = Conversation::full(&config(""));
        let mut says = |kind, body: &dyn Fn(&mut Vec<u8>)| {
            let packet = Authentication::Null.sign(encode(kind, second, BACKBONE, body), 0, |_| false).remove(0);
            conversation.bytes(address, ALL_SPF_ROUTERS, packet);
        };
        says(PacketKind::Hello, &|into| Conversation::usual_hello().encode([OWN], into));
        for (sequence, flags) in [(300, 0b111), (301, 0b001)] {
            let description = DatabaseDescription::new(1500, options, DescriptionFlags(flags), sequence);
            says(PacketKind::DatabaseDescription, &|into| description.encode(&[], into));
        }
        conversation.millis(1_000);
        conversation.acknowledge_all();
        conversation.said();
        conversation.update(&[Lsa::originate(key, Options::E, SequenceNumber(1), b"whatever it is").unwrap()]);
        conversation.millis(10);
        let update = format!("update [{key} 0x00000001 age 1]");
        assert_eq!(conversation.said().contains(&update), goes_on, "{options:?}");
    }
}

#[test]
fn section_12_4_1_flags_of_a_router_say_what_it_is() {
    let flags = |config: &str| {
        let conversation = Conversation::full(config);
        let own = conversation.lsas.iter().find(|lsa| lsa.key() == OWN_LSA).unwrap();
        let LsaBody::Router(body) = own.body().unwrap() else { panic!("a router-LSA") };
        assert_eq!(RouterLsa::encode(body.flags, &body.links().collect::<Vec<_>>()), own.body_bytes());
        body.flags
    };
    assert_eq!(flags(&config("")), RouterFlags::default());
    let boundary = config("").replace(" area 0", " default-information originate always\n area 0");
    assert_eq!(flags(&boundary), RouterFlags::E);
}
