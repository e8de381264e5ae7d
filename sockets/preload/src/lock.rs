//! Locks: one that leans to a thread, and the usual one.
//!
//! Whoever has a lock is [inside](Inside): a handler of a signal waits until the lock is given back (`signals`), and so
//! may use the very socket that it has interrupted.
//!
//! A locked instruction waits until everything has left the CPU that it has stored before, also the positions of a ring,
//! whose lines the peer's CPU is looking at. With a mutex, which takes two a call, a program that reads 64 bytes at a time
//! spent a third of its time in them. Most sockets are one thread's. So a [`Leaning`] lock leans to the thread that uses
//! it: the *host*, who takes it with a store and a look; whoever else comes is a *guest*, and pays for both.
//!
//! ```text
//!   host                                     guest, one at a time
//!   host.at = this lock                      guest_inside = true
//!   light fence ◀────── either sees ───────▶ barrier in all CPUs of the process
//!   a guest inside? then waits for it        the host at this lock? then waits for it
//!   …                                        │
//!   host.at = none                           │
//!   light fence ◀────── either sees ─────────┤
//!   a guest inside? then wakes it            └ sleeps until it is woken
//! ```
//!
//! Why two are never inside, and no guest sleeps for ever: the barrier reaches the host between two of its instructions, in
//! the program's order. What it has stored before that point the guest sees behind the barrier; what it loads behind that
//! point, also what its CPU has loaded ahead, sees what the guest has stored before the barrier. The light fence keeps the
//! compiler from moving the load before the store. So if `host.at = this lock` is before the point, the guest sees the host
//! inside and waits; if it is behind, so is the host's look, which sees the guest. And the same once more: if `host.at = none`
//! is before the point, the guest sees that the host has left; if it is behind, so is the host's look, which sees the guest, and
//! wakes it. That the waking may come before the sleeping is what the count of departures is for: the guest has read it before
//! its look at `host.at`, and sleeps only while it has not changed.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering, compiler_fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::kernel;
use crate::thread::{self, Host, Inside};

/// Visits of guests, each after no more than [`SOON`] uses of the host, after which all are guests.
const PATIENCE: u32 = 16;
/// A barrier, which a visit costs, is worth so many uses of the host.
const SOON: u32 = 64;

/// Looks for the host to leave before a guest sleeps: most uses are shorter than a waking.
const LOOKS: u32 = 200;

/// What a store takes at most to be seen by other CPUs: where the kernel refuses a barrier that it once had (a sandbox that
/// the program has entered since), a guest waits for as long instead, and looks as often whether it was not woken. No event
/// tells when a CPU has written back what it has stored; stores are nowhere kept back for as much as a microsecond.
const STORE_IS_SEEN_AFTER: Duration = Duration::from_millis(10);

/// A lock that one thread takes without a locked instruction.
#[derive(Default)]
pub struct Leaning<T> {
    /// Null: there is none. Changed by whoever has `guests` while the host is not inside.
    host: AtomicPtr<Host>,
    guest_inside: AtomicBool,
    /// How often the host has left while a guest was there: what the guest sleeps on.
    departures: AtomicU32,
    /// How often the host came; counts on from 0.
    uses: AtomicU32,
    guests: Mutex<Guests>,
    /// How the guest who is inside has `guests`. Here and not in its [`Guard`], which is thus two words, in registers: what
    /// is handed on through memory, and read there in other pieces than it was written in, waits as a locked instruction
    /// does.
    turn: UnsafeCell<Option<MutexGuard<'static, Guests>>>,
    value: UnsafeCell<T>,
}

/// What guests know of those before.
#[derive(Debug, Default)]
struct Guests {
    /// The last one.
    last: Option<&'static Host>,
    /// [`Leaning::uses`] then.
    uses: u32,
    /// How many came soon, one after the other.
    soon: u32,
    /// It leans to nobody: many use it.
    only: bool,
}

