//! A ring of VRs on one box, each with OSPF and a RIB of its own, joined by inter-VR interfaces.

use std::fmt::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bench::own_router::{Kept, OwnRouter};

/// The router's name, and that of its folder below the benchmark's.
const NAME: &str = "ring";
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// After a change the ring is left alone for so long, so that no delay of an earlier one holds.
const REST: Duration = Duration::from_secs(11);
/// The same in a short run.
const SHORT_REST: Duration = Duration::from_secs(1);

/// What it takes, in seconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// From the command that brings a link up to Full.
    pub adjacency: Vec<f64>,
    /// From the start of the router's processes to the last change of a FIB.
    pub start: Vec<f64>,
    /// From the command that takes a link down to the last change of a FIB.
    pub reconverge: Vec<f64>,
}

/// Starts rings and cuts them.
pub fn measure(folder: &Path, quick: bool) -> Result<Found> {
    let (vrs, rounds, rest) = if quick { (4, 1, SHORT_REST) } else { (40, 5, REST) };
    let mut found = Found::default();
    for round in 0..rounds {
        let begun = Instant::now();
        let ring = Ring::start(folder, vrs)?;
        found.start.push(ring.wait_for_tables(begun, vrs)?);
        sleep(rest);
        let begun = Instant::now();
        ring.0.sh("configure vr n0; interface n1; shutdown")?;
        ring.wait_for_gone()?;
        found.reconverge.push(ring.wait_for_tables(begun, vrs)?);
        sleep(rest);
        let begun = Instant::now();
        ring.0.sh("configure vr n0; interface n1; no shutdown")?;
        found.adjacency.push(ring.wait_for_full(begun)?);
        log::debug!("round {round}: {found:?}");
    }
    Ok(found)
}

/// VR `n` is joined with `n + 1`, the last one with the first.
fn configuration(vrs: usize) -> String {
    let mut text = String::new();
    let next = |vr: usize| (vr + 1) % vrs;
    let before = |vr: usize| (vr + vrs - 1) % vrs;
    for vr in 0..vrs {
        // Writing to a string does not fail.
        let _ = writeln!(text, "vr n{vr}\n!");
    }
    for vr in 0..vrs {
        let _ = writeln!(text, "connect n{vr} n{}", next(vr));
    }
    text += "!\n";
    for vr in 0..vrs {
        let (after, before) = (next(vr), before(vr));
        let ospf = |peer: usize| format!("   interface n{peer}\n    network point-to-point\n   !\n");
        let _ = write!(
            text,
            "vr n{vr}\n interface n{after}\n  ipv4 address 10.0.{vr}.0/31\n !\n interface n{before}\n  ipv4 address \
             10.0.{before}.1/31\n !\n interface Loopback0\n  ipv4 address 192.0.2.{0}/32\n !\n router ospf 1\n  \
             router-id 192.0.2.{0}\n  area 0\n   interface Loopback0\n   !\n{1}{2}  !\n !\n!\n",
            vr + 1,
            ospf(after),
            ospf(before),
        );
    }
    text
}

/// The router of all the VRs.
struct Ring(OwnRouter);

impl Ring {
    fn start(folder: &Path, vrs: usize) -> Result<Self> {
        OwnRouter::start(folder, NAME, &configuration(vrs), Kept::Nothing).map(Self)
    }

    /// Waits until every VR has a route to every other's loopback; seconds from `begun` to the last change that a FIB has
    /// acknowledged.
    fn wait_for_tables(&self, begun: Instant, vrs: usize) -> Result<f64> {
        let is_loopback = |row: &&Value| row["prefix"].as_str().is_some_and(|prefix| prefix.starts_with("192.0.2."));
        until(|| {
            let table = self.0.sh("show route")?;
            let rows = table.as_array().into_iter().flatten().filter(is_loopback);
            Ok((rows.count() == vrs * vrs).then_some(()))
        })?;
        // What was on its way when the last route came has arrived now.
        sleep(Duration::from_millis(500));
        let mut last: f64 = 0.0;
        // Each is asked by itself: the time that the answer takes counts as if the change had come later.
        for vr in 0..vrs {
            let changed = until(|| {
                let table = self.0.sh(&format!("show route download vr n{vr}"))?;
                let now = begun.elapsed().as_secs_f64();
                let row = table.as_array().and_then(|rows| rows.first()).context("a RIB")?;
                let is_at_rest = row["prefixes_waiting"] == 0 && row["batches_unanswered"] == 0;
                Ok(row["last_change"].as_f64().filter(|_| is_at_rest).map(|ago| now - ago))
            });
            last = last.max(changed?);
        }
        Ok(last)
    }

    /// Waits until the route that the link led to goes the other way round.
    fn wait_for_gone(&self) -> Result<()> {
        until(|| {
            let table = self.0.sh("show route vr n0")?;
            let to_neighbor =
                table.as_array().into_iter().flatten().find(|row| row["prefix"] == "192.0.2.2/32").cloned();
            let leaves_by = to_neighbor.map(|row| row["next_hops"][0]["interface"].clone());
            Ok((leaves_by.is_some_and(|interface| interface != "n1")).then_some(()))
        })
    }

    /// Waits until the neighbor on the link is full; seconds from `begun` to that.
    fn wait_for_full(&self, begun: Instant) -> Result<f64> {
        until(|| {
            let table = self.0.sh("show ospf neighbor vr n0")?;
            let now = begun.elapsed().as_secs_f64();
            let full = |row: &&Value| row["interface"] == "n1" && row["state"] == "Full";
            let since = table.as_array().into_iter().flatten().find(full).and_then(|row| row["state_for"].as_f64());
            Ok(since.map(|since| now - since))
        })
    }
}

/// Looks until there is something: a router tells nobody of a change of its tables. How often costs nothing, since the tables
/// themselves say when they changed.
pub fn until<T>(look: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            bail!("the ring did not converge within {PATIENCE:?}");
        }
        sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ring.conf");
        std::fs::write(&file, configuration(40)).unwrap();
        let summary = crate::check::check_file(&file).unwrap();
        assert!(summary.contains("40 VRs"), "{summary}");
    }
}
