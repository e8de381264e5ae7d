//! The initramfs: a compressed `cpio` whose bytes follow from its content alone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cpio::newc::{Builder, trailer};

/// Types of files (inode(7)).
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
/// The console's device (Documentation/admin-guide/devices.txt): the kernel opens it for its first process.
const CONSOLE: (u32, u32) = (5, 1);
/// A compression that takes some seconds for the whole and that the kernel undoes in a fraction of one.
const LEVEL: i32 = 18;
/// How far back it refers, as a power of two. While the kernel unpacks it holds so much in memory beside what is unpacked
/// already: a window four times as large would save 4 % of the image, and small machines would not boot.
const WINDOW_LOG: u32 = 21;

enum Node {
    Folder,
    File { mode: u32, bytes: Vec<u8> },
    Console,
}

/// Files to pack.
#[derive(Default)]
pub struct Initramfs {
    /// Sorted, so that a folder comes before what is in it.
    nodes: BTreeMap<PathBuf, Node>,
}

impl Initramfs {
    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &Path) {
        // The root itself is there.
        for folder in path.ancestors().filter(|folder| folder.parent().is_some()) {
            self.nodes.entry(folder.to_owned()).or_insert(Node::Folder);
        }
    }

    /// Adds a file, and the folders above it.
    pub fn file(&mut self, path: &Path, mode: u32, bytes: Vec<u8>) {
        self.node(path, Node::File { mode, bytes });
    }

    /// Adds `/dev/console`.
    pub fn console(&mut self) {
        self.node(Path::new("/dev/console"), Node::Console);
    }

    fn node(&mut self, path: &Path, node: Node) {
        self.folder(path.parent().unwrap_or(Path::new("/")));
        self.nodes.insert(path.to_owned(), node);
    }

    /// Size of all files' contents.
    pub fn bytes(&self) -> u64 {
        let size = |node: &Node| match node {
            Node::File { bytes, .. } => bytes.len() as u64,
            Node::Folder | Node::Console => 0,
        };
        self.nodes.values().map(size).sum()
    }

    /// Packs everything: no times, no owners but root, numbers in the order of names.
    pub fn pack(&self) -> io::Result<Vec<u8>> {
        let mut packed = zstd::Encoder::new(Vec::new(), LEVEL)?;
        packed.window_log(WINDOW_LOG)?;
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            let name = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
            let entry = Builder::new(&name).ino(number).nlink(1);
            let (entry, bytes) = match node {
                Node::Folder => (entry.mode(FOLDER | 0o755), &[][..]),
                Node::File { mode, bytes } => (entry.mode(FILE | mode), bytes.as_slice()),
                Node::Console => {
                    let device = entry.rdev_major(CONSOLE.0).rdev_minor(CONSOLE.1);
                    (device.mode(CHARACTER_DEVICE | 0o600), &[][..])
                }
            };
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            let mut writer = entry.write(&mut packed, length);
            writer.write_all(bytes)?;
            writer.finish()?;
        }
        trailer(&mut packed)?;
        packed.finish()
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn sample(reversed: bool) -> Initramfs {
        let mut files = Initramfs::default();
        let mut names = ["/init", "/lib/a/x", "/lib/b"];
        if reversed {
            names.reverse();
        }
        for name in names {
            files.file(Path::new(name), 0o755, name.as_bytes().to_vec());
        }
        files.console();
        files
    }

    #[test]
    fn the_same_content_makes_the_same_bytes() {
        let packed = sample(false).pack().unwrap();
        assert_eq!(packed, sample(true).pack().unwrap());
        let mut other = sample(false);
        other.file(Path::new("/init"), 0o755, b"other".to_vec());
        assert_ne!(packed, other.pack().unwrap());
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_the_console_is_a_device() {
        let bytes = zstd::decode_all(&sample(false).pack().unwrap()[..]).unwrap();
        let mut reader = io::Cursor::new(bytes);
        let mut seen = Vec::new();
        loop {
            let entry = cpio::NewcReader::new(&mut reader).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            let head = entry.entry();
            seen.push((head.name().to_owned(), head.mode(), (head.rdev_major(), head.rdev_minor())));
            entry.finish().unwrap();
        }
        let names: Vec<_> = seen.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["dev", "dev/console", "init", "lib", "lib/a", "lib/a/x", "lib/b"]);
        assert_eq!(seen[1], ("dev/console".to_owned(), 0o020_600, CONSOLE));
        assert_eq!((seen[0].1, seen[2].1), (0o040_755, 0o100_755));
    }
}
