//! The end of a machine: everything written, nothing mounted, then off or anew.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::sync;

use super::{Disk, Report, entropy};
use crate::run::Ending;
use crate::signals::{self, Signals};

/// How long the end of processes is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Ends the machine. Nothing of the router runs any more. Returns only if the kernel refuses.
pub fn end(report: &Report, disk: &Disk, ending: Ending) -> Result<Infallible, Errno> {
    if let Err(error) = end_all() {
        report.line(&format!("processes may still run: {error}"));
    }
    if let Some(folder) = disk.folder() {
        if let Err(error) = entropy::save(folder) {
            report.line(&format!("no seed is kept: {error}"));
        }
        sync();
        unmount(report, folder);
    }
    match ending {
        Ending::Stop => {
            report.line("power off");
            reboot(RebootMode::RB_POWER_OFF)
        }
        Ending::Reload => {
            report.line("reload");
            reboot(RebootMode::RB_AUTOBOOT)
        }
    }
}

/// Ends every process: the first one is the parent of all whose own has ended. What the kernel does not let go is not
/// waited for.
fn end_all() -> io::Result<()> {
    let signals = Signals::take()?;
    let deadline = Instant::now() + PATIENCE;
    while signals::kill_children() > 0 && Instant::now() < deadline {
        let mut ended = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO))?;
        signals.read()?;
        while signals::reap(|_| false).is_some() {}
    }
    Ok(())
}

fn unmount(report: &Report, folder: &Path) {
    let Err(busy) = umount2(folder, MntFlags::empty()) else { return };
    // Somebody holds a file open whom the kernel does not let go; then at least nothing is half written.
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    if let Err(error) = mount(None::<&str>, folder, None::<&str>, flags, None::<&str>) {
        report.line(&format!("the disk cannot be unmounted ({busy}) nor made read-only ({error})"));
    }
}
