//! The process of a VR's BGP: the SDK's shell around the core.

use sdk::error::ShellError;
use sdk::shell::Reactor;

use crate::config::declaration;
use crate::instance::Bgp;

/// Runs BGP of this process's VR until procmgr stops it in order.
pub fn run(reactor: Reactor) -> Result<(), ShellError> {
    sdk::shell::run(Bgp::new(), declaration(), reactor)
}
