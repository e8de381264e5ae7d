//! A TCP connection over a channel. The other end of the channel is the peer's library or the socket server; only the
//! words for its sudden death tell which.

use std::time::{Duration, Instant};

use ipc::InterfaceName;
use ipc::channel::{Channel, Side};
use ipc::error::ChannelError;
use stack_api::socket::{Addresses, SocketError};

use crate::counters::Traffic;
use crate::mark::Mark;
use crate::readiness::Readiness;

mod end;
mod exec;
mod gate;

use self::end::Failure;
pub use self::exec::StreamRecord;
pub use self::gate::Gate;

/// A writer that found no room is woken for this much, or for what it has left: being woken for every few bytes that
/// the reader takes would cost a switch of processes each.
const ROOM_WORTH_WAKING_FOR: usize = 64 * 1024;

/// Longest look at a channel before a waiting call sleeps: many times what a peer that is awake takes to answer, and
/// about what being woken costs. Only where no stack is in between, whose threads need the CPUs.
pub const SPIN: Duration = Duration::from_micros(50);

/// Which way a connection goes.
///
/// ```
/// use sockets::Path;
/// # let (_router, red, _, socket, _) = sockets_testing::connected();
///
/// assert_eq!(red.library.path(socket)?, Path::InterVr("vr2".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// Over an inter-VR interface: the peer's library holds the other end.
    InterVr(InterfaceName),
    /// Through the stack: the socket server holds the other end.
    Stack,
}

/// What [`receive`](crate::Library::receive) found.
///
/// ```
/// use sockets::{Received, Shutdown};
/// # let (_router, mut red, mut blue, socket, accepted) = sockets_testing::connected();
///
/// let mut bytes = [0; 16];
/// assert_eq!(blue.library.receive(accepted, &mut bytes), Ok(Received::NothingYet));
/// red.library.send(socket, b"last words")?;
/// red.library.shutdown(socket, Shutdown::Write)?;
/// assert_eq!(blue.library.receive(accepted, &mut bytes), Ok(Received::Bytes(10)));
/// assert_eq!(blue.library.receive(accepted, &mut bytes), Ok(Received::EndOfFile));
/// # Ok::<(), sockets::SocketError>(())
/// ```
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
///
/// ```
/// use sockets::{Received, Shutdown, SocketError};
/// # let (_router, mut red, mut blue, socket, accepted) = sockets_testing::connected();
///
/// red.library.shutdown(socket, Shutdown::Write)?;
/// assert_eq!(red.library.send(socket, b"too late"), Err(SocketError::BrokenPipe));
/// // The other direction goes on.
/// blue.library.send(accepted, b"answer")?;
/// assert_eq!(red.library.receive(socket, &mut [0; 16]), Ok(Received::Bytes(6)));
/// # Ok::<(), SocketError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing more is received.
    Read,
    /// Nothing more is sent.
    Write,
    /// Both.
    Both,
}

/// What a stream's user is to be told after its bell rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    pub readable: bool,
    /// Only where a send found no room before.
    pub writable: bool,
}

/// A TCP connection: what a program has of one that the library has [lent](crate::Library::lend) it. How it comes
/// there: [`Borrower`](crate::Borrower).
///
/// ```
/// use sockets::{Received, SocketError, Stream};
///
/// fn echo(stream: &mut Stream) -> Result<usize, SocketError> {
///     let mut bytes = [0; 512];
///     match stream.receive(&mut bytes)? {
///         Received::Bytes(count) => stream.send(&bytes[..count]),
///         Received::EndOfFile | Received::NothingYet => Ok(0),
///     }
/// }
/// # use std::sync::Mutex;
/// # use sockets::Borrower;
/// # #[derive(Debug)]
/// # struct Place(Mutex<Option<Stream>>);
/// # impl Borrower for Place {
/// #     fn with(&self, what: &mut dyn FnMut(&mut Stream)) {
/// #         self.0.lock().unwrap().iter_mut().for_each(what);
/// #     }
/// #     fn take_back(&self) -> Option<Stream> {
/// #         self.0.lock().unwrap().take()
/// #     }
/// # }
/// # static PLACE: Place = Place(Mutex::new(None));
/// # let (_router, mut red, mut blue, socket, accepted) = sockets_testing::connected();
/// # blue.library.lend(&mut blue.reactor, accepted, &PLACE, |stream| *PLACE.0.lock().unwrap() = Some(stream))?;
/// # red.library.send(socket, b"hello")?;
/// # let echoed = PLACE.0.lock().unwrap().as_mut().map(echo).unwrap();
/// # assert_eq!(echoed, Ok(5));
/// # assert_eq!(red.library.receive(socket, &mut [0; 16]), Ok(Received::Bytes(5)));
/// # Ok::<(), SocketError>(())
/// ```
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
    /// Whether its user set a user timeout.
    is_impatient: bool,
    /// Since when the peer has taken nothing, and how much it had taken then, while there is no room to send.
    stuck: Option<(Instant, u64)>,
    /// Whether the inter-VR interface has once led to the peer's address.
    led_there: bool,
    failure: Option<Failure>,
    /// What a call said of it last.
    told: Option<SocketError>,
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
            channel.rx.free_in_batches();
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
            is_impatient: false,
            stuck: None,
            led_there: false,
            failure: None,
            told: None,
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

    /// Whether the connection was opened here.
    pub fn is_opener(&self) -> bool {
        self.channel.side() == Side::Opener
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
        let seen = self.glance_to_read();
        let has_room = || self.channel.tx.is_writable().unwrap_or(true);
        Readiness { writable: seen.writable || has_room(), ..seen }
    }

    /// The same for who does not ask for room to write, which takes another look at the peer's lines.
    #[inline]
    pub fn glance_to_read(&self) -> Readiness {
        if self.failure.is_some() {
            return Readiness::over(matches!(self.failure, Some(Failure::Untold(_))));
        }
        // No call has told it yet: none has seen it.
        if self.gate == Gate::Open && self.channel.rx.reset_by_peer().is_some() {
            return Readiness::over(true);
        }
        let (read_closed, writable) = (self.read_shut || self.peer_ended(), self.write_shut);
        let readable = read_closed || self.channel.has_news();
        Readiness { readable, writable, read_closed, hung_up: read_closed && writable, failed: false }
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

    /// How much is taken from the user at most before the peer has taken it.
    pub fn set_send_buffer(&mut self, bytes: usize) {
        self.channel.tx.limit_stream(bytes);
    }

    /// How much may wait to be received: the peer's ring does not grow past it.
    pub fn set_receive_buffer(&mut self, bytes: usize) {
        self.channel.rx.limit_window(bytes);
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
}
