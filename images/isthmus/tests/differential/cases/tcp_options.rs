//! TCP: what options do.

use super::cases;
use crate::column::Vr;
use crate::host::{Link, Probing, Until, Wishes};
use crate::scene::{Process, Scene, Socket};

cases! { "TCP: options":
    the_same_key_on_both_sides,
    another_key_is_silence,
    a_key_on_one_side_is_silence,
    a_key_for_somebody_else_does_not_matter,
    the_same_key_over_ipv6,
    a_minimum_ttl_that_the_peer_has,
    a_minimum_ttl_that_the_peer_has_not_is_silence,
    a_minimum_ttl_that_the_listener_has_not_is_silence,
    a_minimum_ttl_of_the_listener_alone,
    a_minimum_ttl_of_the_connector_alone,
    a_listener_that_is_too_far_for_its_connector_is_silence,
    a_minimum_hop_limit,
    a_listener_and_a_connection_on_the_link,
    a_listener_on_the_link_is_not_reached_from_its_own_router,
    a_listener_on_the_link_and_a_neighbor_that_asks_for_the_links_address,
    a_connection_on_the_link_reaches_no_listener_of_its_own_router,
    a_close_that_lingers_for_no_time_is_a_reset,
    a_listener_gives_its_linger_to_those_that_it_accepts,
    a_close_that_lingers_delivers,
    a_close_that_lingers_in_vain_leaves_all_that_was_taken,
    a_close_with_bytes_unread_is_a_reset_though_it_lingers,
    small_buffers_on_both_sides_carry_all,
    probes_and_delay_change_nothing_that_a_program_sees,
    a_peer_behind_a_cut_link_is_given_up_by_who_probes_it,
}

const AT: &str = "10.0.0.2:7000";

fn the_same_key_on_both_sides(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", key hush for red", 16, key("10.0.0.1", "hush"));
    let client = red.begin_connect_as(AT, ", key hush", key("10.0.0.2", "hush"));
    red.connected(client);
    let server = blue.accept(listener);
    red.send(client, "secret");
    blue.receive(server, 100);
    blue.close(server);
    red.receive(client, 100);
}

fn another_key_is_silence(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", key hush for red", 16, key("10.0.0.1", "hush"));
    let client = red.begin_connect_as(AT, ", key rush", key("10.0.0.2", "rush"));
    red.connected_by_now(client);
    blue.accept_by_now(listener);
}

fn a_key_on_one_side_is_silence(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", key hush for red", 16, key("10.0.0.1", "hush"));
    let client = red.begin_connect(AT);
    red.connected_by_now(client);
    blue.accept_by_now(listener);
    let open = blue.listen("0.0.0.0:7001");
    let client = red.begin_connect_as("10.0.0.2:7001", ", key hush", key("10.0.0.2", "hush"));
    red.connected_by_now(client);
    blue.accept_by_now(open);
}

fn a_key_for_somebody_else_does_not_matter(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", key hush for another", 16, key("203.0.113.1", "hush"));
    red.connect(AT);
    blue.accept(listener);
}

fn the_same_key_over_ipv6(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("[::]:7000", ", key hush for red", 16, key("2001:db8::1", "hush"));
    let client = red.begin_connect_as("[2001:db8::2]:7000", ", key hush", key("2001:db8::2", "hush"));
    red.connected(client);
    blue.accept(listener);
}

fn a_minimum_ttl_that_the_peer_has(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", minimum TTL 255, TTL 255", 16, near(255, 255));
    let client = red.begin_connect_as(AT, ", minimum TTL 255, TTL 255", near(255, 255));
    red.connected(client);
    let server = blue.accept(listener);
    red.send(client, "from nearby");
    blue.receive(server, 100);
}

fn a_minimum_ttl_that_the_peer_has_not_is_silence(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", minimum TTL 255", 16, near(255, 255));
    let client = red.begin_connect(AT);
    red.connected_by_now(client);
    blue.accept_by_now(listener);
}

