//! What the options of a TCP socket mean for its connection.

use std::net::{IpAddr, SocketAddr};

use ipc::protocol::Identity;
use ipc::reactor::Reactor;
use ipc::{Pid, VrId};
use stack_api::options::Options;
use stack_api::socket::{Addresses, OptionsOf};

use super::segment::GSO_BYTES;
use super::tcp::{Server, TcpSocket};
use crate::control::plane::Plane;
use crate::counters::DropReason;
use crate::ids::IfIndex;
use crate::ifib::{SocketId, scope_of, unscoped};
use crate::time::Time;
use crate::transport::tcp::Config;
use crate::wire::tcp::TcpView;

/// What a connection towards `to`, by one interface or any, is told at its birth.
pub(super) fn config(
    now: Time,
    plane: &Plane,
    (vr, to, interface): (VrId, SocketAddr, Option<IfIndex>),
    options: &Options,
) -> Config {
    // Without IP and TCP headers; the least that every host takes is 536 (RFC 9293 section 3.7.1), over IPv6 1220.
    let (headers, least, known) = match to.ip() {
        IpAddr::V4(_) => (40, 536, None),
        IpAddr::V6(to) => (60, 1220, plane.path_mtus.get(now, vr, to)),
    };
    let of_link = match interface {
        Some(interface) => plane.topology.by_index(interface).map(|record| record.interface.mtu_bytes),
        None => plane.mtu_towards(vr, to.ip()),
    };
    let mtu = of_link.into_iter().chain(known).min().unwrap_or(0);
    let max_segment = u16::try_from(mtu.saturating_sub(headers).max(least)).unwrap_or(u16::MAX - 60);
    let usual = Config::default();
    Config {
        max_segment,
        receive_bytes: options.receive_buffer(),
        nodelay: options.nodelay,
        keepalive: options.keepalive,
        // As on Linux, the user timeout holds for the SYN too.
        connect_timeout: usual.connect_timeout.min(options.user_timeout.unwrap_or(usual.connect_timeout)),
        user_timeout: options.user_timeout,
        // Whoever cuts a large segment cannot sign the pieces.
        gso_bytes: options.key(to.ip()).is_none().then_some(GSO_BYTES),
        signed: options.key(to.ip()).is_some(),
        ..usual
    }
}

/// Whether a socket with these options takes a segment of a peer: its TTL (RFC 5082) and its signature (RFC 2385).
pub(super) fn admit(
    options: &Options,
    (local, remote): (IpAddr, IpAddr),
    ttl: u8,
    view: &TcpView<'_>,
) -> Result<(), DropReason> {
    if ttl < options.minimum_ttl_from(remote) {
        return Err(DropReason::TtlTooLow);
    }
    match (options.key(remote), view.repr().options.signature) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(DropReason::SignatureUnexpected),
        (Some(_), None) => Err(DropReason::SignatureMissing),
        (Some(key), Some(found)) => {
            let expected = view.expected_signature(remote, local, key.bytes());
            // All bytes are looked at, so that the time tells nothing of the first that differs.
            let differs = expected.iter().zip(found).fold(0, |differs, (a, b)| differs | (a ^ b));
            if differs == 0 { Ok(()) } else { Err(DropReason::SignatureWrong) }
        }
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
        if let Some(id) = self.by_tuple.get(&(vr, addresses.source, addresses.destination)) {
            return self.sockets.get(id).filter(|socket| socket.owner == owner).map(|_| *id);
        }
        // A process does not know the number of its link-local connection's interface.
        let is_it = |socket: &&TcpSocket| {
            let (local, remote) = (socket.connection.local(), socket.connection.remote());
            let ends = (unscoped(local), unscoped(remote)) == (addresses.source, addresses.destination);
            scope_of(remote).is_some() && ends && socket.vr == vr && socket.owner == owner
        };
        self.sockets.iter().find(|(_, socket)| is_it(socket)).map(|(id, _)| *id)
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
        socket.connection.set_options(now, options.nodelay, options.user_timeout, options.keepalive);
        socket.pipe.get_mut().set_receive_bytes(options.receive_buffer());
        // Whether segments are signed was settled when it was opened; with which key, may change.
        let peer = socket.connection.remote().ip();
        let peers = match socket.options.key(peer).is_some() == options.key(peer).is_some() {
            true => options.peers,
            false => std::mem::take(&mut socket.options.peers),
        };
        socket.options = Options { peers, ..options };
        // What Nagle's algorithm held back may go now.
        self.pump(now, plane, reactor, id);
    }
}
