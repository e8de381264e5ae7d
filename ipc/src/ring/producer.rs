//! The writing end of a ring.

use std::sync::atomic::Ordering;

use super::{
    DEAF, FIN, MAX_RECORD, PATIENCE, RECORD_HEADER, RESET, ROOM_WORTH_WRITING, Ring, STREAM_WINDOW, Switch,
    WAKE_FRACTION, WINDOW_BYTES, bytes_of, protocol, record_bytes, record_tag, reset_code, window_for,
};
use crate::error::{PeerFault, RecordError};

/// Writing end of a ring in memory shared with an untrusted peer. Neither `Clone` nor `Sync`.
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    /// The largest window that bytes move on to.
    stream_window: usize,
    /// The largest that the reader was seen to allow. A reader cannot take that back: one that changes it all the time gains
    /// nothing.
    readers_window: usize,
    growth: Growth,
}

/// Whether a part of what is written is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part,
}

/// How a ring grows that was found full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// To the next larger window, and only if that happens often: the writer waits meanwhile.
    Patient,
    /// To the largest window that a stream may have.
    AtOnce,
}

impl Producer {
    pub(super) fn new(ring: Ring) -> Self {
        let readers_window = WINDOW_BYTES.len() - 1;
        Self { ring, stream_window: STREAM_WINDOW, readers_window, growth: Growth::Patient }
    }

    /// Lets a stream have at most the smallest window that holds `bytes`, or the largest there is. A larger one that it
    /// has already is kept: what lies in it cannot be taken back.
    pub fn limit_stream(&mut self, bytes: usize) {
        self.stream_window = window_for(bytes);
    }

    /// For a writer that waits for nobody, so that what finds the ring full is lost: the first that would be lost moves
    /// the ring to the largest window of a stream, where a burst has room.
    pub fn grow_at_once(&mut self) {
        self.growth = Growth::AtOnce;
    }

