//! Where networks are built: mount, process and network namespaces of a child's own, which end with it.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use super::peers::run;

/// Runs this executable as the child of that name, in namespaces of its own; what it found and printed.
pub fn measure_in_child<T: DeserializeOwned>(name: &str) -> Result<T> {
    let exe = fs::read_link("/proc/self/exe").context("this program's file")?;
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"])
        .arg(exe)
        .args(["bench", name])
        .stderr(Stdio::inherit())
        .output()
        .context("unshare")?;
    if !output.status.success() {
        bail!("{name}: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {name} found"))
}

/// The child's first step: room for names of network namespaces.
pub fn prepare() -> Result<()> {
    if std::process::id() != 1 {
        bail!("`bench igp` starts this in namespaces of its own; outside of them it would change the host");
    }
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    fs::create_dir_all("/run/netns").context("/run/netns")
}
