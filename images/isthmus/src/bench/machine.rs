//! What the machine itself allows, measured in the same round as what is compared with it: no program is faster.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// CPUs that this process may use.
pub fn own_cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("which CPUs there are")?;
    Ok((0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect())
}

/// Keeps the calling thread, and those that it starts, on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("run on CPU {cpu} only"))
}

/// Round trips of a cache line: some milliseconds.
const LINE_ROUND_TRIPS: usize = 20_000;

/// A line that no other data shares; two, since neighbors are fetched together.
#[repr(align(128))]
struct Line(AtomicU64);

/// Seconds for a cache line's round trip between two CPUs: the limit of everything that they do with shared memory.
/// It changes from minute to minute on a machine that moves its virtual CPUs.
pub fn cache_line(near: usize, far: usize) -> Result<f64> {
    let line = Line(AtomicU64::new(0));
    // Even numbers are for the far thread to see, odd ones for the near one.
    let await_value = |wanted: u64| {
        while line.0.load(Ordering::Acquire) != wanted {
            spin_loop();
        }
    };
    let far_side = || {
        for turn in 0..=LINE_ROUND_TRIPS as u64 {
            await_value(2 * turn);
            line.0.store(2 * turn + 1, Ordering::Release);
        }
        Ok(())
    };
    let near_side = || {
        // The first turn shows that the other thread runs.
        await_value(1);
        let start = Instant::now();
        for turn in 1..=LINE_ROUND_TRIPS as u64 {
            line.0.store(2 * turn, Ordering::Release);
            await_value(2 * turn + 1);
        }
        Ok(start.elapsed().as_secs_f64() / LINE_ROUND_TRIPS as f64)
    };
    between((near, near_side), (far, far_side))
}

/// Bytes each second that one CPU copies, `bytes` at a time, in its cache.
pub fn memcpy(cpu: usize, bytes: usize, duration: Duration) -> Result<f64> {
    let copying = move || {
        pin(cpu)?;
        let (from, mut to) = (vec![0x5A_u8; bytes], vec![0_u8; bytes]);
        let (start, mut copied) = (Instant::now(), 0_usize);
        while start.elapsed() < duration {
            for _ in 0..64 {
                black_box(&mut to).copy_from_slice(black_box(&from));
            }
            copied += 64 * bytes;
        }
        Ok(copied as f64 / start.elapsed().as_secs_f64())
    };
    thread::spawn(copying).join().map_err(|_| anyhow!("a thread that copies panicked"))?
}

/// Runs both sides, each on its CPU; returns what the near one found.
fn between(
    (near, near_side): (usize, impl FnOnce() -> Result<f64> + Send),
    (far, far_side): (usize, impl FnOnce() -> Result<()> + Send),
) -> Result<f64> {
    let panicked = |_| anyhow!("a thread that measures the machine panicked");
    thread::scope(|scope| {
        // A thread that cannot be pinned works all the same, since the other one waits for it, and says so afterwards.
        let answering = scope.spawn(move || (pin(far), far_side()));
        let measuring = scope.spawn(move || (pin(near), near_side()));
        let (pinned, answered) = answering.join().map_err(panicked)?;
        pinned.and(answered)?;
        let (pinned, measured) = measuring.join().map_err(panicked)?;
        pinned.and(measured)
    })
}
