//! `isthmus sh`: the shell of a running router.

use std::io;
use std::process::ExitCode;

use ipc::error::LinkError;
use vr::shell::{ShellError, interactive, run_commands};

use crate::classes;
use crate::paths::Places;

/// Exit code of a command that is none, as of a wrong command line.
const WRONG_USAGE: u8 = 2;

/// Executes commands, or asks for them if there are none.
pub fn run(places: &Places, commands: &[String], json: bool) -> ExitCode {
    let options = match classes::shell_options(places, json) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("isthmus: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match commands {
        [] => interactive(&options, &places.name),
        commands => run_commands(&options, commands),
    };
    result.map_or_else(|error| report(places, &error), |()| ExitCode::SUCCESS)
}

/// Says what went wrong, and what that is as an exit code.
pub fn report(places: &Places, error: &ShellError) -> ExitCode {
    match error {
        ShellError::Link(LinkError::Connect { error, .. }) if is_absent(error) => {
            eprintln!("isthmus: {}", not_running(places));
        }
        ShellError::Link(LinkError::ProcmgrGone) => eprintln!("isthmus: router {} has stopped", places.name),
        error => eprintln!("isthmus: {error}"),
    }
    match error {
        ShellError::Line(_) | ShellError::Value(_) => ExitCode::from(WRONG_USAGE),
        _ => ExitCode::FAILURE,
    }
}

/// Whether a control socket that cannot be reached means that there is no router.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// For who wants to talk to a router that is not there.
pub fn not_running(places: &Places) -> String {
    let socket = places.control_socket();
    format!("router {} does not run ({}); `isthmus up FILE` starts one", places.name, socket.display())
}
