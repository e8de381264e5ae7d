//! The configuration that the router starts with: what an operator saved of the one in force.
//!
//! A saved file is the old one or the new one, whole, whenever the power goes: it is written beside, brought to the disk,
//! and takes the old one's name; then the folder is brought to the disk too, so that an operator who was told that it is
//! saved finds it. What attached programs declared is saved beside it: without, their lines could not be read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vr_api::command::Declaration;

/// Name of the file in the router's state folder.
pub const FILE: &str = "startup.conf";

/// Extension of the file with the declarations of programs.
const PROGRAMS: &str = "programs";

/// First words of a saved file; the version of the writer follows.
const HEAD: &str = "! saved by isthmus ";

/// Where the configuration is saved.
#[derive(Debug)]
pub struct Startup {
    path: Option<PathBuf>,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The router has no place for it.
    #[error("this router keeps nothing over a start: it has no state folder (the demo, or a machine without a disk)")]
    Nowhere,
    /// The disk is full, or worse. What was saved before is still there.
    #[error("the configuration cannot be saved in {}: {error}; what was saved before is still there", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

impl Startup {
    /// In a router's state folder; `None`: nothing is kept.
    pub fn new(state_folder: Option<&Path>) -> Self {
        Self { path: state_folder.map(|folder| folder.join(FILE)) }
    }

    /// Keeps a text, and the words of programs that it takes to read it, in place of the one before. Returns where.
    pub fn save(&self, text: &str, programs: &[Declaration]) -> Result<&Path, StartupError> {
        let path = self.path.as_deref().ok_or(StartupError::Nowhere)?;
        let text = format!("{HEAD}{}\n{text}", env!("CARGO_PKG_VERSION"));
        // First the words: the former text reads with them as it did.
        let words = match programs {
            [] => Ok(()),
            programs => write_programs(programs).and_then(|words| replace(&path.with_extension(PROGRAMS), &words)),
        };
        let written = words.and_then(|()| replace(path, &text));
        written.map_err(|error| StartupError::Write { path: path.to_owned(), error })?;
        Ok(path)
    }

    /// Removes what was saved: the next start is with the configuration of the image, or with none.
    pub fn erase(&self) -> Result<(), StartupError> {
        let path = self.path.as_deref().ok_or(StartupError::Nowhere)?;
        // One that stays is of no harm: words that no line needs.
        let _may_not_exist = fs::remove_file(path.with_extension(PROGRAMS));
        let removed = match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_folder(path),
        };
        removed.map_err(|error| StartupError::Write { path: path.to_owned(), error })
    }

    /// What was saved.
    pub fn load(&self) -> Option<String> {
        fs::read_to_string(self.path.as_deref()?).ok()
    }
}

/// What programs had declared when the configuration in `path` was saved; nothing beside other files.
pub fn programs(path: &Path) -> Vec<Declaration> {
    read_programs(&fs::read_to_string(path.with_extension(PROGRAMS)).unwrap_or_default())
}

/// Declarations of programs as text.
pub(super) fn write_programs(programs: &[Declaration]) -> io::Result<String> {
    Ok(serde_json::to_string(programs)?)
}

/// The reverse. A text that is none holds none: the lines that need them say that they are unknown.
pub(super) fn read_programs(text: &str) -> Vec<Declaration> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Whether a text was saved from a configuration in force, which may hold what lies dormant.
pub fn is_saved(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// The version that saved this text, if another one did.
pub fn other_version(text: &str) -> Option<&str> {
    let version = text.lines().next()?.strip_prefix(HEAD)?;
    (version != env!("CARGO_PKG_VERSION")).then_some(version)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
        // Half a file takes room that is missing elsewhere; if it cannot go either, the next save overwrites it.
        let _may_not_exist = fs::remove_file(&new);
    })?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_takes_the_place_of_what_was_and_bears_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let startup = Startup::new(Some(folder.path()));
        assert_eq!(startup.load(), None);
        startup.save("vr red\n!\n", &[]).unwrap();
        startup.save("vr blue\n!\n", &[]).unwrap();
        let text = startup.load().unwrap();
        assert!(text.starts_with("! saved by isthmus 0.") && text.ends_with("\nvr blue\n!\n"), "{text}");
        assert_eq!(other_version(&text), None);
        assert_eq!(other_version("! saved by isthmus 99.1.0\nvr red\n"), Some("99.1.0"));
        assert_eq!(other_version("vr red\n"), None);
        startup.erase().unwrap();
        startup.erase().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_said_and_what_was_saved_stays() {
        let folder = tempfile::tempdir().unwrap();
        let startup = Startup::new(Some(folder.path()));
        startup.save("vr red\n!\n", &[]).unwrap();
        // A folder in the place of the new file: it can be neither written nor removed.
        fs::create_dir(folder.path().join("startup.new")).unwrap();
        let error = startup.save("vr blue\n!\n", &[]).unwrap_err().to_string();
        assert!(error.contains("cannot be saved") && error.contains("startup.conf"), "{error}");
        assert!(startup.load().unwrap().ends_with("vr red\n!\n"));
        assert!(Startup::new(None).save("", &[]).unwrap_err().to_string().contains("keeps nothing"));
    }
}
