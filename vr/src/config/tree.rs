//! The configuration as a tree of lines: every block once, every line once.

use std::collections::HashMap;
use std::sync::Arc;

use vr_api::command::{Command, Repeat, Word};
use vr_api::config::{Node, StatementId};

use super::parse::SourceLine;
use super::words;

/// A whole configuration. It compares by its lines, not by where they stood in a file.
#[derive(Debug, Clone, Default)]
pub struct Tree<'w> {
    /// The top level.
    pub top: Block<'w>,
}

/// A line, with what stands inside it.
#[derive(Debug, Clone)]
pub struct Line<'w> {
    /// What it is.
    pub command: &'w Command,
    /// Its words in canonical spelling, one for each word of the command.
    pub words: Vec<String>,
    /// Where it was read first.
    pub source: Arc<SourceLine>,
    /// What stands inside; empty for a line that opens no block.
    pub inside: Block<'w>,
    /// Its number, as [`Tree::number`] gave it.
    pub statement: StatementId,
}

/// The lines of a block in the order in which they were read, found without a search.
#[derive(Debug, Clone, Default)]
pub struct Block<'w> {
    lines: Vec<Line<'w>>,
    index: HashMap<Key, usize>,
}

/// What there can be only one of in a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// The command, by its address in the words, which outlive every tree.
    command: usize,
    /// The words that tell lines of this command apart.
    words: Vec<String>,
}

impl Key {
    fn of(command: &Command, words: &[String]) -> Self {
        let tells_apart = |(word, _): &(&Word, &String)| match (command.repeat, word) {
            (Repeat::EachValue, _) | (Repeat::Once, Word::OneOf(_)) => true,
            (Repeat::Once, Word::Keyword(_) | Word::Parameter(_)) => false,
        };
        let words = command.words.iter().zip(words).filter(tells_apart).map(|(_, word)| word.clone()).collect();
        Self { command: std::ptr::from_ref(command).addr(), words }
    }
}

impl<'w> Block<'w> {
    /// All lines in order.
    pub fn lines(&self) -> &[Line<'w>] {
        &self.lines
    }

    /// The line that cannot stand beside another one with this command and these words: the same line, or the same
    /// value set to something else.
    pub(super) fn rival(&mut self, command: &Command, words: &[String]) -> Option<&mut Line<'w>> {
        let position = self.index.get(&Key::of(command, words))?;
        self.lines.get_mut(*position)
    }

    /// Puts a line last. Its [`rival`](Self::rival), if there is one, stays where it is and is found no longer.
    pub(super) fn push(&mut self, line: Line<'w>) -> Option<&mut Line<'w>> {
        self.index.insert(Key::of(line.command, &line.words), self.lines.len());
        self.lines.push(line);
        self.lines.last_mut()
    }

    /// Keeps the lines that `keep` wants.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Line<'w>) -> bool) {
        self.lines.retain(keep);
        let keys = self.lines.iter().map(|line| Key::of(line.command, &line.words));
        self.index = keys.zip(0..).collect();
    }

    fn nodes(&self) -> Vec<Node> {
        self.lines.iter().map(Line::node).collect()
    }

    fn number(&mut self, last: &mut u32) {
        for line in &mut self.lines {
            *last += 1;
            line.statement = StatementId(*last);
            line.inside.number(last);
        }
    }

    /// Numbers grow in reading order, so the last line that begins no later holds it.
    fn statement(&self, statement: StatementId) -> Option<&Line<'w>> {
        let behind = self.lines.partition_point(|line| line.statement <= statement);
        let line = self.lines.get(behind.checked_sub(1)?)?;
        if line.statement == statement { Some(line) } else { line.inside.statement(statement) }
    }
}

impl Line<'_> {
    /// The line as processes see it.
    pub fn node(&self) -> Node {
        Node { words: self.words.clone(), children: self.inside.nodes(), statement: self.statement }
    }

    /// The value of a word; empty if there is none, which no line of a tree has where its command has a word.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// Whether the line begins with these keywords.
    pub(super) fn is(&self, keywords: &[&str]) -> bool {
        self.words.len() >= keywords.len() && self.words.iter().zip(keywords).all(|(word, keyword)| word == keyword)
    }
}

impl<'w> Tree<'w> {
    /// Numbers the lines, so that who objects to one can say which. To be done with a tree before it is shown to anybody.
    pub fn number(&mut self) {
        let mut last = 0;
        self.top.number(&mut last);
    }

    /// The line of this number, if it says `words`: an objection may be about an older tree.
    pub fn statement(&self, statement: StatementId, words: &[String]) -> Option<&Line<'w>> {
        self.top.statement(statement).filter(|line| line.words == words)
    }

    /// The tree as processes see it.
    pub fn nodes(&self) -> Vec<Node> {
        self.top.nodes()
    }

    /// The blocks of all VRs.
    pub fn vrs(&self) -> impl Iterator<Item = &Line<'w>> {
        self.top.lines().iter().filter(|line| words::defines_vr(line.command))
    }

    /// The block of one VR.
    pub fn vr(&self, name: &str) -> Option<&Line<'w>> {
        self.vrs().find(|vr| vr.word(1) == name)
    }
}

impl PartialEq for Tree<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.nodes() == other.nodes()
    }
}
