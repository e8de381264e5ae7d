//! Sockets from their making on: socket, listen, accept, names, and what waits for the library (connecting: `connect`; the end:
//! `close`).
//!
//! A TCP socket of the program becomes one of the library when it listens or connects; until then there is only what it
//! was bound to and its options. A socket of IPv6 that may hear IPv4 too (IPV6_V6ONLY off, Linux's default) is two of the
//! library, which is one of a family each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::time::Duration;
use std::time::Instant;

use ipc::{Family, InterfaceName, IpProtocol};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use sockets::{
    Addresses, KeepAlive, LibraryEvent, Options, Readiness, SocketError, SocketId, SocketKind, Stream, errno,
};

use crate::description::{Description, Direction, Held, Kind};
use crate::process::{self, Listener, Process};
use crate::signals::Watch;
use crate::table::{self, DESCRIPTIONS};
use crate::{datagram, descriptors, kernel, netlink, wait};

/// Most connections that may wait to be accepted, whatever is asked for (`net.core.somaxconn`).
const MOST_BACKLOG: i32 = 4096;

/// What is known of a socket beside its connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Control {
    /// Its family.
    pub family: Family,
    /// The protocol of a raw socket.
    pub raw: Option<IpProtocol>,
    /// IPV6_V6ONLY.
    pub v6_only: bool,
    /// Its options.
    pub options: Options,
    /// SO_BINDTODEVICE.
    pub interface: Option<InterfaceName>,
    /// What it was bound to.
    pub bound: Option<SocketAddr>,
    /// What keeps its port, one for each family that it hears.
    #[serde(skip)]
    pub reservations: Vec<SocketId>,
    /// SO_ERROR.
    pub error: Option<SocketError>,
    /// How far it has come.
    #[serde(skip)]
    pub phase: Phase,
    /// A connect was told EINPROGRESS: as on Linux, the next one after it stands is told that it does.
    pub in_progress: bool,
    /// What getsockopt tells of what has no meaning here: set, remembered, told back.
    pub remembered: Vec<((i32, i32), i32)>,
    /// What options say that are off.
    pub kept: Kept,
}

/// What is set, and told back, whether the option that it belongs to is on or not.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Kept {
    /// TCP_KEEPIDLE and its like, for SO_KEEPALIVE.
    pub probing: KeepAlive,
    /// The time of SO_LINGER.
    pub linger: Duration,
}

/// How far a socket has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// Neither connected nor listening.
    #[default]
    Idle,
    /// It connects.
    Opening(SocketId),
    /// It is connected: its description has the connection.
    Connected(SocketId),
    /// It listens, as one or two sockets; so many of them do not yet.
    Listening(Vec<SocketId>, usize),
    /// A datagram socket, as one or two sockets; so many of them are not bound yet.
    Datagram(Vec<SocketId>, usize),
}

impl Control {
    fn new(family: Family) -> Self {
        // What Linux has by default.
        let options = Options { nodelay: false, multicast_loop: true, ..Options::default() };
        Self {
            family,
            raw: None,
            v6_only: false,
            options,
            interface: None,
            bound: None,
            reservations: Vec::new(),
            error: None,
            phase: Phase::Idle,
            in_progress: false,
            remembered: Vec::new(),
            kept: Kept::default(),
        }
    }

    /// Its sockets of the library.
    pub fn library_sockets(&self) -> Vec<SocketId> {
        match &self.phase {
            Phase::Idle => Vec::new(),
            Phase::Opening(socket) | Phase::Connected(socket) => vec![*socket],
            Phase::Listening(sockets, _) | Phase::Datagram(sockets, _) => sockets.clone(),
        }
    }

    /// What poll(2) says beyond what the library's sockets say.
    pub fn adjust(&self, mut readiness: Readiness) -> Readiness {
        match &self.phase {
            Phase::Idle if self.error.is_some() => {
                Readiness { readable: true, writable: true, read_closed: true, hung_up: true, failed: true }
            }
            Phase::Idle => Readiness { writable: true, hung_up: true, ..Readiness::default() },
            Phase::Datagram(sockets, _) => {
                readiness.writable = true;
                readiness.failed |= self.error.is_some();
                readiness.hung_up &= !sockets.is_empty();
                readiness
            }
            Phase::Opening(_) | Phase::Connected(_) | Phase::Listening(..) => readiness,
        }
    }

