//! Isthmus, BIRD and FRR one by one between two neighbors that the benchmark plays on veth pairs, so that all three do the
//! same work: what one neighbor tells goes on to the other; a thousand routers are calculated; and a route is there once a
//! packet comes out of the router that was sent into it.
//!
//! As with the rings, all of it lives in a child with namespaces of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{User, chown};
use ospf::packet::Lsa;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::core::{NEIGHBOR as LEFT, Network, OWN, external};
use super::namespaces::{measure_in_child, prepare};
use super::peers::{Kind, find, ip, run};
use super::player::Player;
use super::ring::until;
use crate::bench::footprint::Footprint;

/// Whom the child measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A VR with two ports.
    Isthmus,
    /// Daemons and the kernel's table.
    Peer(Kind),
}

/// Names by which this program is started as that child.
pub const CHILDREN: [(&str, Subject); 3] = [
    ("igp-wire-of-isthmus", Subject::Isthmus),
    ("igp-wire-of-bird", Subject::Peer(Kind::Bird)),
    ("igp-wire-of-frr", Subject::Peer(Kind::Frr)),
];

/// Routers of the network that one neighbor tells of.
const ROUTERS: u32 = 1000;
/// LSAs of a flood.
const FLOOD: u32 = 1000;
/// LSAs whose memory is measured.
const MANY: u32 = 10_000;
/// After a change, so that no delay of an earlier one holds: RFC 8405's hold-down time, and a little more.
const REST: Duration = Duration::from_secs(11);
/// BIRD and FRR take no second instance sooner (MinLSArrival), and BIRD looks once a second.
const BETWEEN: Duration = Duration::from_millis(2500);
/// What a change costs is done by then.
const SETTLED: Duration = Duration::from_millis(1500);
/// Behind the neighbor on the left.
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const PORT: u16 = 9;
/// Between two packets that look whether the route is there.
const PROBE: Duration = Duration::from_micros(50);
/// Address of the neighbor on the right, and its number; the left one is router 0 of the network.
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const RIGHT_ID: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 1);

/// What came out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// Seconds from the first of the flood's LSAs to the last that came out on the other side.
    pub flood: Vec<f64>,
    /// Seconds from an LSA to the first packet that its route let through.
    pub lsa_to_fib: Vec<f64>,
    /// Seconds of the daemons' processors for such an LSA.
    pub cpu: Vec<f64>,
    /// Seconds of a calculation, as the daemon itself says.
    pub spf: Vec<f64>,
    /// Bytes for each LSA.
    pub memory: Vec<f64>,
}

/// Measures, in a child.
pub fn measure(subject: Subject) -> Result<Found> {
    let (name, _) = CHILDREN.into_iter().find(|(_, other)| *other == subject).context("no such child")?;
    measure_in_child(name)
}

/// The child: builds the networks, measures, prints what it found.
pub fn child(subject: Subject) -> Result<()> {
    prepare()?;
    let router = Router::start(subject)?;
    let left = within("left", || Player::start(Network::id(0), LEFT, OWN))?;
    let right = within("right", || Player::start(RIGHT_ID, RIGHT, OWN))?;
    left.wait_full()?;
    right.wait_full()?;
    let mut network = Network::random(ROUTERS);
    let lsas = network.lsas()?;
    tell(&left, &right, &lsas)?;
    let mut found = Found::default();
    let probes = Probes::start()?;
    for _ in 0..3 {
        sleep(REST);
        let cpu = router.cpu()?;
        let begun = left.update(&[network.with_stub(ROUTERS - 1, Some(DESTINATION))?])?;
        found.lsa_to_fib.push((probes.first()? - begun).as_secs_f64());
        sleep(SETTLED);
        found.cpu.push(router.cpu()? - cpu);
        found.spf.extend(router.spf()?);
        left.update(&[network.with_stub(ROUTERS - 1, None)?])?;
        probes.wait_silent()?;
    }
    // They would take a part of the processors, of a router whose forwarding is not the kernel's more than of others'.
    drop(probes);
    for round in 0..5 {
        sleep(BETWEEN);
        let lsas: Vec<Lsa> = (0..FLOOD).map(|number| external(number, round)).collect::<Result<_>>()?;
        found.flood.push(tell(&left, &right, &lsas)?.as_secs_f64());
    }
    sleep(BETWEEN);
    let before = router.memory()?;
    for first in (0..MANY).step_by(FLOOD as usize) {
        let numbers = FLOOD + first..2 * FLOOD + first;
        tell(&left, &right, &numbers.map(|number| external(number, 0)).collect::<Result<Vec<_>>>()?)?;
        left.wait_acknowledged()?;
    }
    sleep(SETTLED);
    found.memory.push(router.memory()?.saturating_sub(before) as f64 / f64::from(MANY));
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// One tells the router LSAs, and the other hears them all; from the first that is sent to the last that comes.
fn tell(one: &Player, other: &Player, lsas: &[Lsa]) -> Result<Duration> {
    other.expect(lsas);
    let begun = one.update(lsas)?;
    Ok(other.wait_heard()? - begun)
}

/// Does something in a thread whose sockets are of a network.
fn within<T: Send>(network: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(format!("/run/netns/{network}")).context("a network namespace")?;
    let enter_and_work = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    };
    match thread::scope(|scope| scope.spawn(enter_and_work).join()) {
        Ok(done) => done,
        Err(_) => bail!("a thread in {network} broke"),
    }
}

