//! Messages of the VR connection manager: publications, vrFIB copies, and the routes that decide them.
//!
//! A socket library opens `/0/vrmgr` with [`Terms::Library`], `rib` with [`Terms::Rib`]. Whose VR and PID it is, the
//! manager takes from the identity that procmgr attests.

use std::net::IpAddr;

use ipc::terms::Clause;
use ipc::{Criteria, InterfaceName, Pathname, VrId, VrName};
use serde::{Deserialize, Serialize};

/// Schema of a library's channel, for the hello.
pub const LIBRARY_SCHEMA: &str = "vrfib";
/// Schema of a `rib`'s channel, for the hello.
pub const RIB_SCHEMA: &str = "reachability";

/// Terms of an open of `/0/vrmgr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Terms {
    /// A socket library: publishes, gets vrFIB updates.
    Library,
    /// The RIB of a VR: says where addresses are reached.
    Rib,
}

/// What a listener asks of those who connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// What it listens for.
    pub criteria: Criteria,
    /// The one local address it is bound to, or any.
    pub local: Option<IpAddr>,
    /// The one interface it is bound to, or any.
    pub interface: Option<InterfaceName>,
    /// Connections that may wait for `accept`.
    pub backlog: u16,
    /// What procmgr compares the terms of opens with: minimum TTL, digests of keys.
    pub clauses: Vec<Clause>,
    /// Numbers of the datagram sockets behind it, in order, where forked processes share each of them; empty where it has
    /// one of its own. Of publications with the same numbers one is led to: what comes is for one socket, and not for each
    /// process that has it. Nobody can guess them.
    pub shared: Vec<u64>,
}

/// A process's listener has joined a multicast group on an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// What it listens for.
    pub criteria: Criteria,
    /// The group.
    pub group: IpAddr,
    /// The interface of its VR.
    pub interface: InterfaceName,
}

/// From a socket library to the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LibraryRequest {
    /// Make a listener known to the joined VRs. Answered by [`LibraryUpdate::Published`] once every process concerned
    /// has the update in its ring, or by [`LibraryUpdate::Refused`].
    Publish {
        /// Comes back in the answer.
        ticket: u32,
        /// The listener.
        listener: Listener,
    },
    /// Take a listener back.
    Withdraw {
        /// As it was published.
        criteria: Criteria,
        /// As it was published.
        local: Option<IpAddr>,
    },
    /// Let what joined VRs send to a group reach a published listener. Nothing answers.
    Join(Membership),
    /// No longer.
    Leave(Membership),
    /// Answer to [`LibraryUpdate::CountersWanted`].
    Counters {
        /// From the question.
        ticket: u32,
        /// One for each inter-VR interface that was used.
        counters: Vec<InterVrCounters>,
    },
}

/// From the manager to a socket library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LibraryUpdate {
    /// The listener is known wherever it can be reached from.
    Published {
        /// From the request.
        ticket: u32,
        /// Under which name.
        pathname: Pathname,
    },
    /// It was not published.
    Refused {
        /// From the request.
        ticket: u32,
        /// Why.
        reason: String,
    },
    /// A change of the vrFIB.
    VrFib(VrFibUpdate),
    /// How much went over each inter-VR interface?
    CountersWanted {
        /// To be repeated in the answer.
        ticket: u32,
    },
}

/// A change of a process's vrFIB. A reader sees all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VrFibUpdate {
    /// The whole content, in place of what was there.
    Snapshot {
        /// All inter-VR interfaces of the VR.
        interfaces: Vec<InterVrInterface>,
        /// All entries.
        entries: Vec<VrFibEntry>,
    },
    /// Some entries and interfaces changed.
    Change {
        /// Interfaces that are new or changed.
        interfaces: Vec<InterVrInterface>,
        /// Entries that are new, or replace the one with the same `to` and listener.
        added: Vec<VrFibEntry>,
        /// Entries that are gone, by `to` and listener.
        removed: Vec<(IpAddr, Pathname)>,
    },
}

/// One way to a willing process: its address, and the pathname of its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrFibEntry {
    /// Connected network address of the process (or another of its VR's, to which the best route leads there), or a
    /// group that it has joined.
    pub to: IpAddr,
    /// Its listener; the criteria are part of the pathname.
    pub listener: Pathname,
    /// Generation of the publication: a later listener under the same name is another one.
    pub generation: u64,
    /// Own inter-VR interface that leads there.
    pub interface: InterfaceName,
    /// Source address of a connection that was not bound to one (RFC 6724 leaves the choice to the outgoing
    /// interface).
    pub source: IpAddr,
}

/// An inter-VR interface as one VR has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterVrInterface {
    /// Name in this VR: that of the other one.
    pub name: InterfaceName,
    /// The VR at the other end.
    pub peer_vr: VrId,
    /// Its name.
    pub peer_name: VrName,
    /// Own addresses on it.
    pub addresses: Vec<IpAddr>,
    /// Addresses that this VR may use as a source of connections over it: all of its own.
    pub own_addresses: Vec<IpAddr>,
    /// Addresses that the other VR may use as a source of connections over it.
    pub peer_addresses: Vec<IpAddr>,
    /// Addresses of the other VR that no route of this one leads to, whichever way: channels to them stand still.
    pub lost: Vec<IpAddr>,
    /// Own addresses that no route of the other VR leads back to: channels from them stand still, too.
    pub lost_from: Vec<IpAddr>,
    /// `false` while either end is shut: look-ups miss.
    pub up: bool,
}

/// What one process moved over one inter-VR interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterVrCounters {
    /// The interface.
    pub interface: InterfaceName,
    /// Connections standing.
    pub connections: u64,
    /// Payload bytes written.
    pub bytes_sent: u64,
    /// Payload bytes read.
    pub bytes_received: u64,
    /// Look-ups that led over it.
    pub vrfib_hits: u64,
    /// Look-ups for an address of the other VR that found no listener.
    pub vrfib_misses: u64,
}

/// From the manager to the `rib` of a VR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RibQuestion {
    /// All addresses whose best route is wanted, in place of those asked before. Answered at once and at each change.
    Track(Vec<IpAddr>),
}

/// From a `rib` to the manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RibAnswer {
    /// Over which interface the best route towards each address leads; `None`: no route, or a discarding one.
    Reachable(Vec<(IpAddr, Option<InterfaceName>)>),
}
