//! A virtual machine peers with BIRD in a network of the host, through a TAP device. Nobody but the router answers there:
//! the machine's kernel keeps still, and answers on a card of its own that is set apart for management.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::namespace::{Namespace, can_run, find, run};
use crate::support::{matching, wait_until};
use crate::vm::{Vm, build, can_boot};

const CONFIG: &str = "hostname edge
linecard 0/0
 port 0
  driver af-packet device slot2
 !
!
vr red
 assign port 0/0/0
 interface Port0/0/0
  ipv4 address 10.1.0.1/24
 !
 interface Loopback0
  ipv4 address 192.0.2.1/32
 !
 route-policy PASS
  pass
 end-policy
 !
 router bgp 64501
  address-family ipv4 unicast
   network 192.0.2.1/32
  !
  neighbor 10.1.0.2
   remote-as 64500
   address-family ipv4 unicast
    route-policy PASS in
    route-policy PASS out
   !
  !
 !
!
";

const BIRD: &str = "router id 10.1.0.2;
protocol device {}
protocol static feed { ipv4; route 203.0.113.0/24 blackhole; }
protocol kernel { ipv4 { import none; export where proto = \"edge\"; }; }
protocol bgp edge {
 local 10.1.0.2 as 64500;
 neighbor 10.1.0.1 as 64501;
 connect delay time 1;
 connect retry time 1;
 ipv4 { import all; export where proto = \"feed\"; };
}
";

/// The first card is for management.
const MACHINE: [&str; 8] = ["--memory", "96", "--management", MANAGEMENT, "--tap", "tap1", "--tap", "tap0"];
const MANAGEMENT: &str = "10.9.0.1/24";

struct Bird(Child);

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_machine_peers_with_bird_through_a_tap_and_its_kernel_answers_on_the_management_card_only() {
    let name = "a_machine_peers_with_bird_through_a_tap_and_its_kernel_answers_on_the_management_card_only";
    if !can_run(name, &["bird", "ping"]) || !can_boot(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    fs::write(path("edge.conf"), CONFIG).unwrap();
    fs::write(path("bird.conf"), BIRD).unwrap();
    build(&folder.path().join("image"), &["--config", &path("edge.conf")]);

    let outside = Namespace::new();
    outside.ip("tuntap add tap0 mode tap");
    outside.ip("address add 10.1.0.2/24 dev tap0");
    outside.ip("link set tap0 up");
    outside.ip("tuntap add tap1 mode tap");
    outside.ip("address add 10.9.0.2/24 dev tap1");
    outside.ip("link set tap1 up");
    let mut bird = outside.command(find("bird").unwrap());
    bird.args(["-f", "-c", &path("bird.conf"), "-s", &path("bird.socket")]);
    let _bird = Bird(bird.stdout(Stdio::null()).spawn().unwrap());
    let isthmus = outside.inside(&Command::new(env!("CARGO_BIN_EXE_isthmus")));
    let mut vm = Vm::spawn(isthmus, &folder.path().join("image"), MACHINE);

    vm.expect_prompt("edge");
    vm.command_until("edge", "show route vr red", |text| text.contains("203.0.113.0/24"));
    let learned = wait_until(|| {
        let table: Value = serde_json::from_str(&outside.ip("-json route show proto bird")).unwrap();
        (!matching(&table, &[("dst", "192.0.2.1"), ("gateway", "10.1.0.1")]).is_empty()).then_some(())
    });
    assert!(learned.is_some(), "BIRD's kernel did not get the route");
    let ping = outside.command("ping").args(["-n", "-c", "3", "-i", "0.1", "-w", "20", "192.0.2.1"]).output().unwrap();
    let ping = String::from_utf8(ping.stdout).unwrap();
    assert!(ping.contains("3 received") && !ping.contains("DUP"), "{ping}");

    // One station answers there, and it is the port: the card's own address is nobody's neighbor.
    let neighbors: Value = serde_json::from_str(&outside.ip("-json neighbor show dev tap0")).unwrap();
    let interfaces = vm.command("edge", "show interfaces vr red");
    let stations: Vec<_> = neighbors.as_array().unwrap().iter().filter_map(|row| row["lladdr"].as_str()).collect();
    assert_eq!(stations.len(), 1, "{neighbors}");
    assert!(interfaces.contains(stations[0]), "{neighbors}\n{interfaces}");
    let of_kernel: Value = serde_json::from_str(&outside.ip("-json -6 neighbor show dev tap0")).unwrap();
    assert_eq!(of_kernel.as_array().unwrap().len(), 0, "the machine's kernel speaks IPv6: {of_kernel}");

    let answered = |more: &[&str]| {
        let ping =
            outside.command("ping").args(["-n", "-c", "1", "-W", "2"]).args(more).arg("10.9.0.1").output().unwrap();
        ping.status.success()
    };
    assert!(answered(&["-I", "tap1"]), "the card for management is the kernel's");
    // Not even where somebody knows the card's own address, and sends there what is for another card of the machine.
    let console = vm.console();
    let (_, card) = console.split_once("network card slot2, ").unwrap();
    outside.ip("route add 10.9.0.1/32 dev tap0");
    outside.ip(&format!("neighbor add 10.9.0.1 lladdr {} dev tap0", card.lines().next().unwrap()));
    // An answer would come over the card for management, and is to be seen there.
    for device in ["all", "tap1"] {
        let switch = format!("echo 0 >/proc/sys/net/ipv4/conf/{device}/rp_filter");
        run(outside.command("sh").args(["-c", &switch]));
    }
    assert!(!answered(&["-I", "10.9.0.2"]), "the kernel answers on a port");
}
