//! Statements into a tree: blocks that were opened twice become one, names get the spelling of what they name, and one
//! value that is set twice is found.

use std::collections::BTreeSet;

use ipc::VrName;
use vr_api::config::StatementId;
use vr_api::interface;

use super::nearest::nearest;
use super::parse::{Kind, Statement};
use super::tree::{Block, Line, Tree};
use super::value::{self, INTER_VR};
use super::words;
use crate::error::{ConfigError, Expected, Problem};

/// Adds statements to a tree; after errors the tree is of no use. In a file a value that is set twice to different
/// things is an error; a change replaces the value, but never a block: that would drop what stands inside it.
pub fn merge<'w>(tree: &mut Tree<'w>, statements: Vec<Statement<'w>>, kind: Kind) -> Vec<ConfigError> {
    let mut vrs: Vec<String> = tree.vrs().map(|vr| vr.word(1).to_owned()).collect();
    let named = statements.iter().filter(|statement| words::defines_vr(statement.command) && !statement.negated);
    vrs.extend(named.filter_map(|vr| vr.words.get(1).cloned()));
    let mut merger = Merger { vrs, kind, errors: Vec::new() };
    for statement in statements {
        merger.add(&mut tree.top, statement);
    }
    merger.errors
}

struct Merger {
    vrs: Vec<String>,
    kind: Kind,
    errors: Vec<ConfigError>,
}

impl Merger {
    fn add<'w>(&mut self, block: &mut Block<'w>, mut statement: Statement<'w>) {
        self.name_interfaces(&mut statement);
        if statement.negated {
            return self.take_away(block, &statement);
        }
        let Statement { command, words, line: source, inside, .. } = statement;
        let line = match block.rival(command, &words) {
            // Who joins VRs or gives a port away twice has most likely meant another one.
            Some(rival) if rival.words == words && self.kind == Kind::File && words::is_single(command) => {
                let problem = Problem::Twice { line: words.join(" ") };
                self.errors.push(ConfigError::at(source.place(), problem).beside(rival.source.place()));
                None
            }
            Some(rival) if rival.words == words => Some(rival),
            Some(rival) if self.kind == Kind::Change && command.block.is_none() => {
                rival.words = words;
                rival.source = source;
                Some(rival)
            }
            Some(rival) => {
                let problem = Problem::Contradiction { line: words.join(" "), other: rival.words.join(" ") };
                self.errors.push(ConfigError::at(source.place(), problem).beside(rival.source.place()));
                None
            }
            None => {
                block.push(Line { command, words, source, inside: Block::default(), statement: StatementId::default() })
            }
        };
        if let Some(line) = line {
            for statement in inside {
                self.add(&mut line.inside, statement);
            }
        }
    }

    /// `no`: takes away the line that begins so. A line without values that is not there is no error: `no shutdown`
    /// says what shall be, and so it is.
    fn take_away<'w>(&mut self, block: &mut Block<'w>, statement: &Statement<'w>) {
        let meant = |line: &Line<'_>| {
            std::ptr::eq(line.command, statement.command)
                && line.words.iter().zip(&statement.words).all(|(word, meant)| word == meant)
        };
        let flag = statement.command.words.iter().all(|word| matches!(word, vr_api::command::Word::Keyword(_)));
        let line = || statement.words.join(" ");
        let problem = match block.lines().iter().filter(|line| meant(line)).count() {
            0 if flag && statement.command.block.is_none() => return,
            0 => Problem::NoSuchLine { line: line() },
            1 => return block.retain(|line| !meant(line)),
            count => Problem::SeveralLines { line: line(), count },
        };
        self.errors.push(ConfigError::at(statement.line.place(), problem));
    }

    /// Gives interfaces that lead to VRs the name that `vr_api::interface` decides, whatever case they were typed in.
    fn name_interfaces(&mut self, statement: &mut Statement<'_>) {
        for (index, (word, text)) in statement.command.words.iter().zip(&mut statement.words).enumerate() {
            let Some(typed) = text.strip_prefix(INTER_VR).filter(|_| value::may_be_interface(word)) else { continue };
            let vr = self.vrs.iter().find(|vr| *vr == typed);
            let vr = vr.or_else(|| self.vrs.iter().find(|vr| vr.eq_ignore_ascii_case(typed)));
            let name = vr.and_then(|vr| VrName::new(vr).ok());
            let place = || statement.line.word(index);
            match name.as_ref().map(interface::inter_vr) {
                Some(Ok(name)) => *text = name.to_string(),
                Some(Err(error)) => {
                    let problem = Problem::VrNameTooLong { name: typed.to_owned(), error };
                    self.errors.push(ConfigError::at(place(), problem));
                }
                None => {
                    let nearest = nearest(typed, self.vrs.iter().map(String::as_str));
                    let problem = Problem::UnknownInterface { name: typed.to_owned(), nearest };
                    let kinds = ["Loopback<number>", "Port<rack/slot/port>"].map(str::to_owned);
                    // Read from what is in force and from a change of it, a VR's block may stand there twice.
                    let vrs: BTreeSet<&String> = self.vrs.iter().collect();
                    let words = kinds.into_iter().chain(vrs.into_iter().cloned()).collect();
                    self.errors.push(ConfigError::at(place(), problem).expecting(Expected { block: None, words }));
                }
            }
        }
    }
}
