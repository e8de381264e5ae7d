//! The conversation with a neighbor: RFC 2328 sections 10.3 to 10.9.

use std::net::Ipv4Addr;

use log::Level;
use sdk::InterfaceName;
use sdk::core::Time;

use crate::config::MtuCheck;
use crate::drops::Drop;
use crate::fsm::{self, InterfaceEvent, NeighborEvent, NeighborState};
use crate::grace::GraceEnd;
use crate::instance::Ospf;
use crate::interface::{Interface, Refusal, RefusedPacket};
use crate::lsdb::Place;
use crate::neighbor::{Exchange, LastDescription, Neighbor, Role};
use crate::originate::Part;
use crate::packet::{
    DatabaseDescription, DescriptionFlags, LSA_HEADER_LEN, LinkStateRequest, LsaHeader, LsaKey, LsaType, Options,
    PacketKind, Recency, RouterId,
};

/// Bytes of a description before its LSA headers.
const DESCRIPTION_LEN: usize = 8;

/// Which role a description in ExStart leaves to this router, if any: the router with the higher ID is master.
fn negotiated_role(neighbor: &Neighbor, own: RouterId, description: &DatabaseDescription<'_>) -> Option<Role> {
    let has = |flag| description.flags.contains(flag);
    let (init, more, master) =
        (has(DescriptionFlags::INIT), has(DescriptionFlags::MORE), has(DescriptionFlags::MASTER));
    if init && more && master && description.is_empty() && neighbor.router > own {
        return Some(Role::Slave);
    }
    let answers_us = !init && !master && description.sequence == neighbor.exchange.sequence;
    (answers_us && neighbor.router < own).then_some(Role::Master)
}

/// Whether a description is the next of an exchange: RFC 2328 section 10.6.
fn is_next(exchange: &Exchange, this: &LastDescription) -> bool {
    let (expected, says_master) = match exchange.role {
        Role::Master => (exchange.sequence, false),
        Role::Slave => (exchange.sequence.wrapping_add(1), true),
    };
    this.flags.contains(DescriptionFlags::MASTER) == says_master
        && !this.flags.contains(DescriptionFlags::INIT)
        && exchange.last.is_none_or(|last| last.options == this.options)
        && this.sequence == expected
}

/// Bytes of LSAs that are asked for at once: two Ethernet packets. A longer burst may find the receiver's buffer full, and
/// what is lost is asked for only after the retransmission interval.
const ANSWER_LEN: usize = 2800;

impl Ospf {
    pub(crate) fn neighbor(&self, name: &InterfaceName, key: Ipv4Addr) -> Option<(&Interface, &Neighbor)> {
        let interface = self.interfaces.get(name)?;
        Some((interface, interface.neighbors.get(&key)?))
    }

    pub(crate) fn neighbor_mut(&mut self, name: &InterfaceName, key: Ipv4Addr) -> Option<&mut Neighbor> {
        self.interfaces.get_mut(name)?.neighbors.get_mut(&key)
    }

    /// RFC 2328 section 10.3.
    pub(crate) fn neighbor_event(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, event: NeighborEvent) {
        let Some((interface, neighbor)) = self.neighbor(name, key) else { return };
        let old = neighbor.state;
        let new = fsm::neighbor(old, event, interface.forms_adjacency(neighbor));
        if new == old {
            return;
        }
        let Some(neighbor) = self.neighbor_mut(name, key) else { return };
        (neighbor.state, neighbor.since) = (new, now);
        neighbor.events += 1;
        if new <= NeighborState::ExStart {
            neighbor.clear_lists();
        }
        if old == NeighborState::Full || new == NeighborState::Full {
            let (router, address) = (neighbor.router, neighbor.address);
            let level = if new == NeighborState::Full { Level::Info } else { Level::Warn };
            let text = format!("neighbor {router} ({address}) on {name}: {} after {}", new.name(), old.name());
            self.outbox.log(level, format!("{text}: {}", event.name()));
            self.part_changed(now, Part::Links);
        }
        match new {
            NeighborState::ExStart => self.start_exchange(now, name, key),
            NeighborState::Exchange => self.describe_databases(now, name, key),
            NeighborState::Init if old > NeighborState::Init => self.hello_soon(now, name),
            NeighborState::Down => {
                if let Some(interface) = self.interfaces.get_mut(name) {
                    interface.neighbors.remove(&key);
                }
            }
            NeighborState::Init | NeighborState::TwoWay | NeighborState::Loading | NeighborState::Full => {}
        }
        if (old >= NeighborState::TwoWay) != (new >= NeighborState::TwoWay) {
            self.interface_event(now, name, InterfaceEvent::NeighborChange);
        }
    }

