//! Configuration text as the tree that `config` sends: an indented line stands inside the one before it.

use vr_api::config::Node;

/// Reads lines; `!` and empty lines say nothing.
pub fn tree(text: &str) -> Vec<Node> {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .map(|line| (line.len() - line.trim_start().len(), line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('!'))
        .collect();
    nodes(&lines)
}

fn nodes(lines: &[(usize, &str)]) -> Vec<Node> {
    let mut found = Vec::new();
    let mut rest = lines;
    while let Some(((indent, line), tail)) = rest.split_first() {
        let inside = tail.iter().take_while(|(deeper, _)| deeper > indent).count();
        found.push(Node::new(line, nodes(&tail[..inside])));
        rest = &tail[inside..];
    }
    found
}
