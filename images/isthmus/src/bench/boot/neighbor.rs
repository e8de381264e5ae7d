//! The router that every subject speaks BGP with, and the same work as each subject's configuration has it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::PATIENCE;
use crate::bench::own_router::{Kept, OwnRouter};

/// Its name, and that of its folder.
const NAME: &str = "neighbor";
/// Ends of the cable, in the folder of the run.
pub const CABLE_OF_MACHINE: &str = "machine.sock";
const CABLE_OF_NEIGHBOR: &str = "neighbor.sock";
/// What each subject's shell says when it waits for a command.
pub const PROMPT: &str = "edge# ";
/// What the neighbor's log says of the session.
const ESTABLISHED: &str = "neighbor 10.1.0.1: Established";

const CONFIG: &str = "\
hostname neighbor
linecard 0/0
 port 0
  driver cable local ./neighbor.sock remote ./machine.sock
 !
!
vr red
 assign port 0/0/0
 interface Port0/0/0
  ipv4 address 10.1.0.0/31
  mtu 1500
 !
 route-policy PASS
  pass
 end-policy
 !
 router bgp 64500
  bgp router-id 192.0.2.100
  neighbor 10.1.0.1
   remote-as 64501
   address-family ipv4 unicast
    route-policy PASS in
    route-policy PASS out
   !
  !
 !
!
";

/// The machine's part where Isthmus runs on it.
pub const CONFIG_OF_ISTHMUS: &str = "\
hostname edge
linecard 0/0
 port 0
  driver af-packet device slot1
 !
!
vr red
 assign port 0/0/0
 interface Port0/0/0
  ipv4 address 10.1.0.1/31
 !
 interface Loopback0
  ipv4 address 192.0.2.1/32
 !
 route-policy PASS
  pass
 end-policy
 !
 router bgp 64501
  bgp router-id 192.0.2.1
  address-family ipv4 unicast
   network 192.0.2.1/32
  !
  neighbor 10.1.0.0
   remote-as 64500
   address-family ipv4 unicast
    route-policy PASS in
    route-policy PASS out
   !
  !
 !
!
";

/// A running neighbor; stops when dropped.
#[derive(Debug)]
pub struct Neighbor {
    _router: OwnRouter,
    log: PathBuf,
    watch: Inotify,
}

impl Neighbor {
    /// Starts it with all its files in `folder`, and waits until it is up.
    pub fn start(folder: &Path) -> Result<Self> {
        let own = OwnRouter::own_folder(folder, NAME);
        std::fs::create_dir(&own).with_context(|| own.display().to_string())?;
        let log = own.join("log");
        File::create(&log).with_context(|| log.display().to_string())?;
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("inotify")?;
        watch.add_watch(&log, AddWatchFlags::IN_MODIFY).context("watch the neighbor's log")?;
        let router = OwnRouter::start(folder, NAME, CONFIG, Kept::State)?;
        Ok(Self { _router: router, log, watch })
    }

    /// Waits until its session with the machine is up; when it was.
    pub fn await_established(&self) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        let mut file = File::open(&self.log).context("the neighbor's log")?;
        let mut text = String::new();
        loop {
            file.read_to_string(&mut text).context("the neighbor's log")?;
            let now = Instant::now();
            if text.contains(ESTABLISHED) {
                return Ok(now);
            }
            if now >= deadline {
                bail!("no session within {} s; the neighbor says:\n{text}", PATIENCE.as_secs());
            }
            let timeout = PollTimeout::try_from(deadline - now).unwrap_or(PollTimeout::MAX);
            poll(&mut [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)], timeout).context("wait for the log")?;
            // What they say is not of interest: the file is read anew.
            let _taken = self.watch.read_events();
        }
    }
}

/// The cable's two ends, as `qemu::machine` has them.
pub fn cable(folder: &Path) -> qemu::machine::Plug {
    qemu::machine::Plug::Cable { local: folder.join(CABLE_OF_MACHINE), remote: folder.join(CABLE_OF_NEIGHBOR) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_configurations_are_valid() {
        let folder = tempfile::tempdir().unwrap();
        for text in [CONFIG, CONFIG_OF_ISTHMUS] {
            let file = folder.path().join("router.conf");
            std::fs::write(&file, text).unwrap();
            let summary = crate::check::check_file(&file).unwrap();
            assert!(summary.contains("1 VR") && summary.contains("1 port"), "{summary}");
        }
    }
}
