//! The interfaces of the VR, as the stack tells them.
//!
//! While the stack's process is away, interfaces are as they were: nobody is told that they went down. When it is back,
//! its snapshot is compared with what was told, and the differences are told.

use std::collections::BTreeMap;

use ipc::InterfaceName;
use ipc::message::Schema;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ServiceClient};
use stack_api::Terms;
use stack_api::interface::{InterfaceEvent, InterfaceState, Nothing, SCHEMA};

use crate::config_client::router_service;
use crate::error::ShellError;

/// A subscription to the interfaces of the own VR.
#[derive(Debug)]
pub struct InterfaceClient {
    client: ServiceClient<Nothing, InterfaceEvent>,
    current: bool,
}

impl InterfaceClient {
    /// A subscription, opened at once.
    pub fn new(reactor: &mut Reactor) -> Result<Self, ShellError> {
        let terms = postcard::to_stdvec(&Terms::Interfaces).map_err(ShellError::Subscription)?;
        let mut client = ServiceClient::new(router_service("stack"), terms, Schema::new(SCHEMA));
        client.start(reactor)?;
        Ok(Self { client, current: false })
    }

    /// Takes an event if it is this client's; call [`poll`](Self::poll) afterwards until `None`.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        self.client.handle(reactor, event)
    }

    /// What the stack said.
    pub fn poll(&mut self, reactor: &mut Reactor) -> Option<InterfaceEvent> {
        loop {
            match self.client.poll(reactor)? {
                ClientEvent::Message(event) => {
                    self.current |= matches!(event, InterfaceEvent::Snapshot(_));
                    return Some(event);
                }
                ClientEvent::Up | ClientEvent::Down => self.current = false,
            }
        }
    }

    /// Whether the stack that is there now has told its interfaces.
    pub fn is_current(&self) -> bool {
        self.current
    }
}

/// One interface is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceChange {
    /// New or changed.
    Set(InterfaceState),
    /// Gone.
    Removed(InterfaceName),
}

/// What has been told so far.
#[derive(Debug, Default)]
pub struct KnownInterfaces {
    states: BTreeMap<InterfaceName, InterfaceState>,
    complete: bool,
}

impl KnownInterfaces {
    /// Whether a snapshot has come.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What an event changes: those that are gone first.
    pub fn update(&mut self, event: InterfaceEvent) -> Vec<InterfaceChange> {
        match event {
            InterfaceEvent::Changed(state) => self.set(state).into_iter().collect(),
            InterfaceEvent::Removed { name, .. } => self.remove(name).into_iter().collect(),
            InterfaceEvent::Snapshot(states) => {
                self.complete = true;
                let gone = self.states.keys().filter(|name| states.iter().all(|state| state.name != **name));
                let gone: Vec<InterfaceName> = gone.cloned().collect();
                let mut changes: Vec<_> = gone.into_iter().filter_map(|name| self.remove(name)).collect();
                changes.extend(states.into_iter().filter_map(|state| self.set(state)));
                changes
            }
        }
    }

    fn set(&mut self, state: InterfaceState) -> Option<InterfaceChange> {
        let old = self.states.insert(state.name.clone(), state.clone());
        (old.as_ref() != Some(&state)).then_some(InterfaceChange::Set(state))
    }

    fn remove(&mut self, name: InterfaceName) -> Option<InterfaceChange> {
        self.states.remove(&name).map(|_| InterfaceChange::Removed(name))
    }
}

#[cfg(test)]
mod tests {
    use ipc::VrName;
    use stack_api::interface::InterfaceKind;

    use super::*;

    fn state(name: &str, up: bool) -> InterfaceState {
        InterfaceState {
            vr: VrName::new("red").unwrap(),
            name: InterfaceName::new(name).unwrap(),
            kind: InterfaceKind::Port,
            addresses: Vec::new(),
            link_local: None,
            mtu: 1500,
            up,
            mac: None,
        }
    }

    #[test]
    fn a_snapshot_of_a_restarted_stack_tells_only_what_is_different() {
        let mut known = KnownInterfaces::default();
        assert!(!known.is_complete());
        let first = known.update(InterfaceEvent::Snapshot(vec![state("blue", true), state("green", true)]));
        assert_eq!(first.len(), 2);
        assert!(known.is_complete());
        let again = InterfaceEvent::Snapshot(vec![state("blue", true), state("green", true)]);
        assert_eq!(known.update(again), []);
        let other = InterfaceEvent::Snapshot(vec![state("blue", false), state("grey", true)]);
        let green = InterfaceName::new("green").unwrap();
        assert_eq!(
            known.update(other),
            [
                InterfaceChange::Removed(green),
                InterfaceChange::Set(state("blue", false)),
                InterfaceChange::Set(state("grey", true))
            ]
        );
    }

    #[test]
    fn what_is_known_is_not_told_again() {
        let mut known = KnownInterfaces::default();
        known.update(InterfaceEvent::Snapshot(vec![state("blue", true)]));
        assert_eq!(known.update(InterfaceEvent::Changed(state("blue", true))), []);
        let removed = |name: &str| InterfaceEvent::Removed {
            vr: VrName::new("red").unwrap(),
            name: InterfaceName::new(name).unwrap(),
        };
        assert_eq!(known.update(removed("green")), []);
        assert_eq!(known.update(removed("blue")).len(), 1);
    }
}
