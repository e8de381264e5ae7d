//! Echo requests on an operator's behalf, until their answers come or time runs out.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipc::VrId;
use ipc::service::ClientId;
use stack_api::probe::{Outcome, Probe, ProbeResult};

use super::plane::Plane;
use crate::ids::IfIndex;
use crate::internet::{icmp, icmpv6, report};
use crate::time::Time;
use crate::wire::icmpv4::{Icmpv4Repr, Unreachable};
use crate::wire::icmpv6::Icmpv6Repr;
use crate::wire::ip::IpView;
use crate::wire::ipv4::protocol;

/// Probes under way at once, of all operators.
const MAX_PENDING: usize = 4096;
/// Largest payload: an IP packet without its headers.
const MAX_PAYLOAD: u16 = 65_535 - 28;
/// Identifier of our echo requests; the sequence number tells them apart.
const IDENTIFIER: u16 = 0x4953;

#[derive(Debug)]
struct Pending {
    client: ClientId,
    number: u32,
    sent: Time,
    deadline: Time,
}

/// Probes under way, by VR and sequence number.
#[derive(Debug, Default)]
pub struct Probes {
    pending: HashMap<(VrId, u16), Pending>,
    deadlines: BTreeSet<(Time, VrId, u16)>,
    next: u16,
}

/// A result and who waits for it.
pub type Answer = (ClientId, ProbeResult);

impl Probes {
    /// Sends a probe. A result at once where it cannot be sent.
    pub fn send(&mut self, now: Time, plane: &mut Plane, client: ClientId, probe: &Probe) -> Option<Answer> {
        let number = probe.number;
        match self.try_send(now, plane, client, probe) {
            Ok(()) => None,
            Err(reason) => Some((client, ProbeResult { number, outcome: Outcome::NotSent(reason), round_trip_ns: 0 })),
        }
    }

    fn try_send(&mut self, now: Time, plane: &mut Plane, client: ClientId, probe: &Probe) -> Result<(), String> {
        let vr = plane.topology.vr(&probe.vr).ok_or_else(|| format!("no virtual router {}", probe.vr))?;
        let interface = match &probe.interface {
            Some(name) => {
                let missing = || format!("{} has no interface {name}", probe.vr);
                Some(plane.topology.interface(vr, name).ok_or_else(missing)?.index)
            }
            None => None,
        };
        if probe.size > MAX_PAYLOAD {
            return Err(format!("{} bytes; at most {MAX_PAYLOAD} fit a packet", probe.size));
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(format!("{MAX_PENDING} probes are under way already"));
        }
        let from = source(plane, vr, interface, probe)?;
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        if self.pending.contains_key(&(vr, sequence)) {
            return Err("too many probes are under way".to_owned());
        }
        let packet = echo_request(from, probe, sequence)?;
        let deadline = now + Duration::from_millis(probe.timeout_ms.into());
        self.pending.insert((vr, sequence), Pending { client, number: probe.number, sent: now, deadline });
        self.deadlines.insert((deadline, vr, sequence));
        if !plane.send(now, vr, interface, &packet) {
            self.take(vr, sequence);
            return Err("no buffer is left".to_owned());
        }
        Ok(())
    }

    /// An ICMP message for `vr` came: an answer, or an error that quotes a probe.
    pub fn received(
        &mut self,
        now: Time,
        vr: VrId,
        from: Ipv4Addr,
        ttl: u8,
        message: &Icmpv4Repr,
        payload: &[u8],
    ) -> Option<Answer> {
        let from = IpAddr::V4(from);
        let (sequence, outcome) = match message {
            Icmpv4Repr::EchoReply { identifier: IDENTIFIER, sequence } => (*sequence, Outcome::Reply { from, ttl }),
            Icmpv4Repr::TimeExceededInTransit => (quoted(payload)?, Outcome::TimeExceeded { from }),
            Icmpv4Repr::DestinationUnreachable(why) => {
                (quoted(payload)?, Outcome::Unreachable { from, code: code(*why) })
            }
            Icmpv4Repr::EchoReply { .. }
            | Icmpv4Repr::EchoRequest { .. }
            | Icmpv4Repr::TimeExceededInReassembly
            | Icmpv4Repr::ParameterProblem { .. }
            | Icmpv4Repr::Other { .. } => return None,
        };
        self.answered(now, vr, sequence, outcome)
    }

