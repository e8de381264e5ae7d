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
//! The library lives on its process's event loop and never blocks:
//!
//! ```no_run
//! use std::time::Instant;
//! use ipc::link::{Link, LinkEvent};
//! use ipc::reactor::{Event, Reactor};
//! use sockets::{Library, LibraryEvent, Received, SocketKind};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut reactor = Reactor::new(Link::inherited()?)?;
//! let mut library = Library::new(&mut reactor)?;
//! let listener = library.create_socket(SocketKind::Stream)?;
//! library.bind(listener, "0.0.0.0:7".parse()?, None)?;
//! library.listen(&mut reactor, listener, 16)?;
//! loop {
//!     let due = library.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
//!     reactor.wait(due)?;
//!     library.handle_timeout(&mut reactor, Instant::now());
//!     while let Some(event) = reactor.next_event()? {
//!         if let Some(Event::Link(LinkEvent::Stop)) = library.handle(&mut reactor, event) {
//!             return Ok(());
//!         }
//!     }
//!     while let Some(event) = library.poll(&mut reactor) {
//!         match event {
//!             LibraryEvent::Listening { .. } => reactor.link.ready()?,
//!             LibraryEvent::Incoming { listener } => while library.accept(&mut reactor, listener)?.is_some() {},
//!             LibraryEvent::Readable { socket } => {
//!                 let mut bytes = [0; 4096];
//!                 while let Ok(Received::Bytes(count)) = library.receive(socket, &mut bytes) {
//!                     library.send(socket, &bytes[..count])?;
//!                 }
//!             }
//!             LibraryEvent::Writable { .. } | LibraryEvent::Connected { .. } | LibraryEvent::PortAnswered { .. } => {}
//!             LibraryEvent::ListenFailed { error, .. } | LibraryEvent::ConnectFailed { error, .. } => return Err(error.into()),
//!         }
//!     }
//! }
//! # }
//! ```

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
pub use datagram::{DatagramDrop, DatagramInfo};
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
