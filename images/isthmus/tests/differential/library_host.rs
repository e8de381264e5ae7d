//! Isthmus: the client socket library of a process of a virtual router. Which way its connections go, over the inter-VR
//! channel or through the stack, the router decides; nothing here knows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc::link::{Link, LinkEvent};
use ipc::reactor::{Event, Reactor};
use ipc::{ServiceName, VrName};
use sockets::{Addresses, Destination, Library, LibraryEvent, Received, Shutdown, SocketError, SocketId, SocketKind};

use crate::host::{Errno, Handle, Host, How, Outcome, PATIENCE, Ready, Until, Wanted};

/// The sockets of a process of a VR.
#[derive(Debug)]
pub struct LibraryHost {
    reactor: Reactor,
    library: Library,
    sockets: BTreeMap<Handle, SocketId>,
    last: u32,
    /// How listens and connects went that were not asked about yet.
    results: BTreeMap<SocketId, Result<(), SocketError>>,
}

impl LibraryHost {
    /// Joins a VR of a running router, as `isthmus run` does.
    pub fn join(control_socket: &Path, vr: &str, name: &str) -> Self {
        let (vr, name) = (VrName::new(vr).expect("a VR's name"), ServiceName::new(name).expect("a process's name"));
        let link = Link::attach(control_socket, Some(vr), name).expect("the router takes it");
        let mut reactor = Reactor::new(link).expect("an event loop");
        let library = Library::new(&mut reactor).expect("a socket library");
        Self { reactor, library, sockets: BTreeMap::new(), last: 0, results: BTreeMap::new() }
    }

    fn put(&mut self, socket: SocketId) -> Handle {
        self.last += 1;
        let handle = Handle(self.last);
        self.sockets.insert(handle, socket);
        handle
    }

    fn get(&self, socket: Handle) -> Outcome<SocketId> {
        self.sockets.get(&socket).copied().ok_or_else(|| Errno("EBADF".to_owned()))
    }

    /// One turn of the loop; waits until something happens, at most for `limit`.
    fn turn(&mut self, limit: Duration) {
        let due = self.library.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
        self.reactor.wait(Some(due.map_or(limit, |due| due.min(limit)))).expect("the loop turns");
        while let Some(event) = self.reactor.next_event().expect("the router lives") {
            if let Some(Event::Link(LinkEvent::Stop)) = self.library.handle(&mut self.reactor, event) {
                panic!("the router stops");
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
                LibraryEvent::Incoming { .. } | LibraryEvent::Readable { .. } | LibraryEvent::Writable { .. } => {}
            }
        }
    }

    /// Turns the loop until `look` finds something, at most so long.
    fn turn_until<T>(&mut self, patience: Duration, mut look: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        self.turn(Duration::ZERO);
        loop {
            let found = look(self);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || left.is_zero() {
                return found;
            }
            self.turn(left);
        }
    }

    fn result(&mut self, socket: SocketId, patience: Duration) -> Option<Outcome<()>> {
        let result = self.turn_until(patience, |host| host.results.remove(&socket));
        result.map(|result| result.map_err(errno))
    }
}

impl Host for LibraryHost {
    fn listen(&mut self, at: SocketAddr, backlog: u16) -> Outcome<Handle> {
        let socket = self.library.create_socket(SocketKind::Stream).map_err(errno)?;
        self.library.bind(socket, at, None).map_err(errno)?;
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

    fn connect(&mut self, wanted: Wanted) -> Outcome<Handle> {
        self.turn(Duration::ZERO);
        let mut to = Destination::new(wanted.to);
        to.local.address = wanted.from;
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
        let Addresses { source, destination } = self.library.addresses(self.get(socket)?).map_err(errno)?;
        Ok((source, destination))
    }

    fn send(&mut self, socket: Handle, bytes: &[u8]) -> Outcome<usize> {
        self.turn(Duration::ZERO);
        match self.library.send(self.get(socket)?, bytes).map_err(errno)? {
            0 if !bytes.is_empty() => Err(Errno::again()),
            sent => Ok(sent),
        }
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
        met.unwrap_or_else(|| self.ready(socket))
    }
}

/// A cause by the name of its errno.
fn errno(error: SocketError) -> Errno {
    Errno(format!("{:?}", sockets::errno(error)))
}
