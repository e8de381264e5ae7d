//! Sessions between cores: how they come up, collide, break, and what moves them.

use std::net::IpAddr;
use std::time::Duration;

use isthmus_bgp::packet::Open;
use sdk::core::{Closed, Input, ProtocolCore, Time};
use sdk::show::Value;
use sdk::socket::SocketError;

use crate::network::Network;
use crate::peer::{CONNECTION, EXTERNAL, Peer, keepalive, written};

pub const POLICY: &str = "route-policy ALL\n pass\n";

/// A configuration with external neighbors that pass everything.
pub fn bgp(as_number: u32, id: &str, networks: &[&str], neighbors: &[(&str, u32)]) -> String {
    let mut text = format!("{POLICY}router bgp {as_number}\n bgp router-id {id}\n address-family ipv4 unicast\n");
    networks.iter().for_each(|network| text += &format!("  network {network}\n"));
    for (address, remote_as) in neighbors {
        text += &format!(
            " neighbor {address}\n  remote-as {remote_as}\n  address-family ipv4 unicast\n   route-policy ALL in\n   \
             route-policy ALL out\n"
        );
    }
    text
}

fn pair() -> Network {
    Network::new(&[
        (&["10.0.0.0/31", "192.0.2.1/32"], &bgp(64501, "192.0.2.1", &["198.51.100.0/24"], &[("10.0.0.1", 64502)])),
        (&["10.0.0.1/31", "192.0.2.2/32"], &bgp(64502, "192.0.2.2", &["203.0.113.0/24"], &[("10.0.0.0", 64501)])),
    ])
}

fn assert_up(network: &Network) {
    assert_eq!(network.state(0, "10.0.0.1"), "Established", "{:#?}", network.routers[0].log);
    assert_eq!(network.state(1, "10.0.0.0"), "Established", "{:#?}", network.routers[1].log);
}

#[test]
fn a_session_comes_up_within_milliseconds_although_both_sides_connect_at_once() {
    let mut network = pair();
    network.run_for(Duration::from_millis(20));
    assert_up(&network);
}

#[test]
fn of_two_colliding_connections_the_one_opened_by_the_higher_identifier_stays() {
    let mut network = pair();
    network.run(1);
    assert_up(&network);
    let opened_by = |router, neighbor| network.cell(router, "bgp neighbor", "", ("neighbor", neighbor), "opened_by");
    assert_eq!(opened_by(0, "10.0.0.1"), Value::from("neighbor"));
    assert_eq!(opened_by(1, "10.0.0.0"), Value::from("us"));
    let sessions = network.cell(0, "bgp neighbor", "", ("neighbor", "10.0.0.1"), "sessions");
    assert_eq!(sessions, Value::from(1u64), "a collision is no flap");
}

#[test]
fn whatever_the_order_of_starting_exactly_one_session_results() {
    for head_start in 0..12 {
        let config = bgp(64501, "192.0.2.1", &[], &[("10.0.0.1", 64502)]);
        let other = bgp(64502, "192.0.2.2", &[], &[("10.0.0.0", 64501)]);
        let mut network = Network::new(&[(&["10.0.0.0/31"], &config), (&["10.0.0.1/31"], "")]);
        network.run_for(Duration::from_micros(4_997_000 + head_start * 500));
        network.configure(1, &other);
        network.run(6);
        assert_up(&network);
        let since = network.up_since(0, "10.0.0.1");
        network.run(600);
        assert_eq!(network.up_since(0, "10.0.0.1"), since, "head start {head_start}");
    }
}

