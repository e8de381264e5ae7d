//! The tables of `show bgp`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use sdk::core::Time;
use sdk::show::{Row, ShowTable, Value};

use crate::fsm::Direction;
use crate::instance::Bgp;
use crate::loc_rib::Path;
use crate::neighbor::Neighbor;
use crate::packet::{Attributes, PeerKind};
use crate::policy::Policy;

const SUMMARY: &str = "bgp summary";
const ROUTES: &str = "bgp";
const NEIGHBOR: &str = "bgp neighbor";
const ADVERTISED: &str = "bgp advertised";
const RECEIVED: &str = "bgp received";

/// Columns of a table of paths behind `vr`, `prefix`.
const PATH: [&str; 6] = ["next_hop", "local_pref", "med", "as_path", "origin", "neighbor"];

/// The tables that this class answers.
pub fn tables() -> Vec<ShowTable> {
    let [next_hop, local_pref, med, as_path, origin, neighbor] = PATH;
    vec![
        ShowTable::new(
            SUMMARY,
            "Neighbors and their sessions",
            &[
                "vr",
                "neighbor",
                "remote_as",
                "state",
                "prefixes_received",
                "prefixes_sent",
                "up_for",
                "messages_received",
                "messages_sent",
                "local_as",
                "router_id",
                "last_error",
                "note",
            ],
        ),
        ShowTable::new(
            ROUTES,
            "Paths of the table; the best ones are used and announced",
            &["vr", "prefix", next_hop, "best", local_pref, med, as_path, origin, neighbor],
        )
        .with_arguments("[PREFIX]"),
        ShowTable::new(
            NEIGHBOR,
            "A neighbor's session in detail",
            &[
                "vr",
                "neighbor",
                "description",
                "remote_as",
                "kind",
                "state",
                "local_address",
                "remote_address",
                "opened_by",
                "remote_router_id",
                "hold_time",
                "keepalive",
                "four_octet_as",
                "route_refresh",
                "policy_in",
                "policy_out",
                "sessions",
                "updates_malformed",
                "attributes_discarded",
                "last_error",
            ],
        )
        .with_arguments("[ADDRESS]"),
        ShowTable::new(
            ADVERTISED,
            "What a neighbor was told",
            &["vr", "prefix", next_hop, local_pref, med, as_path, origin, neighbor],
        )
        .with_arguments("ADDRESS"),
        ShowTable::new(
            RECEIVED,
            "What a neighbor told, before its policy",
            &["vr", "prefix", next_hop, "accepted", local_pref, med, as_path, origin, neighbor],
        )
        .with_arguments("ADDRESS"),
    ]
}

/// Rows of a table without the column `vr`; `None`: no such table.
pub fn rows(bgp: &Bgp, now: Time, table: &str, arguments: &[String]) -> Option<Vec<Row>> {
    let argument = arguments.first().map(String::as_str);
    let address = argument.and_then(|text| text.parse().ok());
    match table {
        SUMMARY => Some(bgp.neighbors.values().map(|neighbor| summary(bgp, neighbor, now)).collect()),
        ROUTES => Some(routes(bgp, argument)),
        NEIGHBOR => Some(neighbors(bgp, argument, address)),
        ADVERTISED => Some(address.map(|address| advertised(bgp, address)).unwrap_or_default()),
        RECEIVED => Some(address.map(|address| received(bgp, address)).unwrap_or_default()),
        _ => None,
    }
}

fn summary(bgp: &Bgp, neighbor: &Neighbor, now: Time) -> Row {
    vec![
        Value::text(neighbor.address),
        neighbor.config.remote_as.into(),
        neighbor.state().name().into(),
        neighbor.prefixes_received.into(),
        neighbor.adj_rib_out.len().into(),
        neighbor.established_at.map(|since| seconds(now.since(since))).into(),
        neighbor.counters.messages_received.into(),
        neighbor.counters.messages_sent.into(),
        bgp.config.as_ref().map(|config| config.as_number).into(),
        bgp.router_id.map(Value::text).unwrap_or(Value::Null),
        neighbor.last_error.clone().into(),
        note(bgp, neighbor).into(),
    ]
}

/// What keeps a neighbor from exchanging routes, if the configuration does.
fn note(bgp: &Bgp, neighbor: &Neighbor) -> Option<String> {
    if neighbor.config.shutdown {
        return Some("shutdown".to_owned());
    }
    if bgp.router_id.is_none() {
        return Some("no router ID".to_owned());
    }
    if neighbor.local_address == crate::neighbor::LocalAddress::Missing {
        return Some("the update-source has no address".to_owned());
    }
    let external = neighbor.kind == PeerKind::External;
    let missing = match (neighbor.config.import, neighbor.config.export) {
        (None, None) => "in or out",
        (None, Some(_)) => "in",
        (Some(_), None) => "out",
        (Some(_), Some(_)) => return None,
    };
    external.then(|| format!("no route-policy {missing}: no such routes (RFC 8212)"))
}

