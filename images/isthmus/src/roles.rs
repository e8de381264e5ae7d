//! What a process of the router is, once procmgr has started it.

use std::ffi::CString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use env_logger::Env;
use ipc::link::Link;
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use procmgr::role::Role;
use vr::config::run::Files;

use crate::{classes, console, demo, launch};

type Run = fn(Link, &[String]) -> Result<()>;

const ROLES: [(&str, Run); 6] = [
    (classes::CONFIG, config),
    (classes::STACK, |link, _| Ok(stack::run::run(link)?)),
    (classes::VRMGR, |link, _| Ok(vr::manager::run::run(link, classes::declarations())?)),
    (classes::RIB, |link, _| Ok(rib::run(Reactor::new(link)?)?)),
    (classes::BGP, |link, _| Ok(bgp::run(Reactor::new(link)?)?)),
    (classes::OSPF, |link, _| Ok(ospf::run(Reactor::new(link)?)?)),
];

/// Is what procmgr wants this process to be, until it has stopped.
pub fn run(role: &Role) -> ExitCode {
    start_log();
    if role.name == launch::ROLE {
        return launch::run(&role.args);
    }
    abort_on_panic();
    if role.name == console::ROLE {
        return console::run(&role.args);
    }
    match run_linked(role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_linked(role: &Role) -> Result<()> {
    let Some((_, run)) = ROLES.iter().find(|(name, _)| *name == role.name) else {
        bail!("this executable has no role {:?}", role.name);
    };
    ipc::fd::raise_descriptor_limit().context("raise the limit of open descriptors")?;
    let link = Link::inherited()?;
    set_name(link.identity());
    run(link, &role.args)
}

/// Parameters: the configuration's file, or [`demo::CONFIG`] for the demo's, the runtime folder, and the state folder if
/// there is one.
fn config(link: Link, args: &[String]) -> Result<()> {
    let [file, runtime, state @ ..] = args else { bail!("the role needs a file and a folder, not {args:?}") };
    let runtime = Path::new(runtime);
    let file = match file.as_str() {
        demo::CONFIG => demo::write_config(runtime)?,
        file => PathBuf::from(file),
    };
    let state_folder = state.first().map(Path::new);
    let files = Files { start: &file, runtime_folder: runtime, state_folder };
    Ok(vr::config::run::run(link, &files, classes::declarations())?)
}

/// Lines for procmgr's log, which adds the time and who wrote them.
fn start_log() {
    env_logger::Builder::from_env(Env::default().default_filter_or("info"))
        .format(|line, record| writeln!(line, "{} {}", record.level(), record.args()))
        .init();
}

/// A process that lost a thread does not do its work: it ends, and is started again.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{panic}");
        std::process::abort();
    }));
}

/// The name that `ps -o comm` and `top` show; the kernel keeps 15 bytes.
fn set_name(identity: &Identity) {
    if let Ok(name) = CString::new(identity.to_string())
        && let Err(error) = nix::sys::prctl::set_name(&name)
    {
        log::debug!("process name: {error}");
    }
}
