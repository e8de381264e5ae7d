//! The SDK that every routing protocol of Isthmus is written with, ours and yours.
//!
//! A protocol is a [`ProtocolCore`](core::ProtocolCore): a state machine without input or output. The shell runs a core in a process of a VR:
//! it joins the core to sockets, timers, the configuration, the RIB and `show`. The same core runs in a unit test,
//! where the test plays the shell, and in a recorded case, which is text.
//!
//! Read first: `core` (the trait and what passes through it), `rib` (routes), `shell` (the process around a core),
//! `program` (a protocol of your own as a program).
//!
//! What a core handles is re-exported, so that a protocol depends on this crate alone: names and addresses, the words of
//! a configuration ([`command`]), a configuration ([`config`]), tables ([`show`]), [`interface`]s and [`datagram`]s.

pub mod config_client;
pub mod connections;
pub mod core;
pub mod datagrams;
pub mod error;
pub mod interface_client;
pub mod outbox;
pub mod program;
pub mod recorded;
pub mod redistribution;
pub mod rib;
pub mod rib_client;
pub mod shell;
pub mod show_server;
pub mod timers;

pub use ipc::{InterfaceName, IpProtocol, ServiceName, VrName};
pub use ipnet;
pub use log;
pub use stack_api::{datagram, interface, options, socket};
pub use vr_api::{command, config, show};
