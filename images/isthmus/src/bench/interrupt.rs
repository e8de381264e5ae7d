//! A benchmark that is interrupted leaves nothing behind.

use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// On the first signal that asks this process to end, removes `folder` and does so. Its children see their input end,
/// and a router of its own stops with it. To be called before any other thread is started.
pub fn remove_when_interrupted(folder: &Path) -> Result<()> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        mask.add(signal);
    }
    mask.thread_block().context("block signals")?;
    let folder = folder.to_owned();
    thread::spawn(move || {
        let Ok(signal) = mask.wait() else { return };
        // It may be gone already; nothing more can be done about it here.
        std::fs::remove_dir_all(&folder).ok();
        std::process::exit(128 + signal as i32);
    });
    Ok(())
}
