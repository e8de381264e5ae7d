//! Programs that are executed with a socket of ours, as inetd does.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use testing::preload::{Server, has, program};
use testing::support::{BOTH_WAYS, JOINED, Router, stderr, wait_until};

use crate::preload::seen;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/exec.py");

#[test]
fn a_program_that_is_executed_goes_on_with_its_sockets_as_on_linux() {
    if !has("a_program_that_is_executed_goes_on_with_its_sockets_as_on_linux", &["python3"]) {
        return;
    }
    // A port that the kernel has just given away is not given again soon.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let on_linux = |words: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["60", "python3", PROGRAM]).args(words);
        command
    };
    let on_linux = seen(on_linux(&["serve", &port]), on_linux(&["ask", "127.0.0.1", &port]));
    let router = Router::up("exec-same", BOTH_WAYS);
    let ours =
        |vr: &str, words: &[&str]| program(&router, vr, &[&["timeout", "60", "python3", PROGRAM], words].concat());
    for address in ["10.0.0.1", "10.1.0.1"] {
        let ours = seen(ours("blue", &["serve", &port]), ours("red", &["ask", address, &port]));
        assert_eq!(ours, on_linux, "{address}");
    }
}

const DATAGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/exec_datagrams.py");

#[test]
fn a_program_that_is_executed_goes_on_with_a_udp_socket_as_on_linux() {
    if !has("a_program_that_is_executed_goes_on_with_a_udp_socket_as_on_linux", &["python3", "timeout"]) {
        return;
    }
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let on_linux = |words: &[&str]| {
        let mut command = Command::new("timeout");
        command.args(["60", "python3", DATAGRAMS]).args(words);
        command
    };
    let on_linux = seen(on_linux(&["serve", &port]), on_linux(&["ask", "127.0.0.1", &port]));
    let router = Router::up("exec-udp", BOTH_WAYS);
    let ours =
        |vr: &str, words: &[&str]| program(&router, vr, &[&["timeout", "60", "python3", DATAGRAMS], words].concat());
    for address in ["10.0.0.1", "10.1.0.1"] {
        let ours = seen(ours("blue", &["serve", &port]), ours("red", &["ask", address, &port]));
        assert_eq!(ours, on_linux, "{address}");
    }
}

/// What a client of port 7 gets back.
fn answer(router: &Router, said: &[u8]) -> Option<Vec<u8>> {
    wait_until(|| {
        let mut client = program(router, "red", &["socat", "-t5", "-", "TCP:10.0.0.1:7"]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // A client whose connection is refused does not read.
        let _ = client.stdin.take().unwrap().write_all(said);
        let output = client.wait_with_output().unwrap();
        output.status.success().then_some(output.stdout)
    })
}

#[test]
fn inetd_hands_each_of_its_connections_to_a_program_of_its_own() {
    if !has("inetd_hands_each_of_its_connections_to_a_program_of_its_own", &["socat"]) {
        return;
    }
    let router = Router::up("exec-inetd", JOINED);
    let script = router.folder().join("upper");
    std::fs::write(&script, "tr a-z A-Z\necho $$\n").unwrap();
    let executes = format!("EXEC:sh {},nofork", script.display());
    let inetd = program(&router, "blue", &["socat", "TCP-LISTEN:7,fork", &executes]);
    let _inetd = Server::start(inetd);
    let answers = [&b"one"[..], b"two"].map(|said| String::from_utf8(answer(&router, said).unwrap()).unwrap());
    assert!(answers[0].starts_with("ONE") && answers[1].starts_with("TWO"), "{answers:?}");
    assert_ne!(answers[0][3..], answers[1][3..], "each has a process");
}

#[test]
fn a_bad_hand_over_is_told_and_costs_its_descriptors_only() {
    if !has("a_bad_hand_over_is_told_and_costs_its_descriptors_only", &["python3"]) {
        return;
    }
    let router = Router::up("exec-lies", JOINED);
    let (stdin, _peer) = UnixStream::pair().unwrap();
    let inode = std::fs::metadata(format!("/proc/self/fd/{}", stdin.as_raw_fd())).unwrap().ino();
    for (address, told, standard_input) in [
        ("nonsense".to_owned(), "does not say where they are", "there"),
        (format!("99999:1:{inode}"), "was closed by the program before", "EBADF"),
        // Nobody would ever say that nothing more comes.
        (format!("0:{inode}"), "Resource temporarily unavailable", "EBADF"),
    ] {
        let line =
            "import errno, os\ntry: os.fstat(0); print('there')\nexcept OSError as e: print(errno.errorcode[e.errno])";
        let mut program = program(&router, "red", &["python3", "-c", line]);
        program.env("ISTHMUS_PRELOAD_HANDOVER", &address).stdin(OwnedFd::from(stdin.try_clone().unwrap()));
        let output = program.output().unwrap();
        assert!(stderr(&output).contains(told), "{address}: {}", stderr(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), standard_input, "{address}");
    }
}
