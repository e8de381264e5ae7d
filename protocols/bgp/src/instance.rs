//! BGP of a VR: joins neighbors, tables and the RIB. The [`ProtocolCore`] that the shell runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::Ipv4Net;
use log::Level;
use sdk::InterfaceName;
use sdk::config::Node;
use sdk::core::{Closed, ConfigError, ConnectionId, Input, Output, ProtocolCore, Time};
use sdk::interface::{InterfaceKind, InterfaceState};
use sdk::outbox::RibLink;
use sdk::rib::{NextHop, RibRequest, RibUpdate, Route};
use sdk::show::Row;

use crate::adj_rib::AttributePool;
use crate::advertise::EndOfRib;
use crate::config::{Config, InstanceConfig};
use crate::fsm::{Direction, Link};
use crate::loc_rib::{Destination, LocRib, Path};
use crate::neighbor::{Change, LocalAddress, Neighbor, PORT, Received, Speaker};
use crate::next_hop::NextHops;
use crate::outbox::Outbox;
use crate::packet::{self, Cease, Message, PeerKind};
use crate::redistribution::Originated;
use crate::show;

/// Administrative distances: IOS-XR's.
const DISTANCE_EXTERNAL: u8 = 20;
const DISTANCE_INTERNAL: u8 = 200;
/// Answers of the RIB about next hops are collected for so long: the paths are then looked at once for all of them.
const NEXT_HOP_DELAY: Duration = Duration::from_millis(10);
/// A router ID that is not configured is chosen so long after the first address was seen, so that it does not depend on
/// the order in which interfaces are told.
const ROUTER_ID_DELAY: Duration = Duration::from_millis(200);
/// After this the routes that neighbors sent count as all: the RIB sweeps those that an earlier process left.
pub(crate) const CONVERGENCE_LIMIT: Duration = Duration::from_secs(30);

/// Whether the RIB was told that all routes of this process are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convergence {
    /// Neighbors still send their first routes.
    Until(Time),
    /// They have, or had the time for it.
    Done,
}

/// BGP of a VR.
#[derive(Debug, Default)]
pub struct Bgp {
    pub(crate) config: Option<InstanceConfig>,
    pub(crate) router_id: Option<Ipv4Addr>,
    pub(crate) router_id_at: Option<Time>,
    pub(crate) interfaces: BTreeMap<InterfaceName, InterfaceState>,
    pub(crate) neighbors: BTreeMap<IpAddr, Neighbor>,
    pub(crate) loc_rib: LocRib,
    pub(crate) next_hops: NextHops,
    next_hops_at: Option<Time>,
    pub(crate) pool: AttributePool,
    pub(crate) originated: Originated,
    pub(crate) convergence: Option<Convergence>,
    stopped: bool,
    pub(crate) outbox: Outbox,
}

impl Bgp {
    /// BGP without configuration.
    pub fn new() -> Self {
        Self::default()
    }

    fn speaker(&self) -> Option<Speaker> {
        Some(Speaker { as_number: self.config.as_ref()?.as_number, router_id: self.router_id? })
    }

    /// Does something with a neighbor and then what its change asks for.
    pub(crate) fn with_neighbor(
        &mut self,
        now: Time,
        address: IpAddr,
        does: impl FnOnce(&mut Neighbor, Speaker, &mut Outbox) -> Change,
    ) {
        let Some(speaker) = self.speaker() else { return };
        let Some(neighbor) = self.neighbors.get_mut(&address) else { return };
        match does(neighbor, speaker, &mut self.outbox) {
            Change::None => {}
            Change::Up => self.session_up(address),
            Change::Down => self.session_down(address),
            Change::DownUp => {
                self.session_down(address);
                self.session_up(address);
            }
        }
        self.check_convergence(now);
    }

