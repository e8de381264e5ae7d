//! The next hops of the paths, and what the RIB says about them.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use sdk::rib::{Reached, RibRequest};

/// Sweeping starts at so many next hops.
const SWEEP_FROM: usize = 64;

/// What the RIB says about a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Unreachable,
    Reachable { metric: u32 },
}

/// Next hops that the RIB tracks for us. One that it has not spoken about counts as unreachable.
#[derive(Debug, Default)]
pub struct NextHops {
    answers: HashMap<Ipv4Addr, Answer>,
    /// Those whose answer changed since the paths were last looked at.
    changed: HashSet<Ipv4Addr>,
    sweep_at: usize,
}

impl NextHops {
    /// Begins to track an address; the request, if it is new.
    pub fn track(&mut self, address: Ipv4Addr) -> Option<RibRequest> {
        if self.answers.contains_key(&address) {
            return None;
        }
        self.answers.insert(address, Answer::Awaited);
        Some(RibRequest::TrackNextHop(IpAddr::V4(address)))
    }

    /// The metric to an address, if it is reachable.
    pub fn metric(&self, address: Ipv4Addr) -> Option<u32> {
        match self.answers.get(&address)? {
            Answer::Reachable { metric } => Some(*metric),
            Answer::Awaited | Answer::Unreachable => None,
        }
    }

    /// Whether the RIB has spoken about all of them.
    pub fn all_answered(&self) -> bool {
        self.answers.values().all(|answer| *answer != Answer::Awaited)
    }

    /// The RIB's answer. Returns whether it says something new about an address that is tracked.
    pub fn learn(&mut self, address: Ipv4Addr, reached: Option<&Reached>) -> bool {
        let Some(answer) = self.answers.get_mut(&address) else { return false };
        let new = reached.map_or(Answer::Unreachable, |reached| Answer::Reachable { metric: reached.metric });
        let news = std::mem::replace(answer, new) != new;
        if news {
            self.changed.insert(address);
        }
        news
    }

    /// Takes those whose answer changed.
    pub fn take_changed(&mut self) -> HashSet<Ipv4Addr> {
        std::mem::take(&mut self.changed)
    }

    /// All requests again, for a RIB that knows nothing.
    pub fn requests(&self) -> Vec<RibRequest> {
        let mut addresses: Vec<_> = self.answers.keys().copied().collect();
        addresses.sort_unstable();
        addresses.into_iter().map(|address| RibRequest::TrackNextHop(IpAddr::V4(address))).collect()
    }

    /// Whether there are so many that it is time to see which are still used.
    pub fn wants_sweep(&self) -> bool {
        self.answers.len() > self.sweep_at.max(SWEEP_FROM)
    }

    /// Stops tracking those that no path uses.
    pub fn sweep(&mut self, used: &HashSet<Ipv4Addr>) -> Vec<RibRequest> {
        let mut unused: Vec<_> = self.answers.keys().copied().filter(|address| !used.contains(address)).collect();
        unused.sort_unstable();
        for address in &unused {
            self.answers.remove(address);
            self.changed.remove(address);
        }
        self.sweep_at = self.answers.len() * 2;
        unused.into_iter().map(|address| RibRequest::UntrackNextHop(IpAddr::V4(address))).collect()
    }
}
