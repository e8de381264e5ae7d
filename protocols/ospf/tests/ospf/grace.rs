//! A neighbor that restarts and is helped (RFC 3623), and one that tells too much.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ospf::auth::Authentication;
use ospf::packet::{
    BACKBONE, LinkStateUpdate, Lsa, LsaKey, LsaType, MAX_AGE, Options, PacketKind, RouterFlags, RouterLsa,
    SequenceNumber, encode,
};
use sdk::core::{Input, ProtocolCore};
use sdk::datagram::ProcessMessage;

use crate::convergence::{Joined, three};
use crate::network::{Network, id, name, states, tree};
use crate::peer::{ALL_SPF_ROUTERS, Conversation, OWN, PEER, config, router_lsa};

fn grace(seconds: u32) -> Lsa {
    grace_of(PEER, seconds, &[])
}

/// The same by some router, with more TLVs.
fn grace_of(router: Ipv4Addr, seconds: u32, more: &[u8]) -> Lsa {
    let key = LsaKey::new(LsaType::OpaqueLink, Ipv4Addr::new(3, 0, 0, 0), router);
    let body = [&[0, 1, 0, 4][..], &seconds.to_be_bytes(), more].concat();
    Lsa::originate(key, Options::E, SequenceNumber::INITIAL, &body).unwrap()
}

/// Whether it was said that a neighbor is helped.
fn is_helped(conversation: &Conversation) -> bool {
    conversation.log.iter().any(|line| line.contains("restarts and is helped"))
}

/// Full, and nothing waits for an acknowledgment.
fn full() -> Conversation {
    let mut conversation = Conversation::full(&config(""));
    conversation.acknowledge_all();
    conversation
}

/// Whether the router said anything new of its links.
fn originates(conversation: &mut Conversation) -> bool {
    conversation.said().iter().any(|said| said.starts_with("update") && said.contains(&OWN.to_string()))
}

#[test]
fn rfc_3623_a_neighbor_that_restarts_stays_in_what_is_told_until_it_is_back() {
    let mut conversation = full();
    conversation.update(&[grace(120)]);
    conversation.millis(60_000);
    assert_eq!((conversation.state(), originates(&mut conversation)), ("Full".to_owned(), false));
    // It is back and hears nobody yet.
    conversation.hello_with(Conversation::usual_hello(), &[]);
    conversation.millis(1000);
    assert_eq!((conversation.state(), originates(&mut conversation)), ("Init".to_owned(), false));
    conversation.hello();
    conversation.describe("IMS", 300, &[]);
    conversation.describe("S", 301, &[]);
    assert_eq!(conversation.state(), "Full");
    conversation.update(&[grace(120).with_age(MAX_AGE)]);
    conversation.millis(5000);
    assert!(!originates(&mut conversation), "nothing was ever different");
    let log = conversation.log.join("\n");
    assert!(log.contains("is helped for 120 s") && log.contains("Full, is helped no longer: it is back"), "{log}");
}

#[test]
fn rfc_3623_help_ends_with_its_time_and_when_the_network_changes() {
    let mut conversation = full();
    conversation.update(&[grace(90)]);
    conversation.millis(89_000);
    assert_eq!((conversation.state(), originates(&mut conversation)), ("Full".to_owned(), false));
    conversation.millis(1000);
    assert_eq!((conversation.state(), originates(&mut conversation)), ("none".to_owned(), false), "nobody hears it");
    assert!(conversation.log.join("\n").contains("its time is over"), "{:?}", conversation.log);

    let mut conversation = full();
    conversation.update(&[grace(120)]);
    conversation.millis(60_000);
    let other_cost = ospf::Ospf::read_config(&tree(&config("cost 9"))).unwrap();
    conversation.core.configure(conversation.now, other_cost).unwrap();
    conversation.millis(6000);
    assert_eq!(conversation.state(), "none");
    assert!(conversation.log.join("\n").contains("the network changed meanwhile"), "{:?}", conversation.log);
}

#[test]
fn rfc_3623_what_the_neighbor_itself_says_meanwhile_does_not_end_help() {
    let mut conversation = full();
    conversation.update(&[router_lsa(1)]);
    conversation.millis(1_000);
    conversation.update(&[grace(120)]);
    // As one does that has just begun, and finds its own LSA of before.
    let key = LsaKey::new(LsaType::Router, PEER, PEER);
    let body = RouterLsa::encode(RouterFlags::E, &[]);
    conversation.update(&[Lsa::originate(key, Options::E, SequenceNumber(2), &body).unwrap()]);
    conversation.millis(60_000);
    assert_eq!(conversation.state(), "Full");
}

