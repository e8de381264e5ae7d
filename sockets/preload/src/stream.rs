//! What a connection sends and receives.
//!
//! While both sides are awake there is no system call in here, no lock but the connection's own, and no event loop: a
//! call is a copy into or out of a ring. A call that has to wait looks out for the peer for a while, then arms the bell
//! and listens to it itself.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sockets::{Received, Stream, errno};

use crate::description::{Direction, Held};
use crate::signals::Watch;
use crate::{process, wait};

/// A writer that found no room waits for this much, or for what it has left.
const ROOM_WORTH_WAKING_FOR: usize = 64 * 1024;

/// A call that waits.
struct Waiting {
    until: Option<Instant>,
    watch: Watch,
}

impl Waiting {
    fn begin(held: Held, direction: Direction) -> Self {
        Self { until: held.deadline(direction), watch: Watch::begin() }
    }
}

/// A connection's bell.
pub fn bell(stream: &mut Stream) -> RawFd {
    stream.channel().as_fd().as_raw_fd()
}

/// Receives into one buffer.
#[inline(always)]
pub fn receive(held: Held, into: &mut [u8], flags: i32) -> Result<usize, Errno> {
    // What most calls do is in one piece with the function that the program calls: a result that is handed on through
    // memory, and read there in other pieces than it was written in, waits until the ring's positions have left the CPU.
    let begun = begin_to_receive(held, into, flags);
    match begun {
        Ok(Received::Bytes(count)) if flags & !libc::MSG_DONTWAIT == 0 => Ok(count),
        begun => receive_on(held, into, flags, begun),
    }
}

/// Takes what is there, or looks at it.
#[inline(always)]
fn begin_to_receive(held: Held, into: &mut [u8], flags: i32) -> Result<Received, Errno> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::EINVAL);
    }
    let mut stream = held.lock()?;
    let Some(stream) = stream.as_mut() else { return Err(Errno::ENOTCONN) };
    match flags & libc::MSG_PEEK != 0 {
        true => stream.peek(into),
        false => {
            if !held.is_nonblocking(flags) {
                stream.await_answer();
            }
            stream.take(into)
        }
    }
    .map_err(errno)
}

/// Goes on where nothing was there, or not enough.
#[inline(never)]
fn receive_on(held: Held, into: &mut [u8], flags: i32, mut found: Result<Received, Errno>) -> Result<usize, Errno> {
    let mut received = 0;
    let mut waiting = None;
    let peeks = flags & libc::MSG_PEEK != 0;
    loop {
        match found {
            Ok(Received::EndOfFile) => return Ok(received),
            Ok(Received::Bytes(count)) => {
                received = if peeks { count } else { received + count };
                if flags & libc::MSG_WAITALL == 0 || received >= into.len() || into.is_empty() {
                    return Ok(received);
                }
            }
            Ok(Received::NothingYet) => {}
            Err(_) if received > 0 => {
                leave_error(held);
                return Ok(received);
            }
            Err(Errno::ENOTCONN) => return not_connected(held),
            Err(error) => return Err(error),
        }
        if into.is_empty() {
            return Ok(0);
        }
        if held.is_nonblocking(flags) {
            return if received > 0 { Ok(received) } else { Err(Errno::EAGAIN) };
        }
        let waiting = waiting.get_or_insert_with(|| Waiting::begin(held, Direction::Receive));
        match wait_readable(held, waiting, if peeks { received } else { 0 }) {
            Ok(()) => {}
            Err(_) if received > 0 => return Ok(received),
            Err(error) => return Err(error),
        }
        let rest = if peeks { 0 } else { received };
        found = begin_to_receive(held, into.get_mut(rest..).unwrap_or_default(), flags);
    }
}

/// Sends all bytes, or as many as fit where it may not wait.
#[inline(always)]
pub fn send(held: Held, bytes: &[u8], flags: i32) -> Result<usize, Errno> {
    // As in `receive`.
    let begun = begin_to_send(held, bytes, flags);
    match begun {
        Ok((count, Pace::Free)) if count == bytes.len() => Ok(count),
        begun => send_on(held, bytes, flags, begun),
    }
}

/// Whether time runs after what is sent.
enum Pace {
    Free,
    Timed,
}

