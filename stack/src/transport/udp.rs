//! UDP over IPv4 (RFC 768): from a payload to a packet, and back.

use std::net::{Ipv4Addr, SocketAddr};

use crate::wire::WireError;
use crate::wire::ipv4::{HEADER_BYTES, Ipv4View, protocol};
use crate::wire::udp::{self, UdpRepr, UdpView};

use super::raw::{self, Header};

/// Builds the packet of a datagram.
pub fn packet(header: &Header, ports: (u16, u16), payload: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut datagram = vec![0; udp::HEADER_BYTES];
    datagram.extend_from_slice(payload);
    let (source_port, destination_port) = ports;
    let repr = UdpRepr { source_port, destination_port };
    repr.emit(&mut datagram, header.source.into(), header.destination.into())?;
    raw::packet(header, protocol::UDP, &datagram)
}

/// A datagram that was received.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Its sender.
    pub source: SocketAddr,
    /// Who is meant.
    pub destination: SocketAddr,
    /// What is said.
    pub payload: &'a [u8],
}

/// Reads a datagram. `unverified`: nobody has vouched for its checksum.
pub fn parse<'a>(ip: &Ipv4View<'a>, unverified: bool) -> Result<Datagram<'a>, WireError> {
    let (source, destination): (Ipv4Addr, Ipv4Addr) = (ip.source(), ip.destination());
    let view = UdpView::parse(ip.payload())?;
    if unverified {
        view.verify(source.into(), destination.into())?;
    }
    Ok(Datagram {
        source: SocketAddr::new(source.into(), view.source_port()),
        destination: SocketAddr::new(destination.into(), view.destination_port()),
        payload: view.payload(),
    })
}

/// Largest payload of a datagram over IPv4.
pub const MAX_PAYLOAD: usize = 65_535 - HEADER_BYTES - udp::HEADER_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
        ttl: 7,
        traffic_class: 0x20,
        identification: 9,
    };

    #[test]
    fn what_was_built_reads_back() {
        let bytes = packet(&HEADER, (5000, 53), b"question").unwrap();
        let ip = Ipv4View::parse(&bytes).unwrap();
        let datagram = parse(&ip, true).unwrap();
        assert_eq!((ip.ttl(), ip.repr().traffic_class, ip.dont_fragment()), (7, 0x20, false));
        assert_eq!((datagram.source.to_string(), datagram.destination.port()), ("10.0.0.1:5000".into(), 53));
        assert_eq!(datagram.payload, b"question");
    }

    #[test]
    fn a_changed_byte_is_noticed_unless_somebody_vouched_for_it() {
        let mut bytes = packet(&HEADER, (5000, 53), b"question").unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let ip = Ipv4View::parse(&bytes).unwrap();
        assert!(parse(&ip, true).is_err());
        assert!(parse(&ip, false).is_ok());
    }

    #[test]
    fn what_no_ip_packet_holds_is_refused() {
        assert!(packet(&HEADER, (1, 2), &vec![0; MAX_PAYLOAD]).is_ok());
        assert!(packet(&HEADER, (1, 2), &vec![0; MAX_PAYLOAD + 1]).is_err());
    }
}
