//! The networks that the cases are played in. Addresses are the same in all: red is 10.0.0.1 and 192.0.2.1, blue
//! is 10.0.0.2 and 192.0.2.2; the former on the first link between them, the latter on loopbacks, routed over that link. Of
//! IPv6 it has three: 2001:db8::1, 2001:db8::11 and 2001:db8:2::1 are red's, 2001:db8:1::1 is its loopback's. On the other
//! link, which no route mentions but those of its subnets, red is 10.0.1.1 and 2001:db8:3::1.

use std::fmt;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::endpoint::Place;
use crate::host::Link;
use serde_json::Value;
use testing::namespace::Namespace;
use testing::preload;
use testing::support::{CABLE, Router, matching, wait_until};

/// Columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The Linux kernel, the judge.
    Kernel,
    /// The channel between two joined VRs.
    Channel,
    /// The stack of the router, over a cable between two of its ports.
    Stack,
    /// The judge's program, preloaded, over the channel.
    LibcChannel,
    /// The judge's program, preloaded, over the cable.
    LibcStack,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Kernel => "kernel",
            Kind::Channel => "channel",
            Kind::Stack => "stack",
            Kind::LibcChannel => "libc, channel",
            Kind::LibcStack => "libc, stack",
        })
    }
}

/// The two routers that processes live in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vr {
    /// 10.0.0.1 and 192.0.2.1.
    Red,
    /// 10.0.0.2 and 192.0.2.2.
    Blue,
}

impl fmt::Display for Vr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Vr::Red => "red",
            Vr::Blue => "blue",
        })
    }
}

/// Devices of a network namespace that lead to the other one.
const WIRE: &str = "wire";
const OTHER_WIRE: &str = "wire2";

/// What makes the first link over the channel.
const JOIN: &str = "connect red blue\n";

/// What makes the other link of a router, and its names at red and blue.
const OTHER_CABLE: &str = "linecard 0/1\n port 0\n  driver cable local ./c.sock remote ./d.sock\n !\n port 1\n  driver cable \
                           local ./d.sock remote ./c.sock\n !\n!\nvr red\n assign port 0/1/0\n!\nvr blue\n assign port \
                           0/1/1\n!\n";
const OTHER_PORTS: [&str; 2] = ["Port0/1/0", "Port0/1/1"];

/// The first link's names over the [`CABLE`].
const CABLE_PORTS: [&str; 2] = ["Port0/0/0", "Port0/0/1"];

/// Devices of the switch between the namespaces: the bridge, and its ports.
const BRIDGE: &str = "bridge";
const TO_RED: &str = "red";
const TO_BLUE: &str = "blue";

/// A network with processes in it.
#[derive(Debug)]
pub struct Column {
    kind: Kind,
    network: Network,
    /// Red's and blue's link-local addresses on the links.
    link_locals: [[IpAddr; 2]; 2],
    /// Tells processes of one VR apart, those of earlier cases included.
    processes: AtomicU32,
}

