//! The forwarder over packets in memory, and a line card over cables.

use std::net::{IpAddr, Ipv4Addr};

use ipc::{Family, VrId};

use super::*;
use crate::counters::{Counter, Counters, DropReason};
use crate::fib::{Adjacency, FibChange, FibWriter, GroupId, NextHop, TableId};
use crate::ids::{IfIndex, PortId};
use crate::ifib::{IfibChange, IfibEntry, IfibKey, IfibWriter, PuntTarget, SocketId};
use crate::interfaces::{Interface, InterfaceTable, Interfaces, Link};
use crate::packet::{ChecksumState, Gso, Packet, PacketPool, PoolLimits, Vector};
use crate::policer::{PolicerClass, PolicerConfig, Rate};
use crate::time::Time;
use crate::wire::ethernet::{EtherType, EthernetRepr, EthernetView, MacAddress};
use crate::wire::ipv4::{Ipv4Repr, Ipv4View, protocol};
use crate::wire::udp::UdpRepr;

const RED: VrId = VrId(1);
const BLUE: VrId = VrId(2);
const NOW: Time = Time::ZERO;

/// Red has ports 1 and 2, blue has port 3; interfaces 10 (in red) and 20 (in blue) join the two.
const PORTS: [(PortId, IfIndex, VrId); 3] =
    [(PortId(1), IfIndex(1), RED), (PortId(2), IfIndex(2), RED), (PortId(3), IfIndex(3), BLUE)];
const TO_BLUE: IfIndex = IfIndex(10);
const TO_RED: IfIndex = IfIndex(20);
const NEIGHBOR: MacAddress = MacAddress([2, 0, 0, 0, 9, 9]);

fn mac(port: PortId) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, port.0 as u8])
}

/// Two joined VRs: red has 10.1/16 behind port 1 and 10.2/16 behind port 2, blue has 10.3/16 behind port 3; each has
/// the other's prefixes by the inter-VR link, and an address of its own.
struct Router {
    fib: FibWriter,
    ifib: IfibWriter,
    table: InterfaceTable,
    shared: LineCard,
    forwarder: Forwarder,
    pool: PacketPool,
    out: Output,
}

impl Router {
    fn new() -> Self {
        Self::with_policer(&PolicerConfig::unlimited())
    }

    fn with_policer(policer: &PolicerConfig) -> Self {
        let (mut fib, ifib) = (FibWriter::new(), IfibWriter::new());
        let pool = PacketPool::new(PoolLimits::default());
        let shared = LineCard {
            fib: fib.reader(),
            ifib: ifib.reader(),
            interfaces: Interfaces::new(),
            counters: Counters::new(),
            pool: pool.clone(),
            ports: PortDirectory::new(),
        };
        fib.apply(&[FibChange::CreateTable(RED.into()), FibChange::CreateTable(BLUE.into())]).unwrap();
        let forwarder = Forwarder::new(ForwarderParts {
            fib: shared.fib.clone(),
            ifib: shared.ifib.clone(),
            interfaces: shared.interfaces.clone(),
            policer: crate::policer::Policer::new(policer),
            counters: shared.counters.local(),
        });
        let out = Output::default();
        let mut router = Router { fib, ifib, table: InterfaceTable::new(), shared, forwarder, pool, out };
        router.configure();
        router
    }

    fn configure(&mut self) {
        for (port, index, vr) in PORTS {
            self.interface(index, vr, Link::Port(port), true);
            let neighbor = Adjacency::Complete { interface: index, destination: NEIGHBOR };
            self.route(vr, &format!("10.{}.0.0/16", index.0), neighbor);
        }
        self.interface(TO_BLUE, RED, Link::InterVr { peer: TO_RED }, true);
        self.interface(TO_RED, BLUE, Link::InterVr { peer: TO_BLUE }, true);
        self.route(RED, "10.3.0.0/16", Adjacency::InterVr { interface: TO_BLUE });
        self.route(RED, "192.0.2.2/32", Adjacency::InterVr { interface: TO_BLUE });
        self.route(BLUE, "10.1.0.0/16", Adjacency::InterVr { interface: TO_RED });
        self.route(BLUE, "192.0.2.1/32", Adjacency::InterVr { interface: TO_RED });
        self.set(RED, "192.0.2.1/32", GroupId::RECEIVE);
        self.set(BLUE, "192.0.2.2/32", GroupId::RECEIVE);
    }

