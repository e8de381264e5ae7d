//! A single-producer, single-consumer ring in memory shared with an untrusted peer: bytes, and records framed in them.
//!
//! Positions count bytes since the ring was made and never wrap (2^61 bytes are 70 years at a GB/s). A ring has windows
//! of several sizes in one memfd and lives in one of them; the byte at position `p` lies at `p % size` of its window.
//!
//! ```text
//!   window 0, 4 KiB      ░░░▓▓▓▓▓┐            bytes below P, written before the switch
//!   window 1, 32 KiB             └▓▓▓▓▓▓▓░░   bytes from P on
//!                           head  P      tail
//! ```
//!
//! A writer that finds its window too small moves on to a larger one at its tail `P`: it publishes `switch = P<<3 |
//! window` before the first tail past `P`. A next switch comes only after the reader has passed `P`; it always leads to
//! a larger window. The reader, when it passes `P`, gives the old window's memory back.
//!
//! The peer is not trusted: each word read from shared memory is copied once, then checked; a lie is a
//! [`PeerFault`](crate::error::PeerFault) and changes nothing here.
//!
//! All private cursors lie in a slot that forked children share, and are changed before what the peer sees: they are the
//! truth. A process that is killed at any instant leaves cursors that stand for a sound ring, and whoever uses the end
//! next shows them to the peer first (`show`). So is the order of each store here that says Release and pairs with none
//! of the peer's.
#![allow(unsafe_code)]

mod barrier;
mod consumer;
mod producer;
mod protocol;

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::{Memory, NEAR_BYTES, PAGE_BYTES, SLOT_USER_BYTES, Shared, SlotRef, View};

use self::barrier::Barriers;
use self::protocol::State;

pub use self::consumer::Consumer;
pub use self::producer::Producer;

/// Sizes of a ring's windows in bytes: powers of two, of whole pages.
const WINDOW_BYTES: [usize; 4] = [4 << 10, 32 << 10, 256 << 10, 2 << 20];

/// Largest window that a stream of bytes moves on to: at 64 KiB a write, 256 KiB carry 5 to 30 % more than 2 MiB, which
/// fall out of the cache between write and read. The next one is entered only for records that need it.
const STREAM_WINDOW: usize = 2;

/// The smallest window that holds `bytes`, or the largest there is.
fn window_for(bytes: usize) -> usize {
    WINDOW_BYTES.iter().position(|window| *window >= bytes).unwrap_or(WINDOW_BYTES.len() - 1)
}

/// Largest record in bytes: half of the largest window, so that writing one never waits for the last byte of another.
pub const MAX_RECORD: usize = 1 << 20;

/// A writer that found its window full so often moves on to the next larger one.
const PATIENCE: u64 = 8;

/// A sleeping writer is woken when this part of its window is free: woken for every few bytes, it would fill them and
/// sleep again, two switches of process for each small write.
const WAKE_FRACTION: usize = 4;

/// Free bytes from which on there is room for a writer that looks before it writes. Much less than the smallest window.
const ROOM_WORTH_WRITING: u64 = 256;

/// A side that found something new so often without a sleep tells the other one that it is alert: a barrier everywhere,
/// which its next sleep then costs, is worth so many fences that wait for a cache line.
const ALERT_AFTER: u64 = 16;

/// Offset of a ring's header in a channel's memory.
const HEADER_OFFSETS: [usize; 2] = [0, size_of::<RingHeader>()];

/// Bytes of a channel's memory: a page of headers, then both rings' windows, smallest first, so that an idle channel
/// touches neighboring pages.
pub const CHANNEL_BYTES: usize =
    PAGE_BYTES + 2 * (WINDOW_BYTES[0] + WINDOW_BYTES[1] + WINDOW_BYTES[2] + WINDOW_BYTES[3]);

// All that an idle channel touches is mapped near.
const _: () = assert!(PAGE_BYTES + 2 * WINDOW_BYTES[0] == NEAR_BYTES);

/// Offset of a window of a ring in a channel's memory.
const fn window_offset(ring: usize, window: usize) -> usize {
    let mut offset = PAGE_BYTES;
    let mut smaller = 0;
    while smaller < window {
        offset += 2 * WINDOW_BYTES[smaller];
        smaller += 1;
    }
    offset + ring * WINDOW_BYTES[window]
}

