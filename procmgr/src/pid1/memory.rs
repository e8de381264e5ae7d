//! The machine's memory: what there is at the start, and whether it ran out since.

use std::fs;

use super::Report;

/// A router's processes fit into so much memory, in MiB, beside the kernel and the files of the image.
const NEEDED_MIB: u64 = 28;

/// Tells what there is, and what is missing.
pub(super) fn tell(report: &Report) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (Some(total), Some(available)) = (mib(&meminfo, "MemTotal:"), mib(&meminfo, "MemAvailable:")) else { return };
    report.line(&format!("memory: {available} of {total} MiB available"));
    if let Some(missing) = NEEDED_MIB.checked_sub(available).filter(|missing| *missing > 0) {
        report.line(&format!(
            "too little memory: the router needs {NEEDED_MIB} MiB of it, and may lose processes; give this machine at \
             least {missing} MiB more"
        ));
    }
}

/// Whether processes end because there is no memory for them.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// How many the kernel has killed for that reason, when last asked.
    kills: u64,
}

impl Shortage {
    /// What to say of a process that just ended, if that was why.
    pub(crate) fn news(&mut self) -> Option<String> {
        let kills = fs::read_to_string("/proc/vmstat").ok().as_deref().and_then(kills)?;
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        (std::mem::replace(&mut self.kills, kills) < kills).then(|| {
            let total = mib(&meminfo, "MemTotal:").map(|total| format!(", which has {total} MiB")).unwrap_or_default();
            format!("out of memory: give this machine{total}, more")
        })
    }
}

/// A line of `/proc/meminfo`.
fn mib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// Of `/proc/vmstat`.
fn kills(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let meminfo = "MemTotal:         103412 kB\nMemFree:  1 kB\nMemAvailable:  2048 kB\n";
        assert_eq!((mib(meminfo, "MemTotal:"), mib(meminfo, "MemAvailable:")), (Some(100), Some(2)));
        assert_eq!(mib("MemFree: 1 kB\n", "MemTotal:"), None);
        assert_eq!(mib("MemTotal: many\n", "MemTotal:"), None);
        assert_eq!(kills("oom_kill_x 1\noom_kill 3\n"), Some(3));
    }
}