/// Sends what there is room for, and whether time runs after it.
#[inline(always)]
fn begin_to_send(held: Held, bytes: &[u8], flags: i32) -> Result<(usize, Pace), Errno> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut stream = held.lock()?;
    let Some(stream) = stream.as_mut() else { return Err(Errno::ENOTCONN) };
    let sent = stream.put(bytes).map_err(errno)?;
    Ok((sent, if stream.keeps_time() { Pace::Timed } else { Pace::Free }))
}

/// Goes on with what could not be sent at once.
#[cold]
#[inline(never)]
fn send_on(held: Held, bytes: &[u8], flags: i32, mut outcome: Result<(usize, Pace), Errno>) -> Result<usize, Errno> {
    let mut sent = 0;
    let mut waiting = None;
    loop {
        match outcome {
            Ok((count, pace)) => {
                sent += count;
                match pace {
                    Pace::Free => {}
                    Pace::Timed => keep_time(held),
                }
            }
            Err(_) if sent > 0 => {
                leave_error(held);
                return Ok(sent);
            }
            Err(Errno::ENOTCONN) => return not_connected(held).map_err(pipe_of),
            Err(error) => return Err(error),
        }
        if sent >= bytes.len() {
            return Ok(sent);
        }
        held.description().found_no_room();
        if held.is_nonblocking(flags) {
            return if sent > 0 { Ok(sent) } else { Err(Errno::EAGAIN) };
        }
        let waiting = waiting.get_or_insert_with(|| Waiting::begin(held, Direction::Send));
        match wait_writable(held, waiting, bytes.len() - sent) {
            Ok(()) => {}
            Err(_) if sent > 0 => return Ok(sent),
            Err(error) => return Err(error),
        }
        outcome = begin_to_send(held, bytes.get(sent..).unwrap_or_default(), flags);
    }
}

/// A part went before the error, and is said: the error is the next call's to say.
#[cold]
pub fn leave_error(held: Held) {
    if let Ok(mut stream) = held.lock()
        && let Some(stream) = stream.as_mut()
    {
        stream.tell_again();
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
fn keep_time(held: Held) {
    // Whoever closes the socket meanwhile ends the time, too.
    let _ = process::with(|process| {
        for socket in process.control(held.index())?.library_sockets() {
            process.library.sent_in_time(socket);
        }
        Ok(())
    });
}

/// Waits for more than `already` bytes, an end or an error.
fn wait_readable(held: Held, waiting: &mut Waiting, already: usize) -> Result<(), Errno> {
    {
        let mut stream = held.lock()?;
        let Some(stream) = stream.as_mut() else { return Ok(()) };
        if already == 0 && stream.channel().look_out_readable().unwrap_or(true) {
            return Ok(());
        }
    }
    rest(held, waiting, |stream| matches!(stream.channel().arm_peek(already), Ok(true)))
}

/// Waits for room for a good part of `bytes`, an end or an error.
fn wait_writable(held: Held, waiting: &mut Waiting, bytes: usize) -> Result<(), Errno> {
    let room = bytes.min(ROOM_WORTH_WAKING_FOR);
    {
        let mut stream = held.lock()?;
        let Some(stream) = stream.as_mut() else { return Ok(()) };
        // No time: looks out as long as is usual, and sleeps not.
        if stream.look_out_writable(room) {
            return Ok(());
        }
    }
    rest(held, waiting, |stream| matches!(stream.channel().arm_write(room), Ok(true)))
}

/// Sleeps once, if `arm` says that there is reason to.
fn rest(held: Held, waiting: &mut Waiting, arm: impl FnOnce(&mut Stream) -> bool) -> Result<(), Errno> {
    let mut left = wait::left(waiting.until)?;
    let description = held.description();
    if description.lock().as_ref().is_some_and(Stream::is_shared) {
        left = Some(left.unwrap_or(Duration::MAX).min(wait::LOOK_AT_SHARED));
    }
    let mut fds = Vec::with_capacity(2);
    let slept = wait::sleep(&[description], &mut fds, left, (waiting.watch, None), |fds| {
        let Ok(mut stream) = held.lock() else { return false };
        let Some(stream) = stream.as_mut() else { return false };
        fds.push(wait::watch(bell(stream)));
        arm(stream)
    });
    if fds.first().is_some_and(|bell| bell.revents != 0) {
        silence(held);
    }
    match slept {
        Err(Errno::EINTR) => {
            waiting.watch = wait::interrupted(waiting.watch, waiting.until)?;
            Ok(())
        }
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
