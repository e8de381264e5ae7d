//! Neighbor discovery on a port: a line card on a cable, and the station at its other end played by hand.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;
use crate::control::topology::Port;
use crate::counters::DropReason;
use crate::ids::PortId;
use crate::internet::icmpv6;
use crate::linecard::{LineCardConfig, LineCardEvent, LineCardHandle, PuntReceiver};
use crate::media::cable::Cable;
use crate::media::{Driver, LinkState};
use crate::packet::Vector;
use crate::wire::ethernet::{EtherType, EthernetRepr, EthernetView, MacAddress};
use crate::wire::icmpv6::{Icmpv6Repr, Icmpv6View};
use crate::wire::ip::IpView;
use crate::wire::ndp::{ALL_NODES, NdpRepr, solicited_node};

mod groups;

const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const PEER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 9, 9]);
const PORT: PortId = PortId(1);

/// Red with 2001:db8::1/64 on a port.
struct Wire {
    router: Router,
    own_mac: MacAddress,
    far: Cable,
    /// What it has received and no test looked at.
    seen: VecDeque<Seen>,
    punts: PuntReceiver,
    _card: LineCardHandle,
    _folder: tempfile::TempDir,
}

/// What the far station sees of a frame.
#[derive(Debug, PartialEq)]
struct Seen {
    to_station: MacAddress,
    from: Ipv6Addr,
    to: Ipv6Addr,
    hop_limit: u8,
    message: Icmpv6Repr,
    discovery: Option<NdpRepr>,
}

fn seen(frame: &[u8], sender: MacAddress) -> Seen {
    let frame = EthernetView::parse(frame).unwrap();
    assert_eq!((frame.ether_type(), frame.source()), (EtherType::IPV6, sender));
    let ip = IpView::parse(frame.payload()).unwrap();
    let (IpAddr::V6(from), IpAddr::V6(to)) = (ip.source, ip.destination) else { panic!("{ip:?}") };
    let message = Icmpv6View::parse(ip.payload, from, to).unwrap();
    let discovery = NdpRepr::parse(&message).unwrap();
    Seen { to_station: frame.destination(), from, to, hop_limit: ip.ttl, message: message.repr(), discovery }
}

/// Waits until a descriptor is readable; a test that waits for ten seconds has failed.
fn wait(descriptor: impl AsFd) {
    let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap(), 1, "nothing came");
}

