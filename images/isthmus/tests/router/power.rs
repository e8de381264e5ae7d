//! A machine's disk: what is saved is there after the next start, whenever the power goes.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::namespace::run;
use crate::vm::{Vm, build, can_boot, demo_image, make_disk};

/// Power cuts of the test.
const CUTS: u32 = 20;
/// Each cut comes so much later than the one before.
const SPREAD_MICROS: u64 = 1_500;
/// Machines that run at a time: they share the host with others.
const AT_A_TIME: u32 = 2;

fn start(disk: &Path) -> Vm {
    Vm::start(demo_image(), ["--memory", "96", "--disk", disk.to_str().unwrap()])
}

/// Changes the host name, and asks to save it.
fn rename_and_save(vm: &mut Vm, before: &str, after: &str) {
    vm.type_line(&format!("configure hostname {after}"));
    vm.expect_prompt(after);
    assert_ne!(before, after);
    vm.type_line("copy running-config startup-config");
}

#[test]
fn what_is_saved_is_there_after_a_reload_until_it_is_erased() {
    if !can_boot("what_is_saved_is_there_after_a_reload_until_it_is_erased") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The image has a configuration of its own.
    let own = folder.path().join("own.conf");
    fs::write(&own, "hostname own\n").unwrap();
    let image = folder.path().join("image");
    build(&image, &["--config", own.to_str().unwrap()]);
    let disk = make_disk(folder.path(), &[]);
    let mut vm = Vm::start(&image, ["--memory", "96", "--disk", disk.to_str().unwrap()]);
    let boot = vm.expect_prompt("own");
    assert!(boot.contains("starting the router own with /etc/isthmus/startup.conf"), "{boot}");
    rename_and_save(&mut vm, "own", "kept");
    vm.expect("saved in /var/lib/isthmus/default/startup.conf");
    vm.expect_prompt("kept");
    vm.type_line("reload");
    let boot = vm.expect_prompt("kept");
    assert!(boot.contains("not used: /etc/isthmus/startup.conf, the image's own"), "{boot}");
    assert!(boot.contains("starting the router kept with /var/lib/isthmus/default/startup.conf"), "{boot}");
    assert!(vm.command("kept", "show startup-config").contains("hostname kept"));
    vm.type_line("erase startup-config");
    vm.expect_prompt("kept");
    vm.type_line("reload");
    vm.expect("random numbers are ready, seeded by the disk");
    let boot = vm.expect_prompt("own");
    assert!(!boot.contains("not used"), "{boot}");
    vm.type_line("shutdown");
    vm.wait_off();
    // Unmounted in order: the journal is empty, and the log is on the disk.
    let disk = folder.path().join("disk.img");
    run(Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(&disk));
    let log = run(Command::new("/sbin/debugfs").args(["-R", "cat default/log"]).arg(&disk));
    let log = String::from_utf8(log.stdout).unwrap();
    assert!(log.contains("router default is up") && log.contains("router default has stopped"), "{log}");
}

#[test]
fn a_power_cut_during_a_save_leaves_the_old_or_the_new_configuration() {
    if !can_boot("a_power_cut_during_a_save_leaves_the_old_or_the_new_configuration") {
        return;
    }
    demo_image();
    std::thread::scope(|scope| {
        for first in 0..AT_A_TIME {
            scope.spawn(move || cut_again_and_again(first));
        }
    });
}

/// Each start shows what the cut before it left, and is cut itself during a save of its own.
fn cut_again_and_again(first: u32) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("initial.conf");
    fs::write(&config, "hostname initial\n").unwrap();
    let disk = make_disk(folder.path(), &["--config", config.to_str().unwrap()]);
    let (mut old, mut new) = ("initial".to_owned(), "initial".to_owned());
    for cut in (first..CUTS).step_by(AT_A_TIME as usize) {
        let mut vm = start(&disk);
        let boot = vm.expect("# ");
        let found = [&old, &new].into_iter().find(|name| boot.ends_with(&format!("{name}# ")));
        let found = found.unwrap_or_else(|| panic!("neither {old} nor {new} after cut {cut}:\n{boot}")).clone();
        assert!(boot.contains("startup.conf: "), "{boot}");
        (old, new) = (found.clone(), format!("cut{cut}"));
        rename_and_save(&mut vm, &found, &new);
        // The line was taken; what follows takes some milliseconds, in steps of which each may be the last.
        vm.expect("\n");
        vm.kill_between(Duration::from_micros(u64::from(cut) * SPREAD_MICROS), "saved in");
    }
    let mut vm = start(&disk);
    let boot = vm.expect("# ");
    assert!([&old, &new].iter().any(|name| boot.ends_with(&format!("{name}# "))), "{boot}");
}

