//! Datagrams in one direction, as fast as one side sends and the other receives them. What finds no room on the way is
//! lost, as it is with UDP; what counts is what arrives.

use std::io;
use std::net;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sockets::blocking::{Process, UdpSocket};

use super::transport::{FILLING, Subject};

/// A receiver that hears nothing for so long has heard all.
const SILENCE: Duration = Duration::from_millis(200);

/// A receiver that has heard nothing for so long will hear nothing: whoever gave the order was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Datagrams between two looks at the clock: a look costs as much as a small datagram.
const PER_LOOK: u64 = 64;

/// An end of any subject.
#[derive(Debug)]
pub enum DatagramEnd {
    /// Of the VR that the process belongs to.
    Vr(UdpSocket),
    /// The kernel's UDP.
    Kernel(net::UdpSocket),
    /// In the file system.
    Unix(UnixDatagram),
}

impl DatagramEnd {
    /// The receiving end, beside a listener at `address`; `None`: the subject has no datagrams.
    pub fn bind(process: &Process, subject: Subject, address: &str) -> Result<Option<Self>> {
        let end = match subject {
            Subject::InterVr | Subject::Stack => Self::Vr(process.udp(address.parse()?)?),
            Subject::KernelTcp => Self::Kernel(net::UdpSocket::bind(address)?),
            Subject::AfUnix => Self::Unix(UnixDatagram::bind(path(address))?),
            Subject::Eventfd => return Ok(None),
        };
        match &end {
            Self::Vr(socket) => socket.set_read_timeout(Some(SILENCE)),
            Self::Kernel(socket) => socket.set_read_timeout(Some(SILENCE))?,
            Self::Unix(socket) => socket.set_read_timeout(Some(SILENCE))?,
        }
        Ok(Some(end))
    }

    /// An end that sends to the one at `address`.
    pub fn connect(process: &Process, subject: Subject, address: &str) -> Result<Self> {
        match subject {
            Subject::InterVr | Subject::Stack => {
                let socket = process.udp(([0; 4], 0).into())?;
                socket.connect(address.parse()?)?;
                Ok(Self::Vr(socket))
            }
            Subject::KernelTcp => {
                let socket = net::UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(address)?;
                Ok(Self::Kernel(socket))
            }
            Subject::AfUnix | Subject::Eventfd => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path(address))?;
                Ok(Self::Unix(socket))
            }
        }
    }

    fn send(&self, payload: &[u8]) -> io::Result<usize> {
        match self {
            Self::Vr(socket) => socket.send(payload),
            Self::Kernel(socket) => socket.send(payload),
            Self::Unix(socket) => socket.send(payload),
        }
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Vr(socket) => socket.recv(into),
            Self::Kernel(socket) => socket.recv(into),
            Self::Unix(socket) => socket.recv(into),
        }
    }

    /// Sends for a while; returns how many were sent.
    pub fn drive(&self, message_bytes: usize, duration: Duration) -> Result<u64> {
        let message = vec![FILLING; message_bytes];
        let (start, mut sent) = (Instant::now(), 0);
        while start.elapsed() < duration {
            for _ in 0..PER_LOOK {
                self.send(&message).context("send a datagram")?;
            }
            sent += PER_LOOK;
        }
        Ok(sent)
    }

    /// Receives until it is silent; returns how many came in a second.
    pub fn serve(&self, message_bytes: usize) -> Result<f64> {
        let mut buffer = vec![0; 2 * message_bytes];
        let (since, mut received, mut span) = (Instant::now(), 0_u64, None);
        loop {
            match self.receive(&mut buffer) {
                Ok(length) => ensure!(length == message_bytes, "a datagram of {length} bytes, not {message_bytes}"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && received > PER_LOOK => break,
                // The sender begins when it likes, unless it is gone.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && since.elapsed() < PATIENCE => continue,
                Err(error) => return Err(error).context("receive a datagram"),
            }
            if received.is_multiple_of(PER_LOOK) {
                let now = Instant::now();
                let (first, ..) = span.unwrap_or((now, now, 0));
                span = Some((first, now, received));
            }
            received += 1;
        }
        let (first, last, count) = span.context("no datagram came")?;
        Ok(count as f64 / (last - first).as_secs_f64())
    }
}

/// Beside the stream socket of that path.
fn path(address: &str) -> String {
    format!("{address}.datagrams")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_arrives_is_counted_until_it_is_silent() {
        let (near, far) = UnixDatagram::pair().unwrap();
        far.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let server = thread::spawn(move || DatagramEnd::Unix(far).serve(64));
        let sent = DatagramEnd::Unix(near).drive(64, Duration::from_millis(5)).unwrap();
        assert!(sent >= PER_LOOK);
        assert!(server.join().unwrap().unwrap() > 0.0);
    }
}