    fn interface(&mut self, index: IfIndex, vr: VrId, link: Link, up: bool) {
        let mac = match link {
            Link::Port(port) => mac(port),
            Link::Loopback | Link::InterVr { .. } => MacAddress::UNSPECIFIED,
        };
        self.table.set(index, Interface { vr, link, up, mtu_bytes: 1500, mac, link_local: None });
        self.shared.interfaces.publish(self.table.clone());
    }

    fn set(&mut self, vr: VrId, prefix: &str, group: GroupId) {
        let change = FibChange::SetRoute { table: TableId::from(vr), prefix: prefix.parse().unwrap(), group };
        self.fib.apply(&[change]).unwrap();
    }

    fn route(&mut self, vr: VrId, prefix: &str, adjacency: Adjacency) {
        let adjacency = self.fib.create_adjacency(adjacency);
        let group = self.fib.create_group(&[NextHop { adjacency }]).unwrap();
        self.set(vr, prefix, group);
    }

    /// A UDP packet, from the IP header on.
    fn udp(&mut self, from: &str, to: &str, ttl: u8, payload: usize) -> Packet {
        let mut bytes = vec![0; 28 + payload];
        let (from, to): (Ipv4Addr, Ipv4Addr) = (from.parse().unwrap(), to.parse().unwrap());
        Ipv4Repr::new(from, to, protocol::UDP, ttl, 8 + payload).emit(&mut bytes).unwrap();
        UdpRepr { source_port: 5000, destination_port: 53 }.emit(&mut bytes[20..], from.into(), to.into()).unwrap();
        self.pool.packet(&bytes).unwrap()
    }

    /// Receives it on a port, sent to the port's MAC address.
    fn receive(&mut self, port: PortId, packet: Packet) {
        self.receive_as(port, mac(port), EtherType::IPV4, packet);
    }

    fn receive_as(&mut self, port: PortId, destination: MacAddress, ether_type: EtherType, mut packet: Packet) {
        let header = EthernetRepr { destination, source: NEIGHBOR, ether_type };
        header.emit(packet.push_front(14).unwrap()).unwrap();
        packet.meta.l3_offset = 0;
        let mut vector = Vector::new();
        vector.push(packet);
        self.forwarder.receive(NOW, port, &mut vector, &mut self.out);
    }

    fn originate(&mut self, vr: VrId, packet: Packet) {
        self.forwarder.inject(NOW, Inject { target: InjectTarget::Lookup { vr }, packet }, &mut self.out);
    }

    /// The one frame that was sent: port, destination and source MAC, TTL (with a right header checksum).
    fn sent(&mut self) -> (PortId, MacAddress, MacAddress, u8) {
        assert!(self.out.punts.is_empty(), "{:?}", self.out.punts);
        let (port, packet) = self.out.transmit.pop().expect("a frame was sent");
        assert!(self.out.transmit.is_empty());
        let frame = EthernetView::parse(packet.data()).unwrap();
        (port, frame.destination(), frame.source(), Ipv4View::parse(frame.payload()).unwrap().ttl())
    }

    /// The one packet that was punted: why, in which VR, from which interface, with which TTL.
    fn punted(&mut self) -> (PuntReason, VrId, Option<IfIndex>, u8) {
        assert!(self.out.transmit.is_empty(), "{:?}", self.out.transmit);
        let Punt { reason, packet } = self.out.punts.pop().expect("a packet was punted");
        assert!(self.out.punts.is_empty());
        (reason, packet.meta.vr, packet.meta.interface, Ipv4View::parse(packet.layer3()).unwrap().ttl())
    }

