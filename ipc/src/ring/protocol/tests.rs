//! The steps in loom: every order of both sides' steps, and every old value that a word's ordering lets a side still
//! read. A wake-up that is lost is a deadlock there; a byte that is not ordered by its position is a reported race.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use loom::cell::Cell;
use loom::sync::atomic::AtomicU64 as LoomWord;
use loom::sync::{Condvar, Mutex};

use super::*;

/// So often in one run a side is interrupted, beside where it sleeps. One more finds nothing either, and takes ten
/// seconds instead of two; without a bound it is many minutes.
const PREEMPTIONS: usize = 4;

/// How exactly the orderings are kept; all but [`Exact`] show that the model finds what is missing.
trait Care {
    const FENCES: bool = true;
    const HEAVY_FENCES: bool = true;
    const BARRIERS: Barriers = Barriers::Own;
    const RELEASES: bool = true;
    const ACQUIRES: bool = true;
}

struct Exact;
struct NoFence;
struct Mutual;
struct NoHeavyFence;
struct NoRelease;
struct NoAcquire;

impl Care for Exact {}

impl Care for NoFence {
    const FENCES: bool = false;
}

impl Care for Mutual {
    const BARRIERS: Barriers = Barriers::Mutual;
}

impl Care for NoHeavyFence {
    const BARRIERS: Barriers = Barriers::Mutual;
    const HEAVY_FENCES: bool = false;
}

impl Care for NoRelease {
    const RELEASES: bool = false;
}

impl Care for NoAcquire {
    const ACQUIRES: bool = false;
}

struct Modeled<C> {
    word: LoomWord,
    care: PhantomData<C>,
}

impl<C> Default for Modeled<C> {
    fn default() -> Self {
        Self { word: LoomWord::new(0), care: PhantomData }
    }
}

impl<C: Care> Word for Modeled<C> {
    fn load(&self, order: Ordering) -> u64 {
        self.word.load(if C::ACQUIRES { order } else { Ordering::Relaxed })
    }

    fn store(&self, value: u64, order: Ordering) {
        match order {
            Ordering::Release if C::RELEASES => self.word.store(value, order),
            // Both sides store in `wants`. loom leaves a store and the other side's swap unordered and lets a later load
            // return either, where the language orders all that is stored in one word: two swaps are ordered here too.
            _ => drop(self.word.swap(value, Ordering::Relaxed)),
        }
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.word.swap(value, order)
    }

