//! Isthmus: the client socket library of a process of a virtual router. Which way its connections go, over the inter-VR
//! channel or through the stack, the router decides; nothing here knows it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::link::{Link, LinkEvent};
use ipc::reactor::{Event, Reactor};
use ipc::{InterfaceName, ServiceName, VrName};
use mio::Token;
use mio::unix::SourceFd;
use sockets::{
    Addresses, Destination, KeepAlive, Library, LibraryEvent, Options, PeerOptions, Received, Secret, Shutdown,
    SocketError, SocketId, SocketKind,
};
use vr_api::interface::is_link_scoped;

use crate::host::{Errno, Handle, Host, How, Link as Wire, Outcome, PATIENCE, Probing, Ready, Until, Wanted, Wishes};

/// The sockets of a process of a VR.
#[derive(Debug)]
pub struct LibraryHost {
    pub(crate) reactor: Reactor,
    pub(crate) library: Library,
    sockets: BTreeMap<Handle, SocketId>,
    last: u32,
    /// How listens and connects went that were not asked about yet.
    results: BTreeMap<SocketId, Result<(), SocketError>>,
    /// Interfaces of this VR that lead to the other one.
    pub(crate) links: [InterfaceName; 2],
    /// Whether the loop turns between orders, once there is a datagram socket.
    pub(crate) turns: bool,
    /// Of the source of orders, once the loop waits for it too.
    orders: Option<Token>,
    has_order: bool,
}

impl LibraryHost {
    /// Joins a VR of a running router, as `isthmus run` does.
    pub fn join_vr(control_socket: &Path, vr: &str, name: &str, links: &[String; 2]) -> Self {
        let (vr, name) = (VrName::new(vr).expect("a VR's name"), ServiceName::new(name).expect("a process's name"));
        let to_procmgr = Link::attach(control_socket, Some(vr), name).expect("the router takes it");
        let mut reactor = Reactor::new(to_procmgr).expect("an event loop");
        let library = Library::new(&mut reactor).expect("a socket library");
        Self {
            reactor,
            library,
            sockets: BTreeMap::new(),
            last: 0,
            results: BTreeMap::new(),
            links: links.each_ref().map(|link| link.parse().expect("an interface's name")),
            turns: false,
            orders: None,
            has_order: false,
        }
    }

    pub(crate) fn put(&mut self, socket: SocketId) -> Handle {
        self.last += 1;
        let handle = Handle(self.last);
        self.sockets.insert(handle, socket);
        handle
    }

    pub(crate) fn get(&self, socket: Handle) -> Outcome<SocketId> {
        self.sockets.get(&socket).copied().ok_or_else(|| Errno("EBADF".to_owned()))
    }

    /// One turn of the loop; waits until something happens, at most for `limit`.
    pub(crate) fn turn(&mut self, limit: Duration) {
        let due = self.library.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
        self.reactor.wait(Some(due.map_or(limit, |due| due.min(limit)))).expect("the loop turns");
        while let Some(event) = self.reactor.next_event().expect("the router lives") {
            match self.library.handle(&mut self.reactor, event) {
                Some(Event::Link(LinkEvent::Stop)) => panic!("the router stops"),
                Some(Event::Ready(token)) => self.has_order |= Some(token) == self.orders,
                Some(Event::Link(_)) | None => {}
            }
        }
        self.library.handle_timeout(&mut self.reactor, Instant::now());
        while let Some(event) = self.library.poll(&mut self.reactor) {
            match event {
                LibraryEvent::Listening { listener: socket } | LibraryEvent::Connected { socket } => {
                    self.results.insert(socket, Ok(()));
                }
                LibraryEvent::ListenFailed { listener: socket, error }
                | LibraryEvent::ConnectFailed { socket, error } => {
                    self.results.insert(socket, Err(error));
                }
                // Whoever waits looks at the socket itself.
                LibraryEvent::Incoming { .. }
                | LibraryEvent::Readable { .. }
                | LibraryEvent::Writable { .. }
                | LibraryEvent::PortAnswered { .. } => {}
            }
        }
    }

