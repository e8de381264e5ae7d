//! The manager as a whole: two VRs, red and blue, and what their processes are told.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipc::protocol::{Generation, Identity, Order, Origin, Ticket, VrRow};
use ipc::service::ClientId;
use ipc::{Criteria, Family, Pathname, Pid, ServiceName, VrId, VrName};
use vr_api::manager::{LibraryUpdate, Listener, Membership, RibQuestion, VrFibEntry, VrFibUpdate};
use vr_api::show::Value;

use super::desired::{Desired, DesiredInterface, DesiredVr};
use super::instance::{Action, Earlier, Manager};
use super::show;

const RED: VrId = VrId(1);
const BLUE: VrId = VrId(2);

fn name(text: &str) -> VrName {
    VrName::new(text).unwrap()
}

fn interface(name: &str, address: &str) -> DesiredInterface {
    let addresses = address.split(' ').map(|address| address.parse().unwrap()).collect();
    DesiredInterface { name: name.parse().unwrap(), addresses, link_local: None, shut: false, short_circuit: true }
}

fn desired() -> Desired {
    let vr = |vr: &str, wire: DesiredInterface, loopback: &str| DesiredVr {
        name: name(vr),
        classes: vec![ServiceName::new("rib").unwrap()],
        interfaces: vec![wire, interface("Loopback0", loopback)],
    };
    Desired {
        vrs: vec![
            vr("red", interface("blue", "10.0.0.0/31"), "192.0.2.1/32"),
            vr("blue", interface("red", "10.0.0.1/31"), "192.0.2.2/32"),
        ],
        connects: vec![(name("red"), name("blue"))],
    }
}

fn identity(vr: VrId, pid: u32) -> Identity {
    Identity { vr, vr_name: None, pid: Pid(pid), name: ServiceName::new("bgp").unwrap(), origin: Origin::Supervised }
}

fn bgp_listener() -> Listener {
    let criteria = Criteria::Tcp(Family::Ipv4, NonZeroU16::new(179).unwrap());
    Listener { criteria, local: None, interface: None, backlog: 64, clauses: vec![], shared: vec![] }
}

const RED_BGP: ClientId = ClientId(1);
const BLUE_BGP: ClientId = ClientId(2);

/// Red and blue joined, a library in each, and blue's listener published.
fn listening() -> (Manager, Vec<Action>) {
    let mut manager = Manager::new(Earlier::default(), 100);
    manager.configure(&desired()).unwrap();
    manager.library_up(RED_BGP, identity(RED, 11));
    manager.library_up(BLUE_BGP, identity(BLUE, 22));
    let (order, publishing) = manager.publish(BLUE_BGP, 7, bgp_listener()).unwrap();
    assert!(
        matches!(order, Order::PublishEndpoint { ref pathname, .. } if pathname.to_string() == "/2/22/ipv4/tcp/179")
    );
    manager.ordered(Ticket(5), publishing);
    let actions = manager.order_done(Ticket(5));
    (manager, actions)
}

