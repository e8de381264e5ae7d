//! A router that a benchmark starts for itself, with all its files in the benchmark's folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::launch::Launch;
use crate::paths::Places;

/// The configuration of two virtual routers that are joined, `red` at 10.0.0.0 and `blue` at 10.0.0.1, and nothing else.
pub const JOINED: &str = include_str!("joined.conf");

/// What of a router is kept on files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// Its log, in [`OwnRouter::own_folder`], and what it saves.
    State,
}

/// A running router; stops in order when dropped, and with this process however that ends.
#[derive(Debug)]
pub struct OwnRouter {
    folder: PathBuf,
    places: Places,
    procmgr: Child,
}

impl OwnRouter {
    /// Starts it, and waits until it is up.
    pub fn start(folder: &Path, name: &str, configuration: &str, kept: Kept) -> Result<Self> {
        let config = folder.join(format!("{name}.conf"));
        std::fs::write(&config, configuration).with_context(|| config.display().to_string())?;
        let config = config.into_os_string().into_string().ok().context("a folder whose name is not UTF-8")?;
        let own = Self::own_folder(folder, name);
        let places = Places { name: name.to_owned(), runtime: own.clone(), state: own };
        let launch = match kept {
            Kept::Nothing => Launch::ephemeral(places.clone(), config),
            Kept::State => Launch::new(places.clone(), config),
        };
        let (procmgr, waiting) = launch.quiet().child()?;
        let router = Self { folder: folder.to_owned(), places, procmgr };
        waiting.wait().with_context(|| format!("the router {name}"))?;
        Ok(router)
    }

    /// Where its own files are.
    pub fn own_folder(folder: &Path, name: &str) -> PathBuf {
        folder.join(name)
    }

    /// Where processes attach.
    pub fn control_socket(&self) -> PathBuf {
        self.places.control_socket()
    }

    /// Runs a command in its shell; the document that it prints, or null if it prints none.
    pub fn sh(&self, command: &str) -> Result<Value> {
        let shell = Command::new("/proc/self/exe")
            .args(["sh", "--name", &self.places.name, "--json", "-c", command])
            .env("ISTHMUS_DIR", &self.folder)
            .output()
            .with_context(|| command.to_owned())?;
        if !shell.status.success() {
            bail!("{command}: {}", String::from_utf8_lossy(&shell.stderr).trim_end());
        }
        if shell.stdout.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&shell.stdout).with_context(|| format!("{command}: not JSON"))
    }
}

impl Drop for OwnRouter {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.procmgr.id()) else { return };
        // It was not reaped, so the number is still its own.
        let ended = kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(Into::into).and_then(|()| self.procmgr.wait());
        if let Err(error) = ended {
            eprintln!("isthmus: stop the router {}: {error}", self.places.name);
        }
    }
}
