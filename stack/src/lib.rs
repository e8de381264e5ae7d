//! The socket server and everything under it.
//!
//! ```text
//!   processes ── channel a socket ──┐                       ┌── FIB download, punt, inject ──┐
//!                                   ▼                       ▼                                ▼
//!                     server ── transport ── internet ── fib, ifib ── linecard: FP Rx ─ FP Tx ── media ── wire
//!                               tcp, ports   ip, icmp,    one for     stages on vectors          cable,
//!                                            arp          all VRs     of packets                 AF_PACKET
//! ```
//!
//! What meets here: a connection that missed the vrFIB, and every packet that a port receives. What does not: connections between
//! two VRs of this box that hit; of those the stack sees no byte.
//!
//! Read first: [`wire`] for the packets, [`transport::tcp`] for the one part with a long memory.

pub mod control;
pub mod counters;
pub mod fib;
pub mod ids;
pub mod ifib;
pub mod interfaces;
pub mod internet;
pub mod linecard;
pub mod media;
pub mod packet;
mod persistent;
pub mod policer;
pub mod run;
pub mod server;
pub mod time;
pub mod transport;
pub mod wire;
