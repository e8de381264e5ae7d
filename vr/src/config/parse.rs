//! Text to statements: words decide nesting.
//!
//! A line stands in the innermost open block that accepts its first word, as on IOS: `vr blue` after an unclosed
//! `interface` block ends that block and all around it that do not know `vr`. So a block needs its `!` only where the
//! next line's first word is one of its own. The rules in full:
//!
//! - `!` alone at column n ends every open block whose first line stands at column n or further right, with all that is
//!   open inside it. Where there is none it is nothing.
//! - `!` with text behind it is a comment, wherever it stands.
//! - `exit` ends the innermost block; a block's own closing word (`end-policy`) ends that block.
//! - Every other line is tried in the open blocks, innermost first; the first that accepts its first word takes it, and
//!   the blocks further in end. A mistake further on in the line is an error of that block.
//! - After a line with an error, lines further right than it are taken for what stands inside it, and are left alone.

use std::path::PathBuf;
use std::sync::Arc;

use vr_api::command::{Command, Word};

use super::matching::{self, Extent, Mismatch, Token, accepts_first, tokens};
use super::nearest::nearest;
use super::value;
use super::words::Words;
use crate::error::{ConfigError, Expected, Place, Problem};

/// Where a text comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name that errors show.
    pub file: Arc<str>,
    /// Relative paths count from here; absolute.
    pub folder: PathBuf,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A configuration.
    File,
    /// An operator's lines: `no` takes one away.
    Change,
}

/// A line of a text that is a command, with what stands inside it. Blocks that were opened twice are still two.
#[derive(Debug)]
pub struct Statement<'w> {
    /// What it is.
    pub command: &'w Command,
    /// Its words in canonical spelling; with `negated`, perhaps only the first of them.
    pub words: Vec<String>,
    /// After `no`.
    pub negated: bool,
    /// Where it stands.
    pub line: Arc<SourceLine>,
    /// What stands inside it.
    pub inside: Vec<Statement<'w>>,
}

/// A line as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceLine {
    file: Arc<str>,
    number: u32,
    text: Arc<str>,
    /// Of each word of the command: first column and width.
    spans: Vec<(u32, u32)>,
}

impl SourceLine {
    /// The whole command.
    pub fn place(&self) -> Place {
        let first = self.spans.first().map_or(1, |(column, _)| *column);
        let end = self.spans.last().map_or(2, |(column, width)| column.saturating_add(*width));
        self.at((first, end.saturating_sub(first)))
    }

    /// One of its words, counted from 0.
    pub fn word(&self, index: usize) -> Place {
        self.spans.get(index).map_or_else(|| self.place(), |span| self.at(*span))
    }

    fn at(&self, (column, width): (u32, u32)) -> Place {
        Place { file: self.file.clone(), line: self.number, text: self.text.clone(), column, width }
    }
}

/// Reads a text. The statements are what could be read; they are of use only if there are no errors.
pub fn parse<'w>(text: &str, words: &'w Words, source: &Source, kind: Kind) -> (Vec<Statement<'w>>, Vec<ConfigError>) {
    let mut reader =
        Reader { words, source, kind, open: Vec::new(), done: Vec::new(), errors: Vec::new(), skip_beyond: None };
    for (number, line) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(text).lines()) {
        reader.read(number, line);
    }
    reader.close_to(0);
    (reader.done, reader.errors)
}

struct Reader<'w, 's> {
    words: &'w Words,
    source: &'s Source,
    kind: Kind,
    open: Vec<OpenBlock<'w>>,
    done: Vec<Statement<'w>>,
    errors: Vec<ConfigError>,
    /// A line with an error stood at this column.
    skip_beyond: Option<u32>,
}

struct OpenBlock<'w> {
    column: u32,
    inside: &'w [Command],
    statement: Statement<'w>,
}

