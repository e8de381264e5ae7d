//! An end that goes on in another program: one that its process executes, or that a child of it does.
//!
//! What fork leaves in place, exec takes away: the mappings, and each descriptor that is closed then. What is needed to make
//! them again is little: three descriptors of the end, the memfd that its slot lies in, and where. So the cursors need not be
//! copied, and a process that shares the end goes on with it meanwhile, in turn as after a fork (`share`).
//!
//! Only a process that [expects](expect_exec) this keeps the descriptor of a channel's memory, one more for each that does not
//! [stay](Channel::stay_here).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::share::kernel;
use super::{Channel, ChannelParts, Side};
use crate::error::ChannelError;
use crate::memory::Slot;
use crate::ring::{self, EndCursors};
use crate::turn;

static EXPECTED: AtomicBool = AtomicBool::new(false);

/// Channels that this process has from now on can go on in a program that it executes.
pub fn expect_exec() -> Result<(), ChannelError> {
    turn::prepare().map_err(kernel("make the file of turns"))?;
    EXPECTED.store(true, Ordering::Relaxed);
    Ok(())
}

pub(super) fn is_expected() -> bool {
    EXPECTED.load(Ordering::Relaxed)
}

/// The file of turns, which is handed over once for all ends. `None`: this process does not [expect](expect_exec) an exec.
pub fn turns() -> Option<BorrowedFd<'static>> {
    turn::file()
}

/// The file of turns of the program that this process was before; [`expect_exec`] is said with it. `false`: this process has
/// shared ends of its own already.
pub fn take_over_turns(file: OwnedFd) -> bool {
    EXPECTED.store(true, Ordering::Relaxed);
    turn::inherit(file)
}

/// Who executes the program that goes on with an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// This process, which then has the end no longer.
    ThisProcess,
    /// A child, also one of vfork(2) that calls in its parent's memory: both have the end from then on.
    Child,
}

/// What of an end is said beside its descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    side: Side,
    /// Where its slot lies, in bytes.
    offset: u32,
}

impl Channel {
    /// This end goes on in no other program: it needs one descriptor less.
    pub fn stay_here(&mut self) {
        self.memory = None;
    }

    /// What another program needs to [take the end over](Self::take_over). If it is not executed after all, call
    /// [`take_back`](Self::take_back).
    pub fn hand_over(&mut self, to: Successor) -> Result<(EndRecord, [BorrowedFd<'_>; 4]), ChannelError> {
        if self.memory.is_none() {
            return Err(kernel("hand over a channel")(Errno::ENOTSUP));
        }
        match to {
            Successor::ThisProcess => {
                self.set_shared(true);
                self.end.slot().expect_successor();
            }
            Successor::Child => self.share()?,
        }
        let (area, offset) = self.end.slot().parts();
        let memory = self.memory.as_ref().ok_or_else(|| kernel("hand over a channel")(Errno::ENOTSUP))?;
        // An area is far smaller.
        let record = EndRecord { side: self.side, offset: u32::try_from(offset).unwrap_or(u32::MAX) };
        Ok((record, [memory.as_fd(), self.doorbell.as_fd(), self.doorbell.peers_fd(), area]))
    }

    /// The program that was to go on with the end was not executed.
    pub fn take_back(&mut self, from: Successor) {
        match from {
            Successor::ThisProcess => self.end.slot().expect_no_successor(),
            Successor::Child => self.take_share_back(),
        }
    }

    /// Goes on with an end that another program has handed over. Its memory is checked before it is mapped, and so are the
    /// cursors.
    pub fn take_over(record: EndRecord, fds: [OwnedFd; 4]) -> Result<Self, ChannelError> {
        let [memory, bell_in, bell_out, area] = fds;
        let slot = Slot::<EndCursors>::take_over(area, record.offset as usize)?;
        slot.adopt();
        if !ring::are_sound(&slot) {
            return Err(kernel("take over a channel's cursors")(Errno::EINVAL));
        }
        let mut channel = Self::with_slot(ChannelParts { memory, bell_in, bell_out, side: record.side }, slot)?;
        // Whether it still is, the first use finds out; and shows the peer what the cursors say.
        channel.set_shared(true);
        Ok(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channel;

    fn owned(fds: [BorrowedFd<'_>; 4]) -> [OwnedFd; 4] {
        fds.map(|fd| fd.try_clone_to_owned().unwrap())
    }

    #[test]
    fn what_was_written_before_is_read_by_the_program_that_comes_after() {
        expect_exec().unwrap();
        let (mut one, mut other) = Channel::pair().unwrap();
        other.write(b"before and after").unwrap();
        let mut into = [0; 7];
        one.read(&mut into).unwrap();
        one.write(b"first").unwrap();
        let (record, fds) = one.hand_over(Successor::ThisProcess).unwrap();
        let fds = owned(fds);
        let mut successor = Channel::take_over(record, fds).unwrap();
        // As exec does: nothing is said by the program that was.
        std::mem::forget(one);
        let mut rest = [0; 16];
        assert_eq!(successor.read(&mut rest).unwrap(), 9);
        assert_eq!(&rest[..9], b"and after");
        assert!(!successor.is_used_in_turn(), "it is alone");
        successor.write(b" second").unwrap();
        assert_eq!(other.read(&mut rest).unwrap(), 12);
        assert_eq!(&rest[..12], b"first second");
        successor.close();
        assert_eq!(other.read(&mut rest).unwrap(), 0);
        assert!(other.is_finished());
    }

    #[test]
    fn an_end_that_is_taken_back_is_as_it_was() {
        expect_exec().unwrap();
        let (mut one, mut other) = Channel::pair().unwrap();
        for to in [Successor::ThisProcess, Successor::Child] {
            one.hand_over(to).unwrap();
            one.take_back(to);
            one.write(b"x").unwrap();
            assert!(!one.is_used_in_turn());
            assert_eq!(other.read(&mut [0; 4]).unwrap(), 1);
        }
    }

    #[test]
    fn an_end_that_is_none_is_refused() {
        expect_exec().unwrap();
        let (mut one, _other) = Channel::pair().unwrap();
        let (record, fds) = one.hand_over(Successor::ThisProcess).unwrap();
        let [memory, bell_in, bell_out, area] = owned(fds);
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let [copy_in, copy_out] = [&bell_in, &bell_out].map(|fd| fd.try_clone().unwrap());
        let no_slots = Channel::take_over(record, [memory.try_clone().unwrap(), copy_in, copy_out, null()]);
        assert!(matches!(no_slots, Err(ChannelError::Memory(_))), "{no_slots:?}");
        let elsewhere = EndRecord { offset: record.offset + 8, ..record };
        let [copy_in, copy_out] = [&bell_in, &bell_out].map(|fd| fd.try_clone().unwrap());
        let copies = [memory, copy_in, copy_out, area.try_clone().unwrap()];
        assert!(matches!(Channel::take_over(elsewhere, copies), Err(ChannelError::Memory(_))));
        let no_memory = Channel::take_over(record, [null(), bell_in, bell_out, area]);
        assert!(matches!(no_memory, Err(ChannelError::Memory(_))), "{no_memory:?}");
        // The slot was given back with what could not be taken over.
        std::mem::forget(one);
    }
}
