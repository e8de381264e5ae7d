//! The process `vrmgr`: the manager's instance, joined to its channels.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipc::channel::Channel;
use ipc::link::{Link, LinkEvent};
use ipc::message::Schema;
use ipc::protocol::{Answer, Identity, Question, Ticket};
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientEvent, ClientId, ServerEvent, ServiceClient, ServiceServer};
use ipc::{Pathname, ServiceName};
use vr_api::command::Declaration;
use vr_api::config::{self, ConfigUpdate, Subscribe, Verdict};
use vr_api::manager::{LIBRARY_SCHEMA, LibraryRequest, LibraryUpdate, RIB_SCHEMA, RibAnswer, RibQuestion, Terms};
use vr_api::show::{self, ROWS_PER_REPLY, Row, ShowReply, ShowRequest};

use super::desired::{self, BLOCKS, Desired};
use super::instance::{Action, Earlier, Manager};
use super::show::{Counters, SERVICE};
use crate::error::RunError;

/// How long a manager that was restarted and has its configuration waits at least before it tells anybody anything: for
/// what processes say beside their endpoints, and for routes.
const SHORTEST_HOLD: Duration = Duration::from_millis(500);
/// How long it waits for those to publish again who had.
const LONGEST_HOLD: Duration = Duration::from_secs(5);
/// How long `show inter-vr` waits for a library that does not answer.
const COUNTERS_TIMEOUT: Duration = Duration::from_millis(300);

/// Runs the manager until procmgr stops it.
pub fn run(mut link: Link, declarations: Vec<Declaration>) -> Result<(), RunError> {
    let earlier = ask_for_earlier(&mut link)?;
    let first_generation = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_micros() as u64);
    let mut reactor = Reactor::new(link)?;
    let manager = Manager::new(earlier, first_generation);
    let mut process = Process::new(manager, declarations)?;
    process.config.start(&mut reactor)?;
    reactor.link.publish(ServiceName::new(SERVICE)?)?;
    loop {
        let timeout = process.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        reactor.wait(timeout)?;
        while let Some(event) = reactor.next_event()? {
            if matches!(event, Event::Link(LinkEvent::Stop)) {
                return Ok(());
            }
            process.handle(&mut reactor, event)?;
        }
        process.handle_deadlines(&mut reactor, Instant::now())?;
    }
}

/// What procmgr knows from an earlier manager.
fn ask_for_earlier(link: &mut Link) -> Result<Earlier, RunError> {
    let mut earlier = Earlier::default();
    ask_all(link, Question::Vrs, |answer| {
        if let Answer::Vrs(rows) = answer {
            earlier.vrs.extend(rows);
        }
    })?;
    ask_all(link, Question::Publications, |answer| {
        if let Answer::Publications(rows) = answer {
            let endpoints = rows.into_iter().filter(|row| matches!(row.pathname, Pathname::Endpoint { .. }));
            earlier.endpoints.extend(endpoints.map(|row| (row.pathname, row.generation.0)));
        }
    })?;
    Ok(earlier)
}

/// Asks procmgr, before the loop begins, and takes all parts of the answer.
fn ask_all(link: &mut Link, question: Question, mut take: impl FnMut(Answer)) -> Result<(), RunError> {
    let asked = link.ask(question)?;
    loop {
        match link.wait_event()? {
            LinkEvent::Answer { ticket, answer, last } if ticket == asked => {
                take(answer);
                if last {
                    return Ok(());
                }
            }
            LinkEvent::Refused { ticket, refusal } if ticket == asked => return Err(RunError::Refused(refusal)),
            other => log::debug!("before the start: {other:?}"),
        }
    }
}

struct Process {
    manager: Manager,
    declarations: Vec<Declaration>,
    config: ServiceClient<Verdict, ConfigUpdate>,
    libraries: ServiceServer<LibraryUpdate, LibraryRequest>,
    ribs: ServiceServer<RibQuestion, RibAnswer>,
    shows: ServiceServer<ShowReply, ShowRequest>,
    verified: Option<(u64, Desired)>,
    /// Orders of the first configuration that procmgr has not answered; ready when there are none.
    starting: Option<HashSet<Ticket>>,
    /// Since when a restarted manager has its configuration and tells nobody anything.
    holding_since: Option<Instant>,
    counting: Vec<Counting>,
    next_ticket: u32,
}

