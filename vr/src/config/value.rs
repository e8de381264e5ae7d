//! Types of values: whether a word is one, and its canonical spelling.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use ipc::VrName;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use vr_api::command::{ParameterType, Word};
use vr_api::interface;

use crate::error::BadValue;

/// Names of interface type until it is known which VRs exist; never the spelling of an ordinary interface.
pub(super) const INTER_VR: &str = "inter-vr/";

/// Longest free name in bytes: a route policy, a host name (RFC 1035 section 2.3.4 for one label).
const MAX_FREE_NAME: usize = 63;

/// Longest name of a device of the host: IFNAMSIZ of linux/if.h without its final zero.
const MAX_DEVICE: usize = 15;

/// What values look like, for people.
const IPV4_PREFIX: &str = "192.0.2.0/24";
const IPV4_INTERFACE_ADDRESS: &str = "10.0.0.1/24";
const IPV6_PREFIX: &str = "2001:db8::/32";
const IPV6_INTERFACE_ADDRESS: &str = "2001:db8::1/64";

/// Checks a value and gives its canonical spelling. `folder` is what relative paths count from.
///
/// The name of an inter-VR interface comes back as `inter-vr/NAME`: whether a VR of that name exists, in which upper
/// and lower case, is known only when the whole configuration was read (see `merge`).
pub(crate) fn canonical(parameter: &ParameterType, word: &str, folder: &Path) -> Result<String, BadValue> {
    match parameter {
        ParameterType::Number { name, min, max } => number(word, *min, *max)
            .map(|number| number.to_string())
            .ok_or(BadValue::Number { name: name.to_string(), min: *min, max: *max }),
        ParameterType::Ipv4Address => as_is::<Ipv4Addr>(word).ok_or(BadValue::Address("IPv4")),
        ParameterType::IpAddress => as_is::<IpAddr>(word).ok_or(BadValue::Address("IPv4 or IPv6")),
        ParameterType::Ipv4Prefix => {
            prefix(word.parse::<Ipv4Net>().map(IpNet::V4).map_err(|_| BadValue::Prefix(IPV4_PREFIX))?)
        }
        ParameterType::Ipv4InterfaceAddress => ipv4_interface_address(word),
        ParameterType::Ipv6Address => as_is::<Ipv6Addr>(word).ok_or(BadValue::Address("IPv6")),
        ParameterType::Ipv6Prefix => {
            prefix(word.parse::<Ipv6Net>().map(IpNet::V6).map_err(|_| BadValue::Prefix(IPV6_PREFIX))?)
        }
        ParameterType::Ipv6InterfaceAddress => ipv6_interface_address(word),
        ParameterType::NextHop => as_is::<IpAddr>(word).map_or_else(|| interface_name(word), Ok),
        ParameterType::VrName => Ok(VrName::new(word)?.to_string()),
        ParameterType::InterfaceName => interface_name(word),
        ParameterType::LineCard => place::<2>(word).ok_or(BadValue::LineCard),
        ParameterType::Port => place::<3>(word).ok_or(BadValue::Port),
        ParameterType::Path => absolute(word, folder),
        ParameterType::Name(kind) => {
            let max = if kind == "device" { MAX_DEVICE } else { MAX_FREE_NAME };
            let fits = word.len() <= max;
            fits.then(|| word.to_owned()).ok_or(BadValue::TooLong { name: kind.to_string(), max })
        }
        ParameterType::Choice(values) => {
            values.iter().find(|value| *value == word).map(|value| value.to_string()).ok_or(BadValue::Choice)
        }
        ParameterType::Text(_) => Ok(word.to_owned()),
    }
}

/// The canonical spelling of the long form `inter-vr NAME`.
pub(super) fn long_form(vr: &str) -> Result<String, BadValue> {
    Ok(format!("{INTER_VR}{}", VrName::new(vr)?))
}

/// Whether values of this type may be interfaces, and so take the long form.
pub(super) fn may_be_interface(word: &Word) -> bool {
    matches!(word, Word::Parameter(ParameterType::InterfaceName | ParameterType::NextHop))
}

