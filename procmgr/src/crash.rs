//! Crash records: why something of the router ended that should not have, in a file of its own each, for who looks later.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Folder of crash records, in the router's state folder.
const FOLDER: &str = "crash";
/// The newest that are kept: a process that dies again and again must not fill the disk.
const KEPT: usize = 32;

/// Writes a record about `who`, and removes those that are too old. Returns its path.
pub fn record(state_folder: &Path, who: &str, why: &str) -> io::Result<PathBuf> {
    let folder = state_folder.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let words = who.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let path = free_path(&folder, now, &words.collect::<Vec<_>>().join("-"));
    let text = format!("{} {who}\n{}\n", crate::log::timestamp(now), why.trim_end());
    let mut file = File::create_new(&path)?;
    file.write_all(text.as_bytes())?;
    // What ended it may end the machine next.
    file.sync_all()?;
    forget_old(&folder)?;
    Ok(path)
}

/// `SECONDS-WHO.txt`, or with a number behind: several may die in one second.
fn free_path(folder: &Path, now: Duration, who: &str) -> PathBuf {
    let name = format!("{:010}-{who}", now.as_secs());
    let numbered = (1_u32..).map(|number| folder.join(format!("{name}.{number}.txt")));
    let mut candidates = std::iter::once(folder.join(format!("{name}.txt"))).chain(numbered);
    // There is always one: no folder has 2^32 files.
    candidates.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name))
}

/// Names begin with the time, so the oldest come first.
fn forget_old(folder: &Path) -> io::Result<()> {
    let mut records: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    records.sort();
    let too_many = records.len().saturating_sub(KEPT);
    records.iter().take(too_many).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_who_ended_and_why_and_the_oldest_go() {
        let state = tempfile::tempdir().unwrap();
        let first = record(state.path(), "red/bgp (PID 7)", "killed by SIGABRT\n\n").unwrap();
        assert!(first.to_str().unwrap().ends_with("-red-bgp-PID-7.txt"), "{first:?}");
        let text = fs::read_to_string(&first).unwrap();
        assert!(text.ends_with("Z red/bgp (PID 7)\nkilled by SIGABRT\n"), "{text}");
        // Of long ago.
        fs::rename(&first, first.with_file_name("0000000001-old.txt")).unwrap();
        for _ in 0..KEPT {
            record(state.path(), "x", "why").unwrap();
        }
        let folder = state.path().join(FOLDER);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), KEPT);
        assert!(!folder.join("0000000001-old.txt").exists());
    }
}
