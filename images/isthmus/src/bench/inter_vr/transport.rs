//! The ways between two processes that are compared, behind one trait: the code that measures is the same for all.

use std::fmt;
use std::io::{self, Read, Write};
use std::net;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::{Deserialize, Serialize};
use sockets::blocking::{Process, TcpListener, TcpStream};

/// Connections that wait to be accepted.
pub const BACKLOG: u16 = 64;

/// What messages consist of.
pub const FILLING: u8 = 0x5A;

/// A way between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// The channel between two VRs.
    InterVr,
    /// Our stack: two ports of the router, joined by a cable.
    Stack,
    /// The host kernel's TCP over loopback.
    KernelTcp,
    /// A stream socket in the file system.
    AfUnix,
    /// Two eventfds: what waking a sleeper costs without any data. Each write wakes, whatever its size.
    Eventfd,
}

impl Subject {
    /// All, in the order in which a round takes them. What the stack still sends after its turn, an acknowledgment of
    /// the last FIN, is over long before the next turn of the channel.
    pub const ALL: [Self; 5] = [Self::InterVr, Self::Stack, Self::KernelTcp, Self::AfUnix, Self::Eventfd];

    /// As in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::InterVr => "inter-vr",
            Self::Stack => "stack",
            Self::KernelTcp => "kernel-tcp",
            Self::AfUnix => "af-unix",
            Self::Eventfd => "eventfd",
        }
    }

    /// Whether it is somebody else's, without which the benchmark has a result too.
    pub fn is_a_peer(self) -> bool {
        match self {
            Self::InterVr | Self::Stack => false,
            Self::KernelTcp | Self::AfUnix | Self::Eventfd => true,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection of any subject.
pub trait Connection: Read + Write {
    /// Ends the own direction; the other one stays.
    fn finish_writing(&mut self) -> io::Result<()>;
}

impl Connection for TcpStream {
    fn finish_writing(&mut self) -> io::Result<()> {
        self.shutdown(sockets::Shutdown::Write)
    }
}

impl Connection for net::TcpStream {
    fn finish_writing(&mut self) -> io::Result<()> {
        self.shutdown(net::Shutdown::Write)
    }
}

impl Connection for UnixStream {
    fn finish_writing(&mut self) -> io::Result<()> {
        self.shutdown(net::Shutdown::Write)
    }
}

/// A side of two eventfds. An eventfd adds up what is written to it.
#[derive(Debug)]
struct EventfdConnection {
    own: OwnedFd,
    peers: OwnedFd,
}

impl EventfdConnection {
    /// What wakes.
    const MESSAGE: u64 = 1;
    /// What ends: no sum of messages that wait.
    const END: u64 = 1 << 32;

    /// The accepting side makes both and gives them to the other one.
    fn make(connected: &UnixStream) -> Result<Self> {
        let make = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map(OwnedFd::from).context("make an eventfd");
        let (own, peers) = (make()?, make()?);
        ipc::fd::send_with_fds(connected.as_fd(), &[0], &[peers.as_fd(), own.as_fd()]).context("pass eventfds")?;
        Ok(Self { own, peers })
    }

    fn take(connected: &UnixStream) -> Result<Self> {
        let received = ipc::fd::receive_with_fds(connected.as_fd(), &mut [0]).context("receive eventfds")?;
        let [own, peers] = received.fds.try_into().map_err(|fds: Vec<_>| anyhow!("{} eventfds came", fds.len()))?;
        Ok(Self { own, peers })
    }

    fn add(&self, value: u64) -> io::Result<()> {
        nix::unistd::write(&self.peers, &value.to_ne_bytes())?;
        Ok(())
    }
}

impl Read for EventfdConnection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut value = [0; size_of::<u64>()];
        nix::unistd::read(&self.own, &mut value)?;
        // Carries nothing: what a workload sends, it finds.
        into.fill(FILLING);
        Ok(if u64::from_ne_bytes(value) >= Self::END { 0 } else { into.len() })
    }
}