impl Wire {
    /// The port is up; the router's addresses are tentative.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |local: &str, remote: &str| {
            Cable::open(&folder.path().join(local), &folder.path().join(remote), local).unwrap()
        };
        let (near, far) = (open("near", "far"), open("far", "near"));
        let plane = Plane::new(PoolLimits { small: 64, large: 4 });
        let mut router = Router { plane, input: Input::default(), now: Time::from_millis(1000) };
        let lines =
            vec![Node::new("ipv6 address 2001:db8::1/64", vec![]), Node::new("ipv4 address 10.0.0.1/24", vec![])];
        let vr =
            Node::new("vr red", vec![Node::new("assign port 0/0/0", vec![]), Node::new("interface Port0/0/0", lines)]);
        router.change(|plane| plane.topology.configure(StackConfig::read(&[vr]).unwrap()));
        let (card, punts) = router.plane.line_card().start(LineCardConfig::new("0/0", 1)).unwrap();
        let (own_mac, mtu_bytes) = (near.port().mac, near.port().mtu_bytes);
        card.add_port(PORT, Box::new(near), LinkState::Up).unwrap();
        let port = Port { id: PORT, mac: own_mac, mtu_bytes, link: LinkState::Up };
        router.change(|plane| plane.topology.set_port("0/0/0", Some(port)));
        router.download("red", &[("2001:db8::/64", "Port0/0/0")]);
        Wire { router, own_mac, far, seen: VecDeque::new(), punts, _card: card, _folder: folder }
    }

    /// The same, and nobody else had the addresses.
    fn settled() -> Self {
        let mut wire = Self::new();
        let asked = [wire.sees(), wire.sees()];
        assert!(asked.iter().all(|seen| seen.from.is_unspecified()), "{asked:?}");
        wire.later(1000);
        wire
    }

    /// The next frame that comes to the far station.
    fn sees(&mut self) -> Seen {
        while self.seen.is_empty() {
            wait(self.far.readiness());
            let (mut vector, mut pool) = (Vector::new(), self.router.plane.pool.clone());
            self.far.receive(&mut pool, &mut vector).unwrap();
            let frames = vector.iter().map(|packet| seen(packet.data(), self.own_mac));
            self.seen.extend(frames);
        }
        self.seen.pop_front().unwrap()
    }

    /// The far station sends a packet to the router's port, or to a group; what it delivers.
    fn says(&mut self, to_station: MacAddress, packet: &[u8]) -> Vec<Delivery> {
        self.transmits(to_station, EtherType::IPV6, packet);
        self.hears()
    }

    fn transmits(&mut self, to_station: MacAddress, ether_type: EtherType, packet: &[u8]) {
        let mut frame = vec![0; 14];
        frame.extend_from_slice(packet);
        let header = EthernetRepr { destination: to_station, source: PEER_MAC, ether_type };
        header.emit(&mut frame).unwrap();
        let mut pool = self.router.plane.pool.clone();
        let mut vector = Vector::from_iter([pool.packet(&frame).unwrap()]);
        assert_eq!(self.far.transmit(&mut pool, &mut vector).unwrap(), 1);
    }

    /// The control side takes what its line card punts; what it delivers.
    fn hears(&mut self) -> Vec<Delivery> {
        wait(self.punts.readiness());
        let mut events = Vec::new();
        self.punts.receive(16, &mut events);
        let mut deliveries = Vec::new();
        for event in events {
            if let LineCardEvent::Punt(punt) = event {
                self.router.input.handle(self.router.now, &mut self.router.plane, punt, &mut deliveries);
            }
        }
        self.router.settle(&mut deliveries);
        deliveries
    }

    fn says_discovery(&mut self, from: Ipv6Addr, to: Ipv6Addr, message: &NdpRepr, hop_limit: u8) -> Vec<Delivery> {
        let message = message.to_message(from, to).unwrap();
        let station = if to.is_multicast() { MacAddress::of_ipv6_group(to) } else { self.own_mac };
        self.says(station, &icmpv6::in_packet(from, to, hop_limit, &message).unwrap())
    }

    fn later(&mut self, milliseconds: u64) -> Vec<Delivery> {
        self.router.now = self.router.now + Duration::from_millis(milliseconds);
        let mut deliveries = Vec::new();
        self.router.input.handle_timeout(self.router.now, &mut self.router.plane, &mut deliveries);
        self.router.settle(&mut deliveries);
        deliveries
    }

    fn is_own(&self, address: Ipv6Addr) -> bool {
        let red = self.router.vr("red");
        let interface = self.router.plane.topology.interface(red, &"Port0/0/0".parse().unwrap()).unwrap().index;
        self.router.plane.topology.is_local_on(red, address.into(), Some(interface))
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.router.plane.counters.vrs()[&self.router.vr("red")].dropped(reason)
    }
}

impl Router {
    fn change(&mut self, make: impl FnOnce(&mut Plane) -> crate::control::topology::TopologyChange) {
        let change = make(&mut self.plane);
        self.plane.apply(&change).unwrap();
        self.input.topology_changed(self.now, &mut self.plane, &change);
    }

    /// Does what the process does with addresses that were looked for.
    fn settle(&mut self, deliveries: &mut Vec<Delivery>) {
        let looked: Vec<Delivery> =
            deliveries.extract_if(.., |delivery| matches!(delivery, Delivery::LookedFor(..))).collect();
        for delivery in looked {
            if let Delivery::LookedFor(addresses, found) = delivery {
                self.change(|plane| plane.topology.set_uniqueness(&addresses, found));
            }
        }
    }
}

fn advertisement(target: Ipv6Addr, solicited: bool, overrides: bool, mac: MacAddress) -> NdpRepr {
    NdpRepr::NeighborAdvertisement { target, target_link: Some(mac), router: false, solicited, overrides }
}

