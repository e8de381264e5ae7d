//! Resets, deaths, and what is left when a socket is used again.

use super::cases;
use super::tcp_data::connection;
use crate::host::{How, Until};
use crate::scene::Scene;

cases! { "TCP: resets, deaths, and after":
    what_came_before_a_reset_is_still_read,
    a_reset_is_told_to_who_sends_and_only_once,
    a_connection_that_is_over_cannot_be_shut_down,
    a_direction_may_be_shut_down_twice,
    shut_for_reading_it_gives_what_came_and_then_the_end,
    shut_both_ways_it_is_over_for_the_peer_too,
    a_listener_that_closes_resets_whom_nobody_accepted,
    who_sent_and_closed_before_it_was_accepted_is_heard,
    who_died_before_it_was_accepted_is_heard,
    a_closed_sender_leaves_all_that_was_taken,
    a_killed_sender_leaves_all_that_was_taken,
    a_receiver_that_is_killed_resets_a_blocked_sender,
    an_end_is_seen_by_a_sender_that_is_blocked,
    a_port_is_listened_on_again_after_its_connections_closed,
    a_port_is_listened_on_again_after_its_process_was_killed,
    twenty_connections_stand_beside_each_other,
    an_address_without_a_route,
}

fn what_came_before_a_reset_is_still_read(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "last words");
    blue.wait(server, Until::Readable);
    red.abort(client);
    blue.wait(server, Until::HungUp);
    blue.receive(server, 4);
    blue.receive(server, 100);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_reset_is_told_to_who_sends_and_only_once(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.abort(client);
    blue.wait(server, Until::HungUp);
    blue.send(server, "hello?");
    blue.ready(server);
    blue.send(server, "hello?");
    blue.receive(server, 100);
}

fn a_connection_that_is_over_cannot_be_shut_down(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.abort(client);
    blue.wait(server, Until::HungUp);
    blue.shutdown(server, How::Write);
    // The error is still there for who asks for it.
    blue.receive(server, 100);
    blue.shutdown(server, How::Write);
}

fn a_direction_may_be_shut_down_twice(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.shutdown(client, How::Write);
    red.shutdown(client, How::Write);
    blue.wait(server, Until::ReadClosed);
    red.shutdown(client, How::Read);
    red.shutdown(client, How::Read);
}

fn shut_for_reading_it_gives_what_came_and_then_the_end(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "before");
    blue.wait(server, Until::Readable);
    blue.shutdown(server, How::Read);
    blue.ready(server);
    blue.receive_now(server, 100);
    blue.receive_now(server, 100);
    blue.send(server, "still talking");
    red.receive(client, 100);
}

fn shut_both_ways_it_is_over_for_the_peer_too(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.shutdown(client, How::Both);
    red.ready(client);
    blue.wait(server, Until::ReadClosed);
    blue.receive(server, 100);
    blue.shutdown(server, How::Write);
    blue.wait(server, Until::HungUp);
    red.receive_now(client, 100);
    red.send(client, "too late");
}

fn a_listener_that_closes_resets_whom_nobody_accepted(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect("10.0.0.2:7000");
    blue.wait(listener, Until::Readable);
    blue.close(listener);
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    red.receive(client, 100);
}

fn who_sent_and_closed_before_it_was_accepted_is_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect("10.0.0.2:7000");
    red.send(client, "I was here");
    red.close(client);
    let server = blue.accept(listener);
    blue.wait(server, Until::ReadClosed);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn who_died_before_it_was_accepted_is_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect("10.0.0.2:7000");
    red.send(client, "I was here");
    blue.wait(listener, Until::Readable);
    red.kill();
    let server = blue.accept(listener);
    blue.wait(server, Until::ReadClosed);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_closed_sender_leaves_all_that_was_taken(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let filled = red.fill(client);
    red.close(client);
    blue.drain_filled(server, filled);
}

fn a_killed_sender_leaves_all_that_was_taken(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let filled = red.fill(client);
    red.kill();
    blue.drain_filled(server, filled);
}

fn a_receiver_that_is_killed_resets_a_blocked_sender(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, _) = connection(&mut red, &mut blue);
    red.fill(client);
    blue.kill();
    red.wait(client, Until::HungUp);
    red.send(client, "hello?");
    red.receive(client, 100);
}

fn an_end_is_seen_by_a_sender_that_is_blocked(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let filled = red.fill(client);
    blue.shutdown(server, How::Write);
    red.wait(client, Until::ReadClosed);
    red.receive(client, 100);
    blue.drain_filled(server, filled);
}

fn a_port_is_listened_on_again_after_its_connections_closed(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    for _ in 0..2 {
        let listener = blue.listen("0.0.0.0:7000");
        let client = red.connect("10.0.0.2:7000");
        let server = blue.accept(listener);
        // Who closes first keeps the connection in TIME-WAIT.
        blue.close(server);
        red.receive(client, 100);
        red.close(client);
        blue.close(listener);
    }
}

fn a_port_is_listened_on_again_after_its_process_was_killed(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect("10.0.0.2:7000");
    blue.accept(listener);
    blue.kill();
    red.receive(client, 100);
    red.connect("10.0.0.2:7000");
    let mut next = scene.process(crate::column::Vr::Blue);
    let listener = next.listen("0.0.0.0:7000");
    red.connect("10.0.0.2:7000");
    next.accept(listener);
}

fn twenty_connections_stand_beside_each_other(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_with("0.0.0.0:7000", 32);
    let clients: Vec<_> = (0..20).map(|_| red.connect("10.0.0.2:7000")).collect();
    let servers: Vec<_> = (0..20).map(|_| blue.accept(listener)).collect();
    for (number, client) in clients.iter().enumerate() {
        red.send(*client, &format!("I am {number}"));
    }
    for server in servers.into_iter().rev() {
        blue.receive(server, 100);
        blue.send(server, "welcome");
    }
    for client in clients {
        red.receive(client, 100);
    }
}

fn an_address_without_a_route(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    red.connect_from(None, None, "198.51.100.1:7000");
}
