//! What goes wrong, and how one kind of error reads as another.

use std::io;

use ipc::error::LinkError;
use ipc::protocol::Refusal;
use nix::errno::Errno;
use stack_api::socket::SocketError;

/// Why the library cannot start.
///
/// ```
/// use ipc::reactor::Reactor;
/// use sockets::{Library, LibraryError};
/// # let link = sockets_testing::Router::new().link(1);
///
/// let mut reactor = Reactor::new(link)?;
/// // procmgr is gone, and with it the router.
/// assert!(matches!(Library::new(&mut reactor), Err(LibraryError::Link(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        Refusal::Taken(..)
        | Refusal::VrConflict { .. }
        | Refusal::NoClass(_)
        | Refusal::HasLink(_)
        | Refusal::NoMachine
        | Refusal::ClassName(_)
        | Refusal::Queue(_)
        | Refusal::Clauses { .. } => Some(SocketError::PermissionDenied),
        Refusal::Terms(_) | Refusal::Version(_) => Some(SocketError::InvalidArgument),
        Refusal::Resources(_) => Some(SocketError::NoBuffers),
    }
}

/// Why a request could not even be given to procmgr. That the link itself is gone, the process's loop sees next.
pub(crate) fn error_of_link(error: &LinkError) -> SocketError {
    log::debug!("{error}");
    if matches!(error, LinkError::Terms(_)) { SocketError::InvalidArgument } else { SocketError::NetworkDown }
}

/// A socket's error as `std::io` says it: with errno's number, so that `raw_os_error` and `kind` are what the kernel's
/// sockets give.
pub fn io_error(error: SocketError) -> io::Error {
    io::Error::from_raw_os_error(errno(error) as i32)
}

/// The number that errno has for a cause.
pub fn errno(error: SocketError) -> Errno {
    match error {
        SocketError::ConnectionRefused => Errno::ECONNREFUSED,
        SocketError::ConnectionReset => Errno::ECONNRESET,
        SocketError::TimedOut => Errno::ETIMEDOUT,
        SocketError::NetworkUnreachable => Errno::ENETUNREACH,
        SocketError::HostUnreachable => Errno::EHOSTUNREACH,
        SocketError::AddressInUse => Errno::EADDRINUSE,
        SocketError::AddressNotAvailable => Errno::EADDRNOTAVAIL,
        SocketError::NotConnected => Errno::ENOTCONN,
        SocketError::BrokenPipe => Errno::EPIPE,
        SocketError::PermissionDenied => Errno::EACCES,
        SocketError::NoBuffers => Errno::ENOBUFS,
        SocketError::InvalidArgument => Errno::EINVAL,
        SocketError::NotSupported => Errno::EOPNOTSUPP,
        SocketError::NetworkDown => Errno::ENETDOWN,
        SocketError::MessageSize => Errno::EMSGSIZE,
        SocketError::ProtocolNotAvailable => Errno::ENOPROTOOPT,
        SocketError::DestinationRequired => Errno::EDESTADDRREQ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_kernels_sockets_say_it() {
        let cases = [
            (SocketError::ConnectionRefused, io::ErrorKind::ConnectionRefused),
            (SocketError::ConnectionReset, io::ErrorKind::ConnectionReset),
            (SocketError::TimedOut, io::ErrorKind::TimedOut),
            (SocketError::NetworkUnreachable, io::ErrorKind::NetworkUnreachable),
            (SocketError::HostUnreachable, io::ErrorKind::HostUnreachable),
            (SocketError::AddressInUse, io::ErrorKind::AddrInUse),
            (SocketError::AddressNotAvailable, io::ErrorKind::AddrNotAvailable),
            (SocketError::NotConnected, io::ErrorKind::NotConnected),
            (SocketError::BrokenPipe, io::ErrorKind::BrokenPipe),
            (SocketError::PermissionDenied, io::ErrorKind::PermissionDenied),
            (SocketError::InvalidArgument, io::ErrorKind::InvalidInput),
            (SocketError::NotSupported, io::ErrorKind::Unsupported),
            (SocketError::NetworkDown, io::ErrorKind::NetworkDown),
        ];
        for (error, kind) in cases {
            assert_eq!(io_error(error).kind(), kind, "{error}");
        }
        assert_eq!(io_error(SocketError::MessageSize).raw_os_error(), Some(Errno::EMSGSIZE as i32));
        assert_eq!(io_error(SocketError::NoBuffers).raw_os_error(), Some(Errno::ENOBUFS as i32));
    }
}
