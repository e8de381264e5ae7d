//! All OSPF processes of a VR: `router ospf 1` and `router ospf 2` are instances that know nothing of each other. Each has
//! a raw socket of its own, so that all hear the same packets; the RIB sees one protocol.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipnet::IpNet;
use sdk::InterfaceName;
use sdk::config::Node;
use sdk::core::{ConfigError, DatagramSocket, Input, Output, ProtocolCore, Time};
use sdk::interface::InterfaceState;
use sdk::redistribution::RedistributedRoutes;
use sdk::rib::{RedistributedChange, Redistribution, RibRequest, RibUpdate, Route, RouteChange};
use sdk::show::Row;

use crate::config::{self, Config, InstanceConfig};
use crate::instance::Ospf;
use crate::show;

/// An instance and what it asked the RIB for.
#[derive(Debug)]
struct Instance {
    core: Ospf,
    socket: DatagramSocket,
    wants: Vec<Redistribution>,
    tracked: BTreeSet<IpNet>,
    /// It has said that all its routes are told.
    is_complete: bool,
}

/// The instances of a VR.
#[derive(Debug)]
pub struct Process {
    /// Seconds since 1970 when [`Time::ZERO`] was.
    epoch: u64,
    instances: BTreeMap<String, Instance>,
    last_socket: u32,
    /// What an instance that comes later is to be told.
    known: BTreeMap<InterfaceName, InterfaceState>,
    redistributed: RedistributedRoutes,
    has_rib: bool,
    /// Routes to a prefix by instance: the RIB gets the best of them.
    offers: BTreeMap<IpNet, BTreeMap<String, Route>>,
    outputs: VecDeque<Output>,
}

impl Process {
    /// No instance yet. `epoch`: seconds since 1970 now.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            instances: BTreeMap::new(),
            last_socket: 0,
            known: BTreeMap::new(),
            redistributed: RedistributedRoutes::default(),
            has_rib: false,
            offers: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    fn names(&self) -> Vec<String> {
        self.instances.keys().cloned().collect()
    }

    /// Something for one instance.
    fn tell(&mut self, now: Time, name: &str, input: Input<'_>) {
        if let Some(instance) = self.instances.get_mut(name) {
            instance.core.handle_input(now, input);
            self.drain(now, name);
        }
    }

    fn tell_all(&mut self, now: Time, input: &Input<'_>) {
        for name in self.names() {
            self.tell(now, &name, input.clone());
        }
    }

    fn begin(&mut self, now: Time, config: InstanceConfig) -> Result<(), ConfigError> {
        let name = config.name.clone();
        self.last_socket += 1;
        let instance = Instance {
            core: Ospf::new(self.epoch),
            socket: DatagramSocket(self.last_socket),
            wants: Vec::new(),
            tracked: BTreeSet::new(),
            is_complete: false,
        };
        self.instances.insert(name.clone(), instance);
        if self.has_rib {
            self.tell(now, &name, Input::RibRestarted);
        }
        self.configure_one(now, &name, Some(config))?;
        for state in self.known.values().cloned().collect::<Vec<_>>() {
            self.tell(now, &name, Input::Interface(state));
        }
        Ok(())
    }

    /// An instance that is no longer configured takes leave, and what it brought goes.
    fn end(&mut self, now: Time, name: &str) -> Result<(), ConfigError> {
        self.configure_one(now, name, None)?;
        self.instances.remove(name);
        let brought: Vec<IpNet> =
            self.offers.iter().filter(|(_, offers)| offers.contains_key(name)).map(|(prefix, _)| *prefix).collect();
        brought.into_iter().for_each(|prefix| self.offer(name, prefix, None));
        self.say_complete();
        Ok(())
    }

    fn configure_one(&mut self, now: Time, name: &str, config: Option<InstanceConfig>) -> Result<(), ConfigError> {
        let Some(instance) = self.instances.get_mut(name) else { return Ok(()) };
        let configured = instance.core.configure(now, Config { instance: config });
        self.drain(now, name);
        configured
    }

