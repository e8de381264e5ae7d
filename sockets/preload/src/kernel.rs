//! System calls behind a safe face: what this library asks of the kernel itself.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use libc::{epoll_event, pollfd, siginfo_t, sigset_t, timespec};
use nix::errno::Errno;

use crate::original;

/// -1 is an error that errno tells.
fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

fn check_size(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::last())
}

/// A time as the kernel has it.
pub fn timespec(time: Duration) -> timespec {
    let tv_sec = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
    timespec { tv_sec, tv_nsec: time.subsec_nanos().into() }
}

/// read(2).
pub fn read(fd: RawFd, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: `into` may be written, and is as long as said.
    check_size(unsafe { original::read(fd, into.as_mut_ptr().cast(), into.len()) })
}

/// pread(2).
pub fn pread(fd: RawFd, into: &mut [u8], offset: libc::off_t) -> Result<usize, Errno> {
    // SAFETY: `into` may be written, and is as long as said.
    check_size(unsafe { libc::pread(fd, into.as_mut_ptr().cast(), into.len(), offset) })
}

/// write(2).
pub fn write(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: `bytes` are as many as said.
    check_size(unsafe { original::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// ppoll(2).
pub fn ppoll(fds: &mut [pollfd], timeout: Option<Duration>, mask: Option<&sigset_t>) -> Result<usize, Errno> {
    let timeout = timeout.map(timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mask = mask.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `fds` are as many as said; the pointers are null or lead to values of this call.
    let count = unsafe { original::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout, mask) };
    check(count).map(|count| count as usize)
}

/// A socket that does nothing, as a number: what it has beside is the kernel's business.
pub fn placeholder(flags: c_int) -> Result<RawFd, Errno> {
    // SAFETY: Takes numbers only.
    check(unsafe { original::socket(libc::AF_UNIX, libc::SOCK_STREAM | flags, 0) })
}

/// The inode of a socket of the kernel's; `None`: it is none.
pub fn socket_inode(fd: RawFd) -> Option<u64> {
    // SAFETY: Zeros are a `stat`.
    let mut status: libc::stat = unsafe { mem::zeroed() };
    // SAFETY: `status` may be written.
    let known = unsafe { libc::fstat(fd, &raw mut status) } == 0;
    (known && status.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(status.st_ino)
}

/// The file of this library, as the loader knows it.
pub fn own_file() -> Option<&'static CStr> {
    // SAFETY: Zeros are a `Dl_info` that says nothing.
    let mut found: libc::Dl_info = unsafe { mem::zeroed() };
    // SAFETY: `found` may be written; the address is only compared.
    let known = unsafe { libc::dladdr(own_file as *const () as *const c_void, &raw mut found) } != 0;
    // SAFETY: The loader keeps the name as long as the library.
    (known && !found.dli_fname.is_null()).then(|| unsafe { CStr::from_ptr(found.dli_fname) })
}

/// Whether this process may execute a file (access(2)).
pub fn may_execute(path: &CStr) -> bool {
    // SAFETY: `path` ends with a zero byte.
    unsafe { libc::access(path.as_ptr(), libc::X_OK) == 0 }
}

/// Takes a variable out of the environment. Called while this process has one thread, by the loader.
pub fn forget_variable(name: &CStr) {
    // SAFETY: `name` ends with a zero byte, and nobody else is there to look at the environment.
    unsafe { libc::unsetenv(name.as_ptr()) };
}

/// close(2).
pub fn close(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: Takes a number only; who calls owns it.
    check(unsafe { original::close(fd) }).map(drop)
}

/// Takes over a descriptor that was just opened.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: Callers have just opened it, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// fcntl(2) with a number.
pub fn fcntl(fd: RawFd, command: c_int, argument: c_int) -> Result<c_int, Errno> {
    // SAFETY: The commands that callers here use take a number.
    check(unsafe { original::fcntl(fd, command, argument as libc::c_ulong) })
}

/// epoll_create1(2).
pub fn epoll_create(flags: c_int) -> Result<RawFd, Errno> {
    // SAFETY: Takes a number only.
    check(unsafe { original::epoll_create1(flags) })
}

/// epoll_ctl(2).
pub fn epoll_ctl(epoll: RawFd, operation: c_int, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
    let mut event = epoll_event { events, u64: data };
    // SAFETY: `event` lives as long as the call.
    check(unsafe { original::epoll_ctl(epoll, operation, fd, &raw mut event) }).map(drop)
}

/// epoll_pwait(2). The timeout is rounded up to milliseconds, but for one that is shorter.
pub fn epoll_wait(
    epoll: RawFd,
    events: &mut [epoll_event],
    timeout: Option<Duration>,
    mask: Option<&sigset_t>,
) -> Result<usize, Errno> {
    const MILLISECOND: Duration = Duration::from_millis(1);
    if let Some(short) = timeout.filter(|timeout| (Duration::from_nanos(1)..MILLISECOND).contains(timeout)) {
        // A thread that is canceled ends here too, as it would not in epoll_pwait2(2), which older libcs lack.
        ppoll(&mut [pollfd { fd: epoll, events: libc::POLLIN, revents: 0 }], Some(short), mask)?;
        return epoll_wait(epoll, events, Some(Duration::ZERO), None);
    }
    let milliseconds = |time: Duration| c_int::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX);
    let timeout = timeout.map_or(-1, milliseconds);
    let mask = mask.map_or(ptr::null(), ptr::from_ref);
    let room = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // SAFETY: `events` has that much room; `mask` is null or leads to a mask.
    let count = unsafe { original::epoll_pwait(epoll, events.as_mut_ptr(), room, timeout, mask) };
    check(count).map(|count| count as usize)
}

/// Commands of membarrier(2), which the libc crate has for Android only.
const MEMBARRIER_CMD_PRIVATE_EXPEDITED: c_int = 1 << 3;
const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

fn membarrier(command: c_int) -> Result<(), Errno> {
    const NO_FLAGS: c_uint = 0;
    const NO_CPU: c_int = 0;
    // SAFETY: membarrier(2) takes three numbers and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, NO_FLAGS, NO_CPU) };
    if result == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// Whether the kernel sends barriers through the CPUs of this process; and those of a child that it forks.
pub fn has_barriers() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED).is_ok())
}

