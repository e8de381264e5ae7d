//! Line cards and ports, as the configuration wants them.
//!
//! What a new configuration needs is opened while it is verified, so that one that cannot be had is refused; what is
//! no longer wanted is closed when it is applied.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use ipc::reactor::Reactor;
use mio::Token;
use mio::unix::SourceFd;

use super::{RefusedConfig, RunError};
use crate::control::config::{DriverSpec, LineCardSpec, PortSpec, StackConfig};
use crate::control::plane::Plane;
use crate::control::topology::{Port, TopologyChange};
use crate::ids::PortId;
use crate::linecard::{LineCardConfig, LineCardEvent, LineCardHandle, PuntReceiver};
use crate::media::af_packet::AfPacket;
use crate::media::cable::Cable;
use crate::media::link_watch::LinkWatch;
use crate::media::loss::{Loss, LossPattern};
use crate::media::{Driver, DriverError};

/// Events that are taken from a line card in one turn, so that others come to their turn.
const EVENTS_PER_TURN: usize = 256;

struct Card {
    spec: LineCardSpec,
    handle: LineCardHandle,
    punts: PuntReceiver,
    token: Token,
}

/// Running line cards with their ports.
#[derive(Default)]
pub struct LineCards {
    cards: BTreeMap<String, Card>,
    by_token: BTreeMap<Token, String>,
    next_port: u32,
    /// Carriers of the host's devices; only a router with a port on one has it.
    links: Option<(LinkWatch, Token)>,
}

/// What a verified configuration needs and does not have yet.
#[derive(Default)]
pub struct Prepared {
    drivers: BTreeMap<String, Box<dyn Driver>>,
}

impl LineCards {
    /// Opens the media of ports that are new.
    pub fn prepare(&self, config: &StackConfig) -> Result<Prepared, RefusedConfig> {
        let mut prepared = Prepared::default();
        for (card, port) in config.linecards.iter().flat_map(|card| card.ports.iter().map(move |port| (card, port))) {
            if !self.has(card, port) {
                let opened = open(port).map_err(|error| RefusedConfig::Driver { port: port.name.clone(), error })?;
                prepared.drivers.insert(port.name.clone(), opened);
            }
        }
        Ok(prepared)
    }

    fn has(&self, card: &LineCardSpec, port: &PortSpec) -> bool {
        self.cards.get(&card.name).is_some_and(|running| {
            running.spec.worker_threads == card.worker_threads && running.spec.ports.contains(port)
        })
    }

    /// Starts, changes and stops line cards. What follows for the interfaces.
    pub fn apply(
        &mut self,
        reactor: &mut Reactor,
        plane: &mut Plane,
        config: &StackConfig,
        mut prepared: Prepared,
    ) -> Result<Vec<TopologyChange>, RunError> {
        let mut changes = Vec::new();
        self.watch_links(reactor, config);
        self.stop_unwanted(reactor, plane, config, &mut changes)?;
        for spec in &config.linecards {
            if !self.cards.contains_key(&spec.name) {
                self.start(reactor, plane, spec)?;
            }
            let Some(card) = self.cards.get_mut(&spec.name) else { continue };
            for port in &spec.ports {
                let Some(driver) = prepared.drivers.remove(&port.name) else { continue };
                self.next_port += 1;
                let id = PortId(self.next_port);
                let info = driver.port();
                let entry = Port { id, mac: info.mac, mtu_bytes: info.mtu_bytes, link: driver.link() };
                // First the interface, so that the first frame finds it.
                changes.push(plane.topology.set_port(&port.name, Some(entry)));
                if let Err(error) = card.handle.add_port(id, driver) {
                    log::error!("{error}");
                    changes.push(plane.topology.set_port(&port.name, None));
                }
            }
            card.spec = spec.clone();
        }
        Ok(changes)
    }

