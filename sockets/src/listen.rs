//! Listening: published on both paths, accepted from both paths.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use ipc::channel::Channel;
use ipc::protocol::Identity;
use ipc::queue::Arrival;
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, InterfaceName, Pathname, VrId};
use stack_api::socket::{Addresses, SocketError, SocketRequest};
use vr_api::manager::{LibraryRequest, Listener};

use crate::counters::AcceptDrop;
use crate::library::{Library, LibraryEvent};
use crate::message::reversed;
use crate::socket::{Bound, Socket, SocketId};
use crate::stream::{Path, Stream};
use crate::terms::clauses;

/// Name of the stack's process: from it, and from nobody else, any source address is believed.
const STACK: &str = "stack";

/// A connection that was accepted.
///
/// ```
/// # let (mut router, mut red, mut blue, listener) = sockets_testing::joined();
/// # red.open("10.0.0.2:179");
/// # router.run(&mut [&mut red, &mut blue]);
/// while let Some(accepted) = blue.library.accept(&mut blue.reactor, listener)? {
///     assert_eq!(accepted.addresses.source.ip().to_string(), "10.0.0.1");
///     blue.library.send(accepted.socket, b"welcome")?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its socket.
    pub socket: SocketId,
    /// Who opened it (`source`), and whom it wanted (`destination`).
    pub addresses: Addresses,
}

/// A socket that listens, or is about to.
#[derive(Debug)]
pub(crate) struct Listening {
    pub listener: Listener,
    manager: Consent,
    server: Consent,
    announced: bool,
    /// Shared with forked processes, and with nobody else: they listen at the same place. Nobody can guess it.
    pub family: u64,
    /// Connections that wait, and the endpoints that they came by.
    pub queue: VecDeque<(Stream, Pathname)>,
}

/// What one of the two that must agree to a listener has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// It is away, and is asked when it comes.
    Absent,
    /// It was asked.
    Asked,
    /// It agreed.
    Given,
}

/// Who must agree to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Authority {
    /// The VR connection manager, which makes the listener known to the joined VRs.
    Manager,
    /// The socket server, which owns the VR's ports.
    Server,
}

impl Listening {
    /// That of the program before this one: both authorities are asked in this process's name when they are there.
    pub fn taken_over(listener: Listener, family: u64, queue: Vec<(Stream, Pathname)>) -> Self {
        let (manager, server) = (Consent::Absent, Consent::Absent);
        Self { listener, manager, server, announced: true, family, queue: queue.into() }
    }

    /// Whether a connection waits here to be accepted.
    pub fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The connections that wait.
    pub fn waiting(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.queue.iter_mut().map(|(stream, _)| stream)
    }

    /// This process is a forked child, and listens by itself too: both authorities are asked in its own name.
    pub fn adopt(&mut self) {
        (self.manager, self.server) = (Consent::Absent, Consent::Absent);
        self.waiting().for_each(Stream::adopt);
    }

    /// Forgets connections that a sibling has accepted.
    pub fn forget_claimed(&mut self) {
        self.queue.retain(|(stream, _)| !stream.is_claimed());
    }

    fn has_room(&self) -> bool {
        self.queue.len() < usize::from(self.listener.backlog)
    }

    fn consent(&mut self, authority: Authority) -> &mut Consent {
        match authority {
            Authority::Manager => &mut self.manager,
            Authority::Server => &mut self.server,
        }
    }
}

