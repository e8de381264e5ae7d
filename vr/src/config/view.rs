//! Which part of the configuration a subscriber sees, and where a line of it stands that the subscriber objects to.

use std::fmt;

use ipc::VrName;
use vr_api::config::{Node, Objection, StatementId, Subscribe};

use super::tree::Tree;
use crate::error::{ConfigError, Problem};

/// The blocks that a subscriber asked for: those of its VR, or, for a process of the router, those of the top level.
/// A VR that is not configured has none.
pub fn view(tree: &Tree<'_>, vr: Option<&VrName>, subscribe: &Subscribe) -> Vec<Node> {
    let level = match vr {
        None => Some(&tree.top),
        Some(name) => tree.vr(name.as_str()).map(|vr| &vr.inside),
    };
    let lines = level.map_or(&[][..], |block| block.lines());
    let wanted = |node: &Node| subscribe.blocks.iter().any(|keywords| node.starts_with(keywords));
    lines.iter().map(|line| line.node()).filter(wanted).collect()
}

/// What `by` objects to in the blocks that it `saw` of `tree`, as an error at the line that it means.
pub fn objected(tree: &Tree<'_>, saw: &[Node], by: impl fmt::Display, objection: &Objection) -> ConfigError {
    let problem = Problem::Objected { by: by.to_string(), reason: objection.reason.clone() };
    let meant = objection.statement.and_then(|statement| Some((statement, find(saw, statement)?)));
    match meant.and_then(|(statement, node)| tree.statement(statement, &node.words)) {
        Some(line) => ConfigError::at(line.source.place(), problem),
        None => ConfigError::of_file(problem),
    }
}

fn find(nodes: &[Node], statement: StatementId) -> Option<&Node> {
    nodes.iter().find_map(|node| match node.statement == statement {
        true => Some(node),
        false => find(&node.children, statement),
    })
}
