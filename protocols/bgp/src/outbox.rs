//! What the core wants done, in order, and whose connections there are.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};

use sdk::core::{ConnectionId, Output};

/// The SDK's queue of outputs, with the neighbors behind the connections.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: sdk::outbox::Outbox,
    last_connection: u32,
    owners: HashMap<ConnectionId, IpAddr>,
}

impl Deref for Outbox {
    type Target = sdk::outbox::Outbox;
    fn deref(&self) -> &Self::Target {
        &self.queue
    }
}

impl DerefMut for Outbox {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.queue
    }
}

impl Outbox {
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
}