impl<'w> Reader<'w, '_> {
    fn read(&mut self, number: u32, text: &str) {
        let tokens = tokens(text);
        let Some(first) = tokens.first() else { return };
        if first.text.starts_with('!') {
            if first.rest == "!" {
                let column = first.column;
                let depth = self.open.iter().position(|block| block.column >= column).unwrap_or(self.open.len());
                self.close_to(depth);
            }
            return;
        }
        if self.skip_beyond.is_some_and(|column| first.column > column) {
            return;
        }
        self.skip_beyond = None;
        let closes_or_errs = self.read_closing(&tokens).unwrap_or_else(|| self.read_command(number, text, &tokens));
        if let Err(Mismatch { problem, span, expected }) = closes_or_errs {
            let line = self.line(number, text, vec![span]);
            let block = self.open.last().map(|block| block.statement.line.text.trim().to_owned());
            self.errors.push(ConfigError::at(line.place(), problem).expecting(Expected { block, words: expected }));
            self.skip_beyond = Some(first.column);
        }
    }

    /// `exit` and closing words; `None` for other lines.
    fn read_closing(&mut self, tokens: &[Token<'_>]) -> Option<Result<(), Mismatch>> {
        let [token] = tokens else { return None };
        let depth = match token.text {
            "exit" => self.open.len().checked_sub(1),
            word if self.words.is_closing(word) => {
                let closes = |block: &OpenBlock<'_>| block.statement.command.closed_by.as_deref() == Some(word);
                self.open.iter().rposition(closes)
            }
            _ => return None,
        };
        let nothing = || Mismatch {
            problem: Problem::EndsNothing { word: token.text.to_owned() }.into(),
            span: token.span(),
            expected: Vec::new(),
        };
        Some(depth.map(|depth| self.close_to(depth)).ok_or_else(nothing))
    }

    fn read_command(&mut self, number: u32, text: &str, tokens: &[Token<'_>]) -> Result<(), Mismatch> {
        let (negated, line) = match tokens {
            [no, line @ ..] if self.kind == Kind::Change && no.text == "no" && !line.is_empty() => (true, line),
            line => (false, line),
        };
        let [first, ..] = line else { return Ok(()) };
        let takes = |depth: &usize| accepts_first(self.commands(*depth), first);
        let Some(depth) = (0..=self.open.len()).rev().find(takes) else { return Err(self.unknown(first, line)) };
        self.close_to(depth);
        let extent = if negated { Extent::Beginning } else { Extent::Whole };
        let commands = self.commands(depth);
        let matched = matching::find(commands, line, &self.source.folder, extent)?;
        let line = Arc::new(self.line(number, text, matched.spans));
        let statement = Statement { command: matched.command, words: matched.words, negated, line, inside: Vec::new() };
        match &matched.command.block {
            Some(inside) if !negated => {
                let column = tokens.first().map_or(1, |token| token.column);
                self.open.push(OpenBlock { column, inside, statement });
            }
            Some(_) | None => self.add(statement),
        }
        Ok(())
    }

    /// Commands of the block at a depth; 0 is the top level.
    fn commands(&self, depth: usize) -> &'w [Command] {
        let block = depth.checked_sub(1).and_then(|index| self.open.get(index));
        block.map_or(self.words.top(), |block| block.inside)
    }

    fn close_to(&mut self, depth: usize) {
        while self.open.len() > depth
            && let Some(block) = self.open.pop()
        {
            self.add(block.statement);
        }
    }

    fn add(&mut self, statement: Statement<'w>) {
        match self.open.last_mut() {
            Some(block) => block.statement.inside.push(statement),
            None => self.done.push(statement),
        }
    }

    fn unknown(&self, token: &Token<'_>, line: &[Token<'_>]) -> Mismatch {
        // `203.0.113.1/24 Null0` begins with no prefix, but it says more to call it a wrong prefix than a wrong word.
        let innermost = matching::find(self.commands(self.open.len()), line, &self.source.folder, Extent::Whole);
        if let Err(mismatch) = innermost
            && matching::is_near_miss(&mismatch.problem)
        {
            return mismatch;
        }
        let first_words = |depth: usize| {
            let mut words: Vec<String> = self.commands(depth).iter().filter_map(first_word).flatten().collect();
            words.sort();
            words.dedup();
            words
        };
        let mut expected = first_words(self.open.len());
        let all: Vec<String> = (0..=self.open.len()).rev().flat_map(first_words).collect();
        let nearest = nearest(token.text, all.iter().map(String::as_str));
        if let Some(block) = self.open.last() {
            expected.push(block.statement.command.closed_by.as_deref().unwrap_or("!").to_owned());
        }
        Mismatch {
            problem: Problem::UnknownWord { word: token.text.to_owned(), nearest }.into(),
            span: token.span(),
            expected,
        }
    }

    fn line(&self, number: u32, text: &str, spans: Vec<(u32, u32)>) -> SourceLine {
        SourceLine { file: self.source.file.clone(), number, text: text.trim_end().into(), spans }
    }
}

fn first_word(command: &Command) -> Option<Vec<String>> {
    command.words.first().map(|word: &Word| value::describe(word))
}
