//! What becomes of a connection's events, and what the state machines want done.

use std::net::SocketAddr;
use std::sync::Arc;

use log::Level;
use sdk::core::{Closed, ConnectionId, Time};
use sdk::socket::SocketError;

use super::{
    Change, LocalAddress, NO_ROUTE_PAUSE, NO_ROUTE_TRIES, Neighbor, NoRoute, PORT, Slot, Speaker, TTL_DIRECT, TTL_FAR,
    Which,
};
use crate::adj_rib::AdjRibOut;
use crate::config::OpenMode;
use crate::fsm::{self, Action, DownReason, Event, Session, State};
use crate::loc_rib::Peer;
use crate::outbox::Outbox;
use crate::packet::{self, Cease, Notification, Open, PeerKind};

impl Neighbor {
    /// Does something, tidies up, and tells what became of the session.
    pub(super) fn observe(
        &mut self,
        now: Time,
        speaker: Speaker,
        outbox: &mut Outbox,
        does: impl FnOnce(&mut Self, &mut Outbox),
    ) -> Change {
        let before = self.session().map(|session| session.link.connection);
        does(self, outbox);
        self.settle(now, speaker, outbox);
        let after = self.session().copied();
        match (before, after) {
            (before, Some(session)) if before != Some(session.link.connection) => {
                self.forget_session();
                self.remember_session(now, &session);
                if before.is_some() { Change::DownUp } else { Change::Up }
            }
            (Some(_), None) => {
                self.forget_session();
                Change::Down
            }
            (None, None) | (Some(_), Some(_)) | (None, Some(_)) => Change::None,
        }
    }

    /// Puts the connection that matters into `main`, and starts anew if none is left.
    fn settle(&mut self, now: Time, speaker: Speaker, outbox: &mut Outbox) {
        let idle = |slot: &Slot| *slot.fsm.state() == State::Idle;
        self.rival = self.rival.take().filter(|rival| !idle(rival));
        let main_is_without = matches!(self.main.fsm.state(), State::Idle | State::Active { .. });
        let rival_is_ahead = |rival: &mut Slot| main_is_without || rival.fsm.established().is_some();
        if let Some(rival) = self.rival.take_if(rival_is_ahead) {
            let old = std::mem::replace(&mut self.main, rival);
            self.rival = Some(old).filter(|_| !main_is_without);
        }
        // An attempt at a second connection ends when the first is established; one that stands awaits its OPEN.
        let attempt = |slot: &Slot| slot.fsm.state().link().is_none();
        if self.session().is_some() && self.rival.as_ref().is_some_and(attempt) {
            self.step(now, Which::Rival, Event::Stop(Cease::ConnectionCollisionResolution), speaker, outbox);
            self.rival = None;
        }
        self.wait(now, speaker, outbox);
    }

    /// From Idle to waiting for the neighbor, with a try of our own after the ConnectRetry time.
    pub(super) fn wait(&mut self, now: Time, speaker: Speaker, outbox: &mut Outbox) {
        if *self.main.fsm.state() == State::Idle {
            let retry = self.config.open_mode != OpenMode::PassiveOnly;
            self.step(now, Which::Main, Event::StartPassive { retry }, speaker, outbox);
        }
    }

    pub(super) fn step(&mut self, now: Time, which: Which, event: Event, speaker: Speaker, outbox: &mut Outbox) {
        let Some(slot) = self.slot_mut(which) else { return };
        let phase = if slot.fsm.established().is_some() { Phase::Established } else { Phase::Before };
        for action in slot.fsm.handle(now, event) {
            match action {
                Action::Connect(connection) => self.connect(connection, outbox),
                Action::Close(connection) => outbox.close(connection),
                Action::SendOpen(connection) => {
                    let open = Open::ours(speaker.as_number, self.config.timers.hold_seconds, speaker.router_id);
                    self.send(connection, outbox, |bytes| open.encode(bytes));
                }
                Action::SendKeepalive(connection) => self.send(connection, outbox, packet::encode_keepalive),
                Action::SendNotification(connection, notification) => {
                    self.send(connection, outbox, |bytes| notification.encode(bytes));
                }
                Action::Established(session) => {
                    let hold = session.agreement.hold.as_secs();
                    outbox.log(Level::Info, format!("neighbor {}: Established, hold time {hold} s", self.address));
                }
                Action::Ended(reason) => {
                    if reason == DownReason::Closed(Closed::Failed(SocketError::NetworkUnreachable)) {
                        self.await_route(now);
                    }
                    self.ended(phase, reason, outbox);
                }
            }
        }
    }

