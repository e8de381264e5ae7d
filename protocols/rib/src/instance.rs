//! The RIB of one VR, without input or output.
//!
//! [`Input`] goes in with the time, [`Output`] comes out; the process around it is [`run`](crate::run::run). The RIB is
//! *based* once it has its configuration and the first snapshot of the interfaces; then the download to the FIB
//! begins. It is *settled* once every protocol that came back sent all its routes: only then is what the FIB still has
//! from a former RIB swept, and only then is anybody told that something is not there which may only be on its way.
//! So a restart of this process takes no route out of the FIB and no neighbor down.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ipc::protocol::Origin;
use ipc::{InterfaceName, ServiceName};
use ipnet::IpNet;
use sdk::core::Time;
use sdk::rib::{Redistribution, RibRequest, RibUpdate, Route, RouteChange};
use stack_api::fib::{FibReply, FibRequest};
use stack_api::interface::InterfaceState;
use vr_api::manager::{RibAnswer, RibQuestion};

use crate::config::RibConfig;
use crate::download::Download;
use crate::interfaces::{InterfaceChanges, Interfaces};
use crate::protocols::{Client, Epoch, Limits, Protocol, ProtocolId, Protocols};
use crate::redistribute::Redistributions;
use crate::resolve::Resolution;
use crate::routes::{Commit, Routes};
use crate::table::{Entry, Offer, Source, Table};
use crate::track::{Negative, Trackers};
use crate::unused;
use crate::validate::check_route;

/// Times and limits of a RIB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long protocols have to come back after a restart of the RIB before it is settled without them. They open
    /// their channels again within milliseconds.
    pub settle_time: Duration,
    /// Routes that a program that attached may bring: it is somebody's own, and the memory is everybody's.
    pub program_routes: usize,
    /// Next hops and prefixes that it may track.
    pub program_tracked: usize,
    /// Entries of all prefix lists that it may redistribute by: each is compared with every route.
    pub program_matches: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            settle_time: Duration::from_secs(5),
            program_routes: 100_000,
            program_tracked: 10_000,
            program_matches: 1_000,
        }
    }
}

/// What happens to a RIB.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// This configuration is in force.
    Configured(RibConfig),
    /// These are all interfaces of the VR.
    Interfaces(Vec<InterfaceState>),
    /// An interface is new or changed.
    Interface(InterfaceState),
    /// An interface is gone.
    InterfaceRemoved(InterfaceName),
    /// A protocol opened a channel: its name, and who started it.
    ClientJoined(Client, ServiceName, Origin),
    /// Its channel closed.
    ClientLeft(Client),
    /// A protocol said something.
    Request(Client, RibRequest),
    /// The FIB's channel is open, and it expects the whole table.
    FibUp,
    /// The FIB's channel closed.
    FibDown,
    /// The FIB answered.
    Fib(FibReply),
    /// The VR connection manager asks.
    Question(RibQuestion),
}

/// What a RIB wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A message to the FIB.
    Fib(FibRequest),
    /// A message to a protocol.
    Update(Client, RibUpdate),
    /// A message to the VR connection manager.
    Answer(RibAnswer),
    /// A line for the log.
    Log(log::Level, String),
}

/// How far a RIB is after its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Configuration or interfaces are missing.
    Waiting { configured: bool, interfaces: bool },
    /// Protocols may still be coming back.
    Settling { since: Time },
    /// Everything is known.
    Settled,
}

/// The RIB of a VR.
#[derive(Debug)]
pub struct Rib {
    settings: Settings,
    phase: Phase,
    protocols: Protocols,
    routes: Routes,
    trackers: Trackers,
    redistributions: Redistributions,
    download: Download,
    config: RibConfig,
    /// Routes that the FIB refused since its channel opened.
    refusals: u64,
    outputs: VecDeque<Output>,
}

