//! Two links between the same two routers: which one is spoken over, and heard by.

use super::cases;
use crate::host::{GroupsBy, Link, Wishes};
use crate::scene::{Process, Scene, Socket};

cases! { "Two links":
    a_connection_takes_the_link_of_its_address,
    a_listener_on_a_link_is_reached_over_that_link_alone,
    a_connection_takes_the_link_that_it_is_bound_to,
    a_connection_bound_to_a_link_that_does_not_lead_there,
    a_connection_from_the_address_of_the_other_link,
    each_link_has_a_listener_of_its_own,
    a_datagram_takes_the_link_of_its_address_and_says_so,
    a_socket_on_a_link_hears_what_comes_by_it_alone,
    each_link_has_a_udp_socket_of_its_own,
    a_datagram_by_a_link_that_does_not_lead_there,
    a_datagram_of_a_socket_on_a_link_that_does_not_lead_there,
    a_raw_socket_on_a_link_hears_what_comes_by_it_alone,
    a_group_is_joined_on_one_link,
    a_group_is_joined_on_both_links,
    a_group_is_left_on_one_link,
    a_socket_chooses_the_link_of_its_groups,
    a_datagram_chooses_the_link_of_its_group,
    a_group_without_a_link,
    a_socket_on_a_link_hears_groups_of_that_link_alone,
    a_socket_on_a_link_is_asked_to_send_to_groups_by_the_other,
    a_group_is_left_by_who_closes_on_one_link,
    ipv6_takes_the_link_of_its_address,
    each_link_has_link_local_addresses_of_its_own,
    a_link_local_address_is_listened_on_at_one_link,
    a_datagram_to_a_link_local_address_of_each_link,
    an_ipv6_group_is_joined_on_one_link,
    an_ipv6_group_is_joined_on_each_link_by_another_socket,
    an_ipv6_socket_chooses_the_link_of_its_groups,
}

/// Blue's address on the other link.
const OTHER: &str = "10.0.1.2:7000";
const FIRST: &str = "10.0.0.2:7000";

/// AllSPFRouters (RFC 2328, RFC 5340).
const HELLO: &str = "224.0.0.5";
const HELLO_V6: &str = "ff02::5";

fn on(link: Link) -> Wishes {
    Wishes { on: Some(link), ..Wishes::default() }
}

fn groups_by(link: Link) -> Wishes {
    Wishes { groups_by: GroupsBy::Link(link), ..Wishes::default() }
}

/// A socket that stands says that those before it, with their groups, are known.
fn settle(process: &mut Process<'_>) {
    process.udp("0.0.0.0:0");
}

/// Bytes each way over a connection, whose addresses are looked at.
fn stands(red: &mut Process<'_>, client: Socket, blue: &mut Process<'_>, listener: Socket) {
    red.connected(client);
    carries(red, client, blue, listener);
}

/// The same of one whose connector has been told that it stands.
fn carries(red: &mut Process<'_>, client: Socket, blue: &mut Process<'_>, listener: Socket) {
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
    red.send(client, "there");
    blue.receive(server, 100);
    blue.send(server, "and back");
    red.receive(client, 100);
}

fn a_connection_takes_the_link_of_its_address(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    for to in [FIRST, OTHER] {
        let client = red.begin_connect(to);
        stands(&mut red, client, &mut blue, listener);
    }
}

fn a_listener_on_a_link_is_reached_over_that_link_alone(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", bound to the other link", 16, on(Link::Other));
    red.connect(FIRST);
    red.connect("192.0.2.2:7000");
    let client = red.begin_connect(OTHER);
    stands(&mut red, client, &mut blue, listener);
    blue.close(listener);
    let listener = blue.listen_as("0.0.0.0:7000", ", bound to the link", 16, on(Link::First));
    red.connect(OTHER);
    let client = red.begin_connect(FIRST);
    stands(&mut red, client, &mut blue, listener);
}