    fn dropped(&mut self, vr: VrId, reason: DropReason) -> u64 {
        assert!(self.out.transmit.is_empty() && self.out.punts.is_empty(), "{:?}", self.out);
        self.shared.counters.vrs().get(&vr).map_or(0, |values| values.dropped(reason))
    }

    fn count(&self, vr: VrId, counter: Counter) -> u64 {
        self.shared.counters.vrs().get(&vr).map_or(0, |values| values.get(counter))
    }
}

#[test]
fn transit_goes_from_port_to_port_with_one_ttl_less() {
    let mut router = Router::new();
    let packet = router.udp("10.1.0.9", "10.2.0.9", 64, 100);
    router.receive(PortId(1), packet);
    assert_eq!(router.sent(), (PortId(2), NEIGHBOR, mac(PortId(2)), 63));
    assert_eq!(router.count(RED, Counter::PacketsForwarded), 1);
    assert_eq!((router.count(RED, Counter::PacketsReceived), router.count(RED, Counter::PacketsSent)), (1, 1));
}

#[test]
fn a_ttl_that_runs_out_is_answered_from_the_incoming_interface() {
    let mut router = Router::new();
    for ttl in [1, 0] {
        let packet = router.udp("10.1.0.9", "10.2.0.9", ttl, 100);
        router.receive(PortId(1), packet);
        assert_eq!(router.punted(), (PuntReason::TtlExceeded, RED, Some(IfIndex(1)), ttl));
    }
}

#[test]
fn each_vr_that_forwards_takes_one_ttl() {
    let mut router = Router::new();
    let packet = router.udp("10.1.0.9", "10.3.0.9", 64, 100);
    router.receive(PortId(1), packet);
    assert_eq!(router.sent(), (PortId(3), NEIGHBOR, mac(PortId(3)), 62));
    assert_eq!(router.count(RED, Counter::InterVrCrossings), 1);
    assert_eq!((router.count(RED, Counter::PacketsSent), router.count(BLUE, Counter::PacketsReceived)), (1, 1));
    assert_eq!((router.count(RED, Counter::FramesReceived), router.count(BLUE, Counter::FramesReceived)), (1, 0));

    // Red may still forward it; in blue it expires, and blue answers from its end of the link.
    let packet = router.udp("10.1.0.9", "10.3.0.9", 2, 100);
    router.receive(PortId(1), packet);
    assert_eq!(router.punted(), (PuntReason::TtlExceeded, BLUE, Some(TO_RED), 1));
}

#[test]
fn what_one_vr_originates_reaches_the_other_with_the_ttl_it_was_sent_with() {
    let mut router = Router::new();
    for ttl in [1, 255] {
        let packet = router.udp("192.0.2.1", "192.0.2.2", ttl, 100);
        router.originate(RED, packet);
        assert_eq!(router.punted(), (PuntReason::Unclaimed, BLUE, Some(TO_RED), ttl));
    }
    // From beyond, red forwards it.
    let packet = router.udp("10.1.0.9", "192.0.2.2", 64, 100);
    router.receive(PortId(1), packet);
    assert_eq!(router.punted(), (PuntReason::Unclaimed, BLUE, Some(TO_RED), 63));
    // What red originates and blue forwards pays in blue alone.
    let packet = router.udp("192.0.2.1", "10.3.0.9", 64, 100);
    router.originate(RED, packet);
    assert_eq!(router.sent(), (PortId(3), NEIGHBOR, mac(PortId(3)), 63));
}

