//! CPython's own tests of sockets, selectors and asyncio, on ours: `isthmus run --preload`.
//!
//! Client and server of these tests are threads of one process, hence in one VR: they speak over its loopback addresses,
//! through its stack. Those of `test_socket` that have a half for each are played once more, unmodified, each half in a VR
//! of its own, over the channel (`programs/halves.py`). Of `selectors` and asyncio, where one loop has both ends, each
//! connection is played once more by way of a process in another VR (`programs/relay.py`).

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Command;

use testing::preload::{build_library, program};
use testing::support::{Router, TWO_VRS, stderr, sum};

/// CPython of the system, to which Debian's package of tests belongs.
const PYTHON: &str = "/usr/bin/python3";

/// Plays the tests of modules, and says a line of each.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/router/programs/cpython.py");

/// What speaks TCP and UDP, or waits for it. The rest of asyncio's tests uses neither.
const MODULES: [&str; 12] = [
    "test_socket",
    "test_selectors",
    "test_asyncio.test_events",
    "test_asyncio.test_sock_lowlevel",
    "test_asyncio.test_streams",
    "test_asyncio.test_server",
    "test_asyncio.test_buffered_proto",
    "test_asyncio.test_sendfile",
    "test_asyncio.test_selector_events",
    "test_asyncio.test_sslproto",
    "test_asyncio.test_ssl",
    "test_asyncio.test_unix_events",
];

/// Tests that are known not to pass, with the reason.
const LISTED: &str = include_str!("programs/cpython.txt");

#[test]
fn cpythons_own_tests_of_sockets_pass_in_a_vr() {
    if is_installed("cpythons_own_tests_of_sockets_pass_in_a_vr") {
        let router = Router::up("preload-cpython", TWO_VRS);
        let passed = play(&router, &MODULES, &[], LISTED);
        assert!(passed > 900, "{passed}");
    }
}

/// Two VRs that are joined, with addresses of both families.
const BOTH_FAMILIES: &str = "\
connect red blue
vr red
 interface blue
  ipv4 address 10.0.0.0/31
  ipv6 address 2001:db8::1/64
 !
!
vr blue
 interface red
  ipv4 address 10.0.0.1/31
  ipv6 address 2001:db8::2/64
 !
!
";

/// What has the client's halves played in the other VR; the addresses of both.
const HALVES: [(&str, &str); 2] = [("CLIENT_VR", "blue"), ("HOSTS", "10.0.0.0 2001:db8::1 10.0.0.1 2001:db8::2")];

/// Of the halves that are not known to pass between two VRs.
const HALVES_LISTED: &str = include_str!("programs/halves.txt");

#[test]
fn cpythons_own_tests_pass_with_client_and_server_in_two_vrs() {
    if is_installed("cpythons_own_tests_pass_with_client_and_server_in_two_vrs") {
        let router = Router::up("preload-halves", BOTH_FAMILIES);
        let passed = play(&router, &["test_socket"], &HALVES, HALVES_LISTED);
        assert!(passed > 150, "{passed}");
        // They went over the channel: what crossed the stack is what was refused, or had no listener yet.
        let packets = sum(&router.sh("show stack counters"), "packets_received");
        assert!(packets < 20, "{packets} packets");
    }
}

/// What has each connection go by way of the other VR; the addresses of both.
const RELAYED: [(&str, &str); 2] = [("RELAY_VR", "blue"), HALVES[1]];

/// Of the tests that are not known to pass so.
const RELAYED_LISTED: &str = include_str!("programs/relay.txt");

#[test]
fn cpythons_own_tests_of_loops_pass_with_another_vr_between_both_ends() {
    if is_installed("cpythons_own_tests_of_loops_pass_with_another_vr_between_both_ends") {
        let router = Router::up("preload-relay", BOTH_FAMILIES);
        let passed = play(&router, &MODULES[1..], &RELAYED, RELAYED_LISTED);
        assert!(passed > 240, "{passed}");
        // The stack had what was refused, and datagrams to whoever was gone.
        let packets = sum(&router.sh("show stack counters"), "packets_received");
        assert!(packets < 400, "{packets} packets");
    }
}

fn is_installed(test: &str) -> bool {
    build_library();
    let has_tests = Command::new(PYTHON).args(["-c", "import test.test_socket"]).output();
    let is_there = has_tests.is_ok_and(|output| output.status.success());
    if !is_there {
        // Not `eprintln`: the test harness swallows what a passing test prints with it.
        let mut terminal = std::io::stderr();
        writeln!(terminal, "SKIPPED {test}: CPython's tests of {PYTHON} are not installed").unwrap();
    }
    is_there
}

/// Plays modules in red, and compares with what is listed; how many passed.
fn play(router: &Router, modules: &[&str], environment: &[(&str, &str)], listed: &str) -> u32 {
    let line = [&[PYTHON, SCRIPT], modules].concat();
    // They leave files where they hang.
    let mut command = program(router, "red", &line);
    let output = command.envs(environment.iter().copied()).current_dir(router.folder()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", stderr(&output));

    let listed: Vec<&str> = listed.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<&str, u32> = listed.iter().map(|pattern| (*pattern, 0)).collect();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for line in said.lines() {
        let (test, result) = line.split_once(' ').unwrap_or((line, ""));
        let word = result.split(' ').next().unwrap_or_default();
        *counts.entry(word).or_default() += 1;
        let known = listed.iter().find(|pattern| fits(pattern, test));
        if let Some(known) = known {
            *seen.entry(known).or_default() += 1;
        }
        match (word, known) {
            ("ok" | "apart", None) | ("skipped", _) => {}
            ("ok" | "apart", Some(_)) => wrong.push(format!("{test} is listed, and passes")),
            (_, Some(_)) => {}
            // Some measure times, which a busy machine stretches: once more, alone.
            (_, None) if passes_alone(router, environment, test) => {}
            (_, None) => wrong.push(format!("{test} {result}")),
        }
    }
    let stale = seen
        .iter()
        .filter(|(_, times)| **times == 0)
        .map(|(pattern, _)| format!("{pattern} is listed, and did not run"));
    wrong.extend(stale);
    assert!(wrong.is_empty(), "{counts:?}\n{}", wrong.join("\n"));
    // A suite that was not found would have nothing to fail.
    counts.get("ok").copied().unwrap_or(0)
}

fn passes_alone(router: &Router, environment: &[(&str, &str)], test: &str) -> bool {
    let module = MODULES.iter().find(|module| test.starts_with(&format!("test.{module}.")));
    let Some(module) = module else { return false };
    let mut command = program(router, "red", &[PYTHON, SCRIPT, module]);
    let command = command.envs(environment.iter().copied()).current_dir(router.folder());
    let output = command.env("ONLY", test).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().any(|line| line == format!("{test} ok"))
}

/// Whether a text is as a pattern with `*` says.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

#[test]
fn a_pattern_of_the_list_means_what_it_says() {
    assert!(fits("a.*UDP*", "a.bUDPc") && fits("a.*UDP*", "a.UDP") && fits("a.b", "a.b"));
    assert!(!fits("a.*UDP*", "a.TCP") && !fits("a.b", "a.bc") && !fits("b*", "ab") && !fits("a*b", "abc"));
}
