//! A connection: its parts, what the application and the internet layer may ask of it, and its timers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::ReceiveSink;
use super::config::{Config, KeepAlive};
use super::receive::{AckNeed, Receive, window_shift};
use super::send::Send;
use super::state::{Opened, State, Transition};
use super::timers::{Timer, Timers};
use crate::time::Time;
use crate::wire::tcp::{SeqNumber, TcpFlags, TcpRepr, TcpSegment};

/// The least MSS that is believed, from a peer or an ICMP error: Linux's `TCP_MIN_SND_MSS` and room for options.
const MINIMUM_MAX_SEGMENT: usize = 88;
/// IP and TCP headers without options.
const HEADERS_V4: usize = 40;
const HEADERS_V6: usize = 60;
/// Challenge acknowledgments a second (RFC 5961 section 7), a connection.
const CHALLENGES_PER_SECOND: u32 = 10;

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done.
    Connected,
    /// The peer sends no more; the sink has everything, and its end of file.
    RemoteFinished,
    /// CLOSED after an orderly end: forget the connection.
    Closed,
    /// CLOSED for this reason: forget the connection once [`Connection::poll_transmit`] has said all.
    Failed(ConnectionError),
}

/// Why a connection ended out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionError {
    /// The peer reset it: `ECONNRESET`.
    Reset,
    /// The peer, which had sent its end before, reset it: it does not take what we still send. `EPIPE`, as on Linux.
    ResetAfterEnd,
    /// The peer, or its host, refused to open it: `ECONNREFUSED`.
    Refused,
    /// The peer stopped answering: `ETIMEDOUT`.
    TimedOut,
    /// The network could not deliver the SYN: `ENETUNREACH`, `EHOSTUNREACH`.
    Unreachable(Unreachability),
    /// The application aborted it.
    Aborted,
}

/// What an ICMP error says cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unreachability {
    /// No route.
    Network,
    /// The last router could not reach the host.
    Host,
    /// The host has no such protocol or port.
    Port,
}

/// What both sides agreed on; until the peer's SYN, what we offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub window_scaling: bool,
    pub sack: bool,
    pub timestamps: bool,
}

/// Counts challenge acknowledgments of the current second.
#[derive(Debug, Clone, Copy, Default)]
struct ChallengeLimit {
    since: Time,
    sent: u32,
}

/// A TCP connection without input or output.
///
/// ```
/// use isthmus_stack::time::Time;
/// use isthmus_stack::transport::tcp::{Config, Connection, IsnGenerator, SendSource, State};
///
/// struct Nothing;
/// impl SendSource for Nothing {
///     fn available(&self) -> usize { 0 }
///     fn copy(&self, _ahead: usize, _into: &mut [u8]) -> usize { 0 }
///     fn consume(&mut self, _bytes: usize) {}
///     fn finished(&self) -> bool { false }
/// }
///
/// let (local, remote) = ("10.0.0.1:40000".parse()?, "10.0.0.2:179".parse()?);
/// let now = Time::ZERO;
/// let iss = IsnGenerator::default().next(now, 0, local, remote);
/// let mut connection = Connection::connect(now, Config::default(), local, remote, iss);
/// let syn = connection.poll_transmit(now, &Nothing, &mut [0; 1500]).map(|out| out.repr);
/// assert_eq!(syn.and_then(|syn| syn.options.max_segment), Some(1460));
/// assert_eq!(connection.state(), State::SynSent);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    pub(super) config: Config,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: State,
    pub(super) send: Send,
    pub(super) receive: Receive,
    pub(super) timers: Timers,
    pub(super) offer: Offer,
    pub(super) syn_pending: bool,
    pub(super) probe_pending: bool,
    pub(super) reset_pending: Option<TcpRepr>,
    /// The application closed its writing side by [`Connection::close`].
    pub(super) closing: bool,
    /// The application is gone: arriving data is answered by a reset.
    pub(super) orphaned: bool,
    /// The persist timer lets one small segment into a small window.
    pub(super) force_small: bool,
    pub(super) persist_backoff: u32,
    pub(super) last_sent: Time,
    unanswered_probes: u32,
    challenges: ChallengeLimit,
    timestamp_offset: u32,
    events: VecDeque<Event>,
}