    fn session_up(&mut self, address: IpAddr) {
        // So that the answer is there when the first routes come.
        if let IpAddr::V4(next_hop) = address {
            self.track(next_hop);
        }
        let Some(local_as) = self.config.as_ref().map(|config| config.as_number) else { return };
        let Some(neighbor) = self.neighbors.get_mut(&address) else { return };
        neighbor.stage_all(&self.loc_rib, local_as, &mut self.pool);
        neighbor.flush(EndOfRib::Send, &mut self.outbox);
    }

    fn session_down(&mut self, address: IpAddr) {
        self.loc_rib.withdraw_all(address, &self.next_hops);
    }

    pub(crate) fn track(&mut self, next_hop: Ipv4Addr) {
        if self.next_hops.wants_sweep() {
            let mut used = self.loc_rib.used_next_hops();
            used.extend(self.neighbors.keys().filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            }));
            used.insert(next_hop);
            self.next_hops.sweep(&used).into_iter().for_each(|request| self.outbox.rib(request));
        }
        if let Some(request) = self.next_hops.track(next_hop) {
            self.outbox.rib(request);
        }
    }

    fn received(&mut self, now: Time, connection: ConnectionId, bytes: &[u8]) {
        let Some(address) = self.outbox.owner(connection) else { return };
        let Some(neighbor) = self.neighbors.get_mut(&address) else { return };
        let mut kept = neighbor.take_partial(connection);
        let mut rest = match kept.is_empty() {
            true => bytes,
            false => {
                kept.extend_from_slice(bytes);
                &kept
            }
        };
        loop {
            match packet::next_frame(rest)
                .and_then(|next| next.map(|(frame, tail)| Ok((Message::decode(frame)?, tail))).transpose())
            {
                Ok(Some((message, tail))) => {
                    rest = tail;
                    self.message(now, address, connection, message);
                }
                Ok(None) => break,
                Err(notification) => {
                    self.step(now, address, connection, Received::Malformed(notification));
                    return;
                }
            }
            if self.outbox.owner(connection).is_none() {
                return;
            }
        }
        if let Some(neighbor) = self.neighbors.get_mut(&address) {
            neighbor.keep_partial(connection, rest);
        }
    }

    fn step(&mut self, now: Time, address: IpAddr, connection: ConnectionId, received: Received) {
        self.with_neighbor(now, address, |neighbor, speaker, outbox| {
            neighbor.received(now, connection, received, speaker, outbox)
        });
    }

    fn message(&mut self, now: Time, address: IpAddr, connection: ConnectionId, message: Message<'_>) {
        let (received, then) = match message {
            Message::Open(open) => (Received::Open(open), None),
            Message::Keepalive => (Received::Keepalive, None),
            Message::Notification(notification) => (Received::Notification(notification), None),
            Message::Update(update) => (Received::Update, Some(Then::Update(update))),
            Message::RouteRefresh(family) => (Received::Update, Some(Then::Refresh(family))),
        };
        self.step(now, address, connection, received);
        // Only an established session of this very connection is still there after an UPDATE.
        let established =
            |neighbor: &Neighbor| neighbor.session().is_some_and(|session| session.link.connection == connection);
        if !self.neighbors.get(&address).is_some_and(established) {
            return;
        }
        match then {
            Some(Then::Update(update)) => {
                if let Err(notification) = self.apply_update(address, update) {
                    self.step(now, address, connection, Received::Malformed(notification));
                }
                self.check_convergence(now);
            }
            Some(Then::Refresh(packet::AddressFamily::IPV4_UNICAST)) => self.refresh(address),
            Some(Then::Refresh(_)) | None => {}
        }
    }

    /// ROUTE-REFRESH: everything once more (RFC 2918).
    fn refresh(&mut self, address: IpAddr) {
        let Some(local_as) = self.config.as_ref().map(|config| config.as_number) else { return };
        // What waits for everyone goes out first, so that nothing is sent twice.
        self.flush();
        let Some(neighbor) = self.neighbors.get_mut(&address) else { return };
        neighbor.adj_rib_out = Default::default();
        neighbor.stage_all(&self.loc_rib, local_as, &mut self.pool);
        neighbor.flush(EndOfRib::Send, &mut self.outbox);
    }

    /// Sends what changed to the RIB and to the neighbors.
    fn flush(&mut self) {
        let changed = self.loc_rib.take_changed();
        let local_as = self.config.as_ref().map(|config| config.as_number);
        let mut receivers: Vec<_> =
            self.neighbors.values_mut().filter(|neighbor| neighbor.session().is_some()).collect();
        for prefix in changed {
            self.loc_rib.tell(prefix, |destination| {
                if let Some(local_as) = local_as {
                    for neighbor in &mut receivers {
                        neighbor.stage(prefix, destination, local_as, &mut self.pool);
                    }
                }
                install(prefix, destination, &mut self.outbox);
            });
        }
        for neighbor in receivers {
            neighbor.flush(EndOfRib::Omit, &mut self.outbox);
        }
        self.outbox.flush_routes();
    }

    fn rib_restarted(&mut self, now: Time) {
        self.outbox.rib = RibLink::Seen;
        self.next_hops.requests().into_iter().for_each(|request| self.outbox.rib(request));
        let networks = self.config.iter().flat_map(|config| &config.networks);
        networks.for_each(|network| self.outbox.rib(RibRequest::TrackPrefix((*network).into())));
        self.ask_for_redistribution();
        for prefix in self.loc_rib.prefixes() {
            self.loc_rib.tell(prefix, |destination| {
                destination.installed = false;
                install(prefix, destination, &mut self.outbox);
            });
        }
        self.outbox.flush_routes();
        match self.convergence {
            Some(Convergence::Done) => self.outbox.rib(RibRequest::EndOfRoutes),
            Some(Convergence::Until(_)) | None => self.check_convergence(now),
        }
    }

    /// Once every neighbor has sent all its routes, or had the time for it, the RIB may sweep what an earlier process of
    /// this class left.
    pub(crate) fn check_convergence(&mut self, now: Time) {
        let Some(Convergence::Until(limit)) = self.convergence else { return };
        if self.outbox.rib == RibLink::Never {
            return;
        }
        let complete = |neighbor: &Neighbor| neighbor.config.shutdown || neighbor.end_of_rib;
        if now < limit && !(self.neighbors.values().all(complete) && self.next_hops.all_answered()) {
            return;
        }
        self.convergence = Some(Convergence::Done);
        // Paths whose next hops were just answered count too.
        self.look_at_next_hops();
        self.flush();
        self.outbox.rib(RibRequest::EndOfRoutes);
    }

    fn look_at_next_hops(&mut self) {
        self.next_hops_at = None;
        let changed = self.next_hops.take_changed();
        if !changed.is_empty() {
            self.loc_rib.next_hops_changed(&changed, &self.next_hops);
        }
    }

    fn rib_update(&mut self, now: Time, update: RibUpdate) {
        match update {
            RibUpdate::NextHop { address: IpAddr::V4(address), reached } => {
                if self.next_hops.learn(address, reached.as_ref()) {
                    self.next_hops_at.get_or_insert(now + NEXT_HOP_DELAY);
                    if reached.is_some() && self.neighbors.get(&address.into()).is_some_and(is_far) {
                        self.with_neighbor(now, address.into(), |neighbor, speaker, outbox| {
                            neighbor.link_up(now, speaker, outbox);
                            Change::None
                        });
                    }
                }
            }
            RibUpdate::NextHop { address: IpAddr::V6(_), .. } => {}
            RibUpdate::Prefix { prefix: ipnet::IpNet::V4(prefix), metric } => self.network(prefix, metric),
            RibUpdate::Prefix { prefix: ipnet::IpNet::V6(_), .. } => {}
            RibUpdate::Redistributed(changes) => self.redistributed(changes),
            RibUpdate::RedistributionComplete => self.redistribution_complete(),
            RibUpdate::Refused { .. } | RibUpdate::Denied { .. } => self.outbox.warn_of(&update),
            // It tracks its next hops: what it brought it takes back when it hears that they are lost.
            RibUpdate::Unused(_) => {}
        }
    }

    fn interface(&mut self, now: Time, state: InterfaceState) {
        let before = self.interfaces.insert(state.name.clone(), state.clone());
        let was_up = before.is_none_or(|before| before.up);
        self.choose_router_id_soon(now);
        self.update_local_addresses(now);
        if was_up == state.up {
            return;
        }
        let direct = |(address, neighbor): (&IpAddr, &Neighbor)| {
            let single_hop = neighbor.kind == PeerKind::External && neighbor.config.ebgp_multihop.is_none();
            (single_hop && state.addresses.iter().any(|subnet| subnet.contains(address))).then_some(*address)
        };
        let direct: Vec<IpAddr> = self.neighbors.iter().filter_map(direct).collect();
        for address in direct {
            self.with_neighbor(now, address, |neighbor, speaker, outbox| match state.up {
                true => {
                    neighbor.link_up(now, speaker, outbox);
                    Change::None
                }
                // As IOS-XR's fast external fallover: the hold timer would tell the same, much later.
                false => neighbor.link_down(now, speaker, outbox),
            });
        }
    }

    pub(crate) fn choose_router_id_soon(&mut self, now: Time) {
        if self.config.is_some() && self.router_id.is_none() && self.candidate_router_id().is_some() {
            self.router_id_at.get_or_insert(now + ROUTER_ID_DELAY);
        }
    }

    /// The highest address of a loopback interface, else of any interface.
    fn candidate_router_id(&self) -> Option<Ipv4Addr> {
        let addresses = |state: &InterfaceState| {
            state
                .addresses
                .iter()
                .filter_map(|subnet| match subnet.addr() {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                })
                .max()
        };
        let is_loopback = |state: &&InterfaceState| matches!(state.kind, InterfaceKind::Loopback);
        let loopback = self.interfaces.values().filter(is_loopback).filter_map(addresses).max();
        loopback.or_else(|| self.interfaces.values().filter_map(addresses).max())
    }

    fn interface_address(&self, name: &InterfaceName, like: IpAddr) -> Option<IpAddr> {
        let addresses = self.interfaces.get(name)?.addresses.iter().map(|subnet| subnet.addr());
        addresses.into_iter().find(|address| address.is_ipv4() == like.is_ipv4())
    }

    /// Where our address of a session is another one now, the session starts anew; where there is none, it waits.
    pub(crate) fn update_local_addresses(&mut self, now: Time) {
        let wanted: Vec<(IpAddr, LocalAddress)> = self
            .neighbors
            .iter()
            .map(|(address, neighbor)| {
                let local = match &neighbor.config.update_source {
                    None => LocalAddress::Any,
                    Some(name) => {
                        self.interface_address(name, *address).map_or(LocalAddress::Missing, LocalAddress::Of)
                    }
                };
                (*address, local)
            })
            .collect();
        for (address, local) in wanted {
            // Also while there is no router ID, and so no session that could go on from the old one.
            let Some(neighbor) = self.neighbors.get_mut(&address) else { continue };
            if std::mem::replace(&mut neighbor.local_address, local) != local {
                self.with_neighbor(now, address, |neighbor, speaker, outbox| {
                    neighbor.stop(now, Cease::OtherConfigurationChange, speaker, outbox)
                });
            }
        }
        self.start_neighbors(now);
    }

    /// Starts every neighbor that may run and does not yet.
    fn start_neighbors(&mut self, now: Time) {
        let Some(speaker) = self.speaker().filter(|_| !self.stopped) else { return };
        let mut far = Vec::new();
        for (address, neighbor) in &mut self.neighbors {
            if !neighbor.config.shutdown && neighbor.local_address != LocalAddress::Missing {
                neighbor.start(now, speaker, &mut self.outbox);
                if let (true, IpAddr::V4(address)) = (is_far(neighbor), address) {
                    far.push(*address);
                }
            }
        }
        // The RIB says when a way leads there, and the connection is tried at once.
        far.into_iter().for_each(|address| self.track(address));
    }

    fn accepted(&mut self, now: Time, connection: ConnectionId, local: SocketAddr, remote: SocketAddr) {
        let runs = |neighbor: &Neighbor| !neighbor.config.shutdown && neighbor.local_address != LocalAddress::Missing;
        let known = self.neighbors.get(&remote.ip()).is_some_and(runs);
        if !known || self.speaker().is_none() || self.stopped {
            self.outbox.log(Level::Debug, format!("connection from {remote} closed: no such neighbor runs"));
            self.outbox.close(connection);
            return;
        }
        self.outbox.accepted(connection, remote.ip());
        let link = Link { connection, direction: Direction::Incoming, local, remote };
        self.with_neighbor(now, remote.ip(), |neighbor, speaker, outbox| {
            neighbor.accept(now, link, speaker, outbox);
            Change::None
        });
    }

    fn connected(&mut self, now: Time, connection: ConnectionId, local: SocketAddr, remote: SocketAddr) {
        let Some(address) = self.outbox.owner(connection) else { return };
        let link = Link { connection, direction: Direction::Outgoing, local, remote };
        self.with_neighbor(now, address, |neighbor, speaker, outbox| {
            neighbor.connected(now, link, speaker, outbox);
            Change::None
        });
    }

    fn closed(&mut self, now: Time, connection: ConnectionId, closed: Closed) {
        let Some(address) = self.outbox.closed(connection) else { return };
        self.with_neighbor(now, address, |neighbor, speaker, outbox| {
            neighbor.closed(now, connection, closed, speaker, outbox)
        });
    }

    /// Ends the sessions of one neighbor or of all (`*`); they come up again by themselves.
    fn clear(&mut self, now: Time, which: &str) -> Result<(), String> {
        let addresses: Vec<IpAddr> = match which {
            "*" => self.neighbors.keys().copied().collect(),
            address => {
                let named = address.parse().ok().filter(|address| self.neighbors.contains_key(address));
                vec![named.ok_or_else(|| format!("no neighbor {address} is configured"))?]
            }
        };
        for address in addresses {
            self.with_neighbor(now, address, |neighbor, speaker, outbox| match neighbor.session() {
                Some(_) => neighbor.reset(now, Cease::AdministrativeReset, speaker, outbox),
                None => Change::None,
            });
        }
        Ok(())
    }

    fn stop(&mut self, now: Time) {
        self.stopped = true;
        let addresses: Vec<IpAddr> = self.neighbors.keys().copied().collect();
        for address in addresses {
            // The table stays as it is: the shell takes leave of the RIB, and with that all routes go at once.
            self.with_neighbor(now, address, |neighbor, speaker, outbox| {
                neighbor.stop(now, Cease::AdministrativeShutdown, speaker, outbox);
                Change::None
            });
        }
        if self.config.is_some() {
            self.outbox.push(Output::StopListening { port: PORT });
        }
    }
}

