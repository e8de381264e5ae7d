//! VRs and interfaces: their names outside, their numbers in the data plane, what is up.
//!
//! The stack is told names only, and numbers VRs' tables itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipc::{InterfaceName, VrId, VrName};
use ipnet::IpNet;
use stack_api::interface::{InterfaceEvent, InterfaceKind, InterfaceState};

use super::config::{InterfaceSpec, LinkSpec, StackConfig};
use crate::ids::{IfIndex, PortId};
use crate::interfaces::{Interface, InterfaceTable, Link};
use crate::internet::{dad, source};
use crate::media::LinkState;
use crate::wire::ethernet::MacAddress;

/// What every VR answers for by itself (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3).
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// IP MTU of an inter-VR interface that was given none: nothing on the way needs less.
const INTER_VR_MTU: u32 = 65_535;
/// What a port is taken to carry until it is there: full Ethernet frames.
const ABSENT_PORT_MTU: u32 = 1500;
/// IP MTU of a loopback.
const LOOPBACK_MTU: u32 = 65_535;

/// A port that a line card has.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// Its number in the data plane.
    pub id: PortId,
    /// Its link address.
    pub mac: MacAddress,
    /// What its medium carries.
    pub mtu_bytes: u32,
    /// Whether the medium carries anything now.
    pub link: LinkState,
}

/// An interface, by both its name and its number.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number.
    pub index: IfIndex,
    /// The number of its VR's table.
    pub vr: VrId,
    /// As it is told to others.
    pub state: InterfaceState,
    /// As line cards see it.
    pub interface: Interface,
}

/// What a change of the configuration, or of a link, means.
#[derive(Debug, Default)]
pub struct TopologyChange {
    /// For the line cards.
    pub table: InterfaceTable,
    /// VRs that are new.
    pub created: Vec<VrId>,
    /// VRs that are gone.
    pub deleted: Vec<VrId>,
    /// Interfaces whose link addresses must be learned anew: gone, down, or of other addresses.
    pub forget: Vec<IfIndex>,
    /// IPv6 addresses of ports of which nobody knows yet whether another station has them.
    pub tentative: BTreeSet<(IfIndex, Ipv6Addr)>,
    /// For those who watch interfaces.
    pub events: Vec<InterfaceEvent>,
}

/// What came out when an IPv6 address of a port was looked for on its link (RFC 4862 section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    /// Nobody else has it.
    Unique,
    /// Another station has it: it is not used.
    Duplicate,
}

/// VRs, interfaces and ports.
#[derive(Debug, Default)]
pub struct Topology {
    config: StackConfig,
    vrs: BTreeMap<VrName, VrId>,
    ports: BTreeMap<String, Port>,
    records: BTreeMap<(VrId, InterfaceName), Record>,
    by_index: HashMap<IfIndex, (VrId, InterfaceName)>,
    /// Of addresses of ports that are up; one that is missing is tentative.
    uniqueness: HashMap<(IfIndex, Ipv6Addr), Uniqueness>,
    next_index: u32,
}

impl Topology {
    /// Puts another configuration in force.
    pub fn configure(&mut self, config: StackConfig) -> TopologyChange {
        let mut change = TopologyChange::default();
        let names: BTreeSet<&VrName> = config.vrs.iter().map(|vr| &vr.name).collect();
        self.vrs.retain(|name, id| {
            let kept = names.contains(name);
            if !kept {
                change.deleted.push(*id);
            }
            kept
        });
        for name in names {
            if !self.vrs.contains_key(name)
                && let Some(id) = (1..=u16::MAX).map(VrId).find(|id| !self.vrs.values().any(|used| used == id))
            {
                self.vrs.insert(name.clone(), id);
                change.created.push(id);
            }
        }
        self.config = config;
        self.rebuild(&mut change);
        change
    }

    /// A line card has a port, or no longer.
    pub fn set_port(&mut self, name: &str, port: Option<Port>) -> TopologyChange {
        match port {
            Some(port) => self.ports.insert(name.to_owned(), port),
            None => self.ports.remove(name),
        };
        let mut change = TopologyChange::default();
        self.rebuild(&mut change);
        change
    }

