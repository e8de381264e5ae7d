//! A connection whose reads and writes wait.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stack_api::options::Options;
use stack_api::socket::Addresses;

use super::{Inner, Process, SLICE, Wait, change, close, options, readiness, take_error};
use crate::error::io_error;
use crate::readiness::Readiness;
use crate::socket::SocketId;
use crate::stream::{Gate, Received, Shutdown};

/// A connection. Dropping it closes it, and waits for what [`Options::linger`] says.
///
/// ```
/// use std::io::{self, Read, Write};
/// use std::time::Duration;
/// # use sockets::blocking::Process;
///
/// fn ask(process: &Process) -> io::Result<String> {
///     let mut connection = process.connect(([10, 0, 0, 2], 7).into())?;
///     connection.set_read_timeout(Some(Duration::from_secs(3)));
///     connection.write_all(b"hello")?;
///     connection.shutdown(sockets::Shutdown::Write)?;
///     let mut answer = String::new();
///     connection.read_to_string(&mut answer)?;
///     Ok(answer)
/// }
/// # sockets_testing::serve_and_ask(
/// #     |link| {
/// #         let process = Process::new(link)?;
/// #         let listener = process.listen(([0; 4], 7).into(), 4)?;
/// #         process.ready()?;
/// #         let connection = listener.accept()?;
/// #         io::copy(&mut &connection, &mut &connection)?;
/// #         Ok(())
/// #     },
/// #     |link| Ok(assert_eq!(ask(&Process::new(link)?)?, "hello")),
/// # );
/// ```
#[derive(Debug)]
pub struct TcpStream {
    process: Process,
    socket: SocketId,
    addresses: Addresses,
    /// Where it was last in the library's table.
    index: Cell<usize>,
    nonblocking: Cell<bool>,
    read_timeout: Cell<Option<Duration>>,
    write_timeout: Cell<Option<Duration>>,
}

impl TcpStream {
    pub(super) fn new(process: &Process, inner: &Inner, socket: SocketId) -> io::Result<Self> {
        let addresses = inner.library.addresses(socket).map_err(io_error)?;
        let (process, index, nonblocking) = (process.clone(), Cell::new(0), Cell::new(false));
        let (read_timeout, write_timeout) = (Cell::new(None), Cell::new(None));
        Ok(Self { process, socket, addresses, index, nonblocking, read_timeout, write_timeout })
    }

