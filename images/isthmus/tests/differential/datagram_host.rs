//! What a program can do with datagram sockets, UDP and raw IP, over whichever sockets: the datagrams' part of the trait.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::{Errno, Handle, Link, Outcome, Wishes};

/// What a datagram socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Speaks {
    /// UDP.
    Udp,
    /// An IP protocol by its number.
    Raw(u8),
}

/// A datagram to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    /// Whom to; `None`: the socket's peer.
    pub to: Option<SocketAddr>,
    /// Own address, where the sender chooses one for this datagram (`IP_PKTINFO`).
    pub from: Option<IpAddr>,
    /// By which link it is to leave (`IP_PKTINFO`), where the sender says it.
    pub by: Option<Link>,
    /// TTL or hop limit, or the usual one.
    pub ttl: Option<u8>,
    /// TOS or traffic class.
    pub tos: u8,
    /// What is said.
    pub text: String,
}

/// A datagram that was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Who sent it.
    pub from: SocketAddr,
    /// Whom it was sent to.
    pub to: IpAddr,
    /// As it arrived.
    pub ttl: u8,
    /// As it arrived.
    pub tos: u8,
    /// The link that it came in by (`IP_PKTINFO`); `None`: neither.
    pub by: Option<Link>,
    /// What is said, as far as there was room.
    pub text: String,
    /// Where there was too little room: how long the whole is (MSG_TRUNC, as a flag of the call and of its result).
    pub cut_from: Option<usize>,
}

/// The datagram sockets of one process.
pub trait DatagramHost {
    /// Creates and binds a datagram socket; waits until peers reach it.
    fn datagram(&mut self, speaks: Speaks, at: SocketAddr, wishes: &Wishes) -> Outcome<Handle>;
    /// Gives a datagram socket a peer.
    fn aim(&mut self, socket: Handle, to: SocketAddr) -> Outcome<()>;
    /// Own address of a datagram socket.
    fn own_address(&mut self, socket: Handle) -> Outcome<SocketAddr>;
    /// Sends a datagram.
    fn send_to(&mut self, socket: Handle, letter: &Letter) -> Outcome<()>;
    /// The next datagram, waited for at most so long.
    fn receive_from(&mut self, socket: Handle, room: usize, patience: Duration) -> Outcome<Parcel>;
    /// Receives what comes to a group by a link.
    fn join(&mut self, socket: Handle, group: IpAddr, on: Link) -> Outcome<()>;
    /// No longer.
    fn leave(&mut self, socket: Handle, group: IpAddr, on: Link) -> Outcome<()>;
    /// What went wrong and no call has told (`SO_ERROR`).
    fn take_error(&mut self, socket: Handle) -> Outcome<Option<Errno>>;
}
