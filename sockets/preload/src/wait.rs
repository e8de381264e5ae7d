//! Threads that sleep until something happens to a socket.
//!
//! A connection's bell is a pipe, which its sleeper listens to itself. It is silenced by whoever woke first, who then
//! tells the others: each thread that sleeps has an eventfd of its own for that, which the service thread rings too when
//! something happens that has no bell of its own (a connection waits to be accepted, a handshake ended).

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use libc::{pollfd, sigset_t};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::description::{Description, Waiter};
use crate::kernel;
use crate::signals::Watch;
use crate::table::{DESCRIPTIONS, EPOLL_SETS};
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
struct OwnBell {
    bell: RefCell<Option<OwnedFd>>,
    /// The thread is within [`sleep`], and sockets know of its bell.
    sleeps: Cell<bool>,
}

impl OwnBell {
    const fn new() -> Self {
        Self { bell: RefCell::new(None), sleeps: Cell::new(false) }
    }

    fn close(&self) {
        let _inside = Inside::enter();
        let Some(bell) = self.bell.take() else { return };
        // The thread was canceled in its sleep (pthread_cancel(3)): nobody may ring what its number is from now on.
        if self.sleeps.take() {
            DESCRIPTIONS.all().for_each(|description| description.remove_thread(bell.as_raw_fd()));
            EPOLL_SETS.all().for_each(|set| set.forget_thread(bell.as_raw_fd()));
        }
    }
}

impl Drop for OwnBell {
    fn drop(&mut self) {
        self.close();
    }
}

thread_local! {
    static BELL: OwnBell = const { OwnBell::new() };
}

/// Does something with the thread's bell.
fn with_bell<T>(what: impl FnOnce(RawFd) -> Result<T, Errno>) -> Result<T, Errno> {
    match own_bell() {
        Some(bell) => what(bell),
        // The thread is ending, or there was no descriptor left: one for this call.
        None => {
            let own = OwnBell::new();
            let bell = make_bell()?;
            let number = bell.as_raw_fd();
            own.bell.replace(Some(bell));
            what(number)
        }
    }
}

/// The number of this thread's bell, by which it is known to sockets.
pub fn own_bell() -> Option<RawFd> {
    let number = BELL.try_with(|bell| {
        let mut bell = bell.bell.try_borrow_mut().ok()?;
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
        // A handler that has interrupted a sleep may sleep, too. A thread that is ending has none to set.
        let sleeps = |now: bool| BELL.try_with(|own| own.sleeps.replace(now)).unwrap_or_default();
        let outer = sleeps(true);
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
        sleeps(outer);
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

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::{mem, ptr};

    use super::*;
    use crate::description::Kind;

    type Begin = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

    extern "C-unwind" fn sleep_on(socket: *mut c_void) -> *mut c_void {
        let socket = DESCRIPTIONS.get(u32::try_from(socket.addr()).unwrap()).unwrap();
        let _ = sleep(&[socket], &mut Vec::new(), None, (Watch::begin(), None), |_| true);
        ptr::null_mut()
    }

    #[test]
    #[allow(unsafe_code)]
    fn a_thread_that_is_canceled_in_its_sleep_is_rung_for_no_longer() {
        let (index, socket) = DESCRIPTIONS.take().unwrap();
        socket.begin(index, Kind::Stream, false);
        let number = ptr::without_provenance_mut(index as usize);
        // SAFETY: Zeros are a thread that is none yet; it gets a number, and is joined before this function ends.
        unsafe {
            let mut thread = mem::zeroed();
            let begin = mem::transmute::<Begin, extern "C" fn(*mut c_void) -> *mut c_void>(sleep_on);
            assert_eq!(libc::pthread_create(&raw mut thread, ptr::null(), begin, number), 0);
            while socket.waiters().is_empty() {
                std::thread::yield_now();
            }
            assert_eq!(libc::pthread_cancel(thread), 0);
            let mut result = ptr::null_mut();
            assert_eq!(libc::pthread_join(thread, &raw mut result), 0);
            assert_eq!(result, ptr::without_provenance_mut(usize::MAX), "PTHREAD_CANCELED");
        }
        assert!(socket.waiters().is_empty());
        DESCRIPTIONS.give_back(index);
    }
}
