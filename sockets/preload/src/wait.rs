//! Threads that sleep until something happens to a socket.
//!
//! A connection's bell is a pipe, which its sleeper listens to itself. It is silenced by whoever woke first, who then
//! tells the others: each thread that sleeps has an eventfd of its own for that, which the service thread rings too when
//! something happens that has no bell of its own (a connection waits to be accepted, a handshake ended).

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use libc::{pollfd, sigset_t};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::description::{Description, Waiter};
use crate::kernel;
use crate::signals::Watch;
use crate::thread::Inside;

/// How often a process looks by itself at a connection that another one has too: the other may have silenced the bell.
pub const LOOK_AT_SHARED: Duration = Duration::from_millis(10);

/// An eventfd of this library's own.
pub fn make_bell() -> Result<OwnedFd, Errno> {
    let _inside = Inside::enter();
    EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(OwnedFd::from)
}

/// Rings an eventfd. One that is full is rung enough; one that is closed has no listener.
pub fn ring(bell: RawFd) {
    let _ = kernel::write(bell, &1u64.to_ne_bytes());
}

/// Silences an eventfd. What is silent already says EAGAIN.
pub fn silence(bell: RawFd) {
    let _ = kernel::read(bell, &mut [0; 8]);
}

/// What is polled for input.
pub fn watch(fd: RawFd) -> pollfd {
    pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// A thread's bell.
#[derive(Debug)]
struct OwnBell(RefCell<Option<OwnedFd>>);

impl OwnBell {
    fn close(&self) {
        let _inside = Inside::enter();
        drop(self.0.take());
    }
}

impl Drop for OwnBell {
    fn drop(&mut self) {
        self.close();
    }
}

thread_local! {
    static BELL: OwnBell = const { OwnBell(RefCell::new(None)) };
}

/// Does something with the thread's bell.
fn with_bell<T>(what: impl FnOnce(RawFd) -> Result<T, Errno>) -> Result<T, Errno> {
    match own_bell() {
        Some(bell) => what(bell),
        // The thread is ending, or there was no descriptor left: one for this call.
        None => {
            let bell = OwnBell(RefCell::new(Some(make_bell()?)));
            let number = bell.0.borrow().as_ref().map(AsRawFd::as_raw_fd);
            number.map_or(Err(Errno::EMFILE), what)
        }
    }
}

/// The number of this thread's bell, by which it is known to sockets.
pub fn own_bell() -> Option<RawFd> {
    let number = BELL.try_with(|bell| {
        let mut bell = bell.0.try_borrow_mut().ok()?;
        if bell.is_none() {
            *bell = make_bell().ok();
        }
        bell.as_ref().map(AsRawFd::as_raw_fd)
    });
    number.ok().flatten()
}

/// This thread is that of a forked child: its bell is its parent's.
pub fn renew_bell() {
    // A thread that is ending has none.
    let _ = BELL.try_with(OwnBell::close);
}

/// Sleeps until one of `fds`, or somebody who knows of one of the sockets, wakes this thread, for at most `timeout`; EINTR
/// where a handler of a signal has run since `since` began. `prepare` is called once whoever might know has been told of
/// this thread, and adds what else is to be listened to; `false`: there is nothing to sleep for.
pub fn sleep(
    sockets: &[&'static Description],
    fds: &mut Vec<pollfd>,
    timeout: Option<Duration>,
    (since, mask): (Watch, Option<&sigset_t>),
    prepare: impl FnOnce(&mut Vec<pollfd>) -> bool,
) -> Result<(), Errno> {
    with_bell(|bell| {
        sockets.iter().for_each(|socket| socket.add_waiter(Waiter::Thread(bell)));
        let mut result = Ok(());
        if prepare(fds) {
            fds.push(watch(bell));
            result = since.sleep(bell, || kernel::ppoll(fds, timeout, mask).map(drop));
            if fds.pop().is_some_and(|bell| bell.revents != 0) {
                silence(bell);
            }
        }
        sockets.iter().for_each(|socket| socket.remove_thread(bell));
        result
    })
}

/// What is left until a deadline; EAGAIN: nothing, as the kernel's sockets say it after a timeout too.
pub fn left(until: Option<Instant>) -> Result<Option<Duration>, Errno> {
    match until.map(|until| until.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(Errno::EAGAIN),
        left => Ok(left),
    }
}

/// What a call on one socket does that a signal has interrupted: goes on if the handlers that have run want that
/// (SA_RESTART), and says EINTR else; also where the socket has a timeout, since the kernel does not begin that anew
/// (signal(7)).
pub fn interrupted(watch: Watch, until: Option<Instant>) -> Result<Watch, Errno> {
    if until.is_some() || watch.is_ended() { Err(Errno::EINTR) } else { Ok(Watch::begin()) }
}
