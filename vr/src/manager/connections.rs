//! The virtual connection database: which VRs are joined, what their interfaces bear, who listens.
//!
//! The administrator's `connect` makes an entry, indexed by the two VrIDs; addresses that the VRs' users give to their
//! inter-VR interfaces go into it, and the pathnames of processes that are willing to communicate. The vrFIB of every
//! process is a copy of the part that concerns its VR ([`Database::vrfib_of`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use ipc::{Criteria, Family, InterfaceName, Pathname, Pid, VrId, VrName};
use ipnet::{IpNet, Ipv6Net};
use vr_api::interface::is_link_scoped;
use vr_api::manager::{InterVrInterface, Listener, Membership, VrFibEntry};

/// An interface of a VR, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the VR.
    pub name: InterfaceName,
    /// Addresses with their subnets.
    pub addresses: Vec<IpNet>,
    /// IPv6 link-local address of an inter-VR interface.
    pub link_local: Option<Ipv6Addr>,
    /// `shutdown` stands in its block.
    pub shut: bool,
    /// `short-circuit disable` does not stand in its block: a look-up over it may hit.
    pub short_circuit: bool,
    /// The VR at the other end of an inter-VR interface.
    pub peer: Option<VrId>,
}

impl Interface {
    /// All its addresses, the link-local one among them.
    fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(IpNet::addr).chain(self.link_local.map(IpAddr::V6))
    }

    /// What one speaks with to an address over it, as the stack chooses it: to one of the link with the link-local one,
    /// else with the address that has most in common with it.
    fn source(&self, to: IpAddr) -> Option<IpAddr> {
        match to {
            IpAddr::V4(_) => self.addresses.iter().map(IpNet::addr).find(IpAddr::is_ipv4),
            IpAddr::V6(_) if is_link_scoped(to) => self.link_local.map(IpAddr::V6),
            IpAddr::V6(to) => {
                let v6 = |net: &IpNet| if let IpNet::V6(net) = net { Some(*net) } else { None };
                // Beyond the subnet no bit counts (RFC 6724 section 2.2), unless the address is the same.
                let common = |own: &Ipv6Net| match (own.addr().to_bits() ^ to.to_bits()).leading_zeros() {
                    u128::BITS => u128::BITS + 1,
                    common => common.min(own.prefix_len().into()),
                };
                // The first of equals, as the stack has it.
                let best =
                    self.addresses.iter().filter_map(v6).reduce(|a, b| if common(&b) > common(&a) { b } else { a });
                best.map(|own| IpAddr::V6(own.addr()))
            }
        }
    }
}

/// A VR, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualRouter {
    /// Its name.
    pub name: VrName,
    /// Its interfaces: those of ports and loopbacks, and one for each VR that it is joined with.
    pub interfaces: Vec<Interface>,
}

/// A process that is willing to communicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The process.
    pub pid: Pid,
    /// The name of its endpoint.
    pub pathname: Pathname,
    /// Which publication: one for all addresses that the process listens at under this name.
    pub generation: u64,
    /// What it asks.
    pub listener: Listener,
}

/// The content of the vrFIBs of one VR's processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VrFibContent {
    /// The VR's inter-VR interfaces.
    pub interfaces: Vec<InterVrInterface>,
    /// The entries.
    pub entries: Vec<VrFibEntry>,
}

/// The virtual connection database.
#[derive(Debug, Default)]
pub struct Database {
    vrs: BTreeMap<VrId, VirtualRouter>,
    joined: BTreeSet<(VrId, VrId)>,
    published: BTreeMap<VrId, Vec<Published>>,
    /// For each VR: who has joined which group where.
    memberships: BTreeMap<VrId, BTreeSet<(Pid, Membership)>>,
    /// For each VR: over which interface its best route towards an address of a joined VR leads, if there is any. What
    /// its RIB has not said is not there.
    routes: BTreeMap<VrId, HashMap<IpAddr, Option<InterfaceName>>>,
}

