//! Groups that processes have joined: line cards let them in, and the links of ports are told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipc::{InterfaceName, VrId};

use super::input::Input;
use super::plane::Plane;
use crate::counters::DropReason;
use crate::ids::IfIndex;
use crate::ifib::{IfibChange, IfibEntry, IfibKey, PuntTarget};
use crate::interfaces::Link;
use crate::internet::igmp::GroupReport;
use crate::packet::Packet;
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::wire::ethernet::MacAddress;
use crate::wire::igmp::{self, QueryVersion};
use crate::wire::ip;
use crate::wire::ipv4::Ipv4View;

/// A group that a process of a VR has joined on an interface.
pub type Membership = (VrId, InterfaceName, Ipv4Addr);

impl Input {
    /// These groups beyond the link's own are received from now on, on the ports among their interfaces that are up.
    pub fn set_groups(&mut self, now: Time, plane: &mut Plane, wanted: &BTreeSet<Membership>) {
        let mut groups = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for (vr, name, group) in wanted {
            let Some(record) = plane.topology.interface(*vr, name).filter(|record| record.state.up) else { continue };
            if matches!(record.interface.link, Link::Port(_)) {
                groups.insert((record.index, *group));
                keys.insert(IfibKey::Group { vr: *vr, interface: record.index, group: (*group).into() });
            }
        }
        let entry = IfibEntry { target: PuntTarget::Handler, class: PolicerClass::Listener };
        let gone = self.group_keys.difference(&keys).map(|key| IfibChange::Remove(*key));
        let new = keys.difference(&self.group_keys).map(|key| IfibChange::Set(*key, entry));
        let changes: Vec<IfibChange> = gone.chain(new).collect();
        if !changes.is_empty() {
            plane.ifib.apply(&changes);
        }
        self.group_keys = keys;
        let reports = self.igmp.set(now, groups);
        self.report_groups(now, plane, reports);
    }

    /// An IGMP message came.
    pub(super) fn handle_igmp(&mut self, now: Time, plane: &mut Plane, packet: &Packet) {
        let (Some(interface), Ok(ip)) = (packet.meta.interface, Ipv4View::parse(packet.layer3())) else { return };
        match igmp::parse(ip.payload()) {
            Ok(Some(query)) => self.igmp.handle_query(now, interface, &query),
            // Of other hosts' reports version 3 asks nothing (RFC 3376 section 4).
            Ok(None) => {}
            Err(_) => plane.discard(packet, DropReason::IgmpInvalid),
        }
    }

    pub(super) fn report_groups(&mut self, now: Time, plane: &mut Plane, reports: Vec<GroupReport>) {
        for GroupReport { interface, version, records } in reports {
            let source = own_address(plane, interface);
            let packets = match version {
                QueryVersion::V3 => vec![igmp::report_v3(source, &records)],
                QueryVersion::Old => records.iter().map(|(g, record)| igmp::report_v2(source, *g, *record)).collect(),
            };
            for packet in packets {
                if let Some(IpAddr::V4(to)) = ip::destination(&packet) {
                    plane.send_on_link(now, interface, MacAddress::of_ipv4_group(to), &packet);
                }
            }
        }
    }
}

/// Without an address a host reports from 0.0.0.0 (RFC 3376 section 4.2.13).
fn own_address(plane: &Plane, interface: IfIndex) -> Ipv4Addr {
    match plane.topology.source(interface, igmp::ALL_V3_ROUTERS.into()) {
        Some(IpAddr::V4(own)) => own,
        Some(IpAddr::V6(_)) | None => Ipv4Addr::UNSPECIFIED,
    }
}
