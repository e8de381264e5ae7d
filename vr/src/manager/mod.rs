//! The VR connection manager: which virtual routers there are, who is joined, who is willing to communicate.
//!
//! ```text
//!  config ── VRs, connect, addresses ──▶ ┌───────────────────────────────┐ ── VRs, classes, endpoints ──▶ procmgr
//!  libraries ── publish ───────────────▶ │ mapping: name → VrID          │
//!  ribs ── best route to an address ───▶ │ connections: entry per pair   │ ── copies ──▶ vrFIB of every process
//!                                        └───────────────────────────────┘               (distribute)
//! ```
//!
//! Read `mapping`, `connections`, `distribute`, then `instance` (what follows from what) and `run` (the process).

pub mod connections;
pub mod desired;
pub mod distribute;
pub mod instance;
pub mod mapping;
pub mod run;
pub mod show;
#[cfg(test)]
mod tests;
