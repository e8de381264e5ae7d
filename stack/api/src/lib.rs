//! The messages of the stack: its socket server, its FIB, its interfaces, its probes.
//!
//! An api crate holds messages and the data types in them, nothing that runs, so that no client links a server.
//! Everyone reaches the stack under `/0/stack`; the terms of the open say what for.

use serde::{Deserialize, Serialize};

pub mod datagram;
pub mod datagram_header;
pub mod fib;
pub mod interface;
pub mod options;
pub mod probe;
pub mod socket;

/// Terms of an open of `/0/stack`: what the channel is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Terms {
    /// The requests of one process's socket library ([`socket::SocketRequest`], [`socket::SocketReply`]).
    Sockets,
    /// One TCP connection: first a record [`socket::ConnectResult`] from the stack, then bytes.
    Connect(socket::Connect),
    /// One datagram socket: records [`datagram::DatagramRequest`] and [`datagram::DatagramReply`], and datagrams
    /// ([`datagram_header`]).
    Datagram(datagram::DatagramBind),
    /// Routes of the RIB of a VR ([`fib::FibRequest`], [`fib::FibReply`]).
    Fib,
    /// Interfaces of the caller's VR ([`interface::InterfaceEvent`] from the stack; nothing back).
    Interfaces,
    /// Echo requests for `ping` and `traceroute` ([`probe::Probe`], [`probe::ProbeResult`]).
    Probe,
}
