//! Names in the lines of one VR: does what they name exist, and does this VR have it?

use std::collections::{BTreeMap, BTreeSet};

use ipc::InterfaceName;
use vr_api::command::{ParameterType, Word};
use vr_api::interface;

use crate::config::nearest::nearest;
use crate::config::tree::{Block, Line, Tree};
use crate::config::words::{self, INTERFACE};
use crate::error::{ConfigError, Problem};

/// A VR with what was found out about the whole configuration.
pub(super) struct Vr<'a, 'w> {
    pub line: &'a Line<'w>,
    /// All VRs.
    pub names: &'a BTreeSet<&'a str>,
    /// Port to VR.
    pub assigned: &'a BTreeMap<&'a str, &'a str>,
    /// Joined pairs, in both orders.
    pub joined: &'a BTreeSet<(&'a str, &'a str)>,
    /// Interfaces by VR that were there before the change: they may lie dormant.
    pub dormant: &'a BTreeSet<(String, String)>,
}

/// Every interface block of every VR.
pub(super) fn interfaces_of_all(tree: &Tree<'_>) -> BTreeSet<(String, String)> {
    let of_vr = |vr: &Line<'_>| {
        let name = vr.word(1).to_owned();
        let interfaces = vr.inside.lines().iter().filter(|line| line.is(&[INTERFACE]));
        interfaces.map(|line| (name.clone(), line.word(1).to_owned())).collect::<Vec<_>>()
    };
    tree.vrs().flat_map(of_vr).collect()
}

pub(super) fn check(vr: &Vr<'_, '_>, errors: &mut Vec<ConfigError>) {
    let mut defined: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let kinds = vr.line.command.block.iter().flatten().filter_map(words::defines);
    defined.extend(kinds.map(|kind| (kind, BTreeSet::new())));
    for line in vr.line.inside.lines() {
        if let Some(kind) = words::defines(line.command) {
            defined.entry(kind).or_default().insert(line.word(1));
        }
    }
    for line in vr.line.inside.lines() {
        let own = line.is(&[INTERFACE]);
        check_line(vr, line, own, &defined, errors);
    }
}

/// Checks a line and all inside it. `definition`: the line is the interface's own block.
fn check_line(
    vr: &Vr<'_, '_>,
    line: &Line<'_>,
    definition: bool,
    defined: &BTreeMap<&str, BTreeSet<&str>>,
    errors: &mut Vec<ConfigError>,
) {
    for (index, (word, text)) in line.command.words.iter().zip(&line.words).enumerate() {
        let problem = match word {
            Word::Parameter(ParameterType::InterfaceName) if text == interface::NULL => Some(Problem::NullInterface),
            Word::Parameter(ParameterType::InterfaceName) => check_interface(vr, text, definition),
            Word::Parameter(ParameterType::NextHop) if text == interface::NULL => None,
            Word::Parameter(ParameterType::NextHop) if text.parse::<std::net::IpAddr>().is_ok() => None,
            Word::Parameter(ParameterType::NextHop) => check_interface(vr, text, false),
            Word::Parameter(ParameterType::VrName) => super::unknown_vr(text, vr.names),
            Word::Parameter(ParameterType::Name(kind)) => defined
                .get(kind.as_ref())
                .filter(|names| !names.contains(text.as_str()))
                .map(|names| undefined(vr, kind, text, names)),
            Word::Parameter(_) | Word::Keyword(_) | Word::OneOf(_) => None,
        };
        errors.extend(problem.map(|problem| ConfigError::at(line.source.word(index), problem)));
    }
    let inside: &Block<'_> = &line.inside;
    for line in inside.lines() {
        check_line(vr, line, false, defined, errors);
    }
}

fn undefined(vr: &Vr<'_, '_>, kind: &str, name: &str, names: &BTreeSet<&str>) -> Problem {
    let nearest = nearest(name, names.iter().copied());
    Problem::Undefined { kind: kind.to_owned(), name: name.to_owned(), vr: vr.line.word(1).to_owned(), nearest }
}

fn check_interface(vr: &Vr<'_, '_>, text: &str, definition: bool) -> Option<Problem> {
    let own = vr.line.word(1);
    let interface = InterfaceName::new(text).ok()?;
    let dormant = vr.dormant.contains(&(own.to_owned(), text.to_owned()));
    if let Some(peer) = interface::peer_of(&interface) {
        if let Some(problem) = super::unknown_vr(peer.as_str(), vr.names) {
            return Some(problem);
        }
        let there = dormant || vr.joined.contains(&(own, peer.as_str()));
        return (!there).then(|| Problem::NotConnected { vr: own.to_owned(), peer: peer.to_string() });
    }
    if let Some(port) = text.strip_prefix("Port") {
        let there = dormant || vr.assigned.get(port) == Some(&own);
        return (!there).then(|| Problem::NotAssigned { port: port.to_owned(), vr: own.to_owned() });
    }
    let is_it = |line: &Line<'_>| line.is(&[INTERFACE]) && line.word(1) == text;
    let there = definition || vr.line.inside.lines().iter().any(is_it);
    (!there).then(|| Problem::NoSuchInterface { vr: own.to_owned(), interface })
}
