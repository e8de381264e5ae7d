//! `bench preload`: programs of others, unmodified, between two VRs against the same programs over the kernel's loopback.
//!
//! The server and the client of each case are started anew for each round, with `isthmus run --preload` in two VRs of a
//! router of the benchmark's own, or as they are. VPP's preload library, the only peer, is quoted in docs/benchmarks.md.

mod program;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use self::program::{Server, client};
use super::machine;
use super::own_router::{JOINED, Kept, OwnRouter};
use super::report::{Better, Report, Unit};

/// The benchmark's name.
pub const NAME: &str = "preload";

const PRELOAD: &str = "preload";
const KERNEL: &str = "kernel";
const ROUTER: &str = "bench";
/// How often a round is tried, whose programs do not come to an end or fail.
const ATTEMPTS: usize = 3;
/// Servers listen on the next one each: below the kernel's ephemeral ports, of which clients get theirs.
const FIRST_PORT: u16 = 5201;

/// Which programs, and what their client's output says.
struct Case {
    name: &'static str,
    server: &'static [&'static str],
    /// Stands in the line with which the server says that it serves.
    ready: &'static str,
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
const PORT: &str = "PORT";
const SECONDS: &str = "SECONDS";

/// Round trips a second at most: of more than 600,000 sockperf runs out of numbers.
const MOST_TRIPS: &str = "500000";

const CASES: [Case; 6] = [
    iperf3("iperf3_bulk", &["iperf3", "-c", ADDRESS, "-p", PORT, "-t", SECONDS, "-J"], 2.5),
    iperf3("iperf3_64B", &["iperf3", "-c", ADDRESS, "-p", PORT, "-t", SECONDS, "-J", "-l", "64"], 15.0),
    sockperf("sockperf_tcp", TCP, 0.5),
    Case { one_core: true, ..sockperf("sockperf_tcp_one_core", TCP, 1.0) },
    sockperf("sockperf_udp", UDP, 0.5),
    Case {
        name: "redis_ops",
        server: &["redis-server", "--port", PORT, "--bind", ADDRESS, "--save", "", "--protected-mode", "no"],
        ready: "Ready to accept connections",
        client: &["redis-benchmark", "-h", ADDRESS, "-p", PORT, "-t", "get", "-n", "200000", "--csv"],
        read: requests_of_redis,
        unit: Unit::PerSecond,
        better: Better::Higher,
        wanted: 1.0,
        one_core: false,
    },
];

/// Bytes that iperf3's client sends.
const fn iperf3(name: &'static str, client: &'static [&'static str], wanted: f64) -> Case {
    Case {
        name,
        server: &["iperf3", "-s", "-1", "-p", PORT, "--forceflush"],
        ready: "Server listening",
        client,
        read: received_by_iperf3,
        unit: Unit::BytesPerSecond,
        better: Better::Higher,
        wanted,
        one_core: false,
    }
}

/// Server and client of sockperf.
type Sides = [&'static [&'static str]; 2];

const TCP: Sides = [
    &["sockperf", "server", "--tcp", "-i", ADDRESS, "-p", PORT],
    &["sockperf", "ping-pong", "--tcp", "-i", ADDRESS, "-p", PORT, "-t", SECONDS, "-m", "64", "--mps", MOST_TRIPS],
];
const UDP: Sides = [
    &["sockperf", "server", "-i", ADDRESS, "-p", PORT],
    &["sockperf", "ping-pong", "-i", ADDRESS, "-p", PORT, "-t", SECONDS, "-m", "64", "--mps", MOST_TRIPS],
];

