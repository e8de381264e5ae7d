//! Connections that processes of ours open: own address and port, and the first SYN.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipc::channel::Channel;
use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Family, VrId};
use stack_api::socket::{Connect, ConnectResult, SocketError};
use vr_api::interface::is_link_scoped;

use super::options::config;
use super::pipe::Pipe;
use super::tcp::{Origin, OwnPort, Server, TcpSocket, isn_space, tell};
use crate::control::plane::Plane;
use crate::ids::IfIndex;
use crate::ifib::scoped;
use crate::time::Time;
use crate::transport::tcp::Connection;

/// The two ends of a connection to be; link-local addresses carry their interface.
struct Ends {
    vr: VrId,
    local: SocketAddr,
    remote: SocketAddr,
    interface: Option<IfIndex>,
    port: OwnPort,
}

impl Server {
    /// A process wants a connection; `channel` is its socket.
    pub fn connect(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        peer: &Identity,
        mut channel: Channel,
        wanted: &Connect,
    ) {
        let opened = self.local_end(plane, peer, wanted);
        let Ends { vr, local, remote, interface, port } = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tell(&mut channel, &ConnectResult::Failed(error));
                return;
            }
        };
        let iss = self.isn.next(now, isn_space(vr), local, remote);
        let config = config(now, plane, (vr, remote, interface), &wanted.options);
        let connection = Connection::connect(now, config, local, remote, iss);
        let token = reactor.register(&mut channel).ok();
        let socket = TcpSocket {
            vr,
            owner: peer.pid,
            interface,
            pipe: RefCell::new(Pipe::over(channel, wanted.options.receive_buffer())),
            options: wanted.options.clone(),
            connection,
            token,
            origin: Origin::Active { told: false, port },
            deadline: None,
            orphaned: false,
        };
        let id = self.insert(plane, socket);
        self.pump(now, plane, reactor, id);
    }

    /// The ends of a connection that a process wants, with an own address and port.
    fn local_end(&mut self, plane: &Plane, peer: &Identity, wanted: &Connect) -> Result<Ends, SocketError> {
        let vr = peer.vr_name.as_ref().and_then(|name| plane.topology.vr(name)).ok_or(SocketError::NetworkDown)?;
        let to = wanted.to.ip();
        wanted.options.check()?;
        if wanted.to.port() == 0 || to.is_unspecified() || to.is_multicast() || to == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(SocketError::InvalidArgument);
        }
        let interface = match (&wanted.interface, is_link_scoped(to)) {
            // Nobody can tell which link.
            (None, true) => return Err(SocketError::InvalidArgument),
            (None, false) => None,
            (Some(name), is_on_link) => {
                let index = plane.topology.interface(vr, name).ok_or(SocketError::AddressNotAvailable)?.index;
                if !is_on_link && plane.way_over(vr, to, index).is_none() {
                    return Err(SocketError::NetworkUnreachable);
                }
                Some(index)
            }
        };
        let from = match (wanted.from, interface) {
            (Some(from), _) if Family::of(from) != Family::of(to) => return Err(SocketError::InvalidArgument),
            (Some(from), _) if plane.topology.is_local_on(vr, from, interface) => from,
            (Some(_), _) => return Err(SocketError::AddressNotAvailable),
            (None, Some(interface)) => plane.topology.source(interface, to).ok_or(SocketError::AddressNotAvailable)?,
            (None, None) => plane.source_towards(vr, to)?,
        };
        if !plane.topology.may_speak(vr, from, to) {
            return Err(SocketError::InvalidArgument);
        }
        let in_use = |_| SocketError::AddressInUse;
        let ports = self.ports(vr);
        let (port, own) = match wanted.from_port {
            Some(port) => {
                ports.bind(peer.pid, Family::of(from), Some(from), port).map_err(in_use)?;
                (port, OwnPort::Bound(peer.pid))
            }
            None => (ports.allocate(peer.pid).map_err(|_| SocketError::AddressNotAvailable)?, OwnPort::Ephemeral),
        };
        let (local, remote) = (scoped(from, port, interface), scoped(to, wanted.to.port(), interface));
        if self.by_tuple.contains_key(&(vr, local, remote)) {
            self.release(vr, local, own);
            return Err(SocketError::AddressNotAvailable);
        }
        Ok(Ends { vr, local, remote, interface, port: own })
    }

    pub(super) fn release(&mut self, vr: VrId, local: SocketAddr, port: OwnPort) {
        match port {
            OwnPort::Ephemeral => self.ports(vr).release(local.port()),
            OwnPort::Bound(owner) => {
                self.ports(vr).unbind(owner, Family::of(local.ip()), Some(local.ip()), local.port());
            }
        }
    }
}
