//! From packets, and ICMP errors about those that were sent, to the sockets that they are for.

use std::net::{IpAddr, SocketAddr};

use ipc::{Family, InterfaceName, VrId};
use stack_api::datagram::DatagramReply;
use stack_api::datagram_header::DatagramHeader;
use stack_api::socket::{Addresses, SocketError};

use super::{DatagramSocket, Datagrams};
use crate::control::plane::Plane;
use crate::ifib::SocketId;
use crate::packet::{ChecksumState, Packet};
use crate::transport::udp;
use crate::wire::icmpv4::Unreachable;
use crate::wire::ip::IpView;
use crate::wire::ipv4::protocol;

/// Bytes of datagrams that a process is woken for at once: a quarter of its ring, so that it can make room in time.
const MAX_UNRUNG: usize = 64 * 1024;

impl Datagrams {
    /// A packet for us came that is neither TCP nor ICMP. `false`: no socket wants it. [`ring`](Self::ring) when there are no
    /// more.
    pub fn receive(&mut self, plane: &Plane, vr: VrId, packet: &Packet) -> bool {
        let interface = packet.meta.interface.and_then(|index| plane.topology.by_index(index));
        // A checksum that is still open was never on a wire; one that is verified was seen by the medium.
        let unverified = packet.meta.checksum == ChecksumState::None;
        self.receive_bytes(vr, interface.map(|record| &record.state.name), packet.layer3(), unverified)
    }

    pub(super) fn receive_bytes(
        &mut self,
        vr: VrId,
        interface: Option<&InterfaceName>,
        packet: &[u8],
        unverified: bool,
    ) -> bool {
        // What makes no sense is dropped without a word.
        let Ok(ip) = IpView::parse(packet) else { return true };
        let number = ip.protocol;
        let (addresses, payload) = if number == protocol::UDP {
            let Ok(datagram) = udp::parse(&ip, unverified) else { return true };
            (Addresses { source: datagram.source, destination: datagram.destination }, datagram.payload)
        } else {
            let at = |address: IpAddr| SocketAddr::new(address, 0);
            (Addresses { source: at(ip.source), destination: at(ip.destination) }, ip.payload)
        };
        let receivers = self.receivers(vr, interface, number, &addresses);
        if receivers.is_empty() {
            return false;
        }
        let (ttl, tos, interface) = (ip.ttl, ip.traffic_class, interface.cloned());
        // Both addresses are of the packet's family.
        let header = DatagramHeader { addresses, ttl, tos, interface };
        let Ok(header) = header.encode() else { return true };
        for id in receivers {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.deliver(&header, payload);
                let bytes = self.unrung.entry(id).or_default();
                *bytes += payload.len();
                if *bytes > MAX_UNRUNG {
                    self.ring();
                }
            }
        }
        true
    }

    /// To one receiver: the UDP socket connected to the sender, else the one on the address, else the one on all, and of
    /// several the one that was bound last; every raw socket of the protocol. To a group: all that have joined it on the
    /// interface.
    fn receivers(
        &self,
        vr: VrId,
        interface: Option<&InterfaceName>,
        number: u8,
        addresses: &Addresses,
    ) -> Vec<SocketId> {
        let Addresses { source, destination } = *addresses;
        let to = destination.ip();
        let wants = |socket: &DatagramSocket| {
            let here = socket.interface.as_ref().is_none_or(|bound| Some(bound) == interface);
            let from =
                socket.connected.is_none_or(|(local, peer)| peer == source && (local == to || to.is_multicast()));
            let address = socket.local.is_none_or(|local| local == to);
            let joined = !to.is_multicast() || interface.is_some_and(|i| socket.groups.contains(&(i.clone(), to)));
            here && from && address && joined
        };
        let found = self.speaking((vr, Family::of(to), number, destination.port())).filter(|(_, socket)| wants(socket));
        if number == protocol::UDP && !to.is_multicast() {
            let exactness = |socket: &DatagramSocket| (socket.connected.is_some(), socket.local.is_some());
            let best = found.max_by_key(|(id, socket)| (exactness(socket), *id));
            return best.map(|(id, _)| id).into_iter().collect();
        }
        found.map(|(id, _)| id).collect()
    }

    /// Wakes who got datagrams: once, however many there were. A process that is woken by the first of many deals with that
    /// one alone, on the CPU of whoever has the others.
    pub fn ring(&mut self) {
        for (id, _) in std::mem::take(&mut self.unrung) {
            if let Some(Err(error)) = self.sockets.get_mut(&id).map(|socket| socket.channel.notify()) {
                log::debug!("a datagram socket: {error}");
            }
        }
    }

    /// An ICMP error about a datagram of ours came: those connected to the one that it was for are told (RFC 1122
    /// section 4.1.3.3).
    pub fn icmp_error(&mut self, vr: VrId, number: u8, addresses: &Addresses, why: Unreachable) {
        let error = match why {
            Unreachable::Port => SocketError::ConnectionRefused,
            Unreachable::Protocol => SocketError::ProtocolNotAvailable,
            Unreachable::Network => SocketError::NetworkUnreachable,
            Unreachable::Host | Unreachable::Prohibited | Unreachable::Other(_) => SocketError::HostUnreachable,
            // What is sent here may be fragmented: somebody answers for what was never sent.
            Unreachable::FragmentationNeeded { .. } => return,
        };
        let Addresses { source, destination } = *addresses;
        let sent_it = |socket: &DatagramSocket| {
            socket.connected.is_some_and(|(local, peer)| peer == destination && source.ip() == local)
        };
        let speaking = self.speaking((vr, Family::of(source.ip()), number, source.port()));
        let told: Vec<SocketId> = speaking.filter(|(_, socket)| sent_it(socket)).map(|(id, _)| id).collect();
        for id in told {
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.tell(&DatagramReply::Error(error));
            }
        }
    }
}
