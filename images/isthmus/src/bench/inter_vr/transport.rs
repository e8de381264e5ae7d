//! The ways between two processes that are compared, behind one trait: the code that measures is the same for all.

use std::fmt;
use std::io::{self, Read, Write};
use std::net;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sockets::blocking::{Process, TcpListener, TcpStream};

/// Longest look at a channel before a reader sleeps: many times what a peer that is awake takes to answer, and no more
/// than what being woken costs.
const SPIN: Duration = Duration::from_micros(50);

/// Connections that wait to be accepted: one at a time is made.
const BACKLOG: u16 = 4;

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
}

impl Subject {
    /// All, in the order in which a round takes them. What the stack still sends after its turn, an acknowledgment of
    /// the last FIN, is over long before the next turn of the channel.
    pub const ALL: [Self; 4] = [Self::InterVr, Self::Stack, Self::KernelTcp, Self::AfUnix];

    /// As in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::InterVr => "inter-vr",
            Self::Stack => "stack",
            Self::KernelTcp => "kernel-tcp",
            Self::AfUnix => "af-unix",
        }
    }

    /// Whether it is somebody else's, without which the benchmark has a result too.
    pub fn is_a_peer(self) -> bool {
        match self {
            Self::InterVr | Self::Stack => false,
            Self::KernelTcp | Self::AfUnix => true,
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

/// A listener of any subject.
#[derive(Debug)]
pub enum Listener {
    /// Of the VR that the process belongs to.
    Vr(TcpListener, Subject),
    /// The kernel's.
    Kernel(net::TcpListener),
    /// In the file system.
    Unix(UnixListener),
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
        }
    }

    /// Waits for a connection.
    pub fn accept(&self) -> Result<Box<dyn Connection>> {
        match self {
            Self::Vr(listener, subject) => {
                let stream = listener.accept().with_context(|| format!("accept ({subject})"))?;
                prepared(stream, *subject)
            }
            Self::Kernel(listener) => {
                let (stream, _) = listener.accept().context("accept over loopback")?;
                without_delay(stream)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().context("accept a Unix connection")?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// Connects to a listener of the other process.
pub fn connect(process: &Process, subject: Subject, address: &str) -> Result<Box<dyn Connection>> {
    let failed = || format!("connect to {address} ({subject})");
    match subject {
        Subject::InterVr | Subject::Stack => {
            let stream = process.connect(parse(address)?).with_context(failed)?;
            prepared(stream, subject)
        }
        Subject::KernelTcp => without_delay(net::TcpStream::connect(address).with_context(failed)?),
        Subject::AfUnix => Ok(Box::new(UnixStream::connect(address).with_context(failed)?)),
    }
}

/// Over a channel the peer may be looked out for. The stack's processes and both ends outnumber the CPUs of a small
/// machine: who spins there takes the CPU from those that it waits for.
fn prepared(stream: TcpStream, subject: Subject) -> Result<Box<dyn Connection>> {
    if subject == Subject::InterVr {
        stream.set_spin(SPIN)?;
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
