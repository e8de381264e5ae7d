//! BIRD outside, joined by veth to a port of red: routes, pings and traces pass to blue and back.
//!
//! A veth pair hands over frames with unfinished checksums and segments of many kilobytes: no test turns that off.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::Value;

use crate::lab::{ANNOUNCED, Lab, NEIGHBOR, NEIGHBOR_OUTSIDE, OF_BLUE, OF_RED, set};
use crate::namespace::{Namespace, can_run, find, run};
use crate::support::{matching, sum, wait_until};

/// Routes that BIRD originates.
const ROUTES: u16 = 1000;

#[test]
fn routes_pings_and_traces_pass_between_a_real_neighbor_and_both_vrs() {
    if !can_run("routes_pings_and_traces_pass_between_a_real_neighbor_and_both_vrs", &["bird", "ping", "tracepath"]) {
        return;
    }
    let lab = Lab::up("bird", NEIGHBOR_OUTSIDE);
    let bird = Bird::start(&lab, &Bird::bgp(""));
    routes_reach_all(&lab, &bird);
    the_session_between_the_vrs_uses_nothing_of_the_stack(&lab);
    pings_and_traces_pass(&lab);
    bird.control("disable feed");
    lab.wait_for_routes("red", &set(OF_BLUE));
    lab.wait_for_routes("blue", &set(OF_RED));
}

#[test]
fn everything_passes_although_every_tenth_frame_is_lost() {
    if !can_run("everything_passes_although_every_tenth_frame_is_lost", &["bird", "ping", "tracepath"]) {
        return;
    }
    let driver = "driver af-packet device veth0\n";
    let lossy = NEIGHBOR_OUTSIDE.replace(driver, &format!("{driver}  impair drop-every 10 seed 7\n"));
    let lab = Lab::up("lossy", &lossy);
    let bird = Bird::start(&lab, &Bird::bgp(""));
    routes_reach_all(&lab, &bird);
    // Each new session meets the losses at other moments: in its handshake, its OPEN, its routes, its end.
    for _ in 0..4 {
        bird.control("restart red");
        routes_reach_all(&lab, &bird);
    }
    the_session_between_the_vrs_uses_nothing_of_the_stack(&lab);
    pings_and_traces_pass(&lab);
    let lost = lab.router.wait_for_row("show stack drops", &[("vr", "red"), ("reason", "impaired")]);
    assert!(lost["packets"].as_u64() > Some(10), "{lost}");
}

/// All three sessions ends guarded: red and BIRD by the kernel's TCP_MD5SIG and IP_MINTTL on BIRD's side, red and blue
/// over the channel.
#[test]
fn sessions_with_a_key_and_ttl_security_come_up_and_with_another_key_they_do_not() {
    if !can_run("sessions_with_a_key_and_ttl_security_come_up_and_with_another_key_they_do_not", &["bird"]) {
        return;
    }
    let guard = |config: String, neighbor: &str, key: &str| {
        let line = format!(" neighbor {neighbor}\n");
        assert!(config.contains(&line), "{config}");
        config.replace(&line, &format!("{line}   password clear {key}\n   ttl-security\n"))
    };
    let config = guard(NEIGHBOR_OUTSIDE.to_owned(), NEIGHBOR, "hush to all");
    let config = guard(guard(config, "10.0.0.1", "between us"), "10.0.0.0", "between us");
    let lab = Lab::up("guarded", &config);
    let bird = Bird::start(&lab, &Bird::bgp("password \"hush to all\";\n ttl security on;\n"));
    routes_reach_all(&lab, &bird);
    the_session_between_the_vrs_uses_nothing_of_the_stack(&lab);
    let drops =
        |reason: &str| sum(&Value::Array(lab.router.rows("show stack drops", &[("reason", reason)])), "packets");
    assert_eq!((drops("signature_wrong"), drops("ttl_too_low")), (0, 0));

    let set_key = |vr: &str, instance: &str, neighbor: &str, key: &str| {
        let line = format!("configure vr {vr}; router bgp {instance}; neighbor {neighbor}; password clear {key}");
        lab.router.sh(&line);
    };
    let down = |vr: &str, neighbor: &str| {
        let rows = lab.router.rows("show bgp summary", &[("vr", vr), ("neighbor", neighbor)]);
        rows[0]["state"] != "Established"
    };
    set_key("red", "64501", NEIGHBOR, "another");
    set_key("blue", "64502", "10.0.0.0", "another");
    // BIRD tries every second: its SYNs are not heard.
    lab.router.wait_for("show stack drops", |table| {
        matching(table, &[("reason", "signature_wrong")]).iter().any(|row| row["packets"].as_u64() >= Some(2))
    });
    assert!(down("red", NEIGHBOR) && down("red", "10.0.0.1") && down("blue", "10.0.0.0"));
    set_key("red", "64501", NEIGHBOR, "hush to all");
    set_key("blue", "64502", "10.0.0.0", "between us");
    routes_reach_all(&lab, &bird);
}

