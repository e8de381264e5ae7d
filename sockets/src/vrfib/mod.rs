//! The vrFIB: which addresses are reached by a channel instead of the stack.
//!
//! The VR connection manager writes it, update by update; this process reads its own copy. A look-up is two hash
//! look-ups at most, takes no lock and no system call, and does not grow with virtual routers, listeners or
//! interfaces.
//!
//! A look-up is counted where it was led, or where it was meant for and not led: at the entry, if there is or was one, and at
//! the interface behind which the address is. What was meant for no entry is counted for the table.

mod counters;
mod withdrawn;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use counters::Counters;
pub use counters::Lookups;
use ipc::{Criteria, Family, InterfaceName, Pathname, VrId};
use vr_api::manager::{InterVrInterface, VrFibEntry, VrFibUpdate};
use withdrawn::{Gone, Withdrawn};

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
    withdrawn: Withdrawn,
    /// Look-ups for which there is no entry, and was none.
    unmatched: AtomicU64,
}

#[derive(Debug)]
struct Way {
    entry: Arc<VrFibEntry>,
    interface: usize,
    counters: Arc<Counters>,
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
/// assert_eq!(vrfib.lookups(&hit.interface).hits, 2);
/// ```
#[derive(Debug, Clone)]
pub struct Hit {
    entry: Arc<VrFibEntry>,
    of_entry: Arc<Counters>,
    of_interface: Arc<Counters>,
}

impl Hit {
    /// Counts one that was led there without a look-up.
    #[inline]
    pub fn again(&self) {
        self.of_entry.hit();
        self.of_interface.hit();
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
    counters: Arc<Counters>,
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
        let mut missed = false;
        for (way, interface) in ways.iter().filter_map(|way| self.meant(way, from)) {
            let source = from.address.unwrap_or(way.entry.source);
            let has_way_back = !matches!(criteria, Criteria::Tcp(..)) || !interface.state.lost_from.contains(&source);
            if interface.state.up && has_way_back {
                way.counters.hit();
                interface.counters.hit();
                return Some((way, interface));
            }
            way.counters.miss();
            missed = true;
        }
        self.count_miss(from, to, criteria, missed);
        None
    }

    /// All that joined `group` on an inter-VR interface (OSPF's 224.0.0.5).
    pub fn lookup_group(&self, interface: &InterfaceName, group: IpAddr, criteria: &Criteria) -> Vec<Hit> {
        self.all_usable(&Local { address: None, interface: Some(interface.clone()) }, group, criteria).0
    }

    /// All processes on this box that want a packet of raw IP for `to`: each gets a copy.
    pub fn lookup_copies(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> Vec<Hit> {
        let (found, missed) = self.all_usable(from, to, criteria);
        if found.is_empty() {
            self.count_miss(from, to, criteria, missed);
        }
        found
    }

    /// And whether there are others, which are not usable now.
    fn all_usable(&self, from: &Local, to: IpAddr, criteria: &Criteria) -> (Vec<Hit>, bool) {
        let ways = self.ways.get(&(to, *criteria)).map(Vec::as_slice).unwrap_or_default();
        let (mut found, mut missed) = (Vec::new(), false);
        for (way, interface) in ways.iter().filter_map(|way| self.meant(way, from)) {
            if interface.state.up {
                let hit = way.hit(interface);
                hit.again();
                found.push(hit);
            } else {
                way.counters.miss();
                missed = true;
            }
        }
        (found, missed)
    }

    /// A way that a socket may take, if its interface is up.
    fn meant<'a>(&'a self, way: &'a Way, from: &Local) -> Option<(&'a Way, &'a Interface)> {
        let interface = self.interfaces.get(way.interface)?;
        let bound_elsewhere = from.interface.as_ref().is_some_and(|bound| *bound != interface.state.name);
        let other_family = from.address.is_some_and(|own| Family::of(own) != Family::of(way.entry.to));
        (!bound_elsewhere && !other_family).then_some((way, interface))
    }

    /// `at_entry`: entries that are there have counted it. At an interface it counts only where the address is the other
    /// VR's: a connection to anywhere else was never a candidate.
    #[cold]
    fn count_miss(&self, from: &Local, to: IpAddr, criteria: &Criteria, at_entry: bool) {
        let bound_to = |name: &InterfaceName| from.interface.as_ref().is_none_or(|bound| bound == name);
        if !at_entry {
            let gone = self.withdrawn.at(to, *criteria).iter().filter(|gone| bound_to(&gone.entry.interface));
            if gone.map(|gone| gone.counters.miss()).count() == 0 {
                self.unmatched.fetch_add(1, Ordering::Relaxed);
            }
        }
        let candidates = self.by_peer_address.get(&to).map(Vec::as_slice).unwrap_or_default();
        let mut candidates = candidates.iter().filter_map(|index| self.interfaces.get(*index));
        if let Some(interface) = candidates.find(|interface| bound_to(&interface.state.name)) {
            interface.counters.miss();
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
                self.add_all(added);
            }
        }
        Ok(())
    }

