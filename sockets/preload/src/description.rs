//! What a descriptor of ours refers to, shared by all its duplicates: Linux's "open file description".

use std::os::fd::RawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use sockets::{Borrower, Readiness, Stream};

use crate::lock::{self, Guard, Leaning, Taken};
use crate::readiness::epoll::EpollSet;
use crate::wait;

/// What kind of socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// TCP.
    Stream,
    /// UDP, or raw IP.
    Datagram,
    /// rtnetlink.
    Netlink,
}

/// Who is to be told when something happens to a socket.
#[derive(Debug, Clone, Copy)]
pub enum Waiter {
    /// A thread that sleeps, by its own eventfd.
    Thread(RawFd),
    /// An epoll instance, and the number under which the socket was added.
    Epoll(&'static EpollSet, RawFd),
}

/// All who are to be told.
#[derive(Debug, Default, Clone)]
pub struct Waiters(Vec<Waiter>);

impl Waiters {
    /// Nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more.
    pub fn add(&mut self, waiter: Waiter) {
        self.0.push(waiter);
    }

    /// Tells all, but one thread that knows.
    pub fn tell(&self, but: Option<RawFd>) {
        for waiter in &self.0 {
            match *waiter {
                Waiter::Thread(bell) if Some(bell) == but => {}
                Waiter::Thread(bell) => wait::ring(bell),
                Waiter::Epoll(set, fd) => set.heat(fd),
            }
        }
    }

    /// A thread is told no longer.
    pub fn remove_thread(&mut self, bell: RawFd) {
        let is_this = |waiter: &Waiter| matches!(waiter, Waiter::Thread(known) if *known == bell);
        if let Some(at) = self.0.iter().position(is_this) {
            self.0.swap_remove(at);
        }
    }

    /// An epoll instance is told no longer.
    pub fn remove_epoll(&mut self, set: &'static EpollSet, fd: RawFd) {
        let is_this =
            |waiter: &Waiter| matches!(waiter, Waiter::Epoll(known, at) if std::ptr::eq(*known, set) && *at == fd);
        self.0.retain(|waiter| !is_this(waiter));
    }

    /// The threads are another process's.
    pub fn forget_threads(&mut self) {
        self.0.retain(|waiter| matches!(waiter, Waiter::Epoll(..)));
    }
}

/// A socket, as all its descriptors have it.
#[derive(Debug, Default)]
pub struct Description {
    index: AtomicU32,
    /// The inode of the kernel's socket that holds its numbers: how it is known again where they are another process's.
    inode: AtomicU64,
    /// Counts its uses: who looked it up in an earlier one has a descriptor that is closed.
    generation: AtomicU32,
    /// Descriptors.
    references: AtomicU32,
    kind: AtomicU8,
    /// O_NONBLOCK, which the kernel keeps too.
    pub nonblocking: AtomicBool,
    /// A send has found no room: an edge is due once there is some.
    pub was_full: AtomicBool,
    /// What it allows, of a socket without a connection that has nothing to fetch: true until somebody is told of something.
    calm: AtomicU8,
    /// How often those who wait were told.
    news: AtomicU64,
    /// SO_RCVTIMEO in nanoseconds; 0: none.
    receive_timeout: AtomicU64,
    /// A child that is to be spawned may duplicate it.
    duplicated: AtomicBool,
    /// SO_SNDTIMEO.
    send_timeout: AtomicU64,
    /// The connection, once it stands.
    stream: Leaning<Option<Stream>>,
    waiters: Mutex<Waiters>,
}

/// Values of [`Description::calm`].
const UNKNOWN: u8 = 0;
const CALM: u8 = 1;
const CALM_WRITABLE: u8 = 2;

/// A socket that was looked up.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    description: &'static Description,
    generation: u32,
}

/// Which way a call moves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It receives.
    Receive,
    /// It sends.
    Send,
}

impl Description {
    /// Begins a use, with one descriptor.
    pub fn begin(&'static self, index: u32, kind: Kind, nonblocking: bool) -> Held {
        self.index.store(index, Ordering::Relaxed);
        self.kind.store(kind as u8, Ordering::Relaxed);
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
        self.was_full.store(false, Ordering::Relaxed);
        self.calm.store(UNKNOWN, Ordering::Relaxed);
        self.duplicated.store(false, Ordering::Relaxed);
        self.receive_timeout.store(0, Ordering::Relaxed);
        self.send_timeout.store(0, Ordering::Relaxed);
        self.stream.begin_anew();
        self.references.store(1, Ordering::Release);
        self.hold()
    }

    /// The inode of the kernel's socket that holds its numbers.
    pub fn inode(&self) -> u64 {
        self.inode.load(Ordering::Relaxed)
    }

    /// Notes it.
    pub fn set_inode(&self, inode: u64) {
        self.inode.store(inode, Ordering::Relaxed);
    }

    /// Whether a child that is spawned may duplicate it.
    pub fn is_duplicated(&self) -> bool {
        self.duplicated.load(Ordering::Relaxed)
    }

    /// It may from now on: `posix_spawn_file_actions_adddup2` has named it.
    pub fn set_duplicated(&self) {
        self.duplicated.store(true, Ordering::Relaxed);
    }

    /// Whether a descriptor leads to it.
    pub fn is_used(&self) -> bool {
        self.references.load(Ordering::Acquire) > 0
    }

    /// Its present use.
    #[inline]
    pub fn hold(&'static self) -> Held {
        Held { description: self, generation: self.generation.load(Ordering::Acquire) }
    }

    /// One descriptor more.
    pub fn add_reference(&self) {
        self.references.fetch_add(1, Ordering::AcqRel);
    }

