//! Starting a process: its link on descriptor 0, its output in a pipe to procmgr, its title in `ps`.
//!
//! `posix_spawn` instead of `std::process::Command`: it resets the signal mask, which procmgr blocks for its signalfd
//! and a child would inherit. Each child leads a process group of its own, so that Ctrl-C on procmgr's terminal reaches
//! procmgr alone, which then stops all in order.

use std::ffi::{CString, NulError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ipc::Pid;
use ipc::fd;
use ipc::protocol::{LINK_ENV, LINK_FD, VERSION};
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};

use crate::class::{ClassSpec, Program};
use crate::role::{self, ARGS_ENV, ROLE_ENV};

/// What a child inherits of procmgr's environment: where programs and the user's files are, and how much to log.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "RUST_LOG", "RUST_BACKTRACE"];

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    /// procmgr's end of its link: non-blocking, receives credentials.
    pub(crate) link: OwnedFd,
    /// What it writes to standard output and error: non-blocking.
    pub(crate) output: OwnedFd,
}

/// Starts a process of `class` under `title`. `executable` is what a [`Program::Role`] runs.
pub(crate) fn spawn(class: &ClassSpec, title: &str, executable: &Path) -> io::Result<Spawned> {
    let (link, child_link) = fd::seqpacket_pair()?;
    fd::enable_credentials(link.as_fd())?;
    fd::set_nonblocking(link.as_fd())?;
    let (output, child_output) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fd::set_nonblocking(output.as_fd())?;

    let mut actions = PosixSpawnFileActions::init()?;
    actions.add_dup2(child_link.as_raw_fd(), LINK_FD)?;
    for target in [1, 2] {
        actions.add_dup2(child_output.as_raw_fd(), target)?;
    }
    let (path, args) = command(class, title, executable)?;
    let pid = posix_spawn(&path, &actions, &attributes(class)?, &args, &environment(class)?)
        .map_err(|error| io::Error::other(format!("{}: {}", path.display(), error.desc())))?;
    let pid = u32::try_from(pid.as_raw()).map_err(io::Error::other)?;
    Ok(Spawned { pid: Pid(pid), link, output })
}

/// An empty signal mask, no ignored signal (the Rust runtime ignores SIGPIPE), a process group of its own; who leads a
/// session leads a group too.
fn attributes(class: &ClassSpec) -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    let group = match class.session {
        // Of libc: nix does not name it.
        true => PosixSpawnFlags::from_bits_retain(libc::POSIX_SPAWN_SETSID.into()),
        false => PosixSpawnFlags::POSIX_SPAWN_SETPGROUP,
    };
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | group)?;
    attributes.set_sigmask(&SigSet::empty())?;
    let mut default = SigSet::empty();
    default.add(Signal::SIGPIPE);
    attributes.set_sigdefault(&default)?;
    attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
    Ok(attributes)
}

fn command(class: &ClassSpec, title: &str, executable: &Path) -> Result<(PathBuf, Vec<CString>), NulError> {
    match &class.program {
        Program::Role(_) => Ok((executable.to_owned(), vec![CString::new(title)?])),
        Program::Executable { path, args } => {
            let name = CString::new(path.as_os_str().as_bytes())?;
            let args = args.iter().map(|arg| CString::new(arg.as_str()));
            Ok((path.clone(), std::iter::once(Ok(name)).chain(args).collect::<Result<_, _>>()?))
        }
    }
}

fn environment(class: &ClassSpec) -> Result<Vec<CString>, NulError> {
    let variable = |name: &str, value: &[u8]| CString::new([name.as_bytes(), b"=", value].concat());
    let inherited = INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut all: Vec<CString> =
        inherited.map(|(name, value)| variable(name, value.as_bytes())).collect::<Result<_, _>>()?;
    all.push(variable(LINK_ENV, VERSION.to_string().as_bytes())?);
    if let Program::Role(role) = &class.program {
        all.push(variable(ROLE_ENV, role.as_bytes())?);
        all.push(variable(ARGS_ENV, role::join(&class.args).as_bytes())?);
    }
    for (name, value) in &class.environment {
        all.push(variable(name, value.as_bytes())?);
    }
    Ok(all)
}
