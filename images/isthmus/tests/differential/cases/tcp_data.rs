//! What goes over a connection.

use super::cases;
use crate::host::{Until, Wishes};
use crate::scene::{Process, Scene, Socket};

cases! { "TCP: sending and receiving":
    an_echo_comes_back,
    what_was_sent_in_pieces_comes_in_order,
    small_buffers_get_it_piece_by_piece,
    nothing_is_there_yet,
    sending_and_receiving_nothing,
    a_megabyte_goes_one_way,
    a_megabyte_comes_the_other_way,
    megabytes_go_both_ways_at_once,
    a_peer_that_does_not_read_stops_the_sender,
    a_peer_that_stands_still_stops_the_sender,
    a_small_receive_buffer_stops_the_sender_sooner,
    readiness_follows_what_is_there,
}

/// A connection from red to blue: the listener, and both ends.
pub fn connection(red: &mut Process<'_>, blue: &mut Process<'_>) -> (Socket, Socket) {
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect("10.0.0.2:7000");
    (client, blue.accept(listener))
}

fn an_echo_comes_back(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "hello");
    blue.receive(server, 100);
    blue.send(server, "hello to you");
    red.receive(client, 100);
}

fn what_was_sent_in_pieces_comes_in_order(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    for piece in ["one ", "two ", "three ", "four"] {
        red.send(client, piece);
        blue.receive(server, 100);
    }
}

fn small_buffers_get_it_piece_by_piece(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "abcdefghij");
    for _ in 0..4 {
        blue.receive(server, 3);
    }
    blue.receive_now(server, 3);
}

fn nothing_is_there_yet(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.receive_now(client, 100);
    blue.receive_now(server, 100);
    blue.wait_in_vain(server, Until::Readable);
}

fn sending_and_receiving_nothing(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "");
    blue.receive_now(server, 100);
    red.send(client, "x");
    blue.wait(server, Until::Readable);
    blue.receive_now(server, 0);
    blue.receive_now(server, 1);
}

fn a_megabyte_goes_one_way(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.exchange(client, &mut blue, server, 1 << 20, 0);
    red.close(client);
    blue.drain(server);
}

fn a_megabyte_comes_the_other_way(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.exchange(client, &mut blue, server, 0, 1 << 20);
    blue.close(server);
    red.drain(client);
}

fn megabytes_go_both_ways_at_once(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.exchange(client, &mut blue, server, 4 << 20, 3 << 20);
    red.close(client);
    blue.drain(server);
}

fn a_peer_that_does_not_read_stops_the_sender(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let filled = red.fill(client);
    red.ready(client);
    blue.drain_filled(server, filled);
    red.wait(client, Until::Writable);
    red.send(client, "on we go");
    blue.receive(server, 100);
}

fn a_peer_that_stands_still_stops_the_sender(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    blue.stop();
    let filled = red.fill(client);
    red.wait_in_vain(client, Until::Writable);
    blue.go_on();
    blue.drain_filled(server, filled);
    red.wait(client, Until::Writable);
}

fn a_small_receive_buffer_stops_the_sender_sooner(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let usual = blue.listen("0.0.0.0:7000");
    let wishes = Wishes { receive_buffer: Some(8192), ..Wishes::default() };
    let small = blue.listen_as("0.0.0.0:7001", ", small buffer", 16, wishes);
    let [usual, small] = [("10.0.0.2:7000", usual), ("10.0.0.2:7001", small)].map(|(to, listener)| {
        let client = red.connect(to);
        let server = blue.accept(listener);
        let filled = red.fill(client);
        blue.drain_filled(server, filled);
        filled
    });
    // How much it is, is nobody's to rely on.
    red.remark(if small < usual / 2 { "was stopped much sooner" } else { "was stopped no sooner" });
}

fn readiness_follows_what_is_there(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.ready(client);
    blue.ready(server);
    red.send(client, "hello");
    blue.wait(server, Until::Readable);
    blue.receive_now(server, 2);
    blue.ready(server);
    blue.receive_now(server, 3);
    blue.ready(server);
    red.ready(client);
}