#[test]
fn a_loop_between_vrs_ends_by_the_crossing_limit_and_by_ttl() {
    let mut router = Router::new();
    router.route(RED, "172.16.0.0/12", Adjacency::InterVr { interface: TO_BLUE });
    router.route(BLUE, "172.16.0.0/12", Adjacency::InterVr { interface: TO_RED });
    let packet = router.udp("192.0.2.1", "172.16.0.1", 255, 0);
    router.originate(RED, packet);
    assert_eq!(router.dropped(RED, DropReason::CrossingLimit), 1);
    let packet = router.udp("192.0.2.1", "172.16.0.1", 5, 0);
    router.originate(RED, packet);
    assert_eq!(router.punted().0, PuntReason::TtlExceeded);
}

#[test]
fn either_end_shut_closes_the_inter_vr_link() {
    for (index, vr, peer) in [(TO_BLUE, RED, TO_RED), (TO_RED, BLUE, TO_BLUE)] {
        let mut router = Router::new();
        router.interface(index, vr, Link::InterVr { peer }, false);
        let packet = router.udp("192.0.2.1", "192.0.2.2", 64, 0);
        router.originate(RED, packet);
        assert_eq!(router.dropped(RED, DropReason::InterfaceDown), 1);
    }
}

#[test]
fn no_route_is_punted_and_null0_is_a_silent_drop() {
    let mut router = Router::new();
    router.set(RED, "198.51.100.0/24", GroupId::DISCARD);
    let packet = router.udp("10.1.0.9", "198.51.100.1", 64, 0);
    router.receive(PortId(1), packet);
    assert_eq!(router.dropped(RED, DropReason::Discard), 1);
    let packet = router.udp("10.1.0.9", "203.0.113.1", 1, 0);
    router.receive(PortId(1), packet);
    assert_eq!(router.punted(), (PuntReason::NoRoute, RED, Some(IfIndex(1)), 1));
    let packet = router.udp("10.1.0.9", "203.0.113.1", 1, 0);
    router.originate(VrId(9), packet);
    assert_eq!(router.dropped(VrId(9), DropReason::NoTable), 1);
}

#[test]
fn an_unresolved_next_hop_is_punted_ready_to_send_and_injected_later() {
    let mut router = Router::new();
    router.route(RED, "10.4.0.0/24", Adjacency::Glean { interface: IfIndex(2) });
    let hop = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1));
    router.route(RED, "10.5.0.0/24", Adjacency::Incomplete { interface: IfIndex(2), next_hop: hop });
    for (to, next_hop) in [("10.4.0.7", "10.4.0.7".parse().unwrap()), ("10.5.0.7", hop)] {
        let packet = router.udp("10.1.0.9", to, 64, 0);
        router.receive(PortId(1), packet);
        let Punt { reason, packet } = router.out.punts.pop().unwrap();
        assert_eq!(reason, PuntReason::Resolve { interface: IfIndex(2), next_hop });
        let neighbor = Adjacency::Complete { interface: IfIndex(2), destination: NEIGHBOR };
        let target = InjectTarget::Adjacency(router.fib.create_adjacency(neighbor));
        router.forwarder.inject(NOW, Inject { target, packet }, &mut router.out);
        assert_eq!(router.sent(), (PortId(2), NEIGHBOR, mac(PortId(2)), 63));
    }
}

#[test]
fn for_us_goes_to_whom_the_ifib_says() {
    let mut router = Router::new();
    let key = |port| IfibKey::Listener { vr: RED, protocol: protocol::UDP, family: Family::Ipv4, address: None, port };
    let entry = IfibEntry { target: PuntTarget::Socket(SocketId(7)), class: PolicerClass::Listener };
    router.ifib.apply(&[IfibChange::Set(key(53), entry)]);
    let packet = router.udp("10.1.0.9", "192.0.2.1", 1, 30);
    router.receive(PortId(1), packet);
    assert_eq!(router.punted(), (PuntReason::ForUs(entry.target), RED, Some(IfIndex(1)), 1));
    // The same address and port in the other VR is nobody's.
    let packet = router.udp("10.3.0.9", "192.0.2.2", 1, 30);
    router.receive(PortId(3), packet);
    assert_eq!(router.punted().0, PuntReason::Unclaimed);
    // What a VR sends to itself stays there.
    let packet = router.udp("192.0.2.1", "192.0.2.1", 1, 30);
    router.originate(RED, packet);
    assert_eq!(router.punted(), (PuntReason::ForUs(entry.target), RED, None, 1));
}

