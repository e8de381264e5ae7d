//! `isthmus image`: builds what a virtual machine boots, and boots it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use qemu::disk::{self, DiskOptions};
use qemu::image::{self, ImageOptions, KernelSource, LEAST_MEMORY_MIB};
use qemu::lock::{BUILT_IN, Lock};
use qemu::machine::{Machine, Management, Plug, QEMU, QEMU_PACKAGE};
use qemu::{ImageError, apt};

use crate::check::check_file;

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Builds an image for QEMU: a folder with a kernel and an initramfs. Needs no root.
    Qemu {
        /// The folder.
        #[arg(short, long, value_name = "FOLDER")]
        output: PathBuf,
        /// A kernel in place of Debian's: a bzImage, or a Debian package with one.
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
        /// Modules (`*.ko`) for a bzImage.
        #[arg(long, value_name = "FOLDER", requires = "kernel")]
        modules: Option<PathBuf>,
        /// The configuration to start with while none is saved; without it the demo's.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Another executable than this one: a static build makes the smallest image.
        #[arg(long, value_name = "FILE")]
        executable: Option<PathBuf>,
    },
    /// Makes a disk for a virtual machine's configuration, log and crash records.
    Disk {
        /// The file.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Its size in MiB.
        #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..))]
        size: u32,
        /// A configuration that is saved on it.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Replaces a file that is there.
        #[arg(long)]
        force: bool,
    },
    /// Runs an image in QEMU with its serial console here, and prints the command that does it.
    Run {
        /// The image.
        #[arg(value_name = "FOLDER")]
        image: PathBuf,
        /// Its disk.
        #[arg(long, value_name = "FILE")]
        disk: Option<PathBuf>,
        /// A network card on a cable: the paths of its own socket and of the other end's. May be given several times;
        /// the cards sit in slots 1, 2, ...
        #[arg(long, value_name = "LOCAL,REMOTE")]
        cable: Vec<String>,
        /// A network card on a TAP device of this host; may be given several times, in the slots after the cables.
        #[arg(long, value_name = "DEVICE")]
        tap: Vec<String>,
        /// Sets the first card apart for the machine's own kernel, which gets this address; no port can be on it.
        #[arg(long, value_name = "ADDRESS/LENGTH")]
        management: Option<String>,
        /// Memory in MiB.
        #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = enough_memory)]
        memory: u32,
        /// How QEMU runs it: `tcg` anywhere, `kvm` faster where the host has it.
        #[arg(long, default_value = "tcg")]
        accel: String,
        /// More for the kernel's command line: `isthmus.rescue` starts without a configuration.
        #[arg(long, value_name = "WORD")]
        append: Vec<String>,
        /// Prints the command and runs nothing.
        #[arg(long)]
        print: bool,
        /// More for QEMU.
        #[arg(last = true, value_name = "QEMU ARGUMENTS")]
        more: Vec<OsString>,
    },
    /// Writes an archive for container engines, without one: `docker load`, `podman load`, `skopeo`.
    Oci {
        /// The archive.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// The configuration to start with while none is mounted or saved.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Another executable than this one.
        #[arg(long, value_name = "FILE")]
        executable: Option<PathBuf>,
    },
    /// Prints a `kernel.lock` of the kernel that apt offers today.
    Lock,
}