impl Rib {
    /// An empty RIB that has heard nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Waiting { configured: false, interfaces: false },
            protocols: Protocols::default(),
            routes: Routes::default(),
            trackers: Trackers::default(),
            redistributions: Redistributions::default(),
            download: Download::default(),
            config: RibConfig::default(),
            refusals: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Something happened.
    pub fn handle_input(&mut self, now: Time, input: Input) {
        match input {
            Input::Configured(config) => self.configured(now, config),
            Input::Interfaces(states) => {
                let changes = self.routes.interfaces.replace(states);
                self.interfaces_changed(now, changes);
                self.based(now, Phase::Waiting { configured: false, interfaces: true });
            }
            Input::Interface(state) => {
                let changes = self.routes.interfaces.set(state);
                self.interfaces_changed(now, changes);
            }
            Input::InterfaceRemoved(name) => {
                let changes = self.routes.interfaces.remove(&name);
                self.interfaces_changed(now, changes);
            }
            Input::ClientJoined(client, name, origin) => self.client_joined(now, client, &name, origin),
            Input::ClientLeft(client) => self.client_left(now, client),
            Input::Request(client, request) => self.request(now, client, request),
            Input::FibUp => {
                self.refusals = 0;
                self.download.up(&self.routes.table);
            }
            Input::FibDown => self.download.down(),
            Input::Fib(reply) => self.fib_replied(now, reply),
            Input::Question(RibQuestion::Track(addresses)) => self.manager_tracks(addresses),
        }
        self.commit();
    }

    /// All timers due by `now` have expired.
    pub fn handle_timeout(&mut self, now: Time) {
        let due = self.protocols.iter().filter(|(_, protocol)| protocol.sweep_at.is_some_and(|at| at <= now));
        for id in due.map(|(id, _)| id).collect::<Vec<_>>() {
            self.sweep(id);
        }
        if self.settled_at().is_some_and(|at| at <= now) {
            self.phase = Phase::Settled;
            self.tell_all();
        }
        self.commit();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let sweeps = self.protocols.iter().filter_map(|(_, protocol)| protocol.sweep_at);
        sweeps.chain(self.settled_at()).min()
    }

