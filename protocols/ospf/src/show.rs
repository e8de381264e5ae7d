//! The tables of `show ospf`.

use sdk::core::Time;
use sdk::show::{Row, ShowTable, Value};

use crate::fsm::InterfaceState;
use crate::instance::Ospf;
use crate::interface::Interface;
use crate::lsdb::{Entry, Lsdb};
use crate::neighbor::Neighbor;
use crate::packet::{AreaId, ExternalMetric, LsaBody, LsaType, RouterFlags};
use crate::routes::{Hop, PathKind};

const SUMMARY: &str = "ospf";
const AREA: &str = "ospf area";
const INTERFACE: &str = "ospf interface";
const NEIGHBOR: &str = "ospf neighbor";
const DATABASE: &str = "ospf database";
const ROUTE: &str = "ospf route";
const SPF_LOG: &str = "ospf spf log";
const DROPS: &str = "ospf drops";

/// The tables that this class answers.
pub fn tables() -> Vec<ShowTable> {
    vec![
        ShowTable::new(
            SUMMARY,
            "This router as OSPF sees it",
            &[
                "vr",
                "process",
                "router_id",
                "area_border",
                "as_boundary",
                "areas",
                "neighbors_full",
                "external_lsas",
                "spf_state",
                "spf_runs",
                "prefixes",
                "lsas_of_others",
                "silent_for",
                "duplicate_router_id_in",
            ],
        ),
        ShowTable::new(
            AREA,
            "Areas and their databases",
            &[
                "vr",
                "area",
                "kind",
                "interfaces",
                "lsas",
                "lsa_bytes",
                "lsa_checksum_sum",
                "trees_calculated",
                "process",
            ],
        ),
        ShowTable::new(
            INTERFACE,
            "Interfaces that OSPF runs on",
            &[
                "vr",
                "interface",
                "area",
                "address",
                "state",
                "network",
                "cost",
                "priority",
                "designated_router",
                "backup_designated_router",
                "hello_interval",
                "dead_interval",
                "neighbors",
                "neighbors_full",
                "mtu",
                "passive",
                "authentication",
                "instance_id",
                "refused_neighbor",
                "refused_because",
                "process",
            ],
        ),
        ShowTable::new(
            NEIGHBOR,
            "Neighbors and the state of the conversation with each",
            &[
                "vr",
                "interface",
                "neighbor_id",
                "address",
                "state",
                "priority",
                "role",
                "dead_in",
                "state_for",
                "to_request",
                "to_retransmit",
                "state_changes",
                "grace_left",
                "process",
            ],
        ),
        ShowTable::new(
            DATABASE,
            "Link state databases",
            &[
                "vr",
                "area",
                "type",
                "link_state_id",
                "advertising_router",
                "age",
                "sequence",
                "checksum",
                "length",
                "contents",
                "process",
            ],
        )
        .with_arguments(
            "[router|network|summary|asbr-summary|external|nssa-external|opaque-link|opaque-area|opaque-as]",
        ),
        ShowTable::new(
            ROUTE,
            "Prefixes that OSPF knows a way to",
            &["vr", "prefix", "type", "area", "cost", "external_cost", "next_hops", "tag", "process"],
        ),
        ShowTable::new(
            SPF_LOG,
            "The last calculations of the table",
            &["vr", "ago", "reason", "lsas_changed", "trees_calculated", "prefixes", "process"],
        ),
        ShowTable::new(DROPS, "Packets and LSAs that were not used", &["vr", "reason", "count", "process"]),
    ]
}

/// Rows of a table without the column `vr`; `None`: no such table.
pub fn rows(ospf: &Ospf, now: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
    if table == SUMMARY {
        return Some(summary(ospf, now).into_iter().collect());
    }
    let process = || ospf.config.as_ref().map_or(Value::Null, |config| config.name.clone().into());
    let mut rows = rows_of_one(ospf, now, table, arguments)?;
    rows.iter_mut().for_each(|row| row.push(process()));
    Some(rows)
}

/// The same without the last column, which says whose row it is.
fn rows_of_one(ospf: &Ospf, now: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
    Some(match table {
        AREA => areas(ospf),
        INTERFACE => ospf.interfaces.values().map(|link| interface(link, now)).collect(),
        NEIGHBOR => neighbors(ospf, now),
        DATABASE => database(ospf, now, arguments.first().map(String::as_str)),
        ROUTE => routes(ospf),
        SPF_LOG => spf_log(ospf, now),
        DROPS => ospf.drops.iter().map(|(reason, count)| vec![Value::text(reason), count.into()]).collect(),
        _ => return None,
    })
}

