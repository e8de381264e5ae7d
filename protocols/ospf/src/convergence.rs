//! When the routes that were calculated are all: the RIB may then sweep those that an earlier process left.

use std::time::Duration;

use sdk::core::Time;
use sdk::outbox::RibLink;
use sdk::rib::RibRequest;

use crate::fsm::{InterfaceState, NeighborState};
use crate::instance::Ospf;
use crate::interface::Interface;
use crate::lsdb::Lsdb;
use crate::packet::{LsaBody, LsaKey, LsaType, RouterId, RouterLinkKind};

/// After this the routes that were calculated count as all, whatever is missing.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether the RIB was told that all routes of this process are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convergence {
    /// Neighbors still send their databases.
    Until(Time),
    /// They have, or had the time for it.
    Done,
}

impl Convergence {
    /// The process begins.
    pub fn begin(now: Time) -> Self {
        Self::Until(now + LIMIT)
    }
}

impl Ospf {
    /// Once every neighbor has sent its database and the table is calculated, or there was the time for it, the RIB may
    /// sweep what an earlier process of this class left.
    pub(crate) fn check_convergence(&mut self, now: Time) {
        let Some(Convergence::Until(limit)) = self.convergence else { return };
        if self.outbox.rib == RibLink::Never {
            return;
        }
        let is_complete = self.spf.poll_timeout().is_none()
            && self.originate_at.is_none()
            && self.router_id.is_some_and(|own| {
                self.interfaces.values().filter(|interface| interface.speaks()).all(|link| self.is_complete(link, own))
            });
        if is_complete || limit <= now {
            self.convergence = Some(Convergence::Done);
            self.outbox.rib(RibRequest::EndOfRoutes);
        }
    }

    /// Whether the neighbors of an interface have told everything, and that this router is their neighbor.
    fn is_complete(&self, interface: &Interface, own: RouterId) -> bool {
        let is_settled = |state: NeighborState| matches!(state, NeighborState::TwoWay | NeighborState::Full);
        let Some(area) = self.areas.get(&interface.area) else { return true };
        interface.full().next().is_some()
            && interface.neighbors.values().all(|neighbor| is_settled(neighbor.state))
            && is_told_of(interface, own, &area.lsdb)
    }
}

/// Whether the other side's LSAs name this router: it may have told of the link a moment ago that it is gone, and wait
/// for its back-off. Until then no path passes (RFC 2328 section 16.1, step 2 (b)).
fn is_told_of(interface: &Interface, own: RouterId, lsdb: &Lsdb) -> bool {
    let router_has = |router: RouterId, kind, id| {
        let entry = lsdb.get(&LsaKey::new(LsaType::Router, router, router));
        entry.is_some_and(|entry| match entry.lsa.body() {
            Ok(LsaBody::Router(body)) => body.links().any(|link| (link.kind, link.id) == (kind, id)),
            Ok(_) | Err(_) => false,
        })
    };
    match interface.state {
        InterfaceState::PointToPoint => {
            interface.full().all(|neighbor| router_has(neighbor.router, RouterLinkKind::PointToPoint, own))
        }
        InterfaceState::Dr => {
            let network = interface.address.addr();
            interface.full().all(|neighbor| router_has(neighbor.router, RouterLinkKind::Transit, network))
        }
        InterfaceState::DrOther | InterfaceState::Backup => {
            let networks = interface.elected.designated.map(|id| lsdb.of_id(LsaType::Network, id));
            networks.into_iter().flatten().any(|(_, entry)| match entry.lsa.body() {
                Ok(LsaBody::Network(body)) => body.routers().any(|router| router == own),
                Ok(_) | Err(_) => false,
            })
        }
        InterfaceState::Waiting => false,
        InterfaceState::Down | InterfaceState::Loopback => true,
    }
}
