//! Finishes frames in software for media that take only finished ones: computes the checksum that was left open, and
//! cuts what stands for several segments into them.

use std::net::IpAddr;

use zerocopy::FromBytes;
use zerocopy::byteorder::network_endian::{U16, U32};

use crate::counters::DropReason;
use crate::packet::{ChecksumState, Gso, Packet, PacketPool};
use crate::wire::checksum::{checksum, complete_partial, pseudo_header};
use crate::wire::ethernet;
use crate::wire::ipv4::{Ipv4Header, Ipv4View, protocol};
use crate::wire::ipv6::{self, Ipv6Header, Ipv6View};
use crate::wire::tcp::{self, TcpFlags, TcpHeader};
use crate::wire::udp::{self, UdpHeader};

/// RFC 3168 section 6.1.2: congestion window reduced, sent once.
const CWR: u8 = 0x80;

/// Whether a frame can go on a wire as it is.
pub fn is_finished(packet: &Packet) -> bool {
    packet.meta.gso == Gso::None && !matches!(packet.meta.checksum, ChecksumState::Partial { .. })
}

/// Hands `emit` the finished frames that `packet` stands for, in order: itself, or its segments. The error is the
/// reason that the whole packet is to be dropped for; segments emitted before it are not taken back.
pub fn finish(mut packet: Packet, pool: &mut PacketPool, emit: &mut dyn FnMut(Packet)) -> Result<(), DropReason> {
    match packet.meta.gso {
        Gso::None => {
            if let ChecksumState::Partial { start, offset } = packet.meta.checksum {
                complete_partial(packet.data_mut(), start.into(), offset.into())
                    .map_err(|_| DropReason::BadOffloadHeader)?;
                packet.meta.checksum = ChecksumState::Verified;
            }
            emit(packet);
            Ok(())
        }
        Gso::Tcpv4 { mss } | Gso::Tcpv6 { mss } | Gso::Udp { mss } => {
            let plan = Plan::of(packet.data(), mss).ok_or(DropReason::CannotSegment)?;
            segment(&packet, &plan, pool, emit)?;
            pool.recycle(packet);
            Ok(())
        }
    }
}

/// How a frame is cut: headers, then payload in pieces of `mss` bytes.
struct Plan {
    l3: usize,
    l4: usize,
    payload: usize,
    mss: usize,
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
}

impl Plan {
    /// `None`: the headers are not those of a TCP or UDP packet that can be cut.
    fn of(frame: &[u8], mss: u16) -> Option<Plan> {
        let l3 = ethernet::HEADER_BYTES;
        let bytes = frame.get(l3..)?;
        let (l4, number, source, destination): (usize, u8, IpAddr, IpAddr) = match bytes.first()? >> 4 {
            4 => {
                let view = Ipv4View::parse_quoted(bytes).ok()?;
                (l3 + view.header_bytes(), view.protocol(), view.source().into(), view.destination().into())
            }
            6 => {
                let view = Ipv6View::parse(bytes).ok()?;
                (l3 + ipv6::HEADER_BYTES, view.next_header(), view.source().into(), view.destination().into())
            }
            _ => return None,
        };
        let upper = frame.get(l4..)?;
        let header = match number {
            protocol::TCP => usize::from(upper.get(12)? >> 4) * 4,
            protocol::UDP => udp::HEADER_BYTES,
            _ => return None,
        };
        let least = if number == protocol::TCP { tcp::HEADER_BYTES } else { udp::HEADER_BYTES };
        let fits = mss > 0 && header >= least && upper.len() >= header;
        let mss = usize::from(mss);
        fits.then_some(Plan { l3, l4, payload: l4 + header, mss, protocol: number, source, destination })
    }
}

