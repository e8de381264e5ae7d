//! A process of a case: it does what it is told with its sockets, one order after the other. In between it does nothing;
//! but where it has datagram sockets it turns its loop, if it has one: that is when it refuses what nobody here takes.
//!
//! Orders come on standard input, replies go to standard output, a line of JSON each. The end of the input is the end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use serde::{Deserialize, Serialize};

use crate::datagram_endpoint::{self, DatagramOrder, DatagramReply};
use crate::host::{Errno, Got, Handle, Host, How, Outcome, PATIENCE, Ready, SILENCE, Until, Wanted, Wishes};
use crate::kernel_host::KernelHost;
use crate::library_host::LibraryHost;

/// In the environment of an endpoint: its [`Place`].
pub const PLACE: &str = "ISTHMUS_DIFFERENTIAL_PLACE";

/// Longest buffer that a bulk order sends from or receives into.
const CHUNK: usize = 16 * 1024;

/// Whose sockets an endpoint has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Place {
    /// Those that libc's calls lead to: the kernel's, or those of a VR where it was started with the library before libc.
    Libc {
        /// The interfaces that lead to the other side.
        links: [String; 2],
    },
    /// Those of a VR.
    Vr {
        /// Of the router.
        control_socket: PathBuf,
        /// Which one.
        vr: String,
        /// What the process calls itself.
        name: String,
        /// The interfaces that lead to the other VR.
        links: [String; 2],
    },
}

/// How long an order waits for what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Patience {
    /// Not at all.
    None,
    /// As long as it takes.
    Event,
    /// As long as one listens for what must not come.
    Silence,
}

impl Patience {
    /// As a time.
    pub fn duration(self) -> Duration {
        match self {
            Patience::None => Duration::ZERO,
            Patience::Event => PATIENCE,
            Patience::Silence => SILENCE,
        }
    }
}

/// What an endpoint is told: the calls of [`Host`], and some that repeat one of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// About datagrams.
    Datagram(DatagramOrder),
    /// [`Host::listen`].
    Listen { at: SocketAddr, backlog: u16, wishes: Wishes },
    /// [`Host::connect`].
    Connect(Wanted),
    /// [`Host::connected`].
    Connected { socket: Handle, patience: Patience },
    /// [`Host::accept`] once the listener is readable, or the time is over.
    Accept { listener: Handle, patience: Patience },
    /// [`Host::addresses`].
    Addresses { socket: Handle },
    /// [`Host::send`].
    Send { socket: Handle, text: String },
    /// Sends so much of the pattern with calls that wait ([`Host::write`]).
    Write { socket: Handle, bytes: u64 },
    /// [`Host::receive`].
    Receive { socket: Handle, room: usize },
    /// [`Host::shutdown`].
    Shutdown { socket: Handle, how: How },
    /// [`Host::close`].
    Close { socket: Handle },
    /// [`Host::abort`].
    Abort { socket: Handle },
    /// [`Host::ready`].
    Ready { socket: Handle },
    /// [`Host::wait`].
    Wait { socket: Handle, until: Until, patience: Patience },
    /// Sends the pattern until the socket takes no more.
    Fill { socket: Handle },
    /// Sends so much of the pattern, and receives so much, both at once; waits as long as it takes.
    Exchange { socket: Handle, send: u64, receive: u64 },
    /// Receives the pattern until the end or an error; once `enough` is there, silence ends it too.
    Drain { socket: Handle, enough: u64 },
    /// Does these, and dies at once: nothing is replied.
    Last(Vec<Order>),
}

/// What an endpoint answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// It is there, and awaits orders.
    Here,
    /// Done, with nothing to tell.
    Done,
    /// About datagrams.
    Datagram(DatagramReply),
    /// A new socket.
    Socket(Handle),
    /// Own address and the peer's.
    Addresses(SocketAddr, SocketAddr),
    /// So many bytes were sent.
    Sent(u64),
    /// Something was received.
    Got(Got),
    /// What poll(2) says.
    Ready(Ready),
    /// So much of the pattern was received, then this.
    Drained { bytes: u64, intact: bool, end: Stop },
    /// The call failed.
    Failed(Errno),
}

/// Why receiving stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// All that was wanted is there.
    Enough,
    /// The end of file.
    End,
    /// Nothing more comes.
    Silence,
    /// An error.
    Failed(Errno),
}

