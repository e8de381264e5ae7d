//! Protection against a neighbor that tells more than this router can keep: `max-lsa`, as IOS-XR has it.
//!
//! A router whose redistribution runs wild sends the whole Internet. Beyond the limit this router forgets everything and
//! speaks to nobody for a while, so that the VR and its other protocols live on.

use std::time::Duration;

use log::Level;
use sdk::InterfaceName;
use sdk::core::Time;

use crate::instance::Ospf;

/// How long nobody is spoken to: IOS-XR's `ignore-time`.
const IGNORE_TIME: Duration = Duration::from_secs(300);
/// A warning comes at this part of the limit, in per cent: IOS-XR's.
const WARN_PER_CENT: usize = 75;

/// How near the limit is.
#[derive(Debug, Default)]
pub(crate) struct Protection {
    /// Until when nobody is spoken to.
    pub ignoring_until: Option<Time>,
    warned: bool,
}

impl Ospf {
    /// LSAs that neighbors sent.
    pub(crate) fn lsas_of_others(&self) -> usize {
        let areas = self.areas.values().map(|area| area.lsdb.flooded());
        let links = self.interfaces.values().map(|interface| interface.lsdb.flooded());
        areas.chain(links).sum::<usize>() + self.external.flooded()
    }

    /// Looks whether there are too many.
    pub(crate) fn protect(&mut self, now: Time) {
        let Some(limit) = self.config.as_ref().and_then(|config| config.max_lsas) else { return };
        let count = self.lsas_of_others();
        if count > limit && self.protection.ignoring_until.is_none() {
            let text = format!("{count} LSAs of others are more than max-lsa {limit}: silent for {IGNORE_TIME:?}");
            self.outbox.log(Level::Error, text);
            self.ignore_everybody(now);
        } else if count * 100 > limit * WARN_PER_CENT && !self.protection.warned {
            self.protection.warned = true;
            self.outbox.log(Level::Warn, format!("{count} LSAs of others; max-lsa is {limit}"));
        } else if count * 100 <= limit * WARN_PER_CENT {
            self.protection.warned = false;
        }
    }

    fn ignore_everybody(&mut self, now: Time) {
        self.protection.ignoring_until = Some(now + IGNORE_TIME);
        self.forget_all(now);
        self.spf.event(now);
    }

    /// After a while, or under another configuration, it is tried again.
    pub(crate) fn end_of_ignoring(&mut self, now: Time) {
        self.protection.ignoring_until = None;
        self.outbox.log(Level::Info, "neighbors are spoken to again".to_owned());
        for name in self.interfaces.keys().cloned().collect::<Vec<InterfaceName>>() {
            self.refresh_interface(now, &name);
        }
    }
}
