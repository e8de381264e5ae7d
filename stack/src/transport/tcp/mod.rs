//! TCP (RFC 9293) without input or output: segments, timer expiries and commands in; segments, timers and events out; time is an
//! argument.
//!
//! ```text
//!   handle_segment ──▶ input ───┬──▶ receive ──▶ ReceiveSink: what the application reads
//!                               └──▶ send ◀───── SendSource: what it wrote and the peer has not acknowledged
//!   handle_timeout ──▶ timers ───────▶ │
//!                                      ▼
//!   poll_transmit ◀── output ◀── retransmit, sack, congestion
//! ```
//!
//! A [`Connection`] owns no send buffer: the bytes stay in the ring of the socket's channel, are copied from it as often as they
//! are (re)transmitted, and are consumed there when acknowledged. Only what arrived out of order is kept here, at most a window of
//! it.
//!
//! The caller's duty after each `handle_*`, command or write of the application: [`Connection::poll_transmit`] until `None`,
//! [`Connection::poll_event`] until `None`, then [`Connection::poll_timeout`].
//!
//! Read first: `state.rs`, then `input.rs` downwards.
//!
//! Not built: urgent data (the bit is ignored, RFC 6093), TCP Fast Open, ECN, D-SACK, timestamps-based undo, TCP-AO. MD5 signatures (RFC 2385) are made and checked by the server, which has the keys.

pub mod config;
mod congestion;
pub mod connection;
mod input;
pub mod isn;
mod output;
mod receive;
pub mod reset;
mod retransmit;
mod sack;
mod send;
pub mod state;
mod timers;

#[cfg(test)]
mod tests;

pub use config::{Config, KeepAlive};
pub use connection::{Connection, ConnectionError, Event, Unreachability};
pub use input::SegmentDrop;
pub use isn::IsnGenerator;
pub use output::SegmentOut;
pub use reset::reset_for;
pub use state::State;

/// Where a connection's outgoing bytes lie until the peer has acknowledged them.
pub trait SendSource {
    /// Bytes there, from the first unacknowledged one on.
    fn available(&self) -> usize;
    /// Copies from `ahead` bytes past the first unacknowledged one; returns how many. Fewer than available means that the source
    /// broke: nothing more is sent from it.
    fn copy(&self, ahead: usize, into: &mut [u8]) -> usize;
    /// The first `bytes` bytes were acknowledged.
    fn consume(&mut self, bytes: usize);
    /// Whether the application closed its writing side: `available` grows no more.
    fn finished(&self) -> bool;
}

/// Where a connection's incoming bytes go, in order.
pub trait ReceiveSink {
    /// Bytes that can be delivered now.
    fn room(&self) -> usize;
    /// Takes bytes in order; returns how many fitted.
    fn deliver(&mut self, bytes: &[u8]) -> usize;
    /// The peer sends no more: end of file after what was delivered.
    fn finish(&mut self);
}
