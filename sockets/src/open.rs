//! Opening a connection: hit or miss, the one branch of the system.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipc::channel::Channel;
use ipc::error::ChannelError;
use ipc::protocol::{Generation, Refusal, Ticket};
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, InterfaceName};
use mio::Token;
use serde::Serialize;
use stack_api::Terms;
use stack_api::options::Options;
use stack_api::socket::{Addresses, Connect, ConnectResult, OptionsOf, SocketError, SocketRequest};
use vr_api::interface::is_link_scoped;
use vr_api::manager::{InterVrInterface, VrFibEntry};

use crate::error::{error_of_link, error_of_refusal};
use crate::library::{Library, LibraryEvent};
use crate::socket::{Socket, SocketId};
use crate::stream::{Path, Stream};
use crate::terms::open_terms;
use crate::vrfib::Local;

/// How long a connector waits for its peer: what Linux's six repetitions of a SYN take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(127);

/// First wait before a listener with a full backlog is tried again; it doubles, as a SYN's does (RFC 6298 section 2).
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Where a connection is to lead, and what its own end is bound to.
///
/// ```
/// use sockets::vrfib::Local;
/// use sockets::{Destination, Options};
/// # let (mut router, mut red, mut blue, _) = sockets_testing::joined();
///
/// // A neighbor on a link of ours: from this address, with the TTL of RFC 5082.
/// let to = Destination {
///     local: Local { address: Some("10.0.0.1".parse()?), interface: Some("vr2".parse()?) },
///     options: Options { ttl: Some(255), ..Options::default() },
///     ..Destination::new("10.0.0.2:179".parse()?)
/// };
/// let socket = red.library.open_socket(&mut red.reactor, to)?;
/// # router.run(&mut [&mut red, &mut blue]);
/// assert_eq!(red.library.addresses(socket)?.source.ip().to_string(), "10.0.0.1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The peer.
    pub to: SocketAddr,
    /// Own address and interface, where they matter.
    pub local: Local,
    /// Own port; `None`: an ephemeral one.
    pub port: Option<NonZeroU16>,
    /// Its options.
    pub options: Options,
}

impl Destination {
    /// A peer, everything else as the route says.
    pub fn new(to: SocketAddr) -> Self {
        // An IPv4 address in IPv6 clothes is reached by IPv4 (RFC 3493 section 3.7).
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        Self { to, local: Local::default(), port: None, options: Options::default() }
    }

    fn criteria(&self) -> Result<Criteria, SocketError> {
        let port = NonZeroU16::new(self.to.port()).ok_or(SocketError::InvalidArgument)?;
        let family = Family::of(self.to.ip());
        let other_family = self.local.address.is_some_and(|own| Family::of(own) != family);
        // A link-local address is one of every link: nobody can tell which is meant.
        let of_no_link = is_link_scoped(self.to.ip()) && self.local.interface.is_none();
        if other_family || of_no_link {
            return Err(SocketError::InvalidArgument);
        }
        Ok(Criteria::Tcp(family, port))
    }
}

/// A connection in SYN-SENT.
#[derive(Debug)]
pub(crate) struct Opening {
    to: Destination,
    criteria: Criteria,
    stage: Stage,
    deadline: Instant,
}

#[derive(Debug)]
enum Stage {
    /// The vrFIB has not had its first copy: nobody can tell hit from miss.
    VrFibWanted,
    /// A hit that waits for the stack to lease ports.
    PortWanted { entry: Arc<VrFibEntry> },
    /// procmgr is asked for a channel to the peer's library.
    Peer { ticket: Ticket, entry: Arc<VrFibEntry>, addresses: Addresses, next_retry: Duration },
    /// The listener's backlog was full: silence, and another attempt later.
    Silence { entry: Arc<VrFibEntry>, addresses: Addresses, next_retry: Duration },
    /// procmgr is asked for a channel to the socket server.
    Server { ticket: Ticket },
    /// The socket server does the handshake; its first record says how it went.
    Handshake { channel: Channel, token: Token },
}

