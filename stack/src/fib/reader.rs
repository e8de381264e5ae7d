//! A worker's view of the FIB. Reading takes no lock and never waits for the writer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::next_hop::Group;
use super::trie::Trie;
use super::{Adjacency, AdjacencyId, Generation, GroupId, NextHop, TableId};
use crate::persistent::Chunked;

/// The tables of one VR. Both families, each empty until it is used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) v4: Trie<4>,
    pub(crate) v6: Trie<16>,
}

/// One version of the whole FIB: what a reader sees is always what some batch left.
#[derive(Debug, Clone)]
pub struct FibSnapshot {
    pub(crate) generation: Generation,
    pub(crate) tables: Chunked<Option<Table>>,
    pub(crate) groups: Chunked<Option<Group>>,
    pub(crate) adjacencies: Chunked<Option<Adjacency>>,
}

impl FibSnapshot {
    /// The batch that made it.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether the VR has a table at all.
    pub fn has_table(&self, table: TableId) -> bool {
        self.table(table).is_some()
    }

    /// Longest match for a vector; `found[i]` answers `to[i]`; no route is [`GroupId::NO_ROUTE`].
    pub fn lookup_v4(&self, table: TableId, to: &[Ipv4Addr], found: &mut [GroupId]) {
        match self.table(table) {
            Some(table) => to.iter().zip(found).for_each(|(to, found)| *found = table.v4.lookup(&to.octets())),
            None => found.fill(GroupId::NO_ROUTE),
        }
    }

    /// As [`FibSnapshot::lookup_v4`] for IPv6.
    pub fn lookup_v6(&self, table: TableId, to: &[Ipv6Addr], found: &mut [GroupId]) {
        match self.table(table) {
            Some(table) => to.iter().zip(found).for_each(|(to, found)| *found = table.v6.lookup(&to.octets())),
            None => found.fill(GroupId::NO_ROUTE),
        }
    }

    /// Longest match for one address.
    pub fn lookup(&self, table: TableId, to: IpAddr) -> GroupId {
        match (self.table(table), to) {
            (Some(table), IpAddr::V4(to)) => table.v4.lookup(&to.octets()),
            (Some(table), IpAddr::V6(to)) => table.v6.lookup(&to.octets()),
            (None, _) => GroupId::NO_ROUTE,
        }
    }

    /// The adjacency that a flow takes behind a group; `None` where the group has no next hop.
    pub fn resolve(&self, group: GroupId, flow_hash: u32) -> Option<(AdjacencyId, Adjacency)> {
        let hop = self.groups.get(group.slot())?.as_ref()?.choose(flow_hash)?;
        Some((hop.adjacency, self.adjacency(hop.adjacency)?))
    }

    /// One adjacency.
    pub fn adjacency(&self, id: AdjacencyId) -> Option<Adjacency> {
        *self.adjacencies.get(id.slot())?
    }

    /// The next hops of a group.
    pub fn next_hops(&self, group: GroupId) -> &[NextHop] {
        self.groups.get(group.slot()).and_then(Option::as_ref).map_or(&[], |group| &group.hops)
    }

    /// Every prefix of a table with its group, in order of the prefixes.
    pub fn routes(&self, table: TableId) -> Vec<(IpNet, GroupId)> {
        let mut routes = Vec::new();
        let Some(table) = self.table(table) else { return routes };
        table.v4.for_each(&mut |address, length, group| {
            if let Ok(prefix) = Ipv4Net::new(address.into(), length) {
                routes.push((IpNet::V4(prefix), group));
            }
        });
        table.v6.for_each(&mut |address, length, group| {
            if let Ok(prefix) = Ipv6Net::new(address.into(), length) {
                routes.push((IpNet::V6(prefix), group));
            }
        });
        routes.sort_unstable();
        routes
    }

    /// Number of prefixes in a table, both families.
    pub fn route_count(&self, table: TableId) -> usize {
        self.table(table).map_or(0, |table| table.v4.len() + table.v6.len())
    }

    pub(crate) fn table(&self, table: TableId) -> Option<&Table> {
        self.tables.get(usize::from(table.0))?.as_ref()
    }
}

/// Reads the FIB that a [`FibWriter`](super::FibWriter) publishes. Each worker has one.
#[derive(Debug, Clone)]
pub struct FibReader {
    pub(crate) published: Arc<ArcSwap<FibSnapshot>>,
}

/// A version of the FIB held for the handling of one vector.
pub struct FibView(Guard<Arc<FibSnapshot>>);

impl Deref for FibView {
    type Target = FibSnapshot;
    fn deref(&self) -> &FibSnapshot {
        &self.0
    }
}

impl FibReader {
    /// The newest version, to be held for one vector and not longer.
    pub fn view(&self) -> FibView {
        FibView(self.published.load())
    }

    /// Longest match for a vector; `found[i]` answers `to[i]`; no route is [`GroupId::NO_ROUTE`].
    pub fn lookup_v4(&self, table: TableId, to: &[Ipv4Addr], found: &mut [GroupId]) {
        self.view().lookup_v4(table, to, found);
    }

    /// As [`FibReader::lookup_v4`] for IPv6.
    pub fn lookup_v6(&self, table: TableId, to: &[Ipv6Addr], found: &mut [GroupId]) {
        self.view().lookup_v6(table, to, found);
    }
}
