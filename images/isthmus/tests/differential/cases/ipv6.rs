//! IPv6: TCP, UDP, raw IP and groups.

use super::cases;
use crate::column::Vr;
use crate::host::{Until, Wishes};
use crate::scene::Scene;

cases! { "IPv6":
    an_echo_over_ipv6,
    a_loopback_over_ipv6,
    nobody_listens_on_ipv6,
    the_families_have_listeners_of_their_own,
    a_link_local_address_is_connected_to,
    a_link_local_address_is_listened_on,
    a_reset_over_ipv6,
    a_megabyte_over_ipv6,
    a_datagram_over_ipv6_and_its_answer,
    hop_limit_and_traffic_class_arrive_as_they_were_sent,
    a_datagram_to_a_link_local_address,
    an_ipv6_datagram_may_choose_its_source_address,
    an_ipv6_port_where_nobody_is_refuses_a_socket_with_a_peer_once,
    the_largest_ipv6_datagram_and_one_that_is_too_large,
    the_families_have_udp_ports_of_their_own,
    a_raw_ipv6_packet_and_its_answer,
    ospfv3_hellos_reach_all_that_joined,
    own_ipv6_messages_come_back_where_the_loop_is_on,
    of_several_addresses_that_of_the_subnet_is_spoken_with,
    a_connection_from_the_second_address_of_the_link,
    each_address_of_the_link_has_listeners_of_its_own,
}

/// AllSPFRouters (RFC 5340).
const HELLO: &str = "ff02::5";

fn an_echo_over_ipv6(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    let client = red.connect("[2001:db8::2]:7000");
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
    red.send(client, "hello");
    blue.receive(server, 100);
    blue.send(server, "hello yourself");
    red.receive(client, 100);
    blue.close(server);
    red.receive(client, 100);
}

fn a_loopback_over_ipv6(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    let client = red.connect("[2001:db8:1::2]:7000");
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
}

fn nobody_listens_on_ipv6(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    blue.listen("0.0.0.0:7000");
    red.connect("[2001:db8::2]:7000");
    red.connect("[2001:db8:1::2]:7000");
    red.connect_from(None, None, "[2001:db8:9::2]:7000");
}

fn the_families_have_listeners_of_their_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let four = blue.listen("0.0.0.0:7000");
    let six = blue.listen_as("[::]:7000", ", of IPv6 alone", 16, of_ipv6_alone());
    red.connect("[2001:db8::2]:7000");
    blue.accept(six);
    red.connect("10.0.0.2:7000");
    blue.accept(four);
    blue.accept_by_now(six);
}

fn a_link_local_address_is_connected_to(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    let client = red.connect("[blue%link]:7000");
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
    blue.send(server, "by the link");
    red.receive(client, 100);
}

fn a_link_local_address_is_listened_on(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[blue%link]:7000");
    red.connect("[2001:db8::2]:7000");
    red.connect("[blue%link]:7000");
    blue.accept(listener);
}

fn a_reset_over_ipv6(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    let client = red.connect("[2001:db8::2]:7000");
    let server = blue.accept(listener);
    blue.abort(server);
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    red.receive(client, 100);
}

fn a_megabyte_over_ipv6(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    let client = red.connect("[2001:db8::2]:7000");
    let server = blue.accept(listener);
    red.exchange(client, &mut blue, server, 1 << 20, 1 << 20);
}

fn a_datagram_over_ipv6_and_its_answer(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("[::]:4000");
    let server = blue.udp("[::]:5300");
    red.send_to(client, "[2001:db8::2]:5300", "question");
    blue.receive_from(server);
    blue.send_to(server, "[2001:db8::1]:4000", "answer");
    red.receive_from(client);
    red.send_to(client, "[2001:db8:1::2]:5300", "to the loopback");
    blue.receive_from(server);
}

fn hop_limit_and_traffic_class_arrive_as_they_were_sent(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("[::]:4000");
    let server = blue.udp("[::]:5300");
    for (hops, class) in [(1, 0), (255, 0xc0), (64, 0x10)] {
        red.send_with(client, "[2001:db8::2]:5300", hops, class, "look at me");
        blue.receive_from(server);
    }
}

fn a_datagram_to_a_link_local_address(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("[red%link]:4000");
    let server = blue.udp("[::]:5300");
    red.send_to(client, "[blue%link]:5300", "question");
    blue.receive_from(server);
    blue.send_to(server, "[red%link]:4000", "answer");
    red.receive_from(client);
}

fn an_ipv6_datagram_may_choose_its_source_address(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("[::]:4000");
    let server = blue.udp("[::]:5300");
    red.send_from(client, "2001:db8:1::1", "[2001:db8::2]:5300", "from the loopback");
    blue.receive_from(server);
}

fn an_ipv6_port_where_nobody_is_refuses_a_socket_with_a_peer_once(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("[::]:4000");
    red.aim(client, "[2001:db8::2]:5300");
    red.send_on(client, "is anybody there?");
    red.await_error(client);
    red.take_error(client);
}