/// BIRD's routes are in red and, from there, in blue; those of both VRs are in BIRD and in its kernel.
fn routes_reach_all(lab: &Lab, bird: &Bird) {
    bird.wait_for_session();
    let with_birds = |own: &[&str]| set(own.iter().map(|prefix| (*prefix).to_owned()).chain(routes()));
    lab.wait_for_routes("red", &with_birds(&OF_BLUE));
    lab.wait_for_routes("blue", &with_birds(&OF_RED));
    let table = lab.router.sh("show route");
    let next_hop = |vr: &str| {
        let found = matching(&table, &[("vr", vr), ("prefix", "100.67.231.0/24"), ("distance", "20")]);
        found[0]["next_hops"].clone()
    };
    assert_eq!(next_hop("red"), serde_json::json!([{"address": NEIGHBOR, "interface": "Port0/0/0"}]));
    assert_eq!(next_hop("blue"), serde_json::json!([{"address": "10.0.0.0", "interface": "red"}]));
    for vr in ["red", "blue"] {
        let wanted = [("vr", vr), ("prefix", "100.67.231.0/24"), ("action", "forward")];
        lab.router.wait_for_row("show fib", &wanted);
    }
    let wanted = [("vr", "red"), ("neighbor", NEIGHBOR), ("state", "Established"), ("prefixes_received", "1000")];
    lab.router.wait_for_row("show bgp summary", &wanted);
    lab.wait_for_kernel_routes("bird", &ANNOUNCED);
    let of_blue = bird.control("show route 192.0.2.2/32 all");
    assert!(of_blue.contains("BGP.as_path: 64501 64502") && of_blue.contains("BGP.next_hop: 10.1.0.1"), "{of_blue}");
}

/// All those routes crossed from red to blue without a packet in blue's stack.
fn the_session_between_the_vrs_uses_nothing_of_the_stack(lab: &Lab) {
    let sides = lab.router.sh("show inter-vr");
    for (vr, peer) in [("red", "blue"), ("blue", "red")] {
        let side = &matching(&sides, &[("vr", vr), ("interface", peer), ("peer_vr", peer)])[0];
        assert!(side["connections"].as_u64() >= Some(1), "{sides}");
        // A prefix of 24 bits is four bytes in an UPDATE.
        assert!(sum(&sides, "bytes_sent") >= 4 * u64::from(ROUTES), "{sides}");
    }
    assert!(sum(&sides, "vrfib_hits") >= 1, "{sides}");
    let counters = lab.router.sh("show stack counters");
    let blue = Value::Array(matching(&counters, &[("vr", "blue")]));
    for column in ["packets_received", "packets_sent", "packets_forwarded", "frames_received", "drops"] {
        assert_eq!(sum(&blue, column), 0, "{column} of {counters}");
    }
}

/// blue answers, two hops away, and a trace shows both VRs on the way.
fn pings_and_traces_pass(lab: &Lab) {
    // Until five are answered.
    let arguments = ["-n", "-c", "5", "-i", "0.05", "-w", "20", "192.0.2.2"];
    let ping = output(lab.outside.command("ping").args(arguments));
    // red takes one off what blue sent with 64.
    assert_eq!(ping.matches("from 192.0.2.2: icmp_seq=").count(), 5, "{ping}");
    assert_eq!(ping.matches("ttl=63 ").count(), 5, "{ping}");
    // In fragments there and back.
    let ping = output(lab.outside.command("ping").args(arguments).args(["-s", "4000"]));
    assert_eq!(ping.matches("4008 bytes from 192.0.2.2: ").count(), 5, "{ping}");
    let trace = output(lab.outside.command("tracepath").args(["-n", "192.0.2.2"]));
    let mut hops: Vec<_> = trace.lines().filter_map(hop).collect();
    hops.dedup();
    assert_eq!(hops, [(1, "10.1.0.1"), (2, "192.0.2.2")], "{trace}");
    assert!(trace.contains("reached"), "blue says that nobody listens there: {trace}");
}

