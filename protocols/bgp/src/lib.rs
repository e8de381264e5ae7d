//! BGP-4 of a virtual router: RFC 4271, without input or output.
//!
//! [`Bgp`] is a [`ProtocolCore`](sdk::core::ProtocolCore): bytes of connections, timers, the RIB's answers and the
//! configuration go in; bytes, connections, routes and log lines come out. The same core runs in a process of a VR, in a
//! test, and wherever else someone plays the shell.
//!
//! ```text
//!     bytes            ┌──────────── neighbor.rs ────────────┐
//!   ────────▶ packet ─▶│ fsm.rs (main, and a rival while two │
//!                      │ connections collide)                │
//!                      └──────────────┬──────────────────────┘
//!                                     │ UPDATE (updates.rs: usable?)
//!                                     ▼
//!   network P, ──────▶ loc_rib.rs: all paths by prefix ──▶ decision.rs: the best
//!   RIB has P                 │                      ▲
//!                             │ changed prefixes     │ next_hop.rs: reachable, at what metric
//!               ┌─────────────┴─────────┐            │
//!               ▼                       ▼            │
//!   advertise.rs, adj_rib.rs:      routes for the RIB, which answers
//!   UPDATEs for each neighbor
//! ```
//!
//! What it does: IPv4 unicast; capabilities (RFC 5492); AS numbers of four octets, also with old speakers (RFC 6793);
//! revised error handling (RFC 7606); no routes with external neighbors that have no policy (RFC 8212); route refresh
//! as the answering side (RFC 2918); the End-of-RIB marker (RFC 4724). What it does not: route reflection,
//! confederations, other address families, multipath, graceful restart.
//!
//! Restart of this process: the RIB keeps the routes of the process before as stale until
//! [`EndOfRoutes`](sdk::rib::RibRequest::EndOfRoutes). That is sent once every neighbor has sent its End-of-RIB marker and
//! the RIB has spoken about every next hop, or after 30 s, so that forwarding goes on meanwhile.
//!
//! Read first: `instance.rs` (what goes in and out), `neighbor.rs`, `loc_rib.rs`.

pub mod adj_rib;
pub mod advertise;
pub mod config;
pub mod decision;
pub mod fsm;
mod instance;
pub mod loc_rib;
pub mod neighbor;
pub mod next_hop;
pub mod outbox;
pub mod packet;
pub mod policy;
mod reconfigure;
mod redistribution;
mod run;
pub mod show;
mod updates;

pub use config::declaration;
pub use instance::Bgp;
pub use run::run;