fn a_minimum_ttl_that_the_listener_has_not_is_silence(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.begin_connect_as(AT, ", minimum TTL 255, TTL 255", near(255, 255));
    red.connected_by_now(client);
    blue.accept_by_now(listener);
}

fn a_minimum_ttl_of_the_listener_alone(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", minimum TTL 200", 16, least(200));
    let client = red.begin_connect_as(AT, ", TTL 200", ttl(200));
    red.connected(client);
    both_ways(&mut red, client, &mut blue, listener);
    let client = red.begin_connect_as(AT, ", TTL 199", ttl(199));
    red.connected_by_now(client);
    blue.accept_by_now(listener);
}

fn a_minimum_ttl_of_the_connector_alone(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", TTL 200", 16, ttl(200));
    let client = red.begin_connect_as(AT, ", minimum TTL 200", least(200));
    red.connected(client);
    both_ways(&mut red, client, &mut blue, listener);
}

fn a_listener_that_is_too_far_for_its_connector_is_silence(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", TTL 199", 16, ttl(199));
    let client = red.begin_connect_as(AT, ", minimum TTL 200", least(200));
    red.connected_by_now(client);
    blue.accept_by_now(listener);
}

fn a_minimum_hop_limit(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("[::]:7000", ", minimum TTL 255", 16, near(255, 255));
    let far = red.begin_connect("[2001:db8::2]:7000");
    red.connected_by_now(far);
    blue.accept_by_now(listener);
    let client = red.begin_connect_as("[2001:db8:1::2]:7000", ", TTL 255", ttl(255));
    red.connected(client);
    blue.accept(listener);
}

fn a_listener_and_a_connection_on_the_link(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen_as("0.0.0.0:7000", ", bound to the link", 16, on_link());
    let client = red.begin_connect_as(AT, ", bound to the link", on_link());
    red.connected(client);
    let server = blue.accept(listener);
    red.addresses(client);
    blue.addresses(server);
    let client = red.begin_connect_as("192.0.2.2:7000", ", bound to the link", on_link());
    red.connected(client);
    blue.accept(listener);
}

fn a_listener_on_the_link_is_not_reached_from_its_own_router(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let mut neighbor = scene.process(Vr::Blue);
    let listener = blue.listen_as("0.0.0.0:7000", ", bound to the link", 16, on_link());
    let client = neighbor.begin_connect("192.0.2.2:7000");
    neighbor.connected(client);
    blue.accept_by_now(listener);
    red.connect(AT);
    blue.accept(listener);
}

fn a_listener_on_the_link_and_a_neighbor_that_asks_for_the_links_address(scene: &Scene<'_>) {
    let (_red, mut blue) = scene.two();
    let mut neighbor = scene.process(Vr::Blue);
    blue.listen_as("0.0.0.0:7000", ", bound to the link", 16, on_link());
    let client = neighbor.begin_connect(AT);
    neighbor.connected(client);
}

fn a_connection_on_the_link_reaches_no_listener_of_its_own_router(scene: &Scene<'_>) {
    let (mut red, _blue) = scene.two();
    let listener = red.listen("0.0.0.0:7000");
    let client = red.begin_connect_as(AT, ", bound to the link", on_link());
    red.connected(client);
    let client = red.begin_connect_as("192.0.2.1:7000", ", bound to the link", on_link());
    red.connected_by_now(client);
    red.accept_by_now(listener);
}

