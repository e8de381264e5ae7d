//! A forked child goes on with its parent's connections and listeners.
//!
//! A connection is a channel, and fork copies what a process has of one (`ipc::channel`). What it does not copy is who
//! the process is: procmgr attests a process ID, and the child has another one. So the child opens a link of its own and
//! is a process like any other of its VR, with a vrFIB and ports of its own; the connections move over.
//!
//! ```text
//!   parent:  before_fork ──▶ fork(2) ─┬─▶ goes on
//!                                     └─▶ child: Link::of_child, Reactor::new, after_fork_in_child
//! ```
//!
//! As on Linux both may read and write, each byte goes to one of the two, and the connection ends when both have closed
//! it or died. A listener is shared too: from the fork on what comes for it waits in one queue of the kernel
//! (`ipc::queue`), and whoever accepts first has it. Parent and child each listen in their own name with the manager and
//! the stack, so that the listener lives as long as one of them; what comes by either name goes into the one queue.
//! Datagram sockets go on in the same way (`datagram/fork.rs`). Not so: opens under way stay with the parent.

use std::collections::BTreeSet;
use std::mem;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use ipc::channel::Channel;
use ipc::queue::Queue;
use ipc::reactor::{Event, Reactor};
use ipc::{Criteria, Pathname};
use mio::Token;
use stack_api::socket::SocketError;

use crate::error::{LibraryError, error_of_link};
use crate::hash::BySocket;
use crate::library::{Library, LibraryEvent};
use crate::listen::Listening;
use crate::socket::{Socket, SocketId};
use crate::stream::Stream;

/// How often connections that other processes have too are looked at without a bell: a sibling may have silenced it.
pub(crate) const LOOK: Duration = Duration::from_millis(10);

/// How long a fork waits for procmgr to say that what comes for a listener goes into its queue.
const PATIENCE: Duration = Duration::from_secs(5);

/// The queue of a listener that forked processes share, and its place in this process's loop.
#[derive(Debug)]
pub(crate) struct FamilyQueue {
    pub queue: Queue,
    pub token: Token,
}

impl Library {
    /// A child is about to be forked, by this thread: all connections and listeners are shared from now on. They must not be
    /// used before the fork. If it fails call [`fork_failed`](Self::fork_failed). The first fork after a listener came to
    /// be waits for procmgr.
    pub fn before_fork(&mut self, reactor: &mut Reactor) -> Result<(), SocketError> {
        self.make_queues(reactor)?;
        self.number_datagrams();
        self.share_with_child()
    }

    /// The same in a child that is itself no process of the router yet: its parent has made the queues, and all that it
    /// has goes on to its own child.
    pub fn before_fork_of_orphan(&mut self) -> Result<(), SocketError> {
        self.share_with_child()
    }

    fn share_with_child(&mut self) -> Result<(), SocketError> {
        let mut shared = 0;
        let outcome = self.streams().try_for_each(|stream| {
            stream.channel().share()?;
            shared += 1;
            Ok::<(), ipc::error::ChannelError>(())
        });
        let outcome = outcome.and_then(|()| {
            self.datagrams.copy_unread()?;
            self.datagrams.channels().try_for_each(|channel| {
                channel.share()?;
                shared += 1;
                Ok(())
            })
        });
        self.look_at_shared_at = (shared > 0).then(|| Instant::now() + LOOK);
        outcome.map_err(|error| {
            log::error!("share connections with a child: {error}");
            let Self { sockets, datagrams, .. } = self;
            let all = streams_of(sockets).map(Stream::channel).chain(datagrams.channels());
            all.take(shared).for_each(Channel::take_share_back);
            SocketError::NoBuffers
        })
    }

    /// There is no child.
    pub fn fork_failed(&mut self) {
        self.streams().for_each(|stream| stream.channel().take_share_back());
        self.datagrams.channels().for_each(Channel::take_share_back);
    }

    /// This process is a child, and whether it ever becomes a process of the router is open: it may only wait, or fork
    /// once more. It lets go of what is its parent's alone, so that manager and stack see when the parent ends.
    pub fn leave_services_to_parent(&mut self) {
        self.manager.leave_to_parent();
        self.server.leave_to_parent();
    }

