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
//! as one. A set in a set (`nested`) is an item too, whose bell is its inner instance.
//!
//! Every instance that is made gets a set; it has a state from its first socket of ours or first other instance on, and is
//! the kernel's alone until then.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libc::{epoll_event, sigset_t};
use nix::errno::Errno;
use sockets::SPIN;

use super::Look;
use super::item::{Item, Watched};
use super::nested::{HeldSet, Seen};
use crate::description::{Waiter, Waiters};
use crate::lock::{self, Taken};
use crate::signals::Watch;
use crate::table::{self, EPOLL_SETS, Number};
use crate::thread::Inside;
use crate::{descriptors, fork, kernel, stream, wait};

/// What the inner instance says of the program's own one.
pub const KERNEL: u64 = u64::MAX;
/// What it says of the set's own bell.
pub const BELL: u64 = u64::MAX - 1;
/// Events of the inner instance that one wait takes.
const BATCH: usize = 64;

/// Waits that find something among our sockets, of which one looks at the kernel's descriptors too.
const WAITS_PER_LOOK: u32 = 8;

/// An epoll instance.
#[derive(Debug, Default)]
pub struct EpollSet {
    index: AtomicU32,
    references: AtomicU32,
    /// Counts its uses, as a description's does.
    pub(super) generation: AtomicU32,
    /// It has a state.
    is_ours: AtomicBool,
    state: Mutex<Option<State>>,
    hot: Mutex<Hot>,
    skipped: AtomicU32,
    /// Threads that wait while it is the kernel's alone.
    early: AtomicU32,
}

/// What changes while others wait for it.
#[derive(Debug, Default)]
pub struct Hot {
    /// To be looked at.
    pub items: BTreeSet<RawFd>,
    /// Rung where somebody may sleep.
    bell: Option<RawFd>,
    pub sleepers: u32,
    /// Sets that this one is in, and threads that poll it.
    pub waiters: Waiters,
}

