//! What the options of a TCP socket mean for its connection.

use std::net::IpAddr;

use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Pid, VrId};
use stack_api::options::Options;
use stack_api::socket::{Addresses, OptionsOf};

use super::segment::GSO_BYTES;
use super::tcp::Server;
use crate::control::plane::Plane;
use crate::ifib::SocketId;
use crate::time::Time;
use crate::transport::tcp::Config;

/// What a connection towards `to` is told at its birth.
pub(super) fn config(plane: &Plane, vr: VrId, to: IpAddr, options: &Options) -> Config {
    let mtu = plane.mtu_towards(vr, to).unwrap_or(576);
    // Without IP and TCP headers; the least that every host takes is 536 (RFC 9293 section 3.7.1).
    let max_segment = u16::try_from(mtu.saturating_sub(40).max(536)).unwrap_or(u16::MAX - 40);
    let usual = Config::default();
    let user_timeout = options.user_timeout.unwrap_or(usual.user_timeout);
    Config {
        max_segment,
        receive_bytes: options.receive_buffer(),
        nodelay: options.nodelay,
        keepalive: options.keepalive,
        // As on Linux, the user timeout holds for the SYN too.
        connect_timeout: usual.connect_timeout.min(options.user_timeout.unwrap_or(usual.connect_timeout)),
        user_timeout,
        gso_bytes: Some(GSO_BYTES),
        ..usual
    }
}

impl Server {
    /// A process changes the options of one of its sockets.
    pub fn set_options(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        who: &Identity,
        (socket, options): (&OptionsOf, Options),
    ) {
        if let Err(error) = options.check() {
            log::warn!("{who} sets options of {socket:?}: {error}");
            return;
        }
        match socket {
            OptionsOf::Listener { listener, local } => {
                let own = self.listeners.values_mut().filter(|entry| entry.owner == who.pid);
                own.filter(|entry| entry.pathname == *listener && entry.local == *local)
                    .for_each(|entry| entry.options = options.clone());
            }
            OptionsOf::Connection(addresses) => {
                let vr = who.vr_name.as_ref().and_then(|name| plane.topology.vr(name));
                if let Some(id) = vr.and_then(|vr| self.own_connection(vr, who.pid, *addresses)) {
                    self.set_connection_options(now, plane, reactor, id, options);
                }
            }
        }
    }

    fn own_connection(&self, vr: VrId, owner: Pid, addresses: Addresses) -> Option<SocketId> {
        let id = *self.by_tuple.get(&(vr, addresses.source, addresses.destination))?;
        self.sockets.get(&id).filter(|socket| socket.owner == owner).map(|_| id)
    }

    fn set_connection_options(
        &mut self,
        now: Time,
        plane: &mut Plane,
        reactor: &mut Reactor,
        id: SocketId,
        options: Options,
    ) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let user_timeout = options.user_timeout.unwrap_or(Config::default().user_timeout);
        socket.connection.set_options(now, options.nodelay, user_timeout, options.keepalive);
        socket.pipe.get_mut().set_receive_bytes(options.receive_buffer());
        socket.options = options;
        // What Nagle's algorithm held back may go now.
        self.pump(now, plane, reactor, id);
    }
}