// SAFETY: It is moved only while nobody has it: then there is no `MutexGuard` in it.
unsafe impl<T: Send> Send for Leaning<T> {}
// SAFETY: The value is reached through a `Guard` only, of which there is one at a time: see `enter` and `visit`.
unsafe impl<T: Send> Sync for Leaning<T> {}

/// The lock is taken. The thread is [inside](Inside).
pub struct Guard<'a, T> {
    lock: &'a Leaning<T>,
    /// `None`: by a guest.
    host: Option<&'static Host>,
    /// It is given back by the thread that has taken it.
    of_thread: PhantomData<*const ()>,
}

impl<T> Leaning<T> {
    /// Takes it, once nobody else has it.
    #[inline(always)]
    pub fn lock(&self) -> Guard<'_, T> {
        // Ends with the guard.
        mem::forget(Inside::enter());
        let host = Host::known().filter(|host| self.enter(host));
        if host.is_none() {
            self.enter_as_guest();
        }
        Guard { lock: self, host, of_thread: PhantomData }
    }

    /// The same, as a guest in any case: no other thread is about to come in, not even to wait inside.
    pub fn lock_alone(&self) -> Guard<'_, T> {
        mem::forget(Inside::enter());
        self.enter_as_guest();
        Guard { lock: self, host: None, of_thread: PhantomData }
    }

    /// Its name where hosts say which they have.
    fn address(&self) -> usize {
        (&raw const self.value).addr()
    }

    /// Comes in, if this is the host, who has no other such lock, and no guest is inside.
    #[inline(always)]
    fn enter(&self, host: &'static Host) -> bool {
        if !ptr::eq(self.host.load(Ordering::Relaxed), host) || host.at.load(Ordering::Relaxed) != 0 {
            return false;
        }
        host.at.store(self.address(), Ordering::Relaxed);
        // Pairs with the barrier in `visit`: either the guest sees us inside, or we see the guest.
        compiler_fence(Ordering::SeqCst);
        // Acquire: pairs with the Release of a guest who leaves; what it did, and whom it made the host, is seen behind it.
        if self.guest_inside.load(Ordering::Acquire) || !ptr::eq(self.host.load(Ordering::Relaxed), host) {
            self.leave(host);
            return false;
        }
        // Nobody else writes it.
        self.uses.store(self.uses.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        true
    }

    /// The host leaves, and wakes a guest who may sleep.
    #[inline(always)]
    fn leave(&self, host: &Host) {
        // Release: pairs with the Acquire of `visit`.
        host.at.store(0, Ordering::Release);
        // Pairs with the barrier in `visit`: either the guest sees that we have left, or we see the guest.
        compiler_fence(Ordering::SeqCst);
        if self.guest_inside.load(Ordering::Relaxed) {
            self.wake_guest();
        }
    }

    #[cold]
    #[inline(never)]
    fn wake_guest(&self) {
        // Release: whoever sees the count sees that the host has left.
        self.departures.fetch_add(1, Ordering::Release);
        kernel::wake(&self.departures);
    }

    /// A guest, the first one, or a host whom a guest has met or who has another such lock.
    #[cold]
    #[inline(never)]
    fn enter_as_guest(&self) {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        // The service thread comes to everybody, and stays with nobody.
        let own = if thread::is_service() { None } else { Host::own() };
        // SAFETY: A host is never freed.
        let host: Option<&'static Host> = unsafe { self.host.load(Ordering::Relaxed).as_ref() };
        match (host, own) {
            (Some(host), Some(own)) if ptr::eq(host, own) => {
                while host.at.load(Ordering::Relaxed) == self.address() {
                    // A handler that libc was not told of, and that is not put off, has interrupted the host.
                    std::thread::park();
                }
                // What it has beside this one it goes on having as a host.
                self.guest_inside.store(true, Ordering::Relaxed);
            }
            (Some(host), own) => {
                self.visit(host);
                if let Some(own) = own {
                    guests.note(self, own);
                }
            }
            (None, Some(own)) if !guests.only && kernel::has_barriers() => {
                // Still as a guest; the next time as the host.
                self.guest_inside.store(true, Ordering::Relaxed);
                self.host.store(ptr::from_ref(own).cast_mut(), Ordering::Relaxed);
            }
            (None, _) => {}
        }
        // SAFETY: Whoever has `guests` is the only guest, and the lock lives as long as a guard of it.
        unsafe {
            *self.turn.get() = Some(mem::transmute::<MutexGuard<'_, Guests>, MutexGuard<'static, Guests>>(guests));
        }
    }

    /// What `enter_as_guest` has begun.
    #[cold]
    #[inline(never)]
    fn leave_as_guest(&self) {
        // SAFETY: The only guest is this one.
        let turn = unsafe { (*self.turn.get()).take() };
        // Release: pairs with the Acquire of `enter`.
        self.guest_inside.store(false, Ordering::Release);
        drop(turn);
    }

    /// Comes in as the guest whose turn it is, once the host has left.
    fn visit(&self, host: &Host) {
        self.guest_inside.store(true, Ordering::Relaxed);
        // Pairs with the light fences in `enter` and `leave`.
        let is_fenced = kernel::barrier().is_ok();
        if !is_fenced {
            std::thread::sleep(STORE_IS_SEEN_AFTER);
        }
        let mut looks = 0;
        loop {
            // Acquire: before the look at the host.
            let departures = self.departures.load(Ordering::Acquire);
            // Acquire: pairs with the Release of a host who leaves.
            if host.at.load(Ordering::Acquire) != self.address() {
                return;
            }
            looks += 1;
            match looks {
                ..LOOKS => std::hint::spin_loop(),
                _ => kernel::wait_while(&self.departures, departures, (!is_fenced).then_some(STORE_IS_SEEN_AFTER)),
            }
        }
    }

    /// What it locks begins anew, for other threads maybe.
    pub fn begin_anew(&self) {
        let _inside = Inside::enter();
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        *guests = Guests::default();
    }
}

