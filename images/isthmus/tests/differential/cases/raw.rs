//! Raw IP, by protocol number.

use super::cases;
use crate::column::Vr;
use crate::scene::Scene;

cases! { "Raw IP":
    a_packet_of_protocol_89_arrives,
    every_process_with_a_raw_socket_gets_a_copy,
    a_raw_packet_keeps_its_bounds,
    the_largest_packet_and_one_that_is_too_large,
    protocols_are_kept_apart,
    two_raw_sockets_of_a_process_get_a_copy_each,
    a_raw_socket_with_a_peer_hears_nobody_else,
    a_protocol_that_nobody_speaks_is_refused_to_a_socket_with_a_peer,
    a_raw_packet_to_an_own_address_comes_back,
    a_killed_sender_of_a_raw_packet_is_heard,
}

fn a_packet_of_protocol_89_arrives(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (one, two) = (red.raw(89, "0.0.0.0"), blue.raw(89, "0.0.0.0"));
    red.send_with(one, "10.0.0.2:0", 1, 0xc0, "update");
    blue.receive_from(two);
    blue.send_with(two, "10.0.0.1:0", 1, 0xc0, "acknowledgment");
    red.receive_from(one);
}

fn every_process_with_a_raw_socket_gets_a_copy(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let one = red.raw(89, "0.0.0.0");
    let (two, three) = (blue.raw(89, "0.0.0.0"), other.raw(89, "0.0.0.0"));
    red.send_to(one, "10.0.0.2:0", "update");
    blue.receive_from(two);
    other.receive_from(three);
}

fn a_raw_packet_keeps_its_bounds(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (one, two) = (red.raw(89, "0.0.0.0"), blue.raw(89, "0.0.0.0"));
    red.send_to(one, "10.0.0.2:0", "");
    red.send_to(one, "10.0.0.2:0", "one");
    red.send_to(one, "10.0.0.2:0", &"x".repeat(4000));
    for _ in 0..3 {
        blue.receive_from(two);
    }
    blue.receive_from_by_now(two);
}

fn the_largest_packet_and_one_that_is_too_large(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (one, two) = (red.raw(89, "0.0.0.0"), blue.raw(89, "0.0.0.0"));
    red.send_to(one, "10.0.0.2:0", &"x".repeat(65_515));
    blue.receive_from(two);
    red.send_to(one, "10.0.0.2:0", &"x".repeat(65_516));
    blue.receive_from_by_now(two);
}

fn protocols_are_kept_apart(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (ospf, pim) = (red.raw(89, "0.0.0.0"), red.raw(103, "0.0.0.0"));
    let (blue_ospf, blue_pim) = (blue.raw(89, "0.0.0.0"), blue.raw(103, "0.0.0.0"));
    red.send_to(ospf, "10.0.0.2:0", "of OSPF");
    red.send_to(pim, "10.0.0.2:0", "of PIM");
    blue.receive_from(blue_ospf);
    blue.receive_from(blue_pim);
    blue.receive_from_by_now(blue_ospf);
    blue.receive_from_by_now(blue_pim);
}

fn two_raw_sockets_of_a_process_get_a_copy_each(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let one = red.raw(89, "0.0.0.0");
    let (two, three) = (blue.raw(89, "0.0.0.0"), blue.raw(89, "10.0.0.2"));
    red.send_to(one, "10.0.0.2:0", "to the link");
    blue.receive_from(two);
    blue.receive_from(three);
    red.send_to(one, "192.0.2.2:0", "to the loopback");
    blue.receive_from(two);
    blue.receive_from_by_now(three);
}

fn a_raw_socket_with_a_peer_hears_nobody_else(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let two = blue.raw(89, "0.0.0.0");
    let (link, loopback) = (red.raw(89, "10.0.0.1"), red.raw(89, "192.0.2.1"));
    blue.aim(two, "192.0.2.1:0");
    red.send_to(link, "10.0.0.2:0", "from the link");
    red.send_to(loopback, "10.0.0.2:0", "from the loopback");
    blue.receive_from(two);
    blue.receive_from_by_now(two);
    blue.send_on(two, "answer");
    red.receive_from(loopback);
}

fn a_protocol_that_nobody_speaks_is_refused_to_a_socket_with_a_peer(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let one = red.raw(89, "0.0.0.0");
    red.aim(one, "10.0.0.2:0");
    red.send_on(one, "is anybody there?");
    red.await_error(one);
    red.take_error(one);
}

fn a_raw_packet_to_an_own_address_comes_back(scene: &Scene<'_>) {
    let mut red = scene.process(Vr::Red);
    let one = red.raw(89, "0.0.0.0");
    red.send_to(one, "192.0.2.1:0", "to myself");
    red.receive_from(one);
}

fn a_killed_sender_of_a_raw_packet_is_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let one = red.raw(89, "0.0.0.0");
    let (two, three) = (blue.raw(89, "0.0.0.0"), other.raw(89, "0.0.0.0"));
    red.send_and_die(one, "10.0.0.2:0", &["last words"]);
    blue.receive_from(two);
    other.receive_from(three);
}