/// All of them: each copy needs one.
const WINDOW_OFFSETS: [[usize; 4]; 2] = {
    let mut offsets = [[0; 4]; 2];
    let mut at = 0;
    while at < 8 {
        offsets[at / 4][at % 4] = window_offset(at / 4, at % 4);
        at += 1;
    }
    offsets
};

/// The writer's flag: no byte follows the tail.
const FIN: u64 = 1;
/// Either side's flag: the channel was broken off; a code of the breaker stands in the upper half.
const RESET: u64 = 2;
/// The reader's flag: it reads no longer.
const DEAF: u64 = 4;

/// Written by the writer with every write. Two lines, since the prefetcher of adjacent lines makes a pair of them one.
#[repr(C, align(128))]
struct WriterLine {
    /// Position behind the last byte written.
    tail: AtomicU64,
    /// Where the present window begins, and which it is.
    switch: AtomicU64,
}

/// Written by the reader with every read.
#[repr(C, align(128))]
struct ReaderLine {
    /// Position of the first byte not consumed.
    head: AtomicU64,
}

/// What is rarely written, and looked at with every write and read: hence apart from the indices.
#[repr(C, align(128))]
struct StateLine {
    /// The reader sleeps until the tail has reached this position; 0: it does not sleep.
    reader_wants: AtomicU64,
    /// The writer sleeps until the head has reached this position; 0: it does not sleep.
    writer_wants: AtomicU64,
    /// [`FIN`], [`RESET`].
    writer_flags: AtomicU64,
    /// [`DEAF`], [`RESET`].
    reader_flags: AtomicU64,
    /// 1 while the writer's side holds its gate closed: for whoever looks at the channel from outside.
    writer_gate: AtomicU64,
    /// 1 while the reader's side does.
    reader_gate: AtomicU64,
    /// CPU that the writer last waited on, plus one; 0: unknown.
    writer_cpu: AtomicU64,
    /// What the writer's side stands for, in a word that the other side judges; 0: it has not said.
    writer_mark: AtomicU64,
    /// The largest window that the reader lets the writer move on to, plus one; 0: any.
    reader_window: AtomicU64,
}

/// Header of a ring in shared memory.
#[repr(C)]
pub(crate) struct RingHeader {
    writer: WriterLine,
    reader: ReaderLine,
    state: StateLine,
    reserved: [AtomicU64; 16],
}

const _: () = assert!(size_of::<RingHeader>() == 512 && 2 * size_of::<RingHeader>() <= PAGE_BYTES);

// SAFETY: Atomics only; what alignment leaves between them is never read.
unsafe impl Shared for RingHeader {}

/// Private cursors of a channel's end, in a [`Slot`].
#[repr(C)]
pub(crate) struct EndCursors {
    tx: ProducerCursors,
    rx: ConsumerCursors,
}

#[repr(C)]
struct ProducerCursors {
    tail: AtomicU64,
    /// Last head seen: never past the true one.
    head: AtomicU64,
    /// The present window and its first position, as published.
    switch: AtomicU64,
    /// How often this window was found full.
    stalls: AtomicU64,
    /// Own flags, as published.
    flags: AtomicU64,
    wakefulness: Wakefulness,
}

#[repr(C)]
struct ConsumerCursors {
    head: AtomicU64,
    /// Last tail seen and checked.
    tail: AtomicU64,
    /// Last switch seen and checked.
    switch: AtomicU64,
    /// Window of the bytes below that switch.
    left: AtomicU64,
    /// Own flags, as published.
    flags: AtomicU64,
    /// Head at which a sleeping writer was last looked for.
    looked_at: AtomicU64,
    wakefulness: Wakefulness,
}

/// What a side remembers of its own sleep, since the peer could change the word that both see.
#[repr(C)]
struct Wakefulness {
    /// How often it has found something new since it last asked to be woken; [`ALERT_AFTER`]: the other side was told.
    finds: AtomicU64,
    /// What it last asked to be woken at. Until then it may be asleep in some event loop, whatever it looks at meanwhile.
    asleep_until: AtomicU64,
}

