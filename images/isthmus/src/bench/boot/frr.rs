//! The image of the peer: FRR's zebra, bgpd and vtysh, as Debian has them, under a first process of busybox.
//!
//! It does what ours does and no more: mounts, modules, the card's address, the daemons, and a shell on the console. What
//! a distribution would start beside (udev, a service manager, watchfrr) is left out, in FRR's favor.

use std::path::Path;

use anyhow::{Context, Result, bail};
use qemu::executable;
use qemu::image::{self, Built};
use qemu::initramfs::Initramfs;
use qemu::package::Kernel;

/// What is taken from this host: where it is, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 4] =
    [(BUSYBOX, "busybox"), ("/usr/lib/frr/zebra", "frr"), ("/usr/lib/frr/bgpd", "frr"), ("/usr/bin/vtysh", "frr")];
const BUSYBOX: &str = "/bin/busybox";
/// vtysh asks PAM whether root may call it. It is loaded by name, so that no list of libraries has it.
const PAM_PERMIT: &str = "/lib/x86_64-linux-gnu/security/pam_permit.so";

/// The first process.
const INIT: &str = include_str!("frr_init.sh");

const FOLDERS: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp"];

/// Other files.
const FILES: [(&str, &str); 6] = [
    ("/etc/passwd", "root:x:0:0::/:/bin/sh\n"),
    // What its daemons make for the shell belongs to that group.
    ("/etc/group", "root:x:0:\nfrrvty:x:100:root\n"),
    ("/etc/pam.d/frr", "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n"),
    ("/etc/frr/vtysh.conf", "no service integrated-vtysh-config\n"),
    ("/etc/frr/zebra.conf", "hostname edge\ninterface lo\n ip address 192.0.2.1/32\n"),
    (
        "/etc/frr/bgpd.conf",
        "hostname edge\nrouter bgp 64501\n bgp router-id 192.0.2.1\n no bgp ebgp-requires-policy\n \
         neighbor 10.1.0.0 remote-as 64500\n address-family ipv4 unicast\n  network 192.0.2.1/32\n exit-address-family\n",
    ),
];

/// Builds it. The error says what is missing.
pub fn build(kernel: &Kernel, folder: &Path) -> Result<Built> {
    let mut files = Initramfs::default();
    FOLDERS.iter().for_each(|path| files.folder(Path::new(path)));
    files.console();
    for (path, package) in PROGRAMS {
        if !Path::new(path).exists() {
            bail!("{path} is not installed: it is in the Debian package {package}");
        }
        add_program(&mut files, Path::new(path))?;
    }
    add_program(&mut files, Path::new(PAM_PERMIT))?;
    files.file(Path::new("/init"), 0o755, INIT.as_bytes().to_vec());
    for (path, text) in FILES {
        files.file(Path::new(path), 0o644, text.as_bytes().to_vec());
    }
    image::add_modules(&mut files, kernel);
    Ok(image::write(kernel, &files, folder)?)
}

/// A program or library, and the libraries that it needs, each once.
fn add_program(files: &mut Initramfs, path: &Path) -> Result<()> {
    let (bytes, libraries) = executable::read(path).with_context(|| path.display().to_string())?;
    for (library, bytes) in libraries {
        files.file(&library, 0o755, bytes);
    }
    files.file(path, 0o755, bytes);
    Ok(())
}
