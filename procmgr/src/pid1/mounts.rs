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
