//! A `tar` whose bytes follow from its content alone.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// An archive that grows.
pub(crate) struct Tar {
    builder: Builder<Vec<u8>>,
    folders: BTreeSet<String>,
}

impl Default for Tar {
    fn default() -> Self {
        Self { builder: Builder::new(Vec::new()), folders: BTreeSet::new() }
    }
}

impl Tar {
    /// Adds a folder of a user, and those above it, of root.
    pub(crate) fn folder(&mut self, path: &str, mode: u32, user: u64) -> io::Result<()> {
        self.parents(path)?;
        if self.folders.insert(path.to_owned()) {
            self.append(&format!("{path}/"), EntryType::Directory, mode, user, &[])?;
        }
        Ok(())
    }

    /// Adds a file of root, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        self.append(path, EntryType::Regular, mode, 0, bytes)
    }

    /// The whole.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        self.builder.into_inner()
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match Path::new(path).parent().and_then(Path::to_str).filter(|parent| !parent.is_empty()) {
            Some(parent) => self.folder(parent, 0o755, 0),
            None => Ok(()),
        }
    }

    fn append(&mut self, path: &str, kind: EntryType, mode: u32, user: u64, bytes: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(user);
        header.set_gid(user);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        self.builder.append_data(&mut header, path, bytes)
    }
}

/// In the form of gzip, without a time.
pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}
