//! The same ring of BIRDs, or of FRRs: each router in a network namespace of its own, joined by veth pairs.
//!
//! All of it lives in a child with mount, process and network namespaces of its own: when the child ends, however it
//! does, the kernel takes the daemons and the networks with it.

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::{User, chown, geteuid};
use serde_json::Value;

use super::namespaces::{measure_in_child, prepare};
use super::ring::{Found, until};

/// Names by which this program is started as that child.
pub const CHILDREN: [(&str, Kind); 2] = [("igp-ring-of-bird", Kind::Bird), ("igp-ring-of-frr", Kind::Frr)];

/// Routers.
const ROUTERS: usize = 40;
/// After a change the ring is left alone for so long.
const REST: Duration = Duration::from_secs(5);
/// No route changes for so long: the ring is at rest.
const QUIET: Duration = Duration::from_secs(3);

/// Which daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `bird`.
    Bird,
    /// `zebra` and `ospfd`.
    Frr,
}

impl Kind {
    /// Subject of its rows.
    pub fn subject(self) -> &'static str {
        match self {
            Kind::Bird => "bird",
            Kind::Frr => "frr",
        }
    }

    /// As the kernel names its routes.
    fn routes(self) -> &'static str {
        match self {
            Kind::Bird => "bird",
            Kind::Frr => "ospf",
        }
    }

    fn programs(self) -> &'static [&'static str] {
        match self {
            Kind::Bird => &["bird", "birdc"],
            Kind::Frr => &["zebra", "ospfd", "vtysh"],
        }
    }

    /// Why it cannot be measured here.
    pub fn missing(self) -> Option<String> {
        Self::missing_tools().or_else(|| absent(self.programs()))
    }

    /// Why nothing can be measured here that takes network namespaces.
    pub fn missing_tools() -> Option<String> {
        if !geteuid().is_root() {
            return Some("needs root, for network namespaces".to_owned());
        }
        absent(&["ip", "unshare", "sysctl"])
    }
}

fn absent(programs: &[&str]) -> Option<String> {
    let absent = programs.iter().find(|program| find(program).is_none());
    absent.map(|program| format!("{program} is not installed"))
}

/// A program in `PATH` or where daemons live.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let daemons = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/frr"];
    path.split(':').chain(daemons).map(|folder| Path::new(folder).join(program)).find(|file| file.is_file())
}

/// Measures a ring, in a child.
pub fn measure(kind: Kind) -> Result<Found> {
    let (name, _) = CHILDREN.into_iter().find(|(_, other)| *other == kind).context("no such child")?;
    measure_in_child(name)
}

