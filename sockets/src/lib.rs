//! The client socket library, in every process of a router.
//!
//! A connection is a channel. [`Library::open_socket`] looks the destination up in the process's own vrFIB and so
//! decides who holds the other end: the peer process's library, or the socket server of the stack. After that the same
//! code moves the bytes, and the process cannot tell which it was.
//!
//! ```text
//!              a process                                             another process, another VR
//!   ┌───────────────────────────────┐         hit: channel          ┌─────────────────────────┐
//!   │ open_socket ─▶ vrFIB ─┬─ hit ─┼──────────────────────────────▶│ accept                  │
//!   │                ▲      └─ miss ┼──────────┐                    └─────────────────────────┘
//!   └────────────────┼──────────────┘          ▼ channel                         ▲ channel
//!        copies of its entries        ┌─────────────────┐                        │
//!          from /0/vrmgr              │ /0/stack        │── packets, wires ──────┘
//!                                     └─────────────────┘
//! ```
//!
//! What it does: TCP sockets, listening and accepting on both paths, half-close, reset, gates, counters; UDP and raw IP
//! datagrams, to one receiver or a group (of IPv6, one of the link); all over IPv4 and IPv6, with [`Options`] before and
//! while a socket lives. What it does not: it opens nothing by itself before the process asks.
//!
//! A socket is of one family. One that is bound to `::` takes no IPv4 (`IPV6_V6ONLY`, which Linux leaves off): the
//! criteria of a listener name one L3 protocol, as its pathname does, and a routing daemon has a socket for each
//! anyway. An IPv6 link-local address means something on one interface only: the call names it, or is refused.
//!
//! Read first: `open` (hit or miss, the one branch), `vrfib` (what decides), `listen` (the other side), `stream` (after
//! that), `datagram` (UDP and raw IP), `options`, `library` (what holds it together). [`blocking`] is for simple programs.
//!
//! The library lives on its process's event loop and never blocks. An echo server; a program's own link is
//! [`Link::inherited`](ipc::link::Link::inherited):
//!
//! ```
//! use std::error::Error;
//! use std::time::Instant;
//! use ipc::link::{Link, LinkEvent};
//! use ipc::reactor::{Event, Reactor};
//! use sockets::{Library, LibraryEvent, Received, SocketKind};
//!
//! fn echo(link: Link) -> Result<(), Box<dyn Error>> {
//!     let mut reactor = Reactor::new(link)?;
//!     let mut library = Library::new(&mut reactor)?;
//!     let listener = library.create_socket(SocketKind::Stream)?;
//!     library.bind(listener, "0.0.0.0:7".parse()?, None)?;
//!     library.listen(&mut reactor, listener, 16)?;
//!     loop {
//!         let due = library.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
//!         reactor.wait(due)?;
//!         library.handle_timeout(&mut reactor, Instant::now());
//!         while let Some(event) = reactor.next_event()? {
//!             if let Some(Event::Link(LinkEvent::Stop)) = library.handle(&mut reactor, event) {
//!                 return Ok(());
//!             }
//!         }
//!         while let Some(event) = library.poll(&mut reactor) {
//!             match event {
//!                 LibraryEvent::Listening { .. } => reactor.link.ready()?,
//!                 LibraryEvent::Incoming { listener } => while library.accept(&mut reactor, listener)?.is_some() {},
//!                 LibraryEvent::Readable { socket } => {
//!                     let mut bytes = [0; 4096];
//!                     while let Ok(Received::Bytes(count)) = library.receive(socket, &mut bytes) {
//!                         library.send(socket, &bytes[..count])?;
//!                     }
//!                 }
//!                 LibraryEvent::ListenFailed { error, .. } => return Err(error.into()),
//!                 // It opens nothing, and its answers are short.
//!                 LibraryEvent::Connected { .. } | LibraryEvent::ConnectFailed { .. } => {}
//!                 LibraryEvent::Writable { .. } | LibraryEvent::PortAnswered { .. } => {}
//!             }
//!         }
//!     }
//! }
//! # use std::io::{Read, Write};
//! # sockets_testing::serve_and_ask(echo, |link| {
//! #     let mut connection = sockets::blocking::Process::new(link)?.connect("10.0.0.2:7".parse()?)?;
//! #     connection.write_all(b"hello")?;
//! #     let mut answer = [0; 5];
//! #     connection.read_exact(&mut answer)?;
//! #     assert_eq!(&answer, b"hello");
//! #     Ok(())
//! # });
//! ```
//!
//! The examples of the types are tests: they run between two VRs in one process, and what they need for that is not shown.
//! There, `red` and `blue` are the processes of VR 1 (10.0.0.1) and VR 2 (10.0.0.2), each a `library` and the `reactor`
//! that it lives on.

pub mod blocking;
mod counters;
mod datagram;
mod deadline;
mod error;
mod exec;
mod fork;
mod hash;
mod lend;
mod library;
mod listen;
mod mark;
mod message;
mod open;
mod options;
mod ports;
mod readiness;
mod reservation;
mod show;
mod socket;
mod stream;
mod terms;
pub mod vrfib;

pub use counters::AcceptDrop;
pub use datagram::{DatagramDrop, DatagramInfo, DatagramRecord};
pub use error::{LibraryError, errno, io_error};
pub use exec::{ListenerRecord, STREAM_FDS, hand_over};
pub use lend::Borrower;
pub use library::{Library, LibraryEvent};
pub use listen::Accepted;
pub use message::ProcessMessage;
pub use open::Destination;
pub use readiness::Readiness;
pub use socket::{SocketId, SocketKind};
pub use stack_api::options::{KeepAlive, Options, PeerOptions, Secret};
pub use stack_api::socket::{Addresses, SocketError};
pub use stream::{Gate, Path, Received, SPIN, Shutdown, Stream, StreamRecord};