#[test]
fn a_flood_to_closed_ports_leaves_a_session_alone() {
    let rate = Rate { packets_per_second: 10, burst: 5 };
    let mut router = Router::with_policer(&PolicerConfig::unlimited().with(PolicerClass::Unclaimed, rate));
    let key = IfibKey::Connection {
        vr: RED,
        protocol: protocol::UDP,
        local: "192.0.2.1:53".parse().unwrap(),
        remote: "10.1.0.2:5000".parse().unwrap(),
    };
    let entry = IfibEntry { target: PuntTarget::Socket(SocketId(1)), class: PolicerClass::Established };
    router.ifib.apply(&[IfibChange::Set(key, entry)]);
    for _ in 0..100 {
        let flood = router.udp("10.1.0.66", "192.0.2.1", 64, 0);
        router.receive(PortId(1), flood);
        let session = router.udp("10.1.0.2", "192.0.2.1", 64, 0);
        router.receive(PortId(1), session);
    }
    let established = |punt: &&Punt| punt.reason == PuntReason::ForUs(entry.target);
    assert_eq!(router.out.punts.iter().filter(established).count(), 100);
    assert_eq!(router.out.punts.len(), 105);
    router.out.punts.clear();
    assert_eq!(router.dropped(RED, DropReason::PolicedUnclaimed), 95);
}

#[test]
fn a_packet_must_fit_the_outgoing_interface_and_each_segment_of_a_large_one_too() {
    let mut router = Router::new();
    let packet = router.udp("10.1.0.9", "10.2.0.9", 64, 1473);
    router.receive(PortId(1), packet);
    let (reason, _, interface, ttl) = router.punted();
    assert!(matches!(reason, PuntReason::TooBig { mtu_bytes: 1500, .. }), "{reason:?}");
    assert_eq!((interface, ttl), (Some(IfIndex(1)), 64));
    for (mss, fits) in [(1472, true), (1473, false)] {
        let mut packet = router.udp("10.1.0.9", "10.2.0.9", 64, 20_000);
        packet.meta.gso = Gso::Udp { mss };
        packet.meta.checksum = ChecksumState::Partial { start: 20, offset: 6 };
        router.receive(PortId(1), packet);
        if fits {
            let (_, sent) = router.out.transmit.pop().unwrap();
            assert_eq!(sent.meta.gso, Gso::Udp { mss });
            assert_eq!(sent.meta.checksum, ChecksumState::Partial { start: 34, offset: 6 });
        } else {
            assert!(matches!(router.punted().0, PuntReason::TooBig { .. }));
        }
    }
}