    /// Both say that they are master, until one gives in: RFC 2328 section 10.8.
    fn start_exchange(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr) {
        let wall = self.wall_seconds(now);
        let Some(neighbor) = self.neighbor_mut(name, key) else { return };
        let exchange = &mut neighbor.exchange;
        exchange.role = Role::Master;
        // Another number than before, also if this process is new.
        exchange.sequence = exchange.sequence.wrapping_add(wall as u32 | 1);
        exchange.sent.clear();
        let all = DescriptionFlags::INIT.0 | DescriptionFlags::MORE.0 | DescriptionFlags::MASTER.0;
        exchange.sent_flags = DescriptionFlags(all);
        self.send_description(now, name, key);
    }

    /// What is to be described: the databases of the link, the area and the AS. What is at MaxAge is sent instead:
    /// RFC 2328 section 10.3, the action of NegotiationDone.
    fn describe_databases(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr) {
        let Some((interface, neighbor)) = self.neighbor(name, key) else { return };
        let Some(area) = self.areas.get(&interface.area) else { return };
        let wanted = |kind: LsaType| area.takes(kind) && (!kind.is_opaque() || neighbor.options.contains(Options::O));
        let databases = [&interface.lsdb, &area.lsdb, &self.external];
        let all = databases.into_iter().flat_map(|lsdb| lsdb.iter()).filter(|(key, _)| wanted(key.kind));
        let (dying, alive): (Vec<_>, Vec<_>) = all.partition(|(_, entry)| entry.is_max_age(now));
        let dying: Vec<LsaHeader> = dying.into_iter().map(|(_, entry)| entry.header(now)).collect();
        let alive = alive.into_iter().map(|(_, entry)| entry.header(now)).collect();
        if let Some(neighbor) = self.neighbor_mut(name, key) {
            neighbor.exchange.summary = alive;
        }
        for header in dying {
            self.send_reliably(now, name, key, header);
        }
    }

    /// Sends the description that is current, and, as master, again until it is answered.
    fn send_description(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr) {
        let Some((interface, neighbor)) = self.neighbor(name, key) else { return };
        let Some(area) = self.areas.get(&interface.area) else { return };
        let Neighbor { exchange, .. } = neighbor;
        let mtu = u16::try_from(interface.mtu).unwrap_or(u16::MAX);
        let description = DatabaseDescription::new(mtu, area.options(), exchange.sent_flags, exchange.sequence);
        let (to, headers) = (interface.destination(neighbor), exchange.sent.clone());
        let repeat_at = (exchange.role == Role::Master).then_some(now + interface.config.retransmit);
        self.transmit(now, name, to, PacketKind::DatabaseDescription, |into| description.encode(&headers, into));
        if let Some(neighbor) = self.neighbor_mut(name, key) {
            neighbor.exchange.repeat_at = repeat_at;
        }
    }

    /// The next description: as many LSAs as fit.
    fn next_description(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr) {
        let Some((interface, _)) = self.neighbor(name, key) else { return };
        let room = interface.room().saturating_sub(DESCRIPTION_LEN) / LSA_HEADER_LEN;
        let Some(neighbor) = self.neighbor_mut(name, key) else { return };
        let exchange = &mut neighbor.exchange;
        let count = exchange.summary.len().min(room);
        exchange.sent = exchange.summary.drain(..count).collect();
        exchange.sent_flags = DescriptionFlags::default()
            .with(DescriptionFlags::MASTER, exchange.role == Role::Master)
            .with(DescriptionFlags::MORE, !exchange.summary.is_empty());
        self.send_description(now, name, key);
    }

