//! What the core wants done, in order.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use ipnet::Ipv4Net;
use sdk::core::{ConnectionId, Output};
use sdk::rib::{RibRequest, Route, RouteChange};

/// Changes that one message to the RIB carries at most.
const ROUTES_PER_REQUEST: usize = 1000;

/// The queue of outputs, and whose connections there are.
#[derive(Debug, Default)]
pub struct Outbox {
    outputs: VecDeque<Output>,
    last_connection: u32,
    owners: HashMap<ConnectionId, IpAddr>,
    /// Whether there is a RIB that listens. Without one nothing is kept for it: a new RIB gets everything.
    pub rib: RibLink,
    changes: Vec<RouteChange>,
}

/// Whether the RIB has been seen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RibLink {
    /// Not yet.
    #[default]
    Never,
    /// It is there, or was and will announce itself when it is back.
    Seen,
}

impl Outbox {
    /// Adds an output that is not about a connection's life.
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The next output.
    pub fn pop(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A line for the log.
    pub fn log(&mut self, level: log::Level, text: String) {
        self.push(Output::Log { level, text });
    }

    /// Sends bytes, if there are any.
    pub fn send(&mut self, connection: ConnectionId, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.push(Output::Send { connection, bytes });
        }
    }

    /// A number for a connection of ours: the highest bit is the shell's.
    pub fn fresh_connection(&mut self) -> ConnectionId {
        self.last_connection = self.last_connection.wrapping_add(1) & 0x7fff_ffff;
        ConnectionId(self.last_connection)
    }

    /// Opens a connection to a neighbor.
    pub fn connect(&mut self, connection: ConnectionId, to: SocketAddr, from: Option<IpAddr>, ttl: u8) {
        self.owners.insert(connection, to.ip());
        self.push(Output::Connect { connection, to, from, ttl });
    }

    /// A neighbor opened a connection.
    pub fn accepted(&mut self, connection: ConnectionId, neighbor: IpAddr) {
        self.owners.insert(connection, neighbor);
    }

    /// Closes a connection.
    pub fn close(&mut self, connection: ConnectionId) {
        self.owners.remove(&connection);
        self.push(Output::Close { connection });
    }

    /// A connection is closed; whose it was.
    pub fn closed(&mut self, connection: ConnectionId) -> Option<IpAddr> {
        self.owners.remove(&connection)
    }

    /// The neighbor behind a connection that is not closed.
    pub fn owner(&self, connection: ConnectionId) -> Option<IpAddr> {
        self.owners.get(&connection).copied()
    }

    /// A message to the RIB.
    pub fn rib(&mut self, request: RibRequest) {
        if self.rib == RibLink::Seen {
            self.flush_routes();
            self.push(Output::Rib(request));
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
            self.push(Output::Rib(RibRequest::Routes(changes)));
        }
    }
}
