//! What may be typed, as data: one list of [`Form`]s drives parsing, abbreviation, help and completion.
//!
//! A word of a line is, in this order of preference, a keyword as it stands, the name of a setting, a value, or the
//! unambiguous beginning of a keyword or of a setting's name, as on IOS.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ipnet::IpNet;
use vr_api::command::{ParameterType, Word};

use crate::config::nearest::nearest;
use crate::config::{matching, value};

/// A word of a form.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot {
    /// Is typed as it stands, or its beginning.
    Keyword(String),
    /// A value.
    Value(Value),
    /// The rest of the line, of this name.
    Rest(&'static str),
}

/// A value, and what is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// As help shows it, without brackets: `prefix|address`.
    name: String,
    any_of: Vec<Kind>,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Parameter(ParameterType),
    /// Of either family, with or without bits right of its length.
    Prefix,
}

impl Value {
    /// A value of a type that the configuration knows.
    pub fn of(name: &str, parameter: ParameterType) -> Self {
        Self { name: name.to_owned(), any_of: vec![Kind::Parameter(parameter)] }
    }

    /// What a class declares.
    fn declared(parameter: &ParameterType) -> Self {
        let described = value::describe(&Word::Parameter(parameter.clone())).join("|");
        Self::of(described.trim_matches(['<', '>']), parameter.clone())
    }

    /// An argument of a table in capitals: `PREFIX|ADDRESS`. The shell knows these two and `LINES`; others are handed on
    /// as they are.
    fn argument(text: &str) -> Self {
        let kind = |word: &str| match word {
            "PREFIX" => Kind::Prefix,
            "ADDRESS" => Kind::Parameter(ParameterType::IpAddress),
            "LINES" => {
                Kind::Parameter(ParameterType::Number { name: "number of lines".into(), min: 1, max: 1_000_000 })
            }
            other => Kind::Parameter(ParameterType::Name(other.to_ascii_lowercase().into())),
        };
        Self { name: text.to_ascii_lowercase(), any_of: text.split('|').map(kind).collect() }
    }

    fn accepts(&self, word: &str) -> bool {
        self.any_of.iter().any(|kind| match kind {
            Kind::Parameter(parameter) => value::canonical(parameter, word, Path::new("/")).is_ok(),
            Kind::Prefix => word.parse::<IpNet>().is_ok(),
        })
    }

    fn is_vr(&self) -> bool {
        self.any_of == [Kind::Parameter(ParameterType::VrName)]
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.name)
    }
}

/// A word and a value that may follow anywhere behind the keywords: `count 2`.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The word.
    pub word: &'static str,
    /// The value behind it.
    pub value: Value,
    /// Whether the form is nothing without it.
    pub required: bool,
    /// One line of help.
    pub help: &'static str,
}

/// One command, and `A` what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Form<A> {
    /// What it does.
    pub action: A,
    /// One line of help.
    pub help: String,
    words: Vec<Slot>,
    /// How many of the last words may be missing.
    optional: usize,
    settings: Vec<Setting>,
    /// Whether its first word must be typed in full: what cannot be undone is not done by a slip.
    in_full: bool,
}

impl<A> Form<A> {
    /// Keywords.
    pub fn new(keywords: &str, help: &str, action: A) -> Self {
        let words = keywords.split_whitespace().map(|word| Slot::Keyword(word.to_owned())).collect();
        Self { action, help: help.to_owned(), words, optional: 0, settings: Vec::new(), in_full: false }
    }

    /// The same with a value, or the rest of the line, behind it.
    pub fn with(mut self, slot: Slot) -> Self {
        self.words.push(slot);
        self
    }

    /// The same with the words of a command that a class declares.
    pub fn declared(mut self, words: &[Word]) -> Self {
        self.words.extend(words.iter().map(|word| match word {
            Word::Keyword(keyword) => Slot::Keyword(keyword.to_string()),
            Word::OneOf(keywords) => {
                Slot::Value(Value::of(&keywords.join("|"), ParameterType::Choice(keywords.clone())))
            }
            Word::Parameter(parameter) => Slot::Value(Value::declared(parameter)),
        }));
        self
    }

