//! The virtio-net header that AF_PACKET puts before each frame when asked to (virtio 1.2 section 5.1.6, the legacy
//! form of 10 bytes in the machine's own byte order).

use crate::counters::DropReason;
use crate::packet::{ChecksumState, Gso, Packet};

/// Bytes of the header.
pub(super) const BYTES: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// The packet's first segment has CWR set and the others must not.
const GSO_ECN: u8 = 0x80;

/// Offset of the flags in a TCP header, and CWR among them.
const TCP_FLAGS: usize = 13;
const CWR: u8 = 0x80;

/// What a received header says. ECN needs no memory: it is in the TCP header too.
pub(super) fn parse(header: &[u8; BYTES], frame_bytes: usize) -> Result<(ChecksumState, Gso), DropReason> {
    let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let (flags, gso_type, mss) = (header[0], header[1] & !GSO_ECN, word(4));
    let (start, offset) = (word(6), word(8));
    let checksum = if flags & NEEDS_CSUM != 0 {
        if usize::from(start) + usize::from(offset) + 2 > frame_bytes {
            return Err(DropReason::BadOffloadHeader);
        }
        ChecksumState::Partial { start, offset }
    } else if flags & DATA_VALID != 0 {
        ChecksumState::Verified
    } else {
        ChecksumState::None
    };
    let gso = match gso_type {
        GSO_NONE => Gso::None,
        _ if mss == 0 => return Err(DropReason::BadOffloadHeader),
        GSO_TCPV4 => Gso::Tcpv4 { mss },
        GSO_TCPV6 => Gso::Tcpv6 { mss },
        GSO_UDP_L4 => Gso::Udp { mss },
        _ => return Err(DropReason::BadOffloadHeader),
    };
    Ok((checksum, gso))
}

/// The header to send a packet with. A GSO packet whose checksum is not open is finished in software beforehand: the
/// kernel takes none.
pub(super) fn emit(packet: &Packet) -> [u8; BYTES] {
    let mut header = [0; BYTES];
    let mut put = |at: usize, value: u16| header[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    let ChecksumState::Partial { start, offset } = packet.meta.checksum else { return header };
    put(6, start);
    put(8, offset);
    let upper = packet.data().get(usize::from(start)..).unwrap_or_default();
    let (gso_type, mss, upper_header) = match packet.meta.gso {
        Gso::None => (GSO_NONE, 0, 0),
        Gso::Tcpv4 { mss } => (GSO_TCPV4 | ecn(upper), mss, tcp_header_bytes(upper)),
        Gso::Tcpv6 { mss } => (GSO_TCPV6 | ecn(upper), mss, tcp_header_bytes(upper)),
        Gso::Udp { mss } => (GSO_UDP_L4, mss, crate::wire::udp::HEADER_BYTES as u16),
    };
    if mss > 0 {
        put(2, start.saturating_add(upper_header));
        put(4, mss);
    }
    header[0] = NEEDS_CSUM;
    header[1] = gso_type;
    header
}

fn ecn(tcp: &[u8]) -> u8 {
    match tcp.get(TCP_FLAGS) {
        Some(flags) if flags & CWR != 0 => GSO_ECN,
        _ => 0,
    }
}

fn tcp_header_bytes(tcp: &[u8]) -> u16 {
    tcp.get(TCP_FLAGS - 1).map_or(crate::wire::tcp::HEADER_BYTES as u16, |byte| u16::from(byte >> 4) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{PacketPool, PoolLimits};

    #[test]
    fn what_is_received_is_sent_on_as_it_was() {
        let mut packet = PacketPool::new(PoolLimits::default()).packet(&[0x50; 3000]).unwrap();
        for (gso, checksum) in [
            (Gso::None, ChecksumState::None),
            (Gso::None, ChecksumState::Partial { start: 34, offset: 6 }),
            (Gso::Tcpv4 { mss: 1448 }, ChecksumState::Partial { start: 34, offset: 16 }),
            (Gso::Tcpv6 { mss: 1428 }, ChecksumState::Partial { start: 54, offset: 16 }),
            (Gso::Udp { mss: 1000 }, ChecksumState::Partial { start: 34, offset: 6 }),
        ] {
            packet.meta.gso = gso;
            packet.meta.checksum = checksum;
            assert_eq!(parse(&emit(&packet), packet.len()), Ok((checksum, gso)));
        }
    }

    #[test]
    fn the_header_of_a_large_segment_tells_its_headers_length_and_congestion_mark() {
        let mut packet = PacketPool::new(PoolLimits::default()).packet(&[0; 3000]).unwrap();
        packet.meta.gso = Gso::Tcpv4 { mss: 1448 };
        packet.meta.checksum = ChecksumState::Partial { start: 34, offset: 16 };
        packet.data_mut()[46] = 8 << 4;
        packet.data_mut()[47] = 0x90;
        let header = emit(&packet);
        assert_eq!((header[0], header[1]), (NEEDS_CSUM, GSO_TCPV4 | GSO_ECN));
        assert_eq!(u16::from_ne_bytes([header[2], header[3]]), 34 + 32);
    }

    #[test]
    fn a_header_that_points_outside_the_frame_is_refused() {
        let header = |flags, gso, mss: u16, start: u16| {
            let mut header = [0; BYTES];
            (header[0], header[1]) = (flags, gso);
            header[4..6].copy_from_slice(&mss.to_ne_bytes());
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header
        };
        for bad in [header(1, 0, 0, 60), header(0, 1, 0, 0), header(0, 3, 100, 0), header(1, 0, 0, u16::MAX)] {
            assert_eq!(parse(&bad, 60), Err(DropReason::BadOffloadHeader));
        }
        assert_eq!(parse(&header(2, 0, 0, 0), 60), Ok((ChecksumState::Verified, Gso::None)));
    }
}