/// Round trips of sockperf.
const fn sockperf(name: &'static str, [server, client]: Sides, wanted: f64) -> Case {
    Case {
        name,
        server,
        ready: "using recvfrom() to block",
        client,
        read: median_of_sockperf,
        unit: Unit::Seconds,
        better: Better::Lower,
        wanted,
        one_core: false,
    }
}

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let (rounds, seconds) = if quick { (1, "1") } else { (5, "3") };
    let folder = super::interrupt::own_folder()?;
    let router = OwnRouter::start(folder.path(), ROUTER, JOINED, Kept::Nothing)?;
    let cores = machine::own_cpus()?.len();
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    let mut bench = Bench { folder: folder.path(), seconds, port: FIRST_PORT };
    for case in &CASES {
        let mut values = [Vec::new(), Vec::new()];
        let mut skipped = [None, None];
        for _ in 0..rounds {
            for (subject, (values, skipped)) in [PRELOAD, KERNEL].into_iter().zip(values.iter_mut().zip(&mut skipped)) {
                // What fails three times fails in the next round, too.
                if skipped.is_none() {
                    bench.round(case, subject).map_or_else(|error| *skipped = Some(error), |value| values.push(value));
                }
            }
        }
        for (subject, (values, skipped)) in [PRELOAD, KERNEL].into_iter().zip(values.iter().zip(skipped)) {
            let skipped = skipped.map(|error| format!("{error:#}"));
            let values = if skipped.is_none() { values.as_slice() } else { &[] };
            report.row(case.name, subject, case.unit, values, &skipped.unwrap_or_default());
        }
        report.compare(case.name, PRELOAD, KERNEL, case.better, Some(case.wanted));
    }
    let counters = router.sh("show stack counters")?;
    let packets = counters.as_array().into_iter().flatten().filter_map(|row| row["packets_received"].as_f64()).sum();
    report.row("stack_packets", PRELOAD, Unit::Count, &[packets], "");
    Ok(report)
}

/// What all rounds have in common.
struct Bench<'a> {
    folder: &'a Path,
    seconds: &'static str,
    /// The next one to be tried.
    port: u16,
}

impl Bench<'_> {
    /// One round of one subject.
    fn round(&mut self, case: &Case, subject: &'static str) -> Result<f64> {
        let mut attempt = 1;
        loop {
            match self.attempt(case, subject) {
                Err(error) if attempt < ATTEMPTS => {
                    eprintln!("isthmus: bench preload: {}, {subject}, once more: {error:#}", case.name);
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn attempt(&mut self, case: &Case, subject: &'static str) -> Result<f64> {
        let port = self.free_port()?.to_string();
        let (address, red, blue) = match subject {
            PRELOAD => ("10.0.0.1", Some("red"), Some("blue")),
            _ => ("127.0.0.1", None, None),
        };
        let words = |line: &[&str], vr: Option<&str>| -> Result<Vec<String>> {
            let mut words = self.under(vr)?;
            if case.one_core {
                words.extend(["taskset", "-c", "0"].map(str::to_owned));
            }
            words.extend(line.iter().map(|word| match *word {
                ADDRESS => address.to_owned(),
                PORT => port.clone(),
                SECONDS => self.seconds.to_owned(),
                other => other.to_owned(),
            }));
            Ok(words)
        };
        let _server = Server::start(&words(case.server, blue)?, case.ready)?;
        let said = client(&words(case.client, red)?)?;
        (case.read)(&said).with_context(|| format!("{}: no result in what it says: {said}", case.client.join(" ")))
    }

    /// One that nothing on this host listens on. A virtual router of the benchmark's own has all of them to itself.
    fn free_port(&mut self) -> Result<u16> {
        loop {
            let port = self.port;
            self.port = port.checked_add(1).context("no free port")?;
            if TcpListener::bind(("127.0.0.1", port)).and_then(|_| UdpSocket::bind(("127.0.0.1", port))).is_ok() {
                return Ok(port);
            }
        }
    }

    /// What runs a program in a VR, or in none.
    fn under(&self, vr: Option<&str>) -> Result<Vec<String>> {
        let Some(vr) = vr else { return Ok(Vec::new()) };
        let utf8 = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
        let folder = format!("ISTHMUS_DIR={}", utf8(self.folder)?);
        let own = utf8(&std::env::current_exe()?)?;
        Ok(["env", &folder, &own, "run", "--name", ROUTER, "--vr", vr, "--preload", "--"].map(str::to_owned).to_vec())
    }
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