    /// Turns the loop until `look` finds something, at most so long.
    pub(crate) fn turn_until<T>(
        &mut self,
        patience: Duration,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        self.turn(Duration::ZERO);
        loop {
            // What is there only when the time is over was not announced: nobody would have looked.
            let left = deadline.saturating_duration_since(Instant::now());
            let found = look(self).filter(|_| !left.is_zero() || patience.is_zero());
            if found.is_some() || left.is_zero() {
                return found;
            }
            self.turn(left);
        }
    }

    pub(crate) fn link(&self, link: Wire) -> &InterfaceName {
        &self.links[link as usize]
    }

    /// The interface that a socket is bound to, or must be for the sake of an address.
    pub(crate) fn interface(&self, on: Option<Wire>, address: SocketAddr) -> Option<InterfaceName> {
        let link = on.or_else(|| is_link_scoped(address.ip()).then(|| Wire::of(address)))?;
        Some(self.link(link).clone())
    }

    /// A socket's options.
    pub(crate) fn options(&self, wishes: &Wishes) -> Options {
        let usual = Options::default();
        let key = |(peer, key): &(IpAddr, String)| PeerOptions {
            key: Secret::new(key.as_bytes()),
            ..PeerOptions::new(*peer)
        };
        Options {
            ttl: wishes.ttl,
            linger: wishes.linger.map(|seconds| Duration::from_secs(seconds.into())),
            keepalive: wishes.keepalive.map(|probing| match probing {
                Probing::Usual => KeepAlive::default(),
                Probing::Impatient => {
                    let second = Duration::from_secs(1);
                    KeepAlive { idle: second, interval: second, probes: 2 }
                }
            }),
            user_timeout: wishes.user_timeout.map(|milliseconds| Duration::from_millis(milliseconds.into())),
            nodelay: wishes.nodelay.unwrap_or(usual.nodelay),
            send_buffer_bytes: wishes.send_buffer.unwrap_or(usual.send_buffer_bytes),
            receive_buffer_bytes: wishes.receive_buffer.unwrap_or(usual.receive_buffer_bytes),
            reuse_address: wishes.shares,
            multicast_loop: wishes.loops.unwrap_or(usual.multicast_loop),
            multicast_interface: wishes.groups_link().map(|link| self.link(link).clone()),
            minimum_ttl: wishes.minimum_ttl,
            peers: wishes.key.iter().map(key).collect(),
            ..usual
        }
    }

    pub(crate) fn result(&mut self, socket: SocketId, patience: Duration) -> Option<Outcome<()>> {
        let result = self.turn_until(patience, |host| host.results.remove(&socket));
        result.map(|result| result.map_err(errno))
    }
}

impl Host for LibraryHost {
    fn idle(&mut self, orders: BorrowedFd<'_>) {
        if !self.turns {
            return;
        }
        if self.orders.is_none() {
            let token = self.reactor.register(&mut SourceFd(&orders.as_raw_fd())).expect("a pipe can be waited for");
            self.orders = Some(token);
        }
        while !std::mem::take(&mut self.has_order) {
            self.turn(PATIENCE);
        }
    }

    fn listen(&mut self, at: SocketAddr, backlog: u16, wishes: &Wishes) -> Outcome<Handle> {
        let socket = self.library.create_socket(SocketKind::Stream).map_err(errno)?;
        self.library.set_options(socket, self.options(wishes)).map_err(errno)?;
        self.library.bind(socket, unscoped(at), self.interface(wishes.on, at)).map_err(errno)?;
        self.library.listen(&mut self.reactor, socket, backlog).map_err(errno)?;
        match self.result(socket, PATIENCE) {
            Some(Ok(())) => Ok(self.put(socket)),
            Some(Err(error)) => {
                self.library.close(&mut self.reactor, socket);
                Err(error)
            }
            None => Err(Errno("nothing is said of the listener".to_owned())),
        }
    }

    fn connect(&mut self, wanted: &Wanted) -> Outcome<Handle> {
        self.turn(Duration::ZERO);
        let mut to = Destination::new(unscoped(wanted.to));
        to.local.address = wanted.from;
        to.local.interface = self.interface(wanted.wishes.on, wanted.to);
        to.options = self.options(&wanted.wishes);
        to.port = wanted.port.and_then(NonZeroU16::new);
        let socket = self.library.open_socket(&mut self.reactor, to).map_err(errno)?;
        Ok(self.put(socket))
    }

