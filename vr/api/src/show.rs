//! `show` tables: their declaration, the question, and the answer.
//!
//! A process answers the tables that its class declares on its own service (`/2/bgp`); the shell asks every VR's and
//! prints one table. Column headings are the JSON keys.

mod nesting;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Schema of the show channel, for the hello.
pub const SCHEMA: &str = "show";

/// A table that a class answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShowTable {
    /// The words behind `show`: `bgp summary`.
    pub words: Cow<'static, str>,
    /// One line of help.
    pub help: Cow<'static, str>,
    /// What may follow, for help: `[PREFIX]`; empty if nothing.
    pub arguments: Cow<'static, str>,
    /// Headings in order, snake_case; `vr` first. They are the JSON keys.
    pub columns: Vec<Cow<'static, str>>,
}

impl ShowTable {
    /// A table without arguments.
    pub fn new(words: &'static str, help: &'static str, columns: &[&'static str]) -> Self {
        Self {
            words: words.into(),
            help: help.into(),
            arguments: "".into(),
            columns: columns.iter().map(|column| Cow::Borrowed(*column)).collect(),
        }
    }

    /// The same table with arguments.
    pub fn with_arguments(self, arguments: &'static str) -> Self {
        Self { arguments: arguments.into(), ..self }
    }
}

pub use nesting::MAX_NESTING;

/// A cell. Lists and objects may stand inside each other up to [`MAX_NESTING`] deep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Value {
    /// Nothing to say.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A count.
    Number(u64),
    /// A negative number, or one with a fraction: seconds.
    Real(f64),
    /// Text.
    Text(String),
    /// Several values: addresses.
    List(Vec<Value>),
    /// Named values: a next hop.
    Object(Vec<(String, Value)>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Number(value)
    }
}
impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Number(value.into())
    }
}
impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Number(value as u64)
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl Value {
    /// Anything by its text form: an address, a name.
    pub fn text(value: impl std::fmt::Display) -> Self {
        Value::Text(value.to_string())
    }
}

/// A row: one value a column, in the table's order.
pub type Row = Vec<Value>;

/// Terms of an open of any service for this conversation, in place of the service's own terms.
pub const TERMS: &[u8] = b"show";

/// The question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShowRequest {
    /// Show a table.
    Table {
        /// The words of the table.
        table: String,
        /// What was typed behind them.
        arguments: Vec<String>,
    },
    /// Do what the class declared as a command, `clear bgp 10.0.0.1`. Answered by [`ShowReply::End`] or an error.
    Command {
        /// All words.
        words: Vec<String>,
    },
}

/// The answer: rows in parts, then the end, or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShowReply {
    /// Some rows.
    Rows(Vec<Row>),
    /// All rows were sent.
    End,
    /// The table cannot be shown; the reason.
    Error(String),
}

/// Rows a [`ShowReply::Rows`] carries at most, so that a table of a million routes passes in small records.
pub const ROWS_PER_REPLY: usize = 500;
