//! Programs of the test in a running router: sockets of the client library in a VR, all in the test's own process.

use std::path::Path;
use std::time::{Duration, Instant};

use ipc::link::Link;
use ipc::reactor::Reactor;
use sockets::{Destination, Library, LibraryEvent, Options, Received, SocketError, SocketId, SocketKind};

use crate::support::{PATIENCE, Router};

/// Longest wait for one program while another may have something to do.
const TURN: Duration = Duration::from_millis(5);

/// A program of one VR.
pub struct Program {
    pub reactor: Reactor,
    pub library: Library,
    pub events: Vec<LibraryEvent>,
}

impl Program {
    /// Joins a VR. A process can have one program in each.
    pub fn attach(router: &Router, vr: &str) -> Self {
        Self::attach_at(&router.control_socket(), vr)
    }

    /// The same, by the router's control socket.
    pub fn attach_at(control_socket: &Path, vr: &str) -> Self {
        let link = Link::attach(control_socket, Some(vr.parse().unwrap()), "program".parse().unwrap());
        let mut reactor = Reactor::new(link.unwrap()).unwrap();
        let library = Library::new(&mut reactor).unwrap();
        Self { reactor, library, events: Vec::new() }
    }

    /// Listens, and returns when everybody knows.
    pub fn listen(&mut self, address: &str, backlog: u16) -> SocketId {
        let listener = self.begin_to_listen(address, backlog);
        until("the listener", &mut [self], |programs| {
            programs[0].happened(LibraryEvent::Listening { listener }).then_some(listener)
        })
    }

    /// Asks to listen.
    pub fn begin_to_listen(&mut self, address: &str, backlog: u16) -> SocketId {
        let listener = self.library.create_socket(SocketKind::Stream).unwrap();
        self.library.bind(listener, address.parse().unwrap(), None).unwrap();
        self.library.listen(&mut self.reactor, listener, backlog).unwrap();
        listener
    }

    /// Begins to connect.
    pub fn open(&mut self, to: &str, from: Option<&str>) -> SocketId {
        self.open_with(to, from, Options::default())
    }

    /// Begins to connect, and gives up after a while.
    pub fn open_within(&mut self, to: &str, limit: Duration) -> SocketId {
        self.open_with(to, None, Options { user_timeout: Some(limit), ..Options::default() })
    }

    fn open_with(&mut self, to: &str, from: Option<&str>, options: Options) -> SocketId {
        let mut to = Destination::new(to.parse().unwrap());
        to.local.address = from.map(|from| from.parse().unwrap());
        to.options = options;
        self.library.open_socket(&mut self.reactor, to).unwrap()
    }

    /// Whether this has happened; if so, it is forgotten.
    pub fn happened(&mut self, wanted: LibraryEvent) -> bool {
        let before = self.events.len();
        self.events.retain(|event| *event != wanted);
        self.events.len() < before
    }

    /// Everything that has arrived, and what comes after it.
    pub fn read(&mut self, socket: SocketId) -> (Vec<u8>, Result<Received, SocketError>) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.library.receive(socket, &mut buffer) {
                Ok(Received::Bytes(count)) => bytes.extend_from_slice(&buffer[..count]),
                end => return (bytes, end),
            }
        }
    }

    /// One turn of its loop.
    pub fn turn(&mut self) {
        self.reactor.wait(Some(TURN)).unwrap();
        self.library.handle_timeout(&mut self.reactor, Instant::now());
        while let Some(event) = self.reactor.next_event().unwrap() {
            self.library.handle(&mut self.reactor, event);
        }
        while let Some(event) = self.library.poll(&mut self.reactor) {
            self.events.push(event);
        }
    }
}

/// Lets programs work until there is something.
pub fn until<T>(
    what: &str,
    programs: &mut [&mut Program],
    mut look: impl FnMut(&mut [&mut Program]) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        programs.iter_mut().for_each(|program| program.turn());
        if let Some(found) = look(programs) {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
    }
}

/// Connects two programs: the opener's socket and the accepted one.
pub fn connect(
    opener: &mut Program,
    listening: (&mut Program, SocketId),
    to: &str,
    from: Option<&str>,
) -> (SocketId, SocketId) {
    let (server, listener) = listening;
    let socket = opener.open(to, from);
    let accepted = until("the connection", &mut [server, opener], |programs| {
        let [server, opener] = programs else { unreachable!("two programs") };
        if let Some(failed) = opener.events.iter().find(|event| matches!(event, LibraryEvent::ConnectFailed { .. })) {
            panic!("{failed:?}");
        }
        let accepted = server.library.accept(&mut server.reactor, listener).unwrap()?;
        Some(accepted.socket)
    });
    until("word of the connection", &mut [opener], |programs| {
        programs[0].happened(LibraryEvent::Connected { socket }).then_some(())
    });
    (socket, accepted)
}
