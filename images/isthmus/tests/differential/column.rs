//! The networks that the cases are played in. Addresses are the same in all: red is 10.0.0.1 and 192.0.2.1, blue
//! is 10.0.0.2 and 192.0.2.2; the former on the link between them, the latter on loopbacks, routed over the link. Of IPv6
//! the link has three: 2001:db8::1, 2001:db8::11 and 2001:db8:2::1 are red's, 2001:db8:1::1 is its loopback's.

use std::fmt;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::endpoint::Place;
use testing::namespace::Namespace;
use testing::preload;
use testing::support::{CABLE, Router, wait_until};

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

/// Device of a network namespace that leads to the other one.
pub const WIRE: &str = "wire";

/// Devices of the switch between the namespaces: the bridge, and its ports.
const BRIDGE: &str = "bridge";
const TO_RED: &str = "red";
const TO_BLUE: &str = "blue";

/// A network with processes in it.
#[derive(Debug)]
pub struct Column {
    kind: Kind,
    network: Network,
    /// Red's and blue's link-local address on the link.
    link_locals: [IpAddr; 2],
    /// Tells processes of one VR apart, those of earlier cases included.
    processes: AtomicU32,
}

#[derive(Debug)]
enum Network {
    /// With the names of red's and blue's interface towards each other.
    Router(Router, [&'static str; 2]),
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
            Kind::Channel => Network::router("channel", "", ["blue", "red"]),
            Kind::Stack => Network::router("stack", CABLE, ["Port0/0/0", "Port0/0/1"]),
            Kind::LibcChannel => Network::router("libc-channel", "", ["blue", "red"]),
            Kind::LibcStack => Network::router("libc-stack", CABLE, ["Port0/0/0", "Port0/0/1"]),
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
                (namespace.command(program), Place::Libc { link: WIRE.to_owned() })
            }
            Network::Router(router, links) => {
                let link = links[vr as usize].to_owned();
                if matches!(self.kind, Kind::LibcChannel | Kind::LibcStack) {
                    return (preload::program(router, &vr.to_string(), &[program]), Place::Libc { link });
                }
                let number = self.processes.fetch_add(1, Ordering::Relaxed);
                let control_socket = router.control_socket();
                let place = Place::Vr { control_socket, vr: vr.to_string(), name: format!("case-{number}"), link };
                (Command::new(program), place)
            }
        }
    }

    /// A VR's link-local address on the link.
    pub fn link_local(&self, vr: Vr) -> IpAddr {
        self.link_locals[vr as usize]
    }

    /// Shuts blue's end of the link, as an administrator does. Nobody tells red, whose own end stays up: so it is between
    /// VRs, and so it is on a wire that leads over a switch. (Without one, the kernel tells red at once that the line is
    /// dead. Where frames are lost on the way, on the other hand, blue's own routes stay: no VR ever sees that.)
    pub fn cut_link(&self) {
        match &self.network {
            Network::Router(router, [_, link]) => {
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
            Network::Router(router, [_, link]) => {
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
        for (namespace, own, other) in [(&red, 1, 2), (&blue, 2, 1)] {
            // Configured addresses stay where an interface is shut, and a link-local one is used at once.
            let settings =
                [format!("net.ipv6.conf.{WIRE}.keep_addr_on_down=1"), format!("net.ipv6.conf.{WIRE}.accept_dad=0")];
            // Errors come for each packet that causes one, not for some of them.
            let settings = settings.into_iter().chain(["net.ipv4.icmp_ratelimit=0".to_owned()]);
            testing::namespace::run(namespace.command("sysctl").args(["-q", "-w"]).args(settings));
            namespace.ip(&format!("address add 10.0.0.{own}/24 dev {WIRE}"));
            namespace.ip(&format!("address add 192.0.2.{own}/32 dev lo"));
            // A router takes no second to see that nobody else has its address. Of two in one subnet Linux speaks with
            // the one that came last, we with the first: RFC 6724 leaves that open.
            for address in [format!("2001:db8::1{own}"), format!("2001:db8::{own}"), format!("2001:db8:2::{own}")] {
                namespace.ip(&format!("address add {address}/64 dev {WIRE} nodad"));
            }
            namespace.ip(&format!("address add 2001:db8:1::{own}/128 dev lo"));
            add_routes(namespace, other);
        }
        Network::Namespaces { red, blue, switch }
    }

    fn router(name: &str, ports: &str, links: [&'static str; 2]) -> Self {
        let [red_link, blue_link] = links;
        let connect = if ports.is_empty() { "connect red blue\n" } else { "" };
        let vr = |vr: Vr, link: &str, own: u8, other: u8| {
            format!(
                "vr {vr}\n interface {link}\n  ipv4 address 10.0.0.{own}/24\n  ipv6 address 2001:db8::{own}/64\n  \
                 ipv6 address 2001:db8::1{own}/64\n  ipv6 address 2001:db8:2::{own}/64\n !\n interface Loopback0\n  ipv4 address 192.0.2.{own}/32\n  ipv6 address 2001:db8:1::{own}/128\n !\n router \
                 static\n  address-family ipv4 unicast\n   192.0.2.{other}/32 10.0.0.{other}\n  !\n  address-family ipv6 \
                 unicast\n   2001:db8:1::{other}/128 2001:db8::{other}\n  !\n !\n!\n"
            )
        };
        let (red, blue) = (vr(Vr::Red, red_link, 1, 2), vr(Vr::Blue, blue_link, 2, 1));
        let router = Router::up(name, &format!("hostname {name}\n{ports}vr red\n!\nvr blue\n!\n{connect}{red}{blue}"));
        await_routes(&router);
        Network::Router(router, links)
    }

    /// Red's and blue's, once they are there to be used.
    fn link_locals(&self) -> [IpAddr; 2] {
        match self {
            Network::Namespaces { red, blue, .. } => [red, blue].map(|namespace| {
                let shown = namespace.ip(&format!("-6 -brief address show dev {WIRE} scope link"));
                let mut words = shown.split_whitespace();
                let address = words.find_map(|word| word.strip_suffix("/64")).expect("a device that is up has one");
                address.parse().expect("an address")
            }),
            Network::Router(router, [red, blue]) => [("red", red), ("blue", blue)].map(|(vr, link)| {
                let row = router.wait_for_row("show interfaces", &[("vr", vr), ("interface", link), ("state", "up")]);
                let addresses = row["addresses"].as_array().expect("a list").iter().filter_map(|a| a.as_str());
                let of_link =
                    |address: &str| address.strip_suffix("/64").filter(|a| a.starts_with("fe80")).map(str::to_owned);
                let address = addresses.filter_map(of_link).next().expect("IPv6 is on");
                address.parse().expect("an address")
            }),
        }
    }
}