    fn stop_unwanted(
        &mut self,
        reactor: &mut Reactor,
        plane: &mut Plane,
        config: &StackConfig,
        changes: &mut Vec<TopologyChange>,
    ) -> Result<(), RunError> {
        let names: Vec<String> = self.cards.keys().cloned().collect();
        for name in names {
            let wanted = config.linecards.iter().find(|spec| spec.name == name);
            let Some(card) = self.cards.get_mut(&name) else { continue };
            let same_threads = wanted.is_some_and(|spec| spec.worker_threads == card.spec.worker_threads);
            for port in &card.spec.ports {
                if same_threads && wanted.is_some_and(|spec| spec.ports.contains(port)) {
                    continue;
                }
                let id = plane.topology.port(&port.name).map(|port| port.id);
                if let Some(Err(error)) = id.map(|id| card.handle.remove_port(id)) {
                    log::error!("{error}");
                }
                changes.push(plane.topology.set_port(&port.name, None));
            }
            if !same_threads && let Some(card) = self.cards.remove(&name) {
                self.by_token.remove(&card.token);
                let descriptor = card.punts.readiness().as_raw_fd();
                let gone = reactor.deregister(&mut SourceFd(&descriptor));
                gone.map_err(|error| RunError::Wait { name: name.clone(), error })?;
                card.handle.stop();
            }
        }
        Ok(())
    }

    fn start(&mut self, reactor: &mut Reactor, plane: &Plane, spec: &LineCardSpec) -> Result<(), RunError> {
        let started = plane.line_card().start(LineCardConfig::new(&spec.name, spec.worker_threads));
        let (handle, punts) = match started {
            Ok(started) => started,
            Err(error) => {
                log::error!("{error}");
                return Ok(());
            }
        };
        let descriptor = punts.readiness().as_raw_fd();
        let token = reactor
            .register(&mut SourceFd(&descriptor))
            .map_err(|error| RunError::Wait { name: spec.name.clone(), error })?;
        self.by_token.insert(token, spec.name.clone());
        let spec = LineCardSpec { ports: Vec::new(), ..spec.clone() };
        self.cards.insert(spec.name.clone(), Card { spec, handle, punts, token });
        Ok(())
    }

    /// Subscribes to the host's carriers once a port depends on one.
    fn watch_links(&mut self, reactor: &mut Reactor, config: &StackConfig) {
        let mut ports = config.linecards.iter().flat_map(|card| &card.ports);
        if self.links.is_some() || !ports.any(|port| matches!(port.driver, DriverSpec::AfPacket { .. })) {
            return;
        }
        let opened = LinkWatch::open().and_then(|watch| {
            let token = reactor.register(&mut SourceFd(&watch.as_fd().as_raw_fd()))?;
            Ok((watch, token))
        });
        match opened {
            Ok(links) => self.links = Some(links),
            Err(error) => log::warn!("a lost carrier will be noticed late: watching the host's links: {error}"),
        }
    }

    /// The host's links changed, perhaps; `false`: the token is not theirs.
    pub fn links_changed(&mut self, token: Token) -> bool {
        let Some((watch, _)) = self.links.as_ref().filter(|(_, own)| *own == token) else { return false };
        match watch.drain() {
            Ok(true) => self.cards.values().for_each(|card| card.handle.check_links()),
            Ok(false) => {}
            Err(error) => log::warn!("watching the host's links: {error}"),
        }
        true
    }

    /// What a line card has to say; `None`: the token is not one of a line card.
    pub fn receive(&mut self, reactor: &mut Reactor, token: Token) -> Option<Vec<LineCardEvent>> {
        let card = self.cards.get_mut(self.by_token.get(&token)?)?;
        let mut events = Vec::new();
        card.punts.receive(EVENTS_PER_TURN, &mut events);
        if events.len() >= EVENTS_PER_TURN {
            reactor.again(token);
        }
        Some(events)
    }
}

fn open(port: &PortSpec) -> Result<Box<dyn Driver>, DriverError> {
    // The same port of the same medium has the same address after every start.
    let (driver, seed): (Box<dyn Driver>, String) = match &port.driver {
        DriverSpec::Cable { local, remote } => {
            let seed = format!("{} {}", local.display(), port.name);
            (Box::new(Cable::open(local, remote, &seed)?), seed)
        }
        DriverSpec::AfPacket { device } => {
            let seed = format!("{} {device} {}", host_name(), port.name);
            (Box::new(AfPacket::open(device, &seed)?), seed)
        }
    };
    log::debug!("port {}: {} ({seed})", port.name, driver.port().name);
    Ok(match &port.impairment {
        Some(impairment) => Box::new(Loss::new(driver, LossPattern::EveryNth(impairment.drop_every), impairment.seed)),
        None => driver,
    })
}

/// Two routers on one wire must not get the same address from the same port name.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
