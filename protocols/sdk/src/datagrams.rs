//! Datagram sockets of a core, UDP and raw IP: its numbers on one side, the socket library on the other.
//!
//! A socket that could not be had is asked for again by itself, and joins its groups anew; groups that a core joins before
//! it asks for the socket, as it does when interfaces are told first, are joined with it. What a core sends before its
//! socket stands, or before the whole router is ready, is lost as on a wire: protocols over datagrams repeat.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipc::InterfaceName;
use ipc::reactor::Reactor;
use sockets::{Library, ProcessMessage, SocketError, SocketId, SocketKind};
use stack_api::datagram::DatagramProtocol;

use crate::core::DatagramSocket;

/// How long until a socket that could not be had is tried again.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// Datagrams taken from one socket before something else has its turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// What happened to a core's datagram sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatagramEvent {
    /// A datagram came.
    Received {
        /// Where.
        socket: DatagramSocket,
        /// Which.
        message: ProcessMessage,
    },
    /// A socket stands.
    Bound {
        /// Which.
        socket: DatagramSocket,
    },
    /// A socket is not to be had now.
    BindFailed {
        /// Which.
        socket: DatagramSocket,
        /// Why.
        error: SocketError,
    },
}

/// All datagram sockets of a core.
#[derive(Debug, Default)]
pub struct Datagrams {
    sockets: BTreeMap<DatagramSocket, Socket>,
    numbers: BTreeMap<SocketId, DatagramSocket>,
    /// Sockets that have datagrams, and how many more of them are taken in this turn.
    readable: BTreeMap<SocketId, usize>,
    /// What each socket is to be in, whether or not it stands.
    groups: BTreeMap<DatagramSocket, BTreeSet<(InterfaceName, IpAddr)>>,
    events: VecDeque<DatagramEvent>,
}

#[derive(Debug)]
struct Socket {
    protocol: DatagramProtocol,
    id: Option<SocketId>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Bound,
    Failed { retry_at: Instant },
}

impl Datagrams {
    /// Whether a socket of the library is one of these.
    pub fn contains(&self, id: SocketId) -> bool {
        self.numbers.contains_key(&id)
    }

    /// Asks for a socket.
    pub fn bind(
        &mut self,
        library: &mut Library,
        reactor: &mut Reactor,
        socket: DatagramSocket,
        protocol: DatagramProtocol,
    ) {
        if self.sockets.contains_key(&socket) {
            return;
        }
        self.sockets.insert(socket, Socket { protocol, id: None, state: State::Asked });
        self.try_bind(library, reactor, socket);
    }

    /// Gives a socket up, with its groups; what lies unread in it is lost.
    pub fn unbind(&mut self, library: &mut Library, reactor: &mut Reactor, socket: DatagramSocket) {
        self.groups.remove(&socket);
        let Some(Socket { id: Some(id), .. }) = self.sockets.remove(&socket) else { return };
        self.numbers.remove(&id);
        self.readable.remove(&id);
        library.close(reactor, id);
    }

    /// Joins a group on an interface.
    pub fn join(&mut self, library: &mut Library, socket: DatagramSocket, group: IpAddr, interface: InterfaceName) {
        if let Some(id) = self.sockets.get(&socket).and_then(|entry| entry.id)
            && let Err(error) = library.join(id, group, &interface)
        {
            log::warn!("join {group} on {interface}: {error}");
        }
        self.groups.entry(socket).or_default().insert((interface, group));
    }

    /// Leaves a group on an interface.
    pub fn leave(&mut self, library: &mut Library, socket: DatagramSocket, group: IpAddr, interface: InterfaceName) {
        if let Some(id) = self.sockets.get(&socket).and_then(|entry| entry.id)
            && let Err(error) = library.leave(id, group, &interface)
        {
            log::debug!("leave {group} on {interface}: {error}");
        }
        if let Some(groups) = self.groups.get_mut(&socket) {
            groups.remove(&(interface, group));
        }
    }

    /// Sends a datagram, in a burst of the library's. One that cannot be sent is lost; the library counts those that it
    /// drops.
    pub fn send(&self, library: &mut Library, reactor: &mut Reactor, socket: DatagramSocket, message: ProcessMessage) {
        let Some(Socket { id: Some(id), state: State::Bound, .. }) = self.sockets.get(&socket) else { return };
        let destination = message.addresses.destination;
        if let Err(error) = library.send_in_burst(reactor, *id, message) {
            log::debug!("datagram to {destination}: {error}");
        }
    }

