//! How connections end.

use super::cases;
use super::tcp_data::connection;
use crate::host::{How, Until};
use crate::scene::Scene;

cases! { "TCP: ends":
    a_half_close_lets_the_other_half_go_on,
    a_half_close_of_who_accepted_too,
    both_close_their_halves,
    a_close_is_an_end_of_file,
    a_close_with_bytes_unread_is_a_reset,
    an_abort_is_a_reset,
    sending_after_the_peer_has_closed,
    a_killed_peer_is_an_end_of_file,
    a_killed_peer_that_left_bytes_unread_is_a_reset,
}

fn a_half_close_lets_the_other_half_go_on(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "question");
    red.shutdown(client, How::Write);
    red.send(client, "more");
    blue.wait(server, Until::ReadClosed);
    blue.receive(server, 100);
    blue.receive(server, 100);
    blue.receive(server, 100);
    blue.send(server, "answer");
    red.receive(client, 100);
    red.ready(client);
    blue.shutdown(server, How::Write);
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    blue.ready(server);
}

fn a_half_close_of_who_accepted_too(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    blue.shutdown(server, How::Write);
    red.wait(client, Until::ReadClosed);
    red.receive(client, 100);
    red.send(client, "still here");
    blue.receive(server, 100);
    blue.ready(server);
}

fn both_close_their_halves(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.shutdown(client, How::Write);
    blue.shutdown(server, How::Write);
    red.wait(client, Until::HungUp);
    blue.wait(server, Until::HungUp);
    red.receive(client, 100);
    blue.receive(server, 100);
    red.send(client, "too late");
    blue.send(server, "too late");
}

fn a_close_is_an_end_of_file(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "last words");
    red.close(client);
    blue.wait(server, Until::ReadClosed);
    blue.receive(server, 4);
    blue.receive(server, 100);
    blue.receive(server, 100);
    blue.receive(server, 100);
    blue.ready(server);
}

fn a_close_with_bytes_unread_is_a_reset(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "unheard");
    blue.wait(server, Until::Readable);
    blue.close(server);
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    red.receive(client, 100);
    red.send(client, "hello?");
}

fn an_abort_is_a_reset(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.abort(client);
    blue.wait(server, Until::HungUp);
    blue.receive(server, 100);
    blue.ready(server);
    blue.receive(server, 100);
    blue.send(server, "hello?");
}

fn sending_after_the_peer_has_closed(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    blue.close(server);
    red.wait(client, Until::ReadClosed);
    red.receive(client, 100);
    red.send(client, "into the void");
    red.wait(client, Until::HungUp);
    red.send(client, "and again");
    red.receive(client, 100);
    red.ready(client);
}

fn a_killed_peer_is_an_end_of_file(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    blue.send(server, "last words");
    blue.kill();
    red.wait(client, Until::ReadClosed);
    red.receive(client, 100);
    red.receive(client, 100);
    red.receive(client, 100);
}

fn a_killed_peer_that_left_bytes_unread_is_a_reset(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.send(client, "unheard");
    blue.wait(server, Until::Readable);
    blue.send(server, "last words");
    red.wait(client, Until::Readable);
    blue.kill();
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    red.receive(client, 100);
    red.receive(client, 100);
}
