//! Options of a socket, as one value: what other systems set one by one with `setsockopt`.
//!
//! A socket has its options before it binds, listens or connects, and most may change while it lives. A connection that
//! was accepted begins with those of its listener. What each one does on a hit, where the other end of the channel is
//! another process's library and no packet is made, is said at each.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipc::InterfaceName;
use serde::{Deserialize, Serialize};

use crate::datagram::{DEFAULT_GROUP_TTL, DEFAULT_TTL};
use crate::socket::SocketError;

/// The two ECN bits of a TOS byte, which belong to TCP itself and not to its user (RFC 3168 section 5).
const ECN: u8 = 0b11;

/// Options of a socket. The interface that it is bound to is not among them: it is part of what it is bound to.
///
/// ```
/// use std::time::Duration;
/// use isthmus_stack_api::options::{KeepAlive, Options};
///
/// let probing = KeepAlive { idle: Duration::from_secs(30), interval: Duration::from_secs(5), probes: 3 };
/// let options = Options { ttl: Some(1), keepalive: Some(probing), ..Options::default() };
/// assert_eq!(options.check(), Ok(()));
/// assert!(Options { ttl: Some(0), ..options }.check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Options {
    /// TTL or hop limit of what is sent to one receiver (`IP_TTL`, `IPV6_UNICAST_HOPS`); `None`: 64. On a hit a datagram
    /// is received with this TTL, since no router is on the way; on a connection nothing shows it.
    pub ttl: Option<u8>,
    /// TOS or traffic class: DSCP and ECN (`IP_TOS`, `IPV6_TCLASS`). TCP keeps the two ECN bits to itself. On a hit a
    /// datagram is received with it; on a connection nothing shows it.
    pub tos: u8,
    /// What closing a connection does with bytes that the peer has not acknowledged (`SO_LINGER`). `None`: they are
    /// delivered in the background. Zero: they are thrown away, and the peer is reset. Longer: a close that may wait does
    /// so until they are acknowledged, at most this long. On a hit what lies in the channel counts as acknowledged while
    /// the interface is up.
    pub linger: Option<Duration>,
    /// Probes of a connection that is idle (`SO_KEEPALIVE`); `None`: none. On a hit a peer that dies is noticed at once;
    /// what probes would find out is that the interface is shut: then the connection ends after the same time.
    pub keepalive: Option<KeepAlive>,
    /// Small segments do not wait for an acknowledgment (`TCP_NODELAY`). On by default, other than in RFC 9293 section
    /// 3.7.4: routing protocols want their messages out. On a hit nothing ever waits.
    pub nodelay: bool,
    /// How long sent bytes may stay unacknowledged, or find no room at a peer that does not read, before the connection
    /// ends (`TCP_USER_TIMEOUT`); `None`: what the system does by itself, about 15 minutes, and such a peer is waited for. On
    /// a hit it runs while the interface is shut, and while the channel is full and nothing is taken from it.
    pub user_timeout: Option<Duration>,
    /// Bytes that a connection takes from its user before they are acknowledged (`SO_SNDBUF`). The channel's ring is that
    /// buffer, on a hit too: the size is rounded up to one of its windows, and a ring that has grown does not shrink.
    pub send_buffer_bytes: u32,
    /// Bytes that may wait for the user, and so the window that TCP offers (`SO_RCVBUF`). How large a window can become
    /// is settled when the connection is opened. On a hit it is the largest window that the sender's ring grows to, rounded up
    /// to one of them; so it is for the datagrams of each sender, and what finds that full is dropped and counted. A ring
    /// that has grown does not shrink, and a limit is not taken back.
    pub receive_buffer_bytes: u32,
    /// Several UDP sockets may have one port if all of them say so (`SO_REUSEADDR`). What is sent to a group reaches all
    /// that joined it; what is sent to one receiver reaches the socket that was bound last.
    pub reuse_address: bool,
    /// TTL of what is sent to a group (`IP_MULTICAST_TTL`). On a hit it is received with this TTL.
    pub multicast_ttl: u8,
    /// Whether what is sent to a group also reaches this VR's own members of it (`IP_MULTICAST_LOOP`). Off by default: a
    /// routing process does not want its own hellos.
    pub multicast_loop: bool,
    /// Interface by which what is sent to a group leaves, where the message names none (`IP_MULTICAST_IF`).
    pub multicast_interface: Option<InterfaceName>,
    /// The least TTL or hop limit that a packet of the peer may have (`IP_MINTTL`, GTSM, RFC 5082); `None`: any. What has
    /// less is dropped in silence. A connection needs both ends to suit each other, on a hit too. Of TCP only: as on
    /// Linux, a datagram socket takes the option and hears all; each datagram tells its TTL, for its receiver to judge.
    pub minimum_ttl: Option<u8>,
    /// What holds with single peers instead: of a listener that serves many, for those that it accepts.
    pub peers: Vec<PeerOptions>,
}

