//! The SDK that every routing protocol of Isthmus is written with, ours and yours.
//!
//! A protocol is a [`ProtocolCore`](core::ProtocolCore): a state machine without input or output. The shell runs a core in a process of a VR:
//! it joins the core to sockets, timers, the configuration, the RIB and `show`. The same core runs in a unit test,
//! where the test plays the shell.
//!
//! Read first: `core` (the trait and what passes through it), `rib` (routes), `shell` (the process around a core).

pub mod config_client;
pub mod connections;
pub mod core;
pub mod datagrams;
pub mod error;
pub mod interface_client;
pub mod redistribution;
pub mod rib;
pub mod rib_client;
pub mod shell;
pub mod show_server;
pub mod timers;
