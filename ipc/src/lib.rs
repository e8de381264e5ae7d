//! How the processes of Isthmus name, find and talk to each other.
//!
//! The room knows no router: it offers names ([`Pathname`]), channels in shared memory, typed messages over them, and
//! the process's link to procmgr, over which channels are opened and published. It never interprets what a channel
//! carries.
//!
//! ```text
//!   a process                       procmgr                      another process
//!   ┌───────────────┐  open /2/rib  ┌─────────┐  incoming        ┌───────────────┐
//!   │ Reactor, Link ├──────────────▶│ broker  ├─────────────────▶│ Link, Reactor │
//!   │               │◀──── one end ─┤         ├─── other end ───▶│               │
//!   │ Channel       │               └─────────┘                  │ Channel       │
//!   └──────┬────────┘                                            └───────┬───────┘
//!          └──────────── two rings in one sealed memfd, two bells ────────┘
//! ```
//!
//! Read first: `pathname` (what is named), `channel` (what is opened), `link` (how), `service` (a client that survives
//! the restart of what it talks to).

pub mod channel;
pub mod doorbell;
pub mod error;
pub mod fd;
pub mod link;
pub mod memory;
pub mod message;
pub mod name;
pub mod pathname;
pub mod protocol;
pub mod queue;
pub mod reactor;
pub mod ring;
pub mod service;
pub mod terms;
mod turn;

pub use name::{InterfaceName, NameError, ServiceName, VrName};
pub use pathname::{Criteria, Family, IpProtocol, OsiProtocol, Pathname, PathnameError, Pid, VrId};