impl Guests {
    /// A guest is inside: it becomes the host if it came twice and the host never; and nobody is the host of what many use.
    fn note<T>(&mut self, of: &Leaning<T>, own: &'static Host) {
        let uses = of.uses.load(Ordering::Relaxed);
        let since = uses.wrapping_sub(self.uses);
        self.soon = if since <= SOON { self.soon + 1 } else { 0 };
        if since == 0 && self.last.is_some_and(|last| ptr::eq(last, own)) {
            of.host.store(ptr::from_ref(own).cast_mut(), Ordering::Relaxed);
            self.soon = 0;
        } else if self.soon >= PATIENCE {
            of.host.store(ptr::null_mut(), Ordering::Relaxed);
            self.only = true;
        }
        (self.last, self.uses) = (Some(own), uses);
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        match self.host {
            Some(host) => self.lock.leave(host),
            None => self.lock.leave_as_guest(),
        }
        Inside::leave();
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: Whoever has a guard is alone: of guests, by the mutex; as the host, by `enter` and `visit`; while nobody
        // is the host, all are guests.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As above.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> fmt::Debug for Leaning<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Leaning").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A mutex is taken.
#[derive(Debug)]
pub struct Taken<'a, T> {
    // Given back before the handlers of signals may run.
    guard: MutexGuard<'a, T>,
    _inside: Inside,
}

/// Takes a mutex, once nobody else has it. Of a thread that has panicked with it, too: no state here is left in pieces.
pub fn take<T>(mutex: &Mutex<T>) -> Taken<'_, T> {
    let inside = Inside::enter();
    Taken { guard: mutex.lock().unwrap_or_else(PoisonError::into_inner), _inside: inside }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// Counts in two words that only a lock keeps equal.
    #[derive(Default)]
    struct Pair(AtomicU32, AtomicU32);

