//! The router as a service: what a service manager is told, and the unit file for systemd.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::find;
use crate::support::{PATIENCE, Router, TWO_VRS, stderr};

const UNIT: &str = include_str!("../../../examples/isthmus.service");

/// Settings of a section.
fn settings(section: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = UNIT.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn a_service_manager_hears_when_the_router_is_up_and_when_it_stops() {
    let router = Router::new("service");
    let file = router.write("router.conf", TWO_VRS);
    let path = router.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = || {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut up = router.command(["up".as_ref(), file.as_os_str(), "--name".as_ref(), "service".as_ref()]);
    let mut procmgr = up.env("NOTIFY_SOCKET", &path).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(said(), "READY=1\nSTATUS=router service: 8 processes");
    // The process that systemd started is procmgr itself, so its word counts (`NotifyAccess=main`).
    assert_eq!(router.pid("", "procmgr"), procmgr.id() as i32);
    kill(Pid::from_raw(procmgr.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(said(), "STOPPING=1");
    assert_eq!(procmgr.wait().unwrap().code(), Some(0));
}

#[test]
fn systemd_takes_the_unit_and_it_looks_for_a_configuration_in_its_own_folders() {
    let Some(analyze) = find("systemd-analyze") else {
        let test = "systemd_takes_the_unit_and_it_looks_for_a_configuration_in_its_own_folders";
        let mut terminal = std::io::stderr();
        writeln!(terminal, "SKIPPED {test}: systemd-analyze is not installed").unwrap();
        return;
    };
    let service = settings("Service");
    assert_eq!((service["Type"], service["ExecStart"]), ("notify", "/usr/local/bin/isthmus up"));
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("isthmus.service");
    let verify = |text: String| {
        std::fs::write(&unit, text).unwrap();
        Command::new(&analyze).args(["verify", "--man=no"]).arg(&unit).output().unwrap()
    };
    let output = verify(UNIT.replace("/usr/local/bin/isthmus", env!("CARGO_BIN_EXE_isthmus")));
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    let output = verify(UNIT.replace("/usr/local/bin/isthmus", "isthmus-that-is-nowhere"));
    assert!(!output.status.success(), "it finds nothing wrong with anything");

    // What `up` finds without an argument, in the folders that the unit names.
    let router = Router::new("unit");
    let mut up = router.command(["up", "--name", "unit"]);
    up.env_remove("ISTHMUS_DIR");
    for variable in service["Environment"].split(' ') {
        let (name, folder) = variable.split_once('=').unwrap();
        up.env(name, format!("{}{folder}", router.folder().display()));
    }
    let said = stderr(&up.env_remove("ISTHMUS_CONFIG").output().unwrap());
    assert!(
        said.contains("/var/lib/isthmus/unit/startup.conf") && said.contains("/etc/isthmus/startup.conf"),
        "{said}"
    );
}
