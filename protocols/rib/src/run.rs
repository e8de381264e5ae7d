//! The process of a RIB: joins the core to protocols, the stack, the VR connection manager, the configuration and
//! `show`.
//!
//! Any of these may restart. What they said stays in force meanwhile: routes of a protocol for a while, interfaces,
//! the configuration and the manager's questions until they say otherwise; a FIB that is new gets the whole table.

use std::time::Instant;

use ipc::Pathname;
use ipc::channel::Channel;
use ipc::link::LinkEvent;
use ipc::message::Schema;
use ipc::protocol::{Identity, Origin, Ticket};
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ClientId, ServerEvent, ServiceClient, ServiceServer};
use mio::Token;
use sdk::config_client::{ConfigClient, router_service};
use sdk::error::ShellError;
use sdk::interface_client::InterfaceClient;
use sdk::rib::{RibRequest, RibUpdate};
use sdk::show_server::{Asked, ShowServer};
use sdk::timers::{Clock, wait_until};
use stack_api::fib::{FibReply, FibRequest};
use stack_api::interface::InterfaceEvent;
use vr_api::manager::{RibAnswer, RibQuestion};
use vr_api::show::{ShowRequest, TERMS};

use crate::config::{self, RibConfig};
use crate::error::RibError;
use crate::instance::{Input, Output, Rib, Settings};
use crate::protocols::Client;
use crate::show::Cursor;

/// Messages taken before `show` and the timers have their turn: whoever sends without end holds up nobody.
const MESSAGES_PER_TURN: usize = 64;

/// Changes of routes that count as one message. The SDK sends no more in one; a program may send a megabyte of them.
const CHANGES_PER_MESSAGE: usize = 250;

/// Runs the RIB of this process's VR until procmgr stops it in order. The FIB keeps what it has.
pub fn run(reactor: Reactor) -> Result<(), RibError> {
    let mut process = Process::new(reactor)?;
    while !process.stopping {
        process.turn()?;
    }
    Ok(())
}

struct Process {
    rib: Rib,
    reactor: Reactor,
    clock: Clock,
    identity: Identity,
    protocols: ServiceServer<RibUpdate, RibRequest>,
    shows: ShowServer<Cursor>,
    config: ConfigClient<RibConfig>,
    interfaces: InterfaceClient,
    fib: ServiceClient<FibRequest, FibReply>,
    /// The FIB's channel is open, but the stack behind it has not told its interfaces: it would refuse every route.
    fib_waits: bool,
    manager: ServiceClient<RibAnswer, RibQuestion>,
    /// Wakes the loop for messages that were left for the next turn.
    token: Token,
    published: Ticket,
    ready: bool,
    stopping: bool,
}

impl Process {
    fn new(mut reactor: Reactor) -> Result<Self, RibError> {
        let identity = reactor.link.identity().clone();
        let vr_name = identity.vr_name.clone().ok_or(ShellError::NoVr)?;
        let declaration = config::declaration();
        let published = reactor.link.publish(declaration.class.clone())?;
        let config = ConfigClient::new(&mut reactor, &declaration)?;
        let interfaces = InterfaceClient::new(&mut reactor)?;
        let terms = postcard::to_stdvec(&stack_api::Terms::Fib)?;
        let mut fib = ServiceClient::new(router_service("stack"), terms, Schema::new(stack_api::fib::SCHEMA));
        fib.start(&mut reactor)?;
        let terms = postcard::to_stdvec(&vr_api::manager::Terms::Rib)?;
        let schema = Schema::new(vr_api::manager::RIB_SCHEMA);
        let mut manager = ServiceClient::new(router_service("vrmgr"), terms, schema);
        manager.start(&mut reactor)?;
        Ok(Self {
            rib: Rib::new(Settings::default()),
            clock: Clock::start(),
            protocols: ServiceServer::new(Schema::new(sdk::rib::SCHEMA)),
            shows: ShowServer::new(&mut reactor, vr_name),
            identity,
            config,
            interfaces,
            fib,
            fib_waits: false,
            manager,
            token: reactor.token(),
            published,
            ready: false,
            stopping: false,
            reactor,
        })
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self) -> Result<(), RibError> {
        let due = self.rib.poll_timeout().and_then(|time| self.clock.instant(time));
        self.reactor.wait(wait_until(Instant::now(), [due]))?;
        let now = self.clock.now();
        if self.rib.poll_timeout().is_some_and(|due| due <= now) {
            self.rib.handle_timeout(now);
            self.drain();
        }
        while let Some(event) = self.reactor.next_event()? {
            self.handle(event)?;
        }
        let mut messages = 0;
        loop {
            let of_router = self.pump_config() | self.pump_stack() | self.pump_manager();
            let of_protocols = self.pump_protocols();
            if !of_router && of_protocols == 0 {
                break;
            }
            messages += of_protocols.max(1);
            if messages >= MESSAGES_PER_TURN {
                self.reactor.again(self.token);
                break;
            }
        }
        while let Some(asked) = self.shows.poll(&mut self.reactor) {
            self.asked(asked);
        }
        let (rib, now) = (&self.rib, self.clock.now());
        self.shows.continue_answers(&mut self.reactor, |cursor, count| rib.show_more(now, cursor, count));
        if !self.ready && self.rib.is_ready() {
            self.ready = true;
            self.reactor.link.ready()?;
        }
        Ok(())
    }