/// A `show inter-vr` that waits for the libraries' counters.
struct Counting {
    ticket: u32,
    client: ClientId,
    waiting: HashSet<ClientId>,
    counters: Counters,
    until: Instant,
}

impl Process {
    fn new(manager: Manager, declarations: Vec<Declaration>) -> Result<Self, RunError> {
        let blocks = BLOCKS.iter().map(|block| (*block).to_owned()).collect();
        let terms = postcard::to_stdvec(&config::Terms::Subscriber(Subscribe { blocks }))?;
        Ok(Self {
            manager,
            declarations,
            config: ServiceClient::new(Pathname::router("config")?, terms, Schema::new(config::SCHEMA)),
            libraries: ServiceServer::new(Schema::new(LIBRARY_SCHEMA)),
            ribs: ServiceServer::new(Schema::new(RIB_SCHEMA)),
            shows: ServiceServer::new(Schema::new(show::SCHEMA)),
            verified: None,
            starting: None,
            holding_since: None,
            counting: Vec::new(),
            next_ticket: 0,
        })
    }

    fn handle(&mut self, reactor: &mut Reactor, event: Event) -> Result<(), RunError> {
        let event = self.config.handle(reactor, event);
        let event = event.and_then(|event| self.libraries.handle(event));
        let event = event.and_then(|event| self.ribs.handle(event));
        let event = event.and_then(|event| self.shows.handle(event));
        if let Some(Event::Link(event)) = event {
            self.handle_link(reactor, event)?;
        }
        while let Some(event) = self.config.poll(reactor) {
            self.handle_config(reactor, event)?;
        }
        while let Some(event) = self.libraries.poll(reactor) {
            self.handle_library(reactor, event)?;
        }
        while let Some(event) = self.ribs.poll(reactor) {
            match event {
                ServerEvent::Message { client, message: RibAnswer::Reachable(answers) } => {
                    let actions = self.manager.routes(client, answers);
                    self.carry_out(reactor, actions)?;
                }
                ServerEvent::Gone { client, .. } => self.manager.rib_gone(client),
            }
        }
        while let Some(event) = self.shows.poll(reactor) {
            match event {
                ServerEvent::Message { client, message } => self.handle_show(reactor, client, message),
                ServerEvent::Gone { client, .. } => self.counting.retain(|counting| counting.client != client),
            }
        }
        Ok(())
    }

    fn handle_link(&mut self, reactor: &mut Reactor, event: LinkEvent) -> Result<(), RunError> {
        match event {
            LinkEvent::Incoming { channel, peer, terms, .. } => self.adopt(reactor, channel, peer, &terms)?,
            LinkEvent::Done { ticket } => {
                let actions = self.manager.order_done(ticket);
                self.carry_out(reactor, actions)?;
                self.order_answered(reactor, ticket)?;
            }
            LinkEvent::Refused { ticket, refusal } => {
                match self.manager.order_refused(ticket, refusal.to_string()) {
                    Some(action) => drop(self.carry_out(reactor, vec![action])?),
                    None => log::error!("procmgr refused: {refusal}"),
                }
                self.order_answered(reactor, ticket)?;
            }
            LinkEvent::Opened { .. } | LinkEvent::Answer { .. } | LinkEvent::Go | LinkEvent::Stop => {}
        }
        Ok(())
    }

    fn adopt(&mut self, reactor: &mut Reactor, channel: Channel, peer: Identity, terms: &[u8]) -> Result<(), RunError> {
        if terms == show::TERMS {
            self.shows.adopt(reactor, peer, channel);
            return Ok(());
        }
        let vr = peer.vr;
        match postcard::from_bytes(terms) {
            Ok(Terms::Library) => {
                if let Some(client) = self.libraries.adopt(reactor, peer.clone(), channel) {
                    let actions = self.manager.library_up(client, peer);
                    self.carry_out(reactor, actions)?;
                }
            }
            Ok(Terms::Rib) => {
                if let Some(client) = self.ribs.adopt(reactor, peer, channel) {
                    let actions = self.manager.rib_up(client, vr);
                    self.carry_out(reactor, actions)?;
                }
            }
            Err(error) => log::warn!("{peer} opened a channel with terms that are none: {error}"),
        }
        Ok(())
    }

