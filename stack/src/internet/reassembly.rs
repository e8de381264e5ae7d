//! Putting fragments for us together (RFC 791 section 3.2 and RFC 815; RFC 8200 section 4.5), within bounds.
//!
//! Fragments that overlap are not what a sender makes: the whole packet is dropped (RFC 1858, RFC 5722).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipc::VrId;

use crate::time::Time;
use crate::wire::ipv4::{HEADER_BYTES, Ipv4View};
use crate::wire::ipv6::{self, Ipv6View};
use crate::wire::ipv6_extension::{self, is_extension};
use crate::wire::{Layer, WireError};

/// How long the rest is waited for (RFC 1122 section 3.3.2 and RFC 8200 section 4.5 recommend 60 s; Linux: 30 s).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Packets that are being put together; the oldest gives way.
const MAX_PACKETS: usize = 256;
/// What the length fields can say: of IPv4 with its header, of IPv6 without the fixed one.
const MAX_BYTES: usize = 65_535;
/// What is kept of a first fragment: more is never quoted.
const QUOTED: usize = 1280;

/// VR, source, destination, protocol (of IPv4 only), identification.
type Key = (VrId, IpAddr, IpAddr, u8, u32);

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub enum Reassembled {
    /// The rest is missing.
    Waiting,
    /// The whole packet.
    Whole(Vec<u8>),
    /// Overlapping, too long, or contradicting: the packet is given up.
    Dropped,
}

/// A packet of which fragments were missing when time ran out.
#[derive(Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// Whose it was.
    pub vr: VrId,
    /// Its first fragment, if that had come: its sender is told (RFC 792, RFC 4443 section 3.3).
    pub first: Option<Vec<u8>>,
}

/// A fragment, of either family.
struct Piece<'a> {
    key: Key,
    /// Where it stands in the part that was cut, in bytes.
    offset: usize,
    more: bool,
    payload: &'a [u8],
    /// Where the part that was cut must end at the latest.
    most: usize,
    /// The headers that the whole packet has, if this is the fragment that says so.
    headers: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Partial {
    deadline: Time,
    /// Received pieces: offset and bytes.
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Length of the payload, once the last fragment came.
    total: Option<usize>,
    /// Headers of the whole packet: from the fragment of offset 0.
    headers: Option<Vec<u8>>,
    /// That fragment as it came, as far as an error quotes it.
    first: Option<Vec<u8>>,
}

/// Packets that are being put together.
#[derive(Debug, Default)]
pub struct Reassembly {
    partial: BTreeMap<Key, Partial>,
    deadlines: BTreeSet<(Time, Key)>,
}

impl Reassembly {
    /// A fragment for a VR's own address came.
    pub fn add(&mut self, now: Time, vr: VrId, packet: &[u8]) -> Result<Reassembled, WireError> {
        let piece = Piece::of(vr, packet)?;
        let key = piece.key;
        if let (0, false, Some(headers)) = (piece.offset, piece.more, &piece.headers) {
            // A packet in one fragment has nothing to do with others of its number (RFC 6946 section 4).
            return assemble(headers, piece.payload).map(Reassembled::Whole);
        }
        if !self.partial.contains_key(&key) {
            self.begin(now, key);
        }
        let Some(partial) = self.partial.get_mut(&key) else { return Ok(Reassembled::Dropped) };
        if piece.offset + piece.payload.len() > piece.most || !partial.insert(piece.offset, piece.payload, piece.more) {
            self.remove(&key);
            return Ok(Reassembled::Dropped);
        }
        if let Some(headers) = piece.headers {
            partial.headers = Some(headers);
            partial.first = Some(packet.get(..packet.len().min(QUOTED)).unwrap_or_default().to_vec());
        }
        let (Some(payload), Some(headers)) = (partial.whole(), &partial.headers) else {
            return Ok(Reassembled::Waiting);
        };
        let whole = assemble(headers, &payload);
        self.remove(&key);
        whole.map(Reassembled::Whole)
    }

    /// Packets whose rest did not come by `now` are given up.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<TimedOut> {
        let mut expired = Vec::new();
        while let Some((at, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, key));
            let partial = self.partial.remove(&key);
            expired.extend(partial.map(|partial| TimedOut { vr: key.0, first: partial.first }));
        }
        expired
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn begin(&mut self, now: Time, key: Key) {
        if self.partial.len() >= MAX_PACKETS
            && let Some((_, oldest)) = self.deadlines.first().copied()
        {
            self.remove(&oldest);
        }
        let deadline = now + TIMEOUT;
        self.partial
            .insert(key, Partial { deadline, pieces: BTreeMap::new(), total: None, headers: None, first: None });
        self.deadlines.insert((deadline, key));
    }

    fn remove(&mut self, key: &Key) {
        if let Some(partial) = self.partial.remove(key) {
            self.deadlines.remove(&(partial.deadline, *key));
        }
    }
}

