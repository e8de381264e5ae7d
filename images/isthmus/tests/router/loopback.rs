//! Loopback addresses, 127.0.0.1 and ::1: every VR has its own, for its own processes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use testing::preload::{Server, has, program};
use testing::support::{Router, TWO_VRS, stderr};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/loopback.py");

#[test]
fn a_program_that_speaks_with_itself_sees_in_a_vr_what_it_sees_on_linux() {
    if !has("a_program_that_speaks_with_itself_sees_in_a_vr_what_it_sees_on_linux", &["python3"]) {
        return;
    }
    let router = Router::up("loopback", TWO_VRS);
    let seen = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut on_linux = Command::new("python3");
    on_linux.arg(SCRIPT);
    assert_eq!(seen(program(&router, "red", &["python3", SCRIPT])), seen(on_linux));
}

#[test]
fn standard_io_over_a_socket_does_what_it_does_on_linux() {
    if !has("standard_io_over_a_socket_does_what_it_does_on_linux", &["python3"]) {
        return;
    }
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/stdio.py");
    let router = Router::up("stdio", TWO_VRS);
    let on_linux = Command::new("python3").args([SCRIPT, "127.0.0.1"]).output().unwrap();
    let in_a_vr = program(&router, "red", &["python3", SCRIPT, "127.0.0.1"]).output().unwrap();
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said(&in_a_vr), said(&on_linux), "{}", stderr(&in_a_vr));
    assert!(said(&on_linux).contains("[b'one\\n', b'two\\n', b'3\\n']"), "{}", said(&on_linux));
}

#[test]
fn a_loopback_address_is_reached_by_its_own_vr_alone() {
    if !has("a_loopback_address_is_reached_by_its_own_vr_alone", &["python3"]) {
        return;
    }
    let router = Router::up("loopbacks", TWO_VRS);
    let mut command = program(&router, "blue", &["python3", SCRIPT, "serve"]);
    command.stdin(Stdio::piped());
    let mut server = Server::start(command);
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let tries = |vr: &str, address: &str, from: &str| {
        let script = format!(
            "import socket; socket.create_connection(({address:?}, {}), 10, ({from:?}, 0)); print('ok')",
            port.trim()
        );
        let output = program(&router, vr, &["python3", "-c", &script]).output().unwrap();
        match output.status.success() {
            true => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            false => stderr(&output).lines().last().unwrap_or_default().to_owned(),
        }
    };
    assert_eq!(tries("blue", "127.0.0.1", ""), "ok");
    assert!(tries("red", "127.0.0.1", "").contains("ConnectionRefusedError"), "{}", tries("red", "127.0.0.1", ""));
    assert!(tries("red", "10.0.0.1", "").contains("ConnectionRefusedError"), "{}", tries("red", "10.0.0.1", ""));
    // Nor may it be a source elsewhere.
    let elsewhere = tries("red", "10.0.0.1", "127.0.0.1");
    assert!(elsewhere.contains("Invalid argument"), "{elsewhere}");
}
