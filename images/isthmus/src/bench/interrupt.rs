//! A benchmark that is interrupted leaves nothing behind.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A folder for a benchmark, which is removed when it is dropped, and also when the benchmark is interrupted. To be called
/// before any other thread is started.
pub fn own_folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("isthmus-bench-").tempdir().context("a folder for the benchmark")?;
    remove_when_interrupted(folder.path())?;
    Ok(folder)
}

/// On the first signal that asks this process to end, ends its children, removes `folder` and does so.
fn remove_when_interrupted(folder: &Path) -> Result<()> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        mask.add(signal);
    }
    mask.thread_block().context("block signals")?;
    let folder = folder.to_owned();
    thread::spawn(move || {
        let Ok(signal) = mask.wait() else { return };
        end_children();
        // It may be gone already; nothing more can be done about it here.
        fs::remove_dir_all(&folder).ok();
        std::process::exit(128 + signal as i32);
    });
    Ok(())
}

/// Asks all that threads of this process have started to end: a router stops in order, a virtual machine at once.
fn end_children() {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for children in threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok()) {
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // It may have ended by now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}
