//! What socket libraries ask for beside connections: listeners and ports.

use std::net::IpAddr;

use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Criteria, Family, InterfaceName, Pathname, Pid, VrId};
use stack_api::options::Options;
use stack_api::socket::{PortReservation, SocketError, SocketReply, SocketRequest};

use super::listener::Listener;
use super::tcp::Server;
use crate::control::plane::Plane;
use crate::ifib::{IfibChange, IfibEntry, IfibKey, PuntTarget, SocketId};
use crate::policer::PolicerClass;
use crate::time::Time;
use crate::transport::ports::{BLOCK_PORTS, PortError, Sharing};
use crate::wire::ipv4::protocol;

impl Server {
    /// Carries out a request of a process's library; the answer, if it wants one.
    pub fn request(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        who: &Identity,
        request: SocketRequest,
    ) -> Option<SocketReply> {
        let vr = who.vr_name.as_ref().and_then(|name| plane.topology.vr(name));
        match request {
            SocketRequest::Listen { ticket, listener, local, interface, backlog, options, family } => {
                let place = (local, interface);
                let done = match vr {
                    None => Err(SocketError::NetworkDown),
                    Some(vr) => self.listen(plane, vr, who, (listener, family), place, (backlog, options)),
                };
                Some(match done {
                    Ok(()) => SocketReply::Done { ticket },
                    Err(error) => SocketReply::Failed { ticket, error },
                })
            }
            SocketRequest::Unlisten { listener, local } => {
                self.unlisten(plane, who.pid, |entry| entry.pathname == listener && entry.local == local);
                None
            }
            SocketRequest::SetOptions { socket, options } => {
                self.set_options(now, plane, reactor, who, (&socket, options));
                None
            }
            SocketRequest::ReservePort { ticket, port } => {
                let done =
                    vr.ok_or(SocketError::NetworkDown).and_then(|vr| self.reserve_port(plane, vr, who.pid, &port));
                Some(match done {
                    Ok(first) => SocketReply::Ports { ticket, first, count: 1 },
                    Err(error) => SocketReply::Failed { ticket, error },
                })
            }
            SocketRequest::ReleasePort { number } => {
                self.ports(vr?).release_reserved(who.pid, number);
                None
            }
            SocketRequest::LeasePorts { ticket } => {
                let leased = vr
                    .ok_or(SocketError::NetworkDown)
                    .and_then(|vr| self.ports(vr).lease(who.pid).map_err(|_| SocketError::AddressNotAvailable));
                Some(match leased {
                    Ok(first) => SocketReply::Ports { ticket, first, count: BLOCK_PORTS },
                    Err(error) => SocketReply::Failed { ticket, error },
                })
            }
            SocketRequest::SourceTowards { ticket, to, on } => {
                let source = vr.ok_or(SocketError::NetworkDown);
                Some(match source.and_then(|vr| plane.source_on(vr, on.as_ref(), to)) {
                    Ok(address) => SocketReply::Source { ticket, address },
                    Err(error) => SocketReply::Failed { ticket, error },
                })
            }
            SocketRequest::HoldPorts { first } => {
                let vr = vr?;
                for block in first {
                    if let Err(error) = self.ports(vr).hold(who.pid, block) {
                        log::warn!("{who} holds ports: {error}");
                    }
                }
                None
            }
        }
    }

    fn listen(
        &mut self,
        plane: &mut Plane,
        vr: VrId,
        who: &Identity,
        (pathname, sharing): (Pathname, u64),
        (local, interface): (Option<IpAddr>, Option<InterfaceName>),
        (backlog, options): (u16, Options),
    ) -> Result<(), SocketError> {
        options.check()?;
        let Pathname::Endpoint { vr: named, pid, criteria } = pathname else {
            return Err(SocketError::InvalidArgument);
        };
        if named != who.vr || pid != who.pid {
            log::warn!("{who} asks to listen as {pathname}");
            return Err(SocketError::PermissionDenied);
        }
        let Criteria::Tcp(family, port) = criteria else { return Err(SocketError::NotSupported) };
        if local.is_some_and(|local| Family::of(local) != family) {
            return Err(SocketError::InvalidArgument);
        }
        is_own(plane, vr, local, interface.as_ref())?;
        let port = port.get();
        self.ports(vr).bind_sharing(pid, family, local, port, Sharing::Family(sharing)).map_err(of_port)?;
        let id = self.new_id();
        let backlog = usize::from(backlog.max(1));
        let listener =
            Listener { vr, owner: pid, pathname, family, local, interface, port, backlog, options, pending: 0 };
        let key = key(&listener);
        self.listeners.insert(id, listener);
        self.lead_to_oldest(plane, key);
        Ok(())
    }

