//! The one writer of the global FIB.

use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::next_hop::Group;
use super::reader::{FibReader, FibSnapshot, Table};
use super::{Adjacency, AdjacencyId, FibError, Generation, GroupId, NextHop, TableId};
use crate::persistent::Chunked;

/// One change of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FibChange {
    /// A new VR.
    CreateTable(TableId),
    /// A VR is gone, with all its routes.
    DeleteTable(TableId),
    /// A route is new, or points elsewhere. The built-in groups serve for local addresses and black holes.
    SetRoute {
        /// Table of the VR.
        table: TableId,
        /// Destination; host bits are ignored.
        prefix: IpNet,
        /// Where to.
        group: GroupId,
    },
    /// A route is gone; one that was not there is no error.
    DeleteRoute {
        /// Table of the VR.
        table: TableId,
        /// Destination.
        prefix: IpNet,
    },
}

/// Makes new versions of the FIB and publishes them. See the module for an overview.
///
/// ```
/// use isthmus_stack::fib::{Adjacency, FibChange, FibWriter, GroupId, NextHop, TableId};
/// use isthmus_stack::ids::IfIndex;
///
/// let mut fib = FibWriter::new();
/// let reader = fib.reader();
/// let table = TableId(1);
/// let link = fib.create_adjacency(Adjacency::Glean { interface: IfIndex(4) });
/// let group = fib.create_group(&[NextHop { adjacency: link }])?;
/// let prefix = "10.1.0.0/24".parse().unwrap();
/// fib.apply(&[FibChange::CreateTable(table), FibChange::SetRoute { table, prefix, group }])?;
///
/// let mut found = [GroupId::NO_ROUTE; 2];
/// reader.lookup_v4(table, &["10.1.0.9".parse().unwrap(), "10.2.0.9".parse().unwrap()], &mut found);
/// assert_eq!(found, [group, GroupId::NO_ROUTE]);
/// # Ok::<(), isthmus_stack::fib::FibError>(())
/// ```
#[derive(Debug)]
pub struct FibWriter {
    current: FibSnapshot,
    published: Arc<ArcSwap<FibSnapshot>>,
    /// Older versions that a reader may still hold: freed here, so that no worker spends its time on it.
    retired: Vec<Arc<FibSnapshot>>,
    /// Routes behind each group.
    uses: Vec<usize>,
}

impl Default for FibWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl FibWriter {
    /// An empty FIB with the built-in groups and adjacencies.
    pub fn new() -> Self {
        let mut adjacencies = Chunked::new();
        adjacencies.set(AdjacencyId::RECEIVE.slot(), Some(Adjacency::Receive), &None);
        adjacencies.set(AdjacencyId::DISCARD.slot(), Some(Adjacency::Discard), &None);
        let mut groups = Chunked::new();
        let to = |adjacency| Some(Group::new(&[NextHop { adjacency }]));
        groups.set(GroupId::NO_ROUTE.slot(), Some(Group::new(&[])), &None);
        groups.set(GroupId::RECEIVE.slot(), to(AdjacencyId::RECEIVE), &None);
        groups.set(GroupId::DISCARD.slot(), to(AdjacencyId::DISCARD), &None);
        let current = FibSnapshot { generation: Generation(0), tables: Chunked::new(), groups, adjacencies };
        let published = Arc::new(ArcSwap::from_pointee(current.clone()));
        FibWriter { current, published, retired: Vec::new(), uses: vec![0; 3] }
    }

    /// A reader of what this writer publishes.
    pub fn reader(&self) -> FibReader {
        FibReader { published: Arc::clone(&self.published) }
    }

    /// What is published now.
    pub fn snapshot(&self) -> &FibSnapshot {
        &self.current
    }

    /// All or nothing. An unknown group or VR refuses the batch; the old table stays.
    pub fn apply(&mut self, batch: &[FibChange]) -> Result<Generation, FibError> {
        let mut draft = Draft { next: self.current.clone(), gained: Vec::new(), lost: Vec::new() };
        for change in batch {
            draft.change(change)?;
        }
        let Draft { mut next, gained, lost } = draft;
        for index in 0..next.tables.len() {
            let stale = next.tables.get(index).and_then(Option::as_ref).is_some_and(Table::is_stale);
            if let (true, Some(Some(table))) = (stale, next.tables.get_mut(index)) {
                table.v4.commit();
                table.v6.commit();
            }
        }
        for group in gained {
            self.uses[group.slot()] += 1;
        }
        for group in lost {
            self.uses[group.slot()] -= 1;
        }
        Ok(self.publish(next))
    }

    /// A new group.
    pub fn create_group(&mut self, hops: &[NextHop]) -> Result<GroupId, FibError> {
        self.check_hops(hops)?;
        let mut next = self.current.clone();
        let slot = vacant_slot(&next.groups);
        next.groups.set(slot, Some(Group::new(hops)), &None);
        if self.uses.len() <= slot {
            self.uses.resize(slot + 1, 0);
        }
        self.publish(next);
        Ok(GroupId(slot as u32))
    }

    /// One write moves every prefix behind `group`. Without a hop its prefixes have no way out: packets are answered
    /// as without a route.
    pub fn set_next_hops(&mut self, group: GroupId, hops: &[NextHop]) -> Result<(), FibError> {
        self.check_group(group)?;
        self.check_hops(hops)?;
        let mut next = self.current.clone();
        next.groups.set(group.slot(), Some(Group::new(hops)), &None);
        self.publish(next);
        Ok(())
    }

