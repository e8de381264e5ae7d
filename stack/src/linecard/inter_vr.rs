//! The adjacency into another VR: a second look-up in that VR's table, no wire, no copy.
//!
//! Uses: the far end of the inter-VR link. Sets: VR and interface of the packet. Next: FP Rx of the other VR, behind
//! its checks, which the packet has passed.
//!
//! The crossing leaves the TTL alone. It is taken by the VR that forwards, as on a wire: one that comes from a third
//! party loses one in each VR on its way, one that the first VR originates and the second consumes loses none.

use super::forwarder::Forwarder;
use super::fp_tx::{Origin, Transit, Turn};
use crate::counters::{Counter, DropReason, Way};
use crate::ids::IfIndex;
use crate::interfaces::Link;

/// Inter-VR links that one packet may cross. The TTL stops a loop too, but only after up to 255 look-ups of one
/// packet, which a neighbor could send in any number.
pub const MAX_CROSSINGS: u8 = 16;

impl Forwarder {
    pub(super) fn cross(&mut self, turn: &mut Turn<'_>, mut transit: Transit, interface: IfIndex) {
        let near = turn.interfaces.get(interface);
        let Some(Link::InterVr { peer }) = near.map(|near| near.link) else {
            return self.discard(&transit.packet, DropReason::InterfaceDown);
        };
        let Some(far) = turn.interfaces.get(peer).filter(|far| far.up) else {
            return self.discard(&transit.packet, DropReason::InterfaceDown);
        };
        if transit.packet.meta.crossings >= MAX_CROSSINGS {
            return self.discard(&transit.packet, DropReason::CrossingLimit);
        }
        self.count_sent(&transit, interface);
        self.parts.counters.add(transit.packet.meta.vr, Counter::InterVrCrossings, 1);
        self.parts.counters.add_packets(far.vr, Some(peer), Way::In, 1, transit.flow.ip_bytes as u64);
        transit.packet.meta.crossings += 1;
        transit.packet.meta.vr = far.vr;
        transit.packet.meta.interface = Some(peer);
        transit.origin = Origin::Received;
        self.arrive(turn, transit, None);
    }
}
