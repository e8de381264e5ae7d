//! The neighbor table: link addresses of the routers and hosts on our links, learned by ARP (RFC 826) or neighbor
//! discovery (RFC 4861).
//!
//! ```text
//!              packet to send                answer
//!   (nothing) ───────────────▶ Incomplete ───────────▶ Reachable ◀─┐ answer
//!       ▲                          │ 3 requests            │       │
//!       └──────────────────────────┘ unanswered            ▼ lifetime
//!       ▲                                               Probing ───┘
//!       └────────────────────────────────────────────────┘ 3 unicast requests unanswered
//! ```
//!
//! What the two protocols differ in is how long an answer is good for. RFC 4861's states STALE and DELAY wait for a
//! packet to the neighbor before it is probed; here packets pass the line cards, which tell nobody. So an entry whose
//! time is over is probed whether it is used or not, and one that was never confirmed is soon (DELAY's five seconds).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::ids::IfIndex;
use crate::time::Time;
use crate::wire::ethernet::MacAddress;

/// Between two requests (RFC 1122 section 2.3.2.1: at most one a second for a destination).
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Requests before the neighbor counts as unreachable, as Linux sends them.
const MAX_REQUESTS: u8 = 3;
/// How long an answer of ARP is good for: IOS-XR's ARP timeout.
const ARP_LIFETIME: Duration = Duration::from_secs(4 * 3600);
/// How long an answer of neighbor discovery is good for (RFC 4861 section 10: REACHABLE_TIME).
const ND_LIFETIME: Duration = Duration::from_secs(30);
/// When an IPv6 neighbor is probed that spoke first and never answered (RFC 4861 section 10: DELAY_FIRST_PROBE_TIME).
const ND_UNCONFIRMED: Duration = Duration::from_secs(5);
/// Packets that wait for one answer (RFC 1122 section 2.3.2.2 wants at least one): a burst of fragments fits.
pub const MAX_WAITING: usize = 16;
/// Neighbors of one interface: more than that is a scan, not a link.
const MAX_NEIGHBORS: usize = 16_384;

/// What the table wants done. `P` is whatever waits: packets.
#[derive(Debug, PartialEq, Eq)]
pub enum NeighborAction<P> {
    /// Send a request for `address`: to everyone, or to the address that it last had.
    Request {
        /// On which link.
        interface: IfIndex,
        /// Whose link address.
        address: IpAddr,
        /// To whom; `None`: to everyone, or to its solicited-node group.
        to: Option<MacAddress>,
    },
    /// The link address is known, or another one than before: point adjacencies to it, send what waited.
    Resolved {
        /// On which link.
        interface: IfIndex,
        /// Whose.
        address: IpAddr,
        /// The link address.
        mac: MacAddress,
        /// What waited.
        waiting: Vec<P>,
    },
    /// Nobody answers: forget adjacencies, answer what waited with host unreachable.
    Failed {
        /// On which link.
        interface: IfIndex,
        /// Who does not answer.
        address: IpAddr,
        /// What waited.
        waiting: Vec<P>,
    },
}

/// How a link address came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The neighbor answers us, so packets pass both ways.
    Answer,
    /// The neighbor asks for us.
    Question,
    /// It was said to everyone: it only brings an entry up to date.
    Announcement,
}

/// A row of `show arp` or `show ipv6 neighbors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// On which link.
    pub interface: IfIndex,
    /// Its address.
    pub address: IpAddr,
    /// Its link address, if known.
    pub mac: Option<MacAddress>,
    /// When it was last heard.
    pub heard: Option<Time>,
}

#[derive(Debug)]
enum State<P> {
    Incomplete { requests: u8, waiting: Vec<P> },
    Reachable { mac: MacAddress, heard: Time },
    Probing { mac: MacAddress, heard: Time, requests: u8 },
}

type Key = (IfIndex, IpAddr);

/// Neighbors on all links.
#[derive(Debug)]
pub struct Neighbors<P> {
    entries: BTreeMap<Key, (Time, State<P>)>,
    deadlines: BTreeSet<(Time, Key)>,
    counts: BTreeMap<IfIndex, usize>,
}

impl<P> Default for Neighbors<P> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), deadlines: BTreeSet::new(), counts: BTreeMap::new() }
    }
}

