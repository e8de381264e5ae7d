//! The interfaces as the workers see them: a table that the control thread replaces as a whole.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use ipc::VrId;

use crate::ids::{IfIndex, PortId};
use crate::persistent::Chunked;
use crate::wire::ethernet::MacAddress;

/// What is behind an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// A port of a line card.
    Port(PortId),
    /// Nothing: it only has addresses.
    Loopback,
    /// Another VR of this box.
    InterVr {
        /// The other VR's end.
        peer: IfIndex,
    },
}

/// One interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// VR that it belongs to.
    pub vr: VrId,
    /// What is behind it.
    pub link: Link,
    /// Whether it may be used: not shut, and its medium is there.
    pub up: bool,
    /// IP MTU in bytes.
    pub mtu_bytes: u32,
    /// MAC address of its port; unspecified where it has none.
    pub mac: MacAddress,
    /// IPv6 link-local address, where it has one.
    pub link_local: Option<Ipv6Addr>,
}

/// All interfaces. Copies share what did not change.
#[derive(Debug, Clone)]
pub struct InterfaceTable {
    interfaces: Chunked<Option<Interface>>,
    ports: HashMap<PortId, IfIndex>,
}

impl Default for InterfaceTable {
    fn default() -> Self {
        InterfaceTable { interfaces: Chunked::new(), ports: HashMap::new() }
    }
}

impl InterfaceTable {
    /// No interfaces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an interface, or replaces it.
    pub fn set(&mut self, index: IfIndex, interface: Interface) {
        self.remove(index);
        if let Link::Port(port) = interface.link {
            self.ports.insert(port, index);
        }
        self.interfaces.set(index.slot(), Some(interface), &None);
    }

    /// Removes an interface.
    pub fn remove(&mut self, index: IfIndex) {
        self.ports.retain(|_, owner| *owner != index);
        if let Some(place) = self.interfaces.get_mut(index.slot()) {
            *place = None;
        }
    }

    /// One interface.
    pub fn get(&self, index: IfIndex) -> Option<&Interface> {
        self.interfaces.get(index.slot())?.as_ref()
    }

    /// The interface that a port belongs to.
    pub fn of_port(&self, port: PortId) -> Option<(IfIndex, &Interface)> {
        let index = *self.ports.get(&port)?;
        Some((index, self.get(index)?))
    }

    /// The port of an interface that has one.
    pub fn port_of(&self, index: IfIndex) -> Option<PortId> {
        match self.get(index)?.link {
            Link::Port(port) => Some(port),
            Link::Loopback | Link::InterVr { .. } => None,
        }
    }
}

/// The published table. Clones share it; one thread publishes.
#[derive(Debug, Clone, Default)]
pub struct Interfaces(Arc<ArcSwap<InterfaceTable>>);

impl Interfaces {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts another table in place.
    pub fn publish(&self, table: InterfaceTable) {
        self.0.store(Arc::new(table));
    }

    /// The newest table, to be held for one vector and not longer.
    pub fn view(&self) -> Guard<Arc<InterfaceTable>> {
        self.0.load()
    }
}
