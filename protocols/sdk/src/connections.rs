//! TCP connections of a core: its numbers on one side, the socket library on the other. Datagram sockets of the same
//! library are in `datagrams.rs`.
//!
//! What the core sends beyond what a connection takes waits here. A connection that the core closed is kept until the
//! rest is sent and the peer has closed, too, or a moment has passed: so the last message (a NOTIFICATION) is not
//! overtaken by a reset because of bytes that nobody read any more.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipc::reactor::{Event, Reactor};
use mio::Token;
use sockets::{
    Destination, Library, LibraryEvent, Options, PeerOptions, Received, Shutdown, SocketError, SocketId, SocketKind,
};
use vr_api::show::Row;

use crate::core::{Closed, ConnectionId, DatagramCommand, DatagramSocket};
use crate::datagrams::{DatagramEvent, Datagrams};
use crate::error::ShellError;

/// Connections that may wait to be accepted.
const BACKLOG: u16 = 64;

/// How long a closed connection waits for its peer to close, too.
const LINGER: Duration = Duration::from_secs(2);

/// How long until a listener that could not be had is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(5);

/// Bytes taken from one connection before another has its turn.
const BYTES_PER_TURN: usize = 256 << 10;

/// Marks the numbers of accepted connections.
const ACCEPTED: u32 = 1 << 31;

/// What happened to a core's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// One that the core opened stands.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// Own address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// One that the core opened did not come about.
    ConnectFailed {
        /// Which.
        connection: ConnectionId,
        /// Why.
        error: SocketError,
    },
    /// A peer opened one.
    Accepted {
        /// Its number.
        connection: ConnectionId,
        /// Own address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// Bytes came.
    Received {
        /// Where.
        connection: ConnectionId,
        /// Which.
        bytes: Vec<u8>,
    },
    /// One ended.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// How.
        closed: Closed,
    },
    /// A port is not to be had now.
    ListenFailed {
        /// Which.
        port: u16,
        /// Why.
        error: SocketError,
    },
}

/// All connections, listeners and datagram sockets of a core.
#[derive(Debug)]
pub struct Connections {
    library: Library,
    datagrams: Datagrams,
    connections: HashMap<SocketId, Connection>,
    sockets: BTreeMap<ConnectionId, SocketId>,
    listeners: BTreeMap<u16, Listener>,
    peers: Vec<PeerOptions>,
    /// Connections with bytes that were left for the next turn.
    readable: BTreeSet<SocketId>,
    token: Token,
    events: VecDeque<ConnectionEvent>,
    next_accepted: u32,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    unsent: VecDeque<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    /// The core closed it; it is given up at this time.
    Closing {
        until: Instant,
        end_sent: bool,
    },
}

#[derive(Debug)]
struct Listener {
    socket: Option<SocketId>,
    state: ListenState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListenState {
    Asked,
    Listening,
    Failed { retry_at: Instant },
}

impl Connections {
    /// No connections yet. The library opens its links at once.
    pub fn new(reactor: &mut Reactor) -> Result<Self, ShellError> {
        Ok(Self {
            library: Library::new(reactor)?,
            datagrams: Datagrams::default(),
            connections: HashMap::new(),
            sockets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            peers: Vec::new(),
            readable: BTreeSet::new(),
            token: reactor.token(),
            events: VecDeque::new(),
            next_accepted: 0,
            buffer: vec![0; 64 << 10],
        })
    }

    /// Rows of a table that the socket library has; `None`: it has none of this name.
    pub fn table(&self, table: &str) -> Option<Vec<Row>> {
        self.library.table(table)
    }

    /// Listens for connections to a port of this VR.
    pub fn listen(&mut self, reactor: &mut Reactor, port: u16) {
        if self.listeners.contains_key(&port) {
            return;
        }
        self.listeners.insert(port, Listener { socket: None, state: ListenState::Asked });
        self.try_listen(reactor, port);
    }

    /// What holds with single peers from now on, whoever opens the connection.
    pub fn set_peers(&mut self, peers: Vec<PeerOptions>) {
        self.peers = peers;
        let listening: Vec<SocketId> = self.listeners.values().filter_map(|listener| listener.socket).collect();
        listening.into_iter().for_each(|socket| self.tell_peers(socket));
    }

    fn tell_peers(&mut self, listener: SocketId) {
        let options = Options { peers: self.peers.clone(), ..Options::default() };
        if let Err(error) = self.library.set_options(listener, options) {
            log::error!("what holds with single peers is not set: {error}");
        }
    }

    /// Listens no longer.
    pub fn stop_listening(&mut self, reactor: &mut Reactor, port: u16) {
        if let Some(Listener { socket: Some(socket), .. }) = self.listeners.remove(&port) {
            self.library.close(reactor, socket);
        }
    }

