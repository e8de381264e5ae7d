//! TCP: calls that wait, and how long: a close that lingers, a write without room, a peer that takes nothing.

use super::link::{impatient_connection, is_over};
use super::{cases, connection};
use crate::host::Wishes;
use crate::scene::{Process, Scene, Socket};

cases! { "TCP: calls that wait":
    a_close_that_lingers_waits_until_a_cut_link_is_mended,
    a_close_that_lingers_waits_for_its_time_and_no_longer,
    a_close_that_lingers_waits_for_nothing_where_all_was_taken,
    a_close_that_lingers_waits_for_a_peer_that_does_not_read,
    a_close_that_does_not_linger_does_not_wait,
    a_write_behind_a_cut_waits_and_goes_on,
    a_write_behind_a_cut_is_timed_out,
    a_write_from_a_shut_interface_is_timed_out,
    a_write_to_a_peer_that_does_not_read_goes_on_when_it_does,
    a_write_to_a_peer_that_does_not_read_is_timed_out,
    a_user_timeout_ends_a_sender_whose_peer_does_not_read,
}

const AT: &str = "10.0.0.2:7000";

/// More bytes than all buffers together hold.
const MUCH: u64 = 32 << 20;

/// A connection whose red end lingers for so many seconds.
fn lingering_connection(red: &mut Process<'_>, blue: &mut Process<'_>, seconds: u16) -> (Socket, Socket) {
    let listener = blue.listen("0.0.0.0:7000");
    let lingers = Wishes { linger: Some(seconds), ..Wishes::default() };
    let client = red.begin_connect_as(AT, &format!(", linger {seconds}"), lingers);
    red.connected(client);
    (client, blue.accept(listener))
}

/// All that was sent, and then the end.
fn arrives(blue: &mut Process<'_>, server: Socket) {
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_close_that_lingers_waits_until_a_cut_link_is_mended(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = lingering_connection(&mut red, &mut blue, 30);
    let cut = scene.cut_link();
    red.send(client, "last words");
    red.close_while(client, || drop(cut));
    arrives(&mut blue, server);
}

fn a_close_that_lingers_waits_for_its_time_and_no_longer(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = lingering_connection(&mut red, &mut blue, 3);
    let cut = scene.cut_link();
    red.send(client, "last words");
    red.close_while(client, || {});
    drop(cut);
    arrives(&mut blue, server);
}

fn a_close_that_lingers_waits_for_nothing_where_all_was_taken(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = lingering_connection(&mut red, &mut blue, 30);
    red.send(client, "last words");
    blue.receive(server, 100);
    red.close_while(client, || {});
    blue.receive(server, 100);
}

fn a_close_that_lingers_waits_for_a_peer_that_does_not_read(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = lingering_connection(&mut red, &mut blue, 3);
    let filled = red.fill(client);
    red.close_while(client, || {});
    blue.drain_filled(server, filled);
}

fn a_close_that_does_not_linger_does_not_wait(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.send(client, "last words");
    red.close_while(client, || {});
    drop(cut);
    arrives(&mut blue, server);
}

fn a_write_behind_a_cut_waits_and_goes_on(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.write_while(client, MUCH, || {
        drop(cut);
        blue.drain_filled(server, MUCH);
    });
}

fn a_write_behind_a_cut_is_timed_out(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, _server) = impatient_connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.write_while(client, MUCH, || {});
    red.write(client, 1);
    drop(cut);
}

fn a_write_from_a_shut_interface_is_timed_out(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (_client, server) = impatient_connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    blue.write_while(server, MUCH, || {});
    blue.write(server, 1);
    drop(cut);
}

fn a_write_to_a_peer_that_does_not_read_goes_on_when_it_does(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    red.write_while(client, MUCH, || blue.drain_filled(server, MUCH));
}

fn a_write_to_a_peer_that_does_not_read_is_timed_out(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = impatient_connection(&mut red, &mut blue);
    red.write_while(client, MUCH, || {});
    red.write(client, 1);
    blue.drain_some(server);
}

fn a_user_timeout_ends_a_sender_whose_peer_does_not_read(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = impatient_connection(&mut red, &mut blue);
    red.fill(client);
    is_over(&mut red, client);
    blue.drain_some(server);
}