    /// Gives an event to the part that it is for.
    fn handle(&mut self, event: Event) -> Result<(), RibError> {
        let reactor = &mut self.reactor;
        let Some(event) = self.config.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.interfaces.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.fib.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.manager.handle(reactor, event) else { return Ok(()) };
        let Some(event) = self.protocols.handle(event) else { return Ok(()) };
        let Some(event) = self.shows.handle(event) else { return Ok(()) };
        match event {
            Event::Link(LinkEvent::Incoming { pathname, channel, peer, terms }) => {
                self.incoming(&pathname, channel, peer, &terms);
            }
            Event::Link(LinkEvent::Refused { ticket, refusal }) if ticket == self.published => {
                return Err(RibError::Publish(refusal));
            }
            Event::Link(LinkEvent::Stop) => self.stopping = true,
            Event::Link(
                LinkEvent::Go
                | LinkEvent::Done { .. }
                | LinkEvent::Refused { .. }
                | LinkEvent::Opened { .. }
                | LinkEvent::Answer { .. },
            )
            | Event::Ready(_) => {}
        }
        Ok(())
    }

    fn incoming(&mut self, pathname: &Pathname, channel: Channel, peer: Identity, terms: &[u8]) {
        if terms == TERMS {
            return self.shows.adopt(&mut self.reactor, peer, channel);
        }
        if !terms.is_empty() || peer.vr != self.identity.vr {
            return log::warn!("{peer} opened {pathname} for something that is not offered to it there");
        }
        if let Some(other) = self.rival(&peer) {
            return log::warn!("{peer} (PID {}) brings no routes: {other} does under this name", peer.pid);
        }
        let (name, origin) = (peer.name.clone(), peer.origin);
        if let Some(ClientId(id)) = self.protocols.adopt(&mut self.reactor, peer, channel) {
            self.input(Input::ClientJoined(Client(id), name, origin));
        }
    }

    /// A living process whose routes a program that attached under its name would take over. (One that procmgr started
    /// follows a dead one, whose channel may close later.)
    fn rival(&self, peer: &Identity) -> Option<String> {
        match peer.origin {
            Origin::Supervised => None,
            Origin::Attached => {
                let mut living = self.protocols.clients().map(|(_, client)| client);
                let other = living.find(|client| client.name == peer.name && client.pid != peer.pid)?;
                Some(format!("PID {}", other.pid))
            }
        }
    }

    fn pump_config(&mut self) -> bool {
        let Some(config) = self.config.poll(&mut self.reactor, config::read) else { return false };
        self.input(Input::Configured(config));
        true
    }

    fn pump_stack(&mut self) -> bool {
        let interfaces = self.interfaces.poll(&mut self.reactor).map(|event| match event {
            InterfaceEvent::Snapshot(states) => Input::Interfaces(states),
            InterfaceEvent::Changed(state) => Input::Interface(state),
            InterfaceEvent::Removed { name, .. } => Input::InterfaceRemoved(name),
        });
        let news = interfaces.is_some();
        if let Some(input) = interfaces {
            self.input(input);
        }
        let fib = self.fib.poll(&mut self.reactor);
        let busy = news || fib.is_some();
        match fib {
            Some(ClientEvent::Up) => self.fib_waits = true,
            Some(ClientEvent::Down) => {
                self.fib_waits = false;
                self.input(Input::FibDown);
            }
            Some(ClientEvent::Message(reply)) => self.input(Input::Fib(reply)),
            None => {}
        }
        if self.fib_waits && self.interfaces.is_current() {
            self.fib_waits = false;
            self.input(Input::FibUp);
        }
        busy
    }

    fn pump_manager(&mut self) -> bool {
        match self.manager.poll(&mut self.reactor) {
            Some(ClientEvent::Message(question)) => self.input(Input::Question(question)),
            // A manager that is new asks anew.
            Some(ClientEvent::Up | ClientEvent::Down) => {}
            None => return false,
        }
        true
    }

    /// Takes a message of a protocol; how many it counts as.
    fn pump_protocols(&mut self) -> usize {
        match self.protocols.poll(&mut self.reactor) {
            Some(ServerEvent::Message { client, message }) => {
                let weight = match &message {
                    RibRequest::Routes(changes) => 1 + changes.len() / CHANGES_PER_MESSAGE,
                    RibRequest::EndOfRoutes
                    | RibRequest::TrackNextHop(_)
                    | RibRequest::UntrackNextHop(_)
                    | RibRequest::TrackPrefix(_)
                    | RibRequest::UntrackPrefix(_)
                    | RibRequest::Redistribute(_)
                    | RibRequest::Leave => 1,
                };
                self.input(Input::Request(Client(client.0), message));
                weight
            }
            Some(ServerEvent::Gone { client, identity }) => {
                match identity.origin {
                    Origin::Supervised => {}
                    // Nobody starts it again: its routes are not kept for a successor.
                    Origin::Attached => self.input(Input::Request(Client(client.0), RibRequest::Leave)),
                }
                self.input(Input::ClientLeft(Client(client.0)));
                1
            }
            None => 0,
        }
    }

    fn asked(&mut self, asked: Asked) {
        let Asked { client, request } = asked;
        match request {
            ShowRequest::Table { table, arguments } => match self.rib.show(self.clock.now(), &table, &arguments) {
                Ok(cursor) => self.shows.answer(client, cursor),
                Err(error) => self.shows.refuse(client, error.to_string()),
            },
            ShowRequest::Command { words } => {
                self.shows.refuse(client, format!("`{}` is no command of the RIB", words.join(" ")));
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.rib.handle_input(self.clock.now(), input);
        self.drain();
    }

    /// Does what the core wants. What cannot be sent because the other side is away, it gets when it is back.
    fn drain(&mut self) {
        while let Some(output) = self.rib.poll_output() {
            match output {
                Output::Fib(request) => _ = self.fib.send(&request),
                Output::Update(client, update) => _ = self.protocols.send(ClientId(client.0), &update),
                Output::Answer(answer) => _ = self.manager.send(&answer),
                Output::Log(level, line) => log::log!(level, "{line}"),
            }
        }
    }
}
