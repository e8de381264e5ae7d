//! The configuration in force in a file, for a `config` that was killed and comes back; and in another one what attached
//! programs declared, without which it could not be read.
//!
//! The file belongs to one run of the router: its first line says which procmgr it was written under. A router that is
//! started anew begins with the configuration that it was given, whatever lies in its folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the router's runtime folder.
const FILE: &str = "running.conf";
/// Name of the one with the declarations of programs.
const PROGRAMS: &str = "running.programs";

/// Keeps and finds the configuration in force.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// First line of the file.
    stamp: String,
}

/// The configuration cannot be kept, so it cannot be put in force: it would be lost with this process.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be kept in {path}: {error}")]
pub struct StoreError {
    path: String,
    error: io::Error,
}

impl Store {
    /// In a router's runtime folder, under the procmgr that is this process's parent.
    pub fn new(runtime_folder: &Path) -> Self {
        Self::under(&runtime_folder.join(FILE), &run_of_procmgr())
    }

    /// The same for the declarations of programs.
    pub fn of_programs(runtime_folder: &Path) -> Self {
        Self::under(&runtime_folder.join(PROGRAMS), &run_of_procmgr())
    }

    fn under(path: &Path, run: &str) -> Self {
        Self { path: path.to_owned(), stamp: format!("! in force under {run}") }
    }

    /// The text that was kept in this run of the router.
    pub fn load(&self) -> Option<String> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (first, rest) = text.split_once('\n')?;
        (first == self.stamp).then(|| rest.to_owned())
    }

    /// Keeps a text in place of the one before: after an error that one is still there.
    pub fn save(&self, text: &str) -> Result<(), StoreError> {
        let new = self.path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            writeln!(file, "{}", self.stamp)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&new, &self.path)).map_err(|error| {
            // The half-written file takes room that is missing elsewhere; if it cannot go either, the next save
            // overwrites it.
            let _may_not_exist = fs::remove_file(&new);
            StoreError { path: self.path.display().to_string(), error }
        })
    }

    /// Removes the file: the router stops in order and leaves nothing behind.
    pub fn remove(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{} stays behind: {error}", self.path.display());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Where the text is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Which process this one's parent is, so that no other process ever has the same: its number, when it was started, and
/// in which run of the kernel.
fn run_of_procmgr() -> String {
    let parent = std::os::unix::process::parent_id();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
    // Field 22 of proc_pid_stat(5); field 2 is the name in parentheses and may hold spaces.
    let started = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(19)).unwrap_or_default();
    format!("PID {parent} started {started} boot {}", boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_by_the_same_run_of_the_router_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert_eq!(store.load(), None);
        store.save("vr red\n!\n").unwrap();
        store.save("vr blue\n!\n").unwrap();
        assert_eq!(Store::new(folder.path()).load().as_deref(), Some("vr blue\n!\n"));
        assert_eq!(Store::under(&folder.path().join(FILE), "PID 1 started 0 boot x").load(), None);
        store.remove();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_said_in_one_sentence_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        store.save("vr red\n!\n").unwrap();
        // A folder in the place of the new file: it can be neither written nor removed.
        fs::create_dir(folder.path().join("running.new")).unwrap();
        let error = store.save("vr blue\n!\n").unwrap_err();
        let sentence =
            format!("the configuration cannot be kept in {}: Is a directory (os error 21)", store.path().display());
        assert_eq!(error.to_string(), sentence);
        assert_eq!(store.load().as_deref(), Some("vr red\n!\n"));
    }
}
