//! Messages between a socket library and the socket server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipc::{Family, InterfaceName, Pathname};
use serde::{Deserialize, Serialize};

use crate::options::Options;

/// Schema of a library's channel, for the hello.
pub const SCHEMA: &str = "sockets";

/// The founding idea's process message, as far as it is not payload: who sends, and who is meant. The terms of every
/// open of a TCP listener's pathname, from the peer's library and from the socket server alike.
///
/// ```
/// use isthmus_stack_api::socket::Addresses;
///
/// let sent = Addresses { source: "10.0.0.1:40000".parse()?, destination: "10.0.0.2:179".parse()? };
/// let answer = Addresses { source: sent.destination, destination: sent.source };
/// assert_eq!(answer.source.port(), 179);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "FixedAddresses", into = "FixedAddresses")]
pub struct Addresses {
    /// Address and port of the sender.
    pub source: SocketAddr,
    /// Address and port of the receiver.
    pub destination: SocketAddr,
}

/// [`Addresses`] with each part at an offset that the family alone decides, so that procmgr can compare parts of them.
#[derive(Serialize, Deserialize)]
struct FixedAddresses(IpAddr, IpAddr, [u8; 2], [u8; 2]);

impl From<Addresses> for FixedAddresses {
    fn from(Addresses { source, destination }: Addresses) -> Self {
        Self(source.ip(), destination.ip(), source.port().to_be_bytes(), destination.port().to_be_bytes())
    }
}

impl From<FixedAddresses> for Addresses {
    fn from(FixedAddresses(source, destination, source_port, destination_port): FixedAddresses) -> Self {
        let socket = |address, port| SocketAddr::new(address, u16::from_be_bytes(port));
        Self { source: socket(source, source_port), destination: socket(destination, destination_port) }
    }
}

/// Terms of a peer's library when it opens a TCP listener's pathname: [`Addresses`], and behind them what the first
/// segments would have borne on a wire. procmgr compares that with what the listener asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTerms {
    /// Of both ends.
    pub addresses: Addresses,
    /// TTL or hop limit of the connector's packets.
    pub ttl: u8,
    /// The least TTL that the connector takes from the listener (RFC 5082); 0: any.
    pub minimum_ttl: u8,
    /// Digest of the key that the connector signs with (RFC 2385), made with the router's salt; never the key.
    pub key: Option<KeyDigest>,
}

/// What shows, within one router and for one connector's address, whether two keys are equal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDigest(pub [u8; 16]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// A TCP connection wanted through the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// The peer.
    pub to: SocketAddr,
    /// Own address; `None`: the address of the interface that the route leads over.
    pub from: Option<IpAddr>,
    /// Own port; `None`: an ephemeral one.
    pub from_port: Option<u16>,
    /// The one interface that its packets may leave and come in by, or any.
    pub interface: Option<InterfaceName>,
    /// Its options.
    pub options: Options,
}

/// First record of a channel opened for a [`Connect`]; after [`ConnectResult::Connected`] the channel carries bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectResult {
    /// The connection stands.
    Connected {
        /// Own address and port.
        local: SocketAddr,
    },
    /// It does not; the channel ends.
    Failed(SocketError),
}