#[test]
fn each_bad_frame_is_dropped_under_its_name() {
    let mut router = Router::new();
    let own = mac(PortId(1));
    type Case = (DropReason, MacAddress, EtherType, fn(&mut Packet));
    let cases: [Case; 10] = [
        (DropReason::OtherStation, NEIGHBOR, EtherType::IPV4, |_| ()),
        (DropReason::OtherStation, MacAddress::BROADCAST, EtherType::IPV4, |_| ()),
        (DropReason::UnknownEtherType, own, EtherType(0x9000), |_| ()),
        (DropReason::VlanTagged, own, EtherType(0x8100), |_| ()),
        (DropReason::IpBadVersion, own, EtherType::IPV6, |_| ()),
        (DropReason::IpTruncated, own, EtherType::IPV4, |packet| packet.truncate(19)),
        (DropReason::IpBadTotalLength, own, EtherType::IPV4, |packet| packet.truncate(27)),
        (DropReason::IpBadHeaderLength, own, EtherType::IPV4, |packet| packet.data_mut()[0] = 0x44),
        (DropReason::IpBadChecksum, own, EtherType::IPV4, |packet| packet.data_mut()[8] = 7),
        (DropReason::IpTruncated, own, EtherType::IPV4, |packet| packet.truncate(0)),
    ];
    for (reason, to, ether_type, spoil) in cases {
        let before = router.dropped(RED, reason);
        let mut packet = router.udp("10.1.0.9", "10.2.0.9", 64, 0);
        spoil(&mut packet);
        router.receive_as(PortId(1), to, ether_type, packet);
        assert_eq!(router.dropped(RED, reason), before + 1, "{reason:?}");
    }
    for (reason, from, to) in [
        (DropReason::MartianSource, "127.0.0.1", "10.2.0.9"),
        (DropReason::MartianSource, "224.0.0.5", "10.2.0.9"),
        (DropReason::MartianDestination, "10.1.0.9", "127.0.0.1"),
        (DropReason::MulticastNotRouted, "10.1.0.9", "239.1.1.1"),
    ] {
        let before = router.dropped(RED, reason);
        let packet = router.udp(from, to, 64, 0);
        router.receive(PortId(1), packet);
        assert_eq!(router.dropped(RED, reason), before + 1, "{from} {to}");
    }
    let packet = router.udp("10.1.0.9", "10.2.0.9", 64, 0);
    router.receive(PortId(77), packet);
    assert_eq!(router.dropped(VrId::ROUTER, DropReason::PortNotAssigned), 1);
    assert_eq!(router.pool.buffers_in_use(), 0);
}

#[test]
fn link_padding_is_cut_off_and_link_groups_are_for_us() {
    let mut router = Router::new();
    let mut packet = router.udp("10.1.0.9", "10.2.0.9", 64, 0);
    packet.append(&[0; 18]).unwrap();
    router.receive(PortId(1), packet);
    let (_, sent) = router.out.transmit.pop().unwrap();
    assert_eq!(sent.len(), 14 + 28);
    let packet = router.udp("10.1.0.9", "224.0.0.5", 1, 0);
    let group = MacAddress::of_ipv4_group(Ipv4Addr::new(224, 0, 0, 5));
    router.receive_as(PortId(1), group, EtherType::IPV4, packet);
    assert_eq!(router.punted(), (PuntReason::Unclaimed, RED, Some(IfIndex(1)), 1));
}

#[test]
fn fragments_for_us_are_punted_to_be_put_together() {
    let mut router = Router::new();
    let mut bytes = [0; 60];
    let (from, to) = (Ipv4Addr::new(10, 1, 0, 9), Ipv4Addr::new(192, 0, 2, 1));
    let mut header = Ipv4Repr::new(from, to, protocol::UDP, 64, 40);
    header.more_fragments = true;
    header.dont_fragment = false;
    header.emit(&mut bytes).unwrap();
    let packet = router.pool.packet(&bytes).unwrap();
    router.receive(PortId(1), packet);
    assert_eq!(router.punted().0, PuntReason::Fragment);
}

#[test]
fn frames_of_the_control_side_leave_by_ports_only() {
    let mut router = Router::new();
    for (index, leaves) in [(IfIndex(1), true), (TO_BLUE, false), (IfIndex(99), false)] {
        let packet = router.pool.packet(&[0; 42]).unwrap();
        let inject = Inject { target: InjectTarget::Frame { interface: index }, packet };
        router.forwarder.inject(NOW, inject, &mut router.out);
        assert_eq!(router.out.transmit.pop().map(|(port, _)| port), leaves.then_some(PortId(1)));
    }
    let packet = router.pool.packet(b"no IP").unwrap();
    router.originate(RED, packet);
    assert_eq!(router.dropped(VrId::ROUTER, DropReason::BadInject), 1);
}