    /// RFC 2328 section 10.6.
    pub(crate) fn description(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        description: &DatabaseDescription<'_>,
    ) -> Result<(), Drop> {
        if self.neighbor(name, key).is_some_and(|(_, neighbor)| neighbor.state == NeighborState::Init) {
            self.neighbor_event(now, name, key, NeighborEvent::TwoWayReceived);
        }
        self.check_mtu(now, name, key, description)?;
        let (Some((_, neighbor)), Some(own)) = (self.neighbor(name, key), self.router_id) else {
            return Err(Drop::NoConversation);
        };
        let this =
            LastDescription { flags: description.flags, options: description.options, sequence: description.sequence };
        let exchange = &neighbor.exchange;
        match neighbor.state {
            NeighborState::Down | NeighborState::Init | NeighborState::TwoWay => return Err(Drop::NoConversation),
            NeighborState::ExStart => {
                let Some(role) = negotiated_role(neighbor, own, description) else { return Ok(()) };
                self.negotiated(now, name, key, &this, role);
                if role == Role::Slave {
                    self.next_description(now, name, key);
                    return Ok(());
                }
            }
            NeighborState::Exchange | NeighborState::Loading | NeighborState::Full if exchange.last == Some(this) => {
                // A repetition: the slave answers it once more, the master knows it.
                if exchange.role == Role::Slave {
                    self.send_description(now, name, key);
                }
                return Ok(());
            }
            NeighborState::Exchange => {
                if !is_next(exchange, &this) {
                    self.neighbor_event(now, name, key, NeighborEvent::SeqNumberMismatch);
                    return Ok(());
                }
            }
            NeighborState::Loading | NeighborState::Full => {
                self.neighbor_event(now, name, key, NeighborEvent::SeqNumberMismatch);
                return Ok(());
            }
        }
        self.accept_description(now, name, key, this, description);
        Ok(())
    }

    /// A neighbor with a larger MTU would send what does not get here.
    fn check_mtu(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        description: &DatabaseDescription<'_>,
    ) -> Result<(), Drop> {
        let Some((interface, neighbor)) = self.neighbor(name, key) else { return Err(Drop::NoConversation) };
        let (address, router, mtu) = (neighbor.address, neighbor.router, interface.mtu);
        if usize::from(description.mtu) > mtu && interface.config.mtu_check == MtuCheck::Check {
            let text = format!("MTU {} there, {mtu} here", description.mtu);
            let until = neighbor.inactive_at;
            self.refuse(
                now,
                name,
                address,
                Refusal { packet: RefusedPacket::Description, router, reason: text, until },
            );
            return Err(Drop::MtuMismatch);
        }
        if let Some(interface) = self.interfaces.get_mut(name) {
            interface.take_back_refusal(address, router, RefusedPacket::Description);
        }
        Ok(())
    }

    /// Master and slave are agreed.
    fn negotiated(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr, this: &LastDescription, role: Role) {
        if let Some(neighbor) = self.neighbor_mut(name, key) {
            neighbor.options = this.options;
            neighbor.exchange.role = role;
            neighbor.exchange.sequence = this.sequence;
            neighbor.exchange.repeat_at = None;
            if role == Role::Slave {
                neighbor.exchange.last = Some(*this);
            }
        }
        self.neighbor_event(now, name, key, NeighborEvent::NegotiationDone);
    }

    /// A description that is the next one: what of it is new is to be asked for.
    fn accept_description(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        this: LastDescription,
        description: &DatabaseDescription<'_>,
    ) {
        let Some(news) = self.news(now, name, description) else {
            return self.neighbor_event(now, name, key, NeighborEvent::SeqNumberMismatch);
        };
        let Some(neighbor) = self.neighbor_mut(name, key) else { return };
        neighbor.requests.extend(news.into_iter().map(|header| (header.key, header)));
        let exchange = &mut neighbor.exchange;
        exchange.last = Some(this);
        let they_are_done = !this.flags.contains(DescriptionFlags::MORE);
        match exchange.role {
            Role::Master => {
                let we_are_done = !exchange.sent_flags.contains(DescriptionFlags::MORE);
                exchange.sequence = exchange.sequence.wrapping_add(1);
                if we_are_done && they_are_done {
                    self.exchange_done(now, name, key);
                } else {
                    self.next_description(now, name, key);
                }
            }
            Role::Slave => {
                exchange.sequence = this.sequence;
                self.next_description(now, name, key);
                let we_are_done = |(_, neighbor): (&Interface, &Neighbor)| {
                    !neighbor.exchange.sent_flags.contains(DescriptionFlags::MORE)
                };
                if they_are_done && self.neighbor(name, key).is_some_and(we_are_done) {
                    self.exchange_done(now, name, key);
                }
            }
        }
        self.send_request(now, name, key);
    }

