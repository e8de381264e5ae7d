//! The process around a core: joins it to sockets, timers, the configuration, the RIB, the interfaces and `show`.
//!
//! ```text
//!   config ──── ConfigClient ────┐             ┌──── Connections ──── sockets
//!   stack ───── InterfaceClient ─┼──▶ core ────┤
//!   rib ─────── RibClient ───────┘    (Time)   └──── RibClient ─────── rib
//!   shell ───── ShowServer ──────────▶ show
//! ```
//!
//! What the process keeps when another restarts: without `config` the configuration stays in force, without the stack
//! the interfaces are as they were, and a RIB that is new is told everything again. Connections are opened only after
//! procmgr's word that the whole router is ready; what the core opens before waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipc::Pathname;
use ipc::link::LinkEvent;
use ipc::protocol::{Origin, Refusal, Ticket};
use ipc::reactor::Event;
/// The event loop of a process, around its link to procmgr: what a role begins with.
pub use ipc::reactor::Reactor;
use sockets::Destination;
use vr_api::command::Declaration;
use vr_api::show::{Row, ShowRequest, TERMS};

use crate::config_client::ConfigClient;
use crate::connections::{ConnectionEvent, Connections};
use crate::core::{ConnectionId, DatagramCommand, DatagramSocket, Input, Output, ProtocolCore};
use crate::datagrams::DatagramEvent;
use crate::error::ShellError;
use crate::interface_client::{InterfaceChange, InterfaceClient, KnownInterfaces};
use crate::rib::RibRequest;
use crate::rib_client::{RibClient, RibEvent};
use crate::show_server::{Asked, ShowServer, WholeTable};
use crate::timers::{Clock, wait_until};

/// How long a stopping process waits until its last words are sent: procmgr allows more.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Runs a core in this process until procmgr stops it in order.
pub fn run<C: ProtocolCore>(core: C, declaration: Declaration, reactor: Reactor) -> Result<(), ShellError> {
    let mut shell = Shell::new(core, &declaration, reactor)?;
    shell.pump();
    while !shell.is_stopped() {
        shell.turn()?;
    }
    Ok(())
}

struct Shell<C: ProtocolCore> {
    core: C,
    reactor: Reactor,
    clock: Clock,
    config: ConfigClient<C::Config>,
    interfaces: InterfaceClient,
    known: KnownInterfaces,
    rib: RibClient,
    shows: ShowServer<WholeTable>,
    connections: Connections,
    /// The service that answers tables and commands. A program that attached has one once it is ready: that tells
    /// whoever started it.
    published: Option<Ticket>,
    configured: bool,
    ready: bool,
    /// Connections that the core wants before the router is ready; `None`: it is.
    held: Option<BTreeMap<ConnectionId, Destination>>,
    /// Datagram sockets that stood before the router was ready.
    bound: BTreeSet<DatagramSocket>,
    /// When a stopping process ends, whatever is left to send.
    stop_at: Option<Instant>,
}

impl<C: ProtocolCore> Shell<C> {
    fn new(core: C, declaration: &Declaration, mut reactor: Reactor) -> Result<Self, ShellError> {
        let identity = reactor.link.identity().clone();
        let vr_name = identity.vr_name.ok_or(ShellError::NoVr)?;
        if identity.name != declaration.class {
            return Err(ShellError::Name { class: declaration.class.clone(), name: identity.name });
        }
        let published = match identity.origin {
            Origin::Supervised => Some(reactor.link.publish(declaration.class.clone())?),
            Origin::Attached => None,
        };
        Ok(Self {
            core,
            clock: Clock::start(),
            config: ConfigClient::new(&mut reactor, declaration)?,
            interfaces: InterfaceClient::new(&mut reactor)?,
            known: KnownInterfaces::default(),
            rib: RibClient::new(&mut reactor, identity.vr)?,
            shows: ShowServer::new(&mut reactor, vr_name),
            connections: Connections::new(&mut reactor)?,
            published,
            configured: false,
            ready: false,
            held: Some(BTreeMap::new()),
            bound: BTreeSet::new(),
            stop_at: None,
            reactor,
        })
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self) -> Result<(), ShellError> {
        let core = self.core.poll_timeout().map(|time| self.clock.instant(time));
        let due = [core.flatten(), self.connections.poll_timeout(), self.stop_at];
        self.reactor.wait(wait_until(Instant::now(), due))?;
        self.connections.handle_timeout(&mut self.reactor, Instant::now());
        let now = self.clock.now();
        if self.core.poll_timeout().is_some_and(|due| due <= now) {
            self.core.handle_timeout(now);
            self.drain();
        }
        while let Some(event) = self.reactor.next_event()? {
            self.handle(event)?;
        }
        self.connections.resume(&mut self.reactor);
        self.pump();
        self.shows.continue_answers(&mut self.reactor, WholeTable::more);
        self.say_ready()
    }

