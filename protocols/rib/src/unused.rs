//! Routes that are offered and lead nowhere now: their protocols are told, and `show route unused` lists them.
//!
//! Such a route is kept, since its next hop may be reached at any moment: it waits for another protocol's route, for an
//! interface, or for an address of this router to become a neighbor's. What can never be used is refused before it
//! comes here ([`validate`](crate::validate)).

use std::collections::BTreeMap;

use ipnet::IpNet;
use sdk::rib::{RibUpdate, Unreached, UnusedRoute};

use crate::protocols::{Client, ProtocolId, Protocols};
use crate::routes::Routes;
use crate::table::{Candidate, Entry, Source};

/// Routes in one message.
const MAX_ROUTES: usize = 250;

impl Routes {
    /// Of the routes that a protocol offers to these prefixes, those that lead nowhere.
    pub fn unused(&self, protocol: ProtocolId, prefixes: Vec<IpNet>) -> Vec<UnusedRoute> {
        let source = Source::of(protocol);
        let of_prefix = |prefix| {
            let candidates = &self.table.get(prefix)?.candidates;
            let candidate = candidates.iter().find(|candidate| candidate.source == source)?;
            Some(UnusedRoute { prefix, because: self.unreached(prefix, candidate)? })
        };
        prefixes.into_iter().filter_map(of_prefix).collect()
    }

    /// All that protocols offer in their present lives, and that leads nowhere.
    pub fn all_unused(&self, protocols: &Protocols) -> BTreeMap<Client, Vec<UnusedRoute>> {
        let mut unused: BTreeMap<Client, Vec<UnusedRoute>> = BTreeMap::new();
        for (prefix, entry) in self.table.iter() {
            for (candidate, because) in self.unused_at(prefix, entry) {
                let Some(protocol) = protocols.get(candidate.source.protocol) else { continue };
                if let Some(client) = protocol.client.filter(|_| candidate.epoch == protocol.epoch) {
                    unused.entry(client).or_default().push(UnusedRoute { prefix, because });
                }
            }
        }
        unused
    }

    /// The routes to a prefix that lead nowhere, best first.
    pub fn unused_at<'a>(
        &'a self,
        prefix: IpNet,
        entry: &'a Entry,
    ) -> impl Iterator<Item = (&'a Candidate, Unreached)> + use<'a> {
        entry.candidates.iter().filter_map(move |candidate| Some((candidate, self.unreached(prefix, candidate)?)))
    }
}

/// Messages that tell of these routes.
pub fn updates(routes: Vec<UnusedRoute>) -> impl Iterator<Item = RibUpdate> {
    let parts: Vec<Vec<UnusedRoute>> = routes.chunks(MAX_ROUTES).map(<[UnusedRoute]>::to_vec).collect();
    parts.into_iter().map(RibUpdate::Unused)
}
