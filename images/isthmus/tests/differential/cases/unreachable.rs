//! What leads nowhere: neighbors that are not there, addresses without a route.

use super::cases;
use crate::host::Wishes;
use crate::scene::Scene;

cases! { "What leads nowhere":
    a_connect_to_a_neighbor_that_is_not_there,
    a_connect_to_a_neighbor_that_is_not_there_on_the_other_link,
    a_datagram_to_a_neighbor_that_is_not_there_is_told_to_a_socket_with_a_peer,
    a_datagram_to_a_neighbor_that_is_not_there_is_not_told_to_a_socket_without_a_peer,
    a_datagram_to_an_address_without_a_route,
    a_peer_without_a_route,
    an_ipv6_datagram_to_an_address_without_a_route,
    an_ipv6_connect_to_an_address_without_a_route,
}

fn a_connect_to_a_neighbor_that_is_not_there(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    // On a wire nobody answers for three seconds.
    let patient = Wishes { user_timeout: Some(8000), ..Wishes::default() };
    let client = red.begin_connect_as("10.0.0.77:7000", ", user timeout 8 s", patient);
    red.connected(client);
}

fn a_connect_to_a_neighbor_that_is_not_there_on_the_other_link(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    red.connect("10.0.1.77:7000");
}

fn a_datagram_to_a_neighbor_that_is_not_there_is_told_to_a_socket_with_a_peer(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    red.aim(client, "10.0.1.77:5300");
    red.send_on(client, "is anybody there?");
    // Known once a connection has waited for the same neighbor.
    red.connect("10.0.1.77:7000");
    red.take_error(client);
}

fn a_datagram_to_a_neighbor_that_is_not_there_is_not_told_to_a_socket_without_a_peer(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    red.send_to(client, "10.0.1.77:5300", "is anybody there?");
    red.connect("10.0.1.77:7000");
    red.take_error(client);
}

fn a_datagram_to_an_address_without_a_route(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    red.send_to(client, "203.0.113.9:5300", "which way?");
    red.error_by_now(client);
}

fn a_peer_without_a_route(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    red.aim(client, "203.0.113.9:5300");
}

fn an_ipv6_datagram_to_an_address_without_a_route(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let client = red.udp("[::]:4000");
    red.send_to(client, "[2001:db8:9::9]:5300", "which way?");
    red.error_by_now(client);
}

fn an_ipv6_connect_to_an_address_without_a_route(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    red.connect_from(None, None, "[2001:db8:9::9]:7000");
}
