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
//!
//! ```
//! use isthmus_vr::config::{Words, check::tree_of, parse::Source, print::print};
//!
//! // The router's own words; a real router adds the declarations of its process classes.
//! let words = Words::new(Vec::new())?;
//! let source = Source { file: "lab.conf".into(), folder: "/etc".into() };
//! let tree = tree_of("vr red\ninterface LOOPBACK0\nipv4 address 192.0.2.1/32", &words, &source).unwrap();
//! assert_eq!(print(&tree), "vr red\n interface Loopback0\n  ipv4 address 192.0.2.1/32\n !\n!\n");
//!
//! let errors = tree_of("vr red\nconnect red blue", &words, &source).unwrap_err();
//! assert!(errors[0].to_string().starts_with("lab.conf:2:13: there is no VR `blue`"));
//! # Ok::<(), isthmus_vr::error::WordsError>(())
//! ```

pub mod change;
pub mod check;
pub mod commit;
pub(crate) mod matching;
pub mod merge;
pub(crate) mod nearest;
pub mod parse;
pub mod print;
pub mod programs;
pub mod run;
pub mod startup;
pub mod store;
pub mod tree;
pub mod validate;
pub(crate) mod value;
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
