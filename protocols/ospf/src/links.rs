//! Interfaces come and go, say hello, and elect: RFC 2328 sections 9.1 to 9.5.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use log::Level;
use sdk::core::{DatagramCommand, DatagramSocket, Time};
use sdk::datagram::{DatagramProtocol, ProcessMessage};
use sdk::interface::InterfaceKind;
use sdk::outbox::Outbox;
use sdk::{InterfaceName, IpProtocol};

use crate::election::{NOBODY, elect};
use crate::fsm::{self, InterfaceEvent, InterfaceState, InterfaceStep, NeighborEvent, NetworkType};
use crate::instance::Ospf;
use crate::interface::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, Interface};
use crate::packet::{Hello, PacketKind, RouterId, encode, of_instance};

/// The one raw socket of OSPF.
pub const SOCKET: DatagramSocket = DatagramSocket(0);

/// Internetwork control: RFC 2328 section A.1.
const TOS: u8 = 0xc0;
/// Packets are for neighbors: RFC 2328 section A.1.
const TTL: u8 = 1;
/// Pauses after the first hellos on a link that has come up, in milliseconds, while nobody is heard: the other end may
/// come up a moment later, and would else be heard of only when the interval is over.
const EARLY_HELLOS: [u64; 4] = [50, 100, 200, 400];

impl Ospf {
    pub(crate) fn open_socket(&mut self) {
        self.outbox.datagram(SOCKET, DatagramCommand::Bind(DatagramProtocol::Raw(IpProtocol::OSPF)));
    }

    pub(crate) fn close_socket(&mut self) {
        self.outbox.datagram(SOCKET, DatagramCommand::Unbind);
    }

    /// Looks whether an interface can be used, and uses it or not.
    pub(crate) fn refresh_interface(&mut self, now: Time, name: &InterfaceName) {
        let subnets = self.usable_subnets(name);
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        let Some((first, secondary)) = subnets.split_first() else { return self.close_interface(now, name) };
        if interface.state != InterfaceState::Down && interface.address != *first {
            self.close_interface(now, name);
        }
        let (Some(interface), Some(state)) = (self.interfaces.get_mut(name), self.known.get(name)) else { return };
        interface.address = *first;
        interface.secondary = secondary.to_vec();
        interface.mtu = state.mtu as usize;
        interface.cost = interface.config.cost.unwrap_or(1);
        interface.network = match state.kind {
            InterfaceKind::Loopback => NetworkType::Loopback,
            InterfaceKind::Port | InterfaceKind::InterVr { .. } => interface.config.network,
        };
        if interface.state == InterfaceState::Down {
            let (network, priority) = (interface.network, interface.config.priority);
            let up = InterfaceEvent::Up { network, may_be_dr: priority > 0 };
            self.interface_event(now, name, up);
            self.open_interface(now, name);
        } else {
            // What is said in the elections may be different now.
            self.interface_event(now, name, InterfaceEvent::NeighborChange);
        }
        self.links_changed(now);
    }

