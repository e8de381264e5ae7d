//! What this library has to say goes to the program's standard error, as it was when the process attached.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, Once};

use log::{LevelFilter, Log, Metadata, Record};
pub use log::{error, warn};

use crate::table::put_internal;
use crate::{descriptors, kernel, limit, lock};

/// How much is said: `error`, `warn` (the default), `info`, `debug`, `off`.
const LEVEL_ENV: &str = "ISTHMUS_PRELOAD_LOG";

/// A copy of standard error: the program may close its own, and use the number for something else.
static OUTPUT: AtomicI32 = AtomicI32::new(-1);

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("isthmus: {}\n", record.args());
        // Nobody is left to tell of a failure.
        let _ = kernel::write(OUTPUT.load(Ordering::Relaxed), line.as_bytes());
    }

    fn flush(&self) {}
}

/// Begins to log; a process does so once.
pub fn start() {
    if OUTPUT.load(Ordering::Relaxed) >= 0 {
        return;
    }
    let copy = limit::beyond(|lowest| kernel::fcntl(libc::STDERR_FILENO, libc::F_DUPFD_CLOEXEC, lowest));
    let copy = copy.or_else(|_| kernel::fcntl(libc::STDERR_FILENO, libc::F_DUPFD_CLOEXEC, 3));
    if let Ok(copy) = copy {
        start_at(copy);
    }
}

/// A descriptor of where this process logs to, for a program that it executes. Called [inside](crate::thread::Inside).
pub fn output() -> io::Result<OwnedFd> {
    descriptors::open_several(|keep| {
        let copy = kernel::fcntl(OUTPUT.load(Ordering::Relaxed), libc::F_DUPFD_CLOEXEC, 3);
        // Where the program has no standard error.
        let nowhere = || File::options().write(true).open("/dev/null").map(IntoRawFd::into_raw_fd);
        copy.or_else(|_| nowhere()).map(|copy| kernel::own(keep(copy)))
    })
}

/// Begins to log to a descriptor of this library's own.
pub fn start_at(output: RawFd) {
    static START: Once = Once::new();
    START.call_once(|| {
        keep(output);
        let level = std::env::var(LEVEL_ENV).ok().and_then(|level| level.parse().ok());
        // The program itself has no logger of this crate.
        if log::set_logger(&Logger).is_ok() {
            log::set_max_level(level.unwrap_or(LevelFilter::Warn));
        }
    });
}

fn keep(copy: RawFd) {
    put_internal(copy);
    OUTPUT.store(copy, Ordering::Relaxed);
}

/// Says once that a call is not covered, and names it.
pub fn not_covered(call: &str) {
    static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let mut said = lock::take(&SAID);
    if said.get_or_insert_default().insert(call.to_owned()) {
        warn!("{call} is not covered");
    }
}
