//! Another router that has this router's ID, somewhere in an area: both outdo each other without end (RFC 2328 section
//! 13.4). A neighbor with the same ID is refused; one that is farther away only shows by this.

use std::collections::BTreeMap;
use std::time::Duration;

use log::Level;
use sdk::core::Time;

use crate::instance::Ospf;
use crate::lsdb::Place;
use crate::packet::{AreaId, LsaKey, LsaType};

/// A router that restarts finds one LSA of its former self. Whom it must outdo so often, lives.
const SUSPICIOUS: u32 = 3;
/// After so long without, it is forgotten.
const MEMORY: Duration = Duration::from_secs(60);

/// How often this router's LSA of an area came from elsewhere.
#[derive(Debug)]
struct Rival {
    last: Time,
    times: u32,
}

/// By area.
#[derive(Debug, Default)]
pub(crate) struct Rivals(BTreeMap<AreaId, Rival>);

impl Rivals {
    /// Areas in which there is such a router now.
    pub fn areas(&self, now: Time) -> impl Iterator<Item = AreaId> {
        let is_there = move |rival: &Rival| rival.times >= SUSPICIOUS && now.since(rival.last) <= MEMORY;
        self.0.iter().filter(move |(_, rival)| is_there(rival)).map(|(area, _)| *area)
    }
}

impl Ospf {
    /// An LSA of this router that came from elsewhere is replaced.
    pub(crate) fn outdoes(&mut self, now: Time, place: &Place, key: &LsaKey) {
        let (Place::Area(area), LsaType::Router) = (place, key.kind) else { return };
        let rival = self.rivals.0.entry(*area).or_insert(Rival { last: now, times: 0 });
        if now.since(rival.last) > MEMORY {
            rival.times = 0;
        }
        (rival.last, rival.times) = (now, rival.times.saturating_add(1));
        if rival.times == SUSPICIOUS {
            let text = format!("another router in area {area} has this router's ID {}, too", key.router);
            self.outbox.log(Level::Warn, format!("{text}: its router-LSA comes again and again"));
        }
    }
}
