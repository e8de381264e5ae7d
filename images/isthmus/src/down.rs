//! `isthmus down`: an orderly stop, from outside.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ipc::ServiceName;
use ipc::error::LinkError;
use ipc::link::{Link, LinkEvent};
use ipc::protocol::Question;
use nix::fcntl::{Flock, FlockArg};

use crate::paths::Places;
use crate::shell;

/// Stops a router and waits until nothing of it is left.
pub fn run(places: &Places) -> Result<ExitCode> {
    let lock = File::open(places.runtime.join(procmgr::folder::LOCK));
    let mut link = match Link::attach(&places.control_socket(), None, ServiceName::new("down")?) {
        Err(LinkError::Connect { error, .. }) if shell::is_absent(&error) => bail!(shell::not_running(places)),
        result => result?,
    };
    let asked = link.ask(Question::Shutdown)?;
    loop {
        match link.wait_event() {
            Ok(LinkEvent::Refused { ticket, refusal }) if ticket == asked => return Err(refusal.into()),
            Ok(_) => {}
            Err(LinkError::ProcmgrGone) => break,
            Err(error) => return Err(error.into()),
        }
    }
    await_unlocked(lock.with_context(|| lock_path(&places.runtime))?)?;
    Ok(ExitCode::SUCCESS)
}

/// procmgr holds its lock until it ends, and it ends when everything else has.
fn await_unlocked(lock: File) -> Result<()> {
    match Flock::lock(lock, FlockArg::LockShared) {
        Ok(_) => Ok(()),
        Err((_, error)) => Err(error).context("wait for the end of procmgr"),
    }
}

fn lock_path(runtime: &Path) -> String {
    runtime.join(procmgr::folder::LOCK).display().to_string()
}
