//! What stands in the FIB for each prefix: a local address, a route of the RIB, or a neighbor that was resolved.
//!
//! The first of these that a prefix has wins. Names of interfaces become adjacencies here, sets of them next-hop
//! groups, which prefixes share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipc::{InterfaceName, VrId};
use ipnet::IpNet;
use stack_api::fib::{FibChange as Download, FibNextHop};

use super::topology::Topology;
use crate::fib::{Adjacency, AdjacencyId, FibChange, FibError, FibWriter, GroupId, NextHop};
use crate::ids::IfIndex;
use crate::interfaces::Link;
use crate::wire::ethernet::MacAddress;

/// Why a download was refused. Nothing of it is in force.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// A next hop on an interface that the VR does not have.
    #[error("route {prefix}: no interface {interface}")]
    NoInterface {
        /// The route.
        prefix: IpNet,
        /// The interface.
        interface: InterfaceName,
    },
    /// A route without a next hop.
    #[error("route {0}: no next hop")]
    NoNextHop(IpNet),
    /// The FIB refused.
    #[error(transparent)]
    Fib(#[from] FibError),
}

/// What a prefix has.
#[derive(Debug, Default, Clone)]
struct Layers {
    local: bool,
    /// Group, and the download that brought it.
    rib: Option<(GroupId, u64)>,
    neighbor: Option<GroupId>,
}

impl Layers {
    fn effective(&self) -> Option<GroupId> {
        let rib = self.rib.map(|(group, _)| group);
        if self.local { Some(GroupId::RECEIVE) } else { rib.or(self.neighbor) }
    }
}

#[derive(Debug, Default)]
struct Table {
    prefixes: BTreeMap<IpNet, Layers>,
    /// Number of the present whole download.
    download: u64,
}

/// Routes of all VRs.
#[derive(Debug, Default)]
pub struct Routes {
    tables: HashMap<VrId, Table>,
    adjacencies: HashMap<(IfIndex, Option<IpAddr>), AdjacencyId>,
    groups: HashMap<Vec<AdjacencyId>, GroupId>,
}

impl Routes {
    /// A VR is new.
    pub fn create(&mut self, fib: &mut FibWriter, vr: VrId) -> Result<(), FibError> {
        self.tables.insert(vr, Table::default());
        fib.apply(&[FibChange::CreateTable(vr.into())]).map(drop)
    }

    /// A VR is gone.
    pub fn delete(&mut self, fib: &mut FibWriter, vr: VrId) -> Result<(), FibError> {
        self.tables.remove(&vr);
        fib.apply(&[FibChange::DeleteTable(vr.into())]).map(drop)
    }

