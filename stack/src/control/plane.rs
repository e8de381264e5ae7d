//! The data plane's tables and buffers, as the one thread that writes them has them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use ipc::{Family, VrId};
use stack_api::socket::SocketError;

use super::routes::Routes;
use super::topology::{Topology, TopologyChange};
use crate::counters::{Counters, LocalCounters};
use crate::fib::{Adjacency, AdjacencyId, FibError, FibWriter};
use crate::ids::IfIndex;
use crate::ifib::{IfibChange, IfibEntry, IfibKey, IfibWriter, PuntTarget};
use crate::interfaces::Interfaces;
use crate::linecard::{Forwarder, Inject, InjectTarget, LineCard, Output, PortDirectory, Punt};
use crate::packet::{Packet, PacketPool, PoolLimits};
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::wire::ipv4::protocol;

/// Packets that go round between the control side's forwarder and its handlers in one call: an answer to oneself is
/// two or three; more is a loop.
const MAX_ROUNDS: usize = 4096;

/// Writers, buffers, and a forwarder of the control side's own.
#[derive(Debug)]
pub struct Plane {
    /// Names and numbers.
    pub topology: Topology,
    /// What each prefix has.
    pub routes: Routes,
    /// The FIB's one writer.
    pub fib: FibWriter,
    /// The IFIB's one writer.
    pub ifib: IfibWriter,
    /// What line cards see of the interfaces.
    pub interfaces: Interfaces,
    /// Counters of the router.
    pub counters: Counters,
    /// Buffers.
    pub pool: PacketPool,
    /// Where frames go.
    pub ports: PortDirectory,
    forwarder: Forwarder,
    local: LocalCounters,
    output: Output,
    punted: VecDeque<Punt>,
    rounds: usize,
}

impl Plane {
    /// A plane without VRs and ports.
    pub fn new(limits: PoolLimits) -> Self {
        let (fib, ifib, interfaces) = (FibWriter::new(), IfibWriter::new(), Interfaces::new());
        let (counters, ports, pool) = (Counters::new(), PortDirectory::new(), PacketPool::new(limits));
        let shared = LineCard {
            fib: fib.reader(),
            ifib: ifib.reader(),
            interfaces: interfaces.clone(),
            counters: counters.clone(),
            pool: pool.clone(),
            ports: ports.clone(),
        };
        let forwarder = shared.control_forwarder();
        let local = counters.local();
        Self {
            topology: Topology::default(),
            routes: Routes::default(),
            fib,
            ifib,
            interfaces,
            counters,
            pool,
            ports,
            forwarder,
            local,
            output: Output::default(),
            punted: VecDeque::new(),
            rounds: 0,
        }
    }

    /// What a line card shares with this plane.
    pub fn line_card(&self) -> LineCard {
        LineCard {
            fib: self.fib.reader(),
            ifib: self.ifib.reader(),
            interfaces: self.interfaces.clone(),
            counters: self.counters.clone(),
            pool: self.pool.clone(),
            ports: self.ports.clone(),
        }
    }

    /// Brings the tables up to date with a change of VRs, interfaces or links.
    pub fn apply(&mut self, change: &TopologyChange) -> Result<(), FibError> {
        for vr in &change.deleted {
            self.routes.delete(&mut self.fib, *vr)?;
            self.ifib.apply(&[IfibChange::Remove(icmp_key(*vr))]);
        }
        for vr in &change.created {
            self.routes.create(&mut self.fib, *vr)?;
            let entry = IfibEntry { target: PuntTarget::Handler, class: PolicerClass::Protocol };
            self.ifib.apply(&[IfibChange::Set(icmp_key(*vr), entry)]);
        }
        self.interfaces.publish(change.table.clone());
        let vrs: Vec<VrId> = self.topology.vrs().map(|(_, vr)| vr).collect();
        vrs.into_iter()
            .try_for_each(|vr| self.routes.set_local(&mut self.fib, vr, self.topology.received_addresses(vr)))
    }

    /// Sends an IP packet that `vr` originates, in bytes. `false`: no buffer.
    pub fn send(&mut self, now: Time, vr: VrId, bytes: &[u8]) -> bool {
        match self.pool.packet(bytes) {
            Some(packet) => {
                self.inject(now, InjectTarget::Lookup { vr }, packet);
                true
            }
            None => false,
        }
    }

    /// Sends a whole frame out of an interface. `false`: no buffer.
    pub fn send_frame(&mut self, now: Time, interface: IfIndex, bytes: &[u8]) -> bool {
        match self.pool.packet(bytes) {
            Some(packet) => {
                self.inject(now, InjectTarget::Frame { interface }, packet);
                true
            }
            None => false,
        }
    }

    /// Sends a packet. What comes back to the control side waits in [`next_punt`](Self::next_punt).
    pub fn inject(&mut self, now: Time, target: InjectTarget, packet: Packet) {
        self.forwarder.inject(now, Inject { target, packet }, &mut self.output);
        self.ports.transmit(&mut self.output.transmit, &mut self.local);
        self.punted.extend(self.output.punts.drain(..));
    }

    /// What the control side's own packets brought back to it. `None`: nothing more, or it goes round and round.
    pub fn next_punt(&mut self) -> Option<Punt> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            log::warn!("{} packets that the router sends to itself are dropped: a loop", self.punted.len());
            self.punted.clear();
        }
        let punt = self.punted.pop_front();
        if punt.is_none() {
            self.rounds = 0;
        }
        punt
    }

    /// Sends a packet that `vr` originates.
    pub fn originate(&mut self, now: Time, vr: VrId, packet: Packet) {
        self.inject(now, InjectTarget::Lookup { vr }, packet);
    }

    /// The adjacency that leads to `to`, as a packet of `vr` would take it.
    pub fn route(&self, vr: VrId, to: IpAddr) -> Option<(AdjacencyId, Adjacency)> {
        let fib = self.fib.snapshot();
        fib.resolve(fib.lookup(vr.into(), to), 0)
    }

    /// The address that `vr` speaks with towards `to`, if nobody chose one (RFC 1122 section 3.3.4.3).
    pub fn source_towards(&self, vr: VrId, to: Ipv4Addr) -> Result<Ipv4Addr, SocketError> {
        let (_, adjacency) = self.route(vr, to.into()).ok_or(SocketError::NetworkUnreachable)?;
        let interface = match adjacency {
            Adjacency::Receive => return Ok(to),
            Adjacency::Discard => return Err(SocketError::HostUnreachable),
            Adjacency::Glean { interface }
            | Adjacency::Incomplete { interface, .. }
            | Adjacency::Complete { interface, .. }
            | Adjacency::InterVr { interface } => interface,
        };
        self.topology.source(interface, Some(to)).ok_or(SocketError::AddressNotAvailable)
    }

    /// IP MTU of the interface towards `to`.
    pub fn mtu_towards(&self, vr: VrId, to: IpAddr) -> Option<u32> {
        let interface = match self.route(vr, to)?.1 {
            Adjacency::Receive => return Some(65_535),
            Adjacency::Discard => return None,
            Adjacency::Glean { interface }
            | Adjacency::Incomplete { interface, .. }
            | Adjacency::Complete { interface, .. }
            | Adjacency::InterVr { interface } => interface,
        };
        Some(self.topology.by_index(interface)?.interface.mtu_bytes)
    }
}

fn icmp_key(vr: VrId) -> IfibKey {
    IfibKey::Protocol { vr, family: Family::Ipv4, protocol: protocol::ICMP }
}
