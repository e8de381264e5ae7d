//! A connection in SYN-SENT, for who does something else meanwhile or waits for a time only.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stack_api::socket::SocketError;

use super::{Process, TcpStream, close};
use crate::error::io_error;
use crate::socket::SocketId;

/// A connection in SYN-SENT, of [`Process::open_nonblocking`]. Dropping it gives the connection up.
///
/// ```
/// # use sockets::blocking::{Process, Progress, TcpStream};
/// use std::io;
/// use mio::{Events, Interest, Poll, Token};
/// use sockets::Destination;
///
/// fn connect(mut process: Process) -> io::Result<TcpStream> {
///     let mut poll = Poll::new()?;
///     poll.registry().register(&mut process, Token(0), Interest::READABLE)?;
///     let mut connecting = process.open_nonblocking(Destination::new(([10, 0, 0, 2], 7).into()))?;
///     let mut events = Events::with_capacity(8);
///     loop {
///         connecting = match connecting.progress()? {
///             Progress::Connected(connection) => return Ok(connection),
///             Progress::SynSent(connecting) => connecting,
///         };
///         poll.poll(&mut events, process.poll_timeout())?;
///         process.turn()?;
///     }
/// }
/// # sockets_testing::serve_and_ask(
/// #     |link| {
/// #         let process = Process::new(link)?;
/// #         let listener = process.listen(([0; 4], 7).into(), 4)?;
/// #         process.ready()?;
/// #         listener.accept()?;
/// #         Ok(())
/// #     },
/// #     |link| Ok(drop(connect(Process::new(link)?)?)),
/// # );
/// ```
#[derive(Debug)]
pub struct Connecting {
    process: Process,
    socket: SocketId,
    to: SocketAddr,
    /// It stands, and is another's to close.
    stands: bool,
}

/// How a connect goes.
///
/// ```
/// use std::io;
/// use sockets::blocking::{Connecting, Progress};
///
/// fn tell(connecting: Connecting) -> io::Result<&'static str> {
///     match connecting.progress()? {
///         Progress::SynSent(_) => Ok("nobody has answered yet"),
///         Progress::Connected(_) => Ok("it stands"),
///     }
/// }
/// # sockets_testing::serve_and_ask(|_| Ok(()), |link| {
/// #     let process = sockets::blocking::Process::new(link)?;
/// #     let connecting = process.open_nonblocking(sockets::Destination::new("10.0.0.2:7".parse()?))?;
/// #     Ok(assert_eq!(tell(connecting)?, "nobody has answered yet"))
/// # });
/// ```
#[derive(Debug)]
pub enum Progress {
    /// Nobody has answered yet.
    SynSent(Connecting),
    /// It stands.
    Connected(TcpStream),
}

impl Connecting {
    pub(super) fn new(process: &Process, socket: SocketId, to: SocketAddr) -> Self {
        Self { process: process.clone(), socket, to, stands: false }
    }

    /// Whom it is to lead to.
    pub fn peer_addr(&self) -> SocketAddr {
        self.to
    }

    /// Its number, as [`Process::turn`] tells it once there is something to learn. The connection has the same one.
    pub fn id(&self) -> SocketId {
        self.socket
    }

    /// How it goes, without waiting. It failed: the reason, as connect(2) gives it.
    pub fn progress(self) -> io::Result<Progress> {
        let mut inner = self.process.0.borrow_mut();
        inner.take_news();
        match inner.settled.remove(&self.socket) {
            Some(result) => {
                drop(inner);
                result.map_err(io_error)?;
                self.stand().map(Progress::Connected)
            }
            None => {
                drop(inner);
                Ok(Progress::SynSent(self))
            }
        }
    }

    /// Waits until it stands.
    pub fn wait(self) -> io::Result<TcpStream> {
        self.process.0.borrow_mut().settle(self.socket)?;
        self.stand()
    }

    /// The same, at most so long; then it is given up (ETIMEDOUT).
    pub fn wait_timeout(self, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io_error(SocketError::InvalidArgument));
        }
        // Longer than a clock goes is as good as for ever.
        let Some(until) = Instant::now().checked_add(timeout) else { return self.wait() };
        if !self.process.0.borrow_mut().settle_until(self.socket, until)? {
            return Err(io_error(SocketError::TimedOut));
        }
        self.stand()
    }

    fn stand(mut self) -> io::Result<TcpStream> {
        let stream = TcpStream::new(&self.process, &self.process.0.borrow(), self.socket)?;
        self.stands = true;
        Ok(stream)
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if !self.stands {
            close(&self.process, self.socket);
        }
    }
}
