//! Authentication of packets: RFC 2328 appendix D, RFC 5709.
//!
//! A key is chosen by its ID, so that a new one is brought in while the old one is still used: packets are sent with the
//! newest key and with every other that a neighbor was last heard with, and are taken with each configured key.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::packet::{Frame, HEADER_LEN, internet_checksum};

/// AuType of RFC 2328 section A.3.1.
const NULL: u8 = 0;
const SIMPLE: u8 = 1;
const CRYPTOGRAPHIC: u8 = 2;

/// Longest secret of simple authentication, and of MD5, in bytes.
pub const MAX_PASSWORD: usize = 8;
/// Longest secret of MD5 in bytes.
pub const MAX_MD5_SECRET: usize = 16;

/// RFC 5709 section 3.3, "Apad".
const APAD: [u8; 4] = [0x87, 0x8f, 0xe1, 0xf3];

/// What computes a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 2328 section D.4.3.
    Md5,
    /// RFC 5709.
    HmacSha1,
    /// RFC 5709.
    HmacSha256,
    /// RFC 5709.
    HmacSha384,
    /// RFC 5709.
    HmacSha512,
}

impl Algorithm {
    /// Bytes of its digest.
    pub fn digest_len(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::HmacSha1 => 20,
            Algorithm::HmacSha256 => 32,
            Algorithm::HmacSha384 => 48,
            Algorithm::HmacSha512 => 64,
        }
    }
}

/// A key of cryptographic authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its number, which both sides know it by.
    pub id: u8,
    /// What computes the digest.
    pub algorithm: Algorithm,
    /// What both sides know. For MD5 at most [`MAX_MD5_SECRET`] bytes.
    pub secret: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key {} {:?}", self.id, self.algorithm)
    }
}

/// How packets of an interface are authenticated.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Not at all.
    #[default]
    Null,
    /// By a password that everyone can read.
    Simple([u8; MAX_PASSWORD]),
    /// By a digest. Sorted by ID; there is at least one, and the last is the newest.
    Cryptographic(Vec<Key>),
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authentication::Null => f.write_str("Null"),
            Authentication::Simple(_) => f.write_str("Simple"),
            Authentication::Cryptographic(keys) => f.debug_tuple("Cryptographic").field(keys).finish(),
        }
    }
}

/// Why a packet is not taken for genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AuthError {
    /// Another type than configured.
    #[error("wrong authentication type")]
    Type,
    /// The checksum, of packets without a digest.
    #[error("bad packet checksum")]
    Checksum,
    /// Another password.
    #[error("wrong password")]
    Password,
    /// No key has this ID.
    #[error("unknown key")]
    KeyId,
    /// Another digest, or one of another length.
    #[error("wrong digest")]
    Digest,
    /// A number below that of an earlier packet: somebody plays it again.
    #[error("replayed")]
    Replayed,
}

/// What a genuine packet was signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The key's ID.
    pub key: u8,
    /// The packet's number; it never falls.
    pub sequence: u32,
}

