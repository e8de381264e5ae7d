//! The first process of a router: it starts, watches, restarts and stops every other one, and knows who publishes what.
//!
//! It carries no data of anybody: an open hands one end of a fresh channel to each side, and procmgr is out of the way.
//! It knows no class by name and no protocol; what runs is a table that it is given.
//!
//! ```text
//!   children: output ──▶ lines ──▶ log ──▶ ring, file
//!             link   ──▶ link ──▶ router/requests ──▶ directory, vrs ──▶ broker ──▶ a channel's two ends
//!             end    ──▶ signals ──▶ router/lifecycle ◀── supervisor, order, startup ◀── timers
//!   others:   control socket in folder ──▶ router/attach
//!   operator: router/answers ◀── processes, channels
//!   machine:  pid1 ──▶ run ──▶ pid1, where procmgr is the first process
//! ```
//!
//! What decides does no input or output and is tested as a table: `supervisor` (the life of one process), `order` (who
//! before whom), `startup` (when the router is up), `directory`, `vrs`, `broker`. Read [`run`] first, then `router`.
//!
//! If procmgr is killed, its children see the end of file on their links and end: `ipc::link` sees to that. A program
//! that knows nothing of links needs a launcher that does it for it.

mod broker;
mod channels;
pub mod class;
mod console;
pub mod crash;
mod directory;
mod error;
pub mod folder;
mod lines;
mod link;
mod log;
mod order;
pub mod pid1;
mod processes;
mod queues;
mod ready_made;
pub mod role;
mod router;
mod run;
mod service_manager;
mod signals;
mod sources;
mod spawn;
mod startup;
mod supervisor;
mod timers;
mod vrs;

pub use error::ProcmgrError;
pub use run::{Ending, RunOptions, run};
pub use service_manager::ServiceManager;