impl<P> Neighbors<P> {
    /// A packet waits for the link address of `address`. The packet comes back where it cannot wait: then too many do.
    pub fn resolve(
        &mut self,
        now: Time,
        interface: IfIndex,
        address: IpAddr,
        packet: P,
    ) -> Result<Option<NeighborAction<P>>, P> {
        let key = (interface, address);
        let full = self.count(interface) >= MAX_NEIGHBORS;
        match self.entries.get_mut(&key) {
            Some((_, State::Incomplete { waiting, .. })) => {
                if waiting.len() >= MAX_WAITING {
                    return Err(packet);
                }
                waiting.push(packet);
                Ok(None)
            }
            Some((_, State::Reachable { mac, .. } | State::Probing { mac, .. })) => {
                let (mac, waiting) = (*mac, vec![packet]);
                Ok(Some(NeighborAction::Resolved { interface, address, mac, waiting }))
            }
            None if full => Err(packet),
            None => {
                self.set(key, now + RETRANSMIT, State::Incomplete { requests: 1, waiting: vec![packet] });
                Ok(Some(NeighborAction::Request { interface, address, to: None }))
            }
        }
    }

    /// Somebody says that `address` has `mac`. Who is not known is entered where RFC 826 ("Packet Reception") or RFC
    /// 4861 (sections 7.2.3 and 7.2.5) want it: of IPv4 who asked for us or answers us, of IPv6 who asked for us.
    pub fn learn(
        &mut self,
        now: Time,
        interface: IfIndex,
        address: IpAddr,
        mac: MacAddress,
        heard: Heard,
    ) -> Option<NeighborAction<P>> {
        let key = (interface, address);
        let enters = match (address, heard) {
            (IpAddr::V4(_), Heard::Answer | Heard::Question) | (IpAddr::V6(_), Heard::Question) => true,
            (_, Heard::Announcement) | (IpAddr::V6(_), Heard::Answer) => false,
        };
        if !self.entries.contains_key(&key) && (!enters || self.count(interface) >= MAX_NEIGHBORS) {
            return None;
        }
        let lifetime = match (address, heard) {
            (IpAddr::V4(_), _) => ARP_LIFETIME,
            (IpAddr::V6(_), Heard::Answer) => ND_LIFETIME,
            // Hearing it shows nothing about the way to it: what is known of that stays.
            (IpAddr::V6(_), _) if self.lookup(interface, address) == Some(mac) => return None,
            (IpAddr::V6(_), _) => ND_UNCONFIRMED,
        };
        let old = self.set(key, now + lifetime, State::Reachable { mac, heard: now });
        match old {
            Some(State::Reachable { mac: before, .. } | State::Probing { mac: before, .. }) if before == mac => None,
            Some(State::Incomplete { waiting, .. }) => {
                Some(NeighborAction::Resolved { interface, address, mac, waiting })
            }
            Some(State::Reachable { .. } | State::Probing { .. }) | None => {
                Some(NeighborAction::Resolved { interface, address, mac, waiting: Vec::new() })
            }
        }
    }

    /// Another link address was said to be a neighbor's, by one who does not insist (RFC 4861 section 7.2.5: the
    /// override flag is clear): the neighbor is probed at once.
    pub fn doubt(&mut self, now: Time, interface: IfIndex, address: IpAddr) {
        let key = (interface, address);
        if let Some((_, State::Reachable { mac, heard })) = self.entries.get(&key) {
            let state = State::Reachable { mac: *mac, heard: *heard };
            self.set(key, now, state);
        }
    }

