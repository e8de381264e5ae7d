//! Why a protocol's process cannot go on.

use ipc::error::LinkError;
use ipc::protocol::Refusal;
use ipc::reactor::ReactorError;
use ipc::{Pid, ServiceName};
use sockets::LibraryError;

/// Ends the process; its supervisor starts it again.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The event loop cannot wait, or the link to procmgr failed.
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    /// procmgr cannot be asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The socket library cannot start.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Another process answers this class's tables already.
    #[error("{0} runs in this virtual router already, as PID {1}")]
    RunsAlready(ServiceName, Pid),
    /// The service that answers this class's tables cannot be published.
    #[error("publish the service of this class: {0}")]
    Publish(Refusal),
    /// Nobody gave this process a link to a router.
    #[error("{0} runs in a virtual router: start it with `isthmus run --vr VR -- target/debug/{0}`")]
    NotAttached(ServiceName),
    /// The router does not take the words of this program.
    #[error("the router refuses this program: {0}")]
    Declaration(String),
    /// The routes of a program and its tables would have different names.
    #[error("this program is class {class} but runs as {name}: rename it, or its class, so that they are the same")]
    Name {
        /// As it declares.
        class: ServiceName,
        /// As it attached.
        name: ServiceName,
    },
    /// A protocol runs in a VR; this process belongs to the router itself.
    #[error("this process belongs to no virtual router")]
    NoVr,
    /// The class wants so many blocks of the configuration that their names do not fit.
    #[error("subscribe to the configuration: {0}")]
    Subscription(postcard::Error),
}
