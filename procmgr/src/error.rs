//! Why procmgr cannot start.

use std::io;
use std::path::PathBuf;

use crate::class::ClassError;

/// A cause that the operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum ProcmgrError {
    /// Another router of this name runs.
    #[error("router \"{name}\" already runs (PID {pid})")]
    AlreadyRuns {
        /// The router's name.
        name: String,
        /// The other one's procmgr.
        pid: String,
    },
    /// The control socket's path does not fit into a socket address.
    #[error(
        "{}: {length} bytes are too long for a socket, at most {} are accepted; set ISTHMUS_DIR to a shorter folder",
        path.display(), ipc::fd::MAX_SOCKET_PATH
    )]
    PathTooLong {
        /// Of the socket.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// A file or folder cannot be made or written.
    #[error("{}: {error}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// Somebody else owns the runtime folder.
    #[error("{}: belongs to another user", path.display())]
    ForeignFolder {
        /// Which one.
        path: PathBuf,
    },
    /// The class table is wrong.
    #[error(transparent)]
    Class(#[from] ClassError),
    /// A process of the router said that it cannot be started.
    #[error("{0}")]
    Start(String),
    /// The kernel refused something that a router cannot be without.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}