#[test]
fn an_address_of_a_port_is_used_once_nobody_else_has_it() {
    let mut wire = Wire::new();
    let link_local = wire.own_mac.link_local();
    let mut asked = Vec::new();
    for _ in 0..2 {
        let seen = wire.sees();
        let Some(NdpRepr::NeighborSolicitation { target, source_link: None }) = seen.discovery else {
            panic!("{seen:?}")
        };
        assert_eq!((seen.to, seen.hop_limit), (solicited_node(target), 255));
        assert_eq!(seen.to_station, MacAddress::of_ipv6_group(seen.to));
        asked.push(target);
    }
    asked.sort_unstable();
    assert_eq!(asked, [OWN, link_local]);
    assert!(!wire.is_own(OWN) && !wire.is_own(link_local), "they are tentative");
    let solicitation = NdpRepr::NeighborSolicitation { target: OWN, source_link: Some(PEER_MAC) };
    wire.says_discovery(PEER, solicited_node(OWN), &solicitation, 255);
    wire.later(999);
    assert!(!wire.is_own(OWN));
    wire.later(1);
    assert!(wire.is_own(OWN) && wire.is_own(link_local));
    assert!(
        wire.router.input.neighbors.iter().next().is_none(),
        "one that is asked for its tentative address is silent"
    );
}

#[test]
fn an_address_that_another_station_has_or_wants_is_not_used() {
    let mut wire = Wire::new();
    let link_local = wire.own_mac.link_local();
    wire.says_discovery(PEER, ALL_NODES, &advertisement(OWN, false, true, PEER_MAC), 255);
    let wants = NdpRepr::NeighborSolicitation { target: link_local, source_link: None };
    wire.says_discovery(Ipv6Addr::UNSPECIFIED, solicited_node(link_local), &wants, 255);
    wire.later(5000);
    assert!(!wire.is_own(OWN) && !wire.is_own(link_local));
}

#[test]
fn who_asks_for_us_is_answered_and_known() {
    let mut wire = Wire::settled();
    let solicitation = NdpRepr::NeighborSolicitation { target: OWN, source_link: Some(PEER_MAC) };
    wire.says_discovery(PEER, solicited_node(OWN), &solicitation, 255);
    let answer = wire.sees();
    assert_eq!((answer.to_station, answer.from, answer.to, answer.hop_limit), (PEER_MAC, OWN, PEER, 255));
    let own_mac = wire.own_mac;
    let wanted = NdpRepr::NeighborAdvertisement {
        target: OWN,
        target_link: Some(own_mac),
        router: true,
        solicited: true,
        overrides: true,
    };
    assert_eq!(answer.discovery, Some(wanted));
    assert_eq!(wire.router.send_probe(&probe("red", "2001:db8::2", 64)), None);
    let ping = wire.sees();
    assert_eq!((ping.to_station, ping.to), (PEER_MAC, PEER), "without asking");

    let looks = NdpRepr::NeighborSolicitation { target: OWN, source_link: None };
    wire.says_discovery(Ipv6Addr::UNSPECIFIED, solicited_node(OWN), &looks, 255);
    let defence = wire.sees();
    assert_eq!((defence.to, defence.to_station), (ALL_NODES, MacAddress::of_ipv6_group(ALL_NODES)));
}

#[test]
fn a_packet_waits_for_the_neighbors_answer() {
    let mut wire = Wire::settled();
    assert_eq!(wire.router.send_probe(&probe("red", "2001:db8::2", 64)), None);
    let asked = wire.sees();
    assert_eq!((asked.from, asked.to), (OWN, solicited_node(PEER)));
    let own_mac = wire.own_mac;
    let question = NdpRepr::NeighborSolicitation { target: PEER, source_link: Some(own_mac) };
    assert_eq!(asked.discovery, Some(question));
    wire.says_discovery(PEER, OWN, &advertisement(PEER, true, true, PEER_MAC), 255);
    let ping = wire.sees();
    let Icmpv6Repr::EchoRequest { identifier, sequence } = ping.message else { panic!("{ping:?}") };
    let reply = Icmpv6Repr::EchoReply { identifier, sequence };
    let packet = icmpv6::packet(PEER, OWN, 64, &reply, &[]).unwrap();
    let answered = outcome(wire.says(own_mac, &packet));
    assert_eq!(answered, Some(Outcome::Reply { from: PEER.into(), ttl: 64 }));
    // Its time over, it is asked by itself, and forgotten when it is silent.
    wire.later(30_000);
    assert_eq!(wire.sees().to_station, PEER_MAC);
    for _ in 0..3 {
        wire.later(1000);
    }
    assert!(wire.router.input.neighbors.iter().next().is_none());
}

