//! Waiting for the peer: looking out for it where it runs on another CPU, making way for it on the own one, and at last
//! sleeping until it rings.

use std::mem;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Channel;
use crate::error::ChannelError;

#[cfg(test)]
mod tests;

/// Looks at the ring between two looks at the clock, while spinning.
const SPINS_PER_LOOK: u32 = 64;

/// Looks at the ring without a pause in between, by a side that awaits an answer: some 0.5 us. A pause of the CPU, 15 ns and
/// more, would be a part of each way; one that waits longer makes them.
const LOOKS_FOR_ANSWER: u32 = 256;

/// Answers that are looked for at once, after one that came soon; the next one is awaited like any other, which tells whether
/// they still do.
const ANSWERS_EXPECTED: u8 = 16;

/// How often a side makes way for a peer on the same CPU before it sleeps.
const MAX_YIELDS: u32 = 4;

/// What the header says of a peer that has not waited yet.
const UNKNOWN_CPU: u64 = 0;

/// How long to look out for the peer before going to sleep.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spin {
    bound: Duration,
    /// Present length: halved when spinning was in vain, back at the bound when it was not.
    now: Duration,
    /// How often to make way for the peer; halved and set back likewise.
    yields: u32,
    /// Own CPU as the peer was last told, plus one.
    cpu: u64,
    /// Position behind what was written when this end last looked out for bytes.
    written: u64,
    /// How many of the next answers are likely to come soon.
    expected: u8,
    /// Position behind what was written when an answer was last looked for at once.
    expected_at: u64,
}

/// What a side looks out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The answer to what it has written: on its way.
    Answer,
    /// What the peer does by itself. Looked at too often, the peer's lines are taken from it while it writes them.
    Other,
}

impl Channel {
    /// Lets [`wait_readable`](Self::wait_readable) and [`wait_writable`](Self::wait_writable) look out for the peer before
    /// they sleep: for at most this long if it last waited on another CPU; if it did on this one, where looking would
    /// only keep it from working, by making way for it a few times. Both are done less where they were in vain. Zero,
    /// the default: not at all.
    pub fn set_spin(&mut self, bound: Duration) {
        self.spin = Spin { bound, now: bound, yields: MAX_YIELDS, ..self.spin };
    }

    /// To be called by a reader that waits, before it reads: where answers came soon of late, looks for the one to what it
    /// has written since. A read that finds nothing, and then waits, looks at the peer's lines in passing, and takes them
    /// from it while it writes them.
    #[inline]
    pub fn await_answer(&mut self) {
        let written = self.tx.position();
        if self.spin.expected > 0 && written != self.spin.expected_at {
            self.spin.expected_at = written;
            self.spin.expected = if self.look_often() { self.spin.expected - 1 } else { 0 };
        }
    }

    /// Looks out for something to read, as long as [`set_spin`](Self::set_spin) allows, and never sleeps: for a reader
    /// that waits for others too. `false`: there is nothing; the bell is not armed.
    pub fn look_out_readable(&mut self) -> Result<bool, ChannelError> {
        if self.gate_closed {
            return Ok(false);
        }
        Ok(self.end_reported || self.in_turn(Self::readable)? || self.look_out_for_bytes()?)
    }

    /// The same for room to write `minimum` bytes.
    pub fn look_out_writable(&mut self, minimum: usize) -> Result<bool, ChannelError> {
        Ok(self.check_writable().is_err() || self.spin(Awaited::Other, |channel| Ok(channel.tx.free()? >= minimum))?)
    }

    /// Blocks until something can be read: bytes, the end, or an error. `false`: the time is over, or the gate is
    /// closed.
    pub fn wait_readable(&mut self, timeout: Option<Duration>) -> Result<bool, ChannelError> {
        if self.gate_closed {
            return Ok(false);
        }
        if self.end_reported || self.in_turn(Self::readable)? || self.look_out_for_bytes()? {
            return Ok(true);
        }
        self.sleep_while(timeout, Self::arm_read)
    }

    /// Blocks until `minimum` bytes can be written, or writing fails. `false`: the time is over.
    pub fn wait_writable(&mut self, minimum: usize, timeout: Option<Duration>) -> Result<bool, ChannelError> {
        if self.look_out_writable(minimum)? {
            return Ok(true);
        }
        self.sleep_while(timeout, |channel| Ok(channel.check_writable().is_ok() && channel.arm_write(minimum)?))
    }

    /// Blocks until the bell rings, for whatever was armed, and silences it. `false`: it did not, in time or for a
    /// signal.
    pub fn wait_bell(&mut self, timeout: Option<Duration>) -> Result<bool, ChannelError> {
        let events = self.listen(timeout)?;
        if events.contains(PollFlags::POLLIN) {
            self.silence()?;
        }
        Ok(!events.is_empty())
    }

    /// Waits for the bell, and lets it ring.
    pub(super) fn listen(&mut self, timeout: Option<Duration>) -> Result<PollFlags, ChannelError> {
        let mut bells = [PollFd::new(self.doorbell.as_fd(), PollFlags::POLLIN)];
        match poll(&mut bells, poll_timeout(timeout)) {
            Ok(_) => {}
            Err(nix::Error::EINTR) => return Ok(PollFlags::empty()),
            Err(error) => return Err(ChannelError::Kernel { what: "wait for a doorbell", error: error.into() }),
        }
        let events = bells.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        if events.contains(PollFlags::POLLHUP) {
            self.doorbell.note_peer_gone();
        }
        Ok(events)
    }

