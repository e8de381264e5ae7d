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
//! What is measured of whom stands in [`case`]. Subjects alternate: the machine's speed moves from minute to minute,
//! ratios within a round less so.

pub mod case;
mod child;
mod datagram;
pub mod endpoint;
pub mod pair;
pub mod router;
mod system_calls;
pub mod transport;
pub mod workload;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use self::case::{
    BOUND, CACHE_LINE, CASES, CPU_PER_GIB, Case, Kind, LARGE, MEMCPY, Placement, RTT_P50, RTT_P99, SYSTEM_CALLS_WANTED,
};
use self::pair::Pair;
use self::router::{OVER_THE_CABLE, OVER_THE_CHANNEL, Router};
use self::transport::Subject;
use self::workload::Measurement;
use super::machine;
use super::report::{Better, Report, Unit};

/// The benchmark's name.
pub const NAME: &str = "inter-vr";

/// Name under which `isthmus bench` starts an endpoint.
pub const ENDPOINT: &str = "inter-vr-endpoint";

/// What a run costs.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    rounds: usize,
    round_trips: usize,
    /// For each case of throughput.
    duration: Duration,
    connections: usize,
}

/// Five rounds, some 15 s each.
const FULL: Effort = Effort { rounds: 5, round_trips: 5000, duration: Duration::from_millis(300), connections: 200 };
/// Enough to see that it works.
const QUICK: Effort = Effort { rounds: 2, round_trips: 500, duration: Duration::from_millis(40), connections: 20 };

/// Packets that the stack received and sent while the channel had its turn.
const STACK_PACKETS: &str = "stack_packets";

const GIB: f64 = (1_u64 << 30) as f64;

/// Values of all rounds, by case and subject.
type Values = BTreeMap<(&'static str, &'static str), Vec<f64>>;

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let effort = if quick { QUICK } else { FULL };
    let folder = super::interrupt::own_folder()?;
    let cpus = machine::own_cpus()?;
    let mut field = Field::prepare(folder.path())?;
    for _ in 0..effort.rounds {
        for placement in [Placement::Apart, Placement::OneCore] {
            if let Some(cpus) = place(&cpus, placement) {
                field.round(placement, cpus, effort)?;
            }
        }
    }
    Ok(report(effort.rounds, cpus.len(), &field.values, &field.skipped))
}

/// CPUs of the two endpoints; `None`: there are not enough.
pub fn place(cpus: &[usize], placement: Placement) -> Option<(usize, usize)> {
    let (first, last) = (*cpus.first()?, *cpus.last()?);
    match placement {
        Placement::OneCore => Some((first, first)),
        Placement::Apart => (first != last).then_some((first, last)),
    }
}

/// Both endpoints, the router, where the second one listens, and what was found. Fields are dropped in this order.
struct Field {
    pair: Pair,
    router: Router,
    addresses: BTreeMap<Subject, String>,
    values: Values,
    /// Peers that cannot be measured here, and why.
    skipped: BTreeMap<&'static str, String>,
}