impl Connection {
    /// Opens a connection; its SYN is the first thing that [`Connection::poll_transmit`] gives.
    pub fn connect(now: Time, config: Config, local: SocketAddr, remote: SocketAddr, iss: SeqNumber) -> Self {
        Self::new(now, config, local, remote, iss, State::SynSent)
    }

    /// Answers a SYN that reached a listener; `None` for any other segment.
    pub fn accept(
        now: Time,
        config: Config,
        local: SocketAddr,
        remote: SocketAddr,
        syn: &TcpSegment<'_>,
        iss: SeqNumber,
    ) -> Option<Self> {
        let flags = syn.repr.flags;
        if !flags.contains(TcpFlags::SYN) || flags.contains(TcpFlags::ACK) || flags.contains(TcpFlags::RST) {
            return None;
        }
        let mut connection = Self::new(now, config, local, remote, iss, State::SynReceived(Opened::Passively));
        connection.take_syn(now, &syn.repr);
        Some(connection)
    }

    fn new(now: Time, config: Config, local: SocketAddr, remote: SocketAddr, iss: SeqNumber, state: State) -> Self {
        let max_segment = usize::from(config.max_segment).max(MINIMUM_MAX_SEGMENT);
        let shift = if config.window_scaling { window_shift(config.receive_bytes) } else { 0 };
        let mut timers = Timers::default();
        timers.set(Timer::UserTimeout, now + config.connect_timeout);
        Connection {
            config,
            local,
            remote,
            state,
            send: Send::new(iss, max_segment, config.minimum_rto),
            receive: Receive::new(config.receive_bytes, max_segment, shift),
            timers,
            offer: Offer {
                window_scaling: config.window_scaling,
                sack: config.sack,
                timestamps: config.timestamps && !config.signed,
            },
            syn_pending: true,
            probe_pending: false,
            reset_pending: None,
            closing: false,
            orphaned: false,
            force_small: false,
            persist_backoff: 0,
            last_sent: now,
            unanswered_probes: 0,
            challenges: ChallengeLimit::default(),
            // The timestamp clock must not tell strangers how long we have been up.
            timestamp_offset: iss.0,
            events: VecDeque::new(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Our address and port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address and port.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The largest segment that is sent, options included: the least of both sides' MSS and the path's.
    pub fn max_segment(&self) -> usize {
        self.send.max_segment
    }

    /// The smoothed round-trip time, once measured.
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.send.round_trip.smoothed()
    }

    /// What happened; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Connection::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Other settings for a connection that lives: Nagle's algorithm, the user timeout, probing. Deadlines that run are
    /// counted anew from now.
    pub fn set_options(
        &mut self,
        now: Time,
        nodelay: bool,
        user_timeout: Option<Duration>,
        keepalive: Option<KeepAlive>,
    ) {
        self.config.nodelay = nodelay;
        if std::mem::replace(&mut self.config.user_timeout, user_timeout) != user_timeout
            && self.state.is_synchronized()
            && self.timers.runs(Timer::UserTimeout)
        {
            self.timers.set(Timer::UserTimeout, now + self.config.patience());
        }
        if std::mem::replace(&mut self.config.keepalive, keepalive) != keepalive {
            self.timers.stop(Timer::KeepAlive);
            self.heard(now);
        }
    }

    /// Closes our direction: FIN follows what the source holds then. The same as a source that says it is finished.
    pub fn close(&mut self) {
        match self.state {
            State::SynSent => self.end(Event::Closed),
            State::SynReceived(_)
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => self.closing = true,
            State::Closed => {}
        }
    }

    /// The application let go of the socket: as [`Connection::close`], and nobody will read. Data that still comes is answered by
    /// a reset (RFC 9293 section 3.6.1), and FIN-WAIT-2 does not wait for ever.
    pub fn orphan(&mut self, now: Time) {
        self.orphaned = true;
        if self.state == State::FinWait2 {
            self.timers.set_once(Timer::TimeWait, now + self.config.time_wait);
        }
        self.close();
    }

    /// Ends it at once; the peer gets a reset (RFC 9293 section 3.10.5).
    pub fn abort(&mut self) {
        match self.state {
            State::Closed => return,
            State::TimeWait | State::SynSent => {}
            State::SynReceived(_)
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => {
                self.reset_pending = Some(TcpRepr {
                    source_port: self.local.port(),
                    destination_port: self.remote.port(),
                    sequence: self.send.nxt,
                    acknowledgment: self.receive.nxt,
                    flags: TcpFlags::RST | TcpFlags::ACK,
                    ..TcpRepr::default()
                });
            }
        }
        self.end(Event::Failed(ConnectionError::Aborted));
    }

    /// The reader made room in the sink: delivers what waited for it, and tells the peer when that is worth a segment.
    pub fn handle_drained(&mut self, now: Time, sink: &mut dyn ReceiveSink) {
        self.receive.room = sink.room();
        if !self.state.can_receive() {
            return;
        }
        self.receive.drain(sink);
        self.finish_if_reached(now, sink);
        if self.receive.wants_window_update() {
            self.receive.ack = AckNeed::Now;
        }
    }

    /// The path takes packets of at most `mtu_bytes` (RFC 1191, RFC 8201). `quoted` is the sequence number in the packet that the
    /// ICMP error quotes: an error about something that is not in flight is a forgery (RFC 5927 section 4).
    pub fn handle_path_mtu(&mut self, mtu_bytes: usize, quoted: SeqNumber) {
        let headers = if self.local.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
        let max_segment = mtu_bytes.saturating_sub(headers).max(MINIMUM_MAX_SEGMENT);
        if self.is_in_flight(quoted) && max_segment < self.send.max_segment {
            self.send.shrink_segments(max_segment);
        }
    }

    /// An ICMP error says that a segment of ours did not arrive. It ends an open; an established connection goes on
    /// (RFC 5927 section 5.2).
    pub fn handle_unreachable(&mut self, what: Unreachability, quoted: SeqNumber) {
        let opening = matches!(self.state, State::SynSent | State::SynReceived(Opened::Actively));
        if opening && self.is_in_flight(quoted) {
            self.fail(match what {
                Unreachability::Port => ConnectionError::Refused,
                Unreachability::Network | Unreachability::Host => ConnectionError::Unreachable(what),
            });
        }
    }

    fn is_in_flight(&self, sequence: SeqNumber) -> bool {
        !sequence.before(self.send.una) && sequence.before(self.send.nxt)
    }

    /// Acts on every timer that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Retransmit => self.retransmission_timed_out(now),
                Timer::DelayedAck => self.receive.ack = AckNeed::Now,
                Timer::Persist => {
                    self.persist_backoff = self.persist_backoff.saturating_add(1);
                    match self.send.usable_window() {
                        0 => self.probe_pending = true,
                        _ => self.force_small = true,
                    }
                }
                Timer::TimeWait => self.end(Event::Closed),
                Timer::UserTimeout => self.fail(ConnectionError::TimedOut),
                Timer::KeepAlive => self.probe_idle_peer(now),
            }
        }
    }

    fn retransmission_timed_out(&mut self, now: Time) {
        match self.state {
            State::SynSent | State::SynReceived(_) => {
                self.send.round_trip.back_off(now);
                self.syn_pending = true;
            }
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => {
                if self.send.in_flight() > 0 {
                    self.send.timed_out(now);
                }
            }
            State::Closed => {}
        }
    }

    fn probe_idle_peer(&mut self, now: Time) {
        let Some(keepalive) = self.config.keepalive else { return };
        if self.unanswered_probes >= keepalive.probes {
            return self.fail(ConnectionError::TimedOut);
        }
        // Data in flight probes the peer by itself.
        if self.send.in_flight() == 0 {
            self.unanswered_probes += 1;
            self.probe_pending = true;
        }
        self.timers.set(Timer::KeepAlive, now + keepalive.interval);
    }

    /// A segment of the peer came in.
    pub(super) fn heard(&mut self, now: Time) {
        self.unanswered_probes = 0;
        if let Some(keepalive) =
            self.config.keepalive.filter(|_| self.state.is_synchronized() && self.state != State::TimeWait)
        {
            self.timers.set(Timer::KeepAlive, now + keepalive.idle);
        }
    }

    /// Moves on; a transition that the state does not know changes nothing.
    pub(super) fn advance(&mut self, transition: Transition) {
        if let Some(state) = self.state.after(transition) {
            self.state = state;
        }
    }

    /// Our FIN was acknowledged.
    pub(super) fn fin_acknowledged(&mut self, now: Time) {
        self.advance(Transition::FinAcknowledged);
        match self.state {
            State::TimeWait => self.wait_out(now),
            State::Closed => self.end(Event::Closed),
            State::FinWait2 if self.orphaned => self.timers.set_once(Timer::TimeWait, now + self.config.time_wait),
            State::FinWait2
            | State::SynSent
            | State::SynReceived(_)
            | State::Established
            | State::FinWait1
            | State::CloseWait
            | State::Closing
            | State::LastAck => {}
        }
    }

    /// Passes end of file on once everything before the peer's FIN was delivered.
    pub(super) fn finish_if_reached(&mut self, now: Time, sink: &mut dyn ReceiveSink) {
        if !self.state.can_receive() || !self.receive.reach_fin() {
            return;
        }
        sink.finish();
        self.receive.ack = AckNeed::Now;
        self.events.push_back(Event::RemoteFinished);
        self.advance(Transition::FinReceived);
        if self.state == State::TimeWait {
            self.wait_out(now);
        }
    }

    /// TIME-WAIT begins, or begins anew.
    pub(super) fn wait_out(&mut self, now: Time) {
        self.timers.stop_all();
        self.timers.set(Timer::TimeWait, now + self.config.time_wait);
    }

    /// The handshake is done.
    pub(super) fn established(&mut self, now: Time) {
        self.advance(Transition::SynAcknowledged);
        self.syn_pending = false;
        self.timers.stop_all();
        self.last_sent = now;
        self.heard(now);
        self.events.push_back(Event::Connected);
    }

    /// CLOSED for `error`.
    pub(super) fn fail(&mut self, error: ConnectionError) {
        self.end(Event::Failed(error));
    }

    fn end(&mut self, event: Event) {
        self.events.push_back(event);
        self.state = State::Closed;
        self.syn_pending = false;
        self.timers.stop_all();
    }

    /// Whether one more challenge acknowledgment may go out this second.
    pub(super) fn may_challenge(&mut self, now: Time) -> bool {
        if now.since(self.challenges.since) >= Duration::from_secs(1) {
            self.challenges = ChallengeLimit { since: now, sent: 0 };
        }
        self.challenges.sent += 1;
        self.challenges.sent <= CHALLENGES_PER_SECOND
    }

    /// The clock of our timestamps: milliseconds (RFC 7323 section 5.4).
    pub(super) fn timestamp_clock(&self, now: Time) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.timestamp_offset)
    }

    /// The MSS that a peer's SYN announced; 536 where it did not (RFC 9293 section 3.7.1).
    pub(super) fn set_peer_max_segment(&mut self, announced: Option<u16>) {
        let default = if self.local.is_ipv4() { 536 } else { 1220 };
        let announced = usize::from(announced.unwrap_or(default)).max(MINIMUM_MAX_SEGMENT);
        self.send.max_segment = self.send.max_segment.min(announced);
        self.send.congestion = super::congestion::Congestion::new(self.send.max_segment);
    }
}
