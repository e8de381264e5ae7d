//! The global FIB: for each VR a table of prefixes, behind each prefix a next-hop group, behind each next hop an
//! adjacency.
//!
//! ```text
//!   table of a VR            groups                 adjacencies
//!   10.1.0.0/24  ──────▶ 7: [hop]        ─────────▶ Glean Port0/0/1
//!   203.0.113/24 ─┬────▶ 8: [hop, hop]   ─┬───────▶ Complete Port0/0/1 02:..:09
//!   203.0.114/24 ─┘                       └───────▶ InterVr blue
//! ```
//!
//! One writer, any number of readers. Each write makes a new version, which shares with the one before all that did
//! not change, and publishes it with one pointer: a reader sees a batch whole or not at all, and waits for nobody.
//! Read first: `writer`, `reader`; `trie` is the table itself.

mod adjacency;
mod next_hop;
mod reader;
#[cfg(test)]
mod tests;
mod trie;
mod writer;

use std::fmt;

pub use adjacency::{Adjacency, AdjacencyId};
use ipc::VrId;
use ipnet::IpNet;
pub use next_hop::{GroupId, NextHop};
pub use reader::{FibReader, FibSnapshot, FibView};
pub use writer::{FibChange, FibWriter};

/// Identifies a VR's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u16);

impl From<VrId> for TableId {
    fn from(vr: VrId) -> Self {
        TableId(vr.0)
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the writes to the FIB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// Why the FIB refused a write. Nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// No such table.
    #[error("FIB: VR {0} has no table")]
    UnknownTable(TableId),
    /// The table exists already.
    #[error("FIB: VR {0} has a table already")]
    TableExists(TableId),
    /// No such next-hop group.
    #[error("FIB: route {prefix} of VR {table}: there is no next-hop group {}", group.0)]
    UnknownGroup {
        /// Table of the route.
        table: TableId,
        /// The route.
        prefix: IpNet,
        /// What it asked for.
        group: GroupId,
    },
    /// No such next-hop group.
    #[error("FIB: there is no next-hop group {}", .0.0)]
    NoGroup(GroupId),
    /// No such adjacency.
    #[error("FIB: there is no adjacency {}", .0.0)]
    NoAdjacency(AdjacencyId),
    /// Routes still point to the group.
    #[error("FIB: {routes} routes still use next-hop group {}", group.0)]
    GroupInUse {
        /// The group.
        group: GroupId,
        /// How many.
        routes: usize,
    },
    /// A next hop still points to the adjacency.
    #[error("FIB: next-hop group {} still uses adjacency {}", group.0, adjacency.0)]
    AdjacencyInUse {
        /// The adjacency.
        adjacency: AdjacencyId,
        /// A group that uses it.
        group: GroupId,
    },
    /// The groups and adjacencies that every FIB has cannot be changed.
    #[error("FIB: the built-in groups and adjacencies cannot be changed")]
    BuiltIn,
}
