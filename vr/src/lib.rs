//! Virtual routers as the administrator and their users see them: configuration, the VR connection manager, the shell.
//!
//! The room knows no routing protocol by name. The words of a protocol's configuration and its `show` tables are data
//! that its class declares; `config` sends a process its own block as a tree, and the shell asks procmgr's directory
//! who answers a table. What the processes of this room say to others is defined in `vr/api`.
//!
//! ```text
//!   operator ──▶ shell ──show──▶ any process
//!                  │
//!                change
//!                  ▼
//!   file ──────▶ config ──blocks──▶ manager, stack, rib, bgp, ...
//! ```
//!
//! Read first: [`config`].

pub mod config;
pub mod error;
pub mod manager;
pub mod shell;
