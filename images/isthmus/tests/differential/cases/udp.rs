//! UDP.

use super::cases;
use crate::column::Vr;
use crate::scene::Scene;

cases! { "UDP: datagrams":
    a_datagram_and_its_answer,
    a_datagram_to_a_loopback,
    datagrams_keep_their_bounds_and_their_order,
    nothing_has_come_yet,
    a_datagram_without_a_byte,
    the_largest_datagram,
    a_datagram_that_is_too_large,
    ttl_and_tos_arrive_as_they_were_sent,
    several_senders_are_heard_in_order,
    two_addresses_have_sockets_of_their_own,
    a_port_is_one_sockets,
    an_address_of_another_router_cannot_be_bound,
    with_a_peer_it_hears_nobody_else,
    a_port_where_nobody_is_refuses_a_socket_with_a_peer_once,
    a_port_where_nobody_is_says_nothing_to_a_socket_without_a_peer,
    who_speaks_with_another_refuses_a_socket_with_a_peer,
    who_speaks_with_another_says_nothing_to_a_socket_without_a_peer,
    who_turns_to_another_refuses_whom_it_heard_before,
    what_is_not_read_is_lost_at_the_end,
    a_closed_socket_is_not_reached,
    a_killed_sender_of_a_datagram_is_heard,
    a_killed_sender_of_many_datagrams_is_heard,
    a_killed_sender_of_the_largest_datagram_is_heard,
    a_killed_sender_of_a_datagram_to_its_peer_is_heard,
}

fn a_datagram_and_its_answer(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", "question");
    blue.receive_from(server);
    blue.send_to(server, "10.0.0.1:4000", "answer");
    red.receive_from(client);
}

fn a_datagram_to_a_loopback(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("192.0.2.1:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "192.0.2.2:5300", "from loopback to loopback");
    blue.receive_from(server);
}

fn datagrams_keep_their_bounds_and_their_order(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    for text in ["one", "two", "three"] {
        red.send_to(client, "10.0.0.2:5300", text);
    }
    for _ in 0..3 {
        blue.receive_from(server);
    }
    blue.receive_from_by_now(server);
}

fn nothing_has_come_yet(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    let server = blue.udp("0.0.0.0:5300");
    blue.receive_from_by_now(server);
}

fn a_datagram_without_a_byte(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", "");
    blue.receive_from(server);
}

fn the_largest_datagram(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", &"x".repeat(65_507));
    blue.receive_from(server);
}

fn a_datagram_that_is_too_large(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", &"x".repeat(65_508));
    red.send_to(client, "10.0.0.2:5300", "small");
    blue.receive_from(server);
}

fn ttl_and_tos_arrive_as_they_were_sent(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    for (ttl, tos) in [(1, 0), (255, 0xc0), (64, 0x10)] {
        red.send_with(client, "10.0.0.2:5300", ttl, tos, "look at me");
        blue.receive_from(server);
    }
}

fn several_senders_are_heard_in_order(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Red);
    let server = blue.udp("0.0.0.0:5300");
    let (one, two) = (red.udp("0.0.0.0:4001"), other.udp("0.0.0.0:4002"));
    for _ in 0..2 {
        red.send_to(one, "10.0.0.2:5300", "one");
        blue.receive_from(server);
        other.send_to(two, "10.0.0.2:5300", "two");
        blue.receive_from(server);
    }
}

fn two_addresses_have_sockets_of_their_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let link = blue.udp("10.0.0.2:5300");
    let loopback = blue.udp("192.0.2.2:5300");
    red.send_to(client, "192.0.2.2:5300", "loopback");
    red.send_to(client, "10.0.0.2:5300", "link");
    blue.receive_from(link);
    blue.receive_from(loopback);
    blue.receive_from_by_now(link);
}

fn a_port_is_one_sockets(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let first = blue.udp("0.0.0.0:5300");
    blue.udp("0.0.0.0:5300");
    other.udp("10.0.0.2:5300");
    blue.close(first);
    other.udp("10.0.0.2:5300");
}

fn an_address_of_another_router_cannot_be_bound(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    blue.udp("10.0.0.1:5300");
    blue.udp("203.0.113.1:5300");
}

