//! LSAs and their header, RFC 2328 section 12: what of it is a router's to say, and what it makes of others'.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ospf::auth::Authentication;
use ospf::packet::{
    BACKBONE, Body, Frame, LinkStateUpdate, Lsa, LsaKey, LsaType, MAX_AGE, Options, PacketKind, SequenceNumber,
    SummaryLsa, encode,
};
use sdk::core::{DatagramCommand, Input, Output, ProtocolCore};
use sdk::datagram::ProcessMessage;
use sdk::rib::{Redistributed, RedistributedChange, RibUpdate};

use crate::areas::{chain, lsas, routes};
use crate::network::{Network, Router, id, name};
use crate::peer::{ALL_SPF_ROUTERS, Conversation, OWN, PEER, config, router_lsa};

fn summary(id: [u8; 4], router: Ipv4Addr, metric: u32) -> Lsa {
    let key = LsaKey::new(LsaType::SummaryNetwork, id.into(), router);
    let body = SummaryLsa::encode(Ipv4Addr::new(255, 255, 255, 0), metric);
    Lsa::originate(key, Options::E, SequenceNumber(1), &body).unwrap()
}

/// Routes of other protocols, told to a router.
fn redistribute(network: &mut Network, router: usize, prefixes: &[&str]) {
    let route = |prefix: &&str| {
        let (prefix, protocol) = (prefix.parse().unwrap(), "static".to_owned());
        RedistributedChange::Set(Redistributed { prefix, protocol, metric: 0, tag: 0, interface: None, next_hop: None })
    };
    let changes = prefixes.iter().map(route).collect();
    network.input(router, Input::Rib(RibUpdate::Redistributed(changes)));
    network.seconds(10);
}

#[test]
fn section_12_1_1_an_lsa_goes_on_with_its_age_and_the_delay_of_the_link_and_never_above_max_age() {
    let key = LsaKey::new(LsaType::Router, PEER, PEER);
    for (delay, age, expected) in [("", 5, 16), ("transmit-delay 7", 5, 22), ("transmit-delay 60", 3_580, MAX_AGE)] {
        let mut conversation = Conversation::full(&config(delay));
        conversation.update(&[router_lsa(1).with_age(age)]);
        conversation.millis(10_000);
        conversation.request(&[key]);
        let sent = conversation.lsas.iter().find(|lsa| lsa.key() == key).unwrap();
        assert_eq!(sent.header.age, expected, "{delay}");
    }
}

#[test]
fn section_12_1_2_options_of_hellos_and_lsas_say_what_the_area_is_like() {
    let options = |lines: &str| {
        let network = chain(lines, "", "");
        let said = network.sent.iter().filter(|(_, router, _)| *router == 0);
        let (mut hellos, mut lsas) = (Vec::new(), Vec::new());
        for (_, _, message) in said {
            match Body::parse(&Frame::parse(&message.payload).unwrap()).unwrap() {
                Body::Hello(hello) => hellos.push(hello.options),
                Body::LinkStateUpdate(update) => {
                    lsas.extend(update.lsas().map(|lsa| lsa.unwrap().header.options));
                }
                Body::DatabaseDescription(_) | Body::LinkStateRequest(_) | Body::LinkStateAcknowledgment(_) => {}
            }
        }
        hellos.dedup();
        lsas.dedup();
        (hellos, lsas)
    };
    assert_eq!(options(""), (vec![Options::E], vec![Options::E | Options::O]));
    assert_eq!(options("stub"), (vec![Options::default()], vec![Options::O]));
    assert_eq!(options("nssa"), (vec![Options::NP], vec![Options::NP | Options::O]));
}