fn summary(ospf: &Ospf, now: Time) -> Option<Row> {
    let config = ospf.config.as_ref()?;
    let full = ospf.interfaces.values().map(|interface| interface.full().count()).sum::<usize>();
    Some(vec![
        config.name.clone().into(),
        ospf.router_id.map(Value::text).unwrap_or(Value::Null),
        ospf.is_border_router().into(),
        (ospf.tells_of_outside() || ospf.translates_any()).into(),
        ospf.areas.len().into(),
        full.into(),
        ospf.external.len().into(),
        match ospf.spf.state() {
            linkstate::SpfDelayState::Quiet => "quiet",
            linkstate::SpfDelayState::ShortWait { .. } => "short wait",
            linkstate::SpfDelayState::LongWait { .. } => "long wait",
        }
        .into(),
        ospf.areas.values().map(|area| area.spf.runs()).sum::<u64>().into(),
        ospf.table().networks.len().into(),
        ospf.lsas_of_others().into(),
        ospf.protection.ignoring_until.map_or(Value::Null, |until| until.since(now).as_secs_f64().into()),
        Value::List(ospf.rivals.areas(now).map(Value::text).collect()),
    ])
}

fn areas(ospf: &Ospf) -> Vec<Row> {
    let row = |(id, area): (&AreaId, &crate::area::Area)| {
        let uses = |interface: &&Interface| interface.area == *id && interface.state != InterfaceState::Down;
        vec![
            Value::text(id),
            area.config.kind.name().into(),
            ospf.interfaces.values().filter(uses).count().into(),
            area.lsdb.len().into(),
            area.lsdb.bytes().into(),
            area.lsdb.checksum_sum().into(),
            area.spf.runs().into(),
        ]
    };
    ospf.areas.iter().map(row).collect()
}

fn interface(interface: &Interface, now: Time) -> Row {
    let address = |address: Option<std::net::Ipv4Addr>| address.map(Value::text).unwrap_or(Value::Null);
    let is_up = interface.state != InterfaceState::Down;
    let refused = interface.refused(now);
    let because = refused.map(|(_, refusal)| refusal.reason.clone());
    vec![
        Value::text(&interface.name),
        Value::text(interface.area),
        if is_up { Value::text(interface.address) } else { Value::Null },
        interface.state.name().into(),
        interface.network.name().into(),
        u32::from(interface.cost).into(),
        u32::from(interface.config.priority).into(),
        address(interface.elected.designated),
        address(interface.elected.backup),
        u32::from(interface.config.hello_seconds).into(),
        interface.config.dead_seconds.into(),
        interface.neighbors.len().into(),
        interface.full().count().into(),
        interface.mtu.into(),
        Ospf::is_silent(interface).into(),
        interface.config.authentication.name().into(),
        u32::from(interface.config.instance).into(),
        address(refused.map(|(address, _)| address)),
        because.into(),
    ]
}

fn neighbors(ospf: &Ospf, now: Time) -> Vec<Row> {
    let row = |interface: &Interface, neighbor: &Neighbor| {
        let role = match (interface.state.is_elected(), Some(neighbor.address)) {
            (false, _) => "",
            (true, address) if address == interface.elected.designated => "DR",
            (true, address) if address == interface.elected.backup => "BDR",
            (true, _) => "DROther",
        };
        vec![
            Value::text(&interface.name),
            Value::text(neighbor.router),
            Value::text(neighbor.address),
            neighbor.state.name().into(),
            u32::from(neighbor.priority).into(),
            role.into(),
            neighbor.inactive_at.since(now).as_secs_f64().into(),
            now.since(neighbor.since).as_secs_f64().into(),
            neighbor.requests.len().into(),
            neighbor.retransmissions.len().into(),
            neighbor.events.into(),
            neighbor.grace_until.map_or(Value::Null, |until| until.since(now).as_secs_f64().into()),
        ]
    };
    let of_one = |interface| Interface::neighbors_in_order(interface).map(move |neighbor| row(interface, neighbor));
    ospf.interfaces.values().flat_map(of_one).collect()
}

