//! A neighbor: its session, and the second connection while two collide. RFC 4271 sections 6.2 and 6.8.
//!
//! A neighbor has one state machine (`main`). While both sides open a connection at once there is a second one (`rival`).
//! Which of the two stays is decided by the BGP Identifiers alone, as soon as both have seen an OPEN, even if one of them
//! was established meanwhile: so both sides decide alike whatever the order in which the messages came.

mod actions;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use sdk::core::{Closed, ConnectionId, Time};
use sdk::socket::SocketError;

use crate::adj_rib::AdjRibOut;
use crate::config::{NeighborConfig, OpenMode};
use crate::fsm::{Agreement, Direction, Event, Fsm, Link, Session, State, Timer};
use crate::loc_rib::Peer;
use crate::outbox::Outbox;
use crate::packet::{AddressFamily, AsWidth, Capability, Cease, Notification, Open, OpenError, PeerKind};
use crate::policy::Policy;

/// The port of BGP.
pub const PORT: u16 = 179;
/// TTL towards an external neighbor on a connected subnet, and towards all others.
const TTL_DIRECT: u8 = 1;
const TTL_FAR: u8 = 255;
/// A connection for which there is no route is tried again after this, then after twice as long, and so on: when the router
/// has just started, or an interface come up, the route is on its way. After so many tries only the ConnectRetry timer is left.
const NO_ROUTE_PAUSE: Duration = Duration::from_millis(50);
const NO_ROUTE_TRIES: u32 = 6;

/// Who we are in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker {
    /// Our AS.
    pub as_number: u32,
    /// Our BGP Identifier.
    pub router_id: Ipv4Addr,
}

/// The address that we speak from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalAddress {
    /// That of the interface on the way.
    Any,
    /// That of the `update-source`.
    Of(IpAddr),
    /// The `update-source` has none yet: no session.
    Missing,
}

/// What became of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters to the routes.
    None,
    /// It is established.
    Up,
    /// It was.
    Down,
    /// One session ended and another one is established.
    DownUp,
}

/// One of the two connections.
#[derive(Debug, Default)]
struct Slot {
    fsm: Fsm,
    /// Bytes of a message that is not all there yet.
    partial: Vec<u8>,
}

/// Tries before the ConnectRetry timer, because there was no route.
#[derive(Debug, Default)]
struct NoRoute {
    /// How many there were.
    tries: u32,
    /// When the next is due.
    next: Option<Time>,
}

/// What is counted for `show`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that could be read, of all types.
    pub messages_received: u64,
    /// Messages of all types.
    pub messages_sent: u64,
    /// UPDATEs whose routes were treated as withdrawn.
    pub updates_malformed: u64,
    /// Attributes that were discarded.
    pub attributes_discarded: u64,
    /// Times that a session was established.
    pub established: u64,
}

/// A neighbor.
#[derive(Debug)]
pub struct Neighbor {
    /// Its address.
    pub address: IpAddr,
    /// Its configuration.
    pub config: NeighborConfig,
    /// Internal or external.
    pub kind: PeerKind,
    /// Our address.
    pub local_address: LocalAddress,
    /// What is counted.
    pub counters: Counters,
    /// Paths that it told.
    pub prefixes_received: u64,
    /// Why the last session ended.
    pub last_error: Option<String>,
    /// Since when the session is established.
    pub established_at: Option<Time>,
    /// Whether it has sent all its routes once.
    pub end_of_rib: bool,
    /// Who it is in the table of paths, while the session is established.
    pub peer: Option<Arc<Peer>>,
    /// What it was told.
    pub adj_rib_out: AdjRibOut,
    main: Slot,
    rival: Option<Slot>,
    no_route: NoRoute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Main,
    Rival,
}

impl Which {
    fn other(self) -> Self {
        match self {
            Which::Main => Which::Rival,
            Which::Rival => Which::Main,
        }
    }
}

impl Neighbor {
    /// A neighbor in Idle.
    pub fn new(address: IpAddr, config: NeighborConfig, kind: PeerKind) -> Self {
        Self {
            address,
            config,
            kind,
            local_address: LocalAddress::Any,
            counters: Counters::default(),
            prefixes_received: 0,
            last_error: None,
            established_at: None,
            end_of_rib: false,
            peer: None,
            adj_rib_out: AdjRibOut::default(),
            main: Slot::default(),
            rival: None,
            no_route: NoRoute::default(),
        }
    }