impl Write for EventfdConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(Self::MESSAGE)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection for EventfdConnection {
    fn finish_writing(&mut self) -> io::Result<()> {
        self.add(Self::END)
    }
}

/// How both sides of a channel wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waiting {
    /// As the library does it unasked: they look out for each other for a while.
    Spinning,
    /// They sleep at once.
    Sleeping,
}

/// A listener of any subject.
#[derive(Debug)]
pub enum Listener {
    /// Of the VR that the process belongs to.
    Vr(TcpListener, Subject),
    /// The kernel's.
    Kernel(net::TcpListener),
    /// In the file system.
    Unix(UnixListener),
    /// Where eventfds are passed.
    Eventfd(UnixListener),
}

impl Listener {
    /// Listens; returns the address that peers connect to.
    pub fn bind(process: &Process, subject: Subject, address: &str) -> Result<(Self, String)> {
        let failed = || format!("listen on {address} ({subject})");
        match subject {
            Subject::InterVr | Subject::Stack => {
                let listener = process.listen(parse(address)?, BACKLOG).with_context(failed)?;
                Ok((Self::Vr(listener, subject), address.to_owned()))
            }
            Subject::KernelTcp => {
                let listener = net::TcpListener::bind(address).with_context(failed)?;
                let address = listener.local_addr().with_context(failed)?.to_string();
                Ok((Self::Kernel(listener), address))
            }
            Subject::AfUnix => {
                let listener = UnixListener::bind(address).with_context(failed)?;
                Ok((Self::Unix(listener), address.to_owned()))
            }
            Subject::Eventfd => {
                let listener = UnixListener::bind(address).with_context(failed)?;
                Ok((Self::Eventfd(listener), address.to_owned()))
            }
        }
    }

    /// Waits for a connection.
    pub fn accept(&self, waiting: Waiting) -> Result<Box<dyn Connection>> {
        match self {
            Self::Vr(listener, subject) => {
                let stream = listener.accept().with_context(|| format!("accept ({subject})"))?;
                prepared(stream, waiting)
            }
            Self::Kernel(listener) => {
                let (stream, _) = listener.accept().context("accept over loopback")?;
                without_delay(stream)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().context("accept a Unix connection")?;
                Ok(Box::new(stream))
            }
            Self::Eventfd(listener) => {
                let (stream, _) = listener.accept().context("accept a Unix connection")?;
                Ok(Box::new(EventfdConnection::make(&stream)?))
            }
        }
    }
}

/// Connects to a listener of the other process.
pub fn connect(process: &Process, subject: Subject, address: &str, waiting: Waiting) -> Result<Box<dyn Connection>> {
    let failed = || format!("connect to {address} ({subject})");
    match subject {
        Subject::InterVr | Subject::Stack => {
            let stream = process.connect(parse(address)?).with_context(failed)?;
            prepared(stream, waiting)
        }
        Subject::KernelTcp => without_delay(net::TcpStream::connect(address).with_context(failed)?),
        Subject::AfUnix => Ok(Box::new(UnixStream::connect(address).with_context(failed)?)),
        Subject::Eventfd => {
            let stream = UnixStream::connect(address).with_context(failed)?;
            Ok(Box::new(EventfdConnection::take(&stream)?))
        }
    }
}

fn prepared(stream: TcpStream, waiting: Waiting) -> Result<Box<dyn Connection>> {
    match waiting {
        Waiting::Spinning => {}
        Waiting::Sleeping => stream.set_spin(Duration::ZERO)?,
    }
    Ok(Box::new(stream))
}

fn without_delay(stream: net::TcpStream) -> Result<Box<dyn Connection>> {
    stream.set_nodelay(true).context("TCP_NODELAY")?;
    Ok(Box::new(stream))
}

fn parse(address: &str) -> Result<net::SocketAddr> {
    address.parse().with_context(|| format!("address {address:?}"))
}