    /// An interface is up: groups are joined, and a hello goes out at once.
    fn open_interface(&mut self, now: Time, name: &InterfaceName) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        if !interface.speaks() {
            return;
        }
        (interface.hello_at, interface.early_hellos) = (Some(now), 0);
        if interface.state == InterfaceState::Waiting {
            interface.wait_at = Some(now + Duration::from_secs(interface.config.dead_seconds.into()));
        }
        self.join(name, ALL_SPF_ROUTERS);
        self.hello_timers(now, name);
    }

    fn join(&mut self, name: &InterfaceName, group: Ipv4Addr) {
        self.outbox.datagram(SOCKET, DatagramCommand::Join { group: group.into(), interface: name.clone() });
    }

    fn leave(&mut self, name: &InterfaceName, group: Ipv4Addr) {
        self.outbox.datagram(SOCKET, DatagramCommand::Leave { group: group.into(), interface: name.clone() });
    }

    /// An interface is not used any longer.
    pub(crate) fn close_interface(&mut self, now: Time, name: &InterfaceName) {
        let Some(interface) = self.interfaces.get(name).filter(|interface| interface.state != InterfaceState::Down)
        else {
            return;
        };
        let (spoke, in_d_routers) = (interface.speaks(), interface.is_in_d_routers);
        // Where it is still there, neighbors hear that we are gone; where it is not, nobody does.
        self.say_goodbye(now, name);
        self.interface_event(now, name, InterfaceEvent::InterfaceDown);
        let keys: Vec<Ipv4Addr> = self
            .interfaces
            .get(name)
            .map(|interface| interface.neighbors.keys().copied().collect())
            .unwrap_or_default();
        for key in keys {
            self.neighbor_event(now, name, key, NeighborEvent::KillNbr);
        }
        if spoke {
            self.leave(name, ALL_SPF_ROUTERS);
        }
        if in_d_routers {
            self.leave(name, ALL_D_ROUTERS);
        }
        if let Some(interface) = self.interfaces.get_mut(name) {
            let (config, area, events) = (interface.config.clone(), interface.area, interface.events);
            *interface = Interface { events, ..Interface::new(name.clone(), area, config) };
        }
        self.links_changed(now);
    }

    /// RFC 2328 section 9.3.
    pub(crate) fn interface_event(&mut self, now: Time, name: &InterfaceName, event: InterfaceEvent) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        match fsm::interface(interface.state, event) {
            InterfaceStep::Stay => {}
            InterfaceStep::Go(state) => {
                interface.state = state;
                interface.events += 1;
                self.links_changed(now);
            }
            InterfaceStep::Elect => self.elect(now, name),
        }
    }

    /// RFC 2328 section 9.4.
    fn elect(&mut self, now: Time, name: &InterfaceName) {
        let (Some(router), Some(interface)) = (self.router_id, self.interfaces.get_mut(name)) else { return };
        let own = interface.candidate(router);
        let hears_us = interface.neighbors.values().filter(|neighbor| neighbor.is_candidate());
        let others: Vec<_> = hears_us.map(|neighbor| neighbor.candidate()).collect();
        let elected = elect(own, &others);
        let state = match (elected.designated == Some(own.address), elected.backup == Some(own.address)) {
            (true, _) => InterfaceState::Dr,
            (false, true) => InterfaceState::Backup,
            (false, false) => InterfaceState::DrOther,
        };
        interface.wait_at = None;
        if (interface.elected, interface.state) == (elected, state) {
            return;
        }
        (interface.elected, interface.state) = (elected, state);
        interface.events += 1;
        // Others are to hear of it before the next hello is due.
        interface.hello_at = Some(now);
        let is_in_d_routers = matches!(state, InterfaceState::Dr | InterfaceState::Backup);
        let was_in_d_routers = std::mem::replace(&mut interface.is_in_d_routers, is_in_d_routers);
        let keys: Vec<Ipv4Addr> = interface.neighbors.keys().copied().collect();
        match (was_in_d_routers, is_in_d_routers) {
            (false, true) => self.join(name, ALL_D_ROUTERS),
            (true, false) => self.leave(name, ALL_D_ROUTERS),
            (true, true) | (false, false) => {}
        }
        // Step 7.
        for key in keys {
            self.neighbor_event(now, name, key, NeighborEvent::AdjOk);
        }
        let show = |address: Option<Ipv4Addr>| address.map_or("none".to_owned(), |address| address.to_string());
        let (designated, backup) = (show(elected.designated), show(elected.backup));
        self.outbox.log(Level::Info, format!("{name}: designated router {designated}, backup {backup}"));
        self.links_changed(now);
    }

    /// Hellos that are due, and the end of waiting.
    pub(crate) fn hello_timers(&mut self, now: Time, name: &InterfaceName) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        if interface.wait_at.take_if(|at| *at <= now).is_some() {
            self.interface_event(now, name, InterfaceEvent::WaitTimer);
        }
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        if interface.hello_at.is_some_and(|at| at <= now) {
            let interval = Duration::from_secs(interface.config.hello_seconds.into());
            let early = EARLY_HELLOS.get(interface.early_hellos).filter(|_| interface.neighbors.is_empty());
            interface.early_hellos += usize::from(early.is_some());
            interface.hello_at = Some(now + early.map_or(interval, |millis| Duration::from_millis(*millis)));
            let heard: Vec<RouterId> = interface.neighbors.values().map(|neighbor| neighbor.router).collect();
            self.send_hello(now, name, &heard);
        }
    }

    /// A hello at once, in place of the one that is due next: for who has just been heard.
    pub(crate) fn hello_soon(&mut self, now: Time, name: &InterfaceName) {
        if let Some(interface) = self.interfaces.get_mut(name).filter(|interface| interface.speaks()) {
            interface.hello_at = Some(now);
        }
    }

    /// What was said before reached nobody: as if the interface had just come up.
    pub(crate) fn say_hello_anew(&mut self, now: Time) {
        for interface in self.interfaces.values_mut().filter(|interface| interface.speaks()) {
            (interface.hello_at, interface.early_hellos) = (Some(now), 0);
        }
    }

    /// Neighbors hear that we hear nobody, and give us up at once.
    pub(crate) fn say_goodbye(&mut self, now: Time, name: &InterfaceName) {
        self.send_hello(now, name, &[]);
    }

    /// RFC 2328 section 9.5.
    fn send_hello(&mut self, now: Time, name: &InterfaceName, heard: &[RouterId]) {
        let Some(interface) = self.interfaces.get(name) else { return };
        let Some(area) = self.areas.get(&interface.area) else { return };
        let config = &interface.config;
        let mask = interface.address.netmask();
        let options = area.hello_options();
        let mut hello = Hello::new(mask, config.hello_seconds, config.dead_seconds, options, config.priority);
        hello.designated = interface.elected.designated.unwrap_or(NOBODY);
        hello.backup = interface.elected.backup.unwrap_or(NOBODY);
        self.transmit(now, name, ALL_SPF_ROUTERS, PacketKind::Hello, |into| hello.encode(heard.iter().copied(), into));
    }

    /// Sends a packet out of the interface of that name.
    pub(crate) fn transmit(
        &mut self,
        now: Time,
        name: &InterfaceName,
        to: Ipv4Addr,
        kind: PacketKind,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let wall_seconds = self.wall_seconds(now);
        let (Some(router), Some(interface)) = (self.router_id, self.interfaces.get_mut(name)) else { return };
        interface.transmit(&mut Sender { router, wall_seconds, outbox: &mut self.outbox }, to, kind, body);
    }
}

