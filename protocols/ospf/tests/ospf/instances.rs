//! Several processes in one VR: each has its own neighbors, all hear the same packets, and the RIB sees one protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use ospf::{Ospf, Process};
use sdk::VrName;
use sdk::core::{DatagramCommand, DatagramSocket, Input, Output, ProtocolCore, Time};
use sdk::datagram::ProcessMessage;
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::rib::{RibRequest, Route, RouteChange};
use sdk::show::Value;

use crate::network::{Network, id, name, tree};

fn interface(text: &str, address: &str, kind: InterfaceKind) -> InterfaceState {
    InterfaceState {
        vr: VrName::new("red").unwrap(),
        name: name(text),
        kind,
        addresses: vec![address.parse().unwrap()],
        mtu: 1500,
        up: true,
        mac: None,
        link_local: None,
    }
}

/// A VR with two links, and a router at the other end of each; both have the same loopback.
struct World {
    process: Process,
    others: Vec<Ospf>,
    sockets: BTreeSet<DatagramSocket>,
    rib: BTreeMap<IpNet, Route>,
    ends: usize,
    now: Time,
}

impl World {
    fn new(config: &str) -> Self {
        let mut world = World {
            process: Process::new(1_700_000_000),
            others: Vec::new(),
            sockets: BTreeSet::new(),
            rib: BTreeMap::new(),
            ends: 0,
            now: Time::ZERO,
        };
        world.process.handle_input(world.now, Input::RibRestarted);
        world.configure(config);
        for link in 0..2u8 {
            let (own, other) = (format!("10.0.{link}.0/31"), format!("10.0.{link}.1/31"));
            let link_name = format!("link-{link}");
            world.process.handle_input(world.now, Input::Interface(interface(&link_name, &own, InterfaceKind::Port)));
            let mut core = Ospf::new(1_700_000_000);
            let config = format!(
                "router ospf 1\n router-id 192.0.2.{}\n area 0\n  interface Loopback0\n  interface {link_name}\n   \
                 network point-to-point",
                link + 8
            );
            core.configure(world.now, Ospf::read_config(&tree(&config)).unwrap()).unwrap();
            core.handle_input(world.now, Input::Bound { socket: DatagramSocket(0) });
            let loopback = interface("Loopback0", "198.51.100.1/32", InterfaceKind::Loopback);
            core.handle_input(world.now, Input::Interface(loopback));
            core.handle_input(world.now, Input::Interface(interface(&link_name, &other, InterfaceKind::Port)));
            world.others.push(core);
        }
        world.pump();
        world
    }

