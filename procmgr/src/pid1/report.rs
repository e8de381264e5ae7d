//! What an operator reads on the console while the machine comes up: each line with the seconds since the kernel
//! started.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Steps that take longer say how long.
const WORTH_SAYING: Duration = Duration::from_millis(10);

/// The console during boot and at the end.
#[derive(Debug, Default)]
pub struct Report;

impl Report {
    /// Prints a line.
    pub fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        // A console that takes nothing has nobody to tell.
        let _ = writeln!(out, "[{:8.3}] {text}", since_start().as_secs_f64()).and_then(|()| out.flush());
    }

    /// Does something and prints what it says of itself, or why it failed.
    pub(super) fn step(&self, work: impl FnOnce() -> Result<String, String>) {
        let begun = Instant::now();
        let (Ok(text) | Err(text)) = work();
        let took = begun.elapsed();
        match took > WORTH_SAYING {
            true => self.line(&format!("{text} in {:.2} s", took.as_secs_f64())),
            false => self.line(&text),
        }
    }
}

/// Since the kernel started.
pub fn since_start() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}
