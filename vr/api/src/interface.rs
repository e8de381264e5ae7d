//! How interfaces of a VR are named.
//!
//! | interface | typed | name |
//! | --- | --- | --- |
//! | loopback | `loopback0`, `Loopback0` | `Loopback0` |
//! | port of a line card | `port0/0/1` | `Port0/0/1` |
//! | discarding, in static routes | `null0` | `Null0` |
//! | towards VR `blue` | `blue`, `inter-vr blue` | `blue` |
//! | towards a VR named `Loopback0` | `inter-vr Loopback0` | `inter-vr/Loopback0` |
//!
//! So an [`InterfaceName`] says by itself what it names, and no two interfaces of a VR share one.

use std::net::{IpAddr, Ipv6Addr};

use ipc::{InterfaceName, NameError, VrName};

/// Begins the name of an inter-VR interface whose VR is called like another kind of interface.
const LONG_FORM: &str = "inter-vr/";

/// The discarding interface.
pub const NULL: &str = "Null0";

/// Name of the inter-VR interface towards a VR. The error: the VR is named like an interface, and the long form of its
/// name is longer than a name may be.
pub fn inter_vr(peer: &VrName) -> Result<InterfaceName, NameError> {
    match is_interface_word(peer.as_str()) {
        true => InterfaceName::new(&format!("{LONG_FORM}{peer}")),
        false => InterfaceName::new(peer.as_str()),
    }
}

/// The link-local address that `own` has on its inter-VR interface towards `peer`: made of the two names, so that it
/// is the same after every start and nobody has to be asked. There is no MAC address to make it of.
pub fn inter_vr_link_local(own: &VrName, peer: &VrName) -> Ipv6Addr {
    // FNV-1a; the zero keeps the names apart. The universal bit is clear: this identifier is a local one (RFC 4291
    // section 2.5.1).
    let bytes = own.as_str().bytes().chain([0]).chain(peer.as_str().bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a & !0x02, b, c, d, e, f, g, h])
}

/// Whether an address means nothing without the interface of its link: IPv6 link-local ones, and groups that do not
/// reach beyond the link (RFC 4007).
pub fn is_link_scoped(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => {
            let [first, second, ..] = address.octets();
            address.is_unicast_link_local() || (first == 0xff && second & 0x0f <= 2)
        }
    }
}

/// The VR that an inter-VR interface leads to; `None` for other kinds of interfaces.
pub fn peer_of(interface: &InterfaceName) -> Option<VrName> {
    let name = interface.as_str();
    match name.strip_prefix(LONG_FORM) {
        Some(peer) => VrName::new(peer).ok(),
        None if is_interface_word(name) => None,
        None => VrName::new(name).ok(),
    }
}

/// Whether a text reads as the name of an interface that is not an inter-VR one, well formed or not: `Loopback0`,
/// `port`, `Port0/0/1`, `null0`, `inter-vr`. A VR of such a name needs the long form.
pub fn is_interface_word(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let numbered =
        |word: &str| text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| !c.is_ascii_digit()));
    text == "inter-vr" || ["loopback", "port", "null"].into_iter().any(numbered)
}

/// The canonical spelling of an interface that is not an inter-VR one; `None` if it is not well formed.
pub fn canonical(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if lower == "null0" {
        return Some(NULL.to_owned());
    }
    if let Some(number) = lower.strip_prefix("loopback") {
        return decimal(number).map(|number| format!("Loopback{number}"));
    }
    let place: Vec<u32> = lower.strip_prefix("port")?.split('/').map(decimal).collect::<Option<_>>()?;
    match place[..] {
        [rack, slot, port] => Some(format!("Port{rack}/{slot}/{port}")),
        _ => None,
    }
}

/// Name of the interface that a line card's port (`0/0/1`) becomes in the VR that it is assigned to.
pub fn of_port(port: &str) -> Result<InterfaceName, NameError> {
    InterfaceName::new(&format!("Port{port}"))
}

/// A number of up to five digits without sign.
fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vr_named_like_an_interface_gets_a_name_that_no_interface_has() {
        for (vr, interface) in [
            ("blue", "blue"),
            ("portugal", "portugal"),
            ("Loopback0", "inter-vr/Loopback0"),
            ("port", "inter-vr/port"),
            ("inter-vr", "inter-vr/inter-vr"),
        ] {
            let vr = VrName::new(vr).unwrap();
            let name = inter_vr(&vr).unwrap();
            assert_eq!(name.as_str(), interface);
            assert_eq!(peer_of(&name), Some(vr));
        }
        assert_eq!(peer_of(&InterfaceName::new("Loopback0").unwrap()), None);
        assert_eq!(peer_of(&InterfaceName::new("Port0/0/1").unwrap()), None);
    }

    #[test]
    fn the_two_ends_of_a_link_have_stable_link_local_addresses_of_their_own() {
        let (red, blue) = (VrName::new("red").unwrap(), VrName::new("blue").unwrap());
        let (at_red, at_blue) = (inter_vr_link_local(&red, &blue), inter_vr_link_local(&blue, &red));
        assert_ne!(at_red, at_blue);
        // Others have written these down: they must not change.
        assert_eq!(at_red.to_string(), "fe80::400d:1910:7b43:e958");
        for (address, scoped) in [("fe80::1", true), ("ff02::5", true), ("ff05::2", false), ("2001:db8::1", false)] {
            assert_eq!(is_link_scoped(address.parse().unwrap()), scoped, "{address}");
        }
        assert!(!is_link_scoped("224.0.0.5".parse().unwrap()));
    }

    #[test]
    fn spelling_is_canonical_whatever_was_typed() {
        assert_eq!(canonical("LOOPBACK007").as_deref(), Some("Loopback7"));
        assert_eq!(canonical("port0/0/1").as_deref(), Some("Port0/0/1"));
        assert_eq!(canonical("nUll0").as_deref(), Some("Null0"));
        for bad in ["Loopback", "Port0/0", "Port0/0/", "Port0/0/1/2", "Port0/0/-1", "Loopback999999", "blue", "null1"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }
}
