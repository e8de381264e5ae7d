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
//! window` before the first tail past `P`. A next switch comes only after the reader has passed `P`; it always leads to a
//! larger window. The reader, when it passes `P`, gives the old window's memory back.
//!
//! The peer is not trusted: each word read from shared memory is copied once, then checked; a lie is a [`PeerFault`] and
//! changes nothing here. All private cursors lie in a slot that forked children share.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::error::{PeerFault, RecordError};
use crate::memory::{Memory, PAGE_BYTES, SLOT_BYTES, Shared, Slot, View};

/// Sizes of a ring's windows in bytes: powers of two, of whole pages.
const WINDOW_BYTES: [usize; 4] = [4 << 10, 32 << 10, 256 << 10, 2 << 20];

/// Largest window that a stream of bytes moves on to. The next one is entered only for records that need it.
const STREAM_WINDOW: usize = 2;

/// Largest record in bytes: half of the largest window, so that writing one never waits for the last byte of another.
pub const MAX_RECORD: usize = 1 << 20;

/// A writer that found its window full so often moves on to the next larger one.
const PATIENCE: u64 = 8;

/// Offset of a ring's header in a channel's memory.
const HEADER_OFFSETS: [usize; 2] = [0, size_of::<RingHeader>()];

/// Bytes of a channel's memory: a page of headers, then both rings' windows, smallest first, so that an idle channel
/// touches neighboring pages.
pub const CHANNEL_BYTES: usize =
    PAGE_BYTES + 2 * (WINDOW_BYTES[0] + WINDOW_BYTES[1] + WINDOW_BYTES[2] + WINDOW_BYTES[3]);

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
    /// For a robust lock, held around each use once the end is shared by fork.
    lock: AtomicU32,
    /// Processes that share the end beside its first one.
    sharers: AtomicU32,
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
}

const _: () = assert!(size_of::<EndCursors>() <= SLOT_BYTES);

// SAFETY: Atomics only.
unsafe impl Shared for EndCursors {}

/// A window and the position that it begins at, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Switch(u64);

impl Switch {
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
    cursors: Arc<Slot<EndCursors>>,
    index: usize,
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
    fn new(memory: &Arc<Memory>, cursors: Arc<Slot<EndCursors>>, index: usize) -> Self {
        let index = index & 1;
        Self { header: View::new(memory.clone(), HEADER_OFFSETS[index]), cursors, index, single: PhantomData }
    }

    #[inline]
    fn memory(&self) -> &Memory {
        self.header.memory()
    }

    /// Copies bytes into a window, around its end.
    #[inline]
    fn put(&self, window: usize, position: u64, bytes: &[u8]) {
        let window = window & 3;
        let (base, size) = (window_offset(self.index, window), WINDOW_BYTES[window]);
        let at = position as usize & (size - 1);
        let (first, rest) = bytes.split_at(bytes.len().min(size - at));
        self.memory().copy_in(base + at, first);
        if !rest.is_empty() {
            self.memory().copy_in(base, rest);
        }
    }

    /// Copies bytes out of a window, around its end.
    #[inline]
    fn get(&self, window: usize, position: u64, into: &mut [u8]) {
        let window = window & 3;
        let (base, size) = (window_offset(self.index, window), WINDOW_BYTES[window]);
        let at = position as usize & (size - 1);
        let first = into.len().min(size - at);
        let (first, rest) = into.split_at_mut(first);
        self.memory().copy_out(base + at, first);
        if !rest.is_empty() {
            self.memory().copy_out(base, rest);
        }
    }