    fn configure(&mut self, config: &str) {
        self.process.configure(self.now, Process::read_config(&tree(config)).unwrap()).unwrap();
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let mut moved = false;
            while let Some(output) = self.process.poll_output() {
                moved = true;
                self.process_wants(output);
            }
            for link in 0..self.others.len() {
                while let Some(output) = self.others[link].poll_output() {
                    moved = true;
                    if let Output::Datagram { command: DatagramCommand::Send(message), .. } = output {
                        // Every socket of the VR gets a copy.
                        for socket in self.sockets.clone() {
                            self.process.handle_input(self.now, Input::Datagram { socket, message: &message });
                        }
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn process_wants(&mut self, output: Output) {
        match output {
            Output::Datagram { socket, command: DatagramCommand::Bind(_) } => {
                assert!(self.sockets.insert(socket), "a socket of its own");
                self.process.handle_input(self.now, Input::Bound { socket });
            }
            Output::Datagram { socket, command: DatagramCommand::Unbind } => assert!(self.sockets.remove(&socket)),
            Output::Datagram { command: DatagramCommand::Send(message), .. } => self.deliver(&message),
            Output::Rib(RibRequest::Routes(changes)) => changes.into_iter().for_each(|change| match change {
                RouteChange::Add(route) => drop(self.rib.insert(route.prefix, route)),
                RouteChange::Remove(prefix) => assert!(self.rib.remove(&prefix).is_some(), "{prefix} was not there"),
            }),
            Output::Rib(RibRequest::EndOfRoutes) => self.ends += 1,
            Output::Datagram { .. } | Output::Log { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn deliver(&mut self, message: &ProcessMessage) {
        let link: usize = message.interface.as_ref().unwrap().as_str()[5..].parse().unwrap();
        let Some(other) = self.others.get_mut(link) else { return };
        other.handle_input(self.now, Input::Datagram { socket: DatagramSocket(0), message });
    }

    fn seconds(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            let others = self.others.iter().filter_map(|other| other.poll_timeout());
            let due = self.process.poll_timeout().into_iter().chain(others).min();
            let Some(due) = due.filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            self.process.handle_timeout(self.now);
            self.others.iter_mut().for_each(|other| other.handle_timeout(self.now));
            self.pump();
        }
        self.now = until;
    }

    /// Neighbors: process and state.
    fn neighbors(&self) -> Vec<String> {
        let text = |value: Option<&Value>| match value {
            Some(Value::Text(text)) => text.clone(),
            other => panic!("{other:?}"),
        };
        let rows = self.process.show(self.now, "ospf neighbor", &[]).unwrap();
        rows.iter().map(|row| format!("{} {}", text(row.last()), text(row.get(3)))).collect()
    }

    fn metric(&self) -> Option<u32> {
        self.rib.get(&"198.51.100.1/32".parse::<IpNet>().unwrap()).map(|route| route.metric)
    }
}

fn block(process: u8, link: u8, cost: u8) -> String {
    format!(
        "router ospf {process}\n router-id 192.0.2.{process}\n area 0\n  interface link-{link}\n   network \
         point-to-point\n   cost {cost}\n"
    )
}

#[test]
fn two_processes_have_neighbors_of_their_own_and_the_rib_gets_the_better_route() {
    let both = block(1, 0, 5) + &block(2, 1, 3);
    let mut world = World::new(&both);
    world.seconds(30);
    assert_eq!(world.sockets.len(), 2);
    assert_eq!(world.neighbors(), ["1 Full", "2 Full"]);
    assert_eq!((world.metric(), world.ends), (Some(3), 1));
    assert_eq!(world.rib.len(), 1, "each has the other end of one link only, which is connected");
    // The better one goes, and comes back.
    world.configure(&block(1, 0, 5));
    world.seconds(5);
    assert_eq!((world.sockets.len(), world.metric()), (1, Some(5)));
    world.configure(&both);
    world.seconds(30);
    assert_eq!((world.neighbors(), world.metric()), (vec!["1 Full".to_owned(), "2 Full".to_owned()], Some(3)));
    // A RIB that is new gets everything again, and once the word that it was everything.
    world.rib.clear();
    let ends = world.ends;
    world.process.handle_input(world.now, Input::RibRestarted);
    world.pump();
    assert_eq!((world.metric(), world.ends), (Some(3), ends + 1));
    world.configure("");
    assert_eq!((world.metric(), world.sockets.len()), (None, 0));
}

#[test]
fn rfc_6549_with_instance_ids_two_processes_of_each_side_of_a_link_are_neighbors_two_by_two() {
    // Routers 0 and 1 are two processes of one VR, with one address; 2 and 3 those of the other.
    let mut network = Network::default();
    let segment = network.segment();
    for router in 0..4 {
        let instance = router % 2;
        network.router(&format!(
            "router ospf 1\n router-id {}\n area 0\n  interface link\n   network point-to-point\n   instance-id {instance}\n",
            id(router)
        ));
        network.plug(router, "link", &format!("10.0.0.{}/31", router / 2), segment);
    }
    network.seconds(20);
    for router in 0..4 {
        let rows = network.routers[router].show(network.now, "ospf neighbor", &["neighbor_id", "state"]);
        assert_eq!(rows, [format!("{} Full", id((router + 2) % 4))], "router {router}");
        let drops = network.routers[router].show(network.now, "ospf drops", &["reason"]);
        assert_eq!(drops, ["other instance ID"]);
    }
}

#[test]
fn both_processes_hear_the_same_hellos() {
    // The second one is in another area on the same link: it hears the neighbor, and says what is wrong.
    let second = block(2, 0, 1).replace("area 0", "area 7");
    let mut world = World::new(&(block(1, 0, 1) + &second));
    world.seconds(30);
    assert_eq!(world.neighbors(), ["1 Full"]);
    let rows = world.process.show(world.now, "ospf interface", &[]).unwrap();
    let refused: Vec<&Value> = rows.iter().map(|row| &row[row.len() - 2]).collect();
    assert_eq!(refused, [&Value::Null, &Value::from("area 0.0.0.0 there, 0.0.0.7 here")]);
    // And the neighbor hears both from one address, and shows the one that is wrong.
    let rows = world.others[0].show(world.now, "ospf interface", &[]).unwrap();
    let refused = rows.iter().map(|row| row[row.len() - 2].clone()).filter(|cell| *cell != Value::Null);
    assert_eq!(refused.collect::<Vec<_>>(), [Value::from("area 0.0.0.7 there, 0.0.0.0 here")]);
}
