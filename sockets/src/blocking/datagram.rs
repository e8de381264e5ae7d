//! UDP and raw IP sockets whose calls wait.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipc::InterfaceName;
use ipc::reactor::Reactor;
use stack_api::options::Options;
use stack_api::socket::SocketError;

use super::{Inner, Process, Wait, change, close, options, readiness, take_error};
use crate::datagram::DatagramInfo;
use crate::error::io_error;
use crate::library::Library;
use crate::message::ProcessMessage;
use crate::readiness::Readiness;
use crate::socket::SocketId;
use crate::stream::SPIN;

/// How long a socket that is dropped waits for channels that were asked for: procmgr answers at once, or stands still.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What UDP and raw IP have in common.
#[derive(Debug)]
pub(super) struct DatagramSocket {
    process: Process,
    socket: SocketId,
    nonblocking: Cell<bool>,
    read_timeout: Cell<Option<Duration>>,
}

impl DatagramSocket {
    pub fn new(process: &Process, socket: SocketId) -> Self {
        Self { process: process.clone(), socket, nonblocking: Cell::new(false), read_timeout: Cell::new(None) }
    }

    fn receive(&self) -> io::Result<ProcessMessage> {
        let look_out = self.look_out();
        self.wait_for(|library, reactor| library.receive_message(reactor, self.socket, look_out))
    }

    fn receive_into(&self, into: &mut [u8]) -> io::Result<DatagramInfo> {
        let look_out = self.look_out();
        self.wait_for(|library, reactor| library.receive_datagram(reactor, self.socket, into, look_out))
    }

    fn receive_payload(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let look_out = self.look_out();
        self.wait_for(|library, reactor| library.receive_payload(reactor, self.socket, into, look_out))
    }

    /// For the next datagram, before it waits.
    fn look_out(&self) -> Duration {
        if self.nonblocking.get() { Duration::ZERO } else { SPIN }
    }

    /// Turns the loop until a call has something.
    fn wait_for<T>(
        &self,
        mut call: impl FnMut(&mut Library, &mut Reactor) -> Result<Option<T>, SocketError>,
    ) -> io::Result<T> {
        let mut inner = self.process.0.borrow_mut();
        inner.breathe()?;
        // What is there is had without a look at the clock.
        let mut wait = None;
        loop {
            let Inner { reactor, library, .. } = &mut *inner;
            if let Some(found) = call(library, reactor).map_err(io_error)? {
                return Ok(found);
            }
            let wait = *wait.get_or_insert_with(|| Wait::new(self.nonblocking.get(), self.read_timeout.get()));
            inner.turn(wait.left()?)?;
        }
    }

    fn send(&self, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<usize> {
        let mut inner = self.process.0.borrow_mut();
        inner.breathe()?;
        let Inner { reactor, library, .. } = &mut *inner;
        library.send_datagram(reactor, self.socket, to, payload).map_err(io_error)?;
        Ok(payload.len())
    }

    fn send_message(&self, message: ProcessMessage) -> io::Result<()> {
        let mut inner = self.process.0.borrow_mut();
        inner.breathe()?;
        let Inner { reactor, library, .. } = &mut *inner;
        library.send_to(reactor, self.socket, message).map_err(io_error)
    }

    fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        let mut inner = self.process.0.borrow_mut();
        let Inner { reactor, library, .. } = &mut *inner;
        library.connect_datagram(reactor, self.socket, Some(peer)).map_err(io_error)?;
        inner.settle(self.socket)
    }
}

impl DatagramSocket {
    /// What was sent last may wait for a channel that procmgr is about to open; a program may end after that.
    fn flush(&self) -> io::Result<()> {
        let mut inner = self.process.0.borrow_mut();
        let wait = Wait::new(false, Some(LAST_WORDS));
        while inner.library.is_opening_peers(self.socket) {
            inner.turn(wait.left()?)?;
        }
        Ok(())
    }
}

impl Drop for DatagramSocket {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            log::debug!("datagrams of a socket that is closed are lost: {error}");
        }
        close(&self.process, self.socket);
    }
}

