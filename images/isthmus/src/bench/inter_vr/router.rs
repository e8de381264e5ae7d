//! The router that the benchmark starts for itself: two VRs, joined by `connect` and by a cable.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::own_router::{Kept, OwnRouter};

/// Its name, and that of its folder below the benchmark's.
const NAME: &str = "bench";

/// Where the endpoint in VR b listens, as the endpoint in VR a reaches it over the channel.
pub const OVER_THE_CHANNEL: &str = "10.0.0.1:7000";

/// The same for a second one beside it.
pub const OVER_THE_CHANNEL_TOO: &str = "10.0.0.1:7002";

/// And over the cable: each end of it is in a subnet of its own, so that the best route decides the path.
pub const OVER_THE_CABLE: &str = "10.1.0.1:7001";

const CONFIGURATION: &str = concat!(
    include_str!("../cable.conf"),
    "\
hostname bench
vr a
 assign port 0/0/0
!
vr b
 assign port 0/0/1
!
connect a b
!
vr a
 interface b
  ipv4 address 10.0.0.0/31
 !
 interface Port0/0/0
  ipv4 address 10.1.0.0/31
 !
!
vr b
 interface a
  ipv4 address 10.0.0.1/31
 !
 interface Port0/0/1
  ipv4 address 10.1.0.1/31
 !
!
"
);

/// The running router.
#[derive(Debug)]
pub struct Router {
    own: OwnRouter,
    /// Process ID of the stack.
    stack: u64,
}

impl Router {
    /// Starts it with all its files in `folder`, and waits until it is up.
    pub fn start(folder: &Path) -> Result<Self> {
        let own = OwnRouter::start(folder, NAME, CONFIGURATION, Kept::Nothing)?;
        let processes = own.sh("show processes")?;
        let stack = stack_pid(&processes).with_context(|| format!("no stack in {processes}"))?;
        Ok(Self { own, stack })
    }

    /// Where processes attach.
    pub fn control_socket(&self) -> PathBuf {
        self.own.control_socket()
    }

    /// Packets that the stack has received and sent so far, over all VRs: what an operator is shown.
    pub fn packets(&self) -> Result<u64> {
        let table = self.own.sh("show stack counters")?;
        total_packets(&table).with_context(|| format!("no total in {table}"))
    }

    /// Processor time that the stack's process has used so far, to the nanosecond: the first number of schedstat, of
    /// each thread.
    pub fn stack_cpu_seconds(&self) -> Result<f64> {
        let tasks = format!("/proc/{}/task", self.stack);
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(&tasks).with_context(|| tasks.clone())? {
            let path = task?.path().join("schedstat");
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let number = text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
            nanoseconds += number.with_context(|| format!("{}: {text:?}", path.display()))?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }
}

/// Packets in the row of totals, whose VR is null.
fn total_packets(table: &Value) -> Option<u64> {
    let total = table.as_array()?.iter().find(|row| row.get("vr").is_some_and(Value::is_null))?;
    let count = |key: &str| total.get(key)?.as_u64();
    count("packets_received")?.checked_add(count("packets_sent")?)
}

/// Process ID of the router's own process `stack`.
fn stack_pid(table: &Value) -> Option<u64> {
    let is_stack = |row: &&Value| row.get("vr").is_some_and(Value::is_null) && row.get("name") == Some(&"stack".into());
    table.as_array()?.iter().find(is_stack)?.get("pid")?.as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_configuration_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bench.conf");
        std::fs::write(&file, CONFIGURATION).unwrap();
        let summary = crate::check::check_file(&file).unwrap();
        assert!(summary.contains("2 VRs") && summary.contains("2 ports"), "{summary}");
    }

    #[test]
    fn packets_are_read_from_the_row_of_totals() {
        let row = |vr: Value, count: u64| json!({"vr": vr, "packets_received": count, "packets_sent": count + 1});
        assert_eq!(total_packets(&json!([row(json!("a"), 7), row(Value::Null, 10)])), Some(21));
        assert_eq!(total_packets(&json!([row(json!("a"), 7)])), None);
        assert_eq!(total_packets(&json!([{"vr": null}])), None);
    }

    #[test]
    fn the_stack_is_the_routers_own() {
        let row = |vr: Value, name: &str, pid: u64| json!({"vr": vr, "name": name, "pid": pid});
        let table = json!([row(json!("a"), "stack", 7), row(Value::Null, "config", 8), row(Value::Null, "stack", 9)]);
        assert_eq!(stack_pid(&table), Some(9));
        assert_eq!(stack_pid(&json!([row(json!("a"), "stack", 7)])), None);
    }
}
