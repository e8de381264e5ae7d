//! What goes wrong, and how one kind of error reads as another.

use std::io;

use ipc::error::LinkError;
use ipc::protocol::Refusal;
use stack_api::socket::SocketError;

/// Why the library cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The link to procmgr failed; without it no process lives.
    #[error("socket library: {0}")]
    Link(#[from] LinkError),
    /// What a service is to be opened for cannot be written.
    #[error("socket library: terms of an open: {0}")]
    Terms(postcard::Error),
}

/// Why a connector's open of a listener was refused, as a network would say it. `None`: a network would say nothing,
/// and the connector would try again.
pub(crate) fn error_of_refusal(refusal: &Refusal) -> Option<SocketError> {
    match refusal {
        Refusal::Backlog(_) => None,
        Refusal::NotPublished(_) | Refusal::NoProcess(_) => Some(SocketError::ConnectionRefused),
        Refusal::Access { .. } | Refusal::NoVr(_) => Some(SocketError::HostUnreachable),
        Refusal::NotPermitted(_) | Refusal::NotYours { .. } => Some(SocketError::PermissionDenied),
        // Never said to an open; a procmgr that does has not opened anything.
        Refusal::Taken(..) | Refusal::VrConflict { .. } | Refusal::NoClass(_) | Refusal::HasLink(_) => {
            Some(SocketError::PermissionDenied)
        }
        Refusal::Terms(_) | Refusal::Version(_) => Some(SocketError::InvalidArgument),
        Refusal::Resources(_) => Some(SocketError::NoBuffers),
    }
}

/// Why a request could not even be given to procmgr. That the link itself is gone, the process's loop sees next.
pub(crate) fn error_of_link(error: &LinkError) -> SocketError {
    log::debug!("{error}");
    if matches!(error, LinkError::Terms(_)) { SocketError::InvalidArgument } else { SocketError::NetworkDown }
}

/// A socket's error as `std::io` says it.
pub fn io_error(error: SocketError) -> io::Error {
    let kind = match error {
        SocketError::ConnectionRefused => io::ErrorKind::ConnectionRefused,
        SocketError::ConnectionReset => io::ErrorKind::ConnectionReset,
        SocketError::TimedOut => io::ErrorKind::TimedOut,
        SocketError::NetworkUnreachable => io::ErrorKind::NetworkUnreachable,
        SocketError::HostUnreachable => io::ErrorKind::HostUnreachable,
        SocketError::AddressInUse => io::ErrorKind::AddrInUse,
        SocketError::AddressNotAvailable => io::ErrorKind::AddrNotAvailable,
        SocketError::NotConnected => io::ErrorKind::NotConnected,
        SocketError::BrokenPipe => io::ErrorKind::BrokenPipe,
        SocketError::PermissionDenied => io::ErrorKind::PermissionDenied,
        SocketError::NoBuffers => io::ErrorKind::OutOfMemory,
        SocketError::InvalidArgument => io::ErrorKind::InvalidInput,
        SocketError::NotSupported => io::ErrorKind::Unsupported,
        SocketError::NetworkDown => io::ErrorKind::NetworkDown,
    };
    io::Error::new(kind, error)
}
