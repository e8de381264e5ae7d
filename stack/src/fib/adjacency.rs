//! Where a packet goes once its next hop is chosen.

use std::net::IpAddr;

use crate::ids::IfIndex;
use crate::wire::ethernet::MacAddress;

/// Identifies an adjacency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdjacencyId(pub u32);

impl AdjacencyId {
    /// [`Adjacency::Receive`], which every FIB has.
    pub const RECEIVE: AdjacencyId = AdjacencyId(0);
    /// [`Adjacency::Discard`], which every FIB has.
    pub const DISCARD: AdjacencyId = AdjacencyId(1);

    pub(crate) fn slot(self) -> usize {
        self.0 as usize
    }
}

/// What to do with a packet. Port, source MAC address and MTU are those of the interface: there is no second copy here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjacency {
    /// For this router itself: the IFIB decides who gets it.
    Receive,
    /// A black hole, as a route to Null0.
    Discard,
    /// On this link, each destination with a link address of its own: the control side resolves it. The prefix's own
    /// and its broadcast address are nobody's to resolve: they want routes to [`Adjacency::Receive`].
    Glean {
        /// Interface of the connected prefix.
        interface: IfIndex,
    },
    /// A known neighbor whose link address is not known yet.
    Incomplete {
        /// Interface that it is on.
        interface: IfIndex,
        /// Address to resolve.
        next_hop: IpAddr,
    },
    /// A neighbor that can be sent to.
    Complete {
        /// Interface that it is on.
        interface: IfIndex,
        /// Its link address.
        destination: MacAddress,
    },
    /// Another VR of this box: a second look-up in the table of the interface's peer.
    InterVr {
        /// This VR's end of the inter-VR link; the interface table knows the peer.
        interface: IfIndex,
    },
}

impl Adjacency {
    /// The interface that it leads over; `None`: it leads over none.
    pub fn interface(&self) -> Option<IfIndex> {
        match *self {
            Adjacency::Receive | Adjacency::Discard => None,
            Adjacency::Glean { interface }
            | Adjacency::Incomplete { interface, .. }
            | Adjacency::Complete { interface, .. }
            | Adjacency::InterVr { interface } => Some(interface),
        }
    }
}