/// What it has of ours.
#[derive(Debug)]
pub struct State {
    /// The program's own instance.
    pub outer: RawFd,
    /// What threads sleep at.
    pub inner: OwnedFd,
    pub bell: OwnedFd,
    pub items: HashMap<RawFd, Item>,
    /// How many of them are sets themselves.
    pub nested: usize,
    /// Where the next look begins, so that all have their turn.
    turn: RawFd,
    /// What has happened in it, as an edge-triggered set around it counts.
    pub edges: u64,
    /// Wakes those who fell asleep at the program's instance before there was a state.
    call: Option<OwnedFd>,
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
        let state = self.state().take();
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.is_ours.store(false, Ordering::Release);
        *self.hot() = Hot::default();
        if let Some(state) = state {
            state.items.iter().for_each(|(fd, item)| item.watched.remove_waiter(self, *fd));
        }
        EPOLL_SETS.give_back(index);
    }

    /// Whoever has this lock takes that of what is in the set, but of no other set.
    pub(super) fn state(&self) -> Taken<'_, Option<State>> {
        lock::take(&self.state)
    }

    /// A thread that poll or select had told it of has ended.
    pub fn forget_thread(&self, bell: RawFd) {
        self.hot().waiters.remove_thread(bell);
    }

    /// Whoever has this lock takes no other one.
    pub(super) fn hot(&self) -> Taken<'_, Hot> {
        lock::take(&self.hot)
    }

    /// Something has happened to an item of the set.
    pub fn heat(&self, fd: RawFd) {
        let waiters = {
            let mut hot = self.hot();
            hot.items.insert(fd);
            if hot.sleepers > 0
                && let Some(bell) = hot.bell
            {
                wait::ring(bell);
            }
            if hot.waiters.is_empty() { return } else { hot.waiters.clone() }
        };
        waiters.tell(None);
    }

    /// Whether it has a state, and whoever waits for it waits here.
    pub fn is_ours(&self) -> bool {
        self.is_ours.load(Ordering::Acquire)
    }

    /// Makes a state for the program's instance `outer`, unless it has one.
    fn make_state(&'static self, outer: RawFd) -> Result<(), Errno> {
        let _inside = Inside::enter();
        let mut state = self.state();
        if state.is_some() {
            return Ok(());
        }
        let (inner, bell) = make_inner(outer)?;
        self.hot().bell = Some(bell.as_raw_fd());
        *state = Some(State { outer, inner, bell, items: HashMap::new(), nested: 0, turn: 0, edges: 0, call: None });
        // With those who count themselves before they look: one of the two sees the other.
        self.is_ours.store(true, Ordering::SeqCst);
        if self.early.load(Ordering::SeqCst) > 0
            && let Some(state) = state.as_mut()
        {
            let call = wait::make_bell()?;
            wait::ring(call.as_raw_fd());
            kernel::epoll_ctl(outer, libc::EPOLL_CTL_ADD, call.as_raw_fd(), libc::EPOLLIN as u32, call_data())?;
            state.call = Some(call);
        }
        Ok(())
    }

    /// epoll_ctl(2) for one of our sockets, or another instance.
    fn control(&'static self, operation: i32, fd: RawFd, watched: Watched, event: (u32, u64)) -> Result<(), Errno> {
        let (events, data) = event;
        let mut state = self.state();
        let state = state.as_mut().ok_or(Errno::EBADF)?;
        // One that was closed left by itself.
        if state.items.get(&fd).is_some_and(|item| !item.watched.is_open() || item.watched != watched) {
            self.remove(state, fd);
        }
        let is_there = state.items.contains_key(&fd);
        match operation {
            libc::EPOLL_CTL_ADD if is_there => return Err(Errno::EEXIST),
            libc::EPOLL_CTL_ADD => {
                let mut item = Item::new(watched, events, data);
                if let Watched::Set(_) = watched {
                    if events & libc::EPOLLEXCLUSIVE as u32 != 0 {
                        return Err(Errno::EINVAL);
                    }
                    // The kernel knows circles, and chains that are too long.
                    item.listen(fd, &state.inner)?;
                }
                state.nested += usize::from(matches!(watched, Watched::Set(_)));
                state.items.insert(fd, item);
                watched.add_waiter(Waiter::Epoll(self, fd));
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

    pub(super) fn remove(&'static self, state: &mut State, fd: RawFd) {
        let Some(item) = state.items.remove(&fd) else { return };
        item.watched.remove_waiter(self, fd);
        state.nested -= usize::from(matches!(item.watched, Watched::Set(_)));
        if let Some(bell) = item.bell {
            // A connection that is closed took its bell along.
            let _ = kernel::epoll_ctl(state.inner.as_raw_fd(), libc::EPOLL_CTL_DEL, bell, 0, 0);
        }
        self.hot().items.remove(&fd);
        // Another number of the same one listens by itself from now on.
        for (other, same) in state.items.iter_mut().filter(|(_, other)| other.watched == item.watched) {
            same.bell = None;
            self.hot().items.insert(*other);
        }
    }

    /// Whether a hot item, which is about to be asked, may have something to say. As a set of its own it was `seen` before.
    pub(super) fn may_speak(&'static self, state: &mut State, fd: RawFd, seen: Option<Seen>) -> bool {
        if seen.is_none() {
            // First, so that what happens from here on makes it hot again.
            self.hot().items.remove(&fd);
        }
        let Some(item) = state.items.get(&fd) else { return false };
        if !item.watched.is_open() {
            self.remove(state, fd);
            return false;
        }
        !item.spent
    }

    /// Looks at the hot items; fills in what they have to say.
    fn collect(&'static self, events: &mut [epoll_event], how: Look) -> Result<usize, Errno> {
        let nested = self.look_at_nested(how);
        let mut state = self.state();
        let state = state.as_mut().ok_or(Errno::EBADF)?;
        let hot: BTreeSet<RawFd> = self.hot().items.iter().copied().chain(nested.keys().copied()).collect();
        let (later, sooner): (Vec<RawFd>, Vec<RawFd>) = hot.into_iter().partition(|fd| *fd >= state.turn);
        let mut found = 0;
        for fd in later.into_iter().chain(sooner) {
            let Some(room) = events.get_mut(found) else {
                self.hot().items.insert(fd);
                continue;
            };
            let seen = nested.get(&fd).copied();
            if !self.may_speak(state, fd, seen) {
                continue;
            }
            let Some(item) = state.items.get_mut(&fd) else { continue };
            state.turn = fd + 1;
            let said = item.take(how, seen);
            if said != 0 {
                *room = epoll_event { events: said, u64: item.data };
                found += 1;
            }
            if !(item.may_rest(how, said, seen) && item.listen(fd, &state.inner).is_ok()) {
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
            if self.state().as_ref().is_some_and(|state| state.nested > 0) {
                // What a nested instance has told is heard before it is looked at: heard later it would be told twice.
                self.listen(Some(Duration::ZERO), None)?;
            }
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
        match self.has_shared() {
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
        self.heard(silent);
        Ok(kernel)
    }

    /// Bells of items have rung.
    pub(super) fn heard(&'static self, items: Vec<RawFd>) {
        for fd in items {
            let watched = self.state().as_ref().and_then(|state| state.items.get(&fd).map(|item| item.watched));
            match watched {
                // Tells this set, too.
                Some(Watched::Socket(held)) => stream::silence(held),
                Some(Watched::Set(held)) => {
                    held.hear();
                    self.heat(fd);
                }
                None => {}
            }
        }
    }

    /// What the kernel's descriptors of the program's instance say, without waiting; asked only if they have something.
    fn ask_kernel(&self, has_something: bool, events: &mut [epoll_event]) -> Result<usize, Errno> {
        if events.is_empty() || !has_something {
            return Ok(0);
        }
        let outer = self.state().as_ref().map(|state| state.outer).ok_or(Errno::EBADF)?;
        let count = kernel::epoll_wait(outer, events, Some(Duration::ZERO), None)?;
        Ok(without_call(events, count))
    }

    /// epoll_wait(2) of an instance that has nothing of ours, by `wait`. What there is once it has is waited for here:
    /// `None`, and nothing was found.
    pub fn wait_early(
        &'static self,
        events: &mut [epoll_event],
        wait: impl FnOnce(&mut [epoll_event]) -> Result<usize, Errno>,
    ) -> Option<Result<usize, Errno>> {
        self.early.fetch_add(1, Ordering::SeqCst);
        let mut found = if self.is_ours.load(Ordering::SeqCst) { Ok(0) } else { wait(events) };
        let was_last = self.early.fetch_sub(1, Ordering::SeqCst) == 1;
        if !self.is_ours() {
            return Some(found);
        }
        found = found.map(|count| without_call(events, count));
        if was_last
            && let Some(state) = self.state().as_mut()
            && let Some(call) = state.call.take()
        {
            let _inside = Inside::enter();
            let _ = kernel::epoll_ctl(state.outer, libc::EPOLL_CTL_DEL, call.as_raw_fd(), 0, 0);
        }
        if found == Ok(0) { None } else { Some(found) }
    }
}

/// A set that nobody else uses, while the process forks.
pub struct Locked {
    set: &'static EpollSet,
    state: Taken<'static, Option<State>>,
    hot: Taken<'static, Hot>,
}

impl EpollSet {
    /// Waits until nobody uses it.
    pub fn lock_for_fork(&'static self) -> Locked {
        Locked { set: self, state: self.state(), hot: self.hot() }
    }
}

impl Locked {
    /// In the child: the inner instance and the bell are the parent's; the program's own one is both's, as on Linux.
    pub fn renew(&mut self) -> Result<(), Errno> {
        let Some(state) = &mut *self.state else { return Ok(()) };
        let (inner, bell) = make_inner(state.outer)?;
        self.hot.bell = Some(bell.as_raw_fd());
        self.hot.sleepers = 0;
        self.hot.waiters.forget_threads();
        self.set.early.store(0, Ordering::Relaxed);
        state.call = None;
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
    let inner = kernel::own(descriptors::open_several(|keep| kernel::epoll_create(libc::EPOLL_CLOEXEC).map(keep))?);
    let bell = wait::make_bell()?;
    kernel::epoll_ctl(inner.as_raw_fd(), libc::EPOLL_CTL_ADD, bell.as_raw_fd(), libc::EPOLLIN as u32, BELL)?;
    kernel::epoll_ctl(inner.as_raw_fd(), libc::EPOLL_CTL_ADD, outer, libc::EPOLLIN as u32, KERNEL)?;
    Ok((inner, bell))
}

/// What the program's instance says of [`State::call`]: an address, which no data of the program's is.
fn call_data() -> u64 {
    static CALL: u8 = 0;
    std::ptr::from_ref(&CALL) as u64
}

/// Leaves out that the threads are called: how many events are left.
fn without_call(events: &mut [epoll_event], count: usize) -> usize {
    let mut left = 0;
    for at in 0..count.min(events.len()) {
        let event = events[at];
        if event.u64 != call_data() {
            events[left] = event;
            left += 1;
        }
    }
    left
}

/// The program has made an instance. (One that this library makes is internal.)
pub fn made(fd: RawFd) -> RawFd {
    if fd < 0 || Inside::is_here() || descriptors::is_in_parents_memory() {
        return fd;
    }
    descriptors::own_memory();
    fork::watch();
    let _inside = Inside::enter();
    if let Some((index, set)) = EPOLL_SETS.take() {
        set.index.store(index, Ordering::Relaxed);
        set.references.store(1, Ordering::Release);
        table::put_epoll(fd, index);
    }
    fd
}

/// epoll_ctl(2), if it is about one of our sockets or an epoll instance in another one.
pub fn control(epoll: RawFd, operation: i32, fd: RawFd, event: Option<(u32, u64)>) -> Option<Result<(), Errno>> {
    let set = match table::look_up(epoll) {
        Number::Epoll(set) => set,
        // Of another process, inherited: with a socket of ours it becomes known.
        Number::Foreign if table::socket(fd).is_some() && is_epoll(epoll, fd) => {
            made(epoll);
            return control(epoll, operation, fd, event);
        }
        Number::Foreign | Number::Internal | Number::Socket(_) => {
            return table::socket(fd).map(|_| Err(Errno::EINVAL));
        }
    };
    let watched = match table::look_up(fd) {
        Number::Socket(held) => Watched::Socket(held),
        Number::Epoll(other) if std::ptr::eq(set, other) => return Some(Err(Errno::EINVAL)),
        Number::Epoll(other) => Watched::Set(HeldSet::hold(other)),
        Number::Foreign | Number::Internal => {
            if set.is_ours() {
                // A socket that was closed leaves by itself; its number may be another's now.
                set.forget_closed(fd);
            }
            return None;
        }
    };
    let event = match (operation, event) {
        (libc::EPOLL_CTL_DEL, _) => (0, 0),
        (_, Some(event)) => event,
        (_, None) => return Some(Err(Errno::EFAULT)),
    };
    if operation == libc::EPOLL_CTL_ADD {
        let made = set.make_state(epoll).and_then(|()| match watched {
            // Before it has a socket: it may get one later.
            Watched::Set(held) => held.set().make_state(fd),
            Watched::Socket(_) => Ok(()),
        });
        if let Err(error) = made {
            return Some(Err(error));
        }
    } else if !set.is_ours() {
        return Some(Err(Errno::ENOENT));
    }
    Some(set.control(operation, fd, watched, event))
}

/// Whether it is an epoll instance: only such a one misses our number for a socket.
fn is_epoll(epoll: RawFd, socket: RawFd) -> bool {
    kernel::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, socket, 0, 0) == Err(Errno::ENOENT)
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

/// epoll_wait(2) of one that has sockets of ours, or gets one meanwhile; `original`: the kernel's. `None`: the kernel's
/// business alone.
pub fn wait(
    epoll: RawFd,
    events: Result<&mut [epoll_event], Errno>,
    timeout: Option<Duration>,
    mask: Option<&sigset_t>,
) -> Option<Result<usize, Errno>> {
    let Number::Epoll(set) = table::look_up(epoll) else { return None };
    let events = match events {
        Ok(events) => events,
        Err(error) => return Some(Err(error)),
    };
    let until = timeout.map(|timeout| Instant::now() + timeout);
    if !set.is_ours() {
        let found = set.wait_early(events, |events| kernel::epoll_wait(epoll, events, timeout, mask));
        if found.is_some() {
            return found;
        }
    }
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    Some(set.wait(events, left, mask))
}
