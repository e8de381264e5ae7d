//! Waking a sleeping peer, and noticing its death.
//!
//! A doorbell is a pipe of one page per direction: a side holds the read end of its own bell and the write end of its
//! peer's. A ring is one byte; a full pipe is rung enough. When the last holder of the peer's end is gone, a forked
//! child's included, the kernel says so on the bell itself (end of file, POLLHUP): no second descriptor is to be
//! watched.
//!
//! Compared by `cargo bench -p isthmus-ipc --bench doorbell`, on two cores that were busy: to ring and to silence costs
//! a pipe 0.8 us, an eventfd 0.7 us, a socket pair 1.5 us; a round trip of two threads 4, 4 to 6, and 7 us. Between two
//! processes on one core a round trip of pipes takes 4.9 us, of eventfds 4.6 us. An eventfd is a little cheaper, but says
//! nothing of its other holders: each peer would need a pidfd, which is wrong for ends that were handed on or forked. A
//! tenth of a system call is not worth that: on one core the peers make way for each other, and ring for nobody; apart,
//! waking the other core is 25 to 35 us whatever wakes (`isthmus bench inter-vr`, `rtt_64B_sleeping_p50`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read, write};

use crate::memory::PAGE_BYTES;

/// Most rings of a correct peer between two silences: a full pipe, and one for each direction meanwhile, since it rings
/// only for a side that said that it sleeps.
pub const MOST_RINGS: usize = PAGE_BYTES + 2;

/// Rings that are taken with one read: mostly there is one.
const RINGS_AT_ONCE: usize = 64;

/// Both ends of one bell: what listens, what rings.
pub(crate) fn make_bell() -> io::Result<(OwnedFd, OwnedFd)> {
    let (listen, ring) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // A pipe's buffers count against its user's limit; one page of single bytes is more than enough.
    let page = i32::try_from(PAGE_BYTES).unwrap_or(i32::MAX);
    fcntl(&ring, FcntlArg::F_SETPIPE_SZ(page))?;
    Ok((listen, ring))
}

/// One side's two bells.
#[derive(Debug)]
pub struct Doorbell {
    own: OwnedFd,
    peers: OwnedFd,
    peer_gone: bool,
}

impl Doorbell {
    /// The read end of the own bell and the write end of the peer's.
    pub fn new(own: OwnedFd, peers: OwnedFd) -> Self {
        Self { own, peers, peer_gone: false }
    }

    /// Wakes the peer. Its death is no error here; [`peer_gone`](Self::peer_gone) says it.
    pub fn ring(&mut self) -> io::Result<()> {
        loop {
            match write(&self.peers, &[1]) {
                Ok(_) | Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EPIPE) => {
                    self.peer_gone = true;
                    return Ok(());
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Silences the own bell; returns how often it was rung. Goes on to the pipe's end, since a peer that rings and dies
    /// gives one edge for both, or until it was rung more than [`MOST_RINGS`] times: the peer then rings without end.
    pub fn drain(&mut self) -> io::Result<usize> {
        let mut rings = 0;
        while rings <= MOST_RINGS {
            match self.drain_once()? {
                0 => break,
                more => rings += more,
            }
        }
        Ok(rings)
    }

    /// Takes what rang up to now, or a part of it, without looking for the peer's death: for a caller of poll(2), which told it.
    pub(crate) fn drain_once(&mut self) -> io::Result<usize> {
        let mut rings = [0; RINGS_AT_ONCE];
        loop {
            match read(&self.own, &mut rings) {
                Ok(0) => {
                    self.peer_gone = true;
                    return Ok(0);
                }
                Ok(rings) => return Ok(rings),
                Err(Errno::EAGAIN) => return Ok(0),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the last holder of the other end is known to be gone.
    pub fn peer_gone(&self) -> bool {
        self.peer_gone
    }

    /// Notes that poll(2) said so.
    pub(crate) fn note_peer_gone(&mut self) {
        self.peer_gone = true;
    }

    /// What rings the peer's bell.
    pub(crate) fn peers_fd(&self) -> BorrowedFd<'_> {
        self.peers.as_fd()
    }

    /// The own bell's descriptor, for mio.
    pub(crate) fn own_raw(&self) -> RawFd {
        self.own.as_raw_fd()
    }
}

impl AsFd for Doorbell {
    /// The own bell: readable when rung or when the peer is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }
}
