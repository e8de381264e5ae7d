//! What a side of a connection signs and sends with, as far as it may change while the connection stands.
//!
//! On a wire a segment that bears the wrong MD5 signature (RFC 2385), or a TTL below what its receiver takes (RFC 5082), is
//! dropped: nothing passes until both sides agree again, and what was sent waits. On a hit there are no segments. Each side
//! shows a word in the channel's header, and holds its gate closed while the two do not suit each other.

use std::net::IpAddr;

use ipc::terms::Salt;
use serde::{Deserialize, Serialize};
use stack_api::options::Options;
use stack_api::socket::Addresses;

use crate::terms::key_mark;

/// Bits of a word that stand for the key; the least TTL and the TTL are below.
const KEY_SHIFT: u32 = 16;
const MINIMUM_TTL_SHIFT: u32 = 8;

/// What one side signs and sends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// 48 bits of the digest of its key; 0: no key.
    key: u64,
    minimum_ttl: u8,
    /// Never 0 in a mark that was shown.
    ttl: u8,
}

impl Mark {
    /// That of a connection with these options. Both sides take the connector's address for the digest.
    pub fn new(salt: &Salt, addresses: Addresses, is_opener: bool, options: &Options) -> Self {
        let Addresses { source: own, destination: peer } = addresses;
        let connector: IpAddr = if is_opener { own.ip() } else { peer.ip() };
        Self {
            key: options.key(peer.ip()).map_or(0, |key| key_mark(salt, connector, key)),
            minimum_ttl: options.minimum_ttl_from(peer.ip()),
            ttl: options.ttl_towards(peer.ip()),
        }
    }

    /// As it stands in the channel's header.
    pub fn word(self) -> u64 {
        self.key << KEY_SHIFT | u64::from(self.minimum_ttl) << MINIMUM_TTL_SHIFT | u64::from(self.ttl)
    }

    /// Whether segments would pass between this side and one that shows this word. A side that has not shown anything yet
    /// has what the connection was opened with.
    pub fn suits(self, peer: u64) -> bool {
        let [.., minimum_ttl, ttl] = peer.to_be_bytes();
        let is_shown = peer != 0 && self != Self::default();
        !is_shown || (peer >> KEY_SHIFT == self.key && ttl >= self.minimum_ttl && self.ttl >= minimum_ttl)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use stack_api::options::{PeerOptions, Secret};

    use super::*;

    const SALT: Salt = Salt([7; 32]);

    fn mark(is_opener: bool, key: &str, ttl: u8, minimum_ttl: u8) -> Mark {
        let (red, blue): (SocketAddr, SocketAddr) =
            ("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:179".parse().unwrap());
        let (source, destination) = if is_opener { (red, blue) } else { (blue, red) };
        let peer = PeerOptions { key: Secret::new(key.as_bytes()), ..PeerOptions::new(destination.ip()) };
        let minimum_ttl = (minimum_ttl > 0).then_some(minimum_ttl);
        let options = Options { ttl: Some(ttl), minimum_ttl, peers: vec![peer], ..Options::default() };
        Mark::new(&SALT, Addresses { source, destination }, is_opener, &options)
    }

    #[test]
    fn segments_pass_where_keys_are_the_same_and_no_ttl_is_below_what_its_receiver_takes() {
        for (what, opener, listener, passes) in [
            ("nothing special", mark(true, "", 64, 0), mark(false, "", 64, 0), true),
            ("the same key", mark(true, "hush", 64, 0), mark(false, "hush", 64, 0), true),
            ("another key", mark(true, "hush", 64, 0), mark(false, "Hush", 64, 0), false),
            ("a key at one side", mark(true, "hush", 64, 0), mark(false, "", 64, 0), false),
            ("TTL just high enough", mark(true, "", 255, 64), mark(false, "", 64, 255), true),
            ("too low for the listener", mark(true, "", 254, 0), mark(false, "", 64, 255), false),
            ("too low for the opener", mark(true, "", 255, 65), mark(false, "", 64, 255), false),
        ] {
            assert_eq!(opener.suits(listener.word()), passes, "{what}");
            assert_eq!(listener.suits(opener.word()), passes, "{what}, seen from the listener");
        }
        assert!(mark(true, "hush", 64, 255).suits(0), "the peer has not shown anything");
    }
}
