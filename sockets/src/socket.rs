//! The calls on a socket: create, bind, send, receive, shut down, close.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipc::reactor::Reactor;
use ipc::{InterfaceName, IpProtocol};
use mio::Token;
use stack_api::socket::{Addresses, SocketError};

use crate::lend::Borrower;
use crate::library::{Library, LibraryEvent};
use crate::listen::Listening;
use crate::mark::Mark;
use crate::open::Opening;
use crate::stream::{Gate, News, Path, Received, Shutdown, Stream};
use crate::vrfib::VrFib;

/// Number of a socket of this process; never given twice.
///
/// ```
/// use std::collections::HashMap;
/// # let (_router, mut red, ..) = sockets_testing::joined();
///
/// let mut sessions = HashMap::new();
/// sessions.insert(red.open("10.0.0.2:179"), "to blue");
/// sessions.insert(red.open("192.0.2.1:179"), "to a stranger");
/// assert_eq!(sessions.len(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub(crate) u64);

/// Kinds of sockets.
///
/// ```
/// use ipc::IpProtocol;
/// use sockets::SocketKind;
/// # let (_router, mut red, ..) = sockets_testing::joined();
///
/// for kind in [SocketKind::Stream, SocketKind::Datagram, SocketKind::Raw(IpProtocol::OSPF)] {
///     red.library.create_socket(kind)?;
/// }
/// # Ok::<(), sockets::SocketError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
    /// An IP protocol other than TCP and UDP, without its header.
    Raw(IpProtocol),
}

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub address: SocketAddr,
    pub interface: Option<InterfaceName>,
}

/// A socket by what can be done with it.
#[derive(Debug)]
pub(crate) enum Socket {
    Unbound,
    Bound(Bound),
    Listening(Listening),
    Opening(Opening),
    Connected {
        stream: Stream,
        token: Token,
    },
    /// Connected, and used beside the library.
    Lent(&'static dyn Borrower),
}

impl Library {
    /// A socket, bound to nothing.
    pub fn create_socket(&mut self, kind: SocketKind) -> Result<SocketId, SocketError> {
        match kind {
            SocketKind::Stream => {
                let socket = self.new_id();
                self.put(socket, Socket::Unbound);
                Ok(socket)
            }
            SocketKind::Datagram | SocketKind::Raw(_) => {
                let socket = self.new_id();
                self.datagrams.create(socket, kind)?;
                Ok(socket)
            }
        }
    }

    /// Binds a TCP socket that is to listen: to an address or, with the unspecified one, to all of its family; to an
    /// interface or to all. Whether the VR has the address shows in [`listen`](Self::listen).
    pub fn bind(
        &mut self,
        socket: SocketId,
        address: SocketAddr,
        interface: Option<InterfaceName>,
    ) -> Result<(), SocketError> {
        match self.sockets.get_mut(&socket) {
            Some(state @ Socket::Unbound) => {
                *state = Socket::Bound(Bound { address, interface });
                Ok(())
            }
            Some(
                Socket::Bound(_)
                | Socket::Listening(_)
                | Socket::Opening(_)
                | Socket::Connected { .. }
                | Socket::Lent(_),
            )
            | None => Err(SocketError::InvalidArgument),
        }
    }

    pub(crate) fn bound(&self, socket: SocketId) -> Result<&Bound, SocketError> {
        match self.sockets.get(&socket) {
            Some(Socket::Bound(bound)) => Ok(bound),
            Some(
                Socket::Unbound
                | Socket::Listening(_)
                | Socket::Opening(_)
                | Socket::Connected { .. }
                | Socket::Lent(_),
            )
            | None => Err(SocketError::InvalidArgument),
        }
    }

    /// Sends bytes; returns how many were taken. If not all were, [`LibraryEvent::Writable`] follows when there is room.
    pub fn send(&mut self, socket: SocketId, bytes: &[u8]) -> Result<usize, SocketError> {
        let stream = self.stream(socket)?;
        let sent = stream.send(bytes)?;
        if stream.keeps_time() {
            self.keep_time(socket);
        }
        Ok(sent)
    }