/// From a socket library to the socket server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketRequest {
    /// Take a port and deliver its connections to a pathname. Answered by `Done` or `Failed`.
    Listen {
        /// Comes back in the answer.
        ticket: u32,
        /// The process's own endpoint: the socket server opens it for each connection, with [`Addresses`] as terms.
        listener: Pathname,
        /// The one local address, or any.
        local: Option<IpAddr>,
        /// The one interface, or any.
        interface: Option<InterfaceName>,
        /// Connections that may wait for `accept`.
        backlog: u16,
        /// Its options, with which its connections begin.
        options: Options,
        /// Listeners of several processes that name the same number share the place, as a forked child does with its parent:
        /// a number that only they know.
        family: u64,
    },
    /// Other options for what lives already. Nothing answers; what is not there any more is no error.
    SetOptions {
        /// Which of the process's sockets.
        socket: OptionsOf,
        /// All of its options.
        options: Options,
    },
    /// Give a listener's port back.
    Unlisten {
        /// As in `Listen`.
        listener: Pathname,
        /// As in `Listen`.
        local: Option<IpAddr>,
    },
    /// Reserve a port for a TCP socket that neither listens nor connects yet. Answered by `Ports`, which tells it, or `Failed`.
    ReservePort {
        /// Comes back in the answer.
        ticket: u32,
        /// Which.
        port: PortReservation,
    },
    /// Give it back.
    ReleasePort {
        /// As in [`PortReservation`].
        number: u64,
    },
    /// A block of ports for connections that do not pass the stack, so that both ends see ports as on a wire.
    /// Answered by `Ports` or `Failed`.
    LeasePorts {
        /// Comes back in the answer.
        ticket: u32,
    },
    /// With which own address does a datagram socket speak with a peer? Answered by `Source` or `Failed`. For sockets that
    /// forked processes share: what the stack says on the socket's channel, any of them may read.
    SourceTowards {
        /// Comes back in the answer.
        ticket: u32,
        /// The peer, or a group.
        to: IpAddr,
        /// The interface towards a group, or an address of a link.
        on: Option<InterfaceName>,
    },
    /// After a restart of the stack: these blocks are in use.
    HoldPorts {
        /// First ports of the blocks.
        first: Vec<u16>,
    },
}

/// A port that a TCP socket has from its bind on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReservation {
    /// A number that only its process and its forked children know; the `family` of a listener there.
    pub number: u64,
    /// Its family.
    pub family: Family,
    /// The one local address, or any.
    pub local: Option<IpAddr>,
    /// The one interface, or any.
    pub interface: Option<InterfaceName>,
    /// The port; 0: an ephemeral one of the server's choice.
    pub port: u16,
    /// Whether sockets of other processes that do not listen may have it too (`SO_REUSEADDR`).
    pub reuse: bool,
}

/// A TCP socket whose options change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptionsOf {
    /// A listener: connections that come from now on begin with them.
    Listener {
        /// As in [`SocketRequest::Listen`].
        listener: Pathname,
        /// As in [`SocketRequest::Listen`].
        local: Option<IpAddr>,
    },
    /// A connection: own side as source, the peer's as destination.
    Connection(Addresses),
}

/// From the socket server to a socket library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketReply {
    /// Done.
    Done {
        /// From the request.
        ticket: u32,
    },
    /// Not done.
    Failed {
        /// From the request.
        ticket: u32,
        /// Why.
        error: SocketError,
    },
    /// A block of ports.
    Ports {
        /// From the request.
        ticket: u32,
        /// The first.
        first: u16,
        /// How many.
        count: u16,
    },
    /// An own address.
    Source {
        /// From the request.
        ticket: u32,
        /// The address.
        address: IpAddr,
    },
}

/// Why a socket call failed: the cause, in the words of errno.
///
/// ```
/// use isthmus_stack_api::socket::SocketError;
///
/// fn is_worth_another_try(error: SocketError) -> bool {
///     matches!(error, SocketError::ConnectionRefused | SocketError::TimedOut | SocketError::HostUnreachable)
/// }
/// assert!(is_worth_another_try(SocketError::ConnectionRefused));
/// assert_eq!(SocketError::ConnectionRefused.to_string(), "connection refused");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u32)]
pub enum SocketError {
    /// Nobody listens there (ECONNREFUSED).
    ConnectionRefused = 1,
    /// The peer broke the connection (ECONNRESET).
    ConnectionReset,
    /// No answer in time (ETIMEDOUT).
    TimedOut,
    /// No route (ENETUNREACH).
    NetworkUnreachable,
    /// The neighbor does not answer, or a router says so (EHOSTUNREACH).
    HostUnreachable,
    /// The port is taken (EADDRINUSE).
    AddressInUse,
    /// Not an address of this VR (EADDRNOTAVAIL).
    AddressNotAvailable,
    /// Not connected (ENOTCONN).
    NotConnected,
    /// Written after the end (EPIPE).
    BrokenPipe,
    /// The caller may not (EACCES).
    PermissionDenied,
    /// No memory, descriptors or ports left (ENOBUFS).
    NoBuffers,
    /// The call makes no sense for this socket (EINVAL).
    InvalidArgument,
    /// This kind of socket is not there yet (EOPNOTSUPP).
    NotSupported,
    /// The stack's process went away (ENETDOWN).
    NetworkDown,
    /// The datagram is larger than any that the protocol can carry (EMSGSIZE).
    MessageSize,
    /// The host has nobody for this IP protocol (ENOPROTOOPT).
    ProtocolNotAvailable,
    /// A datagram without a destination, from a socket without a peer (EDESTADDRREQ).
    DestinationRequired,
}

