//! `bench inter-vr`: two processes of two VRs, over the channel between them, over our stack, and over the kernel.
//!
//! ```text
//!   this process ── starts ──▶ a router of its own: VRs a and b, joined by `connect` and by a cable
//!        │ orders, replies
//!        ├──────▶ endpoint in VR a, on one CPU   ══ each subject in turn ══   endpoint in VR b, on another ◀──┐
//!        └────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Both endpoints run the same code for every subject ([`workload`]); only how they connect differs ([`transport`]).
//! Subjects alternate: the machine's speed moves from minute to minute, ratios within a round less so.

mod cache_line;
mod child;
pub mod endpoint;
mod router;
mod transport;
mod workload;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use self::child::Endpoint;
use self::endpoint::{Order, Reply};
use self::router::{OVER_THE_CABLE, OVER_THE_CHANNEL, Router};
use self::transport::Subject;
use self::workload::{Measurement, Workload};
use super::report::{Better, Found, Report, Row, Spread, Unit};

/// The benchmark's name.
pub const NAME: &str = "inter-vr";

/// Name under which `isthmus bench` starts an endpoint.
pub const ENDPOINT: &str = "inter-vr-endpoint";

/// What a run costs.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    round_trips: usize,
    /// For each case of throughput.
    duration: Duration,
}

/// Five rounds, some 5 s each.
const FULL: Effort = Effort { rounds: 5, round_trips: 5000, duration: Duration::from_millis(300) };
/// Enough to see that it works.
const QUICK: Effort = Effort { rounds: 2, round_trips: 500, duration: Duration::from_millis(40) };

/// However slow a subject is, a case of round trips ends by then.
const ROUND_TRIP_LIMIT: Duration = Duration::from_secs(5);

/// Messages of the cases of round trips.
const SMALL: usize = 64;

const RTT_P50: &str = "rtt_64B_p50";
const RTT_P99: &str = "rtt_64B_p99";
const STACK_PACKETS: &str = "stack_packets";
const CACHE_LINE: &str = "cache_line_rtt";

/// Subject of [`CACHE_LINE`]: what no program can beat.
const MACHINE: &str = "machine";

/// A case of throughput: its name, the size of its messages, and what is counted.
const STREAMS: [(&str, usize, Unit); 3] = [
    ("throughput_64B", SMALL, Unit::PerSecond),
    ("throughput_1KiB", 1024, Unit::PerSecond),
    ("throughput_64KiB", 64 * 1024, Unit::BytesPerSecond),
];

/// Every case that is compared: name, unit, and what is better.
fn cases() -> impl Iterator<Item = (&'static str, Unit, Better)> {
    let round_trips = [RTT_P50, RTT_P99].into_iter().map(|case| (case, Unit::Seconds, Better::Lower));
    round_trips.chain(STREAMS.into_iter().map(|(case, _, unit)| (case, unit, Better::Higher)))
}

/// Values of all rounds, by case and subject.
type Values = BTreeMap<(&'static str, Subject), Vec<f64>>;

/// What is found out beside the cases, a value a round.
#[derive(Debug, Default)]
struct Beside {
    /// Of the stack while the channel had its turn.
    packets: Vec<f64>,
    /// Empty where there is one CPU only.
    cache_line: Vec<f64>,
}

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let effort = if quick { QUICK } else { FULL };
    let folder = tempfile::Builder::new().prefix("isthmus-bench-").tempdir().context("a folder for the benchmark")?;
    super::interrupt::remove_when_interrupted(folder.path())?;
    let cpus = own_cpus()?;
    let mut field = Field::prepare(folder.path(), &cpus)?;
    let mut values = Values::new();
    let (mut packets, mut cache_line) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        if let (Some(near), Some(far)) = (cpus.first(), cpus.last().filter(|_| cpus.len() > 1)) {
            cache_line.push(cache_line::round_trip(*near, *far)?);
        }
        for subject in Subject::ALL {
            let before = field.router.packets()?;
            field.round(subject, effort, &mut values)?;
            if subject == Subject::InterVr {
                packets.push(field.router.packets()?.saturating_sub(before) as f64);
            }
        }
    }
    Ok(report(effort.rounds, cpus.len(), &values, &field.skipped, Beside { packets, cache_line }))
}

