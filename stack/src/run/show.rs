//! The stack's tables.

use std::net::SocketAddr;

use ipc::{Family, VrId};
use vr_api::show::{Row, ShowTable, Value};

use super::process::Process;
use crate::counters::{Counter, CounterValues, DropReason};
use crate::fib::{Adjacency, GroupId};
use crate::ifib::{IfibKey, PuntTarget};
use crate::wire::ethernet::MacAddress;

const INTERFACES: &[&str] = &[
    "vr",
    "interface",
    "state",
    "addresses",
    "mtu",
    "mac",
    "packets_received",
    "packets_sent",
    "bytes_received",
    "bytes_sent",
    "drops",
];
const NEIGHBORS: &[&str] = &["vr", "interface", "address", "mac", "age"];
const COUNTERS: &[&str] = &[
    "vr",
    "packets_received",
    "packets_sent",
    "packets_forwarded",
    "drops",
    "inter_vr_crossings",
    "punted",
    "frames_received",
    "frames_sent",
    "buffers_in_use",
    "buffers_allocated",
];

/// The tables that the stack answers.
pub fn tables() -> Vec<ShowTable> {
    vec![
        ShowTable::new("interfaces", "Interfaces of all virtual routers", INTERFACES),
        ShowTable::new("arp", "Link addresses of IPv4 neighbors", NEIGHBORS),
        ShowTable::new("ipv6 neighbors", "Link addresses of IPv6 neighbors", NEIGHBORS),
        ShowTable::new("fib", "The global FIB", &["vr", "prefix", "action", "next_hops"]),
        ShowTable::new(
            "ifib",
            "Who gets packets for this router",
            &["vr", "protocol", "local", "remote", "target", "class"],
        ),
        ShowTable::new("tcp", "TCP sockets that pass the stack", &["vr", "local", "remote", "state"]),
        ShowTable::new("stack counters", "Packets and buffers, each virtual router and in total", COUNTERS),
        ShowTable::new("stack drops", "Dropped packets by reason", &["vr", "reason", "packets"]),
    ]
}

impl Process {
    /// Rows of a table; the error says why there are none.
    pub(super) fn rows(&self, table: &str, _arguments: &[String]) -> Result<Vec<Row>, String> {
        match table {
            "interfaces" => Ok(self.interface_rows()),
            "arp" => Ok(self.neighbor_rows(Family::Ipv4)),
            "ipv6 neighbors" => Ok(self.neighbor_rows(Family::Ipv6)),
            "fib" => Ok(self.fib_rows()),
            "ifib" => Ok(self.ifib_rows()),
            "tcp" => Ok(self.tcp_rows()),
            "stack counters" => Ok(self.counter_rows()),
            "stack drops" => Ok(self.drop_rows()),
            _ => Err(format!("no table {table:?}")),
        }
    }

    fn vr_name(&self, vr: VrId) -> Value {
        self.plane.topology.vr_name(vr).map_or(Value::Null, Value::text)
    }

    fn interface_name(&self, index: crate::ids::IfIndex) -> Value {
        self.plane.topology.by_index(index).map_or(Value::Null, |record| Value::text(&record.state.name))
    }

    fn interface_rows(&self) -> Vec<Row> {
        let counted = self.plane.counters.interfaces();
        let none = CounterValues::default();
        let row = |record: &crate::control::topology::Record| {
            let counters = counted.get(&record.index).unwrap_or(&none);
            let count = |counter| Value::from(counters.get(counter));
            let mac = record.state.mac.map(|mac| MacAddress(mac).to_string());
            let link_local = record.state.link_local.map(|address| Value::text(format!("{address}/64")));
            let addresses = record.state.addresses.iter().map(Value::text).chain(link_local).collect();
            vec![
                Value::text(&record.state.vr),
                Value::text(&record.state.name),
                if record.state.up { "up" } else { "down" }.into(),
                Value::List(addresses),
                record.state.mtu.into(),
                mac.into(),
                count(Counter::PacketsReceived),
                count(Counter::PacketsSent),
                count(Counter::BytesReceived),
                count(Counter::BytesSent),
                counters.drops().into(),
            ]
        };
        self.plane.topology.interfaces().map(row).collect()
    }

    fn neighbor_rows(&self, family: Family) -> Vec<Row> {
        let now = self.now();
        let row = |neighbor: crate::internet::neighbor::Neighbor| {
            let vr = self.plane.topology.by_index(neighbor.interface).map(|record| record.state.vr.to_string());
            vec![
                vr.into(),
                self.interface_name(neighbor.interface),
                Value::text(neighbor.address),
                neighbor.mac.map(|mac| mac.to_string()).into(),
                neighbor.heard.map(|heard| now.since(heard).as_secs_f64()).into(),
            ]
        };
        self.input.neighbors.iter().filter(|neighbor| Family::of(neighbor.address) == family).map(row).collect()
    }

    fn fib_rows(&self) -> Vec<Row> {
        let fib = self.plane.fib.snapshot();
        let mut rows = Vec::new();
        for (name, vr) in self.plane.topology.vrs() {
            for (prefix, group) in fib.routes(vr.into()) {
                let hops = fib.next_hops(group).iter().filter_map(|hop| fib.adjacency(hop.adjacency));
                let action = match group {
                    GroupId::RECEIVE => "receive",
                    GroupId::DISCARD => "discard",
                    _ => "forward",
                };
                let hops = hops.filter_map(|hop| self.next_hop(hop)).collect();
                rows.push(vec![Value::text(name), Value::text(prefix), action.into(), Value::List(hops)]);
            }
        }
        rows
    }