#[test]
fn rfc_3623_a_designated_router_that_restarts_stays_it_though_its_first_hello_does_not_know() {
    let (mut network, configs) = three(Joined::OnLan);
    let own = id(2);
    let grace = grace_of(own, 120, &[0, 3, 0, 4, 10, 0, 0, 3]);
    let update = |into: &mut Vec<u8>| LinkStateUpdate::encode([(&grace, 1)].into_iter(), into);
    let packet = encode(PacketKind::LinkStateUpdate, own, BACKBONE, update);
    let payload = Authentication::Null.sign(packet, 0, |_| false).remove(0);
    let mut message = ProcessMessage::to(SocketAddr::new(ALL_SPF_ROUTERS.into(), 0), payload);
    message.addresses.source = "10.0.0.3:0".parse().unwrap();
    message.interface = Some(name("lan"));
    let designated = |network: &Network, router: usize| {
        network.routers[router].show(network.now, "ospf interface", &["designated_router"])[1].clone()
    };
    for router in 0..2 {
        assert_eq!(designated(&network, router), "10.0.0.3");
        network.input(router, Input::Datagram { socket: ospf::links::SOCKET, message: &message });
        assert!(network.routers[router].log.iter().any(|line| line.contains("restarts and is helped")));
    }
    network.restart(2, &configs[2]);
    // Its first hello is there, and an answer not yet.
    network.run(Duration::from_micros(150));
    for router in 0..2 {
        assert_eq!(states(&network, router).iter().filter(|state| *state == "Init").count(), 1);
        assert_eq!(designated(&network, router), "10.0.0.3");
    }
}

#[test]
fn rfc_3623_help_is_for_at_most_half_an_hour() {
    let mut conversation = full();
    conversation.update(&[grace(7200)]);
    conversation.millis(1_799_000);
    assert_eq!(conversation.state(), "Full");
    conversation.millis(1_000);
    assert_eq!(conversation.state(), "none");
}

#[test]
fn rfc_3623_a_neighbor_is_named_by_its_address_where_its_number_is_another() {
    let other = Ipv4Addr::new(192, 0, 2, 99);
    for (address, is_it) in [([10, 0, 0, 1], true), ([10, 0, 0, 77], false)] {
        let mut conversation = full();
        let address = [&[0, 3, 0, 4][..], &address].concat();
        conversation.update(&[grace_of(other, 120, &address)]);
        assert_eq!(is_helped(&conversation), is_it);
    }
}

#[test]
fn rfc_3623_a_neighbor_that_has_not_acknowledged_everything_is_not_helped() {
    let mut conversation = full();
    conversation.millis(10_000);
    let other_cost = ospf::Ospf::read_config(&tree(&config("cost 9"))).unwrap();
    conversation.core.configure(conversation.now, other_cost).unwrap();
    conversation.millis(100);
    conversation.update(&[grace(120)]);
    assert!(!is_helped(&conversation), "{:?}", conversation.log);
    conversation.acknowledge_all();
    conversation.update(&[grace(120).with_age(MAX_AGE)]);
    conversation.millis(1_000);
    conversation.update(&[grace(120)]);
    assert!(is_helped(&conversation), "{:?}", conversation.log);
}

#[test]
fn a_neighbor_that_is_not_full_is_not_helped() {
    let mut conversation = Conversation::new(&config(""));
    conversation.hello();
    conversation.describe("IMS", 100, &[]);
    conversation.update(&[grace(120)]);
    conversation.millis(60_000);
    assert_eq!(conversation.state(), "none");
}

#[test]
fn one_who_is_told_too_much_forgets_it_and_is_silent_for_a_while() {
    let limited = config("").replace(" area 0", " max-lsa 10\n area 0");
    let mut conversation = Conversation::full(&limited);
    let external = |number: u8| {
        let key = LsaKey::new(LsaType::External, Ipv4Addr::new(10, number, 0, 0), PEER);
        let mut body = vec![255, 255, 0, 0, 0x80, 0, 0, 1];
        body.extend([0; 8]);
        Lsa::originate(key, Options::E, SequenceNumber::INITIAL, &body).unwrap()
    };
    conversation.update(&(0..8).map(external).collect::<Vec<_>>());
    assert_eq!(conversation.state(), "Full");
    let warnings =
        |conversation: &Conversation| conversation.log.iter().filter(|line| line.contains("max-lsa")).count();
    assert_eq!(conversation.log.last().unwrap(), "WARN 8 LSAs of others; max-lsa is 10");
    conversation.update(&[external(8)]);
    assert_eq!(warnings(&conversation), 1, "{:?}", conversation.log);
    conversation.update(&(9..20).map(external).collect::<Vec<_>>());
    assert_eq!(conversation.state(), "none");
    let said = "ERROR 20 LSAs of others are more than max-lsa 10: silent for 300s";
    assert!(conversation.log.contains(&said.to_owned()), "{:?}", conversation.log);
    conversation.said();
    conversation.hello();
    conversation.millis(299_000);
    assert_eq!((conversation.said(), conversation.state()), (vec![], "none".to_owned()));
    conversation.millis(1000);
    assert_eq!(conversation.said(), ["hello []"]);
    conversation.hello();
    conversation.describe("IMS", 400, &[]);
    conversation.describe("S", 401, &[]);
    conversation.update(&[router_lsa(1)]);
    assert_eq!(conversation.state(), "Full");
}
