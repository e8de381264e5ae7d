//! epoll(7) over a mix.
//!
//! ```text
//!   the program's instance ── its kernel descriptors ─┐
//!                                                     ├── inner instance: what a thread sleeps at
//!   items: our sockets ── their bells, edge-triggered ┤
//!                         the set's own bell ─────────┘
//! ```
//!
//! An item is either *hot*, to be looked at by the next wait, or it rests: its bell was armed when it allowed nothing new,
//! and makes it hot again. So a wait costs nothing for connections where nothing happens, and 10,000 of them are as cheap
//! as one.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libc::{epoll_event, sigset_t};
use nix::errno::Errno;
use sockets::SPIN;

use super::{Look, look_at, poll_events};
use crate::description::{Held, Kind, Waiter};
use crate::lock::{self, Taken};
use crate::signals::Watch;
use crate::table::{self, EPOLL_SETS, Number};
use crate::thread::Inside;
use crate::{descriptors, kernel, stream, wait};

/// What the inner instance says of the program's own one.
const KERNEL: u64 = u64::MAX;
/// What it says of the set's own bell.
const BELL: u64 = u64::MAX - 1;
/// Events of the inner instance that one wait takes.
const BATCH: usize = 64;

/// Waits that find something among our sockets, of which one looks at the kernel's descriptors too.
const WAITS_PER_LOOK: u32 = 8;

/// An epoll instance that has sockets of ours.
#[derive(Debug, Default)]
pub struct EpollSet {
    index: AtomicU32,
    references: AtomicU32,
    state: Mutex<Option<State>>,
    hot: Mutex<Hot>,
    skipped: AtomicU32,
}

#[derive(Debug, Default)]
struct Hot {
    items: BTreeSet<RawFd>,
    /// Rung where somebody may sleep.
    bell: Option<RawFd>,
    sleepers: u32,
}

#[derive(Debug)]
struct State {
    /// The program's own instance.
    outer: RawFd,
    inner: OwnedFd,
    bell: OwnedFd,
    items: HashMap<RawFd, Item>,
    /// Where the next look begins, so that all have their turn.
    turn: RawFd,
}

#[derive(Debug)]
struct Item {
    held: Held,
    events: u32,
    data: u64,
    /// EPOLLONESHOT has been.
    spent: bool,
    /// What an edge-triggered item was last reported for.
    reported: u32,
    position: u64,
    /// Its bell is in the inner instance.
    bell: Option<RawFd>,
}

impl EpollSet {
    /// Its number in the slab.
    pub fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// One descriptor more.
    pub fn add_reference(&self) {
        self.references.fetch_add(1, Ordering::AcqRel);
    }

    /// One less; with the last it is gone.
    pub fn release(&'static self, index: u32) {
        if self.references.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let _inside = Inside::enter();
        let Some(state) = self.state().take() else { return };
        state.items.iter().for_each(|(fd, item)| item.held.description().remove_epoll(self, *fd));
        *self.hot() = Hot::default();
        drop(state);
        EPOLL_SETS.give_back(index);
    }