    /// The next thing to do. Call until `None` after each of the above.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if matches!(self.phase, Phase::Waiting { .. }) {
            return None;
        }
        self.download.poll(&self.routes.table, self.phase == Phase::Settled).map(Output::Fib)
    }

    /// Whether it has all that it needs, and the FIB has its table.
    pub fn is_ready(&self) -> bool {
        !matches!(self.phase, Phase::Waiting { .. }) && self.download.is_acknowledged()
    }

    /// The routes.
    pub fn table(&self) -> &Table {
        &self.routes.table
    }

    /// The routes, and what they come to.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What the FIB is still to be told.
    pub fn download(&self) -> &Download {
        &self.download
    }

    /// The protocols that ever had routes.
    pub fn protocols(&self) -> &Protocols {
        &self.protocols
    }

    /// The interfaces of the VR.
    pub fn interfaces(&self) -> &Interfaces {
        &self.routes.interfaces
    }

    /// How a next hop is reached for a route to `prefix`.
    pub fn reached_for(&self, address: IpAddr, prefix: IpNet) -> Option<&Resolution> {
        self.routes.reached_for(address, prefix)
    }

    /// How many evaluations of next hops are kept.
    pub fn evaluations(&self) -> usize {
        self.routes.evaluations()
    }

    fn configured(&mut self, now: Time, config: RibConfig) {
        let wanted = by_slot(&config.static_routes);
        for key in by_slot(&self.config.static_routes).keys().filter(|key| !wanted.contains_key(key)) {
            self.routes.take(key.0, static_source(key.1));
        }
        for ((prefix, distance), route) in wanted {
            let offer = Offer {
                source: static_source(distance),
                distance,
                metric: route.metric,
                tag: route.tag,
                hops: route.next_hops.clone(),
                epoch: Epoch::default(),
            };
            self.routes.put(now, prefix, offer, &self.protocols);
        }
        self.config = config;
        self.based(now, Phase::Waiting { configured: true, interfaces: false });
    }

    fn interfaces_changed(&mut self, now: Time, changes: InterfaceChanges) {
        self.routes.interfaces_changed(now, changes, &self.protocols);
        self.download.retry();
    }

    /// Some of what is waited for is there.
    fn based(&mut self, now: Time, there: Phase) {
        if let (Phase::Waiting { configured: a, interfaces: b }, Phase::Waiting { configured: c, interfaces: d }) =
            (self.phase, there)
        {
            self.phase = match (a || c, b || d) {
                (true, true) => Phase::Settling { since: now },
                (configured, interfaces) => Phase::Waiting { configured, interfaces },
            };
        }
    }

    /// When the RIB is settled, if it is not yet: after a moment, once all that came said that they sent everything;
    /// without them when their stale routes would go, too. A program that attached has that moment and no more: it may
    /// never say so.
    fn settled_at(&self) -> Option<Time> {
        let Phase::Settling { since } = self.phase else { return None };
        let complete =
            |protocol: &Protocol| protocol.client.is_none() || protocol.complete || protocol.limits.is_some();
        let all = self.protocols.iter().all(|(_, protocol)| complete(protocol));
        Some(since + if all { self.settings.settle_time } else { self.config.stale_time })
    }

    fn client_joined(&mut self, now: Time, client: Client, name: &ServiceName, origin: Origin) {
        let Some(id) = self.protocols.intern(name.as_str()) else {
            return self.log(log::Level::Error, format!("a process named {name} may not bring routes: name taken"));
        };
        let sweep_at = now + self.config.stale_time;
        let Some(protocol) = self.protocols.get_mut(id) else { return };
        let replaced = protocol.client.replace(client);
        protocol.limits = match origin {
            Origin::Supervised => None,
            Origin::Attached => Some(Limits {
                routes: self.settings.program_routes,
                tracked: self.settings.program_tracked,
                matches: self.settings.program_matches,
            }),
        };
        protocol.age(sweep_at);
        if let Some(old) = replaced {
            self.log(log::Level::Warn, format!("{name} came again before its former process was gone"));
            self.forget_client(old);
        }
    }

    fn client_left(&mut self, now: Time, client: Client) {
        self.forget_client(client);
        let Some(id) = self.protocols.of(client) else { return };
        let stale_time = self.config.stale_time;
        let Some(protocol) = self.protocols.get_mut(id) else { return };
        protocol.client = None;
        protocol.age(now + stale_time);
        if protocol.stale > 0 {
            let line = format!("{} is gone; its {} routes stay for {stale_time:?}", protocol.name, protocol.stale);
            self.log(log::Level::Warn, line);
        }
    }

    /// What it asked for is no longer told to anybody.
    fn forget_client(&mut self, client: Client) {
        self.redistributions.forget(client);
        self.routes.redistributed = !self.redistributions.is_empty();
        for address in self.trackers.forget_client(client) {
            self.routes.untrack_address(address);
        }
    }

    fn request(&mut self, now: Time, client: Client, request: RibRequest) {
        let Some(id) = self.protocols.of(client) else { return };
        match request {
            RibRequest::Routes(changes) => self.change_routes(now, client, id, changes),
            RibRequest::EndOfRoutes => {
                if let Some(protocol) = self.protocols.get_mut(id) {
                    protocol.complete = true;
                }
                self.sweep(id);
            }
            RibRequest::Leave => {
                if let Some(protocol) = self.protocols.get_mut(id) {
                    protocol.complete = true;
                    protocol.age(now);
                }
                self.sweep(id);
            }
            RibRequest::TrackNextHop(_) | RibRequest::TrackPrefix(_) if !self.may_track(client, id) => {}
            RibRequest::TrackNextHop(address) => {
                self.trackers.track_address(client, address);
                self.routes.track_address(address);
                self.commit();
                self.tell_address(address);
            }
            RibRequest::UntrackNextHop(address) => {
                self.trackers.untrack_address(client, address);
                if !self.trackers.has_address(address) {
                    self.routes.untrack_address(address);
                }
            }
            RibRequest::Redistribute(wanted) => self.redistribute(client, id, wanted),
            RibRequest::TrackPrefix(prefix) => {
                self.trackers.track_prefix(client, prefix);
                self.routes.track_prefix(prefix);
            }
            RibRequest::UntrackPrefix(prefix) => {
                self.trackers.untrack_prefix(client, prefix);
                if !self.trackers.has_prefix(prefix) {
                    self.routes.untrack_prefix(prefix);
                }
            }
        }
    }

    fn change_routes(&mut self, now: Time, client: Client, id: ProtocolId, changes: Vec<RouteChange>) {
        let mut offered = Vec::new();
        for change in changes {
            match change {
                RouteChange::Add(route) => {
                    offered.push(route.prefix);
                    self.add(now, client, id, route);
                }
                RouteChange::Remove(prefix) => self.remove(id, prefix),
            }
        }
        // While the RIB is new, what a next hop needs may only not have arrived again.
        if self.phase == Phase::Settled {
            self.commit();
            let unused = self.routes.unused(id, offered);
            self.outputs.extend(unused::updates(unused).map(|update| Output::Update(client, update)));
        }
    }

    fn add(&mut self, now: Time, client: Client, id: ProtocolId, route: Route) {
        if let Err(error) = check_route(&route) {
            let refused = RibUpdate::Refused { prefix: route.prefix, reason: error.to_string() };
            self.outputs.push_back(Output::Update(client, refused));
            // It was to replace the former one, which the protocol no longer means.
            return self.remove(id, route.prefix);
        }
        if !self.has_room(client, id, route.prefix) {
            return;
        }
        let Some(epoch) = self.protocols.get(id).map(|protocol| protocol.epoch) else { return };
        let Route { prefix, distance, metric, tag, next_hops: hops } = route;
        let offer = Offer { source: Source::of(id), distance, metric, tag, hops, epoch };
        let before = self.routes.put(now, prefix, offer, &self.protocols);
        let Some(protocol) = self.protocols.get_mut(id) else { return };
        match before {
            None => protocol.routes += 1,
            Some(before) if before != epoch => protocol.stale = protocol.stale.saturating_sub(1),
            Some(_) => {}
        }
    }

    /// Whether a protocol may bring one more route. Of many that it may not, the first is told to it.
    fn has_room(&mut self, client: Client, id: ProtocolId, prefix: IpNet) -> bool {
        let Some(protocol) = self.protocols.get_mut(id) else { return false };
        let limit = protocol.limits.map(|limits| limits.routes);
        let Some(limit) = limit.filter(|limit| protocol.routes >= *limit) else { return true };
        let source = Source::of(id);
        let known = |entry: &Entry| entry.candidates.iter().any(|candidate| candidate.source == source);
        if self.routes.table.get(prefix).is_some_and(known) {
            return true;
        }
        protocol.refused += 1;
        let (name, refused) = (protocol.name.clone(), protocol.refused);
        if refused == 1 {
            let reason = format!("{name} may bring {limit} routes; no more are taken until it withdraws some");
            self.outputs.push_back(Output::Update(client, RibUpdate::Refused { prefix, reason }));
        }
        if refused.is_power_of_two() {
            let line = format!("{name} has {limit} routes, its limit: {prefix} is refused (refused so far: {refused})");
            self.log(log::Level::Warn, line);
        }
        false
    }

    fn remove(&mut self, id: ProtocolId, prefix: IpNet) {
        let Some(epoch) = self.routes.take(prefix, Source::of(id)) else { return };
        let Some(protocol) = self.protocols.get_mut(id) else { return };
        protocol.refused = 0;
        protocol.routes = protocol.routes.saturating_sub(1);
        if epoch != protocol.epoch {
            protocol.stale = protocol.stale.saturating_sub(1);
        }
    }

    /// Whether a protocol may track one more next hop or prefix.
    fn may_track(&mut self, client: Client, id: ProtocolId) -> bool {
        let Some(Protocol { name, limits: Some(limits), .. }) = self.protocols.get(id) else { return true };
        let may = self.trackers.count(client) < limits.tracked;
        if !may {
            let reason = format!("{name} tracks {} next hops and prefixes; no more are taken", limits.tracked);
            self.outputs.push_back(Output::Update(client, RibUpdate::Denied { reason }));
        }
        may
    }

    /// Takes out what a protocol did not send again.
    fn sweep(&mut self, id: ProtocolId) {
        let Some(protocol) = self.protocols.get_mut(id) else { return };
        protocol.sweep_at = None;
        let (epoch, stale) = (protocol.epoch, protocol.stale);
        if stale == 0 {
            return;
        }
        let line = format!("{} stale routes of {} are gone", stale, protocol.name);
        self.log(log::Level::Info, line);
        for prefix in self.routes.table.prefixes_where(id, |candidate| candidate.epoch != epoch) {
            self.remove(id, prefix);
        }
    }

    fn fib_replied(&mut self, now: Time, reply: FibReply) {
        let Some(refused) = self.download.reply(now, reply) else { return };
        self.refusals += 1;
        // When an interface is missing, so may be a million routes: 1, 2, 4, 8 … of them are told.
        if self.refusals.is_power_of_two() {
            let (prefix, reason) = (refused.prefix, refused.reason);
            let line = format!("the FIB refused the route to {prefix}: {reason} (refused so far: {})", self.refusals);
            self.log(log::Level::Error, line);
        }
    }

    fn manager_tracks(&mut self, addresses: Vec<IpAddr>) {
        let wanted: BTreeSet<IpAddr> = addresses.into_iter().collect();
        for address in self.trackers.track_for_manager(&wanted) {
            self.routes.untrack_address(address);
        }
        wanted.iter().for_each(|address| self.routes.track_address(*address));
        self.commit();
        self.tell_manager(&wanted);
    }

    /// Puts all changes in force and tells everyone concerned.
    fn commit(&mut self) {
        let Commit { forwarding, addresses, prefixes, selected } = self.routes.commit();
        forwarding.into_iter().for_each(|prefix| self.download.changed(prefix));
        addresses.iter().for_each(|address| self.tell_address(*address));
        self.tell_manager(&addresses);
        prefixes.into_iter().for_each(|prefix| self.tell_prefix(prefix));
        if !selected.is_empty() {
            let routes = selected.iter().map(|prefix| (*prefix, self.routes.redistributable(*prefix, &self.protocols)));
            let updates = self.redistributions.changed(routes);
            self.outputs.extend(updates.into_iter().map(|(client, update)| Output::Update(client, update)));
        }
    }

    /// A protocol passes on these routes of others from now on.
    fn redistribute(&mut self, client: Client, own: ProtocolId, wanted: Vec<Redistribution>) {
        // What was changed before belongs to what was asked for before.
        self.commit();
        let Some(protocol) = self.protocols.get(own) else { return };
        let name = &protocol.name;
        let matches: usize = wanted.iter().map(|wanted| 1 + wanted.prefixes.as_ref().map_or(0, Vec::len)).sum();
        if let Some(Limits { matches: limit, .. }) = protocol.limits.filter(|limits| matches > limits.matches) {
            let reason = format!("{name} asks to redistribute by {matches} entries; at most {limit} are taken");
            return self.outputs.push_back(Output::Update(client, RibUpdate::Denied { reason }));
        }
        let wanted = wanted.into_iter().filter(|wanted| wanted.protocol != **name).collect();
        let all = self.routes.table.iter().map(|(prefix, _)| prefix);
        let routes = all.filter_map(|prefix| self.routes.redistributable(prefix, &self.protocols));
        let updates = self.redistributions.set(client, wanted, routes);
        self.outputs.extend(updates.into_iter().map(|update| Output::Update(client, update)));
        self.routes.redistributed = !self.redistributions.is_empty();
        if self.phase == Phase::Settled {
            self.redistributions_complete();
        }
    }

    fn redistributions_complete(&mut self) {
        let updates = self.redistributions.complete().map(|client| (client, RibUpdate::RedistributionComplete));
        self.outputs.extend(updates.map(|(client, update)| Output::Update(client, update)));
    }

    fn negative(&self) -> Negative {
        if self.phase == Phase::Settled { Negative::Tell } else { Negative::Withhold }
    }

    /// What was withheld is said now.
    fn tell_all(&mut self) {
        let addresses = self.trackers.addresses();
        addresses.iter().for_each(|address| self.tell_address(*address));
        self.tell_manager(&addresses.into_iter().collect());
        self.trackers.prefixes().into_iter().for_each(|prefix| self.tell_prefix(prefix));
        self.redistributions_complete();
        for (client, unused) in self.routes.all_unused(&self.protocols) {
            self.outputs.extend(unused::updates(unused).map(|update| Output::Update(client, update)));
        }
    }

    fn tell_address(&mut self, address: IpAddr) {
        let updates = self.trackers.tell_address(address, self.routes.reached(address), self.negative());
        self.outputs.extend(updates.into_iter().map(|(client, update)| Output::Update(client, update)));
    }

    fn tell_manager(&mut self, addresses: &BTreeSet<IpAddr>) {
        let negative = self.negative();
        let routes = &self.routes;
        let reached = addresses.iter().map(|address| (*address, routes.reached(*address)));
        self.outputs.extend(self.trackers.tell_manager(reached, negative).map(Output::Answer));
    }

    fn tell_prefix(&mut self, prefix: IpNet) {
        let negative = self.negative();
        for client in self.trackers.of_prefix(prefix) {
            let own = self.protocols.of(client);
            let metric = own.and_then(|own| self.routes.metric_without(prefix, own));
            let update = self.trackers.tell_prefix(client, prefix, metric, negative);
            self.outputs.extend(update.map(|update| Output::Update(client, update)));
        }
    }

    fn log(&mut self, level: log::Level, text: String) {
        self.outputs.push_back(Output::Log(level, text));
    }
}

/// Static routes are told apart by their distance: one that is higher is a backup.
fn static_source(distance: u8) -> Source {
    Source { protocol: ProtocolId::STATIC, slot: distance }
}

fn by_slot(routes: &[Route]) -> BTreeMap<(IpNet, u8), &Route> {
    routes.iter().map(|route| ((route.prefix, route.distance), route)).collect()
}
