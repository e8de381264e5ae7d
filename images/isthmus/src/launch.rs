//! Starting procmgr: in this process's place, or as another process that says when the router is up.

use std::fs::OpenOptions;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stdin, getppid, setsid};
use procmgr::role::{ARGS_ENV, ROLE_ENV, SEPARATOR};
use procmgr::{RunOptions, ServiceManager};
use serde::{Deserialize, Serialize};

use crate::classes;
use crate::paths::Places;

/// Role of a process that is procmgr. It has no link: it makes those of the others.
pub const ROLE: &str = "procmgr";

/// A router to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    name: String,
    runtime: PathBuf,
    /// `None`: nothing is written that would be there after the router.
    state: Option<PathBuf>,
    /// As the role `config` reads it.
    config: String,
    /// Whether progress is printed.
    progress: bool,
    bond: Bond,
}

/// What procmgr has to do with the process that started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Bond {
    /// It took its place.
    Same,
    /// It is waited for on standard input, and stops with that process.
    Child {
        /// That process.
        parent: u32,
    },
    /// It is waited for on standard input, and outlives that process and its terminal.
    Detached,
}

impl Launch {
    /// A router that keeps its state.
    pub fn new(places: Places, config: String) -> Self {
        let Places { name, runtime, state } = places;
        Self { name, runtime, state: Some(state), config, progress: true, bond: Bond::Same }
    }

    /// One that leaves nothing behind.
    pub fn ephemeral(places: Places, config: String) -> Self {
        Self { state: None, ..Self::new(places, config) }
    }

    /// The same without a line on standard output.
    pub fn quiet(self) -> Self {
        Self { progress: false, ..self }
    }

    /// Runs the router in place of this process. Returns only if that fails.
    pub fn replace_this_process(self) -> Result<ExitCode> {
        let mut command = self.command()?;
        Err(anyhow!(command.exec()).context("start procmgr"))
    }

    /// Runs the router as a child that stops with this process. [`Waiting`] says when it is up.
    pub fn child(self) -> Result<(Child, Waiting)> {
        let launch = Self { bond: Bond::Child { parent: std::process::id() }, ..self };
        // A group of its own: Ctrl-C reaches this process, which then stops it in order.
        launch.spawn(|command| command.process_group(0))
    }

    /// Runs the router for itself.
    pub fn detached(self) -> Result<Waiting> {
        let launch = Self { bond: Bond::Detached, progress: false, ..self };
        let (_, waiting) = launch.spawn(|command| command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        Ok(waiting)
    }

    fn spawn(&self, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Result<(Child, Waiting)> {
        let (reader, writer) = io::pipe().context("pipe")?;
        let mut command = self.command()?;
        let child = prepare(command.stdin(writer)).spawn().context("start procmgr")?;
        Ok((child, Waiting(reader)))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(format!("isthmus: {ROLE} {}", self.name));
        let args = serde_json::to_string(self).context("a path that is not UTF-8")?;
        command.env(ROLE_ENV, ROLE).env(ARGS_ENV, format!("{args}{SEPARATOR}"));
        Ok(command)
    }

    fn options(&self, ready_fd: Option<OwnedFd>) -> Result<RunOptions> {
        // It started this process and no other one.
        let service_manager = match self.bond {
            Bond::Same => ServiceManager::of_environment().context("the service manager's socket")?,
            Bond::Child { .. } | Bond::Detached => None,
        };
        Ok(RunOptions {
            name: self.name.clone(),
            runtime_dir: self.runtime.clone(),
            state_dir: self.state.clone(),
            classes: classes::table(classes::config_args(&self.config, &self.runtime, self.state.as_deref())?)?,
            executable: None,
            ephemeral: self.state.is_none(),
            console: self.progress,
            ready_fd,
            machine: None,
            service_manager,
        })
    }
}

/// A router that was started and may come up.
#[derive(Debug)]
pub struct Waiting(PipeReader);

impl Waiting {
    /// Waits until the router is up; the error says why it cannot be.
    pub fn wait(mut self) -> Result<()> {
        let mut text = String::new();
        self.0.read_to_string(&mut text).context("wait for the router")?;
        match text.trim_end() {
            "up" => Ok(()),
            "" => Err(anyhow!("procmgr ended before the router was up")),
            why => Err(anyhow!("{why}")),
        }
    }
}

impl AsFd for Waiting {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Is procmgr until the router has stopped.
pub fn run(args: &[String]) -> ExitCode {
    let Some(launch) = args.first().and_then(|text| serde_json::from_str::<Launch>(text).ok()) else {
        eprintln!("isthmus: role {ROLE}: parameters that are none: {args:?}");
        return ExitCode::FAILURE;
    };
    match run_launch(&launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Who waits has been told.
            if launch.bond == Bond::Same {
                eprintln!("isthmus: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run_launch(launch: &Launch) -> Result<()> {
    let ready = match launch.bond {
        Bond::Same => None,
        Bond::Child { parent } => {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("stop with the starting process")?;
            if u32::try_from(getppid().as_raw()) != Ok(parent) {
                return Err(anyhow!("the process that started it has ended"));
            }
            Some(take_standard_input()?)
        }
        Bond::Detached => {
            setsid().context("leave the terminal")?;
            Some(take_standard_input()?)
        }
    };
    // Only a machine of its own could start anew.
    procmgr::run(launch.options(ready)?)?;
    Ok(())
}

fn take_standard_input() -> Result<OwnedFd> {
    let taken = io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
    let null = OpenOptions::new().read(true).open("/dev/null").context("/dev/null")?;
    dup2_stdin(&null).context("standard input")?;
    Ok(taken)
}