    fn punch(&self, window: usize) {
        let window = window & 3;
        let base = window_offset(self.index, window);
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

/// Both ends of a channel's side: the ring that it writes, the ring that it reads.
pub(crate) fn open_ends(memory: &Arc<Memory>, cursors: Slot<EndCursors>, writes_ring: usize) -> (Producer, Consumer) {
    let cursors = Arc::new(cursors);
    let producer = Producer { ring: Ring::new(memory, cursors.clone(), writes_ring) };
    let consumer = Consumer { ring: Ring::new(memory, cursors, 1 - (writes_ring & 1)) };
    (producer, consumer)
}

/// Writing end of a ring in memory shared with an untrusted peer. Neither `Clone` nor `Sync`.
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
}

impl Producer {
    /// Copies bytes in and publishes them; returns how many fitted (0: full). [`PeerFault`]: the peer's index lies.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, PeerFault> {
        let room = self.room_for(bytes.len(), STREAM_WINDOW)?;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let tail = self.tail();
        self.ring.put(self.switch().window(), tail, bytes);
        self.publish(tail + bytes.len() as u64);
        Ok(bytes.len())
    }

    /// Writes a record, whole or not at all. `false`: it does not fit now.
    #[inline]
    pub fn write_record(&mut self, record: &[u8]) -> Result<bool, RecordError> {
        self.write_record_parts(&[record])
    }

    /// Writes a record that is the parts' concatenation, whole or not at all. `false`: it does not fit now.
    #[inline]
    pub fn write_record_parts(&mut self, parts: &[&[u8]]) -> Result<bool, RecordError> {
        let length = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let Some(tag) = record_tag(length) else {
            return Err(RecordError::TooLarge { size: length, limit: MAX_RECORD });
        };
        let needed = record_bytes(length);
        let limit = if 2 * needed > WINDOW_BYTES[STREAM_WINDOW] { WINDOW_BYTES.len() - 1 } else { STREAM_WINDOW };
        if self.room_for(needed, limit)? < needed {
            return Ok(false);
        }
        let (tail, window) = (self.tail(), self.switch().window());
        self.ring.put(window, tail, &tag.to_le_bytes());
        let mut at = tail + RECORD_HEADER as u64;
        for part in parts {
            self.ring.put(window, at, part);
            at += part.len() as u64;
        }
        self.publish(tail + needed as u64);
        Ok(true)
    }

    /// Bytes that could be written now without moving to a larger window.
    pub fn free(&self) -> Result<usize, PeerFault> {
        self.refresh()?;
        Ok(self.room() as usize)
    }

    /// Bytes written that the peer has not consumed.
    pub fn unread(&self) -> Result<usize, PeerFault> {
        self.refresh()?;
        Ok((self.tail() - self.head()) as usize)
    }

    /// No byte follows: the reader sees the end once it has read all. Wake it with [`wake_reader`](Self::wake_reader).
    pub fn close(&mut self) {
        self.set_flags(FIN);
    }

    /// Whether [`close`](Self::close) or [`reset`](Self::reset) was called.
    pub fn is_closed(&self) -> bool {
        self.ring.cursors.tx.flags.load(Ordering::Relaxed) != 0
    }

    /// Breaks the ring off: the reader still gets what was written, then the code.
    pub fn reset(&mut self, code: u32) {
        self.set_flags(RESET | u64::from(code) << 32);
    }

    fn set_flags(&mut self, flags: u64) {
        let own = &self.ring.cursors.tx.flags;
        let flags = own.load(Ordering::Relaxed) | flags;
        own.store(flags, Ordering::Relaxed);
        // Release: pairs with the Acquire in `Consumer::flags`, so that whoever sees the end sees the last tail.
        self.ring.header.state.writer_flags.store(flags, Ordering::Release);
    }

    /// The code that the reader broke the ring off with.
    #[inline]
    pub fn reset_by_peer(&self) -> Option<u32> {
        reset_code(self.ring.header.state.reader_flags.load(Ordering::Relaxed))
    }

    /// The reader's flags, for whoever counts its progress.
    pub(crate) fn peer_flags(&self) -> u64 {
        self.ring.header.state.reader_flags.load(Ordering::Relaxed)
    }

    /// Whether the reader has said that it reads no longer.
    #[inline]
    pub fn peer_closed_reading(&self) -> bool {
        self.ring.header.state.reader_flags.load(Ordering::Relaxed) & DEAF != 0
    }