#[test]
fn a_second_connection_that_breaks_is_no_error_of_the_session_that_stands() {
    let config = EXTERNAL.replace("  session-open-mode passive-only\n", "");
    let mut peer = Peer::new(&config);
    peer.pass(10);
    // Both sides connect at once: both connections stand.
    let (ours, end) =
        (peer.dialed.expect("an attempt"), |address: &str| (address.parse::<IpAddr>().unwrap(), 179).into());
    let (local, remote) = (end("10.0.0.0"), end("10.0.0.1"));
    peer.core.handle_input(peer.now, Input::Connected { connection: ours, local, remote });
    assert_eq!(peer.accept(CONNECTION).sent, ["OPEN", "OPEN"]);
    let open = written(|into| Open::ours(64502, 90, "10.0.0.1".parse().unwrap()).encode(into));
    for bytes in [open, keepalive()] {
        peer.core.handle_input(peer.now, Input::Received { connection: ours, bytes: &bytes });
    }
    let closed = Closed::Failed(SocketError::ConnectionReset);
    peer.core.handle_input(peer.now, Input::Closed { connection: CONNECTION, closed });
    let columns = &isthmus_bgp::show::tables()[0].columns;
    let rows = peer.core.show(peer.now, "bgp summary", &[]).unwrap();
    let cell = |name| &rows[0][columns.iter().position(|column| column == name).unwrap() - 1];
    assert_eq!((cell("state"), cell("last_error")), (&Value::Text("Established".into()), &Value::Null));
}

#[test]
fn a_neighbor_to_whom_no_route_leads_yet_is_tried_again_soon_and_then_when_the_retry_timer_expires() {
    let config = EXTERNAL.replace("  session-open-mode passive-only\n", "");
    let mut peer = Peer::new(&config);
    let mut tried_at = Vec::new();
    for millis in (0..20_000).step_by(10) {
        peer.now = Time::ZERO + Duration::from_millis(millis);
        peer.core.handle_timeout(peer.now);
        peer.drain();
        if let Some(connection) = peer.dialed.take() {
            tried_at.push(millis);
            let error = SocketError::NetworkUnreachable;
            peer.core.handle_input(peer.now, Input::ConnectFailed { connection, error });
            peer.drain();
        }
    }
    let since_first: Vec<u64> = tried_at.iter().map(|at| at - tried_at[0]).collect();
    assert_eq!(since_first[..7], [0, 50, 150, 350, 750, 1_550, 3_150]);
    assert_eq!(since_first[7..9], [8_150, 13_150], "the ConnectRetry time is five seconds");
}

#[test]
fn a_silent_neighbor_is_dead_after_the_hold_time() {
    let mut network = pair();
    network.run(10);
    network.set_cut(0, 1, true);
    network.run(119);
    assert_up(&network);
    network.run(62);
    assert_ne!(network.state(0, "10.0.0.1"), "Established");
    assert!(network.routers[0].rib.is_empty());
    assert!(network.routers[0].log.iter().any(|line| line.contains("WARN") && line.contains("Hold Timer Expired")));
    network.set_cut(0, 1, false);
    network.run(6);
    assert_up(&network);
}

#[test]
fn the_lower_hold_time_counts_and_keepalives_come_at_a_third_of_it() {
    let mut network = pair();
    let long = bgp(64502, "192.0.2.2", &[], &[("10.0.0.0", 64501)]);
    network.configure(1, &long.replacen(" address-family", " timers bgp 8 9\n address-family", 1));
    network.run(6);
    let cell = |column| network.cell(0, "bgp neighbor", "", ("neighbor", "10.0.0.1"), column);
    assert_eq!(cell("hold_time"), Value::from(9.0));
    assert_eq!(cell("keepalive"), Value::from(3.0));
    network.run(100);
    assert_up(&network);
}

#[test]
fn after_a_broken_connection_the_session_is_back_within_the_connect_retry_time() {
    let mut network = pair();
    network.set_network(1, "203.0.113.0/24", Some(0));
    network.run(10);
    assert_eq!(network.installed(0), ["203.0.113.0/24 10.0.0.1"]);
    network.break_connections(0, 1);
    network.run_for(Duration::from_millis(10));
    assert_eq!(network.state(0, "10.0.0.1"), "Active");
    assert!(network.routers[0].rib.is_empty(), "routes go with the session");
    network.run(6);
    assert_up(&network);
    assert_eq!(network.installed(0), ["203.0.113.0/24 10.0.0.1"]);
}

