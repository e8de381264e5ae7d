//! OSPF of a VR: joins interfaces, areas, the RIB and time. The [`ProtocolCore`] that the shell runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use linkstate::{Backoff, SpfDelay, SpfDelayConfig};
use log::Level;
use sdk::InterfaceName;
use sdk::config::Node;
use sdk::core::{ConfigError, Input, Output, ProtocolCore, Time};
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::outbox::{Outbox, RibLink};
use sdk::rib::{RibRequest, RibUpdate};
use sdk::show::Row;

use crate::area::Area;
use crate::config::{AreaKind, Config, InstanceConfig, Passive};
use crate::convergence::Convergence;
use crate::drops::Drops;
use crate::early::EarlyLsas;
use crate::externals::Outside;
use crate::fsm;
use crate::install::Installed;
use crate::interface::Interface;
use crate::lsdb::{Lsdb, Place};
use crate::originate::Part;
use crate::packet::{AreaId, LsaKey, RouterId, Scope};
use crate::protection::Protection;
use crate::rival::Rivals;
use crate::routes::{self, Table};
use crate::show;

/// A router ID that is not configured is chosen so long after the first address was seen, so that it does not depend on
/// the order in which interfaces are told. If after that time there is no address at all, that is said.
pub(crate) const ROUTER_ID_DELAY: Duration = Duration::from_millis(200);
/// What an LSA takes from this process to the neighbors, when there are many.
const FLOOD_TIME: Duration = Duration::from_micros(1);
/// Calculations that `show ospf spf log` remembers.
const SPF_LOG: usize = 50;

/// A calculation of the routing table.
#[derive(Debug, Clone)]
pub struct SpfRun {
    /// When.
    pub at: Time,
    /// The LSA whose change was the first reason.
    pub reason: Option<LsaKey>,
    /// How many LSAs changed since the one before.
    pub changes: u64,
    /// Areas whose shortest paths were calculated; in the others only prefixes changed.
    pub trees: usize,
    /// Prefixes of the table.
    pub prefixes: usize,
}

/// OSPF of a VR.
#[derive(Debug)]
pub struct Ospf {
    /// Seconds since 1970 when [`Time::ZERO`] was: numbers that must not fall go on from there after a restart.
    epoch: u64,
    pub(crate) config: Option<InstanceConfig>,
    pub(crate) router_id: Option<RouterId>,
    pub(crate) router_id_at: Option<Time>,
    pub(crate) known: BTreeMap<InterfaceName, InterfaceState>,
    pub(crate) interfaces: BTreeMap<InterfaceName, Interface>,
    pub(crate) areas: BTreeMap<AreaId, Area>,
    pub(crate) external: Lsdb,
    pub(crate) backoffs: BTreeMap<(Place, LsaKey), Backoff>,
    pub(crate) early: EarlyLsas,
    /// Whether a neighbor that restarts may be helped: `false` only if none is.
    pub(crate) may_help: bool,
    /// LSAs that go on to neighbors in this turn.
    pub(crate) flooded: u32,
    /// When to flood what is queued: behind all packets of the turn, so that their LSAs go on together.
    flood_at: Option<Time>,
    /// When to look whether the LSAs of this router say what is so.
    pub(crate) originate_at: Option<Time>,
    /// Which of them may not.
    pub(crate) stale: BTreeSet<Part>,
    /// Prefixes outside of which they may not.
    pub(crate) stale_externals: BTreeSet<Ipv4Net>,
    pub(crate) spf: SpfDelay,
    spf_reason: Option<LsaKey>,
    spf_changes: u64,
    pub(crate) spf_log: VecDeque<SpfRun>,
    /// Routes of other protocols.
    pub(crate) outside: Outside,
    /// The routing table, as the RIB was told.
    pub(crate) installed: Installed,
    pub(crate) convergence: Option<Convergence>,
    pub(crate) stopped: bool,
    pub(crate) protection: Protection,
    pub(crate) rivals: Rivals,
    pub(crate) drops: Drops,
    pub(crate) outbox: Outbox,
}

