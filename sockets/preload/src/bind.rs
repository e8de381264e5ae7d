//! bind(2): what a socket is bound to, and for TCP the port that it keeps from then on.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipc::Family;
use nix::errno::Errno;
use sockets::errno;

use crate::control::{any, wait_for};
use crate::description::{Held, Kind};
use crate::process::{self, Process};
use crate::{datagram, names};

/// How long a port is waited for, where the stack is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// bind(2).
pub fn bind(held: Held, address: SocketAddr, scope: u32) -> Result<(), Errno> {
    process::with(|process| {
        let control = process.control(held.index())?;
        if control.bound.is_some() {
            return Err(Errno::EINVAL);
        }
        let of_family = match (control.family, address.ip()) {
            (Family::Ipv4, IpAddr::V4(_)) => true,
            (Family::Ipv6, IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_none() || !control.v6_only,
            (Family::Ipv4, IpAddr::V6(_)) | (Family::Ipv6, IpAddr::V4(_)) => false,
        };
        if !of_family {
            return Err(Errno::EINVAL);
        }
        if scope != 0 {
            let interface = names::interface_of(process, scope).ok_or(Errno::ENODEV)?;
            process.control(held.index())?.interface = Some(interface);
        }
        if held.kind() == Kind::Datagram {
            return Ok(());
        }
        if address.port() != 0 && process.has_bound(held.index(), address)? {
            return Err(Errno::EADDRINUSE);
        }
        process.control(held.index())?.bound = Some(address);
        Ok(())
    })?;
    match held.kind() {
        Kind::Datagram => datagram::bind(held, address),
        Kind::Stream => reserve_port(held, address),
        Kind::Netlink => Ok(()),
    }
}

/// Asks the VR's port space for the port of a TCP socket, in each family that it hears.
fn reserve_port(held: Held, address: SocketAddr) -> Result<(), Errno> {
    let families = process::with(|process| Ok(process.control(held.index())?.families()))?;
    let mut port = address.port();
    for family in families {
        let own = address.ip().to_canonical();
        let own = if Family::of(own) == family { own } else { any(family) };
        process::with(|process| process.reserve_port(held.index(), SocketAddr::new(own, port)))?;
        if let Some(kept) = kept(held)? {
            port = kept;
        }
    }
    process::with(|process| {
        // While the stack is away nobody says which.
        let port = if port == 0 { process.port()? } else { port };
        process.control(held.index())?.bound = Some(SocketAddr::new(address.ip(), port));
        Ok(())
    })
}

/// Waits until the VR's port space has said whether the port is free: which it is. `None`: the stack is away.
fn kept(held: Held) -> Result<Option<u16>, Errno> {
    let until = Some(Instant::now() + PATIENCE);
    loop {
        let answered = wait_for(held, until, |process| {
            let Some(reservation) = process.control(held.index())?.reservations.last().copied() else {
                return Ok(Some(None));
            };
            match process.library.port_answer(reservation) {
                Some(Err(error)) => {
                    process.release_port(held.index());
                    process.control(held.index())?.bound = None;
                    Err(errno(error))
                }
                Some(Ok(port)) => Ok(Some(Some(port))),
                None => Ok(None),
            }
        });
        match answered {
            // No bind says so on Linux.
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(None),
            answered => return answered,
        }
    }
}

impl Process {
    /// A port of the system's choice. A process that has just attached waits for its first ones.
    pub fn port(&mut self) -> Result<u16, Errno> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(port) = self.library.ephemeral_port() {
                return Ok(port);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.turn_within(left).is_err() {
                return Err(Errno::EADDRINUSE);
            }
        }
    }

    /// A TCP socket is bound, as far as this process knows; the port space is asked.
    fn reserve_port(&mut self, index: u32, own: SocketAddr) -> Result<(), Errno> {
        let control = self.control(index)?;
        // It may be bound to an address that the VR does not have yet.
        if control.remembered.contains(&((libc::IPPROTO_IP, libc::IP_FREEBIND), 1)) {
            return Ok(());
        }
        let reuse = control.options.reuse_address || control.shares_port();
        let interface = control.interface.clone();
        let reservation = self.library.reserve_port(own, interface, reuse);
        self.by_socket.insert(reservation, index);
        self.control(index)?.reservations.push(reservation);
        Ok(())
    }

    /// It is bound no longer.
    pub fn release_port(&mut self, index: u32) {
        let reservations = self.controls.get_mut(&index).map(|control| std::mem::take(&mut control.reservations));
        self.close_all(&reservations.unwrap_or_default());
    }

    /// Whether another socket of this process keeps one from being bound.
    fn has_bound(&mut self, index: u32, address: SocketAddr) -> Result<bool, Errno> {
        let own = self.controls.get(&index).ok_or(Errno::EBADF)?;
        Ok(self.controls.iter().any(|(other, control)| *other != index && control.keeps_from(address, own)))
    }
}
