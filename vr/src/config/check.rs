//! `isthmus check`: reads a configuration file and asks the operating system what it can ask without starting anything.

use std::fmt;
use std::io;
use std::path::Path;

use ipc::ServiceName;
use ipc::fd::MAX_SOCKET_PATH;
use vr_api::command::Declaration;

use super::merge::merge;
use super::parse::{Kind, Source, parse};
use super::startup;
use super::tree::Tree;
use super::validate::{all_ports, validate};
use super::words::{CONNECT, Words};
use crate::error::{ConfigError, Problem};

/// What a good configuration holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Name of the router, if it is given one.
    pub hostname: Option<String>,
    /// All VRs in order.
    pub vrs: Vec<VrSummary>,
    /// Ports of line cards.
    pub ports: usize,
    /// Joined pairs of VRs.
    pub connects: usize,
}

/// A VR of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VrSummary {
    /// Its name.
    pub name: String,
    /// The process classes that run in it.
    pub classes: Vec<ServiceName>,
}

impl fmt::Display for Summary {
    /// `2 VRs (red: rib, bgp; blue: rib, bgp), 1 connection, no ports`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: usize, what: &str| match count {
            0 => format!("no {what}s"),
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let classes = |vr: &VrSummary| vr.classes.iter().map(ServiceName::to_string).collect::<Vec<_>>().join(", ");
        let vrs: Vec<String> = self.vrs.iter().map(|vr| format!("{}: {}", vr.name, classes(vr))).collect();
        write!(f, "{}", count(self.vrs.len(), "VR"))?;
        if !vrs.is_empty() {
            write!(f, " ({})", vrs.join("; "))?;
        }
        write!(f, ", {}, {}", count(self.connects, "connection"), count(self.ports, "port"))
    }
}

/// Validates a file. The errors are in the order of its lines.
pub fn check_file(path: &Path, declarations: &[Declaration]) -> Result<Summary, Vec<ConfigError>> {
    let declarations = declarations.iter().cloned().chain(startup::programs(path)).collect();
    let words = Words::new(declarations).map_err(|error| vec![ConfigError::of_file(Problem::from(error))])?;
    let tree = load(path, &words)?;
    Ok(summary(&tree, &words))
}

/// Reads and validates a file.
pub fn load<'w>(path: &Path, words: &'w Words) -> Result<Tree<'w>, Vec<ConfigError>> {
    let source = source(path).map_err(|error| vec![error])?;
    let text = read(path).map_err(|error| vec![error])?;
    let tree = match startup::is_saved(&text) {
        true => tree_in_force(&text, words, &source).map_err(|errors| with_version(errors, &text))?,
        false => tree_of(&text, words, &source)?,
    };
    let errors = sockets(&tree);
    if errors.is_empty() { Ok(tree) } else { Err(errors) }
}

/// What is wrong with a saved configuration may be that another version saved it.
fn with_version(mut errors: Vec<ConfigError>, text: &str) -> Vec<ConfigError> {
    if let Some(version) = startup::other_version(text) {
        errors.push(ConfigError::of_file(Problem::OtherVersion { version: version.to_owned() }));
    }
    errors
}

/// Reads and validates a text that stands for a whole configuration, without a look at the file system.
pub fn tree_of<'w>(text: &str, words: &'w Words, source: &Source) -> Result<Tree<'w>, Vec<ConfigError>> {
    let tree = read_tree(text, words, source)?;
    let errors = validate(&tree, None);
    if errors.is_empty() { Ok(tree) } else { Err(errors) }
}

/// Reads a text that was in force: it may hold interfaces that lie dormant (see `validate`).
pub fn tree_in_force<'w>(text: &str, words: &'w Words, source: &Source) -> Result<Tree<'w>, Vec<ConfigError>> {
    let tree = read_tree(text, words, source)?;
    let errors = validate(&tree, Some(&tree));
    if errors.is_empty() { Ok(tree) } else { Err(errors) }
}

fn read_tree<'w>(text: &str, words: &'w Words, source: &Source) -> Result<Tree<'w>, Vec<ConfigError>> {
    let mut tree = Tree::default();
    let (statements, mut errors) = parse(text, words, source, Kind::File);
    if errors.is_empty() {
        errors = merge(&mut tree, statements, Kind::File);
    }
    tree.number();
    if errors.is_empty() { Ok(tree) } else { Err(errors) }
}

/// What a tree holds.
pub fn summary(tree: &Tree<'_>, words: &Words) -> Summary {
    let line = |keyword: &'static str| tree.top.lines().iter().filter(move |line| line.is(&[keyword]));
    let vr = |node: vr_api::config::Node| VrSummary {
        name: node.words.get(1).cloned().unwrap_or_default(),
        classes: words.classes(&node),
    };
    Summary {
        hostname: line("hostname").next().map(|line| line.word(1).to_owned()),
        vrs: tree.vrs().map(|line| vr(line.node())).collect(),
        ports: all_ports(tree).count(),
        connects: line(CONNECT).count(),
    }
}

/// Name and folder of a configuration file.
pub fn source(path: &Path) -> Result<Source, ConfigError> {
    let absolute = std::path::absolute(path).map_err(|error| unreadable(path, error))?;
    let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Source { file: path.to_string_lossy().into(), folder })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = 1 + good.filter(|byte| **byte == b'\n').count();
        ConfigError::of_file(Problem::NotText { path: path.display().to_string(), line })
    })
}

fn unreadable(path: &Path, error: io::Error) -> ConfigError {
    ConfigError::of_file(Problem::Unreadable { path: path.display().to_string(), error })
}

/// Whether the sockets of all cables can be made. The far end is its owner's: only its length is checked.
pub fn sockets(tree: &Tree<'_>) -> Vec<ConfigError> {
    let lines = all_ports(tree).flat_map(|(_, port)| port.inside.lines());
    let mut errors = Vec::new();
    for cable in lines.filter(|line| line.is(&["driver", "cable"])) {
        for (index, ours) in [(3, true), (5, false)] {
            let path = cable.word(index);
            let problem = if path.len() > MAX_SOCKET_PATH {
                Some(Problem::PathTooLong { path: path.to_owned(), length: path.len(), max: MAX_SOCKET_PATH })
            } else if ours {
                no_socket_there(Path::new(path))
            } else {
                None
            };
            errors.extend(problem.map(|problem| ConfigError::at(cable.source.word(index), problem)));
        }
    }
    errors
}

fn no_socket_there(path: &Path) -> Option<Problem> {
    use nix::unistd::{AccessFlags, access};
    let directory = path.parent().unwrap_or(Path::new("/"));
    let may_write = if directory.is_dir() || !directory.exists() {
        access(directory, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from)
    } else {
        Err(io::Error::from(nix::errno::Errno::ENOTDIR))
    };
    let failed = |error| Problem::NoSocketThere { directory: directory.display().to_string(), error };
    may_write.err().map(failed)
}
