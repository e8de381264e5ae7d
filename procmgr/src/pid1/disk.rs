//! The disk for what is to be there after the next start: the first virtio disk whose file system bears the label.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::statvfs::statvfs;

/// Label of the file system.
const LABEL: &str = "isthmus";
/// Its superblock begins here, and in it the magic number and the label (fs/ext4/ext4.h).
const SUPERBLOCK: u64 = 1024;
const MAGIC_AT: usize = 0x38;
const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();
const LABEL_AT: usize = 0x78;
const LABEL_BYTES: usize = 16;
/// A disk with less room, in KiB, is said to be full: a log file takes more.
const LITTLE_KIB: u64 = 1024;

/// What is kept over a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// There is no disk: everything is in memory.
    Absent,
    /// There is one that cannot be used: everything is in memory.
    Unusable {
        /// Which, and why.
        reason: String,
    },
    /// Mounted.
    Mounted {
        /// Name of the disk.
        device: String,
        /// Where.
        folder: PathBuf,
        /// Room that is left, in KiB.
        free_kib: u64,
    },
}

impl Disk {
    /// Where files may be kept.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Disk::Mounted { folder, .. } => Some(folder),
            Disk::Absent | Disk::Unusable { .. } => None,
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disk::Absent => write!(f, "no disk: running from memory, nothing is kept over a start"),
            Disk::Unusable { reason } => write!(f, "{reason}: running from memory, nothing is kept over a start"),
            Disk::Mounted { device, free_kib, .. } if *free_kib < LITTLE_KIB => {
                write!(f, "disk {device} is full ({free_kib} KiB free): the configuration and the log may not be kept")
            }
            Disk::Mounted { device, free_kib, .. } => write!(f, "disk {device}: {} MiB free", free_kib / 1024),
        }
    }
}

/// Finds the disk and mounts it.
pub(super) fn mount(folder: &Path) -> Disk {
    let mut names: Vec<String> = fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("vd"))
        .collect();
    names.sort();
    let labels: Vec<(String, io::Result<bool>)> = names
        .into_iter()
        .map(|name| {
            let ours = File::open(Path::new("/dev").join(&name)).and_then(|mut device| is_ours(&mut device));
            (name, ours)
        })
        .collect();
    let Some((device, _)) = labels.iter().find(|(_, ours)| matches!(ours, Ok(true))) else {
        return match labels.first() {
            None => Disk::Absent,
            Some((name, Err(error))) => Disk::Unusable { reason: format!("disk {name} cannot be read: {error}") },
            Some((name, Ok(_))) => {
                let reason = format!(
                    "disk {name} has no ext4 file system with the label {LABEL} (`isthmus image disk` makes one)"
                );
                Disk::Unusable { reason }
            }
        };
    };
    mount_device(device, folder)
}

fn mount_device(device: &str, folder: &Path) -> Disk {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    let path = Path::new("/dev").join(device);
    let options = "errors=remount-ro";
    let mounted = fs::create_dir_all(folder)
        .and_then(|()| Ok(nix::mount::mount(Some(&path), folder, Some("ext4"), flags, Some(options))?));
    if let Err(error) = mounted {
        let repair = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EUCLEAN | Errno::EINVAL | Errno::EIO) => " (damaged? `e2fsck -f` on the host repairs)",
            Some(_) | None => "",
        };
        return Disk::Unusable { reason: format!("disk {device} cannot be mounted: {error}{repair}") };
    }
    let free_kib =
        statvfs(folder).map_or(0, |found| found.blocks_available().saturating_mul(found.fragment_size()) / 1024);
    Disk::Mounted { device: device.to_owned(), folder: folder.to_owned(), free_kib }
}

fn is_ours(device: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut block = [0; LABEL_AT + LABEL_BYTES];
    device.seek(SeekFrom::Start(SUPERBLOCK))?;
    match device.read_exact(&mut block) {
        // Too small to hold any file system.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        result => result?,
    }
    let label = block[LABEL_AT..].split(|byte| *byte == 0).next();
    Ok(block[MAGIC_AT..].starts_with(&MAGIC) && label == Some(LABEL.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn disk(magic: [u8; 2], label: &str) -> Cursor<Vec<u8>> {
        let mut bytes = vec![0; 4096];
        let start = SUPERBLOCK as usize;
        bytes[start + MAGIC_AT..][..2].copy_from_slice(&magic);
        bytes[start + LABEL_AT..][..label.len()].copy_from_slice(label.as_bytes());
        Cursor::new(bytes)
    }

    #[test]
    fn a_disk_is_known_by_its_label() {
        assert!(is_ours(&mut disk(MAGIC, "isthmus")).unwrap());
        assert!(!is_ours(&mut disk(MAGIC, "isthmus2")).unwrap());
        assert!(!is_ours(&mut disk([0, 0], "isthmus")).unwrap());
        assert!(!is_ours(&mut Cursor::new(vec![0; 1100])).unwrap());
    }

    #[test]
    fn what_is_not_kept_is_said() {
        let mounted = |free_kib| Disk::Mounted { device: "vda".into(), folder: "/x".into(), free_kib };
        assert_eq!(mounted(60 * 1024).to_string(), "disk vda: 60 MiB free");
        assert!(mounted(3).to_string().starts_with("disk vda is full (3 KiB free)"));
        assert!(Disk::Absent.to_string().contains("nothing is kept"));
    }
}