/// The key of a pair of VRs, whichever is named first.
pub fn pair(a: VrId, b: VrId) -> (VrId, VrId) {
    (a.min(b), a.max(b))
}

impl Database {
    /// Puts a configuration in force: VRs with their interfaces, and the joined pairs.
    pub fn configure(&mut self, vrs: BTreeMap<VrId, VirtualRouter>, joined: BTreeSet<(VrId, VrId)>) {
        self.published.retain(|vr, _| vrs.contains_key(vr));
        self.memberships.retain(|vr, _| vrs.contains_key(vr));
        self.routes.retain(|vr, _| vrs.contains_key(vr));
        self.vrs = vrs;
        self.joined = joined;
    }

    /// The VRs.
    pub fn vrs(&self) -> &BTreeMap<VrId, VirtualRouter> {
        &self.vrs
    }

    /// The joined pairs, lower VrID first.
    pub fn joined(&self) -> &BTreeSet<(VrId, VrId)> {
        &self.joined
    }

    /// The VRs that `vr` is joined with.
    pub fn peers(&self, vr: VrId) -> impl Iterator<Item = VrId> {
        self.joined.iter().filter_map(move |&(a, b)| match vr {
            _ if vr == a => Some(b),
            _ if vr == b => Some(a),
            _ => None,
        })
    }

    /// Who listens in `vr`.
    pub fn published(&self, vr: VrId) -> &[Published] {
        self.published.get(&vr).map_or(&[], Vec::as_slice)
    }

    /// A process listens. It takes the place of the same process's earlier listener with the same name and address.
    pub fn publish(&mut self, vr: VrId, new: Published) {
        let list = self.published.entry(vr).or_default();
        list.retain(|old| old.pathname != new.pathname || old.listener.local != new.listener.local);
        list.push(new);
    }

    /// A process listens no longer under `pathname`, at `local`.
    pub fn withdraw(&mut self, vr: VrId, pathname: &Pathname, local: Option<IpAddr>) {
        if let Some(list) = self.published.get_mut(&vr) {
            list.retain(|entry| entry.pathname != *pathname || entry.listener.local != local);
        }
    }

    /// A process joined a group. Whether that changes anything.
    pub fn join(&mut self, vr: VrId, pid: Pid, membership: Membership) -> bool {
        self.memberships.entry(vr).or_default().insert((pid, membership))
    }

    /// A process left a group. Whether that changes anything.
    pub fn leave(&mut self, vr: VrId, pid: Pid, membership: Membership) -> bool {
        self.memberships.get_mut(&vr).is_some_and(|joined| joined.remove(&(pid, membership)))
    }

    /// A process is gone, and all that it published. Whether that changes anything.
    pub fn withdraw_all(&mut self, vr: VrId, pid: Pid) -> bool {
        if let Some(joined) = self.memberships.get_mut(&vr) {
            joined.retain(|(member, _)| *member != pid);
        }
        let Some(list) = self.published.get_mut(&vr) else { return false };
        let before = list.len();
        list.retain(|entry| entry.pid != pid);
        list.len() != before
    }

    /// The RIB of `vr` says where addresses are reached. Whether that changes anything.
    pub fn set_routes(&mut self, vr: VrId, answers: Vec<(IpAddr, Option<InterfaceName>)>) -> bool {
        let routes = self.routes.entry(vr).or_default();
        let mut changed = false;
        for (address, interface) in answers {
            changed |= routes.insert(address, interface.clone()) != Some(interface);
        }
        changed
    }

    /// Addresses that the RIB of `vr` must be asked about: all of the joined VRs. Those on the wire between, too, since
    /// another way may lead there when that is shut.
    pub fn tracked(&self, vr: VrId) -> Vec<IpAddr> {
        let tracked: BTreeSet<IpAddr> = self.peers(vr).flat_map(|peer| self.addresses(peer)).collect();
        tracked.into_iter().collect()
    }