    /// As [`send`](Self::send), for a caller that waits on the channel itself.
    #[inline(always)]
    pub(crate) fn put_bytes(
        &mut self,
        socket: SocketId,
        index: &Cell<usize>,
        bytes: &[u8],
    ) -> Result<usize, SocketError> {
        let stream = self.stream_at(socket, index)?;
        let sent = stream.put(bytes)?;
        if stream.keeps_time() {
            self.keep_time(socket);
        }
        Ok(sent)
    }

    /// Takes bytes that have arrived. After [`Received::NothingYet`], and only then, [`LibraryEvent::Readable`] follows.
    pub fn receive(&mut self, socket: SocketId, into: &mut [u8]) -> Result<Received, SocketError> {
        self.stream(socket)?.receive(into)
    }

    /// Ends one direction, or both. What was sent still arrives.
    pub fn shutdown(&mut self, socket: SocketId, how: Shutdown) -> Result<(), SocketError> {
        self.stream(socket)?.shutdown(how)
    }

    /// Closes a socket of any state. What a connection has sent still arrives, then its end; but where it leaves bytes
    /// unread, or is told to linger for no time ([`Options::linger`](crate::Options::linger)), the peer sees a reset (RFC 9293 section 3.10.4,
    /// RFC 2525 section 2.17).
    pub fn close(&mut self, reactor: &mut Reactor, socket: SocketId) {
        let linger = self.options.get(&socket).and_then(|options| options.linger);
        self.end(reactor, socket, if linger == Some(Duration::ZERO) { Stream::abort } else { Stream::close });
    }

    /// Closes a connection with a reset, whatever lies in it.
    pub fn abort(&mut self, reactor: &mut Reactor, socket: SocketId) {
        self.end(reactor, socket, Stream::abort);
    }

    /// Own address and port (`source`) and the peer's (`destination`) of a connection.
    pub fn addresses(&self, socket: SocketId) -> Result<Addresses, SocketError> {
        let state = self.sockets.get(&socket).ok_or(SocketError::InvalidArgument)?;
        state.look_at_stream(Stream::addresses).ok_or(SocketError::NotConnected)
    }

    #[inline]
    /// Which way a connection goes.
    pub fn path(&self, socket: SocketId) -> Result<Path, SocketError> {
        self.look_at(socket, |stream| stream.path().clone())
    }

    /// Whether bytes of a connection pass.
    pub fn gate(&self, socket: SocketId) -> Result<Gate, SocketError> {
        self.look_at(socket, Stream::gate)
    }

    fn look_at<T>(&self, socket: SocketId, what: impl FnOnce(&Stream) -> T) -> Result<T, SocketError> {
        let socket = self.sockets.get(&socket).ok_or(SocketError::InvalidArgument)?;
        socket.look_at_stream(what).ok_or(SocketError::NotConnected)
    }

    pub(crate) fn stream(&mut self, socket: SocketId) -> Result<&mut Stream, SocketError> {
        match self.sockets.get_mut(&socket) {
            Some(Socket::Connected { stream, .. }) => Ok(stream),
            Some(Socket::Unbound | Socket::Bound(_) | Socket::Listening(_) | Socket::Opening(_) | Socket::Lent(_)) => {
                Err(SocketError::NotConnected)
            }
            None => Err(SocketError::InvalidArgument),
        }
    }

    /// As `stream`, for a caller that remembers the connection's index in the table: looked up by its number only where
    /// others were closed meanwhile.
    #[inline]
    pub(crate) fn stream_at(&mut self, socket: SocketId, index: &Cell<usize>) -> Result<&mut Stream, SocketError> {
        if self.sockets.get_index(index.get()).is_none_or(|(id, _)| *id != socket) {
            index.set(self.sockets.get_index_of(&socket).ok_or(SocketError::InvalidArgument)?);
        }
        match self.sockets.get_index_mut(index.get()) {
            Some((_, Socket::Connected { stream, .. })) => Ok(stream),
            Some((
                _,
                Socket::Unbound | Socket::Bound(_) | Socket::Listening(_) | Socket::Opening(_) | Socket::Lent(_),
            )) => Err(SocketError::NotConnected),
            None => Err(SocketError::InvalidArgument),
        }
    }

