//! What comes by IP protocol 89 and is not what a neighbor would say: dropped by its reason, over the channel and over a
//! wire, and the adjacency beside it does not move.

use std::net::{IpAddr, Ipv4Addr};

use ipc::IpProtocol;
use ipc::link::Link;
use ospf::auth::Authentication;
use ospf::packet::{AreaId, BACKBONE, Hello, Options, PacketKind, RouterId, encode};
use sockets::blocking::Process;

use crate::ospf_cable::{TRIANGLE, port, wired};
use crate::support::Router;

/// A router that is not there.
const STRANGER: RouterId = Ipv4Addr::new(192, 0, 2, 77);
const RED: RouterId = Ipv4Addr::new(192, 0, 2, 1);

fn hello(router: RouterId, area: AreaId, hello_seconds: u16) -> Vec<u8> {
    let hello = Hello::new(Ipv4Addr::new(255, 255, 255, 254), hello_seconds, 40, Options::E, 1);
    let packet = encode(PacketKind::Hello, router, area, |into| hello.encode([RED], into));
    Authentication::Null.sign(packet, 0, |_| false).remove(0)
}

/// What is said, and the reason for which it is dropped.
fn noise() -> [(Vec<u8>, &'static str); 7] {
    let changed = |place: usize| {
        let mut packet = hello(STRANGER, BACKBONE, 10);
        packet[place] ^= 1;
        packet
    };
    [
        (b"hello".to_vec(), "packet too short"),
        (changed(0), "wrong version"),
        (changed(30), "bad packet checksum"),
        (hello(STRANGER, Ipv4Addr::new(0, 0, 0, 7), 10), "area mismatch"),
        (hello(RED, BACKBONE, 10), "duplicate router ID"),
        (hello(STRANGER, BACKBONE, 11), "hello parameters mismatch"),
        (vec![0; 1400], "wrong version"),
    ]
}

#[test]
fn what_no_neighbor_would_say_is_dropped_by_its_reason_over_the_channel_and_over_a_wire() {
    let cabled = wired();
    for (name, config, interface) in
        [("noise-joined", TRIANGLE, "red".to_owned()), ("noise-cabled", &cabled, port("blue", "red"))]
    {
        let router = Router::up(name, config);
        let neighbor = [("vr", "red"), ("neighbor_id", "192.0.2.2"), ("state", "Full")];
        let before = router.wait_for_row("show ospf neighbor", &neighbor)["state_changes"].clone();
        // A program of blue, beside its ospf.
        let link = Link::attach(&router.control_socket(), Some("blue".parse().unwrap()), "noise".parse().unwrap());
        let process = Process::new(link.unwrap()).unwrap();
        let socket = process.raw(IpProtocol::OSPF).unwrap();
        let group = IpAddr::from([224, 0, 0, 5]);
        for (bytes, _) in noise() {
            let mut message = socket.message(Some((group, 0).into()), &bytes).unwrap();
            message.interface = Some(interface.parse().unwrap());
            socket.send_message(message).unwrap();
        }
        // With it goes what it has not sent yet.
        drop(socket);
        for (_, reason) in noise() {
            router.wait_for_row("show ospf drops", &[("vr", "red"), ("reason", reason)]);
        }
        let because = "hello-interval 11 there, 10 here";
        router.wait_for_row("show ospf interface", &[("vr", "red"), ("refused_because", because)]);
        let after = router.wait_for_row("show ospf neighbor", &neighbor)["state_changes"].clone();
        assert_eq!(before, after, "{}", router.log());
        assert!(router.rows("show processes", &[("restarts", "0"), ("name", "ospf")]).len() == 3, "{}", router.log());
    }
}
