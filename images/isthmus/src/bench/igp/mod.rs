//! `bench igp`: OSPF. What its core takes for calculations and floods, and how soon whole routers of this box find their
//! ways: the time to an adjacency, to all routes of a ring of 40 VRs, and to a way around a link that is lost.
//!
//! The cases of the core are measured in this process, without packets on a wire; the others on a router that is started
//! for it, with every VR's OSPF and RIB a process of its own. BIRD and FRR take LSAs only from neighbors on a wire, so
//! that their rows of the core's cases are skipped; rings of 40 of them are built in network namespaces, as root.

mod core;
pub mod peers;
mod ring;

use anyhow::{Context, Result};

use self::peers::Kind;
use super::interrupt::remove_when_interrupted;
use super::report::{Better, Report, Unit};

/// The benchmark's name.
pub const NAME: &str = "igp";

const ISTHMUS: &str = "isthmus";
const PEERS: [Kind; 2] = [Kind::Bird, Kind::Frr];

/// Why a peer has no row of a case.
const ON_A_WIRE: &str = "takes LSAs only from a neighbor on a wire";
const SHORT: &str = "takes minutes, and this run is a short one";

/// Routers, and the names of the cases: a calculation of the table, and from an LSA that came to its routes on their way to
/// the RIB.
const SIZES: [(u32, &str, &str); 3] = [
    (100, "spf_100", "lsa_to_routes_100"),
    (1000, "spf_1000", "lsa_to_routes_1000"),
    (10_000, "spf_10000", "lsa_to_routes_10000"),
];

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let rounds = if quick { 2 } else { 9 };
    let cores = super::machine::own_cpus()?.len();
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    let folder = tempfile::Builder::new().prefix("isthmus-bench-").tempdir().context("a folder for the benchmark")?;
    remove_when_interrupted(folder.path())?;
    // Before anything else: memory that was used once is used again without showing.
    let memory = core::memory_per_lsa()?;
    for (routers, spf, lsa) in SIZES.into_iter().filter(|(routers, ..)| !quick || *routers <= 1000) {
        let found = core::calculate(routers, rounds)?;
        row(&mut report, spf, Unit::Seconds, &found.calculation, ON_A_WIRE);
        row(&mut report, lsa, Unit::Seconds, &found.lsa_to_routes, ON_A_WIRE);
    }
    row(&mut report, "flood_1000", Unit::Seconds, &core::flood(1000, rounds)?, ON_A_WIRE);
    row(&mut report, "lsdb_memory_per_lsa", Unit::Bytes, &[memory], ON_A_WIRE);
    let found = ring::measure(folder.path(), quick)?;
    report.row("adjacency", ISTHMUS, Unit::Seconds, &found.adjacency, "");
    report.row("start_40", ISTHMUS, Unit::Seconds, &found.start, "");
    report.row("reconverge_40", ISTHMUS, Unit::Seconds, &found.reconverge, "");
    for kind in PEERS {
        beside(&mut report, kind, quick)?;
    }
    Ok(report)
}

/// The rows of a peer's ring.
fn beside(report: &mut Report, kind: Kind, quick: bool) -> Result<()> {
    let skipped = kind.missing().or(quick.then(|| SHORT.to_owned()));
    let found = if skipped.is_some() { ring::Found::default() } else { peers::measure(kind)? };
    let skipped = skipped.unwrap_or_default();
    for (case, values) in
        [("adjacency", found.adjacency), ("start_40", found.start), ("reconverge_40", found.reconverge)]
    {
        report.row(case, kind.subject(), Unit::Seconds, &values, &skipped);
        report.compare(case, ISTHMUS, kind.subject(), Better::Lower, Some(1.0));
    }
    Ok(())
}

fn row(report: &mut Report, case: &'static str, unit: Unit, values: &[f64], skipped: &str) {
    report.row(case, ISTHMUS, unit, values, "");
    PEERS.iter().for_each(|peer| report.row(case, peer.subject(), unit, &[], skipped));
}