    /// An opened connection stands.
    pub(crate) fn establish(&mut self, reactor: &mut Reactor, socket: SocketId, stream: Stream, token: Option<Token>) {
        self.set_timer(socket, None);
        match self.enter(reactor, socket, stream, token) {
            Ok(()) => {
                self.events.push_back(LibraryEvent::Connected { socket });
                self.ready(reactor, socket);
            }
            Err(error) => self.events.push_back(LibraryEvent::ConnectFailed { socket, error }),
        }
    }

    /// Makes a stream a socket, watched unless it was before. To arm its bell, call [`ready`](Self::ready) next.
    pub(crate) fn enter(
        &mut self,
        reactor: &mut Reactor,
        socket: SocketId,
        mut stream: Stream,
        token: Option<Token>,
    ) -> Result<(), SocketError> {
        if let Some(options) = self.options.get(&socket) {
            stream.set_send_buffer(options.send_buffer());
            stream.set_impatient(options.user_timeout.is_some());
        }
        if matches!(stream.path(), Path::InterVr(_)) {
            let options = self.options_of(socket);
            stream.set_receive_buffer(options.receive_buffer());
            stream.set_mark(Mark::new(&self.salt, stream.addresses(), stream.is_opener(), &options));
        }
        let token = match token.map_or_else(|| reactor.register(stream.channel()), Ok) {
            Ok(token) => token,
            Err(error) => {
                log::error!("cannot wait for a connection's channel: {error}");
                self.give_port_back(stream.addresses().source.port());
                stream.abort();
                return Err(SocketError::NoBuffers);
            }
        };
        self.by_token.insert(token, socket);
        self.put(socket, Socket::Connected { stream, token });
        self.move_gate(socket);
        Ok(())
    }

    /// A socket's channel has rung.
    pub(crate) fn ready(&mut self, reactor: &mut Reactor, socket: SocketId) {
        match self.sockets.get_mut(&socket) {
            Some(Socket::Connected { stream, .. }) => {
                let gate = stream.gate();
                let news = stream.news();
                // Another key or TTL of the peer moves it.
                let has_moved = stream.gate() != gate;
                self.tell(socket, news);
                if has_moved {
                    self.keep_time(socket);
                }
            }
            Some(Socket::Opening(_)) => self.handshake(reactor, socket),
            // Its borrower listens to its bell.
            Some(Socket::Unbound | Socket::Bound(_) | Socket::Listening(_) | Socket::Lent(_)) | None => {}
        }
    }

    fn tell(&mut self, socket: SocketId, news: News) {
        if news.writable {
            self.events.push_back(LibraryEvent::Writable { socket });
        }
        if news.readable {
            self.events.push_back(LibraryEvent::Readable { socket });
        }
    }

    /// The vrFIB changed: gates of connections follow.
    pub(crate) fn move_gates(&mut self) {
        let is_connected = |socket: &Socket| matches!(socket, Socket::Connected { .. } | Socket::Lent(_));
        let connected = self.sockets.iter().filter(|(_, socket)| is_connected(socket));
        let sockets: Vec<SocketId> = connected.map(|(id, _)| *id).collect();
        sockets.into_iter().for_each(|socket| self.move_gate(socket));
    }

    /// The gate is open while some route leads to the peer and one back, and the peer has its address.
    fn move_gate(&mut self, socket: SocketId) {
        let vrfib = &self.vrfib;
        let Some(state) = self.sockets.get_mut(&socket) else { return };
        let moved = state.with_stream(|stream| move_gate_of(vrfib, stream)).flatten();
        if let Some(news) = moved {
            self.tell(socket, news);
            self.keep_time(socket);
        }
    }

    /// Sets the timer of a connection that stands behind a closed gate, or before a peer that takes nothing.
    pub(crate) fn keep_time(&mut self, socket: SocketId) {
        if let Some(due) = self.gives_up_at(socket, Instant::now()) {
            self.set_timer(socket, due);
        }
    }

    /// `None`: not a connection.
    fn gives_up_at(&mut self, socket: SocketId, now: Instant) -> Option<Option<Instant>> {
        let options = self.options.get(&socket);
        let user_timeout = options.and_then(|options| options.user_timeout).unwrap_or(self.user_timeout());
        let keepalive = options.and_then(|options| options.keepalive);
        self.with_stream(socket, |stream| stream.gives_up_at(now, user_timeout, keepalive))
    }