/// Who sends, when, and where to.
pub(crate) struct Sender<'a> {
    pub router: RouterId,
    /// Since 1970.
    pub wall_seconds: u64,
    pub outbox: &'a mut Outbox,
}

impl Interface {
    /// Sends a packet: RFC 2328 section 8.1.
    pub(crate) fn transmit(
        &mut self,
        sender: &mut Sender<'_>,
        to: Ipv4Addr,
        kind: PacketKind,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.speaks() {
            return;
        }
        // Until 2106 the seconds since 1970 never fall, also when this process starts anew.
        self.auth_sequence = self.auth_sequence.max(u32::try_from(sender.wall_seconds).unwrap_or(u32::MAX));
        let packet = of_instance(encode(kind, sender.router, self.area, body), self.config.instance);
        let is_used = |key| self.neighbors.values().any(|neighbor| neighbor.auth_key == Some(key));
        let packets = self.authentication().sign(packet, self.auth_sequence, is_used);
        let source = SocketAddr::new(IpAddr::V4(self.address.addr()), 0);
        for payload in packets {
            let mut message = ProcessMessage::to(SocketAddr::new(IpAddr::V4(to), 0), payload);
            message.addresses.source = source;
            (message.ttl, message.tos, message.interface) = (TTL, TOS, Some(self.name.clone()));
            sender.outbox.datagram(SOCKET, DatagramCommand::Send(message));
        }
    }
}