    /// Removes a group that no route uses.
    pub fn delete_group(&mut self, group: GroupId) -> Result<(), FibError> {
        self.check_group(group)?;
        match self.uses.get(group.slot()) {
            Some(&routes) if routes > 0 => return Err(FibError::GroupInUse { group, routes }),
            _ => {}
        }
        let mut next = self.current.clone();
        next.groups.set(group.slot(), None, &None);
        self.publish(next);
        Ok(())
    }

    /// A new adjacency.
    pub fn create_adjacency(&mut self, adjacency: Adjacency) -> AdjacencyId {
        let mut next = self.current.clone();
        let slot = vacant_slot(&next.adjacencies);
        next.adjacencies.set(slot, Some(adjacency), &None);
        self.publish(next);
        AdjacencyId(slot as u32)
    }

    /// Changes what an adjacency does, for all that points to it: a neighbor resolved, moved or lost.
    pub fn set_adjacency(&mut self, id: AdjacencyId, adjacency: Adjacency) -> Result<(), FibError> {
        self.check_adjacency(id)?;
        let mut next = self.current.clone();
        next.adjacencies.set(id.slot(), Some(adjacency), &None);
        self.publish(next);
        Ok(())
    }

    /// Removes an adjacency that no group uses.
    pub fn delete_adjacency(&mut self, id: AdjacencyId) -> Result<(), FibError> {
        self.check_adjacency(id)?;
        let users = self.current.groups.iter();
        let uses = |group: &Group| group.hops.iter().any(|hop| hop.adjacency == id);
        let mut users = users.filter(|(_, group)| group.as_ref().is_some_and(uses));
        if let Some((slot, _)) = users.next() {
            return Err(FibError::AdjacencyInUse { adjacency: id, group: GroupId(slot as u32) });
        }
        drop(users);
        let mut next = self.current.clone();
        next.adjacencies.set(id.slot(), None, &None);
        self.publish(next);
        Ok(())
    }

    fn check_group(&self, group: GroupId) -> Result<(), FibError> {
        if group <= GroupId::DISCARD {
            return Err(FibError::BuiltIn);
        }
        self.current.groups.get(group.slot()).and_then(Option::as_ref).ok_or(FibError::NoGroup(group)).map(|_| ())
    }

    fn check_hops(&self, hops: &[NextHop]) -> Result<(), FibError> {
        let missing = hops.iter().find(|hop| self.current.adjacency(hop.adjacency).is_none());
        missing.map_or(Ok(()), |hop| Err(FibError::NoAdjacency(hop.adjacency)))
    }

    fn check_adjacency(&self, id: AdjacencyId) -> Result<(), FibError> {
        if id <= AdjacencyId::DISCARD {
            return Err(FibError::BuiltIn);
        }
        self.current.adjacency(id).ok_or(FibError::NoAdjacency(id)).map(|_| ())
    }

    fn publish(&mut self, mut next: FibSnapshot) -> Generation {
        next.generation = Generation(self.current.generation.0 + 1);
        self.current = next;
        let old = self.published.swap(Arc::new(self.current.clone()));
        self.retired.push(old);
        self.retired.retain(|version| Arc::strong_count(version) > 1);
        self.current.generation
    }
}

impl Table {
    fn is_stale(&self) -> bool {
        self.v4.is_stale() || self.v6.is_stale()
    }
}

/// A batch at work.
struct Draft {
    next: FibSnapshot,
    /// Groups that a route was pointed to, and those that one was taken from; counted once the batch stands.
    gained: Vec<GroupId>,
    lost: Vec<GroupId>,
}

impl Draft {
    fn change(&mut self, change: &FibChange) -> Result<(), FibError> {
        match *change {
            FibChange::CreateTable(table) => {
                if self.next.has_table(table) {
                    return Err(FibError::TableExists(table));
                }
                self.next.tables.set(usize::from(table.0), Some(Table::default()), &None);
            }
            FibChange::DeleteTable(table) => {
                let Some(gone) = self.next.table(table).cloned() else { return Err(FibError::UnknownTable(table)) };
                gone.v4.for_each(&mut |_, _, group| self.lost.push(group));
                gone.v6.for_each(&mut |_, _, group| self.lost.push(group));
                self.next.tables.set(usize::from(table.0), None, &None);
            }
            FibChange::SetRoute { table, prefix, group } => {
                if self.next.groups.get(group.slot()).and_then(Option::as_ref).is_none() {
                    return Err(FibError::UnknownGroup { table, prefix, group });
                }
                let place = self.table(table)?;
                let before = match prefix {
                    IpNet::V4(prefix) => place.v4.insert(&prefix.addr().octets(), prefix.prefix_len(), group),
                    IpNet::V6(prefix) => place.v6.insert(&prefix.addr().octets(), prefix.prefix_len(), group),
                };
                self.gained.push(group);
                self.lost.extend(before);
            }
            FibChange::DeleteRoute { table, prefix } => {
                let place = self.table(table)?;
                let before = match prefix {
                    IpNet::V4(prefix) => place.v4.remove(&prefix.addr().octets(), prefix.prefix_len()),
                    IpNet::V6(prefix) => place.v6.remove(&prefix.addr().octets(), prefix.prefix_len()),
                };
                self.lost.extend(before);
            }
        }
        Ok(())
    }

    fn table(&mut self, table: TableId) -> Result<&mut Table, FibError> {
        self.next.tables.get_mut(usize::from(table.0)).and_then(Option::as_mut).ok_or(FibError::UnknownTable(table))
    }
}

fn vacant_slot<T>(entries: &Chunked<Option<T>>) -> usize
where
    T: Clone,
{
    entries.iter().find(|(_, entry)| entry.is_none()).map_or(entries.len(), |(slot, _)| slot)
}