    /// Does what an instance wants.
    fn drain(&mut self, now: Time, name: &str) {
        while let Some(instance) = self.instances.get_mut(name)
            && let Some(output) = instance.core.poll_output()
        {
            let socket = instance.socket;
            match output {
                Output::Datagram { command, .. } => self.outputs.push_back(Output::Datagram { socket, command }),
                Output::Rib(request) => self.request(now, name, request),
                Output::Log { level, text } if self.instances.len() > 1 => {
                    self.outputs.push_back(Output::Log { level, text: format!("process {name}: {text}") });
                }
                other @ (Output::Log { .. }
                | Output::Listen { .. }
                | Output::Peers(_)
                | Output::StopListening { .. }
                | Output::Connect { .. }
                | Output::Send { .. }
                | Output::Close { .. }) => self.outputs.push_back(other),
            }
        }
    }

    /// What an instance says to the RIB.
    fn request(&mut self, now: Time, name: &str, request: RibRequest) {
        match request {
            RibRequest::Routes(changes) => {
                for change in changes {
                    match change {
                        RouteChange::Add(route) => self.offer(name, route.prefix, Some(route)),
                        RouteChange::Remove(prefix) => self.offer(name, prefix, None),
                    }
                }
            }
            RibRequest::EndOfRoutes => {
                if let Some(instance) = self.instances.get_mut(name) {
                    instance.is_complete = true;
                }
                self.say_complete();
            }
            RibRequest::Redistribute(wants) => {
                if let Some(instance) = self.instances.get_mut(name) {
                    instance.wants = wants;
                }
                let all = self.instances.values().flat_map(|instance| instance.wants.clone()).collect();
                self.outputs.push_back(Output::Rib(RibRequest::Redistribute(all)));
                // What is told already, because of another one, the RIB does not tell again.
                let told = self.redistributed.iter().cloned().map(RedistributedChange::Set).collect();
                self.tell(now, name, Input::Rib(RibUpdate::Redistributed(told)));
            }
            RibRequest::TrackPrefix(prefix) => {
                if let Some(instance) = self.instances.get_mut(name) {
                    instance.tracked.insert(prefix);
                }
                self.outputs.push_back(Output::Rib(RibRequest::TrackPrefix(prefix)));
            }
            RibRequest::UntrackPrefix(prefix) => {
                if let Some(instance) = self.instances.get_mut(name) {
                    instance.tracked.remove(&prefix);
                }
                if self.instances.values().all(|instance| !instance.tracked.contains(&prefix)) {
                    self.outputs.push_back(Output::Rib(RibRequest::UntrackPrefix(prefix)));
                }
            }
            // OSPF asks for no next hop, and it is the shell that leaves.
            other @ (RibRequest::TrackNextHop(_) | RibRequest::UntrackNextHop(_) | RibRequest::Leave) => {
                self.outputs.push_back(Output::Rib(other));
            }
        }
    }

    /// All routes are told once every instance says so.
    fn say_complete(&mut self) {
        if !self.instances.is_empty() && self.instances.values().all(|instance| instance.is_complete) {
            self.outputs.push_back(Output::Rib(RibRequest::EndOfRoutes));
        }
    }

    /// An instance has a route to a prefix, or none. The RIB gets the one with the lowest metric, of equal ones that of
    /// the instance whose name comes first.
    fn offer(&mut self, name: &str, prefix: IpNet, route: Option<Route>) {
        let offers = self.offers.entry(prefix).or_default();
        let best = |offers: &BTreeMap<String, Route>| offers.values().min_by_key(|route| route.metric).cloned();
        let before = best(offers);
        match route {
            Some(route) => _ = offers.insert(name.to_owned(), route),
            None => _ = offers.remove(name),
        }
        let after = best(offers);
        if offers.is_empty() {
            self.offers.remove(&prefix);
        }
        let change = match after {
            after if after == before => return,
            Some(route) => RouteChange::Add(route),
            None => RouteChange::Remove(prefix),
        };
        match self.outputs.back_mut() {
            Some(Output::Rib(RibRequest::Routes(changes))) => changes.push(change),
            Some(_) | None => self.outputs.push_back(Output::Rib(RibRequest::Routes(vec![change]))),
        }
    }

