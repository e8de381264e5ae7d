//! The three networks that the cases are played in. Addresses are the same in all: red is 10.0.0.1 and 192.0.2.1, blue
//! is 10.0.0.2 and 192.0.2.2; the former on the link between them, the latter on loopbacks, routed over the link.

use std::fmt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::endpoint::Place;
use crate::namespace::Namespace;
use crate::support::Router;

/// Columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The Linux kernel, the judge.
    Kernel,
    /// The channel between two joined VRs.
    Channel,
    /// The stack of the router, over a cable between two of its ports.
    Stack,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Kernel => "kernel",
            Kind::Channel => "channel",
            Kind::Stack => "stack",
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

/// A network with processes in it.
#[derive(Debug)]
pub struct Column {
    kind: Kind,
    network: Network,
    /// Tells processes of one VR apart, those of earlier cases included.
    processes: AtomicU32,
}

#[derive(Debug)]
enum Network {
    Router(Router),
    Namespaces { red: Namespace, blue: Namespace },
}

impl Column {
    /// Builds the network; returns when routes are in place.
    pub fn start(kind: Kind) -> Self {
        let network = match kind {
            Kind::Kernel => Network::namespaces(),
            Kind::Channel => Network::router("channel", "", ["blue", "red"]),
            Kind::Stack => Network::router("stack", CABLE, ["Port0/0/0", "Port0/0/1"]),
        };
        Self { kind, network, processes: AtomicU32::new(0) }
    }

    /// The program that a process of a case runs, and what it is to be told of its place.
    pub fn endpoint(&self, vr: Vr) -> (Command, Place) {
        let program = std::env::current_exe().expect("this program has a path");
        match &self.network {
            Network::Namespaces { red, blue } => {
                let namespace = match vr {
                    Vr::Red => red,
                    Vr::Blue => blue,
                };
                (namespace.command(program), Place::Kernel)
            }
            Network::Router(router) => {
                let number = self.processes.fetch_add(1, Ordering::Relaxed);
                let control_socket = router.control_socket();
                let place = Place::Vr { control_socket, vr: vr.to_string(), name: format!("case-{number}") };
                (Command::new(program), place)
            }
        }
    }

    /// Asserts that a connection, which stands between red and blue, goes the way that the column is named after.
    pub fn assert_carries(&self) {
        let Network::Router(router) = &self.network else { return };
        let through_the_stack = router.rows("show tcp", &[("state", "ESTABLISHED")]).len();
        let wanted = match self.kind {
            Kind::Channel | Kind::Kernel => 0,
            Kind::Stack => 2,
        };
        assert_eq!(through_the_stack, wanted, "ends of the connection that the stack has in column {}", self.kind);
    }
}

impl Network {
    fn namespaces() -> Self {
        let (red, blue) = (Namespace::new(), Namespace::new());
        red.join("wire", &blue, "wire");
        for (namespace, own, other) in [(&red, 1, 2), (&blue, 2, 1)] {
            namespace.ip(&format!("address add 10.0.0.{own}/24 dev wire"));
            namespace.ip(&format!("address add 192.0.2.{own}/32 dev lo"));
            namespace.ip(&format!("route add 192.0.2.{other}/32 via 10.0.0.{other}"));
            // Errors come for each packet that causes one, not for some of them.
            crate::namespace::run(namespace.command("sysctl").args(["-q", "-w", "net.ipv4.icmp_ratelimit=0"]));
        }
        Network::Namespaces { red, blue }
    }

    fn router(name: &str, ports: &str, [red_link, blue_link]: [&str; 2]) -> Self {
        let connect = if ports.is_empty() { "connect red blue\n" } else { "" };
        let vr = |vr: Vr, link: &str, own: u8, other: u8| {
            format!(
                "vr {vr}\n interface {link}\n  ipv4 address 10.0.0.{own}/24\n !\n interface Loopback0\n  ipv4 address \
                 192.0.2.{own}/32\n !\n router static\n  address-family ipv4 unicast\n   192.0.2.{other}/32 \
                 10.0.0.{other}\n  !\n !\n!\n"
            )
        };
        let (red, blue) = (vr(Vr::Red, red_link, 1, 2), vr(Vr::Blue, blue_link, 2, 1));
        let router = Router::up(name, &format!("hostname {name}\n{ports}vr red\n!\nvr blue\n!\n{connect}{red}{blue}"));
        for (vr, loopback) in [("red", "192.0.2.2/32"), ("blue", "192.0.2.1/32")] {
            router.wait_for_row("show fib", &[("vr", vr), ("prefix", loopback), ("action", "forward")]);
        }
        Network::Router(router)
    }
}

/// Two ports wired together, one for each VR.
const CABLE: &str = "\
linecard 0/0
 port 0
  driver cable local ./a.sock remote ./b.sock
 !
 port 1
  driver cable local ./b.sock remote ./a.sock
 !
!
vr red
 assign port 0/0/0
!
vr blue
 assign port 0/0/1
!
";
