//! Multicast groups.

use super::cases;
use crate::column::Vr;
use crate::host::Wishes;
use crate::scene::Scene;

cases! { "Groups":
    ospf_hellos_reach_all_that_joined,
    who_left_a_group_hears_it_no_longer,
    a_group_reaches_udp_sockets_too,
    a_group_is_joined_once,
    own_messages_come_back_where_the_loop_is_on,
    own_messages_stay_away_where_the_loop_is_off,
    a_group_has_ttl_1_where_nobody_says_another,
    a_socket_bound_to_a_group_hears_nothing_else,
    two_processes_share_the_port_of_a_group,
    one_of_several_processes_leaves_a_group_and_the_others_stay,
    who_died_hears_no_group,
    a_killed_sender_to_a_group_is_heard_by_all,
}

/// AllSPFRouters (RFC 2328).
const HELLO: &str = "224.0.0.5";

fn ospf_hellos_reach_all_that_joined(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (mut second, mut third) = (scene.process(Vr::Blue), scene.process(Vr::Blue));
    let one = red.raw(89, "0.0.0.0");
    let third_socket = third.raw_as(89, "0.0.0.0", ", own groups alone", own_groups());
    let joined = [blue.raw(89, "0.0.0.0"), second.raw(89, "0.0.0.0"), third_socket];
    blue.join(joined[0], HELLO);
    second.join(joined[1], HELLO);
    // A socket that stands says that those before it, with their groups, are known.
    third.udp("0.0.0.0:5301");
    blue.udp("0.0.0.0:5302");
    second.udp("0.0.0.0:5303");
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello");
    blue.receive_from(joined[0]);
    second.receive_from(joined[1]);
    third.receive_from_by_now(joined[2]);
}

fn who_left_a_group_hears_it_no_longer(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let one = red.raw(89, "0.0.0.0");
    let two = blue.raw(89, "0.0.0.0");
    blue.join(two, HELLO);
    blue.udp("0.0.0.0:5301");
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello");
    blue.receive_from(two);
    blue.leave(two, HELLO);
    blue.leave(two, HELLO);
    blue.udp("0.0.0.0:5302");
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello?");
    blue.receive_from_by_now(two);
}

fn a_group_reaches_udp_sockets_too(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:1985");
    blue.join(server, "224.0.0.2");
    blue.join(server, "224.0.0.2");
    blue.udp("0.0.0.0:5301");
    red.send_to(client, "224.0.0.2:1985", "to all routers");
    blue.receive_from(server);
}

fn a_group_is_joined_once(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    let socket = blue.udp("0.0.0.0:1985");
    blue.join(socket, "224.0.0.2");
    blue.join(socket, "224.0.0.2");
    blue.leave(socket, "224.0.0.2");
    blue.leave(socket, "224.0.0.2");
    blue.join(socket, "10.0.0.1");
}

fn own_messages_come_back_where_the_loop_is_on(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut neighbor = scene.process(Vr::Red);
    let loops = Wishes { loops: Some(true), ..Wishes::default() };
    let one = red.raw_as(89, "0.0.0.0", ", loop on", loops);
    let (two, three) = (blue.raw(89, "0.0.0.0"), neighbor.raw(89, "0.0.0.0"));
    red.join(one, HELLO);
    blue.join(two, HELLO);
    neighbor.join(three, HELLO);
    blue.udp("0.0.0.0:5301");
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello");
    red.receive_from(one);
    neighbor.receive_from(three);
    blue.receive_from(two);
}

fn own_messages_stay_away_where_the_loop_is_off(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let silent = Wishes { loops: Some(false), ..Wishes::default() };
    let (one, two) = (red.raw_as(89, "0.0.0.0", ", loop off", silent), blue.raw(89, "0.0.0.0"));
    red.join(one, HELLO);
    blue.join(two, HELLO);
    blue.udp("0.0.0.0:5301");
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello");
    blue.receive_from(two);
    red.receive_from_by_now(one);
}