impl Authentication {
    /// The wire's number of it.
    fn kind(&self) -> u8 {
        match self {
            Authentication::Null => NULL,
            Authentication::Simple(_) => SIMPLE,
            Authentication::Cryptographic(_) => CRYPTOGRAPHIC,
        }
    }

    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Authentication::Null => "null",
            Authentication::Simple(_) => "simple",
            Authentication::Cryptographic(_) => "message-digest",
        }
    }

    /// What of a packet that is not genuine differs, in words; `None`: nothing that somebody configured.
    pub fn mismatch(&self, frame: &Frame<'_>, error: AuthError) -> Option<String> {
        let key = frame.auth[2];
        match error {
            AuthError::Type => {
                let there = match frame.auth_type {
                    NULL => "null".to_owned(),
                    SIMPLE => "simple".to_owned(),
                    CRYPTOGRAPHIC => "message-digest".to_owned(),
                    other => format!("of type {other}"),
                };
                Some(format!("authentication {there} there, {} here", self.name()))
            }
            AuthError::Password => Some("authentication-key: another one there".to_owned()),
            AuthError::KeyId => Some(format!("message-digest-key {key} there, which is none of those here")),
            AuthError::Digest => Some(format!("message-digest-key {key}: another secret or algorithm there")),
            AuthError::Checksum | AuthError::Replayed => None,
        }
    }

    /// Bytes that it adds to a packet.
    pub fn overhead(&self) -> usize {
        match self {
            Authentication::Null | Authentication::Simple(_) => 0,
            Authentication::Cryptographic(keys) => keys.iter().map(|key| key.algorithm.digest_len()).max().unwrap_or(0),
        }
    }

    /// Completes a packet: one for each key that is to be used, `in_use` being those that neighbors were last heard with.
    pub fn sign(&self, mut packet: Vec<u8>, sequence: u32, in_use: impl Fn(u8) -> bool) -> Vec<Vec<u8>> {
        set(&mut packet, 15, &[self.kind()]);
        match self {
            Authentication::Null => {
                set_checksum(&mut packet);
                vec![packet]
            }
            Authentication::Simple(password) => {
                set_checksum(&mut packet);
                set(&mut packet, 16, password);
                vec![packet]
            }
            Authentication::Cryptographic(keys) => {
                let newest = keys.last().map(|key| key.id);
                let used = keys.iter().filter(|key| Some(key.id) == newest || in_use(key.id));
                used.map(|key| key.sign(packet.clone(), sequence)).collect()
            }
        }
    }

    /// Whether a packet is genuine. `last` is the number of the neighbor's last packet. `Some`: what it was signed with.
    pub fn verify(&self, frame: &Frame<'_>, last: Option<u32>) -> Result<Option<Signature>, AuthError> {
        if frame.auth_type != self.kind() {
            return Err(AuthError::Type);
        }
        match self {
            Authentication::Null | Authentication::Simple(_) if !frame.checksum_is_right() => Err(AuthError::Checksum),
            Authentication::Null => Ok(None),
            Authentication::Simple(password) if same(password, &frame.auth) => Ok(None),
            Authentication::Simple(_) => Err(AuthError::Password),
            Authentication::Cryptographic(keys) => verify_digest(keys, frame, last).map(Some),
        }
    }
}

fn verify_digest(keys: &[Key], frame: &Frame<'_>, last: Option<u32>) -> Result<Signature, AuthError> {
    let [_, _, id, length, sequence @ ..] = frame.auth;
    let key = keys.iter().find(|key| key.id == id).ok_or(AuthError::KeyId)?;
    let digest = frame.trailer.get(..usize::from(length)).ok_or(AuthError::Digest)?;
    if !same(&key.digest(frame.packet), digest) {
        return Err(AuthError::Digest);
    }
    let sequence = u32::from_be_bytes(sequence);
    if last.is_some_and(|last| sequence < last) {
        return Err(AuthError::Replayed);
    }
    Ok(Signature { key: id, sequence })
}

impl Key {
    fn sign(&self, mut packet: Vec<u8>, sequence: u32) -> Vec<u8> {
        // No digest is longer than 64 bytes.
        let length = self.algorithm.digest_len() as u8;
        set(&mut packet, 16, &[0, 0, self.id, length]);
        set(&mut packet, 20, &sequence.to_be_bytes());
        let digest = self.digest(&packet);
        packet.extend(digest);
        packet
    }

    fn digest(&self, packet: &[u8]) -> Vec<u8> {
        match self.algorithm {
            Algorithm::Md5 => {
                let mut secret = self.secret.clone();
                secret.resize(MAX_MD5_SECRET, 0);
                Md5::new().chain_update(packet).chain_update(secret).finalize().to_vec()
            }
            Algorithm::HmacSha1 => self.hmac::<Hmac<Sha1>>(packet, |secret| Sha1::digest(secret).to_vec()),
            Algorithm::HmacSha256 => self.hmac::<Hmac<Sha256>>(packet, |secret| Sha256::digest(secret).to_vec()),
            Algorithm::HmacSha384 => self.hmac::<Hmac<Sha384>>(packet, |secret| Sha384::digest(secret).to_vec()),
            Algorithm::HmacSha512 => self.hmac::<Hmac<Sha512>>(packet, |secret| Sha512::digest(secret).to_vec()),
        }
    }

    /// RFC 5709 section 3.3: over the packet and, in the place of the digest, Apad.
    fn hmac<M: Mac + KeyInit>(&self, packet: &[u8], hash: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let length = self.algorithm.digest_len();
        // "Ko is always L octets long"; the zeros that it would be filled up with, HMAC adds by itself.
        let key = if self.secret.len() > length { hash(&self.secret) } else { self.secret.clone() };
        // HMAC takes keys of every length.
        let Ok(mut mac) = M::new_from_slice(&key) else { return Vec::new() };
        mac.update(packet);
        mac.update(&APAD.repeat(length / APAD.len()));
        mac.finalize().into_bytes().to_vec()
    }
}