impl Wakefulness {
    /// The other side's position is new; `true`: it is to be told that this side is alert.
    #[inline]
    fn found(&self, position: u64, barriers: Barriers) -> bool {
        let finds = self.finds.load(Ordering::Relaxed);
        if finds >= ALERT_AFTER || position < self.asleep_until.load(Ordering::Relaxed) || barriers == Barriers::Own {
            return false;
        }
        self.finds.store(finds + 1, Ordering::Relaxed);
        finds + 1 == ALERT_AFTER
    }

    /// From now on several processes use this end, none of which can say for the others that it is alert. `true`: the
    /// other side was told that it is.
    fn forget(&self) -> bool {
        self.asleep_until.store(0, Ordering::Relaxed);
        self.finds.swap(0, Ordering::Relaxed) >= ALERT_AFTER
    }

    /// Before it asks to be woken.
    fn fall_asleep(&self, until: u64) -> State {
        self.asleep_until.store(until, Ordering::Relaxed);
        if self.finds.swap(0, Ordering::Relaxed) < ALERT_AFTER { State::Drowsy } else { State::Alert }
    }

    /// What it asked for was taken back.
    fn stay_awake(&self) {
        self.asleep_until.store(0, Ordering::Relaxed);
    }

    fn is_alert(&self) -> bool {
        self.finds.load(Ordering::Relaxed) >= ALERT_AFTER
    }
}

const _: () = assert!(size_of::<EndCursors>() <= SLOT_USER_BYTES);

// SAFETY: Atomics only.
unsafe impl Shared for EndCursors {}

/// A window and the position that it begins at, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Switch(u64);

impl Switch {
    /// Where every ring begins; both sides know it.
    const FIRST: Self = Self(0);

    fn new(position: u64, window: usize) -> Self {
        Self(position << 3 | window as u64)
    }

    #[inline]
    fn position(self) -> u64 {
        self.0 >> 3
    }

    /// Index of the window; out of range in a lie only, and checked before it is stored.
    #[inline]
    fn window(self) -> usize {
        (self.0 & 7) as usize
    }
}

/// Size of a window whose index is checked.
#[inline]
fn bytes_of(window: usize) -> u64 {
    WINDOW_BYTES[window & 3] as u64
}

/// What both ends of a ring have.
#[derive(Debug)]
struct Ring {
    header: View<RingHeader>,
    cursors: SlotRef<EndCursors>,
    index: usize,
    barriers: Barriers,
    /// One thread at a time: an end is `Send`, not `Sync`.
    single: PhantomData<Cell<()>>,
}

impl std::fmt::Debug for RingHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingHeader")
            .field("tail", &self.writer.tail)
            .field("head", &self.reader.head)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EndCursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndCursors").field("tail", &self.tx.tail).field("head", &self.rx.head).finish_non_exhaustive()
    }
}

impl Ring {
    fn new(memory: &Arc<Memory>, cursors: SlotRef<EndCursors>, index: usize) -> Self {
        let index = index & 1;
        let header = View::new(memory.clone(), HEADER_OFFSETS[index]);
        Self { header, cursors, index, barriers: Barriers::of_this_process(), single: PhantomData }
    }

    /// A process cannot say of its siblings that they are alert: a shared end fences with each step.
    fn set_shared(&mut self, shared: bool) {
        self.barriers = if shared { Barriers::Own } else { Barriers::of_this_process() };
    }

    #[inline]
    fn memory(&self) -> &Memory {
        self.header.memory()
    }

    /// Copies bytes into a window, around its end.
    #[inline(always)]
    fn put(&self, window: usize, position: u64, bytes: &[u8]) {
        let (start, at, until_end) = self.place(window, position);
        if bytes.len() <= until_end {
            return self.memory().copy_in(start + at, bytes);
        }
        let (first, rest) = bytes.split_at(until_end);
        self.memory().copy_in(start + at, first);
        self.memory().copy_in(start, rest);
    }

