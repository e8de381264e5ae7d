//! What a configuration that reads well can still get wrong: names that nothing defines, things that exist once and are
//! given twice, addresses that collide. Nothing here asks the operating system.
//!
//! An interface may outlive what it stands on in a running router: the administrator's `no connect red blue` or
//! `no assign port 0/0/1` must not wait for the users of the VRs to clean up. Its lines then lie dormant. So a change is
//! refused for an interface without its port or connect only if the interface is new.

mod addresses;
mod linecards;
mod references;

use std::collections::{BTreeMap, BTreeSet};

use ipc::ring::MAX_RECORD;
use vr_api::config::OperatorReply;

use super::nearest::nearest;
use super::print::print;
use super::tree::{Line, Tree};
use super::words::{CONNECT, LINECARD};
use crate::error::{ConfigError, Expected, Problem};

/// All errors of a configuration. `before` is what was in force until now; `None` at a start.
pub fn validate(tree: &Tree<'_>, before: Option<&Tree<'_>>) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let names: BTreeSet<&str> = tree.vrs().map(|vr| vr.word(1)).collect();
    vr_names(tree, &mut errors);
    let ports = linecards::ports(tree, &mut errors);
    let assigned = assignments(tree, &ports, &mut errors);
    let joined = connects(tree, &names, &mut errors);
    let dormant = before.map(references::interfaces_of_all).unwrap_or_default();
    for vr in tree.vrs() {
        let (names, assigned, joined, dormant) = (&names, &assigned, &joined, &dormant);
        references::check(&references::Vr { line: vr, names, assigned, joined, dormant }, &mut errors);
        addresses::check(vr, &mut errors);
    }
    if errors.is_empty() {
        errors.extend(too_large(tree));
    }
    errors.sort_by_key(|error| error.place.as_ref().map(|place| (place.line, place.column)));
    errors
}

/// The largest message is that of `show running-config`: the configuration as text and as a tree.
fn too_large(tree: &Tree<'_>) -> Option<ConfigError> {
    let message = OperatorReply::RunningConfig { text: print(tree), tree: tree.nodes() };
    // A message that cannot be encoded is larger than any.
    let bytes = postcard::to_stdvec(&message).map_or(usize::MAX, |message| message.len());
    (bytes > MAX_RECORD).then(|| ConfigError::of_file(Problem::TooLarge { bytes, max: MAX_RECORD }))
}

/// Names that serve as interface names must differ in more than upper and lower case.
fn vr_names(tree: &Tree<'_>, errors: &mut Vec<ConfigError>) {
    let mut known: BTreeMap<String, &Line<'_>> = BTreeMap::new();
    for vr in tree.vrs() {
        if let Some(other) = known.insert(vr.word(1).to_ascii_lowercase(), vr) {
            let problem = Problem::VrNamesAlike { name: vr.word(1).to_owned(), other: other.word(1).to_owned() };
            errors.push(ConfigError::at(vr.source.word(1), problem).beside(other.source.place()));
        }
    }
}

/// Which VR has which port.
fn assignments<'t>(
    tree: &'t Tree<'_>,
    ports: &BTreeSet<String>,
    errors: &mut Vec<ConfigError>,
) -> BTreeMap<&'t str, &'t str> {
    let mut assigned: BTreeMap<&str, (&str, &Line<'_>)> = BTreeMap::new();
    for vr in tree.vrs() {
        for line in vr.inside.lines().iter().filter(|line| line.is(&["assign", "port"])) {
            let (name, port) = (vr.word(1), line.word(2));
            if !ports.contains(port) {
                let problem = Problem::UnknownPort { port: port.to_owned() };
                let error = ConfigError::at(line.source.word(2), problem);
                errors.push(error.expecting(one_of(ports.iter().map(String::as_str))));
            }
            if let Some((other, at)) = assigned.get(port) {
                let problem =
                    Problem::AssignedTwice { port: port.to_owned(), vr: name.to_owned(), other: (*other).to_owned() };
                errors.push(ConfigError::at(line.source.word(2), problem).beside(at.source.place()));
            } else {
                assigned.insert(port, (name, line));
            }
        }
    }
    assigned.into_iter().map(|(port, (vr, _))| (port, vr)).collect()
}

/// Which VRs are joined, each pair in both orders.
fn connects<'t>(
    tree: &'t Tree<'_>,
    names: &BTreeSet<&str>,
    errors: &mut Vec<ConfigError>,
) -> BTreeSet<(&'t str, &'t str)> {
    let mut joined: BTreeMap<(&str, &str), &Line<'_>> = BTreeMap::new();
    for line in tree.top.lines().iter().filter(|line| line.is(&[CONNECT])) {
        let (a, b) = (line.word(1), line.word(2));
        for (index, vr) in [(1, a), (2, b)] {
            if let Some(problem) = unknown_vr(vr, names) {
                let error = ConfigError::at(line.source.word(index), problem);
                errors.push(error.expecting(one_of(names.iter().copied())));
            }
        }
        if a == b {
            errors.push(ConfigError::at(line.source.place(), Problem::ConnectedToItself { vr: a.to_owned() }));
        } else if let Some(other) = joined.get(&(a, b)) {
            let problem = Problem::ConnectedTwice { a: a.to_owned(), b: b.to_owned() };
            errors.push(ConfigError::at(line.source.place(), problem).beside(other.source.place()));
        } else {
            joined.extend([((a, b), line), ((b, a), line)]);
        }
    }
    joined.into_keys().collect()
}

/// What is defined, as far as a reader takes it in.
fn one_of<'t>(defined: impl Iterator<Item = &'t str>) -> Expected {
    const SHOWN: usize = 16;
    let mut words: Vec<String> = defined.take(SHOWN + 1).map(str::to_owned).collect();
    if let Some(one_too_many) = words.get_mut(SHOWN) {
        *one_too_many = "...".to_owned();
    }
    Expected { block: None, words }
}

fn unknown_vr(name: &str, names: &BTreeSet<&str>) -> Option<Problem> {
    let nearest = || nearest(name, names.iter().copied());
    (!names.contains(name)).then(|| Problem::UnknownVr { name: name.to_owned(), nearest: nearest() })
}

/// Rack, slot and port of a port's block.
fn port_name(linecard: &Line<'_>, port: &Line<'_>) -> String {
    format!("{}/{}", linecard.word(1), port.word(1))
}

/// All line cards with their ports.
pub(super) fn all_ports<'t, 'w>(tree: &'t Tree<'w>) -> impl Iterator<Item = (String, &'t Line<'w>)> {
    let linecards = tree.top.lines().iter().filter(|line| line.is(&[LINECARD]));
    linecards.flat_map(|linecard| {
        let ports = linecard.inside.lines().iter().filter(|line| line.is(&["port"]));
        ports.map(move |port| (port_name(linecard, port), port))
    })
}
