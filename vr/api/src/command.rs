//! The words of the configuration as data.
//!
//! One tree of [`Command`]s drives the parser, completion, help and the printed configuration. A protocol declares its
//! own block, so nothing that parses knows a protocol by name.

use std::borrow::Cow;

use ipc::ServiceName;
use serde::{Deserialize, Serialize};

use crate::config::Node;
use crate::show::ShowTable;

/// One configuration command: a line that stands alone, or one that opens a block.
///
/// In a message it is a flat list of lines, because a program of somebody else's may send one: whatever it sends, its
/// reader recurses no deeper than [`MAX_DEPTH`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<FlatLine>", into = "Vec<FlatLine>")]
pub struct Command {
    /// Keywords and parameters of the line, in order: `neighbor <ip-address>` is a keyword and a parameter.
    pub words: Vec<Word>,
    /// One line of help.
    pub help: Cow<'static, str>,
    /// What may stand inside; `None` for a line that opens no block.
    pub block: Option<Vec<Command>>,
    /// How often the line may stand in its block.
    pub repeat: Repeat,
    /// A word of its own that ends the block, beside `!` and `exit`: `end-policy`.
    pub closed_by: Option<Cow<'static, str>>,
}

/// How deep blocks may stand inside each other.
pub const MAX_DEPTH: usize = 16;

/// A [`Command`] without what stands inside it, as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct FlatLine {
    /// How many blocks it stands in.
    depth: u8,
    words: Vec<Word>,
    help: Cow<'static, str>,
    opens_block: bool,
    repeat: Repeat,
    closed_by: Option<Cow<'static, str>>,
}

/// Lines that are no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlatError {
    /// The first line has no depth of 0, or a later one has.
    #[error("a command is one line with what stands inside it")]
    NotOne,
    /// A line stands inside one that opens no block, or too deep.
    #[error("a line stands where no block is open, or deeper than {MAX_DEPTH} blocks")]
    Depth,
}

impl From<Command> for Vec<FlatLine> {
    fn from(command: Command) -> Self {
        fn flatten(command: Command, depth: u8, lines: &mut Vec<FlatLine>) {
            let Command { words, help, block, repeat, closed_by } = command;
            lines.push(FlatLine { depth, words, help, opens_block: block.is_some(), repeat, closed_by });
            block.into_iter().flatten().for_each(|inside| flatten(inside, depth.saturating_add(1), lines));
        }
        let mut lines = Vec::new();
        flatten(command, 0, &mut lines);
        lines
    }
}

impl TryFrom<Vec<FlatLine>> for Command {
    type Error = FlatError;

    fn try_from(lines: Vec<FlatLine>) -> Result<Self, FlatError> {
        // Commands whose blocks are still open, outermost first.
        let mut open: Vec<Command> = Vec::new();
        for line in lines {
            let depth = usize::from(line.depth);
            if open.is_empty() != (depth == 0) {
                return Err(FlatError::NotOne);
            }
            close(&mut open, depth);
            if open.len() != depth || depth > MAX_DEPTH || open.last().is_some_and(|around| around.block.is_none()) {
                return Err(FlatError::Depth);
            }
            let FlatLine { words, help, opens_block, repeat, closed_by, .. } = line;
            open.push(Command { words, help, block: opens_block.then(Vec::new), repeat, closed_by });
        }
        close(&mut open, 1);
        open.pop().ok_or(FlatError::NotOne)
    }
}

