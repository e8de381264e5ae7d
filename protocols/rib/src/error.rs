//! Why the process of a RIB cannot go on.

use ipc::error::LinkError;
use ipc::protocol::Refusal;
use ipc::reactor::ReactorError;
use sdk::error::ShellError;

/// Ends the process; its supervisor starts it again.
#[derive(Debug, thiserror::Error)]
pub enum RibError {
    /// The event loop cannot wait, or the link to procmgr failed.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// procmgr cannot be asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A part that all protocols share cannot start.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// Another process is the RIB of this VR already.
    #[error("publish the RIB of this virtual router: {0}")]
    Publish(Refusal),
    /// Terms of an open that postcard refuses to write.
    #[error("terms of an open: {0}")]
    Terms(#[from] postcard::Error),
}