    /// A port's medium came or went.
    pub fn set_link(&mut self, id: PortId, link: LinkState) -> TopologyChange {
        if let Some(port) = self.ports.values_mut().find(|port| port.id == id) {
            port.link = link;
        }
        let mut change = TopologyChange::default();
        self.rebuild(&mut change);
        change
    }

    /// IPv6 addresses of ports were looked for on their links.
    pub fn set_uniqueness(&mut self, addresses: &[dad::Key], found: Uniqueness) -> TopologyChange {
        self.uniqueness.extend(addresses.iter().map(|key| (*key, found)));
        let mut change = TopologyChange::default();
        self.rebuild(&mut change);
        change
    }

    /// Makes all records anew from the configuration and the ports, and says what differs.
    fn rebuild(&mut self, change: &mut TopologyChange) {
        let old = std::mem::take(&mut self.records);
        self.by_index.clear();
        let config = std::mem::take(&mut self.config);
        // First the numbers, so that the two ends of an inter-VR link can name each other.
        let mut numbers: HashMap<(VrId, InterfaceName), IfIndex> = HashMap::new();
        for (vr, spec) in config.vrs.iter().flat_map(|vr| vr.interfaces.iter().map(move |spec| (&vr.name, spec))) {
            let Some(id) = self.vrs.get(vr) else { continue };
            let key = (*id, spec.name.clone());
            let known = old.get(&key).map(|record| record.index);
            let index = known.unwrap_or_else(|| {
                self.next_index += 1;
                IfIndex(self.next_index)
            });
            numbers.insert(key, index);
        }
        let mut looked_for = HashMap::new();
        for vr in &config.vrs {
            for spec in &vr.interfaces {
                if let Some(mut record) = self.record(&config, &vr.name, spec, &numbers) {
                    self.withhold(&mut record, &mut looked_for, change);
                    change.table.set(record.index, record.interface);
                    let key = (record.vr, record.state.name.clone());
                    self.by_index.insert(record.index, key.clone());
                    self.records.insert(key, record);
                }
            }
        }
        self.config = config;
        // An address that is gone, or whose port is down, is looked for anew when it is back.
        self.uniqueness = looked_for;
        self.compare(&old, change);
    }

    /// Takes those IPv6 addresses of a port out of its record that are not known to be its own. One that is down has
    /// nobody to ask: its addresses stay as they are configured, and are not used.
    fn withhold(
        &self,
        record: &mut Record,
        looked_for: &mut HashMap<(IfIndex, Ipv6Addr), Uniqueness>,
        change: &mut TopologyChange,
    ) {
        if record.state.kind != InterfaceKind::Port || !record.state.up {
            return;
        }
        let mut is_own = |address: Ipv6Addr| {
            let key = (record.index, address);
            let known = self.uniqueness.get(&key).copied();
            match known {
                Some(known) => _ = looked_for.insert(key, known),
                None => _ = change.tentative.insert(key),
            }
            known == Some(Uniqueness::Unique)
        };
        record.state.link_local = record.state.link_local.filter(|address| is_own(*address));
        record.state.addresses.retain(|net| match net {
            IpNet::V4(_) => true,
            IpNet::V6(net) => is_own(net.addr()),
        });
        record.interface.link_local = record.state.link_local;
    }

