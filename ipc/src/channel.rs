//! A channel: two rings and a doorbell, between two processes that procmgr has joined.
//!
//! ```text
//!   opener                                        listener
//!   tx ──▶ ring 0 ───────────────────────────────▶ rx
//!   rx ◀── ring 1 ◀─────────────────────────────── tx
//!   own bell ◀─ pipe ─ rings   rings ─ pipe ─▶ own bell
//! ```
//!
//! Three ways to wait:
//!
//! - blocking: [`Channel::wait_readable`], [`Channel::wait_writable`];
//! - with mio: register the channel; on each event call [`Channel::acknowledge_bell`], then go on in **both**
//!   directions until [`Channel::arm_read`] says `true` and, if something is left to write, [`Channel::arm_write`] does
//!   too. One bell serves both directions, so whoever silences it must look at both;
//! - not at all: a busy process looks at its channels in turn, and arms before it sleeps.
//!
//! ```
//! use ipc::channel::Channel;
//!
//! let (mut a, mut b) = Channel::pair()?;
//! assert_eq!(a.write(b"hello")?, 5);
//! assert!(b.wait_readable(None)?);
//! let mut buffer = [0; 16];
//! assert_eq!(b.read(&mut buffer)?, 5);
//! a.close();
//! assert_eq!(b.read(&mut buffer)?, 0);
//! assert!(b.is_finished());
//! # Ok::<(), ipc::error::ChannelError>(())
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};

use crate::doorbell::{Doorbell, MOST_RINGS};
use crate::error::{ChannelError, PeerFault};
use crate::memory::{Memory, Slot, SlotRef};
use crate::ring::{self, CHANNEL_BYTES, Consumer, EndCursors, Producer};

mod exec;
mod parts;
mod record;
mod share;
mod wait;

pub use self::exec::{EndRecord, Successor, expect_exec, take_over_turns, turns};
pub use self::parts::ChannelParts;
pub use self::record::Record;
use self::wait::Spin;

/// Rings without any progress after which the peer is taken to be hostile. A correct peer rings only when it has
/// written, read or closed; the margin is for what a later version may ring for.
const MAX_FRUITLESS_RINGS: u32 = 4096;

/// Which end of a channel: who opened it, or who was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Writes ring 0.
    Opener,
    /// Writes ring 1.
    Listener,
}

/// Two rings and a doorbell. Dropping it tells the peer that this end is gone; [`close`](Self::close) says so in order.
#[derive(Debug)]
pub struct Channel {
    /// What the peer writes. After consuming from it directly call [`notify`](Channel::notify).
    pub rx: Consumer,
    /// What the peer reads. After writing to it directly call [`notify`](Channel::notify).
    pub tx: Producer,
    doorbell: Doorbell,
    side: Side,
    end: SlotRef<EndCursors>,
    /// The memory's descriptor, where a program that this process executes is to go on with the end.
    memory: Option<OwnedFd>,
    /// Other processes may use this end too: everything is done in turn.
    shared: bool,
    /// How many turns it has had.
    turns: u32,
    /// The last sibling has ended since [`may_have_missed_a_ring`](Self::may_have_missed_a_ring) was asked.
    left_alone: bool,
    gate_closed: bool,
    /// The end of what the peer wrote was handed out: nothing more is to be waited for.
    end_reported: bool,
    spin: Spin,
    fruitless_rings: u32,
    /// The peer's when it last rang.
    progress: Progress,
}

/// What a peer can ring for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// Position behind what it wrote.
    tail: u64,
    /// Position behind what it consumed.
    head: u64,
    /// All flags that it ever showed: one that comes and goes is progress once.
    writer_flags: u64,
    reader_flags: u64,
}

/// What an empty ring means.
enum Empty {
    /// It was filled meanwhile.
    Filled,
    /// More may come.
    ForNow,
    /// The peer has closed in order.
    Finished,
}

impl Channel {
    /// Takes over an end. Its memory is checked before it is mapped.
    pub fn from_parts(parts: ChannelParts) -> Result<Self, ChannelError> {
        Self::with_slot(parts, Slot::new()?)
    }

