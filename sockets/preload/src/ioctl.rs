//! What ioctl tells of a socket.

use libc::{c_int, c_ulong};
use nix::errno::Errno;

use crate::description::{Held, Kind};
use crate::process;

/// `FIONREAD`: bytes that can be read at once, of datagrams those of the first one. `SIOCOUTQ`: bytes that the peer has
/// not taken.
pub fn count(held: Held, request: c_ulong) -> Result<c_int, Errno> {
    if let Some(stream) = held.lock()?.as_mut() {
        let count = if request == libc::FIONREAD { stream.unread() } else { stream.unsent() };
        return Ok(c_int::try_from(count).unwrap_or(c_int::MAX));
    }
    if held.kind() == Kind::Stream || request != libc::FIONREAD {
        return Ok(0);
    }
    process::with(|process| {
        for socket in process.control(held.index())?.library_sockets() {
            if let Ok(Some(next)) = process.library.peek_datagram(&mut process.reactor, socket, &mut []) {
                return Ok(c_int::try_from(next.length).unwrap_or(c_int::MAX));
            }
        }
        Ok(0)
    })
}
