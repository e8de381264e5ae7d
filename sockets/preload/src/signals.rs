//! Signals: a handler may use any socket, whatever it has interrupted; and a call that waits learns that one has run.
//!
//! The kernel's calls are whole to a handler: it runs before or after them, or while they wait. Ours are functions, which it
//! may interrupt with a lock in their hands. So each handler that the program installs is called by one of ours
//! (`interpose/signals.rs`). While the thread is [inside](crate::thread::Inside) it is put off: the signal is noted, and all
//! others stay blocked until the thread comes out, where the kernel is asked to deliver it once more, as it was. No lock
//! is held while a call sleeps. One that looks out for its peer before it sleeps holds its connection's, for
//! [50 us](sockets::SPIN) at most: a handler that comes then runs as late, behind the look and before the sleep, which it ends.
//!
//! Signals of faults (SIGSEGV and its like) are let alone: they cannot wait.

use std::cell::Cell;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use libc::{c_int, siginfo_t, sigset_t};
use nix::errno::Errno;

use crate::{kernel, thread, wait};

/// Highest number of a signal, plus one.
pub const SIGNALS: usize = 65;

/// What comes of what the thread does itself, and is not put off.
pub const FAULTS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT];

/// A handler of the program's.
#[derive(Debug)]
pub struct Handler {
    address: AtomicUsize,
    /// Of its flags those that the kernel is not told as they are.
    flags: AtomicI32,
}

static HANDLERS: [Handler; SIGNALS] =
    [const { Handler { address: AtomicUsize::new(0), flags: AtomicI32::new(0) } }; SIGNALS];

/// Signals that interrupt calls though signal(3) has set their handler: siginterrupt(3).
static INTERRUPTING: AtomicU64 = AtomicU64::new(0);

/// The program's handler of a signal. `None`: the signal is none, or its handler is the kernel's business.
pub fn handler(signal: c_int) -> Option<&'static Handler> {
    HANDLERS.get(usize::try_from(signal).ok()?).filter(|_| signal > 0 && !FAULTS.contains(&signal))
}

impl Handler {
    /// Its address and flags.
    pub fn get(&self) -> (usize, c_int) {
        (self.address.load(Ordering::Acquire), self.flags.load(Ordering::Relaxed))
    }

    /// Sets both.
    pub fn set(&self, address: usize, flags: c_int) {
        self.flags.store(flags, Ordering::Relaxed);
        self.address.store(address, Ordering::Release);
    }
}

/// Whether calls go on that a handler of signal(3) has interrupted.
pub fn restarts(signal: c_int) -> bool {
    INTERRUPTING.load(Ordering::Relaxed) & bit(signal) == 0
}

/// Sets it.
pub fn set_restarts(signal: c_int, restarts: bool) {
    match restarts {
        true => INTERRUPTING.fetch_and(!bit(signal), Ordering::Relaxed),
        false => INTERRUPTING.fetch_or(bit(signal), Ordering::Relaxed),
    };
}

fn bit(signal: c_int) -> u64 {
    1 << ((signal - 1) & 63)
}

/// What handlers have done to a thread.
pub struct Interruptions {
    /// How many have run, and how many of them without SA_RESTART.
    count: Cell<Count>,
    /// The bell of the wait that the thread is in.
    bell: Cell<Option<RawFd>>,
    is_put_off: Cell<bool>,
    put_off: Cell<Option<PutOff>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    all: u32,
    without_restart: u32,
}

/// A signal that came at a bad time, and what was blocked before it came.
#[derive(Clone, Copy)]
struct PutOff {
    signal: c_int,
    info: siginfo_t,
    blocked: sigset_t,
}

impl fmt::Debug for Interruptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Interruptions").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Interruptions {
    /// None.
    pub const fn new() -> Self {
        Self {
            count: Cell::new(Count { all: 0, without_restart: 0 }),
            bell: Cell::new(None),
            is_put_off: Cell::new(false),
            put_off: Cell::new(None),
        }
    }

    /// Whether a signal was put off.
    #[inline]
    pub fn is_put_off(&self) -> bool {
        self.is_put_off.get()
    }
}

/// Puts a signal off that has come while this thread is inside. `blocked`: what the thread goes on with; all is, from then
/// on, so that this is the only one. `false`: the handler may run.
pub fn put_off(signal: c_int, info: &siginfo_t, blocked: &mut sigset_t) -> bool {
    if !thread::Inside::is_here() {
        return false;
    }
    thread::own(|own| {
        own.interruptions.put_off.set(Some(PutOff { signal, info: *info, blocked: *blocked }));
        *blocked = kernel::all_signals_but(&FAULTS);
        own.interruptions.is_put_off.set(true);
    });
    true
}

/// The thread is inside no longer: what was put off comes again.
#[cold]
pub fn deliver() {
    let put_off = thread::own(|own| {
        own.interruptions.is_put_off.set(false);
        own.interruptions.put_off.take()
    });
    if let Some(PutOff { signal, info, blocked }) = put_off {
        let error = Errno::last();
        kernel::send_again(signal, &info);
        kernel::set_signals(&blocked);
        error.set();
    }
}

/// In a forked child: what was put off is its parent's to have.
pub fn forget_put_off() {
    let put_off = thread::own(|own| {
        own.interruptions.is_put_off.set(false);
        own.interruptions.put_off.take()
    });
    if let Some(PutOff { blocked, .. }) = put_off {
        kernel::set_signals(&blocked);
    }
}

/// Runs a handler, and lets the call know that it may have interrupted. `restarts`: SA_RESTART.
pub fn run(restarts: bool, handler: impl FnOnce()) {
    // It may wait, too.
    let bell = thread::own(|own| own.interruptions.bell.take());
    handler();
    thread::own(|own| {
        let Count { all, without_restart } = own.interruptions.count.get();
        let without_restart = without_restart.wrapping_add(u32::from(!restarts));
        own.interruptions.count.set(Count { all: all.wrapping_add(1), without_restart });
        own.interruptions.bell.set(bell);
    });
    if let Some(bell) = bell {
        // It may not sleep yet.
        wait::ring(bell);
    }
}

/// A call that waits, from the moment on when it found nothing.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Count);

impl Watch {
    /// Begins.
    pub fn begin() -> Self {
        Self(thread::own(|own| own.interruptions.count.get()))
    }

    /// Whether a handler has run since.
    pub fn is_interrupted(self) -> bool {
        self.0.all != Self::begin().0.all
    }

    /// Whether one has that wants interrupted calls to end: one without SA_RESTART.
    pub fn is_ended(self) -> bool {
        self.0.without_restart != Self::begin().0.without_restart
    }

    /// Sleeps, unless a handler has run: one that runs from here on rings `bell`.
    pub fn sleep<T>(self, bell: RawFd, sleep: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        let outer = thread::own(|own| own.interruptions.bell.replace(Some(bell)));
        compiler_fence(Ordering::SeqCst);
        let slept = if self.is_interrupted() { Err(Errno::EINTR) } else { sleep() };
        thread::own(|own| own.interruptions.bell.set(outer));
        if slept.is_ok() && self.is_interrupted() { Err(Errno::EINTR) } else { slept }
    }
}
