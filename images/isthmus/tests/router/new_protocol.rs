//! `isthmus new protocol`, as a developer uses it: written, built without a network, attached from a shell to a running
//! router, configured, looked at, killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Router, assert_fails, matching, stderr, wait_until};

/// A developer's folder, with a protocol of theirs in it.
struct Workshop {
    folder: TempDir,
    name: &'static str,
}

impl Workshop {
    fn new(name: &'static str) -> Self {
        let workshop = Self { folder: tempfile::tempdir().unwrap(), name };
        let made = workshop.isthmus(&["new", "protocol", name]);
        assert!(made.status.success(), "{}", stderr(&made));
        workshop
    }

    fn isthmus(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).output().unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// `cargo` in the protocol's folder, with nothing of this build's environment but where things are.
    fn cargo(&self, arguments: &[&str]) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).args(["--offline", "--quiet"]).current_dir(self.path());
        let set_by_cargo = |key: &String| key.starts_with("CARGO_") && key != "CARGO_HOME";
        std::env::vars().map(|(key, _)| key).filter(set_by_cargo).for_each(|key| _ = cargo.env_remove(key));
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "cargo {arguments:?}: {}", stderr(&output));
    }

    /// The program.
    fn program(&self) -> PathBuf {
        self.path().join("target/debug").join(self.name)
    }
}

/// Runs a program in a VR until it is dropped.
struct Attached(Child);

