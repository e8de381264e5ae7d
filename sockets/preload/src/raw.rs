//! What a raw socket of IPv4 is given on Linux: each packet with its IP header (raw(7)). One of IPv6 is given none.

use std::net::{IpAddr, SocketAddr};

use ipc::{Family, IpProtocol};
use sockets::DatagramInfo;

/// Bytes of a header without options (RFC 791 section 3.1).
const HEADER_BYTES: usize = 20;

/// Puts the header in front of what `receive` receives, for a socket that is given it. The library hands over what stands
/// behind the header: options, the identification and fragments are not told.
pub fn with_header<E>(
    (raw, family): (Option<IpProtocol>, Family),
    into: &mut [u8],
    receive: impl FnOnce(&mut [u8]) -> Result<Option<DatagramInfo>, E>,
) -> Result<Option<DatagramInfo>, E> {
    let (Some(protocol), Family::Ipv4) = (raw, family) else { return receive(into) };
    let room = into.len();
    let (front, behind) = into.split_at_mut(HEADER_BYTES.min(room));
    let Some(mut info) = receive(behind)? else { return Ok(None) };
    info.length += HEADER_BYTES;
    info.truncated |= info.length > room;
    let header = header(protocol, &info);
    front.copy_from_slice(&header[..front.len()]);
    Ok(Some(info))
}

fn header(protocol: IpProtocol, info: &DatagramInfo) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    // Version 4, five words.
    (header[0], header[1]) = (0x45, info.tos);
    // No packet is longer.
    header[2..4].copy_from_slice(&u16::try_from(info.length).unwrap_or(u16::MAX).to_be_bytes());
    (header[8], header[9]) = (info.ttl, protocol.number());
    header[12..16].copy_from_slice(&octets(info.source));
    header[16..20].copy_from_slice(&octets(info.destination));
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    // Of ten words the sum folds into 16 bits at once, but for a last carry.
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn octets(address: SocketAddr) -> [u8; 4] {
    match address.ip() {
        IpAddr::V4(v4) => v4.octets(),
        // The socket is one of IPv4.
        IpAddr::V6(_) => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(room: usize) -> (Vec<u8>, DatagramInfo) {
        let mut into = vec![0xff; room];
        let info = with_header((IpProtocol::new(89), Family::Ipv4), &mut into, |behind| {
            let fits = behind.len().min(5);
            behind[..fits].copy_from_slice(&b"hello"[..fits]);
            Ok::<_, ()>(Some(DatagramInfo {
                length: 5,
                truncated: fits < 5,
                source: "10.0.0.1:0".parse().unwrap(),
                destination: "224.0.0.5:0".parse().unwrap(),
                ttl: 1,
                tos: 0xc0,
                interface: None,
            }))
        });
        (into, info.unwrap().unwrap())
    }

    #[test]
    fn a_raw_socket_of_ipv4_is_given_the_header() {
        let (packet, info) = received(99);
        let wanted = [
            // Version and length, TOS, total length; identification and fragments; TTL, protocol, checksum; addresses.
            0x45, 0xc0, 0, 25, 0, 0, 0, 0, 1, 89, 0xce, 0xc6, 10, 0, 0, 1, 224, 0, 0, 5, b'h', b'e', b'l', b'l', b'o',
        ];
        assert_eq!((&packet[..25], info.length, info.truncated), (&wanted[..], 25, false));
    }

    #[test]
    fn a_packet_is_cut_to_its_room_wherever_that_ends() {
        for room in [0, 7, 20, 22, 25] {
            let (packet, info) = received(room);
            assert_eq!((packet.as_slice(), info.length, info.truncated), (&received(99).0[..room], 25, room < 25));
        }
    }
}
