//! Network cards, named by the slot that they sit in: a card keeps its name whatever else is plugged in. The first one
//! may be set apart for management: then the machine's own kernel has it, with an address, and no port does.

use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use super::{CommandLine, Report};

/// Where the kernel lists network devices.
const DEVICES: &str = "/sys/class/net";
/// The driver of the cards of a virtual machine.
const DRIVER: &str = "virtio_net";

/// Word of the kernel's command line that sets the first card apart: `isthmus.management=ADDRESS/LENGTH`.
pub const MANAGEMENT_WORD: &str = "management";
/// Name of that card's device.
const MANAGEMENT: &str = "management";

/// Switches of the kernel's own stack, which must not answer on a port: nobody but the router speaks there. (The driver
/// of a port does the same for its device; these hold from the start.)
const KERNEL_KEEPS_STILL: [(&str, &str); 3] = [
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/ip_forward", "0"),
];
/// The same for each card that is not set apart: no answer to ARP, and none to a packet for the address of another card,
/// since nothing of the kernel's is routed back over this one.
const KERNEL_KEEPS_STILL_ON: [(&str, &str); 2] = [("arp_ignore", "8"), ("rp_filter", "1")];

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Name of its device, by which a configuration names it.
    pub device: String,
    /// Its hardware address.
    pub address: String,
}

/// Finds the cards and names them; each is told. Those that ports may be on.
pub(super) fn take(report: &Report, command_line: &CommandLine) -> Vec<Card> {
    KERNEL_KEEPS_STILL.into_iter().for_each(|(switch, value)| keep_still(report, switch, value));
    let mut found = find(Path::new(DEVICES));
    found.sort();
    if let Some(text) = command_line.value(MANAGEMENT_WORD) {
        set_apart(report, text, &mut found);
    }
    let cards: Vec<Card> =
        found.into_iter().map(|(slot, device)| name(report, slot, device, &slot.to_string())).collect();
    if cards.is_empty() {
        report.line("no network card");
    }
    for Card { device, address } in &cards {
        for (switch, value) in KERNEL_KEEPS_STILL_ON {
            keep_still(report, &format!("net/ipv4/conf/{device}/{switch}"), value);
        }
        report.line(&format!("network card {device}, {address}"));
    }
    cards
}

fn keep_still(report: &Report, switch: &str, value: &str) {
    if let Err(error) = fs::write(Path::new("/proc/sys").join(switch), value) {
        report.line(&format!("the kernel's own stack may answer on ports: {switch}: {error}"));
    }
}

/// Takes the first card for the machine's own kernel.
fn set_apart(report: &Report, text: &str, found: &mut Vec<(Slot, String)>) {
    let Some((address, mask)) = subnet(text) else {
        let wanted = format!("isthmus.{MANAGEMENT_WORD}=ADDRESS/LENGTH, of IPv4");
        return report.line(&format!("no card is set apart for management: wanted is {wanted}, not {text:?}"));
    };
    if found.is_empty() {
        return report.line("no card is set apart for management: there is none");
    }
    let (slot, device) = found.remove(0);
    let card = name(report, slot, device, MANAGEMENT);
    match ipc::fd::set_device_address(&card.device, address, mask) {
        Ok(()) => {
            report.line(&format!("network card in {slot} is set apart for management: {text}, {}", card.address));
        }
        Err(error) => report.line(&format!("network card in {slot} is set apart for management: {text}: {error}")),
    }
}

/// An address and the mask of its subnet, from `ADDRESS/LENGTH`.
fn subnet(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (address, length) = text.split_once('/')?;
    let length: u32 = length.parse().ok().filter(|length| (1..=32).contains(length))?;
    Some((address.parse().ok()?, Ipv4Addr::from_bits(u32::MAX << (32 - length))))
}

fn find(devices: &Path) -> Vec<(Slot, String)> {
    let entries = fs::read_dir(devices).into_iter().flatten().flatten();
    let card = |entry: fs::DirEntry| {
        let device = entry.path().join("device");
        let driver = fs::canonicalize(device.join("driver")).ok()?;
        // The virtio device sits in the PCI device, whose folder bears its address.
        let slot = fs::canonicalize(&device).ok()?.parent()?.file_name()?.to_str()?.parse().ok()?;
        driver.ends_with(DRIVER).then(|| (slot, entry.file_name().to_string_lossy().into_owned()))
    };
    entries.filter_map(card).collect()
}

fn name(report: &Report, slot: Slot, device: String, wanted: &str) -> Card {
    let device = match ipc::fd::rename_network_device(&device, wanted) {
        Ok(()) => wanted.to_owned(),
        Err(error) => {
            report.line(&format!("network card in {slot} stays {device}: {error}"));
            device
        }
    };
    let address = fs::read_to_string(Path::new(DEVICES).join(&device).join("address")).unwrap_or_default();
    Card { device, address: address.trim().to_owned() }
}

/// Where a PCI device sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for Slot {
    type Err = NotASlot;

    /// From `domain:bus:device.function`, all hexadecimal.
    fn from_str(text: &str) -> Result<Self, NotASlot> {
        let mut parts = text.split([':', '.']).skip(1).map(|part| u8::from_str_radix(part, 16));
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(bus)), Some(Ok(device)), Some(Ok(function)), None) => Ok(Self { bus, device, function }),
            _ => Err(NotASlot),
        }
    }
}

#[derive(Debug)]
struct NotASlot;

impl fmt::Display for Slot {
    /// `slot3` on the first bus, `slot1-0` on another one, with `f1` for a second function.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bus {
            0 => write!(f, "slot{}", self.device)?,
            bus => write!(f, "slot{bus}-{}", self.device)?,
        }
        match self.function {
            0 => Ok(()),
            function => write!(f, "f{function}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_slot_is_read_from_its_address_and_named_in_decimal() {
        for (address, name) in [
            ("0000:00:03.0", "slot3"),
            ("0000:00:1f.0", "slot31"),
            ("0000:00:10.1", "slot16f1"),
            ("0000:01:00.0", "slot1-0"),
        ] {
            assert_eq!(address.parse::<Slot>().unwrap().to_string(), name);
        }
        for wrong in ["", "virtio0", "0000:00:03", "0000:00:zz.0", "0000:00:03.0.1"] {
            assert!(wrong.parse::<Slot>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_for_management_has_the_length_of_its_subnet() {
        let parsed = |text: &str| subnet(text).map(|(address, mask)| format!("{address} {mask}"));
        assert_eq!(parsed("10.9.0.1/24").as_deref(), Some("10.9.0.1 255.255.255.0"));
        assert_eq!(parsed("10.9.0.1/32").as_deref(), Some("10.9.0.1 255.255.255.255"));
        for wrong in ["", "10.9.0.1", "10.9.0.1/0", "10.9.0.1/33", "10.9.0/24", "2001:db8::1/64"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_cards_of_the_driver_are_found() {
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("net");
        fs::create_dir(&net).unwrap();
        for (name, address, driver) in [("eth0", "0000:00:03.0", "virtio_net"), ("eth1", "0000:00:04.0", "e1000")] {
            let device = root.path().join(address).join("virtio0");
            let driver = root.path().join(driver);
            fs::create_dir_all(&driver).unwrap();
            fs::create_dir_all(&device).unwrap();
            symlink(driver, device.join("driver")).unwrap();
            fs::create_dir(net.join(name)).unwrap();
            symlink(device, net.join(name).join("device")).unwrap();
        }
        fs::create_dir(net.join("lo")).unwrap();
        assert_eq!(find(&net), [("0000:00:03.0".parse().unwrap(), "eth0".to_owned())]);
    }
}
