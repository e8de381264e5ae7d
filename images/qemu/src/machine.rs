//! The QEMU command of a virtual machine, for a person to read and to run.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::ImageError;
use crate::image::{INITRD, KERNEL};
use crate::rom::ROM;

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";
/// Where it is to be had.
pub const QEMU_PACKAGE: &str = "qemu-system-x86";

/// To the kernel: its console is the serial line, it is quiet unless something is wrong, and it does not take a
/// busy host for a broken timer. Two things of which nobody makes use here cost it 9 MB and a third of its start: the
/// thousands of files by which it is traced, and the tests of its own ciphers.
const COMMAND_LINE: &str =
    "console=ttyS0 quiet no_timer_check initcall_blacklist=tracer_init_tracefs cryptomgr.notests";
/// The same where QEMU emulates the processor: the kernel takes the timer of the chip set, whose frequency it knows, and does
/// not measure that of the processor's own one first, which takes a sixth of its start. Both are emulated alike. Where
/// the host's processor runs the machine, its own timer is the better one.
const EMULATED: &str = "nolapic_timer";
/// The accelerator that emulates.
const EMULATOR: &str = "tcg";
/// A word of it (`procmgr::pid1`).
const MANAGEMENT: &str = "isthmus.management";
/// Tells this host from others (machine-id(5)): machines on both may be on one wire.
const HOST: &str = "/etc/machine-id";
/// Slots of the main bus, of which 1 and up are for network cards.
const DISK_SLOT: u32 = 0x1d;
const RANDOM_SLOT: u32 = 0x1e;

/// A virtual machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Folder of the image.
    pub image: PathBuf,
    /// Its disk.
    pub disk: Option<PathBuf>,
    /// What its network cards are plugged into: the first in slot 1, and so on.
    pub plugs: Vec<Plug>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The first card is set apart for the machine's own kernel, which gets this address: `ADDRESS/LENGTH`.
    pub management: Option<Management>,
    /// How QEMU runs it: `tcg`, or `kvm` where the host has it.
    pub accelerator: String,
    /// More for the kernel's command line.
    pub append: Vec<String>,
    /// More for QEMU.
    pub more: Vec<OsString>,
}

/// What a network card is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plug {
    /// A cable: a Unix datagram socket at each end, one frame a datagram.
    Cable {
        /// The machine's own socket.
        local: PathBuf,
        /// The other end's.
        remote: PathBuf,
    },
    /// A TAP device of the host.
    Tap {
        /// Its name.
        device: String,
    },
}

impl FromStr for Plug {
    type Err = ImageError;

    /// `LOCAL,REMOTE`.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text.split(',').collect::<Vec<_>>()[..] {
            [local, remote] if !local.is_empty() && !remote.is_empty() => {
                Ok(Plug::Cable { local: local.into(), remote: remote.into() })
            }
            _ => Err(ImageError::Cable(text.to_owned())),
        }
    }
}

/// An address for the card that is set apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Management(String);

impl FromStr for Management {
    type Err = ImageError;

    /// `ADDRESS/LENGTH`, of IPv4.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let length_of = |(address, length): (&str, &str)| {
            let _address: Ipv4Addr = address.parse().ok()?;
            length.parse::<u8>().ok().filter(|length| (1..=32).contains(length))
        };
        match text.split_once('/').and_then(length_of) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(ImageError::Management(text.to_owned())),
        }
    }
}

impl Machine {
    /// The command that runs it, with the serial line on standard input and output.
    pub fn command(&self) -> Command {
        let mut command = Command::new(QEMU);
        let management = self.management.as_ref().map(|Management(address)| format!("{MANAGEMENT}={address}"));
        let emulated = self.accelerator.starts_with(EMULATOR).then_some(EMULATED);
        let words = management.iter().chain(&self.append).map(String::as_str);
        let append = [COMMAND_LINE].into_iter().chain(emulated).chain(words).collect::<Vec<_>>();
        command.args(["-M", "q35", "-accel", &self.accelerator, "-smp", "1", "-m", &self.memory_mib.to_string()]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "mon:stdio"]);
        command.arg("-kernel").arg(self.image.join(KERNEL)).arg("-initrd").arg(self.image.join(INITRD));
        command.args(["-append", &append.join(" ")]);
        command.arg("-option-rom").arg(with_path("", &self.image.join(ROM)));
        command.arg("-device").arg(format!("virtio-rng-pci,addr={RANDOM_SLOT:#x}"));
        if let Some(disk) = &self.disk {
            command.arg("-drive").arg(with_path("if=none,id=disk,format=raw,file=", disk));
            command.arg("-device").arg(format!("virtio-blk-pci,drive=disk,addr={DISK_SLOT:#x}"));
        }
        for (slot, plug) in (1..).zip(&self.plugs) {
            command.arg("-netdev").arg(netdev(slot, plug));
            // No firmware on the card: nobody boots from it.
            let mac = self.mac(plug);
            command.arg("-device").arg(format!("virtio-net-pci,netdev=slot{slot},addr={slot:#x},mac={mac},romfile="));
        }
        command.args(&self.more);
        command
    }

    /// A card's hardware address: the same after every start, and another one for each card of this host. Of a cable its
    /// own socket decides, which no other card has; of a TAP device its name and whose machine it is.
    fn mac(&self, plug: &Plug) -> String {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut hash = Sha256::new();
        hash.update(fs::read(HOST).unwrap_or_default());
        match plug {
            Plug::Cable { local, .. } => hash.update(absolute(local).as_os_str().as_bytes()),
            Plug::Tap { device } => {
                hash.update(absolute(&self.image).as_os_str().as_bytes());
                hash.update(device.as_bytes());
            }
        }
        let digest = hash.finalize();
        // QEMU's prefix, which is locally administered.
        let bytes = [0x52, 0x54].iter().chain(digest.iter().take(4));
        bytes.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    }

    /// The same as a line for a shell.
    pub fn shell_line(&self) -> String {
        let command = self.command();
        let words = [command.get_program()].into_iter().chain(command.get_args()).map(quoted);
        words.collect::<Vec<_>>().join(" ")
    }
}