    /// The state of the connection that has come further.
    pub fn state(&self) -> &State {
        match &self.rival {
            Some(rival)
                if matches!(self.main.fsm.state(), State::Idle | State::Connect { .. } | State::Active { .. }) =>
            {
                rival.fsm.state()
            }
            _ => self.main.fsm.state(),
        }
    }

    /// The session, while it is established.
    pub fn session(&self) -> Option<&Session> {
        self.main.fsm.established()
    }

    /// Whether its paths are used and whether it is given some: RFC 8212.
    pub fn policy(&self, configured: Option<Policy>) -> Policy {
        configured.unwrap_or(match self.kind {
            PeerKind::External => Policy::Drop,
            PeerKind::Internal => Policy::Pass,
        })
    }

    /// Leaves Idle.
    pub fn start(&mut self, now: Time, speaker: Speaker, outbox: &mut Outbox) {
        if *self.main.fsm.state() != State::Idle {
            return;
        }
        let event = match self.config.open_mode {
            OpenMode::Both | OpenMode::ActiveOnly => Event::Start(outbox.fresh_connection()),
            OpenMode::PassiveOnly => Event::StartPassive { retry: false },
        };
        self.step(now, Which::Main, event, speaker, outbox);
    }

    /// Ends all connections and goes to Idle, to stay there until the next [`start`](Self::start).
    pub fn stop(&mut self, now: Time, cease: Cease, speaker: Speaker, outbox: &mut Outbox) -> Change {
        let was_established = self.session().is_some();
        if self.rival.is_some() {
            self.step(now, Which::Rival, Event::Stop(cease), speaker, outbox);
            self.rival = None;
        }
        self.step(now, Which::Main, Event::Stop(cease), speaker, outbox);
        if was_established {
            self.forget_session();
            return Change::Down;
        }
        Change::None
    }

    /// Ends all connections and waits for new ones.
    pub fn reset(&mut self, now: Time, cease: Cease, speaker: Speaker, outbox: &mut Outbox) -> Change {
        let change = self.stop(now, cease, speaker, outbox);
        self.wait(now, speaker, outbox);
        change
    }

    /// The interface to the neighbor is down: nothing can be sent to it.
    pub fn link_down(&mut self, now: Time, speaker: Speaker, outbox: &mut Outbox) -> Change {
        let down = Event::Failed(Closed::Failed(SocketError::NetworkDown));
        self.observe(now, speaker, outbox, |neighbor, outbox| {
            for which in [Which::Rival, Which::Main] {
                let connection = neighbor.slot(which).and_then(|slot| slot.fsm.state().connection());
                if let Some(connection) = connection {
                    outbox.close(connection);
                    neighbor.step(now, which, down.clone(), speaker, outbox);
                }
            }
        })
    }

    /// The interface to the neighbor is up: no need to wait for the ConnectRetry timer.
    pub fn link_up(&mut self, now: Time, speaker: Speaker, outbox: &mut Outbox) {
        self.no_route = NoRoute::default();
        self.try_now(now, speaker, outbox);
    }

    /// Opens a connection before the ConnectRetry timer expires.
    fn try_now(&mut self, now: Time, speaker: Speaker, outbox: &mut Outbox) {
        if matches!(self.main.fsm.state(), State::Active { retry_at: Some(_) }) {
            let event = Event::ConnectRetryExpired(outbox.fresh_connection());
            self.step(now, Which::Main, event, speaker, outbox);
        }
    }

    /// The neighbor opened a connection.
    pub fn accept(&mut self, now: Time, link: Link, speaker: Speaker, outbox: &mut Outbox) {
        let event = Event::Connected(link);
        match self.main.fsm.state() {
            _ if self.config.open_mode == OpenMode::ActiveOnly => refuse(link, Cease::ConnectionRejected, outbox),
            State::Idle => self.step(now, Which::Main, event, speaker, outbox),
            State::Active { .. } => {
                self.main.partial.clear();
                self.step(now, Which::Main, event, speaker, outbox);
            }
            // Once established, a new connection is a collision that it loses (RFC 4271 section 6.8).
            State::Established(_) => refuse(link, Cease::ConnectionCollisionResolution, outbox),
            State::Connect { .. } | State::OpenSent { .. } | State::OpenConfirm(_) => {
                self.accept_rival(now, event, speaker, outbox);
            }
        }
    }

