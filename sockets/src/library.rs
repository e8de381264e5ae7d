//! The library of one process: its sockets, its vrFIB, its links to the manager and the socket server.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use ipc::channel::Channel;
use ipc::link::LinkEvent;
use ipc::message::Schema;
use ipc::protocol::{Identity, Ticket};
use ipc::queue::Arrival;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ServiceClient};
use ipc::terms::Salt;
use ipc::{Criteria, InterfaceName, Pathname, ServiceName, VrId};
use mio::Token;
use stack_api::Terms;
use stack_api::options::Options;
use stack_api::socket::{Addresses, SocketError, SocketReply, SocketRequest};
use vr_api::manager::{InterVrCounters, LibraryRequest, LibraryUpdate, VrFibUpdate};

use crate::counters::{self, AcceptDrop, Drops, Traffic, TrafficTable};
use crate::datagram::{DatagramDrop, Datagrams};
use crate::error::LibraryError;
use crate::fork::FamilyQueue;
use crate::hash::BySocket;
use crate::listen::Authority;
use crate::ports::PortLease;
use crate::reservation::Reservation;
use crate::socket::{Socket, SocketId};
use crate::stream::Path;
use crate::vrfib::VrFib;

/// How long data may lie unsent behind a closed gate: what Linux's `tcp_retries2` of 15 comes to.
const USER_TIMEOUT: Duration = Duration::from_secs(924);

/// Something happened to a socket. What each of two processes is told of a connection:
///
/// ```
/// use sockets::{Destination, LibraryEvent};
/// # let (mut router, mut red, mut blue, listener) = sockets_testing::joined();
///
/// let socket = red.library.open_socket(&mut red.reactor, Destination::new("10.0.0.2:179".parse()?))?;
/// # router.run(&mut [&mut red, &mut blue]);
/// assert_eq!(red.take_events(), [LibraryEvent::Connected { socket }]);
/// assert_eq!(blue.take_events(), [LibraryEvent::Incoming { listener }]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibraryEvent {
    /// A socket listens: on the stack, and for every joined VR.
    Listening {
        /// Which one.
        listener: SocketId,
    },
    /// A socket does not listen, or no longer; it is bound as before.
    ListenFailed {
        /// Which one.
        listener: SocketId,
        /// Why.
        error: SocketError,
    },
    /// A socket has the port that [`reserve_port`](Library::reserve_port) asked for, or does not.
    PortAnswered {
        /// Which one.
        reservation: SocketId,
    },
    /// A connection waits for [`accept`](Library::accept).
    Incoming {
        /// At which socket.
        listener: SocketId,
    },
    /// A connection stands, or a datagram socket has its peer.
    Connected {
        /// Which one.
        socket: SocketId,
    },
    /// A connection did not come about, and its socket is gone; or a datagram socket has no peer, and is as before.
    ConnectFailed {
        /// Which one.
        socket: SocketId,
        /// Why.
        error: SocketError,
    },
    /// There are bytes, an end, or an error to [`receive`](Library::receive): do so until `NothingYet`.
    Readable {
        /// Where.
        socket: SocketId,
    },
    /// There is room again after a [`send`](Library::send) that took less than it was given.
    Writable {
        /// Where.
        socket: SocketId,
    },
}