impl SocketError {
    /// All causes, in the order of their codes.
    pub const ALL: [SocketError; 17] = [
        SocketError::ConnectionRefused,
        SocketError::ConnectionReset,
        SocketError::TimedOut,
        SocketError::NetworkUnreachable,
        SocketError::HostUnreachable,
        SocketError::AddressInUse,
        SocketError::AddressNotAvailable,
        SocketError::NotConnected,
        SocketError::BrokenPipe,
        SocketError::PermissionDenied,
        SocketError::NoBuffers,
        SocketError::InvalidArgument,
        SocketError::NotSupported,
        SocketError::NetworkDown,
        SocketError::MessageSize,
        SocketError::ProtocolNotAvailable,
        SocketError::DestinationRequired,
    ];

    /// The code that a channel's reset carries. Never 0.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The cause behind a reset's code; a code that nobody gave counts as a reset.
    pub fn from_code(code: u32) -> Self {
        Self::ALL.into_iter().find(|error| error.code() == code).unwrap_or(SocketError::ConnectionReset)
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SocketError::ConnectionRefused => "connection refused",
            SocketError::ConnectionReset => "connection reset by peer",
            SocketError::TimedOut => "connection timed out",
            SocketError::NetworkUnreachable => "network is unreachable",
            SocketError::HostUnreachable => "no route to host",
            SocketError::AddressInUse => "address already in use",
            SocketError::AddressNotAvailable => "cannot assign requested address",
            SocketError::NotConnected => "not connected",
            SocketError::BrokenPipe => "broken pipe",
            SocketError::PermissionDenied => "permission denied",
            SocketError::NoBuffers => "no buffer space available",
            SocketError::InvalidArgument => "invalid argument",
            SocketError::NotSupported => "not supported",
            SocketError::NetworkDown => "network is down",
            SocketError::MessageSize => "message too long",
            SocketError::ProtocolNotAvailable => "protocol not available",
            SocketError::DestinationRequired => "destination address required",
        })
    }
}

impl std::error::Error for SocketError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_read_as_addresses_and_their_parts_stand_where_the_family_says() {
        for (source, destination, ttl_at) in
            [("10.0.0.1:179", "10.0.0.2:40000", 14), ("[fe80::1]:1", "[2001:db8::2]:65535", 38)]
        {
            let addresses = Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() };
            let terms = OpenTerms { addresses, ttl: 255, minimum_ttl: 254, key: Some(KeyDigest([9; 16])) };
            let bytes = postcard::to_stdvec(&terms).unwrap();
            assert_eq!(postcard::from_bytes::<Addresses>(&bytes), Ok(addresses));
            assert_eq!(postcard::from_bytes::<OpenTerms>(&bytes), Ok(terms));
            assert_eq!(bytes[ttl_at..ttl_at + 3], [255, 254, 1]);
            assert!(bytes.ends_with(&[9; 16]));
        }
    }

    #[test]
    fn every_code_reads_back_and_an_unknown_one_is_a_reset() {
        for error in SocketError::ALL {
            assert_eq!(SocketError::from_code(error.code()), error);
        }
        assert_eq!(SocketError::from_code(0), SocketError::ConnectionReset);
        assert_eq!(SocketError::from_code(999), SocketError::ConnectionReset);
    }
}
