//! The words of the configuration as data.
//!
//! One tree of [`Command`]s drives the parser, completion, help and the printed configuration. A protocol declares its
//! own block, so nothing that parses knows a protocol by name.

use std::borrow::Cow;

use ipc::ServiceName;
use serde::{Deserialize, Serialize};

use crate::show::ShowTable;

/// One configuration command: a line that stands alone, or one that opens a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Keywords and parameters of the line, in order: `neighbor <ip-address>` is a keyword and a parameter.
    pub words: Vec<Word>,
    /// One line of help.
    pub help: Cow<'static, str>,
    /// What may stand inside; `None` for a line that opens no block.
    pub block: Option<Vec<Command>>,
    /// How often the line may stand in its block.
    pub repeat: Repeat,
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
    /// A name of the user's choice: a route policy.
    Name(Cow<'static, str>),
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
        Self { words: split(words, parameters), help: help.into(), block: None, repeat: Repeat::Once }
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

/// Where a class runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Runs {
    /// In every VR.
    Always,
    /// Where one of its own blocks is configured.
    WhereConfigured,
}
