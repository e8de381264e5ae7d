//! What is wrong is said in a sentence that points at the place, and starts nothing.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use nix::sys::signal::Signal;

use crate::support::{Router, TWO_VRS, assert_fails, assert_gone, matching, stderr};

/// What `up` and `check` say about a configuration; they must agree, and nothing may run.
fn refused(config: &str) -> String {
    let router = Router::new("refused");
    let file = router.write("router.conf", config);
    let output = router.try_start(&file);
    assert!(!output.status.success(), "it started:\n{config}");
    let check = router.command(["check".as_ref(), file.as_os_str()]).output().unwrap();
    assert_eq!((check.status.code(), stderr(&check)), (Some(1), stderr(&output)));
    assert_eq!(std::fs::read_dir(router.folder()).unwrap().count(), 1, "only the configuration is there");
    // The file is named as it was on the command line.
    stderr(&output).replace(&format!("{}/", router.folder().display()), "")
}

/// The demo's configuration with more behind it.
fn with(lines: &str) -> String {
    format!("{TWO_VRS}\n{lines}\n")
}

/// The line of the first error, which stands in the first line of `lines` behind the demo's.
fn place(error: &str) -> (usize, &str) {
    let rest = error.strip_prefix("router.conf:").unwrap_or_else(|| panic!("no place: {error}"));
    let (line, rest) = rest.split_once(':').unwrap();
    (line.parse::<usize>().unwrap() - TWO_VRS.lines().count() - 1, rest)
}

#[test]
fn a_wrong_configuration_starts_nothing_and_points_at_the_place() {
    for (lines, line, column, wanted) in [
        ("vr red\n interfase blue", 2, 2, "interfase"),
        ("vr red\n interface blue\n  ipv4 address 10.0.0.300/31", 3, 16, "10.0.0.300/31"),
        ("vr red\n interface Loopback1\n  ipv4 address 10.0.0.0/31", 3, 16, "10.0.0.0/31"),
        ("connect red green", 1, 13, "green"),
        ("connect red blue", 1, 1, "twice"),
        ("connect blue red", 1, 1, "connected already"),
        ("vr red\n interface Port0/0/0\n  ipv4 address 10.1.0.1/24", 2, 12, "Port0/0/0"),
        ("vr red\n interface blue\n  mtu 1500\n  mtu 1400", 4, 3, "1400"),
        ("vr red\n interface Loopback1\n  short-circuit disable", 3, 3, "Loopback1"),
        ("vr red\n router static\n  address-family ipv4 unicast\n   10.1.2.3/8 Null0", 4, 4, "10.1.2.3/8"),
    ] {
        let error = refused(&with(lines));
        let (found, rest) = place(&error);
        let at: usize = rest.split(':').next().unwrap().parse().unwrap();
        assert_eq!((found, at), (line, column), "{lines}\n{error}");
        assert!(error.contains(wanted), "{lines}\n{error}");
    }
}