    fn fence() {
        if C::FENCES {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }

    /// loom knows no barrier that reaches another thread. What the kernel promises of a pair of both halves is what two
    /// fences do, so the pair is two fences here. A light fence without a heavy one is then more than it is in truth:
    /// what holds between drowsy sides is shown without it, by sides with [`Barriers::Own`].
    fn light_fence() {
        if C::HEAVY_FENCES {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }

    fn heavy_fence() -> bool {
        Self::light_fence();
        true
    }
}

/// A pipe: it remembers a ring that nobody waits for. Orders what its users do only when it was rung, as a pipe does.
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Default for Bell {
    fn default() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

/// A ring of `N` bytes, and `N` more behind a switch of windows.
struct Ring<C, const N: usize> {
    tail: Modeled<C>,
    switch: Modeled<C>,
    head: Modeled<C>,
    reader_wants: Modeled<C>,
    writer_wants: Modeled<C>,
    writer_ended: Modeled<C>,
    reader_ended: Modeled<C>,
    bytes: [[Cell<u64>; N]; 2],
    readers_bell: Bell,
    writers_bell: Bell,
}

impl<C: Care + 'static, const N: usize> Ring<C, N> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tail: Modeled::default(),
            switch: Modeled::default(),
            head: Modeled::default(),
            reader_wants: Modeled::default(),
            writer_wants: Modeled::default(),
            writer_ended: Modeled::default(),
            reader_ended: Modeled::default(),
            bytes: std::array::from_fn(|_| std::array::from_fn(|_| Cell::new(0))),
            readers_bell: Bell::default(),
            writers_bell: Bell::default(),
        })
    }

    /// Runs both sides in every order with at most [`PREEMPTIONS`].
    fn explore(writer: fn(&Self), reader: fn(&Self)) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(PREEMPTIONS);
        model.check(move || {
            let ring = Self::new();
            let other = ring.clone();
            let thread = loom::thread::spawn(move || writer(&other));
            reader(&ring);
            thread.join().unwrap();
        });
    }

    fn place(&self, position: u64) -> &Cell<u64> {
        &self.bytes[0][position as usize % N]
    }

    fn wake_reader(&self, tail: u64, ended: bool) {
        if wake(&self.reader_wants, C::BARRIERS, tail, || ended) {
            self.readers_bell.ring();
        }
    }

    fn wake_writer(&self, head: u64, ended: bool) {
        if wake(&self.writer_wants, C::BARRIERS, head, || ended) {
            self.writers_bell.ring();
        }
    }

    /// Writes the byte of a position, once there is room for it and the reader has not closed.
    fn write(&self, position: u64) -> bool {
        self.write_from(State::Drowsy, position)
    }

    fn write_from(&self, mut state: State, position: u64) -> bool {
        let enough = (position + 1).saturating_sub(N as u64);
        while observe(&self.head) < enough {
            if self.reader_ended.load(Ordering::Relaxed) != 0 {
                return false;
            }
            let awake = || Ok(observe(&self.head) >= enough || self.reader_ended.load(Ordering::Relaxed) != 0);
            if may_sleep(sleep_unless(&self.writer_wants, state, enough, awake)) {
                self.writers_bell.wait();
            }
            state = State::Drowsy;
        }
        self.place(position).set(position + 1);
        publish(&self.tail, position + 1);
        self.wake_reader(position + 1, false);
        true
    }

    /// Sleeps until the byte of a position is there; `false`: the writer has ended before it.
    fn await_byte(&self, mut state: State, position: u64) -> bool {
        loop {
            let ended = observe(&self.writer_ended) != 0;
            if observe(&self.tail) > position {
                return true;
            }
            if ended {
                return false;
            }
            let awake = || Ok(observe(&self.tail) > position || observe(&self.writer_ended) != 0);
            if may_sleep(sleep_unless(&self.reader_wants, state, position + 1, awake)) {
                self.readers_bell.wait();
            }
            state = State::Drowsy;
        }
    }

    /// Reads the byte of a position.
    fn read(&self, position: u64) -> bool {
        self.read_from(State::Drowsy, position)
    }

    fn read_from(&self, state: State, position: u64) -> bool {
        if !self.await_byte(state, position) {
            return false;
        }
        assert_eq!(self.place(position).get(), position + 1, "the byte that was written");
        publish(&self.head, position + 1);
        self.wake_writer(position + 1, false);
        true
    }
}

fn may_sleep(slept: Result<bool, Infallible>) -> bool {
    slept.unwrap_or_else(|never| match never {})
}

fn write_two<C: Care + 'static, const N: usize>(ring: &Ring<C, N>) {
    assert!((0..2).all(|position| ring.write(position)));
}

fn read_two<C: Care + 'static, const N: usize>(ring: &Ring<C, N>) {
    assert!((0..2).all(|position| ring.read(position)));
}

#[test]
fn a_sleeping_reader_is_woken_for_each_byte() {
    Ring::<Exact, 2>::explore(write_two, read_two);
}

#[test]
fn a_writer_that_waits_for_room_and_a_reader_that_waits_for_bytes_wake_each_other() {
    Ring::<Exact, 1>::explore(write_two, read_two);
}

/// Says that it is alert, and is asleep a moment later, behind the heavy fence.
fn write_two_alert<C: Care + 'static, const N: usize>(ring: &Ring<C, N>) {
    become_alert(&ring.writer_wants);
    assert!(ring.write(0));
    assert!(ring.write_from(State::Alert, 1));
}

fn read_two_alert<C: Care + 'static, const N: usize>(ring: &Ring<C, N>) {
    become_alert(&ring.reader_wants);
    assert!(ring.read_from(State::Alert, 0));
    become_alert(&ring.reader_wants);
    assert!(ring.read_from(State::Alert, 1));
}

#[test]
fn an_alert_reader_is_woken_when_it_sleeps_after_all() {
    Ring::<Mutual, 2>::explore(write_two, read_two_alert);
}

