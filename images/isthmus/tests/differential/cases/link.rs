//! A link that is cut, while connections stand and datagrams are sent, and is mended.

use super::{cases, connection};
use crate::host::{Until, Wishes};
use crate::scene::{Process, Scene, Socket};

cases! { "A link that is cut":
    what_is_sent_over_a_cut_link_comes_once_it_is_mended,
    a_writer_behind_a_cut_blocks_and_goes_on,
    a_writer_whose_own_interface_is_shut_blocks_and_goes_on,
    megabytes_outlast_a_cut,
    who_has_said_nothing_is_not_timed_out,
    what_nobody_takes_is_timed_out_and_told_once,
    a_blocked_writer_is_timed_out,
    whose_own_interface_is_shut_is_timed_out_too,
    the_peer_of_who_was_timed_out_learns_it_when_it_sends,
    a_close_behind_a_cut_delivers_all_afterwards,
    a_reset_behind_a_cut_is_told_to_who_sends_afterwards,
    a_death_behind_a_cut_is_an_end_afterwards,
    a_connect_over_a_cut_link_is_not_heard,
    a_connect_over_a_cut_link_is_timed_out,
    a_connect_from_a_shut_interface_has_no_route,
    a_listener_outlasts_a_cut,
    datagrams_over_a_cut_link_are_lost,
    a_datagram_socket_with_a_peer_outlasts_a_cut,
    a_group_is_heard_again_after_a_cut,
}

const AT: &str = "10.0.0.2:7000";

/// A connection whose two ends give up soon.
pub fn impatient_connection(red: &mut Process<'_>, blue: &mut Process<'_>) -> (Socket, Socket) {
    let listener = blue.listen_as("0.0.0.0:7000", ", impatient", 16, impatient());
    let client = red.begin_connect_as(AT, ", impatient", impatient());
    red.connected(client);
    (client, blue.accept(listener))
}

/// Sent bytes that nobody takes end a connection after so long: longer than the kernel waits to send them again.
fn impatient() -> Wishes {
    Wishes { user_timeout: Some(1000), ..Wishes::default() }
}

/// The error is told once; then the connection is over.
pub fn is_over(process: &mut Process<'_>, socket: Socket) {
    process.wait(socket, Until::HungUp);
    process.receive_now(socket, 100);
    process.receive_now(socket, 100);
    process.send(socket, "x");
    process.ready(socket);
}

fn both_ways(red: &mut Process<'_>, client: Socket, blue: &mut Process<'_>, server: Socket) {
    red.send(client, "and again");
    blue.receive(server, 100);
    blue.send(server, "and back");
    red.receive(client, 100);
}

fn what_is_sent_over_a_cut_link_comes_once_it_is_mended(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.send(client, "kept");
    blue.send(server, "kept as well");
    red.wait_in_vain(client, Until::Readable);
    blue.wait_in_vain(server, Until::Readable);
    red.receive_now(client, 100);
    drop(cut);
    red.receive(client, 100);
    blue.receive(server, 100);
    both_ways(&mut red, client, &mut blue, server);
}

fn a_writer_behind_a_cut_blocks_and_goes_on(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    let filled = red.fill(client);
    red.ready(client);
    red.send(client, "more");
    blue.receive_now(server, 100);
    drop(cut);
    blue.drain_filled(server, filled);
    red.wait(client, Until::Writable);
    both_ways(&mut red, client, &mut blue, server);
}

fn a_writer_whose_own_interface_is_shut_blocks_and_goes_on(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    let filled = blue.fill(server);
    blue.ready(server);
    blue.send(server, "more");
    red.receive_now(client, 100);
    drop(cut);
    red.drain_filled(client, filled);
    blue.wait(server, Until::Writable);
    both_ways(&mut red, client, &mut blue, server);
}

fn megabytes_outlast_a_cut(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    let filled = red.fill(client);
    let back = blue.fill(server);
    drop(cut);
    blue.drain_filled(server, filled);
    red.drain_filled(client, back);
    red.exchange(client, &mut blue, server, 1 << 20, 1 << 20);
}

fn who_has_said_nothing_is_not_timed_out(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = impatient_connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    for _ in 0..8 {
        red.wait_in_vain(client, Until::Readable);
    }
    blue.ready(server);
    drop(cut);
    both_ways(&mut red, client, &mut blue, server);
}

fn what_nobody_takes_is_timed_out_and_told_once(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = impatient_connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.send(client, "in vain");
    is_over(&mut red, client);
    blue.ready(server);
    drop(cut);
}

