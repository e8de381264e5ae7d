//! Random numbers: what the last run left is mixed in, and nobody starts before the kernel's generator is ready.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// File on the disk.
pub(super) const SEED: &str = "random-seed";
/// Bytes in it: what the kernel's generator holds, twice.
const SEED_BYTES: usize = 64;

/// Mixes in the seed, waits until the kernel's generator is ready, and writes another seed for the next start: none is
/// ever used twice.
pub(super) fn seed(folder: Option<&Path>) -> Result<String, String> {
    let seed = folder.and_then(|folder| fs::read(folder.join(SEED)).ok());
    let mixed = seed.map(|seed| OpenOptions::new().write(true).open("/dev/urandom")?.write_all(&seed));
    // Blocks until the generator is ready; the kernel then feeds it from the jitter of its timer (random(4)).
    let mut byte = [0];
    let ready = File::open("/dev/random").and_then(|mut random| random.read_exact(&mut byte));
    ready.map_err(|error| format!("no random numbers: /dev/random: {error}"))?;
    if let Some(folder) = folder {
        save(folder).map_err(|error| format!("random numbers are ready, no seed is kept: {error}"))?;
    }
    Ok(match mixed {
        Some(Ok(())) => "random numbers are ready, seeded by the disk".to_owned(),
        Some(Err(error)) => format!("random numbers are ready; the disk's seed was not taken: {error}"),
        None => "random numbers are ready".to_owned(),
    })
}

/// Writes a seed for the next start.
pub(super) fn save(folder: &Path) -> io::Result<()> {
    let mut seed = [0; SEED_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let new = folder.join("random-seed.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&seed)?;
    file.sync_all()?;
    fs::rename(&new, folder.join(SEED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_never_used_twice() {
        let folder = tempfile::tempdir().unwrap();
        let read = || fs::read(folder.path().join(SEED)).unwrap();
        save(folder.path()).unwrap();
        let first = read();
        save(folder.path()).unwrap();
        assert_eq!((first.len(), fs::read_dir(folder.path()).unwrap().count()), (SEED_BYTES, 1));
        assert_ne!(first, read());
    }
}