    /// Own address and port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.source
    }

    /// The peer's.
    pub fn peer_addr(&self) -> SocketAddr {
        self.addresses.destination
    }

    /// Its number, as [`Process::turn`] tells it.
    pub fn id(&self) -> SocketId {
        self.socket
    }

    /// Whether reads and writes return `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.nonblocking.set(nonblocking);
    }

    /// How long a read waits before it returns `WouldBlock`; `None`: as long as it takes.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        self.read_timeout.set(timeout);
    }

    /// How long a read waits.
    pub fn read_timeout(&self) -> Option<Duration> {
        self.read_timeout.get()
    }

    /// How long a write waits for room before it returns `WouldBlock`; `None`: as long as it takes.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.write_timeout.set(timeout);
    }

    /// How long a write waits.
    pub fn write_timeout(&self) -> Option<Duration> {
        self.write_timeout.get()
    }

    /// What it allows now, as poll(2) says it.
    pub fn readiness(&self) -> io::Result<Readiness> {
        readiness(&self.process, self.socket)
    }

    /// Lets reads and writes look out for the peer for at most this long before they sleep; zero: not at all. A
    /// connection over an inter-VR interface begins with 50 us, one through the stack with zero: there the stack's threads
    /// are in between, and need the CPUs.
    pub fn set_spin(&self, bound: Duration) -> io::Result<()> {
        self.process.0.borrow_mut().library.stream(self.socket).map_err(io_error)?.channel().set_spin(bound);
        Ok(())
    }

    /// Its options.
    pub fn options(&self) -> io::Result<Options> {
        options(&self.process, self.socket)
    }

    /// Other options, from now on.
    pub fn set_options(&self, options: Options) -> io::Result<()> {
        change(&self.process, self.socket, |present| *present = options)
    }

    /// TTL or hop limit of its packets.
    pub fn set_ttl(&self, ttl: u8) -> io::Result<()> {
        change(&self.process, self.socket, |options| options.ttl = Some(ttl))
    }

    /// TTL or hop limit of its packets.
    pub fn ttl(&self) -> io::Result<u8> {
        Ok(self.options()?.unicast_ttl())
    }

    /// Whether small segments go out at once.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        change(&self.process, self.socket, |options| options.nodelay = nodelay)
    }

    /// Whether small segments go out at once.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.options()?.nodelay)
    }

    /// Why it failed, if it did and no call has said so.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        take_error(&self.process, self.socket)
    }

    /// Ends one direction, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.process.0.borrow_mut().library.shutdown(self.socket, how).map_err(io_error)
    }

    /// What is there is had at once; the rest stands apart, so that a call that need not wait is short.
    #[inline]
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut inner = self.process.0.borrow_mut();
        inner.breathe()?;
        let stream = inner.library.stream_at(self.socket, &self.index).map_err(io_error)?;
        if !self.nonblocking.get() {
            stream.await_answer();
        }
        match stream.take(into).map_err(io_error)? {
            Received::Bytes(bytes) => Ok(bytes),
            Received::EndOfFile => Ok(0),
            Received::NothingYet => self.receive_later(&mut inner, into),
        }
    }

    /// Nothing was there.
    #[inline(never)]
    fn receive_later(&self, inner: &mut Inner, into: &mut [u8]) -> io::Result<usize> {
        if self.nonblocking.get() {
            // This arms the bell, so that the process's loop learns of more.
            return match inner.library.receive(self.socket, into).map_err(io_error)? {
                Received::Bytes(bytes) => Ok(bytes),
                Received::EndOfFile => Ok(0),
                Received::NothingYet => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let wait = Wait::new(false, self.read_timeout.get());
        loop {
            let stream = inner.library.stream(self.socket).map_err(io_error)?;
            if stream.gate() == Gate::Closed {
                inner.turn(wait.left()?)?;
            } else if !stream.wait_readable(wait.slice()?).map_err(io_error)? {
                inner.turn(Some(Duration::ZERO))?;
            }
            match inner.library.stream(self.socket).and_then(|stream| stream.take(into)).map_err(io_error)? {
                Received::Bytes(bytes) => return Ok(bytes),
                Received::EndOfFile => return Ok(0),
                Received::NothingYet => {}
            }
        }
    }

    /// Where there is room, nothing else is done.
    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut inner = self.process.0.borrow_mut();
        inner.breathe()?;
        let sent = if self.nonblocking.get() {
            // This arms the bell, so that the process's loop learns of room.
            inner.library.send(self.socket, bytes)
        } else {
            inner.library.put_bytes(self.socket, &self.index, bytes)
        };
        match sent.map_err(io_error)? {
            0 => self.send_later(&mut inner, bytes),
            sent => Ok(sent),
        }
    }

    /// There was no room.
    #[inline(never)]
    fn send_later(&self, inner: &mut Inner, bytes: &[u8]) -> io::Result<usize> {
        let wait = Wait::new(self.nonblocking.get(), self.write_timeout.get());
        loop {
            let slice = wait.slice()?;
            let stream = inner.library.stream(self.socket).map_err(io_error)?;
            if !stream.wait_writable(bytes.len(), slice).map_err(io_error)? {
                inner.turn(Some(Duration::ZERO))?;
            }
            match inner.library.put_bytes(self.socket, &self.index, bytes).map_err(io_error)? {
                0 => {}
                sent => return Ok(sent),
            }
        }
    }

    /// Waits until the peer has acknowledged everything, as long as the socket is to linger.
    fn linger(&self) -> io::Result<()> {
        let Some(limit) = self.options()?.linger.filter(|limit| !limit.is_zero()) else { return Ok(()) };
        let until = Instant::now() + limit;
        let mut inner = self.process.0.borrow_mut();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let stream = inner.library.stream(self.socket).map_err(io_error)?;
            if left.is_zero() || stream.is_acknowledged() {
                return Ok(());
            }
            if !stream.wait_taken(left.min(SLICE)).map_err(io_error)? {
                inner.turn(Some(Duration::ZERO))?;
            }
        }
    }
}

impl Read for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into)
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    /// Nothing waits in this process: what was written is in the channel.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        // A connection that has failed lingers for nobody.
        if let Err(error) = self.linger() {
            log::debug!("close of a connection to {}: {error}", self.peer_addr());
        }
        close(&self.process, self.socket);
    }
}
