//! Receiving: from the stack, and from every process that opened the socket's pathname.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipc::channel::{Channel, Record};
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, InterfaceName, VrId};
use mio::Token;
use stack_api::datagram::{DatagramPeer, DatagramReply};
use stack_api::datagram_header::{DatagramHeader, EncodedHeader, MAX_HEADER};
use stack_api::socket::{Addresses, SocketError};

use super::connect::Connected;
use super::fork::take_shared;
use super::{CHANNELS_PER_PEER, DatagramDrop, DatagramInfo, Incoming, QUEUE, Server};
use crate::counters::Traffic;
use crate::library::{Library, LibraryEvent};
use crate::message::ProcessMessage;
use crate::readiness::Readiness;
use crate::socket::SocketId;

/// Records that one call looks at before it lets the process do something else: a peer may write faster than this one
/// reads, and nothing that is for this socket.
const RECORDS_PER_CALL: usize = 1024;

/// What a look at one source found.
enum Pulled {
    /// A datagram for the socket that reads: its payload lies where the caller wants it.
    Datagram(DatagramInfo),
    /// Something else: a datagram for another socket, or for nobody, or an answer of the stack.
    Other,
    /// Nothing; the bell is armed.
    Nothing,
}

/// A header, decoded once, and how it was written: most datagrams have the one of the datagram before.
#[derive(Debug)]
pub(super) struct Known {
    encoded: EncodedHeader,
    header: DatagramHeader,
}

/// Who gets a datagram with a header.
#[derive(Debug)]
pub(super) struct Judged {
    known: Known,
    /// [`Datagrams::revision`](super::Datagrams) then.
    revision: u64,
    receivers: Vec<SocketId>,
    /// Where the interface's traffic is counted.
    traffic: usize,
}

impl Known {
    /// What comes with a payload of `length` bytes, of which the caller took `filled`.
    #[inline]
    fn info(&self, length: usize, filled: usize, room: &Room<'_>) -> DatagramInfo {
        let DatagramHeader { addresses, ttl, tos, ref interface } = self.header;
        let Addresses { source, destination } = addresses;
        let interface = match room {
            Room::Payload(_) => None,
            Room::Buffer(_) | Room::Whole(_) => interface.clone(),
        };
        DatagramInfo { length, truncated: filled < length, source, destination, ttl, tos, interface }
    }
}