    /// The RIB is new: all is said to it again.
    fn rib_restarted(&mut self, now: Time) {
        self.has_rib = true;
        self.offers.clear();
        self.redistributed.rib_restarted();
        self.instances.values_mut().for_each(|instance| instance.is_complete = false);
        self.tell_all(now, &Input::RibRestarted);
    }

    fn rib_told(&mut self, now: Time, update: RibUpdate) {
        match &update {
            RibUpdate::Redistributed(changes) => {
                changes.iter().for_each(|change| _ = self.redistributed.change(change.clone()));
            }
            RibUpdate::RedistributionComplete => _ = self.redistributed.complete(),
            RibUpdate::NextHop { .. }
            | RibUpdate::Prefix { .. }
            | RibUpdate::Refused { .. }
            | RibUpdate::Unused(_)
            | RibUpdate::Denied { .. } => {}
        }
        self.tell_all(now, &Input::Rib(update));
    }

    fn by_socket(&self, socket: DatagramSocket) -> Option<String> {
        self.instances.iter().find(|(_, instance)| instance.socket == socket).map(|(name, _)| name.clone())
    }
}

impl ProtocolCore for Process {
    type Config = Vec<InstanceConfig>;

    fn read_config(blocks: &[Node]) -> Result<Self::Config, ConfigError> {
        config::read_all(blocks)
    }

    fn configure(&mut self, now: Time, config: Self::Config) -> Result<(), ConfigError> {
        let configured: BTreeSet<&String> = config.iter().map(|instance| &instance.name).collect();
        for name in self.names().into_iter().filter(|name| !configured.contains(name)) {
            self.end(now, &name)?;
        }
        for instance in config {
            let name = instance.name.clone();
            match self.instances.contains_key(&name) {
                true => self.configure_one(now, &name, Some(instance))?,
                false => self.begin(now, instance)?,
            }
        }
        Ok(())
    }

    fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Datagram { socket, .. } | Input::Bound { socket } | Input::BindFailed { socket, .. } => {
                if let Some(name) = self.by_socket(socket) {
                    self.tell(now, &name, input);
                }
            }
            Input::RibRestarted => self.rib_restarted(now),
            Input::Rib(update) => self.rib_told(now, update),
            Input::Interface(state) => {
                self.known.insert(state.name.clone(), state.clone());
                self.tell_all(now, &Input::Interface(state));
            }
            Input::InterfaceRemoved(name) => {
                self.known.remove(&name);
                self.tell_all(now, &Input::InterfaceRemoved(name));
            }
            // OSPF has no connections.
            Input::Stop
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::Accepted { .. }
            | Input::Received { .. }
            | Input::Closed { .. }
            | Input::ListenFailed { .. } => self.tell_all(now, &input),
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        for name in self.names() {
            if let Some(instance) = self.instances.get_mut(&name)
                && instance.core.poll_timeout().is_some_and(|due| due <= now)
            {
                instance.core.handle_timeout(now);
                self.drain(now, &name);
            }
        }
    }

    fn command(&mut self, now: Time, words: &[String]) -> Result<(), String> {
        for name in self.names() {
            let Some(instance) = self.instances.get_mut(&name) else { continue };
            let obeyed = instance.core.command(now, words);
            self.drain(now, &name);
            obeyed?;
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.instances.values().filter_map(|instance| instance.core.poll_timeout()).min()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn show(&self, now: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
        show::tables().iter().find(|known| known.words == table)?;
        let rows = self.instances.values().filter_map(|instance| instance.core.show(now, table, arguments));
        Some(rows.flatten().collect())
    }
}
