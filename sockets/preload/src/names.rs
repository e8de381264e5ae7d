//! Names and numbers of the VR's interfaces.

use std::net::IpAddr;

use ipc::InterfaceName;
use stack_api::interface::{InterfaceKind, InterfaceState};

use crate::description::Held;
use crate::process::Process;
use crate::{address, process};

/// The interface of a number, as scopes of IPv6 and IP_PKTINFO have it.
pub fn interface_of(process: &mut Process, number: u32) -> Option<InterfaceName> {
    let all = process.interfaces().ok()?;
    all.into_iter().find(|(known, _)| *known == number).map(|(_, state)| state.name)
}

/// The number of an interface; 0: there is none of this name.
pub fn number_of(process: &mut Process, name: &str) -> u32 {
    let all = process.interfaces().unwrap_or_default();
    all.iter().find(|(_, state)| state.name.as_str() == name).map_or(0, |(number, _)| *number)
}

/// The scope that an address of a socket has: that of its interface, if it means something on one only.
pub fn scope_of(held: Held, address: IpAddr) -> u32 {
    if !address::is_of_a_link(address) {
        return 0;
    }
    let scope = process::with(|process| {
        let interface = process.control(held.index())?.interface.clone();
        Ok(interface.map_or(0, |interface| number_of(process, interface.as_str())))
    });
    scope.unwrap_or(0)
}

/// `IFF_…` of an interface.
pub fn flags(state: &InterfaceState) -> u32 {
    let kind = match state.kind {
        InterfaceKind::Loopback => libc::IFF_LOOPBACK,
        InterfaceKind::Port | InterfaceKind::InterVr { .. } => libc::IFF_BROADCAST | libc::IFF_MULTICAST,
    };
    let up = if state.up { libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOWER_UP } else { 0 };
    // Both are bits.
    (kind | up) as u32
}

/// Its addresses with the lengths of their subnets, the link-local one among them.
pub fn addresses(state: &InterfaceState) -> Vec<(IpAddr, u8)> {
    let link_local = state.link_local.map(|own| (IpAddr::V6(own), 64));
    state.addresses.iter().map(|net| (net.addr(), net.prefix_len())).chain(link_local).collect()
}

/// The broadcast address of the subnet of an IPv4 address; of two addresses (RFC 3021) none is.
pub fn broadcast(state: &InterfaceState, own: IpAddr) -> Option<IpAddr> {
    let is_wide = |net: &&ipnet::IpNet| net.addr() == own && own.is_ipv4() && net.prefix_len() < 31;
    state.addresses.iter().find(is_wide).map(|net| net.broadcast())
}

/// The mask of a subnet.
pub fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(_) => u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0).to_be_bytes().into(),
        IpAddr::V6(_) => u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0).to_be_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_as_long_as_its_subnet() {
        let of = |address: &str, length| mask(address.parse().unwrap(), length).to_string();
        assert_eq!((of("10.0.0.1", 31), of("10.0.0.1", 0)), ("255.255.255.254".to_owned(), "0.0.0.0".to_owned()));
        assert_eq!(
            (of("::1", 64), of("::1", 128)),
            ("ffff:ffff:ffff:ffff::".to_owned(), format!("{:?}", mask("::1".parse().unwrap(), 128)))
        );
    }
}