    /// Silences the bell, which poll(2) heard.
    pub(super) fn silence(&mut self) -> Result<(), ChannelError> {
        let kernel = |error| ChannelError::Kernel { what: "silence a doorbell", error };
        if self.doorbell.drain_once().map_err(kernel)? > 0 {
            self.in_turn(Self::count_ring)?;
        }
        Ok(())
    }

    fn readable(&mut self) -> Result<bool, ChannelError> {
        Ok(self.rx.available()? > 0 || self.rx.peer_ended())
    }

    /// Looks out for something to read: for an answer, where this side has written since it last did.
    fn look_out_for_bytes(&mut self) -> Result<bool, ChannelError> {
        let written = self.tx.position();
        if mem::replace(&mut self.spin.written, written) == written {
            self.spin(Awaited::Other, Self::readable)
        } else {
            self.spin(Awaited::Answer, |channel| Ok(channel.is_answered()))
        }
    }

    /// Looks out for the peer for a while, on another CPU or on this one.
    fn spin(
        &mut self,
        awaited: Awaited,
        ready: impl FnMut(&mut Self) -> Result<bool, ChannelError>,
    ) -> Result<bool, ChannelError> {
        if self.spin.bound.is_zero() || self.shared {
            return Ok(false);
        }
        let cpu = self.show_cpu();
        match self.rx.peer_cpu() {
            UNKNOWN_CPU => Ok(false),
            same if same == cpu => self.make_way(ready),
            _ if awaited == Awaited::Answer && self.look_often() => {
                self.spin.now = self.spin.bound;
                self.spin.expected = ANSWERS_EXPECTED;
                Ok(true)
            }
            _ => self.look_out(ready),
        }
    }

    /// Tells the peer which CPU this side runs on, as each wait does: for a side that writes, and waits for nothing here.
    #[inline]
    pub fn show_cpu(&mut self) -> u64 {
        let cpu = nix::sched::sched_getcpu().map_or(UNKNOWN_CPU, |cpu| cpu as u64 + 1);
        if self.spin.cpu != cpu {
            // Only then: the peer looks at that line with every write and read.
            self.spin.cpu = cpu;
            self.tx.note_cpu(cpu);
        }
        cpu
    }

    /// The peer runs elsewhere, and is about to answer. Whoever is answered writes again: meanwhile the lines for it come.
    #[inline]
    fn look_often(&self) -> bool {
        for _ in 0..LOOKS_FOR_ANSWER {
            if self.is_answered() {
                self.tx.prefetch();
                return true;
            }
        }
        false
    }

    /// A look by a side that has written. The line of the answer's bytes is asked for meanwhile; a stream's writer would only
    /// lose its lines, still unwritten.
    #[inline]
    fn is_answered(&self) -> bool {
        let answered = self.rx.has_news();
        if !answered {
            self.rx.prefetch();
        }
        answered
    }

    /// The peer runs elsewhere: looks at the ring.
    fn look_out(
        &mut self,
        mut ready: impl FnMut(&mut Self) -> Result<bool, ChannelError>,
    ) -> Result<bool, ChannelError> {
        let mut start = None;
        loop {
            for _ in 0..SPINS_PER_LOOK {
                if ready(self)? {
                    self.spin.now = self.spin.bound;
                    return Ok(true);
                }
                std::hint::spin_loop();
            }
            // What comes soon is met before there was a look at the clock.
            let start = *start.get_or_insert_with(Instant::now);
            if start.elapsed() >= self.spin.now {
                self.spin.now = (self.spin.now / 2).max(self.spin.bound / 16);
                return Ok(false);
            }
        }
    }

    /// The peer needs this CPU: lets it run, if it is awake. That costs a switch of processes, and no waking.
    fn make_way(
        &mut self,
        mut ready: impl FnMut(&mut Self) -> Result<bool, ChannelError>,
    ) -> Result<bool, ChannelError> {
        for _ in 0..self.spin.yields {
            std::thread::yield_now();
            if ready(self)? {
                self.spin.yields = MAX_YIELDS;
                return Ok(true);
            }
        }
        self.spin.yields = (self.spin.yields / 2).max(1);
        Ok(false)
    }

    /// Sleeps as long as `arm` says that it may.
    fn sleep_while(
        &mut self,
        timeout: Option<Duration>,
        mut arm: impl FnMut(&mut Self) -> Result<bool, ChannelError>,
    ) -> Result<bool, ChannelError> {
        if self.shared {
            return self.sleep_beside_siblings(timeout, arm);
        }
        let until = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if !arm(self)? {
                return Ok(true);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let rung = self.wait_bell(left)?;
            if left.is_some_and(|left| left.is_zero()) {
                // The last look: a peer that rings on does not stretch the time.
                return Ok(rung && !arm(self)?);
            }
        }
    }
}

/// poll(2) counts in milliseconds: rounded up, so that a wait is never too short.
fn poll_timeout(left: Option<Duration>) -> PollTimeout {
    let Some(left) = left else { return PollTimeout::NONE };
    let milliseconds = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(milliseconds).ok().and_then(|ms| PollTimeout::try_from(ms).ok()).unwrap_or(PollTimeout::MAX)
}
