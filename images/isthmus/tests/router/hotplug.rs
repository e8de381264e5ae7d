//! Ports on devices that come later, as a container's links do, or go and come back.

use crate::lab::NEIGHBOR_OUTSIDE;
use crate::namespace::{Namespace, can_run, run};
use crate::support::{Router, wait_until};

/// Starts a router in a network.
pub fn start_inside(router: &Router, inside: &Namespace, config: &str) {
    let file = router.write("router.conf", config);
    let up = ["up".as_ref(), file.as_os_str(), "-d".as_ref(), "--name".as_ref(), router.name().as_ref()];
    run(&mut inside.inside(&router.command(up)));
}

/// A link as container tools make it: under other names first, then renamed, then up.
pub fn link_late(one: (&Namespace, &str), other: (&Namespace, &str)) {
    one.0.join("early0", other.0, "early1");
    for ((network, name), early) in [(one, "early0"), (other, "early1")] {
        network.ip(&format!("link set {early} down"));
        network.ip(&format!("link set {early} name {name}"));
        network.ip(&format!("link set {name} up"));
    }
}

#[test]
fn a_port_is_taken_when_its_device_appears_and_again_when_it_was_replaced() {
    if !can_run("a_port_is_taken_when_its_device_appears_and_again_when_it_was_replaced", &["ping"]) {
        return;
    }
    let (inside, outside) = (Namespace::new(), Namespace::new());
    let router = Router::new("hotplug");
    start_inside(&router, &inside, &NEIGHBOR_OUTSIDE.replace("device veth0", "device veth0 hotplug"));
    let port = |up: &str| router.wait_for_row("show interfaces", &[("interface", "Port0/0/0"), ("state", up)]);
    port("down");
    for _ in 0..2 {
        link_late((&inside, "veth0"), (&outside, "eth0"));
        outside.ip("address add 10.1.0.2/24 dev eth0");
        port("up");
        let ping = ["-n", "-c", "1", "-W", "1", "10.1.0.1"];
        let answered =
            wait_until(|| outside.command("ping").args(ping).output().unwrap().status.success().then_some(()));
        assert!(answered.is_some(), "no answer\n{}", router.log());
        inside.ip("link delete veth0");
        port("down");
    }
}

#[test]
fn a_device_that_cannot_be_taken_is_said_and_tried_again() {
    if !can_run("a_device_that_cannot_be_taken_is_said_and_tried_again", &[]) {
        return;
    }
    let (inside, outside) = (Namespace::new(), Namespace::new());
    let router = Router::new("taken");
    start_inside(&router, &inside, &NEIGHBOR_OUTSIDE.replace("device veth0", "device veth0 hotplug"));
    inside.join("spare0", &outside, "spare1");
    inside.ip("address add 198.51.100.1/24 dev spare0");
    inside.ip("link set spare0 down");
    inside.ip("link set spare0 name veth0");
    let said = wait_until(|| router.log().contains("veth0 has the address 198.51.100.1 in the host").then_some(()));
    assert!(said.is_some(), "{}", router.log());
    inside.ip("link delete veth0");
    link_late((&inside, "veth0"), (&outside, "eth0"));
    router.wait_for_row("show interfaces", &[("interface", "Port0/0/0"), ("state", "up")]);
}
