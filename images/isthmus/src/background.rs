//! `isthmus run --detach`: a program of a virtual router in the background, from the moment that it works.

use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use ipc::error::LinkError;
use ipc::link::{Link, LinkEvent};
use ipc::protocol::{Question, Ticket};
use ipc::{Pid, ServiceName, VrName};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::paths::Places;
use crate::shell;

/// How long a program has to publish something. Those of the SDK need milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a program as [`program::run`](crate::program::run) does, in a process of its own, and returns once it has
/// published something: a protocol its tables, which it does when it is ready, a server its listener. What it logs goes on
/// coming here.
pub fn run(places: &Places, vr: &VrName, program: &[OsString]) -> Result<ExitCode> {
    let mut link = match Link::attach(&places.control_socket(), None, ServiceName::new("run")?) {
        Err(LinkError::Connect { error, .. }) if shell::is_absent(&error) => bail!(shell::not_running(places)),
        result => result?,
    };
    let mut command = Command::new("/proc/self/exe");
    command.args(["run", "--name", &places.name, "--vr", vr.as_str(), "--"]).args(program);
    // A group of its own: Ctrl-C here does not end it.
    let child = command.stdin(Stdio::null()).process_group(0).spawn().context("start the program")?;
    let pid = Pid(child.id());
    let asked = link.ask(Question::Published { pid })?;
    let end = End::of(child)?;
    let until = Instant::now() + PATIENCE;
    loop {
        if has_published(&mut link, asked)? {
            return Ok(ExitCode::SUCCESS);
        }
        let Some(left) = until.checked_duration_since(Instant::now()) else {
            bail!("PID {} runs, and has published nothing within {} s", pid.0, PATIENCE.as_secs())
        };
        if end.came_before(&link, left)? {
            return end.code();
        }
    }
}

/// Whether procmgr has said so by now.
fn has_published(link: &mut Link, asked: Ticket) -> Result<bool> {
    while let Some(event) = link.poll_event()? {
        match event {
            LinkEvent::Answer { ticket, .. } if ticket == asked => return Ok(true),
            LinkEvent::Refused { ticket, refusal } if ticket == asked => return Err(refusal.into()),
            LinkEvent::Stop => bail!("the router stops"),
            LinkEvent::Go
            | LinkEvent::Done { .. }
            | LinkEvent::Refused { .. }
            | LinkEvent::Opened { .. }
            | LinkEvent::Incoming { .. }
            | LinkEvent::Answer { .. } => {}
        }
    }
    Ok(false)
}

/// The end of the program, if it comes, as something that can be waited for beside the link.
struct End {
    /// A thread that waits for it, and whose pipe ends with it.
    waits: JoinHandle<io::Result<ExitStatus>>,
    pipe: PipeReader,
}

impl End {
    fn of(mut child: Child) -> Result<Self> {
        let (pipe, writer) = io::pipe().context("pipe")?;
        let waits = thread::spawn(move || {
            let status = child.wait();
            drop(writer);
            status
        });
        Ok(Self { waits, pipe })
    }

    /// Waits until the program has ended, procmgr says something, or the time is over. Whether it has ended.
    fn came_before(&self, link: &Link, patience: Duration) -> Result<bool> {
        let of = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [of(self.pipe.as_fd()), of(link.as_fd())];
        match poll(&mut fds, PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for the program"),
        }
        Ok(fds[0].any().unwrap_or(true))
    }

    /// It has said why. A signal is told as shells do.
    fn code(self) -> Result<ExitCode> {
        let waited = self.waits.join().map_err(|_| anyhow!("the thread that waits for the program panicked"))?;
        let ended = waited.context("wait for the program")?;
        let code = ended.code().or(ended.signal().map(|signal| 128 + signal)).and_then(|code| code.try_into().ok());
        Ok(code.map_or(ExitCode::FAILURE, |code: u8| ExitCode::from(code)))
    }
}