    /// LSAs of a description that this router does not have; `None`: it names some that it must not.
    fn news(&self, now: Time, name: &InterfaceName, description: &DatabaseDescription<'_>) -> Option<Vec<LsaHeader>> {
        let interface = self.interfaces.get(name)?;
        let area = self.areas.get(&interface.area)?;
        let mut news = Vec::new();
        for header in description.headers() {
            let header = header.ok().filter(|header| area.takes(header.key.kind))?;
            let place = self.place(interface, &header.key);
            let known = self.lsdb(&place).and_then(|lsdb| lsdb.get(&header.key)).map(|entry| entry.header(now));
            if known.is_none_or(|known| header.recency(&known) == Recency::Newer) {
                news.push(header);
            }
        }
        Some(news)
    }

    fn exchange_done(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr) {
        let Some(neighbor) = self.neighbor_mut(name, key) else { return };
        neighbor.exchange.repeat_at = None;
        let nothing_to_load = neighbor.requests.is_empty();
        self.neighbor_event(now, name, key, NeighborEvent::ExchangeDone { nothing_to_load });
    }

    /// Asks for what is still wanted, unless something is asked for already: RFC 2328 section 10.9.
    pub(crate) fn send_request(&mut self, now: Time, name: &InterfaceName, key: Ipv4Addr) {
        let Some((interface, neighbor)) = self.neighbor(name, key) else { return };
        if !neighbor.requested.is_empty() || !neighbor.is_synchronizing() {
            return;
        }
        let room = interface.room() / LinkStateRequest::ENTRY_LEN;
        let mut answer = 0;
        let fits = |header: &&LsaHeader| {
            answer += usize::from(header.length);
            answer <= ANSWER_LEN
        };
        // One that is larger is asked for by itself.
        let count = neighbor.requests.values().take(room).take_while(fits).count().max(1);
        let keys: Vec<LsaKey> = neighbor.requests.keys().take(count).copied().collect();
        if keys.is_empty() {
            if neighbor.state == NeighborState::Loading {
                self.neighbor_event(now, name, key, NeighborEvent::LoadingDone);
            }
            return;
        }
        let (to, repeat_at) = (interface.destination(neighbor), now + interface.config.retransmit);
        self.transmit(now, name, to, PacketKind::LinkStateRequest, |into| LinkStateRequest::encode(&keys, into));
        if let Some(neighbor) = self.neighbor_mut(name, key) {
            neighbor.requested = keys;
            neighbor.request_at = Some(repeat_at);
        }
    }

    /// RFC 2328 section 10.7: all that is asked for is sent at once.
    pub(crate) fn request(
        &mut self,
        now: Time,
        name: &InterfaceName,
        key: Ipv4Addr,
        request: &LinkStateRequest<'_>,
    ) -> Result<(), Drop> {
        let Some((interface, _)) = self.neighbor(name, key).filter(|(_, neighbor)| neighbor.is_flooded_to()) else {
            return Err(Drop::NoConversation);
        };
        let find = |wanted: Option<LsaKey>| {
            let wanted = wanted?;
            let place: Place = self.place(interface, &wanted);
            self.lsdb(&place)?.get(&wanted).map(|_| wanted)
        };
        let Some(wanted) = request.keys().map(find).collect::<Option<Vec<LsaKey>>>() else {
            self.neighbor_event(now, name, key, NeighborEvent::BadLsReq);
            return Ok(());
        };
        let Some(to) = self.neighbor(name, key).map(|(interface, neighbor)| interface.destination(neighbor)) else {
            return Ok(());
        };
        self.send_updates(now, name, to, &wanted);
        Ok(())
    }

    /// Timers of all neighbors of an interface.
    pub(crate) fn neighbor_timers(&mut self, now: Time, name: &InterfaceName) {
        let Some(interface) = self.interfaces.get(name) else { return };
        for key in interface.neighbors.keys().copied().collect::<Vec<_>>() {
            let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
            let Some((_, neighbor)) = self.neighbor(name, key) else { continue };
            if neighbor.grace_until.is_some_and(|until| until <= now) {
                self.end_of_grace(now, name, key, GraceEnd::TimedOut);
            }
            let Some((_, neighbor)) = self.neighbor(name, key) else { continue };
            if neighbor.inactive_at <= now && neighbor.grace_until.is_none() {
                self.neighbor_event(now, name, key, NeighborEvent::InactivityTimer);
                continue;
            }
            let (repeat, request) = (is_due(neighbor.exchange.repeat_at), is_due(neighbor.request_at));
            if repeat {
                self.send_description(now, name, key);
            }
            if request && let Some(neighbor) = self.neighbor_mut(name, key) {
                neighbor.requested.clear();
                neighbor.request_at = None;
                self.send_request(now, name, key);
            }
            self.retransmit(now, name, key);
        }
    }
}