    fn count(lock: &Leaning<Pair>, times: u32) {
        for _ in 0..times {
            let pair = lock.lock();
            let before = pair.0.load(Ordering::Relaxed);
            pair.0.store(before + 1, Ordering::Relaxed);
            // Long enough for another thread to come in, if it may.
            (0..100).for_each(|_| std::hint::spin_loop());
            assert_eq!(pair.1.load(Ordering::Relaxed), before);
            pair.1.store(before + 1, Ordering::Relaxed);
        }
    }

    fn counted(lock: &Leaning<Pair>) -> u32 {
        lock.lock().0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_host_and_its_guests_are_never_inside_together() {
        static LOCK: LazyLock<Leaning<Pair>> = LazyLock::new(Leaning::default);
        count(&LOCK, 1);
        static IS_DONE: AtomicBool = AtomicBool::new(false);
        let host = std::thread::spawn(|| {
            count(&LOCK, 50_000);
            IS_DONE.store(true, Ordering::Relaxed);
        });
        // Seldom enough for the host to stay one.
        let guest = std::thread::spawn(|| {
            for _ in 0..300 {
                count(&LOCK, 1);
                let uses = LOCK.uses.load(Ordering::Relaxed);
                while LOCK.uses.load(Ordering::Relaxed).wrapping_sub(uses) < 2 * SOON
                    && !IS_DONE.load(Ordering::Relaxed)
                {
                    std::hint::spin_loop();
                }
            }
        });
        host.join().unwrap();
        guest.join().unwrap();
        assert_eq!(counted(&LOCK), 50_301);
    }

    /// Longer than a guest looks: it sleeps, and only the host wakes it.
    #[test]
    fn a_guest_who_sleeps_is_woken_by_the_host_who_leaves() {
        let lock = Leaning::<Pair>::default();
        count(&lock, 1);
        for _ in 0..100 {
            count(&lock, 2 * SOON);
            let inside = lock.lock();
            assert!(leans_here(&lock) && inside.host.is_some());
            std::thread::scope(|scope| {
                let (told, tid) = std::sync::mpsc::channel();
                let lock = &lock;
                let guest = scope.spawn(move || {
                    told.send(nix::unistd::gettid()).unwrap();
                    count(lock, 1);
                });
                let status = format!("/proc/self/task/{}/syscall", tid.recv().unwrap());
                let futex = format!("{} ", libc::SYS_futex);
                let departures = format!("{:#x}", (&raw const lock.departures).addr());
                while !std::fs::read_to_string(&status).unwrap().starts_with(&format!("{futex}{departures}")) {
                    std::thread::yield_now();
                }
                drop(inside);
                guest.join().unwrap();
            });
        }
    }

    fn leans_here(lock: &Leaning<Pair>) -> bool {
        ptr::eq(lock.host.load(Ordering::Relaxed), Host::own().unwrap())
    }

    #[test]
    fn what_another_thread_goes_on_with_leans_to_that() {
        let lock = Leaning::<Pair>::default();
        count(&lock, 1);
        assert!(leans_here(&lock));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                count(&lock, 3);
                assert!(leans_here(&lock));
            });
        });
        count(&lock, 1);
        assert_eq!(counted(&lock), 5);
    }

    #[test]
    fn what_many_use_leans_to_nobody_until_it_begins_anew() {
        let lock = Leaning::<Pair>::default();
        count(&lock, 1);
        for _ in 0..PATIENCE {
            std::thread::scope(|scope| _ = scope.spawn(|| count(&lock, 1)));
            count(&lock, 1);
        }
        assert!(lock.host.load(Ordering::Relaxed).is_null());
        count(&lock, 3);
        assert!(lock.host.load(Ordering::Relaxed).is_null());
        lock.begin_anew();
        count(&lock, 1);
        assert!(leans_here(&lock));
    }
}