    /// Gives each listener a queue, and waits until nothing more comes for it over the link.
    pub(crate) fn make_queues(&mut self, reactor: &mut Reactor) -> Result<(), SocketError> {
        let all: BTreeSet<Criteria> = self.listeners.keys().copied().chain(self.datagrams.criteria()).collect();
        for criteria in all.into_iter().filter(|criteria| !self.queues.contains_key(criteria)).collect::<Vec<_>>() {
            let made = Queue::new().and_then(|mut queue| {
                let token = reactor.register(&mut queue)?;
                Ok(FamilyQueue { queue, token })
            });
            let queue = made.map_err(|error| {
                log::error!("share a listener with a child: {error}");
                SocketError::NoBuffers
            })?;
            self.hand_over_queue(reactor, criteria, queue)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.queueing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = reactor.link.wait_event_timeout(left).map_err(|error| error_of_link(&error))?;
            let Some(event) = event else { return Err(SocketError::TimedOut) };
            if let Some(Event::Link(event)) = self.handle(reactor, Event::Link(event)) {
                reactor.postpone(event);
            }
        }
        Ok(())
    }

    /// Tells procmgr to put there what comes for this process's own endpoint.
    pub(crate) fn hand_over_queue(
        &mut self,
        reactor: &mut Reactor,
        criteria: Criteria,
        queue: FamilyQueue,
    ) -> Result<(), SocketError> {
        let endpoint = Pathname::endpoint(self.identity.vr, self.identity.pid, criteria);
        let ticket = reactor.link.queue(endpoint, &queue.queue).map_err(|error| error_of_link(&error))?;
        self.queueing.insert(ticket);
        self.queues.insert(criteria, queue);
        Ok(())
    }

    /// This process is the child, and `reactor` the loop of its own around a link of its own
    /// ([`Link::of_child`](ipc::link::Link::of_child)); its parent's is to be dropped. Sockets keep their numbers.
    pub fn after_fork_in_child(&mut self, reactor: &mut Reactor) -> Result<(), LibraryError> {
        let user_timeout = self.user_timeout();
        let parents = mem::replace(self, Self::new(reactor)?);
        self.next_socket = parents.next_socket;
        self.set_user_timeout(user_timeout);
        for (criteria, FamilyQueue { mut queue, .. }) in parents.queues {
            let registered = reactor.register(&mut queue).map_err(|error| error.to_string());
            let handed_over = registered.and_then(|token| {
                let queue = FamilyQueue { queue, token };
                self.hand_over_queue(reactor, criteria, queue).map_err(|error| error.to_string())
            });
            if let Err(error) = handed_over {
                log::error!("share the parent's listener of {criteria}: {error}");
            }
        }
        for (socket, state) in parents.sockets {
            match state {
                Socket::Connected { stream, .. } => self.inherit(reactor, socket, stream),
                Socket::Listening(listening) => self.inherit_listener(socket, listening),
                Socket::Unbound | Socket::Bound(_) | Socket::Lent(_) => self.put(socket, state),
                // What the parent waits for comes to the parent.
                Socket::Opening(_) => {}
            }
        }
        self.inherit_datagrams(reactor, parents.datagrams);
        // Asked for once more, in this process's name, when the stack is there.
        self.reservations.extend(parents.reservations);
        self.ask_for_reservations();
        self.options = parents.options;
        self.options.retain(|socket, _| self.sockets.contains_key(socket) || self.datagrams.contains(*socket));
        self.look_at_shared_at = parents.look_at_shared_at;
        Ok(())
    }

    /// The manager and the stack are asked when they are there. Until then what comes by the parent's name is this
    /// process's too.
    fn inherit_listener(&mut self, socket: SocketId, mut listening: Listening) {
        listening.adopt();
        self.listeners.entry(listening.listener.criteria).or_default().push(socket);
        self.put(socket, Socket::Listening(listening));
    }

    /// Takes the next connection that came for listeners of some criteria from the queue that the family shares; `false`:
    /// there is none now.
    pub(crate) fn take_from_family(&mut self, reactor: &mut Reactor, criteria: Criteria) -> bool {
        // Without a vrFIB nobody knows which addresses a peer may use.
        if !self.vrfib_is_known() {
            return false;
        }
        let Some(FamilyQueue { queue, .. }) = self.queues.get_mut(&criteria) else { return false };
        match queue.take() {
            Ok(Some(arrival)) => {
                self.arrived(reactor, criteria, arrival);
                true
            }
            Ok(None) => false,
            Err(error) => {
                log::error!("a connection for {criteria} is lost: {error}");
                true
            }
        }
    }