    /// What belongs into the vrFIB of each process of `vr`.
    pub fn vrfib_of(&self, vr: VrId) -> VrFibContent {
        let mut content = VrFibContent::default();
        for peer in self.peers(vr) {
            let (Some(own), Some(far)) = (self.interface(vr, peer), self.interface(peer, vr)) else { continue };
            let Some(peer_router) = self.vrs.get(&peer) else { continue };
            let up = !own.shut && !far.shut;
            content.interfaces.push(InterVrInterface {
                name: own.name.clone(),
                peer_vr: peer,
                peer_name: peer_router.name.clone(),
                addresses: own.all().collect(),
                own_addresses: self.addresses(vr).chain(own.link_local.map(IpAddr::V6)).collect(),
                peer_addresses: self.addresses(peer).chain(far.link_local.map(IpAddr::V6)).collect(),
                lost: self.lost(vr, peer),
                lost_from: self.lost(peer, vr),
                up,
            });
            if up && own.short_circuit && far.short_circuit {
                self.entries(vr, peer, own, far, &mut content.entries);
                self.group_entries(peer, own, far, &mut content.entries);
            }
        }
        content
    }

    /// Entries of `vr` for the listeners of `peer`, over the interface `own`, whose other end is `far`.
    fn entries(&self, vr: VrId, peer: VrId, own: &Interface, far: &Interface, entries: &mut Vec<VrFibEntry>) {
        let routes = self.routes.get(&vr);
        for to in self.addresses(peer).chain(far.link_local.map(IpAddr::V6)) {
            let routed = || routes.and_then(|routes| routes.get(&to)).and_then(Option::as_ref) == Some(&own.name);
            if !is_on_the_wire(to, own, far) && !routed() {
                continue;
            }
            let Some(source) = own.source(to) else { continue };
            let willing = self.published(peer).iter().filter(|published| {
                published.listener.interface.as_ref().is_none_or(|bound| *bound == far.name)
                    && published.listener.local.is_none_or(|local| local == to)
                    && family(&published.pathname) == Some(Family::of(to))
            });
            let mut willing: Vec<&Published> = one_of_each_family(willing.collect());
            willing.sort_by_key(|published| precedence(published));
            entries.extend(willing.into_iter().map(|published| VrFibEntry {
                to,
                listener: published.pathname.clone(),
                generation: published.generation,
                interface: own.name.clone(),
                source,
            }));
        }
    }

    /// Addresses of `peer` that nothing of `vr` reaches, whichever way it might go.
    fn lost(&self, vr: VrId, peer: VrId) -> Vec<IpAddr> {
        let interfaces = self.vrs.get(&peer).map_or(&[][..], |router| &router.interfaces);
        let of_interface = |interface: &Interface| {
            let lost = |address: &IpAddr| interface.shut || !self.reaches(vr, peer, *address);
            interface.all().filter(lost).collect::<Vec<_>>()
        };
        interfaces.iter().flat_map(of_interface).collect()
    }

    /// Whether packets of `vr` reach an address of `peer`, over the wire between or another way. What the RIB has not
    /// said is no reason to cut a connection.
    fn reaches(&self, vr: VrId, peer: VrId, to: IpAddr) -> bool {
        let between = self.interface(vr, peer).zip(self.interface(peer, vr));
        let on_the_wire = between.is_some_and(|(own, far)| is_on_the_wire(to, own, far));
        if on_the_wire && between.is_some_and(|(own, far)| !own.shut && !far.shut) {
            return true;
        }
        match self.routes.get(&vr).and_then(|routes| routes.get(&to)) {
            Some(Some(interface)) => self.carries(vr, interface),
            Some(None) => false,
            None => !on_the_wire,
        }
    }