    fn with_slot(parts: ChannelParts, slot: Slot<EndCursors>) -> Result<Self, ChannelError> {
        let memory = Arc::new(Memory::map_near(parts.memory.as_fd(), CHANNEL_BYTES)?);
        let writes_ring = match parts.side {
            Side::Opener => 0,
            Side::Listener => 1,
        };
        let end = SlotRef::new(slot);
        let (tx, rx) = ring::open_ends(&memory, &end, writes_ring);
        Ok(Self {
            rx,
            tx,
            doorbell: Doorbell::new(parts.bell_in, parts.bell_out),
            side: parts.side,
            end,
            memory: exec::is_expected().then_some(parts.memory),
            shared: false,
            turns: 0,
            left_alone: false,
            gate_closed: false,
            end_reported: false,
            spin: Spin::default(),
            fruitless_rings: 0,
            progress: Progress::default(),
        })
    }

    /// Both ends of a new channel in this process: opener and listener.
    pub fn pair() -> Result<(Self, Self), ChannelError> {
        let (opener, listener) = ChannelParts::pair()?;
        Ok((Self::from_parts(opener)?, Self::from_parts(listener)?))
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Writes bytes and wakes the peer if it sleeps; returns how many fitted (0: full).
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        if self.shared { self.in_turn(|channel| channel.write_alone(bytes)) } else { self.write_alone(bytes) }
    }

    /// A part of its caller, as all that it calls where there is room.
    #[inline(always)]
    fn write_alone(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        self.check_writable()?;
        let written = self.tx.write(bytes)?;
        if self.tx.wake_reader() {
            self.ring()?;
        }
        Ok(written)
    }

    /// Reads bytes and wakes the peer if it waits for room. 0: nothing now, or the end:
    /// [`is_finished`](Self::is_finished) tells.
    #[inline(always)]
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, ChannelError> {
        if self.gate_closed {
            return Ok(0);
        }
        if self.shared { self.in_turn(|channel| channel.read_alone(into)) } else { self.read_alone(into) }
    }

    /// A part of its caller, as all that it calls where there are bytes.
    #[inline(always)]
    fn read_alone(&mut self, into: &mut [u8]) -> Result<usize, ChannelError> {
        match self.rx.read(into)? {
            0 => self.read_nothing(into),
            read => {
                if self.rx.has_told() && self.rx.wake_writer() {
                    self.ring()?;
                }
                Ok(read)
            }
        }
    }

    /// There was nothing. What came before the end, and before this look at it, is read first.
    #[inline(never)]
    fn read_nothing(&mut self, into: &mut [u8]) -> Result<usize, ChannelError> {
        while let Empty::Filled = self.why_empty(0)? {
            let read = self.rx.read(into)?;
            if self.rx.wake_writer() {
                self.ring()?;
            }
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
        }
        Ok(0)
    }

