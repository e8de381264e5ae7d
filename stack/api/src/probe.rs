//! Echo requests on an operator's behalf: the one message behind `ping` and `traceroute`.

use std::net::IpAddr;

use ipc::{InterfaceName, VrName};
use serde::{Deserialize, Serialize};

/// Schema of the channel, for the hello.
pub const SCHEMA: &str = "probe";

/// Send one ICMP or ICMPv6 echo request (RFC 792, RFC 4443). Exactly one [`ProbeResult`] with the same number follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The asker's number for it.
    pub number: u32,
    /// From which VR. A process of a VR may name its own only.
    pub vr: VrName,
    /// Where to.
    pub to: IpAddr,
    /// From which own address; `None`: as the route says.
    pub from: Option<IpAddr>,
    /// Where a link-local destination is.
    pub interface: Option<InterfaceName>,
    /// TTL or hop limit it is sent with.
    pub ttl: u8,
    /// Payload bytes behind the ICMP or ICMPv6 header.
    pub size: u16,
    /// After how many milliseconds [`Outcome::TimedOut`] is the answer.
    pub timeout_ms: u32,
}

/// What became of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// From the probe.
    pub number: u32,
    /// What came back.
    pub outcome: Outcome,
    /// Between sending and the answer, in nanoseconds.
    pub round_trip_ns: u64,
}

/// What came back for a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The destination answered.
    Reply {
        /// Who.
        from: IpAddr,
        /// TTL of the answer on arrival.
        ttl: u8,
    },
    /// A router on the way says that the TTL ran out.
    TimeExceeded {
        /// Which.
        from: IpAddr,
    },
    /// A router, or this one, says that it goes no further.
    Unreachable {
        /// Which.
        from: IpAddr,
        /// Code of ICMP's type 3: 0 network, 1 host, 2 protocol, 3 port, 4 too big, 13 prohibited. ICMPv6's errors are
        /// put into these words.
        code: u8,
    },
    /// No answer in time.
    TimedOut,
    /// Not sent; the reason.
    NotSent(String),
}
