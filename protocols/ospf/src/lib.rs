//! OSPFv2 of a virtual router: RFC 2328, without input or output.
//!
//! [`Ospf`], one `router ospf`, is a [`ProtocolCore`](sdk::core::ProtocolCore), and so is [`Process`], all of a VR: packets, timers, interfaces and the configuration go in;
//! packets, routes and log lines come out. The same core runs in a process of a VR, in a test, and wherever else someone
//! plays the shell.
//!
//! ```text
//!   packets ─▶ packet, auth ─▶ receive.rs ─┬─ hello ──▶ links.rs (fsm.rs, election.rs) ──▶ hellos
//!                                          ├─ descriptions, requests ──▶ adjacency.rs (fsm.rs, neighbor.rs)
//!                                          └─ updates, acknowledgments ─▶ flood.rs ──▶ to the other neighbors
//!   interfaces ─▶ links.rs                                                  │
//!                     │ what is so                                          ▼
//!                     └──▶ originate.rs, summaries.rs ──────────────▶ lsdb.rs, a database an area
//!                             ▲ what other areas are told                   │ changed (RFC 8405)
//!                             └──────────── routes.rs ◀── spf.rs ◀──────────┘
//!                                             └──▶ install.rs ──▶ the RIB
//! ```
//!
//! What it does: broadcast and point-to-point networks, all LSA types with opaque ones flooded (RFC 5250), areas, stub
//! areas and NSSAs (RFC 3101), ranges, a default route told to others, authentication with MD5 and HMAC-SHA (RFC 5709),
//! help for neighbors that restart (RFC 3623), stub router (RFC 6987), back-off (RFC 8405), several ways of equal cost,
//! routes of other protocols told as external ones. What it does not: NBMA and point-to-multipoint networks, virtual links,
//! graceful restart of its own.
//!
//! Read first: `instance.rs` (what goes in and out), `fsm.rs`, `flood.rs`, `originate.rs`.

mod adjacency;
pub mod area;
pub mod auth;
pub mod config;
mod convergence;
pub mod drops;
mod early;
pub mod election;
mod externals;
mod flood;
pub mod fsm;
mod grace;
mod install;
mod instance;
pub mod interface;
pub mod links;
pub mod lsdb;
pub mod neighbor;
mod originate;
pub mod packet;
mod process;
mod protection;
mod receive;
mod reconfigure;
mod rival;
pub mod routes;
mod run;
pub mod show;
mod spf;
mod summaries;
mod topology;

pub use config::declaration;
pub use instance::Ospf;
pub use process::Process;
pub use run::run;
