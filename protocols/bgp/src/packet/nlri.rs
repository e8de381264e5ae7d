//! Network layer reachability information: prefixes as UPDATE carries them. RFC 4271 section 4.3, RFC 7606 section 5.3.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// A list of IPv4 prefixes, checked: reading it cannot fail. Bits behind a prefix's length mean nothing and are read as
/// zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nlri<'a>(&'a [u8]);

/// Why a list of prefixes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NlriError {
    /// Longer than an address.
    #[error("a prefix of {0} bits, at most 32 are accepted")]
    PrefixTooLong(u8),
    /// The list ends within a prefix.
    #[error("the list ends within a prefix of {0} bits")]
    CutOff(u8),
}

impl<'a> Nlri<'a> {
    /// Checks a list.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NlriError> {
        let mut rest = bytes;
        while let [bits, tail @ ..] = rest {
            if *bits > 32 {
                return Err(NlriError::PrefixTooLong(*bits));
            }
            rest = tail.get(octets(*bits)..).ok_or(NlriError::CutOff(*bits))?;
        }
        Ok(Self(bytes))
    }

    /// Whether it holds no prefix.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Iterator for Nlri<'_> {
    type Item = Ipv4Net;

    fn next(&mut self) -> Option<Ipv4Net> {
        let (bits, tail) = self.0.split_first()?;
        let (octets, rest) = tail.split_at_checked(octets(*bits))?;
        self.0 = rest;
        let mut address = [0; 4];
        address[..octets.len()].copy_from_slice(octets);
        Ipv4Net::new(Ipv4Addr::from(address), *bits).ok().map(|prefix| prefix.trunc())
    }
}

/// Octets that a prefix of so many bits takes behind its length.
fn octets(bits: u8) -> usize {
    usize::from(bits).div_ceil(8)
}

/// Bytes that a prefix takes.
pub(super) fn encoded_len(prefix: Ipv4Net) -> usize {
    1 + octets(prefix.prefix_len())
}

/// Appends a prefix.
pub(super) fn encode(prefix: Ipv4Net, into: &mut Vec<u8>) {
    into.push(prefix.prefix_len());
    into.extend_from_slice(&prefix.network().octets()[..octets(prefix.prefix_len())]);
}
