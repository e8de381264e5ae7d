//! The reading end of a ring.

use std::sync::atomic::Ordering;

use super::{
    DEAF, FIN, MAX_RECORD, RECORD_HEADER, RECORD_TAG, RESET, Ring, Switch, WINDOW_BYTES, bytes_of, protocol,
    record_bytes, reset_code, window_for,
};
use crate::error::PeerFault;

/// Parts of a window in which room is freed by a reader that frees in batches.
const BATCHES: u64 = 8;

/// A read of no more than this asks for the line that is read some calls later: each is in the writer's cache, and a
/// program that reads a line at a time would wait for each.
const SMALL_READ: usize = 256;

/// How far ahead, in bytes. Only where it is known to be written: a line that the writer is about to fill stays with it.
const READ_AHEAD: usize = 512;

/// Reading end. Hands out copies, never a `&[u8]` into memory that the peer can change. Neither `Clone` nor `Sync`.
#[derive(Debug)]
pub struct Consumer {
    ring: Ring,
    freeing: Freeing,
    /// The head that the writer was last told.
    published: u64,
    /// Several processes use this end in turn, each with its own idea of what was published.
    shared: bool,
}

/// When the writer is told of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freeing {
    /// With each read.
    AtOnce,
    /// When a good part of the window was read, or all: of bytes at once, so that what the writer sees unread is truly so;
    /// of records when the reader looks for more.
    InBatches,
}

impl Consumer {
    pub(super) fn new(ring: Ring) -> Self {
        Self { ring, freeing: Freeing::AtOnce, published: 0, shared: false }
    }

    /// Lets the ring have at most the smallest window that holds `bytes`: as much as may wait for this reader. One that is
    /// larger already stays until the writer moves on, a record that would fit into none gets one, and a limit is not
    /// taken back.
    pub fn limit_window(&mut self, bytes: usize) {
        let window = window_for(bytes) as u64;
        // Relaxed: it takes effect when the writer sees it.
        self.ring.header.state.reader_window.store(window + 1, Ordering::Relaxed);
    }

    /// The writer is told of room in batches. With each read, the line of the head would have to come back from a writer
    /// that looks at it because the ring is full. For a writer that waits for a good part of the window, or for nobody.
    pub fn free_in_batches(&mut self) {
        self.freeing = Freeing::InBatches;
    }

    /// Copies from `ahead` bytes past the first unconsumed one, without consuming; returns how many there were.
    #[inline(always)]
    pub fn peek(&self, ahead: usize, into: &mut [u8]) -> Result<usize, PeerFault> {
        let wanted = ahead.saturating_add(into.len());
        let count = self.find(wanted)?.saturating_sub(ahead).min(into.len());
        match into.get_mut(..count) {
            Some(into) if count > 0 => self.copy(self.head() + ahead as u64, into),
            _ => {}
        }
        Ok(count)
    }

    /// Bytes known to be there, after a look at the peer's tail if those are less than `wanted`.
    #[inline(always)]
    fn find(&self, wanted: usize) -> Result<usize, PeerFault> {
        let (head, tail) = (self.head(), self.tail());
        let known = (tail - head) as usize;
        if known >= wanted { Ok(known) } else { Ok((self.refresh()? - head) as usize) }
    }

    /// Frees at most `bytes` for the peer; returns how many there were.
    #[inline]
    pub fn consume(&mut self, bytes: usize) -> Result<usize, PeerFault> {
        let count = self.find(bytes)?.min(bytes);
        self.advance(count);
        Ok(count)
    }

    /// Copies bytes out and consumes them; returns how many there were (0: empty).
    #[inline(always)]
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, PeerFault> {
        let known = self.find(into.len())?;
        let count = known.min(into.len());
        let Some(into) = into.get_mut(..count).filter(|into| !into.is_empty()) else { return Ok(0) };
        self.copy(self.head(), into);
        self.advance(count);
        if count <= SMALL_READ && known - count > READ_AHEAD {
            self.ring.prefetch(self.switch().window(), self.head() + READ_AHEAD as u64);
        }
        Ok(count)
    }