    /// Copies from `ahead` bytes past the first unconsumed one, without consuming. 0: nothing there now, or the end:
    /// [`peer_finished_writing`](Self::peer_finished_writing) tells. The end, and errors, come once nothing is further
    /// ahead, though unconsumed bytes may be peeked at again.
    #[inline]
    pub fn peek(&mut self, ahead: usize, into: &mut [u8]) -> Result<usize, ChannelError> {
        if self.gate_closed {
            return Ok(0);
        }
        self.in_turn(|channel| {
            let read = channel.rx.peek(ahead, into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match channel.why_empty(ahead)? {
                Empty::Filled => Ok(channel.rx.peek(ahead, into)?),
                Empty::ForNow | Empty::Finished => Ok(0),
            }
        })
    }

    /// Consumes at most `bytes` and wakes the peer if it waits for the room; returns how many there were.
    #[inline]
    pub fn consume(&mut self, bytes: usize) -> Result<usize, ChannelError> {
        self.in_turn(|channel| {
            let consumed = channel.rx.consume(bytes)?;
            if channel.rx.wake_writer() {
                channel.ring()?;
            }
            Ok(consumed)
        })
    }

    /// Whether a read would find something, or an end. Asks the ring alone and changes nothing: for a process that looks
    /// often at a channel whose bell is armed. That the peer died its bell tells.
    #[inline]
    pub fn has_news(&self) -> bool {
        !self.gate_closed && (self.rx.knows_bytes() || self.rx.has_news())
    }

    /// Wakes the peer if it sleeps and waits for what was done to `tx` and `rx` directly.
    pub fn notify(&mut self) -> Result<(), ChannelError> {
        self.in_turn(Self::wake_peer)
    }

    fn wake_peer(&mut self) -> Result<(), ChannelError> {
        let reader = self.tx.wake_reader();
        if self.rx.wake_writer() || reader {
            self.ring()?;
        }
        Ok(())
    }

    /// Whether the peer closed its writing in order and everything was read.
    pub fn is_finished(&self) -> bool {
        !self.gate_closed && self.rx.peer_closed() && self.available().is_ok_and(|bytes| bytes == 0)
    }

    /// Whether the peer closed its writing in order, though bytes may still be there: for a reader that leaves them in
    /// the ring. True once [`peek`](Self::peek) has found nothing more.
    pub fn peer_finished_writing(&self) -> bool {
        !self.gate_closed && self.rx.peer_closed()
    }

    /// Whether the last holder of the other end is known to be gone. Bytes may still be there to read.
    pub fn peer_closed(&self) -> bool {
        self.doorbell.peer_gone()
    }

    /// Bytes written that the peer has not consumed: a peer that died and left some has broken the connection off.
    pub fn unread_by_peer(&self) -> Result<usize, ChannelError> {
        self.look_in_turn(|channel| Ok(channel.tx.unread()?))
    }

    /// Bytes that can be read now, whether or not the gate is closed.
    pub fn available(&self) -> Result<usize, ChannelError> {
        self.look_in_turn(|channel| Ok(channel.rx.available()?))
    }

    /// Ends the own writing: the peer reads what was written, then the end.
    pub fn close_write(&mut self) {
        self.finish(|channel| channel.tx.close());
    }

    /// Ends the own reading: the peer's writes fail.
    pub fn close_read(&mut self) {
        self.finish(|channel| channel.rx.close());
    }

    /// Ends both directions in order.
    pub fn close(&mut self) {
        self.finish(|channel| {
            channel.tx.close();
            channel.rx.close();
        });
    }

    /// Breaks the channel off. The peer still gets what was written, then [`ChannelError::Reset`] with this code.
    pub fn reset(&mut self, code: u32) {
        self.finish(|channel| {
            channel.tx.reset(code);
            channel.rx.reset(code);
        });
    }

    /// Closes or opens this end's gate. While it is closed nothing is delivered here, and writes fill the ring. After
    /// opening it, read again: no bell rings for what had come before.
    pub fn set_gate(&mut self, closed: bool) {
        self.gate_closed = closed;
        self.rx.note_gate(closed);
        self.tx.note_gate(closed);
    }

    /// Whether the gate is closed.
    pub fn gate_is_closed(&self) -> bool {
        self.gate_closed
    }

    /// Shows the peer this side's mark: a word that stands for something that both must have in common, and that may change
    /// while the channel stands. Both begin with 0. Does not ring; [`call`](Self::call) does.
    pub fn set_mark(&mut self, mark: u64) {
        self.tx.set_mark(mark);
    }

    /// The peer's mark.
    #[inline]
    pub fn peer_mark(&self) -> u64 {
        self.rx.peer_mark()
    }

    /// Rings whatever the peer waits for: something that it must look at is no byte and no end.
    pub fn call(&mut self) -> Result<(), ChannelError> {
        self.ring()
    }

    /// Silences the bell after a wake; returns whether it was rung. Then look at both directions.
    pub fn acknowledge_bell(&mut self) -> Result<bool, ChannelError> {
        let rings =
            self.doorbell.drain().map_err(|error| ChannelError::Kernel { what: "silence a doorbell", error })?;
        if rings > MOST_RINGS {
            return Err(PeerFault::RingsWithoutEnd { rings, limit: MOST_RINGS }.into());
        }
        if rings > 0 {
            self.in_turn(Self::count_ring)?;
        }
        Ok(rings > 0)
    }

    /// Prepares to sleep until something can be read. `true`: armed, and there is really nothing: the bell rings.
    /// `false`: read on.
    pub fn arm_read(&mut self) -> Result<bool, ChannelError> {
        self.arm_peek(0)
    }

    /// As [`arm_read`](Self::arm_read), for a reader that leaves `ahead` bytes in the ring.
    pub fn arm_peek(&mut self, ahead: usize) -> Result<bool, ChannelError> {
        self.in_turn(|channel| {
            if channel.gate_closed || channel.end_reported {
                channel.rx.disarm();
                return Ok(true);
            }
            if channel.doorbell.peer_gone() {
                return Ok(false);
            }
            let armed = channel.rx.arm(ahead)?;
            if armed && channel.rx.release_writer() {
                channel.ring()?;
            }
            Ok(armed)
        })
    }

    /// Prepares to sleep until `minimum` bytes can be written (more than any window counts as a whole one). `true`:
    /// armed, and there is really no room: the bell rings. `false`: there is, or writing fails.
    pub fn arm_write(&mut self, minimum: usize) -> Result<bool, ChannelError> {
        if self.doorbell.peer_gone() || self.tx.is_closed() {
            return Ok(false);
        }
        self.in_turn(|channel| Ok(channel.tx.arm(minimum)?))
    }

    /// Prepares to sleep until the peer has left no more than `unread` bytes unread. `true`: armed, and there is really
    /// more: the bell rings. `false`: there is not, or the peer is gone.
    pub fn arm_unread(&mut self, unread: usize) -> Result<bool, ChannelError> {
        if self.doorbell.peer_gone() {
            return Ok(false);
        }
        self.in_turn(|channel| Ok(channel.tx.arm_unread(unread)?))
    }

    /// As [`arm_write`](Self::arm_write), until a record of `length` bytes can be written.
    pub fn arm_write_record(&mut self, length: usize) -> Result<bool, ChannelError> {
        if self.doorbell.peer_gone() || self.tx.is_closed() {
            return Ok(false);
        }
        self.in_turn(|channel| Ok(channel.tx.arm_record(length)?))
    }

    #[inline(always)]
    fn check_writable(&self) -> Result<(), ChannelError> {
        if self.tx.is_closed() {
            return Err(ChannelError::Closed);
        }
        if self.tx.peer_flags() != 0 {
            if let Some(code) = self.tx.reset_by_peer() {
                return Err(ChannelError::Reset(code));
            }
            if self.tx.peer_closed_reading() {
                return Err(ChannelError::PeerClosedReading);
            }
        }
        if self.doorbell.peer_gone() { Err(ChannelError::PeerGone) } else { Ok(()) }
    }

    /// Called when nothing was found more than `ahead` bytes past the first unconsumed one.
    fn why_empty(&mut self, ahead: usize) -> Result<Empty, ChannelError> {
        // Before the last look: whoever ends has written before.
        let gone = self.doorbell.peer_gone();
        let (finished, reset) = (self.rx.peer_closed(), self.rx.reset_by_peer());
        if self.rx.available()? > ahead {
            return Ok(Empty::Filled);
        }
        self.end_reported = finished || gone || reset.is_some();
        match reset {
            Some(code) => Err(ChannelError::Reset(code)),
            None if finished => Ok(Empty::Finished),
            None if gone => Err(ChannelError::PeerGone),
            None => Ok(Empty::ForNow),
        }
    }

    /// Ends something and rings for it, whatever becomes of that.
    fn finish(&mut self, how: impl FnOnce(&mut Self)) {
        let told = self.in_turn(|channel| {
            how(channel);
            channel.wake_peer()
        });
        if let Err(error) = told {
            log::debug!("tell the peer of the end of a channel: {error}");
        }
    }

    #[cold]
    fn ring(&mut self) -> Result<(), ChannelError> {
        self.doorbell.ring().map_err(|error| ChannelError::Kernel { what: "ring a doorbell", error })
    }

    fn count_ring(&mut self) -> Result<(), ChannelError> {
        let progress = Progress {
            tail: self.rx.progress()?,
            head: self.tx.progress()?,
            writer_flags: self.progress.writer_flags | self.rx.flags(),
            reader_flags: self.progress.reader_flags | self.tx.peer_flags(),
        };
        if progress != self.progress {
            self.progress = progress;
            self.fruitless_rings = 0;
            return Ok(());
        }
        self.fruitless_rings += 1;
        if self.fruitless_rings > MAX_FRUITLESS_RINGS {
            return Err(PeerFault::RingsWithoutProgress { rings: self.fruitless_rings }.into());
        }
        Ok(())
    }
}

impl AsFd for Channel {
    /// The bell: readable when rung or when the peer is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }
}

/// Always waits for the bell, whatever the interests: the bell rings for both directions.
impl Source for Channel {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.doorbell.own_raw()).register(registry, token, Interest::READABLE)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.doorbell.own_raw()).reregister(registry, token, Interest::READABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.doorbell.own_raw()).deregister(registry)
    }
}

#[cfg(test)]
mod tests;
