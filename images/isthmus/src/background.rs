//! `isthmus run --detach`: a program of a virtual router in the background, from the moment that it works.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ipc::error::LinkError;
use ipc::link::{Link, LinkEvent};
use ipc::protocol::{Answer, Question};
use ipc::{Pid, ServiceName, VrName};

use crate::paths::Places;
use crate::shell;

/// How long a program has to publish something. Those of the SDK need milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks: procmgr answers who asks, and tells nobody of other processes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn().context("start the program")?;
    await_published(&mut child, &mut link)
}

fn await_published(child: &mut Child, link: &mut Link) -> Result<ExitCode> {
    let pid = Pid(child.id());
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(ended) = child.try_wait().context("wait for the program")? {
            // It has said why. A signal is told as shells do.
            let code = ended.code().or(ended.signal().map(|signal| 128 + signal)).and_then(|code| code.try_into().ok());
            return Ok(code.map_or(ExitCode::FAILURE, |code: u8| ExitCode::from(code)));
        }
        if has_published(link, pid)? {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(LOOK_AGAIN);
    }
    bail!("PID {} runs, and has published nothing within {} s", pid.0, PATIENCE.as_secs())
}

/// Whether somebody can open something of a process.
fn has_published(link: &mut Link, pid: Pid) -> Result<bool> {
    let asked = link.ask(Question::Publications)?;
    let mut published = false;
    loop {
        match link.wait_event()? {
            LinkEvent::Answer { ticket, answer: Answer::Publications(rows), last } if ticket == asked => {
                published |= rows.iter().any(|row| row.owner.pid == pid);
                if last {
                    return Ok(published);
                }
            }
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
}