/// What holds with one peer.
///
/// ```
/// use isthmus_stack_api::options::{Options, PeerOptions, Secret};
///
/// // A listener of a directly connected BGP neighbor that signs (RFC 2385), and checks the TTL (RFC 5082).
/// let neighbor = "10.0.0.1".parse()?;
/// let key = Secret::new(b"known to two");
/// let peer = PeerOptions { ttl: Some(255), minimum_ttl: Some(255), key, ..PeerOptions::new(neighbor) };
/// let options = Options { peers: vec![peer], ..Options::default() };
/// assert_eq!(options.minimum_ttl_from(neighbor), 255);
/// assert_eq!(options.minimum_ttl_from("10.0.0.9".parse()?), 0, "of others, any");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerOptions {
    /// Address of the peer.
    pub peer: IpAddr,
    /// In place of [`Options::ttl`].
    pub ttl: Option<u8>,
    /// In place of [`Options::minimum_ttl`].
    pub minimum_ttl: Option<u8>,
    /// Key that TCP segments from and to it are signed with (`TCP_MD5SIG`, RFC 2385). With such a peer a segment without
    /// a signature, or with another one, is dropped in silence; so is a signed one of a peer without a key. On a hit both
    /// ends must have the same key. Whether there is one is settled when a connection is opened or accepted.
    pub key: Option<Secret>,
}

impl PeerOptions {
    /// A peer for which nothing special holds.
    pub fn new(peer: IpAddr) -> Self {
        Self { peer, ttl: None, minimum_ttl: None, key: None }
    }
}

/// A key. Its content is not printed.
///
/// ```
/// use isthmus_stack_api::options::Secret;
///
/// let key = Secret::new(b"known to two").expect("1 to 80 bytes");
/// assert_eq!(format!("{key:?}"), "Secret(..)");
/// assert_eq!(Secret::new(b""), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Longest key in bytes, as on Linux.
    pub const MAX_BYTES: usize = 80;

    /// A key of 1 to [`MAX_BYTES`](Self::MAX_BYTES) bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=Self::MAX_BYTES).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Probing an idle connection (RFC 9293 section 3.8.4).
///
/// ```
/// use std::time::Duration;
/// use isthmus_stack_api::options::KeepAlive;
///
/// let probing = KeepAlive { idle: Duration::from_secs(30), interval: Duration::from_secs(5), probes: 3 };
/// assert_eq!(probing.gives_up_after(), Duration::from_secs(45));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeepAlive {
    /// Silence before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes after which the peer is given up (`TCP_KEEPCNT`).
    pub probes: u32,
}

impl Default for KeepAlive {
    /// RFC 1122 section 4.2.3.6: two hours; and nine probes, 75 s apart, as on Linux.
    fn default() -> Self {
        Self { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), probes: 9 }
    }
}

impl KeepAlive {
    /// How long a peer may be silent before it is given up.
    pub fn gives_up_after(&self) -> Duration {
        self.idle.saturating_add(self.interval.saturating_mul(self.probes))
    }
}

/// [`Options::send_buffer_bytes`] where nobody chose one.
pub const DEFAULT_SEND_BUFFER: u32 = 256 << 10;
/// [`Options::receive_buffer_bytes`] where nobody chose one.
pub const DEFAULT_RECEIVE_BUFFER: u32 = 512 << 10;
/// The least that a buffer has, whatever is asked for: as on Linux, a few small segments.
pub const MIN_BUFFER: u32 = 2304;
/// The most that a buffer has, whatever is asked for.
pub const MAX_BUFFER: u32 = 4 << 20;

/// Peers that one socket may have options for.
pub const MAX_PEERS: usize = 500;

impl Default for Options {
    fn default() -> Self {
        Self {
            ttl: None,
            tos: 0,
            linger: None,
            keepalive: None,
            nodelay: true,
            user_timeout: None,
            send_buffer_bytes: DEFAULT_SEND_BUFFER,
            receive_buffer_bytes: DEFAULT_RECEIVE_BUFFER,
            reuse_address: false,
            multicast_ttl: DEFAULT_GROUP_TTL,
            multicast_loop: false,
            multicast_interface: None,
            minimum_ttl: None,
            peers: Vec::new(),
        }
    }
}

