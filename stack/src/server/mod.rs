//! The socket server: TCP for the connections that missed the vrFIB, UDP and raw IP for the datagrams that did.
//!
//! ```text
//!   library ── open /0/stack, Connect ──▶ tcp ── segments ──▶ plane (FIB, line cards)
//!   library ◀── open of its listener ──── tcp ◀── punted ──── input
//!           channel of the socket: pipe ──┘
//! ```
//!
//! A connection keeps no send buffer: what a process wrote stays in the ring of its channel until it is acknowledged.
//! Read first: `tcp`, then `pipe`; `connect` and `listener` are how connections begin, `requests` is what libraries ask for
//! beside connections, `options` for what a socket was
//! told to do otherwise, `datagram` for sockets without connections.

mod connect;
mod datagram;
mod listener;
mod options;
mod pipe;
mod requests;
mod segment;
mod tcp;
#[cfg(test)]
mod tests;

pub use datagram::Datagrams;
pub use tcp::{Server, SocketRow};