    /// Gives an event to the part that it is for.
    fn handle(&mut self, event: Event) -> Result<(), ShellError> {
        let reactor = &mut self.reactor;
        let Some(event) = self.connections.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.config.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.interfaces.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.rib.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.shows.handle(event) else { return Ok(()) };
        match event {
            Event::Link(LinkEvent::Incoming { pathname: Pathname::Service { .. }, channel, peer, terms })
                if terms == TERMS =>
            {
                self.shows.adopt(reactor, peer, channel);
            }
            Event::Link(LinkEvent::Incoming { pathname, peer, .. }) => {
                log::warn!("{peer} opened {pathname} for something that is not offered there");
            }
            Event::Link(LinkEvent::Refused { ticket, refusal }) if Some(ticket) == self.published => {
                return Err(match refusal {
                    Refusal::Taken(_, pid) => ShellError::RunsAlready(self.reactor.link.identity().name.clone(), pid),
                    other => ShellError::Publish(other),
                });
            }
            Event::Link(LinkEvent::Go) => self.go(),
            Event::Link(LinkEvent::Stop) => self.stop(),
            Event::Link(
                LinkEvent::Done { .. }
                | LinkEvent::Refused { .. }
                | LinkEvent::Opened { .. }
                | LinkEvent::Answer { .. },
            )
            | Event::Ready(_) => {}
        }
        Ok(())
    }

    /// Hands everything that has come to the core, and does what it wants, until nothing is left.
    fn pump(&mut self) {
        while self.pump_config()
            | self.pump_interfaces()
            | self.pump_rib()
            | self.pump_connections()
            | self.pump_datagrams()
        {}
        while let Some(asked) = self.shows.poll(&mut self.reactor) {
            self.asked(asked);
        }
    }

    fn pump_config(&mut self) -> bool {
        let Some(config) = self.config.poll(&mut self.reactor, C::read_config) else { return false };
        match self.core.configure(self.clock.now(), config) {
            Ok(()) => self.configured = true,
            // It passed the verification, so this is a fault of the core.
            Err(error) => log::error!("the verified configuration cannot be put in force: {error}"),
        }
        self.drain();
        true
    }

    fn pump_interfaces(&mut self) -> bool {
        let Some(event) = self.interfaces.poll(&mut self.reactor) else { return false };
        for change in self.known.update(event) {
            self.input(match change {
                InterfaceChange::Set(state) => Input::Interface(state),
                InterfaceChange::Removed(name) => Input::InterfaceRemoved(name),
            });
        }
        true
    }

    fn pump_rib(&mut self) -> bool {
        let Some(event) = self.rib.poll(&mut self.reactor) else { return false };
        self.input(match event {
            RibEvent::Restarted => Input::RibRestarted,
            RibEvent::Update(update) => Input::Rib(update),
        });
        true
    }

    fn pump_connections(&mut self) -> bool {
        let Some(event) = self.connections.poll(&mut self.reactor) else { return false };
        match &event {
            ConnectionEvent::Connected { connection, local, remote } => {
                self.input(Input::Connected { connection: *connection, local: *local, remote: *remote });
            }
            ConnectionEvent::ConnectFailed { connection, error } => {
                self.input(Input::ConnectFailed { connection: *connection, error: *error });
            }
            ConnectionEvent::Accepted { connection, local, remote } => {
                self.input(Input::Accepted { connection: *connection, local: *local, remote: *remote });
            }
            ConnectionEvent::Received { connection, bytes } => {
                self.input(Input::Received { connection: *connection, bytes });
            }
            ConnectionEvent::Closed { connection, closed } => {
                self.input(Input::Closed { connection: *connection, closed: *closed });
            }
            ConnectionEvent::ListenFailed { port, error } => {
                log::error!("listen on port {port}: {error}");
                self.input(Input::ListenFailed { port: *port, error: *error });
            }
        }
        true
    }