    fn state(&self) -> Taken<'_, Option<State>> {
        lock::take(&self.state)
    }

    /// Whoever has this lock takes no other one.
    fn hot(&self) -> Taken<'_, Hot> {
        lock::take(&self.hot)
    }

    /// Something has happened to a socket of the set.
    pub fn heat(&self, fd: RawFd) {
        let mut hot = self.hot();
        hot.items.insert(fd);
        if hot.sleepers > 0
            && let Some(bell) = hot.bell
        {
            wait::ring(bell);
        }
    }

    /// A set for the program's instance `outer`, which gets its first socket of ours.
    fn make(outer: RawFd) -> Result<&'static Self, Errno> {
        let _inside = Inside::enter();
        let (inner, bell) = make_inner(outer)?;
        let (index, set) = EPOLL_SETS.take().ok_or(Errno::ENOMEM)?;
        *set.hot() = Hot { bell: Some(bell.as_raw_fd()), ..Hot::default() };
        *set.state() = Some(State { outer, inner, bell, items: HashMap::new(), turn: 0 });
        set.index.store(index, Ordering::Relaxed);
        set.references.store(1, Ordering::Release);
        table::put_epoll(outer, index);
        Ok(set)
    }

    /// epoll_ctl(2) for one of our sockets.
    fn control(&'static self, operation: i32, fd: RawFd, held: Held, events: u32, data: u64) -> Result<(), Errno> {
        let mut state = self.state();
        let state = state.as_mut().ok_or(Errno::EBADF)?;
        // One that was closed left by itself.
        if state.items.get(&fd).is_some_and(|item| item.held.check().is_err() || item.held.index() != held.index()) {
            self.remove(state, fd);
        }
        let is_there = state.items.contains_key(&fd);
        match operation {
            libc::EPOLL_CTL_ADD if is_there => return Err(Errno::EEXIST),
            libc::EPOLL_CTL_ADD => {
                let item = Item { held, events, data, spent: false, reported: 0, position: 0, bell: None };
                state.items.insert(fd, item);
                held.description().add_waiter(Waiter::Epoll(self, fd));
            }
            libc::EPOLL_CTL_MOD => {
                let item = state.items.get_mut(&fd).ok_or(Errno::ENOENT)?;
                if events & libc::EPOLLEXCLUSIVE as u32 != 0 {
                    return Err(Errno::EINVAL);
                }
                (item.events, item.data, item.spent, item.reported) = (events, data, false, 0);
            }
            libc::EPOLL_CTL_DEL => {
                if !is_there {
                    return Err(Errno::ENOENT);
                }
                self.remove(state, fd);
                return Ok(());
            }
            _ => return Err(Errno::EINVAL),
        }
        self.heat(fd);
        Ok(())
    }

    fn remove(&'static self, state: &mut State, fd: RawFd) {
        let Some(item) = state.items.remove(&fd) else { return };
        item.held.description().remove_epoll(self, fd);
        if let Some(bell) = item.bell {
            // A connection that is closed took its bell along.
            let _ = kernel::epoll_ctl(state.inner.as_raw_fd(), libc::EPOLL_CTL_DEL, bell, 0, 0);
        }
        self.hot().items.remove(&fd);
    }

    /// Looks at the hot items; fills in what they have to say.
    fn collect(&'static self, events: &mut [epoll_event], how: Look) -> Result<usize, Errno> {
        let mut state = self.state();
        let state = state.as_mut().ok_or(Errno::EBADF)?;
        let hot = self.hot().items.clone();
        let (later, sooner): (Vec<RawFd>, Vec<RawFd>) = hot.into_iter().partition(|fd| *fd >= state.turn);
        let mut found = 0;
        for fd in later.into_iter().chain(sooner) {
            let Some(room) = events.get_mut(found) else { break };
            // First, so that what happens from here on makes it hot again.
            self.hot().items.remove(&fd);
            let Some(item) = state.items.get_mut(&fd) else { continue };
            if item.held.check().is_err() {
                self.remove(state, fd);
                continue;
            }
            if item.spent {
                continue;
            }
            state.turn = fd + 1;
            let said = item.look(how);
            if said != 0 {
                *room = epoll_event { events: said, u64: item.data };
                found += 1;
            }
            if !(item.may_rest(how, said) && item.listen(fd, &state.inner)) {
                self.hot().items.insert(fd);
            }
        }
        Ok(found)
    }

    /// epoll_wait(2).
    fn wait(
        &'static self,
        events: &mut [epoll_event],
        timeout: Option<Duration>,
        mask: Option<&sigset_t>,
    ) -> Result<usize, Errno> {
        let (until, watch) = (timeout.map(|timeout| Instant::now() + timeout), Watch::begin());
        let mut found = self.collect(events, Look::Glance)?;
        if found == 0 && timeout != Some(Duration::ZERO) {
            found = self.look_out(events)?;
        }
        loop {
            if found > 0 && self.may_skip_kernel() {
                return Ok(found);
            }
            if found > 0 || timeout == Some(Duration::ZERO) {
                let kernel = self.listen(Some(Duration::ZERO), None)?;
                if found == 0 {
                    found = self.collect(events, Look::Arm)?;
                }
                return Ok(found + self.ask_kernel(kernel, events.get_mut(found..).unwrap_or_default())?);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            self.hot().sleepers += 1;
            let slept = self.collect(events, Look::Arm).and_then(|ready| {
                found = ready;
                if ready > 0 { Ok(false) } else { self.listen(self.cap(left), Some((watch, mask))) }
            });
            self.hot().sleepers -= 1;
            let kernel = slept?;
            if found == 0 {
                found = self.collect(events, Look::Arm)?;
                found += self.ask_kernel(kernel, events.get_mut(found..).unwrap_or_default())?;
            }
            if found > 0 || until.is_some_and(|until| until <= Instant::now()) {
                return Ok(found);
            }
        }
    }

    /// Whether a wait that has found something may leave the kernel's descriptors, and bells of those that rest, to a later
    /// one: each look costs a system call.
    fn may_skip_kernel(&self) -> bool {
        self.skipped.fetch_add(1, Ordering::Relaxed) % WAITS_PER_LOOK != WAITS_PER_LOOK - 1
    }

    /// Looks out for peers that are awake.
    fn look_out(&'static self, events: &mut [epoll_event]) -> Result<usize, Errno> {
        let start = Instant::now();
        while start.elapsed() < SPIN && !self.hot().items.is_empty() {
            for _ in 0..16 {
                let found = self.collect(events, Look::Glance)?;
                if found > 0 {
                    return Ok(found);
                }
                std::hint::spin_loop();
            }
        }
        Ok(0)
    }

    /// Connections that another process has too are looked at now and then.
    fn cap(&self, left: Option<Duration>) -> Option<Duration> {
        let state = self.state();
        let is_shared = |item: &Item| item.held.description().lock().as_ref().is_some_and(sockets::Stream::is_shared);
        match state.as_ref().is_some_and(|state| state.items.values().any(is_shared)) {
            true => Some(left.unwrap_or(Duration::MAX).min(wait::LOOK_AT_SHARED)),
            false => left,
        }
    }

    /// Sleeps at the inner instance, and heats those whose bell rang. Whether one of the kernel's descriptors has something.
    fn listen(
        &'static self,
        timeout: Option<Duration>,
        sleeping: Option<(Watch, Option<&sigset_t>)>,
    ) -> Result<bool, Errno> {
        let (inner, bell) = match &*self.state() {
            Some(state) => (state.inner.as_raw_fd(), state.bell.as_raw_fd()),
            None => return Err(Errno::EBADF),
        };
        let mut rang = [epoll_event { events: 0, u64: 0 }; BATCH];
        let count = match sleeping {
            Some((watch, mask)) => watch.sleep(bell, || kernel::epoll_wait(inner, &mut rang, timeout, mask))?,
            None => kernel::epoll_wait(inner, &mut rang, timeout, None)?,
        };
        let (mut silent, mut kernel) = (Vec::new(), false);
        for event in rang.iter().take(count) {
            match event.u64 {
                KERNEL => kernel = true,
                BELL => wait::silence(bell),
                // It was a number of this size when it was added.
                fd => silent.push(fd as RawFd),
            }
        }
        for fd in silent {
            let held = self.state().as_ref().and_then(|state| state.items.get(&fd).map(|item| item.held));
            if let Some(held) = held {
                // Tells this set, too.
                stream::silence(held);
            }
        }
        Ok(kernel)
    }

    /// What the kernel's descriptors of the program's instance say, without waiting; asked only if they have something.
    fn ask_kernel(&self, has_something: bool, events: &mut [epoll_event]) -> Result<usize, Errno> {
        if events.is_empty() || !has_something {
            return Ok(0);
        }
        let outer = self.state().as_ref().map(|state| state.outer).ok_or(Errno::EBADF)?;
        kernel::epoll_wait(outer, events, Some(Duration::ZERO), None)
    }
}

