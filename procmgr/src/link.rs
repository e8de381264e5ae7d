//! procmgr's end of a process's link.
//!
//! Never blocks: what the process does not read is kept up to a bound, then the process is given up. Each message's
//! sender is the one that the kernel attests.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use ipc::Pid;
use ipc::fd;
use ipc::protocol::{MAX_MESSAGE, Notice, Request};

/// Messages kept for a process that does not read its link. A calm process has none; a full answer to
/// [`Question::Processes`](ipc::protocol::Question) with thousands of processes has some hundred.
const MAX_KEPT: usize = 4096;

/// Bytes kept for a process that does not read its link.
const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;

/// Questions are refused while so many bytes of answers wait to be read.
const MAX_ANSWER_BACKLOG: usize = 4 * 1024 * 1024;

/// Why a link is given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkFault {
    /// The other side closed it, or died.
    #[error("closed its link")]
    Closed,
    /// The process does not read.
    #[error("does not read its link: {0} messages wait")]
    Overflow(usize),
    /// The process sent too many messages that are none.
    #[error("sent {0} messages that are not of the link's protocol")]
    Protocol(u32),
    /// The kernel refused.
    #[error("link: {0}")]
    Io(#[from] io::Error),
}

/// Where a send stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Everything was sent, or goes on when the socket is writable.
    Ok,
    /// The kernel holds too many descriptors in flight; worth another try after a while.
    Retry,
}

/// One message from a process.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request of the process itself, and what came along.
    Request(Request, Vec<OwnedFd>),
    /// Somebody else wrote on its link, such as a forked child.
    Foreign(Option<Pid>),
    /// Not of the protocol.
    Garbage,
}

/// The link.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    socket: OwnedFd,
    pid: Pid,
    kept: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    kept_bytes: usize,
    /// Messages that were none.
    pub(crate) faults: u32,
    /// Messages of other processes.
    pub(crate) foreign: u32,
}

impl LinkEnd {
    /// Over a non-blocking socket that receives credentials.
    pub(crate) fn new(socket: OwnedFd, pid: Pid) -> Self {
        Self { socket, pid, kept: VecDeque::new(), kept_bytes: 0, faults: 0, foreign: 0 }
    }

    /// Whose link it is.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// For the event loop.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends a message, or keeps it until the socket takes it.
    pub(crate) fn send(&mut self, notice: &Notice, fds: Vec<OwnedFd>) -> Result<Flow, LinkFault> {
        let message = postcard::to_stdvec(notice).map_err(io::Error::other)?;
        if self.kept.len() >= MAX_KEPT || self.kept_bytes.saturating_add(message.len()) > MAX_KEPT_BYTES {
            return Err(LinkFault::Overflow(self.kept.len()));
        }
        self.kept_bytes += message.len();
        self.kept.push_back((message, fds));
        if self.kept.len() > 1 {
            // Earlier ones wait for the socket, and order is kept.
            return Ok(Flow::Ok);
        }
        self.flush()
    }

    /// Sends what was kept.
    pub(crate) fn flush(&mut self) -> Result<Flow, LinkFault> {
        while let Some((message, fds)) = self.kept.front() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match fd::send_with_fds(self.socket.as_fd(), message, &borrowed) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flow::Ok),
                Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => return Ok(Flow::Retry),
                Err(error) if is_closed(&error) => return Err(LinkFault::Closed),
                Err(error) => return Err(LinkFault::Io(error)),
            }
            if let Some((message, _)) = self.kept.pop_front() {
                self.kept_bytes = self.kept_bytes.saturating_sub(message.len());
            }
        }
        Ok(Flow::Ok)
    }

    /// Whether the process leaves too many answers unread to be given more.
    pub(crate) fn is_behind(&self) -> bool {
        self.kept_bytes > MAX_ANSWER_BACKLOG
    }

    /// The next message; `None`: nothing more now.
    pub(crate) fn receive(&mut self, buffer: &mut [u8; MAX_MESSAGE]) -> Result<Option<Incoming>, LinkFault> {
        let mut received = fd::receive_with_fds(self.socket.as_fd(), buffer);
        if received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
            // It ended with messages unread. The kernel says so once, before what it had sent.
            received = fd::receive_with_fds(self.socket.as_fd(), buffer);
        }
        let received = match received {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if is_closed(&error) => return Err(LinkFault::Closed),
            Err(error) => return Err(LinkFault::Io(error)),
        };
        let bytes = buffer.get(..received.length).unwrap_or_default();
        if bytes.is_empty() {
            return Err(LinkFault::Closed);
        }
        let sender = received.credentials.and_then(|sender| u32::try_from(sender.pid).ok()).map(Pid);
        if sender != Some(self.pid) {
            return Ok(Some(Incoming::Foreign(sender)));
        }
        let request = postcard::from_bytes(bytes);
        Ok(Some(request.map_or(Incoming::Garbage, |request| Incoming::Request(request, received.fds))))
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

impl AsFd for LinkEnd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