impl ProtocolCore for Bgp {
    type Config = Config;

    fn read_config(blocks: &[Node]) -> Result<Config, ConfigError> {
        Config::read(blocks)
    }

    fn configure(&mut self, now: Time, config: Config) -> Result<(), ConfigError> {
        self.reconfigure(now, config.instance);
        self.flush();
        Ok(())
    }

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Connected { connection, local, remote } => self.connected(now, connection, local, remote),
            Input::ConnectFailed { connection, error } => self.closed(now, connection, Closed::Failed(error)),
            Input::Accepted { connection, local, remote } => self.accepted(now, connection, local, remote),
            Input::Received { connection, bytes } => self.received(now, connection, bytes),
            Input::Closed { connection, closed } => self.closed(now, connection, closed),
            Input::ListenFailed { port, error } => {
                self.outbox.log(Level::Warn, format!("listen on port {port}: {error}; neighbors cannot connect"));
            }
            // BGP has no datagram sockets.
            Input::Datagram { .. } | Input::Bound { .. } | Input::BindFailed { .. } => {}
            Input::Interface(state) => self.interface(now, state),
            // The stack restarts, or the interface is gone for good: then the hold timer tells. Sessions do not move.
            Input::InterfaceRemoved(name) => drop(self.interfaces.remove(&name)),
            Input::Rib(update) => self.rib_update(now, update),
            Input::RibRestarted => self.rib_restarted(now),
            Input::Stop => self.stop(now),
        }
        self.flush();
    }

    fn handle_timeout(&mut self, now: Time) {
        let due = |at: &mut Time| *at <= now;
        if self.next_hops_at.take_if(due).is_some() {
            self.look_at_next_hops();
            self.check_convergence(now);
        }
        if self.router_id_at.take_if(due).is_some() {
            self.router_id = self.candidate_router_id();
            self.start_neighbors(now);
        }
        let late = |(address, neighbor): (&IpAddr, &Neighbor)| {
            neighbor.next_timer().is_some_and(|at| at <= now).then_some(*address)
        };
        let late: Vec<IpAddr> = self.neighbors.iter().filter_map(late).collect();
        for address in late {
            self.with_neighbor(now, address, |neighbor, speaker, outbox| neighbor.handle_timeout(now, speaker, outbox));
        }
        self.check_convergence(now);
        self.flush();
    }

    fn command(&mut self, now: Time, words: &[String]) -> Result<(), String> {
        let obeyed = match words {
            [clear, bgp, which] if clear == "clear" && bgp == "bgp" => self.clear(now, which),
            _ => Err(format!("`{}` is no command of BGP", words.join(" "))),
        };
        self.flush();
        obeyed
    }

    fn poll_timeout(&self) -> Option<Time> {
        let convergence = match self.convergence {
            Some(Convergence::Until(limit)) if self.outbox.rib == RibLink::Seen => Some(limit),
            Some(Convergence::Until(_) | Convergence::Done) | None => None,
        };
        let own = [self.next_hops_at, self.router_id_at, convergence];
        own.into_iter().flatten().chain(self.neighbors.values().filter_map(Neighbor::next_timer)).min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    fn show(&self, now: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
        show::rows(self, now, table, arguments)
    }
}

