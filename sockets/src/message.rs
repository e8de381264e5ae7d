//! The process message: what one process says to another, the same over a channel and over the stack.

use stack_api::socket::Addresses;

/// A payload with the address and port of who sent it and of who is meant.
///
/// A connection says the addresses once: they are the terms of the open, and its bytes are the payloads. What
/// [`accept`](crate::Library::accept) returns is therefore the same whether the peer's library or the socket server
/// opened the listener. A datagram says them each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessMessage {
    /// Who sends, who is meant.
    pub addresses: Addresses,
    /// What is said.
    pub payload: Vec<u8>,
}

impl ProcessMessage {
    /// The message that answers this one: the addresses change places.
    pub fn answer(&self, payload: Vec<u8>) -> Self {
        Self { addresses: reversed(self.addresses), payload }
    }
}

/// The same connection, seen from its other end.
pub(crate) fn reversed(addresses: Addresses) -> Addresses {
    Addresses { source: addresses.destination, destination: addresses.source }
}
