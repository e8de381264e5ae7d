//! The configuration as processes see it: a tree of checked lines, pushed to whoever subscribed.
//!
//! A process opens `/0/config` with a [`Subscribe`] as the terms of the open. `config` answers with a
//! [`ConfigUpdate::Verify`] of the blocks that concern it; the process answers with a [`Verdict`]; then follows
//! [`ConfigUpdate::Apply`] or [`ConfigUpdate::Discard`]. So a change is applied by all whom it concerns, or by none.
//!
//! A program that attached brings words of its own: before it subscribes it opens with [`Terms::Program`] and says its
//! [`Declaration`]. The words stay known while the router runs, so that the program's lines outlive it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::command::Declaration;

/// Schema of a subscriber's channel, for the hello.
pub const SCHEMA: &str = "config";
/// Schema of a program's channel, over which it sends its [`Declaration`] and hears a [`DeclarationReply`].
pub const PROGRAM_SCHEMA: &str = "program";
/// Schema of an operator's channel, for the hello.
pub const OPERATOR_SCHEMA: &str = "operator";

/// Which blocks a process wants, by their leading keywords: `["router bgp", "route-policy"]`. A process of a VR gets
/// those of its own VR, one of the router gets those at the top level (`["linecard", "vr"]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Leading keywords of the blocks.
    pub blocks: Vec<String>,
}

/// Which line of a configuration is meant: `config` numbers the lines of each configuration, so that an objection finds
/// its way back to file, line and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct StatementId(
    /// From 1; 0 is no line of any configuration.
    pub u32,
);

/// One line of the configuration and what stands inside it. Values are in canonical spelling and of the type that the
/// command declared.
///
/// Two are equal if they say the same, wherever they stand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// The line's words: `["neighbor", "10.0.0.1"]`.
    pub words: Vec<String>,
    /// Lines of its block.
    pub children: Vec<Node>,
    /// Which line it is, for who objects to it.
    pub statement: StatementId,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words && self.children == other.children
    }
}

impl Eq for Node {}

impl Node {
    /// A line made by hand, of no configuration: `Node::new("neighbor 10.0.0.1", children)`.
    pub fn new(line: &str, children: Vec<Node>) -> Self {
        let words = line.split_whitespace().map(str::to_owned).collect();
        Self { words, children, statement: StatementId::default() }
    }

    /// The first child that starts with these keywords: `node.find("bgp router-id")`.
    pub fn find(&self, keywords: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.starts_with(keywords))
    }

    /// All children that start with these keywords.
    pub fn all<'a>(&'a self, keywords: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children.iter().filter(move |child| child.starts_with(keywords))
    }

    /// Whether the line starts with these keywords.
    pub fn starts_with(&self, keywords: &str) -> bool {
        let mut words = self.words.iter();
        keywords.split_whitespace().all(|keyword| words.next().is_some_and(|word| word == keyword))
    }

    /// Word `index` of the line as a value. The error names the line.
    pub fn value<T: FromStr>(&self, index: usize) -> Result<T, ValueError> {
        let word = self.words.get(index).ok_or_else(|| ValueError::Missing { line: self.named(), index })?;
        word.parse().map_err(|_| ValueError::Type { line: self.named(), word: word.clone() })
    }

    /// The line as an error names it.
    pub fn named(&self) -> NamedLine {
        NamedLine { text: self.line(), statement: self.statement }
    }

    /// Why this line cannot be.
    pub fn objection(&self, reason: impl fmt::Display) -> Objection {
        Objection { reason: reason.to_string(), statement: Some(self.statement) }
    }

    /// The line as it is printed.
    pub fn line(&self) -> String {
        self.words.join(" ")
    }
}

/// A line as an error names it: what it says, and which one it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedLine {
    /// Its words.
    pub text: String,
    /// Which line.
    pub statement: StatementId,
}

impl fmt::Display for NamedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A line that passed the parser but does not carry what its reader expects: the declared words and the reader of a
/// class disagree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Fewer words than expected.
    #[error("`{line}`: word {index} is missing")]
    Missing {
        /// The line.
        line: NamedLine,
        /// Which word.
        index: usize,
    },
    /// Another type than expected.
    #[error("`{line}`: {word:?} has the wrong type")]
    Type {
        /// The line.
        line: NamedLine,
        /// The word.
        word: String,
    },
}

impl ValueError {
    /// The line.
    pub fn line(&self) -> &NamedLine {
        match self {
            ValueError::Missing { line, .. } | ValueError::Type { line, .. } => line,
        }
    }
}

/// From `config` to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigUpdate {
    /// Could this become your configuration? The whole of it, not a difference. A later one takes the place of one that
    /// was neither applied nor discarded; only the last verdict counts.
    Verify {
        /// Number of this configuration, growing.
        generation: u64,
        /// The subscribed blocks.
        blocks: Vec<Node>,
    },
    /// The verified configuration is in force from now.
    Apply {
        /// Its number.
        generation: u64,
    },
    /// Forget the verified configuration: another process refused it.
    Discard {
        /// Its number.
        generation: u64,
    },
}

/// From `config` to a program that declared what it adds to the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeclarationReply {
    /// Its words are known: it may subscribe.
    Accepted,
    /// It cannot be; the reason.
    Refused(String),
}

/// From a subscriber to `config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Number of the configuration that was verified.
    pub generation: u64,
    /// Why it cannot be applied, if it cannot.
    pub refused: Option<Objection>,
}

/// Why a configuration cannot be applied, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objection {
    /// The reason.
    pub reason: String,
    /// The line that it is about, if it is about one.
    pub statement: Option<StatementId>,
}

/// From the shell to `config`, over a channel opened with [`Terms::Operator`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorRequest {
    /// Add lines in the language of the configuration file; `no` before a line takes it away. At once or not at all.
    Change {
        /// One line each, outer block first: `["vr red", "interface blue", "shutdown"]`.
        lines: Vec<String>,
    },
    /// Print the configuration in force.
    RunningConfig,
    /// Keep the configuration in force: the router starts with it from now on.
    SaveStartup,
    /// Forget what was kept.
    EraseStartup,
    /// Print what was kept.
    StartupConfig,
    /// What attached programs declared: their words, tables and commands.
    Declarations,
}

/// Answer to an [`OperatorRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OperatorReply {
    /// In force. A process that is dead or did not answer gets it as soon as it does.
    Applied,
    /// Nothing changed; the reason.
    Refused(String),
    /// The configuration in force: text, and as a tree.
    RunningConfig {
        /// As a file would hold it.
        text: String,
        /// The same as a tree.
        tree: Vec<Node>,
    },
    /// It is on the disk, in this file.
    Saved {
        /// The file.
        path: String,
    },
    /// What was kept is gone.
    Erased,
    /// What was kept; `None`: nothing.
    StartupConfig {
        /// As the file holds it.
        text: Option<String>,
    },
    /// Of all programs that attached since the router started.
    Declarations(Vec<Declaration>),
}

/// Terms of an open of `/0/config`: who one wants to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Terms {
    /// A process that wants its blocks.
    Subscriber(Subscribe),
    /// A program that attached and declares what it adds, in messages of [`PROGRAM_SCHEMA`].
    Program,
    /// The shell.
    Operator,
}
