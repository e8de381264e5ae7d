//! A routing protocol without I/O, and everything that goes in and out of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Add, Sub};
use std::time::Duration;

use stack_api::datagram::{DatagramProtocol, ProcessMessage};
use stack_api::interface::InterfaceState;
use stack_api::options::PeerOptions;
use stack_api::socket::SocketError;
use vr_api::config::{NamedLine, Node, Objection};
use vr_api::show::Row;

use crate::rib::{RibRequest, RibUpdate};

/// A point in time: nanoseconds since the start of the process, or of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The start.
    pub const ZERO: Time = Time(0);

    /// A time so many nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    /// Saturates: the end of time is 584 years away.
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

/// A TCP connection of a core. The shell numbers accepted ones, the core those that it opens: the number is the core's
/// choice in [`Output::Connect`], with the highest bit clear; the shell's have it set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// A datagram socket of a core: the number is the core's choice in [`Output::Datagram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatagramSocket(pub u32);

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed its side in order.
    EndOfFile,
    /// Reset, timed out, unreachable.
    Failed(SocketError),
}

/// What happens to a core.
#[derive(Debug, Clone, PartialEq)]
pub enum Input<'a> {
    /// A connection that the core opened stands.
    Connected {
        /// The core's number for it.
        connection: ConnectionId,
        /// Own address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// A connection that the core opened did not come about.
    ConnectFailed {
        /// The core's number for it.
        connection: ConnectionId,
        /// Why.
        error: SocketError,
    },
    /// A peer connected to a port that the core listens on.
    Accepted {
        /// The shell's number for it.
        connection: ConnectionId,
        /// Own address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// Bytes of a connection, in order. The core takes all of them.
    Received {
        /// Which connection.
        connection: ConnectionId,
        /// The bytes; message borders are the core's business.
        bytes: &'a [u8],
    },
    /// The connection ended; its number is free.
    Closed {
        /// Which connection.
        connection: ConnectionId,
        /// How.
        closed: Closed,
    },
    /// The listener asked for by [`Output::Listen`] could not be had; the shell tries again by itself.
    ListenFailed {
        /// Which port.
        port: u16,
        /// Why.
        error: SocketError,
    },
    /// A datagram came. It says by which interface, and to which address or group.
    Datagram {
        /// The core's number of the socket.
        socket: DatagramSocket,
        /// The datagram.
        message: &'a ProcessMessage,
    },
    /// The socket asked for by [`DatagramCommand::Bind`] stands, and the whole router is ready: what is sent from now on
    /// goes out.
    Bound {
        /// The core's number of it.
        socket: DatagramSocket,
    },
    /// The socket asked for by [`DatagramCommand::Bind`] could not be had; the shell tries again by itself.
    BindFailed {
        /// The core's number of it.
        socket: DatagramSocket,
        /// Why.
        error: SocketError,
    },
    /// An interface of the VR is new or changed.
    Interface(InterfaceState),
    /// An interface of the VR is gone.
    InterfaceRemoved(ipc::InterfaceName),
    /// The RIB says something.
    Rib(RibUpdate),
    /// The RIB's process is new: it knows nothing of this protocol's routes and trackings. The core sends them all
    /// again, then [`RibRequest::EndOfRoutes`].
    RibRestarted,
    /// The process is being stopped: say goodbye to the neighbors.
    Stop,
}

/// What a core wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Listen for TCP connections on a port of this VR, on all addresses.
    Listen {
        /// The port.
        port: u16,
    },
    /// What holds with single peers (keys, TTLs), in place of what was said before: for connections that are opened or
    /// accepted from now on.
    Peers(Vec<PeerOptions>),
    /// Stop listening.
    StopListening {
        /// The port.
        port: u16,
    },
    /// Open a TCP connection; [`Input::Connected`] or [`Input::ConnectFailed`] follows.
    Connect {
        /// The core's number for it.
        connection: ConnectionId,
        /// Where to.
        to: SocketAddr,
        /// From which own address; `None`: as the route says.
        from: Option<IpAddr>,
        /// TTL or hop limit of its packets; 1 for a neighbor on the same subnet.
        ttl: u8,
    },
    /// Send bytes. They are queued in the shell beyond what the connection takes.
    Send {
        /// Which connection.
        connection: ConnectionId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close in order once all queued bytes are sent. No input follows for this connection.
    Close {
        /// Which connection.
        connection: ConnectionId,
    },
    /// Something about a datagram socket.
    Datagram {
        /// The core's number for it.
        socket: DatagramSocket,
        /// What.
        command: DatagramCommand,
    },
    /// A message to the RIB.
    Rib(RibRequest),
    /// A line for the log.
    Log {
        /// How much it matters.
        level: log::Level,
        /// The line.
        text: String,
    },
}

/// What a core wants of a datagram socket.
#[derive(Debug, Clone, PartialEq)]
pub enum DatagramCommand {
    /// Have it, on all addresses and interfaces of this VR: UDP with a port, or an IP protocol.
    Bind(DatagramProtocol),
    /// Give it up.
    Unbind,
    /// Receive what comes to a group by an interface.
    Join {
        /// The group.
        group: IpAddr,
        /// The interface.
        interface: ipc::InterfaceName,
    },
    /// No longer.
    Leave {
        /// The group.
        group: IpAddr,
        /// The interface.
        interface: ipc::InterfaceName,
    },
    /// Send a datagram. It may be lost, as on a wire; before the socket stands, or the whole router, it is.
    Send(ProcessMessage),
}

/// The configuration is not one that this protocol can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A line's value is of another type than the reader expects.
    #[error(transparent)]
    Value(#[from] vr_api::config::ValueError),
    /// A line is missing.
    #[error("{block}: `{line}` is missing")]
    Missing {
        /// Where.
        block: NamedLine,
        /// Which line.
        line: &'static str,
    },
    /// Two lines contradict each other, or a value makes no sense.
    #[error("{line}: {reason}")]
    Nonsense {
        /// Which line.
        line: NamedLine,
        /// What is wrong.
        reason: String,
    },
}

impl ConfigError {
    /// What the operator is told, and about which line.
    pub fn objection(&self) -> Objection {
        let line = match self {
            ConfigError::Value(error) => error.line(),
            ConfigError::Missing { block: line, .. } | ConfigError::Nonsense { line, .. } => line,
        };
        Objection { reason: self.to_string(), statement: Some(line.statement) }
    }
}

/// A routing protocol without I/O. Same inputs at the same [`Time`]s, same outputs.
pub trait ProtocolCore {
    /// The typed form of the protocol's blocks.
    type Config;

    /// Reads the blocks that the class subscribed to (its own, and those that its declaration reads).
    fn read_config(blocks: &[Node]) -> Result<Self::Config, ConfigError>;

    /// Puts a configuration in force. On error the old one stays.
    fn configure(&mut self, now: Time, config: Self::Config) -> Result<(), ConfigError>;

    /// Something happened.
    fn handle_input(&mut self, now: Time, input: Input<'_>);

    /// All timers due by `now` have expired.
    fn handle_timeout(&mut self, now: Time);

    /// Carries out an operator's command that the protocol declared, such as `clear bgp 10.0.0.1`: all words. The error
    /// is for the operator. A protocol that declares none need not say anything.
    fn command(&mut self, _now: Time, words: &[String]) -> Result<(), String> {
        Err(format!("`{}` is not supported", words.join(" ")))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn poll_timeout(&self) -> Option<Time>;

    /// The next thing to do. Call until `None` after each of the above.
    fn poll_output(&mut self) -> Option<Output>;

    /// Rows of a `show` table without the column `vr`, which the shell puts first; `None`: no such table.
    fn show(&self, now: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>>;
}