fn database(ospf: &Ospf, now: Time, kind: Option<&str>) -> Vec<Row> {
    let links = ospf.interfaces.values().map(|interface| (Value::text(interface.area), &interface.lsdb));
    let areas = ospf.areas.iter().map(|(id, area)| (Value::text(id), &area.lsdb));
    let all = links.chain(areas).chain([(Value::Null, &ospf.external)]);
    all.flat_map(|(area, lsdb): (Value, &Lsdb)| {
        let wanted = lsdb.iter().filter(|(key, _)| kind.is_none_or(|kind| key.kind.name() == kind));
        wanted.map(|(_, entry)| lsa_row(area.clone(), entry, now)).collect::<Vec<_>>()
    })
    .collect()
}

fn lsa_row(area: Value, entry: &Entry, now: Time) -> Row {
    let header = entry.header(now);
    vec![
        area,
        header.key.kind.name().into(),
        Value::text(header.key.id),
        Value::text(header.key.router),
        u32::from(header.age).into(),
        Value::text(header.sequence),
        format!("0x{:04x}", header.checksum).into(),
        u32::from(header.length).into(),
        Value::List(contents(entry).into_iter().map(Value::Text).collect()),
    ]
}

/// What an LSA says, in words.
fn contents(entry: &Entry) -> Vec<String> {
    // It was read when it came.
    let Ok(body) = entry.lsa.body() else { return Vec::new() };
    match body {
        LsaBody::Router(router) => {
            let flags = [(RouterFlags::B, "area border router"), (RouterFlags::E, "AS boundary router")];
            let flags =
                flags.into_iter().filter(|(flag, _)| router.flags.contains(*flag)).map(|(_, name)| name.to_owned());
            let links = router.links().map(|link| {
                let (kind, id, data, metric) = (link.kind.name(), link.id, link.data, link.metric);
                match link.prefix().filter(|_| link.kind == crate::packet::RouterLinkKind::Stub) {
                    Some(prefix) => format!("{kind} {prefix} metric {metric}"),
                    None => format!("{kind} {id} by {data} metric {metric}"),
                }
            });
            flags.chain(links).collect()
        }
        LsaBody::Network(network) => {
            let routers = network.routers().map(|router| format!("router {router}"));
            [format!("network {}", network.prefix)].into_iter().chain(routers).collect()
        }
        LsaBody::Summary(summary) => match entry.lsa.key().kind {
            LsaType::SummaryAsbr => vec![format!("AS boundary router, metric {}", summary.metric)],
            LsaType::SummaryNetwork
            | LsaType::Router
            | LsaType::Network
            | LsaType::External
            | LsaType::Nssa
            | LsaType::OpaqueLink
            | LsaType::OpaqueArea
            | LsaType::OpaqueAs => vec![format!("{} metric {}", summary.prefix, summary.metric)],
        },
        LsaBody::External(external) => {
            let kind = match external.metric {
                ExternalMetric::Type1(_) => "type-1",
                ExternalMetric::Type2(_) => "type-2",
            };
            let (prefix, metric) = (external.prefix, external.metric.value());
            vec![format!("{prefix} {kind} metric {metric} to {} tag {}", external.forwarding, external.tag)]
        }
        LsaBody::Opaque(bytes) => vec![format!("{} bytes", bytes.len())],
    }
}

fn routes(ospf: &Ospf) -> Vec<Row> {
    let hop = |hop: &Hop| {
        let address = hop.address.map(Value::text).unwrap_or(Value::Null);
        Value::Object(vec![("address".to_owned(), address), ("interface".to_owned(), Value::text(&hop.interface))])
    };
    let row = |(prefix, route): (&ipnet::Ipv4Net, &crate::routes::NetworkRoute)| {
        let external = match route.kind {
            PathKind::External2 => route.type2.into(),
            PathKind::Intra | PathKind::Inter | PathKind::External1 => Value::Null,
        };
        vec![
            Value::text(prefix),
            route.kind.name().into(),
            Value::text(route.area),
            route.cost.into(),
            external,
            Value::List(route.hops.iter().map(hop).collect()),
            route.tag.into(),
        ]
    };
    ospf.table().networks.iter().map(row).collect()
}

fn spf_log(ospf: &Ospf, now: Time) -> Vec<Row> {
    let row = |run: &crate::instance::SpfRun| {
        vec![
            now.since(run.at).as_secs_f64().into(),
            run.reason.map(Value::text).unwrap_or(Value::Null),
            run.changes.into(),
            run.trees.into(),
            run.prefixes.into(),
        ]
    };
    ospf.spf_log.iter().rev().map(row).collect()
}
