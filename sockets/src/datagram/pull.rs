//! Taking records out of channels: the stack's, and those of every process that opened the socket's pathname.

use std::time::Duration;

use ipc::Criteria;
use ipc::channel::{Channel, Record};
use ipc::reactor::Reactor;
use mio::Token;
use stack_api::datagram::DatagramReply;
use stack_api::datagram_header::{DatagramHeader, MAX_HEADER};
use stack_api::socket::{Addresses, SocketError};

use super::fork::take_shared;
use super::judge::{Judged, Known};
use super::room::{Room, taken};
use super::{DatagramDrop, DatagramInfo, QUEUE, Server};
use crate::counters::Traffic;
use crate::library::{Library, LibraryEvent};
use crate::message::ProcessMessage;
use crate::socket::SocketId;

/// Records that one call looks at before it lets the process do something else: a peer may write faster than this one
/// reads, and nothing that is for this socket.
pub(super) const RECORDS_PER_CALL: usize = 1024;

/// What a look at one source found.
pub(super) enum Pulled {
    /// A datagram for the socket that reads: its payload lies where the caller wants it.
    Datagram(DatagramInfo),
    /// Something else: a datagram for another socket, or for nobody, or an answer of the stack.
    Other,
    /// Nothing; the bell is armed.
    Nothing,
}

impl Library {
    /// What the stack's channel has.
    pub(super) fn pull_server(&mut self, reactor: &mut Reactor, id: SocketId, room: &mut Room<'_>) -> Pulled {
        let Ok(socket) = self.datagrams.hot(id) else { return Pulled::Nothing };
        let Server::Bound(channel, _) = &mut socket.server else { return Pulled::Nothing };
        if socket.server_is_armed && !channel.has_news() {
            return Pulled::Nothing;
        }
        if channel.is_used_in_turn() {
            return match take_shared(channel) {
                Ok(Some(record)) => self.take_from_server(id, &record, room),
                Ok(None) => Pulled::Nothing,
                Err(Over) => {
                    self.datagram_server_lost(reactor, id);
                    Pulled::Nothing
                }
            };
        }
        let record = match next(channel, false) {
            Ok(Some(record)) => record,
            Ok(None) => {
                socket.server_is_armed = true;
                return Pulled::Nothing;
            }
            Err(Over) => {
                self.datagram_server_lost(reactor, id);
                return Pulled::Nothing;
            }
        };
        socket.server_is_armed = false;
        let mut start = [0; MAX_HEADER];
        let copied = record.copy(0, &mut start);
        let start = start.get(..copied).unwrap_or_default();
        if !DatagramHeader::is_claimed(start) {
            let mut reply = vec![0; record.length()];
            record.copy(0, &mut reply);
            consume(record);
            self.take_reply(id, &reply);
            return Pulled::Other;
        }
        let is_known = socket.known.as_ref().is_some_and(|known| known.encoded.begins(start));
        if !is_known {
            socket.known = Known::decode(start, record.length());
        }
        let Some(known) = &socket.known else {
            consume(record);
            self.datagrams.count(DatagramDrop::BadRecord, 1);
            return Pulled::Other;
        };
        let at = known.encoded.as_bytes().len();
        let filled = room.fill(&record, at);
        let info = known.info(record.length() - at, filled, room);
        consume(record);
        Pulled::Datagram(info)
    }

    /// A record of the stack that was taken out of the ring.
    fn take_from_server(&mut self, id: SocketId, record: &[u8], room: &mut Room<'_>) -> Pulled {
        if !DatagramHeader::is_claimed(record) {
            self.take_reply(id, record);
            return Pulled::Other;
        }
        let message = DatagramHeader::decode(record, record.len())
            .ok()
            .and_then(|(header, at)| Some(header.with_payload(record.get(at..)?.to_vec())));
        match message {
            Some(message) => Pulled::Datagram(taken(message, room)),
            None => {
                self.datagrams.count(DatagramDrop::BadRecord, 1);
                Pulled::Other
            }
        }
    }

    fn take_reply(&mut self, id: SocketId, reply: &[u8]) {
        match postcard::from_bytes(reply) {
            Ok(DatagramReply::Error(error)) => {
                if let Ok(socket) = self.datagrams.hot(id) {
                    socket.error = Some(error);
                }
            }
            Ok(DatagramReply::Connected(answer)) => self.datagram_connected(id, answer),
            Ok(DatagramReply::Bound { .. } | DatagramReply::Failed(_)) | Err(_) => {
                self.datagrams.count(DatagramDrop::BadRecord, 1);
            }
        }
    }

