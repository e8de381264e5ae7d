//! `bench vrfib`: a look-up in a vrFIB of 1, 100 and 10,000 entries, each entry of a virtual router of its own.
//!
//! A process looks up its few peers again and again, so [`PEERS`] of the entries are looked up in turn. That the others
//! are there must not be felt.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ipc::{Criteria, Family, InterfaceName, Pathname, Pid, VrId, VrName};
use sockets::vrfib::{Local, VrFib};
use vr_api::manager::{InterVrInterface, VrFibEntry, VrFibUpdate};

use super::report::{Better, Report, Unit, percentile};

/// The benchmark's name.
pub const NAME: &str = "vrfib";

/// Entries, and the names of the cases: a look-up that finds a listener, one that finds none.
const SIZES: [(u16, &str, &str); 3] =
    [(1, "lookup_1", "miss_1"), (100, "lookup_100", "miss_100"), (10_000, "lookup_10000", "miss_10000")];

const ISTHMUS: &str = "isthmus";

/// Subject of a larger table's row that holds what the table of one entry took in the same rounds.
const ONE_ENTRY: &str = "one-entry";

/// Noise of such a small measurement.
const WANTED: f64 = 1.15;

/// Peers that a process talks to.
const PEERS: u16 = 16;

/// Runs the benchmark.
pub fn measure(quick: bool) -> Result<Report> {
    let (rounds, lookups) = if quick { (2, 10_000) } else { (9, 2_000_000) };
    let cores = super::machine::own_cpus()?.len();
    let tables: Vec<VrFib> = SIZES.iter().map(|(entries, ..)| table(*entries)).collect::<Result<_>>()?;
    let mut seconds = vec![[Vec::new(), Vec::new()]; SIZES.len()];
    for _ in 0..rounds {
        for ((table, (entries, ..)), [hits, misses]) in tables.iter().zip(SIZES).zip(&mut seconds) {
            hits.push(time(table, entries, lookups, LISTENED_TO)?);
            misses.push(time(table, entries, lookups, SILENT)?);
        }
    }
    let mut report = Report { bench: NAME, cores, rounds, rows: Vec::new(), ratios: Vec::new() };
    let one_entry = seconds.first().context("no table")?.clone();
    for ((_, lookup, miss), found) in SIZES.into_iter().zip(&seconds) {
        for ((case, values), one_entry) in [lookup, miss].into_iter().zip(found).zip(&one_entry) {
            report.row(case, ISTHMUS, Unit::Seconds, values, "");
            report.row(case, ONE_ENTRY, Unit::Seconds, one_entry, "");
            report.compare(case, ISTHMUS, ONE_ENTRY, Better::Lower, Some(WANTED));
        }
    }
    Ok(report)
}

/// The port that every peer listens on, and one that nobody does.
const LISTENED_TO: NonZeroU16 = NonZeroU16::new(179).unwrap();
const SILENT: NonZeroU16 = NonZeroU16::new(180).unwrap();

/// A round's look-ups are timed in so many parts, of which the median counts: a part in which the process was taken off
/// its CPU says nothing of a look-up.
const PARTS: u32 = 20;

/// Seconds of one look-up.
fn time(table: &VrFib, entries: u16, lookups: u32, port: NonZeroU16) -> Result<f64> {
    let criteria = Criteria::Tcp(Family::Ipv4, port);
    let local = Local::default();
    // Spread over the table.
    let step = (entries / PEERS).max(1);
    let peers: Vec<IpAddr> = (0..PEERS).map(|n| address(n * step % entries)).collect();
    let (mut found, mut seconds) = (0, Vec::new());
    let each = lookups / PARTS;
    for _ in 0..PARTS {
        let start = Instant::now();
        for peer in peers.iter().cycle().take(each as usize) {
            found += u32::from(black_box(table.lookup(&local, black_box(*peer), &criteria)).is_some());
        }
        seconds.push(start.elapsed().as_secs_f64() / f64::from(each));
    }
    let expected = if port == LISTENED_TO { each * PARTS } else { 0 };
    ensure!(found == expected, "{found} look-ups hit, not {expected}");
    percentile(&seconds, 50).context("no look-ups")
}

/// A vrFIB of a VR that is joined with so many others, in each of which one process listens.
fn table(entries: u16) -> Result<VrFib> {
    let name = |peer: u16| format!("vr{peer}");
    let interface = |peer: u16| -> Result<InterVrInterface> {
        Ok(InterVrInterface {
            name: InterfaceName::new(&name(peer))?,
            peer_vr: VrId(peer + 1),
            peer_name: VrName::new(&name(peer))?,
            addresses: vec![OWN],
            own_addresses: vec![OWN],
            peer_addresses: vec![address(peer)],
            lost: Vec::new(),
            lost_from: Vec::new(),
            up: true,
        })
    };
    let entry = |peer: u16| -> Result<VrFibEntry> {
        Ok(VrFibEntry {
            to: address(peer),
            listener: Pathname::endpoint(VrId(peer + 1), Pid(1000), Criteria::Tcp(Family::Ipv4, LISTENED_TO)),
            generation: 1,
            interface: InterfaceName::new(&name(peer))?,
            source: OWN,
        })
    };
    let interfaces = (0..entries).map(interface).collect::<Result<_>>()?;
    let entries = (0..entries).map(entry).collect::<Result<_>>()?;
    let mut table = VrFib::default();
    table.apply(VrFibUpdate::Snapshot { interfaces, entries })?;
    Ok(table)
}

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 1));

fn address(peer: u16) -> IpAddr {
    let [high, low] = peer.to_be_bytes();
    IpAddr::from([10, 1, high, low])
}
