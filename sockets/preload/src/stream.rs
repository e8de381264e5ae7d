//! What a connection sends and receives.
//!
//! While both sides are awake there is no system call in here, no lock but the connection's own, and no event loop: a
//! call is a copy into or out of a ring. A call that has to wait looks out for the peer for a while, then arms the bell
//! and listens to it itself.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sockets::{Gate, Received, Stream, errno};

use crate::description::{Direction, Held};
use crate::{process, wait};

/// A writer that found no room waits for this much, or for what it has left.
const ROOM_WORTH_WAKING_FOR: usize = 64 * 1024;

/// A connection's bell.
pub fn bell(stream: &mut Stream) -> RawFd {
    stream.channel().as_fd().as_raw_fd()
}

/// Receives into one buffer.
pub fn receive(held: Held, into: &mut [u8], flags: i32) -> Result<usize, Errno> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::EINVAL);
    }
    let mut received = 0;
    let mut until = None;
    loop {
        let found = {
            let mut stream = held.lock()?;
            let Some(stream) = stream.as_mut() else { return not_connected(held) };
            let Some(rest) = into.get_mut(received..) else { return Ok(received) };
            match flags & libc::MSG_PEEK != 0 {
                true => stream.peek(into),
                false => stream.take(rest),
            }
        };
        match found.map_err(errno) {
            Ok(Received::EndOfFile) => return Ok(received),
            Ok(Received::Bytes(count)) => {
                received = if flags & libc::MSG_PEEK != 0 { count } else { received + count };
                if flags & libc::MSG_WAITALL == 0 || received >= into.len() || into.is_empty() {
                    return Ok(received);
                }
            }
            Ok(Received::NothingYet) => {}
            Err(_) if received > 0 => return Ok(received),
            Err(error) => return Err(error),
        }
        if into.is_empty() {
            return Ok(0);
        }
        if held.is_nonblocking(flags) {
            return if received > 0 { Ok(received) } else { Err(Errno::EAGAIN) };
        }
        let until = *until.get_or_insert_with(|| held.deadline(Direction::Receive));
        let already = if flags & libc::MSG_PEEK != 0 { received } else { 0 };
        match wait_readable(held, until, already) {
            Ok(()) => {}
            Err(_) if received > 0 => return Ok(received),
            Err(error) => return Err(error),
        }
    }
}

/// Sends all bytes, or as many as fit where it may not wait.
pub fn send(held: Held, bytes: &[u8], flags: i32) -> Result<usize, Errno> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut sent = 0;
    let mut until = None;
    loop {
        let (outcome, gate) = {
            let mut stream = held.lock()?;
            let Some(stream) = stream.as_mut() else { return not_connected(held).map_err(pipe_of) };
            (stream.put(bytes.get(sent..).unwrap_or_default()), stream.gate())
        };
        if gate == Gate::Closed {
            note_closed_gate(held);
        }
        match outcome.map_err(errno) {
            Ok(count) => sent += count,
            Err(_) if sent > 0 => return Ok(sent),
            Err(error) => return Err(error),
        }
        if sent >= bytes.len() {
            return Ok(sent);
        }
        held.description().found_no_room();
        if held.is_nonblocking(flags) {
            return if sent > 0 { Ok(sent) } else { Err(Errno::EAGAIN) };
        }
        let until = *until.get_or_insert_with(|| held.deadline(Direction::Send));
        match wait_writable(held, until, bytes.len() - sent) {
            Ok(()) => {}
            Err(_) if sent > 0 => return Ok(sent),
            Err(error) => return Err(error),
        }
    }
}

/// What is said of a socket that has no connection: what became of the attempt, if there was one.
#[cold]
fn not_connected(held: Held) -> Result<usize, Errno> {
    held.check()?;
    process::with(|process| {
        let control = process.control(held.index())?;
        match control.error.take() {
            Some(error) => Err(errno(error)),
            None => Err(Errno::ENOTCONN),
        }
    })
}

/// Sending over what is not connected is EPIPE, other than receiving.
fn pipe_of(error: Errno) -> Errno {
    if error == Errno::ENOTCONN { Errno::EPIPE } else { error }
}

#[cold]
fn note_closed_gate(held: Held) {
    // Whoever closes the socket meanwhile ends the time, too.
    let _ = process::with(|process| {
        for socket in process.control(held.index())?.library_sockets() {
            process.library.sent_into_gate(socket);
        }
        Ok(())
    });
}

/// Waits for more than `already` bytes, an end or an error.
fn wait_readable(held: Held, until: Option<Instant>, already: usize) -> Result<(), Errno> {
    {
        let mut stream = held.lock()?;
        let Some(stream) = stream.as_mut() else { return Ok(()) };
        if already == 0 && stream.channel().look_out_readable().unwrap_or(true) {
            return Ok(());
        }
    }
    rest(held, until, |stream| matches!(stream.channel().arm_peek(already), Ok(true)))
}

/// Waits for room for a good part of `bytes`, an end or an error.
fn wait_writable(held: Held, until: Option<Instant>, bytes: usize) -> Result<(), Errno> {
    let room = bytes.min(ROOM_WORTH_WAKING_FOR);
    {
        let mut stream = held.lock()?;
        let Some(stream) = stream.as_mut() else { return Ok(()) };
        // No time: looks out as long as is usual, and sleeps not.
        if stream.look_out_writable(room) {
            return Ok(());
        }
    }
    rest(held, until, |stream| matches!(stream.channel().arm_write(room), Ok(true)))
}

/// Sleeps once, if `arm` says that there is reason to.
fn rest(held: Held, until: Option<Instant>, arm: impl FnOnce(&mut Stream) -> bool) -> Result<(), Errno> {
    let mut left = wait::left(until)?;
    let description = held.description();
    if description.lock().as_ref().is_some_and(Stream::is_shared) {
        left = Some(left.unwrap_or(Duration::MAX).min(wait::LOOK_AT_SHARED));
    }
    let mut fds = Vec::with_capacity(2);
    let slept = wait::sleep(&[description], &mut fds, left, None, |fds| {
        let Ok(mut stream) = held.lock() else { return false };
        let Some(stream) = stream.as_mut() else { return false };
        fds.push(wait::watch(bell(stream)));
        arm(stream)
    });
    if fds.first().is_some_and(|bell| bell.revents != 0) {
        silence(held);
    }
    match slept {
        Err(Errno::EINTR) => wait::interrupted(),
        other => other,
    }
}

/// Silences a connection's bell, and tells the others who listen to it.
pub fn silence(held: Held) {
    if let Some(stream) = held.description().lock().as_mut() {
        // An error is one that the next call meets, and tells.
        let _ = stream.channel().acknowledge_bell();
    }
    held.description().kick(wait::own_bell());
}
