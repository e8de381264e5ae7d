//! Path MTU discovery of IPv6 (RFC 8201): what routers said about the size of packets. IPv4 needs no such memory: its
//! datagrams are cut on the way, and each TCP connection remembers by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use ipc::VrId;

use crate::time::Time;
use crate::wire::icmpv6::MINIMUM_MTU;

/// After this time a larger packet is tried again (RFC 8201 section 5.3: ten minutes).
const LIFETIME: Duration = Duration::from_secs(600);
/// Destinations that are remembered; the oldest gives way.
const MAX_PATHS: usize = 4096;

type Key = (VrId, Ipv6Addr);

/// Path MTUs that are smaller than the first link's.
#[derive(Debug, Default)]
pub struct PathMtus {
    paths: BTreeMap<Key, (u32, Time)>,
    deadlines: BTreeSet<(Time, Key)>,
}

impl PathMtus {
    /// A router says that packets of `vr` towards `to` must be no larger than `mtu_bytes`. Never less than every link
    /// takes, and never more than was known before (RFC 8201 section 4).
    pub fn learn(&mut self, now: Time, vr: VrId, to: Ipv6Addr, mtu_bytes: u32) {
        let key = (vr, to);
        let mtu_bytes = mtu_bytes.max(MINIMUM_MTU as u32);
        if self.get(now, vr, to).is_some_and(|known| known <= mtu_bytes) {
            return;
        }
        self.remove(key);
        if self.paths.len() >= MAX_PATHS
            && let Some((_, oldest)) = self.deadlines.first().copied()
        {
            self.remove(oldest);
        }
        let deadline = now + LIFETIME;
        self.paths.insert(key, (mtu_bytes, deadline));
        self.deadlines.insert((deadline, key));
    }

    /// What is known about the way of `vr` towards `to`.
    pub fn get(&self, now: Time, vr: VrId, to: Ipv6Addr) -> Option<u32> {
        self.paths.get(&(vr, to)).filter(|(_, until)| *until > now).map(|(mtu, _)| *mtu)
    }

    /// A VR is gone.
    pub fn forget(&mut self, vr: VrId) {
        self.paths.retain(|(of, _), _| *of != vr);
        self.deadlines.retain(|(_, (of, _))| *of != vr);
    }

    fn remove(&mut self, key: Key) {
        if let Some((_, deadline)) = self.paths.remove(&key) {
            self.deadlines.remove(&(deadline, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: VrId = VrId(1);

    fn to(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    #[test]
    fn a_path_shrinks_never_below_the_least_and_is_tried_again_later() {
        let mut paths = PathMtus::default();
        let now = Time::from_millis(1000);
        paths.learn(now, RED, to(1), 1400);
        paths.learn(now, RED, to(1), 1450);
        assert_eq!(paths.get(now, RED, to(1)), Some(1400), "an error never makes it larger");
        paths.learn(now, RED, to(1), 68);
        assert_eq!(paths.get(now, RED, to(1)), Some(1280));
        assert_eq!((paths.get(now, RED, to(2)), paths.get(now, VrId(2), to(1))), (None, None));
        assert_eq!(paths.get(now + LIFETIME, RED, to(1)), None);
    }

    #[test]
    fn memory_is_bounded_and_goes_with_its_vr() {
        let mut paths = PathMtus::default();
        for last in 0..5000 {
            paths.learn(Time::from_millis(last.into()), RED, to(last), 1400);
        }
        assert_eq!((paths.paths.len(), paths.deadlines.len()), (MAX_PATHS, MAX_PATHS));
        assert_eq!(paths.get(Time::from_millis(5000), RED, to(0)), None, "the oldest gave way");
        paths.forget(RED);
        assert!(paths.paths.is_empty() && paths.deadlines.is_empty());
    }
}
