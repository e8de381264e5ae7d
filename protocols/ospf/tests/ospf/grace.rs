//! A neighbor that restarts and is helped (RFC 3623), and one that tells too much.

use std::net::Ipv4Addr;

use ospf::packet::{Lsa, LsaKey, LsaType, MAX_AGE, Options, SequenceNumber};
use sdk::core::ProtocolCore;

use crate::network::tree;
use crate::peer::{Conversation, OWN, PEER, config, router_lsa};

fn grace(seconds: u32) -> Lsa {
    let key = LsaKey::new(LsaType::OpaqueLink, Ipv4Addr::new(3, 0, 0, 0), PEER);
    let body = [&[0, 1, 0, 4][..], &seconds.to_be_bytes()].concat();
    Lsa::originate(key, Options::E, SequenceNumber::INITIAL, &body).unwrap()
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
    assert_eq!(conversation.log.last().unwrap(), "WARN 8 LSAs of others; max-lsa is 10");
    conversation.update(&(8..20).map(external).collect::<Vec<_>>());
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
