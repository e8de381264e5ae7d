//! The control side over packets in memory: VRs joined without a wire, no line card, no process.
//!
//! ```text
//!   red 192.0.2.1 ── 10.0.0.0/31 ── blue 192.0.2.2 ── 10.0.1.0/31 ── green 192.0.2.3
//! ```

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipc::service::ClientId;
use ipc::{VrId, VrName};
use stack_api::fib::{FibChange, FibNextHop};
use stack_api::probe::{Outcome, Probe};
use vr_api::config::Node;

use super::config::StackConfig;
use super::input::{Delivery, Input};
use super::plane::Plane;
use crate::counters::Counter;
use crate::packet::PoolLimits;
use crate::time::Time;
use crate::wire::ipv4::{Ipv4Repr, protocol};
use crate::wire::udp::UdpRepr;

mod discovery;
mod ipv6;

const OPERATOR: ClientId = ClientId(1);

fn interface(name: &str, address: &str) -> Node {
    Node::new(&format!("interface {name}"), vec![Node::new(&format!("ipv4 address {address}"), vec![])])
}

fn blocks(blue_is_shut: bool) -> Vec<Node> {
    let mut to_red = interface("red", "10.0.0.1/31");
    if blue_is_shut {
        to_red.children.push(Node::new("shutdown", vec![]));
    }
    vec![
        Node::new("vr red", vec![interface("blue", "10.0.0.0/31"), interface("Loopback0", "192.0.2.1/32")]),
        Node::new("vr blue", vec![to_red, interface("green", "10.0.1.0/31"), interface("Loopback0", "192.0.2.2/32")]),
        Node::new("vr green", vec![interface("blue", "10.0.1.1/31"), interface("Loopback0", "192.0.2.3/32")]),
        Node::new("connect red blue", vec![]),
        Node::new("connect blue green", vec![]),
    ]
}

struct Router {
    plane: Plane,
    input: Input,
    now: Time,
}

impl Router {
    fn new() -> Self {
        let plane = Plane::new(PoolLimits { small: 64, large: 4 });
        let mut router = Self { plane, input: Input::default(), now: Time::from_millis(1000) };
        router.configure(false);
        for (vr, routes) in [
            (
                "red",
                &[("10.0.0.0/31", "blue"), ("10.0.1.0/31", "blue"), ("192.0.2.2/32", "blue"), ("192.0.2.3/32", "blue")]
                    [..],
            ),
            (
                "blue",
                &[("10.0.0.0/31", "red"), ("10.0.1.0/31", "green"), ("192.0.2.1/32", "red"), ("192.0.2.3/32", "green")],
            ),
            (
                "green",
                &[("10.0.1.0/31", "blue"), ("10.0.0.0/31", "blue"), ("192.0.2.2/32", "blue"), ("192.0.2.1/32", "blue")],
            ),
        ] {
            router.download(vr, routes);
        }
        router
    }

    fn configure(&mut self, blue_is_shut: bool) {
        let config = StackConfig::read(&blocks(blue_is_shut)).unwrap();
        let change = self.plane.topology.configure(config);
        self.plane.apply(&change).unwrap();
        self.input.topology_changed(self.now, &mut self.plane, &change);
    }

    fn vr(&self, name: &str) -> VrId {
        self.plane.topology.vr(&VrName::new(name).unwrap()).unwrap()
    }

    fn download(&mut self, vr: &str, routes: &[(&str, &str)]) {
        let id = self.vr(vr);
        let add = |(prefix, interface): &(&str, &str)| FibChange::Add {
            prefix: prefix.parse().unwrap(),
            next_hops: vec![FibNextHop::Via { interface: interface.parse().unwrap(), address: None }],
        };
        let changes: Vec<FibChange> = routes.iter().map(add).collect();
        self.plane.routes.begin(id);
        self.plane.routes.download(&mut self.plane.fib, &self.plane.topology, id, &changes).unwrap();
        self.plane.routes.end(&mut self.plane.fib, id).unwrap();
    }

    fn probe(&mut self, vr: &str, to: &str, ttl: u8) -> Option<Outcome> {
        self.send_probe(&probe(vr, to, ttl))
    }

    fn send_probe(&mut self, probe: &Probe) -> Option<Outcome> {
        let at_once = self.input.probes.send(self.now, &mut self.plane, OPERATOR, probe);
        let mut deliveries: Vec<Delivery> = at_once.into_iter().map(Delivery::Probe).collect();
        self.input.handle_own(self.now, &mut self.plane, &mut deliveries);
        outcome(deliveries)
    }
}

fn probe(vr: &str, to: &str, ttl: u8) -> Probe {
    let (vr, to) = (VrName::new(vr).unwrap(), to.parse().unwrap());
    Probe { number: 0, vr, to, from: None, interface: None, ttl, size: 56, timeout_ms: 2000 }
}