proptest::proptest! {
    /// Whatever a wire delivers ends as a frame, a punt or a counted drop, and its buffer comes back.
    #[test]
    fn any_frame_is_forwarded_punted_or_dropped_by_name(
        mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        kind in 0..3_usize,
        version in 0..16_u8,
        mss in proptest::num::u16::ANY,
        (start, offset) in (0..250_u16, 0..250_u16),
    ) {
        let ether_type = [EtherType::IPV4, EtherType::IPV6, EtherType::ARP][kind];
        let header = EthernetRepr { destination: mac(PortId(1)), source: NEIGHBOR, ether_type };
        // Most are steered past the first checks; a short one is refused by them.
        let _ = header.emit(&mut bytes);
        if let Some(first) = bytes.get_mut(14) {
            *first = version << 4 | 5;
        }
        let mut router = Router::new();
        let mut packet = router.pool.packet(&bytes).unwrap();
        packet.meta.gso = Gso::Tcpv4 { mss };
        packet.meta.checksum = ChecksumState::Partial { start, offset };
        let mut copy = router.pool.packet(&bytes).unwrap();
        copy.meta = packet.meta;
        // Either way is right; it must not panic, nor keep a buffer.
        let _ = crate::media::finish::finish(copy, &mut router.pool, &mut |_| ());
        router.forwarder.receive(NOW, PortId(1), &mut Vector::from_iter([packet]), &mut router.out);
        let ends = router.out.transmit.len() + router.out.punts.len();
        let drops = router.shared.counters.total().drops() as usize;
        proptest::prop_assert_eq!(ends + drops, 1);
        router.out = Output::default();
        proptest::prop_assert_eq!(router.pool.buffers_in_use(), 0);
    }
}

mod card {
    //! A whole line card: two cables, two workers, packets from wire to wire.

    use std::os::fd::AsFd;
    use std::path::Path;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::media::cable::Cable;
    use crate::media::{Driver, LinkState};

