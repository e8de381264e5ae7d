//! The limit of descriptors, which is the program's: this library's own are beyond it.
//!
//! The kernel looks at the limit only where a descriptor is opened. So it is raised for the moment in which this library
//! opens one, which then moves to a number beyond the program's limit; behind that it is again as the program has set it.
//! What the program asks of its limit, and what happens where it reaches it, is the kernel's own answer, whatever call it is,
//! and so it is in the programs that it executes.
//!
//! ```text
//!   0 ......... soft limit ......... base ......... base + OWN
//!   the program's | if it wants more | this library's
//! ```
//!
//! Where the hard limit leaves no room for that, and the process may not raise that one either (CAP_SYS_RESOURCE), this
//! library's descriptors begin at a quarter of it, and where it is no higher than the soft one, within the last quarter of
//! what the program has. A call that opens a descriptor in such a moment in another thread, of a program that has none
//! left, may get one all the same.

use std::os::fd::RawFd;
use std::sync::Mutex;

use nix::errno::Errno;

use crate::kernel;
use crate::lock::{self, Taken};

/// How many this library may have.
const OWN: u64 = 65_536;
/// Where they begin at least: a program that raises its limit later, as servers do when they know how many clients they are
/// to have, finds the numbers free.
const BASE: u64 = 16_384;
/// Where they begin at most: a table of descriptors is as long as its highest one.
const HIGHEST_BASE: u64 = 60_000;
/// Where a program sets its limit to nothing, to open no more, it has some nevertheless.
const LOWEST: u64 = 64;

/// Had while the limit is raised.
static RAISED: Mutex<()> = Mutex::new(());

/// Waits until no other thread has raised the limit. While the result is held it is what the program has set.
pub fn settled() -> Taken<'static, ()> {
    lock::take(&RAISED)
}

/// Does what opens descriptors of this library's own; it is told the lowest number that these should have.
pub fn beyond<T>(open: impl FnOnce(RawFd) -> T) -> T {
    let _alone = settled();
    let limits = kernel::descriptor_limits();
    let (soft, hard) = limits;
    let base = soft.clamp(BASE, HIGHEST_BASE);
    let wanted = base + OWN;
    let raise = |to: u64| kernel::set_descriptor_limits((to, hard.max(to)));
    let (is_raised, lowest) = match soft {
        _ if soft >= wanted => (false, base),
        _ if raise(wanted) => (true, base),
        _ if hard > soft && raise(hard) => (true, soft.max(BASE.min(hard / 4))),
        _ => (false, soft - soft / 4),
    };
    // Below 60,000, unless there is no room.
    let result = open(RawFd::try_from(lowest.max(LOWEST)).unwrap_or(RawFd::MAX));
    if is_raised {
        let error = Errno::last();
        kernel::set_descriptor_limits(limits);
        error.set();
    }
    result
}