fn routes(bgp: &Bgp, argument: Option<&str>) -> Vec<Row> {
    let prefixes = match argument {
        None => bgp.loc_rib.prefixes(),
        Some(text) => text.parse::<Ipv4Net>().map(|prefix| prefix.trunc()).into_iter().collect(),
    };
    let mut rows = Vec::new();
    for (prefix, destination) in prefixes.iter().filter_map(|prefix| Some((prefix, bgp.loc_rib.get(*prefix)?))) {
        for path in destination.paths().iter().filter(|path| path.accepted) {
            let best = destination.best().is_some_and(|best| best.from() == path.from());
            rows.push(path_row(*prefix, &path.attributes, Some(best), path.from()));
        }
    }
    rows
}

fn advertised(bgp: &Bgp, address: IpAddr) -> Vec<Row> {
    let routes = bgp.neighbors.get(&address).map(|neighbor| neighbor.adj_rib_out.routes()).unwrap_or_default();
    routes.into_iter().map(|(prefix, attributes)| path_row(prefix, attributes, None, Some(address))).collect()
}

fn received(bgp: &Bgp, address: IpAddr) -> Vec<Row> {
    let from = |path: &&Path| path.from() == Some(address);
    let path = |prefix| Some((prefix, bgp.loc_rib.get(prefix)?.paths().iter().find(from)?));
    let paths = bgp.loc_rib.prefixes().into_iter().filter_map(path);
    paths.map(|(prefix, path)| path_row(prefix, &path.attributes, Some(path.accepted), Some(address))).collect()
}

/// A path with, behind the next hop, a flag where the table has one.
fn path_row(prefix: Ipv4Net, attributes: &Attributes, flag: Option<bool>, neighbor: Option<IpAddr>) -> Row {
    let next_hop = Some(attributes.next_hop).filter(|next_hop| *next_hop != Ipv4Addr::UNSPECIFIED);
    let mut row = vec![Value::text(prefix), next_hop.map(Value::text).unwrap_or(Value::Null)];
    row.extend(flag.map(Value::from));
    row.extend([
        attributes.local_pref.into(),
        attributes.med.into(),
        Value::text(&attributes.as_path),
        Value::text(attributes.origin),
        neighbor.map(Value::text).unwrap_or(Value::Null),
    ]);
    row
}

fn neighbors(bgp: &Bgp, argument: Option<&str>, address: Option<IpAddr>) -> Vec<Row> {
    let wanted = |neighbor: &&Neighbor| argument.is_none() || address == Some(neighbor.address);
    bgp.neighbors.values().filter(wanted).map(detail).collect()
}

fn detail(neighbor: &Neighbor) -> Row {
    let link = neighbor.state().link();
    let agreement = neighbor.session().map(|session| session.agreement);
    let opened_by = link.map(|link| match link.direction {
        Direction::Outgoing => "us",
        Direction::Incoming => "neighbor",
    });
    vec![
        Value::text(neighbor.address),
        neighbor.config.description.clone().into(),
        neighbor.config.remote_as.into(),
        match neighbor.kind {
            PeerKind::External => "external".into(),
            PeerKind::Internal => "internal".into(),
        },
        neighbor.state().name().into(),
        link.map(|link| Value::text(link.local)).unwrap_or(Value::Null),
        link.map(|link| Value::text(link.remote)).unwrap_or(Value::Null),
        opened_by.into(),
        agreement.map(|agreement| Value::text(agreement.router_id)).unwrap_or(Value::Null),
        agreement.map(|agreement| seconds(agreement.hold)).into(),
        agreement.map(|agreement| seconds(agreement.keepalive)).into(),
        agreement.map(|agreement| agreement.width == crate::packet::AsWidth::Four).into(),
        agreement.map(|agreement| agreement.route_refresh).into(),
        policy(neighbor.config.import),
        policy(neighbor.config.export),
        neighbor.counters.established.into(),
        neighbor.counters.updates_malformed.into(),
        neighbor.counters.attributes_discarded.into(),
        neighbor.last_error.clone().into(),
    ]
}

fn policy(configured: Option<Policy>) -> Value {
    configured
        .map(|policy| match policy {
            Policy::Pass => "pass",
            Policy::Drop => "drop",
        })
        .into()
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
