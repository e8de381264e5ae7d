//! Connecting, and taking a connection back.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use ipc::Family;
use nix::errno::Errno;
use sockets::{Destination, errno};

use crate::control::{Phase, wait_for};
use crate::datagram;
use crate::description::{Direction, Held, Kind};
use crate::process::{self, Process};

/// connect(2). `None`: the peer is taken away (AF_UNSPEC).
pub fn connect(held: Held, to: Option<SocketAddr>, scope: u32) -> Result<(), Errno> {
    if held.kind() == Kind::Datagram {
        return datagram::connect(held, to, scope);
    }
    let Some(to) = to else { return disconnect(held) };
    let until = held.deadline(Direction::Send);
    let waits = !held.is_nonblocking(0);
    let stands = process::with(|process| {
        if process.connect(held.index(), to, scope)? == Begun::StandsAlready {
            return Ok(true);
        }
        if waits {
            return Ok(false);
        }
        // In one piece with the connect: how it ends, however soon, readiness and SO_ERROR tell, as on Linux.
        if connect_outcome(process, held.index())?.is_none() {
            process.control(held.index())?.in_progress = true;
            return Err(Errno::EINPROGRESS);
        }
        Ok(true)
    })?;
    if stands {
        return Ok(());
    }
    let connected = wait_for(held, until, |process| connect_outcome(process, held.index()));
    // What takes too long goes on, as if it had not been waited for.
    connected.map_err(|error| if error == Errno::EAGAIN { Errno::EINPROGRESS } else { error })
}

/// What a connect has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// A connection.
    Now,
    /// Nothing: the one that was begun before stands.
    StandsAlready,
}

fn connect_outcome(process: &mut Process, index: u32) -> Result<Option<()>, Errno> {
    let control = process.control(index)?;
    match (&control.phase, control.error) {
        (Phase::Connected(_), _) => Ok(Some(())),
        (_, Some(error)) => {
            control.error = None;
            Err(errno(error))
        }
        (Phase::Opening(_), None) => Ok(None),
        (Phase::Idle | Phase::Listening(..) | Phase::Datagram(..), None) => Err(Errno::EINVAL),
    }
}

fn disconnect(held: Held) -> Result<(), Errno> {
    process::with(|process| {
        let control = process.control(held.index())?;
        let sockets = control.library_sockets();
        control.phase = Phase::Idle;
        process.close_all(&sockets);
        held.description().kick(None);
        Ok(())
    })
}

impl Process {
    fn connect(&mut self, index: u32, to: SocketAddr, scope: u32) -> Result<Begun, Errno> {
        let control = self.control(index)?;
        match &control.phase {
            Phase::Opening(_) => return Err(Errno::EALREADY),
            Phase::Connected(_) if std::mem::take(&mut control.in_progress) => return Ok(Begun::StandsAlready),
            Phase::Connected(_) => return Err(Errno::EISCONN),
            Phase::Listening(..) => return Err(Errno::EISCONN),
            Phase::Idle | Phase::Datagram(..) => {}
        }
        if let Some(error) = control.error.take() {
            return Err(errno(error));
        }
        let (of_v6, v4_only) = (control.family == Family::Ipv6, control.family == Family::Ipv4);
        if (v4_only && to.is_ipv6()) || (of_v6 && to.is_ipv4()) {
            return Err(Errno::EAFNOSUPPORT);
        }
        let mut destination = Destination::new(to);
        destination.options = control.options.clone();
        destination.local.interface = control.interface.clone();
        if let Some(bound) = control.bound {
            let own = bound.ip().to_canonical();
            destination.local.address = Some(own).filter(|own| !own.is_unspecified());
            destination.port = NonZeroU16::new(bound.port());
        }
        if scope != 0 {
            destination.local.interface = Some(crate::names::interface_of(self, scope).ok_or(Errno::ENODEV)?);
        }
        // As on Linux: this router itself.
        if destination.to.ip().is_unspecified() {
            let own = destination.local.address.ok_or(Errno::ECONNREFUSED)?;
            destination.to.set_ip(own);
        }
        let socket = self.library.open_socket(&mut self.reactor, destination).map_err(errno)?;
        self.by_socket.insert(socket, index);
        self.control(index)?.phase = Phase::Opening(socket);
        self.take_news();
        Ok(Begun::Now)
    }
}