#[test]
fn a_neighbor_that_does_not_answer_is_unreachable() {
    let mut wire = Wire::settled();
    assert_eq!(wire.router.send_probe(&Probe { timeout_ms: 9000, ..probe("red", "2001:db8::7", 64) }), None);
    assert_eq!(outcome([wire.later(1000), wire.later(1000)].into_iter().flatten().collect()), None);
    let failed = outcome(wire.later(1000));
    assert_eq!(failed, Some(Outcome::Unreachable { from: OWN.into(), code: 1 }));
    assert_eq!(wire.dropped(DropReason::Unresolved), 1);
}

#[test]
fn a_link_local_neighbor_is_reached_by_its_interface_and_gets_no_route() {
    let mut wire = Wire::settled();
    let peer: Ipv6Addr = "fe80::9".parse().unwrap();
    let to = Probe { interface: Some("Port0/0/0".parse().unwrap()), ..probe("red", "fe80::9", 64) };
    assert_eq!(wire.router.send_probe(&to), None);
    let link_local = wire.own_mac.link_local();
    assert_eq!(wire.sees().from, link_local, "one speaks to a link-local address with one");
    wire.says_discovery(peer, link_local, &advertisement(peer, true, true, PEER_MAC), 255);
    let ping = wire.sees();
    assert_eq!((ping.to_station, ping.from, ping.to), (PEER_MAC, link_local, peer));
    assert_eq!(wire.router.plane.route(wire.router.vr("red"), peer.into()), None);
}

#[test]
fn what_breaks_the_rules_of_discovery_is_dropped_by_name() {
    let mut wire = Wire::settled();
    let solicitation = |target, source_link| NdpRepr::NeighborSolicitation { target, source_link };
    let group = solicited_node(OWN);
    for (from, to, message, hop_limit, reason) in [
        (PEER, group, solicitation(OWN, Some(PEER_MAC)), 254, DropReason::NdInvalid),
        (Ipv6Addr::UNSPECIFIED, group, solicitation(OWN, Some(PEER_MAC)), 255, DropReason::NdInvalid),
        (Ipv6Addr::UNSPECIFIED, ALL_NODES, solicitation(OWN, None), 255, DropReason::NdInvalid),
        (PEER, ALL_NODES, advertisement(PEER, true, true, PEER_MAC), 255, DropReason::NdInvalid),
        (PEER, group, solicitation(PEER, Some(PEER_MAC)), 255, DropReason::IcmpUnwanted),
        (PEER, OWN, advertisement(PEER, true, true, PEER_MAC), 255, DropReason::IcmpUnwanted),
    ] {
        let before = wire.dropped(reason);
        wire.says_discovery(from, to, &message, hop_limit);
        assert_eq!(wire.dropped(reason), before + 1, "{message:?} from {from} to {to}, hop limit {hop_limit}");
    }
    let mut damaged =
        icmpv6::packet(PEER, OWN, 64, &Icmpv6Repr::EchoRequest { identifier: 1, sequence: 1 }, b"x").unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    let own_mac = wire.own_mac;
    wire.says(own_mac, &damaged);
    assert_eq!(wire.dropped(DropReason::IcmpInvalid), 1);
    // One who is not of the link is answered, and not entered.
    let stranger: Ipv6Addr = "2001:db8:1::9".parse().unwrap();
    wire.says_discovery(stranger, group, &solicitation(OWN, Some(PEER_MAC)), 255);
    assert!(wire.router.input.neighbors.iter().next().is_none());
}

#[test]
fn everyone_on_a_link_is_answered_when_pinging_all_nodes() {
    let mut wire = Wire::settled();
    wire.says_discovery(
        PEER,
        solicited_node(OWN),
        &NdpRepr::NeighborSolicitation { target: OWN, source_link: Some(PEER_MAC) },
        255,
    );
    wire.sees();
    let request = Icmpv6Repr::EchoRequest { identifier: 1, sequence: 1 };
    let packet = icmpv6::packet(PEER, ALL_NODES, 1, &request, b"").unwrap();
    wire.says(MacAddress::of_ipv6_group(ALL_NODES), &packet);
    let answer = wire.sees();
    assert_eq!((answer.from, answer.message), (OWN, Icmpv6Repr::EchoReply { identifier: 1, sequence: 1 }));
}
