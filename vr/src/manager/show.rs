//! The manager's tables: `show vr`, `show inter-vr`, `show inter-vr database`.

use std::collections::HashMap;

use ipc::{InterfaceName, ServiceName, VrId};
use vr_api::manager::InterVrCounters;
use vr_api::show::{Row, ShowTable, Value};

use super::connections::{Database, Interface};
use super::mapping::Mapping;

/// What libraries counted, summed over the processes of a VR.
pub type Counters = HashMap<(VrId, InterfaceName), InterVrCounters>;

/// The service that answers.
pub const SERVICE: &str = "vrmgr";

/// The tables.
pub fn tables() -> Vec<ShowTable> {
    vec![
        ShowTable::new("vr", "Virtual routers", &["vr", "vr_id", "classes", "interfaces", "connected_to"]),
        ShowTable::new(
            "inter-vr",
            "Inter-VR interfaces: what went over them without the stack",
            &[
                "vr",
                "interface",
                "peer_vr",
                "state",
                "short_circuit",
                "addresses",
                "connections",
                "bytes_sent",
                "bytes_received",
                "vrfib_hits",
                "vrfib_misses",
            ],
        ),
        ShowTable::new(
            "inter-vr database",
            "The virtual connection database, one row a side of each entry",
            &["vr", "vr_id", "peer_vr", "peer_vr_id", "interface", "addresses", "pathnames"],
        ),
    ]
}

/// `show vr`.
pub fn vrs(mapping: &Mapping, database: &Database, classes: impl Fn(VrId) -> Vec<ServiceName>) -> Vec<Row> {
    let row = |(id, router): (&VrId, &super::connections::VirtualRouter)| {
        let interfaces = router.interfaces.iter().map(|interface| Value::text(&interface.name)).collect();
        let peers = database.peers(*id).filter_map(|peer| mapping.name(peer)).map(Value::text).collect();
        vec![
            Value::text(&router.name),
            u64::from(id.0).into(),
            Value::List(classes(*id).iter().map(Value::text).collect()),
            Value::List(interfaces),
            Value::List(peers),
        ]
    };
    database.vrs().iter().map(row).collect()
}

/// `show inter-vr`.
pub fn inter_vr(mapping: &Mapping, database: &Database, counters: &Counters) -> Vec<Row> {
    sides(database)
        .filter_map(|(vr, peer)| {
            let (own, far) = (database.interface(vr, peer)?, database.interface(peer, vr)?);
            let counted = counters.get(&(vr, own.name.clone()));
            let count = |field: fn(&InterVrCounters) -> u64| Value::from(counted.map_or(0, field));
            Some(vec![
                Value::text(mapping.name(vr)?),
                Value::text(&own.name),
                Value::text(mapping.name(peer)?),
                state(own, far).into(),
                short_circuit(own, far).into(),
                addresses(own),
                count(|counters| counters.connections),
                count(|counters| counters.bytes_sent),
                count(|counters| counters.bytes_received),
                count(|counters| counters.vrfib_hits),
                count(|counters| counters.vrfib_misses),
            ])
        })
        .collect()
}

/// `show inter-vr database`.
pub fn database(mapping: &Mapping, database: &Database) -> Vec<Row> {
    sides(database)
        .filter_map(|(vr, peer)| {
            let own = database.interface(vr, peer)?;
            let pathnames = database.published(vr).iter().map(|published| Value::text(&published.pathname)).collect();
            Some(vec![
                Value::text(mapping.name(vr)?),
                u64::from(vr.0).into(),
                Value::text(mapping.name(peer)?),
                u64::from(peer.0).into(),
                Value::text(&own.name),
                addresses(own),
                Value::List(pathnames),
            ])
        })
        .collect()
}

/// Both sides of every entry.
fn sides(database: &Database) -> impl Iterator<Item = (VrId, VrId)> {
    database.joined().iter().flat_map(|&(a, b)| [(a, b), (b, a)])
}

fn state(own: &Interface, far: &Interface) -> &'static str {
    match (own.shut, far.shut) {
        (true, _) => "admin-down",
        (false, true) => "down",
        (false, false) => "up",
    }
}

/// Switched off at either end, nothing goes past the stack.
fn short_circuit(own: &Interface, far: &Interface) -> &'static str {
    match (own.short_circuit, far.short_circuit) {
        (false, _) => "disabled",
        (true, false) => "disabled-by-peer",
        (true, true) => "enabled",
    }
}

fn addresses(interface: &Interface) -> Value {
    Value::List(interface.addresses.iter().map(Value::text).collect())
}
