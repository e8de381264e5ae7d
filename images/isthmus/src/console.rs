//! The shell on the machine's console: a class of process like any other, with a terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use ipc::link::{Link, LinkEvent};
use nix::sys::signal::{SigSet, Signal};
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
        let ended = shell(&terminal)?;
        if !ended.success() {
            say(&mut terminal, &format!("the shell ended: {ended}"))?;
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

fn shell(terminal: &File) -> Result<ExitStatus> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("isthmus").arg("sh").env_remove(ROLE_ENV).env_remove(ARGS_ENV);
    command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal.try_clone()?);
    command.status().context("start a shell")
}