fn a_close_that_lingers_for_no_time_is_a_reset(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.begin_connect_as(AT, ", linger 0", Wishes { linger: Some(0), ..Wishes::default() });
    red.connected(client);
    let server = blue.accept(listener);
    red.close(client);
    blue.wait(server, Until::HungUp);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_listener_gives_its_linger_to_those_that_it_accepts(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let lingers = Wishes { linger: Some(0), ..Wishes::default() };
    let listener = blue.listen_as("0.0.0.0:7000", ", linger 0", 16, lingers);
    let client = red.connect(AT);
    let server = blue.accept(listener);
    blue.close(server);
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
}

fn a_close_that_lingers_delivers(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.begin_connect_as(AT, ", linger 5", Wishes { linger: Some(5), ..Wishes::default() });
    red.connected(client);
    let server = blue.accept(listener);
    red.send(client, "last words");
    red.close(client);
    blue.wait(server, Until::ReadClosed);
    blue.receive(server, 100);
    blue.receive(server, 100);
}

fn a_close_that_lingers_in_vain_leaves_all_that_was_taken(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.begin_connect_as(AT, ", linger 1", Wishes { linger: Some(1), ..Wishes::default() });
    red.connected(client);
    let server = blue.accept(listener);
    let filled = red.fill(client);
    red.close(client);
    blue.drain_filled(server, filled);
}

fn a_close_with_bytes_unread_is_a_reset_though_it_lingers(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client = red.begin_connect_as(AT, ", linger 5", Wishes { linger: Some(5), ..Wishes::default() });
    red.connected(client);
    let server = blue.accept(listener);
    blue.send(server, "unread");
    red.wait(client, Until::Readable);
    red.close(client);
    blue.wait(server, Until::HungUp);
    blue.receive(server, 100);
}

fn small_buffers_on_both_sides_carry_all(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let small = Wishes { send_buffer: Some(4096), receive_buffer: Some(4096), ..Wishes::default() };
    let listener = blue.listen_as("0.0.0.0:7000", ", small buffers", 16, small.clone());
    let client = red.begin_connect_as(AT, ", small buffers", small);
    red.connected(client);
    let server = blue.accept(listener);
    red.exchange(client, &mut blue, server, 1 << 18, 1 << 18);
}

fn probes_and_delay_change_nothing_that_a_program_sees(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let wishes = Wishes { keepalive: Some(Probing::Usual), nodelay: Some(false), ..Wishes::default() };
    let client = red.begin_connect_as(AT, ", keepalive, no nodelay", wishes);
    red.connected(client);
    let server = blue.accept(listener);
    red.send(client, "a");
    red.send(client, "b");
    blue.receive(server, 1);
    blue.receive(server, 1);
    blue.send(server, "c");
    red.receive(client, 1);
}

fn a_peer_behind_a_cut_link_is_given_up_by_who_probes_it(scene: &Scene<'_>) {
    let (mut red, mut blue) = scene.two();
    let listener = blue.listen("0.0.0.0:7000");
    let client =
        red.begin_connect_as(AT, ", probes", Wishes { keepalive: Some(Probing::Impatient), ..Wishes::default() });
    red.connected(client);
    let patient = red.connect(AT);
    let servers = [blue.accept(listener), blue.accept(listener)];
    blue.send(servers[0], "still here");
    red.receive(client, 100);
    let cut = scene.cut_link();
    red.wait(client, Until::HungUp);
    red.receive(client, 100);
    red.receive(client, 100);
    red.ready(patient);
    drop(cut);
    // Nobody else has noticed.
    blue.ready(servers[1]);
    red.send(patient, "and again");
    blue.receive(servers[1], 100);
}

fn key(peer: &str, key: &str) -> Wishes {
    let peer = peer.parse().expect("an address");
    Wishes { key: Some((peer, key.to_owned())), ..Wishes::default() }
}

/// Bytes each way over a connection that stands.
fn both_ways(red: &mut Process<'_>, client: Socket, blue: &mut Process<'_>, listener: Socket) {
    let server = blue.accept(listener);
    red.send(client, "there");
    blue.receive(server, 100);
    blue.send(server, "and back");
    red.receive(client, 100);
}

fn least(minimum_ttl: u8) -> Wishes {
    Wishes { minimum_ttl: Some(minimum_ttl), ..Wishes::default() }
}

fn near(minimum_ttl: u8, ttl: u8) -> Wishes {
    Wishes { minimum_ttl: Some(minimum_ttl), ttl: Some(ttl), ..Wishes::default() }
}

fn ttl(ttl: u8) -> Wishes {
    Wishes { ttl: Some(ttl), ..Wishes::default() }
}

fn on_link() -> Wishes {
    Wishes { on: Some(Link::First), ..Wishes::default() }
}
