//! Media drivers: how frames get in and out of a port.
//!
//! | driver | medium | privileges |
//! | --- | --- | --- |
//! | [`cable`] | a Unix datagram socket, one Ethernet frame a datagram, as QEMU's `-netdev dgram` has it | none |
//! | [`af_packet`] | a network device of the host, with checksum and segmentation offload | `CAP_NET_RAW` |
//! | [`loss`] | another driver, some of whose frames get lost | none |
//!
//! A driver is owned by one thread and never blocks.

pub mod af_packet;
pub mod cable;
#[cfg(test)]
mod conformance;
pub mod finish;
pub mod link_watch;
pub mod loss;
mod packet_socket;
mod vnet;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::counters::DropTally;
use crate::packet::{PacketPool, Vector};
use crate::wire::ethernet::MacAddress;

/// What is known of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// For people: driver and device.
    pub name: String,
    /// The port's own address.
    pub mac: MacAddress,
    /// Largest IP packet that the medium carries.
    pub mtu_bytes: u32,
}

/// Whether a medium can carry frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It can.
    Up,
    /// It cannot: no carrier, or nobody at the other end.
    Down,
}

/// What a medium takes off the sender's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: it is given frames that were finished (see [`finish`]).
    None,
    /// Open checksums, and TCP or UDP packets that stand for several segments.
    ChecksumAndSegmentation,
}

/// A port's medium. One thread owns it; capture and loss are drivers around a driver.
pub trait Driver: Send {
    /// What is known of the port.
    fn port(&self) -> &PortInfo;

    /// What `transmit` may be given.
    fn offload(&self) -> Offload {
        Offload::None
    }

    /// Appends received frames up to the vector's room; 0 means: wait on `readiness`.
    fn receive(&mut self, pool: &mut PacketPool, into: &mut Vector) -> Result<usize, DriverError>;

    /// Takes frames from the front and returns how many; what it cannot take stays, for the caller to count. 0 with
    /// frames left means: wait until `transmit_readiness` is writable. An error concerns the first frame that is left.
    fn transmit(&mut self, pool: &mut PacketPool, from: &mut Vector) -> Result<usize, DriverError>;

    /// Readable when frames can be received.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Writable when frames can be sent.
    fn transmit_readiness(&self) -> BorrowedFd<'_> {
        self.readiness()
    }

    /// Asks the medium.
    fn link(&self) -> LinkState;

    /// Frames that the driver itself dropped since it was last asked.
    fn drops(&mut self) -> &mut DropTally;
}

impl<D: Driver + ?Sized> Driver for Box<D> {
    fn port(&self) -> &PortInfo {
        (**self).port()
    }

    fn offload(&self) -> Offload {
        (**self).offload()
    }

    fn receive(&mut self, pool: &mut PacketPool, into: &mut Vector) -> Result<usize, DriverError> {
        (**self).receive(pool, into)
    }

    fn transmit(&mut self, pool: &mut PacketPool, from: &mut Vector) -> Result<usize, DriverError> {
        (**self).transmit(pool, from)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        (**self).readiness()
    }

    fn transmit_readiness(&self) -> BorrowedFd<'_> {
        (**self).transmit_readiness()
    }

    fn link(&self) -> LinkState {
        (**self).link()
    }

    fn drops(&mut self) -> &mut DropTally {
        (**self).drops()
    }
}

/// Why a driver cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The path does not fit a socket address.
    #[error("cable: the path {path:?} has {found} bytes, a Unix socket takes at most {most}")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        found: usize,
        /// What fits.
        most: usize,
    },
    /// Something that is no socket is in the way.
    #[error("cable: {path:?} exists and is not a socket; it is not removed")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process listens on the socket.
    #[error("cable: {path:?} is in use by a running process")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cable: cannot bind {path:?}: {source}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The host has no such device.
    #[error("af-packet: there is no network device {device:?}")]
    NoDevice {
        /// The device.
        device: String,
    },
    /// The process may not open packet sockets.
    #[error("af-packet: device {device}: opening a packet socket needs CAP_NET_RAW (root, or setcap cap_net_raw+ep)")]
    NoPermission {
        /// The device.
        device: String,
    },
    /// The host would answer for packets that are ours.
    #[error(
        "af-packet: device {device} has the address {address} in the host; a port's device must have none (ip address flush dev {device})"
    )]
    HostAddress {
        /// The device.
        device: String,
        /// The address.
        address: String,
    },
    /// The device is down and cannot be brought up.
    #[error("af-packet: device {device} is down, and bringing it up needs CAP_NET_ADMIN (ip link set {device} up)")]
    DeviceDown {
        /// The device.
        device: String,
    },
    /// Another step of opening the device failed.
    #[error("af-packet: device {device}: {step}: {source}")]
    Device {
        /// The device.
        device: String,
        /// What was tried.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody is at the other end of the medium, or it has no carrier.
    #[error("{port}: the link is down")]
    LinkDown {
        /// Name of the port.
        port: String,
    },
    /// The medium refused a frame.
    #[error("{port}: sending a frame: {source}")]
    Transmit {
        /// Name of the port.
        port: String,
        /// What the system says.
        source: io::Error,
    },
    /// Receiving failed.
    #[error("{port}: receiving: {source}")]
    Receive {
        /// Name of the port.
        port: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A locally administered MAC address that is always the same for the same seed (host and port name), so that
/// neighbors keep their ARP entries over a restart.
pub fn mac_of(seed: &str) -> MacAddress {
    // FNV-1a: short, and stable over versions of this program, which the standard hasher does not promise.
    let hash = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let [_, _, _, b, c, d, e, f] = hash.to_be_bytes();
    // Second bit of the first byte: locally administered; first bit clear: one station (IEEE 802 section 8.4).
    MacAddress([0x02, b, c, d, e, f])
}
