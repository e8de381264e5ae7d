//! The time of day. The kernel takes it from the machine's clock; a machine without one, or with one that was never
//! set, goes on from where it was last.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::entropy::SEED;

/// No router started earlier: 2025-01-01.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);

/// Sees that the time does not lie before what is known to be past.
pub(super) fn check(folder: Option<&Path>) -> Result<String, String> {
    let now = SystemTime::now();
    // Written anew at each start and stop.
    let last = folder.and_then(|folder| fs::metadata(folder.join(SEED)).ok()?.modified().ok());
    let past = last.unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH + EARLIEST);
    if now >= past {
        return Ok(format!("it is {}", text(now)));
    }
    let since_epoch = past.duration_since(UNIX_EPOCH).unwrap_or_default();
    match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(since_epoch)) {
        Ok(()) => Err(format!("the machine's clock is wrong ({}): going on from {}", text(now), text(past))),
        Err(error) => Err(format!("the machine's clock is wrong ({}) and cannot be set: {error}", text(now))),
    }
}

fn text(time: SystemTime) -> String {
    crate::log::timestamp(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
