//! Answers to the shell: tables in parts, so that a table of a million rows fills no memory.

use std::collections::BTreeMap;

use ipc::VrName;
use ipc::channel::Channel;
use ipc::message::Schema;
use ipc::protocol::Identity;
use ipc::reactor::{Event, Reactor};
use ipc::service::{ClientId, ServerEvent, ServiceServer};
use mio::Token;
use vr_api::show::{MAX_NESTING, ROWS_PER_REPLY, Row, SCHEMA, ShowReply, ShowRequest, Value};

/// Replies to one client in one turn of the loop, so that a client that reads fast does not hold up the protocol.
const REPLIES_PER_TURN: usize = 8;

/// Bytes of rows in a reply, about: a row may have a value of many parts.
const BYTES_PER_REPLY: usize = 128 << 10;

/// The show clients of a process. `S` is how far a table has been shown.
#[derive(Debug)]
pub struct ShowServer<S> {
    server: ServiceServer<ShowReply, ShowRequest>,
    vr: VrName,
    answers: BTreeMap<ClientId, Answer<S>>,
    /// Wakes the loop for the next turn.
    token: Token,
}

#[derive(Debug)]
struct Answer<S> {
    table: S,
    /// Rows that did not go into the last reply.
    rows: std::vec::IntoIter<Row>,
}

/// A client asks.
#[derive(Debug)]
pub struct Asked {
    /// Who.
    pub client: ClientId,
    /// What.
    pub request: ShowRequest,
}

impl<S> ShowServer<S> {
    /// A server without clients, for the tables of a process of `vr`.
    pub fn new(reactor: &mut Reactor, vr: VrName) -> Self {
        let server = ServiceServer::new(Schema::new(SCHEMA));
        Self { server, vr, answers: BTreeMap::new(), token: reactor.token() }
    }

    /// Takes over a channel that was opened with [`TERMS`](vr_api::show::TERMS).
    pub fn adopt(&mut self, reactor: &mut Reactor, identity: Identity, channel: Channel) {
        self.server.adopt(reactor, identity, channel);
    }

    /// Takes an event if it is of one of the clients; call [`poll`](Self::poll) afterwards until `None`.
    pub fn handle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Ready(token) if token == self.token => None,
            event => self.server.handle(event),
        }
    }

    /// The next question. A client that asks before it has its answer gives that one up.
    pub fn poll(&mut self, reactor: &mut Reactor) -> Option<Asked> {
        loop {
            match self.server.poll(reactor)? {
                ServerEvent::Message { client, message: request } => {
                    self.answers.remove(&client);
                    return Some(Asked { client, request });
                }
                ServerEvent::Gone { client, .. } => _ = self.answers.remove(&client),
            }
        }
    }

    /// Begins to answer; [`continue_answers`](Self::continue_answers) does the rest.
    pub fn answer(&mut self, client: ClientId, table: S) {
        self.answers.insert(client, Answer { table, rows: Vec::new().into_iter() });
    }

    /// The command was carried out.
    pub fn done(&mut self, client: ClientId) {
        self.server.send(client, &ShowReply::End);
    }

    /// The table cannot be shown, the command not be carried out.
    pub fn refuse(&mut self, client: ClientId, reason: String) {
        self.server.send(client, &ShowReply::Error(reason));
    }

    /// Sends rows to everyone who has room for them. `more` gives at most so many further rows of a table, without the
    /// column `vr`; none: it is done. To be called once in every turn of the loop.
    pub fn continue_answers(&mut self, reactor: &mut Reactor, mut more: impl FnMut(&mut S, usize) -> Vec<Row>) {
        let (server, vr) = (&mut self.server, Value::text(&self.vr));
        self.answers.retain(|client, answer| {
            for _ in 0..REPLIES_PER_TURN {
                if server.queued_bytes(*client) > 0 {
                    return true;
                }
                let rows = answer.next(&mut more, &vr);
                let too_deep = rows.iter().flatten().any(|value| value.nesting() > usize::from(MAX_NESTING));
                let done = rows.is_empty() || too_deep;
                let reply = match (too_deep, done) {
                    (true, _) => ShowReply::Error(format!("a row has values nested deeper than {MAX_NESTING}")),
                    (false, true) => ShowReply::End,
                    (false, false) => ShowReply::Rows(rows),
                };
                if !server.send(*client, &reply) || done {
                    return false;
                }
            }
            true
        });
        if self.answers.keys().any(|client| self.server.queued_bytes(*client) == 0) {
            reactor.again(self.token);
        }
    }
}

impl<S> Answer<S> {
    /// Rows of the next reply; none: the table is done.
    fn next(&mut self, more: &mut impl FnMut(&mut S, usize) -> Vec<Row>, vr: &Value) -> Vec<Row> {
        if self.rows.as_slice().is_empty() {
            self.rows = more(&mut self.table, ROWS_PER_REPLY).into_iter();
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        while bytes < BYTES_PER_REPLY
            && let Some(mut row) = self.rows.next()
        {
            bytes += row.iter().map(weight).sum::<usize>();
            row.insert(0, vr.clone());
            rows.push(row);
        }
        rows
    }
}

/// Bytes of a value in a message, about.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 2,
        Value::Number(_) | Value::Real(_) => 11,
        Value::Text(text) => text.len() + 3,
        Value::List(values) => 3 + values.iter().map(weight).sum::<usize>(),
        Value::Object(values) => 3 + values.iter().map(|(name, value)| name.len() + 2 + weight(value)).sum::<usize>(),
    }
}

/// A table that is there as a whole.
#[derive(Debug)]
pub struct WholeTable(std::vec::IntoIter<Row>);

impl WholeTable {
    /// These rows.
    pub fn new(rows: Vec<Row>) -> Self {
        Self(rows.into_iter())
    }

    /// At most so many further rows.
    pub fn more(&mut self, count: usize) -> Vec<Row> {
        self.0.by_ref().take(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_in_replies_of_bounded_size_and_ends_with_an_empty_one() {
        let row = |length: usize| vec![Value::Text("x".repeat(length))];
        let rows = (0..600).map(|n| row(if n % 2 == 0 { 10 } else { 1000 })).collect();
        let mut answer = Answer { table: WholeTable::new(rows), rows: Vec::new().into_iter() };
        let mut sizes = Vec::new();
        loop {
            let rows = answer.next(&mut |table: &mut WholeTable, count| table.more(count), &"red".into());
            assert!(rows.iter().all(|row| row.len() == 2 && row[0] == "red".into()));
            assert!(postcard::to_stdvec(&ShowReply::Rows(rows.clone())).unwrap().len() < 2 * BYTES_PER_REPLY);
            if rows.is_empty() {
                break;
            }
            sizes.push(rows.len());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 600);
        assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= ROWS_PER_REPLY));
    }

    #[test]
    fn the_weight_of_a_row_is_not_below_what_it_takes() {
        let object =
            Value::Object(vec![("address".to_owned(), "10.0.0.1".into()), ("interface".to_owned(), Value::Null)]);
        for value in
            [Value::Null, 7u32.into(), u64::MAX.into(), 1.5.into(), "text".into(), Value::List(vec![object; 9])]
        {
            assert!(weight(&value) >= postcard::to_stdvec(&value).unwrap().len(), "{value:?}");
        }
    }
}
