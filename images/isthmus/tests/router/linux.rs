//! Calls of a program on its own sockets, in a VR and on Linux: `programs/linux.py` prints the same.

use std::process::Command;

use testing::preload::{has, program};
use testing::support::{Router, TWO_VRS, stderr};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/linux.py");

/// Runs a section of the script on both; what it said, and how often the library had something to say.
fn is_as_on_linux(test: &str, section: &str) {
    if !has(test, &["python3"]) {
        return;
    }
    let router = Router::up(&format!("linux-{section}"), TWO_VRS);
    let line = ["python3", SCRIPT, section];
    let mut on_linux = Command::new(line[0]);
    on_linux.args(&line[1..]);
    let [on_linux, in_a_vr] = [on_linux, program(&router, "red", &line)].map(|mut command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    });
    assert_eq!(in_a_vr, on_linux);
}

/// Another process asks, which Python starts by vfork(2) and exec.
#[test]
fn a_port_that_another_process_has_is_refused_at_bind() {
    is_as_on_linux("a_port_that_another_process_has_is_refused_at_bind", "ports");
}

#[test]
fn select_and_poll_wait_for_descriptors_above_1024() {
    is_as_on_linux("select_and_poll_wait_for_descriptors_above_1024", "high");
}