    /// Families that it hears.
    pub fn families(&self) -> Vec<Family> {
        match self.family {
            Family::Ipv4 => vec![Family::Ipv4],
            Family::Ipv6 if self.v6_only => vec![Family::Ipv6],
            Family::Ipv6 => match self.bound.map(|bound| bound.ip()) {
                None | Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => vec![Family::Ipv6, Family::Ipv4],
                Some(IpAddr::V6(bound)) if bound.to_ipv4_mapped().is_some() => vec![Family::Ipv4],
                Some(_) => vec![Family::Ipv6],
            },
        }
    }

    /// Whether it keeps a TCP socket from being bound to an address: both share a port only where both have said so, and
    /// neither listens.
    pub fn keeps_from(&self, wanted: SocketAddr, other: &Control) -> bool {
        let Some(bound) = self.bound.filter(|bound| bound.port() == wanted.port()) else { return false };
        let (takes, listens) = match self.phase {
            Phase::Idle | Phase::Opening(_) => (true, false),
            Phase::Listening(..) => (true, true),
            Phase::Connected(_) | Phase::Datagram(..) => (false, false),
        };
        let both_share = (self.options.reuse_address && other.options.reuse_address && !listens)
            || (self.shares_port() && other.shares_port());
        let (own, wanted) = (bound.ip().to_canonical(), wanted.ip().to_canonical());
        let meet = own == wanted || self.hears_as(own, wanted) || other.hears_as(wanted, own);
        takes && !both_share && meet
    }

    /// SO_REUSEPORT.
    pub fn shares_port(&self) -> bool {
        self.remembered.contains(&((libc::SOL_SOCKET, libc::SO_REUSEPORT), 1))
    }

    /// Whether it is bound to all addresses, `address` among them.
    fn hears_as(&self, bound: IpAddr, address: IpAddr) -> bool {
        bound.is_unspecified() && (bound.is_ipv4() == address.is_ipv4() || (bound.is_ipv6() && !self.v6_only))
    }

