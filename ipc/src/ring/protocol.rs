//! The atomic steps by which the two sides of a ring hand bytes over and wake each other.
//!
//! ```text
//!   writer                                   reader
//!   bytes in, switch                         sleep_unless: wants = position
//!   publish(tail) ──────── Acquire ────────▶ observe(tail), bytes out
//!   wake: fence, wants? ◀─ either sees ────▶ fence, observe(tail) once more
//!   observe(head) ◀─────── Acquire ───────── publish(head)
//! ```
//!
//! Waiting for room is the same with the sides exchanged. The steps are generic over the word, so that the model
//! checker loom runs the very code that the ring runs (`tests`).
//!
//! A word `wants` says how its owner is: [`DROWSY`], it may fall asleep at any moment, so that the other side fences
//! after all that it publishes; asleep, until a position; or [`ALERT`], it falls asleep only behind a barrier that the
//! kernel sends through all CPUs (membarrier(2)). To an alert side is published without a fence, which would wait for a
//! cache line that the other CPU is looking at: with the fence, two busy processes move one message at a time.

use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use super::barrier::{self, Barriers};

/// Awake, for now.
pub(super) const DROWSY: u64 = 0;

/// Awake, and not to fall asleep without [`Word::heavy_fence`]. No position: a ring never gets that far.
pub(super) const ALERT: u64 = u64::MAX;

/// A word that both sides see.
pub(super) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// Sequentially consistent.
    fn fence();
    /// Half of a fence: only together with a [`heavy_fence`](Self::heavy_fence) of the other side it is one.
    fn light_fence();
    /// The other half, and a fence of its own; returns whether the kernel did its part.
    fn heavy_fence() -> bool;
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }

    #[inline]
    fn fence() {
        barrier::here();
    }

    #[inline]
    fn light_fence() {
        // The CPU may still exchange the store before it with the load behind it; `barrier::everywhere` of the other
        // side makes each CPU stop in between, or before, or behind both (membarrier(2), "barrier()").
        compiler_fence(Ordering::SeqCst);
    }

    fn heavy_fence() -> bool {
        barrier::here();
        barrier::everywhere()
    }
}

/// Hands over what this side did up to a position: bytes written (tail), or bytes copied out (head); or says with a
/// flag that it ends there.
#[inline]
pub(super) fn publish(word: &impl Word, value: u64) {
    // Release: pairs with the Acquire in `observe`; the bytes, the switch and the last position come first.
    word.store(value, Ordering::Release);
}

/// What the other side has handed over.
#[inline]
pub(super) fn observe(word: &impl Word) -> u64 {
    // Acquire: pairs with the Release in `publish`.
    word.load(Ordering::Acquire)
}

/// Says where the next window begins, before the first tail past it is published.
#[inline]
pub(super) fn announce_switch(switch: &impl Word, value: u64) {
    // The Release of the next tail publishes it; until then no byte lies in the new window. Release: behind the own note
    // of it, which is what counts should this process die here.
    switch.store(value, Ordering::Release);
}

/// The writer's tail and switch. The switch may be newer than the tail: it then begins at that tail or later.
#[inline]
pub(super) fn observe_writer(tail: &impl Word, switch: &impl Word) -> (u64, u64) {
    let tail = observe(tail);
    (tail, switch.load(Ordering::Relaxed))
}

/// What the other side was told of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// [`DROWSY`]: it fences.
    Drowsy,
    /// [`ALERT`]: it need not.
    Alert,
}

/// Asks to be woken at a position, then looks once more. `true`: may sleep. `false`: `awake` found a reason not to; this
/// side is drowsy then.
#[inline]
pub(super) fn sleep_unless<W: Word, E>(
    wants: &W,
    state: State,
    position: u64,
    awake: impl FnOnce() -> Result<bool, E>,
) -> Result<bool, E> {
    wants.store(position, Ordering::Relaxed);
    // SeqCst, or heavy: pairs with the fence in `wake`, or with the light one. Either it sees our word, or `awake` sees
    // what it published.
    let fenced = match state {
        State::Drowsy => {
            W::fence();
            true
        }
        State::Alert => W::heavy_fence(),
    };
    // A side is alert only where the kernel has said that it knows the barrier; should it refuse one all the same, this
    // side stays awake, and sleeps the next time, drowsy.
    let awake = !fenced || awake()?;
    if awake {
        stay_awake(wants);
    }
    Ok(!awake)
}

/// Takes back what [`sleep_unless`] asked for.
#[inline]
pub(super) fn stay_awake(wants: &impl Word) {
    wants.store(DROWSY, Ordering::Relaxed);
}

/// Tells the other side that it need not fence; the next sleep is from [`State::Alert`]. Only a side
/// with [`Barriers::Mutual`] may.
pub(super) fn become_alert(wants: &impl Word) {
    // Relaxed: seen late, it costs the other side a fence.
    wants.store(ALERT, Ordering::Relaxed);
}

/// Takes [`become_alert`] back: from now on this side is drowsy, and may fall asleep so.
pub(super) fn stop_being_alert<W: Word>(wants: &W) {
    wants.store(DROWSY, Ordering::Relaxed);
    // Pairs with the light fence in `wake`: what was published to an alert side is seen before this side sleeps. Without
    // it, that could be missed until the next look.
    W::heavy_fence();
}

/// After publishing: whether the other side sleeps and waits for this position, or for this side's end. The caller must
/// then ring, once.
#[inline(always)]
pub(super) fn wake<W: Word>(wants: &W, barriers: Barriers, reached: u64, ended: impl FnOnce() -> bool) -> bool {
    if barriers == Barriers::Mutual {
        // Pairs with the heavy fence in `sleep_unless`: whom we see alert here sees our position before it sleeps.
        W::light_fence();
        if wants.load(Ordering::Relaxed) == ALERT {
            return false;
        }
    }
    wake_drowsy(wants, reached, ended)
}

#[inline]
fn wake_drowsy<W: Word>(wants: &W, reached: u64, ended: impl FnOnce() -> bool) -> bool {
    // SeqCst: pairs with the fence in `sleep_unless`. Either we see its word here, or it sees our position there.
    W::fence();
    let wanted = wants.load(Ordering::Relaxed);
    let due = sleeps(wanted) && (reached >= wanted || ended());
    due && take(wants)
}

/// Whether the other side sleeps, whatever it waits for. To be called after [`sleep_unless`], whose fence it needs. The
/// caller must then ring, once.
#[inline]
pub(super) fn wake_anyway(wants: &impl Word) -> bool {
    sleeps(wants.load(Ordering::Relaxed)) && take(wants)
}

#[inline]
fn sleeps(wanted: u64) -> bool {
    wanted != DROWSY && wanted != ALERT
}

#[inline]
fn take(wants: &impl Word) -> bool {
    // Relaxed: it only decides who rings; the bytes and the room are ordered by the positions.
    sleeps(wants.swap(DROWSY, Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