/// The child: builds the ring, measures, prints what it found.
pub fn child(kind: Kind) -> Result<()> {
    prepare()?;
    let ring = Ring::build(kind)?;
    let watch = Watch::start(kind)?;
    let begun = Instant::now();
    // They end with this process, which is the first of its namespace.
    let _daemons = ring.start_daemons()?;
    let mut found = Found::default();
    ring.wait_for_tables()?;
    found.start.push(watch.last_change(begun)?);
    sleep(REST);
    let begun = Instant::now();
    ip("-n r0 link set right down")?;
    found.reconverge.push(watch.last_change(begun)?);
    sleep(REST);
    let begun = Instant::now();
    ip("-n r0 link set right up")?;
    found.adjacency.push(until(|| Ok(ring.is_full()?.then(|| begun.elapsed().as_secs_f64())))?);
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// A program to its end; what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `ip` with arguments.
pub fn ip(arguments: &str) -> Result<String> {
    run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Networks `r0` and on; `right` of each is joined with `left` of the next.
struct Ring {
    kind: Kind,
    folder: PathBuf,
}

impl Ring {
    fn build(kind: Kind) -> Result<Self> {
        for router in 0..ROUTERS {
            ip(&format!("netns add r{router}"))?;
            ip(&format!("-n r{router} link set lo up"))?;
            ip(&format!("-n r{router} address add 192.0.2.{}/32 dev lo", router + 1))?;
        }
        for router in 0..ROUTERS {
            let next = (router + 1) % ROUTERS;
            ip(&format!("-n r{router} link add right type veth peer name left netns r{next}"))?;
            ip(&format!("-n r{router} address add 10.0.{router}.0/31 dev right"))?;
            ip(&format!("-n r{next} address add 10.0.{router}.1/31 dev left"))?;
            ip(&format!("-n r{router} link set right up"))?;
            ip(&format!("-n r{next} link set left up"))?;
        }
        // In memory, and gone with the child.
        let folder = PathBuf::from("/run/ring");
        fs::create_dir(&folder)?;
        Ok(Self { kind, folder })
    }

    fn folder_of(&self, router: usize) -> PathBuf {
        self.folder.join(router.to_string())
    }

    /// Those of every router, in the foreground.
    fn start_daemons(&self) -> Result<Vec<Child>> {
        let mut daemons = Vec::new();
        let names: &[&str] = if self.kind == Kind::Bird { &["bird"] } else { &["zebra", "ospfd"] };
        for router in 0..ROUTERS {
            let folder = self.folder_of(router);
            fs::create_dir(&folder)?;
            if let (Kind::Frr, Some(frr)) = (self.kind, User::from_name("frr").context("users")?) {
                chown(&folder, Some(frr.uid), Some(frr.gid))?;
            }
        }
        for name in names {
            for router in 0..ROUTERS {
                daemons.push(self.start_daemon(name, router)?);
            }
        }
        Ok(daemons)
    }

    fn start_daemon(&self, name: &str, router: usize) -> Result<Child> {
        let folder = self.folder_of(router);
        let (config, pid) = (folder.join(format!("{name}.conf")), folder.join(format!("{name}.pid")));
        let id = format!("192.0.2.{}", router + 1);
        fs::write(&config, configuration(name, &id)?)?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("r{router}")]).arg(find(name).context("it was there")?);
        match self.kind {
            Kind::Bird => command.arg("-f").arg("-c").arg(config).arg("-s").arg(folder.join("ctl")),
            Kind::Frr => {
                command.args(["-A", "127.0.0.1", "-P", "0", "-f"]).arg(config).arg("-i").arg(pid);
                command.arg("-z").arg(folder.join("zserv")).arg("--vty_socket").arg(&folder)
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| name.to_owned())
    }

    /// Waits until every kernel has a route to every other loopback.
    fn wait_for_tables(&self) -> Result<()> {
        for router in 0..ROUTERS {
            until(|| {
                let table = ip(&format!("-n r{router} -json route show proto {}", self.kind.routes()))?;
                let rows: Value = serde_json::from_str(&table).unwrap_or(Value::Null);
                let is_loopback = |row: &&Value| row["dst"].as_str().is_some_and(|dst| dst.starts_with("192.0.2."));
                let count = rows.as_array().into_iter().flatten().filter(is_loopback).count();
                Ok((count == ROUTERS - 1).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Whether router 0 is full with router 1.
    fn is_full(&self) -> Result<bool> {
        let folder = self.folder_of(0);
        let path = folder.to_str().context("a folder of ours")?;
        Ok(match self.kind {
            Kind::Bird => {
                let text = run("birdc", &["-s", &format!("{path}/ctl"), "show", "ospf", "neighbors"])?;
                text.lines().any(|line| line.starts_with("192.0.2.2") && line.contains("Full"))
            }
            Kind::Frr => {
                let text = run("vtysh", &["--vty_socket", path, "-c", "show ip ospf neighbor"])?;
                text.lines().any(|line| line.starts_with("192.0.2.2") && line.contains("Full"))
            }
        })
    }
}

fn configuration(daemon: &str, id: &str) -> Result<String> {
    let mut text = String::new();
    match daemon {
        "bird" => write!(
            text,
            "router id {id};\nprotocol device {{}}\nprotocol kernel {{ ipv4 {{ import none; export all; }}; }}\nprotocol \
             ospf v2 {{ ipv4 {{ import all; export none; }};\n area 0 {{ stubnet {id}/32 {{ cost 1; }};\n  interface \
             \"left\", \"right\" {{ type ptp; cost 1; }};\n }};\n}}\n"
        )?,
        "ospfd" => {
            for interface in ["lo", "left", "right"] {
                writeln!(text, "interface {interface}\n ip ospf area 0\n ip ospf cost 1")?;
                if interface != "lo" {
                    writeln!(text, " ip ospf network point-to-point")?;
                }
            }
            writeln!(text, "router ospf\n ospf router-id {id}")?;
        }
        _ => {}
    }
    Ok(text)
}

/// Hears every change of a route in every network.
struct Watch(Arc<Mutex<Instant>>);

impl Watch {
    fn start(kind: Kind) -> Result<Self> {
        let last = Arc::new(Mutex::new(Instant::now()));
        for router in 0..ROUTERS {
            let mut monitor = Command::new("ip");
            monitor.args(["-n", &format!("r{router}"), "monitor", "route"]).stdout(Stdio::piped());
            let mut monitor = monitor.spawn().context("ip monitor")?;
            let lines = BufReader::new(monitor.stdout.take().context("its output")?).lines();
            let (last, proto) = (last.clone(), format!("proto {}", kind.routes()));
            thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    if line.contains(&proto)
                        && let Ok(mut last) = last.lock()
                    {
                        *last = Instant::now();
                    }
                }
            });
        }
        Ok(Self(last))
    }

    /// Seconds from `begun` to the last change, once nothing changes any more.
    fn last_change(&self, begun: Instant) -> Result<f64> {
        until(|| {
            let last = self.0.lock().map(|last| *last).ok().context("a watcher broke")?;
            let is_quiet = last > begun && last.elapsed() > QUIET;
            Ok(is_quiet.then(|| (last - begun).as_secs_f64()))
        })
    }
}