#[test]
fn a_port_that_is_assigned_twice_is_refused_with_both_places() {
    let error = refused(&with(
        "linecard 0/0\n port 0\n  driver cable local ./a.sock remote ./b.sock\n !\n!\n\
         vr red\n assign port 0/0/0\n!\nvr blue\n assign port 0/0/0",
    ));
    assert_eq!(place(&error).0, 10, "{error}");
    assert!(error.contains("0/0/0") && error.matches("router.conf:").count() >= 2, "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let router = Router::new("unread");
    let output = router.try_start(&router.folder().join("missing.conf"));
    assert_fails(&output, "missing.conf");
    assert_fails(&output, "No such file");
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    let router = Router::demo("usage");
    let code = |output: Output| output.status.code();
    assert_eq!(code(router.command(["dwon"]).output().unwrap()), Some(2));
    assert_eq!(code(router.try_sh("shwo vr")), Some(2));
    assert_eq!(code(router.try_sh("show nothing")), Some(2));
    assert_eq!(code(router.try_sh("show vrfib green/bgp")), Some(1));
    assert_eq!(code(router.try_sh("show vr")), Some(0));
}

#[test]
fn a_router_that_does_not_run_is_said_to_everyone_who_asks_for_it() {
    let router = Router::new("absent");
    for args in [&["sh", "-c", "show vr"][..], &["down"], &["run", "--vr", "red", "--", "true"]] {
        let mut args = args.to_vec();
        args.splice(1..1, ["--name", "absent"]);
        assert_fails(&router.command(args).output().unwrap(), "router absent does not run");
    }
    let up = router.command(["up", "--name", "absent"]).output().unwrap();
    assert_fails(&up, "no saved configuration");
}

#[test]
fn a_second_router_of_the_same_name_is_refused_and_the_first_goes_on() {
    let router = Router::up("twice", TWO_VRS);
    let procmgr = router.pid("", "procmgr");
    let again = router.try_start(&router.folder().join("router.conf"));
    assert_fails(&again, format!("router \"twice\" already runs (PID {procmgr})"));
    assert_fails(&router.command(["--name", "twice"]).output().unwrap(), "already runs");
    router.wait_for_session();
}

#[test]
fn a_port_without_its_device_ends_the_start_with_one_sentence() {
    let router = Router::new("device");
    let config =
        "linecard 0/0\n port 0\n  driver af-packet device isthmus-none\n !\n!\nvr red\n assign port 0/0/0\n!\n";
    let output = router.try_start(&router.write("router.conf", config));
    let error = stderr(&output);
    assert!(error.contains("0/0/0") && error.contains("isthmus-none"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_fails(&router.try_sh("show vr"), "does not run");
}

#[test]
fn a_port_without_the_capability_for_it_ends_the_start_with_one_sentence() {
    if nix::unistd::geteuid().is_root() {
        return as_nobody_without_the_capability();
    }
    let router = Router::new("raw");
    assert_needs_cap_net_raw(&router, &router.try_start(&router.write("router.conf", RAW)));
}

const RAW: &str = "linecard 0/0\n port 0\n  driver af-packet device lo\n !\n!\nvr red\n assign port 0/0/0\n!\n";

/// As root, the same with the capability taken away.
fn as_nobody_without_the_capability() {
    let router = Router::new("raw");
    let file = router.write("router.conf", RAW);
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw", env!("CARGO_BIN_EXE_isthmus"), "up", "-d"])
        .args(["--name".as_ref(), "raw".as_ref(), file.as_os_str()])
        .env("ISTHMUS_DIR", router.folder())
        .output()
        .unwrap();
    assert_needs_cap_net_raw(&router, &output);
}

fn assert_needs_cap_net_raw(router: &Router, output: &Output) {
    assert_fails(output, "CAP_NET_RAW");
    assert_eq!(stderr(output).lines().count(), 1, "{}", stderr(output));
    assert_fails(&router.try_sh("show vr"), "does not run");
}

#[test]
fn a_stale_runtime_folder_is_taken_over() {
    let router = Router::up("stale", TWO_VRS);
    let pids = router.pids();
    router.signal("", "procmgr", Signal::SIGKILL);
    assert_gone(&pids);
    assert!(router.folder().join("stale/control.sock").exists(), "the crash left its socket");
    router.start(&router.folder().join("router.conf"));
    router.wait_for_session();
}

#[test]
fn a_folder_that_cannot_be_written_is_said_with_its_name() {
    if nix::unistd::geteuid().is_root() {
        // Root may write anywhere but where there is no file system for it.
        let router = Router::new("proc");
        let file = router.write("router.conf", TWO_VRS);
        let mut command = router.command(["up".as_ref(), file.as_os_str(), "-d".as_ref()]);
        return assert_fails(&command.env("ISTHMUS_DIR", "/proc/isthmus").output().unwrap(), "/proc/isthmus");
    }
    let router = Router::new("closed");
    let file = router.write("router.conf", TWO_VRS);
    let closed = router.folder().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    let mut command = router.command(["up".as_ref(), file.as_os_str(), "-d".as_ref()]);
    assert_fails(&command.env("ISTHMUS_DIR", &closed).output().unwrap(), "Permission denied");
}

#[test]
fn a_path_too_long_for_a_socket_is_said_with_its_length() {
    let router = Router::new("long");
    let deep = router.folder().join("x".repeat(120));
    let output = router.command(["sh", "-c", "show vr"]).env("ISTHMUS_DIR", &deep).output().unwrap();
    assert_fails(&output, "at most 107");
}

#[test]
fn a_process_that_keeps_dying_is_reported_and_the_rest_works() {
    let router = Router::up("dying", TWO_VRS);
    router.wait_for_session();
    // Each death makes the pause before the next start longer: soon it can be seen.
    let seen = crate::support::wait_until(|| {
        let rows = router.rows("show processes", &[("vr", "blue"), ("name", "bgp")]);
        if rows[0]["state"] == "backoff" && rows[0]["restarts"].as_u64() >= Some(2) {
            return Some(rows[0].clone());
        }
        let pid = rows[0]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.filter(|_| rows[0]["state"] == "ready") {
            // So that it has said something.
            router.wait_for_session();
            // It may just have ended.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
        None
    });
    let row = seen.expect("a process that waits before it is started again");
    assert_eq!(row["last_exit"], "killed by SIGKILL", "{row}");
    assert!(row["last_words"].to_string().contains("Established"), "{row}");
    let others = router.sh("show processes");
    assert!(matching(&others, &[("state", "ready")]).len() >= 7, "{others}");
    assert_eq!(router.sh("ping vr red 192.0.2.1 count 1")["received"], 1);
}

#[test]
fn a_program_in_the_background_that_ends_before_it_works_is_told_by_its_exit_code() {
    let router = Router::up("background", TWO_VRS);
    let run = |program: &str| {
        let words = ["run", "--name", "background", "--vr", "red", "-d", "--", "sh", "-c", program];
        router.command(words).status().unwrap().code()
    };
    assert_eq!(run("exit 3"), Some(3));
    assert_eq!(run("kill -9 $$"), Some(128 + 9));
}
