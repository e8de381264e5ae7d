//! `isthmus run`: somebody's own program as a process of a virtual router.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use ipc::error::LinkError;
use ipc::link::Link;
use ipc::protocol::{LINK_ENV, VERSION};
use ipc::{ServiceName, VrName};

use crate::paths::Places;
use crate::shell;

/// Attaches to the router and becomes the program, which finds its link on standard input as if procmgr had started
/// it. Returns only if that fails.
pub fn run(places: &Places, vr: VrName, program: &[OsString]) -> Result<ExitCode> {
    let [path, args @ ..] = program else { bail!("no program") };
    let socket = attach(places, &vr, Path::new(path))?;
    let error = Command::new(path).args(args).stdin(socket).env(LINK_ENV, VERSION.to_string()).exec();
    Err(anyhow!(error)).with_context(|| format!("{}", Path::new(path).display()))
}

/// Joins the VR under the name of a program.
pub fn attach(places: &Places, vr: &VrName, program: &Path) -> Result<OwnedFd> {
    match Link::attach_for_exec(&places.control_socket(), Some(vr.clone()), service_name(program)?) {
        Err(LinkError::Connect { error, .. }) if shell::is_absent(&error) => bail!(shell::not_running(places)),
        result => Ok(result?),
    }
}

/// A program's file name as procmgr can list it.
fn service_name(path: &Path) -> Result<ServiceName> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(ServiceName::new(name).or_else(|_| ServiceName::new("program"))?)
}
