//! Which descriptors of the process are sockets of ours.
//!
//! Each of our sockets has a kernel descriptor of its own, which does nothing but hold the number: so numbers, their
//! exhaustion, close-on-exec, and what a child inherits are the kernel's business. The table says what a number stands for.
//! A look at it takes no lock, so that a call on a file or pipe costs two loads more than without us.
//!
//! What a number stands for lies in a [`Slab`] and is never freed, only used again: a thread that looked it up may go on
//! with it while another one closes it, and notices by its generation.

use std::array;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::description::{Description, Held};
use crate::lock;
use crate::readiness::epoll::EpollSet;

/// Numbers of one part of the table.
const CHUNK: usize = 1024;
/// Parts: a million numbers, the most that Linux gives by itself.
const CHUNKS: usize = 1024;

/// Somebody else's: the kernel answers.
const FOREIGN: u32 = 0;
/// This library's own, which the program must not close.
const INTERNAL: u32 = u32::MAX;
/// Set for epoll instances that have sockets of ours.
const EPOLL: u32 = 1 << 31;

type Chunk = Box<[AtomicU32; CHUNK]>;

static NUMBERS: [OnceLock<Chunk>; CHUNKS] = [const { OnceLock::new() }; CHUNKS];

/// All sockets.
pub static DESCRIPTIONS: Slab<Description> = Slab::new();
/// All epoll instances that have some.
pub static EPOLL_SETS: Slab<EpollSet> = Slab::new();

/// What a number stands for.
#[derive(Clone, Copy)]
pub enum Number {
    /// Nothing of ours.
    Foreign,
    /// A descriptor that this library uses itself.
    Internal,
    /// A socket.
    Socket(Held),
    /// An epoll instance.
    Epoll(&'static EpollSet),
}

#[inline]
fn entry(fd: RawFd) -> Option<&'static AtomicU32> {
    let at = usize::try_from(fd).ok()?;
    NUMBERS.get(at / CHUNK)?.get()?.get(at % CHUNK)
}

fn entry_to_fill(fd: RawFd) -> Option<&'static AtomicU32> {
    let at = usize::try_from(fd).ok()?;
    let chunk = NUMBERS.get(at / CHUNK)?.get_or_init(|| Box::new(array::from_fn(|_| AtomicU32::new(FOREIGN))));
    chunk.get(at % CHUNK)
}

/// What `fd` stands for.
#[inline]
pub fn look_up(fd: RawFd) -> Number {
    let Some(entry) = entry(fd) else { return Number::Foreign };
    match entry.load(Ordering::Acquire) {
        FOREIGN => Number::Foreign,
        INTERNAL => Number::Internal,
        set if set & EPOLL != 0 => EPOLL_SETS.get(set & !EPOLL).map_or(Number::Foreign, Number::Epoll),
        socket => {
            let Some(description) = DESCRIPTIONS.get(socket) else { return Number::Foreign };
            let held = description.hold();
            // Closed and used again in between: then it is not what this number stood for.
            if entry.load(Ordering::Acquire) == socket { Number::Socket(held) } else { Number::Foreign }
        }
    }
}

/// The socket behind `fd`.
#[inline]
pub fn socket(fd: RawFd) -> Option<Held> {
    match look_up(fd) {
        Number::Socket(held) => Some(held),
        Number::Foreign | Number::Internal | Number::Epoll(_) => None,
    }
}

/// Lets `fd` stand for a socket. `false`: the table ends before.
pub fn put_socket(fd: RawFd, index: u32) -> bool {
    entry_to_fill(fd).map(|entry| entry.store(index, Ordering::Release)).is_some()
}

/// Lets `fd` stand for an epoll instance.
pub fn put_epoll(fd: RawFd, index: u32) -> bool {
    entry_to_fill(fd).map(|entry| entry.store(index | EPOLL, Ordering::Release)).is_some()
}

/// Marks a descriptor as this library's own.
pub fn put_internal(fd: RawFd) {
    if let Some(entry) = entry_to_fill(fd) {
        entry.store(INTERNAL, Ordering::Release);
    }
}

/// Lets `fd` stand for nothing of ours; what it stood for.
pub fn remove(fd: RawFd) -> Removed {
    let Some(entry) = entry(fd) else { return Removed::Nothing };
    match entry.swap(FOREIGN, Ordering::AcqRel) {
        FOREIGN | INTERNAL => Removed::Nothing,
        set if set & EPOLL != 0 => Removed::Epoll(set & !EPOLL),
        socket => Removed::Socket(socket),
    }
}

/// What a number stood for until it was removed.
#[derive(Debug, Clone, Copy)]
pub enum Removed {
    /// Nothing of ours.
    Nothing,
    /// A socket.
    Socket(u32),
    /// An epoll instance.
    Epoll(u32),
}

/// All numbers that stand for something of ours, internal ones apart.
pub fn numbers() -> Vec<(RawFd, Number)> {
    let mut found = Vec::new();
    for (number, chunk) in NUMBERS.iter().enumerate() {
        let Some(chunk) = chunk.get() else { continue };
        for at in 0..chunk.len() {
            // Below a million.
            let fd = (number * CHUNK + at) as RawFd;
            match look_up(fd) {
                Number::Foreign | Number::Internal => {}
                ours @ (Number::Socket(_) | Number::Epoll(_)) => found.push((fd, ours)),
            }
        }
    }
    found
}

/// The next descriptor of this library's own, from `fd` on.
pub fn next_internal(fd: u32) -> Option<u32> {
    let mut at = fd as usize;
    while let Some(chunk) = NUMBERS.get(at / CHUNK) {
        let Some(chunk) = chunk.get() else {
            at = (at / CHUNK + 1) * CHUNK;
            continue;
        };
        if chunk.get(at % CHUNK).is_some_and(|entry| entry.load(Ordering::Acquire) == INTERNAL) {
            return u32::try_from(at).ok();
        }
        at += 1;
    }
    None
}

/// Things by number, which stay where they are and are used again. Numbers begin at 1.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    given_back: Vec<u32>,
    next: u32,
}

impl<T: Default> Slab<T> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS], free: Mutex::new(Free { given_back: Vec::new(), next: 1 }) }
    }

    /// The thing of a number.
    #[inline]
    pub fn get(&'static self, index: u32) -> Option<&'static T> {
        let at = index as usize;
        self.chunks.get(at / CHUNK)?.get()?.get(at % CHUNK)
    }

    /// One that nobody uses. `None`: there are a million.
    pub fn take(&'static self) -> Option<(u32, &'static T)> {
        let mut free = lock::take(&self.free);
        let index = match free.given_back.pop() {
            Some(index) => index,
            None => {
                let index = free.next;
                let chunk = self.chunks.get(index as usize / CHUNK)?;
                chunk.get_or_init(|| (0..CHUNK).map(|_| T::default()).collect());
                free.next += 1;
                index
            }
        };
        drop(free);
        self.get(index).map(|thing| (index, thing))
    }

    /// All that there are, used or not.
    pub fn all(&'static self) -> impl Iterator<Item = &'static T> {
        self.chunks.iter().map_while(OnceLock::get).flatten()
    }

    /// Nobody uses it any longer.
    pub fn give_back(&self, index: u32) {
        lock::take(&self.free).given_back.push(index);
    }
}