#[derive(Debug)]
enum Network {
    /// With the names of red's and blue's interfaces towards each other.
    Router(Router, [[&'static str; 2]; 2]),
    Namespaces {
        red: Namespace,
        blue: Namespace,
        switch: Namespace,
    },
}

impl Column {
    /// Builds the network; returns when routes are in place.
    pub fn start(kind: Kind) -> Self {
        let network = match kind {
            Kind::Kernel => Network::namespaces(),
            Kind::Channel => Network::router("channel", JOIN, ["blue", "red"]),
            Kind::Stack => Network::router("stack", CABLE, CABLE_PORTS),
            Kind::LibcChannel => Network::router("libc-channel", JOIN, ["blue", "red"]),
            Kind::LibcStack => Network::router("libc-stack", CABLE, CABLE_PORTS),
        };
        let link_locals = network.link_locals();
        Self { kind, network, link_locals, processes: AtomicU32::new(0) }
    }

    /// The program that a process of a case runs, and what it is to be told of its place.
    pub fn endpoint(&self, vr: Vr) -> (Command, Place) {
        let program = std::env::current_exe().expect("this program has a path");
        match &self.network {
            Network::Namespaces { red, blue, .. } => {
                let namespace = match vr {
                    Vr::Red => red,
                    Vr::Blue => blue,
                };
                (namespace.command(program), Place::Libc { links: [WIRE, OTHER_WIRE].map(str::to_owned) })
            }
            Network::Router(router, links) => {
                let links = links[vr as usize].map(str::to_owned);
                if matches!(self.kind, Kind::LibcChannel | Kind::LibcStack) {
                    return (preload::program(router, &vr.to_string(), &[program]), Place::Libc { links });
                }
                let number = self.processes.fetch_add(1, Ordering::Relaxed);
                let control_socket = router.control_socket();
                let place = Place::Vr { control_socket, vr: vr.to_string(), name: format!("case-{number}"), links };
                (Command::new(program), place)
            }
        }
    }

    /// A VR's link-local address on a link.
    pub fn link_local(&self, vr: Vr, link: Link) -> IpAddr {
        self.link_locals[vr as usize][link as usize]
    }

    /// Shuts blue's end of the first link, as an administrator does. Nobody tells red, whose own end stays up: so it is between
    /// VRs, and so it is on a wire that leads over a switch. (Without one, the kernel tells red at once that the line is
    /// dead. Where frames are lost on the way, on the other hand, blue's own routes stay: no VR ever sees that.)
    pub fn cut_link(&self) {
        match &self.network {
            Network::Router(router, [_, [link, _]]) => {
                router.sh(&format!("configure vr blue; interface {link}; shutdown"));
                router.wait_for_row("show interfaces", &[("vr", "blue"), ("interface", link), ("state", "down")]);
                self.await_inter_vr("down");
            }
            Network::Namespaces { blue, .. } => _ = blue.ip(&format!("link set {WIRE} down")),
        }
    }

    /// Ends that; returns when routes are in place again.
    pub fn mend_link(&self) {
        match &self.network {
            Network::Router(router, [_, [link, _]]) => {
                router.sh(&format!("configure vr blue; interface {link}; no shutdown"));
                self.await_inter_vr("up");
                await_routes(router);
            }
            Network::Namespaces { blue, switch, .. } => {
                blue.ip(&format!("link set {WIRE} up"));
                add_routes(blue, 1);
                let forwards = || {
                    let shown = switch.ip(&format!("-detail link show dev {TO_BLUE}"));
                    shown.contains("state forwarding").then_some(())
                };
                wait_until(forwards).expect("the switch sees that the line is back");
            }
        }
    }

    /// Waits until processes of red have been told how the interface towards blue is. (The manager answers after it has
    /// told them.)
    fn await_inter_vr(&self, state: &str) {
        let Network::Router(router, _) = &self.network else { return };
        match self.kind {
            Kind::Channel | Kind::LibcChannel => {
                _ = router.wait_for_row("show inter-vr", &[("vr", "red"), ("state", state)])
            }
            Kind::Stack | Kind::LibcStack | Kind::Kernel => {}
        }
    }

    /// Asserts that no process of the router has died while cases were played.
    pub fn assert_unharmed(&self) {
        let Network::Router(router, _) = &self.network else { return };
        let restarted = router.rows("show processes", &[]);
        let restarted: Vec<_> = restarted.iter().filter(|row| row["restarts"].as_u64() != Some(0)).collect();
        assert!(restarted.is_empty(), "processes of column {} died: {restarted:?}", self.kind);
    }

    /// Asserts that a connection, which stands between red and blue, goes the way that the column is named after.
    pub fn assert_carries(&self) {
        let Network::Router(router, _) = &self.network else { return };
        let through_the_stack = router.rows("show tcp", &[("state", "ESTABLISHED")]).len();
        let wanted = match self.kind {
            Kind::Channel | Kind::LibcChannel | Kind::Kernel => 0,
            Kind::Stack | Kind::LibcStack => 2,
        };
        assert_eq!(through_the_stack, wanted, "ends of the connection that the stack has in column {}", self.kind);
    }
}

/// Adds the routes towards the loopbacks of the other namespace; the kernel forgets them where the interface is shut.
fn add_routes(namespace: &Namespace, other: u8) {
    namespace.ip(&format!("route add 192.0.2.{other}/32 via 10.0.0.{other}"));
    namespace.ip(&format!("route add 2001:db8:1::{other}/128 via 2001:db8::{other}"));
}

/// Waits for the routes towards loopbacks.
fn await_routes(router: &Router) {
    let of_red = [("red", "192.0.2.2/32"), ("red", "2001:db8:1::2/128")];
    let of_blue = [("blue", "192.0.2.1/32"), ("blue", "2001:db8:1::1/128")];
    for (vr, loopback) in of_red.into_iter().chain(of_blue) {
        router.wait_for_row("show fib", &[("vr", vr), ("prefix", loopback), ("action", "forward")]);
    }
}

impl Network {
    fn namespaces() -> Self {
        let [red, blue, switch] = [(); 3].map(|()| Namespace::new());
        switch.ip(&format!("link add {BRIDGE} up type bridge mcast_snooping 0"));
        for (namespace, port) in [(&red, TO_RED), (&blue, TO_BLUE)] {
            namespace.join(WIRE, &switch, port);
            switch.ip(&format!("link set {port} master {BRIDGE}"));
        }
        red.join(OTHER_WIRE, &blue, OTHER_WIRE);
        for (namespace, own, other) in [(&red, 1, 2), (&blue, 2, 1)] {
            // Errors come for each packet that causes one, not for some of them; and whatever the host's kernel was told,
            // a packet may come in by another link than its answer will take, as without settings.
            let mut settings = vec!["net.ipv4.icmp_ratelimit=0".to_owned(), "net.ipv4.conf.all.rp_filter=0".to_owned()];
            for device in [WIRE, OTHER_WIRE] {
                // Configured addresses stay where an interface is shut, and a link-local one is used at once.
                settings.push(format!("net.ipv6.conf.{device}.keep_addr_on_down=1"));
                settings.push(format!("net.ipv6.conf.{device}.accept_dad=0"));
                settings.push(format!("net.ipv4.conf.{device}.rp_filter=0"));
            }
            testing::namespace::run(namespace.command("sysctl").args(["-q", "-w"]).args(settings));
            namespace.ip(&format!("address add 10.0.0.{own}/24 dev {WIRE}"));
            namespace.ip(&format!("address add 192.0.2.{own}/32 dev lo"));
            // A router takes no second to see that nobody else has its address. Of two in one subnet Linux speaks with
            // the one that came last, we with the first: RFC 6724 leaves that open.
            for address in [format!("2001:db8::1{own}"), format!("2001:db8::{own}"), format!("2001:db8:2::{own}")] {
                namespace.ip(&format!("address add {address}/64 dev {WIRE} nodad"));
            }
            namespace.ip(&format!("address add 2001:db8:1::{own}/128 dev lo"));
            namespace.ip(&format!("address add 10.0.1.{own}/24 dev {OTHER_WIRE}"));
            namespace.ip(&format!("address add 2001:db8:3::{own}/64 dev {OTHER_WIRE} nodad"));
            add_routes(namespace, other);
        }
        Network::Namespaces { red, blue, switch }
    }

    /// With what makes the first link, and its names at red and blue.
    fn router(name: &str, first: &str, [of_red, of_blue]: [&'static str; 2]) -> Self {
        let links = [[of_red, OTHER_PORTS[0]], [of_blue, OTHER_PORTS[1]]];
        let vr = |vr: Vr, own: u8, other: u8| {
            let [link, other_link] = links[vr as usize];
            format!(
                "vr {vr}\n interface {link}\n  ipv4 address 10.0.0.{own}/24\n  ipv6 address 2001:db8::{own}/64\n  \
                 ipv6 address 2001:db8::1{own}/64\n  ipv6 address 2001:db8:2::{own}/64\n !\n interface {other_link}\n  \
                 ipv4 address 10.0.1.{own}/24\n  ipv6 address 2001:db8:3::{own}/64\n !\n interface Loopback0\n  ipv4 \
                 address 192.0.2.{own}/32\n  ipv6 address 2001:db8:1::{own}/128\n !\n router static\n  address-family \
                 ipv4 unicast\n   192.0.2.{other}/32 10.0.0.{other}\n  !\n  address-family ipv6 unicast\n   \
                 2001:db8:1::{other}/128 2001:db8::{other}\n  !\n !\n!\n"
            )
        };
        let (red, blue) = (vr(Vr::Red, 1, 2), vr(Vr::Blue, 2, 1));
        let router =
            Router::up(name, &format!("hostname {name}\nvr red\n!\nvr blue\n!\n{first}{OTHER_CABLE}{red}{blue}"));
        await_routes(&router);
        Network::Router(router, links)
    }

    /// Red's and blue's, once they are there to be used.
    fn link_locals(&self) -> [[IpAddr; 2]; 2] {
        match self {
            Network::Namespaces { red, blue, .. } => {
                [red, blue].map(|namespace| [WIRE, OTHER_WIRE].map(|device| link_local_of_device(namespace, device)))
            }
            Network::Router(router, [red, blue]) => [("red", red), ("blue", blue)]
                .map(|(vr, links)| links.map(|interface| link_local_of_interface(router, vr, interface))),
        }
    }
}

fn link_local_of_device(namespace: &Namespace, device: &str) -> IpAddr {
    let shown = namespace.ip(&format!("-6 -brief address show dev {device} scope link"));
    let mut words = shown.split_whitespace();
    let address = words.find_map(|word| word.strip_suffix("/64")).expect("a device that is up has one");
    address.parse().expect("an address")
}

/// An address is there once its link was asked whether another station has it, and the link-local one is the first to be
/// asked about.
fn link_local_of_interface(router: &Router, vr: &str, interface: &str) -> IpAddr {
    let of_link = |address: &str| address.strip_suffix("/64").filter(|a| a.starts_with("fe80")).map(str::to_owned);
    let addresses = |row: &Value| -> Vec<String> {
        let listed = row["addresses"].as_array().expect("a list").iter();
        listed.filter_map(|address| address.as_str().map(str::to_owned)).collect()
    };
    let wanted = [("vr", vr), ("interface", interface), ("state", "up")];
    let link_local = |table: &Value| {
        let rows = matching(table, &wanted);
        let listed = rows.first().map(addresses).unwrap_or_default();
        let has_global = listed.iter().any(|address| address.starts_with("2001:"));
        listed.iter().find_map(|address| of_link(address)).filter(|_| has_global)
    };
    let table = router.wait_for("show interfaces", |table| link_local(table).is_some());
    link_local(&table).expect("it was waited for").parse().expect("an address")
}
