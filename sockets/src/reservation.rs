//! Ports of TCP sockets that are bound and neither listen nor connect yet.
//!
//! The VR's port space is the socket server's: who wants to know at bind(2) whether the port is free, as Linux tells it,
//! reserves it there. A listener that follows says the same number, and so does that of a forked child.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use ipc::{Criteria, Family, InterfaceName};
use stack_api::socket::{PortReservation, SocketError, SocketRequest};

use crate::library::{Library, LibraryEvent};
use crate::socket::SocketId;

/// A port that is reserved, or asked for.
#[derive(Debug, Clone)]
pub(crate) struct Reservation {
    wanted: PortReservation,
    /// `None`: the socket server has not said.
    answer: Option<Result<u16, SocketError>>,
}

impl Library {
    /// Asks the socket server for a TCP port (0: one of its choice) on an address, or on all of its family, before anything
    /// listens there.
    /// [`LibraryEvent::PortAnswered`] follows, at once or when the stack is there, and then
    /// [`port_answer`](Self::port_answer) tells the outcome. A [`listen`](Self::listen) at the same address and port uses
    /// the reservation; [`close`](Self::close) gives it back. `reuse`: sockets of other processes that ask so too may
    /// have the port, until one of them listens.
    pub fn reserve_port(&mut self, address: SocketAddr, interface: Option<InterfaceName>, reuse: bool) -> SocketId {
        let id = self.new_id();
        let local = (!address.ip().is_unspecified()).then_some(address.ip());
        // Keyed by the system's random numbers.
        let number = RandomState::new().hash_one(id.0);
        let (family, port) = (Family::of(address.ip()), address.port());
        let wanted = PortReservation { number, family, local, interface, port, reuse };
        self.reservations.insert(id, Reservation { wanted, answer: None });
        self.ask_for_reservation(id);
        id
    }

    /// What the socket server has said to a [`reserve_port`](Self::reserve_port): the port. `None`: nothing yet.
    pub fn port_answer(&self, reservation: SocketId) -> Option<Result<u16, SocketError>> {
        match self.reservations.get(&reservation) {
            Some(reservation) => reservation.answer,
            None => Some(Err(SocketError::InvalidArgument)),
        }
    }

    /// Gives a port back.
    pub(crate) fn release_port(&mut self, reservation: SocketId) {
        if let Some(Reservation { wanted, .. }) = self.reservations.remove(&reservation) {
            self.server.send(&SocketRequest::ReleasePort { number: wanted.number });
        }
    }

    /// The number of the reservation that a listener uses, if there is one.
    pub(crate) fn reservation_of(&self, criteria: Criteria, local: Option<IpAddr>) -> Option<u64> {
        let Criteria::Tcp(family, port) = criteria else { return None };
        let is_there =
            |wanted: &&PortReservation| (wanted.family, wanted.local, wanted.port) == (family, local, port.get());
        let given = self.reservations.values().filter(|reservation| matches!(reservation.answer, Some(Ok(_))));
        given.map(|reservation| &reservation.wanted).find(is_there).map(|wanted| wanted.number)
    }

    /// The socket server is there, and knows nothing of this process.
    pub(crate) fn ask_for_reservations(&mut self) {
        let all: Vec<SocketId> = self.reservations.keys().copied().collect();
        all.into_iter().for_each(|reservation| self.ask_for_reservation(reservation));
    }

    fn ask_for_reservation(&mut self, id: SocketId) {
        let ticket = self.new_ask_for_reservation(id);
        let Some(reservation) = self.reservations.get(&id) else { return };
        self.server.send(&SocketRequest::ReservePort { ticket, port: reservation.wanted.clone() });
    }

    /// The socket server has answered. One that came back after a restart may say no to what its predecessor gave: whoever
    /// listens learns it.
    pub(crate) fn reservation_answered(&mut self, id: SocketId, answer: Result<u16, SocketError>) {
        let Some(reservation) = self.reservations.get_mut(&id) else { return };
        reservation.wanted.port = answer.unwrap_or(reservation.wanted.port);
        if reservation.answer.replace(answer).is_none() {
            self.events.push_back(LibraryEvent::PortAnswered { reservation: id });
        }
    }
}
