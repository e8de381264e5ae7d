//! One line against the commands of one block.

use std::path::Path;

use vr_api::command::{Command, ParameterType, Word};

use super::value;
use crate::error::Problem;

/// A word of a line, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub text: &'t str,
    /// The first character, from 1.
    pub column: u32,
    /// The text from here to the end of the line.
    pub rest: &'t str,
}

impl Token<'_> {
    pub(crate) fn span(&self) -> (u32, u32) {
        (self.column, count(self.text))
    }
}

/// Splits a line at white space. Columns count characters, as editors do.
pub(crate) fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut column) = (line.trim_end(), 1);
    loop {
        let start = rest.trim_start();
        column += count(&rest[..rest.len() - start.len()]);
        if start.is_empty() {
            return tokens;
        }
        let (text, after) = start.split_at(start.find(char::is_whitespace).unwrap_or(start.len()));
        tokens.push(Token { text, column, rest: start });
        column += count(text);
        rest = after;
    }
}

/// Number of characters; a line longer than 4 G characters does not fit into memory with its tree.
fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// A line that is the command, or, for `no`, the beginning of it.
#[derive(Debug)]
pub(super) struct Matched<'w> {
    pub command: &'w Command,
    /// Words in canonical spelling, one for each word of the command.
    pub words: Vec<String>,
    /// Where each stands: first column and width.
    pub spans: Vec<(u32, u32)>,
}

/// A line that no command of the block takes.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub problem: Box<Problem>,
    pub span: (u32, u32),
    pub expected: Vec<String>,
}

/// Whether the beginning of a command is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// The whole command.
    Whole,
    /// For `no`: the beginning, if only one command begins so.
    Beginning,
}

/// Whether some command of a block could begin with this word. It decides in which of the open blocks a line stands.
pub(super) fn accepts_first(commands: &[Command], token: &Token<'_>) -> bool {
    commands.iter().any(|command| match command.words.first() {
        Some(Word::Keyword(keyword)) => keyword == token.text,
        Some(Word::OneOf(keywords)) => keywords.iter().any(|keyword| keyword == token.text),
        Some(Word::Parameter(parameter)) => value::canonical(parameter, token.text, Path::new("/")).is_ok(),
        None => false,
    })
}

/// Finds the command that a line is. Of several that fit, the one with more keywords is meant; of those that fail, the
/// ones that came furthest say what is expected.
pub(super) fn find<'w>(
    commands: &'w [Command],
    line: &[Token<'_>],
    folder: &Path,
    extent: Extent,
) -> Result<Matched<'w>, Mismatch> {
    let (mut whole, mut failed) = (Vec::new(), Vec::new());
    for command in commands {
        match attempt(command, line, folder) {
            Ok(matched) => whole.push(matched),
            Err(failure) => failed.push(failure),
        }
    }
    if let Some(matched) = whole.into_iter().max_by_key(|matched| keywords(matched.command)) {
        return Ok(matched);
    }
    let furthest = failed.iter().map(|failure| failure.taken).max().unwrap_or(0);
    failed.retain(|failure| failure.taken == furthest);
    let begun = failed.iter().filter(|failure| matches!(failure.stop, Stop::End)).count();
    if extent == Extent::Beginning
        && begun == 1
        && let Some(failure) = failed.iter().position(|failure| matches!(failure.stop, Stop::End))
    {
        return Ok(failed.swap_remove(failure).begun);
    }
    Err(mismatch(failed, line))
}

fn keywords(command: &Command) -> usize {
    command.words.iter().filter(|word| !matches!(word, Word::Parameter(_))).count()
}

/// Why a command is not this line.
struct Failure<'w> {
    begun: Matched<'w>,
    /// How many words of the line it took.
    taken: usize,
    stop: Stop,
    expected: Vec<String>,
}

enum Stop {
    /// The line ended.
    End,
    /// The line went on after the command.
    TooMuch,
    /// A keyword was expected, another word found.
    Keyword,
    /// A value was expected.
    Value(Box<Problem>),
}