fn netdev(slot: u32, plug: &Plug) -> OsString {
    match plug {
        Plug::Cable { local, remote } => {
            let mut text = with_path(&format!("dgram,id=slot{slot},local.type=unix,local.path="), local);
            text.push(with_path(",remote.type=unix,remote.path=", remote));
            text
        }
        Plug::Tap { device } => format!("tap,id=slot{slot},ifname={device},script=no,downscript=no").into(),
    }
}

/// A path in QEMU's syntax: a comma in it is doubled.
fn with_path(before: &str, path: &Path) -> OsString {
    OsString::from(format!("{before}{}", path.to_string_lossy().replace(',', ",,")))
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+%@".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_reads_as_a_person_would_type_it() {
        let machine = Machine {
            image: "it's".into(),
            disk: Some("a,b.img".into()),
            plugs: vec!["a.sock,b.sock".parse().unwrap(), Plug::Tap { device: "tap0".into() }],
            memory_mib: 128,
            management: Some("10.9.0.1/24".parse().unwrap()),
            accelerator: "tcg".to_owned(),
            append: vec!["isthmus.rescue".to_owned()],
            more: vec!["-no-reboot".into()],
        };
        let [first, second] = [0, 1].map(|index| machine.mac(&machine.plugs[index]));
        let expected = format!(
            "qemu-system-x86_64 -M q35 -accel tcg -smp 1 -m 128 -nodefaults -no-user-config -display none \
             -serial mon:stdio -kernel 'it'\\''s/vmlinuz' -initrd 'it'\\''s/initrd' \
             -append 'console=ttyS0 quiet no_timer_check initcall_blacklist=tracer_init_tracefs cryptomgr.notests \
             nolapic_timer isthmus.management=10.9.0.1/24 isthmus.rescue' -option-rom 'it'\\''s/memory.rom' \
             -device virtio-rng-pci,addr=0x1e \
             -drive if=none,id=disk,format=raw,file=a,,b.img -device virtio-blk-pci,drive=disk,addr=0x1d \
             -netdev dgram,id=slot1,local.type=unix,local.path=a.sock,remote.type=unix,remote.path=b.sock \
             -device virtio-net-pci,netdev=slot1,addr=0x1,mac={first},romfile= \
             -netdev tap,id=slot2,ifname=tap0,script=no,downscript=no \
             -device virtio-net-pci,netdev=slot2,addr=0x2,mac={second},romfile= -no-reboot"
        );
        assert_eq!(machine.shell_line(), expected);
        let by_the_host = Machine { accelerator: "kvm".to_owned(), ..machine };
        assert!(!by_the_host.shell_line().contains(EMULATED));
    }

    #[test]
    fn a_card_keeps_its_address_and_has_it_alone() {
        let machine = |image: &str| Machine {
            image: image.into(),
            disk: None,
            plugs: Vec::new(),
            memory_mib: 128,
            management: None,
            accelerator: "tcg".to_owned(),
            append: Vec::new(),
            more: Vec::new(),
        };
        let cable = |local: &str| Plug::Cable { local: local.into(), remote: "b.sock".into() };
        let tap = |device: &str| Plug::Tap { device: device.to_owned() };
        let one = machine("one");
        let all = [
            one.mac(&cable("a.sock")),
            one.mac(&cable("c.sock")),
            one.mac(&tap("tap0")),
            one.mac(&tap("tap1")),
            machine("other").mac(&tap("tap0")),
        ];
        assert_eq!(all[0], machine("other").mac(&cable("./a.sock")), "the same socket");
        assert!(all.iter().all(|mac| mac.len() == 17 && mac.starts_with("52:54:")), "{all:?}");
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len(), "{all:?}");
    }

    #[test]
    fn an_address_for_management_is_checked_before_a_machine_starts() {
        assert!("10.9.0.1/24".parse::<Management>().is_ok());
        for wrong in ["", "10.9.0.1", "10.9.0.1/0", "10.9.0.1/33", "x/24", "2001:db8::1/64"] {
            assert!(wrong.parse::<Management>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cable_has_two_ends() {
        for wrong in ["", "a.sock", "a.sock,", "a,b,c"] {
            assert!(wrong.parse::<Plug>().is_err(), "{wrong}");
        }
    }
}
