//! What Linux does unless told otherwise, and other systems' programs are not used to: groups that others have joined,
//! sockets of two families, ports that connections hold, how many may wait.

use super::cases;
use crate::host::Wishes;
use crate::scene::Scene;

cases! { "What is so unless said otherwise":
    own_messages_to_a_group_come_back,
    own_ipv6_messages_to_a_group_come_back,
    a_group_that_another_process_has_joined,
    a_raw_socket_and_a_group_that_another_process_has_joined,
    a_listener_of_ipv6_takes_ipv4,
    a_udp_socket_of_ipv6_hears_ipv4,
    a_port_is_listened_on_again_while_its_connections_stand,
    a_port_without_reuse_is_not_listened_on_again_while_its_connections_stand,
    a_backlog_of_two_lets_so_many_wait,
}

fn own_messages_to_a_group_come_back(scene: &Scene<'_>) {
    let mut red = scene.two().0;
    let one = red.raw(89, "0.0.0.0");
    red.join(one, "224.0.0.5");
    red.udp("0.0.0.0:0");
    red.send_to(one, "224.0.0.5:0", "hello");
    red.receive_from_by_now(one);
}

fn own_ipv6_messages_to_a_group_come_back(scene: &Scene<'_>) {
    let mut red = scene.two().0;
    let one = red.udp("[::]:1985");
    red.join(one, "ff02::5");
    red.udp("[::]:0");
    red.send_to(one, "[ff02::5]:1985", "hello");
    red.receive_from_by_now(one);
}

fn a_group_that_another_process_has_joined(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let (joined, not_joined) = (blue.udp("0.0.0.0:1985"), blue.udp("0.0.0.0:1986"));
    blue.join(joined, "224.0.0.2");
    blue.udp("0.0.0.0:0");
    red.send_to(client, "224.0.0.2:1986", "to all routers");
    blue.receive_from_by_now(not_joined);
}

fn a_raw_socket_and_a_group_that_another_process_has_joined(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.raw(89, "0.0.0.0");
    let (joined, not_joined) = (blue.raw(89, "0.0.0.0"), blue.raw(89, "0.0.0.0"));
    blue.join(joined, "224.0.0.5");
    blue.udp("0.0.0.0:0");
    red.send_to(client, "224.0.0.5:0", "hello");
    blue.receive_from(joined);
    blue.receive_from_by_now(not_joined);
}

fn a_listener_of_ipv6_takes_ipv4(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    blue.listen("[::]:7000");
    red.connect("10.0.0.2:7000");
}

fn a_udp_socket_of_ipv6_hears_ipv4(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = (red.udp("0.0.0.0:4000"), blue.udp("[::]:5300"));
    red.aim(client, "10.0.0.2:5300");
    red.send_on(client, "hello");
    blue.receive_from_by_now(server);
    red.error_by_now(client);
}

fn a_port_is_listened_on_again_while_its_connections_stand(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.connect("10.0.0.2:7000");
    let server = blue.accept(listener);
    blue.close(listener);
    let again = blue.listen("0.0.0.0:7000");
    red.connect("10.0.0.2:7000");
    blue.accept(again);
    red.send(client, "and the first?");
    blue.receive(server, 100);
}

fn a_port_without_reuse_is_not_listened_on_again_while_its_connections_stand(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let without = Wishes { without_reuse: true, ..Wishes::default() };
    // A port of its own: no connection of another case has been here.
    let listener = blue.listen_as("0.0.0.0:7077", ", without SO_REUSEADDR", 16, without.clone());
    red.connect("10.0.0.2:7077");
    blue.accept(listener);
    blue.close(listener);
    blue.listen_as("0.0.0.0:7077", ", without SO_REUSEADDR", 16, without);
}

fn a_backlog_of_two_lets_so_many_wait(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    blue.listen_with("0.0.0.0:7000", 2);
    for _ in 0..6 {
        let client = red.begin_connect("10.0.0.2:7000");
        red.connected_by_now(client);
    }
}
