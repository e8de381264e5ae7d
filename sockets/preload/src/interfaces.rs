//! The VR's interfaces, as the stack tells them: by number, name and address.
//!
//! A process asks for them when a program first wants to know; from then on changes come by themselves. Numbers are given
//! in the order of names, from 1 on, so that the programs of a VR agree about them; what comes later gets later ones.

use std::time::{Duration, Instant};

use ipc::message::Schema;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ServiceClient};
use ipc::{InterfaceName, Pathname, ServiceName, VrId};
use nix::errno::Errno;
use stack_api::Terms;
use stack_api::interface::{InterfaceEvent, InterfaceState, Nothing, SCHEMA};

use crate::process::Process;

/// How long the first question waits for a stack that is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the VR's interfaces.
#[derive(Debug, Default)]
pub struct Interfaces {
    client: Option<ServiceClient<Nothing, InterfaceEvent>>,
    /// By number, from 1 on; a place is empty where an interface is gone.
    known: Vec<(InterfaceName, Option<InterfaceState>)>,
    is_whole: bool,
}

impl Interfaces {
    /// Takes an event if it is about interfaces.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        let Some(client) = &mut self.client else { return Some(event) };
        let left = client.handle(reactor, event);
        while let Some(news) = client.poll(reactor) {
            match news {
                // What was known holds until a new stack tells all anew.
                ClientEvent::Up | ClientEvent::Down => {}
                ClientEvent::Message(InterfaceEvent::Snapshot(mut all)) => {
                    all.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
                    self.known.iter_mut().for_each(|(_, state)| *state = None);
                    self.is_whole = true;
                    all.into_iter().for_each(|state| put(&mut self.known, state));
                }
                ClientEvent::Message(InterfaceEvent::Changed(state)) => put(&mut self.known, state),
                ClientEvent::Message(InterfaceEvent::Removed { name, .. }) => {
                    let gone = self.known.iter_mut().filter(|(known, _)| *known == name);
                    gone.for_each(|(_, state)| *state = None);
                }
            }
        }
        left
    }

    fn start(&mut self, reactor: &mut Reactor) -> Result<(), Errno> {
        if self.client.is_some() {
            return Ok(());
        }
        let name = ServiceName::new("stack").map_err(|_| Errno::EINVAL)?;
        let terms = postcard::to_stdvec(&Terms::Interfaces).map_err(|_| Errno::EINVAL)?;
        let mut client = ServiceClient::new(Pathname::service(VrId::ROUTER, name), terms, Schema::new(SCHEMA));
        client.start(reactor).map_err(|_| Errno::ENETDOWN)?;
        self.client = Some(client);
        Ok(())
    }
}

fn put(known: &mut Vec<(InterfaceName, Option<InterfaceState>)>, state: InterfaceState) {
    match known.iter_mut().find(|(name, _)| *name == state.name) {
        Some((_, place)) => *place = Some(state),
        None => known.push((state.name.clone(), Some(state))),
    }
}

impl Process {
    /// The VR's interfaces with their numbers. The first question waits for the stack.
    pub fn interfaces(&mut self) -> Result<Vec<(u32, InterfaceState)>, Errno> {
        let Process { interfaces, reactor, .. } = self;
        interfaces.start(reactor)?;
        let until = Instant::now() + PATIENCE;
        while !self.interfaces.is_whole {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::ENETDOWN);
            }
            self.turn_within(left).map_err(|_| Errno::ENETDOWN)?;
        }
        let numbered = self.interfaces.known.iter().zip(1..);
        Ok(numbered.filter_map(|((_, state), number)| Some((number, state.clone()?))).collect())
    }
}
