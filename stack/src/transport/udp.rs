//! UDP (RFC 768) over either IP: from a payload to a packet, and back.

use std::net::SocketAddr;

use crate::wire::WireError;
use crate::wire::ip::IpView;
use crate::wire::ipv4::protocol;
use crate::wire::udp::{self, UdpRepr, UdpView};

use super::raw::{self, Header};

/// Builds the packet of a datagram.
pub fn packet(header: &Header, ports: (u16, u16), payload: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut datagram = vec![0; udp::HEADER_BYTES];
    datagram.extend_from_slice(payload);
    let (source_port, destination_port) = ports;
    let repr = UdpRepr { source_port, destination_port };
    repr.emit(&mut datagram, header.source, header.destination)?;
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
pub fn parse<'a>(ip: &IpView<'a>, unverified: bool) -> Result<Datagram<'a>, WireError> {
    let (source, destination) = (ip.source, ip.destination);
    let view = UdpView::parse(ip.payload)?;
    if unverified {
        view.verify(source, destination)?;
    }
    Ok(Datagram {
        source: SocketAddr::new(source, view.source_port()),
        destination: SocketAddr::new(destination, view.destination_port()),
        payload: view.payload(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(source: &str, destination: &str) -> Header {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Header { source, destination, ttl: 7, traffic_class: 0x20, identification: 9 }
    }

    fn headers() -> [Header; 2] {
        [header("10.0.0.1", "10.0.0.2"), header("2001:db8::1", "2001:db8::2")]
    }

    #[test]
    fn what_was_built_reads_back() {
        for header in headers() {
            let bytes = packet(&header, (5000, 53), b"question").unwrap();
            let ip = IpView::parse(&bytes).unwrap();
            let datagram = parse(&ip, true).unwrap();
            assert_eq!((ip.ttl, ip.traffic_class), (7, 0x20));
            assert_eq!(datagram.source, SocketAddr::new(header.source, 5000));
            assert_eq!((datagram.destination.port(), datagram.payload), (53, &b"question"[..]));
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_unless_somebody_vouched_for_it() {
        for header in headers() {
            let mut bytes = packet(&header, (5000, 53), b"question").unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            let ip = IpView::parse(&bytes).unwrap();
            assert!(parse(&ip, true).is_err());
            assert!(parse(&ip, false).is_ok());
        }
    }

    #[test]
    fn what_no_ip_packet_holds_is_refused() {
        let [v4, v6] = headers();
        // The length field of IPv4 counts its header; that of IPv6 does not, but UDP's counts its own.
        for (header, most) in [(v4, 65_535 - 20 - 8), (v6, 65_535 - 8)] {
            assert!(packet(&header, (1, 2), &vec![0; most]).is_ok());
            assert!(packet(&header, (1, 2), &vec![0; most + 1]).is_err());
        }
    }
}
