//! IPv4 packets of any protocol: what a raw socket sends, and what UDP is put into.

use std::net::Ipv4Addr;

use crate::wire::WireError;
use crate::wire::ipv4::{HEADER_BYTES, Ipv4Repr};

/// What a datagram says in its IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Sender.
    pub source: Ipv4Addr,
    /// Receiver or group.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Tells its fragments from those of others (RFC 6864 section 4.2).
    pub identification: u16,
}

/// Builds a packet, which routers may fragment.
pub fn packet(header: &Header, protocol: u8, payload: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut ip = Ipv4Repr::new(header.source, header.destination, protocol, header.ttl, payload.len());
    ip.traffic_class = header.traffic_class;
    ip.identification = header.identification;
    ip.dont_fragment = false;
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(payload);
    ip.emit(&mut bytes)?;
    Ok(bytes)
}
