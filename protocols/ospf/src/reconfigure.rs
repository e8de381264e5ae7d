//! The configuration changes: what can go on does, and the rest starts anew.

use sdk::InterfaceName;
use sdk::core::Time;

use crate::area::Area;
use crate::config::InstanceConfig;
use crate::convergence::Convergence;
use crate::early::EarlyLsas;
use crate::instance::{Ospf, ROUTER_ID_DELAY};
use crate::interface::Interface;
use crate::lsdb::Lsdb;
use crate::packet::AreaId;
use crate::routes::Table;

impl Ospf {
    /// The block of this process is another, new, or gone.
    pub(crate) fn reconfigure(&mut self, now: Time, new: Option<InstanceConfig>) {
        match (&self.config, &new) {
            (None, Some(_)) => self.open_socket(),
            (Some(_), None) => {
                self.stop(now);
                self.stopped = false;
                self.close_socket();
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        let router_id = new.as_ref().and_then(|new| new.router_id);
        let was_configured = self.config.as_ref().is_some_and(|old| old.router_id.is_some());
        // One that was chosen stays while nothing else is configured, so that adjacencies do not move.
        if (router_id.is_some() || was_configured || new.is_none()) && self.router_id != router_id {
            self.begin_anew(now);
            self.router_id = router_id;
        }
        let before = std::mem::replace(&mut self.config, new);
        self.ask_for_outside(before.as_ref());
        let limit = |config: Option<&InstanceConfig>| config.and_then(|config| config.max_lsas);
        if limit(before.as_ref()) != limit(self.config.as_ref()) && self.protection.ignoring_until.is_some() {
            self.end_of_ignoring(now);
        }
        self.reconfigure_areas(now);
        let Some(config) = &self.config else {
            self.areas.clear();
            return self.install_table(Table::default());
        };
        self.spf.configure(config.spf);
        self.convergence.get_or_insert(Convergence::begin(now));
        if self.router_id.is_none() {
            self.router_id_at.get_or_insert(now + ROUTER_ID_DELAY);
        }
        self.spf.event(now);
        self.links_changed(now);
    }

    /// Gives every area and interface its block; those that cannot go on as they are start anew.
    fn reconfigure_areas(&mut self, now: Time) {
        let areas = self.config.as_ref().map(|config| config.areas.clone()).unwrap_or_default();
        let block_of = |name: &InterfaceName| {
            areas.iter().find_map(|(id, area)| area.interfaces.get(name).map(|config| (*id, config.clone())))
        };
        for name in self.interfaces.keys().cloned().collect::<Vec<_>>() {
            let kept = self.interfaces.get(&name).is_some_and(|interface| {
                let same_kind = |id: &AreaId| {
                    self.areas.get(id).map(|area| area.config.kind) == areas.get(id).map(|area| area.kind)
                };
                block_of(&name).is_some_and(|(id, config)| {
                    id == interface.area && config.same_conversation(&interface.config) && same_kind(&id)
                })
            });
            if !kept {
                self.close_interface(now, &name);
                self.interfaces.remove(&name);
            }
        }
        self.areas.retain(|id, area| areas.get(id).is_some_and(|new| new.kind == area.config.kind));
        for (id, config) in &areas {
            let area = self.areas.entry(*id).or_insert_with(|| Area::new(config.clone()));
            area.config = config.clone();
            for (name, block) in &config.interfaces {
                let new = || Interface::new(name.clone(), *id, block.clone());
                let interface = self.interfaces.entry(name.clone()).or_insert_with(new);
                interface.config = block.clone();
                self.refresh_interface(now, name);
            }
        }
    }

    /// This router becomes another.
    fn begin_anew(&mut self, now: Time) {
        self.stop(now);
        self.stopped = false;
        self.forget_all(now);
    }

    /// All adjacencies and LSAs go.
    pub(crate) fn forget_all(&mut self, now: Time) {
        for name in self.interfaces.keys().cloned().collect::<Vec<_>>() {
            self.close_interface(now, &name);
        }
        self.areas.values_mut().for_each(|area| *area = Area::new(area.config.clone()));
        self.external = Lsdb::default();
        self.backoffs.clear();
        self.early = EarlyLsas::default();
    }
}