    /// A gate was closed, or nothing taken, for as long as the user waits, or as probes would have been sent.
    pub(crate) fn gate_expired(&mut self, socket: SocketId, now: Instant) {
        let due = self.gives_up_at(socket, now).flatten();
        if due.is_none_or(|due| due > now) {
            return self.set_timer(socket, due);
        }
        if self.with_stream(socket, |stream| stream.fail(SocketError::TimedOut)).is_some() {
            self.events.push_back(LibraryEvent::Readable { socket });
        }
    }

    fn end(&mut self, reactor: &mut Reactor, socket: SocketId, how: fn(Stream)) {
        self.set_timer(socket, None);
        self.options.remove(&socket);
        if self.datagrams.contains(socket) {
            return self.close_datagram(reactor, socket);
        }
        if self.reservations.contains_key(&socket) {
            return self.release_port(socket);
        }
        match self.sockets.swap_remove(&socket) {
            None | Some(Socket::Unbound | Socket::Bound(_)) => {}
            Some(Socket::Listening(listening)) => self.stop_listening(reactor, socket, listening),
            Some(Socket::Opening(opening)) => self.give_up(reactor, opening),
            Some(Socket::Connected { mut stream, token }) => {
                self.forget_channel(reactor, stream.channel(), token);
                self.end_stream(stream, how);
            }
            Some(Socket::Lent(borrower)) => {
                if let Some(stream) = borrower.take_back() {
                    self.end_stream(stream, how);
                }
            }
        }
    }

    fn end_stream(&mut self, stream: Stream, how: fn(Stream)) {
        if let Path::InterVr(interface) = stream.path() {
            self.keep_traffic(&interface.clone(), stream.traffic());
            // Another process that has the connection too has its port.
            if !stream.is_shared() {
                self.give_port_back(stream.addresses().source.port());
            }
        }
        how(stream);
    }

    fn give_up(&mut self, reactor: &mut Reactor, opening: Opening) {
        if let Some(port) = opening.port() {
            self.give_port_back(port);
        }
        let (ticket, channel) = opening.give_up();
        if let Some(ticket) = ticket {
            self.opening.remove(&ticket);
            if let Err(error) = reactor.link.cancel(ticket) {
                log::debug!("{error}");
            }
        }
        if let Some((mut channel, token)) = channel {
            self.forget_channel(reactor, &mut channel, token);
        }
    }

    pub(crate) fn put(&mut self, socket: SocketId, state: Socket) {
        self.sockets.insert(socket, state);
    }

    /// An opening socket, out of the table until it is put back.
    pub(crate) fn take_opening(&mut self, socket: SocketId) -> Option<Opening> {
        match self.sockets.swap_remove(&socket)? {
            Socket::Opening(opening) => Some(opening),
            other @ (Socket::Unbound
            | Socket::Bound(_)
            | Socket::Listening(_)
            | Socket::Connected { .. }
            | Socket::Lent(_)) => {
                self.put(socket, other);
                None
            }
        }
    }
}

/// Opens or closes a connection's gate, as the vrFIB has it. `None`: it stands as it stood; else what its user is to be told.
fn move_gate_of(vrfib: &VrFib, stream: &mut Stream) -> Option<News> {
    let Path::InterVr(name) = stream.path() else { return None };
    let Addresses { source: own, destination: peer } = stream.addresses();
    let interface = vrfib.interface(name);
    let leads_there = interface.is_some_and(|interface| interface.peer_addresses.contains(&peer.ip()));
    let is_cut = interface
        .is_none_or(|interface| interface.lost.contains(&peer.ip()) || interface.lost_from.contains(&own.ip()));
    let gate = stream.gate();
    let still_leads = stream.still_leads(leads_there);
    stream.set_cut(Instant::now(), is_cut || !still_leads);
    if stream.gate() == gate {
        return None;
    }
    let nothing = News { readable: false, writable: false };
    Some(if stream.gate() == Gate::Open { stream.news() } else { nothing })
}