    /// Takes in one record of the stack, though nobody asks for a datagram; `false`: there is none.
    pub(super) fn take_in_from_server(&mut self, reactor: &mut Reactor, id: SocketId) -> bool {
        let mut payload = Vec::new();
        match self.pull_server(reactor, id, &mut Room::Whole(&mut payload)) {
            Pulled::Datagram(DatagramInfo { source, destination, ttl, tos, interface, .. }) => {
                let addresses = Addresses { source, destination };
                if let Ok(socket) = self.datagrams.hot(id) {
                    socket.queue.push_back(ProcessMessage { addresses, ttl, tos, interface, payload });
                }
                true
            }
            Pulled::Other => true,
            Pulled::Nothing => false,
        }
    }

    /// What the channels of other processes have. Those that have something take turns.
    pub(super) fn pull_peers(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        room: &mut Room<'_>,
        look_out: Duration,
    ) -> Pulled {
        let Some(criteria) = self.datagrams.sockets.get(&id).and_then(super::DatagramSocket::criteria) else {
            return Pulled::Nothing;
        };
        if !self.vrfib_is_known() {
            return Pulled::Nothing;
        }
        loop {
            let Some((token, is_last)) = self.datagrams.hottest(criteria) else {
                // Those that came for a family are this process's once it reads.
                if self.take_datagram_peers(reactor, criteria) {
                    continue;
                }
                return Pulled::Nothing;
            };
            // Others that have something are not kept waiting.
            let look_out = if is_last { look_out } else { Duration::ZERO };
            match self.pull_peer(id, token, room, look_out) {
                Ok(Pulled::Nothing) => self.datagrams.cool(criteria),
                Ok(pulled) => {
                    if !is_last {
                        self.datagrams.take_turns(criteria);
                    }
                    return pulled;
                }
                Err(Over) => self.drop_incoming(reactor, token),
            }
        }
    }

    /// What one channel has.
    fn pull_peer(
        &mut self,
        reader: SocketId,
        token: Token,
        room: &mut Room<'_>,
        look_out: Duration,
    ) -> Result<Pulled, Over> {
        let revision = self.datagrams.revision;
        let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { return Ok(Pulled::Nothing) };
        if incoming.channel.is_used_in_turn() {
            return self.pull_shared(reader, token, room);
        }
        let looks_out = !look_out.is_zero();
        if looks_out && incoming.spin != look_out {
            incoming.spin = look_out;
            incoming.channel.set_spin(look_out);
        }
        let Some(record) = next(&mut incoming.channel, looks_out)? else {
            incoming.is_hot = false;
            return Ok(Pulled::Nothing);
        };
        let judged = incoming.judged.as_ref().filter(|judged| judged.revision == revision);
        let mut start = [0; MAX_HEADER];
        // Of a header that is known no more is looked at than there is of it.
        let known = judged.map_or(MAX_HEADER, |judged| judged.known.encoded.as_bytes().len());
        let copied = start.get_mut(..known).map_or(0, |start| record.copy(0, start));
        let begins = |judged: &&Judged| start.get(..copied).is_some_and(|start| judged.known.encoded.begins(start));
        let Some(judged) = judged.filter(begins) else {
            let copied = record.copy(0, &mut start);
            let (criteria, peer, length) = (incoming.criteria, incoming.peer.clone(), record.length());
            match self.judge(criteria, peer.vr, start.get(..copied).unwrap_or_default(), length) {
                // The record lies where it was: the next look finds it judged.
                Ok(judged) => {
                    if let Some(incoming) = self.datagrams.incoming.get_mut(&token) {
                        incoming.judged = Some(judged);
                    }
                }
                Err(reason) => {
                    log::trace!("datagram of {peer} to {criteria} dropped: {reason}");
                    self.datagrams.count(reason, 1);
                    if let Some(incoming) = self.datagrams.incoming.get_mut(&token)
                        && let Some(record) = next(&mut incoming.channel, false)?
                    {
                        consume(record);
                        if incoming.wants_word && reason == DatagramDrop::NoListener {
                            incoming.channel.reset(SocketError::ConnectionRefused.code());
                            return Err(Over);
                        }
                    }
                }
            }
            return Ok(Pulled::Other);
        };
        let at = known;
        let length = record.length() - at;
        self.traffic.add_at(judged.traffic, Traffic::received(length));
        if judged.receivers.as_slice() == [reader] {
            let filled = room.fill(&record, at);
            consume(record);
            return Ok(Pulled::Datagram(judged.known.info(length, filled, room)));
        }
        let mut payload = vec![0; length];
        record.copy(at, &mut payload);
        consume(record);
        let message = judged.known.header.clone().with_payload(payload);
        let receivers = judged.receivers.clone();
        Ok(self.spread(reader, &receivers, message, room))
    }

