//! What processes ask of their datagram sockets.

use std::net::{IpAddr, SocketAddr};

use ipc::reactor::Reactor;
use ipc::{Family, InterfaceName, Pid};
use mio::Token;
use stack_api::datagram::{DatagramPath, DatagramReply, DatagramRequest};
use stack_api::datagram_header::{DatagramHeader, HeaderFault};
use stack_api::socket::SocketError;

use super::{Datagrams, GROUPS};
use crate::control::plane::Plane;
use crate::ifib::SocketId;
use crate::time::Time;

/// Requests of one socket that are carried out in one turn: others have a turn too.
const REQUESTS_PER_TURN: usize = 256;

impl Datagrams {
    /// A socket's bell rang; `false`: the token is not one of a datagram socket.
    pub fn ready(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, token: Token) -> bool {
        let Some(id) = self.by_token.get(&token).copied() else { return false };
        let rung = self.sockets.get_mut(&id).map(|socket| socket.channel.acknowledge_bell());
        match rung {
            Some(Err(error)) => {
                log::warn!("a datagram socket: {error}");
                self.remove(plane, reactor, id);
            }
            Some(Ok(_)) | None => self.serve(now, plane, reactor, id),
        }
        true
    }

    /// Sockets that had more to do than one turn allows go on.
    pub fn handle_timeout(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor) {
        for id in std::mem::take(&mut self.unfinished) {
            self.serve(now, plane, reactor, id);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        (!self.unfinished.is_empty()).then_some(Time::from_nanos(0))
    }

    /// Carries out what a process has asked.
    pub(super) fn serve(&mut self, now: Time, plane: &mut Plane, reactor: &mut Reactor, id: SocketId) {
        let mut record = Vec::new();
        for _ in 0..REQUESTS_PER_TURN {
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            let read = match socket.channel.read_record(&mut record) {
                Ok(false) if socket.channel.is_finished() || socket.channel.peer_closed() => Err(None),
                Ok(read) => Ok(read),
                Err(error) => Err(Some(error)),
            };
            match read {
                Ok(true) => {
                    if let Err(error) = self.record(now, plane, id, &record) {
                        let owner = self.sockets.get(&id).map_or(Pid(0), |socket| socket.owner);
                        log::warn!("a datagram socket of process {owner}: a request that is none: {error}");
                        return self.remove(plane, reactor, id);
                    }
                }
                Ok(false) => match socket.channel.arm_read() {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(_) => return self.remove(plane, reactor, id),
                },
                Err(error) => {
                    log::debug!("a datagram socket of process {} ends: {error:?}", socket.owner);
                    return self.remove(plane, reactor, id);
                }
            }
        }
        self.unfinished.insert(id);
    }

    /// A datagram to be sent, or a request.
    fn record(&mut self, now: Time, plane: &mut Plane, id: SocketId, record: &[u8]) -> Result<(), RequestFault> {
        if !DatagramHeader::is_claimed(record) {
            let request = postcard::from_bytes(record)?;
            self.request(plane, id, request);
            return Ok(());
        }
        let (header, length) = DatagramHeader::decode(record, record.len())?;
        let sent = self.send(now, plane, id, &header, record.get(length..).unwrap_or_default());
        if let (Err(error), Some(socket)) = (sent, self.sockets.get_mut(&id)) {
            socket.tell(&DatagramReply::Error(error));
        }
        Ok(())
    }

    fn request(&mut self, plane: &mut Plane, id: SocketId, request: DatagramRequest) {
        let done = match request {
            DatagramRequest::Loop(message) => {
                let (header, payload) = message.into_parts();
                self.build(plane, id, &header, &payload).map(|built| {
                    self.receive_bytes(built.vr, built.interface.as_ref().map(|(_, name)| name), &built.packet, true);
                })
            }
            DatagramRequest::Connect(peer) => {
                let connected = self.connect(plane, id, peer);
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.tell(&DatagramReply::Connected(connected));
                }
                Ok(())
            }
            DatagramRequest::Join { group, interface } => self.join(id, group, interface),
            DatagramRequest::Leave { group, interface } => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    self.groups_changed |= socket.groups.remove(&(interface, group));
                }
                Ok(())
            }
            DatagramRequest::SetOptions(options) => options.check().map(|()| {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.options = options;
                }
            }),
        };
        if let (Err(error), Some(socket)) = (done, self.sockets.get_mut(&id)) {
            socket.tell(&DatagramReply::Error(error));
        }
    }

    fn join(&mut self, id: SocketId, group: IpAddr, interface: InterfaceName) -> Result<(), SocketError> {
        let Some(socket) = self.sockets.get_mut(&id) else { return Ok(()) };
        if !group.is_multicast() || Family::of(group) != socket.family {
            return Err(SocketError::InvalidArgument);
        }
        if socket.groups.len() >= GROUPS {
            return Err(SocketError::NoBuffers);
        }
        // The interface may come later, or come back under its name.
        self.groups_changed |= socket.groups.insert((interface, group));
        Ok(())
    }

    /// Sets the peer of a socket, and the address that it speaks from. On an error there is no peer.
    fn connect(&mut self, plane: &Plane, id: SocketId, peer: Option<SocketAddr>) -> Result<DatagramPath, SocketError> {
        let socket = self.sockets.get_mut(&id).ok_or(SocketError::InvalidArgument)?;
        socket.connected = None;
        let Some(to) = peer else {
            return Ok(DatagramPath { local: socket.local, peer: None });
        };
        let address = to.ip();
        if address.is_unspecified() || Family::of(address) != socket.family {
            return Err(SocketError::InvalidArgument);
        }
        let own = socket.local.filter(|local| !local.is_multicast());
        let of_groups = socket.options.multicast_interface.as_ref().filter(|_| address.is_multicast());
        let on = socket.interface.as_ref().or(of_groups);
        let local = match own {
            Some(local) => local,
            None => plane.source_on(socket.vr, on, address)?,
        };
        socket.connected = Some((local, to));
        Ok(DatagramPath { local: Some(local), peer })
    }
}

/// Why what a process wrote is neither a request nor a datagram.
#[derive(Debug, thiserror::Error)]
enum RequestFault {
    #[error(transparent)]
    Request(#[from] postcard::Error),
    #[error(transparent)]
    Datagram(#[from] HeaderFault),
}