/// The calls that both kinds have.
macro_rules! common_calls {
    () => {
        /// The next datagram whole, with all that comes with it.
        pub fn receive(&self) -> io::Result<ProcessMessage> {
            self.0.receive()
        }

        /// The next datagram, into a buffer, with all that comes with it.
        pub fn recv_msg(&self, into: &mut [u8]) -> io::Result<DatagramInfo> {
            self.0.receive_into(into)
        }

        /// Sends a message with its own TTL, TOS, source address and interface.
        pub fn send_message(&self, message: ProcessMessage) -> io::Result<()> {
            self.0.send_message(message)
        }

        /// A message as the socket's options have it, to be changed and sent by
        /// [`send_message`](Self::send_message). `None`: to the peer.
        pub fn message(&self, to: Option<SocketAddr>, payload: &[u8]) -> io::Result<ProcessMessage> {
            self.0.process.0.borrow().library.message(self.0.socket, to, payload).map_err(io_error)
        }

        /// Receives what comes to a group by an interface.
        pub fn join_multicast(&self, group: IpAddr, interface: &InterfaceName) -> io::Result<()> {
            self.0.process.0.borrow_mut().library.join(self.0.socket, group, interface).map_err(io_error)
        }

        /// Ends a [`join_multicast`](Self::join_multicast).
        pub fn leave_multicast(&self, group: IpAddr, interface: &InterfaceName) -> io::Result<()> {
            self.0.process.0.borrow_mut().library.leave(self.0.socket, group, interface).map_err(io_error)
        }

        /// Its number, as [`Process::turn`] tells it.
        pub fn id(&self) -> SocketId {
            self.0.socket
        }

        /// Whether receiving returns `WouldBlock` instead of waiting. Sending waits for no receiver.
        pub fn set_nonblocking(&self, nonblocking: bool) {
            self.0.nonblocking.set(nonblocking);
        }

        /// How long receiving waits before it returns `WouldBlock`; `None`: as long as it takes.
        pub fn set_read_timeout(&self, timeout: Option<Duration>) {
            self.0.read_timeout.set(timeout);
        }

        /// How long receiving waits.
        pub fn read_timeout(&self) -> Option<Duration> {
            self.0.read_timeout.get()
        }

        /// What it allows now, as poll(2) says it.
        pub fn readiness(&self) -> io::Result<Readiness> {
            readiness(&self.0.process, self.0.socket)
        }

        /// Its options.
        pub fn options(&self) -> io::Result<Options> {
            options(&self.0.process, self.0.socket)
        }

        /// Other options, from now on.
        pub fn set_options(&self, options: Options) -> io::Result<()> {
            change(&self.0.process, self.0.socket, |present| *present = options)
        }

        /// TTL or hop limit of what is sent to one receiver.
        pub fn set_ttl(&self, ttl: u8) -> io::Result<()> {
            change(&self.0.process, self.0.socket, |options| options.ttl = Some(ttl))
        }

        /// TTL or hop limit of what is sent to one receiver.
        pub fn ttl(&self) -> io::Result<u8> {
            Ok(self.options()?.unicast_ttl())
        }

        /// Why it failed, if it did and no call has said so: an ICMP error, or what could not be sent.
        pub fn take_error(&self) -> io::Result<Option<io::Error>> {
            take_error(&self.0.process, self.0.socket)
        }
    };
}

/// A UDP socket.
///
/// ```
/// # use sockets::blocking::Process;
/// use std::io;
/// use std::time::{Duration, Instant};
///
/// fn ping(process: &Process) -> io::Result<Duration> {
///     let socket = process.udp(([0, 0, 0, 0], 0).into())?;
///     socket.connect(([10, 0, 0, 2], 7).into())?;
///     socket.set_read_timeout(Some(Duration::from_secs(1)));
///     let sent = Instant::now();
///     socket.send(b"ping")?;
///     socket.recv(&mut [0; 64])?;
///     Ok(sent.elapsed())
/// }
///
/// fn answer(process: &Process) -> io::Result<()> {
///     let socket = process.udp(([0, 0, 0, 0], 7).into())?;
///     process.ready()?;
///     let mut buffer = [0; 64];
///     loop {
///         let (length, from) = socket.recv_from(&mut buffer)?;
///         socket.send_to(&buffer[..length], from)?;
///     }
/// }
/// # sockets_testing::serve_and_ask(|link| Ok(answer(&Process::new(link)?)?), |link| {
/// #     ping(&Process::new(link)?)?;
/// #     Ok(())
/// # });
/// ```
#[derive(Debug)]
pub struct UdpSocket(DatagramSocket);