fn entries(actions: &[Action], client: ClientId) -> Vec<(String, String)> {
    let shown = |entry: &VrFibEntry| (entry.to.to_string(), entry.source.to_string());
    let told = actions.iter().filter_map(|action| match action {
        Action::Library(to, LibraryUpdate::VrFib(VrFibUpdate::Change { added, .. })) if *to == client => Some(added),
        Action::Library(to, LibraryUpdate::VrFib(VrFibUpdate::Snapshot { entries, .. })) if *to == client => {
            Some(entries)
        }
        _ => None,
    });
    told.flatten().map(shown).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What the last update of a library says about its only inter-VR interface: addresses of the peer that are lost, and
/// own ones that are.
fn lost(actions: &[Action], client: ClientId) -> Option<(Vec<IpAddr>, Vec<IpAddr>)> {
    let told = actions.iter().rev().find_map(|action| match action {
        Action::Library(to, LibraryUpdate::VrFib(VrFibUpdate::Change { interfaces, .. })) if *to == client => {
            interfaces.first()
        }
        _ => None,
    });
    told.map(|interface| (interface.lost.clone(), interface.lost_from.clone()))
}

fn pair_of(to: &str, source: &str) -> (String, String) {
    (to.to_owned(), source.to_owned())
}

#[test]
fn a_first_configuration_orders_vrs_and_joins_them() {
    let mut manager = Manager::new(Earlier::default(), 100);
    let orders = manager.configure(&desired()).unwrap();
    assert!(matches!(orders[0], Action::Order(Order::Vr { vr: RED, .. })));
    assert!(matches!(orders[1], Action::Order(Order::Vr { vr: BLUE, .. })));
    assert!(matches!(orders[2], Action::Order(Order::Join { a: RED, b: BLUE, joined: true })));
    assert!(manager.configure(&desired()).unwrap().is_empty(), "the same once more changes nothing");
}

#[test]
fn a_listener_is_acknowledged_after_the_other_vrs_libraries_were_told() {
    let (_, actions) = listening();
    assert_eq!(entries(&actions, RED_BGP), [pair_of("10.0.0.1", "10.0.0.0")]);
    assert!(matches!(actions.last(), Some(Action::Library(BLUE_BGP, LibraryUpdate::Published { ticket: 7, .. }))));
    assert!(entries(&actions, BLUE_BGP).is_empty(), "nobody needs an entry for its own VR");
}

#[test]
fn a_loopback_hits_only_while_the_best_route_leads_over_the_inter_vr_interface() {
    let (mut manager, _) = listening();
    let asked = manager.rib_up(ClientId(9), RED);
    let (wire, loopback): (IpAddr, IpAddr) = (address("10.0.0.1"), address("192.0.2.2"));
    assert_eq!(asked, [Action::Rib(ClientId(9), RibQuestion::Track(vec![wire, loopback]))]);
    let over_blue = manager.routes(ClientId(9), vec![(loopback, Some("blue".parse().unwrap()))]);
    assert_eq!(entries(&over_blue, RED_BGP), [pair_of("192.0.2.2", "10.0.0.0")]);
    let elsewhere = manager.routes(ClientId(9), vec![(loopback, Some("Port0/0/0".parse().unwrap()))]);
    let Action::Library(RED_BGP, LibraryUpdate::VrFib(VrFibUpdate::Change { removed, .. })) = &elsewhere[0] else {
        panic!("{elsewhere:?}")
    };
    assert_eq!(removed[0].0, loopback);
}

#[test]
fn a_shut_end_takes_the_entries_away_and_tells_both_sides() {
    let (mut manager, _) = listening();
    let mut shut = desired();
    shut.vrs[1].interfaces[0].shut = true;
    let actions = manager.configure(&shut).unwrap();
    let down = |client| {
        actions.iter().any(|action| match action {
            Action::Library(to, LibraryUpdate::VrFib(VrFibUpdate::Change { interfaces, .. })) => {
                *to == client && interfaces.iter().all(|interface| !interface.up)
            }
            _ => false,
        })
    };
    assert!(down(RED_BGP) && down(BLUE_BGP), "{actions:?}");
}

#[test]
fn without_short_circuits_there_are_no_entries_while_everything_else_stands() {
    let (mut manager, _) = listening();
    for end in [0, 1] {
        let mut desired = desired();
        desired.vrs[end].interfaces[0].short_circuit = false;
        let actions = manager.configure(&desired).unwrap();
        let removed = actions.iter().find_map(|action| match action {
            Action::Library(RED_BGP, LibraryUpdate::VrFib(VrFibUpdate::Change { interfaces, removed, .. })) => {
                // Connections that stand are not to be stopped.
                assert!(interfaces.iter().all(|interface| interface.up && interface.lost.is_empty()));
                Some(removed.len())
            }
            _ => None,
        });
        assert_eq!(removed, Some(1), "{actions:?}");
        let rows = show::inter_vr(&manager.mapping, &manager.database, &show::Counters::new());
        let column = show::tables()[1].columns.iter().position(|column| column == "short_circuit").unwrap();
        let words = ["disabled", "disabled-by-peer"].map(Value::from);
        assert_eq!([&rows[end][column], &rows[1 - end][column]], [&words[0], &words[1]]);
        assert_eq!(entries(&manager.configure(&self::desired()).unwrap(), RED_BGP).len(), 1);
    }
}

#[test]
fn an_address_is_lost_to_both_sides_when_the_last_route_to_it_is() {
    let (mut manager, _) = listening();
    const RIB: ClientId = ClientId(9);
    manager.rib_up(RIB, RED);
    let loopback = address("192.0.2.2");
    let over = |name: &str| vec![(loopback, Some(name.parse().unwrap()))];
    assert_eq!(lost(&manager.routes(RIB, over("blue")), RED_BGP), None, "nothing was lost before anybody said so");
    assert_eq!(lost(&manager.routes(RIB, over("Port0/0/0")), RED_BGP), None, "another way is a way");
    let gone = manager.routes(RIB, vec![(loopback, None)]);
    assert_eq!(lost(&gone, RED_BGP), Some((vec![loopback], vec![])));
    assert_eq!(lost(&gone, BLUE_BGP), Some((vec![], vec![loopback])));
    let back = manager.routes(RIB, over("blue"));
    assert_eq!((lost(&back, RED_BGP), lost(&back, BLUE_BGP)), (Some((vec![], vec![])), Some((vec![], vec![]))));
}

#[test]
fn a_shut_interface_loses_what_no_other_way_leads_to() {
    let (mut manager, _) = listening();
    const RIB: ClientId = ClientId(9);
    manager.rib_up(RIB, RED);
    let (wire, loopback) = (address("10.0.0.1"), address("192.0.2.2"));
    manager.routes(RIB, [wire, loopback].map(|to| (to, Some("blue".parse().unwrap()))).to_vec());
    let mut shut = desired();
    shut.vrs[0].interfaces[0].shut = true;
    let closed = manager.configure(&shut).unwrap();
    // Before the RIB has said anything new: its routes lead over an interface that is shut.
    assert_eq!(lost(&closed, RED_BGP), Some((vec![wire, loopback], vec![address("10.0.0.0")])));
    assert_eq!(lost(&closed, BLUE_BGP), Some((vec![address("10.0.0.0")], vec![wire, loopback])));
    let around = [wire, loopback].map(|to| (to, Some("Port0/0/0".parse().unwrap())));
    assert_eq!(lost(&manager.routes(RIB, around.to_vec()), RED_BGP), Some((vec![], vec![address("10.0.0.0")])));
}

#[test]
fn a_dead_process_leaves_no_entry() {
    let (mut manager, _) = listening();
    let actions = manager.library_gone(BLUE_BGP);
    let Action::Library(RED_BGP, LibraryUpdate::VrFib(VrFibUpdate::Change { removed, .. })) = &actions[0] else {
        panic!("{actions:?}")
    };
    assert_eq!(removed.len(), 1);
}

/// A manager after another one, under which blue's bgp had published its endpoint; both libraries have come back.
fn restarted() -> Manager {
    let row = |vr, text: &str, peer| VrRow { vr, name: name(text), classes: Vec::new(), joined: vec![peer] };
    let vrs = vec![row(VrId(8), "red", VrId(3)), row(VrId(3), "blue", VrId(8))];
    let endpoints = [("/3/22/ipv4/tcp/179".parse().unwrap(), 77)].into();
    let mut manager = Manager::new(Earlier { vrs, endpoints }, 200);
    assert!(manager.library_up(RED_BGP, identity(VrId(8), 11)).is_empty());
    assert!(manager.library_up(BLUE_BGP, identity(VrId(3), 22)).is_empty());
    manager
}

/// Blue's bgp publishes again: what is done at once, and under which number procmgr has it.
fn publish_again(manager: &mut Manager) -> (Vec<Action>, Generation) {
    let (order, publishing) = manager.publish(BLUE_BGP, 1, bgp_listener()).unwrap();
    manager.ordered(Ticket(1), publishing);
    let Order::PublishEndpoint { generation, .. } = order else { panic!("{order:?}") };
    (manager.order_done(Ticket(1)), generation)
}

#[test]
fn a_restarted_manager_keeps_numbers_and_tells_nobody_before_all_have_published_again() {
    let mut manager = restarted();
    assert!(manager.is_holding());
    manager.configure(&desired()).unwrap();
    assert_eq!(manager.mapping.id(&name("red")), Some(VrId(8)));
    assert!(manager.expects_publications());
    let (done, generation) = publish_again(&mut manager);
    assert_eq!(generation, Generation(77), "who knows the endpoint from before still reaches it");
    assert!(done.is_empty(), "nor is blue told that it is known: {done:?}");
    assert!(!manager.expects_publications());
    let released = manager.release();
    assert_eq!(entries(&released, RED_BGP), [pair_of("10.0.0.1", "10.0.0.0")]);
    assert!(matches!(released.last(), Some(Action::Library(BLUE_BGP, LibraryUpdate::Published { ticket: 1, .. }))));
}

#[test]
fn a_restarted_manager_without_its_configuration_releases_nothing() {
    let mut manager = restarted();
    assert!(!manager.may_release(), "it would empty every vrFIB");
    manager.configure(&desired()).unwrap();
    assert!(manager.may_release());
}

/// Whether both libraries hear of their inter-VR interface before anybody hears of a way over one.
fn interfaces_come_first(actions: &[Action]) -> bool {
    let mut told = std::collections::HashSet::new();
    for action in actions {
        let (client, interfaces, ways) = match action {
            Action::Library(client, LibraryUpdate::VrFib(VrFibUpdate::Change { interfaces, added, .. })) => {
                (client, interfaces, added)
            }
            Action::Library(client, LibraryUpdate::VrFib(VrFibUpdate::Snapshot { interfaces, entries })) => {
                (client, interfaces, entries)
            }
            _ => continue,
        };
        if !ways.is_empty() {
            return told.len() == 2;
        }
        if !interfaces.is_empty() {
            told.insert(*client);
        }
    }
    panic!("no way in {actions:?}")
}

#[test]
fn both_sides_know_their_interface_before_either_knows_a_way_over_it() {
    let mut manager = restarted();
    manager.configure(&desired()).unwrap();
    publish_again(&mut manager);
    let released = manager.release();
    assert!(interfaces_come_first(&released), "{released:?}");
    let mut apart = desired();
    apart.connects.clear();
    manager.configure(&apart).unwrap();
    let joined = manager.configure(&desired()).unwrap();
    assert!(interfaces_come_first(&joined), "{joined:?}");
}

#[test]
fn a_second_listener_that_comes_and_goes_leaves_the_number_of_the_endpoint_alone() {
    let (mut manager, _) = listening();
    let number = |order: &Order| match order {
        Order::PublishEndpoint { generation, .. } => *generation,
        other => panic!("{other:?}"),
    };
    let at_loopback = Listener { local: Some(address("192.0.2.2")), ..bgp_listener() };
    let (order, publishing) = manager.publish(BLUE_BGP, 8, at_loopback).unwrap();
    assert_eq!(number(&order), Generation(100));
    manager.ordered(Ticket(6), publishing);
    assert!(entries(&manager.order_done(Ticket(6)), RED_BGP).is_empty(), "red knows the way already");
    // The stack refused it: its library takes it back.
    let withdrawn = manager.withdraw(BLUE_BGP, bgp_listener().criteria, Some(address("192.0.2.2")));
    let [Action::Order(order)] = &withdrawn[..] else { panic!("{withdrawn:?}") };
    assert_eq!(number(order), Generation(100));
    // Once nobody listens there any more, who does next is another one.
    manager.withdraw(BLUE_BGP, bgp_listener().criteria, None);
    let (order, _) = manager.publish(BLUE_BGP, 9, bgp_listener()).unwrap();
    assert_eq!(number(&order), Generation(101));
}

#[test]
fn every_process_that_joined_a_group_has_an_entry_for_it_until_it_leaves_or_dies() {
    let (mut manager, _) = listening();
    let (group, interface) = (IpAddr::from([224, 0, 0, 5]), "red".parse().unwrap());
    let membership = Membership { criteria: bgp_listener().criteria, group, interface };
    let joined = manager.join(BLUE_BGP, membership.clone());
    assert_eq!(entries(&joined, RED_BGP), [pair_of("224.0.0.5", "10.0.0.0")]);
    assert!(manager.join(BLUE_BGP, membership.clone()).is_empty(), "twice is once");
    let removed = |actions: &[Action]| match &actions[0] {
        Action::Library(RED_BGP, LibraryUpdate::VrFib(VrFibUpdate::Change { removed, .. })) => removed.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(removed(&manager.leave(BLUE_BGP, membership.clone())), 1);
    let elsewhere = Membership { interface: "green".parse().unwrap(), ..membership.clone() };
    assert!(manager.join(BLUE_BGP, elsewhere).is_empty(), "not the interface between the two");
    manager.join(BLUE_BGP, membership);
    assert_eq!(removed(&manager.library_gone(BLUE_BGP)), 2);
}

/// The same two VRs with IPv6 between them and on their loopbacks, and blue's listener of IPv6 published.
fn listening_on_ipv6(group: Option<&str>) -> (Manager, Vec<Action>) {
    let mut desired = desired();
    for (vr, wire, loopback, link_local) in
        [(0, "2001:db8:a::/127", "2001:db8::1/128", "fe80::1"), (1, "2001:db8:a::1/127", "2001:db8::2/128", "fe80::2")]
    {
        let interfaces = &mut desired.vrs[vr].interfaces;
        interfaces[0].addresses.push(wire.parse().unwrap());
        interfaces[0].link_local = Some(link_local.parse().unwrap());
        interfaces[1].addresses.push(loopback.parse().unwrap());
    }
    let mut manager = Manager::new(Earlier::default(), 100);
    manager.configure(&desired).unwrap();
    manager.library_up(RED_BGP, identity(RED, 11));
    manager.library_up(BLUE_BGP, identity(BLUE, 22));
    let criteria = Criteria::Raw(Family::Ipv6, ipc::IpProtocol::OSPF);
    let listener = Listener { criteria, ..bgp_listener() };
    let (_, publishing) = manager.publish(BLUE_BGP, 7, listener).unwrap();
    manager.ordered(Ticket(5), publishing);
    let mut actions = manager.order_done(Ticket(5));
    if let Some(group) = group {
        let (group, interface) = (group.parse().unwrap(), "red".parse().unwrap());
        actions = manager.join(BLUE_BGP, Membership { criteria, group, interface });
    }
    (manager, actions)
}

#[test]
fn a_listener_of_ipv6_is_reached_at_the_addresses_between_the_two_and_at_no_ipv4_one() {
    let (mut manager, actions) = listening_on_ipv6(None);
    let wanted = [pair_of("2001:db8:a::1", "2001:db8:a::"), pair_of("fe80::2", "fe80::1")];
    assert_eq!(entries(&actions, RED_BGP), wanted);
    let asked = manager.rib_up(ClientId(9), RED);
    let loopback: IpAddr = "2001:db8::2".parse().unwrap();
    let tracked =
        ["10.0.0.1", "192.0.2.2", "2001:db8::2", "2001:db8:a::1"].map(|address| address.parse().unwrap()).to_vec();
    assert_eq!(asked, [Action::Rib(ClientId(9), RibQuestion::Track(tracked))], "no link-local address has a route");
    let over_blue = manager.routes(ClientId(9), vec![(loopback, Some("blue".parse().unwrap()))]);
    assert_eq!(entries(&over_blue, RED_BGP), [pair_of("2001:db8::2", "2001:db8:a::")]);
}

#[test]
fn an_ipv6_group_of_the_link_is_spoken_to_with_the_link_local_address() {
    let (_, actions) = listening_on_ipv6(Some("ff02::5"));
    assert_eq!(entries(&actions, RED_BGP), [pair_of("ff02::5", "fe80::1")]);
}

/// Another process of blue.
const BLUE_TOO: ClientId = ClientId(3);

/// Processes that a look-up of red finds at 10.0.0.1, the one that answers first: red's library as it follows the updates.
fn found(ways: &mut Vec<u32>, actions: &[Action]) -> Vec<u32> {
    let pid = |entry: &Pathname| if let Pathname::Endpoint { pid, .. } = entry { pid.0 } else { 0 };
    let wire = address("10.0.0.1");
    for action in actions {
        if let Action::Library(RED_BGP, LibraryUpdate::VrFib(VrFibUpdate::Change { added, removed, .. })) = action {
            let gone: Vec<u32> = removed.iter().filter(|(to, _)| *to == wire).map(|(_, name)| pid(name)).collect();
            ways.retain(|way| !gone.contains(way));
            let new: Vec<u32> = added.iter().filter(|entry| entry.to == wire).map(|e| pid(&e.listener)).collect();
            let unknown: Vec<u32> = new.into_iter().filter(|pid| !ways.contains(pid)).collect();
            ways.extend(unknown);
        }
    }
    ways.clone()
}

#[test]
fn of_several_processes_the_address_counts_first_then_of_udp_who_was_bound_last_and_of_tcp_who_was_first() {
    let udp = Criteria::Udp(Family::Ipv4, NonZeroU16::new(520).unwrap());
    for (criteria, second_first) in [(udp, true), (bgp_listener().criteria, false)] {
        let mut manager = Manager::new(Earlier::default(), 100);
        manager.configure(&desired()).unwrap();
        manager.library_up(RED_BGP, identity(RED, 11));
        manager.library_up(BLUE_BGP, identity(BLUE, 22));
        manager.library_up(BLUE_TOO, identity(BLUE, 33));
        let mut publish = |client, local: Option<&str>| {
            let listener = Listener { criteria, local: local.map(address), ..bgp_listener() };
            let (_, publishing) = manager.publish(client, 1, listener).unwrap();
            manager.ordered(Ticket(9), publishing);
            manager.order_done(Ticket(9))
        };
        let mut ways = Vec::new();
        assert_eq!(found(&mut ways, &publish(BLUE_BGP, None)), [22]);
        let wanted = if second_first { [33, 22] } else { [22, 33] };
        assert_eq!(found(&mut ways, &publish(BLUE_TOO, None)), wanted, "{criteria}");
        // Asked once more, as after a restart of the stack: nothing moves.
        assert_eq!(found(&mut ways, &publish(BLUE_BGP, None)), wanted, "{criteria}");
        assert_eq!(found(&mut ways, &publish(BLUE_BGP, Some("10.0.0.1")))[0], 22, "{criteria}: bound to the address");
    }
}

#[test]
fn forked_processes_that_share_their_sockets_are_led_to_once_and_to_the_next_when_the_oldest_is_gone() {
    let criteria = Criteria::Raw(Family::Ipv4, ipc::IpProtocol::OSPF);
    let mut manager = Manager::new(Earlier::default(), 100);
    manager.configure(&desired()).unwrap();
    manager.library_up(RED_BGP, identity(RED, 11));
    manager.library_up(BLUE_BGP, identity(BLUE, 22));
    manager.library_up(BLUE_TOO, identity(BLUE, 33));
    let publish = |manager: &mut Manager, client, shared: &[u64]| {
        let listener = Listener { criteria, shared: shared.to_vec(), ..bgp_listener() };
        let (_, publishing) = manager.publish(client, 1, listener).unwrap();
        manager.ordered(Ticket(9), publishing);
        manager.order_done(Ticket(9))
    };
    let mut ways = Vec::new();
    let mut after = |actions: &[Action]| found(&mut ways, actions);
    assert_eq!(after(&publish(&mut manager, BLUE_BGP, &[])), [22]);
    assert_eq!(after(&publish(&mut manager, BLUE_BGP, &[7, 9])), [22], "before it forks");
    assert_eq!(after(&publish(&mut manager, BLUE_TOO, &[7, 9])), [22]);
    // The child makes a socket of its own, and closes it.
    assert_eq!(after(&publish(&mut manager, BLUE_TOO, &[])), [22, 33]);
    assert_eq!(after(&publish(&mut manager, BLUE_TOO, &[7, 9])), [22]);
    let group = |manager: &mut Manager, client| {
        let (group, interface) = (address("224.0.0.5"), "red".parse().unwrap());
        entries(&manager.join(client, Membership { criteria, group, interface }), RED_BGP)
    };
    assert_eq!(group(&mut manager, BLUE_BGP), [pair_of("224.0.0.5", "10.0.0.0")]);
    assert_eq!(group(&mut manager, BLUE_TOO), []);
    assert_eq!(after(&manager.library_gone(BLUE_BGP)), [33]);
}