    /// Opens a connection.
    pub fn connect(&mut self, reactor: &mut Reactor, connection: ConnectionId, mut destination: Destination) {
        destination.options.peers =
            self.peers.iter().filter(|peer| peer.peer == destination.to.ip()).cloned().collect();
        match self.library.open_socket(reactor, destination) {
            Ok(socket) => self.add(socket, connection, State::Opening),
            Err(error) => self.events.push_back(ConnectionEvent::ConnectFailed { connection, error }),
        }
    }

    /// Sends bytes, after those that wait already.
    pub fn send(&mut self, reactor: &mut Reactor, connection: ConnectionId, bytes: Vec<u8>) {
        let Some(&socket) = self.sockets.get(&connection) else { return };
        if let Some(entry) = self.connections.get_mut(&socket) {
            entry.unsent.extend(bytes);
            self.flush(reactor, socket);
        }
    }

    /// Closes a connection in order. No event of it follows; its number is free.
    pub fn close(&mut self, reactor: &mut Reactor, connection: ConnectionId, now: Instant) {
        let Some(socket) = self.sockets.remove(&connection) else { return };
        self.events.retain(|event| event.connection() != Some(connection));
        match self.connections.get_mut(&socket) {
            Some(entry) if entry.state == State::Open => {
                entry.state = State::Closing { until: now + LINGER, end_sent: false };
                self.flush(reactor, socket);
            }
            Some(_) => self.forget(reactor, socket),
            None => {}
        }
    }

    /// Does what a core wants of a datagram socket. What it sends leaves with [`end_burst`](Self::end_burst).
    pub fn datagram(&mut self, reactor: &mut Reactor, socket: DatagramSocket, command: DatagramCommand) {
        let library = &mut self.library;
        match command {
            DatagramCommand::Bind(protocol) => self.datagrams.bind(library, reactor, socket, protocol),
            DatagramCommand::Unbind => self.datagrams.unbind(library, reactor, socket),
            DatagramCommand::Join { group, interface } => self.datagrams.join(library, socket, group, interface),
            DatagramCommand::Leave { group, interface } => self.datagrams.leave(library, socket, group, interface),
            DatagramCommand::Send(message) => self.datagrams.send(library, reactor, socket, message),
        }
    }

    /// Behind the last of several commands: what was sent leaves.
    pub fn end_burst(&mut self) {
        self.library.end_burst();
    }

    /// What happened to the datagram sockets. Call until `None` in every turn of the loop, after [`poll`](Self::poll).
    pub fn poll_datagram(&mut self, reactor: &mut Reactor) -> Option<DatagramEvent> {
        let event = self.datagrams.poll(&mut self.library, reactor);
        if event.is_none() && self.datagrams.left_some() {
            reactor.again(self.token);
        }
        event
    }

    /// Whether every port and datagram socket that was asked for is there, or is known not to be had now.
    pub fn listeners_are_settled(&self) -> bool {
        self.listeners.values().all(|listener| listener.state != ListenState::Asked) && self.datagrams.are_settled()
    }

    /// Whether nothing waits to be sent and no closed connection waits for its peer.
    pub fn is_idle(&self) -> bool {
        self.connections
            .values()
            .all(|connection| connection.unsent.is_empty() && !matches!(connection.state, State::Closing { .. }))
    }

    /// Takes an event if it is of a connection; call [`poll`](Self::poll) afterwards until `None`.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        match event {
            Event::Ready(token) if token == self.token => None,
            event => self.library.handle(reactor, event),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let lingering = self.connections.values().filter_map(|connection| match connection.state {
            State::Closing { until, .. } => Some(until),
            State::Opening | State::Open => None,
        });
        let retries = self.listeners.values().filter_map(|listener| match listener.state {
            ListenState::Failed { retry_at } => Some(retry_at),
            ListenState::Asked | ListenState::Listening => None,
        });
        let library = self.library.poll_timeout().into_iter().chain(self.datagrams.poll_timeout());
        lingering.chain(retries).chain(library).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, reactor: &mut Reactor, now: Instant) {
        self.library.handle_timeout(reactor, now);
        self.datagrams.handle_timeout(&mut self.library, reactor, now);
        let expired = self.connections.iter().filter(|(_, connection)| match connection.state {
            State::Closing { until, .. } => until <= now,
            State::Opening | State::Open => false,
        });
        for socket in expired.map(|(socket, _)| *socket).collect::<Vec<_>>() {
            self.forget(reactor, socket);
        }
        let due = self.listeners.iter().filter(|(_, listener)| match listener.state {
            ListenState::Failed { retry_at } => retry_at <= now,
            ListenState::Asked | ListenState::Listening => false,
        });
        for port in due.map(|(port, _)| *port).collect::<Vec<_>>() {
            self.try_listen(reactor, port);
        }
    }

