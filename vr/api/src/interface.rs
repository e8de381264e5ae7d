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
    fn spelling_is_canonical_whatever_was_typed() {
        assert_eq!(canonical("LOOPBACK007").as_deref(), Some("Loopback7"));
        assert_eq!(canonical("port0/0/1").as_deref(), Some("Port0/0/1"));
        assert_eq!(canonical("nUll0").as_deref(), Some("Null0"));
        for bad in ["Loopback", "Port0/0", "Port0/0/", "Port0/0/1/2", "Port0/0/-1", "Loopback999999", "blue", "null1"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }
}
