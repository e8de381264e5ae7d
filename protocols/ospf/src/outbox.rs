//! What the core wants done, in order.

use std::collections::VecDeque;

use ipnet::Ipv4Net;
use log::Level;
use sdk::core::{DatagramCommand, DatagramSocket, Output};
use sdk::rib::{RibRequest, Route, RouteChange};

/// The one raw socket of OSPF.
pub const SOCKET: DatagramSocket = DatagramSocket(0);

/// Changes that one message to the RIB carries at most.
const ROUTES_PER_REQUEST: usize = 1000;

/// Whether the RIB has been seen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RibLink {
    /// Not yet.
    #[default]
    Never,
    /// It is there, or was and will announce itself when it is back.
    Seen,
}

/// The queue of outputs.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: VecDeque<Output>,
    /// Whether there is a RIB that listens. Without one nothing is kept for it: a new RIB gets everything.
    pub rib: RibLink,
    changes: Vec<RouteChange>,
}

impl Outbox {
    /// The next output.
    pub fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A line for the log.
    pub fn log(&mut self, level: Level, text: String) {
        self.outputs.push_back(Output::Log { level, text });
    }

    /// Something about the socket.
    pub fn socket(&mut self, command: DatagramCommand) {
        self.outputs.push_back(Output::Datagram { socket: SOCKET, command });
    }

    /// A message to the RIB.
    pub fn rib(&mut self, request: RibRequest) {
        if self.rib == RibLink::Seen {
            self.flush_routes();
            self.outputs.push_back(Output::Rib(request));
        }
    }

    /// A route for the RIB.
    pub fn add_route(&mut self, route: Route) {
        self.change(RouteChange::Add(route));
    }

    /// A route that the RIB is to forget.
    pub fn remove_route(&mut self, prefix: Ipv4Net) {
        self.change(RouteChange::Remove(prefix.into()));
    }

    fn change(&mut self, change: RouteChange) {
        if self.rib == RibLink::Seen {
            self.changes.push(change);
            if self.changes.len() >= ROUTES_PER_REQUEST {
                self.flush_routes();
            }
        }
    }

    /// Sends the routes that were collected.
    pub fn flush_routes(&mut self) {
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.outputs.push_back(Output::Rib(RibRequest::Routes(changes)));
        }
    }
}
