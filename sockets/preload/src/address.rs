//! Addresses as C has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::errno::Errno;

/// Length of `sockaddr_in`.
pub const IPV4_BYTES: usize = 16;
/// Length of `sockaddr_in6`.
pub const IPV6_BYTES: usize = 28;
/// Length of `sockaddr_in6` without the scope, which RFC 2133 did not have: Linux still takes it.
const OLD_IPV6_BYTES: usize = 24;

/// An address as a program gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// None: AF_UNSPEC.
    Unspecified,
    /// Of IP, and the number of its interface (0: none).
    Internet(SocketAddr, u32),
}

/// Reads a `sockaddr`.
pub fn decode(bytes: &[u8]) -> Result<Given, Errno> {
    let field = |at: usize| bytes.get(at..at + 2).and_then(|field| <[u8; 2]>::try_from(field).ok());
    let family = i32::from(u16::from_ne_bytes(field(0).ok_or(Errno::EINVAL)?));
    let port = || field(2).map(u16::from_be_bytes).ok_or(Errno::EINVAL);
    match family {
        libc::AF_UNSPEC => Ok(Given::Unspecified),
        libc::AF_INET if bytes.len() >= IPV4_BYTES => {
            let octets = bytes.get(4..8).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).ok_or(Errno::EINVAL)?;
            Ok(Given::Internet(SocketAddr::new(Ipv4Addr::from(octets).into(), port()?), 0))
        }
        libc::AF_INET6 if bytes.len() >= OLD_IPV6_BYTES => {
            let octets = bytes.get(8..24).and_then(|octets| <[u8; 16]>::try_from(octets).ok()).ok_or(Errno::EINVAL)?;
            let scope =
                bytes.get(24..28).and_then(|scope| <[u8; 4]>::try_from(scope).ok()).map_or(0, u32::from_ne_bytes);
            let address = Ipv6Addr::from(octets);
            let scope = if address.is_unicast_link_local() || address.is_multicast() { scope } else { 0 };
            Ok(Given::Internet(SocketAddr::new(address.into(), port()?), scope))
        }
        libc::AF_INET | libc::AF_INET6 => Err(Errno::EINVAL),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Writes a `sockaddr`: its bytes, and how many count.
pub fn encode(address: SocketAddr, scope: u32) -> ([u8; IPV6_BYTES], usize) {
    let mut bytes = [0; IPV6_BYTES];
    let (head, rest) = bytes.split_at_mut(4);
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u16;
    head[..2].copy_from_slice(&family.to_ne_bytes());
    head[2..].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            rest[..4].copy_from_slice(&SocketAddrV4::ip(&v4).octets());
            (bytes, IPV4_BYTES)
        }
        SocketAddr::V6(v6) => {
            rest[4..20].copy_from_slice(&SocketAddrV6::ip(&v6).octets());
            rest[20..24].copy_from_slice(&scope.to_ne_bytes());
            (bytes, IPV6_BYTES)
        }
    }
}

/// Whether an address means something on one interface only.
pub fn is_of_a_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_was_written() {
        for (text, scope) in [("10.0.0.1:179", 0), ("[2001:db8::1]:80", 0), ("[fe80::1]:7", 3)] {
            let address = text.parse().unwrap();
            let (bytes, length) = encode(address, scope);
            assert_eq!(decode(&bytes[..length]), Ok(Given::Internet(address, scope)));
            assert_eq!(decode(&bytes[..length - 5]), Err(Errno::EINVAL));
        }
        assert_eq!(decode(&[0, 0]), Ok(Given::Unspecified));
        assert_eq!(decode(&[0]), Err(Errno::EINVAL));
        assert_eq!(decode(&[1, 0, b'/', 0]), Err(Errno::EAFNOSUPPORT));
    }
}
