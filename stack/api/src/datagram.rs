//! Messages of datagram sockets: UDP and raw IP, over the stack and from process to process alike.
//!
//! A datagram socket has one channel of records to the stack: [`DatagramRequest`], [`DatagramReply`], and the datagrams
//! themselves ([`DatagramHeader`](crate::datagram_header::DatagramHeader)). Over the channel of two processes every
//! record is a datagram.

use std::net::{IpAddr, SocketAddr};

use ipc::{Family, InterfaceName, IpProtocol};
use serde::{Deserialize, Serialize};

use crate::options::Options;
use crate::socket::{Addresses, SocketError};

/// TTL of a datagram to one receiver, where nobody chose one (RFC 1700).
pub const DEFAULT_TTL: u8 = 64;
/// TTL of a datagram to a group, where nobody chose one (RFC 1112 section 6.1).
pub const DEFAULT_GROUP_TTL: u8 = 1;

/// The process message, as a datagram says it: a payload with the address and port of who sent it and of who is meant,
/// and what the IP header and the receiving interface add. A raw datagram has ports 0.
///
/// ```
/// use isthmus_stack_api::datagram::ProcessMessage;
///
/// let hello = ProcessMessage::to("224.0.0.5:0".parse()?, b"hello");
/// assert_eq!(hello.ttl, 1, "of the link only");
/// let urgent = ProcessMessage { tos: 0xc0, ..ProcessMessage::to("10.0.0.2:53".parse()?, b"question") };
/// assert_eq!((urgent.ttl, urgent.tos), (64, 0xc0));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMessage {
    /// Who sends (an unspecified address: the sender's stack chooses), who is meant.
    pub addresses: Addresses,
    /// As it was sent, less what routers between took.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// To be sent out of, or received by, as `IP_PKTINFO` has it.
    pub interface: Option<InterfaceName>,
    /// What is said.
    pub payload: Vec<u8>,
}

impl ProcessMessage {
    /// A message to somebody, everything else as usual.
    pub fn to(destination: SocketAddr, payload: impl Into<Vec<u8>>) -> Self {
        let source = SocketAddr::new(Family::of(destination.ip()).unspecified(), 0);
        let ttl = if destination.ip().is_multicast() { DEFAULT_GROUP_TTL } else { DEFAULT_TTL };
        let addresses = Addresses { source, destination };
        Self { addresses, ttl, tos: 0, interface: None, payload: payload.into() }
    }

    /// The message that answers this one: the addresses change places. What was sent to a group is answered from the
    /// address of the interface that it came in by. An IPv6 link-local sender is answered on its link.
    pub fn answer(&self, payload: impl Into<Vec<u8>>) -> Self {
        let Addresses { source, destination } = self.addresses;
        let mut answer = Self::to(source, payload);
        if !destination.ip().is_multicast() {
            answer.addresses.source = destination;
        }
        if matches!(source.ip(), IpAddr::V6(address) if address.is_unicast_link_local()) {
            answer.interface.clone_from(&self.interface);
        }
        answer
    }
}

/// Terms of an open of a datagram socket's pathname: the opener writes datagrams, nothing comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatagramPeer {
    /// One datagram a record ([`DatagramHeader`](crate::datagram_header::DatagramHeader)).
    Records,
    /// The same from a socket with a peer, which wants to be told that nobody takes them: the channel is reset
    /// (ECONNREFUSED), in place of ICMP's word.
    RecordsOfConnected,
}

/// What a datagram socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatagramProtocol {
    /// UDP.
    Udp {
        /// Own port; 0: an ephemeral one.
        port: u16,
    },
    /// An IP protocol by its number.
    Raw(IpProtocol),
}

/// A datagram socket wanted. Its first record from the stack is [`DatagramReply::Bound`] or [`DatagramReply::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramBind {
    /// What it speaks.
    pub protocol: DatagramProtocol,
    /// Over which IP. A socket has one: that of IPv6 takes no IPv4 (`IPV6_V6ONLY`).
    pub family: Family,
    /// The one local address, of that family, or any.
    pub local: Option<IpAddr>,
    /// The one interface, or any.
    pub interface: Option<InterfaceName>,
    /// Its options.
    pub options: Options,
}

/// Between whom a connected datagram socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramPath {
    /// Own address: what it is bound to, or that of the way to the peer; `None`: any, without a peer.
    pub local: Option<IpAddr>,
    /// The peer.
    pub peer: Option<SocketAddr>,
}

/// From a datagram socket's process to the stack, beside the datagrams that it sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatagramRequest {
    /// Receive what comes to a group by an interface.
    Join {
        /// The group.
        group: IpAddr,
        /// The interface.
        interface: InterfaceName,
    },
    /// No longer.
    Leave {
        /// The group.
        group: IpAddr,
        /// The interface.
        interface: InterfaceName,
    },
    /// Deliver this to this VR's own members of its group, the sender among them; a hit has served the others.
    Loop(ProcessMessage),
    /// Receive from one peer only, and be told of ICMP errors about what is sent to it; `None`: from everybody again.
    /// Answered by [`DatagramReply::Connected`].
    Connect(Option<SocketAddr>),
    /// Other options.
    SetOptions(Options),
}

/// From the stack to a datagram socket's process, beside the datagrams that came for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatagramReply {
    /// The socket stands.
    Bound {
        /// Own port; 0 for raw IP.
        port: u16,
    },
    /// It does not; the channel ends.
    Failed(SocketError),
    /// The answer to [`DatagramRequest::Connect`].
    Connected(Result<DatagramPath, SocketError>),
    /// An earlier request or datagram came to nothing, or an ICMP error came about what was sent to the peer.
    Error(SocketError),
}