impl Ospf {
    /// OSPF without configuration. `epoch`: seconds since 1970 now.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            config: None,
            router_id: None,
            router_id_at: None,
            known: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            areas: BTreeMap::new(),
            external: Lsdb::default(),
            backoffs: BTreeMap::new(),
            early: EarlyLsas::default(),
            may_help: false,
            flooded: 0,
            flood_at: None,
            originate_at: None,
            stale: BTreeSet::new(),
            stale_externals: BTreeSet::new(),
            spf: SpfDelay::new(SpfDelayConfig::default()),
            spf_reason: None,
            spf_changes: 0,
            spf_log: VecDeque::new(),
            outside: Outside::default(),
            installed: Installed::default(),
            convergence: None,
            stopped: false,
            protection: Protection::default(),
            rivals: Rivals::default(),
            drops: Drops::default(),
            outbox: Outbox::default(),
        }
    }

    /// Seconds since 1970, as far as this process knows: they never fall.
    pub(crate) fn wall_seconds(&self, now: Time) -> u64 {
        self.epoch + now.since(Time::ZERO).as_secs()
    }

    /// Where an LSA that came in by an interface, or is to go out there, is kept.
    pub(crate) fn place(&self, interface: &Interface, key: &LsaKey) -> Place {
        match key.kind.scope() {
            Scope::Link => Place::Link(interface.name.clone()),
            Scope::Area => Place::Area(interface.area),
            Scope::As => Place::As,
        }
    }

    pub(crate) fn lsdb(&self, place: &Place) -> Option<&Lsdb> {
        match place {
            Place::Link(name) => self.interfaces.get(name).map(|interface| &interface.lsdb),
            Place::Area(area) => self.areas.get(area).map(|area| &area.lsdb),
            Place::As => Some(&self.external),
        }
    }

    pub(crate) fn lsdb_mut(&mut self, place: &Place) -> Option<&mut Lsdb> {
        match place {
            Place::Link(name) => self.interfaces.get_mut(name).map(|interface| &mut interface.lsdb),
            Place::Area(area) => self.areas.get_mut(area).map(|area| &mut area.lsdb),
            Place::As => Some(&mut self.external),
        }
    }

    /// Where all databases are.
    pub(crate) fn places(&self) -> Vec<Place> {
        let links = self.interfaces.keys().map(|name| Place::Link(name.clone()));
        let areas = self.areas.keys().map(|area| Place::Area(*area));
        links.chain(areas).chain([Place::As]).collect()
    }

    pub(crate) fn databases(&self) -> impl Iterator<Item = &Lsdb> {
        let links = self.interfaces.values().map(|interface| &interface.lsdb);
        links.chain(self.areas.values().map(|area| &area.lsdb)).chain([&self.external])
    }

    /// Areas that this router takes part in.
    pub(crate) fn active_areas(&self) -> impl Iterator<Item = (&AreaId, &Area)> {
        self.areas.iter().filter(|(id, _)| {
            self.interfaces
                .values()
                .any(|interface| interface.area == **id && interface.state != fsm::InterfaceState::Down)
        })
    }

    /// The routing table.
    pub(crate) fn table(&self) -> &Table {
        &self.installed.table
    }

    /// Whether it takes part in several: RFC 2328 section 3.3.
    pub(crate) fn is_border_router(&self) -> bool {
        self.active_areas().nth(1).is_some()
    }

    /// What this router says may be different now, whatever it is.
    pub(crate) fn links_changed(&mut self, now: Time) {
        Part::ALL.into_iter().for_each(|part| self.part_changed(now, part));
    }

    /// What it says in LSAs of a part may be.
    pub(crate) fn part_changed(&mut self, now: Time, part: Part) {
        self.stale.insert(part);
        self.originate_soon(now);
    }

    /// It is looked at what this router says.
    pub(crate) fn originate_soon(&mut self, now: Time) {
        self.originate_at = Some(self.originate_at.map_or(now, |at| at.min(now)));
    }

    /// An LSA in a database says something else now.
    pub(crate) fn lsa_changed(&mut self, now: Time, key: LsaKey) {
        if !key.kind.is_opaque() {
            self.end_all_grace(now, key);
            self.spf.event(now);
            self.spf_reason.get_or_insert(key);
            self.spf_changes += 1;
        }
    }

    fn calculate(&mut self, now: Time) {
        let (Some(router), Some(config)) = (self.router_id, &self.config) else { return };
        let runs = |areas: &BTreeMap<AreaId, Area>| areas.values().map(|area| area.spf.runs()).collect::<Vec<_>>();
        let before = runs(&self.areas);
        let inputs = routes::Inputs {
            now,
            router,
            is_border_router: self.is_border_router(),
            interfaces: &self.interfaces,
            external: &self.external,
            maximum_paths: config.maximum_paths,
        };
        let table = routes::calculate(&inputs, &mut self.areas);
        let trees = before.iter().zip(runs(&self.areas)).filter(|(before, after)| **before != *after).count();
        let run = SpfRun {
            at: now,
            reason: self.spf_reason.take(),
            changes: std::mem::take(&mut self.spf_changes),
            trees,
            prefixes: table.networks.len(),
        };
        self.spf_log.push_back(run);
        if self.spf_log.len() > SPF_LOG {
            self.spf_log.pop_front();
        }
        self.install_table(table);
        // What an area border router tells follows from the table, translations of type-7-LSAs among it.
        if self.is_border_router() {
            self.part_changed(now, Part::Summaries);
            if self.areas.values().any(|area| area.config.kind == AreaKind::Nssa) {
                self.part_changed(now, Part::Links);
                self.part_changed(now, Part::Externals);
            }
        }
    }

    /// Does what has to be done after each thing that happened.
    fn flush(&mut self, now: Time) {
        self.settle(now);
        (self.flood_at, self.flooded) = (None, 0);
        self.flood_queued(now);
    }

    /// The same, but that what is to be flooded waits for the packets that lie behind this one.
    fn flush_later(&mut self, now: Time) {
        self.settle(now);
        if self.flooded > 0 {
            self.flood_at = Some(now);
        }
    }

    fn settle(&mut self, now: Time) {
        self.protect(now);
        self.bury(now);
        if self.originate_at.take_if(|at| *at <= now).is_some() {
            self.originate_all(now);
        }
        self.check_convergence(now);
        self.outbox.flush_routes();
    }

    fn rib_restarted(&mut self) {
        self.outbox.rib = RibLink::Seen;
        self.outside.routes.rib_restarted();
        self.ask_for_outside(None);
        self.install_again();
        if self.convergence == Some(Convergence::Done) {
            self.outbox.rib(RibRequest::EndOfRoutes);
        }
    }

    fn rib_update(&mut self, now: Time, update: RibUpdate) {
        match update {
            RibUpdate::Refused { prefix, reason } => {
                self.outbox.log(Level::Warn, format!("route {prefix} refused by the RIB: {reason}"));
            }
            RibUpdate::Redistributed(changes) => self.redistributed(now, changes),
            RibUpdate::RedistributionComplete => self.redistribution_complete(now),
            // OSPF asks for one prefix only.
            RibUpdate::Prefix { metric, .. } => self.default_told(now, metric.is_some()),
            // And for no next hop. What leads over an interface that just went down is computed anew in any case.
            RibUpdate::NextHop { .. } | RibUpdate::Unused(_) => {}
            RibUpdate::Denied { reason } => self.outbox.log(Level::Warn, format!("denied by the RIB: {reason}")),
        }
    }

    fn interface_told(&mut self, now: Time, state: InterfaceState) {
        let (name, was_none) = (state.name.clone(), self.candidate_router_id().is_none());
        self.known.insert(name.clone(), state);
        if was_none && self.candidate_router_id().is_some() && self.config.is_some() && self.router_id.is_none() {
            self.router_id_at = Some(now + ROUTER_ID_DELAY);
        }
        self.refresh_interface(now, &name);
    }

    fn interface_removed(&mut self, now: Time, name: &InterfaceName) {
        self.known.remove(name);
        self.refresh_interface(now, name);
    }

    fn choose_router_id(&mut self, now: Time) {
        self.router_id = self.candidate_router_id();
        if self.router_id.is_none() {
            let text = "no router ID: none is configured, and no interface has an IPv4 address; OSPF waits for one";
            return self.outbox.log(Level::Warn, text.to_owned());
        }
        for name in self.interfaces.keys().cloned().collect::<Vec<_>>() {
            self.refresh_interface(now, &name);
        }
        self.links_changed(now);
    }

    /// The highest address of a loopback interface, else of any interface.
    fn candidate_router_id(&self) -> Option<RouterId> {
        let is_loopback = |state: &&InterfaceState| matches!(state.kind, InterfaceKind::Loopback);
        let loopback = self.known.values().filter(is_loopback).flat_map(ipv4_addresses).max();
        let highest = loopback.or_else(|| self.known.values().flat_map(ipv4_addresses).max());
        highest.map(|subnet| subnet.addr())
    }

    /// Takes leave: neighbors are told that this router's LSAs are void, and that it hears nobody.
    pub(crate) fn stop(&mut self, now: Time) {
        self.stopped = true;
        self.stale.extend(Part::ALL);
        self.originate_all(now);
        self.flood_queued(now);
        for name in self.interfaces.keys().cloned().collect::<Vec<_>>() {
            self.say_goodbye(now, &name);
        }
    }

    fn clear(&mut self, now: Time) {
        for name in self.interfaces.keys().cloned().collect::<Vec<_>>() {
            self.close_interface(now, &name);
            self.refresh_interface(now, &name);
        }
    }

    fn interface_timers(&mut self, now: Time) {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let late = |(_, interface): &(&InterfaceName, &Interface)| is_due(interface.poll_timeout());
        let names: Vec<InterfaceName> = self.interfaces.iter().filter(late).map(|(name, _)| name.clone()).collect();
        for name in names {
            // First who is gone: the hello is to say so.
            self.neighbor_timers(now, &name);
            self.hello_timers(now, &name);
            self.flood_timers(now, &name);
        }
    }
}

