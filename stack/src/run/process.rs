//! The loop's body: who is connected, and what each event leads to.

use std::time::{Duration, Instant};

use ipc::channel::Channel;
use ipc::link::LinkEvent;
use ipc::message::Schema;
use ipc::protocol::Identity;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ClientId, ServerEvent, ServiceClient, ServiceServer};
use ipc::{Pathname, ServiceName};
use stack_api::fib::{FibReply, FibRequest};
use stack_api::interface::{InterfaceEvent, InterfaceState, Nothing};
use stack_api::probe::{Probe, ProbeResult};
use stack_api::socket::{SocketError, SocketReply, SocketRequest};
use stack_api::{Terms, fib, interface, probe, socket};
use vr_api::config::{self, ConfigUpdate, Node, Subscribe, Verdict};
use vr_api::show::{self, ROWS_PER_REPLY, ShowReply, ShowRequest};

use super::ports::{LineCards, Prepared};
use super::{RefusedConfig, RunError};
use crate::control::config::{BLOCKS, StackConfig};
use crate::control::input::{Delivery, Input};
use crate::control::plane::Plane;
use crate::control::topology::{TopologyChange, Uniqueness};
use crate::internet::dad;
use crate::linecard::LineCardEvent;
use crate::packet::PoolLimits;
use crate::server::{Datagrams, Server};
use crate::time::Time;

/// Buffers of the router: 32 MiB of small ones, 64 MiB of large ones at most, allocated as they are needed.
const LIMITS: PoolLimits = PoolLimits { small: 16_384, large: 1_024 };

/// A configuration that was verified, with what had to be opened for it.
struct Verified {
    generation: u64,
    config: StackConfig,
    prepared: Prepared,
}

/// The stack and all its channels.
pub struct Process {
    started: Instant,
    pub(super) plane: Plane,
    pub(super) input: Input,
    pub(super) server: Server,
    datagrams: Datagrams,
    linecards: LineCards,
    config: ServiceClient<Verdict, ConfigUpdate>,
    verified: Option<Verified>,
    serving: bool,
    sockets: ServiceServer<SocketReply, SocketRequest>,
    fibs: ServiceServer<FibReply, FibRequest>,
    interfaces: ServiceServer<InterfaceEvent, Nothing>,
    probes: ServiceServer<ProbeResult, Probe>,
    shows: ServiceServer<ShowReply, ShowRequest>,
    deliveries: Vec<Delivery>,
}

impl Process {
    /// The stack before its first configuration.
    pub fn new(reactor: &mut Reactor) -> Result<Self, RunError> {
        let blocks = BLOCKS.iter().map(|block| (*block).to_owned()).collect();
        let terms = postcard::to_stdvec(&config::Terms::Subscriber(Subscribe { blocks }))?;
        let mut config = ServiceClient::new(Pathname::router("config")?, terms, Schema::new(config::SCHEMA));
        config.start(reactor)?;
        Ok(Self {
            started: Instant::now(),
            plane: Plane::new(LIMITS),
            input: Input::default(),
            server: Server::default(),
            datagrams: Datagrams::default(),
            linecards: LineCards::default(),
            config,
            verified: None,
            serving: false,
            sockets: ServiceServer::new(Schema::new(socket::SCHEMA)),
            fibs: ServiceServer::new(Schema::new(fib::SCHEMA)),
            interfaces: ServiceServer::new(Schema::new(interface::SCHEMA)),
            probes: ServiceServer::new(Schema::new(probe::SCHEMA)),
            shows: ServiceServer::new(Schema::new(show::SCHEMA)),
            deliveries: Vec::new(),
        })
    }

    pub(super) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long nothing is due.
    pub fn timeout(&self) -> Option<Duration> {
        let timers = [self.input.poll_timeout(), self.server.poll_timeout(), self.datagrams.poll_timeout()];
        timers.into_iter().flatten().min().map(|at| at.since(self.now()))
    }

    /// All timers due by now have expired.
    pub fn handle_timeout(&mut self, reactor: &mut Reactor) {
        let now = self.now();
        self.input.handle_timeout(now, &mut self.plane, &mut self.deliveries);
        self.server.handle_timeout(now, &mut self.plane, reactor);
        self.datagrams.handle_timeout(now, &mut self.plane, reactor);
        self.deliver(reactor);
    }

