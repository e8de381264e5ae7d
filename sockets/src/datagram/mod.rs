//! Datagram sockets: UDP and raw IP, to one receiver or to a group, on both paths.
//!
//! ```text
//!                     ┌─ hit ──▶ a channel to each process behind the destination, opened by the first datagram
//!   send_to ─▶ vrFIB ─┴─ miss ─▶ the socket's channel to the stack
//!
//!   receive_from ◀── the socket's channel to the stack
//!                ◀── the channels that other processes have opened to its pathname; only those that rang are read
//! ```
//!
//! A channel carries one datagram a record: a header ([`stack_api::datagram_header`]) and the payload, written from where
//! the caller has it and read to where the next caller wants it. What was found out about the last datagram (where it
//! goes, whom it is for) holds for the next one with the same addresses, until anything changes that could make a
//! difference: [`Datagrams::get`].
//!
//! A datagram that finds a ring or a queue full is dropped there and counted ([`DatagramDrop`]). What goes wrong after it
//! was sent, the next call on its socket says, once. Read first: `send`, then `receive`, with `pull`
//! (records out of the channels), `judge` (who gets them) and `bells` (who rang); `bind` is how a socket gets its
//! port and its groups, `connect` how it gets a peer, `fork` what a child has of it, `exec` what a program that is executed has.
//!
//! Ports are shared where all sockets on one agree to it (`Options::reuse_address`); raw sockets share their protocol
//! always. What is for one receiver goes to the socket connected to the sender, else to one bound to the address, else
//! to one bound to none, and of several to the one bound last. What is for a group goes to every socket that joined it.
//! Of several processes of a VR that share a port, a hit reaches the first that the manager named; a group reaches all.

mod bells;
mod bind;
mod connect;
mod copies;
mod exec;
mod fork;
mod judge;
mod peers;
mod pull;
mod receive;
mod room;
mod send;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use connect::Connected;
use copies::Copies;
pub use exec::DatagramRecord;
use ipc::channel::Channel;
use ipc::protocol::{Identity, Ticket};
use ipc::{Criteria, Family, InterfaceName, IpProtocol};
use judge::{Judged, Known};
use mio::Token;
use peers::{PeerKey, Peers};
use send::Way;
use serde::{Deserialize, Serialize};
use stack_api::socket::SocketError;

use crate::hash::BySocket;
use crate::message::ProcessMessage;
use crate::socket::{SocketId, SocketKind};

/// Datagrams that wait while a channel opens, or for the process to fetch them after another of its sockets has read
/// the channel.
const QUEUE: usize = 64;

/// Channels that one process may open to the pathnames of this one: it needs one for each of its sockets.
const CHANNELS_PER_PEER: usize = 16;

/// Groups of one socket.
const GROUPS: usize = 256;

/// Why a datagram was lost in this process.
///
/// ```
/// use sockets::DatagramDrop;
/// # let (mut router, mut red, mut blue, client, server) = sockets_testing::joined_datagrams();
///
/// # red.library.send_datagram(&mut red.reactor, client, Some("10.0.0.2:53".parse()?), b"hello")?;
/// # blue.library.close(&mut blue.reactor, server);
/// # router.run(&mut [&mut red, &mut blue]);
/// // One came, and nobody is bound there any longer.
/// let reason = DatagramDrop::NoListener;
/// println!("{reason}: {}", blue.library.datagram_drops(reason));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatagramDrop {
    /// The receiver, or the stack, does not read fast enough.
    RingFull,
    /// Too many were sent while the channel to the receiver was opening.
    OpeningQueueFull,
    /// The receiver's process is gone.
    PeerGone,
    /// What a peer wrote is no datagram ([`HeaderFault`](stack_api::datagram_header::HeaderFault)), or names an
    /// interface, of which only its receiver knows.
    BadRecord,
    /// The sender's VR may not use the source address that it claims.
    ForgedSource,
    /// The destination is not what the opened pathname stands for.
    WrongDestination,
    /// No socket wants it: none is bound there, or none has joined the group.
    NoListener,
    /// The inter-VR interface is shut.
    InterfaceDown,
    /// The socket is not read fast enough.
    SocketFull,
    /// A process opened more channels than it can need.
    TooManyChannels,
}

impl DatagramDrop {
    /// How many reasons there are.
    const COUNT: usize = DatagramDrop::TooManyChannels as usize + 1;
}

