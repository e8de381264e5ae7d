//! Queues of listeners that forked processes share: what comes for their endpoints goes there, and not onto a link.
//!
//! A queue is a socket that its processes made (`ipc::queue`). procmgr writes to it, never waits for it, and reads nothing
//! from it. Which processes share one, the kernel says: they hold ends of the same socket.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ipc::channel::ChannelParts;
use ipc::protocol::Notice;
use ipc::{Pathname, fd};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};
use nix::sys::stat::fstat;

use crate::processes::ProcessKey;

/// Queues that one process may have: descriptors of procmgr, not of the process.
const MAX_QUEUES: usize = 64;

/// Where the ends for one endpoint go.
#[derive(Debug)]
struct Queue {
    owner: ProcessKey,
    socket: OwnedFd,
    /// The same for all ends of one socket, and for no other.
    inode: u64,
}

/// All queues, by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Queues(HashMap<Pathname, Queue>);

impl Queues {
    /// Takes a queue for an endpoint of `owner`; `false`: it is none, or the process has too many.
    pub(crate) fn add(&mut self, owner: ProcessKey, pathname: Pathname, mut fds: Vec<OwnedFd>) -> bool {
        let (Some(socket), true) = (fds.pop(), fds.is_empty()) else { return false };
        let owned = self.0.values().filter(|queue| queue.owner == owner).count();
        let Some(inode) = inode_of_packet_socket(&socket) else { return false };
        if owned >= MAX_QUEUES && !self.0.contains_key(&pathname) {
            return false;
        }
        self.0.insert(pathname, Queue { owner, socket, inode });
        true
    }

    /// Whether what comes for an endpoint goes into a queue.
    pub(crate) fn contains(&self, pathname: &Pathname) -> bool {
        self.0.contains_key(pathname)
    }

    /// Puts a listener's end into the endpoint's queue; `None`: it has none.
    pub(crate) fn put(&self, pathname: &Pathname, incoming: &Notice, end: &ChannelParts) -> Option<io::Result<()>> {
        let queue = self.0.get(pathname)?;
        let message = postcard::to_stdvec(incoming).map_err(io::Error::other);
        Some(message.and_then(|message| fd::send_now_with_fds(queue.socket.as_fd(), &message, &end.as_fds())))
    }

    /// Whether `process` shares the queue of an endpoint.
    pub(crate) fn shares(&self, process: ProcessKey, pathname: &Pathname) -> bool {
        let of_it = |inode| self.0.values().any(|queue| queue.owner == process && queue.inode == inode);
        self.0.get(pathname).is_some_and(|queue| of_it(queue.inode))
    }

    /// Nobody listens at an endpoint any more.
    pub(crate) fn remove(&mut self, pathname: &Pathname) {
        self.0.remove(pathname);
    }

    /// A process is gone; others may go on with its queues.
    pub(crate) fn forget(&mut self, owner: ProcessKey) {
        self.0.retain(|_, queue| queue.owner != owner);
    }
}

/// `None`: something else, that procmgr writes to for nobody.
fn inode_of_packet_socket(socket: &OwnedFd) -> Option<u64> {
    let is_packets = getsockopt(socket, sockopt::SockType) == Ok(SockType::SeqPacket);
    let address = getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    let is_local = address.family() == Some(AddressFamily::Unix);
    (is_packets && is_local).then(|| fstat(socket).ok().map(|stat| stat.st_ino))?
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const PARENT: ProcessKey = ProcessKey(1);
    const CHILD: ProcessKey = ProcessKey(2);
    const STRANGER: ProcessKey = ProcessKey(3);

    fn pathname(pid: u32) -> Pathname {
        format!("/2/{pid}/ipv4/tcp/80").parse().unwrap()
    }

    #[test]
    fn processes_with_ends_of_one_socket_share_a_queue_until_they_are_gone() {
        let mut queues = Queues::default();
        let (give, _take) = fd::seqpacket_pair().unwrap();
        let (other, _) = fd::seqpacket_pair().unwrap();
        assert!(queues.add(PARENT, pathname(1), vec![give.try_clone().unwrap()]));
        assert!(queues.add(CHILD, pathname(2), vec![give]));
        assert!(queues.add(STRANGER, pathname(3), vec![other]));
        assert!(queues.shares(CHILD, &pathname(1)) && queues.shares(PARENT, &pathname(2)));
        assert!(!queues.shares(STRANGER, &pathname(1)) && !queues.shares(CHILD, &pathname(3)));
        queues.forget(PARENT);
        assert!(!queues.contains(&pathname(1)) && queues.contains(&pathname(2)));
    }

    #[test]
    fn what_is_no_socket_for_packets_is_no_queue_and_nobody_has_too_many() {
        let mut queues = Queues::default();
        let stream = std::os::unix::net::UnixStream::pair().unwrap().0;
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for wrong in [vec![], vec![stream.into()], vec![udp.into()], vec![File::open("/dev/null").unwrap().into()]] {
            assert!(!queues.add(PARENT, pathname(1), wrong));
        }
        let (give, _take) = fd::seqpacket_pair().unwrap();
        for number in 0..MAX_QUEUES as u32 {
            assert!(queues.add(PARENT, pathname(number), vec![give.try_clone().unwrap()]));
        }
        assert!(!queues.add(PARENT, pathname(9999), vec![give.try_clone().unwrap()]));
        assert!(queues.add(PARENT, pathname(1), vec![give.try_clone().unwrap()]), "in place of an earlier one");
        assert!(!queues.add(CHILD, pathname(9999), vec![give.try_clone().unwrap(), give]), "which of the two?");
    }
}
