//! The collected log: what every process wrote, and what procmgr itself has to say.
//!
//! The last lines stay in memory for `show log`; all go to a file of bounded size in the router's state folder. A full
//! disk is said once and costs lines in the file only.

mod file;

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc::protocol::{Identity, LogLine};

use file::LogFile;

/// Lines kept in memory: some hours of a calm router, at most a few MiB.
const KEPT_LINES: usize = 10_000;

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    own: Identity,
    lines: VecDeque<LogLine>,
    file: Option<LogFile>,
}

impl Log {
    /// A log whose own lines come from `own`, with its file in `folder` if there is one.
    pub(crate) fn new(own: Identity, folder: Option<&Path>) -> Self {
        Self { own, lines: VecDeque::new(), file: folder.map(|folder| LogFile::new(folder.join("log"))) }
    }

    /// Adds what a process wrote.
    pub(crate) fn push(&mut self, who: &Identity, text: String) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = LogLine { time, vr: who.vr_name.clone(), process: who.name.clone(), pid: who.pid, text };
        if let Some(file) = &mut self.file {
            file.push(&line);
        }
        if self.lines.len() >= KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Adds a line of procmgr: something that an operator would ask about.
    pub(crate) fn info(&mut self, text: &str) {
        self.own_line("INFO", text);
    }

    /// Adds a line of procmgr: degraded, will recover.
    pub(crate) fn warn(&mut self, text: &str) {
        self.own_line("WARN", text);
    }

    /// Writes what came since the last call to the file. Called once a turn of the loop.
    pub(crate) fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        if let Some(news) = file.flush() {
            self.warn(&news);
        }
    }

    /// The last `count` lines, oldest first.
    pub(crate) fn last(&self, count: u32) -> Vec<LogLine> {
        let skip = self.lines.len().saturating_sub(count as usize);
        self.lines.iter().skip(skip).cloned().collect()
    }

    fn own_line(&mut self, level: &str, text: &str) {
        let own = self.own.clone();
        self.push(&own, format!("{level} {text}"));
    }
}

/// A line as it stands in the file: RFC 3339 time in UTC, `vr/process[pid]`, text.
fn format_line(line: &LogLine) -> String {
    let vr = line.vr.as_ref().map(|vr| format!("{vr}/")).unwrap_or_default();
    format!("{} {vr}{}[{}]: {}\n", timestamp(line.time), line.process, line.pid, line.text)
}

/// RFC 3339 in UTC with milliseconds, of a time since the Unix epoch.
pub(crate) fn timestamp(time: Duration) -> String {
    let (days, second) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time.subsec_millis())
}

/// Gregorian date of a day since 1970-01-01. Years are counted from March, in eras of 400 years (146,097 days).
fn civil(days: u64) -> (u64, u64, u64) {
    let day = days.saturating_add(719_468);
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

#[cfg(test)]
mod tests {
    use ipc::{Pid, VrId};

    use super::*;

    fn who(vr: Option<&str>, name: &str) -> Identity {
        Identity {
            vr: VrId(1),
            vr_name: vr.map(|v| v.parse().unwrap()),
            pid: Pid(417),
            name: name.parse().unwrap(),
            origin: ipc::protocol::Origin::Supervised,
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_735_689_600, "2025-01-01T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_last_lines_are_kept_in_memory_and_all_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(who(None, "procmgr"), Some(folder.path()));
        for number in 0..KEPT_LINES + 5 {
            log.push(&who(Some("red"), "bgp"), format!("line {number}"));
        }
        log.warn("something");
        log.flush();
        let last = log.last(2);
        assert_eq!(last[0].text, format!("line {}", KEPT_LINES + 4));
        assert_eq!(last[1].text, "WARN something");
        assert_eq!(log.last(u32::MAX).len(), KEPT_LINES);
        let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(text.lines().count(), KEPT_LINES + 6);
        assert!(text.lines().next().unwrap().ends_with("Z red/bgp[417]: line 0"), "{text:.80}");
    }
}
