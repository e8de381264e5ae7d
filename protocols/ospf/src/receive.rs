//! Packets come in: RFC 2328 section 8.2, and hellos: section 10.5.

use std::net::Ipv4Addr;
use std::time::Duration;

use log::Level;
use sdk::InterfaceName;
use sdk::core::Time;

use crate::auth::AuthError;
use crate::drops::Drop;
use crate::fsm::{InterfaceEvent, InterfaceState, NeighborEvent, NeighborState, NetworkType};
use crate::instance::Ospf;
use crate::interface::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, Interface, Refusal, RefusedPacket};
use crate::neighbor::Neighbor;
use crate::packet::{Body, Frame, Hello, Options, RouterId};

/// Refused neighbors that an interface remembers: whoever invents addresses fills neither memory nor the log.
const MAX_REFUSED: usize = 32;

impl Ospf {
    /// A packet came.
    pub(crate) fn packet(
        &mut self,
        now: Time,
        name: &InterfaceName,
        from: Ipv4Addr,
        to: Ipv4Addr,
        bytes: &[u8],
    ) -> Result<(), Drop> {
        let interface = self.interfaces.get_mut(name).filter(|interface| interface.speaks());
        let (Some(interface), Some(router)) = (interface, self.router_id) else { return Err(Drop::InterfaceNotUsed) };
        check_addresses(interface, from, to)?;
        let frame = Frame::parse(bytes)?;
        // Not an error: another process is meant.
        if frame.instance != interface.config.instance {
            return Err(Drop::OtherInstance);
        }
        let key = interface.neighbor_key(frame.router, from);
        let last = interface.neighbors.get(&key).and_then(|neighbor| neighbor.auth_sequence);
        let signature = match interface.authentication().verify(&frame, last) {
            Ok(signature) => signature,
            Err(error) => {
                self.refuse_unsigned(now, name, from, &frame, error);
                return Err(error.into());
            }
        };
        interface.take_back_refusal(from, frame.router, RefusedPacket::Unsigned);
        // Only now it is known who says so.
        if frame.area != interface.area {
            let reason = format!("area {} there, {} here", frame.area, interface.area);
            let until = now + silence(interface, &frame);
            self.refuse(now, name, from, Refusal { packet: RefusedPacket::Hello, router: frame.router, reason, until });
            return Err(Drop::AreaMismatch);
        }
        if frame.router == router {
            let reason = format!("its router ID {router} is this router's own");
            let until = now + silence(interface, &frame);
            self.refuse(now, name, from, Refusal { packet: RefusedPacket::Hello, router, reason, until });
            return Err(Drop::DuplicateRouterId);
        }
        let body = Body::parse(&frame)?;
        if let (Some(signature), Some(neighbor)) = (signature, interface.neighbors.get_mut(&key)) {
            neighbor.auth_sequence = Some(signature.sequence);
            neighbor.auth_key = Some(signature.key);
        }
        match body {
            Body::Hello(hello) => {
                self.hello(now, name, from, frame.router, &hello)?;
                let neighbor = self.interfaces.get_mut(name).and_then(|interface| interface.neighbors.get_mut(&key));
                if let (Some(signature), Some(neighbor)) = (signature, neighbor) {
                    neighbor.auth_sequence = Some(signature.sequence);
                    neighbor.auth_key = Some(signature.key);
                }
                Ok(())
            }
            Body::DatabaseDescription(description) => self.description(now, name, key, &description),
            Body::LinkStateRequest(request) => self.request(now, name, key, &request),
            Body::LinkStateUpdate(update) => self.update(now, name, key, &update),
            Body::LinkStateAcknowledgment(acknowledgment) => self.acknowledgment(name, key, &acknowledgment),
        }
    }

    /// RFC 2328 section 10.5.
    fn hello(
        &mut self,
        now: Time,
        name: &InterfaceName,
        from: Ipv4Addr,
        router: RouterId,
        hello: &Hello<'_>,
    ) -> Result<(), Drop> {
        let Some(interface) = self.interfaces.get(name) else { return Err(Drop::InterfaceNotUsed) };
        let options = self.areas.get(&interface.area).map(|area| area.hello_options()).unwrap_or_default();
        if let Some(reason) = mismatch(interface, options, hello) {
            let until = now + Duration::from_secs(interface.config.dead_seconds.max(hello.dead_interval).into());
            self.refuse(now, name, from, Refusal { packet: RefusedPacket::Hello, router, reason, until });
            return Err(Drop::HelloMismatch);
        }
        let key = interface.neighbor_key(router, from);
        let (own, own_address) = (self.router_id, interface.address.addr());
        let dead = Duration::from_secs(interface.config.dead_seconds.into());
        let Some(interface) = self.interfaces.get_mut(name) else { return Err(Drop::InterfaceNotUsed) };
        interface.take_back_refusal(from, router, RefusedPacket::Hello);
        let neighbor = interface.neighbors.entry(key).or_insert_with(|| Neighbor::new(now, router, from));
        let hears_us = own.is_some_and(|own| hello.neighbors().any(|heard| heard == own));
        let is_unaware = may_be_unaware(neighbor.state, hears_us);
        neighbor.inactive_at = now + dead;
        // On a broadcast network another router may have taken the address over.
        neighbor.router = router;
        neighbor.address = from;
        neighbor.options = hello.options;
        let before = (neighbor.priority, neighbor.designated == from, neighbor.backup == from);
        // One that restarts does not know yet who is designated router: RFC 3623 section 3.
        if hears_us || neighbor.grace_until.is_none() {
            (neighbor.priority, neighbor.designated, neighbor.backup) =
                (hello.priority, hello.designated, hello.backup);
        }
        let after = (neighbor.priority, neighbor.designated == from, neighbor.backup == from);
        self.neighbor_event(now, name, key, NeighborEvent::HelloReceived);
        if is_unaware {
            // So that it hears us at once, and not when the next hello is due.
            self.hello_soon(now, name);
        }
        if !hears_us {
            self.neighbor_event(now, name, key, NeighborEvent::OneWayReceived);
            return Ok(());
        }
        self.neighbor_event(now, name, key, NeighborEvent::TwoWayReceived);
        let is_waiting = self.interfaces.get(name).is_some_and(|interface| interface.state == InterfaceState::Waiting);
        let backup_seen = hello.backup == from || (hello.designated == from && hello.backup == Ipv4Addr::UNSPECIFIED);
        if is_waiting && backup_seen {
            self.interface_event(now, name, InterfaceEvent::BackupSeen);
        } else if before != after && own_address != from {
            self.interface_event(now, name, InterfaceEvent::NeighborChange);
        }
        Ok(())
    }

