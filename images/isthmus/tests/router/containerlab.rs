//! The topology for containerlab, done as containerlab does it: a network and a start for each node, then the links.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::container::Image;
use crate::hotplug::{link_late, start_inside};
use crate::namespace::{Namespace, can_run, run};
use crate::support::Router;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The topology; read by Python, as no parser of YAML is among the project's crates.
fn topology() -> Value {
    let script = "import sys, json, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let read = |python: &str| {
        let mut command = Command::new(python);
        command.args(["-c", script]).arg(examples().join("lab.clab.yml"));
        command
    };
    // Debian's own has Debian's modules.
    let output = read("/usr/bin/python3").output().ok().filter(|output| output.status.success());
    serde_json::from_slice(&output.unwrap_or_else(|| run(&mut read("python3"))).stdout).unwrap()
}

#[test]
fn the_topology_for_containerlab_comes_up_when_its_links_are_made_after_the_start() {
    let name = "the_topology_for_containerlab_comes_up_when_its_links_are_made_after_the_start";
    if !can_run(name, &["python3", "tar"]) {
        return;
    }
    let topology = topology()["topology"].clone();
    assert_eq!(
        (&topology["kinds"]["linux"]["image"], &topology["kinds"]["linux"]["user"]),
        (&"isthmus:latest".into(), &"root".into())
    );
    // By name: an engine looks it up in the image.
    let image = Image::build(&[]);
    let users = std::fs::read_to_string(image.root().join("etc/passwd")).unwrap();
    assert!(users.lines().any(|line| line.starts_with("root:x:0:0:")), "{users}");
    let mut nodes = BTreeMap::new();
    for (name, node) in topology["nodes"].as_object().unwrap() {
        assert_eq!(node["kind"], "linux");
        let bind = node["binds"][0].as_str().unwrap();
        let (file, place) = bind.split_once(':').unwrap();
        assert_eq!(place, "/etc/isthmus/startup.conf:ro", "where `up` looks for a configuration");
        let (network, router) = (Namespace::new(), Router::new(name));
        start_inside(&router, &network, &std::fs::read_to_string(examples().join(file)).unwrap());
        nodes.insert(name.clone(), (router, network));
    }
    for link in topology["links"].as_array().unwrap() {
        let end = |index: usize| {
            let (node, device) = link["endpoints"][index].as_str().unwrap().split_once(':').unwrap();
            (&nodes[node].1, device)
        };
        link_late(end(0), end(1));
    }
    for (router, _) in nodes.values() {
        router.wait_for_row("show bgp summary", &[("state", "Established"), ("prefixes_received", "1")]);
    }
    let ping = "ping vr red 192.0.2.2 source 192.0.2.1 count 1";
    for (node, other) in [("west", "192.0.2.2/32"), ("east", "192.0.2.1/32")] {
        nodes[node].0.wait_for_row("show fib", &[("prefix", other), ("action", "forward")]);
    }
    assert_eq!(nodes["west"].0.sh(ping)["received"], 1);
}
