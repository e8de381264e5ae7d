//! The vrFIB: which addresses are reached by a channel instead of the stack.
//!
//! The VR connection manager writes it, update by update; this process reads its own copy. A look-up is two hash
//! look-ups at most, takes no lock and no system call, and does not grow with virtual routers, listeners or
//! interfaces.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc::{Criteria, Family, InterfaceName, Pathname, VrId};
use vr_api::manager::{InterVrInterface, VrFibEntry, VrFibUpdate};

#[cfg(test)]
mod tests;

/// What a socket was bound to before it looks for its peer.
///
/// ```
/// use sockets::vrfib::Local;
/// # let (_router, red, ..) = sockets_testing::joined();
/// # let (vrfib, to, bgp) = (red.library.vrfib(), sockets_testing::address(2), sockets_testing::tcp(179));
///
/// let on = |interface: &str| Local { interface: interface.parse().ok(), ..Local::default() };
/// assert!(vrfib.lookup(&on("vr2"), to, &bgp).is_some());
/// assert!(vrfib.lookup(&on("Port0/0/0"), to, &bgp).is_none(), "another interface does not lead there");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// Own address, or any.
    pub address: Option<IpAddr>,
    /// The one interface, or any.
    pub interface: Option<InterfaceName>,
}

/// Why an update was refused whole.
///
/// ```
/// use sockets::vrfib::{VrFib, VrFibError};
/// use vr_api::manager::VrFibUpdate;
/// # let (router, ..) = sockets_testing::joined();
/// # let VrFibUpdate::Snapshot { entries, .. } = router.vrfib(1, 2, true) else { unreachable!() };
///
/// // Entries without the interface that they lead over.
/// let update = VrFibUpdate::Change { interfaces: vec![], added: entries, removed: vec![] };
/// let refused = VrFib::default().apply(update).unwrap_err();
/// assert!(matches!(refused, VrFibError::NoInterface { .. }), "{refused}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VrFibError {
    /// An entry leads over an interface that is not there.
    #[error("vrFIB entry {to} {listener}: this VR has no inter-VR interface {interface}")]
    NoInterface {
        /// Address of the entry.
        to: IpAddr,
        /// Its listener.
        listener: Pathname,
        /// The interface that it names.
        interface: InterfaceName,
    },
    /// A service has no criteria, so no socket can look for it.
    #[error("vrFIB entry {to} {listener}: not an endpoint")]
    NotAnEndpoint {
        /// Address of the entry.
        to: IpAddr,
        /// What it names.
        listener: Pathname,
    },
    /// An IPv4 address with IPv6 criteria, or the reverse.
    #[error("vrFIB entry {to} {listener}: address and source {source_address} are not of the listener's family")]
    Family {
        /// Address of the entry.
        to: IpAddr,
        /// Its source address.
        source_address: IpAddr,
        /// Its listener.
        listener: Pathname,
    },
}

/// This process's vrFIB.
///
/// ```
/// use sockets::vrfib::Local;
/// # let (_router, red, ..) = sockets_testing::joined();
/// # let bgp = sockets_testing::tcp(179);
///
/// let vrfib = red.library.vrfib();
/// let entry = vrfib.lookup(&Local::default(), "10.0.0.2".parse()?, &bgp).expect("blue's bgp listens");
/// assert_eq!(entry.listener.to_string(), "/2/101/ipv4/tcp/179");
/// assert!(vrfib.lookup(&Local::default(), "192.0.2.1".parse()?, &bgp).is_none(), "the stack's");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Default)]
pub struct VrFib {
    ways: HashMap<(IpAddr, Criteria), Vec<Way>>,
    interfaces: Vec<Interface>,
    by_name: HashMap<InterfaceName, usize>,
    by_peer: HashMap<VrId, usize>,
    /// Interfaces by the addresses of their other side, to tell a miss from traffic that was never ours.
    by_peer_address: HashMap<IpAddr, Vec<usize>>,
}

