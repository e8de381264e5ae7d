//! Next-hop groups: what a prefix points to, so that one write moves every prefix behind it.

use std::sync::Arc;

use super::AdjacencyId;

/// Identifies a next-hop group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The answer for an address that no prefix covers.
    pub const NO_ROUTE: GroupId = GroupId(0);
    /// The group of this router's own addresses.
    pub const RECEIVE: GroupId = GroupId(1);
    /// The group of routes to Null0.
    pub const DISCARD: GroupId = GroupId(2);

    pub(crate) fn slot(self) -> usize {
        self.0 as usize
    }
}

/// One way out of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// Where it leads.
    pub adjacency: AdjacencyId,
}

/// Equal next hops, one of which a flow takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) hops: Arc<[NextHop]>,
}

impl Group {
    pub(crate) fn new(hops: &[NextHop]) -> Self {
        Group { hops: hops.into() }
    }

    /// The next hop of the flow with this hash: all packets of a flow take one way and stay in order.
    pub(crate) fn choose(&self, flow_hash: u32) -> Option<NextHop> {
        match self.hops.len() {
            0 => None,
            1 => Some(self.hops[0]),
            // Multiply and shift: the hash's high bits choose, without a division.
            count => self.hops.get(((u64::from(flow_hash) * count as u64) >> 32) as usize).copied(),
        }
    }
}
