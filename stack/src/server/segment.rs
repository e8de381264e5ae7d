//! From a connection's segment to a packet on its way.

use std::net::IpAddr;

use ipc::VrId;
use stack_api::options::Secret;

use crate::control::plane::Plane;
use crate::ids::IfIndex;
use crate::packet::{ChecksumState, Gso};
use crate::time::Time;
use crate::wire::ip::IpRepr;
use crate::wire::ipv4::protocol;
use crate::wire::tcp::{self, TcpRepr};
use crate::wire::tcp_options::SIGNATURE_BYTES;

/// Payload of a packet that stands for several segments: with headers, what an IP packet holds.
pub const GSO_BYTES: usize = 65_535 - 20 - 60;

/// A segment without its payload, and between whom it goes.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// VR that sends it.
    pub vr: VrId,
    /// TTL of its packet.
    pub ttl: u8,
    /// DSCP of its packet.
    pub traffic_class: u8,
    /// Own address.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
    /// The one interface that it may leave by, or any: that of a bound socket, or of a link-local peer.
    pub interface: Option<IfIndex>,
    /// Header and options.
    pub repr: TcpRepr,
    /// Payload bytes of each segment that it is to be cut into; `None`: it is one.
    pub segment_bytes: Option<usize>,
    /// Key that it is signed with (RFC 2385).
    pub key: Option<&'a Secret>,
}

impl Segment<'_> {
    /// Sends it. One that finds no buffer is lost as on a wire: TCP sends it again. The checksum is left to whoever
    /// puts it on a wire. `scratch` is the caller's, so that no segment allocates.
    pub fn send(&self, now: Time, plane: &mut Plane, scratch: &mut Vec<u8>, payload: &[u8]) {
        let ip = IpRepr {
            source: self.local,
            destination: self.remote,
            protocol: protocol::TCP,
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            identification: None,
        };
        let mut repr = self.repr;
        repr.options.signature = self.key.map(|_| [0; SIGNATURE_BYTES]);
        let (ip_bytes, header_bytes) = (ip.header_bytes(), repr.header_bytes());
        scratch.clear();
        scratch.resize(ip_bytes + header_bytes, 0);
        scratch.extend_from_slice(payload);
        let emitted = ip.emit(scratch, header_bytes + payload.len()).and_then(|at| {
            let segment = scratch.get_mut(at..).unwrap_or_default();
            repr.emit(segment)?;
            if let Some(key) = self.key {
                let ends = (self.local, self.remote);
                repr.options.signature = Some(tcp::signature(segment, header_bytes, ends, key.bytes()));
                repr.emit(segment)?;
            }
            tcp::fill_partial_checksum(segment, self.local, self.remote)
        });
        if let Err(error) = emitted {
            log::error!("segment to {}: {error}", self.remote);
            return;
        }
        let Some(mut packet) = plane.pool.packet(scratch) else { return };
        let start = ip_bytes as u16;
        packet.meta.checksum = ChecksumState::Partial { start, offset: tcp::CHECKSUM_OFFSET as u16 };
        packet.meta.vr = self.vr;
        if let Some(mss) = self.segment_bytes.and_then(|bytes| u16::try_from(bytes).ok()) {
            packet.meta.gso = match self.remote {
                IpAddr::V4(_) => Gso::Tcpv4 { mss },
                IpAddr::V6(_) => Gso::Tcpv6 { mss },
            };
        }
        match self.interface {
            Some(interface) => plane.originate_over(now, self.vr, interface, packet),
            None => plane.originate(now, self.vr, None, packet),
        }
    }
}
