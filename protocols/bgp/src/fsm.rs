//! The state machine of one connection with a neighbor: RFC 4271 section 8.
//!
//! ```text
//!            Start                  connection               OPEN                 KEEPALIVE
//!   Idle ───────────▶ Connect ───────────────▶ OpenSent ───────────▶ OpenConfirm ───────────▶ Established
//!     │                │   ▲                      ▲                       │                       │
//!     │ StartPassive   ▼   │ ConnectRetry         │ connection            │                       │
//!     └─────────────▶ Active ─────────────────────┘                       │                       │
//!     ▲                                                                   ▼                       ▼
//!     └──────────────── every error, NOTIFICATION, Stop, end of the connection ───────────────────┘
//! ```
//!
//! The machine does nothing itself: [`Fsm::handle`] returns what is to be done. A neighbor has one machine, and a second
//! one while two connections collide (`neighbor.rs`).
//!
//! Where it differs from the RFC: a connection that fails in Connect leads to Active, not to Idle (as in all routers
//! that we know: the neighbor may connect meanwhile); DelayOpen, damping of oscillation and jitter are not there.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sdk::core::{Closed, ConnectionId, Time};

use crate::packet::{Cease, ErrorCode, FsmError, Notification};

/// RFC 4271 section 8.2.2 suggests four minutes for the time until the OPEN.
pub const LARGE_HOLD_TIME: Duration = Duration::from_secs(240);
/// Shorter than the RFC's 120 s: a router of this box is back within a second.
pub const CONNECT_RETRY: Duration = Duration::from_secs(5);

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We did.
    Outgoing,
    /// The neighbor did.
    Incoming,
}

/// A connection that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub connection: ConnectionId,
    /// Who opened it.
    pub direction: Direction,
    /// Own end.
    pub local: SocketAddr,
    /// The neighbor's end.
    pub remote: SocketAddr,
}

/// What the neighbor's OPEN agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The neighbor's BGP Identifier.
    pub router_id: std::net::Ipv4Addr,
    /// Octets of AS numbers.
    pub width: crate::packet::AsWidth,
    /// Whether the neighbor answers ROUTE-REFRESH.
    pub route_refresh: bool,
    /// The lower of both hold times; zero is none.
    pub hold: Duration,
    /// Our keepalive interval.
    pub keepalive: Duration,
}

/// The two timers of a session; a hold time of zero has neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SessionTimers {
    hold_at: Time,
    keepalive_at: Time,
}

/// A connection with its agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The connection.
    pub link: Link,
    /// What was agreed.
    pub agreement: Agreement,
    timers: Option<SessionTimers>,
}

/// State with what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing happens.
    Idle,
    /// A connection was asked for.
    Connect {
        /// Its number.
        connection: ConnectionId,
        /// When another is tried.
        retry_at: Time,
    },
    /// Waits for the neighbor's connection.
    Active {
        /// When we try ourselves; never for a passive neighbor.
        retry_at: Option<Time>,
    },
    /// Our OPEN is sent.
    OpenSent {
        /// The connection.
        link: Link,
        /// When we give up.
        hold_at: Time,
    },
    /// The neighbor's OPEN came and was answered.
    OpenConfirm(Session),
    /// Routes are exchanged.
    Established(Session),
}

impl State {
    /// Its name as `show` has it.
    pub fn name(&self) -> &'static str {
        match self {
            State::Idle => "Idle",
            State::Connect { .. } => "Connect",
            State::Active { .. } => "Active",
            State::OpenSent { .. } => "OpenSent",
            State::OpenConfirm(_) => "OpenConfirm",
            State::Established(_) => "Established",
        }
    }

    /// The number of its connection, or of the one that is being opened.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self {
            State::Idle | State::Active { .. } => None,
            State::Connect { connection, .. } => Some(*connection),
            State::OpenSent { .. } | State::OpenConfirm(_) | State::Established(_) => {
                self.link().map(|link| link.connection)
            }
        }
    }

    /// Its connection, if it stands.
    pub fn link(&self) -> Option<Link> {
        match self {
            State::Idle | State::Connect { .. } | State::Active { .. } => None,
            State::OpenSent { link, .. } => Some(*link),
            State::OpenConfirm(session) | State::Established(session) => Some(session.link),
        }
    }
}

