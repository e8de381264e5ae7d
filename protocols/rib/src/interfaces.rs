//! The interfaces of the VR, and the connected routes that they give.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipc::InterfaceName;
use ipnet::IpNet;
use stack_api::interface::InterfaceState;

/// All interfaces of the VR.
#[derive(Debug, Default)]
pub struct Interfaces {
    states: BTreeMap<InterfaceName, InterfaceState>,
    own: BTreeSet<IpAddr>,
    connected: BTreeMap<IpNet, InterfaceName>,
}

/// What a change of the interfaces comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct InterfaceChanges {
    /// Interfaces that went up or down.
    pub moved: BTreeSet<InterfaceName>,
    /// Connected subnets that are new or on another interface.
    pub connected: Vec<(IpNet, InterfaceName)>,
    /// Connected subnets that are gone.
    pub disconnected: Vec<IpNet>,
    /// Own addresses that are new or gone.
    pub own: BTreeSet<IpAddr>,
}

impl Interfaces {
    /// These are all interfaces.
    pub fn replace(&mut self, states: Vec<InterfaceState>) -> InterfaceChanges {
        self.change(|map| *map = states.into_iter().map(|state| (state.name.clone(), state)).collect())
    }

    /// This one is new or changed.
    pub fn set(&mut self, state: InterfaceState) -> InterfaceChanges {
        self.change(|map| _ = map.insert(state.name.clone(), state))
    }

    /// This one is gone.
    pub fn remove(&mut self, name: &InterfaceName) -> InterfaceChanges {
        self.change(|map| _ = map.remove(name))
    }

    /// Whether it is there and up.
    pub fn is_up(&self, name: &InterfaceName) -> bool {
        self.states.get(name).is_some_and(|state| state.up)
    }

    /// Whether it is there, up or not.
    pub fn exists(&self, name: &InterfaceName) -> bool {
        self.states.contains_key(name)
    }

    /// Whether the VR itself has this address, on an interface that is up.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeMap<InterfaceName, InterfaceState>)) -> InterfaceChanges {
        let up = self.up();
        change(&mut self.states);
        let moved = self.up().symmetric_difference(&up).cloned().collect();
        let own: BTreeSet<IpAddr> = self.addresses().map(|(_, address)| address.addr()).collect();
        let connected = self.subnets();
        let changes = InterfaceChanges {
            moved,
            connected: connected
                .iter()
                .filter(|(prefix, name)| self.connected.get(prefix) != Some(name))
                .map(|(prefix, name)| (*prefix, name.clone()))
                .collect(),
            disconnected: self.connected.keys().filter(|prefix| !connected.contains_key(prefix)).copied().collect(),
            own: own.symmetric_difference(&self.own).copied().collect(),
        };
        self.own = own;
        self.connected = connected;
        changes
    }

    fn up(&self) -> BTreeSet<InterfaceName> {
        self.states.values().filter(|state| state.up).map(|state| state.name.clone()).collect()
    }

    fn addresses(&self) -> impl Iterator<Item = (&InterfaceName, IpNet)> {
        let up = self.states.values().filter(|state| state.up);
        up.flat_map(|state| state.addresses.iter().map(|address| (&state.name, *address)))
    }

    /// Subnets of all interfaces that are up. One that several interfaces claim belongs to the first by name.
    fn subnets(&self) -> BTreeMap<IpNet, InterfaceName> {
        let mut subnets = BTreeMap::new();
        for (name, address) in self.addresses() {
            // Link-local subnets exist on every interface: no route can tell them apart (RFC 4291 section 2.5.6).
            if !matches!(address, IpNet::V6(v6) if v6.addr().is_unicast_link_local()) {
                subnets.entry(address.trunc()).or_insert_with(|| name.clone());
            }
        }
        subnets
    }
}
