//! select(2) and pselect(2), in terms of poll.
//!
//! A set is an array of bits, as long as the caller says: numbers above 1024 work for a program that makes its own sets,
//! as on Linux.

use std::time::Duration;

use libc::{c_short, pollfd, sigset_t};
use nix::errno::Errno;

use super::{Look, look_at, poll, poll_events};
use crate::table::{self, Number};

/// Bits of a word of a set.
pub const WORD_BITS: usize = u64::BITS as usize;

/// What select asks of poll for each set: to read, to write, to learn of exceptions.
const ASKED: [c_short; 3] = [libc::POLLIN | libc::POLLRDHUP, libc::POLLOUT, libc::POLLPRI];
/// What poll says that makes a bit stay: Linux's POLLIN_SET, POLLOUT_SET, POLLEX_SET.
const KEPT: [c_short; 3] = [
    libc::POLLIN | libc::POLLRDNORM | libc::POLLHUP | libc::POLLERR,
    libc::POLLOUT | libc::POLLWRNORM | libc::POLLERR,
    libc::POLLPRI,
];

/// The sets of a call; each of them may be missing.
pub type Sets<'a> = [Option<&'a mut [u64]>; 3];

fn has(set: &Option<&mut [u64]>, fd: usize) -> bool {
    let word = set.as_deref().and_then(|set| set.get(fd / WORD_BITS));
    word.is_some_and(|word| word & (1 << (fd % WORD_BITS)) != 0)
}

/// Whether a set has a socket of ours; else the kernel does it alone.
pub fn has_ours(count: usize, sets: &Sets<'_>) -> bool {
    let asked = |fd: &usize| sets.iter().any(|set| has(set, *fd));
    (0..count).filter(asked).any(|fd| i32::try_from(fd).is_ok_and(|fd| poll::watched(fd).is_some()))
}

/// Looks once, where all that is waited for is ours and stands in one word of the sets: most calls of a busy program find
/// something, and need no list of descriptors. `None`: to be looked at thoroughly.
pub fn glance(count: usize, sets: &mut Sets<'_>) -> Option<usize> {
    let (at, [read, write, except]) = only_word(count, sets)?;
    // Words of their own, counted as they come: of an array that is counted behind the loop two would be read at once, and
    // wait until both have left the CPU.
    let (mut readable, mut writable, mut exceptional, mut found) = (0, 0, 0, 0);
    let mut left = read | write | except;
    while left != 0 {
        let bit = left & left.wrapping_neg();
        left ^= bit;
        let fd = at * WORD_BITS + bit.trailing_zeros() as usize;
        let Number::Socket(held) = table::look_up(i32::try_from(fd).ok()?) else { return None };
        let how = if write & bit == 0 { Look::GlanceToRead } else { Look::Glance };
        let seen = poll_events(look_at(held, how));
        let stays = |asked: u64, kept: c_short| if seen & kept != 0 { asked & bit } else { 0 };
        let stay = [stays(read, KEPT[0]), stays(write, KEPT[1]), stays(except, KEPT[2])];
        readable |= stay[0];
        writable |= stay[1];
        exceptional |= stay[2];
        found += stay.iter().filter(|stay| **stay != 0).count();
    }
    if found == 0 {
        return None;
    }
    for (set, stay) in sets.iter_mut().zip([readable, writable, exceptional]) {
        if let Some(word) = set.as_deref_mut().and_then(|set| set.get_mut(at)) {
            *word = stay;
        }
    }
    Some(found)
}

/// The word with the bits that are set, and where it stands, if there is only one.
fn only_word(count: usize, sets: &Sets<'_>) -> Option<(usize, [u64; 3])> {
    let mut only = None;
    for at in 0..count.div_ceil(WORD_BITS) {
        let within = u64::MAX >> WORD_BITS.saturating_sub(count - at * WORD_BITS);
        let words =
            sets.each_ref().map(|set| set.as_deref().and_then(|set| set.get(at)).copied().unwrap_or(0) & within);
        if words != [0; 3] && only.replace((at, words)).is_some() {
            return None;
        }
    }
    only
}

/// Waits for descriptors: how many bits stay.
pub fn select(
    count: usize,
    sets: &mut Sets<'_>,
    timeout: Option<Duration>,
    mask: Option<&sigset_t>,
) -> Result<usize, Errno> {
    let mut fds: Vec<pollfd> = Vec::new();
    for fd in 0..count {
        let asked = sets.iter().zip(ASKED).filter(|(set, _)| has(set, fd));
        let events = asked.fold(0, |events, (_, asked)| events | asked);
        if events != 0 {
            fds.push(pollfd { fd: i32::try_from(fd).map_err(|_| Errno::EINVAL)?, events, revents: 0 });
        }
    }
    poll::poll(&mut fds, timeout, mask)?;
    if fds.iter().any(|fd| fd.revents & libc::POLLNVAL != 0) {
        return Err(Errno::EBADF);
    }
    let mut stay = 0;
    for polled in &fds {
        // They were made from numbers of this size above.
        let fd = polled.fd as usize;
        for (set, kept) in sets.iter_mut().zip(KEPT) {
            if !has(set, fd) {
                continue;
            }
            if polled.revents & kept != 0 {
                stay += 1;
            } else if let Some(word) = set.as_deref_mut().and_then(|set| set.get_mut(fd / WORD_BITS)) {
                *word &= !(1 << (fd % WORD_BITS));
            }
        }
    }
    Ok(stay)
}