/// A line such as ` 2:  192.0.2.2   0.062ms reached`.
fn hop(line: &str) -> Option<(u8, &str)> {
    let (number, rest) = line.split_once(':')?;
    let address = rest.split_whitespace().next()?;
    // Others say that there was no reply, which then came.
    let hop = number.trim().parse().ok()?;
    address.contains('.').then_some((hop, address))
}

fn output(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

fn routes() -> impl Iterator<Item = String> {
    (0..ROUTES).map(|index| format!("100.{}.{}.0/24", 64 + index / 256, index % 256))
}

/// A BIRD in the network outside, that sends its routes to red and puts what it gets into its kernel.
#[derive(Debug)]
pub struct Bird {
    process: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Bird {
    /// Starts it with a configuration that comes behind where it logs to.
    pub fn start(lab: &Lab, config: &str) -> Self {
        Self::start_in(&lab.outside, lab.router.folder(), config)
    }

    /// The same in some network; the folder is its own.
    pub fn start_in(network: &Namespace, folder: &Path, config: &str) -> Self {
        let (log, file, socket) = (folder.join("bird.log"), folder.join("bird.conf"), folder.join("bird.socket"));
        std::fs::write(&file, format!("log \"{}\" all;\n{config}", log.display())).unwrap();
        let process = Self::spawn(network, &file, &socket, &["-f"]);
        Self { process, socket, log }
    }

    fn spawn(outside: &Namespace, config: &Path, socket: &Path, options: &[&str]) -> Child {
        let mut command = outside.command(find("bird").unwrap());
        command.args(options).args(["-c".as_ref(), config.as_os_str(), "-s".as_ref(), socket.as_os_str()]);
        // What it thinks of the configuration stands there.
        command.stderr(std::fs::File::create(config.with_extension("stderr")).unwrap());
        command.spawn().unwrap()
    }

    /// It ends, saying to its neighbors that it will be back.
    pub fn go_gracefully(&mut self) {
        self.control("graceful restart");
        self.process.wait().unwrap();
    }

    /// It is back.
    pub fn come_back(&mut self, network: &Namespace) {
        self.process = Self::spawn(network, &self.log.with_file_name("bird.conf"), &self.socket, &["-f", "-R"]);
    }

    /// A metric of its own makes of each route an UPDATE of its own.
    fn bgp(lines: &str) -> String {
        let metrics = 1..;
        let feed: String = routes()
            .zip(metrics)
            .map(|(prefix, metric): (_, u32)| format!(" route {prefix} blackhole {{ bgp_med = {metric}; }};\n"))
            .collect();
        format!(
            "router id {NEIGHBOR};\nprotocol device {{}}\n\
             protocol static feed {{\n ipv4;\n{feed}}}\n\
             protocol kernel {{ ipv4 {{ import none; export where proto = \"red\"; }}; }}\n\
             protocol bgp red {{\n local {NEIGHBOR} as 64500;\n neighbor 10.1.0.1 as 64501;\n\
             connect delay time 1;\n connect retry time 1;\n {lines}\
             ipv4 {{ import all; export where proto = \"feed\"; }};\n}}\n"
        )
    }

    /// A command to BIRD; what it says.
    pub fn control(&self, command: &str) -> String {
        output(Command::new(find("birdc").unwrap()).arg("-s").arg(&self.socket).args(command.split(' ')))
    }

    /// Waits until what a command says contains something.
    pub fn wait_for(&self, command: &str, wanted: &str) -> String {
        let mut last = String::new();
        let seen = wait_until(|| {
            last = if self.socket.exists() { self.control(command) } else { String::new() };
            last.contains(wanted).then(|| last.clone())
        });
        let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
        seen.unwrap_or_else(|| panic!("no {wanted:?}, BIRD says:\n{last}\n{}", log()))
    }

    fn wait_for_session(&self) {
        let is_up = || self.socket.exists() && self.control("show protocols red").contains("Established");
        let seen = wait_until(|| is_up().then_some(()));
        assert!(seen.is_some(), "no session, BIRD says:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default());
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
