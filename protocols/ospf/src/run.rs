//! The process of a VR's OSPF: the SDK's shell around the core.

use std::time::{SystemTime, UNIX_EPOCH};

use sdk::error::ShellError;
use sdk::shell::Reactor;

use crate::config::declaration;
use crate::process::Process;

/// Runs OSPF of this process's VR until procmgr stops it in order.
pub fn run(reactor: Reactor) -> Result<(), ShellError> {
    // A clock before 1970 counts as 1970.
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    sdk::shell::run(Process::new(epoch), declaration(), reactor)
}
