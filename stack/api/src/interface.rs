//! Interfaces as the stack has them, told to every process that wants to know.

use std::net::Ipv6Addr;

use ipc::{InterfaceName, VrName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Schema of the channel, for the hello.
pub const SCHEMA: &str = "interfaces";

/// An interface of a VR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceState {
    /// The VR that it belongs to.
    pub vr: VrName,
    /// Its name there.
    pub name: InterfaceName,
    /// What is behind it. A protocol has no reason to look.
    pub kind: InterfaceKind,
    /// Its addresses with the lengths of their subnets. An IPv6 address of a port is among them once it is known that
    /// no other station has it (RFC 4862 section 5.4).
    pub addresses: Vec<IpNet>,
    /// Its IPv6 link-local address, where IPv6 is enabled.
    pub link_local: Option<Ipv6Addr>,
    /// IP MTU in bytes.
    pub mtu: u32,
    /// Up: not shut, and the medium has a carrier.
    pub up: bool,
    /// MAC address where there is one.
    pub mac: Option<[u8; 6]>,
}

/// What is behind an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceKind {
    /// A port of a line card.
    Port,
    /// Always up, reaches nobody.
    Loopback,
    /// Another VR of this box.
    InterVr {
        /// Which.
        peer: VrName,
    },
}

/// From the stack to a subscriber. The first one is the whole; a restarted stack begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceEvent {
    /// All interfaces of the VR (of all VRs for a process of the router).
    Snapshot(Vec<InterfaceState>),
    /// One is new or changed.
    Changed(InterfaceState),
    /// One is gone.
    Removed {
        /// Of which VR.
        vr: VrName,
        /// Which.
        name: InterfaceName,
    },
}

/// A subscriber has nothing to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nothing {}
