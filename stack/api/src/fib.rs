//! FIB download: from the RIB of a VR into the global FIB.
//!
//! After the channel opened, the RIB sends [`FibRequest::Begin`], all its routes in batches, and [`FibRequest::End`]:
//! what was there before and was not sent again is swept then, so that forwarding goes on while a RIB restarts.

use std::net::IpAddr;

use ipc::InterfaceName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Schema of the channel, for the hello.
pub const SCHEMA: &str = "fib";

/// From the RIB to the FIB, for the VR of the RIB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FibRequest {
    /// The whole table follows.
    Begin,
    /// Changes that come into force together or not at all.
    Batch {
        /// Comes back in the answer.
        ticket: u64,
        /// In order.
        changes: Vec<FibChange>,
    },
    /// The whole table was sent.
    End,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FibChange {
    /// New, or in place of the route to the same prefix.
    Add {
        /// Destination.
        prefix: IpNet,
        /// Where to: equal-cost, resolved down to an interface.
        next_hops: Vec<FibNextHop>,
    },
    /// Gone.
    Remove {
        /// Destination.
        prefix: IpNet,
    },
}

/// A way that needs no further look-up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FibNextHop {
    /// A neighbor on an interface, by its address; `None`: the destination is the neighbor.
    Via {
        /// The outgoing interface.
        interface: InterfaceName,
        /// The neighbor.
        address: Option<IpAddr>,
    },
    /// Drop.
    Discard,
}

/// From the FIB to the RIB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FibReply {
    /// The batch is in force.
    Applied {
        /// From the request.
        ticket: u64,
    },
    /// Nothing of the batch is in force.
    Refused {
        /// From the request.
        ticket: u64,
        /// Why: an unknown interface.
        reason: String,
    },
}