    /// What one channel has that a sibling reads too.
    fn pull_shared(&mut self, reader: SocketId, token: Token, room: &mut Room<'_>) -> Result<Pulled, Over> {
        let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { return Ok(Pulled::Nothing) };
        let Some(record) = take_shared(&mut incoming.channel)? else {
            incoming.is_hot = false;
            return Ok(Pulled::Nothing);
        };
        let (criteria, peer) = (incoming.criteria, incoming.peer.vr);
        let start = record.get(..MAX_HEADER).unwrap_or(&record);
        Ok(match self.judge(criteria, peer, start, record.len()) {
            Ok(judged) => {
                let payload = record.get(judged.known.encoded.as_bytes().len()..).unwrap_or_default();
                self.traffic.add_at(judged.traffic, Traffic::received(payload.len()));
                let message = judged.known.header.with_payload(payload.to_vec());
                self.spread(reader, &judged.receivers, message, room)
            }
            Err(reason) => {
                self.datagrams.count(reason, 1);
                Pulled::Other
            }
        })
    }

    /// Gives a datagram to several sockets, or to another than the one that reads.
    fn spread(
        &mut self,
        reader: SocketId,
        receivers: &[SocketId],
        message: ProcessMessage,
        room: &mut Room<'_>,
    ) -> Pulled {
        for id in receivers.iter().filter(|id| **id != reader) {
            let Some(socket) = self.datagrams.sockets.get_mut(id) else { continue };
            if socket.queue.len() >= QUEUE {
                self.datagrams.count(DatagramDrop::SocketFull, 1);
                continue;
            }
            let was_empty = socket.queue.is_empty();
            socket.queue.push_back(message.clone());
            if was_empty {
                self.events.push_back(LibraryEvent::Readable { socket: *id });
            }
        }
        if receivers.contains(&reader) { Pulled::Datagram(taken(message, room)) } else { Pulled::Other }
    }
}

impl super::Datagrams {
    /// The channel among those that rang whose turn it is; and whether it is the only one.
    #[inline]
    fn hottest(&self, criteria: Criteria) -> Option<(Token, bool)> {
        let hot = self.hot.get(&criteria)?;
        Some((*hot.front()?, hot.len() == 1))
    }

    /// It was the turn of the hottest.
    fn take_turns(&mut self, criteria: Criteria) {
        if let Some(hot) = self.hot.get_mut(&criteria) {
            hot.rotate_left(1);
        }
    }

    /// The hottest has nothing more.
    fn cool(&mut self, criteria: Criteria) {
        if let Some(hot) = self.hot.get_mut(&criteria) {
            hot.pop_front();
        }
    }
}

/// A channel is over.
pub(super) struct Over;

/// The next record of a channel; `None`: its bell is armed, after a look-out as its spin allows where one is wanted.
#[inline]
pub(super) fn next(channel: &mut Channel, looks_out: bool) -> Result<Option<Record<'_>>, Over> {
    while !channel.has_record().map_err(|_| Over)? {
        if channel.is_finished() || channel.peer_closed() {
            return Err(Over);
        }
        let met = looks_out && channel.look_out_readable().map_err(|_| Over)?;
        if !met && channel.arm_read().map_err(|_| Over)? {
            return Ok(None);
        }
    }
    channel.next_record().map_err(|_| Over)
}

/// That its room could not be told to the peer shows with the next look at the channel.
#[inline]
fn consume(record: Record<'_>) {
    if let Err(error) = record.consume() {
        log::debug!("a datagram was read: {error}");
    }
}
