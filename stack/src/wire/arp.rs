//! ARP for IPv4 over Ethernet (RFC 826). Other hardware and protocol types are refused.

use std::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ethernet::{EtherType, MacAddress};
use super::{Layer, WireError, room, split_header};

/// Bytes of a packet.
pub const PACKET_BYTES: usize = size_of::<ArpPacket>();

const HARDWARE_ETHERNET: u16 = 1;

/// What a packet asks or tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target protocol address?
    Request,
    /// The sender fields answer.
    Reply,
}

/// The packet as it lies on the wire.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ArpPacket {
    /// 1: Ethernet.
    pub hardware_type: U16,
    /// 0x0800: IPv4.
    pub protocol_type: U16,
    /// 6.
    pub hardware_bytes: u8,
    /// 4.
    pub protocol_bytes: u8,
    /// 1 request, 2 reply.
    pub operation: U16,
    /// The sender's MAC address.
    pub sender_hardware: MacAddress,
    /// The sender's IPv4 address.
    pub sender_protocol: [u8; 4],
    /// The target's MAC address; anything in a request.
    pub target_hardware: MacAddress,
    /// The target's IPv4 address.
    pub target_protocol: [u8; 4],
}

/// The meaning of a packet. ARP packets are small and all fields matter, so there is no borrowed view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpRepr {
    /// Request or reply.
    pub operation: ArpOperation,
    /// The sender's MAC address.
    pub sender_hardware: MacAddress,
    /// The sender's IPv4 address; unspecified in a probe (RFC 5227).
    pub sender_protocol: Ipv4Addr,
    /// The target's MAC address.
    pub target_hardware: MacAddress,
    /// The target's IPv4 address.
    pub target_protocol: Ipv4Addr,
}

impl ArpRepr {
    /// Reads a packet; bytes after it are padding.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (packet, _padding) = split_header::<ArpPacket>(Layer::Arp, bytes)?;
        let unsupported = WireError::UnsupportedType { layer: Layer::Arp };
        let types = (packet.hardware_type.get(), EtherType(packet.protocol_type.get()));
        let lengths = (packet.hardware_bytes, packet.protocol_bytes);
        if types != (HARDWARE_ETHERNET, EtherType::IPV4) || lengths != (6, 4) {
            return Err(unsupported);
        }
        let operation = match packet.operation.get() {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(unsupported),
        };
        Ok(ArpRepr {
            operation,
            sender_hardware: packet.sender_hardware,
            sender_protocol: packet.sender_protocol.into(),
            target_hardware: packet.target_hardware,
            target_protocol: packet.target_protocol.into(),
        })
    }

    /// Writes the packet to the front of `out`; returns its length.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let packet = ArpPacket {
            hardware_type: U16::new(HARDWARE_ETHERNET),
            protocol_type: U16::new(EtherType::IPV4.0),
            hardware_bytes: 6,
            protocol_bytes: 4,
            operation: U16::new(match self.operation {
                ArpOperation::Request => 1,
                ArpOperation::Reply => 2,
            }),
            sender_hardware: self.sender_hardware,
            sender_protocol: self.sender_protocol.octets(),
            target_hardware: self.target_hardware,
            target_protocol: self.target_protocol.octets(),
        };
        room(Layer::Arp, out, PACKET_BYTES)?.copy_from_slice(packet.as_bytes());
        Ok(PACKET_BYTES)
    }

    /// The question who has `target`, for a broadcast.
    pub fn request(sender_hardware: MacAddress, sender_protocol: Ipv4Addr, target: Ipv4Addr) -> Self {
        ArpRepr {
            operation: ArpOperation::Request,
            sender_hardware,
            sender_protocol,
            target_hardware: MacAddress::UNSPECIFIED,
            target_protocol: target,
        }
    }

    /// The answer to a request: `hardware` has the address that was asked for.
    pub fn reply_to(request: &ArpRepr, hardware: MacAddress) -> Self {
        ArpRepr {
            operation: ArpOperation::Reply,
            sender_hardware: hardware,
            sender_protocol: request.target_protocol,
            target_hardware: request.sender_hardware,
            target_protocol: request.sender_protocol,
        }
    }
}