    /// What happened since the last call. Call until `None` in every turn of the loop.
    pub fn poll(&mut self, reactor: &mut Reactor) -> Option<ConnectionEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let event = self.library.poll(reactor)?;
            self.library_event(reactor, event);
        }
    }

    /// Takes bytes and datagrams that were left behind in the last turn. To be called once in every turn, before [`poll`](Self::poll).
    pub fn resume(&mut self, reactor: &mut Reactor) {
        for socket in std::mem::take(&mut self.readable) {
            self.read(reactor, socket);
        }
        self.datagrams.begin_turn();
    }

    fn library_event(&mut self, reactor: &mut Reactor, event: LibraryEvent) {
        match event {
            LibraryEvent::Listening { listener } if self.datagrams.contains(listener) => self.datagrams.bound(listener),
            LibraryEvent::ListenFailed { listener, error } if self.datagrams.contains(listener) => {
                self.datagrams.failed(listener, error, Instant::now());
            }
            LibraryEvent::Readable { socket } if self.datagrams.contains(socket) => self.datagrams.readable(socket),
            LibraryEvent::Listening { listener } => self.listening(listener),
            LibraryEvent::ListenFailed { listener, error } => self.listen_failed(listener, error, Instant::now()),
            LibraryEvent::Incoming { listener } => self.accept(reactor, listener),
            LibraryEvent::Connected { socket } => self.connected(reactor, socket),
            LibraryEvent::ConnectFailed { socket, error } => {
                if let Some(entry) = self.connections.remove(&socket) {
                    self.sockets.remove(&entry.id);
                    self.events.push_back(ConnectionEvent::ConnectFailed { connection: entry.id, error });
                }
            }
            LibraryEvent::Readable { socket } => self.read(reactor, socket),
            LibraryEvent::Writable { socket } => self.flush(reactor, socket),
            // Nobody here asks for a port alone.
            LibraryEvent::PortAnswered { .. } => {}
        }
    }

    fn try_listen(&mut self, reactor: &mut Reactor, port: u16) {
        let Some(listener) = self.listeners.get_mut(&port) else { return };
        listener.state = ListenState::Asked;
        let bound = match listener.socket {
            Some(socket) => Ok(socket),
            None => self.library.create_socket(SocketKind::Stream).and_then(|socket| {
                listener.socket = Some(socket);
                self.library.bind(socket, (Ipv4Addr::UNSPECIFIED, port).into(), None).map(|()| socket)
            }),
        };
        if let Ok(socket) = bound {
            self.tell_peers(socket);
        }
        let asked = bound.and_then(|socket| self.library.listen(reactor, socket, BACKLOG));
        if let (Err(error), Some(listener)) = (asked, self.listeners.get_mut(&port)) {
            listener.state = ListenState::Failed { retry_at: Instant::now() + LISTEN_RETRY };
            self.events.push_back(ConnectionEvent::ListenFailed { port, error });
        }
    }

    fn listener(&mut self, socket: SocketId) -> Option<(u16, &mut Listener)> {
        let mut listeners = self.listeners.iter_mut();
        listeners.find(|(_, listener)| listener.socket == Some(socket)).map(|(port, listener)| (*port, listener))
    }

    fn listening(&mut self, socket: SocketId) {
        if let Some((port, listener)) = self.listener(socket) {
            listener.state = ListenState::Listening;
            log::debug!("listening on port {port}");
        }
    }

    fn listen_failed(&mut self, socket: SocketId, error: SocketError, now: Instant) {
        if let Some((port, listener)) = self.listener(socket) {
            listener.state = ListenState::Failed { retry_at: now + LISTEN_RETRY };
            self.events.push_back(ConnectionEvent::ListenFailed { port, error });
        }
    }

    fn accept(&mut self, reactor: &mut Reactor, listener: SocketId) {
        loop {
            match self.library.accept(reactor, listener) {
                Ok(Some(accepted)) => {
                    let id = self.new_id();
                    self.add(accepted.socket, id, State::Open);
                    let (local, remote) = (accepted.addresses.destination, accepted.addresses.source);
                    self.events.push_back(ConnectionEvent::Accepted { connection: id, local, remote });
                }
                Ok(None) => return,
                Err(error) => return log::warn!("accept: {error}"),
            }
        }
    }

    fn connected(&mut self, reactor: &mut Reactor, socket: SocketId) {
        let Some(entry) = self.connections.get_mut(&socket) else { return };
        let connection = entry.id;
        match self.library.addresses(socket) {
            Ok(addresses) => {
                entry.state = State::Open;
                let (local, remote) = (addresses.source, addresses.destination);
                self.events.push_back(ConnectionEvent::Connected { connection, local, remote });
                self.flush(reactor, socket);
            }
            Err(error) => {
                self.events.push_back(ConnectionEvent::ConnectFailed { connection, error });
                self.forget(reactor, socket);
            }
        }
    }

    /// Sends what waits, as much as the connection takes; then its end, if the core closed it.
    fn flush(&mut self, reactor: &mut Reactor, socket: SocketId) {
        let Some(entry) = self.connections.get_mut(&socket) else { return };
        if entry.state == State::Opening {
            return;
        }
        while !entry.unsent.is_empty() {
            let (bytes, _) = entry.unsent.as_slices();
            match self.library.send(socket, bytes) {
                Ok(0) => return,
                Ok(count) => drop(entry.unsent.drain(..count)),
                // What the peer sent before is still to be read; then reading finds the same error.
                Err(error) => {
                    entry.unsent.clear();
                    return self.failed(reactor, socket, error);
                }
            }
        }
        if let State::Closing { until, end_sent: false } = entry.state {
            entry.state = State::Closing { until, end_sent: true };
            match self.library.shutdown(socket, Shutdown::Write) {
                Ok(()) => self.read(reactor, socket),
                Err(_) => self.forget(reactor, socket),
            }
        }
    }

    /// Sending failed: gives out what can still be read, then the end.
    fn failed(&mut self, reactor: &mut Reactor, socket: SocketId, error: SocketError) {
        self.read(reactor, socket);
        if self.connections.contains_key(&socket) && !self.readable.contains(&socket) {
            self.ended(reactor, socket, Closed::Failed(error));
        }
    }

    fn read(&mut self, reactor: &mut Reactor, socket: SocketId) {
        let Some(entry) = self.connections.get(&socket) else { return };
        let (connection, open) = (entry.id, entry.state == State::Open);
        let mut taken = 0;
        while taken < BYTES_PER_TURN {
            match self.library.receive(socket, &mut self.buffer) {
                Ok(Received::Bytes(count)) => {
                    taken += count;
                    // After the core closed it, bytes are read to be forgotten.
                    if open {
                        let bytes = self.buffer.get(..count).unwrap_or_default().to_vec();
                        self.events.push_back(ConnectionEvent::Received { connection, bytes });
                    }
                }
                Ok(Received::NothingYet) => return,
                Ok(Received::EndOfFile) => return self.ended(reactor, socket, Closed::EndOfFile),
                Err(error) => return self.ended(reactor, socket, Closed::Failed(error)),
            }
        }
        self.readable.insert(socket);
        reactor.again(self.token);
    }

    fn ended(&mut self, reactor: &mut Reactor, socket: SocketId, closed: Closed) {
        let Some(entry) = self.connections.get(&socket) else { return };
        let connection = entry.id;
        if !matches!(entry.state, State::Closing { .. }) {
            self.events.push_back(ConnectionEvent::Closed { connection, closed });
        } else if !entry.unsent.is_empty() && closed == Closed::EndOfFile {
            // The peer has said all that it will; what the core said is still on its way.
            return;
        }
        self.forget(reactor, socket);
    }

    fn add(&mut self, socket: SocketId, id: ConnectionId, state: State) {
        self.connections.insert(socket, Connection { id, unsent: VecDeque::new(), state });
        self.sockets.insert(id, socket);
    }

    fn forget(&mut self, reactor: &mut Reactor, socket: SocketId) {
        self.readable.remove(&socket);
        if let Some(entry) = self.connections.remove(&socket) {
            if self.sockets.get(&entry.id) == Some(&socket) {
                self.sockets.remove(&entry.id);
            }
            self.library.close(reactor, socket);
        }
    }

    /// A number for an accepted connection that no living one has.
    fn new_id(&mut self) -> ConnectionId {
        loop {
            let id = ConnectionId(ACCEPTED | self.next_accepted);
            self.next_accepted = self.next_accepted.wrapping_add(1) & !ACCEPTED;
            if !self.sockets.contains_key(&id) {
                return id;
            }
        }
    }
}

impl ConnectionEvent {
    fn connection(&self) -> Option<ConnectionId> {
        match self {
            ConnectionEvent::Connected { connection, .. }
            | ConnectionEvent::ConnectFailed { connection, .. }
            | ConnectionEvent::Accepted { connection, .. }
            | ConnectionEvent::Received { connection, .. }
            | ConnectionEvent::Closed { connection, .. } => Some(*connection),
            ConnectionEvent::ListenFailed { .. } => None,
        }
    }
}
