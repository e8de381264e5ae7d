//! The RIB of one VR: which of the routes that protocols offer are in force, and where they lead.
//!
//! ```text
//!   config ── static routes ──┐                        ┌── batches ──▶ stack: FIB
//!   stack ─── interfaces ─────┤   table    resolve     │
//!   bgp, ospf … ── routes ────┼─▶ candidates ─▶ best ──┼── tracked next hops, prefixes ──▶ bgp, ospf …
//!   vrmgr ─── addresses ──────┘                        └── outgoing interfaces ──▶ vrmgr
//! ```
//!
//! The core does no input or output and takes the time as an argument. Read first: [`instance`] (what goes in and comes
//! out), [`table`] (routes and their order), [`resolve`] (what a next hop is), [`routes`] (how the two are kept
//! consistent), [`download`] (the FIB), [`run`](mod@run) (the process).

pub mod config;
pub mod download;
pub mod error;
pub mod hops;
pub mod instance;
pub mod interfaces;
pub mod protocols;
pub mod redistribute;
pub mod resolve;
pub mod routes;
pub mod run;
pub mod show;
pub mod static_routes;
pub mod table;
pub mod track;
pub mod unused;
pub mod validate;

pub use config::declaration;
pub use run::run;

#[cfg(test)]
mod tests;
