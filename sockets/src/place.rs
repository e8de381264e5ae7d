//! Ports of TCP sockets that are bound and neither listen nor connect yet.
//!
//! The VR's port space is the socket server's: who wants to know at bind(2) whether the port is free, as Linux tells it,
//! asks there, and keeps it. A listener that follows says the same number, and so does that of a forked child.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use ipc::{Criteria, Family, InterfaceName};
use stack_api::socket::{KeptPort, SocketError, SocketRequest};

use crate::library::{Library, LibraryEvent};
use crate::socket::SocketId;

/// A port that is kept, or asked for.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    wanted: KeptPort,
    /// `None`: the socket server has not said.
    answer: Option<Result<u16, SocketError>>,
}

impl Library {
    /// Asks the socket server for a TCP port (0: one of its choice) on an address, or on all of its family, before anything
    /// listens there.
    /// [`LibraryEvent::PortAnswered`] follows, at once or when the stack is there, and then
    /// [`port_answer`](Self::port_answer) tells the outcome. A [`listen`](Self::listen) at the same address and port is in
    /// this place; [`close`](Self::close) gives it back. `reuse`: sockets of other processes that ask so too may have the port, until one of them listens.
    pub fn keep_port(&mut self, address: SocketAddr, interface: Option<InterfaceName>, reuse: bool) -> SocketId {
        let id = self.new_id();
        let local = (!address.ip().is_unspecified()).then_some(address.ip());
        // Keyed by the system's random numbers.
        let place = RandomState::new().hash_one(id.0);
        let (family, port) = (Family::of(address.ip()), address.port());
        let wanted = KeptPort { place, family, local, interface, port, reuse };
        self.places.insert(id, Place { wanted, answer: None });
        self.ask_for_place(id);
        id
    }

    /// What the socket server has said to a [`keep_port`](Self::keep_port): the port. `None`: nothing yet.
    pub fn port_answer(&self, place: SocketId) -> Option<Result<u16, SocketError>> {
        match self.places.get(&place) {
            Some(place) => place.answer,
            None => Some(Err(SocketError::InvalidArgument)),
        }
    }

    /// Gives a port back.
    pub(crate) fn leave_port(&mut self, place: SocketId) {
        if let Some(Place { wanted, .. }) = self.places.remove(&place) {
            self.server.send(&SocketRequest::LeavePort { place: wanted.place });
        }
    }

    /// The number of the place that a listener is in, if it is in one.
    pub(crate) fn place_of(&self, criteria: Criteria, local: Option<IpAddr>) -> Option<u64> {
        let Criteria::Tcp(family, port) = criteria else { return None };
        let is_there = |wanted: &&KeptPort| (wanted.family, wanted.local, wanted.port) == (family, local, port.get());
        let kept = self.places.values().filter(|place| matches!(place.answer, Some(Ok(_))));
        kept.map(|place| &place.wanted).find(is_there).map(|wanted| wanted.place)
    }

    /// The socket server is there, and knows nothing of this process.
    pub(crate) fn ask_for_places(&mut self) {
        let all: Vec<SocketId> = self.places.keys().copied().collect();
        all.into_iter().for_each(|place| self.ask_for_place(place));
    }

    fn ask_for_place(&mut self, id: SocketId) {
        let ticket = self.new_ask_for_place(id);
        let Some(place) = self.places.get(&id) else { return };
        self.server.send(&SocketRequest::KeepPort { ticket, port: place.wanted.clone() });
    }

    /// The socket server has answered. One that came back after a restart may say no to what its predecessor gave: whoever
    /// listens learns it.
    pub(crate) fn place_answered(&mut self, id: SocketId, answer: Result<u16, SocketError>) {
        let Some(place) = self.places.get_mut(&id) else { return };
        place.wanted.port = answer.unwrap_or(place.wanted.port);
        if place.answer.replace(answer).is_none() {
            self.events.push_back(LibraryEvent::PortAnswered { place: id });
        }
    }
}
