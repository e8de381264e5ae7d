//! A protocol's channel to the RIB of its VR.

use ipc::message::Schema;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ServiceClient};
use ipc::{Pathname, ServiceName, VrId};

use crate::error::ShellError;
use crate::rib::{RibRequest, RibUpdate, RouteChange, SCHEMA};

/// Changes in one message, so that it stays a small record even where each has many next hops.
const MAX_CHANGES: usize = 250;

/// A client of `/VR/rib`.
#[derive(Debug)]
pub struct RibClient {
    client: ServiceClient<RibRequest, RibUpdate>,
}

/// What the RIB did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RibEvent {
    /// It is there, and knows nothing of this protocol.
    Restarted,
    /// It said something.
    Update(RibUpdate),
}

impl RibClient {
    /// A client of the RIB of `vr`, opened at once.
    pub fn new(reactor: &mut Reactor, vr: VrId) -> Result<Self, ShellError> {
        // Cannot fail: letters are a name.
        let name = ServiceName::new("rib").expect("letters are a name");
        let mut client = ServiceClient::new(Pathname::service(vr, name), Vec::new(), Schema::new(SCHEMA));
        client.start(reactor)?;
        Ok(Self { client })
    }

    /// Takes an event if it is this client's; call [`poll`](Self::poll) afterwards until `None`.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        self.client.handle(reactor, event)
    }

    /// What the RIB did.
    pub fn poll(&mut self, reactor: &mut Reactor) -> Option<RibEvent> {
        loop {
            match self.client.poll(reactor)? {
                ClientEvent::Up => return Some(RibEvent::Restarted),
                ClientEvent::Message(update) => return Some(RibEvent::Update(update)),
                ClientEvent::Down => {}
            }
        }
    }

    /// Sends a request. While the RIB is away it is dropped: all is said again after [`RibEvent::Restarted`].
    pub fn send(&mut self, request: RibRequest) {
        for part in parts(request) {
            self.client.send(&part);
        }
    }
}

/// A request in messages of bounded size.
fn parts(request: RibRequest) -> Vec<RibRequest> {
    match request {
        RibRequest::Routes(mut changes) if changes.len() > MAX_CHANGES => {
            let mut parts = Vec::with_capacity(changes.len().div_ceil(MAX_CHANGES));
            while !changes.is_empty() {
                let rest: Vec<RouteChange> = changes.split_off(changes.len().min(MAX_CHANGES));
                parts.push(RibRequest::Routes(std::mem::replace(&mut changes, rest)));
            }
            parts
        }
        request => vec![request],
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;

    #[test]
    fn many_changes_go_in_parts_and_in_order() {
        let prefix = |n: u32| IpNet::new(std::net::Ipv4Addr::from(n << 8).into(), 24).unwrap();
        let all: Vec<RouteChange> = (0..1001).map(|n| RouteChange::Remove(prefix(n))).collect();
        let mut sent = Vec::new();
        for part in parts(RibRequest::Routes(all.clone())) {
            let RibRequest::Routes(changes) = part else { panic!("{part:?}") };
            assert!((1..=MAX_CHANGES).contains(&changes.len()));
            sent.extend(changes);
        }
        assert_eq!(sent, all);
        assert_eq!(parts(RibRequest::EndOfRoutes), [RibRequest::EndOfRoutes]);
    }
}
