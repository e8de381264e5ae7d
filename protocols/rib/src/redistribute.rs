//! Routes that protocols pass on for others: who wants which, and what each was told.
//!
//! A filter is the RIB's work, so that a table of a million routes of which ten are passed on is ten messages.

use std::collections::BTreeMap;

use ipnet::IpNet;
use sdk::rib::{Redistributed, RedistributedChange, Redistribution, RibUpdate};
use stack_api::fib::FibNextHop;

use crate::protocols::{Client, Protocols};
use crate::routes::Routes;

/// Changes in one message.
const MAX_CHANGES: usize = 250;

/// All that is passed on.
#[derive(Debug, Default)]
pub struct Redistributions(BTreeMap<Client, Wants>);

#[derive(Debug, Default)]
struct Wants {
    wanted: Vec<Redistribution>,
    told: BTreeMap<IpNet, Redistributed>,
    /// Whether it knows that everything was told.
    complete: bool,
}

impl Wants {
    fn takes(&self, route: &Redistributed) -> bool {
        self.wanted.iter().any(|wanted| wanted.takes(route))
    }

    /// How a prefix is now: what of it is to be told.
    fn look(&mut self, prefix: IpNet, route: Option<&Redistributed>) -> Option<RedistributedChange> {
        match route.filter(|route| self.takes(route)) {
            Some(route) if self.told.get(&prefix) == Some(route) => None,
            Some(route) => {
                self.told.insert(prefix, route.clone());
                Some(RedistributedChange::Set(route.clone()))
            }
            None => self.told.remove(&prefix).map(|_| RedistributedChange::Withdraw(prefix)),
        }
    }
}

impl Redistributions {
    /// Whether nobody passes anything on.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A client is gone.
    pub fn forget(&mut self, client: Client) {
        self.0.remove(&client);
    }

    /// What a client wants from now on, given all routes in force: what it is to be told.
    pub fn set(
        &mut self,
        client: Client,
        wanted: Vec<Redistribution>,
        routes: impl Iterator<Item = Redistributed>,
    ) -> Vec<RibUpdate> {
        let entry = self.0.entry(client).or_default();
        (entry.wanted, entry.complete) = (wanted, false);
        let Wants { wanted, told, .. } = entry;
        let takes = |route: &Redistributed| wanted.iter().any(|wanted| wanted.takes(route));
        let gone: Vec<IpNet> = told.iter().filter(|(_, route)| !takes(route)).map(|(prefix, _)| *prefix).collect();
        let mut changes: Vec<_> = gone.into_iter().filter_map(|prefix| entry.look(prefix, None)).collect();
        changes.extend(routes.filter_map(|route| entry.look(route.prefix, Some(&route))));
        updates(changes)
    }

    /// These prefixes were looked at, each with its route in force: what is to be told to whom.
    pub fn changed(
        &mut self,
        routes: impl Iterator<Item = (IpNet, Option<Redistributed>)>,
    ) -> Vec<(Client, RibUpdate)> {
        let mut changes: BTreeMap<Client, Vec<RedistributedChange>> = BTreeMap::new();
        for (prefix, route) in routes {
            for (client, wants) in &mut self.0 {
                if let Some(change) = wants.look(prefix, route.as_ref()) {
                    changes.entry(*client).or_default().push(change);
                }
            }
        }
        let of_one = |(client, changes)| updates(changes).into_iter().map(move |update| (client, update));
        changes.into_iter().flat_map(of_one).collect()
    }

    /// Everything was told: those who do not know that yet.
    pub fn complete(&mut self) -> impl Iterator<Item = Client> {
        let unaware = self.0.iter_mut().filter(|(_, wants)| !wants.complete);
        unaware.map(|(client, wants)| {
            wants.complete = true;
            *client
        })
    }
}

fn updates(changes: Vec<RedistributedChange>) -> Vec<RibUpdate> {
    changes.chunks(MAX_CHANGES).map(|part| RibUpdate::Redistributed(part.to_vec())).collect()
}

impl Routes {
    /// The route in force to a prefix, as another protocol would pass it on.
    pub fn redistributable(&self, prefix: IpNet, protocols: &Protocols) -> Option<Redistributed> {
        let (candidate, best) = self.table.get(prefix)?.selected()?;
        let (interface, next_hop) = match best.hops.first()? {
            FibNextHop::Via { interface, address } => (Some(interface.clone()), *address),
            FibNextHop::Discard => (None, None),
        };
        let protocol = protocols.name(candidate.source.protocol).to_owned();
        Some(Redistributed { prefix, protocol, metric: candidate.metric, tag: candidate.tag, interface, next_hop })
    }
}
