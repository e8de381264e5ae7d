//! A program that is executed goes on with connections and listeners of the one that executes it.
//!
//! As after a fork (`crate::fork`) the channels move over, and who the process is does not: the program that is executed
//! opens a link of its own and is a process of its VR like any other. Its connections it can use before that.
//!
//! ```text
//!   before:  hand_over, hand_over_listener, hand_over_datagram ──▶ records and descriptors ──▶ exec(3)
//!   after:   Stream::take_over, Library::new, enter_lent, take_over_listener, take_over_datagram
//! ```
//!
//! Datagram sockets: `datagram/exec.rs`. Not so: opens under way.

use std::io;
use std::os::fd::OwnedFd;
use std::vec;

use ipc::channel::Successor;
use ipc::error::ChannelError;
use ipc::queue::Queue;
use ipc::reactor::Reactor;
use ipc::{Criteria, Pathname};
use serde::{Deserialize, Serialize};
use stack_api::options::Options;
use stack_api::socket::SocketError;
use vr_api::manager::Listener;

use crate::fork::FamilyQueue;
use crate::lend::Borrower;
use crate::library::Library;
use crate::listen::{Authority, Listening};
use crate::socket::{Socket, SocketId};
use crate::stream::{Stream, StreamRecord};

/// Descriptors of a connection that is handed over.
pub const STREAM_FDS: usize = 4;
/// Those of a listener, beside those of the connections that wait at it.
pub(crate) const QUEUE_FDS: usize = 2;

/// What of a listener is said to the program that goes on with it, beside descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRecord {
    listener: Listener,
    /// Those who listen at one place together have the same number, which nobody can guess.
    family: u64,
    options: Options,
    /// Connections that nobody has accepted, and the endpoints that they came by.
    waiting: Vec<(StreamRecord, Pathname)>,
}

impl ListenerRecord {
    /// How many descriptors belong to it.
    pub fn descriptors(&self) -> usize {
        QUEUE_FDS + STREAM_FDS * self.waiting.len()
    }
}

/// What another program needs to take a connection over, with descriptors of its own; or nothing has changed.
pub fn hand_over(stream: &mut Stream, to: Successor) -> Result<(StreamRecord, [OwnedFd; 4]), ChannelError> {
    let (record, fds) = stream.hand_over(to)?;
    let [memory, bell_in, bell_out, area] = fds.map(|fd| fd.try_clone_to_owned());
    let copies = || io::Result::Ok([memory?, bell_in?, bell_out?, area?]);
    match copies() {
        Ok(fds) => Ok((record, fds)),
        Err(error) => {
            stream.take_back(to);
            Err(ChannelError::Kernel { what: "duplicate a channel's descriptors", error })
        }
    }
}

impl Library {
    /// What another program needs to [take a listener over](Self::take_over_listener). The first time a process does that it
    /// waits for procmgr to put what comes for the listener into a queue that can be handed over; `reactor` is its own loop,
    /// and `None` where that is not to be had. If the program is not executed call
    /// [`take_listener_back`](Self::take_listener_back).
    pub fn hand_over_listener(
        &mut self,
        reactor: Option<&mut Reactor>,
        listener: SocketId,
        to: Successor,
    ) -> Result<(ListenerRecord, Vec<OwnedFd>), SocketError> {
        if let Some(reactor) = reactor {
            self.make_queues(reactor)?;
        }
        let options = self.options_of(listener);
        let Some(Socket::Listening(listening)) = self.sockets.get_mut(&listener) else {
            return Err(SocketError::InvalidArgument);
        };
        let queue = self.queues.get(&listening.listener.criteria).ok_or(SocketError::NoBuffers)?;
        let mut fds = Vec::new();
        for fd in queue.queue.as_fds() {
            fds.push(fd.try_clone_to_owned().map_err(|_| SocketError::NoBuffers)?);
        }
        listening.forget_claimed();
        let mut waiting = Vec::new();
        for (stream, came_by) in &mut listening.queue {
            match hand_over(stream, to) {
                Ok((record, parts)) => {
                    fds.extend(parts);
                    waiting.push((record, came_by.clone()));
                }
                Err(error) => {
                    log::error!("a connection that waits cannot be handed over: {error}");
                    listening.waiting().take(waiting.len()).for_each(|stream| stream.take_back(to));
                    return Err(SocketError::NoBuffers);
                }
            }
        }
        let record =
            ListenerRecord { listener: listening.listener.clone(), family: listening.family, options, waiting };
        Ok((record, fds))
    }

    /// The program that was to go on with a listener was not executed.
    pub fn take_listener_back(&mut self, listener: SocketId, from: Successor) {
        if let Some(Socket::Listening(listening)) = self.sockets.get_mut(&listener) {
            listening.waiting().for_each(|stream| stream.take_back(from));
        }
    }

    /// Goes on with a listener that another program has handed over: it listens in this process's name, as soon as the
    /// manager and the stack know; what has come meanwhile waits.
    pub fn take_over_listener(
        &mut self,
        reactor: &mut Reactor,
        record: ListenerRecord,
        fds: Vec<OwnedFd>,
    ) -> Result<SocketId, SocketError> {
        let mut fds = fds.into_iter();
        let ListenerRecord { listener, family, options, waiting } = record;
        let criteria = listener.criteria;
        if !matches!(criteria, Criteria::Tcp(..)) {
            return Err(SocketError::InvalidArgument);
        }
        self.take_over_queue(reactor, criteria, &mut fds)?;
        let mut queue = Vec::new();
        for (record, came_by) in waiting {
            let parts: Vec<OwnedFd> = fds.by_ref().take(STREAM_FDS).collect();
            let parts = parts.try_into().map_err(|_| SocketError::InvalidArgument)?;
            let stream = Stream::take_over(record, parts).map_err(|error| {
                log::error!("a connection that waits for {criteria} cannot be taken over: {error}");
                SocketError::InvalidArgument
            })?;
            queue.push((stream, came_by));
        }
        let socket = self.new_id();
        self.keep_options(socket, options);
        self.listeners.entry(criteria).or_default().push(socket);
        self.put(socket, Socket::Listening(Listening::taken_over(listener, family, queue)));
        // Those of the two that are not there yet are asked when they come.
        self.ask(Authority::Manager, socket);
        self.ask(Authority::Server, socket);
        Ok(socket)
    }

    /// What comes for `criteria` comes into a queue, whose descriptors are the next two.
    pub(crate) fn take_over_queue(
        &mut self,
        reactor: &mut Reactor,
        criteria: Criteria,
        fds: &mut vec::IntoIter<OwnedFd>,
    ) -> Result<(), SocketError> {
        let (Some(give), Some(take)) = (fds.next(), fds.next()) else { return Err(SocketError::InvalidArgument) };
        if self.queues.contains_key(&criteria) {
            return Ok(());
        }
        let mut queue = Queue::from_fds([give, take]).map_err(|_| SocketError::NoBuffers)?;
        let token = reactor.register(&mut queue).map_err(|_| SocketError::NoBuffers)?;
        self.hand_over_queue(reactor, criteria, FamilyQueue { queue, token })
    }

    /// A connection that the program before this one has handed over, and that is used beside the library
    /// ([`lend`](Self::lend)) since. What follows from the vrFIB and from time is the library's from now on.
    pub fn enter_lent(&mut self, at: &'static dyn Borrower, options: Options) -> SocketId {
        let socket = self.new_id();
        self.keep_options(socket, options);
        self.put(socket, Socket::Lent(at));
        socket
    }
}
