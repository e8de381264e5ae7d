//! Ephemeral ports for connections that do not pass the stack.
//!
//! The stack owns the port space of the VR and leases blocks of it in advance, so that both ends of a channel see ports
//! as on a wire and no two processes of a VR use the same one.

use std::collections::{HashSet, VecDeque};

/// Ports that are enough until the next block comes.
const RESERVE: usize = 128;

/// A block from the stack that makes no sense: empty, or past port 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lease of {count} ports from {first}: ports are 1 to 65535")]
pub(crate) struct BadLease {
    first: u16,
    count: u16,
}

/// The blocks that this process holds.
#[derive(Debug, Default)]
pub(crate) struct PortLease {
    blocks: Vec<u16>,
    total: usize,
    /// Oldest first: a port that was given back rests as long as possible.
    free: VecDeque<u16>,
    used: HashSet<u16>,
}

impl PortLease {
    /// Takes a block over. A block that is held already is held once.
    pub fn add(&mut self, first: u16, count: u16) -> Result<(), BadLease> {
        let bad = BadLease { first, count };
        if first == 0 || count == 0 {
            return Err(bad);
        }
        let last = first.checked_add(count - 1).ok_or(bad)?;
        if !self.blocks.contains(&first) {
            self.blocks.push(first);
            self.total += usize::from(count);
            self.free.extend(first..=last);
        }
        Ok(())
    }

    /// A port that no other connection of this VR has.
    pub fn take(&mut self) -> Option<u16> {
        let port = self.free.pop_front()?;
        self.used.insert(port);
        Some(port)
    }

    /// A port is free again. One that was never leased (the caller had bound it) is not taken in.
    pub fn give_back(&mut self, port: u16) {
        if self.used.remove(&port) {
            self.free.push_back(port);
        }
    }

    /// Whether it is time to ask for another block: half of what is held is in use, and few are left. A process with
    /// thousands of connections must not hold as many ports in reserve: others of its VR need them.
    pub fn is_low(&self) -> bool {
        self.free.len() <= (self.total / 2).min(RESERVE)
    }

    /// First ports of the blocks, for a stack that restarted and must not lease them to others.
    pub fn blocks(&self) -> &[u16] {
        &self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_rests_before_it_is_given_again() {
        let mut lease = PortLease::default();
        assert_eq!(lease.take(), None);
        lease.add(60_000, 3).unwrap();
        assert_eq!((lease.take(), lease.take()), (Some(60_000), Some(60_001)));
        lease.give_back(60_000);
        lease.give_back(60_000);
        assert_eq!((lease.take(), lease.take(), lease.take()), (Some(60_002), Some(60_000), None));
    }

    #[test]
    fn a_process_with_many_connections_holds_few_ports_in_reserve() {
        let mut lease = PortLease::default();
        for first in (0..100).map(|block| 50_000 + 64 * block) {
            assert!(lease.is_low());
            lease.add(first, 64).unwrap();
            while !lease.is_low() {
                lease.take().unwrap();
            }
        }
        assert!(lease.free.len() <= RESERVE && lease.used.len() > 6000);
    }

    #[test]
    fn a_foreign_port_is_not_taken_in() {
        let mut lease = PortLease::default();
        lease.add(60_000, 1).unwrap();
        lease.give_back(179);
        lease.give_back(60_000);
        assert_eq!((lease.take(), lease.take()), (Some(60_000), None));
    }

    #[test]
    fn it_is_low_when_empty_and_when_half_used() {
        let mut lease = PortLease::default();
        assert!(lease.is_low());
        lease.add(60_000, 4).unwrap();
        lease.take();
        assert!(!lease.is_low());
        lease.take();
        assert!(lease.is_low());
    }

    #[test]
    fn a_block_past_the_last_port_is_refused() {
        let mut lease = PortLease::default();
        assert!(lease.add(65_530, 7).is_err());
        assert!(lease.add(0, 7).is_err());
        assert!(lease.add(100, 0).is_err());
        assert_eq!(lease.take(), None);
        lease.add(65_530, 6).unwrap();
        lease.add(65_530, 6).unwrap();
        assert_eq!(std::iter::from_fn(|| lease.take()).count(), 6);
    }
}
