//! `bench channels`: what standing connections cost, and what a new one costs beside them: ours between two VRs against
//! the kernel's over loopback.
//!
//! Connections are opened and accepted, carry nothing, and stand. Memory is that of both processes, of a shared page
//! once, with their page tables, and the kernel's objects. Those are counted in the whole system (`Slab` of
//! /proc/meminfo), where others come and go; so their share is taken at the largest number of connections, and is the
//! same for each: the objects of a connection have one size.
//!
//! Where one process may not have the descriptors of all, the connections stand between several pairs of processes, the
//! same for both subjects.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::footprint::{Footprint, kernel_objects};
use super::inter_vr::case::{Placement, SMALL};
use super::inter_vr::endpoint::raise_descriptor_limit;
use super::inter_vr::pair::Pair;
use super::inter_vr::place;
use super::inter_vr::router::{OVER_THE_CHANNEL, OVER_THE_CHANNEL_TOO, Router};
use super::inter_vr::transport::Subject;
use super::inter_vr::workload::{Measurement, Workload};
use super::machine;
use super::report::{Better, Report, Unit};

/// The benchmark's name.
pub const NAME: &str = "channels";

/// Connections that stand, and the names of the cases.
const SIZES: [(usize, [&str; 3]); 3] = [
    (10, ["open_10", "memory_idle_10", "descriptors_idle_10"]),
    (1000, ["open_1000", "memory_idle_1000", "descriptors_idle_1000"]),
    (10_000, ["open_10000", "memory_idle_10000", "descriptors_idle_10000"]),
];

/// Seconds of a message of 64 bytes on a connection beside all that stand idle, both processes on one core.
const BUSY: &str = "busy_beside_idle";

const ISTHMUS: &str = "isthmus";
const KERNEL_TCP: &str = "kernel-tcp";
/// Subject of rows that hold what is wanted at most.
const BOUND: &str = "bound";
/// Subject of [`BUSY`]: the same connection with nothing beside it.
const ALONE: &str = "alone";

/// Wanted at most for an idle connection: bytes, and descriptors of each side.
const MEMORY_WANTED: f64 = 16.0 * 1024.0;
const DESCRIPTORS_WANTED: f64 = 4.0;

/// Subjects, their names, and what they listen on.
const SUBJECTS: [(Subject, &str, &str); 2] =
    [(Subject::InterVr, ISTHMUS, OVER_THE_CHANNEL), (Subject::KernelTcp, KERNEL_TCP, "127.0.0.1:0")];

/// What a run costs.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: usize,
    /// Of [`SIZES`].
    sizes: usize,
    opens: usize,
    /// Turns of the busy connection in a round, with nothing beside it and beside the idle ones.
    turns: usize,
    turn: Duration,
}

const FULL: Effort = Effort { rounds: 5, sizes: 3, opens: 200, turns: 9, turn: Duration::from_millis(50) };
const QUICK: Effort = Effort { rounds: 1, sizes: 2, opens: 20, turns: 1, turn: Duration::from_millis(10) };

type Values = BTreeMap<(&'static str, &'static str), Vec<f64>>;

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let effort = if quick { QUICK } else { FULL };
    let folder = super::interrupt::own_folder()?;
    let cpus = machine::own_cpus()?;
    let most = SIZES.into_iter().take(effort.sizes).map(|(connections, _)| connections).max().unwrap_or(0);
    let room = raise_descriptor_limit(most)?;
    let pairs = (most.div_ceil(room), room);
    let (mut values, mut skipped) = (Values::new(), BTreeMap::new());
    for _ in 0..effort.rounds {
        for (subject, name, address) in SUBJECTS {
            let stood = stand(folder.path(), &cpus, (subject, name, address), (effort, pairs), &mut values);
            if let Err(error) = stood {
                // Mostly: a user who may not have so many descriptors.
                skipped.insert(name, format!("{error:#}"));
            }
        }
    }
    Ok(report(effort, cpus.len(), &values, &skipped))
}

