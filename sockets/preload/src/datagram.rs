//! UDP and raw IP sockets.
//!
//! A socket of the program is one of the library, and with IPv6 a second one where it hears IPv4 too. All of its calls
//! are the library's, under the process's lock: a datagram is one record, whichever way it goes.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipc::Family;
use nix::errno::Errno;
use sockets::{DatagramInfo, Options, SPIN, SocketId, SocketKind, errno};

use crate::control::{Phase, wait_for};
use crate::description::{Direction, Held, Kind};
use crate::process::{self, Process};
use crate::raw;
use crate::table::{self, Number};

/// How long a socket that is closed waits for channels that were asked for: procmgr answers at once, or stands still.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Makes a datagram socket.
pub fn create(process: &mut Process, index: u32, kind: SocketKind, options: &Options) -> Result<Phase, Errno> {
    let socket = process.library.create_socket(kind).map_err(errno)?;
    process.library.set_options(socket, options.clone()).map_err(errno)?;
    process.by_socket.insert(socket, index);
    Ok(Phase::Datagram(vec![socket], 0))
}

/// bind(2). Returns once it can be reached.
pub fn bind(held: Held, address: SocketAddr) -> Result<(), Errno> {
    process::with(|process| process.bind_datagram(held.index(), address))?;
    settle(held)?;
    process::with(|process| process.bind_second(held.index()))?;
    settle(held)
}

/// Waits until all that was asked for is answered.
fn settle(held: Held) -> Result<(), Errno> {
    wait_for(held, None, |process| {
        let control = process.control(held.index())?;
        match (&control.phase, control.error.take()) {
            (_, Some(error)) => {
                control.bound = None;
                Err(errno(error))
            }
            (Phase::Datagram(_, 0), None) => Ok(Some(())),
            (_, None) => Ok(None),
        }
    })
}

impl Process {
    fn bind_datagram(&mut self, index: u32, address: SocketAddr) -> Result<(), Errno> {
        let control = self.control(index)?;
        let interface = control.interface.clone();
        let Phase::Datagram(sockets, waiting) = &mut control.phase else { return Err(Errno::EINVAL) };
        let Some(socket) = sockets.first().copied() else { return Err(Errno::EINVAL) };
        *waiting += 1;
        control.bound = Some(address);
        let own = SocketAddr::new(address.ip().to_canonical(), address.port());
        let bound = self.library.bind_datagram(&mut self.reactor, socket, own, interface);
        bound.map_err(|error| {
            if let Ok(control) = self.control(index) {
                control.bound = None;
                if let Phase::Datagram(_, waiting) = &mut control.phase {
                    *waiting = waiting.saturating_sub(1);
                }
            }
            errno(error)
        })
    }

    /// A socket of IPv6 that is bound to `::` hears IPv4 at the same port, unless it is told not to.
    fn bind_second(&mut self, index: u32) -> Result<(), Errno> {
        let control = self.control(index)?;
        let hears_both = control.family == Family::Ipv6
            && !control.v6_only
            && control.bound.is_some_and(|bound| bound.is_ipv6() && bound.ip().is_unspecified());
        let Phase::Datagram(sockets, _) = &control.phase else { return Ok(()) };
        let (Some(first), 1, true) = (sockets.first().copied(), sockets.len(), hears_both) else { return Ok(()) };
        let (options, interface) = (control.options.clone(), control.interface.clone());
        let port = self.library.datagram_address(first).map_err(errno)?.port();
        let Phase::Datagram(second, _) = create(self, index, SocketKind::Datagram, &options)? else { return Ok(()) };
        let Some(second) = second.first().copied() else { return Ok(()) };
        let any = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port);
        if let Err(error) = self.library.bind_datagram(&mut self.reactor, second, any, interface) {
            self.close_all(&[second]);
            return Err(errno(error));
        }
        if let Phase::Datagram(sockets, waiting) = &mut self.control(index)?.phase {
            sockets.push(second);
            *waiting += 1;
        }
        Ok(())
    }

    /// The socket of the library that speaks with `to`.
    pub fn speaker(&self, index: u32, to: Option<SocketAddr>) -> Result<SocketId, Errno> {
        let control = self.controls.get(&index).ok_or(Errno::EBADF)?;
        let Phase::Datagram(sockets, _) = &control.phase else { return Err(Errno::EINVAL) };
        let of_v4 = to.is_some_and(|to| to.ip().to_canonical().is_ipv4()) && control.family == Family::Ipv6;
        // To the peer: the one of the two that has it.
        let has_peer = |socket: &&SocketId| matches!(self.library.datagram_peer(**socket), Ok(Some(_)));
        let second = match to {
            Some(_) => sockets.get(1).filter(|_| of_v4),
            None => sockets.iter().find(has_peer),
        };
        second.or(sockets.first()).copied().ok_or(Errno::EINVAL)
    }
}

/// Binds a socket that sends before it was bound, as Linux does: to a port of the stack's choice.
pub fn bind_if_needed(held: Held, to: Option<SocketAddr>) -> Result<(), Errno> {
    let any = process::with(|process| {
        let control = process.control(held.index())?;
        if control.bound.is_some() {
            return Ok(None);
        }
        // To IPv4 from a socket of IPv6: it becomes one of IPv4.
        let family = to.map_or(control.family, |to| Family::of(to.ip().to_canonical()));
        Ok(Some(match (control.family, family) {
            (Family::Ipv6, Family::Ipv4) => IpAddr::V6(std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()),
            _ => family.unspecified(),
        }))
    })?;
    match any {
        Some(any) => bind(held, SocketAddr::new(any, 0)),
        None => Ok(()),
    }
}