impl fmt::Display for DatagramDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DatagramDrop::RingFull => "ring full",
            DatagramDrop::OpeningQueueFull => "opening queue full",
            DatagramDrop::PeerGone => "peer gone",
            DatagramDrop::BadRecord => "bad record",
            DatagramDrop::ForgedSource => "forged source",
            DatagramDrop::WrongDestination => "wrong destination",
            DatagramDrop::NoListener => "no listener",
            DatagramDrop::InterfaceDown => "interface down",
            DatagramDrop::SocketFull => "socket full",
            DatagramDrop::TooManyChannels => "too many channels",
        })
    }
}

/// What comes with a datagram, as `recvmsg` tells it with `IP_PKTINFO`, `IP_RECVTTL` and `IP_RECVTOS`.
///
/// ```
/// use std::time::Duration;
/// # let (mut router, mut red, mut blue, client, server) = sockets_testing::joined_datagrams();
///
/// red.library.send_datagram(&mut red.reactor, client, Some("10.0.0.2:53".parse()?), b"hello")?;
/// # router.run(&mut [&mut red, &mut blue]);
/// let mut bytes = [0; 1500];
/// let info = blue.library.receive_datagram(&mut blue.reactor, server, &mut bytes, Duration::ZERO)?.expect("one came");
/// assert_eq!((info.length, info.truncated, info.ttl), (5, false, 64));
/// assert_eq!((info.destination, info.interface), ("10.0.0.2:53".parse()?, Some("vr1".parse()?)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatagramInfo {
    /// How long it is.
    pub length: usize,
    /// Whether the buffer was shorter: the rest is lost.
    pub truncated: bool,
    /// Who sent it.
    pub source: SocketAddr,
    /// Who was meant: an own address, or a group.
    pub destination: SocketAddr,
    /// TTL as it arrived.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// By which interface it came; `None`: from this VR itself.
    pub interface: Option<InterfaceName>,
}

/// All datagram sockets of a process, and the channels that others have opened to them.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    sockets: HashMap<SocketId, DatagramSocket, BySocket>,
    /// Channels to the stack.
    servers: HashMap<Token, SocketId>,
    opening: HashMap<Ticket, Opening>,
    /// Bells of channels to other processes, which tell that the other end is gone, or that nobody takes what comes.
    peer_bells: HashMap<Token, (SocketId, PeerKey)>,
    incoming: HashMap<Token, Incoming, BySocket>,
    /// Channels that rang and were not read until they were empty.
    hot: HashMap<Criteria, VecDeque<Token>, BySocket>,
    drops: [u64; DatagramDrop::COUNT],
    /// Sockets with datagrams of a burst that the stack was not woken for yet, and how many bytes of them.
    unrung: BTreeMap<SocketId, usize>,
    /// Counts what could change where a datagram goes or whom it is for.
    revision: u64,
}

/// An open that procmgr has not answered.
#[derive(Debug)]
enum Opening {
    Server(SocketId),
    Peer(SocketId, PeerKey),
}

/// A channel that another process opened to this one's pathname.
#[derive(Debug)]
struct Incoming {
    channel: Channel,
    criteria: Criteria,
    peer: Identity,
    /// Its socket has a peer, and wants to be told that nobody takes its datagrams.
    wants_word: bool,
    is_hot: bool,
    /// How long a reader that waits looks out for the next datagram before the bell is armed.
    spin: Duration,
    /// The last datagram, and for whom it was.
    judged: Option<Judged>,
}

#[derive(Debug)]
struct DatagramSocket {
    kind: Kind,
    bound: Option<BoundTo>,
    server: Server,
    published: bool,
    announced: bool,
    /// A number that it has once a forked child has it too, and that nobody else knows.
    shared: Option<u64>,
    connected: Connected,
    groups: BTreeSet<(InterfaceName, IpAddr)>,
    peers: Peers,
    /// Where the last datagram went.
    way: Option<Way>,
    /// The stack's channel was found empty and rings: a look at its ring is enough.
    server_is_armed: bool,
    /// The header of the last datagram of the stack.
    known: Option<Known>,
    queue: VecDeque<ProcessMessage>,
    /// Those at its head that another process has too.
    copies: Option<Copies>,
    /// What went wrong with an earlier datagram; the next call says it.
    error: Option<SocketError>,
    /// Whether the stack's channel is read before those of other processes: they take turns.
    server_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Udp,
    Raw(IpProtocol),
}