impl Library {
    /// Makes a bound socket listen. [`LibraryEvent::Listening`] follows once the stack has given the port and every
    /// process of a joined VR knows of it: a connect after that is accepted on either path.
    /// [`LibraryEvent::ListenFailed`] leaves the socket bound; it comes after a minute (`TimedOut`) where either does not
    /// answer.
    pub fn listen(&mut self, reactor: &mut Reactor, socket: SocketId, backlog: u16) -> Result<(), SocketError> {
        let bound = self.bound(socket)?;
        let (address, port) = (bound.address.ip(), NonZeroU16::new(bound.address.port()));
        let criteria = Criteria::Tcp(Family::of(address), port.ok_or(SocketError::InvalidArgument)?);
        let local = (!address.is_unspecified()).then_some(address);
        if self.listener_exactly(&criteria, local).is_some() {
            return Err(SocketError::AddressInUse);
        }
        let interface = bound.interface.clone();
        let (clauses, shared) = (Vec::new(), Vec::new());
        let listener = Listener { criteria, local, interface, backlog: backlog.max(1), clauses, shared };
        let (manager, server) = (Consent::Absent, Consent::Absent);
        // Keyed by the system's random numbers.
        let family = self.reservation_of(criteria, local).unwrap_or_else(|| RandomState::new().hash_one(socket.0));
        let listening = Listening { listener, manager, server, announced: false, family, queue: VecDeque::new() };
        self.put(socket, Socket::Listening(listening));
        self.listeners.entry(criteria).or_default().push(socket);
        self.apply_updates(reactor);
        self.ask(Authority::Manager, socket);
        self.ask(Authority::Server, socket);
        self.await_answer(socket);
        Ok(())
    }

    /// The next connection of a listening socket; `None`: nobody waits. Call until `None` after
    /// [`LibraryEvent::Incoming`].
    pub fn accept(&mut self, reactor: &mut Reactor, listener: SocketId) -> Result<Option<Accepted>, SocketError> {
        let stream = loop {
            let Some(Socket::Listening(listening)) = self.sockets.get_mut(&listener) else {
                return Err(SocketError::InvalidArgument);
            };
            let criteria = listening.listener.criteria;
            match listening.queue.pop_front() {
                Some((mut stream, came_by)) => {
                    if stream.claim() {
                        self.left_backlog(reactor, came_by);
                        break stream;
                    }
                    // Another process of the family has accepted it.
                }
                None if self.take_from_family(reactor, criteria) => {}
                None => return Ok(None),
            }
        };
        let socket = self.new_id();
        let addresses = reversed(stream.addresses());
        self.keep_options(socket, self.options_of(listener));
        self.enter(reactor, socket, stream, None)?;
        self.ready(reactor, socket);
        Ok(Some(Accepted { socket, addresses }))
    }

    /// Asks for everything that listens: an authority is there, and knows nothing of this process.
    pub(crate) fn ask_for_all(&mut self, authority: Authority) {
        let listeners: Vec<SocketId> = self.listeners.values().flatten().copied().collect();
        listeners.into_iter().for_each(|socket| self.ask(authority, socket));
    }

    /// Asks one authority for a listener, with what its options are now.
    pub(crate) fn ask(&mut self, authority: Authority, socket: SocketId) {
        let ticket = self.new_ask(authority, socket);
        let pathname = |criteria| Pathname::endpoint(self.identity.vr, self.identity.pid, criteria);
        let options = self.options_of(socket);
        let Some(Socket::Listening(listening)) = self.sockets.get_mut(&socket) else { return };
        if let Criteria::Tcp(family, _) = listening.listener.criteria {
            listening.listener.clauses = clauses(&self.salt, family, listening.listener.local, &options);
        }
        let listener = listening.listener.clone();
        let asked = match authority {
            Authority::Manager => self.manager.send(&LibraryRequest::Publish { ticket, listener }),
            Authority::Server => self.server.send(&SocketRequest::Listen {
                ticket,
                listener: pathname(listener.criteria),
                local: listener.local,
                interface: listener.interface,
                backlog: listener.backlog,
                options,
                family: listening.family,
            }),
        };
        *listening.consent(authority) = if asked { Consent::Asked } else { Consent::Absent };
    }

    /// An authority agreed.
    pub(crate) fn agreed(&mut self, authority: Authority, socket: SocketId) {
        if let Some(Socket::Listening(listening)) = self.sockets.get_mut(&socket) {
            *listening.consent(authority) = Consent::Given;
            self.announce(socket);
        }
    }

    /// An authority went away: what it had given stands, what it was asked for is asked again when it is back.
    pub(crate) fn left(&mut self, authority: Authority) {
        let listeners: Vec<SocketId> = self.listeners.values().flatten().copied().collect();
        for socket in listeners {
            if let Some(Socket::Listening(listening)) = self.sockets.get_mut(&socket) {
                *listening.consent(authority) = Consent::Absent;
                self.announce(socket);
            }
        }
    }

