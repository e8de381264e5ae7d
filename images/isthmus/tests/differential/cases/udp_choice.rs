//! UDP: addresses, shared ports, readiness, and who else hears.

use super::cases;
use crate::column::Vr;
use crate::host::{Link, Until, Wishes};
use crate::scene::Scene;

cases! { "UDP: addresses, shared ports, readiness":
    a_port_is_chosen_where_none_is_asked_for,
    the_way_decides_the_source_address,
    a_datagram_may_choose_its_source_address,
    a_datagram_is_cut_to_the_room_and_says_so,
    a_broadcast_is_refused,
    there_is_no_port_0_to_send_to,
    a_shared_port_is_heard_by_who_came_last,
    the_socket_that_fits_best_hears_a_datagram,
    another_peer_takes_the_place_of_the_first,
    readiness_of_a_datagram_socket,
    an_error_shows_in_the_readiness_until_it_was_told,
    a_datagram_to_an_own_address_comes_back,
    a_dead_process_is_not_reached,
    a_socket_on_the_link_hears_what_comes_by_it,
    a_minimum_ttl_means_nothing_to_datagrams,
}

fn a_port_is_chosen_where_none_is_asked_for(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:0");
    let server = blue.udp("0.0.0.0:5300");
    red.own_address(client);
    red.send_to(client, "10.0.0.2:5300", "from where?");
    blue.receive_from(server);
}

fn the_way_decides_the_source_address(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "192.0.2.2:5300", "to the loopback");
    blue.receive_from(server);
    red.aim(client, "192.0.2.2:5300");
    red.own_address(client);
    red.addresses(client);
}

fn a_datagram_may_choose_its_source_address(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_from(client, "192.0.2.1", "10.0.0.2:5300", "from the loopback");
    blue.receive_from(server);
    blue.send_from(server, "192.0.2.2", "192.0.2.1:4000", "from mine");
    red.receive_from(client);
}

fn a_datagram_is_cut_to_the_room_and_says_so(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", "too long for you");
    red.send_to(client, "10.0.0.2:5300", "short");
    blue.receive_cut(server, 8);
    blue.receive_cut(server, 8);
}

fn a_broadcast_is_refused(scene: &Scene<'_>) {
    let mut red = scene.process(Vr::Red);
    let client = red.udp("0.0.0.0:4000");
    red.send_to(client, "255.255.255.255:5300", "to everybody");
    red.send_to(client, "10.0.0.255:5300", "to the subnet");
    red.error_by_now(client);
}

fn there_is_no_port_0_to_send_to(scene: &Scene<'_>) {
    let mut red = scene.process(Vr::Red);
    let client = red.udp("0.0.0.0:4000");
    red.send_to(client, "10.0.0.2:0", "nowhere");
    red.send_on(client, "to whom?");
}

fn a_shared_port_is_heard_by_who_came_last(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let shares = Wishes { shares: true, ..Wishes::default() };
    let first = blue.udp_as("0.0.0.0:5300", ", shared", shares.clone());
    let last = blue.udp_as("0.0.0.0:5300", ", shared", shares);
    blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", "who hears it?");
    blue.receive_from(last);
    blue.receive_from_by_now(first);
    blue.close(last);
    blue.udp("0.0.0.0:5301");
    red.send_to(client, "10.0.0.2:5300", "and now?");
    blue.receive_from(first);
}

fn the_socket_that_fits_best_hears_a_datagram(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let shares = Wishes { shares: true, ..Wishes::default() };
    let (friend, stranger) = (red.udp("0.0.0.0:4001"), red.udp("0.0.0.0:4002"));
    let connected = blue.udp_as("10.0.0.2:5300", ", shared", shares.clone());
    let bound = blue.udp_as("10.0.0.2:5300", ", shared", shares.clone());
    let any = blue.udp_as("0.0.0.0:5300", ", shared", shares);
    blue.aim(connected, "10.0.0.1:4001");
    red.send_to(friend, "10.0.0.2:5300", "of the friend");
    red.send_to(stranger, "10.0.0.2:5300", "of the stranger");
    red.send_to(stranger, "192.0.2.2:5300", "to the loopback");
    blue.receive_from(connected);
    blue.receive_from(bound);
    blue.receive_from(any);
}

fn another_peer_takes_the_place_of_the_first(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let server = blue.udp("0.0.0.0:5300");
    let (one, two) = (red.udp("0.0.0.0:4001"), red.udp("0.0.0.0:4002"));
    blue.aim(server, "10.0.0.1:4001");
    blue.aim(server, "10.0.0.1:4002");
    blue.send_on(server, "hello");
    red.receive_from(two);
    red.send_to(one, "10.0.0.2:5300", "and I?");
    red.send_to(two, "10.0.0.2:5300", "hello");
    blue.receive_from(server);
}

fn readiness_of_a_datagram_socket(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    blue.ready(server);
    red.send_to(client, "10.0.0.2:5300", "one");
    red.send_to(client, "10.0.0.2:5300", "two");
    blue.wait(server, Until::Readable);
    blue.receive_from(server);
    blue.receive_from(server);
    blue.ready(server);
}

fn an_error_shows_in_the_readiness_until_it_was_told(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    red.aim(client, "10.0.0.2:5300");
    red.ready(client);
    red.send_on(client, "is anybody there?");
    red.wait(client, Until::Failed);
    red.take_error(client);
    red.take_error(client);
    red.ready(client);
}

fn a_datagram_to_an_own_address_comes_back(scene: &Scene<'_>) {
    let mut red = scene.process(Vr::Red);
    let mut other = scene.process(Vr::Red);
    let (client, server) = (red.udp("0.0.0.0:4000"), other.udp("0.0.0.0:5300"));
    red.send_to(client, "192.0.2.1:5300", "to my neighbor");
    other.receive_from(server);
    red.send_to(client, "10.0.0.1:4000", "to myself");
    red.receive_from(client);
}

fn a_dead_process_is_not_reached(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", "hello");
    blue.receive_from(server);
    blue.kill();
    let heir = other.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.0.2:5300", "hello?");
    other.receive_from(heir);
}

fn a_socket_on_the_link_hears_what_comes_by_it(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let on_link = Wishes { on: Some(Link::First), ..Wishes::default() };
    let server = blue.udp_as("0.0.0.0:5300", ", bound to the link", on_link);
    red.send_to(client, "10.0.0.2:5300", "by the link");
    red.send_to(client, "192.0.2.2:5300", "by the link too");
    blue.receive_from(server);
    blue.receive_from(server);
}

fn a_minimum_ttl_means_nothing_to_datagrams(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, raw) = (red.udp("0.0.0.0:4000"), red.raw(89, "0.0.0.0"));
    let near = Wishes { minimum_ttl: Some(255), ..Wishes::default() };
    let server = blue.udp_as("0.0.0.0:5300", ", minimum TTL 255", near.clone());
    let raw_server = blue.raw_as(89, "0.0.0.0", ", minimum TTL 255", near);
    red.send_with(client, "10.0.0.2:5300", 1, 0, "from afar");
    blue.receive_from(server);
    red.send_with(raw, "10.0.0.2:0", 1, 0, "from afar");
    blue.receive_from(raw_server);
}