impl fmt::Display for Stop {
    /// As what follows a count of bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Enough => Ok(()),
            Stop::End => f.write_str(", then end of file"),
            Stop::Silence => f.write_str(", then nothing"),
            Stop::Failed(error) => write!(f, ", then {error}"),
        }
    }
}

/// Plays an endpoint until its orders end.
pub fn play(place: &str) {
    let place = serde_json::from_str(place).expect("a place");
    let host: Box<dyn Host> = match place {
        Place::Libc { links } => Box::new(KernelHost::new(links)),
        Place::Vr { control_socket, vr, name, links } => {
            Box::new(LibraryHost::join_vr(&control_socket, &vr, &name, &links))
        }
    };
    let mut endpoint = Endpoint { host, progress: BTreeMap::new() };
    let mut replies = io::stdout().lock();
    let mut say = |reply: &Reply| {
        let line = serde_json::to_string(reply).expect("a reply has a JSON form") + "\n";
        replies.write_all(line.as_bytes()).and_then(|()| replies.flush()).is_ok()
    };
    say(&Reply::Here);
    let mut orders = io::stdin().lock();
    let mut line = String::new();
    loop {
        // A script awaits each reply before it gives the next order, so none lies read ahead.
        endpoint.host.idle(io::stdin().as_fd());
        line.clear();
        if orders.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let order = serde_json::from_str(&line).expect("an order");
        if !say(&endpoint.obey(order).unwrap_or_else(Reply::Failed)) {
            return;
        }
    }
}

/// How much of the pattern went each way over a socket.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    sent: u64,
    received: u64,
}

struct Endpoint {
    host: Box<dyn Host>,
    progress: BTreeMap<Handle, Progress>,
}

impl Endpoint {
    fn obey(&mut self, order: Order) -> Outcome<Reply> {
        Ok(match order {
            Order::Datagram(order) => datagram_endpoint::obey(&mut *self.host, order)?,
            Order::Listen { at, backlog, wishes } => Reply::Socket(self.host.listen(at, backlog, &wishes)?),
            Order::Connect(wanted) => Reply::Socket(self.host.connect(&wanted)?),
            Order::Connected { socket, patience } => {
                self.host.connected(socket, patience.duration())?;
                Reply::Done
            }
            Order::Accept { listener, patience } => {
                self.host.wait(listener, Until::Readable, patience.duration())?;
                Reply::Socket(self.host.accept(listener)?)
            }
            Order::Addresses { socket } => {
                let (own, peer) = self.host.addresses(socket)?;
                Reply::Addresses(own, peer)
            }
            Order::Send { socket, text } => Reply::Sent(self.host.send(socket, text.as_bytes())? as u64),
            Order::Write { socket, bytes } => Reply::Sent(self.write(socket, bytes)?),
            Order::Receive { socket, room } => {
                let mut buffer = vec![0; room];
                Reply::Got(match self.host.receive(socket, &mut buffer)? {
                    0 if room > 0 => Got::End,
                    bytes => Got::Bytes(String::from_utf8_lossy(&buffer[..bytes]).into_owned()),
                })
            }
            Order::Shutdown { socket, how } => {
                self.host.shutdown(socket, how)?;
                Reply::Done
            }
            Order::Close { socket } => {
                self.host.close(socket);
                Reply::Done
            }
            Order::Abort { socket } => {
                self.host.abort(socket);
                Reply::Done
            }
            Order::Ready { socket } => Reply::Ready(self.host.ready(socket)?),
            Order::Wait { socket, until, patience } => {
                Reply::Ready(self.host.wait(socket, until, patience.duration())?)
            }
            Order::Fill { socket } => Reply::Sent(self.fill(socket)?),
            Order::Exchange { socket, send, receive } => self.exchange(socket, send, receive)?,
            Order::Drain { socket, enough } => self.drain(socket, enough),
            Order::Last(orders) => {
                for order in orders {
                    self.obey(order)?;
                }
                raise(Signal::SIGKILL).expect("a signal to itself");
                Reply::Done
            }
        })
    }