    fn order_answered(&mut self, reactor: &mut Reactor, ticket: Ticket) -> Result<(), RunError> {
        if let Some(starting) = &mut self.starting
            && starting.remove(&ticket)
            && starting.is_empty()
        {
            reactor.link.ready()?;
        }
        Ok(())
    }

    fn handle_config(&mut self, reactor: &mut Reactor, event: ClientEvent<ConfigUpdate>) -> Result<(), RunError> {
        match event {
            ClientEvent::Up | ClientEvent::Down => {}
            ClientEvent::Message(ConfigUpdate::Verify { generation, blocks }) => {
                let refused = match desired::read(&blocks, &self.declarations) {
                    Ok(desired) => {
                        self.verified = Some((generation, desired));
                        None
                    }
                    Err(error) => Some(error.objection()),
                };
                self.config.send(&Verdict { generation, refused });
            }
            ClientEvent::Message(ConfigUpdate::Apply { generation }) => match self.verified.take() {
                Some((verified, desired)) if verified == generation => self.apply(reactor, &desired)?,
                _ => log::error!("configuration {generation} was to be applied but never verified"),
            },
            ClientEvent::Message(ConfigUpdate::Discard { .. }) => self.verified = None,
        }
        Ok(())
    }

    fn apply(&mut self, reactor: &mut Reactor, desired: &Desired) -> Result<(), RunError> {
        let actions = self.manager.configure(desired)?;
        let tickets = self.carry_out(reactor, actions)?;
        if self.manager.may_release() {
            self.holding_since.get_or_insert_with(Instant::now);
        }
        if self.starting.is_none() {
            if tickets.is_empty() {
                reactor.link.ready()?;
            }
            self.starting = Some(tickets.into_iter().collect());
        }
        Ok(())
    }

    fn handle_library(&mut self, reactor: &mut Reactor, event: ServerEvent<LibraryRequest>) -> Result<(), RunError> {
        let actions = match event {
            ServerEvent::Gone { client, .. } => {
                self.counted(client, &[], u32::MAX);
                self.manager.library_gone(client)
            }
            ServerEvent::Message { client, message } => match message {
                LibraryRequest::Publish { ticket, listener } => {
                    if let Some((order, publishing)) = self.manager.publish(client, ticket, listener) {
                        let ticket = reactor.link.manage(order)?;
                        self.manager.ordered(ticket, publishing);
                    }
                    Vec::new()
                }
                LibraryRequest::Withdraw { criteria, local } => self.manager.withdraw(client, criteria, local),
                LibraryRequest::Join(membership) => self.manager.join(client, membership),
                LibraryRequest::Leave(membership) => self.manager.leave(client, membership),
                LibraryRequest::Counters { ticket, counters } => {
                    self.counted(client, &counters, ticket);
                    Vec::new()
                }
            },
        };
        self.carry_out(reactor, actions)?;
        self.answer_counted(Instant::now());
        Ok(())
    }

    /// Carries actions out. The tickets of those that procmgr will answer.
    fn carry_out(&mut self, reactor: &mut Reactor, actions: Vec<Action>) -> Result<Vec<Ticket>, RunError> {
        let mut tickets = Vec::new();
        for action in actions {
            match action {
                Action::Library(client, update) => {
                    self.libraries.send(client, &update);
                }
                Action::Rib(client, question) => {
                    self.ribs.send(client, &question);
                }
                Action::Order(order) => tickets.push(reactor.link.manage(order)?),
            }
        }
        Ok(tickets)
    }