fn a_group_has_ttl_1_where_nobody_says_another(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = (red.udp("0.0.0.0:4000"), blue.udp("0.0.0.0:1985"));
    blue.join(server, "224.0.0.2");
    blue.udp("0.0.0.0:5301");
    red.send_to(client, "224.0.0.2:1985", "as usual");
    blue.receive_from(server);
    red.send_with(client, "224.0.0.2:1985", 255, 0, "with more");
    blue.receive_from(server);
}

fn a_socket_bound_to_a_group_hears_nothing_else(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = (red.udp("0.0.0.0:4000"), blue.udp("224.0.0.2:1985"));
    blue.join(server, "224.0.0.2");
    blue.udp("0.0.0.0:5301");
    red.send_to(client, "10.0.0.2:1985", "to you");
    red.send_to(client, "224.0.0.2:1985", "to all routers");
    blue.receive_from(server);
    blue.receive_from_by_now(server);
}

fn two_processes_share_the_port_of_a_group(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let shares = Wishes { shares: true, ..Wishes::default() };
    let client = red.udp("0.0.0.0:4000");
    let one = blue.udp_as("0.0.0.0:1985", ", shared", shares.clone());
    let two = other.udp_as("0.0.0.0:1985", ", shared", shares);
    blue.join(one, "224.0.0.2");
    other.join(two, "224.0.0.2");
    blue.udp("0.0.0.0:5301");
    other.udp("0.0.0.0:5302");
    red.send_to(client, "224.0.0.2:1985", "to all routers");
    blue.receive_from(one);
    other.receive_from(two);
}

fn one_of_several_processes_leaves_a_group_and_the_others_stay(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut others = [scene.process(Vr::Blue), scene.process(Vr::Blue)];
    let one = red.raw(89, "0.0.0.0");
    let two = blue.raw(89, "0.0.0.0");
    blue.join(two, HELLO);
    blue.udp("0.0.0.0:5301");
    let joined = [0, 1].map(|at| {
        let socket = others[at].raw_as(89, "0.0.0.0", ", own groups alone", own_groups());
        others[at].join(socket, HELLO);
        others[at].udp(&format!("0.0.0.0:{}", 5302 + at));
        socket
    });
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello all");
    blue.receive_from(two);
    others[0].receive_from(joined[0]);
    others[1].receive_from(joined[1]);
    others[0].leave(joined[0], HELLO);
    others[0].udp("0.0.0.0:5304");
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello two");
    blue.receive_from(two);
    others[1].receive_from(joined[1]);
    others[0].receive_from_by_now(joined[0]);
}

fn who_died_hears_no_group(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let one = red.raw(89, "0.0.0.0");
    let (two, three) = (blue.raw(89, "0.0.0.0"), other.raw(89, "0.0.0.0"));
    blue.join(two, HELLO);
    other.join(three, HELLO);
    blue.udp("0.0.0.0:5301");
    other.udp("0.0.0.0:5302");
    other.kill();
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello");
    red.send_with(one, "224.0.0.5:0", 1, 0xc0, "hello again");
    blue.receive_from(two);
    blue.receive_from(two);
}

fn a_killed_sender_to_a_group_is_heard_by_all(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut other = scene.process(Vr::Blue);
    let one = red.raw(89, "0.0.0.0");
    let (two, three) = (blue.raw(89, "0.0.0.0"), other.raw(89, "0.0.0.0"));
    blue.join(two, HELLO);
    other.join(three, HELLO);
    // Those before it are known once it stands.
    blue.udp("0.0.0.0:5301");
    other.udp("0.0.0.0:5302");
    red.send_and_die(one, "224.0.0.5:0", &["last hello"]);
    blue.receive_from(two);
    other.receive_from(three);
}

/// Linux lets a socket hear the groups that others have joined, unless told otherwise.
fn own_groups() -> Wishes {
    Wishes { own_groups: true, ..Wishes::default() }
}
