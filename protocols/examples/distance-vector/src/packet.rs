//! An update: two letters, a version, and entries of six bytes: network, length, metric.

use std::net::Ipv4Addr;

use sdk::ipnet::Ipv4Net;

/// So far away that it cannot be reached.
pub const INFINITY: u8 = 16;
/// Entries of one update: it fits into the smallest MTU of Ethernet.
pub const MAX_ENTRIES: usize = 200;

/// `DV`, version 1.
const HEADER: [u8; 3] = *b"DV\x01";
const ENTRY_BYTES: usize = 6;

/// A network, and how far it is from who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub network: Ipv4Net,
    /// Routers on the way; at most [`INFINITY`].
    pub metric: u8,
}

/// The bytes of an update.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    for Entry { network, metric } in entries {
        bytes.extend(network.addr().octets());
        bytes.extend([network.prefix_len(), *metric]);
    }
    bytes
}

/// The entries of an update; `None`: it is none, and nothing of it is believed.
pub fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (entries, rest) = bytes.strip_prefix(&HEADER)?.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || entries.len() > MAX_ENTRIES {
        return None;
    }
    let entry = |[a, b, c, d, length, metric]: &[u8; ENTRY_BYTES]| {
        let network = Ipv4Net::new(Ipv4Addr::new(*a, *b, *c, *d), *length).ok()?;
        (network == network.trunc() && *metric <= INFINITY).then_some(Entry { network, metric: *metric })
    };
    entries.iter().map(entry).collect()
}