impl Opening {
    /// Own port, if it was taken from the lease.
    pub fn port(&self) -> Option<u16> {
        match &self.stage {
            Stage::Peer { addresses, .. } | Stage::Silence { addresses, .. } => Some(addresses.source.port()),
            Stage::VrFibWanted | Stage::PortWanted { .. } | Stage::Server { .. } | Stage::Handshake { .. } => None,
        }
    }

    /// The interface that it is bound to.
    pub fn interface(&self) -> Option<&InterfaceName> {
        self.to.local.interface.as_ref()
    }

    /// What must be undone when it is given up.
    pub fn give_up(self) -> (Option<Ticket>, Option<(Channel, Token)>) {
        match self.stage {
            Stage::Peer { ticket, .. } | Stage::Server { ticket } => (Some(ticket), None),
            Stage::Handshake { channel, token } => (None, Some((channel, token))),
            Stage::VrFibWanted | Stage::PortWanted { .. } | Stage::Silence { .. } => (None, None),
        }
    }
}

impl Library {
    /// Opens a TCP connection. Returns at once with the socket in SYN-SENT; [`LibraryEvent::Connected`] or
    /// [`LibraryEvent::ConnectFailed`] follows.
    pub fn open_socket(&mut self, reactor: &mut Reactor, to: Destination) -> Result<SocketId, SocketError> {
        let criteria = to.criteria()?;
        to.options.check()?;
        self.apply_updates(reactor);
        let socket = self.new_id();
        self.keep_options(socket, to.options.clone());
        let opened = self.open_far_end(reactor, socket, &to, &criteria);
        let stage = opened.inspect_err(|_| drop(self.options.remove(&socket)))?;
        // As on Linux, the user timeout holds for the SYN too.
        let deadline = Instant::now() + CONNECT_TIMEOUT.min(to.options.user_timeout.unwrap_or(CONNECT_TIMEOUT));
        self.put(socket, Socket::Opening(Opening { to, criteria, stage, deadline }));
        self.set_timer(socket, Some(deadline));
        Ok(socket)
    }

    /// The one branch of the system: after it, the same code moves the bytes.
    fn open_far_end(
        &mut self,
        reactor: &mut Reactor,
        socket: SocketId,
        to: &Destination,
        criteria: &Criteria,
    ) -> Result<Stage, SocketError> {
        if !self.vrfib_is_known() {
            self.wait_for_supplies(socket);
            return Ok(Stage::VrFibWanted);
        }
        match self.vrfib.lookup(&to.local, to.to.ip(), criteria) {
            Some(entry) => self.open_peer(reactor, socket, to, entry), // the peer's library
            None => self.open_server(reactor, socket, to),             // the socket server
        }
    }

    fn open_peer(
        &mut self,
        reactor: &mut Reactor,
        socket: SocketId,
        to: &Destination,
        entry: Arc<VrFibEntry>,
    ) -> Result<Stage, SocketError> {
        let own = to.local.address.unwrap_or(entry.source);
        let is_own = |interface: &InterVrInterface| own == entry.source || interface.own_addresses.contains(&own);
        if !self.vrfib.interface(&entry.interface).is_some_and(is_own) {
            return Err(SocketError::AddressNotAvailable);
        }
        let port = match to.port {
            Some(port) => port.get(),
            None => match self.take_port() {
                Some(port) => port,
                None => {
                    self.wait_for_supplies(socket);
                    return Ok(Stage::PortWanted { entry });
                }
            },
        };
        let addresses = Addresses { source: SocketAddr::new(own, port), destination: to.to };
        if to.port.is_some() && self.is_connected(&addresses) {
            return Err(SocketError::AddressInUse);
        }
        self.ask_peer(reactor, socket, entry, addresses, FIRST_RETRY)
    }