    /// Waits until a descriptor is readable; a test that waits for ten seconds has failed.
    fn wait(descriptor: impl AsFd) {
        let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap(), 1, "nothing came");
    }

    fn cable(folder: &Path, local: &str, remote: &str) -> Cable {
        Cable::open(&folder.join(local), &folder.join(remote), local).unwrap()
    }

    fn far_frame(router: &mut Router, from: &str, to: &str, port: PortId) -> Vector {
        let mut packet = router.udp(from, to, 64, 100);
        let header = EthernetRepr { destination: mac(port), source: NEIGHBOR, ether_type: EtherType::IPV4 };
        header.emit(packet.push_front(14).unwrap()).unwrap();
        Vector::from_iter([packet])
    }

    fn one(driver: &mut Cable, pool: &mut PacketPool) -> Packet {
        wait(driver.readiness());
        let mut vector = Vector::new();
        assert_eq!(driver.receive(pool, &mut vector).unwrap(), 1);
        vector.pop().unwrap()
    }

    #[test]
    fn packets_go_from_wire_to_wire_over_two_workers_and_to_the_control_side() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut router = Router::new();
        let (card, mut punts) = router.shared.start(LineCardConfig::new("0/0", 2)).unwrap();
        let mut far = [cable(folder, "far1", "near1"), cable(folder, "far2", "near2")];
        card.add_port(PortId(1), Box::new(cable(folder, "near1", "far1")), LinkState::Up).unwrap();
        card.add_port(PortId(2), Box::new(cable(folder, "near2", "far2")), LinkState::Up).unwrap();
        let again = card.add_port(PortId(2), Box::new(cable(folder, "near3", "far3")), LinkState::Up);
        assert!(matches!(again, Err(LineCardError::PortExists { .. })));

        let mut pool = router.pool.clone();
        let mut frame = far_frame(&mut router, "10.1.0.9", "10.2.0.9", PortId(1));
        assert_eq!(far[0].transmit(&mut pool, &mut frame).unwrap(), 1);
        let received = one(&mut far[1], &mut pool);
        let frame = EthernetView::parse(received.data()).unwrap();
        assert_eq!((frame.destination(), frame.source()), (NEIGHBOR, mac(PortId(2))));
        assert_eq!(Ipv4View::parse(frame.payload()).unwrap().ttl(), 63);
        drop(received);

        // For us: to the control side, which answers by the adjacency of the neighbor.
        let mut frame = far_frame(&mut router, "10.1.0.9", "192.0.2.1", PortId(1));
        far[0].transmit(&mut pool, &mut frame).unwrap();
        wait(punts.readiness());
        let mut events = Vec::new();
        punts.receive(64, &mut events);
        let Some(LineCardEvent::Punt(punt)) = events.pop() else { panic!("{events:?}") };
        assert_eq!(punt.reason, PuntReason::Unclaimed);
        let answer = router.udp("192.0.2.1", "10.1.0.9", 64, 0);
        card.inject(Inject { target: InjectTarget::Lookup { vr: RED }, packet: answer }).unwrap();
        assert_eq!(one(&mut far[0], &mut pool).len(), 42);

        // The control side's own forwarder hands its frames over to the worker of the port.
        let mut control = router.shared.control_forwarder();
        let packet = router.udp("192.0.2.1", "10.2.0.9", 64, 0);
        let mut out = Output::default();
        control.inject(NOW, Inject { target: InjectTarget::Lookup { vr: RED }, packet }, &mut out);
        router.shared.ports.transmit(&mut out.transmit, control.counters());
        assert_eq!(one(&mut far[1], &mut pool).len(), 42);

        assert_eq!(router.count(RED, Counter::FramesReceived), 2);
        card.remove_port(PortId(1)).unwrap();
        assert!(!folder.join("near1").exists());
        card.stop();
        assert!(!folder.join("near2").exists());
        drop((punt, far));
        assert_eq!(pool.buffers_in_use(), 0);
    }

    #[test]
    fn a_link_that_came_up_while_its_port_was_handed_over_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let router = Router::new();
        let (card, mut punts) = router.shared.start(LineCardConfig::new("0/0", 1)).unwrap();
        card.add_port(PortId(1), Box::new(cable(folder.path(), "near1", "far1")), LinkState::Down).unwrap();
        wait(punts.readiness());
        let mut events = Vec::new();
        punts.receive(64, &mut events);
        assert!(matches!(events[..], [LineCardEvent::Link { port: PortId(1), state: LinkState::Up }]), "{events:?}");
    }

    #[test]
    fn more_than_the_cable_holds_waits_and_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut router = Router::new();
        let (card, _punts) = router.shared.start(LineCardConfig::new("0/0", 1)).unwrap();
        let mut far = cable(folder, "far1", "near1");
        card.add_port(PortId(1), Box::new(cable(folder, "near1", "far1")), LinkState::Up).unwrap();
        let count = 300;
        for index in 0..count {
            let packet = router.udp("192.0.2.1", "10.1.0.9", 64, index);
            card.inject(Inject { target: InjectTarget::Lookup { vr: RED }, packet }).unwrap();
        }
        // Read only what comes: each frame behind the tenth had to wait for room.
        let mut pool = router.pool.clone();
        let mut lengths = Vec::new();
        while lengths.len() < count {
            wait(far.readiness());
            let mut vector = Vector::new();
            far.receive(&mut pool, &mut vector).unwrap();
            lengths.extend(vector.iter().map(|packet| packet.len() - 42));
        }
        assert_eq!(lengths, (0..count).collect::<Vec<_>>());
        assert_eq!(router.shared.counters.total().drops(), 0);
    }
}
