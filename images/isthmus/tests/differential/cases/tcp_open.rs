//! How connections come about, and how they do not.

use super::cases;
use crate::host::Until;
use crate::scene::Scene;

cases! { "TCP: listening and connecting":
    both_sides_see_the_same_addresses,
    a_loopback_is_reached_from_the_address_of_the_link,
    nobody_listens,
    the_listener_has_just_closed,
    a_second_listener_of_the_port_is_refused,
    a_listener_of_one_address_excludes_one_of_all,
    two_addresses_have_listeners_of_their_own,
    an_address_of_another_router_cannot_be_listened_on,
    a_connection_from_a_chosen_address,
    a_connection_from_a_chosen_port,
    a_connection_from_an_address_of_another_router,
    the_same_two_ends_cannot_be_connected_twice,
    connections_are_accepted_in_order,
    a_listener_without_connections_has_nothing_to_accept,
    a_process_that_stands_still_is_connected_to,
    a_connection_in_progress_becomes_writable,
    a_full_backlog_is_silence,
}

const AT: &str = "10.0.0.2:7000";

fn both_sides_see_the_same_addresses(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect(AT);
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
}

fn a_loopback_is_reached_from_the_address_of_the_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect("192.0.2.2:7000");
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
}

fn nobody_listens(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    red.connect(AT);
    red.connect("192.0.2.2:7000");
}

fn the_listener_has_just_closed(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect(AT);
    let server = blue.accept(listener);
    blue.close(listener);
    red.connect(AT);
    // What was accepted before goes on.
    red.send(client, "hello");
    blue.receive(server, 100);
}

fn a_second_listener_of_the_port_is_refused(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    let mut other = scene.process(crate::column::Vr::Blue);
    let listener = blue.listen("0.0.0.0:7000");
    blue.listen("0.0.0.0:7000");
    other.listen("0.0.0.0:7000");
    blue.close(listener);
    other.listen("0.0.0.0:7000");
}

fn a_listener_of_one_address_excludes_one_of_all(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    let one = blue.listen(AT);
    blue.listen("0.0.0.0:7000");
    blue.listen(AT);
    blue.close(one);
    blue.listen("0.0.0.0:7000");
    blue.listen(AT);
}

fn two_addresses_have_listeners_of_their_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let link = blue.listen(AT);
    let loopback = blue.listen("192.0.2.2:7000");
    let client = red.connect("192.0.2.2:7000");
    let server = blue.accept(loopback);
    blue.accept_by_now(link);
    blue.addresses(server);
    red.addresses(client);
    blue.close(loopback);
    // Another listener stands when every process has heard of the one that closed.
    blue.listen("192.0.2.2:7001");
    red.connect("192.0.2.2:7000");
    red.connect(AT);
}

fn an_address_of_another_router_cannot_be_listened_on(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    blue.listen("10.0.0.1:7000");
    blue.listen("203.0.113.1:7000");
    blue.listen(AT);
}

fn a_connection_from_a_chosen_address(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let own = "192.0.2.1".parse().ok();
    let client = red.connect_from(own, None, AT);
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
}

fn a_connection_from_a_chosen_port(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect_from(None, Some(1179), AT);
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
    let own = "192.0.2.1".parse().ok();
    let client = red.connect_from(own, Some(1180), AT);
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
}

fn a_connection_from_an_address_of_another_router(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    red.connect_from("10.0.0.2".parse().ok(), None, AT);
    red.connect_from("203.0.113.1".parse().ok(), None, AT);
    blue.accept_by_now(listener);
}

fn the_same_two_ends_cannot_be_connected_twice(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    red.connect_from(None, Some(1181), AT);
    blue.accept(listener);
    red.connect_from(None, Some(1181), AT);
    blue.accept_by_now(listener);
}

fn connections_are_accepted_in_order(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let clients = [1001, 1002, 1003, 1004].map(|port| red.connect_from(None, Some(port), AT));
    for client in clients {
        red.send(client, "mine");
    }
    for _ in clients {
        let server = blue.accept(listener);
        blue.addresses(server);
    }
    blue.accept_by_now(listener);
}

fn a_listener_without_connections_has_nothing_to_accept(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    blue.accept_by_now(listener);
    blue.ready(listener);
    red.connect(AT);
    blue.wait(listener, Until::Readable);
    blue.accept(listener);
    blue.ready(listener);
}

fn a_process_that_stands_still_is_connected_to(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    blue.stop();
    let client = red.connect(AT);
    red.send(client, "are you there?");
    red.shutdown(client, crate::host::How::Write);
    blue.go_on();
    let server = blue.accept(listener);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_connection_in_progress_becomes_writable(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    blue.listen("0.0.0.0:7000");
    let client = red.begin_connect(AT);
    red.wait(client, Until::Writable);
    red.connected(client);
    red.ready(client);
}

fn a_full_backlog_is_silence(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_with("0.0.0.0:7000", 1);
    red.connect(AT);
    // How many wait exactly, one or two, is not what programs rely on, nor whose next try meets a place that has become
    // free; that all get in is.
    let waiting = [(); 3].map(|()| {
        let client = red.begin_connect(AT);
        // Else all three may have passed, still half open, before the first one has taken a place.
        red.let_settle(client);
        client
    });
    red.connected_by_now(waiting[2]);
    for _ in 0..4 {
        blue.accept(listener);
    }
    for client in waiting {
        red.connected(client);
    }
}