fn a_connection_takes_the_link_that_it_is_bound_to(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.begin_connect_as(OTHER, ", bound to the other link", on(Link::Other));
    stands(&mut red, client, &mut blue, listener);
    let client = red.begin_connect_as(FIRST, ", bound to the link", on(Link::First));
    stands(&mut red, client, &mut blue, listener);
}

fn a_connection_bound_to_a_link_that_does_not_lead_there(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    blue.listen("0.0.0.0:7000");
    for (to, link) in [(FIRST, Link::Other), (OTHER, Link::First), ("192.0.2.2:7000", Link::Other)] {
        let client = red.begin_connect_as(to, &format!(", bound to the {link}"), on(link));
        red.connected_by_now(client);
    }
}

fn a_connection_from_the_address_of_the_other_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    for (from, to) in [("10.0.1.1", FIRST), ("10.0.0.1", OTHER)] {
        let client = red.connect_from(from.parse().ok(), None, to);
        carries(&mut red, client, &mut blue, listener);
    }
}

fn each_link_has_a_listener_of_its_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let first = blue.listen_as("0.0.0.0:7000", ", bound to the link", 16, on(Link::First));
    red.connect(FIRST);
    blue.accept(first);
    blue.listen_as("0.0.0.0:7000", ", bound to the other link", 16, on(Link::Other));
}

fn a_datagram_takes_the_link_of_its_address_and_says_so(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = (red.udp("0.0.0.0:4000"), blue.udp("0.0.0.0:5300"));
    for to in ["10.0.0.2:5300", "10.0.1.2:5300", "192.0.2.2:5300"] {
        red.send_to(client, to, "which way?");
        blue.receive_from(server);
    }
    for to in ["10.0.0.1:4000", "10.0.1.1:4000", "192.0.2.1:4000"] {
        blue.send_to(server, to, "and back");
        red.receive_from(client);
    }
}

fn a_socket_on_a_link_hears_what_comes_by_it_alone(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    for (link, port) in [(Link::Other, 5300), (Link::First, 5301)] {
        let how = format!(", bound to the {link}");
        let server = blue.udp_as(&format!("0.0.0.0:{port}"), &how, on(link));
        for host in ["10.0.0.2", "10.0.1.2", "192.0.2.2"] {
            red.send_to(client, &format!("{host}:{port}"), &format!("to {host}"));
            blue.receive_from_by_now(server);
        }
    }
}

fn each_link_has_a_udp_socket_of_its_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let first = blue.udp_as("0.0.0.0:5300", ", bound to the link", on(Link::First));
    let other = blue.udp_as("0.0.0.0:5300", ", bound to the other link", on(Link::Other));
    red.send_to(client, "10.0.1.2:5300", "to the other");
    red.send_to(client, "10.0.0.2:5300", "to the first");
    blue.receive_from(first);
    blue.receive_from(other);
    blue.udp("0.0.0.0:5300");
}

fn a_datagram_by_a_link_that_does_not_lead_there(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = (red.udp("0.0.0.0:4000"), blue.udp("0.0.0.0:5300"));
    red.send_by(client, Link::Other, "10.0.1.2:5300", "the right one");
    blue.receive_from(server);
    red.send_by(client, Link::First, "10.0.0.2:5300", "the right one");
    blue.receive_from(server);
    red.send_by(client, Link::Other, "10.0.0.2:5300", "the wrong one");
    blue.receive_from_by_now(server);
    red.error_by_now(client);
}

fn a_datagram_of_a_socket_on_a_link_that_does_not_lead_there(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp_as("0.0.0.0:4000", ", bound to the other link", on(Link::Other));
    let server = blue.udp("0.0.0.0:5300");
    red.send_to(client, "10.0.1.2:5300", "the right one");
    blue.receive_from(server);
    red.send_to(client, "10.0.0.2:5300", "the wrong one");
    blue.receive_from_by_now(server);
    red.error_by_now(client);
}

