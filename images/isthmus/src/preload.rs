//! `isthmus run --preload`: a program that does not know Isthmus, with its socket calls on ours.
//!
//! The dynamic loader puts a library in front of the program's libc (`LD_PRELOAD`). It can do so for a program that it
//! loads and trusts; for others it would say nothing and the program would be on the host's network, so they are refused.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use ipc::VrName;

use crate::paths::Places;
use crate::program;

/// The library's file name, as cargo makes it.
const LIBRARY: &str = "libisthmus_preload.so";
/// How the library finds the router and its VR.
const SOCKET_ENV: &str = "ISTHMUS_PRELOAD_SOCKET";
const VR_ENV: &str = "ISTHMUS_PRELOAD_VR";
/// Symbolic links and scripts that are followed to the program that is loaded in the end.
const MOST_STEPS: usize = 8;

/// Becomes the program. Returns only if that fails.
pub fn run(places: &Places, vr: &VrName, program: &[OsString]) -> Result<ExitCode> {
    let [program, args @ ..] = program else { bail!("no program") };
    let library = library()?;
    let path = find(program)?;
    check(&path, MOST_STEPS)?;
    // Whether there is such a router, and such a VR in it: the program itself attaches when it makes its first socket.
    program::attach(places, vr, &path)?;
    let mut preload = library.into_os_string();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let socket = std::path::absolute(places.control_socket())?;
    let mut command = Command::new(&path);
    command.arg0(program).args(args).env("LD_PRELOAD", preload).env(SOCKET_ENV, socket).env(VR_ENV, vr.as_str());
    Err(anyhow!(command.exec())).with_context(|| format!("{}", path.display()))
}

/// The library: beside the executable, or in `../lib`.
fn library() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("this executable")?;
    let folder = executable.parent().unwrap_or(Path::new("/"));
    let places = [folder.join(LIBRARY), folder.join("../lib").join(LIBRARY)];
    match places.iter().find(|place| place.is_file()) {
        Some(place) => place.canonicalize().with_context(|| place.display().to_string()),
        None => bail!("{LIBRARY} is neither in {} nor in ../lib beside it", folder.display()),
    }
}

/// The program's file, as a shell finds it.
fn find(program: &OsStr) -> Result<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Ok(PathBuf::from(program));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_program = |path: &PathBuf| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let found = std::env::split_paths(&folders).map(|folder| folder.join(program)).find(is_program);
    found.with_context(|| format!("{}: no such program in PATH", Path::new(program).display()))
}

/// Refuses what the loader would not put the library in front of.
fn check(path: &Path, steps: usize) -> Result<()> {
    let shown = path.display();
    let file = fs::read(path).with_context(|| shown.to_string())?;
    if let Some(line) = file.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let interpreter = String::from_utf8_lossy(line);
        let interpreter = interpreter.split_whitespace().next().unwrap_or_default();
        return match steps {
            0 => bail!("{shown}: too many interpreters, one behind the other"),
            steps => check(Path::new(interpreter), steps - 1),
        };
    }
    if fs::metadata(path)?.permissions().mode() & 0o6000 != 0 {
        bail!(
            "{shown} is setuid or setgid: the loader preloads nothing into such a program; run a copy without these bits"
        );
    }
    match loading(&file) {
        Some(Loading::Dynamic) => Ok(()),
        Some(Loading::Static) => {
            bail!("{shown} is linked statically: no loader can put a library in front of its libc")
        }
        Some(Loading::OtherMachine) => bail!("{shown} is for another machine than this executable"),
        None => bail!("{shown} is not a program"),
    }
}

/// How a program is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loading {
    /// By a loader that it names (PT_INTERP).
    Dynamic,
    /// By the kernel alone.
    Static,
    /// Not by this machine, or with pointers of another size.
    OtherMachine,
}

/// Reads an ELF header and the program headers behind it; `None`: it is none.
fn loading(file: &[u8]) -> Option<Loading> {
    const PT_INTERP: u32 = 3;
    let own = fs::read("/proc/self/exe").ok();
    let header = file.get(..64).filter(|header| header.starts_with(b"\x7fELF"))?;
    // Class, byte order and machine must be those of this executable.
    if let Some(own) = own.as_deref().and_then(|own| own.get(..64))
        && (header[4..6] != own[4..6] || header[18..20] != own[18..20])
    {
        return Some(Loading::OtherMachine);
    }
    let number = |at: usize, bytes: usize| {
        let mut whole = [0; 8];
        whole.get_mut(..bytes)?.copy_from_slice(file.get(at..at.checked_add(bytes)?)?);
        usize::try_from(u64::from_le_bytes(whole)).ok()
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for entry in 0..count {
        if number(table.checked_add(entry * size)?, 4)? == PT_INTERP as usize {
            return Some(Loading::Dynamic);
        }
    }
    Some(Loading::Static)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_loader_loads_is_taken() {
        let this = fs::read("/proc/self/exe").unwrap();
        assert_eq!(loading(&this), Some(Loading::Dynamic));
        let mut without_loader = this.clone();
        // No program headers.
        without_loader[56..58].fill(0);
        assert_eq!(loading(&without_loader), Some(Loading::Static));
        let mut foreign = this.clone();
        foreign[18] ^= 0xff;
        assert_eq!(loading(&foreign), Some(Loading::OtherMachine));
        let mut beyond_the_end = this;
        beyond_the_end[32..40].fill(0xff);
        assert_eq!(loading(&beyond_the_end), None);
        assert_eq!(loading(b"\x7fELF"), None);
        assert_eq!(loading(b"text"), None);
    }
}