    /// Copies bytes in and publishes them; returns how many fitted (0: full). [`PeerFault`]: the peer's index lies.
    #[inline(always)]
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, PeerFault> {
        let room = self.room_for(bytes.len(), Wanted::Part, self.stream_window)?;
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
        if self.room_for(needed, Wanted::Whole, limit)? < needed {
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

    /// Asks the CPU for the lines that the next write changes: for a side that will soon make it. The reader's CPU, which has
    /// looked at them last, has them.
    #[inline]
    pub(crate) fn prefetch(&self) {
        self.ring.prefetch_to_write(self.switch().window(), self.tail());
    }

    /// Bytes that could be written now without moving to a larger window.
    pub fn free(&self) -> Result<usize, PeerFault> {
        self.refresh()?;
        Ok(self.room() as usize)
    }

    /// Whether there is room for a writer that looks before it writes: some that is known of; else, after a look at the
    /// peer's head, a good part of the largest window that a stream may have. One that is faster than its reader would take
    /// the head's line from it for each few bytes. Of a smaller window less is enough: writers that find it full make the
    /// ring move on, and one that looks before each few writes would never find that.
    #[inline]
    pub fn is_writable(&self) -> Result<bool, PeerFault> {
        if self.room_after(self.head()) >= ROOM_WORTH_WRITING {
            return Ok(true);
        }
        let head = self.observe()?;
        let window = self.switch().window();
        let part = bytes_of(window) / WAKE_FRACTION as u64;
        let writable = self.room_after(head) >= if window < self.stream_window { ROOM_WORTH_WRITING } else { part };
        if writable {
            // Not known before it is enough: the next look would be content with what this one was not.
            self.note(head);
        }
        Ok(writable)
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
        // Whoever sees the end sees the last tail.
        protocol::publish(&self.ring.header.state.writer_flags, flags);
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
    #[inline(always)]
    pub fn wake_reader(&mut self) -> bool {
        let wants = &self.ring.header.state.reader_wants;
        protocol::wake(wants, self.ring.barriers, self.tail(), || self.is_closed())
    }

    /// Prepares to sleep until `minimum` bytes could be written; more than the largest window that a stream may have
    /// counts as all of it. `true`: armed, and there is really no room: the peer rings, once a good part of the window is free or
    /// when it goes to sleep itself. `false`: there is room, or the reader has closed.
    pub fn arm(&mut self, minimum: usize) -> Result<bool, PeerFault> {
        let largest = self.limited(self.stream_window).max(self.switch().window());
        self.arm_for(minimum.min(WINDOW_BYTES[largest & 3]))
    }

    /// As [`arm`](Self::arm), until a record of `length` bytes could be written.
    pub fn arm_record(&mut self, length: usize) -> Result<bool, PeerFault> {
        self.arm_for(record_bytes(length.min(MAX_RECORD)))
    }

    /// Prepares to sleep until the peer has left no more than `unread` bytes unconsumed. `true`: armed, and there is really
    /// more: the peer rings, once it has got so far or when it goes to sleep itself. `false`: it has, or reads no longer.
    pub(crate) fn arm_unread(&mut self, unread: usize) -> Result<bool, PeerFault> {
        let enough = self.tail().saturating_sub(unread as u64);
        self.sleep_until(enough, enough)
    }

    fn arm_for(&mut self, minimum: usize) -> Result<bool, PeerFault> {
        let enough = self.head_wanted(minimum);
        let window_bytes = WINDOW_BYTES[self.switch().window() & 3];
        self.sleep_until(enough, self.head_wanted(minimum.max(window_bytes / WAKE_FRACTION)))
    }

    /// Sleeps unless the peer's head is at `enough`; is woken when it is at `wanted`.
    fn sleep_until(&mut self, enough: u64, wanted: u64) -> Result<bool, PeerFault> {
        if enough <= self.head() {
            return Ok(false);
        }
        let wakefulness = &self.ring.cursors.tx.wakefulness;
        let state = wakefulness.fall_asleep(wanted);
        let asleep = protocol::sleep_unless(&self.ring.header.state.writer_wants, state, wanted, || {
            self.refresh()?;
            Ok(enough <= self.head() || self.peer_flags() & (DEAF | RESET) != 0)
        })?;
        if !asleep {
            wakefulness.stay_awake();
        }
        Ok(asleep)
    }

    /// Notes the CPU that this side waits on, for a spinning peer.
    pub(crate) fn note_cpu(&self, cpu: u64) {
        self.ring.header.state.writer_cpu.store(cpu, Ordering::Relaxed);
    }

    /// Position behind the last byte written.
    pub(crate) fn position(&self) -> u64 {
        self.tail()
    }

    /// Position of the first byte that the peer has not consumed: changes with its progress.
    pub(crate) fn progress(&self) -> Result<u64, PeerFault> {
        self.refresh()?;
        Ok(self.head())
    }

    /// Shows this side's mark in the header.
    pub(crate) fn set_mark(&self, mark: u64) {
        // Relaxed: the Release of the next tail publishes it; what was written before may be read under it.
        self.ring.header.state.writer_mark.store(mark, Ordering::Relaxed);
    }

    /// Shows this side's gate in the header.
    pub(crate) fn note_gate(&self, closed: bool) {
        self.ring.header.state.writer_gate.store(closed.into(), Ordering::Relaxed);
    }

    /// From now on several processes use this end in turn, or this one alone again.
    pub(crate) fn set_shared(&mut self, shared: bool) {
        if shared && self.ring.cursors.tx.wakefulness.forget() {
            protocol::stop_being_alert(&self.ring.header.state.writer_wants);
        }
        self.ring.set_shared(shared);
    }

    /// Shows the peer what the cursors say, should the process that used this end before have died in between.
    pub(crate) fn show(&self) {
        let (cursors, header) = (&self.ring.cursors.tx, &self.ring.header);
        protocol::announce_switch(&header.writer.switch, cursors.switch.load(Ordering::Relaxed));
        protocol::publish(&header.writer.tail, cursors.tail.load(Ordering::Relaxed));
        protocol::publish(&header.state.writer_flags, cursors.flags.load(Ordering::Relaxed));
    }

    /// Head at which `minimum` bytes can be written.
    fn head_wanted(&self, minimum: usize) -> u64 {
        let (switch, minimum) = (self.switch(), minimum as u64);
        let size = bytes_of(switch.window());
        if minimum > size {
            return self.head_for_switch();
        }
        if self.tail() - switch.position() + minimum <= size {
            return 0;
        }
        self.tail() + minimum - size
    }

    /// Head at which another window may be entered: the reader must know of the present one before, since it remembers
    /// one switch only. It knows once it has consumed a byte of it; of an empty one it need not know.
    fn head_for_switch(&self) -> u64 {
        let switch = self.switch();
        match switch {
            Switch::FIRST => 0,
            _ if self.tail() == switch.position() => switch.position(),
            _ => switch.position() + 1,
        }
    }

    /// Room for `wanted` bytes, or less. Moves to a larger window, at most `limit`, where that helps.
    #[inline]
    fn room_for(&mut self, wanted: usize, as_what: Wanted, limit: usize) -> Result<usize, PeerFault> {
        let room = self.room() as usize;
        if room >= wanted { Ok(wanted) } else { self.make_room(wanted, as_what, limit) }
    }

    #[cold]
    fn make_room(&mut self, wanted: usize, as_what: Wanted, limit: usize) -> Result<usize, PeerFault> {
        self.refresh()?;
        let room = self.room() as usize;
        if room >= wanted {
            return Ok(wanted);
        }
        let limit = match as_what {
            Wanted::Part => self.limited(limit),
            // What fits into no window that the reader allows, would never come.
            Wanted::Whole => self.limited(limit).max(window_for(wanted)),
        };
        let (switch, cursors) = (self.switch(), &self.ring.cursors.tx);
        let window = switch.window();
        if window < limit && self.head() >= self.head_for_switch() {
            let stalls = cursors.stalls.load(Ordering::Relaxed) + 1;
            cursors.stalls.store(stalls, Ordering::Relaxed);
            let large = 2 * wanted > WINDOW_BYTES[window & 3];
            let fits = (window + 1..limit).find(|w| WINDOW_BYTES[*w & 3] >= 2 * wanted).unwrap_or(limit);
            match self.growth {
                Growth::AtOnce => self.move_to(fits.max(STREAM_WINDOW).min(limit)),
                Growth::Patient if large => self.move_to(fits),
                Growth::Patient if stalls >= PATIENCE => self.move_to(window + 1),
                Growth::Patient => {}
            }
        }
        Ok((self.room() as usize).min(wanted))
    }

    /// A limit of this side, as far as the reader allows it.
    fn limited(&mut self, own: usize) -> usize {
        // Relaxed: it orders nothing, and takes effect whenever it is seen.
        let said = self.ring.header.state.reader_window.load(Ordering::Relaxed);
        if let Some(window) = said.checked_sub(1).and_then(|window| usize::try_from(window).ok()) {
            self.readers_window = self.readers_window.min(window);
        }
        own.min(self.readers_window)
    }

    fn move_to(&mut self, window: usize) {
        let switch = Switch::new(self.tail(), window);
        let cursors = &self.ring.cursors.tx;
        cursors.switch.store(switch.0, Ordering::Relaxed);
        cursors.stalls.store(0, Ordering::Relaxed);
        protocol::announce_switch(&self.ring.header.writer.switch, switch.0);
    }

    /// Reads the peer's head, checks it, and goes by it from now on.
    fn refresh(&self) -> Result<(), PeerFault> {
        self.note(self.observe()?);
        Ok(())
    }

    /// Reads the peer's head and checks it.
    #[inline]
    fn observe(&self) -> Result<u64, PeerFault> {
        // The bytes below were copied out before.
        let found = protocol::observe(&self.ring.header.reader.head);
        let (seen, tail) = (self.head(), self.tail());
        if found < seen {
            return Err(PeerFault::HeadWentBack { seen, found });
        }
        if found > tail {
            return Err(PeerFault::HeadBeyondTail { tail, found });
        }
        Ok(found)
    }

    /// Goes by a head that was checked.
    #[inline]
    fn note(&self, head: u64) {
        let (seen, cursors) = (self.head(), &self.ring.cursors.tx);
        cursors.head.store(head, Ordering::Relaxed);
        if head != seen && cursors.wakefulness.found(head, self.ring.barriers) {
            protocol::become_alert(&self.ring.header.state.writer_wants);
        }
    }

    /// Room in the present window, going by the last head seen.
    #[inline]
    fn room(&self) -> u64 {
        self.room_after(self.head())
    }

    /// Room in the present window where the peer is at `head`.
    #[inline]
    fn room_after(&self, head: u64) -> u64 {
        let switch = self.switch();
        let used = self.tail() - head.max(switch.position());
        bytes_of(switch.window()).saturating_sub(used)
    }

    #[inline]
    fn publish(&self, tail: u64) {
        self.ring.cursors.tx.tail.store(tail, Ordering::Relaxed);
        // The bytes and the switch come first.
        protocol::publish(&self.ring.header.writer.tail, tail);
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
