//! Putting fragments for us together (RFC 791 section 3.2, RFC 815), within bounds.
//!
//! Fragments that overlap are not what a sender makes: the whole packet is dropped (RFC 1858, RFC 5722).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipc::VrId;

use crate::time::Time;
use crate::wire::WireError;
use crate::wire::ipv4::{HEADER_BYTES, Ipv4View};

/// How long the rest is waited for (RFC 1122 section 3.3.2: 60 s at least is a recommendation for hosts; Linux: 30 s).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Packets that are being put together; the oldest gives way.
const MAX_PACKETS: usize = 256;
/// Bytes of one packet.
const MAX_BYTES: usize = 65_535;

type Key = (VrId, Ipv4Addr, Ipv4Addr, u8, u16);

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

#[derive(Debug)]
struct Partial {
    deadline: Time,
    /// Received pieces: offset and bytes.
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Length of the payload, once the last fragment came.
    total: Option<usize>,
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
        let ip = Ipv4View::parse(packet)?;
        let identification = ip.header().identification.get();
        let key = (vr, ip.source(), ip.destination(), ip.protocol(), identification);
        if !self.partial.contains_key(&key) {
            self.begin(now, key);
        }
        let Some(partial) = self.partial.get_mut(&key) else { return Ok(Reassembled::Dropped) };
        if !partial.insert(ip.fragment_offset_bytes(), ip.payload(), ip.more_fragments()) {
            self.remove(&key);
            return Ok(Reassembled::Dropped);
        }
        let Some(payload) = partial.whole() else { return Ok(Reassembled::Waiting) };
        self.remove(&key);
        let mut header = ip.repr();
        (header.fragment_offset_bytes, header.more_fragments) = (0, false);
        header.payload_bytes = payload.len();
        let mut whole = vec![0; HEADER_BYTES];
        whole.extend_from_slice(&payload);
        header.emit(&mut whole)?;
        Ok(Reassembled::Whole(whole))
    }

    /// Packets whose rest did not come by `now` are given up; how many.
    pub fn handle_timeout(&mut self, now: Time) -> usize {
        let mut expired = 0;
        while let Some((at, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, key));
            expired += usize::from(self.partial.remove(&key).is_some());
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
        self.partial.insert(key, Partial { deadline, pieces: BTreeMap::new(), total: None });
        self.deadlines.insert((deadline, key));
    }

    fn remove(&mut self, key: &Key) {
        if let Some(partial) = self.partial.remove(key) {
            self.deadlines.remove(&(partial.deadline, *key));
        }
    }
}

impl Partial {
    /// `false`: the fragment cannot belong to this packet.
    fn insert(&mut self, offset: usize, bytes: &[u8], more: bool) -> bool {
        let end = offset + bytes.len();
        let last = self.pieces.last_key_value().map_or(0, |(start, piece)| start + piece.len());
        if bytes.is_empty() || end + HEADER_BYTES > MAX_BYTES || (more && !bytes.len().is_multiple_of(8)) {
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
    use super::super::fragment::fragment;
    use super::*;
    use crate::wire::ipv4::{Ipv4Repr, protocol};

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
        assert_eq!(reassembly.handle_timeout(Time::ZERO + TIMEOUT), MAX_PACKETS);
        assert_eq!(reassembly.poll_timeout(), None);
    }
}
