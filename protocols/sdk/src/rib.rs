//! Messages between a protocol and the RIB of its VR.
//!
//! A protocol opens `/VR/rib`; the RIB takes the protocol's name from the identity that procmgr attests. Routes of a
//! protocol that goes away are kept as stale until it is back and has sent [`RibRequest::EndOfRoutes`], or until a
//! time runs out.

use std::net::IpAddr;

use ipc::InterfaceName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Schema of the channel, for the hello.
pub const SCHEMA: &str = "rib";

/// A route as a protocol offers it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub prefix: IpNet,
    /// Administrative distance: the lowest of all protocols wins. IOS-XR's: eBGP 20, OSPF 110, IS-IS 115, iBGP 200.
    pub distance: u8,
    /// The protocol's own metric.
    pub metric: u32,
    /// Where to; several are equal-cost paths.
    pub next_hops: Vec<NextHop>,
}

/// One way of a [`Route`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NextHop {
    /// A neighbor's address, resolved by the RIB through its own routes (recursively).
    Address(IpAddr),
    /// A neighbor's address on an interface.
    OnInterface(InterfaceName, IpAddr),
    /// Destinations are neighbors themselves on this interface.
    Interface(InterfaceName),
    /// Packets are dropped: `Null0`.
    Discard,
}

/// From a protocol to the RIB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RibRequest {
    /// Changes, in order.
    Routes(Vec<RouteChange>),
    /// All routes were sent since this channel opened: what was stale and was not sent again goes.
    EndOfRoutes,
    /// Tell whether an address is reachable, now and at each change.
    TrackNextHop(IpAddr),
    /// No longer.
    UntrackNextHop(IpAddr),
    /// Tell whether the RIB has a best route to exactly this prefix from another protocol, now and at each change.
    TrackPrefix(IpNet),
    /// No longer.
    UntrackPrefix(IpNet),
    /// The protocol is stopped in order: all its routes go now, none is kept as stale.
    Leave,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteChange {
    /// New, or in place of this protocol's route to the same prefix.
    Add(Route),
    /// Gone.
    Remove(IpNet),
}

/// From the RIB to a protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RibUpdate {
    /// What [`RibRequest::TrackNextHop`] asked for.
    NextHop {
        /// The address.
        address: IpAddr,
        /// How it is reached, if it is.
        reached: Option<Reached>,
    },
    /// What [`RibRequest::TrackPrefix`] asked for.
    Prefix {
        /// The prefix.
        prefix: IpNet,
        /// The best route's metric, if there is one.
        metric: Option<u32>,
    },
    /// A route was refused; nothing of it is kept.
    Refused {
        /// Its prefix.
        prefix: IpNet,
        /// Why.
        reason: String,
    },
}

/// How a next hop is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Metric of the route that leads there.
    pub metric: u32,
    /// Whether it is a neighbor on a connected subnet.
    pub connected: bool,
    /// Interface of the last step; `Null0` where a route leads that drops packets.
    pub interface: InterfaceName,
}
