//! A new configuration in force: what did not change does not move.

use std::net::IpAddr;

use log::Level;
use sdk::core::{Output, Time};
use sdk::rib::RibRequest;

use crate::advertise::EndOfRib;
use crate::config::InstanceConfig;
use crate::instance::{Bgp, CONVERGENCE_LIMIT, Convergence};
use crate::neighbor::{Neighbor, PORT};
use crate::packet::Cease;
use crate::policy::Policy;

impl Bgp {
    /// Puts a configuration in force; `None`: no BGP in this VR.
    pub(crate) fn reconfigure(&mut self, now: Time, new: Option<InstanceConfig>) {
        for (address, cease) in self.sessions_to_end(new.as_ref()) {
            self.with_neighbor(now, address, |neighbor, speaker, outbox| neighbor.stop(now, cease, speaker, outbox));
        }
        self.reconfigure_networks(new.as_ref());
        self.reconfigure_redistribution(new.as_ref());
        self.reconfigure_listener(new.as_ref());
        let old = std::mem::replace(&mut self.config, new);
        let configured = self.config.as_ref().and_then(|config| config.router_id);
        let was_configured = old.is_some_and(|old| old.router_id.is_some());
        // One that was chosen stays while nothing else is configured, so that sessions do not move.
        if configured.is_some() || was_configured || self.config.is_none() {
            self.router_id = configured;
        }
        self.originate_all();
        self.reconfigure_neighbors();
        if self.config.is_none() {
            return;
        }
        self.convergence.get_or_insert(Convergence::Until(now + CONVERGENCE_LIMIT));
        self.choose_router_id_soon(now);
        if self.router_id.is_none() && self.router_id_at.is_none() {
            let text = "no router ID: none is configured, and no interface has an IPv4 address yet; BGP waits for one";
            self.outbox.log(Level::Warn, text.to_owned());
        }
        self.update_local_addresses(now);
        self.check_convergence(now);
    }

    /// The neighbors whose sessions cannot go on under a new configuration, and what they are told.
    fn sessions_to_end(&self, new: Option<&InstanceConfig>) -> Vec<(IpAddr, Cease)> {
        let same_speaker = match (&self.config, new) {
            (Some(old), Some(new)) => old.as_number == new.as_number && old.router_id == new.router_id,
            (None, _) | (_, None) => false,
        };
        let cease = |(address, neighbor): (&IpAddr, &Neighbor)| match new.and_then(|new| new.neighbors.get(address)) {
            None => Some((*address, Cease::PeerDeConfigured)),
            Some(config) if config.shutdown && !neighbor.config.shutdown => {
                Some((*address, Cease::AdministrativeShutdown))
            }
            Some(config) if same_speaker && config.same_session(&neighbor.config) => None,
            Some(_) => Some((*address, Cease::OtherConfigurationChange)),
        };
        self.neighbors.iter().filter_map(cease).collect()
    }

    fn reconfigure_networks(&mut self, new: Option<&InstanceConfig>) {
        let none = Default::default();
        let old_networks = self.config.as_ref().map_or(&none, |config| &config.networks);
        let new_networks = new.map_or(&none, |config| &config.networks);
        for gone in old_networks.difference(new_networks) {
            self.outbox.rib(RibRequest::UntrackPrefix((*gone).into()));
            self.loc_rib.withdraw(*gone, None, &self.next_hops);
            self.originated.forget_network(*gone);
        }
        for added in new_networks.difference(old_networks) {
            self.outbox.rib(RibRequest::TrackPrefix((*added).into()));
        }
    }

    fn reconfigure_listener(&mut self, new: Option<&InstanceConfig>) {
        let peers = |config: Option<&InstanceConfig>| config.map(InstanceConfig::peers).unwrap_or_default();
        if peers(self.config.as_ref()) != peers(new) {
            self.outbox.push(Output::Peers(peers(new)));
        }
        match (&self.config, new) {
            (None, Some(_)) => self.outbox.push(Output::Listen { port: PORT }),
            (Some(_), None) => self.outbox.push(Output::StopListening { port: PORT }),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Gives every neighbor its block. Those whose session had to end are in Idle by now.
    fn reconfigure_neighbors(&mut self) {
        let Some(config) = &self.config else { return self.neighbors.clear() };
        self.neighbors.retain(|address, _| config.neighbors.contains_key(address));
        for (address, block) in &config.neighbors {
            let kind = config.peer_kind(block.remote_as);
            let neighbor =
                self.neighbors.entry(*address).or_insert_with(|| Neighbor::new(*address, block.clone(), kind));
            let import_before = neighbor.policy(neighbor.config.import);
            let export_before = neighbor.policy(neighbor.config.export);
            neighbor.config = block.clone();
            neighbor.kind = kind;
            let import = neighbor.policy(neighbor.config.import);
            if neighbor.session().is_some() && import != import_before {
                self.loc_rib.set_accepted(*address, import == Policy::Pass, &self.next_hops);
            }
            if neighbor.session().is_some() && neighbor.policy(neighbor.config.export) != export_before {
                neighbor.stage_all(&self.loc_rib, config.as_number, &mut self.pool);
                neighbor.flush(EndOfRib::Omit, &mut self.outbox);
            }
        }
    }
}