/// The IPv4 subnets of an interface, in order.
pub(crate) fn ipv4_addresses(state: &InterfaceState) -> impl Iterator<Item = Ipv4Net> {
    state.addresses.iter().filter_map(|subnet| match subnet {
        ipnet::IpNet::V4(subnet) => Some(*subnet),
        ipnet::IpNet::V6(_) => None,
    })
}

impl ProtocolCore for Ospf {
    type Config = Config;

    fn read_config(blocks: &[Node]) -> Result<Config, ConfigError> {
        Config::read(blocks)
    }

    fn configure(&mut self, now: Time, config: Config) -> Result<(), ConfigError> {
        self.reconfigure(now, config.instance);
        self.flush(now);
        Ok(())
    }

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Datagram { message, .. } => {
                let (from, to) = (message.addresses.source.ip(), message.addresses.destination.ip());
                if let (IpAddr::V4(from), IpAddr::V4(to), Some(interface)) = (from, to, &message.interface)
                    && let Err(reason) = self.packet(now, interface, from, to, &message.payload)
                {
                    self.drops.count(reason);
                }
                return self.flush_later(now);
            }
            Input::Bound { .. } => self.say_hello_anew(now),
            Input::BindFailed { error, .. } => {
                self.outbox.log(Level::Warn, format!("no raw socket: {error}; OSPF speaks to nobody"));
            }
            Input::Interface(state) => self.interface_told(now, state),
            Input::InterfaceRemoved(name) => self.interface_removed(now, &name),
            Input::Rib(update) => self.rib_update(now, update),
            Input::RibRestarted => self.rib_restarted(),
            Input::Stop => self.stop(now),
            // OSPF has no connections.
            Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Accepted { .. }
            | Input::Received { .. }
            | Input::Closed { .. }
            | Input::ListenFailed { .. } => {}
        }
        self.flush(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.router_id_at.take_if(|at| *at <= now).is_some() && self.router_id.is_none() {
            self.choose_router_id(now);
        }
        if self.protection.ignoring_until.is_some_and(|until| until <= now) {
            self.end_of_ignoring(now);
        }
        self.take_early(now);
        self.interface_timers(now);
        self.age_lsas(now);
        if let Some(more) = std::mem::take(&mut self.flooded).checked_sub(1) {
            // Neighbors are told first, and calculate at the same time: what they are told passes other processes, for
            // which a calculation would not make way on the same CPU.
            self.spf.not_before(now + Duration::from_nanos(1) + FLOOD_TIME * more);
        }
        // What this router says itself is a reason for a calculation, too.
        self.flush(now);
        if self.spf.is_due(now) {
            self.calculate(now);
            self.flush(now);
        }
    }

    fn command(&mut self, now: Time, words: &[String]) -> Result<(), String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["clear", "ospf", "process"] => self.clear(now),
            _ => return Err(format!("`{}` is no command of OSPF", words.join(" "))),
        }
        self.flush(now);
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        let convergence = match self.convergence {
            Some(Convergence::Until(limit)) if self.outbox.rib == RibLink::Seen => Some(limit),
            Some(Convergence::Until(_) | Convergence::Done) | None => None,
        };
        let own =
            [self.router_id_at, self.originate_at, self.spf.poll_timeout(), convergence, self.external.poll_timeout()];
        let own = own.into_iter().chain([self.protection.ignoring_until, self.early.poll_timeout(), self.flood_at]);
        let areas = self.areas.values().filter_map(|area| area.lsdb.poll_timeout());
        let interfaces = self.interfaces.values().filter_map(Interface::poll_timeout);
        own.flatten().chain(areas).chain(interfaces).min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    fn show(&self, now: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
        show::rows(self, now, table, arguments)
    }
}

impl Ospf {
    /// Whether an interface of the VR can be used for OSPF, and with which subnets.
    pub(crate) fn usable_subnets(&self, name: &InterfaceName) -> Vec<Ipv4Net> {
        if self.router_id.is_none() || self.stopped || self.protection.ignoring_until.is_some() {
            return Vec::new();
        }
        self.known.get(name).filter(|state| state.up).map(|state| ipv4_addresses(state).collect()).unwrap_or_default()
    }

    /// Whether an address is one of this router's.
    pub(crate) fn is_own_address(&self, address: Ipv4Addr) -> bool {
        self.interfaces
            .values()
            .any(|interface| interface.state != fsm::InterfaceState::Down && interface.address.addr() == address)
    }

    /// Whether an interface only announces its subnet.
    pub(crate) fn is_silent(interface: &Interface) -> bool {
        interface.config.passive == Passive::Yes
    }
}
