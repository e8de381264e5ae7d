//! A router in one thread, for tests and examples of the socket library: procmgr, the VR connection manager and the stack
//! as far as a library sees them, and processes with real libraries on real channels. No privilege, no wire, no file.
//!
//! - [`serve_and_ask`]: two programs that wait, each in a thread of its own, in VRs that are joined.
//! - [`joined`], [`connected`]: two processes whose every turn the caller makes; [`Router::run`] lets everybody work until
//!   nobody has anything more to do, so that nothing here waits.
//!
//! It is a player of parts, and no router: of the stack it knows how to refuse a connection, of the manager how to join
//! two VRs. What goes wrong panics, as in a test.

mod programs;
mod router;

pub use programs::serve_and_ask;
pub use router::{
    Process, Router, address, at, connected, joined, joined_datagrams, router_process, tcp, write_record,
};
