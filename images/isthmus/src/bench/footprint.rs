//! What a process and the kernel keep for connections.

use std::fs;
use std::ops::AddAssign;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What one process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Footprint {
    /// Its memory in bytes; of a page that it shares with other processes, its share.
    pub memory: u64,
    /// Its page tables in bytes.
    pub page_tables: u64,
    /// Its open descriptors.
    pub descriptors: u64,
}

impl AddAssign for Footprint {
    fn add_assign(&mut self, other: Self) {
        self.memory += other.memory;
        self.page_tables += other.page_tables;
        self.descriptors += other.descriptors;
    }
}

impl Footprint {
    /// Memory of another process in bytes.
    pub fn memory_of(pid: u32) -> Result<u64> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).context(path)?;
        kibibytes(&text, "Pss:").context("no Pss in smaps_rollup")
    }

    /// Of this process.
    pub fn own() -> Result<Self> {
        let read = |path: &'static str| fs::read_to_string(path).context(path);
        Ok(Self {
            memory: kibibytes(&read("/proc/self/smaps_rollup")?, "Pss:").context("no Pss in smaps_rollup")?,
            page_tables: kibibytes(&read("/proc/self/status")?, "VmPTE:").context("no VmPTE in status")?,
            descriptors: fs::read_dir("/proc/self/fd").context("/proc/self/fd")?.count() as u64,
        })
    }
}

/// Bytes of the kernel's objects of all kinds, such as files, sockets and mappings, in the whole system.
pub fn kernel_objects() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    kibibytes(&text, "Slab:").context("no Slab in /proc/meminfo")
}

/// The bytes on the line that starts with `name`, as proc_pid_status(5) and proc_meminfo(5) have it.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read() {
        let text = "Name:\tisthmus\nVmPTE:\t      52 kB\nThreads:\t1\n";
        assert_eq!(kibibytes(text, "VmPTE:"), Some(52 * 1024));
        assert_eq!(kibibytes(text, "Threads:"), None);
        assert_eq!(kibibytes(text, "Pss:"), None);
    }

    #[test]
    fn what_a_process_opens_and_touches_shows() {
        let before = Footprint::own().unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        let pages = vec![1_u8; 64 << 20];
        let after = Footprint::own().unwrap();
        assert!(after.memory >= before.memory + (pages.len() as u64) / 2, "{before:?} {after:?}");
        assert!(after.descriptors >= 4 && kernel_objects().unwrap() > 0);
        drop(file);
    }
}