    /// Whether an interface that a route leads over is up, as far as the configuration says: a RIB hears of it later.
    fn carries(&self, vr: VrId, name: &InterfaceName) -> bool {
        let interfaces = self.vrs.get(&vr).map_or(&[][..], |router| &router.interfaces);
        let Some(own) = interfaces.iter().find(|interface| interface.name == *name) else { return true };
        let far_is_shut = own.peer.and_then(|peer| self.interface(peer, vr)).is_some_and(|far| far.shut);
        !own.shut && !far_is_shut
    }

    /// Entries for the groups that processes of `peer` have joined on `far`.
    fn group_entries(&self, peer: VrId, own: &Interface, far: &Interface, entries: &mut Vec<VrFibEntry>) {
        let mut joined: BTreeMap<(IpAddr, Criteria), Vec<&Published>> = BTreeMap::new();
        for (pid, Membership { criteria, group, interface }) in self.memberships.get(&peer).into_iter().flatten() {
            let pathname = Pathname::endpoint(peer, *pid, *criteria);
            let published = self.published(peer).iter().find(|published| published.pathname == pathname);
            let is_meant = *interface == far.name && family(&pathname) == Some(Family::of(*group));
            if is_meant && group.is_multicast() {
                joined.entry((*group, *criteria)).or_default().extend(published);
            }
        }
        for ((group, _), members) in joined {
            let Some(source) = own.source(group) else { continue };
            entries.extend(one_of_each_family(members).into_iter().map(|published| VrFibEntry {
                to: group,
                listener: published.pathname.clone(),
                generation: published.generation,
                interface: own.name.clone(),
                source,
            }));
        }
    }

    /// The inter-VR interface of `vr` towards `peer`.
    pub fn interface(&self, vr: VrId, peer: VrId) -> Option<&Interface> {
        self.vrs.get(&vr)?.interfaces.iter().find(|interface| interface.peer == Some(peer))
    }

    /// All addresses of a VR whose interface is not shut.
    fn addresses(&self, vr: VrId) -> impl Iterator<Item = IpAddr> {
        let interfaces = self.vrs.get(&vr).map_or(&[][..], |router| &router.interfaces);
        interfaces.iter().filter(|interface| !interface.shut).flat_map(|i| i.addresses.iter().map(IpNet::addr))
    }
}

/// Of publications of the same sockets, which forked processes share, the oldest: it stays the one when another is forked.
fn one_of_each_family(all: Vec<&Published>) -> Vec<&Published> {
    let is_older = |one: &Published, other: &Published| {
        one.generation < other.generation && one.listener.shared == other.listener.shared
    };
    let is_led_to = |one: &&&Published| one.listener.shared.is_empty() || !all.iter().any(|other| is_older(other, one));
    all.iter().filter(is_led_to).copied().collect()
}

/// Whether `to` is an address of `far` in a subnet of `own`, the two ends of an inter-VR interface; or its link-local
/// one, where both have one.
fn is_on_the_wire(to: IpAddr, own: &Interface, far: &Interface) -> bool {
    let is_near = || match is_link_scoped(to) {
        true => own.link_local.is_some(),
        false => own.addresses.iter().any(|net| net.contains(&to)),
    };
    far.all().any(|address| address == to) && is_near()
}

/// Of several processes that are willing, who is led to comes first, as in the stack: who is bound to the address before
/// who is bound to none; then of UDP who was bound last, of everything else who was first. Generations tell which came
/// when, also after a restart of the manager.
fn precedence(published: &Published) -> (bool, u64) {
    let is_udp = matches!(published.listener.criteria, ipc::Criteria::Udp(..));
    let age = if is_udp { u64::MAX - published.generation } else { published.generation };
    (published.listener.local.is_none(), age)
}

fn family(pathname: &Pathname) -> Option<Family> {
    use ipc::Criteria::{Osi, Raw, Tcp, Udp};
    match pathname {
        Pathname::Endpoint { criteria: Tcp(family, _) | Udp(family, _) | Raw(family, _), .. } => Some(*family),
        Pathname::Endpoint { criteria: Osi(_), .. } | Pathname::Service { .. } => None,
    }
}
