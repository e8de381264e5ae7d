//! The duties of procmgr where it is the first process of its machine: what a kernel leaves undone before a router can
//! run, and what must be done after it.
//!
//! ```text
//!   kernel ──▶ boot: mounts ─ memory ─ modules ─ disk ─ clock ─ entropy ─ network cards ─ buttons ──▶ Machine
//!                                                                                                       │
//!   power off, or start anew ◀── end: save the seed, flush, unmount ◀── crate::run, with the buttons ◀──┘
//! ```
//!
//! Nothing here knows what a router's configuration is; who calls decides what runs. No step ends the boot: what fails
//! is said on the console, and the rest goes on, because a machine with a console can be repaired.

mod buttons;
mod cards;
mod clock;
mod command_line;
mod disk;
mod end;
mod entropy;
mod memory;
mod modules;
mod mounts;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

pub use buttons::Buttons;
pub use cards::{Card, MANAGEMENT_WORD};
pub use command_line::CommandLine;
pub use disk::Disk;
pub use end::end;
pub(crate) use memory::Shortage;
pub use report::{Report, since_start};

/// Where a disk is mounted, for what is to be there after the next start.
pub const STATE: &str = "/var/lib/isthmus";

/// Seconds that a panic of the kernel stays on the console.
const PANIC_SECONDS: &str = "5";

/// The machine as it was found.
#[derive(Debug)]
pub struct Machine {
    /// What was asked of the router when the kernel was started.
    pub command_line: CommandLine,
    /// What is kept over a start.
    pub disk: Disk,
    /// Network cards, in the order of their slots.
    pub cards: Vec<Card>,
    /// The terminal that the kernel prints on.
    pub console: PathBuf,
}

/// Whether this process is the first one of a machine: started by a kernel as `/init`. (The first process of a container
/// has a number like it, but a host that does all this.)
pub fn is_first_process() -> bool {
    std::process::id() == 1 && std::env::args_os().next().is_some_and(|name| name == "/init")
}

/// Makes a machine of what the kernel left. Each step is told with the time it took.
pub fn boot(report: &Report) -> Machine {
    report.step(|| mounts::mount_all().map(|()| "mounted /proc, /sys, /dev, /run and /tmp".to_owned()));
    let command_line = CommandLine::of_kernel();
    memory::tell(report);
    report.step(modules::load);
    // Orderly: by the keys Ctrl-Alt-Del the kernel then asks this process, as by a signal.
    if let Err(error) = nix::sys::reboot::set_cad_enabled(false) {
        report.line(&format!("Ctrl-Alt-Del resets at once: {error}"));
    }
    let disk = disk::mount(Path::new(STATE));
    report.line(&disk.to_string());
    report.step(|| clock::check(disk.folder()));
    report.step(|| entropy::seed(disk.folder()));
    let cards = cards::take(report, &command_line);
    Machine { command_line, disk, cards, console: console() }
}

/// The router is up: from now on a panic of the kernel starts the machine anew. Before, it stays on the console for who
/// looks, since a machine that panics at each start would start again and again.
pub(crate) fn router_is_up() -> std::io::Result<()> {
    fs::write("/proc/sys/kernel/panic", PANIC_SECONDS)
}

/// Names the machine.
pub fn set_host_name(name: &str) -> std::io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

/// The last of the kernel's consoles, which is the one that `/dev/console` leads to.
fn console() -> PathBuf {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let name = active.split_whitespace().next_back().unwrap_or("console").to_owned();
    Path::new("/dev").join(name)
}
