//! Receiving: the calls.

use std::net::SocketAddr;
use std::time::Duration;

use ipc::Criteria;
use ipc::reactor::Reactor;
use stack_api::socket::{Addresses, SocketError};

use super::DatagramInfo;
use super::pull::{Pulled, RECORDS_PER_CALL};
use super::room::{Room, taken};
use crate::library::{Library, LibraryEvent};
use crate::message::ProcessMessage;
use crate::readiness::Readiness;
use crate::socket::SocketId;

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
            socket.claim_copies();
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
        self.datagrams.hot(id)?.forget_claimed();
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
        socket.forget_claimed();
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

    /// Bounds what may wait for a socket in each ring that leads to it (`SO_RCVBUF`).
    pub(crate) fn bound_waiting_datagrams(&mut self, id: SocketId) {
        let own = self.options_of(id).receive_buffer();
        let Ok(socket) = self.datagrams.hot(id) else { return };
        if let Some(channel) = socket.channel() {
            channel.rx.limit_window(own);
        }
        let Some(criteria) = socket.criteria() else { return };
        let most = self.receive_buffer_of(criteria);
        let of_it = self.datagrams.incoming.values_mut().filter(|incoming| incoming.criteria == criteria);
        of_it.for_each(|incoming| incoming.channel.rx.limit_window(most));
    }

    /// Bytes that may wait for sockets of some criteria, which read the same rings: as the largest of them wants it.
    pub(super) fn receive_buffer_of(&self, criteria: Criteria) -> usize {
        let listening = self.datagrams.listening(criteria).into_iter();
        listening.map(|id| self.options_of(id).receive_buffer()).max().unwrap_or(usize::MAX)
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
}