/// CPUs that this process may use.
fn own_cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).context("which CPUs there are")?;
    Ok((0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect())
}

/// The router, both endpoints, and where the second one listens. Fields are dropped in this order.
struct Field {
    drives: Endpoint,
    serves: Endpoint,
    router: Router,
    addresses: BTreeMap<Subject, String>,
    /// Peers that cannot be measured here, and why.
    skipped: BTreeMap<Subject, String>,
}

impl Field {
    fn prepare(folder: &Path, cpus: &[usize]) -> Result<Self> {
        let router = Router::start(folder)?;
        let join = |vr: &'static str, cpu: Option<&usize>| -> Result<Endpoint> {
            let mut command = Command::new("/proc/self/exe");
            command.arg0(format!("isthmus: bench {vr}")).args(["bench", ENDPOINT]);
            let mut endpoint = Endpoint::start(vr, command)?;
            let order = Order::Join { control_socket: router.control_socket(), vr: vr.to_owned(), cpu: cpu.copied() };
            endpoint.order(&order)?;
            endpoint.reply()?;
            Ok(endpoint)
        };
        // Without a second CPU both run on the one that there is.
        let (drives, serves) = (join("a", cpus.first())?, join("b", cpus.last())?);
        let mut field = Self { drives, serves, router, addresses: BTreeMap::new(), skipped: BTreeMap::new() };
        for subject in Subject::ALL {
            let address = match subject {
                Subject::InterVr => OVER_THE_CHANNEL.to_owned(),
                Subject::Stack => OVER_THE_CABLE.to_owned(),
                Subject::KernelTcp => "127.0.0.1:0".to_owned(),
                Subject::AfUnix => format!("{}", folder.join("af-unix.sock").display()),
            };
            field.listen(subject, address)?;
        }
        Ok(field)
    }

    fn listen(&mut self, subject: Subject, address: String) -> Result<()> {
        self.serves.order(&Order::Listen { subject, address })?;
        match self.serves.reply() {
            Ok(Reply::Listening { address }) => {
                self.addresses.insert(subject, address);
                Ok(())
            }
            Ok(other) => bail!("an endpoint was told to listen and said {other:?}"),
            Err(error) if subject.is_a_peer() => {
                self.skipped.insert(subject, format!("{error:#}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// All cases of one subject.
    fn round(&mut self, subject: Subject, effort: Effort, values: &mut Values) -> Result<()> {
        let Some(address) = self.addresses.get(&subject).cloned() else { return Ok(()) };
        let Effort { round_trips, duration, .. } = effort;
        let ping_pong = Workload::PingPong { message_bytes: SMALL, round_trips, limit: ROUND_TRIP_LIMIT };
        let mut add = |case, value| values.entry((case, subject)).or_default().push(value);
        match self.run(subject, &address, ping_pong)? {
            Measurement::RoundTrips { p50, p99 } => {
                add(RTT_P50, p50);
                add(RTT_P99, p99);
            }
            other @ Measurement::Rate { .. } => bail!("{ping_pong:?} gave {other:?}"),
        }
        for (case, message_bytes, unit) in STREAMS {
            let stream = Workload::Stream { message_bytes, duration };
            match self.run(subject, &address, stream)? {
                Measurement::Rate { messages_per_second } if unit == Unit::BytesPerSecond => {
                    add(case, messages_per_second * message_bytes as f64);
                }
                Measurement::Rate { messages_per_second } => add(case, messages_per_second),
                other @ Measurement::RoundTrips { .. } => bail!("{stream:?} gave {other:?}"),
            }
        }
        Ok(())
    }

    /// One workload over a connection of its own.
    fn run(&mut self, subject: Subject, address: &str, workload: Workload) -> Result<Measurement> {
        self.serves.order(&Order::Serve { subject, workload })?;
        self.drives.order(&Order::Drive { subject, address: address.to_owned(), workload })?;
        let what = || format!("{subject}, {workload:?}");
        let measured = self.drives.reply().with_context(what)?;
        self.serves.reply().with_context(what)?;
        match measured {
            Reply::Measured(measurement) => Ok(measurement),
            other => bail!("an endpoint was told to measure and said {other:?}"),
        }
    }
}

fn report(rounds: usize, cores: usize, values: &Values, skipped: &BTreeMap<Subject, String>, beside: Beside) -> Report {
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    for (case, unit, _) in cases() {
        for subject in Subject::ALL {
            let spread = values.get(&(case, subject)).and_then(|values| Spread::of(values));
            let why = || skipped.get(&subject).cloned().unwrap_or_else(|| "not measured".to_owned());
            let found = spread.map_or_else(|| Found::Skipped { skipped: why() }, Found::Measured);
            report.rows.push(Row { case, subject: subject.name(), unit, found });
        }
    }
    let found = |values: &[f64], why: &str| {
        Spread::of(values).map_or_else(|| Found::Skipped { skipped: why.to_owned() }, Found::Measured)
    };
    let (packets, cache_line) = (found(&beside.packets, "not counted"), found(&beside.cache_line, "there is one CPU"));
    report.rows.push(Row { case: STACK_PACKETS, subject: Subject::InterVr.name(), unit: Unit::Count, found: packets });
    report.rows.push(Row { case: CACHE_LINE, subject: MACHINE, unit: Unit::Seconds, found: cache_line });
    for (case, _, better) in cases() {
        for against in Subject::ALL.into_iter().filter(|subject| *subject != Subject::InterVr) {
            // To be ahead of what two processes would use without us is the point of the channel.
            let wanted = (against == Subject::KernelTcp).then_some(1.0);
            report.compare(case, Subject::InterVr.name(), against.name(), better, wanted);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_row_a_case_and_subject_and_compares_the_channel_with_each_other_subject() {
        let mut values = Values::new();
        for (case, _, better) in cases() {
            for (n, subject) in Subject::ALL.into_iter().enumerate() {
                let value = if better == Better::Lower { n + 1 } else { 10 - n };
                values.insert((case, subject), vec![value as f64]);
            }
        }
        let report =
            report(1, 2, &values, &BTreeMap::new(), Beside { packets: vec![0.0, 0.0], cache_line: vec![1e-7] });
        let rows: Vec<_> = report.rows.iter().map(|row| (row.case, row.subject)).collect();
        assert_eq!(rows.len(), 5 * 4 + 2);
        assert!(rows.contains(&("throughput_1KiB", "af-unix")));
        assert_eq!(rows[20..], [("stack_packets", "inter-vr"), ("cache_line_rtt", "machine")]);
        assert_eq!(report.ratios.len(), 5 * 3);
        for ratio in &report.ratios {
            assert_eq!(ratio.met, (ratio.against == "kernel-tcp").then_some(true), "{ratio:?}");
        }
    }

    #[test]
    fn a_peer_that_is_not_there_is_skipped_and_not_compared() {
        let values = cases().map(|(case, ..)| ((case, Subject::InterVr), vec![1.0])).collect();
        let skipped = BTreeMap::from([(Subject::AfUnix, "no such family".to_owned())]);
        let report = report(1, 2, &values, &skipped, Beside::default());
        assert_eq!(report.ratios, []);
        let why = |found: &Found| matches!(found, Found::Skipped { skipped } if skipped == "no such family");
        assert_eq!(report.rows.iter().filter(|row| why(&row.found)).count(), 5);
    }
}