impl Attached {
    fn start(router: &Router, vr: &str, program: &Path) -> Self {
        let arguments = ["run", "--name", router.name(), "--vr", vr, "--"].map(std::ffi::OsStr::new);
        Self(router.command(arguments.into_iter().chain([program.as_os_str()])).spawn().unwrap())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

/// Configures a program in words of its own, which `config` hears a moment after the program has attached.
fn configure(router: &Router, line: &str) {
    let mut last = String::new();
    let done = wait_until(|| {
        let output = router.try_sh(line);
        last = stderr(&output);
        output.status.success().then_some(())
    });
    done.unwrap_or_else(|| panic!("{line}: {last}"));
}

#[test]
fn a_new_protocol_is_built_attached_seen_and_gone_with_its_routes() {
    let workshop = Workshop::new("my-hello");
    workshop.cargo(&["build"]);
    workshop.cargo(&["test"]);
    let router = Router::up("new-protocol", &std::fs::read_to_string(workshop.path().join("lab.conf")).unwrap());
    let program = workshop.program();
    let red = Attached::start(&router, "red", &program);
    let blue = Attached::start(&router, "blue", &program);

    // It is listed like any other, answers its table, and is heard by the other VR's.
    router.wait_for_row("show processes", &[("vr", "red"), ("name", "my-hello"), ("state", "ready")]);
    router.wait_for_row("show my-hello", &[("vr", "blue"), ("interface", "red"), ("neighbor", "10.0.0.0")]);
    router.wait_for_row("show my-hello", &[("vr", "red"), ("interface", "blue"), ("neighbor", "10.0.0.1")]);
    assert_eq!(router.rows("show my-hello vr red", &[("vr", "blue")]), [] as [serde_json::Value; 0]);

    // Of one name there is one in each VR.
    let again = ["run", "--name", router.name(), "--vr", "red", "--"].map(std::ffi::OsStr::new);
    let again = router.command(again.into_iter().chain([program.as_os_str()])).output().unwrap();
    assert_fails(&again, format!("my-hello runs in this virtual router already, as PID {}", red.0.id()));

    let other_name = workshop.folder.path().join("other-name");
    std::fs::copy(&program, &other_name).unwrap();
    let renamed = ["run", "--name", router.name(), "--vr", "red", "--"].map(std::ffi::OsStr::new);
    let renamed = router.command(renamed.into_iter().chain([other_name.as_os_str()])).output().unwrap();
    assert_fails(&renamed, "this program is class my-hello but runs as other-name: rename it");

    // Its words are of the configuration, and what it is told becomes a route of the other VR.
    configure(&router, "configure vr red; router my-hello; network 198.51.100.0/24");
    let route = [("vr", "blue"), ("prefix", "198.51.100.0/24"), ("protocol", "my-hello")];
    router.wait_for_row("show route", &route);
    router.wait_for_row("show fib", &[("vr", "blue"), ("prefix", "198.51.100.0/24"), ("action", "forward")]);
    let config = router.command(["sh", "--name", router.name(), "-c", "show running-config"]).output().unwrap();
    let config = String::from_utf8(config.stdout).unwrap();
    assert!(config.contains(" router my-hello\n  network 198.51.100.0/24\n"), "{config}");
    assert_fails(&router.try_sh("configure vr red; router my-hello; network 198.51.100.1/24"), "198.51.100.0/24");

    // A config that comes back knows the words still.
    router.kill_and_await("", "config");
    configure(&router, "configure vr red; router my-hello; interval 2");

    // Killed, its routes go and its channels close; its lines wait for it.
    router.signal("blue", "my-hello", Signal::SIGKILL);
    drop(blue);
    router.wait_for("show route", |table| matching(table, &route).is_empty());
    router.wait_for("show channels", |table| !table.to_string().contains("blue/my-hello"));
    router.wait_for("show processes", |table| matching(table, &[("vr", "blue"), ("name", "my-hello")]).is_empty());
    let _blue = Attached::start(&router, "blue", &program);
    router.wait_for_row("show route", &route);

    // The router stops it like any other.
    assert!(router.down().status.success());
    let mut red = red;
    let ended = wait_until(|| red.0.try_wait().unwrap()).expect("it ended with the router");
    assert!(ended.success(), "{ended}");
}

#[test]
fn what_cannot_be_made_or_attached_is_said_in_one_sentence() {
    let workshop = Workshop { folder: tempfile::tempdir().unwrap(), name: "taken" };
    std::fs::create_dir(workshop.path()).unwrap();
    let says = |arguments: &[&str], wanted: &str| {
        let output = workshop.isthmus(arguments);
        assert_fails(&output, wanted);
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    };
    says(&["new", "protocol", "taken"], "isthmus: taken is there already");
    says(&["new", "protocol", "Bad Name"], "\"Bad Name\" is no name for a protocol");
    says(&["new", "protocol", "bgp"], "bgp is one of the router's own processes");
    says(&["new", "protocol", "fine", "--sources", "/nowhere"], "/nowhere does not hold the sources of Isthmus");
    assert!(!workshop.folder.path().join("fine").exists(), "nothing half made is left");
    let dir = workshop.folder.path().to_str().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    run.args(["run", "--vr", "red", "--", "/bin/true"]).env("ISTHMUS_DIR", dir).stdin(Stdio::null());
    assert_fails(&run.output().unwrap(), "router default does not run");
}

/// Three VRs in a row.
const THREE_IN_A_ROW: &str = include_str!("../../../../protocols/examples/distance-vector/lab.conf");

#[test]
fn the_distance_vector_example_carries_a_network_over_two_hops_and_loses_it_at_once() {
    let executable = Path::new(env!("CARGO_BIN_EXE_isthmus"));
    let profile = executable.parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "distance-vector"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(), "the example does not build");
    let program = profile.join("distance-vector");

    let router = Router::up("distance-vector", THREE_IN_A_ROW);
    let _attached = ["red", "blue", "green"].map(|vr| Attached::start(&router, vr, &program));
    for vr in ["red", "blue", "green"] {
        router.wait_for_row("show processes", &[("vr", vr), ("name", "distance-vector"), ("state", "ready")]);
    }
    configure(&router, "configure vr red; router distance-vector; network 198.51.100.0/24; interval 60");
    let far = [("vr", "green"), ("prefix", "198.51.100.0/24"), ("protocol", "distance-vector"), ("metric", "2")];
    router.wait_for_row("show route", &far);
    router.wait_for_row("show fib", &[("vr", "green"), ("prefix", "198.51.100.0/24"), ("action", "forward")]);
    router.wait_for_row("show distance-vector", &[("vr", "blue"), ("prefix", "198.51.100.0/24"), ("metric", "1")]);
    // Triggered updates: nobody waits for the next of the 60 seconds.
    router.sh("no connect red blue");
    router.wait_for("show route", |table| matching(table, &far[..3]).is_empty());
}
