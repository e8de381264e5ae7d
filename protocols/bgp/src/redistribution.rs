//! Routes that this router originates: `network`, and routes of other protocols that are passed on.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};
use sdk::redistribution::RedistributedRoutes;
use sdk::rib::{RedistributedChange, RibRequest};

use crate::config::InstanceConfig;
use crate::instance::Bgp;
use crate::loc_rib::{Path, Source};
use crate::packet::{Attributes, Origin};

/// What the RIB told of other protocols' routes.
#[derive(Debug, Default)]
pub struct Originated {
    /// Metrics of the configured networks that it has.
    networks: BTreeMap<Ipv4Net, u32>,
    /// Routes that are passed on.
    redistributed: RedistributedRoutes,
}

impl Originated {
    /// A network is no longer configured.
    pub(crate) fn forget_network(&mut self, prefix: Ipv4Net) {
        self.networks.remove(&prefix);
    }
}

impl Bgp {
    /// The configuration is to be another.
    pub(crate) fn reconfigure_redistribution(&mut self, new: Option<&InstanceConfig>) {
        let wanted = |config: Option<&InstanceConfig>| -> Vec<_> {
            let all = config.into_iter().flat_map(|config| config.redistribute.values());
            all.map(|(redistribution, _)| redistribution.clone()).collect()
        };
        let new = wanted(new);
        if new != wanted(self.config.as_ref()) {
            self.outbox.rib(RibRequest::Redistribute(new));
        }
    }

    /// A RIB that is new is asked again.
    pub(crate) fn ask_for_redistribution(&mut self) {
        self.originated.redistributed.rib_restarted();
        let all = self.config.iter().flat_map(|config| config.redistribute.values());
        let wanted: Vec<_> = all.map(|(redistribution, _)| redistribution.clone()).collect();
        if !wanted.is_empty() {
            self.outbox.rib(RibRequest::Redistribute(wanted));
        }
    }

    /// The RIB has a configured network, or not.
    pub(crate) fn network(&mut self, prefix: Ipv4Net, metric: Option<u32>) {
        match metric {
            Some(metric) => _ = self.originated.networks.insert(prefix, metric),
            None => _ = self.originated.networks.remove(&prefix),
        }
        self.originate(prefix);
    }

    /// The RIB told of routes that are passed on.
    pub(crate) fn redistributed(&mut self, changes: Vec<RedistributedChange>) {
        for change in changes {
            // BGP here is of IPv4.
            if let IpNet::V4(prefix) = self.originated.redistributed.change(change) {
                self.originate(prefix);
            }
        }
    }

    /// It told all.
    pub(crate) fn redistribution_complete(&mut self) {
        for prefix in self.originated.redistributed.complete() {
            if let IpNet::V4(prefix) = prefix {
                self.originate(prefix);
            }
        }
    }

    /// What this router tells of all prefixes may be different: the configuration is.
    pub(crate) fn originate_all(&mut self) {
        let redistributed = self.originated.redistributed.iter().filter_map(|route| match route.prefix {
            IpNet::V4(prefix) => Some(prefix),
            IpNet::V6(_) => None,
        });
        for prefix in redistributed.collect::<Vec<_>>() {
            self.originate(prefix);
        }
    }

    /// Makes the path of our own to a prefix what it should be: a network goes before what is passed on.
    fn originate(&mut self, prefix: Ipv4Net) {
        let Some(config) = &self.config else { return };
        let network = self.originated.networks.get(&prefix).filter(|_| config.networks.contains(&prefix));
        let attributes = match network {
            Some(metric) => Some(Attributes::originated(*metric)),
            None => self.originated.redistributed.get(prefix.into()).and_then(|route| {
                let (_, metric) = config.redistribute.get(&route.protocol)?;
                let med = metric.unwrap_or(route.metric);
                Some(Attributes { origin: Origin::Incomplete, ..Attributes::originated(med) })
            }),
        };
        match attributes {
            Some(attributes) => {
                let attributes = self.pool.intern(attributes);
                let path = Path { attributes, source: Source::Local, accepted: true };
                self.loc_rib.announce(prefix, path, &self.next_hops);
            }
            None => drop(self.loc_rib.withdraw(prefix, None, &self.next_hops)),
        }
    }
}
