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

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A word that both sides see.
pub(super) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// Sequentially consistent.
    fn fence();
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
        fence(Ordering::SeqCst);
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
    // Relaxed: the Release of the next tail publishes it; until then no byte lies in the new window.
    switch.store(value, Ordering::Relaxed);
}

/// The writer's tail and switch. The switch may be newer than the tail: it then begins at that tail or later.
#[inline]
pub(super) fn observe_writer(tail: &impl Word, switch: &impl Word) -> (u64, u64) {
    let tail = observe(tail);
    (tail, switch.load(Ordering::Relaxed))
}

/// Asks to be woken at a position, then looks once more. `true`: may sleep. `false`: `awake` found a reason not to.
#[inline]
pub(super) fn sleep_unless<W: Word, E>(
    wants: &W,
    position: u64,
    awake: impl FnOnce() -> Result<bool, E>,
) -> Result<bool, E> {
    wants.store(position, Ordering::Relaxed);
    // SeqCst: pairs with the fence in `wake`. Either it sees our word, or `awake` sees what it published.
    W::fence();
    let awake = awake()?;
    if awake {
        stay_awake(wants);
    }
    Ok(!awake)
}

/// Takes back what [`sleep_unless`] asked for.
#[inline]
pub(super) fn stay_awake(wants: &impl Word) {
    wants.store(0, Ordering::Relaxed);
}

/// After publishing: whether the other side sleeps and waits for this position, or for this side's end. The caller must
/// then ring, once.
#[inline]
pub(super) fn wake<W: Word>(wants: &W, reached: u64, ended: impl FnOnce() -> bool) -> bool {
    // SeqCst: pairs with the fence in `sleep_unless`. Either we see its word here, or it sees our position there.
    W::fence();
    let wanted = wants.load(Ordering::Relaxed);
    let due = wanted != 0 && (reached >= wanted || ended());
    due && take(wants)
}

/// Whether the other side sleeps, whatever it waits for. To be called after [`sleep_unless`], whose fence it needs. The
/// caller must then ring, once.
#[inline]
pub(super) fn wake_anyway(wants: &impl Word) -> bool {
    wants.load(Ordering::Relaxed) != 0 && take(wants)
}

#[inline]
fn take(wants: &impl Word) -> bool {
    // Relaxed: it only decides who rings; the bytes and the room are ordered by the positions.
    wants.swap(0, Ordering::Relaxed) != 0
}

#[cfg(test)]
mod tests;