    /// Whether the reader sleeps and waits for what was just written or closed. The caller must then ring, once.
    #[inline]
    pub fn wake_reader(&mut self) -> bool {
        // SeqCst: pairs with the fence in `Consumer::arm`. Either we see its word here, or it sees our tail there.
        fence(Ordering::SeqCst);
        let wanted = self.ring.header.state.reader_wants.load(Ordering::Relaxed);
        let due = wanted != 0 && (self.tail() >= wanted || self.is_closed());
        // Relaxed: it only decides who rings; the data is ordered by the tail.
        due && self.ring.header.state.reader_wants.swap(0, Ordering::Relaxed) != 0
    }

    /// Prepares to sleep until `minimum` bytes could be written. `true`: armed, and there is really no room: the peer
    /// rings. `false`: there is room, or the reader has closed.
    pub fn arm(&mut self, minimum: usize) -> Result<bool, PeerFault> {
        let wanted = self.head_wanted(minimum);
        if wanted <= self.head() {
            return Ok(false);
        }
        let word = &self.ring.header.state.writer_wants;
        word.store(wanted, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `Consumer::wake_writer`. Either it sees our word, or we see its head.
        fence(Ordering::SeqCst);
        self.refresh()?;
        let closed = self.ring.header.state.reader_flags.load(Ordering::Relaxed) & (DEAF | RESET) != 0;
        if wanted <= self.head() || closed {
            word.store(0, Ordering::Relaxed);
            return Ok(false);
        }
        Ok(true)
    }

    /// Notes the CPU that this side waits on, for a spinning peer.
    pub(crate) fn note_cpu(&self, cpu: u64) {
        self.ring.header.state.writer_cpu.store(cpu, Ordering::Relaxed);
    }

    /// Position of the first byte that the peer has not consumed: changes with its progress.
    pub(crate) fn progress(&self) -> Result<u64, PeerFault> {
        self.refresh()?;
        Ok(self.head())
    }

    /// Shows this side's gate in the header.
    pub(crate) fn note_gate(&self, closed: bool) {
        self.ring.header.state.writer_gate.store(closed.into(), Ordering::Relaxed);
    }

    /// Head at which `minimum` bytes can be written.
    fn head_wanted(&self, minimum: usize) -> u64 {
        let (switch, minimum) = (self.switch(), minimum as u64);
        let size = bytes_of(switch.window());
        if minimum > size {
            // A larger window can be entered once the reader is in the present one.
            return switch.position();
        }
        if self.tail() - switch.position() + minimum <= size {
            return 0;
        }
        self.tail() + minimum - size
    }

    /// Room for `wanted` bytes, or less. Moves to a larger window, at most `limit`, where that helps.
    #[inline]
    fn room_for(&mut self, wanted: usize, limit: usize) -> Result<usize, PeerFault> {
        let room = self.room() as usize;
        if room >= wanted { Ok(wanted) } else { self.make_room(wanted, limit) }
    }

    #[cold]
    fn make_room(&mut self, wanted: usize, limit: usize) -> Result<usize, PeerFault> {
        self.refresh()?;
        let room = self.room() as usize;
        if room >= wanted {
            return Ok(wanted);
        }
        let (switch, cursors) = (self.switch(), &self.ring.cursors.tx);
        let (window, passed) = (switch.window(), self.head() >= switch.position());
        if window < limit && passed {
            let stalls = cursors.stalls.load(Ordering::Relaxed) + 1;
            cursors.stalls.store(stalls, Ordering::Relaxed);
            let large = 2 * wanted > WINDOW_BYTES[window & 3];
            if large || stalls >= PATIENCE {
                let fits = (window + 1..limit).find(|w| WINDOW_BYTES[*w & 3] >= 2 * wanted);
                self.move_to(if large { fits.unwrap_or(limit) } else { window + 1 });
            }
        }
        Ok((self.room() as usize).min(wanted))
    }

    fn move_to(&mut self, window: usize) {
        let switch = Switch::new(self.tail(), window);
        let cursors = &self.ring.cursors.tx;
        cursors.switch.store(switch.0, Ordering::Relaxed);
        cursors.stalls.store(0, Ordering::Relaxed);
        // Relaxed: the Release of the next tail publishes it; until then no byte lies in the new window.
        self.ring.header.writer.switch.store(switch.0, Ordering::Relaxed);
    }

    /// Reads the peer's head and checks it.
    fn refresh(&self) -> Result<(), PeerFault> {
        // Acquire: pairs with the Release in `Consumer::consume`; the bytes below were copied out before.
        let found = self.ring.header.reader.head.load(Ordering::Acquire);
        let (seen, tail) = (self.head(), self.tail());
        if found < seen {
            return Err(PeerFault::HeadWentBack { seen, found });
        }
        if found > tail {
            return Err(PeerFault::HeadBeyondTail { tail, found });
        }
        self.ring.cursors.tx.head.store(found, Ordering::Relaxed);
        Ok(())
    }

    /// Room in the present window, going by the last head seen.
    #[inline]
    fn room(&self) -> u64 {
        let switch = self.switch();
        let used = self.tail() - self.head().max(switch.position());
        bytes_of(switch.window()).saturating_sub(used)
    }

    #[inline]
    fn publish(&self, tail: u64) {
        self.ring.cursors.tx.tail.store(tail, Ordering::Relaxed);
        // Release: pairs with the Acquire in `Consumer::refresh`; the bytes and the switch come first.
        self.ring.header.writer.tail.store(tail, Ordering::Release);
    }

    #[inline]
    fn tail(&self) -> u64 {
        self.ring.cursors.tx.tail.load(Ordering::Relaxed)
    }

    #[inline]
    fn head(&self) -> u64 {
        self.ring.cursors.tx.head.load(Ordering::Relaxed)
    }

    #[inline]
    fn switch(&self) -> Switch {
        Switch(self.ring.cursors.tx.switch.load(Ordering::Relaxed))
    }
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

/// Reading end. Hands out copies, never a `&[u8]` into memory that the peer can change. Neither `Clone` nor `Sync`.
#[derive(Debug)]
pub struct Consumer {
    ring: Ring,
}

impl Consumer {
    /// Copies from `ahead` bytes past the first unconsumed one, without consuming; returns how many there were.
    #[inline]
    pub fn peek(&self, ahead: usize, into: &mut [u8]) -> Result<usize, PeerFault> {
        let wanted = ahead.saturating_add(into.len());
        if self.known() < wanted {
            self.refresh()?;
        }
        let count = self.known().saturating_sub(ahead).min(into.len());
        match into.get_mut(..count) {
            Some(into) if count > 0 => self.copy(self.head() + ahead as u64, into),
            _ => {}
        }
        Ok(count)
    }

    /// Frees at most `bytes` for the peer; returns how many there were.
    #[inline]
    pub fn consume(&mut self, bytes: usize) -> Result<usize, PeerFault> {
        if self.known() < bytes {
            self.refresh()?;
        }
        let count = self.known().min(bytes);
        self.advance(count);
        Ok(count)
    }

    /// Copies bytes out and consumes them; returns how many there were (0: empty).
    #[inline]
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        let count = self.peek(0, into)?;
        self.advance(count);
        Ok(count)
    }

    /// Reads a record into `into`, which becomes its length. `false`: there is none.
    #[inline]
    pub fn read_record(&mut self, into: &mut Vec<u8>) -> Result<bool, PeerFault> {
        if self.known() == 0 {
            self.refresh()?;
        }
        let available = self.known();
        if available == 0 {
            return Ok(false);
        }
        if available < RECORD_HEADER {
            return Err(PeerFault::RecordTruncated { needed: RECORD_HEADER, available });
        }
        let mut header = [0; RECORD_HEADER];
        self.copy(self.head(), &mut header);
        let found = u32::from_le_bytes(header);
        let length = (found & 0x00FF_FFFF) as usize;
        if found >> 24 != RECORD_TAG {
            return Err(PeerFault::RecordTag { found });
        }
        if length > MAX_RECORD {
            return Err(PeerFault::RecordLength { length });
        }
        let needed = record_bytes(length);
        if needed > available {
            return Err(PeerFault::RecordTruncated { needed, available });
        }
        // Not cleared first: a buffer that is used again is not zeroed again.
        into.resize(length, 0);
        self.copy(self.head() + RECORD_HEADER as u64, into);
        self.advance(needed);
        Ok(true)
    }

    /// Bytes that can be read now.
    pub fn available(&self) -> Result<usize, PeerFault> {
        self.refresh()?;
        Ok(self.known())
    }

    /// Whether the writer has closed and every byte was consumed.
    pub fn is_finished(&self) -> Result<bool, PeerFault> {
        if self.flags() & FIN == 0 {
            return Ok(false);
        }
        Ok(self.available()? == 0)
    }

    /// The code that the writer broke the ring off with.
    #[inline]
    pub fn reset_by_peer(&self) -> Option<u32> {
        reset_code(self.flags())
    }

    /// This side reads no longer: the writer gets an error. Wake it with [`wake_writer`](Self::wake_writer).
    pub fn close(&mut self) {
        self.set_flags(DEAF);
    }

    /// Breaks the ring off: the writer gets the code.
    pub fn reset(&mut self, code: u32) {
        self.set_flags(RESET | u64::from(code) << 32);
    }

    fn set_flags(&mut self, flags: u64) {
        let own = &self.ring.cursors.rx.flags;
        let flags = own.load(Ordering::Relaxed) | flags;
        own.store(flags, Ordering::Relaxed);
        self.ring.header.state.reader_flags.store(flags, Ordering::Relaxed);
    }

    /// Whether the writer sleeps and waits for the room that was just made, or for this end's closing. The caller must
    /// then ring, once.
    #[inline]
    pub fn wake_writer(&mut self) -> bool {
        // SeqCst: pairs with the fence in `Producer::arm`. Either we see its word here, or it sees our head there.
        fence(Ordering::SeqCst);
        let wanted = self.ring.header.state.writer_wants.load(Ordering::Relaxed);
        let due = wanted != 0 && (self.head() >= wanted || self.ring.cursors.rx.flags.load(Ordering::Relaxed) != 0);
        // Relaxed: it only decides who rings; the room is ordered by the head.
        due && self.ring.header.state.writer_wants.swap(0, Ordering::Relaxed) != 0
    }

    /// Prepares to sleep until more than `ahead` bytes are there. `true`: armed, and there are really no more: the peer
    /// rings. `false`: there are, or the writer has closed since `flags_seen` were read.
    pub(crate) fn arm(&mut self, ahead: usize, flags_seen: u64) -> Result<bool, PeerFault> {
        let wanted = (self.head() + 1).saturating_add(ahead as u64);
        let word = &self.ring.header.state.reader_wants;
        word.store(wanted, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `Producer::wake_reader`. Either it sees our word, or we see its tail.
        fence(Ordering::SeqCst);
        self.refresh()?;
        if self.tail() >= wanted || self.flags() != flags_seen {
            word.store(0, Ordering::Relaxed);
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes back an `arm`.
    pub(crate) fn disarm(&mut self) {
        self.ring.header.state.reader_wants.store(0, Ordering::Relaxed);
    }

    /// The writer's flags, for [`arm`](Self::arm).
    #[inline]
    pub(crate) fn flags(&self) -> u64 {
        // Acquire: pairs with the Release in `Producer::close`; whoever sees the end sees the last tail.
        self.ring.header.state.writer_flags.load(Ordering::Acquire)
    }

    /// CPU that the peer last waited on, plus one; 0: unknown.
    pub(crate) fn peer_cpu(&self) -> u64 {
        self.ring.header.state.writer_cpu.load(Ordering::Relaxed)
    }

    /// Position behind the last byte seen: changes with the peer's progress.
    pub(crate) fn progress(&self) -> Result<u64, PeerFault> {
        self.refresh()?;
        Ok(self.tail())
    }

    /// Shows this side's gate in the header.
    pub(crate) fn note_gate(&self, closed: bool) {
        self.ring.header.state.reader_gate.store(closed.into(), Ordering::Relaxed);
    }

    /// Bytes known to be there.
    #[inline]
    fn known(&self) -> usize {
        (self.tail() - self.head()) as usize
    }

    /// Copies known bytes out, from both windows if a switch lies between.
    #[inline]
    fn copy(&self, position: u64, into: &mut [u8]) {
        let switch = self.switch();
        if position >= switch.position() {
            return self.ring.get(switch.window(), position, into);
        }
        let below = usize::try_from(switch.position() - position).unwrap_or(usize::MAX).min(into.len());
        let (old, new) = into.split_at_mut(below);
        self.ring.get(self.left(), position, old);
        self.ring.get(switch.window(), switch.position(), new);
    }

    /// Consumes known bytes.
    #[inline]
    fn advance(&mut self, bytes: usize) {
        let (head, position) = (self.head(), self.switch().position());
        let next = head + bytes as u64;
        if head < position && next >= position {
            self.ring.punch(self.left());
        }
        self.ring.cursors.rx.head.store(next, Ordering::Relaxed);
        // Release: pairs with the Acquire in `Producer::refresh`; the bytes were copied out before.
        self.ring.header.reader.head.store(next, Ordering::Release);
    }

    /// Reads the peer's tail and switch and checks them.
    fn refresh(&self) -> Result<(), PeerFault> {
        // Acquire: pairs with the Release in `Producer::publish`; the switch and the bytes were written before.
        let found = self.ring.header.writer.tail.load(Ordering::Acquire);
        let seen = self.tail();
        if found < seen {
            return Err(PeerFault::TailWentBack { seen, found });
        }
        // May be newer than the tail: it then begins at that tail or later.
        let switch = Switch(self.ring.header.writer.switch.load(Ordering::Relaxed));
        let (known, head) = (self.switch(), self.head());
        let mut left = self.left();
        if switch != known {
            check_switch(switch, known, head, seen)?;
            left = known.window();
        }
        let base = head.max(switch.position());
        let window_bytes = bytes_of(switch.window());
        if found > base && found - base > window_bytes {
            return Err(PeerFault::TailBeyondWindow { base, found, window_bytes });
        }
        if switch != known {
            self.enter(switch, left);
        }
        self.ring.cursors.rx.tail.store(found, Ordering::Relaxed);
        Ok(())
    }

    #[cold]
    fn enter(&self, switch: Switch, left: usize) {
        let cursors = &self.ring.cursors.rx;
        cursors.switch.store(switch.0, Ordering::Relaxed);
        cursors.left.store(left as u64, Ordering::Relaxed);
        if self.head() >= switch.position() {
            // All of the old window was consumed before.
            self.ring.punch(left);
        }
    }

    #[inline]
    fn tail(&self) -> u64 {
        self.ring.cursors.rx.tail.load(Ordering::Relaxed)
    }

    #[inline]
    fn head(&self) -> u64 {
        self.ring.cursors.rx.head.load(Ordering::Relaxed)
    }

    #[inline]
    fn switch(&self) -> Switch {
        Switch(self.ring.cursors.rx.switch.load(Ordering::Relaxed))
    }

    #[inline]
    fn left(&self) -> usize {
        self.ring.cursors.rx.left.load(Ordering::Relaxed) as usize
    }
}

/// Checks a new switch against the last one and against what was read and seen.
fn check_switch(switch: Switch, known: Switch, head: u64, seen: u64) -> Result<(), PeerFault> {
    if head < known.position() {
        return Err(PeerFault::SwitchPending { pending: known.position() });
    }
    if switch.window() >= WINDOW_BYTES.len() || switch.window() <= known.window() {
        return Err(PeerFault::SwitchToWindow { window: switch.window() as u64 });
    }
    let position = switch.position();
    let latest = head.saturating_add(bytes_of(known.window()));
    if position < seen || position > latest {
        return Err(PeerFault::SwitchOutOfRange { position, earliest: seen, latest });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
