//! How sockets end: shutdown, the last close, lingering.

use std::time::Instant;

use nix::errno::Errno;
use sockets::{Shutdown, errno};

use crate::control::Phase;
use crate::description::{Description, Held};
use crate::process::{self, Process};
use crate::signals::Watch;
use crate::table::DESCRIPTIONS;
use crate::{datagram, fork, netlink, wait};

/// shutdown(2).
pub fn shutdown(held: Held, how: i32) -> Result<(), Errno> {
    let how = match how {
        libc::SHUT_RD => Shutdown::Read,
        libc::SHUT_WR => Shutdown::Write,
        libc::SHUT_RDWR => Shutdown::Both,
        _ => return Err(Errno::EINVAL),
    };
    if let Some(stream) = held.lock()?.as_mut() {
        stream.shutdown(how).map_err(errno)?;
        // Others who wait in this direction see its end.
        held.description().kick(None);
        return Ok(());
    }
    process::with(|process| {
        let control = process.control(held.index())?;
        match &mut control.phase {
            // As on Linux, this ends the listening.
            Phase::Listening(sockets, _) if how != Shutdown::Write => {
                let sockets = std::mem::take(sockets);
                control.phase = Phase::Idle;
                process.close_all(&sockets);
                held.description().kick(None);
                Ok(())
            }
            Phase::Datagram(..) | Phase::Idle | Phase::Opening(_) | Phase::Connected(_) | Phase::Listening(..) => {
                Err(Errno::ENOTCONN)
            }
        }
    })
}

/// The last descriptor of a socket is closed.
pub fn release(index: u32) {
    let Some(description) = DESCRIPTIONS.get(index) else { return };
    if !description.remove_reference() {
        return;
    }
    if fork::close_early(index) {
        return;
    }
    linger(description);
    datagram::flush(description.hold());
    let ended = process::with(|process| {
        process.end(index);
        Ok(())
    });
    if ended.is_err() {
        description.end();
    }
}

/// Waits until the peer has acknowledged everything, as long as the socket is to linger.
fn linger(description: &'static Description) {
    let limit = process::with(|process| Ok(process.control(description.index())?.options.linger));
    let Some(limit) = limit.ok().flatten().filter(|limit| !limit.is_zero()) else { return };
    let (until, watch) = (Instant::now() + limit, Watch::begin());
    while let Ok(Some(left)) = wait::left(Some(until)) {
        let is_done = description.lock().as_ref().is_none_or(sockets::Stream::is_acknowledged);
        if is_done {
            return;
        }
        let mut fds = Vec::new();
        let slept = wait::sleep(&[description], &mut fds, Some(left), (watch, None), |fds| {
            let mut stream = description.lock();
            let Some(stream) = stream.as_mut() else { return false };
            let sleeps = matches!(stream.channel().arm_write(usize::MAX), Ok(true));
            fds.push(wait::watch(crate::stream::bell(stream)));
            sleeps
        });
        if let Some(stream) = description.lock().as_mut() {
            // An error ends the wait: the connection is over.
            if stream.channel().acknowledge_bell().is_err() {
                return;
            }
        }
        if slept.is_err() {
            return;
        }
    }
}

impl Process {
    /// Ends a socket whose descriptors are closed.
    pub fn end(&mut self, index: u32) {
        netlink::forget(index);
        self.release_port(index);
        if let Some(control) = self.controls.remove(&index) {
            self.close_all(&control.library_sockets());
        }
        if let Some(description) = DESCRIPTIONS.get(index) {
            description.end();
            DESCRIPTIONS.give_back(index);
        }
    }
}
