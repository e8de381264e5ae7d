//! A TCP connection over a channel. The other end of the channel is the peer's library or the socket server; only the
//! words for its sudden death tell which.

use std::time::{Duration, Instant};

use ipc::InterfaceName;
use ipc::channel::{Channel, Side};
use ipc::error::ChannelError;
use stack_api::options::KeepAlive;
use stack_api::socket::{Addresses, ConnectResult, SocketError};

use crate::counters::Traffic;
use crate::mark::Mark;
use crate::readiness::Readiness;

/// A writer that found no room is woken for this much, or for what it has left: being woken for every few bytes that
/// the reader takes would cost a switch of processes each.
const ROOM_WORTH_WAKING_FOR: usize = 64 * 1024;

/// Free bytes from which on a connection counts as writable for who looks without waiting. Much less than the smallest
/// window of a ring: it is writers that find too little who make the ring move on to a larger one, and one that looks
/// before each few writes would never find that.
const ROOM_WORTH_WRITING: usize = 256;

/// Longest look at a channel before a waiting call sleeps: many times what a peer that is awake takes to answer, and
/// about what being woken costs. Only where no stack is in between, whose threads need the CPUs.
pub const SPIN: Duration = Duration::from_micros(50);

/// Which way a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Over an inter-VR interface: the peer's library holds the other end.
    InterVr(InterfaceName),
    /// Through the stack: the socket server holds the other end.
    Stack,
}

/// What [`receive`](crate::Library::receive) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The peer has closed its side, and everything before that was read.
    EndOfFile,
    /// Nothing has arrived.
    NothingYet,
}

/// Which direction of a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing more is received.
    Read,
    /// Nothing more is sent.
    Write,
    /// Both.
    Both,
}

/// Whether bytes pass: an inter-VR interface that is shut stops them as a cut wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// They do.
    Open,
    /// They do not.
    Closed,
}

/// What a stream's user is to be told after its bell rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    pub readable: bool,
    /// Only where a send found no room before.
    pub writable: bool,
}

/// Why a connection is over, and whether its user knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// As errno does, the first call that fails says why.
    Untold(SocketError),
    Told,
}

/// A TCP connection: what a program has of one that the library has [lent](crate::Library::lend) it.
#[derive(Debug)]
pub struct Stream {
    channel: Channel,
    addresses: Addresses,
    path: Path,
    gate: Gate,
    /// No route leads to the peer, or none back.
    cut: bool,
    /// What this side signs and sends with.
    mark: Mark,
    /// What the peer showed when that was last compared.
    peer_mark: u64,
    /// When the gate was closed, if it is.
    stopped_at: Option<Instant>,
    /// Since when something waits behind the closed gate.
    unsent_since: Option<Instant>,
    /// Whether the inter-VR interface has once led to the peer's address.
    led_there: bool,
    failure: Option<Failure>,
    /// The peer's process is gone, and had read all: an end of file, as if it had closed.
    peer_died: bool,
    read_shut: bool,
    write_shut: bool,
    room_wanted: bool,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Stream {
    /// A connection over a channel. `addresses`: own ones as source, the peer's as destination.
    pub(crate) fn new(mut channel: Channel, addresses: Addresses, path: Path) -> Self {
        if matches!(path, Path::InterVr(_)) {
            channel.set_spin(SPIN);
        }
        Self {
            channel,
            addresses,
            path,
            gate: Gate::Open,
            cut: false,
            mark: Mark::default(),
            peer_mark: 0,
            stopped_at: None,
            unsent_since: None,
            led_there: false,
            failure: None,
            peer_died: false,
            read_shut: false,
            write_shut: false,
            room_wanted: false,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    /// Own address and port as source, the peer's as destination.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Which way it goes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is registered with the event loop.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic { connections: 1, bytes_sent: self.bytes_sent, bytes_received: self.bytes_received }
    }

    /// Sends what fits. If that is not all, the bell is armed for more room. What is sent to a peer that has closed is
    /// lost, as on a wire, and the next call says so: the peer's reset comes after it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, SocketError> {
        let mut sent = self.put(bytes)?;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.channel.arm_write(rest.len().min(ROOM_WORTH_WAKING_FOR)) {
                Ok(true) => {
                    self.room_wanted = true;
                    break;
                }
                Ok(false) => match self.put(rest) {
                    Ok(more) => sent += more,
                    // The part that went is said; the next call says the error.
                    Err(error) => {
                        self.failure = Some(Failure::Untold(error));
                        break;
                    }
                },
                Err(error) => {
                    self.break_off(&error);
                    break;
                }
            }
        }
        Ok(sent)
    }

