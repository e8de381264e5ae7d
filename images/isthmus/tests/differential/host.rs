//! What a socket program can do, over whichever sockets: the small trait that every case is written against.
//!
//! Calls do not wait, except where they say so; then they wait for an event, at most for [`PATIENCE`]. Errors are the
//! names of errno, so that all columns speak one language.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::datagram_host::DatagramHost;

/// How long an event may take to come. Only a broken column needs it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long is listened for what must not come: too short a time can only hide a difference, never make one up.
pub const SILENCE: Duration = Duration::from_millis(150);

/// Number of a socket within its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(pub u32);

/// Why a call failed: the name of its errno.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errno(pub String);

impl Errno {
    /// Nothing now; try again.
    pub fn again() -> Self {
        Self("EAGAIN".to_owned())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a call gives.
pub type Outcome<T> = Result<T, Errno>;

/// Where a connection is to lead, and what its own end is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wanted {
    /// The peer.
    pub to: SocketAddr,
    /// Own address, or any.
    pub from: Option<IpAddr>,
    /// Own port, or any.
    pub port: Option<u16>,
    /// How the socket is to be.
    pub wishes: Wishes,
}

/// The two links between the routers. What says nothing of links concerns the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// That which columns are named after, and which is cut.
    #[default]
    First,
    /// The other one, a wire in each column.
    Other,
}

impl Link {
    /// Both.
    pub const ALL: [Link; 2] = [Link::First, Link::Other];

    /// Scope of a link-local address on it, in orders; hosts know the interface's own number.
    pub fn scope(self) -> u32 {
        self as u32 + 1
    }

    /// The link that an address of an order is on; the first, where it needs one and says none.
    pub fn of(address: SocketAddr) -> Link {
        match address {
            SocketAddr::V6(v6) if v6.scope_id() == Link::Other.scope() => Link::Other,
            SocketAddr::V4(_) | SocketAddr::V6(_) => Link::First,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Link::First => "link",
            Link::Other => "other link",
        })
    }
}

/// By which link what a socket sends to groups leaves, where a datagram does not say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupsBy {
    /// `IP_MULTICAST_IF`, `IPV6_MULTICAST_IF`: the link that the socket is bound to, or the first.
    #[default]
    Usual,
    /// The same: this one.
    Link(Link),
    /// Nobody has said.
    Route,
}

/// How a socket is to be, where it is not as usual: what `setsockopt` says before it is bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// `SO_BINDTODEVICE`.
    pub on: Option<Link>,
    /// `IP_MULTICAST_IF`.
    pub groups_by: GroupsBy,
    /// `SO_REUSEADDR` of a datagram socket: the port may be shared.
    pub shares: bool,
    /// `IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`.
    pub loops: Option<bool>,
    /// `IP_MULTICAST_ALL`, `IPV6_MULTICAST_ALL` are off: only groups are heard that the socket has joined.
    pub own_groups: bool,
    /// `IPV6_V6ONLY`.
    pub v6_only: bool,
    /// A listener goes without `SO_REUSEADDR`, which servers set so as to be started again while the connections of the
    /// last one are in TIME-WAIT.
    pub without_reuse: bool,
    /// `IP_TTL`.
    pub ttl: Option<u8>,
    /// `IP_MINTTL`.
    pub minimum_ttl: Option<u8>,
    /// `TCP_MD5SIG`: with whom, and the key.
    pub key: Option<(IpAddr, String)>,
    /// `SO_LINGER`, in seconds.
    pub linger: Option<u16>,
    /// `SO_KEEPALIVE`.
    pub keepalive: Option<Probing>,
    /// `TCP_USER_TIMEOUT`, in milliseconds.
    pub user_timeout: Option<u32>,
    /// `TCP_NODELAY`.
    pub nodelay: Option<bool>,
    /// `SO_SNDBUF`, in bytes.
    pub send_buffer: Option<u32>,
    /// `SO_RCVBUF`, in bytes.
    pub receive_buffer: Option<u32>,
}