    /// Until the socket takes no more, and goes on taking no more: what it took may be on its way still.
    fn fill(&mut self, socket: Handle) -> Outcome<u64> {
        let mut filled = 0;
        loop {
            match self.send_some(socket, CHUNK as u64) {
                Ok(sent) => filled += sent,
                Err(error) if error == Errno::again() => {
                    if !self.host.wait(socket, Until::Writable, 2 * SILENCE)?.writable {
                        return Ok(filled);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The part that went before an error is not told.
    fn write(&mut self, socket: Handle, bytes: u64) -> Outcome<u64> {
        let mut written = 0;
        while written < bytes {
            let progress = self.progress.entry(socket).or_default();
            let length = (bytes - written).min(CHUNK as u64);
            let part: Vec<u8> = (progress.sent..progress.sent + length).map(pattern).collect();
            let taken = self.host.write(socket, &part)? as u64;
            progress.sent += taken;
            written += taken;
        }
        Ok(written)
    }

    fn exchange(&mut self, socket: Handle, send: u64, receive: u64) -> Outcome<Reply> {
        let (mut to_send, mut to_receive, mut intact) = (send, receive, true);
        let deadline = Instant::now() + PATIENCE;
        while to_send > 0 || to_receive > 0 {
            if Instant::now() > deadline {
                return Err(Errno(format!("{to_send} bytes were not sent, {to_receive} did not come")));
            }
            let mut moved = false;
            if to_send > 0 {
                match self.send_some(socket, to_send) {
                    Ok(sent) => (to_send, moved) = (to_send - sent, true),
                    Err(error) if error == Errno::again() => {}
                    Err(error) => return Err(error),
                }
            }
            if to_receive > 0 {
                match self.receive_some(socket, to_receive) {
                    Ok((0, _)) => return Ok(Reply::Drained { bytes: receive - to_receive, intact, end: Stop::End }),
                    Ok((bytes, sound)) => (to_receive, intact, moved) = (to_receive - bytes, intact && sound, true),
                    Err(error) if error == Errno::again() => {}
                    Err(error) => return Err(error),
                }
            }
            if !moved {
                // Whichever comes first: a short wait for one, then a look at both.
                let until = if to_receive > 0 { Until::Readable } else { Until::Writable };
                let patience = if to_send > 0 && to_receive > 0 { Duration::from_millis(1) } else { PATIENCE };
                self.host.wait(socket, until, patience)?;
            }
        }
        Ok(Reply::Drained { bytes: receive, intact, end: Stop::Enough })
    }

    fn drain(&mut self, socket: Handle, enough: u64) -> Reply {
        let (mut bytes, mut intact) = (0, true);
        let end = loop {
            match self.receive_some(socket, u64::MAX) {
                Ok((0, _)) => break Stop::End,
                Ok((more, sound)) => (bytes, intact) = (bytes + more, intact && sound),
                Err(error) if error == Errno::again() => {
                    let patience = if bytes < enough { PATIENCE } else { SILENCE };
                    match self.host.wait(socket, Until::Readable, patience) {
                        Ok(ready) if ready.readable => {}
                        Ok(_) => break Stop::Silence,
                        Err(error) => break Stop::Failed(error),
                    }
                }
                Err(error) => break Stop::Failed(error),
            }
        };
        Reply::Drained { bytes, intact, end }
    }

    /// Sends the next part of the pattern, at most so much.
    fn send_some(&mut self, socket: Handle, most: u64) -> Outcome<u64> {
        let progress = self.progress.entry(socket).or_default();
        let length = most.min(CHUNK as u64);
        let part: Vec<u8> = (progress.sent..progress.sent + length).map(pattern).collect();
        let sent = self.host.send(socket, &part)? as u64;
        progress.sent += sent;
        Ok(sent)
    }

    /// Receives, at most so much; how much, and whether it is the next part of the pattern.
    fn receive_some(&mut self, socket: Handle, most: u64) -> Outcome<(u64, bool)> {
        let progress = self.progress.entry(socket).or_default();
        let mut buffer = vec![0; most.min(CHUNK as u64) as usize];
        let bytes = self.host.receive(socket, &mut buffer)?;
        let expected = (progress.received..).map(pattern);
        let sound = buffer[..bytes].iter().copied().zip(expected).all(|(found, wanted)| found == wanted);
        progress.received += bytes as u64;
        Ok((bytes as u64, sound))
    }
}

/// The byte at a position of a stream: neighbors, and the same place in other chunks, differ.
fn pattern(position: u64) -> u8 {
    (position.wrapping_mul(2_654_435_761) >> 13) as u8
}
