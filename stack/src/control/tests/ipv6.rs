//! The same three VRs over IPv6.
//!
//! ```text
//!   red 2001:db8::1 ── 2001:db8:a::/127 ── blue 2001:db8::2 ── 2001:db8:b::/127 ── green 2001:db8::3
//! ```

use super::*;
use crate::counters::DropReason;
use crate::wire::ip::IpRepr;
use crate::wire::ipv6_extension::kind;

fn both(name: &str, address: &str, lines: &[&str]) -> Node {
    let lines = lines.iter().map(|line| Node::new(line, vec![]));
    let address = Node::new(&format!("ipv6 address {address}"), vec![]);
    Node::new(&format!("interface {name}"), [address].into_iter().chain(lines).collect())
}

fn three(narrow: &[&str]) -> Router {
    let blocks = [
        Node::new("vr red", vec![both("blue", "2001:db8:a::/127", &[]), both("Loopback0", "2001:db8::1/128", &[])]),
        Node::new(
            "vr blue",
            vec![
                both("red", "2001:db8:a::1/127", &[]),
                both("green", "2001:db8:b::/127", narrow),
                both("Loopback0", "2001:db8::2/128", &[]),
            ],
        ),
        Node::new(
            "vr green",
            vec![both("blue", "2001:db8:b::1/127", narrow), both("Loopback0", "2001:db8::3/128", &[])],
        ),
        Node::new("connect red blue", vec![]),
        Node::new("connect blue green", vec![]),
    ];
    let plane = Plane::new(PoolLimits { small: 64, large: 8 });
    let mut router = Router { plane, input: Input::default(), now: Time::from_millis(1000) };
    let change = router.plane.topology.configure(StackConfig::read(&blocks).unwrap());
    router.plane.apply(&change).unwrap();
    router.input.topology_changed(router.now, &mut router.plane, &change);
    let (a, b) = ("2001:db8:a::/127", "2001:db8:b::/127");
    let [one, two, three] = ["2001:db8::1/128", "2001:db8::2/128", "2001:db8::3/128"];
    router.download("red", &[(a, "blue"), (b, "blue"), (two, "blue"), (three, "blue")]);
    router.download("blue", &[(a, "red"), (b, "green"), (one, "red"), (three, "green")]);
    router.download("green", &[(b, "blue"), (a, "blue"), (two, "blue"), (one, "blue")]);
    router
}

fn reply(from: &str, ttl: u8) -> Option<Outcome> {
    Some(Outcome::Reply { from: address(from), ttl })
}

fn dropped(router: &Router, vr: &str, reason: DropReason) -> u64 {
    router.plane.counters.vrs()[&router.vr(vr)].dropped(reason)
}

/// Sends a packet that red originates; what it delivers.
fn send(router: &mut Router, packet: &[u8]) -> Vec<Delivery> {
    let red = router.vr("red");
    router.plane.send(router.now, red, None, packet);
    let mut deliveries = Vec::new();
    router.input.handle_own(router.now, &mut router.plane, &mut deliveries);
    deliveries
}

#[test]
fn an_echo_request_crosses_two_vrs_and_each_that_forwards_takes_one_hop() {
    let mut router = three(&[]);
    assert_eq!(router.probe("red", "2001:db8::1", 64), reply("2001:db8::1", 64), "to itself");
    assert_eq!(router.probe("red", "2001:db8::2", 64), reply("2001:db8::2", 64), "crossing alone costs nothing");
    assert_eq!(router.probe("red", "2001:db8::3", 64), reply("2001:db8::3", 63), "blue forwards the answer");
    let exceeded = Some(Outcome::TimeExceeded { from: address("2001:db8:a::1") });
    assert_eq!(router.probe("red", "2001:db8::3", 1), exceeded, "from the interface that it came in by");
    assert_eq!(router.plane.pool.buffers_in_use(), 0);
}

#[test]
fn an_address_without_a_route_is_said_to_be_unreachable_by_whom_it_is() {
    let mut router = three(&[]);
    assert!(matches!(router.probe("red", "2001:db8:ffff::9", 64), Some(Outcome::NotSent(_))), "red has no route");
    router.download("red", &[("::/0", "blue"), ("2001:db8:a::/127", "blue")]);
    let unreachable = Some(Outcome::Unreachable { from: address("2001:db8:a::1"), code: 0 });
    assert_eq!(router.probe("red", "2001:db8:ffff::9", 64), unreachable, "blue has none");
}

#[test]
fn a_link_local_address_answers_on_its_interface_and_nowhere_else() {
    let mut router = three(&[]);
    let of = |router: &Router, vr: &str, name: &str| {
        let record = router.plane.topology.interface(router.vr(vr), &name.parse().unwrap()).unwrap();
        record.state.link_local.unwrap().to_string()
    };
    let (far, beyond) = (of(&router, "blue", "red"), of(&router, "green", "blue"));
    let to = |to: &str| Probe { interface: Some("blue".parse().unwrap()), ..probe("red", to, 64) };
    assert_eq!(router.send_probe(&to(&far)), reply(&far, 64));
    let own = of(&router, "red", "blue");
    assert_eq!(router.send_probe(&to(&own)), reply(&own, 64), "to itself");
    assert_eq!(router.send_probe(&to(&beyond)), None, "blue does not forward it");
    assert_eq!(dropped(&router, "blue", DropReason::LinkLocalNotOurs), 1);
    let Some(Outcome::NotSent(reason)) = router.probe("red", &far, 64) else { panic!() };
    assert!(reason.contains("which: `interface"), "{reason}");
}