    fn next_hop(&self, adjacency: Adjacency) -> Option<Value> {
        let (interface, address, mac) = match adjacency {
            Adjacency::Receive | Adjacency::Discard => return None,
            Adjacency::Glean { interface } | Adjacency::InterVr { interface } => (interface, None, None),
            Adjacency::Incomplete { interface, next_hop } => (interface, Some(next_hop.to_string()), None),
            Adjacency::Complete { interface, destination } => (interface, None, Some(destination.to_string())),
        };
        Some(Value::Object(vec![
            ("interface".to_owned(), self.interface_name(interface)),
            ("address".to_owned(), address.into()),
            ("mac".to_owned(), mac.into()),
        ]))
    }

    fn ifib_rows(&self) -> Vec<Row> {
        let row = |(key, entry): (IfibKey, crate::ifib::IfibEntry)| {
            let (vr, protocol, local, remote) = match key {
                IfibKey::Connection { vr, protocol, local, remote } => {
                    (vr, Some(protocol), Some(local.to_string()), Some(remote.to_string()))
                }
                IfibKey::Listener { vr, protocol, family, address, port } => {
                    let local = match (address, family) {
                        (Some(address), _) => SocketAddr::new(address, port).to_string(),
                        (None, Family::Ipv4) => format!("*:{port}"),
                        (None, Family::Ipv6) => format!("[::]:{port}"),
                    };
                    (vr, Some(protocol), Some(local), None)
                }
                IfibKey::Group { vr, interface, group } => {
                    let by = self.plane.topology.by_index(interface).map(|record| format!(" {}", record.state.name));
                    (vr, None, Some(format!("{group}{}", by.unwrap_or_default())), None)
                }
                IfibKey::Protocol { vr, protocol, .. } => (vr, Some(protocol), None, None),
            };
            let target = match entry.target {
                PuntTarget::Socket(socket) => format!("socket {}", socket.0),
                PuntTarget::Handler => "stack".to_owned(),
            };
            let class = format!("{:?}", entry.class).to_lowercase();
            let protocol = protocol.map_or(Value::Null, protocol_name);
            vec![self.vr_name(vr), protocol, local.into(), remote.into(), target.into(), class.into()]
        };
        self.plane.ifib.snapshot().entries().into_iter().map(row).collect()
    }

    fn tcp_rows(&self) -> Vec<Row> {
        let row = |socket: crate::server::SocketRow| {
            let remote = socket.remote.map(|remote| remote.to_string());
            vec![self.vr_name(socket.vr), Value::text(socket.local), remote.into(), socket.state.into()]
        };
        self.server.rows().into_iter().map(row).collect()
    }

    fn counter_rows(&self) -> Vec<Row> {
        let counted = self.plane.counters.vrs();
        let none = CounterValues::default();
        let vrs = self.plane.topology.vrs();
        let mut rows: Vec<Row> = vrs
            .map(|(name, vr)| {
                // The pool is the router's: what is allocated is nobody's. In use by a VR is what waits in it.
                let buffers = [self.waiting_in(vr).into(), Value::Null];
                counters(Value::text(name), counted.get(&vr).unwrap_or(&none), buffers)
            })
            .collect();
        let pool = &self.plane.pool;
        let buffers = [pool.buffers_in_use().into(), pool.buffers_allocated().into()];
        rows.push(counters(Value::Null, &self.plane.counters.total(), buffers));
        rows
    }

    /// Packets of a VR that wait for a neighbor's link address.
    fn waiting_in(&self, vr: VrId) -> usize {
        let of_vr = |interface| self.plane.topology.by_index(interface).is_some_and(|record| record.vr == vr);
        self.input.neighbors.waiting().filter(|(interface, _)| of_vr(*interface)).map(|(_, count)| count).sum()
    }

    fn drop_rows(&self) -> Vec<Row> {
        let counted = self.plane.counters.vrs();
        let rows = counted.iter().flat_map(|(vr, counters)| {
            let reasons = DropReason::ALL.iter().map(|reason| (reason.name(), counters.dropped(*reason)));
            let dropped = reasons.filter(|(_, count)| *count > 0);
            dropped.map(|(name, count)| vec![self.vr_name(*vr), name.into(), count.into()])
        });
        rows.collect()
    }
}

fn counters(vr: Value, values: &CounterValues, buffers: [Value; 2]) -> Row {
    let count = |counter| Value::from(values.get(counter));
    let [in_use, allocated] = buffers;
    vec![
        vr,
        count(Counter::PacketsReceived),
        count(Counter::PacketsSent),
        count(Counter::PacketsForwarded),
        values.drops().into(),
        count(Counter::InterVrCrossings),
        count(Counter::Punted),
        count(Counter::FramesReceived),
        count(Counter::FramesSent),
        in_use,
        allocated,
    ]
}

/// IANA "Protocol Numbers".
fn protocol_name(number: u8) -> Value {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        89 => "ospf".into(),
        number => Value::text(number),
    }
}
