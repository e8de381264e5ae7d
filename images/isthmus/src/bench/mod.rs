//! `isthmus bench`: Isthmus measured against its peers, alternating in one run.

mod boot;
mod channels;
mod footprint;
mod igp;
mod inter_vr;
mod interrupt;
mod machine;
mod own_router;
mod preload;
mod report;
mod vrfib;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use self::report::Report;

/// What to measure, and how to print it.
#[derive(Debug, Args)]
pub struct Options {
    /// The benchmark; without it they are listed.
    name: Option<String>,
    /// Prints a JSON document.
    #[arg(long)]
    json: bool,
    /// A short run, whose numbers only show that it works.
    #[arg(long)]
    quick: bool,
}

/// A benchmark.
struct Benchmark {
    name: &'static str,
    /// What it measures.
    help: &'static str,
    /// Runs it; in a short form if the argument says so.
    measure: fn(bool) -> Result<Report>,
}

const BENCHMARKS: [Benchmark; 6] = [
    Benchmark {
        name: inter_vr::NAME,
        help: "two processes of two VRs: the channel against our stack and the kernel",
        measure: inter_vr::measure,
    },
    Benchmark {
        name: channels::NAME,
        help: "what standing connections cost: time to open one more, memory, descriptors",
        measure: channels::measure,
    },
    Benchmark {
        name: igp::NAME,
        help: "OSPF: calculations, floods, and a ring of 40 VRs that starts, is cut and mended",
        measure: igp::measure,
    },
    Benchmark { name: vrfib::NAME, help: "look-ups in a vrFIB of 1, 100 and 10,000 entries", measure: vrfib::measure },
    Benchmark {
        name: preload::NAME,
        help: "unmodified programs between two VRs against the same over the kernel's loopback",
        measure: preload::measure,
    },
    Benchmark {
        name: boot::NAME,
        help: "a virtual machine from nothing to a BGP session, against FRR in the same machine",
        measure: boot::measure,
    },
];

/// Runs a benchmark, or lists them.
pub fn run(options: &Options) -> Result<ExitCode> {
    let Some(name) = &options.name else {
        for Benchmark { name, help, .. } in &BENCHMARKS {
            println!("{name:<16} {help}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    if name == inter_vr::ENDPOINT {
        // One of the processes that the benchmark starts: of no use to a person, hence in no list.
        inter_vr::endpoint::run()?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((_, kind)) = igp::peers::CHILDREN.into_iter().find(|(child, _)| child == name) {
        igp::peers::child(kind)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((_, subject)) = igp::wire::CHILDREN.into_iter().find(|(child, _)| child == name) {
        igp::wire::child(subject)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(benchmark) = BENCHMARKS.iter().find(|benchmark| benchmark.name == name) else {
        let known: Vec<&str> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        bail!("no benchmark {name:?}; there is: {}", known.join(", "));
    };
    let report = (benchmark.measure)(options.quick)?;
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{}", report.table()),
    }
    Ok(ExitCode::SUCCESS)
}