    /// Whether every socket that was asked for stands, or is known not to be had now.
    pub fn are_settled(&self) -> bool {
        self.sockets.values().all(|socket| socket.state != State::Asked)
    }

    /// A socket stands.
    pub fn bound(&mut self, id: SocketId) {
        if let Some((socket, entry)) = self.by_id(id) {
            entry.state = State::Bound;
            self.events.push_back(DatagramEvent::Bound { socket });
        }
    }

    /// A socket does not stand: it is unbound, and in no group.
    pub fn failed(&mut self, id: SocketId, error: SocketError, now: Instant) {
        if let Some((socket, entry)) = self.by_id(id) {
            entry.state = State::Failed { retry_at: now + BIND_RETRY };
            self.events.push_back(DatagramEvent::BindFailed { socket, error });
        }
    }

    /// A socket has datagrams.
    pub fn readable(&mut self, id: SocketId) {
        if self.numbers.contains_key(&id) {
            self.readable.entry(id).or_insert(DATAGRAMS_PER_TURN);
        }
    }

    /// Another turn: what was left behind in the last one may be read now.
    pub fn begin_turn(&mut self) {
        self.readable.values_mut().for_each(|left| *left = DATAGRAMS_PER_TURN);
    }

    /// Whether some were left behind in this turn.
    pub fn left_some(&self) -> bool {
        !self.readable.is_empty()
    }

    /// What happened. A datagram is read when it is asked for: what the core does with one goes out before the next is
    /// looked at, and all lie in the same memory one after the other.
    pub fn poll(&mut self, library: &mut Library, reactor: &mut Reactor) -> Option<DatagramEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        while let Some((&id, left)) = self.readable.iter_mut().find(|(_, left)| **left > 0) {
            *left -= 1;
            let socket = self.numbers.get(&id).copied();
            match (socket, library.receive_from(reactor, id)) {
                (Some(socket), Ok(Some(message))) => return Some(DatagramEvent::Received { socket, message }),
                // An earlier datagram came to nothing; those that came are behind it.
                (Some(_), Err(error)) => log::debug!("datagram socket: {error}"),
                (None, _) | (_, Ok(None)) => _ = self.readable.remove(&id),
            }
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let retries = self.sockets.values().filter_map(|socket| match socket.state {
            State::Failed { retry_at } => Some(retry_at),
            State::Asked | State::Bound => None,
        });
        retries.min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, library: &mut Library, reactor: &mut Reactor, now: Instant) {
        let due = |(_, socket): &(&DatagramSocket, &Socket)| match socket.state {
            State::Failed { retry_at } => retry_at <= now,
            State::Asked | State::Bound => false,
        };
        for socket in self.sockets.iter().filter(due).map(|(socket, _)| *socket).collect::<Vec<_>>() {
            self.try_bind(library, reactor, socket);
        }
    }

    fn by_id(&mut self, id: SocketId) -> Option<(DatagramSocket, &mut Socket)> {
        let socket = *self.numbers.get(&id)?;
        Some((socket, self.sockets.get_mut(&socket)?))
    }

