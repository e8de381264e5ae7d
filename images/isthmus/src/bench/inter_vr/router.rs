//! The router that the benchmark starts for itself: two VRs, joined by `connect` and by a cable.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::launch::Launch;
use crate::paths::Places;

/// Its name, and that of its folder below the benchmark's.
const NAME: &str = "bench";

/// Where the endpoint in VR b listens, as the endpoint in VR a reaches it over the channel.
pub const OVER_THE_CHANNEL: &str = "10.0.0.1:7000";

/// The same for a second one beside it.
pub const OVER_THE_CHANNEL_TOO: &str = "10.0.0.1:7002";

/// And over the cable: each end of it is in a subnet of its own, so that the best route decides the path.
pub const OVER_THE_CABLE: &str = "10.1.0.1:7001";

const CONFIGURATION: &str = "\
hostname bench
linecard 0/0
 port 0
  driver cable local ./a.sock remote ./b.sock
 !
 port 1
  driver cable local ./b.sock remote ./a.sock
 !
!
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
";

/// A running router; stops in order when dropped, and with this process however that ends.
#[derive(Debug)]
pub struct Router {
    places: Places,
    folder: PathBuf,
    procmgr: Child,
    /// Process ID of the stack.
    stack: u64,
}

impl Router {
    /// Starts it with all its files in `folder`, and waits until it is up.
    pub fn start(folder: &Path) -> Result<Self> {
        let config = folder.join("bench.conf");
        std::fs::write(&config, CONFIGURATION).with_context(|| format!("{}", config.display()))?;
        let config = config.into_os_string().into_string().ok().context("a folder whose name is not UTF-8")?;
        let own = folder.join(NAME);
        let places = Places { name: NAME.to_owned(), runtime: own.clone(), state: own };
        let (procmgr, waiting) = Launch::ephemeral(places.clone(), config).quiet().child()?;
        let mut router = Self { places, folder: folder.to_owned(), procmgr, stack: 0 };
        waiting.wait().context("the benchmark's router")?;
        let processes = router.show("show processes")?;
        router.stack = stack_pid(&processes).with_context(|| format!("no stack in {processes}"))?;
        Ok(router)
    }

    /// Where processes attach.
    pub fn control_socket(&self) -> PathBuf {
        self.places.control_socket()
    }

    /// Packets that the stack has received and sent so far, over all VRs: what an operator is shown.
    pub fn packets(&self) -> Result<u64> {
        let table = self.show("show stack counters")?;
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

    fn show(&self, command: &'static str) -> Result<Value> {
        let shell = Command::new("/proc/self/exe")
            .args(["sh", "--name", NAME, "--json", "-c", command])
            .env("ISTHMUS_DIR", &self.folder)
            .output()
            .context(command)?;
        if !shell.status.success() {
            bail!("{command}: {}", String::from_utf8_lossy(&shell.stderr).trim_end());
        }
        serde_json::from_slice(&shell.stdout).with_context(|| format!("{command}: not JSON"))
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

impl Drop for Router {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.procmgr.id()) else { return };
        // It was not reaped, so the number is still its own.
        let ended = kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(Into::into).and_then(|()| self.procmgr.wait());
        if let Err(error) = ended {
            eprintln!("isthmus: stop the benchmark's router: {error}");
        }
    }
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
