//! Descriptors as numbers: duplicates, closing, flags; and this library's own, which stay out of the program's way.

use std::fs;
use std::os::fd::RawFd;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::table::{self, EPOLL_SETS, Number, Removed};
use crate::thread::Inside;
use crate::{close, kernel, limit};

/// Numbers that are looked at where the kernel does not list those that are open.
const FEW: RawFd = 1024;

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

/// A number for a socket of the program's, within its limit.
pub fn placeholder(flags: i32) -> Result<RawFd, Errno> {
    let _settled = limit::settled();
    kernel::placeholder(flags)
}

/// Opens a descriptor: the program's, or one of this library's own, which gets a number beyond the program's limit.
pub fn open(open: impl FnOnce() -> RawFd) -> RawFd {
    open_several(|keep| keep(open()))
}

/// The same for several: what was opened is to be given to the function that `open` is given, and is what that returns.
pub fn open_several<T>(open: impl FnOnce(&dyn Fn(RawFd) -> RawFd) -> T) -> T {
    match Inside::is_here() {
        true => limit::beyond(|lowest| open(&|fd| keep(fd, lowest))),
        false => open(&|fd| fd),
    }
}

fn keep(fd: RawFd, lowest: RawFd) -> RawFd {
    let fd = if fd < 0 || fd >= lowest { fd } else { kernel::move_up(fd, lowest) };
    // The numbers that its parent has are others.
    if fd >= 0 && !is_in_parents_memory() {
        table::put_internal(fd);
    }
    fd
}

/// Another number of a descriptor of this library's own, which stays open when this process executes a program.
pub fn open_across_exec(fd: RawFd) -> Result<RawFd, Errno> {
    limit::beyond(|lowest| kernel::fcntl(fd, libc::F_DUPFD, lowest)).or_else(|_| kernel::fcntl(fd, libc::F_DUPFD, 3))
}

/// All sockets of the kernel's that this process has, by descriptor.
pub fn kernels_sockets() -> Vec<(RawFd, u64)> {
    let open: Vec<RawFd> = match limit::beyond(|_| fs::read_dir("/proc/self/fd")) {
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