/// What a socket is bound to. Port 0: of raw IP, or the stack has not chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct BoundTo {
    family: Family,
    local: Option<IpAddr>,
    port: u16,
    interface: Option<InterfaceName>,
}

/// A socket's channel to the stack.
#[derive(Debug)]
enum Server {
    Absent,
    /// procmgr was asked.
    Opening(Ticket),
    /// The stack was asked.
    Asked(Channel, Token),
    Bound(Channel, Token),
}

impl Datagrams {
    /// A new socket, bound to nothing.
    pub fn create(&mut self, socket: SocketId, kind: SocketKind) -> Result<(), SocketError> {
        let kind = match kind {
            SocketKind::Datagram => Kind::Udp,
            SocketKind::Raw(protocol) => Kind::Raw(protocol),
            SocketKind::Stream => return Err(SocketError::InvalidArgument),
        };
        self.sockets.insert(socket, DatagramSocket::new(kind));
        Ok(())
    }

    pub fn contains(&self, socket: SocketId) -> bool {
        self.sockets.contains_key(&socket)
    }

    /// Whether a socket was said to stand.
    pub fn is_announced(&self, socket: SocketId) -> bool {
        self.sockets.get(&socket).is_some_and(|socket| socket.announced)
    }

    /// The interface that a socket is bound to; `None`: no such socket.
    pub fn bound_interface(&self, socket: SocketId) -> Option<Option<InterfaceName>> {
        let bound = self.sockets.get(&socket)?.bound.as_ref();
        Some(bound.and_then(|bound| bound.interface.clone()))
    }

    pub fn opens(&self, ticket: Ticket) -> bool {
        self.opening.contains_key(&ticket)
    }

    pub fn ids(&self) -> Vec<SocketId> {
        let mut ids: Vec<SocketId> = self.sockets.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub fn drops(&self, reason: DatagramDrop) -> u64 {
        self.drops[reason as usize]
    }

    fn count(&mut self, reason: DatagramDrop, datagrams: usize) {
        self.drops[reason as usize] += datagrams as u64;
    }

    /// A socket, to change it: what was decided for any datagram before is decided anew.
    fn get(&mut self, socket: SocketId) -> Result<&mut DatagramSocket, SocketError> {
        self.forget_ways();
        self.sockets.get_mut(&socket).ok_or(SocketError::InvalidArgument)
    }

    /// A socket, to send or receive: nothing is changed that decides where a datagram goes, or whom it is for.
    #[inline]
    fn hot(&mut self, socket: SocketId) -> Result<&mut DatagramSocket, SocketError> {
        self.sockets.get_mut(&socket).ok_or(SocketError::InvalidArgument)
    }

    /// The vrFIB, an option or a socket is about to change, or has.
    pub fn forget_ways(&mut self) {
        self.revision += 1;
    }

    /// Sockets that listen for `criteria`.
    pub fn listening(&self, criteria: Criteria) -> Vec<SocketId> {
        let listens = |(_, socket): &(&SocketId, &DatagramSocket)| socket.criteria() == Some(criteria);
        let mut ids: Vec<SocketId> = self.sockets.iter().filter(listens).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}

impl DatagramSocket {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            bound: None,
            server: Server::Absent,
            published: false,
            announced: false,
            shared: None,
            connected: Connected::No,
            groups: BTreeSet::new(),
            peers: Peers::default(),
            way: None,
            server_is_armed: false,
            known: None,
            queue: VecDeque::new(),
            copies: None,
            error: None,
            server_first: true,
        }
    }

    /// What it listens for, once it has its port.
    fn criteria(&self) -> Option<Criteria> {
        self.criteria_of(self.bound.as_ref()?.port)
    }

    /// What somebody of its kind and family listens for at `port`.
    fn criteria_of(&self, port: u16) -> Option<Criteria> {
        let family = self.bound.as_ref()?.family;
        match self.kind {
            Kind::Udp => Some(Criteria::Udp(family, NonZeroU16::new(port)?)),
            Kind::Raw(protocol) => Some(Criteria::Raw(family, protocol)),
        }
    }

    fn channel_ref(&self) -> Option<&Channel> {
        match &self.server {
            Server::Bound(channel, _) => Some(channel),
            Server::Absent | Server::Opening(_) | Server::Asked(..) => None,
        }
    }

    fn channel(&mut self) -> Option<&mut Channel> {
        match &mut self.server {
            Server::Bound(channel, _) => Some(channel),
            Server::Absent | Server::Opening(_) | Server::Asked(..) => None,
        }
    }
}