/// Where a caller wants a payload.
enum Room<'a> {
    /// What does not fit is lost.
    Buffer(&'a mut [u8]),
    /// The same for a caller who does not ask for the interface: a name costs as much as a small payload.
    Payload(&'a mut [u8]),
    Whole(&'a mut Vec<u8>),
}

impl Room<'_> {
    /// Takes the payload of a record, which begins at byte `at`; returns how much there was room for.
    #[inline]
    fn fill(&mut self, record: &Record<'_>, at: usize) -> usize {
        match self {
            Room::Buffer(buffer) | Room::Payload(buffer) => record.copy(at, buffer),
            Room::Whole(payload) => {
                payload.resize(record.length().saturating_sub(at), 0);
                record.copy(at, payload)
            }
        }
    }

    /// Takes a payload that was read before.
    fn take(&mut self, payload: Vec<u8>) -> usize {
        match self {
            Room::Buffer(buffer) | Room::Payload(buffer) => {
                let count = payload.len().min(buffer.len());
                if let (Some(buffer), Some(payload)) = (buffer.get_mut(..count), payload.get(..count)) {
                    buffer.copy_from_slice(payload);
                }
                count
            }
            Room::Whole(whole) => {
                **whole = payload;
                whole.len()
            }
        }
    }
}

impl Library {
    /// The next datagram of a socket. After `None`, and only then, [`LibraryEvent::Readable`] follows.
    pub fn receive_from(&mut self, reactor: &mut Reactor, id: SocketId) -> Result<Option<ProcessMessage>, SocketError> {
        self.receive_message(reactor, id, Duration::ZERO)
    }

    /// The same for a caller that is about to wait: see [`receive_datagram`](Self::receive_datagram).
    pub(crate) fn receive_message(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        look_out: Duration,
    ) -> Result<Option<ProcessMessage>, SocketError> {
        let mut payload = Vec::new();
        let info = self.receive_next(reactor, id, &mut Room::Whole(&mut payload), look_out)?;
        Ok(info.map(|DatagramInfo { source, destination, ttl, tos, interface, .. }| {
            let addresses = Addresses { source, destination };
            ProcessMessage { addresses, ttl, tos, interface, payload }
        }))
    }

    /// The same, straight into a buffer. Before the bell is armed, the socket looks out for the next datagram of another
    /// process for at most `look_out`: for a caller that is about to wait; zero for one that is not.
    pub fn receive_datagram(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        into: &mut [u8],
        look_out: Duration,
    ) -> Result<Option<DatagramInfo>, SocketError> {
        self.receive_next(reactor, id, &mut Room::Buffer(into), look_out)
    }

    /// The same for a caller who asks for no more than the payload and its sender.
    pub(crate) fn receive_payload(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        into: &mut [u8],
        look_out: Duration,
    ) -> Result<Option<(usize, SocketAddr)>, SocketError> {
        let room = into.len();
        let info = self.receive_next(reactor, id, &mut Room::Payload(into), look_out)?;
        Ok(info.map(|info| (info.length.min(room), info.source)))
    }

    fn receive_next(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        room: &mut Room<'_>,
        look_out: Duration,
    ) -> Result<Option<DatagramInfo>, SocketError> {
        self.apply_news(reactor);
        for _ in 0..RECORDS_PER_CALL {
            let socket = self.datagrams.hot(id)?;
            if let Some(error) = socket.error.take() {
                return Err(error);
            }
            if let Some(message) = socket.queue.pop_front() {
                return Ok(Some(taken(message, room)));
            }
            socket.server_first = !socket.server_first;
            let server_first = socket.server_first;
            let mut pulled = Pulled::Nothing;
            for server in [server_first, !server_first] {
                pulled = match server {
                    true => self.pull_server(reactor, id, room),
                    false => self.pull_peers(reactor, id, room, look_out),
                };
                if !matches!(pulled, Pulled::Nothing) {
                    break;
                }
            }
            match pulled {
                Pulled::Datagram(info) => return Ok(Some(info)),
                Pulled::Other => {}
                Pulled::Nothing => return Ok(None),
            }
        }
        self.events.push_back(LibraryEvent::Readable { socket: id });
        Ok(None)
    }

    /// As [`receive_datagram`](Self::receive_datagram), and leaves the datagram where it is (`MSG_PEEK`).
    pub fn peek_datagram(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        into: &mut [u8],
    ) -> Result<Option<DatagramInfo>, SocketError> {
        if self.datagrams.hot(id)?.queue.is_empty() {
            let next = self.receive_message(reactor, id, Duration::ZERO)?;
            self.datagrams.hot(id)?.queue.extend(next);
        }
        let next = self.datagrams.hot(id)?.queue.front().cloned();
        Ok(next.map(|message| taken(message, &mut Room::Buffer(into))))
    }

    /// What a datagram socket allows now. It can always send: what finds no room is dropped.
    pub(crate) fn datagram_readiness(&mut self, reactor: &mut Reactor, id: SocketId) -> Result<Readiness, SocketError> {
        self.look_out_for_datagram(reactor, id, Duration::ZERO)
    }

    /// The same for a caller that is about to wait for the socket, and for others: it looks out as
    /// [`receive_datagram`](Self::receive_datagram) does, and leaves what it meets to be received.
    pub fn look_out_for_datagram(
        &mut self,
        reactor: &mut Reactor,
        id: SocketId,
        look_out: Duration,
    ) -> Result<Readiness, SocketError> {
        let socket = self.datagrams.hot(id)?;
        if socket.queue.is_empty() && socket.error.is_none() {
            let next = self.receive_message(reactor, id, look_out);
            let socket = self.datagrams.hot(id)?;
            match next {
                Ok(message) => socket.queue.extend(message),
                Err(error) => socket.error = Some(error),
            }
        }
        let socket = self.datagrams.hot(id)?;
        let (readable, failed) = (!socket.queue.is_empty(), socket.error.is_some());
        Ok(Readiness { readable, writable: true, failed, ..Readiness::default() })
    }

    /// An error of a datagram socket, though datagrams may lie before it.
    pub(crate) fn take_datagram_error(&mut self, reactor: &mut Reactor, id: SocketId) -> Option<SocketError> {
        for _ in 0..RECORDS_PER_CALL {
            let error = self.datagrams.sockets.get_mut(&id)?.error.take();
            if error.is_some() || !self.take_in_from_server(reactor, id) {
                return error;
            }
        }
        None
    }

    /// A bell of a datagram socket rang; `false`: the token is another's.
    pub(crate) fn datagram_ready(&mut self, reactor: &mut Reactor, token: Token) -> bool {
        if let Some(id) = self.datagrams.servers.get(&token).copied() {
            self.datagram_server_rang(reactor, id);
            return true;
        }
        if self.datagrams.peer_bells.contains_key(&token) {
            self.datagram_peer_rang(token);
            return true;
        }
        let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { return false };
        if let Err(error) = incoming.channel.acknowledge_bell() {
            log::warn!("datagrams of {}: {error}", incoming.peer);
            self.drop_incoming(reactor, token);
            return true;
        }
        self.heat_or_refuse(reactor, token);
        true
    }

    /// A channel has something. Whose sender speaks with nobody else is told at once that nobody takes it, though no socket
    /// here reads: as by ICMP.
    fn heat_or_refuse(&mut self, reactor: &mut Reactor, token: Token) {
        let is_known = self.vrfib_is_known();
        let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { return };
        if !incoming.wants_word || !is_known || incoming.channel.is_used_in_turn() {
            return self.heat(token);
        }
        let (criteria, peer) = (incoming.criteria, incoming.peer.vr);
        let mut start = [0; MAX_HEADER];
        let (copied, length) = match next(&mut incoming.channel, false) {
            Ok(Some(record)) => (record.copy(0, &mut start), record.length()),
            // The bell rings for the first one.
            Ok(None) => return,
            Err(Over) => return self.heat(token),
        };
        match self.judge(criteria, peer, start.get(..copied).unwrap_or_default(), length) {
            Err(reason @ DatagramDrop::NoListener) => {
                self.datagrams.count(reason, 1);
                if let Some(incoming) = self.datagrams.incoming.get_mut(&token) {
                    incoming.channel.reset(SocketError::ConnectionRefused.code());
                }
                self.drop_incoming(reactor, token);
            }
            Ok(_) | Err(_) => self.heat(token),
        }
    }

    fn datagram_server_rang(&mut self, reactor: &mut Reactor, id: SocketId) {
        let Ok(socket) = self.datagrams.hot(id) else { return };
        socket.server_is_armed = false;
        match &mut socket.server {
            Server::Asked(channel, _) | Server::Bound(channel, _) => {
                if let Err(error) = channel.acknowledge_bell() {
                    log::error!("a datagram socket's channel to the stack: {error}");
                    self.datagram_server_lost(reactor, id);
                    return;
                }
            }
            Server::Absent | Server::Opening(_) => return,
        }
        match socket.server {
            Server::Asked(..) => self.datagram_answer(reactor, id),
            Server::Bound(..) => self.datagram_server_spoke(reactor, id),
            Server::Absent | Server::Opening(_) => {}
        }
    }

    /// The answer to a question is taken in here; all else is the process's to fetch.
    fn datagram_server_spoke(&mut self, reactor: &mut Reactor, id: SocketId) {
        let Ok(socket) = self.datagrams.hot(id) else { return };
        if matches!(socket.connected, Connected::Asked(_) | Connected::Again(_)) {
            let is_empty = (0..RECORDS_PER_CALL).any(|_| !self.take_in_from_server(reactor, id));
            let nothing_else = |socket: &super::DatagramSocket| socket.queue.is_empty() && socket.error.is_none();
            if is_empty && self.datagrams.sockets.get(&id).is_some_and(nothing_else) {
                return;
            }
        }
        self.events.push_back(LibraryEvent::Readable { socket: id });
    }

    /// A channel has something: its sockets are told.
    pub(super) fn heat(&mut self, token: Token) {
        let Some(incoming) = self.datagrams.incoming.get_mut(&token) else { return };
        let criteria = incoming.criteria;
        if !std::mem::replace(&mut incoming.is_hot, true) {
            self.datagrams.hot.entry(criteria).or_default().push_back(token);
        }
        let readable = self.datagrams.listening(criteria);
        self.events.extend(readable.into_iter().map(|socket| LibraryEvent::Readable { socket }));
    }

    /// A process opened the pathname of a datagram socket.
    pub(crate) fn datagram_incoming(
        &mut self,
        reactor: &mut Reactor,
        criteria: Criteria,
        mut channel: Channel,
        peer: &Identity,
        terms: &[u8],
    ) {
        let open = self.datagrams.incoming.values().filter(|i| (i.peer.vr, i.peer.pid) == (peer.vr, peer.pid)).count();
        let kind = postcard::from_bytes::<DatagramPeer>(terms);
        let wants_word = kind == Ok(DatagramPeer::RecordsOfConnected);
        let refused = if kind.is_err() {
            Some(DatagramDrop::BadRecord)
        } else if self.datagrams.listening(criteria).is_empty() {
            Some(DatagramDrop::NoListener)
        } else {
            (open >= CHANNELS_PER_PEER).then_some(DatagramDrop::TooManyChannels)
        };
        if let Some(reason) = refused {
            log::debug!("datagrams of {peer} to {criteria} dropped: {reason}");
            self.datagrams.count(reason, 1);
            channel.reset(SocketError::ConnectionRefused.code());
            return;
        }
        channel.rx.free_in_batches();
        match reactor.register(&mut channel) {
            Ok(token) => {
                let (peer, spin) = (peer.clone(), Duration::ZERO);
                let incoming = Incoming { channel, criteria, peer, wants_word, is_hot: false, spin, judged: None };
                self.datagrams.incoming.insert(token, incoming);
                self.heat_or_refuse(reactor, token);
            }
            Err(error) => log::error!("cannot wait for the datagrams of {peer}: {error}"),
        }
    }

    pub(super) fn drop_incoming(&mut self, reactor: &mut Reactor, token: Token) {
        let Some(mut incoming) = self.datagrams.incoming.remove(&token) else { return };
        if let Err(error) = reactor.deregister(&mut incoming.channel) {
            log::debug!("a channel that is closed: {error}");
        }
        if let Some(hot) = self.datagrams.hot.get_mut(&incoming.criteria) {
            hot.retain(|known| *known != token);
        }
    }

    /// What the stack's channel has.
    fn pull_server(&mut self, reactor: &mut Reactor, id: SocketId, room: &mut Room<'_>) -> Pulled {
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

    /// Lets the stack's bell ring for its next word, an answer: who has read a datagram may have left it unarmed.
    pub(super) fn await_word_of_server(&mut self, reactor: &mut Reactor, id: SocketId) {
        let is_empty = (0..RECORDS_PER_CALL).any(|_| !self.take_in_from_server(reactor, id));
        let has_some = self.datagrams.sockets.get(&id).is_some_and(|socket| !socket.queue.is_empty());
        if has_some || !is_empty {
            self.events.push_back(LibraryEvent::Readable { socket: id });
        }
    }

    /// A socket hears nobody but its peer from now on: others that speak with nobody else are told, if they are not
    /// heard by another socket.
    pub(super) fn refuse_others(&mut self, reactor: &mut Reactor, id: SocketId) {
        let criteria = self.datagrams.sockets.get(&id).and_then(super::DatagramSocket::criteria);
        let of_it = |incoming: &Incoming| Some(incoming.criteria) == criteria && incoming.wants_word;
        let tokens: Vec<Token> =
            self.datagrams.incoming.iter().filter(|(_, incoming)| of_it(incoming)).map(|(token, _)| *token).collect();
        tokens.into_iter().for_each(|token| self.heat_or_refuse(reactor, token));
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
    fn take_in_from_server(&mut self, reactor: &mut Reactor, id: SocketId) -> bool {
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
    fn pull_peers(&mut self, reactor: &mut Reactor, id: SocketId, room: &mut Room<'_>, look_out: Duration) -> Pulled {
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

    /// Who gets a datagram that begins with `start`. Identity is attested, addresses are claimed.
    fn judge(&mut self, criteria: Criteria, peer: VrId, start: &[u8], length: usize) -> Result<Judged, DatagramDrop> {
        let mut known = Known::decode(start, length).ok_or(DatagramDrop::BadRecord)?;
        let DatagramHeader { addresses, ttl, ref interface, .. } = known.header;
        if interface.is_some() {
            return Err(DatagramDrop::BadRecord);
        }
        let Addresses { source, destination } = addresses;
        let interface = self.vrfib.interface_to(peer).ok_or(DatagramDrop::ForgedSource)?;
        if !interface.peer_addresses.contains(&source.ip()) {
            return Err(DatagramDrop::ForgedSource);
        }
        if !interface.up {
            return Err(DatagramDrop::InterfaceDown);
        }
        let is_wanted = match criteria {
            Criteria::Udp(family, port) => Family::of(destination.ip()) == family && destination.port() == port.get(),
            Criteria::Raw(family, _) => Family::of(destination.ip()) == family && destination.port() == 0,
            Criteria::Tcp(..) | Criteria::Osi(_) => false,
        };
        if !is_wanted || ttl == 0 {
            return Err(DatagramDrop::WrongDestination);
        }
        let name = interface.name.clone();
        let receivers = self.datagram_receivers(criteria, source, destination.ip(), &name);
        if receivers.is_empty() {
            return Err(DatagramDrop::NoListener);
        }
        let traffic = self.traffic.place(&name);
        if !known.encoded.begins(start) {
            // It would be judged for ever.
            return Err(DatagramDrop::BadRecord);
        }
        known.header.interface = Some(name);
        Ok(Judged { known, revision: self.datagrams.revision, receivers, traffic })
    }

    /// To one receiver: the UDP socket connected to the sender, else the one bound to the address, else the one bound to
    /// none, and of several the one bound last; every raw socket. To a group: all that joined it there.
    fn datagram_receivers(
        &self,
        criteria: Criteria,
        source: SocketAddr,
        to: IpAddr,
        interface: &InterfaceName,
    ) -> Vec<SocketId> {
        let membership = (interface.clone(), to);
        let exactness = |id: SocketId| {
            let socket = self.datagrams.sockets.get(&id)?;
            let bound = socket.bound.as_ref()?;
            let here = bound.interface.as_ref().is_none_or(|bound| bound == interface);
            let address = bound.local.is_none_or(|local| local == to);
            let joined = !to.is_multicast() || socket.groups.contains(&membership);
            let hears = socket.connected.hears(source, to);
            (here && address && joined && hears).then(|| (socket.connected != Connected::No, bound.local.is_some(), id))
        };
        let found = self.datagrams.listening(criteria).into_iter().filter_map(exactness);
        match criteria {
            Criteria::Udp(..) if !to.is_multicast() => found.max().map(|(.., id)| id).into_iter().collect(),
            Criteria::Udp(..) | Criteria::Raw(..) | Criteria::Tcp(..) | Criteria::Osi(_) => {
                found.map(|(.., id)| id).collect()
            }
        }
    }
}

impl Known {
    fn decode(start: &[u8], length: usize) -> Option<Self> {
        let decoded = DatagramHeader::decode(start, length).inspect_err(|fault| log::trace!("no datagram: {fault}"));
        let (header, _) = decoded.ok()?;
        let encoded = header.encode().ok()?;
        Some(Self { encoded, header })
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
fn next(channel: &mut Channel, looks_out: bool) -> Result<Option<Record<'_>>, Over> {
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

/// What was read before.
fn taken(message: ProcessMessage, room: &mut Room<'_>) -> DatagramInfo {
    let ProcessMessage { addresses, ttl, tos, interface, payload } = message;
    let Addresses { source, destination } = addresses;
    let length = payload.len();
    let truncated = room.take(payload) < length;
    DatagramInfo { length, truncated, source, destination, ttl, tos, interface }
}

/// That its room could not be told to the peer shows with the next look at the channel.
#[inline]
fn consume(record: Record<'_>) {
    if let Err(error) = record.consume() {
        log::debug!("a datagram was read: {error}");
    }
}