/// What happens to the machine. RFC 4271 section 8.1; the number in brackets is the RFC's event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Start, and open the connection with this number (1, 3).
    Start(ConnectionId),
    /// Start, and wait for the neighbor, or for the ConnectRetry timer if that may expire (4, 5).
    StartPassive {
        /// Whether we try ourselves after a while.
        retry: bool,
    },
    /// Stop, and say why (2, 8, 23).
    Stop(Cease),
    /// ConnectRetry timer: open a connection with this number (9).
    ConnectRetryExpired(ConnectionId),
    /// Hold timer (10).
    HoldTimerExpired,
    /// Keepalive timer (11).
    KeepaliveTimerExpired,
    /// A connection stands (16, 17).
    Connected(Link),
    /// It ended, or did not come about (18).
    Failed(Closed),
    /// An OPEN that suits (19).
    Open(Agreement),
    /// A message that cannot be accepted, and what is to be sent for it (21, 22, 28).
    Malformed(Notification),
    /// The neighbor ends the session (24, 25).
    Notification(Notification),
    /// KEEPALIVE (26).
    Keepalive,
    /// UPDATE or ROUTE-REFRESH (27).
    Update,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// We ended it with this message.
    Sent(Notification),
    /// The neighbor ended it with this message.
    Received(Notification),
    /// The connection broke.
    Closed(Closed),
}

impl std::fmt::Display for DownReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DownReason::Sent(notification) => write!(f, "sent NOTIFICATION {notification}"),
            DownReason::Received(notification) => write!(f, "received NOTIFICATION {notification}"),
            DownReason::Closed(Closed::EndOfFile) => f.write_str("the neighbor closed the connection"),
            DownReason::Closed(Closed::Failed(error)) => write!(f, "{error}"),
        }
    }
}

/// Timers of RFC 4271 section 8 that run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Until a connection is tried again.
    ConnectRetry,
    /// Until the neighbor counts as dead.
    Hold,
    /// Until we send a KEEPALIVE.
    Keepalive,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a connection with this number.
    Connect(ConnectionId),
    /// Close it.
    Close(ConnectionId),
    /// Send our OPEN.
    SendOpen(ConnectionId),
    /// Send a KEEPALIVE.
    SendKeepalive(ConnectionId),
    /// Send a NOTIFICATION.
    SendNotification(ConnectionId, Notification),
    /// The session is established.
    Established(Session),
    /// A connection, or an attempt at one, ended; its number is free or was closed before.
    Ended(DownReason),
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fsm {
    state: State,
}

impl Fsm {
    /// A machine in Idle.
    pub fn new() -> Self {
        Self { state: State::Idle }
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The session, once it is established.
    pub fn established(&self) -> Option<&Session> {
        match &self.state {
            State::Established(session) => Some(session),
            State::Idle
            | State::Connect { .. }
            | State::Active { .. }
            | State::OpenSent { .. }
            | State::OpenConfirm(_) => None,
        }
    }

    /// The timer that expires next.
    pub fn next_timer(&self) -> Option<(Time, Timer)> {
        match &self.state {
            State::Idle => None,
            State::Connect { retry_at, .. } => Some((*retry_at, Timer::ConnectRetry)),
            State::Active { retry_at } => retry_at.map(|at| (at, Timer::ConnectRetry)),
            State::OpenSent { hold_at, .. } => Some((*hold_at, Timer::Hold)),
            State::OpenConfirm(session) | State::Established(session) => {
                let timers = session.timers?;
                Some(match timers.hold_at <= timers.keepalive_at {
                    true => (timers.hold_at, Timer::Hold),
                    false => (timers.keepalive_at, Timer::Keepalive),
                })
            }
        }
    }

    /// One step.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        let (next, actions) = match self.state {
            State::Idle => idle(now, event),
            State::Connect { connection, retry_at } => connect(now, connection, retry_at, event),
            State::Active { retry_at } => active(now, retry_at, event),
            State::OpenSent { link, hold_at } => open_sent(now, link, hold_at, event),
            State::OpenConfirm(session) => open_confirm(now, session, event),
            State::Established(session) => established(now, session, event),
        };
        self.state = next;
        actions
    }
}

