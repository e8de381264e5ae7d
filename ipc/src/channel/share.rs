//! An end that several processes use, as a forked child goes on with its parent's sockets.
//!
//! What an end is lies in its slot, which fork shares (`memory`), and in descriptors, which fork duplicates. So a child
//! has everything; what is to be added is that the family uses the end in turn (`turn`). That costs two system calls a
//! use, and only while there is a sibling: an end that was never shared looks at one private flag.
//!
//! - Whoever gets a turn first shows the peer what the cursors say: the one before may have been killed in between.
//! - The peer learns of the end when the last process that has it is gone, from the kernel: nobody says FIN for others.
//! - No side of a shared end is alert (`ring/protocol.rs`), and nobody spins.
//! - A bell wakes all who listen, and is silent once one of them has silenced it. Who was woken in vain therefore lets it
//!   ring for [`NAP`], so that the sibling that it rang for hears it; and each looks by itself every [`LOOK`], for what a
//!   sibling took note of, or died over.

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::Channel;
use crate::error::ChannelError;
use crate::{ring, turn};

/// How often a process that sleeps at a shared end looks by itself.
pub const LOOK: Duration = Duration::from_millis(10);

/// Turns after which a process looks whether those that it shares an end with are still alive.
const TURNS_PER_LOOK: u32 = 64;

/// How long a bell that rang in vain rings on: what the kernel takes to wake another process on a busy machine.
const NAP: Duration = Duration::from_micros(200);

impl Channel {
    /// A child that is about to be forked will use this end too. Call [`adopt`](Self::adopt) in the child, and
    /// [`take_share_back`](Self::take_share_back) if there is none after all.
    ///
    /// As with the kernel's sockets each byte goes to one of the two, and the connection ends when both have dropped it or
    /// died. Between this call and the fork the end must not be used.
    pub fn share(&mut self) -> Result<(), ChannelError> {
        turn::prepare().map_err(kernel("make the file of turns"))?;
        self.end.slot().share().map_err(kernel("say that a channel's end is used"))?;
        if !self.shared {
            self.end.slot().release_claim();
        }
        self.set_shared(true);
        Ok(())
    }

    /// The fork failed.
    pub fn take_share_back(&mut self) {
        // That it is alone again, the next use finds out.
        self.end.slot().take_share_back();
    }

    /// This process is the child.
    pub fn adopt(&mut self) {
        ring::become_child();
        self.end.slot().adopt();
    }

    /// Takes this end for this process alone, where those who share it by fork have not used it: `false`, another one was
    /// faster, and this copy is only to be dropped.
    pub fn claim(&mut self) -> bool {
        if self.shared && !self.end.slot().claim() {
            return false;
        }
        self.set_shared(false);
        true
    }

    /// Whether one of those who share this end has claimed it.
    pub fn is_claimed(&self) -> bool {
        self.shared && self.end.slot().is_claimed()
    }

    /// Whether another process uses this end too, as far as is known: that one was killed is found out after some uses.
    /// Such an end is dropped without [`close`](Channel::close) and [`reset`](Channel::reset), which would end it for all.
    pub fn is_shared(&self) -> bool {
        self.shared && self.end.slot().is_shared()
    }

    /// Whether this end is used in turn: a reader that looks at records where they lie then takes them out instead.
    #[inline]
    pub fn is_used_in_turn(&self) -> bool {
        self.shared
    }

    /// Whether a sibling may have silenced a bell that rang for this process: while it uses this end too, and once more when
    /// it was found to have ended. What this process had armed is then to be looked at and armed again.
    pub fn may_have_missed_a_ring(&mut self) -> bool {
        self.shared || mem::take(&mut self.left_alone)
    }

    /// Does something with the end while no sibling does. An end that was never shared pays for a look at a flag.
    #[inline]
    pub(super) fn in_turn<T>(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<T, ChannelError>,
    ) -> Result<T, ChannelError> {
        let turn = self.shared && self.take_turn()?;
        // Called at one place, so that it is a part of the caller.
        let result = what(self);
        if turn {
            self.give_turn();
        }
        result
    }

    /// As `in_turn`.
    #[inline]
    pub(super) fn look_in_turn<T>(
        &self,
        what: impl FnOnce(&Self) -> Result<T, ChannelError>,
    ) -> Result<T, ChannelError> {
        if self.shared {
            turn::take(self.end.slot().place()).map_err(kernel("take a turn"))?;
        }
        let result = what(self);
        if self.shared {
            self.give_turn();
        }
        result
    }

    /// `false`: this process is alone again, and needs no turn. Apart, so that ends that were never shared do not carry it.
    #[cold]
    #[inline(never)]
    fn take_turn(&mut self) -> Result<bool, ChannelError> {
        let mut is_shared = self.end.slot().is_shared();
        if is_shared {
            self.end.slot().attend_if_due();
            turn::take(self.end.slot().place()).map_err(kernel("take a turn"))?;
            self.turns = self.turns.wrapping_add(1);
            if self.turns.is_multiple_of(TURNS_PER_LOOK)
                && self.end.slot().forget_dead().map_err(kernel("look for others"))?
            {
                self.give_turn();
                is_shared = false;
            }
        }
        if !is_shared {
            self.set_shared(false);
            self.left_alone = true;
        }
        self.tx.show();
        self.rx.show();
        Ok(is_shared)
    }

    fn give_turn(&self) {
        if let Err(error) = turn::give(self.end.slot().place()) {
            log::error!("give a turn at a channel's end back: {error}");
        }
    }

    pub(super) fn set_shared(&mut self, shared: bool) {
        if self.shared != shared {
            self.shared = shared;
            self.tx.set_shared(shared);
            self.rx.set_shared(shared);
        }
    }

    /// Sleeps as long as `arm` says that it may, while siblings listen to the same bell.
    #[cold]
    pub(super) fn sleep_beside_siblings(
        &mut self,
        timeout: Option<Duration>,
        mut arm: impl FnMut(&mut Self) -> Result<bool, ChannelError>,
    ) -> Result<bool, ChannelError> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if !arm(self)? {
                return Ok(true);
            }
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
            if left.is_zero() {
                return Ok(false);
            }
            if self.listen(Some(left))?.contains(PollFlags::POLLIN) && arm(self)? {
                thread::sleep(NAP);
                self.silence()?;
            }
        }
    }
}

pub(super) fn kernel(what: &'static str) -> impl Fn(Errno) -> ChannelError {
    move |error| ChannelError::Kernel { what, error: error.into() }
}