impl<'a> Piece<'a> {
    fn of(vr: VrId, packet: &'a [u8]) -> Result<Self, WireError> {
        match packet.first().map(|first| first >> 4) {
            Some(6) => Self::of_ipv6(vr, packet),
            Some(_) | None => Self::of_ipv4(vr, packet),
        }
    }

    fn of_ipv4(vr: VrId, packet: &'a [u8]) -> Result<Self, WireError> {
        let ip = Ipv4View::parse(packet)?;
        let identification = ip.header().identification.get().into();
        let (offset, more) = (ip.fragment_offset_bytes(), ip.more_fragments());
        let mut headers = vec![0; HEADER_BYTES];
        let mut repr = ip.repr();
        (repr.fragment_offset_bytes, repr.more_fragments) = (0, false);
        repr.emit(&mut headers)?;
        let key = (vr, ip.source().into(), ip.destination().into(), ip.protocol(), identification);
        let (payload, most) = (ip.payload(), MAX_BYTES - HEADER_BYTES);
        Ok(Piece { key, offset, more, payload, most, headers: (offset == 0).then_some(headers) })
    }

    fn of_ipv6(vr: VrId, packet: &'a [u8]) -> Result<Self, WireError> {
        let ip = Ipv6View::parse(packet)?;
        let none = WireError::UnsupportedType { layer: Layer::Ipv6 };
        let fragment = ipv6_extension::walk(packet, &ip)?.fragment.ok_or(none)?;
        let begins = fragment.at + ipv6_extension::FRAGMENT_BYTES;
        let payload = packet.get(begins..ipv6::HEADER_BYTES + ip.payload().len()).unwrap_or_default();
        let (offset, more) = (fragment.offset_bytes, fragment.more);
        let mut headers = packet.get(..fragment.at).unwrap_or_default().to_vec();
        // What named the fragment header names what the fragmented part begins with.
        if let Some(name) = headers.get_mut(fragment.named_at) {
            *name = fragment.next_header;
        }
        // The first fragment holds all headers, so that a filter can read them (RFC 7112 section 5).
        if offset == 0 && is_extension(fragment.next_header) && payload.len() < 8 {
            return Err(none);
        }
        let key = (vr, ip.source().into(), ip.destination().into(), 0, fragment.identification);
        let most = (MAX_BYTES + ipv6::HEADER_BYTES).saturating_sub(fragment.at);
        Ok(Piece { key, offset, more, payload, most, headers: (offset == 0).then_some(headers) })
    }
}

/// The whole packet.
fn assemble(headers: &[u8], payload: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut whole = [headers, payload].concat();
    match headers.first().map(|first| first >> 4) {
        Some(6) => {
            let mut repr = Ipv6View::parse_quoted(headers)?.repr();
            repr.payload_bytes = whole.len().saturating_sub(ipv6::HEADER_BYTES);
            repr.emit(&mut whole)?;
        }
        Some(_) | None => {
            let mut repr = Ipv4View::parse_quoted(headers)?.repr();
            repr.payload_bytes = payload.len();
            repr.emit(&mut whole)?;
        }
    }
    Ok(whole)
}

impl Partial {
    /// `false`: the fragment cannot belong to this packet.
    fn insert(&mut self, offset: usize, bytes: &[u8], more: bool) -> bool {
        let end = offset + bytes.len();
        let last = self.pieces.last_key_value().map_or(0, |(start, piece)| start + piece.len());
        if bytes.is_empty() || (more && !bytes.len().is_multiple_of(8)) {
            return false;
        }
        if self.pieces.get(&offset).is_some_and(|piece| piece == bytes) {
            // The same fragment twice, as a lossy wire brings it.
            return true;
        }
        let before = self.pieces.range(..=offset).next_back().map_or(0, |(start, piece)| start + piece.len());
        let after = self.pieces.range(offset..).next().map_or(usize::MAX, |(start, _)| *start);
        if before > offset || after < end {
            return false;
        }
        match (more, self.total) {
            (false, None) if last > end => return false,
            (false, None) => self.total = Some(end),
            (false, Some(_)) => return false,
            (true, Some(total)) if end > total => return false,
            (true, _) => {}
        }
        self.pieces.insert(offset, bytes.to_vec());
        true
    }

