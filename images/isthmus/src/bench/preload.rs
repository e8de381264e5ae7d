//! `bench preload`: programs of others, unmodified, between two VRs against the same programs over the kernel's loopback.
//!
//! The server and the client of each case are started anew for each round, with `isthmus run --preload` in two VRs of a
//! router of the benchmark's own, or as they are. VPP's preload library, the only peer, is quoted in docs/benchmarks.md.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::machine;
use super::own_router::{Kept, OwnRouter};
use super::report::{Better, Report, Unit};

/// The benchmark's name.
pub const NAME: &str = "preload";

const PRELOAD: &str = "preload";
const KERNEL: &str = "kernel";
/// How long a server may take until its client reaches it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take, in seconds: redis-benchmark, for one, now and then turns for ever, on the kernel's sockets too.
const CLIENT_SECONDS: &str = "30";
const LIMIT: [&str; 4] = ["timeout", "-k", "1", CLIENT_SECONDS];
/// timeout(1) says so that the time was over.
const TIME_IS_OVER: i32 = 124;
const PAUSE: Duration = Duration::from_millis(100);
const PORT: &str = "5201";
const ROUTER: &str = "bench";

const CONFIGURATION: &str = "\
vr red
!
vr blue
!
connect red blue
!
vr red
 interface blue
  ipv4 address 10.0.0.0/31
 !
!
vr blue
 interface red
  ipv4 address 10.0.0.1/31
 !
!
";

/// Which programs, and what their client's output says.
struct Case {
    name: &'static str,
    server: &'static [&'static str],
    client: &'static [&'static str],
    read: fn(&str) -> Option<f64>,
    unit: Unit,
    better: Better,
    wanted: f64,
    /// Both on one core.
    one_core: bool,
}

/// In a command: where the server is, and how long the client works.
const ADDRESS: &str = "ADDRESS";
const SECONDS: &str = "SECONDS";

const IPERF3_SERVER: &[&str] = &["iperf3", "-s", "-1", "-p", PORT];
const SOCKPERF_TCP: [&[&str]; 2] = [
    &["sockperf", "server", "--tcp", "-i", ADDRESS, "-p", PORT],
    &["sockperf", "ping-pong", "--tcp", "-i", ADDRESS, "-p", PORT, "-t", SECONDS, "-m", "64"],
];

const CASES: [Case; 6] = [
    Case {
        name: "iperf3_bulk",
        server: IPERF3_SERVER,
        client: &["iperf3", "-c", ADDRESS, "-p", PORT, "-t", SECONDS, "-J"],
        read: received_by_iperf3,
        unit: Unit::BytesPerSecond,
        better: Better::Higher,
        wanted: 2.5,
        one_core: false,
    },
    Case {
        name: "iperf3_64B",
        server: IPERF3_SERVER,
        client: &["iperf3", "-c", ADDRESS, "-p", PORT, "-t", SECONDS, "-J", "-l", "64"],
        read: received_by_iperf3,
        unit: Unit::BytesPerSecond,
        better: Better::Higher,
        wanted: 15.0,
        one_core: false,
    },
    Case {
        name: "sockperf_tcp",
        server: SOCKPERF_TCP[0],
        client: SOCKPERF_TCP[1],
        read: median_of_sockperf,
        unit: Unit::Seconds,
        better: Better::Lower,
        wanted: 0.5,
        one_core: false,
    },
    Case {
        name: "sockperf_tcp_one_core",
        server: SOCKPERF_TCP[0],
        client: SOCKPERF_TCP[1],
        read: median_of_sockperf,
        unit: Unit::Seconds,
        better: Better::Lower,
        wanted: 1.0,
        one_core: true,
    },
    Case {
        name: "sockperf_udp",
        server: &["sockperf", "server", "-i", ADDRESS, "-p", PORT],
        client: &["sockperf", "ping-pong", "-i", ADDRESS, "-p", PORT, "-t", SECONDS, "-m", "64"],
        read: median_of_sockperf,
        unit: Unit::Seconds,
        better: Better::Lower,
        wanted: 0.5,
        one_core: false,
    },
    Case {
        name: "redis_ops",
        server: &["redis-server", "--port", PORT, "--bind", ADDRESS, "--save", "", "--protected-mode", "no"],
        client: &["redis-benchmark", "-h", ADDRESS, "-p", PORT, "-t", "get", "-n", "200000", "--csv"],
        read: requests_of_redis,
        unit: Unit::PerSecond,
        better: Better::Higher,
        wanted: 1.0,
        one_core: false,
    },
];

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let (rounds, seconds) = if quick { (1, "1") } else { (5, "3") };
    let folder = tempfile::Builder::new().prefix("isthmus-bench-").tempdir().context("a folder for the benchmark")?;
    super::interrupt::remove_when_interrupted(folder.path())?;
    let router = OwnRouter::start(folder.path(), ROUTER, CONFIGURATION, Kept::Nothing)?;
    let cores = machine::own_cpus()?.len();
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    for case in &CASES {
        let mut values = [Vec::new(), Vec::new()];
        let mut skipped = String::new();
        'rounds: for _ in 0..rounds {
            for (subject, values) in [PRELOAD, KERNEL].into_iter().zip(&mut values) {
                match run(case, subject, folder.path(), seconds) {
                    Ok(value) => values.push(value),
                    Err(error) => {
                        skipped = format!("{error:#}");
                        break 'rounds;
                    }
                }
            }
        }
        for (subject, values) in [PRELOAD, KERNEL].into_iter().zip(&values) {
            report.row(case.name, subject, case.unit, values, &skipped);
        }
        report.compare(case.name, PRELOAD, KERNEL, case.better, Some(case.wanted));
    }
    let counters = router.sh("show stack counters")?;
    let packets = counters.as_array().into_iter().flatten().filter_map(|row| row["packets_received"].as_f64()).sum();
    report.row("stack_packets", PRELOAD, Unit::Count, &[packets], "");
    Ok(report)
}

