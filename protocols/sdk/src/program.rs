//! A protocol as a program of its own, started from a developer's shell or debugger.
//!
//! `isthmus run --vr red -- target/debug/hello` attaches the program to a running router. It is then a process of `red`
//! like any other: it has the VR's sockets, brings routes, has words in the configuration and answers `show`. What it
//! logs stands on its standard error, as much as `RUST_LOG` says. When it ends, its routes go and its channels close;
//! its lines of the configuration wait for it to come back.

use std::io::Write;
use std::process::ExitCode;

use env_logger::Env;
use ipc::error::LinkError;
use ipc::link::Link;
use ipc::reactor::Reactor;
use vr_api::command::Declaration;

use crate::core::ProtocolCore;
use crate::error::ShellError;
use crate::shell;

/// All that the `main` of a protocol does: runs the core in the VR that `isthmus run` attached this process to, until
/// the router or somebody else stops it. What goes wrong is said in one sentence.
pub fn run<C: ProtocolCore>(core: C, declaration: Declaration) -> ExitCode {
    env_logger::Builder::from_env(Env::default().default_filter_or("info"))
        .format(|line, record| writeln!(line, "{} {}", record.level(), record.args()))
        .init();
    match attached(core, declaration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn attached<C: ProtocolCore>(core: C, declaration: Declaration) -> Result<(), ShellError> {
    let link = Link::inherited().map_err(|error| match error {
        LinkError::NotStartedByProcmgr => ShellError::NotAttached(declaration.class.clone()),
        error => ShellError::Link(error),
    })?;
    log::info!("{} (PID {}) attached", link.identity(), link.identity().pid);
    shell::run(core, declaration, Reactor::new(link)?)
}