fn segment(
    packet: &Packet,
    plan: &Plan,
    pool: &mut PacketPool,
    emit: &mut dyn FnMut(Packet),
) -> Result<(), DropReason> {
    let frame = packet.data();
    let (headers, payload) = frame.split_at_checked(plan.payload).ok_or(DropReason::CannotSegment)?;
    let count = payload.len().div_ceil(plan.mss).max(1);
    for index in 0..count {
        let from = (index * plan.mss).min(payload.len());
        let to = (from + plan.mss).min(payload.len());
        let mut piece = pool.allocate(headers.len() + to - from).ok_or(DropReason::PoolExhausted)?;
        let room = DropReason::CannotSegment;
        piece.append(headers).and_then(|()| piece.append(&payload[from..to])).ok_or(room)?;
        piece.meta = packet.meta;
        piece.meta.gso = Gso::None;
        piece.meta.checksum = ChecksumState::Verified;
        let place = Place { index, from, last: index + 1 == count };
        patch(piece.data_mut(), plan, &place).ok_or(DropReason::CannotSegment)?;
        emit(piece);
    }
    Ok(())
}

/// Which of the segments.
struct Place {
    index: usize,
    /// Offset of its payload.
    from: usize,
    last: bool,
}

/// Makes the copied headers those of one segment. `None`: a header is not where the plan says.
fn patch(frame: &mut [u8], plan: &Plan, place: &Place) -> Option<()> {
    let upper_bytes = frame.len().checked_sub(plan.l4)?;
    patch_ip(frame.get_mut(plan.l3..)?, plan, place)?;
    let upper = frame.get_mut(plan.l4..)?;
    if plan.protocol == protocol::TCP {
        let (header, _) = TcpHeader::mut_from_prefix(upper).ok()?;
        header.sequence = U32::new(header.sequence.get().wrapping_add(place.from as u32));
        if !place.last {
            header.flags &= !(TcpFlags::FIN | TcpFlags::PSH).0;
        }
        if place.index > 0 {
            header.flags &= !CWR;
        }
        header.checksum = U16::ZERO;
    } else {
        let (header, _) = UdpHeader::mut_from_prefix(upper).ok()?;
        header.length = U16::new(u16::try_from(upper_bytes).ok()?);
        header.checksum = U16::ZERO;
    }
    let sum = pseudo_header(plan.source, plan.destination, plan.protocol, upper_bytes).add(upper).finish();
    if plan.protocol == protocol::TCP {
        TcpHeader::mut_from_prefix(upper).ok()?.0.checksum = U16::new(sum);
    } else {
        // A sum of zero is sent as all ones: zero means "none" (RFC 768).
        UdpHeader::mut_from_prefix(upper).ok()?.0.checksum = U16::new(if sum == 0 { 0xffff } else { sum });
    }
    Some(())
}