    /// What comes for a place where several processes of a family listen goes to the oldest: it stays the one while others
    /// are forked and end, which is heard of a moment later.
    fn lead_to_oldest(&self, plane: &mut Plane, key: IfibKey) {
        let there = self.listeners.iter().filter(|(_, listener)| self::key(listener) == key);
        let oldest = there.map(|(id, _)| *id).min();
        let change = oldest.map_or(IfibChange::Remove(key), |id| IfibChange::Set(key, ifib_entry(id)));
        plane.ifib.apply(&[change]);
    }

    fn reserve_port(
        &mut self,
        plane: &Plane,
        vr: VrId,
        owner: Pid,
        wanted: &PortReservation,
    ) -> Result<u16, SocketError> {
        let PortReservation { number, family, local, ref interface, port, reuse } = *wanted;
        if local.is_some_and(|local| Family::of(local) != family) {
            return Err(SocketError::InvalidArgument);
        }
        is_own(plane, vr, local, interface.as_ref())?;
        let (ports, sharing) = (self.ports(vr), Sharing::Reserved { number, reuse });
        let reserved = match port {
            0 => ports.bind_any(owner, family, (local, None), sharing),
            port => ports.bind_sharing(owner, family, local, port, sharing).map(|()| port),
        };
        reserved.map_err(of_port)
    }

    /// A process's library is gone: so are its listeners and its lease. Its connections follow their own channels.
    pub fn library_gone(&mut self, plane: &mut Plane, who: &Identity) {
        self.unlisten(plane, who.pid, |_| true);
        if let Some(vr) = who.vr_name.as_ref().and_then(|name| plane.topology.vr(name)) {
            self.ports(vr).release_process(who.pid);
        }
    }

    fn unlisten(&mut self, plane: &mut Plane, owner: Pid, which: impl Fn(&Listener) -> bool) {
        let found = self.listeners.iter().filter(|(_, entry)| entry.owner == owner && which(entry));
        let ids: Vec<SocketId> = found.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(entry) = self.listeners.remove(&id) {
                self.lead_to_oldest(plane, key(&entry));
                self.ports(entry.vr).unbind(owner, entry.family, entry.local, entry.port);
            }
        }
    }
}

/// Whether a VR has an address, on an interface or at all.
fn is_own(
    plane: &Plane,
    vr: VrId,
    local: Option<IpAddr>,
    interface: Option<&InterfaceName>,
) -> Result<(), SocketError> {
    let index = match interface {
        Some(name) => Some(plane.topology.interface(vr, name).ok_or(SocketError::AddressNotAvailable)?.index),
        None => None,
    };
    match local {
        Some(local) if !plane.topology.is_local_on(vr, local, index) => Err(SocketError::AddressNotAvailable),
        Some(_) | None => Ok(()),
    }
}

fn of_port(error: PortError) -> SocketError {
    match error {
        PortError::InUse { .. } => SocketError::AddressInUse,
        PortError::Zero | PortError::NotABlock { .. } => SocketError::InvalidArgument,
        PortError::NoneFree | PortError::NoBlockFree => SocketError::AddressNotAvailable,
    }
}

fn ifib_entry(listener: SocketId) -> IfibEntry {
    IfibEntry { target: PuntTarget::Socket(listener), class: PolicerClass::Listener }
}

fn key(listener: &Listener) -> IfibKey {
    let Listener { vr, family, local: address, port, .. } = *listener;
    IfibKey::Listener { vr, protocol: protocol::TCP, family, address, port }
}
