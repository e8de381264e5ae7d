//! A program that is executed goes on with datagram sockets of the one that executes it, as inetd's do that `wait`.
//!
//! What goes over is what a forked child has (`super::fork`): the socket's channel to the stack, the channels that others
//! have opened, and the family's queue, in which those come that open one from then on; and what was read and not yet
//! fetched. Channels to receivers are opened anew. The program that is executed is a process of its own and makes the socket
//! known in its own name; what lies in the channels waits until it has joined the router.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use std::vec;

use ipc::channel::{Channel, EndRecord, Successor};
use ipc::error::ChannelError;
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Criteria, InterfaceName};
use serde::{Deserialize, Serialize};
use stack_api::datagram::DatagramPath;
use stack_api::options::Options;
use stack_api::socket::SocketError;

use super::connect::Connected;
use super::copies::Copies;
use super::{BoundTo, DatagramSocket, Incoming, Kind, Server};
use crate::exec::{QUEUE_FDS, STREAM_FDS};
use crate::fork::LOOK;
use crate::library::{Library, LibraryEvent};
use crate::message::ProcessMessage;
use crate::socket::SocketId;

/// What of a datagram socket is said to the program that goes on with it, beside descriptors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatagramRecord {
    kind: Kind,
    options: Options,
    groups: Vec<(InterfaceName, IpAddr)>,
    error: Option<SocketError>,
    /// By which the manager knows that several processes have it.
    shared: Option<u64>,
    /// Datagrams that were read from a channel, for it to fetch.
    unread: Vec<ProcessMessage>,
    /// How many of them another process has too, and what it claims them with, whose descriptors come first.
    copies: Option<(EndRecord, usize)>,
    bound: Option<BoundTo>,
    path: Option<DatagramPath>,
    /// Its channel to the stack; `None`: it has none now.
    server: Option<EndRecord>,
    /// Whether it has a queue, whose descriptors come next.
    has_queue: bool,
    /// The channels that others have opened.
    incoming: Vec<IncomingRecord>,
}

/// A channel that another process has opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct IncomingRecord {
    end: EndRecord,
    peer: Identity,
    wants_word: bool,
}

impl DatagramRecord {
    /// How many descriptors belong to it.
    pub fn descriptors(&self) -> usize {
        let own = usize::from(self.copies.is_some()) + usize::from(self.server.is_some());
        let channels = own + self.incoming.len();
        STREAM_FDS * channels + if self.has_queue { QUEUE_FDS } else { 0 }
    }
}

/// What another program needs to take a channel over, with descriptors of its own; or nothing has changed.
fn hand_over(channel: &mut Channel, to: Successor) -> Result<(EndRecord, [OwnedFd; 4]), ChannelError> {
    let (record, fds) = channel.hand_over(to)?;
    let [memory, bell_in, bell_out, area] = fds.map(|fd| fd.try_clone_to_owned());
    let copies = || io::Result::Ok([memory?, bell_in?, bell_out?, area?]);
    copies().map(|fds| (record, fds)).map_err(|error| {
        channel.take_back(to);
        ChannelError::Kernel { what: "duplicate a channel's descriptors", error }
    })
}

impl Library {
    /// What another program needs to [take a datagram socket over](Self::take_over_datagram). `reactor` is the process's own
    /// loop, and `None` where that is not to be had ([`hand_over_listener`](Self::hand_over_listener)). If the program is not
    /// executed call [`take_datagram_back`](Self::take_datagram_back).
    pub fn hand_over_datagram(
        &mut self,
        reactor: Option<&mut Reactor>,
        id: SocketId,
        to: Successor,
    ) -> Result<(DatagramRecord, Vec<OwnedFd>), SocketError> {
        if let Some(reactor) = reactor {
            self.make_queues(reactor)?;
        }
        if to == Successor::Child {
            self.number_datagrams();
        }
        let (options, mut fds) = (self.options_of(id), Vec::new());
        let socket = self.datagrams.get(id)?;
        let mut record = DatagramRecord {
            kind: socket.kind,
            options,
            groups: socket.groups.iter().cloned().collect(),
            error: socket.error,
            shared: socket.shared,
            unread: socket.queue.iter().cloned().collect(),
            bound: socket.bound.clone(),
            path: match socket.connected {
                Connected::To(path) | Connected::Again(path) => Some(path),
                Connected::No | Connected::Asked(_) => None,
            },
            copies: None,
            server: None,
            has_queue: false,
            incoming: Vec::new(),
        };
        if let Err(error) = self.hand_over_channels(id, to, &mut record, &mut fds) {
            log::error!("a channel of a datagram socket cannot be handed over: {error}");
            self.take_datagram_back(id, to);
            return Err(SocketError::NoBuffers);
        }
        if to == Successor::Child {
            self.look_at_shared_at = Some(Instant::now() + LOOK);
        }
        Ok((record, fds))
    }