impl Default for Fsm {
    fn default() -> Self {
        Self::new()
    }
}

type Step = (State, Vec<Action>);

fn idle(now: Time, event: Event) -> Step {
    match event {
        Event::Start(connection) => start_connect(now, connection),
        Event::StartPassive { retry } => (State::Active { retry_at: retry.then(|| now + CONNECT_RETRY) }, vec![]),
        Event::Connected(link) => (State::Idle, vec![Action::Close(link.connection)]),
        Event::Stop(_)
        | Event::ConnectRetryExpired(_)
        | Event::HoldTimerExpired
        | Event::KeepaliveTimerExpired
        | Event::Failed(_)
        | Event::Open(_)
        | Event::Malformed(_)
        | Event::Notification(_)
        | Event::Keepalive
        | Event::Update => (State::Idle, vec![]),
    }
}

fn connect(now: Time, connection: ConnectionId, retry_at: Time, event: Event) -> Step {
    match event {
        Event::Connected(link) => start_open(now, link),
        Event::ConnectRetryExpired(fresh) => {
            let (next, mut actions) = start_connect(now, fresh);
            actions.insert(0, Action::Close(connection));
            (next, actions)
        }
        Event::Failed(closed) => {
            (State::Active { retry_at: Some(retry_at) }, vec![Action::Ended(DownReason::Closed(closed))])
        }
        Event::Stop(_) => (State::Idle, vec![Action::Close(connection)]),
        Event::Start(_) | Event::StartPassive { .. } => (State::Connect { connection, retry_at }, vec![]),
        Event::HoldTimerExpired
        | Event::KeepaliveTimerExpired
        | Event::Open(_)
        | Event::Malformed(_)
        | Event::Notification(_)
        | Event::Keepalive
        | Event::Update => (State::Idle, vec![Action::Close(connection)]),
    }
}

fn active(now: Time, retry_at: Option<Time>, event: Event) -> Step {
    match event {
        Event::Connected(link) => start_open(now, link),
        Event::ConnectRetryExpired(fresh) => start_connect(now, fresh),
        Event::Stop(_) => (State::Idle, vec![]),
        Event::Start(_) | Event::StartPassive { .. } => (State::Active { retry_at }, vec![]),
        Event::HoldTimerExpired
        | Event::KeepaliveTimerExpired
        | Event::Failed(_)
        | Event::Open(_)
        | Event::Malformed(_)
        | Event::Notification(_)
        | Event::Keepalive
        | Event::Update => (State::Idle, vec![]),
    }
}

fn open_sent(now: Time, link: Link, hold_at: Time, event: Event) -> Step {
    match event {
        Event::Open(agreement) => {
            let timers = (!agreement.hold.is_zero())
                .then(|| SessionTimers { hold_at: now + agreement.hold, keepalive_at: now + agreement.keepalive });
            let session = Session { link, agreement, timers };
            (State::OpenConfirm(session), vec![Action::SendKeepalive(link.connection)])
        }
        Event::HoldTimerExpired => end_with(link, Notification::hold_timer_expired()),
        Event::Stop(cease) => end_with(link, cease.into()),
        Event::Malformed(notification) => end_with(link, notification),
        Event::Notification(notification) => end_for(link, notification),
        Event::Failed(closed) => (State::Idle, vec![Action::Ended(DownReason::Closed(closed))]),
        Event::Keepalive | Event::Update => end_with(link, FsmError::InOpenSent.into()),
        Event::Start(_)
        | Event::StartPassive { .. }
        | Event::ConnectRetryExpired(_)
        | Event::KeepaliveTimerExpired
        | Event::Connected(_) => (State::OpenSent { link, hold_at }, vec![]),
    }
}

