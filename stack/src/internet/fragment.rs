//! Cutting a packet for a link that takes less: of IPv4 anywhere on its way (RFC 791 section 2.3), of IPv6 where it
//! begins (RFC 8200 section 4.5).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::wire::ipv4::{HEADER_BYTES, Ipv4View};
use crate::wire::ipv6::{self, Ipv6View};
use crate::wire::ipv6_extension::{FRAGMENT_BYTES, Fragment, is_extension, kind};
use crate::wire::{Layer, WireError, ip};

/// Cuts an IPv4 packet into fragments of at most `mtu_bytes`. The caller has looked whether it may be cut. Options are
/// kept in the first fragment only: those that must be copied (source routes) are not forwarded here.
pub fn fragment(packet: &[u8], mtu_bytes: usize) -> Result<Vec<Vec<u8>>, WireError> {
    let ip = Ipv4View::parse(packet)?;
    let whole = ip.repr();
    // Offsets count in units of 8 bytes; the smallest link that IP knows takes 68 (RFC 791 section 3.2).
    let room = mtu_bytes.max(68).saturating_sub(HEADER_BYTES) & !7;
    let payload = ip.payload();
    let mut fragments = Vec::with_capacity(payload.len() / room + 1);
    for (index, part) in payload.chunks(room).enumerate() {
        let offset = index * room;
        let mut header = whole;
        header.payload_bytes = part.len();
        header.fragment_offset_bytes = whole.fragment_offset_bytes + offset;
        header.more_fragments = whole.more_fragments || offset + part.len() < payload.len();
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(part);
        header.emit(&mut bytes)?;
        fragments.push(bytes);
    }
    Ok(fragments)
}

/// Cuts an IPv6 packet of our own into fragments of at most `mtu_bytes`. One with extension headers, which only a raw
/// socket can have made, is refused.
pub fn fragment_ipv6(packet: &[u8], mtu_bytes: usize, identification: u32) -> Result<Vec<Vec<u8>>, WireError> {
    let ip = Ipv6View::parse(packet)?;
    if is_extension(ip.next_header()) {
        return Err(WireError::UnsupportedType { layer: Layer::Ipv6 });
    }
    let headers = ipv6::HEADER_BYTES + FRAGMENT_BYTES;
    // No link takes less than 1280 (RFC 8200 section 5).
    let room = mtu_bytes.max(1280).saturating_sub(headers) & !7;
    let payload = ip.payload();
    let mut fragments = Vec::with_capacity(payload.len() / room + 1);
    for (index, part) in payload.chunks(room).enumerate() {
        let offset_bytes = index * room;
        let more = offset_bytes + part.len() < payload.len();
        let mut header = ip.repr();
        (header.next_header, header.payload_bytes) = (kind::FRAGMENT, FRAGMENT_BYTES + part.len());
        let (at, named_at) = (ipv6::HEADER_BYTES, 0);
        let fragment = Fragment { at, named_at, next_header: ip.next_header(), offset_bytes, more, identification };
        let mut bytes = vec![0; headers];
        bytes.extend_from_slice(part);
        let end = header.emit(&mut bytes)?;
        fragment.emit(bytes.get_mut(end..).unwrap_or_default())?;
        fragments.push(bytes);
    }
    Ok(fragments)
}

/// Identifications of IPv6 packets: not to be guessed, and not soon the same for the same two (RFC 7739 section 5.1).
#[derive(Debug, Default)]
pub struct FragmentIds {
    key: RandomState,
    count: u64,
}

impl FragmentIds {
    /// The one for this packet.
    pub fn next(&mut self, packet: &[u8]) -> u32 {
        self.count += 1;
        // A counter for each pair of addresses would grow without end: here all share one, from a start of their own.
        (self.key.hash_one(ip::addresses(packet)) as u32).wrapping_add(self.count as u32)
    }
}
