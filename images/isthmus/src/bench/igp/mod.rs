//! `bench igp`: OSPF. What its core takes for calculations and floods, and how soon whole routers of this box find their
//! ways: the time to an adjacency, to all routes of a ring of 40 VRs, and to a way around a link that is lost.
//!
//! The cases of the core (`spf_…`, `lsa_to_routes_…`) are measured in this process, without packets on a wire. Those on a
//! wire (`flood_1000`, `lsa_to_fib_1000`, `lsa_cpu_1000`, `lsdb_memory_per_lsa`) put Isthmus, BIRD and FRR between the same
//! two neighbors, which the benchmark plays; the others are rings of 40 routers, ours with every VR's OSPF and RIB a process
//! of its own. What takes network namespaces takes root.

mod core;
mod namespaces;
pub mod peers;
mod player;
mod ring;
pub mod wire;

use anyhow::Result;

use self::peers::Kind;
use self::wire::Subject;
use super::interrupt::own_folder;
use super::report::{Better, Report, Unit};

/// The benchmark's name.
pub const NAME: &str = "igp";

const ISTHMUS: &str = "isthmus";
const PEERS: [Kind; 2] = [Kind::Bird, Kind::Frr];

/// Why a peer has no row of a case.
const SAYS_NOTHING: &str = "does not say how long it calculates";
const SHORT: &str = "takes minutes, and this run is a short one";

/// Routers, and the names of the cases: a calculation of the table, and from an LSA that came to its routes on their way to
/// the RIB.
const SIZES: [(u32, &str, &str); 3] = [
    (100, "spf_100", "lsa_to_routes_100"),
    (1000, "spf_1000", "lsa_to_routes_1000"),
    (10_000, "spf_10000", "lsa_to_routes_10000"),
];

/// What is wanted of SPF over 1,000 routers, of the time from an LSA to the FIB, of a start, of a lost carrier and of a link
/// that comes up: seconds at most.
const WANTED: [(&str, f64); 5] = [
    ("spf_1000", 0.000_5),
    ("lsa_to_fib_1000", 0.003),
    ("start_40", 2.0),
    ("reconverge_40", 0.050),
    ("adjacency", 1.0),
];
/// Subject of those.
const BOUND: &str = "bound";

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let rounds = if quick { 2 } else { 9 };
    let cores = super::machine::own_cpus()?.len();
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    let folder = own_folder()?;
    for (routers, spf, lsa) in SIZES.into_iter().filter(|(routers, ..)| !quick || *routers <= 1000) {
        let found = core::calculate(routers, rounds)?;
        report.row(spf, ISTHMUS, Unit::Seconds, &found.calculation, "");
        report.row(lsa, ISTHMUS, Unit::Seconds, &found.lsa_to_routes, "");
    }
    on_wires(&mut report, quick)?;
    let found = ring::measure(folder.path(), quick)?;
    report.row("adjacency", ISTHMUS, Unit::Seconds, &found.adjacency, "");
    report.row("start_40", ISTHMUS, Unit::Seconds, &found.start, "");
    report.row("reconverge_40", ISTHMUS, Unit::Seconds, &found.reconverge, "");
    for kind in PEERS {
        beside(&mut report, kind, quick)?;
    }
    for (case, seconds) in WANTED {
        report.row(case, BOUND, Unit::Seconds, &[seconds], "");
        report.compare(case, ISTHMUS, BOUND, Better::Lower, Some(1.0));
    }
    Ok(report)
}

/// The cases on a wire, of each subject in turn.
fn on_wires(report: &mut Report, quick: bool) -> Result<()> {
    let isthmus = Kind::missing_tools().or(quick.then(|| SHORT.to_owned()));
    let peers = PEERS.map(|kind| (kind.subject(), Subject::Peer(kind), kind.missing().or(isthmus.clone())));
    let all = [(ISTHMUS, Subject::Isthmus, isthmus)].into_iter().chain(peers);
    for (name, subject, skipped) in all {
        let found = if skipped.is_some() { wire::Found::default() } else { wire::measure(subject)? };
        let skipped = skipped.unwrap_or_default();
        let rows = [
            ("flood_1000", Unit::Seconds, found.flood),
            ("lsa_to_fib_1000", Unit::Seconds, found.lsa_to_fib),
            ("lsa_cpu_1000", Unit::Seconds, found.cpu),
            ("lsdb_memory_per_lsa", Unit::Bytes, found.memory),
        ];
        for (case, unit, values) in rows {
            report.row(case, name, unit, &values, &skipped);
            if name != ISTHMUS {
                report.compare(case, ISTHMUS, name, Better::Lower, Some(1.0));
            }
        }
        if name != ISTHMUS {
            let skipped = if skipped.is_empty() { SAYS_NOTHING } else { &skipped };
            report.row("spf_1000", name, Unit::Seconds, &found.spf, skipped);
            report.compare("spf_1000", ISTHMUS, name, Better::Lower, Some(1.0));
        }
    }
    Ok(())
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
