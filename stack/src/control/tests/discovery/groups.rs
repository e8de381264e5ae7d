//! Groups beyond the link's own on the same port: what the link is told, and what is let in.

use std::collections::BTreeSet;

use super::*;
use crate::wire::igmp::{Record, parse, report_v2, report_v3};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const SELF: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

impl Wire {
    fn set_groups(&mut self, groups: &[Ipv4Addr]) {
        let red = self.router.vr("red");
        let wanted: BTreeSet<_> = groups.iter().map(|group| (red, "Port0/0/0".parse().unwrap(), *group)).collect();
        self.router.input.set_groups(self.router.now, &mut self.router.plane, &wanted);
    }

    /// The next IPv4 packet that comes to the far station, and to which address of its link.
    fn sees_v4(&mut self) -> (MacAddress, Vec<u8>) {
        loop {
            wait(self.far.readiness());
            let (mut vector, mut pool) = (Vector::new(), self.router.plane.pool.clone());
            self.far.receive(&mut pool, &mut vector).unwrap();
            let frames = vector.iter().map(|packet| EthernetView::parse(packet.data()).unwrap());
            let mut v4 = frames.filter(|frame| frame.ether_type() == EtherType::IPV4);
            if let Some(frame) = v4.next() {
                assert!(v4.next().is_none(), "more than one");
                return (frame.destination(), frame.payload().to_vec());
            }
        }
    }

    /// Something for port 9 of a group comes; whether it is let in.
    fn lets_in(&mut self, group: Ipv4Addr) -> bool {
        let before = self.dropped(DropReason::MulticastNotRouted);
        let mut packet = vec![0; 28];
        let at = Ipv4Repr::new(FAR, group, protocol::UDP, 5, 8).emit(&mut packet).unwrap();
        let udp = UdpRepr { source_port: 9, destination_port: 9 };
        udp.emit(&mut packet[at..], FAR.into(), group.into()).unwrap();
        self.transmits(MacAddress::of_ipv4_group(group), EtherType::IPV4, &packet);
        // ARP behind it shows that it has passed.
        let arp = crate::wire::arp::ArpRepr::request(PEER_MAC, FAR, SELF);
        let mut bytes = vec![0; crate::wire::arp::PACKET_BYTES];
        arp.emit(&mut bytes).unwrap();
        self.transmits(MacAddress::BROADCAST, EtherType::ARP, &bytes);
        self.hears();
        let dropped = self.dropped(DropReason::MulticastNotRouted) - before;
        dropped == 0
    }
}

#[test]
fn a_link_is_told_of_a_group_and_the_group_is_let_in_until_it_is_left() {
    let mut wire = Wire::settled();
    assert!(!wire.lets_in(GROUP));
    for (groups, record) in [(&[GROUP][..], Record::Joined), (&[], Record::Left)] {
        wire.set_groups(groups);
        let report = report_v3(SELF, &[(GROUP, record)]);
        assert_eq!(wire.sees_v4(), (MacAddress([1, 0, 0x5e, 0, 0, 22]), report.clone()));
        wire.later(1000);
        assert_eq!(wire.sees_v4().1, report, "once more");
        assert_eq!(wire.lets_in(GROUP), !groups.is_empty());
        assert!(!wire.lets_in(Ipv4Addr::new(239, 1, 1, 2)));
    }
}

#[test]
fn a_query_is_answered_in_its_querier_s_version() {
    let mut wire = Wire::settled();
    wire.set_groups(&[GROUP]);
    wire.sees_v4();
    wire.later(1000);
    wire.sees_v4();
    let query = |rest: &[u8]| {
        let mut message = vec![0x11, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(rest);
        let sum = crate::wire::checksum::Sum::default().add(&message).finish().to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        assert!(parse(&message).unwrap().is_some());
        let mut packet = vec![0; 20];
        let all = Ipv4Addr::new(224, 0, 0, 1);
        packet.extend_from_slice(&message);
        Ipv4Repr::new(FAR, all, protocol::IGMP, 1, message.len()).emit(&mut packet).unwrap();
        (MacAddress::of_ipv4_group(all), packet)
    };
    let member = Record::Member;
    let answers = [(&[2, 125, 0, 0][..], report_v3(SELF, &[(GROUP, member)])), (&[], report_v2(SELF, GROUP, member))];
    for (rest, answer) in answers {
        let (station, packet) = query(rest);
        wire.transmits(station, EtherType::IPV4, &packet);
        wire.hears();
        wire.later(100);
        assert_eq!(wire.sees_v4().1, answer);
    }
    let mut garbage = query(&[]);
    garbage.1.truncate(24);
    Ipv4Repr::new(FAR, Ipv4Addr::new(224, 0, 0, 1), protocol::IGMP, 1, 4).emit(&mut garbage.1).unwrap();
    wire.transmits(garbage.0, EtherType::IPV4, &garbage.1);
    wire.hears();
    assert_eq!(wire.dropped(DropReason::IgmpInvalid), 1);
}
