//! A cable without privileges: a Unix datagram socket, one Ethernet frame a datagram, no header, as QEMU's
//! `-netdev dgram` speaks it. The ends may start and restart in any order; a frame to an absent end is lost, as on a
//! wire.
//!
//! Two sockets: one bound to `local`, which anybody may send to, and one connected to `remote`. Only a connected
//! socket can wait for room in the queue of the other end (10 datagrams on many systems), and a connected socket
//! receives from its peer alone, so that one socket cannot do both for a peer that restarts.

use std::fs;
use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::uio::readv;

use super::{Driver, DriverError, LinkState, PortInfo, mac_of};
use crate::counters::{DropReason, DropTally};
use crate::packet::{HEADROOM, MAX_FRAME, PacketPool, SMALL_BUFFER, Vector};

/// Bytes of a path in a socket address, the final zero not counted (unix(7)).
const MAX_PATH: usize = 107;
/// A cable carries what a packet holds; 1500 is what the other end expects if nobody says otherwise.
const MTU_BYTES: u32 = 1500;

/// One end of a cable.
#[derive(Debug)]
pub struct Cable {
    port: PortInfo,
    local: PathBuf,
    remote: PathBuf,
    receiver: UnixDatagram,
    /// Inode of our socket file, so that a successor's is not removed.
    inode: u64,
    sender: UnixDatagram,
    connected: bool,
    /// Where the part of a frame goes that a small buffer does not hold.
    overflow: Box<[u8]>,
    drops: DropTally,
}

impl Cable {
    /// Binds the end `local`; `remote` need not exist. `seed` (host and port name) makes the MAC address.
    pub fn open(local: &Path, remote: &Path, seed: &str) -> Result<Cable, DriverError> {
        for path in [local, remote] {
            let found = path.as_os_str().len();
            if found > MAX_PATH {
                return Err(DriverError::PathTooLong { path: path.into(), found, most: MAX_PATH });
            }
        }
        remove_stale(local)?;
        let bind = |source| DriverError::Bind { path: local.into(), source };
        let receiver = UnixDatagram::bind(local).map_err(bind)?;
        let sender = UnixDatagram::unbound().map_err(bind)?;
        receiver.set_nonblocking(true).map_err(bind)?;
        sender.set_nonblocking(true).map_err(bind)?;
        let inode = fs::symlink_metadata(local).map_err(bind)?.ino();
        let name = format!("cable {}", local.display());
        Ok(Cable {
            port: PortInfo { name, mac: mac_of(seed), mtu_bytes: MTU_BYTES },
            local: local.into(),
            remote: remote.into(),
            receiver,
            inode,
            sender,
            connected: false,
            overflow: vec![0; MAX_FRAME].into_boxed_slice(),
            drops: DropTally::default(),
        })
    }

    /// Sends one frame, connecting where the other end is new.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.connected {
            match self.sender.send(frame) {
                // The other end went away, or another one is bound to its path now.
                Err(error) if is_absent(&error) => self.connected = false,
                other => return other.map(|_| ()),
            }
        }
        self.sender.connect(&self.remote)?;
        self.connected = true;
        self.sender.send(frame).map(|_| ())
    }
}

/// Nobody is at the other end, or nobody who takes our frames.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected
            | ErrorKind::PermissionDenied
    )
}

/// Removes what a process that is gone left at `path`.
fn remove_stale(path: &Path) -> Result<(), DriverError> {
    let bind = |source| DriverError::Bind { path: path.into(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(bind(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(DriverError::NotASocket { path: path.into() }),
        Ok(_) => {}
    }
    let probe = UnixDatagram::unbound().map_err(bind)?;
    match probe.connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(bind),
        // It is connected to another end, or not ours to ask: somebody has it.
        Ok(()) | Err(_) => Err(DriverError::InUse { path: path.into() }),
    }
}

impl Driver for Cable {
    fn port(&self) -> &PortInfo {
        &self.port
    }

    /// One system call a frame. `recvmmsg` would need a whole vector of the largest buffers at hand.
    fn receive(&mut self, pool: &mut PacketPool, into: &mut Vector) -> Result<usize, DriverError> {
        let before = into.len();
        let small = SMALL_BUFFER - HEADROOM;
        while !into.is_full() {
            let Some(mut packet) = pool.allocate(small) else {
                // Read and lost, else the socket would stay readable for ever.
                match self.receiver.recv(&mut self.overflow) {
                    Ok(_) => self.drops.add(DropReason::PoolExhausted, 1),
                    Err(_) => break,
                }
                continue;
            };
            let mut parts = [IoSliceMut::new(&mut packet.spare_mut()[..small]), IoSliceMut::new(&mut self.overflow)];
            let length = match readv(&self.receiver, &mut parts) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    return Err(DriverError::Receive { port: self.port.name.clone(), source: error.into() });
                }
            };
            packet.set_len(length.min(small));
            match (length.checked_sub(small), length) {
                (None | Some(0), _) => into.push(packet),
                (Some(rest), length) => match pool.allocate(length) {
                    Some(mut large) => {
                        let copied = large.append(packet.data()).and_then(|()| large.append(&self.overflow[..rest]));
                        match copied {
                            Some(()) => into.push(large),
                            None => self.drops.add(DropReason::FrameTooLong, 1),
                        }
                    }
                    None if length > MAX_FRAME => self.drops.add(DropReason::FrameTooLong, 1),
                    None => self.drops.add(DropReason::PoolExhausted, 1),
                },
            }
        }
        Ok(into.len() - before)
    }

    fn transmit(&mut self, pool: &mut PacketPool, from: &mut Vector) -> Result<usize, DriverError> {
        let mut sent = 0;
        let mut failure = None;
        for packet in from.iter() {
            match self.send(packet.data()) {
                Ok(()) => sent += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        from.drain(..sent).for_each(|packet| pool.recycle(packet));
        let port = || self.port.name.clone();
        match failure {
            Some(error) if sent == 0 && is_absent(&error) => Err(DriverError::LinkDown { port: port() }),
            Some(source) if sent == 0 => Err(DriverError::Transmit { port: port(), source }),
            _ => Ok(sent),
        }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }

    fn transmit_readiness(&self) -> BorrowedFd<'_> {
        self.sender.as_fd()
    }

    /// A cable is there even where nobody holds its other end.
    fn link(&self) -> LinkState {
        LinkState::Up
    }

    fn drops(&mut self) -> &mut DropTally {
        &mut self.drops
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.local).is_ok_and(|found| found.ino() == self.inode) {
            // Whoever comes next removes what stays.
            let _ = fs::remove_file(&self.local);
        }
    }
}
