//! What every driver must do, asked of each: two ports, joined.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::af_packet::AfPacket;
use super::cable::Cable;
use super::loss::{Loss, LossPattern};
use super::*;
use crate::counters::{Counters, DropReason};
use crate::fib::FibWriter;
use crate::ids::PortId;
use crate::ifib::IfibWriter;
use crate::interfaces::Interfaces;
use crate::linecard::{LineCard, LineCardConfig, LineCardEvent, PortDirectory};
use crate::packet::{ChecksumState, Gso, Packet, PoolLimits};
use crate::wire::checksum::pseudo_header;
use crate::wire::ethernet::{EtherType, EthernetRepr, MacAddress};
use crate::wire::ipv4::{Ipv4Repr, Ipv4View, protocol};
use crate::wire::tcp::TcpView;

/// Waits; a test that waits for ten seconds has failed.
fn wait(descriptor: impl AsFd, what: PollFlags) {
    let mut fds = [PollFd::new(descriptor.as_fd(), what)];
    assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)).unwrap(), 1, "nothing came");
}

fn pool() -> PacketPool {
    PacketPool::new(PoolLimits::default())
}

/// A frame that no host takes for its own: an experimental EtherType, a number, filler.
fn frame(pool: &mut PacketPool, number: u32, length: usize) -> Packet {
    let mut bytes = vec![0xa5; length];
    let ether_type = EtherType(0x88b5);
    let header = EthernetRepr { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), ether_type };
    header.emit(&mut bytes).unwrap();
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    pool.packet(&bytes).unwrap()
}

fn number(packet: &Packet) -> u32 {
    u32::from_be_bytes(packet.data()[14..18].try_into().unwrap())
}

/// Sends all, waiting for room where the medium is full.
fn send(driver: &mut dyn Driver, pool: &mut PacketPool, vector: &mut Vector) {
    while !vector.is_empty() {
        if driver.transmit(pool, vector).unwrap() == 0 {
            wait(driver.transmit_readiness(), PollFlags::POLLOUT);
        }
    }
}

/// Receives `count` frames of ours; what the host itself sends on a device is left out.
fn receive(driver: &mut dyn Driver, pool: &mut PacketPool, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    while packets.len() < count {
        let mut vector = Vector::new();
        if driver.receive(pool, &mut vector).unwrap() == 0 {
            wait(driver.readiness(), PollFlags::POLLIN);
        }
        packets.extend(vector.into_iter().filter(|packet| packet.data().get(12..14) != Some(&[0x86, 0xdd])));
    }
    packets
}

/// Frames arrive whole, once, in order, both ways; waiting works; every buffer comes back.
fn conforms(a: &mut dyn Driver, b: &mut dyn Driver) {
    let mut pool = pool();
    assert_ne!(a.port().mac, b.port().mac);
    assert!(a.port().mac.is_unicast() && a.port().mtu_bytes >= 1500);
    assert_eq!((a.link(), b.link()), (LinkState::Up, LinkState::Up));
    let mut nothing = Vector::new();
    while a.receive(&mut pool, &mut nothing).unwrap() > 0 {
        nothing.clear();
    }
    for (length, count) in [(60, 8), (1514, 8)] {
        let mut vector: Vector = (0..count).map(|index| frame(&mut pool, index, length)).collect();
        send(a, &mut pool, &mut vector);
        let received = receive(b, &mut pool, count as usize);
        assert_eq!(received.iter().map(number).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        assert!(received.iter().all(|packet| packet.len() == length && packet.data()[18..] == vec![0xa5; length - 18]));
        assert!(received.iter().all(|packet| packet.meta.gso == Gso::None));
        let mut vector: Vector = received.into_iter().collect();
        send(b, &mut pool, &mut vector);
        assert_eq!(receive(a, &mut pool, count as usize).len(), count as usize);
    }
    assert_eq!(pool.buffers_in_use(), 0);
}

/// An exhausted pool loses frames by name and does not stop the port.
fn survives_an_exhausted_pool(a: &mut dyn Driver, b: &mut dyn Driver) {
    let mut full = pool();
    let mut one = PacketPool::new(PoolLimits { small: 1, large: 0 });
    let mut vector: Vector = (0..3).map(|index| frame(&mut full, index, 60)).collect();
    send(a, &mut full, &mut vector);
    wait(b.readiness(), PollFlags::POLLIN);
    let first = receive(b, &mut one, 1);
    // With the only buffer taken, the others are lost.
    let mut vector = Vector::new();
    b.receive(&mut one, &mut vector).unwrap();
    assert!(vector.is_empty());
    assert_eq!(b.drops().drain().find(|(reason, _)| *reason == DropReason::PoolExhausted).unwrap().1, 2);
    drop(first);
    let mut vector = Vector::from_iter([frame(&mut full, 7, 60)]);
    send(a, &mut full, &mut vector);
    assert_eq!(number(&receive(b, &mut one, 1)[0]), 7);
}

fn cable(folder: &Path, local: &str, remote: &str) -> Cable {
    Cable::open(&folder.join(local), &folder.join(remote), local).unwrap()
}

#[test]
fn a_cable_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (cable(folder.path(), "a", "b"), cable(folder.path(), "b", "a"));
    conforms(&mut a, &mut b);
    survives_an_exhausted_pool(&mut a, &mut b);
}