    fn await_route(&mut self, now: Time) {
        let NoRoute { tries, next } = &mut self.no_route;
        if *tries < NO_ROUTE_TRIES {
            *next = Some(now + NO_ROUTE_PAUSE * 2_u32.pow(*tries));
            *tries += 1;
        }
    }

    fn connect(&self, connection: ConnectionId, outbox: &mut Outbox) {
        let from = match self.local_address {
            LocalAddress::Of(address) => Some(address),
            LocalAddress::Any | LocalAddress::Missing => None,
        };
        let ttl = match (self.kind, self.config.ebgp_multihop) {
            (PeerKind::External, hops) => hops.unwrap_or(TTL_DIRECT),
            (PeerKind::Internal, _) => TTL_FAR,
        };
        outbox.connect(connection, SocketAddr::new(self.address, PORT), from, ttl);
    }

    pub(super) fn send(&mut self, connection: ConnectionId, outbox: &mut Outbox, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.counters.messages_sent += 1;
        outbox.send(connection, bytes);
    }

    /// Tells the operator once why a connection ended. An attempt that failed is no news: it is repeated for ever.
    fn ended(&mut self, phase: Phase, reason: DownReason, outbox: &mut Outbox) {
        let collision = Notification::from(Cease::ConnectionCollisionResolution);
        let level = match &reason {
            // No news, unless what ends is a session that was announced.
            DownReason::Sent(notification) | DownReason::Received(notification) if *notification == collision => {
                match phase {
                    Phase::Established => Level::Info,
                    Phase::Before => Level::Debug,
                }
            }
            DownReason::Sent(notification) | DownReason::Received(notification) if fsm::is_error(notification) => {
                Level::Warn
            }
            DownReason::Sent(_) | DownReason::Received(_) => Level::Info,
            DownReason::Closed(_) => match phase {
                Phase::Established => Level::Info,
                Phase::Before => Level::Debug,
            },
        };
        let what = match phase {
            Phase::Established => "session down",
            Phase::Before => "no session",
        };
        outbox.log(level, format!("neighbor {}: {what}: {reason}", self.address));
        // Of two connections that crossed one goes, however it ends: no error.
        let crossed = matches!(&reason, DownReason::Sent(sent) | DownReason::Received(sent) if *sent == collision);
        let superseded = [Which::Main, Which::Rival]
            .into_iter()
            .any(|which| self.slot(which).is_some_and(|slot| slot.fsm.established().is_some()));
        if !crossed && !superseded && (level != Level::Debug || self.last_error.is_none()) {
            self.last_error = Some(reason.to_string());
        }
    }

    fn remember_session(&mut self, now: Time, session: &Session) {
        self.counters.established += 1;
        if self.counters.established == 1 {
            // Attempts before the first session are over; from now on an error is one of a session.
            self.last_error = None;
        }
        self.no_route = NoRoute::default();
        self.established_at = Some(now);
        self.peer = Some(Arc::new(Peer {
            address: self.address,
            remote_as: self.config.remote_as,
            router_id: session.agreement.router_id,
            kind: self.kind,
        }));
    }

    pub(super) fn forget_session(&mut self) {
        self.established_at = None;
        self.peer = None;
        self.prefixes_received = 0;
        self.end_of_rib = false;
        self.adj_rib_out = AdjRibOut::default();
    }
}

/// How far a connection had come when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Established,
}
