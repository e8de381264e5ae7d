//! Databases and tables of VRs, of BIRD and of FRR, in one form.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::bird::Bird;
use crate::frr::Frr;
use crate::support::Router;

/// Kinds of routes.
pub const INTRA: &str = "intra-area";
pub const INTER: &str = "inter-area";
pub const EXTERNAL_1: &str = "external-1";
pub const EXTERNAL_2: &str = "external-2";

/// A VR's database of an area, with what is for all areas: `id router sequence checksum` of each LSA.
pub fn lsas_of_vr(router: &Router, vr: &str, area: &str) -> BTreeSet<String> {
    let areas = router.rows("show ospf area", &[("vr", vr), ("area", area)]);
    let everywhere = areas.iter().all(|row| row["kind"] == "normal");
    let rows = router.rows("show ospf database", &[("vr", vr)]);
    let here = |row: &&Value| row["area"] == area || (everywhere && row["area"] == Value::Null);
    let lsa = |row: &Value| {
        let text = |column: &str| row[column].as_str().unwrap_or_default().trim_start_matches("0x").to_owned();
        ["link_state_id", "advertising_router", "sequence", "checksum"].map(text).join(" ")
    };
    rows.iter().filter(here).map(lsa).collect()
}

/// BIRD's database, in the same form.
pub fn lsas_of_bird(bird: &Bird) -> BTreeSet<String> {
    // Type, LS ID, router, sequence, age, checksum.
    lsas_in(&bird.control("show ospf lsadb"))
}

/// Those in the lines of such a list.
pub fn lsas_in(text: &str) -> BTreeSet<String> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lsa = |words: Vec<&str>| match words[..] {
        [kind, id, router, sequence, _, checksum] if kind.starts_with('0') => {
            Some(format!("{id} {router} {sequence} {checksum}"))
        }
        _ => None,
    };
    words.filter_map(lsa).collect()
}

/// FRR's, in the same form: all objects of its database that look like an LSA's header. What it itself tells of the
/// outside it has for all areas, though its one area may be none that this goes to.
pub fn lsas_of_frr(frr: &Frr, takes_externals: bool) -> BTreeSet<String> {
    fn collect(value: &Value, lsas: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) if fields.contains_key("lsId") => {
                let text = |field: &str| fields[field].as_str().unwrap_or_default().trim_start_matches("0x").to_owned();
                let (id, router) = (text("lsId"), text("advertisedRouter"));
                lsas.insert(format!("{id} {router} {} {:0>4}", text("sequenceNumber"), text("checksum")));
            }
            Value::Object(fields) => fields.values().for_each(|value| collect(value, lsas)),
            Value::Array(values) => values.iter().for_each(|value| collect(value, lsas)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut lsas = BTreeSet::new();
    let mut database = frr.show("show ip ospf database json");
    if let Some(parts) = database.as_object_mut().filter(|_| !takes_externals) {
        parts.retain(|part, _| !part.starts_with("asExternal"));
    }
    collect(&database, &mut lsas);
    lsas
}

/// A route as all show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub kind: String,
    pub cost: u64,
    /// Of type 2 only.
    pub external_cost: Option<u64>,
    pub tag: u64,
    pub hops: BTreeSet<String>,
}

/// By prefix.
pub type Table = BTreeMap<String, Route>;

/// A VR's table.
pub fn table_of_vr(router: &Router, vr: &str) -> Table {
    let row = |row: &Value| {
        let hops = row["next_hops"].as_array().into_iter().flatten();
        let route = Route {
            kind: row["type"].as_str()?.to_owned(),
            cost: row["cost"].as_u64()?,
            external_cost: row["external_cost"].as_u64(),
            tag: row["tag"].as_u64()?,
            hops: hops.filter_map(|hop| hop["address"].as_str().map(str::to_owned)).collect(),
        };
        Some((row["prefix"].as_str()?.to_owned(), route))
    };
    router.rows("show ospf route", &[("vr", vr)]).iter().filter_map(row).collect()
}

/// BIRD's, from some `show route all`: a line for each route, behind it those of its next hops and attributes.
pub fn table_of_bird(bird: &Bird, command: &str) -> Table {
    let mut table: Vec<(String, Route)> = Vec::new();
    for line in bird.control(command).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), table.last_mut()) {
            ([prefix, "unicast", ..], _) => table.push(((*prefix).to_owned(), Route::none())),
            (["via", hop, ..], Some((_, route))) => _ = route.hops.insert((*hop).to_owned()),
            (["Type:", kind, ..], Some((_, route))) => {
                let kinds = [("OSPF-IA", INTER), ("OSPF-E1", EXTERNAL_1), ("OSPF-E2", EXTERNAL_2), ("OSPF", INTRA)];
                let found = kinds.into_iter().find(|(theirs, _)| theirs == kind);
                route.kind = found.unwrap_or_else(|| panic!("{line}")).1.to_owned();
            }
            (["OSPF.metric1:", cost], Some((_, route))) => route.cost = cost.parse().unwrap(),
            (["OSPF.metric2:", cost], Some((_, route))) => route.external_cost = cost.parse().ok(),
            (["OSPF.tag:", tag], Some((_, route))) => {
                route.tag = u64::from_str_radix(tag.trim_start_matches("0x"), 16).unwrap();
            }
            _ => {}
        }
    }
    table.into_iter().collect()
}

/// FRR's.
pub fn table_of_frr(frr: &Frr) -> Table {
    let routes = frr.show("show ip ospf route json");
    let route = |(prefix, route): (&String, &Value)| {
        let kinds = [("N IA", INTER), ("N E1", EXTERNAL_1), ("N E2", EXTERNAL_2), ("N", INTRA)];
        let kind = route["routeType"].as_str()?.trim();
        let kind = kinds.into_iter().find(|(theirs, _)| *theirs == kind)?.1;
        let hops = route["nexthops"].as_array().into_iter().flatten();
        let route = Route {
            kind: kind.to_owned(),
            cost: route["cost"].as_u64()?,
            external_cost: route["type2cost"].as_u64(),
            tag: route["tag"].as_u64().unwrap_or(0),
            hops: hops.filter_map(|hop| hop["ip"].as_str().map(|hop| hop.trim().to_owned())).collect(),
        };
        Some((prefix.clone(), route))
    };
    routes.as_object().into_iter().flatten().filter_map(route).collect()
}

impl Route {
    fn none() -> Self {
        Self { kind: String::new(), cost: 0, external_cost: None, tag: 0, hops: BTreeSet::new() }
    }
}