    fn handle_show(&mut self, _reactor: &mut Reactor, client: ClientId, request: ShowRequest) {
        let ShowRequest::Table { table, .. } = request else {
            let answer = ShowReply::Error("the VR connection manager has no such command".to_owned());
            self.shows.send(client, &answer);
            return;
        };
        let (mapping, database) = (&self.manager.mapping, &self.manager.database);
        match table.as_str() {
            "vr" => {
                let rows = super::show::vrs(mapping, database, |vr| self.manager.classes(vr).to_vec());
                self.reply(client, rows);
            }
            "inter-vr database" => {
                let rows = super::show::database(mapping, database);
                self.reply(client, rows);
            }
            "inter-vr" => self.count(client),
            _ => {
                self.shows.send(client, &ShowReply::Error(format!("no table {table:?}")));
            }
        }
    }

    fn reply(&mut self, client: ClientId, rows: Vec<Row>) {
        for part in rows.chunks(ROWS_PER_REPLY) {
            self.shows.send(client, &ShowReply::Rows(part.to_vec()));
        }
        self.shows.send(client, &ShowReply::End);
    }

    /// Asks all libraries for their counters; the table is answered when they came.
    fn count(&mut self, client: ClientId) {
        let ticket = self.next_ticket;
        // u32::MAX stands for a library that is gone.
        self.next_ticket = (self.next_ticket + 1) % u32::MAX;
        let asked: Vec<ClientId> = self.manager.libraries().map(|(library, _)| library).collect();
        let asked = asked
            .into_iter()
            .filter(|library| self.libraries.send(*library, &LibraryUpdate::CountersWanted { ticket }));
        let waiting = asked.collect();
        let until = Instant::now() + COUNTERS_TIMEOUT;
        self.counting.push(Counting { ticket, client, waiting, counters: Counters::new(), until });
        self.answer_counted(Instant::now());
    }

    /// A library's counters came, or it is gone (`u32::MAX`: from every count that waits for it).
    fn counted(&mut self, library: ClientId, counters: &[vr_api::manager::InterVrCounters], ticket: u32) {
        let Some(vr) = self.libraries.identity(library).map(|identity| identity.vr) else {
            self.counting.iter_mut().for_each(|counting| {
                counting.waiting.remove(&library);
            });
            return;
        };
        for counting in self.counting.iter_mut().filter(|counting| counting.ticket == ticket) {
            if !counting.waiting.remove(&library) {
                continue;
            }
            for one in counters {
                let sum = counting.counters.entry((vr, one.interface.clone())).or_insert_with(|| {
                    vr_api::manager::InterVrCounters {
                        interface: one.interface.clone(),
                        connections: 0,
                        bytes_sent: 0,
                        bytes_received: 0,
                        vrfib_hits: 0,
                        vrfib_misses: 0,
                    }
                });
                sum.connections = sum.connections.saturating_add(one.connections);
                sum.bytes_sent = sum.bytes_sent.saturating_add(one.bytes_sent);
                sum.bytes_received = sum.bytes_received.saturating_add(one.bytes_received);
                sum.vrfib_hits = sum.vrfib_hits.saturating_add(one.vrfib_hits);
                sum.vrfib_misses = sum.vrfib_misses.saturating_add(one.vrfib_misses);
            }
        }
    }

    /// Answers the counts that wait for nobody any more, or have waited long enough.
    fn answer_counted(&mut self, now: Instant) {
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.counting)
            .into_iter()
            .partition(|counting| counting.waiting.is_empty() || counting.until <= now);
        self.counting = waiting;
        for counting in done {
            let rows = super::show::inter_vr(&self.manager.mapping, &self.manager.database, &counting.counters);
            self.reply(counting.client, rows);
        }
    }

    /// When everybody is told, at the latest.
    fn release_at(&self) -> Option<Instant> {
        let hold = if self.manager.expects_publications() { LONGEST_HOLD } else { SHORTEST_HOLD };
        Some(self.holding_since? + hold)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.counting.iter().map(|counting| counting.until).chain(self.release_at()).min()
    }

    fn handle_deadlines(&mut self, reactor: &mut Reactor, now: Instant) -> Result<(), RunError> {
        if self.release_at().is_some_and(|at| at <= now) {
            self.holding_since = None;
            let actions = self.manager.release();
            self.carry_out(reactor, actions)?;
        }
        self.answer_counted(now);
        Ok(())
    }
}
