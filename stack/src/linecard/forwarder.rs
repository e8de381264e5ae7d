//! The forwarding plane over packets in memory: what goes in, what comes out, what it reads.

use std::net::IpAddr;

use ipc::VrId;

use super::fp_tx::Turn;
use crate::counters::{Counter, DropReason, LocalCounters};
use crate::fib::{AdjacencyId, FibReader};
use crate::ids::{IfIndex, PortId};
use crate::ifib::{IfibReader, PuntTarget};
use crate::interfaces::Interfaces;
use crate::packet::Packet;
use crate::policer::{Policer, PolicerClass};

/// Why the control side gets a packet. Its metadata tells VR, incoming interface, and where the IP header starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PuntReason {
    /// An ARP packet; it starts at `l3_offset`.
    Arp,
    /// For us, claimed by an entry of the IFIB.
    ForUs(PuntTarget),
    /// For us, and nobody listens: port or protocol unreachable, or a reset.
    Unclaimed,
    /// A fragment for us; what it belongs to is looked up once it is whole.
    Fragment,
    /// It came to be forwarded with TTL 1: time exceeded, from the address of the incoming interface.
    TtlExceeded,
    /// No prefix covers the destination: network unreachable. The TTL is as received.
    NoRoute,
    /// Larger than the outgoing interface takes. To fragment it, decrement the TTL (unless it originates here) and
    /// inject the pieces out of `adjacency`.
    TooBig {
        /// IP MTU of the outgoing interface.
        mtu_bytes: u32,
        /// Where it was going.
        adjacency: AdjacencyId,
    },
    /// Its next hop's link address is not known. All else is done, TTL included: once resolved, inject it out of an
    /// adjacency.
    Resolve {
        /// Interface that the next hop is on.
        interface: IfIndex,
        /// Whose link address is wanted.
        next_hop: IpAddr,
    },
}

/// A packet on its way to the control side.
#[derive(Debug)]
pub struct Punt {
    /// Why.
    pub reason: PuntReason,
    /// The packet.
    pub packet: Packet,
}

/// Where the control side wants a packet to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectTarget {
    /// An IP packet of `vr`, complete with TTL: looked up in the VR's table.
    Lookup {
        /// The VR that originates it.
        vr: VrId,
    },
    /// An IP packet that leaves by an adjacency without a look-up.
    Adjacency(AdjacencyId),
    /// A whole Ethernet frame that leaves by a port's interface, as ARP does.
    Frame {
        /// The interface.
        interface: IfIndex,
    },
}

/// A packet on its way from the control side. An IP header, or the frame, starts at the packet's `l3_offset`, which is
/// 0 for a packet made from nothing.
#[derive(Debug)]
pub struct Inject {
    /// Where to.
    pub target: InjectTarget,
    /// The packet.
    pub packet: Packet,
}

/// What the stages made of their input.
#[derive(Debug, Default)]
pub struct Output {
    /// Frames, each with the port to send it on.
    pub transmit: Vec<(PortId, Packet)>,
    /// Packets for the control side.
    pub punts: Vec<Punt>,
}

/// The tables that a forwarder reads and the counters that it writes.
#[derive(Debug)]
pub struct ForwarderParts {
    /// Transit.
    pub fib: FibReader,
    /// For us.
    pub ifib: IfibReader,
    /// Interfaces of all VRs.
    pub interfaces: Interfaces,
    /// What the control side is protected by.
    pub policer: Policer,
    /// This thread's counters.
    pub counters: LocalCounters,
}

/// FP Rx, FP Tx and the crossing between VRs, over vectors in memory. Each thread that forwards has one.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) parts: ForwarderParts,
}

impl Forwarder {
    /// A forwarder over these tables.
    pub fn new(parts: ForwarderParts) -> Self {
        Forwarder { parts }
    }

    /// This thread's counters.
    pub fn counters(&mut self) -> &mut LocalCounters {
        &mut self.parts.counters
    }

    /// Counts a packet that ends here.
    pub(super) fn discard(&mut self, packet: &Packet, reason: DropReason) {
        self.parts.counters.drop(packet.meta.vr, packet.meta.interface, reason, 1);
    }

    /// Counts packets that a port's driver dropped.
    pub(super) fn discard_at_port(&mut self, port: PortId, reason: DropReason, count: u64) {
        match self.parts.interfaces.view().of_port(port) {
            Some((index, interface)) => self.parts.counters.drop(interface.vr, Some(index), reason, count),
            None => self.parts.counters.drop(VrId::ROUTER, None, reason, count),
        }
    }

    /// Hands a packet to the control side, within the rate of its class.
    pub(super) fn punt(&mut self, turn: &mut Turn<'_>, class: PolicerClass, reason: PuntReason, packet: Packet) {
        if !self.parts.policer.admit(turn.now, class) {
            self.discard(&packet, class.drop_reason());
            return;
        }
        self.parts.counters.add(packet.meta.vr, Counter::Punted, 1);
        turn.out.punts.push(Punt { reason, packet });
    }
}