/// One subject's round, with processes of its own, since freed memory of an earlier one would hide what new connections
/// take.
fn stand(
    folder: &Path,
    cpus: &[usize],
    (subject, name, address): (Subject, &'static str, &str),
    (effort, pairs): (Effort, (usize, usize)),
    values: &mut Values,
) -> Result<()> {
    let router = Router::start(folder)?;
    let mut pairs = Pairs::join(&router, pairs, (subject, address))?;
    if let Some(cpus) = place(cpus, Placement::Apart) {
        pairs.pin(cpus)?;
    }
    let mut add = |case, value| values.entry((case, name)).or_default().push(value);
    // The first ones bring what all share: buffers, tables, the first blocks of ports.
    pairs.run(subject, Workload::Open { connections: effort.opens })?;
    let (before, objects_before) = (pairs.footprints()?, kernel_objects()?);
    let (mut standing, mut memory) = (0, Vec::new());
    for (connections, [open, _, descriptors]) in SIZES.into_iter().take(effort.sizes) {
        pairs.hold(subject, standing..connections)?;
        standing = connections;
        let after = pairs.footprints()?;
        memory.push(per_connection(before, after, connections, |f| f.memory + f.page_tables).iter().sum::<f64>());
        add(descriptors, per_connection(before, after, connections, |f| f.descriptors).into_iter().fold(0.0, f64::max));
        match pairs.first_runs(subject, Workload::Open { connections: effort.opens })? {
            Measurement::Opens { p50 } => add(open, p50),
            other => bail!("opening gave {other:?}"),
        }
    }
    let objects = kernel_objects()?.saturating_sub(objects_before) as f64 / standing as f64;
    for ((_, [_, case, _]), bytes) in SIZES.into_iter().zip(memory) {
        add(case, bytes + objects);
    }
    if subject == Subject::InterVr {
        let alone = Pair::join(&router)?;
        let cpus = place(cpus, Placement::OneCore).context("no CPU")?;
        // The others go on standing.
        let ((pair, address), _others) = pairs.split_first().context("no pair")?;
        busy([(ISTHMUS, pair, address), (ALONE, alone, OVER_THE_CHANNEL_TOO.to_owned())], cpus, effort, values)?;
    }
    Ok(())
}

/// The pairs of processes between which connections stand, and where each listens.
struct Pairs {
    all: Vec<Listening>,
    /// How many stand between one of them at most.
    room: usize,
}

/// A pair, and where it listens.
type Listening = (Pair, String);

impl Pairs {
    fn join(router: &Router, (count, room): (usize, usize), (subject, address): (Subject, &str)) -> Result<Self> {
        let join = |number| {
            let mut pair = Pair::join(router)?;
            let address = pair.listen(subject, at_port(address, number)?)?;
            Ok((pair, address))
        };
        Ok(Self { all: (0..).take(count).map(join).collect::<Result<_>>()?, room })
    }

    fn pin(&mut self, cpus: (usize, usize)) -> Result<()> {
        self.all.iter_mut().try_for_each(|(pair, _)| pair.pin(cpus))
    }

    /// Connections with these numbers stand from now on: one pair after the other is filled.
    fn hold(&mut self, subject: Subject, numbers: Range<usize>) -> Result<()> {
        let room = self.room;
        let share = |pair: usize| {
            let (first, end) = (numbers.start.max(pair * room), numbers.end.min((pair + 1) * room));
            end.saturating_sub(first)
        };
        self.all.iter_mut().enumerate().try_for_each(|(n, (pair, address))| pair.hold(subject, address, share(n)))
    }

    /// What the driving and the serving sides hold.
    fn footprints(&mut self) -> Result<[Footprint; 2]> {
        let mut sum = [Footprint::default(); 2];
        for (pair, _) in &mut self.all {
            sum.iter_mut().zip(pair.footprints()?).for_each(|(sum, one)| *sum += one);
        }
        Ok(sum)
    }

    fn run(&mut self, subject: Subject, workload: Workload) -> Result<()> {
        self.all.iter_mut().try_for_each(|(pair, address)| pair.run(subject, address, workload).map(drop))
    }

    fn first_runs(&mut self, subject: Subject, workload: Workload) -> Result<Measurement> {
        let (pair, address) = self.all.first_mut().context("no pair")?;
        Ok(pair.run(subject, address, workload)?.0)
    }

    /// The first one, and the others.
    fn split_first(self) -> Option<(Listening, Vec<Listening>)> {
        let mut all = self.all.into_iter();
        Some((all.next()?, all.collect()))
    }
}

/// The address of one of several pairs; port 0 is any, and stays so.
fn at_port(address: &str, number: u16) -> Result<String> {
    let mut address: SocketAddr = address.parse().with_context(|| format!("address {address}"))?;
    if address.port() != 0 {
        address.set_port(address.port() + 10 * number);
    }
    Ok(address.to_string())
}

/// What each side holds more, for each connection.
fn per_connection(
    before: [Footprint; 2],
    after: [Footprint; 2],
    connections: usize,
    of: impl Fn(Footprint) -> u64,
) -> [f64; 2] {
    let [a, b] = [0, 1].map(|side| of(after[side]).saturating_sub(of(before[side])) as f64 / connections as f64);
    [a, b]
}

/// A busy connection of each pair in turns.
fn busy(
    mut pairs: [(&'static str, Pair, String); 2],
    cpus: (usize, usize),
    effort: Effort,
    values: &mut Values,
) -> Result<()> {
    let [_, (_, alone, address)] = &mut pairs;
    alone.listen(Subject::InterVr, address.clone())?;
    for (_, pair, _) in &mut pairs {
        pair.pin(cpus)?;
    }
    let workload = Workload::Stream { message_bytes: SMALL, duration: effort.turn };
    for _ in 0..effort.turns {
        for (name, pair, address) in &mut pairs {
            match pair.run(Subject::InterVr, address, workload)? {
                (Measurement::Rate { messages, seconds }, _) => {
                    values.entry((BUSY, name)).or_default().push(seconds / messages as f64);
                }
                (other, _) => bail!("{workload:?} gave {other:?}"),
            }
        }
    }
    Ok(())
}

fn report(effort: Effort, cores: usize, values: &Values, skipped: &BTreeMap<&'static str, String>) -> Report {
    let mut report = Report { bench: NAME, cores, rounds: effort.rounds, rows: Vec::new(), ratios: Vec::new() };
    let mut row = |case: &'static str, subject: &'static str, unit, bound: Option<f64>| {
        let found = values.get(&(case, subject)).map(Vec::as_slice).unwrap_or_default();
        let bound: Vec<f64> = bound.into_iter().collect();
        let why = skipped.get(subject).map_or("not measured", String::as_str);
        report.row(case, subject, unit, if subject == BOUND { &bound } else { found }, why);
    };
    for (_, [open, memory, descriptors]) in SIZES.into_iter().take(effort.sizes) {
        for (case, unit, bound) in [
            (open, Unit::Seconds, None),
            (memory, Unit::Bytes, Some(MEMORY_WANTED)),
            (descriptors, Unit::Count, Some(DESCRIPTORS_WANTED)),
        ] {
            row(case, ISTHMUS, unit, None);
            row(case, KERNEL_TCP, unit, None);
            if bound.is_some() {
                row(case, BOUND, unit, bound);
            }
        }
    }
    row(BUSY, ISTHMUS, Unit::Seconds, None);
    row(BUSY, ALONE, Unit::Seconds, None);
    for (_, [open, memory, descriptors]) in SIZES.into_iter().take(effort.sizes) {
        report.compare(open, ISTHMUS, KERNEL_TCP, Better::Lower, Some(3.0));
        for case in [memory, descriptors] {
            report.compare(case, ISTHMUS, BOUND, Better::Lower, Some(1.0));
            report.compare(case, ISTHMUS, KERNEL_TCP, Better::Lower, None);
        }
    }
    report.compare(BUSY, ISTHMUS, ALONE, Better::Lower, Some(1.03));
    report
}
