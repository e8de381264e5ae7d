//! IP packets of any protocol: what a raw socket sends, and what UDP is put into.

use std::net::IpAddr;

use crate::wire::WireError;
use crate::wire::ip::IpRepr;

/// What a datagram says in its IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Sender.
    pub source: IpAddr,
    /// Receiver or group, of the same family.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Tells its fragments from those of others (RFC 6864 section 4.2); IPv6 has a number only in fragments.
    pub identification: u16,
}

/// Builds a packet, which may be sent in fragments: by routers on the way in IPv4, by us in IPv6.
pub fn packet(header: &Header, protocol: u8, payload: &[u8]) -> Result<Vec<u8>, WireError> {
    let Header { source, destination, ttl, traffic_class, identification } = *header;
    let ip = IpRepr { source, destination, protocol, ttl, traffic_class, identification: Some(identification) };
    let mut bytes = vec![0; ip.header_bytes()];
    bytes.extend_from_slice(payload);
    ip.emit(&mut bytes, payload.len())?;
    Ok(bytes)
}