#[test]
fn a_writer_whom_no_barrier_of_others_reaches_wakes_an_alert_reader_too() {
    Ring::<Exact, 2>::explore(write_two, read_two_alert);
}

#[test]
fn an_alert_writer_and_an_alert_reader_wake_each_other() {
    Ring::<Mutual, 1>::explore(write_two_alert, read_two_alert);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_heavy_fence_an_alert_reader_sleeps_on() {
    Ring::<NoHeavyFence, 2>::explore(write_two, read_two_alert);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fences_a_wake_up_is_lost() {
    Ring::<NoFence, 1>::explore(write_two, read_two);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_release_of_positions_bytes_are_read_too_early() {
    // The fences would order the bytes too; the reader looks without them when it is awake.
    Ring::<NoRelease, 2>::explore(write_two, read_two);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_acquire_of_positions_bytes_are_read_too_early() {
    Ring::<NoAcquire, 2>::explore(write_two, read_two);
}

#[test]
fn the_end_of_the_writer_wakes_the_reader_and_comes_after_the_last_byte() {
    Ring::<Exact, 2>::explore(
        |ring| {
            assert!(ring.write(0));
            publish(&ring.writer_ended, 1);
            ring.wake_reader(1, true);
        },
        |ring| {
            assert!(ring.read(0), "the byte before the end");
            assert!(!ring.read(1));
        },
    );
}

#[test]
fn the_end_of_the_reader_wakes_a_writer_that_waits_for_room() {
    Ring::<Exact, 1>::explore(
        |ring| {
            assert!(ring.write(0));
            assert!(!ring.write(1), "nobody makes room");
        },
        |ring| {
            ring.reader_ended.store(1, Ordering::Relaxed);
            ring.wake_writer(0, true);
        },
    );
}

/// The writer sleeps until two bytes are free, though one is enough; the reader frees one and sleeps until more comes.
#[test]
fn a_reader_that_goes_to_sleep_leaves_no_writer_asleep_for_whom_there_is_room() {
    Ring::<Exact, 2>::explore(
        |ring| {
            write_two(ring);
            while observe(&ring.head) < 1 {
                if may_sleep(sleep_unless(&ring.writer_wants, State::Drowsy, 2, || Ok(observe(&ring.head) >= 1))) {
                    ring.writers_bell.wait();
                }
            }
            ring.place(2).set(3);
            publish(&ring.tail, 3);
            ring.wake_reader(3, false);
        },
        |ring| {
            assert!(ring.read(0));
            // Once for each head is enough: the byte at 1 is left in the ring, so the head stays.
            let mut looked = false;
            while observe(&ring.tail) < 3 {
                if may_sleep(sleep_unless(&ring.reader_wants, State::Drowsy, 3, || Ok(observe(&ring.tail) >= 3))) {
                    if !std::mem::replace(&mut looked, true) && wake_anyway(&ring.writer_wants) {
                        ring.writers_bell.ring();
                    }
                    ring.readers_bell.wait();
                }
            }
            assert_eq!(ring.place(2).get(), 3);
        },
    );
}

#[test]
fn whoever_sees_a_byte_behind_a_switch_of_windows_sees_the_switch() {
    Ring::<Exact, 2>::explore(
        |ring| {
            assert!(ring.write(0));
            announce_switch(&ring.switch, 1);
            ring.bytes[1][0].set(2);
            publish(&ring.tail, 2);
            ring.wake_reader(2, false);
        },
        |ring| {
            // Reads on at once as far as it sees, as the ring does.
            let mut seen = 0;
            while seen < 2 {
                let awake = || Ok(observe(&ring.tail) > seen);
                if may_sleep(sleep_unless(&ring.reader_wants, State::Drowsy, seen + 1, awake)) {
                    ring.readers_bell.wait();
                }
                let (tail, switch) = observe_writer(&ring.tail, &ring.switch);
                assert!(tail < 2 || switch == 1, "the switch is older than the tail");
                seen = tail;
            }
            assert_eq!((ring.place(0).get(), ring.bytes[1][0].get()), (1, 2));
        },
    );
}
