//! What attached programs add to the router: which declarations are known, and whether another one can be.
//!
//! A program is somebody else's: what it declares must stay within its own words, so that no line of anybody else comes
//! to mean something new. Its blocks are `router CLASS …`, its tables `show CLASS …`, its commands `VERB CLASS …`. What
//! was accepted stays known while the router runs: the lines of a program outlive it, and wait for it to come back.

use std::collections::BTreeMap;

use ipc::ServiceName;
use ipc::protocol::{Identity, Origin};
use ipc::service::ClientId;
use vr_api::command::{Command, Declaration, Word};

use super::check;
use super::parse::Source;
use super::print::print;
use super::tree::Tree;
use super::words::{Words, spell};
use crate::error::{ConfigError, WordsError};

/// Bytes that all declarations of programs may take in a message; the shell gets them in one.
const MAX_BYTES: usize = 256 << 10;

/// Leading keyword of a program's blocks.
const ROUTER: &str = "router";

/// Declarations of programs, and the programs that live.
#[derive(Debug)]
pub struct Programs {
    built_in: Vec<Declaration>,
    known: Vec<Declaration>,
    living: BTreeMap<ClientId, Program>,
}

#[derive(Debug)]
struct Program {
    identity: Identity,
    /// Its declaration is the one that is known. Before it has declared anything it contradicts nobody.
    accepted: bool,
}

/// Why a program's declaration is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// procmgr's own classes are known.
    #[error("{0} did not attach; the classes that procmgr starts are declared already")]
    NotAttached(Identity),
    /// Its service and its routes would have different names.
    #[error("{program} declares class {class}: a program attaches under the name of its class")]
    Name {
        /// Who it is.
        program: Identity,
        /// What it declares.
        class: ServiceName,
    },
    /// It is one of the router's.
    #[error("class {0} is this router's own")]
    BuiltIn(ServiceName),
    /// Two versions of a program cannot run beside each other.
    #[error("{other} (PID {}) runs and declares class {class} otherwise", other.pid)]
    Otherwise {
        /// The class.
        class: ServiceName,
        /// Who declared it so.
        other: Identity,
    },
    /// A word that it may not take.
    #[error("class {class} declares `{words}`: {accepted}")]
    Foreign {
        /// The class.
        class: ServiceName,
        /// The line or table.
        words: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// Two of its blocks are the same.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// More than fits into a message.
    #[error("the declarations of all programs take {bytes} bytes; at most {MAX_BYTES} are accepted")]
    TooLarge {
        /// With this one.
        bytes: usize,
    },
    /// A new version has other words.
    #[error("the configuration in force does not fit what class {class} declares now: {first}")]
    InForce {
        /// The class.
        class: ServiceName,
        /// The first line that does not.
        first: String,
    },
}

impl Programs {
    /// Those of the router, and those that are known from before.
    pub fn new(built_in: Vec<Declaration>, known: Vec<Declaration>) -> Self {
        Self { built_in, known, living: BTreeMap::new() }
    }

    /// What programs declared.
    pub fn known(&self) -> &[Declaration] {
        &self.known
    }

    /// All declarations, for [`Words`].
    pub fn all(&self) -> Vec<Declaration> {
        self.with(&self.known)
    }

    /// A program opened its channel.
    pub fn joined(&mut self, client: ClientId, identity: Identity) {
        self.living.insert(client, Program { identity, accepted: false });
    }

    /// It is gone.
    pub fn left(&mut self, client: ClientId) {
        self.living.remove(&client);
    }

