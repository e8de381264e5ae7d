//! A router boots in a virtual machine, works, and goes off in order.

use std::fs;

use crate::support::{assert_fails, stderr};
use crate::vm::{Vm, build, can_boot, demo_image, image_command};

#[test]
fn the_demo_boots_its_session_comes_up_and_the_power_button_ends_it_in_order() {
    if !can_boot("the_demo_boots_its_session_comes_up_and_the_power_button_ends_it_in_order") {
        return;
    }
    let mut vm = Vm::start(demo_image(), ["--memory", "96"]);
    let boot = vm.expect_prompt("demo");
    for said in ["mounted /proc", "kernel modules", "no disk: running from memory", "random numbers are ready"] {
        assert!(boot.contains(said), "{said:?} in:\n{boot}");
    }
    vm.command_until("demo", "show bgp summary vr red", |text| text.contains("Established"));
    assert!(vm.command("demo", "ping vr red 192.0.2.2 count 1").contains("1 received"));
    // Nothing can be kept, and the router says so instead of keeping it in memory.
    assert!(vm.command("demo", "copy running-config startup-config").contains("% this router keeps nothing"));
    // The prompt is the host name.
    vm.type_line("configure hostname edge");
    vm.expect_prompt("edge");
    vm.press_power();
    let (status, console) = vm.wait_off();
    assert!(status.success());
    assert!(console.contains("] power off\n"), "{console}");
}

#[test]
fn the_shell_comes_back_after_exit_and_an_interrupt_and_reload_starts_the_machine_anew() {
    if !can_boot("the_shell_comes_back_after_exit_and_an_interrupt_and_reload_starts_the_machine_anew") {
        return;
    }
    let mut vm = Vm::start(demo_image(), ["--memory", "96"]);
    vm.expect_prompt("demo");
    vm.type_line("exit");
    vm.expect("press RETURN for a shell");
    vm.type_line("");
    vm.expect_prompt("demo");
    // The terminal is the shell's own, with the key that ends a command and not the shell.
    vm.command_until("demo", "show bgp summary vr red", |text| text.contains("Established"));
    vm.type_line("ping vr red 192.0.2.2 count 1000");
    vm.expect("seq=1 ");
    vm.type_keys("\x03");
    vm.expect_prompt("demo");
    vm.type_line("reload");
    vm.expect("reload\n");
    // The same machine, anew.
    vm.expect("starting the router demo with");
    vm.expect_prompt("demo");
    vm.type_line("shutdown");
    let (status, _) = vm.wait_off();
    assert!(status.success());
}

#[test]
fn the_same_input_makes_the_same_image() {
    if !can_boot("the_same_input_makes_the_same_image") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    build(folder.path(), &[]);
    for name in ["vmlinuz", "initrd"] {
        let (one, other) = (fs::read(demo_image().join(name)).unwrap(), fs::read(folder.path().join(name)).unwrap());
        assert!(one == other, "{name} differs");
    }
}

#[test]
fn what_cannot_be_built_or_run_is_refused_with_a_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("text"), "no kernel").unwrap();
    fs::write(path("wrong.conf"), "vr red\nconnect red blue\n").unwrap();
    let image = path("image");
    assert_fails(&image_command(["qemu", "-o", &image, "--kernel", &path("text")]), "neither a Linux kernel (bzImage)");
    assert_fails(&image_command(["qemu", "-o", &image, "--kernel", &path("absent")]), "absent: No such file");
    assert_fails(&image_command(["qemu", "-o", &image, "--config", &path("wrong.conf")]), "there is no VR `blue`");
    assert_fails(&image_command(["disk", "-o", &path("text")]), "it exists; --force replaces it");
    assert_fails(&image_command(["disk", "-o", &path("disk"), "--config", &path("wrong.conf")]), "no VR `blue`");
    assert_fails(&image_command(["run", &image]), "is no image");
    assert!(!folder.path().join("image").exists() && !folder.path().join("disk").exists());
    assert_fails(&image_command(["run", &image, "--memory", "64"]), "need at least 96 MiB");
    let wrong = image_command(["run", &image, "--cable", "one"]);
    assert!(stderr(&wrong).contains("LOCAL,REMOTE"), "{}", stderr(&wrong));
}
