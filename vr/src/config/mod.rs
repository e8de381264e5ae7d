//! The configuration: a language, a tree, and the process that keeps it and hands it out.
//!
//! ```text
//!              Declaration of each class
//!                        │
//!   file, operator       ▼
//!   ─────text──▶ parse ◀─ words        statements, each where it stands
//!                  │
//!                merge                 blocks once, names canonical
//!                  │
//!                 tree ──▶ print       the text of `show running-config`
//!                  │
//!              validate                what contradicts, what is missing
//!                  │
//!                 view ──▶ subscribers their blocks as `vr_api::config::Node`s
//! ```
//!
//! Read first: `words` (the commands), then `parse`, whose head states the rules of the language.

pub mod change;
pub mod check;
pub mod commit;
mod matching;
pub mod merge;
mod nearest;
pub mod parse;
pub mod print;
pub mod store;
pub mod tree;
pub mod validate;
mod value;
pub mod view;
pub mod words;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use check::{Summary, VrSummary, check_file};
pub use tree::Tree;
pub use words::Words;
