//! The limit of everything that two CPUs do with shared memory: how long a cache line takes there and back.
//!
//! It changes from minute to minute on a machine that moves its virtual CPUs, so each round has its own figure.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::endpoint::pin;

/// Enough for a steady figure; some milliseconds.
const ROUND_TRIPS: u64 = 20_000;

/// A line that no other data shares; two, since neighbors are fetched together.
#[repr(align(128))]
struct Line(AtomicU64);

/// Seconds for a round trip between two CPUs.
pub fn round_trip(near: usize, far: usize) -> Result<f64> {
    let line = Line(AtomicU64::new(0));
    // Even numbers are for the far thread to see, odd ones for the near one.
    let await_value = |wanted: u64| {
        while line.0.load(Ordering::Acquire) != wanted {
            spin_loop();
        }
    };
    let seconds = thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let pinned = pin(far);
            for turn in 0..=ROUND_TRIPS {
                await_value(2 * turn);
                line.0.store(2 * turn + 1, Ordering::Release);
            }
            pinned
        });
        let measuring = scope.spawn(|| {
            let pinned = pin(near);
            // The first turn shows that the other thread runs.
            await_value(1);
            let start = Instant::now();
            for turn in 1..=ROUND_TRIPS {
                line.0.store(2 * turn, Ordering::Release);
                await_value(2 * turn + 1);
            }
            let seconds = start.elapsed().as_secs_f64();
            pinned.map(|()| seconds)
        });
        let panicked = |_| anyhow!("a thread that measures a cache line panicked");
        answering.join().map_err(panicked)??;
        measuring.join().map_err(panicked)?
    })?;
    Ok(seconds / ROUND_TRIPS as f64)
}