impl Options {
    /// Whether every value can be had. Buffer sizes always can: they are brought into their bounds.
    pub fn check(&self) -> Result<(), SocketError> {
        let probing = self.keepalive.is_none_or(|probing| {
            !probing.idle.is_zero() && !probing.interval.is_zero() && (1..=127).contains(&probing.probes)
        });
        let mut peers = HashSet::new();
        let peers = self.peers.len() <= MAX_PEERS
            && self.peers.iter().all(|peer| {
                let key = peer.key.as_ref().is_none_or(|key| Secret::new(key.bytes()).is_some());
                key && peer.ttl != Some(0) && peer.minimum_ttl != Some(0) && peers.insert(peer.peer)
            });
        match self.ttl != Some(0) && self.minimum_ttl != Some(0) && probing && peers {
            true => Ok(()),
            false => Err(SocketError::InvalidArgument),
        }
    }

    /// The key that is shared with a peer.
    pub fn key(&self, peer: IpAddr) -> Option<&Secret> {
        self.of(peer)?.key.as_ref()
    }

    /// The least TTL that a packet of a peer may have (RFC 5082); 0: any.
    pub fn minimum_ttl_from(&self, peer: IpAddr) -> u8 {
        self.of(peer).and_then(|peer| peer.minimum_ttl).or(self.minimum_ttl).unwrap_or(0)
    }

    /// TTL of what goes to a peer.
    pub fn ttl_towards(&self, peer: IpAddr) -> u8 {
        self.of(peer).and_then(|peer| peer.ttl).unwrap_or(self.unicast_ttl())
    }

    fn of(&self, peer: IpAddr) -> Option<&PeerOptions> {
        self.peers.iter().find(|known| known.peer == peer)
    }

    /// TTL of what goes to one receiver.
    pub fn unicast_ttl(&self) -> u8 {
        self.ttl.unwrap_or(DEFAULT_TTL)
    }

    /// Traffic class of a connection's packets: without the bits that are TCP's own.
    pub fn tcp_tos(&self) -> u8 {
        self.tos & !ECN
    }

    /// The send buffer within its bounds.
    pub fn send_buffer(&self) -> usize {
        self.send_buffer_bytes.clamp(MIN_BUFFER, MAX_BUFFER) as usize
    }

    /// The receive buffer within its bounds.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer_bytes.clamp(MIN_BUFFER, MAX_BUFFER) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_be_had_are_refused_and_sizes_brought_into_bounds() {
        let probing = KeepAlive::default();
        assert_eq!(probing.gives_up_after(), Duration::from_secs(7200 + 9 * 75));
        for wrong in [
            Options { ttl: Some(0), ..Options::default() },
            Options { minimum_ttl: Some(0), ..Options::default() },
            Options { peers: vec![key("10.0.0.1"), key("10.0.0.1")], ..Options::default() },
            Options { peers: vec![PeerOptions { ttl: Some(0), ..key("10.0.0.1") }], ..Options::default() },
            Options { keepalive: Some(KeepAlive { probes: 0, ..probing }), ..Options::default() },
            Options { keepalive: Some(KeepAlive { idle: Duration::ZERO, ..probing }), ..Options::default() },
            Options { keepalive: Some(KeepAlive { interval: Duration::ZERO, ..probing }), ..Options::default() },
        ] {
            assert_eq!(wrong.check(), Err(SocketError::InvalidArgument), "{wrong:?}");
        }
        let sizes = Options { send_buffer_bytes: 1, receive_buffer_bytes: u32::MAX, ..Options::default() };
        assert_eq!((sizes.send_buffer(), sizes.receive_buffer()), (MIN_BUFFER as usize, MAX_BUFFER as usize));
    }

    fn key(peer: &str) -> PeerOptions {
        PeerOptions { key: Secret::new(b"hush"), ..PeerOptions::new(peer.parse().unwrap()) }
    }

    #[test]
    fn what_holds_with_a_peer_takes_the_place_of_what_holds_with_all() {
        let near = PeerOptions { ttl: Some(255), minimum_ttl: Some(254), ..key("10.0.0.1") };
        let options = Options { peers: vec![near], minimum_ttl: Some(2), ..Options::default() };
        let (near, far) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert_eq!((options.ttl_towards(near), options.minimum_ttl_from(near)), (255, 254));
        assert_eq!((options.ttl_towards(far), options.minimum_ttl_from(far)), (64, 2));
    }

    #[test]
    fn a_key_is_of_one_peer_and_not_printed() {
        let options = Options { peers: vec![key("10.0.0.1")], ..Options::default() };
        assert_eq!(options.check(), Ok(()));
        assert_eq!(options.key("10.0.0.1".parse().unwrap()).map(Secret::bytes), Some(&b"hush"[..]));
        assert_eq!(options.key("10.0.0.2".parse().unwrap()), None);
        assert!(!format!("{options:?}").contains("hush"));
        assert!(Secret::new(b"").is_none() && Secret::new(&[0; 81]).is_none());
    }

    #[test]
    fn tcp_keeps_the_ecn_bits_to_itself() {
        assert_eq!(Options { tos: 0xc3, ..Options::default() }.tcp_tos(), 0xc0);
    }
}
