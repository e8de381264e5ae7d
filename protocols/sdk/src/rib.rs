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
    /// A mark for filters of other protocols; 0: none.
    pub tag: u32,
    /// Where to; several are equal-cost paths.
    pub next_hops: Vec<NextHop>,
}

impl Route {
    /// A route without a tag.
    pub fn new(prefix: impl Into<IpNet>, distance: u8, metric: u32, next_hops: Vec<NextHop>) -> Self {
        Self { prefix: prefix.into(), distance, metric, tag: 0, next_hops }
    }
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
    /// Tell the routes in force of other protocols that one of these takes, now and at each change: all that this
    /// protocol passes on, in place of what it asked for before. [`RibUpdate::RedistributionComplete`] follows.
    Redistribute(Vec<Redistribution>),
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
    /// What [`RibRequest::Redistribute`] asked for: changes, in order.
    Redistributed(Vec<RedistributedChange>),
    /// All that [`RibRequest::Redistribute`] asked for was told: what an earlier RIB told and this one did not is gone.
    RedistributionComplete,
    /// A route was refused; nothing of it is kept.
    Refused {
        /// Its prefix.
        prefix: IpNet,
        /// Why.
        reason: String,
    },
    /// Routes that were offered are kept, but lead nowhere now; each is used as soon as one of its next hops is reached.
    /// Said when they are offered; who wants to know of every change asks for [`RibRequest::TrackNextHop`].
    Unused(Vec<UnusedRoute>),
    /// Something else than a route that was asked for is not done.
    Denied {
        /// Why.
        reason: String,
    },
}

/// A route that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusedRoute {
    /// Its prefix.
    pub prefix: IpNet,
    /// What is the matter with its first next hop, and with all others too.
    pub because: Unreached,
}

/// Why a next hop is not reached. All of these may change.
///
/// ```
/// use isthmus_sdk::rib::Unreached;
/// let because = Unreached::NoRoute("192.0.2.1".parse()?);
/// assert_eq!(because.to_string(), "next hop 192.0.2.1: no other route leads there");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unreached {
    /// No route but perhaps the own one leads there.
    #[error("next hop {0}: no other route leads there")]
    NoRoute(IpAddr),
    /// It is an address of this VR.
    #[error("next hop {0} is an address of this router itself")]
    Own(IpAddr),
    /// The VR has no interface of this name.
    #[error("next hop on {0}: there is no such interface here")]
    NoInterface(InterfaceName),
    /// The interface is down.
    #[error("next hop on {0}: the interface is down")]
    Down(InterfaceName),
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

/// Which routes of another protocol are passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redistribution {
    /// The other's name, as `show route` prints it: `connected`, `static`, `bgp`.
    pub protocol: String,
    /// Only to prefixes that one of these takes; `None`: to all.
    pub prefixes: Option<Vec<PrefixMatch>>,
    /// Only with this tag; `None`: with any.
    pub tag: Option<u32>,
}

impl Redistribution {
    /// Whether it takes a route.
    pub fn takes(&self, route: &Redistributed) -> bool {
        self.protocol == route.protocol
            && self.tag.is_none_or(|tag| tag == route.tag)
            && self.prefixes.as_ref().is_none_or(|list| list.iter().any(|entry| entry.takes(route.prefix)))
    }
}

/// An entry of a prefix list: a prefix and those within it whose lengths lie between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PrefixMatch {
    /// Those within it.
    pub prefix: IpNet,
    /// The shortest length in bits.
    pub min_length: u8,
    /// The longest length in bits.
    pub max_length: u8,
}

impl PrefixMatch {
    /// Whether it takes a prefix.
    pub fn takes(&self, prefix: IpNet) -> bool {
        self.prefix.contains(&prefix) && (self.min_length..=self.max_length).contains(&prefix.prefix_len())
    }
}

/// A route of another protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redistributed {
    /// Destination.
    pub prefix: IpNet,
    /// Whose route it is.
    pub protocol: String,
    /// Metric there.
    pub metric: u32,
    /// Tag; 0: none.
    pub tag: u32,
    /// Where packets leave; `None`: they are dropped.
    pub interface: Option<InterfaceName>,
    /// The next router there; `None`: destinations are neighbors themselves.
    pub next_hop: Option<IpAddr>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedistributedChange {
    /// New, or in place of what was told of the prefix.
    Set(Redistributed),
    /// No longer.
    Withdraw(IpNet),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_list_takes_what_lies_within_and_between_its_lengths() {
        let entry = PrefixMatch { prefix: "10.0.0.0/8".parse().unwrap(), min_length: 16, max_length: 24 };
        for (prefix, expected) in [
            ("10.0.0.0/8", false),
            ("10.1.0.0/15", false),
            ("10.1.0.0/16", true),
            ("10.1.2.0/24", true),
            ("10.1.2.0/25", false),
            ("11.1.0.0/16", false),
            ("::/16", false),
        ] {
            assert_eq!(entry.takes(prefix.parse().unwrap()), expected, "{prefix}");
        }
    }
}