    /// The addresses that a VR answers for.
    pub fn set_local(
        &mut self,
        fib: &mut FibWriter,
        vr: VrId,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Result<(), FibError> {
        let wanted: BTreeSet<IpNet> = addresses.map(IpNet::from).collect();
        let Some(table) = self.tables.get(&vr) else { return Ok(()) };
        let had = table.prefixes.iter().filter(|(_, layers)| layers.local).map(|(prefix, _)| *prefix);
        let had: BTreeSet<IpNet> = had.collect();
        let changed: Vec<IpNet> = wanted.symmetric_difference(&had).copied().collect();
        self.change(fib, vr, changed.iter().map(|prefix| (*prefix, |layers: &mut Layers| layers.local = !layers.local)))
    }

    /// The RIB of a VR begins to send its whole table.
    pub fn begin(&mut self, vr: VrId) {
        if let Some(table) = self.tables.get_mut(&vr) {
            table.download += 1;
        }
    }

    /// The RIB has sent its whole table: what it did not send goes.
    pub fn end(&mut self, fib: &mut FibWriter, vr: VrId) -> Result<(), FibError> {
        let Some(table) = self.tables.get(&vr) else { return Ok(()) };
        let download = table.download;
        let old = |layers: &Layers| layers.rib.is_some_and(|(_, number)| number < download);
        let stale = table.prefixes.iter().filter(|(_, layers)| old(layers)).map(|(prefix, _)| *prefix);
        let stale: Vec<IpNet> = stale.collect();
        self.change(fib, vr, stale.into_iter().map(|prefix| (prefix, |layers: &mut Layers| layers.rib = None)))
    }

    /// A batch of a VR's RIB: all or nothing.
    pub fn download(
        &mut self,
        fib: &mut FibWriter,
        topology: &Topology,
        vr: VrId,
        changes: &[Download],
    ) -> Result<(), DownloadError> {
        let download = self.tables.get(&vr).map_or(0, |table| table.download);
        let mut resolved = Vec::with_capacity(changes.len());
        for change in changes {
            resolved.push(match change {
                Download::Add { prefix, next_hops } => {
                    (*prefix, Some((self.group(fib, topology, vr, *prefix, next_hops)?, download)))
                }
                Download::Remove { prefix } => (*prefix, None),
            });
        }
        let set =
            resolved.into_iter().map(|(prefix, rib)| (prefix.trunc(), move |layers: &mut Layers| layers.rib = rib));
        Ok(self.change(fib, vr, set)?)
    }

    /// A neighbor on a link is known: adjacencies towards it are complete, and it has a route of its own, so that
    /// line cards need not ask again.
    pub fn resolved(
        &mut self,
        fib: &mut FibWriter,
        vr: VrId,
        interface: IfIndex,
        address: IpAddr,
        destination: MacAddress,
    ) -> Result<AdjacencyId, FibError> {
        let complete = Adjacency::Complete { interface, destination };
        let adjacency = self.adjacency(fib, interface, Some(address), complete);
        fib.set_adjacency(adjacency, complete)?;
        if !has_own_route(address) {
            return Ok(adjacency);
        }
        let group = self.group_of(fib, vec![adjacency])?;
        let own_route = [(IpNet::from(address), move |layers: &mut Layers| layers.neighbor = Some(group))];
        self.change(fib, vr, own_route.into_iter())?;
        Ok(adjacency)
    }

    /// A neighbor does not answer, or its link is gone.
    pub fn forgotten(
        &mut self,
        fib: &mut FibWriter,
        vr: VrId,
        interface: IfIndex,
        next_hop: IpAddr,
    ) -> Result<(), FibError> {
        if let Some(adjacency) = self.adjacencies.get(&(interface, Some(next_hop))) {
            fib.set_adjacency(*adjacency, Adjacency::Incomplete { interface, next_hop })?;
        }
        if !has_own_route(next_hop) {
            return Ok(());
        }
        let own_route = [(IpNet::from(next_hop), |layers: &mut Layers| layers.neighbor = None)];
        self.change(fib, vr, own_route.into_iter())
    }

    /// The adjacency towards a neighbor of which something leads over it, or that was resolved once.
    pub fn neighbor(&self, interface: IfIndex, address: IpAddr) -> Option<AdjacencyId> {
        self.adjacencies.get(&(interface, Some(address))).copied()
    }

    /// The adjacency into the VR at the other end of an inter-VR interface.
    pub fn crossing(&mut self, fib: &mut FibWriter, interface: IfIndex) -> AdjacencyId {
        self.adjacency(fib, interface, None, Adjacency::InterVr { interface })
    }

    /// All neighbors on an interface are forgotten.
    pub fn forget_interface(&mut self, fib: &mut FibWriter, vr: VrId, interface: IfIndex) -> Result<(), FibError> {
        let on_it =
            self.adjacencies.keys().filter(|(index, _)| *index == interface).filter_map(|(_, address)| *address);
        let addresses: Vec<IpAddr> = on_it.collect();
        addresses.into_iter().try_for_each(|address| self.forgotten(fib, vr, interface, address))
    }

    /// Changes layers of prefixes and brings the FIB up to date: one batch, all or nothing.
    fn change<F: FnOnce(&mut Layers)>(
        &mut self,
        fib: &mut FibWriter,
        vr: VrId,
        changes: impl Iterator<Item = (IpNet, F)>,
    ) -> Result<(), FibError> {
        let Some(table) = self.tables.get_mut(&vr) else { return Err(FibError::UnknownTable(vr.into())) };
        let mut batch = Vec::new();
        for (prefix, change) in changes {
            let layers = table.prefixes.entry(prefix).or_default();
            let before = layers.effective();
            change(layers);
            let after = layers.effective();
            match after {
                Some(group) if before != after => {
                    batch.push(FibChange::SetRoute { table: vr.into(), prefix, group });
                }
                None => {
                    table.prefixes.remove(&prefix);
                    batch.push(FibChange::DeleteRoute { table: vr.into(), prefix });
                }
                Some(_) => {}
            }
        }
        // Groups come from the FIB itself and the table exists: it has no reason to refuse.
        if batch.is_empty() { Ok(()) } else { fib.apply(&batch).map(drop) }
    }

    fn group(
        &mut self,
        fib: &mut FibWriter,
        topology: &Topology,
        vr: VrId,
        prefix: IpNet,
        next_hops: &[FibNextHop],
    ) -> Result<GroupId, DownloadError> {
        let mut adjacencies = Vec::with_capacity(next_hops.len());
        for hop in next_hops {
            adjacencies.push(match hop {
                FibNextHop::Discard => AdjacencyId::DISCARD,
                FibNextHop::Via { interface, address } => {
                    let missing = || DownloadError::NoInterface { prefix, interface: interface.clone() };
                    let record = topology.interface(vr, interface).ok_or_else(missing)?;
                    let index = record.index;
                    match (record.interface.link, address) {
                        // A loopback reaches nobody but its own address, which is local.
                        (Link::Loopback, _) => AdjacencyId::DISCARD,
                        (Link::InterVr { .. }, _) => {
                            self.adjacency(fib, index, None, Adjacency::InterVr { interface: index })
                        }
                        (Link::Port(_), Some(next_hop)) => {
                            let incomplete = Adjacency::Incomplete { interface: index, next_hop: *next_hop };
                            self.adjacency(fib, index, Some(*next_hop), incomplete)
                        }
                        (Link::Port(_), None) => {
                            self.adjacency(fib, index, None, Adjacency::Glean { interface: index })
                        }
                    }
                }
            });
        }
        adjacencies.sort_unstable();
        adjacencies.dedup();
        match adjacencies[..] {
            [] => Err(DownloadError::NoNextHop(prefix)),
            [AdjacencyId::DISCARD] => Ok(GroupId::DISCARD),
            _ => Ok(self.group_of(fib, adjacencies)?),
        }
    }

    /// The adjacency for a neighbor, made if it is new.
    fn adjacency(
        &mut self,
        fib: &mut FibWriter,
        interface: IfIndex,
        address: Option<IpAddr>,
        new: Adjacency,
    ) -> AdjacencyId {
        *self.adjacencies.entry((interface, address)).or_insert_with(|| fib.create_adjacency(new))
    }

    fn group_of(&mut self, fib: &mut FibWriter, adjacencies: Vec<AdjacencyId>) -> Result<GroupId, FibError> {
        if let Some(group) = self.groups.get(&adjacencies) {
            return Ok(*group);
        }
        let hops: Vec<NextHop> = adjacencies.iter().map(|adjacency| NextHop { adjacency: *adjacency }).collect();
        let group = fib.create_group(&hops)?;
        self.groups.insert(adjacencies, group);
        Ok(group)
    }
}

/// Whether a neighbor gets a route of its own. A link-local address is not one of the VR's table: every link has its own.
fn has_own_route(neighbor: IpAddr) -> bool {
    !vr_api::interface::is_link_scoped(neighbor)
}