/// A full memory barrier on every CPU that runs a thread of this process.
pub fn barrier() -> Result<(), Errno> {
    // What is not registered is the kernel's word for a child whose parent was.
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED).or_else(|_| {
        membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)?;
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    })
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// PTHREAD_CANCEL_DISABLE, which the libc crate lacks.
const CANCEL_DISABLE: c_int = 1;

/// Does something while this thread is not canceled (pthread_cancel(3)): what is asked for meanwhile comes later. A thread
/// that ended in here would keep what it has locked.
pub fn without_cancellation<T>(what: impl FnOnce() -> T) -> T {
    let mut before = 0;
    // SAFETY: `before` may be written.
    unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut before) };
    let result = what();
    // SAFETY: As above; `before` is what the state was.
    unsafe { pthread_setcancelstate(before, &raw mut before) };
    result
}

/// Sleeps while `word` is `value`, until it is [woken](wake), at most for `timeout`; it may wake without a cause, too
/// (futex(2)).
pub fn wait_while(word: &AtomicU32, value: u32, timeout: Option<Duration>) {
    let timeout = timeout.map(timespec);
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` and `timeout` live as long as the call, which changes neither.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
}

/// Wakes whoever [sleeps](wait_while) on `word`.
pub fn wake(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` lives as long as the call, which does not change it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, c_int::MAX) };
}

/// Does something while this thread gets no SIGPIPE; one that came of it is forgotten.
pub fn without_sigpipe<T>(what: impl FnOnce() -> T) -> T {
    // SAFETY: Zeros are a set of signals.
    let (mut pipe, mut before, mut pending) = unsafe { mem::zeroed::<[sigset_t; 3]>() }.into();
    // SAFETY: `pipe` may be written.
    unsafe {
        libc::sigemptyset(&raw mut pipe);
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
    }
    // SAFETY: All sets live as long as the calls, and two of them may be written.
    let (was_blocked, was_pending) = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
        let was_blocked = libc::sigismember(&raw const before, libc::SIGPIPE) == 1;
        // One that was not blocked was not pending either: it would have been delivered.
        was_blocked.then(|| libc::sigpending(&raw mut pending));
        (was_blocked, was_blocked && libc::sigismember(&raw const pending, libc::SIGPIPE) == 1)
    };
    let result = what();
    let error = Errno::last();
    if error == Errno::EPIPE && !was_pending {
        let now = timespec(Duration::ZERO);
        // SAFETY: `pipe` and `now` live as long as the call.
        while unsafe { libc::sigtimedwait(&raw const pipe, ptr::null_mut(), &raw const now) } == libc::SIGPIPE {}
    }
    if !was_blocked {
        // SAFETY: `before` was written above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    }
    error.set();
    result
}