/// connect(2); `None`: takes the peer away.
pub fn connect(held: Held, to: Option<SocketAddr>, scope: u32) -> Result<(), Errno> {
    if to.is_some() {
        bind_if_needed(held, to)?;
    }
    let to = to.map(|to| SocketAddr::new(to.ip().to_canonical(), to.port()));
    process::with(|process| {
        if scope != 0 {
            let interface = crate::names::interface_of(process, scope).ok_or(Errno::ENODEV)?;
            process.control(held.index())?.interface = Some(interface);
        }
        let socket = process.speaker(held.index(), to)?;
        process.control(held.index())?.error = None;
        process.library.connect_datagram(&mut process.reactor, socket, to).map_err(errno)
    })?;
    if to.is_none() {
        return Ok(());
    }
    wait_for(held, None, |process| {
        let socket = process.speaker(held.index(), to)?;
        let (is_there, control) = (process.library.datagram_is_connected(socket), process.control(held.index())?);
        match control.error.take() {
            Some(error) => Err(errno(error)),
            None => Ok(is_there.then_some(())),
        }
    })
}

/// Sends one datagram. `None`: to the peer.
pub fn send(held: Held, bytes: &[u8], to: Option<SocketAddr>) -> Result<usize, Errno> {
    if let Some(sent) = send_bound(held, bytes, to)? {
        return Ok(sent);
    }
    if to.is_none() {
        return Err(Errno::EDESTADDRREQ);
    }
    bind_if_needed(held, to)?;
    send_bound(held, bytes, to)?.ok_or(Errno::ENOTCONN)
}

/// `None`: it is not bound.
fn send_bound(held: Held, bytes: &[u8], to: Option<SocketAddr>) -> Result<Option<usize>, Errno> {
    let to = to.map(|to| SocketAddr::new(to.ip().to_canonical(), to.port()));
    process::with(|process| {
        if process.control(held.index())?.bound.is_none() {
            return Ok(None);
        }
        let socket = process.speaker(held.index(), to)?;
        process.library.send_datagram(&mut process.reactor, socket, to, bytes).map_err(errno)?;
        Ok(Some(bytes.len()))
    })
}

/// What was sent last may wait for a channel that procmgr is about to open: a socket that is closed waits for it, since
/// its program may end after that.
pub fn flush(held: Held) {
    if held.kind() != Kind::Datagram {
        return;
    }
    let until = Some(Instant::now() + LAST_WORDS);
    // One that waits in vain loses its last words, as on a wire that is cut.
    let _ = wait_for(held, until, |process| {
        let sockets = process.control(held.index())?.library_sockets();
        let is_opening = sockets.iter().any(|socket| process.library.is_opening_peers(*socket));
        if is_opening {
            process.turn_within(Duration::from_millis(1)).map_err(|_| Errno::ENETDOWN)?;
        }
        Ok((!sockets.iter().any(|socket| process.library.is_opening_peers(*socket))).then_some(()))
    });
}

/// What a program leaves when it ends without closing.
pub fn flush_all() {
    for (_, number) in table::numbers() {
        if let Number::Socket(held) = number {
            flush(held);
        }
    }
}

/// Receives one datagram: how much of it lies in `into`, and what comes with it.
pub fn receive(held: Held, into: &mut [u8], flags: i32) -> Result<(usize, DatagramInfo), Errno> {
    let waits = !held.is_nonblocking(flags);
    let until = if waits { held.deadline(Direction::Receive) } else { None };
    let mut look_out = if waits { SPIN } else { Duration::ZERO };
    let mut look = |process: &mut Process| {
        let found = process.receive_datagram(held, into, std::mem::take(&mut look_out), flags & libc::MSG_PEEK != 0);
        found.map(|found| found.map(|info| (info.length.min(into.len()), info)))
    };
    if waits {
        return wait_for(held, until, look);
    }
    process::with(&mut look)?.ok_or(Errno::EAGAIN)
}

/// Looks out for datagrams of another process, for a call that is about to wait for this socket beside others.
pub fn look_out(held: Held) {
    // An error is one that the next look meets, too.
    let _ = process::with(|process| {
        for socket in process.control(held.index())?.library_sockets() {
            let Process { library, reactor, .. } = process;
            let seen = library.look_out_for_datagram(reactor, socket, SPIN).map_err(errno)?;
            if seen.readable || seen.failed {
                held.description().forget_calm();
                break;
            }
        }
        Ok(())
    });
}

impl Process {
    fn receive_datagram(
        &mut self,
        held: Held,
        into: &mut [u8],
        look_out: Duration,
        peek: bool,
    ) -> Result<Option<DatagramInfo>, Errno> {
        let control = self.control(held.index())?;
        let (raw, family) = (control.raw, control.family);
        let Phase::Datagram(sockets, _) = &control.phase else { return Err(Errno::EINVAL) };
        for at in 0..sockets.len() {
            let Ok(control) = self.control(held.index()) else { break };
            let Phase::Datagram(sockets, _) = &control.phase else { break };
            let Some(socket) = sockets.get(at).copied() else { break };
            let found = raw::with_header((raw, family), into, |into| match peek {
                true => self.library.peek_datagram(&mut self.reactor, socket, into),
                false => self.library.receive_datagram(&mut self.reactor, socket, into, look_out),
            });
            if let Some(mut info) = found.map_err(errno)? {
                if family == Family::Ipv6 {
                    let shown = |address: SocketAddr| match address.ip() {
                        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
                        IpAddr::V6(_) => address,
                    };
                    (info.source, info.destination) = (shown(info.source), shown(info.destination));
                }
                return Ok(Some(info));
            }
        }
        Ok(None)
    }
}
