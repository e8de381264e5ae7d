//! What becomes of a machine in which something fails: each time a message, and a console that works.
//!
//! The kernel's own keys make it fail: a BREAK on the serial line, which QEMU sends for Ctrl-A b, and a letter for what is
//! to be done (Documentation/admin-guide/sysrq.rst).

use std::fs;
use std::process::Command;

use crate::namespace::run;
use crate::power::disk_on_which_no_router_starts;
use crate::vm::{Vm, can_boot, demo_image, make_disk};

/// Kills a process as if there were no memory left.
const OUT_OF_MEMORY: &str = "\x01bf";
/// Makes the kernel panic.
const PANIC: &str = "\x01bc";

const CONFIG: &str = "hostname edge
linecard 0/0
 port 0
  driver af-packet device slot1
 !
!
vr red
 assign port 0/0/0
 interface Port0/0/0
  ipv4 address 10.1.0.1/24
 !
!
";

/// The hardware address in a table of interfaces.
fn hardware_address(table: &str) -> &str {
    let is_one = |word: &&str| word.len() == 17 && word.split(':').count() == 6;
    table.split_whitespace().find(is_one).unwrap_or_else(|| panic!("no address in {table}"))
}

#[test]
fn a_process_that_dies_is_said_and_recorded_and_a_kernel_that_panics_starts_anew_with_the_same_addresses() {
    if !can_boot(
        "a_process_that_dies_is_said_and_recorded_and_a_kernel_that_panics_starts_anew_with_the_same_addresses",
    ) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    fs::write(path("edge.conf"), CONFIG).unwrap();
    let disk = make_disk(folder.path(), &["--config", &path("edge.conf")]);
    let cable = [path("own.sock"), path("other.sock")].join(",");
    let disk_path = disk.to_str().unwrap();
    let mut vm = Vm::start(
        demo_image(),
        ["--memory", "96", "--disk", disk_path, "--cable", &cable, "--append", "sysrq_always_enabled"],
    );
    vm.expect_prompt("edge");
    let before = vm.command("edge", "show interfaces vr red");
    // First goes the shell, which needs most and is needed least; then a process of the router.
    vm.type_keys(OUT_OF_MEMORY);
    vm.expect("the shell ended: killed by SIGKILL");
    vm.type_keys(OUT_OF_MEMORY);
    let said = vm.expect("out of memory: give this machine, which has ");
    assert!(said.contains("ended: killed by SIGKILL; started again in"), "{said}");
    vm.type_keys(PANIC);
    vm.expect("Rebooting in 5 seconds");
    let again = vm.expect_prompt("edge");
    assert!(again.contains("starting the router edge"), "{again}");
    let after = vm.command("edge", "show interfaces vr red");
    assert_eq!(hardware_address(&before), hardware_address(&after));
    vm.type_line("shutdown");
    vm.wait_off();
    let records = run(Command::new("/sbin/debugfs").args(["-R", "ls -l default/crash"]).arg(&disk));
    let records = String::from_utf8(records.stdout).unwrap();
    assert_eq!(records.matches(".txt").count(), 1, "{records}");
}

#[test]
fn a_kernel_that_panics_before_the_router_is_up_stands_still_with_what_it_says() {
    if !can_boot("a_kernel_that_panics_before_the_router_is_up_stands_still_with_what_it_says") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = disk_on_which_no_router_starts(folder.path());
    let disk = disk.to_str().unwrap();
    let mut vm = Vm::start(demo_image(), ["--memory", "96", "--disk", disk, "--append", "sysrq_always_enabled"]);
    vm.expect("type `reload` or `shutdown`");
    vm.type_keys(PANIC);
    // Where it would start anew it says so instead: "Rebooting in 5 seconds".
    let said = vm.expect("end Kernel panic");
    assert!(said.contains("sysrq triggered crash") && !said.contains("Rebooting"), "{said}");
}

#[test]
fn too_little_memory_is_said_with_what_is_missing_at_a_working_console() {
    if !can_boot("too_little_memory_is_said_with_what_is_missing_at_a_working_console") {
        return;
    }
    const LEFT_MIB: u64 = 24;
    let mut vm = Vm::start(demo_image(), ["--memory", "128"]);
    vm.expect("memory: ");
    let available: u64 = vm.expect(" of ").trim_end_matches(" of ").parse().unwrap();
    vm.kill();
    // The kernel takes the others away, in pages of 2 MiB.
    let taken = format!("hugepages={}", (available - LEFT_MIB) / 2);
    let mut vm = Vm::start(demo_image(), ["--memory", "128", "--append", &taken]);
    let boot = vm.expect_prompt("demo");
    assert!(boot.contains("too little memory: the router needs 28 MiB of it"), "{boot}");
    assert!(vm.command("demo", "show processes").contains("stack"));
}

#[test]
fn a_machine_that_is_too_small_for_the_kernel_itself_says_how_much_is_needed_at_a_working_console() {
    let name = "a_machine_that_is_too_small_for_the_kernel_itself_says_how_much_is_needed_at_a_working_console";
    if !can_boot(name) {
        return;
    }
    // The kernel would overwrite itself in the first one and end in the second one for want of memory, the one after the
    // other without a word. The chip set of each resets it and switches it off in a way of its own.
    for (mib, chip_set) in [("64", "q35"), ("72", "pc")] {
        let mut vm = Vm::by_hand(demo_image(), |line| {
            line.replace(" -m 128 ", &format!(" -m {mib} ")).replace(" -M q35 ", &format!(" -M {chip_set} "))
        });
        let needed = format!("This image needs 96 MiB of memory, and the machine has {mib}: ");
        assert!(vm.expect("\n> ").contains(&needed), "{}", vm.console());
        // It waits for who can do something about it.
        vm.type_line("");
        assert_eq!(vm.expect("> "), "\n> ");
        for line in ["?", "shut", "shutdownn", "a line that is longer than there is room for"] {
            vm.type_line(line);
            assert!(vm.expect("\n> ").contains(&needed), "{line}: {}", vm.console());
        }
        vm.type_line("reloax\x7fd");
        let anew = vm.expect("\n> ");
        assert!(anew.contains(&needed) && !anew.contains("does not do that"), "{anew}");
        vm.type_line("shutdown");
        let (status, console) = vm.wait_off();
        assert!(status.success(), "{console}");
    }
}