/// A server that ends with the round.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has served its only client is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One round of one subject.
fn run(case: &Case, subject: &'static str, folder: &Path, seconds: &str) -> Result<f64> {
    let (address, red, blue) = match subject {
        PRELOAD => ("10.0.0.1", Some("red"), Some("blue")),
        _ => ("127.0.0.1", None, None),
    };
    let words = |line: &[&'static str]| -> Vec<String> {
        let word = |word: &str| match word {
            ADDRESS => address.to_owned(),
            SECONDS => seconds.to_owned(),
            other => other.to_owned(),
        };
        line.iter().map(|text| word(text)).collect()
    };
    let mut server = command(&[], &words(case.server), blue, folder, case.one_core)?;
    let mut server = Server(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("the server")?);
    let until = Instant::now() + PATIENCE;
    loop {
        let client = command(&LIMIT, &words(case.client), red, folder, case.one_core)?.output();
        let output = client.context("the client")?;
        if output.status.code() == Some(TIME_IS_OVER) {
            bail!("{}: has not ended after {CLIENT_SECONDS} s", case.client.join(" "));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(value) = (case.read)(&text).filter(|_| output.status.success()) {
            return Ok(value);
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("{}: the server ended ({status})", case.server.join(" "));
        }
        if Instant::now() > until {
            let error = String::from_utf8_lossy(&output.stderr);
            let said = error.lines().chain(text.lines()).next_back().unwrap_or("it says nothing").to_owned();
            return Err(anyhow!(said)).context(case.client.join(" "));
        }
        // It does not listen yet, which nothing tells.
        thread::sleep(PAUSE);
    }
}

/// A program in a VR, or in none; `under`: what runs it.
fn command(under: &[&str], line: &[String], vr: Option<&str>, folder: &Path, one_core: bool) -> Result<Command> {
    let mut words: Vec<String> = under.iter().copied().map(str::to_owned).collect();
    if let Some(vr) = vr {
        let own = std::env::current_exe()?.into_os_string().into_string().ok().context("a path that is not UTF-8")?;
        words.extend([own.as_str(), "run", "--name", ROUTER, "--vr", vr, "--preload", "--"].map(str::to_owned));
    }
    if one_core {
        words.extend(["taskset", "-c", "0"].map(str::to_owned));
    }
    words.extend_from_slice(line);
    let [program, args @ ..] = words.as_slice() else { bail!("no program") };
    let mut command = Command::new(program);
    command.args(args).env("ISTHMUS_DIR", folder).stdin(Stdio::null());
    Ok(command)
}

/// Bytes a second that arrived.
fn received_by_iperf3(output: &str) -> Option<f64> {
    let document: Value = serde_json::from_str(output).ok()?;
    document["end"]["sum_received"]["bits_per_second"].as_f64().map(|bits| bits / 8.0)
}

/// Half a round trip, as sockperf counts, in the middle of all; in seconds.
fn median_of_sockperf(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.contains("percentile 50.000"))?;
    line.rsplit('=').next()?.trim().parse::<f64>().ok().map(|microseconds| microseconds / 1e6)
}

/// Requests a second.
fn requests_of_redis(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.starts_with("\"GET\""))?;
    line.split(',').nth(1)?.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print_is_read() {
        assert_eq!(received_by_iperf3(r#"{"end": {"sum_received": {"bits_per_second": 8e9}}}"#), Some(1e9));
        let sockperf = "sockperf: ---> percentile 99.000 =   22.5\nsockperf: ---> percentile 50.000 =   12.500\n";
        assert_eq!(median_of_sockperf(sockperf), Some(12.5e-6));
        assert_eq!(requests_of_redis("\"test\",\"rps\"\n\"GET\",\"98000.5\",\"0.4\"\n"), Some(98_000.5));
        assert_eq!(requests_of_redis("Could not connect"), None);
    }
}