/// What a word of a command accepts, for people: keywords as they stand, values in angle brackets.
pub(crate) fn describe(word: &Word) -> Vec<String> {
    let parameter = match word {
        Word::Keyword(keyword) => return vec![keyword.to_string()],
        Word::OneOf(keywords) => return keywords.iter().map(|keyword| keyword.to_string()).collect(),
        Word::Parameter(parameter) => parameter,
    };
    vec![match parameter {
        ParameterType::Number { name, min, max } => format!("<{name}, {min} to {max}>"),
        ParameterType::Ipv4Address => "<IPv4 address>".to_owned(),
        ParameterType::IpAddress => "<address>".to_owned(),
        ParameterType::Ipv4Prefix => format!("<prefix, like {IPV4_PREFIX}>"),
        ParameterType::Ipv4InterfaceAddress => format!("<address and length, like {IPV4_INTERFACE_ADDRESS}>"),
        ParameterType::Ipv6Address => "<IPv6 address>".to_owned(),
        ParameterType::Ipv6Prefix => format!("<prefix, like {IPV6_PREFIX}>"),
        ParameterType::Ipv6InterfaceAddress => format!("<address and length, like {IPV6_INTERFACE_ADDRESS}>"),
        ParameterType::NextHop => "<next hop: address or interface>".to_owned(),
        ParameterType::VrName => "<VR>".to_owned(),
        ParameterType::InterfaceName => "<interface>".to_owned(),
        ParameterType::LineCard => "<rack/slot, like 0/0>".to_owned(),
        ParameterType::Port => "<rack/slot/port, like 0/0/1>".to_owned(),
        ParameterType::Path => "<path>".to_owned(),
        ParameterType::Name(name) | ParameterType::Text(name) => format!("<{name}>"),
        ParameterType::Choice(values) => return values.iter().map(|value| value.to_string()).collect(),
    }]
}

fn as_is<T: FromStr + ToString>(word: &str) -> Option<String> {
    word.parse::<T>().ok().map(|value| value.to_string())
}

fn number(word: &str, min: u64, max: u64) -> Option<u64> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| word.parse::<u64>().ok()).flatten()?;
    (min..=max).contains(&number).then_some(number)
}

fn prefix(typed: IpNet) -> Result<String, BadValue> {
    match typed.trunc() {
        prefix if prefix == typed => Ok(prefix.to_string()),
        prefix => Err(BadValue::HostBits(prefix)),
    }
}

/// An address that an interface may have. On a link of two (/31, RFC 3021) and alone (/32) every address of the subnet
/// is one.
fn ipv4_interface_address(word: &str) -> Result<String, BadValue> {
    let wrong = BadValue::InterfaceAddress(IPV4_INTERFACE_ADDRESS);
    let Ok(typed) = word.parse::<Ipv4Net>() else { return Err(wrong) };
    let (address, subnet) = (typed.addr(), typed.trunc());
    let class_e = address.octets()[0] >= 240;
    let this_network = address.octets()[0] == 0;
    if typed.prefix_len() == 0 {
        return Err(wrong);
    }
    if address.is_multicast() || address.is_loopback() || class_e || this_network {
        return Err(BadValue::NotUnicast);
    }
    if typed.prefix_len() < 31 && address == subnet.network() {
        return Err(BadValue::NetworkAddress(subnet.into()));
    }
    if typed.prefix_len() < 31 && address == subnet.broadcast() {
        return Err(BadValue::BroadcastAddress(subnet));
    }
    Ok(typed.to_string())
}

/// The same of IPv6: a link of two has /127 (RFC 6164), and the first address of a larger subnet is every router's of it
/// (RFC 4291 section 2.6.1). The router makes link-local addresses itself.
fn ipv6_interface_address(word: &str) -> Result<String, BadValue> {
    let wrong = BadValue::InterfaceAddress(IPV6_INTERFACE_ADDRESS);
    let Ok(typed) = word.parse::<Ipv6Net>() else { return Err(wrong) };
    let (address, subnet) = (typed.addr(), typed.trunc());
    if typed.prefix_len() == 0 {
        return Err(wrong);
    }
    if address.is_unicast_link_local() {
        return Err(BadValue::LinkLocal);
    }
    if address.is_multicast() || address.is_loopback() || address.is_unspecified() || address.to_ipv4_mapped().is_some()
    {
        return Err(BadValue::NotUnicast);
    }
    if typed.prefix_len() < 127 && address == subnet.network() {
        return Err(BadValue::NetworkAddress(subnet.into()));
    }
    Ok(typed.to_string())
}

fn interface_name(word: &str) -> Result<String, BadValue> {
    if let Some(name) = interface::canonical(word) {
        return Ok(name);
    }
    // A port has slashes, which no VR has: say what is wrong with it as a port.
    if word.contains('/') {
        return Err(BadValue::Port);
    }
    if interface::is_interface_word(word) {
        return Err(BadValue::InterfaceWord(word.to_owned()));
    }
    long_form(word)
}

/// `N` numbers with slashes between them.
fn place<const N: usize>(word: &str) -> Option<String> {
    let numbers: Vec<u64> = word.split('/').map(|part| number(part, 0, 99_999)).collect::<Option<_>>()?;
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    (texts.len() == N).then(|| texts.join("/"))
}

/// An absolute path without `.` parts. `..` stays: the part before it may be a symbolic link.
fn absolute(word: &str, folder: &Path) -> Result<String, BadValue> {
    let path: PathBuf = folder.join(word).components().filter(|part| *part != Component::CurDir).collect();
    path.into_os_string().into_string().map_err(|_| BadValue::Folder)
}