fn outcome(deliveries: Vec<Delivery>) -> Option<Outcome> {
    deliveries.into_iter().find_map(|delivery| match delivery {
        Delivery::Probe((OPERATOR, result)) => Some(result.outcome),
        _ => None,
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_echo_request_crosses_two_vrs_and_each_that_forwards_takes_one_off_the_ttl() {
    let mut router = Router::new();
    let reply = |from: &str, ttl| Some(Outcome::Reply { from: address(from), ttl });
    assert_eq!(router.probe("red", "192.0.2.1", 64), reply("192.0.2.1", 64), "to itself");
    assert_eq!(router.probe("red", "192.0.2.2", 64), reply("192.0.2.2", 64), "crossing alone costs nothing");
    assert_eq!(router.probe("red", "192.0.2.3", 64), reply("192.0.2.3", 63), "blue forwards the answer");
    assert_eq!(router.plane.pool.buffers_in_use(), 0);
}

#[test]
fn time_exceeded_comes_from_the_interface_that_the_packet_came_in_by() {
    let mut router = Router::new();
    let exceeded = Some(Outcome::TimeExceeded { from: address("10.0.0.1") });
    assert_eq!(router.probe("red", "192.0.2.3", 1), exceeded);
    assert_eq!(router.probe("red", "192.0.2.3", 2), Some(Outcome::Reply { from: address("192.0.2.3"), ttl: 63 }));
}

#[test]
fn an_address_without_a_route_is_said_to_be_unreachable_by_whom_it_is() {
    let mut router = Router::new();
    assert!(matches!(router.probe("red", "203.0.113.9", 64), Some(Outcome::NotSent(_))), "red itself has no route");
    router.download("red", &[("0.0.0.0/0", "blue"), ("10.0.0.0/31", "blue")]);
    let unreachable = Some(Outcome::Unreachable { from: address("10.0.0.1"), code: 0 });
    assert_eq!(router.probe("red", "203.0.113.9", 64), unreachable, "blue has none");
}

#[test]
fn a_shut_interface_carries_nothing_and_its_address_does_not_answer() {
    let mut router = Router::new();
    router.configure(true);
    assert_eq!(router.probe("red", "192.0.2.2", 64), None);
    router.now = router.now + Duration::from_secs(2);
    let mut deliveries = Vec::new();
    router.input.handle_timeout(router.now, &mut router.plane, &mut deliveries);
    assert_eq!(outcome(deliveries), Some(Outcome::TimedOut));
    router.configure(false);
    assert!(matches!(router.probe("red", "192.0.2.2", 64), Some(Outcome::Reply { .. })));
}

#[test]
fn a_udp_datagram_to_a_closed_port_is_answered_with_port_unreachable() {
    let mut router = Router::new();
    let (from, to) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let mut packet = vec![0; 20 + 8 + 4];
    let at = Ipv4Repr::new(from, to, protocol::UDP, 64, 12).emit(&mut packet).unwrap();
    UdpRepr { source_port: 4000, destination_port: 9 }.emit(&mut packet[at..], from.into(), to.into()).unwrap();
    let red = router.vr("red");
    router.plane.send(router.now, red, None, &packet);
    let mut deliveries = Vec::new();
    router.input.handle_own(router.now, &mut router.plane, &mut deliveries);
    // The answer is ICMP for red, which has no socket that wants it; it was received all the same.
    let counted = router.plane.counters.vrs();
    assert_eq!(counted[&red].get(Counter::PacketsReceived), 1);
    assert_eq!(counted[&router.vr("blue")].get(Counter::PacketsSent), 1);
}

#[test]
fn what_a_rib_does_not_send_again_goes_when_it_has_sent_all() {
    let mut router = Router::new();
    router.download("red", &[("10.0.0.0/31", "blue")]);
    assert!(matches!(router.probe("red", "192.0.2.2", 64), Some(Outcome::NotSent(_))));
    let red = router.vr("red");
    let unknown = [FibChange::Add {
        prefix: "192.0.2.9/32".parse().unwrap(),
        next_hops: vec![FibNextHop::Via { interface: "Port9/9/9".parse().unwrap(), address: None }],
    }];
    let refused = router.plane.routes.download(&mut router.plane.fib, &router.plane.topology, red, &unknown);
    assert_eq!(refused.unwrap_err().to_string(), "route 192.0.2.9/32: no interface Port9/9/9");
}

#[test]
fn an_echo_larger_than_a_link_is_cut_on_both_ways_and_answered() {
    let mut router = Router::new();
    let mut config = blocks(false);
    let narrow = config[1].children.iter_mut().find(|line| line.words[1] == "green").unwrap();
    narrow.children.push(Node::new("mtu 1500", vec![]));
    let change = router.plane.topology.configure(StackConfig::read(&config).unwrap());
    router.plane.apply(&change).unwrap();
    let vr = VrName::new("blue").unwrap();
    let to = address("192.0.2.3");
    let probe = Probe { number: 7, vr, to, from: None, interface: None, ttl: 64, size: 4000, timeout_ms: 2000 };
    assert!(router.input.probes.send(router.now, &mut router.plane, OPERATOR, &probe).is_none());
    let mut deliveries = Vec::new();
    router.input.handle_own(router.now, &mut router.plane, &mut deliveries);
    assert_eq!(outcome(deliveries), Some(Outcome::Reply { from: to, ttl: 64 }));
    let green = router.plane.topology.vr(&VrName::new("green").unwrap()).unwrap();
    assert!(router.plane.counters.vrs()[&green].get(Counter::PacketsReceived) >= 3, "in fragments");
}