/// Has something done before each fork, and after it in the parent and in the child (pthread_atfork(3)).
pub fn at_fork(before: extern "C" fn(), in_parent: extern "C" fn(), in_child: extern "C" fn()) {
    // SAFETY: All three are functions of this library, which stays as long as the process.
    let result = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if result != 0 {
        crate::log::error!("no memory to take part in forks: children have no sockets");
    }
}

/// Has something done when the process ends in order (atexit(3)).
pub fn at_exit(what: extern "C" fn()) {
    // SAFETY: `what` is a function of this library, which stays as long as the process.
    unsafe { libc::atexit(what) };
}

/// Sends a signal to this thread once more, as it came.
pub fn send_again(signal: c_int, info: &siginfo_t) {
    // SAFETY: Takes numbers, and `info`, which the kernel only reads.
    unsafe {
        let (process, thread) = (libc::getpid(), libc::gettid());
        let sent = libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, ptr::from_ref(info));
        if sent != 0 {
            // Too many are queued: without what came with it, which takes no place in a queue.
            libc::syscall(libc::SYS_tgkill, process, thread, signal);
        }
    }
}

/// A set of signals.
pub fn signals(of: &[c_int]) -> sigset_t {
    // SAFETY: Zeros are a set of signals.
    let mut set: sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `set` may be written; what is no signal is refused.
    unsafe {
        libc::sigemptyset(&raw mut set);
        of.iter().for_each(|signal| _ = libc::sigaddset(&raw mut set, *signal));
    }
    set
}

/// The set of all others.
pub fn all_signals_but(these: &[c_int]) -> sigset_t {
    // SAFETY: Zeros are a set of signals.
    let mut set: sigset_t = unsafe { mem::zeroed() };
    // SAFETY: As above.
    unsafe {
        libc::sigfillset(&raw mut set);
        these.iter().for_each(|signal| _ = libc::sigdelset(&raw mut set, *signal));
    }
    set
}

/// Sends a signal to this thread.
pub fn raise(signal: c_int) {
    // SAFETY: Takes a number only.
    unsafe { libc::raise(signal) };
}

/// Sends SIGTERM to this process.
pub fn terminate() {
    // SAFETY: Takes numbers only.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}

/// Blocks all signals of this thread but those of its own faults; what was blocked before.
pub fn block_signals() -> sigset_t {
    // SAFETY: Zeros are sets of signals.
    let (mut all, mut before) = unsafe { mem::zeroed::<[sigset_t; 2]>() }.into();
    // SAFETY: Both sets may be written.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    before
}

/// Sets this thread's blocked signals.
pub fn set_signals(mask: &sigset_t) {
    // SAFETY: `mask` is a set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

/// close_range(2).
pub fn close_range(first: c_uint, last: c_uint, flags: c_int) -> Result<(), Errno> {
    // SAFETY: Takes numbers only.
    check(unsafe { original::close_range(first, last, flags) }).map(drop)
}

/// Moves a descriptor of this library's own to a high number, out of the way of the program's.
pub fn move_up(fd: RawFd, lowest: RawFd) -> RawFd {
    match fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) {
        Ok(high) => {
            let _ = close(fd);
            high
        }
        // No room up there: it stays.
        Err(_) => fd,
    }
}

/// The soft and the hard limit of descriptors.
pub fn descriptor_limits() -> (u64, u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limits` may be written.
    unsafe { original::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits) };
    (limits.rlim_cur, limits.rlim_max)
}

/// Sets both. `false`: the process may not.
pub fn set_descriptor_limits((soft, hard): (u64, u64)) -> bool {
    let limits = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limits` lives as long as the call.
    unsafe { original::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) == 0 }
}

/// Where a file stands.
pub fn position(file: RawFd) -> Result<libc::off_t, Errno> {
    // SAFETY: Takes numbers only.
    let position = unsafe { libc::lseek(file, 0, libc::SEEK_CUR) };
    if position < 0 { Err(Errno::last()) } else { Ok(position) }
}

/// Moves a file to a position.
pub fn set_position(file: RawFd, position: libc::off_t) -> Result<(), Errno> {
    // SAFETY: Takes numbers only.
    if unsafe { libc::lseek(file, position, libc::SEEK_SET) } < 0 { Err(Errno::last()) } else { Ok(()) }
}
