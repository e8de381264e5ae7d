//! The router's runtime folder: one router a name, a control socket, and nothing left behind.
//!
//! A lock on a file in the folder decides who owns it; a crashed router's lock is gone with it, and what it left is
//! cleaned up by the next one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ipc::fd;
use nix::fcntl::{Flock, FlockArg};

use crate::error::ProcmgrError;

/// The control socket's file.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The file that procmgr holds a lock on while the router runs.
pub const LOCK: &str = "lock";

/// A runtime folder that this process owns.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Whether the folder above was made too: then it goes again if nothing else is in it.
    made_parent: bool,
    _lock: Flock<File>,
}

impl Folder {
    /// Takes the folder of router `name`; creates it if there is none.
    pub(crate) fn take(name: &str, path: &Path) -> Result<Self, ProcmgrError> {
        check_path(path)?;
        let wrong = |error| ProcmgrError::Folder { path: path.to_owned(), error };
        let made_parent = path.parent().is_some_and(|parent| !parent.exists());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(wrong)?;
        if fs::metadata(path).map_err(wrong)?.uid() != nix::unistd::geteuid().as_raw() {
            return Err(ProcmgrError::ForeignFolder { path: path.to_owned() });
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(wrong)?;
        let lock = lock(name, path).inspect_err(|_| drop(remove_if_empty(path)))?;
        let folder = Self { path: path.to_owned(), made_parent, _lock: lock };
        remove_file(&folder.control_socket()).map_err(wrong)?;
        Ok(folder)
    }

    /// Where the control socket is.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join(CONTROL_SOCKET)
    }

    /// Listens on the control socket. What is received on its connections bears the sender's credentials.
    pub(crate) fn listen(&self) -> Result<OwnedFd, ProcmgrError> {
        let path = self.control_socket();
        let attempt = || {
            let listener = fd::listen_seqpacket(&path)?;
            fd::enable_credentials(listener.as_fd())?;
            Ok(listener)
        };
        attempt().map_err(|error| ProcmgrError::Folder { path: path.clone(), error })
    }

    /// Removes what procmgr made, and the folder if nothing else is in it, or anyway.
    pub(crate) fn remove(self, with_everything_in_it: bool) -> io::Result<()> {
        if with_everything_in_it {
            fs::remove_dir_all(&self.path)?;
        } else {
            remove_file(&self.control_socket())?;
            remove_file(&self.path.join(LOCK))?;
            remove_if_empty(&self.path)?;
        }
        match self.path.parent() {
            Some(parent) if self.made_parent => remove_if_empty(parent),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a control socket fits in this folder.
pub fn check_path(folder: &Path) -> Result<(), ProcmgrError> {
    let path = folder.join(CONTROL_SOCKET);
    let length = path.as_os_str().len();
    if length > fd::MAX_SOCKET_PATH { Err(ProcmgrError::PathTooLong { path, length }) } else { Ok(()) }
}

/// Locks the lock file and writes the own PID into it.
fn lock(name: &str, folder: &Path) -> Result<Flock<File>, ProcmgrError> {
    let path = folder.join(LOCK);
    let wrong = |error| ProcmgrError::Folder { path: path.clone(), error };
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(wrong)?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(wrong)?;
                return Err(ProcmgrError::AlreadyRuns { name: name.to_owned(), pid: pid.trim().to_owned() });
            }
            Err((_, error)) => return Err(wrong(error.into())),
        };
        // A router that stops removes the file while it holds the lock: then this is no longer the file of that name.
        let same = fs::metadata(&path).is_ok_and(|now| lock.metadata().is_ok_and(|own| own.ino() == now.ino()));
        if same {
            let written = lock.set_len(0).and_then(|()| lock.write_all(format!("{}\n", std::process::id()).as_bytes()));
            // A full disk: what was made is no use to anybody.
            written.inspect_err(|_| drop(remove_file(&path))).map_err(wrong)?;
            return Ok(lock);
        }
    }
}

fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_router_of_the_same_name_is_refused_with_the_first_ones_pid() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("isthmus/default");
        let folder = Folder::take("default", &path).unwrap();
        assert_eq!(
            Folder::take("default", &path).unwrap_err().to_string(),
            format!("router \"default\" already runs (PID {})", std::process::id())
        );
        folder.remove(false).unwrap();
        assert!(!path.parent().unwrap().exists(), "the folder above was made by it");
        Folder::take("default", &path).unwrap();
    }

    #[test]
    fn a_stale_folder_is_taken_over_and_an_orderly_stop_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("default");
        let crashed = Folder::take("default", &path).unwrap();
        let socket = crashed.listen().unwrap();
        drop((crashed, socket));
        assert!(path.join(CONTROL_SOCKET).exists(), "a crash leaves its socket");

        let folder = Folder::take("default", &path).unwrap();
        folder.listen().unwrap();
        folder.remove(false).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn files_of_others_stay_unless_all_is_to_go() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("default");
        let folder = Folder::take("default", &path).unwrap();
        fs::write(path.join("other"), "x").unwrap();
        folder.remove(false).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        Folder::take("default", &path).unwrap().remove(true).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said_with_its_length() {
        let path = Path::new("/tmp").join("x".repeat(100));
        let error = Folder::take("default", &path).unwrap_err();
        assert!(matches!(error, ProcmgrError::PathTooLong { length: 118, .. }), "{error}");
        assert!(!path.exists());
    }
}