impl UdpSocket {
    pub(super) fn new(socket: DatagramSocket) -> Self {
        Self(socket)
    }

    /// Sends to somebody. What is too long for a datagram is EMSGSIZE.
    pub fn send_to(&self, payload: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.send(Some(to), payload)
    }

    /// The next datagram, and who sent it. What does not fit is lost; [`recv_msg`](Self::recv_msg) tells.
    pub fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.receive_payload(into)
    }

    /// Speaks with one peer from now on: hears nobody else, and is told if nobody is there.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.0.connect(peer)
    }

    /// Sends to the peer.
    pub fn send(&self, payload: &[u8]) -> io::Result<usize> {
        self.0.send(None, payload)
    }

    /// The next datagram of the peer.
    pub fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        self.recv_from(into).map(|(length, _)| length)
    }

    /// Own address and port.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.process.0.borrow().library.datagram_address(self.0.socket).map_err(io_error)
    }

    /// The peer, if it has one (ENOTCONN: not).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let peer = self.0.process.0.borrow().library.datagram_peer(self.0.socket).map_err(io_error)?;
        peer.ok_or_else(|| io_error(stack_api::socket::SocketError::NotConnected))
    }

    common_calls!();
}

/// A raw IP socket: an IP protocol without ports, its payload without the IP header.
///
/// ```
/// # use sockets::blocking::Process;
/// use std::error::Error;
/// use ipc::IpProtocol;
///
/// /// An OSPF hello of the VR behind an interface.
/// fn listen(process: &Process) -> Result<(), Box<dyn Error>> {
///     let socket = process.raw(IpProtocol::OSPF)?;
///     socket.join_multicast("224.0.0.5".parse()?, &"vr1".parse()?)?;
///     process.ready()?;
///     let hello = socket.receive()?;
///     println!("{} bytes of {}, TTL {}", hello.payload.len(), hello.addresses.source.ip(), hello.ttl);
///     Ok(())
/// }
///
/// fn say(process: &Process) -> Result<(), Box<dyn Error>> {
///     let socket = process.raw(IpProtocol::OSPF)?;
///     let mut hello = socket.message(Some("224.0.0.5:0".parse()?), b"hello")?;
///     hello.interface = Some("vr2".parse()?);
///     Ok(socket.send_message(hello)?)
/// }
/// # sockets_testing::serve_and_ask(|link| listen(&Process::new(link)?), |link| say(&Process::new(link)?));
/// ```
#[derive(Debug)]
pub struct RawSocket(DatagramSocket);

impl RawSocket {
    pub(super) fn new(socket: DatagramSocket) -> Self {
        Self(socket)
    }

    /// Sends to somebody. What is too long for a packet is EMSGSIZE.
    pub fn send_to(&self, payload: &[u8], to: IpAddr) -> io::Result<usize> {
        self.0.send(Some(SocketAddr::new(to, 0)), payload)
    }

    /// The next datagram, and who sent it. What does not fit is lost; [`recv_msg`](Self::recv_msg) tells.
    pub fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, IpAddr)> {
        self.0.receive_payload(into).map(|(length, source)| (length, source.ip()))
    }

    /// Speaks with one peer from now on: hears nobody else, and is told if nobody is there.
    pub fn connect(&self, peer: IpAddr) -> io::Result<()> {
        self.0.connect(SocketAddr::new(peer, 0))
    }

    /// Sends to the peer.
    pub fn send(&self, payload: &[u8]) -> io::Result<usize> {
        self.0.send(None, payload)
    }

    common_calls!();
}
