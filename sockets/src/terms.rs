//! What both ends of a TCP connection ask of each other before it stands, in the form that procmgr compares: TTL limits
//! (RFC 5082) and keys (RFC 2385).
//!
//! ```text
//!   offset   0        a             2a      2a+4  2a+5         2a+6
//!   terms    source │ destination │ ports │ TTL │ least TTL │ 0, or 1 and the digest of the key │
//! ```
//!
//! `a` is what an address takes, 5 bytes or 17. No key leaves the process: a digest is made with the router's salt and
//! the connector's address, so that two that are equal tell that this listener and this connector have the same key, and
//! nothing else: not that the key is used elsewhere, and nothing outside of this router.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use ipc::Family;
use ipc::terms::{Clause, Salt, Test};
use sha2::Sha256;
use stack_api::options::{Options, Secret};
use stack_api::socket::{Addresses, KeyDigest, OpenTerms};

/// What a connector says.
pub(crate) fn open_terms(salt: &Salt, addresses: Addresses, options: &Options) -> OpenTerms {
    let key = options.key(addresses.destination.ip());
    OpenTerms {
        addresses,
        ttl: options.ttl_towards(addresses.destination.ip()),
        minimum_ttl: options.minimum_ttl_from(addresses.destination.ip()),
        key: key.map(|secret| digest(salt, addresses.source.ip(), secret)),
    }
}

/// What a listener asks of connectors: first of those for which something of their own holds, then of all others.
pub(crate) fn clauses(salt: &Salt, family: Family, local: Option<IpAddr>, options: &Options) -> Vec<Clause> {
    let at = Offsets::of(family);
    let to_us: Vec<Test> =
        local.into_iter().map(|local| Test::Equal { at: at.destination, bytes: encoded(local) }).collect();
    let clause = |from: Option<IpAddr>, most: u8, least: u8, key: Option<KeyDigest>| {
        let from = from.map(|peer| Test::Equal { at: 0, bytes: encoded(peer) });
        let key = key.map_or(vec![0], |KeyDigest(digest)| [&[1][..], &digest].concat());
        let asks = vec![
            Test::AtMost { at: at.minimum_ttl, most },
            Test::AtLeast { at: at.ttl, least },
            Test::Equal { at: at.key, bytes: key },
        ];
        Clause { of: to_us.iter().cloned().chain(from).collect(), asks }
    };
    let peers = options.peers.iter().map(|peer| peer.peer).filter(|peer| Family::of(*peer) == family);
    let single = peers.map(|peer| {
        let key = options.key(peer).map(|key| digest(salt, peer, key));
        clause(Some(peer), options.ttl_towards(peer), options.minimum_ttl_from(peer), key)
    });
    single.chain([clause(None, options.unicast_ttl(), options.minimum_ttl.unwrap_or(0), None)]).collect()
}

/// Where the parts of the terms stand.
struct Offsets {
    destination: u16,
    ttl: u16,
    minimum_ttl: u16,
    key: u16,
}

impl Offsets {
    fn of(family: Family) -> Self {
        let address = match family {
            Family::Ipv4 => 1 + 4,
            Family::Ipv6 => 1 + 16,
        };
        let ttl = 2 * address + 2 * 2;
        Self { destination: address, ttl, minimum_ttl: ttl + 1, key: ttl + 2 }
    }
}

/// An address as it stands in the terms.
fn encoded(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => [&[0][..], &address.octets()].concat(),
        IpAddr::V6(address) => [&[1][..], &address.octets()].concat(),
    }
}

/// 48 bits that stand for a key between this connector and its listener; never 0.
pub(crate) fn key_mark(salt: &Salt, connector: IpAddr, secret: &Secret) -> u64 {
    let KeyDigest(digest) = digest(salt, connector, secret);
    digest.iter().take(6).fold(0, |mark, byte| mark << 8 | u64::from(*byte)) | 1
}

fn digest(salt: &Salt, connector: IpAddr, secret: &Secret) -> KeyDigest {
    // HMAC takes keys of any length (RFC 2104 section 3).
    let mut mac = Hmac::<Sha256>::new_from_slice(&salt.0).expect("a key of any length");
    mac.update(&encoded(connector));
    mac.update(secret.bytes());
    let mut digest = KeyDigest([0; 16]);
    // Truncated to half, as RFC 2104 section 5 allows.
    digest.0.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
    digest
}

#[cfg(test)]
mod tests {
    use ipc::terms::admit;
    use stack_api::options::PeerOptions;

    use super::*;

    const SALT: Salt = Salt([7; 32]);