#[test]
fn the_interface_to_an_external_neighbor_going_down_ends_the_session_at_once() {
    let mut network = pair();
    network.run(10);
    network.set_cut(0, 1, true);
    network.set_up(0, 0, false);
    assert_eq!(network.state(0, "10.0.0.1"), "Active");
    network.set_cut(0, 1, false);
    network.set_up(0, 0, true);
    assert_eq!(network.state(0, "10.0.0.1"), "Connect", "no waiting for the timer");
}

#[test]
fn an_interface_that_disappears_with_the_stack_moves_no_session() {
    let mut network = pair();
    network.run(10);
    let since = network.up_since(0, "10.0.0.1");
    for state in network.routers[0].interfaces.clone() {
        network.input(0, Input::InterfaceRemoved(state.name.clone()));
        network.input(0, Input::Interface(state));
    }
    network.run(10);
    assert_eq!(network.up_since(0, "10.0.0.1"), since);
}

#[test]
fn a_session_from_loopback_to_loopback_speaks_from_the_update_source() {
    let config = |own: u32, id, peer, peer_as| {
        bgp(own, id, &[], &[(peer, peer_as)])
            .replace("  remote-as", "  ebgp-multihop 2\n  update-source Loopback1\n  remote-as")
    };
    let mut network = Network::new(&[
        (&["10.0.0.0/31", "192.0.2.1/32"], &config(64501, "192.0.2.1", "192.0.2.2", 64502)),
        (&["10.0.0.1/31", "192.0.2.2/32"], &config(64502, "192.0.2.2", "192.0.2.1", 64501)),
    ]);
    network.run(1);
    assert_eq!(network.state(0, "192.0.2.2"), "Established");
    network.set_up(0, 0, false);
    assert_eq!(network.state(0, "192.0.2.2"), "Established", "another way may lead there");
}

#[test]
fn a_far_neighbor_is_tried_at_once_when_a_way_leads_there() {
    let config = bgp(64501, "192.0.2.1", &[], &[("192.0.2.2", 64501)]);
    let mut network = Network::new(&[(&["10.0.0.0/31"], &config)]);
    // Until only the connect retry timer is left.
    network.run(4);
    let before = network.routers[0].connects;
    network.set_far(0, "192.0.2.2", Some(1));
    network.run_for(Duration::from_millis(20));
    assert_eq!(network.routers[0].connects, before + 1, "and not only when the connect retry timer expires");
}

#[test]
fn an_update_source_holds_though_the_router_id_is_chosen_later() {
    let config = |id: &str, peer| {
        bgp(64500, id, &[], &[(peer, 64500)])
            .replace(&format!(" bgp router-id {id}\n"), "")
            .replace("  remote-as", "  update-source Loopback1\n  remote-as")
    };
    let mut network = Network::new(&[
        (&["10.0.0.0/31", "192.0.2.1/32"], &config("192.0.2.1", "192.0.2.2")),
        (&["10.0.0.1/31", "192.0.2.2/32"], &config("192.0.2.2", "192.0.2.1")),
    ]);
    network.run(1);
    assert_eq!(network.state(0, "192.0.2.2"), "Established", "{:#?}", network.routers[1].log);
}

#[test]
fn an_update_source_without_an_address_is_waited_for() {
    let config = bgp(64501, "192.0.2.1", &[], &[("10.0.0.1", 64502)])
        .replace("  remote-as", "  update-source Loopback7\n  remote-as");
    let network = Network::new(&[(&["10.0.0.0/31"], &config)]);
    assert_eq!(network.state(0, "10.0.0.1"), "Idle");
    let note = network.cell(0, "bgp summary", "", ("neighbor", "10.0.0.1"), "note");
    assert_eq!(note, Value::from("the update-source has no address"));
}

#[test]
fn without_a_configured_router_id_the_highest_loopback_address_serves() {
    let config = bgp(64501, "192.0.2.9", &[], &[("10.0.0.1", 64502)]).replace(" bgp router-id 192.0.2.9\n", "");
    let addresses = ["10.0.0.0/31", "192.0.2.1/32", "192.0.2.3/32"];
    let mut network = Network::new(&[(&addresses, &config)]);
    network.run(1);
    let id = network.cell(0, "bgp summary", "", ("neighbor", "10.0.0.1"), "router_id");
    assert_eq!(id, Value::from("192.0.2.3"));
    let mut bare = Network::new(&[(&[], &config)]);
    bare.run(1);
    assert_eq!(bare.state(0, "10.0.0.1"), "Idle");
    assert!(bare.routers[0].log[0].contains("no router ID"));
}