    /// Reads a record into `into`, which becomes its length. `false`: there is none.
    #[inline]
    pub fn read_record(&mut self, into: &mut Vec<u8>) -> Result<bool, PeerFault> {
        let Some(length) = self.find_record()? else { return Ok(false) };
        // Not cleared first: a buffer that is used again is not zeroed again.
        into.resize(length, 0);
        self.copy_record(0, into);
        self.consume_record(length);
        Ok(true)
    }

    /// Length of the next record, which is whole and stays where it is; `None`: there is none.
    #[inline]
    pub(crate) fn find_record(&mut self) -> Result<Option<usize>, PeerFault> {
        if self.known() == 0 {
            if self.freeing == Freeing::InBatches {
                self.publish();
            }
            self.refresh()?;
        }
        let available = self.known();
        if available == 0 {
            return Ok(None);
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
            return Err(PeerFault::RecordLength { length, limit: MAX_RECORD });
        }
        let needed = record_bytes(length);
        if needed > available {
            return Err(PeerFault::RecordTruncated { needed, available });
        }
        Ok(Some(length))
    }

    /// Copies from the record that [`find_record`](Self::find_record) found, from its byte `at` on; not beyond its end.
    #[inline]
    pub(crate) fn copy_record(&self, at: usize, into: &mut [u8]) {
        debug_assert!(record_bytes(at + into.len()) <= self.known());
        self.copy(self.head() + (RECORD_HEADER + at) as u64, into);
    }

    /// Frees the record that was found, by its length. `true`: the writer was told.
    #[inline]
    pub(crate) fn consume_record(&mut self, length: usize) -> bool {
        let bytes = record_bytes(length);
        let next = self.head() + bytes as u64;
        if self.may_wait(next) {
            self.ring.cursors.rx.head.store(next, Ordering::Relaxed);
            return false;
        }
        self.free(next);
        true
    }

    /// Whether the writer may learn later that the head is at `next`.
    #[inline(always)]
    fn may_wait(&self, next: u64) -> bool {
        let switch = self.switch();
        let part = bytes_of(switch.window()) / BATCHES;
        self.freeing == Freeing::InBatches
            && !self.shared
            && next < self.published + part
            && self.head() >= switch.position()
    }

    /// Whether the writer knows of all that was consumed. One that was told nothing new need not be woken for it.
    #[inline]
    pub(crate) fn has_told(&self) -> bool {
        self.published == self.head()
    }

    /// Tells the writer of all room.
    #[inline]
    fn publish(&mut self) {
        let head = self.head();
        if self.published != head {
            self.published = head;
            // The bytes were copied out before.
            protocol::publish(&self.ring.header.reader.head, head);
        }
    }

    /// Whether bytes were seen that are not consumed. Asks no shared memory.
    #[inline]
    pub(crate) fn knows_bytes(&self) -> bool {
        self.known() > 0
    }

