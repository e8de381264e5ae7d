//! An epoll instance in another one, or among what poll(2) and select(2) wait for.
//!
//! ```text
//!   outer set ── item ──▶ set ── items ──▶ sockets
//!       inner instance ◀── edge ── inner instance ◀── bells; the program's own instance
//! ```
//!
//! A set can be read when one of its items has something to say or the kernel's instance has. To find that out its items
//! are looked at without being told of: what they say stays for whoever waits for the set itself. What happens without a
//! bell heats the set, and a set that is heated tells the sets around it.
//!
//! Whoever looks at a set holds no other set's lock: a fork takes all of them, in no order.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use libc::{c_short, epoll_event};
use sockets::Stream;

use super::Look;
use super::epoll::{BELL, EpollSet, KERNEL};
use super::item::Watched;
use crate::{kernel, wait};

/// Events of an inner instance that are taken at once.
const BATCH: usize = 64;

/// A set that was looked up.
#[derive(Debug, Clone, Copy)]
pub struct HeldSet {
    set: &'static EpollSet,
    generation: u32,
}

impl PartialEq for HeldSet {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.set, other.set) && self.generation == other.generation
    }
}

/// What was seen in a set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Somebody who waits for it would be told something.
    is_readable: bool,
    /// Counts what has happened in it.
    pub edges: u64,
}

impl Seen {
    /// As poll(2) says it.
    pub fn events(self) -> c_short {
        if self.is_readable { libc::POLLIN | libc::POLLRDNORM } else { 0 }
    }
}

impl HeldSet {
    /// The present use of a set.
    pub fn hold(set: &'static EpollSet) -> Self {
        Self { set, generation: set.generation.load(Ordering::Acquire) }
    }

    /// The set.
    pub fn set(self) -> &'static EpollSet {
        self.set
    }

    /// Whether it has descriptors.
    pub fn is_open(self) -> bool {
        self.set.generation.load(Ordering::Acquire) == self.generation
    }

    /// Looks at it, and takes nothing from it.
    pub fn look(self, how: Look) -> Seen {
        if self.is_open() { self.set.peek(how) } else { Seen::default() }
    }

    /// Its inner instance has said something: silences bells, and heats what they rang for.
    pub fn hear(self) {
        if self.is_open() {
            self.set.hear();
        }
    }
}

impl EpollSet {
    /// Looks at its hot items that are sets themselves: they are hot no longer, unless something happens to them.
    pub(super) fn look_at_nested(&'static self, how: Look) -> HashMap<RawFd, Seen> {
        let sets: Vec<(RawFd, HeldSet)> = {
            let state = self.state();
            let Some(state) = state.as_ref().filter(|state| state.nested > 0) else { return HashMap::new() };
            let mut hot = self.hot();
            let sets = state.items.iter().filter_map(|(fd, item)| match item.watched {
                Watched::Set(held) => hot.items.remove(fd).then_some((*fd, held)),
                Watched::Socket(_) => None,
            });
            sets.collect()
        };
        sets.into_iter().map(|(fd, held)| (fd, held.look(how))).collect()
    }

    fn peek(&'static self, how: Look) -> Seen {
        let nested = self.look_at_nested(how);
        let mut state = self.state();
        let Some(state) = state.as_mut() else { return Seen::default() };
        let mut hot: Vec<RawFd> = self.hot().items.iter().copied().collect();
        hot.extend(nested.keys());
        let mut is_readable = false;
        for fd in hot {
            let seen = nested.get(&fd).copied();
            if !self.may_speak(state, fd, seen) {
                continue;
            }
            let Some(item) = state.items.get_mut(&fd) else { continue };
            let (said, is_news) = item.peek(how, seen);
            is_readable |= said != 0;
            state.edges += u64::from(is_news);
            if !(item.may_rest(how, said, seen) && item.listen(fd, &state.inner).is_ok()) {
                self.hot().items.insert(fd);
            }
        }
        if how == Look::Arm && !is_readable {
            let mut outer = [wait::watch(state.outer)];
            is_readable = kernel::ppoll(&mut outer, Some(Duration::ZERO), None).is_ok_and(|count| count > 0);
        }
        Seen { is_readable, edges: state.edges }
    }

    fn hear(&'static self) {
        let mut rang = [epoll_event { events: 0, u64: 0 }; BATCH];
        let mut bells = Vec::new();
        {
            let mut state = self.state();
            let Some(state) = state.as_mut() else { return };
            let inner = state.inner.as_raw_fd();
            let count = kernel::epoll_wait(inner, &mut rang, Some(Duration::ZERO), None).unwrap_or(0);
            for event in rang.iter().take(count) {
                match event.u64 {
                    KERNEL => state.edges += 1,
                    // Somebody sleeps at this set who has yet to hear it.
                    BELL => {
                        let hot = self.hot();
                        if hot.sleepers == 0 {
                            wait::silence(state.bell.as_raw_fd());
                        }
                    }
                    // It was a number of this size when it was added.
                    fd => bells.push(fd as RawFd),
                }
            }
        }
        self.heard(bells);
    }

    /// Whether it has, in itself or in sets in it, connections that another process has too.
    pub(super) fn has_shared(&self) -> bool {
        let mut sets = Vec::new();
        {
            let state = self.state();
            let Some(state) = state.as_ref() else { return false };
            for item in state.items.values() {
                match item.watched {
                    Watched::Socket(held) if held.description().lock().as_ref().is_some_and(Stream::is_shared) => {
                        return true;
                    }
                    Watched::Socket(_) => {}
                    Watched::Set(held) => sets.push(held),
                }
            }
        }
        sets.into_iter().any(|held| held.is_open() && held.set.has_shared())
    }
}