    fn ask_peer(
        &mut self,
        reactor: &mut Reactor,
        socket: SocketId,
        entry: Arc<VrFibEntry>,
        addresses: Addresses,
        next_retry: Duration,
    ) -> Result<Stage, SocketError> {
        let generation = Some(Generation(entry.generation));
        let terms = open_terms(&self.salt, addresses, &self.options_of(socket));
        let ticket = encode(&terms).and_then(|terms| {
            reactor.link.open(&entry.listener, generation, &terms).map_err(|error| error_of_link(&error))
        });
        let ticket = ticket.inspect_err(|_| self.give_port_back(addresses.source.port()))?;
        self.opening.insert(ticket, socket);
        Ok(Stage::Peer { ticket, entry, addresses, next_retry })
    }

    fn open_server(&mut self, reactor: &mut Reactor, socket: SocketId, to: &Destination) -> Result<Stage, SocketError> {
        let connect = Connect {
            to: to.to,
            from: to.local.address,
            from_port: to.port.map(NonZeroU16::get),
            interface: to.local.interface.clone(),
            options: to.options.clone(),
        };
        let terms = encode(&Terms::Connect(connect))?;
        let ticket = reactor.link.open(&self.server_pathname, None, &terms).map_err(|error| error_of_link(&error))?;
        self.opening.insert(ticket, socket);
        Ok(Stage::Server { ticket })
    }

    /// What an opening socket waited for may be there: the vrFIB's first copy, or a lease of ports.
    pub(crate) fn resume_waiting(&mut self, reactor: &mut Reactor) {
        for socket in self.take_waiting() {
            let Some(mut opening) = self.take_opening(socket) else { continue };
            let stage = match opening.stage {
                Stage::VrFibWanted => self.open_far_end(reactor, socket, &opening.to, &opening.criteria),
                Stage::PortWanted { entry } => self.open_peer(reactor, socket, &opening.to, entry),
                other @ (Stage::Peer { .. }
                | Stage::Silence { .. }
                | Stage::Server { .. }
                | Stage::Handshake { .. }) => Ok(other),
            };
            match stage {
                Ok(stage) => {
                    opening.stage = stage;
                    self.put(socket, Socket::Opening(opening));
                }
                Err(error) => self.report_failure(socket, error),
            }
        }
    }

    /// The stack has no ports left to lease.
    pub(crate) fn fail_waiting_for_ports(&mut self, error: SocketError) {
        for socket in self.take_waiting() {
            match self.take_opening(socket) {
                Some(Opening { stage: Stage::PortWanted { .. }, .. }) => self.report_failure(socket, error),
                Some(opening) => {
                    self.put(socket, Socket::Opening(opening));
                    self.wait_for_supplies(socket);
                }
                None => {}
            }
        }
    }

    /// procmgr made the channel.
    pub(crate) fn opened(&mut self, reactor: &mut Reactor, socket: SocketId, mut channel: Channel) {
        let Some(mut opening) = self.take_opening(socket) else { return };
        match opening.stage {
            Stage::Peer { entry, addresses, .. } => {
                let stream = Stream::new(channel, addresses, Path::InterVr(entry.interface.clone()));
                self.establish(reactor, socket, stream, None);
            }
            Stage::Server { .. } => match reactor.register(&mut channel) {
                Ok(token) => {
                    self.by_token.insert(token, socket);
                    opening.stage = Stage::Handshake { channel, token };
                    self.put(socket, Socket::Opening(opening));
                    self.handshake(reactor, socket);
                }
                Err(error) => {
                    log::error!("connect {}: cannot wait for its channel: {error}", opening.to.to);
                    self.report_failure(socket, SocketError::NoBuffers);
                }
            },
            other @ (Stage::VrFibWanted
            | Stage::PortWanted { .. }
            | Stage::Silence { .. }
            | Stage::Handshake { .. }) => {
                opening.stage = other;
                self.put(socket, Socket::Opening(opening));
            }
        }
    }