fn set(packet: &mut [u8], place: usize, bytes: &[u8]) {
    if let Some(field) = packet.get_mut(place..place + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// Over the packet while its authentication field is zero.
fn set_checksum(packet: &mut [u8]) {
    debug_assert!(packet.len() >= HEADER_LEN);
    let checksum = internet_checksum(&[packet]);
    set(packet, 12, &checksum.to_be_bytes());
}

/// Takes the same time wherever the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::{BACKBONE, PacketKind, encode};

    const ALGORITHMS: [Algorithm; 5] =
        [Algorithm::Md5, Algorithm::HmacSha1, Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512];

    fn packet() -> Vec<u8> {
        encode(PacketKind::LinkStateRequest, Ipv4Addr::LOCALHOST, BACKBONE, |into| into.extend([7; 12]))
    }

    fn key(id: u8, algorithm: Algorithm, secret: &str) -> Key {
        Key { id, algorithm, secret: secret.as_bytes().to_vec() }
    }

    fn signed(authentication: &Authentication, sequence: u32) -> Vec<u8> {
        authentication.sign(packet(), sequence, |_| false).remove(0)
    }

    fn verdict(
        authentication: &Authentication,
        bytes: &[u8],
        last: Option<u32>,
    ) -> Result<Option<Signature>, AuthError> {
        authentication.verify(&Frame::parse(bytes).unwrap(), last)
    }

    #[test]
    fn rfc_2328_appendix_d_every_type_takes_its_own_and_no_other() {
        let mut all =
            vec![Authentication::Null, Authentication::Simple(*b"secret\0\0"), Authentication::Simple(*b"Secret\0\0")];
        all.extend(ALGORITHMS.map(|algorithm| Authentication::Cryptographic(vec![key(1, algorithm, "one")])));
        all.push(Authentication::Cryptographic(vec![key(1, Algorithm::Md5, "two")]));
        all.push(Authentication::Cryptographic(vec![key(2, Algorithm::Md5, "one")]));
        all.push(Authentication::Cryptographic(vec![key(1, Algorithm::HmacSha256, &"long".repeat(20))]));
        for (index, one) in all.iter().enumerate() {
            for (other_index, other) in all.iter().enumerate() {
                let taken = verdict(other, &signed(one, 5), None).is_ok();
                assert_eq!(taken, index == other_index, "{one:?} by {other:?}");
            }
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        for algorithm in ALGORITHMS {
            let authentication = Authentication::Cryptographic(vec![key(1, algorithm, "one")]);
            let good = signed(&authentication, 5);
            for place in 4..good.len() {
                let mut bad = good.clone();
                bad[place] ^= 1;
                assert!(verdict(&authentication, &bad, None).is_err(), "byte {place} with {algorithm:?}");
            }
            assert_eq!(verdict(&authentication, &good[..good.len() - 1], None), Err(AuthError::Digest));
        }
    }

    #[test]
    fn an_earlier_number_is_a_replay_and_the_same_one_is_not() {
        let authentication = Authentication::Cryptographic(vec![key(1, Algorithm::Md5, "one")]);
        let bytes = signed(&authentication, 5);
        assert_eq!(verdict(&authentication, &bytes, Some(5)), Ok(Some(Signature { key: 1, sequence: 5 })));
        assert_eq!(verdict(&authentication, &bytes, Some(6)), Err(AuthError::Replayed));
    }

    #[test]
    fn while_keys_roll_over_packets_go_out_with_each_that_is_in_use() {
        let both =
            Authentication::Cryptographic(vec![key(1, Algorithm::Md5, "old"), key(2, Algorithm::HmacSha256, "new")]);
        let old = Authentication::Cryptographic(vec![key(1, Algorithm::Md5, "old")]);
        let packets = both.sign(packet(), 9, |id| id == 1);
        assert_eq!(packets.len(), 2);
        assert!(verdict(&old, &packets[0], None).is_ok());
        assert_eq!(verdict(&old, &packets[1], None), Err(AuthError::KeyId));
        assert_eq!(verdict(&both, &packets[1], None).unwrap().unwrap().key, 2);
        assert_eq!(both.sign(packet(), 9, |_| false).len(), 1);
    }
}