    fn record(
        &self,
        config: &StackConfig,
        vr: &VrName,
        spec: &InterfaceSpec,
        numbers: &HashMap<(VrId, InterfaceName), IfIndex>,
    ) -> Option<Record> {
        let id = *self.vrs.get(vr)?;
        let index = *numbers.get(&(id, spec.name.clone()))?;
        let (link, kind, usable, mtu, mac) = match &spec.link {
            LinkSpec::Loopback => (Link::Loopback, InterfaceKind::Loopback, true, LOOPBACK_MTU, None),
            LinkSpec::Port(name) => match self.ports.get(name) {
                Some(port) => {
                    let up = port.link == LinkState::Up;
                    (Link::Port(port.id), InterfaceKind::Port, up, port.mtu_bytes, Some(port.mac))
                }
                // Its device has not appeared yet, or is gone.
                None => (Link::Port(PortId::ABSENT), InterfaceKind::Port, false, ABSENT_PORT_MTU, None),
            },
            LinkSpec::InterVr(peer) => {
                let name = vr_api::interface::inter_vr(vr).ok()?;
                let peer_index = *numbers.get(&(*self.vrs.get(peer)?, name.clone()))?;
                let peer_spec = config.vrs.iter().find(|other| other.name == *peer)?;
                let far = peer_spec.interfaces.iter().find(|other| other.name == name)?;
                let kind = InterfaceKind::InterVr { peer: peer.clone() };
                (Link::InterVr { peer: peer_index }, kind, !far.shut, INTER_VR_MTU, None)
            }
        };
        let up = usable && !spec.shut;
        let mtu_bytes = spec.mtu_bytes.unwrap_or(mtu).min(mtu);
        let link_local = match (&spec.link, mac) {
            _ if !spec.ipv6 => None,
            (LinkSpec::Port(_), mac) => mac.map(MacAddress::link_local),
            (LinkSpec::InterVr(peer), _) => Some(vr_api::interface::inter_vr_link_local(vr, peer)),
            (LinkSpec::Loopback, _) => None,
        };
        let mac_or_none = mac.unwrap_or(MacAddress::UNSPECIFIED);
        let interface = Interface { vr: id, link, up, mtu_bytes, mac: mac_or_none, link_local };
        let state = InterfaceState {
            vr: vr.clone(),
            name: spec.name.clone(),
            kind,
            addresses: spec.addresses.clone(),
            link_local,
            mtu: mtu_bytes,
            up,
            mac: mac.map(|mac| mac.0),
        };
        Some(Record { index, vr: id, state, interface })
    }

    fn compare(&self, old: &BTreeMap<(VrId, InterfaceName), Record>, change: &mut TopologyChange) {
        for (key, before) in old {
            match self.records.get(key) {
                Some(now) if now.state == before.state => {}
                Some(now) => {
                    let kept = |net: &IpNet| now.state.addresses.contains(net);
                    if !now.state.up || !before.state.addresses.iter().all(kept) {
                        change.forget.push(now.index);
                    }
                    change.events.push(InterfaceEvent::Changed(now.state.clone()));
                }
                None => {
                    change.forget.push(before.index);
                    let (vr, name) = (before.state.vr.clone(), before.state.name.clone());
                    change.events.push(InterfaceEvent::Removed { vr, name });
                }
            }
        }
        let new = self.records.iter().filter(|(key, _)| !old.contains_key(key));
        change.events.extend(new.map(|(_, record)| InterfaceEvent::Changed(record.state.clone())));
    }

    /// The configuration in force.
    pub fn config(&self) -> &StackConfig {
        &self.config
    }