    /// All that came, one after the other: looking at the other parts between two datagrams would cost more than they do.
    fn pump_datagrams(&mut self) -> bool {
        let mut happened = false;
        while let Some(event) = self.connections.poll_datagram(&mut self.reactor) {
            happened = true;
            match &event {
                DatagramEvent::Bound { socket } => match self.held {
                    Some(_) => _ = self.bound.insert(*socket),
                    None => self.input(Input::Bound { socket: *socket }),
                },
                DatagramEvent::Received { socket, message } => {
                    self.core.handle_input(self.clock.now(), Input::Datagram { socket: *socket, message });
                    self.drain_burst();
                }
                DatagramEvent::BindFailed { socket, error } => {
                    log::error!("datagram socket: {error}");
                    self.input(Input::BindFailed { socket: *socket, error: *error });
                }
            }
        }
        self.connections.end_burst();
        happened
    }

    fn asked(&mut self, asked: Asked) {
        let Asked { client, request } = asked;
        match request {
            ShowRequest::Table { table, arguments } => match self.rows(&table, &arguments) {
                Some(rows) => self.shows.answer(client, WholeTable::new(rows)),
                None => self.shows.refuse(client, format!("no table `{table}`")),
            },
            ShowRequest::Command { words } => {
                let obeyed = self.core.command(self.clock.now(), &words);
                self.drain();
                match obeyed {
                    Ok(()) => self.shows.done(client),
                    Err(reason) => self.shows.refuse(client, reason),
                }
            }
        }
    }

    /// Rows of a table of the core, or of the socket library that it never sees.
    fn rows(&self, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
        self.core.show(self.clock.now(), table, arguments).or_else(|| self.connections.table(table))
    }

    fn input(&mut self, input: Input<'_>) {
        self.core.handle_input(self.clock.now(), input);
        self.drain();
    }

    /// Does what the core wants.
    fn drain(&mut self) {
        self.drain_burst();
        self.connections.end_burst();
    }

    /// The same, but more follows at once: who is to hear of datagrams is woken behind the last, or when they have become
    /// many.
    fn drain_burst(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Listen { port } => self.connections.listen(&mut self.reactor, port),
                Output::Peers(peers) => self.connections.set_peers(peers),
                Output::StopListening { port } => self.connections.stop_listening(&mut self.reactor, port),
                Output::Connect { connection, to, from, ttl } => {
                    let mut destination = Destination::new(to);
                    destination.options.ttl = Some(ttl);
                    destination.local.address = from;
                    match &mut self.held {
                        Some(held) => _ = held.insert(connection, destination),
                        None => self.connections.connect(&mut self.reactor, connection, destination),
                    }
                }
                Output::Send { connection, bytes } => self.connections.send(&mut self.reactor, connection, bytes),
                Output::Close { connection } => {
                    let held = self.held.as_mut().and_then(|held| held.remove(&connection));
                    if held.is_none() {
                        self.connections.close(&mut self.reactor, connection, Instant::now());
                    }
                }
                // Before the router is ready nothing is said to anybody.
                Output::Datagram { command: DatagramCommand::Send(_), .. } if self.held.is_some() => {}
                Output::Datagram { socket, command } => self.connections.datagram(&mut self.reactor, socket, command),
                Output::Rib(request) => self.rib.send(request),
                Output::Log { level, text } => log::log!(level, "{text}"),
            }
        }
    }

    /// The router is ready: connections may be opened, and datagrams sent.
    fn go(&mut self) {
        for (connection, destination) in self.held.take().into_iter().flatten() {
            self.connections.connect(&mut self.reactor, connection, destination);
        }
        for socket in std::mem::take(&mut self.bound) {
            self.input(Input::Bound { socket });
        }
    }

    fn stop(&mut self) {
        if self.stop_at.is_none() {
            self.stop_at = Some(Instant::now() + STOP_TIME);
            self.input(Input::Stop);
            self.rib.send(RibRequest::Leave);
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop_at.is_some_and(|at| at <= Instant::now() || self.connections.is_idle())
    }

    /// Tells procmgr once that everything is there that the protocol needs to work.
    fn say_ready(&mut self) -> Result<(), ShellError> {
        if let Some(reason) = self.config.refusal() {
            return Err(ShellError::Declaration(reason.to_owned()));
        }
        if !self.ready && self.configured && self.known.is_complete() && self.connections.listeners_are_settled() {
            self.ready = true;
            self.reactor.link.ready()?;
            if self.published.is_none() {
                let class = self.reactor.link.identity().name.clone();
                self.published = Some(self.reactor.link.publish(class)?);
            }
        }
        Ok(())
    }
}