    /// As [`send`](Self::send), without arming the bell: for a caller that waits on the channel itself.
    #[inline(always)]
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize, SocketError> {
        self.tell_failure()?;
        if self.write_shut {
            return Err(SocketError::BrokenPipe);
        }
        match self.channel.write(bytes) {
            Ok(sent) if sent == bytes.len() || sent == 0 => {
                self.bytes_sent += sent as u64;
                Ok(sent)
            }
            Ok(sent) => self.put_rest(bytes, sent),
            Err(error) => self.failed_sending(&error, 0, bytes.len()),
        }
    }

    /// A part was sent: a larger window was entered meanwhile, or there is no more room.
    #[cold]
    fn put_rest(&mut self, bytes: &[u8], mut sent: usize) -> Result<usize, SocketError> {
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.channel.write(rest) {
                Ok(0) => break,
                Ok(written) => sent += written,
                Err(error) => {
                    self.bytes_sent += sent as u64;
                    return self.failed_sending(&error, sent, bytes.len());
                }
            }
        }
        self.bytes_sent += sent as u64;
        Ok(sent)
    }

    /// Takes what has arrived; what was written before an end comes before the end. On `NothingYet` the bell is armed.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Received, SocketError> {
        loop {
            match self.take(into)? {
                Received::NothingYet => {}
                received @ (Received::Bytes(_) | Received::EndOfFile) => return Ok(received),
            }
            match self.channel.arm_read() {
                Ok(false) if !into.is_empty() => {}
                Ok(_) => return Ok(Received::NothingYet),
                Err(error) => self.break_off(&error),
            }
        }
    }

    /// As [`receive`](Self::receive), without arming the bell: for a caller that waits on the channel itself.
    #[inline(always)]
    pub fn take(&mut self, into: &mut [u8]) -> Result<Received, SocketError> {
        self.heed_mark();
        match self.channel.read(into) {
            Ok(0) => self.take_nothing(None, into),
            Ok(bytes) => {
                self.bytes_received += bytes as u64;
                Ok(Received::Bytes(bytes))
            }
            Err(error) => self.take_nothing(Some(error), into),
        }
    }

    /// There was nothing to take, or an error. Whoever ends has written before: what came before the look at the ends is
    /// taken.
    #[cold]
    fn take_nothing(&mut self, error: Option<ChannelError>, into: &mut [u8]) -> Result<Received, SocketError> {
        match error {
            // What ends a channel is looked at below, where the whole story is known.
            None | Some(ChannelError::PeerGone | ChannelError::Reset(_) | ChannelError::Closed) => {}
            Some(error) => {
                self.break_off(&error);
                return self.end_of_receiving();
            }
        }
        self.notice_end();
        let has_ended = self.read_shut || self.peer_ended() || self.failure.is_some();
        match self.has_unread() {
            true if into.is_empty() => Ok(Received::Bytes(0)),
            true if has_ended => self.take(into),
            false if has_ended => self.end_of_receiving(),
            true | false => Ok(Received::NothingYet),
        }
    }

    /// For a caller that is to wait anyway, before it takes: [`Channel::await_answer`].
    #[inline]
    pub fn await_answer(&mut self) {
        self.channel.await_answer();
    }

    /// As [`take`](Self::take), and leaves the bytes where they are (`MSG_PEEK`).
    pub fn peek(&mut self, into: &mut [u8]) -> Result<Received, SocketError> {
        // An error is one that taking meets, and tells.
        match self.channel.peek(0, into).unwrap_or(0) {
            0 => self.take(&mut []),
            bytes => Ok(Received::Bytes(bytes)),
        }
    }

    /// Bytes that can be taken at once (`FIONREAD`).
    pub fn unread(&self) -> usize {
        if self.gate == Gate::Open { self.channel.available().unwrap_or(0) } else { 0 }
    }

    /// Bytes that have arrived since it stands, taken or not.
    pub fn arrived(&self) -> u64 {
        self.bytes_received + self.unread() as u64
    }

    /// Bytes that the peer has not taken (`SIOCOUTQ`).
    pub fn unsent(&self) -> usize {
        self.channel.unread_by_peer().unwrap_or(0)
    }

    /// What it allows as far as the rings tell, without a system call: a peer's death is not seen, nor is a bell armed.
    pub fn glance(&self) -> Readiness {
        if self.failure.is_some() {
            return Readiness::over(matches!(self.failure, Some(Failure::Untold(_))));
        }
        let read_closed = self.read_shut || self.peer_ended();
        let readable = read_closed || self.channel.has_news();
        let room = self.channel.tx.free().unwrap_or(usize::MAX);
        let writable = self.write_shut || room >= ROOM_WORTH_WRITING;
        Readiness { readable, writable, read_closed, hung_up: read_closed && self.write_shut, failed: false }
    }

    /// What is told where nothing more comes. As on Linux: behind an end of file there is nothing, whatever became of the
    /// other direction; an error is told once, and is an end of file from then on.
    fn end_of_receiving(&mut self) -> Result<Received, SocketError> {
        match self.failure {
            Some(Failure::Untold(error)) if !self.peer_ended() && !self.read_shut => {
                self.failure = Some(Failure::Told);
                Err(error)
            }
            Some(Failure::Untold(_) | Failure::Told) | None => Ok(Received::EndOfFile),
        }
    }

    /// Whether the bell, which may have rung, means something to this stream's user. Arms it for what it does not.
    pub(crate) fn news(&mut self) -> News {
        self.heed_mark();
        // An error here is one that receiving meets too, and tells.
        let is_sound = self.channel.acknowledge_bell().is_ok();
        let has_failed = matches!(self.failure, Some(Failure::Untold(_)));
        let armed = is_sound && matches!(self.channel.arm_read(), Ok(true));
        let readable = !self.read_shut && (has_failed || !armed);
        let writable = self.room_wanted && !matches!(self.channel.arm_write(ROOM_WORTH_WAKING_FOR), Ok(true));
        self.room_wanted &= !writable;
        News { readable, writable }
    }

    /// What it allows now. Arms its bell for what it does not: where bytes lie unread, for the end behind them.
    pub fn readiness(&mut self) -> Readiness {
        self.heed_mark();
        if let Err(error) = self.channel.acknowledge_bell() {
            self.break_off(&error);
        }
        let (readable, read_closed) = loop {
            self.notice_end();
            match self.failure {
                Some(Failure::Untold(_)) => return Readiness::over(true),
                Some(Failure::Told) => return Readiness::over(false),
                None => {}
            }
            if self.read_shut || self.peer_ended() {
                break (true, true);
            }
            let unread = self.channel.rx.available().unwrap_or(0);
            match self.channel.arm_peek(unread) {
                Ok(true) => break (unread > 0 && self.gate == Gate::Open, false),
                // More bytes, or the end, came in between.
                Ok(false) => {}
                // Receiving meets it too, and tells.
                Err(_) => break (true, false),
            }
        };
        self.room_wanted = matches!(self.channel.arm_write(ROOM_WORTH_WAKING_FOR), Ok(true));
        let writable = self.write_shut || !self.room_wanted;
        Readiness { readable, writable, read_closed, hung_up: read_closed && self.write_shut, failed: false }
    }

    /// Ends one direction, or both.
    pub fn shutdown(&mut self, how: Shutdown) -> Result<(), SocketError> {
        self.notice_end();
        if self.failure.is_some() {
            return Err(SocketError::NotConnected);
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            self.write_shut = true;
            self.channel.close_write();
        }
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.read_shut = true;
        }
        Ok(())
    }

    /// Closes in order, or with a reset where bytes are left unread (RFC 2525 section 2.17). Where another process has the
    /// connection too, it goes on there.
    pub fn close(mut self) {
        let left_unread = self.channel.available().is_ok_and(|bytes| bytes > 0);
        if left_unread {
            self.abort();
        } else if !self.channel.is_shared() {
            self.channel.close();
        }
    }

    /// Closes with a reset; where another process has the connection too, it goes on there.
    pub fn abort(mut self) {
        if !self.channel.is_shared() {
            self.channel.reset(SocketError::ConnectionReset.code());
        }
    }

    /// Takes a connection that nobody has used for this process alone; `false`: another process of the family was faster,
    /// and has it.
    pub fn claim(&mut self) -> bool {
        self.channel.claim()
    }

    /// Whether one of those who share it has claimed it.
    pub fn is_claimed(&self) -> bool {
        self.channel.is_claimed()
    }

    /// Whether another process has the connection too.
    pub fn is_shared(&self) -> bool {
        self.channel.is_shared()
    }

    /// This process is a forked child that has the connection from its parent, which counts what went over it until now.
    pub fn adopt(&mut self) {
        self.channel.adopt();
        (self.bytes_sent, self.bytes_received) = (0, 0);
    }

    /// The connection is over for a reason of this side.
    pub(crate) fn fail(&mut self, error: SocketError) {
        self.failure = Some(Failure::Untold(error));
        self.channel.reset(SocketError::ConnectionReset.code());
    }

    /// Whether bytes pass.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Whether routes lead to the peer and back. The gate is open while they do and both sides' marks suit each other.
    pub(crate) fn set_cut(&mut self, now: Instant, cut: bool) {
        self.cut = cut;
        self.move_gate(now);
    }

    /// Shows the peer what this side signs and sends with from now on.
    pub(crate) fn set_mark(&mut self, mark: Mark) {
        if mark == self.mark {
            return;
        }
        let is_change = self.mark != Mark::default();
        self.mark = mark;
        self.channel.set_mark(mark.word());
        self.peer_mark = self.channel.peer_mark();
        self.move_gate(Instant::now());
        // At the beginning both have what they were opened with, and nobody needs to be woken.
        if is_change && let Err(error) = self.channel.call() {
            log::debug!("tell a peer of another key: {error}");
        }
    }

    /// Whether the connection was opened here.
    pub fn is_opener(&self) -> bool {
        self.channel.side() == Side::Opener
    }

    /// The peer may have another key, or another TTL.
    #[inline]
    fn heed_mark(&mut self) {
        let peer_mark = self.channel.peer_mark();
        if peer_mark != self.peer_mark {
            self.peer_mark = peer_mark;
            self.move_gate(Instant::now());
        }
    }

    #[cold]
    fn move_gate(&mut self, now: Instant) {
        let passes = !self.cut && self.mark.suits(self.peer_mark);
        let gate = if passes { Gate::Open } else { Gate::Closed };
        if gate != self.gate {
            self.set_gate(now, gate);
        }
    }

    fn set_gate(&mut self, now: Instant, gate: Gate) {
        self.gate = gate;
        self.stopped_at = (gate == Gate::Closed).then_some(now);
        self.unsent_since = None;
        self.channel.set_gate(gate == Gate::Closed);
    }

    /// Whether the peer's address counts for the gate: only once the interface has led there. (A peer may be reached
    /// by an address that the manager does not list as a source.)
    pub(crate) fn still_leads(&mut self, leads_there: bool) -> bool {
        self.led_there |= leads_there;
        leads_there || !self.led_there
    }

    /// When the connection ends behind a closed gate: as on a wire that is cut, what was sent waits for the user timeout,
    /// and an idle connection is probed in vain.
    pub(crate) fn gives_up_at(
        &mut self,
        now: Instant,
        user_timeout: Duration,
        keepalive: Option<KeepAlive>,
    ) -> Option<Instant> {
        let stopped_at = self.stopped_at?;
        if self.has_unsent() {
            return Some(*self.unsent_since.get_or_insert(now) + user_timeout);
        }
        self.unsent_since = None;
        keepalive.map(|probing| stopped_at + probing.gives_up_after())
    }

    /// How much is taken from the user at most before the peer has taken it.
    pub fn set_send_buffer(&mut self, bytes: usize) {
        self.channel.tx.limit_stream(bytes);
    }

    /// Why the connection is over, if it is and nobody was told.
    pub fn take_error(&mut self) -> Option<SocketError> {
        self.notice_end();
        match self.failure {
            Some(Failure::Untold(error)) => {
                self.failure = Some(Failure::Told);
                Some(error)
            }
            Some(Failure::Told) | None => None,
        }
    }

    /// Whether the peer has not taken all that was sent.
    pub fn has_unsent(&self) -> bool {
        self.channel.unread_by_peer().is_ok_and(|bytes| bytes > 0)
    }

    /// Waits until [`receive`](Self::receive) finds something, at most for `limit`. `false`: it does not.
    pub fn wait_readable(&mut self, limit: Duration) -> Result<bool, SocketError> {
        // An error is one that receiving meets, and tells.
        Ok(self.channel.wait_readable(Some(limit)).unwrap_or(true))
    }

    /// Waits until [`send`](Self::send) finds room for a part of `bytes`, at most for `limit`. `false`: it does not.
    pub fn wait_writable(&mut self, bytes: usize, limit: Duration) -> Result<bool, SocketError> {
        let room = bytes.min(ROOM_WORTH_WAKING_FOR);
        Ok(self.channel.wait_writable(room, Some(limit)).unwrap_or(true))
    }

    /// Looks out for room for a part of `bytes`, as long as is usual, and never sleeps. `false`: there is none.
    pub fn look_out_writable(&mut self, bytes: usize) -> bool {
        // An error is one that sending meets, and tells.
        self.channel.look_out_writable(bytes.min(ROOM_WORTH_WAKING_FOR)).unwrap_or(true)
    }

    /// Whether nothing that was sent is still to be acknowledged. Over an inter-VR interface what lies in the ring is,
    /// while bytes pass. Who is gone acknowledges nothing more.
    pub fn is_acknowledged(&self) -> bool {
        (self.path != Path::Stack && self.gate == Gate::Open) || !self.has_unsent() || self.channel.peer_closed()
    }

    /// Waits until the other end of the channel has taken everything, at most for `limit`. `false`: it has not.
    pub fn wait_taken(&mut self, limit: Duration) -> Result<bool, SocketError> {
        self.channel.wait_writable(usize::MAX, Some(limit)).map_err(|error| {
            self.break_off(&error);
            SocketError::ConnectionReset
        })
    }

    fn has_unread(&self) -> bool {
        self.gate == Gate::Open && self.channel.available().is_ok_and(|bytes| bytes > 0)
    }

    /// Whether the peer sends no more: it said so, or its kernel would have said so for it.
    fn peer_ended(&self) -> bool {
        self.gate == Gate::Open && (self.channel.rx.peer_closed() || self.peer_died)
    }

    /// Takes note if the connection is over for a reason that lies in the channel.
    fn notice_end(&mut self) {
        if self.failure.is_some() || self.gate == Gate::Closed {
            return;
        }
        // In this order: who resets and then dies has reset.
        let gone = self.channel.peer_closed();
        let reset = self.channel.rx.reset_by_peer().or(self.channel.tx.reset_by_peer());
        let error = match (reset, &self.path) {
            (Some(code), _) => SocketError::from_code(code),
            (None, Path::Stack) if gone && !self.channel.rx.peer_closed() => SocketError::NetworkDown,
            (None, Path::InterVr(_)) if gone && self.has_unsent() => SocketError::ConnectionReset,
            (None, Path::InterVr(_)) => {
                self.peer_died |= gone;
                return;
            }
            (None, Path::Stack) => return,
        };
        self.failure = Some(Failure::Untold(error));
    }

    /// Tells why the connection is over, once; from then on that it is.
    #[inline]
    fn tell_failure(&mut self) -> Result<(), SocketError> {
        match self.failure {
            None => Ok(()),
            Some(Failure::Untold(error)) => {
                self.failure = Some(Failure::Told);
                Err(error)
            }
            Some(Failure::Told) => Err(SocketError::BrokenPipe),
        }
    }

    /// The channel ended before all of `wanted` bytes were sent. What goes to a peer that has closed, or died, is lost on
    /// the way. Else the part that went is said, and the next call says the error.
    #[cold]
    fn failed_sending(&mut self, error: &ChannelError, sent: usize, wanted: usize) -> Result<usize, SocketError> {
        self.notice_end();
        match error {
            ChannelError::PeerGone | ChannelError::PeerClosedReading if self.failure.is_none() => {
                self.failure = Some(Failure::Untold(SocketError::BrokenPipe));
                return Ok(wanted);
            }
            // Another process that has the connection too has shut it for both.
            ChannelError::Closed if self.failure.is_none() => {
                self.write_shut = true;
                return if sent > 0 { Ok(sent) } else { Err(SocketError::BrokenPipe) };
            }
            ChannelError::PeerGone | ChannelError::PeerClosedReading | ChannelError::Closed => {
                self.failure.get_or_insert(Failure::Untold(SocketError::BrokenPipe));
            }
            other => self.break_off(other),
        }
        if sent > 0 { Ok(sent) } else { self.tell_failure().map(|()| sent) }
    }

    /// A channel that lies or fails is broken off.
    fn break_off(&mut self, error: &ChannelError) {
        if self.failure.is_some() {
            return;
        }
        let Addresses { source, destination } = self.addresses;
        log::warn!("connection {source} to {destination} broken off: {error}");
        self.channel.reset(SocketError::ConnectionReset.code());
        self.failure = Some(Failure::Untold(SocketError::ConnectionReset));
    }
}

/// The first record of a channel to the socket server, if it is there: how the handshake went.
pub(crate) fn connect_result(channel: &mut Channel) -> Result<Option<ConnectResult>, SocketError> {
    let mut record = Vec::new();
    loop {
        let is_there = channel.acknowledge_bell().and_then(|_| channel.read_record(&mut record));
        match is_there {
            Ok(true) => {
                return postcard::from_bytes(&record).map(Some).map_err(|error| {
                    log::error!("the socket server's answer to a connect: {error}");
                    SocketError::ConnectionReset
                });
            }
            Ok(false) if channel.is_finished() => return Err(SocketError::ConnectionReset),
            Ok(false) => {}
            Err(ChannelError::Reset(code)) => return Err(SocketError::from_code(code)),
            Err(error) => {
                log::debug!("the socket server during a connect: {error}");
                return Err(SocketError::NetworkDown);
            }
        }
        if matches!(channel.arm_read(), Ok(true)) {
            return Ok(None);
        }
    }
}