    /// Copies bytes out of a window, around its end.
    #[inline(always)]
    fn get(&self, window: usize, position: u64, into: &mut [u8]) {
        let (start, at, until_end) = self.place(window, position);
        if into.len() <= until_end {
            return self.memory().copy_out(start + at, into);
        }
        let (first, rest) = into.split_at_mut(until_end);
        self.memory().copy_out(start + at, first);
        self.memory().copy_out(start, rest);
    }

    /// Where a window begins in memory, where in it the byte at `position` lies, and how many bytes come from there to its
    /// end.
    #[inline(always)]
    fn place(&self, window: usize, position: u64) -> (usize, usize, usize) {
        let window = window & 3;
        let size = WINDOW_BYTES[window];
        let at = position as usize & (size - 1);
        (WINDOW_OFFSETS[self.index & 1][window], at, size - at)
    }

    /// Asks the CPU for the line of a byte, to be copied out soon.
    #[inline]
    fn prefetch(&self, window: usize, position: u64) {
        let (start, at, _) = self.place(window, position);
        self.memory().prefetch(start + at);
    }

    /// Asks the CPU for the lines that a write at `position` changes: of its first bytes, and of the tail.
    #[inline]
    fn prefetch_to_write(&self, window: usize, position: u64) {
        let (start, at, _) = self.place(window, position);
        self.memory().prefetch_to_write(start + at);
        self.memory().prefetch_to_write(HEADER_OFFSETS[self.index & 1] + offset_of!(RingHeader, writer));
    }

    fn punch(&self, window: usize) {
        let window = window & 3;
        let base = WINDOW_OFFSETS[self.index & 1][window];
        if let Err(error) = self.memory().punch(base..base + WINDOW_BYTES[window]) {
            log::debug!("give back a window of {} bytes: {error}", WINDOW_BYTES[window]);
        }
    }
}

/// Whether the other side of a ring broke it off, and with which code.
#[inline]
fn reset_code(flags: u64) -> Option<u32> {
    (flags & RESET != 0).then_some((flags >> 32) as u32)
}

/// What a forked child does once, before it uses ends of its parent.
pub(crate) fn become_child() {
    barrier::register_child();
}

/// Whether these are cursors: who takes over an end from another program cannot know what it was given.
pub(crate) fn are_sound(cursors: &EndCursors) -> bool {
    let (tx, rx) = (&cursors.tx, &cursors.rx);
    let of = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (sent, written) = (of(&tx.tail).checked_sub(of(&tx.head)), Switch(of(&tx.switch)));
    let (there, seen, left) = (of(&rx.tail).checked_sub(of(&rx.head)), Switch(of(&rx.switch)), of(&rx.left));
    let fits = |bytes: Option<u64>| bytes.is_some_and(|bytes| bytes <= CHANNEL_BYTES as u64);
    let is_window = |window: usize| window < WINDOW_BYTES.len();
    fits(sent)
        && fits(there)
        && written.position() <= of(&tx.tail)
        && is_window(written.window())
        && is_window(seen.window())
        && is_window(usize::try_from(left).unwrap_or(usize::MAX))
}

/// Both ends of a channel's side: the ring that it writes, the ring that it reads.
pub(crate) fn open_ends(
    memory: &Arc<Memory>,
    cursors: &SlotRef<EndCursors>,
    writes_ring: usize,
) -> (Producer, Consumer) {
    let producer = Producer::new(Ring::new(memory, cursors.clone(), writes_ring));
    let consumer = Consumer::new(Ring::new(memory, cursors.clone(), 1 - (writes_ring & 1)));
    (producer, consumer)
}

/// Bytes of a record's header: tag and length.
const RECORD_HEADER: usize = 4;

/// Uppermost byte of a record's header: zeros are no record.
const RECORD_TAG: u32 = 0xA5;

/// Header of a record; `None`: too long.
fn record_tag(length: usize) -> Option<u32> {
    let length = u32::try_from(length).ok().filter(|_| length <= MAX_RECORD)?;
    Some(RECORD_TAG << 24 | length)
}

/// Bytes that a record takes in the ring: with its header, in multiples of 8, so that copies are aligned.
#[inline]
const fn record_bytes(length: usize) -> usize {
    (RECORD_HEADER + length + 7) & !7
}

#[cfg(test)]
pub(crate) mod tests;
