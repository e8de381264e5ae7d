//! Turns: processes that share an end by fork use it one after the other.
//!
//! A turn is a record lock (fcntl(2), `F_SETLKW`) on one byte of a file that the whole family of processes has: the byte
//! whose number is the place of the end's slot, which no other slot has. Three properties decide for it:
//!
//! - It belongs to the process, so that parent and child exclude each other. A lock of the open file description
//!   (`F_OFD_SETLK`), and one of flock(2), belongs to what fork duplicates: both would have it.
//! - The kernel gives it back when its holder dies, at whatever instruction.
//! - Nothing is to be written into shared memory, so that no death leaves a word that says "taken".
//!
//! It costs two system calls a use, and is taken by ends that were shared only. Threads of one process are not kept apart;
//! they need not be, since an end is one thread's at a time. A process that closes every descriptor it has loses its
//! turns with its channels.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// The file whose bytes are locked. Made before the first fork that shares something, and inherited.
static LOCKS: OnceLock<OwnedFd> = OnceLock::new();

/// From the byte of a turn to that of presence, which all who use the slot hold together. Slots are further apart.
const PRESENCE: usize = 64;

/// Makes the file, so that children inherit it.
pub(crate) fn prepare() -> Result<(), Errno> {
    if LOCKS.get().is_none() {
        let file = memfd_create("isthmus-turns", MFdFlags::MFD_CLOEXEC)?;
        // Another thread was as fast: then its file is the one.
        LOCKS.get_or_init(|| file);
    }
    Ok(())
}

/// The file, for another program that goes on with what this process shares.
pub(crate) fn file() -> Option<BorrowedFd<'static>> {
    LOCKS.get().map(AsFd::as_fd)
}

/// The file is that of the program that this process was before. `false`: it has one already.
pub(crate) fn inherit(file: OwnedFd) -> bool {
    LOCKS.set(file).is_ok()
}

/// Waits for the turn at a place.
pub(crate) fn take(place: usize) -> Result<(), Errno> {
    loop {
        match set(place, libc::F_WRLCK) {
            Err(Errno::EINTR) => {}
            // The kernel takes threads of two processes that use two ends crosswise for a deadlock.
            Err(Errno::EDEADLK) => thread::yield_now(),
            result => return result,
        }
    }
}

/// Says that this process uses what lies at a place, until it [leaves](leave) or dies: the kernel tells the others.
pub(crate) fn attend(place: usize) -> Result<(), Errno> {
    set(place + PRESENCE, libc::F_RDLCK)
}

/// This process uses it no longer.
pub(crate) fn leave(place: usize) -> Result<(), Errno> {
    set(place + PRESENCE, libc::F_UNLCK)
}

/// Whether no other living process [attends](attend) to what lies at a place.
pub(crate) fn is_alone(place: usize) -> Result<bool, Errno> {
    let file = LOCKS.get().ok_or(Errno::EBADF)?;
    let mut lock = at(place + PRESENCE, libc::F_WRLCK);
    fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut lock))?;
    Ok(lock.l_type == libc::F_UNLCK as libc::c_short)
}

/// Ends the turn.
pub(crate) fn give(place: usize) -> Result<(), Errno> {
    set(place, libc::F_UNLCK)
}

fn set(place: usize, kind: libc::c_int) -> Result<(), Errno> {
    let file = LOCKS.get().ok_or(Errno::EBADF)?;
    fcntl(file.as_fd(), FcntlArg::F_SETLKW(&at(place, kind))).map(drop)
}

fn at(place: usize, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        // Places have 49 bits.
        l_start: place as libc::off_t,
        l_len: 1,
        l_pid: 0,
    }
}