/// A set that nobody else uses, while the process forks.
pub struct Locked {
    state: Taken<'static, Option<State>>,
    hot: Taken<'static, Hot>,
}

impl EpollSet {
    /// Waits until nobody uses it.
    pub fn lock_for_fork(&'static self) -> Locked {
        Locked { state: self.state(), hot: self.hot() }
    }
}

impl Locked {
    /// In the child: the inner instance and the bell are the parent's; the program's own one is both's, as on Linux.
    pub fn renew(&mut self) -> Result<(), Errno> {
        let Some(state) = &mut *self.state else { return Ok(()) };
        let (inner, bell) = make_inner(state.outer)?;
        self.hot.bell = Some(bell.as_raw_fd());
        self.hot.sleepers = 0;
        (state.inner, state.bell) = (inner, bell);
        for (fd, item) in &mut state.items {
            item.bell = None;
            self.hot.items.insert(*fd);
        }
        Ok(())
    }
}

/// The instance that threads sleep at, and the bell in it.
fn make_inner(outer: RawFd) -> Result<(OwnedFd, OwnedFd), Errno> {
    let inner = kernel::own(descriptors::opened(kernel::epoll_create(libc::EPOLL_CLOEXEC)?));
    let bell = wait::make_bell()?;
    kernel::epoll_ctl(inner.as_raw_fd(), libc::EPOLL_CTL_ADD, bell.as_raw_fd(), libc::EPOLLIN as u32, BELL)?;
    kernel::epoll_ctl(inner.as_raw_fd(), libc::EPOLL_CTL_ADD, outer, libc::EPOLLIN as u32, KERNEL)?;
    Ok((inner, bell))
}

