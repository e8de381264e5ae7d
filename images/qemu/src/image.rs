//! Putting an image together.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::initramfs::Initramfs;
use crate::lock::Lock;
use crate::package::{self, Kernel};
use crate::rom::{self, ROM};
use crate::{apt, executable};

/// Name of the kernel in an image's folder.
pub const KERNEL: &str = "vmlinuz";
/// Name of the initramfs.
pub const INITRD: &str = "initrd";

/// Less than so much memory, in MiB, holds neither the unpacked image nor the router.
pub const LEAST_MEMORY_MIB: u32 = 96;

/// Where `procmgr::pid1` and `images/isthmus` look for what the image brings along.
const MODULES: &str = "/lib/modules";
const CONFIG: &str = "/etc/isthmus/startup.conf";
/// Folders that the first process mounts on.
const MOUNT_POINTS: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var/lib/isthmus"];

/// Where the kernel comes from.
#[derive(Debug, Clone)]
pub enum KernelSource {
    /// Debian's package, which apt fetches into a cache.
    Locked {
        /// Which.
        lock: Lock,
        /// Folder of the cache.
        cache: PathBuf,
    },
    /// A file: a bare kernel, or a Debian package.
    File {
        /// The file.
        path: PathBuf,
        /// Modules of a bare kernel; without them its drivers are part of it.
        modules: Option<PathBuf>,
    },
}

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// The router's executable.
    pub executable: PathBuf,
    /// The kernel.
    pub kernel: KernelSource,
    /// The configuration that it starts with while none is saved; `None`: the demo's.
    pub config: Option<PathBuf>,
}

/// Sizes of what was built, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// The kernel.
    pub kernel_bytes: u64,
    /// The initramfs.
    pub initrd_bytes: u64,
}

/// Reads a kernel, and fetches it before if it is not there yet.
pub fn kernel(source: &KernelSource) -> Result<Kernel, ImageError> {
    match source {
        KernelSource::Locked { lock, cache } => package::read(&apt::fetch(lock, cache)?, None),
        KernelSource::File { path, modules } => package::read(path, modules.as_deref()),
    }
}

/// Builds an image in `folder`, which is made if it is not there. An image that was there is replaced when the new one is
/// complete.
pub fn build(options: &ImageOptions, folder: &Path) -> Result<Built, ImageError> {
    build_with(&kernel(&options.kernel)?, &options.executable, options.config.as_deref(), folder)
}

/// The same with a kernel that was read already.
pub fn build_with(
    kernel: &Kernel,
    executable: &Path,
    config: Option<&Path>,
    folder: &Path,
) -> Result<Built, ImageError> {
    let mut files = Initramfs::default();
    MOUNT_POINTS.iter().for_each(|path| files.folder(Path::new(path)));
    files.console();
    let (executable, libraries) = executable::read(executable)?;
    files.file(Path::new("/init"), 0o755, executable);
    for (path, bytes) in libraries {
        files.file(&path, 0o755, bytes);
    }
    if let Some(config) = config {
        files.file(Path::new(CONFIG), 0o644, fs::read(config).map_err(ImageError::of(config))?);
    }
    add_modules(&mut files, kernel);
    write(kernel, &files, folder)
}

/// Adds a kernel's modules, and the order in which they are to be loaded.
pub fn add_modules(files: &mut Initramfs, kernel: &Kernel) {
    if kernel.modules.is_empty() {
        return;
    }
    let order: String = kernel.modules.iter().map(|(name, _)| format!("{name}.ko\n")).collect();
    files.file(&Path::new(MODULES).join("order"), 0o644, order.into_bytes());
    for (name, bytes) in &kernel.modules {
        files.file(&Path::new(MODULES).join(format!("{name}.ko")), 0o644, bytes.clone());
    }
}

/// Writes a kernel, its initramfs and their ROM, each whole or not at all.
pub fn write(kernel: &Kernel, files: &Initramfs, folder: &Path) -> Result<Built, ImageError> {
    fs::create_dir_all(folder).map_err(ImageError::of(folder))?;
    let initrd = files.pack().map_err(ImageError::of(&folder.join(INITRD)))?;
    let least_mib = rom::least_mib(initrd.len() as u64, files.bytes());
    let rom = rom::build(least_mib, least_mib.max(LEAST_MEMORY_MIB.into()));
    let built = Built { kernel_bytes: kernel.image.len() as u64, initrd_bytes: initrd.len() as u64 };
    replace(&folder.join(KERNEL), &kernel.image)?;
    replace(&folder.join(INITRD), &initrd)?;
    replace(&folder.join(ROM), &rom)?;
    Ok(built)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let new = path.with_extension("new");
    let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, path));
    written
        .inspect_err(|_| {
            // Half a file is no use to anybody.
            let _may_not_exist = fs::remove_file(&new);
        })
        .map_err(ImageError::of(path))
}