    /// The same with the arguments of a table: `[PREFIX|ADDRESS]`.
    pub fn arguments(mut self, text: &str) -> Self {
        for argument in text.split_whitespace() {
            self.optional += usize::from(argument.starts_with('['));
            self.words.push(Slot::Value(Value::argument(argument.trim_matches(['[', ']']))));
        }
        self
    }

    /// The same with a setting.
    pub fn setting(mut self, setting: Setting) -> Self {
        self.settings.push(setting);
        self
    }

    /// The same, to be typed in full.
    pub fn in_full(self) -> Self {
        Self { in_full: true, ..self }
    }

    /// How it is typed: `ping vr <VR> <address> [count <number>]`.
    pub fn synopsis(&self) -> String {
        let required = self.words.len() - self.optional;
        let words = self.words.iter().enumerate().map(|(at, word)| match word {
            Slot::Keyword(keyword) => keyword.clone(),
            Slot::Value(value) if at < required => value.to_string(),
            Slot::Value(value) => format!("[{value}]"),
            Slot::Rest(name) => format!("<{name}>"),
        });
        let settings = self.settings.iter().map(|Setting { word, value, required, .. }| match required {
            true => format!("{word} {value}"),
            false => format!("[{word} {value}]"),
        });
        words.chain(settings).collect::<Vec<_>>().join(" ")
    }
}

/// A line that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<'f, A> {
    /// What it does.
    pub action: &'f A,
    /// Keywords in full and values as they were typed, without settings. The rest of a line is one word.
    pub words: Vec<String>,
    /// Settings by their words.
    pub settings: BTreeMap<&'static str, String>,
}

impl<A> Parsed<'_, A> {
    /// A setting, if it was given.
    pub fn setting(&self, word: &str) -> Option<&str> {
        self.settings.get(word).map(String::as_str)
    }
}

/// What is wrong with a line, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The line.
    pub line: String,
    /// First character meant, from 1.
    pub column: u32,
    /// How many characters are meant.
    pub width: u32,
    /// What is wrong.
    pub problem: String,
    /// What is accepted there.
    pub expected: Vec<String>,
}

impl Diagnosis {
    /// The carets under the part that is meant, for a line that stands `shift` characters further right.
    pub fn carets(&self, shift: usize) -> String {
        let before = shift + self.column.saturating_sub(1) as usize;
        format!("{:before$}{}", "", "^".repeat(self.width.max(1) as usize))
    }

    /// What is accepted there, as a sentence.
    pub fn expectation(&self) -> String {
        match self.expected.is_empty() {
            true => String::new(),
            false => format!("\nexpected: {}", self.expected.join(", ")),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}\n{}{}", self.problem, self.line, self.carets(2), self.expectation())
    }
}

/// A word that may come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The word, or what the value is, in angle brackets.
    pub text: String,
    /// One line of help.
    pub help: String,
    /// Whether any VR may stand here.
    pub is_vr: bool,
}

/// A form, as far as a line has taken it.
struct Progress<'f, A> {
    form: &'f Form<A>,
    words: Vec<String>,
    settings: BTreeMap<&'static str, String>,
    /// A setting whose value comes next.
    pending: Option<&'f Setting>,
    /// The rest of the line was taken.
    done: bool,
}

impl<A> Clone for Progress<'_, A> {
    fn clone(&self) -> Self {
        Self { words: self.words.clone(), settings: self.settings.clone(), ..*self }
    }
}

/// How a word fits into a form, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Exact,
    ExactSetting,
    Value,
    Beginning,
}

impl<'f, A> Progress<'f, A> {
    fn of(form: &'f Form<A>) -> Self {
        Self { form, words: Vec::new(), settings: BTreeMap::new(), pending: None, done: false }
    }