fn attempt<'w>(command: &'w Command, line: &[Token<'_>], folder: &Path) -> Result<Matched<'w>, Failure<'w>> {
    let mut begun = Matched { command, words: Vec::new(), spans: Vec::new() };
    let mut taken = 0;
    for word in &command.words {
        let expected = || value::describe(word);
        let Some(token) = line.get(taken) else {
            return Err(Failure { begun, taken, stop: Stop::End, expected: expected() });
        };
        match take(word, token, line.get(taken + 1), folder) {
            Ok(value) => {
                begun.words.push(value.text);
                begun.spans.push((token.column, value.width));
                taken = if value.to_the_end { line.len() } else { taken + value.tokens };
            }
            Err(stop) => return Err(Failure { begun, taken, stop, expected: expected() }),
        }
    }
    match taken == line.len() {
        true => Ok(begun),
        false => Err(Failure { begun, taken, stop: Stop::TooMuch, expected: Vec::new() }),
    }
}

struct Value {
    text: String,
    width: u32,
    tokens: usize,
    to_the_end: bool,
}

fn take(word: &Word, token: &Token<'_>, next: Option<&Token<'_>>, folder: &Path) -> Result<Value, Stop> {
    let one = |text: String| Value { text, width: count(token.text), tokens: 1, to_the_end: false };
    let is = |keyword: &str| if keyword == token.text { Ok(one(keyword.to_owned())) } else { Err(Stop::Keyword) };
    let parameter = match word {
        Word::Keyword(keyword) => return is(keyword),
        Word::OneOf(keywords) => {
            return keywords.iter().find_map(|keyword| is(keyword).ok()).ok_or(Stop::Keyword);
        }
        Word::Parameter(parameter) => parameter,
    };
    let bad = |word: &str, bad| Stop::Value(Box::new(Problem::BadValue { word: word.to_owned(), bad }));
    if let ParameterType::Text(_) = parameter {
        return Ok(Value { text: token.rest.to_owned(), width: count(token.rest), tokens: 1, to_the_end: true });
    }
    if value::may_be_interface(word)
        && token.text == "inter-vr"
        && let Some(vr) = next
    {
        let text = value::long_form(vr.text).map_err(|error| bad(vr.text, error))?;
        let width = vr.column.saturating_sub(token.column).saturating_add(count(vr.text));
        return Ok(Value { text, width, tokens: 2, to_the_end: false });
    }
    value::canonical(parameter, token.text, folder).map(one).map_err(|error| bad(token.text, error))
}

/// One answer out of the failures of those commands that came furthest.
fn mismatch(failed: Vec<Failure<'_>>, line: &[Token<'_>]) -> Mismatch {
    let mut expected: Vec<String> = failed.iter().flat_map(|failure| failure.expected.iter().cloned()).collect();
    expected.sort();
    expected.dedup();
    let taken = failed.first().map_or(0, |failure| failure.taken);
    let Some(token) = line.get(taken) else {
        // Behind the last word, where the next one would stand.
        let end = line.last().map_or(1, |last| last.column.saturating_add(count(last.text)).saturating_add(1));
        return Mismatch { problem: Problem::Incomplete.into(), span: (end, 1), expected };
    };
    // Where all that could stand there is one value, the word is a wrong one.
    let only_value = failed.iter().filter(|failure| !matches!(failure.stop, Stop::TooMuch)).count() == 1;
    let mut problem = Box::new(Problem::TooMuch { word: token.text.to_owned() });
    for failure in failed {
        match failure.stop {
            Stop::Value(bad) if only_value || is_near_miss(&bad) => {
                problem = bad;
                break;
            }
            Stop::Value(_) | Stop::Keyword => {
                problem = Problem::UnknownWord { word: token.text.to_owned(), nearest: None }.into();
            }
            Stop::TooMuch | Stop::End => {}
        }
    }
    Mismatch { problem, span: token.span(), expected }
}

/// Whether the word is clearly meant as a value, so that the reason says more than "unknown word".
pub(super) fn is_near_miss(problem: &Problem) -> bool {
    matches!(problem, Problem::BadValue { bad, .. } if bad.is_near_miss())
}
