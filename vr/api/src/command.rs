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
    /// A word of its own that ends the block, beside `!` and `exit`: `end-policy`.
    pub closed_by: Option<Cow<'static, str>>,
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
