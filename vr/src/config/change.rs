//! An operator's lines against the configuration in force.

use super::merge::merge;
use super::parse::{Kind, Source, parse};
use super::tree::Tree;
use super::validate::validate;
use super::words::Words;
use crate::error::ConfigError;

/// The configuration that comes out when an operator's lines are applied to `running`; on error nothing changes.
/// The lines open blocks as in a file; `no` before a line takes it away, with what stands inside it.
pub fn change<'w>(
    running: &Tree<'w>,
    lines: &[String],
    words: &'w Words,
    source: &Source,
) -> Result<Tree<'w>, Vec<ConfigError>> {
    let (statements, errors) = parse(&lines.join("\n"), words, source, Kind::Change);
    refuse(errors)?;
    let mut tree = running.clone();
    refuse(merge(&mut tree, statements, Kind::Change))?;
    tree.number();
    refuse(validate(&tree, Some(running)))?;
    Ok(tree)
}

fn refuse(errors: Vec<ConfigError>) -> Result<(), Vec<ConfigError>> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