    /// A port by its name.
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.ports.get(name)
    }

    /// Ports by name.
    pub fn ports(&self) -> impl Iterator<Item = (&str, &Port)> {
        self.ports.iter().map(|(name, port)| (name.as_str(), port))
    }

    /// The table number of a VR.
    pub fn vr(&self, name: &VrName) -> Option<VrId> {
        self.vrs.get(name).copied()
    }

    /// The name of a VR's table.
    pub fn vr_name(&self, id: VrId) -> Option<&VrName> {
        self.vrs.iter().find(|(_, other)| **other == id).map(|(name, _)| name)
    }

    /// All VRs.
    pub fn vrs(&self) -> impl Iterator<Item = (&VrName, VrId)> {
        self.vrs.iter().map(|(name, id)| (name, *id))
    }

    /// An interface by its name.
    pub fn interface(&self, vr: VrId, name: &InterfaceName) -> Option<&Record> {
        self.records.get(&(vr, name.clone()))
    }

    /// An interface by its number.
    pub fn by_index(&self, index: IfIndex) -> Option<&Record> {
        self.records.get(self.by_index.get(&index)?)
    }

    /// All interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Interfaces of one VR.
    pub fn of_vr(&self, vr: VrId) -> impl Iterator<Item = &Record> {
        self.records.values().filter(move |record| record.vr == vr)
    }

    /// Addresses of a VR that it answers for: those of interfaces that are up, and those by which its processes speak
    /// with each other. The latter are of no interface, and no packet with them leaves the VR or comes from outside.
    pub fn local_addresses(&self, vr: VrId) -> impl Iterator<Item = IpAddr> {
        let up = self.of_vr(vr).filter(|record| record.state.up);
        up.flat_map(|r| r.state.addresses.iter().map(IpNet::addr)).chain(LOOPBACKS)
    }

    /// Addresses that a VR takes packets for: its own, and those that mean everyone on a subnet of its own (RFC 1812
    /// section 4.2.3.1).
    pub fn received_addresses(&self, vr: VrId) -> impl Iterator<Item = IpAddr> {
        let up = self.of_vr(vr).filter(|record| record.state.up);
        let of_interfaces = up.flat_map(|record| record.state.addresses.iter()).flat_map(|net| {
            let everyone = matches!(net, IpNet::V4(net) if net.prefix_len() < 31);
            let others = everyone.then(|| [net.network(), net.broadcast()]);
            std::iter::once(net.addr()).chain(others.into_iter().flatten())
        });
        of_interfaces.chain(LOOPBACKS)
    }

    /// Whether a VR may send with this source address: with that of a loopback, to itself only.
    pub fn may_speak(&self, vr: VrId, from: IpAddr, to: IpAddr) -> bool {
        !from.is_loopback() || self.is_local(vr, to)
    }

    /// Whether an address is one of a VR's own. No link-local one is, without its interface.
    pub fn is_local(&self, vr: VrId, address: IpAddr) -> bool {
        self.local_addresses(vr).any(|own| own == address)
    }

    /// Whether an address is one of a VR's own, or a link-local one of this interface of the VR.
    pub fn is_local_on(&self, vr: VrId, address: IpAddr, interface: Option<IfIndex>) -> bool {
        match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                let record = interface.and_then(|index| self.by_index(index));
                record.is_some_and(|record| record.vr == vr && record.has_link_local(address))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => self.is_local(vr, address),
        }
    }

    /// The address that a VR speaks with towards `to` on an interface. IPv4: the one in the same subnet, else the
    /// first, else, on an interface without one, that of the first loopback (RFC 1812 section 2.2.7: unnumbered). IPv6:
    /// as RFC 6724 has it among those of the interface and, beyond the link, those of loopbacks.
    pub fn source(&self, index: IfIndex, to: IpAddr) -> Option<IpAddr> {
        let record = self.by_index(index)?;
        let loopbacks =
            self.of_vr(record.vr).filter(|other| other.state.kind == InterfaceKind::Loopback && other.state.up);
        let of_loopbacks = loopbacks.flat_map(|loopback| loopback.state.addresses.iter().copied());
        match to {
            IpAddr::V4(to) => source::ipv4(&record.state.addresses, of_loopbacks, to).map(IpAddr::V4),
            IpAddr::V6(to) => {
                let own = record.state.addresses.iter().copied();
                source::ipv6(own, record.state.link_local, of_loopbacks, to).map(IpAddr::V6)
            }
        }
    }
}

impl Record {
    /// Whether this is the interface's own link-local address, and the interface is up.
    pub fn has_link_local(&self, address: Ipv6Addr) -> bool {
        self.state.up && self.state.link_local == Some(address)
    }

    /// Whether an address is one of the interface's own, link-local or not.
    pub fn has(&self, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(address) if self.state.link_local == Some(address));
        link_local || self.state.addresses.iter().any(|own| own.addr() == address)
    }
}