/// Packets from the right to [`DESTINATION`] on the left, all the time.
struct Probes {
    sink: UdpSocket,
    stopped: Arc<AtomicBool>,
}

impl Probes {
    fn start() -> Result<Self> {
        let sink = within("left", || Ok(UdpSocket::bind((DESTINATION, PORT))?))?;
        let source = within("right", || Ok(UdpSocket::bind((RIGHT, 0))?))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = stopped.clone();
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Refused while there is no route: that is what is looked for.
                let _ = source.send_to(b"probe", (DESTINATION, PORT));
                sleep(PROBE);
            }
        });
        Ok(Self { sink, stopped })
    }

    /// When the first packet comes.
    fn first(&self) -> Result<Instant> {
        self.sink.set_read_timeout(Some(Duration::from_secs(30)))?;
        self.sink.recv(&mut [0; 16]).context("no packet comes")?;
        Ok(Instant::now())
    }

    /// Waits until none come any longer.
    fn wait_silent(&self) -> Result<()> {
        self.sink.set_read_timeout(Some(Duration::from_millis(300)))?;
        let begun = Instant::now();
        while self.sink.recv(&mut [0; 16]).is_ok() {
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("packets come although the route was taken back");
            }
        }
        Ok(())
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// The router between the two, in the network `middle`.
struct Router {
    subject: Subject,
    folder: PathBuf,
    /// Its processes that keep LSAs and routes; the forwarding is the kernel's, or the stack's.
    pids: Vec<u32>,
    _daemons: Vec<Child>,
}

impl Router {
    fn start(subject: Subject) -> Result<Self> {
        for network in ["middle", "left", "right"] {
            ip(&format!("netns add {network}"))?;
            ip(&format!("-n {network} link set lo up"))?;
        }
        for (network, number, address) in [("left", 0, LEFT), ("right", 1, RIGHT)] {
            ip(&format!("-n middle link add {network} type veth peer name middle netns {network}"))?;
            ip(&format!("-n {network} address add {address}/31 dev middle"))?;
            if subject != Subject::Isthmus {
                ip(&format!("-n middle address add 10.0.{number}.0/31 dev {network}"))?;
            }
            ip(&format!("-n middle link set {network} up"))?;
            ip(&format!("-n {network} link set middle up"))?;
            sysctl(network, "net.ipv4.conf.all.rp_filter", "0")?;
            sysctl(network, "net.ipv4.conf.middle.rp_filter", "0")?;
        }
        ip(&format!("-n left address add {DESTINATION}/32 dev lo"))?;
        ip(&format!("-n right route add {DESTINATION}/32 via 10.0.1.0"))?;
        let folder = PathBuf::from("/run/wire");
        fs::create_dir(&folder)?;
        match subject {
            Subject::Isthmus => Self::start_isthmus(folder),
            Subject::Peer(kind) => {
                sysctl("middle", "net.ipv4.ip_forward", "1")?;
                Self::start_peer(kind, folder)
            }
        }
    }

    fn start_isthmus(folder: PathBuf) -> Result<Self> {
        let mut text =
            "linecard 0/0\n port 0\n  driver af-packet device left\n !\n port 1\n  driver af-packet device right\n \
                        !\n!\nvr red\n assign port 0/0/0\n assign port 0/0/1\n"
                .to_owned();
        for port in 0..2 {
            text += &format!(" interface Port0/0/{port}\n  ipv4 address 10.0.{port}.0/31\n !\n");
        }
        text += &format!(" router ospf 1\n  router-id {OWN}\n  area 0\n");
        for port in 0..2 {
            text += &format!("   interface Port0/0/{port}\n    network point-to-point\n   !\n");
        }
        fs::write(folder.join("wire.conf"), text)?;
        let router = Self { subject: Subject::Isthmus, folder, pids: Vec::new(), _daemons: Vec::new() };
        router.isthmus(&["up", "/run/wire/wire.conf", "-d", "--name", "wire"])?;
        let table = router.isthmus(&["sh", "--name", "wire", "--json", "-c", "show processes vr red"])?;
        let table: Value = serde_json::from_str(&table)?;
        let pids = table.as_array().into_iter().flatten().filter_map(|row| u32::try_from(row["pid"].as_u64()?).ok());
        Ok(Self { pids: pids.collect(), ..router })
    }