/// The client socket library of a process. The loop around it: [the crate's first example](crate).
///
/// ```
/// use sockets::{Destination, Received};
/// # let (mut router, mut red, mut blue, listener) = sockets_testing::joined();
///
/// let socket = red.library.open_socket(&mut red.reactor, Destination::new("10.0.0.2:179".parse()?))?;
/// # router.run(&mut [&mut red, &mut blue]);
/// let accepted = blue.library.accept(&mut blue.reactor, listener)?.expect("it was told of one");
/// assert_eq!(red.library.send(socket, b"hello")?, 5);
/// let mut bytes = [0; 16];
/// assert_eq!(blue.library.receive(accepted.socket, &mut bytes)?, Received::Bytes(5));
///
/// red.library.close(&mut red.reactor, socket);
/// assert_eq!(blue.library.receive(accepted.socket, &mut bytes)?, Received::EndOfFile);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Library {
    pub(crate) identity: Identity,
    /// The router's, for digests of keys.
    pub(crate) salt: Salt,
    pub(crate) vrfib: VrFib,
    pub(crate) manager: ServiceClient<LibraryRequest, LibraryUpdate>,
    pub(crate) server: ServiceClient<SocketRequest, SocketReply>,
    pub(crate) server_pathname: Pathname,
    pub(crate) sockets: IndexMap<SocketId, Socket, BySocket>,
    /// Of sockets that have other options than the usual ones.
    pub(crate) options: HashMap<SocketId, Options>,
    pub(crate) by_token: HashMap<Token, SocketId>,
    /// Opens that procmgr has not answered.
    pub(crate) opening: HashMap<Ticket, SocketId>,
    pub(crate) listeners: HashMap<Criteria, Vec<SocketId>>,
    /// What comes for listeners that forked processes share.
    pub(crate) queues: HashMap<Criteria, FamilyQueue>,
    /// What procmgr was asked about them.
    pub(crate) queueing: HashSet<Ticket>,
    pub(crate) events: VecDeque<LibraryEvent>,
    pub(crate) drops: Drops,
    pub(crate) datagrams: Datagrams,
    /// Ports of sockets that neither listen nor connect yet.
    pub(crate) reservations: HashMap<SocketId, Reservation>,
    ports: PortLease,
    vrfib_known: bool,
    /// Sockets that wait for the vrFIB's first copy or for ports.
    waiting: Vec<SocketId>,
    supplies_came: bool,
    pub(crate) server_was_up: bool,
    /// What the manager and the socket server were asked, by ticket.
    asked: HashMap<u32, Asked>,
    next_ask: u32,
    pub(crate) next_socket: u64,
    /// When connections that another process has too are looked at again, if there are any.
    pub(crate) look_at_shared_at: Option<Instant>,
    timers: BTreeSet<(Instant, SocketId)>,
    due: HashMap<SocketId, Instant>,
    user_timeout: Duration,
    /// Of datagrams, and of connections that are closed.
    pub(crate) traffic: TrafficTable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Listener(Authority, SocketId),
    Reservation(SocketId),
    /// With which address a datagram socket speaks with its peer.
    Source(SocketId),
    Ports,
}

impl Library {
    /// The library of the process behind `reactor`'s link. It opens `/0/vrmgr` and `/0/stack`, and opens them again when
    /// they restart.
    pub fn new(reactor: &mut Reactor) -> Result<Self, LibraryError> {
        let identity = reactor.link.identity().clone();
        let server_pathname = router_service("stack");
        let manager_terms = postcard::to_stdvec(&vr_api::manager::Terms::Library).map_err(LibraryError::Terms)?;
        let server_terms = postcard::to_stdvec(&Terms::Sockets).map_err(LibraryError::Terms)?;
        let mut library = Self {
            identity,
            salt: reactor.link.salt(),
            vrfib: VrFib::default(),
            manager: ServiceClient::new(
                router_service("vrmgr"),
                manager_terms,
                Schema::new(vr_api::manager::LIBRARY_SCHEMA),
            ),
            server: ServiceClient::new(server_pathname.clone(), server_terms, Schema::new(stack_api::socket::SCHEMA)),
            server_pathname,
            sockets: IndexMap::default(),
            options: HashMap::new(),
            by_token: HashMap::new(),
            opening: HashMap::new(),
            listeners: HashMap::new(),
            queues: HashMap::new(),
            queueing: HashSet::new(),
            events: VecDeque::new(),
            drops: Drops::default(),
            datagrams: Datagrams::default(),
            reservations: HashMap::new(),
            ports: PortLease::default(),
            vrfib_known: false,
            waiting: Vec::new(),
            supplies_came: false,
            server_was_up: false,
            asked: HashMap::new(),
            next_ask: 0,
            next_socket: 0,
            look_at_shared_at: None,
            timers: BTreeSet::new(),
            due: HashMap::new(),
            user_timeout: USER_TIMEOUT,
            traffic: TrafficTable::default(),
        };
        library.manager.start(reactor)?;
        library.server.start(reactor)?;
        Ok(library)
    }