    /// A packet is not genuine. What comes in the name of a neighbor that is heard is an attack or a packet that was late,
    /// and only counted: a line each time would fill the log.
    fn refuse_unsigned(
        &mut self,
        now: Time,
        name: &InterfaceName,
        from: Ipv4Addr,
        frame: &Frame<'_>,
        error: AuthError,
    ) {
        let Some(interface) = self.interfaces.get(name).filter(|interface| !interface.hears(from)) else { return };
        let Some(mut reason) = interface.authentication().mismatch(frame, error) else { return };
        let until = now + silence(interface, frame);
        // It may come with another reason each time.
        if let Some(known) = interface.refused.get(&from).filter(|known| known.packet == RefusedPacket::Unsigned) {
            reason.clone_from(&known.reason);
        }
        self.refuse(now, name, from, Refusal { packet: RefusedPacket::Unsigned, router: frame.router, reason, until });
    }

    /// Says once why a neighbor is refused, and shows it until it is not refused any longer, or silent.
    pub(crate) fn refuse(&mut self, now: Time, name: &InterfaceName, from: Ipv4Addr, refusal: Refusal) {
        let Some(interface) = self.interfaces.get_mut(name) else { return };
        interface.refused.retain(|_, refusal| refusal.until > now);
        if !interface.refused.contains_key(&from) && interface.refused.len() >= MAX_REFUSED {
            return;
        }
        let text = format!("neighbor {from} on {name} refused: {}", refusal.reason);
        let reason = refusal.reason.clone();
        let known = interface.refused.insert(from, refusal);
        if known.is_none_or(|known| known.reason != reason) {
            self.outbox.log(Level::Warn, text);
        }
    }
}

/// Whether a neighbor may not know that it is heard: what was said to it so far may be lost.
fn may_be_unaware(state: NeighborState, hears_us: bool) -> bool {
    match state {
        NeighborState::Down => true,
        NeighborState::Init => !hears_us,
        NeighborState::TwoWay
        | NeighborState::ExStart
        | NeighborState::Exchange
        | NeighborState::Loading
        | NeighborState::Full => false,
    }
}

/// How long a sender must be silent to count as gone: its own dead interval, if it tells one and it is the longer one.
fn silence(interface: &Interface, frame: &Frame<'_>) -> Duration {
    let theirs = match Body::parse(frame) {
        Ok(Body::Hello(hello)) => hello.dead_interval,
        Ok(
            Body::DatabaseDescription(_)
            | Body::LinkStateRequest(_)
            | Body::LinkStateUpdate(_)
            | Body::LinkStateAcknowledgment(_),
        )
        | Err(_) => 0,
    };
    Duration::from_secs(interface.config.dead_seconds.max(theirs).into())
}

/// RFC 2328 section 8.2: who may send, and to whom.
fn check_addresses(interface: &Interface, from: Ipv4Addr, to: Ipv4Addr) -> Result<(), Drop> {
    let is_dr = matches!(interface.state, InterfaceState::Dr | InterfaceState::Backup);
    if !(to == interface.address.addr() || to == ALL_SPF_ROUTERS || (to == ALL_D_ROUTERS && is_dr)) {
        return Err(Drop::NotForThisRouter);
    }
    let is_on_subnet = interface.address.contains(&from) && from != interface.address.addr();
    match interface.network {
        NetworkType::Broadcast | NetworkType::Loopback if !is_on_subnet => Err(Drop::SourceNotOnSubnet),
        NetworkType::Broadcast | NetworkType::Loopback | NetworkType::PointToPoint => Ok(()),
    }
}

/// What a neighbor has configured otherwise, in words.
fn mismatch(interface: &Interface, options: Options, hello: &Hello<'_>) -> Option<String> {
    let config = &interface.config;
    let mask = interface.address.netmask();
    let yes_no = |options: Options, bit| if options.contains(bit) { "yes" } else { "no" };
    if interface.network == NetworkType::Broadcast && hello.mask != mask {
        return Some(format!("network mask {} there, {mask} here", hello.mask));
    }
    if hello.hello_interval != config.hello_seconds {
        return Some(format!("hello-interval {} there, {} here", hello.hello_interval, config.hello_seconds));
    }
    if hello.dead_interval != config.dead_seconds {
        return Some(format!("dead-interval {} there, {} here", hello.dead_interval, config.dead_seconds));
    }
    [(Options::E, "external routes (E), so a stub area or NSSA on one side only"), (Options::NP, "NSSA (N)")]
        .into_iter()
        .find(|(bit, _)| hello.options.contains(*bit) != options.contains(*bit))
        .map(|(bit, name)| format!("{name}: {} there, {} here", yes_no(hello.options, bit), yes_no(options, bit)))
}
