//! The router as a service: what a service manager is told, and the unit file for systemd.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::{can_run, find};
use crate::support::{PATIENCE, Router, TWO_VRS, stderr, wait_until};

const UNIT: &str = include_str!("../../../examples/isthmus.service");

/// Settings of a section.
fn settings(section: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = UNIT.lines().skip_while(|line| *line != format!("[{section}]")).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('=')).collect()
}

/// A service manager's `NOTIFY_SOCKET`, and what it is told next.
fn notify_socket(router: &Router) -> (PathBuf, impl Fn() -> String) {
    let path = router.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let said = move || {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    (path, said)
}

#[test]
fn a_service_manager_hears_when_the_router_is_up_and_when_it_stops() {
    let router = Router::new("service");
    let file = router.write("router.conf", TWO_VRS);
    let (path, said) = notify_socket(&router);
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
fn a_service_manager_that_watches_hears_again_and_again_that_procmgr_works() {
    let router = Router::new("watched");
    let file = router.write("router.conf", "hostname watched\n");
    let (path, said) = notify_socket(&router);
    let mut up = router.command(["up".as_ref(), file.as_os_str(), "--name".as_ref(), "watched".as_ref()]);
    up.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000").stdout(std::process::Stdio::null());
    let mut procmgr = up.spawn().unwrap();
    let starting = std::iter::repeat_with(&said).find(|text| text != "WATCHDOG=1").unwrap();
    assert!(starting.starts_with("READY=1\n"), "{starting}");
    assert_eq!([said(), said(), said()], ["WATCHDOG=1"; 3]);
    kill(Pid::from_raw(procmgr.id() as i32), Signal::SIGTERM).unwrap();
    let stopping = std::iter::repeat_with(&said).find(|text| text != "WATCHDOG=1").unwrap();
    assert_eq!(stopping, "STOPPING=1");
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

/// A machine whose first process is systemd, and which has no unit but ours: the host's root with folders of its own.
const MACHINE: &str = "set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/units /run/etc /run/work /run/etc/isthmus
cp \"$FOLDER/router.conf\" /run/etc/isthmus/startup.conf
cp \"$FOLDER/units\"/* /run/units/
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work overlay /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /usr/local/bin
touch /usr/local/bin/isthmus
mount --bind \"$ISTHMUS\" /usr/local/bin/isthmus
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=isthmus-test SYSTEMD_UNIT_PATH=/run/units PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd";

/// What a machine's other units would be.
const TARGETS: [&str; 7] = ["default", "sysinit", "basic", "shutdown", "network-pre", "multi-user", "umount"];

/// Running; gone with all that runs on it when it is dropped.
struct Systemd {
    /// `unshare`, which waits for the first process.
    outside: Child,
    first: i32,
    cgroup: PathBuf,
}

impl Systemd {
    fn start(folder: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let of_version_2 = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
        let cgroups = mounts.lines().find(of_version_2).expect("cgroup2 is mounted").split(' ').nth(1).unwrap();
        let cgroup = Path::new(cgroups).join(format!("isthmus-test-{}", std::process::id()));
        fs::create_dir(&cgroup).unwrap();
        let enter = "echo $$ >\"$CGROUP/cgroup.procs\" && exec unshare --pid --mount --uts --ipc --net --cgroup --fork \
                     --kill-child sh -c \"$MACHINE\"";
        let mut command = Command::new("sh");
        command.args(["-c", enter]).env("CGROUP", &cgroup).env("MACHINE", MACHINE).env("FOLDER", folder);
        command.env("ISTHMUS", env!("CARGO_BIN_EXE_isthmus")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut systemd = Self { outside: command.spawn().unwrap(), first: 0, cgroup };
        let unshare = systemd.outside.id();
        let first = wait_until(|| {
            let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).ok()?;
            children.trim().parse().ok()
        });
        systemd.first = first.expect("a first process");
        let listens = wait_until(|| systemd.systemctl("list-units").status.success().then_some(()));
        assert!(listens.is_some(), "systemd does not start: {}", stderr(&systemd.systemctl("list-units")));
        systemd
    }

    /// A command on the machine.
    fn inside(&self, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]);
        command.args(words).env_remove("ISTHMUS_DIR").output().unwrap()
    }

    fn systemctl(&self, words: &str) -> Output {
        self.inside(&[&["systemctl"], &words.split(' ').collect::<Vec<_>>()[..]].concat())
    }

    /// A property of our unit.
    fn property(&self, name: &str) -> String {
        let output = self.systemctl(&format!("show --value -p {name} isthmus"));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Sends a signal to a process, by the number that it has there.
    fn signal(&self, pid: &str, signal: &str) {
        let sent = self.inside(&["kill", "-s", signal, pid]);
        assert!(sent.status.success(), "{}", stderr(&sent));
    }

    /// The router's process, by the number that it has there.
    fn status(&self, pid: &str) -> String {
        String::from_utf8(self.inside(&["cat", &format!("/proc/{pid}/status")]).stdout).unwrap()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // With the first process go all others, and then who waits for it.
        let _ = match self.first {
            0 => self.outside.kill(),
            first => kill(Pid::from_raw(first), Signal::SIGKILL).map_err(Into::into),
        };
        let _ = self.outside.wait();
        // Those inside first.
        let _ =
            Command::new("find").arg(&self.cgroup).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).status();
    }
}

#[test]
fn systemd_starts_the_router_starts_it_again_when_it_was_killed_or_stands_still_and_stops_it_in_order() {
    let name = "systemd_starts_the_router_starts_it_again_when_it_was_killed_or_stands_still_and_stops_it_in_order";
    if !can_run(name, &["unshare", "nsenter", "systemctl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let units = folder.path().join("units");
    fs::create_dir(&units).unwrap();
    for target in TARGETS {
        fs::write(units.join(format!("{target}.target")), "[Unit]\nDefaultDependencies=no\n").unwrap();
    }
    // It need not wait so long for one that stands still.
    let unit = UNIT.replace("\nWatchdogSec=30\n", "\nWatchdogSec=5\n");
    assert_ne!(unit, UNIT);
    fs::write(units.join("isthmus.service"), unit).unwrap();
    fs::write(folder.path().join("router.conf"), TWO_VRS).unwrap();
    let systemd = Systemd::start(folder.path());

    // Returns when the router has said that it is up.
    let started = systemd.systemctl("start isthmus");
    assert!(started.status.success(), "{}", stderr(&started));
    assert_eq!(systemd.property("StatusText"), "router default: 8 processes");
    let first = systemd.property("MainPID");
    let status = systemd.status(&first);
    // CAP_NET_ADMIN and CAP_NET_RAW, and nothing else.
    assert!(status.contains("CapEff:\t0000000000003000\n") && !status.contains("Uid:\t0\t"), "{status}");
    let shell = systemd.inside(&["/usr/local/bin/isthmus", "sh", "-c", "show vr"]);
    assert!(String::from_utf8_lossy(&shell.stdout).contains("blue"), "{}", stderr(&shell));

    systemd.signal(&first, "KILL");
    let is = |name: &str, value: &str| systemd.property(name) == value;
    let again = |restarts: &str| (is("NRestarts", restarts) && is("ActiveState", "active")).then_some(());
    let status = || String::from_utf8(systemd.systemctl("status isthmus").stdout).unwrap();
    assert!(wait_until(|| again("1")).is_some(), "{}", status());
    let second = systemd.property("MainPID");
    assert_ne!(second, first);

    let heard = || systemd.property("WatchdogTimestampMonotonic");
    let before = heard();
    assert!(wait_until(|| (heard() != before).then_some(())).is_some(), "{}", status());
    assert!(is("NRestarts", "1"), "it was heard, and not started again: {}", status());
    // Now it no longer says that it works.
    systemd.signal(&second, "STOP");
    assert!(wait_until(|| again("2")).is_some(), "{}", status());
    assert!(!is("MainPID", &second));

    let stopped = systemd.systemctl("stop isthmus");
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    assert_eq!((systemd.property("ActiveState"), systemd.property("Result")), ("inactive".into(), "success".into()));
    let log = String::from_utf8(systemd.inside(&["cat", "/var/lib/isthmus/default/log"]).stdout).unwrap();
    assert!(log.contains("router default has stopped"), "{log}");
}
