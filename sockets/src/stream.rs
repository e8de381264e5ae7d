//! A TCP connection over a channel. The other end of the channel is the peer's library or the socket server; only the
//! words for its sudden death tell which.

use std::time::{Duration, Instant};

use ipc::InterfaceName;
use ipc::channel::Channel;
use ipc::error::ChannelError;
use stack_api::options::KeepAlive;
use stack_api::socket::{Addresses, ConnectResult, SocketError};

use crate::counters::Traffic;

/// A writer that found no room is woken for this much, or for what it has left: being woken for every few bytes that
/// the reader takes would cost a switch of processes each.
const ROOM_WORTH_WAKING_FOR: usize = 64 * 1024;

/// Longest look at a channel before a waiting call sleeps: many times what a peer that is awake takes to answer, and
/// about what being woken costs. Only where no stack is in between, whose threads need the CPUs.
const SPIN: Duration = Duration::from_micros(50);

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
pub(crate) enum Gate {
    Open,
    Closed,
}

/// What a stream's channel allows at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readiness {
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

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Stream {
    channel: Channel,
    addresses: Addresses,
    path: Path,
    gate: Gate,
    /// When the gate was closed, if it is.
    stopped_at: Option<Instant>,
    /// Since when something waits behind the closed gate.
    unsent_since: Option<Instant>,
    /// Whether the inter-VR interface has once led to the peer's address.
    led_there: bool,
    failure: Option<Failure>,
    read_shut: bool,
    write_shut: bool,
    room_wanted: bool,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Stream {
    /// A connection over a channel. `addresses`: own ones as source, the peer's as destination.
    pub fn new(mut channel: Channel, addresses: Addresses, path: Path) -> Self {
        if matches!(path, Path::InterVr(_)) {
            channel.set_spin(SPIN);
        }
        Self {
            channel,
            addresses,
            path,
            gate: Gate::Open,
            stopped_at: None,
            unsent_since: None,
            led_there: false,
            failure: None,
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

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is registered with the event loop.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    pub fn traffic(&self) -> Traffic {
        Traffic { connections: 1, bytes_sent: self.bytes_sent, bytes_received: self.bytes_received }
    }

    /// Sends what fits. If that is not all, the bell is armed for more room.
    pub fn send(&mut self, bytes: &[u8]) -> Result<usize, SocketError> {
        let mut sent = self.put(bytes)?;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.channel.arm_write(rest.len().min(ROOM_WORTH_WAKING_FOR)) {
                Ok(true) => {
                    self.room_wanted = true;
                    break;
                }
                Ok(false) => sent += self.put(rest)?,
                Err(error) => return Err(self.fail_sending(error)),
            }
        }
        Ok(sent)
    }

    /// As [`send`](Self::send), without arming the bell: for a caller that waits on the channel itself.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize, SocketError> {
        self.tell_failure(SocketError::BrokenPipe)?;
        if self.write_shut {
            return Err(SocketError::BrokenPipe);
        }
        let mut sent = 0;
        // More than once where a larger window was entered meanwhile, or the ring's end lies between.
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.channel.write(rest) {
                Ok(0) => break,
                Ok(written) => sent += written,
                Err(error) => return Err(self.fail_sending(error)),
            }
        }
        self.bytes_sent += sent as u64;
        Ok(sent)
    }

    /// Takes what has arrived; what was written before an end comes before the end. On `NothingYet` the bell is armed.
    pub fn receive(&mut self, into: &mut [u8]) -> Result<Received, SocketError> {
        loop {
            match self.take(into)? {
                Received::NothingYet if into.is_empty() => return Ok(Received::NothingYet),
                Received::NothingYet => {}
                received @ (Received::Bytes(_) | Received::EndOfFile) => return Ok(received),
            }
            match self.channel.arm_read() {
                Ok(true) => return Ok(Received::NothingYet),
                Ok(false) => {}
                Err(error) => return self.end_of_receiving(error),
            }
        }
    }

    /// As [`receive`](Self::receive), without arming the bell: for a caller that waits on the channel itself.
    pub fn take(&mut self, into: &mut [u8]) -> Result<Received, SocketError> {
        if self.read_shut {
            return Ok(Received::EndOfFile);
        }
        match self.channel.read(into) {
            Ok(0) => {}
            Ok(bytes) => {
                self.bytes_received += bytes as u64;
                return Ok(Received::Bytes(bytes));
            }
            Err(error) => return self.end_of_receiving(error),
        }
        match self.failure {
            Some(Failure::Untold(error)) => {
                self.failure = Some(Failure::Told);
                Err(error)
            }
            Some(Failure::Told) => Ok(Received::EndOfFile),
            None if self.channel.is_finished() => Ok(Received::EndOfFile),
            None => Ok(Received::NothingYet),
        }
    }

    /// Whether the bell, which may have rung, means something to this stream's user. Arms it for what it does not.
    pub fn readiness(&mut self) -> Readiness {
        // An error here is one that receiving meets too, and tells.
        let is_sound = self.channel.acknowledge_bell().is_ok();
        let has_failed = matches!(self.failure, Some(Failure::Untold(_)));
        let armed = is_sound && matches!(self.channel.arm_read(), Ok(true));
        let readable = !self.read_shut && (has_failed || !armed);
        let writable = self.room_wanted && !matches!(self.channel.arm_write(ROOM_WORTH_WAKING_FOR), Ok(true));
        self.room_wanted &= !writable;
        Readiness { readable, writable }
    }

    /// Ends one direction, or both.
    pub fn shutdown(&mut self, how: Shutdown) -> Result<(), SocketError> {
        self.tell_failure(SocketError::NotConnected)?;
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            self.write_shut = true;
            self.channel.close_write();
        }
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.read_shut = true;
        }
        Ok(())
    }

    /// Closes in order, or with a reset where bytes are left unread (RFC 2525 section 2.17).
    pub fn close(mut self) {
        let left_unread = self.channel.rx.available().is_ok_and(|bytes| bytes > 0);
        if left_unread {
            self.abort();
        } else {
            self.channel.close();
        }
    }

    /// Closes with a reset.
    pub fn abort(mut self) {
        self.channel.reset(SocketError::ConnectionReset.code());
    }

    /// The connection is over for a reason of this side.
    pub fn fail(&mut self, error: SocketError) {
        self.failure = Some(Failure::Untold(error));
        self.channel.reset(SocketError::ConnectionReset.code());
    }

    pub fn gate(&self) -> Gate {
        self.gate
    }

    pub fn set_gate(&mut self, now: Instant, gate: Gate) {
        self.gate = gate;
        self.stopped_at = (gate == Gate::Closed).then_some(now);
        self.unsent_since = None;
        self.channel.set_gate(gate == Gate::Closed);
    }

    /// Whether the peer's address counts for the gate: only once the interface has led there. (A peer may be reached
    /// by an address that the manager does not list as a source.)
    pub fn still_leads(&mut self, leads_there: bool) -> bool {
        self.led_there |= leads_there;
        leads_there || !self.led_there
    }

    /// When the connection ends behind a closed gate: as on a wire that is cut, what was sent waits for the user timeout,
    /// and an idle connection is probed in vain.
    pub fn gives_up_at(
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
        let error = match self.failure {
            Some(Failure::Told) => None,
            Some(Failure::Untold(error)) => Some(error),
            // Through a cut wire no reset arrives.
            None if self.gate == Gate::Closed => None,
            None => self.channel.rx.reset_by_peer().map(SocketError::from_code),
        };
        if error.is_some() {
            self.failure = Some(Failure::Told);
        }
        error
    }

    /// Whether the peer has not taken all that was sent.
    pub fn has_unsent(&self) -> bool {
        self.channel.unread_by_peer().is_ok_and(|bytes| bytes > 0)
    }

    /// Waits until [`receive`](Self::receive) finds something, at most for `limit`. `false`: it does not.
    pub fn wait_readable(&mut self, limit: Duration) -> Result<bool, SocketError> {
        self.channel.wait_readable(Some(limit)).or_else(|error| self.end_of_receiving(error).map(|_| true))
    }

    /// Waits until [`send`](Self::send) finds room for a part of `bytes`, at most for `limit`. `false`: it does not.
    pub fn wait_writable(&mut self, bytes: usize, limit: Duration) -> Result<bool, SocketError> {
        let room = bytes.min(ROOM_WORTH_WAKING_FOR);
        self.channel.wait_writable(room, Some(limit)).map_err(|error| self.fail_sending(error))
    }

    /// Whether nothing that was sent is still to be acknowledged. Over an inter-VR interface what lies in the ring is,
    /// while bytes pass.
    pub fn is_acknowledged(&self) -> bool {
        (self.path != Path::Stack && self.gate == Gate::Open) || !self.has_unsent()
    }

    /// Waits until the other end of the channel has taken everything, at most for `limit`. `false`: it has not.
    pub fn wait_taken(&mut self, limit: Duration) -> Result<bool, SocketError> {
        self.channel.wait_writable(usize::MAX, Some(limit)).map_err(|error| self.fail_sending(error))
    }

    /// Tells why the connection is over, once; from then on `afterwards`.
    fn tell_failure(&mut self, afterwards: SocketError) -> Result<(), SocketError> {
        match self.failure {
            None => Ok(()),
            Some(Failure::Untold(error)) => {
                self.failure = Some(Failure::Told);
                Err(error)
            }
            Some(Failure::Told) => Err(afterwards),
        }
    }

    fn fail_sending(&mut self, error: ChannelError) -> SocketError {
        let error = match error {
            ChannelError::PeerGone if self.path == Path::Stack => SocketError::NetworkDown,
            ChannelError::PeerGone if self.has_unsent() => SocketError::ConnectionReset,
            ChannelError::PeerGone | ChannelError::PeerClosedReading | ChannelError::Closed => SocketError::BrokenPipe,
            other => self.broken(other),
        };
        self.failure = Some(Failure::Told);
        error
    }

    /// Nothing more comes. As on Linux, a peer that died is an end of file unless it left bytes unread.
    fn end_of_receiving(&mut self, error: ChannelError) -> Result<Received, SocketError> {
        if self.failure == Some(Failure::Told) {
            return Ok(Received::EndOfFile);
        }
        let error = match error {
            ChannelError::PeerGone if self.path == Path::Stack => SocketError::NetworkDown,
            ChannelError::PeerGone if self.has_unsent() => SocketError::ConnectionReset,
            ChannelError::PeerGone | ChannelError::PeerClosedReading | ChannelError::Closed => {
                return Ok(Received::EndOfFile);
            }
            other => self.broken(other),
        };
        self.failure = Some(Failure::Told);
        Err(error)
    }

    /// A reset says why; a channel that lies or fails is broken off.
    fn broken(&mut self, error: ChannelError) -> SocketError {
        if let ChannelError::Reset(code) = error {
            return SocketError::from_code(code);
        }
        let Addresses { source, destination } = self.addresses;
        log::warn!("connection {source} to {destination} broken off: {error}");
        self.channel.reset(SocketError::ConnectionReset.code());
        SocketError::ConnectionReset
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
