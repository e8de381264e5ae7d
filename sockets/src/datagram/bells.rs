//! Who rang: the stack, or a process that opened the socket's pathname; and whether the socket's user is told, or the one who
//! rang.

use std::time::Duration;

use ipc::Criteria;
use ipc::channel::Channel;
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use mio::Token;
use stack_api::datagram::DatagramPeer;
use stack_api::datagram_header::MAX_HEADER;
use stack_api::socket::SocketError;

use super::connect::Connected;
use super::pull::{Over, RECORDS_PER_CALL, next};
use super::{CHANNELS_PER_PEER, DatagramDrop, Incoming, Server};
use crate::library::{Library, LibraryEvent};
use crate::socket::SocketId;

impl Library {
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
        channel.rx.limit_window(self.receive_buffer_of(criteria));
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
}