    fn try_bind(&mut self, library: &mut Library, reactor: &mut Reactor, socket: DatagramSocket) {
        let Some(entry) = self.sockets.get_mut(&socket) else { return };
        entry.state = State::Asked;
        let (kind, port) = match entry.protocol {
            DatagramProtocol::Udp { port } => (SocketKind::Datagram, port),
            DatagramProtocol::Raw(protocol) => (SocketKind::Raw(protocol), 0),
        };
        let created = match entry.id {
            Some(id) => Ok(id),
            None => library.create_socket(kind),
        };
        let asked = created.and_then(|id| {
            entry.id = Some(id);
            self.numbers.insert(id, socket);
            let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            library.bind_datagram(reactor, id, everywhere, None)?;
            // After a failure the library has forgotten them.
            let mut groups = self.groups.get(&socket).into_iter().flatten();
            groups.try_for_each(|(interface, group)| library.join(id, *group, interface))
        });
        if let Err(error) = asked {
            entry.state = State::Failed { retry_at: Instant::now() + BIND_RETRY };
            self.events.push_back(DatagramEvent::BindFailed { socket, error });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use ipc::link::Link;
    use ipc::protocol::{Identity, Notice, Origin};
    use ipc::{Pid, VrId, fd};

    use super::*;

    const HELLO: DatagramSocket = DatagramSocket(1);
    const UDP: DatagramProtocol = DatagramProtocol::Udp { port: 520 };

    /// A socket library whose router never answers.
    struct World {
        datagrams: Datagrams,
        library: Library,
        reactor: Reactor,
        _procmgr: OwnedFd,
    }

    impl World {
        fn new() -> Self {
            let (procmgr, own) = fd::seqpacket_pair().unwrap();
            let (name, vr_name) = ("probe".parse().unwrap(), Some("red".parse().unwrap()));
            let identity = Identity { vr: VrId(1), vr_name, pid: Pid(7), name, origin: Origin::Supervised };
            let welcome = postcard::to_stdvec(&Notice::Welcome(identity)).unwrap();
            fd::send_with_fds(procmgr.as_fd(), &welcome, &[]).unwrap();
            let mut reactor = Reactor::new(Link::from_socket(own).unwrap()).unwrap();
            let library = Library::new(&mut reactor).unwrap();
            Self { datagrams: Datagrams::default(), library, reactor, _procmgr: procmgr }
        }

        fn bind(&mut self) -> SocketId {
            self.datagrams.bind(&mut self.library, &mut self.reactor, HELLO, UDP);
            self.datagrams.sockets[&HELLO].id.unwrap()
        }

        fn poll(&mut self) -> Option<DatagramEvent> {
            self.datagrams.poll(&mut self.library, &mut self.reactor)
        }

        fn join(&mut self) {
            self.datagrams.join(&mut self.library, HELLO, group(), blue());
        }

        /// Whether the library has joined the group: it joins none twice.
        fn has_joined(&mut self, id: SocketId) -> bool {
            self.library.join(id, group(), &blue()).is_err()
        }
    }

    fn group() -> IpAddr {
        "224.0.0.9".parse().unwrap()
    }

    fn blue() -> InterfaceName {
        "blue".parse().unwrap()
    }

    #[test]
    fn a_socket_is_settled_once_it_stands_or_is_known_not_to() {
        let mut world = World::new();
        assert!(world.datagrams.are_settled());
        let id = world.bind();
        assert!(world.datagrams.contains(id) && !world.datagrams.are_settled());
        assert_eq!(world.bind(), id, "one is not asked for twice");
        world.datagrams.bound(id);
        assert!(world.datagrams.are_settled());
        assert_eq!(world.poll(), Some(DatagramEvent::Bound { socket: HELLO }));
        assert_eq!(world.poll(), None);
    }

    #[test]
    fn one_that_cannot_be_had_is_asked_for_again_after_a_while() {
        let mut world = World::new();
        let id = world.bind();
        let now = Instant::now();
        let error = SocketError::AddressInUse;
        world.datagrams.failed(id, error, now);
        assert_eq!(world.poll(), Some(DatagramEvent::BindFailed { socket: HELLO, error }));
        assert!(world.datagrams.are_settled());
        assert_eq!(world.datagrams.poll_timeout(), Some(now + BIND_RETRY));
        let World { datagrams, library, reactor, .. } = &mut world;
        datagrams.handle_timeout(library, reactor, now + BIND_RETRY / 2);
        assert_eq!(datagrams.poll(library, reactor), None, "not before its time");
        datagrams.handle_timeout(library, reactor, now + BIND_RETRY);
        // This library was not told that the first request failed: it refuses the second one, so it was asked.
        assert!(matches!(datagrams.poll(library, reactor), Some(DatagramEvent::BindFailed { socket: HELLO, .. })));
    }

    #[test]
    fn groups_may_be_joined_before_the_socket_is_asked_for() {
        let mut world = World::new();
        world.join();
        let id = world.bind();
        assert!(world.has_joined(id));
        world.datagrams.leave(&mut world.library, HELLO, group(), blue());
        assert!(!world.has_joined(id));
    }

    #[test]
    fn a_socket_that_is_given_up_takes_its_groups_with_it() {
        let mut world = World::new();
        world.join();
        let former = world.bind();
        world.datagrams.unbind(&mut world.library, &mut world.reactor, HELLO);
        assert!(!world.datagrams.contains(former) && world.datagrams.are_settled());
        let id = world.bind();
        assert!(!world.has_joined(id));
        // What is told of the former one is of nobody.
        world.datagrams.bound(former);
        assert_eq!(world.poll(), None);
    }
}