    /// Says once that a socket listens: when the manager has made it known, without which nobody is led to it on either
    /// path, and the stack has given the port; while that is away, having been there, the manager is enough.
    fn announce(&mut self, listener: SocketId) {
        let server_may_be_absent = self.server_was_up;
        let Some(Socket::Listening(listening)) = self.sockets.get_mut(&listener) else { return };
        let stands = match (listening.manager, listening.server) {
            (Consent::Given, Consent::Given) => true,
            (Consent::Given, Consent::Absent) => server_may_be_absent,
            (Consent::Given, Consent::Asked) | (Consent::Asked | Consent::Absent, _) => false,
        };
        if stands && !listening.announced {
            listening.announced = true;
            self.set_timer(listener, None);
            self.events.push_back(LibraryEvent::Listening { listener });
        }
    }

    /// An authority refused: the other one is told to forget the listener, and the socket is merely bound again.
    pub(crate) fn disagreed(&mut self, reactor: &mut Reactor, listener: SocketId, error: SocketError) {
        let Some(Socket::Listening(listening)) = self.sockets.get(&listener) else { return };
        let Listener { criteria, local, ref interface, .. } = listening.listener;
        let Criteria::Tcp(family, port) = criteria else { return };
        let address = SocketAddr::new(local.unwrap_or(family.unspecified()), port.get());
        let (bound, options) = (Bound { address, interface: interface.clone() }, self.options_of(listener));
        self.close(reactor, listener);
        self.forget_asks(listener);
        self.keep_options(listener, options);
        self.put(listener, Socket::Bound(bound));
        self.events.push_back(LibraryEvent::ListenFailed { listener, error });
    }

    /// Takes a listener back on both paths. Connections that nobody accepted are reset.
    pub(crate) fn stop_listening(&mut self, reactor: &mut Reactor, socket: SocketId, listening: Listening) {
        let Listener { criteria, local, .. } = listening.listener;
        if let Some(sockets) = self.listeners.get_mut(&criteria) {
            sockets.retain(|known| *known != socket);
            if sockets.is_empty() {
                self.listeners.remove(&criteria);
                self.leave_family_queue(reactor, criteria);
            }
        }
        let listener = Pathname::endpoint(self.identity.vr, self.identity.pid, criteria);
        // procmgr first: a connect that still hits is refused from here on. The vrFIBs learn it from the manager.
        if !self.listeners.contains_key(&criteria)
            && let Err(error) = reactor.link.withdraw(listener.clone())
        {
            log::debug!("{error}");
        }
        self.manager.send(&LibraryRequest::Withdraw { criteria, local });
        self.server.send(&SocketRequest::Unlisten { listener, local });
        for (stream, came_by) in listening.queue {
            stream.abort();
            self.left_backlog(reactor, came_by);
        }
    }

    /// Tells procmgr, which holds opens back while a backlog is full, that there is room for one more.
    pub(crate) fn left_backlog(&self, reactor: &mut Reactor, listener: Pathname) {
        if let Err(error) = reactor.link.accepted(listener) {
            log::debug!("{error}");
        }
    }

    /// Somebody opened an endpoint of this process, on its link or in a queue of its family: the library of a peer, or
    /// the socket server.
    pub(crate) fn arrived(&mut self, reactor: &mut Reactor, criteria: Criteria, arrival: Arrival) {
        let Arrival { pathname, channel, peer, terms } = arrival;
        match criteria {
            Criteria::Udp(..) | Criteria::Raw(..) => {
                self.datagram_incoming(reactor, criteria, channel, &peer, &terms);
                self.left_backlog(reactor, pathname);
            }
            Criteria::Tcp(..) | Criteria::Osi(_) => {
                self.incoming(reactor, (criteria, pathname), channel, &peer, &terms);
            }
        }
    }

