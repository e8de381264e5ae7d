//! The cases: what is measured, of whom, and what is wanted of it.

use std::time::Duration;

use super::Effort;
use super::transport::{Subject, Waiting};
use super::workload::Workload;
use crate::bench::report::{Better, Unit};

/// Where the two endpoints run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Each on a CPU of its own.
    Apart,
    /// Both on the same one.
    OneCore,
}

/// What a case does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Round trips; the median.
    RoundTrip(Waiting),
    /// A stream of messages of so many bytes.
    Throughput(usize),
    /// Datagrams of so many bytes, of which some may get lost.
    Datagrams(usize),
    /// Connections, up to the first byte.
    Open,
    /// System calls a message, in a stream of messages of so many bytes.
    SystemCalls(usize),
}

/// A case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub unit: Unit,
    pub better: Better,
    pub placement: Placement,
    pub kind: Kind,
    pub subjects: &'static [Subject],
    /// What `inter-vr` is compared with, and what is wanted of the ratio.
    pub against: &'static [(&'static str, Option<f64>)],
}

/// What no program beats: a cache line there and back, a copy.
pub const CACHE_LINE: &str = "cache-line";
pub const MEMCPY: &str = "memcpy";

/// Subject of a row that holds a bound, where one is wanted that nobody measures.
pub const BOUND: &str = "bound";

/// System calls a message that are wanted at most.
pub const SYSTEM_CALLS_WANTED: f64 = 0.02;

/// Round trips between two that are awake.
pub const RTT_P50: &str = "rtt_64B_p50";
/// Further cases: the slowest hundredth of the first one's round trips, and the processor time of the stream of 64 KiB.
pub const RTT_P99: &str = "rtt_64B_p99";
pub const CPU_PER_GIB: &str = "cpu_per_GiB";

/// Messages of the cases of round trips.
pub const SMALL: usize = 64;
/// Messages of the stream whose processor time is told.
pub const LARGE: usize = 64 * 1024;

use Better::{Higher, Lower};
use Placement::{Apart, OneCore};
use Subject::{AfUnix, Eventfd, InterVr, KernelTcp, Stack};

const CARRY_DATA: &[Subject] = &[InterVr, Stack, KernelTcp, AfUnix];
const WAKE: &[Subject] = &[InterVr, Stack, KernelTcp, AfUnix, Eventfd];

pub const CASES: [Case; 13] = [
    Case {
        name: RTT_P50,
        unit: Unit::Seconds,
        better: Lower,
        placement: Apart,
        kind: Kind::RoundTrip(Waiting::Spinning),
        subjects: CARRY_DATA,
        against: &[(CACHE_LINE, Some(2.5)), ("kernel-tcp", Some(1.0 / 20.0)), ("af-unix", None), ("stack", None)],
    },
    Case {
        name: "rtt_64B_sleeping_p50",
        unit: Unit::Seconds,
        better: Lower,
        placement: Apart,
        kind: Kind::RoundTrip(Waiting::Sleeping),
        subjects: WAKE,
        against: &[("eventfd", Some(1.15)), ("kernel-tcp", None), ("af-unix", None), ("stack", None)],
    },
    Case {
        name: "rtt_64B_one_core_p50",
        unit: Unit::Seconds,
        better: Lower,
        placement: OneCore,
        kind: Kind::RoundTrip(Waiting::Spinning),
        subjects: WAKE,
        against: &[("kernel-tcp", Some(0.35)), ("eventfd", None), ("af-unix", None), ("stack", None)],
    },
    throughput("throughput_64B", SMALL, Apart, &[("kernel-tcp", Some(25.0)), ("af-unix", None), ("stack", None)]),
    throughput("throughput_1KiB", 1024, Apart, &[("kernel-tcp", Some(8.0)), ("af-unix", None), ("stack", None)]),
    throughput(
        "throughput_64KiB",
        LARGE,
        Apart,
        &[("kernel-tcp", Some(2.5)), ("af-unix", None), ("stack", None), (MEMCPY, None)],
    ),
    throughput(
        "throughput_64B_one_core",
        SMALL,
        OneCore,
        &[("kernel-tcp", Some(80.0)), ("af-unix", None), ("stack", None)],
    ),
    throughput(
        "throughput_1KiB_one_core",
        1024,
        OneCore,
        &[("kernel-tcp", Some(20.0)), ("af-unix", None), ("stack", None)],
    ),
    throughput(
        "throughput_64KiB_one_core",
        LARGE,
        OneCore,
        &[("kernel-tcp", Some(5.0)), ("af-unix", None), ("stack", None), (MEMCPY, None)],
    ),
    Case {
        name: "datagram_64B",
        unit: Unit::PerSecond,
        better: Higher,
        placement: Apart,
        kind: Kind::Datagrams(SMALL),
        subjects: CARRY_DATA,
        against: &[("af-unix", Some(10.0)), ("kernel-tcp", None), ("stack", None)],
    },
    Case {
        name: "open",
        unit: Unit::Seconds,
        better: Lower,
        placement: Apart,
        kind: Kind::Open,
        subjects: CARRY_DATA,
        against: &[("kernel-tcp", None), ("af-unix", None), ("stack", None)],
    },
    Case {
        name: "syscalls_per_message",
        unit: Unit::Count,
        better: Lower,
        placement: Apart,
        kind: Kind::SystemCalls(SMALL),
        subjects: CARRY_DATA,
        against: &[(BOUND, Some(1.0)), ("kernel-tcp", None), ("af-unix", None), ("stack", None)],
    },
    // Its values come from `throughput_64KiB`.
    Case {
        name: CPU_PER_GIB,
        unit: Unit::SecondsPerGib,
        better: Lower,
        placement: Apart,
        kind: Kind::Throughput(LARGE),
        subjects: &[],
        against: &[("kernel-tcp", Some(1.0 / 3.0)), ("af-unix", None), ("stack", None)],
    },
];

const fn throughput(
    name: &'static str,
    message_bytes: usize,
    placement: Placement,
    against: &'static [(&'static str, Option<f64>)],
) -> Case {
    let unit = if message_bytes == LARGE { Unit::BytesPerSecond } else { Unit::PerSecond };
    Case { name, unit, better: Higher, placement, kind: Kind::Throughput(message_bytes), subjects: CARRY_DATA, against }
}

impl Case {
    pub fn workload(&self, effort: Effort) -> Workload {
        let Effort { round_trips, duration, connections, .. } = effort;
        match self.kind {
            Kind::RoundTrip(waiting) => {
                Workload::PingPong { message_bytes: SMALL, round_trips, limit: Duration::from_secs(5), waiting }
            }
            Kind::Throughput(message_bytes) => Workload::Stream { message_bytes, duration },
            Kind::SystemCalls(message_bytes) => Workload::Stream { message_bytes, duration: duration / 3 },
            Kind::Datagrams(message_bytes) => Workload::Datagrams { message_bytes, duration },
            Kind::Open => Workload::Open { connections },
        }
    }
}
