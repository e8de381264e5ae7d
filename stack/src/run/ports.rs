//! Line cards and ports, as the configuration wants them.
//!
//! What a new configuration needs is opened while it is verified, so that one that cannot be had is refused; what is
//! no longer wanted is closed when it is applied. A port's device may go and come back, and may appear after its
//! configuration if that says so: what the host's links have to say is looked at then.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use ipc::reactor::Reactor;
use mio::Token;
use mio::unix::SourceFd;
use nix::net::if_::if_nametoindex;

use super::{RefusedConfig, RunError};
use crate::control::config::{DriverSpec, LineCardSpec, PortSpec, Presence, StackConfig};
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
    /// Ports on devices of the host.
    devices: BTreeMap<String, Device>,
}

/// A device of the host that a port is on, or shall be.
struct Device {
    port: PortSpec,
    name: String,
    /// The kernel's number of the one that is open; another one of the same name has another number.
    open: Option<u32>,
    /// Why it could not be opened when it was last tried: said once.
    refused: Option<String>,
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
    drivers: BTreeMap<String, Opened>,
}

struct Opened {
    driver: Box<dyn Driver>,
    /// Number of the host's device, if it is one.
    device: Option<u32>,
}

impl LineCards {
    /// Opens the media of ports that are new.
    pub fn prepare(&self, config: &StackConfig) -> Result<Prepared, RefusedConfig> {
        let mut prepared = Prepared::default();
        for (card, port) in config.linecards.iter().flat_map(|card| card.ports.iter().map(move |port| (card, port))) {
            if self.has(card, port) {
                continue;
            }
            match (open(port), presence(port)) {
                (Ok(opened), _) => drop(prepared.drivers.insert(port.name.clone(), opened)),
                (Err(DriverError::NoDevice { device }), Presence::Hotplug) => {
                    log::info!("port {}: waiting for the network device {device}", port.name);
                }
                (Err(error), _) => return Err(RefusedConfig::Driver { port: port.name.clone(), error }),
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
                let opened = prepared.drivers.remove(&port.name);
                if let DriverSpec::AfPacket { device, .. } = &port.driver
                    && !card.spec.ports.contains(port)
                {
                    let open = opened.as_ref().and_then(|opened| opened.device);
                    let device = Device { port: port.clone(), name: device.clone(), open, refused: None };
                    card.devices.insert(port.name.clone(), device);
                }
                if let Some(opened) = opened {
                    self.next_port += 1;
                    card.add_port(plane, &port.name, PortId(self.next_port), opened.driver, &mut changes);
                }
            }
            card.spec = spec.clone();
        }
        // What appeared between the opening and the subscription has told nobody.
        self.take_devices(plane, &mut changes);
        Ok(changes)
    }

    /// Opens devices that appeared, and closes those that are gone.
    fn take_devices(&mut self, plane: &mut Plane, changes: &mut Vec<TopologyChange>) {
        for card in self.cards.values_mut() {
            let changed: Vec<String> =
                card.devices.iter().filter(|(_, device)| device.changed()).map(|(port, _)| port.clone()).collect();
            for port in changed {
                self.next_port += 1;
                card.take_device(plane, &port, PortId(self.next_port), changes);
            }
        }
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
                card.devices.remove(&port.name);
                remove_port(&card.handle, plane, &port.name, changes);
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
        let devices = BTreeMap::new();
        self.cards.insert(spec.name.clone(), Card { spec, handle, punts, token, devices });
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

    /// The host's links changed, perhaps: what follows for the interfaces. `None`: the token is not theirs.
    pub fn links_changed(&mut self, plane: &mut Plane, token: Token) -> Option<Vec<TopologyChange>> {
        let (watch, _) = self.links.as_ref().filter(|(_, own)| *own == token)?;
        let mut changes = Vec::new();
        match watch.drain() {
            Ok(true) => {
                self.take_devices(plane, &mut changes);
                self.cards.values().for_each(|card| card.handle.check_links());
            }
            Ok(false) => {}
            Err(error) => log::warn!("watching the host's links: {error}"),
        }
        Some(changes)
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

impl Card {
    /// Takes a port over, and tells its interface.
    fn add_port(
        &self,
        plane: &mut Plane,
        name: &str,
        id: PortId,
        driver: Box<dyn Driver>,
        changes: &mut Vec<TopologyChange>,
    ) {
        let info = driver.port();
        let entry = Port { id, mac: info.mac, mtu_bytes: info.mtu_bytes, link: driver.link() };
        // First the interface, so that the first frame finds it.
        changes.push(plane.topology.set_port(name, Some(entry)));
        if let Err(error) = self.handle.add_port(id, driver, entry.link) {
            log::error!("{error}");
            changes.push(plane.topology.set_port(name, None));
        }
    }

    /// A port's device is gone, or another one than before.
    fn take_device(&mut self, plane: &mut Plane, name: &str, id: PortId, changes: &mut Vec<TopologyChange>) {
        let Some(device) = self.devices.get_mut(name) else { return };
        if device.open.take().is_some() {
            log::warn!("port {name}: the network device {} is gone", device.name);
            remove_port(&self.handle, plane, name, changes);
        }
        match open(&device.port) {
            Ok(opened) => {
                log::info!("port {name}: the network device {} is there", device.name);
                (device.open, device.refused) = (opened.device, None);
                self.add_port(plane, name, id, opened.driver, changes);
            }
            // Nothing to say: it is waited for.
            Err(DriverError::NoDevice { .. }) => device.refused = None,
            Err(error) => {
                let why = error.to_string();
                if device.refused.as_ref() != Some(&why) {
                    log::error!("port {name}: {why}; tried again when a network device changes");
                    device.refused = Some(why);
                }
            }
        }
    }
}

impl Device {
    fn changed(&self) -> bool {
        if_nametoindex(self.name.as_str()).ok() != self.open
    }
}

/// Closes a port, if it is open, and tells its interface.
fn remove_port(handle: &LineCardHandle, plane: &mut Plane, name: &str, changes: &mut Vec<TopologyChange>) {
    if let Some(Err(error)) = plane.topology.port(name).map(|port| handle.remove_port(port.id)) {
        log::error!("{error}");
    }
    changes.push(plane.topology.set_port(name, None));
}

fn presence(port: &PortSpec) -> Presence {
    match &port.driver {
        DriverSpec::Cable { .. } => Presence::Required,
        DriverSpec::AfPacket { presence, .. } => *presence,
    }
}

fn open(port: &PortSpec) -> Result<Opened, DriverError> {
    // The same port of the same medium has the same address after every start.
    let (driver, device): (Box<dyn Driver>, Option<u32>) = match &port.driver {
        DriverSpec::Cable { local, remote } => {
            let seed = format!("{} {}", local.display(), port.name);
            (Box::new(Cable::open(local, remote, &seed)?), None)
        }
        DriverSpec::AfPacket { device, .. } => {
            // Before the device is opened: if another one takes its place meanwhile, that is seen later.
            let index = if_nametoindex(device.as_str()).ok();
            (Box::new(AfPacket::open(device, &port.name)?), index)
        }
    };
    log::debug!("port {}: {}, address {}", port.name, driver.port().name, driver.port().mac);
    let driver: Box<dyn Driver> = match &port.impairment {
        Some(impairment) => Box::new(Loss::new(driver, LossPattern::EveryNth(impairment.drop_every), impairment.seed)),
        None => driver,
    };
    Ok(Opened { driver, device })
}