    fn hand_over_channels(
        &mut self,
        id: SocketId,
        to: Successor,
        record: &mut DatagramRecord,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<(), ChannelError> {
        let duplicate = |error| ChannelError::Kernel { what: "duplicate a queue's descriptors", error };
        let Some(socket) = self.datagrams.sockets.get_mut(&id) else { return Ok(()) };
        let Some(criteria) = socket.criteria() else { return Ok(()) };
        if to == Successor::Child {
            socket.copy_unread()?;
        }
        if let Some(copies) = &mut socket.copies {
            let (end, parts) = hand_over(&mut copies.claim, to)?;
            record.copies = Some((end, copies.count));
            fds.extend(parts);
        }
        if let Some(channel) = socket.channel() {
            let (end, parts) = hand_over(channel, to)?;
            record.server = Some(end);
            fds.extend(parts);
        }
        if let Some(queue) = self.queues.get(&criteria) {
            for fd in queue.queue.as_fds() {
                fds.push(fd.try_clone_to_owned().map_err(duplicate)?);
            }
            record.has_queue = true;
        }
        for incoming in self.incoming_of(id, criteria) {
            let (end, parts) = hand_over(&mut incoming.channel, to)?;
            let (peer, wants_word) = (incoming.peer.clone(), incoming.wants_word);
            record.incoming.push(IncomingRecord { end, peer, wants_word });
            fds.extend(parts);
        }
        Ok(())
    }

    /// The channels that go with a socket: with the first of those that share a port.
    fn incoming_of(&mut self, id: SocketId, criteria: Criteria) -> impl Iterator<Item = &mut Incoming> {
        let is_first = self.datagrams.listening(criteria).first() == Some(&id);
        let all = self.datagrams.incoming.values_mut();
        all.filter(move |incoming| is_first && incoming.criteria == criteria)
    }

    /// The program that was to go on with a datagram socket was not executed.
    pub fn take_datagram_back(&mut self, id: SocketId, from: Successor) {
        let Some(socket) = self.datagrams.sockets.get_mut(&id) else { return };
        let criteria = socket.criteria();
        if let Some(copies) = &mut socket.copies {
            copies.claim.take_back(from);
        }
        if let Some(channel) = socket.channel() {
            channel.take_back(from);
        }
        if let Some(criteria) = criteria {
            self.incoming_of(id, criteria).for_each(|incoming| incoming.channel.take_back(from));
        }
    }

    /// This process is a child that does nothing but execute another program: its parent's datagram sockets are its
    /// parent's alone again, but for those that it has handed over.
    pub fn give_back_datagrams(&mut self, but: &[SocketId]) {
        let of_others = |socket: &DatagramSocket| socket.criteria();
        let kept: Vec<Criteria> =
            but.iter().filter_map(|id| self.datagrams.sockets.get(id).and_then(of_others)).collect();
        self.datagrams.sockets.retain(|id, _| but.contains(id));
        self.datagrams.incoming.retain(|_, incoming| kept.contains(&incoming.criteria));
    }

    /// Goes on with a datagram socket that another program has handed over: it is made known in this process's name as soon
    /// as the manager is there.
    pub fn take_over_datagram(
        &mut self,
        reactor: &mut Reactor,
        record: DatagramRecord,
        fds: Vec<OwnedFd>,
    ) -> Result<SocketId, SocketError> {
        if fds.len() != record.descriptors() {
            return Err(SocketError::InvalidArgument);
        }
        let mut fds = fds.into_iter();
        let id = self.new_id();
        self.keep_options(id, record.options);
        let mut socket = DatagramSocket::new(record.kind);
        socket.groups = record.groups.into_iter().collect();
        (socket.error, socket.bound) = (record.error, record.bound);
        socket.shared = record.shared;
        socket.queue = record.unread.into();
        if let Some((end, count)) = record.copies {
            let parts: Vec<OwnedFd> = fds.by_ref().take(STREAM_FDS).collect();
            let parts = parts.try_into().map_err(|_| SocketError::InvalidArgument)?;
            let claim = Channel::take_over(end, parts).map_err(|_| SocketError::InvalidArgument)?;
            socket.copies = Some(Copies { claim, count });
        }
        // Who bound it was told that it stands.
        socket.announced = socket.bound.is_some();
        if let Some(path) = record.path {
            socket.connected = Connected::To(path);
        }
        let (is_bound, criteria) = (socket.bound.is_some(), socket.criteria());
        self.datagrams.sockets.insert(id, socket);
        self.datagrams.forget_ways();
        match record.server.map(|end| take_channel(reactor, end, &mut fds)) {
            Some(Some((channel, token))) => {
                self.datagrams.servers.insert(token, id);
                self.datagrams.get(id)?.server = Server::Bound(channel, token);
            }
            Some(None) | None if is_bound => self.open_datagram_server(reactor, id)?,
            Some(None) | None => {}
        }
        let Some(criteria) = criteria else { return Ok(id) };
        if record.has_queue {
            self.take_over_queue(reactor, criteria, &mut fds)?;
        }
        for IncomingRecord { end, peer, wants_word } in record.incoming {
            if let Some((channel, token)) = take_channel(reactor, end, &mut fds) {
                let (is_hot, spin, judged) = (false, Duration::ZERO, None);
                let incoming = Incoming { channel, criteria, peer, wants_word, is_hot, spin, judged };
                self.datagrams.incoming.insert(token, incoming);
                self.heat(token);
            }
        }
        self.look_at_shared_at = Some(Instant::now() + LOOK);
        self.publish_datagram(id);
        self.events.push_back(LibraryEvent::Readable { socket: id });
        Ok(id)
    }
}

/// A channel that another program has handed over, and its place in the loop; what is wrong with it is said.
fn take_channel(
    reactor: &mut Reactor,
    end: EndRecord,
    fds: &mut vec::IntoIter<OwnedFd>,
) -> Option<(Channel, mio::Token)> {
    let parts: Vec<OwnedFd> = fds.take(STREAM_FDS).collect();
    let taken = parts.try_into().map_err(|_| "its descriptors are not there".to_owned()).and_then(|parts| {
        let mut channel = Channel::take_over(end, parts).map_err(|error| error.to_string())?;
        let token = reactor.register(&mut channel).map_err(|error| error.to_string())?;
        Ok((channel, token))
    });
    taken.inspect_err(|why| log::error!("a channel of a datagram socket is lost by exec: {why}")).ok()
}