fn the_largest_ipv6_datagram_and_one_that_is_too_large(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("[::]:4000");
    let server = blue.udp("[::]:5300");
    red.send_to(client, "[2001:db8::2]:5300", &"x".repeat(65_527));
    blue.receive_from(server);
    red.send_to(client, "[2001:db8::2]:5300", &"x".repeat(65_528));
    blue.receive_from_by_now(server);
}

fn the_families_have_udp_ports_of_their_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let four = blue.udp("0.0.0.0:5300");
    let six = blue.udp_as("[::]:5300", ", of IPv6 alone", of_ipv6_alone());
    blue.udp("[2001:db8::2]:5300");
    let (client, client6) = (red.udp("0.0.0.0:4000"), red.udp_as("[::]:4000", ", of IPv6 alone", of_ipv6_alone()));
    red.send_to(client, "10.0.0.2:5300", "four");
    red.send_to(client6, "[2001:db8::2]:5300", "six");
    blue.receive_from(six);
    blue.receive_from(four);
}

fn a_raw_ipv6_packet_and_its_answer(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let one = red.raw(89, "::");
    let (two, three) = (blue.raw(89, "::"), other.raw(89, "::"));
    red.send_with(one, "[2001:db8::2]:0", 1, 0xc0, "update");
    blue.receive_from(two);
    other.receive_from(three);
    blue.send_with(two, "[2001:db8::1]:0", 1, 0xc0, "acknowledgment");
    red.receive_from(one);
    red.send_to(one, "[2001:db8:1::2]:0", "to the loopback");
    blue.receive_from(two);
    red.send_to(one, "[blue%link]:0", "to the link");
    blue.receive_from(two);
}

fn ospfv3_hellos_reach_all_that_joined(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let one = red.raw(89, "red%link");
    let (two, three) = (blue.raw(89, "::"), other.raw(89, "::"));
    blue.join(two, HELLO);
    other.join(three, HELLO);
    blue.udp("[::]:5301");
    other.udp("[::]:5302");
    red.send_with(one, "[ff02::5]:0", 1, 0xc0, "hello");
    blue.receive_from(two);
    other.receive_from(three);
    blue.leave(two, HELLO);
    blue.leave(two, HELLO);
    blue.udp("[::]:5303");
    red.send_with(one, "[ff02::5]:0", 1, 0xc0, "hello?");
    other.receive_from(three);
    blue.receive_from_by_now(two);
}

fn own_ipv6_messages_come_back_where_the_loop_is_on(scene: &Scene<'_>) {
    let mut red = scene.process(Vr::Red);
    let loops = Wishes { loops: Some(true), ..Wishes::default() };
    let one = red.udp_as("[::]:1985", ", loop on", loops);
    red.join(one, "ff02::2");
    red.send_to(one, "[ff02::2]:1985", "to all routers");
    red.receive_from(one);
}

fn of_several_addresses_that_of_the_subnet_is_spoken_with(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    let server = blue.udp("[::]:5300");
    // Those of one subnet are equal, whatever bits of the host they have in common with the peer's.
    for to in ["2001:db8::2", "2001:db8:2::2", "2001:db8::12", "2001:db8:1::2"] {
        let client = red.connect(&format!("[{to}]:7000"));
        let accepted = blue.accept(listener);
        red.addresses(client);
        blue.addresses(accepted);
        let client = red.udp("[::]:0");
        red.send_to(client, &format!("[{to}]:5300"), "from where?");
        blue.receive_from(server);
        red.aim(client, &format!("[{to}]:5300"));
        red.own_address(client);
    }
}

fn a_connection_from_the_second_address_of_the_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    for own in ["2001:db8::11", "2001:db8:2::1"] {
        let client = red.connect_from(own.parse().ok(), None, "[2001:db8::2]:7000");
        let server = blue.accept(listener);
        red.addresses(client);
        blue.addresses(server);
    }
}

fn each_address_of_the_link_has_listeners_of_its_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let first = blue.listen("[2001:db8::2]:7000");
    let second = blue.listen("[2001:db8::12]:7000");
    let client = red.connect("[2001:db8::12]:7000");
    red.addresses(client);
    blue.accept(second);
    blue.accept_by_now(first);
    red.connect("[2001:db8:2::2]:7000");
    let (one, two) = (blue.udp("[2001:db8::2]:5300"), blue.udp("[2001:db8::12]:5300"));
    let client = red.udp("[2001:db8::11]:4000");
    red.send_to(client, "[2001:db8::12]:5300", "to the second");
    blue.receive_from(two);
    blue.receive_from_by_now(one);
    blue.send_to(two, "[2001:db8::11]:4000", "and back");
    red.receive_from(client);
}

/// Linux takes IPv4 with a socket of IPv6 unless told otherwise, the library does not.
fn of_ipv6_alone() -> Wishes {
    Wishes { v6_only: true, ..Wishes::default() }
}