    /// A second connection. An older one that the neighbor opened is one that it has given up.
    fn accept_rival(&mut self, now: Time, event: Event, speaker: Speaker, outbox: &mut Outbox) {
        let old = match self.main.fsm.state().link() {
            Some(link) if link.direction == Direction::Incoming => Which::Main,
            _ => Which::Rival,
        };
        self.step(now, old, Event::Stop(Cease::ConnectionCollisionResolution), speaker, outbox);
        let mut slot = Slot::default();
        slot.fsm.handle(now, Event::StartPassive { retry: false });
        match old {
            Which::Main => self.main = slot,
            Which::Rival => self.rival = Some(slot),
        }
        self.step(now, old, event, speaker, outbox);
    }

    /// A connection that we opened stands.
    pub fn connected(&mut self, now: Time, link: Link, speaker: Speaker, outbox: &mut Outbox) {
        let Some(which) = self.find(link.connection) else { return };
        if let Some(slot) = self.slot_mut(which) {
            slot.partial.clear();
        }
        self.step(now, which, Event::Connected(link), speaker, outbox);
    }

    /// A connection ended, or did not come about.
    pub fn closed(
        &mut self,
        now: Time,
        connection: ConnectionId,
        closed: Closed,
        speaker: Speaker,
        outbox: &mut Outbox,
    ) -> Change {
        let Some(which) = self.find(connection) else { return Change::None };
        self.observe(now, speaker, outbox, |neighbor, outbox| {
            neighbor.step(now, which, Event::Failed(closed), speaker, outbox);
        })
    }

    /// Takes the bytes kept of a connection: an unfinished message.
    pub fn take_partial(&mut self, connection: ConnectionId) -> Vec<u8> {
        let slot = self.find(connection).and_then(|which| self.slot_mut(which));
        slot.map(|slot| std::mem::take(&mut slot.partial)).unwrap_or_default()
    }

    /// Keeps bytes of a connection until more come.
    pub fn keep_partial(&mut self, connection: ConnectionId, bytes: &[u8]) {
        if let Some(slot) = self.find(connection).and_then(|which| self.slot_mut(which)) {
            slot.partial = bytes.to_vec();
        }
    }

    /// A message came, or what cannot be one.
    pub fn received(
        &mut self,
        now: Time,
        connection: ConnectionId,
        message: Received,
        speaker: Speaker,
        outbox: &mut Outbox,
    ) -> Change {
        let Some(which) = self.find(connection) else { return Change::None };
        if !matches!(message, Received::Malformed(_)) {
            self.counters.messages_received += 1;
        }
        let event = match message {
            Received::Open(open) => match self.agree(&open, speaker) {
                Ok(agreement) => {
                    return self.observe(now, speaker, outbox, |neighbor, outbox| {
                        neighbor.open(now, which, agreement, speaker, outbox);
                    });
                }
                Err(notification) => Event::Malformed(notification),
            },
            Received::Keepalive => Event::Keepalive,
            Received::Update => Event::Update,
            Received::Notification(notification) => Event::Notification(notification),
            Received::Malformed(notification) => Event::Malformed(notification),
        };
        self.observe(now, speaker, outbox, |neighbor, outbox| neighbor.step(now, which, event, speaker, outbox))
    }

    /// Whether the neighbor's OPEN suits: RFC 4271 section 6.2.
    fn agree(&self, open: &Open, speaker: Speaker) -> Result<Agreement, Notification> {
        if open.as_number() != self.config.remote_as {
            return Err(OpenError::BadPeerAs.into());
        }
        if self.kind == PeerKind::Internal && open.router_id == speaker.router_id {
            return Err(OpenError::BadBgpIdentifier.into());
        }
        if !open.takes_ipv4_unicast() {
            let missing =
                Open { capabilities: vec![Capability::Multiprotocol(AddressFamily::IPV4_UNICAST)], ..open.clone() };
            return Err(Notification::new(OpenError::UnsupportedCapability, &missing.encoded_capabilities()));
        }
        let timers = self.config.timers;
        let hold = Duration::from_secs(timers.hold_seconds.min(open.hold_time_seconds).into());
        Ok(Agreement {
            router_id: open.router_id,
            width: open.four_octet_as().map_or(AsWidth::Two, |_| AsWidth::Four),
            route_refresh: open.capabilities.contains(&Capability::RouteRefresh),
            hold,
            keepalive: timers.keepalive.min(hold / 3),
        })
    }