    fn incoming(
        &mut self,
        reactor: &mut Reactor,
        (criteria, came_by): (Criteria, Pathname),
        mut channel: Channel,
        peer: &Identity,
        terms: &[u8],
    ) {
        let admitted = self.admit(criteria, peer, terms).and_then(|(listener, addresses, path)| {
            match self.sockets.get_mut(&listener) {
                Some(Socket::Listening(listening)) if listening.has_room() => {
                    Ok((listener, addresses, path, listening))
                }
                Some(_) => Err(AcceptDrop::BacklogFull),
                None => Err(AcceptDrop::NoListener),
            }
        });
        match admitted {
            Ok((listener, addresses, path, listening)) => {
                listening.queue.push_back((Stream::new(channel, reversed(addresses), path), came_by));
                self.events.push_back(LibraryEvent::Incoming { listener });
            }
            Err(reason) => {
                log::debug!("connection of {peer} to {criteria} dropped: {reason}");
                self.drops.count(reason);
                channel.reset(SocketError::ConnectionReset.code());
                self.left_backlog(reactor, came_by);
            }
        }
    }

    /// Which listener a connection is for, if its opener may open it.
    fn admit(
        &self,
        criteria: Criteria,
        peer: &Identity,
        terms: &[u8],
    ) -> Result<(SocketId, Addresses, Path), AcceptDrop> {
        let addresses: Addresses = postcard::from_bytes(terms).map_err(|_| AcceptDrop::BadTerms)?;
        let Addresses { source, destination } = addresses;
        let path = self.path_from(peer, source.ip())?;
        let is_wanted = match criteria {
            Criteria::Tcp(family, port) => {
                Family::of(destination.ip()) == family
                    && Family::of(source.ip()) == family
                    && destination.port() == port.get()
                    && source.port() != 0
            }
            Criteria::Udp(..) | Criteria::Raw(..) | Criteria::Osi(_) => false,
        };
        if !is_wanted {
            return Err(AcceptDrop::WrongDestination);
        }
        let listener = self.listener_for(&criteria, destination.ip(), &path).ok_or(AcceptDrop::NoListener)?;
        Ok((listener, addresses, path))
    }

    /// Which way a connection came, if its opener may use that source address: identity is attested, addresses are
    /// claimed.
    fn path_from(&self, peer: &Identity, source: IpAddr) -> Result<Path, AcceptDrop> {
        if peer.vr == VrId::ROUTER && peer.name.as_str() == STACK {
            return Ok(Path::Stack);
        }
        let interface = self.vrfib.interface_to(peer.vr).ok_or(AcceptDrop::ForgedSource)?;
        if !interface.peer_addresses.contains(&source) {
            return Err(AcceptDrop::ForgedSource);
        }
        if !interface.up {
            return Err(AcceptDrop::InterfaceDown);
        }
        Ok(Path::InterVr(interface.name.clone()))
    }

    /// The listener bound to the address, else the one bound to none.
    fn listener_for(&self, criteria: &Criteria, destination: IpAddr, path: &Path) -> Option<SocketId> {
        let over_wanted = |interface: &Option<InterfaceName>| match (interface, path) {
            (None, _) | (Some(_), Path::Stack) => true, // the stack has looked at the interface itself
            (Some(wanted), Path::InterVr(name)) => wanted == name,
        };
        let bound_to = |local: Option<IpAddr>| {
            self.listeners.get(criteria)?.iter().copied().find(|socket| {
                let listener = self.listener(*socket);
                listener.is_some_and(|l| l.local == local && over_wanted(&l.interface))
            })
        };
        bound_to(Some(destination)).or_else(|| bound_to(None))
    }

    fn listener_exactly(&self, criteria: &Criteria, local: Option<IpAddr>) -> Option<SocketId> {
        let bound_so = |socket: &SocketId| self.listener(*socket).is_some_and(|listener| listener.local == local);
        self.listeners.get(criteria)?.iter().copied().find(bound_so)
    }

    fn listener(&self, socket: SocketId) -> Option<&Listener> {
        match self.sockets.get(&socket)? {
            Socket::Listening(listening) => Some(&listening.listener),
            Socket::Unbound | Socket::Bound(_) | Socket::Opening(_) | Socket::Connected { .. } | Socket::Lent(_) => {
                None
            }
        }
    }
}