    /// procmgr refused the channel.
    pub(crate) fn refused(&mut self, socket: SocketId, refusal: &Refusal) {
        let Some(mut opening) = self.take_opening(socket) else { return };
        log::debug!("connect {}: {refusal}", opening.to.to);
        match (error_of_refusal(refusal), opening.stage) {
            (None, Stage::Peer { entry, addresses, next_retry, .. }) => {
                let retry_at = (Instant::now() + next_retry).min(opening.deadline);
                opening.stage = Stage::Silence { entry, addresses, next_retry: next_retry * 2 };
                self.put(socket, Socket::Opening(opening));
                self.set_timer(socket, Some(retry_at));
            }
            (error, Stage::Peer { addresses, .. }) => {
                self.give_port_back(addresses.source.port());
                self.report_failure(socket, error.unwrap_or(SocketError::TimedOut));
            }
            // The socket server's own refusals are ConnectResults: this is procmgr without a socket server.
            (_, Stage::Server { .. }) => self.report_failure(socket, SocketError::NetworkDown),
            (_, Stage::VrFibWanted | Stage::PortWanted { .. } | Stage::Silence { .. } | Stage::Handshake { .. }) => {
                log::error!("connect {}: refused by procmgr, which was not asked", opening.to.to);
                self.report_failure(socket, SocketError::NetworkDown);
            }
        }
    }

    /// The timer of an opening socket: the next attempt, or the end.
    pub(crate) fn opening_expired(&mut self, reactor: &mut Reactor, socket: SocketId, now: Instant) {
        let Some(mut opening) = self.take_opening(socket) else { return };
        let deadline = opening.deadline;
        if now >= deadline {
            self.put(socket, Socket::Opening(opening));
            self.close(reactor, socket);
            self.report_failure(socket, SocketError::TimedOut);
            return;
        }
        match opening.stage {
            Stage::Silence { entry, addresses, next_retry } => {
                match self.ask_peer(reactor, socket, entry, addresses, next_retry) {
                    Ok(stage) => {
                        opening.stage = stage;
                        self.put(socket, Socket::Opening(opening));
                        self.set_timer(socket, Some(deadline));
                    }
                    Err(error) => self.report_failure(socket, error),
                }
            }
            other @ (Stage::VrFibWanted
            | Stage::PortWanted { .. }
            | Stage::Peer { .. }
            | Stage::Server { .. }
            | Stage::Handshake { .. }) => {
                opening.stage = other;
                self.put(socket, Socket::Opening(opening));
                self.set_timer(socket, Some(deadline));
            }
        }
    }

    /// The socket server may have said how the handshake went.
    pub(crate) fn handshake(&mut self, reactor: &mut Reactor, socket: SocketId) {
        let Some(mut opening) = self.take_opening(socket) else { return };
        let Stage::Handshake { mut channel, token } = opening.stage else {
            self.put(socket, Socket::Opening(opening));
            return;
        };
        match connect_result(&mut channel) {
            Ok(None) => {
                opening.stage = Stage::Handshake { channel, token };
                self.put(socket, Socket::Opening(opening));
            }
            Ok(Some(ConnectResult::Connected { local })) => {
                let addresses = Addresses { source: local, destination: opening.to.to };
                let options = self.options_of(socket);
                if options != opening.to.options {
                    let socket = OptionsOf::Connection(addresses);
                    self.server.send(&SocketRequest::SetOptions { socket, options });
                }
                self.establish(reactor, socket, Stream::new(channel, addresses, Path::Stack), Some(token));
            }
            Ok(Some(ConnectResult::Failed(error))) | Err(error) => {
                self.forget_channel(reactor, &mut channel, token);
                self.report_failure(socket, error);
            }
        }
    }

    fn report_failure(&mut self, socket: SocketId, error: SocketError) {
        self.set_timer(socket, None);
        self.options.remove(&socket);
        self.events.push_back(LibraryEvent::ConnectFailed { socket, error });
    }
}

fn encode<T: Serialize>(terms: &T) -> Result<Vec<u8>, SocketError> {
    postcard::to_stdvec(terms).map_err(|error| {
        log::error!("terms of an open: {error}");
        SocketError::InvalidArgument
    })
}

/// The first record of a channel to the socket server, if it is there: how the handshake went.
fn connect_result(channel: &mut Channel) -> Result<Option<ConnectResult>, SocketError> {
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