/// Does it.
pub fn run(image: Image) -> Result<ExitCode> {
    match image {
        Image::Qemu { output, kernel, modules, config, executable } => {
            let kernel = match kernel {
                Some(path) => KernelSource::File { path, modules },
                None => KernelSource::Locked { lock: Lock::parse(BUILT_IN)?, cache: cache()? },
            };
            build(&output, kernel, config, executable)
        }
        Image::Disk { output, size, config, force } => make_disk(output, size, config, force),
        Image::Run { image, disk, cable, tap, management, memory, accel, append, print, more } => {
            let cables = cable.iter().map(|text| text.parse());
            let taps = tap.into_iter().map(|device| Ok(Plug::Tap { device }));
            let plugs = cables.chain(taps).collect::<Result<Vec<Plug>, ImageError>>()?;
            let management = management.map(|text| text.parse::<Management>()).transpose()?;
            if management.is_some() && plugs.is_empty() {
                bail!("--management needs a card: --cable or --tap");
            }
            let machine =
                Machine { image, disk, plugs, memory_mib: memory, management, accelerator: accel, append, more };
            run_machine(&machine, print)
        }
        Image::Oci { output, config, executable } => build_archive(&output, config, executable),
        Image::Lock => {
            println!("{}", apt::newest(&cache()?)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn build(
    folder: &Path,
    kernel: KernelSource,
    config: Option<PathBuf>,
    executable: Option<PathBuf>,
) -> Result<ExitCode> {
    if !is_good(config.as_deref()) {
        return Ok(ExitCode::FAILURE);
    }
    let options = ImageOptions { executable: own_unless(executable)?, kernel, config };
    let built = image::build(&options, folder)?;
    let (kernel, initrd) = (mib(built.kernel_bytes), mib(built.initrd_bytes));
    let (folder, whole) = (folder.display(), kernel + initrd);
    println!(
        "{folder}: {whole:.1} MiB (kernel {kernel:.1}, initramfs {initrd:.1}); it needs {LEAST_MEMORY_MIB} MiB of memory; \
         `isthmus image run {folder}` boots it"
    );
    Ok(ExitCode::SUCCESS)
}

fn build_archive(archive: &Path, config: Option<PathBuf>, executable: Option<PathBuf>) -> Result<ExitCode> {
    if !is_good(config.as_deref()) {
        return Ok(ExitCode::FAILURE);
    }
    let bytes = oci::build(&oci::ImageOptions { executable: own_unless(executable)?, config }, archive)?;
    println!("{}: {:.1} MiB", archive.display(), mib(bytes));
    Ok(ExitCode::SUCCESS)
}

fn own_unless(executable: Option<PathBuf>) -> Result<PathBuf> {
    executable.map_or_else(|| std::env::current_exe().context("own executable"), Ok)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn make_disk(path: PathBuf, size_mib: u32, config: Option<PathBuf>, force: bool) -> Result<ExitCode> {
    if !is_good(config.as_deref()) {
        return Ok(ExitCode::FAILURE);
    }
    disk::make(&DiskOptions { path: path.clone(), size_mib, config, force })?;
    println!("{}: {size_mib} MiB", path.display());
    Ok(ExitCode::SUCCESS)
}

/// A configuration that is wrong gets into no image.
fn is_good(config: Option<&Path>) -> bool {
    match config.map(check_file) {
        Some(Err(errors)) => {
            eprintln!("{errors}");
            false
        }
        Some(Ok(_)) | None => true,
    }
}

/// Memory of a machine, in MiB.
fn enough_memory(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(mib) if mib >= LEAST_MEMORY_MIB => Ok(mib),
        Ok(_) => Err(format!("the router and the kernel need at least {LEAST_MEMORY_MIB} MiB")),
        Err(error) => Err(format!("{error}; wanted is a number of MiB, at least {LEAST_MEMORY_MIB}")),
    }
}

fn run_machine(machine: &Machine, print: bool) -> Result<ExitCode> {
    let kernel = machine.image.join(image::KERNEL);
    if !kernel.exists() {
        bail!("{} is no image: {} is missing", machine.image.display(), kernel.display());
    }
    println!("{}", machine.shell_line());
    if print {
        return Ok(ExitCode::SUCCESS);
    }
    // Takes this process's place. Returns only if that fails.
    let error = machine.command().exec();
    Err(ImageError::NoProgram { program: QEMU, package: QEMU_PACKAGE, error }.into())
}

/// Where packages are kept that were fetched once.
pub fn cache() -> Result<PathBuf> {
    let variable = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let folder = user.context("neither XDG_CACHE_HOME nor HOME is set: nowhere to keep the kernel's package")?;
    Ok(folder.join("isthmus"))
}