    /// Takes an event if it is the library's; call [`poll`](Self::poll) afterwards until `None`.
    pub fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        let event = self.dispatch(reactor, event);
        if event.is_none() {
            self.apply_updates(reactor);
        }
        event
    }

    fn dispatch(&mut self, reactor: &mut Reactor, event: Event) -> Option<Event> {
        let event = self.manager.handle(reactor, event)?;
        let event = self.server.handle(reactor, event)?;
        match event {
            Event::Ready(token) => match self.by_token.get(&token).copied() {
                Some(socket) => self.ready(reactor, socket),
                None if self.datagram_ready(reactor, token) || self.family_ready(token) => {}
                None => return Some(event),
            },
            Event::Link(LinkEvent::Opened { ticket, channel, peer }) => match self.opening.remove(&ticket) {
                Some(socket) => self.opened(reactor, socket, channel),
                None if self.datagrams.opens(ticket) => self.datagram_opened(reactor, ticket, channel),
                None => return Some(Event::Link(LinkEvent::Opened { ticket, channel, peer })),
            },
            Event::Link(LinkEvent::Refused { ticket, refusal }) => match self.opening.remove(&ticket) {
                Some(socket) => self.refused(socket, &refusal),
                None if self.datagrams.opens(ticket) => self.datagram_refused(reactor, ticket, &refusal),
                None if self.queueing.remove(&ticket) => log::error!("a listener cannot be shared: {refusal}"),
                None => return Some(Event::Link(LinkEvent::Refused { ticket, refusal })),
            },
            Event::Link(LinkEvent::Incoming {
                pathname: pathname @ Pathname::Endpoint { criteria, .. },
                channel,
                peer,
                terms,
            }) => {
                // Its opener may have been told of an address that lies in this process's ring.
                self.apply_updates(reactor);
                self.arrived(reactor, criteria, Arrival { pathname, channel, peer, terms });
            }
            Event::Link(LinkEvent::Done { ticket }) if self.queueing.remove(&ticket) => {}
            Event::Link(_) => return Some(event),
        }
        None
    }

    /// What happened to a socket since the last call. Call until `None` after each event that the library took, and
    /// after each call that it answers with an event.
    pub fn poll(&mut self, reactor: &mut Reactor) -> Option<LibraryEvent> {
        self.apply_news(reactor);
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.timers.first().map(|(due, _)| *due);
        [first, self.look_at_shared_at].into_iter().flatten().min()
    }

    /// Time has passed: silent peers are asked again, and given up in the end; so is a router that does not answer.
    pub fn handle_timeout(&mut self, reactor: &mut Reactor, now: Instant) {
        self.look_at_shared(reactor, now);
        while let Some(&(due, socket)) = self.timers.first()
            && due <= now
        {
            self.set_timer(socket, None);
            match self.sockets.get(&socket) {
                Some(Socket::Opening(_)) => self.opening_expired(reactor, socket, now),
                Some(Socket::Connected { .. } | Socket::Lent(_)) => self.gate_expired(socket, now),
                Some(Socket::Listening(_)) => self.listen_expired(reactor, socket),
                None if self.datagrams.contains(socket) => self.datagram_expired(reactor, socket),
                Some(Socket::Unbound | Socket::Bound(_)) | None => {}
            }
        }
    }

    /// How long data may lie unsent behind a closed gate before the connection ends (ETIMEDOUT), for connections whose
    /// [`Options`] do not say. Holds for gates that close from now on.
    pub fn set_user_timeout(&mut self, timeout: Duration) {
        self.user_timeout = timeout;
    }

    pub(crate) fn user_timeout(&self) -> Duration {
        self.user_timeout
    }

    /// Whether the manager and the socket server are there.
    pub fn has_authorities(&self) -> bool {
        self.manager.is_up() && self.server.is_up()
    }

    /// This process's vrFIB.
    pub fn vrfib(&self) -> &VrFib {
        &self.vrfib
    }

    /// What went over each inter-VR interface that this process used.
    pub fn inter_vr_counters(&self) -> Vec<InterVrCounters> {
        let mut traffic = self.traffic.clone();
        for socket in self.sockets.values() {
            socket.look_at_stream(|stream| {
                if let Path::InterVr(interface) = stream.path() {
                    traffic.add(interface, stream.traffic());
                }
            });
        }
        counters::inter_vr(&self.vrfib, &traffic)
    }

    /// How many connections were dropped for a reason before they reached a listener.
    pub fn drops(&self, reason: AcceptDrop) -> u64 {
        self.drops.of(reason)
    }

    /// How many datagrams were dropped for a reason.
    pub fn datagram_drops(&self, reason: DatagramDrop) -> u64 {
        self.datagrams.drops(reason)
    }

    /// The same for a call that comes often: looks at the rings, and does no more where there is nothing. A ring whose
    /// bell rang is an event, and is looked at with the bell then.
    #[inline]
    pub(crate) fn apply_news(&mut self, reactor: &mut Reactor) {
        if self.manager.has_news() || self.server.has_news() || self.supplies_came {
            self.apply_updates(reactor);
        }
    }

    /// Takes in everything that lies in the rings of the manager and the socket server.
    pub(crate) fn apply_updates(&mut self, reactor: &mut Reactor) {
        self.salt = reactor.link.salt();
        while let Some(event) = self.manager.poll(reactor) {
            self.manager_event(reactor, event);
        }
        while let Some(event) = self.server.poll(reactor) {
            self.server_event(reactor, event);
        }
        if std::mem::take(&mut self.supplies_came) {
            self.resume_waiting(reactor);
        }
    }

    fn manager_event(&mut self, reactor: &mut Reactor, event: ClientEvent<LibraryUpdate>) {
        match event {
            ClientEvent::Up => {
                self.ask_for_all(Authority::Manager);
                self.datagrams.ids().into_iter().for_each(|socket| self.publish_datagram(socket));
            }
            // Hits go on: the vrFIB is this process's own.
            ClientEvent::Down => self.authority_left(Authority::Manager),
            ClientEvent::Message(LibraryUpdate::VrFib(update)) => self.update_vrfib(update),
            ClientEvent::Message(LibraryUpdate::Published { ticket, .. }) => self.answered(reactor, ticket, Ok(())),
            ClientEvent::Message(LibraryUpdate::Refused { ticket, reason }) => {
                log::warn!("the VR connection manager does not publish a listener: {reason}");
                self.answered(reactor, ticket, Err(SocketError::PermissionDenied));
            }
            ClientEvent::Message(LibraryUpdate::CountersWanted { ticket }) => {
                let counters = self.inter_vr_counters();
                self.manager.send(&LibraryRequest::Counters { ticket, counters });
            }
        }
    }

    fn update_vrfib(&mut self, update: VrFibUpdate) {
        let is_whole = matches!(update, VrFibUpdate::Snapshot { .. });
        match self.vrfib.apply(update) {
            Ok(()) => {
                if is_whole && !self.vrfib_known {
                    self.supplies_came = true;
                    self.vrfib_known = true;
                    self.tell_of_family_queues();
                    self.tell_of_inherited_datagrams();
                }
                self.move_gates();
                self.datagrams.forget_ways();
                self.forget_datagram_peers();
            }
            Err(error) => log::error!("update of the VR connection manager refused: {error}"),
        }
    }

    fn server_event(&mut self, reactor: &mut Reactor, event: ClientEvent<SocketReply>) {
        match event {
            ClientEvent::Up => {
                self.server_was_up = true;
                if !self.ports.blocks().is_empty() {
                    self.server.send(&SocketRequest::HoldPorts { first: self.ports.blocks().to_vec() });
                }
                self.lease_if_low();
                self.ask_for_reservations();
                self.ask_for_all(Authority::Server);
                self.datagrams.ids().into_iter().for_each(|socket| self.ask_for_source(socket));
            }
            ClientEvent::Down => self.authority_left(Authority::Server),
            ClientEvent::Message(SocketReply::Done { ticket }) => self.answered(reactor, ticket, Ok(())),
            ClientEvent::Message(SocketReply::Failed { ticket, error }) => self.answered(reactor, ticket, Err(error)),
            ClientEvent::Message(SocketReply::Ports { ticket, first, count }) => match self.asked.remove(&ticket) {
                Some(Asked::Ports) => match self.ports.add(first, count) {
                    Ok(()) => self.supplies_came = true,
                    Err(error) => log::error!("the stack's answer is refused: {error}"),
                },
                Some(Asked::Reservation(reservation)) => self.reservation_answered(reservation, Ok(first)),
                Some(Asked::Listener(..) | Asked::Source(_)) | None => {}
            },
            ClientEvent::Message(SocketReply::Source { ticket, address }) => {
                if let Some(Asked::Source(socket)) = self.asked.remove(&ticket) {
                    self.datagram_source(socket, Ok(address));
                }
            }
        }
    }

    fn answered(&mut self, reactor: &mut Reactor, ticket: u32, answer: Result<(), SocketError>) {
        match (self.asked.remove(&ticket), answer) {
            (Some(Asked::Listener(_, socket)), Ok(())) if self.datagrams.contains(socket) => {
                self.datagram_published(socket);
            }
            (Some(Asked::Listener(_, socket)), Err(error)) if self.datagrams.contains(socket) => {
                self.fail_datagram(reactor, socket, error);
            }
            (Some(Asked::Listener(authority, socket)), Ok(())) => self.agreed(authority, socket),
            (Some(Asked::Listener(_, socket)), Err(error)) => self.disagreed(reactor, socket, error),
            (Some(Asked::Reservation(place)), Err(error)) => self.reservation_answered(place, Err(error)),
            (Some(Asked::Source(socket)), Err(error)) => self.datagram_source(socket, Err(error)),
            (Some(Asked::Ports | Asked::Reservation(_) | Asked::Source(_)), Ok(())) | (None, _) => {}
            (Some(Asked::Ports), Err(error)) => {
                log::warn!("no ephemeral ports from the stack: {error}");
                self.fail_waiting_for_ports(error);
            }
        }
    }

    fn authority_left(&mut self, authority: Authority) {
        self.asked.retain(|_, asked| match asked {
            Asked::Listener(of, _) => *of != authority,
            Asked::Reservation(_) | Asked::Source(_) | Asked::Ports => authority != Authority::Server,
        });
        self.left(authority);
    }

    pub(crate) fn new_ask(&mut self, authority: Authority, socket: SocketId) -> u32 {
        self.new_ticket(Asked::Listener(authority, socket))
    }

    pub(crate) fn new_ask_for_reservation(&mut self, reservation: SocketId) -> u32 {
        self.new_ticket(Asked::Reservation(reservation))
    }

    pub(crate) fn new_ask_for_source(&mut self, socket: SocketId) -> u32 {
        self.new_ticket(Asked::Source(socket))
    }

    fn new_ticket(&mut self, asked: Asked) -> u32 {
        // A second question makes the answer to the first one meaningless.
        self.asked.retain(|_, known| *known != asked);
        self.next_ask = self.next_ask.wrapping_add(1);
        self.asked.insert(self.next_ask, asked);
        self.next_ask
    }

    /// What comes in answer to a socket's questions is of no interest any more.
    pub(crate) fn forget_asks(&mut self, socket: SocketId) {
        self.asked.retain(|_, asked| !matches!(asked, Asked::Listener(_, of) if *of == socket));
    }

    pub(crate) fn vrfib_is_known(&self) -> bool {
        self.vrfib_known
    }

    /// An ephemeral port for a connection that does not pass the stack.
    pub(crate) fn take_port(&mut self) -> Option<u16> {
        let port = self.ports.take();
        self.lease_if_low();
        port
    }

    pub(crate) fn give_port_back(&mut self, port: u16) {
        self.ports.give_back(port);
    }

    /// Ports are asked for before they are needed, so that an open waits for nobody.
    fn lease_if_low(&mut self) {
        if self.ports.is_low() && !self.asked.values().any(|asked| *asked == Asked::Ports) {
            let ticket = self.next_ask.wrapping_add(1);
            if self.server.send(&SocketRequest::LeasePorts { ticket }) {
                self.next_ask = ticket;
                self.asked.insert(ticket, Asked::Ports);
            }
        }
    }

    pub(crate) fn wait_for_supplies(&mut self, socket: SocketId) {
        self.waiting.push(socket);
    }

    pub(crate) fn take_waiting(&mut self) -> Vec<SocketId> {
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn new_id(&mut self) -> SocketId {
        self.next_socket += 1;
        SocketId(self.next_socket)
    }

    pub(crate) fn set_timer(&mut self, socket: SocketId, due: Option<Instant>) {
        if let Some(old) = self.due.remove(&socket) {
            self.timers.remove(&(old, socket));
        }
        if let Some(due) = due {
            self.timers.insert((due, socket));
            self.due.insert(socket, due);
        }
    }

    pub(crate) fn is_connected(&self, addresses: &Addresses) -> bool {
        self.sockets
            .values()
            .any(|socket| socket.look_at_stream(|stream| stream.addresses() == *addresses).unwrap_or(false))
    }

    pub(crate) fn keep_traffic(&mut self, interface: &InterfaceName, traffic: Traffic) {
        self.traffic.add(interface, Traffic { connections: 0, ..traffic });
    }

    pub(crate) fn forget_channel(&mut self, reactor: &mut Reactor, channel: &mut Channel, token: Token) {
        self.by_token.remove(&token);
        if let Err(error) = reactor.deregister(channel) {
            log::debug!("a channel that is closed: {error}");
        }
    }
}

/// `/0/NAME`.
fn router_service(name: &'static str) -> Pathname {
    // Cannot fail: both callers give a name of letters.
    let name = ServiceName::new(name).expect("letters are a name");
    Pathname::service(VrId::ROUTER, name)
}
