//! Fetching the kernel's package with apt, which verifies who signed it; the lock says which one it must be.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

use crate::ImageError;
use crate::lock::Lock;

/// What depends on the newest kernel for virtual machines.
const NEWEST: &str = "linux-image-cloud-amd64";

/// The locked package, fetched once and kept in `cache`.
pub fn fetch(lock: &Lock, cache: &Path) -> Result<PathBuf, ImageError> {
    let kept = cache.join(format!("{}_{}.deb", lock.package, lock.sha256));
    if kept.exists() {
        verify(&kept, lock)?;
        return Ok(kept);
    }
    fs::create_dir_all(cache).map_err(ImageError::of(cache))?;
    let folder = tempfile::tempdir_in(cache).map_err(ImageError::of(cache))?;
    let package =
        download(folder.path(), &format!("{}={}", lock.package, lock.version)).map_err(|error| match error {
            ImageError::Failed { said, .. } => {
                ImageError::NotOffered { package: lock.package.clone(), version: lock.version.clone(), said }
            }
            error => error,
        })?;
    verify(&package, lock)?;
    fs::rename(&package, &kept).map_err(ImageError::of(&kept))?;
    Ok(kept)
}

/// The newest kernel that apt offers, and its lock.
pub fn newest(cache: &Path) -> Result<Lock, ImageError> {
    let depends = apt("apt-cache", Path::new("/"), ["depends", "--important", NEWEST])?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).unwrap_or(NEWEST).to_owned();
    fs::create_dir_all(cache).map_err(ImageError::of(cache))?;
    let folder = tempfile::tempdir_in(cache).map_err(ImageError::of(cache))?;
    let file = download(folder.path(), &package)?;
    let sha256 = hash(&file)?;
    // `NAME_VERSION_ARCHITECTURE.deb`, with `:` written as `%3a`.
    let name = file.file_name().unwrap_or_default().to_string_lossy().replace("%3a", ":");
    let version = name.split('_').nth(1).unwrap_or_default().to_owned();
    let kept = cache.join(format!("{package}_{sha256}.deb"));
    fs::rename(&file, &kept).map_err(ImageError::of(&kept))?;
    Ok(Lock { package, version, sha256 })
}

fn download(folder: &Path, what: &str) -> Result<PathBuf, ImageError> {
    apt("apt-get", folder, ["-q", "download", what])?;
    let mut files = fs::read_dir(folder).map_err(ImageError::of(folder))?.flatten().map(|entry| entry.path());
    let package = files.find(|path| path.extension() == Some(OsStr::new("deb")));
    package.ok_or_else(|| ImageError::Failed { program: "apt-get", said: "it brought no file".to_owned() })
}

fn apt<const N: usize>(program: &'static str, folder: &Path, args: [&str; N]) -> Result<String, ImageError> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).stdin(Stdio::null()).env("LC_ALL", "C");
    let output = command.output().map_err(|error| ImageError::NoProgram { program, package: "apt", error })?;
    said(program, &output)
}

/// What a program wrote, or the last line of its complaint.
pub(crate) fn said(program: &'static str, output: &Output) -> Result<String, ImageError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it does not say why");
    Err(ImageError::Failed { program, said: last.to_owned() })
}

fn verify(package: &Path, lock: &Lock) -> Result<(), ImageError> {
    let found = hash(package)?;
    if found == lock.sha256 {
        return Ok(());
    }
    Err(ImageError::Hash { path: package.to_owned(), wanted: lock.sha256.clone(), found })
}

fn hash(file: &Path) -> Result<String, ImageError> {
    let bytes = fs::read(file).map_err(ImageError::of(file))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_not_the_locked_one_is_refused_with_both_hashes() {
        let cache = tempfile::tempdir().unwrap();
        let wanted = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let lock = Lock { package: "linux".into(), version: "1".into(), sha256: wanted.into() };
        let kept = cache.path().join(format!("linux_{wanted}.deb"));
        fs::write(&kept, "").unwrap();
        assert_eq!(fetch(&lock, cache.path()).unwrap(), kept, "the hash of nothing");
        fs::write(&kept, "abc").unwrap();
        let error = fetch(&lock, cache.path()).unwrap_err().to_string();
        assert!(error.contains("its SHA-256 is ba7816bf") && error.ends_with(wanted), "{error}");
    }
}