    fn key(peer: &str, secret: &str) -> PeerOptions {
        PeerOptions { key: Secret::new(secret.as_bytes()), ..PeerOptions::new(peer.parse().unwrap()) }
    }

    fn options(ttl: u8, minimum_ttl: u8, keys: &[(&str, &str)]) -> Options {
        let peers = keys.iter().map(|(peer, secret)| key(peer, secret)).collect();
        let (ttl, minimum_ttl) = ((ttl != 0).then_some(ttl), (minimum_ttl != 0).then_some(minimum_ttl));
        Options { ttl, minimum_ttl, peers, ..Options::default() }
    }

    /// Whether a listener with some options takes a connector from `from` with others.
    fn takes(from: &str, to: &str, listener: &Options, connector: &Options) -> bool {
        let addresses = Addresses { source: from.parse().unwrap(), destination: to.parse().unwrap() };
        let terms = postcard::to_stdvec(&open_terms(&SALT, addresses, connector)).unwrap();
        let family = Family::of(addresses.source.ip());
        let of = |local| admit(&clauses(&SALT, family, local, listener), &terms);
        assert_eq!(of(None), of(Some(addresses.destination.ip())), "bound to its address or not");
        assert!(of(Some("192.0.2.200".parse().unwrap())), "a listener at another address is not meant");
        of(None)
    }

    #[test]
    fn ends_that_suit_each_other_meet() {
        let none: &[(&str, &str)] = &[];
        let (red, blue) = ("10.0.0.1:40000", "10.0.0.2:179");
        let of_blue = |secret| [("10.0.0.9", "other"), ("10.0.0.2", secret)];
        let of_red = |secret| [("10.0.0.1", secret), ("10.0.0.9", "other")];
        for (what, listener, connector, meets) in [
            ("nothing special", options(0, 0, none), options(0, 0, none), true),
            ("TTL high enough", options(255, 255, none), options(255, 255, none), true),
            ("just high enough", options(0, 254, none), options(254, 64, none), true),
            ("connector's TTL too low", options(0, 255, none), options(0, 0, none), false),
            ("listener's TTL too low", options(0, 0, none), options(255, 255, none), false),
            ("the same key", options(0, 0, &of_red("hush")), options(0, 0, &of_blue("hush")), true),
            ("another key", options(0, 0, &of_red("hush")), options(0, 0, &of_blue("Hush")), false),
            ("a key at the connector only", options(0, 0, none), options(0, 0, &of_blue("hush")), false),
            ("a key at the listener only", options(0, 0, &of_red("hush")), options(0, 0, none), false),
            ("keys of other peers", options(0, 0, &[("10.0.0.8", "x")]), options(0, 0, &[("10.0.0.7", "y")]), true),
            ("the same key, TTL too low", options(0, 65, &of_red("hush")), options(0, 0, &of_blue("hush")), false),
        ] {
            assert_eq!(takes(red, blue, &listener, &connector), meets, "{what}");
        }
        let near = PeerOptions { ttl: Some(255), minimum_ttl: Some(255), ..key("10.0.0.2", "hush") };
        let of_one = Options { peers: vec![near.clone()], ..Options::default() };
        let listener =
            Options { peers: vec![PeerOptions { peer: "10.0.0.1".parse().unwrap(), ..near }], ..Options::default() };
        assert!(takes(red, blue, &listener, &of_one), "with a single peer");
        assert!(!takes(red, blue, &listener, &options(0, 0, &of_blue("hush"))), "not with the TTL of all");
        let v6 = |peer: &str| options(0, 0, &[(peer, "hush")]);
        assert!(takes("[fe80::1]:40000", "[fe80::2]:179", &v6("fe80::1"), &v6("fe80::2")));
        assert!(!takes("[fe80::1]:40000", "[fe80::2]:179", &v6("fe80::1"), &options(0, 0, none)));
    }

    #[test]
    fn a_digest_tells_neither_the_key_nor_where_else_it_is_used() {
        let secret = Secret::new(b"hush").unwrap();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let digest_here = digest(&SALT, one, &secret);
        assert_eq!(digest_here, digest(&SALT, one, &secret));
        assert_ne!(digest_here, digest(&SALT, two, &secret), "for another connector");
        assert_ne!(digest_here, digest(&Salt([8; 32]), one, &secret), "in another router");
        assert!(
            !format!("{:?}", clauses(&SALT, Family::Ipv4, None, &options(0, 0, &[("10.0.0.1", "hush")])))
                .contains(&format!("{}", digest_here.0[0]))
        );
    }
}