fn open_confirm(now: Time, session: Session, event: Event) -> Step {
    let link = session.link;
    match event {
        Event::Keepalive => {
            let session = session.heard(now);
            (State::Established(session), vec![Action::Established(session)])
        }
        Event::KeepaliveTimerExpired => {
            (State::OpenConfirm(session.spoke(now)), vec![Action::SendKeepalive(link.connection)])
        }
        Event::HoldTimerExpired => end_with(link, Notification::hold_timer_expired()),
        Event::Stop(cease) => end_with(link, cease.into()),
        Event::Malformed(notification) => end_with(link, notification),
        Event::Notification(notification) => end_for(link, notification),
        Event::Failed(closed) => (State::Idle, vec![Action::Ended(DownReason::Closed(closed))]),
        Event::Open(_) | Event::Update => end_with(link, FsmError::InOpenConfirm.into()),
        Event::Start(_) | Event::StartPassive { .. } | Event::ConnectRetryExpired(_) | Event::Connected(_) => {
            (State::OpenConfirm(session), vec![])
        }
    }
}

fn established(now: Time, session: Session, event: Event) -> Step {
    let link = session.link;
    match event {
        Event::Keepalive | Event::Update => (State::Established(session.heard(now)), vec![]),
        Event::KeepaliveTimerExpired => {
            (State::Established(session.spoke(now)), vec![Action::SendKeepalive(link.connection)])
        }
        Event::HoldTimerExpired => end_with(link, Notification::hold_timer_expired()),
        Event::Stop(cease) => end_with(link, cease.into()),
        Event::Malformed(notification) => end_with(link, notification),
        Event::Notification(notification) => end_for(link, notification),
        Event::Failed(closed) => (State::Idle, vec![Action::Ended(DownReason::Closed(closed))]),
        Event::Open(_) => end_with(link, FsmError::InEstablished.into()),
        Event::Start(_) | Event::StartPassive { .. } | Event::ConnectRetryExpired(_) | Event::Connected(_) => {
            (State::Established(session), vec![])
        }
    }
}

fn start_connect(now: Time, connection: ConnectionId) -> Step {
    (State::Connect { connection, retry_at: now + CONNECT_RETRY }, vec![Action::Connect(connection)])
}

fn start_open(now: Time, link: Link) -> Step {
    (State::OpenSent { link, hold_at: now + LARGE_HOLD_TIME }, vec![Action::SendOpen(link.connection)])
}

/// Ends a connection with a message of ours.
fn end_with(link: Link, notification: Notification) -> Step {
    let actions = vec![
        Action::SendNotification(link.connection, notification.clone()),
        Action::Close(link.connection),
        Action::Ended(DownReason::Sent(notification)),
    ];
    (State::Idle, actions)
}

/// Ends a connection for a message of the neighbor's.
fn end_for(link: Link, notification: Notification) -> Step {
    (State::Idle, vec![Action::Close(link.connection), Action::Ended(DownReason::Received(notification))])
}

impl Session {
    /// A message came: the hold timer starts anew.
    fn heard(mut self, now: Time) -> Self {
        if let Some(timers) = &mut self.timers {
            timers.hold_at = now + self.agreement.hold;
        }
        self
    }

    /// A KEEPALIVE goes out: its timer starts anew.
    fn spoke(mut self, now: Time) -> Self {
        if let Some(timers) = &mut self.timers {
            timers.keepalive_at = now + self.agreement.keepalive;
        }
        self
    }

    /// The neighbor's address.
    pub fn neighbor(&self) -> IpAddr {
        self.link.remote.ip()
    }
}

/// Whether a NOTIFICATION tells of an error, rather than of an operator's wish.
pub fn is_error(notification: &Notification) -> bool {
    !matches!(notification.error, ErrorCode::Cease(_))
}

#[cfg(test)]
mod tests;