fn patch_ip(bytes: &mut [u8], plan: &Plan, place: &Place) -> Option<()> {
    let total = bytes.len();
    match plan.source {
        IpAddr::V4(_) => {
            let (header, _) = Ipv4Header::mut_from_prefix(bytes).ok()?;
            header.total_bytes = U16::new(u16::try_from(total).ok()?);
            header.identification = U16::new(header.identification.get().wrapping_add(place.index as u16));
            header.checksum = U16::ZERO;
            let raw = bytes.get(..plan.l4.checked_sub(plan.l3)?)?;
            let sum = checksum(raw);
            Ipv4Header::mut_from_prefix(bytes).ok()?.0.checksum = U16::new(sum);
        }
        IpAddr::V6(_) => {
            let payload = total.checked_sub(ipv6::HEADER_BYTES)?;
            let (header, _) = Ipv6Header::mut_from_prefix(bytes).ok()?;
            header.payload_bytes = U16::new(u16::try_from(payload).ok()?);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PoolLimits;
    use crate::wire::ethernet::{EtherType, EthernetRepr, MacAddress};
    use crate::wire::ipv4::Ipv4Repr;
    use crate::wire::tcp::TcpView;

    const HEADERS: usize = ethernet::HEADER_BYTES + 20 + tcp::HEADER_BYTES;

    fn tcp_frame(pool: &mut PacketPool, payload: &[u8], flags: u8) -> Packet {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut headers = [0; HEADERS];
        let link = EthernetRepr {
            destination: MacAddress::BROADCAST,
            source: MacAddress([2; 6]),
            ether_type: EtherType::IPV4,
        };
        link.emit(&mut headers).unwrap();
        let upper = tcp::HEADER_BYTES + payload.len();
        let mut ip = Ipv4Repr::new(source, destination, protocol::TCP, 64, upper);
        ip.identification = 0xffff;
        ip.emit(&mut headers[14..]).unwrap();
        let (header, _) = TcpHeader::mut_from_prefix(&mut headers[34..]).unwrap();
        header.source_port = U16::new(179);
        header.destination_port = U16::new(5000);
        header.sequence = U32::new(u32::MAX - 10);
        header.data_offset = 5 << 4;
        header.flags = flags;
        let partial = pseudo_header(source.into(), destination.into(), protocol::TCP, upper).partial();
        header.checksum = U16::new(partial);
        let mut packet = pool.allocate(HEADERS + payload.len()).unwrap();
        packet.append(&headers).unwrap();
        packet.append(payload).unwrap();
        packet.meta.l3_offset = 14;
        packet.meta.checksum = ChecksumState::Partial { start: 34, offset: 16 };
        packet
    }

    fn finished(packet: Packet, pool: &mut PacketPool) -> Vec<Packet> {
        let mut frames = Vec::new();
        finish(packet, pool, &mut |frame| frames.push(frame)).unwrap();
        frames
    }

    /// Checks all checksums of a frame; returns sequence number, flags, identification and payload.
    fn read(frame: &Packet) -> (u32, u8, u16, Vec<u8>) {
        assert!(is_finished(frame));
        let ip = Ipv4View::parse(&frame.data()[14..]).unwrap();
        assert_eq!(ip.total_bytes(), frame.len() - 14);
        let tcp = TcpView::parse(ip.payload()).unwrap();
        tcp.verify(ip.source().into(), ip.destination().into()).unwrap();
        let (header, payload) = TcpHeader::ref_from_prefix(ip.payload()).unwrap();
        (header.sequence.get(), header.flags, ip.header().identification.get(), payload.to_vec())
    }

    #[test]
    fn an_open_checksum_is_completed() {
        let mut pool = PacketPool::new(PoolLimits::default());
        let packet = tcp_frame(&mut pool, b"odd", 0x18);
        let frames = finished(packet, &mut pool);
        assert_eq!(frames.len(), 1);
        assert_eq!(read(&frames[0]).3, b"odd");
    }

    #[test]
    fn a_large_segment_is_cut_as_the_sender_would_have() {
        let mut pool = PacketPool::new(PoolLimits::default());
        let payload: Vec<u8> = (0..2500_u32).map(|byte| byte as u8).collect();
        // CWR, PSH, ACK and FIN.
        let mut packet = tcp_frame(&mut pool, &payload, 0x99);
        packet.meta.gso = Gso::Tcpv4 { mss: 1000 };
        let frames = finished(packet, &mut pool);
        let seen: Vec<_> = frames.iter().map(read).collect();
        let first = u32::MAX - 10;
        assert_eq!(seen[0], (first, 0x90, 0xffff, payload[..1000].to_vec()));
        assert_eq!(seen[1], (first.wrapping_add(1000), 0x10, 0, payload[1000..2000].to_vec()));
        assert_eq!(seen[2], (first.wrapping_add(2000), 0x19, 1, payload[2000..].to_vec()));
        assert_eq!(seen.len(), 3);
        assert_eq!(pool.buffers_in_use(), 3);
    }

    #[test]
    fn a_frame_that_lies_about_its_headers_is_refused() {
        let mut pool = PacketPool::new(PoolLimits::default());
        let cases: [fn(&mut Packet); 4] = [
            |packet| packet.truncate(40),
            |packet| packet.data_mut()[46] = 0xf0,
            |packet| packet.meta.gso = Gso::Tcpv4 { mss: 0 },
            |packet| packet.data_mut()[23] = 89,
        ];
        for spoil in cases {
            let mut packet = tcp_frame(&mut pool, b"", 0x10);
            packet.meta.gso = Gso::Tcpv4 { mss: 1000 };
            spoil(&mut packet);
            assert_eq!(finish(packet, &mut pool, &mut |_| ()), Err(DropReason::CannotSegment));
        }
        let mut packet = tcp_frame(&mut pool, b"", 0x10);
        packet.meta.checksum = ChecksumState::Partial { start: 60, offset: 16 };
        assert_eq!(finish(packet, &mut pool, &mut |_| ()), Err(DropReason::BadOffloadHeader));
        assert_eq!(pool.buffers_in_use(), 0);
    }
}