    /// Settings that may come now: behind the keywords, each once.
    fn open_settings(&self) -> impl Iterator<Item = &'f Setting> {
        let rest = self.form.words.get(self.words.len()..).unwrap_or_default();
        let behind_keywords = !rest.iter().any(|slot| matches!(slot, Slot::Keyword(_)));
        let form = self.form;
        form.settings.iter().filter(move |setting| behind_keywords && !self.settings.contains_key(setting.word))
    }

    fn is_complete(&self) -> bool {
        let given = |setting: &Setting| !setting.required || self.settings.contains_key(setting.word);
        self.pending.is_none()
            && self.words.len() + self.form.optional >= self.form.words.len()
            && self.form.settings.iter().all(given)
    }

    /// All ways in which the form takes a word.
    fn take(&self, token: &matching::Token<'_>) -> Vec<(Fit, String, Progress<'f, A>)> {
        let mut ways = Vec::new();
        if self.done {
            return ways;
        }
        if let Some(setting) = self.pending {
            if setting.value.accepts(token.text) {
                let mut next = Self { pending: None, ..self.clone() };
                next.settings.insert(setting.word, token.text.to_owned());
                ways.push((Fit::Value, String::new(), next));
            }
            return ways;
        }
        let mut word = |fit, name: &str, text: &str, done| {
            let mut next = Self { done, ..self.clone() };
            next.words.push(text.to_owned());
            ways.push((fit, name.to_owned(), next));
        };
        let whole = self.form.in_full && self.words.is_empty();
        match self.form.words.get(self.words.len()) {
            Some(Slot::Keyword(keyword)) if keyword == token.text => word(Fit::Exact, keyword, keyword, false),
            Some(Slot::Keyword(keyword)) if keyword.starts_with(token.text) && !whole => {
                word(Fit::Beginning, keyword, keyword, false);
            }
            Some(Slot::Value(value)) if value.accepts(token.text) => word(Fit::Value, "", token.text, false),
            Some(Slot::Rest(_)) => word(Fit::Value, "", token.rest, true),
            Some(Slot::Keyword(_) | Slot::Value(_)) | None => {}
        }
        for setting in self.open_settings().filter(|setting| setting.word.starts_with(token.text)) {
            let fit = if setting.word == token.text { Fit::ExactSetting } else { Fit::Beginning };
            ways.push((fit, setting.word.to_owned(), Self { pending: Some(setting), ..self.clone() }));
        }
        ways
    }

    /// What may come next.
    fn candidates(&self) -> Vec<Candidate> {
        let of_value = |value: &Value, help: &str| Candidate {
            text: value.to_string(),
            help: help.to_owned(),
            is_vr: value.is_vr(),
        };
        if let Some(setting) = self.pending {
            return vec![of_value(&setting.value, setting.help)];
        }
        let plain = |text: String, help: &str| Candidate { text, help: help.to_owned(), is_vr: false };
        let help = &self.form.help;
        let next = self.form.words.get(self.words.len()).filter(|_| !self.done).map(|slot| match slot {
            Slot::Keyword(keyword) => plain(keyword.clone(), help),
            Slot::Value(value) => of_value(value, help),
            Slot::Rest(name) => plain(format!("<{name}>"), help),
        });
        let settings = self.open_settings().map(|setting| plain(setting.word.to_owned(), setting.help));
        next.into_iter().chain(settings).collect()
    }
}

/// Understands a line.
pub fn parse<'f, A>(forms: &'f [Form<A>], line: &str) -> Result<Parsed<'f, A>, Box<Diagnosis>> {
    let tokens = matching::tokens(line);
    let progress = follow(forms, line, &tokens)?;
    let wrong_end = || {
        let end = tokens.last().map_or(1, |last| last.column + last.span().1 + 1);
        diagnosis(line, (end, 1), "the line is not complete".to_owned(), &progress)
    };
    let Some(Progress { form, words, settings, .. }) = progress.iter().find(|progress| progress.is_complete()).cloned()
    else {
        return Err(wrong_end());
    };
    Ok(Parsed { action: &form.action, words, settings })
}

