//! The IFIB: who gets a packet that is for this router.
//!
//! Entries are found most specific first: an established connection, a listener on one address, a listener on all
//! addresses, and at last whoever handles the protocol as such. One writer, the control thread; workers read a version
//! that does not change under them. The map is in shards that versions share: a change copies one shard.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ipc::{Family, VrId};

use crate::ids::IfIndex;
use crate::persistent::Chunked;
use crate::policer::PolicerClass;

/// Shards of the map: with 10,000 connections a change copies about ten entries.
const SHARDS: usize = 1024;

/// What a packet must be to match an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IfibKey {
    /// One connection.
    Connection {
        /// VR that has it.
        vr: VrId,
        /// IP protocol.
        protocol: u8,
        /// Our side.
        local: SocketAddr,
        /// Their side.
        remote: SocketAddr,
    },
    /// All that comes to a port.
    Listener {
        /// VR that has it.
        vr: VrId,
        /// IP protocol.
        protocol: u8,
        /// Family, of `address` too.
        family: Family,
        /// One of our addresses; `None`: any.
        address: Option<IpAddr>,
        /// The port.
        port: u16,
    },
    /// A group beyond the link's own that somebody has joined on a port: it is let in, and given to whom its protocol and
    /// port say.
    Group {
        /// VR that has it.
        vr: VrId,
        /// The port's interface.
        interface: IfIndex,
        /// The group.
        group: IpAddr,
    },
    /// A protocol as a whole, for what no other entry claims.
    Protocol {
        /// VR that has it.
        vr: VrId,
        /// Family.
        family: Family,
        /// IP protocol.
        protocol: u8,
    },
}

/// Identifies a socket of the socket server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// Who gets the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PuntTarget {
    /// A socket.
    Socket(SocketId),
    /// The control side's handler of the packet's protocol.
    Handler,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfibEntry {
    /// Who gets the packet.
    pub target: PuntTarget,
    /// At what rate.
    pub class: PolicerClass,
}

/// The interface that a link-local address of [`scoped`] is of.
pub fn scope_of(address: SocketAddr) -> Option<IfIndex> {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(IfIndex(v6.scope_id())),
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    }
}

/// The address as a process is told it, which knows interfaces by their names.
pub fn unscoped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// What is looked up: the packet's own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfibQuery {
    /// VR that the packet is for.
    pub vr: VrId,
    /// IP protocol.
    pub protocol: u8,
    /// The packet's destination.
    pub local: IpAddr,
    /// The packet's source.
    pub remote: IpAddr,
    /// Destination and source port, where the protocol has some.
    pub ports: Option<(u16, u16)>,
    /// The interface that it came in by.
    pub interface: Option<IfIndex>,
}

/// The address of one side of a connection, as keys have it. A link-local one is one of its link's: it carries the
/// number of the interface (RFC 4007 section 6), since two links may have the same.
pub fn scoped(address: IpAddr, port: u16, interface: Option<IfIndex>) -> SocketAddr {
    match (address, interface) {
        (IpAddr::V6(v6), Some(index)) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, index.0).into(),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => SocketAddr::new(address, port),
    }
}

type Shard = Arc<HashMap<IfibKey, IfibEntry>>;

/// One version of the IFIB.
#[derive(Debug, Clone)]
pub struct IfibSnapshot {
    hasher: RandomState,
    shards: Chunked<Shard>,
    entries: usize,
}

impl IfibSnapshot {
    /// The most specific entry.
    pub fn lookup(&self, query: &IfibQuery) -> Option<IfibEntry> {
        let IfibQuery { vr, protocol, local, remote, ports, interface } = *query;
        let family = Family::of(local);
        let by_port = ports.and_then(|(local_port, remote_port)| {
            let local = scoped(local, local_port, interface);
            let remote = scoped(remote, remote_port, interface);
            let listener = |address| IfibKey::Listener { vr, protocol, family, address, port: local_port };
            self.get(&IfibKey::Connection { vr, protocol, local, remote })
                .or_else(|| self.get(&listener(Some(local.ip()))))
                .or_else(|| self.get(&listener(None)))
        });
        by_port.or_else(|| self.get(&IfibKey::Protocol { vr, family, protocol }))
    }

    /// One entry.
    pub fn get(&self, key: &IfibKey) -> Option<IfibEntry> {
        self.shards.get(self.shard(key))?.get(key).copied()
    }

