//! Descriptors as numbers: duplicates, closing, flags; and this library's own, which stay out of the program's way.

use std::fs;
use std::os::fd::RawFd;
use std::process;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;

use crate::table::{self, EPOLL_SETS, Number, Removed};
use crate::thread::Inside;
use crate::{close, kernel};

/// Lowest number of a descriptor of this library's own. Above what a program sees, where the limits allow.
static LOWEST_INTERNAL: AtomicI32 = AtomicI32::new(i32::MAX);

/// Highest number that descriptors of this library's own begin at: a table of descriptors is as long as its highest one.
const HIGHEST_BASE: u64 = 60_000;
/// Numbers that are looked at where the kernel does not list those that are open.
const FEW: RawFd = 1024;
/// How many more descriptors than before a process may have.
const OWN: u64 = 65_536;

/// The program's own soft limit, and what it was raised to.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);
static RAISED: AtomicU64 = AtomicU64::new(u64::MAX);

/// The process that this memory belongs to.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// This process is one that has sockets, or a child with memory of its own.
pub fn own_memory() {
    OWNER.store(process::id(), Ordering::Relaxed);
}

/// Whether this is a child of vfork(2), before it executes a program: its descriptors are its own, and its memory, this
/// library's tables among it, is its parent's.
pub fn is_in_parents_memory() -> bool {
    let owner = OWNER.load(Ordering::Relaxed);
    owner != 0 && owner != process::id()
}

/// Makes room for this library's own descriptors: beyond the program's limit, if the hard limit allows.
pub fn make_room() {
    own_memory();
    let (soft, hard) = kernel::descriptor_limits();
    if soft == RAISED.load(Ordering::Relaxed) {
        // By the parent, for this child too.
        return;
    }
    let raised = soft.saturating_add(OWN).min(hard);
    if raised > soft {
        kernel::set_descriptor_limit(raised, hard);
        LIMIT.store(soft, Ordering::Relaxed);
        RAISED.store(raised, Ordering::Relaxed);
    }
    let base = if raised > soft { soft.min(HIGHEST_BASE) } else { soft.saturating_sub(soft / 4).min(HIGHEST_BASE) };
    LOWEST_INTERNAL.store(i32::try_from(base).unwrap_or(i32::MAX), Ordering::Relaxed);
}

/// A number for a socket of the program's, which has its limit as if it had not been raised.
pub fn placeholder(flags: i32) -> Result<RawFd, Errno> {
    let fd = kernel::placeholder(flags)?;
    let is_beyond = u64::try_from(fd).is_ok_and(|number| number >= LIMIT.load(Ordering::Relaxed));
    // A limit that the program has set since is the kernel's to keep.
    if is_beyond && kernel::descriptor_limits().0 == RAISED.load(Ordering::Relaxed) {
        kernel::close(fd)?;
        return Err(Errno::EMFILE);
    }
    Ok(fd)
}

/// A descriptor that was just opened: one of this library's own is moved up and marked.
pub fn opened(fd: RawFd) -> RawFd {
    if fd < 0 || !Inside::is_here() {
        return fd;
    }
    let lowest = LOWEST_INTERNAL.load(Ordering::Relaxed);
    let fd = if lowest == i32::MAX || fd >= lowest { fd } else { kernel::move_up(fd, lowest) };
    // The numbers that its parent has are others.
    if !is_in_parents_memory() {
        table::put_internal(fd);
    }
    fd
}

/// Another number of a descriptor of this library's own, which stays open when this process executes a program.
pub fn open_across_exec(fd: RawFd) -> Result<RawFd, Errno> {
    let lowest = Some(LOWEST_INTERNAL.load(Ordering::Relaxed)).filter(|lowest| *lowest != i32::MAX).unwrap_or(3);
    kernel::fcntl(fd, libc::F_DUPFD, lowest).or_else(|_| kernel::fcntl(fd, libc::F_DUPFD, 3))
}

/// All sockets of the kernel's that this process has, by descriptor.
pub fn kernels_sockets() -> Vec<(RawFd, u64)> {
    let open: Vec<RawFd> = match fs::read_dir("/proc/self/fd") {
        Ok(folder) => folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        // In a root of its own the program has few.
        Err(_) => (0..FEW).collect(),
    };
    open.into_iter().filter_map(|fd| Some((fd, kernel::socket_inode(fd)?))).collect()
}

/// close(2).
pub fn close(fd: RawFd) -> Result<(), Errno> {
    if matches!(table::look_up(fd), Number::Internal) && !Inside::is_here() {
        return Err(Errno::EBADF);
    }
    if is_in_parents_memory() {
        return kernel::close(fd);
    }
    let removed = table::remove(fd);
    let closed = kernel::close(fd);
    released(removed);
    closed
}

/// A number stands for something no longer.
fn released(removed: Removed) {
    match removed {
        Removed::Nothing => {}
        Removed::Socket(index) => close::release(index),
        Removed::Epoll(index) => {
            if let Some(set) = EPOLL_SETS.get(index) {
                set.release(index);
            }
        }
    }
}

/// close_range(2), and closefrom(3): leaves this library's own alone.
pub fn close_range(first: u32, last: u32, flags: i32) -> Result<(), Errno> {
    if first > last {
        return Err(Errno::EINVAL);
    }
    if flags & libc::CLOSE_RANGE_CLOEXEC as i32 == 0 && !is_in_parents_memory() {
        for (fd, _) in table::numbers() {
            if (first..=last).contains(&(fd as u32)) {
                close(fd)?;
            }
        }
    }
    let mut from = first;
    while let Some(own) = table::next_internal(from).filter(|own| *own <= last) {
        if own > from {
            kernel::close_range(from, own - 1, flags)?;
        }
        from = own + 1;
    }
    if from <= last { kernel::close_range(from, last, flags) } else { Ok(()) }
}

/// `copy` is another number of what `fd` stands for.
pub fn duplicated(fd: RawFd, copy: RawFd) {
    if copy < 0 || is_in_parents_memory() {
        return;
    }
    match table::look_up(fd) {
        Number::Foreign | Number::Internal => {}
        Number::Socket(held) => {
            held.description().add_reference();
            table::put_socket(copy, held.index());
        }
        Number::Epoll(set) => {
            set.add_reference();
            table::put_epoll(copy, set.index());
        }
    }
}

/// What dup2(2) does before the kernel gives `to` away.
pub fn before_replacing(fd: RawFd, to: RawFd) -> Result<(), Errno> {
    if matches!(table::look_up(to), Number::Internal) && !Inside::is_here() {
        // The program cannot know of it: the number is as good as beyond its limit.
        return Err(Errno::EBADF);
    }
    if fd != to && !is_in_parents_memory() && kernel::fcntl(fd, libc::F_GETFD, 0).is_ok() {
        released(table::remove(to));
    }
    Ok(())
}

/// fcntl(2) has set the flags of a descriptor.
pub fn flags_set(fd: RawFd, flags: i32) {
    if let Some(held) = table::socket(fd) {
        held.description().nonblocking.store(flags & libc::O_NONBLOCK != 0, Ordering::Relaxed);
    }
}

/// ioctl(2) `FIONBIO`.
pub fn set_nonblocking(fd: RawFd, nonblocking: bool) -> Result<(), Errno> {
    let flags = kernel::fcntl(fd, libc::F_GETFL, 0)?;
    let flags = if nonblocking { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    kernel::fcntl(fd, libc::F_SETFL, flags)?;
    flags_set(fd, flags);
    Ok(())
}
