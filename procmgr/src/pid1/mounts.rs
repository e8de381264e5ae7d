//! The file systems that every program expects.

use std::fs;

use nix::mount::{MsFlags, mount};

/// What is mounted where: type, folder, options.
const MOUNTS: [(&str, &str, &str); 5] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", "mode=0755"),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
];

/// Mounts all; says which could not be.
pub(super) fn mount_all() -> Result<(), String> {
    let failed: Vec<String> = MOUNTS
        .iter()
        .filter_map(|(kind, folder, options)| {
            let flags = MsFlags::MS_NOSUID;
            let mounted = fs::create_dir_all(folder)
                .and_then(|()| Ok(mount(Some(*kind), *folder, Some(*kind), flags, Some(*options))?));
            mounted.err().map(|error| format!("{folder}: {error}"))
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("cannot mount {}", failed.join(", "))) }
}

/// What `/proc/meminfo` says of the whole memory.
pub(super) fn total_memory_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(total_memory_mib("MemTotal:         103412 kB\nMemFree:  1 kB\n"), Some(100));
        assert_eq!(total_memory_mib("MemFree: 1 kB\n"), None);
        assert_eq!(total_memory_mib("MemTotal: many\n"), None);
    }
}