impl Field {
    fn prepare(folder: &Path) -> Result<Self> {
        let router = Router::start(folder)?;
        let pair = Pair::join(&router)?;
        let (addresses, values, skipped) = (BTreeMap::new(), Values::new(), BTreeMap::new());
        let mut field = Self { pair, router, addresses, values, skipped };
        for subject in Subject::ALL {
            let socket = |name: &str| folder.join(name).display().to_string();
            let address = match subject {
                Subject::InterVr => OVER_THE_CHANNEL.to_owned(),
                Subject::Stack => OVER_THE_CABLE.to_owned(),
                Subject::KernelTcp => "127.0.0.1:0".to_owned(),
                Subject::AfUnix => socket("af-unix.sock"),
                Subject::Eventfd => socket("eventfd.sock"),
            };
            match field.pair.listen(subject, address) {
                Ok(address) => drop(field.addresses.insert(subject, address)),
                Err(error) if subject.is_a_peer() => {
                    field.skipped.insert(subject.name(), format!("{error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(field)
    }

    /// All cases of one placement, subject by subject, and the machine's limits there.
    fn round(&mut self, placement: Placement, (near, far): (usize, usize), effort: Effort) -> Result<()> {
        self.pair.pin((near, far))?;
        if placement == Placement::Apart {
            self.add(RTT_P50, CACHE_LINE, machine::cache_line(near, far)?);
        }
        let copies = machine::memcpy(near, LARGE, effort.duration / 10)?;
        for case in CASES.iter().filter(|case| case.placement == placement && compares_with(case, MEMCPY)) {
            self.add(case.name, MEMCPY, copies);
        }
        for subject in Subject::ALL {
            let Some(address) = self.addresses.get(&subject).cloned() else { continue };
            let before = self.router.packets()?;
            for case in CASES.iter().filter(|case| case.placement == placement && case.subjects.contains(&subject)) {
                self.case(case, subject, &address, effort)?;
            }
            if subject == Subject::InterVr {
                let packets = self.router.packets()?.saturating_sub(before);
                self.add(STACK_PACKETS, subject.name(), packets as f64);
            }
        }
        Ok(())
    }

    fn case(&mut self, case: &Case, subject: Subject, address: &str, effort: Effort) -> Result<()> {
        let (name, workload) = (subject.name(), case.workload(effort));
        if let Kind::SystemCalls(_) = case.kind {
            return match self.pair.run_counted(subject, address, workload)? {
                (Measurement::Rate { messages, .. }, system_calls) => {
                    self.add(case.name, name, system_calls as f64 / messages as f64);
                    Ok(())
                }
                (other, _) => bail!("{workload:?} gave {other:?}"),
            };
        }
        let stack_before = self.stack_cpu_seconds(subject)?;
        let (measurement, cpu_seconds) = self.pair.run(subject, address, workload)?;
        let cpu_seconds = cpu_seconds + self.stack_cpu_seconds(subject)? - stack_before;
        match (measurement, case.kind) {
            (Measurement::RoundTrips { p50, p99 }, _) => {
                self.add(case.name, name, p50);
                if case.name == RTT_P50 {
                    self.add(RTT_P99, name, p99);
                }
            }
            (Measurement::Opens { p50 }, _) => self.add(case.name, name, p50),
            (Measurement::Datagrams(rate), _) => self.add(case.name, name, rate),
            (Measurement::Rate { messages, seconds }, Kind::Throughput(size)) => {
                let (rate, bytes) = (messages as f64 / seconds, messages as f64 * size as f64);
                let is_flow = case.unit == Unit::BytesPerSecond;
                self.add(case.name, name, if is_flow { rate * size as f64 } else { rate });
                if (case.placement, size) == (Placement::Apart, LARGE) {
                    self.add(CPU_PER_GIB, name, cpu_seconds * GIB / bytes);
                }
            }
            (other, kind) => bail!("{kind:?} gave {other:?}"),
        }
        Ok(())
    }

    /// Of the stack's process, where the bytes pass it.
    fn stack_cpu_seconds(&self, subject: Subject) -> Result<f64> {
        if subject == Subject::Stack { self.router.stack_cpu_seconds() } else { Ok(0.0) }
    }

    fn add(&mut self, case: &'static str, subject: &'static str, value: f64) {
        self.values.entry((case, subject)).or_default().push(value);
    }
}

fn compares_with(case: &Case, subject: &str) -> bool {
    case.against.iter().any(|(against, _)| *against == subject)
}

fn report(rounds: usize, cores: usize, values: &Values, skipped: &BTreeMap<&'static str, String>) -> Report {
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    for case in &CASES {
        rows(&mut report, case.name, case, values, skipped);
        if case.name == RTT_P50 {
            rows(&mut report, RTT_P99, case, values, skipped);
        }
    }
    let packets = values.get(&(STACK_PACKETS, Subject::InterVr.name())).map(Vec::as_slice).unwrap_or_default();
    report.row(STACK_PACKETS, Subject::InterVr.name(), Unit::Count, packets, "not counted");
    for Case { name, better, against, .. } in &CASES {
        for (peer, wanted) in *against {
            report.compare(name, Subject::InterVr.name(), peer, *better, *wanted);
        }
    }
    for (peer, wanted) in [("kernel-tcp", Some(1.0 / 20.0)), ("af-unix", None), ("stack", None)] {
        report.compare(RTT_P99, Subject::InterVr.name(), peer, Better::Lower, wanted);
    }
    report
}

/// A row for each subject of a case, and for each limit that it is compared with.
fn rows(
    report: &mut Report,
    name: &'static str,
    case: &Case,
    values: &Values,
    skipped: &BTreeMap<&'static str, String>,
) {
    let ours = std::iter::once(Subject::InterVr.name());
    for subject in ours.chain(case.against.iter().map(|(subject, _)| *subject)) {
        let bound = [SYSTEM_CALLS_WANTED];
        let found = match values.get(&(name, subject)) {
            _ if subject == BOUND => &bound[..],
            Some(values) => values,
            None if subject == CACHE_LINE && name == RTT_P99 => continue,
            None => &[],
        };
        let why = match (skipped.get(subject), case.placement) {
            (Some(why), _) => why,
            (None, Placement::Apart) => "there is one CPU",
            (None, Placement::OneCore) => "not measured",
        };
        report.row(name, subject, case.unit, found, why);
    }
}

#[cfg(test)]
mod tests;
