//! `isthmus up` and `isthmus check`: a router from a configuration file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use vr::config::startup;

use crate::check::check_file;
use crate::launch::Launch;
use crate::paths::Places;

/// The configuration that an image brings along, or that is mounted there.
pub const OF_IMAGE: &str = "/etc/isthmus/startup.conf";
/// Environment variable with the text of a configuration.
const CONFIG_ENV: &str = "ISTHMUS_CONFIG";

/// Starts a router. A configuration that is wrong starts nothing.
pub fn run(places: Places, file: Option<PathBuf>, detach: bool) -> Result<ExitCode> {
    let file = match file {
        Some(file) => file,
        None => find(&places)?,
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

/// The configuration of a router that is started without a file: the saved one, that of an image, or the one in the
/// environment of a container. Says which, and which others are there for nothing.
fn find(places: &Places) -> Result<PathBuf> {
    let saved = places.state.join(startup::FILE);
    let text = std::env::var_os(CONFIG_ENV).filter(|text| !text.is_empty());
    let files = [saved.as_path(), Path::new(OF_IMAGE)].into_iter().filter(|file| file.exists());
    let mut found = files.map(|file| file.display().to_string()).chain(text.is_some().then(|| CONFIG_ENV.to_owned()));
    let Some(first) = found.next() else {
        let (name, saved) = (&places.name, saved.display());
        bail!(
            "router {name} has no saved configuration ({saved}), and there is neither {OF_IMAGE} nor {CONFIG_ENV}; \
             name a file: isthmus up FILE"
        );
    };
    let others: Vec<String> = found.collect();
    match others.is_empty() {
        true => println!("starting with {first}"),
        false => println!("starting with {first}; not used: {}", others.join(", ")),
    }
    match text.filter(|_| first == CONFIG_ENV) {
        Some(text) => {
            let file = places.state.join("environment.conf");
            let written = fs::create_dir_all(&places.state).and_then(|()| fs::write(&file, text.as_encoded_bytes()));
            written.with_context(|| file.display().to_string())?;
            Ok(file)
        }
        None => Ok(PathBuf::from(first)),
    }
}
