//! A process's link to procmgr: identity, publishing, opening.
//!
//! The link is non-blocking. A request is queued if the socket is full; an answer arrives as a [`LinkEvent`]. At end of
//! file procmgr is gone, and the process ends too: no process outlives its router.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{MsgFlags, UnixAddr, getpeername, recv};

use crate::channel::{Channel, ChannelParts, Side};
use crate::error::LinkError;
use crate::fd;
use crate::name::{ServiceName, VrName};
use crate::pathname::Pathname;
use crate::protocol::{
    Answer, Generation, Identity, LINK_ENV, MAX_MESSAGE, MAX_REASON, MAX_UNTAKEN, Notice, Order, Origin, Question,
    Refusal, Request, Ticket, VERSION,
};
use crate::queue::Queue;
use crate::terms::{MAX_TERMS, Salt};

/// Requests queued while procmgr does not read; beyond that the process gives up on it.
const MAX_QUEUED: usize = 65_536;

/// Ends taken from the link after which procmgr is told so even if none was accepted: it lets many more lie there.
const TAKEN_PER_WORD: u32 = 16;

const _: () = assert!(TAKEN_PER_WORD <= MAX_UNTAKEN / 2);

/// What procmgr said.
#[derive(Debug)]
pub enum LinkEvent {
    /// An open succeeded: this end of the channel.
    Opened {
        /// Of the open.
        ticket: Ticket,
        /// This process's end.
        channel: Channel,
        /// Who holds the other one.
        peer: Identity,
    },
    /// Somebody opened a pathname of this process.
    Incoming {
        /// Which pathname.
        pathname: Pathname,
        /// This process's end.
        channel: Channel,
        /// Who opened it, as procmgr attests.
        peer: Identity,
        /// What it said.
        terms: Vec<u8>,
    },
    /// A request was carried out.
    Done {
        /// Which one.
        ticket: Ticket,
    },
    /// A request was refused.
    Refused {
        /// Which one.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
    /// Part of an answer.
    Answer {
        /// To which question.
        ticket: Ticket,
        /// The part.
        answer: Answer,
        /// Whether it is the last.
        last: bool,
    },
    /// Connections may be opened.
    Go,
    /// Stop in order.
    Stop,
}

/// The process's end of its link.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    identity: Identity,
    salt: Salt,
    next_ticket: u32,
    /// Ends that came over the link of which procmgr was not told that they were taken.
    taken: u32,
    queue: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    buffer: Vec<u8>,
}

impl Link {
    /// The link that procmgr gave to this process at its start, on descriptor [`LINK_FD`](crate::protocol::LINK_FD).
    /// Standard input is `/dev/null` from then on. A process that procmgr started dies with it even while it is stopped;
    /// one that attached has another parent, whose end is not its own.
    pub fn inherited() -> Result<Self, LinkError> {
        let version = std::env::var(LINK_ENV).map_err(|_| LinkError::NotStartedByProcmgr)?;
        if version != VERSION.to_string() {
            return Err(LinkError::Version(version));
        }
        let socket = fd::take_link_descriptor().map_err(LinkError::Socket)?;
        let link = Self::from_socket(socket)?;
        if link.identity.origin == Origin::Supervised {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
                .map_err(|e| LinkError::Socket(e.into()))?;
        }
        Ok(link)
    }

    /// Joins a running router: this process becomes one of `vr`'s, or of the router's for `None`.
    pub fn attach(control_socket: &Path, vr: Option<VrName>, name: ServiceName) -> Result<Self, LinkError> {
        Self::from_socket(introduce(control_socket, vr, name)?)
    }

    /// A link of its own for this process, a forked child of the one that has this link: it joins the same VR under the
    /// same name. The parent's link is the parent's: procmgr does not hear a child over it. Only a process that attached
    /// has children; one that procmgr started knows no way back.
    pub fn of_child(&self) -> Result<Self, LinkError> {
        let peer = getpeername::<UnixAddr>(self.socket.as_raw_fd()).map_err(|error| LinkError::Socket(error.into()))?;
        let control_socket = peer.path().ok_or(LinkError::NotAttached)?;
        Self::attach(control_socket, self.identity.vr_name.clone(), self.identity.name.clone())
    }