#[test]
fn a_cable_carries_frames_of_gso_size() {
    let folder = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (cable(folder.path(), "a", "b"), cable(folder.path(), "b", "a"));
    let mut pool = pool();
    let mut vector = Vector::from_iter([frame(&mut pool, 1, 65_549), frame(&mut pool, 2, 0x0f00)]);
    send(&mut a, &mut pool, &mut vector);
    let received = receive(&mut b, &mut pool, 2);
    assert_eq!(received.iter().map(Packet::len).collect::<Vec<_>>(), [65_549, 0x0f00]);
    assert!(received.iter().all(|packet| packet.data()[18..].iter().all(|byte| *byte == 0xa5)));
}

#[test]
fn the_ends_of_a_cable_start_and_restart_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut pool = pool();
    let mut a = cable(folder, "a", "b");
    let mut lost = Vector::from_iter([frame(&mut pool, 1, 60)]);
    assert!(matches!(a.transmit(&mut pool, &mut lost), Err(DriverError::LinkDown { .. })));
    for round in 2..4 {
        let mut b = cable(folder, "b", "a");
        let mut vector = Vector::from_iter([frame(&mut pool, round, 60)]);
        send(&mut a, &mut pool, &mut vector);
        assert_eq!(number(&receive(&mut b, &mut pool, 1)[0]), round);
        drop(b);
        let mut lost = Vector::from_iter([frame(&mut pool, 1, 60)]);
        assert!(matches!(a.transmit(&mut pool, &mut lost), Err(DriverError::LinkDown { .. })));
    }
}

#[test]
fn a_cable_replaces_a_stale_socket_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (local, remote) = (folder.path().join("a"), folder.path().join("b"));
    let open = || Cable::open(&local, &remote, "a");
    drop(std::os::unix::net::UnixDatagram::bind(&local).unwrap());
    assert!(local.exists());
    let a = open().unwrap();
    assert!(matches!(open(), Err(DriverError::InUse { .. })));
    drop(a);
    assert!(!local.exists());
    std::fs::write(&local, "text").unwrap();
    assert!(matches!(open(), Err(DriverError::NotASocket { .. })));
    let long = folder.path().join("x".repeat(120));
    assert!(matches!(Cable::open(&long, &remote, "a"), Err(DriverError::PathTooLong { .. })));
}