    fn whole(&self) -> Option<Vec<u8>> {
        let total = self.total?;
        let received: usize = self.pieces.values().map(Vec::len).sum();
        (received == total).then(|| self.pieces.values().flatten().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::fragment::{fragment, fragment_ipv6};
    use super::*;
    use crate::wire::ipv4::{Ipv4Repr, protocol};
    use crate::wire::ipv6::Ipv6Repr;

    const VR: VrId = VrId(1);

    fn packet(bytes: usize) -> Vec<u8> {
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut ip = Ipv4Repr::new(from, to, protocol::UDP, 64, bytes);
        ip.identification = 77;
        ip.dont_fragment = false;
        let mut packet = vec![0; HEADER_BYTES];
        packet.extend((0..bytes).map(|i| (i * 7) as u8));
        ip.emit(&mut packet).unwrap();
        packet
    }

    #[test]
    fn fragments_in_any_order_make_the_packet_again() {
        let whole = packet(4000);
        let mut fragments = fragment(&whole, 1500).unwrap();
        assert_eq!(fragments.len(), 3);
        assert!(fragments.iter().all(|fragment| fragment.len() <= 1500 && Ipv4View::parse(fragment).is_ok()));
        fragments.rotate_left(1);
        let mut reassembly = Reassembly::default();
        for fragment in &fragments[..2] {
            assert_eq!(reassembly.add(Time::ZERO, VR, fragment).unwrap(), Reassembled::Waiting);
            assert_eq!(reassembly.add(Time::ZERO, VR, fragment).unwrap(), Reassembled::Waiting, "twice is no harm");
        }
        assert_eq!(reassembly.add(Time::ZERO, VR, &fragments[2]).unwrap(), Reassembled::Whole(whole));
        assert_eq!(reassembly.poll_timeout(), None);
    }

    #[test]
    fn overlapping_fragments_drop_the_packet() {
        let whole = packet(4000);
        let coarse = fragment(&whole, 1500).unwrap();
        let fine = fragment(&whole, 700).unwrap();
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.add(Time::ZERO, VR, &coarse[0]).unwrap(), Reassembled::Waiting);
        assert_eq!(reassembly.add(Time::ZERO, VR, &fine[1]).unwrap(), Reassembled::Dropped);
    }

    #[test]
    fn what_never_becomes_whole_is_bounded_in_number_and_time() {
        let mut reassembly = Reassembly::default();
        for identification in 0..1000u16 {
            let mut first = fragment(&packet(4000), 1500).unwrap().remove(0);
            let mut header = Ipv4View::parse(&first).unwrap().repr();
            header.identification = identification;
            header.emit(&mut first).unwrap();
            assert_eq!(reassembly.add(Time::ZERO, VR, &first).unwrap(), Reassembled::Waiting);
        }
        assert_eq!(reassembly.partial.len(), MAX_PACKETS);
        let expired = reassembly.handle_timeout(Time::ZERO + TIMEOUT);
        assert_eq!(expired.len(), MAX_PACKETS);
        assert_eq!(expired[0].first.as_ref().map(Vec::len), Some(QUOTED), "its sender can be told");
        assert_eq!(reassembly.poll_timeout(), None);
    }

    fn packet_v6(bytes: usize) -> Vec<u8> {
        let (from, to) =
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
        let mut packet = vec![0; ipv6::HEADER_BYTES];
        packet.extend((0..bytes).map(|i| (i * 7) as u8));
        Ipv6Repr::new(from, to, protocol::UDP, 64, bytes).emit(&mut packet).unwrap();
        packet
    }

    #[test]
    fn ipv6_fragments_in_any_order_make_the_packet_again() {
        let whole = packet_v6(4000);
        let mut fragments = fragment_ipv6(&whole, 1500, 77).unwrap();
        assert_eq!(fragments.len(), 3);
        assert!(fragments.iter().all(|fragment| fragment.len() <= 1500 && Ipv6View::parse(fragment).is_ok()));
        fragments.rotate_left(2);
        let mut reassembly = Reassembly::default();
        for fragment in &fragments[..2] {
            assert_eq!(reassembly.add(Time::ZERO, VR, fragment).unwrap(), Reassembled::Waiting);
        }
        assert_eq!(reassembly.add(Time::ZERO, VR, &fragments[2]).unwrap(), Reassembled::Whole(whole));
        assert_eq!(reassembly.poll_timeout(), None);
    }

    #[test]
    fn a_packet_that_is_its_only_fragment_is_whole_at_once_beside_others_of_its_number() {
        let whole = packet_v6(100);
        let atomic = fragment_ipv6(&whole, 1500, 77).unwrap().remove(0);
        let mut reassembly = Reassembly::default();
        let other = fragment_ipv6(&packet_v6(4000), 1500, 77).unwrap();
        assert_eq!(reassembly.add(Time::ZERO, VR, &other[0]).unwrap(), Reassembled::Waiting);
        assert_eq!(reassembly.add(Time::ZERO, VR, &atomic).unwrap(), Reassembled::Whole(whole));
        assert_eq!(reassembly.add(Time::ZERO, VR, &other[2]).unwrap(), Reassembled::Waiting, "not disturbed");
    }

    #[test]
    fn overlapping_ipv6_fragments_drop_the_packet() {
        let whole = packet_v6(4000);
        let (coarse, fine) = (fragment_ipv6(&whole, 1500, 77).unwrap(), fragment_ipv6(&whole, 1280, 77).unwrap());
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.add(Time::ZERO, VR, &coarse[0]).unwrap(), Reassembled::Waiting);
        assert_eq!(reassembly.add(Time::ZERO, VR, &fine[1]).unwrap(), Reassembled::Dropped);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_a_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..200), v6: bool) {
            bytes[0] = if v6 { 0x60 } else { 0x45 };
            let _ = Reassembly::default().add(Time::ZERO, VR, &bytes);
        }
    }
}