    /// Whether something lies in the family's queue.
    pub(crate) fn family_has_waiting(&self, criteria: Criteria) -> bool {
        let queue = self.queues.get(&criteria).filter(|_| self.vrfib_is_known());
        queue.is_some_and(|queue| queue.queue.has_waiting())
    }

    /// Something lies in a queue of the family's, if this token is that of one.
    pub(crate) fn family_ready(&mut self, token: Token) -> bool {
        let found = self.queues.iter().find(|(_, queue)| queue.token == token);
        let Some(criteria) = found.map(|(criteria, _)| *criteria) else { return false };
        self.tell_of_family_queue(criteria);
        true
    }

    /// Tells of everything that lies in the family's queues.
    pub(crate) fn tell_of_family_queues(&mut self) {
        let all: Vec<Criteria> = self.queues.keys().copied().collect();
        all.into_iter().for_each(|criteria| self.tell_of_family_queue(criteria));
    }

    fn tell_of_family_queue(&mut self, criteria: Criteria) {
        if self.family_has_waiting(criteria) {
            let listeners = self.listeners.get(&criteria).into_iter().flatten();
            self.events.extend(listeners.map(|listener| LibraryEvent::Incoming { listener: *listener }));
            let readable = self.datagrams.listening(criteria);
            self.events.extend(readable.into_iter().map(|socket| LibraryEvent::Readable { socket }));
        }
    }

    /// The last listener of some criteria is gone from this process.
    pub(crate) fn leave_family_queue(&mut self, reactor: &mut Reactor, criteria: Criteria) {
        if let Some(FamilyQueue { mut queue, .. }) = self.queues.remove(&criteria)
            && let Err(error) = reactor.deregister(&mut queue)
        {
            log::debug!("a queue that is closed: {error}");
        }
    }

    fn inherit(&mut self, reactor: &mut Reactor, socket: SocketId, mut stream: Stream) {
        stream.adopt();
        match reactor.register(stream.channel()) {
            // Its gate stands as it stood, until the manager has sent the vrFIB.
            Ok(token) => {
                self.by_token.insert(token, socket);
                self.put(socket, Socket::Connected { stream, token });
                self.ready(reactor, socket);
            }
            Err(error) => log::error!("cannot wait for a connection's channel: {error}"),
        }
    }

    /// Looks at shared connections, if it is time.
    pub(crate) fn look_at_shared(&mut self, reactor: &mut Reactor, now: Instant) {
        if self.look_at_shared_at.is_none_or(|at| at > now) {
            return;
        }
        let mut waiting_is_shared = false;
        for socket in self.sockets.values_mut() {
            if let Socket::Listening(listening) = socket {
                listening.forget_claimed();
                waiting_is_shared |= listening.waiting().any(|stream| stream.is_shared());
            }
        }
        let mut shared = Vec::new();
        for (id, socket) in &mut self.sockets {
            if let Socket::Connected { stream, .. } = socket
                && stream.channel().may_have_missed_a_ring()
            {
                shared.push(*id);
            }
        }
        let datagrams_are_shared = self.look_at_shared_datagrams();
        self.look_at_shared_at = (waiting_is_shared || datagrams_are_shared || !shared.is_empty()).then(|| now + LOOK);
        shared.into_iter().for_each(|socket| self.ready(reactor, socket));
    }

    /// All TCP sockets.
    pub(crate) fn ids(&self) -> Vec<SocketId> {
        self.sockets.keys().copied().collect()
    }

    /// All connections, also those that wait to be accepted.
    fn streams(&mut self) -> impl Iterator<Item = &mut Stream> {
        streams_of(&mut self.sockets)
    }
}

fn streams_of(sockets: &mut IndexMap<SocketId, Socket, BySocket>) -> impl Iterator<Item = &mut Stream> {
    sockets.values_mut().flat_map(|socket| {
        let (connected, waiting) = match socket {
            Socket::Connected { stream, .. } => (Some(stream), None),
            Socket::Listening(listening) => (None, Some(listening.waiting())),
            // Who borrowed one shares it.
            Socket::Unbound | Socket::Bound(_) | Socket::Opening(_) | Socket::Lent(_) => (None, None),
        };
        connected.into_iter().chain(waiting.into_iter().flatten())
    })
}