    fn connected(&mut self, socket: Handle, patience: Duration) -> Outcome<()> {
        let socket = self.get(socket)?;
        self.result(socket, patience).unwrap_or_else(|| Err(Errno("EINPROGRESS".to_owned())))
    }

    fn accept(&mut self, listener: Handle) -> Outcome<Handle> {
        self.turn(Duration::ZERO);
        let listener = self.get(listener)?;
        let accepted = self.library.accept(&mut self.reactor, listener).map_err(errno)?;
        accepted.map(|accepted| self.put(accepted.socket)).ok_or_else(Errno::again)
    }

    fn addresses(&mut self, socket: Handle) -> Outcome<(SocketAddr, SocketAddr)> {
        let socket = self.get(socket)?;
        if let Ok(own) = self.library.datagram_address(socket) {
            let peer = self.library.datagram_peer(socket).map_err(errno)?;
            return peer.map(|peer| (own, peer)).ok_or_else(|| errno(SocketError::NotConnected));
        }
        let Addresses { source, destination } = self.library.addresses(socket).map_err(errno)?;
        Ok((source, destination))
    }

    fn send(&mut self, socket: Handle, bytes: &[u8]) -> Outcome<usize> {
        self.turn(Duration::ZERO);
        match self.library.send(self.get(socket)?, bytes).map_err(errno)? {
            0 if !bytes.is_empty() => Err(Errno::again()),
            sent => Ok(sent),
        }
    }

    fn write(&mut self, socket: Handle, bytes: &[u8]) -> Outcome<usize> {
        let sent = self.turn_until(PATIENCE, |host| Some(host.send(socket, bytes)).filter(|sent| *sent != again()));
        sent.unwrap_or_else(|| Err(Errno("nothing was announced".to_owned())))
    }

    fn receive(&mut self, socket: Handle, into: &mut [u8]) -> Outcome<usize> {
        self.turn(Duration::ZERO);
        match self.library.receive(self.get(socket)?, into).map_err(errno)? {
            Received::Bytes(bytes) => Ok(bytes),
            Received::EndOfFile => Ok(0),
            Received::NothingYet => Err(Errno::again()),
        }
    }

    fn shutdown(&mut self, socket: Handle, how: How) -> Outcome<()> {
        self.turn(Duration::ZERO);
        let how = match how {
            How::Read => Shutdown::Read,
            How::Write => Shutdown::Write,
            How::Both => Shutdown::Both,
        };
        self.library.shutdown(self.get(socket)?, how).map_err(errno)
    }

    fn close(&mut self, socket: Handle) {
        self.turn(Duration::ZERO);
        if let Some(socket) = self.sockets.remove(&socket) {
            self.library.close(&mut self.reactor, socket);
        }
    }

    fn abort(&mut self, socket: Handle) {
        self.turn(Duration::ZERO);
        if let Some(socket) = self.sockets.remove(&socket) {
            self.library.abort(&mut self.reactor, socket);
        }
    }

    fn ready(&mut self, socket: Handle) -> Outcome<Ready> {
        self.turn(Duration::ZERO);
        let socket = self.get(socket)?;
        let ready = self.library.readiness(&mut self.reactor, socket).map_err(errno)?;
        Ok(Ready {
            readable: ready.readable,
            writable: ready.writable,
            read_closed: ready.read_closed,
            hung_up: ready.hung_up,
            failed: ready.failed,
        })
    }

    fn wait(&mut self, socket: Handle, until: Until, patience: Duration) -> Outcome<Ready> {
        let met = self.turn_until(patience, |host| match host.ready(socket) {
            Ok(ready) if !until.is_met(ready) => None,
            met => Some(met),
        });
        match met {
            None if patience == PATIENCE => Err(Errno("nothing was announced".to_owned())),
            None => self.ready(socket),
            Some(met) => met,
        }
    }
}

fn again() -> Outcome<usize> {
    Err(Errno::again())
}

/// An address without its link, which the library is told of by name.
pub(crate) fn unscoped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0).into(),
    }
}

/// A cause by the name of its errno.
pub(crate) fn errno(error: SocketError) -> Errno {
    Errno(format!("{:?}", sockets::errno(error)))
}
