//! A disk that is full: said in one sentence, nothing is left running, and a change is refused whole.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::namespace::can_run;
use crate::support::{Router, TWO_VRS, assert_fails, stderr};

/// A file system of 256 KiB that only this thread and its children see.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes the folder and mounts the disk there.
    pub fn mount(at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("isthmus-test"), &at, Some("tmpfs"), MsFlags::MS_NODEV, Some("size=256k,mode=755")).unwrap();
        Self(at)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("everything")
    }

    /// What lies on it beside what fills it.
    fn entries(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| *path != self.filler()).collect()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

#[test]
fn a_full_disk_ends_the_start_with_one_sentence_and_leaves_nothing() {
    if !can_run("a_full_disk_ends_the_start_with_one_sentence_and_leaves_nothing", &[]) {
        return;
    }
    let router = Router::on_small_disk("full");
    let file = router.write("router.conf", TWO_VRS);
    router.disk().fill();
    let output = router.try_start(&file);
    assert_fails(&output, "No space left on device");
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert_fails(&router.command(["--name", "full"]).output().unwrap(), "No space left on device");
    assert_fails(&router.try_sh("show vr"), "router full does not run");
    assert_eq!(router.disk().entries(), [] as [PathBuf; 0], "neither folder nor file of the router is there");
}

#[test]
fn a_change_on_a_full_disk_is_refused_whole_and_goes_through_when_there_is_room() {
    if !can_run("a_change_on_a_full_disk_is_refused_whole_and_goes_through_when_there_is_room", &[]) {
        return;
    }
    const CHANGE: &str = "configure vr red; interface Loopback7; ipv4 address 192.0.2.77/32";
    let router = Router::on_small_disk("filled");
    router.start(&router.write("router.conf", TWO_VRS));
    let before = router.sh("show running-config");
    router.disk().fill();
    let refused = router.try_sh(CHANGE);
    assert_fails(&refused, "the configuration cannot be kept in");
    assert_fails(&refused, "No space left on device");
    assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
    assert_eq!(router.sh("show running-config"), before);
    assert!(router.rows("show interfaces", &[("interface", "Loopback7")]).is_empty(), "no process has it");
    router.disk().make_room();
    router.sh(CHANGE);
    router.wait_for_row("show route", &[("vr", "red"), ("prefix", "192.0.2.77/32")]);
}
