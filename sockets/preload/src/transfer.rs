//! sendfile: from a file into a connection.

use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::description::Held;
use crate::{kernel, stream};

/// Most bytes that are copied at once.
pub const PIECE: usize = 64 * 1024;

/// Copies from a file, from `offset` on or from where it stands.
pub fn send_file(held: Held, from: RawFd, mut offset: Option<&mut libc::off_t>, count: usize) -> Result<usize, Errno> {
    let mut buffer = vec![0; PIECE.min(count)];
    let mut sent = 0;
    while sent < count {
        let room = buffer.len().min(count - sent);
        let piece = buffer.get_mut(..room).unwrap_or_default();
        let position = match &offset {
            Some(offset) => **offset,
            None => kernel::position(from)?,
        };
        // Read without moving: what finds no room is read again by the next call.
        let read = kernel::pread(from, piece, position)?;
        if read == 0 {
            break;
        }
        let taken = match stream::send(held, &piece[..read], 0) {
            Ok(taken) => taken,
            Err(_) if sent > 0 => {
                stream::leave_error(held);
                break;
            }
            Err(error) => return Err(error),
        };
        sent += taken;
        let position = position + libc::off_t::try_from(taken).map_err(|_| Errno::EOVERFLOW)?;
        match &mut offset {
            Some(offset) => **offset = position,
            None => kernel::set_position(from, position)?,
        }
        if taken < read {
            break;
        }
    }
    Ok(sent)
}