/// Whether a route leads to a neighbor, and not only a connected subnet.
fn is_far(neighbor: &Neighbor) -> bool {
    neighbor.kind == PeerKind::Internal || neighbor.config.ebgp_multihop.is_some()
}

/// What follows a message once the state machine has taken it.
enum Then<'a> {
    Update(packet::Update<'a>),
    Refresh(packet::AddressFamily),
}

/// Tells the RIB of the best path to a prefix. Our own networks are in the RIB by another protocol.
fn install(prefix: Ipv4Net, destination: &mut Destination, outbox: &mut Outbox) {
    let route = destination.best().and_then(|best| route(prefix, best));
    match route {
        Some(route) => {
            destination.installed = true;
            outbox.add_route(route);
        }
        None => {
            if std::mem::replace(&mut destination.installed, false) {
                outbox.remove_route(prefix);
            }
        }
    }
}

fn route(prefix: Ipv4Net, best: &Path) -> Option<Route> {
    let distance = match best.kind()? {
        PeerKind::External => DISTANCE_EXTERNAL,
        PeerKind::Internal => DISTANCE_INTERNAL,
    };
    let next_hops = vec![NextHop::Address(best.attributes.next_hop.into())];
    Some(Route::new(prefix, distance, best.attributes.med.unwrap_or(0), next_hops))
}
