//! The control side of the data plane: it fills the tables that line cards read, and handles what they punt.
//!
//! ```text
//!   config ─▶ config ─▶ topology ──┐                          ┌─▶ interfaces, FIB, IFIB ─▶ line cards
//!   rib ───▶ routes ───────────────┼─▶ plane (writers, buffers)                              │
//!   punts ◀────────────────────────┘        ▲                                                │
//!     └─▶ input: ARP, fragments ────────────┘ inject                           punt ◀────────┘
//!         nd, icmp
//! ```
//!
//! Everything here is told the time and does no waiting; TCP segments go on to the socket server.

pub mod config;
pub mod groups;
mod icmp;
pub mod input;
mod nd;
pub mod plane;
pub mod probe;
pub mod routes;
pub mod topology;

#[cfg(test)]
mod tests;
