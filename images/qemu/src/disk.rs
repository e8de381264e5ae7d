//! The disk of a virtual machine: an ext4 file system, made on the host without root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ImageError;
use crate::apt::said;

/// By which the router knows its disk (`procmgr::pid1`).
const LABEL: &str = "isthmus";
/// Folder of the router's own files, and its saved configuration in it.
const FOLDER: &str = "default";
const CONFIG: &str = "startup.conf";

/// A disk to make.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// The file.
    pub path: PathBuf,
    /// Its size in MiB.
    pub size_mib: u32,
    /// A configuration that is saved on it.
    pub config: Option<PathBuf>,
    /// Whether a file that is there is replaced.
    pub force: bool,
}

/// Makes a disk.
pub fn make(options: &DiskOptions) -> Result<(), ImageError> {
    let path = &options.path;
    if path.exists() && !options.force {
        let error = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it exists; --force replaces it");
        return Err(ImageError::File { path: path.clone(), error });
    }
    let content = tempfile::tempdir().map_err(ImageError::of(Path::new("temporary folder")))?;
    let own = content.path().join(FOLDER);
    fs::create_dir(&own).map_err(ImageError::of(&own))?;
    // The root of the file system gets what this folder has.
    for folder in [content.path(), &own] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(ImageError::of(folder))?;
    }
    if let Some(config) = &options.config {
        let text = fs::read(config).map_err(ImageError::of(config))?;
        fs::write(own.join(CONFIG), text).map_err(ImageError::of(&own))?;
    }
    let mut command = Command::new(mke2fs());
    // No owner but root, no blocks that only root may fill, and a journal that a small disk has room for.
    let options_of_root = "root_owner=0:0,lazy_itable_init=0";
    command.args(["-q", "-F", "-t", "ext4", "-L", LABEL, "-m", "0", "-E", options_of_root, "-d"]);
    command.arg(content.path()).arg(path).arg(format!("{}M", options.size_mib)).stdin(Stdio::null());
    let _ = fs::remove_file(path);
    let output = command.output();
    let output = output.map_err(|error| ImageError::NoProgram { program: "mke2fs", package: "e2fsprogs", error })?;
    said("mke2fs", &output).map(drop)
}

/// It lives where an unprivileged user's PATH does not look.
fn mke2fs() -> PathBuf {
    let at = ["/sbin/mke2fs", "/usr/sbin/mke2fs"].map(PathBuf::from);
    at.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from("mke2fs"))
}
