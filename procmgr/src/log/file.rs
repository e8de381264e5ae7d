//! The log's file: appended to, and set aside as `log.1` when it has grown.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use ipc::protocol::LogLine;

use super::format_line;

/// The file is set aside at this size; with the one set aside, the log takes at most twice as much.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Where lines go.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<(File, u64)>,
    unwritten: Vec<u8>,
    unwritten_lines: u64,
    lost_lines: u64,
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None, unwritten: Vec::new(), unwritten_lines: 0, lost_lines: 0 }
    }

    /// Keeps a line for the next flush.
    pub(super) fn push(&mut self, line: &LogLine) {
        self.unwritten.extend_from_slice(format_line(line).as_bytes());
        self.unwritten_lines += 1;
    }

    /// Writes what was kept. Returns what an operator should hear: that lines are being lost, or no longer are.
    pub(super) fn flush(&mut self) -> Option<String> {
        if self.unwritten.is_empty() {
            return None;
        }
        let written = self.write();
        let lines = std::mem::take(&mut self.unwritten_lines);
        self.unwritten.clear();
        match written {
            Ok(()) if self.lost_lines == 0 => None,
            Ok(()) => {
                let lost = std::mem::take(&mut self.lost_lines);
                Some(format!("{} is written again; it lacks {lost} lines", self.path.display()))
            }
            Err(error) => {
                let first = self.lost_lines == 0;
                self.lost_lines = self.lost_lines.saturating_add(lines);
                self.open = None;
                first.then(|| format!("cannot write {}: {error}; lines stay in memory only", self.path.display()))
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let (mut file, mut length) = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if length >= MAX_BYTES {
            std::fs::rename(&self.path, self.path.with_extension("1"))?;
            (file, length) = self.open()?;
        }
        file.write_all(&self.unwritten)?;
        self.open = Some((file, length.saturating_add(self.unwritten.len() as u64)));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ipc::Pid;

    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine { time: Duration::ZERO, vr: None, process: "stack".parse().unwrap(), pid: Pid(1), text: text.into() }
    }

    #[test]
    fn the_file_is_set_aside_when_it_has_grown() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(folder.path().join("log"));
        let text = "x".repeat(64 * 1024);
        for _ in 0..200 {
            file.push(&line(&text));
            assert_eq!(file.flush(), None);
        }
        let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("log") < MAX_BYTES + 70_000 && size("log.1") < MAX_BYTES + 70_000);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_said_once_and_once_when_it_is_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/log");
        let mut file = LogFile::new(path.clone());
        file.push(&line("one"));
        assert!(file.flush().unwrap().contains("cannot write"));
        file.push(&line("two"));
        assert_eq!(file.flush(), None);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        file.push(&line("three"));
        assert!(file.flush().unwrap().ends_with("it lacks 2 lines"));
        assert!(std::fs::read_to_string(path).unwrap().ends_with("stack[1]: three\n"));
    }
}