    /// An address as a socket of its family tells it.
    pub fn shown(&self, address: SocketAddr) -> SocketAddr {
        match (self.family, address.ip()) {
            (Family::Ipv6, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
            _ => address,
        }
    }
}

/// The unspecified address of a family.
pub fn any(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// socket(2): `kind` with its flags.
pub fn create(family: Family, kind: Kind, raw: Option<IpProtocol>, flags: i32) -> Result<RawFd, Errno> {
    // Attached before the number is taken: what the library opens for itself must not get it.
    process::with(|_| Ok(()))?;
    let fd = descriptors::placeholder(flags)?;
    let entered = enter(fd, kind, flags & libc::SOCK_NONBLOCK != 0, |process, index, _| {
        let mut control = Control::new(family);
        control.raw = raw;
        if kind == Kind::Datagram {
            let of_library = raw.map_or(SocketKind::Datagram, SocketKind::Raw);
            control.phase = datagram::create(process, index, of_library, &control.options)?;
        }
        process.controls.insert(index, control);
        Ok(())
    });
    if let Err(error) = entered {
        let _ = kernel::close(fd);
        return Err(error);
    }
    Ok(fd)
}

/// A socket of rtnetlink.
pub fn create_netlink(flags: i32) -> Result<RawFd, Errno> {
    process::with(|_| Ok(()))?;
    let fd = descriptors::placeholder(flags)?;
    let entered = enter(fd, Kind::Netlink, flags & libc::SOCK_NONBLOCK != 0, |process, index, _| {
        process.controls.insert(index, Control::new(Family::Ipv4));
        netlink::create(index);
        Ok(())
    });
    if let Err(error) = entered {
        let _ = kernel::close(fd);
        return Err(error);
    }
    Ok(fd)
}

/// Makes `fd` one of ours.
fn enter(
    fd: RawFd,
    kind: Kind,
    nonblocking: bool,
    fill: impl FnOnce(&mut Process, u32, &'static Description) -> Result<(), Errno>,
) -> Result<Held, Errno> {
    let (index, description) = DESCRIPTIONS.take().ok_or(Errno::ENFILE)?;
    let held = description.begin(index, kind, nonblocking);
    description.set_inode(kernel::socket_inode(fd).unwrap_or_default());
    let filled = process::with(|process| fill(process, index, description));
    if filled.is_err() || !table::put_socket(fd, index) {
        description.end();
        DESCRIPTIONS.give_back(index);
        filled?;
        return Err(Errno::ENFILE);
    }
    Ok(held)
}

/// listen(2). Returns once a peer can connect.
pub fn listen(held: Held, backlog: i32) -> Result<(), Errno> {
    if held.kind() != Kind::Stream {
        return Err(Errno::EOPNOTSUPP);
    }
    let until = process::with(|process| {
        let control = process.control(held.index())?;
        match &control.phase {
            Phase::Idle => {}
            Phase::Listening(..) => return Ok(()),
            Phase::Opening(_) | Phase::Connected(_) | Phase::Datagram(..) => return Err(Errno::EINVAL),
        }
        let backlog = if backlog < 0 { MOST_BACKLOG } else { backlog.clamp(1, MOST_BACKLOG) };
        process.listen(held.index(), u16::try_from(backlog).unwrap_or(u16::MAX))
    });
    until?;
    wait_for(held, None, |process| {
        let control = process.control(held.index())?;
        match (&control.phase, control.error) {
            (Phase::Listening(_, 0), _) => Ok(Some(())),
            (Phase::Listening(..), _) => Ok(None),
            (_, Some(error)) => {
                control.error = None;
                Err(errno(error))
            }
            (_, None) => Err(Errno::EINVAL),
        }
    })
}

impl Process {
    fn listen(&mut self, index: u32, backlog: u16) -> Result<(), Errno> {
        let control = self.control(index)?;
        let (families, options, interface) = (control.families(), control.options.clone(), control.interface.clone());
        let bound = control.bound;
        let port = match bound.map(|bound| bound.port()).filter(|port| *port != 0) {
            Some(port) => port,
            None => self.port()?,
        };
        let family = self.control(index)?.family;
        let own = bound.map_or(any(family), |bound| bound.ip());
        self.control(index)?.bound = Some(SocketAddr::new(own, port));
        let mut sockets = Vec::new();
        for family in families {
            let own = own.to_canonical();
            let own = if Family::of(own) == family { own } else { any(family) };
            let socket = self.library.create_socket(SocketKind::Stream).map_err(errno)?;
            let asked = self
                .library
                .set_options(socket, options.clone())
                .and_then(|()| self.library.bind(socket, SocketAddr::new(own, port), interface.clone()))
                .and_then(|()| self.library.listen(&mut self.reactor, socket, backlog));
            self.by_socket.insert(socket, index);
            sockets.push(socket);
            if let Err(error) = asked {
                self.close_all(&sockets);
                return Err(errno(error));
            }
        }
        let waiting = sockets.len();
        self.control(index)?.phase = Phase::Listening(sockets, waiting);
        Ok(())
    }

    /// Closes sockets of the library.
    pub fn close_all(&mut self, sockets: &[SocketId]) {
        for socket in sockets {
            self.by_socket.remove(socket);
            self.library.close(&mut self.reactor, *socket);
        }
    }

    /// Takes in what has happened to a socket.
    pub fn note(&mut self, index: u32, event: LibraryEvent) {
        match event {
            LibraryEvent::Listening { .. } => {
                if let Some(Phase::Listening(_, left) | Phase::Datagram(_, left)) = self.phase_mut(index) {
                    *left = left.saturating_sub(1);
                }
            }
            LibraryEvent::ListenFailed { error, .. } => self.not_listening(index, error),
            LibraryEvent::Connected { socket } => self.connected(index, socket),
            LibraryEvent::ConnectFailed { error, socket } => self.not_connected(index, socket, error),
            // Who waits for these looks for himself.
            LibraryEvent::Incoming { .. }
            | LibraryEvent::Readable { .. }
            | LibraryEvent::Writable { .. }
            | LibraryEvent::PortAnswered { .. } => {}
        }
    }

    fn phase_mut(&mut self, index: u32) -> Option<&mut Phase> {
        self.controls.get_mut(&index).map(|control| &mut control.phase)
    }

    fn not_listening(&mut self, index: u32, error: SocketError) {
        let Some(control) = self.controls.get_mut(&index) else { return };
        control.error = Some(error);
        match &mut control.phase {
            Phase::Listening(sockets, _) => {
                let sockets = std::mem::take(sockets);
                control.phase = Phase::Idle;
                self.close_all(&sockets);
            }
            Phase::Datagram(_, left) => *left = 0,
            Phase::Idle | Phase::Opening(_) | Phase::Connected(_) => {}
        }
    }

    fn connected(&mut self, index: u32, socket: SocketId) {
        match self.phase_mut(index) {
            Some(phase @ Phase::Opening(_)) => *phase = Phase::Connected(socket),
            Some(Phase::Idle | Phase::Connected(_) | Phase::Listening(..) | Phase::Datagram(..)) | None => return,
        }
        if let Err(error) = self.lend(index, socket) {
            self.not_connected(index, socket, error);
        }
    }

    /// Gives a description its connection.
    fn lend(&mut self, index: u32, socket: SocketId) -> Result<(), SocketError> {
        let description = DESCRIPTIONS.get(index).ok_or(SocketError::InvalidArgument)?;
        self.library.lend(&mut self.reactor, socket, description, |stream| *description.lock() = Some(stream))
    }

    fn not_connected(&mut self, index: u32, socket: SocketId, error: SocketError) {
        let Some(control) = self.controls.get_mut(&index) else { return };
        control.error = Some(error);
        if !matches!(control.phase, Phase::Datagram(..)) {
            control.phase = Phase::Idle;
            self.by_socket.remove(&socket);
        }
    }
}

/// Sleeps until a look at the library finds something.
pub fn wait_for<T>(
    held: Held,
    until: Option<Instant>,
    mut look: impl FnMut(&mut Process) -> Result<Option<T>, Errno>,
) -> Result<T, Errno> {
    let mut watch = Watch::begin();
    loop {
        held.check()?;
        if let Some(found) = process::with(&mut look)? {
            return Ok(found);
        }
        let left = wait::left(until)?;
        let (mut found, mut error) = (None, None);
        let listener = Listener::new();
        let mut fds: Vec<_> = listener.iter().map(|listener| wait::watch(listener.as_raw_fd())).collect();
        // Looked at once more when whoever finds something knows whom to tell.
        let slept = wait::sleep(&[held.description()], &mut fds, left, (watch, None), |_| {
            match process::with(&mut look) {
                Ok(looked) => found = looked,
                Err(why) => error = Some(why),
            }
            found.is_none() && error.is_none()
        });
        if fds.iter().any(|polled| polled.revents != 0)
            && let Some(listener) = &listener
        {
            listener.turn();
        }
        match (found, error, slept) {
            (Some(found), _, _) => return Ok(found),
            (None, Some(error), _) => return Err(error),
            (None, None, Err(Errno::EINTR)) => watch = wait::interrupted(watch, until)?,
            (None, None, Err(error)) => return Err(error),
            (None, None, Ok(())) => {}
        }
    }
}

/// accept4(2): the new descriptor, and the peer.
pub fn accept(held: Held, flags: i32) -> Result<(RawFd, SocketAddr), Errno> {
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    if held.kind() != Kind::Stream {
        return Err(Errno::EOPNOTSUPP);
    }
    // The number first: without one the connection stays where it is.
    let fd = descriptors::placeholder(flags)?;
    let accepted = match held.is_nonblocking(0) {
        true => process::with(|process| accept_one(process, held, fd, flags)?.ok_or(Errno::EAGAIN)),
        false => wait_for(held, held.deadline(Direction::Receive), |process| accept_one(process, held, fd, flags)),
    };
    if accepted.is_err() {
        let _ = kernel::close(fd);
    }
    accepted.map(|peer| (fd, peer))
}

fn accept_one(process: &mut Process, held: Held, fd: RawFd, flags: i32) -> Result<Option<SocketAddr>, Errno> {
    let control = process.control(held.index())?;
    let Phase::Listening(sockets, _) = &control.phase else { return Err(Errno::EINVAL) };
    let (sockets, family, options, kept) = (sockets.clone(), control.family, control.options.clone(), control.kept);
    for listener in sockets {
        let Some(accepted) = process.library.accept(&mut process.reactor, listener).map_err(errno)? else { continue };
        let Some((index, description)) = DESCRIPTIONS.take() else { return Err(Errno::ENFILE) };
        description.begin(index, Kind::Stream, flags & libc::SOCK_NONBLOCK != 0);
        description.set_inode(kernel::socket_inode(fd).unwrap_or_default());
        let mut control = Control::new(family);
        (control.options, control.kept) = (options, kept);
        control.phase = Phase::Connected(accepted.socket);
        let peer = control.shown(accepted.addresses.source);
        process.controls.insert(index, control);
        process.by_socket.insert(accepted.socket, index);
        if process.lend(index, accepted.socket).is_err() || !table::put_socket(fd, index) {
            process.end(index);
            return Err(Errno::ENFILE);
        }
        return Ok(Some(peer));
    }
    Ok(None)
}

/// Both names of a connection that stands, as a socket of its family tells them.
fn names(held: Held) -> Result<Option<Addresses>, Errno> {
    let Some(addresses) = held.lock()?.as_ref().map(Stream::addresses) else { return Ok(None) };
    let Addresses { source, destination } = addresses;
    process::look(held.index(), |control| {
        Ok(Some(Addresses { source: control.shown(source), destination: control.shown(destination) }))
    })
}

/// getsockname(2).
pub fn own_name(held: Held) -> Result<SocketAddr, Errno> {
    if let Some(names) = names(held)? {
        return Ok(names.source);
    }
    process::with(|process| {
        let control = process.control(held.index())?;
        let family = control.family;
        let address = match &control.phase {
            Phase::Connected(socket) => {
                let socket = *socket;
                Some(process.library.addresses(socket).map_err(errno)?.source)
            }
            Phase::Datagram(sockets, _) => {
                let sockets = sockets.clone();
                let connected = process.speaker(held.index(), None).ok();
                let first = connected.into_iter().chain(sockets);
                first.into_iter().find_map(|socket| process.library.datagram_address(socket).ok())
            }
            Phase::Idle | Phase::Opening(_) | Phase::Listening(..) => control.bound,
        };
        let control = process.control(held.index())?;
        let address = address.unwrap_or(SocketAddr::new(any(family), 0));
        // Of two sockets, one of each family, the name is the one of both.
        let both = control.bound.is_none_or(|bound| bound.ip().is_unspecified()) && address.ip().is_unspecified();
        let address = if both { SocketAddr::new(any(family), address.port()) } else { address };
        Ok(control.shown(address))
    })
}

/// getpeername(2).
pub fn peer_name(held: Held) -> Result<SocketAddr, Errno> {
    if let Some(names) = names(held)? {
        return Ok(names.destination);
    }
    process::with(|process| {
        let control = process.control(held.index())?;
        let peer = match &control.phase {
            Phase::Connected(socket) => {
                let socket = *socket;
                process.library.addresses(socket).map_err(errno)?.destination
            }
            Phase::Datagram(sockets, _) => {
                let sockets = sockets.clone();
                let peer = sockets.iter().find_map(|socket| process.library.datagram_peer(*socket).ok().flatten());
                peer.ok_or(Errno::ENOTCONN)?
            }
            Phase::Idle | Phase::Opening(_) | Phase::Listening(..) => return Err(Errno::ENOTCONN),
        };
        Ok(process.control(held.index())?.shown(peer))
    })
}
