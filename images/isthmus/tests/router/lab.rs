//! A router with a real neighbor outside: each in a network of its own, a veth pair between them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::namespace::{Namespace, run};
use crate::support::{Router, matching, wait_until};

/// Two joined VRs, red with a port on `veth0` and a BGP neighbor 10.1.0.2 behind it.
pub const NEIGHBOR_OUTSIDE: &str = include_str!("../../../examples/neighbor-outside.conf");
/// Address of the neighbor outside.
pub const NEIGHBOR: &str = "10.1.0.2";
/// What the two VRs announce to the outside: their own networks and the one between red and its neighbor.
pub const ANNOUNCED: [&str; 5] = ["10.1.0.0/24", "192.0.2.1/32", "192.0.2.2/32", "198.51.100.0/24", "203.0.113.0/24"];
/// Red's part of it, which blue has by BGP even without the neighbor.
pub const OF_RED: [&str; 3] = ["10.1.0.0/24", "192.0.2.1/32", "198.51.100.0/24"];
/// Blue's part, which red has.
pub const OF_BLUE: [&str; 2] = ["192.0.2.2/32", "203.0.113.0/24"];

/// The router of [`NEIGHBOR_OUTSIDE`] and a network for its neighbor.
#[derive(Debug)]
pub struct Lab {
    // Dropped first: it stops in order while its device is there.
    pub router: Router,
    /// The neighbor's network, with 10.1.0.2/24 on `eth0`.
    pub outside: Namespace,
    _inside: Namespace,
}

impl Lab {
    /// Returns when the router is up.
    pub fn up(name: &str, config: &str) -> Self {
        Self::up_after(name, config, |outside| _ = outside.ip(&format!("address add {NEIGHBOR}/24 dev eth0")))
    }

    /// The same, with the neighbor's network as `prepare` makes it before the router starts.
    pub fn up_after(name: &str, config: &str, prepare: impl FnOnce(&Namespace)) -> Self {
        let (inside, outside) = (Namespace::new(), Namespace::new());
        inside.join("veth0", &outside, "eth0");
        prepare(&outside);
        let router = Router::new(name);
        let file = router.write("router.conf", config);
        let up = [OsStr::new("up"), file.as_os_str(), "-d".as_ref(), "--name".as_ref(), name.as_ref()];
        run(&mut inside.inside(&router.command(up)));
        Self { router, outside, _inside: inside }
    }

    /// Waits until the routes that a VR has from BGP are these.
    pub fn wait_for_routes(&self, vr: &str, wanted: &BTreeSet<String>) {
        let mut last = BTreeSet::new();
        let seen = wait_until(|| {
            last = prefixes(&self.router.rows("show route", &[("vr", vr), ("protocol", "bgp")]));
            (last == *wanted).then_some(())
        });
        let missing: Vec<_> = wanted.difference(&last).take(5).collect();
        let surplus: Vec<_> = last.difference(wanted).take(5).collect();
        assert!(
            seen.is_some(),
            "{vr} has {} of {} routes; missing {missing:?}…, too many {surplus:?}…",
            last.len(),
            wanted.len()
        );
    }

    /// Waits until the neighbor's kernel forwards to red what a daemon named `protocol` there learned from it.
    pub fn wait_for_kernel_routes(&self, protocol: &str, wanted: &[&str]) {
        let mut last = String::new();
        let seen = wait_until(|| {
            last = self.outside.ip(&format!("-json route show proto {protocol}"));
            let table: Value = serde_json::from_str(&last).unwrap();
            let via_red = matching(&table, &[("gateway", "10.1.0.1"), ("dev", "eth0")]);
            let destinations: Vec<_> = via_red.iter().filter_map(|row| row["dst"].as_str()).collect();
            // A route to one address is shown without its length.
            let has = |prefix: &&str| destinations.contains(&prefix.trim_end_matches("/32"));
            wanted.iter().all(has).then_some(())
        });
        assert!(seen.is_some(), "wanted {wanted:?} in the neighbor's kernel, which has {last}\n{}", self.router.log());
    }
}

/// A router with many ports, on devices `v0`, `v1` and so on, that each lead to a neighbor outside.
#[derive(Debug)]
pub struct Ports {
    // Dropped first: it stops in order while its devices are there.
    pub router: Router,
    /// Networks of neighbors.
    pub outside: Vec<Namespace>,
    _inside: Namespace,
}

/// The other end of a port: in which network, as which device, with which address.
pub struct End {
    pub network: usize,
    pub device: String,
    pub address: String,
}

impl Ports {
    /// Returns when the router is up. Others than its user may look into its folder.
    pub fn up(name: &str, config: &str, ends: &[End]) -> Self {
        let networks = ends.iter().map(|end| end.network + 1).max().unwrap_or(0);
        let (inside, outside) = (Namespace::new(), (0..networks).map(|_| Namespace::new()).collect::<Vec<_>>());
        for (port, end) in ends.iter().enumerate() {
            let network = &outside[end.network];
            inside.join(&format!("v{port}"), network, &end.device);
            network.ip(&format!("address add {} dev {}", end.address, end.device));
        }
        let router = Router::new(name);
        std::fs::set_permissions(router.folder(), PermissionsExt::from_mode(0o711)).unwrap();
        let file = router.write("router.conf", config);
        let up = [OsStr::new("up"), file.as_os_str(), "-d".as_ref(), "--name".as_ref(), name.as_ref()];
        run(&mut inside.inside(&router.command(up)));
        Self { router, outside, _inside: inside }
    }
}

fn prefixes(rows: &[Value]) -> BTreeSet<String> {
    rows.iter().filter_map(|row| row["prefix"].as_str().map(str::to_owned)).collect()
}

/// A set of prefixes.
pub fn set<P: AsRef<str>>(prefixes: impl IntoIterator<Item = P>) -> BTreeSet<String> {
    prefixes.into_iter().map(|prefix| prefix.as_ref().to_owned()).collect()
}
