//! The process message: what one process says to another, the same over a channel and over the stack.
//!
//! A connection says the addresses once: they are the terms of the open, and its bytes are the payloads. What
//! [`accept`](crate::Library::accept) returns is therefore the same whether the peer's library or the socket server
//! opened the listener. A datagram says them each time, in a [`ProcessMessage`].

pub use stack_api::datagram::ProcessMessage;
use stack_api::socket::Addresses;

/// The same connection, seen from its other end.
pub(crate) fn reversed(addresses: Addresses) -> Addresses {
    Addresses { source: addresses.destination, destination: addresses.source }
}