#[test]
fn a_link_local_source_goes_no_further_than_its_link() {
    let mut router = three(&[]);
    let own = router.plane.topology.interface(router.vr("red"), &"blue".parse().unwrap()).unwrap();
    let (source, destination) = (own.state.link_local.unwrap().into(), address("2001:db8::3"));
    let ip = IpRepr { source, destination, protocol: protocol::UDP, ttl: 64, traffic_class: 0, identification: None };
    let mut packet = vec![0; 48];
    ip.emit(&mut packet, 8).unwrap();
    assert!(send(&mut router, &packet).is_empty());
    assert_eq!(dropped(&router, "blue", DropReason::BeyondScope), 1);
}

#[test]
fn an_echo_larger_than_its_first_link_goes_in_fragments_and_is_answered() {
    let mut router = three(&["mtu 1500"]);
    let large = Probe { size: 4000, ..probe("blue", "2001:db8::3", 64) };
    assert_eq!(router.send_probe(&large), reply("2001:db8::3", 64));
    let green = router.vr("green");
    assert!(router.plane.counters.vrs()[&green].get(Counter::PacketsReceived) >= 3, "in fragments");
}

#[test]
fn a_router_that_must_not_cut_says_how_large_packets_may_be_and_the_next_one_goes_in_fragments() {
    let mut router = three(&["mtu 1400"]);
    let large = Probe { size: 4000, ..probe("red", "2001:db8::3", 64) };
    let too_big = Some(Outcome::Unreachable { from: address("2001:db8:a::1"), code: 4 });
    assert_eq!(router.send_probe(&large), too_big);
    assert_eq!(router.plane.path_mtus.get(router.now, router.vr("red"), "2001:db8::3".parse().unwrap()), Some(1400));
    // The answer comes back whole: green's own link is the narrow one.
    assert_eq!(router.send_probe(&large), reply("2001:db8::3", 63));
}

#[test]
fn a_closed_port_an_unknown_protocol_and_an_unknown_option_are_told_to_the_sender() {
    let mut router = three(&[]);
    let packet = |protocol: u8, payload: &[u8]| {
        let (source, destination) = (address("2001:db8::1"), address("2001:db8::2"));
        let ip = IpRepr { source, destination, protocol, ttl: 64, traffic_class: 0, identification: None };
        let mut packet = vec![0; 40];
        packet.extend_from_slice(payload);
        ip.emit(&mut packet, payload.len()).unwrap();
        packet
    };
    let mut datagram = [0; 12];
    let (from, to) = (address("2001:db8::1"), address("2001:db8::2"));
    UdpRepr { source_port: 4000, destination_port: 9 }.emit(&mut datagram, from, to).unwrap();
    let options = [protocol::UDP, 0, 0x9e, 4, 0, 0, 0, 0];
    let silent = [protocol::UDP, 0, 0x5e, 4, 0, 0, 0, 0];
    let mut answers = |packet: &[u8]| {
        let before = router.plane.counters.vrs().get(&router.vr("blue")).map_or(0, |v| v.get(Counter::PacketsSent));
        send(&mut router, packet);
        router.plane.counters.vrs()[&router.vr("blue")].get(Counter::PacketsSent) - before
    };
    assert_eq!(answers(&packet(protocol::UDP, &datagram)), 1, "port unreachable");
    assert_eq!(answers(&packet(200, b"what")), 1, "unrecognized next header");
    assert_eq!(answers(&packet(kind::DESTINATION_OPTIONS, &options)), 1, "unrecognized option");
    assert_eq!(answers(&packet(kind::DESTINATION_OPTIONS, &silent)), 0, "an option that asks for silence");
    assert_eq!(answers(&packet(kind::NO_NEXT_HEADER, b"")), 0, "nothing was said");
    assert_eq!(dropped(&router, "blue", DropReason::BadExtensionHeader), 2);
}

#[test]
fn errors_are_limited_for_both_families_together() {
    let mut router = three(&[]);
    router.download("red", &[("::/0", "blue"), ("2001:db8:a::/127", "blue")]);
    let answered = (0..1000).filter(|_| router.probe("red", "2001:db8:ffff::9", 64).is_some()).count();
    assert!((100..200).contains(&answered), "{answered}");
}

#[test]
fn an_error_of_the_way_reaches_the_tcp_connection_that_it_is_about() {
    let mut router = three(&[]);
    router.download("red", &[("::/0", "blue"), ("2001:db8:a::/127", "blue")]);
    let (source, destination) = (address("2001:db8::1"), address("2001:db8:ffff::9"));
    let ip = IpRepr { source, destination, protocol: protocol::TCP, ttl: 64, traffic_class: 0, identification: None };
    let mut packet = vec![0; 60];
    ip.emit(&mut packet, 20).unwrap();
    packet[40..48].copy_from_slice(&[0x80, 0, 0, 179, 0, 0, 0, 7]);
    let deliveries = send(&mut router, &packet);
    let [Delivery::TcpError { local, remote, quoted, why, .. }] = &deliveries[..] else { panic!("{deliveries:?}") };
    assert_eq!(
        (local.to_string(), remote.to_string()),
        ("[2001:db8::1]:32768".into(), "[2001:db8:ffff::9]:179".into())
    );
    assert_eq!((quoted.0, *why), (7, crate::wire::icmpv4::Unreachable::Network));
}