    /// The same for a program that this process is about to execute, and that will find its link on descriptor
    /// [`LINK_FD`](crate::protocol::LINK_FD): procmgr has let it in, and its first message is still to be read.
    pub fn attach_for_exec(control_socket: &Path, vr: Option<VrName>, name: ServiceName) -> Result<OwnedFd, LinkError> {
        let socket = introduce(control_socket, vr, name)?;
        let mut buffer = vec![0; MAX_MESSAGE];
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK)
            .map_err(|error| LinkError::Socket(error.into()))?;
        if length == 0 {
            return Err(LinkError::ProcmgrGone);
        }
        match postcard::from_bytes(buffer.get(..length).unwrap_or_default()).map_err(LinkError::Decode)? {
            Notice::Welcome(_) => Ok(socket),
            Notice::Refused { refusal, .. } => Err(LinkError::Refused(refusal)),
            _ => Err(LinkError::NoWelcome),
        }
    }

    /// A link over a socket whose other end is procmgr's. Waits for procmgr's first message.
    pub fn from_socket(socket: OwnedFd) -> Result<Self, LinkError> {
        fd::set_nonblocking(socket.as_fd()).map_err(LinkError::Socket)?;
        let mut buffer = vec![0; MAX_MESSAGE];
        let notice = loop {
            match receive(&socket, &mut buffer)? {
                Some((notice, _)) => break notice,
                None => wait_readable(socket.as_fd(), PollTimeout::NONE)?,
            }
        };
        let identity = match notice {
            Notice::Welcome(identity) => identity,
            Notice::Refused { refusal, .. } => return Err(LinkError::Refused(refusal)),
            _ => return Err(LinkError::NoWelcome),
        };
        Ok(Self { socket, identity, salt: Salt::default(), next_ticket: 0, taken: 0, queue: VecDeque::new(), buffer })
    }

    /// Who this process is, as procmgr says.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The router's secret, for digests that procmgr compares. It is there with the first event.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Says that this process works.
    pub fn ready(&mut self) -> Result<(), LinkError> {
        self.send(&Request::Ready)
    }

    /// Says that the router cannot be started, and why: procmgr ends the start with these words. Without effect once
    /// the router is up.
    pub fn fail_start(&mut self, reason: &str) -> Result<(), LinkError> {
        let reason = reason.chars().take(MAX_REASON).collect();
        self.send(&Request::FailStart { reason })
    }

    /// Publishes a service of the own VR.
    pub fn publish(&mut self, name: ServiceName) -> Result<Ticket, LinkError> {
        self.request(|ticket| Request::Publish { ticket, name })
    }

    /// Opens a pathname. Returns at once; [`LinkEvent::Opened`] or [`LinkEvent::Refused`] follows.
    pub fn open(
        &mut self,
        pathname: &Pathname,
        generation: Option<Generation>,
        terms: &[u8],
    ) -> Result<Ticket, LinkError> {
        if terms.len() > MAX_TERMS {
            return Err(LinkError::Terms(terms.len()));
        }
        let (pathname, terms) = (pathname.clone(), terms.to_vec());
        self.request(|ticket| Request::Open { ticket, pathname, generation, terms })
    }

    /// Gives up an open. An [`LinkEvent::Opened`] may still have been under way.
    pub fn cancel(&mut self, ticket: Ticket) -> Result<(), LinkError> {
        self.send(&Request::Cancel { ticket })
    }

    /// Listens no longer under an endpoint of this process: whoever opens it after this call is refused.
    pub fn withdraw(&mut self, pathname: Pathname) -> Result<(), LinkError> {
        self.send(&Request::Withdraw { pathname })
    }

    /// Says that a channel that came by an endpoint of this process was accepted, or dropped: until then it counts in
    /// the endpoint's backlog.
    pub fn accepted(&mut self, pathname: Pathname) -> Result<(), LinkError> {
        let taken = mem::take(&mut self.taken);
        self.send(&Request::Accepted { pathname, taken })
    }

    /// What comes for an endpoint of this process goes into a queue that forked processes share. [`LinkEvent::Done`]
    /// follows: nothing more comes over the link then.
    pub fn queue(&mut self, pathname: Pathname, queue: &Queue) -> Result<Ticket, LinkError> {
        let ticket = self.next_ticket();
        let giving_end = queue.giving_end().map_err(LinkError::Socket)?;
        self.send_with(&Request::Queue { ticket, pathname }, Some(giving_end))?;
        Ok(ticket)
    }

    /// Asks about the router.
    pub fn ask(&mut self, question: Question) -> Result<Ticket, LinkError> {
        self.request(|ticket| Request::Ask { ticket, question })
    }

    /// Orders, as the VR connection manager.
    pub fn manage(&mut self, order: Order) -> Result<Ticket, LinkError> {
        self.request(|ticket| Request::Manage { ticket, order })
    }

    /// The next thing that procmgr said; `None`: nothing more now. Also sends what was queued.
    pub fn poll_event(&mut self) -> Result<Option<LinkEvent>, LinkError> {
        self.flush()?;
        loop {
            let Some((notice, fds)) = receive(&self.socket, &mut self.buffer)? else { return Ok(None) };
            if let Some(event) = self.event(notice, fds)? {
                return Ok(Some(event));
            }
        }
    }

    /// Waits until procmgr says something.
    pub fn wait_event(&mut self) -> Result<LinkEvent, LinkError> {
        loop {
            if let Some(event) = self.poll_event()? {
                return Ok(event);
            }
            wait_readable(self.socket.as_fd(), PollTimeout::NONE)?;
        }
    }

    /// Waits at most `timeout` for procmgr to say something.
    pub fn wait_event_timeout(&mut self, timeout: Duration) -> Result<Option<LinkEvent>, LinkError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(event) = self.poll_event()? {
                return Ok(Some(event));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Rounded up, so that the last wait is not a busy loop.
            let milliseconds = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
            wait_readable(self.socket.as_fd(), milliseconds.into())?;
        }
    }

    fn event(&mut self, notice: Notice, fds: Vec<OwnedFd>) -> Result<Option<LinkEvent>, LinkError> {
        Ok(Some(match notice {
            Notice::Opened { ticket, peer } => {
                let channel = Channel::from_parts(ChannelParts::from_fds(fds, Side::Opener)?)?;
                LinkEvent::Opened { ticket, channel, peer }
            }
            Notice::Incoming { pathname, peer, terms } => {
                self.taken += 1;
                // Mostly said with the accept that follows. A service hears of no accept.
                if self.taken >= TAKEN_PER_WORD || matches!(pathname, Pathname::Service { .. }) {
                    let count = mem::take(&mut self.taken);
                    self.send(&Request::Taken { count })?;
                }
                let channel = Channel::from_parts(ChannelParts::from_fds(fds, Side::Listener)?)?;
                LinkEvent::Incoming { pathname, channel, peer, terms }
            }
            Notice::Done { ticket } => LinkEvent::Done { ticket },
            Notice::Refused { ticket, refusal } => LinkEvent::Refused { ticket, refusal },
            Notice::Answer { ticket, answer, last } => LinkEvent::Answer { ticket, answer, last },
            Notice::Go => LinkEvent::Go,
            Notice::Stop => LinkEvent::Stop,
            Notice::Welcome(identity) => {
                self.identity = identity;
                return Ok(None);
            }
            Notice::Salt(salt) => {
                self.salt = salt;
                return Ok(None);
            }
        }))
    }

    fn request(&mut self, make: impl FnOnce(Ticket) -> Request) -> Result<Ticket, LinkError> {
        let ticket = self.next_ticket();
        self.send(&make(ticket))?;
        Ok(ticket)
    }

    fn next_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        ticket
    }

    fn send(&mut self, request: &Request) -> Result<(), LinkError> {
        self.send_with(request, None)
    }

    fn send_with(&mut self, request: &Request, fd: Option<OwnedFd>) -> Result<(), LinkError> {
        if self.queue.len() >= MAX_QUEUED {
            return Err(LinkError::Overflow);
        }
        self.queue.push_back((encode(request)?, fd));
        self.flush()
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        while let Some((message, fd)) = self.queue.front() {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            match fd::send_with_fds(self.socket.as_fd(), message, &fds) {
                Ok(()) => self.queue.pop_front(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(LinkError::ProcmgrGone),
                Err(error) => return Err(LinkError::Socket(error)),
            };
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Source for Link {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)
    }
}

/// Connects to procmgr and says who this process wants to be.
fn introduce(control_socket: &Path, vr: Option<VrName>, name: ServiceName) -> Result<OwnedFd, LinkError> {
    let socket = fd::connect_seqpacket(control_socket)
        .map_err(|error| LinkError::Connect { path: control_socket.to_owned(), error })?;
    let request = encode(&Request::Attach { version: VERSION, vr, name })?;
    fd::send_with_fds(socket.as_fd(), &request, &[]).map_err(LinkError::Socket)?;
    Ok(socket)
}

fn encode(request: &Request) -> Result<Vec<u8>, LinkError> {
    let message = postcard::to_stdvec(request).map_err(LinkError::Encode)?;
    if message.len() > MAX_MESSAGE {
        return Err(LinkError::TooLarge(message.len()));
    }
    Ok(message)
}

/// One message and its descriptors; `None`: nothing there now.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<(Notice, Vec<OwnedFd>)>, LinkError> {
    let received = match fd::receive_with_fds(socket.as_fd(), buffer) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(LinkError::ProcmgrGone),
        Err(error) => return Err(LinkError::Socket(error)),
    };
    let bytes = buffer.get(..received.length).unwrap_or_default();
    if bytes.is_empty() {
        return Err(LinkError::ProcmgrGone);
    }
    Ok(Some((postcard::from_bytes(bytes).map_err(LinkError::Decode)?, received.fds)))
}

/// Waits until there is something to read, a signal comes, or the time is up.
fn wait_readable(socket: BorrowedFd<'_>, timeout: PollTimeout) -> Result<(), LinkError> {
    match nix::poll::poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(LinkError::Socket(error.into())),
    }
}
