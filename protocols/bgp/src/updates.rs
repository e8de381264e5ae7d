//! What an UPDATE does to the table: RFC 4271 sections 6.3 and 9, RFC 7606.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use log::Level;

use crate::instance::Bgp;
use crate::loc_rib::{Path, Source};
use crate::neighbor::Neighbor;
use crate::packet::{AttributeFault, Attributes, DecodeContext, DecodedAttributes, Notification, PeerKind, Update};
use crate::policy::Policy;

/// Why routes that can be read are not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    /// RFC 7606: treat as withdrawn.
    #[error("malformed UPDATE, its routes are treated as withdrawn: {0}")]
    Malformed(#[from] AttributeFault),
    /// RFC 4271 section 6.3.
    #[error("UPDATE whose AS_PATH does not begin with the neighbor's AS, its routes are treated as withdrawn")]
    FirstAs,
    /// RFC 4271 section 6.3: semantically incorrect.
    #[error("UPDATE whose NEXT_HOP {0} is our own or on no subnet shared with the neighbor, its routes are ignored")]
    NextHop(Ipv4Addr),
    /// RFC 4271 section 9.1.2: our own AS in the path. Every border has these.
    #[error("loop: our AS is in the AS_PATH")]
    AsLoop,
    /// RFC 4456 section 8: our own route, reflected.
    #[error("loop: we are the ORIGINATOR_ID")]
    Originator,
}

impl Unusable {
    fn is_error(self) -> bool {
        match self {
            Unusable::Malformed(_) | Unusable::FirstAs | Unusable::NextHop(_) => true,
            Unusable::AsLoop | Unusable::Originator => false,
        }
    }
}

impl Bgp {
    /// Takes an UPDATE of an established session. An error ends the session.
    pub(crate) fn apply_update(&mut self, from: IpAddr, update: Update<'_>) -> Result<(), Notification> {
        let Some(neighbor) = self.neighbors.get_mut(&from) else { return Ok(()) };
        let Some(session) = neighbor.session() else { return Ok(()) };
        if update.is_end_of_rib() {
            neighbor.end_of_rib = true;
            return Ok(());
        }
        let context = DecodeContext { width: session.agreement.width, peer: neighbor.kind };
        let decoded = DecodedAttributes::decode(update.attributes, update.nlri, context)?;
        neighbor.counters.attributes_discarded += u64::from(decoded.discarded);
        for prefix in update.withdrawn.chain(decoded.mp_unreach) {
            self.withdraw_path(from, prefix);
        }
        let Some(routes) = decoded.routes else { return Ok(()) };
        // The family's own attribute may name another next hop (RFC 4760).
        let further = decoded.mp_reach.map(|reach| {
            let attributes = routes.clone().map(|attributes| Attributes { next_hop: reach.next_hop, ..attributes });
            (attributes, reach.nlri)
        });
        for (attributes, prefixes) in [(routes, update.nlri)].into_iter().chain(further) {
            if prefixes.is_empty() {
                continue;
            }
            match attributes.map_err(Unusable::from).and_then(|attributes| self.usable(from, attributes)) {
                Ok(attributes) => self.announce_paths(from, attributes, prefixes),
                Err(unusable) => {
                    self.report(from, unusable);
                    prefixes.for_each(|prefix| self.withdraw_path(from, prefix));
                }
            }
        }
        Ok(())
    }

    fn usable(&self, from: IpAddr, attributes: Attributes) -> Result<Attributes, Unusable> {
        let (Some(config), Some(neighbor)) = (&self.config, self.neighbors.get(&from)) else { return Ok(attributes) };
        if neighbor.kind == PeerKind::External && attributes.as_path.first() != Some(neighbor.config.remote_as) {
            return Err(Unusable::FirstAs);
        }
        if attributes.as_path.contains(config.as_number) {
            return Err(Unusable::AsLoop);
        }
        if attributes.originator_id.is_some() && attributes.originator_id == self.router_id {
            return Err(Unusable::Originator);
        }
        match self.next_hop_is_sound(neighbor, attributes.next_hop) {
            true => Ok(attributes),
            false => Err(Unusable::NextHop(attributes.next_hop)),
        }
    }

    /// Not our own address; from a directly connected external neighbor, its address or one of a subnet of ours.
    fn next_hop_is_sound(&self, neighbor: &Neighbor, next_hop: Ipv4Addr) -> bool {
        let next_hop = IpAddr::V4(next_hop);
        let local = neighbor.session().map(|session| session.link.local.ip());
        let subnets = || self.interfaces.values().flat_map(|state| &state.addresses);
        if local == Some(next_hop) || subnets().any(|subnet| subnet.addr() == next_hop) {
            return false;
        }
        let direct = neighbor.kind == PeerKind::External && neighbor.config.ebgp_multihop.is_none();
        !direct || next_hop == neighbor.address || subnets().any(|subnet| subnet.contains(&next_hop))
    }

    fn announce_paths(&mut self, from: IpAddr, attributes: Attributes, prefixes: impl Iterator<Item = Ipv4Net>) {
        self.track(attributes.next_hop);
        let attributes = self.pool.intern(attributes);
        let Some(neighbor) = self.neighbors.get_mut(&from) else { return };
        let Some(peer) = neighbor.peer.clone() else { return };
        let accepted = neighbor.policy(neighbor.config.import) == Policy::Pass;
        let path = Path { attributes, source: Source::Peer(peer), accepted };
        for prefix in prefixes {
            let new = self.loc_rib.announce(prefix, path.clone(), &self.next_hops);
            neighbor.prefixes_received += u64::from(new);
        }
    }

    fn withdraw_path(&mut self, from: IpAddr, prefix: Ipv4Net) {
        let known = self.loc_rib.withdraw(prefix, Some(from), &self.next_hops);
        if let Some(neighbor) = self.neighbors.get_mut(&from).filter(|_| known) {
            neighbor.prefixes_received = neighbor.prefixes_received.saturating_sub(1);
        }
    }

    /// Logs an error; a neighbor that keeps sending the same gets a line at the 1st, 2nd, 4th, 8th…
    fn report(&mut self, from: IpAddr, unusable: Unusable) {
        let Some(neighbor) = self.neighbors.get_mut(&from) else { return };
        if !unusable.is_error() {
            self.outbox.log(Level::Debug, format!("neighbor {from}: {unusable}"));
            return;
        }
        neighbor.counters.updates_malformed += 1;
        let count = neighbor.counters.updates_malformed;
        if count.is_power_of_two() {
            self.outbox.log(Level::Warn, format!("neighbor {from}: {unusable} (number {count} of its kind)"));
        }
    }
}