    /// One less; `true`: it was the last.
    pub fn remove_reference(&self) -> bool {
        self.references.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Ends a use: nobody who looked it up before finds it.
    pub fn end(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.kick(None);
        self.waiters().0.clear();
    }

    /// Its number in the slab.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed)
    }

    /// Its connection: whoever has this lock takes no other one but that of the waiters.
    #[inline(always)]
    pub fn lock(&self) -> Guard<'_, Option<Stream>> {
        self.stream.lock()
    }

    /// The same before a fork: in the child nobody waits for it who is not there.
    pub fn lock_for_fork(&self) -> Guard<'_, Option<Stream>> {
        self.stream.lock_alone()
    }

    /// Who waits: whoever has this lock takes no other one.
    pub fn waiters(&self) -> Taken<'_, Waiters> {
        lock::take(&self.waiters)
    }

    /// Tells all who wait, but one thread that knows.
    pub fn kick(&self, but: Option<RawFd>) {
        self.calm.store(UNKNOWN, Ordering::Release);
        self.news.fetch_add(1, Ordering::AcqRel);
        self.waiters().tell(but);
    }

    /// Counts what has happened to it.
    pub fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// What it allows, if it was found to have nothing to fetch and nothing has happened to it since. Asked for often, by
    /// programs that wait for a listener or a datagram socket beside connections; what is new comes with a [kick](Self::kick).
    #[inline]
    pub fn calm(&self) -> Option<Readiness> {
        let calm = self.calm.load(Ordering::Acquire);
        (calm & CALM != 0).then(|| Readiness { writable: calm & CALM_WRITABLE != 0, ..Readiness::default() })
    }

    /// Notes what it allows. By whoever has the process's lock, under which all are kicked who are told by the library.
    pub fn set_calm(&self, seen: Readiness) {
        let Readiness { readable, writable, read_closed, hung_up, failed } = seen;
        if !(readable || read_closed || hung_up || failed) {
            self.calm.store(CALM | if writable { CALM_WRITABLE } else { 0 }, Ordering::Release);
        }
    }

    /// In a forked child, which has yet to become a process that is told of anything.
    pub fn forget_calm(&self) {
        self.calm.store(UNKNOWN, Ordering::Relaxed);
    }

    /// A send has found no room: epoll instances that have seen some look again, and wait for more.
    pub fn found_no_room(&self) {
        if self.was_full.swap(true, Ordering::Relaxed) {
            return;
        }
        for waiter in &self.waiters().0 {
            if let Waiter::Epoll(set, fd) = *waiter {
                set.heat(fd);
            }
        }
    }

    /// Tells somebody from now on.
    pub fn add_waiter(&self, waiter: Waiter) {
        self.waiters().add(waiter);
    }

    /// Tells a thread no longer.
    pub fn remove_thread(&self, bell: RawFd) {
        self.waiters().remove_thread(bell);
    }

    /// Tells an epoll instance no longer.
    pub fn remove_epoll(&self, set: &'static EpollSet, fd: RawFd) {
        self.waiters().remove_epoll(set, fd);
    }

    /// SO_RCVTIMEO or SO_SNDTIMEO.
    pub fn timeout(&self, direction: Direction) -> Option<Duration> {
        let of = match direction {
            Direction::Receive => &self.receive_timeout,
            Direction::Send => &self.send_timeout,
        };
        Some(of.load(Ordering::Relaxed)).filter(|nanoseconds| *nanoseconds > 0).map(Duration::from_nanos)
    }

    /// Sets it; `None`: as long as it takes.
    pub fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) {
        let of = match direction {
            Direction::Receive => &self.receive_timeout,
            Direction::Send => &self.send_timeout,
        };
        let nanoseconds = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        of.store(nanoseconds, Ordering::Relaxed);
    }
}

impl Borrower for Description {
    fn with(&self, what: &mut dyn FnMut(&mut Stream)) {
        if let Some(stream) = self.lock().as_mut() {
            what(stream);
        }
    }

    fn take_back(&self) -> Option<Stream> {
        self.lock().take()
    }
}

impl Held {
    /// The description.
    #[inline]
    pub fn description(self) -> &'static Description {
        self.description
    }

    /// Its number.
    #[inline]
    pub fn index(self) -> u32 {
        self.description.index()
    }

    /// What kind of socket it is.
    #[inline]
    pub fn kind(self) -> Kind {
        match self.description.kind.load(Ordering::Relaxed) {
            kind if kind == Kind::Stream as u8 => Kind::Stream,
            kind if kind == Kind::Datagram as u8 => Kind::Datagram,
            _ => Kind::Netlink,
        }
    }

    /// EBADF if the descriptor that led here is closed.
    #[inline]
    pub fn check(self) -> Result<(), Errno> {
        match self.description.generation.load(Ordering::Acquire) == self.generation {
            true => Ok(()),
            false => Err(Errno::EBADF),
        }
    }

    /// Its connection, under its lock.
    #[inline(always)]
    pub fn lock(self) -> Result<Guard<'static, Option<Stream>>, Errno> {
        let stream = self.description.lock();
        self.check()?;
        Ok(stream)
    }

    /// Whether a call with these flags (`MSG_DONTWAIT`) may not wait.
    #[inline]
    pub fn is_nonblocking(self, flags: libc::c_int) -> bool {
        flags & libc::MSG_DONTWAIT != 0 || self.description.nonblocking.load(Ordering::Relaxed)
    }

    /// Until when a call that begins now may wait.
    pub fn deadline(self, direction: Direction) -> Option<Instant> {
        self.description.timeout(direction).map(|timeout| Instant::now() + timeout)
    }
}
