//! What a thread of the program knows of itself.

use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering, compiler_fence};

use crate::signals::{self, Interruptions};

thread_local! {
    static OWN: Own = const { Own::new() };
    /// Gives the thread's host back when the thread ends.
    static LEASE: RefCell<Option<Lease>> = const { RefCell::new(None) };
}

/// In one piece, since a look at it costs a call; without a destructor, since it is used until a thread's last moment.
/// Handlers of signals change it, too.
#[derive(Debug)]
pub struct Own {
    /// How deep the thread is in this library's own work.
    depth: Cell<u32>,
    /// It is the service thread.
    serves: Cell<bool>,
    host: Cell<Option<&'static Host>>,
    /// Handlers that have run, or are to.
    pub interruptions: Interruptions,
}

impl Own {
    const fn new() -> Self {
        Self {
            depth: Cell::new(0),
            serves: Cell::new(false),
            host: Cell::new(None),
            interruptions: Interruptions::new(),
        }
    }
}

/// Does something with what this thread knows.
#[inline]
pub fn own<T>(what: impl FnOnce(&Own) -> T) -> T {
    OWN.with(what)
}

/// This thread is the service thread.
pub fn become_service() {
    own(|own| own.serves.set(true));
}

/// Whether it is.
pub fn is_service() -> bool {
    own(|own| own.serves.get())
}

/// This thread does this library's own work: what it opens is internal, what is internal it may close, and handlers of
/// signals wait until it has ended.
#[derive(Debug)]
pub struct Inside(());

impl Inside {
    /// Begins it; ends with the value.
    #[inline]
    pub fn enter() -> Self {
        own(|own| own.depth.set(own.depth.get() + 1));
        // A handler that interrupts what follows finds the depth.
        compiler_fence(Ordering::SeqCst);
        Self(())
    }

    /// Whether this thread does.
    pub fn is_here() -> bool {
        own(|own| own.depth.get() > 0)
    }
}

impl Inside {
    /// Ends what [`enter`](Self::enter) has begun.
    #[inline]
    pub fn leave() {
        compiler_fence(Ordering::SeqCst);
        let is_due = own(|own| {
            let depth = own.depth.get() - 1;
            own.depth.set(depth);
            // A handler from here on runs at once; one before has been put off.
            compiler_fence(Ordering::SeqCst);
            depth == 0 && own.interruptions.is_put_off()
        });
        if is_due {
            signals::deliver();
        }
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        Self::leave();
    }
}

/// A thread, as locks know it that lean to it. Never freed, only used again: locks go on pointing to it.
#[derive(Debug, Default)]
pub struct Host {
    /// The address of the lock that it has as its host.
    pub at: AtomicUsize,
}

/// Those of threads that have ended. Nobody waits for it: a forked child may find it taken for ever.
static FREE: Mutex<Vec<&'static Host>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Lease(&'static Host);

impl Drop for Lease {
    fn drop(&mut self) {
        let _inside = Inside::enter();
        own(|own| own.host.set(None));
        if let Ok(mut free) = FREE.try_lock() {
            free.push(self.0);
        }
    }
}

impl Host {
    /// This thread, if it was a host before.
    #[inline]
    pub fn known() -> Option<&'static Self> {
        own(|own| own.host.get())
    }

    /// This thread. `None`: it is about to end.
    pub fn own() -> Option<&'static Self> {
        if let Some(known) = Self::known() {
            return Some(known);
        }
        let made = LEASE.try_with(|lease| {
            let mut lease = lease.try_borrow_mut().ok()?;
            let free = FREE.try_lock().ok().and_then(|mut free| free.pop());
            let host = free.unwrap_or_else(|| Box::leak(Box::default()));
            *lease = Some(Lease(host));
            own(|own| own.host.set(Some(host)));
            Some(host)
        });
        made.ok()?
    }
}