    /// Something happened.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Result<(), RunError> {
        let event = self.config.handle(reactor, event);
        let event = event.and_then(|event| self.sockets.handle(event));
        let event = event.and_then(|event| self.fibs.handle(event));
        let event = event.and_then(|event| self.interfaces.handle(event));
        let event = event.and_then(|event| self.probes.handle(event));
        let event = event.and_then(|event| self.shows.handle(event));
        match event {
            Some(Event::Ready(token)) => {
                let now = self.now();
                if self.server.ready(now, &mut self.plane, reactor, token)
                    || self.datagrams.ready(now, &mut self.plane, reactor, token)
                {
                    // It was a socket's.
                } else if let Some(changes) = self.linecards.links_changed(&mut self.plane, token) {
                    changes.iter().try_for_each(|change| self.change(change))?;
                } else if let Some(events) = self.linecards.receive(reactor, token) {
                    self.handle_line_card(now, events)?;
                }
            }
            Some(Event::Link(event)) => self.handle_link(reactor, event),
            None => {}
        }
        self.poll_services(reactor)?;
        self.deliver(reactor);
        Ok(())
    }

    fn handle_line_card(&mut self, now: Time, events: Vec<LineCardEvent>) -> Result<(), RunError> {
        for event in events {
            match event {
                LineCardEvent::Punt(punt) => self.input.handle(now, &mut self.plane, punt, &mut self.deliveries),
                LineCardEvent::Link { port, state } => {
                    let change = self.plane.topology.set_link(port, state);
                    self.change(&change)?;
                }
            }
        }
        Ok(())
    }

    fn handle_link(&mut self, reactor: &mut Reactor, event: LinkEvent) {
        let now = self.now();
        match event {
            LinkEvent::Incoming { channel, peer, terms, .. } => self.adopt(reactor, channel, peer, &terms),
            LinkEvent::Opened { ticket, channel, .. } => {
                self.server.opened(now, &mut self.plane, reactor, ticket, Some(channel));
            }
            LinkEvent::Refused { ticket, refusal } => {
                if !self.server.opened(now, &mut self.plane, reactor, ticket, None) {
                    log::error!("procmgr refused: {refusal}");
                }
            }
            LinkEvent::Done { .. } | LinkEvent::Answer { .. } | LinkEvent::Go | LinkEvent::Stop => {}
        }
    }

    fn adopt(&mut self, reactor: &mut Reactor, channel: Channel, peer: Identity, terms: &[u8]) {
        if terms == show::TERMS {
            self.shows.adopt(reactor, peer, channel);
            return;
        }
        let now = self.now();
        match postcard::from_bytes(terms) {
            Ok(Terms::Sockets) => drop(self.sockets.adopt(reactor, peer, channel)),
            Ok(Terms::Connect(wanted)) => {
                // What libraries said before counts before: nobody connects to a listener that has closed.
                self.sockets.look_at_all();
                self.poll_sockets(reactor);
                self.server.connect(now, &mut self.plane, reactor, &peer, channel, &wanted);
            }
            Ok(Terms::Datagram(wanted)) => {
                self.datagrams.open(now, &mut self.plane, reactor, &peer, channel, wanted);
            }
            Ok(Terms::Fib) => drop(self.fibs.adopt(reactor, peer, channel)),
            Ok(Terms::Interfaces) => self.adopt_watcher(reactor, channel, peer),
            Ok(Terms::Probe) => drop(self.probes.adopt(reactor, peer, channel)),
            Err(error) => log::warn!("{peer} opened a channel with terms that are none: {error}"),
        }
    }

    fn adopt_watcher(&mut self, reactor: &mut Reactor, channel: Channel, peer: Identity) {
        let states = self.plane.topology.interfaces().map(|record| &record.state);
        let concerned: Vec<InterfaceState> = states.filter(|state| concerns(&peer, state)).cloned().collect();
        if let Some(client) = self.interfaces.adopt(reactor, peer, channel) {
            self.interfaces.send(client, &InterfaceEvent::Snapshot(concerned));
        }
    }

    fn poll_services(&mut self, reactor: &mut Reactor) -> Result<(), RunError> {
        while let Some(event) = self.config.poll(reactor) {
            self.handle_config(reactor, event)?;
        }
        self.poll_sockets(reactor);
        while let Some(event) = self.fibs.poll(reactor) {
            if let ServerEvent::Message { client, message } = event {
                self.handle_download(client, message)?;
            }
        }
        while self.interfaces.poll(reactor).is_some() {}
        while let Some(event) = self.probes.poll(reactor) {
            match event {
                ServerEvent::Message { client, message } => self.handle_probe(client, &message),
                ServerEvent::Gone { client, .. } => self.input.probes.forget(client),
            }
        }
        while let Some(event) = self.shows.poll(reactor) {
            if let ServerEvent::Message { client, message } = event {
                self.handle_show(client, &message);
            }
        }
        Ok(())
    }

    /// Requests of socket libraries. A port that is in use may have been given back, or its process be dead, with the word
    /// of it still unread in another library's channel: before one is refused, everything that was said is read.
    fn poll_sockets(&mut self, reactor: &mut Reactor) {
        let mut held_back: Vec<(ClientId, SocketRequest)> = Vec::new();
        while let Some(event) = self.sockets.poll(reactor) {
            match event {
                // What a client says later waits with what was held back.
                ServerEvent::Message { client, message } if held_back.iter().any(|(held, _)| *held == client) => {
                    held_back.push((client, message));
                }
                ServerEvent::Message { client, message } => match self.request(reactor, client, message.clone()) {
                    Some(SocketReply::Failed { error: SocketError::AddressInUse, .. }) => {
                        held_back.push((client, message));
                        self.sockets.look_at_all();
                    }
                    reply => self.reply(client, reply),
                },
                ServerEvent::Gone { identity, .. } => self.server.library_gone(&mut self.plane, &identity),
            }
        }
        for (client, message) in held_back {
            let reply = self.request(reactor, client, message);
            self.reply(client, reply);
        }
    }

    fn handle_config(&mut self, reactor: &mut Reactor, event: ClientEvent<ConfigUpdate>) -> Result<(), RunError> {
        match event {
            ClientEvent::Up | ClientEvent::Down => {}
            ClientEvent::Message(ConfigUpdate::Verify { generation, blocks }) => {
                // What an earlier verification opened is closed first: the same sockets may be wanted again.
                self.verified = None;
                let refused = match self.verify(generation, &blocks) {
                    Ok(()) => None,
                    Err(error) => Some(error.objection(&blocks)),
                };
                self.config.send(&Verdict { generation, refused });
            }
            ClientEvent::Message(ConfigUpdate::Apply { generation }) => match self.verified.take() {
                Some(verified) if verified.generation == generation => self.apply(reactor, verified)?,
                _ => log::error!("configuration {generation} was to be applied but never verified"),
            },
            ClientEvent::Message(ConfigUpdate::Discard { .. }) => self.verified = None,
        }
        Ok(())
    }

    fn verify(&mut self, generation: u64, blocks: &[Node]) -> Result<(), RefusedConfig> {
        let config = StackConfig::read(blocks)?;
        let prepared = self.linecards.prepare(&config)?;
        self.verified = Some(Verified { generation, config, prepared });
        Ok(())
    }

    fn apply(&mut self, reactor: &mut Reactor, verified: Verified) -> Result<(), RunError> {
        let Verified { config, prepared, .. } = verified;
        let change = self.plane.topology.configure(config.clone());
        self.change(&change)?;
        for change in self.linecards.apply(reactor, &mut self.plane, &config, prepared)? {
            self.change(&change)?;
        }
        if !std::mem::replace(&mut self.serving, true) {
            reactor.link.publish(ServiceName::new("stack")?)?;
            reactor.link.ready()?;
        }
        Ok(())
    }

    /// Interfaces changed: tables, neighbors, and everyone who watches.
    fn change(&mut self, change: &TopologyChange) -> Result<(), RunError> {
        let now = self.now();
        self.plane.apply(change)?;
        self.input.topology_changed(now, &mut self.plane, change);
        self.input.set_groups(now, &mut self.plane, &self.datagrams.groups());
        let watchers: Vec<(ClientId, Identity)> =
            self.interfaces.clients().map(|(client, identity)| (client, identity.clone())).collect();
        for event in &change.events {
            let vr = match event {
                InterfaceEvent::Changed(state) => &state.vr,
                InterfaceEvent::Removed { vr, .. } => vr,
                InterfaceEvent::Snapshot(_) => continue,
            };
            for (client, identity) in &watchers {
                if identity.vr_name.as_ref().is_none_or(|own| own == vr) {
                    self.interfaces.send(*client, event);
                }
            }
            if let InterfaceEvent::Changed(state) = event
                && state.up
                && let Some(vr) = self.plane.topology.vr(&state.vr)
                && let Some(index) = self.plane.topology.interface(vr, &state.name).map(|record| record.index)
            {
                self.input.announce(now, &mut self.plane, index);
            }
        }
        Ok(())
    }

    fn request(&mut self, reactor: &mut Reactor, client: ClientId, request: SocketRequest) -> Option<SocketReply> {
        let who = self.sockets.identity(client).cloned()?;
        let now = self.now();
        self.server.request(now, &mut self.plane, reactor, &who, request)
    }

    fn reply(&mut self, client: ClientId, reply: Option<SocketReply>) {
        if let Some(reply) = reply {
            self.sockets.send(client, &reply);
        }
    }

    fn handle_download(&mut self, client: ClientId, request: FibRequest) -> Result<(), RunError> {
        let name = self.fibs.identity(client).and_then(|who| who.vr_name.clone());
        let vr = name.and_then(|name| self.plane.topology.vr(&name));
        let (Some(vr), plane) = (vr, &mut self.plane) else {
            if let FibRequest::Batch { ticket, .. } = request {
                let reason = "the stack does not have this virtual router".to_owned();
                self.fibs.send(client, &FibReply::Refused { ticket, reason });
            }
            return Ok(());
        };
        match request {
            FibRequest::Begin => plane.routes.begin(vr),
            FibRequest::Batch { ticket, changes } => {
                let done = plane.routes.download(&mut plane.fib, &plane.topology, vr, &changes);
                let reply = match done {
                    Ok(()) => FibReply::Applied { ticket },
                    Err(error) => FibReply::Refused { ticket, reason: error.to_string() },
                };
                self.fibs.send(client, &reply);
            }
            FibRequest::End => plane.routes.end(&mut plane.fib, vr)?,
        }
        Ok(())
    }

    fn handle_probe(&mut self, client: ClientId, probe: &Probe) {
        let now = self.now();
        let allowed =
            self.probes.identity(client).is_some_and(|who| who.vr_name.as_ref().is_none_or(|own| *own == probe.vr));
        let answer = if allowed {
            self.input.probes.send(now, &mut self.plane, client, probe)
        } else {
            let outcome = probe::Outcome::NotSent(format!("not a process of {}", probe.vr));
            Some((client, ProbeResult { number: probe.number, outcome, round_trip_ns: 0 }))
        };
        self.deliveries.extend(answer.map(Delivery::Probe));
    }

    /// Hands on what packets brought, until nothing is left.
    fn deliver(&mut self, reactor: &mut Reactor) {
        let now = self.now();
        if let Some(groups) = self.datagrams.changed_groups() {
            self.input.set_groups(now, &mut self.plane, &groups);
        }
        loop {
            self.input.handle_own(now, &mut self.plane, &mut self.deliveries);
            let deliveries = std::mem::take(&mut self.deliveries);
            if deliveries.is_empty() {
                return self.datagrams.ring();
            }
            for delivery in deliveries {
                match delivery {
                    Delivery::Segment { vr, socket, packet } => {
                        self.server.segment(now, &mut self.plane, reactor, vr, socket, &packet);
                    }
                    Delivery::Datagram { vr, packet } => {
                        if !self.datagrams.receive(&self.plane, vr, &packet) {
                            self.input.refuse(now, &mut self.plane, packet);
                        }
                    }
                    Delivery::TcpError { vr, local, remote, quoted, why, interface } => {
                        let tuple = (vr, local, remote);
                        self.server.icmp_error(now, &mut self.plane, reactor, (tuple, interface), quoted, why);
                    }
                    Delivery::DatagramError { vr, protocol, addresses, why } => {
                        self.datagrams.icmp_error(vr, protocol, &addresses, why);
                    }
                    Delivery::Probe((client, result)) => drop(self.probes.send(client, &result)),
                    Delivery::LookedFor(addresses, found) => self.looked_for(&addresses, found),
                }
            }
        }
    }

    /// IPv6 addresses of ports were looked for on their links: they are used from now on, or not at all.
    fn looked_for(&mut self, addresses: &[dad::Key], found: Uniqueness) {
        if found == Uniqueness::Duplicate {
            for (index, address) in addresses {
                let name = self.plane.topology.by_index(*index).map(|record| record.state.name.to_string());
                let name = name.unwrap_or_default();
                log::error!("{name}: {address} is not used: another station on the link has it");
            }
        }
        let change = self.plane.topology.set_uniqueness(addresses, found);
        if let Err(error) = self.change(&change) {
            log::error!("addresses of ports: {error}");
        }
    }

    fn handle_show(&mut self, client: ClientId, request: &ShowRequest) {
        let rows = match request {
            ShowRequest::Table { table, arguments } => self.rows(table, arguments),
            ShowRequest::Command { .. } => Err("the stack has no such command".to_owned()),
        };
        match rows {
            Ok(rows) => {
                for part in rows.chunks(ROWS_PER_REPLY) {
                    self.shows.send(client, &ShowReply::Rows(part.to_vec()));
                }
                self.shows.send(client, &ShowReply::End);
            }
            Err(reason) => drop(self.shows.send(client, &ShowReply::Error(reason))),
        }
    }
}

fn concerns(peer: &Identity, state: &InterfaceState) -> bool {
    peer.vr_name.as_ref().is_none_or(|own| *own == state.vr)
}
