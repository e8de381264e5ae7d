//! From a message to packets, and out.

use std::net::IpAddr;

use ipc::{Family, InterfaceName, VrId};
use stack_api::datagram::DatagramProtocol;
use stack_api::datagram_header::DatagramHeader;
use stack_api::socket::{Addresses, SocketError};
use vr_api::interface::is_link_scoped;

use super::Datagrams;
use crate::control::plane::Plane;
use crate::fib::Adjacency;
use crate::ids::IfIndex;
use crate::ifib::SocketId;
use crate::interfaces::Link;
use crate::internet::fragment::{fragment, fragment_ipv6};
use crate::time::Time;
use crate::transport::raw::{self, Header};
use crate::transport::udp;
use crate::wire::ethernet::MacAddress;

/// A message as a packet.
pub(super) struct Built {
    pub vr: VrId,
    pub to: IpAddr,
    pub interface: Option<(IfIndex, InterfaceName)>,
    pub packet: Vec<u8>,
    /// Whether this VR's own members of the group get it too.
    pub loops: bool,
}

impl Datagrams {
    pub(super) fn send(
        &mut self,
        now: Time,
        plane: &mut Plane,
        id: SocketId,
        message: &DatagramHeader,
        payload: &[u8],
    ) -> Result<(), SocketError> {
        let Built { vr, to, interface, packet, loops } = self.build(plane, id, message, payload)?;
        if to.is_multicast() {
            let (index, name) = interface.ok_or(SocketError::NetworkUnreachable)?;
            let sent = self.send_to_group(now, plane, index, to, &packet);
            if loops {
                self.receive_bytes(vr, Some(&name), &packet, true);
            }
            return sent;
        }
        let index = interface.map(|(index, _)| index);
        if !leads_over(plane, vr, to, index)? {
            return Err(SocketError::NetworkUnreachable);
        }
        if plane.send(now, vr, index, &packet) { Ok(()) } else { Err(SocketError::NoBuffers) }
    }

    /// The packet that a message becomes, and by which interface it is to leave, if it says so.
    pub(super) fn build(
        &mut self,
        plane: &Plane,
        id: SocketId,
        message: &DatagramHeader,
        payload: &[u8],
    ) -> Result<Built, SocketError> {
        self.next_identification = self.next_identification.wrapping_add(1);
        let socket = self.sockets.get(&id).ok_or(SocketError::InvalidArgument)?;
        let Addresses { source, destination } = message.addresses;
        let (to, chosen) = (destination.ip(), source.ip());
        if Family::of(to) != socket.family || (!chosen.is_unspecified() && Family::of(chosen) != socket.family) {
            return Err(SocketError::InvalidArgument);
        }
        let own = socket.connected.map(|(local, _)| local).or(socket.local).filter(|own| !own.is_multicast());
        let chosen = Some(chosen).filter(|chosen| !chosen.is_unspecified()).or(own);
        if message.ttl == 0 || to.is_unspecified() {
            return Err(SocketError::InvalidArgument);
        }
        let name = message.interface.as_ref().or(socket.interface.as_ref());
        let interface = match name {
            Some(name) => {
                let record = plane.topology.interface(socket.vr, name).ok_or(SocketError::AddressNotAvailable)?;
                Some((record.index, name.clone()))
            }
            None => None,
        };
        let index = interface.as_ref().map(|(index, _)| *index);
        let from = match (chosen, index) {
            (Some(chosen), _) if plane.topology.is_local_on(socket.vr, chosen, index) => chosen,
            // It was there when the socket was bound, or given its peer: its interface is shut.
            (Some(_), _) if chosen == own => return Err(SocketError::NetworkUnreachable),
            (Some(_), _) => return Err(SocketError::AddressNotAvailable),
            (None, Some(index)) => plane.topology.source(index, to).ok_or(SocketError::AddressNotAvailable)?,
            // Nobody can tell which link; a group says the same with another word.
            (None, None) if is_link_scoped(to) && !to.is_multicast() => return Err(SocketError::InvalidArgument),
            (None, None) if to.is_multicast() => return Err(SocketError::NetworkUnreachable),
            (None, None) => plane.source_towards(socket.vr, to)?,
        };
        if !plane.topology.may_speak(socket.vr, from, to) {
            return Err(SocketError::InvalidArgument);
        }
        let (ttl, traffic_class, identification) = (message.ttl, message.tos, self.next_identification);
        let header = Header { source: from, destination: to, ttl, traffic_class, identification };
        let packet = match socket.protocol {
            DatagramProtocol::Udp { .. } if destination.port() == 0 => return Err(SocketError::InvalidArgument),
            DatagramProtocol::Udp { port } => udp::packet(&header, (port, destination.port()), payload),
            DatagramProtocol::Raw(number) => raw::packet(&header, number.number(), payload),
        };
        // Addresses and TTL are checked: what is left is a packet that would be too large.
        let packet = packet.map_err(|_| SocketError::MessageSize)?;
        Ok(Built { vr: socket.vr, to, interface, packet, loops: socket.options.multicast_loop })
    }

    /// Out of one interface, without a look-up: link-local groups are not routed.
    fn send_to_group(
        &mut self,
        now: Time,
        plane: &mut Plane,
        interface: IfIndex,
        group: IpAddr,
        packet: &[u8],
    ) -> Result<(), SocketError> {
        let record = plane.topology.by_index(interface).ok_or(SocketError::AddressNotAvailable)?;
        if !record.state.up {
            return Err(SocketError::NetworkDown);
        }
        let (link, mtu_bytes) = (record.interface.link, record.interface.mtu_bytes as usize);
        match link {
            Link::Loopback => Err(SocketError::NetworkUnreachable),
            Link::InterVr { peer } => {
                let far = plane.topology.by_index(peer).filter(|far| far.state.up);
                let (vr, name) = far.map(|far| (far.vr, far.state.name.clone())).ok_or(SocketError::NetworkDown)?;
                self.receive_bytes(vr, Some(&name), packet, true);
                Ok(())
            }
            Link::Port(_) => {
                let pieces = match group {
                    IpAddr::V6(_) if packet.len() <= mtu_bytes => Ok(vec![packet.to_vec()]),
                    IpAddr::V6(_) => fragment_ipv6(packet, mtu_bytes, plane.fragment_ids.next(packet)),
                    IpAddr::V4(_) => fragment(packet, mtu_bytes),
                };
                for piece in pieces.map_err(|_| SocketError::InvalidArgument)? {
                    if !plane.send_on_link(now, interface, MacAddress::of_group(group), &piece) {
                        return Err(SocketError::NoBuffers);
                    }
                }
                Ok(())
            }
        }
    }
}

/// Whether there is a route, and whether it leads over the interface, if one is wanted.
fn leads_over(plane: &Plane, vr: VrId, to: IpAddr, wanted: Option<IfIndex>) -> Result<bool, SocketError> {
    if is_link_scoped(to) {
        // It is on the link that is named, or nowhere.
        return Ok(wanted.is_some());
    }
    let (_, adjacency) = plane.route(vr, to).ok_or(SocketError::NetworkUnreachable)?;
    Ok(match adjacency {
        // A broadcast, of which there are none here.
        Adjacency::Receive if !plane.topology.is_local_on(vr, to, wanted) => return Err(SocketError::PermissionDenied),
        Adjacency::Receive => true,
        Adjacency::Discard => return Err(SocketError::HostUnreachable),
        Adjacency::Glean { interface }
        | Adjacency::Incomplete { interface, .. }
        | Adjacency::Complete { interface, .. }
        | Adjacency::InterVr { interface } => wanted.is_none_or(|wanted| wanted == interface),
    })
}
