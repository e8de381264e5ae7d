//! Network cards, named by the slot that they sit in: a card keeps its name whatever else is plugged in.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::Report;

/// Where the kernel lists network devices.
const DEVICES: &str = "/sys/class/net";
/// The driver of the cards of a virtual machine.
const DRIVER: &str = "virtio_net";

/// Switches of the kernel's own stack, which must not answer on a port: nobody but the router speaks there. (The driver
/// of a port does the same for its device; these hold from the start.)
const KERNEL_KEEPS_STILL: [(&str, &str); 4] = [
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    ("net/ipv4/conf/all/arp_ignore", "8"),
    ("net/ipv4/ip_forward", "0"),
];

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Name of its device, by which a configuration names it.
    pub device: String,
    /// Its hardware address.
    pub address: String,
}

/// Finds the cards and names them; each is told.
pub(super) fn take(report: &Report) -> Vec<Card> {
    for (switch, value) in KERNEL_KEEPS_STILL {
        if let Err(error) = fs::write(Path::new("/proc/sys").join(switch), value) {
            report.line(&format!("the kernel's own stack may answer on ports: {switch}: {error}"));
        }
    }
    let mut found = find(Path::new(DEVICES));
    found.sort();
    let cards: Vec<Card> = found.into_iter().map(|(slot, device)| name(report, slot, device)).collect();
    if cards.is_empty() {
        report.line("no network card");
    }
    for Card { device, address } in &cards {
        report.line(&format!("network card {device}, {address}"));
    }
    cards
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

fn name(report: &Report, slot: Slot, device: String) -> Card {
    let wanted = slot.to_string();
    let device = match ipc::fd::rename_network_device(&device, &wanted) {
        Ok(()) => wanted,
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