#[test]
fn section_12_1_3_the_type_says_how_far_an_lsa_goes() {
    let mut network = chain("", "", " redistribute static\n");
    redistribute(&mut network, 3, &["203.0.113.0/24"]);
    // Router 2 is between the backbone and area 2, router 0 in area 1.
    let areas = |router: usize, kind: &str| -> Vec<String> {
        let mut areas: Vec<String> =
            lsas(&network, router, kind).into_iter().map(|lsa| lsa.split(' ').next().unwrap().to_owned()).collect();
        areas.dedup();
        areas
    };
    assert_eq!(areas(2, "router"), ["0.0.0.0", "0.0.0.2"]);
    assert_eq!(areas(0, "router"), ["0.0.0.1"]);
    assert!(lsas(&network, 0, "router").iter().all(|lsa| !lsa.contains("192.0.2.4")), "that of area 2 stays there");
    assert_eq!(areas(0, "summary"), ["0.0.0.1"]);
    assert!(lsas(&network, 0, "summary").iter().all(|lsa| lsa.split(' ').nth(2) == Some("192.0.2.2")));
    for router in 0..4 {
        assert_eq!(lsas(&network, router, "external").len(), 1, "of the whole AS: router {router}");
    }
}

#[test]
fn section_12_1_4_the_link_state_id_is_what_the_type_wants() {
    let mut network = chain("", "", " redistribute static\n");
    redistribute(&mut network, 3, &["203.0.113.0/24"]);
    let ids = |kind: &str| -> Vec<String> {
        lsas(&network, 0, kind).into_iter().map(|lsa| lsa.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(ids("router"), ["192.0.2.1", "192.0.2.2"], "router IDs");
    assert_eq!(ids("summary"), ["10.0.1.0", "10.0.2.0", "192.0.2.2", "192.0.2.3", "192.0.2.4"], "networks");
    assert_eq!(ids("asbr-summary"), ["192.0.2.4"], "the boundary router's ID");
    assert_eq!(ids("external"), ["203.0.113.0"], "the network");
    // Of a network-LSA it is the designated router's address: `section_12_4_2_1`.
}

#[test]
fn section_12_1_5_a_router_with_another_id_takes_back_what_it_said_under_the_old_one() {
    let mut network = chain("", "", "");
    let other = "router ospf 1\n router-id 192.0.2.77\n area 1\n  interface Loopback0\n   network point-to-point\n  \
                 interface link-0\n   network point-to-point\n";
    network.configure(0, other);
    network.seconds(30);
    let routers: Vec<String> =
        lsas(&network, 1, "router").into_iter().filter(|lsa| lsa.starts_with("0.0.0.1 ")).collect();
    let advertising: Vec<&str> = routers.iter().filter_map(|lsa| lsa.split(' ').nth(2)).collect();
    assert_eq!(advertising, ["192.0.2.2", "192.0.2.77"]);
    assert!(routes(&network, 3).contains(&"192.0.2.1/32 3 via 10.0.2.0%link-2".to_owned()));
}

#[test]
fn section_12_1_7_the_checksum_covers_all_but_the_age() {
    let mut conversation = Conversation::full(&config(""));
    conversation.update(&[router_lsa(1).with_age(77)]);
    assert_eq!(conversation.drops("bad LSA checksum"), 0);
    let mut bytes = Vec::new();
    ospf::packet::LinkStateUpdate::encode([(&router_lsa(2), 5)].into_iter(), &mut bytes);
    // Behind the count: the age is the first two bytes of the LSA, the options the third.
    for place in 6..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        conversation.packet(ospf::packet::PacketKind::LinkStateUpdate, |into| into.extend(&damaged));
    }
    // Two bytes are the length: then it is that which is wrong.
    let wrong = conversation.drops("bad LSA checksum") + conversation.drops("bad LSA length");
    assert_eq!(wrong as usize, bytes.len() - 6);
}

#[test]
fn section_12_2_lsas_of_one_id_and_two_routers_are_two_and_a_newer_instance_replaces_the_old() {
    let mut conversation = Conversation::full(&config(""));
    let far = Ipv4Addr::new(192, 0, 2, 10);
    conversation.update(&[summary([10, 9, 0, 0], PEER, 1), summary([10, 9, 0, 0], far, 2)]);
    conversation.millis(1_000);
    let newer = SummaryLsa::encode(Ipv4Addr::new(255, 255, 255, 0), 3);
    let key = LsaKey::new(LsaType::SummaryNetwork, [10, 9, 0, 0].into(), far);
    conversation.update(&[Lsa::originate(key, Options::E, SequenceNumber(2), &newer).unwrap()]);
    let rows = conversation.core.show(conversation.now, "ospf database", &["summary".to_owned()]).unwrap();
    let shown: Vec<String> = rows.iter().map(|row| format!("{:?} {:?}", row[3], row[8])).collect();
    assert!(shown.len() == 2 && shown[0].contains("metric 1") && shown[1].contains("metric 3"), "{shown:?}");
}

#[test]
fn section_12_4_1_1_a_point_to_point_interface_is_a_stub_subnet_and_with_a_full_neighbor_a_link() {
    let network = chain("", "", "");
    let of = |router: usize| {
        lsas(&network, router, "router")
            .into_iter()
            .find(|lsa| lsa.starts_with(&format!("0.0.0.1 {0} {0} ", id(router))))
    };
    let expected = "0.0.0.1 192.0.2.1 192.0.2.1 stub 192.0.2.1/32 metric 0, point-to-point 192.0.2.2 by 10.0.0.0 metric 1, \
                    stub 10.0.0.0/31 metric 1";
    assert_eq!(of(0).as_deref(), Some(expected));
}

#[test]
fn section_12_4_1_2_a_broadcast_interface_is_a_stub_until_its_designated_router_is_full() {
    let mut network = Network::default();
    let segment = network.segment();
    let of_first = |network: &Network| {
        let own = lsas(network, 0, "router").into_iter().find(|lsa| lsa.starts_with("0.0.0.0 192.0.2.1 "));
        own.unwrap().splitn(4, ' ').nth(3).unwrap().to_owned()
    };
    for router in 0..2 {
        network.router(&format!("router ospf 1\n router-id {}\n area 0\n  interface lan\n", id(router)));
    }
    network.plug(0, "lan", "10.0.0.1/24", segment);
    network.seconds(10);
    assert_eq!(of_first(&network), "stub 10.0.0.0/24 metric 1", "waiting");
    network.seconds(60);
    assert_eq!(of_first(&network), "stub 10.0.0.0/24 metric 1", "designated router of nobody");
    network.plug(1, "lan", "10.0.0.2/24", segment);
    network.seconds(60);
    assert_eq!(of_first(&network), "transit 10.0.0.1 by 10.0.0.1 metric 1");
}

#[test]
fn section_12_4_2_a_network_lsa_is_there_while_somebody_is_full_with_the_designated_router() {
    let mut network = Network::default();
    let segment = network.segment();
    for router in 0..2 {
        network.router(&format!("router ospf 1\n router-id {}\n area 0\n  interface lan\n", id(router)));
        network.plug(router, "lan", &format!("10.0.0.{}/24", router + 1), segment);
    }
    network.seconds(60);
    let said = "0.0.0.0 10.0.0.2 192.0.2.2 network 10.0.0.0/24, router 192.0.2.1, router 192.0.2.2";
    assert_eq!(lsas(&network, 1, "network"), [said]);
    network.kill(0);
    network.seconds(60);
    assert_eq!(lsas(&network, 1, "network"), Vec::<String>::new());
}

#[test]
fn section_12_4_3_1_a_stub_area_is_told_a_default_route_of_the_configured_cost() {
    let network = chain("stub\ndefault-cost 5", "", "");
    let told = lsas(&network, 0, "summary");
    assert!(told.contains(&"0.0.0.1 0.0.0.0 192.0.2.2 0.0.0.0/0 metric 5".to_owned()), "{told:?}");
    assert!(lsas(&network, 2, "summary").iter().all(|lsa| !lsa.contains("0.0.0.0/0")), "only there");
}

#[test]
fn section_14_1_what_is_not_so_any_longer_is_flushed_at_max_age() {
    let mut network = chain("", "", " redistribute static\n");
    redistribute(&mut network, 3, &["203.0.113.0/24"]);
    assert_eq!(lsas(&network, 0, "external").len(), 1);
    network.sent.clear();
    let gone = vec![RedistributedChange::Withdraw("203.0.113.0/24".parse().unwrap())];
    network.input(3, Input::Rib(RibUpdate::Redistributed(gone)));
    network.seconds(1);
    let ages = network.sent.iter().filter(|(_, router, _)| *router == 3).flat_map(|(_, _, message)| {
        let frame = Frame::parse(&message.payload).unwrap();
        let Body::LinkStateUpdate(update) = Body::parse(&frame).unwrap() else { return Vec::new() };
        update.lsas().map(|lsa| lsa.unwrap().header.age).collect()
    });
    assert_eq!(ages.collect::<Vec<_>>(), [MAX_AGE]);
    (0..4).for_each(|router| assert_eq!(lsas(&network, router, "external"), Vec::<String>::new()));
}

#[test]
fn section_13_1_the_newer_of_two_instances_is_kept_whichever_comes_first() {
    // An LSA of a neighbor that began anew has a lower number: `SequenceNumber::INITIAL` is the lowest.
    for (first, second, kept) in [(1, 2, "0x00000002"), (2, 1, "0x00000002"), (i32::MIN + 1, 1, "0x00000001")] {
        let mut conversation = Conversation::full(&config(""));
        conversation.update(&[router_lsa(first)]);
        conversation.millis(1_000);
        conversation.update(&[router_lsa(second)]);
        let rows = conversation.core.show(conversation.now, "ospf database", &[]).unwrap();
        let row = rows.iter().find(|row| row[3] == PEER.to_string().as_str().into()).unwrap();
        assert_eq!(row[5], kept.into(), "{first} {second}");
    }
}

#[test]
fn section_13_4_a_network_lsa_of_an_address_that_is_this_routers_is_taken_back() {
    let mut conversation = Conversation::full(&config(""));
    // Of a time when another router ID was this router's.
    let key = LsaKey::new(LsaType::Network, Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(192, 0, 2, 77));
    let body = ospf::packet::NetworkLsa::encode(Ipv4Addr::new(255, 255, 255, 0), &[OWN, PEER]);
    conversation.update(&[Lsa::originate(key, Options::E, SequenceNumber(5), &body).unwrap()]);
    conversation.millis(1);
    assert!(conversation.said().contains(&format!("update [{key} 0x00000005 age {MAX_AGE}]")));
}

/// Three routers in a row, joined by point-to-point links.
fn row_of_three() -> Network {
    let mut network = Network::default();
    let segments = [network.segment(), network.segment()];
    let interface = |name: &str| format!("  interface {name}\n   network point-to-point\n");
    for router in 0..3 {
        let interfaces = interface("left") + &interface("right");
        network.router(&format!("router ospf 1\n router-id {}\n area 0\n{interfaces}", id(router)));
    }
    for (left, segment) in segments.into_iter().enumerate() {
        network.plug(left, "right", &format!("10.0.{left}.0/31"), segment);
        network.plug(left + 1, "left", &format!("10.0.{left}.1/31"), segment);
    }
    network.seconds(30);
    network.sent.clear();
    network
}

#[test]
fn section_13_4_a_router_somewhere_in_the_area_that_has_this_routers_number_is_said_once() {
    let mut network = row_of_three();
    let said = |network: &Network| -> Vec<usize> {
        let is_it = |line: &&String| line.contains("another router in area 0.0.0.0 has this router's ID");
        network.routers.iter().map(|router| router.log.iter().filter(is_it).count()).collect()
    };
    let interfaces = "  interface left\n   network point-to-point\n  interface right\n   network point-to-point\n";
    let config = |router: usize| format!("router ospf 1\n router-id {}\n area 0\n{interfaces}", id(router));
    // A router that restarts meets its former self, which is nobody.
    network.restart(0, &config(0));
    network.seconds(60);
    assert_eq!(said(&network), [0, 0, 0]);
    let shown = |network: &Network| -> Vec<String> {
        let of_one = |router: &Router| router.show(network.now, "ospf", &["duplicate_router_id_in"]);
        network.routers.iter().flat_map(of_one).collect()
    };
    assert_eq!(shown(&network), ["", "", ""]);
    network.configure(2, &config(0));
    network.seconds(300);
    assert_eq!(said(&network), [1, 0, 1], "{:?}", network.routers[0].log);
    assert_eq!(shown(&network), ["0.0.0.0", "", "0.0.0.0"]);
    network.configure(2, &config(2));
    network.seconds(120);
    assert_eq!(shown(&network), ["", "", ""]);
}

/// An update of the first of them to the second.
fn update_of_first(lsas: &[Lsa]) -> ProcessMessage {
    let update = |into: &mut Vec<u8>| LinkStateUpdate::encode(lsas.iter().map(|lsa| (lsa, 1)), into);
    let packet = encode(PacketKind::LinkStateUpdate, id(0), BACKBONE, update);
    let payload = Authentication::Null.sign(packet, 0, |_| false).remove(0);
    let mut message = ProcessMessage::to(SocketAddr::new(ALL_SPF_ROUTERS.into(), 0), payload);
    message.addresses.source = "10.0.0.0:0".parse().unwrap();
    message.interface = Some(name("left"));
    message
}

/// LSAs of an update; `None`: it is another packet.
fn lsas_of_update(message: &ProcessMessage) -> Option<usize> {
    let frame = Frame::parse(&message.payload).unwrap();
    match Body::parse(&frame).unwrap() {
        Body::LinkStateUpdate(update) => Some(update.lsas().count()),
        _ => None,
    }
}

#[test]
fn section_13_3_lsas_of_several_packets_that_come_together_go_on_in_one() {
    let mut network = row_of_three();
    for number in 0..5 {
        let message = update_of_first(&[summary([10, 9, number, 0], id(0), 7)]);
        network.input(1, Input::Datagram { socket: ospf::links::SOCKET, message: &message });
    }
    network.run(Duration::from_millis(10));
    let of_second = network.sent.iter().filter(|(_, router, _)| *router == 1);
    assert_eq!(of_second.filter_map(|(_, _, message)| lsas_of_update(message)).collect::<Vec<_>>(), [5]);
}

#[test]
fn section_13_3_what_came_goes_on_before_a_table_is_calculated() {
    let mut network = row_of_three();
    let now = network.now;
    let message = update_of_first(&[summary([10, 9, 0, 0], id(0), 7)]);
    let second = &mut network.routers[1];
    let runs = |router: &Router, now| router.show(now, "ospf spf log", &["reason"]).len();
    let before = runs(second, now);
    second.core.handle_input(now, Input::Datagram { socket: ospf::links::SOCKET, message: &message });
    second.core.handle_timeout(now);
    let sends = |output| match output {
        Output::Datagram { command: DatagramCommand::Send(message), .. } => lsas_of_update(&message),
        _ => None,
    };
    assert_eq!(std::iter::from_fn(|| second.core.poll_output()).find_map(sends), Some(1));
    assert_eq!(runs(second, now), before);
    let due = second.core.poll_timeout().unwrap();
    assert!(due <= now + Duration::from_micros(1), "{due}");
    second.core.handle_timeout(due);
    assert_eq!(runs(second, due), before + 1);
}

#[test]
fn section_13_3_what_fills_a_packet_goes_on_while_the_rest_is_taken_in_and_a_table_waits_for_it() {
    let mut network = row_of_three();
    let now = network.now;
    let lsas: Vec<Lsa> = (0..100).map(|number| summary([10, 9, number, 0], id(0), 7)).collect();
    let second = &mut network.routers[1];
    let sent = |core: &mut ospf::Ospf| {
        let sends = |output| match output {
            Output::Datagram { command: DatagramCommand::Send(message), .. } => lsas_of_update(&message),
            _ => None,
        };
        std::iter::from_fn(|| core.poll_output()).filter_map(sends).collect::<Vec<_>>()
    };
    for some in lsas.chunks(20) {
        let message = update_of_first(some);
        second.core.handle_input(now, Input::Datagram { socket: ospf::links::SOCKET, message: &message });
    }
    // 28 bytes each, behind the headers and the number of LSAs: 1,500 - 20 - 24 - 4.
    assert_eq!(sent(&mut second.core), [51]);
    second.core.handle_timeout(now);
    assert_eq!(sent(&mut second.core), [49]);
    assert_eq!(second.core.poll_timeout(), Some(now + Duration::from_nanos(99_001)));
}
