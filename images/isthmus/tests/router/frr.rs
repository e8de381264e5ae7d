//! FRR outside: a second opinion on what BIRD was content with.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::User;
use serde_json::Value;

use crate::lab::{ANNOUNCED, Lab, NEIGHBOR, NEIGHBOR_OUTSIDE, OF_BLUE, OF_RED, set};
use crate::namespace::{Namespace, can_run, find, run};
use crate::support::wait_until;

/// The account that FRR's daemons insist on.
const ACCOUNT: &str = "frr";
const OF_FRR: [&str; 2] = ["100.64.0.0/24", "100.64.128.0/17"];

#[test]
fn routes_pass_both_ways_between_frr_and_both_vrs() {
    if !can_run("routes_pass_both_ways_between_frr_and_both_vrs", &["zebra", "bgpd"]) {
        return;
    }
    let lab = Lab::up("frr", NEIGHBOR_OUTSIDE);
    let frr = Frr::start(&lab, "bgpd", &bgp());
    lab.router.wait_for_row("show bgp summary", &[("vr", "red"), ("neighbor", NEIGHBOR), ("state", "Established")]);
    lab.wait_for_routes("red", &set(OF_BLUE.iter().chain(&OF_FRR)));
    lab.wait_for_routes("blue", &set(OF_RED.iter().chain(&OF_FRR)));
    // It is on 10.1.0.0/24 itself.
    lab.wait_for_kernel_routes("bgp", &ANNOUNCED[1..]);
    // Killed, it says no farewell: its kernel closes the connection.
    drop(frr);
    lab.wait_for_routes("red", &set(OF_BLUE));
    lab.wait_for_routes("blue", &set(OF_RED));
}

fn bgp() -> String {
    let networks: String = OF_FRR.iter().map(|prefix| format!("  network {prefix}\n")).collect();
    format!(
        "router bgp 64500\n bgp router-id {NEIGHBOR}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         neighbor 10.1.0.1 remote-as 64501\n neighbor 10.1.0.1 timers connect 1\n address-family ipv4 unicast\n\
         {networks} exit-address-family\n"
    )
}

/// FRR's daemons in the network outside.
#[derive(Debug)]
pub struct Frr {
    daemons: Vec<Child>,
    folder: PathBuf,
}

impl Frr {
    /// Starts zebra, and a daemon with a configuration.
    pub fn start(lab: &Lab, daemon: &str, config: &str) -> Self {
        std::fs::set_permissions(lab.router.folder(), PermissionsExt::from_mode(0o711)).unwrap();
        Self::start_in(&lab.outside, &lab.router.folder().join("daemons"), daemon, config)
    }

    /// The same in some network; the folder is to be made, in one that everyone may enter.
    pub fn start_in(network: &Namespace, folder: &Path, daemon: &str, config: &str) -> Self {
        std::fs::create_dir(folder).unwrap();
        // The daemons give up root's rights and then write here.
        let account = User::from_name(ACCOUNT).unwrap().expect("the account that the package makes");
        chown(folder, Some(account.uid.as_raw()), Some(account.gid.as_raw())).unwrap();
        // The daemon needs zebra's socket.
        let zebra = Self::spawn(network, folder, "zebra", "");
        let is_there = wait_until(|| folder.join("zserv").exists().then_some(()));
        assert!(is_there.is_some(), "zebra does not listen");
        let daemons = vec![Self::spawn(network, folder, daemon, config), zebra];
        Self { daemons, folder: folder.to_owned() }
    }

    /// What a command prints that ends with `json`; null while the daemon does not listen.
    pub fn show(&self, command: &str) -> Value {
        let mut vtysh = Command::new(find("vtysh").unwrap());
        vtysh.arg("--vty_socket").arg(&self.folder).args(["-c", command]);
        let output = vtysh.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Lines of configuration, one inside the other.
    pub fn configure(&self, lines: &[&str]) {
        let mut vtysh = Command::new(find("vtysh").unwrap());
        vtysh.arg("--vty_socket").arg(&self.folder).args(["-c", "configure terminal"]);
        lines.iter().for_each(|line| _ = vtysh.args(["-c", line]));
        run(&mut vtysh);
    }

    fn spawn(network: &Namespace, folder: &Path, daemon: &str, config: &str) -> Child {
        let file = folder.join(format!("{daemon}.conf"));
        let log = folder.join(format!("{daemon}.log"));
        std::fs::write(&file, format!("log file {}\n{config}", log.display())).unwrap();
        let mut command = network.command(find(daemon).unwrap());
        command.args(["-u", ACCOUNT, "-g", ACCOUNT, "-A", "127.0.0.1", "-P", "0"]);
        command.arg("-f").arg(file).arg("-i").arg(folder.join(format!("{daemon}.pid")));
        command.arg("-z").arg(folder.join("zserv")).arg("--vty_socket").arg(folder);
        // What it has to say is in its log.
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