    /// An ICMPv6 message for `vr` came.
    pub fn received_v6(
        &mut self,
        now: Time,
        vr: VrId,
        from: Ipv6Addr,
        ttl: u8,
        message: &Icmpv6Repr,
        payload: &[u8],
    ) -> Option<Answer> {
        let from = IpAddr::V6(from);
        let (sequence, outcome) = match message {
            Icmpv6Repr::EchoReply { identifier: IDENTIFIER, sequence } => (*sequence, Outcome::Reply { from, ttl }),
            Icmpv6Repr::TimeExceededInTransit => (quoted(payload)?, Outcome::TimeExceeded { from }),
            Icmpv6Repr::DestinationUnreachable(_)
            | Icmpv6Repr::PacketTooBig { .. }
            | Icmpv6Repr::ParameterProblem { .. } => {
                (quoted(payload)?, Outcome::Unreachable { from, code: code(report::unreachable(message)?) })
            }
            Icmpv6Repr::EchoReply { .. }
            | Icmpv6Repr::EchoRequest { .. }
            | Icmpv6Repr::TimeExceededInReassembly
            | Icmpv6Repr::Other { .. } => return None,
        };
        self.answered(now, vr, sequence, outcome)
    }

    fn answered(&mut self, now: Time, vr: VrId, sequence: u16, outcome: Outcome) -> Option<Answer> {
        let pending = self.take(vr, sequence)?;
        let round_trip_ns = now.as_nanos().saturating_sub(pending.sent.as_nanos());
        Some((pending.client, ProbeResult { number: pending.number, outcome, round_trip_ns }))
    }

    /// Probes whose time ran out by `now`.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some((_, vr, sequence)) = self.deadlines.first().copied().filter(|(at, ..)| *at <= now) {
            if let Some(pending) = self.take(vr, sequence) {
                let round_trip_ns = now.as_nanos().saturating_sub(pending.sent.as_nanos());
                let result = ProbeResult { number: pending.number, outcome: Outcome::TimedOut, round_trip_ns };
                answers.push((pending.client, result));
            }
        }
        answers
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, ..)| *at)
    }

    /// Nobody waits for this client's probes any more.
    pub fn forget(&mut self, client: ClientId) {
        self.pending.retain(|(vr, sequence), pending| {
            let kept = pending.client != client;
            if !kept {
                self.deadlines.remove(&(pending.deadline, *vr, *sequence));
            }
            kept
        });
    }

    fn take(&mut self, vr: VrId, sequence: u16) -> Option<Pending> {
        let pending = self.pending.remove(&(vr, sequence))?;
        self.deadlines.remove(&(pending.deadline, vr, sequence));
        Some(pending)
    }
}

/// The own address that a probe is sent from.
fn source(plane: &Plane, vr: VrId, interface: Option<IfIndex>, probe: &Probe) -> Result<IpAddr, String> {
    let (to, topology) = (probe.to, &plane.topology);
    if vr_api::interface::is_link_scoped(to) && interface.is_none() {
        return Err(format!("{to} is one of each link; say which: `interface NAME`"));
    }
    match (probe.from, interface) {
        (Some(from), _) if from.is_ipv4() != to.is_ipv4() => {
            Err(format!("{from} and {to} are not of one address family"))
        }
        (Some(from), _) if topology.is_local_on(vr, from, interface) => Ok(from),
        (Some(from), _) => Err(format!("{from} is not an address of this virtual router")),
        (None, Some(interface)) if vr_api::interface::is_link_scoped(to) => {
            topology.source(interface, to).ok_or_else(|| "the interface has no IPv6 address".to_owned())
        }
        (None, _) => plane.source_towards(vr, to).map_err(|error| error.to_string()),
    }
}

fn echo_request(from: IpAddr, probe: &Probe, sequence: u16) -> Result<Vec<u8>, String> {
    let payload: Vec<u8> = (0..probe.size).map(|index| index as u8).collect();
    let identifier = IDENTIFIER;
    let packet = match (from, probe.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            icmp::packet(from, to, probe.ttl, &Icmpv4Repr::EchoRequest { identifier, sequence }, &payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            icmpv6::packet(from, to, probe.ttl, &Icmpv6Repr::EchoRequest { identifier, sequence }, &payload)
        }
        (from, to) => return Err(format!("{from} and {to} are not of one address family")),
    };
    packet.map_err(|error| error.to_string())
}

/// The sequence number of our echo request that an error quotes: IP header, then at least 8 bytes.
fn quoted(packet: &[u8]) -> Option<u16> {
    let ip = IpView::parse_quoted(packet).ok()?;
    let [message_type, _, _, _, a, b, c, d, ..] = *ip.payload else { return None };
    let is_request = matches!((ip.protocol, message_type), (protocol::ICMP, 8) | (protocol::ICMPV6, 128));
    (is_request && u16::from_be_bytes([a, b]) == IDENTIFIER).then(|| u16::from_be_bytes([c, d]))
}

fn code(why: Unreachable) -> u8 {
    match why {
        Unreachable::Network => 0,
        Unreachable::Host => 1,
        Unreachable::Protocol => 2,
        Unreachable::Port => 3,
        Unreachable::FragmentationNeeded { .. } => 4,
        Unreachable::Prohibited => 13,
        Unreachable::Other(code) => code,
    }
}
