//! Which part of the configuration a subscriber sees.

use ipc::VrName;
use vr_api::config::{Node, Subscribe};

use super::tree::Tree;

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