    /// A snapshot takes the place of everything but the counters.
    fn replace(&mut self, interfaces: Vec<InterVrInterface>, entries: Vec<(Criteria, VrFibEntry)>) {
        let old = std::mem::take(self);
        (self.withdrawn, self.unmatched) = (old.withdrawn, old.unmatched);
        for interface in interfaces {
            let known = old.by_name.get(&interface.name).and_then(|index| old.interfaces.get(*index));
            let counters = known.map(|known| Arc::clone(&known.counters));
            let index = self.set_interface(interface);
            if let (Some(new), Some(counters)) = (self.interfaces.get_mut(index), counters) {
                new.counters = counters;
            }
        }
        self.add_all(entries);
        for ((to, criteria), ways) in old.ways {
            match self.ways.get_mut(&(to, criteria)) {
                Some(present) => ways.into_iter().for_each(|known| {
                    if let Some(way) = present.iter_mut().find(|way| way.is_of_publication(&known.entry)) {
                        way.counters = known.counters;
                    }
                }),
                None => ways.into_iter().for_each(|way| self.withdrawn.remember(criteria, way.gone())),
            }
        }
    }

    /// Its place.
    fn set_interface(&mut self, state: InterVrInterface) -> usize {
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
            None => self.interfaces.push(Interface { state, counters: Arc::default() }),
        }
        index
    }

    fn add_all(&mut self, entries: Vec<(Criteria, VrFibEntry)>) {
        let places: Vec<_> = entries.iter().map(|(criteria, entry)| (entry.to, *criteria)).collect();
        entries.into_iter().for_each(|(criteria, entry)| self.add(criteria, entry));
        // Behind all: each entry finds its counters first.
        places.into_iter().for_each(|(to, criteria)| self.withdrawn.forget(to, criteria));
    }

    /// An entry with the same listener keeps its place, and its counters if it is the same publication, as one does that was
    /// withdrawn.
    fn add(&mut self, criteria: Criteria, entry: VrFibEntry) {
        let Some(interface) = self.by_name.get(&entry.interface).copied() else { return };
        let ways = self.ways.entry((entry.to, criteria)).or_default();
        let place = ways.iter().position(|way| way.entry.listener == entry.listener);
        let index = place.unwrap_or(ways.len());
        let counters = match ways.get(index) {
            Some(way) if way.is_of_publication(&entry) => Some(Arc::clone(&way.counters)),
            Some(_) => None,
            None => self.withdrawn.counters(entry.to, criteria, &entry),
        };
        let way = Way { entry: Arc::new(entry), interface, counters: counters.unwrap_or_default() };
        match ways.get_mut(index) {
            Some(old) => *old = way,
            None => ways.push(way),
        }
    }

    /// Removing what is not there is no error: the wish is fulfilled.
    fn remove(&mut self, to: IpAddr, listener: &Pathname) {
        let Pathname::Endpoint { criteria, .. } = listener else { return };
        let key = (to, *criteria);
        if let Some(ways) = self.ways.get_mut(&key) {
            let gone = ways.extract_if(.., |way| way.entry.listener == *listener);
            gone.for_each(|way| self.withdrawn.remember(*criteria, way.gone()));
            if ways.is_empty() {
                self.ways.remove(&key);
            }
        }
    }

    /// All entries, with how look-ups for each went, for `show vrfib`.
    pub fn entries(&self) -> impl Iterator<Item = (&VrFibEntry, Lookups)> {
        self.ways.values().flatten().map(|way| (&*way.entry, way.counters.read()))
    }

    /// Entries that were withdrawn and that nothing has taken the place of, with how look-ups for each went; at most the
    /// last 1,024 places.
    pub fn withdrawn(&self) -> impl Iterator<Item = (&VrFibEntry, Lookups)> {
        self.withdrawn.all().map(|gone| (&*gone.entry, gone.counters.read()))
    }

    /// Look-ups for which there is no entry, and was none: the stack's from the first.
    pub fn unmatched(&self) -> u64 {
        self.unmatched.load(Ordering::Relaxed)
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
    pub fn lookups(&self, name: &InterfaceName) -> Lookups {
        self.interface_named(name).map(|interface| interface.counters.read()).unwrap_or_default()
    }

    fn interface_named(&self, name: &InterfaceName) -> Option<&Interface> {
        self.interfaces.get(*self.by_name.get(name)?)
    }
}

impl Way {
    fn hit(&self, interface: &Interface) -> Hit {
        Hit { entry: self.entry.clone(), of_entry: self.counters.clone(), of_interface: interface.counters.clone() }
    }

    fn is_of_publication(&self, entry: &VrFibEntry) -> bool {
        (&self.entry.listener, self.entry.generation) == (&entry.listener, entry.generation)
    }

    fn gone(self) -> Gone {
        Gone { entry: self.entry, counters: self.counters }
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
