//! `bench boot`: a router as the only thing on a virtual machine, against FRR in the same place.
//!
//! ```text
//!   this process ──▶ QEMU: kernel, initramfs of the subject ── card ═══ cable ═══ port ── a router of its own
//!        │  ▲ serial line: first process, prompt                                            │
//!        │  └───────────────────────────────────────────────── log: the session is Established
//!        └──▶ balloon: memory in use
//! ```
//!
//! Both subjects boot the same kernel with the same modules in the same QEMU, have the same address on the same card,
//! and speak BGP with the same neighbor outside, which is what says that a session is up. So nobody is asked inside the
//! machine while it is measured.

mod frr;
mod neighbor;
mod vm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use qemu::ImageError;
use qemu::image::{self, Built, KernelSource};
use qemu::lock::{BUILT_IN, Lock};
use qemu::package::Kernel;

use self::neighbor::Neighbor;
use self::vm::Vm;
use super::machine;
use super::report::{Better, Report, Unit};

/// The benchmark's name.
pub const NAME: &str = "boot";

/// Boots of each subject.
const FULL: usize = 5;
/// Enough to see that it works.
const QUICK: usize = 1;

const ISTHMUS: &str = "isthmus";
const FRR: &str = "frr";
/// Subject of the rows that hold what is wanted at most.
const BOUND: &str = "bound";

/// A case: its unit, and what is wanted at most, if not only to be ahead of FRR.
struct Case {
    name: &'static str,
    unit: Unit,
    bound: Option<f64>,
}

const IMAGE_SIZE: Case = Case { name: "image_size", unit: Unit::Bytes, bound: Some(25e6) };
const TO_PID1: Case = Case { name: "to_pid1", unit: Unit::Seconds, bound: None };
const TO_PROMPT: Case = Case { name: "to_prompt", unit: Unit::Seconds, bound: None };
const TO_ESTABLISHED: Case = Case { name: "to_established", unit: Unit::Seconds, bound: Some(3.0) };
const GUEST_MEMORY: Case = Case { name: "guest_memory", unit: Unit::Bytes, bound: Some(MEMORY_MIB as f64 * MIB) };
const CASES: [Case; 5] = [IMAGE_SIZE, TO_PID1, TO_PROMPT, TO_ESTABLISHED, GUEST_MEMORY];

/// Memory of each machine.
const MEMORY_MIB: u32 = 128;
const MIB: f64 = (1_u32 << 20) as f64;

/// Only a machine that is broken takes so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// Values of all rounds, by case and subject.
type Values = BTreeMap<(&'static str, &'static str), Vec<f64>>;

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let rounds = if quick { QUICK } else { FULL };
    let folder = super::interrupt::own_folder()?;
    let cores = machine::own_cpus()?.len();
    let kernel = kernel()?;
    let mut subjects = vec![own_image(&kernel, &folder.path().join(ISTHMUS))?];
    let skipped = match frr::build(&kernel, &folder.path().join(FRR)) {
        Ok(built) => {
            subjects.push(Subject { name: FRR, folder: folder.path().join(FRR), built });
            String::new()
        }
        Err(error) => format!("{error:#}"),
    };
    let mut values = Values::new();
    for round in 0..rounds {
        for subject in &subjects {
            let place = folder.path().join(format!("{}-{round}", subject.name));
            for (case, value) in subject.boot(&place).with_context(|| subject.name)? {
                values.entry((case.name, subject.name)).or_default().push(value);
            }
        }
    }
    Ok(report(rounds, cores, &values, &skipped))
}

/// What boots.
struct Subject {
    name: &'static str,
    folder: PathBuf,
    built: Built,
}

impl Subject {
    /// Boots it once, beside a neighbor whose files are in `place`.
    fn boot(&self, place: &Path) -> Result<[(&'static Case, f64); 5]> {
        std::fs::create_dir(place).with_context(|| place.display().to_string())?;
        let neighbor = Neighbor::start(place)?;
        let mut vm = Vm::start(&self.folder, place, MEMORY_MIB)?;
        let established = neighbor.await_established().with_context(|| vm.console())?;
        let first_process = vm.first_process()?;
        let prompt = vm.await_text(neighbor::PROMPT)?;
        let image_bytes = self.built.kernel_bytes + self.built.initrd_bytes;
        Ok([
            (&IMAGE_SIZE, image_bytes as f64),
            (&TO_PID1, first_process.since_kernel_start.as_secs_f64()),
            (&TO_PROMPT, prompt.duration_since(first_process.seen).as_secs_f64()),
            (&TO_ESTABLISHED, established.duration_since(first_process.seen).as_secs_f64()),
            (&GUEST_MEMORY, vm.memory_in_use()? as f64),
        ])
    }
}

/// The locked kernel; where apt has moved on, the one that it offers, since all subjects boot the same.
fn kernel() -> Result<Kernel> {
    let cache = crate::image::cache()?;
    let locked = KernelSource::Locked { lock: Lock::parse(BUILT_IN)?, cache: cache.clone() };
    match image::kernel(&locked) {
        Err(ImageError::NotOffered { .. }) => {
            let lock = qemu::apt::newest(&cache)?;
            Ok(image::kernel(&KernelSource::Locked { lock, cache })?)
        }
        result => Ok(result?),
    }
}

/// The image that `isthmus image qemu` builds of this executable.
fn own_image(kernel: &Kernel, folder: &Path) -> Result<Subject> {
    let config = folder.with_extension("conf");
    std::fs::write(&config, neighbor::CONFIG_OF_ISTHMUS).with_context(|| config.display().to_string())?;
    let executable = std::env::current_exe().context("own executable")?;
    let built = image::build_with(kernel, &executable, Some(&config), folder)?;
    Ok(Subject { name: ISTHMUS, folder: folder.to_owned(), built })
}

fn report(rounds: usize, cores: usize, values: &Values, skipped: &str) -> Report {
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    for case in &CASES {
        for subject in [ISTHMUS, FRR] {
            let found = values.get(&(case.name, subject)).map(Vec::as_slice).unwrap_or_default();
            report.row(case.name, subject, case.unit, found, skipped);
        }
        report.compare(case.name, ISTHMUS, FRR, Better::Lower, Some(1.0));
        if let Some(bound) = case.bound {
            report.row(case.name, BOUND, case.unit, &[bound], "");
            report.compare(case.name, ISTHMUS, BOUND, Better::Lower, Some(1.0));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_there_is_skipped_with_the_reason_and_the_bounds_stay() {
        let values =
            Values::from([((TO_ESTABLISHED.name, ISTHMUS), vec![4.0]), ((IMAGE_SIZE.name, ISTHMUS), vec![1e6])]);
        let report = report(1, 2, &values, "frr is not installed");
        let text = serde_json::to_string(&report).unwrap();
        assert!(
            text.contains(r#""case":"to_established","subject":"frr","unit":"s","skipped":"frr is not installed""#)
        );
        let met = |case: &str| report.ratios.iter().find(|ratio| ratio.case == case).unwrap().met;
        assert_eq!((met("to_established"), met("image_size"), report.ratios.len()), (Some(false), Some(true), 2));
    }
}