fn a_raw_socket_on_a_link_hears_what_comes_by_it_alone(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.raw(89, "0.0.0.0");
    let sockets = Link::ALL.map(|link| blue.raw_as(89, "0.0.0.0", &format!(", bound to the {link}"), on(link)));
    let any = blue.raw(89, "0.0.0.0");
    for to in ["10.0.0.2:0", "10.0.1.2:0"] {
        red.send_to(client, to, "hello");
        blue.receive_from(any);
        sockets.into_iter().for_each(|socket| blue.receive_from_by_now(socket));
    }
}

fn a_group_is_joined_on_one_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let senders = Link::ALL.map(|link| red.raw_as(89, "0.0.0.0", &format!(", groups by the {link}"), groups_by(link)));
    for joined in Link::ALL {
        let socket = blue.raw(89, "0.0.0.0");
        blue.join_on(socket, joined, HELLO);
        settle(&mut blue);
        for (sender, link) in senders.into_iter().zip(Link::ALL) {
            red.send_to(sender, "224.0.0.5:0", &format!("by the {link}"));
            blue.receive_from_by_now(socket);
        }
        blue.close(socket);
    }
}

fn a_group_is_joined_on_both_links(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:1985");
    for link in Link::ALL {
        blue.join_on(server, link, "224.0.0.2");
    }
    settle(&mut blue);
    for link in Link::ALL {
        red.send_by(client, link, "224.0.0.2:1985", &format!("by the {link}"));
        blue.receive_from(server);
        blue.receive_from_by_now(server);
    }
}

fn a_group_is_left_on_one_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp("0.0.0.0:1985");
    for link in Link::ALL {
        blue.join_on(server, link, "224.0.0.2");
    }
    blue.leave_on(server, Link::First, "224.0.0.2");
    blue.leave_on(server, Link::First, "224.0.0.2");
    settle(&mut blue);
    for link in Link::ALL {
        red.send_by(client, link, "224.0.0.2:1985", &format!("by the {link}"));
        blue.receive_from_by_now(server);
    }
}

fn a_socket_chooses_the_link_of_its_groups(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let server = blue.udp("0.0.0.0:1985");
    for link in Link::ALL {
        blue.join_on(server, link, "224.0.0.2");
    }
    settle(&mut blue);
    for (link, port) in [(Link::Other, 4000), (Link::First, 4001)] {
        let client = red.udp_as(&format!("0.0.0.0:{port}"), &format!(", groups by the {link}"), groups_by(link));
        red.send_to(client, "224.0.0.2:1985", "to all routers");
        blue.receive_from(server);
    }
}

fn a_datagram_chooses_the_link_of_its_group(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp_as("0.0.0.0:4000", ", groups by the other link", groups_by(Link::Other));
    let server = blue.udp("0.0.0.0:1985");
    for link in Link::ALL {
        blue.join_on(server, link, "224.0.0.2");
    }
    settle(&mut blue);
    red.send_by(client, Link::First, "224.0.0.2:1985", "not as usual");
    blue.receive_from(server);
    red.send_to(client, "224.0.0.2:1985", "as usual");
    blue.receive_from(server);
}

fn a_group_without_a_link(scene: &Scene<'_>) {
    let mut red = scene.two().0;
    let nowhere = Wishes { groups_by: GroupsBy::Route, ..Wishes::default() };
    let client = red.udp_as("0.0.0.0:4000", ", groups by no link", nowhere);
    red.send_to(client, "224.0.0.2:1985", "which way?");
}

fn a_socket_on_a_link_hears_groups_of_that_link_alone(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("0.0.0.0:4000");
    let server = blue.udp_as("0.0.0.0:1985", ", bound to the other link", on(Link::Other));
    for link in Link::ALL {
        blue.join_on(server, link, "224.0.0.2");
    }
    settle(&mut blue);
    for link in Link::ALL {
        red.send_by(client, link, "224.0.0.2:1985", &format!("by the {link}"));
        blue.receive_from_by_now(server);
    }
}

fn a_socket_on_a_link_is_asked_to_send_to_groups_by_the_other(scene: &Scene<'_>) {
    let mut red = scene.two().0;
    let both = Wishes { on: Some(Link::First), ..groups_by(Link::Other) };
    red.udp_as("0.0.0.0:4000", ", bound to the link, groups by the other link", both);
}