/// Three routers: 0 in the middle of 1 and 2.
fn line() -> (Network, String) {
    let middle = bgp(64501, "192.0.2.1", &[], &[("10.0.0.1", 64502), ("10.0.1.1", 64503)]);
    let network = Network::new(&[
        (&["10.0.0.0/31", "10.0.1.0/31"], &middle),
        (&["10.0.0.1/31"], &bgp(64502, "192.0.2.2", &[], &[("10.0.0.0", 64501)])),
        (&["10.0.1.1/31"], &bgp(64503, "192.0.2.3", &[], &[("10.0.1.0", 64501)])),
    ]);
    (network, middle)
}

#[test]
fn a_changed_neighbor_moves_its_own_session_only() {
    let (mut network, middle) = line();
    network.run(10);
    let since = network.up_since(0, "10.0.0.1");
    network.configure(0, &middle.replace("remote-as 64503", "remote-as 64999"));
    network.run(10);
    assert_eq!(network.up_since(0, "10.0.0.1"), since);
    assert_ne!(network.state(0, "10.0.1.1"), "Established");
    let error = network.cell(2, "bgp summary", "", ("neighbor", "10.0.1.0"), "last_error");
    assert!(matches!(error, Value::Text(text) if text.contains("Bad Peer AS")));
    network.configure(0, &middle);
    network.run(10);
    assert_eq!(network.state(0, "10.0.1.1"), "Established");
    assert_eq!(network.up_since(0, "10.0.0.1"), since);
}

#[test]
fn policies_and_descriptions_change_under_a_session() {
    let (mut network, middle) = line();
    network.run(10);
    let since = network.up_since(0, "10.0.0.1");
    let changed = middle.replace("  remote-as 64502", "  remote-as 64502\n  description upstream");
    network.configure(0, &changed.replace(" pass", " drop"));
    network.run(10);
    assert_eq!(network.up_since(0, "10.0.0.1"), since);
}

#[test]
fn shutdown_and_removal_say_goodbye_and_nothing_is_left_of_them() {
    let (mut network, middle) = line();
    network.run(10);
    network.configure(0, &middle.replace("  remote-as 64503", "  remote-as 64503\n  shutdown"));
    network.run(60);
    assert_eq!(network.state(0, "10.0.1.1"), "Idle");
    assert_ne!(network.state(2, "10.0.1.0"), "Established");
    assert!(network.routers[2].log.iter().any(|line| line.contains("Cease/Administrative Shutdown")));
    network.configure(0, "");
    network.run(60);
    assert!(network.routers[1].log.iter().any(|line| line.contains("Cease/Peer De-configured")));
    assert_eq!(network.routers[0].core.show(network.now, "bgp summary", &[]), Some(vec![]));
}

#[test]
fn clear_moves_the_named_session_only() {
    let (mut network, _) = line();
    network.run(10);
    let since = network.up_since(0, "10.0.0.1");
    let other = network.up_since(0, "10.0.1.1");
    let nobody = ["clear", "bgp", "10.0.9.9"].map(str::to_owned);
    assert_eq!(network.command(0, &nobody), Err("no neighbor 10.0.9.9 is configured".to_owned()));
    network.command(0, &["clear", "bgp", "10.0.1.1"].map(str::to_owned)).unwrap();
    network.run(10);
    assert_eq!(network.up_since(0, "10.0.0.1"), since);
    assert!(network.up_since(0, "10.0.1.1") > other);
    assert!(network.routers[2].log.iter().any(|line| line.contains("Cease/Administrative Reset")));
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut network = pair();
        network.set_network(0, "198.51.100.0/24", Some(0));
        network.run(300);
        (network.routers[0].log.clone(), network.routers[1].log.clone(), network.installed(1))
    };
    assert_eq!(run(), run());
}