#[derive(Debug)]
struct Way {
    entry: Arc<VrFibEntry>,
    interface: usize,
    hits: Arc<AtomicU64>,
}

/// What a look-up found, for who may be led there again without another one, until the vrFIB changes.
///
/// ```
/// use sockets::vrfib::Local;
/// # let (_router, red, ..) = sockets_testing::joined();
/// # let (vrfib, to, bgp) = (red.library.vrfib(), sockets_testing::address(2), sockets_testing::tcp(179));
///
/// let hit = vrfib.lookup_hit(&Local::default(), to, &bgp).expect("blue's bgp listens");
/// hit.again();
/// assert_eq!(vrfib.lookups(&hit.interface), (2, 0), "hits and misses");
/// ```
#[derive(Debug, Clone)]
pub struct Hit {
    entry: Arc<VrFibEntry>,
    of_entry: Arc<AtomicU64>,
    of_interface: Arc<AtomicU64>,
}

impl Hit {
    /// Counts one that was led there without a look-up.
    #[inline]
    pub fn again(&self) {
        // Relaxed: a counter orders nothing.
        self.of_entry.fetch_add(1, Ordering::Relaxed);
        self.of_interface.fetch_add(1, Ordering::Relaxed);
    }
}

impl Deref for Hit {
    type Target = VrFibEntry;

    fn deref(&self) -> &VrFibEntry {
        &self.entry
    }
}

#[derive(Debug)]
struct Interface {
    state: InterVrInterface,
    hits: Arc<AtomicU64>,
    misses: AtomicU64,
}

