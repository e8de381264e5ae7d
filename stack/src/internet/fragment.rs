//! Cutting an IPv4 packet for a link that takes less (RFC 791 section 2.3).

use crate::wire::WireError;
use crate::wire::ipv4::{HEADER_BYTES, Ipv4View};

/// Cuts a packet into fragments of at most `mtu_bytes`. The caller has looked whether it may be cut. Options are kept
/// in the first fragment only: those that must be copied (source routes) are not forwarded here.
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