/// What may stand at the end of a line: all that begins with its last word, or, behind a space, all that may follow.
/// The flag: whether the line may end there.
pub fn candidates<A>(forms: &[Form<A>], line: &str) -> Result<(Vec<Candidate>, bool), Box<Diagnosis>> {
    let mut tokens = matching::tokens(line);
    let typed = if line.ends_with(char::is_whitespace) { None } else { tokens.pop() };
    let progress = follow(forms, line, &tokens)?;
    let begins = |candidate: &Candidate| typed.is_none_or(|typed| candidate.text.starts_with(typed.text));
    let mut found: Vec<Candidate> = Vec::new();
    for candidate in progress.iter().flat_map(Progress::candidates).filter(|candidate| {
        // A value has no beginning that could be compared.
        begins(candidate) || candidate.text.starts_with('<')
    }) {
        match found.iter_mut().find(|known| known.text == candidate.text) {
            // Several tables begin so: the help of one of them would mislead.
            Some(known) if known.help != candidate.help => known.help.clear(),
            Some(_) => {}
            None => found.push(candidate),
        }
    }
    if typed.is_some() && found.iter().any(|candidate| !candidate.text.starts_with('<')) {
        found.retain(|candidate| !candidate.text.starts_with('<'));
    }
    let may_end = typed.is_none() && !tokens.is_empty() && progress.iter().any(Progress::is_complete);
    Ok((found, may_end))
}

/// Takes words one after the other; what is left are the forms that the line may still become.
fn follow<'f, A>(
    forms: &'f [Form<A>],
    line: &str,
    tokens: &[matching::Token<'_>],
) -> Result<Vec<Progress<'f, A>>, Box<Diagnosis>> {
    let mut progress: Vec<Progress<'f, A>> = forms.iter().map(Progress::of).collect();
    for token in tokens {
        if progress.iter().all(|progress| progress.done) {
            break;
        }
        let mut ways: Vec<_> = progress.iter().flat_map(|progress| progress.take(token)).collect();
        let best = ways.iter().map(|(fit, ..)| *fit).min();
        ways.retain(|(fit, ..)| Some(*fit) == best);
        let mut names: Vec<&str> = ways.iter().map(|(_, name, _)| name.as_str()).collect();
        names.dedup();
        match names[..] {
            [] => return Err(unknown(line, token, &progress)),
            [_, _, ..] if best == Some(Fit::Beginning) => {
                let problem = format!("`{}` may be {}", token.text, names.join(" or "));
                return Err(Box::new(Diagnosis {
                    expected: Vec::new(),
                    ..*diagnosis(line, token.span(), problem, &progress)
                }));
            }
            _ => progress = ways.into_iter().map(|(_, _, next)| next).collect(),
        }
    }
    Ok(progress)
}

fn unknown<A>(line: &str, token: &matching::Token<'_>, progress: &[Progress<'_, A>]) -> Box<Diagnosis> {
    let word = token.text;
    let expected: Vec<Candidate> = progress.iter().flat_map(Progress::candidates).collect();
    let nearest = nearest(word, expected.iter().map(|candidate| candidate.text.as_str()));
    let problem = match (&expected[..], nearest) {
        ([], _) => format!("nothing may follow here, found `{word}`"),
        ([only], _) if only.text.starts_with('<') => format!("`{word}` is no {}", only.text.trim_matches(['<', '>'])),
        (_, Some(nearest)) => format!("unknown word `{word}`; did you mean `{nearest}`?"),
        (_, None) => format!("unknown word `{word}`"),
    };
    diagnosis(line, token.span(), problem, progress)
}

fn diagnosis<A>(
    line: &str,
    (column, width): (u32, u32),
    problem: String,
    progress: &[Progress<'_, A>],
) -> Box<Diagnosis> {
    let mut expected: Vec<String> = progress.iter().flat_map(Progress::candidates).map(|next| next.text).collect();
    expected.sort();
    expected.dedup();
    Box::new(Diagnosis { line: line.trim_end().to_owned(), column, width, problem, expected })
}

#[cfg(test)]
mod tests;