impl Item {
    /// What it has to say now.
    fn look(&mut self, how: Look) -> u32 {
        let always = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        // poll(2) and epoll(7) have the same numbers.
        let is = u32::from(poll_events(look_at(self.held, how)) as u16) & (self.events | always);
        if self.events & libc::EPOLLET as u32 != 0 {
            let position = self.position();
            let has_room =
                is & libc::EPOLLOUT as u32 != 0 && self.held.description().was_full.swap(false, Ordering::Relaxed);
            let is_new = is & !self.reported != 0 || position != self.position || has_room;
            (self.reported, self.position) = (is, position);
            if !is_new {
                return 0;
            }
        }
        if is != 0 && self.events & libc::EPOLLONESHOT as u32 != 0 {
            self.spent = true;
        }
        is
    }

    /// Counts what has arrived.
    fn position(&self) -> u64 {
        match self.held.kind() {
            Kind::Stream => self.held.description().lock().as_ref().map_or(0, sockets::Stream::arrived),
            Kind::Datagram | Kind::Netlink => 0,
        }
    }

    /// Whether nothing is to be said until its bell rings. What was reported is looked at once more, edge-triggered or
    /// not: only then is it known what the program has left, and what the bell is to ring for.
    fn may_rest(&self, how: Look, said: u32) -> bool {
        self.spent || (how == Look::Arm && said == 0)
    }

    /// Adds its bell to the inner instance. `false`: it has none.
    fn listen(&mut self, fd: RawFd, inner: &OwnedFd) -> bool {
        let bell = match self.held.kind() {
            Kind::Stream => self.held.description().lock().as_mut().map(stream::bell),
            Kind::Datagram | Kind::Netlink => None,
        };
        if bell.is_some() && bell != self.bell {
            let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
            // Its number: never as large as the two that mean something else.
            let added =
                bell.map(|bell| kernel::epoll_ctl(inner.as_raw_fd(), libc::EPOLL_CTL_ADD, bell, events, fd as u64));
            if let Some(Err(error)) = added
                && error != Errno::EEXIST
            {
                return false;
            }
            self.bell = bell;
        }
        true
    }
}

/// epoll_ctl(2), if it is about one of our sockets.
pub fn control(epoll: RawFd, operation: i32, fd: RawFd, event: Option<(u32, u64)>) -> Option<Result<(), Errno>> {
    let held = match (table::look_up(epoll), table::look_up(fd)) {
        (Number::Epoll(set), Number::Foreign) => {
            // A socket that was closed leaves by itself; its number may be another's now.
            set.forget_closed(fd);
            return None;
        }
        (_, Number::Socket(held)) => held,
        (_, Number::Epoll(_)) => {
            // The kernel sees its own descriptors in it, and not our sockets.
            crate::log::not_covered("epoll_ctl with an epoll instance that has sockets of IP");
            return None;
        }
        (_, Number::Foreign | Number::Internal) => return None,
    };
    let (events, data) = match (operation, event) {
        (libc::EPOLL_CTL_DEL, _) => (0, 0),
        (_, Some(event)) => event,
        (_, None) => return Some(Err(Errno::EFAULT)),
    };
    let set = match table::look_up(epoll) {
        Number::Epoll(set) => set,
        Number::Foreign if operation == libc::EPOLL_CTL_ADD => match EpollSet::make(epoll) {
            Ok(set) => set,
            // Not an epoll instance, for one.
            Err(error) => return Some(Err(if error == Errno::EPERM { Errno::EINVAL } else { error })),
        },
        Number::Foreign => return Some(Err(Errno::ENOENT)),
        Number::Internal | Number::Socket(_) => return Some(Err(Errno::EINVAL)),
    };
    Some(set.control(operation, fd, held, events, data))
}

impl EpollSet {
    fn forget_closed(&'static self, fd: RawFd) {
        let mut state = self.state();
        let Some(state) = state.as_mut() else { return };
        if state.items.contains_key(&fd) {
            self.remove(state, fd);
        }
    }
}

/// Whether an instance has sockets of ours.
pub fn is_ours(epoll: RawFd) -> bool {
    matches!(table::look_up(epoll), Number::Epoll(_))
}

/// epoll_wait(2) of one that has.
pub fn wait(
    epoll: RawFd,
    events: &mut [epoll_event],
    timeout: Option<Duration>,
    mask: Option<&sigset_t>,
) -> Result<usize, Errno> {
    match table::look_up(epoll) {
        Number::Epoll(set) => set.wait(events, timeout, mask),
        Number::Foreign | Number::Internal | Number::Socket(_) => Err(Errno::EBADF),
    }
}