impl VrFib {
    /// The listener on this box behind `to`, or `None`: the miss that leads to the socket server.
    ///
    /// A TCP connection whose source address has no route back goes through the stack, too, and waits there in vain as it
    /// would on a wire. Among several listeners for the same address and criteria the first that the manager named answers: it puts
    /// those bound to the address before those bound to none, and of UDP those that were bound last before the others.
    pub fn lookup(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> Option<Arc<VrFibEntry>> {
        self.find(from, to, criteria).map(|(way, _)| Arc::clone(&way.entry))
    }

    /// The same, for who will send there again.
    pub fn lookup_hit(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> Option<Hit> {
        self.find(from, to, criteria).map(|(way, interface)| way.hit(interface))
    }

    fn find(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> Option<(&Way, &Interface)> {
        let ways = self.ways.get(&(to, *criteria)).map(Vec::as_slice).unwrap_or_default();
        let answers = |(way, interface): &(&Way, &Interface)| {
            let source = from.address.unwrap_or(way.entry.source);
            !matches!(criteria, Criteria::Tcp(..)) || !interface.state.lost_from.contains(&source)
        };
        let Some((way, interface)) = ways.iter().filter_map(|way| self.usable(way, from)).find(answers) else {
            self.count_miss(from, to);
            return None;
        };
        // Relaxed: a counter orders nothing.
        way.hits.fetch_add(1, Ordering::Relaxed);
        interface.hits.fetch_add(1, Ordering::Relaxed);
        Some((way, interface))
    }

    /// All that joined `group` on an inter-VR interface (OSPF's 224.0.0.5).
    pub fn lookup_group(&self, interface: &InterfaceName, group: IpAddr, criteria: &Criteria) -> Vec<Hit> {
        self.all_usable(&Local { address: None, interface: Some(interface.clone()) }, group, criteria)
    }

    /// All processes on this box that want a packet of raw IP for `to`: each gets a copy.
    pub fn lookup_copies(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> Vec<Hit> {
        let found = self.all_usable(from, to, criteria);
        if found.is_empty() {
            self.count_miss(from, to);
        }
        found
    }

    fn all_usable(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> Vec<Hit> {
        let ways = self.ways.get(&(to, *criteria)).map(Vec::as_slice).unwrap_or_default();
        let usable = ways.iter().filter_map(|way| self.usable(way, from));
        let found = usable.map(|(way, interface)| {
            let hit = way.hit(interface);
            hit.again();
            hit
        });
        found.collect()
    }

    fn usable<'a>(&'a self, way: &'a Way, from: &Local) -> Option<(&'a Way, &'a Interface)> {
        let interface = self.interfaces.get(way.interface)?;
        let bound_elsewhere = from.interface.as_ref().is_some_and(|bound| *bound != interface.state.name);
        let other_family = from.address.is_some_and(|own| Family::of(own) != Family::of(way.entry.to));
        (interface.state.up && !bound_elsewhere && !other_family).then_some((way, interface))
    }

    /// Counted only where the address is the other VR's: a connection to anywhere else was never a candidate.
    fn count_miss(&self, from: &Local, to: IpAddr) {
        let candidates = self.by_peer_address.get(&to).map(Vec::as_slice).unwrap_or_default();
        let mut candidates = candidates.iter().filter_map(|index| self.interfaces.get(*index));
        let bound_here = |interface: &&Interface| from.interface.as_ref().is_none_or(|b| *b == interface.state.name);
        if let Some(interface) = candidates.find(bound_here) {
            interface.misses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One update of the manager: all of it or, on an error, nothing.
    pub fn apply(&mut self, update: VrFibUpdate) -> Result<(), VrFibError> {
        match update {
            VrFibUpdate::Snapshot { interfaces, entries } => {
                let is_there = |name: &InterfaceName| interfaces.iter().any(|interface| interface.name == *name);
                let entries = checked(entries, is_there)?;
                self.replace(interfaces, entries);
            }
            VrFibUpdate::Change { interfaces, added, removed } => {
                let is_there = |name: &InterfaceName| {
                    self.by_name.contains_key(name) || interfaces.iter().any(|interface| interface.name == *name)
                };
                let added = checked(added, is_there)?;
                for interface in interfaces {
                    self.set_interface(interface);
                }
                for (to, listener) in removed {
                    self.remove(to, &listener);
                }
                for (criteria, entry) in added {
                    self.add(criteria, entry);
                }
            }
        }
        Ok(())
    }

    /// A snapshot takes the place of everything but the counters.
    fn replace(&mut self, interfaces: Vec<InterVrInterface>, entries: Vec<(Criteria, VrFibEntry)>) {
        let old = std::mem::take(self);
        for interface in interfaces {
            let name = interface.name.clone();
            self.set_interface(interface);
            if let (Some(new), Some(known)) = (self.interface_named(&name), old.interface_named(&name)) {
                new.hits.store(known.hits.load(Ordering::Relaxed), Ordering::Relaxed);
                new.misses.store(known.misses.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        for (criteria, entry) in entries {
            let known = old.ways.get(&(entry.to, criteria)).into_iter().flatten().find(|way| *way.entry == entry);
            let hits = known.map_or(0, |way| way.hits.load(Ordering::Relaxed));
            if let Some(way) = self.add(criteria, entry) {
                way.hits.store(hits, Ordering::Relaxed);
            }
        }
    }

    fn set_interface(&mut self, state: InterVrInterface) {
        let index = match self.by_name.get(&state.name) {
            Some(index) => *index,
            None => self.interfaces.len(),
        };
        self.by_peer_address.values_mut().for_each(|interfaces| interfaces.retain(|known| *known != index));
        for address in &state.peer_addresses {
            let interfaces = self.by_peer_address.entry(*address).or_default();
            if !interfaces.contains(&index) {
                interfaces.push(index);
            }
        }
        self.by_peer_address.retain(|_, interfaces| !interfaces.is_empty());
        self.by_peer.retain(|_, known| *known != index);
        self.by_peer.insert(state.peer_vr, index);
        self.by_name.insert(state.name.clone(), index);
        match self.interfaces.get_mut(index) {
            Some(interface) => interface.state = state,
            None => self.interfaces.push(Interface { state, hits: Arc::default(), misses: AtomicU64::new(0) }),
        }
    }

    /// An entry with the same listener keeps its place, and its counter if it is the same publication.
    fn add(&mut self, criteria: Criteria, entry: VrFibEntry) -> Option<&Way> {
        let interface = *self.by_name.get(&entry.interface)?;
        let ways = self.ways.entry((entry.to, criteria)).or_default();
        let place = ways.iter().position(|way| way.entry.listener == entry.listener);
        let index = place.unwrap_or(ways.len());
        let hits = match ways.get(index) {
            Some(way) if way.entry.generation == entry.generation => way.hits.load(Ordering::Relaxed),
            Some(_) | None => 0,
        };
        let way = Way { entry: Arc::new(entry), interface, hits: Arc::new(AtomicU64::new(hits)) };
        match ways.get_mut(index) {
            Some(old) => *old = way,
            None => ways.push(way),
        }
        ways.get(index)
    }

    /// Removing what is not there is no error: the wish is fulfilled.
    fn remove(&mut self, to: IpAddr, listener: &Pathname) {
        let Pathname::Endpoint { criteria, .. } = listener else { return };
        let key = (to, *criteria);
        if let Some(ways) = self.ways.get_mut(&key) {
            ways.retain(|way| way.entry.listener != *listener);
            if ways.is_empty() {
                self.ways.remove(&key);
            }
        }
    }

    /// All entries, with how often each was hit, for `show vrfib`.
    pub fn entries(&self) -> impl Iterator<Item = (&VrFibEntry, u64)> {
        self.ways.values().flatten().map(|way| (&*way.entry, way.hits.load(Ordering::Relaxed)))
    }

    /// All inter-VR interfaces of the VR.
    pub fn interfaces(&self) -> impl Iterator<Item = &InterVrInterface> {
        self.interfaces.iter().map(|interface| &interface.state)
    }

    /// An inter-VR interface.
    pub fn interface(&self, name: &InterfaceName) -> Option<&InterVrInterface> {
        self.interface_named(name).map(|interface| &interface.state)
    }

    /// The inter-VR interface that leads to a VR.
    pub fn interface_to(&self, peer: VrId) -> Option<&InterVrInterface> {
        self.interfaces.get(*self.by_peer.get(&peer)?).map(|interface| &interface.state)
    }

    /// Hits and misses of look-ups over an interface.
    pub fn lookups(&self, name: &InterfaceName) -> (u64, u64) {
        self.interface_named(name).map_or((0, 0), |interface| {
            (interface.hits.load(Ordering::Relaxed), interface.misses.load(Ordering::Relaxed))
        })
    }

    fn interface_named(&self, name: &InterfaceName) -> Option<&Interface> {
        self.interfaces.get(*self.by_name.get(name)?)
    }
}

impl Way {
    fn hit(&self, interface: &Interface) -> Hit {
        Hit { entry: self.entry.clone(), of_entry: self.hits.clone(), of_interface: interface.hits.clone() }
    }
}

/// Entries with the criteria of their listeners, if all of them make sense.
fn checked(
    entries: Vec<VrFibEntry>,
    interface_is_there: impl Fn(&InterfaceName) -> bool,
) -> Result<Vec<(Criteria, VrFibEntry)>, VrFibError> {
    entries
        .into_iter()
        .map(|entry| {
            let VrFibEntry { to, ref listener, ref interface, source, .. } = entry;
            let Pathname::Endpoint { criteria, .. } = *listener else {
                return Err(VrFibError::NotAnEndpoint { to, listener: listener.clone() });
            };
            let family = match criteria {
                Criteria::Tcp(family, _) | Criteria::Udp(family, _) | Criteria::Raw(family, _) => family,
                Criteria::Osi(_) => Family::of(to),
            };
            if Family::of(to) != family || Family::of(source) != family {
                return Err(VrFibError::Family { to, source_address: source, listener: listener.clone() });
            }
            if !interface_is_there(interface) {
                return Err(VrFibError::NoInterface { to, listener: listener.clone(), interface: interface.clone() });
            }
            Ok((criteria, entry))
        })
        .collect()
}