    /// All entries, sorted by key.
    pub fn entries(&self) -> Vec<(IfibKey, IfibEntry)> {
        let shards = self.shards.iter().flat_map(|(_, shard)| shard.iter());
        let mut entries: Vec<_> = shards.map(|(key, entry)| (*key, *entry)).collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn shard(&self, key: &IfibKey) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    fn shard_mut(&mut self, key: &IfibKey) -> Option<&mut HashMap<IfibKey, IfibEntry>> {
        let at = self.shard(key);
        self.shards.get_mut(at).map(Arc::make_mut)
    }
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfibChange {
    /// A new entry, or another target for it.
    Set(IfibKey, IfibEntry),
    /// No entry any more; one that was not there is no error.
    Remove(IfibKey),
}

/// The one writer of the IFIB.
#[derive(Debug)]
pub struct IfibWriter {
    current: IfibSnapshot,
    published: Arc<ArcSwap<IfibSnapshot>>,
}

impl Default for IfibWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl IfibWriter {
    /// An empty IFIB.
    pub fn new() -> Self {
        let empty = Shard::default();
        let mut shards = Chunked::new();
        shards.set(SHARDS - 1, Arc::clone(&empty), &empty);
        let current = IfibSnapshot { hasher: RandomState::new(), shards, entries: 0 };
        let published = Arc::new(ArcSwap::from_pointee(current.clone()));
        IfibWriter { current, published }
    }

    /// A reader of what this writer publishes.
    pub fn reader(&self) -> IfibReader {
        IfibReader { published: Arc::clone(&self.published) }
    }

    /// What is published now.
    pub fn snapshot(&self) -> &IfibSnapshot {
        &self.current
    }

    /// Publishes all changes at once.
    pub fn apply(&mut self, changes: &[IfibChange]) {
        for change in changes {
            match *change {
                IfibChange::Set(key, entry) => {
                    let before = self.current.shard_mut(&key).and_then(|shard| shard.insert(key, entry));
                    self.current.entries += usize::from(before.is_none());
                }
                IfibChange::Remove(key) => {
                    // Looked at first: a missing entry must not copy a shard.
                    if self.current.get(&key).is_some() {
                        self.current.shard_mut(&key).map(|shard| shard.remove(&key));
                        self.current.entries -= 1;
                    }
                }
            }
        }
        self.published.store(Arc::new(self.current.clone()));
    }
}

/// Reads what an [`IfibWriter`] publishes.
#[derive(Debug, Clone)]
pub struct IfibReader {
    published: Arc<ArcSwap<IfibSnapshot>>,
}

/// A version of the IFIB held for the handling of one vector.
pub struct IfibView(Guard<Arc<IfibSnapshot>>);

impl Deref for IfibView {
    type Target = IfibSnapshot;
    fn deref(&self) -> &IfibSnapshot {
        &self.0
    }
}

impl IfibReader {
    /// The newest version, to be held for one vector and not longer.
    pub fn view(&self) -> IfibView {
        IfibView(self.published.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: u8 = 6;
    const RED: VrId = VrId(1);

    fn entry(socket: u64) -> IfibEntry {
        IfibEntry { target: PuntTarget::Socket(SocketId(socket)), class: PolicerClass::Listener }
    }

    fn query(vr: VrId, local: &str, remote: &str) -> IfibQuery {
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        let ports = Some((local.port(), remote.port()));
        IfibQuery { vr, protocol: TCP, local: local.ip(), remote: remote.ip(), ports, interface: Some(IfIndex(7)) }
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let mut ifib = IfibWriter::new();
        let family = Family::Ipv4;
        let listener = |address| IfibKey::Listener { vr: RED, protocol: TCP, family, address, port: 179 };
        let (local, remote) = ("10.0.0.1:179".parse().unwrap(), "10.0.0.2:5000".parse().unwrap());
        let connection = IfibKey::Connection { vr: RED, protocol: TCP, local, remote };
        ifib.apply(&[
            IfibChange::Set(connection, entry(1)),
            IfibChange::Set(listener(Some(local.ip())), entry(2)),
            IfibChange::Set(listener(None), entry(3)),
            IfibChange::Set(IfibKey::Protocol { vr: RED, family, protocol: TCP }, entry(4)),
        ]);
        let view = ifib.reader().view();
        let find = |local, remote| view.lookup(&query(RED, local, remote));
        assert_eq!(find("10.0.0.1:179", "10.0.0.2:5000"), Some(entry(1)));
        assert_eq!(find("10.0.0.1:179", "10.0.0.2:5001"), Some(entry(2)));
        assert_eq!(find("10.0.0.9:179", "10.0.0.2:5000"), Some(entry(3)));
        assert_eq!(find("10.0.0.1:180", "10.0.0.2:5000"), Some(entry(4)));
        assert_eq!(find("[2001:db8::1]:179", "[2001:db8::2]:5000"), None);
        assert_eq!(view.lookup(&query(VrId(2), "10.0.0.1:179", "10.0.0.2:5000")), None);
    }

    #[test]
    fn a_link_local_connection_is_one_of_its_interface() {
        let mut ifib = IfibWriter::new();
        let (local, remote) = ("[fe80::1]:179", "[fe80::2]:5000");
        let at = |text: &str, index| {
            let address: SocketAddr = text.parse().unwrap();
            scoped(address.ip(), address.port(), Some(IfIndex(index)))
        };
        for (index, socket) in [(7, 1), (8, 2)] {
            let (local, remote) = (at(local, index), at(remote, index));
            ifib.apply(&[IfibChange::Set(
                IfibKey::Connection { vr: RED, protocol: TCP, local, remote },
                entry(socket),
            )]);
        }
        let view = ifib.reader().view();
        assert_eq!(view.lookup(&query(RED, local, remote)), Some(entry(1)));
        let elsewhere = IfibQuery { interface: Some(IfIndex(8)), ..query(RED, local, remote) };
        assert_eq!(view.lookup(&elsewhere), Some(entry(2)));
        assert_eq!(scoped("2001:db8::1".parse().unwrap(), 1, Some(IfIndex(7))), "[2001:db8::1]:1".parse().unwrap());
    }

    #[test]
    fn thousands_of_connections_come_and_go() {
        let mut ifib = IfibWriter::new();
        let key = |port| IfibKey::Connection {
            vr: RED,
            protocol: TCP,
            local: "10.0.0.1:179".parse().unwrap(),
            remote: SocketAddr::new([10, 0, 0, 2].into(), port),
        };
        for port in 1..5000 {
            ifib.apply(&[IfibChange::Set(key(port), entry(port.into()))]);
        }
        let before = ifib.reader().view();
        for port in 1..4000 {
            ifib.apply(&[IfibChange::Remove(key(port)), IfibChange::Remove(key(port))]);
        }
        assert_eq!((before.len(), before.get(&key(7))), (4999, Some(entry(7))));
        assert_eq!((ifib.snapshot().len(), ifib.snapshot().get(&key(7))), (1000, None));
        assert_eq!(ifib.snapshot().get(&key(4321)), Some(entry(4321)));
        assert_eq!(ifib.snapshot().entries().len(), 1000);
    }
}