    /// Whether there is something that was not seen: bytes, or that the writer has ended. A look at shared memory and
    /// nothing else.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        protocol::observe(&self.ring.header.writer.tail) != self.head() || self.peer_ended()
    }

    /// Asks the CPU for the line that the next bytes will lie in: for a reader that looks out for them. The writer takes the
    /// line from it, and asked for again it comes back beside the line of the tail, not after it.
    #[inline]
    pub(crate) fn prefetch(&self) {
        let switch = self.switch();
        let window = if self.head() >= switch.position() { switch.window() } else { self.left() };
        self.ring.prefetch(window, self.head());
    }

    /// Bytes that can be read now.
    pub fn available(&self) -> Result<usize, PeerFault> {
        Ok((self.refresh()? - self.head()) as usize)
    }

    /// Whether the writer has closed and every byte was consumed.
    pub fn is_finished(&self) -> Result<bool, PeerFault> {
        Ok(self.peer_closed() && self.available()? == 0)
    }

    /// Whether the writer has closed: no byte comes beyond those that [`available`](Self::available) then tells.
    #[inline]
    pub fn peer_closed(&self) -> bool {
        self.flags() & FIN != 0
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
        let state = &self.ring.header.state;
        let ended = || self.ring.cursors.rx.flags.load(Ordering::Relaxed) != 0;
        protocol::wake(&state.writer_wants, self.ring.barriers, self.head(), ended)
    }

    /// To be called after [`arm`](Self::arm), whose fence it needs: whether the writer sleeps for more room than there
    /// is. It may be what this end waits for, so that both would sleep for ever. The caller must then ring, once.
    ///
    /// Once for each head: a writer that arms later sees that head, and sleeps in spite of it. Ringing again would wake
    /// it for nothing, each time that this end goes to sleep.
    pub(crate) fn release_writer(&mut self) -> bool {
        let (head, looked_at) = (self.head(), &self.ring.cursors.rx.looked_at);
        if looked_at.load(Ordering::Relaxed) == head {
            return false;
        }
        looked_at.store(head, Ordering::Relaxed);
        protocol::wake_anyway(&self.ring.header.state.writer_wants)
    }

    /// Prepares to sleep until more than `ahead` bytes are there. `true`: armed, and there are really no more: the peer
    /// rings. `false`: there are, or the writer has ended.
    pub(crate) fn arm(&mut self, ahead: usize) -> Result<bool, PeerFault> {
        if self.freeing == Freeing::InBatches {
            self.publish();
        }
        let wanted = (self.head() + 1).saturating_add(ahead as u64);
        let wakefulness = &self.ring.cursors.rx.wakefulness;
        let state = wakefulness.fall_asleep(wanted);
        let asleep = protocol::sleep_unless(&self.ring.header.state.reader_wants, state, wanted, || {
            self.refresh()?;
            Ok(self.tail() >= wanted || self.peer_ended())
        })?;
        if !asleep {
            wakefulness.stay_awake();
        }
        Ok(asleep)
    }

    /// Takes back an `arm`.
    pub(crate) fn disarm(&mut self) {
        let wakefulness = &self.ring.cursors.rx.wakefulness;
        if !wakefulness.is_alert() {
            wakefulness.stay_awake();
            protocol::stay_awake(&self.ring.header.state.reader_wants);
        }
    }

    /// Whether the writer has closed or broken off. A flag without a meaning is no reason to stay awake: the reader
    /// would find nothing, for ever.
    #[inline]
    pub(crate) fn peer_ended(&self) -> bool {
        self.flags() & (FIN | RESET) != 0
    }

    /// The writer's flags.
    #[inline]
    pub(crate) fn flags(&self) -> u64 {
        // Whoever sees the end sees the last tail.
        protocol::observe(&self.ring.header.state.writer_flags)
    }

    /// CPU that the peer last waited on, plus one; 0: unknown.
    pub(crate) fn peer_cpu(&self) -> u64 {
        self.ring.header.state.writer_cpu.load(Ordering::Relaxed)
    }

    /// Position behind the last byte seen: changes with the peer's progress.
    pub(crate) fn progress(&self) -> Result<u64, PeerFault> {
        self.refresh()
    }

    /// The other side's mark.
    #[inline]
    pub(crate) fn peer_mark(&self) -> u64 {
        self.ring.header.state.writer_mark.load(Ordering::Relaxed)
    }

    /// Shows this side's gate in the header.
    pub(crate) fn note_gate(&self, closed: bool) {
        self.ring.header.state.reader_gate.store(closed.into(), Ordering::Relaxed);
    }

    /// From now on several processes use this end in turn, or this one alone again.
    pub(crate) fn set_shared(&mut self, shared: bool) {
        self.publish();
        if shared && self.ring.cursors.rx.wakefulness.forget() {
            protocol::stop_being_alert(&self.ring.header.state.reader_wants);
        }
        self.shared = shared;
        self.ring.set_shared(shared);
    }

    /// Shows the peer what the cursors say, should the process that used this end before have died in between.
    pub(crate) fn show(&self) {
        let cursors = &self.ring.cursors.rx;
        protocol::publish(&self.ring.header.reader.head, cursors.head.load(Ordering::Relaxed));
        protocol::publish(&self.ring.header.state.reader_flags, cursors.flags.load(Ordering::Relaxed));
    }

    /// Bytes known to be there.
    #[inline]
    fn known(&self) -> usize {
        (self.tail() - self.head()) as usize
    }

    /// Copies known bytes out, from both windows if a switch lies between.
    #[inline(always)]
    fn copy(&self, position: u64, into: &mut [u8]) {
        let switch = self.switch();
        if position >= switch.position() {
            self.ring.get(switch.window(), position, into);
        } else {
            self.copy_across(switch, position, into);
        }
    }

    #[cold]
    fn copy_across(&self, switch: Switch, position: u64, into: &mut [u8]) {
        let below = usize::try_from(switch.position() - position).unwrap_or(usize::MAX).min(into.len());
        let (old, new) = into.split_at_mut(below);
        self.ring.get(self.left(), position, old);
        self.ring.get(switch.window(), switch.position(), new);
    }

    /// Consumes known bytes.
    #[inline(always)]
    fn advance(&mut self, bytes: usize) {
        let next = self.head() + bytes as u64;
        if next < self.tail() && self.may_wait(next) {
            self.ring.cursors.rx.head.store(next, Ordering::Relaxed);
        } else {
            self.free(next);
        }
    }

    /// Consumes up to `next`, and tells the writer.
    #[inline(always)]
    fn free(&mut self, next: u64) {
        let (head, position) = (self.head(), self.switch().position());
        self.ring.cursors.rx.head.store(next, Ordering::Relaxed);
        self.published = next;
        // The bytes were copied out before.
        protocol::publish(&self.ring.header.reader.head, next);
        if head < position && next >= position {
            // After the head: who dies in between has wasted memory, not lost bytes.
            self.ring.punch(self.left());
        }
    }

    /// Reads the peer's tail and switch, checks them, and returns the tail.
    #[inline(always)]
    fn refresh(&self) -> Result<u64, PeerFault> {
        let writer = &self.ring.header.writer;
        let (found, switch) = protocol::observe_writer(&writer.tail, &writer.switch);
        let (switch, seen) = (Switch(switch), self.tail());
        let used = found.saturating_sub(self.head().max(switch.position()));
        if switch != self.switch() || found < seen || used > bytes_of(switch.window()) {
            self.check(found, switch)?;
        }
        let cursors = &self.ring.cursors.rx;
        // Release: behind the switch, since the bytes past it lie in the new window.
        cursors.tail.store(found, Ordering::Release);
        if found != seen && cursors.wakefulness.found(found, self.ring.barriers) {
            protocol::become_alert(&self.ring.header.state.reader_wants);
        }
        Ok(found)
    }

    /// A new window, or a lie: which one.
    #[cold]
    fn check(&self, found: u64, switch: Switch) -> Result<(), PeerFault> {
        let (known, head, seen) = (self.switch(), self.head(), self.tail());
        if found < seen {
            return Err(PeerFault::TailWentBack { seen, found });
        }
        if switch != known {
            check_switch(switch, known, head, seen)?;
        }
        let base = head.max(switch.position());
        let window_bytes = bytes_of(switch.window());
        if found > base && found - base > window_bytes {
            return Err(PeerFault::TailBeyondWindow { base, found, window_bytes });
        }
        if switch != known {
            self.enter(switch, known.window());
        }
        Ok(())
    }

    #[cold]
    fn enter(&self, switch: Switch, left: usize) {
        let cursors = &self.ring.cursors.rx;
        // The head has passed the last switch: until the new one is stored, nobody asks for what is left.
        cursors.left.store(left as u64, Ordering::Relaxed);
        cursors.switch.store(switch.0, Ordering::Release);
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