#[test]
fn a_wrong_saved_configuration_a_missing_card_and_a_damaged_disk_end_at_a_working_console() {
    if !can_boot("a_wrong_saved_configuration_a_missing_card_and_a_damaged_disk_end_at_a_working_console") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| {
        let disk = make_disk(folder.path(), &[]);
        let file = folder.path().join("startup.conf");
        fs::write(&file, text).unwrap();
        let script = format!("write {} default/startup.conf", file.display());
        run(Command::new("/sbin/debugfs").args(["-w", "-R", &script]).arg(&disk));
        disk
    };
    // A configuration that a newer version saved.
    let mut vm = start(&write("! saved by isthmus 99.1.0\nvr red\n wormhole 7\n"));
    let boot = vm.expect_prompt("isthmus");
    for said in ["startup.conf:3:2: ", "saved by isthmus 99.1.0", "starting without a configuration"] {
        assert!(boot.contains(said), "{said:?} in:\n{boot}");
    }
    assert!(vm.command("isthmus", "show startup-config").contains("wormhole 7"), "it is kept for who repairs it");
    vm.kill();

    // A port whose card is not plugged in.
    let mut vm = start(&write("linecard 0/0\n port 0\n  driver af-packet device slot1\n"));
    let boot = vm.expect_prompt("isthmus");
    assert!(boot.contains("there is no network device \"slot1\""), "{boot}");
    vm.kill();

    // A file system whose superblock says nonsense.
    let disk = make_disk(folder.path(), &[]);
    let mut file = OpenOptions::new().write(true).open(&disk).unwrap();
    file.seek(SeekFrom::Start(1024 + 24)).unwrap();
    file.write_all(&[0xff; 32]).unwrap();
    let mut vm = start(&disk);
    let boot = vm.expect_prompt("demo");
    assert!(boot.contains("disk vda cannot be mounted") && boot.contains("running from memory"), "{boot}");
    vm.kill();
}

/// A file where procmgr's folder should be.
pub fn disk_on_which_no_router_starts(folder: &Path) -> PathBuf {
    let disk = make_disk(folder, &[]);
    let script = folder.join("script");
    fs::write(&script, format!("rmdir default\nwrite {} default\n", script.display())).unwrap();
    run(Command::new("/sbin/debugfs").args(["-w", "-f"]).arg(&script).arg(&disk));
    disk
}

#[test]
fn a_router_that_fails_at_once_waits_for_an_operator_instead_of_starting_again_and_again() {
    if !can_boot("a_router_that_fails_at_once_waits_for_an_operator_instead_of_starting_again_and_again") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut vm = start(&disk_on_which_no_router_starts(folder.path()));
    let boot = vm.expect("type `reload` or `shutdown`");
    for said in ["the router failed: /var/lib/isthmus/default: ", "does not start anew by itself"] {
        assert!(boot.contains(said), "{said:?} in:\n{boot}");
    }
    vm.type_line("reload");
    vm.expect("type `reload` or `shutdown`");
    vm.type_line("what");
    vm.expect("type `reload` or `shutdown`");
    vm.type_line("shutdown");
    let (status, console) = vm.wait_off();
    assert!(status.success() && console.contains("] power off\n"), "{console}");
}

#[test]
fn a_full_disk_refuses_a_save_and_keeps_what_was_saved() {
    if !can_boot("a_full_disk_refuses_a_save_and_keeps_what_was_saved") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("saved.conf");
    fs::write(&config, "hostname saved\n").unwrap();
    let disk = make_disk(folder.path(), &["--size", "8", "--config", config.to_str().unwrap()]);
    let filler = folder.path().join("filler");
    fs::write(&filler, vec![1; 8 << 20]).unwrap();
    // It ends with an error when nothing more fits: that is what is wanted.
    let script = format!("write {} filler", filler.display());
    let _ = Command::new("/sbin/debugfs").args(["-w", "-R", &script]).arg(&disk).output().unwrap();
    let mut vm = start(&disk);
    let boot = vm.expect_prompt("saved");
    assert!(boot.contains("disk vda is full"), "{boot}");
    rename_and_save(&mut vm, "saved", "other");
    let said = vm.expect_prompt("other");
    assert!(said.contains("% the configuration cannot be saved") && said.contains("No space left"), "{said}");
    assert!(vm.command("other", "show startup-config").contains("hostname saved"));
}