fn a_blocked_writer_is_timed_out(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, _server) = impatient_connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.fill(client);
    is_over(&mut red, client);
    drop(cut);
}

fn whose_own_interface_is_shut_is_timed_out_too(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = impatient_connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    blue.send(server, "in vain");
    is_over(&mut blue, server);
    red.ready(client);
    drop(cut);
}

fn the_peer_of_who_was_timed_out_learns_it_when_it_sends(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = impatient_connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.send(client, "in vain");
    red.wait(client, Until::HungUp);
    drop(cut);
    blue.listen_a_while(server);
    blue.send(server, "anybody there?");
    is_over(&mut blue, server);
}

fn a_close_behind_a_cut_delivers_all_afterwards(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.send(client, "the last word");
    red.close(client);
    blue.wait_in_vain(server, Until::Readable);
    drop(cut);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_reset_behind_a_cut_is_told_to_who_sends_afterwards(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.abort(client);
    blue.wait_in_vain(server, Until::Readable);
    drop(cut);
    blue.listen_a_while(server);
    blue.send(server, "anybody there?");
    is_over(&mut blue, server);
}

fn a_death_behind_a_cut_is_an_end_afterwards(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = connection(&mut red, &mut blue);
    let cut = scene.cut_link();
    red.send(client, "the last word");
    red.kill();
    blue.wait_in_vain(server, Until::Readable);
    drop(cut);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_connect_over_a_cut_link_is_not_heard(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let cut = scene.cut_link();
    let client = red.begin_connect(AT);
    red.connected_by_now(client);
    red.close(client);
    drop(cut);
    blue.accept_by_now(listener);
    let client = red.connect(AT);
    let server = blue.accept(listener);
    both_ways(&mut red, client, &mut blue, server);
}

fn a_connect_over_a_cut_link_is_timed_out(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let cut = scene.cut_link();
    let client = red.begin_connect_as(AT, ", impatient", impatient());
    red.connected(client);
    drop(cut);
    blue.accept_by_now(listener);
}

fn a_connect_from_a_shut_interface_has_no_route(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    red.listen("0.0.0.0:7000");
    let cut = scene.cut_link();
    for to in ["10.0.0.1:7000", "192.0.2.1:7000"] {
        blue.connect_from(None, None, to);
    }
    drop(cut);
    blue.connect_from(None, None, "10.0.0.1:7000");
}

fn a_listener_outlasts_a_cut(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("10.0.0.2:7000");
    drop(scene.cut_link());
    let client = red.connect(AT);
    let server = blue.accept(listener);
    both_ways(&mut red, client, &mut blue, server);
}

fn datagrams_over_a_cut_link_are_lost(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (one, two) = (red.udp("0.0.0.0:4000"), blue.udp("0.0.0.0:5300"));
    red.send_to(one, "10.0.0.2:5300", "before");
    blue.receive_from(two);
    let cut = scene.cut_link();
    red.send_to(one, "10.0.0.2:5300", "lost");
    red.error_by_now(one);
    blue.receive_from_by_now(two);
    blue.send_to(two, "10.0.0.1:4000", "no way");
    blue.error_by_now(two);
    drop(cut);
    blue.receive_from_by_now(two);
    red.send_to(one, "10.0.0.2:5300", "after");
    blue.receive_from(two);
    blue.send_to(two, "10.0.0.1:4000", "and back");
    red.receive_from(one);
}

fn a_datagram_socket_with_a_peer_outlasts_a_cut(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (one, two) = (red.udp("0.0.0.0:4000"), blue.udp("0.0.0.0:5300"));
    red.aim(one, "10.0.0.2:5300");
    blue.aim(two, "10.0.0.1:4000");
    red.send_on(one, "before");
    blue.receive_from(two);
    let cut = scene.cut_link();
    red.send_on(one, "lost");
    red.error_by_now(one);
    blue.send_on(two, "no way");
    blue.error_by_now(two);
    drop(cut);
    red.send_on(one, "after");
    blue.receive_from(two);
    blue.send_on(two, "and back");
    red.receive_from(one);
}

fn a_group_is_heard_again_after_a_cut(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (one, two) = (red.raw(89, "0.0.0.0"), blue.raw(89, "0.0.0.0"));
    blue.join(two, "224.0.0.5");
    red.send_to(one, "224.0.0.5:0", "hello");
    blue.receive_from(two);
    let cut = scene.cut_link();
    red.send_to(one, "224.0.0.5:0", "lost");
    blue.receive_from_by_now(two);
    drop(cut);
    red.send_to(one, "224.0.0.5:0", "hello again");
    blue.receive_from(two);
}
