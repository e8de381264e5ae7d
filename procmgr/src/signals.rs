//! Signals as something to read, and the reaping of children.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use ipc::Pid;
use nix::errno::Errno;
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

/// What signals said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Some children ended.
    pub(crate) child_ended: bool,
    /// How often it was asked to stop in order.
    pub(crate) stops: u32,
}

/// The signals that procmgr takes: blocked for the calling thread, until dropped. Taken in the process's first thread
/// before it has others, so that no thread has them unblocked.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    mask_before: SigSet,
}

impl Signals {
    pub(crate) fn take() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            mask.add(signal);
        }
        let mask_before = SigSet::thread_get_mask()?;
        mask.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?, mask_before })
    }

    /// For the event loop.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// To wait for a signal.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// All that was said since the last call.
    pub(crate) fn read(&self) -> io::Result<Said> {
        let mut said = Said::default();
        while let Some(info) = self.fd.read_signal()? {
            if i32::try_from(info.ssi_signo) == Ok(Signal::SIGCHLD as i32) {
                said.child_ended = true;
            } else {
                said.stops = said.stops.saturating_add(1);
            }
        }
        Ok(said)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Err(error) = self.mask_before.thread_set_mask() {
            log::warn!("restore the signal mask: {error}");
        }
    }
}

/// The next child that ended; `None`: no more. What is left of the process group of one that was `started_here` is killed
/// before the child is reaped, while its number cannot belong to anybody else.
pub(crate) fn reap(started_here: impl Fn(Pid) -> bool) -> Option<(Pid, String)> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    let ended = loop {
        match waitid(Id::All, flags | WaitPidFlag::WNOWAIT) {
            Ok(status) => break status.pid()?,
            Err(Errno::EINTR) => {}
            // ECHILD: there are no children.
            Err(_) => return None,
        }
    };
    let pid = Pid(u32::try_from(ended.as_raw()).ok()?);
    if started_here(pid) {
        send_to_group(pid, Signal::SIGKILL);
    }
    let cause = match waitpid(ended, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
        _ => "ended".to_owned(),
    };
    Some((pid, cause))
}

/// Kills all children, adopted ones among them; returns how many there are. None where the kernel does not list them.
pub(crate) fn kill_children() -> usize {
    let own = std::process::id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    let mut count = 0;
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        // ESRCH cannot be: a child that was not reaped keeps its number.
        let _ = signal::kill(nix::unistd::Pid::from_raw(child), Signal::SIGKILL);
        count += 1;
    }
    count
}

/// Sends a signal to the process group that child `leader` leads.
pub(crate) fn send_to_group(leader: Pid, signal: Signal) {
    let Ok(leader) = i32::try_from(leader.0) else { return };
    // ESRCH: it has ended and is about to be reaped.
    let _ = signal::killpg(nix::unistd::Pid::from_raw(leader), signal);
}
