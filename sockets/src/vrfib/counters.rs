//! How look-ups went: counted by entry, by interface, and for the whole table.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many look-ups an entry or an interface has answered, and how many it has not.
///
/// ```
/// use sockets::vrfib::{Local, Lookups};
/// # let (_router, red, ..) = sockets_testing::joined();
/// # let (vrfib, bgp, ssh) = (red.library.vrfib(), sockets_testing::tcp(179), sockets_testing::tcp(22));
///
/// let peer = "10.0.0.2".parse()?;
/// vrfib.lookup(&Local::default(), peer, &bgp);
/// vrfib.lookup(&Local::default(), peer, &ssh);
/// assert_eq!(vrfib.lookups(&"vr2".parse()?), Lookups { hits: 1, misses: 1 });
/// assert_eq!(vrfib.unmatched(), 1, "nobody there has ever listened for ssh");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lookups {
    /// Were led there.
    pub hits: u64,
    /// Were meant for there, and led to the stack.
    pub misses: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counters {
    #[inline]
    pub fn hit(&self) {
        // Relaxed: a counter orders nothing.
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> Lookups {
        Lookups { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }
}