    /// An OPEN that suits. If the other connection stands too, the speaker with the higher BGP Identifier (RFC 6286: then
    /// with the higher AS) has opened the one that stays.
    fn open(&mut self, now: Time, which: Which, agreement: Agreement, speaker: Speaker, outbox: &mut Outbox) {
        let other =
            self.slot(which.other()).and_then(|slot| slot.fsm.state().link().map(|link| (link, slot.fsm.state())));
        let own = self.slot(which).and_then(|slot| slot.fsm.state().link());
        if let (Some((other, other_state)), Some(own)) = (other, own) {
            let ours = (speaker.router_id, speaker.as_number) > (agreement.router_id, self.config.remote_as);
            let stays = if ours { Direction::Outgoing } else { Direction::Incoming };
            let collision = Event::Stop(Cease::ConnectionCollisionResolution);
            // One that has seen no OPEN might be dead: the loser stays until it has.
            let proven = matches!(other_state, State::OpenConfirm(_) | State::Established(_));
            if own.direction == stays {
                self.step(now, which.other(), collision, speaker, outbox);
            } else if other.direction == stays && proven {
                return self.step(now, which, collision, speaker, outbox);
            }
        }
        self.step(now, which, Event::Open(agreement), speaker, outbox);
    }

    /// The next timer of both connections.
    pub fn next_timer(&self) -> Option<Time> {
        let times = [Which::Main, Which::Rival].into_iter().filter_map(|which| self.slot(which)?.fsm.next_timer());
        times.map(|(at, _)| at).chain(self.no_route.next).min()
    }

    /// Timers due by `now` have expired.
    pub fn handle_timeout(&mut self, now: Time, speaker: Speaker, outbox: &mut Outbox) -> Change {
        self.observe(now, speaker, outbox, |neighbor, outbox| {
            for which in [Which::Main, Which::Rival] {
                let Some((at, timer)) = neighbor.slot(which).and_then(|slot| slot.fsm.next_timer()) else { continue };
                if at > now {
                    continue;
                }
                let event = match timer {
                    Timer::ConnectRetry => Event::ConnectRetryExpired(outbox.fresh_connection()),
                    Timer::Hold => Event::HoldTimerExpired,
                    Timer::Keepalive => Event::KeepaliveTimerExpired,
                };
                neighbor.step(now, which, event, speaker, outbox);
            }
            if neighbor.no_route.next.take_if(|at| *at <= now).is_some() {
                neighbor.try_now(now, speaker, outbox);
            }
        })
    }

    fn find(&self, connection: ConnectionId) -> Option<Which> {
        [Which::Main, Which::Rival]
            .into_iter()
            .find(|which| self.slot(*which).is_some_and(|slot| slot.fsm.state().connection() == Some(connection)))
    }

    fn slot(&self, which: Which) -> Option<&Slot> {
        match which {
            Which::Main => Some(&self.main),
            Which::Rival => self.rival.as_ref(),
        }
    }

    fn slot_mut(&mut self, which: Which) -> Option<&mut Slot> {
        match which {
            Which::Main => Some(&mut self.main),
            Which::Rival => self.rival.as_mut(),
        }
    }
}

/// A message as far as the state machine is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// OPEN.
    Open(Open),
    /// KEEPALIVE.
    Keepalive,
    /// UPDATE or ROUTE-REFRESH.
    Update,
    /// NOTIFICATION.
    Notification(Notification),
    /// Something else, and the answer to it.
    Malformed(Notification),
}

/// Refuses a connection: a NOTIFICATION and no OPEN.
fn refuse(link: Link, cease: Cease, outbox: &mut Outbox) {
    let mut bytes = Vec::new();
    Notification::from(cease).encode(&mut bytes);
    outbox.send(link.connection, bytes);
    outbox.close(link.connection);
}