    fn isthmus(&self, arguments: &[&str]) -> Result<String> {
        let exe = fs::read_link("/proc/self/exe")?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "middle"]).arg(exe).args(arguments).env("ISTHMUS_DIR", &self.folder);
        let output = command.stdin(Stdio::null()).output().context("isthmus")?;
        if !output.status.success() {
            bail!("isthmus {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn start_peer(kind: Kind, folder: PathBuf) -> Result<Self> {
        if let (Kind::Frr, Some(frr)) = (kind, User::from_name("frr").context("users")?) {
            chown(&folder, Some(frr.uid), Some(frr.gid))?;
        }
        let names: &[&str] = if kind == Kind::Bird { &["bird"] } else { &["zebra", "ospfd"] };
        let daemons = names.iter().map(|name| start_daemon(kind, name, &folder)).collect::<Result<Vec<_>>>()?;
        let pids = daemons.iter().map(Child::id).collect();
        Ok(Self { subject: Subject::Peer(kind), folder, pids, _daemons: daemons })
    }

    /// Seconds that its processes had of processors.
    fn cpu(&self) -> Result<f64> {
        let mut nanos = 0;
        for pid in &self.pids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let text = fs::read_to_string(task?.path().join("schedstat"))?;
                nanos += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).context("schedstat")?;
            }
        }
        Ok(nanos as f64 / 1e9)
    }

    /// Bytes of its processes.
    fn memory(&self) -> Result<u64> {
        self.pids.iter().map(|pid| Footprint::memory_of(*pid)).sum()
    }

    /// What FRR says of its last calculation; the others say nothing, or in another case.
    fn spf(&self) -> Result<Option<f64>> {
        if self.subject != Subject::Peer(Kind::Frr) {
            return Ok(None);
        }
        let folder = self.folder.to_str().context("a folder of ours")?;
        let text = run("vtysh", &["--vty_socket", folder, "-c", "show ip ospf json"])?;
        let said: Value = serde_json::from_str(&text)?;
        Ok(said["spfLastDurationMsecs"].as_f64().map(|millis| millis / 1e3))
    }
}

fn sysctl(network: &str, name: &str, value: &str) -> Result<()> {
    run("ip", &["netns", "exec", network, "sysctl", "-q", "-w", &format!("{name}={value}")]).map(drop)
}

fn start_daemon(kind: Kind, name: &str, folder: &Path) -> Result<Child> {
    let (config, pid) = (folder.join(format!("{name}.conf")), folder.join(format!("{name}.pid")));
    let text = match name {
        "bird" => format!(
            "router id {OWN};\nprotocol device {{}}\nprotocol kernel {{ ipv4 {{ import none; export all; }}; }}\nprotocol \
             ospf v2 {{ ipv4 {{ import all; export none; }};\n area 0 {{ interface \"left\", \"right\" {{ type ptp; cost \
             1; }}; }};\n}}\n"
        ),
        "ospfd" => {
            let interface = |name: &str| {
                format!("interface {name}\n ip ospf area 0\n ip ospf cost 1\n ip ospf network point-to-point\n")
            };
            format!("{}{}router ospf\n ospf router-id {OWN}\n", interface("left"), interface("right"))
        }
        _ => String::new(),
    };
    fs::write(&config, text)?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "middle"]).arg(find(name).context("it was there")?);
    match kind {
        Kind::Bird => command.arg("-f").arg("-c").arg(config).arg("-s").arg(folder.join("ctl")),
        Kind::Frr => {
            command.args(["-A", "127.0.0.1", "-P", "0", "-f"]).arg(config).arg("-i").arg(pid);
            command.arg("-z").arg(folder.join("zserv")).arg("--vty_socket").arg(folder)
        }
    };
    let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    if name == "zebra" {
        // The next one needs its socket.
        until(|| Ok(folder.join("zserv").exists().then_some(())))?;
    }
    Ok(daemon)
}
