//! Instances that come sooner after the one before than MinLSArrival allows: RFC 2328 section 13 step 5 (a).
//!
//! The RFC drops them, and their sender waits a retransmission interval for the acknowledgment: a network that starts
//! stands still for that long. Here the newest of them waits until its time has come, one for each LSA that is known,
//! so that no more is flooded than the RFC allows.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use sdk::InterfaceName;
use sdk::core::Time;

use crate::drops::Drop;
use crate::instance::Ospf;
use crate::lsdb::Place;
use crate::packet::{Lsa, LsaKey, Recency};

/// RFC 2328 section B has 1 s for MinLSArrival; as IOS-XR, so that a second change shortly after a first is told soon.
pub(crate) const MIN_LS_ARRIVAL: Duration = Duration::from_millis(100);

/// An instance that waits.
#[derive(Debug)]
struct Early {
    lsa: Lsa,
    /// By which interface, and from which neighbor.
    from: (InterfaceName, Ipv4Addr),
    due: Time,
}

/// Those that wait.
#[derive(Debug, Default)]
pub(crate) struct EarlyLsas(BTreeMap<(Place, LsaKey), Early>);

impl EarlyLsas {
    /// When one has waited long enough.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.0.values().map(|early| early.due).min()
    }

    fn take_due(&mut self, now: Time) -> Vec<Early> {
        let due = |early: &Early| early.due <= now;
        let keys: Vec<_> = self.0.iter().filter(|(_, early)| due(early)).map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| self.0.remove(key)).collect()
    }
}

impl Ospf {
    /// An instance came too soon; what waits already and is no newer than it is not used.
    pub(crate) fn keep_early(&mut self, place: Place, lsa: Lsa, from: (InterfaceName, Ipv4Addr), due: Time) {
        let key = (place, lsa.key());
        match self.early.0.get_mut(&key) {
            Some(waiting) => {
                if lsa.header.recency(&waiting.lsa.header) == Recency::Newer {
                    *waiting = Early { lsa, from, due };
                }
                self.drops.count(Drop::LsaTooSoon);
            }
            None => _ = self.early.0.insert(key, Early { lsa, from, due }),
        }
    }

    /// Takes those whose time has come, as if they came now.
    pub(crate) fn take_early(&mut self, now: Time) {
        for Early { lsa, from: (name, neighbor), .. } in self.early.take_due(now) {
            self.take_lsas(now, &name, neighbor, std::iter::once(Ok(lsa.view())));
        }
    }
}
