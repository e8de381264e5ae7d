//! Readiness: poll, select and epoll over a mix of our sockets and the kernel's descriptors.
//!
//! All three look at the rings first, which costs no system call, and look out for peers for a while. A call that has to
//! sleep arms the bells of what it waits for and lets the kernel wait for bells and for the kernel's descriptors at once.

pub mod epoll;
pub mod item;
pub mod nested;
pub mod poll;
pub mod select;

use libc::c_short;
use sockets::{Path, Readiness, Stream};

use crate::description::{Held, Kind};
use crate::{netlink, process};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At the rings alone, and not whether there is room to write.
    GlanceToRead,
    /// At the rings alone.
    Glance,
    /// And lets the bell ring for what is not there.
    Arm,
}

/// Nothing but that it is closed.
const CLOSED: Readiness = Readiness { readable: true, writable: true, read_closed: true, hung_up: true, failed: true };

/// What a socket allows.
#[inline]
fn look_at(held: Held, how: Look) -> Readiness {
    if let Some(calm) = held.description().calm()
        && held.check().is_ok()
    {
        return calm;
    }
    if held.kind() == Kind::Stream {
        let Ok(mut stream) = held.lock() else { return CLOSED };
        if let Some(stream) = stream.as_mut() {
            return match how {
                Look::GlanceToRead => stream.glance_to_read(),
                Look::Glance => stream.glance(),
                Look::Arm => stream.readiness(),
            };
        }
    }
    ask_process(held)
}

/// The same for what is no connection, and is not calm.
#[cold]
fn ask_process(held: Held) -> Readiness {
    if held.kind() == Kind::Netlink {
        return Readiness { readable: netlink::is_readable(held), writable: true, ..Readiness::default() };
    }
    process::with(|process| process.readiness(held.index())).unwrap_or(CLOSED)
}

/// As poll(2) says it.
fn poll_events(readiness: Readiness) -> c_short {
    let say = |is: bool, event: c_short| if is { event } else { 0 };
    say(readiness.readable, libc::POLLIN | libc::POLLRDNORM)
        | say(readiness.writable, libc::POLLOUT | libc::POLLWRNORM)
        | say(readiness.read_closed, libc::POLLRDHUP)
        | say(readiness.hung_up, libc::POLLHUP)
        | say(readiness.failed, libc::POLLERR)
}

/// What a look-out does between two looks: each takes the lines from the peer that it works on, so that who does not come
/// soon is looked for less and less often.
fn look_away(looks: u32) {
    for _ in 0..looks {
        std::hint::spin_loop();
    }
}

/// Whether the peer's library holds the other end: then it is worth looking out for it. Of the stack's threads nobody
/// knows when they come, and they need the CPUs.
fn is_direct(stream: &Stream) -> bool {
    matches!(stream.path(), Path::InterVr(_))
}
