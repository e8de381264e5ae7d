//! The shell on the machine's console: a class of process like any other, with a terminal.

use std::ffi::{CString, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use ipc::link::{Link, LinkEvent};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use procmgr::role::{ARGS_ENV, ROLE_ENV};

/// Name of the role, and of its class.
pub const ROLE: &str = "console";

/// Has shells on a terminal, one after the other, until procmgr ends it. Its parameter is the terminal.
pub fn run(args: &[String]) -> ExitCode {
    let [terminal] = args else {
        log::error!("the role needs a terminal, not {args:?}");
        return ExitCode::FAILURE;
    };
    match serve(Path::new(terminal)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(path: &Path) -> Result<()> {
    let mut link = Link::inherited()?;
    // The progress of the start is the terminal's until then.
    loop {
        match link.wait_event()? {
            LinkEvent::Go => break,
            LinkEvent::Stop => return Ok(()),
            _ => {}
        }
    }
    // This process leads a session: the terminal that it opens becomes its own, with the keys that make signals.
    let open = || OpenOptions::new().read(true).write(true).open(path).with_context(|| path.display().to_string());
    let mut terminal = open()?;
    // They are for the command that the shell runs.
    let keys = SigSet::from_iter([Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP]);
    keys.thread_block().context("block signals")?;
    loop {
        say(&mut terminal, &format!("\nisthmus {}; `help` lists the commands", env!("CARGO_PKG_VERSION")))?;
        if let Some(how) = shell(&terminal)? {
            say(&mut terminal, &format!("the shell ended: {how}"))?;
        }
        say(&mut terminal, "press RETURN for a shell")?;
        if BufReader::new(open()?).read_line(&mut String::new())? == 0 {
            bail!("{}: end of file", path.display());
        }
    }
}

fn say(terminal: &mut File, text: &str) -> io::Result<()> {
    writeln!(terminal, "{text}")
}

/// Runs a shell to its end; how it ended, unless in order.
///
/// `posix_spawn` instead of `std::process::Command`: the shell is to have the keys that this process blocks.
fn shell(terminal: &File) -> Result<Option<String>> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_sigmask(&SigSet::empty())?;
    let mut actions = PosixSpawnFileActions::init()?;
    for descriptor in 0..=2 {
        actions.add_dup2(terminal.as_raw_fd(), descriptor)?;
    }
    let pid = posix_spawn(c"/proc/self/exe", &actions, &attributes, &[c"isthmus", c"sh"], &environment()?)
        .context("start a shell")?;
    Ok(match waitpid(pid, None).context("wait for the shell")? {
        WaitStatus::Exited(_, 0) => None,
        WaitStatus::Exited(_, code) => Some(format!("exit code {code}")),
        WaitStatus::Signaled(_, signal, _) => Some(format!("killed by {signal}")),
        other => Some(format!("{other:?}")),
    })
}

/// This process's environment, without what makes it a role.
fn environment() -> Result<Vec<CString>> {
    let own = std::env::vars_os().filter(|(name, _)| name != ROLE_ENV && name != ARGS_ENV);
    let variable =
        |(name, value): (OsString, OsString)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat());
    own.map(|pair| Ok(variable(pair)?)).collect()
}
