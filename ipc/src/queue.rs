//! What comes for a listener that forked processes share: one queue in the kernel, as accept(2) has it.
//!
//! Ends of channels come over a process's link, and the link is that of one process. So a process that is about to fork
//! makes a queue and hands its giving end to procmgr ([`Link::queue`](crate::link::Link::queue)), which from then on puts
//! there what comes for the endpoint. Fork duplicates the taking end: whoever takes next gets it, and the queue lives as
//! long as the last of them. A child hands the same giving end over for its own endpoint.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::channel::{Channel, ChannelParts, Side};
use crate::error::LinkError;
use crate::fd;
use crate::pathname::Pathname;
use crate::protocol::{Identity, MAX_MESSAGE, Notice};

/// A queue of channel ends that forked processes take from.
#[derive(Debug)]
pub struct Queue {
    give: OwnedFd,
    take: OwnedFd,
}

/// Somebody opened an endpoint whose ends come into a queue.
#[derive(Debug)]
pub struct Arrival {
    /// Which endpoint: its process is one of those that share the queue.
    pub pathname: Pathname,
    /// This process's end.
    pub channel: Channel,
    /// Who opened it, as procmgr attests.
    pub peer: Identity,
    /// What it said.
    pub terms: Vec<u8>,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> io::Result<Self> {
        let (give, take) = fd::seqpacket_pair()?;
        fd::set_nonblocking(take.as_fd())?;
        Ok(Self { give, take })
    }

    /// Its giving and its taking end, for a program that goes on with it.
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.give.as_fd(), self.take.as_fd()]
    }

    /// The queue of the program before, whose ends these are.
    pub fn from_fds([give, take]: [OwnedFd; 2]) -> io::Result<Self> {
        fd::set_nonblocking(take.as_fd())?;
        Ok(Self { give, take })
    }

    /// What procmgr is given.
    pub(crate) fn giving_end(&self) -> io::Result<OwnedFd> {
        self.give.try_clone()
    }

    /// Takes the next end; `None`: nothing is there, or another process was faster.
    pub fn take(&mut self) -> Result<Option<Arrival>, LinkError> {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let received = match fd::receive_with_fds(self.take.as_fd(), &mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(LinkError::Socket(error)),
            };
            match postcard::from_bytes(buffer.get(..received.length).unwrap_or_default()) {
                Ok(Notice::Incoming { pathname, peer, terms }) => {
                    let channel = Channel::from_parts(ChannelParts::from_fds(received.fds, Side::Listener)?)?;
                    return Ok(Some(Arrival { pathname, channel, peer, terms }));
                }
                // Only those who share it can write such a thing.
                Ok(_) | Err(_) => log::warn!("a message in a queue of channels is none"),
            }
        }
    }

    /// Whether something is there; another process may take it first.
    pub fn has_waiting(&self) -> bool {
        let mut ends = [PollFd::new(self.take.as_fd(), PollFlags::POLLIN)];
        poll(&mut ends, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Queue {
    /// Readable when something is there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.take.as_fd()
    }
}

impl Source for Queue {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.take.as_raw_fd()).register(registry, token, Interest::READABLE)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        SourceFd(&self.take.as_raw_fd()).reregister(registry, token, Interest::READABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.take.as_raw_fd()).deregister(registry)
    }
}