impl Wishes {
    /// By which link groups are sent to.
    pub fn groups_link(&self) -> Option<Link> {
        match self.groups_by {
            GroupsBy::Usual => Some(self.on.unwrap_or_default()),
            GroupsBy::Link(link) => Some(link),
            GroupsBy::Route => None,
        }
    }
}

/// How a silent peer is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probing {
    /// As usual: no case lives to see it.
    Usual,
    /// After a second (`TCP_KEEPIDLE`), each second (`TCP_KEEPINTVL`), twice (`TCP_KEEPCNT`).
    Impatient,
}

/// Which direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// Nothing more is received.
    Read,
    /// Nothing more is sent.
    Write,
    /// Both.
    Both,
}

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Got {
    /// Bytes, as text.
    Bytes(String),
    /// The end of file.
    End,
}

/// What poll(2) says of a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// POLLIN.
    pub readable: bool,
    /// POLLOUT.
    pub writable: bool,
    /// POLLRDHUP.
    pub read_closed: bool,
    /// POLLHUP.
    pub hung_up: bool,
    /// POLLERR.
    pub failed: bool,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.readable, "IN"),
            (self.writable, "OUT"),
            (self.read_closed, "RDHUP"),
            (self.hung_up, "HUP"),
            (self.failed, "ERR"),
        ];
        let said: Vec<&str> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        f.write_str(if said.is_empty() { "-".to_owned() } else { said.join("|") }.as_str())
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// Something to receive, or to accept.
    Readable,
    /// Room to send.
    Writable,
    /// The peer's end.
    ReadClosed,
    /// The end of both directions.
    HungUp,
    /// An error.
    Failed,
}

impl Until {
    /// Whether it has come.
    pub fn is_met(self, ready: Ready) -> bool {
        match self {
            Until::Readable => ready.readable,
            Until::Writable => ready.writable,
            Until::ReadClosed => ready.read_closed,
            Until::HungUp => ready.hung_up,
            Until::Failed => ready.failed,
        }
    }
}

/// The sockets of one process.
pub trait Host: DatagramHost {
    /// What a process does between its orders, until the next one can be read.
    fn idle(&mut self, orders: BorrowedFd<'_>);
    /// Creates, binds and listens; waits until peers can connect.
    fn listen(&mut self, at: SocketAddr, backlog: u16, wishes: &Wishes) -> Outcome<Handle>;
    /// Begins to connect.
    fn connect(&mut self, wanted: &Wanted) -> Outcome<Handle>;
    /// How a connect went, waited for at most so long; EINPROGRESS: it still goes on.
    fn connected(&mut self, socket: Handle, patience: Duration) -> Outcome<()>;
    /// The next connection of a listener.
    fn accept(&mut self, listener: Handle) -> Outcome<Handle>;
    /// Own address and the peer's.
    fn addresses(&mut self, socket: Handle) -> Outcome<(SocketAddr, SocketAddr)>;
    /// Sends; how much was taken.
    fn send(&mut self, socket: Handle, bytes: &[u8]) -> Outcome<usize>;
    /// Sends as a call does that waits: until something is taken, or an error.
    fn write(&mut self, socket: Handle, bytes: &[u8]) -> Outcome<usize>;
    /// Receives into a buffer; how much, 0 at the end of file.
    fn receive(&mut self, socket: Handle, into: &mut [u8]) -> Outcome<usize>;
    /// Ends a direction.
    fn shutdown(&mut self, socket: Handle, how: How) -> Outcome<()>;
    /// Closes.
    fn close(&mut self, socket: Handle);
    /// Closes with a reset: SO_LINGER with a time of 0.
    fn abort(&mut self, socket: Handle);
    /// What poll(2) says now.
    fn ready(&mut self, socket: Handle) -> Outcome<Ready>;
    /// The same once something has come, or when the time is over.
    fn wait(&mut self, socket: Handle, until: Until, patience: Duration) -> Outcome<Ready>;
}
