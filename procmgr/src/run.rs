//! procmgr's beginning and end.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ipc::protocol::{Identity, Origin};
use ipc::{Pid, ServiceName, VrId, fd};

use crate::class::{ClassSpec, ClassTable, PROCMGR};
use crate::console::Console;
use crate::error::ProcmgrError;
use crate::folder::Folder;
use crate::log::Log;
use crate::pid1::Buttons;
use crate::router::{Parts, Router};
use crate::service_manager::ServiceManager;
use crate::signals::Signals;

/// What a router is to be.
#[derive(Debug)]
pub struct RunOptions {
    /// Its name: one router of a name runs at a time.
    pub name: String,
    /// Its own runtime folder, `.../isthmus/NAME`: control socket and lock. Made if it is not there, removed at the end.
    pub runtime_dir: PathBuf,
    /// Its own state folder, for the log; `None`: nothing is written.
    pub state_dir: Option<PathBuf>,
    /// What runs in it.
    pub classes: Vec<ClassSpec>,
    /// What a [`Program::Role`](crate::class::Program) executes; `None`: this executable, as it is now on the disk or
    /// was when it was replaced there.
    pub executable: Option<PathBuf>,
    /// Whether the runtime folder goes at the end with everything that others put there.
    pub ephemeral: bool,
    /// Whether progress is printed on standard output until the router is up.
    pub console: bool,
    /// Gets one line and is closed: `up` as soon as the router is, or why it cannot be. End of file without a line:
    /// procmgr was killed.
    pub ready_fd: Option<OwnedFd>,
    /// The machine whose first process this is: then `reload` is possible, its buttons stop the router, and what goes
    /// wrong is also said on the console. `None`: the router runs on somebody's machine.
    pub machine: Option<Buttons>,
    /// Who is told that the router is up, and that it stops.
    pub service_manager: Option<ServiceManager>,
}

/// What is to follow when a router has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing; a machine goes off.
    Stop,
    /// The machine starts anew.
    Reload,
}

/// Runs a router until SIGTERM, SIGINT, SIGHUP, SIGQUIT or an operator stops it.
///
/// To be called in a process's first thread while it is the only one, by a process that has no other children: signals
/// are blocked meanwhile, and every child is reaped.
pub fn run(mut options: RunOptions) -> Result<Ending, ProcmgrError> {
    let mut console = Console::new(options.console, options.machine.is_some(), options.ready_fd.take());
    console.service_manager = options.service_manager.take();
    let result = run_with(options, &mut console);
    if let Err(error) = &result {
        console.failed(&error.to_string());
    }
    result
}

fn run_with(options: RunOptions, console: &mut Console) -> Result<Ending, ProcmgrError> {
    let classes = ClassTable::new(options.classes)?;
    let folder = Folder::take(&options.name, &options.runtime_dir)?;
    let start = Start {
        name: options.name,
        classes,
        state_dir: options.state_dir,
        executable: options.executable.unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
        machine: options.machine,
    };
    let result = start.run(&folder, console);
    let removed = folder.remove(options.ephemeral);
    let ending = result?;
    removed.map_err(|error| ProcmgrError::Folder { path: options.runtime_dir, error })?;
    ending.map_err(ProcmgrError::Start)
}

/// What a router is started with, in a folder that is its own.
struct Start {
    name: String,
    classes: ClassTable,
    state_dir: Option<PathBuf>,
    executable: PathBuf,
    machine: Option<Buttons>,
}

impl Start {
    /// Runs the router until it has stopped. The inner error says why it could not be started, if a process said so.
    fn run(self, folder: &Folder, console: &mut Console) -> Result<Result<Ending, String>, ProcmgrError> {
        let started = Instant::now();
        if let Some(state_dir) = &self.state_dir {
            make_state_folder(state_dir)?;
        }
        nix::sys::prctl::set_child_subreaper(true).map_err(|e| system("become the reaper of orphans")(e.into()))?;
        fd::raise_descriptor_limit().map_err(system("raise the limit of open descriptors"))?;
        let name = ServiceName::new(PROCMGR).map_err(|e| system("own name")(io::Error::other(e)))?;
        let own = Identity {
            vr: VrId::ROUTER,
            vr_name: None,
            pid: Pid(std::process::id()),
            name,
            origin: Origin::Supervised,
        };
        let mut router = Router::new(Parts {
            name: self.name,
            executable: self.executable,
            started,
            classes: self.classes,
            signals: Signals::take().map_err(system("take signals"))?,
            control: folder.listen()?,
            log: Log::new(own.clone(), self.state_dir.as_deref()),
            state_dir: self.state_dir,
            own,
            console,
            machine: self.machine,
        })
        .map_err(system("event loop"))?;
        router.run().map_err(system("event loop"))
    }
}

fn make_state_folder(path: &Path) -> Result<(), ProcmgrError> {
    let wrong = |error| ProcmgrError::Folder { path: path.to_owned(), error };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(wrong)
}

fn system(what: &'static str) -> impl Fn(io::Error) -> ProcmgrError {
    move |error| ProcmgrError::System { what, error }
}