#[test]
fn loss_takes_every_nth_frame_both_ways_and_repeats_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (a, mut b) = (cable(folder.path(), "a", "b"), cable(folder.path(), "b", "a"));
    let mut a = Loss::new(a, LossPattern::EveryNth(3), 1);
    let mut pool = pool();
    let mut vector: Vector = (0..9).map(|index| frame(&mut pool, index, 60)).collect();
    send(&mut a, &mut pool, &mut vector);
    let numbers = |packets: Vec<Packet>| packets.iter().map(number).collect::<Vec<_>>();
    assert_eq!(numbers(receive(&mut b, &mut pool, 6)), [0, 1, 3, 4, 6, 7]);
    let mut vector: Vector = (0..9).map(|index| frame(&mut pool, index, 60)).collect();
    send(&mut b, &mut pool, &mut vector);
    assert_eq!(numbers(receive(&mut a, &mut pool, 6)), [0, 1, 3, 4, 6, 7]);
    assert_eq!(a.drops().drain().collect::<Vec<_>>(), [(DropReason::Impaired, 6)]);

    let run = |seed, name: &str| {
        let (a, _b) = (cable(folder.path(), name, "sink"), cable(folder.path(), "sink", name));
        let mut a = Loss::new(a, LossPattern::PerMille(500), seed);
        let mut pool = super::conformance::pool();
        (0..10)
            .map(|index| {
                let mut vector = Vector::from_iter([frame(&mut pool, index, 60)]);
                a.transmit(&mut pool, &mut vector).unwrap();
                a.drops().drain().count()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(7, "c"), run(7, "d"));
    assert_ne!(run(7, "e"), run(8, "f"));
}

/// Runs `test` of this file in a process with a network of its own that has a veth pair, `va` and `vb`.
fn in_network_namespace(test: &str) -> bool {
    const INSIDE: &str = "ISTHMUS_TEST_INSIDE_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // The kernel silently drops what is sent before it has noticed the carrier, some time after "up".
    let script = "ip link add va type veth peer name vb && ip link set va up && ip link set vb up || exit 1
        for device in va vb; do until ip link show $device | grep -q 'state UP'; do :; done; done
        exec \"$@\"";
    let probe = Command::new("unshare").args(["--net", "ip", "link", "add", "va", "type", "veth"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        // Past the test harness, which swallows what a passing test prints: `check` counts these lines.
        let reason = "a network namespace with a veth pair needs root, unshare and ip";
        writeln!(std::io::stderr(), "SKIPPED {test}: {reason}").unwrap();
        return false;
    }
    let name = format!("media::conformance::{test}");
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

#[test]
fn af_packet_conforms() {
    if in_network_namespace("af_packet_conforms") {
        let (mut a, mut b) = (AfPacket::open("va", "a").unwrap(), AfPacket::open("vb", "b").unwrap());
        conforms(&mut a, &mut b);
        survives_an_exhausted_pool(&mut a, &mut b);
    }
}

#[test]
fn af_packet_carries_open_checksums_and_large_segments_whole() {
    if in_network_namespace("af_packet_carries_open_checksums_and_large_segments_whole") {
        let (mut a, mut b) = (AfPacket::open("va", "a").unwrap(), AfPacket::open("vb", "b").unwrap());
        let mut pool = pool();
        for (payload, gso) in [(100, Gso::None), (40_000, Gso::Tcpv4 { mss: 1400 })] {
            let packet = tcp_packet(&mut pool, payload, gso);
            let sent = packet.data().to_vec();
            let mut vector = Vector::from_iter([packet]);
            send(&mut a, &mut pool, &mut vector);
            let received = receive(&mut b, &mut pool, 1).remove(0);
            assert_eq!(received.data(), sent);
            assert_eq!(received.meta.gso, gso);
            assert_eq!(received.meta.checksum, ChecksumState::Partial { start: 34, offset: 16 });
            let mut finished = Vec::new();
            finish::finish(received, &mut pool, &mut |frame| finished.push(frame)).unwrap();
            assert_eq!(finished.len(), payload.div_ceil(1400));
            for frame in finished {
                let ip = Ipv4View::parse(&frame.data()[14..]).unwrap();
                let tcp = TcpView::parse(ip.payload()).unwrap();
                tcp.verify(ip.source().into(), ip.destination().into()).unwrap();
            }
        }
    }
}

/// A TCP segment between nobody and nobody with its checksum left open.
fn tcp_packet(pool: &mut PacketPool, payload: usize, gso: Gso) -> Packet {
    let mut bytes = vec![0x5a; 54 + payload];
    let link =
        EthernetRepr { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), ether_type: EtherType::IPV4 };
    link.emit(&mut bytes).unwrap();
    let (from, to) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    Ipv4Repr::new(from, to, protocol::TCP, 64, 20 + payload).emit(&mut bytes[14..]).unwrap();
    let upper = &mut bytes[34..54];
    upper.fill(0);
    (upper[12], upper[13]) = (5 << 4, 0x10);
    let partial = pseudo_header(from.into(), to.into(), protocol::TCP, 20 + payload).partial();
    upper[16..18].copy_from_slice(&partial.to_be_bytes());
    let mut packet = pool.packet(&bytes).unwrap();
    packet.meta.checksum = ChecksumState::Partial { start: 34, offset: 16 };
    packet.meta.gso = gso;
    packet
}

#[test]
fn af_packet_says_what_is_wrong_with_a_device() {
    if in_network_namespace("af_packet_says_what_is_wrong_with_a_device") {
        let ip = |arguments: &str| {
            let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
            assert!(status.success(), "ip {arguments}");
        };
        assert!(matches!(AfPacket::open("nosuch", "a"), Err(DriverError::NoDevice { .. })));
        ip("address add 192.0.2.1/24 dev va");
        let refused = AfPacket::open("va", "a").unwrap_err().to_string();
        assert!(refused.contains("has the address 192.0.2.1"), "{refused}");
        ip("address flush dev va");
        // A device that is down is brought up, its ARP goes off and comes back.
        ip("link set va down");
        let port = AfPacket::open("va", "a").unwrap();
        let noarp = || {
            let shown = Command::new("ip").args(["link", "show", "va"]).output().unwrap();
            String::from_utf8(shown.stdout).unwrap().contains("NOARP")
        };
        assert!(noarp());
        drop(port);
        assert!(!noarp());
    }
}

fn link_of(device: &str) -> String {
    String::from_utf8(Command::new("ip").args(["link", "show", device]).output().unwrap().stdout).unwrap()
}

#[test]
fn a_device_that_goes_down_and_comes_back_is_reported() {
    if in_network_namespace("a_device_that_goes_down_and_comes_back_is_reported") {
        let ip = |arguments: &str| assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success());
        let router = LineCard {
            fib: FibWriter::new().reader(),
            ifib: IfibWriter::new().reader(),
            interfaces: Interfaces::new(),
            counters: Counters::new(),
            pool: pool(),
            ports: PortDirectory::new(),
        };
        let (card, mut punts) = router.start(LineCardConfig::new("0/0", 1)).unwrap();
        card.add_port(PortId(1), Box::new(AfPacket::open("va", "a").unwrap()), LinkState::Up).unwrap();
        let mut next = || {
            let mut events = Vec::new();
            while events.is_empty() {
                wait(punts.readiness(), PollFlags::POLLIN);
                punts.receive(8, &mut events);
            }
            match events[..] {
                [LineCardEvent::Link { port: PortId(1), state }] => state,
                _ => panic!("{events:?}"),
            }
        };
        ip("link set va down");
        assert_eq!(next(), LinkState::Down);
        ip("link set va up");
        // The kernel notices a carrier some time after the command that changed it.
        let until = |state: &str| while !link_of("va").contains(state) {};
        until("state UP");
        card.check_links();
        assert_eq!(next(), LinkState::Up);
        // Lost carrier: nothing is heard until somebody asks.
        ip("link set vb down");
        until("state LOWERLAYERDOWN");
        card.check_links();
        assert_eq!(next(), LinkState::Down);
    }
}

#[test]
fn the_host_does_not_answer_on_a_port_that_is_ours() {
    if in_network_namespace("the_host_does_not_answer_on_a_port_that_is_ours") {
        // The host has an address elsewhere, which Linux would answer ARP for on any device.
        for arguments in ["link set lo up", "address add 192.0.2.1/32 dev lo"] {
            assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success());
        }
        let mut ours = AfPacket::open("va", "a").unwrap();
        let mut outside = AfPacket::open("vb", "b").unwrap();
        let mut pool = pool();
        let mut request = vec![0; 60];
        let link =
            EthernetRepr { destination: MacAddress::BROADCAST, source: outside.port().mac, ether_type: EtherType::ARP };
        link.emit(&mut request).unwrap();
        let fields = [0, 1, 8, 0, 6, 4, 0, 1];
        request[14..22].copy_from_slice(&fields);
        request[22..28].copy_from_slice(&outside.port().mac.0);
        request[28..32].copy_from_slice(&[192, 0, 2, 9]);
        request[38..42].copy_from_slice(&[192, 0, 2, 1]);
        let mut vector = Vector::from_iter([pool.packet(&request).unwrap()]);
        send(&mut outside, &mut pool, &mut vector);
        assert_eq!(receive(&mut ours, &mut pool, 1)[0].data()[12..14], [0x08, 0x06]);
        // Whatever the host had to say was said before this frame came back.
        let mut vector = Vector::from_iter([frame(&mut pool, 1, 60)]);
        send(&mut ours, &mut pool, &mut vector);
        let answer = receive(&mut outside, &mut pool, 1).remove(0);
        assert_eq!(answer.data()[12..14], [0x88, 0xb5], "the host answered: {:?}", answer.data());
    }
}
