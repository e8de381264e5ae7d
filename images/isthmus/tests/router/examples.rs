//! The examples of the socket library, run in a router as a developer runs programs of their own.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{CABLE_PORTS, Router, sum};

/// The demo's two VRs, and a third that reaches neither but by the stack: behind the cable of [`CABLE_PORTS`] to red.
const THREE_VRS: &str = "
vr red
 assign port 0/0/0
 interface blue
  ipv4 address 10.0.0.0/31
 !
 interface Port0/0/0
  ipv4 address 10.1.0.1/24
 !
!
vr blue
 interface red
  ipv4 address 10.0.0.1/31
 !
!
vr west
 assign port 0/0/1
 interface Port0/0/1
  ipv4 address 10.1.0.2/24
 !
!
connect red blue
";

/// The examples' executables, built once.
fn examples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let executable = Path::new(env!("CARGO_BIN_EXE_isthmus"));
        let profile = executable.parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "isthmus-sockets", "--examples"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(built.success(), "the examples do not build");
        profile.join("examples")
    })
}

/// An example that runs in a VR until it is dropped.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    fn start(router: &Router, vr: &str, example: &str, arguments: &[&str]) -> Self {
        let mut command = command(router, vr, example, arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        self.lines.next().expect("it ended").unwrap()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn command(router: &Router, vr: &str, example: &str, arguments: &[&str]) -> Command {
    let program = examples().join(example);
    let mut command = router.command(["run", "--name", router.name(), "--vr", vr, "--"]);
    command.arg(program).args(arguments);
    command
}

/// What an example prints that ends by itself.
fn output(router: &Router, vr: &str, example: &str, arguments: &[&str]) -> String {
    let output = command(router, vr, example, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} {arguments:?} in {vr}: {said}\n{}", router.log());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn programs_of_a_developer_speak_tcp_udp_and_raw_ip_over_the_channel_and_over_the_cable() {
    let router = Router::up("examples", &[CABLE_PORTS, THREE_VRS].concat());
    for vr in ["red", "west"] {
        router.wait_for_row("show fib", &[("vr", vr), ("prefix", "10.1.0.0/24")]);
    }
    let mut echo = Example::start(&router, "red", "tcp_echo", &["serve", "7"]);
    assert_eq!(echo.line(), "listening on 0.0.0.0:7");
    let mut pong = Example::start(&router, "red", "udp_ping", &["answer", "7"]);
    assert_eq!(pong.line(), "listening on 0.0.0.0:7");

    let packets = |router: &Router| sum(&router.sh("show stack counters"), "packets_sent");
    let before = packets(&router);
    assert_eq!(output(&router, "blue", "tcp_echo", &["ask", "10.0.0.0:7", "hello"]), "10.0.0.0:7 answers hello\n");
    assert!(echo.line().starts_with("5 bytes of 10.0.0.1:"));
    let pings = output(&router, "blue", "udp_ping", &["ask", "10.0.0.0:7"]);
    assert_eq!(pings, "6 bytes from 10.0.0.0:7: ttl=64 over red\n".repeat(3));
    let before_the_cable = packets(&router);
    assert_eq!(before_the_cable, before, "the stack has no part in a hit");

    assert_eq!(output(&router, "west", "tcp_echo", &["ask", "10.1.0.1:7", "hello"]), "10.1.0.1:7 answers hello\n");
    assert!(echo.line().starts_with("5 bytes of 10.1.0.2:"));
    let pings = output(&router, "west", "udp_ping", &["ask", "10.1.0.1:7"]);
    assert_eq!(pings, "6 bytes from 10.1.0.1:7: ttl=64 over Port0/0/1\n".repeat(3));
    assert!(packets(&router) > before_the_cable);
}

#[test]
fn every_process_of_a_vr_hears_its_protocol_and_the_groups_that_it_joined_on_a_channel_and_on_a_wire() {
    let router = Router::up("groups", &[CABLE_PORTS, THREE_VRS].concat());
    for vr in ["red", "west"] {
        router.wait_for_row("show fib", &[("vr", vr), ("prefix", "10.1.0.0/24")]);
    }
    let memberships =
        ["listen", "253", "224.0.0.5", "blue", "224.0.0.5", "Port0/0/0", "239.1.1.1", "blue", "239.1.1.1", "Port0/0/0"];
    let mut members: Vec<Example> = Vec::new();
    for _ in 0..2 {
        let mut member = Example::start(&router, "red", "raw_ip", &memberships);
        assert_eq!(member.line(), "listening");
        members.push(member);
    }
    output(&router, "blue", "raw_ip", &["say", "253", "224.0.0.5", "hello", "red"]);
    output(&router, "west", "raw_ip", &["say", "253", "224.0.0.5", "from afar", "Port0/0/1"]);
    output(&router, "blue", "raw_ip", &["say", "253", "239.1.1.1", "of a site", "red"]);
    output(&router, "west", "raw_ip", &["say", "253", "239.1.1.1", "of a site, from afar", "Port0/0/1"]);
    output(&router, "blue", "raw_ip", &["say", "253", "10.0.0.0", "to one"]);
    let expected = [
        "10.0.0.1 to 10.0.0.0 over blue, ttl=64: to one",
        "10.0.0.1 to 224.0.0.5 over blue, ttl=1: hello",
        "10.0.0.1 to 239.1.1.1 over blue, ttl=1: of a site",
        "10.1.0.2 to 224.0.0.5 over Port0/0/0, ttl=1: from afar",
        "10.1.0.2 to 239.1.1.1 over Port0/0/0, ttl=1: of a site, from afar",
    ];
    for member in &mut members {
        let mut heard: Vec<String> = expected.iter().map(|_| member.line()).collect();
        heard.sort();
        assert_eq!(heard, expected);
    }
}

#[test]
fn a_datagram_that_nobody_wants_is_refused_and_the_sender_told() {
    let router = Router::up("refused", &[CABLE_PORTS, THREE_VRS].concat());
    router.wait_for_row("show fib", &[("vr", "blue"), ("prefix", "10.0.0.0/31")]);
    let output = command(&router, "blue", "udp_ping", &["ask", "10.0.0.0:9"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("ConnectionRefused"), "{said}");
}
