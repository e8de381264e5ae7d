//! Help for a neighbor that restarts while its forwarding goes on: RFC 3623 section 3.
//!
//! The neighbor says so before, by an opaque LSA of the link. Until it withdraws that, or its time is over, others are
//! told of the adjacency as if it were full, though its hellos stop and then begin anew.

use std::net::Ipv4Addr;
use std::time::Duration;

use log::Level;
use sdk::InterfaceName;
use sdk::core::Time;

use crate::fsm::{InterfaceEvent, NeighborEvent, NeighborState};
use crate::instance::Ospf;
use crate::packet::{LsaHeader, LsaKey, LsaType};

/// Opaque type of a Grace-LSA: RFC 3623 appendix A.
const GRACE: u8 = 3;
/// Its TLVs.
const PERIOD: u16 = 1;
const ADDRESS: u16 = 3;
/// Longest period that is granted; a third of the time that an LSA lives, as IOS-XR has it.
const MAX_PERIOD: Duration = Duration::from_secs(1800);

/// How help ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GraceEnd {
    /// The neighbor says that it is back.
    Done,
    /// Its time is over.
    TimedOut,
    /// The network changed, and it may forward wrongly.
    NetworkChanged,
}

/// What a Grace-LSA says.
#[derive(Debug, PartialEq, Eq)]
struct Grace {
    period: Duration,
    /// The neighbor's address: on networks where its number does not identify it.
    address: Option<Ipv4Addr>,
}

impl Grace {
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let (mut period, mut address) = (None, None);
        while let [k1, k2, l1, l2, rest @ ..] = bytes {
            let length = usize::from(u16::from_be_bytes([*l1, *l2]));
            let value = rest.get(..length)?;
            match (u16::from_be_bytes([*k1, *k2]), value) {
                (PERIOD, [a, b, c, d]) => period = Some(u32::from_be_bytes([*a, *b, *c, *d])),
                (ADDRESS, [a, b, c, d]) => address = Some(Ipv4Addr::new(*a, *b, *c, *d)),
                // The reason, and what may come to be.
                _ => {}
            }
            bytes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(Self { period: Duration::from_secs(period?.into()), address })
    }
}

/// Whether an LSA is a Grace-LSA.
fn is_grace(key: &LsaKey) -> bool {
    key.kind == LsaType::OpaqueLink && key.id.octets()[0] == GRACE
}

impl Ospf {
    /// An LSA came in by an interface and is in a database.
    pub(crate) fn look_for_grace(&mut self, now: Time, name: &InterfaceName, header: &LsaHeader) {
        if !is_grace(&header.key) {
            return;
        }
        let Some(interface) = self.interfaces.get(name) else { return };
        let Some(entry) = interface.lsdb.get(&header.key) else { return };
        let said = Grace::parse(entry.lsa.body_bytes());
        let (age, is_withdrawn) = (Duration::from_secs(entry.age(now).into()), entry.is_max_age(now));
        let Some(grace) = said else { return };
        let by = |(_, neighbor): &(&Ipv4Addr, &crate::neighbor::Neighbor)| {
            neighbor.router == header.key.router || Some(neighbor.address) == grace.address
        };
        let Some(key) = interface.neighbors.iter().find(by).map(|(key, _)| *key) else { return };
        match is_withdrawn {
            true => self.end_of_grace(now, name, key, GraceEnd::Done),
            false => self.begin_grace(now, name, key, grace.period.min(MAX_PERIOD).saturating_sub(age)),
        }
    }

    /// Section 3.1: only one that was full, and that has everything, is helped.
    fn begin_grace(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, left: Duration) {
        let Some(neighbor) = self.neighbor_mut(name, key) else { return };
        let is_synchronized = neighbor.state == NeighborState::Full && neighbor.retransmissions.is_empty();
        if left.is_zero() || !(is_synchronized || neighbor.grace_until.is_some()) {
            return;
        }
        let (router, seconds) = (neighbor.router, left.as_secs());
        neighbor.grace_until = Some(now + left);
        self.may_help = true;
        let text = format!("neighbor {router} on {name} restarts and is helped for {seconds} s");
        self.outbox.log(Level::Info, text);
    }

    /// Section 3.2: what is told of the adjacency is what is so.
    pub(crate) fn end_of_grace(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, end: GraceEnd) {
        let Some(neighbor) = self.neighbor_mut(name, key) else { return };
        if neighbor.grace_until.take().is_none() {
            return;
        }
        let (router, state, is_gone) = (neighbor.router, neighbor.state.name(), neighbor.inactive_at <= now);
        let (level, why) = match end {
            GraceEnd::Done => (Level::Info, "it is back"),
            GraceEnd::TimedOut => (Level::Warn, "its time is over"),
            GraceEnd::NetworkChanged => (Level::Warn, "the network changed meanwhile"),
        };
        self.outbox.log(level, format!("neighbor {router} on {name}, {state}, is helped no longer: {why}"));
        if is_gone {
            self.neighbor_event(now, name, key, NeighborEvent::InactivityTimer);
        }
        self.interface_event(now, name, InterfaceEvent::NeighborChange);
        self.links_changed(now);
    }

    /// Something that a neighbor which restarts does not know: section 3.2 (3).
    pub(crate) fn end_all_grace(&mut self, now: Time, changed: LsaKey) {
        // Each LSA of a flood comes by here, and help is rare.
        if !std::mem::take(&mut self.may_help) {
            return;
        }
        let all = self.interfaces.iter().flat_map(|(name, interface)| {
            let helped = interface.neighbors.iter().filter(|(_, neighbor)| neighbor.grace_until.is_some());
            helped.filter(move |(_, neighbor)| neighbor.router != changed.router).map(|(key, _)| (name.clone(), *key))
        });
        for (name, key) in all.collect::<Vec<_>>() {
            self.end_of_grace(now, &name, key, GraceEnd::NetworkChanged);
        }
        // Those remain to whom the change is no news.
        let mut neighbors = self.interfaces.values().flat_map(|interface| interface.neighbors.values());
        self.may_help = neighbors.any(|neighbor| neighbor.grace_until.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3623_appendix_a_a_grace_lsa_has_a_period_and_perhaps_an_address() {
        let bytes = [0, 1, 0, 4, 0, 0, 0, 120, 0, 2, 0, 1, 1, 0, 0, 0, 0, 3, 0, 4, 10, 0, 0, 1];
        let address = Some(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(Grace::parse(&bytes), Some(Grace { period: Duration::from_secs(120), address }));
        assert_eq!(Grace::parse(&bytes[..8]), Some(Grace { period: Duration::from_secs(120), address: None }));
        assert_eq!(Grace::parse(&bytes[8..]), None, "no period");
        assert_eq!(Grace::parse(&[0, 1, 0xff, 0xff, 0]), None, "longer than the LSA");
    }
}