/// Puts commands into the blocks around them until `depth` are open.
fn close(open: &mut Vec<Command>, depth: usize) {
    while open.len() > depth.max(1)
        && let Some(command) = open.pop()
    {
        if let Some(block) = open.last_mut().and_then(|around| around.block.as_mut()) {
            block.push(command);
        }
    }
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Word {
    /// Must be typed as it stands.
    Keyword(Cow<'static, str>),
    /// One of a few keywords: `in` or `out`.
    OneOf(Vec<Cow<'static, str>>),
    /// A value of a type.
    Parameter(ParameterType),
}

/// Type of a value. The parser checks it and keeps the value in its canonical spelling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ParameterType {
    /// A whole number within bounds, both included.
    Number {
        /// What it is, for help: `AS number`.
        name: Cow<'static, str>,
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
    },
    /// `192.0.2.1`.
    Ipv4Address,
    /// An address of either family.
    IpAddress,
    /// `192.0.2.0/24`; bits right of the length must be zero.
    Ipv4Prefix,
    /// An address with the length of its subnet, `10.0.0.1/24`.
    Ipv4InterfaceAddress,
    /// `2001:db8::1`.
    Ipv6Address,
    /// `2001:db8::/32`; bits right of the length must be zero.
    Ipv6Prefix,
    /// An address with the length of its subnet, `2001:db8::1/64`; no link-local one.
    Ipv6InterfaceAddress,
    /// An address of either family or, in static routes, an interface: one word.
    NextHop,
    /// Name of a VR.
    VrName,
    /// Name of an interface; takes any case, kept in canonical spelling.
    InterfaceName,
    /// `0/0`: rack and slot of a line card.
    LineCard,
    /// `0/0/1`: rack, slot and port.
    Port,
    /// A path of the host's file system; a relative one counts from the configuration file's folder.
    Path,
    /// A name of the user's choice, of a kind. Where a block `route-policy <>` defines names of the kind
    /// `route-policy`, every other line with a name of that kind refers to such a block of the same VR, and it is an
    /// error if there is none. A kind that no block defines (`device`) is free.
    Name(Cow<'static, str>),
    /// One value out of a few: `point-to-point` or `broadcast`. Unlike the keywords of a [`Word::OneOf`], two of them
    /// are one value set twice.
    Choice(Vec<Cow<'static, str>>),
    /// The rest of the line, as it was typed: a description. It is the last word of its command.
    Text(Cow<'static, str>),
}

/// How often a command may stand in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repeat {
    /// One value: the same line again with another value is an error ("one value set twice to different things").
    /// Lines with the same keywords count as the same line, unless keywords of a `OneOf` differ.
    Once,
    /// One for each value of the parameters: `neighbor A` and `neighbor B`.
    EachValue,
}

impl Command {
    /// A line that opens no block.
    pub fn line(words: &'static str, help: &'static str, parameters: Vec<ParameterType>) -> Self {
        Self { words: split(words, parameters), help: help.into(), block: None, repeat: Repeat::Once, closed_by: None }
    }

    /// A line that opens a block.
    pub fn block(
        words: &'static str,
        help: &'static str,
        parameters: Vec<ParameterType>,
        inside: Vec<Command>,
    ) -> Self {
        Self { block: Some(inside), ..Self::line(words, help, parameters) }
    }

    /// The same block, ended by a word of its own: `end-policy`.
    pub fn closed_by(self, word: &'static str) -> Self {
        Self { closed_by: Some(word.into()), ..self }
    }

    /// The same command, allowed once for each value of its parameters.
    pub fn each(self) -> Self {
        Self { repeat: Repeat::EachValue, ..self }
    }
}

/// Reads `route-policy <> in|out`: `<>` takes the next parameter, `a|b` is a choice.
fn split(words: &'static str, parameters: Vec<ParameterType>) -> Vec<Word> {
    let mut parameters = parameters.into_iter();
    words
        .split_whitespace()
        .filter_map(|word| match word {
            "<>" => parameters.next().map(Word::Parameter),
            _ if word.contains('|') => Some(Word::OneOf(word.split('|').map(Cow::Borrowed).collect())),
            _ => Some(Word::Keyword(word.into())),
        })
        .collect()
}

/// What a class of VR processes tells the rest of the router about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declaration {
    /// The process class, and the name of the service that answers its tables.
    pub class: ServiceName,
    /// Whether it runs in every VR, or only where one of its blocks is configured.
    pub runs: Runs,
    /// Blocks of a VR that it owns: `router bgp <AS>`.
    pub blocks: Vec<Command>,
    /// Blocks of a VR that it reads but does not own, by their first keyword: `interface`.
    pub reads: Vec<Cow<'static, str>>,
    /// Tables that it answers.
    pub tables: Vec<ShowTable>,
    /// Commands that it obeys at run time: `clear bgp <>`. Their `block` and `repeat` say nothing.
    pub commands: Vec<Command>,
}

impl Declaration {
    /// Whether the class runs in a VR of this configuration: `vr` is the VR's line with what stands inside it.
    pub fn runs_in(&self, vr: &Node) -> bool {
        match self.runs {
            Runs::Always => true,
            Runs::WhereConfigured => vr.children.iter().any(|line| {
                self.blocks.iter().any(|block| {
                    let mut words = line.words.iter();
                    block.words.iter().all(|word| match (word, words.next()) {
                        (Word::Keyword(keyword), Some(typed)) => keyword == typed,
                        (Word::OneOf(keywords), Some(typed)) => keywords.iter().any(|keyword| keyword == typed),
                        (Word::Parameter(_), typed) => typed.is_some(),
                        (Word::Keyword(_) | Word::OneOf(_), None) => false,
                    })
                })
            }),
        }
    }
}

/// Where a class runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Runs {
    /// In every VR.
    Always,
    /// Where one of its own blocks is configured.
    WhereConfigured,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Command {
        let line = Command::line("metric <>", "", vec![ParameterType::Text("metric".into())]);
        (0..depth).fold(line, |inside, _| Command::block("area", "", Vec::new(), vec![inside]).closed_by("end"))
    }

    fn travel(command: &Command) -> Result<Command, postcard::Error> {
        postcard::from_bytes(&postcard::to_stdvec(command).unwrap())
    }

    #[test]
    fn a_command_travels_with_what_stands_inside_it() {
        let deep = Command::block("router", "", Vec::new(), vec![nested(2), nested(0), nested(1)]).each();
        assert_eq!(travel(&deep), Ok(deep));
        assert_eq!(travel(&nested(MAX_DEPTH)), Ok(nested(MAX_DEPTH)));
    }

    #[test]
    fn one_that_is_nested_without_end_is_refused_without_recursion() {
        assert!(travel(&nested(MAX_DEPTH + 1)).is_err());
        let line: FlatLine = Vec::from(nested(0)).remove(0);
        let lines = |depths: &[u8]| -> Vec<FlatLine> {
            depths.iter().map(|depth| FlatLine { depth: *depth, opens_block: *depth == 0, ..line.clone() }).collect()
        };
        assert_eq!(Command::try_from(lines(&[])), Err(FlatError::NotOne));
        assert_eq!(Command::try_from(lines(&[0, 0])), Err(FlatError::NotOne));
        assert_eq!(Command::try_from(lines(&[1])), Err(FlatError::NotOne));
        assert_eq!(Command::try_from(lines(&[0, 1, 2])), Err(FlatError::Depth));
        assert_eq!(Command::try_from(lines(&[0, 2])), Err(FlatError::Depth));
        assert!(Command::try_from(lines(&[0, 1, 1])).is_ok());
    }
}