fn with_a_peer_it_hears_nobody_else(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let server = blue.udp("0.0.0.0:5300");
    let (friend, stranger) = (red.udp("0.0.0.0:4001"), red.udp("0.0.0.0:4002"));
    blue.aim(server, "10.0.0.1:4001");
    red.send_to(stranger, "10.0.0.2:5300", "who are you?");
    red.send_to(friend, "10.0.0.2:5300", "it is me");
    blue.receive_from(server);
    blue.send_on(server, "welcome");
    red.receive_from(friend);
    blue.receive_from_by_now(server);
}

fn a_port_where_nobody_is_refuses_a_socket_with_a_peer_once(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    red.aim(client, "10.0.0.2:5300");
    red.send_on(client, "is anybody there?");
    red.receive_from(client);
    red.receive_from_by_now(client);
    red.send_on(client, "really not?");
    red.receive_from(client);
}

fn a_port_where_nobody_is_says_nothing_to_a_socket_without_a_peer(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    red.send_to(client, "10.0.0.2:5300", "is anybody there?");
    red.receive_from_by_now(client);
}

fn who_speaks_with_another_refuses_a_socket_with_a_peer(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let server = blue.udp("0.0.0.0:5300");
    blue.aim(server, "10.0.0.1:4999");
    let client = red.udp("0.0.0.0:4000");
    red.aim(client, "10.0.0.2:5300");
    red.send_on(client, "do you hear me?");
    red.receive_from(client);
    red.receive_from_by_now(client);
    red.send_on(client, "really not?");
    red.receive_from(client);
    blue.receive_from_by_now(server);
}

fn who_speaks_with_another_says_nothing_to_a_socket_without_a_peer(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let server = blue.udp("0.0.0.0:5300");
    blue.aim(server, "10.0.0.1:4999");
    let client = red.udp("0.0.0.0:4000");
    red.send_to(client, "10.0.0.2:5300", "do you hear me?");
    red.receive_from_by_now(client);
    blue.receive_from_by_now(server);
}

fn who_turns_to_another_refuses_whom_it_heard_before(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let server = blue.udp("0.0.0.0:5300");
    let client = red.udp("0.0.0.0:4000");
    red.aim(client, "10.0.0.2:5300");
    red.send_on(client, "do you hear me?");
    blue.receive_from(server);
    blue.aim(server, "10.0.0.1:4999");
    red.send_on(client, "and now?");
    red.receive_from(client);
    // It hears both again.
    let other = red.udp("0.0.0.0:4999");
    red.send_to(other, "10.0.0.2:5300", "it is me");
    blue.receive_from(server);
}

fn what_is_not_read_is_lost_at_the_end(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.flood(client, "10.0.0.2:5300", 6000);
    blue.collect(server, 6000);
    red.send_to(client, "10.0.0.2:5300", "and now?");
    blue.receive_from(server);
}

fn a_closed_socket_is_not_reached(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.aim(client, "10.0.0.2:5300");
    red.send_on(client, "hello");
    blue.receive_from(server);
    blue.close(server);
    // Another socket stands when every process has heard of the one that closed.
    blue.udp("0.0.0.0:5301");
    red.send_on(client, "hello?");
    red.receive_from(client);
}

fn a_killed_sender_of_a_datagram_is_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_and_die(client, "10.0.0.2:5300", &["last words"]);
    blue.receive_from(server);
    blue.receive_from_by_now(server);
}

fn a_killed_sender_of_many_datagrams_is_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_and_die(client, "10.0.0.2:5300", &["one", &"x".repeat(1400), "", "four"]);
    for _ in 0..4 {
        blue.receive_from(server);
    }
    blue.receive_from_by_now(server);
}

fn a_killed_sender_of_the_largest_datagram_is_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_and_die(client, "10.0.0.2:5300", &[&"x".repeat(65_507)]);
    blue.receive_cut(server, 10_000);
}

fn a_killed_sender_of_a_datagram_to_its_peer_is_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.aim(client, "10.0.0.2:5300");
    red.send_and_die(client, "10.0.0.2:5300", &["last words"]);
    blue.receive_from(server);
}
