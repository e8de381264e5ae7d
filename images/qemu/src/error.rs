//! Why an image cannot be built or run.

use std::io;
use std::path::{Path, PathBuf};

/// A cause that one can act on.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A program is not there.
    #[error("{program}: {error}; it is in the Debian package {package}")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Where it is to be had.
        package: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// The last that it wrote.
        said: String,
    },
    /// The lock file is none.
    #[error("kernel.lock: the line `{0} ...` is missing")]
    Lock(&'static str),
    /// apt has not what the lock asks for.
    #[error(
        "apt has no {package} {version}: {said}. After `apt-get update` it may; `isthmus image lock` prints a lock of what it offers, and `--kernel FILE` takes a kernel from elsewhere"
    )]
    NotOffered {
        /// The package.
        package: String,
        /// The version.
        version: String,
        /// What apt wrote.
        said: String,
    },
    /// The package is another one than that of the lock.
    #[error("{}: its SHA-256 is {found}; kernel.lock has {wanted}", path.display())]
    Hash {
        /// The package.
        path: PathBuf,
        /// Of the lock.
        wanted: String,
        /// Of the file.
        found: String,
    },
    /// Something in a package is missing.
    #[error("{}: {missing} is not in it", path.display())]
    Incomplete {
        /// The package.
        path: PathBuf,
        /// What.
        missing: String,
    },
    /// The kernel is neither a bzImage nor a package.
    #[error("{}: neither a Linux kernel (bzImage) nor a Debian package with one", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
    },
    /// The executable is none that the image's kernel could run.
    #[error("{}: not an executable of x86-64 Linux", path.display())]
    NotAnExecutable {
        /// The file.
        path: PathBuf,
    },
    /// A cable's description is none.
    #[error("cable {0:?}: wanted is LOCAL,REMOTE: the paths of the two sockets")]
    Cable(String),
    /// An address for the management card is none.
    #[error("{0:?}: wanted is ADDRESS/LENGTH, of IPv4")]
    Management(String),
}

impl ImageError {
    /// For `map_err`, with the file's name.
    pub(crate) fn of(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path: path.clone(), error }
    }
}
