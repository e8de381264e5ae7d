//! Which own address to speak with, where nobody chose one.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

/// IPv4: of the interface, the address in the subnet of `to`, else the first; else the first of a loopback.
pub fn ipv4(own: &[IpNet], loopbacks: impl Iterator<Item = IpNet>, to: Ipv4Addr) -> Option<Ipv4Addr> {
    let v4 = |net: &IpNet| if let IpNet::V4(net) = net { Some(*net) } else { None };
    let near = own.iter().filter_map(v4).find(|net| net.contains(&to));
    let of_interface = near.or_else(|| own.iter().find_map(v4));
    of_interface.or_else(|| loopbacks.filter_map(|net| v4(&net)).next()).map(|net| net.addr())
}

/// IPv6 (RFC 6724 section 5), as far as one interface needs it: the scope first, then an address of the interface
/// before one of a loopback, then the longest common prefix. Addresses are never deprecated here and there are no
/// temporary ones.
pub fn ipv6(
    own: impl Iterator<Item = IpNet>,
    link_local: Option<Ipv6Addr>,
    loopbacks: impl Iterator<Item = IpNet>,
    to: Ipv6Addr,
) -> Option<Ipv6Addr> {
    if is_of_link(to) {
        return link_local;
    }
    let best = |nets: &mut dyn Iterator<Item = IpNet>| {
        let v6 = nets.filter_map(|net| if let IpNet::V6(net) = net { Some(net) } else { None });
        // Rule 1 is the longest prefix of all. Of equal ones the first counts.
        v6.map(|net| (common_bits(net, to), net.addr())).reduce(|a, b| if b.0 > a.0 { b } else { a })
    };
    let (mut own, mut loopbacks) = (own, loopbacks);
    best(&mut own).or_else(|| best(&mut loopbacks)).map(|(_, address)| address).or(link_local)
}

/// Link-local, or a group of the link or of the interface.
fn is_of_link(to: Ipv6Addr) -> bool {
    vr_api::interface::is_link_scoped(to.into())
}

/// How much an address has in common with another one; 129 where it is the same. Beyond its subnet no bit counts.
fn common_bits(own: Ipv6Net, to: Ipv6Addr) -> u32 {
    match (own.addr().to_bits() ^ to.to_bits()).leading_zeros() {
        u128::BITS => u128::BITS + 1,
        common => common.min(own.prefix_len().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn ipv4_speaks_with_the_address_in_the_same_subnet_or_the_first_or_a_loopbacks() {
        let own = nets("10.0.0.1/24 2001:db8::1/64 10.1.0.1/24");
        let loopbacks = || nets("2001:db8::9/128 192.0.2.1/32").into_iter();
        let from = |own: &[IpNet], to: &str| ipv4(own, loopbacks(), to.parse().unwrap()).map(|a| a.to_string());
        assert_eq!(from(&own, "10.1.0.9").as_deref(), Some("10.1.0.1"));
        assert_eq!(from(&own, "203.0.113.9").as_deref(), Some("10.0.0.1"));
        assert_eq!(from(&[], "203.0.113.9").as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn ipv6_speaks_with_an_address_of_the_scope_of_its_destination() {
        let link_local = "fe80::1".parse().unwrap();
        let from = |own: &str, loopbacks: &str, to: &str| {
            let chosen =
                ipv6(nets(own).into_iter(), Some(link_local), nets(loopbacks).into_iter(), to.parse().unwrap());
            chosen.unwrap().to_string()
        };
        let own = "10.0.0.1/24 2001:db8:1::1/64 2001:db8:1::11/64 2001:db8:2::1/64";
        for (to, source) in [
            ("2001:db8:1::12", "2001:db8:1::1"),
            ("2001:db8:1::11", "2001:db8:1::11"),
            ("2001:db8:2::9", "2001:db8:2::1"),
            ("2001:db8:1::9", "2001:db8:1::1"),
            ("2001:db8:2::1", "2001:db8:2::1"),
            ("fe80::9", "fe80::1"),
            ("ff02::5", "fe80::1"),
            ("ff05::2", "2001:db8:1::1"),
        ] {
            assert_eq!(from(own, "2001:db8:2::ffff/128", to), source, "to {to}");
        }
        assert_eq!(from("", "2001:db8::9/128", "2001:db8:2::9"), "2001:db8::9", "unnumbered");
        assert_eq!(from("", "", "2001:db8:2::9"), "fe80::1", "nothing better");
        assert_eq!(ipv6([].into_iter(), None, [].into_iter(), link_local), None);
    }
}