fn a_group_is_left_by_who_closes_on_one_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.raw(89, "0.0.0.0");
    let sockets = Link::ALL.map(|link| {
        let socket = blue.raw(89, "0.0.0.0");
        blue.join_on(socket, link, HELLO);
        socket
    });
    blue.close(sockets[0]);
    settle(&mut blue);
    for link in Link::ALL {
        red.send_by(client, link, "224.0.0.5:0", &format!("by the {link}"));
        blue.receive_from_by_now(sockets[1]);
    }
}

fn ipv6_takes_the_link_of_its_address(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    let (client, server) = (red.udp("[::]:4000"), blue.udp("[::]:5300"));
    for host in ["2001:db8::2", "2001:db8:3::2", "2001:db8:1::2"] {
        let connection = red.begin_connect(&format!("[{host}]:7000"));
        stands(&mut red, connection, &mut blue, listener);
        red.send_to(client, &format!("[{host}]:5300"), "which way?");
        blue.receive_from(server);
    }
}

fn each_link_has_link_local_addresses_of_its_own(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[::]:7000");
    for host in ["blue%link", "blue%other"] {
        let client = red.begin_connect(&format!("[{host}]:7000"));
        stands(&mut red, client, &mut blue, listener);
    }
}

fn a_link_local_address_is_listened_on_at_one_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("[blue%other]:7000");
    red.connect("[blue%link]:7000");
    red.connect("[2001:db8:3::2]:7000");
    let client = red.begin_connect("[blue%other]:7000");
    stands(&mut red, client, &mut blue, listener);
}

fn a_datagram_to_a_link_local_address_of_each_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let (client, server) = (red.udp("[::]:4000"), blue.udp("[::]:5300"));
    for (own, peer) in [("red%link", "blue%link"), ("red%other", "blue%other")] {
        red.send_to(client, &format!("[{peer}]:5300"), "question");
        blue.receive_from(server);
        blue.send_to(server, &format!("[{own}]:4000"), "answer");
        red.receive_from(client);
    }
    let bound = blue.udp("[blue%other]:5301");
    red.send_to(client, "[blue%link]:5301", "to the link");
    red.send_to(client, "[blue%other]:5301", "to the other");
    blue.receive_from(bound);
    blue.receive_from_by_now(bound);
}

fn an_ipv6_group_is_joined_on_one_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("[::]:4000");
    for joined in Link::ALL {
        let server = blue.udp("[::]:1985");
        blue.join_on(server, joined, HELLO_V6);
        settle(&mut blue);
        for link in Link::ALL {
            red.send_by(client, link, "[ff02::5]:1985", &format!("by the {link}"));
            blue.receive_from_by_now(server);
        }
        blue.close(server);
    }
}

fn an_ipv6_group_is_joined_on_each_link_by_another_socket(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let client = red.udp("[::]:4000");
    let servers = [(Link::First, 1985), (Link::Other, 1986)].map(|(link, port)| {
        let socket = blue.udp(&format!("[::]:{port}"));
        blue.join_on(socket, link, HELLO_V6);
        socket
    });
    settle(&mut blue);
    for link in Link::ALL {
        red.send_by(client, link, "[ff02::5]:1985", &format!("by the {link}"));
        blue.receive_from_by_now(servers[0]);
    }
}

fn an_ipv6_socket_chooses_the_link_of_its_groups(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let server = blue.udp("[::]:1985");
    for link in Link::ALL {
        blue.join_on(server, link, HELLO_V6);
    }
    settle(&mut blue);
    for (link, port) in [(Link::Other, 4000), (Link::First, 4001)] {
        let client = red.udp_as(&format!("[::]:{port}"), &format!(", groups by the {link}"), groups_by(link));
        red.send_to(client, "[ff02::5]:1985", "to all that speak OSPF");
        blue.receive_from(server);
    }
}