    /// What is known if a program's declaration is accepted; `None`: it is known already.
    pub fn check(
        &self,
        client: ClientId,
        declaration: &Declaration,
        running: &Tree<'_>,
    ) -> Result<Option<Vec<Declaration>>, ProgramError> {
        let class = &declaration.class;
        if let Some(program) = self.living.get(&client) {
            let program = &program.identity;
            match program.origin {
                Origin::Supervised => return Err(ProgramError::NotAttached(program.clone())),
                Origin::Attached => {}
            }
            if program.name != *class {
                return Err(ProgramError::Name { program: program.clone(), class: class.clone() });
            }
        }
        if self.built_in.iter().any(|own| own.class == *class) {
            return Err(ProgramError::BuiltIn(class.clone()));
        }
        if self.known.contains(declaration) {
            return Ok(None);
        }
        let mut others = self.living.iter().filter(|(other, _)| **other != client).map(|(_, program)| program);
        if let Some(other) = others.find(|program| program.accepted && program.identity.name == *class) {
            return Err(ProgramError::Otherwise { class: class.clone(), other: other.identity.clone() });
        }
        stays_within_its_words(declaration)?;
        let mut known = self.known.clone();
        known.retain(|other| other.class != *class);
        known.push(declaration.clone());
        let bytes = postcard::to_stdvec(&known).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > MAX_BYTES {
            return Err(ProgramError::TooLarge { bytes });
        }
        let words = Words::new(self.with(&known))?;
        in_force(&print(running), &words).map_err(|errors| {
            let first = errors.first().map(ConfigError::sentence).unwrap_or_default();
            ProgramError::InForce { class: class.clone(), first }
        })?;
        Ok(Some(known))
    }

    /// These are known from now on.
    pub fn set(&mut self, known: Vec<Declaration>) {
        self.known = known;
    }

    /// A program's declaration is the one that is known.
    pub fn accept(&mut self, client: ClientId) {
        if let Some(program) = self.living.get_mut(&client) {
            program.accepted = true;
        }
    }

    fn with(&self, known: &[Declaration]) -> Vec<Declaration> {
        self.built_in.iter().chain(known).cloned().collect()
    }
}

/// What is in force, read with other words.
pub fn in_force<'w>(running: &str, words: &'w Words) -> Result<Tree<'w>, Vec<ConfigError>> {
    let source = Source { file: "running-config".into(), folder: "/".into() };
    check::tree_in_force(running, words, &source)
}

fn stays_within_its_words(declaration: &Declaration) -> Result<(), ProgramError> {
    let class = declaration.class.as_str();
    let foreign =
        |words: String, accepted| Err(ProgramError::Foreign { class: declaration.class.clone(), words, accepted });
    for block in &declaration.blocks {
        if !matches!(&block.words[..], [Word::Keyword(first), Word::Keyword(second), ..] if first == ROUTER && second == class)
        {
            return foreign(spell(block), "a block of a program begins with `router` and its class");
        }
        if !has_plain_words(block) {
            return foreign(
                spell(block),
                "its words are one word each, none of them `no`, `exit` or `!`, and `!` ends it",
            );
        }
    }
    for command in &declaration.commands {
        if !matches!(&command.words[..], [Word::Keyword(_), Word::Keyword(second), ..] if second == class) {
            return foreign(spell(command), "the second word of a program's command is its class");
        }
    }
    for table in &declaration.tables {
        if table.words.split(' ').next() != Some(class) || table.columns.first().is_none_or(|first| first != "vr") {
            return foreign(
                format!("show {}", table.words),
                "a table of a program begins with its class, and its first column is `vr`",
            );
        }
    }
    Ok(())
}

/// Whether a block, with all that stands inside it, can be typed and is ended like any other.
fn has_plain_words(command: &Command) -> bool {
    let plain = |keyword: &str| {
        !keyword.is_empty()
            && !keyword.starts_with('!')
            && !keyword.contains(char::is_whitespace)
            && !["no", "exit"].contains(&keyword)
    };
    let words = command.words.iter().all(|word| match word {
        Word::Keyword(keyword) => plain(keyword),
        Word::OneOf(keywords) => keywords.iter().all(|keyword| plain(keyword)),
        Word::Parameter(_) => true,
    });
    words
        && !command.words.is_empty()
        && command.closed_by.is_none()
        && command.block.iter().flatten().all(has_plain_words)
}
