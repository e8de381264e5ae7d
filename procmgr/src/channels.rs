//! Which channels stand, as the kernel sees it: procmgr keeps no end of any.
//!
//! A channel's memory is a memfd that bears the pathname as its name; whoever has it mapped holds an end. The kernel
//! shows both in `/proc/PID/smaps`.

use std::collections::BTreeMap;
use std::fs;

use ipc::Pathname;
use ipc::protocol::{ChannelRow, Identity};

/// A channel as one process maps it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    inode: u64,
    pathname: Pathname,
    /// Pages of it that this process has touched, in bytes.
    resident_bytes: u64,
}

/// All channels of these processes. Asked by people only: it looks at every mapping of every process.
pub(crate) fn scan<'a>(processes: impl Iterator<Item = &'a Identity>) -> Vec<ChannelRow> {
    let mut channels: BTreeMap<u64, ChannelRow> = BTreeMap::new();
    for identity in processes {
        // A process that has just ended holds nothing.
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", identity.pid)).unwrap_or_default();
        for Mapping { inode, pathname, resident_bytes } in mappings(&smaps) {
            let new = || ChannelRow { pathname, holders: Vec::new(), memory_bytes: 0 };
            let row = channels.entry(inode).or_insert_with(new);
            // Both sides touch the same pages.
            row.memory_bytes = row.memory_bytes.max(resident_bytes);
            if row.holders.last() != Some(identity) {
                row.holders.push(identity.clone());
            }
        }
    }
    let mut rows: Vec<ChannelRow> = channels.into_values().collect();
    rows.sort_by(|a, b| a.pathname.cmp(&b.pathname));
    rows
}

/// Channels in the text of `/proc/PID/smaps`, proc_pid_smaps(5).
fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    let mut in_channel = false;
    for line in smaps.lines() {
        if let Some(resident) = line.strip_prefix("Rss:") {
            let kibibytes: Option<u64> = resident.trim().strip_suffix(" kB").and_then(|number| number.parse().ok());
            if let (true, Some(mapping), Some(kibibytes)) = (in_channel, found.last_mut(), kibibytes) {
                mapping.resident_bytes = kibibytes.saturating_mul(1024);
            }
        } else if line.starts_with(|c: char| c.is_ascii_digit() || ('a'..='f').contains(&c)) {
            // A mapping's first line starts with its address, the others with a capital.
            let mapping = channel_of(line);
            in_channel = mapping.is_some();
            found.extend(mapping);
        }
    }
    found
}

/// `7f00-7f10 rw-s 00000000 00:01 1234    /memfd:/2/rib (deleted)`
fn channel_of(line: &str) -> Option<Mapping> {
    let (numbers, name) = line.split_once("/memfd:")?;
    let pathname = name.strip_suffix(" (deleted)")?.parse().ok()?;
    let inode = numbers.split_whitespace().nth(4)?.parse().ok()?;
    Some(Mapping { inode, pathname, resident_bytes: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f1c5ee00000-7f1c5fe00000 rw-s 00000000 00:01 4711                       /memfd:/2/417/ipv4/tcp/179 (deleted)
Size:              16384 kB
KernelPageSize:        4 kB
Rss:                  12 kB
VmFlags: rd wr sh mr mw me ms sd
7f1c60000000-7f1c60001000 rw-s 00000000 00:01 4712                       /memfd:wayland (deleted)
Rss:                   4 kB
7f1c70000000-7f1c70001000 rw-s 00000000 00:01 4713                       /memfd:/2/rib (deleted)
Rss:                   8 kB
a0000000-a0001000 r-xp 00000000 fe:00 99                                 /usr/bin/isthmus
Rss:                  64 kB
";

    #[test]
    fn only_memory_named_by_a_pathname_is_a_channel() {
        let mapping = |inode, pathname: &str, resident_bytes| Mapping {
            inode,
            pathname: pathname.parse().unwrap(),
            resident_bytes,
        };
        let expected = [mapping(4711, "/2/417/ipv4/tcp/179", 12 * 1024), mapping(4713, "/2/rib", 8 * 1024)];
        assert_eq!(mappings(SMAPS), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "([0-9a-f]{1,4} |/memfd:|/2/rib| \\(deleted\\)|Rss:|9 kB|\n){0,40}") {
            mappings(&text);
        }
    }
}
