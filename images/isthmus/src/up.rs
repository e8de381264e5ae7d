//! `isthmus up` and `isthmus check`: a router from a configuration file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use vr::config::startup;

use crate::check::check_file;
use crate::launch::Launch;
use crate::paths::Places;

/// Starts a router. A configuration that is wrong starts nothing.
pub fn run(places: Places, file: Option<PathBuf>, detach: bool) -> Result<ExitCode> {
    let file = match file {
        Some(file) => file,
        None => saved(&places)?,
    };
    if let Err(errors) = check_file(&file) {
        eprintln!("{errors}");
        return Ok(ExitCode::FAILURE);
    }
    let absolute = Places::absolute(&file)?;
    let config = absolute.to_str().with_context(|| format!("{}: not UTF-8", file.display()))?.to_owned();
    let name = places.name.clone();
    let launch = Launch::new(places, config);
    if !detach {
        return launch.replace_this_process();
    }
    launch.detached()?.wait()?;
    println!("router {name} is up");
    Ok(ExitCode::SUCCESS)
}

/// Says what a configuration file holds, or what is wrong with it.
pub fn check(file: &Path) -> ExitCode {
    match check_file(file) {
        Ok(summary) => {
            println!("{}: {summary}", file.display());
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}

fn saved(places: &Places) -> Result<PathBuf> {
    let path = places.state.join(startup::FILE);
    if !path.exists() {
        let (name, path) = (&places.name, path.display());
        bail!("router {name} has no saved configuration ({path}); name a file: isthmus up FILE");
    }
    Ok(path)
}