    /// All timers due by `now` have expired.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<NeighborAction<P>> {
        let mut actions = Vec::new();
        while let Some((at, key)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            match self.remove(key) {
                Some(state) => actions.push(self.expired(now, key, state)),
                None => _ = self.deadlines.remove(&(at, key)),
            }
        }
        actions
    }

    fn expired(&mut self, now: Time, key: Key, state: State<P>) -> NeighborAction<P> {
        let (interface, address) = key;
        match state {
            State::Incomplete { requests, waiting } if requests < MAX_REQUESTS => {
                self.set(key, now + RETRANSMIT, State::Incomplete { requests: requests + 1, waiting });
                NeighborAction::Request { interface, address, to: None }
            }
            State::Incomplete { waiting, .. } => NeighborAction::Failed { interface, address, waiting },
            State::Reachable { mac, heard } => {
                self.set(key, now + RETRANSMIT, State::Probing { mac, heard, requests: 1 });
                NeighborAction::Request { interface, address, to: Some(mac) }
            }
            State::Probing { mac, heard, requests } if requests < MAX_REQUESTS => {
                self.set(key, now + RETRANSMIT, State::Probing { mac, heard, requests: requests + 1 });
                NeighborAction::Request { interface, address, to: Some(mac) }
            }
            State::Probing { .. } => NeighborAction::Failed { interface, address, waiting: Vec::new() },
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The link is gone or down: its neighbors are forgotten, what waited is given back.
    pub fn forget(&mut self, interface: IfIndex) -> Vec<P> {
        // The first of all addresses, in their order.
        let first = (interface, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let of_interface = self.entries.range(first..).take_while(|((index, _), _)| *index == interface);
        let keys: Vec<Key> = of_interface.map(|(key, _)| *key).collect();
        let mut waited = Vec::new();
        for key in keys {
            if let Some(State::Incomplete { waiting, .. }) = self.remove(key) {
                waited.extend(waiting);
            }
        }
        waited
    }

    /// The link address of a neighbor, if known.
    pub fn lookup(&self, interface: IfIndex, address: IpAddr) -> Option<MacAddress> {
        match self.entries.get(&(interface, address))? {
            (_, State::Reachable { mac, .. } | State::Probing { mac, .. }) => Some(*mac),
            (_, State::Incomplete { .. }) => None,
        }
    }

    /// Packets that wait for link addresses, each with its link.
    pub fn waiting(&self) -> impl Iterator<Item = (IfIndex, usize)> {
        self.entries.iter().filter_map(|((interface, _), (_, state))| match state {
            State::Incomplete { waiting, .. } => Some((*interface, waiting.len())),
            State::Reachable { .. } | State::Probing { .. } => None,
        })
    }

    /// All neighbors, for `show arp` and `show ipv6 neighbors`.
    pub fn iter(&self) -> impl Iterator<Item = Neighbor> {
        self.entries.iter().map(|(&(interface, address), (_, state))| {
            let (mac, heard) = match state {
                State::Incomplete { .. } => (None, None),
                State::Reachable { mac, heard } | State::Probing { mac, heard, .. } => (Some(*mac), Some(*heard)),
            };
            Neighbor { interface, address, mac, heard }
        })
    }

    fn count(&self, interface: IfIndex) -> usize {
        self.counts.get(&interface).copied().unwrap_or(0)
    }

    fn remove(&mut self, key: Key) -> Option<State<P>> {
        let (at, state) = self.entries.remove(&key)?;
        self.deadlines.remove(&(at, key));
        if let Some(count) = self.counts.get_mut(&key.0) {
            *count = count.saturating_sub(1);
        }
        Some(state)
    }

    fn set(&mut self, key: Key, deadline: Time, state: State<P>) -> Option<State<P>> {
        let old = self.remove(key);
        self.entries.insert(key, (deadline, state));
        self.deadlines.insert((deadline, key));
        *self.counts.entry(key.0).or_default() += 1;
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: IfIndex = IfIndex(1);
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
    const PEER_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));
    const OTHER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn second(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn request(to: Option<MacAddress>) -> NeighborAction<u32> {
        NeighborAction::Request { interface: LINK, address: PEER, to }
    }

    #[test]
    fn packets_wait_for_the_answer_and_leave_in_order() {
        let mut table = Neighbors::default();
        assert_eq!(table.resolve(second(0), LINK, PEER, 1), Ok(Some(request(None))));
        assert_eq!(table.resolve(second(0), LINK, PEER, 2), Ok(None));
        assert_eq!(table.waiting().collect::<Vec<_>>(), [(LINK, 2)]);
        let resolved = |waiting| NeighborAction::Resolved { interface: LINK, address: PEER, mac: MAC, waiting };
        assert_eq!(table.learn(second(1), LINK, PEER, MAC, Heard::Answer), Some(resolved(vec![1, 2])));
        assert_eq!(table.resolve(second(2), LINK, PEER, 3), Ok(Some(resolved(vec![3]))));
        assert_eq!(table.learn(second(3), LINK, PEER, MAC, Heard::Answer), None, "nothing new");
    }

    #[test]
    fn three_unanswered_requests_give_the_packets_back() {
        let mut table = Neighbors::default();
        assert_eq!(table.resolve(second(0), LINK, PEER, 1), Ok(Some(request(None))));
        assert_eq!(table.poll_timeout(), Some(second(1)));
        assert_eq!(table.handle_timeout(second(1)), [request(None)]);
        assert_eq!(table.handle_timeout(second(2)), [request(None)]);
        let failed = NeighborAction::Failed { interface: LINK, address: PEER, waiting: vec![1] };
        assert_eq!(table.handle_timeout(second(3)), [failed]);
        assert_eq!(table.poll_timeout(), None);
    }

    #[test]
    fn an_old_entry_is_probed_before_it_is_forgotten() {
        let mut table = Neighbors::<u32>::default();
        table.learn(second(0), LINK, PEER, MAC, Heard::Answer);
        let old = second(4 * 3600);
        assert_eq!(table.handle_timeout(old), [request(Some(MAC))]);
        assert_eq!(table.lookup(LINK, PEER), Some(MAC), "still used while it is probed");
        assert_eq!(table.learn(old, LINK, PEER, MAC, Heard::Answer), None);
        assert_eq!(table.poll_timeout(), Some(old + ARP_LIFETIME));
    }

    #[test]
    fn strangers_do_not_fill_the_table_and_waiting_is_bounded() {
        let mut table = Neighbors::default();
        assert_eq!(table.learn(second(0), LINK, PEER, MAC, Heard::Announcement), None);
        assert_eq!(table.iter().count(), 0);
        for packet in 0..MAX_WAITING {
            assert!(table.resolve(second(0), LINK, PEER, packet).is_ok());
        }
        assert_eq!(table.resolve(second(0), LINK, PEER, 99), Err(99));
        assert_eq!(table.forget(LINK).len(), MAX_WAITING);
        assert_eq!(table.poll_timeout(), None);
    }

    #[test]
    fn an_ipv6_neighbor_is_good_for_half_a_minute_if_it_answered_and_for_five_seconds_if_it_only_spoke() {
        let mut table = Neighbors::<u32>::default();
        assert_eq!(table.learn(second(0), LINK, PEER_V6, MAC, Heard::Answer), None, "nobody asked it");
        assert!(table.learn(second(0), LINK, PEER_V6, MAC, Heard::Question).is_some());
        assert_eq!(table.poll_timeout(), Some(second(5)));
        let probe = NeighborAction::Request { interface: LINK, address: PEER_V6, to: Some(MAC) };
        assert_eq!(table.handle_timeout(second(5)), [probe]);
        assert_eq!(table.learn(second(5), LINK, PEER_V6, MAC, Heard::Question), None);
        assert_eq!(table.poll_timeout(), Some(second(6)), "a question is no answer");
        assert_eq!(table.learn(second(6), LINK, PEER_V6, MAC, Heard::Answer), None);
        assert_eq!(table.poll_timeout(), Some(second(36)));
    }

    #[test]
    fn another_link_address_is_taken_over_or_makes_one_ask_again() {
        let mut table = Neighbors::<u32>::default();
        table.learn(second(0), LINK, PEER_V6, MAC, Heard::Question);
        table.learn(second(0), LINK, PEER_V6, MAC, Heard::Answer);
        table.doubt(second(1), LINK, PEER_V6);
        let probe = NeighborAction::Request { interface: LINK, address: PEER_V6, to: Some(MAC) };
        assert_eq!(table.handle_timeout(second(1)), [probe]);
        let (address, waiting) = (PEER_V6, vec![]);
        let moved = NeighborAction::Resolved { interface: LINK, address, mac: OTHER_MAC, waiting };
        assert_eq!(table.learn(second(1), LINK, PEER_V6, OTHER_MAC, Heard::Announcement), Some(moved));
        assert_eq!(table.poll_timeout(), Some(second(6)), "not confirmed");
    }

    #[test]
    fn what_a_link_forgets_is_of_both_families_and_of_no_other_link() {
        let mut table = Neighbors::<u32>::default();
        for link in [LINK, IfIndex(2)] {
            table.learn(second(0), link, PEER, MAC, Heard::Question);
            table.learn(second(0), link, PEER_V6, MAC, Heard::Question);
        }
        table.forget(LINK);
        assert_eq!(table.iter().map(|neighbor| neighbor.interface).collect::<Vec<_>>(), [IfIndex(2), IfIndex(2)]);
    }
}
