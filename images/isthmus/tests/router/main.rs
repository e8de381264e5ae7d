//! The real tree: every test starts whole routers of separate processes and looks at them as an operator does.
//!
//! `testing::support` starts, asks and stops them. Each router has a folder and a name of its own, so that tests run beside each
//! other.

mod addresses;
mod bad_input;
mod bird;
mod boot;
mod cable;
mod container;
mod containerlab;
mod cpython;
mod demo;
mod disk;
mod examples;
mod exec;
mod failure;
mod faults;
mod frr;
mod garbage;
mod gates;
mod guide;
mod hotplug;
mod igp;
mod ipv6;
mod lab;
mod linux;
mod loopback;
mod new_protocol;
mod nonsense;
mod ospf;
mod ospf_areas;
mod ospf_cable;
mod ospf_keys;
mod ospf_matrix;
mod ospf_neighbors;
mod ospf_noise;
mod ospf_refused;
mod ospf_tables;
mod ospf_topology;
mod peer;
mod power;
mod preload;
mod program;
mod restart;
mod service;
mod tap;
mod topology;
mod vm;

use testing::{namespace, support};
